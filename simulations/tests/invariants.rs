//! Every check is worth what it finds: each invariant with a planted bug that turns it red, and the same run without it green.
//!
//! The checkers whose subject no sabotage from outside reaches (4, 8) have theirs beside them, in `checks`.

#![expect(clippy::unwrap_used, reason = "what is missing here has failed the test")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use aop_proto::node::{Input, Keep, Output, Write};
use aop_proto::record::{Kind, Origin, Signed};
use aop_proto::trust::sign_flush;
use aop_proto::wire::message::Message;
use aop_simulations::scenario::{acquainted, equal, replicas, server, tool};
use aop_simulations::storm::storm;
use aop_simulations::world::{HostId, Spec, name};
use aop_simulations::{Bounds, Coverage, World};

const SETTLED: Duration = Duration::from_secs(2);

/// The run is well without the bug, and names the invariant with it.
fn turns_red(number: u8, run: impl Fn(bool)) {
    run(false);
    let error = catch_unwind(AssertUnwindSafe(|| run(true))).expect_err("a planted bug is found");
    let what = error.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(what.starts_with(&format!("invariant {number}: ")), "invariant {number} was meant, found: {what}");
}

/// Three replicas, each of which serves two tools that all hold.
fn three() -> (World, Vec<HostId>) {
    let mut world = World::new(7);
    world.set_bounds(Bounds { heal: Duration::from_secs(20), spread: Duration::from_secs(5) });
    let hosts = replicas(&mut world, "research", 1, 3);
    world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts)).unwrap();
    for (at, host) in hosts.iter().enumerate() {
        world.write_through(*host, server(&format!("s{at}"), &[("one", "first"), ("two", "second")])).unwrap();
    }
    world.run_until(SETTLED, |world| equal(world, &hosts)).unwrap();
    (world, hosts)
}

fn origin(world: &World, host: HostId) -> Origin {
    let node = world.id(host);
    let incarnation = world.node(host).unwrap().registry().incarnation_of(node).unwrap();
    Origin { node, incarnation }
}

/// The number under which a host last wrote a tool.
fn seq_of(world: &World, host: HostId, tool: &str) -> u64 {
    let origin = origin(world, host);
    let latest = world.node(host).unwrap().registry().latest(origin, Kind::Tool, tool);
    latest.unwrap().record.seq
}

#[test]
fn planted_disk_that_forgets_the_end_of_a_log_turns_invariant_1_red() {
    turns_red(1, |planted| {
        let (mut world, hosts) = three();
        let log = origin(&world, hosts[0]);
        world.run_for(SETTLED);
        world.crash(hosts[1]);
        if planted {
            world.tamper(hosts[1], |plates| {
                let last = *plates.range((log, 0)..=(log, u64::MAX)).next_back().unwrap().0;
                plates.remove(&last);
            });
        }
        world.start(hosts[1]);
        world.run_for(SETTLED);
    });
}

#[test]
fn planted_disk_that_forgets_the_next_life_turns_invariant_1_red() {
    turns_red(1, |planted| {
        let (mut world, hosts) = three();
        world.backup(hosts[0]);
        world.write_through(hosts[0], server("more", &[("three", "third")])).unwrap();
        world.run_for(SETTLED);
        assert!(world.restore_backup(hosts[0]));
        world.doctor_saying(hosts[0], move |output| match output {
            Output::Persist { token, mut keep } if planted => {
                keep.retain(|keep| !matches!(keep, Keep::Incarnation(_)));
                Some(Output::Persist { token, keep })
            }
            other => Some(other),
        });
        world.start(hosts[0]);
        world.run_for(SETTLED);
    });
}

#[test]
fn planted_second_content_under_a_number_turns_invariant_2_red() {
    turns_red(2, |planted| {
        let (mut world, hosts) = three();
        let (id, key) = (world.id(hosts[0]), world.key(hosts[0]));
        world.doctor_frames(hosts[0], move |mut message| {
            if let (true, Message::Ranges(ranges)) = (planted, &mut message) {
                for envelope in ranges.ranges.iter_mut().flat_map(|range| &mut range.records) {
                    let signed = Signed::read(envelope).unwrap();
                    if signed.record.node() == id && signed.record.kind() == Kind::Server {
                        let mut record = signed.record.to_record();
                        record.issued_ms += 1;
                        *envelope = sign_flush(&key, vec![record], *signed.head()).remove(0).envelope();
                    }
                }
            }
            Some(message)
        });
        world.write_through(hosts[0], server("more", &[("three", "third")])).unwrap();
        world.run_for(SETTLED);
    });
}

#[test]
fn planted_disk_that_forgets_a_record_turns_invariant_3_red() {
    turns_red(3, |planted| {
        let (mut world, hosts) = three();
        let (log, seq) = (origin(&world, hosts[0]), seq_of(&world, hosts[0], "one.s0.research"));
        world.run_for(SETTLED);
        world.crash(hosts[1]);
        if planted {
            world.tamper(hosts[1], |plates| drop(plates.remove(&(log, seq)).unwrap()));
        }
        world.start(hosts[1]);
        world.run_for(SETTLED);
    });
}

#[test]
fn planted_record_that_was_never_written_turns_invariant_3_red() {
    turns_red(3, |planted| {
        let (mut world, hosts) = three();
        if planted {
            let (log, key) = (origin(&world, hosts[0]), world.key(hosts[0]));
            let held: Vec<Arc<Signed>> = world.node(hosts[0]).unwrap().registry().records_of(log).cloned().collect();
            let last = held.last().unwrap();
            let mut record = last.record.to_record();
            record.seq += 1;
            let records = aop_simulations::sabotage::sign(&key, &held, vec![record]);
            let ranges = aop_simulations::sabotage::ranges(last.record.seq, &records, Vec::new(), 1).unwrap();
            world.say(hosts[0], hosts[1], Message::from(ranges).encode());
        }
        world.run_for(SETTLED);
    });
}

#[test]
fn planted_tombstone_that_is_gone_from_the_disk_turns_invariant_5_red() {
    turns_red(5, |planted| {
        let (mut world, hosts) = three();
        let removed = "one.s0.research";
        let (log, before) = (origin(&world, hosts[0]), seq_of(&world, hosts[0], removed));
        world.run_for(SETTLED);
        let plates = world.plates(hosts[1]);
        world.write_through(hosts[0], Write::Remove(removed.to_owned())).unwrap();
        let tombstone = seq_of(&world, hosts[0], removed);
        world.write_through(hosts[0], server("later", &[("five", "fifth")])).unwrap();
        world.run_for(SETTLED);
        world.crash(hosts[1]);
        if planted {
            world.tamper(hosts[1], |now| {
                now.remove(&(log, tombstone)).unwrap();
                now.insert((log, before), plates[&(log, before)].clone());
            });
        }
        world.start(hosts[1]);
        world.run_for(SETTLED);
    });
}

#[test]
fn planted_replica_that_takes_no_records_turns_invariant_6_red() {
    turns_red(6, |planted| {
        let (mut world, hosts) = three();
        world.doctor_hearing(hosts[2], move |input| match input {
            Input::Frame { ref bytes, .. } if planted && bytes[3] == 19 => None,
            other => Some(other),
        });
        world.write_through(hosts[0], server("more", &[("three", "third")])).unwrap();
        world.run_for(Duration::from_secs(40));
    });
}

#[test]
fn planted_disk_that_acknowledges_before_it_keeps_turns_invariant_7_red() {
    turns_red(7, |planted| {
        let (mut world, hosts) = three();
        world.doctor_saying(hosts[0], move |output| match output {
            Output::Persist { token, .. } if planted => Some(Output::Persist { token, keep: Vec::new() }),
            other => Some(other),
        });
        world.write_through(hosts[0], server("more", &[("three", "third")])).unwrap();
        world.crash(hosts[0]);
        world.start(hosts[0]);
        world.run_for(SETTLED);
    });
}

/// The other half of invariant 7, by example: of a tool that k + 1 replicas serve, k may die.
#[test]
fn k_failures_leave_a_tool_of_k_plus_one_replicas_resolvable() {
    let mut world = World::new(3);
    let hosts = replicas(&mut world, "research", 1, 4);
    world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts)).unwrap();
    for host in &hosts[..3] {
        let tools = vec![tool("s", "one", "first")];
        world.write_through(*host, Write::Server { server: "s".to_owned(), replica: true, tools }).unwrap();
        world.run_for(SETTLED);
    }
    world.crash(hosts[0]);
    world.crash(hosts[1]);
    for host in &hosts[2..] {
        assert_eq!(world.resolve(*host, name("one.s.research")).names(), ["one.s.research"]);
    }
}

#[test]
fn planted_node_that_never_hears_that_another_is_back_turns_invariant_9_red() {
    turns_red(9, |planted| {
        let (mut world, hosts) = three();
        world.crash(hosts[2]);
        world.run_for(Duration::from_secs(30));
        let back = world.id(hosts[2]);
        world.doctor_hearing(hosts[1], move |input| match input {
            Input::PeerUp { peer, .. } | Input::Reached { peer, .. } | Input::Frame { peer, .. }
                if planted && peer == back =>
            {
                None
            }
            Input::Frame { ref bytes, .. } if planted && (24..=27).contains(&bytes[3]) => None,
            other => Some(other),
        });
        world.start(hosts[2]);
        world.run_for(Duration::from_secs(60));
    });
}

/// A root, `lib` with a tool, and `lab`, which says that every answer is of this moment if that is planted.
fn asker_that_may_forget_ages(seed: u64, planted: bool) -> (World, [HostId; 3]) {
    let mut world = World::new(seed);
    let root = world.boot(Spec::new(".", 1));
    let lib = world.boot(Spec::new("lib", 2).parent(1));
    let lab = world.boot(Spec::new("lab", 3).parent(1));
    world.run_for(Duration::from_secs(10));
    world.write_through(lib, server("s", &[("one", "first")])).unwrap();
    world.run_for(SETTLED);
    world.doctor_saying(lab, move |output| match output {
        Output::Resolved { token, mut outcome, found } if planted => {
            outcome.answers.iter_mut().for_each(|(_, checked)| checked.answer.age_ms = 0);
            Some(Output::Resolved { token, outcome, found })
        }
        other => Some(other),
    });
    (world, [root, lib, lab])
}

#[test]
fn planted_cache_that_does_not_count_its_time_turns_invariant_10_red() {
    turns_red(10, |planted| {
        let (mut world, [_, _, lab]) = asker_that_may_forget_ages(5, planted);
        assert_eq!(world.resolve(lab, name("one.s.lib")).names(), ["one.s.lib"]);
        world.run_for(Duration::from_secs(60));
        assert_eq!(world.resolve(lab, name("one.s.lib")).names(), ["one.s.lib"]);
    });
}

#[test]
fn planted_denial_that_nobody_said_turns_invariant_10_red() {
    turns_red(10, |planted| {
        let (mut world, hosts) = three();
        world.doctor_saying(hosts[0], move |output| match output {
            Output::Resolved { token, mut outcome, .. } if planted => {
                outcome.answers.clear();
                Some(Output::Resolved { token, outcome, found: Default::default() })
            }
            other => Some(other),
        });
        world.resolve(hosts[0], name("nothing.s0.research"));
    });
}

#[test]
fn planted_asker_that_counts_no_time_on_the_way_turns_invariant_10_red() {
    turns_red(10, |planted| {
        let (mut world, [root, lib, lab]) = asker_that_may_forget_ages(6, planted);
        world.slow(&[root], &[lib], (Duration::from_millis(300), Duration::from_millis(300)));
        assert_eq!(world.resolve(lab, name("one.s.lib")).names(), ["one.s.lib"]);
    });
}

/// Branches that a few storms take. What arrives with a mechanism is added with it.
const BRANCHES: [&str; 14] = [
    "frame Admit",
    "frame Leave",
    "frame Digest",
    "frame Vector",
    "frame Ranges",
    "frame Query",
    "frame Answer",
    "log from its beginning",
    "rumour passed on",
    "tombstone",
    "disk lost",
    "member down",
    "answer partial",
    "bad frame",
];

#[test]
fn planted_swarm_without_faults_turns_invariant_11_red() {
    let mut coverage = Coverage::default();
    for seed in [1, 2, 6, 8] {
        coverage.merge(storm(seed, false).unwrap().coverage());
    }
    coverage.require(&BRANCHES).unwrap();
    let (calm, _) = three();
    let red = calm.coverage().require(&BRANCHES).unwrap_err();
    assert!(red.starts_with("invariant 11: ") && red.contains("disk lost"), "{red}");
}
