//! The world itself: what it promises of runs, of links, of hosts that stand still, and how fast its loop is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use aop_proto::node::{Input, Node, Output};
use aop_proto::now::Now;
use aop_proto::record::NodeId;
use aop_proto::trust::SigningKey;
use aop_proto::wire::{Class, frame};
use aop_simulations::scenario::{acquainted, equal, replicas, server, updates};
use aop_simulations::world::{Actor, HANDSHAKE_ROUND_TRIPS, HostId, Spec, Watch, World, address};

const SOON: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// Sends numbered frames to one peer half a second after it is up, and notes or sends back what comes.
struct Echo {
    dial: Option<String>,
    class: Class,
    /// Frames to begin with; more, and they come back for ever.
    frames: u8,
    outputs: VecDeque<Output>,
    /// Whom it dialled, until the frames are sent.
    peer: Option<NodeId>,
    log: Log,
    bounce: bool,
    now: Duration,
}

impl Echo {
    fn send(&mut self, peer: NodeId, number: u8) {
        let bytes = frame(200, &[number; 64]).into();
        self.outputs.push_back(Output::Send { peer, bytes, class: self.class });
    }
}

impl Actor for Echo {
    fn handle_input(&mut self, now: Now, input: Input) {
        self.now = now.mono;
        match input {
            Input::PeerUp { peer, dialed: true, .. } => self.peer = Some(peer),
            Input::Frame { peer, bytes } if self.bounce => self.send(peer, bytes[8]),
            Input::Frame { bytes, .. } => self.log.borrow_mut().push((now.mono.as_nanos() as u64, bytes[8])),
            Input::PeerDown { .. } => self.log.borrow_mut().push((now.mono.as_nanos() as u64, u8::MAX)),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        self.now = now.mono;
        if let Some(address) = self.dial.take() {
            self.outputs.push_back(Output::Dial { address, expected: None });
        } else if let Some(peer) = self.peer.take() {
            (0..self.frames).for_each(|number| self.send(peer, number));
        }
    }

    fn poll_output(&mut self) -> Output {
        let idle = if self.dial.is_some() { Duration::ZERO } else { self.now + SECOND / 2 };
        self.outputs.pop_front().unwrap_or(Output::Wait(idle))
    }
}

type Log = std::rc::Rc<std::cell::RefCell<Vec<(u64, u8)>>>;

fn echo(world: &mut World, number: u32, dial: Option<u32>, class: Class, frames: u8, bounce: bool) -> (HostId, Log) {
    let log = Log::default();
    let (dial, outputs, now) = (dial.map(address), VecDeque::new(), Duration::ZERO);
    let actor = Echo { dial, class, frames, outputs, peer: None, log: log.clone(), bounce, now };
    let mut key = [7; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    let key = SigningKey::from_bytes(&key);
    (world.boot_actor(Spec::new("x", number), &key, Box::new(actor)), log)
}

/// Two hosts, the second of which sends a hundred frames to the first; what arrives there.
fn hundred(world: &mut World, class: Class) -> (HostId, HostId, Log) {
    let (one, log) = echo(world, 1, None, class, 0, false);
    let (two, _) = echo(world, 2, Some(1), class, 100, false);
    (one, two, log)
}

fn numbers(log: &Log) -> Vec<u8> {
    log.borrow().iter().map(|(_, number)| *number).filter(|number| *number != u8::MAX).collect()
}

#[test]
fn a_stream_keeps_its_order_and_loses_nothing_whatever_the_weather() {
    let mut world = World::new(1);
    (world.weather.loss, world.weather.reorder, world.weather.duplicate) = (300, 300, 300);
    let (_, _, log) = hundred(&mut world, Class::Gossip);
    world.run_for(SOON * 3);
    assert_eq!(numbers(&log), (0..100).collect::<Vec<u8>>());
}

#[test]
fn datagrams_are_lost_doubled_and_overtaken() {
    let mut world = World::new(1);
    (world.weather.loss, world.weather.duplicate) = (200, 200);
    let (_, two, log) = hundred(&mut world, Class::Datagram);
    world.run_for(SOON);
    let came = numbers(&log);
    let mut distinct = came.clone();
    distinct.sort_unstable();
    assert!(came != distinct, "some were overtaken");
    distinct.dedup();
    assert!(distinct.len() < 100 && came.len() > distinct.len(), "{} of 100, {} in all", distinct.len(), came.len());
    let sent = world.sent(two, |kind| kind >= 63);
    assert_eq!((sent.messages, sent.bytes), (100, 100 * 72), "no unit length on datagrams");
}

#[test]
fn what_is_sent_behind_a_cut_that_ends_in_time_arrives_and_behind_a_longer_one_does_not() {
    for (length, arrive) in [(SECOND * 5, 100), (SECOND * 30, 0)] {
        // What comes back waits behind the cut.
        let mut world = World::new(1);
        let (one, _) = echo(&mut world, 1, None, Class::Gossip, 0, true);
        let (two, log) = echo(&mut world, 2, Some(1), Class::Gossip, 100, false);
        world.weather.latency = (SECOND / 10, SECOND / 10);
        world.run_for(SECOND * 3 / 4);
        world.cut_one_way(&[one], &[two]);
        world.run_for(length);
        assert!(numbers(&log).is_empty());
        world.heal();
        world.run_for(SECOND * 20);
        assert_eq!(numbers(&log).len(), arrive, "{length:?}");
        assert_eq!(log.borrow().iter().any(|(_, number)| *number == u8::MAX), arrive == 0);
        assert_eq!(world.degree(one), usize::from(arrive > 0));
    }
}

#[test]
fn a_capped_host_sends_one_byte_after_the_other() {
    let mut world = World::new(1);
    world.weather.latency = (Duration::ZERO, Duration::ZERO);
    let (one, log) = echo(&mut world, 1, None, Class::Gossip, 0, false);
    let (two, _) = echo(&mut world, 2, Some(1), Class::Gossip, 100, false);
    world.cap(two, Some(720));
    world.run_for(SOON * 2);
    let times: Vec<u64> = log.borrow().iter().map(|(at, _)| *at / 1_000_000).collect();
    // Of a hundred, those that would wait for longer than its queues hold are dropped.
    assert_eq!((times.len(), times[0], times.last()), (51, 600, Some(&5_600)));
    assert_eq!((world.handshakes(two), world.handshakes(one), HANDSHAKE_ROUND_TRIPS), (1, 0, 2));
}

#[test]
fn a_host_that_stands_still_gets_everything_at_once_and_is_lost_to_its_peers_when_that_takes_long() {
    for (length, lost) in [(SECOND * 5, false), (SECOND * 30, true)] {
        let mut world = World::new(1);
        let (one, log) = echo(&mut world, 1, None, Class::Gossip, 0, false);
        let (two, peers) = echo(&mut world, 2, Some(1), Class::Gossip, 100, false);
        world.weather.latency = (SECOND / 10, SECOND / 10);
        world.run_for(SECOND * 3 / 4);
        world.pause(one, length);
        world.run_for(length - SECOND);
        assert!(log.borrow().is_empty());
        world.run_for(SECOND * 2);
        let came = log.borrow().clone();
        assert_eq!(numbers(&log).len(), 100);
        assert!(came[..100].iter().all(|(at, _)| *at == came[0].0), "all at one time");
        assert_eq!((came.len() > 100, !peers.borrow().is_empty()), (lost, lost), "both ends know");
        assert_eq!(world.degree(two), usize::from(!lost));
    }
}

#[test]
fn a_cut_is_noticed_by_both_ends_after_their_silence() {
    for one_way in [false, true] {
        let mut world = World::new(1);
        let (one, log) = echo(&mut world, 1, None, Class::Gossip, 0, false);
        let (two, other) = echo(&mut world, 2, Some(1), Class::Gossip, 1, false);
        world.run_for(SECOND);
        if one_way {
            world.cut_one_way(&[two], &[one]);
        } else {
            world.partition(&[one], &[two]);
        }
        world.run_for(SECOND * 25);
        let down = |log: &Log| log.borrow().iter().find(|(_, n)| *n == u8::MAX).map(|(at, _)| *at / 1_000_000_000);
        let (heard, told) = (down(&log).unwrap(), down(&other).unwrap());
        assert!((9..=11).contains(&heard), "{heard}");
        assert!(if one_way { (18..=21).contains(&told) } else { (9..=11).contains(&told) }, "{told}");
    }
}

fn busy(seed: u64, watch: Watch) -> World {
    let mut world = World::new(seed);
    world.watch(watch);
    let hosts = replicas(&mut world, "research", 1, 8);
    world.run_for(SECOND);
    (world.weather.loss, world.weather.duplicate, world.weather.drop) = (50, 50, 50);
    updates(&mut world, &hosts, 20, Duration::from_millis(20));
    world.pause(hosts[1], SECOND * 3);
    world.ring(&hosts);
    world.run_for(SECOND * 15);
    world.crash(hosts[2]);
    world.calm();
    world.start(hosts[2]);
    world.run_for(SECOND * 15);
    world
}

#[test]
fn the_same_seed_is_the_same_run_whoever_watches() {
    let everything = busy(1, Watch::Everything).trace();
    assert_eq!(everything, busy(1, Watch::Everything).trace());
    assert_eq!(everything, busy(1, Watch::Digests).trace());
    assert_eq!(everything, busy(1, Watch::Nothing).trace());
    assert_ne!(everything.hash(), busy(2, Watch::Nothing).trace().hash());
}

#[test]
fn a_formed_zone_is_one_zone_from_its_first_moment() {
    let mut world = World::formed(12, 1);
    let hosts: Vec<HostId> = world.hosts().collect();
    world.start_all();
    for host in &hosts {
        assert_eq!(world.node(*host).unwrap().registry().origins(), 12);
        assert!(world.view(*host).unwrap().admitted);
    }
    let took = world.run_until(SOON, |world| acquainted(world, &hosts) && equal(world, &hosts));
    assert!(took.is_some_and(|took| took < SECOND * 5), "{took:?}");
    world.write_through(hosts[3], server("arxiv", &[("search_papers", "papers")])).unwrap();
    let origin = world.origin(hosts[3]);
    let seq = world.node(hosts[3]).unwrap().registry().through(origin);
    world.follow(origin, seq);
    world.run_for(SECOND * 2);
    let spread = world.spread().unwrap();
    assert_eq!((spread.missing(), spread.times().len(), spread.reached(0.01)), (0, 12, Some(Duration::ZERO)));
    assert!(world.refusals(hosts[0]).is_empty());
}

#[test]
fn an_old_disk_is_as_it_was() {
    let mut world = World::new(1);
    let hosts = replicas(&mut world, "research", 1, 1);
    world.write_through(hosts[0], server("one", &[("first", "of two")])).unwrap();
    assert!(!world.restore_backup(hosts[0]), "there is none");
    world.backup(hosts[0]);
    world.write_through(hosts[0], server("two", &[("second", "of two")])).unwrap();
    world.run_for(SECOND);
    assert_eq!(world.view(hosts[0]).unwrap().tools.len(), 2);
    assert!(world.restore_backup(hosts[0]));
    world.start(hosts[0]);
    world.run_for(SECOND);
    assert_eq!(world.view(hosts[0]).unwrap().tools.len(), 1);
}

/// `cargo long -p aop-simulations`: what the loop itself takes, without nodes.
#[test]
#[ignore = "a figure of the release build"]
fn the_bare_loop_does_a_million_and_a_half_events_a_second() {
    let mut world = World::new(1);
    world.watch(Watch::Nothing);
    for number in 0..1000 {
        let dial = if number == 0 { None } else { Some(number - 1) };
        echo(&mut world, number, dial, [Class::Datagram, Class::Gossip][number as usize % 2], 10, true);
    }
    world.run_for(SECOND);
    let (began, before) = (Instant::now(), world.trace().events());
    world.run_for(SECOND);
    let (took, events) = (began.elapsed(), world.trace().events() - before);
    let each = took.as_nanos() as f64 / events as f64;
    println!("{events} events in {took:?}: {each:.0} ns each, {:.2} M/s", 1e3 / each);
    assert!(each <= 666.0, "{each} ns");
}

#[test]
fn a_node_that_saw_others_die_trusts_itself_again() {
    let mut world = World::new(1);
    let hosts = replicas(&mut world, "research", 1, 5);
    let health = |world: &World| {
        let gauges = world.node(hosts[0]).map(Node::gauges).into_iter().flatten();
        gauges.filter(|gauge| gauge.name == "membership health").map(|gauge| gauge.held).sum::<usize>()
    };
    assert!(world.run_until(SOON, |world| acquainted(world, &hosts)).is_some());
    for host in &hosts[1..4] {
        world.crash(*host);
    }
    assert!(world.run_until(SECOND * 20, |world| health(world) > 0).is_some(), "probes failed");
    assert!(world.run_until(SECOND * 20, |world| health(world) == 0).is_some(), "and others were answered");
}

#[test]
fn probes_wait_as_long_as_answers_take() {
    const PING_REQUEST: u8 = 26;
    let mut world = World::formed(20, 1);
    world.start_all();
    world.run_for(SECOND * 10);
    // Much longer than when the connections were made: until that is measured, every ping seems to be lost.
    world.weather.latency = (Duration::from_millis(150), Duration::from_millis(160));
    let asked = |world: &World| world.traffic(|kind| kind == PING_REQUEST).messages;
    let asked_for = |world: &mut World, time: Duration| {
        let before = asked(world);
        world.run_for(time);
        asked(world) - before
    };
    let (learning, learnt) = (asked_for(&mut world, SECOND * 150), asked_for(&mut world, SECOND * 20));
    assert!(learning > 1000 && learnt < 20, "{learning} and {learnt}");
}
