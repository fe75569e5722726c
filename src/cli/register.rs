//! `aop register`: an upstream MCP server, or a file of them, made part of the zone.
//!
//! What the shell knows and the node does not — the directory one stands in, where a bare command was found — is made absolute
//! here, so that the node finds the same program after a restart. What must hold: a secret given by reference is sent as one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aop_proto::error::{Kind, Problem};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Reply, Request};
use super::output::Exit;
use super::table::{Table, name, plain};
use super::{Context, register_file, text};
use crate::config::{Secret, Transport, schema_in};

/// A package runner may download the server first.
pub(crate) const REGISTER_TIMEOUT: Duration = Duration::from_secs(120);

/// Names of tools that are gone, one by one.
const GONE_SHOWN: usize = 5;

const EXAMPLES: &str = "\
Examples:
  aop register stdio --as everything -- npx -y @modelcontextprotocol/server-everything
  aop register mcp http://127.0.0.1:3001/mcp --header Authorization=env:UPSTREAM_AUTH
  aop register agent http://127.0.0.1:3002
  aop register file ~/.cursor/mcp.json";

const EXAMPLES_AGENT: &str = "\
Examples:
  aop register agent http://127.0.0.1:3002
  aop register agent https://agents.example/summarise --as texts --tool summarise
  aop register agent http://127.0.0.1:3002 --input-schema @takes.json

GET at the address describes the agent, POST below it at /invoke executes. Its
tool takes a task, and perhaps img, imgs and correct_answer; another schema may
say otherwise. What is called task is the agent's goal, the rest its memory.";

const EXAMPLES_MCP: &str = "\
Examples:
  aop register mcp http://127.0.0.1:3001/mcp
  aop register mcp https://tools.example/mcp --as papers --header Authorization=env:PAPERS_AUTH
  aop register mcp http://127.0.0.1:3001/mcp --as papers --replica
  aop register mcp http://127.0.0.1:3001/mcp --as papers --tag science --tag team-a
  aop register mcp http://10.0.0.7:8080/mcp --allow-private";

const EXAMPLES_STDIO: &str = "\
Examples:
  aop register stdio -- npx -y @modelcontextprotocol/server-everything
  aop register stdio --as git -- uvx mcp-server-git --repository .
  aop register stdio --env TOKEN=@/run/secrets/token --cwd /srv -- ./server --stdio";

const EXAMPLES_FILE: &str = r#"Examples:
  aop register file ~/.cursor/mcp.json
  aop register file catalogue.jsonl
  aop register file tools.toml

A tool of a catalogue is listed, and nobody serves it. One with an `endpoint` is
called there, as the plain HTTP request that it is:

  [[tools]]
  server = "weather"
  name = "forecast"
  description = "The weather of the next days"
  method = "GET"                                   # POST unless it says so; PUT, PATCH, DELETE
  endpoint = "https://api.example/forecast/{city}"
  headers = { X-Key = "env:WEATHER_KEY" }          # or @FILE; for all tools of the server
  annotations = { readOnlyHint = true }            # believed: it may be repeated
  tags = ["weather"]
  inputSchema = "forecast.json"                    # or in place

{city} takes that argument. The others go into the query of a GET or DELETE, and
into the JSON body of anything else. To register its server again takes the
place of all its tools."#;

/// Make a server's tools part of the zone
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Register {
    /// An MCP server that answers over HTTP
    #[command(after_help = EXAMPLES_MCP)]
    Mcp(Http),
    /// A plain HTTP agent, as one tool
    #[command(after_help = EXAMPLES_AGENT)]
    Agent(Agent),
    /// An MCP server the node starts and talks to over its standard streams
    #[command(after_help = EXAMPLES_STDIO, override_usage = "aop register stdio [OPTIONS] -- <CMD>...")]
    Stdio(Stdio),
    /// A catalogue of tools, tools with an endpoint, or any editor's MCP configuration
    #[command(after_help = EXAMPLES_FILE)]
    File(register_file::File),
}

/// `aop register mcp`.
#[derive(Debug, Args)]
pub(crate) struct Http {
    /// Where the server answers
    url: String,
    /// Its name here, instead of what it calls itself
    #[arg(long = "as", value_name = "SERVER")]
    name: Option<String>,
    /// Sent with every request; env:VAR and @FILE are read by the node when needed
    #[arg(long, value_name = "K=V | K=env:VAR | K=@FILE")]
    header: Vec<String>,
    /// Several nodes serve this same service
    #[arg(long)]
    replica: bool,
    /// All its tools are found by it, besides their own
    #[arg(long = "tag", value_name = "T")]
    tags: Vec<String>,
    /// It may be at a private address; without this only public ones are reached, and those of this machine from a node that listens on loopback
    #[arg(long)]
    allow_private: bool,
}

/// `aop register agent`.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    #[command(flatten)]
    http: Http,
    /// The tool's name, instead of what the agent calls itself
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// The tool's description, instead of the agent's
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// JSON schema of what the tool takes, instead of the one with a task
    #[arg(long, value_name = "JSON | @FILE")]
    input_schema: Option<String>,
    /// JSON schema of what it answers: of result, success and error, or of the agent's own result where it names no `result`
    #[arg(long, value_name = "JSON | @FILE")]
    output_schema: Option<String>,
}

/// `aop register stdio`.
#[derive(Debug, Args)]
pub(crate) struct Stdio {
    /// Its name here, instead of what it calls itself
    #[arg(long = "as", value_name = "SERVER")]
    name: Option<String>,
    /// Set for the server; env:VAR and @FILE are read by the node when needed
    #[arg(long, value_name = "K=V | K=env:VAR | K=@FILE")]
    env: Vec<String>,
    /// Where it runs
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Several nodes serve this same service
    #[arg(long)]
    replica: bool,
    /// All its tools are found by it, besides their own
    #[arg(long = "tag", value_name = "T")]
    tags: Vec<String>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Register {
    /// Registers and prints the names the tools have now.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let base = std::env::current_dir().unwrap_or_default();
        let body = match self {
            Self::File(file) => return file.run(context).await,
            Self::Mcp(http) => http.body(&base)?,
            Self::Agent(agent) => agent.body(&base)?,
            Self::Stdio(stdio) => stdio.body(&base)?,
        };
        let reply = context.client.send(&request(&body)).await?;
        print(&reply, "registered", context)
    }
}

/// The request that registers one server.
pub(crate) fn request(body: &Value) -> Request {
    Request::post(&["servers"], body.to_string()).timeout(REGISTER_TIMEOUT)
}

impl Http {
    fn body(&self, base: &Path) -> Result<Value, Problem> {
        let url = check_url(&self.url)?;
        let transport = Transport::Http { url, headers: secrets("--header", &self.header, base)? };
        let mut body = body_of(&transport, self.name.as_deref(), self.replica);
        grant(&mut body, self.allow_private);
        tag(&mut body, &self.tags);
        Ok(body)
    }
}

impl Agent {
    fn body(&self, base: &Path) -> Result<Value, Problem> {
        let Http { url, header, name, replica, allow_private, tags } = &self.http;
        let transport = Transport::Agent {
            url: check_url(url)?,
            headers: secrets("--header", header, base)?,
            tool: self.tool.clone(),
            description: self.description.clone(),
            input_schema: schema("--input-schema", self.input_schema.as_deref(), base)?,
            output_schema: schema("--output-schema", self.output_schema.as_deref(), base)?,
        };
        let mut body = body_of(&transport, name.as_deref(), *replica);
        grant(&mut body, *allow_private);
        tag(&mut body, tags);
        Ok(body)
    }
}

impl Stdio {
    fn body(&self, base: &Path) -> Result<Value, Problem> {
        let env = secrets("--env", &self.env, base)?;
        let cwd = self.cwd.as_ref().map(|cwd| base.join(cwd));
        if let Some(cwd) = cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
            return Err(Problem::new(Kind::Usage, format!("--cwd {} is not a directory", cwd.display())));
        }
        let command = absolute_command(&self.command, base, std::env::var_os("PATH").as_deref())?;
        let cwd = cwd.or_else(|| names_a_relative_path(&self.command[1..], base).then(|| base.to_owned()));
        let mut body = body_of(&Transport::Stdio { command, env, cwd }, self.name.as_deref(), self.replica);
        tag(&mut body, &self.tags);
        Ok(body)
    }
}

/// The body of `POST /v1/servers`.
pub(crate) fn body_of(transport: &Transport, name: Option<&str>, replica: bool) -> Value {
    let mut body = json!(transport);
    if let Some(name) = name {
        body["as"] = Value::from(name);
    }
    body["replica"] = Value::from(replica);
    body
}

/// Lets a registration reach private addresses; without a grant nothing is said of it.
pub(crate) fn grant(body: &mut Value, allow_private: bool) {
    if allow_private {
        body["allow_private"] = Value::Bool(true);
    }
}

/// Gives all tools of a registration these tags; without one nothing is said of them.
pub(crate) fn tag(body: &mut Value, tags: &[String]) {
    if !tags.is_empty() {
        body["tags"] = json!(tags);
    }
}

/// Refuses what cannot be a server's address before the node tries it.
pub(crate) fn check_url(url: &str) -> Result<String, Problem> {
    let fits = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if fits {
        return Ok(url.to_owned());
    }
    let problem = Problem::new(Kind::Usage, format!("`{url}` is not an http:// or https:// address"));
    Err(problem.hint("aop register mcp http://127.0.0.1:3001/mcp"))
}

fn secrets(flag: &str, pairs: &[String], base: &Path) -> Result<BTreeMap<String, Secret>, Problem> {
    let wrong = |why: String| Problem::new(Kind::Usage, format!("{flag}: {why}")).hint("aop register --help");
    pairs.iter().map(|pair| Secret::parse_pair(pair, base).map_err(wrong)).collect()
}

/// What stands there as JSON, or in the file behind an `@`.
fn schema(flag: &str, said: Option<&str>, base: &Path) -> Result<Option<Value>, Problem> {
    let read = |said: &str| match said.strip_prefix('@') {
        Some(file) => schema_in(&base.join(file)),
        None => serde_json::from_str(said).map_err(|error| format!("it is not JSON: {error}")),
    };
    let wrong = |why: String| Problem::new(Kind::Usage, format!("{flag}: {why}")).hint("aop register --help");
    said.map(read).transpose().map_err(wrong)
}

/// The command with its program made absolute: a path from where one stands, a bare name from `PATH`.
///
/// Links are not followed: a virtual environment's `python` is one, and works only under its own name.
pub(crate) fn absolute_command(command: &[String], base: &Path, path: Option<&OsStr>) -> Result<Vec<String>, Problem> {
    let Some((program, arguments)) = command.split_first().filter(|(program, _)| !program.is_empty()) else {
        return Err(Problem::new(Kind::Usage, "no command is given").hint("aop register stdio -- uvx mcp-server-time"));
    };
    let found = if program.contains('/') {
        Some(base.join(program)).filter(|file| is_executable(file))
    } else {
        std::env::split_paths(path.unwrap_or_default())
            .map(|dir| base.join(dir).join(program))
            .find(|file| is_executable(file))
    };
    let Some(found) = found else {
        let message = match program.contains('/') {
            true if base.join(program).exists() => format!("`{program}` is not executable"),
            true => format!("there is no `{program}`"),
            false => format!("`{program}` is not in PATH"),
        };
        return Err(Problem::new(Kind::Usage, message).hint("aop register stdio --help"));
    };
    let Some(found) = tidy(&found).to_str().map(str::to_owned) else {
        return Err(Problem::new(Kind::Usage, format!("the path of `{program}` is not UTF-8")));
    };
    Ok(std::iter::once(found).chain(arguments.iter().cloned()).collect())
}

/// The path without `.` components.
fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}

fn is_executable(file: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    }
    #[cfg(not(unix))]
    {
        file.is_file()
    }
}

/// Whether an argument names something that is there, seen from here: the child must then run here too.
fn names_a_relative_path(arguments: &[String], base: &Path) -> bool {
    arguments.iter().any(|argument| {
        let path = argument
            .split_once('=')
            .filter(|(flag, _)| flag.starts_with('-'))
            .map_or(argument.as_str(), |(_, value)| value);
        !path.is_empty() && Path::new(path).is_relative() && base.join(path).exists()
    })
}

/// The tools a registration or refresh answered with.
pub(crate) fn print(reply: &Reply, verb: &str, context: &Context) -> anyhow::Result<Exit> {
    let out = &context.out;
    if !out.for_people() {
        out.reply(reply, Some("tools"), "name")?;
        return Ok(Exit::Complete);
    }
    let value = reply.value()?;
    out.table(&table(&value))?;
    out.talk(&summary(&value, verb));
    for line in left_out(&value).into_iter().chain(gone(&value)) {
        out.talk(&line);
    }
    if let Some(first) = value["tools"][0]["name"].as_str() {
        let first = text::shell_word(&text::clean(first));
        out.next(&[format!("aop show {first}"), "aop ls".to_owned()]);
    }
    Ok(Exit::Complete)
}

fn table(value: &Value) -> Table {
    let mut table = Table::new(&["TOOL", "ID"]);
    for tool in value["tools"].as_array().into_iter().flatten() {
        let word = |key: &str| tool[key].as_str().unwrap_or_default().to_owned();
        table.row(vec![name(word("name")), plain(word("id"))]);
    }
    table
}

/// `left out get_secret: …`, a line for each tool that the node does not take.
fn left_out(value: &Value) -> Vec<String> {
    let word = |one: &Value, key: &str| text::clean(one[key].as_str().unwrap_or_default());
    let lines = value["left_out"].as_array().into_iter().flatten();
    lines.map(|one| format!("left out {}: {}", word(one, "tool"), word(one, "reason"))).collect()
}

/// What is no more: another server of that name, and tools that the server has no more.
fn gone(value: &Value) -> Vec<String> {
    let replaced = value["replaced"].as_str().map(|before| format!("it takes the place of {}", text::clean(before)));
    let removed: Vec<&str> = value["removed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let removed = (!removed.is_empty()).then(|| {
        let more = removed.len().saturating_sub(GONE_SHOWN);
        let names = text::clean(&removed[..removed.len() - more].join(", "));
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{} no more: {names}{more}", text::count(removed.len() as u64, "tool"))
    });
    replaced.into_iter().chain(removed).collect()
}

/// `registered everything: 13 tools in zone research`.
fn summary(value: &Value, verb: &str) -> String {
    let tools = value["tools"].as_array().map_or(0, |tools| tools.len() as u64);
    let server = value["server"].as_str().map(|server| format!(" {}:", text::clean(server))).unwrap_or_default();
    let zone = value["zone"].as_str().map(|zone| format!(" in zone {}", text::clean(zone))).unwrap_or_default();
    format!("{verb}{server} {}{zone}", text::count(value["count"].as_u64().unwrap_or(tools), "tool"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_the_place_of_another_says_so_and_what_is_gone() {
        let names: Vec<String> = (1..=7).map(|number| format!("t{number}.bio.lab")).collect();
        let value = json!({"replaced": "python3 bio.py", "removed": names});
        assert_eq!(
            gone(&value),
            [
                "it takes the place of python3 bio.py",
                "7 tools no more: t1.bio.lab, t2.bio.lab, t3.bio.lab, t4.bio.lab, t5.bio.lab and 2 more"
            ]
        );
        assert!(gone(&json!({"tools": []})).is_empty());
    }

    #[test]
    fn a_command_is_made_absolute_where_it_was_typed() {
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("serve");
        std::fs::write(&program, "#!/bin/sh\n").expect("written");
        #[cfg(unix)]
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("made executable");
        let command = |words: &[&str], path: &OsStr| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            absolute_command(&words, dir.path(), Some(path))
        };
        let expected = vec![program.display().to_string(), "-x".to_owned()];
        assert_eq!(command(&["./serve", "-x"], OsStr::new("")), Ok(expected.clone()));
        assert_eq!(command(&["serve", "-x"], dir.path().as_os_str()), Ok(expected));
        assert_eq!(
            command(&["nothere"], dir.path().as_os_str()).expect_err("absent").message,
            "`nothere` is not in PATH"
        );
        assert!(command(&["./nothere"], OsStr::new("")).is_err() && command(&[], OsStr::new("")).is_err());
    }

    #[test]
    fn the_directory_is_kept_when_an_argument_depends_on_it() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("server.py"), "").expect("written");
        let depends = |words: &[&str]| {
            names_a_relative_path(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>(), dir.path())
        };
        assert!(depends(&["server.py"]) && depends(&["--repository", "."]) && depends(&["--file=server.py"]));
        assert!(!depends(&["-y", "@modelcontextprotocol/server-everything"]) && !depends(&["/etc/hosts"]));
    }

    #[test]
    fn bodies_carry_references_not_secrets() {
        let http = |url: &str, allow_private| {
            let (name, header) = (Some("s".into()), vec!["A=env:B".into()]);
            Http { url: url.into(), name, header, replica: true, tags: Vec::new(), allow_private }
        };
        let mut body =
            json!({"kind": "mcp", "url": "http://h/mcp", "headers": {"A": {"env": "B"}}, "as": "s", "replica": true});
        assert_eq!(http("http://h/mcp", false).body(Path::new("/")).expect("fits"), body);
        body["allow_private"] = json!(true);
        assert_eq!(http("http://h/mcp", true).body(Path::new("/")).expect("fits"), body);
        body["tags"] = json!(["t"]);
        let tagged = Http { tags: vec!["t".into()], ..http("http://h/mcp", true) };
        assert_eq!(tagged.body(Path::new("/")).expect("fits"), body);
        let wrong = http("h/mcp", false);
        assert_eq!(wrong.body(Path::new("/")).expect_err("no scheme").kind, Kind::Usage);
    }

    #[test]
    fn a_registration_is_told_in_one_line() {
        let value = json!({"server": "everything", "zone": "research", "count": 2, "tools": [{"name": "a.everything.research", "id": "everything/a"}]});
        assert_eq!(summary(&value, "registered"), "registered everything: 2 tools in zone research");
        let value = json!({"left_out": [{"tool": "a\u{202e}b", "reason": "it forges\na header"}]});
        assert_eq!(left_out(&value), ["left out ab: it forges a header"]);
    }
}
