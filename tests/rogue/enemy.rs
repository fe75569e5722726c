//! A rogue that was properly admitted, as anybody on loopback is: it has a key and a chain, and writes whatever it likes.
//!
//! What it makes is bytes; whether they are refused is the business of the tests. Its log is kept here as an honest writer keeps its
//! own, so that a lie differs from the truth in one thing only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aop_proto::codec::Wire;
use aop_proto::record::{
    Certificate, Envelope, Head, Kind, NodeBody, NodeId, Origin, Record, Signed, SignedRef, ToolBody, VISIBILITY_PUBLIC,
};
use aop_proto::registry::root::root_of;
use aop_proto::trust::{SigningKey, Verifier, definition_hash, sign_flush, verify_chain};
use aop_proto::wire::message::{Hello, Message, Range, Ranges, Vector};

use super::link::{Link, Socket, any_key, id_of};
use super::zone::{ZONE, zone_name};

pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(since.as_millis()).expect("a year below 500 million")
}

/// What a node without a key says of itself.
pub(crate) fn hello(zone: &str) -> Hello {
    Hello {
        zone: zone.to_owned(),
        address: "127.0.0.1:1".to_owned(),
        version: "rogue".to_owned(),
        zone_key: None,
        chain: Vec::new(),
        manifests: Vec::new(),
        founding: false,
        held: None,
        versions: (1, 1),
    }
}

/// The greeting of a node: the first it said.
#[track_caller]
pub(crate) fn greeting(link: &Link<'_>) -> Hello {
    link.wait_for("its greeting", |message| match message {
        Message::Hello(hello) if hello.zone_key.is_some() => Some(hello.clone()),
        _ => None,
    })
}

/// One life of a log that is written by hand.
pub(crate) struct Author {
    pub(crate) key: SigningKey,
    pub(crate) incarnation: u64,
    /// Everything written so far, as it was signed.
    pub(crate) log: Vec<SignedRef>,
}

impl Author {
    pub(crate) fn new(key: SigningKey) -> Self {
        Self { key, incarnation: wall_ms() / 1000, log: Vec::new() }
    }

    pub(crate) fn id(&self) -> NodeId {
        id_of(&self.key)
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin { node: self.id(), incarnation: self.incarnation }
    }

    /// The number of the last record.
    pub(crate) fn last(&self) -> u64 {
        self.log.last().map_or(0, |signed| signed.record.seq)
    }

    /// The next record, not yet signed.
    pub(crate) fn record(&self, kind: Kind, name: &str, body: Option<Vec<u8>>) -> Record {
        let wall_ms = wall_ms();
        Record {
            zone: ZONE.to_owned(),
            kind: kind.number(),
            name: name.to_owned(),
            node: self.id(),
            incarnation: self.incarnation,
            seq: self.last() + 1,
            epoch: 0,
            hlc: wall_ms << 16,
            visibility: VISIBILITY_PUBLIC,
            issued_ms: wall_ms,
            expires_ms: 0,
            def_hash: None,
            body,
        }
    }

    /// A tool `label.enemy.research` as the next record.
    pub(crate) fn tool(&self, label: &str) -> Record {
        self.tool_saying(label, "A tool of an enemy")
    }

    pub(crate) fn tool_saying(&self, label: &str, description: &str) -> Record {
        let body = tool_body(label, description);
        let def_hash = definition_hash(&body.definition).ok();
        Record { def_hash, ..self.record(Kind::Tool, &format!("{label}.enemy.{ZONE}"), Some(body.encode())) }
    }

    /// The head of everything written, and these after it.
    pub(crate) fn head_after(&self, records: &[Record]) -> Head {
        let unsigned = sign_flush(&self.key, records.to_vec(), Head::default());
        let mut live = BTreeMap::new();
        for signed in self.log.iter().map(AsRef::as_ref).chain(&unsigned) {
            live.insert(signed.record.key(), (signed.record.seq, signed.hash));
        }
        let mut leaves: Vec<_> = live.into_values().collect();
        leaves.sort_unstable();
        let seq = leaves.last().map_or(0, |(seq, _)| *seq);
        Head { seq, floor: 0, count: leaves.len() as u64, root: root_of(leaves.into_iter()) }
    }

    /// Signs as it should be, with the head that follows.
    pub(crate) fn sign(&self, records: Vec<Record>) -> Vec<SignedRef> {
        let head = self.head_after(&records);
        sign_flush(&self.key, records, head).into_iter().map(Arc::new).collect()
    }

    /// Signs as it should be, and says it as news.
    pub(crate) fn lie(&self, record: Record) -> Ranges {
        self.news(&self.sign(vec![record]))
    }

    /// Writes as an honest author does: from now on this stands in the log.
    pub(crate) fn write(&mut self, records: Vec<Record>) -> Ranges {
        let from = self.last();
        let signed = self.sign(records);
        self.log.extend(signed.iter().cloned());
        ranges(from, &signed)
    }

    /// Records that go on from the log, as news.
    pub(crate) fn news(&self, signed: &[SignedRef]) -> Ranges {
        ranges(self.last(), signed)
    }
}

/// A frame of one range of these records, which are of one log and ascending.
pub(crate) fn ranges(from_exclusive: u64, records: &[SignedRef]) -> Ranges {
    let (first, last) = (records.first().expect("a record"), records.last().expect("a record"));
    let range = Range {
        origin: first.record.origin(),
        from_exclusive,
        to_inclusive: last.record.seq,
        cut: false,
        records: records.iter().map(|signed| signed.envelope()).collect(),
    };
    Ranges { ranges: vec![range], chains: Vec::new(), more: false, hop: 1 }
}

pub(crate) fn tool_body(label: &str, description: &str) -> ToolBody {
    let definition =
        format!(r#"{{"name":"{label}","description":"{description}","inputSchema":{{"type":"object"}}}}"#).into_bytes();
    ToolBody { server: "enemy".to_owned(), original: label.to_owned(), definition, served: true, ..ToolBody::default() }
}

/// The same record in an envelope that differs.
pub(crate) fn doctored(signed: &Signed, change: impl FnOnce(&mut Envelope)) -> Vec<u8> {
    let mut envelope = Envelope::decode(&signed.envelope()).expect("an envelope of ours");
    change(&mut envelope);
    envelope.encode()
}

/// A fellow of the zone: admitted, and with a log that the others hold.
pub(crate) struct Enemy<'s> {
    pub(crate) link: Link<'s>,
    pub(crate) author: Author,
    pub(crate) zone_key: [u8; 32],
    pub(crate) chain: Vec<Certificate>,
}

impl<'s> Enemy<'s> {
    /// Comes to that node as a new replica does, and writes its node record.
    #[track_caller]
    pub(crate) fn admitted(socket: &'s Socket, address: &str) -> Self {
        let mut enemy = Self::certified(socket, address, any_key());
        let node = NodeBody {
            address: "127.0.0.1:1".to_owned(),
            version: "rogue".to_owned(),
            chain: enemy.chain.clone(),
            parents: Vec::new(),
        };
        let id = enemy.author.id().to_string();
        let record = enemy.author.record(Kind::Node, &id, Some(node.encode()));
        let record = Record { expires_ms: record.issued_ms + 24 * 3600 * 1000, ..record };
        let written = enemy.author.write(vec![record]);
        enemy.say(Ranges { chains: vec![enemy.chain.clone()], ..written });
        enemy
    }

    /// A fellow that wrote nothing.
    #[track_caller]
    pub(crate) fn certified(socket: &'s Socket, address: &str, key: SigningKey) -> Self {
        let link = socket.link(address, &key);
        let zone_key = greeting(&link).zone_key;
        assert!(link.say(hello(ZONE)));
        let (zone_key, chain) = link.wait_for("a certificate", |message| match message {
            Message::Admit(admit) => Some((zone_key.expect("it named one"), admit.chain.clone())),
            _ => None,
        });
        let enemy = Self { link, author: Author::new(key), zone_key, chain };
        enemy.say(enemy.hello());
        enemy.link.is_read();
        enemy
    }

    /// Comes to another node of the zone with the chain it has.
    #[track_caller]
    pub(crate) fn also_at<'t>(&self, socket: &'t Socket, address: &str) -> Link<'t> {
        let link = socket.link(address, &self.author.key);
        greeting(&link);
        assert!(link.say(self.hello()));
        link.is_read();
        link
    }

    /// Comes again after it was sent away. A goodbye to the connection before may take this one along.
    pub(crate) fn again_at<'t>(&self, socket: &'t Socket, address: &str) -> Link<'t> {
        let link = socket.link(address, &self.author.key);
        link.say(self.hello());
        link
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello { zone_key: Some(self.zone_key), chain: self.chain.clone(), ..hello(ZONE) }
    }

    #[track_caller]
    pub(crate) fn say(&self, message: impl Into<Message>) {
        let message = message.into();
        let name = message.name();
        assert!(self.link.say(message), "{name}: {:?}", self.link.connection.close_reason());
    }

    /// Writes one tool once more, as an honest member does.
    #[track_caller]
    pub(crate) fn write_again(&mut self) {
        let record = self.author.tool("again");
        let written = self.author.write(vec![record]);
        self.say(written);
    }

    /// Asks for every record the node has, and gives them as they came; all that it ever pushed is among them.
    #[track_caller]
    pub(crate) fn everything(&self) -> Vec<Vec<u8>> {
        self.say(Vector { buckets: u64::MAX, entries: Vec::new(), reply: false });
        self.link.wait_for("the end of its answer", |message| {
            matches!(message, Message::Ranges(ranges) if ranges.ranges.is_empty() && !ranges.more).then_some(())
        });
        let heard = self.link.all_heard().into_iter();
        let ranges = heard.filter_map(|message| match message {
            Message::Ranges(ranges) => Some(ranges.ranges),
            _ => None,
        });
        ranges.flatten().flat_map(|range| range.records).collect()
    }

    /// Everything that the node ever served or relayed to us was signed by somebody of the zone, and is nothing that was forged.
    #[track_caller]
    pub(crate) fn was_told_only_the_truth(&self) -> Vec<SignedRef> {
        let told = self.everything();
        assert!(!told.is_empty(), "it serves something");
        let chains: Vec<Vec<Certificate>> = self
            .link
            .all_heard()
            .into_iter()
            .flat_map(|message| match message {
                Message::Ranges(ranges) => ranges.chains,
                Message::Hello(hello) => vec![hello.chain],
                _ => Vec::new(),
            })
            .chain([self.chain.clone()])
            .collect();
        let mut verifier = Verifier::default();
        let opened: Vec<SignedRef> =
            told.iter().map(|bytes| verifier.open(bytes).expect("what it serves verifies")).collect();
        for signed in &opened {
            let record = &signed.record;
            let certified =
                chains.iter().any(|chain| verify_chain(chain, &zone_name(), &self.zone_key, record.node()).is_ok());
            assert!(certified, "{signed:?} is of nobody in the zone");
            assert_eq!(record.zone(), ZONE, "{signed:?}");
            assert!(!record.name().contains(super::zone::FORGED), "{signed:?}");
        }
        opened
    }
}

/// The log of a node as it is served, whole.
#[track_caller]
pub(crate) fn log_of(enemy: &Enemy<'_>, node: &str) -> Vec<SignedRef> {
    let mut log: Vec<SignedRef> = Vec::new();
    for signed in enemy.was_told_only_the_truth() {
        if signed.record.node().to_string() == node && !log.iter().any(|known| known.hash == signed.hash) {
            log.push(signed);
        }
    }
    log.sort_by_key(|signed| signed.record.seq);
    log
}
