//! Other people's servers: registered, listed, called, kept alive.
//!
//! ```text
//!  Upstreams ── Supervisor (one task each) ── Link ── rmcp service ── StdioTransport ── Child
//!      │              │ events                  │            ├─────── TapHttp (Streamable HTTP)
//!      │              │                         │            └─────── StdioTransport ── Bridge ── agent, api (plain HTTP)
//!      ├── call ──────┴──── Board ── Live ──────┘   raw bytes go through Taps, beside rmcp
//!      └── pass ── Passages ── processes of clients, or TapHttp: their own messages, without rmcp
//! ```
//!
//! It decides nothing about names, zones, retries or trust: it says what a server listed and what a call gave, byte for byte.
//! What must always hold: one bad server never delays another, every error says whether the call can have begun, and nothing
//! outlives [`Upstreams::shutdown`].

mod agent;
mod api;
mod bridge;
mod child;
mod connection;
mod egress;
mod event_limit;
mod exchange;
mod failure;
mod frame;
mod link;
mod mcp_http;
mod mirror;
mod passages;
mod passing;
mod room;
mod spec;
mod status;
mod stdio;
mod supervisor;
mod tap;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aop_proto::call::lifecycle::Happening;
use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::watch::Watch;

pub(crate) use self::frame::is_disguised;
pub(crate) use self::link::OLD_SSE;
pub(crate) use self::passing::{Asked, Said, SaidBody, Way};
pub use self::{
    api::{ApiTool, check_tools},
    egress::{AddressClass, Egress},
    failure::UpstreamError,
    mirror::{MirrorError, check_mirror},
    room::{Filling, Room},
    spec::{Secret, ServerSpec, TransportSpec, check_schema, check_tags},
    status::ServerStatus,
};
use self::{
    connection::Live,
    link::Link,
    passages::Passages,
    status::{Board, Events},
    supervisor::{Command, Supervisor, listing},
};

/// Commands waiting for one supervisor; a full queue means that it is being asked for the same thing again.
const COMMANDS: usize = 16;

/// What servers do by themselves. Sent on a bounded channel; a slow reader holds back the servers, never the calls.
#[derive(Debug, Clone)]
pub enum UpstreamEvent {
    /// The whole list, each tool's JSON as the server sent it; only when it differs from the last one told. What
    /// [`Upstreams::register`] and [`Upstreams::keep`] return counts as told.
    Listed {
        /// Which server.
        server: String,
        /// All pages.
        tools: Vec<Bytes>,
        /// The MCP revision spoken.
        protocol: String,
    },
    /// It cannot be called until [`UpstreamEvent::Up`]. Told once per outage.
    Down {
        /// Which server.
        server: String,
        /// With the child's last words where there is a child.
        reason: String,
    },
    /// It can be called (again). Not told for the connection a registration was made with.
    Up {
        /// Which server.
        server: String,
    },
}

/// What a server has to offer.
#[derive(Debug, Clone)]
pub struct Listing {
    /// All pages, each tool's JSON as the server sent it.
    pub tools: Vec<Bytes>,
    /// The MCP revision agreed on.
    pub protocol: String,
    /// What the server calls itself, if it does.
    pub server_info: Option<String>,
    /// Tools of it that are not taken.
    pub left_out: Vec<LeftOut>,
}

/// A tool that a server lists and this node does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name as the server knows it.
    pub tool: String,
    /// Why, for a person.
    pub reason: String,
}

/// One `tools/call`.
#[derive(Debug, Clone)]
pub struct UpstreamCall {
    /// The tool's name as the server knows it.
    pub tool: String,
    /// The raw JSON object, sent byte for byte; empty to send none.
    pub arguments: Bytes,
    /// Other members of `params`, sent byte for byte: `inputResponses`, `requestState`; `_meta` is merged member by member,
    /// where the progress token and the protocol version are always ours.
    pub extra: Vec<(String, Bytes)>,
    /// Absolute: progress does not extend it.
    pub timeout: Duration,
    /// The raw `params` of each `notifications/progress`, before the result; steps that do not fit are lost.
    pub progress: Option<mpsc::Sender<Bytes>>,
}

/// All servers of this node. Cheap to clone.
#[derive(Clone)]
pub struct Upstreams {
    shared: Arc<Shared>,
}

struct Shared {
    servers: Mutex<Servers>,
    events: mpsc::Sender<UpstreamEvent>,
    watching: Events,
    egress: Egress,
    room: Room,
}

#[derive(Default)]
struct Servers {
    closed: bool,
    by_name: BTreeMap<String, Entry>,
}

struct Entry {
    board: Arc<Board>,
    commands: mpsc::Sender<Command>,
    passages: Arc<Passages>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Entry {
    async fn end(self) {
        self.stop.cancel();
        self.passages.close().await;
        if let Err(e) = self.task.await {
            tracing::error!("a supervisor failed: {e}");
        }
    }
}

/// A server that was reached and listed but has no name here yet. Dropped, it is disconnected.
pub struct Dialled {
    spec: ServerSpec,
    link: Link,
    listing: Listing,
}

impl Dialled {
    /// What it offers, and what it calls itself.
    pub fn listing(&self) -> &Listing {
        &self.listing
    }
}

/// Why something was not kept, and the connection to close.
struct Refused {
    error: UpstreamError,
    link: Option<Link>,
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.states().iter().map(|state| &state.name)).finish()
    }
}

impl Upstreams {
    /// Nothing is connected yet. `events` should be drained for as long as this lives; `egress` is for all registrations.
    pub fn new(events: mpsc::Sender<UpstreamEvent>, egress: Egress) -> Self {
        let (watching, room) = (Events::default(), Room::default());
        Self { shared: Arc::new(Shared { servers: Mutex::default(), events, watching, egress, room }) }
    }

    /// From now on `events` are told of every stage in the life of a server; the first who asks for it is.
    pub fn tell(&self, events: Watch) {
        // It is asked for once, where the node is put together.
        let _ = self.shared.watching.set(events);
    }

    /// Connects and lists once; the connection is then kept and supervised under `spec.name`.
    ///
    /// # Errors
    ///
    /// Any but `UnknownServer`; nothing stays behind.
    pub async fn register(&self, spec: ServerSpec, timeout: Duration) -> Result<Listing, UpstreamError> {
        self.check_free(&spec.name)?;
        let name = spec.name.clone();
        let dialled = self.dial(spec, timeout).await?;
        self.keep(dialled, &name).await
    }

    /// The first half of [`Upstreams::register`], for a caller that wants to see the server before naming it.
    ///
    /// # Errors
    ///
    /// `Invalid`, `Secret`, `Address`, `Exposed` or `Connect`; nothing stays behind.
    pub async fn dial(&self, spec: ServerSpec, timeout: Duration) -> Result<Dialled, UpstreamError> {
        let (link, tools) =
            Link::make(&spec, self.shared.egress, self.shared.room.of_one(), None, Instant::now() + timeout).await?;
        let listing = listing(&link, tools);
        Ok(Dialled { spec, link, listing })
    }

    /// The second half: supervises what was dialled under this name.
    ///
    /// # Errors
    ///
    /// `NameTaken` or `Invalid`; the connection is closed.
    pub async fn keep(&self, dialled: Dialled, name: &str) -> Result<Listing, UpstreamError> {
        let Dialled { mut spec, link, listing } = dialled;
        name.clone_into(&mut spec.name);
        match self.start(spec, Some((link, listing.tools.clone()))) {
            Ok(()) => Ok(listing),
            Err(refused) => {
                if let Some(link) = refused.link {
                    link.close("it was not kept").await;
                }
                Err(refused.error)
            }
        }
    }

    /// Supervises a server known from an earlier run; connects in the background, for ever. A name in use is left alone.
    pub fn adopt(&self, spec: ServerSpec) {
        let name = spec.name.clone();
        if let Err(refused) = self.start(spec, None) {
            tracing::warn!(server = name, "not adopted: {}", refused.error);
        }
    }

    /// Disconnects and forgets. False when there is no such server.
    pub async fn remove(&self, server: &str) -> bool {
        let entry = self.servers().by_name.remove(server);
        match entry {
            Some(entry) => {
                let board = entry.board.clone();
                entry.end().await;
                board.happened(Happening::Removed);
                true
            }
            None => false,
        }
    }

    /// Lists again, connecting first where need be. A list that differs is told as an event too.
    ///
    /// # Errors
    ///
    /// Why it could not be listed within `timeout`; the last list stands.
    pub async fn refresh(&self, server: &str, timeout: Duration) -> Result<Listing, UpstreamError> {
        let deadline = Instant::now() + timeout;
        let commands = self.find(server, |entry| entry.commands.clone())?;
        let (reply, answer) = oneshot::channel();
        let asked = async {
            commands.send(Command::Refresh(reply)).await.map_err(|_| UpstreamError::UnknownServer)?;
            answer.await.map_err(|_| UpstreamError::UnknownServer)?
        };
        timeout_at(deadline, asked).await.unwrap_or(Err(UpstreamError::TimedOut { after: timeout }))
    }

    /// The server of that name, as it is spelled here.
    pub fn named(&self, name: &str) -> Option<String> {
        let servers = self.servers();
        if servers.by_name.contains_key(name) {
            return Some(name.to_owned());
        }
        servers.by_name.keys().find(|known| known.eq_ignore_ascii_case(name)).cloned()
    }

    /// Every server, by name.
    pub fn states(&self) -> Vec<ServerStatus> {
        self.servers().by_name.values().map(|entry| entry.board.snapshot()).collect()
    }

    /// What a server was registered as.
    pub fn spec(&self, server: &str) -> Option<Arc<ServerSpec>> {
        self.find(server, |entry| entry.passages.spec().clone()).ok()
    }

    /// Calls a tool; the answer is the raw JSON of `result`, byte for byte. Dropping the future cancels the call.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::not_sent`] says whether it may be repeated.
    pub async fn call(&self, server: &str, call: UpstreamCall) -> Result<Bytes, UpstreamError> {
        let deadline = Instant::now() + call.timeout;
        let (board, live) = self.live(server, deadline).await?;
        board.look();
        let outcome = live.call(call, deadline).await;
        board.noted(outcome.as_ref().map(drop));
        board.look();
        outcome
    }

    /// The server's connection, waiting for one that is being made.
    async fn live(&self, server: &str, deadline: Instant) -> Result<(Arc<Board>, Arc<Live>), UpstreamError> {
        let (board, commands) = self.find(server, |entry| (entry.board.clone(), entry.commands.clone()))?;
        match board.connection(deadline).await {
            Ok(live) => Ok((board, live)),
            Err(e) => {
                // A full queue pokes well enough.
                let _ = commands.try_send(Command::Poke);
                Err(e)
            }
        }
    }

    /// Ends every server: SIGTERM to children, SIGKILL two seconds later. Nothing can be registered afterwards.
    pub async fn shutdown(&self) {
        let entries = {
            let mut servers = self.servers();
            servers.closed = true;
            std::mem::take(&mut servers.by_name)
        };
        futures::future::join_all(entries.into_values().map(Entry::end)).await;
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        self.shared.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find<T>(&self, server: &str, take: impl FnOnce(&Entry) -> T) -> Result<T, UpstreamError> {
        self.servers().by_name.get(server).map(take).ok_or(UpstreamError::UnknownServer)
    }

    fn check_free(&self, name: &str) -> Result<(), UpstreamError> {
        if name.is_empty() {
            return Err(UpstreamError::Invalid { reason: "the server has no name".to_owned() });
        }
        let servers = self.servers();
        if servers.closed {
            return Err(UpstreamError::Connect { reason: "the node is shutting down".to_owned() });
        }
        match servers.by_name.contains_key(name) {
            true => Err(UpstreamError::NameTaken { server: name.to_owned() }),
            false => Ok(()),
        }
    }

    /// Puts a supervisor to work, or gives the connection back.
    fn start(&self, spec: ServerSpec, made: Option<(Link, Vec<Bytes>)>) -> Result<(), Box<Refused>> {
        let (link, last) = made.unzip();
        if let Err(e) = self.check_free(&spec.name) {
            return Err(Box::new(Refused { error: e, link }));
        }
        let mut servers = self.servers();
        if servers.closed || servers.by_name.contains_key(&spec.name) {
            return Err(Box::new(Refused { error: UpstreamError::NameTaken { server: spec.name }, link }));
        }
        let spec = Arc::new(spec);
        let (name, board, stop) =
            (spec.name.clone(), Arc::new(Board::new(&spec, self.shared.watching.clone())), CancellationToken::new());
        // What is supervised has a list: from now, or from an earlier run.
        board.happened(Happening::Listed);
        if let Some(link) = &link {
            board.ready(&link.live, false);
            board.listed(last.as_ref().map_or(0, Vec::len));
        }
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let passages = Arc::new(Passages::new(spec.clone()));
        let supervisor = Supervisor {
            era: link.as_ref().map(Link::era),
            spec,
            board: board.clone(),
            events: self.shared.events.clone(),
            egress: self.shared.egress,
            room: self.shared.room.of_one(),
            commands: receiver,
            stop: stop.clone(),
            last,
        };
        let task = tokio::spawn(supervisor.run(link));
        servers.by_name.insert(name, Entry { board, commands, passages, stop, task });
        Ok(())
    }
}
