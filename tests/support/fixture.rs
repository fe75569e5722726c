//! A small MCP server of our own, for what no real one does on request: dying mid-call, hanging, talking garbage.
//!
//! `tests/fixtures/fixture_mcp.py` on the machine's Python, standard library only. It writes down every request it receives, so
//! that a test can say that nothing was sent.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{World, eventually, in_tests, tools};

/// One fixture server's files; what runs it is a node (stdio) or [`Fixture::serve`] (HTTP).
pub(crate) struct Fixture {
    script: &'static str,
    tools: PathBuf,
    journal: PathBuf,
    options: Vec<String>,
}

impl Fixture {
    /// A server that lists its own set of behaviours: see [`behaviours`].
    pub(crate) fn new(world: &World, name: &str) -> Self {
        let tools = world.path(&format!("{name}.tools.json"));
        let journal = world.path(&format!("{name}.journal"));
        let options = vec!["--tools".to_owned(), tools.display().to_string()];
        let fixture = Self { script: "fixtures/fixture_mcp.py", tools, journal, options };
        fixture.list(&behaviours());
        fixture
    }

    /// The server that the official conformance suite asks for, in all revisions.
    pub(crate) fn of_the_suite(world: &World, name: &str) -> Self {
        let journal = world.path(&format!("{name}.journal"));
        Self { script: "fixtures/conformance_server.py", tools: PathBuf::new(), journal, options: Vec::new() }
    }

    /// Lists these tools instead, now and at every later `tools/list`; a running server notices and says so.
    pub(crate) fn list(&self, tools: &[Value]) {
        let new = self.tools.with_extension("new");
        std::fs::write(&new, json!(tools).to_string()).expect("a file of the test's own directory");
        std::fs::rename(&new, &self.tools).expect("the same directory");
    }

    pub(crate) fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// The command that runs it over stdio.
    pub(crate) fn command(&self) -> Vec<String> {
        let mut command = vec![python(), in_tests(self.script).display().to_string()];
        command.extend(["--journal".into(), self.journal.display().to_string()]);
        command.extend(self.options.iter().cloned());
        command
    }

    /// Everything it was asked so far: `{"method", "params", "headers"?}`.
    pub(crate) fn journal(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.journal).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How often a tool was called.
    pub(crate) fn calls(&self, tool: &str) -> usize {
        self.journal().iter().filter(|entry| entry["method"] == "tools/call" && entry["params"]["name"] == tool).count()
    }

    /// Serves it over Streamable HTTP on a port of the system's choice, or on the one given.
    #[track_caller]
    pub(crate) fn serve(&self, world: &World, port: u16) -> HttpServer {
        let words = self.command();
        let mut command = world.command(&words[0]);
        command.args(&words[1..]).args(["--http", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        HttpServer::start(command, "listening on ")
    }
}

/// A server that runs beside the nodes; ends with the test.
pub(crate) struct HttpServer {
    child: Child,
    pub(crate) port: u16,
}

impl HttpServer {
    /// Starts and reads the port from the first line of stdout that begins so.
    #[track_caller]
    fn start(mut command: std::process::Command, announce: &str) -> Self {
        let mut child = command.spawn().expect("a fixture server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let port = lines
            .find_map(|line| line.ok()?.strip_prefix(announce).and_then(|port| port.trim().parse().ok()))
            .expect("the server says its port");
        Self { child, port }
    }

    /// Starts a server that is told its port and listens there after a while.
    #[track_caller]
    pub(crate) fn on_port(mut command: std::process::Command, port: u16) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { child: command.spawn().expect("a server starts"), port };
        eventually("a server listens", Duration::from_secs(30), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|error| error.to_string())
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A tool as a server lists it; `properties` of its input, all of them required.
pub(crate) fn tool(name: &str, description: &str, properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().map(|object| object.keys().collect()).unwrap_or_default();
    json!({"name": name, "description": description,
        "inputSchema": {"type": "object", "properties": properties, "required": required, "additionalProperties": false}})
}

/// What the fixture does on request, by tool name.
pub(crate) fn behaviours() -> Vec<Value> {
    let none = json!({});
    vec![
        tool(
            "echo",
            "Says back the text it is told",
            json!({"text": {"type": "string", "description": "what to say"}}),
        ),
        tool("add", "Adds two whole numbers", json!({"a": {"type": "integer"}, "b": {"type": "integer"}})),
        tool("fail", "Answers that it failed", none.clone()),
        tool("refuse", "Answers with a protocol error", none.clone()),
        tool("die", "Ends its process in the middle of the call", none.clone()),
        tool("hang", "Never answers", none.clone()),
        tool("garbage", "Answers with something that is no message", none.clone()),
        tool("slow", "Answers after two seconds", none.clone()),
        tool("progress", "Reports three steps and answers", none.clone()),
        tool("environment", "Shows the variables it was started with", none),
    ]
}

/// An interpreter: the tools' own where they are installed, because a version manager's shim wants its owner's home.
fn python() -> String {
    let installed = tools::dir().join("py/mcp1/bin/python");
    if installed.exists() { installed.display().to_string() } else { "python3".to_owned() }
}
