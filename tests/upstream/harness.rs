//! What the tests of this binary share: a set of upstreams, the odd server, its log, and a way to wait.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aop::upstream::{Egress, Secret, ServerSpec, TransportSpec, UpstreamCall, UpstreamEvent, Upstreams};
use bytes::Bytes;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

/// Generous: the machine may be busy. Nothing waits this long when all is well.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The tools of the odd server, byte for byte.
pub(crate) const TOOLS: [&str; 9] = [
    r#"{"x-unknown":{"deep":[1e400,12345678901234567890123]},  "name":"raw","inputSchema":{"type":"object","z":1,"a":2},"execution":{"taskSupport":"optional"}}"#,
    r#"{"name":"hologram","description":"gr\u00fc\u00dfe \/ hi","inputSchema":{"type":"object"}}"#,
    r#"{"name":"slow","inputSchema":{"type":"object"}}"#,
    r#"{"name":"die","inputSchema":{"type":"object"}}"#,
    r#"{"name":"fail","inputSchema":{"type":"object"}}"#,
    r#"{"name":"grow","inputSchema":{"type":"object"}}"#,
    r#"{"name":"empty","inputSchema":{"type":"object"}}"#,
    r#"{"name":"big","inputSchema":{"type":"object"}}"#,
    r#"{"name":"region","inputSchema":{"type":"object","properties":{"r":{"type":"string","x-mcp-header":"Region"}}}}"#,
];
pub(crate) const GROWN: &str = r#"{"name":"grown","inputSchema":{"type":"object"}}"#;
pub(crate) const HOLOGRAM: &str = r#"{ "content":[{"type":"hologram","voxels":12345678901234567890123, "z":1, "a":"\u00e9"}],"isError":false,"zz":{"unknown":1.10} }"#;
pub(crate) const FAILURE: &str = r#"{"code":-32099,"message":"no such luck","data":{"b":1,"a":[ 1e400 ]},"odd":true}"#;
/// Arguments that any re-serialisation would change.
pub(crate) const ODD_ARGUMENTS: &str = r#"{ "z":12345678901234567890123,"a" : 1.10,  "e":1e400, "t":"\u00e9\/" }"#;

/// Which way of opening a conversation the odd server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Initialize,
    Discover,
}

impl Era {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Discover => "discover",
        }
    }

    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::Initialize => "2025-11-25",
            Self::Discover => "2026-07-28",
        }
    }
}

pub(crate) const ERAS: [Era; 2] = [Era::Initialize, Era::Discover];

/// Upstreams and what they tell.
pub(crate) struct Bench {
    pub(crate) upstreams: Upstreams,
    events: mpsc::Receiver<UpstreamEvent>,
}

impl Bench {
    /// As on a node that listens on loopback.
    pub(crate) fn new() -> Self {
        Self::with(Egress { loopback_implied: true })
    }

    pub(crate) fn with(egress: Egress) -> Self {
        let (sender, events) = mpsc::channel(64);
        Self { upstreams: Upstreams::new(sender, egress), events }
    }

    pub(crate) async fn event(&mut self) -> UpstreamEvent {
        timeout(SOON, self.events.recv()).await.expect("an event in time").expect("the upstreams live")
    }

    pub(crate) fn no_event(&mut self) {
        if let Ok(event) = self.events.try_recv() {
            panic!("nothing should have been told, but: {event:?}");
        }
    }

    pub(crate) async fn call(
        &self,
        tool: &str,
        arguments: &'static str,
    ) -> Result<Bytes, aop::upstream::UpstreamError> {
        self.upstreams.call("odd", call(tool, arguments)).await
    }
}

pub(crate) fn call(tool: &str, arguments: &'static str) -> UpstreamCall {
    UpstreamCall {
        tool: tool.to_owned(),
        arguments: Bytes::from_static(arguments.as_bytes()),
        extra: Vec::new(),
        timeout: SOON,
        progress: None,
    }
}

/// The odd server's log.
pub(crate) struct Log {
    dir: TempDir,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(self.path()).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|seen| *seen == line).count()
    }

    pub(crate) async fn wait_for(&self, start: &str) -> String {
        eventually(start, || self.lines().into_iter().rfind(|line| line.starts_with(start))).await
    }

    pub(crate) async fn wait_for_count(&self, line: &str, count: usize) {
        eventually(line, || (self.count(line) >= count).then_some(())).await;
    }
}

/// Looks until there is something to see.
pub(crate) async fn eventually<T>(what: impl Debug, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    let mut look_again = tokio::time::interval(Duration::from_millis(5));
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "never seen: {what:?}");
        look_again.tick().await;
    }
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn odd_server() -> String {
    repository().join("tests/fixtures/odd_server.py").display().to_string()
}

/// The odd server as a child, logging to `log`.
pub(crate) fn odd_stdio(era: Era, log: &Log, flags: &[&str]) -> ServerSpec {
    let path = log.path().display().to_string();
    let mut command =
        ["python3", &odd_server(), "stdio", "--era", era.name(), "--log", &path].map(str::to_owned).to_vec();
    command.extend(flags.iter().map(|flag| (*flag).to_owned()));
    stdio("odd", command, BTreeMap::new())
}

pub(crate) fn stdio(name: &str, command: Vec<String>, env: BTreeMap<String, Secret>) -> ServerSpec {
    spec(name, TransportSpec::Stdio { command, env, cwd: None })
}

pub(crate) fn http(url: String, headers: BTreeMap<String, Secret>) -> ServerSpec {
    spec("odd", TransportSpec::Http { url, headers })
}

fn spec(name: &str, transport: TransportSpec) -> ServerSpec {
    ServerSpec { name: name.to_owned(), transport, replica: false, allow_private: false, tags: Vec::new() }
}

/// The odd server as an HTTP server of its own.
pub(crate) struct OddHttp {
    process: Child,
    pub(crate) port: u16,
}

impl OddHttp {
    pub(crate) async fn start(era: Era, log: &Log, port: u16, flags: &[&str]) -> Self {
        let already = log.lines().iter().filter(|line| line.starts_with("listening ")).count();
        let mut command = Command::new("python3");
        command.args([&odd_server(), "http", "--era", era.name(), "--port", &port.to_string(), "--log"]);
        command.arg(log.path()).args(flags).kill_on_drop(true);
        let process = command.spawn().expect("python3 starts");
        let started = || log.lines().into_iter().filter(|line| line.starts_with("listening ")).nth(already);
        let line = eventually("listening", started).await;
        let port = line.trim_start_matches("listening ").parse().expect("a port");
        Self { process, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    pub(crate) async fn kill(mut self) {
        self.process.kill().await.expect("it was running");
    }
}
