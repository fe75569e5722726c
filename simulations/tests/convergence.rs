//! Replicas of one zone become equal whatever the network loses, and nothing acknowledged is lost.

#![expect(clippy::unwrap_used, reason = "what is missing here has failed the test")]

use std::time::Duration;

use aop_proto::node::Write;
use aop_proto::params::GOSSIP_INTERVAL;
use aop_proto::wire::message::Health;
use aop_simulations::scenario::{acquainted, equal, replicas, server, tool, updates};
use aop_simulations::world::{HostId, Spec, World};

/// After faults stop, replicas are equal within so many rounds (P3).
const ROUNDS_MAX: u32 = 10;

fn lossy(seed: u64, count: u32, changes: u32) -> (World, Duration) {
    let mut world = World::new(seed);
    let hosts = replicas(&mut world, "research", 1, count);
    let met = world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts));
    assert!(met.is_some(), "everybody knows everybody");
    world.weather.drop = 100;
    world.weather.loss = 100;
    updates(&mut world, &hosts, changes, Duration::from_millis(10));
    world.run_for(Duration::from_millis(20));
    world.weather.drop = 0;
    let took = world.run_until(Duration::from_secs(60), |world| equal(world, &hosts)).expect("they become equal");
    for host in &hosts {
        assert_eq!(world.node(*host).unwrap().registry().vector().len(), count as usize);
    }
    world.run_for(Duration::from_secs(1));
    for host in &hosts {
        assert_eq!(world.view(*host).unwrap().tools.len(), changes as usize);
    }
    (world, took)
}

#[test]
fn thirty_two_replicas_converge_within_ten_rounds_of_the_last_loss() {
    for seed in 1..=3 {
        let (_, took) = lossy(seed, 32, 100);
        assert!(took <= GOSSIP_INTERVAL * ROUNDS_MAX, "seed {seed}: {took:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    let hash = |seed| lossy(seed, 8, 20).0.trace().hash();
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

#[test]
fn acknowledged_registrations_survive_crashes() {
    for seed in 1..=20 {
        let mut world = World::new(seed);
        let hosts = replicas(&mut world, "research", 1, 3);
        let mut acknowledged = Vec::new();
        for number in 0..30 {
            let at = hosts[world.below(3) as usize];
            if world.node(at).is_some() {
                let original = format!("tool_{number}");
                let write = Write::Catalogue(vec![tool("bench", &original, "one of many")]);
                let token = world.write(at, write);
                let pause = Duration::from_micros(world.below(8_000));
                world.run_for(pause);
                if world.written(at, token).is_some_and(Result::is_ok) {
                    acknowledged.push(format!("{original}.bench.research"));
                }
            }
            let victim = hosts[world.below(3) as usize];
            match (world.below(3), world.node(victim).is_some()) {
                (0, true) => world.crash(victim),
                (_, false) => world.start(victim),
                _ => {}
            }
            let pause = Duration::from_millis(world.below(500));
            world.run_for(pause);
        }
        for host in &hosts {
            if world.node(*host).is_none() {
                world.start(*host);
            }
        }
        let took = world.run_until(Duration::from_secs(60), |world| acquainted(world, &hosts) && equal(world, &hosts));
        assert!(took.is_some(), "seed {seed}");
        world.run_for(Duration::from_secs(1));
        assert!(acknowledged.len() > 5, "seed {seed}: {}", acknowledged.len());
        for name in &acknowledged {
            let name = aop_proto::name::FullName::parse(name).unwrap();
            assert!(hosts.iter().all(|host| world.view(*host).unwrap().tools.find(&name).is_some()), "{name}");
        }
    }
}

#[test]
fn both_sides_of_a_partition_go_on_and_are_equal_after_it() {
    for seed in 1..=5 {
        let mut world = World::new(seed);
        let hosts = replicas(&mut world, "research", 1, 6);
        world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts)).unwrap();
        world.partition(&hosts[..3], &hosts[3..]);
        world.write_through(hosts[0], server("left", &[("one", "first")])).unwrap();
        world.write_through(hosts[5], server("right", &[("two", "second")])).unwrap();
        world.run_for(Duration::from_secs(40));
        assert!(equal(&world, &hosts[..3]) && equal(&world, &hosts[3..]) && !equal(&world, &hosts));
        world.heal();
        let took = world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts) && equal(world, &hosts));
        assert!(took.is_some_and(|took| took < Duration::from_secs(15)), "seed {seed}: {took:?}");
    }
}

/// One end noticed the loss of a connection and came back before the other had noticed anything.
#[test]
fn lost_connections_stand_again_whoever_notices_first() {
    for seed in 1..=10 {
        let mut world = World::new(seed);
        world.boot(Spec::new(".", 9));
        let hosts: Vec<HostId> = (1..=3).map(|n| world.boot(Spec::new("research", n).parent(9))).collect();
        world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts)).unwrap();
        for _ in 0..10 {
            let all: Vec<HostId> = world.hosts().collect();
            let (a, b) = (all[world.below(4) as usize], all[world.below(4) as usize]);
            if a != b {
                world.disconnect(a, b);
            }
            let pause = Duration::from_millis(world.below(4_000));
            world.run_for(pause);
        }
        world.run_for(Duration::from_secs(15));
        assert!(acquainted(&world, &hosts), "seed {seed}");
        world.write_through(hosts[0], server("arxiv", &[("search_papers", "papers")])).unwrap();
        let took = world.run_until(Duration::from_secs(5), |world| equal(world, &hosts));
        assert!(took.is_some(), "seed {seed}");
        let root = HostId(0);
        let found = world.resolve(root, aop_simulations::world::words("papers"));
        assert_eq!(found.names(), ["search_papers.arxiv.research"], "seed {seed} {:?}", found.silent());
    }
}

#[test]
fn what_a_dead_node_serves_is_down_at_the_others_and_back_with_it() {
    let mut world = World::new(1);
    let hosts = replicas(&mut world, "research", 1, 2);
    world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts)).unwrap();
    world.write_through(hosts[1], server("arxiv", &[("search_papers", "papers")])).unwrap();
    world.run_for(Duration::from_secs(2));
    let health = |world: &mut World| {
        let found = world.resolve(hosts[0], aop_simulations::world::name("search_papers.arxiv.research"));
        found.found[0].health()
    };
    assert_eq!(health(&mut world), Health::Ok);
    world.crash(hosts[1]);
    world.run_for(Duration::from_secs(11));
    assert_eq!(health(&mut world), Health::Down);
    world.start(hosts[1]);
    world.run_for(Duration::from_secs(15));
    assert_eq!(health(&mut world), Health::Ok);
    world.leave(hosts[1]);
    world.run_for(Duration::from_secs(1));
    assert_eq!(health(&mut world), Health::Down);
}

#[test]
fn a_node_that_lost_its_disk_is_another_life_and_what_it_served_is_gone() {
    let mut world = World::new(1);
    let hosts = replicas(&mut world, "research", 1, 3);
    world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts)).unwrap();
    world.write_through(hosts[2], server("arxiv", &[("search_papers", "papers")])).unwrap();
    world.run_for(Duration::from_secs(2));
    world.lose(hosts[2]);
    world.run_for(Duration::from_secs(1));
    world.start(hosts[2]);
    let took = world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts) && equal(world, &hosts));
    assert!(took.is_some());
    world.run_for(Duration::from_millis(50));
    assert!(hosts.iter().all(|host| world.view(*host).unwrap().tools.is_empty()));
}

/// Everybody but the node that had been ended held the mark of that, so their hashes differed for ever.
#[test]
fn a_node_that_was_ended_and_comes_back_is_one_of_the_equal_again() {
    const DAYS_MS: i64 = 2 * 24 * 3600 * 1000;
    for seed in 1..=3 {
        let mut world = World::new(seed);
        let hosts: Vec<HostId> = vec![
            world.boot(Spec::new("research", 1)),
            world.boot(Spec::new("research", 2).join(1)),
            world.boot(Spec::new("research", 3).join(1)),
        ];
        world.run_for(Duration::from_secs(5));
        let (gone, life) = (hosts[2], world.origin(hosts[2]));
        world.write_through(gone, server("papers", &[("search", "finds papers")])).expect("it is written");
        world.run_for(Duration::from_secs(1));
        world.crash(gone);
        // Its record's lease is over by the clocks of the others.
        for host in &hosts {
            world.set_clock(*host, DAYS_MS);
        }
        let ended = world.run_until(Duration::from_secs(1500), |world| {
            hosts[..2]
                .iter()
                .all(|host| world.node(*host).is_some_and(|node| node.registry().reaped(life.node).is_some()))
        });
        assert!(ended.is_some(), "seed {seed}: nobody ended it");
        world.start(gone);
        let well = |world: &World| {
            let digests: Vec<_> =
                hosts.iter().filter_map(|host| Some(world.node(*host)?.registry().digest())).collect();
            digests.windows(2).all(|pair| pair[0] == pair[1]) && world.origin(gone).incarnation > life.incarnation
        };
        assert!(world.run_until(Duration::from_secs(60), well).is_some(), "seed {seed}: not equal");
        world.run_for(Duration::from_secs(1));
        for host in &hosts {
            assert_eq!(world.view(*host).unwrap().tools.len(), 1, "seed {seed}: what it serves is there again");
        }
    }
}
