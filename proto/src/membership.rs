//! Who is there: SWIM (Das et al. 2002) with Lifeguard (Dadgar et al. 2017), over the connections that stand.
//!
//! ```text
//!            probe fails, or a fellow says so            nobody refuted in time
//!   alive ──────────────────────────────────▶ suspect ──────────────────────────▶ down
//!     ▲                                          │                                  │
//!     └───────── the member says so, under a higher counter ◀───────────────────────┴── left: it said so
//! ```
//!
//! Members are whose node records are held; where they live stands there. Each is watched every [`PROBE_INTERVAL`] by the one before
//! it in the ring of ids, so that a crash is noticed within a bound, and in turn by all it is connected with, so that no two
//! deaths hide each other. A suspicion is news for everybody: whoever is connected with the suspect looks for itself, which in a large
//! zone, where few know a connection to it, is the indirect probe.
//!
//! Not here: addresses, dialling, what follows from somebody being away. Nothing of this is in the logs or their hash.
//!
//! What must hold: of two beliefs the one with the higher counter stands, of equal counters the worse; only a member itself raises its
//! counter, so nobody is down for ever who lives. Down that is heard of a member held alive is only a suspicion here: where two halves of
//! a zone meet, neither kills the other's. No wake walks over all members.
//!
//! An update of a member whose record has not come is dropped; the digest's hash differs then, and the repair brings it again.

mod active;
mod news;
mod probe;
mod suspicion;
mod table;
#[cfg(test)]
mod tests;
mod unheard;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use self::active::Active;
use self::news::News;
use self::probe::{Due, Probes};
use self::suspicion::Suspects;
use self::table::{Member, Table};
use self::unheard::Unheard;
use crate::params::{
    FANOUT, HEALTH_MAX, INDIRECT_PROBES, NEWS_PER_FRAME, NEWS_PER_PROBE, PROBE_INTERVAL, REPAIR_PATIENCE, REPAIR_PAUSE,
    STALL, STALL_GRACE, SUMMARY_PER_FRAME, VIEW_SIZE,
};
use crate::record::NodeId;
use crate::selection::Chance;
use crate::wire::message::{Ack, Members, Message, Ping, PingRequest, Update};

/// Messages to send, by peer.
pub type Sends = Vec<(NodeId, Message)>;

/// What is believed of a member, the better first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Liveness {
    /// It answers. Entered by a new record or a higher counter of the member itself.
    Alive,
    /// Somebody did not hear from it. Left by its refutation, or for [`Liveness::Down`] when none came in time.
    Suspect,
    /// It was suspected and did not refute. Left by its refutation; it is looked for, for ever.
    Down,
    /// It said that it stops. Left when it comes back and says so.
    Left,
}

impl Liveness {
    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// By its number on the wire; what a later version adds counts as down.
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Self::Alive,
            1 => Self::Suspect,
            3 => Self::Left,
            _ => Self::Down,
        }
    }

    /// As readers see it. A suspicion is not yet theirs to act on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Left => "left",
        }
    }

    /// Whether calls cannot reach it: down or left.
    pub const fn is_away(self) -> bool {
        matches!(self, Self::Down | Self::Left)
    }
}

/// How often what happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Probes that failed.
    pub failed: u64,
    /// Suspicions that ended in down, by this node's own wait.
    pub declared: u64,
    /// Times this node said that it is not what others believe.
    pub refuted: u64,
    /// Times it was woken too late to accuse anybody.
    pub stalled: u64,
    /// Exchanges of everything that differs from "alive".
    pub repaired: u64,
}

/// Fellow nodes of the own zone, without the node itself.
#[derive(Debug)]
pub struct Membership {
    me: Member,
    table: Table,
    active: Active,
    suspects: Suspects,
    probes: Probes,
    /// Who is probed in turn, the next one last.
    turn: Vec<NodeId>,
    probe_at: Duration,
    /// Nobody is accused before.
    listen_until: Duration,
    health: u32,
    news: News,
    /// When a difference to a fellow's hash is repaired, while there is one.
    repair_at: Option<Duration>,
    changed: BTreeMap<NodeId, Liveness>,
    unheard: Unheard,
    away: Option<Arc<BTreeSet<NodeId>>>,
    counts: Counts,
    now: Duration,
    sends: Sends,
}

impl Membership {
    /// A node that knows nobody.
    pub fn new(me: NodeId, now: Duration) -> Self {
        Self {
            me: Member { node: me, counter: 0, liveness: Liveness::Alive },
            table: Table::default(),
            active: Active::new(me, now),
            suspects: Suspects::default(),
            probes: Probes::default(),
            turn: Vec::new(),
            probe_at: now + PROBE_INTERVAL,
            listen_until: now,
            health: 0,
            news: News::default(),
            repair_at: None,
            changed: BTreeMap::new(),
            unheard: Unheard::default(),
            away: None,
            counts: Counts::default(),
            now,
            sends: Sends::new(),
        }
    }

    /// The record of a node is held. Unless it is known, it counts as alive until somebody says more.
    pub fn on_member(&mut self, node: NodeId) {
        if node != self.me.node && self.table.insert(node) {
            self.changed.insert(node, Liveness::Alive);
            self.active.stale = true;
            self.unheard.on_record(node);
        }
    }

    /// The record of a node is gone: whatever was believed of it is forgotten.
    pub fn on_gone(&mut self, node: NodeId) {
        if let Some(member) = self.table.remove(node) {
            if member.liveness.is_away() {
                self.away = None;
            }
            self.suspects.end(node);
            self.probes.end(node);
            self.news.forget(node);
            self.changed.remove(&node);
            self.unheard.end(node);
            self.active.stale = true;
        }
    }

    /// A connection with a fellow stands. Who is held for anything but alive hears so at once and can say that it is not.
    pub fn on_connected(
        &mut self,
        node: NodeId,
        dialled: bool,
        rtt: Duration,
        now: Duration,
        chance: &mut Chance,
    ) -> Sends {
        self.wake(now);
        self.unheard.end(node);
        self.active.connect(node, dialled, rtt, now);
        if self.probes.end(node) {
            self.probe(node, chance);
        }
        self.tell(node);
        self.finish(chance)
    }

    /// The last connection with a fellow ended. `lost`: without a word, so that the fellow or the way to it may be broken; it is looked
    /// for at once. Otherwise somebody gave the connection up.
    pub fn on_disconnected(&mut self, node: NodeId, lost: bool, now: Duration, chance: &mut Chance) -> Sends {
        self.wake(now);
        self.active.disconnect(node);
        if lost {
            self.look_for(node, chance);
        } else {
            self.active.refused(node, now);
            self.probes.end(node);
        }
        self.finish(chance)
    }

    /// A node of [`wanted`](Self::wanted) could not be reached. Nobody may be connected with it, so this counts as a ping that was
    /// not answered: the record of somebody who died before all others restarted does not live for ever.
    pub fn on_unreached(&mut self, node: NodeId, now: Duration, chance: &mut Chance) -> Sends {
        self.wake(now);
        self.active.refused(node, now);
        self.look_for(node, chance);
        self.finish(chance)
    }

    /// A message of a kind that membership does not read came from a fellow: it lives, and a probe of it has ended well.
    pub fn on_heard(&mut self, from: NodeId) {
        self.unheard.end(from);
        if self.probes.end(from) {
            self.health = self.health.saturating_sub(1);
        }
    }

    /// Local health multiplier (Lifeguard §3.1): 0 is best, `HEALTH_MAX` worst; how much longer than usual probes wait.
    pub const fn health(&self) -> u32 {
        self.health
    }

    /// A fellow's probe.
    pub fn on_ping(&mut self, from: NodeId, ping: &Ping, now: Duration, chance: &mut Chance) -> Sends {
        self.begin(from, &ping.updates, now, chance);
        let updates = self.beside(from);
        self.sends.push((from, Ack { number: ping.number, updates }.into()));
        self.finish(chance)
    }

    /// The answer to a probe of ours, or to one we made for another.
    pub fn on_ack(&mut self, from: NodeId, ack: &Ack, now: Duration, chance: &mut Chance) -> Sends {
        if let Some(probe) = self.probes.take(ack.number, from) {
            self.health = self.health.saturating_sub(1);
            if probe.target == from {
                self.active.on_rtt(from, now.saturating_sub(probe.sent));
            }
        } else if let Some((asker, number)) = self.probes.take_relay(ack.number, from) {
            let updates = self.beside(asker);
            self.sends.push((asker, Ack { number, updates }.into()));
        }
        self.begin(from, &ack.updates, now, chance);
        self.finish(chance)
    }

    /// A fellow asks us to probe somebody. Over a connection that stands, or not at all.
    pub fn on_ping_request(&mut self, from: NodeId, ask: &PingRequest, now: Duration, chance: &mut Chance) -> Sends {
        self.begin(from, &ask.updates, now, chance);
        let number = number_of(chance);
        if self.active.is_linked(ask.target) && self.probes.relay(number, ask.target, (from, ask.number), now) {
            let updates = self.beside(ask.target);
            self.sends.push((ask.target, Ping { number, updates }.into()));
        }
        self.finish(chance)
    }

    /// News from a fellow. With `reply` it is answered with what is believed of those it names, or of everybody when it names nobody.
    pub fn on_members(&mut self, from: NodeId, members: &Members, now: Duration, chance: &mut Chance) -> Sends {
        self.begin(from, &members.updates, now, chance);
        if members.reply && members.updates.is_empty() {
            let due = self.active.get_mut(from).filter(|link| link.summary_at <= now);
            if let Some(link) = due {
                link.summary_at = now + REPAIR_PAUSE;
                self.send_summary(from);
            }
        } else if members.reply {
            let beliefs = members.updates.iter().filter_map(|update| self.belief(update.node));
            let updates = beliefs.take(NEWS_PER_FRAME).collect();
            self.sends.push((from, Members { updates, reply: false }.into()));
        }
        self.finish(chance)
    }

    /// The hash of a fellow's digest. A difference that lasts is repaired: both tell each other everything.
    pub fn on_digest(&mut self, from: NodeId, members: u64, now: Duration) -> Sends {
        if members == self.hash() {
            self.repair_at = None;
            self.unheard.on_agreed();
            return Sends::new();
        }
        if *self.repair_at.get_or_insert(now + REPAIR_PATIENCE) > now {
            return Sends::new();
        }
        self.repair_at = Some(now + REPAIR_PAUSE);
        self.counts.repaired += 1;
        self.send_summary(from);
        self.sends.push((from, Members { updates: Vec::new(), reply: true }.into()));
        std::mem::take(&mut self.sends)
    }

    /// A fellow said that it stops.
    pub fn on_leave(&mut self, node: NodeId, now: Duration, chance: &mut Chance) -> Sends {
        self.wake(now);
        if let Some(member) = self.table.get(node).filter(|member| member.liveness != Liveness::Left) {
            self.believe(Member { liveness: Liveness::Left, ..member }, node, false, chance);
        }
        self.finish(chance)
    }

    /// This node stops: everybody connected hears it and tells the others. It refutes nothing from now on.
    pub fn leave(&mut self) -> Sends {
        self.me.liveness = Liveness::Left;
        let message: Message = Members { updates: vec![self.own_belief()], reply: false }.into();
        self.active.nodes().map(|node| (node, message.clone())).collect()
    }

    /// Does what is due by `now`.
    pub fn on_time(&mut self, now: Duration, chance: &mut Chance) -> Sends {
        self.wake(now);
        self.act_on_probes(chance);
        while let Some((node, hearsay)) = self.suspects.take_due(now) {
            self.declare_down(node, hearsay, chance);
        }
        if now >= self.probe_at {
            self.probe_at = now + chance.jitter(PROBE_INTERVAL);
            self.probe_next(chance);
        }
        self.finish(chance)
    }

    /// When [`on_time`](Self::on_time) or [`wanted`](Self::wanted) has something to do.
    pub fn next_deadline(&self) -> Duration {
        let news = self.news.due().filter(|_| self.active.nodes().len() > 0);
        let others = [self.probes.next_due(), self.suspects.next_due(), news];
        others.into_iter().flatten().fold(self.probe_at.min(self.active.next_look()), Duration::min)
    }

    /// Whom to dial. Each is named once in a while, until it is connected or [`on_unreached`](Self::on_unreached).
    pub fn wanted(&mut self, now: Duration, chance: &mut Chance) -> Vec<NodeId> {
        if now < self.active.next_look() {
            return Vec::new();
        }
        let lost = self.probes.missed();
        self.active.wanted(&self.table, &lost, now, chance)
    }

    /// Whose connections to give up.
    pub fn surplus(&mut self) -> Vec<NodeId> {
        self.active.surplus(&self.table)
    }

    /// Whether a connection that `node` dialled is welcome.
    pub fn accepts(&self, node: NodeId) -> bool {
        self.active.accepts(node, &self.table)
    }

    /// XOR of a hash of everybody who is away or has ever refuted, this node included: order-free, equal where beliefs are.
    /// A suspicion counts as alive. Who wanted two different beliefs to hash alike could, but whoever can raise counters of others
    /// can lie about them outright (PROTOCOL.md §16, T17).
    pub fn hash(&self) -> u64 {
        self.table.hash() ^ self.me.token()
    }

    /// What [`hash`](Self::hash) is the hash of, sorted.
    pub fn summary(&self) -> Vec<Update> {
        let mut members: Vec<Member> = self.table.iter().chain([self.me]).filter(Member::is_news).collect();
        members.sort_by_key(|member| member.node);
        members.into_iter().map(|member| self.update(member)).collect()
    }

    /// Whose liveness changed since this was asked last, sorted, with what it is now.
    pub fn take_events(&mut self) -> Vec<(NodeId, Liveness)> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    /// Everybody who is down or left, shared until that changes.
    pub fn not_alive(&mut self) -> Arc<BTreeSet<NodeId>> {
        self.away.get_or_insert_with(|| Arc::new(self.table.all_away().collect())).clone()
    }

    /// What is believed of a member; `None` without its record.
    pub fn liveness(&self, node: NodeId) -> Option<Liveness> {
        self.table.get(node).map(|member| member.liveness)
    }

    /// Those who are held for alive and were not heard since this node began, neither by it nor, as far as it knows, by a fellow.
    pub const fn unheard(&self) -> &BTreeSet<NodeId> {
        self.unheard.nodes()
    }

    /// Whether one of them was heard since this was asked last.
    pub const fn take_heard(&mut self) -> bool {
        self.unheard.take_change()
    }

    /// Everybody, sorted. Walks over all: for views and lists, never for a wake.
    pub fn all(&self) -> impl Iterator<Item = (NodeId, Liveness)> + '_ {
        self.table.iter().map(|member| (member.node, member.liveness))
    }

    /// Members, this node not counted.
    pub const fn count(&self) -> usize {
        self.table.len()
    }

    /// Those of them that are alive or suspect.
    pub const fn alive_count(&self) -> usize {
        self.table.here()
    }

    /// How often what happened.
    pub const fn counts(&self) -> Counts {
        self.counts
    }
}

/// What is believed, and how that changes.
impl Membership {
    fn begin(&mut self, from: NodeId, updates: &[Update], now: Duration, chance: &mut Chance) {
        self.wake(now);
        self.on_heard(from);
        for update in updates {
            self.hear(*update, chance);
        }
    }

    fn hear(&mut self, update: Update, chance: &mut Chance) {
        if update.node == self.me.node {
            self.hear_of_me(update);
            return;
        }
        let Some(held) = self.table.get(update.node) else { return };
        let mut liveness = Liveness::of(update.state);
        let hearsay = liveness == Liveness::Down && !self.expects_down(held, update.counter);
        if hearsay {
            liveness = Liveness::Suspect;
        }
        let heard = Member { node: update.node, counter: update.counter, liveness };
        if (heard.counter, heard.liveness) > (held.counter, held.liveness) {
            self.believe(heard, update.by, hearsay, chance);
        } else if heard == held
            && liveness == Liveness::Suspect
            && !hearsay
            && self.suspects.confirm(update.node, update.by)
        {
            self.spread(update);
        }
    }

    /// Whether that somebody is down is more than hearsay: it is away already, or was suspected under that counter and had its time to
    /// say that it lives. However many say so: the whole other half of a zone does.
    fn expects_down(&self, held: Member, counter: u32) -> bool {
        let had_its_time = held.counter == counter && !self.suspects.is_hearsay(held.node);
        held.liveness.is_away() || held.liveness == Liveness::Suspect && had_its_time
    }

    /// The first that others say of us tells which counter they hold; what is worse than alive is refuted.
    fn hear_of_me(&mut self, update: Update) {
        let is_worse = Liveness::of(update.state) != Liveness::Alive;
        let is_current = update.counter > self.me.counter || (is_worse && update.counter == self.me.counter);
        if self.me.liveness == Liveness::Left || !is_current {
            return;
        }
        self.me.counter = update.counter;
        if is_worse {
            // A counter at its end cannot be reached by refuting: admitted members are not that hostile.
            self.me.counter = update.counter.saturating_add(1);
            self.health = (self.health + 1).min(HEALTH_MAX);
            self.counts.refuted += 1;
            self.spread(self.own_belief());
        }
    }

    /// Replaces a belief by a stronger one, and everything that hangs on it.
    fn believe(&mut self, member: Member, by: NodeId, hearsay: bool, chance: &mut Chance) {
        let Some(held) = self.table.get(member.node) else { return };
        self.table.set(member);
        self.unheard.end(member.node);
        if held.liveness != member.liveness {
            self.changed.insert(member.node, member.liveness);
        }
        if held.liveness.is_away() || member.liveness.is_away() {
            self.away = None;
            self.active.stale = true;
        }
        self.suspects.end(member.node);
        match member.liveness {
            Liveness::Alive => {}
            Liveness::Suspect => {
                self.suspects.begin(member.node, by, hearsay, self.table.len() + 1, self.now);
                self.look_for_myself(member.node, by, chance);
            }
            Liveness::Down | Liveness::Left => {
                self.probes.end(member.node);
                self.tell(member.node);
            }
        }
        if !hearsay {
            self.spread(Update { by, ..self.update(member) });
        }
    }

    /// A fellow is suspected. Whoever is connected with it probes it, which also tells it; in a zone that is connected throughout,
    /// about as many as a view has.
    fn look_for_myself(&mut self, suspect: NodeId, by: NodeId, chance: &mut Chance) {
        if !self.active.is_linked(suspect) {
            return;
        }
        if by == self.me.node {
            self.tell(suspect);
        } else if chance.below(self.active.nodes().len() as u64) < VIEW_SIZE as u64 {
            self.probe(suspect, chance);
        }
    }

    fn declare_down(&mut self, node: NodeId, hearsay: bool, chance: &mut Chance) {
        if let Some(member) = self.table.get(node) {
            self.counts.declared += 1;
            // What is told everywhere already is not told again.
            self.believe(Member { liveness: Liveness::Down, ..member }, self.me.node, hearsay, chance);
        }
    }

    /// Nobody is suspect or away: nearly always, and cheap to say.
    fn all_is_well(&self) -> bool {
        self.suspects.is_empty() && self.table.here() == self.table.len()
    }

    fn spread(&mut self, update: Update) {
        self.news.add(update, self.table.len() + 1);
    }

    const fn own_belief(&self) -> Update {
        let Member { node, counter, liveness } = self.me;
        Update { node, counter, state: liveness.number(), by: node }
    }

    fn belief(&self, node: NodeId) -> Option<Update> {
        let member = if node == self.me.node { Some(self.me) } else { self.table.get(node) };
        member.map(|member| self.update(member))
    }

    fn update(&self, member: Member) -> Update {
        let by = self.suspects.first_accuser(member.node).unwrap_or(self.me.node);
        Update { node: member.node, counter: member.counter, state: member.liveness.number(), by }
    }

    /// Whoever is not simply alive hears it over its own connection, and is asked what it says.
    fn tell(&mut self, node: NodeId) {
        let belief = self.belief(node).filter(|update| update.state != Liveness::Alive.number());
        if let Some(update) = belief.filter(|_| self.active.is_linked(node)) {
            self.sends.push((node, Members { updates: vec![update], reply: true }.into()));
        }
    }

    fn send_summary(&mut self, to: NodeId) {
        for updates in self.summary().chunks(SUMMARY_PER_FRAME) {
            self.sends.push((to, Members { updates: updates.to_vec(), reply: false }.into()));
        }
    }

    /// What travels beside a probe: what the receiver should know of itself first, then news.
    fn beside(&mut self, to: NodeId) -> Vec<Update> {
        let own = if self.all_is_well() { None } else { self.table.get(to) };
        let own = own.filter(|member| member.liveness != Liveness::Alive);
        let mut updates: Vec<Update> = own.map(|member| self.update(member)).into_iter().collect();
        updates.extend(self.news.take(NEWS_PER_PROBE - updates.len(), 1));
        updates
    }

    /// Tells news that are due, and hands over what is to be sent.
    fn finish(&mut self, chance: &mut Chance) -> Sends {
        if self.news.due().is_some_and(|due| due <= self.now) {
            let peers = self.active.sample(FANOUT, None, chance);
            if !peers.is_empty() {
                let updates = self.news.tell(NEWS_PER_FRAME, peers.len(), self.now);
                let message: Message = Members { updates, reply: false }.into();
                self.sends.extend(peers.into_iter().map(|peer| (peer, message.clone())));
            }
        }
        std::mem::take(&mut self.sends)
    }
}

/// Probes.
impl Membership {
    /// The one that this node watches, and the next in turn of all it is connected with.
    fn probe_next(&mut self, chance: &mut Chance) {
        let watched = self.table.after(self.me.node).filter(|node| self.active.is_linked(*node));
        let in_turn = self.next_in_turn(chance);
        for node in [watched, in_turn].into_iter().flatten() {
            self.probe(node, chance);
        }
    }

    fn next_in_turn(&mut self, chance: &mut Chance) -> Option<NodeId> {
        if self.turn.is_empty() {
            let all: Vec<NodeId> = self.active.nodes().collect();
            self.turn = chance.sample(&all, all.len());
        }
        while let Some(node) = self.turn.pop() {
            let is_here = |node| self.table.get(node).is_some_and(|member| !member.liveness.is_away());
            if self.active.is_linked(node) && (self.all_is_well() || is_here(node)) {
                return Some(node);
            }
        }
        None
    }

    fn probe(&mut self, node: NodeId, chance: &mut Chance) {
        let (number, warm, rtt) = (number_of(chance), self.active.is_linked(node), self.active.rtt(node));
        let begun = self.probes.begin((number, node), warm, rtt, self.health + 1, self.listen_until, self.now);
        if begun && warm {
            let updates = self.beside(node);
            self.sends.push((node, Ping { number, updates }.into()));
        }
    }

    /// Probes somebody without a connection: through fellows, and by dialling.
    fn look_for(&mut self, node: NodeId, chance: &mut Chance) {
        let is_here = self.table.get(node).is_some_and(|member| !member.liveness.is_away());
        if is_here && !self.active.is_linked(node) {
            self.probe(node, chance);
            self.act_on_probes(chance);
        }
    }

    fn act_on_probes(&mut self, chance: &mut Chance) {
        for due in self.probes.take_due(self.now) {
            match due {
                Due::Ask(target) => self.ask_for(target, chance),
                Due::Failed(target) => self.on_failed(target, chance),
            }
        }
    }

    /// The second part of a probe: the stream loses nothing, fellows may have another way, and who has no connection is dialled.
    fn ask_for(&mut self, target: NodeId, chance: &mut Chance) {
        if self.active.is_linked(target) {
            let updates = self.belief(target).into_iter().collect();
            self.sends.push((target, Members { updates, reply: true }.into()));
        } else {
            self.active.stale = true;
        }
        let relays = self.active.sample(INDIRECT_PROBES, Some(target), chance);
        if let Some(number) = self.probes.ask(target, &relays) {
            let ask: Message = PingRequest { number, target, updates: Vec::new() }.into();
            self.sends.extend(relays.into_iter().map(|fellow| (fellow, ask.clone())));
        }
    }

    fn on_failed(&mut self, target: NodeId, chance: &mut Chance) {
        self.counts.failed += 1;
        self.health = (self.health + 1).min(HEALTH_MAX);
        if let Some(member) = self.table.get(target) {
            let state = Liveness::Suspect.number();
            self.hear(Update { node: target, counter: member.counter, state, by: self.me.node }, chance);
        }
    }

    /// Every input begins here, because any may be the first after a sleep: what was missed comes first then, and nobody is accused
    /// of this node's own silence.
    fn wake(&mut self, now: Duration) {
        self.now = now;
        if now <= self.probe_at + STALL {
            return;
        }
        self.probe_at = now;
        self.counts.stalled += 1;
        self.health = (self.health + 1).min(HEALTH_MAX);
        self.listen_until = self.now + STALL_GRACE;
        self.probes.postpone(self.listen_until);
        self.suspects.postpone(self.listen_until);
    }
}

/// The number of a probe: one that nobody can guess.
fn number_of(chance: &mut Chance) -> u32 {
    chance.number() as u32
}
