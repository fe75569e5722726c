//! One tool as its records say: who serves it, whose definition is shown, and what it is called and found by.

use crate::index::{DocId, Document, Goal, Sifted, Terms};
use crate::json::Json;
use crate::name::{FullName, wire_name};
use crate::record::{NodeId, SignedRef, ToolText};

/// One node's instance of a tool.
#[derive(Clone, Debug)]
pub struct ToolInstance {
    /// The record.
    pub signed: SignedRef,
}

impl ToolInstance {
    /// Reads a tool record; `None` when it is of another kind, or this build cannot read its body or its name.
    pub fn read(signed: &SignedRef) -> Option<Self> {
        Self::open(signed).map(|_| Self { signed: signed.clone() })
    }

    /// The name and the body of a tool record; `None` as above.
    pub fn open(signed: &SignedRef) -> Option<(FullName, ToolText<'_>)> {
        Some((tool_name(signed)?, signed.record.tool()?))
    }

    /// Its name, as the record writes it.
    pub fn name(&self) -> FullName {
        tool_name(&self.signed).expect("it was read")
    }

    /// Its body.
    pub fn body(&self) -> ToolText<'_> {
        self.signed.record.tool().expect("it was read")
    }

    /// Whose it is.
    pub fn node(&self) -> NodeId {
        self.signed.record.node()
    }

    fn order(&self) -> (u64, u64, NodeId, u64) {
        let record = &self.signed.record;
        (record.epoch(), record.hlc, record.node(), record.seq)
    }
}

/// One tool of the zone, with everybody who serves it. Its name and all that is said of it stand in their records.
#[derive(Clone, Debug)]
pub struct Tool {
    serving: Serving,
    /// Whose definition is shown: its place among the instances.
    shown: u32,
    /// Instances that did not declare the same service, or whose definitions differ.
    pub clash: bool,
    /// Its number.
    pub(super) document: DocId,
    /// The check of its full name where it stands among others.
    pub(super) name_check: u64,
}

/// One instance a node, sorted by node; most tools have one.
#[derive(Clone, Debug)]
enum Serving {
    One(ToolInstance),
    Many(Box<[ToolInstance]>),
}

impl Tool {
    /// The tool of these instances, at least one, of one name.
    pub(super) fn of(instances: Vec<ToolInstance>, document: DocId) -> Self {
        let last = (0..instances.len()).max_by_key(|place| instances[*place].order());
        let place = last.expect("a tool is served by somebody");
        let hash = instances[place].signed.record.def_hash();
        let same = |instance: &ToolInstance| instance.body().replica && instance.signed.record.def_hash() == hash;
        let clash = instances.len() > 1 && !instances.iter().all(same);
        let shown = u32::try_from(place).expect("a zone has fewer nodes");
        let serving = match <[ToolInstance; 1]>::try_from(instances) {
            Ok([one]) => Serving::One(one),
            Err(many) => Serving::Many(many.into()),
        };
        Self { serving, shown, clash, document, name_check: 0 }
    }

    /// Those who serve what is shown: where it is declared a replica everybody who declares the same with the same definition, else who
    /// shows it alone. A call goes to nobody else.
    pub fn serving(&self) -> impl Iterator<Item = &ToolInstance> {
        let shown = self.shown();
        let (node, hash, replica) = (shown.node(), shown.signed.record.def_hash(), shown.body().replica);
        let is_same =
            move |other: &ToolInstance| replica && other.body().replica && other.signed.record.def_hash() == hash;
        self.instances().iter().filter(move |other| other.node() == node || is_same(other))
    }

    /// Everybody who has a tool of that name, one a node, sorted by node; never empty.
    pub fn instances(&self) -> &[ToolInstance] {
        match &self.serving {
            Serving::One(one) => std::slice::from_ref(one),
            Serving::Many(many) => many,
        }
    }

    /// Its full name, as the shown instance writes it.
    pub fn name(&self) -> &str {
        self.shown().signed.record.name()
    }

    /// The instance that is shown.
    pub fn shown(&self) -> &ToolInstance {
        &self.instances()[self.shown as usize]
    }

    /// The instance of one node.
    pub fn of_node(&self, node: NodeId) -> Option<&ToolInstance> {
        let instances = self.instances();
        let at = instances.binary_search_by_key(&node, ToolInstance::node).ok()?;
        Some(&instances[at])
    }

    /// Its name on the MCP wire.
    pub fn wire_name(&self) -> String {
        let label = self.name().split('.').next().unwrap_or_default();
        wire_name(self.shown().body().server, label)
    }

    /// Everything by which it is found exactly; see [`aliases`].
    pub fn aliases(&self) -> [String; 4] {
        aliases(&self.shown().name(), &self.shown().body())
    }
}

/// The name of a tool's record. There is one spelling of a key: two records of one origin must not show one tool.
pub(super) fn tool_name(signed: &SignedRef) -> Option<FullName> {
    FullName::parse(signed.record.name()).ok().filter(|name| name.key().eq_ignore_ascii_case(signed.record.name()))
}

/// Everything by which a tool is found exactly, lower case: full name, `server__tool`, `server/original`, the original name.
pub fn aliases(name: &FullName, body: &ToolText<'_>) -> [String; 4] {
    let label = name.key().split('.').next().unwrap_or_default();
    [
        name.key().to_owned(),
        wire_name(body.server, label).to_ascii_lowercase(),
        [body.server, "/", body.original].concat().to_lowercase(),
        body.original.to_lowercase(),
    ]
}

/// Whether `text`, in lower case, is one of its [`aliases`].
pub fn is_called(name: &FullName, body: &ToolText<'_>, text: &str) -> bool {
    // Most questions have spaces, and most names none.
    let may_be = !text.contains(' ') || body.original.contains(' ') || body.server.contains(' ');
    may_be && aliases(name, body).iter().any(|alias| alias == text)
}

/// The words of a tool, as every node of every zone reads them from its signed text.
pub fn terms_of(body: &ToolText<'_>) -> Terms {
    // A definition that is no JSON object has no words; it can still be found by its name.
    Json::read(body.definition).map(|definition| terms_with(body, &definition)).unwrap_or_default()
}

/// The same, with its definition as it was read.
pub fn terms_with(body: &ToolText<'_>, definition: &Json<'_>) -> Terms {
    document(body, definition).map(|document| Terms::of(&document)).unwrap_or_default()
}

/// What a question finds in a tool's text: as of its words, without reading them all.
pub fn sifted(goal: &Goal, body: &ToolText<'_>) -> Sifted {
    let definition = Json::read(body.definition).ok();
    let document = definition.as_ref().and_then(|definition| document(body, definition));
    document.map(|document| goal.sift(&document)).unwrap_or_default()
}

/// The text of a tool by which it is found in words; nothing where its definition is no JSON object.
fn document<'a>(body: &ToolText<'a>, definition: &'a Json<'a>) -> Option<Document<'a>> {
    let words = body.tags.iter().chain(&body.capabilities).chain(&body.examples).copied();
    let role = body.agent.as_ref().map(|agent| agent.role);
    let mut document = definition.is_object().then(|| Document::of(definition, body.server))?;
    document.extra.extend(words.chain(role));
    Some(document)
}
