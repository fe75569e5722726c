//! Keys of zones: those that are pinned, and those that a chain of delegations proves from them.

use std::collections::BTreeMap;

use crate::codec::Wire;
use crate::name::ZoneName;
use crate::params::ZONE_DEPTH_MAX;
use crate::record::{DelegationBody, Kind, ZoneProof};
use crate::trust::{TrustError, Verifier, verify_chain};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Certificate, Head};
    use crate::trust::samples::{id, key, record};
    use crate::trust::sign_flush;

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
}
