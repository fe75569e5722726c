//! What is said with fellow replicas of who is there: the node lends [`membership`](crate::membership) its connections, grants its
//! wishes for others, and lets readers follow.

use crate::node::{Node, Output};
use crate::record::{Gateway, NodeId};
use crate::wire::message::{Ack, Leave, Members, Ping, PingRequest};

impl Node {
    pub(super) fn members_on_time(&mut self) {
        let sends = self.membership.on_time(self.now.mono, &mut self.chance);
        self.send_all(sends);
    }

    pub(super) fn on_ping(&mut self, peer: NodeId, ping: &Ping) {
        let sends = self.membership.on_ping(peer, ping, self.now.mono, &mut self.chance);
        self.send_all(sends);
    }

    pub(super) fn on_ack(&mut self, peer: NodeId, ack: &Ack) {
        let sends = self.membership.on_ack(peer, ack, self.now.mono, &mut self.chance);
        self.send_all(sends);
    }

    pub(super) fn on_ping_request(&mut self, peer: NodeId, ask: &PingRequest) {
        let sends = self.membership.on_ping_request(peer, ask, self.now.mono, &mut self.chance);
        self.send_all(sends);
    }

    pub(super) fn on_members(&mut self, peer: NodeId, members: &Members) {
        let sends = self.membership.on_members(peer, members, self.now.mono, &mut self.chance);
        self.send_all(sends);
    }

    /// A fellow is connected and admitted. False when there is no room for it, and the connection is given up.
    pub(super) fn welcome(&mut self, peer: NodeId) -> bool {
        let Some((dialed, rtt)) = self.links.handshake(peer) else { return false };
        if !dialed && !self.membership.accepts(peer) {
            self.outputs.push_back(Output::Close { peer });
            return false;
        }
        let sends = self.membership.on_connected(peer, dialed, rtt, self.now.mono, &mut self.chance);
        self.send_all(sends);
        self.gossip.meet(peer, rtt);
        self.compare_with(peer);
        true
    }

    /// A fellow is no longer connected. `lost`: nobody gave the connection up, so the fellow may be gone.
    pub(super) fn part(&mut self, peer: NodeId, lost: bool) {
        self.gossip.forget(peer, self.now.mono);
        let sends = self.membership.on_disconnected(peer, lost, self.now.mono, &mut self.chance);
        self.send_all(sends);
    }

    /// This node stops: whoever is connected hears it.
    pub(super) fn on_leave(&mut self) {
        let seq = self.writes.last_seq();
        for peer in self.links.connected() {
            self.send(peer, Leave { seq });
        }
        let sends = self.membership.leave();
        self.send_all(sends);
    }

    pub(super) fn on_peer_leave(&mut self, peer: NodeId) {
        if !self.is_fellow(peer) {
            return;
        }
        let sends = self.membership.on_leave(peer, self.now.mono, &mut self.chance);
        self.send_all(sends);
    }

    /// After every input: connections that are wished for are asked for, those that are too many are given up, and readers see who
    /// is away.
    pub(super) fn settle_members(&mut self) {
        for node in self.membership.wanted(self.now.mono, &mut self.chance) {
            self.dial_member(node);
        }
        for peer in self.membership.surplus() {
            self.let_go(peer);
        }
        if !self.membership.take_events().is_empty() {
            self.zone.set_away(self.membership.not_alive());
            self.view_dirty = true;
        }
        // Who is unheard is shown so, and to everybody else alive.
        self.view_dirty |= self.membership.take_heard();
        self.dial_due();
    }

    pub(super) fn on_unreached(&mut self, node: NodeId) {
        let sends = self.membership.on_unreached(node, self.now.mono, &mut self.chance);
        self.send_all(sends);
    }

    /// Up to `count` gateways of the own zone: this node, and others that are there.
    pub(super) fn own_gateways(&self, count: usize) -> Vec<Gateway> {
        let tools = self.zone.tools_as_taken();
        let here = self.membership.all().filter(|(_, liveness)| !liveness.is_away());
        let gateway = |node| tools.node(node).map(|body| Gateway { node, address: body.address.clone() });
        let own = Gateway { node: self.id, address: self.config.address.clone() };
        std::iter::once(own).chain(here.filter_map(|(node, _)| gateway(node))).take(count).collect()
    }
}
