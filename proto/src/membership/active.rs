//! With whom this node is connected, and with whom it would like to be.
//!
//! Up to [`VIEW_ALL`] members everybody knows everybody. Above, each keeps [`VIEW_OWN`] connections it dialled, to members drawn at
//! random, and to the next in the ring of ids, which it watches; it accepts as many as [`VIEW_SIZE`]. A new own connection comes first, then
//! the oldest is given up, so the graph is never thinner than it should be.
//!
//! Not here: addresses, dialling, retries of one address. These are wishes; whoever dials says how they went.

use std::collections::BTreeMap;
use std::time::Duration;

use super::table::Table;
use crate::params::{
    AWAY_CONTACT, PROBE_INTERVAL, RTT_UNKNOWN, VIEW_ALL, VIEW_ALL_AGAIN, VIEW_DIALS_MAX, VIEW_OWN, VIEW_RETRY,
    VIEW_ROTATION, VIEW_SIZE,
};
use crate::record::NodeId;
use crate::selection::Chance;

/// Draws for one free place; the others are tried a second later.
const DRAWS_MAX: usize = 16;

/// A connection that stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) node: NodeId,
    /// Whether this node dialled.
    own: bool,
    since: Duration,
    rtt: Duration,
    /// When it may have everything that is believed again.
    pub(super) summary_at: Duration,
}

/// A wish that was said.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// Nothing was heard of it yet.
    open: bool,
    /// It is not said again before.
    until: Duration,
}

/// The connections of one node.
#[derive(Debug)]
pub(super) struct Active {
    me: NodeId,
    /// Sorted by node; at most as many as there are members.
    links: Vec<Link>,
    own: usize,
    /// Everybody is wanted.
    all: bool,
    wishes: BTreeMap<NodeId, Wish>,
    /// Something changed: look again at the next wake.
    pub(super) stale: bool,
    look_at: Duration,
    rotate_at: Duration,
    away_at: Duration,
    /// One own connection more than needed, so that the oldest can go.
    rotating: bool,
}

impl Active {
    pub(super) fn new(me: NodeId, now: Duration) -> Self {
        Self {
            me,
            links: Vec::new(),
            own: 0,
            all: true,
            wishes: BTreeMap::new(),
            stale: true,
            look_at: now,
            rotate_at: now + VIEW_ROTATION,
            away_at: now,
            rotating: false,
        }
    }

    pub(super) fn nodes(&self) -> impl ExactSizeIterator<Item = NodeId> + '_ {
        self.links.iter().map(|link| link.node)
    }

    fn place(&self, node: NodeId) -> Result<usize, usize> {
        self.links.binary_search_by(|link| link.node.cmp(&node))
    }

    pub(super) fn is_linked(&self, node: NodeId) -> bool {
        self.place(node).is_ok()
    }

    pub(super) fn get_mut(&mut self, node: NodeId) -> Option<&mut Link> {
        let place = self.place(node).ok()?;
        self.links.get_mut(place)
    }

    /// Estimate of the time to that node and back.
    pub(super) fn rtt(&self, node: NodeId) -> Duration {
        self.place(node).map_or(RTT_UNKNOWN, |place| self.links[place].rtt)
    }

    /// One more measured round trip weighs an eighth (RFC 6298 §2).
    pub(super) fn on_rtt(&mut self, node: NodeId, sample: Duration) {
        if let Some(link) = self.get_mut(node) {
            link.rtt = (link.rtt * 7 + sample) / 8;
        }
    }

    /// Up to `count` connected fellows, without one.
    pub(super) fn sample(&self, count: usize, without: Option<NodeId>, chance: &mut Chance) -> Vec<NodeId> {
        let others: Vec<NodeId> = self.nodes().filter(|node| Some(*node) != without).collect();
        chance.sample(&others, count)
    }

    pub(super) fn connect(&mut self, node: NodeId, own: bool, rtt: Duration, now: Duration) {
        self.wishes.remove(&node);
        self.stale = true;
        match self.place(node) {
            Ok(place) => {
                self.own += usize::from(own && !self.links[place].own);
                self.links[place].own |= own;
            }
            Err(place) => {
                // Whoever takes its time with a handshake is not probed the slower for it.
                let rtt = rtt.min(PROBE_INTERVAL);
                let link = Link { node, own, since: now, rtt, summary_at: now };
                self.links.insert(place, link);
                self.own += usize::from(own);
            }
        }
    }

    pub(super) fn disconnect(&mut self, node: NodeId) {
        if let Ok(place) = self.place(node) {
            self.own -= usize::from(self.links.remove(place).own);
            self.stale = true;
        }
    }

    /// A wish was not granted, or not for long; another member may do, this one is asked for later.
    pub(super) fn refused(&mut self, node: NodeId, now: Duration) {
        self.wishes.insert(node, Wish { open: false, until: now + VIEW_RETRY });
        self.stale = true;
    }

    /// When [`wanted`](Self::wanted) has to be asked again, if nothing happens before.
    pub(super) fn next_look(&self) -> Duration {
        if self.stale { Duration::ZERO } else { self.look_at }
    }

    /// Whom to dial now, each said once in [`VIEW_RETRY`]. `urgent` are members whose connection was lost and who may be gone.
    pub(super) fn wanted(
        &mut self,
        table: &Table,
        urgent: &[NodeId],
        now: Duration,
        chance: &mut Chance,
    ) -> Vec<NodeId> {
        if now < self.next_look() {
            return Vec::new();
        }
        self.stale = false;
        self.wishes.retain(|_, wish| now < wish.until);
        let members = table.here() + 1;
        self.all = members <= if self.all { VIEW_ALL } else { VIEW_ALL_AGAIN };
        let mut wanted = Vec::new();
        for node in urgent {
            self.wish(*node, now, &mut wanted);
        }
        if self.all {
            for node in table.all_here() {
                self.wish(node, now, &mut wanted);
            }
        } else {
            self.want_some(table, now, chance, &mut wanted);
        }
        if now >= self.away_at {
            self.away_at = now + chance.jitter(AWAY_CONTACT);
            if let Some(node) = table.draw_away(chance) {
                self.wish(node, now, &mut wanted);
            }
        }
        // A place that stayed free is looked at again after a while.
        self.look_at = self.away_at.min(if self.all { Duration::MAX } else { self.rotate_at });
        if self.is_short(table) {
            self.look_at = self.look_at.min(now + PROBE_INTERVAL);
        }
        wanted
    }

    fn want_some(&mut self, table: &Table, now: Duration, chance: &mut Chance, wanted: &mut Vec<NodeId>) {
        if now >= self.rotate_at {
            self.rotate_at = now + chance.jitter(VIEW_ROTATION);
            self.rotating = true;
        }
        if let Some(next) = table.after(self.me) {
            self.wish(next, now, wanted);
        }
        let places = (VIEW_OWN + usize::from(self.rotating)).saturating_sub(self.own + self.open_wishes());
        for _ in 0..places {
            let granted = (0..DRAWS_MAX).any(|_| table.draw_here(chance).is_some_and(|n| self.wish(n, now, wanted)));
            if !granted {
                break;
            }
        }
    }

    /// Says a wish, unless it is granted, said already, or too many are open.
    fn wish(&mut self, node: NodeId, now: Duration, wanted: &mut Vec<NodeId>) -> bool {
        let known = node == self.me || self.is_linked(node) || self.wishes.contains_key(&node);
        if known || self.open_wishes() >= VIEW_DIALS_MAX {
            return false;
        }
        self.wishes.insert(node, Wish { open: true, until: now + VIEW_RETRY });
        wanted.push(node);
        true
    }

    fn open_wishes(&self) -> usize {
        self.wishes.values().filter(|wish| wish.open).count()
    }

    fn is_short(&self, table: &Table) -> bool {
        if self.all {
            // Who is connected need not be a member, or be held for alive: the number alone says nothing.
            return table.all_here().any(|node| !self.is_linked(node));
        }
        self.own < VIEW_OWN.min(table.here())
    }

    /// Connections to give up: own ones above [`VIEW_OWN`] and accepted ones above [`VIEW_SIZE`], the oldest first, and never those
    /// of the ring.
    pub(super) fn surplus(&mut self, table: &Table) -> Vec<NodeId> {
        let accepted = self.links.len() - self.own;
        if self.all || (self.own <= VIEW_OWN && accepted <= VIEW_SIZE) {
            return Vec::new();
        }
        self.rotating = false;
        let ring = [table.after(self.me), table.before(self.me)];
        let mut given_up = self.oldest(true, self.own.saturating_sub(VIEW_OWN), ring);
        given_up.extend(self.oldest(false, accepted.saturating_sub(VIEW_SIZE), ring));
        given_up
    }

    fn oldest(&self, own: bool, count: usize, without: [Option<NodeId>; 2]) -> Vec<NodeId> {
        let may_go = |link: &&Link| link.own == own && !without.contains(&Some(link.node));
        let mut links: Vec<&Link> = self.links.iter().filter(may_go).collect();
        links.sort_by_key(|link| link.since);
        links.into_iter().take(count).map(|link| link.node).collect()
    }

    /// Whether a connection dialled by `node` is welcome. Who is new or was away always is, and whoever watches this node.
    pub(super) fn accepts(&self, node: NodeId, table: &Table) -> bool {
        let is_member = table.get(node).is_some_and(|member| !member.liveness.is_away());
        let room = self.all || self.links.len() - self.own < VIEW_SIZE;
        room || !is_member || self.is_linked(node) || table.before(self.me) == Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Liveness;
    use crate::membership::table::Member;

    fn id(number: u64) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        NodeId(bytes)
    }

    fn zone(count: u64) -> (Active, Table, Chance) {
        let mut table = Table::default();
        for number in 1..count {
            table.insert(id(number));
        }
        (Active::new(id(0), Duration::ZERO), table, Chance::new([7; 32]))
    }

    /// Grants every wish at once.
    fn settle(active: &mut Active, table: &Table, now: Duration, chance: &mut Chance) -> usize {
        let mut dials = 0;
        while active.next_look() <= now {
            for node in active.wanted(table, &[], now, chance) {
                active.connect(node, true, RTT_UNKNOWN, now);
                dials += 1;
            }
            for node in active.surplus(table) {
                active.disconnect(node);
            }
        }
        dials
    }

    #[test]
    fn a_small_zone_is_connected_throughout() {
        let (mut active, table, mut chance) = zone(VIEW_ALL as u64);
        assert_eq!(active.wanted(&table, &[], Duration::ZERO, &mut chance).len(), VIEW_DIALS_MAX);
        let (mut active, table, mut chance) = zone(VIEW_ALL as u64);
        assert_eq!(settle(&mut active, &table, Duration::ZERO, &mut chance), VIEW_ALL - 1);
        assert!(active.surplus(&table).is_empty() && active.accepts(id(5), &table));
    }

    #[test]
    fn whoever_is_missing_is_asked_for_again_whoever_else_is_connected() {
        let (mut active, table, mut chance) = zone(3);
        let (stranger, missing) = (id(70), id(2));
        for node in [stranger, id(1)] {
            active.connect(node, false, RTT_UNKNOWN, Duration::ZERO);
        }
        assert_eq!(active.wanted(&table, &[], Duration::ZERO, &mut chance), [missing]);
        active.refused(missing, Duration::ZERO);
        let said = (0..=11).filter(|second| {
            let now = Duration::from_secs(*second);
            active.next_look() <= now && active.wanted(&table, &[], now, &mut chance) == [missing]
        });
        assert_eq!(said.collect::<Vec<u64>>(), [10]);
    }

    #[test]
    fn a_large_zone_is_seen_in_part_and_the_part_changes() {
        let (mut active, table, mut chance) = zone(1000);
        settle(&mut active, &table, Duration::ZERO, &mut chance);
        assert_eq!(active.own, VIEW_OWN);
        let next = table.after(id(0)).unwrap();
        assert!(active.is_linked(next));
        let first: Vec<NodeId> = active.nodes().collect();
        let mut dials = 0;
        for second in 1..=300 {
            dials += settle(&mut active, &table, Duration::from_secs(second), &mut chance);
            assert_eq!(active.own, VIEW_OWN);
            assert!(active.is_linked(next));
        }
        assert!((20..40).contains(&dials), "one each ten seconds, not {dials}");
        assert!(first.iter().filter(|node| active.is_linked(**node)).count() <= 2, "the oldest went");
    }

    #[test]
    fn a_lost_connection_is_replaced_at_once_and_an_unreached_member_by_another() {
        let (mut active, table, mut chance) = zone(1000);
        let now = Duration::from_secs(1);
        settle(&mut active, &table, now, &mut chance);
        let lost = active.nodes().find(|node| Some(*node) != table.after(id(0))).unwrap();
        active.disconnect(lost);
        let wanted = active.wanted(&table, &[], now, &mut chance);
        assert_eq!(wanted.len(), 1);
        active.refused(wanted[0], now);
        let other = active.wanted(&table, &[], now, &mut chance);
        assert_eq!(other.len(), 1);
        assert_ne!(wanted, other);
    }

    #[test]
    fn accepting_ends_where_the_view_is_full_but_not_for_the_watcher_and_the_lost() {
        let (mut active, mut table, mut chance) = zone(1000);
        settle(&mut active, &table, Duration::ZERO, &mut chance);
        let watcher = table.before(id(0)).unwrap();
        let mut others = (1..1000).map(id).filter(|node| *node != watcher);
        let mut accepted = 0;
        while let Some(node) = others.next().filter(|_| accepted < VIEW_SIZE) {
            if !active.is_linked(node) {
                assert!(active.accepts(node, &table));
                active.connect(node, false, RTT_UNKNOWN, Duration::ZERO);
                accepted += 1;
            }
        }
        let refused = others.find(|node| !active.is_linked(*node)).unwrap();
        assert!(!active.accepts(refused, &table) && active.accepts(watcher, &table));
        table.set(Member { node: refused, counter: 0, liveness: Liveness::Down });
        assert!(active.accepts(refused, &table));
        active.connect(refused, false, RTT_UNKNOWN, Duration::from_secs(1));
        let given_up = active.surplus(&table);
        assert_eq!(given_up.len(), 1);
        assert_ne!(given_up[0], refused);
    }

    #[test]
    fn who_is_away_is_looked_for_slowly_and_for_ever() {
        let (mut active, mut table, mut chance) = zone(11);
        for number in 1..11 {
            table.set(Member { node: id(number), counter: 0, liveness: Liveness::Down });
        }
        let mut dials = 0;
        for second in 1..=1000 {
            let now = Duration::from_secs(second);
            for node in active.wanted(&table, &[], now, &mut chance) {
                active.refused(node, now);
                dials += 1;
            }
        }
        assert!((70..=130).contains(&dials), "one each ten seconds, not {dials}");
    }
}
