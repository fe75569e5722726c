//! What is replicated: records, their dots, and the signed envelope they travel in.
//!
//! A record is written once, by its origin, and never re-encoded (I10): the exact bytes are signed, stored, relayed and served. What a
//! body *means* is decided by the readers of its kind; a body this build cannot read is kept and relayed all the same (DESIGN D12).

mod by_node;
mod signed;

pub use by_node::{ByNode, OfNode};
pub(crate) use signed::EnvelopeText;
pub use signed::{AgentText, Held, Reader, Signed, SignedRef, ToolText, WAY_STEPS_MAX};
use std::cmp::Ordering;
use std::fmt;

use crate::codec::{WireRead, WireWrite};
use crate::params::LOG_BYTES_RECORD;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The Ed25519 public key of a node, which is its identity (RFC 8032).
#[derive(Clone, Copy, PartialEq, Eq, Hash, WireRead, WireWrite)]
pub struct NodeId(pub [u8; 32]);

/// By their bytes. Ids are random, so the first eight nearly always decide: that is a comparison of numbers, where nodes spend much
/// of their time.
impl Ord for NodeId {
    fn cmp(&self, other: &Self) -> Ordering {
        let first = |id: &Self| id.0.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        first(self).cmp(&first(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl NodeId {
    /// Reads what [`fmt::Display`] wrote in full form (`n` and 52 base32 characters).
    pub fn parse(text: &str) -> Option<Self> {
        let mut bits: u32 = 0;
        let mut held = 0;
        let mut key = Vec::with_capacity(33);
        for c in text.strip_prefix('n')?.bytes() {
            let value = BASE32.iter().position(|b| *b == c)?;
            bits = (bits << 5) | u32::try_from(value).ok()?;
            held += 5;
            if held >= 8 {
                held -= 8;
                key.push(u8::try_from((bits >> held) & 0xff).ok()?);
            }
        }
        // The last character has bits to spare; with any of them set it would be a second spelling.
        key.try_into().ok().map(Self).filter(|id: &Self| id.to_string() == text)
    }

    /// Whether a record under that name is about this node: as keys are compared, in any case.
    pub fn is_name(&self, name: &str) -> bool {
        self.text().eq_ignore_ascii_case(name.as_bytes())
    }

    fn text(&self) -> [u8; 53] {
        let mut text = [b'n'; 53];
        let (mut bits, mut held, mut bytes) = (0_u32, 0, self.0.iter());
        for letter in &mut text[1..] {
            if held < 5 {
                // After the last byte come the bits to spare.
                bits = bits << 8 | bytes.next().map_or(0, |byte| u32::from(*byte));
                held += 8;
            }
            held -= 5;
            *letter = BASE32[(bits >> held & 31) as usize];
        }
        text
    }

    /// The first eight characters, for logs and tables.
    pub fn short(&self) -> String {
        self.to_string().chars().take(9).collect()
    }
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl fmt::Display for NodeId {
    /// `n` and the key in lower-case base32 without padding (RFC 4648 §6).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.text()).expect("base32 is ASCII"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// One life of one node's log. The incarnation changes only when the sequence cannot be proven continuous.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, WireRead, WireWrite)]
pub struct Origin {
    /// Who writes the log.
    pub node: NodeId,
    /// Which life of it.
    pub incarnation: u64,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node.short(), self.incarnation)
    }
}

/// What a record speaks about. Unknown numbers are kept and relayed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// One instance of a tool; the body is a [`ToolBody`].
    Tool,
    /// A node of the zone; the body is a [`NodeBody`].
    Node,
    /// A child zone; the body is a [`DelegationBody`].
    Delegation,
    /// The state of one upstream of the origin; the body is a [`ServerBody`].
    Server,
    /// The end of an origin's lives, by a node that may speak for the zone; the body is a [`ReapBody`].
    Reap,
    /// The keys of the zone itself; the body is a [`ManifestBody`].
    Manifest,
    /// Who is believed no more; the body is a [`Revocation`], whoever wrote it.
    Revocation,
    /// What the organisation of a zone below may do here; the body is a [`GrantBody`].
    Grant,
    /// A kind of a later version.
    Unknown(u8),
}

impl Kind {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tool => 1,
            Self::Node => 2,
            Self::Delegation => 3,
            Self::Server => 4,
            Self::Reap => 5,
            Self::Manifest => 6,
            Self::Revocation => 7,
            Self::Grant => 8,
            Self::Unknown(number) => number,
        }
    }

    /// The kind of that number.
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Tool,
            2 => Self::Node,
            3 => Self::Delegation,
            4 => Self::Server,
            5 => Self::Reap,
            6 => Self::Manifest,
            7 => Self::Revocation,
            8 => Self::Grant,
            other => Self::Unknown(other),
        }
    }
}

/// Who may see a record: anybody. Of every other value this build knows only that it is not that.
pub const VISIBILITY_PUBLIC: u8 = 0;

/// One entry of an origin's log (DESIGN D4, D12).
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Record {
    /// The zone it belongs to, lower case.
    pub zone: String,
    /// Number of its [`Kind`].
    pub kind: u8,
    /// The name it is keyed by; for a tool its full name as written.
    pub name: String,
    /// Its origin's node.
    pub node: NodeId,
    /// Its origin's incarnation.
    pub incarnation: u64,
    /// Its place in the log, from 1.
    pub seq: u64,
    /// Bumped by the zone's authority; outranks the clock.
    pub epoch: u64,
    /// Hybrid logical clock: 48 bits of milliseconds, 16 of counter.
    pub hlc: u64,
    /// [`VISIBILITY_PUBLIC`]. About readers only: what replicas do with records of nodes, reaps and manifests does not depend on it.
    pub visibility: u8,
    /// When it was signed, milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// When it ends, 0 for never; only node records and delegations are leased.
    pub expires_ms: u64,
    /// SHA-256 over the canonical definition, for tools.
    pub def_hash: Option<Hash>,
    /// What it says, in the encoding of its kind; `None` is a tombstone.
    pub body: Option<Vec<u8>>,
}

impl Record {
    /// The log it stands in.
    pub const fn origin(&self) -> Origin {
        Origin { node: self.node, incarnation: self.incarnation }
    }

    /// What it speaks about.
    pub const fn kind(&self) -> Kind {
        Kind::from_number(self.kind)
    }

    /// The key under which a later record of the same origin replaces it.
    pub fn key(&self) -> (Kind, String) {
        (self.kind(), self.name.to_ascii_lowercase())
    }

    /// Whether its lease has ended at `wall_ms`.
    pub const fn is_expired(&self, wall_ms: u64) -> bool {
        self.expires_ms != 0 && self.expires_ms <= wall_ms
    }
}

/// What a record counts in its log: a function of what its hash covers, so that all who hold a log agree how large it is.
pub(crate) fn counted_bytes(zone: &str, name: &str, body: Option<&[u8]>) -> usize {
    LOG_BYTES_RECORD + zone.len() + name.len() + body.map_or(0, <[u8]>::len)
}

/// The state of an origin's log after one flush, signed with it: whoever holds a log up to `seq` can tell whether anything was left
/// out on the way (DESIGN D4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, WireRead, WireWrite)]
pub struct Head {
    /// Number of the flush's last record.
    pub seq: u64,
    /// Tombstones up to here are collected.
    pub floor: u64,
    /// Records held: live ones, and tombstones above the floor.
    pub count: u64,
    /// Root of the hash tree over their numbers and hashes (see `registry::root`).
    pub root: Hash,
}

/// A record as it travels: its exact bytes, its place in the flush it was signed with, the log's head after it, and the signature of
/// both.
#[derive(Clone, PartialEq, Eq, WireRead, WireWrite)]
pub struct Envelope {
    /// The encoded [`Record`].
    pub payload: Vec<u8>,
    /// Bit i: the neighbour at place i of the path stands left.
    pub index: u32,
    /// Hashes of the neighbours on the way from the leaf to the root.
    pub path: Vec<Hash>,
    /// The log after this flush.
    pub head: Head,
    /// Ed25519 over the DSSE encoding of the root and the head.
    pub signature: [u8; 64],
}

/// Body of [`Kind::Tool`]: one tool as one node serves it.
#[derive(Clone, PartialEq, Eq, Debug, Default, WireRead, WireWrite)]
pub struct ToolBody {
    /// The server it belongs to, a label.
    pub server: String,
    /// Its name at the upstream, unchanged.
    pub original: String,
    /// The MCP tool object, exactly as the upstream sent it.
    pub definition: Vec<u8>,
    /// Words to filter by.
    pub tags: Vec<String>,
    /// What it can do, to filter by.
    pub capabilities: Vec<String>,
    /// Questions it answers, indexed with the text.
    pub examples: Vec<String>,
    /// The agent behind it (AOP paper eq. 2), when there is one.
    pub agent: Option<AgentBody>,
    /// Declared to be the same service as others of this name (`--replica`).
    pub replica: bool,
    /// Whether an upstream of the origin serves it; a catalogue entry is listed and found only.
    pub served: bool,
}

/// Tags, capabilities and examples of one tool, together: each takes more room than its bytes.
pub const TOOL_WORDS_MAX: usize = 256;

impl ToolBody {
    /// The same, as it is read from a record.
    pub fn text(&self) -> ToolText<'_> {
        fn texts(texts: &[String]) -> Vec<&str> {
            texts.iter().map(String::as_str).collect()
        }
        let agent = self.agent.as_ref();
        ToolText {
            server: &self.server,
            original: &self.original,
            definition: &self.definition,
            tags: texts(&self.tags),
            capabilities: texts(&self.capabilities),
            examples: texts(&self.examples),
            agent: agent.map(|agent| AgentText {
                model: &agent.model,
                role: &agent.role,
                parameters: &agent.parameters,
            }),
            replica: self.replica,
            served: self.served,
        }
    }
}

/// The agent behind a tool: A = (model, role, parameters), AOP paper eq. 2.
#[derive(Clone, PartialEq, Eq, Debug, Default, WireRead, WireWrite)]
pub struct AgentBody {
    /// The model it runs.
    pub model: String,
    /// What it is for.
    pub role: String,
    /// Its parameters as a JSON object, opaque.
    pub parameters: Vec<u8>,
}

/// Body of [`Kind::Node`]: where a node is reached, and why it may speak for the zone.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct NodeBody {
    /// Address for QUIC, `host:port`.
    pub address: String,
    /// Version of its software.
    pub version: String,
    /// Certificates from the zone key to this node.
    pub chain: Vec<Certificate>,
    /// Addresses of the parent's gateways it was given, for fellows that were given none.
    pub parents: Vec<String>,
}

/// Body of [`Kind::Delegation`], DS-like: what a parent says of a child (RFC 4034 §5).
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct DelegationBody {
    /// The child's zone key.
    pub zone_key: [u8; 32],
    /// Which of its keys that is.
    pub epoch: u64,
    /// Nodes of the child that may be asked, at most [`GATEWAYS_MAX`].
    pub gateways: Vec<Gateway>,
    /// Tools the child exports.
    pub tools: u64,
    /// When the zone was first taken, milliseconds since the Unix epoch; of two founders' keys the earlier stands, of one founder's
    /// the later epoch.
    pub since_ms: u64,
}

/// Gateways a delegation names.
pub const GATEWAYS_MAX: usize = 3;

/// A node of a child zone and where it was last reached.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Gateway {
    /// Who answers there; anybody else is refused.
    pub node: NodeId,
    /// Address for QUIC, a hint.
    pub address: String,
}

/// Body of [`Kind::Server`]: how one upstream of the origin is.
#[derive(Clone, PartialEq, Eq, Debug, Default, WireRead, WireWrite)]
pub struct ServerBody {
    /// Whether calls can be made.
    pub up: bool,
    /// Why not, when not.
    pub error: String,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// Body of [`Kind::Reap`]: lives of a node that have ended for good. Their logs are deleted and refused (research: local timers for
/// deletion give ghosts, so the deletion is data).
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct ReapBody {
    /// Whose.
    pub node: NodeId,
    /// This life and every one before it.
    pub incarnation: u64,
}

/// Body of [`Kind::Grant`]: what the organisation of a zone below may do in this one. By a signer of the zone; of several the latest
/// stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct GrantBody {
    /// Number of the role, from 0 in their order (PROTOCOL §7.6); a number that this build does not know grants nothing.
    pub role: u8,
}

/// Body of [`Kind::Manifest`]: one key of a zone and why it follows the one before, DNSKEY-like. Epochs are applied one by one. Both
/// signatures are over zone, epoch, the key before, this key and the time.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct ManifestBody {
    /// The zone, lower case.
    pub zone: String,
    /// From 1, one more each time.
    pub epoch: u64,
    /// The zone's key from this epoch on.
    pub key: [u8; 32],
    /// When, milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// Ed25519 by the key before; the key itself signs for epoch 1.
    pub by_previous: [u8; 64],
    /// Ed25519 by `key`: whoever rotates holds the new one.
    pub by_key: [u8; 64],
}

/// Says that `node` belongs to `zone`, and as what: that stands in the type under the signature
/// (PROTOCOL §7.2). Signed by the zone key or by a signer.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Certificate {
    /// The zone, lower case.
    pub zone: String,
    /// Who is certified.
    pub node: NodeId,
    /// The key that signed: the zone key or a certified node's.
    pub issuer: [u8; 32],
    /// When, milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// Ed25519 by `issuer`.
    pub signature: [u8; 64],
}

/// What a revocation is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// A node of the zone: nothing of it, and nothing it certified, is believed.
    Node(NodeId),
    /// A zone below: what was delegated to it up to that time, milliseconds since the Unix epoch, is void.
    Child(String, u64),
}

/// "Believe that no more", signed by a signer of the zone.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Revocation {
    /// The zone, lower case.
    pub zone: String,
    /// The node that is revoked, or nothing.
    pub node: Option<NodeId>,
    /// The zone below that is cut off, lower case, and up to when; or nothing. Exactly one of both is there.
    pub child: Option<(String, u64)>,
    /// When, milliseconds since the Unix epoch. Tells people; decides nothing.
    pub issued_ms: u64,
    /// Why, for people; at most [`REASON_CHARS_MAX`](crate::params::REASON_CHARS_MAX) bytes.
    pub reason: String,
    /// Certificates from the zone's key to the writer, who stands last.
    pub chain: Vec<Certificate>,
    /// Ed25519 by the writer.
    pub signature: [u8; 64],
}

impl Revocation {
    /// What it is about; `None` when that is nothing, or two things.
    pub fn subject(&self) -> Option<Subject> {
        match (&self.node, &self.child) {
            (Some(node), None) => Some(Subject::Node(*node)),
            (None, Some((zone, until_ms))) => Some(Subject::Child(zone.clone(), *until_ms)),
            _ => None,
        }
    }
}

/// Proves the key of one zone from its parent's: the delegation record, and why its writer may speak for the parent. Without a
/// delegation it only tells the zone's manifests, to those who know an earlier key.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct ZoneProof {
    /// The zone that is delegated.
    pub zone: String,
    /// Envelope of the [`Kind::Delegation`] record in the parent's zone, or nothing.
    pub delegation: Vec<u8>,
    /// Certificates from the parent's zone key to the delegation's writer.
    pub chain: Vec<Certificate>,
    /// The zone's own manifests; none while it has had but one key.
    pub manifests: Vec<ManifestBody>,
}

/// Who makes a call: the node, the zone it speaks for, and why others should believe both.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Author {
    /// Its zone, lower case.
    pub zone: String,
    /// The node.
    pub node: NodeId,
    /// Certificates from the zone's key to it.
    pub chain: Vec<Certificate>,
    /// What proves that key to the home, from the top; nothing where the home knows it.
    pub proofs: Vec<ZoneProof>,
    /// When, milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// Another one in each of its calls.
    pub number: u64,
    /// Ed25519 by the node.
    pub signature: [u8; 64],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Wire;

    #[test]
    fn node_ids_are_written_and_read_back() {
        let id = NodeId([0xa5; 32]);
        let text = id.to_string();
        assert_eq!((text.len(), NodeId::parse(&text)), (53, Some(id)));
        assert_eq!(NodeId::parse("nope"), None);
        assert_eq!(NodeId::parse(&text[1..]), None);
        assert!(id.is_name(&text) && id.is_name(&text.to_uppercase()));
        assert!(!id.is_name(&text[1..]) && !NodeId([0xa4; 32]).is_name(&text));
    }

    #[test]
    fn a_nodes_body_is_read_from_its_record_and_from_no_other() {
        let body = NodeBody { address: "a:1".into(), version: "0".into(), chain: Vec::new(), parents: Vec::new() };
        let signed = |kind: Kind, body: Option<Vec<u8>>| {
            let record = Record {
                zone: "z".into(),
                kind: kind.number(),
                name: "n".into(),
                node: NodeId([1; 32]),
                incarnation: 1,
                seq: 1,
                epoch: 0,
                hlc: 0,
                visibility: VISIBILITY_PUBLIC,
                issued_ms: 0,
                expires_ms: 0,
                def_hash: None,
                body,
            };
            let (payload, head) = (record.encode(), Head::default());
            let envelope = Envelope { payload, index: 0, path: Vec::new(), head, signature: [0; 64] };
            Signed::read(&envelope.encode()).expect("an envelope")
        };
        let node = signed(Kind::Node, Some(body.encode()));
        assert_eq!(node.node_body(), Some(&body));
        assert_eq!(node, signed(Kind::Node, Some(body.encode())), "nobody has asked the other one yet");
        for other in
            [signed(Kind::Tool, Some(body.encode())), signed(Kind::Node, None), signed(Kind::Node, Some(vec![1]))]
        {
            assert_eq!(other.node_body(), None);
        }
    }

    #[test]
    fn kinds_of_a_later_version_keep_their_number() {
        for number in 0..=255 {
            assert_eq!(Kind::from_number(number).number(), number);
        }
    }
}
