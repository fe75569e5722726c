//! An enemy that was admitted: a replica with a key and a certificate that says whatever it likes (research: security §1, A2).
//!
//! The node inside goes on as before, so that the enemy stays a member; what it is made to say comes on top. Nothing here knows the
//! defence: a trick is bytes, and what has to hold after it is the business of the checks and of whoever plays it.

use std::sync::Arc;

use aop_proto::codec::Wire;
use aop_proto::name::ZoneName;
use aop_proto::record::{
    Certificate, Head, Kind, NodeId, Origin, ReapBody, Record, Signed, SignedRef, ToolBody, VISIBILITY_PUBLIC,
};
use aop_proto::trust::{SigningKey, definition_hash, sign_flush};
use aop_proto::wire::message::{
    Announce, Announced, Buckets, Busy, ClockAhead, Digest, Fork, Members, Message, Ping, Range, Ranges, Update, Vector,
};

use crate::sabotage::{ranges, sign};
use crate::world::{HostId, World};

/// What an enemy can do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Trick {
    /// Records in the name of others: signed by itself, or somebody's own with a byte changed.
    Forge,
    /// Parts of logs that everybody has had, again and again.
    Replay,
    /// A part of somebody's log without one of its records.
    Omit,
    /// A log of its own whose head is not what it holds.
    WrongHead,
    /// A record under the last number there is, and a vector that claims it of everybody.
    LastNumber,
    /// A record stamped in the year 9999.
    FarFuture,
    /// Two records under one number, one for every second victim.
    TwoContents,
    /// Announcements of what does not exist, wishes for everything, probes, by the hundred.
    Flood,
    /// Everybody else is suspect, down, left; with the highest counter there is.
    Accuse,
    /// A vector of origins that nobody has heard of.
    HugeVector,
    /// Bytes that are no frame, and frames that are no message.
    Garbage,
    /// A log from its beginning that never ends.
    EndlessSnapshot,
    /// The end of the life of somebody who lives.
    Reap,
    /// Hashes that match nothing, and pauses for a month.
    Lies,
    /// Certificates for nodes it made up, and logs of nodes that none leads to.
    Crowd,
}

/// All of them.
pub const TRICKS: [Trick; 15] = [
    Trick::Forge,
    Trick::Replay,
    Trick::Omit,
    Trick::WrongHead,
    Trick::LastNumber,
    Trick::FarFuture,
    Trick::TwoContents,
    Trick::Flood,
    Trick::Accuse,
    Trick::HugeVector,
    Trick::Garbage,
    Trick::EndlessSnapshot,
    Trick::Reap,
    Trick::Lies,
    Trick::Crowd,
];

/// In the name of every tool that should never be seen.
pub const FORGED: &str = "forged";

/// One admitted host that is an enemy now.
#[derive(Debug)]
pub struct Enemy {
    host: HostId,
    key: SigningKey,
    zone: ZoneName,
    chain: Vec<Certificate>,
    number: u64,
}

impl Enemy {
    /// Takes over a host that was admitted; `None` while it is not.
    pub fn take(world: &mut World, host: HostId) -> Option<Self> {
        let chain = world.chain(host)?;
        let (key, zone) = (world.key(host), ZoneName::parse(&world.spec(host).zone).ok()?);
        world.possess(host);
        Some(Self { host, key, zone, chain, number: 0 })
    }

    /// Where it sits.
    pub const fn host(&self) -> HostId {
        self.host
    }

    /// Plays a trick on these once.
    pub fn play(&mut self, world: &mut World, trick: Trick, victims: &[HostId]) {
        self.number += 1;
        for (at, victim) in victims.iter().enumerate() {
            for message in self.messages(world, trick, at, victims) {
                if let Some(bytes) = message.try_encode() {
                    world.say(self.host, *victim, bytes);
                }
            }
            if trick == Trick::Garbage {
                self.garbage(world, *victim);
            }
        }
    }

    fn messages(&self, world: &World, trick: Trick, at: usize, victims: &[HostId]) -> Vec<Message> {
        match trick {
            Trick::Forge => self.forge(world, victims),
            Trick::Replay => self.replay(world, victims, false),
            Trick::Omit => self.replay(world, victims, true),
            Trick::WrongHead => {
                let signed = self.own(world, 1, "headless", 0, Head { seq: 1, floor: 0, count: 99, root: [7; 32] });
                self.ranges(0, vec![signed], 1)
            }
            Trick::LastNumber => self.last_number(world, victims),
            Trick::FarFuture => {
                // One content however often it is told, or it would be a fork.
                self.next(world, |record| (record.hlc, record.issued_ms) = (253_402_300_799_000 << 16, 1))
            }
            Trick::TwoContents => {
                let body = tool_body(&format!("fork {}", at % 2));
                self.next(world, |record| {
                    record.def_hash = definition_hash(&body.definition).ok();
                    record.body = Some(body.encode());
                })
            }
            Trick::Flood => self.flood(world),
            Trick::Accuse => accuse(world, victims, self.id()),
            Trick::HugeVector => {
                let entries = (0..16_000).map(|number| (made_up(number), u64::MAX)).collect();
                vec![Vector { buckets: u64::MAX, entries, reply: true }.into()]
            }
            Trick::Garbage => Vec::new(),
            Trick::EndlessSnapshot => self.endless(world, victims),
            Trick::Reap => self.reap(world, victims),
            Trick::Lies => lies(self.number),
            Trick::Crowd => self.crowd(world),
        }
    }

    fn id(&self) -> NodeId {
        NodeId(self.key.verifying_key().to_bytes())
    }

    /// A tool record in the name of `origin`.
    fn record(&self, world: &World, origin: Origin, seq: u64, name: &str) -> Record {
        let body = tool_body(name);
        Record {
            zone: self.zone.as_str().to_owned(),
            kind: Kind::Tool.number(),
            name: format!("{FORGED}_{name}.enemy.{}", self.zone),
            node: origin.node,
            incarnation: origin.incarnation,
            seq,
            epoch: 0,
            hlc: world.wall_ms(self.host) << 16 | seq & 0xffff,
            visibility: VISIBILITY_PUBLIC,
            issued_ms: world.wall_ms(self.host),
            expires_ms: 0,
            def_hash: definition_hash(&body.definition).ok(),
            body: Some(body.encode()),
        }
    }

    /// The enemy's own log, as its own node holds it.
    fn log(&self, world: &World) -> (Origin, Vec<SignedRef>) {
        let registry = world.node(self.host).map(aop_proto::node::Node::registry);
        let incarnation = registry.and_then(|registry| registry.incarnation_of(self.id())).unwrap_or(1);
        let origin = Origin { node: self.id(), incarnation };
        (origin, registry.into_iter().flat_map(|registry| registry.records_of(origin)).cloned().collect())
    }

    /// A record of another life of the enemy, signed with any head.
    fn own(&self, world: &World, life: u64, name: &str, hlc: u64, head: Head) -> SignedRef {
        let origin = Origin { node: self.id(), incarnation: self.log(world).0.incarnation + life };
        let mut record = self.record(world, origin, 1, name);
        record.hlc = record.hlc.max(hlc);
        Arc::new(sign_flush(&self.key, vec![record], head).remove(0))
    }

    /// The next record of the enemy's own log, changed, and signed as it should be.
    fn next(&self, world: &World, change: impl FnOnce(&mut Record)) -> Vec<Message> {
        let (origin, log) = self.log(world);
        let last = log.last().map_or(0, |signed| signed.record.seq);
        let mut record = self.record(world, origin, last + 1, "next");
        change(&mut record);
        self.ranges(last, sign(&self.key, &log, vec![record]), 1)
    }

    fn ranges(&self, from: u64, records: Vec<SignedRef>, hop: u8) -> Vec<Message> {
        ranges(from, &records, self.chain.clone(), hop).map(Message::from).into_iter().collect()
    }

    fn forge(&self, world: &World, victims: &[HostId]) -> Vec<Message> {
        let mut messages = Vec::new();
        for victim in victims {
            for (origin, through) in own_logs(world, *victim) {
                let record = self.record(world, origin, through + 1, "by_enemy");
                messages.extend(self.ranges(through, sign(&self.key, &[], vec![record]), 1));
                let Some(signed) = record_of(world, *victim, origin) else { continue };
                let mut envelope = signed.envelope();
                envelope[40] ^= 1;
                let range = Range {
                    origin,
                    from_exclusive: signed.record.seq - 1,
                    to_inclusive: signed.record.seq,
                    cut: false,
                    records: vec![envelope.clone()],
                };
                messages.push(Ranges { ranges: vec![range], chains: Vec::new(), more: false, hop: 1 }.into());
                messages.push(Fork { one: signed.envelope(), other: envelope, chain: self.chain.clone() }.into());
                messages
                    .push(Fork { one: signed.envelope(), other: signed.envelope(), chain: self.chain.clone() }.into());
            }
        }
        messages
    }

    /// What the victims wrote, once more; without the first record when something is to be left out.
    fn replay(&self, world: &World, victims: &[HostId], omit: bool) -> Vec<Message> {
        let mut messages = Vec::new();
        for victim in victims {
            let Some(node) = world.node(*victim) else { continue };
            for (origin, _) in own_logs(world, *victim) {
                let mut records: Vec<SignedRef> = node.registry().records_of(origin).cloned().collect();
                if omit && records.len() > 1 {
                    records.remove(0);
                }
                let Some(mut message) = ranges(0, &records, Vec::new(), 1) else { continue };
                message.ranges[0].cut = omit;
                messages.push(message.into());
            }
        }
        messages
    }

    fn last_number(&self, world: &World, victims: &[HostId]) -> Vec<Message> {
        let (origin, log) = self.log(world);
        let record = self.record(world, origin, u64::MAX, "last");
        let mut messages = self.ranges(u64::MAX - 1, sign(&self.key, &log, vec![record]), 1);
        let mut entries: Vec<(Origin, u64)> =
            victims.iter().flat_map(|victim| own_logs(world, *victim)).map(|(origin, _)| (origin, u64::MAX)).collect();
        entries.sort_unstable();
        let dots = entries.iter().map(|(origin, through)| Announced { origin: *origin, through: *through }).collect();
        messages.push(Vector { buckets: 0, entries, reply: true }.into());
        messages.push(Announce { dots, hop: 1 }.into());
        messages
    }

    fn flood(&self, world: &World) -> Vec<Message> {
        let mut messages = Vec::new();
        for number in 0..200 {
            let origin = made_up(self.number * 1000 + number);
            let dots = (0..22)
                .map(|more| Announced { origin: made_up(self.number * 10_000 + number * 22 + more), through: 1 });
            messages.push(Announce { dots: dots.collect(), hop: 1 }.into());
            messages.push(Announce { dots: vec![Announced { origin, through: number + 1 }; 20], hop: 1 }.into());
            messages.push(Vector { buckets: u64::MAX, entries: Vec::new(), reply: true }.into());
            messages.push(Ping { number: number as u32, updates: Vec::new() }.into());
            messages.push(Digest { hash: [number as u8; 16], members: number }.into());
        }
        let (origin, log) = self.log(world);
        let through = log.last().map_or(0, |signed| signed.record.seq);
        messages.push(Announce { dots: vec![Announced { origin, through: through + 1000 }], hop: 1 }.into());
        messages
    }

    /// Parts of a log from its beginning, each of which says that more is to come.
    fn endless(&self, world: &World, victims: &[HostId]) -> Vec<Message> {
        let mut messages = Vec::new();
        let life = Origin { node: self.id(), incarnation: self.log(world).0.incarnation + 1 };
        let batch: Vec<Record> = (1..=64)
            .map(|seq| self.record(world, life, seq + (self.number - 1) * 64, &format!("endless_{seq}")))
            .collect();
        let signed: Vec<SignedRef> =
            sign_flush(&self.key, batch, Head { seq: u64::MAX, floor: 0, count: u64::MAX, root: [1; 32] })
                .into_iter()
                .map(Arc::new)
                .collect();
        let mut own = ranges((self.number - 1) * 64, &signed, self.chain.clone(), 0);
        // Of others as well: what they wrote, begun again and never ended.
        let others = self.replay(world, victims, true);
        for message in own.iter_mut() {
            message.ranges[0].cut = true;
            message.more = true;
        }
        messages.extend(own.map(Message::from));
        messages.extend(others);
        messages
    }

    fn reap(&self, world: &World, victims: &[HostId]) -> Vec<Message> {
        let Some((origin, _)) = victims.first().and_then(|victim| own_logs(world, *victim).pop()) else {
            return Vec::new();
        };
        let Origin { node, incarnation } = origin;
        self.next(world, |record| {
            record.kind = Kind::Reap.number();
            record.name = node.to_string();
            record.def_hash = None;
            record.body = Some(ReapBody { node, incarnation }.encode());
        })
    }

    /// Three hundred nodes that the enemy admits, as it may, and three that write without: certified by nobody who may, or for
    /// somebody else.
    fn crowd(&self, world: &World) -> Vec<Message> {
        let beyond = |node| self.chain.iter().cloned().chain([Certificate::issue(&self.key, &self.zone, node, 1)]);
        let chains = (0..300).map(|number| beyond(made_up(self.number * 1000 + number).node).collect()).collect();
        let mut messages = vec![Ranges { ranges: Vec::new(), chains, more: false, hop: 0 }.into()];
        for seed in [0xe0, 0xe1, 0xe2] {
            let key = SigningKey::from_bytes(&[seed; 32]);
            let origin = Origin { node: NodeId(key.verifying_key().to_bytes()), incarnation: self.number };
            let signed = sign(&key, &[], vec![self.record(world, origin, 1, "in_the_crowd")]);
            for chain in [
                self.chain.clone(),
                vec![Certificate::issue(&self.key, &self.zone, origin.node, 1)],
                vec![Certificate::issue(&key, &self.zone, origin.node, 1)],
                Vec::new(),
            ] {
                messages.extend(ranges(0, &signed, chain, 1).map(Message::from));
            }
        }
        messages
    }

    fn garbage(&self, world: &mut World, victim: HostId) {
        for kind in 0..=255_u8 {
            let length = usize::try_from(world.below(200)).unwrap_or(0);
            let body: Vec<u8> = (0..length).map(|_| u8::try_from(world.below(256)).unwrap_or(0)).collect();
            let mut frame = aop_proto::wire::frame(kind, &body);
            if kind % 3 == 0 {
                frame.truncate(length / 2);
            }
            world.say(self.host, victim, frame);
        }
    }
}

fn accuse(world: &World, victims: &[HostId], by: NodeId) -> Vec<Message> {
    let update = |state| move |victim: &HostId| Update { node: world.id(*victim), counter: u32::MAX - 1, state, by };
    let updates = |state| -> Vec<Update> { victims.iter().map(update(state)).collect() };
    vec![
        Members { updates: updates(1), reply: false }.into(),
        Members { updates: updates(2), reply: true }.into(),
        Ping { number: 1, updates: updates(3) }.into(),
    ]
}

fn lies(number: u64) -> Vec<Message> {
    let hashes = (0..64).map(|bucket| bucket * number).collect();
    vec![
        Digest { hash: [number as u8; 16], members: number }.into(),
        Buckets { hashes }.into(),
        Buckets { hashes: vec![1; 3] }.into(),
        Busy { retry_ms: u32::MAX }.into(),
        ClockAhead { ahead_ms: u64::MAX }.into(),
    ]
}

fn tool_body(name: &str) -> ToolBody {
    let definition = format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#).into_bytes();
    ToolBody { server: "enemy".to_owned(), original: name.to_owned(), definition, ..ToolBody::default() }
}

fn made_up(number: u64) -> Origin {
    let mut node = [0xee; 32];
    node[..8].copy_from_slice(&number.to_be_bytes());
    Origin { node: NodeId(node), incarnation: 1 }
}

/// The lives of a host's own log, as it holds them.
fn own_logs(world: &World, host: HostId) -> Vec<(Origin, u64)> {
    let vector = world.node(host).map(|node| node.registry().vector()).unwrap_or_default();
    vector.into_iter().filter(|(origin, _)| origin.node == world.id(host)).collect()
}

fn record_of(world: &World, host: HostId, origin: Origin) -> Option<Arc<Signed>> {
    world.node(host)?.registry().records_of(origin).last().cloned()
}
