//! `aop register file`: a catalogue of tools, or the servers of any editor's MCP configuration.
//!
//! Which it is shows in the file itself: lines of tools, a `tools` list, or a map of servers under one of the names editors use.
//! What must hold: every server is tried, a failure of one is told and does not hide the others, and `${VAR}` stays a reference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aop_proto::error::{Kind, Problem};
use clap::Args;
use serde_json::{Map, Value};

use super::client::Request;
use super::output::Exit;
use super::register::{absolute_command, body_of, check_url, grant, print, request, tag};
use super::{Context, editors, register_api, text};
use crate::config::{Secret, Transport};
use crate::upstream::OLD_SSE;

/// Tools of one request; with the next bound it stays far below what a node accepts as a body.
const BATCH_TOOLS: usize = 200;
/// Bytes of one request.
const BATCH_BYTES: usize = 512 << 10;
/// A batch is checked, signed and synced before it is acknowledged.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// The names under which editors keep their servers.
const SERVER_MAPS: [&str; 4] = ["mcpServers", "servers", "context_servers", "mcp_servers"];

/// `aop register file`.
#[derive(Debug, Args)]
pub(crate) struct File {
    /// .jsonl with one tool a line, .json or .toml with `tools`, or an editor's mcp.json; what has an `endpoint` is called there
    file: PathBuf,
}

/// What a file turned out to hold.
#[derive(Debug, PartialEq)]
enum Content {
    Tools(Vec<String>),
    Servers(Vec<(String, Result<Value, Problem>)>),
}

impl File {
    /// Reads the file and registers what it holds.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let shown = self.file.display();
        let text = std::fs::read_to_string(&self.file)
            .map_err(|error| Problem::new(Kind::Usage, format!("{shown} cannot be read: {error}")))?;
        let file = std::env::current_dir().unwrap_or_default().join(&self.file);
        let base = file.parent().map(Path::to_owned).unwrap_or_default();
        match read(&text, &self.file, &base)? {
            Content::Tools(mut tools) => {
                let servers = register_api::servers(&mut tools, &base)?;
                if !servers.is_empty() {
                    let servers = servers.into_iter().map(|(name, body)| (name, Ok(body))).collect();
                    register_servers(servers, context).await?;
                }
                if tools.is_empty() { Ok(Exit::Complete) } else { register_tools(&tools, context).await }
            }
            Content::Servers(servers) => register_servers(servers, context).await,
        }
    }
}

async fn register_servers(
    servers: Vec<(String, Result<Value, Problem>)>,
    context: &mut Context,
) -> anyhow::Result<Exit> {
    let mut first_failure: Option<Problem> = None;
    let total = servers.len();
    let mut failed = 0;
    for (server, body) in servers {
        let ended = match body {
            Ok(body) => context.client.send(&request(&body)).await,
            Err(problem) => Err(problem),
        };
        match ended {
            Ok(reply) => {
                print(&reply, "registered", context)?;
            }
            Err(mut problem) => {
                problem.message = format!("{server}: {}", problem.message);
                if matches!(problem.kind, Kind::NodeUnreachable | Kind::AuthRequired) {
                    return Err(problem.into());
                }
                failed += 1;
                context.out.problem(&problem);
                first_failure.get_or_insert(problem);
            }
        }
    }
    match first_failure {
        None => Ok(Exit::Complete),
        Some(first) => {
            Err(Problem::new(first.kind, format!("{failed} of {} not registered", text::count(total as u64, "server")))
                .into())
        }
    }
}

async fn register_tools(tools: &[String], context: &mut Context) -> anyhow::Result<Exit> {
    let animate = context.out.may_animate();
    let (mut sent, mut registered) = (0usize, 0u64);
    let mut zone = String::new();
    for batch in batches(tools) {
        if animate {
            progress(sent, tools.len());
        }
        let body = format!("{{\"tools\":[{}]}}", batch.join(","));
        let ended = context.client.send(&Request::post(&["tools"], body).timeout(BATCH_TIMEOUT)).await;
        if animate {
            // The bar is gone before anything else is written.
            eprint_raw("\r\x1b[2K");
        }
        let reply = ended.map_err(|mut problem| {
            problem.message = format!("after {} of {} tools: {}", sent, tools.len(), problem.message);
            problem
        })?;
        sent += batch.len();
        let value = reply.value()?;
        registered += value["count"].as_u64().unwrap_or(batch.len() as u64);
        zone = text::clean(value["zone"].as_str().unwrap_or_default());
        if !context.out.for_people() {
            context.out.reply(&reply, Some("tools"), "name")?;
        }
    }
    if context.out.for_people() {
        context.out.data(&format!("registered {} in zone {zone}\n", text::count(registered, "tool")))?;
        context.out.next(&["aop ls".to_owned(), "aop status".to_owned()]);
    }
    Ok(Exit::Complete)
}

/// The lines in groups that fit one request.
fn batches(tools: &[String]) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    for (index, tool) in tools.iter().enumerate() {
        if index > start && (index - start >= BATCH_TOOLS || bytes + tool.len() > BATCH_BYTES) {
            batches.push(&tools[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += tool.len() + 1;
    }
    if start < tools.len() {
        batches.push(&tools[start..]);
    }
    batches
}

fn progress(done: usize, total: usize) {
    const WIDTH: usize = 30;
    let filled = done * WIDTH / total.max(1);
    eprint_raw(&format!("\r[{}{}] {done}/{total} tools", "#".repeat(filled), "·".repeat(WIDTH - filled)));
}

fn eprint_raw(text: &str) {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).ok();
}

/// Finds out what the file holds.
fn read(text: &str, file: &Path, base: &Path) -> Result<Content, Problem> {
    let shown = file.display();
    let wrong = |why: String| Problem::new(Kind::Usage, format!("{shown} {why}")).hint("aop register file --help");
    let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    if matches!(extension.as_str(), "jsonl" | "ndjson") {
        return lines(text).map(Content::Tools).map_err(wrong);
    }
    let value: Value = if extension == "toml" {
        toml::from_str(text).map_err(|error| wrong(format!("is not TOML: {}", error.to_string().trim_end())))?
    } else {
        let plain = editors::without_comments(text);
        match serde_json::from_str(&plain) {
            Ok(value) => value,
            // A catalogue with another extension.
            Err(error) => return lines(text).map(Content::Tools).map_err(|_| wrong(format!("is not JSON: {error}"))),
        }
    };
    if let Some(tools) = value["tools"].as_array().or(value.as_array()) {
        let nameless = tools.iter().position(|tool| tool["name"].as_str().is_none_or(str::is_empty));
        if let Some(index) = nameless {
            return Err(wrong(format!("has no `name` in tool {}", index + 1)));
        }
        return Ok(Content::Tools(tools.iter().map(Value::to_string).collect()));
    }
    if let Some(servers) = SERVER_MAPS.iter().find_map(|key| value[*key].as_object()) {
        let path = std::env::var_os("PATH");
        let one = |(name, server): (&String, &Value)| (name.clone(), server_body(name, server, base, path.as_deref()));
        let enabled =
            |server: &Value| server["disabled"] != Value::Bool(true) && server["enabled"] != Value::Bool(false);
        return Ok(Content::Servers(servers.iter().filter(|(_, server)| enabled(server)).map(one).collect()));
    }
    if value["name"].is_string() {
        return Ok(Content::Tools(vec![value.to_string()]));
    }
    Err(wrong(format!("holds neither `tools` nor one of {}", SERVER_MAPS.map(|key| format!("`{key}`")).join(", "))))
}

/// One tool a line, kept as written; empty lines are skipped.
fn lines(text: &str) -> Result<Vec<String>, String> {
    let mut tools = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        let tool: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| format!("line {number} is not a JSON object: {error}"))?;
        if tool.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(format!("line {number} has no `name`"));
        }
        tools.push(line.trim().to_owned());
    }
    Ok(tools)
}

/// One entry of an editor's map as the body of `POST /v1/servers`.
fn server_body(name: &str, server: &Value, base: &Path, path: Option<&std::ffi::OsStr>) -> Result<Value, Problem> {
    let wrong = |why: &str| Problem::new(Kind::Usage, why.to_owned());
    if ["type", "transport"]
        .iter()
        .any(|key| server[*key].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("sse")))
    {
        return Err(wrong(OLD_SSE).hint("aop register file --help"));
    }
    let replica = server["replica"] == Value::Bool(true);
    let tags: Vec<String> =
        server["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if let Some(url) = ["url", "serverUrl", "httpUrl"].iter().find_map(|key| server[*key].as_str()) {
        let headers =
            references(if server["headers"].is_null() { &server["http_headers"] } else { &server["headers"] });
        let mut body = body_of(&Transport::Http { url: check_url(url)?, headers }, Some(name), replica);
        grant(&mut body, server["allow_private"] == Value::Bool(true));
        tag(&mut body, &tags);
        return Ok(body);
    }
    // Zed once nested the command: {"command": {"path": …, "args": …, "env": …}}.
    let nested = if server["command"].is_object() { &server["command"] } else { server };
    let strings = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut command = match (&nested["command"], &nested["path"]) {
        (Value::String(program), _) | (_, Value::String(program)) => vec![program.clone()],
        (list @ Value::Array(_), _) => strings(list),
        _ => return Err(wrong("has neither `command` nor `url`")),
    };
    command.extend(strings(&nested["args"]));
    let cwd = server["cwd"].as_str().map(|cwd| base.join(cwd));
    let command = absolute_command(&command, cwd.as_deref().unwrap_or(base), path)?;
    let env = references(&nested["env"]);
    let mut body = body_of(&Transport::Stdio { command, env, cwd }, Some(name), replica);
    tag(&mut body, &tags);
    Ok(body)
}

/// Values of `env` or `headers`: `${VAR}` and `${env:VAR}` become references, our own `{"env": …}` and `{"file": …}` stay.
fn references(map: &Value) -> BTreeMap<String, Secret> {
    let one = |value: &Value| match value {
        Value::String(text) => variable(text).unwrap_or_else(|| Secret::Literal(text.clone())),
        other => serde_json::from_value(other.clone()).unwrap_or_else(|_| Secret::Literal(other.to_string())),
    };
    map.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), one(value))).collect()
}

/// `${VAR}` and `${env:VAR}`.
fn variable(text: &str) -> Option<Secret> {
    let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))?;
    let is_one = !name.contains(['$', '{', ':']) || name.starts_with("env:");
    is_one.then(|| Secret::Env { env: name.trim_start_matches("env:").to_owned() })
}

/// The same of a file that is ours, where `env:VAR` and `@FILE` are references as well, and a file is seen from `base`.
///
/// # Errors
/// In words, why it is no value.
pub(crate) fn reference(value: &Value, base: &Path) -> Result<Secret, String> {
    match value {
        Value::String(text) => variable(text).map_or_else(|| Secret::parse(text, base), Ok),
        other => match serde_json::from_value(other.clone()) {
            Ok(Secret::File { file }) => Ok(Secret::File { file: base.join(file) }),
            Ok(secret) => Ok(secret),
            Err(_) => Err("it is neither text nor { env = \"VAR\" } nor { file = \"FILE\" }".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn servers_of(text: &str, name: &str) -> Value {
        match read(text, Path::new(name), Path::new("/")) {
            Ok(Content::Servers(servers)) => servers
                .into_iter()
                .map(|(name, body)| json!([name, body.unwrap_or_else(|p| json!({"error": p.message}))]))
                .collect(),
            other => json!({"error": format!("{other:?}")}),
        }
    }

    #[test]
    fn every_editor_s_map_is_understood() {
        let cursor = r#"{"mcpServers": {"a": {"url": "http://h/mcp", "headers": {"Authorization": "${env:TOKEN}"}},
            "b": {"command": "/bin/sh", "args": ["-c", "x"], "env": {"K": "v", "T": "${T}"}}, "off": {"command": "x", "disabled": true}}}"#;
        assert_eq!(
            servers_of(cursor, "mcp.json"),
            json!([["a", {"kind": "mcp", "url": "http://h/mcp", "headers": {"Authorization": {"env": "TOKEN"}}, "as": "a", "replica": false}],
                ["b", {"kind": "stdio", "command": ["/bin/sh", "-c", "x"], "env": {"K": "v", "T": {"env": "T"}}, "as": "b", "replica": false}]])
        );
        let granted = r#"{"mcpServers": {"a": {"url": "http://10.0.0.7/mcp", "allow_private": true}}}"#;
        assert_eq!(servers_of(granted, "mcp.json")[0][1]["allow_private"], true);
        let old = r#"{"mcpServers": {"a": {"type": "sse", "url": "http://h/sse"}, "b": {"transport": "SSE", "url": "http://h"}}}"#;
        for at in 0..2 {
            let said = servers_of(old, "mcp.json");
            assert!(said[at][1]["error"].as_str().is_some_and(|said| said.contains("HTTP+SSE")), "{said}");
        }
        let tagged = r#"{"mcpServers": {"a": {"url": "http://h/mcp", "tags": ["t"]}}}"#;
        assert_eq!(servers_of(tagged, "mcp.json")[0][1]["tags"], json!(["t"]));
        let vscode = "{\n  // the usual\n  \"servers\": {\"a\": {\"type\": \"http\", \"url\": \"http://h/mcp\"},},\n}";
        assert_eq!(servers_of(vscode, "mcp.json")[0][1]["url"], "http://h/mcp");
        let zed = r#"{"context_servers": {"z": {"command": {"path": "/bin/sh", "args": ["x"]}}}}"#;
        assert_eq!(servers_of(zed, "settings.json")[0][1]["command"], json!(["/bin/sh", "x"]));
        let codex = "[mcp_servers.c]\ncommand = \"/bin/sh\"\nargs = [\"x\"]\nenv = { T = { file = \"/t\" } }\n";
        assert_eq!(servers_of(codex, "config.toml")[0][1]["env"], json!({"T": {"file": "/t"}}));
        assert_eq!(
            servers_of(r#"{"mcpServers": {"n": {}}}"#, "x.json")[0][1]["error"],
            "has neither `command` nor `url`"
        );
    }

    #[test]
    fn catalogues_keep_their_lines() {
        let read = |text: &str, name: &str| read(text, Path::new(name), Path::new("/"));
        let line = r#"{"name": "a",  "n": 1.00}"#;
        assert_eq!(
            read(&format!("{line}\n\n{line}\n"), "c.jsonl"),
            Ok(Content::Tools(vec![line.to_owned(), line.to_owned()]))
        );
        assert_eq!(
            read("{\"name\":\"a\"}\n{\"nam\":1}", "c.jsonl").expect_err("nameless").message,
            "c.jsonl line 2 has no `name`"
        );
        assert!(read("nonsense", "c.json").is_err() && read("{}", "c.json").is_err() && read("[[x", "c.toml").is_err());
        let toml = "[[tools]]\nname = \"a\"\ndescription = \"d\"\n";
        assert_eq!(read(toml, "t.toml"), Ok(Content::Tools(vec![r#"{"name":"a","description":"d"}"#.to_owned()])));
    }

    #[test]
    fn batches_are_bounded_in_number_and_bytes() {
        let tools = vec!["x".repeat(BATCH_BYTES / 2); 5];
        assert_eq!(batches(&tools).iter().map(|b| b.len()).collect::<Vec<_>>(), [1, 1, 1, 1, 1]);
        let tools = vec!["x".to_owned(); BATCH_TOOLS * 2 + 1];
        assert_eq!(batches(&tools).iter().map(|b| b.len()).collect::<Vec<_>>(), [BATCH_TOOLS, BATCH_TOOLS, 1]);
        assert!(batches(&[]).is_empty());
    }
}
