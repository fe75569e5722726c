//! Zones find each other's tools, by name and by words, and say who was silent.

#![expect(clippy::unwrap_used, reason = "what is missing here has failed the test")]

use std::time::Duration;

use aop_proto::node::Write;
use aop_proto::resolver::Source;
use aop_proto::search::Why;
use aop_proto::wire::message::{Form, Message, Question, ZoneAnswer};
use aop_simulations::scenario::{acquainted, equal, server};
use aop_simulations::world::{DEADLINE, HostId, Spec, name, question, words};
use aop_simulations::{Answered, World};

/// Kind of a query on the wire.
const QUERY: u8 = 32;
/// Time in which delegations stand.
const SETTLED: Duration = Duration::from_secs(2);

const PAPERS: &str = "search_papers.arxiv.research";

/// A root, `research` with a tool for papers, `writing` with a tool for letters.
fn federation(seed: u64) -> (World, HostId, HostId, HostId) {
    let mut world = World::new(seed);
    let root = world.boot(Spec::new(".", 1));
    let research = world.boot(Spec::new("research", 2).parent(1));
    let writing = world.boot(Spec::new("writing", 3).parent(1));
    world.run_for(SETTLED);
    let papers = [("search_papers", "Search papers on arxiv by topic"), ("count_papers", "Count papers of an author")];
    world.write_through(research, server("arxiv", &papers)).unwrap();
    world.write_through(writing, server("post", &[("write_letter", "Write a letter in formal style")])).unwrap();
    world.run_for(SETTLED);
    (world, root, research, writing)
}

fn queries_to(world: &World, to: HostId) -> u64 {
    world.received(to, |kind| kind == QUERY).messages
}

#[test]
fn words_asked_in_one_zone_find_the_tool_of_another() {
    let (mut world, _, research, writing) = federation(1);
    let answered = world.resolve(writing, words("papers on arxiv"));
    assert!(!answered.outcome.is_partial(), "{:?}", answered.outcome.silent);
    assert_eq!(answered.names()[0], PAPERS);
    let answer = answered.found[0].answer;
    assert_eq!(answered.outcome.answers[answer].0, Source::Parent);
    assert_eq!(answered.found[0].instances[0].node, world.id(research));
    assert!(answered.took < Duration::from_millis(100), "{:?}", answered.took);
}

#[test]
fn every_node_gives_the_same_answer() {
    let (mut world, root, research, writing) = federation(2);
    let asked = |world: &mut World, host| {
        let answered = world.resolve(host, words("write papers letter"));
        assert!(!answered.outcome.is_partial());
        let found = answered.found.iter();
        found.map(|f| (f.name.to_string(), f.score.to_bits(), f.instance.signed.hash)).collect::<Vec<_>>()
    };
    let first = asked(&mut world, root);
    assert_eq!(first.len(), 3);
    for host in [research, writing, root] {
        assert_eq!(asked(&mut world, host), first);
    }
}

/// Which zones a question passes on its way depends on who asks, and what they hold says nothing of the tools of that zone.
#[test]
fn a_question_for_one_zone_has_the_same_answer_from_everywhere() {
    let (mut world, root, research, writing) = federation(23);
    let asked = |world: &mut World, host| {
        let bound = Question { zone: Some("research".to_owned()), ..words("search letters of papers by topic") };
        let answered = world.resolve(host, bound);
        assert!(!answered.outcome.is_partial());
        let found = answered.found.iter();
        found.map(|f| (f.name.to_string(), f.score.to_bits(), f.confidence.to_bits())).collect::<Vec<_>>()
    };
    let first = asked(&mut world, research);
    assert_eq!(first.len(), 2);
    for host in [root, writing] {
        assert_eq!(asked(&mut world, host), first);
    }
}

#[test]
fn a_name_is_found_from_everywhere_and_an_unknown_one_denied_by_its_authority() {
    let (mut world, root, research, writing) = federation(3);
    for host in [root, research, writing] {
        let answered = world.resolve(host, name(PAPERS));
        assert_eq!(answered.names(), [PAPERS]);
        let unknown = world.resolve(host, name("search_paper.arxiv.research"));
        assert!(unknown.found.is_empty() && !unknown.outcome.is_partial(), "{:?}", unknown.outcome);
        let [(_, denial)] = &unknown.outcome.answers[..] else { panic!("{:?}", unknown.outcome) };
        assert_eq!((denial.answer.zone.as_str(), denial.answer.node), ("research", world.id(research)));
        assert_eq!(denial.answer.near[0], PAPERS);
    }
}

#[test]
fn tools_of_one_definition_are_told_together_and_who_is_not_shown_is_told_why() {
    let (mut world, root, research, writing) = federation(22);
    let same = ("translate_text", "Translate a text about papers into another language");
    world.write_through(research, server("deepl", &[same, ("translate_file", "Translate a file")])).unwrap();
    world.write_through(writing, server("words", &[same])).unwrap();
    world.run_for(SETTLED);
    for host in [root, research, writing] {
        let question = |limit| Question { limit, ..words("translate a text of papers") };
        let answered = world.resolve(host, question(10));
        let best = &answered.found[0];
        assert_eq!(best.name.to_string(), "translate_text.deepl.research");
        assert_eq!(best.also.iter().map(ToString::to_string).collect::<Vec<_>>(), ["translate_text.words.writing"]);
        assert!(!answered.names().contains(&"translate_text.words.writing".to_owned()));
        let why = |name: &str, answered: &Answered| {
            answered.lost.iter().find(|lost| lost.name.as_str() == name).map(|lost| lost.why.clone())
        };
        assert_eq!(why("translate_text.words.writing", &answered), Some(Why::Same(best.name.clone())));
        let short = world.resolve(host, question(1));
        assert_eq!(short.names(), ["translate_text.deepl.research"]);
        assert_eq!(why("translate_file.deepl.research", &short), Some(Why::Worse { place: 2 }));
        // By its own name each stays what it is: nobody chooses between them here.
        let named = world.resolve(host, words("translate_text"));
        assert_eq!(named.names()[..2], ["translate_text.deepl.research", "translate_text.words.writing"]);
        assert!(named.found[..2].iter().all(|found| found.exact && found.also.is_empty()));
    }
}

/// What many ask at once is asked of others once, unless it has changed meanwhile or is to be asked anew.
#[test]
fn the_same_question_in_flight_is_one() {
    let (mut world, root, _, writing) = federation(21);
    let asked = words("papers on arxiv");
    let ask = |world: &mut World, times: usize, cached| {
        let before = queries_to(world, root);
        let terms = |terms| aop_proto::resolver::Terms { cached, ..terms };
        let tokens: Vec<u64> = (0..times).map(|_| world.ask(writing, asked.clone(), terms)).collect();
        world.run_for(DEADLINE);
        let answers: Vec<_> = tokens.into_iter().map(|token| world.answer(writing, token).unwrap()).collect();
        assert!(answers.iter().all(|answered| answered.names() == answers[0].names() && !answered.names().is_empty()));
        (queries_to(world, root) - before, answers[0].names())
    };
    let (first, names) = ask(&mut world, 1, false);
    assert_eq!(ask(&mut world, 50, false), (50 * first, names.clone()));
    world.run_for(Duration::from_mins(20));
    assert_eq!(ask(&mut world, 50, true), (first, names));
    // A tool of the own zone that is there before the second question is in its answer.
    world.run_for(Duration::from_mins(20));
    let early = world.ask(writing, asked.clone(), |terms| terms);
    let token = world.write(writing, server("desk", &[("print_papers", "Print papers on paper")]));
    assert!(world.run_until(DEADLINE, |world| world.written(writing, token).is_some()).is_some());
    let still = !world.is_answered(writing, early);
    let late = world.resolve(writing, asked);
    assert!(late.names().contains(&"print_papers.desk.writing".to_owned()), "{:?}", late.names());
    assert!(still, "the first was on its way all the time");
}

#[test]
fn a_zone_that_nobody_knows_is_denied_by_the_root_with_what_is_near() {
    let (mut world, root, research, writing) = federation(4);
    for host in [root, research, writing] {
        let unknown = world.resolve(host, name("search_papers.arxiv.reserch"));
        assert!(unknown.found.is_empty() && !unknown.outcome.is_partial(), "{:?}", unknown.outcome);
        let [(_, denial)] = &unknown.outcome.answers[..] else { panic!("{:?}", unknown.outcome) };
        assert_eq!((denial.answer.zone.as_str(), denial.answer.near.clone()), (".", vec!["research".to_owned()]));
    }
}

#[test]
fn a_silent_zone_is_named_within_the_deadline() {
    let (mut world, root, research, writing) = federation(5);
    world.crash(research);
    for (question, text) in [(Form::Words, "papers on arxiv"), (Form::Exact, PAPERS), (Form::List, "")] {
        for host in [writing, root] {
            let answered = world.resolve_as(host, self::question(question, text), |terms| aop_proto::resolver::Terms {
                cached: false,
                ..terms
            });
            assert_eq!(answered.silent(), ["research"], "{question:?} at {host:?}: {:?}", answered.outcome);
            assert!(answered.took <= DEADLINE, "{:?}", answered.took);
        }
    }
    // Its end was noticed in the meantime, and is said at once.
    world.run_for(Duration::from_secs(12));
    let answered = world.resolve(writing, words("letters and papers on mars"));
    assert_eq!(answered.silent(), ["research"]);
    assert!(answered.took < Duration::from_millis(500), "{:?}", answered.took);
    // It comes back, and nobody has to be told.
    world.start(research);
    world.run_for(Duration::from_secs(15));
    let answered = world.resolve(writing, words("papers on arxiv about the moon"));
    assert_eq!((answered.silent(), answered.names()[0].as_str()), (vec![], PAPERS));
}

#[test]
fn an_answer_is_as_old_as_the_time_it_was_on_its_way_or_waited_for_others() {
    let (mut world, root, research, writing) = federation(12);
    let all: Vec<HostId> = world.hosts().collect();
    let way = Duration::from_millis(200);
    world.slow(&[writing], &all, (way, way));
    let asked = |world: &mut World, host| {
        let answered = world
            .resolve_as(host, words("papers on arxiv"), |terms| aop_proto::resolver::Terms { cached: false, ..terms });
        assert!(!answered.outcome.is_partial() && answered.took >= way * 2, "{answered:?}");
        answered.outcome.answers.into_iter().map(|(_, checked)| checked.answer).collect::<Vec<_>>()
    };
    // The root had research's answer at once, and waited for that of writing; to research it came through the root.
    for host in [root, research] {
        for answer in asked(&mut world, host) {
            assert!((390..2000).contains(&answer.age_ms), "{} says {} ms", answer.zone, answer.age_ms);
            assert!(answer.age_ms + answer.ttl_ms <= 900_000);
        }
    }
}

/// What a host answers says beside its own zone, or in place of it, that this zone has nothing.
fn also_speaks_for(world: &mut World, host: HostId, zone: &'static str, in_place: bool) {
    world.doctor_frames(host, move |message| match message {
        Message::Answer(mut answer) => {
            let own = answer.zones.first().cloned();
            answer.zones.truncate(if in_place { 0 } else { answer.zones.len() });
            let denied = own.map(|own| ZoneAnswer { zone: zone.to_owned(), candidates: Vec::new(), ..own });
            answer.zones.splice(0..0, denied);
            Some(Message::Answer(answer))
        }
        other => Some(other),
    });
}

fn zones(answered: &Answered) -> Vec<&str> {
    let mut zones: Vec<&str> = answered.outcome.answers.iter().map(|(_, checked)| &*checked.answer.zone).collect();
    zones.sort_unstable();
    zones
}

#[test]
fn nobody_speaks_for_a_zone_that_is_not_below_it() {
    let (mut world, root, research, writing) = federation(15);
    also_speaks_for(&mut world, writing, "research", false);
    let all: Vec<HostId> = world.hosts().collect();
    // Whoever comes first is believed.
    world.slow(&[research], &all, (Duration::from_millis(100), Duration::from_millis(100)));
    // A parent, for a zone that its child knows better.
    also_speaks_for(&mut world, root, "research", false);
    for host in [root, research] {
        let answered = world.resolve(host, words("papers on arxiv"));
        assert_eq!((zones(&answered), answered.silent()), (vec![".", "research", "writing"], vec![]), "{host:?}");
        let said = answered.outcome.answers.iter().find(|(_, checked)| checked.answer.zone == "research").unwrap();
        assert_eq!((said.1.answer.node, answered.names()[0].as_str()), (world.id(research), PAPERS));
    }
}

#[test]
fn an_answer_that_says_nothing_it_may_say_is_no_denial() {
    let (mut world, root, _, writing) = federation(16);
    also_speaks_for(&mut world, writing, "research", true);
    let answered = world.resolve(root, words("letters"));
    assert_eq!((zones(&answered), answered.silent()), (vec![".", "research"], vec!["writing"]));
    let answered = world.resolve(root, name("write_letter.post.writing"));
    assert!(answered.found.is_empty());
    assert_eq!(answered.silent(), ["writing"]);
}

#[test]
fn what_was_heard_before_is_shown_as_stale_while_a_zone_is_silent() {
    let (mut world, _, research, writing) = federation(6);
    assert_eq!(world.resolve(writing, words("papers on arxiv")).names()[0], PAPERS);
    world.crash(research);
    world.run_for(Duration::from_secs(12));
    let answered = world
        .resolve_as(writing, words("papers on arxiv"), |terms| aop_proto::resolver::Terms { cached: false, ..terms });
    assert_eq!(answered.silent(), ["research"]);
    assert_eq!(answered.names()[0], PAPERS);
    assert_eq!(answered.outcome.answers[answered.found[0].answer].0, Source::L3);
}

#[test]
fn a_second_ask_does_not_reach_the_other_zone_and_a_change_there_ends_that_within_a_second() {
    let (mut world, _, research, writing) = federation(7);
    let first = world.resolve(writing, words("papers on arxiv"));
    let asked = queries_to(&world, research);
    assert!(asked > 0);
    let second = world.resolve(writing, words("papers on arxiv"));
    assert_eq!(queries_to(&world, research), asked);
    assert_eq!(second.names(), first.names());
    assert_eq!(second.outcome.answers[second.found[0].answer].0, Source::L2);
    world.write_through(research, Write::Remove("arxiv".to_owned())).unwrap();
    world.run_for(Duration::from_secs(1));
    let third = world.resolve(writing, words("papers on arxiv"));
    assert!(third.names().iter().all(|name| name != PAPERS), "{:?}", third.names());
    world.write_through(research, server("arxiv", &[("search_papers", "Search papers on arxiv by topic")])).unwrap();
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.resolve(writing, words("papers on arxiv")).names()[0], PAPERS);
}

#[test]
fn a_third_level_is_found_from_beside_and_its_child_finds_what_is_beside() {
    let (mut world, root, research, writing) = federation(8);
    let deep = world.boot(Spec::new("ml.research", 4).parent(2));
    world.run_for(SETTLED);
    world.write_through(deep, server("hub", &[("train_model", "Train a neural model")])).unwrap();
    world.run_for(SETTLED);
    for host in [root, research, writing, deep] {
        let answered = world.resolve(host, words("train a neural model"));
        assert!(!answered.outcome.is_partial(), "{:?}", answered.outcome.silent);
        assert_eq!(answered.names(), ["train_model.hub.ml.research"], "{host:?}");
        assert_eq!(world.resolve(host, name("train_model.hub.ml.research")).names(), ["train_model.hub.ml.research"]);
        assert_eq!(world.resolve(host, words("formal letter")).names(), ["write_letter.post.writing"]);
    }
    // The middle is gone: everything below it is silent, and named.
    world.crash(research);
    world.run_for(Duration::from_secs(12));
    let answered = world.resolve(writing, words("train a neural model again"));
    assert_eq!(answered.silent(), ["ml.research", "research"]);
}

/// Two zones whose nodes believe each other to be above: nothing goes round.
#[test]
fn a_question_goes_to_no_zone_twice() {
    let (mut world, root, research, writing) = federation(9);
    let before: Vec<u64> = world.hosts().map(|host| queries_to(&world, host)).collect();
    world.resolve(writing, words("quite another question"));
    let after: Vec<u64> = world.hosts().map(|host| queries_to(&world, host)).collect();
    let each: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!((each[root.0], each[research.0], each[writing.0]), (1, 1, 0));
}

#[test]
fn one_replica_s_answer_serves_the_others() {
    let mut world = World::new(10);
    world.boot(Spec::new(".", 1));
    let research = world.boot(Spec::new("research", 2).parent(1));
    let writers = [world.boot(Spec::new("writing", 3).parent(1)), world.boot(Spec::new("writing", 4).parent(1))];
    world.run_for(SETTLED);
    world.write_through(research, server("arxiv", &[("search_papers", "Search papers on arxiv by topic")])).unwrap();
    world.run_for(SETTLED);
    assert!(acquainted(&world, &writers) && equal(&world, &writers));
    for (text, first, second) in [("papers on arxiv", 0, 1), ("arxiv topic", 1, 0), ("search by topic", 0, 1)] {
        let before = queries_to(&world, research);
        for writer in [writers[first], writers[second], writers[first], writers[second]] {
            let answered = world.resolve(writer, words(text));
            assert_eq!(answered.names(), [PAPERS]);
            assert!(!answered.outcome.is_partial());
        }
        assert_eq!(queries_to(&world, research) - before, 1, "{text}");
    }
}

#[test]
fn a_parent_of_two_replicas_answers_at_both() {
    let mut world = World::new(11);
    let roots = [world.boot(Spec::new(".", 1)), world.boot(Spec::new(".", 2).join(1))];
    let research = world.boot(Spec::new("research", 3).parent(1));
    let writing = world.boot(Spec::new("writing", 4).parent(2));
    world.run_for(SETTLED);
    world.write_through(research, server("arxiv", &[("search_papers", "Search papers on arxiv by topic")])).unwrap();
    world.write_through(writing, server("post", &[("write_letter", "Write a letter in formal style")])).unwrap();
    world.run_for(SETTLED);
    for host in [writing, research, roots[0], roots[1]] {
        let answered = world.resolve(host, words("papers letter"));
        assert!(!answered.outcome.is_partial(), "{host:?} {:?}", answered.outcome.silent);
        assert_eq!(answered.found.len(), 2, "{host:?}");
        assert_eq!(world.resolve(host, name(PAPERS)).names(), [PAPERS], "{host:?}");
    }
}

#[test]
fn a_parent_that_restarts_answers_as_before() {
    let (mut world, root, _, writing) = federation(12);
    world.crash(root);
    world.start(root);
    world.run_for(Duration::from_secs(15));
    let answered = world.resolve(writing, words("papers on arxiv"));
    assert_eq!((answered.silent(), answered.names()[0].as_str()), (vec![], PAPERS));
    let answered = world.resolve(root, words("papers on arxiv please"));
    assert_eq!((answered.silent(), answered.names()[0].as_str()), (vec![], PAPERS));
}

#[test]
fn a_parent_that_is_not_there_is_silent_and_found_when_it_comes() {
    let mut world = World::new(13);
    let root = world.add(Spec::new(".", 1));
    let research = world.boot(Spec::new("research", 2).parent(1));
    world.run_for(SETTLED);
    world.write_through(research, server("arxiv", &[("search_papers", "Search papers on arxiv by topic")])).unwrap();
    let answered = world.resolve(research, words("papers on arxiv"));
    assert_eq!(answered.names(), [PAPERS]);
    assert_eq!(answered.silent(), ["the parent at 10.0.0.1:7400"]);
    world.run_for(Duration::from_secs(60));
    world.start(root);
    let took = world.run_until(Duration::from_secs(20), |world| {
        world.view(root).is_some_and(|view| view.children.iter().any(|child| child.connected == 1))
    });
    assert!(took.is_some());
    world.run_for(SETTLED);
    assert_eq!(world.resolve(root, words("papers on arxiv")).names(), [PAPERS]);
    assert!(!world.resolve(research, words("papers on mars")).outcome.is_partial());
}

/// It had no parent of its own: names outside its zone were denied, and words found nothing there.
#[test]
fn a_replica_that_only_joined_answers_like_the_others() {
    let (mut world, root, _, writing) = federation(14);
    let joined = world.boot(Spec::new("writing", 5).join(3));
    world.run_for(SETTLED);
    let answered = world.resolve(joined, words("papers on arxiv"));
    assert_eq!((answered.silent(), answered.names()[0].as_str()), (vec![], PAPERS));
    assert_eq!(world.resolve(joined, name(PAPERS)).names(), [PAPERS]);
    // It carries the zone alone when the one it joined is gone, also after a restart.
    world.crash(writing);
    world.run_for(Duration::from_secs(12));
    for _ in 0..2 {
        let answered = world.resolve(joined, words("papers on arxiv again"));
        assert_eq!((answered.silent(), answered.names()[0].as_str()), (vec![], PAPERS));
        assert_eq!(world.resolve(root, words("formal letter")).names(), ["write_letter.post.writing"]);
        world.crash(joined);
        world.start(joined);
        world.run_for(Duration::from_secs(15));
    }
}

#[test]
fn a_change_of_the_parent_while_the_connection_was_lost_ends_what_was_kept() {
    let (mut world, root, _, writing) = federation(15);
    world.write_through(root, server("clock", &[("tell_time", "Tell the time of day")])).unwrap();
    world.run_for(SETTLED);
    assert_eq!(world.resolve(writing, words("time of day")).names(), ["tell_time.clock"]);
    world.partition(&[root], &[writing]);
    world.run_for(Duration::from_secs(11));
    world.write_through(root, Write::Remove("clock".to_owned())).unwrap();
    world.run_for(SETTLED);
    world.heal();
    world.run_for(Duration::from_secs(12));
    assert!(world.view(writing).unwrap().contacts.iter().any(|contact| contact.state == "connected"));
    assert!(world.resolve(writing, words("time of day")).names().is_empty());
}

#[test]
fn an_owner_without_the_parent_does_not_make_the_others_silent() {
    let mut world = World::new(16);
    let root = world.boot(Spec::new(".", 1));
    let research = world.boot(Spec::new("research", 2).parent(1));
    let writers = [world.boot(Spec::new("writing", 3).parent(1)), world.boot(Spec::new("writing", 4).parent(1))];
    world.run_for(SETTLED);
    world.write_through(research, server("arxiv", &[("search_papers", "Search papers on arxiv by topic")])).unwrap();
    world.run_for(SETTLED);
    world.partition(&[root], &writers[..1]);
    world.run_for(Duration::from_secs(12));
    for text in ["papers", "arxiv", "topic", "papers topic", "search arxiv"] {
        let answered = world.resolve(writers[1], words(text));
        assert_eq!((answered.silent(), answered.names()), (vec![], vec![PAPERS.to_owned()]), "{text}");
    }
}

#[test]
fn a_zone_of_two_answers_while_one_of_them_is_gone() {
    let mut world = World::new(17);
    world.boot(Spec::new(".", 1));
    let papers = [world.boot(Spec::new("research", 2).parent(1)), world.boot(Spec::new("research", 3).parent(1))];
    let writing = world.boot(Spec::new("writing", 4).parent(1));
    world.run_for(SETTLED);
    world.write_through(papers[0], server("arxiv", &[("search_papers", "Search papers on arxiv by topic")])).unwrap();
    world.run_for(SETTLED);
    for gone in papers {
        world.crash(gone);
        // Its death is noticed by nobody yet, and then by everybody.
        for wait in [Duration::ZERO, Duration::from_secs(12)] {
            world.run_for(wait);
            let answered = world.resolve(writing, words(&format!("papers {wait:?} {gone:?}")));
            assert_eq!((answered.silent(), answered.names()), (vec![], vec![PAPERS.to_owned()]), "{wait:?}");
        }
        world.start(gone);
        world.run_for(Duration::from_secs(15));
    }
}

#[test]
fn half_an_hour_of_silence_changes_nothing() {
    let (mut world, root, research, writing) = federation(18);
    world.run_for(Duration::from_secs(1800));
    for host in [root, research, writing] {
        let answered = world.resolve(host, words("papers on arxiv"));
        assert_eq!((answered.silent(), answered.names()[0].as_str()), (vec![], PAPERS));
    }
    let children = &world.view(root).unwrap().children;
    let now_ms = children.iter().map(|child| child.expires_ms).min().unwrap();
    assert!(children.iter().all(|child| child.expires_ms - now_ms < 300_000));
}

#[test]
fn a_child_that_leaves_is_no_member_of_its_parent() {
    let (mut world, root, research, writing) = federation(19);
    world.leave(research);
    world.run_for(SETTLED);
    assert!(world.view(root).unwrap().members.is_empty(), "{:?}", world.view(root).unwrap().members);
    let answered = world.resolve(writing, words("papers on mars"));
    assert_eq!(answered.silent(), ["research"]);
    assert!(answered.took < Duration::from_millis(500), "{:?}", answered.took);
}

/// The lease of a delegation was measured by the wall clock: a parent whose clock had been wrong denied its children.
#[test]
fn a_wrong_clock_ends_no_lease() {
    let mut world = World::new(20);
    let root = world.add(Spec::new(".", 1));
    world.set_clock(root, -600_000);
    world.start(root);
    let research = world.boot(Spec::new("research", 2).parent(1));
    let writing = world.boot(Spec::new("writing", 3).parent(1));
    world.run_for(SETTLED);
    world.write_through(research, server("arxiv", &[("search_papers", "Search papers on arxiv by topic")])).unwrap();
    world.set_clock(root, 0);
    world.crash(research);
    world.run_for(Duration::from_secs(12));
    let answered = world.resolve(writing, name(PAPERS));
    assert_eq!(answered.silent(), ["research"], "{:?}", answered.outcome);
}

/// A middle that began anew while the root was away told its child nothing of the root, and did not say so later.
#[test]
fn an_anchor_that_comes_late_is_handed_down() {
    let mut world = World::new(21);
    let root = world.boot(Spec::new(".", 1));
    let lib = [world.boot(Spec::new("lib", 2).parent(1)), world.boot(Spec::new("lib", 3).parent(1).join(2))];
    world.run_for(SETTLED);
    world.write_through(root, server("clock", &[("tell_time", "Tell the time of day")])).unwrap();
    world.crash(root);
    world.lose(lib[1]);
    world.run_for(Duration::from_secs(12));
    world.start(lib[1]);
    world.run_for(SETTLED);
    let deep = world.boot(Spec::new("ml.lib", 4).parent(3));
    world.run_for(SETTLED);
    world.start(root);
    world.run_for(Duration::from_secs(15));
    let answered = world.resolve(deep, name("tell_time.clock"));
    assert_eq!((answered.silent(), answered.names()), (vec![], vec!["tell_time.clock".to_owned()]));
}

/// Whoever is refused something lies: an alarm is made of it.
#[test]
fn among_honest_nodes_nothing_is_refused() {
    let (mut world, root, research, writing) = federation(17);
    let second = world.boot(Spec::new("research", 4).join(2));
    let hosts = [research, second];
    world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts)).unwrap();
    world.write_through(second, server("maps", &[("find_city", "Find a city")])).unwrap();
    world.rotate_through(research).unwrap();
    world.run_for(Duration::from_secs(400));
    for host in [root, research, second, writing] {
        assert!(!world.resolve(host, words("papers of a city")).outcome.is_partial());
        assert_eq!(world.view(host).unwrap().counts.refused, 0, "{host:?}");
    }
}

/// No score travels, and every asker has the same counts and texts: it makes no difference over how many zones tools are spread.
#[test]
fn eight_zones_answer_what_one_zone_that_holds_everything_answers() {
    const ZONES: [&str; 8] = ["arts", "bank", "city", "desk", "earth", "food", "games", "health"];
    let things =
        ["invoice", "glacier", "recipe", "violin", "passport", "volcano", "tulip", "novel", "meteor", "engine"];
    let tool = |n: usize| {
        let (verb, thing) = (["find", "create", "measure", "translate", "book"][n % 5], things[n / 5 % 10]);
        let more =
            ["by its place", "of this year with all its parts", "and say what it costs", "for a friend"][n / 7 % 4];
        (format!("{verb}_{thing}"), format!("Lets you {verb} the {thing} {more}."))
    };
    let tools: Vec<(String, String)> = (0..200).map(tool).collect();
    let written = |part: usize, of: usize| {
        let of_part = tools.iter().enumerate().filter(move |(n, _)| n % of == part);
        let by_server = |server: usize| of_part.clone().filter(move |(n, _)| n / 50 == server);
        (0..4)
            .map(|at| by_server(at).map(|(_, (name, text))| (name.as_str(), text.as_str())).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let servers = ["alpha", "beta", "gamma", "delta"];
    let mut one = World::new(31);
    let whole = one.boot(Spec::new("whole", 1));
    let mut eight = World::new(32);
    let root = eight.boot(Spec::new(".", 1));
    let zones: Vec<HostId> = (2..).zip(ZONES).map(|(host, zone)| eight.boot(Spec::new(zone, host).parent(1))).collect();
    one.run_for(SETTLED);
    eight.run_for(SETTLED);
    for (server_name, tools) in servers.iter().zip(written(0, 1)) {
        one.write_through(whole, server(server_name, &tools)).unwrap();
    }
    for (at, zone) in zones.iter().enumerate() {
        for (server_name, tools) in servers.iter().zip(written(at, ZONES.len())).filter(|(_, tools)| !tools.is_empty())
        {
            eight.write_through(*zone, server(server_name, &tools)).unwrap();
        }
    }
    one.run_for(SETTLED);
    eight.run_for(SETTLED);
    let ids = |answered: &Answered| {
        assert!(!answered.outcome.is_partial(), "{:?}", answered.outcome.silent);
        let found = answered.found.iter().map(|found| {
            let body = found.instance.body();
            (format!("{}/{}", body.server, body.original), found.score.to_bits(), found.confidence.to_bits())
        });
        found.collect::<Vec<_>>()
    };
    for asked in [
        "measure a glacier",
        "which film costs what it says",
        "find the volcano by its place. Then translate a novel for a friend, and create a recipe",
        "a book about violins",
        "passport",
    ] {
        let expected = ids(&one.resolve(whole, words(asked)));
        assert!(!expected.is_empty(), "{asked}");
        for host in [root, zones[0], zones[7]] {
            assert_eq!(ids(&eight.resolve(host, words(asked))), expected, "{asked}");
        }
    }
}
