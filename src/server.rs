//! One process: limbs made and joined, the node started, doors opened; and all of it ended.
//!
//! ```text
//!  start: ports ─ keys ─ store ─ audit ─ node ─ driver ─ servers ─ doors ─ ready
//!  stop:  not ready ─ doors drain and calls of peers end ─ goodbye ─ servers ─ peers ─ driver ─ audit ─ store
//! ```

mod admission;
mod demo;
mod descriptors;
mod dev;
mod files;
mod setup;
mod signals;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aop_proto::codec::Wire as _;
use aop_proto::error::{Kind, Problem, shell_word};
use aop_proto::name::ZoneName;
use aop_proto::node::{Config, NewTool, Node, Refusal, Restored};
use aop_proto::record::{Reader, Revocation};
use aop_proto::view::View;
use aop_proto::wire::message::Fork;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use demo::serve as serve_demo;

use admission::Door;
use setup::Setup;

use crate::audit::{self, Audit, Entry, Event};
use crate::call::Calls;
use crate::clock::Clock;
use crate::config::{ConfigError, LogFormat, NodeConfig, Secret, ServerEntry, Transport};
use crate::driver::keeping::{Kept, keep_incarnation};
use crate::driver::{Ahead, Deaf, Driver, PEER_EVENTS_MAX, Reach};
use crate::entropy::{AdminToken, NodeKey, ZoneKeys, seed};
use crate::handle::{About, CATALOGUE_BATCH, Handle, Limbs, read_catalogue};
use crate::http::Doors;
use crate::invites::Invites;
use crate::mcp::door::McpDoor;
use crate::peer::{self, Peers, bind_one_port, is_local};
use crate::store::{Store, Table};
use crate::telemetry::{self, Format, Metrics};
use crate::upstream::{self, Egress, ServerSpec, TransportSpec, Upstreams};

/// News of servers that wait for the node.
const SERVER_EVENTS_MAX: usize = 256;
/// A parent, or fellow to be, that answers within this time and does not fit is an error at start.
const OTHERS_PATIENCE: Duration = Duration::from_secs(2);
/// How long calls under idempotency keys may take after the doors are shut.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs a node, or with `--dev` three of them, until the process is told to stop. `again` reads the configuration anew.
///
/// # Errors
/// A [`Problem`] where a person can do something about it.
pub async fn run(
    config: NodeConfig,
    again: impl Fn() -> Result<NodeConfig, ConfigError> + Send + 'static,
) -> anyhow::Result<()> {
    let format = match config.log_format {
        LogFormat::Auto => Format::Auto,
        LogFormat::Pretty => Format::Pretty,
        LogFormat::Json => Format::Json,
    };
    telemetry::start(format, &config.log_level)
        .map_err(|why| Problem::new(Kind::Config, format!("log level: {why}")))?;
    descriptors::raise(config.admission.port.connections);
    if config.dev {
        return dev::run(config).await;
    }
    let (told, hangups) = (signals::stops()?, signals::hangups()?);
    let setup = Setup::of(&config);
    let mut running = Running::start(setup).await?;
    let settled = tokio::select! {
        settled = running.settle(&config) => settled.map(|()| true),
        () = told.cancelled() => Ok(false),
    };
    if !matches!(settled, Ok(true)) {
        running.stop().await;
        return settled.map(drop);
    }
    // Whoever is told of it finds it ready.
    running.handle.set_started();
    let mut announced = files::announce(&running, config.data_dir.as_deref())?;
    let door = running.admission.clone();
    door.warn_if_open();
    banner(&running);
    let (handle, calls) = (running.handle.clone(), running.calls.clone());
    let hangups = tokio::spawn(hangups.answer(move || {
        if let Some(policies) = door.reload(&again) {
            calls.set_policies(policies);
        }
        let handle = handle.clone();
        async move { handle.tell_rules().await }
    }));
    let ended = signals::until_told_to_stop(&told, [&mut running]).await;
    hangups.abort();
    announced.withdraw();
    running.stop().await;
    ended.map_err(Into::into)
}

/// A node that runs.
struct Running {
    handle: Handle,
    calls: Calls,
    listen: SocketAddr,
    zone: ZoneName,
    admin_token: AdminToken,
    admission: Door,
    refusals: mpsc::Receiver<Refusal>,
    /// Addresses that the operator gave.
    parents: Vec<String>,
    joins: Vec<String>,
    doors: CancellationToken,
    driver: CancellationToken,
    door_tasks: TaskTracker,
    /// Nothing once its end was seen.
    driver_task: Option<JoinHandle<Result<(), Deaf>>>,
    store: Store,
}

impl Running {
    async fn start(setup: Setup) -> anyhow::Result<Self> {
        let reaches_out = setup.reaches_out();
        let (tcp, udp) =
            bind_one_port(setup.listen, setup.udp_ip()).map_err(|error| port_problem(setup.listen, &error))?;
        let listen = tcp.local_addr().context("the port has no address")?;
        let (store, node_key, mut zone_keys, admin_token) = keep(setup.data_dir.as_deref())?;
        let clock = Clock::start();
        let audit = open_audit(setup.data_dir.as_deref(), setup.audit, clock)?;
        let (events, heard) = peer::events(PEER_EVENTS_MAX);
        let bound = if reaches_out {
            Peers::bind_reaching_out(udp, &node_key, events)
        } else {
            Peers::bind(udp, &node_key, events)
        };
        let peers = bound.context("cannot open the federation port")?;
        let reach = if reaches_out || !listen.ip().is_loopback() { Reach::Anywhere } else { Reach::Local };
        let (address, invites) = (setup.address(listen), Invites::load(&store, &node_key, clock)?);
        let (parents, joins) = (setup.parents.clone(), setup.joins.clone());
        let kept = Kept::read(store.load(Table::Meta)?);
        let ahead = Arc::new(Ahead::default());
        let joining = setup.joining;
        let config = Config {
            zone: setup.zone.clone(),
            key: node_key.signing_key().clone(),
            zone_key: zone_keys.current().signing_key().clone(),
            spare_key: zone_keys.next().map(|next| next.signing_key().clone()),
            incarnation: incarnation(&store, &kept, clock.now().wall_ms).await?,
            address: address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: seed()?,
            parents: setup.parents,
            joins: setup.joins,
            admission: joining,
            invitation: setup.offer.map(|offer| offer.invitation),
            rules: setup.admission.terms.policy.clone(),
            opened: Some(ahead.clone()),
        };
        let node = Node::new(config, restored(&store, kept, &setup.zone, setup.data_dir.as_deref())?, clock.now());
        if let Some(key) = node.view().zone_key {
            // A rotation that a crash cut short has taken place or not.
            zone_keys.settle(&key)?;
        }
        let driver_stop = CancellationToken::new();
        let (driver, queues) =
            Driver::new(node, clock, peers.clone(), store.clone(), heard, ahead, driver_stop.clone());
        let driver_task = tokio::spawn(driver.reaching(reach).guarding(joining).run());
        let (server_events, server_news) = mpsc::channel(SERVER_EVENTS_MAX);
        let upstreams = Upstreams::new(server_events, Egress { loopback_implied: listen.ip().is_loopback() });
        let metrics = Metrics::default();
        let admission = Door::open(setup.admission, joining, listen, &admin_token, &store, &metrics)?;
        let limbs = Limbs {
            jobs: queues.jobs,
            published: queues.published,
            upstreams,
            store: store.clone(),
            audit,
            auth: admission.auth().clone(),
            peers,
            invites,
            metrics,
            zone_keys,
            clock,
        };
        let about = About {
            listen,
            address,
            data_dir: setup.data_dir,
            version: env!("CARGO_PKG_VERSION"),
            reaches_out: reach == Reach::Anywhere,
            limit: setup.resolve.limit,
            deadline: setup.resolve.deadline,
        };
        let handle = Handle::new(limbs, about);
        let started = handle.audit().record_durable(of_this_node(&handle, Event::Started)).await;
        started.map_err(|error| Problem::new(Kind::StoreFailed, error.to_string()).hint("aop-node check"))?;
        let calls = Calls::new(handle.clone(), setup.policies)?;
        let doors = CancellationToken::new();
        let door_tasks = TaskTracker::new();
        door_tasks.spawn(crate::federation::serve(calls.clone(), queues.requests, doors.clone()));
        tokio::spawn(handle.clone().follow_servers(server_news));
        // Ends with the driver, which holds the only sender.
        tokio::spawn(handle.clone().redeem_invites(queues.redemptions));
        handle.adopt_stored()?;
        let shared = Doors {
            handle: handle.clone(),
            calls: calls.clone(),
            entrance: admission.entrance(),
            zone: setup.zone.to_string(),
        };
        let tcp = tokio::net::TcpListener::from_std(tcp).context("cannot open the client port")?;
        let door_stop = doors.clone();
        door_tasks.spawn(async move {
            let mcp = McpDoor::new(shared.calls.clone(), setup.pinned, &door_stop).at_port();
            if let Err(error) = crate::http::serve(tcp, shared, mcp, door_stop).await {
                tracing::error!(%error, "the client port failed");
            }
        });
        Ok(Self {
            handle,
            calls,
            listen,
            zone: setup.zone,
            admin_token,
            admission,
            refusals: queues.refusals,
            parents,
            joins,
            doors,
            driver: driver_stop,
            door_tasks,
            driver_task: Some(driver_task),
            store,
        })
    }

    /// What stands between a node that runs and one that may be told of: those around it fit, its servers are started, what it is to
    /// import lies in it.
    async fn settle(&mut self, config: &NodeConfig) -> anyhow::Result<()> {
        self.others_fit().await?;
        adopt(&self.handle, &config.servers);
        self.handle.disown_unsupervised().await?;
        import(&self.handle, &config.import).await
    }

    /// Waits a moment for the parents, and a new replica for its zone. It is an error when all that were given answer and do not fit; who
    /// does not answer is retried for ever.
    async fn others_fit(&mut self) -> Result<(), Problem> {
        if self.parents.is_empty() && self.joins.is_empty() {
            return Ok(());
        }
        let handle = self.handle.clone();
        let mut connections = handle.connections();
        let has_parents = !self.parents.is_empty();
        // A zone that has had its key for longer serves its own, whatever those above say of it now.
        let was_admitted = handle.view().admitted;
        let settled = async {
            let met = |view: &View| view.admitted && (view.parent.is_some() || !has_parents);
            while !met(&handle.view()) {
                // The view follows a connection by some messages; a short look again is cheaper than a queue of its own.
                let _ = tokio::time::timeout(Duration::from_millis(20), connections.changed()).await;
            }
        };
        let unfit = async {
            let mut refused = BTreeSet::new();
            loop {
                let Some(refusal) = self.refusals.recv().await else { return std::future::pending().await };
                let given = match refusal.purpose {
                    "parent" if was_admitted && refusal.fits.is_none() => continue,
                    "parent" => &self.parents,
                    // Who was admitted before goes on without them.
                    "join" if !self.handle.view().admitted => &self.joins,
                    _ => continue,
                };
                refused.insert(refusal.address.clone());
                if given.contains(&refusal.address) && given.iter().all(|address| refused.contains(address)) {
                    return refusal;
                }
            }
        };
        tokio::select! {
            () = settled => Ok(()),
            () = tokio::time::sleep(OTHERS_PATIENCE) => {
                let is_alone = !has_parents || self.handle.view().parent.is_some();
                let who = if is_alone { "nobody of the zone answers" } else { "the parent does not answer" };
                tracing::warn!("{who} yet; it is tried for ever, `aop status` tells");
                Ok(())
            }
            refusal = unfit => Err(Self::misfit(&refusal)),
        }
    }

    fn misfit(refusal: &Refusal) -> Problem {
        let Refusal { address, purpose, reason, fits } = refusal;
        // Labels may begin as options do.
        let fits = fits.as_ref().filter(|zone| !zone.as_str().starts_with('-'));
        let (what_else, hint) = match fits {
            Some(zone) => ("", format!("aop-node --zone {zone} --{purpose} {address}")),
            None if is_local(address) => ("", format!("aop zones --tree --node {address}")),
            // What a node of others shows it shows to those who may see it.
            None => ("; an invite of it, given as --invite, fits", "aop-node --help".to_owned()),
        };
        Problem::new(Kind::Config, format!("{purpose} {address}: {reason}{what_else}")).hint(hint)
    }

    /// Waits for the driver to end, which it does only when it is told to. A node without one answers nobody.
    async fn driver_ends(&mut self) -> Problem {
        let Some(driver) = &mut self.driver_task else { return std::future::pending().await };
        let why = failure_of(driver.await).unwrap_or_else(|| "it ended by itself".to_owned());
        self.driver_task = None;
        let zone = &self.zone;
        tracing::error!(zone = zone.as_str(), why, "the driver failed; the node ends");
        Problem::new(Kind::Internal, format!("the driver of zone {zone} failed: {why}"))
    }

    /// Ends everything: what brings work first, what it needs last. Accepted calls are finished within the drain (P6).
    async fn stop(self) {
        self.handle.set_stopping();
        self.doors.cancel();
        self.door_tasks.close();
        self.door_tasks.wait().await;
        // They have a deadline each, and their answers are kept for whoever comes back.
        let _ = tokio::time::timeout(DRAIN, self.calls.finish()).await;
        self.handle.leave().await;
        self.handle.upstreams().shutdown().await;
        // Goodbyes are on their way before the connections close.
        self.handle.peers().close().await;
        self.driver.cancel();
        if let Some(driver) = self.driver_task
            && let Some(why) = failure_of(driver.await)
        {
            tracing::error!(why, "the driver failed");
        }
        let audit = self.handle.audit().clone();
        // Why it could not be written is told where it failed.
        let _ = audit.record_durable(of_this_node(&self.handle, Event::Stopped)).await;
        let store = self.store;
        // Their threads are joined off the runtime's own.
        let closed = tokio::task::spawn_blocking(move || {
            audit.close();
            store.close();
        });
        let _ = closed.await;
    }
}

/// Why a driver failed, if it did.
fn failure_of(ended: Result<Result<(), Deaf>, JoinError>) -> Option<String> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(deaf)) => Some(deaf.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

fn port_problem(listen: SocketAddr, error: &std::io::Error) -> Problem {
    let message = match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("{listen} is in use"),
        _ => format!("{listen} cannot be used: {error}"),
    };
    Problem::new(Kind::Config, message).hint(format!("aop-node --listen {}:0", listen.ip()))
}

/// The store and the keys of a data directory, or of a node in memory.
fn keep(dir: Option<&std::path::Path>) -> anyhow::Result<(Store, NodeKey, ZoneKeys, AdminToken)> {
    let Some(dir) = dir else {
        return Ok((Store::memory(), NodeKey::memory()?, ZoneKeys::memory()?, AdminToken::memory()?));
    };
    let usable = |what: String| {
        Problem::new(Kind::Config, format!("{what}; another directory is named with --data-dir"))
            .hint("aop-node config")
    };
    use std::os::unix::fs::DirBuilderExt as _;
    // What others of this machine may not read they may not list either.
    let mut private = std::fs::DirBuilder::new();
    private
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| usable(format!("data directory {} cannot be made: {error}", dir.display())))?;
    let told = |error: &dyn std::fmt::Display| usable(format!("data directory {}: {error}", dir.display()));
    let store = Store::open(dir).map_err(|error| told(&error))?;
    let node_key = NodeKey::load_or_create(dir).map_err(|error| told(&error))?;
    let zone_keys = ZoneKeys::load_or_create(dir).map_err(|error| told(&error))?;
    let admin_token = AdminToken::load_or_create(dir).map_err(|error| told(&error))?;
    Ok((store, node_key, zone_keys, admin_token))
}

/// The audit of a data directory, or of a node in memory.
fn open_audit(dir: Option<&std::path::Path>, settings: audit::Settings, clock: Clock) -> Result<Audit, Problem> {
    let Some(dir) = dir else { return Ok(Audit::memory(settings, clock)) };
    let told = |error: audit::AuditError| format!("{error}; another data directory is named with --data-dir");
    Audit::open(dir, settings, clock).map_err(|error| Problem::new(Kind::Config, told(error)).hint("aop-node config"))
}

/// What the node itself does.
fn of_this_node(handle: &Handle, event: Event) -> Entry {
    let view = handle.view();
    Entry::own(event).zone(&view.zone).node(view.node)
}

/// The log's life: as stored, or a new one above every earlier one of this key, persisted before anything is sent (I11).
async fn incarnation(store: &Store, kept: &Kept, wall_ms: u64) -> anyhow::Result<u64> {
    if let Some(incarnation) = kept.incarnation {
        return Ok(incarnation);
    }
    let seconds = wall_ms / 1000;
    store.commit(vec![keep_incarnation(seconds)]).await?;
    Ok(seconds)
}

/// What an earlier run left, if it was of the same zone.
fn restored(store: &Store, kept: Kept, zone: &ZoneName, dir: Option<&std::path::Path>) -> anyhow::Result<Restored> {
    let (mut records, mut reader) = (Vec::new(), Reader::default());
    for (_, value) in store.load(Table::Records)? {
        let signed = reader.read(&value).context("a stored record cannot be read")?;
        if signed.record.zone() != zone.as_str() {
            let held = signed.record.zone();
            let message =
                format!("the data directory is of zone {held}, not of {zone}: name another one with --data-dir");
            let here = dir.map(|dir| format!(" --data-dir {}", shell_word(&dir.display().to_string())));
            let hint = format!("aop-node --zone {held}{}", here.unwrap_or_default());
            return Err(Problem::new(Kind::Config, message).hint(hint).into());
        }
        records.push(Arc::new(signed));
    }
    let forks = kept.forks.iter().map(|(_, evidence)| Fork::decode(evidence)).collect::<Result<_, _>>();
    let forks = forks.context("a stored fork cannot be read")?;
    let revocations = kept.revocations.iter().map(|said| Revocation::decode(said)).collect::<Result<_, _>>();
    let revocations = revocations.context("a stored revocation cannot be read")?;
    Ok(Restored { records, trust: kept.trust, forks, revocations })
}

/// Servers of the configuration are supervised like registered ones.
fn adopt(handle: &Handle, servers: &[ServerEntry]) {
    let known: Vec<String> = handle.servers().into_iter().map(|server| server.name).collect();
    for server in servers.iter().filter(|server| !known.contains(&server.name)) {
        handle.upstreams().adopt(spec_of(server));
    }
}

fn spec_of(entry: &ServerEntry) -> ServerSpec {
    let secret = |secret: &Secret| match secret.clone() {
        Secret::Literal(value) => upstream::Secret::Literal(value),
        Secret::Env { env } => upstream::Secret::Env { env },
        Secret::File { file } => upstream::Secret::File { file },
    };
    let all = |named: &std::collections::BTreeMap<String, Secret>| {
        named.iter().map(|(name, value)| (name.clone(), secret(value))).collect()
    };
    let transport = match &entry.transport {
        Transport::Http { url, headers } => TransportSpec::Http { url: url.clone(), headers: all(headers) },
        Transport::Agent { url, headers, tool, description, input_schema, output_schema } => TransportSpec::Agent {
            url: url.clone(),
            headers: all(headers),
            tool: tool.clone(),
            description: description.clone(),
            input_schema: input_schema.clone(),
            output_schema: output_schema.clone(),
        },
        Transport::Api { url, headers, tools } => {
            TransportSpec::Api { url: url.clone(), headers: all(headers), tools: tools.clone() }
        }
        Transport::Stdio { command, env, cwd } => {
            TransportSpec::Stdio { command: command.clone(), env: all(env), cwd: cwd.clone() }
        }
    };
    let ServerEntry { name, replica, allow_private, tags, .. } = entry;
    ServerSpec { name: name.clone(), transport, replica: *replica, allow_private: *allow_private, tags: tags.clone() }
}

/// Reads catalogues, one tool a line, and writes what does not stand already. Nothing of a file is written before all of it was read
/// once, and no more of it is held than is written at once.
async fn import(handle: &Handle, paths: &[std::path::PathBuf]) -> anyhow::Result<()> {
    for path in paths {
        let shown = path.display().to_string();
        let unfit = |why: String| Problem::new(Kind::Config, format!("{shown}: {why}")).hint("aop-node --help");
        let (mut catalogue, mut tools, mut new) = (Catalogue::open(path, handle).map_err(unfit)?, 0, 0);
        loop {
            let (read, batch) = catalogue.next_batch().await.context("reading failed")?;
            catalogue = read;
            match batch.map_err(unfit)?.len() {
                0 => break,
                more => tools += more,
            }
        }
        let mut catalogue = Catalogue::open(path, handle).map_err(unfit)?;
        loop {
            let (read, batch) = catalogue.next_batch().await.context("reading failed")?;
            catalogue = read;
            let batch = batch.map_err(unfit)?;
            if batch.is_empty() {
                break;
            }
            new += handle.write_catalogue(batch, None).await?.records;
        }
        tracing::info!(file = shown, tools, new, "catalogue.import");
    }
    Ok(())
}

/// A catalogue that is being read.
struct Catalogue {
    lines: std::iter::Enumerate<std::io::Lines<std::io::BufReader<std::fs::File>>>,
    zone: ZoneName,
}

impl Catalogue {
    fn open(path: &std::path::Path, handle: &Handle) -> Result<Self, String> {
        use std::io::BufRead;
        let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
        Ok(Self { lines: std::io::BufReader::new(file).lines().enumerate(), zone: handle.view().zone.clone() })
    }

    /// The next tools, none at its end, on a thread that may wait for a disk.
    async fn next_batch(mut self) -> Result<(Self, Result<Vec<NewTool>, String>), tokio::task::JoinError> {
        tokio::task::spawn_blocking(move || {
            let batch = self.read_batch();
            (self, batch)
        })
        .await
    }

    fn read_batch(&mut self) -> Result<Vec<NewTool>, String> {
        let mut tools = Vec::new();
        for (at, line) in self.lines.by_ref() {
            let line = line.map_err(|error| format!("line {}: {error}", at + 1))?;
            if !line.trim().is_empty() {
                tools.push(read_catalogue(&line, &self.zone).map_err(|why| format!("line {}: {why}", at + 1))?);
            }
            if tools.len() == CATALOGUE_BATCH {
                break;
            }
        }
        Ok(tools)
    }
}

/// Every address and what to do next, for people; one event for machines.
fn banner(running: &Running) {
    let view = running.handle.view();
    let mut listen = running.listen;
    if listen.ip().is_unspecified() {
        // On this machine it is reached here.
        let here: IpAddr = if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        listen.set_ip(here);
    }
    let is_usual = listen.port() == crate::config::PORT && listen.ip() == Ipv4Addr::LOCALHOST;
    let at = if is_usual { String::new() } else { format!(" --node {listen}") };
    let url = format!("{}://{listen}", running.admission.scheme());
    if !std::io::stderr().is_terminal() {
        let next = format!("aop resolve{at} \"what you need\"");
        let listen = running.listen;
        tracing::info!(zone = view.zone.as_str(), node = view.node.short(), %listen, next, "ready");
        return;
    }
    eprintln!("aop-node {}  zone {}  node {}", env!("CARGO_PKG_VERSION"), view.zone, view.node.short());
    eprintln!("  MCP   {url}/mcp        page     {url}/");
    eprintln!("  API   {url}/v1         metrics  {url}/metrics");
    eprintln!("  peers {} (QUIC)", running.listen);
    eprintln!("next:  aop register --help");
    eprintln!("       aop resolve{at} \"what you need\"");
    eprintln!("       aop mcp config claude-code{at} --write");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Admission, ResolveConfig};

    #[tokio::test]
    async fn a_node_whose_driver_is_gone_is_not_ready_and_ends_with_a_problem() {
        let (limit, deadline) = (10, Duration::from_secs(2));
        let setup = Setup {
            zone: ZoneName::parse("research").unwrap(),
            parents: Vec::new(),
            joins: Vec::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            data_dir: None,
            resolve: ResolveConfig { limit, deadline },
            joining: aop_proto::node::Admission::Local,
            admission: Admission::default(),
            offer: None,
            audit: audit::Settings::default(),
            policies: Default::default(),
            pinned: Vec::new(),
        };
        let mut running = Running::start(setup).await.unwrap();
        running.handle.set_started();
        assert_eq!(running.handle.ready(), Ok(()));
        running.driver.cancel();
        let problem = signals::until_told_to_stop(&CancellationToken::new(), [&mut running]).await.unwrap_err();
        assert_eq!(problem.kind, Kind::Internal);
        assert!(running.handle.ready().is_err());
        running.stop().await;
    }

    #[tokio::test]
    async fn what_a_driver_failed_of_is_said() {
        let panicked = tokio::spawn(async { panic!("of a test") }).await;
        assert!(failure_of(panicked).is_some_and(|why| why.contains("of a test")));
        assert_eq!(failure_of(Ok(Err(Deaf))), Some(Deaf.to_string()));
        assert_eq!(failure_of(Ok(Ok(()))), None);
    }
}
