//! JSON-RPC around raw bytes: what a request is, and how its answer is written.

use std::borrow::Cow;

use aop_proto::error::{Kind, Problem, plain_lines};
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::raw;
use crate::telemetry::told;

/// JSON-RPC and MCP error codes this door itself uses.
pub(super) mod code {
    pub(in crate::mcp) const PARSE: i64 = -32700;
    pub(in crate::mcp) const INVALID_REQUEST: i64 = -32600;
    pub(in crate::mcp) const INVALID_PARAMS: i64 = -32602;
    pub(in crate::mcp) const METHOD_NOT_FOUND: i64 = -32601;
    pub(in crate::mcp) const INTERNAL: i64 = -32603;
    pub(in crate::mcp) const HEADER_MISMATCH: i64 = -32020;
    pub(in crate::mcp) const MISSING_CAPABILITY: i64 = -32021;
    pub(in crate::mcp) const UNSUPPORTED_VERSION: i64 = -32022;
    pub(in crate::mcp) const SESSION_NOT_FOUND: i64 = -32001;
}

/// A JSON-RPC request or notification with its parts untouched.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) method: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) params: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// It is no JSON object, or has not the members of one.
    pub(super) fn read(text: &'a [u8]) -> serde_json::Result<Self> {
        // Of a list the parts of a struct are read by their places.
        match text.trim_ascii_start().first() {
            Some(b'{') => serde_json::from_slice(text),
            _ => Err(serde::de::Error::custom("a message is a JSON object")),
        }
    }

    /// The id to answer with, as it was written: `None` for a notification, or where the message is not a valid request.
    pub(super) fn id(&self) -> Option<Id> {
        let id = self.id?.get();
        let valid = id.starts_with('"') || id.starts_with('-') || id.starts_with(|c: char| c.is_ascii_digit());
        (self.jsonrpc == "2.0" && valid).then(|| Id(id.to_owned()))
    }

    /// What stands before and after the id in `text`, from which this was read.
    pub(super) fn around_id<'t>(&self, text: &'t str) -> Option<(&'t str, &'t str)> {
        let id = self.id?.get();
        // The id borrows from `text`, so its place in it is the distance of the two addresses.
        let start = (id.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        Some((text.get(..start)?, text.get(start + id.len()..)?))
    }

    /// The parameters as text; none are the same as empty ones.
    pub(super) fn params(&self) -> &'a str {
        self.params.map_or("{}", RawValue::get)
    }
}

/// A request's id, in the bytes of its sender.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Id(pub(super) String);

/// How a request ends.
#[derive(Debug)]
pub(super) enum Answer {
    /// The raw `result`.
    Result(Bytes),
    /// The raw `error` object, and its code for the HTTP status.
    Error { code: i64, error: String },
}

impl Answer {
    pub(super) fn error(code: i64, message: &str, data: Option<Value>) -> Self {
        let mut error = json!({"code": code, "message": message});
        if let Some(data) = data {
            error["data"] = data;
        }
        Self::Error { code, error: error.to_string() }
    }

    /// A problem as a protocol error: for requests that lead nowhere, not for tools that failed.
    pub(super) fn refusal(problem: &Problem) -> Self {
        let code = match problem.kind {
            Kind::Usage
            | Kind::NameNotFound
            | Kind::ZoneNotFound
            | Kind::ServerNotFound
            | Kind::InvalidArguments
            | Kind::TooLarge => code::INVALID_PARAMS,
            _ => code::INTERNAL,
        };
        Self::error(code, &problem.message, Some(told(problem)))
    }

    /// The whole JSON-RPC message.
    pub(super) fn message(&self, id: &Id) -> Vec<u8> {
        let (member, body): (&[u8], &[u8]) = match self {
            Self::Result(result) => (b",\"result\":", result),
            Self::Error { error, .. } => (b",\"error\":", error.as_bytes()),
        };
        [b"{\"jsonrpc\":\"2.0\",\"id\":", id.0.as_bytes(), member, body, b"}"].concat()
    }

    /// The whole JSON-RPC message as text, for a line. Results are JSON and so are UTF-8.
    pub(super) fn text(&self, id: &Id) -> String {
        String::from_utf8_lossy(&self.message(id)).into_owned()
    }

    /// The answer as one JSON response. Modern callers read some errors from the status too; in the initialize era an error
    /// within the protocol is always 200.
    pub(super) fn into_response(self, id: &Id, modern: bool) -> Response {
        let status = match &self {
            Self::Error { code, .. } if modern => status(*code),
            _ => StatusCode::OK,
        };
        json_response(status, self.message(id))
    }
}

/// The status of an answer that somebody else wrote, for a modern caller.
pub(super) fn status_of(message: &[u8]) -> StatusCode {
    #[derive(Deserialize)]
    struct Failed {
        error: Option<Coded>,
    }
    #[derive(Deserialize)]
    struct Coded {
        code: i64,
    }
    let error = serde_json::from_slice::<Failed>(message).ok().and_then(|failed| failed.error);
    error.map_or(StatusCode::OK, |error| status(error.code))
}

/// The status rmcp gives the same errors, so that both halves of the door speak alike.
fn status(code: i64) -> StatusCode {
    match code {
        code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION => StatusCode::BAD_REQUEST,
        code::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

/// Headers of an answer, and room for what the port adds: a table that grows is made twice.
const HEADERS: usize = 6;

/// A JSON-RPC message as a response. What a list may be cached for is said inside it.
pub(super) fn json_response(status: StatusCode, message: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(message));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A tool result that tells the model what went wrong and what to do, so that it can repair its next call.
pub(super) fn failed(problem: &Problem, modern: bool) -> Answer {
    if let Some(error) = problem.detail.as_ref().and_then(|detail| detail.get("rpc")) {
        let code = error.get("code").and_then(Value::as_i64).unwrap_or(code::INTERNAL);
        return Answer::Error { code, error: error.to_string() };
    }
    let mut text = problem.message.clone();
    if !problem.did_you_mean.is_empty() {
        text.push_str(&format!("\ndid you mean: {}", problem.did_you_mean.join(", ")));
    }
    if let Some(detail) = &problem.detail {
        text.push_str(&format!("\n{detail}"));
    }
    if let Some(hint) = &problem.hint {
        text.push_str(&format!("\nhint: {hint}"));
    }
    let mut error = told(problem);
    // It may repeat what an upstream said.
    error["message"] = plain_lines(&problem.message).into();
    tool_result(&text, Some(&json!({"error": error})), true, None, modern)
}

/// Strangers' words within a digest of this node, as they are shown as text: with nothing in them that is hidden. Names of members stay
/// as they are.
pub(super) fn reveal(digest: &mut Value) {
    match digest {
        Value::String(text) => *text = plain_lines(text),
        Value::Array(all) => all.iter_mut().for_each(reveal),
        Value::Object(members) => members.values_mut().for_each(reveal),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A tool result of our own. Names and descriptions are strangers' words: in the text a model is shown nothing of them is hidden; who puts
/// them into `structured` uses [`reveal`].
pub(super) fn tool_result(
    text: &str,
    structured: Option<&Value>,
    is_error: bool,
    meta: Option<Value>,
    modern: bool,
) -> Answer {
    let mut result = json!({"content": [{"type": "text", "text": plain_lines(text)}]});
    if let Some(structured) = structured {
        result["structuredContent"] = structured.clone();
    }
    result["isError"] = is_error.into();
    if let Some(meta) = meta {
        result["_meta"] = meta;
    }
    if modern {
        result["resultType"] = "complete".into();
    }
    Answer::Result(result.to_string().into())
}

/// An upstream's result for this caller: its own bytes, with `resultType` added where a modern caller must find one.
///
/// # Errors
/// When the bytes are no JSON object, or ask for input the caller has not said it can give.
pub(super) fn passed_through(result: Bytes, caller: &super::headers::Caller) -> Result<Answer, Answer> {
    let garbage =
        || failed(&Problem::new(Kind::UpstreamFailed, "the upstream's result is not a JSON object"), caller.modern);
    let text = std::str::from_utf8(&result).map_err(|_| garbage())?;
    let members = raw::Members::read(text).map_err(|_| garbage())?;
    match members.text("resultType").as_deref() {
        None if caller.modern => {
            Ok(Answer::Result(raw::with_member(text, "resultType", "\"complete\"").ok_or_else(garbage)?.into()))
        }
        Some("input_required") => {
            caller.can_be_asked(members.get("inputRequests"))?;
            Ok(Answer::Result(result))
        }
        _ => Ok(Answer::Result(result)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::headers::Caller;

    fn caller(modern: bool, capabilities: Value) -> Caller {
        Caller { modern, capabilities, ..Caller::default() }
    }

    #[test]
    fn the_text_of_an_answer_hides_nothing() {
        let hostile = "a\u{1b}[31mb\u{7}\u{0}\u{202e}c\u{2066}\u{200b}d\n\te";
        let Answer::Result(result) = tool_result(hostile, Some(&json!({"as": hostile})), false, None, true) else {
            panic!("a result")
        };
        let result: Value = serde_json::from_slice(&result).expect("json");
        assert_eq!(result["content"][0]["text"], "a[31mbcd\n\te");
        assert_eq!(result["structuredContent"]["as"], hostile);
    }

    #[test]
    fn a_problem_hides_nothing_of_what_an_upstream_said() {
        let problem = Problem::new(Kind::UpstreamFailed, "it said: a\u{202e}b\u{1b}[2J");
        let Answer::Result(result) = failed(&problem, true) else { panic!("a tool result") };
        let result: Value = serde_json::from_slice(&result).expect("json");
        assert_eq!(result["structuredContent"]["error"]["message"], "it said: ab[2J");
    }

    #[test]
    fn ids_come_back_as_they_were_written() {
        let id = |text: &str| Envelope::read(text.as_bytes()).expect("envelope").id().map(|id| id.0);
        assert_eq!(id(r#"{"jsonrpc":"2.0","id":1.0,"method":"a"}"#).as_deref(), Some("1.0"));
        assert_eq!(id(r#"{"jsonrpc":"2.0","id":"\u0061","method":"a"}"#).as_deref(), Some(r#""\u0061""#));
        assert!(Envelope::read(br#" ["2.0",1,"a",{}]"#).is_err(), "a list is no message");
        for none in [
            r#"{"jsonrpc":"2.0","method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#,
        ] {
            assert_eq!(id(none), None, "{none}");
        }
    }

    #[test]
    fn a_result_passes_untouched_but_for_the_missing_type() {
        let raw = "{\n \"content\": [], \"x\": 1.50}";
        let pass = |modern| match passed_through(Bytes::from_static(raw.as_bytes()), &caller(modern, json!({}))) {
            Ok(Answer::Result(result)) => String::from_utf8(result.to_vec()).expect("text"),
            other => panic!("{other:?}"),
        };
        assert_eq!(pass(false), raw);
        assert_eq!(pass(true), "{\"resultType\":\"complete\",\n \"content\": [], \"x\": 1.50}");
    }

    #[test]
    fn input_is_asked_only_of_callers_that_can_give_it() {
        let raw = Bytes::from_static(br#"{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create"}},"requestState":"s"}"#);
        assert!(
            matches!(passed_through(raw.clone(), &caller(true, json!({"elicitation": {}}))), Ok(Answer::Result(r)) if r == raw)
        );
        let refused = passed_through(raw.clone(), &caller(true, json!({})));
        assert!(matches!(refused, Err(Answer::Error { code: code::MISSING_CAPABILITY, .. })));
        let legacy = passed_through(raw, &caller(false, json!({"elicitation": {}})));
        assert!(
            matches!(legacy, Err(Answer::Result(result)) if String::from_utf8_lossy(&result).contains("\"isError\":true"))
        );
    }

    #[test]
    fn garbage_becomes_a_tool_error() {
        for bad in [&b"[]"[..], b"", b"\xff", b"{\"a\":1,\"a\":2}"] {
            assert!(passed_through(Bytes::copy_from_slice(bad), &caller(true, json!({}))).is_err());
        }
    }

    #[test]
    fn an_upstreams_own_error_object_goes_out_as_it_is() {
        let problem = Problem::new(Kind::UpstreamFailed, "x")
            .detail(json!({"rpc": {"code": -32042, "message": "no", "data": [1]}}));
        let answer = failed(&problem, true);
        assert_eq!(
            answer.message(&Id("7".into())),
            br#"{"jsonrpc":"2.0","id":7,"error":{"code":-32042,"message":"no","data":[1]}}"#
        );
    }

    #[test]
    fn a_problem_becomes_a_result_the_model_can_repair() {
        let problem = Problem::new(Kind::NameNotFound, "no tool `a`").hint("aop ls").did_you_mean(vec!["b".into()]);
        let Answer::Result(result) = failed(&problem, false) else { panic!("a tool result") };
        let result: Value = serde_json::from_slice(&result).expect("json");
        assert_eq!(result["isError"], true);
        assert_eq!(result["structuredContent"]["error"]["kind"], "name_not_found");
        assert_eq!(result["content"][0]["text"], "no tool `a`\ndid you mean: b\nhint: aop ls");
        assert!(result.get("resultType").is_none());
    }
}
