//! `/v1/invites`, `/v1/join`, `/v1/nodes/{node}`, `/v1/zones/{zone}`: who may come in, and who is out. All of it is the operator's.

use std::time::Duration;

use aop_proto::access::{Caller, Role};
use aop_proto::error::{Kind, Problem};
use aop_proto::name::ZoneName;
use aop_proto::params::{INVITE_LIFE, INVITE_USES};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Request;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::reply::{self, Reply, read_json};
use crate::invites::Wanted;

/// What is asked of a new invite; everything has a default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NewInvite {
    zone: Option<String>,
    role: Option<String>,
    uses: Option<u32>,
    life_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenInvite {
    token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Why {
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delegated {
    key: String,
    #[serde(default)]
    role: Option<String>,
}

/// `POST /v1/invites`
pub(super) async fn invite(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Reply {
    let asked: NewInvite = read_json(request).await?;
    let own = doors.handle.view().zone.clone();
    let zone = asked.zone.as_deref().map_or(Ok(own), zone_of)?;
    let life = asked.life_ms.map_or(INVITE_LIFE.0, Duration::from_millis);
    check_range("the life of an invite, `--for`,", life, (INVITE_LIFE.1, INVITE_LIFE.2), lasting)?;
    let uses = asked.uses.unwrap_or(INVITE_USES.0);
    check_range("the number of its uses, `--uses`,", uses, (INVITE_USES.1, INVITE_USES.2), |uses| uses.to_string())?;
    let wanted = Wanted { zone, role: role_of(asked.role.as_deref())?, life, uses };
    let issued = doors.handle.invite(&wanted, &caller.principal).await?;
    Ok(reply::ok(&json!({
        "schema": "aop.invite/1", "id": issued.id, "token": issued.token, "zone": wanted.zone.as_str(), "role": wanted.role.name(),
        "uses_max": wanted.uses, "expires_ms": issued.expires_ms, "address": issued.address,
    })))
}

/// `GET /v1/invites`
pub(super) async fn invites(State(doors): Shared) -> Reply {
    Ok(reply::ok(&doors.handle.invites().await))
}

/// `DELETE /v1/invites/{id}`
pub(super) async fn revoke_invite(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Reply {
    doors.handle.revoke_invite(&id, &caller.principal).await?;
    Ok(reply::ok(&json!({"schema": "aop.revoked/1", "invite": id})))
}

/// `POST /v1/join`
pub(super) async fn join(State(doors): Shared, Extension(caller): Extension<Caller>, request: Request<Body>) -> Reply {
    let given: GivenInvite = read_json(request).await?;
    let offer = doors.handle.join(&given.token, &caller.principal).await?;
    Ok(reply::ok(&json!({
        "schema": "aop.join/1", "zone": offer.zone.as_str(), "role": offer.role.name(), "issuer": offer.invitation.issuer.to_string(),
        "issuer_zone": offer.invitation.zone.as_str(), "addresses": offer.addresses,
    })))
}

/// `POST /v1/nodes/{node}/revoke`
pub(super) async fn revoke_node(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path(node): Path<String>,
    request: Request<Body>,
) -> Reply {
    let why: Why = read_json(request).await?;
    let node = doors.handle.revoke_node(&node, &why.reason, &caller.principal).await?;
    Ok(reply::ok(&json!({"schema": "aop.revoked/1", "node": node.to_string()})))
}

/// `POST /v1/zones/{zone}/delegate`
pub(super) async fn delegate(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path(zone): Path<String>,
    request: Request<Body>,
) -> Reply {
    let asked: Delegated = read_json(request).await?;
    let zone = zone_of(&zone)?;
    let key = crate::entropy::unhex(&asked.key).ok_or_else(|| {
        let message = "a zone's key has 64 hexadecimal digits; `aop keys -o wide` shows it at a node of that zone";
        Problem::new(Kind::Usage, message)
    })?;
    let role = role_of(asked.role.as_deref())?;
    doors.handle.delegate(zone.clone(), key, role, &caller.principal).await?;
    Ok(reply::ok(&json!({"schema": "aop.delegated/1", "zone": zone.as_str(), "role": role.name()})))
}

/// `POST /v1/zones/{zone}/undelegate`
pub(super) async fn undelegate(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path(zone): Path<String>,
    request: Request<Body>,
) -> Reply {
    let why: Why = read_json(request).await?;
    let zone = zone_of(&zone)?;
    doors.handle.undelegate(zone.clone(), &why.reason, &caller.principal).await?;
    Ok(reply::ok(&json!({"schema": "aop.revoked/1", "zone": zone.as_str()})))
}

fn zone_of(text: &str) -> Result<ZoneName, Problem> {
    ZoneName::parse(text).map_err(|error| Problem::new(Kind::Usage, error.to_string()).hint("aop zones"))
}

fn role_of(text: Option<&str>) -> Result<Role, Problem> {
    text.map_or(Ok(Role::Peer), str::parse)
        .map_err(|unknown| Problem::new(Kind::Usage, unknown.to_string()).hint("aop invite --role peer"))
}

/// In the largest unit that fits.
fn lasting(time: Duration) -> String {
    let seconds = time.as_secs();
    let (unit, each) = [("d", 86_400), ("h", 3600), ("m", 60)]
        .into_iter()
        .find(|(_, each)| seconds >= *each && seconds.is_multiple_of(*each))
        .unwrap_or(("s", 1));
    format!("{}{unit}", seconds / each)
}

fn check_range<T: PartialOrd + Copy>(
    what: &str,
    value: T,
    (least, most): (T, T),
    show: impl Fn(T) -> String,
) -> Result<(), Problem> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let message = format!("{what} is {}, and may be {} to {}", show(value), show(least), show(most));
    Err(Problem::new(Kind::Usage, message).hint("aop invite --help"))
}
