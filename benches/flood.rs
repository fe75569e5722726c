//! What a flood over every limit of a guarded node does to somebody who is known and asks at an even pace.
//!
//! `cargo bench --bench flood [-- RUNS]`. One `aop-node` with TLS, tokens and the limits of a node beyond loopback; the flood is in
//! [`attack`], ten times each limit at once, from addresses of its own. The known client has a token and an address of its own and
//! asks in two ways, beside each other: over a connection that stays, twenty times a second, and over a new one each time, handshake
//! and all, five times. *worst* and p99 hold answers that never came, as the patience of ten seconds. *recovered* is from the end of the
//! flood to the last answer above 50 ms. All of it is one machine: the flood takes what the node leaves of the processors, and what was
//! sent of it is told.

#[path = "flood/attack.rs"]
mod attack;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/process.rs"]
mod process;
#[path = "support/request.rs"]
mod request;
#[path = "flood/slow.rs"]
mod slow;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use process::Process;
use request::{Head, request};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const RUNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(30);
/// How long the known client asks before, during and after the flood.
const PHASES: [(&str, Duration); 3] =
    [("before", Duration::from_secs(5)), ("during", Duration::from_secs(15)), ("after", Duration::from_secs(10))];
/// Between two questions over the connection that stays, and over new ones.
const KEPT_EVERY: Duration = Duration::from_millis(50);
const ANEW_EVERY: Duration = Duration::from_millis(200);
/// What the known client is to be answered within.
const WANTED: Duration = Duration::from_millis(50);
const TOOLS: usize = 200;
const KNOWN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    if std::env::args().any(|argument| argument == slow::FLAG) {
        return slow::serve();
    }
    let runs = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(RUNS);
    println!("ms of resolves: over a connection that stays, over a new one each; MiB the most the node ever had");
    println!(
        "{:<10}{:>7}{:>8}{:>8}{:>8}{:>5}  {:>8}{:>8}{:>8}{:>5}",
        "", "kept", "p50", "p99", "worst", "lost", "p50", "p99", "worst", "lost"
    );
    for run in 1..=runs {
        one_run(run)?;
    }
    Ok(())
}

fn one_run(run: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let node = Node::start(folder.path())?;
    let known = node.token("known", "reader")?;
    let target = node.target.clone();
    let over = Arc::new(AtomicBool::new(false));
    let asking = [(KEPT_EVERY, true), (ANEW_EVERY, false)].map(|(every, stays)| {
        let (target, known, over) = (target.clone(), known.clone(), Arc::clone(&over));
        std::thread::spawn(move || ask_until(&target, &known, every, stays, &over))
    });
    let mut ends = Vec::new();
    std::thread::sleep(PHASES[0].1);
    ends.push(Instant::now());
    let used = node.process.processor_time()?;
    let flood = attack::Flood::start(&target, |name, role| node.token(name, role))?;
    std::thread::sleep(PHASES[1].1);
    let sent = flood.end();
    let used = (node.process.processor_time()? - used).as_secs_f64() / ends[0].elapsed().as_secs_f64();
    ends.push(Instant::now());
    std::thread::sleep(PHASES[2].1);
    ends.push(Instant::now());
    over.store(true, Ordering::Relaxed);
    let mut samples = Vec::new();
    for asking in asking {
        samples.push(asking.join().map_err(|_| "the known client failed")?);
    }
    println!("run {run}: the node took {used:.2} processors during the flood");
    report(run, &samples, &ends, &node, &sent)
}

/// One question of the known client: when it was asked, and how long it took, if it was answered.
struct Sample {
    at: Instant,
    took: Option<Duration>,
}

fn report(run: usize, samples: &[Vec<Sample>], ends: &[Instant], node: &Node, sent: &[(&str, u64)]) -> Result<()> {
    for (at, (phase, _)) in PHASES.iter().enumerate() {
        let from = at.checked_sub(1).map(|before| ends[before]);
        let of_phase = |sample: &&Sample| from.is_none_or(|from| sample.at >= from) && sample.at < ends[at];
        print!("{phase:<10}");
        for (way, samples) in samples.iter().enumerate() {
            let mut took: Vec<Duration> =
                samples.iter().filter(of_phase).map(|sample| sample.took.unwrap_or(PATIENCE)).collect();
            took.sort_unstable();
            let lost = samples.iter().filter(of_phase).filter(|sample| sample.took.is_none()).count();
            let [p50, p99, worst] = [0.5, 0.99, 1.0].map(|part| share(&took, part).as_secs_f64() * 1e3);
            if way == 0 {
                print!("{:>7}{p50:>8.1}{p99:>8.1}{worst:>8.1}{lost:>5}  ", took.len());
            } else {
                print!("{p50:>8.1}{p99:>8.1}{worst:>8.1}{lost:>5}");
            }
        }
        println!();
    }
    let slow = samples.iter().flatten().filter(|sample| sample.took.is_none_or(|took| took > WANTED));
    let last = slow.map(|sample| sample.at + sample.took.unwrap_or(PATIENCE)).max();
    let recovered = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(ends[1]));
    println!(
        "run {run}: recovered after {:.2} s, peak {} MiB",
        recovered.as_secs_f64(),
        memory::of(node.process.id(), "VmHWM")? >> 20
    );
    println!(
        "  sent     {}",
        sent.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
    );
    let counted = node.counters()?;
    println!(
        "  counted  {}",
        counted.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

fn share(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.max(1) - 1).copied().unwrap_or_default()
}

fn ask_until(target: &Target, token: &str, every: Duration, stays: bool, over: &AtomicBool) -> Vec<Sample> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut samples = Vec::new();
    runtime.block_on(async {
        let (mut kept, mut number) = (None, 0);
        while !over.load(Ordering::Relaxed) {
            let at = Instant::now();
            number += 1;
            let path = format!("/v1/resolve?q=tool_{}.shelf.research", number % TOOLS);
            let asked = async {
                let mut connection = match kept.take() {
                    Some(connection) => connection,
                    None => Https::connect(target, KNOWN).await?,
                };
                let (status, _) = connection.ask("GET", &path, token, "").await?;
                if stays {
                    kept = Some(connection);
                }
                if status == 200 { Ok(()) } else { Err(format!("answered {status}").into()) }
            };
            let asked: Option<Result<()>> = timeout(PATIENCE, asked).await.ok();
            let took = at.elapsed();
            samples.push(Sample { at, took: asked.and_then(std::result::Result::ok).map(|()| took) });
            tokio::time::sleep((at + every).saturating_duration_since(Instant::now())).await;
        }
    });
    samples
}

/// Where the node is, and what it is believed by.
#[derive(Clone)]
struct Target {
    address: SocketAddr,
    believed: Arc<rustls::RootCertStore>,
}

impl Target {
    /// A connection from that address, TLS and all.
    async fn connect(&self, from: Ipv4Addr, protocol: &[u8]) -> Result<TlsStream<TcpStream>> {
        let stream = self.connect_bare(from).await?;
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(Arc::clone(&self.believed))
                .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(TlsConnector::from(Arc::new(config)).connect("localhost".try_into()?, stream).await?)
    }

    async fn connect_bare(&self, from: Ipv4Addr) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// One HTTP/1.1 connection, and what came over it and is not taken yet.
struct Https(TlsStream<TcpStream>, Vec<u8>);

impl Https {
    async fn connect(target: &Target, from: Ipv4Addr) -> Result<Self> {
        Ok(Self(target.connect(from, b"http/1.1").await?, Vec::new()))
    }

    async fn ask(&mut self, method: &str, path: &str, token: &str, body: &str) -> Result<(u16, Vec<u8>)> {
        self.0.write_all(request(method, path, token, body).as_bytes()).await?;
        self.0.flush().await?;
        loop {
            if let Some(head) = Head::read(&self.1)?
                && head.body.end <= self.1.len()
            {
                let body = self.1[head.body.clone()].to_vec();
                self.1.drain(..head.body.end);
                return Ok((head.status, body));
            }
            if self.0.read_buf(&mut self.1).await? == 0 {
                return Err("closed".into());
            }
        }
    }
}

/// The node that is flooded.
struct Node {
    process: Process,
    target: Target,
    admin: String,
}

impl Node {
    fn start(folder: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let [cert, key, tools, file, data] =
            ["cert.pem", "key.pem", "tools.jsonl", "node.toml", "data"].map(|name| folder.join(name));
        fs::write(&cert, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        let tool = |number| {
            format!(
                "{{\"name\":\"tool_{number}\",\"server\":\"shelf\",\"description\":\"Finds book {number} on a shelf\",\"inputSchema\":{{\"type\":\"object\"}}}}\n"
            )
        };
        fs::write(&tools, (0..TOOLS).map(tool).collect::<String>())?;
        let slow = serde_json::json!([std::env::current_exe()?, slow::FLAG]);
        fs::write(
            &file,
            format!(
                "tls_cert = {cert:?}\ntls_key = {key:?}\n[[server]]\nname = \"{}\"\ncommand = {slow}\n",
                slow::SERVER
            ),
        )?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new(env!("CARGO_BIN_EXE_aop-node"))
            .args(["--zone", "research", "--listen", &format!("0.0.0.0:{port}"), "--log-level", "error"])
            .args(["--advertise", &format!("127.0.0.1:{port}"), "--config"])
            .arg(&file)
            .arg("--data-dir")
            .arg(&data)
            .arg("--import")
            .arg(&tools)
            .env("XDG_STATE_HOME", folder)
            .stderr(Stdio::inherit())
            .spawn()?;
        let mut believed = rustls::RootCertStore::empty();
        believed.add(CertificateDer::from(made.cert))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let target = Target { address, believed: Arc::new(believed) };
        let mut node = Self { process: process.into(), target, admin: String::new() };
        let began = Instant::now();
        loop {
            node.admin = fs::read_to_string(data.join("admin.token")).unwrap_or_default().trim().to_owned();
            let name = format!("/v1/tools/wait.{}.research", slow::SERVER);
            if node.ask("GET", &name, "").is_ok_and(|(status, _)| status == 200) {
                return Ok(node);
            }
            if began.elapsed() > START {
                return Err("the node does not start".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// One request of the admin, over a connection of its own.
    fn ask(&self, method: &str, path: &str, body: &str) -> Result<(u16, Vec<u8>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connection = Https::connect(&self.target, KNOWN).await?;
            connection.ask(method, path, &self.admin, body).await
        })
    }

    fn token(&self, name: &str, role: &str) -> Result<String> {
        let body = serde_json::json!({"name": name, "role": role}).to_string();
        let (_, made) = self.ask("POST", "/v1/tokens", &body)?;
        let made: serde_json::Value = serde_json::from_slice(&made)?;
        Ok(made["token"].as_str().ok_or_else(|| format!("no token was made: {made}"))?.to_owned())
    }

    /// What the node counted and is not nothing: what it turned away, and calls.
    fn counters(&self) -> Result<BTreeMap<String, u64>> {
        let (_, text) = self.ask("GET", "/metrics", "")?;
        let text = String::from_utf8(text)?;
        let rows = text.lines().filter_map(|line| {
            let (name, count) = line.rsplit_once(' ')?;
            let short = name.strip_prefix("aop_")?.replace("_total", "");
            let is_of_interest = ["http_refused", "tool_calls", "peers_refused", "frames_bad", "records_refused"]
                .iter()
                .any(|of_interest| short.starts_with(of_interest));
            let count = count.parse().ok().filter(|count| *count > 0 && is_of_interest)?;
            Some((short.replace(['{', '}', '"'], " ").trim().to_owned(), count))
        });
        Ok(rows.collect())
    }
}
