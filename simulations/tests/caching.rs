//! What zones keep of each other's answers: asked once for all who ask, renewed before it ends, asked past whoever is slow.

#![expect(clippy::unwrap_used, reason = "what is missing here has failed the test")]

use std::time::Duration;

use aop_proto::access::{Action, Caller, Glob, Policy, Rule, Sight};
use aop_proto::name::ZoneName;
use aop_proto::node::Output;
use aop_proto::params::{FELLOW_FAR, TTL_L2};
use aop_proto::record::NodeId;
use aop_proto::resolver::{Hop, Source, Terms};
use aop_proto::trust::answers::Checked;
use aop_proto::wire::message::{Form, Message, Question, Silent};
use aop_simulations::scenario::server;
use aop_simulations::world::{HostId, Spec, name, question, words};
use aop_simulations::{Answered, World};

/// Kind of a query on the wire.
const QUERY: u8 = 32;
/// Time in which delegations stand.
const SETTLED: Duration = Duration::from_secs(3);
const PAPERS: &str = "search_papers.arxiv.research";

/// A root, `research` of one or two replicas with a tool for papers, `writing`, and `deep.writing` below it.
fn federation(seed: u64, replicas: u32) -> (World, HostId, Vec<HostId>, HostId, HostId) {
    let mut world = World::new(seed);
    // Fellows are near: whoever owns a question is asked first.
    world.weather.latency.1 = FELLOW_FAR / 3;
    let root = world.boot(Spec::new(".", 1));
    let mut research = vec![world.boot(Spec::new("research", 2).parent(1))];
    world.run_for(SETTLED);
    research.extend((1..replicas).map(|number| world.boot(Spec::new("research", 10 + number).parent(1).join(2))));
    let writing = world.boot(Spec::new("writing", 3).parent(1));
    let deep = world.boot(Spec::new("deep.writing", 4).parent(3));
    world.run_for(SETTLED);
    world.write_through(research[0], server("arxiv", &[("search_papers", "Search papers on arxiv")])).unwrap();
    world.run_for(SETTLED);
    (world, root, research, writing, deep)
}

fn queries_to(world: &World, to: &[HostId]) -> u64 {
    to.iter().map(|to| world.received(*to, |kind| kind == QUERY).messages).sum()
}

fn uncached(world: &mut World, host: HostId, question: Question) -> Answered {
    world.resolve_as(host, question, |terms| Terms { cached: false, ..terms })
}

#[test]
fn what_one_zone_asked_for_another_hears_from_the_zone_between_them() {
    for question in [name(PAPERS), words("papers on arxiv")] {
        let (mut world, root, research, writing, deep) = federation(1, 1);
        let first = world.resolve(deep, question.clone());
        let (before, above) = (queries_to(&world, &research), queries_to(&world, &[root]));
        world.run_for(Duration::from_secs(20));
        for host in [root, writing] {
            let again = world.resolve(host, question.clone());
            assert_eq!(again.names(), first.names());
            let (source, checked) = &again.outcome.answers[again.found[0].answer];
            assert_eq!((*source, checked.answer.zone.as_str()), (Source::L2, "research"));
            assert!(checked.answer.age_ms >= 20_000 && checked.answer.ttl_ms <= TTL_L2.as_millis() as u64 - 20_000);
        }
        assert_eq!(queries_to(&world, &research), before, "nobody asked it again");
        assert_eq!(queries_to(&world, &[root]), above, "writing kept it as well");
        // It changes, and nobody hears the old.
        world.write_through(research[0], server("arxiv", &[("search_papers", "Search papers anywhere")])).unwrap();
        world.run_for(Duration::from_secs(1));
        for host in [root, writing, deep] {
            let changed = world.resolve(host, question.clone());
            let body = changed.found[0].instance.body().definition;
            assert!(String::from_utf8_lossy(body).contains("anywhere"), "{host:?}");
        }
    }
}

#[test]
fn an_uncached_question_keeps_nothing_new_and_renews_what_is_kept() {
    let (mut world, _, _, writing, _) = federation(5, 1);
    let pause = Duration::from_secs(20);
    assert_eq!(uncached(&mut world, writing, name(PAPERS)).names(), [PAPERS]);
    world.run_for(pause);
    assert_eq!(world.view(writing).unwrap().counts.kept, [0, 0]);
    world.resolve(writing, name(PAPERS));
    world.run_for(pause);
    uncached(&mut world, writing, name(PAPERS));
    let again = world.resolve(writing, name(PAPERS));
    let (source, checked) = &again.outcome.answers[again.found[0].answer];
    assert_eq!(*source, Source::L2);
    assert!(checked.answer.age_ms < pause.as_millis() as u64, "{} ms old", checked.answer.age_ms);
}

#[test]
fn what_is_asked_for_often_is_asked_anew_before_it_ends() {
    let (mut world, _, research, writing, _) = federation(2, 1);
    let went_out = |world: &mut World, seconds: u64| {
        let before = queries_to(world, &research);
        let mut slowest = Duration::ZERO;
        for _ in 0..seconds {
            world.run_for(Duration::from_secs(1));
            slowest = slowest.max(world.resolve(writing, name(PAPERS)).took);
        }
        (queries_to(world, &research) - before, slowest)
    };
    assert_eq!(went_out(&mut world, 1).0, 1);
    let life = TTL_L2.as_secs();
    let (asked, slowest) = went_out(&mut world, 10 * life);
    // In the last fifth of each.
    assert!((12..=13).contains(&asked), "{asked} questions in ten lifetimes");
    assert_eq!(slowest, Duration::ZERO, "nobody ever waited");
    // What nobody asks for ends.
    world.run_for(2 * TTL_L2);
    assert_eq!(queries_to(&world, &research), asked + 1);
    assert!(world.resolve(writing, name(PAPERS)).took > Duration::ZERO);
}

#[test]
fn who_became_slow_is_asked_past_and_still_heard() {
    let (mut world, root, research, ..) = federation(3, 2);
    for _ in 0..40 {
        let answered = uncached(&mut world, root, name(PAPERS));
        assert!(!answered.outcome.is_partial());
    }
    let usual = uncached(&mut world, root, name(PAPERS)).took;
    let first = if queries_to(&world, &research[..1]) > 20 { 0 } else { 1 };
    world.slow(&[root], &[research[first]], (Duration::from_millis(300), Duration::from_millis(310)));
    let before = queries_to(&world, &research);
    let slow = uncached(&mut world, root, name(PAPERS));
    assert!(!slow.outcome.is_partial() && slow.names() == [PAPERS]);
    assert!(slow.took < usual + Duration::from_millis(40), "{:?} where {usual:?} is usual", slow.took);
    assert_eq!(queries_to(&world, &research) - before, 2);
    // All of it is slow now: no second question for each.
    world.slow(&[root], &research, (Duration::from_millis(300), Duration::from_millis(310)));
    let before = queries_to(&world, &research);
    for _ in 0..40 {
        assert!(!uncached(&mut world, root, name(PAPERS)).outcome.is_partial());
    }
    let more = queries_to(&world, &research) - before - 40;
    assert!(more <= 14, "{more} of 40 were asked twice");
}

#[test]
fn whoever_has_the_question_is_waited_for_when_the_one_asked_past_it_is_lost() {
    let (mut world, root, research, ..) = federation(6, 2);
    for _ in 0..40 {
        uncached(&mut world, root, name(PAPERS));
    }
    let first = if queries_to(&world, &research[..1]) > 20 { 0 } else { 1 };
    let second = research[1 - first];
    world.slow(&[root], &[research[first]], (Duration::from_millis(300), Duration::from_millis(310)));
    world.slow(&[root], &[second], (Duration::from_millis(100), Duration::from_millis(110)));
    let sent = |world: &World| world.sent(root, |kind| kind == QUERY).messages;
    let before = sent(&world);
    let token = world.ask(root, name(PAPERS), |terms| Terms { cached: false, ..terms });
    world.run_for(Duration::from_millis(60));
    assert_eq!(sent(&world), before + 2, "the first is asked past");
    world.leave(second);
    world.run_for(Duration::from_secs(1));
    let answered = world.answer(root, token).unwrap();
    assert!(!answered.outcome.is_partial() && answered.names() == [PAPERS], "{:?}", answered.outcome.silent);
}

#[test]
fn who_was_silent_a_moment_ago_takes_nothing_from_what_is_kept_whole() {
    let (mut world, root, research, writing, _) = federation(7, 1);
    let question = words("papers on arxiv");
    let whole = world.resolve(writing, question.clone());
    assert!(!whole.outcome.is_partial());
    world.slow(&[root], &research, (Duration::from_secs(4), Duration::from_secs(4)));
    let silent = uncached(&mut world, writing, question.clone());
    assert!(silent.outcome.is_partial());
    let kept = world.resolve(writing, question);
    assert!(!kept.outcome.is_partial() && kept.names() == whole.names(), "{:?}", kept.outcome.silent);
}

#[test]
fn an_answer_cut_short_for_one_zone_is_kept_for_nobody() {
    let (mut world, .., writing, deep) = federation(8, 1);
    let question = words("papers on arxiv");
    let short = world.resolve_as(deep, question.clone(), |terms| Terms { hops: 2, ..terms });
    assert!(short.outcome.skipped > 0 && short.names().is_empty());
    let answered = world.resolve(writing, question);
    assert!(answered.outcome.skipped == 0 && answered.names() == [PAPERS], "{:?}", answered.outcome.skipped);
}

/// How old an answer is would tell a name that is hidden from one that is not there: the one is kept for longer.
#[test]
fn a_hidden_name_below_is_as_young_as_one_that_is_not_there() {
    let (mut world, root, ..) = federation(4, 1);
    let zone = Some(ZoneName::parse("research").unwrap());
    let hidden =
        Rule { principal: Glob::new("*"), action: Some(Action::Discover), zone, tool: Glob::any(), deny: true };
    let sight = Sight::of(&Policy { is_open: true, rules: vec![hidden] }, &Caller::anonymous(), false).unwrap();
    for text in [PAPERS, "nothing.arxiv.research"] {
        world.resolve(root, name(text));
        world.run_for(Duration::from_secs(20));
        let token = world.ask_for(root, name(text), sight.clone());
        world.run_for(Duration::from_secs(3));
        let answered = world.answer(root, token).unwrap();
        assert!(answered.found.is_empty());
        let ages: Vec<u64> = answered.outcome.answers.iter().map(|(_, checked)| checked.answer.age_ms).collect();
        assert!(ages.iter().all(|age| *age < 1_000), "{text}: {ages:?}");
    }
}

/// Only one replica reaches the parent; the other waits for it as long as it takes, and never for less because it is usually quick.
#[test]
fn a_fellow_that_alone_reaches_the_parent_is_waited_for() {
    let (mut world, root, research, ..) = federation(5, 2);
    let letters = "write_letter.post.writing";
    let writing = world.hosts().find(|host| world.spec(*host).zone == "writing").unwrap();
    world.write_through(writing, server("post", &[("write_letter", "Write a letter")])).unwrap();
    world.run_for(SETTLED);
    for alone in [0, 1] {
        world.partition(&[root], &[research[alone]]);
        world.run_for(Duration::from_secs(20));
        let names: Vec<String> = (0..60).map(|number| format!("nothing{number}.post.writing")).collect();
        for text in &names {
            let answered = world.resolve(research[alone], name(text));
            assert!(answered.found.is_empty());
        }
        let (slow, all) = ((Duration::from_millis(60), Duration::from_millis(70)), [research[1 - alone]]);
        world.slow(&[root], &all, slow);
        let mut by_fellow = 0;
        for text in names.iter().map(|text| text.replace("nothing", "never")) {
            let answered = world.resolve(research[alone], name(&text));
            // What the fellow does not own, this replica cannot ask anybody for, and knows it at once.
            let is_own = answered.took.is_zero();
            assert_eq!(answered.outcome.is_partial(), is_own, "{text}: {:?}", answered.outcome.silent);
            by_fellow += u32::from(!is_own);
        }
        assert!((15..=45).contains(&by_fellow), "{by_fellow} of 60 were the fellow's");
        world.calm();
        world.run_for(Duration::from_secs(30));
    }
    assert!(!world.resolve(research[0], name(letters)).found.is_empty());
}

/// A replica that is behind is asked past; where nobody else answers, what it said is the answer.
#[test]
fn what_a_replica_said_that_is_behind_counts_when_no_other_answers() {
    let (mut world, root, research, ..) = federation(9, 2);
    for behind in [0, 1] {
        world.doctor_frames(research[behind], |mut message| {
            if let Message::Answer(answer) = &mut message {
                answer.zones.iter_mut().for_each(|zone| zone.behind = true);
            }
            Some(message)
        });
        world
            .doctor_frames(research[1 - behind], |message| (!matches!(message, Message::Answer(_))).then_some(message));
        let answered = uncached(&mut world, root, words("papers on arxiv"));
        assert_eq!((answered.silent(), answered.names()), (vec![], vec![PAPERS.to_owned()]), "{behind}");
        // What it has not, others may have.
        for question in [name("nothing.arxiv.research"), words("sail round the world")] {
            let nothing = uncached(&mut world, root, question);
            assert_eq!((nothing.silent(), nothing.found.len()), (vec!["research"], 0));
        }
        research.iter().for_each(|host| world.undoctor(*host));
    }
}

/// What a replica whose clock is ahead writes is held back by the others: until they hold it, none of them says that it is not there.
#[test]
fn what_is_held_back_for_a_clock_is_denied_by_nobody() {
    let (mut world, root, research, ..) = federation(11, 2);
    world.set_clock(research[1], 600_000);
    world.write_through(research[1], server("late", &[("sail_round", "Sail round the world")])).unwrap();
    world.run_for(SETTLED);
    for question in [name("sail_round.late.research"), words("sail round the world")] {
        for asker in [research[0], root] {
            let answered = uncached(&mut world, asker, question.clone());
            let found = answered.names().contains(&"sail_round.late.research".to_owned());
            assert!(found || answered.silent() == ["research"], "{question:?}: {:?}", answered.silent());
        }
        // Its own door knows no better.
        assert_eq!(uncached(&mut world, research[0], question).silent(), ["research"]);
    }
    // What is there is answered as ever.
    let there = uncached(&mut world, root, words("papers on arxiv"));
    assert_eq!((there.silent(), there.names()), (vec![], vec![PAPERS.to_owned()]));
    world.run_for(Duration::from_secs(610));
    assert!(uncached(&mut world, research[0], name("nothing.arxiv.research")).silent().is_empty());
}

/// A fellow that names a silent zone is asked past, at the parent; where the parent is silent, what the fellow heard is the answer.
#[test]
fn what_a_fellow_heard_counts_when_the_parent_does_not_answer() {
    let (mut world, root, research, writing, deep) = federation(10, 2);
    world.write_through(writing, server("post", &[("write_letter", "Write a letter")])).unwrap();
    world.run_for(SETTLED);
    world.slow(&[writing], &[deep], (Duration::from_secs(4), Duration::from_secs(4)));
    let deaf = world.id(research[0]);
    // The parent answers nobody, or says only that it has too much to do.
    for is_busy in [false, true] {
        what_a_fellow_heard_counts(&mut world, root, deaf, research[0], is_busy);
    }
}

fn what_a_fellow_heard_counts(world: &mut World, root: HostId, deaf: NodeId, asker: HostId, is_busy: bool) {
    world.doctor_saying(root, move |output| match output {
        Output::Send { peer, bytes, class } if peer == deaf => match Message::decode(&bytes) {
            Ok(Message::Answer(mut answer)) => {
                answer.zones.clear();
                answer.silent = vec![Silent { zone: "writing".into(), reason: "too many questions".into() }];
                let bytes = Message::Answer(answer).try_encode()?.into();
                is_busy.then_some(Output::Send { peer, bytes, class })
            }
            _ => Some(Output::Send { peer, bytes, class }),
        },
        other => Some(other),
    });
    let mut by_fellow = 0;
    for number in 0..20 {
        let answered = world.resolve(asker, words(&format!("a letter {number} {is_busy}")));
        let found = answered.names().contains(&"write_letter.post.writing".to_owned());
        // What this replica owns itself, it asks nobody but the parent.
        let silent: &[&str] = match (found, is_busy) {
            (true, _) => &["deep.writing"],
            (false, true) => &["deep.writing", "writing"],
            (false, false) => &[".", "deep.writing", "writing"],
        };
        assert_eq!(answered.silent(), silent, "{number}");
        by_fellow += u32::from(found);
    }
    assert!((4..=16).contains(&by_fellow), "{by_fellow} of 20 were the fellow's");
}

#[test]
fn a_far_fellow_is_asked_for_what_it_keeps_and_for_nothing_else() {
    let mut world = World::new(9);
    let way = Duration::from_millis(15);
    world.weather.latency = (way, way);
    let root = world.boot(Spec::new(".", 1));
    let research = world.boot(Spec::new("research", 2).parent(1));
    let mut writing = vec![world.boot(Spec::new("writing", 3).parent(1))];
    world.run_for(SETTLED);
    writing.extend([4, 5].map(|number| world.boot(Spec::new("writing", number).parent(1).join(3))));
    world.run_for(SETTLED);
    let tools: Vec<String> = (0..6).map(|number| format!("tool_{number}")).collect();
    let described: Vec<(&str, &str)> = tools.iter().map(|tool| (tool.as_str(), "Does something")).collect();
    world.write_through(research, server("many", &described)).unwrap();
    world.run_for(SETTLED);
    let soon = Duration::from_millis(2);
    for (number, tool) in tools.iter().enumerate() {
        let (asks, hears) = (writing[number % 3], writing[(number + 1) % 3]);
        let question = name(&format!("{tool}.many.research"));
        let cold = world.resolve(asks, question.clone());
        assert!(cold.took <= 4 * way + soon, "{:?}: somebody was asked on the way", cold.took);
        world.run_for(Duration::from_secs(1));
        let before = queries_to(&world, &[root]);
        let hits = |world: &World| world.node(hears).unwrap().view().counts.l2.hits;
        let hits_before = hits(&world);
        let heard = world.resolve(hears, question);
        assert!(heard.took <= 2 * way + soon, "{:?}", heard.took);
        assert_eq!(hits(&world), hits_before + 1, "what a fellow keeps is a hit of who asked as well");
        assert_eq!((heard.names(), heard.outcome.answers[0].0), (cold.names(), Source::L2));
        assert_eq!(queries_to(&world, &[root]), before, "nothing left the zone");
    }
}

/// Forty tools of papers in `research`.
fn many_papers(world: &mut World, research: HostId) {
    let names: Vec<String> = (0..40).map(|number| format!("papers_{number:02}")).collect();
    let tools: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "Search papers on arxiv")).collect();
    world.write_through(research, server("library", &tools)).unwrap();
    world.run_for(SETTLED);
}

#[test]
fn whoever_shows_more_or_less_of_an_answer_asks_the_same() {
    let (mut world, root, research, writing, _) = federation(6, 1);
    many_papers(&mut world, research[0]);
    // What is wanted, and whether somebody has to be asked for it.
    let of = |question: &Question, limit| Question { limit, ..question.clone() };
    let list = Question { zone: Some("research".to_owned()), ..question(Form::List, "") };
    let by_name = name("papers_07.library.research");
    let cases: [(Question, &[(u32, bool)]); 3] = [
        (
            words("papers on arxiv"),
            &[(3, true), (4, false), (1, false), (20, false), (21, true), (32, false), (3, false)],
        ),
        (list, &[(3, true), (20, false), (25, true), (30, false)]),
        (by_name, &[(10, true), (1, false), (1000, false)]),
    ];
    for (question, wanted) in cases {
        let mut longest: Vec<String> = Vec::new();
        for (limit, asks) in wanted {
            let before = queries_to(&world, &[root]);
            let answered = world.resolve(writing, of(&question, *limit));
            assert_eq!(queries_to(&world, &[root]) - before, u64::from(*asks), "{limit} of {:?}", question.form);
            let names = answered.names();
            assert_eq!(names.len(), if question.form == Form::Exact { 1 } else { *limit as usize });
            let common = names.len().min(longest.len());
            assert_eq!(names[..common], longest[..common], "one order, however much of it is shown");
            if question.form == Form::List {
                let said = |(_, checked): &&(Source, Checked)| checked.answer.zone == "research";
                let (_, checked) = answered.outcome.answers.iter().find(said).unwrap();
                assert_eq!((checked.records.len(), checked.answer.matches), (*limit as usize, 41), "it goes on");
            }
            longest = if names.len() > longest.len() { names } else { longest };
        }
    }
}

#[test]
fn those_who_want_more_or_less_of_one_answer_wait_for_it_together() {
    let (mut world, root, research, writing, _) = federation(7, 1);
    many_papers(&mut world, research[0]);
    let before = queries_to(&world, &[root]);
    let wanted = [3, 20, 4, 3, 25];
    let tokens = wanted.map(|limit| world.ask(writing, Question { limit, ..words("papers on arxiv") }, |terms| terms));
    world.run_for(SETTLED);
    assert_eq!(
        queries_to(&world, &[root]) - before,
        2,
        "once for those who want at most twenty, once for one who wants more"
    );
    let answers = tokens.map(|token| world.answer(writing, token).unwrap());
    for (answered, limit) in answers.iter().zip(wanted) {
        assert_eq!((answered.names().len(), answered.outcome.question.limit), (limit as usize, limit));
        assert!(answers[4].names().starts_with(&answered.names()));
    }
}

/// Age and life of an answer tell whether it rested anywhere on its way.
#[test]
fn an_answer_tells_whether_somebody_had_kept_it() {
    let (mut world, root, research, writing, deep) = federation(8, 2);
    let hop = |answered: &Answered| {
        let at = answered.outcome.answers.iter().position(|(_, checked)| checked.answer.zone == "research").unwrap();
        let Hop { asked, is_cached } = answered.outcome.hops[at].clone();
        (asked.map(|asked| asked.zone), is_cached)
    };
    let by = |zone: &str| Some(zone.to_owned());
    for question in [name(PAPERS), words("papers on arxiv")] {
        let first = world.resolve(writing, question.clone());
        assert_eq!(hop(&first), (by("."), false), "it was asked now, two zones away");
        assert_eq!(hop(&world.resolve(writing, question.clone())), (None, false), "it is kept here");
        assert_eq!(hop(&world.resolve(deep, question.clone())), (by("writing"), true));
        assert_eq!(hop(&world.resolve(root, question.clone())), (None, false));
    }
    // Of two replicas one keeps what the other asks for.
    world.write_through(writing, server("post", &[("write_letter", "Write a letter")])).unwrap();
    world.run_for(SETTLED);
    let mut by_fellow = [0, 0];
    for number in 0..10 {
        let question = words(&format!("a letter {number}"));
        for (time, asker) in research.iter().enumerate() {
            let answered = world.resolve(*asker, question.clone());
            let at = answered.outcome.answers.iter().position(|(_, checked)| checked.answer.zone == "writing").unwrap();
            let (source, hop) = (answered.outcome.answers[at].0, &answered.outcome.hops[at]);
            let is_fellow = hop.asked.as_ref().is_some_and(|asked| asked.zone == "research");
            assert_eq!(source == Source::L2, is_fellow || hop.asked.is_none());
            assert_eq!(hop.is_cached, is_fellow && time == 1, "{number}");
            by_fellow[time] += u32::from(is_fellow);
        }
    }
    assert!(by_fellow.iter().all(|count| *count > 0), "{by_fellow:?}");
}
