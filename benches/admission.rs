//! What asking who calls costs: processor time of a cached resolve with token, rules and limits on, beside the same with
//! `--insecure-no-auth`, and beside itself.
//!
//! `cargo bench --bench admission [-- ROUNDS]`. Three `aop-node` processes on loopback, without TLS so that it is not what is measured;
//! each gets the same requests over sixteen connections that stay, in turn, a slice each, so that whatever else the machine does falls on
//! all. Processor time is the scheduler's count of all threads of a process. The ratio of the two open nodes is the noise.

#[path = "support/connection.rs"]
mod connection;
#[path = "support/process.rs"]
mod process;
#[path = "support/request.rs"]
mod request;
#[path = "support/start.rs"]
mod start;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use connection::Connection;
use process::Process;

/// Requests of one slice, and slices of each node when nothing is asked.
const SLICE: usize = 20_000;
const ROUNDS: usize = 15;
/// Connections, each with one request under way: one alone costs what the kernel makes of waking two processors in turn.
const CONNECTIONS: usize = 16;
/// Rules that are about others: every request is compared with each.
const RULES: usize = 16;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Node {
    process: Process,
    http: Vec<Connection>,
    token: String,
}

fn main() -> Result<()> {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    let folder = tempfile::tempdir()?;
    let mut guarded = Node::start(&folder.path().join("guarded"), &guarded_configuration())?;
    let mut open = Node::start(&folder.path().join("open"), "insecure_no_auth = true\n")?;
    let mut other = Node::start(&folder.path().join("other"), "insecure_no_auth = true\n")?;
    guarded.token = guarded.token(&folder.path().join("guarded"))?;
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
        let process = Process::from(process);
        let address = start::address_of(&data)?;
        let http = (0..CONNECTIONS).map(|_| Connection::open(&address)).collect::<std::io::Result<_>>()?;
        Ok(Self { process, http, token: String::new() })
    }

    /// A caller's token of this node.
    fn token(&mut self, folder: &Path) -> Result<String> {
        let admin = fs::read_to_string(folder.join("data/admin.token"))?;
        let (_, made) = self.http[0].ask("POST", "/v1/tokens", admin.trim(), r#"{"name":"bench","role":"caller"}"#)?;
        let made: serde_json::Value = serde_json::from_slice(&made)?;
        Ok(made["token"].as_str().ok_or_else(|| format!("no token was made: {made}"))?.to_owned())
    }

    /// Makes that many requests; µs of processor time each took the node.
    fn slice(&mut self, requests: usize) -> Result<f64> {
        let before = self.process.processor_time()?;
        let request = request::request("GET", "/v1/resolve?q=echo.demo.research", &self.token, "");
        for _ in 0..requests / CONNECTIONS {
            for http in &mut self.http {
                http.begin(request.as_bytes())?;
            }
            for http in &mut self.http {
                let (status, body) = http.end()?;
                if status != 200 {
                    return Err(format!("answered {status}: {}", String::from_utf8_lossy(&body)).into());
                }
            }
        }
        Ok((self.process.processor_time()? - before).as_secs_f64() * 1e6 / requests as f64)
    }
}
