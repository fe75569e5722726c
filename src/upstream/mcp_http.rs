//! The HTTP behind rmcp's Streamable HTTP transport: our own, so that bodies are bounded and raw bytes can be tapped.
//!
//! Sessions, resumption and eras are rmcp's. What must always hold: redirects are not followed, no proxy of the environment is
//! used and no address is taken from anybody else, so that a registration and its secrets reach exactly what it names, through
//! its gate (`egress`); no body is read past its limit; a request is called "not sent" only when no connection was made, or the server
//! has forgotten its session: whatever else somebody answers, a request that was answered was sent.

mod ended;
mod passing;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::{Method, RequestBuilder, Response, Url, redirect::Policy, retry};
use rmcp::{
    model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage},
    transport::{
        DynamicTransportError,
        streamable_http_client::{SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse},
    },
};
use serde_json::json;
use sse_stream::{Sse, SseStream};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

pub(crate) use self::ended::HttpFailure;
use self::ended::{Seen, causes};
use super::{
    child::printable,
    egress::{Egress, Gate, Screen},
    event_limit::EventLimit,
    failure::UpstreamError,
    frame::{self, Framing, MESSAGE_BYTES_MAX},
    room::{Place, Room},
    tap::{self, Answer, Sifted, Slot, Taps, addressed_error, garbage, uncorrelated_error},
};

/// Until a TCP and TLS connection stands.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle pooled connection is closed after this; most servers close theirs later.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Finds a peer that vanished under a stream that says nothing for hours.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Body of a refusal read and quoted, bytes.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
const QUOTED_CHARS_MAX: usize = 300;

/// How long a server may take to begin the event stream of an older transport, and in how many bytes.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
const FIRST_EVENT_BYTES_MAX: usize = 4096;

const WANTS_AUTH: &str = "the server wants authorization, register it with a header";
const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";
const BOTH: &str = "application/json, text/event-stream";
const SESSION_ID: &str = "mcp-session-id";
const LAST_EVENT_ID: &str = "last-event-id";

type Failure = StreamableHttpError<HttpFailure>;
pub(crate) type Events = BoxStream<'static, Result<Sse, SseError>>;

/// The one address a registration's requests go to, with the secrets that go there.
#[derive(Clone)]
pub(crate) struct Site {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    gate: Gate,
}

impl Site {
    /// # Errors
    /// What can never be sent, and an address that may not be reached.
    pub(crate) fn new(
        url: &str,
        headers: &BTreeMap<String, String>,
        egress: Egress,
        allow_private: bool,
    ) -> Result<Self, UpstreamError> {
        let invalid = |reason: String| UpstreamError::Invalid { reason };
        let url: Url = url.parse().map_err(|e| invalid(format!("the url is not a URL: {e}")))?;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let parsed = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value).ok());
            let (key, mut value) = parsed.ok_or_else(|| invalid(format!("the header {name} cannot be sent")))?;
            value.set_sensitive(true);
            map.insert(key, value);
        }
        let gate = egress.gate(allow_private, url.scheme() == "http" && !map.is_empty());
        gate.check_literal(&url).map_err(|refusal| refusal.as_upstream())?;
        Ok(Self { url, headers: map, gate })
    }

    /// A client that reaches what this address may stand for, follows nothing and asks no proxy.
    pub(super) fn client(&self) -> Result<reqwest::Client, UpstreamError> {
        let builder = match self.url.scheme() {
            // The machine's certificates are read anew for each client; here nobody shows one.
            "http" => reqwest::Client::builder().tls_certs_only([]),
            _ => reqwest::Client::builder(),
        };
        builder
            .no_proxy()
            .redirect(Policy::none())
            // What may be sent again is decided where the call is known; and nothing is copied to be sent again.
            .retry(retry::never().max_retries_per_request(0))
            .dns_resolver(Arc::new(Screen::new(self.gate)))
            .connect_timeout(DIAL_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            .user_agent(concat!("aop-node/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| UpstreamError::Connect { reason: format!("no HTTP client: {e}") })
    }
}

/// One upstream's HTTP client. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TapHttp {
    client: reqwest::Client,
    site: Site,
    room: Room,
    taps: Arc<Taps>,
    /// Rung when a connection failed, so that the supervisor looks at once.
    suspect: Arc<Notify>,
    /// Ends every exchange: rmcp's worker does not let go of its first one by itself.
    closed: CancellationToken,
}

impl TapHttp {
    pub(crate) fn new(
        site: Site,
        room: Room,
        taps: Arc<Taps>,
        suspect: Arc<Notify>,
        closed: CancellationToken,
    ) -> Result<Self, UpstreamError> {
        let client = site.client()?;
        Ok(Self { client, site, room, taps, suspect, closed })
    }

    /// Asks a 2026-07-28 server who it is, beside rmcp's queue: there the question would wait for every running call.
    pub(crate) async fn answers(&self, version: &str) -> Result<(), String> {
        let body = json!({"jsonrpc": "2.0", "id": "still-there", "method": "server/discover", "params": {"_meta": {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientInfo": {"name": "aop-node", "version": env!("CARGO_PKG_VERSION")},
            "io.modelcontextprotocol/clientCapabilities": {},
        }}});
        let request = self.prepare(Method::POST, HashMap::new()).body(body.to_string());
        let request = request.header(header::ACCEPT, BOTH).header(header::CONTENT_TYPE, JSON);
        let request = request.header("mcp-protocol-version", version).header("mcp-method", "server/discover");
        match self.send(request).await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("it answers HTTP {}", response.status())),
            Err(failure) => Err(failure.reason),
        }
    }

    /// Whether a GET opens the event stream of the HTTP+SSE transport, which begins with where to post. Source: MCP 2024-11-05.
    pub(crate) async fn speaks_old_sse(&self) -> bool {
        let look = async {
            let request = self.prepare(Method::GET, HashMap::new()).header(header::ACCEPT, EVENT_STREAM);
            let response = self.send(request).await.ok()?;
            let kind = text_header(&response, header::CONTENT_TYPE.as_str())?;
            if !response.status().is_success() || !kind.starts_with(EVENT_STREAM) {
                return None;
            }
            let (mut chunks, mut seen) = (response.bytes_stream(), Vec::new());
            while seen.len() < FIRST_EVENT_BYTES_MAX {
                seen.extend_from_slice(&chunks.next().await?.ok()?);
                let text = String::from_utf8_lossy(&seen);
                let mut lines = text.split_inclusive(['\n', '\r']).filter(|line| line.ends_with(['\n', '\r']));
                if lines.any(|line| line.strip_prefix("event:").is_some_and(|event| event.trim() == "endpoint")) {
                    return Some(());
                }
            }
            None
        };
        tokio::time::timeout(LOOK_TIMEOUT, look).await.is_ok_and(|seen| seen.is_some())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, HttpFailure> {
        let result = tokio::select! {
            biased;
            () = self.closed.cancelled() => return Err(closing()),
            result = request.send() => result,
        };
        result.map_err(|e| self.broken(&e))
    }

    fn broken(&self, error: &reqwest::Error) -> HttpFailure {
        self.suspect.notify_one();
        HttpFailure::of(error)
    }

    /// A request to the registered address: secrets go there or nowhere, whatever address a library or a server names.
    fn prepare(&self, method: Method, own: HashMap<HeaderName, HeaderValue>) -> RequestBuilder {
        let mut headers = self.site.headers.clone();
        headers.extend(own);
        self.client.request(method, self.site.url.clone()).headers(headers)
    }

    /// Sends a request with a slot, of no session. The slot is told how it ends; where the answer is a stream, by reading that.
    pub(crate) async fn exchange(
        &self,
        message: ClientJsonRpcMessage,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Option<Events> {
        match self.post_message(Arc::from(""), message, None, None, headers).await {
            Ok(StreamableHttpPostResponse::Sse(events, _)) => Some(events),
            _ => None,
        }
    }

    async fn post(
        &self,
        message: &ClientJsonRpcMessage,
        slot: Option<&Arc<Slot>>,
        session: Option<Arc<str>>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let body = frame::encode(message, slot.map(Arc::as_ref), Framing::Body)?;
        if slot.is_some_and(|slot| !slot.begin()) {
            return Err(Failure::Client(HttpFailure::new("its caller is gone", true)));
        }
        let in_session = session.is_some();
        let mut request = self.prepare(Method::POST, headers);
        request = request.header(header::ACCEPT, BOTH).header(header::CONTENT_TYPE, JSON).body(body);
        if let Some(session) = session {
            request = request.header(SESSION_ID, session.as_ref());
        }
        let response = self.send(request).await.map_err(Failure::Client)?;
        let status = response.status();
        if !status.is_success() {
            return self.refused(message, slot, in_session, response).await;
        }
        let session = text_header(&response, SESSION_ID);
        let kind = text_header(&response, header::CONTENT_TYPE.as_str()).unwrap_or_default();
        let one_way = !matches!(message, ClientJsonRpcMessage::Request(_));
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if kind.starts_with(EVENT_STREAM) {
            return Ok(StreamableHttpPostResponse::Sse(self.events(response, slot.cloned()), session));
        }
        if one_way {
            // Nobody waits for an answer to a notification, whatever a server puts there.
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if !kind.starts_with(JSON) {
            let reason = format!("the answer is {kind:?}, neither JSON nor an event stream");
            return Err(self.unreadable(slot, reason));
        }
        let body = self.read(response, MESSAGE_BYTES_MAX).await.map_err(|e| self.body_failed(slot, e))?;
        match self.understand(&body, message, slot) {
            Ok(message) => Ok(StreamableHttpPostResponse::Json(message, session)),
            Err(reason) => Err(self.unreadable(slot, reason)),
        }
    }

    /// A JSON body that answers this very request, and is all that comes.
    fn understand(
        &self,
        body: &Bytes,
        message: &ClientJsonRpcMessage,
        slot: Option<&Arc<Slot>>,
    ) -> Result<ServerJsonRpcMessage, String> {
        let quote = || self.quote(body);
        if let ClientJsonRpcMessage::Request(request) = message {
            match addressed_error(body, &request.id) {
                Ok(Some(error)) => return Ok(answer_with_error(message, slot, self.taps.mask().hide(&error))),
                Ok(None) => {}
                Err(why) => return Err(format!("{why}: {}", quote())),
            }
        }
        match self.taps.read(body) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(format!("not an answer: {}", quote())),
            Err(why) => Err(format!("{why}: {}", quote())),
        }
    }

    fn unreadable(&self, slot: Option<&Arc<Slot>>, reason: String) -> Failure {
        if let Some(slot) = slot {
            slot.finish(Answer::Failed(garbage(reason.as_str())));
        }
        Failure::UnexpectedServerResponse(reason.into())
    }

    fn body_failed(&self, slot: Option<&Arc<Slot>>, failure: Failure) -> Failure {
        match failure {
            Failure::ResponseBodyTooLarge { max_size } => {
                self.unreadable(slot, format!("the answer is larger than {max_size} bytes"))
            }
            failure => failure,
        }
    }

    /// An HTTP error, which may carry a JSON-RPC error that belongs to the caller.
    async fn refused(
        &self,
        message: &ClientJsonRpcMessage,
        slot: Option<&Arc<Slot>>,
        in_session: bool,
        response: Response,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let status = response.status();
        if status == StatusCode::NOT_FOUND && in_session {
            self.suspect.notify_one();
            return Err(Failure::SessionExpired);
        }
        let place = text_header(&response, header::LOCATION.as_str());
        let kind = text_header(&response, header::CONTENT_TYPE.as_str()).unwrap_or_default();
        let headers = response.headers().clone();
        let body = self.read(response, REFUSAL_BYTES_MAX).await.unwrap_or_default();
        let body = self.taps.mask().hide(&body);
        let auth = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let is_request = matches!(message, ClientJsonRpcMessage::Request(_));
        if kind.starts_with(JSON) && is_request && !auth && self.carries_error(&body) {
            match uncorrelated_error(&body) {
                // A restarted server that has forgotten the session often says no more than this.
                Some(_) if in_session => self.suspect.notify_one(),
                Some(error) => {
                    return Ok(StreamableHttpPostResponse::Json(answer_with_error(message, slot, error), None));
                }
                None => {
                    if let Ok(Some(answer)) = self.taps.read(&body) {
                        return Ok(StreamableHttpPostResponse::Json(answer, None));
                    }
                }
            }
        }
        if !in_session && !auth && status.is_client_error() && is_discover(message) {
            // An initialize-era server refuses what it does not know; said as JSON-RPC, rmcp falls back.
            let error = ErrorData::invalid_request(format!("HTTP {status}"), None);
            let error = serde_json::to_vec(&error)?.into();
            return Ok(StreamableHttpPostResponse::Json(answer_with_error(message, None, error), None));
        }
        let why = match (status, place) {
            (StatusCode::UNAUTHORIZED, _) if body.is_empty() => WANTS_AUTH.to_owned(),
            (StatusCode::UNAUTHORIZED, _) => format!("{WANTS_AUTH}: {}", self.quote(&body)),
            (status, Some(place)) if status.is_redirection() => {
                format!("redirects are not followed, it points to {}", self.quote(place.as_bytes()))
            }
            _ => self.quote(&body),
        };
        Err(Failure::Client(HttpFailure::answered(status, &headers, &why)))
    }

    fn carries_error(&self, body: &Bytes) -> bool {
        matches!(serde_json::from_slice(body), Ok(ServerJsonRpcMessage::Error(_))) || uncorrelated_error(body).is_some()
    }

    fn quote(&self, body: &[u8]) -> String {
        let text = self.taps.mask().apply(&printable(&String::from_utf8_lossy(body)));
        let cut: String = text.chars().take(QUOTED_CHARS_MAX).collect();
        if cut.len() < text.len() { format!("{cut}…") } else { cut }
    }

    async fn read(&self, response: Response, max_size: usize) -> Result<Bytes, Failure> {
        let announced = response.content_length().unwrap_or(0);
        if announced > max_size as u64 {
            return Err(Failure::ResponseBodyTooLarge { max_size });
        }
        let mut stream = response.bytes_stream();
        let mut body = self.room.filling();
        let whole = async {
            loop {
                match stream.next().await {
                    None => return Ok(body.whole()),
                    Some(Ok(chunk)) if chunk.len() <= max_size - body.len() => body.add(&chunk).await,
                    Some(Ok(_)) => return Err(Failure::ResponseBodyTooLarge { max_size }),
                    Some(Err(e)) => return Err(Failure::Client(self.broken(&e))),
                }
            }
        };
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(Failure::Client(closing())),
            whole = whole => whole,
        }
    }

    /// An event stream, each message sifted on its way to rmcp.
    fn events(&self, response: Response, slot: Option<Arc<Slot>>) -> Events {
        let mut limit = EventLimit::new(MESSAGE_BYTES_MAX);
        let suspect = self.suspect.clone();
        let room = self.room.clone();
        let place = Arc::new(Mutex::new(room.place()));
        let growing = Arc::clone(&place);
        let bytes = response.bytes_stream().take_until(self.closed.clone().cancelled_owned()).then(move |chunk| {
            let chunk = match chunk {
                Ok(chunk) if limit.admits(&chunk) => Ok(chunk),
                Ok(_) => {
                    let reason = format!("an event larger than {MESSAGE_BYTES_MAX} bytes");
                    if let Some(slot) = &slot {
                        slot.finish(Answer::Failed(garbage(reason.as_str())));
                    }
                    Err(std::io::Error::other(reason))
                }
                Err(e) => {
                    suspect.notify_one();
                    Err(std::io::Error::other(causes(&e)))
                }
            };
            let (growing, event) = (Arc::clone(&growing), limit.held());
            async move {
                growing.lock().await.grow(event).await;
                chunk
            }
        });
        let taps = self.taps.clone();
        let events = SseStream::from_bytes_stream(bytes).then(move |event| {
            let (taps, room, place) = (taps.clone(), room.clone(), Arc::clone(&place));
            async move {
                let place = std::mem::replace(&mut *place.lock().await, room.place());
                event.map(|event| sift_event(&taps, event, place))
            }
        });
        events.boxed()
    }
}

fn sift_event(taps: &Taps, mut event: Sse, place: Place) -> Sse {
    let Some(data) = event.data.take() else { return event };
    let data = place.hold(Bytes::from(data));
    event.data = match taps.sift(&data) {
        // The id of the event still counts for resumption.
        Sifted::Consumed | Sifted::Garbage => None,
        Sifted::Answered(id) => Some(tap::answered(id)),
        Sifted::Stub(stub) => Some(stub),
        Sifted::Pass => String::from_utf8(taps.mask().hide(&data).into()).ok(),
    };
    event
}

/// Gives a nameless error to the request it was the answer to.
fn answer_with_error(message: &ClientJsonRpcMessage, slot: Option<&Arc<Slot>>, error: Bytes) -> ServerJsonRpcMessage {
    let typed = serde_json::from_slice::<ErrorData>(&error)
        .unwrap_or_else(|_| ErrorData::internal_error("unreadable error", None));
    if let Some(slot) = slot {
        slot.finish(Answer::Error(error));
    }
    let id = match message {
        ClientJsonRpcMessage::Request(request) => Some(request.id.clone()),
        _ => None,
    };
    ServerJsonRpcMessage::error(typed, id)
}

fn is_discover(message: &ClientJsonRpcMessage) -> bool {
    matches!(message, ClientJsonRpcMessage::Request(request) if matches!(request.request, ClientRequest::DiscoverRequest(_)))
}

fn text_header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn closing() -> HttpFailure {
    HttpFailure::new("the connection is being closed", false)
}

impl StreamableHttpClient for TapHttp {
    type Error = HttpFailure;

    async fn post_message(
        &self,
        _uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let slot = self.taps.watch(&message);
        let result = self.post(&message, slot.as_ref(), session_id, custom_headers).await;
        if let (Err(failure), Some(slot)) = (&result, &slot) {
            slot.finish(Answer::Failed(tell(failure)));
        }
        result
    }

    async fn delete_session(
        &self,
        _uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failure> {
        let request = self.prepare(Method::DELETE, custom_headers);
        // Whether a server cares about a goodbye is its own affair.
        self.send(request.header(SESSION_ID, session_id.as_ref())).await.map(drop).map_err(Failure::Client)
    }

    async fn get_stream(
        &self,
        _uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Events, Failure> {
        let mut request = self.prepare(Method::GET, custom_headers).header(header::ACCEPT, EVENT_STREAM);
        if let Some(session) = session_id {
            request = request.header(SESSION_ID, session.as_ref());
        }
        if let Some(last) = last_event_id {
            request = request.header(LAST_EVENT_ID, last);
        }
        let response = self.send(request).await.map_err(Failure::Client)?;
        let kind = text_header(&response, header::CONTENT_TYPE.as_str());
        match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => Err(Failure::ServerDoesNotSupportSse),
            status if !status.is_success() => {
                // It may be a new process that never heard of this session.
                self.suspect.notify_one();
                Err(Failure::Client(HttpFailure::answered(status, response.headers(), "")))
            }
            _ if kind.as_deref().is_some_and(|kind| kind.starts_with(EVENT_STREAM)) => Ok(self.events(response, None)),
            _ => Err(Failure::UnexpectedContentType(kind)),
        }
    }
}

/// The refusal of an address, where an exchange inside rmcp failed of one.
pub(crate) fn refusal_of(error: &DynamicTransportError) -> Option<UpstreamError> {
    match error.error.downcast_ref::<Failure>() {
        Some(Failure::Client(HttpFailure { seen: Seen::Refused(refusal), .. })) => Some(refusal.as_upstream()),
        _ => None,
    }
}

/// The status that an exchange inside rmcp failed of.
pub(crate) fn status_of(error: &DynamicTransportError) -> Option<StatusCode> {
    match error.error.downcast_ref::<Failure>() {
        Some(Failure::Client(HttpFailure { seen: Seen::Status(status, _), .. })) => Some(*status),
        _ => None,
    }
}

/// The words of an exchange that failed inside rmcp.
pub(crate) fn words(error: &DynamicTransportError) -> String {
    match error.error.downcast_ref::<Failure>() {
        Some(failure) => tell_in_words(failure),
        None => error.error.to_string(),
    }
}

fn tell_in_words(failure: &Failure) -> String {
    match failure {
        Failure::Client(failure) => failure.reason.clone(),
        Failure::SessionExpired => "the server has forgotten our session".to_owned(),
        other => other.to_string(),
    }
}

/// What a failed exchange means for the call it carried.
fn tell(failure: &Failure) -> UpstreamError {
    match failure {
        Failure::Client(failure) => failure.as_upstream(),
        Failure::SessionExpired => UpstreamError::NotSent { reason: tell_in_words(failure) },
        Failure::Deserialize(e) => UpstreamError::NotSent { reason: format!("cannot be written as JSON: {e}") },
        Failure::UnexpectedServerResponse(reason) => garbage(reason.as_ref()),
        other => UpstreamError::Lost { reason: tell_in_words(other) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tapped_event_keeps_its_id_and_loses_its_content() {
        let taps = Taps::default();
        let progress =
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
        let place = || Room::default().place();
        let event = sift_event(&taps, Sse::default().id("7").data(progress), place());
        assert_eq!((event.id.as_deref(), event.data), (Some("7"), None));
        let other = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        assert_eq!(sift_event(&taps, Sse::default().data(other), place()).data.as_deref(), Some(other));
    }

    #[tokio::test]
    async fn a_refused_connection_is_provably_not_sent_and_names_no_query() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let suspect = Arc::new(Notify::new());
        let egress = Egress { loopback_implied: true };
        let site =
            Site::new(&format!("http://{address}/?key=s3cret"), &BTreeMap::new(), egress, false).expect("a site");
        let http = TapHttp::new(site, Room::default(), Arc::default(), suspect.clone(), CancellationToken::new())
            .expect("a client");
        let failure = http.send(http.prepare(Method::POST, HashMap::new())).await.expect_err("refused");
        assert!(failure.not_sent() && !failure.reason.contains("s3cret"), "{failure}");
        assert!(failure.reason.contains("refused"), "{failure}");
        suspect.notified().await;
    }
}
