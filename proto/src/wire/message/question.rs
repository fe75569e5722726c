//! Questions, what zones answer, and what they tell before they are asked.

use bytes::Bytes;

use crate::codec::{WireRead, WireWrite};
use crate::params::{CANDIDATES_MIN, RESULTS};
use crate::record::{Certificate, ManifestBody, NodeId, ZoneProof};

/// Asks a child which questions in words are not worth asking it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct AskExport {
    /// Random; what comes back is as old as this question.
    pub id: u64,
    /// The mark of the filter that is known already.
    pub known: Option<u64>,
}

/// Which questions in words are not worth asking of a zone and those below it.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Export {
    /// The question's id.
    pub id: u64,
    /// The zone and those below it, sorted by name.
    pub zones: Vec<Exported>,
    /// Whether these are all zones there are below, and nothing of them is hidden from the parent.
    pub whole: bool,
    /// The bits of a [`Filter`](crate::index::Filter) of all their terms; nothing where that is the known one.
    pub filter: Option<Vec<u8>>,
}

/// What stands of one zone in an [`Export`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, WireRead, WireWrite)]
pub struct Exported {
    /// The zone.
    pub zone: String,
    /// Who says so.
    pub node: NodeId,
    /// Content tag of the zone as that node shows it: under another one it says nothing.
    pub tag: u64,
    /// Milliseconds since that node said so.
    pub age_ms: u64,
    /// Tools it holds.
    pub documents: u64,
    /// Sum of their lengths in terms.
    pub total_length: u64,
}

/// How a question is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, WireRead, WireWrite)]
pub enum Form {
    /// A full name.
    Exact,
    /// Words, ranked.
    Words,
    /// Everything of a zone, by name.
    List,
}

/// What is asked, whoever asks it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, WireRead, WireWrite)]
pub struct Question {
    /// How it is meant.
    pub form: Form,
    /// The name or the words.
    pub text: String,
    /// Only this zone and what lies below it.
    pub zone: Option<String>,
    /// Results wanted.
    pub limit: u32,
    /// All of these tags.
    pub tags: Vec<String>,
    /// All of these capabilities.
    pub capabilities: Vec<String>,
    /// Of a list, only what comes after this name, lower case; empty for its beginning.
    pub after: String,
}

impl Question {
    /// So many results are asked for where `limit` are wanted: one answer serves all who want no more, however many each of them shows.
    /// [`CANDIDATES_MIN`] at least, then the next power of two, at most [`RESULTS`]; who wants more than that is asked for that.
    pub fn width(limit: usize) -> usize {
        match limit {
            0..=CANDIDATES_MIN => CANDIDATES_MIN,
            limit if limit <= RESULTS.2 => limit.next_power_of_two().min(RESULTS.2),
            limit => limit,
        }
    }

    /// The question as it is asked of zones, and as what they say is kept under: all that differ in nothing but how much of the answer is
    /// shown are one.
    #[must_use]
    pub fn wide(&self) -> Self {
        let mut wide = self.clone();
        if wide.form != Form::List {
            wide.after.clear();
        }
        wide.limit = match wide.form {
            Form::Exact => 1,
            Form::Words | Form::List => u32::try_from(Self::width(wide.limit as usize)).unwrap_or(u32::MAX),
        };
        wide
    }
}

/// Answers of other zones that the sender keeps from now on, told to fellows that are far.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Keeps {
    /// At most [`KEPT_TOLD_MAX`](crate::params::KEPT_TOLD_MAX).
    pub answers: Vec<KeptAnswer>,
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct KeptAnswer {
    /// The first four bytes, little endian, of SHA-256 over the encoded [`Question`].
    pub question: u32,
    /// How long it is kept.
    pub seconds: u16,
}

/// A question on its way.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Query {
    /// Random, of the node that asks this one.
    pub id: u64,
    /// What is asked.
    pub question: Question,
    /// Time left, milliseconds.
    pub deadline_ms: u32,
    /// Hops left.
    pub hops: u8,
    /// Zones that may still be asked.
    pub budget: u16,
    /// Zones it has been to.
    pub visited: Vec<String>,
    /// Asked of a fellow replica for its cache: answer for what lies outside the zone.
    pub outside: bool,
    /// Whether cached answers are welcome.
    pub cached: bool,
}

/// What one zone says.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct ZoneAnswer {
    /// The zone.
    pub zone: String,
    /// Who answered for it.
    pub node: NodeId,
    /// Content tag of the zone as it answered.
    pub tag: u64,
    /// Whether that node knows it is behind.
    pub behind: bool,
    /// Milliseconds since the zone said so; grows in caches.
    pub age_ms: u64,
    /// Remaining life, milliseconds; shrinks in caches.
    pub ttl_ms: u64,
    /// Time the zone took, microseconds.
    pub took_us: u64,
    /// Tools it holds.
    pub documents: u64,
    /// Sum of their lengths in terms.
    pub total_length: u64,
    /// For each term of the question, in how many tools it stands.
    pub frequencies: Vec<u64>,
    /// Matches, whatever the limit.
    pub matches: u64,
    /// Its best tools.
    pub candidates: Vec<Candidate>,
    /// Near names, when an exact name was not found.
    pub near: Vec<String>,
}

/// One tool of an answer: the signed record, and what the answering node adds unsigned.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Candidate {
    /// The record that is shown; its bytes are shared with whoever holds them already.
    pub envelope: Bytes,
    /// Certificates from the zone key to its writer.
    pub chain: Vec<Certificate>,
    /// Everybody who serves it.
    pub instances: Vec<Instance>,
    /// Several services claim the name.
    pub clash: bool,
}

impl Candidate {
    /// At most so many bytes it takes on the wire.
    pub fn bytes(&self) -> usize {
        let instances = self.instances.iter().map(|instance| 64 + instance.address.len() + instance.error.len());
        self.envelope.len() + chain_bytes(&self.chain) + instances.sum::<usize>() + 32
    }
}

/// At most so many bytes certificates take on the wire.
pub fn chain_bytes(chain: &[Certificate]) -> usize {
    chain.iter().map(|certificate| 160 + certificate.zone.len()).sum()
}

/// At most so many bytes manifests take on the wire.
pub fn manifest_bytes(manifests: &[ManifestBody]) -> usize {
    manifests.iter().map(|manifest| 192 + manifest.zone.len()).sum()
}

/// Whether an instance can be called, as the answering node sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, WireRead, WireWrite)]
pub enum Health {
    /// The node is alive and its upstream is connected.
    Ok,
    /// Nothing is known; a catalogue entry.
    Unknown,
    /// The node is alive, its upstream is not.
    Degraded,
    /// The node is down.
    Down,
}

impl Health {
    /// `ok`, `unknown`, `degraded` or `down`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// One node that serves a tool.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Instance {
    /// Who.
    pub node: NodeId,
    /// Where it was last reached, a hint.
    pub address: String,
    /// How it is.
    pub health: Health,
    /// The last error of its upstream.
    pub error: String,
    /// Since when its upstream is as it is, milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// A zone that did not answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, WireRead, WireWrite)]
pub struct Silent {
    /// The zone.
    pub zone: String,
    /// Why.
    pub reason: String,
}

/// What came back for a query.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Answer {
    /// The query's id.
    pub id: u64,
    /// One entry a zone.
    pub zones: Vec<ZoneAnswer>,
    /// Zones that did not answer in time.
    pub silent: Vec<Silent>,
    /// Zones that were not asked for want of budget.
    pub skipped: u32,
    /// Keys of the zones in it, from the answering node's.
    pub proofs: Vec<ZoneProof>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_serves_those_who_want_less() {
        let widths = [0, 1, 3, 20, 21, 32, 33, 500, 513, 1_000, 1_001, usize::MAX].map(Question::width);
        assert_eq!(widths, [20, 20, 20, 20, 32, 32, 64, 512, 1_000, 1_000, 1_001, usize::MAX]);
        let of = |form, limit, after: &str| Question {
            form,
            text: "a.z".to_owned(),
            zone: None,
            limit,
            tags: Vec::new(),
            capabilities: Vec::new(),
            after: after.to_owned(),
        };
        assert_eq!(of(Form::Exact, 7, "b").wide(), of(Form::Exact, 1, ""));
        assert_eq!(of(Form::Words, 7, "b").wide(), of(Form::Words, 20, ""));
        assert_eq!(of(Form::List, 7, "b").wide(), of(Form::List, 20, "b"));
    }
}
