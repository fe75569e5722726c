//! `/v1/tools`: what a zone has, one tool in full, calls, and registration by line.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use aop_proto::access::{Action, Caller};
use aop_proto::error::{Kind, Problem};
use axum::{
    body::Body,
    extract::{Extension, Path, State},
    http::{HeaderMap, Request, StatusCode, Uri, header},
    response::IntoResponse,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    Shared, ask,
    pieces::Pieces,
    reply::{self, Reply, read_body},
    resolve::{self, Times},
    servers::registered,
};
use crate::{
    answers::{Hit, Resolution, Show},
    call::{CallOutcome, CallRequest},
    handle::{Ask, Mode},
};

/// Tools of one list: a whole zone, as large as a zone may be by configuration.
const LIST_MAX: usize = 1_000_000;
/// Where a client may put its key instead (IETF draft "The Idempotency-Key HTTP Header Field").
pub(super) const KEY_HEADER: &str = "idempotency-key";
/// `GET /v1/tools?zone=&n=`: this zone, or another one or one below.
pub(super) async fn list(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Reply {
    let (mut zone, mut limit) = (doors.zone.clone(), LIST_MAX);
    for (name, value) in ask::pairs(&uri)? {
        match name.as_str() {
            "zone" => zone = value,
            "n" | "limit" => limit = ask::number(&name, &value, LIST_MAX)?,
            _ => return Err(ask::unknown(&name, &["zone", "n", "limit"]).into()),
        }
    }
    // One more than is told tells whether there are more.
    let ask = Ask { mode: Mode::List, limit: limit.saturating_add(1), zone: Some(zone.clone()), ..Ask::default() };
    let resolution = doors.handle.resolve(&caller, ask).await?;
    let body = || listed(&zone, &resolution, limit);
    // Whoever has just registered something looks for it here: a list is kept to be asked for again, and then said to be the same.
    let times = Times { ttl: Duration::ZERO, ..Times::of(&resolution) };
    let etag = resolve::quoted(&resolution.etag);
    Ok(resolve::sent(&headers, times, etag, &resolution.trace_id, body))
}

/// The first tools of a list, and who was silent when it was made.
fn listed(zone: &str, list: &Resolution, limit: usize) -> Value {
    let tools: Vec<Value> = list.hits.iter().take(limit).map(unranked).collect();
    let mut answer = json!({
        "schema": "aop.tools/1", "zone": zone, "partial": list.partial,
        "zones": {
            "asked": list.asked, "answered": list.answered, "skipped": list.skipped, "silent": list.silent,
            "reasons": list.reasons(),
        },
    });
    if list.hits.len() > limit {
        answer["truncated"] = true.into();
    }
    answer["tools"] = tools.into();
    answer
}

/// A list has no order of merit, so its tools have neither rank nor score.
fn unranked(hit: &Hit) -> Value {
    let mut tool = hit.to_json(Show::default());
    if let Some(members) = tool.as_object_mut() {
        members.shift_remove("rank");
        members.shift_remove("score");
    }
    tool
}

/// `GET /v1/tools/{name}`: everything known about one tool.
pub(super) async fn show(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Reply {
    let started = Instant::now();
    let hit = doors.handle.find(&caller, &name, Action::Discover).await?;
    let mut card = hit.card();
    card["calls"] = doors.calls.about(&caller, &hit);
    // As of a list: how its calls fare may be another thing a moment later.
    let times = Times { age: hit.age, ttl: Duration::ZERO, took: started.elapsed() };
    let etag = resolve::quoted(&mark(&card));
    Ok(resolve::sent(&headers, times, etag, &doors.handle.trace_id(), || card))
}

/// Changes with whatever a reader would notice, ages and lives apart.
fn mark(card: &Value) -> String {
    let mut lasting = card.clone();
    if let Some(members) = lasting.as_object_mut() {
        ["age_ms", "ttl_ms"].into_iter().for_each(|key| drop(members.shift_remove(key)));
    }
    let mut hasher = DefaultHasher::new();
    lasting.to_string().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterBody {
    tools: Vec<Value>,
}

/// `POST /v1/tools`: catalogue lines, each a tool that nothing serves yet.
pub(super) async fn register(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Reply {
    let body: RegisterBody = reply::read_json(request).await?;
    let done = doors.handle.register_tools(&caller, body.tools).await?;
    Ok(reply::json(StatusCode::CREATED, &registered(&done)))
}

/// `DELETE /v1/tools/{name}`
pub(super) async fn unregister(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Reply {
    let removed = doors.handle.unregister(&caller, &name).await?;
    Ok(reply::ok(&json!({"schema": "aop.unregistered/1", "removed": removed})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallBody<'a> {
    #[serde(borrow, default)]
    pub(super) arguments: Option<&'a RawValue>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) def_hash: Option<String>,
    pub(super) idempotency_key: Option<String>,
    pub(super) priority: Option<u8>,
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// A larger result is not copied on its way out, bytes.
const COPIED_BYTES_MAX: usize = 64 * 1024;

/// The answer to a call; `result`, its last member, is the upstream's own bytes.
#[derive(Serialize)]
struct Called<'a> {
    schema: &'static str,
    name: &'a str,
    zone: &'a str,
    served_by: &'a str,
    hops: u32,
    took_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unchecked: Option<&'a str>,
    result: &'a RawValue,
}

impl<'a> Called<'a> {
    fn of(outcome: &'a CallOutcome, result: &'a RawValue) -> Self {
        Self {
            schema: "aop.call/1",
            name: &outcome.name,
            zone: &outcome.zone,
            served_by: &outcome.served_by,
            hops: outcome.hops,
            took_ms: outcome.took.as_secs_f64() * 1e3,
            unchecked: outcome.unchecked.as_deref(),
            result,
        }
    }
}

/// `POST /v1/tools/{name}/call`. The caller going away drops this future, and with it the call.
pub(super) async fn call(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Reply {
    let key = request.headers().get(KEY_HEADER).map(key_in).transpose()?;
    let bytes = read_body(request.into_body()).await?;
    let mut body: CallBody<'_> = reply::from_json(&bytes)?;
    body.idempotency_key = body.idempotency_key.take().or(key);
    let dry_run = body.dry_run;
    let outcome = doors.calls.call(call_request(caller, name, body)?).await?;
    let body = match !dry_run && outcome.result.len() > COPIED_BYTES_MAX {
        true => in_pieces(&outcome)?,
        false => called(&outcome, dry_run)?.into(),
    };
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// How a call ended well, as `aop.call/1`.
///
/// # Errors
/// The upstream's result is not JSON.
pub(super) fn called(outcome: &CallOutcome, dry_run: bool) -> Result<String, Problem> {
    if dry_run {
        // Arguments that nobody could check are neither valid nor not.
        let valid = outcome.unchecked.is_none().then_some(true);
        let mut answer = json!({"schema": "aop.call/1", "dry_run": true, "valid": valid, "name": outcome.name, "zone": outcome.zone});
        if let Some(why) = &outcome.unchecked {
            answer["unchecked"] = why.as_str().into();
        }
        return Ok(answer.to_string());
    }
    written(&Called::of(outcome, raw(&outcome.result)?))
}

/// The header is a string of RFC 8941, in quotes; most send it without. A call whose key cannot be read is not made without one.
pub(super) fn key_in(header: &header::HeaderValue) -> Result<String, Problem> {
    let key = std::str::from_utf8(header.as_bytes())
        .map_err(|_| Problem::new(Kind::Usage, "the header Idempotency-Key is not UTF-8").hint("aop call --help"))?;
    Ok(key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key).to_owned())
}

pub(super) fn call_request(caller: Caller, name: String, body: CallBody<'_>) -> Result<CallRequest, Problem> {
    let arguments = body.arguments.map_or("{}", RawValue::get);
    if !arguments.starts_with('{') {
        return Err(Problem::new(Kind::InvalidArguments, "`arguments` has to be a JSON object")
            .hint(format!("aop call {name} --args '{{}}'")));
    }
    Ok(CallRequest {
        caller,
        arguments: Bytes::copy_from_slice(arguments.as_bytes()),
        name,
        extra: Vec::new(),
        timeout: body.timeout_ms.map(Duration::from_millis),
        key: body.idempotency_key,
        priority: body.priority,
        def_hash: body.def_hash,
        dry_run: body.dry_run,
        progress: None,
    })
}

/// The same of a large result, which is not copied.
fn in_pieces(outcome: &CallOutcome) -> Result<Body, Problem> {
    raw(&outcome.result)?;
    with_result(&Called::of(outcome, RawValue::NULL), &outcome.result)
}

/// `called`, which has no result, with that one.
fn with_result(called: &Called<'_>, result: &Bytes) -> Result<Body, Problem> {
    let mut head = written(called)?.into_bytes();
    head.truncate(head.len() - "null}".len());
    Ok(Body::new(Pieces::new([head.into(), result.clone(), Bytes::from_static(b"}")])))
}

fn raw(result: &[u8]) -> Result<&RawValue, Problem> {
    serde_json::from_slice(result)
        .map_err(|error| Problem::new(Kind::UpstreamFailed, format!("the upstream's result is not JSON: {error}")))
}

fn written(called: &Called<'_>) -> Result<String, Problem> {
    serde_json::to_string(called)
        .map_err(|error| Problem::new(Kind::Internal, format!("the result could not be written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_result_leaves_as_a_small_one_does() {
        use http_body_util::BodyExt as _;

        let result = Bytes::from(format!(r#"{{"x":"{}" }}"#, "x".repeat(COPIED_BYTES_MAX)));
        let called = |result| Called {
            schema: "s",
            name: "n",
            zone: "z",
            served_by: "b",
            hops: 1,
            took_ms: 0.5,
            unchecked: None,
            result,
        };
        let body = with_result(&called(RawValue::NULL), &result).unwrap();
        let expected = written(&called(raw(&result).unwrap())).unwrap();
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(expected.len() as u64));
        assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
    }

    #[test]
    fn a_list_that_was_cut_says_so_and_who_was_silent() {
        let list = Resolution {
            partial: true,
            silent: vec!["geo".to_owned()],
            hits: vec![Hit::default(); 3],
            ..Resolution::default()
        };
        let told = |limit| listed(".", &list, limit);
        assert_eq!([2, 3, 4].map(|limit| told(limit)["truncated"] == true), [true, false, false]);
        let cut = told(2);
        assert_eq!((cut["tools"].as_array().map(Vec::len), &cut["zones"]["silent"]), (Some(2), &json!(["geo"])));
    }

    #[test]
    fn a_key_is_read_or_refused_and_never_left_out() {
        let of = |bytes: &[u8]| key_in(&header::HeaderValue::from_bytes(bytes).unwrap()).map_err(|error| error.kind);
        assert_eq!((of(b"order-17"), of(b"\"order-17\"")), (Ok("order-17".to_owned()), Ok("order-17".to_owned())));
        assert_eq!((of("bücher".as_bytes()), of(b"b\xfccher")), (Ok("bücher".to_owned()), Err(Kind::Usage)));
    }
}
