//! The client port: one TCP listener for MCP, the JSON API, the page and what operators read.
//!
//! It accepts, guards and routes; what an answer means is decided behind [`Handle`]. It is not the federation (QUIC, the same port
//! number over UDP). Always true here: no request reaches a route before its `Host` and `Origin` are checked, no body is read
//! past its limit, and nothing that changes the node's state passes without the admin token.

mod accept;
mod admission;
mod ask;
mod audit;
mod guard;
mod keys;
mod ops;
mod reply;
mod resolve;
mod servers;
mod state;
mod tools;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    routing::{delete, get, post},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::guard::AdminToken;
pub(crate) use self::reply::{BODY_BYTES_MAX, BodyError, read_body};
use crate::{call::Calls, handle::Handle};

/// What the doors of one node need. Cheap to clone.
#[derive(Clone)]
pub struct Doors {
    /// The node behind the doors.
    pub handle: Handle,
    /// What makes calls.
    pub calls: Calls,
    /// What a request has to present before it may change something.
    pub admin_token: AdminToken,
    /// The address that is really bound (a port of 0 has become one).
    pub listen: SocketAddr,
    /// The node's own zone, `.` for the root.
    pub zone: String,
}

type Shared = State<Arc<Doors>>;

/// Serves clients on `listener`, with the routes of `others` beside its own, until `shutdown`, then stops accepting, lets what is in flight finish (at most
/// ten seconds) and returns when every connection is closed.
///
/// # Errors
/// When the listener itself cannot be used any more; a bad connection is not an error.
pub async fn serve(
    listener: TcpListener,
    doors: Doors,
    others: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let listen = doors.listen;
    let routes = routes(doors, others);
    accept::run(listener, routes, listen, shutdown).await
}

/// Every route of the port; `others` are doors with routes of their own (MCP), behind the same guard.
fn routes(doors: Doors, others: Router) -> Router {
    let api = Router::new()
        .route("/v1/resolve", get(resolve::get).post(resolve::post))
        .route("/v1/tools", get(tools::list).post(tools::register))
        .route("/v1/tools/{name}", get(tools::show).delete(tools::unregister))
        .route("/v1/tools/{name}/call", post(tools::call))
        .route("/v1/servers", get(servers::list).post(servers::register))
        .route("/v1/servers/{name}", get(servers::show).delete(servers::unregister))
        .route("/v1/servers/{name}/refresh", post(servers::refresh))
        .route("/v1/zones", get(state::zones))
        .route("/v1/nodes", get(state::nodes))
        .route("/v1/invites", get(admission::invites).post(admission::invite))
        .route("/v1/invites/{id}", delete(admission::revoke_invite))
        .route("/v1/join", post(admission::join))
        .route("/v1/nodes/{node}/revoke", post(admission::revoke_node))
        .route("/v1/zones/{zone}/delegate", post(admission::delegate))
        .route("/v1/zones/{zone}/undelegate", post(admission::undelegate))
        .route("/v1/status", get(state::status))
        .route("/v1/keys", get(keys::list))
        .route("/v1/keys/rotate", post(keys::rotate))
        .route("/v1/audit", get(audit::read))
        .route("/v1/audit/verify", get(audit::verify))
        .route("/livez", get(ops::livez))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics))
        .route("/", get(ops::page))
        .with_state(Arc::new(doors));
    api.merge(others).fallback(ops::not_found).method_not_allowed_fallback(ops::method_not_allowed)
}

#[cfg(test)]
mod tests;
