//! One standing connection to one server: made, asked, ended.
//!
//! Here is the only `ClientHandler` of the node. It does not decide when to connect again. What must always hold: a call is given
//! up exactly once (answered, timed out or dropped), and whichever it is the server is told when it may still be working.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use aop_proto::error::to_ms;
use aop_proto::params::DEFINITION_BYTES_MAX;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderName, HeaderValue};
use rmcp::{
    ClientHandler, Peer, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CancelledNotification, CancelledNotificationParam, ClientCapabilities,
        ClientConfig, ClientJsonRpcMessage, ClientRequest, ElicitRequestParams, ElicitResult,
        ElicitationCreateRequestMethod, ErrorCode, ErrorData, GetMeta as _, Implementation, ListToolsRequest,
        PaginatedRequestParams, PingRequest, ProgressToken, ProtocolVersion, RequestId, RequestMetaObject,
        ServerResult, SubscriptionFilter,
    },
    service::{NotificationContext, PeerRequestOptions, RequestContext, RequestHandle, ServiceError},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::TaskTracker;

use super::{
    LeftOut, UpstreamCall,
    bridge::Plain,
    child::printable,
    failure::UpstreamError,
    frame,
    mcp_http::{TapHttp, words},
    mirror::check_mirror,
    passing::{Asked, Said},
    tap::{Answer, Lane, Slot, Taps, garbage, has_header_annotation},
};

/// Ids of calls that go past rmcp, which counts its own from nothing.
const DIRECT_IDS: i64 = 1 << 40;
/// Calls in flight to one server; the rest wait here, provably not sent.
pub(crate) const CALLS_MAX: usize = 256;
/// A whole list, all pages.
const LIST_BYTES_MAX: usize = 64 * 1024 * 1024;
const LIST_TOOLS_MAX: usize = 100_000;
const LIST_PAGES_MAX: usize = 10_000;
/// Tools not taken that are named to whoever registers; the log names all.
const LEFT_OUT_MAX: usize = 100;
/// How long a lost call waits for the story of the child that died under it.
const STORY_WAIT: Duration = Duration::from_secs(5);
/// How long rmcp may take to see the stub of an answer we already have.
const SETTLE_WAIT: Duration = Duration::from_secs(1);
/// An idle server that does not answer for this long is not there.
const PING_TIMEOUT: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(5) };
/// Calls that were given up one after the other, before one that is busy is asked all the same whether it is there.
const GIVEN_UP_MAX: u32 = 3;
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts to follow a server's changes.
const LISTEN_PAUSE_MIN: Duration = Duration::from_secs(1);
const LISTEN_PAUSE_MAX: Duration = Duration::from_secs(60);

/// What rmcp calls for what a server says unasked.
#[derive(Clone)]
pub(crate) struct Listener {
    /// Rung whenever the list of tools may have changed.
    pub(crate) changed: Arc<Notify>,
}

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        // No capability is declared: nobody here can answer for the caller. A caller's own travel with its call.
        // Only `initialize` sends this version; rmcp's default is one that has no `initialize`.
        ClientConfig::new(ClientCapabilities::default(), us())
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    /// To decline would be to speak for a user whom nobody asked.
    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Err(ErrorData::method_not_found::<ElicitationCreateRequestMethod>())
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }

    #[expect(deprecated, reason = "the initialize revisions still have roots")]
    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<rmcp::model::ListRootsResult, ErrorData> {
        Err(ErrorData::method_not_found::<rmcp::model::ListRootsRequestMethod>())
    }
}

/// A connection as its callers see it.
pub(crate) struct Live {
    peer: Peer<RoleClient>,
    taps: Arc<Taps>,
    permits: Semaphore,
    /// For what does not go through rmcp.
    http: Option<TapHttp>,
    /// Tools whose arguments travel as headers too; rmcp has to see those arguments.
    annotated: Mutex<BTreeSet<String>>,
    /// Tools of the last list that were not taken.
    left_out: Mutex<Vec<LeftOut>>,
    /// How the connection ended, once it has.
    story: watch::Receiver<Option<String>>,
    /// Cancellations on their way; joined when the connection is closed.
    pub(crate) errands: TaskTracker,
    /// For those: a call's future may be dropped outside of the runtime.
    runtime: Handle,
    pub(crate) modern: bool,
    pub(crate) protocol: String,
    pub(crate) server_info: Option<String>,
    pub(crate) tells_changes: bool,
    /// A request was given up, and the server was not heard to be there since: see [`Live::is_hung`].
    doubted: AtomicBool,
    /// Calls that their callers gave up since one was answered.
    given_up: AtomicU32,
    /// A server that speaks plain HTTP, which stands behind a bridge of ours for everything but calls.
    plain: Option<Plain>,
    /// Of the next call that goes past rmcp, and what such say of us.
    next_id: AtomicI64,
    context: RequestMetaObject,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct RpcError {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

impl Live {
    pub(crate) fn new(
        peer: Peer<RoleClient>,
        taps: Arc<Taps>,
        http: Option<TapHttp>,
        story: watch::Receiver<Option<String>>,
        plain: Option<Plain>,
    ) -> Self {
        let info = peer.peer_info();
        let version = info.as_ref().map(|info| info.protocol_version.clone()).unwrap_or_default();
        let tools = info.as_ref().and_then(|info| info.capabilities.tools.as_ref());
        Self {
            modern: !version.has_initialize(),
            protocol: version.to_string(),
            server_info: info.as_ref().and_then(|info| info.server_info.as_ref()).map(|server| server.name.clone()),
            tells_changes: tools.is_some_and(|tools| tools.list_changed == Some(true)),
            permits: Semaphore::new(CALLS_MAX),
            annotated: Mutex::default(),
            left_out: Mutex::default(),
            errands: TaskTracker::new(),
            runtime: Handle::current(),
            peer,
            taps,
            http,
            story,
            doubted: AtomicBool::new(false),
            given_up: AtomicU32::new(0),
            plain,
            next_id: AtomicI64::new(DIRECT_IDS),
            context: RequestMetaObject::with_client_context(version, us(), ClientCapabilities::default()),
        }
    }

    /// One call, byte for byte. Dropping the future cancels it.
    pub(crate) async fn call(self: &Arc<Self>, call: UpstreamCall, deadline: Instant) -> Result<Bytes, UpstreamError> {
        let after = call.timeout;
        let lane = Lane { arguments: call.arguments, extra: call.extra };
        frame::check(&lane)?;
        let Ok(permit) = timeout_at(deadline, self.permits.acquire()).await else {
            let reason =
                format!("{CALLS_MAX} calls to this server are running and none ended within {:?}", to_ms(after));
            return Err(UpstreamError::NotSent { reason });
        };
        let _permit = permit.map_err(|_| UpstreamError::NotSent { reason: "the connection is closed".to_owned() })?;
        if let Some(plain) = &self.plain {
            let left = deadline.saturating_duration_since(Instant::now());
            return timeout_at(deadline, plain.call(&call.tool, &lane, left))
                .await
                .unwrap_or(Err(UpstreamError::TimedOut { after }));
        }
        if let Some(http) = &self.http
            && let Some(headers) = self.direct_headers(&call.tool)
        {
            return self.call_directly(http, headers, call.tool, (lane, call.progress), (deadline, after)).await;
        }
        let mut params = CallToolRequestParams::new(call.tool);
        if self.annotated.lock().unwrap_or_else(PoisonError::into_inner).contains(params.name.as_ref()) {
            params.arguments = serde_json::from_slice(&lane.arguments).ok();
        }
        let (slot, answer) = Slot::for_call(lane, call.progress);
        let mut request = CallToolRequest::new(params);
        request.extensions.insert(slot.clone());
        let request = ClientRequest::CallToolRequest(request);
        self.ask(request, slot, answer, deadline, after).await.map(|(raw, _)| raw)
    }

    /// One message of somebody else's client, to an HTTP server.
    pub(crate) async fn pass(&self, asked: Asked, permit: OwnedSemaphorePermit) -> Result<Said, UpstreamError> {
        match &self.http {
            Some(http) => http.pass(asked, permit).await,
            None => Err(UpstreamError::NotSent { reason: "the server is not reached over HTTP".to_owned() }),
        }
    }

    /// The headers of a call that may go past rmcp: where there are no sessions, and neither name nor arguments need to be written in
    /// headers in some other way.
    fn direct_headers(&self, tool: &str) -> Option<HashMap<HeaderName, HeaderValue>> {
        let is_plain = self.modern && tool.bytes().all(|byte| byte.is_ascii_graphic()) && !tool.starts_with("=?");
        let is_annotated = || self.annotated.lock().unwrap_or_else(PoisonError::into_inner).contains(tool);
        if !is_plain || is_annotated() {
            return None;
        }
        let value = |text: &str| HeaderValue::from_str(text).ok();
        let name = HeaderName::from_static;
        Some(HashMap::from([
            (name("mcp-protocol-version"), value(&self.protocol)?),
            (name("mcp-method"), HeaderValue::from_static("tools/call")),
            (name("mcp-name"), value(tool)?),
        ]))
    }

    /// A call of a stateless server is one HTTP exchange, of which rmcp need know nothing: what it adds are three tasks and as many queues.
    async fn call_directly(
        &self,
        http: &TapHttp,
        headers: HashMap<HeaderName, HeaderValue>,
        tool: String,
        (lane, progress): (Lane, Option<mpsc::Sender<Bytes>>),
        (deadline, after): (Instant, Duration),
    ) -> Result<Bytes, UpstreamError> {
        let wants_progress = progress.is_some();
        let (slot, mut answer) = Slot::for_call(lane, progress);
        let mut request = CallToolRequest::new(CallToolRequestParams::new(tool));
        request.extensions.insert(slot.clone());
        let mut request = ClientRequest::CallToolRequest(request);
        let id = RequestId::Number(self.next_id.fetch_add(1, Ordering::Relaxed));
        let meta = request.get_meta_mut();
        *meta = self.context.clone();
        if wants_progress {
            meta.set_progress_token(ProgressToken(id.clone()));
        }
        let message = ClientJsonRpcMessage::request(request, id.clone());
        let _open = Direct { live: self, slot: slot.clone(), id };
        let exchange = async {
            let mut events = http.exchange(message, headers).await;
            loop {
                let next = async {
                    match &mut events {
                        Some(events) => events.next().await,
                        None => None,
                    }
                };
                tokio::select! {
                    biased;
                    answer = &mut answer => return answer.unwrap_or(Answer::Gone),
                    next = next => {
                        let error = match next {
                            Some(Ok(_)) => continue,
                            Some(Err(error)) => UpstreamError::Lost { reason: error.to_string() },
                            None if events.is_some() => {
                                UpstreamError::Lost { reason: "its stream ended without an answer".to_owned() }
                            }
                            None => garbage("it answers something else than this call"),
                        };
                        return answer.try_recv().unwrap_or(Answer::Failed(error));
                    }
                }
            }
        };
        match timeout_at(deadline, exchange).await {
            Ok(Answer::Result(raw)) => Ok(raw),
            Ok(Answer::Error(raw)) => Err(rpc(raw)),
            Ok(Answer::Failed(error)) => Err(error),
            Ok(Answer::Gone) => Err(self.without_answer(&slot).await),
            Err(_) if slot.abandon() => {
                Err(UpstreamError::NotSent { reason: format!("the server did not take it within {:?}", to_ms(after)) })
            }
            Err(_) => Err(UpstreamError::TimedOut { after }),
        }
    }

    /// Sends a request that carries a slot and waits for the raw answer; rmcp's view of it where it came in time.
    async fn ask(
        self: &Arc<Self>,
        request: ClientRequest,
        slot: Arc<Slot>,
        answer: oneshot::Receiver<Answer>,
        deadline: Instant,
        after: Duration,
    ) -> Result<(Bytes, Option<ServerResult>), UpstreamError> {
        let queued =
            timeout_at(deadline, self.peer.send_cancellable_request(request, PeerRequestOptions::default())).await;
        let mut handle = match queued {
            Ok(Ok(handle)) => handle,
            Ok(Err(_)) => return Err(self.without_answer(&slot).await),
            Err(_) => {
                return Err(UpstreamError::NotSent {
                    reason: format!("its turn did not come within {:?}", to_ms(after)),
                });
            }
        };
        let mut guard = Guard { live: self.clone(), slot: slot.clone(), id: Some(handle.id.clone()) };
        let answer = tokio::select! {
            biased;
            answer = answer => answer.unwrap_or(Answer::Gone),
            unseen = &mut handle.rx => return Err(self.unseen(unseen, &slot, guard).await),
            () = tokio::time::sleep_until(deadline) => return Err(guard.give_up(after)),
        };
        match answer {
            Answer::Result(raw) => {
                guard.answered();
                Ok((raw, settle(&mut handle).await))
            }
            Answer::Error(raw) => {
                guard.answered();
                settle(&mut handle).await;
                Err(rpc(raw))
            }
            Answer::Failed(error) => {
                if error.not_sent() {
                    guard.settled();
                }
                // Where the server may still be at it, it is told to stop.
                Err(error)
            }
            Answer::Gone => {
                guard.settled();
                Err(self.without_answer(&slot).await)
            }
        }
    }

    /// rmcp ended a request whose answer never passed the tap.
    async fn unseen(
        &self,
        outcome: Result<Result<ServerResult, ServiceError>, oneshot::error::RecvError>,
        slot: &Slot,
        mut guard: Guard,
    ) -> UpstreamError {
        match outcome {
            Ok(Err(ServiceError::TransportClosed)) | Err(_) => {
                guard.settled();
                self.without_answer(slot).await
            }
            Ok(Err(error)) if !slot.was_sent() => UpstreamError::NotSent { reason: said(&error) },
            Ok(Err(error)) => UpstreamError::Lost { reason: said(&error) },
            Ok(Ok(_)) => garbage("its answer could not be matched"),
        }
    }

    /// The connection is gone, or this request's stream is.
    async fn without_answer(&self, slot: &Slot) -> UpstreamError {
        let reason = match self.http.is_none() && slot.lane().is_some() {
            true => self.story().await,
            // One HTTP stream may have ended alone; and a list is waited for by whoever would tell the story.
            false => self.story.borrow().clone().unwrap_or_else(|| "the connection was closed".to_owned()),
        };
        match slot.abandon() {
            true => UpstreamError::NotSent { reason },
            false => UpstreamError::Lost { reason },
        }
    }

    /// Whether as many calls run as may.
    pub(crate) fn is_full(&self) -> bool {
        self.permits.available_permits() == 0
    }

    /// Nobody waits for an answer any more.
    pub(crate) fn shut(&self) {
        self.permits.close();
        self.taps.close();
    }

    /// How the connection ended, waiting a moment for whoever buries it.
    async fn story(&self) -> String {
        let mut story = self.story.clone();
        let told = timeout(STORY_WAIT, story.wait_for(Option::is_some)).await;
        let told = told.ok().and_then(Result::ok).and_then(|story| story.clone());
        told.unwrap_or_else(|| "the connection was closed".to_owned())
    }

    /// The whole list, all pages, each tool as the server sent it.
    pub(crate) async fn list(self: &Arc<Self>, within: Duration) -> Result<Vec<Bytes>, UpstreamError> {
        let deadline = Instant::now() + within;
        let mut list = List { strict: self.modern && self.http.is_some(), ..List::default() };
        let mut cursor = None;
        for _ in 0..LIST_PAGES_MAX {
            let mut request = match cursor.take() {
                Some(cursor) => {
                    ListToolsRequest::with_param(PaginatedRequestParams::default().with_cursor(Some(cursor)))
                }
                None => ListToolsRequest::default(),
            };
            let (slot, answer) = Slot::for_list();
            request.extensions.insert(slot.clone());
            let request = ClientRequest::ListToolsRequest(request);
            let (raw, seen) = match self.ask(request, slot, answer, deadline, within).await {
                // A server without tools may say that it does not know the method.
                Err(UpstreamError::Rpc { code: -32601, .. }) if list.tools.is_empty() => break,
                // What was sent is no call that may have run.
                Err(UpstreamError::TimedOut { after }) => {
                    let reason = format!("no answer to tools/list within {:?}", to_ms(after));
                    return Err(UpstreamError::Connect { reason });
                }
                Err(UpstreamError::Lost { reason }) => {
                    let reason = format!("the connection ended before tools/list was answered: {reason}");
                    return Err(UpstreamError::Connect { reason });
                }
                other => other?,
            };
            cursor = list.add(&raw, seen)?;
            if cursor.is_none() {
                *self.annotated.lock().unwrap_or_else(PoisonError::into_inner) = list.annotated;
                *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) = list.left_out;
                return Ok(list.tools);
            }
        }
        match list.tools.is_empty() {
            true => Ok(Vec::new()),
            false => Err(garbage(format!("its list of tools has more than {LIST_PAGES_MAX} pages"))),
        }
    }

    /// Tools of the last list that were not taken.
    pub(crate) fn left_out(&self) -> Vec<LeftOut> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether an HTTP server still answers, and if not, why. Silence counts only when it has nothing to do: a busy one may
    /// have no hand free.
    pub(crate) async fn answers(&self) -> Result<(), String> {
        let Some(http) = &self.http else { return Ok(()) };
        let busy = self.permits.available_permits() < CALLS_MAX;
        let answer = async {
            if self.modern {
                return http.answers(&self.protocol).await;
            }
            match self.peer.send_request(ClientRequest::PingRequest(PingRequest::default())).await {
                Err(ServiceError::McpError(error)) if error.code == ErrorCode::METHOD_NOT_FOUND => Ok(()),
                Err(error) => Err(said(&error)),
                Ok(_) => Ok(()),
            }
        };
        match timeout(PING_TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(_) if busy => Ok(()),
            Err(_) => Err(format!("no answer within {PING_TIMEOUT:?}")),
        }
    }

    /// Whether a server that left a request without an answer leaves one without words unanswered too, or what it said ended that
    /// doubt. Nothing where that cannot be told: who has something to do may have no hand free.
    pub(crate) async fn is_hung(&self) -> Option<bool> {
        if !self.doubted.load(Ordering::Relaxed) {
            return Some(false);
        }
        let is_idle = || self.permits.available_permits() == CALLS_MAX;
        // One that answers nobody is no better for being asked all the time.
        let answers_none = || self.given_up.load(Ordering::Relaxed) >= GIVEN_UP_MAX;
        if !is_idle() && !answers_none() {
            return None;
        }
        let ping = ClientRequest::PingRequest(PingRequest::default());
        match timeout(PING_TIMEOUT, self.peer.send_request(ping)).await {
            // That it does not know the word is an answer.
            Ok(Ok(_) | Err(ServiceError::McpError(_))) => {
                self.doubted.store(false, Ordering::Relaxed);
                Some(false)
            }
            // The end of the connection is heard elsewhere.
            Ok(Err(_)) => None,
            Err(_) => (is_idle() || answers_none()).then_some(true),
        }
    }

    /// Rings `changed` for every change a 2026-07-28 server tells, for as long as the connection stands.
    pub(crate) async fn follow(self: Arc<Self>, changed: Arc<Notify>) {
        let mut pause = LISTEN_PAUSE_MIN;
        while !self.peer.is_transport_closed() {
            let filter = SubscriptionFilter::builder().tools_list_changed().build();
            match timeout(LISTEN_TIMEOUT, self.peer.listen(filter)).await {
                Ok(Ok(mut subscription)) => {
                    // What changed while nobody listened was not told.
                    changed.notify_one();
                    let since = Instant::now();
                    while let Ok(Some(_)) = subscription.next().await {
                        changed.notify_one();
                    }
                    if since.elapsed() > LISTEN_PAUSE_MAX {
                        pause = LISTEN_PAUSE_MIN;
                    }
                }
                Ok(Err(ServiceError::McpError(error))) if error.code == ErrorCode::METHOD_NOT_FOUND => {
                    return;
                }
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LISTEN_PAUSE_MAX);
        }
    }
}

/// A list being gathered.
#[derive(Default)]
struct List {
    /// Whether annotations matter here, so that a tool with wrong ones has to go.
    strict: bool,
    tools: Vec<Bytes>,
    bytes: usize,
    cursors: BTreeSet<String>,
    annotated: BTreeSet<String>,
    left_out: Vec<LeftOut>,
}

impl List {
    /// Takes one page and gives the cursor of the next.
    fn add(&mut self, raw: &Bytes, seen: Option<ServerResult>) -> Result<Option<String>, UpstreamError> {
        let page: Page<'_> =
            serde_json::from_slice(raw).map_err(|e| garbage(format!("its list of tools is not one: {e}")))?;
        let accepted: Option<BTreeSet<String>> = match seen {
            Some(ServerResult::ListToolsResult(list)) => {
                Some(list.tools.into_iter().map(|tool| tool.name.to_string()).collect())
            }
            _ => None,
        };
        for tool in page.tools {
            let text = tool.get();
            let Ok(Named { name }) = serde_json::from_str(text) else {
                tracing::warn!("a tool without a name cannot be called and is left out");
                continue;
            };
            if name.is_empty() {
                self.leave_out(&name, "it has no name");
                continue;
            }
            let bytes = text.len() + name.len();
            if bytes > DEFINITION_BYTES_MAX {
                self.leave_out(&name, &format!("its definition has {bytes} bytes, at most {DEFINITION_BYTES_MAX} fit"));
                continue;
            }
            if let Err(error) = check_mirror(text.as_bytes()) {
                self.leave_out(&name, &error.to_string());
                continue;
            }
            if self.strict && has_header_annotation(text) {
                if accepted.as_ref().is_some_and(|accepted| !accepted.contains(&name)) {
                    self.leave_out(&name, "its x-mcp-header annotations cannot be used");
                    continue;
                }
                self.annotated.insert(name);
            }
            self.bytes += text.len();
            self.tools.push(Bytes::copy_from_slice(text.as_bytes()));
        }
        if self.bytes > LIST_BYTES_MAX || self.tools.len() > LIST_TOOLS_MAX {
            let limits = format!("{LIST_TOOLS_MAX} tools or {LIST_BYTES_MAX} bytes");
            return Err(garbage(format!("its list of tools is larger than {limits}")));
        }
        match page.next_cursor.filter(|cursor| !cursor.is_empty()) {
            Some(cursor) if !self.cursors.insert(cursor.clone()) => {
                Err(garbage("its list of tools never ends: a cursor came twice"))
            }
            next => Ok(next),
        }
    }
}

impl List {
    fn leave_out(&mut self, tool: &str, reason: &str) {
        let (tool, reason) = (printable(tool), printable(reason));
        tracing::warn!(tool, reason, "a tool is left out");
        if self.left_out.len() < LEFT_OUT_MAX {
            self.left_out.push(LeftOut { tool, reason });
        }
    }
}

/// Who this node is to servers.
fn us() -> Implementation {
    Implementation::new("aop-node", env!("CARGO_PKG_VERSION"))
}

async fn settle(handle: &mut RequestHandle<RoleClient>) -> Option<ServerResult> {
    timeout(SETTLE_WAIT, &mut handle.rx).await.ok()?.ok()?.ok()
}

fn said(error: &ServiceError) -> String {
    match error {
        ServiceError::TransportSend(error) => words(error),
        other => other.to_string(),
    }
}

fn rpc(raw: Bytes) -> UpstreamError {
    let said = serde_json::from_slice::<RpcError>(&raw).unwrap_or(RpcError { code: 0, message: String::new() });
    UpstreamError::Rpc { code: said.code, message: printable(&said.message), raw }
}

/// A call past rmcp. Dropped, nobody waits for it any more; its HTTP exchange is dropped with it, which tells the server.
struct Direct<'a> {
    live: &'a Live,
    slot: Arc<Slot>,
    id: RequestId,
}

impl Drop for Direct<'_> {
    fn drop(&mut self) {
        self.live.taps.forget(&self.id);
        self.slot.abandon();
    }
}

/// Tells the server that nobody waits any more, unless the request was settled.
struct Guard {
    live: Arc<Live>,
    slot: Arc<Slot>,
    id: Option<RequestId>,
}

impl Guard {
    fn settled(&mut self) {
        if let Some(id) = self.id.take() {
            self.live.taps.forget(&id);
        }
    }

    fn answered(&mut self) {
        self.live.given_up.store(0, Ordering::Relaxed);
        self.settled();
    }

    fn give_up(self, after: Duration) -> UpstreamError {
        match self.slot.abandon() {
            true => UpstreamError::NotSent { reason: format!("the server did not take it within {:?}", to_ms(after)) },
            false => UpstreamError::TimedOut { after },
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        self.live.doubted.store(true, Ordering::Relaxed);
        self.live.given_up.fetch_add(1, Ordering::Relaxed);
        self.live.taps.forget(&id);
        self.slot.abandon();
        // Also when nothing has left: rmcp forgets the request by it, and the transport drops both.
        let peer = self.live.peer.clone();
        let params = CancelledNotificationParam::new(Some(id), Some("the caller stopped waiting".to_owned()));
        let notice = CancelledNotification::new(params);
        self.live.errands.spawn_on(async move { peer.send_notification(notice.into()).await }, &self.live.runtime);
    }
}
