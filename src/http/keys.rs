//! `/v1/keys`: the keys this node believes, and the rotation of its zone's.

use aop_proto::access::Principal;
use axum::{extract::State, http::HeaderMap};

use super::{
    Shared,
    guard::require_admin,
    reply::{self, Reply},
};

/// `GET /v1/keys`
pub(super) async fn list(State(doors): Shared) -> Reply {
    Ok(reply::ok(&doors.handle.keys()))
}

/// `POST /v1/keys/rotate`
pub(super) async fn rotate(State(doors): Shared, headers: HeaderMap) -> Reply {
    require_admin(&headers, &doors.admin_token)?;
    Ok(reply::ok(&doors.handle.rotate_key(&Principal::Operator).await?))
}
