//! Opens the records that fellows send before the node asks for them, on a thread of its own: to check a signature takes longer than
//! everything else that is done with a record.
//!
//! ```text
//!  peers ── everything else ─────────────────────────▶ driver ──▶ Node
//!    └─ messages of bulk ──▶ thread ── the same ──────────┘         │
//!                              └─ keep ──▶ Ahead ◀── find ──────────┘
//! ```
//!
//! The node is told nothing of it: it asks for the record of some bytes, and opens itself what is not found. What must always hold:
//! what is found was opened for exactly these bytes, and what is kept is bounded.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aop_proto::index::Terms;
use aop_proto::record::{Hash, NodeId, Signed, SignedRef};
use aop_proto::trust::{Opened, Seals, Verifier};
use aop_proto::view::View;
use aop_proto::wire::message::Message;
use aop_proto::zone::terms_with;
use arc_swap::ArcSwap;
use rustc_hash::FxBuildHasher;
use tokio::sync::oneshot;

use crate::peer::BulkReader;

/// Bytes of records that are kept: a few times what waits to be read of peers.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Records that verified, until later ones take their room.
#[derive(Debug, Default)]
pub struct Ahead(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// By [`key_of`] their envelopes; of two with one key the later is kept.
    records: HashMap<u64, SignedRef>,
    /// Keys in the order of coming, with the hash and the bytes of each.
    order: VecDeque<(u64, Hash, usize)>,
    /// The words of tools, by the hashes of their records, until somebody takes them.
    terms: HashMap<Hash, Arc<Terms>>,
    bytes: usize,
    seals: Seals,
}

/// Bytes at both ends of an envelope by which it is found: it begins with its name and ends with its place in a flush.
const KEY_BYTES: usize = 128;

/// Any hash will do: whoever finds two records with one gets the second one opened twice.
fn key_of(envelope: &[u8]) -> u64 {
    let ends = (envelope.get(..KEY_BYTES), envelope.last_chunk::<KEY_BYTES>());
    match ends {
        (Some(first), Some(last)) => FxBuildHasher.hash_one((envelope.len(), first, last)),
        _ => FxBuildHasher.hash_one(envelope),
    }
}

impl Ahead {
    /// Opens what fellows send on its way to the driver. What is returned ends with the thread, which ends when nobody sends events any
    /// more, or nobody takes them.
    pub(super) fn read(self: Arc<Self>, bulk: BulkReader, view: Arc<ArcSwap<View>>) -> oneshot::Receiver<Infallible> {
        let (alive, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let _alive = alive;
            let mut verifier = Verifier::default();
            bulk.run(|peer, bytes| {
                if is_fellow(&view.load(), NodeId(peer)) {
                    self.open_all(&mut verifier, bytes);
                }
            });
        });
        ended
    }

    /// Opens the records of a message that brings any. What does not verify is left to the node, which says so.
    fn open_all(&self, verifier: &mut Verifier, bytes: &[u8]) {
        let Ok(Message::Ranges(ranges)) = Message::decode(bytes) else { return };
        for envelope in ranges.ranges.iter().flat_map(|range| &range.records) {
            // Somebody else may have sent it before.
            if self.find(envelope).is_none() {
                let mut terms = None;
                let opened =
                    verifier.open_with(envelope, |body, definition| terms = Some(terms_with(body, definition)));
                if let Ok(signed) = opened {
                    self.kept().keep(key_of(envelope), signed, terms);
                }
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing can panic half way through a change of it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&self, envelope: &[u8]) -> Option<&SignedRef> {
        self.records.get(&key_of(envelope)).filter(|signed| signed.is_envelope(envelope))
    }

    fn keep(&mut self, key: u64, signed: SignedRef, terms: Option<Terms>) {
        let (hash, bytes) = (signed.hash, signed.envelope_len());
        self.order.push_back((key, hash, bytes));
        self.bytes += bytes;
        self.records.insert(key, signed);
        self.terms.extend(terms.map(|terms| (hash, Arc::new(terms))));
        while self.bytes > KEPT_BYTES_MAX
            && let Some((oldest, hash, bytes)) = self.order.pop_front()
        {
            self.bytes -= bytes;
            self.records.remove(&oldest);
            self.terms.remove(&hash);
        }
    }
}

/// Whether that node's own record stands in the zone: nobody else's signatures are worth checking before the node asked for them.
fn is_fellow(view: &View, peer: NodeId) -> bool {
    view.tools.node(peer).is_some()
}

impl Opened for Ahead {
    fn find(&self, bytes: &[u8]) -> Option<SignedRef> {
        self.kept().find(bytes).cloned()
    }

    fn keep(&self, signed: &SignedRef) {
        self.kept().keep(key_of(&signed.envelope()), signed.clone(), None);
    }

    fn knows(&self, seal: &Hash) -> bool {
        self.kept().seals.contains(seal)
    }

    fn remember(&self, seal: Hash) {
        self.kept().seals.insert(seal);
    }

    fn take_terms(&self, signed: &Signed) -> Option<Arc<Terms>> {
        self.kept().terms.remove(&signed.hash)
    }
}

#[cfg(test)]
mod tests {
    use aop_proto::codec::Wire;
    use aop_proto::record::{Head, Kind, Origin, Record, ToolBody};
    use aop_proto::trust::{SigningKey, definition_hash, sign_flush};
    use aop_proto::wire::message::{Range, Ranges};
    use aop_proto::zone::terms_of;

    use super::*;

    fn tool(key: &SigningKey, seq: u64) -> (ToolBody, Signed) {
        let definition = format!(r#"{{"name":"t{seq}","description":"reads papers","inputSchema":{{}}}}"#).into_bytes();
        let body = ToolBody { server: "s".to_owned(), definition, ..ToolBody::default() };
        let record = Record {
            zone: "z".to_owned(),
            kind: Kind::Tool.number(),
            name: format!("t{seq}.s.z"),
            node: NodeId(key.verifying_key().to_bytes()),
            incarnation: 1,
            seq,
            epoch: 0,
            hlc: seq,
            visibility: 0,
            issued_ms: 1,
            expires_ms: 0,
            def_hash: definition_hash(&body.definition).ok(),
            body: Some(body.encode()),
        };
        (body, sign_flush(key, vec![record], Head::default()).remove(0))
    }

    fn message(records: &[&[u8]]) -> Vec<u8> {
        let origin = Origin { node: NodeId([1; 32]), incarnation: 1 };
        let records = records.iter().map(|bytes| bytes.to_vec()).collect();
        let range = Range { origin, from_exclusive: 0, to_inclusive: 1, cut: false, records };
        Message::from(Ranges { ranges: vec![range], chains: Vec::new(), more: false, hop: 1 }).encode()
    }

    #[test]
    fn what_verifies_is_found_by_exactly_its_bytes_and_its_words_are_given_once() {
        let (body, signed) = tool(&SigningKey::from_bytes(&[1; 32]), 1);
        let mut forged = signed.envelope();
        *forged.last_mut().unwrap() ^= 1;
        let ahead = Ahead::default();
        ahead.open_all(&mut Verifier::default(), &message(&[&forged, &signed.envelope(), &signed.envelope()]));
        assert_eq!(ahead.find(&signed.envelope()).as_deref(), Some(&signed));
        assert!(ahead.find(&forged).is_none());
        assert_eq!(ahead.take_terms(&signed).as_deref(), Some(&terms_of(&body.text())));
        assert!(ahead.take_terms(&signed).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (_, signed) = tool(&SigningKey::from_bytes(&[1; 32]), 1);
        let ahead = Ahead::default();
        let record = Arc::new(signed);
        let most = KEPT_BYTES_MAX / record.envelope_len();
        for key in 0..2 * most as u64 {
            ahead.kept().keep(key, record.clone(), None);
        }
        let kept = ahead.kept();
        assert_eq!((kept.records.len(), kept.order.len()), (most, most));
        assert!(kept.bytes <= KEPT_BYTES_MAX && !kept.records.contains_key(&0));
    }
}
