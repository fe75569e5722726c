//! Floors: this program started again to do nothing but what cannot be left out.
//!
//! Always true: a floor ends when whoever started it does, whatever way, because it reads its standard input until that closes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use crate::Result;
use crate::hop::{self, HOP};
use crate::memory::{self, WEIGH};
use crate::node::WORKERS;
use crate::process::Process;
use crate::upstream::{self, AGENTS, MCP_HTTP, MCP_PIPES};

/// A map endpoint: `GET /v1/resolve?q=NAME` is answered with the bytes kept under the name.
pub(crate) const AXUM_MAP: &str = "axum-map";

/// A JSON-RPC endpoint: `tools/call` is answered with the result kept under the tool's name and the name it is asked for.
pub(crate) const AXUM_RPC: &str = "axum-rpc";

/// A floor that runs.
pub(crate) struct Floor {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Floor {
    /// Starts a floor that serves what stands in that file, see [`write`].
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(kind: &str, answers: &Path) -> Result<Self> {
        Self::run(Command::new(std::env::current_exe()?).args(["--floor", kind]).arg(answers), kind)
    }

    /// Starts one that serves nothing of a file, see [`upstream`].
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn without_answers(kind: &str) -> Result<Self> {
        Self::run(Command::new(std::env::current_exe()?).args(["--floor", kind]), kind)
    }

    /// The same of one that has the first processor and no other.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn pinned(kind: &str) -> Result<Self> {
        let own = std::env::current_exe()?;
        Self::run(Command::new("taskset").args(["-c", "0"]).arg(own).args(["--floor", kind]), kind)
    }

    fn run(command: &mut Command, kind: &str) -> Result<Self> {
        let mut child = command.env(WORKERS.0, WORKERS.1).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = child.stdout.take().ok_or("the floor has no output")?;
        // It keeps the other end of its input, which closes with this process.
        let process = Process::from(child);
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| format!("the floor {kind} does not start"))?;
        Ok(Self { process, address })
    }
}

/// Writes answers for floors: a key, a tab and the answer, a line each.
pub(crate) fn write<'a>(file: &Path, answers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<()> {
    let mut text = Vec::new();
    for (key, answer) in answers {
        if answer.contains(&b'\n') {
            return Err("an answer has several lines".into());
        }
        text.extend([key.as_bytes(), b"\t", answer, b"\n"].concat());
    }
    Ok(std::fs::write(file, text)?)
}

/// What a process does that was started as a floor.
///
/// # Errors
/// It cannot.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let (kind, answers) = match words {
        [hop, hops, seconds] if hop == HOP => return hop::run(hops, seconds.parse()?),
        [memory, what, encoded] if memory == WEIGH => return memory::run(what, encoded.parse()?),
        [pipes] if pipes == MCP_PIPES => return upstream::over_pipes(),
        [kind] => (kind, Arc::default()),
        [kind, file] => (kind, Arc::new(read(Path::new(file))?)),
        _ => return Err("a floor is a kind and a file".into()),
    };
    std::thread::spawn(|| {
        // Whatever comes, the end is what counts.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let routes = match kind.as_str() {
            AXUM_MAP => Router::new().route("/v1/resolve", get(answer)).with_state(answers),
            AXUM_RPC => Router::new().route("/mcp", post(result)).with_state(answers),
            MCP_HTTP => upstream::mcp(),
            AGENTS => upstream::agents(),
            other => return Err(format!("there is no floor {other}").into()),
        };
        serve(routes).await
    })
}

type Answers = HashMap<String, Bytes>;

fn read(file: &Path) -> Result<Answers> {
    let lines = BufReader::new(std::fs::File::open(file)?).lines();
    let answers = lines.map(|line| {
        let line = line?;
        let (key, answer) = line.split_once('\t').ok_or("a line has no key")?;
        Ok((key.to_owned(), Bytes::copy_from_slice(answer.as_bytes())))
    });
    answers.collect()
}

async fn serve(routes: Router) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // As nodes do; without it an answer may wait 40 ms.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, routes).await?)
}

#[derive(serde::Deserialize)]
struct Asked {
    q: String,
}

async fn answer(State(answers): State<Arc<Answers>>, Query(asked): Query<Asked>) -> Response {
    match answers.get(&asked.q) {
        Some(answer) => json(answer.clone()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[derive(serde::Deserialize)]
struct Rpc<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    method: &'a str,
    params: Params<'a>,
}

#[derive(serde::Deserialize)]
struct Params<'a> {
    name: &'a str,
    #[serde(borrow)]
    arguments: Arguments<'a>,
}

/// What [`crate::mcp`] asks for: a name, or a query that is one.
#[derive(serde::Deserialize)]
struct Arguments<'a> {
    #[serde(alias = "query")]
    name: &'a str,
}

async fn result(State(answers): State<Arc<Answers>>, body: Bytes) -> Response {
    let Ok(rpc) = serde_json::from_slice::<Rpc<'_>>(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    let key = [rpc.params.name, " ", rpc.params.arguments.name].concat();
    match answers.get(&key).filter(|_| rpc.method == "tools/call") {
        Some(result) => {
            let parts = [&b"{\"jsonrpc\":\"2.0\",\"id\":"[..], rpc.id.get().as_bytes(), b",\"result\":", result, b"}"];
            json(parts.concat())
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn json(body: impl Into<axum::body::Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}
