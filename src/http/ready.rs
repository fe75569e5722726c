//! What was asked before, answered before the routes are: a cached resolve costs no more than copying it (DESIGN D15).
//!
//! Only `GET /v1/resolve` comes here, word for word as it came before, of callers the entrance knows; everything else, and every answer
//! that no longer holds, takes the way through the routes.

use axum::body::Body;
use axum::response::Response;
use http::{Method, Request};

use super::entrance::Arrival;
use super::resolve;
use crate::auth::Standing;
use crate::handle::Handle;

/// The path whose answers are kept ready.
const PATH: &str = "/v1/resolve";

/// Ready answers of one node, for its port. Cheap to clone.
#[derive(Clone)]
pub(super) struct Ready {
    handle: Handle,
}

impl Ready {
    pub(super) const fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// The answer, if it is there and the caller may have it.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let query =
            request.uri().query().filter(|_| request.uri().path() == PATH && request.method() == Method::GET)?;
        let standing = request.extensions().get::<Arrival>()?.as_ref().ok().filter(|standing| standing.finds())?;
        let said = self.handle.say(standing, &key(standing, query))?;
        Some(resolve::repeat(said, &self.handle.trace_id(), request.headers()))
    }
}

/// What the answer to a query string depends on.
pub(super) fn key(standing: &Standing, query: &str) -> String {
    let sight = standing.sight_key();
    let mut key = String::with_capacity(query.len() + sight.len() + 2);
    key.extend([query, "\0", sight]);
    key
}
