//! What changed in a zone, change by change, for those who watch it.

use crate::name::{FullName, ZoneName};
use crate::record::NodeId;

/// One change that was counted: its number is the zone's serial from then on, so that none is missed unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The serial; of two that follow each other the second is one more.
    pub serial: u64,
    /// What.
    pub what: What,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A tool is there that was not.
    Added(FullName),
    /// Its definition or who serves it is another.
    Changed(FullName),
    /// It is there no more.
    Removed(FullName),
    /// How a server of a node is.
    Server {
        /// The node.
        node: NodeId,
        /// The server's name.
        server: String,
        /// Whether its tools can be called there.
        up: bool,
    },
    /// A zone below was delegated, or is no more.
    Child {
        /// The zone.
        zone: ZoneName,
        /// Whether it stands.
        stands: bool,
    },
    /// Other nodes are down, or there again.
    Members,
}
