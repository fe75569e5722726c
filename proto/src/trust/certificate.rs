//! Who may speak for a zone: certificates, each signed by the one before, from the zone's key to a node.

use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};

use crate::codec::Wire;
use crate::name::ZoneName;
use crate::params::CHAIN_MAX;
use crate::record::{Certificate, Hash, NodeId};
use crate::trust::{Anchors, SigningKey, TrustError, Verifier, pre_authentication, verify};

const TYPE_CERTIFICATE: &str = "application/vnd.aop.certificate.v1";

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

impl Verifier {
    /// Checks that `node` may speak for `zone`, by these certificates and a key of the zone that is believed at `wall_ms`. The
    /// same chain is checked once.
    ///
    /// # Errors
    /// [`TrustError::NoAnchor`] when the zone's key is not known, otherwise as [`verify_chain`].
    pub fn check_node(
        &mut self,
        anchors: &Anchors,
        zone: &ZoneName,
        node: NodeId,
        chain: &[Certificate],
        wall_ms: u64,
    ) -> Result<(), TrustError> {
        let lineage = anchors.lineage(zone).ok_or_else(|| TrustError::NoAnchor(zone.clone()))?;
        let key = chain.first().map(|certificate| certificate.issuer);
        let key = key.filter(|key| lineage.believes(key, wall_ms)).ok_or_else(|| TrustError::Chain(node.short()))?;
        let mut seal = Sha256::new();
        seal.update(b"chain");
        seal.update(key);
        seal.update((zone.as_str().to_owned(), node, chain.to_vec()).encode());
        let seal: Hash = seal.finalize().into();
        if !self.knows(&seal) {
            verify_chain(chain, zone, &key, node)?;
            self.remember(seal);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::samples::{id, key};

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
}
