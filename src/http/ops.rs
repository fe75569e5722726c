//! What operators and browsers read, and what is said where nothing is.
//!
//! The page is one static file without any data in it: its script reads the same JSON as everybody else and writes text nodes only,
//! so there is nothing on the server side to escape.

use aop_proto::error::{Kind, Problem, did_you_mean};
use axum::{
    extract::State,
    http::{HeaderName, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use super::{Shared, reply};

const PAGE: &str = include_str!("../page/index.html");
const FRAME_OPTIONS: HeaderName = HeaderName::from_static("x-frame-options");

/// The paths a lost caller may have meant.
const PATHS: [&str; 18] = [
    "/mcp",
    "/v1/resolve",
    "/v1/tools",
    "/v1/servers",
    "/v1/zones",
    "/v1/nodes",
    "/v1/status",
    "/v1/stats",
    "/v1/queues",
    "/v1/calls",
    "/v1/keys",
    "/v1/audit",
    "/v1/invites",
    "/v1/tokens",
    "/livez",
    "/readyz",
    "/metrics",
    "/",
];

/// `GET /livez`: the process answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the node can do its work, or says why not.
pub(super) async fn readyz(State(doors): Shared) -> Response {
    match doors.handle.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

/// `GET /metrics`: Prometheus text.
pub(super) async fn metrics(State(doors): Shared) -> Response {
    let all = doors.handle.metrics() + &doors.calls.render_metrics();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], all).into_response()
}

/// `GET /`: the page.
pub(super) async fn page() -> Response {
    (
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            (header::CONTENT_SECURITY_POLICY, policy(PAGE)),
            (header::CACHE_CONTROL, "no-cache".to_owned()),
            (header::REFERRER_POLICY, "no-referrer".to_owned()),
            (FRAME_OPTIONS, "DENY".to_owned()),
        ],
        PAGE,
    )
        .into_response()
}

/// Only the page's own script and style run, named by their hashes, and they talk to this node only.
fn policy(page: &str) -> String {
    let hash = |tag: &str| {
        let inner = page.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")));
        inner.map_or_else(
            || "'none'".to_owned(),
            |(text, _)| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text))),
        )
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
}

/// Any path there is no route for.
pub(super) async fn not_found(method: Method, uri: Uri) -> Response {
    let near = did_you_mean(uri.path(), PATHS.into_iter());
    let problem = Problem::new(Kind::RouteNotFound, format!("nothing is at {method} {}", uri.path()));
    reply::problem(&problem.hint("aop status").did_you_mean(near))
}

/// A route that exists, asked with a method it does not have. `Allow` is added by the router.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let problem = Problem::new(Kind::RouteNotFound, format!("{} cannot be asked with {method}", uri.path()));
    reply::problem_as(&problem, StatusCode::METHOD_NOT_ALLOWED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_reaches_nowhere_else() {
        assert_eq!(PAGE.matches("<script>").count(), 1);
        assert_eq!(PAGE.matches("<style>").count(), 1);
        assert!(!policy(PAGE).contains("-src 'none'; style"), "script and style are found");
        for outside in [
            "http://",
            "https://",
            "//cdn",
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "onclick=",
            "style=\"",
        ] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
    }
}
