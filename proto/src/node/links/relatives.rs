//! Parents and children: delegation over the child's own connection, keys pinned at first use, zones told of each other's changes.

use std::collections::{BTreeMap, BTreeSet};

use super::contacts::Purpose;
use super::{Link, Role};
use crate::codec::Wire;
use crate::name::ZoneName;
use crate::node::Node;
use crate::params::{ADDRESS_CHARS_MAX, ZONE_DEPTH_MAX};
use crate::record::{DelegationBody, GATEWAYS_MAX, Gateway, Kind, ManifestBody, NodeId};
use crate::registry::Change;
use crate::resolver::Proofs;
use crate::trust::{Authority, Lineage, TrustError};
use crate::wire::message::{Above, Delegate, Referral, ReferredChild, Serial, Serials, TAG_UNREACHABLE};
use crate::zone::Child;

/// Changes told in one frame.
const SERIALS_PER_FRAME: usize = 1_000;

impl Node {
    pub(super) fn on_ancestor(&mut self, peer: NodeId, zone: ZoneName) {
        let meant = self.links.contacts.values().any(|c| c.peer == Some(peer) && c.purpose == Purpose::Parent);
        let is_parent = meant || self.links.parent_zone.as_ref() == Some(&zone);
        self.set_role(peer, if is_parent { Role::Parent(zone.clone()) } else { Role::Stranger });
        if is_parent {
            self.links.parent_zone = Some(zone);
            self.tell_tags(peer);
            self.prove(peer);
        }
    }

    pub(super) fn on_descendant(&mut self, peer: NodeId, zone: ZoneName, address: String) {
        if !self.lets_below(peer, &zone) {
            return;
        }
        self.set_role(peer, Role::Child(zone.clone()));
        if let Some(link) = self.links.by_peer.get_mut(&peer) {
            link.address = address;
        }
        self.refer(peer, &zone);
        self.tell_tags(peer);
        self.prove(peer);
    }

    /// Tells parents and children who we are, and by which key.
    pub(in crate::node) fn greet_relatives(&mut self) {
        for peer in self.links.relatives() {
            self.greet(peer);
        }
    }

    /// Zone keys have moved: those who speak by them are looked at again.
    pub(in crate::node) fn prove_relatives(&mut self) {
        for peer in self.links.relatives() {
            self.prove(peer);
        }
    }

    /// Tells every child anew what this zone is and what lies above it.
    pub(in crate::node) fn refer_children(&mut self) {
        for child in self.links.children() {
            self.settle_child(child);
        }
    }

    /// A relative is asked once its certificates lead to the key that is known for its zone: a name alone is a claim.
    pub(in crate::node) fn prove(&mut self, peer: NodeId) {
        let Some(link) = self.links.by_peer.get(&peer) else { return };
        let (Role::Parent(zone) | Role::Child(zone)) = link.role.clone() else { return };
        let chain = link.hello.as_ref().map(|hello| hello.chain.clone()).unwrap_or_default();
        let proven = self.verifier.check_node(&self.anchors, &zone, peer, &chain, self.now.wall_ms).is_ok();
        let news = proven && !link.proven;
        if let Some(link) = self.links.by_peer.get_mut(&peer) {
            // What is stated meanwhile it is not told.
            link.told_revoked &= proven || !link.proven;
            link.proven = proven;
        }
        if news {
            self.view_dirty = true;
            self.questions_on_reached(&zone, peer);
        }
        if news && self.is_guarded(peer) {
            // It was told nothing so far.
            self.tell_tags(peer);
            self.tell_revoked(peer);
        }
    }

    /// Whether somebody only says so far that it is a node of a zone above or below, where whoever likes can say so: it is told nothing
    /// that others do not see, and says nothing of its zone.
    pub(in crate::node) fn is_claim(&self, peer: NodeId) -> bool {
        let link = self.links.by_peer.get(&peer);
        let is_unproven = |link: &Link| !link.proven && matches!(link.role, Role::Parent(_) | Role::Child(_));
        link.is_some_and(is_unproven) && self.is_guarded(peer)
    }

    /// Everything that was heard, and how this zone is: what changed while the connection was lost is not told again.
    pub(super) fn tell_tags(&mut self, peer: NodeId) {
        let own = self.own_serial();
        let all: Vec<Serial> = self.tags.all().chain([own]).collect();
        self.send_serials(peer, all.into_iter());
    }

    /// Of these what the peer hears from us: a parent of what is ours, a child of what is not its own.
    pub(in crate::node) fn send_serials(&mut self, peer: NodeId, serials: impl Iterator<Item = Serial>) {
        let Some(link) = self.links.by_peer.get(&peer).filter(|_| !self.is_claim(peer)) else { return };
        let is_heard = |zone: &ZoneName| match &link.role {
            Role::Child(child) => !zone.is_within(child),
            Role::Parent(_) => zone.is_within(&self.config.zone),
            _ => false,
        };
        let heard: Vec<Serial> =
            serials.filter(|serial| ZoneName::parse(&serial.zone).is_ok_and(|zone| is_heard(&zone))).collect();
        for zones in heard.chunks(SERIALS_PER_FRAME) {
            self.send(peer, Serials { zones: zones.to_vec() });
        }
    }

    /// Whether a relative may say that `zone` changed: a child of what is its own, a parent of what is not ours.
    pub(in crate::node) fn may_speak_of(&self, peer: NodeId, zone: &ZoneName) -> bool {
        if self.is_claim(peer) {
            return false;
        }
        match self.links.by_peer.get(&peer).map(|link| &link.role) {
            Some(Role::Child(child)) => zone.is_within(child),
            Some(Role::Parent(_)) => !zone.is_within(&self.config.zone),
            _ => false,
        }
    }

    /// The last node of a child is gone: answers kept of it elsewhere say more than can be known now.
    pub(super) fn tell_unreachable(&mut self, zone: &ZoneName) {
        let stamp = self.writes.tick(self.now.wall_ms);
        let gone = Serial { zone: zone.to_string(), node: self.id, stamp, tag: TAG_UNREACHABLE };
        self.tags.hear(zone, self.id, stamp, TAG_UNREACHABLE);
        self.resolver.on_tag(zone, TAG_UNREACHABLE);
        self.epoch += 1;
        self.view_dirty = true;
        self.spread(None, vec![gone]);
    }

    /// Tells a node below what this zone is and what it says of the node's zone.
    pub(in crate::node) fn refer(&mut self, peer: NodeId, zone: &ZoneName) {
        let delegation = self.delegation_of(zone).map(|body| ReferredChild {
            zone_key: body.zone_key,
            epoch: body.epoch,
            manifests: self.anchors.manifests(zone),
            gateways: body.gateways.into_iter().take(GATEWAYS_MAX).collect(),
        });
        if let Some(link) = self.links.by_peer.get_mut(&peer) {
            link.told = delegation.as_ref().map(|child| child.zone_key);
        }
        let own = self.config.zone.clone();
        // What is not known here yet may be known to a fellow.
        let may_deny = !self.is_provisional() && (delegation.is_some() || !self.is_behind());
        let zone_key = self.trust.zone_key.filter(|_| may_deny);
        if zone_key.is_some() {
            // The child pins it.
            self.commit_zone_key();
        }
        let above = || self.anchors.pinned().filter(|(zone, _)| own.is_below(zone));
        let manifests = above().flat_map(|(_, lineage)| lineage.manifests());
        let referral = Referral {
            zone: own.as_str().to_owned(),
            zone_key,
            proofs: self.proofs_of_child(zone),
            anchors: above().map(|(zone, lineage)| (zone.to_string(), lineage.key())).collect(),
            manifests: manifests.chain(self.anchors.manifests(&own)).collect(),
            delegation,
        };
        self.send(peer, referral);
    }

    /// What our zone says of a child.
    pub(in crate::node) fn delegation_of(&self, zone: &ZoneName) -> Option<DelegationBody> {
        self.zone.child(zone).map(|child| child.body.clone())
    }

    /// A delegation can be read now: the zone's key can be proven from it, and its nodes hear whose key was taken.
    pub(in crate::node) fn on_delegated(&mut self, change: &Change) {
        let (Change::Put(signed) | Change::Gone(signed)) = change;
        if signed.record.kind() != Kind::Delegation {
            return;
        }
        let Ok(zone) = ZoneName::parse(signed.record.name()) else { return };
        let coming = self.links.delegating.get(&zone).map(Wire::encode);
        if signed.record.node() == self.id && coming.as_deref() == signed.record.body() {
            self.links.delegating.remove(&zone);
        }
        match change {
            Change::Put(_) => self.links.heard.insert(zone.clone(), self.now.mono),
            Change::Gone(_) if self.zone.child(&zone).is_none() => self.links.heard.remove(&zone),
            Change::Gone(_) => None,
        };
        self.inherit(change, &zone);
        // Which others stand may depend on it.
        let nested: Vec<ZoneName> = self.zone.nested_with(&zone).cloned().collect();
        for zone in nested.into_iter().chain([zone]) {
            self.learn_child(&zone);
            self.hear_child(&zone);
            let key = self.zone.child(&zone).map(|child| child.body.zone_key);
            for peer in self.links.of_zone(&zone) {
                self.prove(peer);
                if self.links.by_peer.get(&peer).is_some_and(|link| link.told != key) {
                    self.refer(peer, &zone);
                }
            }
        }
    }

    /// What nodes of a child told of its keys before it was known here; and of two delegations to one child, where the older record
    /// names its older key, ours takes over how old it is: so the later key stands everywhere.
    fn hear_child(&mut self, zone: &ZoneName) {
        let hellos =
            self.links.of_zone(zone).into_iter().filter_map(|peer| self.links.by_peer.get(&peer)?.hello.as_ref());
        let told: Vec<Vec<ManifestBody>> = hellos.map(|hello| hello.manifests.clone()).collect();
        for manifests in told {
            self.follow_manifests(zone, &manifests);
        }
        let standing = self.delegation_of(zone);
        let own =
            self.zone.children().get(zone).and_then(|by_node| by_node.get(&self.id)).map(|child| child.body.clone());
        let (Some(standing), Some(own), Some(lineage)) = (standing, own, self.anchors.lineage(zone)) else { return };
        let is_one = lineage.epoch_of(&standing.zone_key).is_some() && lineage.epoch_of(&own.zone_key).is_some();
        if is_one && standing.epoch < own.epoch && !self.links.delegating.contains_key(zone) {
            let body = DelegationBody { since_ms: standing.since_ms, ..own };
            self.write_delegation(zone, body, None);
        }
    }

    /// A fellow lost its log and began another, or wrote two, as after an old disk was put back. What it had delegated stands: otherwise
    /// the next to come could found the zone again, under another key.
    fn inherit(&mut self, change: &Change, zone: &ZoneName) {
        let Change::Gone(signed) = change else { return };
        let lost = self
            .registry
            .incarnation_of(signed.record.node())
            .is_none_or(|now| now > signed.record.origin().incarnation)
            || self.registry.is_quarantined(signed.record.origin());
        let is_known = self.zone.child(zone).is_some() || self.links.delegating.contains_key(zone);
        let body = signed.record.body().and_then(|body| DelegationBody::decode(body).ok());
        let void = self.anchors.revoked().void_until(&self.config.zone, zone);
        let body = body.filter(|body| void.is_none_or(|until| body.since_ms > until));
        if let Some(body) = body.filter(|_| lost && !is_known && self.is_signer()) {
            self.write_delegation(zone, body, None);
        }
    }

    pub(in crate::node) fn on_referral(&mut self, peer: NodeId, referral: Referral) {
        let Some(Role::Parent(zone)) = self.links.by_peer.get(&peer).map(|link| link.role.clone()) else { return };
        if let Err(reason) = self.pin_above(peer, &zone, &referral) {
            self.refuse(peer, &reason);
            self.set_role(peer, Role::Stranger);
            return;
        }
        if let Some(child) = &referral.delegation {
            self.follow_manifests(&self.config.zone.clone(), &child.manifests);
        }
        self.settle_keys();
        self.prove(peer);
        // Whoever only says that it is the parent gives this zone nobody to join, and no reason to leave its key.
        if self.is_claim(peer) {
            return;
        }
        if self.links.is_proven(peer) && self.take_own_proofs(referral.proofs) {
            let fellows = self.links.fellows().to_vec();
            self.tell_above(&fellows);
        }
        let own = self.anchors.lineage(&self.config.zone);
        let is_ours = |key| own.is_some_and(|lineage| lineage.epoch_of(key).is_some());
        let is_ours = referral.delegation.as_ref().is_some_and(|child| is_ours(&child.zone_key));
        let Some(link) = self.links.by_peer.get_mut(&peer) else { return };
        // A parent that is not admitted itself, or too new, knows nothing of our zone; it speaks again when it does.
        link.undelegated = referral.delegation.is_none() && referral.zone_key.is_some();
        let asked = link.asked;
        let unknown = referral.delegation.as_ref().filter(|_| self.trust.zone_key.is_none());
        let is_held = unknown.is_some_and(|child| self.take_key(&child.zone_key));
        match (referral.delegation, self.trust.zone_key) {
            (None, None) => self.found_zone(),
            (None, Some(_)) => self.delegate_to(peer),
            // A parent that names a key before ours has not heard of the next; it was told, or is now.
            (Some(child), Some(_)) if is_ours => {
                self.spend_invite(peer);
                self.commit_zone_key();
                self.join_gateways(&child.gateways);
                if !asked {
                    self.delegate_to(peer);
                }
            }
            (Some(child), None) if is_held => {
                // Our store was lost, our key was not: what the zone held is at those who are still there.
                if child.gateways.iter().any(|gateway| gateway.node != self.id) {
                    self.links.catch_up(self.now.mono);
                    self.join_gateways(&child.gateways);
                }
                self.make_zone_key(&child.manifests);
                self.commit_zone_key();
            }
            (Some(_), Some(_)) if self.trust.committed => {
                let own = &self.config.zone;
                let reason = format!("{zone} delegates {own} to another key; join its replicas or choose another name");
                self.refuse(peer, &reason);
            }
            (Some(child), ours) => {
                if ours.is_some() {
                    self.forget_zone_key();
                }
                self.join_gateways(&child.gateways);
            }
        }
    }

    fn join_gateways(&mut self, gateways: &[Gateway]) {
        let elsewhere = |gateway: &&Gateway| gateway.node != self.id && gateway.address != self.config.address;
        for gateway in gateways.iter().take(GATEWAYS_MAX).filter(elsewhere) {
            self.links.contacts.keep(&gateway.address, Purpose::Join, Some(gateway.node));
        }
        self.dial_due();
    }

    fn settle_child(&mut self, peer: NodeId) {
        if let Some(Role::Child(zone)) = self.links.by_peer.get(&peer).map(|link| link.role.clone()) {
            self.refer(peer, &zone);
        }
    }

    /// Takes the keys of the zones above from a parent: its own first, and then, once it has proven itself by that, those above it.
    ///
    /// # Errors
    /// In words, for the parent and for our operator.
    pub(super) fn pin_above(&mut self, peer: NodeId, zone: &ZoneName, referral: &Referral) -> Result<(), String> {
        let manifests_of = |name: &ZoneName| -> Vec<ManifestBody> {
            referral.manifests.iter().filter(|manifest| manifest.zone == name.as_str()).cloned().collect()
        };
        let words = |error: TrustError| format!("{error}; its operator can tell whether that is right");
        if let Some(key) = referral.zone_key {
            let manifests = manifests_of(zone);
            if !self.may_pin(peer, zone, key, &manifests) {
                return Err(format!(
                    "the key of zone {zone} is not known here, and over the network an invite has to name it; its operator makes one \
                     with `aop invite --zone {}`",
                    self.config.zone
                ));
            }
            self.anchors.pin(zone.clone(), key, &manifests).map_err(words)?;
        }
        self.prove(peer);
        if self.is_guarded(peer) && !self.links.is_proven(peer) {
            return Ok(());
        }
        let anchors = referral.anchors.iter().filter_map(|(name, key)| Some((ZoneName::parse(name).ok()?, *key)));
        for (name, key) in anchors.filter(|(name, _)| zone.is_below(name)).take(ZONE_DEPTH_MAX) {
            let manifests = manifests_of(&name);
            self.anchors.pin(name, key, &manifests).map_err(words)?;
        }
        Ok(())
    }

    /// Tells fellows the keys of the zones above: where strangers may come, a replica that was invited to its own zone only learns
    /// them nowhere else.
    pub(in crate::node) fn tell_above(&mut self, fellows: &[NodeId]) {
        let own = &self.config.zone;
        let above = || self.anchors.pinned().filter(|(zone, _)| own.is_below(zone));
        let anchors: Vec<_> = above().map(|(zone, lineage)| (zone.to_string(), lineage.key())).collect();
        if anchors.is_empty() {
            return;
        }
        let manifests = above().flat_map(|(_, lineage)| lineage.manifests()).collect();
        let told = Above { anchors, manifests, proofs: self.own_proofs().to_vec() };
        for fellow in fellows {
            self.send(*fellow, told.clone());
        }
    }

    /// Takes keys of the zones above from a fellow that speaks for the zone, where none is known yet, and follows those that are.
    pub(in crate::node) fn on_above(&mut self, peer: NodeId, above: Above) {
        let is_heard = !self.is_guarded(peer) || self.authority_of(peer) == Some(Authority::Signer);
        if !self.is_fellow(peer) || !is_heard {
            self.counts.refused += 1;
            return;
        }
        let own = self.config.zone.clone();
        let anchors = above.anchors.iter().filter_map(|(name, key)| Some((ZoneName::parse(name).ok()?, *key)));
        for (name, key) in anchors.filter(|(name, _)| own.is_below(name)).take(ZONE_DEPTH_MAX) {
            let of_zone = |manifest: &&ManifestBody| manifest.zone == name.as_str();
            let manifests: Vec<ManifestBody> = above.manifests.iter().filter(of_zone).cloned().collect();
            // Another key than the one pinned here is a matter between the operators; what is pinned stands.
            self.counts.refused += u64::from(self.anchors.pin(name, key, &manifests).is_err());
        }
        self.settle_keys();
        // What a parent says itself goes before what a fellow heard of one, whose later word goes before an earlier one.
        if self.links.askable_parents().is_empty() && self.is_later_proof(&above.proofs) {
            self.take_own_proofs(above.proofs);
        }
        for (peer, zone) in self.links.misjudged(&own) {
            self.on_ancestor(peer, zone);
            self.greet(peer);
        }
    }

    /// Asks the parent to sign that this zone is reached here.
    pub(super) fn delegate_to(&mut self, peer: NodeId) {
        let Some(zone_key) = self.trust.zone_key.filter(|_| self.is_admitted()) else { return };
        if let Some(link) = self.links.by_peer.get_mut(&peer) {
            link.asked = true;
        }
        let delegate = Delegate {
            zone: self.config.zone.as_str().to_owned(),
            zone_key,
            chain: self.trust.chain.clone(),
            manifests: self.anchors.manifests(&self.config.zone),
            gateways: self.own_gateways(GATEWAYS_MAX),
            tools: self.zone.tools_as_taken().len() as u64,
        };
        self.send(peer, delegate);
    }

    /// Renews the delegation at every parent, and tells children about a parent's key that came late.
    pub(in crate::node) fn delegate_again(&mut self) {
        for parent in self.links.parents() {
            self.delegate_to(parent);
        }
    }

    pub(in crate::node) fn on_delegate(&mut self, peer: NodeId, delegate: Delegate) {
        let Some(Role::Child(zone)) = self.links.by_peer.get(&peer).map(|link| link.role.clone()) else { return };
        self.follow_manifests(&zone, &delegate.manifests);
        if !self.is_admitted() || self.is_provisional() || self.is_behind() {
            return;
        }
        let coming = self.links.delegating.get(&zone).cloned();
        let is_coming = coming.is_some();
        let known = coming.or_else(|| self.delegation_of(&zone));
        let granted = if known.is_some() { Ok(None) } else { self.may_delegate(peer, &zone) };
        let Ok(granted) = granted else { return };
        let begun = match &known {
            Some(known) => self.lineage_of_child(&zone, known, &delegate.manifests),
            None => Lineage::begin(&zone, delegate.zone_key, &delegate.manifests),
        };
        let lineage = begun.ok().filter(|lineage| lineage.epoch_of(&delegate.zone_key).is_some());
        let Some(lineage) = lineage else {
            // Another founder was first. What is still on its way to the store is told when it has arrived.
            if !is_coming {
                self.refer(peer, &zone);
            }
            return;
        };
        let is_its = delegate.zone == zone.as_str()
            && lineage.check_node(&zone, peer, &delegate.chain, self.now.wall_ms).is_ok()
            && self.anchors.revoked().check(&zone, &delegate.chain).is_ok();
        if !is_its {
            self.counts.refused += 1;
            return;
        }
        if let Some(reason) = self.why_not_delegate(&zone).filter(|_| known.is_none()) {
            self.refuse(peer, &reason);
            return;
        }
        if !self.is_signer() {
            self.refuse(
                peer,
                "this node is a member of its zone and delegates to nobody; ask one that speaks for the zone",
            );
            return;
        }
        let gateways = gateways_of(delegate.gateways, known.as_ref());
        let since_ms = known.map_or_else(|| self.delegated_from(&zone), |known| known.since_ms);
        let (zone_key, epoch) = (lineage.key(), lineage.epoch());
        let body = DelegationBody { zone_key, epoch, gateways, tools: delegate.tools, since_ms };
        self.commit_zone_key();
        if !self.write_delegation(&zone, body, granted) {
            self.refuse(
                peer,
                "the log of this node is full, so it delegates to nobody else; ask another node of its zone",
            );
        }
    }

    /// Why a new zone would make two authorities of one name, beside a delegation that stands or is on its way to the store, and what helps.
    /// What lies in a child's zone is the child's to delegate: from within it nobody would ask here.
    pub(in crate::node) fn why_not_delegate(&self, zone: &ZoneName) -> Option<String> {
        let coming = self.links.delegating.keys().find(|other| other.is_below(zone) || zone.is_below(other));
        let Some(other) = coming.or_else(|| self.zone.in_the_way(zone)) else {
            let mut tools = self.zone.tools_as_taken().iter().filter(|tool| zone.holds(tool.name()));
            let served = tools.find(|tool| tool.shown().body().served)?;
            let server = served.shown().body().server;
            return Some(format!(
                "`{}` of server {server} here would lie in {zone}: give the server another name, or say `aop unregister {server}` first",
                served.name()
            ));
        };
        Some(match zone.is_below(other) {
            true => format!("{zone} lies in {other}, which is delegated already: name a node of {other} as its parent"),
            false => format!(
                "{other} lies in {zone} and is delegated here already, and each name has one authority: say `aop zones undelegate \
                 {other}` here, and let {other} come below {zone}"
            ),
        })
    }

    /// What a delegation of ours says of a child's key, and what the child told since.
    fn lineage_of_child(
        &self,
        zone: &ZoneName,
        known: &DelegationBody,
        manifests: &[ManifestBody],
    ) -> Result<Lineage, TrustError> {
        let proven = self.anchors.lineage(zone).filter(|lineage| lineage.epoch_of(&known.zone_key).is_some());
        let mut lineage = proven.cloned().unwrap_or_else(|| Lineage::of(known.epoch, known.zone_key));
        lineage.follow(zone, manifests).map(|()| lineage)
    }

    /// Proves the keys of our children to ourselves, so that what they answer can be checked.
    pub(in crate::node) fn learn_children(&mut self) {
        for zone in self.zone.children().keys().cloned().collect::<Vec<_>>() {
            self.learn_child(&zone);
        }
    }

    fn learn_child(&mut self, zone: &ZoneName) {
        match self.prover().of_child(zone, &self.anchors) {
            Some(proof) => self.anchors.learn_child(zone, &proof, &mut self.verifier, self.now.wall_ms),
            None => self.anchors.leave_child(zone),
        }
    }

    pub(in crate::node) const fn prover(&self) -> Proofs<'_> {
        Proofs { own: &self.config.zone, zone: &self.zone, chains: &self.chains }
    }

    /// Keeps contact with the gateways of a child that has to be reached.
    pub(in crate::node) fn reach(&mut self, zone: &ZoneName) {
        let Some(key) = self.zone.child(zone).map(|child| child.body.zone_key) else { return };
        // Every replica of ours says whom it has seen; which of that is the newest no clock can tell.
        let by_node = self.zone.children().get(zone).into_iter().flat_map(BTreeMap::values);
        let same_key = by_node.filter(|child| child.body.zone_key == key);
        let gateways: Vec<Gateway> = same_key.flat_map(Child::gateways).cloned().collect();
        let connected: BTreeSet<NodeId> = self.links.of_zone(zone).into_iter().collect();
        for gateway in gateways.into_iter().filter(|gateway| !connected.contains(&gateway.node)) {
            self.links.contacts.keep(&gateway.address, Purpose::Gateway, Some(gateway.node));
        }
        self.dial_due();
    }
}

/// What a child tells of its gateways, and of those known before as many as there is room for.
fn gateways_of(mut told: Vec<Gateway>, known: Option<&DelegationBody>) -> Vec<Gateway> {
    told.retain(|gateway| gateway.address.len() <= ADDRESS_CHARS_MAX);
    for gateway in known.iter().flat_map(|known| &known.gateways) {
        let is_same = |other: &Gateway| {
            other.node == gateway.node || (!other.address.is_empty() && other.address == gateway.address)
        };
        if !told.iter().any(is_same) {
            told.push(gateway.clone());
        }
    }
    told.truncate(GATEWAYS_MAX);
    told
}
