//! The client port: one TCP listener for MCP, the JSON API, the page and what operators read.
//!
//! It accepts, guards and routes; what an answer means is decided behind [`Handle`], what a caller may do in [`crate::auth`]. It is
//! not the federation (QUIC, the same port number over UDP). Always true here: no request reaches a route before its `Host` and
//! `Origin` are checked and its caller is known, every route names what it asks of him, and no body is read past its limit.

mod accept;
mod admission;
mod ask;
mod audit;
mod cache;
mod calls;
mod entrance;
mod guard;
mod keys;
mod limits;
mod metadata;
mod need;
mod ops;
mod pieces;
mod places;
mod queues;
mod ready;
mod reply;
mod resolve;
mod servers;
mod state;
mod taking;
mod tls;
mod tokens;
mod tools;
mod transfer;
pub mod trust;
mod watch;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    routing::{delete, get, post},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::entrance::{Entrance, PortSettings};
pub use self::limits::{CONNECTION_RATE, CONNECTIONS, CONNECTIONS_PER_ADDRESS, RATE, STRANGER_RATE};
pub(crate) use self::ops::method_not_allowed;
pub(crate) use self::reply::{BODY_BYTES_MAX, challenge, read_body};
pub use self::tls::{TlsError, TlsFiles};

use self::need::{Need, Routes};
use self::ready::Ready;
pub(crate) use self::ready::Repeats;
use crate::{call::Calls, handle::Handle};

/// What the doors of one node need. Cheap to clone.
#[derive(Clone)]
pub struct Doors {
    /// The node behind the doors.
    pub handle: Handle,
    /// What makes calls.
    pub calls: Calls,
    /// What stands before the routes.
    pub entrance: Arc<Entrance>,
    /// The node's own zone, `.` for the root.
    pub zone: String,
}

type Shared = State<Arc<Doors>>;

/// Another door at the same port (MCP), which asks more of its callers itself.
pub struct Other {
    routes: Router,
    repeats: Option<Arc<dyn Repeats>>,
}

impl From<Router> for Other {
    fn from(routes: Router) -> Self {
        Self { routes, repeats: None }
    }
}

impl Other {
    /// Routes of which some answers lie ready.
    pub(crate) fn ready(routes: Router, repeats: Arc<dyn Repeats>) -> Self {
        Self { routes, repeats: Some(repeats) }
    }
}

/// Serves clients on `listener`, with the routes of `other` beside its own, until `shutdown`, then stops accepting, lets what is in flight finish (at most
/// ten seconds) and returns when every connection is closed.
///
/// # Errors
/// When the listener itself cannot be used any more; a bad connection is not an error.
pub async fn serve(
    listener: TcpListener,
    doors: Doors,
    other: impl Into<Other>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let Other { routes: others, repeats } = other.into();
    let (entrance, ready) = (Arc::clone(&doors.entrance), Ready::new(doors.handle.clone(), repeats));
    let routes = routes(doors, others);
    accept::run(listener, routes, ready, entrance, shutdown).await
}

/// Every route of the port with what it asks of its caller; `others` are doors with routes of their own (MCP), which ask more
/// themselves.
fn routes(doors: Doors, others: Router) -> Router {
    use Need::{Admin, Call, Find, Open, Register, See, Use};
    let (auth, zone) = (doors.handle.auth().clone(), doors.handle.view().zone.clone());
    let api = Routes::new(auth.clone(), zone.clone())
        .at(Open, "/livez", get(ops::livez))
        .at(Open, "/readyz", get(ops::readyz))
        .at(Open, metadata::PATH, get(metadata::node))
        .at(Open, metadata::PATH_OF, get(metadata::below))
        .at(Find, "/v1/resolve", get(resolve::get).post(resolve::post))
        .at(Find, "/v1/tools", get(tools::list))
        .at(Find, "/v1/tools/{name}", get(tools::show))
        .at(Find, "/v1/zones", get(state::zones))
        .at(See, "/v1/servers", get(servers::list))
        .at(See, "/v1/servers/{name}", get(servers::show))
        .at(See, "/v1/nodes", get(state::nodes))
        .at(See, "/v1/status", get(state::status))
        .at(Find, "/v1/watch", get(watch::events))
        .at(See, "/v1/cache", get(cache::show))
        .at(Admin, "/v1/cache/flush", post(cache::flush))
        .at(See, "/v1/keys", get(keys::list))
        .at(See, "/v1/queues", get(queues::list))
        .at(Admin, "/v1/queues/{name}", get(queues::show))
        .at(Admin, "/v1/queues/{name}/{act}", post(queues::act))
        .at(Admin, "/v1/queues/{name}/calls/{ticket}", delete(queues::cancel))
        .at(See, "/v1/stats", get(queues::all))
        .at(See, "/v1/stats/{name}", get(queues::of))
        .at(See, "/metrics", get(ops::metrics))
        .at(See, "/", get(ops::page))
        .at(Call, "/v1/tools/{name}/call", post(tools::call))
        .at(Call, "/v1/calls", post(calls::call))
        .at(Register, "/v1/tools", post(tools::register))
        .at(Register, "/v1/tools/{name}", delete(tools::unregister))
        .at(Register, "/v1/servers", post(servers::register))
        .at(Register, "/v1/servers/{name}", delete(servers::unregister))
        .at(Register, "/v1/servers/{name}/refresh", post(servers::refresh))
        .at(Admin, "/v1/keys/rotate", post(keys::rotate))
        .at(Admin, "/v1/audit", get(audit::read))
        .at(Admin, "/v1/audit/verify", get(audit::verify))
        .at(Admin, "/v1/invites", get(admission::invites).post(admission::invite))
        .at(Admin, "/v1/invites/{id}", delete(admission::revoke_invite))
        .at(Admin, "/v1/join", post(admission::join))
        .at(Admin, "/v1/nodes/{node}/revoke", post(admission::revoke_node))
        .at(Admin, "/v1/zones/{zone}/delegate", post(admission::delegate))
        .at(Admin, "/v1/zones/{zone}/undelegate", post(admission::undelegate))
        .at(Admin, "/v1/transfer", get(transfer::export).post(transfer::import))
        .at(Admin, "/v1/transfer/since", post(transfer::since))
        .at(Admin, "/v1/tokens", get(tokens::list).post(tokens::create))
        .at(Admin, "/v1/tokens/{name}", delete(tokens::revoke))
        .done()
        .with_state(Arc::new(doors));
    let others = Routes::new(auth, zone).all(Use, others).done();
    api.merge(others).fallback(ops::not_found).method_not_allowed_fallback(ops::method_not_allowed)
}

#[cfg(test)]
impl Doors {
    /// The doors of a node in memory, zone `research`, with the admin token `t`.
    pub(crate) fn for_tests(settings: &PortSettings) -> Self {
        let handle = Handle::for_tests();
        let metrics = handle.metrics_registry().clone();
        let entrance = Entrance::new(settings, handle.auth().clone(), metrics).unwrap();
        Self {
            calls: Calls::new(handle.clone(), Default::default()).unwrap(),
            handle,
            entrance: Arc::new(entrance),
            zone: "research".into(),
        }
    }
}

#[cfg(test)]
mod tests;
