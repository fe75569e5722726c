//! What the logs of a zone show: its tools, nodes, children and servers.
//!
//! A pure function of the live records (I3: rebuilt from the same records it is the same), kept up to date change by change.
//! Which definition is shown where instances differ is decided by (epoch, clock, origin, sequence number) and flagged; nothing is
//! merged. [`Tools`] is the part that readers get: cheap to clone, sharded, so that one change touches one shard.

pub mod answer;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use crate::codec::Wire;
use crate::index::{DocId, Index, IndexSnapshot, Terms};
use crate::name::{FullName, ZoneName, wire_name};
use crate::record::{
    ByNode, DelegationBody, GATEWAYS_MAX, Gateway, Hash, Kind, NodeBody, NodeId, ServerBody, SignedRef, ToolBody,
    VISIBILITY_PUBLIC,
};
use crate::registry::Change;
use crate::wire::message::{Health, Instance};

/// Shards of a zone's tools; a power of two.
const SHARDS: usize = 64;
/// Documents in one chunk of the table from document numbers to names.
const CHUNK: usize = 256;

type Key = Arc<str>;

/// One node's instance of a tool.
#[derive(Clone, Debug)]
pub struct ToolInstance {
    /// The record.
    pub signed: SignedRef,
    /// Its body, decoded once.
    pub body: Arc<ToolBody>,
}

impl ToolInstance {
    /// Reads a tool record; `None` when this build cannot read its body or its name.
    pub fn read(signed: &SignedRef) -> Option<(FullName, Self)> {
        let body = ToolBody::decode(signed.record.body.as_deref()?).ok()?;
        let name = tool_name(signed)?;
        Some((name, Self { signed: signed.clone(), body: Arc::new(body) }))
    }

    fn order(&self) -> (u64, u64, NodeId, u64) {
        let record = &self.signed.record;
        (record.epoch, record.hlc, record.node, record.seq)
    }
}

/// One tool of the zone, with everybody who serves it.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its full name as the shown instance writes it.
    pub name: FullName,
    /// By node; never empty.
    pub instances: BTreeMap<NodeId, ToolInstance>,
    /// Whose definition is shown.
    pub shown: NodeId,
    /// Instances that did not declare the same service, or whose definitions differ.
    pub clash: bool,
    document: u32,
}

impl Tool {
    /// The instance that is shown.
    pub fn shown(&self) -> &ToolInstance {
        &self.instances[&self.shown]
    }

    /// Its name on the MCP wire.
    pub fn wire_name(&self) -> String {
        let label = self.name.as_str().split('.').next().unwrap_or_default();
        wire_name(&self.shown().body.server, label)
    }

    fn settle(&mut self) {
        let Some((node, shown)) = self.instances.iter().max_by_key(|(_, instance)| instance.order()) else { return };
        let hash = shown.signed.record.def_hash;
        self.shown = *node;
        if let Ok(name) = FullName::parse(&shown.signed.record.name) {
            self.name = name;
        }
        self.clash = self.instances.len() > 1
            && !self.instances.values().all(|i| i.body.replica && i.signed.record.def_hash == hash);
    }
}

/// The name of a tool's record. There is one spelling of a key: two records of one origin must not show one tool.
fn tool_name(signed: &SignedRef) -> Option<FullName> {
    FullName::parse(&signed.record.name).ok().filter(|name| name.key().eq_ignore_ascii_case(&signed.record.name))
}

/// Everything by which a tool is found exactly, lower case: full name, `server__tool`, `server/original`, the original name.
pub fn aliases(name: &FullName, body: &ToolBody) -> BTreeSet<String> {
    let label = name.key().split('.').next().unwrap_or_default();
    BTreeSet::from([
        name.key().to_owned(),
        wire_name(&body.server, label).to_ascii_lowercase(),
        format!("{}/{}", body.server, body.original).to_lowercase(),
        body.original.to_lowercase(),
    ])
}

/// What readers see of a zone: immutable, cheap to clone.
#[derive(Clone, Debug)]
pub struct Tools {
    shards: Vec<Arc<BTreeMap<Key, Arc<Tool>>>>,
    aliases: Vec<Arc<BTreeMap<String, BTreeSet<Key>>>>,
    documents: Vec<Arc<Vec<Option<Key>>>>,
    index: Arc<IndexSnapshot>,
    servers: Arc<BTreeMap<(NodeId, String), ServerBody>>,
    nodes: Arc<ByNode<SignedRef>>,
    /// Nodes that are down or have left: usually none, however many there are.
    away: Arc<BTreeSet<NodeId>>,
    count: usize,
}

impl Tools {
    /// The tool of that name, whatever its case.
    pub fn find(&self, name: &FullName) -> Option<&Arc<Tool>> {
        self.shards[shard_of(name.key())].get(name.key())
    }

    /// Every tool that goes by `text`: its full name, wire name, `server/original` or original name.
    pub fn called(&self, text: &str) -> Vec<&Arc<Tool>> {
        let text = text.trim().to_lowercase();
        let keys = self.aliases[shard_of(&text)].get(&text);
        keys.into_iter().flatten().filter_map(|key| self.shards[shard_of(key)].get(key)).collect()
    }

    /// All tools, by name.
    pub fn all(&self) -> Vec<&Arc<Tool>> {
        let mut all: Vec<&Arc<Tool>> = self.shards.iter().flat_map(|shard| shard.values()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
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
    pub fn document(&self, document: DocId) -> Option<&Arc<Tool>> {
        let key = self.documents.get(document.0 as usize / CHUNK)?.get(document.0 as usize % CHUNK)?.as_ref()?;
        self.shards[shard_of(key)].get(key)
    }

    /// Everybody who serves a tool and how they are, best first.
    pub fn instances(&self, tool: &Tool) -> Vec<Instance> {
        let mut instances: Vec<Instance> =
            tool.instances.iter().map(|(node, instance)| self.instance(*node, &instance.body)).collect();
        instances.sort_by_key(|instance| (instance.health, instance.node));
        instances
    }

    fn instance(&self, node: NodeId, body: &ToolBody) -> Instance {
        let server = self.servers.get(&(node, body.server.clone()));
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

fn shard_of(key: &str) -> usize {
    // FNV-1a: spread is all that is asked of it, the keys are names this zone took in.
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 32) as usize % SHARDS
}

/// A zone that was delegated, as one of our nodes says.
#[derive(Clone, Debug)]
pub struct Child {
    /// The record that says so.
    pub signed: SignedRef,
    /// What it says.
    pub body: DelegationBody,
}

impl Child {
    /// The gateways it names, as many of them as are read.
    pub fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        self.body.gateways.iter().take(GATEWAYS_MAX)
    }
}

/// What one zone shows.
#[derive(Debug)]
pub struct Zone {
    tools: Tools,
    index: Index,
    free: Vec<u32>,
    next: u32,
    children: BTreeMap<ZoneName, BTreeMap<NodeId, Child>>,
    /// XOR over what a cached answer depends on: tools, servers, children; leases and node records do not count. Who writes very many
    /// tools could make changes cancel out; an answer that is kept for that ends with its lifetime, and nothing is repaired by it.
    content: Hash,
    /// The tag of that, until it changes.
    tag: OnceLock<u64>,
    serial: u64,
}

impl Default for Zone {
    fn default() -> Self {
        let index = Index::default();
        let tools = Tools {
            shards: vec![Arc::default(); SHARDS],
            aliases: vec![Arc::default(); SHARDS],
            documents: Vec::new(),
            index: index.snapshot(),
            servers: Arc::default(),
            nodes: Arc::default(),
            away: Arc::default(),
            count: 0,
        };
        Self {
            tools,
            index,
            free: Vec::new(),
            next: 0,
            children: BTreeMap::new(),
            content: [0; 32],
            tag: OnceLock::new(),
            serial: 0,
        }
    }
}

impl Zone {
    /// Follows one change of the registry. A record that this build cannot read, or may not show to everybody, shows nothing; what it
    /// replaced is gone all the same.
    pub fn apply(&mut self, change: &Change) {
        let (signed, put) = match change {
            Change::Put(signed) => (signed, signed.record.visibility == VISIBILITY_PUBLIC),
            Change::Gone(signed) => (signed, false),
        };
        let counts = match signed.record.kind() {
            Kind::Tool => self.apply_tool(signed, put),
            Kind::Server => self.apply_server(signed, put),
            Kind::Delegation => self.apply_delegation(signed, put),
            Kind::Node => self.apply_node(signed, put),
            Kind::Reap | Kind::Manifest | Kind::Unknown(_) => false,
        };
        if counts {
            self.serial += 1;
        }
    }

    fn apply_tool(&mut self, signed: &SignedRef, put: bool) -> bool {
        let Some(name) = tool_name(signed) else { return false };
        let read = if put { ToolInstance::read(signed) } else { None };
        let key: Key = Arc::from(name.key());
        let node = signed.record.node;
        let mut tool = self.take_tool(&key);
        let old = tool.as_mut().and_then(|tool| tool.instances.remove(&node));
        let changed = old.is_some() || read.is_some();
        if let Some(old) = old {
            self.toggle(&old.signed);
        }
        if let Some((_, instance)) = read {
            self.toggle(signed);
            let tool = tool.get_or_insert_with(|| Tool {
                name,
                instances: BTreeMap::new(),
                shown: node,
                clash: false,
                document: u32::MAX,
            });
            tool.instances.insert(node, instance);
        }
        if let Some(tool) = tool.filter(|tool| !tool.instances.is_empty()) {
            self.keep_tool(key, tool);
        }
        changed
    }

    /// Takes a tool out of every table, so that it can be changed and kept again.
    fn take_tool(&mut self, key: &Key) -> Option<Tool> {
        let tool = Arc::make_mut(&mut self.tools.shards[shard_of(key)]).remove(key)?;
        for alias in aliases(&tool.name, &tool.shown().body) {
            let shard = Arc::make_mut(&mut self.tools.aliases[shard_of(&alias)]);
            if let Some(keys) = shard.get_mut(&alias) {
                keys.remove(key);
                if keys.is_empty() {
                    shard.remove(&alias);
                }
            }
        }
        self.index.remove(DocId(tool.document));
        self.set_document(tool.document, None);
        self.free.push(tool.document);
        self.tools.count -= 1;
        Some(Arc::unwrap_or_clone(tool))
    }

    fn keep_tool(&mut self, key: Key, mut tool: Tool) {
        tool.settle();
        tool.document = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.index.insert(DocId(tool.document), terms_of(&tool.shown().body));
        self.set_document(tool.document, Some(key.clone()));
        for alias in aliases(&tool.name, &tool.shown().body) {
            let shard = Arc::make_mut(&mut self.tools.aliases[shard_of(&alias)]);
            shard.entry(alias).or_default().insert(key.clone());
        }
        Arc::make_mut(&mut self.tools.shards[shard_of(&key)]).insert(key, Arc::new(tool));
        self.tools.count += 1;
    }

    fn set_document(&mut self, document: u32, key: Option<Key>) {
        let (chunk, at) = (document as usize / CHUNK, document as usize % CHUNK);
        while self.tools.documents.len() <= chunk {
            self.tools.documents.push(Arc::new(vec![None; CHUNK]));
        }
        Arc::make_mut(&mut self.tools.documents[chunk])[at] = key;
    }

    fn apply_server(&mut self, signed: &SignedRef, put: bool) -> bool {
        let body = signed.record.body.as_deref().filter(|_| put).and_then(|body| ServerBody::decode(body).ok());
        let key = (signed.record.node, signed.record.name.clone());
        let servers = Arc::make_mut(&mut self.tools.servers);
        let old = match &body {
            Some(body) => servers.insert(key, body.clone()),
            None => servers.remove(&key),
        };
        let changed = old != body;
        if changed {
            // Only what a reader sees counts, so the tag moves with the state and not with the record's number.
            let mark =
                |body: &ServerBody| tag_hash(&[&signed.record.node.0, signed.record.name.as_bytes(), &body.encode()]);
            for body in old.iter().chain(&body) {
                self.toggle_hash(&mark(body));
            }
        }
        changed
    }

    fn apply_delegation(&mut self, signed: &SignedRef, put: bool) -> bool {
        let Ok(name) = ZoneName::parse(&signed.record.name) else { return false };
        if !name.as_str().eq_ignore_ascii_case(&signed.record.name) {
            return false;
        }
        let body = signed.record.body.as_deref().filter(|_| put).and_then(|body| DelegationBody::decode(body).ok());
        let child = self.children.entry(name.clone()).or_default();
        let known = !child.is_empty();
        match body {
            Some(body) => drop(child.insert(signed.record.node, Child { signed: signed.clone(), body })),
            None => drop(child.remove(&signed.record.node)),
        }
        let is_known = !child.is_empty();
        if !is_known {
            self.children.remove(&name);
        }
        if known != is_known {
            self.toggle_hash(&tag_hash(&[b"child", name.as_str().as_bytes()]));
        }
        known != is_known
    }

    fn apply_node(&mut self, signed: &SignedRef, put: bool) -> bool {
        if !signed.record.node.is_name(&signed.record.name) {
            return false;
        }
        let nodes = Arc::make_mut(&mut self.tools.nodes);
        if put {
            nodes.insert(signed.clone());
        } else {
            nodes.remove(signed.record.node);
        }
        false
    }

    /// Sets who is down or has left. Health of tools follows.
    pub fn set_away(&mut self, away: Arc<BTreeSet<NodeId>>) {
        if self.tools.away != away {
            self.tools.away = away;
            self.serial += 1;
            self.tag.take();
        }
    }

    fn toggle(&mut self, signed: &SignedRef) {
        let hash = tag_hash(&[&signed.record.node.0, &signed.hash]);
        self.toggle_hash(&hash);
    }

    fn toggle_hash(&mut self, hash: &Hash) {
        self.tag.take();
        for (a, b) in self.content.iter_mut().zip(hash) {
            *a ^= b;
        }
    }

    /// What readers see now; pieces that did not change are shared with the one before.
    pub fn tools(&mut self) -> &Tools {
        self.tools.index = self.index.snapshot();
        &self.tools
    }

    /// What readers see now, for one who looks without touching the zone.
    pub fn shown(&self) -> Tools {
        Tools { index: self.index.snapshot(), ..self.tools.clone() }
    }

    /// What readers see, with the index as it was last taken.
    pub const fn tools_as_taken(&self) -> &Tools {
        &self.tools
    }

    /// Delegated zones, by name, each as our nodes say.
    pub const fn children(&self) -> &BTreeMap<ZoneName, BTreeMap<NodeId, Child>> {
        &self.children
    }

    /// What stands of one child: the founder that was taken first, with its latest key, by the node that renewed it last. Every
    /// replica says the same.
    pub fn child(&self, zone: &ZoneName) -> Option<&Child> {
        let by_node = self.children.get(zone)?;
        let first = by_node
            .values()
            .min_by_key(|child| (child.body.since_ms, Reverse(child.body.epoch), child.body.zone_key))?;
        let same_key = by_node.values().filter(|child| child.body.zone_key == first.body.zone_key);
        same_key.max_by_key(|child| (child.signed.record.expires_ms, child.signed.record.node))
    }

    /// Number of changes seen; numbers watch events and lists of this node.
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// Tag of everything a cached answer of this zone depends on.
    pub fn tag(&self) -> u64 {
        *self.tag.get_or_init(|| {
            let mut away = Sha256::new();
            for node in self.tools.away.iter() {
                away.update(node.0);
            }
            let away: Hash = away.finalize().into();
            let hash = tag_hash(&[&self.content, &away]);
            u64::from_le_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]])
        })
    }
}

fn tag_hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The words of a tool, as every node of every zone reads them from its signed text.
pub fn terms_of(body: &ToolBody) -> Terms {
    let words = body.tags.iter().chain(&body.capabilities).chain(&body.examples).map(String::as_str);
    let role = body.agent.as_ref().map(|agent| agent.role.as_str());
    let extra: Vec<&str> = words.chain(role).collect();
    // A definition that is no JSON object has no words; it can still be found by its name.
    Terms::from_definition(&body.definition, &body.server, &extra).unwrap_or_default()
}
