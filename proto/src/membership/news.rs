//! What others still have to hear of, each piece a bounded number of times (SWIM §4.1: infection by retelling).
//!
//! Told at once to a few, again a little later, and beside every probe until it was told often enough. Whoever that missed is repaired by
//! the hash of the digests, so dropping is safe.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::Liveness;
use crate::params::{NEWS_INTERVAL, NEWS_MAX};
use crate::record::NodeId;
use crate::wire::message::Update;

#[derive(Clone, Copy, Debug)]
struct Piece {
    update: Update,
    /// How often it is still told.
    left: usize,
}

/// News on their way, by whom they are of and who said so.
#[derive(Debug, Default)]
pub(super) struct News {
    pieces: BTreeMap<(NodeId, NodeId), Piece>,
    told: Option<Duration>,
}

/// How often one node tells a piece: ⌈log₄ n⌉ + 2.
pub(super) fn tellings(members: usize) -> usize {
    let log2 = members.max(1).next_power_of_two().ilog2() as usize;
    log2.div_ceil(2) + 2
}

impl News {
    /// Takes a piece in. What it makes obsolete goes, and the most told when there are too many.
    pub(super) fn add(&mut self, update: Update, members: usize) {
        let of_node = (update.node, NodeId([0; 32]))..=(update.node, NodeId([255; 32]));
        let old = |piece: &Piece| (piece.update.counter, piece.update.state) != (update.counter, update.state);
        let gone: Vec<_> = self.pieces.range(of_node).filter(|(_, piece)| old(piece)).map(|(key, _)| *key).collect();
        for key in gone {
            self.pieces.remove(&key);
        }
        self.pieces.insert((update.node, update.by), Piece { update, left: tellings(members) });
        if self.pieces.len() > NEWS_MAX
            && let Some(key) = self.pieces.iter().min_by_key(|(_, piece)| piece.left).map(|(key, _)| *key)
        {
            self.pieces.remove(&key);
        }
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        self.pieces.retain(|(of, _), _| *of != node);
    }

    /// When the next telling is due; at once when there was none lately.
    pub(super) fn due(&self) -> Option<Duration> {
        (!self.pieces.is_empty()).then(|| self.told.map_or(Duration::ZERO, |told| told + NEWS_INTERVAL))
    }

    /// Up to `count` pieces for a telling that is due, told to `peers` nodes each.
    pub(super) fn tell(&mut self, count: usize, peers: usize, now: Duration) -> Vec<Update> {
        self.told = Some(now);
        self.take(count, peers)
    }

    /// Up to `count` pieces, the least told first, of equals the happier: a refutation is in a hurry.
    pub(super) fn take(&mut self, count: usize, peers: usize) -> Vec<Update> {
        if self.pieces.is_empty() {
            return Vec::new();
        }
        let mut keys: Vec<_> = self.pieces.iter().collect();
        keys.sort_by_key(|(_, piece)| (Reverse(piece.left), Liveness::of(piece.update.state)));
        let keys: Vec<_> = keys.into_iter().take(count).map(|(key, _)| *key).collect();
        let mut updates = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(piece) = self.pieces.get_mut(&key) else { continue };
            updates.push(piece.update);
            piece.left = piece.left.saturating_sub(peers);
            if piece.left == 0 {
                self.pieces.remove(&key);
            }
        }
        updates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(node: u8, counter: u32, state: u8, by: u8) -> Update {
        Update { node: NodeId([node; 32]), counter, state, by: NodeId([by; 32]) }
    }

    #[test]
    fn a_piece_is_told_as_often_as_the_zone_needs_and_no_more() {
        assert_eq!([1, 2, 4, 16, 1000, 4096].map(tellings), [2, 3, 3, 4, 7, 8]);
        let mut news = News::default();
        news.add(update(1, 0, 2, 9), 1000);
        assert_eq!(news.due(), Some(Duration::ZERO));
        assert_eq!(news.tell(8, 3, Duration::from_secs(1)).len(), 1);
        assert_eq!(news.due(), Some(Duration::from_secs(1) + NEWS_INTERVAL));
        assert_eq!((news.take(6, 3).len(), news.take(6, 1).len(), news.take(6, 1).len()), (1, 1, 0));
        assert_eq!(news.due(), None);
    }

    #[test]
    fn what_is_newer_replaces_what_is_older_and_accusers_stand_beside_each_other() {
        let mut news = News::default();
        for by in [7, 8] {
            news.add(update(1, 0, 1, by), 1000);
        }
        news.add(update(2, 0, 1, 7), 1000);
        assert_eq!(news.pieces.len(), 3);
        news.add(update(1, 1, 0, 1), 1000);
        assert_eq!(news.take(6, 1), [update(1, 1, 0, 1), update(2, 0, 1, 7)]);
    }

    #[test]
    fn there_is_never_more_than_fits() {
        let mut news = News::default();
        for number in 0..=NEWS_MAX {
            let mut node = [0; 32];
            node[..8].copy_from_slice(&(number as u64).to_le_bytes());
            news.add(Update { node: NodeId(node), counter: 0, state: 2, by: NodeId([1; 32]) }, 10);
        }
        assert_eq!(news.pieces.len(), NEWS_MAX);
    }
}
