//! Where a term lies in the index: with all words of its stem.
//!
//! A word is always sought with its stem, and most documents that have the stem have one word of it. So a stem and its words are one
//! *family* with one list of documents. Families are ordered by a hash of their stem, which never leaves a process, and then by the stem:
//! whoever writes stems of one hash on purpose gains nothing.

use super::stem::push_stem;
use super::terms::STEM_MARK;
use super::words::number;

/// A term and its family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sought<'a> {
    pub(super) family: Family<'a>,
    /// Nothing for the stem itself.
    pub(super) word: Option<&'a str>,
}

/// The words of a stem. Families sort by hash, then by stem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Family<'a> {
    pub(super) hash: u32,
    /// Without its mark.
    pub(super) stem: &'a str,
}

impl<'a> Family<'a> {
    pub(super) fn of(stem: &'a str) -> Self {
        Self { hash: hash(stem), stem }
    }
}

impl<'a> Sought<'a> {
    /// Finds the family of a term; `room` is for its stem.
    pub(super) fn of(term: &'a str, room: &'a mut String) -> Self {
        if let Some(stem) = term.strip_prefix(STEM_MARK) {
            return Self { family: Family::of(stem), word: None };
        }
        room.clear();
        push_stem(term, room);
        Self { family: Family::of(room), word: Some(term) }
    }
}

/// Spreads stems evenly over all numbers; multiplication moves every bit upwards.
fn hash(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let mut hash = bytes.len() as u64;
    let mut from = 0;
    while from < bytes.len() {
        hash = (hash ^ number(bytes, from)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
        from += 8;
    }
    // The upper half of the product.
    (hash.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32) as u32
}
