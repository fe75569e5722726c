//! Proofs of the keys that this zone says others have: made for those who need one, since a zone may have thousands of children.

use crate::name::ZoneName;
use crate::record::ZoneProof;
use crate::trust::{Anchors, Chains};
use crate::zone::Zone;

/// What proofs are made of.
#[derive(Debug)]
pub struct Proofs<'a> {
    /// The own zone's name.
    pub own: &'a ZoneName,
    /// What it shows.
    pub zone: &'a Zone,
    /// Why its nodes may speak for it.
    pub chains: &'a Chains,
}

impl Proofs<'_> {
    /// The key of one child, as our zone says.
    pub fn of_child(&self, zone: &ZoneName, anchors: &Anchors) -> Option<ZoneProof> {
        let signed = &self.zone.child(zone)?.signed;
        let chain = self.chains.get(signed.record.node())?.into_owned();
        let (delegation, manifests) = (signed.envelope(), anchors.manifests(zone));
        Some(ZoneProof { zone: signed.record.name().to_owned(), delegation, chain, manifests })
    }

    /// What is needed to believe these zones: how ours came to its key, if it had another, and the keys of the children they lie in.
    pub(super) fn of_zones(&self, zones: &[ZoneName], anchors: &Anchors) -> Vec<ZoneProof> {
        let lies_in = |above: &ZoneName| zones.iter().any(|zone| zone.is_within(above));
        let children = self.zone.children().keys().filter(|child| lies_in(child));
        let children = children.filter_map(|child| self.of_child(child, anchors));
        self.of_own(anchors).filter(|_| lies_in(self.own)).into_iter().chain(children).collect()
    }

    fn of_own(&self, anchors: &Anchors) -> Option<ZoneProof> {
        let (zone, manifests) = (self.own.to_string(), anchors.manifests(self.own));
        let own = ZoneProof { zone, delegation: Vec::new(), chain: Vec::new(), manifests };
        Some(own).filter(|own| !own.manifests.is_empty())
    }
}
