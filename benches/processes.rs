//! How long a tool registered at one node takes until every other node of the zone shows it: real processes on loopback.
//!
//! `cargo bench --bench processes [-- 3 8 16 32 64]`. Each number is a zone of that many `aop-node` processes, started one after the
//! other, joined through the first, with a store on disk each. A tool is registered by HTTP at one node after the other; all others are
//! asked for it by name, in turn, until they have it. Times begin when the request is sent, so they hold the write, its fsync
//! and the asking itself: *look* is how long one round of asking takes, which no time can be finer than. `cargo sim curve`
//! has what the protocol alone takes with the same number of nodes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const UPDATES: usize = 20;
const PATIENCE: Duration = Duration::from_secs(120);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// One node, its HTTP connection held open.
struct Node {
    process: Child,
    address: String,
    token: PathBuf,
    http: Option<BufReader<TcpStream>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself; what it had on disk goes with the folder.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn main() -> Result<()> {
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![3, 8, 16, 32, 64] } else { asked };
    println!("{UPDATES} tools registered one after the other; milliseconds until the other nodes show each");
    println!("{:>5} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}", "nodes", "formed s", "look", "first", "p50", "p99", "all");
    for size in sizes {
        measure(size)?;
    }
    Ok(())
}

fn measure(size: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let begun = Instant::now();
    let mut nodes: Vec<Node> = Vec::new();
    for number in 0..size {
        let join = nodes.first().map(|first| first.address.clone());
        nodes.push(Node::start(&folder.path().join(number.to_string()), join.as_deref())?);
    }
    for node in &mut nodes {
        // A node does not keep a connection on which nothing is asked for as long as many others take to start.
        node.http = None;
        wait_for(|| Ok(node.alive()? == size - 1))?;
    }
    let formed = begun.elapsed();
    let look = Instant::now();
    for node in &mut nodes {
        node.shows("none.bench.zone")?;
    }
    let look = look.elapsed();
    let (mut firsts, mut all, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for update in 0..UPDATES {
        let seen = spread(&mut nodes, update)?;
        firsts.extend(seen.first().copied());
        all.extend(seen.last().copied());
        times.extend(seen);
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{size:>5} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>9.1}",
        formed.as_secs_f64(),
        ms(look),
        ms(share(&mut firsts, 0.5)),
        ms(share(&mut times, 0.5)),
        ms(share(&mut times, 0.99)),
        ms(share(&mut all, 0.5)),
    );
    Ok(())
}

/// Registers a tool at one node and returns when each other one showed it, sorted.
fn spread(nodes: &mut [Node], update: usize) -> Result<Vec<Duration>> {
    let (writer, name) = (update % nodes.len(), format!("tool_{update}"));
    let tool = serde_json::json!({"tools": [{
        "name": name,
        "server": "bench",
        "description": "Looks through the shelves of one library and names what stands there. ".repeat(8),
        "inputSchema": {"type": "object", "properties": {"shelf": {"type": "string"}}},
    }]});
    let begun = Instant::now();
    let full = nodes[writer].register(&tool.to_string())?;
    let mut missing: Vec<usize> = (0..nodes.len()).filter(|at| *at != writer).collect();
    let mut seen = Vec::new();
    while !missing.is_empty() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{} nodes do not show {full}", missing.len()).into());
        }
        let mut still = Vec::new();
        for at in missing {
            if nodes[at].shows(&full)? {
                seen.push(begun.elapsed());
            } else {
                still.push(at);
            }
        }
        missing = still;
    }
    Ok(seen)
}

fn share(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let at = (times.len() as f64 * share).ceil() as usize;
    times.get(at.max(1) - 1).copied().unwrap_or_default()
}

fn wait_for(mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !done()? {
        if begun.elapsed() > PATIENCE {
            return Err("the zone does not form".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

impl Node {
    fn start(folder: &Path, join: Option<&str>) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_aop-node"));
        command.args(["--zone", "zone", "--listen", &address, "--log-level", "error", "--data-dir"]).arg(folder);
        if let Some(join) = join {
            command.args(["--join", join]);
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut node = Self { process, address, token: folder.join("admin.token"), http: None };
        wait_for(|| Ok(node.ask("GET", "/readyz", "").is_ok_and(|(status, _)| status == 200)))?;
        Ok(node)
    }

    /// How many others it believes alive.
    fn alive(&mut self) -> Result<usize> {
        let (_, text) = self.ask("GET", "/v1/nodes", "")?;
        let nodes: serde_json::Value = serde_json::from_str(&text)?;
        let states = nodes["nodes"].as_array().into_iter().flatten().filter(|node| node["state"] == "alive");
        Ok(states.count().saturating_sub(1))
    }

    fn shows(&mut self, name: &str) -> Result<bool> {
        Ok(self.ask("GET", &format!("/v1/tools/{name}"), "")?.0 == 200)
    }

    /// The full name of what was registered.
    fn register(&mut self, body: &str) -> Result<String> {
        let (status, text) = self.ask("POST", "/v1/tools", body)?;
        let reply: serde_json::Value = serde_json::from_str(&text)?;
        let name = reply["tools"][0]["name"].as_str().filter(|_| status == 201);
        name.map(str::to_owned).ok_or_else(|| format!("{status}: {text}").into())
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        let mut stream = match self.http.take() {
            Some(stream) => stream,
            None => BufReader::new(TcpStream::connect(&self.address)?),
        };
        stream.get_ref().set_nodelay(true)?;
        let token = std::fs::read_to_string(&self.token).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            token.trim(),
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).ok_or("no status")?.parse()?;
        let mut length = 0;
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut text = vec![0; length];
        stream.read_exact(&mut text)?;
        self.http = Some(stream);
        Ok((status, String::from_utf8(text)?))
    }
}
