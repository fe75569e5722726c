//! What came of a question, for a door.

use super::shown::shortened;
use crate::params::TTL_L3;
use crate::record::{NodeId, ZoneProof};
use crate::trust::answers::Checked;
use crate::wire::message::{Question, Silent, ZoneAnswer};

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

/// A node that this one asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// Its zone: the own one's, where it is a fellow.
    pub zone: String,
    /// Who.
    pub node: NodeId,
}

/// How an answer came here, as far as it tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    /// Who was asked for it now; nobody for what this node knew.
    pub asked: Option<Neighbour>,
    /// It had rested in the L2 of who was asked, or of one beyond.
    pub is_cached: bool,
}

impl Hop {
    /// An authority gives its answer a life that is the same for all, and every node on the way takes from it what it adds to its age. So
    /// age and life together tell whether a cache cut it short (PROTOCOL §13.4).
    pub(super) fn of(source: Source, asked: Option<Neighbour>, answer: &ZoneAnswer) -> Self {
        let is_whole = answer.age_ms.saturating_add(answer.ttl_ms) >= TTL_L3.as_millis() as u64;
        Self { is_cached: asked.is_some() && source != Source::Local && !is_whole, asked }
    }
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
    /// How each of them came here.
    pub hops: Vec<Hop>,
    /// Zones that did not answer.
    pub silent: Vec<Silent>,
    /// Zones that were not asked for want of budget.
    pub skipped: u32,
    /// Proofs of their keys that others sent along.
    pub proofs: Vec<ZoneProof>,
}

impl Outcome {
    /// The same for somebody who wants so many results, and asked nothing else.
    #[must_use]
    pub fn for_limit(mut self, limit: u32) -> Self {
        self.question.limit = limit;
        let question = &self.question;
        self.answers =
            self.answers.into_iter().map(|(source, checked)| (source, shortened(checked, question))).collect();
        self
    }

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
