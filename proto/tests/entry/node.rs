//! Two nodes of one zone and a third party that says anything: sequences of whatever can happen to a node.
//!
//! What must hold: nothing panics, complete-through never goes back (I1), one input gives a bounded number of outputs, and a node
//! whose time has come has something to do: it is never due again at once for ever.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aop_proto::access::Policy;
use aop_proto::name::ZoneName;
use aop_proto::node::{Admission, Config, Input, NewTool, Node, Output, Restored, Write};
use aop_proto::now::Now;
use aop_proto::params::BUCKETS;
use aop_proto::record::{Certificate, Head, NodeId, Origin, Record, SignedRef, VISIBILITY_PUBLIC};
use aop_proto::resolver::Terms;
use aop_proto::trust::SigningKey;
use aop_proto::wire::message::{
    Ack, Announce, Announced, Buckets, Busy, ClockAhead, Digest, Fork, Form, Hello, Leave, Members, Message, Ping,
    PingRequest, Question, Ranges, Update, Vector,
};
use aop_proto::wire::{VERSIONS, frame};
use bytes::Bytes;

use super::Dice;
use super::author::{Author, range_of};

const WALL_MS: u64 = 1_790_000_000_000;
/// Where a wall clock can jump to and come back from: a few centuries.
const SKEW_MS_MAX: u64 = 1 << 43;
const STEPS_MAX: usize = 400;
const OUTPUTS_MAX: usize = 10_000;
/// Times a node may be due at one and the same instant.
const WAKES_MAX: usize = 64;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// Times that everything is delivered and stored, after which two nodes are a zone.
const ROUNDS_TO_SETTLE: usize = 16;

/// One node and what it waits for.
struct Host {
    node: Node,
    persist: VecDeque<u64>,
    due: Duration,
    through: BTreeMap<Origin, u64>,
}

struct World {
    hosts: [Host; 2],
    /// The third party, and its certificates once it is admitted.
    rogue: Author,
    chain: Vec<Certificate>,
    /// Frames between the two, by sender and place of the receiver.
    queue: VecDeque<(NodeId, usize, Bytes)>,
    time: Duration,
    /// What the wall clock has jumped so far.
    skew_ms: u64,
    token: u64,
}

/// As many steps as the bytes choose.
pub(crate) fn node(bytes: &[u8]) {
    let dice = &mut Dice(bytes);
    let mut world = World {
        hosts: [host(1), host(2)],
        rogue: Author::new(key(3), 1),
        chain: Vec::new(),
        queue: VecDeque::new(),
        time: Duration::ZERO,
        skew_ms: 0,
        token: 0,
    };
    world.begin(dice.byte());
    for _ in 0..STEPS_MAX {
        if dice.is_empty() {
            break;
        }
        world.step(dice);
    }
}

fn host(seed: u8) -> Host {
    let config = Config {
        zone: ZoneName::parse("z").expect("a zone"),
        key: key(seed),
        zone_key: key(seed + 100),
        spare_key: None,
        incarnation: WALL_MS,
        address: address(seed),
        version: "0".into(),
        seed: [seed; 32],
        parents: Vec::new(),
        joins: if seed == 1 { Vec::new() } else { vec![address(1)] },
        admission: Admission::Open,
        invitation: None,
        rules: Policy::open(),
        opened: None,
    };
    let node = Node::new(config, Restored::default(), Now { mono: Duration::ZERO, wall_ms: WALL_MS });
    Host { node, persist: VecDeque::new(), due: Duration::ZERO, through: BTreeMap::new() }
}

/// What a handshake took: nothing, or longer than anybody waits.
fn rtt(dice: &mut Dice<'_>) -> Duration {
    Duration::from_millis(u64::from(dice.byte()) * 100)
}

fn address(seed: u8) -> String {
    format!("127.0.0.1:{}", 7000 + u16::from(seed))
}

impl World {
    fn now(&self) -> Now {
        let wall_ms = WALL_MS + self.skew_ms + u64::try_from(self.time.as_millis()).unwrap_or(0);
        Now { mono: self.time, wall_ms }
    }

    const fn rogue(&self) -> NodeId {
        self.rogue.origin.node
    }

    /// The two meet, and mostly become a zone that admits the third party too: little can happen before.
    fn begin(&mut self, choice: u8) {
        self.connect(true);
        if choice & 1 == 0 {
            self.settle();
        }
        if choice & 2 == 0 {
            for at in 0..2 {
                self.greet(at, &mut Dice(&[]));
                self.greet(at, &mut Dice(&[]));
            }
            self.settle();
        }
    }

    /// Everything that was said is heard, and everything is durable.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_TO_SETTLE {
            self.deliver(usize::MAX);
            for at in 0..2 {
                self.persisted(at, true);
            }
        }
    }

    fn step(&mut self, dice: &mut Dice<'_>) {
        let choice = dice.byte() % 24;
        let at = dice.below(2);
        match choice {
            0..=3 => self.pass(Duration::from_millis(u64::from(dice.byte()) * 4)),
            4..=7 => self.deliver(dice.below(4)),
            8 => drop(self.queue.pop_front()),
            9 => self.garble(dice),
            10 => {
                let count = usize::from(dice.byte());
                self.say(at, Bytes::copy_from_slice(dice.bytes(count)));
            }
            11 => {
                let (kind, count) = (dice.byte() % 64, usize::from(dice.byte()));
                self.say(at, frame(kind, dice.bytes(count)).into());
            }
            12 => self.greet(at, dice),
            13 | 14 => self.claim(at, dice),
            15 => self.persisted(at, dice.byte() < 200),
            16 => self.write(at, dice),
            17 => self.ask(at, dice),
            18 => self.connect(dice.yes()),
            19..=22 => {
                let word = self.word(dice);
                self.say(at, word.encode().into());
            }
            _ => self.meet(at, dice),
        }
    }

    fn input(&mut self, at: usize, input: Input) {
        let now = self.now();
        self.hosts[at].node.handle_input(now, input);
        self.drain(at);
    }

    /// Time passes; whoever is due is woken, as often as it wants at one instant.
    fn pass(&mut self, time: Duration) {
        self.time += time;
        let now = self.now();
        for at in 0..2 {
            let mut wakes = 0;
            while self.hosts[at].due <= self.time {
                self.hosts[at].node.handle_timeout(now);
                self.drain(at);
                wakes += 1;
                assert!(wakes < WAKES_MAX, "a node is due for ever at {:?}", self.time);
            }
        }
    }

    fn drain(&mut self, at: usize) {
        let me = self.hosts[at].node.id();
        for count in 0.. {
            assert!(count < OUTPUTS_MAX, "one input, no end of outputs");
            match self.hosts[at].node.poll_output() {
                Output::Wait(due) => {
                    self.hosts[at].due = due;
                    break;
                }
                Output::Send { peer, bytes, .. } => match self.hosts.iter().position(|host| host.node.id() == peer) {
                    Some(to) => self.queue.push_back((me, to, bytes)),
                    None => self.overhear(&bytes),
                },
                Output::Persist { token, .. } => self.hosts[at].persist.push_back(token),
                Output::Changed => drop(self.hosts[at].node.view()),
                _ => {}
            }
        }
        self.check(at);
    }

    fn check(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let through: BTreeMap<Origin, u64> = host.node.registry().vector().into_iter().collect();
        for (origin, before) in &host.through {
            assert!(through.get(origin).is_none_or(|after| after >= before), "I1: {origin:?} went back");
        }
        host.through = through;
    }

    fn deliver(&mut self, count: usize) {
        for _ in 0..=count.min(self.queue.len()) {
            let Some((peer, to, bytes)) = self.queue.pop_front() else { return };
            self.input(to, Input::Frame { peer, bytes });
        }
    }

    /// A frame on its way is changed, and arrives twice.
    fn garble(&mut self, dice: &mut Dice<'_>) {
        let Some((peer, to, bytes)) = self.queue.pop_front() else { return };
        let mut garbled = bytes.to_vec();
        let place = (usize::from(dice.byte()) << 8 | usize::from(dice.byte())) % garbled.len().max(1);
        if let Some(byte) = garbled.get_mut(place) {
            *byte ^= dice.byte();
        }
        self.input(to, Input::Frame { peer, bytes: garbled.into() });
        self.input(to, Input::Frame { peer, bytes });
    }

    /// The third party says something.
    fn say(&mut self, at: usize, bytes: Bytes) {
        let peer = self.rogue();
        self.input(at, Input::Frame { peer, bytes });
    }

    /// The third party hears something: what it was certified with it will use.
    fn overhear(&mut self, bytes: &[u8]) {
        if let Ok(Message::Admit(admit)) = Message::decode(bytes) {
            self.chain = admit.chain;
        }
    }

    fn greet(&mut self, at: usize, dice: &mut Dice<'_>) {
        let peer = self.rogue();
        self.input(at, Input::PeerUp { peer, address: address(3), dialed: dice.yes(), rtt: rtt(dice), is_local: true });
        let zone_key = self.chain.first().map(|certificate| certificate.issuer);
        let hello = Hello {
            zone: ["z", ".", "a.z", "b"][dice.below(8).saturating_sub(4)].into(),
            address: address(3),
            version: "0".into(),
            zone_key,
            chain: self.chain.clone(),
            manifests: Vec::new(),
            founding: dice.yes(),
            held: dice.yes().then(|| (WALL_MS, dice.number())),
            versions: if dice.byte() == 255 { (2, 2) } else { VERSIONS },
        };
        self.say(at, Message::from(hello).encode().into());
    }

    /// The third party, once certified, writes its log and tells of it: as it ought to, or anything else that it can sign.
    fn claim(&mut self, at: usize, dice: &mut Dice<'_>) {
        if dice.byte() < 16 {
            self.rogue = Author::new(key(3), 1 + dice.number() % 3);
        }
        let standing = match dice.below(3) {
            0 => 0,
            1 => self.rogue.through(),
            _ => dice.number(),
        };
        let records = (0..=dice.below(3)).map(|_| self.record(dice)).collect();
        let fresh = self.rogue.flush(records, if dice.below(4) == 0 { dice.number() } else { 0 });
        let mut told: Vec<SignedRef> = match dice.below(4) {
            0 => fresh,
            _ => self.rogue.held.range(standing.saturating_add(1)..).map(|(_, signed)| signed.clone()).collect(),
        };
        if dice.below(4) == 0 {
            let head = Head { seq: dice.number(), floor: dice.number(), count: dice.number(), root: [dice.byte(); 32] };
            let seq = self.rogue.through().wrapping_add(dice.number());
            let record = Record { seq, node: self.rogue.origin.node, ..self.record(dice) };
            told.push(Arc::new(self.rogue.sign(record, head)));
        }
        let Some(mut range) = range_of(standing, dice.below(4) == 0, &told) else { return };
        if dice.below(8) == 0 {
            (range.from_exclusive, range.to_inclusive) = (dice.number(), dice.number());
        }
        let ranges =
            Ranges { ranges: vec![range], chains: vec![self.chain.clone()], more: dice.yes(), hop: dice.byte() };
        self.say(at, Message::from(ranges).encode().into());
    }

    /// Anything that fellows say of logs and of each other, about anybody.
    fn word(&self, dice: &mut Dice<'_>) -> Message {
        let entries =
            |dice: &mut Dice<'_>| (0..dice.below(4)).map(|_| (self.any_origin(dice), dice.number())).collect();
        let updates = |dice: &mut Dice<'_>| (0..dice.below(4)).map(|_| self.any_update(dice)).collect();
        let number = u32::from(dice.byte() % 8);
        match dice.below(13) {
            0 => Digest { hash: [dice.byte(); 16], members: dice.number() }.into(),
            1 => Buckets { hashes: vec![dice.number(); if dice.byte() < 250 { BUCKETS } else { dice.below(200) }] }
                .into(),
            2 | 3 => {
                let buckets = if dice.yes() { u64::MAX } else { dice.number() };
                Vector { buckets, entries: entries(dice), reply: dice.yes() }.into()
            }
            4 => {
                let announced =
                    |dice: &mut Dice<'_>| Announced { origin: self.any_origin(dice), through: dice.number() };
                Announce { dots: (0..dice.below(30)).map(|_| announced(dice)).collect(), hop: dice.byte() }.into()
            }
            5 => Busy { retry_ms: u32::try_from(dice.number()).unwrap_or(u32::MAX) }.into(),
            6 => ClockAhead { ahead_ms: dice.number() }.into(),
            7 => Ping { number, updates: updates(dice) }.into(),
            8 => Ack { number, updates: updates(dice) }.into(),
            9 => PingRequest { number, target: self.anybody(dice), updates: updates(dice) }.into(),
            10 => Members { updates: updates(dice), reply: dice.yes() }.into(),
            11 => Leave { seq: dice.number() }.into(),
            _ => {
                let seq = dice.number();
                let mut envelope = || {
                    let record = Record { seq, ..self.record(dice) };
                    self.rogue.sign(record, Head::default()).envelope()
                };
                Fork { chain: self.chain.clone(), one: envelope(), other: envelope() }.into()
            }
        }
    }

    fn anybody(&self, dice: &mut Dice<'_>) -> NodeId {
        match dice.below(4) {
            0 | 1 => self.hosts[dice.below(2)].node.id(),
            2 => self.rogue(),
            _ => NodeId([dice.byte(); 32]),
        }
    }

    fn any_origin(&self, dice: &mut Dice<'_>) -> Origin {
        let incarnation = if dice.yes() { WALL_MS + dice.number() % 3 } else { dice.number() };
        Origin { node: self.anybody(dice), incarnation }
    }

    fn any_update(&self, dice: &mut Dice<'_>) -> Update {
        let counter = u32::try_from(dice.number()).unwrap_or(u32::MAX);
        Update { node: self.anybody(dice), counter, state: dice.byte() % 5, by: self.anybody(dice) }
    }

    fn record(&self, dice: &mut Dice<'_>) -> Record {
        let length = usize::from(dice.byte() % 16);
        Record {
            zone: if dice.byte() == 0 { "b".into() } else { "z".into() },
            kind: dice.byte() % 8,
            name: ["t.s.z", "T.s.z", "s", "z", "", "a.b"][dice.below(6)].into(),
            node: self.rogue.origin.node,
            incarnation: self.rogue.origin.incarnation,
            seq: 0,
            epoch: dice.number(),
            hlc: (WALL_MS << 16).wrapping_add(dice.number() << 24),
            visibility: VISIBILITY_PUBLIC,
            issued_ms: WALL_MS,
            expires_ms: dice.number(),
            def_hash: None,
            body: dice.yes().then(|| dice.bytes(length).to_vec()),
        }
    }

    fn persisted(&mut self, at: usize, durable: bool) {
        if let Some(token) = self.hosts[at].persist.pop_front() {
            self.input(at, Input::Persisted { token, durable });
        }
    }

    fn write(&mut self, at: usize, dice: &mut Dice<'_>) {
        self.token += 1;
        let name = ["one", "two", "Two", "a b"][dice.below(4)];
        let write = match dice.below(4) {
            0 => Write::Remove(name.into()),
            1 => Write::ServerState { server: "s".into(), up: dice.yes(), error: "why".into() },
            _ => Write::Server { server: "s".into(), replica: dice.yes(), tools: vec![tool(name)] },
        };
        self.input(at, Input::Write { token: self.token, write });
        self.skew_ms = self.skew_ms.wrapping_add(dice.number()) % SKEW_MS_MAX;
    }

    fn ask(&mut self, at: usize, dice: &mut Dice<'_>) {
        self.token += 1;
        let question = Question {
            form: [Form::Exact, Form::Words, Form::List][dice.below(3)],
            text: ["one.s.z", "one", "a.b", ""][dice.below(4)].into(),
            zone: dice.yes().then(|| "z".into()),
            limit: 10,
            tags: Vec::new(),
            capabilities: Vec::new(),
            after: String::new(),
        };
        let door = Terms::of_door(question.form, self.time + Duration::from_secs(2));
        let terms = Terms { cached: dice.yes(), recurse: dice.yes(), outside: dice.yes(), ..door };
        self.input(at, Input::Resolve { token: self.token, question, terms, sight: None });
    }

    /// The connection between the two nodes stands, or ends.
    fn connect(&mut self, up: bool) {
        for (at, other) in [(0, 1), (1, 0)] {
            let peer = self.hosts[other].node.id();
            let seed = u8::try_from(other).expect("two of them") + 1;
            let input = match up {
                true => {
                    Input::PeerUp { peer, address: address(seed), dialed: at == 1, rtt: Duration::ZERO, is_local: true }
                }
                false => Input::PeerDown { peer, lost: true },
            };
            self.input(at, input);
        }
    }

    /// What else can happen.
    fn meet(&mut self, at: usize, dice: &mut Dice<'_>) {
        let peer = if dice.yes() { self.rogue() } else { NodeId([dice.byte(); 32]) };
        let address = address(dice.byte());
        let input = match dice.below(5) {
            0 => Input::PeerUp { peer, address, dialed: true, rtt: rtt(dice), is_local: true },
            1 => Input::Reached { peer, address },
            2 => Input::PeerDown { peer, lost: dice.yes() },
            3 => Input::DialFailed { address, reason: "no".into() },
            _ => Input::FlushCaches(None),
        };
        self.input(at, input);
    }
}

fn tool(name: &str) -> NewTool {
    NewTool {
        original: name.into(),
        definition: Bytes::from(format!(r#"{{"name":"{name}"}}"#)),
        server: "s".into(),
        labels: String::new(),
        tags: Vec::new(),
        capabilities: Vec::new(),
        examples: Vec::new(),
        agent: None,
    }
}
