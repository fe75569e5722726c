//! `POST /v1/calls`: many calls in one request, each answered for itself.

use std::time::Duration;

use aop_proto::access::Caller;
use aop_proto::error::Problem;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{Request, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::Shared;
use super::reply::{self, Reply, read_body};
use super::tools::{CallBody, KEY_HEADER, call_request, called, key_in};
use crate::call::{CallRequest, check_many};
use crate::telemetry::told;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManyBody<'a> {
    #[serde(borrow)]
    calls: Vec<&'a RawValue>,
    timeout_ms: Option<u64>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneCall<'a> {
    name: String,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    def_hash: Option<String>,
    idempotency_key: Option<String>,
    priority: Option<u8>,
}

/// `POST /v1/calls`: they are made at once. The caller going away drops this future, and with it all of them. Under one
/// `Idempotency-Key` the calls have keys of their own: `KEY/1`, `KEY/2` and so on.
pub(super) async fn call(State(doors): Shared, Extension(caller): Extension<Caller>, request: Request<Body>) -> Reply {
    let key = request.headers().get(KEY_HEADER).map(key_in).transpose()?;
    let bytes = read_body(request.into_body()).await?;
    let body: ManyBody<'_> = reply::from_json(&bytes)?;
    check_many(body.calls.len())?;
    let requests: Vec<Result<CallRequest, Problem>> = (1_usize..)
        .zip(&body.calls)
        .map(|(number, raw)| {
            let one: OneCall<'_> = reply::read(raw.get().as_bytes())?;
            let key = one.idempotency_key.or_else(|| key.as_ref().map(|key| format!("{key}/{number}")));
            let of_one = CallBody {
                arguments: one.arguments,
                timeout_ms: None,
                def_hash: one.def_hash,
                idempotency_key: key,
                priority: one.priority,
                dry_run: body.dry_run,
            };
            call_request(caller.clone(), one.name, of_one)
        })
        .collect();
    let names: Vec<String> =
        requests.iter().map(|request| request.as_ref().map(|one| one.name.clone()).unwrap_or_default()).collect();
    let outcomes = doors.calls.call_all(requests, body.timeout_ms.map(Duration::from_millis)).await;
    let ends = outcomes.into_iter().zip(names).map(|(outcome, name)| {
        let end = outcome.and_then(|outcome| called(&outcome, body.dry_run));
        end.unwrap_or_else(|problem| json!({"schema": "aop.call/1", "name": name, "error": told(&problem)}).to_string())
    });
    let ends: Vec<String> = ends.collect();
    let body = format!(r#"{{"schema":"aop.calls/1","results":[{}]}}"#, ends.join(","));
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}
