//! What zones tell of what they hold: who has nothing to say is not asked, and nothing is lost by it.

#![expect(clippy::unwrap_used, reason = "what is missing here has failed the test")]

use std::time::Duration;

use aop_proto::access::{Action, Caller, Glob, Policy, Rule, Sight};
use aop_proto::name::ZoneName;
use aop_proto::params::{EXPORT_PAUSE, EXPORT_RENEWAL, LEASE, TTL_L2};
use aop_proto::resolver::{Source, Terms};
use aop_proto::wire::message::Message;
use aop_simulations::scenario::server;
use aop_simulations::world::{HostId, Spec, name, words};
use aop_simulations::{Answered, World};

/// Kind of a query on the wire, and of an export.
const QUERY: u8 = 32;
const EXPORT: u8 = 35;

/// A root, `research` with `ml.research` below it, `writing` and `maps`; each with a tool of its own words.
struct Federation {
    world: World,
    root: HostId,
    research: HostId,
    ml: HostId,
    writing: HostId,
    maps: HostId,
}

impl Federation {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let root = world.boot(Spec::new(".", 1));
        let research = world.boot(Spec::new("research", 2).parent(1));
        let ml = world.boot(Spec::new("ml.research", 3).parent(2));
        let writing = world.boot(Spec::new("writing", 4).parent(1));
        let maps = world.boot(Spec::new("maps", 5).parent(1));
        world.run_for(Duration::from_secs(3));
        for (host, tool, text) in [
            (research, "search_papers", "Search papers on arxiv"),
            (ml, "train_model", "Train a neural network"),
            (writing, "write_letter", "Write a letter to somebody"),
            (maps, "find_route", "Find a route between two cities"),
        ] {
            world.write_through(host, server("desk", &[(tool, text)])).unwrap();
        }
        let mut federation = Self { world, root, research, ml, writing, maps };
        federation.tell_all();
        federation
    }

    /// Questions that nobody can answer, until everybody has told the root what it holds: each level asks the next, not too often.
    fn tell_all(&mut self) {
        for _ in 0..3 {
            self.world.run_for(EXPORT_PAUSE);
            self.world.resolve(self.root, words("zzyzx"));
        }
        self.world.run_for(Duration::from_secs(1));
    }

    fn ask(&mut self, host: HostId, text: &str) -> Answered {
        self.world.resolve(host, words(text))
    }

    /// Queries that reached each of these while `ask` was at work.
    fn asked(&mut self, of: &[HostId], ask: impl FnOnce(&mut Self)) -> Vec<u64> {
        let count = |world: &World| -> Vec<u64> {
            of.iter().map(|host| world.received(*host, |kind| kind == QUERY).messages).collect()
        };
        let before = count(&self.world);
        ask(self);
        count(&self.world).into_iter().zip(before).map(|(after, before)| after - before).collect()
    }
}

fn uncached(terms: Terms) -> Terms {
    Terms { cached: false, ..terms }
}

/// The same tools in the same order, and the same counts behind them.
fn told(answered: &Answered) -> (Vec<String>, Vec<String>, u64) {
    let mut zones: Vec<String> = answered.outcome.answers.iter().map(|(_, it)| it.answer.zone.clone()).collect();
    zones.sort();
    let documents = answered.outcome.answers.iter().map(|(_, it)| it.answer.documents).sum();
    (answered.names(), zones, documents)
}

#[test]
fn only_those_are_asked_who_may_have_something_to_say_and_nothing_is_lost() {
    let mut f = Federation::new(1);
    for (text, deep) in [("arxiv papers", 0), ("neural network", 1), ("a letter", 0), ("route between cities", 0)] {
        let from = f.maps;
        let (research, ml, writing) = (f.research, f.ml, f.writing);
        let mut some = None;
        let asked = f.asked(&[research, ml, writing], |f| some = Some(f.ask(from, text)));
        let some = some.unwrap();
        let everywhere = f.world.resolve_as(from, words(text), uncached);
        assert_eq!(told(&some), told(&everywhere), "{text}");
        assert!(some.outcome.skipped == 0 && !some.outcome.is_partial());
        let [of_research, of_ml, of_writing] = asked[..] else { unreachable!() };
        assert_eq!((of_research, of_ml), (u64::from(text != "a letter" && !text.contains("route")), deep), "{text}");
        assert_eq!(of_writing, u64::from(text == "a letter"), "{text}");
    }
    let answered = f.ask(f.root, "xylophone");
    assert_eq!(answered.outcome.answers.len(), 5);
    let exported = answered.outcome.answers.iter().filter(|(source, _)| *source == Source::Export);
    let ages: Vec<u64> = exported.map(|(_, it)| it.answer.age_ms).collect();
    assert_eq!(ages.len(), 4);
    assert!(ages.iter().all(|age| *age > 0), "{ages:?}");
}

#[test]
fn a_change_is_found_as_soon_as_it_is_heard_of() {
    let mut f = Federation::new(2);
    assert!(f.ask(f.maps, "xylophone").found.is_empty());
    f.world.write_through(f.ml, server("band", &[("play", "Play the xylophone")])).unwrap();
    f.world.run_for(Duration::from_millis(500));
    for host in [f.maps, f.root, f.research, f.writing] {
        assert_eq!(f.ask(host, "xylophone").names(), ["play.band.ml.research"]);
    }
    // And again, once the change is exported: now only those on the way are asked.
    f.tell_all();
    let (writing, ml, maps) = (f.writing, f.ml, f.maps);
    let asked = f.asked(&[writing, ml], |f| assert_eq!(f.ask(maps, "a xylophone").names().len(), 1));
    assert_eq!(asked, [0, 1]);
}

#[test]
fn exports_are_asked_for_while_they_are_of_use_and_count_no_longer_than_a_cached_answer() {
    let mut f = Federation::new(3);
    let sent = |f: &Federation| f.world.sent(f.writing, |kind| kind == EXPORT);
    let before = sent(&f);
    f.world.run_for(10 * EXPORT_RENEWAL);
    assert_eq!(sent(&f).messages, before.messages, "nobody asks anything");
    let mut oldest = 0;
    for number in 0..300 {
        f.world.run_for(Duration::from_secs(1));
        let answered = f.ask(f.root, &format!("xylophone {number}"));
        let ages = answered.outcome.answers.iter().map(|(_, it)| it.answer.age_ms);
        oldest = oldest.max(ages.max().unwrap());
    }
    let after = sent(&f);
    let (messages, bytes) = (after.messages - before.messages, after.bytes - before.bytes);
    assert!((9..=11).contains(&messages), "{messages}");
    assert!(bytes < 11 * 150, "{bytes}: the filter is known");
    // Of a zone two levels down, both levels may be as late as that.
    assert!(oldest <= 2 * (EXPORT_RENEWAL + EXPORT_PAUSE).as_millis() as u64, "{oldest} ms");
    // Whoever does not answer is asked like everybody else once what it told has ended.
    f.world.run_for(TTL_L2);
    let maps = f.maps;
    assert_eq!(f.asked(&[maps], |f| drop(f.ask(f.root, "xylophone"))), [1]);
}

#[test]
fn an_unreachable_zone_is_named_whatever_it_exported() {
    let mut f = Federation::new(4);
    f.world.partition(&[f.research], &[f.ml]);
    f.world.run_for(Duration::from_secs(40));
    for host in [f.root, f.maps, f.research] {
        let answered = f.ask(host, "xylophone");
        let silent: Vec<&str> = answered.outcome.silent.iter().map(|silent| silent.zone.as_str()).collect();
        assert_eq!(silent, ["ml.research"], "asked at {host:?}");
    }
    f.world.heal();
    f.world.run_for(Duration::from_secs(40));
    f.tell_all();
    let answered = f.ask(f.maps, "xylophone");
    assert!(!answered.outcome.is_partial() && answered.outcome.answers.len() == 5);
}

/// Which words a zone has is told to nobody who may not find its tools: neither by not asking, nor in what a parent is told.
#[test]
fn whoever_may_not_find_a_zone_does_not_learn_its_words() {
    let mut f = Federation::new(5);
    let rule = |zone: &str| Rule {
        principal: Glob::new("*"),
        action: Some(Action::Discover),
        zone: Some(ZoneName::parse(zone).unwrap()),
        tool: Glob::any(),
        deny: true,
    };
    let hidden = vec![rule("writing")];
    let sight = Sight::of(&Policy { is_open: true, rules: hidden }, &Caller::anonymous(), false).unwrap();
    for text in ["letter", "xylophone"] {
        let token = f.world.ask_for(f.root, words(text), sight.clone());
        f.world.run_for(Duration::from_secs(3));
        let answered = f.world.answer(f.root, token).unwrap();
        let of_writing = answered.outcome.answers.iter().find(|(_, it)| it.answer.zone == "writing").unwrap();
        assert_eq!((of_writing.0, of_writing.1.answer.age_ms < 1_000), (Source::Child, true), "{text}");
    }
    // The zone hides from its parent: it tells no more what it holds.
    f.world.set_rules(f.maps, vec![rule("maps")]);
    f.world.run_for(EXPORT_RENEWAL);
    f.tell_all();
    let maps = f.maps;
    for text in ["route", "xylophone"] {
        let asked = f.asked(&[maps], |f| assert!(f.world.resolve(f.root, words(text)).found.is_empty()));
        assert_eq!(asked, [1], "{text}");
    }
}

#[test]
fn where_not_all_can_be_asked_those_of_most_promise_are_and_the_others_are_counted() {
    let mut world = World::new(6);
    let root = world.boot(Spec::new(".", 1));
    let common: Vec<HostId> =
        (0..8).map(|number| world.boot(Spec::new(&format!("z{number}"), 10 + number).parent(1))).collect();
    world.run_for(Duration::from_secs(3));
    for (at, host) in common.iter().enumerate() {
        let text = if at == 5 { "Convert a melody into sheet music" } else { "Convert a file" };
        world.write_through(*host, server("desk", &[("convert", text)])).unwrap();
    }
    for _ in 0..2 {
        world.resolve(root, words("zzyzx"));
        world.run_for(EXPORT_PAUSE);
    }
    let few = |budget| move |terms| Terms { budget, ..terms };
    let answered = world.resolve_as(root, words("convert melody"), few(2));
    assert_eq!((answered.names()[0].as_str(), answered.outcome.skipped), ("convert.desk.z5", 6));
    let answered = world.resolve_as(root, words("melody"), few(1));
    assert_eq!((answered.names(), answered.outcome.skipped), (vec!["convert.desk.z5".to_owned()], 0));
    let by_name = world.resolve_as(root, name("convert.desk.z7"), few(1));
    assert_eq!(by_name.names().len(), 1);
}

#[test]
fn a_zone_that_comes_back_is_asked_although_nobody_had_told_of_it() {
    let mut f = Federation::new(7);
    f.world.partition(&[f.research], &[f.ml]);
    // Until its lease is over, and those above have told without it.
    f.world.run_for(LEASE + Duration::from_secs(60));
    f.tell_all();
    assert!(!f.ask(f.root, "xylophone").outcome.is_partial());
    f.world.heal();
    let back = |world: &World| world.are_linked(f.research, f.ml);
    assert!(f.world.run_until(Duration::from_secs(60), back).is_some());
    f.world.run_for(Duration::from_secs(5));
    assert_eq!(f.ask(f.root, "neural network").names(), ["train_model.desk.ml.research"]);
}

#[test]
fn what_one_node_of_a_zone_changes_ends_what_another_told_of_it() {
    for changed in 0..2 {
        let mut world = World::new(8);
        let root = world.boot(Spec::new(".", 1));
        world.boot(Spec::new("research", 2).parent(1));
        let leaf = [
            world.boot(Spec::new("ml.research", 3).parent(2)),
            world.boot(Spec::new("ml.research", 4).parent(2).join(3)),
        ];
        world.run_for(Duration::from_secs(5));
        for _ in 0..4 {
            world.resolve(root, words("zzyzx"));
            world.run_for(EXPORT_PAUSE);
        }
        let told = world.resolve(root, words("xylophone"));
        assert!(told.outcome.answers.iter().any(|(source, _)| *source == Source::Export), "{:?}", told.outcome);
        // The two no longer hear each other; both are still heard above.
        world.partition(&leaf[..1], &leaf[1..]);
        world.write_through(leaf[changed], server("band", &[("play", "Play the xylophone")])).unwrap();
        world.run_for(Duration::from_secs(1));
        let asked = world.resolve(root, words("the xylophone"));
        assert!(asked.outcome.answers.iter().all(|(source, _)| *source != Source::Export), "{:?}", asked.outcome);
    }
}

/// Whatever a child says that it holds, nobody's counts run over, and its number of zones buys it no share of others.
#[test]
fn counts_that_nobody_has_are_cut() {
    let mut f = Federation::new(11);
    f.world.doctor_frames(f.writing, |mut message| {
        if let Message::Export(export) = &mut message {
            for exported in &mut export.zones {
                (exported.documents, exported.total_length, exported.age_ms) = (u64::MAX, u64::MAX, u64::MAX);
            }
        }
        Some(message)
    });
    f.world.doctor_frames(f.maps, |mut message| {
        if let Message::Export(export) = &mut message {
            (export.zones[0].documents, export.zones[0].total_length) = (u64::MAX, u64::MAX);
        }
        Some(message)
    });
    f.world.run_for(TTL_L2);
    f.tell_all();
    let (writing, maps) = (f.writing, f.maps);
    let asked = f.asked(&[writing, maps], |f| {
        let answered = f.ask(f.root, "xylophone");
        assert!(!answered.outcome.is_partial() && answered.found.is_empty());
        let counts = answered.outcome.answers.iter().map(|(_, it)| it.answer.documents.max(it.answer.total_length));
        assert_eq!(counts.max(), Some(1 << 40));
    });
    assert_eq!(asked, [1, 0], "what is older than anything counts for nothing");
}
