//! What a node makes of a fellow that is certified and breaks a rule: one node, and somebody at the other end who says anything.

use std::collections::BTreeMap;
use std::time::Duration;

use aop_proto::access::Policy;
use aop_proto::codec::Wire;
use aop_proto::name::ZoneName;
use aop_proto::node::{Admission, Config, Input, Node, Output, Restored, Write, WriteError, Wrote};
use aop_proto::now::Now;
use aop_proto::params::{BUCKETS, LIFE_PAUSE, LIVES_AHEAD_MAX, NODE_LEASE, ORIGINS_MAX, WRITES_WAITING_MAX};
use aop_proto::record::*;
use aop_proto::resolver::Terms;
use aop_proto::trust::SigningKey;
use aop_proto::wire::VERSIONS;
use aop_proto::wire::message::{Buckets, Fork, Form, Hello, Message, Question, Range, Ranges, Refuse};

#[allow(dead_code, reason = "the fuzz targets use all of it")]
#[path = "entry/author.rs"]
mod author;

use author::{Author, range_of};

const WALL_MS: u64 = 1_790_000_000_000;
/// Where the other end is.
const THERE: &str = "127.0.0.1:7002";
/// What a handshake is said to take.
const RTT: Duration = Duration::from_millis(2);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn id(seed: u8) -> NodeId {
    NodeId(key(seed).verifying_key().to_bytes())
}

/// A node of `z` with nobody to ask, so it founds the zone; and one who was certified by it.
struct Pair {
    node: Node,
    time: Duration,
    other: Author,
    chain: Vec<Certificate>,
    /// What the node said, and wants done.
    said: Vec<Message>,
    done: Vec<Output>,
    /// What it wrote and is not told to be durable yet; `None` when that is told at once.
    unsettled: Option<Vec<u64>>,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self::of(config());
        pair.meet();
        pair
    }

    /// Before they meet.
    fn of(config: Config) -> Self {
        let mut pair = Self {
            node: Node::new(config, Restored::default(), Now { mono: Duration::ZERO, wall_ms: WALL_MS }),
            time: Duration::ZERO,
            other: Author::new(key(2), 1),
            chain: Vec::new(),
            said: Vec::new(),
            done: Vec::new(),
            unsettled: None,
        };
        pair.drain();
        pair
    }

    /// The other end connects and is admitted.
    fn meet(&mut self) {
        self.input(Input::PeerUp { peer: id(2), address: THERE.into(), dialed: false, rtt: RTT, is_local: true });
        self.say(hello());
        let admit = self.said.iter().find_map(|message| match message {
            Message::Admit(admit) => Some(admit.clone()),
            _ => None,
        });
        let admit = admit.expect("whoever comes is admitted");
        self.chain.clone_from(&admit.chain);
        self.say(Hello { zone_key: Some(admit.zone_key), chain: admit.chain, ..hello() });
    }

    fn now(&self) -> Now {
        Now { mono: self.time, wall_ms: WALL_MS + self.time.as_millis() as u64 }
    }

    fn input(&mut self, input: Input) {
        self.node.handle_input(self.now(), input);
        self.drain();
    }

    fn say(&mut self, message: impl Into<Message>) {
        self.input(Input::Frame { peer: id(2), bytes: message.into().encode().into() });
    }

    /// Time passes, and the node does what is due then.
    fn pass(&mut self, time: Duration) {
        self.time += time;
        self.node.handle_timeout(self.now());
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.node.poll_output() {
                Output::Wait(_) => return,
                Output::Send { bytes, .. } => self.said.push(Message::decode(&bytes).expect("nodes say what is read")),
                Output::Persist { token, .. } => match &mut self.unsettled {
                    Some(waiting) => waiting.push(token),
                    None => self.node.handle_input(self.now(), Input::Persisted { token, durable: true }),
                },
                other => self.done.push(other),
            }
        }
    }

    /// The store is as fast again as it was.
    fn settle(&mut self) {
        for token in self.unsettled.take().unwrap_or_default() {
            self.input(Input::Persisted { token, durable: true });
        }
    }

    /// How writes ended since this was asked last.
    fn written(&mut self) -> BTreeMap<u64, Result<Wrote, WriteError>> {
        let done = std::mem::take(&mut self.done);
        let written = done.into_iter().filter_map(|output| match output {
            Output::Written { token, result } => Some((token, result)),
            _ => None,
        });
        written.collect()
    }

    /// The life of the node's own log.
    fn life(&self) -> u64 {
        self.node.registry().incarnation_of(id(1)).expect("it has written its own record")
    }

    /// The other end writes records, and tells of them.
    fn write(&mut self, records: Vec<Record>) {
        let (from, hlc) = (self.other.through(), self.now().wall_ms << 16);
        let records = records.into_iter().map(|record| Record { hlc, ..record }).collect();
        let flush = self.other.flush(records, 0);
        let range = range_of(from, false, &flush).expect("it has records");
        self.say(Ranges { ranges: vec![range], chains: vec![self.chain.clone()], more: false, hop: 1 });
        assert_eq!(self.node.registry().through(self.other.origin), self.other.through(), "it is held");
    }

    /// The other end certifies somebody.
    fn chain_to(&self, node: NodeId) -> Vec<Certificate> {
        let certificate = Certificate::issue(&key(2), &ZoneName::parse("z").expect("a zone"), node, WALL_MS);
        self.chain.iter().cloned().chain([certificate]).collect()
    }

    /// Of how many nodes it is known why they may speak.
    fn chains(&self) -> usize {
        let gauges = self.node.gauges();
        let chains = gauges.iter().find(|gauge| gauge.name == "chains").expect("it is counted");
        assert!(chains.held <= chains.cap);
        chains.held
    }

    /// The other end certifies a third, which writes a record of where it is; the other end tells of it.
    fn bring_third(&mut self, address: &str) {
        let mut third = Author::new(key(3), 1);
        let chain = self.chain_to(id(3));
        let record = Record { hlc: self.now().wall_ms << 16, ..node_of(&id(3).to_string(), address, Vec::new()) };
        let range = range_of(0, false, &third.flush(vec![record], 0)).expect("it has records");
        self.say(Ranges { ranges: vec![range], chains: vec![chain], more: false, hop: 1 });
        assert_eq!(self.node.registry().through(third.origin), 1, "it is held");
    }

    /// How often the node dialled since this was asked last.
    fn dials(&mut self) -> usize {
        let done = std::mem::take(&mut self.done);
        done.into_iter().filter(|output| matches!(output, Output::Dial { .. })).count()
    }

    /// The node's members: who, and where.
    fn members(&self) -> Vec<(NodeId, String)> {
        self.node.view().members.into_iter().map(|member| (member.node, member.address)).collect()
    }
}

fn config() -> Config {
    Config {
        zone: ZoneName::parse("z").expect("a zone"),
        key: key(1),
        zone_key: key(101),
        spare_key: None,
        incarnation: 1,
        address: "127.0.0.1:7001".into(),
        version: "0".into(),
        seed: [1; 32],
        parents: Vec::new(),
        joins: Vec::new(),
        admission: Admission::Open,
        invitation: None,
        rules: Policy::open(),
        opened: None,
    }
}

fn hello() -> Hello {
    Hello {
        zone: "z".into(),
        address: THERE.into(),
        version: "0".into(),
        zone_key: None,
        chain: Vec::new(),
        manifests: Vec::new(),
        founding: false,
        held: None,
        versions: VERSIONS,
    }
}

fn record(kind: Kind, name: &str, body: Option<Vec<u8>>) -> Record {
    Record {
        zone: "z".into(),
        kind: kind.number(),
        name: name.into(),
        node: id(2),
        incarnation: 0,
        seq: 0,
        epoch: 0,
        hlc: 0,
        visibility: VISIBILITY_PUBLIC,
        issued_ms: WALL_MS,
        expires_ms: WALL_MS + NODE_LEASE.as_millis() as u64,
        def_hash: None,
        body,
    }
}

/// A record of the other node, under any name.
fn node_record(name: &str, address: &str) -> Record {
    node_of(name, address, vec!["127.0.0.1:1".into()])
}

fn node_of(name: &str, address: &str, parents: Vec<String>) -> Record {
    let body = NodeBody { address: address.into(), version: "0".into(), chain: Vec::new(), parents };
    record(Kind::Node, name, Some(body.encode()))
}

#[test]
fn a_member_is_what_the_record_under_its_own_name_says() {
    let mut pair = Pair::new();
    let (name, other) = (id(2).to_string(), id(7).to_string());
    pair.write(vec![node_record(&other, "127.0.0.1:9"), node_record("x", "127.0.0.1:8")]);
    assert_eq!(pair.members(), [], "nobody is added");
    assert!(pair.node.view().contacts.is_empty());
    pair.write(vec![node_record(&name, THERE)]);
    assert_eq!(pair.members(), [(id(2), THERE.to_owned())]);
    pair.write(vec![node_record("x", "127.0.0.1:7")]);
    assert_eq!(pair.members(), [(id(2), THERE.to_owned())], "nobody is moved");
    pair.write(vec![record(Kind::Node, "x", None), record(Kind::Node, &other, None)]);
    assert_eq!(pair.members(), [(id(2), THERE.to_owned())], "nobody is removed");
    pair.write(vec![Record { body: Some(vec![9]), ..node_record(&name, THERE) }]);
    assert_eq!(pair.members(), [], "what cannot be read says of nobody that it is there");
}

#[test]
fn a_manifest_under_another_name_than_its_epoch_leads_nowhere() {
    let zone = ZoneName::parse("z").expect("a zone");
    let next = ManifestBody::issue(&zone, 2, &key(101), &key(102), WALL_MS);
    for (name, epoch) in [("3", 1), ("02", 1), ("two", 1), ("2", 2)] {
        let mut pair = Pair::new();
        pair.write(vec![record(Kind::Manifest, name, Some(next.encode()))]);
        assert_eq!(pair.node.view().keys.epoch, epoch, "{name}");
    }
}

fn reap(name: &str, node: NodeId, incarnation: u64) -> Record {
    record(Kind::Reap, name, Some(ReapBody { node, incarnation }.encode()))
}

#[test]
fn a_life_that_no_clock_could_have_led_to_is_not_ended() {
    let (mut pair, name) = (Pair::new(), id(7).to_string());
    let most = WALL_MS / 1000 + LIVES_AHEAD_MAX;
    pair.write(vec![reap(&name, id(7), most + 1)]);
    assert_eq!(pair.node.registry().reaped(id(7)), None);
    pair.write(vec![reap(&name, id(7), most)]);
    assert_eq!(pair.node.registry().reaped(id(7)), Some(most));
    pair.write(vec![reap(&name, id(7), u64::MAX)]);
    assert_eq!(pair.node.registry().reaped(id(7)), None, "it has replaced the one that counted");
    pair.write(vec![reap(&name.to_uppercase(), id(7), 5)]);
    assert_eq!(pair.node.registry().reaped(id(7)), Some(5));
    pair.write(vec![reap(&name, id(8), 5)]);
    assert_eq!((pair.node.registry().reaped(id(7)), pair.node.registry().reaped(id(8))), (None, None));
}

#[test]
fn a_quarantined_life_is_ended_when_its_node_stays_away() {
    let mut pair = Pair::new();
    pair.write(vec![node_record(&id(2).to_string(), THERE)]);
    let envelope = |name: &str| {
        let record = Record { incarnation: 1, seq: 2, ..record(Kind::Server, name, None) };
        pair.other.sign(record, Head::default()).envelope()
    };
    let (one, other) = (envelope("a"), envelope("b"));
    pair.say(Fork { chain: pair.chain.clone(), one, other });
    assert!(pair.node.registry().is_quarantined(pair.other.origin));
    pair.input(Input::PeerDown { peer: id(2), lost: true });
    pair.pass(NODE_LEASE / 2);
    assert_eq!(pair.node.registry().reaped(id(2)), None, "its node may still hear of it");
    pair.pass(NODE_LEASE);
    assert_eq!(pair.node.registry().reaped(id(2)), Some(1));
    assert_eq!(pair.node.registry().forks().count(), 0);
}

/// A node that joins the other end, which has answered.
fn joining() -> Pair {
    let mut pair = Pair::of(Config { joins: vec![THERE.into()], ..config() });
    pair.input(Input::PeerUp { peer: id(2), address: THERE.into(), dialed: true, rtt: RTT, is_local: true });
    pair.said.clear();
    pair
}

/// Both greeted each other every second, for ever.
#[test]
fn whoever_greets_in_a_way_that_cannot_be_followed_is_told_why_and_given_up() {
    let bad = [
        Hello { versions: (2, 2), ..hello() },
        Hello { versions: (2, 1), ..hello() },
        Hello { zone: "a..b".into(), ..hello() },
        Hello { zone: "a".repeat(1 << 19), ..hello() },
        Hello { address: "a".repeat(261), ..hello() },
    ];
    for hello in bad {
        let mut pair = joining();
        pair.say(hello);
        assert!(matches!(&pair.said[..], [Message::Refuse(_)]), "{:?}", pair.said);
        assert!(pair.done.iter().any(|output| matches!(output, Output::Close { peer } if *peer == id(2))));
        assert_eq!(pair.node.view().counts.bad_frames, 1);
        pair.said.clear();
        pair.pass(Duration::from_secs(3));
        assert_eq!(pair.said, [], "nothing more is said");
        pair.input(Input::PeerDown { peer: id(2), lost: false });
        is_dialled_rarely(&mut pair);
    }
}

#[test]
fn whoever_refused_this_node_is_left_in_peace_for_a_while() {
    let mut pair = joining();
    pair.say(Refuse { reason: "another version".into() });
    pair.pass(Duration::from_secs(3));
    assert_eq!(pair.said, [], "it is not greeted again");
    pair.input(Input::PeerDown { peer: id(2), lost: false });
    is_dialled_rarely(&mut pair);
    let contact = pair.node.view().contacts.remove(0);
    assert_eq!((contact.state, contact.error.as_deref()), ("refused", Some("another version")));
}

fn is_dialled_rarely(pair: &mut Pair) {
    pair.dials();
    pair.pass(Duration::from_secs(20));
    assert_eq!(pair.dials(), 0);
    pair.pass(Duration::from_secs(20));
    assert_eq!(pair.dials(), 1);
}

/// One record named as many addresses as fit it, and a question made this node dial them all.
#[test]
fn as_many_gateways_of_a_delegation_are_dialled_as_a_parent_would_write() {
    let mut pair = Pair::new();
    let gateways = (0..100).map(|n| Gateway { node: id(n), address: format!("127.0.0.1:{}", 8000 + u16::from(n)) });
    let body =
        DelegationBody { zone_key: [7; 32], epoch: 1, gateways: gateways.collect(), tools: 0, since_ms: WALL_MS };
    pair.write(vec![record(Kind::Delegation, "a.z", Some(body.encode()))]);
    assert_eq!(pair.dials(), 0);
    let question = Question {
        form: Form::Words,
        text: "anything".into(),
        zone: None,
        limit: 10,
        tags: Vec::new(),
        capabilities: Vec::new(),
        after: String::new(),
    };
    let terms = Terms::of_door(question.form, pair.time + Duration::from_secs(2));
    pair.input(Input::Resolve { token: 1, question, terms, sight: None });
    assert_eq!(pair.dials(), GATEWAYS_MAX);
}

#[test]
fn buckets_of_another_number_are_a_bad_frame() {
    let mut pair = Pair::new();
    for (count, bad) in [(BUCKETS, 0), (BUCKETS - 1, 1), (0, 2), (BUCKETS + 1, 3)] {
        pair.say(Buckets { hashes: vec![1; count] });
        assert_eq!(pair.node.view().counts.bad_frames, bad);
    }
}

/// One member named other parents again and again: none was ever given up, and there was no room left for anybody.
#[test]
fn a_member_that_names_ever_other_parents_keeps_nobody_from_being_dialled() {
    let mut pair = Pair::new();
    let own = id(2).to_string();
    for rewrite in 0..100 {
        let parents: Vec<String> = (0..8).map(|at| format!("10.0.0.1:{}", rewrite * 8 + at)).collect();
        pair.write(vec![node_of(&own, THERE, parents.clone())]);
        let contacts: Vec<String> = pair.node.view().contacts.into_iter().map(|contact| contact.address).collect();
        assert!(contacts.len() == 8 && parents.iter().all(|parent| contacts.contains(parent)), "{contacts:?}");
    }
    pair.done.clear();
    pair.bring_third("127.0.0.1:7003");
    pair.pass(Duration::from_secs(1));
    let is_third = |output: &Output| matches!(output, Output::Dial { expected, .. } if *expected == Some(id(3)));
    assert!(pair.done.iter().any(is_third), "a new fellow is dialled: {:?}", pair.done);
    pair.write(vec![node_of(&own, THERE, Vec::new())]);
    assert!(pair.node.view().contacts.iter().all(|contact| contact.purpose != "parent"));
}

/// From the 1,025th child on none was proven, in the order of names, and every delegation cost as much as all before it.
#[test]
fn every_child_of_a_zone_is_proven_however_many_there_are() {
    let mut pair = Pair::new();
    for part in 0..8 {
        let delegation = |number: u64| {
            let zone_key = key(u8::try_from(number % 250).expect("it is small")).verifying_key().to_bytes();
            let body = DelegationBody { zone_key, epoch: 1, gateways: Vec::new(), tools: 0, since_ms: WALL_MS };
            record(Kind::Delegation, &format!("c{number}.z"), Some(body.encode()))
        };
        pair.write((part * 250..(part + 1) * 250).map(delegation).collect());
    }
    let view = pair.node.view();
    let proven = view.keys.anchors.iter().filter(|anchor| !anchor.pinned).count();
    assert_eq!((view.children.len(), proven), (2000, 2000));
}

/// A fellow that called itself something else before it went stayed connected in the view of members, and was never dialled again.
#[test]
fn whoever_is_a_fellow_no_more_is_dialled_again_when_it_is_gone() {
    let greetings: [fn(&Pair) -> Hello; 3] = [
        |_| Hello { zone: "y.z".into(), ..hello() },
        |_| Hello { zone: "other".into(), ..hello() },
        |pair| Hello { zone_key: Some(pair.chain[0].issuer), chain: Vec::new(), ..hello() },
    ];
    for greeting in greetings {
        let mut pair = Pair::new();
        pair.write(vec![node_record(&id(2).to_string(), THERE)]);
        let hello = greeting(&pair);
        pair.say(hello.clone());
        pair.input(Input::PeerDown { peer: id(2), lost: true });
        pair.done.clear();
        for _ in 0..60 {
            pair.pass(Duration::from_secs(1));
        }
        let is_dial = |output: &Output| matches!(output, Output::Dial { expected, .. } if *expected == Some(id(2)));
        assert!(pair.done.iter().any(is_dial), "{hello:?}");
    }
}

fn made_up(number: usize) -> NodeId {
    let mut node = [0xee; 32];
    node[..8].copy_from_slice(&number.to_be_bytes());
    NodeId(node)
}

/// Chains of made-up nodes were kept for ever, however many.
#[test]
fn why_a_node_may_speak_is_known_as_long_as_it_is_there_or_something_of_it_is_held() {
    let mut pair = Pair::new();
    assert_eq!(pair.chains(), 2);
    let crowd = || (0..400).map(made_up);
    let chains: Vec<_> = crowd().map(|node| pair.chain_to(node)).collect();
    pair.say(Ranges { ranges: Vec::new(), chains: chains.clone(), more: false, hop: 1 });
    assert_eq!(pair.chains(), 2, "nothing of theirs came");
    let bad = |node| Range {
        origin: Origin { node, incarnation: 1 },
        from_exclusive: 0,
        to_inclusive: 1,
        cut: false,
        records: vec![vec![1; 100]],
    };
    pair.say(Ranges { ranges: crowd().map(bad).collect(), chains, more: false, hop: 1 });
    assert_eq!(pair.chains(), 2, "nothing of theirs was taken");
    pair.bring_third("127.0.0.1:7003");
    assert_eq!(pair.chains(), 3);
    pair.write(vec![reap(&id(3).to_string(), id(3), 1)]);
    assert_eq!(pair.chains(), 2, "nothing of it is left");
    pair.input(Input::PeerDown { peer: id(2), lost: true });
    assert_eq!(pair.chains(), 2, "its log is held");
    let mut pair = Pair::new();
    pair.input(Input::PeerDown { peer: id(2), lost: true });
    assert_eq!(pair.chains(), 1, "it came and went");
}

/// A claim of a fork brings a chain that is kept until room is needed.
#[test]
fn chains_that_are_of_no_use_make_room() {
    let mut pair = Pair::new();
    for number in 0..ORIGINS_MAX + 10 {
        let chain = pair.chain_to(made_up(number));
        pair.say(Fork { chain, one: Vec::new(), other: Vec::new() });
        pair.said.clear();
    }
    assert!(pair.chains() < ORIGINS_MAX);
    pair.bring_third("127.0.0.1:7003");
}

/// It is told once, by somebody who may be gone when it is time.
#[test]
fn a_life_that_was_ended_too_soon_is_followed_by_another_when_it_is_time() {
    let mut pair = Pair::new();
    let (name, first) = (id(1).to_string(), pair.life());
    pair.write(vec![reap(&name, id(1), first)]);
    let second = pair.life();
    assert!(second > first);
    pair.write(vec![reap(&name, id(1), second)]);
    pair.input(Input::PeerDown { peer: id(2), lost: true });
    pair.pass(LIFE_PAUSE - Duration::from_millis(1));
    assert_eq!(pair.life(), second, "a life lasts a while");
    pair.pass(Duration::from_millis(1));
    assert!(pair.life() > second);
    assert_eq!(pair.node.registry().reaped(id(1)), Some(second));
}

#[test]
fn what_is_asked_for_between_two_lives_is_written_in_the_later_or_refused() {
    let mut pair = Pair::new();
    let (name, first, most) = (id(1).to_string(), pair.life(), WRITES_WAITING_MAX as u64);
    pair.unsettled = Some(Vec::new());
    pair.write(vec![reap(&name, id(1), first)]);
    let state = |server: String| Write::ServerState { server, up: true, error: String::new() };
    for token in 0..=most {
        pair.input(Input::Write { token, write: state(format!("s{token}")) });
    }
    pair.input(Input::Rotate { token: most + 1, key: key(102) });
    let zone = ZoneName::parse("z").expect("a zone");
    let refused = [(most, Err(WriteError::TooMany)), (most + 1, Err(WriteError::KeyUnsettled { zone }))];
    assert_eq!(pair.written(), BTreeMap::from(refused));
    assert_eq!(pair.life(), first);
    pair.settle();
    let written = pair.written();
    assert!(written.len() as u64 == most && written.values().all(Result::is_ok));
    assert!(pair.life() > first);
    let held = pair.node.registry().records_of(Origin { node: id(1), incarnation: pair.life() });
    let servers = held.filter(|signed| signed.record.kind() == Kind::Server).count();
    assert_eq!(servers as u64, most);
}
