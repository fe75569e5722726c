//! `/.well-known/oauth-protected-resource`: what this node is to authorization servers, and which it believes (RFC 9728).
//!
//! Open to everybody: who was refused finds out here whose token would do. The node gives out no tokens of this kind itself.

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Shared;
use super::reply::{self, Reply};

/// Where it is; a resource with a path has its own below.
pub(super) const PATH: &str = "/.well-known/oauth-protected-resource";
/// The same of one resource.
pub(super) const PATH_OF: &str = "/.well-known/oauth-protected-resource/{*path}";

const SCOPES: [&str; 4] = ["aop:read", "aop:call", "aop:register", "aop:admin"];

/// `GET /.well-known/oauth-protected-resource`
pub(super) async fn node(State(doors): Shared) -> Reply {
    let auth = doors.handle.auth();
    Ok(reply::ok(&metadata(&auth.resource(), &auth.issuers())))
}

/// `GET /.well-known/oauth-protected-resource/mcp`, and any other path of the node
pub(super) async fn below(State(doors): Shared, Path(path): Path<String>) -> Reply {
    let auth = doors.handle.auth();
    Ok(reply::ok(&metadata(&format!("{}/{path}", auth.resource()), &auth.issuers())))
}

fn metadata(resource: &str, issuers: &[String]) -> Value {
    let mut metadata = json!({
        "resource": resource,
        "resource_name": "AOP node",
        "scopes_supported": SCOPES,
        "bearer_methods_supported": ["header"],
    });
    // An empty list may not be said: RFC 9728 §2.
    if !issuers.is_empty() {
        metadata["authorization_servers"] = json!(issuers);
    }
    metadata
}
