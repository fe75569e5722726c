//! A plain HTTP agent as an MCP server with one tool: `GET /` describes it, `POST /invoke` executes.
//!
//! ```text
//!  rmcp ── StdioTransport ── pipe in memory ── Bridge ── HTTP ── agent
//!            (as with a child's streams)       initialize, tools/list
//!  Live ── Agent, a call ───────────────────────── HTTP ── agent
//! ```
//!
//! Name, description and schemas are defaulted as in the AOP paper (algorithm 1, §4.3). What must hold: an agent that was not reached
//! was provably not called, and what it answers is bounded.

use std::sync::Arc;
use std::time::Duration;

use aop_proto::error::plain;
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio_util::task::AbortOnDropHandle;

use super::exchange::Exchange;
use super::failure::UpstreamError;
use super::frame::MESSAGE_BYTES_MAX;
use super::mcp_http::Site;
use super::room::Room;
use super::tap::{Lane, garbage};

/// Bytes on their way between both ends of the pipe.
const PIPE_BYTES: usize = 64 * 1024;
/// What an agent says of itself, bytes.
const DESCRIPTION_BYTES_MAX: usize = 256 * 1024;
/// It is looked at this often, so that one that is gone is known to be before somebody calls it.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long an agent may take to describe itself.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of a description that an agent gives.
const DESCRIPTION_CHARS_MAX: usize = 4_000;

/// One of these at least is in what an agent says of itself.
const DESCRIBES: [&str; 4] = ["agent_id", "name", "description", "capabilities"];

/// What an operator says of the tool instead of the agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said<'a> {
    pub(crate) tool: Option<&'a str>,
    pub(crate) description: Option<&'a str>,
    pub(crate) input_schema: Option<&'a Value>,
    pub(crate) output_schema: Option<&'a Value>,
}

impl Said<'_> {
    /// Whether the schema of the answer is of the agent's own result, and not of what is made of it here.
    fn is_of_the_result(&self) -> bool {
        self.output_schema.is_some_and(|schema| schema["properties"].get("result").is_none())
    }
}

/// The node's end of the pipe, and what lives as long as it.
pub(crate) struct Ends {
    pub(crate) output: ReadHalf<DuplexStream>,
    pub(crate) input: WriteHalf<DuplexStream>,
    pub(crate) agent: Agent,
    pub(crate) bridge: AbortOnDropHandle<()>,
}

/// Whoever calls an agent, which goes past the bridge.
pub(crate) struct Agent {
    exchange: Exchange,
    tool: String,
    /// See [`Said::is_of_the_result`].
    tells_result: bool,
    /// Held by every call that is under way.
    under_way: Arc<()>,
}

/// What an agent is, once it was asked.
struct Bridge {
    agent: Exchange,
    name: String,
    tool: Value,
    under_way: Arc<()>,
}

/// Asks the agent who it is, and stands before it as an MCP server.
///
/// # Errors
/// It cannot be reached, or says something else. One that answers no GET (a status that is no success) is taken as it is.
pub(crate) async fn open(site: Site, room: Room, said: Said<'_>) -> Result<Ends, UpstreamError> {
    let agent = Exchange::new(site, room)?;
    let asked = agent.ask(Method::GET, "", None, DESCRIPTION_BYTES_MAX);
    let answer = tokio::time::timeout(LOOK_TIMEOUT, asked).await;
    let answer = answer.map_err(|_| connect(format!("no answer to GET within {LOOK_TIMEOUT:?}")))?;
    let (status, body) = answer.map_err(|failure| failure.as_dial())?;
    let told: Value = match status.code.is_success() {
        true => described(&body)?,
        false => Value::Null,
    };
    let name = told["agent_id"].as_str().map(|name| plain(name, 64)).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| agent.host());
    let tool = definition(&name, &told, &said, &agent.host());
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let (output, input) = tokio::io::split(ours);
    let under_way = Arc::new(());
    let named = tool["name"].as_str().unwrap_or_default().to_owned();
    let tells_result = said.is_of_the_result();
    let caller = Agent { exchange: agent.clone(), tool: named, tells_result, under_way: under_way.clone() };
    let bridge = AbortOnDropHandle::new(tokio::spawn(Bridge { agent, name, tool, under_way }.serve(theirs)));
    Ok(Ends { output, input, agent: caller, bridge })
}

/// What an agent says of itself.
fn described(body: &[u8]) -> Result<Value, UpstreamError> {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    match DESCRIBES.iter().any(|key| !told[*key].is_null()) {
        true => Ok(told),
        false => Err(connect(format!(
            "no agent is there: GET is to answer a JSON object with one of {} at least, and it answers: {}",
            DESCRIBES.map(|key| format!("`{key}`")).join(", "),
            plain(&String::from_utf8_lossy(body), 100)
        ))),
    }
}

fn connect(reason: String) -> UpstreamError {
    UpstreamError::Connect { reason }
}

/// The tool, as MCP lists it.
fn definition(name: &str, told: &Value, said: &Said<'_>, host: &str) -> Value {
    let described = told["description"].as_str().map(|text| plain(text, DESCRIPTION_CHARS_MAX));
    let mut description = match said.description {
        Some(description) => description.to_owned(),
        None => described.filter(|text| !text.is_empty()).unwrap_or_else(|| format!("The agent {name} at {host}")),
    };
    let abilities: Vec<String> = told["capabilities"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|one| plain(one, 100))
        .collect();
    if said.description.is_none() && !abilities.is_empty() {
        description.push_str(&format!(" (capabilities: {})", plain(&abilities.join(", "), DESCRIPTION_CHARS_MAX)));
    }
    json!({
        "name": said.tool.unwrap_or(name),
        "description": description,
        "inputSchema": said.input_schema.cloned().unwrap_or_else(takes),
        "outputSchema": said.output_schema.cloned().unwrap_or_else(answers),
    })
}

/// Source: AOP paper §4.3, the default input schema.
fn takes() -> Value {
    json!({
        "type": "object",
        "properties": {
            "task": {"type": "string", "description": "Primary task"},
            "img": {"type": "string", "description": "Single image path"},
            "imgs": {"type": "array", "items": {"type": "string"}, "description": "Multiple images"},
            "correct_answer": {"type": "string"},
        },
        "required": ["task"],
    })
}

/// Source: AOP paper §4.3, the default output schema.
fn answers() -> Value {
    json!({
        "type": "object",
        "properties": {
            "result": {"type": "string", "description": "Agent response"},
            "success": {"type": "boolean"},
            "error": {"type": ["string", "null"]},
        },
    })
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
    /// Answers until the pipe closes or the agent cannot be reached any more; both end the connection.
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
                    let asked = self.agent.ask(Method::GET, "", None, DESCRIPTION_BYTES_MAX);
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

    /// What needs no agent.
    fn answer(&self, method: &str, params: &Value) -> Result<Value, (i64, String)> {
        match method {
            "initialize" => Ok(json!({
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": self.name, "version": "0"},
            })),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(json!({"tools": [self.tool]})),
            other => Err((-32_601, format!("an agent knows no {other}"))),
        }
    }
}

impl Agent {
    /// One task for the agent, as the envelope that agents of the Open Agent Protocol know. Dropped, it is given up.
    pub(crate) async fn call(&self, tool: &str, lane: &Lane) -> Result<Bytes, UpstreamError> {
        if tool != self.tool {
            return Err(refused(-32_602, format!("the agent has one tool, {}", self.tool)));
        }
        let _under_way = self.under_way.clone();
        let arguments: Map<String, Value> = serde_json::from_slice(&lane.arguments).unwrap_or_default();
        let meta = lane.extra.iter().find(|(member, _)| member == "_meta");
        let meta: Value = meta.and_then(|(_, meta)| serde_json::from_slice(meta).ok()).unwrap_or_default();
        let body = envelope(arguments, meta["aop/idempotency-key"].as_str()).to_string();
        let asked = self.exchange.ask(Method::POST, "invoke", Some(body), MESSAGE_BYTES_MAX).await;
        let (status, body) = asked.map_err(|failure| failure.as_upstream())?;
        let said = || plain(&String::from_utf8_lossy(&body), 300);
        match status.code {
            code if code.is_success() => {
                let result = result(&body, self.tells_result);
                let result = result.map_err(|why| garbage(format!("{why}: {}", said())))?.to_string();
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
                Err(refused(-32_000, format!("the agent answers HTTP {code}: {}", said())))
            }
            _ => Err(status.as_upstream(&said())),
        }
    }
}

fn refused(code: i64, message: String) -> UpstreamError {
    let raw = json!({"code": code, "message": message}).to_string().into();
    UpstreamError::Rpc { code, message, raw }
}

/// Source: open-agent-protocol 0.3.0, `TaskEnvelope`.
fn envelope(mut arguments: Map<String, Value>, key: Option<&str>) -> Value {
    let goal = arguments.shift_remove("task").unwrap_or_default();
    let id = key.map_or_else(
        || uuid(getrandom::u64().unwrap_or_default(), getrandom::u64().unwrap_or_default()),
        str::to_owned,
    );
    json!({
        "id": id, "version": "0.1", "goal": goal, "memory": arguments, "steps_taken": [],
        "constraints": {"max_cost_usd": null, "allowed_tools": null, "deadline_ms": null}, "handoff": null,
    })
}

/// RFC 9562, version 4.
fn uuid(high: u64, low: u64) -> String {
    let (high, low) = ((high & !0xF000) | 0x4000, (low & !(0b11 << 62)) | (0b10 << 62));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}

/// What the agent answered, as a result of MCP: `result`, `success`, `error` (AOP paper §4.3), or `tells_result` alone.
fn result(body: &[u8], tells_result: bool) -> Result<Value, &'static str> {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let told = told.as_object().ok_or("its answer is no JSON object")?;
    let text = match told.get("result") {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let error = told.get("error").filter(|error| !error.is_null());
    let error = error.map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned));
    let success = told.get("success").and_then(Value::as_bool).unwrap_or(error.is_none());
    let shown = if success { &text } else { error.as_ref().unwrap_or(&text) };
    // An error need not fit the schema of an answer.
    let structured = match told.get("result") {
        Some(own) if tells_result && success && own.is_object() => own.clone(),
        _ if tells_result && success => return Err("its result is no object, as the output schema has it"),
        _ => json!({"result": text, "success": success, "error": error}),
    };
    Ok(json!({
        "content": [{"type": "text", "text": shown}],
        "structuredContent": structured,
        "isError": !success,
    }))
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
    use super::*;

    #[test]
    fn a_tool_is_named_and_described_by_its_agent_or_by_who_registers_it() {
        let told = json!({"agent_id": "summariser", "description": "Makes\ntexts short", "capabilities": ["summarise", "translate"]});
        let own = definition("summariser", &told, &Said::default(), "127.0.0.1");
        assert_eq!(own["name"], "summariser");
        assert_eq!(own["description"], "Makes texts short (capabilities: summarise, translate)");
        assert_eq!(own["inputSchema"]["required"], json!(["task"]));
        assert_eq!(own["outputSchema"]["properties"]["success"]["type"], "boolean");
        let (takes, answers) = (json!({"type": "object", "required": ["text"]}), json!({"type": "object"}));
        let said = Said {
            tool: Some("short"),
            description: Some("Shortens"),
            input_schema: Some(&takes),
            output_schema: Some(&answers),
        };
        let other = definition("summariser", &told, &said, "127.0.0.1");
        let wanted = json!({"name": "short", "description": "Shortens", "inputSchema": takes, "outputSchema": answers});
        assert_eq!(other, wanted);
        let silent = definition("127.0.0.1", &Value::Null, &Said::default(), "127.0.0.1");
        assert_eq!(silent["description"], "The agent 127.0.0.1 at 127.0.0.1");
    }

    #[test]
    fn what_describes_nothing_is_no_agent() {
        for body in ["<html>hi</html>", "{}", r#"{"foo":1}"#, "[1]", "\"agent\"", ""] {
            let error = described(body.as_bytes()).expect_err("no agent").to_string();
            assert!(error.contains("`agent_id`"), "{body}: {error}");
        }
        for body in [r#"{"agent_id":"a"}"#, r#"{"name":"a","version":"1"}"#, r#"{"capabilities":[]}"#] {
            assert!(described(body.as_bytes()).is_ok(), "{body}");
        }
    }

    #[test]
    fn what_an_agent_answers_is_a_result_or_an_error_of_the_tool() {
        let of = |body: &str| result(body.as_bytes(), false);
        let well = of(r#"{"result":"ok","memory":{}}"#).expect("a result");
        assert_eq!(well["structuredContent"], json!({"result": "ok", "success": true, "error": null}));
        assert_eq!((&well["isError"], &well["content"][0]["text"]), (&json!(false), &json!("ok")));
        let failed = of(r#"{"result":null,"error":"no cheese"}"#).expect("a result");
        assert_eq!((&failed["isError"], &failed["content"][0]["text"]), (&json!(true), &json!("no cheese")));
        assert_eq!(of(r#"{"result":{"a":1}}"#).expect("a result")["content"][0]["text"], r#"{"a":1}"#);
        assert!(of("[1]").is_err() && of("ok").is_err());
    }

    #[test]
    fn a_schema_that_names_no_result_is_of_the_agent_s_own() {
        let is_own = |schema: Value| Said { output_schema: Some(&schema), ..Said::default() }.is_of_the_result();
        assert!(is_own(json!({"type": "object", "properties": {"short": {}}})) && is_own(json!({"type": "object"})));
        assert!(!is_own(answers()) && !Said::default().is_of_the_result());
        let of = |body: &str| result(body.as_bytes(), true);
        let own = of(r#"{"result":{"short":"ok"}}"#).expect("a result");
        assert_eq!(
            (&own["structuredContent"], &own["content"][0]["text"]),
            (&json!({"short": "ok"}), &json!(r#"{"short":"ok"}"#))
        );
        assert!(of(r#"{"result":"ok"}"#).is_err(), "it cannot be shown as what it is to be");
        let failed = of(r#"{"result":null,"error":"no cheese"}"#).expect("a result");
        assert_eq!((&failed["isError"], &failed["content"][0]["text"]), (&json!(true), &json!("no cheese")));
    }

    #[test]
    fn the_task_is_the_goal_and_the_rest_its_memory() {
        let arguments = json!({"task": "say hi", "img": "a.png"}).as_object().cloned().expect("an object");
        let sent = envelope(arguments, Some("order-17"));
        assert_eq!(
            (&sent["goal"], &sent["memory"], &sent["id"]),
            (&json!("say hi"), &json!({"img": "a.png"}), &json!("order-17"))
        );
        assert_eq!(uuid(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
