//! What is believed: flushes of records signed by their origin, certificates from a zone key to a node, proofs from an anchor to
//! a zone key. One rule of verification everywhere, `verify_strict` over DSSE's pre-authentication encoding.
//!
//! ```text
//!  anchor ── manifest … manifest ──▶ zone key ──▶ certificate … certificate ──▶ node ──▶ flush ──▶ record ──▶ definition
//! ```
//!
//! What it is *not*: who is let in. Nothing here knows addresses or policy.

mod anchors;
pub mod answers;
mod author;
mod certificate;
mod chains;
mod definition;
mod flush;
pub mod manifest;
mod revocation;

pub use ed25519_dalek::SigningKey;
use ed25519_dalek::{Signature, VerifyingKey};

pub use anchors::{Anchor, Anchors};
pub use author::{Remembered, Repeated};
pub use certificate::{Authority, verify_chain};
pub use chains::Chains;
pub use definition::definition_hash;
pub(crate) use flush::SEALS_MAX;
pub use flush::{Opened, Seals, Verifier, sign_flush};
pub use manifest::Lineage;
pub use revocation::{Revoked, anchor_hash};

use crate::codec::DecodeError;
use crate::name::ZoneName;

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
    /// Manifests that are not a zone's, not one epoch after the other, or too many.
    #[error("the manifests of zone {0} do not follow each other")]
    Manifest(ZoneName),
    /// A node that was revoked, or that one had certified.
    #[error("node {0} was revoked")]
    Revoked(String),
    /// A revocation of somebody its writer may not revoke.
    #[error("node {0} may not revoke that")]
    Overreach(String),
    /// As many revocations of a zone, or of all zones, as are kept.
    #[error("no more revocations of zone {0} are kept")]
    Full(ZoneName),
    /// The zone's key has signed two manifests of one epoch; no further one is believed.
    #[error("the key of zone {0} has named two successors")]
    Frozen(ZoneName),
}

/// DSSE v1 pre-authentication encoding: the type is inside what is signed.
fn pre_authentication(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = pre_authentication_head(kind, body).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// What stands before the body in it.
fn pre_authentication_head(kind: &str, body: &[u8]) -> String {
    format!("DSSEv1 {} {kind} {} ", kind.len(), body.len())
}

fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), TrustError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| TrustError::Signature)?;
    key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| TrustError::Signature)
}

#[cfg(test)]
pub(crate) mod samples {
    //! Keys and records that the tests of this folder share.

    use super::SigningKey;
    use crate::record::{Kind, NodeId, Record, VISIBILITY_PUBLIC};

    pub(crate) fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    pub(crate) fn id(key: &SigningKey) -> NodeId {
        NodeId(key.verifying_key().to_bytes())
    }

    pub(crate) fn record(node: NodeId, seq: u64, kind: Kind, zone: &str, name: &str, body: Vec<u8>) -> Record {
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
}

#[cfg(test)]
mod tests {
    use super::pre_authentication;
    use crate::codec::Wire;

    /// Where fields are only put one behind the other, a signature over one text is one over another.
    #[test]
    fn what_is_signed_can_be_read_in_one_way_only() {
        assert_eq!(pre_authentication("a", b"bc"), b"DSSEv1 1 a 2 bc");
        assert_ne!(pre_authentication("ab", b"c"), pre_authentication("a", b"bc"));
        assert_ne!(pre_authentication("a", b"1 b"), pre_authentication("a 3", b"b"));
        let fields = |one: &str, other: &str| (one.to_owned(), other.to_owned(), 7_u64).encode();
        assert_ne!(fields("ab", "c"), fields("a", "bc"));
        assert_ne!(fields("", "abc"), fields("abc", ""));
    }
}
