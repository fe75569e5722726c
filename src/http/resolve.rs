//! `/v1/resolve`: names and words to tools.
//!
//! How old an answer is, how long it still holds and how long it took are headers; of these the body has each result's own age and life,
//! which `ETag` leaves out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_proto::access::Caller;
use axum::{
    body::Body,
    extract::{Extension, State},
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::join_all;
use serde::Serialize;
use serde_json::json;

use super::{
    Doors, Shared,
    ask::{self, Asked},
    ready,
    reply::{self, Reply},
};
use crate::{
    answers::{Resolution, Said, Show, put_number},
    auth::Standing,
    handle::Ask,
    telemetry::{TRACEPARENT, told},
};

/// The id of no span. Source: W3C Trace Context §3.2.2.4.
const NO_SPAN: &str = "0000000000000000";
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// `GET /v1/resolve?q=…`
pub(super) async fn get(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Extension(standing): Extension<Arc<Standing>>,
    uri: Uri,
    headers: HeaderMap,
) -> Reply {
    let asked = ask::from_pairs(ask::pairs(&uri)?)?;
    let key = uri.query().map(|query| ready::key(&standing, query));
    answer(&doors, &caller, &standing, asked, key, &headers).await
}

/// `POST /v1/resolve` with the same names in a JSON object.
pub(super) async fn post(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Extension(standing): Extension<Arc<Standing>>,
    request: Request<Body>,
) -> Reply {
    let headers = request.headers().clone();
    let asked = ask::from_body(reply::read_json(request).await?)?;
    answer(&doors, &caller, &standing, asked, None, &headers).await
}

async fn answer(
    doors: &Doors,
    caller: &Caller,
    standing: &Standing,
    asked: Asked,
    key: Option<String>,
    headers: &HeaderMap,
) -> Reply {
    let mut asked = asked;
    asked.how.no_cache |= wants_none_kept(headers);
    if asked.batch {
        return Ok(many(doors, caller, standing, &asked).await);
    }
    let query = asked.queries.pop().unwrap_or_default();
    let ask = Ask { query, ..asked.how };
    single(doors, (caller, standing), ask, asked.show, key, headers).await
}

async fn single(
    doors: &Doors,
    (caller, standing): (&Caller, &Standing),
    ask: Ask,
    show: Show,
    key: Option<String>,
    headers: &HeaderMap,
) -> Reply {
    let (started, age_max, no_cache) = (Instant::now(), ask.age_max(), ask.no_cache);
    let resolution = doors.handle.resolve(caller, ask).await?;
    // A trace is about this very request, so it is never the same answer twice.
    let (key, etag) = match show.trace {
        true => (None, None),
        false => (key.filter(|_| !no_cache), quoted(&resolution.etag)),
    };
    if let Some(key) = key {
        doors.handle.make_ready(standing, key, &resolution, age_max, |it| serde_json::to_string(&it.shown(show)).ok());
    }
    // One that was kept took its time when somebody else asked.
    let times = Times { took: started.elapsed(), ..Times::of(&resolution) };
    Ok(sent(headers, times, etag, &resolution.trace_id, || resolution.shown(show)))
}

/// An answer with what changes from one request to the next as headers; without its body for whoever has that already.
pub(super) fn sent<B: Serialize>(
    headers: &HeaderMap,
    times: Times,
    etag: Option<HeaderValue>,
    trace_id: &str,
    body: impl FnOnce() -> B,
) -> Response {
    let mut response = match &etag {
        Some(etag) if is_known(headers, etag) => StatusCode::NOT_MODIFIED.into_response(),
        _ => reply::ok(&body()),
    };
    tell(response.headers_mut(), times, etag, trace_id);
    response
}

/// An answer that was given before, as it is now.
pub(super) fn repeat(said: Said, trace_id: &str, headers: &HeaderMap) -> Response {
    let times = Times { age: said.age, ttl: said.ttl, took: said.took };
    let etag = HeaderValue::from_maybe_shared(said.etag).ok();
    let mut response = match &etag {
        Some(etag) if is_known(headers, etag) => StatusCode::NOT_MODIFIED.into_response(),
        _ => reply::json_bytes(said.body),
    };
    tell(response.headers_mut(), times, etag, trace_id);
    response
}

/// A batch answers every query by itself: one that fails does not take the others with it. What each answer depends on is the query, what
/// all of the batch say alike, and what the caller may find.
async fn many(doors: &Doors, caller: &Caller, standing: &Standing, asked: &Asked) -> Response {
    let started = Instant::now();
    // What lies ready is copied at once; only the rest waits, and each for itself.
    let lies_ready = |key: &String| doors.handle.say(standing, key).map(|said| said.body);
    let found = asked.queries.iter().map(|query| {
        let key = (!asked.show.trace && !asked.how.no_cache).then(|| batch_key(standing, asked, query));
        key.as_ref().and_then(lies_ready).ok_or((query, key))
    });
    let mut answers: Vec<Result<Bytes, _>> = found.collect();
    let missing = answers.iter_mut().filter_map(|answer| answer.is_err().then_some(answer));
    join_all(missing.map(async |answer| {
        if let Err((query, key)) = answer {
            *answer = Ok(one_of_many(doors, caller, standing, asked, query, key.take()).await);
        }
    }))
    .await;
    let answers: Vec<Bytes> = answers.into_iter().flatten().collect();
    let mut body = BytesMut::with_capacity(answers.iter().map(Bytes::len).sum::<usize>() + answers.len() + 64);
    body.put_slice(b"{\"schema\":\"aop.resolve-batch/1\",\"answers\":[");
    for (at, answer) in answers.iter().enumerate() {
        body.put_slice(if at == 0 { b"" } else { b"," });
        body.put_slice(answer);
    }
    body.put_slice(b"]}");
    let mut response = reply::json_bytes(body.freeze());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SERVER_TIMING, timing(&mut Line::new(), started.elapsed()));
    response
}

/// Whether a request takes nothing from a cache. Source: RFC 9111 §5.2.1.4.
fn wants_none_kept(headers: &HeaderMap) -> bool {
    let said = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    said.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case("no-cache"))
}

/// What the answer to one query of a batch depends on. No query string looks like it.
fn batch_key(standing: &Standing, asked: &Asked, query: &str) -> String {
    ["\0", &asked.how_key, "\0", query, "\0", standing.sight_key()].concat()
}

async fn one_of_many(
    doors: &Doors,
    caller: &Caller,
    standing: &Standing,
    asked: &Asked,
    query: &str,
    key: Option<String>,
) -> Bytes {
    let written = |it: &Resolution| serde_json::to_string(&it.shown(asked.show));
    match doors.handle.resolve(caller, asked.ask(query)).await {
        Ok(resolution) => {
            if let Some(key) = key {
                doors.handle.make_ready(standing, key, &resolution, asked.how.age_max(), |it| written(it).ok());
            }
            written(&resolution).unwrap_or_default().into()
        }
        Err(problem) => json!({"schema": "aop.resolve/1", "query": query, "results": [], "error": told(&problem)})
            .to_string()
            .into(),
    }
}

/// What changes from one request to the next.
pub(super) struct Times {
    pub(super) age: Duration,
    pub(super) ttl: Duration,
    pub(super) took: Duration,
}

impl Times {
    pub(super) const fn of(resolution: &Resolution) -> Self {
        Self { age: resolution.age, ttl: resolution.ttl, took: resolution.took }
    }
}

/// Lifetime, age, cost and trace of an answer, as headers.
fn tell(headers: &mut HeaderMap, times: Times, etag: Option<HeaderValue>, trace_id: &str) {
    let mut line = Line::new();
    // Counted from when it was said, as `Age` is: a cache takes one from the other (RFC 9111 §4.2).
    let life = times.age.as_secs() + times.ttl.as_secs();
    headers.insert(header::CACHE_CONTROL, line.text("private, max-age=").number(life).value());
    // What one caller may see another may not.
    headers.insert(header::VARY, HeaderValue::from_static("authorization"));
    headers.insert(header::AGE, line.number(times.age.as_secs()).value());
    headers.insert(SERVER_TIMING, timing(&mut line, times.took));
    if let Some(etag) = etag {
        headers.insert(header::ETAG, etag);
    }
    if let Some(parent) = traceparent(&mut line, trace_id) {
        headers.insert(TRACEPARENT, parent);
    }
}

fn timing(line: &mut Line, took: Duration) -> HeaderValue {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let (whole, thousandths) = (micros / 1000, micros % 1000);
    let zeros = ["00", "0", ""][usize::from(thousandths > 9) + usize::from(thousandths > 99)];
    line.text("total;dur=").number(whole).text(".").text(zeros).number(thousandths).value()
}

/// Where header values are written, one after the other, in one piece of memory and without the formatter: for an answer that lies ready
/// they would be half of what it costs.
struct Line(BytesMut);

impl Line {
    /// Bytes of all that an answer says.
    const ROOM: usize = 160;

    fn new() -> Self {
        Self(BytesMut::with_capacity(Self::ROOM))
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.0.put_slice(text.as_bytes());
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        put_number(&mut self.0, number);
        self
    }

    /// What was written since the last one.
    fn value(&mut self) -> HeaderValue {
        HeaderValue::from_maybe_shared(self.0.split().freeze()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// W3C trace context: the trace is the resolution's, and its own first span has the id's second half, or the first where that is zero,
/// which no span may be.
fn traceparent(line: &mut Line, trace_id: &str) -> Option<HeaderValue> {
    let valid = trace_id.len() == 32 && trace_id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let span = |trace_id| if str::ends_with(trace_id, NO_SPAN) { &trace_id[..16] } else { &trace_id[16..] };
    valid.then(|| line.text("00-").text(trace_id).text("-").text(span(trace_id)).text("-01").value())
}

/// Weak: ages and lives are in the text too, and count for nothing.
pub(super) fn quoted(etag: &str) -> Option<HeaderValue> {
    let valid = !etag.is_empty() && etag.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    valid.then(|| HeaderValue::try_from(["W/\"", etag, "\""].concat()).ok()).flatten()
}

/// `If-None-Match` compares weakly and takes a list (RFC 9110 §13.1.2).
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    // Hardly anybody asks so.
    if !headers.contains_key(header::IF_NONE_MATCH) {
        return false;
    }
    let Ok(etag) = etag.to_str() else { return false };
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let opaque = etag.trim_start_matches("W/");
    lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/") == opaque)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_etag_is_found_in_lists_and_weak_forms() {
        let etag = quoted("n1-42").expect("etag");
        let known = |value: &'static str| {
            is_known(&HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(value))]), &etag)
        };
        assert!(known("\"n1-42\"") && known("W/\"n1-42\"") && known("\"a\", \"n1-42\"") && known("*"));
        assert!(!known("\"n1-43\"") && !known("n1-42"));
        assert_eq!(etag, "W/\"n1-42\"");
        assert!(quoted("").is_none() && quoted("a b\"").is_none());
    }

    /// A cache takes `Age` from `max-age` (RFC 9111 §4.2): what is left is what lies between them.
    #[test]
    fn an_answer_lives_as_long_after_its_age_as_is_left_of_it() {
        let times =
            |age, ttl| Times { age: Duration::from_millis(age), ttl: Duration::from_millis(ttl), took: Duration::ZERO };
        let mut headers = HeaderMap::new();
        for (age, ttl, told) in [(0, 60_000, "60"), (45_900, 39_900, "84"), (7_000, 0, "7")] {
            tell(&mut headers, times(age, ttl), None, "");
            assert_eq!(headers[header::CACHE_CONTROL], format!("private, max-age={told}"));
        }
    }

    #[test]
    fn the_time_it_took_is_told_to_the_microsecond() {
        for (micros, told) in [(0, "0.000"), (7, "0.007"), (99, "0.099"), (100, "0.100"), (12_034, "12.034")] {
            assert_eq!(timing(&mut Line::new(), Duration::from_micros(micros)), format!("total;dur={told}"));
        }
    }

    #[test]
    fn a_trace_id_becomes_a_trace_context() {
        let parent = traceparent(&mut Line::new(), "0af7651916cd43dd8448eb211c80319c").expect("valid");
        assert_eq!(parent, "00-0af7651916cd43dd8448eb211c80319c-8448eb211c80319c-01");
        let short = traceparent(&mut Line::new(), "0af7651916cd43dd0000000000000000").expect("valid");
        assert_eq!(short, "00-0af7651916cd43dd0000000000000000-0af7651916cd43dd-01");
        assert!(traceparent(&mut Line::new(), "short").is_none());
    }
}
