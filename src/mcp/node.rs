//! The node at the other end of the bridge, as an MCP server over HTTP.
//!
//! It adds what HTTP needs and a line does not carry (the standard headers, the negotiated version), tries the given nodes in
//! turn, and never repeats a request that may have arrived.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aop_proto::error::{Kind, Problem};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use futures::StreamExt;
use serde_json::Value;
use sse_stream::SseStream;
use tokio::{sync::mpsc, time::sleep};

use super::{
    envelope::{Answer, Id, code},
    headers::{META_VERSION, METHOD, NAME, VERSION, encode},
    raw::Members,
    stdio::End,
};

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Rests between rounds over the nodes, for a client's first request only: often both were started at the same moment.
const START_RESTS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Between two standing streams, where one broke or no node answers.
const STANDING_REST: Duration = Duration::from_secs(2);

/// The nodes to talk to and what is remembered of the conversation.
pub(super) struct Node {
    /// Tried in turn from the one that answered last.
    ends: Vec<Reached>,
    preferred: AtomicUsize,
    /// What `initialize` agreed on; the later revisions want it with each request.
    version: Mutex<Option<String>>,
}

struct Reached {
    base: String,
    http: reqwest::Client,
    token: Option<HeaderValue>,
}

impl Reached {
    fn new(End { base, token, tls }: End) -> Result<Self, Problem> {
        let token = token
            .map(|token| HeaderValue::try_from(format!("Bearer {token}")))
            .transpose()
            .map_err(|_| config("the token has characters a header cannot carry".to_owned()))?;
        // No proxy: the node is named by its own address, and an environment variable must not send its traffic elsewhere.
        let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_WITHIN);
        let http = match tls {
            Some(tls) => http.tls_backend_preconfigured(tls),
            None => http,
        };
        let http = http.build().map_err(|error| config(format!("no HTTP client: {error}")))?;
        Ok(Self { base, http, token })
    }
}

impl Node {
    pub(super) fn new(nodes: Vec<End>) -> Result<Self, Problem> {
        if nodes.is_empty() {
            return Err(config("no node is given".to_owned()));
        }
        let ends = nodes.into_iter().map(Reached::new).collect::<Result<_, _>>()?;
        Ok(Self { ends, preferred: AtomicUsize::new(0), version: Mutex::new(None) })
    }

    /// The headers a message travels with: those of its own revision if it names one, of the negotiated one otherwise.
    pub(super) fn headers(&self, method: &str, params: &Members<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut put = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        put(header::CONTENT_TYPE, "application/json");
        put(header::ACCEPT, "application/json, text/event-stream");
        let inline = params.get("_meta").and_then(|meta| Members::read(meta.get()).ok()?.text(META_VERSION));
        if let Some(version) = &inline {
            put(VERSION, version);
            put(METHOD, method);
            if let Some(name) = target(method).and_then(|member| params.text(member)) {
                put(NAME, &encode(&name));
            }
        } else if method != "initialize"
            && let Some(version) = self.version.lock().unwrap_or_else(PoisonError::into_inner).as_deref()
        {
            put(VERSION, version);
        }
        headers
    }

    /// Sends one message and writes all that comes back to `out`. Without an `id` nothing is ever answered.
    pub(super) async fn forward(
        &self,
        message: String,
        headers: HeaderMap,
        id: Option<&Id>,
        starting: bool,
        out: &mpsc::Sender<String>,
    ) {
        let result = match self.send(&message, &headers, starting).await {
            Ok(response) => self.relay(response, id, starting, out).await,
            Err(problem) => Err(problem),
        };
        if let (Err(problem), Some(id)) = (result, id) {
            let answer = Answer::error(code::INTERNAL, &problem.message, Some(problem.to_json()));
            out.send(answer.text(id)).await.ok();
        }
    }

    /// One round over the nodes, or a few when the client is just starting. Only a node that was provably not reached is passed
    /// over for the next.
    async fn send(&self, message: &str, headers: &HeaderMap, starting: bool) -> Result<reqwest::Response, Problem> {
        let mut rests = START_RESTS.iter().filter(|_| starting);
        loop {
            let first = self.preferred.load(Ordering::Relaxed);
            for turn in 0..self.ends.len() {
                let at = (first + turn) % self.ends.len();
                let Reached { base, http, token } = &self.ends[at];
                let mut headers = headers.clone();
                // Each node gets its own token and no other's.
                headers.extend(token.clone().map(|token| (header::AUTHORIZATION, token)));
                let request = http.post(format!("{base}/mcp")).headers(headers);
                match request.body(message.to_owned()).send().await {
                    Ok(response) => {
                        self.preferred.store(at, Ordering::Relaxed);
                        return Ok(response);
                    }
                    Err(error) if error.is_connect() => {}
                    Err(_) => return Err(self.lost()),
                }
            }
            match rests.next() {
                Some(rest) => sleep(*rest).await,
                None => return Err(self.unreachable()),
            }
        }
    }

    async fn relay(
        &self,
        response: reqwest::Response,
        id: Option<&Id>,
        starting: bool,
        out: &mpsc::Sender<String>,
    ) -> Result<(), Problem> {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            return self.relay_events(response, out).await;
        }
        let status = response.status();
        let body = response.text().await.map_err(|_| self.lost())?;
        let Some(_) = id else { return Ok(()) };
        let Ok(said) = serde_json::from_str::<Value>(&body) else {
            return Err(Problem::new(Kind::Internal, format!("the node answered {status}: {}", body.trim())));
        };
        if said.get("jsonrpc").is_none() {
            // Not MCP: the port itself refused, in its own words.
            let refused = || Problem::new(Kind::Internal, format!("the node answered {status}"));
            return Err(Problem::from_json(&said).unwrap_or_else(refused));
        }
        if starting && let Some(version) = said.pointer("/result/protocolVersion").and_then(Value::as_str) {
            *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version.to_owned());
        }
        out.send(body).await.ok();
        Ok(())
    }

    /// Writes to `out` what a node tells its client of an initialize revision unasked, for as long as there is a node that tells such
    /// things. What changes while there is no stream is not heard of.
    pub(super) async fn stand(&self, out: &mpsc::Sender<String>) {
        loop {
            match self.standing().await {
                Ok(response) if response.status() == StatusCode::OK => {
                    let mut events = SseStream::from_bytes_stream(response.bytes_stream());
                    while let Some(Ok(event)) = events.next().await {
                        if let Some(message) = event.data.filter(|data| !data.is_empty()) {
                            out.send(message).await.ok();
                        }
                    }
                }
                // It has nothing to tell, or not to this client.
                Ok(response) if response.status().is_client_error() => return,
                _ => {}
            }
            sleep(STANDING_REST).await;
        }
    }

    async fn standing(&self) -> reqwest::Result<reqwest::Response> {
        let Reached { base, http, token } = &self.ends[self.preferred.load(Ordering::Relaxed)];
        let mut headers = self.headers("", &Members::default());
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.extend(token.clone().map(|token| (header::AUTHORIZATION, token)));
        http.get(format!("{base}/mcp")).headers(headers).send().await
    }

    /// Every event is a message; the last one is the answer. A stream that ends before it is a lost request.
    async fn relay_events(&self, response: reqwest::Response, out: &mpsc::Sender<String>) -> Result<(), Problem> {
        let mut events = SseStream::from_bytes_stream(response.bytes_stream());
        while let Some(Ok(event)) = events.next().await {
            let Some(message) = event.data.filter(|data| !data.is_empty()) else { continue };
            let last = Members::read(&message)
                .is_ok_and(|members| members.get("result").is_some() || members.get("error").is_some());
            out.send(message).await.ok();
            if last {
                return Ok(());
            }
        }
        Err(self.lost())
    }

    fn unreachable(&self) -> Problem {
        let addresses: Vec<&str> = self.ends.iter().map(|end| address(&end.base)).collect();
        Problem::new(Kind::NodeUnreachable, format!("no node answers at {}", addresses.join(", ")))
            .hint(format!("aop-node --listen {}", addresses.first().unwrap_or(&"127.0.0.1:7400")))
    }

    fn lost(&self) -> Problem {
        Problem::new(Kind::UpstreamFailed, "the connection to the node broke; the request may have run")
            .hint("aop status")
    }
}

/// What `Mcp-Name` repeats from the parameters of a method.
fn target(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

fn config(message: String) -> Problem {
    Problem::new(Kind::Config, message).hint("aop --node 127.0.0.1:7400 mcp")
}

fn address(base: &str) -> &str {
    base.split_once("://").map_or(base, |(_, address)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_travels_with_the_headers_of_its_revision() {
        let end = End { base: "http://127.0.0.1:1".to_owned(), token: Some("t".to_owned()), tls: None };
        let node = Node::new(vec![end]).expect("a node");
        let headers = |method: &str, params: &str| node.headers(method, &Members::read(params).expect("params"));
        let modern =
            headers("tools/call", r#"{"name":"é","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#);
        assert_eq!(
            (&modern[VERSION], &modern[METHOD], &modern[NAME]),
            (
                &HeaderValue::from_static("2026-07-28"),
                &HeaderValue::from_static("tools/call"),
                &HeaderValue::from_static("=?base64?w6k=?=")
            )
        );
        assert!(!headers("tools/list", "{}").contains_key(VERSION), "nothing is agreed on yet");
        *node.version.lock().expect("lock") = Some("2025-06-18".to_owned());
        assert_eq!(headers("tools/list", "{}")[VERSION], "2025-06-18");
        assert!(!headers("initialize", "{}").contains_key(VERSION));
    }

    #[test]
    fn there_is_a_node_and_its_token_fits_a_header() {
        assert!(Node::new(Vec::new()).is_err());
        let end = End { base: "http://127.0.0.1:1".to_owned(), token: Some("a\nb".to_owned()), tls: None };
        assert!(Node::new(vec![end]).is_err());
    }
}
