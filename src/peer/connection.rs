//! One peer and the connections to it: when it is up, when it is down, and what travels between.
//!
//! Both sides open the stream for gossip first and begin it with a greeting, so a peer is up only after *both* sides
//! accepted the connection. The greeting names the process: a peer that comes back under its key as another process has lost
//! what it knew, so the old connections are dropped and it goes down before it is up again.
//!
//! What must always hold: one task owns a peer; its events come in the order `Up`, messages, `Down`, once each, however many
//! connections there are, and a dial's outcome comes after the `Up` it led to. Two nodes that dial each other at the same moment keep both connections and send on the one dialled by
//! the smaller key. Messages keep their order in a lane of
//! a connection (see `lanes`); only that one switch may overtake what is in flight.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aop_proto::params::DATAGRAM_BYTES_MAX;
use aop_proto::wire::Class;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, TransportErrorCode, VarInt};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::endpoint::Shared;
use super::frame::FrameError;
use super::lanes::{self, Lane};
use super::outbox::{Outbox, Total};
use super::tls::{self, raw_key};
use super::{PeerEvent, request};

/// Connections one peer may hold at once: two of a simultaneous open, two more while their successors are made.
const LINKS_PER_PEER_MAX: usize = 4;
/// Connections and dials that wait for a peer's task.
const VISITS_MAX: usize = 8;
/// Both greetings must have arrived within this time.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// The ordinary end.
pub(super) const BYE: VarInt = VarInt::from_u32(0);
/// The peer broke the rules of this layer.
pub(super) const VIOLATION: VarInt = VarInt::from_u32(1);
/// A newer connection took this one's place.
pub(super) const REPLACED: VarInt = VarInt::from_u32(2);
/// No room for the connection.
pub(super) const FULL: VarInt = VarInt::from_u32(3);
/// Whoever drives this node wants no connection to the peer.
pub(super) const DISMISSED: VarInt = VarInt::from_u32(4);
/// What a peer's task is handed. It answers dials itself, so that a dial's outcome comes after the `Up` it led to.
pub(super) enum Visit {
    /// A new connection.
    Arrived(Arrival),
    /// A dial that found the peer connected.
    Found { address: SocketAddr, expected: Option<[u8; 32]> },
}

/// A connection that both sides greeted on.
pub(super) struct Arrival {
    pub(super) connection: Connection,
    /// What we dialled, `None` when we were dialled.
    dialed: Option<SocketAddr>,
    /// Which process of that key answered.
    process: [u8; 8],
    outgoing: SendStream,
    incoming: RecvStream,
}

/// A connection in use.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) dialed: bool,
    number: u64,
    task: Option<Id>,
    process: [u8; 8],
    /// Cancelled, it ends on purpose, after what was queued for it.
    pub(super) ending: CancellationToken,
}

/// One peer, as everybody but its task sees it.
pub(super) struct Peer {
    pub(super) key: [u8; 32],
    pub(super) outbox: Outbox,
    pub(super) visits: mpsc::Sender<Visit>,
    links: Mutex<Vec<Link>>,
    /// The number of the link to send on; 0 is none.
    pub(super) preferred: watch::Sender<u64>,
}

impl Peer {
    pub(super) fn new(key: [u8; 32], total: Total) -> (Arc<Self>, mpsc::Receiver<Visit>) {
        let (visits, visiting) = mpsc::channel(VISITS_MAX);
        let peer =
            Self { key, outbox: Outbox::new(total), visits, links: Mutex::default(), preferred: watch::Sender::new(0) };
        (Arc::new(peer), visiting)
    }

    pub(super) fn links(&self) -> MutexGuard<'_, Vec<Link>> {
        // Nothing can panic half way through a change of the list.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to send on, `None` when there is none.
    pub(super) fn preferred(&self) -> Option<Link> {
        let number = *self.preferred.borrow();
        self.links().iter().find(|link| link.number == number).cloned()
    }

    /// Queues a message where messages of its class go; `false` when there is no room or no connection.
    pub(super) fn send(&self, bytes: Bytes, class: Class) -> bool {
        if *self.preferred.borrow() == 0 {
            return false;
        }
        if class != Class::Datagram {
            return self.outbox.push(Lane::of(class), bytes);
        }
        let Some(link) = self.preferred() else { return false };
        let connection = &link.connection;
        // What the path carries may shrink below that later, and then quinn drops what it had taken; up to this it never does.
        let datagram_bytes_max = connection.max_datagram_size().unwrap_or(0).min(DATAGRAM_BYTES_MAX);
        if bytes.len() > datagram_bytes_max {
            return self.outbox.push(Lane::of(class), bytes);
        }
        // Sent without that room, it would push the oldest one out without a word. Only one task sends, so the room stays.
        connection.datagram_send_buffer_space() >= bytes.len() && connection.send_datagram(bytes).is_ok()
    }

    /// Chooses again, after the list changed: the newest of those dialled by the smaller key, else the newest.
    fn choose(&self, me: &[u8; 32]) {
        let links = self.links();
        let by_smaller = |link: &&Link| link.dialed == (*me < self.key);
        let chosen = links.iter().rfind(by_smaller).or(links.last()).map_or(0, |link| link.number);
        drop(links);
        self.preferred.send_if_modified(|number| std::mem::replace(number, chosen) != chosen);
    }
}

/// Who is at the other end, as the handshake proved it.
pub(super) fn peer_key(connection: &Connection) -> Option<[u8; 32]> {
    let identity = connection.peer_identity()?;
    let shown = identity.downcast_ref::<Vec<rustls::pki_types::CertificateDer<'static>>>()?;
    raw_key(shown.first()?)
}

/// Greets in both directions.
///
/// # Errors
/// In words, when the other side did not greet as it must; the connection is closed then.
pub(super) async fn greet(
    connection: Connection,
    process: [u8; 8],
    dialed: Option<SocketAddr>,
) -> Result<Arrival, String> {
    let greetings = async {
        let mut outgoing = lanes::open(&connection, Lane::Gossip).await.map_err(|e| lost_or(&connection, &e))?;
        outgoing.write_all(&process).await.map_err(|e| lost_or(&connection, &e))?;
        // Streams are accepted in the order in which they were opened.
        let mut incoming = connection.accept_uni().await.map_err(|e| describe(&e))?;
        let lane = lanes::read_head(&mut incoming).await.map_err(|e| lost_or(&connection, &e))?;
        if lane != Some(Lane::Gossip) {
            return Err("it greets in another way".to_owned());
        }
        let mut process = [0; 8];
        incoming.read_exact(&mut process).await.map_err(|e| lost_or(&connection, &e))?;
        Ok((process, outgoing, incoming))
    };
    let greeted = timeout(GREETING_TIMEOUT, greetings).await;
    match greeted.unwrap_or_else(|_| Err("it did not greet in time".to_owned())) {
        Ok((process, outgoing, incoming)) => Ok(Arrival { connection, dialed, process, outgoing, incoming }),
        Err(reason) => {
            connection.close(VIOLATION, b"no greeting");
            Err(reason)
        }
    }
}

/// The task that owns a peer, from its first connection until its last is gone.
pub(super) async fn run(shared: Arc<Shared>, peer: Arc<Peer>, mut visits: mpsc::Receiver<Visit>) {
    let mut tasks = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            Some(visit) = visits.recv() => receive(&shared, &peer, &mut tasks, &mut number, visit).await,
            Some(ended) = tasks.join_next_with_id() => {
                let Some(ending) = forget(&shared, &peer, ended) else { continue };
                go_down(&shared, &peer, ending).await;
                while peer.links().is_empty() {
                    let Some(visit) = next_or_leave(&shared, &peer, &mut visits) else { return };
                    receive(&shared, &peer, &mut tasks, &mut number, visit).await;
                }
            }
        }
    }
}

/// What waits, or the end of this task. Visits are handed over under the same lock, so none is lost in between.
fn next_or_leave(shared: &Shared, peer: &Peer, visits: &mut mpsc::Receiver<Visit>) -> Option<Visit> {
    let mut peers = shared.peers();
    let visit = visits.try_recv().ok();
    if visit.is_none() {
        peers.remove(&peer.key);
    }
    visit
}

async fn receive(shared: &Arc<Shared>, peer: &Arc<Peer>, tasks: &mut LinkTasks, number: &mut u64, visit: Visit) {
    match visit {
        Visit::Arrived(arrival) => {
            *number += 1;
            take_over(shared, peer, tasks, *number, arrival).await;
        }
        Visit::Found { address, expected } if peer.links().is_empty() => {
            let reason = "its connection ended just now".to_owned();
            shared.emit(PeerEvent::DialFailed { address, expected, reason }).await;
        }
        Visit::Found { address, .. } => shared.emit(PeerEvent::Reached { peer: peer.key, address }).await,
    }
}

type LinkTasks = JoinSet<Ending>;

/// How a connection ended.
pub(super) struct Ending {
    /// For a person.
    reason: String,
    /// One of both sides wanted it, so that it says nothing about the other's health.
    on_purpose: bool,
}

impl Ending {
    /// Of a connection that is closed.
    pub(super) fn of(connection: &Connection) -> Self {
        match connection.close_reason() {
            Some(error) => Self { reason: describe(&error), on_purpose: is_farewell(&error) },
            None => Self::failure("lost"),
        }
    }

    fn failure(reason: &str) -> Self {
        Self { reason: reason.to_owned(), on_purpose: false }
    }
}

fn is_farewell(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(close) if [BYE, DISMISSED].contains(&close.error_code))
}

async fn take_over(shared: &Arc<Shared>, peer: &Arc<Peer>, tasks: &mut LinkTasks, number: u64, arrival: Arrival) {
    let Arrival { connection, dialed, process, outgoing, incoming } = arrival;
    let old: Vec<Link> = peer.links().iter().filter(|link| link.process != process).cloned().collect();
    if !old.is_empty() {
        for link in &old {
            link.connection.close(REPLACED, b"another process of this key arrived");
        }
        // Links of one peer are always of one process, so these are all of them.
        while let Some(ended) = tasks.join_next_with_id().await {
            forget(shared, peer, ended);
        }
        go_down(shared, peer, Ending::failure("it restarted")).await;
    }
    let ending = shared.stop.child_token();
    let first = {
        let mut links = peer.links();
        if links.len() >= LINKS_PER_PEER_MAX {
            // Its task ends by itself and is forgotten then.
            links[0].connection.close(REPLACED, b"too many connections");
        }
        let (connection, ending) = (connection.clone(), ending.clone());
        links.push(Link { connection, dialed: dialed.is_some(), number, task: None, process, ending });
        links.len() == 1
    };
    peer.choose(&shared.me);
    if first {
        let (address, dialed, rtt) = (connection.remote_address(), dialed.is_some(), connection.rtt());
        tracing::debug!(peer = %short(&peer.key), %address, dialed, "peer is up");
        shared.emit(PeerEvent::Up { peer: peer.key, address, dialed, rtt }).await;
    }
    if let Some(address) = dialed {
        shared.emit(PeerEvent::Reached { peer: peer.key, address }).await;
    }
    let task = run_link(shared.clone(), peer.clone(), connection, number, outgoing, incoming, ending);
    let id = tasks.spawn(task).id();
    if let Some(link) = peer.links().iter_mut().find(|link| link.number == number) {
        link.task = Some(id);
    }
}

/// Takes an ended connection off the list; why it ended, if it was the last.
fn forget(shared: &Shared, peer: &Peer, ended: Result<(Id, Ending), JoinError>) -> Option<Ending> {
    let (id, ending) = match ended {
        Ok(ended) => ended,
        Err(error) => {
            tracing::error!(peer = %short(&peer.key), %error, "a peer's connection task failed");
            (error.id(), Ending::failure("our own task failed"))
        }
    };
    let mut links = peer.links();
    if let Some(at) = links.iter().position(|link| link.task == Some(id)) {
        // Harmless where it is closed already, and needed where its task failed.
        links.remove(at).connection.close(BYE, b"");
    }
    let last = links.is_empty();
    drop(links);
    peer.choose(&shared.me);
    last.then_some(ending)
}

async fn go_down(shared: &Shared, peer: &Peer, ending: Ending) {
    let Ending { reason, on_purpose } = ending;
    let unsent = peer.outbox.clear();
    shared.counters.messages_lost(unsent);
    tracing::debug!(peer = %short(&peer.key), reason, unsent, "peer is down");
    shared.bulk_is_through().await;
    shared.emit(PeerEvent::Down { peer: peer.key, reason, graceful: on_purpose }).await;
}

/// Everything that happens on one connection; ends when no further message can be read from it.
async fn run_link(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    connection: Connection,
    number: u64,
    outgoing: SendStream,
    incoming: RecvStream,
    ending: CancellationToken,
) -> Ending {
    let datagrams = AtomicU64::new(0);
    let end = {
        // Whatever wakes one of them looks at none of the others.
        let mut parts: FuturesUnordered<BoxFuture<'_, Ending>> = FuturesUnordered::new();
        parts.push(lanes::receive(&shared, &peer, &connection, incoming).boxed());
        parts.push(async { match lanes::receive_datagrams(&shared, &peer, &connection, &datagrams).await {} }.boxed());
        let sends = lanes::send(&shared, &peer, &connection, number, outgoing, &ending);
        parts.push(async { match sends.await {} }.boxed());
        parts.push(async { match accept_requests(&shared, &peer, &connection).await {} }.boxed());
        parts.next().await.unwrap_or_else(|| Ending::of(&connection))
    };
    // quinn makes room for the newest by forgetting the oldest, and tells nobody.
    let unread = connection.stats().frame_rx.datagram.saturating_sub(datagrams.into_inner());
    shared.counters.datagrams_unread(unread);
    Ending { on_purpose: end.on_purpose || ending.is_cancelled(), ..end }
}

async fn accept_requests(shared: &Arc<Shared>, peer: &Peer, connection: &Connection) -> Infallible {
    let reading = Arc::new(Semaphore::new(request::REQUEST_BYTES_READING_MAX));
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept_bi() => match accepted {
                Ok((send, receive)) => {
                    let task = take_request(shared.clone(), peer.key, connection.clone(), send, receive, reading.clone());
                    tasks.spawn(task);
                }
                Err(_) => return pending().await,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn take_request(
    shared: Arc<Shared>,
    peer: [u8; 32],
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    reading: Arc<Semaphore>,
) {
    match request::read(&shared, send, receive, reading).await {
        Some(Ok((request, stream, share))) => {
            shared.counters.request_received();
            let room = shared.room(request.len(), Lane::Question).await;
            drop(share);
            shared.emit(PeerEvent::Request { peer, request, stream, room }).await;
        }
        Some(Err(error)) => drop(violated(&shared, &connection, &error)),
        None => {}
    }
}

/// Closes a connection on which the peer did not keep the framing.
pub(super) fn violated(shared: &Shared, connection: &Connection, error: &FrameError) -> Ending {
    let reason = error.to_string();
    if !matches!(error, FrameError::Lost(_)) {
        shared.counters.violation();
        tracing::warn!(address = %connection.remote_address(), reason, "peer broke the framing; connection closed");
        connection.close(VIOLATION, reason.as_bytes());
    }
    Ending { reason, on_purpose: false }
}

/// The end of a connection in words for a person.
pub(super) fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "it went silent".to_owned(),
        ConnectionError::Reset => "it restarted".to_owned(),
        ConnectionError::LocallyClosed => "closed here".to_owned(),
        ConnectionError::ApplicationClosed(close) => match close.error_code {
            BYE => "it left".to_owned(),
            _ => format!("it closed the connection: {}", String::from_utf8_lossy(&close.reason)),
        },
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::crypto(NO_COMMON_PROTOCOL) =>
        {
            format!("it speaks none of the protocols of this node ({})", tls::spoken())
        }
        ConnectionError::TransportError(error) if error.code == TransportErrorCode::crypto(NO_COMMON_PROTOCOL) => {
            format!("it offers none of the protocols of this node ({})", tls::spoken())
        }
        ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
            "it refuses connections".to_owned()
        }
        other => other.to_string(),
    }
}

/// The TLS alert no_application_protocol. Source: RFC 7301 §3.2.
const NO_COMMON_PROTOCOL: u8 = 120;

fn lost_or(connection: &Connection, error: &dyn std::error::Error) -> String {
    connection.close_reason().map_or_else(|| error.to_string(), |reason| describe(&reason))
}

/// The first digits of a key, for logs.
pub(super) fn short(key: &[u8; 32]) -> String {
    crate::entropy::hex(&key[..4])
}
