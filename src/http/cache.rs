//! `/v1/cache`: what is kept of answers, and how it is forgotten.

use aop_proto::error::{Kind, Problem};
use aop_proto::name::ZoneName;
use axum::body::Body;
use axum::extract::{Request, State};
use serde::Deserialize;
use serde_json::json;

use super::{
    Shared,
    reply::{self, Reply, read_json},
};

/// What is to be forgotten.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    zone: Option<String>,
}

/// `GET /v1/cache`
pub(super) async fn show(State(doors): Shared) -> Reply {
    Ok(reply::ok(&doors.handle.cache()))
}

/// `POST /v1/cache/flush`
pub(super) async fn flush(State(doors): Shared, request: Request<Body>) -> Reply {
    let which: Which = read_json(request).await?;
    let zone = which.zone.as_deref().map(ZoneName::parse).transpose();
    let zone = zone.map_err(|error| Problem::new(Kind::Usage, error.to_string()).hint("aop cache flush"))?;
    let [l1, l2, l3] = doors.handle.flush_caches(zone.clone()).await?;
    let forgotten = json!({"l1": l1, "l2": l2, "l3": l3});
    Ok(reply::ok(
        &json!({"schema": "aop.cache-flush/1", "zone": zone.as_ref().map(ZoneName::as_str), "forgotten": forgotten}),
    ))
}
