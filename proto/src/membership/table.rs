//! What is believed of every member, 44 bytes each, found by id and drawn at random.
//!
//! ```text
//! entries   here (alive, suspect) … │ away (down, left) …     in no order: a draw is one index
//! order     indices of the entries, sorted by id              a search is a binary one
//! ```
//!
//! Not here: timers, connections, addresses. What must hold: the first `here` entries are alive or suspect, the others are not, and
//! `order` names each entry once.

use sha2::{Digest, Sha256};

use super::Liveness;
use crate::params::RING_STEPS_MAX;
use crate::record::NodeId;
use crate::selection::Chance;

/// What is believed of one member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Member {
    pub(super) node: NodeId,
    pub(super) counter: u32,
    pub(super) liveness: Liveness,
}

impl Member {
    /// Whether it is more than what everybody believes of a node it has only the record of. A suspicion is no news yet.
    pub(super) const fn is_news(&self) -> bool {
        self.counter > 0 || self.liveness.is_away()
    }

    /// Its part of the hash; 0 when it is no news.
    pub(super) fn token(&self) -> u64 {
        if !self.is_news() {
            return 0;
        }
        let state = if self.liveness.is_away() { self.liveness.number() } else { Liveness::Alive.number() };
        let mut hasher = Sha256::new();
        hasher.update(self.node.0);
        hasher.update(self.counter.to_le_bytes());
        hasher.update([state]);
        let hash: [u8; 32] = hasher.finalize().into();
        u64::from_le_bytes(hash[..8].try_into().expect("eight of 32 bytes"))
    }
}

/// All members.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Member>,
    order: Vec<u32>,
    here: usize,
    hash: u64,
}

impl Table {
    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many are alive or suspect.
    pub(super) const fn here(&self) -> usize {
        self.here
    }

    /// XOR of all tokens.
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    /// Its place in the order, or where it would stand.
    fn place(&self, node: NodeId) -> Result<usize, usize> {
        self.order.binary_search_by(|at| self.entries[*at as usize].node.cmp(&node))
    }

    fn index(&self, node: NodeId) -> Option<usize> {
        self.place(node).ok().map(|place| self.order[place] as usize)
    }

    pub(super) fn get(&self, node: NodeId) -> Option<Member> {
        self.index(node).map(|at| self.entries[at])
    }

    /// Adds a member that nothing is known of, as alive. `false` when it was known.
    pub(super) fn insert(&mut self, node: NodeId) -> bool {
        let Err(place) = self.place(node) else { return false };
        let last = self.entries.len();
        // Tables are many in a simulation: they grow by an eighth, not to the double.
        if last == self.entries.capacity() {
            self.entries.reserve_exact(8 + last / 8);
            self.order.reserve_exact(8 + last / 8);
        }
        self.entries.push(Member { node, counter: 0, liveness: Liveness::Alive });
        self.order.insert(place, u32::try_from(last).expect("fewer members than 2^32"));
        self.swap(last, self.here);
        self.here += 1;
        true
    }

    pub(super) fn remove(&mut self, node: NodeId) -> Option<Member> {
        let member = self.get(node)?;
        // Who is away stands last: from there it goes without a gap.
        self.set(Member { liveness: Liveness::Down, counter: 0, ..member });
        self.hash ^= Member { liveness: Liveness::Down, counter: 0, ..member }.token();
        let at = self.index(node)?;
        self.swap(at, self.entries.len() - 1);
        if let Ok(place) = self.place(node) {
            self.order.remove(place);
        }
        self.entries.pop();
        Some(member)
    }

    /// Replaces what is believed of a member that is known.
    pub(super) fn set(&mut self, member: Member) {
        let Some(mut at) = self.index(member.node) else { return };
        self.hash ^= self.entries[at].token() ^ member.token();
        match (at < self.here, member.liveness.is_away()) {
            (true, true) => {
                self.here -= 1;
                self.swap(at, self.here);
                at = self.here;
            }
            (false, false) => {
                self.swap(at, self.here);
                at = self.here;
                self.here += 1;
            }
            _ => {}
        }
        self.entries[at] = member;
    }

    fn swap(&mut self, one: usize, other: usize) {
        if one == other {
            return;
        }
        let places = [one, other].map(|at| self.place(self.entries[at].node).expect("every entry has its place"));
        self.entries.swap(one, other);
        self.order.swap(places[0], places[1]);
    }

    /// Everybody, sorted.
    pub(super) fn iter(&self) -> impl Iterator<Item = Member> + '_ {
        self.order.iter().map(|at| self.entries[*at as usize])
    }

    /// Everybody who is alive or suspect, in no order.
    pub(super) fn all_here(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.entries[..self.here].iter().map(|member| member.node)
    }

    /// Everybody who is down or left, in no order.
    pub(super) fn all_away(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.entries[self.here..].iter().map(|member| member.node)
    }

    /// Any member that is alive or suspect.
    pub(super) fn draw_here(&self, chance: &mut Chance) -> Option<NodeId> {
        draw(&self.entries[..self.here], chance)
    }

    /// Any member that is down or left.
    pub(super) fn draw_away(&self, chance: &mut Chance) -> Option<NodeId> {
        draw(&self.entries[self.here..], chance)
    }

    /// The first after `node` in the ring of ids who is not away. Looks no further than [`RING_STEPS_MAX`].
    pub(super) fn after(&self, node: NodeId) -> Option<NodeId> {
        let from = self.place(node).map_or_else(|place| place, |place| place + 1);
        self.first_here((0..self.order.len()).map(|step| from + step))
    }

    /// The first before it.
    pub(super) fn before(&self, node: NodeId) -> Option<NodeId> {
        let (Ok(from) | Err(from)) = self.place(node);
        self.first_here((1..=self.order.len()).map(|step| from + self.order.len() - step))
    }

    fn first_here(&self, places: impl Iterator<Item = usize>) -> Option<NodeId> {
        let at = |place: usize| self.order[place % self.order.len()] as usize;
        let found = places.take(RING_STEPS_MAX).map(at).find(|at| *at < self.here);
        found.map(|at| self.entries[at].node)
    }
}

fn draw(from: &[Member], chance: &mut Chance) -> Option<NodeId> {
    let at = usize::try_from(chance.below(from.len() as u64)).ok()?;
    from.get(at).map(|member| member.node)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn id(number: u64) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        NodeId(bytes)
    }

    /// Inserts, changes and removals at random, against a sorted map.
    #[test]
    fn it_is_a_sorted_map_that_can_be_drawn_from() {
        let mut chance = Chance::new([3; 32]);
        let (mut table, mut model) = (Table::default(), BTreeMap::new());
        for _ in 0..5000 {
            let node = id(chance.below(60));
            let counter = u32::try_from(chance.below(3)).unwrap();
            let liveness = Liveness::of(u8::try_from(chance.below(4)).unwrap());
            let member = Member { node, counter, liveness };
            match chance.below(3) {
                0 => {
                    let plain = Member { node, counter: 0, liveness: Liveness::Alive };
                    assert_eq!(table.insert(node), !model.contains_key(&node));
                    model.entry(node).or_insert(plain);
                }
                1 => assert_eq!(table.remove(node), model.remove(&node)),
                _ => {
                    table.set(member);
                    model.entry(node).and_modify(|held| *held = member);
                }
            }
            assert!(table.iter().eq(model.values().copied()));
            assert_eq!(table.here(), model.values().filter(|member| !member.liveness.is_away()).count());
            assert_eq!(table.hash(), model.values().fold(0, |hash, member| hash ^ member.token()));
            assert!(table.all_here().all(|node| !model[&node].liveness.is_away()));
            assert!(table.all_away().all(|node| model[&node].liveness.is_away()));
            let ahead = |from: NodeId| model.range(from..).filter(move |(node, _)| **node != from);
            let here = |pair: &(&NodeId, &Member)| !pair.1.liveness.is_away();
            let first = ahead(node).chain(model.range(..=node)).find(here).map(|(node, _)| *node);
            assert_eq!(table.after(node), first);
        }
    }

    #[test]
    fn a_draw_is_uniform() {
        let mut table = Table::default();
        for number in 0..10 {
            table.insert(id(number));
        }
        for number in 0..4 {
            table.set(Member { node: id(number), counter: 0, liveness: Liveness::Down });
        }
        let mut chance = Chance::new([5; 32]);
        let mut drawn: BTreeMap<NodeId, u32> = BTreeMap::new();
        for _ in 0..6000 {
            *drawn.entry(table.draw_here(&mut chance).unwrap()).or_default() += 1;
        }
        assert_eq!(drawn.len(), 6);
        assert!(drawn.values().all(|count| (850..1150).contains(count)), "{drawn:?}");
        assert!(table.draw_away(&mut chance).is_some_and(|node| (0..4).any(|number| id(number) == node)));
    }

    #[test]
    fn a_member_takes_little_memory() {
        assert!(size_of::<Member>() + size_of::<u32>() <= 44);
    }
}
