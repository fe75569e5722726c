//! The word index: which tools answer a question asked in plain words, and how well.
//!
//! One scoring function ([`Scorer`]) serves two readers: a zone ranks its own tools with it, and an asker re-scores the
//! candidates of other zones from their signed text with statistics merged over those zones. Both must come to the same
//! number bit for bit, or two nodes would order the same answer differently.
//!
//! It is not the place of exact names (those come first and elsewhere), of trust, or of tie breaking between equal scores: a
//! search returns every document that ties with the last one, and the caller orders them by what all nodes share.
//!
//! ```text
//!  definition ─ words ─▶ Terms ─ insert ─▶ Index: tail (≤ 32) ─ seal ─▶ segments ─ merge, a little per change ─▶ segments
//!                                            │ snapshot()
//!  text ───── words ─▶ Query ── search ──▶ IndexSnapshot (immutable, shared)
//! ```
//!
//! What must always hold: scores and statistics do not depend on how documents are spread over tail and segments, removed
//! documents are counted nowhere, and no single change costs more than a bounded step, however large the zone is.

mod confidence;
mod family;
mod filter;
mod fold;
mod goal;
mod levels;
mod merge;
mod prune;
mod removed;
mod score;
mod segment;
mod sift;
mod snapshot;
mod stem;
mod synonyms;
mod terms;
mod words;

pub use confidence::{CONFIDENCE_MIN, Evidence, RIVALS_MAX, confidences};
pub use filter::{FILTER_BYTES_MAX, Filter};
pub use goal::{Goal, GoalScorer};
pub use levels::Index;
pub use score::{QUERY_TERMS_MAX, Query, Scorer, Stats, score};
pub use sift::Sifted;
pub use snapshot::IndexSnapshot;
pub use terms::{DOCUMENT_TERMS_MAX, DefinitionError, Document, Terms};

/// A document's number, given by whoever fills the index; one number names one document at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocId(pub u32);

#[cfg(test)]
mod tests;
