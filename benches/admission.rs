//! What asking who calls costs: processor time of a cached resolve with token, rules and limits on, beside the same with
//! `--insecure-no-auth`, and beside itself.
//!
//! `cargo bench --bench admission [-- ROUNDS]`. Three `aop-node` processes on loopback, without TLS so that it is not what is measured;
//! each gets the same requests over sixteen connections that stay, in turn, a slice each, so that whatever else the machine does falls on
//! all. Processor time is the scheduler's count of all threads of a process. The ratio of the two open nodes is the noise.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Requests of one slice, and slices of each node when nothing is asked.
const SLICE: usize = 20_000;
const ROUNDS: usize = 15;
/// Connections, each with one request under way: one alone costs what the kernel makes of waking two processors in turn.
const CONNECTIONS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);
/// Rules that are about others: every request is compared with each.
const RULES: usize = 16;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Node {
    process: Child,
    http: Vec<BufReader<TcpStream>>,
    authorization: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself; what it had on disk goes with the folder.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn main() -> Result<()> {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    let folder = tempfile::tempdir()?;
    let mut guarded = Node::start(&folder.path().join("guarded"), &guarded_configuration())?;
    let mut open = Node::start(&folder.path().join("open"), "insecure_no_auth = true\n")?;
    let mut other = Node::start(&folder.path().join("other"), "insecure_no_auth = true\n")?;
    guarded.authorization = guarded.token(&folder.path().join("guarded"))?;
    let nodes = [&mut guarded, &mut open, &mut other];
    let mut taken: [Vec<f64>; 3] = Default::default();
    for node in nodes {
        node.slice(SLICE)?;
    }
    for round in 0..rounds {
        // Whoever comes first in a round comes last in another.
        for turn in 0..3 {
            let at = (turn + round) % 3;
            let node = [&mut guarded, &mut open, &mut other].into_iter().nth(at).ok_or("three nodes")?;
            taken[at].push(node.slice(SLICE)?);
        }
    }
    println!("{rounds} slices of {SLICE} cached resolves each, interleaved; µs of processor time a request");
    println!("{:<34} {:>8} {:>8} {:>8}", "", "least", "median", "most");
    let names = ["token, 16 rules, limits", "--insecure-no-auth", "--insecure-no-auth, another"];
    for (name, taken) in names.iter().zip(&mut taken) {
        taken.sort_by(f64::total_cmp);
        println!("{name:<34} {:>8.2} {:>8.2} {:>8.2}", taken[0], median(taken), taken[taken.len() - 1]);
    }
    let [guarded, open, other] = taken.map(|taken| median(&taken));
    println!("guarded ÷ open {:.3}   open ÷ open {:.3}", guarded / open, other / open);
    Ok(())
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

fn guarded_configuration() -> String {
    let rules: Vec<String> = (0..RULES)
        .map(|number| {
            format!("{{ principal = \"token:other-{number}\", action = \"call\", tool = \"delete_*\", deny = true }}")
        })
        .collect();
    format!(
        "[http]\nrate = 1000000\nstranger_rate = 1000000\n[auth]\nrequired = true\nrules = [{}]\n",
        rules.join(", ")
    )
}

impl Node {
    fn start(folder: &Path, configuration: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let (file, tools) = (folder.join("node.toml"), folder.join("tools.jsonl"));
        fs::write(&file, configuration)?;
        fs::write(&tools, "{\"name\":\"echo\",\"server\":\"demo\",\"inputSchema\":{\"type\":\"object\"}}\n")?;
        let data = folder.join("data");
        let process = Command::new(env!("CARGO_BIN_EXE_aop-node"))
            .args(["--zone", "research", "--listen", "127.0.0.1:0", "--log-level", "error", "--config"])
            .arg(&file)
            .arg("--data-dir")
            .arg(&data)
            .arg("--import")
            .arg(&tools)
            .env("XDG_STATE_HOME", folder)
            .stderr(Stdio::null())
            .spawn()?;
        let address = address_of(&data.join("node.json"))?;
        let connect = |_| -> Result<_> {
            let stream = TcpStream::connect(&address)?;
            stream.set_nodelay(true)?;
            Ok(BufReader::new(stream))
        };
        let http = (0..CONNECTIONS).map(connect).collect::<Result<_>>()?;
        Ok(Self { process, http, authorization: String::new() })
    }

    /// A caller's token of this node.
    fn token(&mut self, folder: &Path) -> Result<String> {
        let admin = fs::read_to_string(folder.join("data/admin.token"))?;
        self.authorization = format!("Authorization: Bearer {}\r\n", admin.trim());
        let made = self.ask("POST", "/v1/tokens", r#"{"name":"bench","role":"caller"}"#)?;
        let made: serde_json::Value = serde_json::from_slice(&made)?;
        let secret = made["token"].as_str().ok_or("no token was made")?;
        Ok(format!("Authorization: Bearer {secret}\r\n"))
    }

    /// Makes that many requests; µs of processor time each took the node.
    fn slice(&mut self, requests: usize) -> Result<f64> {
        let before = self.processor_time()?;
        for _ in 0..requests / CONNECTIONS {
            for at in 0..CONNECTIONS {
                self.send(at, "GET", "/v1/resolve?q=echo.demo.research", "")?;
            }
            for at in 0..CONNECTIONS {
                self.receive(at)?;
            }
        }
        Ok((self.processor_time()? - before) * 1e6 / requests as f64)
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
        self.send(0, method, path, body)?;
        self.receive(0)
    }

    fn send(&mut self, at: usize, method: &str, path: &str, body: &str) -> Result<()> {
        let authorization = &self.authorization;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        Ok(self.http[at].get_mut().write_all((head + body).as_bytes())?)
    }

    fn receive(&mut self, at: usize) -> Result<Vec<u8>> {
        let http = &mut self.http[at];
        let (mut status, mut length) = (String::new(), 0);
        http.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            http.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        http.read_exact(&mut body)?;
        let is_good = status.split(' ').nth(1).is_some_and(|code| code.starts_with('2'));
        if is_good { Ok(body) } else { Err(format!("{status}{}", String::from_utf8_lossy(&body)).into()) }
    }

    /// Seconds of processor time so far, of all threads, as the scheduler counts it: nanoseconds, where `stat` has ticks of ten
    /// milliseconds. Source: Linux, Documentation/scheduler/sched-stats.rst.
    fn processor_time(&self) -> Result<f64> {
        let mut nanos = 0_u64;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let said = fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += said.split_whitespace().next().ok_or("an empty schedstat")?.parse::<u64>()?;
        }
        Ok(nanos as f64 / 1e9)
    }
}

fn address_of(file: &PathBuf) -> Result<String> {
    let began = Instant::now();
    loop {
        let state = fs::read(file).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        if let Some(address) = state.as_ref().and_then(|state| state["listen"].as_str()) {
            return Ok(address.to_owned());
        }
        if began.elapsed() > PATIENCE {
            return Err("the node does not start".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
