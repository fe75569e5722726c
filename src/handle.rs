//! What doors ask of a node: questions, registrations, state. Cheap to clone; every method says in a [`Problem`] what went wrong.
//!
//! A local hit by name is answered from the published view without waiting for anybody; everything else goes through the driver.
//! Calls are not here: they are made by `call`.

mod admission;
mod ask;
mod audited;
mod cache;
mod callers;
mod hints;
mod keys;
mod known;
mod near;
mod referral;
mod servers;
mod state;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aop_proto::access::Sight;
use aop_proto::error::{Kind, Problem, did_you_mean};
use aop_proto::name::{FullName, ZoneName};
use aop_proto::node::Write;
use aop_proto::params::TTL_L3;
use aop_proto::resolver::{Hop, Outcome, Source, Terms};
use aop_proto::search::{Ranked, rank};
use aop_proto::view::View;
use aop_proto::wire::message::{Form, Question};
use aop_proto::zone::answer::{Answerer, answer};
use tokio::sync::{mpsc, oneshot, watch};

pub use ask::{Ask, Mode};
use ask::{checked, undotted};
pub use callers::BroughtCall;
pub use servers::{CATALOGUE_BATCH, Registered, read_catalogue};
pub use transfer::{Exporting, Receiving, Taken, damaged, read_opening};

use crate::answers::{Again, Answers, Hit, Moment, Own, Ready, Resolution, Said};
use crate::audit::Audit;
use crate::auth::{Auth, Standing};
use crate::clock::Clock;
use crate::driver::{DriverTerms, Job, Published};
use crate::entropy::{TraceIds, ZoneKeys};
use crate::invites::Invites;
use crate::peer::Peers;
use crate::store::Store;
use crate::telemetry::{Metrics, given_trace};
use crate::upstream::{ServerStatus, Upstreams};
use crate::watch::Watch;

/// Full names offered when several tools go by one name.
const NAMES_MAX: usize = 10;
/// What all doors of one node share.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    jobs: mpsc::Sender<Job>,
    published: Published,
    upstreams: Upstreams,
    store: Store,
    audit: Audit,
    auth: Auth,
    peers: Peers,
    invites: Invites,
    answers: Answers,
    known: known::Known,
    metrics: Metrics,
    clock: Clock,
    about: About,
    started: Instant,
    /// By server, lower case, the tools an operator took out of its list.
    without: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// Held by whoever changes what is registered, so that news of a server never come between the steps of its end.
    registering: tokio::sync::Mutex<()>,
    zone_keys: Arc<Mutex<ZoneKeys>>,
    traces: TraceIds,
    transfers: transfer::Transfers,
    starting: AtomicBool,
    stopping: AtomicBool,
}

/// What a node says about itself.
#[derive(Debug, Clone)]
pub struct About {
    /// Where clients and peers reach it.
    pub listen: std::net::SocketAddr,
    /// What other nodes are told to dial; empty for one that cannot be dialled.
    pub address: String,
    /// Where its data lies; nothing for a node in memory.
    pub data_dir: Option<std::path::PathBuf>,
    /// Version of the software.
    pub version: &'static str,
    /// Whether it dials other machines.
    pub reaches_out: bool,
    /// Results of a question that does not say how many it wants.
    pub limit: usize,
    /// Time for a question that does not say how much it has.
    pub deadline: Duration,
}

/// The limbs a handle speaks for.
pub struct Limbs {
    /// Jobs for the driver.
    pub jobs: mpsc::Sender<Job>,
    /// What the driver publishes.
    pub published: Published,
    /// Servers behind this node.
    pub upstreams: Upstreams,
    /// Where registrations are kept.
    pub store: Store,
    /// Where it is written down who did what.
    pub audit: Audit,
    /// Who may do what.
    pub auth: Auth,
    /// Connections to other nodes.
    pub peers: Peers,
    /// Invites this node has issued.
    pub invites: Invites,
    /// Counters of this node.
    pub metrics: Metrics,
    /// The zone's keys as this node has made them.
    pub zone_keys: ZoneKeys,
    /// The node's clock.
    pub clock: Clock,
}

impl Handle {
    /// A handle of a node whose limbs are these.
    pub fn new(limbs: Limbs, about: About) -> Self {
        let Limbs { jobs, published, upstreams, store, audit, auth, peers, invites, metrics, zone_keys, clock } = limbs;
        upstreams.tell(published.events.clone());
        let answers = Answers::default();
        let (started, without) = (Instant::now(), Mutex::default());
        let (starting, stopping) = (AtomicBool::new(true), AtomicBool::new(false));
        let inner = Inner {
            jobs,
            published,
            upstreams,
            store,
            audit,
            auth,
            peers,
            invites,
            answers,
            known: known::Known::default(),
            metrics,
            clock,
            about,
            started,
            without,
            registering: tokio::sync::Mutex::default(),
            zone_keys: Arc::new(Mutex::new(zone_keys)),
            traces: TraceIds::default(),
            transfers: transfer::Transfers::default(),
            starting,
            stopping,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What readers see now.
    pub fn view(&self) -> Arc<View> {
        self.inner.published.view.load_full()
    }

    /// Grows with every change of the zone or of a tag heard.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.published.changes.clone()
    }

    /// Grows whenever a connection comes, goes or fails to come.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.inner.published.connections.clone()
    }

    /// What changes, event by event.
    pub fn events(&self) -> &Watch {
        &self.inner.published.events
    }

    /// The servers behind this node.
    pub fn upstreams(&self) -> &Upstreams {
        &self.inner.upstreams
    }

    /// Where registrations and calls under keys are kept.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Where it is written down who did what.
    pub fn audit(&self) -> &Audit {
        &self.inner.audit
    }

    /// Connections to other nodes.
    pub fn peers(&self) -> &Peers {
        &self.inner.peers
    }

    /// Counters of this node.
    pub fn metrics_registry(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The node's clock.
    pub fn clock(&self) -> Clock {
        self.inner.clock
    }

    /// The servers behind this node, as they are.
    pub fn servers(&self) -> Vec<ServerStatus> {
        self.inner.upstreams.states()
    }

    /// Answers a question, with what may be found by whom it is asked for.
    async fn resolve_any(&self, ask: Ask) -> Result<Arc<Resolution>, Problem> {
        let started = Instant::now();
        let ask = checked(ask, self.inner.about.limit)?;
        let looks_exact = ask.query.contains('.') && FullName::parse(&ask.query).is_ok();
        let resolution = match ask.mode {
            Mode::Exact => self.answer_name(&ask, started).await?.0,
            Mode::List => self.list(&ask, started).await?,
            Mode::Search => self.answer(&ask, Form::Words, started).await?,
            Mode::Auto if looks_exact => {
                let (exact, is_left_out) = self.answer_name(&ask, started).await?;
                // A name of another zone is asked for there: what has its words here is something else.
                let goes_on = || ask.no_recurse && !referral::referrals(&self.view(), &ask).is_empty();
                if exact.hits.is_empty() && !exact.partial && !goes_on() {
                    let words = self.answer(&ask, Form::Words, started).await?;
                    // Two answers made this one, and either may end before the other.
                    let both = match words.hits.is_empty() && !words.partial {
                        true => Arc::unwrap_or_clone(exact),
                        false if is_left_out => Arc::unwrap_or_clone(words),
                        false => Arc::unwrap_or_clone(words).in_place_of(&exact),
                    };
                    Arc::new(Resolution { again: None, ..both })
                } else {
                    exact
                }
            }
            Mode::Auto => self.answer(&ask, Form::Words, started).await?,
        };
        let resolution = match ask.no_recurse {
            false => resolution,
            true => Arc::new(Resolution {
                referrals: referral::referrals(&self.view(), &ask),
                etag: String::new(),
                again: None,
                ..Arc::unwrap_or_clone(resolution)
            }),
        };
        self.inner.metrics.resolved(resolution.partial, resolution.hits.is_empty(), started.elapsed());
        match &ask.zone {
            Some(zone)
                if !resolution.partial
                    && resolution.referrals.is_empty()
                    && !resolution.knows_zone(zone)
                    && !self.is_known_zone(zone) =>
            {
                Err(self.no_such_zone(zone, &resolution))
            }
            _ => Ok(resolution),
        }
    }

    /// An answer to what was asked before, as it was made ready then; see [`Self::make_ready`]. Nothing to whom other rules hold for by now
    /// than did when his request came.
    pub fn say(&self, standing: &Standing, key: &str) -> Option<Said> {
        let said = self.inner.answers.say(key, self.moment())?;
        if !self.auth().is_current(standing) {
            return None;
        }
        self.inner.metrics.resolved(said.is_partial, said.is_empty, said.took);
        Some(said)
    }

    /// Says what lies ready under `key` under another key as well, on which all of the first depends.
    pub fn say_as_well(&self, key: &str, other: &str) {
        self.inner.answers.say_as_well(key, other);
    }

    /// The trace of what a door does: as whoever asked named it, or a new one.
    pub fn trace_id(&self) -> String {
        given_trace().unwrap_or_else(|| self.inner.traces.next())
    }

    /// Makes an answer ready to be said again to whoever asks the same under `key`, as `write` writes it; `age_max` is the oldest he takes.
    /// The key holds everything on which the text depends: the whole question, what the asker may find, and the manner of writing.
    pub fn make_ready(
        &self,
        standing: &Standing,
        key: String,
        resolution: &Resolution,
        age_max: Duration,
        write: impl Fn(&Resolution) -> Option<String>,
    ) {
        // The key tells what he could find when he came, the answer what he could find since.
        if self.auth().is_current(standing)
            && let Some(ready) = Ready::of(resolution, age_max, write)
        {
            self.inner.answers.make_ready(key, ready);
        }
    }

    fn moment(&self) -> Moment {
        let view = self.inner.published.view.load();
        self.inner.answers.moment(view.serial, view.epoch)
    }

    /// The one tool of that name: its full name, `server__tool`, `server/tool`, or the name its server gives it. Only a full name
    /// says whose tool is meant; by any other name the own zone's come first, and several of them are never chosen between.
    async fn find_any(&self, name: &str, bounds: &Ask) -> Result<Hit, Problem> {
        let name = undotted(name);
        match self.find_once(name, bounds, false).await {
            // "No" may be a moment old, and whoever asks may know better: a final no is asked for anew.
            Err(problem) if problem.kind == Kind::NameNotFound => self.find_once(name, bounds, true).await,
            found => found,
        }
    }

    async fn find_once(&self, name: &str, bounds: &Ask, no_cache: bool) -> Result<Hit, Problem> {
        let ask = |query: &str, mode| Ask { query: query.to_owned(), mode, no_cache, ..bounds.clone() };
        let mut found = None;
        if name.contains('.') && FullName::parse(name).is_ok() {
            let exact = self.resolve_any(ask(name, Mode::Exact)).await?;
            if let Some(hit) = exact.hits.iter().find(|hit| hit.exact) {
                return Ok(hit.clone());
            }
            found = Some(exact);
        }
        // A tool whose own name has dots is no full name, and still what it is called: in this zone, once the authority of such
        // a name has said that it is not one. Anywhere else somebody could give his tool another's name.
        if found.as_ref().is_none_or(|exact| !exact.partial)
            && let Some(full) = one_of(name, called_here(&self.view(), name, bounds.sight.as_deref()))?
        {
            let own = self.resolve_any(ask(&full, Mode::Exact)).await?;
            if let Some(hit) = own.hits.iter().find(|hit| hit.name == full) {
                return Ok(hit.clone());
            }
        }
        let found = match found {
            Some(exact) => exact,
            None => {
                let words = self.resolve_any(ask(name, Mode::Search)).await?;
                let called = words.hits.iter().filter(|hit| hit.exact).map(|hit| hit.name.clone()).collect();
                if let Some(full) = one_of(name, called)? {
                    return words.hits.iter().find(|hit| hit.name == full).cloned().ok_or_else(|| not_found(name));
                }
                words
            }
        };
        if found.partial {
            return Err(nobody_could_say(name, &found));
        }
        Err(not_found(name).did_you_mean(self.near(name, bounds, &found).await))
    }

    /// A list to its end: zones send what fits a frame, and are asked for what comes after it.
    async fn list(&self, ask: &Ask, started: Instant) -> Result<Arc<Resolution>, Problem> {
        let first = self.answer(ask, Form::List, started).await?;
        if first.continues_after.is_none() || first.hits.len() >= ask.limit {
            return Ok(first);
        }
        let mut whole = Resolution::clone(&first);
        while let Some(after) = whole.continues_after.take().filter(|_| whole.hits.len() < ask.limit) {
            let page = self.answer(&Ask { after: after.clone(), ..ask.clone() }, Form::List, started).await?;
            whole.extend(&page, &after);
        }
        whole.hits.truncate(ask.limit);
        whole.took = started.elapsed();
        Ok(Arc::new(whole))
    }

    async fn answer(&self, ask: &Ask, form: Form, started: Instant) -> Result<Arc<Resolution>, Problem> {
        let view = self.view();
        let moment = self.inner.answers.moment(view.serial, view.epoch);
        let (age_max, calls) = (ask.age_max(), ask.calls.as_deref());
        let own = Own { zone: &view.zone, node: view.node };
        let question = Question {
            form,
            text: ask.query.clone(),
            zone: ask.zone.clone(),
            limit: u32::try_from(ask.width(form)).unwrap_or(u32::MAX),
            tags: ask.tags.clone(),
            capabilities: ask.capabilities.clone(),
            after: ask.after.clone(),
        };
        if let Some((outcome, found)) = local_hit(&view, &question, ask.sight.as_deref()) {
            let trace_id = self.trace_id();
            let mut resolution = Resolution::new(&ask.query, &outcome, &found, calls, started.elapsed(), trace_id, own);
            resolution.again = Some(Again { moment, ages: false });
            return Ok(Arc::new(resolution));
        }
        let key = ask.key(form);
        if !ask.no_cache
            && let Some(kept) = self.inner.answers.get(&key, moment, age_max, ask.limit, || self.trace_id())
        {
            return Ok(kept);
        }
        let terms = Terms {
            cached: !ask.no_cache,
            recurse: !(ask.no_recurse || ask.local_only),
            age_max,
            ..Terms::of_door(form, Duration::ZERO)
        };
        let within = ask.within(self.inner.about.deadline);
        let (reply, answer) = oneshot::channel();
        let job = Job::Resolve(question, DriverTerms { within, terms, sight: ask.sight.clone() }, reply);
        self.inner.jobs.try_send(job).map_err(|_| busy())?;
        // The core answers by its deadline; the margin is for a busy machine.
        let answer = tokio::time::timeout(within + Duration::from_secs(2), answer).await;
        let Ok(Ok((outcome, found))) = answer else {
            return Err(Problem::new(Kind::TimedOut, "the node did not answer in time").hint("aop status"));
        };
        let trace_id = self.trace_id();
        let resolution =
            Arc::new(Resolution::new(&ask.query, &outcome, &found, calls, started.elapsed(), trace_id, own));
        // What was too old for this asker while somebody was silent is missing here, and not to the next.
        if !resolution.partial || age_max >= TTL_L3 {
            self.inner.answers.put(key, resolution.clone(), moment);
        }
        Ok(if resolution.hits.len() > ask.limit { Arc::new(resolution.first(ask.limit)) } else { resolution })
    }

    /// From now on the node is ready: everything it was told to do at its start is done.
    pub fn set_started(&self) {
        self.inner.starting.store(false, Ordering::Relaxed);
    }

    /// From now on the node is not ready: it finishes what it has accepted.
    pub fn set_stopping(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
        self.events().stop();
    }

    /// Says goodbye to all peers.
    pub async fn leave(&self) {
        let (done, left) = oneshot::channel();
        if self.inner.jobs.send(Job::Leave(done)).await.is_ok() {
            // A driver that is gone has nobody to say goodbye to.
            let _ = left.await;
        }
    }

    async fn write(&self, write: Write) -> Result<aop_proto::node::Wrote, Problem> {
        let (reply, answer) = oneshot::channel();
        self.inner.jobs.send(Job::Write(write, reply)).await.map_err(|_| busy())?;
        match answer.await {
            Ok(Ok(wrote)) => Ok(wrote),
            Ok(Err(error)) => Err(self.write_problem(error)),
            Err(_) => Err(stopping()),
        }
    }

    /// Whether that is this zone, its parent's, or one below that was delegated.
    fn is_known_zone(&self, zone: &str) -> bool {
        let view = self.view();
        let all = view.children.iter().map(|child| &child.zone).chain(&view.parent).chain([&view.zone]);
        ZoneName::parse(zone).is_ok_and(|zone| all.into_iter().any(|known| *known == zone))
    }

    /// The problem of a zone that is not there, with near names among those this node and its relatives know.
    fn no_such_zone(&self, zone: &str, answered: &Resolution) -> Problem {
        let view = self.view();
        let known = std::iter::once(view.zone.as_str())
            .chain(view.parent.as_ref().map(ZoneName::as_str))
            .chain(view.children.iter().map(|child| child.zone.as_str()))
            .chain(answered.near.iter().map(String::as_str));
        Problem::new(Kind::ZoneNotFound, format!("no zone `{zone}`"))
            .hint("aop zones --tree")
            .did_you_mean(did_you_mean(zone, known))
    }
}

/// Full names of the own zone's tools that go by `name`. What a child zone owns by now is not the own zone's.
fn called_here(view: &View, name: &str, sight: Option<&Sight>) -> BTreeSet<String> {
    let sees = |tool: &str| sight.is_none_or(|sight| sight.sees(&view.zone, tool));
    let own = view.tools.called(name).into_iter().filter(|tool| sees(tool.name()));
    let own = own.filter(|tool| !view.children.iter().any(|child| child.zone.holds(tool.name())));
    own.map(|tool| tool.name().to_owned()).collect()
}

/// The only one of them. Which of several is meant the caller says, not a score.
fn one_of(name: &str, mut called: BTreeSet<String>) -> Result<Option<String>, Problem> {
    if called.len() < 2 {
        return Ok(called.pop_first());
    }
    let hint = format!("aop resolve {name}");
    let several = format!("`{name}` names several tools; use one of their full names");
    Err(Problem::new(Kind::Usage, several).hint(hint).did_you_mean(called.into_iter().take(NAMES_MAX).collect()))
}

/// The same, of a call that somebody brought to this node.
pub fn no_tool_here(name: &str, view: &View) -> Problem {
    Problem::new(Kind::NameNotFound, format!("no tool `{name}` at node {}", view.node.short())).hint("aop ls")
}

/// No tool of that name was found by those who spoke, and others were silent.
pub(crate) fn nobody_could_say(name: &str, found: &Resolution) -> Problem {
    let silent = found.silent_in_words();
    let message = format!("nobody could say where `{name}` is: silent were {silent}");
    Problem::new(Kind::TimedOut, message).hint(format!("aop resolve --trace {name}"))
}

fn not_found(name: &str) -> Problem {
    // A part of a name may be found in words; the whole of one was looked for already.
    let hint = name.split_once(['.', '/']).map_or("aop ls".to_owned(), |(first, _)| format!("aop resolve {first}"));
    Problem::new(Kind::NameNotFound, format!("no tool is called `{name}`")).hint(hint)
}

/// A tool of the own zone by its full name: the view knows it, nobody has to be asked.
fn local_hit(view: &View, question: &Question, sight: Option<&Sight>) -> Option<(Outcome, Ranked)> {
    let tool = view.tools.find_text(&question.text).filter(|_| question.form == Form::Exact)?;
    if view.children.iter().any(|child| child.zone.holds(tool.name())) {
        return None;
    }
    let by = Answerer { zone: &view.zone, node: view.node, tag: view.tag, behind: false };
    let checked = answer(&by, &view.tools, question, usize::MAX, sight);
    if checked.records.is_empty() {
        return None;
    }
    let found = rank(question, std::iter::once(&checked));
    let (answers, silent, proofs) = (vec![(Source::Local, checked)], Vec::new(), Vec::new());
    let hops = vec![Hop { asked: None, is_cached: false }];
    Some((Outcome { question: question.clone(), answers, hops, silent, skipped: 0, proofs }, found))
}

fn stopping() -> Problem {
    Problem::new(Kind::Internal, "the node is stopping")
}

fn busy() -> Problem {
    Problem::new(Kind::Busy, "the node has too much to do").hint("aop status")
}

#[cfg(test)]
impl Handle {
    /// A handle of a node in memory, zone `research`, with nothing behind it and the admin token `t`.
    pub(crate) fn for_tests() -> Self {
        use aop_proto::access::Policy;
        use aop_proto::node::{Admission, Config, Node, Restored};
        use aop_proto::params::{QUERY_DEADLINE, RESULTS};

        use crate::auth::Terms;
        use crate::driver::{Ahead, Driver};
        use crate::entropy::NodeKey;

        let clock = Clock::start();
        let (key, zone_keys) = (NodeKey::memory().unwrap(), ZoneKeys::memory().unwrap());
        let (events, heard) = crate::peer::events(8);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let listen = socket.local_addr().unwrap();
        let peers = Peers::bind(socket, &key, events).unwrap();
        let ahead = Arc::new(Ahead::default());
        let config = Config {
            zone: ZoneName::parse("research").unwrap(),
            key: key.signing_key().clone(),
            zone_key: zone_keys.current().signing_key().clone(),
            spare_key: None,
            incarnation: 1,
            address: listen.to_string(),
            version: "test".to_owned(),
            seed: [7; 32],
            parents: Vec::new(),
            joins: Vec::new(),
            admission: Admission::Local,
            invitation: None,
            rules: Policy::open(),
            opened: Some(ahead.clone()),
        };
        let node = Node::new(config, Restored::default(), clock.now());
        let store = Store::memory();
        let (driver, queues) = Driver::new(node, clock, peers.clone(), store.clone(), heard, ahead, Default::default());
        tokio::spawn(driver.run());
        let upstreams = Upstreams::new(mpsc::channel(8).0, Default::default());
        let invites = Invites::load(&store, &key, clock).unwrap();
        let limbs = Limbs {
            jobs: queues.jobs,
            published: queues.published,
            upstreams,
            auth: Auth::open("t", Terms { policy: Policy::open(), ..Terms::default() }, store.clone()).unwrap(),
            store,
            audit: Audit::memory(Default::default(), clock),
            peers,
            invites,
            metrics: Metrics::default(),
            zone_keys,
            clock,
        };
        let (limit, deadline) = (RESULTS.0, QUERY_DEADLINE.0);
        let handle = Self::new(
            limbs,
            About {
                listen,
                address: listen.to_string(),
                data_dir: None,
                version: "test",
                reaches_out: false,
                limit,
                deadline,
            },
        );
        handle.set_started();
        handle
    }
}

#[cfg(test)]
mod tests {
    use aop_proto::access::Caller;

    use super::*;
    use crate::handle::ask::{LABEL_BYTES_MAX, LABELS_MAX};

    async fn with_tools(tools: &[(&str, &str)]) -> Handle {
        let handle = Handle::for_tests();
        let lines = tools.iter().map(|(server, name)| serde_json::json!({"server": server, "name": name})).collect();
        let mut changes = handle.changes();
        handle.register_tools(&Caller::operator(), lines).await.unwrap();
        // Readers see a write a moment after it is acknowledged.
        while handle.view().tools.len() < tools.len() {
            changes.changed().await.unwrap();
        }
        handle
    }

    #[tokio::test]
    async fn a_name_that_several_tools_go_by_is_refused_with_their_full_names() {
        let handle = with_tools(&[("one", "echo"), ("two", "echo"), ("two", "fs.read")]).await;
        let problem = handle.find_any("echo", &Ask::default()).await.unwrap_err();
        let names = ["echo.one.research".to_owned(), "echo.two.research".to_owned()];
        assert_eq!((problem.kind, problem.did_you_mean.as_slice()), (Kind::Usage, names.as_slice()));
        for (name, full) in [
            ("two__echo", "echo.two.research"),
            ("one/echo", "echo.one.research"),
            ("echo.two.research", "echo.two.research"),
            ("fs.read", "fs_read-4074bc.two.research"),
        ] {
            assert_eq!(handle.find_any(name, &Ask::default()).await.map(|hit| hit.name), Ok(full.to_owned()), "{name}");
        }
        let problem = handle.find_any("echo.two.reserch", &Ask::default()).await.unwrap_err();
        assert_eq!(problem.kind, Kind::NameNotFound);
        assert_eq!(handle.find_any("nothing", &Ask::default()).await.unwrap_err().kind, Kind::NameNotFound);
    }

    #[tokio::test]
    async fn a_server_that_nobody_supervises_any_more_is_down() {
        use aop_proto::node::NewTool;
        use aop_proto::wire::message::Health;

        let handle = Handle::for_tests();
        let tool = NewTool {
            original: "echo".to_owned(),
            definition: bytes::Bytes::from_static(br#"{"name":"echo","inputSchema":{"type":"object"}}"#),
            server: "gone".to_owned(),
            ..NewTool::default()
        };
        let write = Write::Server { server: "gone".to_owned(), replica: false, tools: vec![tool] };
        let mut changes = handle.changes();
        handle.write(write).await.unwrap();
        let health = || async { handle.find_any("echo", &Ask::default()).await.ok().map(|hit| hit.health()) };
        while health().await != Some(Health::Ok) {
            changes.changed().await.unwrap();
        }
        while handle.view().tools.is_empty() {
            changes.changed().await.unwrap();
        }
        handle.disown_unsupervised().await.unwrap();
        while health().await != Some(Health::Degraded) {
            changes.changed().await.unwrap();
        }
        // What is left out of a server's list needs no registration to be remembered.
        assert_eq!(handle.unregister(&Caller::operator(), "gone/echo").await.unwrap(), ["echo.gone.research"]);
        let listed = bytes::Bytes::from_static(br#"{"name":"echo"}"#);
        assert!(handle.wanted("Gone", &[listed]).is_empty());
    }

    #[tokio::test]
    async fn a_question_has_so_many_labels_and_no_more() {
        let handle = Handle::for_tests();
        let ask = |tags: Vec<String>| Ask { query: "echo".to_owned(), tags, ..Ask::default() };
        let label = || "t".repeat(LABEL_BYTES_MAX);
        assert!(handle.resolve_any(ask(vec![label(); LABELS_MAX])).await.is_ok());
        for tags in [vec![label(); LABELS_MAX + 1], vec![label() + "t"]] {
            assert_eq!(handle.resolve_any(ask(tags)).await.unwrap_err().kind, Kind::Usage);
        }
        let zone = Some("z".repeat(aop_proto::params::NAME_CHARS_MAX + 1));
        let problem = handle.resolve_any(Ask { zone, ..ask(Vec::new()) }).await.unwrap_err();
        assert_eq!(problem.kind, Kind::Usage);
    }
}
