//! Who may speak for a zone: certificates, each signed by the one before, from the zone's key to a node.

use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};

use crate::codec::Wire;
use crate::name::ZoneName;
use crate::params::CHAIN_MAX;
use crate::record::{Certificate, Hash, NodeId};
use crate::trust::{Anchors, SigningKey, TrustError, Verifier, pre_authentication, verify};

const TYPE_SIGNER: &str = "application/vnd.aop.certificate.v1";
const TYPE_MEMBER: &str = "application/vnd.aop.membership.v1";

/// What a certificate makes of its node. It is no field but the type under the signature: whoever reads one as the other finds that it
/// does not hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Authority {
    /// Keeps a log of the zone, and speaks for nothing but its own tools.
    Member,
    /// Speaks for the zone as well: certifies nodes, delegates, revokes members.
    Signer,
}

impl Authority {
    const fn signed_type(self) -> &'static str {
        match self {
            Self::Member => TYPE_MEMBER,
            Self::Signer => TYPE_SIGNER,
        }
    }

    /// `member` or `signer`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Signer => "signer",
        }
    }
}

impl Certificate {
    /// Certifies `node` for `zone` with `issuer`, as a signer.
    pub fn issue(issuer: &SigningKey, zone: &ZoneName, node: NodeId, issued_ms: u64) -> Self {
        Self::issue_as(Authority::Signer, issuer, zone, node, issued_ms)
    }

    /// Certifies `node` for `zone` with `issuer`, as what it is to be.
    pub fn issue_as(authority: Authority, issuer: &SigningKey, zone: &ZoneName, node: NodeId, issued_ms: u64) -> Self {
        let mut certificate = Self {
            zone: zone.as_str().to_owned(),
            node,
            issuer: issuer.verifying_key().to_bytes(),
            issued_ms,
            signature: [0; 64],
        };
        certificate.signature = issuer.sign(&certificate.signed_bytes(authority)).to_bytes();
        certificate
    }

    fn signed_bytes(&self, authority: Authority) -> Vec<u8> {
        let body = (self.zone.clone(), self.node, self.issuer, self.issued_ms).encode();
        pre_authentication(authority.signed_type(), &body)
    }

    fn check(&self, authority: Authority) -> Result<(), TrustError> {
        verify(&self.issuer, &self.signed_bytes(authority), &self.signature)
    }
}

/// Checks that the certificates lead from `zone_key` to `node`, each signed by the one before, and what they make of the node. Only
/// signers certify others.
///
/// # Errors
/// [`TrustError::Chain`] or [`TrustError::Signature`].
pub fn verify_chain(
    chain: &[Certificate],
    zone: &ZoneName,
    zone_key: &[u8; 32],
    node: NodeId,
) -> Result<Authority, TrustError> {
    let broken = || TrustError::Chain(node.short());
    let (last, elders) = chain.split_last().filter(|_| chain.len() <= CHAIN_MAX).ok_or_else(broken)?;
    let mut issuer = *zone_key;
    for certificate in chain {
        if certificate.issuer != issuer || certificate.zone != zone.as_str() {
            return Err(broken());
        }
        issuer = certificate.node.0;
    }
    if last.node != node {
        return Err(broken());
    }
    elders.iter().try_for_each(|certificate| certificate.check(Authority::Signer))?;
    match last.check(Authority::Signer) {
        Ok(()) => Ok(Authority::Signer),
        Err(_) => last.check(Authority::Member).map(|()| Authority::Member),
    }
}

impl Verifier {
    /// Checks that `node` belongs to `zone`, by these certificates and a key of the zone that is believed at `wall_ms`, and as what.
    /// The same chain is checked once.
    ///
    /// # Errors
    /// [`TrustError::NoAnchor`] when the zone's key is not known, [`TrustError::Revoked`], otherwise as [`verify_chain`].
    pub fn check_node(
        &mut self,
        anchors: &Anchors,
        zone: &ZoneName,
        node: NodeId,
        chain: &[Certificate],
        wall_ms: u64,
    ) -> Result<Authority, TrustError> {
        let lineage = anchors.lineage(zone).ok_or_else(|| TrustError::NoAnchor(zone.clone()))?;
        let key = chain.first().map(|certificate| certificate.issuer);
        let key = key.filter(|key| lineage.believes(key, wall_ms)).ok_or_else(|| TrustError::Chain(node.short()))?;
        let authority = self.check_chain(zone, &key, node, chain)?;
        anchors.revoked().check(zone, chain).map(|()| authority)
    }

    /// The same of a chain that begins at a key which is known to be, or have been, the zone's.
    pub(crate) fn check_chain(
        &mut self,
        zone: &ZoneName,
        key: &[u8; 32],
        node: NodeId,
        chain: &[Certificate],
    ) -> Result<Authority, TrustError> {
        if let Some((of, authority)) = &self.last_chain
            && (&of.0, &of.1, of.2, &*of.3) == (zone, key, node, chain)
        {
            return Ok(*authority);
        }
        let authority = self.check_other_chain(zone, key, node, chain)?;
        self.last_chain = Some(((zone.clone(), *key, node, chain.to_vec()), authority));
        Ok(authority)
    }

    fn check_other_chain(
        &mut self,
        zone: &ZoneName,
        key: &[u8; 32],
        node: NodeId,
        chain: &[Certificate],
    ) -> Result<Authority, TrustError> {
        let mut seal = Sha256::new();
        seal.update(b"chain");
        seal.update(key);
        seal.update((zone.as_str().to_owned(), node, chain.to_vec()).encode());
        let seal_of = |authority: Authority| -> Hash { seal.clone().chain_update([authority as u8]).finalize().into() };
        let known = [Authority::Signer, Authority::Member].into_iter().find(|one| self.knows(&seal_of(*one)));
        if let Some(authority) = known {
            return Ok(authority);
        }
        let authority = verify_chain(chain, zone, key, node)?;
        self.remember(seal_of(authority));
        Ok(authority)
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
        assert_eq!(verify_chain(&chain, &zone, &public, id(&replica)), Ok(Authority::Signer));
        assert!(verify_chain(&chain, &zone, &public, id(&maker)).is_err());
        assert!(verify_chain(&[second], &zone, &public, id(&replica)).is_err());
        assert!(verify_chain(&[], &zone, &public, id(&replica)).is_err());
        let elsewhere = ZoneName::parse("writing").unwrap();
        assert!(verify_chain(std::slice::from_ref(&first), &elsewhere, &public, id(&maker)).is_err());
        let widened = Certificate { node: id(&replica), ..first };
        assert_eq!(verify_chain(&[widened], &zone, &public, id(&replica)), Err(TrustError::Signature));
    }

    #[test]
    fn a_member_belongs_and_certifies_nobody() {
        let zone = ZoneName::parse("research").unwrap();
        let (zone_key, maker, member, third) = (key(1), key(2), key(3), key(4));
        let public = zone_key.verifying_key().to_bytes();
        let first = Certificate::issue(&zone_key, &zone, id(&maker), 5);
        let second = Certificate::issue_as(Authority::Member, &maker, &zone, id(&member), 6);
        let mut chain = vec![first, second];
        assert_eq!(verify_chain(&chain, &zone, &public, id(&member)), Ok(Authority::Member));
        chain.push(Certificate::issue(&member, &zone, id(&third), 7));
        assert_eq!(verify_chain(&chain, &zone, &public, id(&third)), Err(TrustError::Signature));
    }
}
