//! Registrations: servers whose upstream is dialled and listed, and catalogue entries that only stand in the list. Acknowledged
//! means signed, written and synced (P1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use aop_proto::access::{Action, Caller, Principal};
use aop_proto::error::{Kind, Problem, shell_word};
use aop_proto::name::{ZoneName, check_label, fit_label};
use aop_proto::node::{NewTool, Write, WriteError, Wrote};
use aop_proto::record::AgentBody;
use aop_proto::view::View;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Handle;
use super::hints::{register_hint, upstream_problem};
use crate::audit::{Entry, Event};
use crate::store::{Op, StoreError, Table};
use crate::upstream::{Dialled, LeftOut, ServerSpec, ServerStatus, UpstreamEvent};

/// Time a server has to be reached and listed when it is registered.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(30);
/// Under this and a server's name, lower case, stands which tools of its list an operator unregistered one by one: they stay away,
/// whatever the server lists.
const WITHOUT_KEY: &[u8] = b"without/";
/// Catalogue entries written under one signature.
pub const CATALOGUE_BATCH: usize = 2_000;

/// What a registration brought.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The server, when it was one.
    pub server: Option<String>,
    /// The zone.
    pub zone: String,
    /// Full name and `server/original` of every tool.
    pub tools: Vec<(String, String)>,
    /// Records written; 0 when everything stood already.
    pub records: usize,
    /// Tools that the server lists and that were not taken.
    pub left_out: Vec<LeftOut>,
    /// Full names of tools of the server that ended, as it has them no more.
    pub removed: Vec<String>,
    /// What went by the server's name until now, where that was another one.
    pub replaced: Option<String>,
}

/// One line of a catalogue: an MCP tool with its server, and labels or the zone it belongs to.
#[derive(Debug, Deserialize)]
struct CatalogueLine {
    name: String,
    server: String,
    #[serde(default)]
    zone: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    agent: Option<CatalogueAgent>,
}

#[derive(Debug, Deserialize)]
struct CatalogueAgent {
    #[serde(default)]
    model: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    parameters: Option<Box<RawValue>>,
}

/// Members of a line that are about the line, not of the tool.
const LINE_MEMBERS: [&str; 9] =
    ["id", "server", "zone", "source", "tags", "capabilities", "examples", "agent", "inputSchema"];

/// Reads one line into what is written. `zone` is taken as labels inside `own`, unless it ends in it already.
///
/// # Errors
/// In words, what does not fit.
pub fn read_catalogue(line: &str, own: &ZoneName) -> Result<NewTool, String> {
    let head: CatalogueLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let members: BTreeMap<&str, &RawValue> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if head.server.is_empty() || head.name.is_empty() {
        return Err("a tool needs a `name` and a `server`".to_owned());
    }
    if members.contains_key("endpoint") {
        return Err(
            "has an `endpoint`, and a line of a catalogue is listed and served by nobody: register it as a server's tool \
            (aop register file FILE, or POST /v1/servers with \"kind\": \"api\"), or leave it out"
                .to_owned(),
        );
    }
    let labels = labels_inside(head.zone.as_deref(), own)?;
    let agent = head.agent.map(|agent| AgentBody {
        model: agent.model,
        role: agent.role,
        parameters: agent.parameters.map(|raw| raw.get().as_bytes().to_vec()).unwrap_or_default(),
    });
    Ok(NewTool {
        definition: definition_of(&head.name, &members),
        original: head.name,
        server: head.server,
        labels,
        tags: head.tags,
        capabilities: head.capabilities,
        examples: head.examples,
        agent,
    })
}

fn labels_inside(zone: Option<&str>, own: &ZoneName) -> Result<String, String> {
    let Some(zone) = zone.filter(|zone| !zone.is_empty() && *zone != ".") else { return Ok(String::new()) };
    let zone = ZoneName::parse(zone).map_err(|error| error.to_string())?;
    if own.is_root() {
        return Ok(zone.to_string());
    }
    if zone == *own {
        return Ok(String::new());
    }
    let inside = zone.as_str().strip_suffix(own.as_str()).and_then(|rest| rest.strip_suffix('.'));
    Ok(inside.unwrap_or(zone.as_str()).to_owned())
}

/// The tool object: its name, its schema, then every other member byte for byte.
fn definition_of(name: &str, members: &BTreeMap<&str, &RawValue>) -> Bytes {
    let schema = members.get("inputSchema").map_or(r#"{"type":"object"}"#, |raw| raw.get());
    let mut definition = format!("{{\"name\":{},\"inputSchema\":{schema}", Value::from(name));
    for (key, raw) in members.iter().filter(|(key, _)| **key != "name" && !LINE_MEMBERS.contains(key)) {
        definition.push_str(&format!(",{}:{}", Value::from(*key), raw.get()));
    }
    definition.push('}');
    Bytes::from(definition)
}

impl Handle {
    /// Reaches a server, lists it, writes its tools and keeps the connection. An empty name is taken from what it calls itself.
    ///
    /// # Errors
    /// What went wrong, with a child's last words; nothing is registered then. `StoreFailed` after it was registered when that could
    /// not be written down.
    pub async fn register(&self, caller: &Caller, mut spec: ServerSpec) -> Result<Registered, Problem> {
        let by = &caller.principal;
        if spec.name.is_empty() {
            self.may_register_unnamed(caller)?;
        } else {
            check_label(&spec.name).map_err(|error| Problem::new(Kind::Usage, error.to_string()))?;
            self.may_register(caller, &spec.name)?;
        }
        self.may_begin()?;
        let upstreams = &self.inner.upstreams;
        let dialled = upstreams.dial(spec.clone(), REGISTER_TIMEOUT).await.map_err(|e| upstream_problem(&spec, &e));
        let dialled = match dialled {
            Ok(dialled) => dialled,
            failed => {
                let entry = Entry::by(by, Event::Registered).zone(&self.view().zone).name(&spec.name);
                self.audited(entry, failed).await?
            }
        };
        if spec.name.is_empty() {
            let called = dialled.listing().server_info.clone().unwrap_or_else(|| "server".to_owned());
            spec.name = fit_label(&short_name(&called));
        }
        let (handle, by) = (self.clone(), by.clone());
        to_its_end(async move {
            let entry = Entry::by(&by, Event::Registered).zone(&handle.view().zone).name(&spec.name);
            let entry = entry.tools(dialled.listing().tools.len());
            let taken = handle.take_in(spec, dialled, &by).await;
            handle.audited(entry, taken).await
        })
        .await
    }

    async fn take_in(&self, spec: ServerSpec, dialled: Dialled, by: &Principal) -> Result<Registered, Problem> {
        let _alone = self.inner.registering.lock().await;
        self.may_be_below(&spec.name, "").map_err(|problem| register_hint(problem, &spec))?;
        let tools = tools_of(&spec.name, Some(&spec), &dialled.listing().tools);
        let write = Write::Server { server: spec.name.clone(), replica: spec.replica, tools };
        let wrote = self.write_audited(write, Some(by)).await.map_err(|problem| register_hint(problem, &spec))?;
        self.keep_server(&spec).await?;
        let upstreams = &self.inner.upstreams;
        let before = upstreams.spec(&spec.name).map(|before| before.transport.target());
        upstreams.remove(&spec.name).await;
        let listing = upstreams.keep(dialled, &spec.name).await.map_err(|e| upstream_problem(&spec, &e))?;
        let replaced = before.filter(|before| *before != spec.transport.target());
        Ok(Registered { replaced, ..self.registered(Some(spec.name), wrote, listing.left_out) })
    }

    /// What is below a child zone is that zone's to name: nobody would ask for it here.
    fn may_be_below(&self, server: &str, labels: &str) -> Result<(), Problem> {
        let view = self.view();
        let place = if labels.is_empty() { fit_label(server) } else { format!("{}.{labels}", fit_label(server)) };
        let tool = format!("x.{}", view.zone.join(&place));
        let Some(child) = view.children.iter().find(|child| child.zone.holds(&tool)) else { return Ok(()) };
        let message = format!("`{}` is in zone {}, which names its own tools", view.zone.join(&place), child.zone);
        Err(Problem::new(Kind::NameTaken, message).hint("aop zones --tree"))
    }

    /// Writes catalogue entries.
    ///
    /// # Errors
    /// `Usage` naming the line that does not fit; lines of earlier batches stay written. `StoreFailed`, also after they were written
    /// when that could not be written down.
    pub async fn register_tools(&self, caller: &Caller, lines: Vec<Value>) -> Result<Registered, Problem> {
        let zone = self.view().zone.clone();
        let mut tools = Vec::with_capacity(lines.len());
        for (at, line) in lines.iter().enumerate() {
            let tool = read_catalogue(&line.to_string(), &zone);
            tools.push(tool.map_err(|why| Problem::new(Kind::Usage, format!("tool {}: {why}", at + 1)))?);
        }
        self.may_register_tools(caller, &tools)?;
        let places: BTreeSet<(&str, &str)> = tools.iter().map(|tool| (&*tool.server, &*tool.labels)).collect();
        places.into_iter().try_for_each(|(server, labels)| self.may_be_below(server, labels))?;
        self.may_begin()?;
        let entry = Entry::by(&caller.principal, Event::Registered).zone(&zone).tools(tools.len());
        let (handle, by) = (self.clone(), caller.principal.clone());
        to_its_end(async move {
            let written = handle.write_catalogue(tools, Some(&by)).await;
            handle.audited(entry, written).await
        })
        .await
    }

    /// The same for lines that were read already; big catalogues are written in batches.
    ///
    /// # Errors
    /// As [`Handle::register_tools`].
    pub async fn write_catalogue(&self, tools: Vec<NewTool>, by: Option<&Principal>) -> Result<Registered, Problem> {
        let mut all = Wrote::default();
        let mut tools = tools.into_iter().peekable();
        while tools.peek().is_some() {
            let batch = tools.by_ref().take(CATALOGUE_BATCH).collect();
            let wrote = self.write_audited(Write::Catalogue(batch), by).await?;
            all.tools.extend(wrote.tools);
            all.records += wrote.records;
        }
        Ok(self.registered(None, all, Vec::new()))
    }

    fn registered(&self, server: Option<String>, wrote: Wrote, left_out: Vec<LeftOut>) -> Registered {
        let Wrote { tools, removed, records } = wrote;
        Registered { server, zone: self.view().zone.to_string(), tools, records, left_out, removed, replaced: None }
    }

    /// Ends one tool or a whole server. Returns the full names that ended. A tool of a server stays away until the server is
    /// registered again.
    ///
    /// # Errors
    /// `NameNotFound` when nothing of that name is served here, `Forbidden` when another node serves it. What was begun goes on
    /// when the caller goes away.
    pub async fn unregister(&self, caller: &Caller, name_or_server: &str) -> Result<Vec<String>, Problem> {
        let (by, name_or_server) = (&caller.principal, name_or_server.trim());
        // Whoever may end some only ends of what shares a name his own, and is not told of the rest.
        let is_bounded = self.is_bounded(caller, Action::Register);
        let names = match is_bounded {
            true => self.endable(caller, name_or_server)?,
            false => {
                self.may_register(caller, name_or_server)?;
                vec![name_or_server.to_owned()]
            }
        };
        let (handle, entry) = (self.clone(), Entry::by(by, Event::Unregistered).zone(&self.view().zone));
        let entry = entry.name(name_or_server);
        self.may_begin()?;
        to_its_end(async move {
            let mut ended = Ok(Vec::new());
            for name in names {
                match (&mut ended, handle.end(name).await) {
                    (Ok(all), Ok(more)) => all.extend(more),
                    (_, Err(problem)) => ended = Err(problem),
                    (Err(_), _) => {}
                }
            }
            let entry = entry.tools(ended.as_ref().map_or(0, Vec::len));
            handle.audited(entry, ended).await
        })
        .await
        // What else is served here is not told to whom it is kept from.
        .map_err(|problem| if is_bounded { problem.did_you_mean(Vec::new()) } else { problem })
    }

    async fn end(&self, name: String) -> Result<Vec<String>, Problem> {
        let _alone = self.inner.registering.lock().await;
        let named = |server: &ServerStatus| server.name.eq_ignore_ascii_case(&name);
        match self.servers().into_iter().find(named) {
            Some(server) => self.end_server(&server.name).await,
            None => {
                self.leave_out(&name).await?;
                Ok(self.write(Write::Remove(name)).await?.removed)
            }
        }
    }

    /// What `caller` may end of what goes by that name: the name as it is, or of tools that share it the full names of those.
    ///
    /// # Errors
    /// `Forbidden`, in the same words whether it is somebody else's or not there.
    fn endable(&self, caller: &Caller, name: &str) -> Result<Vec<String>, Problem> {
        let servers = self.servers_called(name);
        let may = |server: &String| self.may_register(caller, server).is_ok();
        if !servers.is_empty() && servers.iter().all(may) {
            return Ok(vec![name.to_owned()]);
        }
        let view = self.view();
        if servers.is_empty() {
            let own = view.tools.called(name).into_iter().filter(|tool| tool.of_node(view.node).is_some());
            let own = own.map(|tool| tool.name().to_owned()).filter(|tool| may(&server_of(tool, &view)));
            let own: Vec<String> = own.collect();
            if !own.is_empty() {
                return Ok(own);
            }
        }
        self.may_register(caller, name).map(|()| vec![name.to_owned()])
    }

    /// The servers of that name, found as the node finds what it ends: each with what stands between it and the zone.
    fn servers_called(&self, name: &str) -> BTreeSet<String> {
        let (view, wanted) = (self.view(), name.to_lowercase());
        let supervised = self.servers().into_iter().map(|server| server.name);
        let mut servers: BTreeSet<String> = supervised.filter(|server| server.to_lowercase() == wanted).collect();
        let mut all = view.tools.all();
        let is_its = |server: &str| fit_label(server).to_lowercase() == wanted;
        all.retain(|tool| tool.of_node(view.node).is_some_and(|own| is_its(own.body().server)));
        servers.extend(all.into_iter().map(|tool| server_of(tool.name(), &view)));
        servers
    }

    /// Its supervisor first, so that nothing it says comes after the end of its tools.
    async fn end_server(&self, server: &str) -> Result<Vec<String>, Problem> {
        self.inner.upstreams.remove(server).await;
        let removed = match self.write(Write::Remove(server.to_owned())).await {
            Ok(wrote) => wrote.removed,
            // It was never reached, or listed nothing.
            Err(problem) if problem.kind == Kind::NameNotFound => Vec::new(),
            Err(problem) => {
                // Its tools stand, so it is kept alive where its registration is known.
                if let Some(spec) = self.kept_server(server)? {
                    self.inner.upstreams.adopt(spec);
                }
                return Err(problem);
            }
        };
        self.forget_server(server).await?;
        Ok(removed)
    }

    /// Remembers that these tools of their servers are not wanted, whoever registered the servers.
    async fn leave_out(&self, name: &str) -> Result<(), Problem> {
        let view = self.view();
        for tool in view.tools.called(name) {
            let Some(own) = tool.of_node(view.node).filter(|own| own.body().served) else { continue };
            let server = own.body().server.to_ascii_lowercase();
            let mut without = {
                let all = self.inner.without.lock().unwrap_or_else(PoisonError::into_inner);
                all.get(&server).cloned().unwrap_or_default()
            };
            without.insert(own.body().original.to_owned());
            let value =
                serde_json::to_vec(&without).map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
            let put = Op::Put { table: Table::Meta, key: without_key(&server), value: value.into() };
            self.inner.store.commit(vec![put]).await.map_err(store_problem)?;
            self.note_without(server, without);
        }
        Ok(())
    }

    fn kept_server(&self, server: &str) -> Result<Option<ServerSpec>, Problem> {
        let rows = self.inner.store.load(Table::Servers).map_err(store_problem)?;
        let row = rows.into_iter().find(|(key, _)| key == server.to_ascii_lowercase().as_bytes());
        row.map(|(_, value)| read_row(&value)).transpose()
    }

    /// Supervises every server that an earlier run registered.
    ///
    /// # Errors
    /// `StoreFailed` when the store cannot be read.
    pub fn adopt_stored(&self) -> Result<(), Problem> {
        for (key, value) in self.inner.store.load(Table::Meta).map_err(store_problem)? {
            if let Some(server) = key.strip_prefix(WITHOUT_KEY) {
                self.note_without(String::from_utf8_lossy(server).into_owned(), read_row(&value)?);
            }
        }
        for (_, value) in self.inner.store.load(Table::Servers).map_err(store_problem)? {
            self.inner.upstreams.adopt(read_row(&value)?);
        }
        Ok(())
    }

    /// Says of every server that served tools here and that nobody supervises any more that it is down: it was taken out of the
    /// configuration. Its tools stay listed until they are unregistered.
    ///
    /// # Errors
    /// `StoreFailed`, or what else keeps this node from writing.
    pub async fn disown_unsupervised(&self) -> Result<(), Problem> {
        let _alone = self.inner.registering.lock().await;
        let view = self.view();
        let supervised: BTreeSet<String> =
            self.servers().into_iter().map(|state| state.name.to_ascii_lowercase()).collect();
        let own = view.tools.all().into_iter().filter_map(|tool| tool.of_node(view.node));
        let served: BTreeSet<&str> =
            own.map(|own| own.body()).filter(|body| body.served).map(|body| body.server).collect();
        for server in served.into_iter().filter(|server| !supervised.contains(&server.to_ascii_lowercase())) {
            tracing::warn!(server, "no longer configured; `aop unregister` ends its tools");
            let error = "no longer configured".to_owned();
            self.write(Write::ServerState { server: server.to_owned(), up: false, error }).await?;
        }
        Ok(())
    }

    fn note_without(&self, server: String, without: BTreeSet<String>) {
        let mut all = self.inner.without.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(server, without);
    }

    /// Keeps a registration; all tools of its list are wanted again.
    async fn keep_server(&self, spec: &ServerSpec) -> Result<(), Problem> {
        let value = serde_json::to_vec(spec).map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
        let server = spec.name.to_ascii_lowercase();
        let put = Op::Put { table: Table::Servers, key: server.clone().into_bytes(), value: value.into() };
        let wanted = Op::Delete { table: Table::Meta, key: without_key(&server) };
        self.inner.store.commit(vec![put, wanted]).await.map_err(store_problem)?;
        self.note_without(server, BTreeSet::new());
        Ok(())
    }

    async fn forget_server(&self, server: &str) -> Result<(), Problem> {
        let server = server.to_ascii_lowercase();
        let wanted = Op::Delete { table: Table::Meta, key: without_key(&server) };
        let row = Op::Delete { table: Table::Servers, key: server.clone().into_bytes() };
        self.inner.store.commit(vec![row, wanted]).await.map_err(store_problem)?;
        self.note_without(server, BTreeSet::new());
        Ok(())
    }

    /// A server's list without what an operator took out of it.
    pub(super) fn wanted(&self, server: &str, tools: &[Bytes]) -> Vec<NewTool> {
        let spec = self.inner.upstreams.spec(server);
        let mut tools = tools_of(server, spec.as_deref(), tools);
        let all = self.inner.without.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(without) = all.get(&server.to_ascii_lowercase()) {
            tools.retain(|tool| !without.contains(&tool.original));
        }
        tools
    }

    /// Lists a server again and writes what changed.
    ///
    /// # Errors
    /// `ServerNotFound`, or why it could not be listed; the last list stands. `StoreFailed` when what changes could not be written down.
    pub async fn refresh(&self, caller: &Caller, server: &str) -> Result<Registered, Problem> {
        let by = &caller.principal;
        self.may_ask_of_server(caller, server)?;
        self.may_begin()?;
        let states = self.servers();
        let Some(state) = states.iter().find(|state| state.name.eq_ignore_ascii_case(server)) else {
            return Err(self.no_such_server(server));
        };
        self.may_register(caller, &state.name)?;
        let listing = self.inner.upstreams.refresh(&state.name, REGISTER_TIMEOUT).await;
        let listing = listing.map_err(|error| {
            Problem::new(Kind::UpstreamDown, format!("`{server}`: {error}")).hint(format!("aop refresh {server}"))
        })?;
        let _alone = self.inner.registering.lock().await;
        if !self.servers().iter().any(|known| known.name == state.name) {
            return Err(self.no_such_server(server));
        }
        let tools = self.wanted(&state.name, &listing.tools);
        let write = Write::Server { server: state.name.clone(), replica: state.replica, tools };
        let wrote = self.write_audited(write, Some(by)).await?;
        self.settle_audit().await?;
        Ok(self.registered(Some(state.name.clone()), wrote, listing.left_out))
    }

    /// The problem of a server that is not registered here.
    pub fn no_such_server(&self, server: &str) -> Problem {
        let states = self.servers();
        let near = aop_proto::error::did_you_mean(server, states.iter().map(|state| state.name.as_str()));
        Problem::new(Kind::ServerNotFound, format!("no server `{server}` on this node"))
            .hint("aop status")
            .did_you_mean(near)
    }

    /// Follows what servers say of themselves, until their room is closed: lists that changed, servers that went and came.
    pub async fn follow_servers(self, mut events: mpsc::Receiver<UpstreamEvent>) {
        while let Some(event) = events.recv().await {
            let _alone = self.inner.registering.lock().await;
            let write = match event {
                UpstreamEvent::Listed { server, tools, .. } => {
                    let replica = self.servers().iter().any(|state| state.name == server && state.replica);
                    Write::Server { tools: self.wanted(&server, &tools), server, replica }
                }
                UpstreamEvent::Down { server, reason } => Write::ServerState { server, up: false, error: reason },
                UpstreamEvent::Up { server } => Write::ServerState { server, up: true, error: String::new() },
            };
            let is_known = |name: &str| self.servers().iter().any(|state| state.name == name);
            let server = match &write {
                Write::Server { server, .. } | Write::ServerState { server, .. } => server.clone(),
                _ => String::new(),
            };
            // News of a server that was unregistered meanwhile are no news.
            if is_known(&server)
                && let Err(problem) = self.write_audited(write, None).await
            {
                tracing::warn!(server, "its news were not taken: {problem}");
            }
        }
    }

    pub(super) fn write_problem(&self, error: WriteError) -> Problem {
        let message = error.to_string();
        match error {
            WriteError::Name(_) | WriteError::Definition { .. } => Problem::new(Kind::Usage, message),
            WriteError::TooLarge { .. } | WriteError::TooManyWords { .. } => Problem::new(Kind::TooLarge, message),
            WriteError::LogFull { .. } => Problem::new(Kind::TooLarge, message).hint(format!(
                "aop-node --zone {} --join {}",
                self.view().zone,
                self.inner.about.listen
            )),
            WriteError::Taken { name, same_definition, .. } => Problem::new(Kind::NameTaken, message)
                .hint(format!("aop show {name}"))
                .detail(json!({"name": name, "same_definition": same_definition})),
            WriteError::Unknown(name) => {
                let view = self.view();
                let servers = self.servers();
                let tools = view.tools.all();
                let names = servers.iter().map(|server| server.name.as_str());
                let names = names.chain(tools.iter().map(|tool| tool.name()));
                let near = aop_proto::error::did_you_mean(&name, names);
                Problem::new(Kind::NameNotFound, message).hint("aop ls").did_you_mean(near)
            }
            WriteError::Elsewhere { node, name } => {
                let view = self.view();
                let address = view.members.iter().find(|m| m.node == node).map(|m| &m.address);
                let hint = match address.filter(|address| !address.is_empty()) {
                    Some(at) => format!("aop unregister {} --node {at}", shell_word(&name)),
                    None => "aop nodes -o wide".to_owned(),
                };
                Problem::new(Kind::Forbidden, message).hint(hint)
            }
            WriteError::KeyElsewhere { maker, .. } => {
                let maker = maker.and_then(|maker| self.view().members.iter().find(|m| m.node == maker).cloned());
                let hint =
                    maker.map_or_else(|| "aop keys".to_owned(), |m| format!("aop keys rotate --node {}", m.address));
                Problem::new(Kind::Forbidden, message).hint(hint)
            }
            WriteError::NotSigner { .. } => Problem::new(Kind::Forbidden, message).hint("aop keys"),
            WriteError::Elder { .. } => Problem::new(Kind::Forbidden, message).hint("aop keys"),
            WriteError::Revoked { .. } => Problem::new(Kind::NameTaken, message).hint("aop nodes"),
            WriteError::NotBelow { zone, own } => {
                let first = zone.as_str().split('.').next().unwrap_or_default().to_owned();
                let below = vec![own.join(&first).to_string()];
                Problem::new(Kind::Usage, message).hint("aop zones delegate --help").did_you_mean(below)
            }
            WriteError::Delegated { zone } => {
                Problem::new(Kind::NameTaken, message).hint(format!("aop zones undelegate {zone}"))
            }
            WriteError::Nested { .. } => Problem::new(Kind::NameTaken, message).hint("aop zones --tree"),
            WriteError::NotDelegated { .. } => Problem::new(Kind::ZoneNotFound, message).hint("aop zones --tree"),
            WriteError::KeyFrozen { .. } => Problem::new(Kind::Forbidden, message).hint("aop keys"),
            WriteError::KeyUnsettled { .. } => Problem::new(Kind::Busy, message).hint("aop status"),
            WriteError::TooMany => Problem::new(Kind::Busy, message).hint("aop status"),
            WriteError::KeyUsed { .. } => Problem::new(Kind::Internal, message),
            WriteError::Store => Problem::new(Kind::StoreFailed, message).hint("aop status"),
        }
    }
}

/// `mcp-servers/everything` and `@scope/server-time` are called by their last part.
fn short_name(called: &str) -> String {
    let last = called.rsplit('/').next().unwrap_or(called);
    ["mcp-server-", "server-"].iter().find_map(|prefix| last.strip_prefix(prefix)).unwrap_or(last).to_owned()
}

/// The tools of a list, each with its exact bytes; what has no name is left out.
fn tools_of(server: &str, spec: Option<&ServerSpec>, tools: &[Bytes]) -> Vec<NewTool> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let named = tools.iter().filter_map(|bytes| serde_json::from_slice(bytes).ok().map(|Named { name }| (name, bytes)));
    let defined = |tool: &str| spec.and_then(|spec| spec.defined(tool));
    named
        .map(|(original, bytes)| NewTool {
            tags: spec.map(|spec| spec.tags_of(&original)).unwrap_or_default(),
            capabilities: defined(&original).map(|tool| tool.capabilities.clone()).unwrap_or_default(),
            examples: defined(&original).map(|tool| tool.examples.clone()).unwrap_or_default(),
            original,
            definition: bytes.clone(),
            server: server.to_owned(),
            ..NewTool::default()
        })
        .collect()
}

/// Carries something out even if whoever wants it goes away half-way: what was begun must not stay half done.
pub(super) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(Problem::new(Kind::Internal, error.to_string())))
}

fn without_key(server: &str) -> Vec<u8> {
    [WITHOUT_KEY, server.as_bytes()].concat()
}

fn read_row<T: serde::de::DeserializeOwned>(value: &[u8]) -> Result<T, Problem> {
    let unread = |error| Problem::new(Kind::StoreFailed, format!("a stored server cannot be read: {error}"));
    serde_json::from_slice(value).map_err(unread)
}

fn store_problem(error: StoreError) -> Problem {
    Problem::new(Kind::StoreFailed, error.to_string()).hint("aop status")
}

/// Of a tool's full name the server, with what stands between it and the zone.
fn server_of(tool: &str, view: &View) -> String {
    let behind = tool.split_once('.').map_or("", |(_, behind)| behind);
    let server = behind.strip_suffix(view.zone.as_str()).map_or(behind, |server| server.trim_end_matches('.'));
    server.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_the_tools_own_members_and_no_others() {
        let own = ZoneName::parse("azure").unwrap();
        let line = r#"{"id":"acr/x","name":"x","server":"acr","zone":"acr.azure","source":"s","inputSchema":{"b":1.0,"a":2},"annotations":{"readOnlyHint":true},"tags":["t"]}"#;
        let tool = read_catalogue(line, &own).unwrap();
        assert_eq!((tool.labels.as_str(), tool.tags.as_slice()), ("acr", ["t".to_owned()].as_slice()));
        let definition = std::str::from_utf8(&tool.definition).unwrap();
        assert_eq!(definition, r#"{"name":"x","inputSchema":{"b":1.0,"a":2},"annotations":{"readOnlyHint":true}}"#);
    }

    #[test]
    fn an_endpoint_that_nobody_would_call_is_refused_in_words() {
        let line = r#"{"name":"x","server":"s","endpoint":"http://127.0.0.1:1/x"}"#;
        let why = read_catalogue(line, &ZoneName::parse("azure").unwrap()).map(drop).unwrap_err();
        assert!(why.contains("`endpoint`") && why.contains("aop register"), "{why}");
    }

    #[test]
    fn a_lines_zone_is_labels_inside_the_nodes_unless_it_ends_in_it() {
        let labels = |zone: &str, own: &str| labels_inside(Some(zone), &ZoneName::parse(own).unwrap()).unwrap();
        assert_eq!(labels("acr.azure", "azure"), "acr");
        assert_eq!(labels("azure", "azure"), "");
        assert_eq!(labels("weather", "azure"), "weather");
        assert_eq!(labels("weather", "."), "weather");
    }

    #[test]
    fn servers_are_called_by_what_tells_them_apart() {
        assert_eq!(short_name("mcp-servers/everything"), "everything");
        assert_eq!(short_name("@modelcontextprotocol/server-filesystem"), "filesystem");
        assert_eq!(short_name("mcp-server-time"), "time");
    }
}
