//! What the logs of a zone show: its tools, nodes, children and servers.
//!
//! A pure function of the live records (I3: rebuilt from the same records it is the same), kept up to date change by change.
//! Which definition is shown where instances differ is decided by (epoch, clock, origin, sequence number) and flagged; nothing is
//! merged. [`Tools`] is the part that readers get.

pub mod answer;
mod cuts;
mod names;
mod news;
#[cfg(test)]
mod tests;
mod tool;
mod tools;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use crate::access::Role;
use crate::codec::Wire;
use crate::index::{DocId, Index};
use crate::name::ZoneName;
use crate::record::{
    DelegationBody, GATEWAYS_MAX, Gateway, GrantBody, Hash, Kind, NodeId, ServerBody, SignedRef, VISIBILITY_PUBLIC,
};
use crate::registry::Change;
use crate::trust::Opened;

pub use news::{News, What};
use tool::tool_name;
pub use tool::{Tool, ToolInstance, aliases, is_called, sifted, terms_of, terms_with};
pub use tools::Tools;

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
#[derive(Debug, Default)]
pub struct Zone {
    tools: Tools,
    index: Index,
    /// Numbers of tools that are gone, to be given again.
    free: Vec<DocId>,
    /// The first number never given.
    next: u32,
    children: BTreeMap<ZoneName, BTreeMap<NodeId, Child>>,
    /// Those that lie in another of them, or that another lies in, and came later: they count for nothing while it stands.
    covered: BTreeMap<ZoneName, BTreeMap<NodeId, Child>>,
    /// What organisations below may do, by who says so, and when.
    grants: BTreeMap<ZoneName, BTreeMap<NodeId, (u64, Role)>>,
    /// XOR over what a cached answer depends on: tools, servers, children; leases and node records do not count. Who writes very many
    /// tools could make changes cancel out; an answer that is kept for that ends with its lifetime, and nothing is repaired by it.
    content: Hash,
    /// The tag of that, until it changes.
    tag: OnceLock<u64>,
    serial: u64,
    /// Changes that nobody has taken yet.
    news: Vec<News>,
    /// Who may have read the words of a record already.
    opened: Option<Arc<dyn Opened>>,
}

impl Zone {
    /// An empty zone that reads no words anew which somebody else has read, and finds names by hashes that only who knows `seed` knows.
    pub fn sharing(opened: Option<Arc<dyn Opened>>, seed: &[u8; 32]) -> Self {
        let hash = tag_hash(&[b"names", seed]);
        let key = u64::from_le_bytes(*hash.first_chunk().expect("8 of 32 bytes"));
        Self { opened, tools: Tools::keyed(key), ..Self::default() }
    }

    /// Follows one change of the registry. A record that this build cannot read, or may not show to everybody, shows nothing; what it
    /// replaced is gone all the same.
    pub fn apply(&mut self, change: &Change) {
        let (signed, put) = match change {
            Change::Put(signed) => (signed, signed.record.visibility == VISIBILITY_PUBLIC),
            Change::Gone(signed) => (signed, false),
        };
        let what = match signed.record.kind() {
            Kind::Tool => self.apply_tool(signed, put),
            Kind::Server => self.apply_server(signed, put),
            Kind::Delegation => self.apply_delegation(signed, put),
            Kind::Node => self.apply_node(signed, put),
            Kind::Grant => self.apply_grant(signed, put),
            Kind::Reap | Kind::Manifest | Kind::Revocation | Kind::Unknown(_) => None,
        };
        if let Some(what) = what {
            self.count(what);
        }
    }

    fn count(&mut self, what: What) {
        self.serial += 1;
        self.news.push(News { serial: self.serial, what });
    }

    /// What changed since it was asked last, in the order of its numbers.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    fn apply_tool(&mut self, signed: &SignedRef, put: bool) -> Option<What> {
        let read = if put { ToolInstance::read(signed) } else { None };
        let name = tool_name(signed)?;
        let before = self.tools.find(&name).cloned();
        let mut instances = before.as_ref().map(|tool| tool.instances().to_vec()).unwrap_or_default();
        let place = instances.binary_search_by_key(&signed.record.node(), ToolInstance::node);
        let changed = place.is_ok() || read.is_some();
        if let Ok(at) = place {
            self.toggle(&instances.remove(at).signed);
        }
        if let Some(instance) = read {
            self.toggle(signed);
            instances.insert(place.unwrap_or_else(|at| at), instance);
        }
        let what = match (before.is_some(), !instances.is_empty()) {
            (false, _) => What::Added(name),
            (true, true) => What::Changed(name),
            (true, false) => What::Removed(name),
        };
        if let Some(before) = before {
            self.tools.take(&before);
            self.index.remove(before.document);
            self.free.push(before.document);
        }
        if !instances.is_empty() {
            self.show(instances);
        }
        changed.then_some(what)
    }

    fn show(&mut self, instances: Vec<ToolInstance>) {
        let document = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            DocId(self.next - 1)
        });
        let tool = Tool::of(instances, document);
        let shown = tool.shown();
        let terms = self.opened.as_ref().and_then(|opened| opened.take_terms(&shown.signed));
        self.index.insert(document, terms.unwrap_or_else(|| Arc::new(terms_of(&shown.body()))));
        self.tools.put(tool);
    }

    fn apply_server(&mut self, signed: &SignedRef, put: bool) -> Option<What> {
        let body = signed.record.body().filter(|_| put).and_then(|body| ServerBody::decode(body).ok());
        // As a log's keys are compared, in any case: a record replaces one that writes the name otherwise.
        let name = signed.record.name().to_ascii_lowercase();
        let key = (signed.record.node(), name.clone());
        let servers = Arc::make_mut(&mut self.tools.servers);
        let old = match &body {
            Some(body) => servers.insert(key, body.clone()),
            None => servers.remove(&key),
        };
        let changed = old != body;
        if changed {
            // Only what a reader sees counts, so the tag moves with the state and not with the record's number.
            let mark = |body: &ServerBody| tag_hash(&[&signed.record.node().0, name.as_bytes(), &body.encode()]);
            for body in old.iter().chain(&body) {
                self.toggle_hash(&mark(body));
            }
        }
        let up = body.is_some_and(|body| body.up);
        changed.then(|| What::Server { node: signed.record.node(), server: signed.record.name().to_owned(), up })
    }

    fn apply_delegation(&mut self, signed: &SignedRef, put: bool) -> Option<What> {
        let name = ZoneName::parse(signed.record.name()).ok()?;
        if !name.as_str().eq_ignore_ascii_case(signed.record.name()) {
            return None;
        }
        let body = signed.record.body().filter(|_| put).and_then(|body| DelegationBody::decode(body).ok());
        let known = self.children.contains_key(&name);
        let all = if self.covered.contains_key(&name) { &mut self.covered } else { &mut self.children };
        let child = all.entry(name.clone()).or_default();
        match body {
            Some(body) => drop(child.insert(signed.record.node(), Child { signed: signed.clone(), body })),
            None => drop(child.remove(&signed.record.node())),
        }
        if child.is_empty() {
            all.remove(&name);
        }
        self.settle_cuts(&name);
        let is_known = self.children.contains_key(&name);
        if known != is_known {
            self.toggle_hash(&tag_hash(&[b"child", name.as_str().as_bytes()]));
        }
        (known != is_known).then_some(What::Child { zone: name, stands: is_known })
    }

    fn apply_grant(&mut self, signed: &SignedRef, put: bool) -> Option<What> {
        let name = ZoneName::parse(signed.record.name()).ok()?;
        let body = signed.record.body().filter(|_| put).and_then(|body| GrantBody::decode(body).ok());
        let role = body.and_then(|body| Role::from_number(body.role));
        let by_node = self.grants.entry(name.clone()).or_default();
        match role {
            Some(role) => drop(by_node.insert(signed.record.node(), (signed.record.hlc, role))),
            None => drop(by_node.remove(&signed.record.node())),
        }
        if by_node.is_empty() {
            self.grants.remove(&name);
        }
        None
    }

    /// What the organisation of a zone below may do here, as was said last.
    pub fn role_of(&self, zone: &ZoneName) -> Option<Role> {
        let by_node = self.grants.get(zone)?;
        by_node.iter().max_by_key(|(node, (hlc, _))| (*hlc, **node)).map(|(_, (_, role))| *role)
    }

    fn apply_node(&mut self, signed: &SignedRef, put: bool) -> Option<What> {
        if !signed.record.node().is_name(signed.record.name()) {
            return None;
        }
        let nodes = Arc::make_mut(&mut self.tools.nodes);
        if put {
            nodes.insert(signed.clone());
        } else {
            nodes.remove(signed.record.node());
        }
        None
    }

    /// Sets who is down or has left. Health of tools follows.
    pub fn set_away(&mut self, away: Arc<BTreeSet<NodeId>>) {
        if self.tools.away != away {
            self.tools.away = away;
            self.tag.take();
            self.count(What::Members);
        }
    }

    fn toggle(&mut self, signed: &SignedRef) {
        let hash = tag_hash(&[&signed.record.node().0, &signed.hash]);
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
        let mut tools = self.tools.clone();
        tools.index = self.index.snapshot();
        tools
    }

    /// What readers see, with the index as it was last taken.
    pub const fn tools_as_taken(&self) -> &Tools {
        &self.tools
    }

    /// Delegated zones that stand, by name, each as our nodes say.
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
        same_key.max_by_key(|child| (child.signed.record.expires_ms, child.signed.record.node()))
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
