//! `--dev`: a root and two zones in one process and in memory, with demo tools behind them; shows one tool found and called across
//! zones, and stays up.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use aop_proto::access::Caller;
use aop_proto::error::{Kind, Problem};
use aop_proto::name::ZoneName;
use bytes::Bytes;

use super::signals::{self, until_told_to_stop};
use super::{Running, Setup, files};
use crate::answers::Resolution;
use crate::call::{CallOutcome, CallRequest};
use crate::config::{Admission, NodeConfig, ResolveConfig};
use crate::handle::{Ask, Mode};
use crate::upstream::{ServerSpec, TransportSpec};

/// Time the three nodes have to find each other.
const MEET_TIMEOUT: Duration = Duration::from_secs(20);
/// What the demo asks for, in the zone that does not have it.
const QUESTION: &str = "find papers about consensus";
/// What it calls then.
const ARGUMENTS: &str = r#"{"query":"consensus"}"#;

pub(super) async fn run(config: NodeConfig) -> anyhow::Result<()> {
    let (told, hangups) = (signals::stops()?, signals::hangups()?);
    let root = start(".", &[], config.listen, &config.resolve).await?;
    let parent = root.listen.to_string();
    let beside = |offset: u16| match config.listen.port() {
        0 => config.listen,
        port => SocketAddr::new(config.listen.ip(), port.saturating_add(offset)),
    };
    let research = start("research", std::slice::from_ref(&parent), beside(1), &config.resolve).await?;
    let writing = start("writing", std::slice::from_ref(&parent), beside(2), &config.resolve).await?;
    demo_server(&research, "papers").await?;
    demo_server(&writing, "text").await?;
    let mut announced = Vec::new();
    for running in [&root, &research, &writing] {
        running.handle.set_started();
        announced.push(files::announce(running, None)?);
    }
    let shown = tokio::select! {
        shown = show(&writing) => Some(shown).transpose(),
        () = told.cancelled() => Ok(None),
    };
    if let Ok(Some((resolution, outcome))) = &shown {
        tell(&[&root, &research, &writing], resolution, outcome);
    }
    let (mut root, mut research, mut writing) = (root, research, writing);
    let hangups =
        tokio::spawn(hangups.answer(async || tracing::warn!("SIGHUP: the demo has no configuration to read again")));
    let ended = match &shown {
        Ok(_) => until_told_to_stop(&told, [&mut root, &mut research, &mut writing]).await,
        Err(_) => Ok(()),
    };
    hangups.abort();
    announced.iter_mut().for_each(files::Announced::withdraw);
    for running in [writing, research, root] {
        running.stop().await;
    }
    shown?;
    ended.map_err(Into::into)
}

async fn start(zone: &str, parents: &[String], listen: SocketAddr, resolve: &ResolveConfig) -> anyhow::Result<Running> {
    let zone = ZoneName::parse(zone).context("the demo's zones have good names")?;
    let (parents, resolve) = (parents.to_vec(), resolve.clone());
    let setup = Setup {
        zone,
        parents,
        joins: Vec::new(),
        listen,
        advertise: None,
        data_dir: None,
        resolve,
        audit: Default::default(),
        policies: Default::default(),
        pinned: Vec::new(),
        joining: aop_proto::node::Admission::Local,
        admission: Admission::default(),
        offer: None,
    };
    Running::start(setup).await
}

async fn demo_server(running: &Running, name: &str) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("where this program lies is not known")?;
    let command = vec![program.to_string_lossy().into_owned(), "demo-server".to_owned(), name.to_owned()];
    let transport = TransportSpec::Stdio { command, env: Default::default(), cwd: None };
    let spec = ServerSpec { name: name.to_owned(), transport, replica: false, allow_private: false, tags: Vec::new() };
    running.handle.register(&Caller::operator(), spec).await?;
    Ok(())
}

/// Resolves in one zone what the other has, and calls it there.
async fn show(writing: &Running) -> anyhow::Result<(std::sync::Arc<Resolution>, CallOutcome)> {
    let ask = Ask { query: QUESTION.to_owned(), mode: Mode::Search, limit: 3, no_cache: true, ..Ask::default() };
    let deadline = tokio::time::Instant::now() + MEET_TIMEOUT;
    let mut changes = writing.handle.changes();
    let resolution = loop {
        let resolution = writing.handle.resolve(&Caller::operator(), ask.clone()).await?;
        if resolution.hits.first().is_some_and(|hit| hit.zone == "research") {
            break resolution;
        }
        if tokio::time::Instant::now() >= deadline {
            let silent = resolution.silent.join(", ");
            return Err(
                Problem::new(Kind::TimedOut, format!("the demo's zones did not meet (silent: {silent})")).into()
            );
        }
        // Zones tell each other when they change; the pause is for the ones that are still starting.
        let _ = tokio::time::timeout(Duration::from_millis(100), changes.changed()).await;
    };
    let request = CallRequest {
        caller: Caller::operator(),
        name: resolution.hits[0].name.clone(),
        arguments: Bytes::from_static(ARGUMENTS.as_bytes()),
        extra: Vec::new(),
        timeout: Some(Duration::from_secs(10)),
        key: None,
        priority: None,
        def_hash: Some(resolution.hits[0].def_hash.clone()),
        dry_run: false,
        progress: None,
    };
    let outcome = writing.calls.call(request).await?;
    Ok((resolution, outcome))
}

fn tell(nodes: &[&Running; 3], resolution: &Resolution, outcome: &CallOutcome) {
    let [root, research, writing] = nodes;
    let shown: serde_json::Value = serde_json::from_slice(&outcome.result).unwrap_or_default();
    let mut lines = vec![
        format!("aop-node {}  three nodes in memory, loopback only", env!("CARGO_PKG_VERSION")),
        String::new(),
        format!("  zone .          http://{}/        MCP  http://{}/mcp", root.listen, root.listen),
        format!("  zone research   http://{}/        MCP  http://{}/mcp", research.listen, research.listen),
        format!("  zone writing    http://{}/        MCP  http://{}/mcp", writing.listen, writing.listen),
        String::new(),
        format!("asked at zone writing:  \"{QUESTION}\""),
    ];
    for step in &resolution.trace {
        lines.push(format!("  {:<7} zone {:<10} {} found   {}", step.via, step.zone, step.hits, step.outcome));
    }
    for hit in &resolution.hits {
        lines.push(format!("  {:>2}  {:<34} {:<9} {}", hit.rank, hit.name, hit.zone, hit.description));
    }
    lines.extend([
        String::new(),
        format!("called {}  {ARGUMENTS}", outcome.name),
        format!("  writing → research, {} hop, {:.1} ms", outcome.hops, outcome.took.as_secs_f64() * 1000.0),
        format!("  {}", shown["structuredContent"]),
        String::new(),
        "next, in another terminal:".to_owned(),
        format!("  cargo run --release --bin aop -- resolve \"count words\" --trace --node {}", research.listen),
        format!(
            "  cargo run --release --bin aop -- call search_papers.papers.research query=gossip --node {}",
            writing.listen
        ),
        format!("  cargo run --release --bin aop -- zones --tree --node {}", root.listen),
        format!("  claude mcp add --transport http aop http://{}/mcp", root.listen),
        String::new(),
        "Ctrl-C stops all three.".to_owned(),
    ]);
    eprintln!("{}", lines.join("\n"));
}
