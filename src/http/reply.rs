//! How this door says things: JSON, and problems as RFC 9457 `application/problem+json`.
//!
//! The one mapping from [`Problem`] to HTTP. It adds `type`, `title`, `status` and `detail` (the sentence, as the standard has it)
//! to the object every door shows; what a problem carries for programs stands under `data`.

use std::time::Duration;

use aop_proto::error::{Kind, Problem};
use axum::{
    body::Body,
    http::{HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::telemetry::told;

/// The largest request body of any route (default and maximum).
pub(crate) const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A body that takes longer is given up, so that a trickle cannot hold a connection for ever.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// Headers of a cached answer, and room for what the port adds.
const HEADERS: usize = 12;

/// What a handler returns.
pub(super) type Reply = Result<Response, Failure>;

/// A problem on its way out, with the status where it is another than its kind's.
pub(super) struct Failure(Problem, Option<StatusCode>);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem, None)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self.1 {
            Some(status) => problem_as(&self.0, status),
            None => problem(&self.0),
        }
    }
}

/// The problem with the status its kind has.
pub(super) fn problem(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    problem_as(problem, status)
}

/// The problem with another status than its kind's.
pub(super) fn problem_as(problem: &Problem, status: StatusCode) -> Response {
    let mut object = json!({
        "type": format!("urn:aop:problem:{}", problem.kind.name()),
        "title": problem.kind.name().replace('_', " "),
        "status": status.as_u16(),
        "detail": problem.message,
    });
    if let (Some(object), Value::Object(ours)) = (object.as_object_mut(), told(problem)) {
        for (key, value) in ours {
            object.insert(if key == "detail" { "data".to_owned() } else { key }, value);
        }
    }
    let mut response = json_as(status, &object, "application/problem+json");
    if let Some(challenge) = challenge(problem) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    let seconds = problem.detail.as_ref().and_then(|detail| detail.get("retry_after_s")).and_then(Value::as_u64);
    if let Some(seconds) = seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// What a refused client is told for its authorization server: that a token is needed, is not good, or is not good enough (RFC 6750
/// §3). The words are in the problem's details.
pub(crate) fn challenge(problem: &Problem) -> Option<HeaderValue> {
    let said = |key: &str| problem.detail.as_ref().and_then(|detail| detail.get(key)).and_then(Value::as_str);
    if !(problem.kind == Kind::AuthRequired || (problem.kind == Kind::Forbidden && said("error").is_some())) {
        return None;
    }
    let mut challenge = "Bearer realm=\"aop\"".to_owned();
    for key in ["error", "scope"] {
        if let Some(word) = said(key) {
            challenge.push_str(&format!(", {key}=\"{word}\""));
        }
    }
    HeaderValue::try_from(challenge).ok()
}

/// 200 and `value`.
pub(super) fn ok(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

/// 200 and JSON that was written before; what a cache in between may do with it says whoever sends it.
pub(super) fn json_bytes(body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    // A table that grows is made twice.
    response.headers_mut().reserve(HEADERS);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `status` and `value`; state is never stored by a cache in between.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    json_as(status, value, "application/json")
}

fn json_as(status: StatusCode, value: &impl Serialize, content_type: &'static str) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (
            status,
            [
                (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ],
            body,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "failed to write an answer");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Why a request body could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Larger than [`BODY_BYTES_MAX`].
    #[error("the body is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// Not complete within [`BODY_WITHIN`].
    #[error("the body did not arrive within {} s", BODY_WITHIN.as_secs())]
    Late,
    /// The client went away or sent no valid HTTP.
    #[error("the body broke off")]
    Broken,
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        let (kind, status) = match error {
            BodyError::TooLarge => (Kind::TooLarge, None),
            BodyError::Late => (Kind::Usage, Some(StatusCode::REQUEST_TIMEOUT)),
            BodyError::Broken => (Kind::Usage, None),
        };
        Self(Problem::new(kind, error.to_string()), status)
    }
}

/// For doors that have no problems to tell of before they have read.
impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        };
        (status, format!("{self}\n")).into_response()
    }
}

/// The whole body, within its limits of size and time.
pub(crate) async fn read_body<B>(body: B) -> Result<Bytes, BodyError>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<axum::BoxError>>,
{
    match timeout(BODY_WITHIN, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Err(_) => Err(BodyError::Late),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

/// The whole body as `T`. An empty body is an empty object.
pub(super) async fn read_json<T: serde::de::DeserializeOwned>(request: Request<Body>) -> Result<T, Failure> {
    let bytes = read_body(request.into_body()).await?;
    from_json(&bytes)
}

/// `bytes` as `T`, or a problem that says what is wrong with them.
pub(super) fn from_json<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Failure> {
    let bytes = if bytes.iter().all(u8::is_ascii_whitespace) { b"{}" } else { bytes };
    read(bytes).map_err(Failure::from)
}

/// The same of a part of a body.
pub(super) fn read<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::new(Kind::Usage, format!("the body cannot be understood: {error}")))
}
