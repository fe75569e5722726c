//! How a connection is made and how it is ended: spawn or dial, agree on an era, list once; later stop, bury, tell the story.
//!
//! It makes one attempt; when to make the next is the supervisor's. What must always hold: a failed attempt leaves neither a
//! process nor a task behind, and its error says what the server itself said.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rmcp::{
    RoleClient,
    model::ProtocolVersion,
    service::{
        ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _, RunningService,
        RunningServiceCancellationToken,
    },
    transport::{
        common::client_side_sse::ExponentialBackoff,
        streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpClientWorker},
    },
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};

use super::{
    agent::{self, Said},
    api,
    bridge::{Behind, Ends, Plain, stand},
    child::{Child, Pipes, printable},
    connection::{CALLS_MAX, Listener, Live},
    egress::Egress,
    exchange::Exchange,
    failure::UpstreamError,
    frame::MESSAGE_BYTES_MAX,
    mcp_http::{Site, TapHttp, refusal_of, status_of, words},
    room::Room,
    spec::{Mask, ServerSpec, TransportSpec},
    stdio::{Noise, StdioTransport},
    tap::Taps,
};

/// Beside the calls, rmcp's own requests and ours need a place.
const POSTS_MAX: usize = CALLS_MAX + 16;
/// A broken event stream is taken up again this often; after that the connection is looked at as a whole.
const STREAM_RETRIES: usize = 4;
const STREAM_PAUSE_MIN: Duration = Duration::from_millis(250);
const STREAM_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a child that is dying anyway may take to do it.
const DYING: Duration = Duration::from_millis(500);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);
const SAID_CHARS_MAX: usize = 400;
/// What is at an address that wants a GET first.
pub(crate) const OLD_SSE: &str = "it speaks the HTTP+SSE transport of MCP 2024-11-05, which is not spoken here; give its Streamable HTTP address, \
    which newer versions of most servers have at /mcp, or run a bridge to it as a command (aop register stdio)";

/// How a server opens a conversation; worth remembering, because finding out can cost ten seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// `server/discover`, from 2026-07-28.
    Discover,
    /// `initialize`, up to 2025-11-25.
    Initialize,
}

/// A standing connection and what it takes to end it.
pub(crate) struct Link {
    pub(crate) live: Arc<Live>,
    /// Rung when the list may have changed.
    pub(crate) changed: Arc<Notify>,
    /// Rung when the connection may be broken.
    pub(crate) suspect: Arc<Notify>,
    /// Ready when rmcp's service ended.
    pub(crate) ended: AbortOnDropHandle<()>,
    cancel: RunningServiceCancellationToken,
    closed: DropGuard,
    child: Option<Child>,
    /// Before a server that speaks plain HTTP.
    _bridge: Option<AbortOnDropHandle<()>>,
    story: watch::Sender<Option<String>>,
    follower: Option<AbortOnDropHandle<()>>,
}

/// Everything one attempt needs that outlives the handshake.
struct Parts {
    taps: Arc<Taps>,
    changed: Arc<Notify>,
    suspect: Arc<Notify>,
    closed: CancellationToken,
}

impl Parts {
    fn new(mask: Mask) -> Self {
        let (taps, changed, suspect) = (Arc::new(Taps::new(mask)), Arc::new(Notify::new()), Arc::new(Notify::new()));
        Self { taps, changed, suspect, closed: CancellationToken::new() }
    }
}

/// Why a connection is closed that nobody here ended.
pub(crate) const ENDED: &str = "the connection ended";

impl Link {
    /// Connects and lists once.
    pub(crate) async fn make(
        spec: &ServerSpec,
        egress: Egress,
        room: Room,
        era: Option<Era>,
        deadline: Instant,
    ) -> Result<(Self, Vec<Bytes>), UpstreamError> {
        spec.validate()?;
        let link = match Self::attempt(spec, egress, &room, era, deadline).await {
            // Some old servers end at the first word they do not know, and slow ones answer it after the patience of the probe, in
            // the middle of what comes next: once more from the start, in words they all know.
            Err(Attempt { again: true, .. }) if era.is_none() => {
                Self::attempt(spec, egress, &room, Some(Era::Initialize), deadline)
                    .await
                    .map_err(|attempt| attempt.error)?
            }
            other => other.map_err(|attempt| attempt.error)?,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match link.live.list(left).await {
            Ok(tools) => Ok((link, tools)),
            Err(e) => {
                let story = match link.child.is_some() {
                    true => format!("; {}", link.close("").await),
                    false => {
                        link.close("its tools could not be listed").await;
                        String::new()
                    }
                };
                Err(UpstreamError::Connect { reason: format!("its tools could not be listed: {e}{story}") })
            }
        }
    }

    async fn attempt(
        spec: &ServerSpec,
        egress: Egress,
        room: &Room,
        era: Option<Era>,
        deadline: Instant,
    ) -> Result<Self, Attempt> {
        let (values, mask) = spec.transport.resolve().await?;
        let parts = Parts::new(mask.clone());
        let guard = parts.closed.clone().drop_guard();
        match &spec.transport {
            TransportSpec::Http { url, headers: _ } => {
                let site = Site::new(url, &values, egress, spec.allow_private)?;
                let http =
                    TapHttp::new(site, room.clone(), parts.taps.clone(), parts.suspect.clone(), parts.closed.clone())?;
                let worker = StreamableHttpClientWorker::new(http.clone(), http_config(url));
                let serve = parts.listener().serve_with_lifecycle(worker, mode(era));
                let service = match timeout_at(deadline, serve).await {
                    Ok(Ok(service)) => service,
                    Ok(Err(e)) => {
                        let old = is_no_post(&e) && timeout_at(deadline, http.speaks_old_sse()).await.unwrap_or(false);
                        return Err(if old { connect(OLD_SSE.to_owned(), false) } else { failed(&e).into() });
                    }
                    Err(_) => return Err(connect("no answer to the handshake in time".to_owned(), false)),
                };
                Ok(Self::new(service, parts, guard, None, Some(http), None))
            }
            TransportSpec::Agent { url, headers: _, tool, description, input_schema, output_schema } => {
                let exchange = Exchange::new(Site::new(url, &values, egress, spec.allow_private)?, room.clone(), mask)?;
                let said = Said {
                    tool: tool.as_deref(),
                    description: description.as_deref(),
                    input_schema: input_schema.as_ref(),
                    output_schema: output_schema.as_ref(),
                };
                let behind = timeout_at(deadline, agent::open(&exchange, &said)).await.map_err(|_| late())??;
                Self::behind_bridge(parts, guard, exchange, behind, deadline).await
            }
            TransportSpec::Api { url, headers: _, tools } => {
                let exchange = Exchange::new(Site::new(url, &values, egress, spec.allow_private)?, room.clone(), mask)?;
                let behind = timeout_at(deadline, api::open(&exchange, tools)).await.map_err(|_| late())??;
                Self::behind_bridge(parts, guard, exchange, behind, deadline).await
            }
            TransportSpec::Stdio { command, env: _, cwd } => {
                let (child, Pipes { stdin, stdout }) = Child::spawn(command, &values, cwd.as_deref(), mask)?;
                let noise = Arc::new(Noise::default());
                let transport = StdioTransport::new(stdout, stdin, room, parts.taps.clone(), noise.clone());
                let serve = parts.listener().serve_with_lifecycle(transport, mode(era));
                let (why, how) = match timeout_at(deadline, serve).await {
                    Ok(Ok(service)) => return Ok(Self::new(service, parts, guard, Some(child), None, None)),
                    Ok(Err(e)) => (explain(&e), Handshake { closed: is_closed(&e), spoken: true }),
                    Err(_) => {
                        ("no answer to the handshake in time".to_owned(), Handshake { closed: false, spoken: false })
                    }
                };
                let story = child.end(if how.closed { DYING } else { Duration::ZERO }).await;
                let noise = noise.story().map(|noise| format!("; {noise}")).unwrap_or_default();
                Err(connect(format!("{why}; {story}{noise}"), how.spoken))
            }
        }
    }

    /// To a server that speaks plain HTTP.
    async fn behind_bridge(
        parts: Parts,
        guard: DropGuard,
        exchange: Exchange,
        behind: Behind,
        deadline: Instant,
    ) -> Result<Self, Attempt> {
        let room = exchange.room().clone();
        let Ends { output, input, plain, bridge } = stand(exchange, behind);
        let transport = StdioTransport::new(output, input, &room, parts.taps.clone(), Arc::default());
        let serve = parts.listener().serve_with_lifecycle(transport, mode(Some(Era::Initialize)));
        match timeout_at(deadline, serve).await {
            Ok(Ok(service)) => Ok(Self::new(service, parts, guard, None, None, Some((plain, bridge)))),
            Ok(Err(e)) => Err(failed(&e).into()),
            Err(_) => Err(late()),
        }
    }

    fn new(
        service: RunningService<RoleClient, Listener>,
        parts: Parts,
        closed: DropGuard,
        child: Option<Child>,
        http: Option<TapHttp>,
        plain: Option<(Plain, AbortOnDropHandle<()>)>,
    ) -> Self {
        let (story, told) = watch::channel(None);
        let (plain, bridge) = plain.unzip();
        let live = Arc::new(Live::new(service.peer().clone(), parts.taps, http, told, plain));
        let follows = live.modern && live.tells_changes;
        let follower = follows.then(|| own(live.clone().follow(parts.changed.clone())));
        let cancel = service.cancellation_token();
        let ended = own(async move {
            // However it ended, it ended.
            let _ = service.waiting().await;
        });
        let (changed, suspect) = (parts.changed, parts.suspect);
        Self { live, changed, suspect, ended, cancel, closed, child, _bridge: bridge, story, follower }
    }

    pub(crate) fn era(&self) -> Era {
        if self.live.modern { Era::Discover } else { Era::Initialize }
    }

    /// Ends the connection, whatever state it is in, and tells how it ended.
    pub(crate) async fn close(self, why: &str) -> String {
        let Self { live, ended, cancel, closed, child, story, follower, _bridge, .. } = self;
        drop(follower);
        if child.is_none() {
            story.send_replace(Some(why.to_owned()));
        }
        // Cancellations of calls that were just given up still want to leave.
        live.errands.close();
        let _ = timeout(DYING, live.errands.wait()).await;
        cancel.cancel();
        // It may have ended already, and a finished task must not be asked twice.
        let stuck = !ended.is_finished() && timeout(GOODBYE, ended).await.is_err();
        drop(closed);
        live.shut();
        match child {
            Some(child) => {
                let told = child.end(if stuck { Duration::ZERO } else { DYING }).await;
                // Of one that ended by itself its own last words say more.
                let told = if why.is_empty() || why == ENDED { told } else { format!("{why}; {told}") };
                story.send_replace(Some(told.clone()));
                told
            }
            None => why.to_owned(),
        }
    }
}

fn own(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

impl Parts {
    fn listener(&self) -> Listener {
        Listener { changed: self.changed.clone() }
    }
}

/// Why an attempt failed, and whether another one in older words may do better.
struct Attempt {
    error: UpstreamError,
    again: bool,
}

/// How a handshake with a child failed.
struct Handshake {
    /// The child closed its pipes.
    closed: bool,
    /// It did something, where another one might do better; a deadline is none.
    spoken: bool,
}

impl From<UpstreamError> for Attempt {
    fn from(error: UpstreamError) -> Self {
        Self { error, again: false }
    }
}

fn connect(reason: String, again: bool) -> Attempt {
    Attempt { error: UpstreamError::Connect { reason }, again }
}

fn late() -> Attempt {
    connect("no answer in time".to_owned(), false)
}

fn mode(era: Option<Era>) -> ClientLifecycleMode {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    match era {
        None => ClientLifecycleMode::Auto { preferred_versions, legacy_version: None },
        Some(Era::Discover) => ClientLifecycleMode::Discover { preferred_versions },
        Some(Era::Initialize) => ClientLifecycleMode::Initialize,
    }
}

fn http_config(url: &str) -> StreamableHttpClientTransportConfig {
    let mut config = StreamableHttpClientTransportConfig::with_uri(url).max_concurrent_requests(POSTS_MAX);
    config.max_sse_event_size = MESSAGE_BYTES_MAX;
    // A server that forgot the session may have other tools now: the supervisor connects anew and lists.
    config.reinit_on_expired_session = false;
    let mut retry = ExponentialBackoff::default();
    retry.max_times = Some(STREAM_RETRIES);
    retry.base_duration = STREAM_PAUSE_MIN;
    retry.max_delay = Some(STREAM_PAUSE_MAX);
    config.retry_config = Arc::new(retry);
    config
}

fn is_closed(error: &ClientInitializeError) -> bool {
    match error {
        ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::TransportError { .. } => true,
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => is_closed(fallback),
        _ => false,
    }
}

/// Whether the address takes no POST of the handshake, as one that wants a GET first.
fn is_no_post(error: &ClientInitializeError) -> bool {
    match error {
        ClientInitializeError::TransportError { error, .. } => {
            status_of(error).is_some_and(|status| matches!(status.as_u16(), 400 | 404 | 405))
        }
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => is_no_post(fallback),
        _ => false,
    }
}

/// What keeps a connection from being made, where the transport knows it better than words can tell.
fn failed(error: &ClientInitializeError) -> UpstreamError {
    match error {
        ClientInitializeError::TransportError { error, .. } => refusal_of(error),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => return failed(fallback),
        _ => None,
    }
    .unwrap_or_else(|| UpstreamError::Connect { reason: explain(error) })
}

/// rmcp's error in words for the person who registered the server.
fn explain(error: &ClientInitializeError) -> String {
    let said = match error {
        ClientInitializeError::TransportError { error, .. } => words(error),
        ClientInitializeError::ConnectionClosed(_) => "it closed the connection during the handshake".to_owned(),
        ClientInitializeError::JsonRpcError(e) => format!("it refused the handshake: {} ({})", e.message, e.code.0),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => explain(fallback),
        ClientInitializeError::NoCompatibleProtocolVersion { server_supported, .. } => {
            let versions: Vec<&str> = server_supported.iter().map(ProtocolVersion::as_str).collect();
            format!("no MCP revision in common, it speaks {}", versions.join(", "))
        }
        ClientInitializeError::ExpectedInitResult(_) | ClientInitializeError::ExpectedInitResponse(_) => {
            "its answer to the handshake is not one".to_owned()
        }
        other => other.to_string(),
    };
    printable(&said).chars().take(SAID_CHARS_MAX).collect()
}
