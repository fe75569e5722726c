//! What is believed: flushes of records signed by their origin, certificates from a zone key to a node, proofs from an anchor to
//! a zone key. One rule of verification everywhere, `verify_strict` over DSSE's pre-authentication encoding.
//!
//! What it is *not*: who is let in. Nothing here knows addresses or policy.

pub mod answers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub use ed25519_dalek::SigningKey;
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::codec::{DecodeError, Wire};
use crate::name::ZoneName;
use crate::params::{CHAIN_MAX, ZONE_DEPTH_MAX};
use crate::record::{
    Certificate, DelegationBody, Envelope, Hash, Head, Kind, NodeId, Origin, Record, Signed, SignedRef, ToolBody,
    ZoneProof,
};

/// Why something is not believed. It is dropped, counted, and never relayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not what it should be at all.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The signature does not hold, or the key is none.
    #[error("the signature does not hold")]
    Signature,
    /// A tool whose definition is not the one its hash names.
    #[error("the definition is not the one its hash names")]
    Definition,
    /// A chain that is too long, broken, or for somebody else.
    #[error("the certificates do not lead from the zone's key to {0}")]
    Chain(String),
    /// No way from an anchor to the zone.
    #[error("no anchor proves the key of zone {0}")]
    NoAnchor(ZoneName),
    /// Another key than the one known for the zone.
    #[error("zone {0} is known under another key")]
    OtherKey(ZoneName),
}

const TYPE_RECORD: &str = "application/vnd.aop.record.v1";
const TYPE_FLUSH: &str = "application/vnd.aop.flush.v1";
const TYPE_CERTIFICATE: &str = "application/vnd.aop.certificate.v1";

/// DSSE v1 pre-authentication encoding: the type is inside what is signed.
fn pre_authentication(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn leaf_hash(payload: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(pre_authentication(TYPE_RECORD, payload));
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
fn flush_statement(root: &Hash, origin: Origin, head: &Head) -> Vec<u8> {
    pre_authentication(TYPE_FLUSH, &(*root, origin, *head).encode())
}

/// Signs the records of one flush, which are of one origin, and returns them, ready to store and send, in the order given. `head` is
/// the log after them.
pub fn sign_flush(key: &SigningKey, records: Vec<Record>, head: Head) -> Vec<Signed> {
    let payloads: Vec<Vec<u8>> = records.iter().map(Wire::encode).collect();
    let Some(levels) = (!payloads.is_empty()).then(|| levels(payloads.iter().map(|p| leaf_hash(p)).collect())) else {
        return Vec::new();
    };
    let root = levels[levels.len() - 1][0];
    let signature = key.sign(&flush_statement(&root, records[0].origin(), &head)).to_bytes();
    records
        .into_iter()
        .zip(payloads)
        .enumerate()
        .map(|(place, (record, payload))| {
            let hash = Sha256::digest(&payload).into();
            let index = u32::try_from(place).expect("a flush has fewer than 2^32 records");
            let envelope = Envelope { payload, index, path: path_of(&levels, place), head, signature }.encode();
            Signed { record, envelope: envelope.into(), hash, head }
        })
        .collect()
}

fn path_of(levels: &[Vec<Hash>], place: usize) -> Vec<Hash> {
    let mut path = Vec::new();
    let mut place = place;
    for level in &levels[..levels.len() - 1] {
        if let Some(neighbour) = level.get(place ^ 1) {
            path.push(*neighbour);
        } else {
            // An odd last node has no neighbour; the zero hash says so and costs nothing to check.
            path.push([0; 32]);
        }
        place /= 2;
    }
    path
}

fn root_of(envelope: &Envelope) -> Hash {
    let mut hash = leaf_hash(&envelope.payload);
    let mut index = envelope.index;
    for neighbour in &envelope.path {
        if *neighbour != [0; 32] {
            hash = if index & 1 == 0 { parent_hash(&hash, neighbour) } else { parent_hash(neighbour, &hash) };
        }
        index >>= 1;
    }
    hash
}

fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), TrustError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| TrustError::Signature)?;
    key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| TrustError::Signature)
}

/// A memory of records that verified, shared by nodes of one process: each signature is checked, and each record kept, once. What it
/// returns for some bytes must have been kept for exactly these bytes.
pub trait Opened: Send + Sync + std::fmt::Debug {
    /// The record of exactly these bytes, if it was kept.
    fn find(&self, bytes: &[u8]) -> Option<SignedRef>;
    /// Keeps a record that verified.
    fn keep(&self, signed: &SignedRef);
}

/// Checks records, once each; a flush of many records costs one check of its root.
#[derive(Debug, Default)]
pub struct Verifier {
    roots: BTreeSet<Hash>,
    order: VecDeque<Hash>,
    opened: Option<Arc<dyn Opened>>,
}

/// Flush roots remembered as good.
const ROOTS_MAX: usize = 4096;

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
        if let Some(signed) = self.opened.as_ref().and_then(|opened| opened.find(bytes)) {
            return Ok(signed);
        }
        let signed = Arc::new(self.check(bytes)?);
        if let Some(opened) = &self.opened {
            opened.keep(&signed);
        }
        Ok(signed)
    }

    fn check(&mut self, bytes: &[u8]) -> Result<Signed, TrustError> {
        let (signed, envelope) = Signed::read(bytes)?;
        // An index beyond the tree would be a second spelling of the same proof.
        if envelope.path.len() > 31 || envelope.index >> envelope.path.len() != 0 {
            return Err(TrustError::Signature);
        }
        let statement = flush_statement(&root_of(&envelope), signed.record.origin(), &envelope.head);
        let mut seal = Sha256::new();
        seal.update(&statement);
        seal.update(envelope.signature);
        let seal: Hash = seal.finalize().into();
        if !self.roots.contains(&seal) {
            verify(&signed.record.node.0, &statement, &envelope.signature)?;
            self.remember(seal);
        }
        self.check_definition(&signed)?;
        Ok(signed)
    }

    /// A tool's record names the hash of the definition it holds, so that whoever pins the hash pins the definition. Once each.
    fn check_definition(&mut self, signed: &Signed) -> Result<(), TrustError> {
        let Some(body) = signed.record.body.as_deref().filter(|_| signed.record.kind() == Kind::Tool) else {
            return Ok(());
        };
        let mut seal = Sha256::new();
        seal.update(b"definition");
        seal.update(signed.hash);
        let seal: Hash = seal.finalize().into();
        if self.roots.contains(&seal) {
            return Ok(());
        }
        // A body of a later version is relayed; it is not shown either.
        if let Ok(body) = ToolBody::decode(body) {
            let held = definition_hash(&body.definition).ok();
            if held.is_none() || held != signed.record.def_hash {
                return Err(TrustError::Definition);
            }
        }
        self.remember(seal);
        Ok(())
    }

    /// Checks that `node` may speak for `zone`, by these certificates and a key that is known. The same chain is checked once.
    ///
    /// # Errors
    /// [`TrustError::NoAnchor`] when the zone's key is not known, otherwise as [`verify_chain`].
    pub fn check_node(
        &mut self,
        anchors: &Anchors,
        zone: &ZoneName,
        node: NodeId,
        chain: &[Certificate],
    ) -> Result<(), TrustError> {
        let key = anchors.key_of(zone).ok_or_else(|| TrustError::NoAnchor(zone.clone()))?;
        let mut seal = Sha256::new();
        seal.update(b"chain");
        seal.update(key);
        seal.update((zone.as_str().to_owned(), node, chain.to_vec()).encode());
        let seal: Hash = seal.finalize().into();
        if !self.roots.contains(&seal) {
            verify_chain(chain, zone, &key, node)?;
            self.remember(seal);
        }
        Ok(())
    }

    fn remember(&mut self, seal: Hash) {
        if self.roots.insert(seal) {
            self.order.push_back(seal);
        }
        if self.order.len() > ROOTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.roots.remove(&oldest);
        }
    }
}

impl Certificate {
    /// Certifies `node` for `zone` with `issuer`.
    pub fn issue(issuer: &SigningKey, zone: &ZoneName, node: NodeId, issued_ms: u64) -> Self {
        let mut certificate = Self {
            zone: zone.as_str().to_owned(),
            node,
            issuer: issuer.verifying_key().to_bytes(),
            issued_ms,
            signature: [0; 64],
        };
        certificate.signature = issuer.sign(&certificate.signed_bytes()).to_bytes();
        certificate
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let body = (self.zone.clone(), self.node, self.issuer, self.issued_ms).encode();
        pre_authentication(TYPE_CERTIFICATE, &body)
    }
}

/// Checks that the certificates lead from `zone_key` to `node`, each signed by the one before.
///
/// # Errors
/// [`TrustError::Chain`] or [`TrustError::Signature`].
pub fn verify_chain(
    chain: &[Certificate],
    zone: &ZoneName,
    zone_key: &[u8; 32],
    node: NodeId,
) -> Result<(), TrustError> {
    let broken = || TrustError::Chain(node.short());
    if chain.is_empty() || chain.len() > CHAIN_MAX || chain[chain.len() - 1].node != node {
        return Err(broken());
    }
    let mut issuer = *zone_key;
    for certificate in chain {
        if certificate.issuer != issuer || certificate.zone != zone.as_str() {
            return Err(broken());
        }
        verify(&issuer, &certificate.signed_bytes(), &certificate.signature)?;
        issuer = certificate.node.0;
    }
    Ok(())
}

/// Keys of zones: those pinned, and those proven from them.
#[derive(Debug, Default, Clone)]
pub struct Anchors {
    pinned: BTreeMap<ZoneName, [u8; 32]>,
    proven: BTreeMap<ZoneName, [u8; 32]>,
}

/// Zone keys remembered as proven.
const PROVEN_MAX: usize = 10_000;

impl Anchors {
    /// Takes `key` as the key of `zone` for good (first use on loopback, an invite elsewhere).
    ///
    /// # Errors
    /// [`TrustError::OtherKey`] when another key is pinned; nothing changes.
    pub fn pin(&mut self, zone: ZoneName, key: [u8; 32]) -> Result<(), TrustError> {
        match self.pinned.get(&zone) {
            Some(known) if *known != key => Err(TrustError::OtherKey(zone)),
            _ => {
                self.proven.remove(&zone);
                self.pinned.insert(zone, key);
                Ok(())
            }
        }
    }

    /// Gives up a pin: only a zone key of our own that nobody relies on.
    pub fn unpin(&mut self, zone: &ZoneName) {
        self.pinned.remove(zone);
    }

    /// What is pinned, by zone.
    pub fn pinned(&self) -> impl Iterator<Item = (&ZoneName, &[u8; 32])> {
        self.pinned.iter()
    }

    /// The key of a zone, when it is known.
    pub fn key_of(&self, zone: &ZoneName) -> Option<[u8; 32]> {
        self.pinned.get(zone).or_else(|| self.proven.get(zone)).copied()
    }

    /// Learns the zone keys that the proofs show, parents first. What does not verify is skipped; the caller finds it missing.
    pub fn learn(&mut self, proofs: &[ZoneProof], verifier: &mut Verifier) {
        let mut proofs: Vec<(ZoneName, &ZoneProof)> = proofs
            .iter()
            .take(ZONE_DEPTH_MAX * 64)
            .filter_map(|proof| ZoneName::parse(&proof.zone).ok().map(|zone| (zone, proof)))
            .collect();
        proofs.sort_by_key(|(zone, _)| zone.depth());
        for (zone, proof) in proofs {
            if self.pinned.contains_key(&zone) || self.proven.len() >= PROVEN_MAX {
                continue;
            }
            if let Ok(key) = self.prove(&zone, proof, verifier) {
                self.proven.insert(zone, key);
            }
        }
    }

    fn prove(&self, zone: &ZoneName, proof: &ZoneProof, verifier: &mut Verifier) -> Result<[u8; 32], TrustError> {
        let delegation = verifier.open(&proof.delegation)?;
        let record = &delegation.record;
        let parent = ZoneName::parse(&record.zone).map_err(|_| TrustError::NoAnchor(zone.clone()))?;
        let parent_key = self.key_of(&parent).ok_or_else(|| TrustError::NoAnchor(zone.clone()))?;
        let names_zone = record.kind() == Kind::Delegation && record.name == zone.as_str();
        if !names_zone || !zone.is_below(&parent) {
            return Err(TrustError::NoAnchor(zone.clone()));
        }
        verify_chain(&proof.chain, &parent, &parent_key, record.node)?;
        let body = record.body.as_deref().ok_or_else(|| TrustError::NoAnchor(zone.clone()))?;
        Ok(DelegationBody::decode(body)?.zone_key)
    }
}

/// SHA-256 over the canonical form (RFC 8785) of what a caller relies on: name, title, description, schemas, annotations.
///
/// # Errors
/// When the definition is not a JSON object.
pub fn definition_hash(definition: &[u8]) -> Result<Hash, serde_json::Error> {
    const PINNED: [&str; 6] = ["annotations", "description", "inputSchema", "name", "outputSchema", "title"];
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(definition)?;
    let mut canonical = String::from("{");
    for key in PINNED {
        if let Some(value) = object.get(key) {
            if canonical.len() > 1 {
                canonical.push(',');
            }
            canonical.push_str(&format!("\"{key}\":"));
            write_canonical(value, &mut canonical);
        }
    }
    canonical.push('}');
    Ok(Sha256::digest(canonical.as_bytes()).into())
}

/// Objects sorted by UTF-16 code units of their keys, no white space (RFC 8785 §3.2). Numbers keep serde_json's shortest form.
fn write_canonical(value: &serde_json::Value, out: &mut String) {
    use serde_json::Value;
    match value {
        Value::Object(object) => {
            let mut members: Vec<(&String, &Value)> = object.iter().collect();
            members.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            out.push('{');
            for (place, (key, member)) in members.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 => {
                out.push_str(&format!("{}", float as i64));
            }
            _ => out.push_str(&number.to_string()),
        },
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::VISIBILITY_PUBLIC;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn id(key: &SigningKey) -> NodeId {
        NodeId(key.verifying_key().to_bytes())
    }

    fn record(node: NodeId, seq: u64, kind: Kind, zone: &str, name: &str, body: Vec<u8>) -> Record {
        Record {
            zone: zone.into(),
            kind: kind.number(),
            name: name.into(),
            node,
            incarnation: 1,
            seq,
            epoch: 0,
            hlc: seq,
            visibility: VISIBILITY_PUBLIC,
            issued_ms: 1,
            expires_ms: 0,
            def_hash: None,
            body: Some(body),
        }
    }

    #[test]
    fn every_record_of_a_flush_verifies_and_none_with_a_changed_byte() {
        let key = key(1);
        for count in [1_u64, 2, 3, 5, 8, 64, 65] {
            let records = (1..=count).map(|seq| record(id(&key), seq, Kind::Tool, "z", "t.z", vec![7; 9])).collect();
            for signed in sign_flush(&key, records, Head::default()) {
                assert_eq!(*Verifier::default().open(&signed.envelope).unwrap(), signed);
            }
        }
        let signed =
            &sign_flush(&key, vec![record(id(&key), 1, Kind::Tool, "z", "t.z", vec![7; 9])], Head::default())[0];
        for place in 0..signed.envelope.len() {
            let mut bytes = signed.envelope.to_vec();
            bytes[place] ^= 1;
            assert!(Verifier::default().open(&bytes).is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_record_signed_by_somebody_else_is_not_believed() {
        let forged = sign_flush(&key(2), vec![record(id(&key(1)), 1, Kind::Tool, "z", "t.z", vec![])], Head::default());
        assert_eq!(Verifier::default().open(&forged[0].envelope).unwrap_err(), TrustError::Signature);
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
        assert!(verifier.open(&signed[0].envelope).is_ok());
        assert_eq!(verifier.open(&signed[1].envelope).unwrap_err(), TrustError::Definition);
    }

    #[test]
    fn certificates_lead_from_the_zone_key_over_replicas_and_nowhere_else() {
        let zone = ZoneName::parse("research").unwrap();
        let (zone_key, maker, replica) = (key(1), key(2), key(3));
        let public = zone_key.verifying_key().to_bytes();
        let first = Certificate::issue(&zone_key, &zone, id(&maker), 5);
        let second = Certificate::issue(&maker, &zone, id(&replica), 6);
        let chain = vec![first.clone(), second.clone()];
        assert_eq!(verify_chain(&chain, &zone, &public, id(&replica)), Ok(()));
        assert!(verify_chain(&chain, &zone, &public, id(&maker)).is_err());
        assert!(verify_chain(&[second], &zone, &public, id(&replica)).is_err());
        assert!(verify_chain(&[], &zone, &public, id(&replica)).is_err());
        let elsewhere = ZoneName::parse("writing").unwrap();
        assert!(verify_chain(std::slice::from_ref(&first), &elsewhere, &public, id(&maker)).is_err());
        let widened = Certificate { node: id(&replica), ..first };
        assert_eq!(verify_chain(&[widened], &zone, &public, id(&replica)), Err(TrustError::Signature));
    }

    #[test]
    fn a_zone_key_is_proven_from_the_anchor_and_only_below_it() {
        let (root_key, root_node, child_key) = (key(1), key(2), key(3));
        let root = ZoneName::root();
        let chain = vec![Certificate::issue(&root_key, &root, id(&root_node), 1)];
        let body =
            DelegationBody { zone_key: child_key.verifying_key().to_bytes(), gateways: vec![], tools: 0, since_ms: 0 }
                .encode();
        let delegation = record(id(&root_node), 1, Kind::Delegation, ".", "research", body);
        let envelope = sign_flush(&root_node, vec![delegation], Head::default())[0].envelope.to_vec();
        let proof = ZoneProof { zone: "research".into(), delegation: envelope, chain };

        let mut anchors = Anchors::default();
        anchors.learn(std::slice::from_ref(&proof), &mut Verifier::default());
        let research = ZoneName::parse("research").unwrap();
        assert_eq!(anchors.key_of(&research), None, "nothing is proven without an anchor");

        anchors.pin(root, root_key.verifying_key().to_bytes()).unwrap();
        let other = ZoneProof { zone: "writing".into(), ..proof.clone() };
        anchors.learn(&[proof, other], &mut Verifier::default());
        assert_eq!(anchors.key_of(&research), Some(child_key.verifying_key().to_bytes()));
        assert_eq!(anchors.key_of(&ZoneName::parse("writing").unwrap()), None);
    }

    #[test]
    fn the_definition_hash_ignores_order_and_space_and_sees_every_word() {
        let one = br#"{"name":"t","inputSchema":{"b":1,"a":[1.0,2]},"execution":{"x":1}}"#;
        let same = br#"{ "inputSchema": {"a":[1, 2], "b":1}, "name":"t" }"#;
        let other = br#"{"name":"t","inputSchema":{"b":1,"a":[2,1]}}"#;
        assert_eq!(definition_hash(one).unwrap(), definition_hash(same).unwrap());
        assert_ne!(definition_hash(one).unwrap(), definition_hash(other).unwrap());
        assert!(definition_hash(b"[]").is_err());
    }
}
