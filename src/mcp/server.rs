//! `/s/{server}/mcp`: one server of this node, as it is. Every method, known or not, goes there, and everything it says comes back,
//! byte for byte, names unchanged.
//!
//! What stands between is the node's: who may, how much at once, the audit. A tool is called once or not at all; nothing is queued,
//! retried or sent elsewhere, and arguments are the server's to judge. What must always hold: a call is asked for as the tool it
//! names, whatever a header says; what is no tool's is the server's as a whole; of a list of tools everybody sees what he may find;
//! a session is of whoever began it, and a server that somebody may see nothing of is not there for him.

mod guard;
mod message;
mod stream;

use std::sync::Arc;

use aop_proto::access::Caller;
use aop_proto::error::{Kind, Problem};
use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::guard::{Guard, Seal};
use self::message::Message;
use self::stream::{Passing, Trace};
use super::{
    door::{refused, who},
    envelope::{Answer, Id, code, json_response, status_of},
    headers::{MODERN, VERSION, VERSIONS, check_media_types, check_named, check_params, read_caller_of},
    raw::Members,
    zone::header_schema,
};
use crate::{
    call::Calls,
    http::read_body,
    upstream::{Asked, Said, SaidBody, UpstreamError, Way},
};

/// What of a request's headers is the protocol's, beside those that begin with [`PARAM_PREFIX`].
const HEADERS: [&str; 6] =
    ["accept", "content-type", "mcp-protocol-version", "mcp-method", "mcp-name", "last-event-id"];
const PARAM_PREFIX: &str = "mcp-param-";
const SESSION: &str = "mcp-session-id";

/// The door. Cheap to clone.
#[derive(Clone)]
pub(super) struct Servers {
    inner: Arc<Inner>,
}

struct Inner {
    calls: Calls,
    seal: Seal,
    shutdown: CancellationToken,
}

/// The route's methods: those of Streamable HTTP in all revisions.
pub(super) fn methods() -> axum::routing::MethodRouter<Servers> {
    post(at_server).get(at_server).delete(at_server)
}

async fn at_server(State(servers): State<Servers>, Path(server): Path<String>, request: Request) -> Response {
    match servers.answer(&server, request).await {
        Ok(response) | Err(response) => response,
    }
}

impl Servers {
    /// `shutdown` ends streams that nobody waits on for an answer.
    pub(super) fn new(calls: Calls, shutdown: CancellationToken) -> Self {
        Self { inner: Arc::new(Inner { calls, seal: Seal::new(), shutdown }) }
    }

    async fn answer(&self, server: &str, request: Request) -> Result<Response, Response> {
        let (parts, body) = request.into_parts();
        let by = who(&parts);
        let is_message = parts.method == Method::POST;
        let body = match is_message {
            true => {
                check_media_types(&parts.headers)?;
                read_body(body).await.map_err(IntoResponse::into_response)?
            }
            false => Bytes::new(),
        };
        let nobody = Id("null".into());
        let message = match is_message {
            true => Some(Message::read(&body).map_err(|why| invalid(&nobody, &why))?),
            false => None,
        };
        let told = message.as_ref().and_then(Message::id).unwrap_or(nobody);
        let handle = self.inner.calls.handle();
        let guard = Guard::new(handle, &by, server).map_err(|problem| refused(&problem, &told))?;
        let asks = message.as_ref().filter(|message| message.method().is_some());
        let session = self.admit(&guard, &parts.headers, &by, asks).map_err(|refusal| refusal.told(&told))?;
        let way = handle.upstreams().way_to(guard.server()).await;
        let way = way.map_err(|error| refused(&problem_of(guard.server(), &error), &told))?;
        let spoken = match (way, asks) {
            (Way::Http, Some(message)) => {
                let params = Members::read(message.params()).unwrap_or_default();
                check_named(&parts.headers, message.method().unwrap_or_default(), &params)
                    .map_err(|why| bad(&told, code::HEADER_MISMATCH, &why))?;
                Spoken::InSession
            }
            (Way::Pipes { modern }, Some(message)) => {
                Self::judge(&guard, &parts.headers, message, &told, modern, session.is_some())?
            }
            // An answer is given where it was asked for.
            (Way::Pipes { .. }, None) if is_message && session.is_none() => {
                return Err(bad(&told, code::INVALID_REQUEST, "an answer belongs into a session"));
            }
            (_, None) => Spoken::InSession,
        };
        match spoken {
            Spoken::ToNobody => Ok(StatusCode::ACCEPTED.into_response()),
            _ => self.carry(Received { guard, by: &by, parts: &parts, body: &body, asks, told, session, spoken }).await,
        }
    }

    /// Sends what was judged, once, and tells what comes back.
    async fn carry(&self, received: Received<'_>) -> Result<Response, Response> {
        let Received { guard, by, parts, body, asks, told, session, spoken } = received;
        let id = asks.and_then(Message::id);
        let call = asks.filter(|message| id.is_some() && message.is_call());
        let is_listening = asks.is_some_and(|message| message.method() == Some("subscriptions/listen"));
        let asked = Asked {
            method: parts.method.clone(),
            headers: protocol_headers(&parts.headers),
            session: session.filter(|_| spoken == Spoken::InSession),
            begins: spoken == Spoken::Beginning,
            body: body.clone(),
            listens: is_listening || parts.method == Method::GET,
            is_call: call.is_some(),
            by: by.principal.to_string(),
        };
        let trace = match call {
            Some(message) => Some(Trace::begin(&self.inner.calls, by, &guard, message).await),
            None => None,
        };
        let list = id.clone().filter(|_| asks.is_some_and(|message| message.method() == Some("tools/list")));
        let request = id.filter(|_| !is_listening);
        let mut passing = Passing::new(guard.sieve(call.is_some(), list), request, trace, &self.inner.shutdown);
        if asked.listens {
            passing = passing.listening();
        }
        let upstreams = self.inner.calls.handle().upstreams();
        match passing.within(upstreams.pass(guard.server(), asked)).await {
            Ok(said) => {
                let mut response = self.told(by, guard.server(), said, passing, spoken == Spoken::Alone);
                // It has no stream, or no session to end; a message it always takes. Source: RFC 9110 §15.5.6.
                if response.status() == StatusCode::METHOD_NOT_ALLOWED && parts.method != Method::POST {
                    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
                }
                Ok(response)
            }
            Err(error) => {
                let problem = problem_of(guard.server(), &error);
                passing.failed(problem.kind);
                Err(refused(&problem, &told))
            }
        }
    }

    /// Lets a request go on, with the session it is of, if it is of one.
    ///
    /// # Errors
    /// The caller may not, or the session is not his.
    fn admit(
        &self,
        guard: &Guard<'_>,
        headers: &HeaderMap,
        by: &Caller,
        asks: Option<&Message<'_>>,
    ) -> Result<Option<String>, Refusal> {
        let session = self.session(headers, by, guard.server());
        let may = match (asks, &session) {
            (Some(message), _) => guard.may(message),
            // Whoever has begun a session there knows of it.
            (None, Some(Some(_))) => Ok(()),
            (None, _) => guard.may_know(),
        };
        may.map_err(Refusal::Problem)?;
        session.ok_or(Refusal::NoSession)
    }

    /// The session a request is of, if it is of one; nothing where that is not this caller's. A revision without sessions has none,
    /// whatever stands there.
    fn session(&self, headers: &HeaderMap, by: &Caller, server: &str) -> Option<Option<String>> {
        let is_modern = headers.get(VERSION).and_then(|version| version.to_str().ok()).is_some_and(|it| it >= MODERN);
        match headers.get(SESSION).filter(|_| !is_modern) {
            None => Some(None),
            Some(sealed) => self.inner.seal.open(by, server, sealed).map(Some),
        }
    }

    /// Judges a message to a server behind pipes, as one over HTTP judges it itself.
    fn judge(
        guard: &Guard<'_>,
        headers: &HeaderMap,
        message: &Message<'_>,
        told: &Id,
        is_modern: bool,
        in_session: bool,
    ) -> Result<Spoken, Response> {
        let method = message.method().unwrap_or_default();
        let params = Members::read(message.params())
            .map_err(|error| bad(told, code::INVALID_PARAMS, &format!("params: {error}")))?;
        if message.id().is_none() {
            // Without a session nothing can be said to one request about another: its stream is closed instead.
            return Ok(if in_session { Spoken::InSession } else { Spoken::ToNobody });
        }
        // Which revisions there are the server says itself.
        let caller = read_caller_of(headers, method, &params, told, |_| true)?;
        if !caller.modern {
            return match (method, in_session) {
                ("initialize", _) => Ok(Spoken::Beginning),
                (_, true) => Ok(Spoken::InSession),
                _ => Err(bad(told, code::INVALID_REQUEST, "this server needs a session: begin with `initialize`")),
            };
        }
        if !is_modern {
            let (before, _) = VERSIONS.split_at(VERSIONS.len() - 1);
            let data = serde_json::json!({"requested": MODERN, "supported": before});
            // Whoever asks so finds out that there is an older way; whoever does not ask is told which.
            let answer = match method {
                "server/discover" => Answer::error(code::METHOD_NOT_FOUND, "Method not found", None),
                _ => Answer::error(code::UNSUPPORTED_VERSION, "Unsupported protocol version", Some(data)),
            };
            return Err(answer.into_response(told, true));
        }
        if message.is_call()
            && let Some(definition) = guard.definition(message)
            && let Some(schema) = header_schema(&definition)
        {
            let arguments = params.get("arguments").and_then(|raw| serde_json::from_str(raw.get()).ok());
            check_params(headers, &schema, &arguments.unwrap_or_default())
                .map_err(|why| bad(told, code::HEADER_MISMATCH, &why))?;
        }
        Ok(Spoken::Alone)
    }

    fn told(&self, by: &Caller, server: &str, said: Said, mut passing: Passing, is_plain: bool) -> Response {
        let mut response = match said.body {
            SaidBody::Empty => {
                passing.failed(Kind::UpstreamFailed);
                said.status.into_response()
            }
            SaidBody::Json(message) => {
                // Behind pipes there is no status.
                let status = if is_plain { status_of(&message) } else { said.status };
                json_response(status, passing.last(&message))
            }
            SaidBody::Text(text) => {
                // Whatever a server calls it, no browser is to show it as a page of this node.
                let headers =
                    [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
                // A list that is called a text is a list.
                let text = if said.status.is_success() { passing.last(&text).into() } else { text };
                passing.failed(Kind::UpstreamFailed);
                (said.status, headers, text).into_response()
            }
            SaidBody::Events(events) => {
                let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
                let mut response = (said.status, headers, Body::from_stream(passing.over(events))).into_response();
                response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
                response
            }
        };
        if let Some(sealed) = said.session.and_then(|session| self.inner.seal.close(by, server, &session)) {
            response.headers_mut().insert(SESSION, sealed);
        }
        response
    }
}

/// A request that was read and judged.
struct Received<'r> {
    guard: Guard<'r>,
    by: &'r Caller,
    parts: &'r request::Parts,
    body: &'r Bytes,
    /// What it asks, or says without asking; nothing for an answer and for a stream.
    asks: Option<&'r Message<'r>>,
    /// The id under which it is told what is wrong.
    told: Id,
    session: Option<String>,
    spoken: Spoken,
}

/// Why a request does not go on.
enum Refusal {
    Problem(Problem),
    NoSession,
}

impl Refusal {
    fn told(&self, id: &Id) -> Response {
        match self {
            Self::Problem(problem) => refused(problem, id),
            // With this its client begins anew.
            Self::NoSession => {
                let answer = Answer::error(code::SESSION_NOT_FOUND, "Session not found", None);
                json_response(StatusCode::NOT_FOUND, answer.message(id))
            }
        }
    }
}

/// How a message is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoken {
    /// In its session, if it has one.
    InSession,
    /// It begins one, behind pipes.
    Beginning,
    /// By itself, behind pipes.
    Alone,
    /// It says nothing to anybody.
    ToNobody,
}

fn protocol_headers(all: &HeaderMap) -> HeaderMap {
    let is_ours = |name: &str| HEADERS.contains(&name) || name.starts_with(PARAM_PREFIX);
    let ours = all.iter().filter(|(name, _)| is_ours(name.as_str()));
    let mut headers = HeaderMap::new();
    for (name, value) in ours {
        headers.append(name.clone(), value.clone());
    }
    headers
}

fn problem_of(server: &str, error: &UpstreamError) -> Problem {
    let message = format!("server `{server}`: {error}");
    match error {
        UpstreamError::UnknownServer => Problem::new(Kind::ServerNotFound, message).hint("aop status"),
        UpstreamError::Invalid { .. } => Problem::new(Kind::Usage, message).hint("aop status"),
        UpstreamError::Crowded { retry_after, is_share, .. } => {
            let hint = if *is_share { "aop token create NAME --role caller" } else { "aop status" };
            Problem::new(Kind::Busy, message).detail(json!({"retry_after_s": retry_after.as_secs().max(1)})).hint(hint)
        }
        UpstreamError::TimedOut { .. } => Problem::new(Kind::CallTimedOut, message).hint("aop status"),
        error if error.not_sent() => Problem::new(Kind::UpstreamDown, message).hint("aop status"),
        _ => Problem::new(Kind::UpstreamFailed, message).hint("aop status"),
    }
}

fn bad(id: &Id, code: i64, message: &str) -> Response {
    json_response(StatusCode::BAD_REQUEST, Answer::error(code, message, None).message(id))
}

fn invalid(id: &Id, why: &message::Unreadable) -> Response {
    bad(id, why.code, &why.reason)
}
