//! What is known of one server at this moment: for operators, and for calls that look for a connection.
//!
//! The supervisor is its only writer, except for the outcome of calls. What must always hold: a caller never waits here for a
//! server that is known to be down.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aop_proto::call::lifecycle::{Happening, Stage};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{connection::Live, failure::UpstreamError, spec::ServerSpec};
use crate::watch::{self as watching, Watch};

/// How often it is told that a server takes no more calls.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// One server as `GET /v1/servers` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct ServerStatus {
    /// Its name on this node.
    pub name: String,
    /// `mcp`, `agent`, `api` or `stdio`.
    pub kind: &'static str,
    /// The URL without its query, or the command line.
    pub target: String,
    /// `ready`, `connecting` or `down`.
    pub state: &'static str,
    /// Where it is in its life: `INIT`, `REGISTERED`, `ACTIVE`, `BUSY`, `ERROR`.
    pub lifecycle: &'static str,
    /// The MCP revision agreed on, while connected or when last connected.
    pub protocol: Option<String>,
    /// How many tools its last list had.
    pub tools: usize,
    /// When it last answered, RFC 3339.
    pub last_ok: Option<String>,
    /// What last went wrong, secrets masked.
    pub last_error: Option<String>,
    /// Connections made after the first.
    pub restarts: u64,
    /// Whether it was declared an instance of a service that runs elsewhere too.
    pub replica: bool,
    /// What all its tools are found by, besides their own tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl ServerStatus {
    /// Leaves of a command line the program.
    pub fn hide_arguments(&mut self) {
        let Some((program, _)) = self.target.split_once(' ').filter(|_| self.kind == "stdio") else { return };
        let short = format!("{program} …");
        self.last_error = self.last_error.take().map(|error| error.replace(&self.target, &short));
        self.target = short;
    }
}

/// Where a connection stands. The supervisor moves it, nobody else.
#[derive(Clone)]
pub(crate) enum Phase {
    /// An attempt is running and none has failed since the last good one; calls wait.
    Connecting,
    /// Calls go through.
    Ready(Arc<Live>),
    /// The last attempt failed; calls are refused with the reason until the next one succeeds.
    Down(String),
}

/// See the module.
pub(crate) struct Board {
    phase: watch::Sender<Phase>,
    stage: Mutex<Told>,
    events: Events,
    status: Mutex<ServerStatus>,
}

/// Who is told of stages, once there is somebody.
pub(crate) type Events = Arc<OnceLock<Watch>>;

/// Where a server is in its life.
struct Told {
    stage: Stage,
    /// When it was last told that it takes no more calls.
    busy: Option<Instant>,
    /// That is what was told last.
    is_told_busy: bool,
}

impl Board {
    pub(crate) fn new(spec: &ServerSpec, events: Events) -> Self {
        let status = ServerStatus {
            name: spec.name.clone(),
            kind: spec.transport.kind(),
            target: spec.transport.target(),
            state: "connecting",
            lifecycle: Stage::Init.name(),
            protocol: None,
            tools: 0,
            last_ok: None,
            last_error: None,
            restarts: 0,
            replica: spec.replica,
            tags: spec.tags.clone(),
        };
        let phase = watch::Sender::new(Phase::Connecting);
        let stage = Mutex::new(Told { stage: Stage::Init, busy: None, is_told_busy: false });
        Self { phase, stage, events, status: Mutex::new(status) }
    }

    fn status(&self) -> MutexGuard<'_, ServerStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn snapshot(&self) -> ServerStatus {
        let mut stage = self.stage().stage;
        if let Phase::Ready(live) = &*self.phase.borrow()
            && live.is_full()
        {
            stage = stage.after(Happening::Filled);
        }
        ServerStatus { lifecycle: stage.name(), ..self.status().clone() }
    }

    fn stage(&self) -> MutexGuard<'_, Told> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened in the server's life.
    pub(crate) fn happened(&self, happening: Happening) {
        let mut told = self.stage();
        let stage = told.stage.after(happening);
        if stage != std::mem::replace(&mut told.stage, stage) {
            told.is_told_busy = false;
            self.tell(stage);
        }
    }

    /// A call came to a server, or one ended: it may take no more now, or take calls again. Who does so at every call is told of once
    /// in [`BUSY_PAUSE`].
    fn moved(&self, is_full: bool) {
        let mut told = self.stage();
        match (is_full, told.is_told_busy) {
            (true, false)
                if told.stage == Stage::Active && told.busy.is_none_or(|since| since.elapsed() >= BUSY_PAUSE) =>
            {
                (told.busy, told.is_told_busy) = (Some(Instant::now()), true);
                self.tell(Stage::Busy);
            }
            (false, true) => {
                told.is_told_busy = false;
                self.tell(told.stage);
            }
            _ => {}
        }
    }

    fn tell(&self, stage: Stage) {
        if let Some(events) = self.events.get() {
            events.tell([watching::Told::Lifecycle { server: self.status().name.clone(), stage }]);
        }
    }

    /// The same, as it is known of the connection at this moment.
    pub(crate) fn look(&self) {
        let is_full = matches!(&*self.phase.borrow(), Phase::Ready(live) if live.is_full());
        self.moved(is_full);
    }

    pub(crate) fn connecting(&self) {
        self.status().state = "connecting";
        // After a failed attempt callers are still refused: they have better things to do than to wait.
        self.phase.send_if_modified(|phase| match phase {
            Phase::Down(_) => false,
            _ => {
                *phase = Phase::Connecting;
                true
            }
        });
    }

    pub(crate) fn ready(&self, live: &Arc<Live>, again: bool) {
        {
            let mut status = self.status();
            status.state = "ready";
            status.protocol = Some(live.protocol.clone());
            status.last_ok = Some(now());
            status.last_error = None;
            status.restarts += u64::from(again);
        }
        self.happened(Happening::Listed);
        self.happened(Happening::Connected);
        self.phase.send_replace(Phase::Ready(live.clone()));
    }

    pub(crate) fn down(&self, reason: &str) {
        {
            let mut status = self.status();
            status.state = "down";
            status.last_error = Some(reason.to_owned());
        }
        self.happened(Happening::Lost);
        self.phase.send_replace(Phase::Down(reason.to_owned()));
    }

    pub(crate) fn listed(&self, tools: usize) {
        let mut status = self.status();
        status.tools = tools;
        status.last_ok = Some(now());
    }

    /// The outcome of a call, as far as it says something about the connection.
    pub(crate) fn noted(&self, outcome: Result<(), &UpstreamError>) {
        let mut status = self.status();
        match outcome {
            Ok(()) | Err(UpstreamError::Rpc { .. }) => status.last_ok = Some(now()),
            // A call that never left says nothing about the server, or what it says is on the board already.
            Err(e) if e.not_sent() => {}
            Err(e) => status.last_error = Some(e.to_string()),
        }
    }

    /// The connection, waiting for one that is being made.
    pub(crate) async fn connection(&self, deadline: Instant) -> Result<Arc<Live>, UpstreamError> {
        let mut phase = self.phase.subscribe();
        let settled = timeout_at(deadline, phase.wait_for(|phase| !matches!(phase, Phase::Connecting))).await;
        let not_sent = |reason: String| UpstreamError::NotSent { reason };
        match settled {
            Ok(Ok(phase)) => match &*phase {
                Phase::Ready(live) => Ok(live.clone()),
                Phase::Down(reason) => Err(not_sent(format!("the server is down: {reason}"))),
                Phase::Connecting => Err(not_sent("the server is connecting".to_owned())),
            },
            Ok(Err(_)) => Err(UpstreamError::UnknownServer),
            Err(_) => Err(not_sent("the server was still connecting".to_owned())),
        }
    }
}

fn now() -> String {
    crate::clock::rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
