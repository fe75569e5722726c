//! What is held of each of many nodes, one item a node, sorted by id. The id is read from the item, so that nothing but the items takes
//! memory: in a large zone every node holds several of these lists, each with an item for every other node.
//!
//! For items of a word or two and as many nodes as a zone may have: an insertion moves what stands behind it.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use super::{NodeId, SignedRef};

/// Something that is held of one node.
pub trait OfNode {
    /// Which. It must not change as long as the item is held.
    fn node(&self) -> &NodeId;
}

/// A record of its origin.
impl OfNode for SignedRef {
    fn node(&self) -> &NodeId {
        self.record.node_ref()
    }
}

/// A sorted map from nodes to what is held of them, whose keys stand in its values.
#[derive(Clone, Debug)]
pub struct ByNode<T> {
    items: Vec<T>,
}

impl<T> Default for ByNode<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T: OfNode> ByNode<T> {
    /// Its place, or where it would stand. At the end that costs one comparison: stores are read in order.
    fn place(&self, node: NodeId) -> Result<usize, usize> {
        match self.items.last().map(|last| last.node().cmp(&node)) {
            None | Some(Ordering::Less) => Err(self.items.len()),
            Some(Ordering::Equal) => Ok(self.items.len() - 1),
            Some(Ordering::Greater) => self.items.binary_search_by(|item| item.node().cmp(&node)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.place(node).is_ok()
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&T> {
        self.place(node).ok().map(|place| &self.items[place])
    }

    /// What is held of a node, to be changed.
    pub(crate) fn get_mut(&mut self, node: NodeId) -> Option<&mut T> {
        self.place(node).ok().map(|place| &mut self.items[place])
    }

    /// Holds an item, and returns the one that it replaces.
    pub(crate) fn insert(&mut self, item: T) -> Option<T> {
        match self.place(*item.node()) {
            Ok(place) => Some(std::mem::replace(&mut self.items[place], item)),
            Err(place) => {
                // Lists are many in a simulation: they grow by an eighth, not to the double.
                if self.items.len() == self.items.capacity() {
                    self.items.reserve_exact(8 + self.items.len() / 8);
                }
                self.items.insert(place, item);
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, node: NodeId) -> Option<T> {
        self.place(node).ok().map(|place| self.items.remove(place))
    }

    /// All items, sorted by node.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// Those of a stretch of ids, sorted.
    pub(crate) fn range(&self, nodes: RangeInclusive<NodeId>) -> impl Iterator<Item = &T> {
        let first = self.items.partition_point(|item| item.node() < nodes.start());
        let end = self.items.partition_point(|item| item.node() <= nodes.end());
        self.items.get(first..end).into_iter().flatten()
    }
}

impl<'a, T: OfNode> IntoIterator for &'a ByNode<T> {
    type Item = (&'a NodeId, &'a T);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, T>, fn(&'a T) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter().map(|item| (item.node(), item))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Numbers without an order that anybody sees (Knuth's linear congruence, its upper half).
    struct Dice(u64);

    impl Dice {
        const fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }
    }

    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Item(NodeId, u64);

    impl OfNode for Item {
        fn node(&self) -> &NodeId {
            &self.0
        }
    }

    fn id(number: u64) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        NodeId(bytes)
    }

    #[test]
    fn it_is_a_sorted_map_whose_keys_stand_in_its_values() {
        let mut dice = Dice(3);
        let (mut list, mut model) = (ByNode::<Item>::default(), BTreeMap::new());
        for step in 0..5000 {
            let node = id(dice.below(60));
            match dice.below(3) {
                0 => assert_eq!(list.remove(node), model.remove(&node)),
                1 => {
                    if let Some(item) = list.get_mut(node) {
                        *item = Item(node, step);
                    }
                    model.entry(node).and_modify(|item| *item = Item(node, step));
                }
                _ => assert_eq!(list.insert(Item(node, step)), model.insert(node, Item(node, step))),
            }
            assert_eq!((list.get(node), list.contains(node)), (model.get(&node), model.contains_key(&node)));
            assert_eq!(list.len(), model.len());
            assert!(list.values().eq(model.values()) && (&list).into_iter().eq(&model));
            let (one, other) = (id(dice.below(60)), id(dice.below(60)));
            let stretch = one.min(other)..=one.max(other);
            assert!(list.range(stretch.clone()).eq(model.range(stretch).map(|(_, item)| item)));
        }
    }
}
