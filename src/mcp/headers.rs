//! What the HTTP headers of an MCP request have to say, and who the caller is.
//!
//! The same rules, in the same order, as rmcp applies to the methods it answers, so that a client cannot tell the two halves of
//! the door apart. Middle boxes route on these headers without reading the body: where header and body differ, nothing is done.
//! Source: MCP 2026-07-28, "Streamable HTTP"; 2025-06-18 and later for the version header.

use axum::{
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Value, json, value::RawValue};

use super::{
    envelope::{Answer, Id, code, json_response, tool_result},
    raw::{self, Members},
};

pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(super) const NAME: HeaderName = HeaderName::from_static("mcp-name");
const PARAM_PREFIX: &str = "mcp-param-";

/// The first revision without `initialize`, with self-contained requests and standard headers.
pub(super) const MODERN: &str = "2026-07-28";
/// Every revision this door speaks, oldest first; the same list rmcp advertises.
pub(super) const VERSIONS: [&str; 5] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", MODERN];

pub(super) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// What of `_meta` is between this caller and this door, and goes no further.
const META_OURS: [&str; 4] =
    [META_VERSION, "io.modelcontextprotocol/clientInfo", "io.modelcontextprotocol/logLevel", "progressToken"];

/// Members of `_meta` that this node reads, and those that servers read as the protocol's.
const META_KNOWN: [&str; 6] = [
    META_VERSION,
    META_CAPABILITIES,
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/subscriptionId",
    "progressToken",
];
/// Members of parameters that the protocol has, in one request or another.
const PARAMS_KNOWN: [&str; 13] = [
    "name",
    "arguments",
    "uri",
    "ref",
    "_meta",
    "requestId",
    "requestState",
    "inputResponses",
    "level",
    "cursor",
    "argument",
    "progressToken",
    "task",
];

/// Refuses parameters that a reader who does not tell cases apart reads in another way: what was judged here would not be what is
/// done there.
///
/// # Errors
/// Which member, in words.
pub(super) fn check_cases(params: &Members<'_>) -> Result<(), String> {
    let told = |name: &str| format!("`{name}` is the name of another member in other cases");
    if let Some(name) = params.disguised(&PARAMS_KNOWN) {
        return Err(told(name));
    }
    // What is no object has no members.
    let Some(meta) = params.get("_meta").filter(|meta| meta.get().starts_with('{')) else { return Ok(()) };
    let meta = Members::read(meta.get()).map_err(|error| format!("_meta: {error}"))?;
    meta.disguised(&META_KNOWN).map_or(Ok(()), |name| Err(told(name)))
}

/// Who calls, as far as the answer depends on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Caller {
    /// Speaks a revision without `initialize`: results carry `resultType`, errors their HTTP status.
    pub(super) modern: bool,
    /// What the client says it can do (modern callers only).
    pub(super) capabilities: Value,
    /// The raw progress token, where progress is wanted.
    pub(super) progress_token: Option<String>,
    /// The members of `_meta` that are meant for the tool, as a raw object.
    pub(super) own_meta: Option<Bytes>,
    /// `_meta` says more than who speaks: a trace, for one, which is another with each call.
    pub(super) varies: bool,
}

/// Whether a request without a body asks for the standing stream that the initialize revisions have. One that names no revision is of
/// the first of them.
///
/// # Errors
/// The refusal, where it names a revision that is none, or several.
pub(super) fn may_stand(headers: &HeaderMap) -> Result<bool, Response> {
    let nobody = Id("null".to_owned());
    match sole(headers, &VERSION).map_err(|why| mismatch(&nobody, &why))? {
        Some(version) if version >= MODERN => Ok(false),
        Some(version) if !VERSIONS.contains(&version) => Err(unsupported(&nobody, version)),
        _ => Ok(accepted(headers).1),
    }
}

/// Whether a client takes JSON, and whether event streams.
fn accepted(headers: &HeaderMap) -> (bool, bool) {
    let (mut json, mut events) = (false, false);
    for accepted in
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','))
    {
        let mut parts = accepted.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if parts.any(is_zero_weight) {
            continue;
        }
        json |= media.eq_ignore_ascii_case("application/json");
        events |= media.eq_ignore_ascii_case("text/event-stream");
    }
    (json, events)
}

/// Refuses what cannot be talked to: the client has to take JSON and event streams, and to send JSON.
pub(super) fn check_media_types(headers: &HeaderMap) -> Result<(), Response> {
    let (json, events) = accepted(headers);
    if !(json && events) {
        let text = "Not Acceptable: a client has to accept both application/json and text/event-stream\n";
        return Err((StatusCode::NOT_ACCEPTABLE, text).into_response());
    }
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !sent.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let text = "Unsupported Media Type: Content-Type has to be application/json\n";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response());
    }
    Ok(())
}

/// `q=0`, in any of its spellings.
fn is_zero_weight(parameter: &str) -> bool {
    let Some((name, weight)) = parameter.split_once('=') else { return false };
    let weight = weight.trim();
    name.trim().eq_ignore_ascii_case("q")
        && weight.starts_with('0')
        && weight.trim_start_matches('0').trim_start_matches('.').bytes().all(|byte| byte == b'0')
}

/// Checks the headers of one request against its body and tells who calls.
///
/// # Errors
/// The refusal, ready to be sent: always 400, always saying which rule was broken.
pub(super) fn read_caller(
    headers: &HeaderMap,
    method: &str,
    params: &Members<'_>,
    id: &Id,
) -> Result<Caller, Response> {
    read_caller_of(headers, method, params, id, |version| VERSIONS.contains(&version))
}

/// The same for whoever answers in revisions of his own.
///
/// # Errors
/// As [`read_caller`].
pub(super) fn read_caller_of(
    headers: &HeaderMap,
    method: &str,
    params: &Members<'_>,
    id: &Id,
    speaks: impl Fn(&str) -> bool,
) -> Result<Caller, Response> {
    let meta = match params.get("_meta").map(|meta| Members::read(meta.get())) {
        None => Members::default(),
        Some(Ok(meta)) => meta,
        Some(Err(error)) => return Err(refuse(id, code::INVALID_PARAMS, &format!("_meta: {error}"), None)),
    };
    let named = sole(headers, &VERSION).map_err(|why| mismatch(id, &why))?;
    let inline = meta.text(META_VERSION);
    if let (Some(named), None) = (named, &inline)
        && !speaks(named)
    {
        return Err(unsupported(id, named));
    }
    if named.is_some_and(|version| version >= MODERN) {
        check_standard(headers, method, params).map_err(|why| mismatch(id, &why))?;
    }
    let version = match (named, inline.as_deref()) {
        (Some(named), None) if named >= MODERN => return Err(missing(id, &meta)),
        (named, None) => named,
        (None, Some(_)) => {
            return Err(mismatch(id, "a protocolVersion in _meta needs the MCP-Protocol-Version header"));
        }
        (Some(named), Some(inline)) if named != inline => {
            let why = format!("the MCP-Protocol-Version header says {named}, _meta says {inline}");
            return Err(mismatch(id, &why));
        }
        (_, Some(inline)) if !speaks(inline) => return Err(unsupported(id, inline)),
        (named, Some(_)) => named,
    };
    let modern = version.is_some_and(|version| version >= MODERN);
    let capabilities = meta.get(META_CAPABILITIES).and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    if modern && !capabilities.as_ref().is_some_and(Value::is_object) {
        return Err(missing(id, &meta));
    }
    Ok(Caller {
        modern,
        capabilities: capabilities.unwrap_or_default(),
        progress_token: meta.get("progressToken").map(|token| token.get().to_owned()),
        own_meta: own_meta(&meta),
        varies: meta.iter().any(|(name, _)| !META_OURS.contains(&name) && name != META_CAPABILITIES),
    })
}

impl Caller {
    /// Refuses to hand on questions the client never said it could answer.
    pub(super) fn can_be_asked(&self, requests: Option<&RawValue>) -> Result<(), Answer> {
        if !self.modern {
            let text = "the tool asks for input in the middle of the call, which this client's protocol revision cannot give; \
                        use a client of revision 2026-07-28";
            return Err(tool_result(text, None, true, None, false));
        }
        let requests: Value = requests.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let methods =
            requests.as_object().into_iter().flat_map(|all| all.values()).filter_map(|one| one["method"].as_str());
        for method in methods {
            let needed = match method {
                "elicitation/create" => "elicitation",
                "sampling/createMessage" => "sampling",
                "roots/list" => "roots",
                _ => continue,
            };
            if self.capabilities.get(needed).is_none() {
                let data = json!({"requiredCapabilities": {needed: {}}});
                return Err(Answer::error(code::MISSING_CAPABILITY, "Missing required client capability", Some(data)));
            }
        }
        Ok(())
    }
}

/// Headers a tool's own schema asks for (`x-mcp-header`): each has to say what the arguments say.
pub(super) fn check_params(headers: &HeaderMap, schema: &Value, arguments: &Value) -> Result<(), String> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    for (property, schema) in properties {
        let argument = arguments.get(property).unwrap_or(&Value::Null);
        if let Some(suffix) = schema.get("x-mcp-header").and_then(Value::as_str).filter(|suffix| !suffix.is_empty()) {
            let Ok(header) = HeaderName::try_from(format!("{PARAM_PREFIX}{suffix}")) else { continue };
            check_param(sole(headers, &header)?, argument, property, &header)?;
        }
        check_params(headers, schema, argument)?;
    }
    Ok(())
}

fn check_param(header: Option<&str>, argument: &Value, property: &str, name: &HeaderName) -> Result<(), String> {
    let said = match argument {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(argument.to_string()),
        _ => None,
    };
    match (header, said) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(format!("unexpected {name} header: `{property}` is absent")),
        (None, Some(_)) => Err(format!("missing {name} header for `{property}`")),
        (Some(header), Some(said)) if decode(header).as_deref() == Some(said.as_str()) => Ok(()),
        (Some(_), Some(_)) => Err(format!("the {name} header and `{property}` differ")),
    }
}

/// `Mcp-Method`, and `Mcp-Name` for what has a name.
fn check_standard(headers: &HeaderMap, method: &str, params: &Members<'_>) -> Result<(), String> {
    match sole(headers, &METHOD)? {
        None => return Err("missing required Mcp-Method header".into()),
        Some(said) if said != method => {
            return Err(format!("the Mcp-Method header says `{said}`, the body `{method}`"));
        }
        Some(_) => {}
    }
    let member = match method {
        "tools/call" => "name",
        "resources/read" => "uri",
        _ => return Ok(()),
    };
    let Some(name) = params.text(member) else { return Ok(()) };
    let said = sole(headers, &NAME)?.ok_or_else(|| format!("missing required Mcp-Name header for `{method}`"))?;
    match decode(said) {
        None => Err("the Mcp-Name header is not valid base64".into()),
        Some(said) if said != name => Err(format!("the Mcp-Name header says `{said}`, the body `{name}`")),
        Some(_) => Ok(()),
    }
}

/// What headers say of a message has to be true of it, where they say it: somebody on the way may have believed them.
///
/// # Errors
/// Which header says something else.
pub(super) fn check_named(headers: &HeaderMap, method: &str, params: &Members<'_>) -> Result<(), String> {
    match sole(headers, &METHOD)? {
        Some(_) => check_standard(headers, method, params),
        None => Ok(()),
    }
}

/// Version, method and name as their headers say them, empty where there is none; nothing where one says nothing or cannot be read.
pub(super) fn read_standard(headers: &HeaderMap) -> Option<[&str; 3]> {
    let read = |name| match sole(headers, name) {
        Ok(Some("")) | Err(_) => None,
        Ok(said) => Some(said.unwrap_or_default()),
    };
    Some([read(&VERSION)?, read(&METHOD)?, read(&NAME)?])
}

/// The one value of a header. Two are an error even when equal: whoever routes on it may have read the other.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(format!("more than one {name} header")),
        (Some(value), None) => {
            value.to_str().map(Some).map_err(|_| format!("the {name} header has characters it may not have"))
        }
    }
}

/// Undoes `=?base64?…?=`, which carries what a header cannot.
fn decode(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|inner| inner.strip_suffix("?=")) {
        Some(inner) => String::from_utf8(BASE64_STANDARD.decode(inner).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

/// The other direction, for what this node itself sends.
pub(super) fn encode(value: &str) -> String {
    let looks_wrapped = value.starts_with("=?base64?") && value.ends_with("?=");
    let padded = value.starts_with(' ') || value.ends_with(' ');
    let plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && !looks_wrapped && !padded;
    if plain { value.to_owned() } else { format!("=?base64?{}?=", BASE64_STANDARD.encode(value)) }
}

/// The caller's own members of `_meta` (trace context, its client's capabilities, …) for whoever serves the tool.
fn own_meta(meta: &Members<'_>) -> Option<Bytes> {
    let mut object = String::new();
    for (name, value) in meta.iter().filter(|(name, _)| !META_OURS.contains(name)) {
        object.push(if object.is_empty() { '{' } else { ',' });
        raw::push_member(&mut object, name, value.get());
    }
    (!object.is_empty()).then(|| Bytes::from(object + "}"))
}

fn refuse(id: &Id, code: i64, message: &str, data: Option<Value>) -> Response {
    json_response(StatusCode::BAD_REQUEST, Answer::error(code, message, data).message(id))
}

fn mismatch(id: &Id, why: &str) -> Response {
    refuse(id, code::HEADER_MISMATCH, why, None)
}

fn unsupported(id: &Id, requested: &str) -> Response {
    let data = json!({"requested": requested, "supported": VERSIONS});
    refuse(id, code::UNSUPPORTED_VERSION, "Unsupported protocol version", Some(data))
}

fn missing(id: &Id, meta: &Members<'_>) -> Response {
    let missing: Vec<_> = [META_VERSION, META_CAPABILITIES]
        .into_iter()
        .filter(|name| !meta.get(name).is_some_and(|value| *name == META_VERSION || value.get().starts_with('{')))
        .collect();
    let message = format!("request _meta is missing or has malformed required fields: {}", missing.join(", "));
    refuse(id, code::INVALID_PARAMS, &message, None)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const META: &str = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":"p","traceparent":"t"},"name":"a é"}"#;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("header"));
        }
        map
    }

    async fn read(pairs: &[(&'static str, &str)], params: &str) -> Result<Caller, (u16, i64)> {
        let members = Members::read(params).expect("params");
        match read_caller(&headers(pairs), "tools/call", &members, &Id("1".into())) {
            Ok(caller) => Ok(caller),
            Err(response) => {
                let status = response.status().as_u16();
                let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("body");
                let body: Value = serde_json::from_slice(&body).expect("json");
                assert_eq!(body["id"], 1);
                Err((status, body["error"]["code"].as_i64().expect("code")))
            }
        }
    }

    const V: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
    const M: (&str, &str) = ("mcp-method", "tools/call");
    const N: (&str, &str) = ("mcp-name", "=?base64?YSDDqQ==?=");

    #[tokio::test]
    async fn a_modern_caller_is_known_by_agreeing_headers_and_meta() {
        let caller = read(&[V, M, N], META).await.expect("valid");
        assert!(caller.modern);
        assert_eq!(caller.progress_token.as_deref(), Some("\"p\""));
        assert_eq!(
            caller.own_meta.as_deref(),
            Some(&br#"{"io.modelcontextprotocol/clientCapabilities":{},"traceparent":"t"}"#[..])
        );
    }

    #[tokio::test]
    async fn callers_of_the_initialize_era_need_no_headers() {
        for known in [&[][..], &[("mcp-protocol-version", "2025-03-26")], &[("mcp-protocol-version", "2025-11-25")]] {
            let caller = read(known, r#"{"name":"a","_meta":{"progressToken":3}}"#).await.expect("valid");
            assert!(!caller.modern && caller.progress_token.as_deref() == Some("3") && caller.own_meta.is_none());
        }
    }

    #[tokio::test]
    async fn every_broken_rule_has_its_own_refusal() {
        let mismatch = Err((400, code::HEADER_MISMATCH));
        assert_eq!(read(&[V, N], META).await, mismatch, "no method header");
        assert_eq!(read(&[V, ("mcp-method", "tools/list"), N], META).await, mismatch, "another method");
        assert_eq!(read(&[V, M], META).await, mismatch, "no name header");
        assert_eq!(read(&[V, M, ("mcp-name", "a")], META).await, mismatch, "another name");
        assert_eq!(read(&[V, M, ("mcp-name", "=?base64?*?=")], META).await, mismatch, "bad base64");
        assert_eq!(read(&[V, M, M, N], META).await, mismatch, "two method headers");
        assert_eq!(read(&[V, V, M, N], META).await, mismatch, "two version headers");
        assert_eq!(read(&[V, M, ("mcp-name", "a \u{e9}")], META).await, mismatch, "raw bytes in the name");
        assert_eq!(read(&[M, N], META).await, mismatch, "version in the body only");
        assert_eq!(read(&[("mcp-protocol-version", "2025-11-25"), M, N], META).await, mismatch, "two versions");
        let unsupported = Err((400, code::UNSUPPORTED_VERSION));
        let future = META.replace("2026-07-28", "2031-01-01");
        assert_eq!(read(&[("mcp-protocol-version", "2031-01-01"), M, N], &future).await, unsupported);
        assert_eq!(read(&[("mcp-protocol-version", "1999-01-01")], "{}").await, unsupported);
        let invalid = Err((400, code::INVALID_PARAMS));
        assert_eq!(read(&[V, M], "{}").await, invalid, "no _meta at all");
        assert_eq!(read(&[V, M, N], &META.replace("clientCapabilities\":{}", "clientCapabilities\":1")).await, invalid);
        assert_eq!(read(&[V, M, N], &META.replace("clientCapabilities", "other")).await, invalid);
        assert_eq!(read(&[], r#"{"_meta":[]}"#).await, invalid);
    }

    #[test]
    fn both_media_types_have_to_be_accepted() {
        let status = |accept: &[&str], sent: &str| {
            let mut map = headers(&[("content-type", sent)]);
            for accept in accept {
                map.append("accept", HeaderValue::from_str(accept).expect("header"));
            }
            check_media_types(&map).map_err(|response| response.status().as_u16())
        };
        assert_eq!(status(&["application/json, text/event-stream"], "application/json"), Ok(()));
        assert_eq!(
            status(&["Application/JSON;q=0.5", "text/event-stream; q=1"], "application/json; charset=utf-8"),
            Ok(())
        );
        for bad in [
            "application/json",
            "text/event-stream",
            "*/*",
            "application/json;q=0, text/event-stream",
            "application/json, text/event-stream;q=0.000",
        ] {
            assert_eq!(status(&[bad], "application/json"), Err(406), "{bad}");
        }
        assert_eq!(status(&["application/json, text/event-stream"], "text/plain"), Err(415));
    }

    #[test]
    fn parameters_promoted_to_headers_have_to_agree() {
        let schema = json!({"properties": {"region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"properties": {"n": {"x-mcp-header": "N"}}}}});
        let check = |pairs: &[(&'static str, &str)], arguments: Value| {
            check_params(&headers(pairs), &schema, &arguments).is_ok()
        };
        assert!(check(&[("mcp-param-region", "eu"), ("mcp-param-n", "3")], json!({"region": "eu", "deep": {"n": 3}})));
        assert!(check(&[("mcp-param-region", "=?base64?ZXU=?=")], json!({"region": "eu"})));
        assert!(check(&[], json!({"region": null})) && check(&[], json!({})));
        assert!(!check(&[], json!({"region": "eu"})));
        assert!(!check(&[("mcp-param-region", "eu")], json!({})));
        assert!(!check(&[("mcp-param-region", "us")], json!({"region": "eu"})));
    }

    #[test]
    fn what_a_header_cannot_carry_is_wrapped_and_comes_back() {
        for name in ["plain", "a é", " lead", "tail ", "tab\there", "=?base64?x?=", ""] {
            let wrapped = encode(name);
            assert!(HeaderValue::from_str(&wrapped).is_ok());
            assert_eq!(decode(&wrapped).as_deref(), Some(name));
        }
        assert_eq!(encode("plain"), "plain");
    }
}
