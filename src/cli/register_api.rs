//! Tools of a file that have an `endpoint`: gathered into servers of kind `api`, as `POST /v1/servers` takes them.
//!
//! What must hold: nothing of a file is registered before every definition in it was understood.

use std::collections::BTreeMap;
use std::path::Path;

use aop_proto::error::{Kind, Problem};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::register::{body_of, check_url, grant};
use super::register_file::reference;
use crate::config::{Secret, Transport, with_schemas};
use crate::upstream::{ApiTool, check_tools};

/// What such a tool says besides what it is.
#[derive(Deserialize)]
struct Line {
    server: String,
    endpoint: String,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    replica: bool,
    #[serde(default)]
    allow_private: bool,
    #[serde(flatten)]
    tool: Map<String, Value>,
}

/// A server, as it is gathered.
struct Gathered {
    url: String,
    headers: BTreeMap<String, Secret>,
    replica: bool,
    allow_private: bool,
    tools: Vec<ApiTool>,
}

/// Takes the tools that have an endpoint out of `lines`, server by server.
///
/// # Errors
/// `Usage`, naming the tool that cannot be understood.
pub(crate) fn servers(lines: &mut Vec<String>, base: &Path) -> Result<Vec<(String, Value)>, Problem> {
    let mut servers: BTreeMap<String, Gathered> = BTreeMap::new();
    let mut rest = Vec::new();
    for line in lines.drain(..) {
        // Of a catalogue of thousands nearly none has one.
        let value: Option<Value> = line.contains("\"endpoint\"").then(|| serde_json::from_str(&line).ok()).flatten();
        match value.filter(|value| value.get("endpoint").is_some()) {
            Some(value) => {
                let name = value["name"].as_str().unwrap_or_default().to_owned();
                take(value, base, &mut servers).map_err(|why| wrong(&format!("the tool `{name}` {why}")))?;
            }
            None => rest.push(line),
        }
    }
    *lines = rest;
    servers.into_iter().map(|(name, server)| Ok((name.clone(), server.body(&name, base)?))).collect()
}

fn wrong(why: &str) -> Problem {
    Problem::new(Kind::Usage, why.to_owned()).hint("aop register file --help")
}

fn take(value: Value, base: &Path, servers: &mut BTreeMap<String, Gathered>) -> Result<(), String> {
    let mut line: Line = serde_json::from_value(value).map_err(|error| format!("cannot be understood: {error}"))?;
    let (url, path) = cut(&line.endpoint);
    let url = check_url(url)
        .map_err(|_| format!("has the endpoint `{}`, which is no http:// or https:// address", line.endpoint))?;
    if line.tool.insert("path".to_owned(), path.into()).is_some() {
        return Err("has an `endpoint`, of which the path is a part; leave `path` out".to_owned());
    }
    let tool: ApiTool =
        serde_json::from_value(Value::Object(line.tool)).map_err(|error| format!("cannot be understood: {error}"))?;
    let Line { server, headers, replica, allow_private, .. } = line;
    let usual = || Gathered { url: url.clone(), headers: BTreeMap::new(), replica, allow_private, tools: Vec::new() };
    let gathered = servers.entry(server.clone()).or_insert_with(usual);
    if gathered.url != url {
        return Err(format!(
            "is at {url}, and another one of `{server}` at {}: a server is at one address, so give them two names",
            gathered.url
        ));
    }
    for (key, value) in headers {
        let secret = reference(&value, base).map_err(|why| format!("has a header {key} that cannot be used: {why}"))?;
        if gathered.headers.insert(key.clone(), secret.clone()).is_some_and(|former| former != secret) {
            return Err(format!("has another {key} than another one of `{server}`: a server has one"));
        }
    }
    gathered.replica |= replica;
    gathered.allow_private |= allow_private;
    gathered.tools.push(tool);
    Ok(())
}

/// An endpoint as the address of its server and what is below.
fn cut(endpoint: &str) -> (&str, &str) {
    let host = endpoint.find("://").map_or(0, |at| at + 3);
    let end = endpoint[host..].find(['/', '?', '#']).map_or(endpoint.len(), |at| host + at);
    endpoint.split_at(end)
}

impl Gathered {
    fn body(mut self, name: &str, base: &Path) -> Result<Value, Problem> {
        with_schemas(&mut self.tools, base)
            .and_then(|()| check_tools(&self.tools))
            .map_err(|why| wrong(&format!("{name}: {why}")))?;
        let Self { url, headers, replica, allow_private, tools } = self;
        let mut body = body_of(&Transport::Api { url, headers, tools }, Some(name), replica);
        grant(&mut body, allow_private);
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(tools: &[Value]) -> Result<Vec<(String, Value)>, String> {
        let mut lines: Vec<String> = tools.iter().map(Value::to_string).collect();
        servers(&mut lines, Path::new("/srv")).map_err(|problem| problem.message)
    }

    #[test]
    fn tools_with_an_endpoint_are_gathered_into_their_servers() {
        let takes = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}});
        let get = json!({"name": "get", "server": "shop", "endpoint": "https://shop.example/items/{id}?full=1", "method": "GET",
            "inputSchema": takes, "tags": ["shop"], "headers": {"Authorization": "env:SHOP", "X": "${OTHER}"}});
        let put = json!({"name": "put", "server": "shop", "endpoint": "https://shop.example/items", "allow_private": true,
            "headers": {"K": "@key"}});
        let listed = json!({"name": "a", "server": "b", "description": "has \"endpoint\" in it"});
        let mut lines: Vec<String> = [&get, &listed, &put].map(Value::to_string).into();
        let servers = servers(&mut lines, Path::new("/srv")).expect("they fit");
        assert_eq!(lines, [listed.to_string()]);
        let wanted = json!({"kind": "api", "as": "shop", "url": "https://shop.example", "replica": false, "allow_private": true,
            "headers": {"Authorization": {"env": "SHOP"}, "K": {"file": "/srv/key"}, "X": {"env": "OTHER"}},
            "tools": [{"name": "get", "inputSchema": takes, "tags": ["shop"], "method": "GET", "path": "/items/{id}?full=1"},
                {"name": "put", "path": "/items"}]});
        assert_eq!(servers, [("shop".to_owned(), wanted)]);
    }

    #[test]
    fn what_cannot_be_called_is_named() {
        let tool = |more: Value| {
            let mut tool = json!({"name": "x", "server": "s", "endpoint": "http://h/x"});
            tool.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
            tool
        };
        for (wrong, why) in [
            (tool(json!({"endpoint": "ftp://h/x"})), "no http:// or https://"),
            (tool(json!({"endpoint": "/x"})), "no http:// or https://"),
            (tool(json!({"endpoint": 7})), "cannot be understood"),
            (tool(json!({"endpoint": "http://h/{id}"})), "no such property"),
            (tool(json!({"method": "FETCH"})), "`FETCH`"),
            (tool(json!({"inputShema": {}})), "inputShema"),
            (tool(json!({"zone": "lab"})), "zone"),
            (tool(json!({"path": "/y"})), "leave `path` out"),
            (tool(json!({"headers": {"K": "env:"}})), "header K"),
            (tool(json!({"inputSchema": "nowhere.json"})), "nowhere.json"),
            (json!({"name": "x", "endpoint": "http://h/x"}), "server"),
        ] {
            let said = of(std::slice::from_ref(&wrong)).expect_err(&wrong.to_string());
            assert!(said.contains(why) && said.contains('x'), "{said}");
        }
        let two = [tool(json!({})), tool(json!({"name": "y", "endpoint": "http://other/y"}))];
        assert!(of(&two).is_err_and(|said| said.contains("http://other")));
        let two = [tool(json!({"headers": {"K": "a"}})), tool(json!({"name": "y", "headers": {"K": "b"}}))];
        assert!(of(&two).is_err_and(|said| said.contains("another K")));
        assert!(of(&[tool(json!({})), tool(json!({}))]).is_err_and(|said| said.contains("twice")));
    }
}
