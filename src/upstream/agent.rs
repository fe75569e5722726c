//! A plain HTTP agent as an MCP server with one tool: `GET /` describes it, `POST /invoke` executes.
//!
//! Name, description and schemas are defaulted as in the AOP paper (algorithm 1, §4.3). What must hold: one who describes himself as no
//! agent is none.

use std::time::Duration;

use aop_proto::error::plain;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::bridge::{Behind, LOOK_BYTES_MAX, LOOK_TIMEOUT, Speaks, connect, quoted, refused};
use super::exchange::{Exchange, Request};
use super::failure::UpstreamError;
use super::tap::Lane;

/// What asks an agent who it is, and whether it is there.
const LOOK: Method = Method::GET;
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

/// Whoever calls an agent.
pub(crate) struct Agent {
    tool: String,
    /// See [`Said::is_of_the_result`].
    tells_result: bool,
}

/// Asks the agent who it is, and stands before it as an MCP server.
///
/// # Errors
/// It cannot be reached, or says something else. One that answers no GET (a status that is no success) is taken as it is.
pub(crate) async fn open(exchange: &Exchange, said: &Said<'_>) -> Result<Behind, UpstreamError> {
    let asked = exchange.ask(Request::bare(LOOK, exchange.below("")), LOOK_BYTES_MAX);
    let answer = tokio::time::timeout(LOOK_TIMEOUT, asked).await;
    let answer = answer.map_err(|_| connect(format!("no answer to GET within {LOOK_TIMEOUT:?}")))?;
    let (status, body) = answer.map_err(|failure| failure.as_dial())?;
    let told: Value = match status.code.is_success() {
        true => described(&body)?,
        false => Value::Null,
    };
    let name = called(&told).unwrap_or_else(|| exchange.host());
    let tool = definition(&name, &told, said, &exchange.host());
    let named = tool["name"].as_str().unwrap_or_default().to_owned();
    let speaks = Speaks::Agent(Agent { tool: named, tells_result: said.is_of_the_result() });
    Ok(Behind { name, tools: vec![tool], speaks, look: LOOK })
}

/// By which name an agent goes: its id, else what it is called.
fn called(told: &Value) -> Option<String> {
    let name = |key: &str| told[key].as_str().map(|name| plain(name, 64)).filter(|name| !name.is_empty());
    name("agent_id").or_else(|| name("name"))
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

impl Agent {
    /// One task for the agent, as the envelope that agents of the Open Agent Protocol know, with the time that is left for it.
    ///
    /// # Errors
    /// It has no such tool. Nothing is sent.
    pub(crate) fn request(
        &self,
        exchange: &Exchange,
        tool: &str,
        lane: &Lane,
        left: Duration,
    ) -> Result<Request, UpstreamError> {
        if tool != self.tool {
            return Err(refused(-32_602, format!("the agent has one tool, {}", self.tool), None));
        }
        let arguments: Map<String, Value> = serde_json::from_slice(&lane.arguments).unwrap_or_default();
        let meta = lane.extra.iter().find(|(member, _)| member == "_meta");
        let meta: Value = meta.and_then(|(_, meta)| serde_json::from_slice(meta).ok()).unwrap_or_default();
        let body = envelope(arguments, meta["aop/idempotency-key"].as_str(), left).to_string();
        Ok(Request { method: Method::POST, url: exchange.below("invoke"), body: Some(body.into_bytes()) })
    }

    /// What the agent answered, as a result of MCP.
    ///
    /// # Errors
    /// In words, why it is none.
    pub(crate) fn result(&self, body: &[u8]) -> Result<Value, String> {
        result(body, self.tells_result).map_err(|why| format!("{why}: {}", quoted(body)))
    }
}

/// Source: open-agent-protocol 0.3.0, `TaskEnvelope`.
fn envelope(mut arguments: Map<String, Value>, key: Option<&str>, left: Duration) -> Value {
    let goal = arguments.shift_remove("task").unwrap_or_default();
    let id = key.map_or_else(
        || uuid(getrandom::u64().unwrap_or_default(), getrandom::u64().unwrap_or_default()),
        str::to_owned,
    );
    json!({
        "id": id, "version": "0.1", "goal": goal, "memory": arguments, "steps_taken": [],
        "constraints": {"max_cost_usd": null, "allowed_tools": null, "deadline_ms": left.as_millis() as u64}, "handoff": null,
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
        assert_eq!(called(&told).as_deref(), Some("summariser"));
        assert_eq!(called(&json!({"agent_id": "", "name": "Short texts"})).as_deref(), Some("Short texts"));
        assert_eq!(called(&json!({"description": "Makes texts short"})), None);
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
        let sent = envelope(arguments, Some("order-17"), Duration::from_millis(2_500));
        assert_eq!(sent["constraints"]["deadline_ms"], 2_500);
        assert_eq!(
            (&sent["goal"], &sent["memory"], &sent["id"]),
            (&json!("say hi"), &json!({"img": "a.png"}), &json!("order-17"))
        );
        assert_eq!(uuid(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
