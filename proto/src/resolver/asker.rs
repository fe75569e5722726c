//! Who asks, and how the question is to be answered.

use std::time::Duration;

use crate::access::Sight;
use crate::params::{HOPS_MAX, TTL_L3, ZONES_ASKED_NAMES, ZONES_ASKED_WORDS};
use crate::record::NodeId;
use crate::wire::message::Form;

/// Who wants to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asker {
    /// A door of this node, by its token.
    Door(u64),
    /// Another node, by its query's id.
    Peer {
        /// The node.
        node: NodeId,
        /// Its query.
        id: u64,
        /// What it may find; nothing where that is everything.
        sight: Option<Sight>,
    },
}

impl Asker {
    /// The token of a door.
    pub(super) const fn door(&self) -> Option<u64> {
        match self {
            Self::Door(token) => Some(*token),
            Self::Peer { .. } => None,
        }
    }

    /// What it may find, if not everything. Whoever asks at a door of this node is shown what he may see there.
    pub(super) const fn sight(&self) -> Option<&Sight> {
        match self {
            Self::Door(_) => None,
            Self::Peer { sight, .. } => sight.as_ref(),
        }
    }
}

/// How a question is to be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// When there must be an answer, whatever is in it.
    pub deadline: Duration,
    /// Hops left.
    pub hops: u8,
    /// Zones that may still be asked.
    pub budget: u16,
    /// Whether cached answers are welcome.
    pub cached: bool,
    /// Whether other zones are asked at all.
    pub recurse: bool,
    /// Asked by a fellow replica for what lies outside the zone.
    pub outside: bool,
    /// Cached answers older than this are not welcome.
    pub age_max: Duration,
}

impl Terms {
    /// What a door starts with.
    pub const fn of_door(form: Form, deadline: Duration) -> Self {
        let budget = match form {
            Form::Exact => ZONES_ASKED_NAMES,
            Form::Words | Form::List => ZONES_ASKED_WORDS,
        };
        Self { deadline, hops: HOPS_MAX, budget, cached: true, recurse: true, outside: false, age_max: TTL_L3 }
    }
}
