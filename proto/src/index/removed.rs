//! Which documents of a segment were removed: marked beside it, for a segment itself never changes.

/// A mark for each removed document.
#[derive(Debug, Clone, Default)]
pub(super) struct Removed {
    /// Empty until the first removal.
    bits: Vec<u64>,
    count: usize,
}

impl Removed {
    pub(super) fn contains(&self, document: u16) -> bool {
        let document = usize::from(document);
        self.bits.get(document / 64).is_some_and(|word| word >> (document % 64) & 1 == 1)
    }

    pub(super) fn insert(&mut self, document: u16) {
        if self.contains(document) {
            return;
        }
        let at = usize::from(document) / 64;
        if self.bits.len() <= at {
            self.bits.resize(at + 1, 0);
        }
        self.bits[at] |= 1 << (document % 64);
        self.count += 1;
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }
}
