//! How a bundle begins and ends: what stands between is what fellows tell each other.

use crate::codec::{WireRead, WireWrite};
use crate::record::{ManifestBody, NodeId};

/// First frame of a bundle: what follows it is what a fellow replica would be told, in a file. On a connection it means nothing.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Bundle {
    /// The zone.
    pub zone: String,
    /// Its key.
    pub zone_key: [u8; 32],
    /// How the zone came to that key; none while it has had but one.
    pub manifests: Vec<ManifestBody>,
    /// Who wrote it.
    pub node: NodeId,
    /// When, milliseconds since the Unix epoch by the writer's clock.
    pub issued_ms: u64,
    /// Only what was missing above another bundle's vector.
    pub delta: bool,
}

/// Last frame of a bundle.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct BundleEnd {
    /// Frames before it.
    pub frames: u64,
    /// SHA-256 over all bytes before it.
    pub hash: [u8; 32],
}
