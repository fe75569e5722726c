//! Fellow replicas: how a zone gets its key, and how a node is admitted to it on loopback.
//!
//! The first node of a zone makes its key; later nodes get a certificate from a fellow that has one (DESIGN D9). A node with
//! another zone key is refused, in words.

use std::time::Duration;

use super::contacts::{Contact, Purpose};
use super::{CatchUp, GREETED_LATELY, Link, Role};
use crate::error::plain;
use crate::name::ZoneName;
use crate::node::{Keep, Node, TrustState};
use crate::params::{CHAIN_MAX, ERROR_CHARS_MAX};
use crate::record::{Certificate, Kind, ManifestBody, NodeId, Origin};
use crate::registry::Change;
use crate::trust::{Authority, Lineage};
use crate::wire::VERSIONS;
use crate::wire::message::{Admit, Hello, Refuse};

/// Time in which fellows have written and told what they inherit.
const INHERITED_WITHIN: Duration = Duration::from_millis(500);

impl Node {
    /// At start: the keys that were believed, by which everything else is judged.
    pub(in crate::node) fn restore_pins(&mut self) {
        for (zone, lineage) in self.trust.pinned.clone() {
            if let Ok(zone) = ZoneName::parse(&zone) {
                self.anchors.restore(zone, lineage);
            }
        }
        self.pins_are_kept();
        self.settle_authority();
    }

    /// Then: believe what was believed; the first node of a zone that nobody else can know makes its key.
    pub(in crate::node) fn settle_trust(&mut self) {
        if self.is_admitted() {
            self.chains.insert(self.id, self.trust.chain.clone());
            self.settle_authority();
        }
        self.resume_keys();
        match self.trust.zone_key {
            Some(_) => {}
            None if self.links.contacts.is_empty() => self.make_zone_key(&[]),
            None => {}
        }
        self.learn_children();
    }

    /// Makes the zone's key when nobody who could know another is left to ask. A parent may still prefer another founder's, and
    /// a key of ours gives way as long as nobody relies on it.
    pub(super) fn found_zone(&mut self) {
        if self.trust.zone_key.is_some() {
            return;
        }
        let keyless = |peer: NodeId| {
            let hello = self.links.by_peer.get(&peer).and_then(|link| link.hello.as_ref());
            hello.filter(|hello| hello.zone == self.config.zone.as_str() && hello.zone_key.is_none())
        };
        let joins = self.links.contacts.values().filter(|contact| contact.purpose == Purpose::Join);
        let joins: Vec<&Contact> = joins.collect();
        let all_keyless = joins.iter().all(|join| join.peer.is_some_and(|peer| keyless(peer).is_some()));
        let may = if self.links.has_parents {
            let denied = self.links.by_peer.values().any(|link| link.undelegated);
            denied && joins.iter().all(|join| join.peer.map_or(join.error.is_some(), |peer| keyless(peer).is_some()))
        } else {
            // Nodes that were told to join each other: the least of them founds, once all are there and none knows a key.
            let founding = |peer: NodeId| keyless(peer).is_some_and(|hello| hello.founding);
            let least = self.links.by_peer.keys().filter(|peer| founding(**peer)).all(|peer| self.id < *peer);
            all_keyless && least && joins.iter().all(|join| join.peer.is_some_and(founding))
        };
        let founding = all_keyless && !self.links.has_parents;
        if may {
            self.make_zone_key(&[]);
        } else if founding != self.links.founding {
            self.links.founding = founding;
            self.greet_all();
        }
    }

    pub(in crate::node) fn greet_all(&mut self) {
        for peer in self.links.connected() {
            self.greet(peer);
        }
    }

    pub(in crate::node) fn greet(&mut self, peer: NodeId) {
        let hello = self.hello(peer);
        self.send(peer, hello);
        if let Some(link) = self.links.by_peer.get_mut(&peer) {
            link.greeted = self.now.mono;
        }
    }

    /// Greets those who have not said who they are: their greeting, or ours that asks for it, was lost with a connection.
    pub(in crate::node) fn greet_again(&mut self) {
        if self.links.silent == 0 {
            return;
        }
        let silent = |link: &Link| link.hello.is_none() && self.now.mono >= link.greeted + GREETED_LATELY;
        let silent = self.links.by_peer.iter().filter(|(_, link)| silent(link)).map(|(peer, _)| *peer);
        for peer in silent.collect::<Vec<_>>() {
            self.greet(peer);
        }
    }

    /// Speaks for the zone by the key this node holds; it has had others before when `manifests` say so.
    pub(super) fn make_zone_key(&mut self, manifests: &[ManifestBody]) {
        let key = self.config.zone_key.verifying_key().to_bytes();
        let certificate = Certificate::issue(&self.config.zone_key, &self.config.zone, self.id, self.now.wall_ms);
        self.believe(key, vec![certificate], manifests);
    }

    /// Takes the zone's key and a chain to this node, keeps both, and tells everybody connected.
    pub(in crate::node) fn believe(&mut self, zone_key: [u8; 32], chain: Vec<Certificate>, manifests: &[ManifestBody]) {
        if self.anchors.pin(self.config.zone.clone(), zone_key, manifests).is_err() {
            return;
        }
        self.trust.zone_key = Some(zone_key);
        self.trust.chain = chain;
        self.chains.insert(self.id, self.trust.chain.clone());
        self.keep_trust();
        self.learn_children();
        self.write_node_record();
        self.greet_all();
        self.delegate_again();
        self.settle_links();
        self.view_dirty = true;
    }

    /// Admitted now: those who said hello before are judged again, and children hear whose they are.
    pub(super) fn settle_links(&mut self) {
        let settle = |(peer, link): (&NodeId, &Link)| (*peer, link.role.clone(), link.hello.clone());
        let links: Vec<_> = self.links.by_peer.iter().map(settle).collect();
        for (peer, role, hello) in links {
            match (role, hello) {
                (Role::Applicant, Some(hello)) => self.on_fellow(peer, hello),
                (Role::Child(zone), _) => self.refer(peer, &zone),
                _ => {}
            }
        }
    }

    pub(in crate::node) fn keep_trust(&mut self) {
        let pinned = self.anchors.pinned();
        self.trust.pinned = pinned.map(|(zone, lineage)| (zone.to_string(), lineage.clone())).collect();
        self.pins_are_kept();
        self.keys_changed();
        self.settle_authority();
        let trust: TrustState = self.trust.clone();
        self.persist(vec![Keep::Trust(trust)]);
    }

    /// Somebody relies on the zone's key now: it is not given up any more, and those who waited for that are settled.
    pub(in crate::node) fn commit_zone_key(&mut self) {
        if !self.trust.committed {
            self.trust.committed = true;
            self.keep_trust();
            self.settle_links();
        }
    }

    /// Whether there is a parent that has not said yet that it delegates to our key: it may have another founder's already, so
    /// nobody must rely on ours, however long the parent is away.
    pub(in crate::node) const fn is_provisional(&self) -> bool {
        !self.trust.committed && self.links.has_parents()
    }

    pub(super) fn hello(&self, peer: NodeId) -> Hello {
        let held = self.held_of(peer);
        // Whoever only joins others leaves founding to them: two that join a third do not know of each other.
        let joined = self.links.contacts.values().any(|c| c.purpose == Purpose::Join && c.peer == Some(peer));
        Hello {
            zone: self.config.zone.as_str().to_owned(),
            address: self.config.address.clone(),
            version: self.config.version.clone(),
            zone_key: self.trust.zone_key,
            chain: self.trust.chain.clone(),
            manifests: self.anchors.manifests(&self.config.zone),
            founding: self.links.founding && joined,
            held,
            versions: VERSIONS,
        }
    }

    pub(super) fn on_fellow(&mut self, peer: NodeId, hello: Hello) {
        let zone = &self.config.zone;
        let lineage = self.anchors.lineage(zone);
        let is_ours = hello.zone_key.is_some_and(|key| lineage.is_some_and(|known| known.epoch_of(&key).is_some()));
        let is_believed = is_ours
            && self.trust.zone_key.is_some()
            && self.verifier.check_node(&self.anchors, zone, peer, &hello.chain, self.now.wall_ms).is_ok();
        if !is_believed {
            self.set_role(peer, Role::Applicant);
        }
        match (self.trust.zone_key, hello.zone_key) {
            (Some(_), Some(_)) if !is_ours => {
                if self.trust.committed {
                    let reason = "this zone is known under another key; start with an empty data directory to join it";
                    self.refuse(peer, reason);
                } else if self.yields_to(peer) {
                    self.forget_zone_key();
                }
            }
            (Some(ours), Some(_)) if is_believed => {
                let (steps, current) = (hello.chain.len(), self.is_current(&hello.chain));
                self.take_chain(peer, &hello.chain);
                self.on_held(hello.held);
                if !self.welcome(peer) {
                    self.set_role(peer, Role::Applicant);
                    return;
                }
                self.set_role(peer, Role::Fellow);
                self.commit_zone_key();
                self.tell_above(&[peer]);
                self.links.contacts.mark(&hello.address, peer);
                if steps > self.trust.chain.len() + 1 || (!current && self.is_current(&self.trust.chain)) {
                    self.certify_again(peer, ours);
                }
            }
            (Some(ours), Some(_) | None) if !self.is_provisional() => self.let_in(peer, ours),
            (Some(_), Some(_) | None) => {}
            (None, _) => self.found_zone(),
        }
    }

    /// Whether this replica is too new to know what its zone holds.
    pub(in crate::node) const fn is_behind(&self) -> bool {
        self.links.catching_up.is_some()
    }

    /// A fellow said what it holds: all of that is to be held here before this replica denies anything.
    pub(in crate::node) fn aim_at(&mut self, vector: &[(Origin, u64)]) {
        // A fellow that still names a former life of this node has not inherited yet what that one had delegated.
        let former = vector.iter().any(|(origin, _)| origin.node == self.id && *origin != self.origin());
        if let Some(CatchUp { goal: goal @ None, .. }) = &mut self.links.catching_up
            && !former
        {
            *goal = Some(vector.to_vec());
        }
        self.check_goal(false);
    }

    /// Looks whether a new replica has caught up: it holds its goal, or a fellow turned out to hold the same; and a log of every
    /// fellow it is connected to, since that one may be as new.
    pub(in crate::node) fn check_goal(&mut self, equal: bool) {
        let now = self.now.mono;
        let Some(catch_up) = &mut self.links.catching_up else { return };
        if self.links.fellows.iter().any(|fellow| self.registry.incarnation_of(*fellow).is_none()) {
            catch_up.soon = None;
        } else if equal || catch_up.goal.as_ref().is_some_and(|goal| self.registry.has_reached(goal)) {
            // What fellows inherit from a former life of this node takes them a moment.
            catch_up.soon.get_or_insert(now + INHERITED_WITHIN);
        }
        if catch_up.ends() <= now {
            self.links.catching_up = None;
            self.settle_links();
        }
    }

    /// A fellow's record says that it is a member, and where it lives.
    pub(in crate::node) fn meet(&mut self, change: &Change) {
        let (Change::Put(signed) | Change::Gone(signed)) = change;
        let node = signed.record.node();
        if signed.record.kind() != Kind::Node || node == self.id || !node.is_name(signed.record.name()) {
            return;
        }
        let (Change::Put(_), Some(body)) = (change, signed.node_body()) else {
            self.membership.on_gone(node);
            self.links.contacts.forget_fellow(node, None);
            self.links.contacts.forget_parents_of(node);
            return;
        };
        self.membership.on_member(node);
        self.chains.written(signed, &body.chain);
        self.links.contacts.forget_fellow(node, Some(&body.address));
        self.follow_parents(node, &body.parents);
    }

    /// When the zone has a parent, this replica has: it answers as the others do, and stands in for them.
    fn follow_parents(&mut self, fellow: NodeId, parents: &[String]) {
        if self.config.parents.is_empty() {
            self.links.contacts.follow_parents(fellow, parents);
            self.links.has_parents = self.links.contacts.has_parents();
        }
    }

    /// Whether a key of ours that nobody relies on gives way: when we came to join that peer.
    pub(super) fn yields_to(&self, peer: NodeId) -> bool {
        self.links.contacts.values().any(|contact| contact.peer == Some(peer) && contact.purpose == Purpose::Join)
    }

    pub(in crate::node) fn forget_zone_key(&mut self) {
        self.anchors.unpin(&self.config.zone);
        self.trust.zone_key = None;
        self.trust.chain.clear();
        self.chains.remove(self.id);
        self.greet_all();
    }

    /// Certifies a fellow anew, as what it is.
    pub(in crate::node) fn certify_again(&mut self, peer: NodeId, zone_key: [u8; 32]) {
        if let Some(authority) = self.authority_of(peer)
            && self.is_signer()
        {
            self.admit(peer, zone_key, authority);
        }
    }

    pub(in crate::node) fn admit(&mut self, peer: NodeId, zone_key: [u8; 32], authority: Authority) {
        let mut chain = self.trust.chain.clone();
        let unable = if !self.is_signer() {
            Some("this node is a member of its zone and certifies nobody; join one that speaks for the zone")
        } else if chain.len() >= CHAIN_MAX {
            Some("this node is too far from the zone's key to admit others; join one of its elders")
        } else {
            None
        };
        if let Some(reason) = unable {
            self.send(peer, Refuse { reason: reason.to_owned() });
            return;
        }
        let (key, zone) = (&self.config.key, &self.config.zone);
        chain.push(Certificate::issue_as(authority, key, zone, peer, self.now.wall_ms));
        self.commit_zone_key();
        let manifests = self.anchors.manifests(&self.config.zone);
        self.send(peer, Admit { zone_key, chain, manifests });
    }

    pub(super) fn refuse(&mut self, peer: NodeId, reason: &str) {
        self.send(peer, Refuse { reason: reason.to_owned() });
        self.misfit(peer, reason, None, |purpose| purpose != Purpose::Gateway);
    }

    pub(in crate::node) fn on_refuse(&mut self, peer: NodeId, refuse: &Refuse) {
        // For a person to read, and kept: no longer than an error of an upstream, and nothing that a terminal obeys.
        let reason = plain(&refuse.reason, ERROR_CHARS_MAX);
        if self.trust.zone_key.is_none() && self.has_role(peer, &Role::Applicant) {
            // The key that was refused was given up in the meantime, unless the connection ends with it.
            if let Some(link) = self.links.by_peer.get_mut(&peer) {
                link.refusal = Some(reason);
            }
            return;
        }
        self.links.mark_refused(peer);
        self.misfit(peer, &reason, None, |purpose| purpose != Purpose::Gateway);
    }

    pub(in crate::node) fn on_admit(&mut self, peer: NodeId, admit: Admit) {
        let known = self.has_role(peer, &Role::Applicant) || self.is_fellow(peer);
        let zone = self.config.zone.clone();
        self.follow_manifests(&zone, &admit.manifests);
        let begun = Lineage::begin(&zone, admit.zone_key, &admit.manifests).ok();
        let lineage = self.anchors.lineage(&zone).or(begun.as_ref());
        let verified = lineage.is_some_and(|lineage| {
            lineage.epoch_of(&admit.zone_key).is_some()
                && lineage.check_node(&zone, self.id, &admit.chain, self.now.wall_ms).is_ok()
        });
        let is_out = self.anchors.revoked().check(&zone, &admit.chain).is_err();
        if known && verified && !self.may_pin(peer, &zone, admit.zone_key, &admit.manifests) {
            let reason = format!(
                "the key of zone {zone} is not known here, and over the network an invite has to name it; its operator makes one with \
                 `aop invite`"
            );
            return self.refuse(peer, &reason);
        }
        let verified = verified && !is_out;
        let current = lineage.map(Lineage::key);
        let renews = |chain: &[Certificate]| chain.first().map(|first| first.issuer) == current;
        let (is_renewed, was_current) = (renews(&admit.chain), renews(&self.trust.chain));
        if !known || !verified {
            self.counts.refused += u64::from(!verified);
        } else if !self.is_admitted() {
            self.links.catch_up(self.now.mono);
            self.believe(admit.zone_key, admit.chain, &admit.manifests);
            self.commit_zone_key();
        } else if is_renewed && (!was_current || admit.chain.len() < self.trust.chain.len()) {
            self.come_closer(admit.chain);
            // What we had before may have ended: to whoever admitted us we were nobody.
            self.greet(peer);
        }
    }

    /// An elder certified us again, by a newer key or by fewer steps from it: chains stay short however replicas came to each other,
    /// and relatives hear by which key we speak.
    fn come_closer(&mut self, chain: Vec<Certificate>) {
        self.trust.chain = chain;
        self.keep_trust();
        self.write_node_record();
        self.settle_links();
        self.greet_relatives();
    }
}
