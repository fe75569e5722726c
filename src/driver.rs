//! The one task that owns the node: turns what limbs and doors bring into inputs, and outputs into what limbs and doors do.
//!
//! ```text
//!  doors ── Job ──▶ ┌────────┐ ── Dial, Send ──▶ peers ──▶ PeerEvent ─┐
//!                   │ driver │ ── Persist ─────▶ store ──▶ Stored ────┤
//!  doors ◀─ reply ─ │ (Node) │ ── View ────────▶ readers              │
//!                   └────────┘ ◀──────────────────────────────────────┘
//! ```
//!
//! It decides nothing about the protocol. Every queue into it is bounded; a full one is told to whoever fills it.

pub mod ahead;
pub mod keeping;
mod refusals;
mod strangers;
mod transfer;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use aop_proto::access::{Policy, Sight};
use aop_proto::invite::Granted;
use aop_proto::name::ZoneName;
use aop_proto::node::{
    Admission, Brought, Input, Invitation, Keep, Node, NotBelieved, Output, Refusal, Write, WriteError, Wrote,
};
use aop_proto::params::ORIGINS_MAX;
use aop_proto::record::NodeId;
use aop_proto::resolver::{Outcome, Terms};
use aop_proto::search::Ranked;
use aop_proto::trust::SigningKey;
use aop_proto::view::View;
use aop_proto::wire::Class;
use aop_proto::wire::message::{Call, Question};
use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use ahead::Ahead;
pub use refusals::Refusals;
pub use transfer::Transfer;

use strangers::{Strangers, Verdict};

use crate::clock::Clock;
use crate::peer::{Heard, PeerEvent, Peers, Responder};
use crate::store::{Op, Store};
use crate::watch::{Told, Watch};

/// Jobs of doors that wait for the driver.
pub const JOBS_MAX: usize = 1024;
/// Events of peers that wait for the driver.
pub const PEER_EVENTS_MAX: usize = 1024;
/// Requests of peers that wait for federation.
pub const REQUESTS_MAX: usize = 256;
/// Results of the store and of name look-ups that wait for the driver; the store itself bounds what is under way.
const NEWS_MAX: usize = 4096;
/// Changes on their way to the store. One input brings at most one for every origin of a zone, and half of this is kept for it.
const PERSISTS_MAX: usize = 4 * ORIGINS_MAX;
/// Events or news taken at one wake-up; then the others have their turn.
const BATCH_MAX: usize = 64;
/// What operators should know and nobody has read yet.
const REFUSALS_MAX: usize = 64;
/// Invites that wait to be looked at.
pub const REDEMPTIONS_MAX: usize = 64;

/// Something a door wants.
#[derive(Debug)]
pub enum Job {
    /// A change to what this node serves.
    Write(Write, oneshot::Sender<Result<Wrote, WriteError>>),
    /// Another key for the zone, which is kept already.
    Rotate(SigningKey, oneshot::Sender<Result<Wrote, WriteError>>),
    /// An invite was looked at, and its use is durable.
    Redeemed(NodeId, Result<Granted, String>),
    /// This node was given an invite, by whoever is at these addresses.
    Join(Invitation, Vec<String>),
    /// A call of this node, to be signed.
    Sign(Box<Call>, oneshot::Sender<Box<Call>>),
    /// A call that a peer brought, to be carried out here or passed on: whose it is.
    Whose(NodeId, Box<Call>, Way, oneshot::Sender<Result<(Box<Call>, Brought), NotBelieved>>),
    /// A step of a transfer.
    Transfer(Transfer),
    /// A question.
    Resolve(Question, DriverTerms, oneshot::Sender<(Outcome, Ranked)>),
    /// Who may find what from now on.
    Rules(Policy),
    /// Forget all cached answers, or what is kept of one zone and those below it; told how many of L2 and L3 went.
    FlushCaches(Option<ZoneName>, oneshot::Sender<[usize; 2]>),
    /// Say goodbye to all peers.
    Leave(oneshot::Sender<()>),
}

/// What becomes of a call that a peer brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// This node serves it.
    Here,
    /// It goes on.
    Onwards,
}

/// [`Terms`] with a time span where the node wants an instant.
#[derive(Debug, Clone)]
pub struct DriverTerms {
    /// Time from now.
    pub within: Duration,
    /// The rest; its deadline is replaced.
    pub terms: Terms,
    /// What whoever asks may find; nothing where that is everything.
    pub sight: Option<Arc<Sight>>,
}

/// A request another node makes of this one.
#[derive(Debug)]
pub struct PeerRequest {
    /// Who asks.
    pub peer: NodeId,
    /// The first frame.
    pub frame: Bytes,
    /// Where the answer goes.
    pub stream: Responder,
}

/// An invite that a peer presents.
#[derive(Debug)]
pub struct Redemption {
    /// Who.
    pub peer: NodeId,
    /// The token as it came.
    pub token: String,
}

/// Where this node dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This machine only.
    Local,
    /// Wherever a node may be.
    Anywhere,
}

impl Reach {
    fn includes(self, address: &SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        match self {
            Self::Local => ip.is_loopback(),
            Self::Anywhere => !ip.is_unspecified() && !ip.is_multicast() && ip != std::net::Ipv4Addr::BROADCAST,
        }
    }
}

/// Why a driver ended that nobody told to: the thread between the peers and it is gone, and with it every record they send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread that passes on the records that peers send has ended: none would be heard any more")]
pub struct Deaf;

/// What readers watch.
#[derive(Debug, Clone)]
pub struct Published {
    /// The current view.
    pub view: Arc<ArcSwap<View>>,
    /// Grows with every change of the zone or of a tag heard.
    pub changes: watch::Receiver<u64>,
    /// Grows whenever a connection comes, goes or fails to come.
    pub connections: watch::Receiver<u64>,
    /// What changes, event by event.
    pub events: Watch,
    /// How many strangers were let go because they said too much.
    pub let_go: Arc<AtomicU64>,
}

/// Ends of the driver's queues that others hold.
#[derive(Debug)]
pub struct Queues {
    /// Jobs go in here.
    pub jobs: mpsc::Sender<Job>,
    /// Requests of peers come out here.
    pub requests: mpsc::Receiver<PeerRequest>,
    /// What operators should know comes out here.
    pub refusals: mpsc::Receiver<Refusal>,
    /// Invites of peers come out here; what becomes of each comes back as [`Job::Redeemed`].
    pub redemptions: mpsc::Receiver<Redemption>,
    /// What readers watch.
    pub published: Published,
}

enum News {
    Stored { token: u64, durable: bool },
    Found { address: String, expected: Option<NodeId>, sockets: Result<Vec<SocketAddr>, String> },
}

/// The task. Made by [`Driver::new`], run once.
pub struct Driver {
    node: Node,
    clock: Clock,
    peers: Peers,
    persists: mpsc::Sender<(u64, Vec<Op>)>,
    jobs: mpsc::Receiver<Job>,
    events: mpsc::Receiver<PeerEvent>,
    /// Ends with the thread that reads bulk.
    reader: oneshot::Receiver<Infallible>,
    news: mpsc::Receiver<News>,
    news_sender: mpsc::Sender<News>,
    requests: mpsc::Sender<PeerRequest>,
    refused_calls: Refusals,
    refusals: mpsc::Sender<Refusal>,
    redemptions: mpsc::Sender<Redemption>,
    reach: Reach,
    strangers: Strangers,
    view: Arc<ArcSwap<View>>,
    changes: watch::Sender<u64>,
    connections: watch::Sender<u64>,
    watching: Watch,
    /// What is told to those who watch when readers can see it.
    told: Vec<Told>,
    /// Dials under way, by what they expect where, and the addresses that the node meant; forgotten with their outcome.
    dials: BTreeMap<(SocketAddr, Option<NodeId>), BTreeSet<String>>,
    writes: HashMap<u64, oneshot::Sender<Result<Wrote, WriteError>>>,
    questions: HashMap<u64, oneshot::Sender<(Outcome, Ranked)>>,
    next_token: u64,
    stop: CancellationToken,
}

impl Driver {
    /// A driver of `node`, and the queues to it. The node's first outputs are carried out when the driver runs. `ahead` is the memory
    /// that the node was given as [`opened`](aop_proto::node::Config::opened).
    pub fn new(
        node: Node,
        clock: Clock,
        peers: Peers,
        store: Store,
        heard: Heard,
        ahead: Arc<Ahead>,
        stop: CancellationToken,
    ) -> (Self, Queues) {
        let view = Arc::new(ArcSwap::from_pointee(node.view()));
        let reader = ahead.read(heard.bulk, view.clone());
        let (jobs_sender, jobs) = mpsc::channel(JOBS_MAX);
        let (requests, requests_receiver) = mpsc::channel(REQUESTS_MAX);
        let (refusals, refusals_receiver) = mpsc::channel(REFUSALS_MAX);
        let (redemptions, redemptions_receiver) = mpsc::channel(REDEMPTIONS_MAX);
        let (news_sender, news) = mpsc::channel(NEWS_MAX);
        let (persists, persists_receiver) = mpsc::channel(PERSISTS_MAX);
        // Ends when the driver is gone, which holds the only sender.
        tokio::spawn(keeping::store_in_order(store, persists_receiver, news_sender.clone()));
        let (changes, changes_receiver) = watch::channel(0);
        let (connections, connections_receiver) = watch::channel(0);
        let strangers = Strangers::default();
        let watching = Watch::new(clock.now().wall_ms);
        let published = Published {
            view: view.clone(),
            changes: changes_receiver,
            connections: connections_receiver,
            events: watching.clone(),
            let_go: strangers.let_go(),
        };
        let driver = Self {
            node,
            clock,
            peers,
            persists,
            jobs,
            events: heard.events,
            reader,
            news,
            news_sender,
            requests,
            refused_calls: Refusals::default(),
            refusals,
            redemptions,
            reach: Reach::Local,
            strangers,
            view,
            changes,
            connections,
            watching,
            told: Vec::new(),
            dials: BTreeMap::new(),
            writes: HashMap::new(),
            questions: HashMap::new(),
            next_token: 0,
            stop,
        };
        let queues = Queues {
            jobs: jobs_sender,
            requests: requests_receiver,
            refusals: refusals_receiver,
            redemptions: redemptions_receiver,
            published,
        };
        (driver, queues)
    }

    /// The same, which dials as far as this.
    #[must_use]
    pub const fn reaching(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// The same, where these may come in without an invite.
    #[must_use]
    pub fn guarding(mut self, admission: Admission) -> Self {
        self.strangers.guard(admission);
        self
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// [`Deaf`]; the node has to end, since it would go on as if no peer had anything to say.
    pub async fn run(mut self) -> Result<(), Deaf> {
        let stop = self.stop.clone();
        let mut stopped = pin!(stop.cancelled());
        let mut wait = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            let deadline = self.drain();
            let due = self.clock.instant(deadline).into();
            // To be woken too early costs less than to set the clock with every question.
            if due < wait.deadline() || wait.is_elapsed() {
                wait.as_mut().reset(due);
            }
            tokio::select! {
                () = &mut stopped => return Ok(()),
                () = &mut wait => self.on_time(),
                Some(news) = self.news.recv() => self.on_all_news(news),
                _ = &mut self.reader => return Err(Deaf),
                event = self.events.recv(), if self.has_room() => self.on_peer_events(event.ok_or(Deaf)?),
                Some(job) = self.jobs.recv(), if self.has_room() => self.on_jobs(job),
            }
        }
    }

    fn drain(&mut self) -> Duration {
        loop {
            match self.node.poll_output() {
                Output::Wait(deadline) => return deadline,
                output => self.carry_out(output),
            }
        }
    }

    fn on_time(&mut self) {
        self.node.handle_timeout(self.clock.now());
    }

    fn input(&mut self, input: Input) {
        self.node.handle_input(self.clock.now(), input);
    }

    /// This job and those that wait behind it.
    fn on_jobs(&mut self, first: Job) {
        self.on_job(first);
        for _ in 1..BATCH_MAX {
            self.drain();
            let Some(job) = self.has_room().then(|| self.jobs.try_recv().ok()).flatten() else { return };
            self.on_job(job);
        }
    }

    fn on_job(&mut self, job: Job) {
        self.next_token += 1;
        let token = self.next_token;
        match job {
            Job::Write(write, reply) => {
                self.writes.insert(token, reply);
                self.input(Input::Write { token, write });
            }
            Job::Rotate(key, reply) => {
                self.writes.insert(token, reply);
                self.input(Input::Rotate { token, key });
            }
            Job::Redeemed(peer, granted) => self.input(Input::Redeemed { peer, granted }),
            Job::Join(invitation, addresses) => self.input(Input::Join { invitation, addresses }),
            Job::Sign(mut call, reply) => {
                self.node.sign(self.clock.now(), &mut call);
                // The caller may have gone away, here and below.
                let _ = reply.send(call);
            }
            Job::Whose(peer, mut call, way, reply) => {
                let brought = match way {
                    Way::Here => self.node.whose(self.clock.now(), peer, &call),
                    Way::Onwards => self.node.pass_on(self.clock.now(), peer, &mut call),
                };
                let _ = reply.send(brought.map(|brought| (call, brought)));
            }
            Job::Transfer(transfer) => self.on_transfer(token, transfer),
            Job::Resolve(question, DriverTerms { within, terms, sight }, reply) => {
                self.questions.insert(token, reply);
                let terms = Terms { deadline: self.clock.now().mono + within, ..terms };
                self.input(Input::Resolve { token, question, terms, sight });
            }
            Job::Rules(rules) => self.input(Input::Rules(rules)),
            Job::FlushCaches(zone, reply) => {
                let before = self.node.kept();
                self.input(Input::FlushCaches(zone));
                let now = self.node.kept();
                let _ = reply.send([before[0].saturating_sub(now[0]), before[1].saturating_sub(now[1])]);
            }
            Job::Leave(done) => {
                self.input(Input::Leave);
                self.drain();
                // The asker may have given up waiting for a goodbye.
                let _ = done.send(());
            }
        }
    }

    /// This event and those that wait behind it: while much arrives, most of it costs no wake-up.
    fn on_peer_events(&mut self, first: PeerEvent) {
        self.on_peer_event(first);
        for _ in 1..BATCH_MAX {
            self.drain();
            let Some(event) = self.has_room().then(|| self.events.try_recv().ok()).flatten() else { return };
            self.on_peer_event(event);
        }
    }

    fn on_peer_event(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Up { peer, address, dialed, rtt } => {
                let (peer, is_local) = (NodeId(peer), address.ip().to_canonical().is_loopback());
                self.strangers.up(peer, is_local, Instant::now());
                let address = self.name_of(peer, address, dialed);
                self.input(Input::PeerUp { peer, address, dialed, rtt, is_local });
                self.note_connection();
            }
            PeerEvent::Reached { peer, address } => {
                let peer = NodeId(peer);
                // Whoever answered is who was expected, or anybody was welcome.
                for expected in [Some(peer), None] {
                    for address in self.dials.remove(&(address, expected)).unwrap_or_default() {
                        self.input(Input::Reached { peer, address });
                    }
                }
                self.note_connection();
            }
            PeerEvent::Down { peer, reason, graceful } => {
                tracing::debug!(peer = %NodeId(peer).short(), reason, graceful, "peer.down");
                self.strangers.down(NodeId(peer));
                self.input(Input::PeerDown { peer: NodeId(peer), lost: !graceful });
                self.note_connection();
            }
            PeerEvent::Message { peer, bytes, room: _ } => self.on_message(NodeId(peer), bytes),
            PeerEvent::DialFailed { address, expected, reason } => {
                for address in self.dials.remove(&(address, expected.map(NodeId))).unwrap_or_default() {
                    self.input(Input::DialFailed { address, reason: reason.clone() });
                }
                self.note_connection();
            }
            PeerEvent::Request { peer, request, stream, room: _ } => {
                let request = PeerRequest { peer: NodeId(peer), frame: request, stream };
                let me = self.view.load().node;
                match self.requests.try_send(request) {
                    Ok(()) => {}
                    Err(TrySendError::Full(request)) => {
                        self.refused_calls.tell(me, request, "too many calls of peers are waiting");
                    }
                    Err(TrySendError::Closed(request)) => self.refused_calls.tell(me, request, "it is stopping"),
                }
            }
        }
    }

    fn on_message(&mut self, peer: NodeId, bytes: Bytes) {
        let has_proven = self.view.load().relations.contains_key(&peer);
        let verdict = if has_proven { Verdict::Hear } else { self.strangers.may_say(peer, Instant::now()) };
        match verdict {
            Verdict::Hear => self.input(Input::Frame { peer, bytes }),
            Verdict::LetGo => {
                tracing::debug!(peer = %peer.short(), "a stranger said too much and is let go");
                self.peers.disconnect(peer.0);
            }
            Verdict::Ignore => {}
        }
    }

    /// The address as the node knows it: what it dialled, else what the socket says.
    fn name_of(&self, peer: NodeId, address: SocketAddr, dialed: bool) -> String {
        let dials = [Some(peer), None].map(|expected| self.dials.get(&(address, expected)));
        let known = dials.into_iter().flatten().flatten().next().filter(|_| dialed);
        known.cloned().unwrap_or_else(|| address.to_string())
    }

    fn note_connection(&self) {
        self.connections.send_modify(|count| *count += 1);
    }

    /// The same for news.
    fn on_all_news(&mut self, first: News) {
        self.on_news(first);
        for _ in 1..BATCH_MAX {
            self.drain();
            let Ok(news) = self.news.try_recv() else { return };
            self.on_news(news);
        }
    }

    fn on_news(&mut self, news: News) {
        match news {
            News::Stored { token, durable } => self.input(Input::Persisted { token, durable }),
            News::Found { address, expected, sockets } => self.on_found(address, expected, sockets),
        }
    }

    /// What others say of addresses is a hint at best; where none of them is within reach nothing is sent.
    fn on_found(&mut self, address: String, expected: Option<NodeId>, sockets: Result<Vec<SocketAddr>, String>) {
        let found = sockets.map(|sockets| sockets.into_iter().find(|socket| self.reach.includes(socket)));
        match found {
            Ok(Some(socket)) => {
                self.dials.entry((socket, expected)).or_default().insert(address);
                self.peers.dial(socket, expected.map(|node| node.0));
            }
            Ok(None) => {
                let reason = match self.reach {
                    Reach::Local => "the name has no loopback address",
                    Reach::Anywhere => "the name has no address that a node may have",
                };
                self.input(Input::DialFailed { address, reason: reason.to_owned() });
            }
            Err(reason) => self.input(Input::DialFailed { address, reason }),
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { peer, bytes, class } => {
                // A full queue refuses, and the limb counts it. Gossip comes again with the next exchange of digests; a question or
                // an answer does not, and its asker hears of a silent zone at its deadline.
                if !self.peers.send(peer.0, bytes, class) && class == Class::Question {
                    tracing::debug!(peer = %peer.short(), "a question or an answer found no room or no connection");
                }
            }
            Output::Dial { address, expected } => self.look_up(address, expected),
            Output::Persist { token, keep } => self.persist(token, keep),
            Output::Written { token, result } => reply(self.writes.remove(&token), result),
            Output::Resolved { token, outcome, found } => reply(self.questions.remove(&token), (*outcome, found)),
            Output::News(news) => self.told.extend(news.into_iter().map(Told::Own)),
            Output::ZoneChanged(serial) => self.told.push(Told::Other(serial)),
            Output::Changed => self.publish(),
            Output::Close { peer } => self.peers.disconnect(peer.0),
            Output::Redeem { peer, token } => {
                if self.redemptions.try_send(Redemption { peer, token }).is_err() {
                    let granted = Err("too many invites are being looked at; try again".to_owned());
                    self.input(Input::Redeemed { peer, granted });
                }
            }
            Output::Refused(refusal) => {
                tracing::error!(address = refusal.address, purpose = refusal.purpose, "refused: {}", refusal.reason);
                // The log has it; the start-up check reads the first ones.
                let _ = self.refusals.try_send(refusal);
            }
            Output::Wait(_) => {}
        }
    }

    fn publish(&mut self) {
        let view = Arc::new(self.node.view());
        let before = self.view.swap(view.clone());
        if before.counts.lives < view.counts.lives {
            tracing::warn!(
                "this node's log began anew, with what its store has: others held more of it, or it is damaged, as after an \
                 older copy was put back; what was registered since that copy has to be registered again"
            );
        }
        if before.serial != view.serial || before.epoch != view.epoch {
            self.changes.send_modify(|count| *count += 1);
        }
        if !self.told.is_empty() {
            self.watching.tell(self.told.drain(..));
        }
    }

    fn look_up(&self, address: String, expected: Option<NodeId>) {
        let news = self.news_sender.clone();
        let stop = self.stop.clone();
        // Ends with the look-up or with the node; the node has one under way per address.
        tokio::spawn(async move {
            let found = tokio::select! {
                found = tokio::net::lookup_host(&address) => found,
                () = stop.cancelled() => return,
            };
            let sockets = found.map(Iterator::collect).map_err(|error| error.to_string());
            // A driver that is gone needs no news.
            let _ = news.send(News::Found { address, expected, sockets }).await;
        });
    }

    fn persist(&mut self, token: u64, keep: Vec<Keep>) {
        let ops = keep.into_iter().map(keeping::op_of).collect();
        if self.persists.try_send((token, ops)).is_err() {
            // `run` takes nothing new in before there is room for all that one input can bring.
            tracing::error!("a change found no room on its way to the store");
            self.input(Input::Persisted { token, durable: false });
        }
    }

    /// Whether whatever one input brings finds its way to the store.
    fn has_room(&self) -> bool {
        self.persists.capacity() > PERSISTS_MAX / 2
    }
}

fn reply<T>(to: Option<oneshot::Sender<T>>, value: T) {
    if let Some(to) = to {
        // Whoever asked may have gone away.
        let _ = to.send(value);
    }
}

#[cfg(test)]
mod tests {
    use aop_proto::node::{Admission, Config, Restored};

    use super::*;
    use crate::entropy::{NodeKey, ZoneKeys};

    /// Whatever a peer, a record or a gateway names.
    #[test]
    fn a_node_on_loopback_dials_this_machine_only_and_none_dials_everybody_at_once() {
        let includes = |reach: Reach, address: &str| reach.includes(&address.parse().unwrap());
        for address in ["127.0.0.1:1", "127.9.9.9:7400", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(includes(Reach::Local, address), "{address}");
        }
        for address in ["10.0.0.1:1", "169.254.169.254:80", "198.51.100.1:1", "[fe80::1]:1", "[::ffff:10.0.0.1]:1"] {
            assert!(!includes(Reach::Local, address) && includes(Reach::Anywhere, address), "{address}");
        }
        for address in ["0.0.0.0:1", "255.255.255.255:1", "224.0.0.1:1", "[::]:1", "[ff02::1]:1", "[::ffff:0.0.0.0]:1"]
        {
            assert!(!includes(Reach::Local, address) && !includes(Reach::Anywhere, address), "{address}");
        }
    }

    /// It once went on, with every peer connected and none of them heard.
    #[tokio::test]
    async fn a_driver_that_hears_no_peer_any_more_ends_and_says_so() {
        let clock = Clock::start();
        let (key, zone_keys) = (NodeKey::memory().unwrap(), ZoneKeys::memory().unwrap());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let peers = Peers::bind(socket, &key, mpsc::channel(1).0).unwrap();
        let config = Config {
            zone: ZoneName::parse("research").unwrap(),
            key: key.signing_key().clone(),
            zone_key: zone_keys.current().signing_key().clone(),
            spare_key: None,
            incarnation: 1,
            address: String::new(),
            version: String::new(),
            seed: [7; 32],
            parents: Vec::new(),
            joins: Vec::new(),
            admission: Admission::Local,
            invitation: None,
            rules: Policy::open(),
            opened: None,
        };
        let node = Node::new(config, Restored::default(), clock.now());
        // The thread ends when nobody can send bulk, as it would by a panic; everything else could still come.
        let (_, unsent) = crate::peer::events(1);
        let (_events, events) = mpsc::channel(1);
        let unsent = Heard { events, ..unsent };
        let (driver, _queues) =
            Driver::new(node, clock, peers, Store::memory(), unsent, Arc::default(), CancellationToken::new());
        let ended = tokio::time::timeout(Duration::from_secs(10), driver.run()).await;
        assert_eq!(ended, Ok(Err(Deaf)));
    }
}
