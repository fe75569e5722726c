//! A zone as a file: whoever is given one holds and shows what gossip would have brought, and gossip finds nothing to do after it.

#![expect(clippy::unwrap_used, reason = "what is missing here has failed the test")]

use std::time::Duration;

use aop_proto::name::FullName;
use aop_proto::node::{Unfit, Why, Write};
use aop_proto::transfer::{Export, Reader};
use aop_proto::view::View;
use aop_proto::wire::message::{Health, Message, Ranges};
use aop_simulations::scenario::{acquainted, equal, replicas, server, tool};
use aop_simulations::world::{HostId, Spec, World};

/// Two replicas that know each other and are cut from each other.
fn apart(seed: u64) -> (World, HostId, HostId) {
    let mut world = World::new(seed);
    let hosts = replicas(&mut world, "research", 1, 2);
    world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts) && equal(world, &hosts)).unwrap();
    world.partition(&hosts[..1], &hosts[1..]);
    (world, hosts[0], hosts[1])
}

fn register(world: &mut World, host: HostId, name: &str) {
    world.write_through(host, Write::Catalogue(vec![tool("bench", name, "one of many")])).unwrap();
}

fn unregister(world: &mut World, host: HostId, name: &str) {
    world.write_through(host, Write::Remove(format!("{name}.bench.research"))).unwrap();
}

/// What readers see of tools: names, and the definitions that are shown.
fn shown(view: &View) -> Vec<(String, Option<[u8; 32]>, usize)> {
    let all = view.tools.all();
    let mut shown: Vec<_> = all
        .iter()
        .map(|tool| (tool.name().to_owned(), tool.instances()[0].signed.record.def_hash(), tool.instances().len()))
        .collect();
    shown.sort();
    shown
}

#[track_caller]
fn show_the_same(world: &mut World, one: HostId, other: HostId) {
    world.run_for(Duration::from_secs(1));
    assert!(equal(world, &[one, other]), "what they hold is the same");
    assert_eq!(shown(world.view(one).unwrap()), shown(world.view(other).unwrap()));
}

/// Frames of records that a host was asked for or pushed.
fn payloads(world: &World, hosts: &[HostId]) -> u64 {
    hosts.iter().map(|host| world.view(*host).unwrap().counts.gossip.payloads).sum()
}

#[test]
fn two_that_are_cut_from_each_other_become_equal_by_files_and_gossip_has_nothing_to_do() {
    for seed in 1..=5 {
        let (mut world, left, right) = apart(seed);
        for name in ["one", "two", "three"] {
            register(&mut world, left, name);
        }
        register(&mut world, right, "four");
        world.write_through(right, server("met", &[("forecast", "how it will be")])).unwrap();
        let (from_left, from_right) = (world.export(left, None), world.export(right, None));

        let tried = world.import(right, &from_left, true).unwrap();
        assert!(!equal(&world, &[left, right]), "a trial changes nothing");
        let taken = world.import(right, &from_left, false).unwrap();
        assert_eq!((tried, taken.taken, taken.refused_records()), (taken.clone(), 3, 0));
        world.import(left, &from_right, false).unwrap();
        show_the_same(&mut world, left, right);
        assert_eq!(world.view(left).unwrap().tools.len(), 5);

        // Only what is new, of one and of both, and in whatever order.
        register(&mut world, left, "five");
        unregister(&mut world, left, "two");
        unregister(&mut world, right, "four");
        let (next_left, next_right) = (world.export(left, Some(&from_left)), world.export(right, Some(&from_right)));
        assert!(next_left.len() < from_left.len(), "{} of {}", next_left.len(), from_left.len());
        let taken = world.import(right, &next_left, false).unwrap();
        // What the right one knows of its own log was news to the left one.
        assert_eq!((taken.taken, taken.known, taken.tools, taken.tools_gone), (2, 3, 1, 1));
        world.import(left, &next_right, false).unwrap();
        show_the_same(&mut world, left, right);

        // A second time, whole or in part: nothing.
        for file in [&from_left, &next_left, &from_right, &next_right] {
            let again = world.import(right, file, false).unwrap();
            assert_eq!((again.taken, again.replaced, again.known, again.refused_records()), (0, 0, again.records, 0));
        }
        show_the_same(&mut world, left, right);
        let before = payloads(&world, &[left, right]);
        world.heal();
        world.run_until(Duration::from_secs(30), |world| acquainted(world, &[left, right])).unwrap();
        world.run_for(Duration::from_secs(5));
        assert_eq!(payloads(&world, &[left, right]), before, "seed {seed}: gossip brings nothing");
        show_the_same(&mut world, left, right);
    }
}

/// Histories drawn at random, of a whole file and deltas on it, over days in which tombstones are collected.
#[test]
fn any_history_comes_over_in_files_as_it_would_have_by_gossip() {
    for seed in 1..=20 {
        let (mut world, left, right) = apart(seed);
        let mut last: Option<Vec<u8>> = None;
        for step in 0..12 {
            for _ in 0..=world.below(4) {
                let name = format!("tool_{}", world.below(5));
                let full = FullName::parse(&format!("{name}.bench.research")).unwrap();
                match world.view(left).unwrap().tools.find(&full).is_some() {
                    true => unregister(&mut world, left, &name),
                    false => register(&mut world, left, &name),
                }
                world.run_for(Duration::from_millis(50));
            }
            if world.below(4) == 0 {
                world.pass_a_day();
                world.run_for(Duration::from_secs(1));
            }
            // Not every delta arrives: the next one goes on from the last that did.
            let file = world.export(left, last.as_deref());
            if world.below(4) > 0 {
                let sum = world.import(right, &file, false).unwrap();
                assert!(sum.refused.is_empty(), "seed {seed} step {step}: {sum:?}");
                let back = world.export(right, None);
                world.import(left, &back, false).unwrap();
                show_the_same(&mut world, left, right);
                last = Some(world.export(left, None));
            }
        }
    }
}

#[test]
fn a_delta_without_what_is_before_it_is_refused_and_says_so() {
    let (mut world, left, right) = apart(7);
    register(&mut world, left, "one");
    let first = world.export(left, None);
    register(&mut world, left, "two");
    let delta = world.export(left, Some(&first));
    for trial in [true, false] {
        let sum = world.import(right, &delta, trial).unwrap();
        assert_eq!(sum.refused.keys().collect::<Vec<_>>(), [&Why::Gap]);
        assert_eq!((sum.taken, sum.refused_records()), (0, 1));
    }
    world.import(right, &first, false).unwrap();
    assert_eq!(world.import(right, &delta, false).unwrap().taken, 1);
    show_the_same(&mut world, left, right);
}

/// A whole file, made by somebody who may not write any record in it: the hash at its end is no proof of anything.
#[test]
fn what_is_forged_in_a_whole_file_is_refused_and_the_rest_of_it_taken() {
    let mut world = World::new(4);
    let hosts = replicas(&mut world, "research", 1, 3);
    world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts) && equal(world, &hosts)).unwrap();
    world.partition(&hosts[..2], &hosts[2..]);
    register(&mut world, hosts[0], "one");
    register(&mut world, hosts[1], "two");
    world.run_until(Duration::from_secs(30), |world| equal(world, &hosts[..2])).unwrap();
    let file = world.export(hosts[0], None);
    let honest = world.id(hosts[1]);
    let forged = changed(&file, |ranges| {
        for range in ranges.ranges.iter_mut().filter(|range| range.origin.node != honest) {
            // Somewhere in the record that was signed.
            range.records.iter_mut().for_each(|envelope| envelope[60] ^= 1);
        }
    });
    let without = changed(&file, |ranges| ranges.chains.clear());
    let left_out = changed(&file, |ranges| {
        ranges.ranges.iter_mut().for_each(|range| drop(range.records.remove(0)));
    });
    let (mut all, far) = (world.export(hosts[2], None), hosts[2]);
    for trial in [true, false] {
        let sum = world.import(far, &forged, trial).unwrap();
        assert!(sum.refused.contains_key(&Why::Forged) && sum.taken == 1, "{sum:?}");
    }
    world.run_for(Duration::from_secs(1));
    let names = |world: &World| shown(world.view(far).unwrap()).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
    assert_eq!(names(&world), ["two.bench.research"]);
    assert_ne!(all, world.export(far, None));
    all = world.export(far, None);
    let sum = world.import(far, &left_out, false).unwrap();
    assert!(sum.refused.contains_key(&Why::Incomplete) && sum.taken == 0, "{sum:?}");
    assert_eq!(all.len(), world.export(far, None).len());
    // Whose certificates are known needs none in the file.
    assert_eq!(world.import(far, &without, false).unwrap().taken, 1);
    world.run_for(Duration::from_secs(1));
    assert_eq!(names(&world), ["one.bench.research", "two.bench.research"]);
}

/// The same file with other ranges, and an end that fits.
fn changed(file: &[u8], change: impl Fn(&mut Ranges)) -> Vec<u8> {
    let (mut reader, mut rest, mut messages) = (Reader::default(), file, Vec::new());
    while let Some(mut message) = reader.take(&mut rest).unwrap() {
        if let Message::Ranges(ranges) = &mut message {
            change(ranges);
        }
        messages.push(message);
    }
    messages.pop();
    Export::of(messages).flatten().collect()
}

#[test]
fn another_zone_and_another_key_of_the_same_name_are_refused() {
    let (mut world, left, _) = apart(3);
    let other = world.boot(Spec::new("writing", 8));
    let namesake = world.boot(Spec::new("research", 9));
    world.run_for(Duration::from_secs(2));
    let (theirs, namesakes) = (world.export(other, None), world.export(namesake, None));
    assert!(matches!(world.import(left, &theirs, false), Err(Unfit::OtherZone { .. })));
    for trial in [true, false] {
        assert!(matches!(world.import(left, &namesakes, trial), Err(Unfit::OtherKey { .. })));
    }
    let ours = world.export(left, None);
    assert!(
        matches!(world.import(namesake, &ours, false), Err(Unfit::OtherKey { .. })),
        "it has no certificates there"
    );
}

/// Everybody is gone, and of one the key remains and a file: with it comes the zone, and what that node itself had said.
#[test]
fn a_zone_comes_back_from_one_file_and_the_key_of_any_of_its_nodes() {
    for (seed, survivor) in [(1, 0), (2, 1), (3, 2)] {
        let mut world = World::new(seed);
        let hosts = replicas(&mut world, "research", 1, 3);
        world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts)).unwrap();
        for (host, name) in hosts.iter().zip(["one", "two", "three"]) {
            register(&mut world, *host, name);
            world.write_through(*host, server(&format!("met_{name}"), &[("forecast", "how it will be")])).unwrap();
        }
        world.run_until(Duration::from_secs(30), |world| equal(world, &hosts)).unwrap();
        world.run_for(Duration::from_secs(1));
        let before = shown(world.view(hosts[0]).unwrap());
        let key = world.node(hosts[0]).unwrap().zone_key();
        let file = world.export(hosts[(survivor + 1) % 3], None);
        hosts.iter().for_each(|host| world.lose(*host));
        world.run_for(Duration::from_secs(5));
        let alone = hosts[survivor];
        let spec = Spec { joins: Vec::new(), ..world.spec(alone).clone() };
        world.change(alone, spec);
        world.start(alone);
        world.run_for(Duration::from_secs(2));
        assert!(world.view(alone).unwrap().tools.is_empty());

        let tried = world.import(alone, &file, true).unwrap();
        assert!(world.view(alone).unwrap().tools.is_empty());
        let sum = world.import(alone, &file, false).unwrap();
        assert_eq!(sum, tried, "a trial says what comes");
        assert!(sum.refused.is_empty() && sum.restored == 3, "{sum:?}");
        assert_eq!((sum.tools, sum.tools_gone), (before.len() as u64, 0), "its own as well: {sum:?}");
        assert_eq!(sum.adopted, survivor != 0, "the first made the key and has it");
        world.run_for(Duration::from_secs(60));
        let view = world.view(alone).unwrap();
        assert_eq!((shown(view), world.node(alone).unwrap().zone_key()), (before, key), "host {survivor}");
        for tool in view.tools.all() {
            let is_served = tool.instances()[0].body().served;
            let expected = match tool.of_node(view.node).is_some() {
                _ if !is_served => Health::Unknown,
                true => Health::Degraded,
                false => Health::Down,
            };
            assert_eq!(view.tools.instances(tool)[0].health, expected, "{}", tool.name());
        }
        // A new replica joins it as it would have joined any.
        let newcomer = world.boot(Spec::new("research", 20).join(survivor as u32 + 1));
        let met = world.run_until(Duration::from_secs(30), |world| equal(world, &[alone, newcomer]));
        assert!(met.is_some());
    }
}

/// A node that comes back without its store within the second of its first start begins a life of the same name.
#[test]
fn a_lost_life_of_the_same_second_is_followed_by_another() {
    let mut world = World::new(6);
    let host = world.boot(Spec::new("research", 1));
    world.run_for(Duration::from_millis(100));
    // Only a life begun without a store is named by the clock here.
    world.lose(host);
    world.start(host);
    world.run_for(Duration::from_millis(100));
    register(&mut world, host, "one");
    let (file, first) = (world.export(host, None), world.origin(host));
    world.lose(host);
    world.start(host);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.origin(host), first, "the clock has not gone on");
    let sum = world.import(host, &file, false).unwrap();
    assert!(sum.refused.is_empty() && sum.restored == 1, "{sum:?}");
    world.run_for(Duration::from_secs(1));
    assert!(world.origin(host) > first && world.view(host).unwrap().tools.len() == 1);
    let again = world.import(host, &file, false).unwrap();
    assert_eq!((again.restored, again.known, again.refused_records()), (0, again.records, 0), "{again:?}");
}

/// A lost log came back from a whole file; what a delta says of it comes too, and a file of yesterday takes nothing back.
#[test]
fn deltas_go_on_with_what_was_said_again_and_old_files_end_nothing() {
    let mut world = World::new(5);
    let host = world.boot(Spec::new("research", 1));
    world.run_for(Duration::from_secs(2));
    register(&mut world, host, "one");
    register(&mut world, host, "two");
    let whole = world.export(host, None);
    unregister(&mut world, host, "two");
    register(&mut world, host, "three");
    let delta = world.export(host, Some(&whole));
    world.lose(host);
    world.run_for(Duration::from_secs(5));
    world.start(host);
    world.run_for(Duration::from_secs(2));
    let names = |world: &World| shown(world.view(host).unwrap()).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
    assert_eq!(world.import(host, &whole, false).unwrap().restored, 2);
    assert_eq!(world.import(host, &delta, false).unwrap().restored, 2);
    world.run_for(Duration::from_secs(1));
    assert_eq!(names(&world), ["one.bench.research", "three.bench.research"]);
    // It goes on by itself now.
    unregister(&mut world, host, "one");
    world.pass_a_day();
    world.pass_a_day();
    register(&mut world, host, "four");
    for file in [&whole, &delta] {
        let sum = world.import(host, file, false).unwrap();
        assert_eq!(sum.restored, 0, "{sum:?}");
    }
    world.run_for(Duration::from_secs(1));
    assert_eq!(names(&world), ["four.bench.research", "three.bench.research"]);
}
