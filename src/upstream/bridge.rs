//! A server that speaks plain HTTP, as an MCP server: its tools are listed here, and its calls go to it.
//!
//! ```text
//!  rmcp ── StdioTransport ── pipe in memory ── Bridge ── HTTP ── server
//!            (as with a child's streams)       initialize, tools/list
//!  Live ── Plain, a call ───────────────────────── HTTP ── server
//! ```
//!
//! What is sent and what an answer means is the business of `agent` and `api`. What must hold: a server that was not reached was
//! provably not called, and what it answers is bounded.

use std::sync::Arc;
use std::time::Duration;

use aop_proto::error::plain;
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio_util::task::AbortOnDropHandle;

use super::agent::Agent;
use super::api::Api;
use super::exchange::{Exchange, Request};
use super::failure::UpstreamError;
use super::frame::MESSAGE_BYTES_MAX;
use super::tap::{Lane, garbage};

/// Bytes on their way between both ends of the pipe.
const PIPE_BYTES: usize = 64 * 1024;
/// What a server says when it is looked at, bytes.
pub(crate) const LOOK_BYTES_MAX: usize = 256 * 1024;
/// It is looked at this often, so that one that is gone is known to be before somebody calls it.
const LOOK_EVERY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(15) };
/// How long it may take to answer that.
pub(crate) const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Characters quoted of an answer that is none.
const QUOTED_CHARS_MAX: usize = 300;

/// Who stands behind a bridge.
pub(crate) struct Behind {
    /// What he calls himself.
    pub(crate) name: String,
    /// As MCP lists them.
    pub(crate) tools: Vec<Value>,
    pub(crate) speaks: Speaks,
    /// What asks whether he is there, at his address.
    pub(crate) look: Method,
}

/// What is sent, and what an answer means.
pub(crate) enum Speaks {
    Agent(Agent),
    Api(Api),
}

/// The node's end of the pipe, and what lives as long as it.
pub(crate) struct Ends {
    pub(crate) output: ReadHalf<DuplexStream>,
    pub(crate) input: WriteHalf<DuplexStream>,
    pub(crate) plain: Plain,
    pub(crate) bridge: AbortOnDropHandle<()>,
}

/// Whoever calls a server that speaks plain HTTP, which goes past the bridge.
pub(crate) struct Plain {
    exchange: Exchange,
    speaks: Speaks,
    /// Held by every call that is under way.
    under_way: Arc<()>,
}

/// What rmcp talks to.
struct Bridge {
    exchange: Exchange,
    name: String,
    tools: Vec<Value>,
    look: Method,
    under_way: Arc<()>,
}

/// Stands before a server.
pub(crate) fn stand(exchange: Exchange, behind: Behind) -> Ends {
    let Behind { name, tools, speaks, look } = behind;
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let (output, input) = tokio::io::split(ours);
    let under_way = Arc::new(());
    let plain = Plain { exchange: exchange.clone(), speaks, under_way: under_way.clone() };
    let bridge = Bridge { exchange, name, tools, look, under_way };
    let bridge = AbortOnDropHandle::new(tokio::spawn(bridge.serve(theirs)));
    Ends { output, input, plain, bridge }
}

impl Plain {
    /// One call, with the time that is left for it. Dropped, it is given up.
    pub(crate) async fn call(&self, tool: &str, lane: &Lane, left: Duration) -> Result<Bytes, UpstreamError> {
        let _under_way = self.under_way.clone();
        let request = match &self.speaks {
            Speaks::Agent(agent) => agent.request(&self.exchange, tool, lane, left)?,
            Speaks::Api(api) => api.request(&self.exchange, tool, &lane.arguments)?,
        };
        let asked = self.exchange.ask(request, MESSAGE_BYTES_MAX).await;
        let (status, body) = asked.map_err(|failure| failure.as_upstream())?;
        match status.code {
            code if code.is_success() => {
                let result = match &self.speaks {
                    Speaks::Agent(agent) => agent.result(&body),
                    Speaks::Api(api) => api.result(tool, &body),
                };
                let result = result.map_err(garbage)?.to_string();
                // Its text stands in it twice.
                match result.len() {
                    bytes if bytes > MESSAGE_BYTES_MAX => Err(garbage(format!(
                        "it makes a result of {bytes} bytes, and one has at most {MESSAGE_BYTES_MAX}"
                    ))),
                    _ => Ok(result.into()),
                }
            }
            // It read what it was sent and refuses it, or its router does: the same again would end the same.
            code if code.is_client_error()
                && !matches!(code, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) =>
            {
                let said = quoted(&body);
                let colon = if said.is_empty() { "" } else { ": " };
                Err(refused(-32_000, format!("the server answers HTTP {code}{colon}{said}"), Some(code)))
            }
            _ => Err(status.as_upstream(&quoted(&body))),
        }
    }
}

/// An answer, as far as it is shown.
pub(crate) fn quoted(body: &[u8]) -> String {
    plain(&String::from_utf8_lossy(body), QUOTED_CHARS_MAX)
}

pub(crate) fn connect(reason: String) -> UpstreamError {
    UpstreamError::Connect { reason }
}

/// A call that the server refuses, or that cannot be told it.
pub(crate) fn refused(code: i64, message: String, status: Option<StatusCode>) -> UpstreamError {
    let mut error = json!({"code": code, "message": message});
    if let Some(status) = status {
        error["data"] = json!({"status": status.as_u16()});
    }
    UpstreamError::Rpc { code, message, raw: error.to_string().into() }
}

#[derive(serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: String,
    #[serde(default)]
    params: Value,
}

impl Bridge {
    /// Answers until the pipe closes or the server cannot be reached any more; both end the connection.
    async fn serve(self, pipe: DuplexStream) {
        let (output, mut input) = tokio::io::split(pipe);
        let mut lines = BufReader::new(output).lines();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.reset();
        loop {
            let line = tokio::select! {
                line = lines.next_line() => match line {
                    Ok(Some(line)) => line,
                    Ok(None) | Err(_) => return,
                },
                _ = look.tick() => {
                    let asked = self.exchange.ask(Request::bare(self.look.clone(), self.exchange.below("")), LOOK_BYTES_MAX);
                    match tokio::time::timeout(LOOK_TIMEOUT, asked).await {
                        Ok(Err(failure)) if failure.not_sent() && self.is_idle() => return,
                        _ => continue,
                    }
                }
            };
            let Ok(Message { id: Some(id), method, params }) = serde_json::from_str::<Message<'_>>(&line) else {
                continue;
            };
            let line = answered(id.get(), self.answer(&method, &params));
            if input.write_all(line.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// No call is under way: nobody has its token but the two who lend it.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.under_way) <= 2
    }

    /// What needs no server.
    fn answer(&self, method: &str, params: &Value) -> Result<Value, (i64, String)> {
        match method {
            "initialize" => Ok(json!({
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": self.name, "version": "0"},
            })),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(json!({"tools": self.tools})),
            other => Err((-32_601, format!("{} knows no {other}", self.name))),
        }
    }
}

fn answered(id: &str, answer: Result<Value, (i64, String)>) -> String {
    match answer {
        Ok(result) => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}\n"),
        Err((code, message)) => {
            let error = json!({"code": code, "message": message});
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::super::egress::Egress;
    use super::super::mcp_http::Site;
    use super::*;

    /// Otherwise it would be known only once somebody calls it.
    #[tokio::test]
    async fn a_server_that_is_gone_ends_its_connection_unless_a_call_is_under_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let site = Site::new(&url, &BTreeMap::new(), Egress { loopback_implied: true }, false).expect("an address");
        let exchange = Exchange::new(site, Default::default(), Default::default()).expect("a client");
        let speaks = Speaks::Api(Api::default());
        let behind = Behind { name: "s".to_owned(), tools: Vec::new(), speaks, look: Method::OPTIONS };
        let Ends { mut output, plain, bridge, .. } = stand(exchange, behind);
        // It is there, and whatever it says says so.
        let (mut client, _) = listener.accept().await.expect("a look");
        client.write_all(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.expect("sent");
        let (client, _) = listener.accept().await.expect("another look");
        assert!(!bridge.is_finished());
        let call = plain.under_way.clone();
        drop((client, listener));
        let mut byte = [0];
        let patience = Duration::from_millis(300);
        assert!(tokio::time::timeout(patience, output.read(&mut byte)).await.is_err(), "a call may still be answered");
        drop(call);
        assert_eq!(output.read(&mut byte).await.expect("the pipe"), 0);
    }
}
