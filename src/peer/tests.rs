//! Two or three endpoints on loopback, and strangers that do not keep the rules. Every wait is for an event, with a deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aop_proto::params::DATAGRAM_BYTES_MAX;
use aop_proto::wire::Class;
use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::describe;
use super::is_local;
use super::outbox::OUTBOX_BYTES_MAX;
use super::tls::{SERVER_NAME, Tls};
use super::{FRAME_BYTES_MAX, PeerError, PeerEvent, Peers, Responder, bind_one_port};
use crate::entropy::NodeKey;

/// Far above what loopback needs, below what a person waits for.
const PATIENCE: Duration = Duration::from_secs(10);

struct Node {
    key: NodeKey,
    peers: Peers,
    events: mpsc::Receiver<PeerEvent>,
    address: SocketAddr,
}

impl Node {
    fn new() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), NodeKey::memory().unwrap())
    }

    fn at(address: SocketAddr, key: NodeKey) -> Self {
        let (_tcp, udp) = bind_one_port(address, address.ip()).unwrap();
        let (sender, events) = mpsc::channel(64);
        let peers = Peers::bind(udp, &key, sender).unwrap();
        let address = peers.local_address().unwrap();
        Self { key, peers, events, address }
    }

    fn id(&self) -> [u8; 32] {
        self.key.public()
    }

    async fn event(&mut self) -> PeerEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("the endpoint lives")
    }

    async fn up(&mut self) -> ([u8; 32], bool) {
        match self.event().await {
            PeerEvent::Up { peer, dialed, .. } => (peer, dialed),
            other => panic!("expected Up, got {other:?}"),
        }
    }

    /// The end of a dial: its outcome comes after the `Up` it led to.
    async fn reached(&mut self) -> ([u8; 32], SocketAddr) {
        match self.event().await {
            PeerEvent::Reached { peer, address } => (peer, address),
            other => panic!("expected Reached, got {other:?}"),
        }
    }

    async fn down(&mut self) -> String {
        self.ended().await.0
    }

    /// Why a peer went down, and whether somebody wanted it.
    async fn ended(&mut self) -> (String, bool) {
        match self.event().await {
            PeerEvent::Down { reason, graceful, .. } => (reason, graceful),
            other => panic!("expected Down, got {other:?}"),
        }
    }

    fn send(&self, to: &Self, message: impl Into<Bytes>, class: Class) -> bool {
        self.peers.send(to.id(), message.into(), class)
    }

    async fn message(&mut self) -> Bytes {
        match self.event().await {
            PeerEvent::Message { bytes, .. } => bytes,
            other => panic!("expected Message, got {other:?}"),
        }
    }

    async fn request(&mut self) -> (Bytes, Responder) {
        match self.event().await {
            PeerEvent::Request { request, stream, .. } => (request, stream),
            other => panic!("expected Request, got {other:?}"),
        }
    }

    async fn dial_failure(&mut self) -> String {
        match self.event().await {
            PeerEvent::DialFailed { reason, .. } => reason,
            other => panic!("expected DialFailed, got {other:?}"),
        }
    }
}

async fn pair() -> (Node, Node) {
    let (mut a, mut b) = (Node::new(), Node::new());
    a.peers.dial(b.address, Some(b.id()));
    assert_eq!(a.up().await, (b.id(), true));
    assert_eq!(a.reached().await, (b.id(), b.address));
    assert_eq!(b.up().await, (a.id(), false));
    (a, b)
}

/// A quinn client with a TLS configuration of the test's choice, as a stranger would have one.
async fn stranger(
    address: SocketAddr,
    change: impl FnOnce(rustls::ClientConfig) -> rustls::ClientConfig,
) -> Result<quinn::Connection, quinn::ConnectionError> {
    let tls = Tls::new(&NodeKey::memory().unwrap()).unwrap();
    let (config, _) = tls.client(None).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(change(config)).unwrap()));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.connect_with(config, address, SERVER_NAME).unwrap().await
}

/// A stranger that greets and says in the handshake that it takes no datagrams.
async fn datagramless_stranger(address: SocketAddr) -> quinn::Connection {
    let (tls, _) = Tls::new(&NodeKey::memory().unwrap()).unwrap().client(None).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = quinn::TransportConfig::default();
    transport.datagram_receive_buffer_size(None);
    config.transport_config(Arc::new(transport));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connection = endpoint.connect_with(config, address, SERVER_NAME).unwrap().await.unwrap();
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(b"aop\x01processY").await.unwrap();
    connection
}

/// A stranger that shakes hands and greets as it must, and then sends what the test wants.
async fn greeted_stranger(address: SocketAddr) -> (quinn::Connection, quinn::SendStream) {
    let connection = stranger(address, |c| c).await.unwrap();
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(b"aop\x01processX").await.unwrap();
    (connection, stream)
}

/// Counts the tickets that a server hands out.
#[derive(Debug, Default)]
struct Tickets(AtomicUsize);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

async fn closed(connection: &quinn::Connection) -> String {
    timeout(PATIENCE, connection.closed()).await.expect("closed in time").to_string()
}

#[tokio::test]
async fn messages_arrive_in_order_both_ways_and_the_largest_too() {
    let (mut a, mut b) = pair().await;
    for n in 0..200_u32 {
        assert!(a.send(&b, Bytes::copy_from_slice(&n.to_le_bytes()), Class::Gossip));
    }
    for n in 0..200_u32 {
        assert_eq!(b.message().await, n.to_le_bytes()[..]);
    }
    let largest = Bytes::from(vec![7; FRAME_BYTES_MAX]);
    assert!(b.send(&a, largest.clone(), Class::Gossip));
    assert_eq!(a.message().await, largest);
    assert!(b.send(&a, Bytes::new(), Class::Gossip));
    assert_eq!(a.message().await, Bytes::new());
    assert_eq!(a.peers.counters().messages_sent, 200);
    assert_eq!(b.peers.counters().messages_received, 200);
    let connected = a.peers.connected();
    assert_eq!((connected.len(), connected[0].peer, connected[0].address), (1, b.id(), b.address));
}

#[tokio::test]
async fn a_message_above_the_limit_or_to_nobody_is_refused_and_counted() {
    let (a, b) = pair().await;
    assert!(!a.send(&b, Bytes::from(vec![0; FRAME_BYTES_MAX + 1]), Class::Gossip));
    assert!(!a.peers.send([9; 32], Bytes::from_static(b"hello"), Class::Question));
    assert_eq!(a.peers.counters().messages_refused, [0, 1, 0, 1]);
    let request = a.peers.request(b.id(), Bytes::from(vec![0; FRAME_BYTES_MAX + 1])).await;
    assert!(matches!(request, Err(PeerError::TooLarge { .. })));
    assert!(matches!(a.peers.request([9; 32], Bytes::new()).await, Err(PeerError::NotConnected)));
}

#[tokio::test]
async fn another_key_than_the_expected_one_is_refused() {
    let (mut a, b) = (Node::new(), Node::new());
    a.peers.dial(b.address, Some([1; 32]));
    let reason = a.dial_failure().await;
    assert!(reason.contains("another node answers there"), "{reason}");
    assert!(a.peers.connected().is_empty() && b.peers.connected().is_empty());
    // The failed dial is over, so the same address may be dialled again.
    a.peers.dial(b.address, Some(b.id()));
    assert_eq!(a.up().await, (b.id(), true));
}

#[tokio::test]
async fn dialling_oneself_and_dialling_nobody_fail_with_the_reason() {
    let mut a = Node::new();
    a.peers.dial(a.address, None);
    assert_eq!(a.dial_failure().await, "that address is this node itself");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    a.peers.dial(silent.local_addr().unwrap(), None);
    a.peers.dial(silent.local_addr().unwrap(), None);
    assert_eq!(a.dial_failure().await, "no answer");
    assert_eq!(a.peers.counters().dials, 2, "the second dial to the silent address joined the first");
}

#[tokio::test]
async fn a_stranger_of_another_protocol_is_refused() {
    let b = Node::new();
    let refused = stranger(b.address, |mut config| {
        config.alpn_protocols = vec![b"aop/0".to_vec(), b"h3".to_vec()];
        config
    });
    let told = describe(&refused.await.unwrap_err());
    assert_eq!(told, "it speaks none of the protocols of this node (aop/1)");
    let refused = stranger(b.address, |mut config| {
        config.alpn_protocols.clear();
        config
    });
    assert!(refused.await.is_err());
    assert!(b.peers.connected().is_empty());
}

#[tokio::test]
async fn a_stranger_without_a_key_is_refused() {
    let b = Node::new();
    let (template, check) = Tls::new(&NodeKey::memory().unwrap()).unwrap().client(None).unwrap();
    // The client believes that it is connected until the server has looked for its key.
    let refused = stranger(b.address, |_| {
        let mut config = rustls::ClientConfig::builder_with_provider(template.crypto_provider().clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(check)
            .with_no_client_auth();
        config.alpn_protocols = template.alpn_protocols.clone();
        config
    });
    if let Ok(connection) = refused.await {
        let reason = closed(&connection).await;
        assert!(reason.contains("handshake"), "{reason}");
    }
    assert!(b.peers.connected().is_empty());
}

/// With a ticket a session would go on without a new proof of the key, and begin with words that somebody else can say again.
#[tokio::test]
async fn no_ticket_is_given_so_no_handshake_is_shortened_or_replayed() {
    let a = Node::new();
    let tickets = Arc::new(Tickets::default());
    let kept = tickets.clone();
    let connection = stranger(a.address, |mut config| {
        config.resumption = Resumption::store(kept);
        config.enable_early_data = true;
        config
    });
    let connection = connection.await.unwrap();
    // Its greeting comes behind the handshake, and behind whatever a server adds to that.
    let mut greeting = connection.accept_uni().await.unwrap();
    greeting.read_exact(&mut [0; 12]).await.unwrap();
    assert_eq!(tickets.0.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_frame_above_the_limit_closes_the_connection() {
    let mut b = Node::new();
    let (connection, mut stream) = greeted_stranger(b.address).await;
    b.up().await;
    let length = u32::try_from(FRAME_BYTES_MAX + 1).unwrap();
    stream.write_all(&length.to_le_bytes()).await.unwrap();
    assert!(closed(&connection).await.contains("above the limit"));
    assert!(b.down().await.contains("above the limit"));
    assert_eq!(b.peers.counters().violations, 1);

    let (connection, _messages) = greeted_stranger(b.address).await;
    b.up().await;
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    assert!(closed(&connection).await.contains("above the limit"));
    b.down().await;
    assert_eq!(b.peers.counters().violations, 2);
}

#[tokio::test]
async fn hostile_streams_hurt_nobody() {
    let mut b = Node::new();
    // No greeting, another greeting, and a frame cut short.
    let connection = stranger(b.address, |c| c).await.unwrap();
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(&[0xff; 64]).await.unwrap();
    assert!(closed(&connection).await.contains("no greeting"));
    let (connection, mut stream) = greeted_stranger(b.address).await;
    b.up().await;
    stream.write_all(&[9, 0, 0, 0, 1, 2]).await.unwrap();
    stream.finish().unwrap();
    closed(&connection).await;
    b.down().await;
    // A stream of an unknown kind is declined and the connection goes on.
    let (connection, mut messages) = greeted_stranger(b.address).await;
    b.up().await;
    let strange = connection.open_uni().await.unwrap();
    let mut strange_writer = strange;
    strange_writer.write_all(b"????").await.unwrap();
    assert_eq!(timeout(PATIENCE, strange_writer.stopped()).await.unwrap().unwrap(), Some(3_u32.into()));
    messages.write_all(&[2, 0, 0, 0, b'o', b'k']).await.unwrap();
    assert_eq!(b.message().await, "ok");
}

#[tokio::test]
async fn a_request_is_answered_in_as_many_frames_as_it_takes() {
    let (a, mut b) = pair().await;
    let asked = a.peers.request(b.id(), Bytes::from_static(b"count"));
    let (answer, (request, mut responder)) = tokio::join!(asked, b.request());
    let mut answer = answer.unwrap();
    assert_eq!(request, "count");
    let answering = tokio::spawn(async move {
        for n in 0..10_u8 {
            responder.send(Bytes::from(vec![n; 300_000])).await.unwrap();
        }
        let delivered = responder.cancelled();
        responder.finish().unwrap();
        delivered.await;
    });
    for n in 0..10_u8 {
        assert_eq!(answer.next().await.unwrap().unwrap(), vec![n; 300_000]);
    }
    assert!(answer.next().await.unwrap().is_none());
    assert!(answer.next().await.unwrap().is_none());
    timeout(PATIENCE, answering).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_unfinished_answer_is_not_a_complete_one() {
    let (a, mut b) = pair().await;
    let (answer, (_, mut responder)) = tokio::join!(a.peers.request(b.id(), Bytes::new()), b.request());
    let mut answer = answer.unwrap();
    responder.send(Bytes::from_static(b"half")).await.unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap(), "half");
    drop(responder);
    assert!(matches!(answer.next().await, Err(PeerError::Abandoned)));
}

#[tokio::test]
async fn dropping_the_answer_cancels_at_the_responder() {
    let (a, mut b) = pair().await;
    let (answer, (_, mut responder)) = tokio::join!(a.peers.request(b.id(), Bytes::from_static(b"slow")), b.request());
    let cancelled = responder.cancelled();
    drop(answer.unwrap());
    timeout(PATIENCE, cancelled).await.expect("the cancellation arrives");
    assert!(matches!(responder.send(Bytes::from_static(b"late")).await, Err(PeerError::Cancelled)));
    // The connection is untouched by it.
    assert!(a.send(&b, Bytes::from_static(b"still here"), Class::Gossip));
    assert_eq!(b.message().await, "still here");
}

#[tokio::test]
async fn an_asker_that_vanishes_cancels_too() {
    let (a, mut b) = pair().await;
    let (answer, (_, responder)) = tokio::join!(a.peers.request(b.id(), Bytes::from_static(b"slow")), b.request());
    let cancelled = responder.cancelled();
    drop((a, answer));
    timeout(PATIENCE, cancelled).await.expect("the cancellation arrives");
}

#[tokio::test]
async fn dialling_each_other_at_once_gives_one_up_and_one_down() {
    let (mut a, mut b) = (Node::new(), Node::new());
    a.peers.dial(b.address, Some(b.id()));
    b.peers.dial(a.address, Some(a.id()));
    assert_eq!(a.up().await.0, b.id());
    assert_eq!(b.up().await.0, a.id());
    // Each dial ends, by its own connection or by finding the other's.
    assert_eq!(a.reached().await, (b.id(), b.address));
    assert_eq!(b.reached().await, (a.id(), a.address));
    for n in 0..100_u8 {
        assert!(a.send(&b, Bytes::from(vec![n]), Class::Gossip));
        assert!(b.send(&a, Bytes::from(vec![n]), Class::Gossip));
    }
    for _ in 0..100 {
        a.message().await;
        b.message().await;
    }
    // With no further Up in between, the next event is the only Down.
    a.peers.close().await;
    assert_eq!(b.down().await, "it left");
    assert!(b.peers.connected().is_empty());
    b.peers.close().await;
    assert!(b.events.try_recv().is_err());
}

#[tokio::test]
async fn closing_is_noticed_at_once_and_last_words_arrive() {
    let (a, mut b) = pair().await;
    for n in 0..50_u8 {
        assert!(a.send(&b, Bytes::from(vec![n; 10_000]), Class::Gossip));
    }
    let began = Instant::now();
    a.peers.close().await;
    for n in 0..50_u8 {
        assert_eq!(b.message().await, vec![n; 10_000]);
    }
    assert_eq!(b.ended().await, ("it left".to_owned(), true));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(!a.send(&b, Bytes::new(), Class::Gossip));
}

#[tokio::test]
async fn dropping_all_handles_is_noticed_at_once() {
    let (a, mut b) = pair().await;
    let began = Instant::now();
    drop(a);
    b.down().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_dismissed_peer_goes_down_on_both_sides_and_may_come_back() {
    let (mut a, mut b) = pair().await;
    a.peers.disconnect(b.id());
    assert_eq!(a.ended().await, ("closed here".to_owned(), true));
    let (reason, graceful) = b.ended().await;
    assert!(reason.contains("not wanted") && graceful, "{reason}");
    b.peers.dial(a.address, None);
    assert_eq!(b.up().await, (a.id(), true));
    assert_eq!(b.reached().await, (a.id(), a.address));
    assert_eq!(a.up().await, (b.id(), false));
}

#[tokio::test]
async fn a_dial_to_a_connected_peer_finds_it_without_a_connection() {
    let (mut a, b) = pair().await;
    a.peers.dial(b.address, None);
    assert_eq!(a.reached().await, (b.id(), b.address));
    // Known by another address as well.
    let elsewhere = "127.0.0.2:7400".parse().unwrap();
    a.peers.dial(elsewhere, Some(b.id()));
    assert_eq!(a.reached().await, (b.id(), elsewhere));
    assert_eq!(a.peers.counters().dials, 1);
}

#[tokio::test]
async fn what_was_queued_for_a_dismissed_peer_arrives_before_it_goes_down() {
    let (a, mut b) = pair().await;
    for n in 0..20_u8 {
        assert!(a.send(&b, vec![n; 40_000], Class::Bulk));
        assert!(a.send(&b, vec![n; 100], Class::Question));
    }
    a.peers.disconnect(b.id());
    let mut bytes = 0;
    for _ in 0..40 {
        bytes += b.message().await.len();
    }
    assert_eq!(bytes, 20 * 40_100);
    assert!(b.down().await.contains("not wanted"));
    assert_eq!(a.peers.counters().messages_lost, 0);
}

#[tokio::test]
async fn small_messages_overtake_bulk_that_is_under_way() {
    const BULK: usize = 64 << 10;
    let (mut a, mut b) = pair().await;
    // Nobody reads at the other end, so bulk stands everywhere it can: in the queue here, in the window and in the events there.
    let deadline = Instant::now() + PATIENCE;
    let mut fed = 0;
    while a.peers.counters().messages_refused[Class::Bulk as usize] < 100 {
        assert!(Instant::now() < deadline, "the queues fill up");
        fed += usize::from(a.send(&b, vec![0; BULK], Class::Bulk));
        tokio::task::yield_now().await;
    }
    for (n, class) in [(1, Class::Datagram), (2, Class::Gossip), (3, Class::Question)] {
        assert!(a.send(&b, vec![n], class));
    }
    let (mut small, mut bulk) = (Vec::new(), 0);
    while small.len() < 3 {
        let message = b.message().await;
        if message.len() == 1 { small.push(message[0]) } else { bulk += 1 }
    }
    small.sort_unstable();
    assert_eq!(small, [1, 2, 3]);
    assert!(bulk + (OUTBOX_BYTES_MAX / 2 / BULK) < fed, "{bulk} of {fed} messages came first");
    // 20 MB more, and a question goes there and back while they come.
    let feeding = a.peers.clone();
    let to = b.id();
    let feeder = tokio::spawn(async move {
        let mut left = (20 << 20) / BULK;
        while left > 0 {
            left -= usize::from(feeding.send(to, vec![0; BULK].into(), Class::Bulk));
            tokio::task::yield_now().await;
        }
    });
    let all = fed + (20 << 20) / BULK;
    for (asked, answered) in [(Class::Datagram, Class::Datagram), (Class::Question, Class::Question)] {
        assert!(a.send(&b, vec![7], asked));
        let mut answer = None;
        while answer.is_none() {
            tokio::select! {
                message = b.message() => match message.len() {
                    1 => assert!(b.send(&a, message, answered)),
                    _ => bulk += 1,
                },
                message = a.message() => answer = Some(message),
            }
        }
        assert!(bulk < all, "the answer to {asked:?} came after all bulk");
    }
    while bulk < all {
        b.message().await;
        bulk += 1;
    }
    feeder.await.unwrap();
}

#[tokio::test]
async fn a_datagram_that_fits_none_goes_with_gossip() {
    let (mut a, mut b) = pair().await;
    for bytes in [0, 1, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MAX + 1, FRAME_BYTES_MAX] {
        assert!(a.send(&b, vec![5; bytes], Class::Datagram));
        assert_eq!(b.message().await.len(), bytes);
    }
    // The same with a peer that takes no datagrams at all.
    let (connection, _gossip) = greeted_stranger(a.address).await;
    let (stranger, _) = a.up().await;
    assert!(a.peers.send(stranger, Bytes::from_static(b"ping"), Class::Datagram));
    assert_eq!(timeout(PATIENCE, connection.read_datagram()).await.unwrap().unwrap(), "ping");
    let connection = datagramless_stranger(a.address).await;
    let (stranger, _) = a.up().await;
    assert!(a.peers.send(stranger, Bytes::from_static(b"ping"), Class::Datagram));
    let mut stream = connection.accept_uni().await.unwrap();
    let mut received = [0; 4 + 8 + 4 + 4];
    timeout(PATIENCE, stream.read_exact(&mut received)).await.unwrap().unwrap();
    assert!(received.starts_with(b"aop\x01") && received.ends_with(b"\x04\0\0\0ping"), "{received:?}");
}

#[tokio::test]
async fn datagrams_beyond_the_buffer_are_refused_and_counted() {
    let (a, mut b) = pair().await;
    let mut sent = 0;
    // No task of quinn runs in between, so the buffer fills.
    while a.send(&b, vec![sent; 1000], Class::Datagram) {
        sent += 1;
    }
    assert!((50..70).contains(&sent), "{sent} of 1000 bytes in 64 KiB");
    assert_eq!(a.peers.counters().messages_refused, [1, 0, 0, 0]);
    assert_eq!(b.message().await, vec![0; 1000], "the oldest was not pushed out");
}

#[tokio::test]
async fn datagrams_that_nobody_read_in_time_are_counted() {
    let (a, mut b) = pair().await;
    let (mut sent, deadline) = (0, Instant::now() + PATIENCE);
    // Far more than the events and the buffer hold. Nothing is known of datagrams once they are sent.
    while sent < 1000 {
        assert!(Instant::now() < deadline);
        sent += usize::from(a.send(&b, vec![0; 1000], Class::Datagram));
        tokio::task::yield_now().await;
    }
    a.peers.disconnect(b.id());
    let mut received = 0;
    while let PeerEvent::Message { .. } = b.event().await {
        received += 1;
    }
    let unread = b.peers.counters().datagrams_unread;
    assert!(received < sent && unread > 0 && received + unread as usize <= sent, "{received} and {unread} of {sent}");
}

#[tokio::test]
async fn a_lane_has_one_stream() {
    let mut b = Node::new();
    let (connection, _gossip) = greeted_stranger(b.address).await;
    b.up().await;
    let mut bulk = connection.open_uni().await.unwrap();
    bulk.write_all(b"aop\x02\x02\0\0\0ok").await.unwrap();
    assert_eq!(b.message().await, "ok");
    for head in [b"aop\x02", b"aop\x01", b"aop\x09"] {
        let mut second = connection.open_uni().await.unwrap();
        second.write_all(head).await.unwrap();
        assert_eq!(timeout(PATIENCE, second.stopped()).await.unwrap().unwrap(), Some(3_u32.into()));
    }
    bulk.write_all(b"\x02\0\0\0go").await.unwrap();
    assert_eq!(b.message().await, "go");
}

/// Takes a node's socket away, as a process that is killed loses it: no goodbye, and nobody at its address until the next node.
/// What is left of it speaks from an address of which nobody wants to hear.
async fn die(node: &Node) {
    // Twice, because an endpoint listens on its previous socket as well.
    for _ in 0..2 {
        node.peers.shared().endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while std::net::UdpSocket::bind(node.address).is_err() {
        assert!(Instant::now() < deadline, "the socket is let go");
        tokio::task::yield_now().await;
    }
}

/// Two nodes that have spoken, so that each knows how the other would say that it lost its connections.
async fn acquainted_pair() -> (Node, Node) {
    let (mut a, mut b) = pair().await;
    a.send(&b, Bytes::from_static(b"hello"), Class::Gossip);
    b.message().await;
    b.send(&a, Bytes::from_static(b"hello"), Class::Gossip);
    a.message().await;
    (a, b)
}

#[tokio::test]
async fn a_peer_that_died_and_came_back_goes_down_before_it_is_up_again() {
    let (a, mut b) = acquainted_pair().await;
    die(&a).await;
    let second = Node::at(a.address, a.key.clone());
    second.peers.dial(b.address, Some(b.id()));
    assert_eq!(b.down().await, "it restarted");
    assert_eq!(b.up().await, (a.id(), false));
}

#[tokio::test]
async fn a_peer_that_died_and_came_back_silently_is_noticed_before_the_idle_timeout() {
    let (a, mut b) = acquainted_pair().await;
    die(&a).await;
    let _second = Node::at(a.address, a.key.clone());
    let began = Instant::now();
    assert_eq!(b.ended().await, ("it restarted".to_owned(), false));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn what_is_local_says_so_itself() {
    for address in ["127.0.0.1:7400", "localhost:7400", "[::1]:7400", "127.9.9.9:1"] {
        assert!(is_local(address), "{address}");
    }
    for address in ["10.0.0.1:7400", "node.example:7400", "[fd00::1]:7400", "0.0.0.0:7400"] {
        assert!(!is_local(address), "{address}");
    }
}
