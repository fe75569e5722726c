//! The one UDP socket of a node: dialling, accepting, and the limits strangers meet before they are anybody.
//!
//! It decides nothing about who may be a peer; it proves who one is. What must always hold: a handshake costs us little until the
//! other side has proved its address, everything under way is bounded, and a process that stops says so.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, TransportConfig,
    VarInt,
};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, FULL, Peer, Visit, describe, greet, peer_key};
use super::counters::Counters;
use super::events::Events;
use super::frame::{FIRST_ALLOCATION_BYTES_MAX, FRAME_BYTES_MAX};
use super::lanes::Lane;
use super::outbox::Total;
use super::tls::{SERVER_NAME, Tls};
use super::{PeerError, PeerEvent, Room};
use crate::entropy::NodeKey;

/// What one stream may have in flight.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// What all streams of one connection may have in flight, in each direction.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Accepted connections above which further ones get windows of a small share: all of them together are bounded, and whoever fills
/// the house with connections slows nobody who was there.
const ROOMY_CONNECTIONS_MAX: usize = 64;
/// What one of their streams may have in flight, what all of them may, and what may be on its way to their peer.
const SMALL_STREAM_WINDOW_BYTES: u32 = 32 << 10;
const SMALL_CONNECTION_WINDOW_BYTES: u32 = 96 << 10;
const SMALL_SEND_WINDOW_BYTES: u64 = 64 << 10;
/// Bytes of messages and requests that may be half read, of all peers together; small ones are not counted.
const READING_BYTES_MAX: usize = 32 * FRAME_BYTES_MAX;
/// Requests one peer may have open on a connection: more than the calls it may have under way (`federation`), because a call may hold its
/// stream for minutes and must not keep a query from starting, or another call from being refused; the connection's window bounds the
/// memory.
const REQUESTS_OPEN_MAX: u32 = 1_280;
const SMALL_REQUESTS_OPEN_MAX: u32 = 256;
/// A stream a lane, and room for kinds a later build may open (they are declined).
const UNI_STREAMS_MAX: u32 = 16;
/// Datagrams that wait to be sent, or to be read, on one connection. They are small news: what waits behind this much is stale.
const DATAGRAM_BUFFER_BYTES: usize = 64 << 10;
/// A connection on which nothing arrives for this long is dead. Fellow replicas probe each other and know sooner; between zones
/// this is how a silent gateway is noticed.
const IDLE_TIMEOUT_MS: u32 = 10_000;
/// All connections are kept warm, since those that nobody wants are closed and not left to fade. Where gossip is said several times
/// a second this sends nothing.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// The first guess, before anything is measured.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Packets that are not acknowledged at once: an answer of a few is acknowledged with whatever is said next, or after 25 ms.
const PACKETS_UNACKED_MAX: u32 = 4;
/// A dial or a handshake must be through within this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes under way above which a stranger must prove its address first.
const HANDSHAKES_UNPROVED_MAX: usize = 128;
/// Handshakes under way above which new ones are not answered at all.
const HANDSHAKES_MAX: usize = 1024;
/// Bytes kept for one connection attempt that is not accepted yet, and for all of them.
const INCOMING_BYTES_MAX: u64 = 64 << 10;
const INCOMING_BYTES_TOTAL_MAX: u64 = 16 << 20;
/// Open connections above which new ones are refused.
const CONNECTIONS_MAX: usize = 1024;
/// Bytes of messages and requests that wait to be read from events, of all peers together.
const EVENT_BYTES_MAX: usize = 16 * FRAME_BYTES_MAX;
/// The same for bulk alone, which has less so that nothing small waits long behind it.
const BULK_EVENT_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// The least that a message of bulk takes of that, so that many small ones do not fill the queue of events.
const BULK_EVENT_BYTES_MIN: usize = 4 << 10;
/// Dials under way above which new ones fail at once.
const DIALS_MAX: usize = 1024;
/// How often a pair of ports is tried before giving up, when any port will do.
const PORT_ATTEMPTS: usize = 32;
/// Length of our connection ids.
const CONNECTION_ID_BYTES: usize = 8;

/// Who may begin a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepts {
    Anybody,
    ThisMachine,
}

/// What all tasks of one endpoint share.
pub(super) struct Shared {
    pub(super) me: [u8; 32],
    pub(super) endpoint: Endpoint,
    pub(super) counters: Counters,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    tls: Tls,
    /// Names this process, so that peers notice a restart under the same key.
    process: [u8; 8],
    peers: Mutex<HashMap<[u8; 32], Arc<Peer>>>,
    dials: Mutex<HashSet<(SocketAddr, Option<[u8; 32]>)>>,
    handshakes: Arc<Semaphore>,
    /// Held by who counts the connections there are and adds one.
    accepting: Mutex<()>,
    events: Events,
    /// Bytes that may still be put into events.
    room: Arc<Semaphore>,
    bulk_room: Arc<Semaphore>,
    /// Bytes that may still be half read.
    reading: Arc<Semaphore>,
    /// Bytes that wait to be sent.
    waiting: Total,
    /// How further connections are accepted where there is a crowd already.
    crowded: Arc<quinn::ServerConfig>,
    accepts: Accepts,
}

impl Shared {
    pub(super) fn bind(
        udp: UdpSocket,
        key: &NodeKey,
        events: Events,
        accepts: Accepts,
    ) -> Result<Arc<Self>, PeerError> {
        let tls = Tls::new(key).map_err(PeerError::Tls)?;
        let bind = |source| PeerError::Bind { source };
        udp.set_nonblocking(true).map_err(bind)?;
        let server = server_config(&tls, transport_config())?;
        let endpoint = open(endpoint_config(key), server, udp).map_err(bind)?;
        let mut process = [0; 8];
        process.copy_from_slice(&crate::entropy::seed().map_err(|e| bind(io::Error::other(e)))?[..8]);
        let mut small = transport_config();
        small
            .stream_receive_window(VarInt::from_u32(SMALL_STREAM_WINDOW_BYTES))
            .receive_window(VarInt::from_u32(SMALL_CONNECTION_WINDOW_BYTES))
            .send_window(SMALL_SEND_WINDOW_BYTES)
            .max_concurrent_bidi_streams(VarInt::from_u32(SMALL_REQUESTS_OPEN_MAX));
        let crowded = Arc::new(server_config(&tls, small)?);
        let shared = Arc::new(Self {
            me: key.public(),
            endpoint,
            counters: Counters::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            tls,
            process,
            peers: Mutex::default(),
            dials: Mutex::default(),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            accepting: Mutex::default(),
            room: Arc::new(Semaphore::new(EVENT_BYTES_MAX)),
            bulk_room: Arc::new(Semaphore::new(BULK_EVENT_BYTES_MAX)),
            reading: Arc::new(Semaphore::new(READING_BYTES_MAX)),
            waiting: Total::default(),
            crowded,
            accepts,
            events,
        });
        shared.tasks.spawn(accept(shared.clone()));
        Ok(shared)
    }

    pub(super) fn peers(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Peer>>> {
        // Nothing can panic half way through a change of the map.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dials(&self) -> MutexGuard<'_, HashSet<(SocketAddr, Option<[u8; 32]>)>> {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for so many bytes in an event; waits while too many wait to be read, each connection in its turn.
    pub(super) async fn room(&self, bytes: usize, lane: Lane) -> Room {
        let (room, share) = match lane {
            Lane::Bulk => (&self.bulk_room, bytes.clamp(BULK_EVENT_BYTES_MIN, BULK_EVENT_BYTES_MAX)),
            Lane::Gossip | Lane::Question => (&self.room, bytes.min(EVENT_BYTES_MAX)),
        };
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        tokio::select! {
            // The semaphore is never closed; were it, there would be nothing to bound any more.
            share = room.clone().acquire_many_owned(share) => Room { _share: share.ok() },
            // Nobody reads on while the node stops, so nothing may wait for it.
            () = self.stop.cancelled() => Room { _share: None },
        }
    }

    /// Leave to read a frame of that length; waits while too many are half read. Each is read within a time, so that leave is given
    /// back whatever peers do.
    pub(super) async fn reading(&self, bytes: usize) -> Room {
        if bytes <= FIRST_ALLOCATION_BYTES_MAX {
            return Room { _share: None };
        }
        let share = u32::try_from(bytes.min(READING_BYTES_MAX)).unwrap_or(u32::MAX);
        // The semaphore is never closed; were it, there would be nothing to bound any more.
        Room { _share: self.reading.clone().acquire_many_owned(share).await.ok() }
    }

    /// Hands an event over; waits while the receiver is busy, which slows exactly the connection it came from.
    pub(super) async fn emit(&self, event: PeerEvent) {
        tokio::select! {
            biased;
            () = self.events.send(event) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Waits until what was sent in bulk was handed over, so that an event may follow it.
    pub(super) async fn bulk_is_through(&self) {
        tokio::select! {
            biased;
            () = self.events.bulk_is_through() => {}
            () = self.stop.cancelled() => {}
        }
    }

    pub(super) fn dial(self: &Arc<Self>, address: SocketAddr, expected: Option<[u8; 32]>) {
        if self.stop.is_cancelled() {
            return;
        }
        let mut dials = self.dials();
        if dials.len() >= DIALS_MAX {
            drop(dials);
            let reason = "too many dials are under way".to_owned();
            // Where even this does not fit, the dialler's own timer tries again.
            self.events.try_send(PeerEvent::DialFailed { address, expected, reason });
            return;
        }
        if dials.insert((address, expected)) {
            drop(dials);
            self.tasks.spawn(run_dial(self.clone(), address, expected));
        }
    }

    /// Leaves a dial to the task of a peer that it would only find again: that node, or somebody at that address when any node
    /// will do. `false` when there is nobody.
    fn find(&self, address: SocketAddr, expected: Option<[u8; 32]>) -> bool {
        let peers = self.peers();
        let at = |link: &connection::Link| link.connection.remote_address() == address;
        let found = match expected {
            Some(key) => peers.get(&key).filter(|peer| !peer.links().is_empty()),
            None => peers.values().find(|peer| peer.links().iter().any(at)),
        };
        found.is_some_and(|peer| peer.visits.try_send(Visit::Found { address, expected }).is_ok())
    }

    /// Greets on a connection whose handshake is through and hands it to its peer's task.
    async fn settle(self: &Arc<Self>, connection: quinn::Connection, dialed: Option<SocketAddr>) -> Result<(), String> {
        // The handshake demands a key; a connection without one would be a defect, not an attack.
        let key = peer_key(&connection).ok_or("it shows no key")?;
        let arrival = greet(connection.clone(), self.process, dialed).await?;
        let mut peers = self.peers();
        let peer = peers.entry(key).or_insert_with(|| {
            let (peer, visits) = Peer::new(key, self.waiting.clone());
            self.tasks.spawn(connection::run(self.clone(), peer.clone(), visits));
            peer
        });
        peer.visits.try_send(Visit::Arrived(arrival)).map_err(|_| {
            connection.close(FULL, b"too many connections");
            "too many connections to that peer".to_owned()
        })
    }
}

async fn run_dial(shared: Arc<Shared>, address: SocketAddr, expected: Option<[u8; 32]>) {
    let dialed = tokio::select! {
        dialed = dial(&shared, address, expected) => dialed,
        () = shared.stop.cancelled() => return,
    };
    // Before any event about it, as far as it is ours, so that whoever hears of a failure may dial again at once.
    shared.dials().remove(&(address, expected));
    if let Err(reason) = dialed {
        shared.counters.dial_failed();
        tracing::debug!(%address, reason, "dial failed");
        shared.emit(PeerEvent::DialFailed { address, expected, reason }).await;
    }
}

/// Success is told by the peer's task, after its `Up`.
async fn dial(shared: &Arc<Shared>, address: SocketAddr, expected: Option<[u8; 32]>) -> Result<(), String> {
    if shared.find(address, expected) {
        return Ok(());
    }
    shared.counters.dial();
    let (tls, check) = shared.tls.client(expected).map_err(|e| e.to_string())?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|e| e.to_string())?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport_config()));
    let connecting = shared.endpoint.connect_with(config, address, SERVER_NAME).map_err(|e| e.to_string())?;
    let connection = timeout(HANDSHAKE_TIMEOUT, connecting)
        .await
        .map_err(|_| "no answer".to_owned())?
        .map_err(|error| check.refusal().map_or_else(|| describe(&error), |refusal| refusal.to_string()))?;
    shared.settle(connection, Some(address)).await
}

async fn accept(shared: Arc<Shared>) {
    loop {
        let incoming = tokio::select! {
            incoming = shared.endpoint.accept() => incoming,
            () = shared.stop.cancelled() => return,
        };
        let Some(incoming) = incoming else { return };
        let under_way = HANDSHAKES_MAX - shared.handshakes.available_permits();
        if shared.accepts == Accepts::ThisMachine && !incoming.remote_address().ip().to_canonical().is_loopback() {
            shared.counters.handshake_refused();
            incoming.ignore();
        } else if shared.endpoint.open_connections() >= CONNECTIONS_MAX {
            shared.counters.handshake_refused();
            incoming.refuse();
        } else if under_way >= HANDSHAKES_UNPROVED_MAX && !incoming.remote_address_validated() && incoming.may_retry() {
            // It may retry, as was just asked.
            let _ = incoming.retry();
        } else if let Ok(permit) = shared.handshakes.clone().try_acquire_owned() {
            let shared = shared.clone();
            shared.tasks.clone().spawn(async move {
                let _permit = permit;
                tokio::select! {
                    () = shake_hands(&shared, incoming) => {}
                    () = shared.stop.cancelled() => {}
                }
            });
        } else {
            shared.counters.handshake_refused();
            incoming.ignore();
        }
    }
}

async fn shake_hands(shared: &Arc<Shared>, incoming: quinn::Incoming) {
    let address = incoming.remote_address();
    let settled = async {
        let connecting = {
            // Many are about to be taken in when the last place is left.
            let _turn = shared.accepting.lock().unwrap_or_else(PoisonError::into_inner);
            let accepted = match shared.endpoint.open_connections() {
                CONNECTIONS_MAX.. => {
                    incoming.refuse();
                    return Err("there is no room".to_owned());
                }
                ROOMY_CONNECTIONS_MAX.. => incoming.accept_with(shared.crowded.clone()),
                _ => incoming.accept(),
            };
            accepted.map_err(|e| describe(&e))?
        };
        let connection = timeout(HANDSHAKE_TIMEOUT, connecting)
            .await
            .map_err(|_| "it did not finish the handshake in time".to_owned())?
            .map_err(|e| describe(&e))?;
        shared.settle(connection, None).await
    };
    if let Err(reason) = settled.await {
        shared.counters.handshake_refused();
        tracing::debug!(%address, reason, "incoming connection came to nothing");
    }
}

fn open(config: EndpointConfig, server: quinn::ServerConfig, udp: UdpSocket) -> io::Result<Endpoint> {
    let runtime = Arc::new(quinn::TokioRuntime);
    #[cfg(unix)]
    return Endpoint::new_with_abstract_socket(config, Some(server), super::socket::Socket::new(udp)?, runtime);
    #[cfg(not(unix))]
    Endpoint::new(config, Some(server), udp, runtime)
}

fn server_config(tls: &Tls, transport: TransportConfig) -> Result<quinn::ServerConfig, PeerError> {
    let server = tls.server().map_err(PeerError::Tls)?;
    let crypto = QuicServerConfig::try_from(server)
        .map_err(|_| PeerError::Tls(rustls::Error::General("no cipher suite for QUIC".to_owned())))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        // A peer that changes its address dials again, which proves its key again.
        .migration(false)
        .max_incoming(HANDSHAKES_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    Ok(config)
}

fn transport_config() -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(PACKETS_UNACKED_MAX));
    let mut config = TransportConfig::default();
    config
        .ack_frequency_config(Some(acks))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(CONNECTION_WINDOW_BYTES.into())
        .max_concurrent_bidi_streams(VarInt::from_u32(REQUESTS_OPEN_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS_MAX))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES);
    config
}

/// Resets are signed with a key made from the node's own, so that a node that died and came back can tell its peers at their
/// next packet that their connections are gone, instead of letting them wait for the idle timeout.
fn endpoint_config(key: &NodeKey) -> EndpointConfig {
    let derivation = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key.signing_key().to_bytes());
    let secret = aws_lc_rs::hmac::sign(&derivation, b"aop stateless reset");
    let resets = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_ref());
    let mut config = EndpointConfig::new(Arc::new(resets));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// Connection ids that any process of this key may have made: only then is a packet for a dead process's connection answered
/// with a reset (quinn's default ids are valid for one process only).
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        // Without randomness no connection gets this far: its handshake failed before.
        let random = crate::entropy::seed().unwrap_or_default();
        ConnectionId::new(&random[..CONNECTION_ID_BYTES])
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Binds TCP and UDP on one address and port: TCP first, then UDP on the same number. With port 0 any free pair is taken.
///
/// # Errors
/// Says which protocol's port is taken or why it cannot be bound; nothing stays bound.
pub fn bind_one_port(address: SocketAddr, udp_ip: IpAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let explain = |protocol, error: &io::Error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => "the port is taken by another process".to_owned(),
            io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("cannot listen on {protocol} {address}: {reason}"))
    };
    let mut attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    loop {
        let tcp = TcpListener::bind(address).map_err(|e| explain("TCP", &e))?;
        let port = tcp.local_addr()?.port();
        match UdpSocket::bind(SocketAddr::new(udp_ip, port)) {
            Ok(udp) => {
                tcp.set_nonblocking(true)?;
                udp.set_nonblocking(true)?;
                return Ok((tcp, udp));
            }
            Err(error) => {
                attempts -= 1;
                if attempts == 0 || error.kind() != io::ErrorKind::AddrInUse {
                    return Err(explain("UDP", &error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_carries_both_protocols_and_a_taken_one_is_named() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (tcp, udp) = bind_one_port(any, any.ip()).unwrap();
        let address = tcp.local_addr().unwrap();
        assert_eq!(address, udp.local_addr().unwrap());
        let error = bind_one_port(address, address.ip()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), format!("cannot listen on TCP {address}: the port is taken by another process"));
        drop(tcp);
        let error = bind_one_port(address, address.ip()).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on UDP {address}: the port is taken by another process"));
        drop(udp);
        bind_one_port(address, address.ip()).unwrap();
    }
}
