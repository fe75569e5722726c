//! Who asks, and how the question is to be answered.

use std::sync::Arc;
use std::time::Duration;

use crate::access::Sight;
use crate::params::{HOPS_MAX, TTL_L3, ZONES_ASKED_NAMES, ZONES_ASKED_WORDS};
use crate::record::NodeId;
use crate::wire::message::Form;

/// Who wants to know, and what may be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asker {
    /// Who.
    pub who: Who,
    /// What may be found; nothing where that is everything.
    pub sight: Option<Arc<Sight>>,
}

/// Where the answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// A door of this node, by its token.
    Door(u64),
    /// Another node, by its query's id.
    Peer {
        /// The node.
        node: NodeId,
        /// Its query.
        id: u64,
    },
    /// Nobody: what was asked for often is asked anew before it ends.
    Nobody,
}

impl Asker {
    /// The token of a door.
    pub(super) const fn door(&self) -> Option<u64> {
        match self.who {
            Who::Door(token) => Some(token),
            Who::Peer { .. } | Who::Nobody => None,
        }
    }

    /// The node that asks, if it is another.
    pub(super) const fn peer(&self) -> Option<NodeId> {
        match self.who {
            Who::Door(_) | Who::Nobody => None,
            Who::Peer { node, .. } => Some(node),
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
