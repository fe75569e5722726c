//! What was asked before, answered before the routes are: a cached answer costs no more than copying it (DESIGN D15).
//!
//! Only `GET /v1/resolve`, and what the other door at the port keeps ready, comes here, word for word as it came before, of callers the
//! entrance knows; everything else, and every answer that no longer holds, takes the way through the routes, which check all again.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use hyper::body::{Body as _, Incoming};

use super::entrance::Arrival;
use super::{reply, resolve};
use crate::auth::Standing;
use crate::handle::Handle;

/// The path whose answers are kept ready.
const PATH: &str = "/v1/resolve";
/// A longer body is no question that is asked again.
const QUESTION_BYTES_MAX: u64 = 64 * 1024;

/// A door that keeps answers ready.
pub(crate) trait Repeats: Send + Sync {
    /// Whether it would read the body of a POST with these headers to that path, from whoever may find tools.
    fn reads(&self, path: &str, headers: &HeaderMap) -> bool;

    /// What it said to the same request, if that still holds and he may have it. Never an error: those are for the routes to tell.
    fn repeat(&self, standing: &Standing, headers: &HeaderMap, body: &Bytes) -> Option<Response>;
}

/// Ready answers of one node, for its port. Cheap to clone.
#[derive(Clone)]
pub(super) struct Ready {
    handle: Handle,
    other: Option<Arc<dyn Repeats>>,
}

impl Ready {
    pub(super) fn new(handle: Handle, other: Option<Arc<dyn Repeats>>) -> Self {
        Self { handle, other }
    }

    /// The answer, if it is there and the caller may have it.
    ///
    /// # Errors
    /// The request as it came, for the routes.
    pub(super) async fn answer(&self, request: Request<Incoming>, by: &Arrival) -> Result<Response, Request<Body>> {
        if *request.method() == Method::POST {
            return self.repeat(request, by).await;
        }
        self.resolve(&request, by).ok_or_else(|| request.map(Body::new))
    }

    fn resolve<B>(&self, request: &Request<B>, by: &Arrival) -> Option<Response> {
        let query =
            request.uri().query().filter(|_| request.uri().path() == PATH && request.method() == Method::GET)?;
        let standing = finding(by)?;
        // Who says how old an answer may be is heard by the route.
        if request.headers().contains_key(header::CACHE_CONTROL) {
            return None;
        }
        let said = self.handle.say(standing, &key(standing, query))?;
        Some(resolve::repeat(said, &self.handle.trace_id(), request.headers()))
    }

    /// The body is read here only of those for whom the route would read it next.
    async fn repeat(&self, request: Request<Incoming>, by: &Arrival) -> Result<Response, Request<Body>> {
        let is_short = request.body().size_hint().exact().is_some_and(|bytes| bytes <= QUESTION_BYTES_MAX);
        let other =
            self.other.as_ref().filter(|other| is_short && other.reads(request.uri().path(), request.headers()));
        let (Some(other), Some(standing)) = (other, finding(by)) else {
            return Err(request.map(Body::new));
        };
        let (parts, body) = request.into_parts();
        let body = match reply::read_body(body).await {
            Ok(body) => body,
            Err(error) => return Ok(error.into_response()),
        };
        other.repeat(standing, &parts.headers, &body).ok_or_else(|| Request::from_parts(parts, Body::from(body)))
    }
}

/// Who asks, if he is known and may find tools somewhere.
fn finding(by: &Arrival) -> Option<&Standing> {
    by.as_ref().ok().filter(|standing| standing.finds()).map(AsRef::as_ref)
}

/// What the answer to a query string depends on.
pub(super) fn key(standing: &Standing, query: &str) -> String {
    let sight = standing.sight_key();
    let mut key = String::with_capacity(query.len() + sight.len() + 2);
    key.extend([query, "\0", sight]);
    key
}
