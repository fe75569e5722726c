//! `/v1/zones`, `/v1/nodes`, `/v1/status`: what this node knows of the federation, its zone and itself.

use aop_proto::access::Caller;
use axum::extract::{Extension, State};

use super::{
    Shared,
    reply::{self, Reply},
};

/// `GET /v1/zones`
pub(super) async fn zones(State(doors): Shared, Extension(caller): Extension<Caller>) -> Reply {
    Ok(reply::ok(&doors.handle.zones(&caller).await))
}

/// `GET /v1/nodes`
pub(super) async fn nodes(State(doors): Shared) -> Reply {
    Ok(reply::ok(&doors.handle.nodes()))
}

/// `GET /v1/status`
pub(super) async fn status(State(doors): Shared) -> Reply {
    let mut status = doors.handle.status();
    (status["queues"], status["breakers"]) = doors.calls.state();
    Ok(reply::ok(&status))
}
