//! Who is believed no more, and what follows at once: connections end, logs leave, delegations are void, answers are forgotten.
//!
//! ```text
//!  Write::Revoke ─▶ record durable ─┐
//!  Revoked frame, from anybody ─────┼─▶ Anchors::revoke (holds? news?) ─▶ kept ─▶ passed on to all kin ─▶ enforced here
//!  record of a fellow ──────────────┘
//! ```
//!
//! Frames are quick and records are sure: a statement is passed on at once over every connection, told to whoever connects, and stands
//! in a log of its zone, where gossip repairs what was lost.

use std::collections::{BTreeMap, BTreeSet};

use super::writes::Draft;
use crate::codec::Wire;
use crate::name::ZoneName;
use crate::node::tags::STAMP_AHEAD_MAX_MS;
use crate::node::{Keep, Node, Output, Refusal};
use crate::params::REVOCATIONS_PER_FRAME;
use crate::record::{DelegationBody, Kind, NodeId, Revocation, SignedRef};
use crate::registry::Change;
use crate::trust::{Authority, TrustError};
use crate::wire::message::Revoked;

/// Statements one look writes into the own log, of those that no log holds.
const KEPT_PER_LOOK: usize = 64;

/// In which logs of the own zone each statement stands.
#[derive(Debug, Default)]
pub(super) struct Statements(BTreeMap<String, BTreeSet<NodeId>>);

impl Statements {
    fn put(&mut self, node: NodeId, name: &str) {
        self.0.entry(name.to_owned()).or_default().insert(node);
    }

    fn gone(&mut self, node: NodeId, name: &str) {
        if let Some(by) = self.0.get_mut(name) {
            by.remove(&node);
            if by.is_empty() {
                self.0.remove(name);
            }
        }
    }

    fn stands(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl Node {
    /// Takes back what an earlier run believed; every statement is checked again.
    pub(super) fn restore_revocations(&mut self, statements: &[Revocation]) {
        for said in statements {
            self.counts.refused += u64::from(self.anchors.revoke(said, &mut self.verifier).is_err());
        }
        let zones: BTreeSet<ZoneName> = statements.iter().filter_map(|said| ZoneName::parse(&said.zone).ok()).collect();
        for zone in zones {
            self.enforce(&zone, &BTreeSet::new());
        }
        statements.iter().for_each(|said| self.enforce_cut(said));
    }

    /// Statements from a peer, which prove themselves.
    pub(super) fn on_revoked(&mut self, peer: NodeId, revoked: &Revoked) {
        if revoked.statements.len() > REVOCATIONS_PER_FRAME {
            self.counts.bad_frames += 1;
            return;
        }
        if !self.links.kin().contains(&peer) {
            // Before both have read each other's greeting it may be one without being known as one.
            self.counts.bad_frames += u64::from(!self.is_greeting(peer));
            return;
        }
        for said in &revoked.statements {
            self.take_revocation(said, Some(peer));
        }
    }

    /// A record of the own zone holds one, its writer's own or somebody else's.
    pub(super) fn follow_revocation(&mut self, change: &Change) {
        let (Change::Put(signed) | Change::Gone(signed)) = change;
        if signed.record.kind() != Kind::Revocation {
            return;
        }
        let (node, name) = (signed.record.node(), signed.record.name());
        self.statements.gone(node, name);
        let body = signed.record.body().filter(|_| matches!(change, Change::Put(_)));
        let said = body.and_then(|body| Revocation::decode(body).ok()).filter(|said| said.name() == *name);
        if let Some(said) = said.filter(|said| said.zone == self.config.zone.as_str())
            && self.take_revocation(&said, None)
        {
            self.statements.put(node, name);
        }
    }

    /// False when it does not hold.
    pub(super) fn take_revocation(&mut self, said: &Revocation, from: Option<NodeId>) -> bool {
        // One that reaches far ahead could be said again, a little farther, without end.
        if said.child.as_ref().is_some_and(|(_, until_ms)| *until_ms > self.now.wall_ms + STAMP_AHEAD_MAX_MS) {
            self.counts.refused += 1;
            return false;
        }
        let Ok(zone) = ZoneName::parse(&said.zone) else {
            self.counts.refused += 1;
            return false;
        };
        // Whoever connects says all of them again.
        if self.anchors.revoked().knows(&zone, said) {
            return true;
        }
        let before = self.anchors.revoked().nodes(&zone).collect();
        match self.anchors.revoke(said, &mut self.verifier) {
            Ok(true) => {}
            Ok(false) => return true,
            Err(error) => {
                match from.filter(|_| error == TrustError::Signature) {
                    Some(peer) => self.on_forgery(peer),
                    None => self.counts.refused += 1,
                }
                return false;
            }
        }
        self.persist(vec![Keep::Revocation(said.clone())]);
        let mut kin = self.links.kin();
        kin.retain(|peer| Some(*peer) != from && !self.is_claim(*peer));
        for peer in kin {
            self.send(peer, Revoked { statements: vec![said.clone()] });
        }
        self.enforce(&zone, &before);
        self.enforce_cut(said);
        true
    }

    /// Tells somebody who has just come, or proven what it is, everything there is, once.
    pub(super) fn tell_revoked(&mut self, peer: NodeId) {
        if self.is_claim(peer) || !self.links.tells_revoked(peer) {
            return;
        }
        let all: Vec<Revocation> = self.anchors.revoked().all().cloned().collect();
        for statements in all.chunks(REVOCATIONS_PER_FRAME) {
            self.send(peer, Revoked { statements: statements.to_vec() });
        }
    }

    /// Does what follows from who is out of a zone now, and who was `before`: a statement may add somebody, or make others count no more.
    fn enforce(&mut self, zone: &ZoneName, before: &BTreeSet<NodeId>) {
        // What was answered before may rest on it.
        self.resolver.flush(None);
        self.epoch += 1;
        self.view_dirty = true;
        let now: BTreeSet<NodeId> = self.anchors.revoked().nodes(zone).collect();
        for node in now.difference(before) {
            self.cast_out(*node, zone);
        }
        if *zone == self.config.zone {
            before.difference(&now).for_each(|node| self.readmit(*node));
        }
    }

    fn enforce_cut(&mut self, said: &Revocation) {
        let child = said.child.as_ref().filter(|_| said.zone == self.config.zone.as_str());
        if let Some(child) = child.and_then(|(child, _)| ZoneName::parse(child).ok()) {
            self.cut_off(&child);
        }
    }

    /// Whoever said that a node of the own zone is out is out itself, by somebody nearer to the key: what remains is what records say.
    fn readmit(&mut self, node: NodeId) {
        self.registry.lift(node);
        if let Some(said) = self.ended(node) {
            let applied = self.registry.reap(node, said);
            self.take(&applied);
        }
    }

    /// A node of some zone is out, with everything that rests on its word.
    fn cast_out(&mut self, node: NodeId, zone: &ZoneName) {
        if node == self.id && *zone == self.config.zone {
            self.leave_as_outcast();
            return;
        }
        if *zone == self.config.zone {
            self.end_log(node);
            self.end_logs_certified_by(node);
        }
        for peer in self.links.certified_by(node, zone) {
            self.expel(peer, zone);
        }
    }

    /// Ends the connection with somebody whose certificates are worth nothing any more.
    pub(super) fn expel(&mut self, peer: NodeId, zone: &ZoneName) {
        let said = self.anchors.revoked().why(zone, peer);
        let reason = match said {
            Some(said) if !said.reason.is_empty() => format!("this node was revoked: {}", said.reason),
            Some(_) => "this node was revoked".to_owned(),
            None => "the node that certified this one was revoked; it needs a new invite".to_owned(),
        };
        // It may have been away when that was said, and goes on as if it were believed until it can see for itself.
        let chain = self.links.hello_of(peer).map(|hello| hello.chain).unwrap_or_default();
        let nodes = chain.iter().map(|certificate| certificate.node).chain([peer]).collect::<BTreeSet<_>>();
        let statements = nodes.into_iter().filter_map(|node| self.anchors.revoked().why(zone, node).cloned());
        self.send(peer, Revoked { statements: statements.take(REVOCATIONS_PER_FRAME).collect() });
        if self.is_fellow(peer) {
            self.let_go(peer);
        }
        self.keep_out(peer, &reason);
    }

    /// The log of a revoked node ends with all its lives.
    fn end_log(&mut self, node: NodeId) {
        let applied = self.registry.reap(node, u64::MAX);
        self.take(&applied);
        self.chains.remove(node);
    }

    /// Those it certified may come back with certificates of somebody else: their logs go, and may be sent anew.
    fn end_logs_certified_by(&mut self, node: NodeId) {
        for dependent in self.chains.certified_by(node) {
            if dependent == self.id {
                self.lose_certificates();
            } else if let Some(incarnation) = self.registry.incarnation_of(dependent) {
                let applied = self.registry.reap(dependent, incarnation);
                self.take(&applied);
                self.readmit(dependent);
            }
            if dependent != self.id {
                self.chains.remove(dependent);
            }
        }
    }

    /// Whoever certified this node is out: it is an applicant again.
    fn lose_certificates(&mut self) {
        self.trust.chain.clear();
        self.chains.remove(self.id);
        self.keep_trust();
        self.greet_all();
    }

    /// This node itself is out. It says so, and speaks to nobody any more.
    fn leave_as_outcast(&mut self) {
        self.trust.chain.clear();
        self.chains.remove(self.id);
        self.keep_trust();
        let reason = self.why_revoked().unwrap_or_default();
        let reason = format!("this node was revoked: {reason}; start with an empty data directory and a new invite");
        self.outputs.push_back(Output::Refused(Refusal {
            address: String::new(),
            purpose: "revoked",
            reason,
            fits: None,
        }));
        for peer in self.links.connected() {
            self.outputs.push_back(Output::Close { peer });
        }
    }

    /// By whom and why this node is believed no more.
    pub(super) fn why_revoked(&self) -> Option<String> {
        self.anchors.revoked().why(&self.config.zone, self.id).map(why_of)
    }

    /// What this zone delegated to a child is void, and every replica that said so takes it back.
    fn cut_off(&mut self, child: &ZoneName) {
        let void = self.void_delegations(child);
        for signed in &void {
            self.zone.apply(&Change::Gone(signed.clone()));
        }
        self.links.forget_delegation(child);
        let is_own = void.iter().any(|signed| signed.record.node() == self.id);
        if is_own {
            self.say(self.draft_cut_off(child));
        }
        self.anchors.leave_child(child);
        self.learn_children();
        for peer in self.links.of_zone(child) {
            self.prove(peer);
            self.refer(peer, child);
        }
    }

    fn void_delegations(&self, child: &ZoneName) -> Vec<SignedRef> {
        let by_node = self.zone.children().get(child).into_iter().flat_map(|by_node| by_node.values());
        let is_void = |body: &DelegationBody| self.is_void(child, body);
        by_node.filter(|known| is_void(&known.body)).map(|known| known.signed.clone()).collect()
    }

    fn is_void(&self, child: &ZoneName, body: &DelegationBody) -> bool {
        let until = self.anchors.revoked().void_until(&self.config.zone, child);
        until.is_some_and(|until| body.since_ms <= until)
    }

    /// When a child that is taken now was first taken: after whatever is void.
    pub(super) fn delegated_from(&self, child: &ZoneName) -> u64 {
        let until = self.anchors.revoked().void_until(&self.config.zone, child);
        until.map_or(self.now.wall_ms, |until| self.now.wall_ms.max(until.saturating_add(1)))
    }

    /// Whether readers are not to see a record: of a member that speaks for the zone, or a delegation that is void.
    pub(super) fn overreaches(&mut self, change: &Change) -> bool {
        let Change::Put(signed) = change else { return false };
        let record = &signed.record;
        match record.kind() {
            Kind::Grant => self.authority_of(record.node()) != Some(Authority::Signer),
            Kind::Delegation => {
                let body = record.body().and_then(|body| DelegationBody::decode(body).ok());
                let child = ZoneName::parse(record.name()).ok();
                let is_void = child.zip(body).is_some_and(|(child, body)| self.is_void(&child, &body));
                is_void || self.authority_of(record.node()) != Some(Authority::Signer)
            }
            _ => false,
        }
    }

    /// Statements of the own zone that stand in no log, as when whoever wrote them is gone, go on in ours.
    pub(super) fn keep_revocations(&mut self) {
        let lost = self.anchors.revoked().of(&self.config.zone).filter(|said| !self.statements.stands(&said.name()));
        let drafts: Vec<Draft> = lost.take(KEPT_PER_LOOK).map(revocation_of).collect();
        if self.check_room(&drafts, 0).is_ok() {
            self.say(drafts);
        }
    }

    /// The last life of a node that stands ended: all of them, of one that was revoked.
    pub(super) fn ended(&self, node: NodeId) -> Option<u64> {
        let is_out = self.anchors.revoked().contains(&self.config.zone, node);
        if is_out { Some(u64::MAX) } else { self.reaps.last_of(node) }
    }

    /// Who is out of the own zone, and why.
    pub(super) fn outcasts(&self) -> Vec<(NodeId, String)> {
        let revoked = self.anchors.revoked();
        let why = |node| revoked.why(&self.config.zone, node).map(why_of).unwrap_or_default();
        revoked.nodes(&self.config.zone).map(|node| (node, why(node))).collect()
    }
}

/// The record that keeps a statement.
pub(super) fn revocation_of(said: &Revocation) -> Draft {
    Draft { kind: Kind::Revocation, name: said.name(), def_hash: None, body: Some(said.encode()), leased: false }
}

fn why_of(said: &Revocation) -> String {
    let by = said.by().map(|by| by.short()).unwrap_or_default();
    if said.reason.is_empty() { format!("by {by}") } else { format!("by {by}: {}", said.reason) }
}
