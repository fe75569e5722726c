//! Questions go on while the parent of a zone is away, and after everything has come and gone everybody is told the same.

#![expect(clippy::unwrap_used, reason = "what is missing here has failed the test")]

use std::collections::BTreeSet;
use std::time::Duration;

use aop_proto::resolver::Source;
use aop_proto::wire::message::Question;
use aop_simulations::World;
use aop_simulations::scenario::server;
use aop_simulations::world::{HostId, Spec, name, words};

/// Names of each leaf.
const NAMES: u32 = 20;
/// A lost link is noticed by then.
const NOTICED: Duration = Duration::from_secs(12);

/// A root, two zones below it and five of one node each below those, in this order. The first and third leaf lie below the first zone.
const ZONES: [(&str, u32); 8] =
    [(".", 0), ("m1", 1), ("m2", 1), ("l1.m1", 2), ("l2.m2", 3), ("l3.m1", 2), ("l4.m2", 3), ("l5.m2", 3)];

fn federation(seed: u64) -> (World, Vec<HostId>) {
    let mut world = World::new(seed);
    let mut hosts = Vec::new();
    for (at, (zone, parent)) in (1..).zip(ZONES) {
        let spec = Spec::new(zone, at);
        hosts.push(world.boot(if parent > 0 { spec.parent(parent) } else { spec }));
        world.run_for(Duration::from_secs(2));
    }
    for host in &hosts[3..] {
        let tools: Vec<String> = (0..NAMES).map(|tool| format!("tool{tool}")).collect();
        let tools: Vec<(&str, &str)> = tools.iter().map(|tool| (tool.as_str(), "one of many tools")).collect();
        world.write_through(*host, server("s", &tools)).unwrap();
    }
    world.run_for(Duration::from_secs(10));
    (world, hosts)
}

/// A name of a leaf other than the first: by Zipf's law, nearly enough, as far as the cap goes.
fn draw(world: &mut World) -> String {
    let spread = 1 + world.below(u64::from(NAMES));
    let tool = world.below(spread);
    let zone = ZONES[4 + world.below(4) as usize].0;
    format!("tool{tool}.s.{zone}")
}

/// A node whose parent does not answer knows what it was told; what it was not told nobody denies.
#[test]
fn what_was_known_is_answered_while_the_parent_is_away() {
    let (mut world, hosts) = federation(1);
    let (leaf, parent) = (hosts[3], hosts[1]);
    let mut known = BTreeSet::new();
    for _ in 0..60 {
        let wanted = draw(&mut world);
        assert_eq!(world.resolve(leaf, name(&wanted)).names(), std::slice::from_ref(&wanted));
        known.insert(wanted);
        world.run_for(Duration::from_secs(1));
    }
    world.crash(parent);
    world.run_for(NOTICED);
    let (mut fresh, mut stale, mut unknown) = (0, 0, 0);
    // Longer than the zone keeps what it was told, and not as long as it remembers it.
    for _ in 0..500 {
        let wanted = draw(&mut world);
        let answered = world.resolve(leaf, name(&wanted));
        let kept = answered.outcome.answers.iter().any(|(source, _)| *source == Source::L3);
        if known.contains(&wanted) {
            assert_eq!(
                answered.names(),
                std::slice::from_ref(&wanted),
                "at {:?}, {:?}",
                world.time(),
                answered.silent()
            );
            assert_eq!(kept, answered.outcome.is_partial(), "{:?}", answered.outcome);
            if kept { stale += 1 } else { fresh += 1 }
        } else {
            assert!(answered.found.is_empty() && answered.outcome.is_partial(), "{:?}", answered.outcome);
            unknown += 1;
        }
        world.run_for(Duration::from_secs(1));
    }
    assert!(fresh > 0 && stale > 0 && unknown > 0, "{fresh} fresh, {stale} stale, {unknown} unknown");
    world.start(parent);
    world.run_for(Duration::from_secs(15));
    let wanted = format!("tool{}.s.l5.m2", NAMES - 1);
    let answered = world.resolve(leaf, name(&wanted));
    assert_eq!((answered.names(), answered.silent()), (vec![wanted], vec![]));
}

/// Nobody takes an answer for whole because the silent zone is the only one he knows of.
#[test]
fn zones_behind_a_silent_one_are_named_too() {
    let (mut world, hosts) = federation(3);
    let asked = words("one of many tools");
    let behind = ["l2.m2", "l4.m2", "l5.m2"];
    world.crash(hosts[2]);
    world.run_for(NOTICED);
    for host in [hosts[0], hosts[1], hosts[3]] {
        let answered = world.resolve(host, asked.clone());
        let silent: Vec<&str> = answered.silent();
        assert_eq!(silent, ["l2.m2", "l4.m2", "l5.m2", "m2"], "from {host:?}");
        for zone in behind {
            let reason = answered.outcome.silent.iter().find(|silent| silent.zone == zone).map(|it| it.reason.as_str());
            assert_eq!(reason, Some("not asked: it is reached through m2, which is silent"));
        }
    }
    // Of one of them nobody else is told, and of a name the silence of its zone's way says all.
    let bound = Question { zone: Some("l2.m2".to_owned()), ..asked.clone() };
    assert_eq!(world.resolve(hosts[3], bound).silent(), ["l2.m2", "m2"]);
    assert_eq!(world.resolve(hosts[3], name("tool1.s.l2.m2")).silent(), ["m2"]);
    world.start(hosts[2]);
    world.run_for(Duration::from_secs(15));
    assert_eq!(world.resolve(hosts[3], asked).silent(), Vec::<&str>::new());
}

#[test]
fn ten_nodes_of_different_zones_rank_alike_after_churn() {
    let (mut world, mut hosts) = federation(2);
    for (zone, at, fellow) in [("l1.m1", 9, 4), ("l5.m2", 10, 8)] {
        hosts.push(world.boot(Spec::new(zone, at).join(fellow)));
    }
    world.run_for(Duration::from_secs(10));
    for round in 0..12_u32 {
        let host = hosts[3 + (round as usize * 3) % 5];
        let away = hosts[(round as usize * 7) % hosts.len()];
        if world.node(host).is_some() {
            let text = format!("one of many tools, now for round {round}");
            world.write(
                host,
                server("s", &[("tool1", &text), ("tool2", "a tool of its own"), ("other", "many rounds")]),
            );
            world.run_for(Duration::from_millis(500));
        }
        world.crash(away);
        world.run_for(Duration::from_secs(3));
        world.resolve(hosts[(round as usize + 1) % 3 + 3], words("many rounds"));
        if world.node(away).is_none() {
            world.start(away);
        }
        world.run_for(Duration::from_secs(2));
    }
    world.run_for(Duration::from_secs(60));
    for asked in ["many tools for a round", "tool of its own", "other"] {
        let told: Vec<_> = hosts
            .iter()
            .map(|host| {
                let answered = world.resolve(*host, words(asked));
                assert!(!answered.outcome.is_partial(), "{host:?}: {:?}", answered.outcome.silent);
                let found = answered.found.iter();
                found
                    .map(|found| (found.name.to_string(), found.score.to_bits(), found.instance.signed.hash))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(told.len(), 10);
        assert!(!told[0].is_empty() && told.iter().all(|other| *other == told[0]), "{asked}: {told:#?}");
    }
}
