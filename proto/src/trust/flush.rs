//! Records as their origin signs them: one signature for everything written together, over the root of a tree, and the check of it.
//!
//! What must always hold: a record that [`Verifier::open`] returned was signed by the key it names as its node, byte by byte (I8, I10).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::codec::Wire;
use crate::index::Terms;
use crate::json::Json;
use crate::name::ZoneName;
use crate::record::{
    Certificate, EnvelopeText, Hash, Head, NodeId, Origin, Reader, Record, Signed, SignedRef, ToolText, WAY_STEPS_MAX,
};
use crate::trust::definition::hash_of_object;
use crate::trust::{Authority, SigningKey, TrustError, pre_authentication, pre_authentication_head};

const TYPE_RECORD: &str = "application/vnd.aop.record.v1";
const TYPE_FLUSH: &str = "application/vnd.aop.flush.v1";

fn leaf_hash(payload: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(pre_authentication_head(TYPE_RECORD, payload));
    hasher.update(payload);
    hasher.finalize().into()
}

fn parent_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// All levels of the tree over the leaves, bottom first. An odd last node moves up as it is.
fn levels(leaves: Vec<Hash>) -> Vec<Vec<Hash>> {
    let mut levels = vec![leaves];
    while levels[levels.len() - 1].len() > 1 {
        let below = &levels[levels.len() - 1];
        let above = below.chunks(2).map(|pair| if pair.len() == 2 { parent_hash(&pair[0], &pair[1]) } else { pair[0] });
        let above = above.collect();
        levels.push(above);
    }
    levels
}

/// What the signature of a flush covers: its root, whose log it is, and that log's head after it.
type Flush = (Hash, Origin, Head);

fn statement_of(flush: &Flush) -> Vec<u8> {
    pre_authentication(TYPE_FLUSH, &flush.encode())
}

/// Signs the records of one flush, which are of one origin, and returns them, ready to store and send, in the order given. `head` is
/// the log after them.
pub fn sign_flush(key: &SigningKey, records: Vec<Record>, head: Head) -> Vec<Signed> {
    let payloads: Vec<Vec<u8>> = records.iter().map(Wire::encode).collect();
    let Some(levels) = (!payloads.is_empty()).then(|| levels(payloads.iter().map(|p| leaf_hash(p)).collect())) else {
        return Vec::new();
    };
    let root = levels[levels.len() - 1][0];
    let signature = key.sign(&statement_of(&(root, records[0].origin(), head))).to_bytes();
    let mut reader = Reader::default();
    let signed = payloads.iter().enumerate().map(|(place, payload)| {
        let (index, path) = path_of(&levels, place);
        reader.hold(&EnvelopeText { payload, index, path, head, signature }).expect("records of ours keep the bounds")
    });
    signed.collect()
}

/// The neighbours on the way from a leaf to the root, and on which side each stands. An odd last node has no neighbour and is passed
/// by, so that one proof has one spelling.
fn path_of(levels: &[Vec<Hash>], place: usize) -> (u32, Vec<Hash>) {
    let (mut index, mut path) = (0, Vec::new());
    for (height, level) in levels.iter().enumerate() {
        let place = place >> height;
        if let Some(neighbour) = level.get(place ^ 1) {
            index |= u32::from(place & 1 == 1) << path.len();
            path.push(*neighbour);
        }
    }
    (index, path)
}

/// The way of the last leaf to its root: those of one flush mostly share the upper part of it.
#[derive(Debug, Default)]
struct Way {
    /// The hash below each neighbour of the path, and the root.
    hashes: Vec<Hash>,
    path: Vec<Hash>,
    index: u32,
}

impl Way {
    /// The root over the leaf of this payload; from where it meets the last way no hash is made again.
    fn root_of(&mut self, payload: &[u8], index: u32, path: Vec<Hash>) -> Hash {
        let mut hashes = vec![leaf_hash(payload)];
        for (height, neighbour) in path.iter().enumerate() {
            let (below, left) = (hashes[height], path.len() - height);
            let met = self.path.len().checked_sub(left).filter(|then| {
                self.hashes[*then] == below
                    && self.index >> then == index >> height
                    && self.path[*then..] == path[height..]
            });
            if let Some(then) = met {
                hashes.extend_from_slice(&self.hashes[then + 1..]);
                break;
            }
            let is_right = index >> height & 1 == 1;
            hashes.push(if is_right { parent_hash(neighbour, &below) } else { parent_hash(&below, neighbour) });
        }
        *self = Self { hashes, path, index };
        self.hashes[self.hashes.len() - 1]
    }
}

/// A memory of records that verified, shared by nodes of one process: each signature is checked, and each record kept, once. What it
/// returns for some bytes must have been kept for exactly these bytes.
pub trait Opened: Send + Sync + std::fmt::Debug {
    /// The record of exactly these bytes, if it was kept.
    fn find(&self, bytes: &[u8]) -> Option<SignedRef>;
    /// Keeps a record that verified.
    fn keep(&self, signed: &SignedRef);
    /// Whether what has this hash, certificates with the key they begin at, was checked.
    fn knows(&self, seal: &Hash) -> bool;
    /// Remembers that it was.
    fn remember(&self, seal: Hash);
    /// What [`terms_of`](crate::zone::terms_of) reads in a record that was kept, if somebody did that already. Given away once.
    fn take_terms(&self, _signed: &Signed) -> Option<Arc<Terms>> {
        None
    }
}

/// Hashes of what was checked; of more than `SEALS_MAX` the oldest are forgotten.
#[derive(Debug, Default)]
pub struct Seals {
    known: BTreeSet<Hash>,
    order: VecDeque<Hash>,
}

impl Seals {
    /// Whether it is remembered.
    pub fn contains(&self, seal: &Hash) -> bool {
        self.known.contains(seal)
    }

    /// Remembers it.
    pub fn insert(&mut self, seal: Hash) {
        if self.known.insert(seal) {
            self.order.push_back(seal);
        }
        if self.order.len() > SEALS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// Whom a chain certifies, in which zone, from which key, and how.
pub(super) type Chain = (ZoneName, [u8; 32], NodeId, Vec<Certificate>);

/// Checks records, once each; a flush of many records costs one check of its root.
#[derive(Debug, Default)]
pub struct Verifier {
    /// Flush roots and chains that are good; unused where they are shared.
    seals: Seals,
    /// The last flush that was good: its records come one after the other.
    last: Option<(Flush, [u8; 64])>,
    way: Way,
    /// The last chain that was good, by the key it begins at: answers of one zone bring the same.
    pub(super) last_chain: Option<(Chain, Authority)>,
    reader: Reader,
    /// Keys of origins, decompressed: that alone is a tenth of a check.
    keys: BTreeMap<NodeId, VerifyingKey>,
    opened: Option<Arc<dyn Opened>>,
}

/// Roots and chains remembered as good.
pub(crate) const SEALS_MAX: usize = 4096;
/// Keys kept ready; beyond it all are forgotten and made anew.
const KEYS_MAX: usize = 1024;

impl Verifier {
    /// A verifier that shares what it opened.
    pub fn sharing(opened: Option<Arc<dyn Opened>>) -> Self {
        Self { opened, ..Self::default() }
    }

    /// The record of these bytes, when its origin's key signed it.
    ///
    /// # Errors
    /// [`TrustError::Decode`] or [`TrustError::Signature`]; the verifier is unchanged.
    pub fn open(&mut self, bytes: &[u8]) -> Result<SignedRef, TrustError> {
        self.open_with(bytes, |_, _| ())
    }

    /// The same. `read` gets to see a tool that is not remembered, and its definition, as they are read to check it.
    ///
    /// # Errors
    /// As [`Verifier::open`]; `read` may have been called.
    pub fn open_with(
        &mut self,
        bytes: &[u8],
        read: impl FnOnce(&ToolText<'_>, &Json<'_>),
    ) -> Result<SignedRef, TrustError> {
        if let Some(signed) = self.opened.as_ref().and_then(|opened| opened.find(bytes)) {
            return Ok(signed);
        }
        let signed = Arc::new(self.check(bytes)?);
        check_definition(&signed, read)?;
        if let Some(opened) = &self.opened {
            opened.keep(&signed);
        }
        Ok(signed)
    }

    fn check(&mut self, bytes: &[u8]) -> Result<Signed, TrustError> {
        let envelope = EnvelopeText::read(bytes)?;
        // An index beyond the tree would be a second spelling of the same proof.
        if envelope.path.len() > WAY_STEPS_MAX || envelope.index >> envelope.path.len() != 0 {
            return Err(TrustError::Signature);
        }
        let signed = self.reader.hold(&envelope)?;
        let root = self.way.root_of(envelope.payload, envelope.index, envelope.path);
        let flush = (root, signed.record.origin(), envelope.head);
        let signed_flush = Some((flush, envelope.signature));
        if self.last != signed_flush {
            self.check_flush(&flush, &envelope.signature)?;
            self.last = signed_flush;
        }
        Ok(signed)
    }

    fn check_flush(&mut self, flush: &Flush, signature: &[u8; 64]) -> Result<(), TrustError> {
        let statement = statement_of(flush);
        let seal: Hash = Sha256::new().chain_update(&statement).chain_update(signature).finalize().into();
        if !self.knows(&seal) {
            self.verify(flush.1.node, &statement, signature)?;
            self.remember(seal);
        }
        Ok(())
    }

    fn verify(&mut self, node: NodeId, statement: &[u8], signature: &[u8; 64]) -> Result<(), TrustError> {
        if !self.keys.contains_key(&node) {
            let key = VerifyingKey::from_bytes(&node.0).map_err(|_| TrustError::Signature)?;
            if self.keys.len() >= KEYS_MAX {
                self.keys.clear();
            }
            self.keys.insert(node, key);
        }
        let signature = Signature::from_bytes(signature);
        self.keys[&node].verify_strict(statement, &signature).map_err(|_| TrustError::Signature)
    }

    /// Roots and chains remembered as good.
    pub fn remembered(&self) -> usize {
        self.seals.order.len()
    }

    /// Whether what this seal stands for was checked before.
    pub(super) fn knows(&self, seal: &Hash) -> bool {
        self.opened.as_ref().map_or_else(|| self.seals.contains(seal), |opened| opened.knows(seal))
    }

    /// Remembers what was checked, for a while.
    pub(super) fn remember(&mut self, seal: Hash) {
        match &self.opened {
            Some(opened) => opened.remember(seal),
            None => self.seals.insert(seal),
        }
    }
}

/// A tool's record names the hash of the definition it holds, so that whoever pins the hash pins the definition. The body is read for
/// that and let go: most records that wait for others of their log are not shown yet.
fn check_definition(signed: &Signed, read: impl FnOnce(&ToolText<'_>, &Json<'_>)) -> Result<(), TrustError> {
    // A body of a later version is relayed; it is not shown either.
    let Some(body) = signed.record.tool() else { return Ok(()) };
    let definition = Json::read(body.definition).ok().filter(Json::is_object).ok_or(TrustError::Definition)?;
    if signed.record.def_hash() != Some(hash_of_object(&definition)) {
        return Err(TrustError::Definition);
    }
    read(&body, &definition);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Envelope, Kind, ToolBody};
    use crate::trust::definition_hash;
    use crate::trust::samples::{id, key, record};

    #[test]
    fn every_record_of_a_flush_verifies_and_none_with_a_changed_byte() {
        let key = key(1);
        for count in [1_u64, 2, 3, 5, 8, 64, 65] {
            let records = (1..=count).map(|seq| record(id(&key), seq, Kind::Tool, "z", "t.z", vec![7; 9])).collect();
            for signed in sign_flush(&key, records, Head::default()) {
                assert_eq!(*Verifier::default().open(&signed.envelope()).unwrap(), signed);
            }
        }
        let signed =
            &sign_flush(&key, vec![record(id(&key), 1, Kind::Tool, "z", "t.z", vec![7; 9])], Head::default())[0];
        for place in 0..signed.envelope_len() {
            let mut bytes = signed.envelope();
            bytes[place] ^= 1;
            assert!(Verifier::default().open(&bytes).is_err(), "byte {place}");
        }
    }

    #[test]
    fn the_way_to_the_root_is_shared_by_those_whose_way_it_is() {
        let key = key(1);
        for count in [2_u64, 3, 7, 64] {
            let records = (1..=count).map(|seq| record(id(&key), seq, Kind::Tool, "z", "t.z", vec![7; 9])).collect();
            let mut verifier = Verifier::default();
            for signed in sign_flush(&key, records, Head::default()) {
                assert_eq!(*verifier.open(&signed.envelope()).unwrap(), signed);
                // Its own way is the last one now: every other must be noticed.
                let envelope = Envelope::decode(&signed.envelope()).unwrap();
                for height in 0..envelope.path.len() {
                    let mut other = envelope.clone();
                    other.path[height][31] ^= 1;
                    assert_eq!(verifier.open(&other.encode()).unwrap_err(), TrustError::Signature);
                    let other = Envelope { index: envelope.index ^ 1 << height, ..envelope.clone() };
                    assert_eq!(verifier.open(&other.encode()).unwrap_err(), TrustError::Signature);
                    assert!(verifier.open(&signed.envelope()).is_ok());
                }
            }
        }
    }

    #[test]
    fn a_record_signed_by_somebody_else_is_not_believed() {
        let forged = sign_flush(&key(2), vec![record(id(&key(1)), 1, Kind::Tool, "z", "t.z", vec![])], Head::default());
        assert_eq!(Verifier::default().open(&forged[0].envelope()).unwrap_err(), TrustError::Signature);
    }

    #[test]
    fn a_tool_under_another_definitions_hash_is_not_believed() {
        let key = key(1);
        let definition = br#"{"name":"t","inputSchema":{"type":"object"}}"#.to_vec();
        let body = ToolBody { definition: definition.clone(), ..ToolBody::default() }.encode();
        let honest =
            Record { def_hash: definition_hash(&definition).ok(), ..record(id(&key), 1, Kind::Tool, "z", "t.z", body) };
        let claimed = Record { def_hash: Some([7; 32]), ..honest.clone() };
        let signed = sign_flush(&key, vec![honest, claimed], Head::default());
        let mut verifier = Verifier::default();
        assert!(verifier.open(&signed[0].envelope()).is_ok());
        assert_eq!(verifier.open(&signed[1].envelope()).unwrap_err(), TrustError::Definition);
    }
}
