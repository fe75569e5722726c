//! The client side of a node's HTTP interface: nodes tried in turn, the token found by address, every failure a [`Problem`].
//!
//! Not a general HTTP client: it never follows a redirect and never asks a proxy. What must hold: the next node is tried only when
//! the one before was provably not reached, or when the request may be repeated and it did not answer in its share of the time. A
//! token goes only with requests that need it, only to the node that wrote it or for which the user named it.

mod stream;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aop_proto::error::{Kind, Problem};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use reqwest::{Method, Url};
use serde_json::Value;
use sse_stream::SseStream;

use super::json::Members;
use super::text;
use super::token::Tokens;
use crate::http::trust::believing;
use crate::mcp::stdio::End;

/// Port of a node named without one.
pub(crate) const PORT: u16 = 7400;
/// Reads are answered at once or not at all.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A node that does not accept a connection in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A node that may be followed by another has at most one part in so many of the time.
const SHARES: u32 = 3;
/// And at least this, where twice as much is left.
const SHARE_MIN: Duration = Duration::from_secs(1);
/// More than this is not an answer (100,000 tools are about 60 MB).
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// One request, before it is known which node gets it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: Method,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Bytes>,
    timeout: Duration,
    /// The timeout was made from what the user asked for and is not overridden by it.
    exact_timeout: bool,
    changes: bool,
    /// It goes with the token although it changes nothing.
    with_token: bool,
}

impl Request {
    /// A read of `/v1/` plus these segments, which are escaped as needed.
    pub(crate) fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// A change with a JSON body.
    pub(crate) fn post(segments: &[&str], body: impl Into<Bytes>) -> Self {
        Self { body: Some(body.into()), ..Self::new(Method::POST, segments) }
    }

    /// A removal.
    pub(crate) fn delete(segments: &[&str]) -> Self {
        Self::new(Method::DELETE, segments)
    }

    fn new(method: Method, segments: &[&str]) -> Self {
        let segments = segments.iter().map(|s| (*s).to_owned()).collect();
        let changes = method != Method::GET;
        let query = Vec::new();
        Self {
            method,
            segments,
            query,
            body: None,
            timeout: READ_TIMEOUT,
            exact_timeout: false,
            changes,
            with_token: false,
        }
    }

    /// Adds a parameter.
    pub(crate) fn param(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.query.push((key, value.into()));
        self
    }

    /// Adds a parameter when there is a value.
    pub(crate) fn param_opt(self, key: &'static str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.param(key, value),
            None => self,
        }
    }

    /// Adds `key=1` when it is on.
    pub(crate) fn flag(self, key: &'static str, on: bool) -> Self {
        if on { self.param(key, "1") } else { self }
    }

    /// How long the whole answer may take, unless `--timeout` says.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long the whole answer may take, whatever `--timeout` says.
    pub(crate) fn exactly(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.exact_timeout = true;
        self
    }

    /// A POST that changes nothing: it needs no token and may go to the next node.
    pub(crate) fn read_only(mut self) -> Self {
        self.changes = false;
        self
    }

    /// A read of what only an administrator may see.
    pub(crate) fn with_token(mut self) -> Self {
        self.with_token = true;
        self
    }

    fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().push("v1").extend(&self.segments);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(self.query.iter().map(|(key, value)| (*key, value.as_str())));
        }
        url
    }
}

/// An answer with what travelled in headers.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// As the node sent it.
    pub(crate) body: Bytes,
    took_ms: Option<f64>,
    trace_id: Option<String>,
}

impl Reply {
    /// What a command has to say itself, as an answer.
    pub(crate) fn made(value: &Value) -> Self {
        Self { body: Bytes::from(value.to_string()), took_ms: None, trace_id: None }
    }

    /// One part of it, as an answer.
    pub(crate) fn part(&self, text: &str) -> Self {
        Self { body: Bytes::copy_from_slice(text.as_bytes()), took_ms: None, trace_id: self.trace_id.clone() }
    }

    /// The same with one member more, after `schema`.
    pub(crate) fn with(mut self, key: &str, json: &str) -> Self {
        if let Some(mut members) = Members::of(&self.body) {
            members.insert_after("schema", key, json.to_owned());
            self.body = Bytes::from(members.to_text());
        }
        self
    }

    /// The body with `took_ms` and `trace_id` folded in, its own members untouched.
    pub(crate) fn folded(&self) -> String {
        let Some(mut members) = Members::of(&self.body) else {
            return String::from_utf8_lossy(&self.body).into_owned();
        };
        if let Some(took_ms) = self.took_ms {
            members.insert_after("partial", "took_ms", took_ms.to_string());
        }
        if let Some(trace_id) = &self.trace_id {
            members.insert_after("took_ms", "trace_id", Value::from(trace_id.as_str()).to_string());
        }
        members.to_text()
    }

    /// The folded body, read.
    pub(crate) fn value(&self) -> Result<Value, Problem> {
        serde_json::from_str(&self.folded())
            .map_err(|error| Problem::new(Kind::Internal, format!("the node's answer cannot be read: {error}")))
    }
}

/// Sends requests to the first node that can be reached, and stays with it.
pub(crate) struct Client {
    nodes: Vec<Node>,
    preferred: AtomicUsize,
    tokens: Tokens,
    timeout: Option<Duration>,
    talk: Talk,
}

/// One node, and the client that believes whom it may show itself as.
struct Node {
    url: Url,
    http: reqwest::Client,
}

/// What the client says about its own doings, on stderr.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Talk {
    /// A node was passed over.
    pub(crate) detours: bool,
    /// Every request and its status.
    pub(crate) requests: bool,
}

/// One event of a stream.
#[derive(Debug)]
pub(crate) struct Part {
    /// Where the stream stands behind it.
    pub(crate) id: Option<String>,
    /// What kind it is of.
    pub(crate) event: String,
    /// What it says.
    pub(crate) data: String,
}

impl Client {
    /// A client for these nodes; `timeout` overrides what each request asks for.
    pub(crate) fn new(
        nodes: &[String],
        tokens: Tokens,
        timeout: Option<Duration>,
        talk: Talk,
    ) -> Result<Self, Problem> {
        let named = nodes.iter().map(|node| node.trim()).filter(|node| !node.is_empty());
        let nodes: Vec<Node> = named.map(|node| Node::new(node, &tokens, timeout)).collect::<Result<_, _>>()?;
        if nodes.is_empty() {
            return Err(Problem::new(Kind::Usage, "no node is named").hint("aop --node 127.0.0.1:7400 status"));
        }
        Ok(Self { nodes, preferred: AtomicUsize::new(0), tokens, timeout, talk })
    }

    /// The base URL answers come from, without a trailing slash.
    pub(crate) fn base(&self) -> String {
        base(&self.nodes[self.preferred.load(Ordering::Relaxed)].url)
    }

    /// Whether that node is one a program can use that is told its address and nothing else: no token, no certificate of its own.
    pub(crate) fn is_plain(&self) -> bool {
        let node = &self.nodes[self.preferred.load(Ordering::Relaxed)].url;
        !self.tokens.is_for_reads(node) && self.tokens.trust(node).is_empty()
    }

    /// What the user named besides nodes, as flags for whoever calls `aop` for him.
    pub(crate) fn flags(&self) -> Vec<String> {
        let named = [("--token-file", &self.tokens.file), ("--ca", &self.tokens.ca)];
        let named =
            named.into_iter().filter_map(|(flag, path)| Some((flag, std::path::absolute(path.as_ref()?).ok()?)));
        named.flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()]).collect()
    }

    /// All nodes, for what speaks to them by other means.
    ///
    /// # Errors
    /// A certificate that cannot be read.
    pub(crate) fn ends(&self) -> Result<Vec<End>, Problem> {
        let end = |node: &Node| {
            let tls = tls(&node.url, &self.tokens)?;
            Ok(End { base: base(&node.url), token: self.tokens.of(&node.url), tls })
        };
        self.nodes.iter().map(end).collect()
    }

    /// The time a request gets when the user named none.
    pub(crate) fn time(&self, default: Duration) -> Duration {
        self.timeout.unwrap_or(default)
    }

    /// Where its tokens come from.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// What it says on stderr.
    pub(crate) fn talk(&self) -> Talk {
        self.talk
    }

    /// The time the user gave, if any.
    pub(crate) fn asked_time(&self) -> Option<Duration> {
        self.timeout
    }

    /// Sends `request` to the nodes in turn and gives back the first answer.
    pub(crate) async fn send(&self, request: &Request) -> Result<Reply, Problem> {
        let first = self.preferred.load(Ordering::Relaxed);
        let time = if request.exact_timeout { request.timeout } else { self.time(request.timeout) };
        let (started, mut reasons, mut silent) = (Instant::now(), Vec::new(), None);
        for step in 0..self.nodes.len() {
            let index = (first + step) % self.nodes.len();
            let turn = match request.changes {
                // It is sent once: whoever gets it has all the time.
                true => Turn { time, is_last: true },
                false => Turn::of(time, started.elapsed(), self.nodes.len(), step),
            };
            let reason = match self.send_to(&self.nodes[index], request, turn).await {
                Ok(reply) => return Ok(self.answered_by(index, reply)),
                Err(Attempt::Failed(problem)) => return Err(*problem),
                Err(Attempt::Unreached(reason)) => reason,
                Err(Attempt::Silent(reason)) => {
                    silent.get_or_insert(index);
                    reason
                }
            };
            let node = address(&self.nodes[index].url);
            if self.talk.detours && step + 1 < self.nodes.len() {
                super::output::say(&format!("{node}: {reason}; asking the next node"));
            }
            reasons.push(format!("{node} ({reason})"));
        }
        // Nobody else is there: who was given a share may be slow, and has what is left.
        let turn = Turn { time: time.saturating_sub(started.elapsed()), is_last: true };
        if let Some(index) = silent.filter(|_| !turn.time.is_zero()) {
            match self.send_to(&self.nodes[index], request, turn).await {
                Ok(reply) => return Ok(self.answered_by(index, reply)),
                Err(Attempt::Failed(problem)) => return Err(*problem),
                Err(Attempt::Unreached(_) | Attempt::Silent(_)) => {}
            }
        }
        Err(unreached(&reasons))
    }

    /// The answer of a node that is asked first from now on.
    fn answered_by(&self, index: usize, reply: Reply) -> Reply {
        self.preferred.store(index, Ordering::Relaxed);
        reply
    }

    /// Hands the events of a stream on, one after the other, until it ends or `take` has enough. The nodes are tried in turn until one
    /// answers.
    ///
    /// # Errors
    /// As [`Self::send`]; also when the connection breaks.
    pub(crate) async fn follow(&self, request: &Request, mut take: impl FnMut(Part) -> bool) -> Result<(), Problem> {
        let (started, mut reasons) = (Instant::now(), Vec::new());
        for (step, Node { url: node, http }) in self.nodes.iter().enumerate() {
            let turn = Turn::of(self.time(request.timeout), started.elapsed(), self.nodes.len(), step);
            let mut builder = http.request(request.method.clone(), request.url(node));
            if let Some(token) = self.tokens.of(node) {
                builder = builder.bearer_auth(token);
            }
            let time = if turn.is_last { Duration::MAX } else { turn.time };
            let response = match tokio::time::timeout(time, builder.send()).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => {
                    reasons.push(format!("{} ({})", address(node), chain(&error)));
                    continue;
                }
                Err(_) => {
                    reasons.push(format!("{} ({})", address(node), turn.over()));
                    continue;
                }
            };
            let status = response.status();
            if !status.is_success() {
                let body = response.bytes().await.unwrap_or_default();
                return Err(self.refusal(node, status.as_u16(), Reply { body, took_ms: None, trace_id: None }));
            }
            let mut events = SseStream::from_bytes_stream(response.bytes_stream());
            while let Some(event) = events.next().await {
                let lost = |error: &dyn std::fmt::Display| {
                    Problem::new(Kind::NodeUnreachable, format!("the connection to {} broke: {error}", address(node)))
                };
                let event = event.map_err(|error| lost(&error))?;
                let (Some(data), name) = (event.data, event.event.unwrap_or_default()) else { continue };
                if !take(Part { id: event.id, event: name, data }) {
                    return Ok(());
                }
            }
            return Ok(());
        }
        Err(unreached(&reasons))
    }

    async fn send_to(&self, Node { url: node, http }: &Node, request: &Request, turn: Turn) -> Result<Reply, Attempt> {
        let url = request.url(node);
        let mut builder = http.request(request.method.clone(), url.clone()).timeout(turn.time);
        if let Some(body) = &request.body {
            builder = builder.header("content-type", "application/json").body(body.clone());
        }
        let changes = request.changes;
        let with_token = changes || request.with_token || self.tokens.is_for_reads(node);
        if with_token && let Some(token) = self.tokens.of(node) {
            builder = builder.bearer_auth(token);
        }
        let started = Instant::now();
        let mut response = builder.send().await.map_err(|error| self.attempt(node, changes, turn, &error))?;
        let status = response.status();
        if self.talk.requests {
            super::output::say(&format!("{} {url} → {status} in {:.1?}", request.method, started.elapsed()));
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let took_ms = header("server-timing").as_deref().and_then(total_ms);
        let trace_id = header("traceparent").as_deref().and_then(trace_of);
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.attempt(node, changes, turn, &error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(
                    Problem::new(Kind::TooLarge, format!("the answer of {} is too large", address(node))).into()
                );
            }
            body.extend_from_slice(&chunk);
        }
        let reply = Reply { body: body.freeze(), took_ms, trace_id };
        if status.is_success() {
            return Ok(reply);
        }
        Err(self.refusal(node, status.as_u16(), reply).into())
    }

    /// What a failure below HTTP means: a node that was not reached, or a request that may have been carried out.
    fn attempt(&self, node: &Url, changes: bool, turn: Turn, error: &reqwest::Error) -> Attempt {
        if error.is_builder() {
            return Problem::new(Kind::Usage, format!("the request cannot be made: {}", chain(error))).into();
        }
        let node = address(node);
        if error.is_connect() {
            let reason = if error.is_timeout() { "no connection in time".to_owned() } else { chain(error) };
            return Attempt::Unreached(reason);
        }
        if error.is_timeout() {
            let message = format!("{node} did not answer within {}", turn.text());
            return match (changes, turn.is_last) {
                (true, _) => {
                    Problem::new(Kind::CallTimedOut, format!("{message}; it may have been carried out")).into()
                }
                (false, true) => Problem::new(Kind::TimedOut, message).into(),
                (false, false) => Attempt::Silent(turn.over()),
            };
        }
        if changes {
            let message =
                format!("the connection to {node} broke after the request was sent; it may have been carried out");
            return Problem::new(Kind::MayHaveRun, message).hint("aop status").into();
        }
        Attempt::Unreached(chain(error))
    }

    /// The problem a node told, or one made from the status of something that is not a node.
    fn refusal(&self, node: &Url, status: u16, reply: Reply) -> Problem {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        let mut problem = Problem::from_json(&body).unwrap_or_else(|| {
            let kind = match status {
                401 => Kind::AuthRequired,
                403 => Kind::Forbidden,
                408 | 504 => Kind::TimedOut,
                _ => Kind::RouteNotFound,
            };
            // One line of plain words may say what the matter is, as a port does that speaks another scheme.
            let said = std::str::from_utf8(&reply.body).ok().map(|said| text::cut(&text::clean(said.trim()), 200));
            let said = said.filter(|said| !said.is_empty() && !said.starts_with('<'));
            let said = said.map(|said| format!(": {said}")).unwrap_or_default();
            let message = format!("{} answered HTTP {status} and not as an AOP node does{said}", address(node));
            let problem = Problem::new(kind, message);
            match node.scheme() {
                "http" => problem.hint(format!("aop --node https://{} status", address(node))),
                _ => problem,
            }
        });
        // RFC 9457 has its own textual `detail`; what programs need besides is in the member of the kind.
        if problem.detail.as_ref().is_some_and(Value::is_string) {
            problem.detail = body.get("data").or_else(|| body.get("errors")).cloned();
        }
        if problem.trace_id.is_none() {
            problem.trace_id = reply.trace_id;
        }
        if problem.kind == Kind::AuthRequired
            && let Some((message, hint)) = self.tokens.advice(node)
        {
            problem.message = format!("{}: {message}", problem.message);
            problem.hint = Some(hint);
        }
        problem
    }
}

/// None of the nodes was reached, each for its reason.
fn unreached(reasons: &[String]) -> Problem {
    let is_untrusted = reasons.iter().any(|reason| reason.contains(UNTRUSTED));
    let problem = Problem::new(Kind::NodeUnreachable, format!("no node can be reached: {}", reasons.join(", ")));
    // Which file proves it, only its operator knows.
    if is_untrusted { problem } else { problem.hint("aop-node --dev") }
}

/// Why nothing is sent to a node whose certificate leads nowhere.
const UNTRUSTED: &str = "its certificate is of nobody that is trusted here, nor named with --ca";

/// What one node has of the time of a request.
#[derive(Debug, Clone, Copy)]
struct Turn {
    time: Duration,
    /// Nobody can be asked after it.
    is_last: bool,
}

impl Turn {
    /// That of node `step` of so many, when `spent` of the time is over: the last one has all that is left.
    fn of(time: Duration, spent: Duration, nodes: usize, step: usize) -> Self {
        let left = if step == 0 { time } else { time.saturating_sub(spent) };
        if step + 1 >= nodes {
            return Self { time: left, is_last: true };
        }
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        let share = (time / nodes.max(SHARES)).max(SHARE_MIN).min(left / 2);
        Self { time: share, is_last: false }
    }

    fn text(self) -> String {
        match self.time.subsec_nanos() % 100_000_000 {
            0 => crate::config::duration_text(self.time),
            _ => text::took(self.time.as_secs_f64() * 1e3),
        }
    }

    fn over(self) -> String {
        format!("no answer within {}", self.text())
    }
}

/// How one node's turn ended badly.
enum Attempt {
    /// Nothing reached it: the next one may be asked.
    Unreached(String),
    /// It did not answer in its share of the time, and what was sent may be sent again.
    Silent(String),
    /// It answered, or may have acted: this is the result.
    Failed(Box<Problem>),
}

impl From<Problem> for Attempt {
    fn from(problem: Problem) -> Self {
        Self::Failed(Box::new(problem))
    }
}

impl Node {
    fn new(text: &str, tokens: &Tokens, timeout: Option<Duration>) -> Result<Self, Problem> {
        let url = node_url(text, tokens)?;
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(timeout.map_or(CONNECT_TIMEOUT, |t| t.min(CONNECT_TIMEOUT)))
            .user_agent(concat!("aop/", env!("CARGO_PKG_VERSION")));
        if let Some(tls) = tls(&url, tokens)? {
            builder = builder.tls_backend_preconfigured(tls);
        } else if url.scheme() == "http" {
            // Reading the machine's certificates takes longer than a whole local answer.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .build()
            .map_err(|error| Problem::new(Kind::Internal, format!("no HTTP client can be made: {}", chain(&error))))?;
        Ok(Self { url, http })
    }
}

/// TLS for a node whose certificate is known or was vouched for by the user; nothing where the machine's authorities decide.
fn tls(node: &Url, tokens: &Tokens) -> Result<Option<rustls::ClientConfig>, Problem> {
    let trust = tokens.trust(node);
    if node.scheme() != "https" || trust.is_empty() {
        return Ok(None);
    }
    believing(&trust).map(Some)
}

/// `HOST[:PORT]` or a base URL. Without a scheme it is what the node itself says, or else TLS for every other machine.
pub(crate) fn node_url(text: &str, tokens: &Tokens) -> Result<Url, Problem> {
    let wrong = || {
        Problem::new(Kind::Usage, format!("`{}` is not a node's address", super::text::clean(text)))
            .hint("aop --node 127.0.0.1:7400 status")
    };
    let has_scheme = text.contains("://");
    let with_scheme = if has_scheme { text.to_owned() } else { format!("https://{text}") };
    let mut url = Url::parse(&with_scheme).map_err(|_| wrong())?;
    let fits = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && matches!(url.path(), "" | "/")
        && url.query().is_none();
    if !fits {
        return Err(wrong());
    }
    if has_scheme {
        return Ok(url);
    }
    if url.port().is_none() && !text.ends_with(":443") {
        url.set_port(Some(PORT)).map_err(|()| wrong())?;
    }
    if !tokens.speaks_tls(&url) {
        url.set_scheme("http").map_err(|()| wrong())?;
    }
    Ok(url)
}

/// A node's URL without a slash at the end.
fn base(node: &Url) -> String {
    node.as_str().trim_end_matches('/').to_owned()
}

/// `HOST:PORT` of a node.
fn address(node: &Url) -> String {
    format!("{}:{}", node.host_str().unwrap_or("?"), node.port_or_known_default().unwrap_or(PORT))
}

/// `total;dur=8.2` of a `Server-Timing` header, in milliseconds.
fn total_ms(header: &str) -> Option<f64> {
    let total = header.split(',').map(str::trim).find(|metric| metric.split(';').next() == Some("total"))?;
    total.split(';').find_map(|part| part.trim().strip_prefix("dur="))?.trim_matches('"').parse().ok()
}

/// The trace id of a W3C `traceparent` header.
fn trace_of(header: &str) -> Option<String> {
    let id = header.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// The innermost cause, which is the one that says something.
fn chain(error: &dyn std::error::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    readable(&last.to_string().to_lowercase())
}

/// Of an authority that is not known the TLS library says so in its own words, which vary with how the certificate was made.
fn readable(reason: &str) -> String {
    let kind = reason.strip_prefix("invalid peer certificate: ");
    match kind.filter(|kind| *kind == "unknownissuer" || kind.starts_with("other(")) {
        Some(_) => UNTRUSTED.to_owned(),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
