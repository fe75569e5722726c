//! `/v1/servers`: the upstream servers this node dials.
//!
//! Only shapes are checked here (a known kind, a command, a URL that is one); whether a server answers is found out behind the
//! handle. A header or variable given as a literal never comes back out of any route.

use std::{collections::BTreeMap, path::PathBuf};

use aop_proto::access::Caller;
use aop_proto::error::{Kind, Problem, did_you_mean};
use axum::{
    body::Body,
    extract::{Extension, Path, State},
    http::{Request, StatusCode},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    reply::{self, Reply},
};
use crate::{
    handle::Registered,
    upstream::{ApiTool, Secret, ServerSpec, ServerStatus, TransportSpec},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpBody {
    #[serde(rename = "kind")]
    _kind: String,
    url: String,
    #[serde(rename = "as", default)]
    name: Option<String>,
    #[serde(default)]
    replica: bool,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    allow_private: bool,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentBody {
    #[serde(rename = "kind")]
    _kind: String,
    url: String,
    #[serde(rename = "as", default)]
    name: Option<String>,
    #[serde(default)]
    replica: bool,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    allow_private: bool,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    #[serde(default)]
    tool: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    input_schema: Option<Value>,
    #[serde(default)]
    output_schema: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiBody {
    #[serde(rename = "kind")]
    _kind: String,
    url: String,
    #[serde(rename = "as", default)]
    name: Option<String>,
    #[serde(default)]
    replica: bool,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    allow_private: bool,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    tools: Vec<ApiTool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StdioBody {
    #[serde(rename = "kind")]
    _kind: String,
    command: Vec<String>,
    #[serde(rename = "as", default)]
    name: Option<String>,
    #[serde(default)]
    replica: bool,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, Secret>,
    #[serde(default)]
    cwd: Option<PathBuf>,
}

/// `GET /v1/servers`
pub(super) async fn list(State(doors): Shared, Extension(caller): Extension<Caller>) -> Reply {
    Ok(reply::ok(&json!({"schema": "aop.servers/1", "servers": doors.handle.servers_for(&caller)})))
}

/// `GET /v1/servers/{name}`
pub(super) async fn show(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Reply {
    let servers = doors.handle.servers_for(&caller);
    let Some(server) = servers.iter().find(|server| server.name.eq_ignore_ascii_case(&name)) else {
        return Err(not_found(&name, &servers).into());
    };
    let mut object = json!({"schema": "aop.server/1"});
    if let (Some(object), Ok(Value::Object(status))) = (object.as_object_mut(), serde_json::to_value(server)) {
        object.extend(status);
    }
    Ok(reply::ok(&object))
}

/// `POST /v1/servers`
pub(super) async fn register(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Reply {
    let spec = spec(reply::read_json(request).await?)?;
    let done = doors.handle.register(&caller, spec).await?;
    Ok(reply::json(StatusCode::CREATED, &registered(&done)))
}

/// `DELETE /v1/servers/{name}`
pub(super) async fn unregister(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Reply {
    doors.handle.may_ask_of_server(&caller, &name)?;
    let servers = doors.handle.servers();
    // A tool's name must not slip through here: this route is about servers, and takes all their tools with them.
    let Some(server) = servers.iter().find(|server| server.name.eq_ignore_ascii_case(&name)) else {
        return Err(not_found(&name, &servers).into());
    };
    let removed = doors.handle.unregister(&caller, &server.name).await?;
    Ok(reply::ok(&json!({"schema": "aop.unregistered/1", "removed": removed})))
}

/// `POST /v1/servers/{name}/refresh`
pub(super) async fn refresh(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Reply {
    let done = doors.handle.refresh(&caller, &name).await?;
    Ok(reply::ok(&registered(&done)))
}

/// The object every registration answers with.
pub(super) fn registered(done: &Registered) -> Value {
    let tools: Vec<Value> = done.tools.iter().map(|(name, id)| json!({"name": name, "id": id})).collect();
    let mut object = json!({"schema": "aop.registered/1", "server": done.server, "zone": done.zone, "count": tools.len(), "tools": tools});
    if !done.left_out.is_empty() {
        let left_out = done.left_out.iter().map(|one| json!({"tool": one.tool, "reason": one.reason}));
        object["left_out"] = left_out.collect();
    }
    if !done.removed.is_empty() {
        object["removed"] = done.removed.clone().into();
    }
    if let Some(replaced) = &done.replaced {
        object["replaced"] = replaced.clone().into();
    }
    object
}

fn not_found(name: &str, servers: &[ServerStatus]) -> Problem {
    Problem::new(Kind::ServerNotFound, format!("no server is called `{name}`"))
        .hint("aop status")
        .did_you_mean(did_you_mean(name, servers.iter().map(|server| server.name.as_str())))
}

/// The body as what is dialled. The name may be empty: then the server's own is taken.
fn spec(body: Value) -> Result<ServerSpec, Problem> {
    let kind = body.get("kind").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "mcp" => {
            let body: HttpBody = fields(body)?;
            check_url(&body.url, "aop register mcp http://127.0.0.1:3001/mcp")?;
            let transport = TransportSpec::Http { url: body.url, headers: body.headers };
            let HttpBody { name, replica, allow_private, tags, .. } = body;
            Ok(ServerSpec { name: name.unwrap_or_default(), transport, replica, allow_private, tags })
        }
        "agent" => {
            let body: AgentBody = fields(body)?;
            check_url(&body.url, "aop register agent http://127.0.0.1:3002")?;
            let AgentBody { url, headers, tool, description, input_schema, output_schema, .. } = body;
            let transport = TransportSpec::Agent { url, headers, tool, description, input_schema, output_schema };
            let AgentBody { name, replica, allow_private, tags, .. } = body;
            Ok(ServerSpec { name: name.unwrap_or_default(), transport, replica, allow_private, tags })
        }
        "api" => {
            let body: ApiBody = fields(body)?;
            check_url(&body.url, "aop register file tools.toml")?;
            let ApiBody { url, headers, tools, name, replica, allow_private, tags, .. } = body;
            let transport = TransportSpec::Api { url, headers, tools };
            Ok(ServerSpec { name: name.unwrap_or_default(), transport, replica, allow_private, tags })
        }
        "stdio" => {
            let body: StdioBody = fields(body)?;
            if body.command.first().is_none_or(String::is_empty) {
                return Err(Problem::new(Kind::Usage, "`command` is empty")
                    .hint("aop register stdio -- npx -y @modelcontextprotocol/server-everything"));
            }
            let transport = TransportSpec::Stdio { command: body.command, env: body.env, cwd: body.cwd };
            let StdioBody { name, replica, tags, .. } = body;
            Ok(ServerSpec { name: name.unwrap_or_default(), transport, replica, allow_private: false, tags })
        }
        other => Err(Problem::new(Kind::Usage, format!("`kind` is one of mcp, agent, api, stdio, not `{other}`"))
            .hint("aop register --help")
            .did_you_mean(did_you_mean(other, ["mcp", "agent", "api", "stdio"].into_iter()))),
    }
}

fn check_url(url: &str, hint: &str) -> Result<(), Problem> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(());
    }
    Err(Problem::new(Kind::Usage, format!("`{url}` is not an http(s) address")).hint(hint))
}

fn fields<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, Problem> {
    serde_json::from_value(body).map_err(|error| {
        Problem::new(Kind::Usage, format!("the body cannot be understood: {error}")).hint("aop register --help")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_server_are_read() {
        let http =
            spec(json!({"kind": "mcp", "url": "http://127.0.0.1:1/mcp", "headers": {"X": {"env": "KEY"}, "Y": "v"}}))
                .expect("mcp");
        assert!(http.name.is_empty() && !http.replica && !http.allow_private);
        let granted = spec(json!({"kind": "mcp", "url": "http://10.0.0.1/mcp", "allow_private": true})).expect("mcp");
        assert!(granted.allow_private);
        assert!(
            matches!(&http.transport, TransportSpec::Http { headers, .. } if headers["X"] == Secret::Env { env: "KEY".into() })
        );
        let stdio = spec(json!({"kind": "stdio", "command": ["a", "b"], "as": "s", "replica": true, "cwd": "/tmp"}))
            .expect("stdio");
        assert_eq!((stdio.name.as_str(), stdio.replica), ("s", true));
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for bad in [
            json!({}),
            json!([]),
            json!({"kind": "sdio", "command": ["a"]}),
            json!({"kind": "stdio", "command": []}),
            json!({"kind": "mcp", "url": "file:///etc/passwd"}),
            json!({"kind": "mcp", "url": "http://a", "header": {}}),
            json!({"kind": "stdio", "command": ["a"], "allow_private": true}),
        ] {
            assert_eq!(spec(bad.clone()).expect_err(&bad.to_string()).kind, Kind::Usage);
        }
        assert_eq!(spec(json!({"kind": "sdio"})).expect_err("typo").did_you_mean, ["stdio"]);
    }
}
