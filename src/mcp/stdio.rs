//! `aop mcp`: the node's MCP door over standard streams, for clients that start a program.
//!
//! A bridge, not a second door: each line goes to the node's `/mcp` as it is, with the headers its revision wants, and what comes
//! back goes out as lines. So a tool works the same both ways, and the program outlives the node: while no node answers, each
//! request is refused with what to do about it. Always true: nothing but JSON-RPC is written to the output, one message a line;
//! a request the client cancels is dropped here, which cancels it at the node.

use std::{
    collections::HashMap,
    io::{self, BufRead, Read},
    sync::Arc,
    time::Duration,
};

use aop_proto::error::{Kind, Problem};
use serde_json::Value;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::{
    envelope::{Answer, Envelope, Id, code},
    node::Node,
    raw::{self, Members},
};
use crate::http::BODY_BYTES_MAX;

/// Longest line taken; the node takes no larger body.
const LINE_BYTES_MAX: usize = BODY_BYTES_MAX;
/// Lines read ahead.
const LINES_MAX: usize = 16;
/// Messages on their way out; whoever answers waits for a slow reader.
const OUT_MAX: usize = 64;
/// Requests in flight; more are refused as busy.
const IN_FLIGHT_MAX: usize = 256;
/// How long requests in flight may still take after the client closed its end.
const DRAIN: Duration = Duration::from_secs(10);

/// A node at the other end.
#[derive(Debug, Clone)]
pub struct End {
    /// Its base URL, without a slash at the end.
    pub base: String,
    /// What it is presented with.
    pub token: Option<String>,
    /// Whom it may show itself as, where that is not left to the machine's authorities.
    pub tls: Option<rustls::ClientConfig>,
}

/// Serves MCP on standard input and output until the input ends, through the first of `nodes` that answers.
///
/// # Errors
/// When there is no usable node, or the output is gone.
pub async fn bridge(nodes: Vec<End>) -> io::Result<()> {
    let node = Node::new(nodes).map_err(io::Error::other)?;
    let (sender, lines) = mpsc::channel(LINES_MAX);
    // A thread of its own, and never joined: a read of standard input cannot be interrupted, and must not keep the program alive.
    std::thread::spawn(move || read_lines(io::stdin().lock(), &sender));
    serve(node, lines, tokio::io::stdout()).await
}

/// One line of input.
#[derive(Debug, PartialEq)]
enum Line {
    Message(Vec<u8>),
    TooLong,
}

fn read_lines(mut input: impl BufRead, lines: &mpsc::Sender<Line>) {
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut input).take(LINE_BYTES_MAX as u64 + 1);
        if !matches!(limited.read_until(b'\n', &mut line), Ok(1..)) {
            return;
        }
        let message = if line.len() > LINE_BYTES_MAX && !line.ends_with(b"\n") {
            if input.skip_until(b'\n').is_err() {
                return;
            }
            Line::TooLong
        } else if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        } else {
            Line::Message(line)
        };
        if lines.blocking_send(message).is_err() {
            return;
        }
    }
}

async fn serve(
    node: Node,
    mut lines: mpsc::Receiver<Line>,
    output: impl AsyncWrite + Unpin + Send + 'static,
) -> io::Result<()> {
    let (out, messages) = mpsc::channel(OUT_MAX);
    let mut writer = tokio::spawn(write_lines(output, messages));
    let mut bridge =
        Bridge { node: Arc::new(node), out, running: HashMap::new(), standing: None, tasks: JoinSet::new() };
    let gone = loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => bridge.handle_line(line).await,
                None => break None,
            },
            Some(ended) = bridge.tasks.join_next() => bridge.on_ended(ended.ok().flatten()),
            written = &mut writer => break Some(written),
        }
    };
    if let Some(written) = gone {
        return written.unwrap_or_else(|error| Err(io::Error::other(error)));
    }
    bridge.drain().await;
    writer.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

async fn write_lines(mut output: impl AsyncWrite + Unpin, mut messages: mpsc::Receiver<String>) -> io::Result<()> {
    while let Some(message) = messages.recv().await {
        output.write_all(raw::one_line(&message).as_bytes()).await?;
        output.write_all(b"\n").await?;
        output.flush().await?;
    }
    Ok(())
}

/// The requests of one client, each a task of its own.
struct Bridge {
    node: Arc<Node>,
    out: mpsc::Sender<String>,
    running: HashMap<Id, Running>,
    /// Hears what the node tells unasked; ends with the client.
    standing: Option<AbortHandle>,
    tasks: JoinSet<Option<Id>>,
}

struct Running {
    abort: AbortHandle,
    /// A subscription: it ends with the client, not with an answer.
    endless: bool,
}

impl Bridge {
    async fn handle_line(&mut self, line: Line) {
        let Line::Message(line) = line else {
            return self.refuse(code::PARSE, "Parse error: the line is too long").await;
        };
        let Ok(text) = String::from_utf8(line) else {
            return self.refuse(code::PARSE, "Parse error: not UTF-8").await;
        };
        let Ok(envelope) = Envelope::read(text.as_bytes()) else {
            return self.on_other(&text).await;
        };
        let Ok(params) = Members::read(envelope.params()) else {
            return self
                .say(&Answer::error(code::INVALID_PARAMS, "params has to be an object", None), envelope.id())
                .await;
        };
        if envelope.method == "notifications/cancelled" {
            return self.cancel(&params);
        }
        if envelope.method == "notifications/initialized" {
            self.stand();
        }
        let headers = self.node.headers(&envelope.method, &params);
        let (id, endless) = (envelope.id(), envelope.method == "subscriptions/listen");
        let starting = matches!(envelope.method.as_ref(), "initialize" | "server/discover");
        if self.tasks.len() >= IN_FLIGHT_MAX {
            let busy = Problem::new(Kind::Busy, format!("{IN_FLIGHT_MAX} requests are in flight already"));
            return self.say(&Answer::refusal(&busy), id).await;
        }
        let (node, out, task_id) = (Arc::clone(&self.node), self.out.clone(), id.clone());
        let abort = self.tasks.spawn(async move {
            node.forward(text, headers, task_id.as_ref(), starting, &out).await;
            task_id
        });
        if let Some(id) = id {
            self.running.insert(id, Running { abort, endless });
        }
    }

    /// What is no request and no notification: an answer to a question nobody here asks, or no JSON-RPC at all.
    async fn on_other(&self, text: &str) {
        match serde_json::from_str::<Value>(text) {
            Err(error) => self.refuse(code::PARSE, &format!("Parse error: {error}")).await,
            Ok(value) if value.get("result").is_some() || value.get("error").is_some() => {}
            Ok(_) => self.refuse(code::INVALID_REQUEST, "Invalid Request").await,
        }
    }

    /// The client speaks an initialize revision, in which a server tells things unasked. One that begins anew has one such stream all the same.
    fn stand(&mut self) {
        let (node, out) = (Arc::clone(&self.node), self.out.clone());
        let abort = self.tasks.spawn(async move {
            node.stand(&out).await;
            None
        });
        if let Some(before) = self.standing.replace(abort) {
            before.abort();
        }
    }

    /// Dropping the task closes its HTTP request, which is how a node is told. The client awaits no answer any more.
    fn cancel(&mut self, params: &Members<'_>) {
        let Some(id) = params.get("requestId") else { return };
        if let Some(running) = self.running.remove(&Id(id.get().to_owned())) {
            running.abort.abort();
        }
    }

    fn on_ended(&mut self, id: Option<Id>) {
        id.and_then(|id| self.running.remove(&id));
    }

    /// Lets what can end, end; then lets go of the output.
    async fn drain(mut self) {
        let endless = self.running.values().filter(|running| running.endless).map(|running| &running.abort);
        endless.chain(&self.standing).for_each(AbortHandle::abort);
        let ended = timeout(DRAIN, async { while self.tasks.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!(open = self.tasks.len(), "requests still in flight at the end");
            self.tasks.shutdown().await;
        }
    }

    async fn refuse(&self, code: i64, message: &str) {
        self.say(&Answer::error(code, message, None), Some(Id("null".to_owned()))).await;
    }

    /// Notifications are never answered, so without an id nothing is said.
    async fn say(&self, answer: &Answer, id: Option<Id>) {
        if let Some(id) = id {
            // A closed output ends the bridge elsewhere.
            self.out.send(answer.text(&id)).await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use aop_proto::access::Caller;
    use tokio::{
        io::{AsyncBufReadExt, BufReader, DuplexStream, duplex},
        net::TcpListener,
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::http::{Doors, PortSettings};

    struct Client {
        lines: Option<mpsc::Sender<Line>>,
        output: BufReader<DuplexStream>,
        bridge: tokio::task::JoinHandle<io::Result<()>>,
    }

    impl Client {
        fn of(node: &str) -> Self {
            let (lines, input) = mpsc::channel(LINES_MAX);
            let (ours, theirs) = duplex(1 << 16);
            let end = End { base: format!("http://{node}"), token: None, tls: None };
            let node = Node::new(vec![end]).expect("a node");
            Self { lines: Some(lines), output: BufReader::new(theirs), bridge: tokio::spawn(serve(node, input, ours)) }
        }

        async fn send(&self, message: &str) {
            let line = Line::Message(message.as_bytes().to_vec());
            self.lines.as_ref().expect("open").send(line).await.expect("open");
        }

        async fn next(&mut self) -> Value {
            let mut line = String::new();
            timeout(DRAIN, self.output.read_line(&mut line)).await.expect("in time").expect("a line");
            serde_json::from_str(&line).expect("json on every line")
        }
    }

    async fn node() -> (String, CancellationToken) {
        let doors = Doors::for_tests(&PortSettings::default());
        node_of(doors, Vec::new()).await
    }

    async fn node_of(doors: Doors, pinned: Vec<String>) -> (String, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let listen = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let door = crate::mcp::door::McpDoor::new(doors.calls.clone(), pinned, &stop);
        tokio::spawn(crate::http::serve(listener, doors, door.at_port(), stop.clone()));
        (listen.to_string(), stop)
    }

    #[tokio::test]
    async fn both_eras_pass_through_the_bridge() {
        let (address, _stop) = node().await;
        let mut client = Client::of(&address);
        client
            .send(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"0"}}}"#)
            .await;
        assert_eq!(client.next().await["result"]["protocolVersion"], "2025-06-18");
        client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        client.send(r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#).await;
        let list = client.next().await;
        assert_eq!((&list["id"], list["result"]["tools"].as_array().map(Vec::len)), (&Value::from("a"), Some(4)));
        assert!(list["result"].get("resultType").is_none());
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
        client
            .send(&format!(
                r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{{"name":"list_zones",{meta}}}}}"#
            ))
            .await;
        assert_eq!(client.next().await["result"]["resultType"], "complete");
        client
            .send(&format!(r#"{{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{{"name":"é",{meta}}}}}"#))
            .await;
        assert_eq!(client.next().await["error"]["code"], code::INVALID_PARAMS, "the name went through its header");
        client.lines = None;
        timeout(DRAIN, client.bridge).await.expect("in time").expect("joined").expect("ended well");
    }

    #[tokio::test]
    async fn a_client_of_an_initialize_revision_hears_that_what_is_pinned_is_another() {
        let doors = Doors::for_tests(&PortSettings::default());
        let handle = doors.handle.clone();
        let (address, _stop) = node_of(doors, vec!["echo.demo.research".to_owned()]).await;
        let mut client = Client::of(&address);
        client
            .send(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"0"}}}"#)
            .await;
        assert_eq!(client.next().await["result"]["capabilities"]["tools"]["listChanged"], true);
        client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        let (mut heard, mut line) = (false, String::new());
        // Nobody says when the stream stands, and what came before it is no news.
        for turn in 0..10 {
            if turn % 2 == 0 {
                let tool = serde_json::json!({"server": "demo", "name": "echo", "description": "says it again"});
                handle.register_tools(&Caller::operator(), vec![tool]).await.expect("registered");
            } else {
                handle.unregister(&Caller::operator(), "demo/echo").await.expect("unregistered");
            }
            if timeout(Duration::from_secs(2), client.output.read_line(&mut line)).await.is_ok() {
                heard = true;
                break;
            }
        }
        assert!(heard && line.contains("notifications/tools/list_changed"), "{line}");
        client.lines = None;
        timeout(DRAIN, client.bridge).await.expect("in time").expect("joined").expect("ended well");
    }

    #[tokio::test]
    async fn without_a_node_every_request_is_refused_with_a_command() {
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound").port();
        let mut client = Client::of(&format!("127.0.0.1:{port}"));
        client.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
        let refused = client.next().await;
        assert_eq!(refused["error"]["data"]["kind"], "node_unreachable");
        assert_eq!(refused["error"]["data"]["hint"], format!("aop-node --listen 127.0.0.1:{port}"));
        // A notification is never answered; what cannot be read is, without an id.
        client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        client.send("{nonsense").await;
        assert_eq!(client.next().await["error"]["code"], code::PARSE);
        client.send(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#).await;
        assert_eq!(client.next().await["error"]["code"], code::INVALID_REQUEST);
    }

    #[test]
    fn lines_are_bounded_and_blank_ones_skipped() {
        let mut input = b"{\"a\":1}\n\n \r\n".to_vec();
        input.extend(vec![b'x'; LINE_BYTES_MAX + 5]);
        input.extend_from_slice(b"\nlast");
        let (sender, mut lines) = mpsc::channel(LINES_MAX);
        read_lines(io::Cursor::new(input), &sender);
        assert_eq!(lines.blocking_recv(), Some(Line::Message(b"{\"a\":1}\n".to_vec())));
        assert_eq!(lines.blocking_recv(), Some(Line::TooLong));
        assert_eq!(lines.blocking_recv(), Some(Line::Message(b"last".to_vec())));
    }
}
