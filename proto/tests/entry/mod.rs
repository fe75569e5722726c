//! Where hostile bytes come in, one function each: the fuzz targets and the property tests call these and nothing else.
//!
//! Each takes any bytes, must not panic, and asserts what always holds. `delta`, `snapshot`, `node` and `chain` read the bytes as choices.

#![allow(dead_code, reason = "each target calls one of them")]

pub(crate) mod author;
mod logs;
mod node;
mod trust;

use aop_proto::codec::Wire;
use aop_proto::name::{FullName, ZoneName, check_label, fit_label, fit_tool_labels, wire_name};
use aop_proto::record::{
    DelegationBody, Envelope, GrantBody, Kind, ManifestBody, NodeBody, NodeId, ReapBody, Record, Revocation,
    ServerBody, Signed, ToolBody,
};
use aop_proto::transfer::{Look, Reader};
use aop_proto::trust::{Verifier, definition_hash};
use aop_proto::wire::message::Message;

pub(crate) use logs::{delta, snapshot};
pub(crate) use node::node;
pub(crate) use trust::{chain, envelope};

/// Choices out of bytes: the same bytes choose the same. Zeros when they are used up.
pub(crate) struct Dice<'a>(pub(crate) &'a [u8]);

impl<'a> Dice<'a> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// Below `bound`, which is at most 256.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    pub(crate) fn yes(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A small number mostly, any number sometimes.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            255 => self.bytes(8).iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
            small => u64::from(small) & 15,
        }
    }
}

/// One frame from a peer.
pub(crate) fn frame(bytes: &[u8]) {
    match Message::decode(bytes) {
        Err(_) | Ok(Message::Unknown(_)) => {}
        Ok(message) => assert_eq!(message.try_encode().as_deref(), Some(bytes), "a message has one spelling"),
    }
}

/// One envelope, record or body, as stored or sent.
pub(crate) fn record(bytes: &[u8]) {
    one_spelling::<Envelope>(bytes);
    one_spelling::<Record>(bytes);
    for kind in 1..=9 {
        body(kind, bytes);
    }
    if let Ok(signed) = Signed::read(bytes) {
        let record = signed.record.to_record();
        assert!(signed.is_envelope(bytes) && record.encode() == signed.record.payload());
        assert_eq!((record.zone.as_str(), record.name.as_str()), (signed.record.zone(), signed.record.name()));
        assert_eq!(record.body.as_deref(), signed.record.body());
        let tool = ToolBody::decode(signed.record.body().unwrap_or_default()).ok();
        let shown = signed.record.tool();
        assert!(shown.is_none() || shown == tool.as_ref().map(ToolBody::text), "it is read as it was written");
        body(signed.record.kind, signed.record.body().unwrap_or_default());
    }
    if let Ok(signed) = Verifier::default().open(bytes) {
        assert_eq!(signed.envelope(), bytes, "I10: what verified is kept as it came");
    }
}

fn body(kind: u8, bytes: &[u8]) {
    match Kind::from_number(kind) {
        Kind::Tool => one_spelling::<ToolBody>(bytes),
        Kind::Node => one_spelling::<NodeBody>(bytes),
        Kind::Delegation => one_spelling::<DelegationBody>(bytes),
        Kind::Server => one_spelling::<ServerBody>(bytes),
        Kind::Reap => one_spelling::<ReapBody>(bytes),
        Kind::Manifest => one_spelling::<ManifestBody>(bytes),
        Kind::Revocation => one_spelling::<Revocation>(bytes),
        Kind::Grant => one_spelling::<GrantBody>(bytes),
        Kind::Unknown(_) => drop(definition_hash(bytes)),
    }
}

fn one_spelling<T: Wire>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert_eq!(value.encode(), bytes, "a value has one spelling");
    }
}

/// A file that somebody says is a bundle. However it comes in pieces, it reads the same; no more of it is held than a frame.
pub(crate) fn bundle(bytes: &[u8]) {
    let read = |pieces: usize| {
        let (mut reader, mut look, mut messages) = (Reader::default(), Look::new(None), Vec::new());
        for mut piece in bytes.chunks(pieces) {
            while let Some(message) = reader.take(&mut piece)? {
                messages.push(message.clone());
                look.at(message);
            }
            assert!(piece.is_empty(), "what makes no frame yet is kept");
        }
        reader.end().and_then(|()| look.found()).map(|opening| (opening, messages))
    };
    let whole = read(bytes.len().max(1));
    assert_eq!(whole, read(7), "in whatever pieces");
    if let Ok((_, messages)) = whole {
        let is_known = |message: &Message| !matches!(message, Message::Unknown(_));
        let again: Vec<u8> = messages.iter().flat_map(Message::encode).collect();
        assert!(again == bytes || !messages.iter().all(is_known), "every byte was read");
    }
}

/// Text that somebody says is a name.
pub(crate) fn name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(zone) = ZoneName::parse(&text) {
        assert_eq!(ZoneName::parse(zone.as_str()).as_ref(), Ok(&zone), "folding is done once");
        assert!(zone.is_within(&ZoneName::root()) && zone.is_within(&zone) && !zone.is_below(&zone));
    }
    if let Ok(name) = FullName::parse(&text) {
        assert!(FullName::parse(name.key()).is_ok_and(|folded| folded.key() == name.key() && folded == name));
    }
    if let Some(id) = NodeId::parse(&text) {
        assert_eq!(id.to_string(), text, "a node id has one spelling");
    }
    let label = fit_label(&text);
    assert!(check_label(&label).is_ok() && fit_label(&label) == label, "{label}");
    let wire = wire_name(&label, &text);
    assert!(wire.len() <= 64 && check_label(wire.get(..63).unwrap_or(&wire)).is_ok(), "{wire}");
    let originals: Vec<&str> = text.split('\n').collect();
    let mut labels = fit_tool_labels(originals.iter().copied());
    assert!(labels.len() == originals.len() && labels.iter().all(|label| check_label(label).is_ok()));
    labels.reverse();
    assert_eq!(labels, fit_tool_labels(originals.iter().rev().copied()), "the order of a list does not matter");
}
