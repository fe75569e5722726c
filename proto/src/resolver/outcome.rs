//! What came of a question, for a door.

use crate::record::ZoneProof;
use crate::trust::answers::Checked;
use crate::wire::message::{Question, Silent};

/// Where an answer came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// This node's own zone.
    Local,
    /// The zone's cache, here or at the replica that owns the question.
    L2,
    /// Kept from before and stale.
    L3,
    /// The parent, now.
    Parent,
    /// A child, now.
    Child,
    /// What a child told before that it and the zones below it hold: none of the question's words.
    Export,
}

/// How good a result is as an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// Said by the zone within its lifetime.
    Fresh,
    /// Kept from before, because the zone is silent now.
    Stale,
}

/// Everything that came back for a question.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The question.
    pub question: Question,
    /// What zones said, and where that came from.
    pub answers: Vec<(Source, Checked)>,
    /// Zones that did not answer.
    pub silent: Vec<Silent>,
    /// Zones that were not asked for want of budget.
    pub skipped: u32,
    /// Proofs of their keys that others sent along.
    pub proofs: Vec<ZoneProof>,
}

impl Outcome {
    /// Whether somebody was silent.
    pub fn is_partial(&self) -> bool {
        !self.silent.is_empty()
    }

    /// Freshness of one of its answers.
    pub fn freshness(&self, answer: usize) -> Freshness {
        match self.answers.get(answer) {
            Some((Source::L3, _)) => Freshness::Stale,
            _ => Freshness::Fresh,
        }
    }
}
