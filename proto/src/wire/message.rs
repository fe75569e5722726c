//! Every message between two nodes, and its number on the wire.
//!
//! Names travel as text and are parsed where they are used; what does not parse is the sender's fault and is counted as such.

mod file;
mod question;

pub use file::{Bundle, BundleEnd};

use crate::codec::{Wire, WireRead, WireWrite};
use crate::params::FRAME_BYTES_MAX;
use crate::record::{Author, Certificate, Gateway, Hash, ManifestBody, NodeId, Origin, Revocation, ZoneProof};
use crate::wire::{FrameError, HEADER_BYTES, frame, open};
pub use question::{
    Answer, AskExport, Candidate, Export, Exported, Form, Health, Instance, Keeps, KeptAnswer, Query, Question, Silent,
    ZoneAnswer, chain_bytes, manifest_bytes,
};

macro_rules! messages {
    ($($(#[$doc:meta])* $number:literal $name:ident),* $(,)?) => {
        /// One message, of any kind this build knows.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Message {
            $($(#[$doc])* $name($name),)*
            /// A kind of a later version; skipped and counted.
            Unknown(u8),
        }

        impl Message {
            /// The frame of this message.
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $(Self::$name(body) => frame($number, &body.encode()),)*
                    Self::Unknown(kind) => frame(*kind, &[]),
                }
            }

            /// The frame of this message, or `None` when it does not fit one: for messages made of what others said.
            pub fn try_encode(&self) -> Option<Vec<u8>> {
                let (kind, body) = match self {
                    $(Self::$name(body) => ($number, body.try_encode()?),)*
                    Self::Unknown(kind) => (*kind, Vec::new()),
                };
                (body.len() + HEADER_BYTES <= FRAME_BYTES_MAX).then(|| frame(kind, &body))
            }

            /// The message of exactly one frame.
            ///
            /// # Errors
            /// [`FrameError`]; an unknown kind is a value, not an error.
            pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
                let (kind, body) = open(bytes)?;
                Ok(match kind {
                    $($number => Self::$name($name::decode(body)?),)*
                    other => Self::Unknown(other),
                })
            }

            /// Its name, for metrics and logs.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                    Self::Unknown(_) => "Unknown",
                }
            }
        }

        $(impl From<$name> for Message {
            fn from(body: $name) -> Self {
                Self::$name(body)
            }
        })*
    };
}

messages! {
    /// First message both ways.
    1 Hello,
    /// A certificate for a node that has none.
    2 Admit,
    /// "You do not belong here", and why; the connection stays for nothing else.
    3 Refuse,
    /// The sender stops on purpose.
    4 Leave,
    /// Proof that an origin wrote two records under one number.
    5 Fork,
    /// An invite, before the first Hello.
    6 Join,
    /// Who is believed no more.
    7 Revoked,
    /// What a parent tells a child about itself.
    8 Referral,
    /// What a child asks its parent to say of it.
    9 Delegate,
    /// A zone changed.
    10 Serials,
    /// Keys of the zones above, from a fellow.
    11 Above,
    /// "My logs hash to this."
    16 Digest,
    /// Where two digests differ: one hash for each part of the vector.
    17 Buckets,
    /// "Of these origins, my logs are complete through this."
    18 Vector,
    /// Contiguous parts of logs.
    19 Ranges,
    /// "I hold these, ask if you do not."
    20 Announce,
    /// "Not now": the sender has taken as much as it may.
    21 Busy,
    /// "Your clock runs ahead of mine": records of the receiver are held back until then.
    22 ClockAhead,
    /// "Are you there?"
    24 Ping,
    /// "I am", or "it is", to whoever asked.
    25 Ack,
    /// "Ask it for me."
    26 PingRequest,
    /// What is believed of members.
    27 Members,
    /// A file begins that holds a zone, or what is new of it.
    28 Bundle,
    /// It ends.
    29 BundleEnd,
    /// A question.
    32 Query,
    /// Its answer.
    33 Answer,
    /// "What do you hold?", to a child.
    34 AskExport,
    /// What a zone and those below it hold, for its parent.
    35 Export,
    /// What a far fellow need not fetch itself.
    36 Keeps,
    /// A call, first frame of its own stream.
    48 Call,
    /// Progress of a call.
    49 Progress,
    /// How a call ended.
    50 CallResult,
}

/// Who speaks, for which zone, and by what right.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Hello {
    /// The zone the sender is a replica of.
    pub zone: String,
    /// Where it can be dialled.
    pub address: String,
    /// Version of its software.
    pub version: String,
    /// The zone key, when it knows one.
    pub zone_key: Option<[u8; 32]>,
    /// Certificates from the zone key to the sender; empty until it is admitted.
    pub chain: Vec<Certificate>,
    /// How the zone came to that key, for those who know an earlier one; none while it has had but one.
    pub manifests: Vec<ManifestBody>,
    /// The sender was told to join the receiver, and everybody it was told to join is there and knows no zone key either: one of them
    /// has to make it.
    pub founding: bool,
    /// What the sender holds of the receiver's own log, when it holds any: its life, and complete-through. Whoever hears of more than
    /// it remembers has lost something and begins another life (D4).
    pub held: Option<(u64, u64)>,
    /// Lowest and highest version of the wire the sender speaks; the highest common one is used.
    pub versions: (u8, u8),
}

/// A certificate chain for the receiver.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Admit {
    /// The zone key.
    pub zone_key: [u8; 32],
    /// Certificates from the zone key to the receiver.
    pub chain: Vec<Certificate>,
    /// How the zone came to that key; none while it has had but one.
    pub manifests: Vec<ManifestBody>,
}

/// Why somebody is not taken.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Refuse {
    /// In words, with what would help.
    pub reason: String,
}

/// What an invite says to whoever issued it.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Join {
    /// The invite as it was given, at most [`INVITE_BYTES_MAX`](crate::params::INVITE_BYTES_MAX) bytes.
    pub token: String,
}

/// Statements that prove themselves; whoever learns one passes it on to all relatives and fellows.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Revoked {
    /// At most [`REVOCATIONS_PER_FRAME`](crate::params::REVOCATIONS_PER_FRAME).
    pub statements: Vec<Revocation>,
}

/// A graceful end.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Leave {
    /// Last sequence number written.
    pub seq: u64,
}

/// What a replica tells its fellows of the zones above, which only some of them heard from a parent.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Above {
    /// Keys of those zones as the sender has pinned them.
    pub anchors: Vec<(String, [u8; 32])>,
    /// How they came to these, each zone's ascending; none of a zone that has had but one.
    pub manifests: Vec<ManifestBody>,
    /// What proves the own zone to others, from the top.
    pub proofs: Vec<ZoneProof>,
}

/// What a parent tells a node whose zone lies below its own.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Referral {
    /// The parent's zone.
    pub zone: String,
    /// Its zone key, absent while the parent itself is not admitted.
    pub zone_key: Option<[u8; 32]>,
    /// Proofs from the top to the receiver, which shows them to those who know only what lies above; not pinned.
    pub proofs: Vec<ZoneProof>,
    /// Keys of the zones above that the parent holds as anchors.
    pub anchors: Vec<(String, [u8; 32])>,
    /// How the parent's zone and those anchors came to their keys, each zone's ascending; none of a zone that has had but one.
    pub manifests: Vec<ManifestBody>,
    /// What the parent says of the receiver's zone already.
    pub delegation: Option<ReferredChild>,
}

/// A delegation as the parent holds it.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct ReferredChild {
    /// The child's zone key.
    pub zone_key: [u8; 32],
    /// Which of its keys that is.
    pub epoch: u64,
    /// How the child came to it, as far as the parent was told.
    pub manifests: Vec<ManifestBody>,
    /// Nodes of the child.
    pub gateways: Vec<Gateway>,
}

/// What a child asks its parent to sign.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Delegate {
    /// The child.
    pub zone: String,
    /// Its zone key.
    pub zone_key: [u8; 32],
    /// Why the sender may speak for it.
    pub chain: Vec<Certificate>,
    /// How it came to that key, for a parent that has signed an earlier one.
    pub manifests: Vec<ManifestBody>,
    /// Nodes that may be asked, the sender first.
    pub gateways: Vec<Gateway>,
    /// Tools it exports.
    pub tools: u64,
}

/// Content tags of zones: a cached answer of a zone under another tag is old.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Serials {
    /// What was heard, sorted.
    pub zones: Vec<Serial>,
}

/// Tag that a parent tells of a child none of whose nodes is connected.
pub const TAG_UNREACHABLE: u64 = 0;

/// One node's content tag of its zone. Of one node, the higher stamp is the newer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, WireRead, WireWrite)]
pub struct Serial {
    /// The zone.
    pub zone: String,
    /// Whose view of it.
    pub node: NodeId,
    /// That node's hybrid clock when it changed.
    pub stamp: u64,
    /// Tag of everything a cached answer depends on.
    pub tag: u64,
}

/// Two envelopes of one dot with different contents, both signed by the origin. Whoever holds it quarantines the origin (I7).
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Fork {
    /// Certificates from the zone's key to the origin: whoever quarantined it from the start has never seen its log.
    pub chain: Vec<Certificate>,
    /// One of them.
    pub one: Vec<u8>,
    /// The other.
    pub other: Vec<u8>,
}

/// Hash of everything the sender's logs hold, and of what it believes of members. Equal on both sides: nothing to say.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Digest {
    /// Of the logs.
    pub hash: [u8; 16],
    /// Of the members that are not simply alive.
    pub members: u64,
}

/// One hash for each of [`BUCKETS`](crate::params::BUCKETS) parts of the vector.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Buckets {
    /// Exactly as many as there are buckets.
    pub hashes: Vec<u64>,
}

/// Complete-through sequence numbers by origin, of some buckets or of single origins.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Vector {
    /// Bit i: every origin of bucket i that the sender holds is among the entries. 0: the entries only.
    pub buckets: u64,
    /// Sorted by origin.
    pub entries: Vec<(Origin, u64)>,
    /// Whether the sender wants the receiver's entries of the same buckets back.
    pub reply: bool,
}

/// All live records of `(from_exclusive, to_inclusive]` of one log; overwritten ones are absent, which is no gap.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Range {
    /// The log.
    pub origin: Origin,
    /// Where it begins. 0 to somebody who holds some of that log: a snapshot, staged and swapped whole.
    pub from_exclusive: u64,
    /// Where it ends: the number of its last record.
    pub to_inclusive: u64,
    /// It was cut to fit; the sender holds more of this log. Only a range that was not cut is compared with its last record's head.
    pub cut: bool,
    /// Envelopes, by sequence number.
    pub records: Vec<Vec<u8>>,
}

/// Ranges of several logs.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Ranges {
    /// At most one frame of them.
    pub ranges: Vec<Range>,
    /// Why the origins of those ranges that begin at 0 may speak for the zone.
    pub chains: Vec<Vec<Certificate>>,
    /// Whether the sender holds more that the receiver lacks.
    pub more: bool,
    /// Hops since the origin, 0 where it does not matter: a repair, not passed on.
    pub hop: u8,
}

/// What the sender holds, told without the payload.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Announce {
    /// What is new.
    pub dots: Vec<Announced>,
    /// Hops since the origin.
    pub hop: u8,
}

/// One new range of one log, to be asked for with a [`Vector`] of that origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Announced {
    /// The log.
    pub origin: Origin,
    /// Its new complete-through.
    pub through: u64,
}

/// The sender has taken as much of the receiver as it may.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Busy {
    /// Milliseconds after which asking again makes sense.
    pub retry_ms: u32,
}

/// Records of the receiver's own log are held back until the sender's clock has come that far.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct ClockAhead {
    /// How far ahead, in milliseconds.
    pub ahead_ms: u64,
}

/// A probe (SWIM).
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Ping {
    /// Returned with the [`Ack`].
    pub number: u32,
    /// What is believed of members lately.
    pub updates: Vec<Update>,
}

/// Its answer, or the answer of the node that was probed for the receiver.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Ack {
    /// Of the probe.
    pub number: u32,
    /// What is believed of members lately.
    pub updates: Vec<Update>,
}

/// A probe that the receiver makes for the sender.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct PingRequest {
    /// Returned with the [`Ack`], when one comes.
    pub number: u32,
    /// Who is to be probed.
    pub target: NodeId,
    /// What is believed of members lately.
    pub updates: Vec<Update>,
}

/// News of members, passed on at once, or everything that differs from "alive".
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Members {
    /// What is believed.
    pub updates: Vec<Update>,
    /// The sender wants to hear what the receiver believes.
    pub reply: bool,
}

/// What is believed of one member. Of two beliefs the one with the higher counter stands; of equal counters the worse one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, WireRead, WireWrite)]
pub struct Update {
    /// Of whom.
    pub node: NodeId,
    /// Its liveness counter: raised only by itself, to refute.
    pub counter: u32,
    /// 0 alive, 1 suspect, 2 down, 3 left; what a later version adds counts as down.
    pub state: u8,
    /// Who says so first: independent suspicions shorten the wait (Lifeguard).
    pub by: NodeId,
}

/// A call to a tool, on its own stream.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Call {
    /// Full name.
    pub name: String,
    /// The node that serves it.
    pub home: NodeId,
    /// The zone it lies in.
    pub zone: String,
    /// The definition the caller expects.
    pub def_hash: Option<[u8; 32]>,
    /// The arguments, a JSON object.
    pub arguments: Vec<u8>,
    /// Other members of the call's parameters, unchanged.
    pub extra: Vec<(String, Vec<u8>)>,
    /// Time left, milliseconds.
    pub deadline_ms: u32,
    /// Hops left.
    pub hops: u8,
    /// Whether progress is wanted.
    pub progress: bool,
    /// What its home remembers it by, made by the caller's node of its idempotency key; nothing where it gave none.
    pub key: Option<Hash>,
    /// Its priority in the home's queue.
    pub priority: u8,
    /// Set by whoever passes it on and got it over a link that strangers may come over.
    pub afar: bool,
    /// Who makes it; nothing when that is the sender and belongs to no zone yet.
    pub author: Option<Author>,
}

/// One progress notification's parameters, unchanged.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Progress {
    /// A JSON object.
    pub params: Vec<u8>,
}

/// How a call ended. A long result is cut over several of these.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct CallResult {
    /// Part of the result, or of the problem when `failed`: JSON.
    pub part: Vec<u8>,
    /// Whether it is a problem.
    pub failed: bool,
    /// Whether the call provably never reached its upstream.
    pub not_sent: bool,
    /// Whether this is the last part.
    pub last: bool,
    /// Who served it.
    pub served_by: NodeId,
    /// Hops it took beyond the answering node.
    pub hops: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kind_is_a_value_and_another_version_is_not() {
        assert_eq!(Message::decode(&frame(255, b"later")), Ok(Message::Unknown(255)));
        let mut bytes = Message::from(Leave { seq: 4 }).encode();
        assert_eq!(Message::decode(&bytes), Ok(Message::from(Leave { seq: 4 })));
        bytes[2] = 9;
        assert_eq!(Message::decode(&bytes), Err(FrameError::Version(9)));
    }

    #[test]
    fn what_does_not_fit_a_frame_is_not_made_into_one() {
        let serial = |bytes| Serial { zone: "z".repeat(bytes), node: NodeId([0; 32]), stamp: 0, tag: 0 };
        let of = |bytes| Message::from(Serials { zones: vec![serial(bytes)] });
        assert!(of(FRAME_BYTES_MAX / 2).try_encode().is_some());
        assert_eq!((of(FRAME_BYTES_MAX).try_encode(), of(5 * FRAME_BYTES_MAX).try_encode()), (None, None));
    }

    #[test]
    fn a_frame_that_lies_about_its_length_is_refused() {
        let bytes = Message::from(Leave { seq: 4 }).encode();
        for cut in 0..bytes.len() {
            assert!(Message::decode(&bytes[..cut]).is_err());
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(Message::decode(&longer), Err(FrameError::Length(longer.len())));
    }
}
