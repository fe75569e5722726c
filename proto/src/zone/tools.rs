//! The tools of a zone as readers get them: immutable, cheap to clone, and cheap to change beside a clone.
//!
//! ```text
//!  any name ── hash ──▶ Names ───────────▶ number ─▶ documents, in pieces ─▶ Tool
//!  question ── words ─▶ IndexSnapshot ───▶ number
//! ```
//!
//! While readers hold a clone, a change copies the pieces it touches, and no piece is large. How records become tools is not known
//! here: `zone` decides that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::index::{DocId, IndexSnapshot};
use crate::name::{FullName, has_capitals, order_of_names};
use crate::record::{ByNode, NodeBody, NodeId, ServerBody, SignedRef, ToolText};
use crate::wire::message::{Health, Instance};
use crate::zone::names::{Names, Sought};
use crate::zone::tool::Tool;

/// Tools in one piece of the table by number.
const PIECE: usize = 64;

/// What readers see of a zone: immutable, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// By number, [`PIECE`] to a piece.
    documents: Vec<Arc<[Option<Tool>; PIECE]>>,
    names: Names,
    count: usize,
    pub(super) index: Arc<IndexSnapshot>,
    /// By node, and name in lower case.
    pub(super) servers: Arc<BTreeMap<(NodeId, String), ServerBody>>,
    pub(super) nodes: Arc<ByNode<SignedRef>>,
    /// Nodes that are down or have left: usually none, however many there are.
    pub(super) away: Arc<BTreeSet<NodeId>>,
}

impl Tools {
    /// None, with names under a key that strangers do not know.
    pub(super) fn keyed(key: u64) -> Self {
        Self { names: Names::keyed(key), ..Self::default() }
    }

    /// The tool of that name, whatever its case.
    pub fn find(&self, name: &FullName) -> Option<&Tool> {
        self.find_key(name.key())
    }

    /// The same of a name that nobody has read as one: a text that is none names nothing.
    pub fn find_text(&self, text: &str) -> Option<&Tool> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if has_capitals(text) { self.find_key(&text.to_ascii_lowercase()) } else { self.find_key(text) }
    }

    /// By its key. Its record is not looked at: where that lies, the processor would wait for it twice.
    fn find_key(&self, key: &str) -> Option<&Tool> {
        let sought = self.names.sought(key);
        let found = self.numbered(sought).find(|tool| tool.name_check == sought.check)?;
        debug_assert!(found.name().eq_ignore_ascii_case(key), "{} is not {key}", found.name());
        Some(found)
    }

    /// Every tool that goes by `text`, by name: its full name, wire name, `server/original` or original name.
    pub fn called(&self, text: &str) -> Vec<&Tool> {
        let text = text.trim().to_lowercase();
        let mut called: Vec<&Tool> =
            self.numbered(self.names.sought(&text)).filter(|tool| tool.aliases().contains(&text)).collect();
        called.sort_by(|a, b| order_of_names(a.name(), b.name()));
        called
    }

    /// Tools that may go by a name.
    fn numbered(&self, sought: Sought) -> impl Iterator<Item = &Tool> {
        self.names.find(sought).filter_map(|number| self.document(DocId(number)))
    }

    /// All tools, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Tool> {
        self.documents.iter().flat_map(|piece| piece.iter().flatten())
    }

    /// All tools, by name.
    pub fn all(&self) -> Vec<&Tool> {
        let mut all: Vec<&Tool> = self.iter().collect();
        all.sort_by(|a, b| order_of_names(a.name(), b.name()));
        all
    }

    /// Number of tools.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The word index over them.
    pub const fn index(&self) -> &Arc<IndexSnapshot> {
        &self.index
    }

    /// The tool of a document number of the index.
    pub fn document(&self, document: DocId) -> Option<&Tool> {
        let number = document.0 as usize;
        self.documents.get(number / PIECE)?[number % PIECE].as_ref()
    }

    /// Takes a tool in, under its number and names.
    pub(super) fn put(&mut self, mut tool: Tool) {
        let aliases = tool.aliases();
        for alias in &aliases {
            self.names.insert(alias, tool.document.0);
        }
        tool.name_check = self.names.sought(&aliases[0]).check;
        let number = tool.document.0 as usize;
        while self.documents.len() <= number / PIECE {
            self.documents.push(Arc::new([const { None }; PIECE]));
        }
        Arc::make_mut(&mut self.documents[number / PIECE])[number % PIECE] = Some(tool);
        self.count += 1;
    }

    /// Takes out a tool that is held.
    pub(super) fn take(&mut self, tool: &Tool) {
        for alias in tool.aliases() {
            self.names.remove(&alias, tool.document.0);
        }
        let number = tool.document.0 as usize;
        Arc::make_mut(&mut self.documents[number / PIECE])[number % PIECE] = None;
        self.count -= 1;
    }

    /// Everybody who serves a tool and how they are, best first.
    pub fn instances(&self, tool: &Tool) -> Vec<Instance> {
        let mut instances: Vec<Instance> =
            tool.serving().map(|instance| self.instance(instance.node(), &instance.body())).collect();
        instances.sort_by_key(|instance| (instance.health, instance.node));
        instances
    }

    fn instance(&self, node: NodeId, body: &ToolText<'_>) -> Instance {
        let server = self.servers.get(&(node, body.server.to_ascii_lowercase()));
        let health = match (self.away.contains(&node), body.served, server) {
            (true, true, _) => Health::Down,
            (_, false, _) => Health::Unknown,
            (false, true, Some(server)) if !server.up => Health::Degraded,
            (false, true, _) => Health::Ok,
        };
        let error = match health {
            Health::Down => format!("node {} is down", node.short()),
            _ => server.map(|s| s.error.clone()).unwrap_or_default(),
        };
        Instance {
            node,
            address: self.node(node).map(|body| body.address.clone()).unwrap_or_default(),
            health,
            error,
            since_ms: server.map_or(0, |s| s.since_ms),
        }
    }

    /// Node records of the zone. They are read when somebody asks: most never are.
    pub fn nodes(&self) -> &ByNode<SignedRef> {
        &self.nodes
    }

    /// What a node says of itself.
    pub fn node(&self, node: NodeId) -> Option<&NodeBody> {
        self.nodes.get(node)?.node_body()
    }
}
