//! `/v1/keys`: the keys this node believes, and the rotation of its zone's.

use aop_proto::access::Caller;
use axum::{Extension, extract::State};

use super::{
    Shared,
    reply::{self, Reply},
};

/// `GET /v1/keys`
pub(super) async fn list(State(doors): Shared) -> Reply {
    Ok(reply::ok(&doors.handle.keys()))
}

/// `POST /v1/keys/rotate`
pub(super) async fn rotate(State(doors): Shared, Extension(caller): Extension<Caller>) -> Reply {
    Ok(reply::ok(&doors.handle.rotate_key(&caller.principal).await?))
}
