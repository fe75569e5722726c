//! Two nodes of one zone and a third party that says anything: sequences of whatever can happen to a node.
//!
//! What must hold: nothing panics, complete-through never goes back (I1), one input gives a bounded number of outputs, and a node
//! whose time has come has something to do: it is never due again at once for ever.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aop_proto::name::ZoneName;
use aop_proto::node::{Config, Input, NewTool, Node, Output, Restored, Write};
use aop_proto::now::Now;
use aop_proto::record::{Certificate, Head, NodeId, Origin, Record, VISIBILITY_PUBLIC};
use aop_proto::resolver::Terms;
use aop_proto::trust::{SigningKey, sign_flush};
use aop_proto::wire::message::{Form, Hello, Message, Question, Range, Ranges};
use aop_proto::wire::{VERSIONS, frame};
use bytes::Bytes;

use super::Dice;

const WALL_MS: u64 = 1_790_000_000_000;
const STEPS_MAX: usize = 400;
const OUTPUTS_MAX: usize = 10_000;
/// Times a node may be due at one and the same instant.
const WAKES_MAX: usize = 64;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

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
    rogue: SigningKey,
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
        rogue: key(3),
        chain: Vec::new(),
        queue: VecDeque::new(),
        time: Duration::ZERO,
        skew_ms: 0,
        token: 0,
    };
    world.connect(true);
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
        opened: None,
    };
    let node = Node::new(config, Restored::default(), Now { mono: Duration::ZERO, wall_ms: WALL_MS });
    Host { node, persist: VecDeque::new(), due: Duration::ZERO, through: BTreeMap::new() }
}

fn address(seed: u8) -> String {
    format!("127.0.0.1:{}", 7000 + u16::from(seed))
}

impl World {
    fn now(&self) -> Now {
        let wall_ms = WALL_MS + self.skew_ms + u64::try_from(self.time.as_millis()).unwrap_or(0);
        Now { mono: self.time, wall_ms }
    }

    fn rogue(&self) -> NodeId {
        NodeId(self.rogue.verifying_key().to_bytes())
    }

    fn step(&mut self, dice: &mut Dice<'_>) {
        let choice = dice.byte() % 20;
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
        for _ in 0..=count {
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
        self.input(at, Input::PeerUp { peer, address: address(3), dialed: dice.yes() });
        let zone_key = self.chain.first().map(|certificate| certificate.issuer);
        let hello = Hello {
            zone: ["z", ".", "a.z", "b"][dice.below(8).saturating_sub(4)].into(),
            incarnation: 1 + dice.number(),
            address: address(3),
            version: "0".into(),
            zone_key,
            chain: self.chain.clone(),
            manifests: Vec::new(),
            founding: dice.yes(),
            held: dice.yes().then(|| (WALL_MS, dice.number())),
            versions: if dice.byte() == 0 { (2, 2) } else { VERSIONS },
        };
        self.say(at, Message::from(hello).encode().into());
    }

    /// The third party, once certified, signs anything about itself.
    fn claim(&mut self, at: usize, dice: &mut Dice<'_>) {
        let origin = Origin { node: self.rogue(), incarnation: 1 + dice.number() % 3 };
        let mut seq = dice.number();
        let from_exclusive = if dice.yes() { 0 } else { seq };
        let mut records = Vec::new();
        for _ in 0..=dice.below(3) {
            seq = seq.wrapping_add(1 + u64::from(dice.byte() > 250));
            let length = usize::from(dice.byte() % 64);
            let record = Record {
                zone: if dice.byte() == 0 { "b".into() } else { "z".into() },
                kind: dice.byte() % 8,
                name: ["t.s.z", "T.s.z", "s", "z", "", "a.b"][dice.below(6)].into(),
                node: origin.node,
                incarnation: origin.incarnation,
                seq,
                epoch: dice.number(),
                hlc: (WALL_MS << 16).wrapping_add(dice.number() << 24),
                visibility: VISIBILITY_PUBLIC,
                issued_ms: WALL_MS,
                expires_ms: dice.number(),
                def_hash: None,
                body: dice.yes().then(|| dice.bytes(length).to_vec()),
            };
            let head = Head { seq, floor: dice.number(), count: dice.number(), root: [dice.byte(); 32] };
            records.push(sign_flush(&self.rogue, vec![record], head).remove(0).envelope.to_vec());
        }
        let range = Range { origin, from_exclusive, to_inclusive: seq, cut: dice.yes(), records };
        let ranges =
            Ranges { ranges: vec![range], chains: vec![self.chain.clone()], more: dice.yes(), hop: dice.byte() };
        self.say(at, Message::from(ranges).encode().into());
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
        self.skew_ms += dice.number();
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
        self.input(at, Input::Resolve { token: self.token, question, terms });
    }

    /// The connection between the two nodes stands, or ends.
    fn connect(&mut self, up: bool) {
        for (at, other) in [(0, 1), (1, 0)] {
            let peer = self.hosts[other].node.id();
            let seed = u8::try_from(other).expect("two of them") + 1;
            let input = match up {
                true => Input::PeerUp { peer, address: address(seed), dialed: at == 1 },
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
            0 => Input::PeerUp { peer, address, dialed: true },
            1 => Input::Reached { peer, address },
            2 => Input::PeerDown { peer, lost: self.dice.yes() },
            3 => Input::DialFailed { address, reason: "no".into() },
            _ => Input::FlushCaches,
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
