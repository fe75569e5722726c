//! What is hashed of all logs together: a sum, so that a log that changes costs two hashes and the order of arrival none.
//!
//! ```text
//!  of each log, quarantine and reap mark      16 numbers of 64 bits ── added, each by itself ──▶ 16 sums ── SHA-256 ──▶ digest
//!                                             the first of them     ── added by bucket ───────▶ 64 bucket hashes
//! ```
//!
//! The sums are not what is told, and not short, because logs are written by others. Of sums by XOR, or of 128 bits, whoever writes
//! some logs finds states of them that cancel out: by linear algebra, or by Wagner's generalized birthdays (2002; 16 logs, some 2^30
//! hashes). 1024 bits hold against both for as many logs as a zone may have. The bucket hashes are short and promise nothing: they only
//! tell where to look, and who finds them equal though the digests differ looks everywhere.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use crate::params::BUCKETS;
use crate::record::{Head, NodeId};
use crate::registry::bucket_of;

/// Numbers that are added, each modulo 2^64.
const LANES: usize = 16;

/// What one log, quarantine or reap mark adds: whose it is, and the state that a head confirms. `what` tells the three apart.
pub(super) struct Term([u64; LANES]);

impl Term {
    pub(super) fn of(what: u8, node: NodeId, incarnation: u64, head: &Head) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([what]);
        hasher.update(node.0);
        for number in [incarnation, head.seq, head.floor, head.count] {
            hasher.update(number.to_le_bytes());
        }
        hasher.update(head.root);
        let mut lanes = [0; LANES];
        for (part, lanes) in lanes.chunks_mut(4).enumerate() {
            let hash = hasher.clone().chain_update([part as u8]).finalize();
            for (lane, bytes) in lanes.iter_mut().zip(hash.chunks(8)) {
                *lane = u64::from_le_bytes(bytes.try_into().expect("eight bytes each"));
            }
        }
        Self(lanes)
    }
}

/// The sums over everything that is held.
#[derive(Debug)]
pub(super) struct Sums {
    lanes: [u64; LANES],
    buckets: [u64; BUCKETS],
    /// Until they change; fellows ask for it with every message.
    digest: OnceLock<[u8; 16]>,
}

impl Sums {
    /// Of nothing.
    pub(super) const fn new() -> Self {
        Self { lanes: [0; LANES], buckets: [0; BUCKETS], digest: OnceLock::new() }
    }

    /// What is held of a node holds this.
    pub(super) fn add(&mut self, node: NodeId, term: &Term) {
        self.change(node, term, u64::wrapping_add);
    }

    /// It does no more.
    pub(super) fn subtract(&mut self, node: NodeId, term: &Term) {
        self.change(node, term, u64::wrapping_sub);
    }

    fn change(&mut self, node: NodeId, term: &Term, by: fn(u64, u64) -> u64) {
        for (lane, number) in self.lanes.iter_mut().zip(term.0) {
            *lane = by(*lane, number);
        }
        let bucket = &mut self.buckets[bucket_of(node)];
        *bucket = by(*bucket, term.0[0]);
        self.digest.take();
    }

    pub(super) fn digest(&self) -> [u8; 16] {
        *self.digest.get_or_init(|| {
            let mut hasher = Sha256::new();
            self.lanes.iter().for_each(|lane| hasher.update(lane.to_le_bytes()));
            *hasher.finalize().first_chunk().expect("16 of 32 bytes")
        })
    }

    pub(super) const fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NODES: u64 = 140;

    fn term(node: u64, seq: u64) -> (NodeId, Term) {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&node.to_le_bytes());
        let head = Head { seq, ..Head::default() };
        (NodeId(id), Term::of(0, NodeId(id), 1, &head))
    }

    fn sums_of(states: impl Iterator<Item = (u64, u64)>) -> Sums {
        let mut sums = Sums::new();
        for (node, term) in states.map(|(node, seq)| term(node, seq)) {
            sums.add(node, &term);
        }
        sums
    }

    #[test]
    fn what_was_added_and_taken_out_again_leaves_nothing() {
        let mut sums = sums_of((0..9).map(|node| (node, 1)));
        let before = (sums.digest(), sums.buckets);
        let (node, other) = term(77, 5);
        sums.add(node, &other);
        assert_ne!((sums.digest(), sums.buckets), before);
        sums.subtract(node, &other);
        assert_eq!((sums.digest(), sums.buckets), before);
        assert_eq!(sums.digest(), sums_of((0..9).rev().map(|node| (node, 1))).digest(), "in whatever order");
    }

    /// While terms of 128 bits were xored, whoever wrote a few more logs than that found, by elimination, some of them that another
    /// state each changed nothing: two registries that differ had one digest, and repair left them so.
    #[test]
    fn logs_of_one_writer_whose_changes_cancel_out_bit_by_bit_still_show() {
        let short = |node, seq| {
            let Term(lanes) = term(node, seq).1;
            u128::from(lanes[0]) | u128::from(lanes[1]) << 64
        };
        // Gauss: by leading bit a row, and which nodes' changes it is the sum of.
        let mut rows: BTreeMap<u32, (u128, Vec<u64>)> = BTreeMap::new();
        let mut cancel = None;
        for node in 0..NODES {
            let (mut change, mut of) = (short(node, 1) ^ short(node, 2), vec![node]);
            while let Some((row, nodes)) = rows.get(&change.leading_zeros()) {
                change ^= row;
                for other in nodes {
                    match of.iter().position(|node| node == other) {
                        Some(at) => _ = of.swap_remove(at),
                        None => of.push(*other),
                    }
                }
            }
            if change == 0 {
                cancel = Some(of);
                break;
            }
            rows.insert(change.leading_zeros(), (change, of));
        }
        let moved = cancel.expect("more changes than bits are dependent");
        let states =
            |second: &[u64]| (0..NODES).map(|node| (node, 1 + u64::from(second.contains(&node)))).collect::<Vec<_>>();
        let (before, after) = (states(&[]), states(&moved));
        let xor = |states: &[(u64, u64)]| states.iter().fold(0, |sum, (node, seq)| sum ^ short(*node, *seq));
        assert!(!moved.is_empty() && xor(&before) == xor(&after), "the attack works on what is xored");
        let digest = |states: Vec<(u64, u64)>| sums_of(states.into_iter()).digest();
        assert_ne!(digest(before), digest(after));
    }
}
