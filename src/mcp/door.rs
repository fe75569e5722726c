//! The door itself: one POST in, one answer out, for the four tools of the node and for the tools of one zone.
//!
//! It looks into a message only as far as it must. `tools/list` and `tools/call` are answered from raw bytes; everything else,
//! and everything that is no proper request, goes to rmcp with its body untouched.

mod again;
mod standing;

use std::sync::Arc;

use aop_proto::{
    access::{self, Action},
    error::Problem,
    name::ZoneName,
};
use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::{StatusCode, header, request},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use futures::FutureExt;
use http_body_util::Full;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::{again::repeated, standing::STREAMS_MAX};
use super::{
    envelope::{Answer, Envelope, Id, code, json_response},
    handler::NodeHandler,
    headers::{Caller, check_cases, check_media_types, read_caller},
    menu::Menu,
    news::News,
    pins::Pins,
    raw::Members,
    running::{PROGRESS_MAX, Progress, Running},
    server::{self, Servers},
    shelf::Shelf,
    underway::{SESSION, Session, Underway},
    zone::Lists,
};
use crate::{
    answers::Resolution,
    auth::Standing,
    call::Calls,
    handle::{Ask, Handle},
    http::{BODY_BYTES_MAX, Other, challenge, read_body},
};

/// Origins rmcp itself lets through; the port's guard has refused all others before.
const ORIGINS: [&str; 6] = [
    "http://localhost:*",
    "http://127.0.0.1:*",
    "http://[::1]:*",
    "https://localhost:*",
    "https://127.0.0.1:*",
    "https://[::1]:*",
];

/// Where the node's own four tools are.
const MENU_PATH: &str = "/mcp";

/// Which tools a path shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// `/mcp`: the node's own four.
    Menu,
    /// `/z/{zone}/mcp`: a zone's.
    Zone(String),
}

impl Scope {
    fn of_zone(path: String) -> Self {
        Self::Zone(if path == "_" { ".".to_owned() } else { path })
    }
}

/// Both paths of the door. Cheap to clone.
#[derive(Clone)]
pub(crate) struct McpDoor {
    inner: Arc<Inner>,
}

struct Inner {
    calls: Calls,
    menu: Menu,
    lists: Arc<Lists>,
    shelf: Shelf,
    underway: Underway,
    news: News,
    /// Places for standing streams.
    standing: Arc<Semaphore>,
    shutdown: CancellationToken,
    rmcp: StreamableHttpService<NodeHandler, NeverSessionManager>,
    servers: Servers,
}

impl McpDoor {
    /// The door of the node behind `calls`, with these tools pinned. `shutdown` ends subscriptions and standing streams.
    pub(crate) fn new(calls: Calls, pinned: Vec<String>, shutdown: &CancellationToken) -> Self {
        let (pins, lists) = (Arc::new(Pins::new(pinned)), Arc::<Lists>::default());
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(BODY_BYTES_MAX)
            .with_allowed_origins(ORIGINS)
            // The port's guard has checked the name, and knows the bound address besides.
            .disable_allowed_hosts()
            .with_cancellation_token(shutdown.child_token());
        let news = News::new(calls.handle().clone(), Arc::clone(&pins), Arc::clone(&lists));
        let handler = NodeHandler::new(news.clone());
        let rmcp =
            StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(NeverSessionManager::default()), config);
        let servers = Servers::new(calls.clone(), shutdown.clone());
        let (shelf, underway) = (Shelf::default(), Underway::default());
        let (standing, shutdown) = (Arc::new(Semaphore::new(STREAMS_MAX)), shutdown.clone());
        let menu = Menu::new(pins);
        let inner = Inner { calls, menu, lists, shelf, underway, news, standing, shutdown, rmcp, servers };
        Self { inner: Arc::new(inner) }
    }

    /// The routes of the door; anything but POST is 405 where this node itself answers, as the current revision wants it, but for the
    /// stream of those before.
    pub(crate) fn routes(self) -> Router {
        let servers = Router::new().route("/s/{server}/mcp", server::methods()).with_state(self.inner.servers.clone());
        let menu = if self.inner.news.may_come(&Scope::Menu) { post(at_menu).get(before_menu) } else { post(at_menu) };
        let own = Router::new().route(MENU_PATH, menu).route("/z/{zone}/mcp", post(at_zone).get(before_zone));
        own.with_state(self).merge(servers)
    }

    /// The routes, and before them what was asked of the menu word for word before.
    pub(crate) fn at_port(self) -> Other {
        Other::ready(self.clone().routes(), Arc::new(self))
    }
}

async fn at_menu(State(door): State<McpDoor>, request: Request) -> Response {
    door.answer(Scope::Menu, request).await
}

async fn at_zone(State(door): State<McpDoor>, Path(zone): Path<String>, request: Request) -> Response {
    door.answer(Scope::of_zone(zone), request).await
}

async fn before_menu(State(door): State<McpDoor>, request: Request) -> Response {
    door.stand(Scope::Menu, request).await
}

async fn before_zone(State(door): State<McpDoor>, Path(zone): Path<String>, request: Request) -> Response {
    door.stand(Scope::of_zone(zone), request).await
}

impl McpDoor {
    async fn answer(&self, scope: Scope, request: Request) -> Response {
        if let Err(refusal) = check_media_types(request.headers()) {
            return refusal;
        }
        let (parts, body) = request.into_parts();
        let body = match read_body(body).await {
            Ok(body) => body,
            Err(error) => return error.into_response(),
        };
        match Envelope::read(&body) {
            Ok(envelope) => match (envelope.method.as_ref(), envelope.id()) {
                ("tools/list", Some(id)) => self.list(&scope, &parts, &envelope, id).await,
                ("tools/call", Some(id)) => self.call(&scope, &parts, (&body, &envelope), id).await,
                ("resources/read", Some(id)) => self.read(&parts, &envelope, id),
                ("initialize", Some(_)) => self.begin(scope, parts, body.clone()).await,
                ("subscriptions/listen", Some(id)) => self.subscribe(scope, parts, body.clone(), id).await,
                ("notifications/cancelled", None) => {
                    self.cancel(&parts, &envelope);
                    self.hand_on(scope, parts, body.clone()).await
                }
                _ => self.hand_on(scope, parts, body.clone()).await,
            },
            Err(_) if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() => {
                self.hand_on(scope, parts, body).await
            }
            Err(error) => {
                let answer = Answer::error(code::PARSE, &format!("Parse error: {error}"), None);
                json_response(StatusCode::BAD_REQUEST, answer.message(&Id("null".into())))
            }
        }
    }

    async fn list(&self, scope: &Scope, parts: &request::Parts, envelope: &Envelope<'_>, id: Id) -> Response {
        let params = match read_params(envelope, &id) {
            Ok(params) => params,
            Err(refusal) => return refusal,
        };
        let caller = match read_caller(&parts.headers, "tools/list", &params, &id) {
            Ok(caller) => caller,
            Err(refusal) => return refusal,
        };
        let by = who(parts);
        if *scope != Scope::Menu
            && let Err(problem) = self.require(&by, Action::Discover)
        {
            return refused(&problem, &id);
        }
        let answer = if params.get("cursor").is_some_and(|cursor| cursor.get() != "null") {
            Answer::error(code::INVALID_PARAMS, "there is no such page: this list is complete in one", None)
        } else {
            match scope {
                Scope::Menu => self.inner.menu.list(self.inner.calls.handle(), &by, caller.modern).await,
                Scope::Zone(zone) => self.inner.lists.list(self.inner.calls.handle(), &by, zone, caller.modern).await,
            }
        };
        answer.into_response(&id, caller.modern)
    }

    /// Of what was put aside of results; nothing else can be read here.
    fn read(&self, parts: &request::Parts, envelope: &Envelope<'_>, id: Id) -> Response {
        let params = match read_params(envelope, &id) {
            Ok(params) => params,
            Err(refusal) => return refusal,
        };
        let caller = match read_caller(&parts.headers, "resources/read", &params, &id) {
            Ok(caller) => caller,
            Err(refusal) => return refusal,
        };
        let answer = match params.text("uri") {
            Some(uri) => self.inner.shelf.read(&uri, &who(parts), caller.modern),
            None => Answer::error(code::INVALID_PARAMS, "`uri` has to be a string", None),
        };
        answer.into_response(&id, caller.modern)
    }

    /// The handshake of the revisions that have one; its client is given a session, in which it can cancel what it asked for.
    async fn begin(&self, scope: Scope, parts: request::Parts, body: Bytes) -> Response {
        let mut response = self.hand_on(scope, parts, body).await;
        if response.status() == StatusCode::OK
            && let Some(session) = Session::new().and_then(Session::header)
        {
            response.headers_mut().insert(SESSION, session);
        }
        response
    }

    /// Ends a call of the caller's own session. Without one nobody can say which call is meant, and nothing is done.
    fn cancel(&self, parts: &request::Parts, envelope: &Envelope<'_>) {
        let Some(session) = Session::of(&parts.headers) else { return };
        let params = Members::read(envelope.params()).unwrap_or_default();
        if let Some(id) = params.get("requestId") {
            self.inner.underway.cancel(session, &who(parts).principal, id.get());
        }
    }

    async fn call(
        &self,
        scope: &Scope,
        parts: &request::Parts,
        (body, envelope): (&Bytes, &Envelope<'_>),
        id: Id,
    ) -> Response {
        let params = match read_params(envelope, &id) {
            Ok(params) => params,
            Err(refusal) => return refusal,
        };
        let caller = match read_caller(&parts.headers, "tools/call", &params, &id) {
            Ok(caller) => caller,
            Err(refusal) => return refusal,
        };
        let (sender, progress) = match caller.progress_token.clone() {
            Some(token) => {
                let (sender, source) = mpsc::channel(PROGRESS_MAX);
                (Some(sender), Some(Progress::new(token, source)))
            }
            None => (None, None),
        };
        let modern = caller.modern;
        let mut call = match ToolCall::read(&params, who(parts), caller, sender) {
            Ok(call) => call,
            Err(answer) => return answer.into_response(&id, modern),
        };
        let action = if *scope == Scope::Menu { self.inner.menu.action_of(&call.name) } else { Action::Call };
        if let Err(problem) = self.require(&call.by, action) {
            return refused(&problem, &id);
        }
        if *scope == Scope::Menu && progress.is_none() {
            let standing = parts.extensions.get::<Arc<Standing>>().cloned();
            call.ready_key = standing.map(|standing| (call.ready_key(&standing), standing));
            if let Some((key, standing)) = &call.ready_key
                && let Some(said) = self.inner.calls.handle().say(standing, key)
            {
                // What says something else each time is not asked again word for word.
                if !call.caller.varies
                    && let Some(repeated) = repeated(standing, &parts.headers, body, envelope)
                {
                    self.inner.calls.handle().say_as_well(key, &repeated);
                }
                return Answer::Result(said.body).into_response(&id, modern);
            }
        }
        let door = Arc::clone(&self.inner);
        let session = Session::of(&parts.headers).filter(|_| !modern);
        let entered = session.and_then(|session| door.underway.enter(session, &call.by.principal, &id));
        let span = tracing::debug_span!("mcp.call", tool = %call.name);
        let running = match scope {
            Scope::Menu => {
                let headers = parts.headers.clone();
                async move { door.menu.call((&door.calls, &door.shelf), &headers, call).await }.instrument(span).boxed()
            }
            Scope::Zone(zone) => {
                let (zone, headers) = (zone.clone(), parts.headers.clone());
                async move { door.lists.call((&door.calls, &door.shelf), &zone, &headers, call).await }
                    .instrument(span)
                    .boxed()
            }
        };
        Running::new(id, modern, running, progress).until_cancelled(entered).into_response().await
    }

    /// What is asked of a caller before it is known which tool it is about: whether he may do it to any.
    ///
    /// # Errors
    /// What he is told.
    fn require(&self, by: &access::Caller, action: Action) -> Result<(), Problem> {
        let everywhere = ZoneName::root();
        let auth = self.inner.calls.handle().auth();
        auth.require(by, access::Request { action, zone: &everywhere, tool: None })
    }

    /// To rmcp, with the scope where its handler finds it again.
    async fn hand_on(&self, scope: Scope, mut parts: request::Parts, body: Bytes) -> Response {
        parts.extensions.insert(scope);
        self.inner.rmcp.handle(Request::from_parts(parts, Full::new(body))).await.map(Body::new)
    }
}

/// A `tools/call`, taken apart without touching what is the tool's.
#[derive(Debug)]
pub(super) struct ToolCall {
    /// Who calls.
    pub(super) by: access::Caller,
    /// How it speaks.
    pub(super) caller: Caller,
    pub(super) name: String,
    /// The raw `arguments` object.
    pub(super) arguments: Bytes,
    /// What else stands in the parameters and is the tool's business: answers to its questions, its own state, the caller's `_meta`.
    pub(super) extra: Vec<(String, Bytes)>,
    pub(super) progress: Option<mpsc::Sender<Bytes>>,
    /// Under which its answer may be made ready for whoever asks the same.
    pub(super) ready_key: Option<(String, Arc<Standing>)>,
}

impl ToolCall {
    /// What the answer of a tool of ours that only looks depends on.
    fn ready_key(&self, standing: &Standing) -> String {
        let arguments = String::from_utf8_lossy(&self.arguments);
        let era = if self.caller.modern { "modern" } else { "initialize" };
        format!("mcp\0{era}\0{}\0{arguments}\0{}", self.name, standing.sight_key())
    }

    /// Makes the answer ready for the next who asks the same, where that may be.
    pub(super) fn make_ready(&self, handle: &Handle, resolution: &Resolution, answer: impl Fn(&Resolution) -> Answer) {
        let Some((key, standing)) = self.ready_key.clone() else { return };
        let written = |resolution: &Resolution| match answer(resolution) {
            Answer::Result(result) => String::from_utf8(result.into()).ok(),
            Answer::Error { .. } => None,
        };
        handle.make_ready(&standing, key, resolution, Ask::default().age_max(), written);
    }

    fn read(
        params: &Members<'_>,
        by: access::Caller,
        caller: Caller,
        progress: Option<mpsc::Sender<Bytes>>,
    ) -> Result<Self, Answer> {
        let invalid = |message: &str| Answer::error(code::INVALID_PARAMS, message, None);
        check_cases(params).map_err(|why| invalid(&why))?;
        let name = params.text("name").ok_or_else(|| invalid("`name` has to be a string"))?.into_owned();
        let arguments = match params.get("arguments").map(|raw| raw.get()) {
            None | Some("null") => "{}",
            Some(arguments) if arguments.starts_with('{') => arguments,
            Some(_) => return Err(invalid("`arguments` has to be an object")),
        };
        let mut extra: Vec<(String, Bytes)> = params
            .iter()
            .filter(|(member, _)| !matches!(*member, "name" | "arguments" | "_meta" | "task"))
            .map(|(member, value)| (member.to_owned(), Bytes::copy_from_slice(value.get().as_bytes())))
            .collect();
        extra.extend(caller.own_meta.clone().map(|meta| ("_meta".to_owned(), meta)));
        Ok(Self {
            by,
            caller,
            name,
            arguments: Bytes::copy_from_slice(arguments.as_bytes()),
            extra,
            progress,
            ready_key: None,
        })
    }
}

/// Who calls, as the port's entrance found out; nobody, where nobody asked.
pub(super) fn who(parts: &request::Parts) -> access::Caller {
    parts.extensions.get().cloned().unwrap_or_else(access::Caller::anonymous)
}

/// A refusal in both tongues: an MCP error for whoever reads it, and the status and challenge with which a client finds the token, or
/// the scope, that it lacks (MCP 2026-07-28, "Authorization").
pub(super) fn refused(problem: &Problem, id: &Id) -> Response {
    let status = StatusCode::from_u16(problem.kind.http_status()).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = json_response(status, Answer::refusal(problem).message(id));
    if let Some(challenge) = challenge(problem) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn read_params<'a>(envelope: &Envelope<'a>, id: &Id) -> Result<Members<'a>, Response> {
    Members::read(envelope.params()).map_err(|error| {
        let answer = Answer::error(code::INVALID_PARAMS, &format!("params: {error}"), None);
        json_response(StatusCode::BAD_REQUEST, answer.message(id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_tools_own_is_taken_byte_for_byte() {
        let params = r#"{"name":"a","arguments":{ "x" : 1.50 },"inputResponses":{"u":{ "action":"accept"}},"requestState":"s\u0031","task":{},"_meta":{}}"#;
        let caller = Caller { own_meta: Some(Bytes::from_static(b"{\"k\":1}")), ..Caller::default() };
        let call = ToolCall::read(&Members::read(params).expect("params"), access::Caller::anonymous(), caller, None)
            .expect("a call");
        assert_eq!(call.arguments, r#"{ "x" : 1.50 }"#);
        let extra: Vec<_> = call.extra.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
        assert_eq!(
            extra,
            [
                ("inputResponses", &br#"{"u":{ "action":"accept"}}"#[..]),
                ("requestState", br#""s\u0031""#),
                ("_meta", b"{\"k\":1}")
            ]
        );
    }

    #[test]
    fn a_call_without_a_name_with_a_list_of_arguments_or_of_two_faces_is_refused() {
        for bad in [
            r"{}",
            r#"{"name":1}"#,
            r#"{"name":"a","arguments":[]}"#,
            r#"{"name":"a","arguments":{},"Name":"delete_all"}"#,
            r#"{"name":"a","argument\u017f":{}}"#,
            r#"{"name":"a","_Meta":{}}"#,
            r#"{"name":"a","_meta":{"ProgressToken":1}}"#,
        ] {
            let params = Members::read(bad).expect("params");
            assert!(ToolCall::read(&params, access::Caller::anonymous(), Caller::default(), None).is_err(), "{bad}");
        }
    }
}
