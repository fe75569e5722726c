//! What a node promises about what it writes, however writes and the store overlap.

#![expect(clippy::unwrap_used, reason = "what is missing here has failed the test")]

use std::time::Duration;

use aop_proto::node::{NewTool, Write, WriteError};
use aop_proto::params::RECORD_BYTES_MAX;
use aop_proto::record::Signed;
use aop_simulations::World;
use aop_simulations::sabotage::Plates;
use aop_simulations::scenario::{acquainted, equal, replicas, server, tool};
use aop_simulations::world::{HostId, Spec, name};

const SETTLED: Duration = Duration::from_secs(2);

fn two(seed: u64) -> (World, Vec<HostId>) {
    let mut world = World::new(seed);
    let hosts = replicas(&mut world, "research", 1, 2);
    world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts)).unwrap();
    (world, hosts)
}

fn tools(world: &World, host: HostId) -> Vec<String> {
    world.view(host).unwrap().tools.all().iter().map(|tool| tool.name().to_owned()).collect()
}

/// The second list came while the first was on its way to the disk, and did not know of it: what it no longer held stayed.
#[test]
fn the_last_list_of_a_server_stands_however_fast_lists_follow_each_other() {
    let (mut world, hosts) = two(1);
    let lists =
        [vec![("one", "first"), ("two", "second")], vec![("two", "second")], vec![("two", "second"), ("three", "x")]];
    let tokens: Vec<u64> = lists.iter().map(|list| world.write(hosts[0], server("s", list))).collect();
    world.run_for(SETTLED);
    for token in tokens {
        assert!(world.written(hosts[0], token).unwrap().is_ok());
    }
    for host in &hosts {
        assert_eq!(tools(&world, *host), ["three.s.research", "two.s.research"]);
    }
}

#[test]
fn what_was_just_registered_can_be_removed_at_once() {
    let (mut world, hosts) = two(2);
    world.write(hosts[0], server("s", &[("one", "first")]));
    let token = world.write(hosts[0], Write::Remove("one.s.research".to_owned()));
    world.run_for(SETTLED);
    assert_eq!(world.written(hosts[0], token).unwrap().as_ref().unwrap().removed, ["one.s.research"]);
    assert!(tools(&world, hosts[1]).is_empty());
}

/// A write that changes nothing is no promise before what it finds is durable.
#[test]
fn a_repeated_registration_is_acknowledged_with_the_first() {
    for seed in 0..20 {
        let (mut world, hosts) = two(seed);
        let first = world.write(hosts[0], server("s", &[("one", "first")]));
        let second = world.write(hosts[0], server("s", &[("one", "first")]));
        let acknowledged = world.run_until(SETTLED, |world| world.written(hosts[0], second).is_some()).is_some();
        assert!(acknowledged && world.written(hosts[0], first).is_some());
        world.crash(hosts[0]);
        world.start(hosts[0]);
        world.run_for(SETTLED);
        assert_eq!(tools(&world, hosts[0]), ["one.s.research"]);
    }
}

#[test]
fn another_server_of_the_same_name_is_refused_and_a_declared_replica_is_welcome() {
    let (mut world, hosts) = two(3);
    world.write_through(hosts[0], server("s", &[("one", "first")])).unwrap();
    world.run_for(SETTLED);
    let taken = world.write_through(hosts[1], server("s", &[("one", "first")])).unwrap_err();
    assert_eq!(
        taken,
        WriteError::Taken { name: "one.s.research".to_owned(), node: world.id(hosts[0]), same_definition: true }
    );
    let replica = |description| Write::Server {
        server: "s".to_owned(),
        replica: true,
        tools: vec![tool("s", "one", description)],
    };
    world.write_through(hosts[0], replica("first")).unwrap();
    world.run_for(SETTLED);
    world.write_through(hosts[1], replica("first")).unwrap();
    world.run_for(SETTLED);
    for host in &hosts {
        let found = world.resolve(*host, name("one.s.research"));
        assert_eq!((found.found[0].instances.len(), found.found[0].clash), (2, false));
    }
    let newcomer = world.boot(Spec::new("research", 9).join(1));
    world.run_for(SETTLED);
    let other = world.write_through(newcomer, replica("second")).unwrap_err();
    assert!(matches!(other, WriteError::Taken { same_definition: false, .. }), "{other}");
}

/// Two replicas of which each waited for the other could never change; and what one of them says is called at nobody else.
#[test]
fn replicas_change_one_after_the_other() {
    let (mut world, hosts) = two(5);
    let replica = |description| Write::Server {
        server: "s".to_owned(),
        replica: true,
        tools: vec![tool("s", "one", description)],
    };
    let shown = |world: &mut World, host| {
        let found = world.resolve(host, name("one.s.research"));
        let one = &found.found[0];
        let nodes: Vec<_> = one.instances.iter().map(|instance| instance.node).collect();
        (String::from_utf8(one.instance.body().definition.to_vec()).unwrap(), nodes, one.clash)
    };
    for host in &hosts {
        world.write_through(*host, replica("first")).unwrap();
        world.run_for(SETTLED);
    }
    let mut both = [world.id(hosts[0]), world.id(hosts[1])];
    both.sort();
    world.write_through(hosts[1], replica("second")).unwrap();
    world.run_for(SETTLED);
    for host in hosts.clone() {
        let (definition, nodes, clash) = shown(&mut world, host);
        assert!(definition.contains("second") && clash, "{definition}");
        assert_eq!(nodes, [world.id(hosts[1])]);
    }
    world.write_through(hosts[0], replica("second")).unwrap();
    world.run_for(SETTLED);
    for host in hosts.clone() {
        let (definition, mut nodes, clash) = shown(&mut world, host);
        nodes.sort();
        assert!(definition.contains("second") && !clash, "{definition}");
        assert_eq!(nodes, both);
    }
}

/// A record that no fellow would take stopped the whole log at them, and the node's own restart.
#[test]
fn nothing_is_written_that_fellows_would_not_take() {
    let (mut world, hosts) = two(4);
    let long = "x".repeat(RECORD_BYTES_MAX);
    let state = Write::ServerState { server: "s".to_owned(), up: false, error: long.clone() };
    world.write_through(hosts[0], state).unwrap();
    let heavy = [
        NewTool { tags: vec![long.clone()], ..tool("s", "tags", "x") },
        NewTool { examples: vec!["y".to_owned(); RECORD_BYTES_MAX], ..tool("s", "examples", "x") },
        NewTool { examples: vec!["y".repeat(8 << 20)], ..tool("s", "huge", "x") },
        tool("s", "definition", &long),
        tool(&long, "server", "x"),
        tool("s", &long, "x"),
    ];
    for tool in heavy {
        let what = tool.original.chars().take(20).collect::<String>();
        match world.write_through(hosts[0], Write::Catalogue(vec![tool])) {
            Err(WriteError::TooLarge { .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    world.write_through(hosts[0], server("s", &[("one", "first")])).unwrap();
    let took = world.run_until(SETTLED, |world| equal(world, &hosts));
    assert!(took.is_some());
    world.crash(hosts[0]);
    world.start(hosts[0]);
    world.run_for(SETTLED);
    assert_eq!(tools(&world, hosts[0]), ["one.s.research"]);
}

/// The node ended between a record and the removal of what that overwrote. Once the tombstone is collected, nothing else says that the
/// tool is gone.
#[test]
fn what_was_overwritten_and_still_stored_does_not_come_back() {
    let (mut world, hosts) = two(11);
    world.write_through(hosts[0], server("s", &[("one", "first"), ("two", "second")])).unwrap();
    let (before, own) = (world.plates(hosts[0]), world.origin(hosts[0]));
    world.write_through(hosts[0], Write::Remove("one.s.research".to_owned())).unwrap();
    world.run_for(SETTLED);
    let is_passed = |signed: &Signed| signed.record.name().starts_with("one.");
    let passed: Plates = before.into_iter().filter(|(_, signed)| is_passed(signed)).collect();
    for host in &hosts {
        world.crash(*host);
        world.tamper(*host, |plates| plates.extend(passed.clone()));
        world.start(*host);
    }
    world.run_for(SETTLED);
    for host in &hosts {
        assert_eq!(tools(&world, *host), ["two.s.research"]);
        let stored = world.plates(*host).into_keys().filter(|(origin, _)| *origin == own).count();
        assert_eq!(stored, world.node(*host).unwrap().registry().records_of(own).count());
    }
}

/// Its fellow says what it holds of the log before another number is used twice.
#[test]
fn who_gets_an_old_disk_begins_another_life_before_it_writes() {
    let (mut world, hosts) = two(12);
    world.backup(hosts[0]);
    let former = world.origin(hosts[0]);
    world.write_through(hosts[0], server("s", &[("one", "first")])).unwrap();
    world.run_for(SETTLED);
    assert!(world.restore_backup(hosts[0]));
    world.start(hosts[0]);
    world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts)).unwrap();
    let begun = world.run_until(SETTLED, |world| world.origin(hosts[0]).incarnation > former.incarnation);
    assert!(begun.is_some(), "nothing was written that would be a proof");
    world.write_through(hosts[0], server("s", &[("two", "second")])).unwrap();
    world.run_for(SETTLED);
    for host in &hosts {
        let registry = world.node(*host).unwrap().registry();
        assert_eq!((tools(&world, *host).len(), registry.forks().count()), (1, 0), "{host:?}");
    }
}
