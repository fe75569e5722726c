//! What one zone may find in another: rules hide tools from a neighbour, and what is hidden leaves no trace in what it is told.

use std::time::Duration;

use aop_proto::access::{Action, Caller, Glob, Policy, Principal, Role, Rule, Sight};
use aop_proto::name::ZoneName;
use aop_proto::params::{QUERIES_BYTES_MAX, QUERIES_PEER_MAX, TTL_L3};
use aop_proto::resolver::{Outcome, Source, Terms};
use aop_proto::wire::message::{Form, Question, ZoneAnswer};
use aop_simulations::Answered;
use aop_simulations::scenario::server;
use aop_simulations::world::{HostId, Spec, World, name, question, words};

const SOON: Duration = Duration::from_secs(10);

/// One tool in the open, two behind rules; the words of the hidden ones are rare and common ones.
const OPEN: [(&str, &str); 3] =
    [("read_file", "Read a file"), ("list_files", "List the files of a folder"), ("merge", "Merge two files")];
const VAULT: [(&str, &str); 2] = [("read_secret", "Read a secret file of the merger"), ("merge", "Merge secret files")];

fn hide(principal: &str, zone: Option<&str>, tool: &str) -> Rule {
    Rule {
        principal: Glob::new(principal),
        action: Some(Action::Discover),
        zone: zone.map(|zone| ZoneName::parse(zone).expect("a zone")),
        tool: Glob::new(tool),
        deny: true,
    }
}

/// `acme`, and below it `partner.acme`, `lab.acme` and `hr.acme`, all by invite.
struct Company {
    world: World,
    acme: HostId,
    partner: HostId,
    lab: HostId,
    hr: HostId,
}

impl Company {
    fn new(seed: u64, rules: Vec<Rule>) -> Self {
        let mut world = World::new(seed);
        let acme = world.boot(Spec { rules, ..Spec::new("acme", 1).guarded() });
        world.run_for(Duration::from_millis(100));
        let mut child = |zone: &str, number: u32| {
            let invitation = world.invite(acme, zone, Role::Peer, 1);
            let host = world.boot(Spec::new(zone, number).parent(1).guarded().invited(invitation));
            let is_in = |world: &World| world.view(host).is_some_and(|view| !view.relations.is_empty());
            assert!(world.run_until(SOON, is_in).is_some(), "{zone}: {:?}", world.refusals(host));
            world.run_for(Duration::from_secs(1));
            host
        };
        let (partner, lab, hr) = (child("partner.acme", 2), child("lab.acme", 3), child("hr.acme", 4));
        Self { world, acme, partner, lab, hr }
    }

    fn serve(&mut self, host: HostId, label: &str, tools: &[(&str, &str)]) {
        self.world.write_through(host, server(label, tools)).expect("it is written");
        self.world.run_for(Duration::from_secs(2));
    }

    fn ask(&mut self, host: HostId, question: Question) -> (Vec<String>, Outcome) {
        let answered = self.world.resolve(host, question);
        (answered.names(), answered.outcome)
    }

    /// All of a list, page by page, as a door takes it; whether it is whole.
    fn list(&mut self, host: HostId, limit: u32) -> (Vec<String>, Vec<String>) {
        let (mut names, mut after) = (Vec::new(), String::new());
        loop {
            let page = Question { limit, after: after.clone(), ..question(Form::List, "") };
            let (_, outcome) = self.ask(host, page);
            let mut stops = Vec::new();
            for (_, checked) in &outcome.answers {
                let held = checked.records.iter().map(|signed| signed.record.name().to_lowercase());
                names.extend(held.clone());
                if checked.answer.matches > checked.records.len() as u64 {
                    stops.extend(held.max());
                }
            }
            let silent = outcome.silent.into_iter().map(|silent| silent.zone).collect();
            match stops.into_iter().min().filter(|next| *next > after) {
                Some(next) => after = next,
                None => {
                    names.sort();
                    names.dedup();
                    return (names, silent);
                }
            }
        }
    }
}

/// What of an answer depends on the tools there are.
fn told(outcome: &Outcome) -> Vec<ZoneAnswer> {
    let answers = outcome.answers.iter().map(|(_, checked)| ZoneAnswer {
        tag: 0,
        age_ms: 0,
        ttl_ms: 0,
        took_us: 0,
        candidates: Vec::new(),
        ..checked.answer.clone()
    });
    answers.collect()
}

fn hidden() -> Vec<Rule> {
    vec![hide("zone:partner.acme", None, "*.vault.*"), hide("zone:partner.acme", Some("hr.acme"), "*")]
}

/// What a node says of its own zone to whom tools are hidden is, number by number, what it would say if there were no such tools.
#[test]
fn what_is_hidden_in_the_own_zone_leaves_no_trace() {
    let mut with = Company::new(1, hidden());
    let mut without = Company::new(1, hidden());
    for company in [&mut with, &mut without] {
        company.serve(company.acme, "files", &OPEN);
    }
    with.serve(with.acme, "vault", &VAULT);
    let questions = [
        words("read a file"),
        words("merge secret files of the merger"),
        words("read_secret"),
        name("read_secret.vault.acme"),
        name("read_secret.files.acme"),
        name("read_fil.files.acme"),
        question(Form::List, ""),
        Question { zone: Some("acme".into()), ..words("secret") },
        Question { limit: 1, ..words("merge") },
    ];
    for asked in questions {
        let (full, _) = with.ask(with.lab, asked.clone());
        let (names, outcome) = with.ask(with.partner, asked.clone());
        let (expected, as_if) = without.ask(without.partner, asked.clone());
        assert_eq!((names, told(&outcome)), (expected, told(&as_if)), "{asked:?}");
        assert!(!full.iter().any(|name| name.contains("vault")) || outcome.proofs.len() == as_if.proofs.len());
        // Who asks next is told what he may find, whatever was told before.
        assert_eq!(with.ask(with.lab, asked).0, full);
    }
    let (full, _) = with.ask(with.lab, words("merge secret files"));
    assert!(full.iter().any(|name| name == "read_secret.vault.acme"));
}

#[test]
fn what_others_said_is_cut_for_whom_it_is_hidden() {
    let mut company = Company::new(2, hidden());
    let Company { acme, partner, lab, hr, .. } = company;
    company.serve(lab, "files", &OPEN);
    company.serve(lab, "vault", &VAULT);
    company.serve(hr, "pay", &[("read_pay", "Read the pay of somebody"), ("merge", "Merge secret files of pay")]);
    // What the company itself asked is kept there, whole.
    for asked in [words("read"), words("merge secret files"), question(Form::List, "")] {
        let (full, _) = company.ask(acme, asked.clone());
        assert!(full.iter().any(|name| name.contains(".vault.")) && full.iter().any(|name| name.ends_with("hr.acme")));
        let (names, outcome) = company.ask(partner, asked);
        assert!(!names.is_empty() && outcome.silent.is_empty());
        assert!(names.iter().all(|name| name.ends_with(".files.lab.acme")), "{names:?}");
        for (_, checked) in &outcome.answers {
            let answer = &checked.answer;
            let (seen, all) = if answer.zone == "lab.acme" { (3, 5) } else { (0, 2) };
            assert!(answer.documents <= all && answer.matches <= seen, "{}: {answer:?}", answer.zone);
            let most = seen;
            assert!(answer.frequencies.iter().all(|count| *count <= most));
        }
    }
    for asked in ["read_secret.vault.lab.acme", "read_pay.pay.hr.acme"] {
        assert_eq!(company.ask(lab, name(asked)).0, [asked]);
        let (names, outcome) = company.ask(partner, name(asked));
        assert!(names.is_empty() && outcome.silent.is_empty(), "it is denied, not silent: {outcome:?}");
    }
    let near = |company: &mut Company, host, text: &str| {
        let (_, outcome) = company.ask(host, name(text));
        outcome.answers.iter().flat_map(|(_, checked)| checked.answer.near.clone()).collect::<Vec<_>>()
    };
    let wrong = "read_secre.vault.lab.acme";
    assert!(near(&mut company, hr, wrong).contains(&"read_secret.vault.lab.acme".to_owned()));
    // Hidden, near to what is hidden, and far from all there is: it is told alike.
    for name in ["read_secret.vault.lab.acme", wrong, "xyzzy_plugh.vault.lab.acme", "xyzzy_plugh.other.lab.acme"] {
        assert_eq!(near(&mut company, partner, name), [""; 0], "{name}");
    }
    // From another neighbour nothing is hidden.
    assert!(company.ask(lab, words("read the pay")).0.contains(&"read_pay.pay.hr.acme".to_owned()));
}

/// A word that only hidden tools have, or texts of another length, move no number of what is seen. Words that no other may stand for:
/// these would be looked for as well.
#[test]
fn the_words_of_hidden_tools_cannot_be_read_from_the_scores_of_others() {
    let mut company = Company::new(7, hidden());
    let Company { partner, lab, hr, .. } = company;
    company.serve(lab, "files", &OPEN);
    company.serve(lab, "vault", &[("quixotic", "The quixotic formalism of the merger, at length and in detail")]);
    company.serve(hr, "pay", &[("payroll", "Pay the quixotic people")]);
    for (has, has_not) in [("quixotic", "quixotac"), ("formalism", "formolism"), ("payroll", "poyrall")] {
        let mut scores = |word: &str| {
            let asked = Question { zone: None, ..words(&format!("read a file {word}")) };
            let answered = company.world.resolve_as(partner, asked, |terms| Terms { cached: false, ..terms });
            let scored = answered.found.iter().map(|found| (found.name.to_string(), found.score.to_bits()));
            (scored.collect::<Vec<_>>(), told(&answered.outcome), answered.silent().len())
        };
        assert_eq!(scores(has), scores(has_not), "{has}");
        assert!(!scores(has).0.is_empty());
    }
}

/// How old an answer is does not tell a name that is hidden from one that is not there.
#[test]
fn the_age_of_an_answer_does_not_tell_what_is_hidden() {
    let mut company = Company::new(8, Vec::new());
    let Company { acme, partner, lab, .. } = company;
    company.serve(acme, "vault", &VAULT);
    company.serve(lab, "vault", &VAULT);
    let policy = Policy { is_open: true, rules: vec![hide("token:ci", None, "*.vault.*")] };
    let caller = Caller { principal: Principal::Token("ci".to_owned()), grants: Vec::new() };
    let sight = Sight::of(&policy, &caller, false).expect("it hides something");
    for (there, missing) in [
        ("read_secret.vault.acme", "read_secrat.vault.acme"),
        ("read_secret.vault.lab.acme", "read_secrat.vault.lab.acme"),
    ] {
        // Somebody from whom nothing is hidden asked for both.
        for name_of in [there, missing] {
            company.ask(partner, name(name_of));
        }
        for wait in [Duration::from_secs(1), Duration::from_secs(20), Duration::from_secs(40)] {
            company.world.run_for(wait);
            let mut told_of = |text: &str| {
                let token = company.world.ask_for(partner, name(text), sight.clone());
                company.world.run_for(Duration::from_secs(3));
                let answered = company.world.answer(partner, token).expect("an answer");
                let answers = answered.outcome.answers.iter();
                let answers = answers.map(|(source, checked)| {
                    (*source, checked.answer.age_ms / 1_000, checked.answer.ttl_ms / 1_000, checked.records.len())
                });
                (answered.names(), answers.collect::<Vec<_>>(), answered.outcome.silent.len())
            };
            assert_eq!(told_of(there), told_of(missing), "{there} after {wait:?}");
        }
    }
}

/// What is hidden may stand in front of what is not: then nobody is told that this was all.
#[test]
fn what_is_hidden_in_front_makes_no_complete_denial() {
    let mut company = Company::new(9, vec![hide("zone:partner.acme", None, "*.hid.*")]);
    let Company { partner, lab, .. } = company;
    company.serve(lab, "vis", &[("weekly_summary", "Summary of a week, as a report")]);
    let labels: Vec<String> = (0..120).map(|at| format!("report_{at:03}")).collect();
    let tools: Vec<(&str, &str)> =
        labels.iter().map(|label| (label.as_str(), "Report report weekly report weekly")).collect();
    company.serve(lab, "hid", &tools);
    let (names, outcome) = company.ask(partner, words("weekly report"));
    assert!(names.is_empty() && outcome.silent.iter().any(|silent| silent.zone == "lab.acme"), "{outcome:?}");
    let (names, _) = company.ask(partner, Question { limit: 50, ..words("weekly report") });
    assert_eq!(names, ["weekly_summary.vis.lab.acme"]);
}

#[test]
fn a_list_goes_on_behind_what_is_hidden_and_says_where_it_cannot() {
    let mut company = Company::new(3, vec![hide("zone:partner.acme", None, "?_b*.lab.acme")]);
    let Company { acme, partner, lab, .. } = company;
    let labels: Vec<String> =
        (0..40).map(|at| format!("{}_{}{at:02}", ['a', 'c'][at / 20], ["a", "b"][at % 2])).collect();
    let tools: Vec<(&str, &str)> = labels.iter().map(|label| (label.as_str(), "One of many")).collect();
    company.serve(lab, "many", &tools);
    company.serve(acme, "own", &OPEN);
    let (all, _) = company.list(acme, 1000);
    assert_eq!(all.len(), 43);
    for limit in [1, 3, 7, 1000] {
        let (names, silent) = company.list(partner, limit);
        assert!(silent.is_empty());
        let expected: Vec<&String> = all.iter().filter(|name| !name.contains("_b")).collect();
        assert_eq!(names.iter().collect::<Vec<_>>(), expected, "{limit} a page");
    }
    // A whole frame of hidden ones: what comes after it cannot be asked for by a name that may be told.
    let long = "One of very many. ".repeat(220);
    let labels: Vec<String> = (0..200).map(|at| format!("d_b{at:03}")).collect();
    let mut tools: Vec<(&str, &str)> = labels.iter().map(|label| (label.as_str(), long.as_str())).collect();
    tools.push(("z_last", "Comes last"));
    company.serve(lab, "more", &tools);
    let (all, _) = company.list(acme, 1000);
    assert_eq!(all.len(), 244);
    let (names, silent) = company.list(partner, 1000);
    assert_eq!((names.len(), silent), (23, vec!["lab.acme".to_owned()]), "it is not silently partial");
    assert_eq!(company.ask(partner, name("z_last.more.lab.acme")).0.len(), 1);
}

#[test]
fn rules_are_of_the_moment_and_of_a_principal() {
    let mut company = Company::new(4, Vec::new());
    let Company { acme, partner, lab, .. } = company;
    company.serve(acme, "files", &OPEN);
    let asked = name("read_file.files.acme");
    assert_eq!(company.ask(partner, asked.clone()).0.len(), 1);
    company.world.set_rules(acme, vec![hide("zone:*.acme", None, "read_*")]);
    // What was found before is kept by whoever found it, no longer than it lives.
    company.world.run_for(Duration::from_mins(16));
    for host in [partner, lab] {
        assert_eq!(company.ask(host, asked.clone()).0.len(), 0);
        assert_eq!(company.ask(host, name("merge.files.acme")).0.len(), 1);
    }
    assert_eq!(company.ask(acme, asked.clone()).0.len(), 1, "doors have rules of their own");
    company.world.set_rules(acme, Vec::new());
    company.world.run_for(Duration::from_mins(1));
    assert_eq!(company.ask(partner, asked).0.len(), 1);
}

/// One neighbour that asks without end takes its own share of what a node has under way, and nobody else's.
#[test]
fn a_neighbour_that_asks_too_much_is_told_so_and_hinders_nobody() {
    let mut company = Company::new(5, Vec::new());
    let Company { acme, partner, lab, hr, .. } = company;
    company.serve(acme, "files", &OPEN);
    company.world.pause(hr, Duration::from_secs(30));
    let terms = |terms| Terms { cached: false, ..terms };
    let floods: Vec<u64> =
        (0..QUERIES_PEER_MAX + 100).map(|at| company.world.ask(lab, words(&format!("file {at}")), terms)).collect();
    company.world.run_for(Duration::from_millis(200));
    let honest = company.world.resolve_as(partner, words("read a file"), terms);
    let is_full =
        |answered: &Answered| answered.outcome.silent.iter().any(|silent| silent.reason.contains("too many questions"));
    assert!(!is_full(&honest) && !honest.names().is_empty(), "{:?}", honest.outcome.silent);
    company.world.run_for(SOON);
    let floods: Vec<Answered> =
        floods.into_iter().map(|token| company.world.answer(lab, token).expect("an answer")).collect();
    assert_eq!(floods.iter().filter(|answered| is_full(answered)).count(), 100);
    assert!(floods.iter().all(|answered| answered.outcome.is_partial()), "none is silently partial");
}

/// Answers that wait for a zone that is slow are held up to a bound, whoever asked; what finds no room is said, and room comes again.
#[test]
fn answers_that_wait_for_others_have_a_bound() {
    let mut company = Company::new(6, Vec::new());
    let Company { acme, lab, hr, .. } = company;
    let long = "One of very many files. ".repeat(160);
    let labels: Vec<String> = (0..200).map(|at| format!("file_{at:03}")).collect();
    let tools: Vec<(&str, &str)> = labels.iter().map(|label| (label.as_str(), long.as_str())).collect();
    company.serve(lab, "many", &tools);
    company.world.pause(hr, Duration::from_secs(5));
    let large = |at: usize| Question { limit: 1_000, ..words(&format!("file {at}")) };
    let terms = |terms| Terms { cached: false, ..terms };
    let asked: Vec<u64> = (0..60).map(|at| company.world.ask(acme, large(at), terms)).collect();
    company.world.run_for(SOON);
    let answered: Vec<Answered> =
        asked.into_iter().map(|token| company.world.answer(acme, token).expect("an answer")).collect();
    let found = |answered: &Answered| !answered.names().is_empty();
    let is_full = |answered: &Answered| {
        answered
            .outcome
            .silent
            .iter()
            .any(|silent| silent.zone == "lab.acme" && silent.reason.contains("holds too many"))
    };
    let full = answered.iter().filter(|answered| is_full(answered)).count();
    // What found no room while it was waited for others may still be known from before, as stale.
    let held = answered.iter().flat_map(|answered| &answered.outcome.answers);
    let bytes = held.filter(|(source, _)| *source != Source::L3);
    let bytes: usize = bytes.flat_map(|(_, checked)| &checked.answer.candidates).map(|one| one.bytes()).sum();
    assert!((10..50).contains(&full) && 3 * bytes <= QUERIES_BYTES_MAX, "{full} found no room beside {bytes} bytes");
    assert!(answered.iter().all(|answered| found(answered) || is_full(answered)));
    let later = company.world.resolve_as(acme, large(100), terms);
    assert!(!later.outcome.is_partial() && later.names().len() >= 100, "{:?}", later.outcome.silent);
}

/// The same of what is answered from a cache while somebody else is waited for.
#[test]
fn kept_answers_that_wait_for_others_have_the_same_bound() {
    let mut company = Company::new(7, Vec::new());
    let Company { acme, lab, hr, .. } = company;
    let long = "One of very many files. ".repeat(160);
    let labels: Vec<String> = (0..200).map(|at| format!("file_{at:03}")).collect();
    let tools: Vec<(&str, &str)> = labels.iter().map(|label| (label.as_str(), long.as_str())).collect();
    company.serve(lab, "many", &tools);
    let question = Question { limit: 1_000, ..words("file") };
    company.world.resolve(acme, question.clone());
    company.serve(hr, "people", &[("find_person", "Find a person")]);
    company.world.pause(hr, Duration::from_secs(5));
    // Each on terms of its own, so that none waits for another's answer.
    let age = |at: u64| move |terms| Terms { age_max: TTL_L3 - Duration::from_millis(at), ..terms };
    let asked: Vec<u64> = (0..60).map(|at| company.world.ask(acme, question.clone(), age(at))).collect();
    company.world.run_for(SOON);
    let answered: Vec<Answered> =
        asked.into_iter().map(|token| company.world.answer(acme, token).expect("an answer")).collect();
    let of_l2 = |answered: &&Answered| answered.outcome.answers.iter().any(|(source, _)| *source == Source::L2);
    let held = answered.iter().filter(of_l2).count();
    let is_full = |answered: &Answered| answered.outcome.silent.iter().any(|it| it.reason.contains("holds too many"));
    assert!((10..50).contains(&held), "{held} of 60 were held");
    assert!(answered.iter().all(|answered| of_l2(&answered) != is_full(answered)));
}
