//! The zone's key as it goes from one epoch to the next: who may rotate it, how everybody follows, and how certificates of the key
//! before are renewed while they are still believed.
//!
//! ```text
//!  maker:   Rotate ─▶ manifest durable ─▶ follow ─▶ certify itself ─▶ Hello to all, Admit to fellows, Delegate to parents
//!  fellow:  manifest (log, Hello or Admit) ─▶ follow ─▶ Hello to relatives      Admit ─▶ node record, Hello to relatives
//!  parent:  Hello, Delegate ─▶ follow ─▶ delegation of the new key              child:  Hello, Referral ─▶ follow the pin
//! ```
//!
//! What must always hold: a key moves along manifests only, the same way for the node that made it as for everybody else, so a crash
//! at any point leaves either the key before or the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use crate::codec::Wire;
use crate::name::ZoneName;
use crate::node::links::Links;
use crate::node::writes::Draft;
use crate::node::{Node, Output, Refusal, WriteError, Wrote};
use crate::params::{MANIFESTS_MAX, ORIGINS_MAX};
use crate::record::{Certificate, Kind, ManifestBody, NodeId};
use crate::registry::{Change, Registry};
use crate::trust::{Anchor, Chains, Lineage, SigningKey, TrustError};
use crate::view::KeysView;

/// What a node remembers of zone keys beside its anchors.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Manifests of the own zone as its logs hold them, by epoch and by who keeps them.
    logged: BTreeMap<(u64, NodeId), ManifestBody>,
    /// Changes of the anchors that were followed up, and pins that were handed to the store.
    seen: u64,
    kept: u64,
    /// Frozen zones the operator was told of.
    told: BTreeSet<ZoneName>,
    /// Built when somebody looks, and given up when anything in it may have changed.
    view: OnceLock<Arc<KeysView>>,
}

impl Node {
    /// Makes `key` the zone's next one. The answer comes when that is durable.
    pub(super) fn on_rotate(&mut self, token: u64, key: SigningKey) {
        match self.draft_rotation(&key) {
            Ok(drafts) => {
                // It becomes the zone's when its manifest is followed, as everywhere.
                self.config.spare_key = Some(key);
                self.write(token, drafts, Wrote::default());
            }
            Err(error) => self.outputs.push_back(Output::Written { token, result: Err(error) }),
        }
    }

    fn draft_rotation(&self, key: &SigningKey) -> Result<Vec<Draft>, WriteError> {
        let zone = self.config.zone.clone();
        let lineage = self.anchors.lineage(&zone).filter(|_| self.is_admitted());
        let Some(lineage) = lineage.filter(|_| !self.is_provisional() && !self.is_between_lives()) else {
            return Err(WriteError::KeyUnsettled { zone });
        };
        if self.own_manifest(lineage.epoch() + 1) {
            return Err(WriteError::KeyUnsettled { zone });
        }
        if self.config.zone_key.verifying_key().to_bytes() != lineage.key() {
            return Err(WriteError::KeyElsewhere { zone, maker: self.key_maker(lineage) });
        }
        match lineage.rotate(&zone, &self.config.zone_key, key, self.now.wall_ms) {
            Ok(manifests) => Ok(self.draft_manifests(&manifests)),
            Err(TrustError::Frozen(zone)) => Err(WriteError::KeyFrozen { zone }),
            Err(_) => Err(WriteError::KeyUsed { zone }),
        }
    }

    /// Who made the zone's key: it keeps its manifest, and is the node that the key certified itself.
    fn key_maker(&self, lineage: &Lineage) -> Option<NodeId> {
        let epoch = lineage.epoch();
        let mut logged = self.keys.logged.range((epoch, NodeId([0; 32]))..=(epoch, NodeId([255; 32])));
        let logged = logged.find(|(_, manifest)| manifest.key == lineage.key()).map(|((_, node), _)| *node);
        let certified = self.trust.chain.first().filter(|first| first.issuer == lineage.key());
        certified.map(|first| first.node).or(logged)
    }

    /// A record of the own zone may hold a manifest to follow, or a fellow's renewed certificates.
    pub(super) fn follow_keys(&mut self, change: &Change) {
        let (signed, put) = match change {
            Change::Put(signed) => (signed, true),
            Change::Gone(signed) => (signed, false),
        };
        let (node, name) = (signed.record.node(), signed.record.name());
        let Some(body) = signed.record.body() else { return };
        match signed.record.kind() {
            Kind::Manifest => {
                self.keys_changed();
                let Some(epoch) = name.parse().ok().filter(|epoch: &u64| epoch.to_string() == *name) else { return };
                self.keys.logged.remove(&(epoch, node));
                let zone = self.config.zone.clone();
                let is_own = |manifest: &ManifestBody| manifest.epoch == epoch && manifest.zone == zone.as_str();
                if let Some(manifest) = ManifestBody::decode(body).ok().filter(is_own).filter(|_| put) {
                    self.keys.logged.insert((epoch, node), manifest.clone());
                    if self.keys.logged.len() > 2 * MANIFESTS_MAX {
                        self.keys.logged.pop_first();
                    }
                    self.follow_manifests(&zone, &[manifest]);
                }
            }
            Kind::Node if put && node.is_name(name) => {
                let chain = signed.node_body().map_or(&[][..], |body| &body.chain);
                self.take_chain(node, chain);
            }
            _ => {}
        }
    }

    /// Follows what somebody told of a zone's keys; what follows from that is done when the input is settled.
    pub(super) fn follow_manifests(&mut self, zone: &ZoneName, manifests: &[ManifestBody]) {
        self.counts.refused += u64::from(self.anchors.follow(zone, manifests).is_err());
    }

    /// Remembers why a node may speak for the own zone. Certificates of an earlier key do not replace those of a later one.
    pub(super) fn take_chain(&mut self, node: NodeId, chain: &[Certificate]) {
        let known = self.chains.get(node);
        if known.as_deref() == Some(chain) {
            return;
        }
        let zone = &self.config.zone;
        let epoch = |chain: &[Certificate]| {
            let issuer = chain.first().map(|certificate| certificate.issuer)?;
            self.anchors.lineage(zone)?.epoch_of(&issuer)
        };
        let is_new = known.is_none();
        let is_older = known.is_some_and(|known| epoch(&known) > epoch(chain));
        let is_proven =
            !is_older && self.verifier.check_node(&self.anchors, zone, node, chain, self.now.wall_ms).is_ok();
        if is_proven && (!is_new || self.has_room_for_chain()) {
            self.chains.insert(node, chain.to_vec());
        }
    }

    /// Whether the certificates of one more node may be kept: no more nodes than logs, one of which is our own. Those of nodes of which
    /// nothing came, or nothing is left, go first.
    fn has_room_for_chain(&mut self) -> bool {
        let others_max = ORIGINS_MAX - 1;
        let others = |chains: &Chains, own| chains.len() - usize::from(chains.contains(own));
        if others(&self.chains, self.id) >= others_max && self.registry.origins() < others_max {
            let (registry, links, own) = (&self.registry, &self.links, self.id);
            self.chains.retain(|node| node == own || is_of_use(node, registry, links));
        }
        others(&self.chains, self.id) < others_max
    }

    /// Forgets why a node may speak, when it is not connected and nothing of it is held.
    pub(super) fn forget_chain(&mut self, node: NodeId) {
        if node != self.id && !is_of_use(node, &self.registry, &self.links) {
            self.chains.remove(node);
        }
    }

    /// Whether certificates are of the zone's key as it is now.
    pub(super) fn is_current(&self, chain: &[Certificate]) -> bool {
        chain.first().is_some_and(|first| Some(first.issuer) == self.trust.zone_key)
    }

    /// Whether this node holds that key; if so it is the one it signs with from now on.
    pub(super) fn take_key(&mut self, key: &[u8; 32]) -> bool {
        let is = |held: &SigningKey| held.verifying_key().to_bytes() == *key;
        if let Some(spare) = self.config.spare_key.take_if(|spare| is(spare)) {
            self.config.zone_key = spare;
        }
        is(&self.config.zone_key)
    }

    /// After every input: does what follows from keys that moved. Costs a comparison when none has.
    pub(super) fn settle_keys(&mut self) {
        if self.anchors.changes() == self.keys.seen {
            return;
        }
        self.keys.seen = self.anchors.changes();
        self.keys_changed();
        self.tell_frozen();
        if self.anchors.pins() != self.keys.kept {
            let key = self.anchors.key_of(&self.config.zone);
            match (key, self.trust.zone_key) {
                (Some(key), Some(before)) if key != before => self.move_to_key(key),
                _ => self.keep_trust(),
            }
            // What lies below can only learn it from here, and fellows that no parent speaks with.
            self.refer_children();
            let fellows = self.links.fellows().to_vec();
            self.tell_above(&fellows);
        }
        self.prove_relatives();
    }

    /// The store has been told all pins there are.
    pub(super) const fn pins_are_kept(&mut self) {
        self.keys.kept = self.anchors.pins();
    }

    /// The own zone has another key now. Whoever holds it certifies itself and its fellows; the others are certified soon, and
    /// believed for what the key before said of them until then.
    fn move_to_key(&mut self, key: [u8; 32]) {
        self.trust.zone_key = Some(key);
        if self.take_key(&key) {
            self.certify_itself();
        } else {
            self.keep_trust();
            self.greet_relatives();
        }
    }

    fn certify_itself(&mut self) {
        let certificate = Certificate::issue(&self.config.zone_key, &self.config.zone, self.id, self.now.wall_ms);
        self.trust.chain = vec![certificate];
        self.keep_trust();
        self.write_node_record();
        self.log_manifests();
        self.greet_all();
        self.admit_fellows();
        self.delegate_again();
    }

    /// At start: follows what an earlier run had written and not yet believed, and takes up a key that was made for that.
    pub(super) fn resume_keys(&mut self) {
        let zone = self.config.zone.clone();
        let logged: Vec<ManifestBody> = self.keys.logged.values().cloned().collect();
        for manifest in logged {
            self.follow_manifests(&zone, &[manifest]);
        }
        let Some(key) = self.anchors.key_of(&zone).filter(|_| self.is_admitted()) else { return };
        self.trust.zone_key = Some(key);
        if self.take_key(&key) {
            if self.is_current(&self.trust.chain) {
                self.log_manifests();
            } else {
                self.certify_itself();
            }
        }
    }

    /// The maker's log holds every manifest that is kept: a log that was lost takes none of them along.
    fn log_manifests(&mut self) {
        let manifests = self.anchors.manifests(&self.config.zone);
        let missing: Vec<ManifestBody> =
            manifests.into_iter().filter(|manifest| !self.own_manifest(manifest.epoch)).collect();
        self.say(self.draft_manifests(&missing));
    }

    /// Renews what the zone's former keys certified, again and again while they are believed. Who stays away for longer is reaped
    /// before its certificates end, and certified anew when it comes back.
    pub(super) fn renew_chains(&mut self) {
        let lineage = self.anchors.lineage(&self.config.zone);
        if lineage.is_some_and(|lineage| lineage.epoch() > 1) && self.is_current(&self.trust.chain) {
            self.admit_fellows();
        }
    }

    /// Certifies the fellows that still have certificates of a former key.
    fn admit_fellows(&mut self) {
        let Some(key) = self.trust.zone_key else { return };
        let behind = |peer: &NodeId| self.chains.get(*peer).is_none_or(|chain| !self.is_current(&chain));
        for peer in self.links.fellows().iter().copied().filter(behind).collect::<Vec<_>>() {
            self.certify_again(peer, key);
        }
    }

    /// Tells the operator, once, that a zone's key has named two successors.
    fn tell_frozen(&mut self) {
        let frozen: Vec<Anchor> = self.anchors.all().filter(|anchor| anchor.frozen).collect();
        for anchor in frozen {
            if self.keys.told.insert(anchor.zone.clone()) {
                let reason = format!(
                    "the key of zone {} has named two successors: no further key of it is believed, and its operator has to say which \
                     one is right",
                    anchor.zone
                );
                self.outputs.push_back(Output::Refused(Refusal {
                    address: String::new(),
                    purpose: "key",
                    reason,
                    fits: None,
                }));
            }
        }
    }

    /// What readers see of keys; built again only when some may have changed.
    pub(super) fn keys_view(&self) -> Arc<KeysView> {
        let build = || {
            let lineage = self.anchors.lineage(&self.config.zone);
            let held = self.config.zone_key.verifying_key().to_bytes();
            Arc::new(KeysView {
                epoch: lineage.map_or(0, Lineage::epoch),
                held: lineage.is_some_and(|lineage| lineage.key() == held),
                maker: lineage.and_then(|lineage| self.key_maker(lineage)),
                chain: self.trust.chain.clone(),
                anchors: self.anchors.all().collect(),
                revoked: self.why_revoked(),
                outcasts: self.outcasts(),
            })
        };
        self.keys.view.get_or_init(build).clone()
    }

    /// What readers see of keys has changed.
    pub(super) fn keys_changed(&mut self) {
        self.keys.view.take();
        self.view_dirty = true;
    }
}

/// Whether it matters why a node may speak.
fn is_of_use(node: NodeId, registry: &Registry, links: &Links) -> bool {
    registry.incarnation_of(node).is_some() || links.is_connected(node)
}
