//! Connections to other nodes: QUIC, proved by keys, carrying bytes whose meaning is decided elsewhere.
//!
//! ```text
//!  dial / send / request ──▶ Peers ──▶ endpoint (one UDP socket) ──▶ TLS: raw Ed25519 keys on both sides
//!  PeerEvent ◀── one task per peer ◀── its connections: a stream a class of messages each way, datagrams, a stream per request
//! ```
//!
//! It is not a list of members and knows no zone: a peer is a key that was proved, and may be anybody until something above says
//! otherwise. What must always hold: nothing from outside can make it panic or use more memory than its limits say, and the
//! events of one peer are in order: `Up`, then messages and requests, then `Down`.

mod connection;
mod counters;
mod endpoint;
mod events;
mod frame;
mod lanes;
mod outbox;
mod request;
#[cfg(unix)]
mod socket;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aop_proto::wire::Class;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

pub use self::counters::PeerCounters;
pub use self::endpoint::bind_one_port;
pub use self::events::{BulkReader, Events, Heard, events};
pub use self::frame::FRAME_BYTES_MAX;
pub use self::request::{Responder, ResponseStream};

use self::connection::BYE;
use self::endpoint::{Accepts, Shared};
use crate::entropy::NodeKey;

/// How long a stop waits for last messages to arrive, and then for the sockets to fall silent.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// What happened between this node and another.
#[derive(Debug)]
pub enum PeerEvent {
    /// The first connection to that peer stands.
    Up {
        /// Its proved key.
        peer: [u8; 32],
        /// Where it is.
        address: SocketAddr,
        /// Whether we dialled it.
        dialed: bool,
        /// What the handshake took there and back.
        rtt: Duration,
    },
    /// A dial reached that peer, by a new connection or by finding one that stood. Comes after its `Up`.
    Reached {
        /// Its proved key.
        peer: [u8; 32],
        /// What was dialled.
        address: SocketAddr,
    },
    /// The last connection to that peer is gone.
    Down {
        /// Its key.
        peer: [u8; 32],
        /// Why, for a person.
        reason: String,
        /// One of both sides wanted it: the peer left or did not want the connection, or it was [`Peers::disconnect`]. Otherwise it
        /// broke, and the peer may be in trouble.
        graceful: bool,
    },
    /// A message from that peer.
    Message {
        /// Its key.
        peer: [u8; 32],
        /// The message, as it was sent.
        bytes: Bytes,
        /// Its room among the events that wait.
        room: Room,
    },
    /// A dial came to nothing; it may be tried again.
    DialFailed {
        /// What was dialled.
        address: SocketAddr,
        /// Who was expected there.
        expected: Option<[u8; 32]>,
        /// Why, for a person.
        reason: String,
    },
    /// That peer asks something.
    Request {
        /// Its key.
        peer: [u8; 32],
        /// The request, as it was sent.
        request: Bytes,
        /// Where the answer goes.
        stream: Responder,
        /// Its room among the events that wait.
        room: Room,
    },
}

/// A share of the bytes that may wait in events; dropped, it is free again.
#[derive(Debug)]
pub struct Room {
    _share: Option<OwnedSemaphorePermit>,
}

/// Why something asked of a peer, or of the endpoint, did not work.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The socket cannot be used.
    #[error("cannot use the UDP socket: {source}")]
    Bind {
        /// What the system said.
        source: io::Error,
    },
    /// The key or the provider cannot be used.
    #[error("cannot set up TLS: {0}")]
    Tls(rustls::Error),
    /// There is no connection to that peer; nothing was sent.
    #[error("that peer is not connected")]
    NotConnected,
    /// Above [`FRAME_BYTES_MAX`]; nothing was sent.
    #[error("{bytes} bytes are above the limit of {FRAME_BYTES_MAX} for one frame")]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// The connection went away; the peer may have acted on what it received.
    #[error("the connection is lost: {reason}")]
    Lost {
        /// Why, for a person.
        reason: String,
    },
    /// The asker lost interest in the answer.
    #[error("the asker cancelled")]
    Cancelled,
    /// The responder gave up without finishing its answer.
    #[error("the peer gave up answering")]
    Abandoned,
}

/// One peer that is connected now.
#[derive(Debug, Clone, Copy)]
pub struct Connected {
    /// Its proved key.
    pub peer: [u8; 32],
    /// Where it is.
    pub address: SocketAddr,
    /// Whether we dialled the connection that is used.
    pub dialed: bool,
    /// The current estimate of a round trip.
    pub rtt: Duration,
}

/// All connections of this node. Cheap to clone; the last clone dropped closes them, [`Peers::close`] does so in peace.
#[derive(Clone)]
pub struct Peers(Arc<Owner>);

struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.endpoint.close(BYE, b"bye");
    }
}

impl Peers {
    /// Starts speaking and listening on that socket. Must be called inside a tokio runtime.
    ///
    /// `events` should be read all the time: while it is full, the connections that have something to say wait.
    ///
    /// # Errors
    /// [`PeerError::Bind`] and [`PeerError::Tls`].
    pub fn bind(udp: UdpSocket, key: &NodeKey, events: impl Into<Events>) -> Result<Self, PeerError> {
        Shared::bind(udp, key, events.into(), Accepts::Anybody).map(|shared| Self(Arc::new(Owner(shared))))
    }

    /// The same, on a socket that reaches other machines and hears nobody on them who was not dialled.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn bind_reaching_out(udp: UdpSocket, key: &NodeKey, events: impl Into<Events>) -> Result<Self, PeerError> {
        Shared::bind(udp, key, events.into(), Accepts::ThisMachine).map(|shared| Self(Arc::new(Owner(shared))))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// The address of the socket.
    ///
    /// # Errors
    /// What the system said.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.shared().endpoint.local_addr()
    }

    /// Connects to whoever is at that address, or only to the node of that key. The outcome is one event, `Reached` (after the
    /// peer's `Up`) or `DialFailed`.
    ///
    /// Nothing happens while the same dial is under way. When the expected peer (with none expected: somebody at that address) is
    /// connected already, it is `Reached` without a new connection. Dialling oneself fails.
    pub fn dial(&self, address: SocketAddr, expected: Option<[u8; 32]>) {
        self.shared().dial(address, expected);
    }

    /// Queues a message; `false` when it was refused: the peer is not connected, the queue of that class is full, or the message is
    /// above [`FRAME_BYTES_MAX`]. A queued message is lost with the connection.
    ///
    /// [`Class::Datagram`] goes as a datagram where it fits one, else with [`Class::Gossip`].
    pub fn send(&self, peer: [u8; 32], bytes: Bytes, class: Class) -> bool {
        let known = if bytes.len() <= FRAME_BYTES_MAX { self.shared().peers().get(&peer).cloned() } else { None };
        let queued = known.is_some_and(|peer| peer.send(bytes, class));
        if !queued {
            self.shared().counters.message_refused(class);
        }
        queued
    }

    /// Asks a peer. Dropping the future, or the stream it gives, cancels the request.
    ///
    /// # Errors
    /// [`PeerError::NotConnected`] and [`PeerError::TooLarge`] before anything is sent, [`PeerError::Lost`] later.
    pub async fn request(&self, peer: [u8; 32], bytes: Bytes) -> Result<ResponseStream, PeerError> {
        let known = self.shared().peers().get(&peer).cloned();
        let link = known.and_then(|peer| peer.preferred()).ok_or(PeerError::NotConnected)?;
        self.shared().counters.request_sent();
        request::ask(&link.connection, bytes).await
    }

    /// Closes all connections to that peer, after what was queued for it; what takes longer than a second is lost. `Down` follows,
    /// unless it was not connected.
    pub fn disconnect(&self, peer: [u8; 32]) {
        let known = self.shared().peers().get(&peer).cloned();
        for link in known.iter().flat_map(|peer| peer.links().clone()) {
            link.ending.cancel();
        }
    }

    /// Who is connected now, in the order of their keys.
    pub fn connected(&self) -> Vec<Connected> {
        let known: Vec<_> = self.shared().peers().values().cloned().collect();
        let mut connected: Vec<Connected> = known
            .iter()
            .filter_map(|peer| {
                let link = peer.preferred()?;
                let (address, rtt) = (link.connection.remote_address(), link.connection.rtt());
                Some(Connected { peer: peer.key, address, dialed: link.dialed, rtt })
            })
            .collect();
        connected.sort_unstable_by_key(|one| one.peer);
        connected
    }

    /// What was counted so far.
    pub fn counters(&self) -> PeerCounters {
        self.shared().counters.snapshot()
    }

    /// Stops dialling and accepting, lets queued messages arrive, says goodbye and waits until all is quiet; about two seconds at
    /// most. Events from after it began may be missing.
    pub async fn close(&self) {
        let shared = self.shared();
        shared.stop.cancel();
        shared.tasks.close();
        // Whoever is not through with its last words by then is cut off.
        let _ = timeout(LAST_WORDS_TIMEOUT, shared.tasks.wait()).await;
        shared.endpoint.close(BYE, b"bye");
        shared.tasks.wait().await;
        let _ = timeout(LAST_WORDS_TIMEOUT, shared.endpoint.wait_idle()).await;
    }
}

/// Whether an address, such as `node.example:7400`, is on this machine, as far as it says so itself.
pub fn is_local(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
