//! A running `aop-node`: started, found by its `node.json`, killed, stopped, started again on the same data and port.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::ports::free_port;
use super::process::{Ran, run, run_with, wait_until};
use super::raw::{self, Reply};
use super::{World, command_within, eventually, wait};

/// A debug build on a busy machine needs this at worst.
const START: Duration = Duration::from_secs(40);

/// The promise of a graceful stop, with room for a busy machine.
const STOP: Duration = Duration::from_secs(20);

/// How a node will be started.
pub(crate) struct NodeBuilder<'w> {
    world: &'w World,
    name: String,
    data: PathBuf,
    listen: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    namespace: Option<String>,
}

impl<'w> NodeBuilder<'w> {
    pub(crate) fn new(world: &'w World, name: &str) -> Self {
        Self {
            world,
            name: name.to_owned(),
            data: world.path(&format!("node-{name}")),
            listen: format!("127.0.0.1:{}", free_port()),
            arguments: Vec::new(),
            environment: Vec::new(),
            namespace: None,
        }
    }

    /// In a network namespace; so is every command that asks it.
    pub(crate) fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    pub(crate) fn zone(self, zone: &str) -> Self {
        self.args(["--zone", zone])
    }

    pub(crate) fn parent(self, parent: &Node) -> Self {
        self.args(["--parent", &parent.address])
    }

    pub(crate) fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    pub(crate) fn args<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_aop-node");
        let mut command = command_within(self.world.dir.path(), self.namespace.as_deref(), program);
        command.args(["--listen", &self.listen]).arg("--data-dir").arg(&self.data).args(&self.arguments);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Starts and waits until the node says that it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Node {
        let log = self.world.path(&format!("{}.log", self.name));
        let began = Instant::now();
        let (child, state) = launch(self.command(), &self.data, &log);
        let text = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
        Node {
            name: self.name,
            data: self.data,
            log,
            child,
            address: text("listen"),
            id: text("node"),
            zone: text("zone"),
            token_file: PathBuf::from(text("admin_token_file")),
            arguments: self.arguments,
            environment: self.environment,
            namespace: self.namespace,
            world: self.world.dir.path().to_owned(),
            started_in: began.elapsed(),
        }
    }

    /// Starts what is expected to refuse, and waits for its end.
    #[track_caller]
    pub(crate) fn refused(self) -> Ran {
        run(self.command(), None)
    }

    /// Starts, sends these signals one after the other as soon as its store lies there, and waits for its end.
    #[track_caller]
    pub(crate) fn told_early(self, signals: &[Signal]) -> Ran {
        let store = self.data.join("store.redb");
        run_with(self.command(), None, |child| {
            eventually("the store is there", START, || if store.exists() { Ok(()) } else { Err("not yet".to_owned()) });
            signals.iter().for_each(|signal| tell(child, *signal));
        })
    }
}

/// A node that runs until it is killed, stopped or dropped.
pub(crate) struct Node {
    name: String,
    pub(crate) data: PathBuf,
    log: PathBuf,
    child: Child,
    /// `127.0.0.1:PORT`, as `node.json` says.
    pub(crate) address: String,
    pub(crate) id: String,
    pub(crate) zone: String,
    token_file: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    namespace: Option<String>,
    /// The directory of the world it lives in.
    world: PathBuf,
    pub(crate) started_in: Duration,
}

impl Node {
    /// `aop --node ADDRESS …` in this node's world.
    #[track_caller]
    pub(crate) fn aop<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
        run(self.aop_command(arguments), None)
    }

    /// The same command, not yet run.
    pub(crate) fn aop_command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = command_within(&self.world, self.namespace.as_deref(), env!("CARGO_BIN_EXE_aop"));
        command.args(["--node", &self.address]).args(arguments);
        command
    }

    /// Registers a server that this node starts; the object that `aop register` answers with.
    #[track_caller]
    pub(crate) fn register(&self, server: &str, command: &[String]) -> Value {
        self.try_register(server, command, &[]).ok().json()
    }

    /// The same with more flags, whatever comes of it.
    #[track_caller]
    pub(crate) fn try_register(&self, server: &str, command: &[String], flags: &[&str]) -> Ran {
        let mut words = vec!["register", "stdio", "--json", "--as", server];
        words.extend(flags);
        words.push("--");
        words.extend(command.iter().map(String::as_str));
        self.aop(words)
    }

    /// `aop resolve … --json`, whatever comes of it.
    #[track_caller]
    pub(crate) fn try_resolve(&self, query: &str, flags: &[&str]) -> Ran {
        self.aop(["resolve", query, "--json"].into_iter().chain(flags.iter().copied()))
    }

    /// The results of a complete answer.
    #[track_caller]
    pub(crate) fn resolve(&self, query: &str) -> Vec<Value> {
        results(&self.try_resolve(query, &[]).ok().json())
    }

    /// `aop call … --json`, whatever comes of it.
    #[track_caller]
    pub(crate) fn try_call(&self, name: &str, arguments: &Value) -> Ran {
        self.aop(["call", name, "--json", "--args", &arguments.to_string()])
    }

    /// The MCP result of a call that went well.
    #[track_caller]
    pub(crate) fn call(&self, name: &str, arguments: &Value) -> Value {
        let answer = self.try_call(name, arguments).ok().json();
        assert_eq!(answer["schema"], "aop.call/1", "{answer}");
        answer["result"].clone()
    }

    /// The text of the first content of a call that goes well, now or soon.
    #[track_caller]
    pub(crate) fn eventually_says(&self, name: &str, arguments: &Value, text: &str, within: Duration) {
        eventually(&format!("{name} says {text}"), within, || {
            let ran = self.try_call(name, arguments).wanted(0)?;
            let said = ran.json()["result"]["content"][0]["text"].clone();
            if said == text { Ok(()) } else { Err(format!("{said}")) }
        });
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(&self.token_file).expect("the admin token's file").trim().to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        raw::request(&self.address, "GET", path, &[], b"")
    }

    /// A request as this machine's user may make it: JSON, with the admin token.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        let authorization = format!("Bearer {}", self.token());
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        raw::request(&self.address, method, path, &headers, body.to_string().as_bytes())
    }

    /// As by power cut: nothing is told, nothing is flushed.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// As an operator stops it; the exit status.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        let status = wait_until(&mut self.child, Instant::now() + STOP);
        status.unwrap_or_else(|| panic!("{} does not stop within {} s\n{}", self.name, STOP.as_secs(), self.log_tail()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        tell(&self.child, signal);
    }

    /// On the same data and the same port, as a service manager starts it again.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.kill();
        let program = env!("CARGO_BIN_EXE_aop-node");
        let mut command = command_within(&self.world, self.namespace.as_deref(), program);
        command.args(["--listen", &self.address]).arg("--data-dir").arg(&self.data).args(&self.arguments);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        let began = Instant::now();
        let (child, state) = launch(command, &self.data, &self.log);
        self.child = child;
        self.started_in = began.elapsed();
        assert_eq!(state["node"].as_str(), Some(self.id.as_str()), "a node keeps its identity over a restart");
    }

    /// Processes that this node started, with their command lines.
    pub(crate) fn children(&self) -> Vec<(Pid, String)> {
        children_of(self.child.id())
    }

    /// Resident memory in MiB.
    pub(crate) fn resident_mib(&self) -> u64 {
        self.memory_mib("VmRSS:")
    }

    /// The most it has ever had since its start, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        self.memory_mib("VmHWM:")
    }

    fn memory_mib(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
    }

    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {} ({}, {})\n{}", self.name, self.address, self.id, self.log_tail());
        }
        // Its upstreams would see their input close; one that ignores that must not outlive the test either.
        let children = self.children();
        self.kill();
        for (pid, command) in children {
            if command_line(pid).is_some_and(|now| now == command) {
                kill_process(pid, Signal::KILL).ok();
            }
        }
    }
}

/// The result objects of an `aop.resolve/1` answer.
pub(crate) fn results(answer: &Value) -> Vec<Value> {
    assert_eq!(answer["schema"], "aop.resolve/1", "{answer}");
    answer["results"].as_array().cloned().unwrap_or_default()
}

/// The full names among result objects, in their order.
pub(crate) fn names(results: &[Value]) -> Vec<String> {
    results.iter().map(|result| result["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Starts, and waits for a `node.json` that this very process wrote.
#[track_caller]
fn launch(mut command: Command, data: &Path, log: &Path) -> (Child, Value) {
    let out = File::options().create(true).append(true).open(log).expect("a log file");
    command.stdin(Stdio::null()).stderr(out.try_clone().expect("a second handle")).stdout(out);
    let mut child = command.spawn().expect("aop-node starts");
    let deadline = Instant::now() + START;
    loop {
        let state = std::fs::read(data.join("node.json")).ok();
        let state: Option<Value> = state.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(state) = state.filter(|state| state["pid"].as_u64() == Some(child.id().into())) {
            return (child, state);
        }
        if let Some(status) = child.try_wait().expect("a child of ours") {
            panic!("aop-node ended at start: {status}\n{}", tail(log));
        }
        if Instant::now() >= deadline {
            drop(child.kill());
            drop(child.wait());
            panic!("aop-node is not ready within {} s\n{}", START.as_secs(), tail(log));
        }
        wait::pause();
    }
}

fn tell(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("a child that has not been waited for");
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(80)..].join("\n")
}

fn command_line(pid: Pid) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
}

fn children_of(parent: u32) -> Vec<(Pid, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("the process table").flatten() {
        let Ok(number) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in brackets may hold anything; the fields behind it do not.
        let parent_of = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if parent_of == Some(parent)
            && let Some(pid) = Pid::from_raw(number)
            && let Some(command) = command_line(pid)
        {
            found.push((pid, command));
        }
    }
    found
}
