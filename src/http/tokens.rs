//! `/v1/tokens`: bearer tokens of this node. The secret of one is in the answer that made it, and nowhere after that.

use std::time::Duration;

use aop_proto::access::{Caller, Glob, Grant, Role};
use aop_proto::error::{Kind, Problem};
use aop_proto::name::{ZoneName, check_label};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::reply::{self, Reply};
use crate::auth::{TOKEN_LIFE_MAX, Token};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    role: String,
    zone: Option<String>,
    tool: Option<String>,
    expires_ms: Option<u64>,
}

/// `GET /v1/tokens`
pub(super) async fn list(State(doors): Shared) -> Reply {
    let tokens: Vec<Value> = doors.handle.auth().tokens().iter().map(Token::to_json).collect();
    Ok(reply::ok(&json!({"schema": "aop.tokens/1", "tokens": tokens})))
}

/// `POST /v1/tokens`; `expires_ms` is how long the token lives.
pub(super) async fn create(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Reply {
    let wanted: Wanted = reply::read_json(request).await?;
    let (grant, life) = wanted.grant()?;
    let (token, secret) = doors.handle.create_token(&wanted.name, grant, life, &caller.principal).await?;
    let mut object = json!({"schema": "aop.token/1", "token": secret});
    if let (Some(object), Value::Object(about)) = (object.as_object_mut(), token.to_json()) {
        object.extend(about);
    }
    Ok(reply::json(StatusCode::CREATED, &object))
}

/// `DELETE /v1/tokens/{name}`
pub(super) async fn revoke(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Reply {
    doors.handle.revoke_token(&name, &caller.principal).await?;
    Ok(reply::ok(&json!({"schema": "aop.token-revoked/1", "name": name})))
}

impl Wanted {
    fn grant(&self) -> Result<(Grant, Option<Duration>), Problem> {
        let usage = |message: String| Problem::new(Kind::Usage, message).hint("aop token create --help");
        check_label(&self.name).map_err(|error| usage(format!("a token's name is a label: {error}")))?;
        let role: Role = self.role.parse().map_err(|error: aop_proto::access::Unknown| {
            let near = aop_proto::error::did_you_mean(&self.role, error.known.iter().copied());
            usage(error.to_string()).did_you_mean(near)
        })?;
        if role == Role::Peer {
            return Err(usage("nodes prove who they are with their keys and have no tokens".to_owned()));
        }
        let zone = self.zone.as_deref().map(ZoneName::parse).transpose().map_err(|error| usage(error.to_string()))?;
        if self.tool.as_deref() == Some("") {
            return Err(usage("`tool` is empty; `*` is every tool".to_owned()));
        }
        let tool = self.tool.as_deref().map_or_else(Glob::any, Glob::new);
        let life = self.expires_ms.map(Duration::from_millis);
        if life.is_some_and(|life| life.is_zero() || life > TOKEN_LIFE_MAX) {
            return Err(usage("a token lives between a millisecond and ten years, or until it is revoked".to_owned()));
        }
        Ok((Grant { role, zone, tool }, life))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(body: Value) -> Result<(Grant, Option<Duration>), Problem> {
        serde_json::from_value::<Wanted>(body).expect("the shape").grant()
    }

    #[test]
    fn a_token_is_a_name_a_role_and_its_bounds() {
        let (grant, life) = wanted(json!({"name": "ci", "role": "caller", "zone": "acme", "tool": "search_*",
            "expires_ms": 60_000}))
        .expect("fits");
        assert_eq!((grant.role, life), (Role::Caller, Some(Duration::from_secs(60))));
        assert!(grant.zone.is_some() && !grant.tool.is_any());
        let problem = wanted(json!({"name": "ci", "role": "calller"})).expect_err("no role");
        assert_eq!(problem.did_you_mean, ["caller"]);
        for wrong in [
            json!({"name": "", "role": "reader"}),
            json!({"name": "a b", "role": "reader"}),
            json!({"name": "a", "role": "peer"}),
            json!({"name": "a", "role": "reader", "zone": "a..b"}),
            json!({"name": "a", "role": "reader", "tool": ""}),
            json!({"name": "a", "role": "reader", "zone": ""}),
            json!({"name": "a", "role": "reader", "expires_ms": 0}),
            json!({"name": "a", "role": "reader", "expires_ms": u64::MAX}),
        ] {
            assert_eq!(wanted(wrong.clone()).expect_err(&wrong.to_string()).kind, Kind::Usage);
        }
    }
}
