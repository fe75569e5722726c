//! A record as it is held: its bytes once, and beside them what is asked for all the time.
//!
//! ```text
//!  Signed ─┬─ Held ─── the bytes that were signed; texts, body and definition are read where they lie
//!          │   └─ Flush   origin, head and signature, one for all records of a flush
//!          └─ Step ─▶ Step ─▶ …   neighbours on the way to the flush's root; records of one flush share the upper ones
//! ```
//!
//! A zone of a hundred thousand tools holds as many of these, so that every word of them counts: 112 bytes, and 16 to share them, are
//! a size that allocators have.
//!
//! The envelope is put together when somebody wants it, byte by byte as it came (I10): a value has one spelling (see `codec`).

use std::fmt;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use crate::codec::{DecodeError, Wire, WireRead, WireWrite, bytes_of_count, len_of, read_in_place, write};
use crate::params::RECORD_BYTES_MAX;
use crate::record::{AgentBody, Hash, Head, Kind, NodeBody, NodeId, Origin, Record, TOOL_WORDS_MAX, counted_bytes};

/// Steps of a way: an index has 32 bits, and nobody writes so many records at once.
pub const WAY_STEPS_MAX: usize = 31;

/// An [`Envelope`](crate::record::Envelope), read where it lies.
#[derive(Debug, WireRead, WireWrite)]
pub(crate) struct EnvelopeText<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) index: u32,
    pub(crate) path: Vec<Hash>,
    pub(crate) head: Head,
    pub(crate) signature: [u8; 64],
}

impl<'a> EnvelopeText<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        read_in_place(bytes)
    }
}

/// A [`Record`], read where it lies.
#[derive(WireRead, WireWrite)]
struct RecordText<'a> {
    zone: &'a str,
    kind: u8,
    name: &'a str,
    node: NodeId,
    incarnation: u64,
    seq: u64,
    epoch: u64,
    hlc: u64,
    visibility: u8,
    issued_ms: u64,
    expires_ms: u64,
    def_hash: Option<Hash>,
    body: Option<&'a [u8]>,
}

/// A [`ToolBody`](crate::record::ToolBody), read where it lies.
#[derive(Clone, PartialEq, Eq, Debug, Default, WireRead, WireWrite)]
pub struct ToolText<'a> {
    /// The server it belongs to, a label.
    pub server: &'a str,
    /// Its name at the upstream, unchanged.
    pub original: &'a str,
    /// The MCP tool object, exactly as the upstream sent it.
    pub definition: &'a [u8],
    /// Words to filter by.
    pub tags: Vec<&'a str>,
    /// What it can do, to filter by.
    pub capabilities: Vec<&'a str>,
    /// Questions it answers, indexed with the text.
    pub examples: Vec<&'a str>,
    /// The agent behind it, when there is one.
    pub agent: Option<AgentText<'a>>,
    /// Declared to be the same service as others of this name.
    pub replica: bool,
    /// Whether an upstream of the origin serves it.
    pub served: bool,
}

/// An [`AgentBody`](crate::record::AgentBody), read where it lies.
#[derive(Clone, PartialEq, Eq, Debug, Default, WireRead, WireWrite)]
pub struct AgentText<'a> {
    /// The model it runs.
    pub model: &'a str,
    /// What it is for.
    pub role: &'a str,
    /// Its parameters as a JSON object, opaque.
    pub parameters: &'a [u8],
}

impl From<AgentText<'_>> for AgentBody {
    fn from(text: AgentText<'_>) -> Self {
        Self { model: text.model.to_owned(), role: text.role.to_owned(), parameters: text.parameters.to_vec() }
    }
}

fn u16_of(number: usize) -> u16 {
    u16::try_from(number).expect("a part of a payload is below RECORD_BYTES_MAX")
}

fn u32_of(number: usize) -> u32 {
    u32::try_from(number).expect("an envelope is below FRAME_BYTES_MAX")
}

/// A [`Record`]: the bytes its origin signed, and of what they say the numbers that are always needed.
#[derive(Clone)]
pub struct Held {
    payload: Box<[u8]>,
    flush: Arc<Flush>,
    /// See [`Record::seq`].
    pub seq: u64,
    /// See [`Record::hlc`].
    pub hlc: u64,
    /// See [`Record::expires_ms`].
    pub expires_ms: u64,
    /// Its place in the flush.
    index: u32,
    /// Bytes of its envelope.
    len: u32,
    /// Bytes of the zone's name, which begins the payload.
    zone: u16,
    /// Bytes of its own name, which follows after the kind.
    name: u16,
    /// The last byte before the body, which ends the payload. The kind of the record is behind byte 0, where no body is: a tombstone.
    body: u16,
    /// See [`Record::kind`].
    pub kind: u8,
    /// See [`Record::visibility`].
    pub visibility: u8,
}

impl Held {
    fn text(&self) -> RecordText<'_> {
        read_in_place(&self.payload).expect("it was read before")
    }

    /// All of it, to write another one.
    pub fn to_record(&self) -> Record {
        Record::decode(&self.payload).expect("it was read before")
    }

    /// The bytes its origin signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// See [`Record::zone`].
    pub fn zone(&self) -> &str {
        self.text_at(bytes_of_count(self.zone), self.zone)
    }

    /// See [`Record::name`].
    pub fn name(&self) -> &str {
        let zone_ends = bytes_of_count(self.zone) + usize::from(self.zone);
        self.text_at(zone_ends + size_of::<u8>() + bytes_of_count(self.name), self.name)
    }

    fn text_at(&self, from: usize, len: u16) -> &str {
        std::str::from_utf8(&self.payload[from..from + usize::from(len)]).expect("it was read as text")
    }

    /// See [`Record::node`].
    pub fn node(&self) -> NodeId {
        self.flush.origin.node
    }

    /// The same, where it is kept.
    pub(crate) fn node_ref(&self) -> &NodeId {
        &self.flush.origin.node
    }

    /// See [`Record::body`].
    pub fn body(&self) -> Option<&[u8]> {
        (!self.is_tombstone()).then(|| &self.payload[usize::from(self.body) + 1..])
    }

    /// Whether it has no body.
    pub const fn is_tombstone(&self) -> bool {
        self.body == 0
    }

    /// See [`Record::epoch`].
    pub fn epoch(&self) -> u64 {
        self.text().epoch
    }

    /// See [`Record::issued_ms`].
    pub fn issued_ms(&self) -> u64 {
        self.text().issued_ms
    }

    /// See [`Record::def_hash`].
    pub fn def_hash(&self) -> Option<Hash> {
        self.text().def_hash
    }

    /// See [`Record::origin`].
    pub fn origin(&self) -> Origin {
        self.flush.origin
    }

    /// See [`Record::kind`].
    pub const fn kind(&self) -> Kind {
        Kind::from_number(self.kind)
    }

    /// See [`Record::key`].
    pub fn key(&self) -> (Kind, String) {
        (self.kind(), self.name().to_ascii_lowercase())
    }

    /// What it counts of [`LOG_BYTES_MAX`](crate::params::LOG_BYTES_MAX).
    pub(crate) fn counted_bytes(&self) -> usize {
        counted_bytes(self.zone(), self.name(), self.body())
    }

    /// Whether its lease has ended at `wall_ms`.
    pub const fn is_expired(&self, wall_ms: u64) -> bool {
        self.expires_ms != 0 && self.expires_ms <= wall_ms
    }

    /// What a tool's record says of it. `None` for a tombstone, for every other kind, and for a body that is of a later version or has
    /// more than [`TOOL_WORDS_MAX`] words: it is kept and relayed, and shows nothing.
    pub fn tool(&self) -> Option<ToolText<'_>> {
        let bytes = self.body().filter(|_| self.kind() == Kind::Tool)?;
        let tool: ToolText<'_> = read_in_place(bytes).ok()?;
        let words = tool.tags.len() + tool.capabilities.len() + tool.examples.len();
        (words <= TOOL_WORDS_MAX).then_some(tool)
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.payload == other.payload
    }
}

impl Eq for Held {}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_record().fmt(f)
    }
}

/// What is the same for all records of a flush.
#[derive(PartialEq, Eq)]
struct Flush {
    origin: Origin,
    head: Head,
    signature: [u8; 64],
}

/// One step of a record's way to the root of its flush, and all above it.
struct Step {
    neighbour: Hash,
    above: Option<Arc<Self>>,
}

/// A record and what proves who wrote it. Made only by `trust`, after the signature held, or from the node's own store.
#[derive(Clone)]
pub struct Signed {
    /// What it says.
    pub record: Held,
    /// Hash of its payload, by which two contents for one dot are told apart.
    pub hash: Hash,
    way: Option<Arc<Step>>,
    /// See [`Signed::node_body`]; nothing where the record is no node's.
    node_body: Option<Arc<OnceLock<Option<NodeBody>>>>,
}

impl Signed {
    /// Reads an envelope whose signature somebody else has checked, or will. Of many, [`Reader`] does it better.
    ///
    /// # Errors
    /// When the bytes are no envelope, the payload is no record, or one of them is above its bounds.
    pub fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::default().read(bytes)
    }

    /// The origin's log after the flush it was signed with.
    pub fn head(&self) -> &Head {
        &self.record.flush.head
    }

    /// The encoded [`Envelope`](crate::record::Envelope), as it came: what is relayed and stored.
    pub fn envelope(&self) -> Vec<u8> {
        let Held { ref flush, index, .. } = self.record;
        let Flush { head, signature, .. } = **flush;
        write(&EnvelopeText { payload: self.record.payload(), index, path: self.path(), head, signature })
    }

    /// Bytes of that.
    pub const fn envelope_len(&self) -> usize {
        self.record.len as usize
    }

    /// Whether these are its envelope's bytes.
    pub fn is_envelope(&self, bytes: &[u8]) -> bool {
        let same = |envelope: EnvelopeText<'_>| {
            let Held { ref payload, ref flush, index, .. } = self.record;
            *envelope.payload == **payload
                && (envelope.index, envelope.head, envelope.signature) == (index, flush.head, flush.signature)
                && envelope.path.iter().eq(self.steps().map(|step| &step.neighbour))
        };
        bytes.len() == self.envelope_len() && EnvelopeText::read(bytes).is_ok_and(same)
    }

    /// The same, as if its envelope had so many bytes.
    #[cfg(test)]
    pub(crate) fn weighing(self: &SignedRef, bytes: usize) -> SignedRef {
        let record = Held { len: u32_of(bytes), ..self.record.clone() };
        Arc::new(Self { record, ..Self::clone(self) })
    }

    fn steps(&self) -> impl Iterator<Item = &Arc<Step>> {
        std::iter::successors(self.way.as_ref(), |step| step.above.as_ref())
    }

    fn path(&self) -> Vec<Hash> {
        self.steps().map(|step| step.neighbour).collect()
    }

    /// What a node's record says of it; `None` for a tombstone, a body of a later version and every other kind. It is decoded once,
    /// when somebody first asks, for all who share the record.
    pub fn node_body(&self) -> Option<&NodeBody> {
        self.node_body.as_ref()?.get_or_init(|| NodeBody::decode(self.record.body()?).ok()).as_ref()
    }
}

/// Whether somebody has asked for its body yet makes no difference.
impl PartialEq for Signed {
    fn eq(&self, other: &Self) -> bool {
        let place = |signed: &Self| (signed.record.flush.clone(), signed.record.index, signed.path());
        self.record == other.record && place(self) == place(other)
    }
}

impl Eq for Signed {}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{} {} {}", self.record.origin(), self.record.seq, self.record.kind, self.record.name())
    }
}

/// A shared, verified record.
pub type SignedRef = Arc<Signed>;

/// Reads envelopes one after the other. What one shares with the one before, as those of a flush do, is held once.
#[derive(Default)]
pub struct Reader {
    flush: Option<Arc<Flush>>,
    /// The last way, from its leaf.
    way: Vec<Arc<Step>>,
}

impl Reader {
    /// The next record; nobody has checked its signature.
    ///
    /// # Errors
    /// As [`Signed::read`].
    pub fn read(&mut self, bytes: &[u8]) -> Result<Signed, DecodeError> {
        self.hold(&EnvelopeText::read(bytes)?)
    }

    /// The same of an envelope that was read.
    pub(crate) fn hold(&mut self, envelope: &EnvelopeText<'_>) -> Result<Signed, DecodeError> {
        let EnvelopeText { payload, index, ref path, head, signature } = *envelope;
        if path.len() > WAY_STEPS_MAX {
            return Err(DecodeError::TooLong(path.len()));
        }
        if payload.len() > RECORD_BYTES_MAX {
            return Err(DecodeError::TooLong(payload.len()));
        }
        let text: RecordText<'_> = read_in_place(payload)?;
        let origin = Origin { node: text.node, incarnation: text.incarnation };
        let flush = Flush { origin, head, signature };
        let flush = match self.flush.take().filter(|last| **last == flush) {
            Some(last) => last,
            None => Arc::new(flush),
        };
        self.flush = Some(flush.clone());
        self.go(path);
        let is_node = Kind::from_number(text.kind) == Kind::Node && text.body.is_some();
        let record = Held {
            payload: payload.into(),
            flush,
            seq: text.seq,
            hlc: text.hlc,
            expires_ms: text.expires_ms,
            index,
            len: u32_of(len_of(envelope).expect("it was read, or is ours")),
            zone: u16_of(text.zone.len()),
            name: u16_of(text.name.len()),
            body: u16_of(text.body.map_or(0, |body| payload.len() - body.len() - 1)),
            kind: text.kind,
            visibility: text.visibility,
        };
        Ok(Signed {
            record,
            hash: Sha256::digest(payload).into(),
            way: self.way.first().cloned(),
            node_body: is_node.then(Arc::default),
        })
    }

    /// Goes that way, over the steps of the last one where they meet.
    fn go(&mut self, path: &[Hash]) {
        let both = self.way.iter().rev().zip(path.iter().rev());
        let shared = both.take_while(|(step, neighbour)| step.neighbour == **neighbour).count();
        self.way.drain(..self.way.len() - shared);
        let mut way: Vec<Arc<Step>> = Vec::with_capacity(path.len());
        let mut above = self.way.first().cloned();
        for neighbour in path[..path.len() - shared].iter().rev() {
            let step = Arc::new(Step { neighbour: *neighbour, above });
            above = Some(step.clone());
            way.push(step);
        }
        way.reverse();
        way.append(&mut self.way);
        self.way = way;
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Envelope;

    fn record(seq: u64) -> Record {
        Record {
            zone: "z".into(),
            kind: Kind::Tool.number(),
            name: format!("t{seq}.z"),
            node: NodeId([1; 32]),
            incarnation: 1,
            seq,
            epoch: 0,
            hlc: 0,
            visibility: 0,
            issued_ms: 0,
            expires_ms: 0,
            def_hash: None,
            body: None,
        }
    }

    fn envelope(seq: u64, path: Vec<Hash>) -> Vec<u8> {
        Envelope { payload: record(seq).encode(), index: 3, path, head: Head::default(), signature: [9; 64] }.encode()
    }

    #[test]
    fn what_records_of_a_flush_share_is_held_once_and_their_envelopes_stay_as_they_came() {
        let ways = [vec![[1; 32], [8; 32], [9; 32]], vec![[2; 32], [8; 32], [9; 32]], vec![[3; 32], [7; 32], [9; 32]]];
        let ways = ways.into_iter().chain([vec![[9; 32]], vec![], vec![[9; 32], [9; 32]]]);
        let envelopes: Vec<Vec<u8>> = ways.zip(1..).map(|(way, seq)| envelope(seq, way)).collect();
        let mut reader = Reader::default();
        let signed: Vec<Signed> = envelopes.iter().map(|bytes| reader.read(bytes).unwrap()).collect();
        for (signed, bytes) in signed.iter().zip(&envelopes) {
            assert!(signed.envelope() == *bytes && signed.envelope_len() == bytes.len());
            assert_eq!(envelopes.iter().filter(|bytes| signed.is_envelope(bytes)).count(), 1);
            assert_eq!(*signed, Signed::read(bytes).unwrap());
        }
        let shared = |a: usize, b: usize| {
            signed[a].steps().filter(|step| signed[b].steps().any(|other| Arc::ptr_eq(step, other))).count()
        };
        assert_eq!((shared(0, 1), shared(1, 2), shared(2, 3), shared(3, 4)), (2, 1, 1, 0));
        assert!(signed.iter().all(|one| Arc::ptr_eq(&one.record.flush, &signed[0].record.flush)));
    }

    #[test]
    fn a_payload_is_read_up_to_its_last_byte_wherever_the_body_begins() {
        let sized = |zone: usize, body: Option<Vec<u8>>| {
            let record = Record { zone: "z".repeat(zone), body, ..record(1) };
            let payload = record.encode();
            let envelope = Envelope { payload, index: 0, path: vec![], head: Head::default(), signature: [9; 64] };
            (record, envelope)
        };
        let around = sized(1_000, Some(vec![])).1.payload.len() - 1_000;
        for body in [Some(vec![]), Some(vec![7])] {
            let zone = RECORD_BYTES_MAX - around - body.as_ref().map_or(0, Vec::len);
            let (record, envelope) = sized(zone, body.clone());
            assert_eq!(envelope.payload.len(), RECORD_BYTES_MAX);
            let read = Signed::read(&envelope.encode()).unwrap().record;
            assert_eq!((read.body(), read.zone(), read.name()), (body.as_deref(), &*record.zone, &*record.name));
            assert_eq!(read.to_record(), record);
            assert!(Signed::read(&sized(zone + 1, body).1.encode()).is_err());
        }
    }

    #[test]
    fn a_way_that_no_tree_has_is_not_gone() {
        assert!(Signed::read(&envelope(1, vec![[1; 32]; WAY_STEPS_MAX])).is_ok());
        assert!(Signed::read(&envelope(1, vec![[1; 32]; WAY_STEPS_MAX + 1])).is_err());
    }

    #[test]
    fn what_is_held_beside_the_bytes_is_little() {
        assert!(size_of::<Signed>() + 2 * size_of::<usize>() <= 128);
    }
}
