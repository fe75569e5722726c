//! Choices: which peers a rumour goes to, and which replica owns a question. Random ones come from the node's seed; owned ones
//! are a function of the names alone, so that every replica finds the same owner.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

use crate::record::NodeId;

/// The node's seeded chance. The same seed makes the same choices.
#[derive(Debug, Clone)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// Chance of this seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply-shift keeps the bias below 2^-32 for every bound in use.
        if bound == 0 { 0 } else { ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64 }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// `value` ± 20 %.
    pub fn jitter(&mut self, value: std::time::Duration) -> std::time::Duration {
        let per_mille = 800 + self.below(401);
        value * u32::try_from(per_mille).unwrap_or(1000) / 1000
    }

    /// Up to `count` distinct of `from`, in random order.
    pub fn sample<T: Copy>(&mut self, from: &[T], count: usize) -> Vec<T> {
        let mut pool = from.to_vec();
        let mut taken = Vec::with_capacity(count.min(pool.len()));
        while taken.len() < count && !pool.is_empty() {
            let at = usize::try_from(self.below(pool.len() as u64)).unwrap_or(0);
            taken.push(pool.swap_remove(at));
        }
        taken
    }
}

/// The node that owns `question`: the highest random weight of the pair (rendezvous hashing, Thaler & Ravishankar 1996).
pub fn owner_of(question: &[u8], nodes: impl Iterator<Item = NodeId>) -> Option<NodeId> {
    nodes.max_by_key(|node| {
        let mut hasher = Sha256::new();
        hasher.update(question);
        hasher.update(node.0);
        let hash: [u8; 32] = hasher.finalize().into();
        (hash, *node)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_distinct_and_repeat_with_their_seed() {
        let pool: Vec<u32> = (0..10).collect();
        let mut taken = Chance::new([1; 32]).sample(&pool, 4);
        assert_eq!(taken, Chance::new([1; 32]).sample(&pool, 4));
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 4);
        assert_eq!(Chance::new([1; 32]).sample(&pool[..2], 4).len(), 2);
    }

    #[test]
    fn an_owner_moves_only_when_it_goes() {
        let nodes: Vec<NodeId> = (0..5).map(|n| NodeId([n; 32])).collect();
        for question in 0..50_u8 {
            let owner = owner_of(&[question], nodes.iter().copied());
            let without_another = nodes.iter().copied().filter(|node| Some(*node) == owner || node.0[0] != 4);
            if owner != Some(nodes[4]) {
                assert_eq!(owner_of(&[question], without_another), owner);
            }
        }
    }
}
