//! Which terms may stand in a collection, in a few kilobytes: a Bloom filter (Bloom 1970).
//!
//! What must always hold: a term that was put in is always found again, whatever was merged with it and however it was sent. That a term
//! is found which was not put in only costs a question. Both ends count bits alike, so the hash is part of the protocol.

use sha2::{Digest, Sha256};

use super::snapshot::IndexSnapshot;

/// Bytes of a filter: always a power of two, so that filters of any two sizes can be merged.
const BYTES_MIN: usize = 64;
/// The largest, for about 13,000 terms; with more of them it lets more through.
pub const FILTER_BYTES_MAX: usize = 16 * 1024;
/// Bits a term is given, and bits it sets: about one in a hundred absent terms is found.
const BITS_PER_TERM: usize = 10;
const HASHES: u64 = 5;

/// A set of terms that may be larger than what was put in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter(Box<[u8]>);

impl Default for Filter {
    fn default() -> Self {
        Self::with_room(0)
    }
}

impl Filter {
    /// An empty filter for about so many terms.
    pub fn with_room(terms: usize) -> Self {
        let bytes = terms.saturating_mul(BITS_PER_TERM).div_ceil(8).clamp(BYTES_MIN, FILTER_BYTES_MAX);
        Self(vec![0; bytes.next_power_of_two()].into())
    }

    /// The filter of all terms of an index; terms of tools that went lately may still be in it.
    pub fn of(index: &IndexSnapshot) -> Self {
        let mut filter = Self::with_room(index.terms_at_most());
        index.each_term(|term| filter.insert(term));
        filter
    }

    /// A filter as it was sent; nothing for a length that none has.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let fits = bytes.len().is_power_of_two() && (BYTES_MIN..=FILTER_BYTES_MAX).contains(&bytes.len());
        fits.then(|| Self(bytes.into()))
    }

    /// As it is sent.
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A number by which it is known again: the first bytes of its hash.
    pub fn mark(&self) -> u64 {
        let hash = Sha256::digest(&self.0);
        hash.iter().take(8).fold(0, |mark, byte| mark << 8 | u64::from(*byte))
    }

    /// Puts a term in.
    pub fn insert(&mut self, term: &str) {
        for bit in self.bits(term) {
            self.0[bit / 8] |= 1 << (bit % 8);
        }
    }

    /// Whether a term may be in it.
    pub fn may_hold(&self, term: &str) -> bool {
        self.bits(term).into_iter().all(|bit| self.0[bit / 8] & 1 << (bit % 8) != 0)
    }

    /// Takes in all that another holds. A bit's place in a small filter is that in a large one, cut: the small one is repeated.
    pub fn merge(&mut self, other: &Self) {
        if other.0.len() > self.0.len() {
            self.0 = self.0.repeat(other.0.len() / self.0.len()).into();
        }
        for (byte, more) in self.0.iter_mut().zip(other.0.iter().cycle()) {
            *byte |= more;
        }
    }

    /// Source: Kirsch and Mitzenmacher 2008: two hashes make as many as are wanted.
    fn bits(&self, term: &str) -> [usize; HASHES as usize] {
        let hash = term
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let (first, step) = (scattered(hash), scattered(hash ^ 0x9e37_79b9_7f4a_7c15) | 1);
        let mask = self.0.len() as u64 * 8 - 1;
        std::array::from_fn(|at| (first.wrapping_add(step.wrapping_mul(at as u64)) & mask) as usize)
    }
}

/// Every bit of the input moves every bit of the output (MurmurHash3's last step).
const fn scattered(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(from: usize, to: usize) -> impl Iterator<Item = String> {
        (from..to).map(|number| format!("term{number}"))
    }

    fn filter(from: usize, to: usize) -> Filter {
        let mut filter = Filter::with_room(to - from);
        terms(from, to).for_each(|term| filter.insert(&term));
        filter
    }

    #[test]
    fn what_was_put_in_is_found_and_little_else() {
        let filter = filter(0, 3_000);
        assert!(terms(0, 3_000).all(|term| filter.may_hold(&term)));
        let wrong = terms(3_000, 13_000).filter(|term| filter.may_hold(term)).count();
        assert!(wrong < 200, "{wrong} of 10,000");
        assert_eq!(Filter::read(filter.bytes()), Some(filter));
    }

    #[test]
    fn filters_of_any_sizes_are_merged_without_loss() {
        for (small, large) in [(10, 3_000), (3_000, 10), (500, 500), (40_000, 1)] {
            let mut both = filter(0, small);
            both.merge(&filter(small, small + large));
            assert!(terms(0, small + large).all(|term| both.may_hold(&term)));
        }
        let mut both = filter(0, 10);
        both.merge(&filter(10, 3_000));
        assert!(terms(3_000, 13_000).filter(|term| both.may_hold(term)).count() < 1_000);
    }

    #[test]
    fn lengths_that_no_filter_has_are_refused() {
        for length in [0, 1, 63, 65, 96, 2 * FILTER_BYTES_MAX] {
            assert_eq!(Filter::read(&vec![0; length]), None);
        }
    }

    /// Two builds count bits alike: these are part of the protocol.
    #[test]
    fn the_hash_is_fixed() {
        let mut filter = Filter::default();
        filter.insert("papers");
        filter.insert("~paper");
        let set: Vec<usize> = (0..512).filter(|bit| filter.bytes()[bit / 8] & 1 << (bit % 8) != 0).collect();
        assert_eq!(set, [14, 26, 31, 184, 203, 361, 380, 475, 492, 509]);
    }
}
