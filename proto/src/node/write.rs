//! A change to what a node serves or allows, as a door asks for it, and how that ends.

use bytes::Bytes;

use crate::access::Role;
use crate::name::{NameError, ZoneName};
use crate::params::{LOG_BYTES_MAX, RECORD_BYTES_MAX};
use crate::record::{AgentBody, NodeId, TOOL_WORDS_MAX};

/// One tool to be written.
#[derive(Clone, Debug, Default)]
pub struct NewTool {
    /// Its name at the upstream.
    pub original: String,
    /// The MCP tool object, exact bytes.
    pub definition: Bytes,
    /// The server it belongs to.
    pub server: String,
    /// Labels between the server and the zone, `acr.azure`; usually empty.
    pub labels: String,
    /// Words to filter by.
    pub tags: Vec<String>,
    /// What it can do, to filter by.
    pub capabilities: Vec<String>,
    /// Questions it answers.
    pub examples: Vec<String>,
    /// The agent behind it.
    pub agent: Option<AgentBody>,
}

impl NewTool {
    /// What the index and filters get beside the definition.
    pub(super) fn words(&self) -> impl Iterator<Item = &String> {
        self.tags.iter().chain(&self.capabilities).chain(&self.examples)
    }

    /// About how many bytes its record's body takes.
    pub(super) fn bytes(&self) -> usize {
        let agent = self.agent.as_ref().map_or(0, |a| a.model.len() + a.role.len() + a.parameters.len());
        self.definition.len() + self.original.len() + agent + self.words().map(|word| word.len() + 4).sum::<usize>()
    }
}

/// A change to what this node serves.
#[derive(Clone, Debug)]
pub enum Write {
    /// These are all tools of a server, as its upstream lists them: new ones appear, missing ones end.
    Server {
        /// The server's label.
        server: String,
        /// Declared to be the same service as others of this name.
        replica: bool,
        /// Its whole list.
        tools: Vec<NewTool>,
    },
    /// How a server is.
    ServerState {
        /// The server's label.
        server: String,
        /// Whether calls can be made.
        up: bool,
        /// Why not.
        error: String,
    },
    /// Catalogue entries, added or changed; others stay.
    Catalogue(Vec<NewTool>),
    /// One tool by its full name, or every tool and the state of a server by its label.
    Remove(String),
    /// A zone below is that of this key from now on, and its nodes may do here what the role allows.
    Delegate {
        /// The zone.
        zone: ZoneName,
        /// Its key.
        key: [u8; 32],
        /// What its organisation may do.
        role: Role,
    },
    /// What was delegated to a zone below is void.
    Undelegate {
        /// The zone.
        zone: ZoneName,
        /// Why, for people.
        reason: String,
    },
    /// A node of the own zone is believed no more, for ever.
    Revoke {
        /// Who.
        node: NodeId,
        /// Why, for people.
        reason: String,
    },
}

/// How a write ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrote {
    /// Full name and `server/original` of every tool the write names, in its order.
    pub tools: Vec<(String, String)>,
    /// Full names of tools that ended.
    pub removed: Vec<String>,
    /// Records written; 0 when everything stood already.
    pub records: usize,
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A name that cannot be made to fit.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The definition is no JSON object.
    #[error("the definition of `{tool}` is not a JSON object")]
    Definition {
        /// Its name at the upstream.
        tool: String,
    },
    /// Above [`RECORD_BYTES_MAX`].
    #[error("the definition of `{tool}` has {bytes} bytes, a record may have {RECORD_BYTES_MAX}")]
    TooLarge {
        /// Its name at the upstream.
        tool: String,
        /// Its bytes.
        bytes: usize,
    },
    /// More than [`TOOL_WORDS_MAX`] tags, capabilities and examples.
    #[error("`{tool}` has {words} tags, capabilities and examples, a tool may have {TOOL_WORDS_MAX}")]
    TooManyWords {
        /// Its name at the upstream.
        tool: String,
        /// How many.
        words: usize,
    },
    /// Another node serves another tool of that name.
    #[error("`{name}` belongs to another server, at node {}", .node.short())]
    Taken {
        /// The full name.
        name: String,
        /// Who serves it.
        node: NodeId,
        /// Whether the definitions are equal, so that both may be declared one service.
        same_definition: bool,
    },
    /// A zone in it, or that it lies in, is delegated.
    #[error("{why}")]
    Nested {
        /// Which, and what helps.
        why: String,
    },
    /// Nothing of that name is served by this node.
    #[error("no tool and no server `{0}` of this node")]
    Unknown(String),
    /// It is served, but by another node of the zone.
    #[error("`{name}` is served by node {}, remove it there", .node.short())]
    Elsewhere {
        /// What was asked for.
        name: String,
        /// Who serves it.
        node: NodeId,
    },
    /// The zone's key is another node's: only who made it can name the next.
    #[error("the key of zone {zone} is held by {}", .maker.map_or_else(|| "another node".to_owned(), |maker| format!("node {maker}")))]
    KeyElsewhere {
        /// The zone.
        zone: ZoneName,
        /// Who made it, when that is known.
        maker: Option<NodeId>,
    },
    /// No key yet, one that a parent may still refuse, or one on its way.
    #[error("the key of zone {zone} is not settled yet")]
    KeyUnsettled {
        /// The zone.
        zone: ZoneName,
    },
    /// It has named two successors.
    #[error("the key of zone {zone} has named two successors, so nobody believes a third")]
    KeyFrozen {
        /// The zone.
        zone: ZoneName,
    },
    /// The next key is one that the zone had before.
    #[error("zone {zone} has had that key already")]
    KeyUsed {
        /// The zone.
        zone: ZoneName,
    },
    /// Only who speaks for the zone can do that.
    #[error("this node is a member of zone {zone} and does not speak for it")]
    NotSigner {
        /// The zone.
        zone: ZoneName,
    },
    /// Nobody revokes itself, or who certified it.
    #[error("node {} certified this one, or is it; who is nearer to the zone's key can revoke it", .node.short())]
    Elder {
        /// Who was to be revoked.
        node: NodeId,
    },
    /// It is revoked already.
    #[error("node {} is revoked already", .node.short())]
    Revoked {
        /// Who.
        node: NodeId,
    },
    /// The zone does not lie below the own one.
    #[error("zone {zone} does not lie below {own}")]
    NotBelow {
        /// What was to be delegated.
        zone: ZoneName,
        /// The own zone.
        own: ZoneName,
    },
    /// It is delegated to another key.
    #[error("zone {zone} is delegated to another key already")]
    Delegated {
        /// The zone.
        zone: ZoneName,
    },
    /// It is not delegated.
    #[error("zone {zone} is not delegated here")]
    NotDelegated {
        /// The zone.
        zone: ZoneName,
    },
    /// Its log would count more than a log may.
    #[error("this node's log would count {bytes} bytes, and nobody takes one of more than {LOG_BYTES_MAX}")]
    LogFull {
        /// What it would count.
        bytes: usize,
    },
    /// This node's log is about to begin another life, and too many writes wait for that.
    #[error("too many writes wait for this node's log to begin anew; try again in a moment")]
    TooMany,
    /// The store did not take it.
    #[error("the store did not take it")]
    Store,
}
