//! The flood: ten times every limit of the client port and of the port between nodes, at once.
//!
//! Each part comes from addresses of its own, none of them the known client's. What is refused is tried again after a rest, for as
//! long as the flood lasts; when it ends, everything it holds is let go at once.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aop::entropy::NodeKey;
use aop::peer::{PeerEvent, Peers};
use aop_proto::wire::Class;
use aop_proto::wire::message::{Form, Message, Query, Question};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Result, Target, request, slow};

/// Ten times 64 connections of one address, and of so many addresses: ten times the 1,024 of all.
const CROWD: (u8, usize) = (16, 640);
/// Ten times the connections a second of one address, begun by so many.
const CHURN: (u64, u64) = (1_000, 20);
/// Ten times what a principal may ask in a second, over so many connections.
const NOISY: (u64, usize) = (10_000, 8);
/// Ten times what an address may ask without good credentials.
const STRANGERS: u64 = 200;
/// Ten times the calls that one server takes at once: connections, and streams of each.
const CALLS: (usize, u32) = (26, 100);
/// Ten times the largest body, and the most bytes of headers.
const BODY_BYTES: usize = 40 << 20;
const HEADER_BYTES: usize = 640 << 10;
/// Strangers between nodes, and what each of them does in a second: a handshake ten times, or questions.
const PEERS: (u8, u64) = (10, 200);
/// How far its threads step back behind the node's. Source: nice(2), of a thread on Linux.
const YIELDS: i32 = 10;
/// After what was refused, and for each of a crowd: so it comes two thousand times a second, and leaves the node a processor.
const REST: Duration = Duration::from_secs(1);
const CROWD_REST: Duration = Duration::from_secs(5);

/// A flood that goes on until it is ended.
pub(crate) struct Flood {
    runtime: Runtime,
    sent: Sent,
}

/// How often what was sent, and what came of it.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Sent {
    fn add(&self, what: &'static str, count: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += count;
    }
}

impl Flood {
    /// Makes its tokens and begins.
    pub(crate) fn start(target: &Target, token: impl Fn(&str, &str) -> Result<String>) -> Result<Self> {
        let [noisy, large, caller] =
            [("noisy", "reader"), ("large", "reader"), ("caller", "caller")].map(|(name, role)| token(name, role));
        let (noisy, large, caller) = (noisy?, large?, caller?);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.on_thread_start(|| {
            // One from elsewhere would have none of the node's processors. Where it may not step back it floods all the same.
            let _ = rustix::process::nice(YIELDS);
        });
        let runtime = runtime.worker_threads(2).enable_all().build()?;
        let sent = Sent::default();
        let each = || (target.clone(), sent.clone());
        for _ in 0..NOISY.1 {
            runtime.spawn(ask(each(), Ipv4Addr::new(127, 0, 3, 1), noisy.clone(), NOISY.0 / NOISY.1 as u64, "known"));
        }
        runtime.spawn(ask(each(), Ipv4Addr::new(127, 0, 4, 1), String::new(), STRANGERS, "nobody"));
        runtime.spawn(ask(each(), Ipv4Addr::new(127, 0, 5, 1), "aop_guess".to_owned(), STRANGERS, "guesses"));
        for _ in 0..10 {
            runtime.spawn(enlarge(each(), Ipv4Addr::new(127, 0, 6, 1), large.clone()));
            runtime.spawn(adorn(each(), Ipv4Addr::new(127, 0, 7, 1)));
        }
        for _ in 0..CALLS.0 {
            runtime.spawn(call(each(), Ipv4Addr::new(127, 0, 9, 1), caller.clone()));
        }
        for address in 1..=PEERS.0 {
            runtime.spawn(meet(each(), Ipv4Addr::new(127, 0, 10, address)));
            runtime.spawn(question(each(), Ipv4Addr::new(127, 0, 11, address)));
        }
        for _ in 0..CHURN.1 {
            runtime.spawn(churn(each(), Ipv4Addr::new(127, 0, 8, 1)));
        }
        // Those who want to ask come first: where the crowd is they might find no place.
        std::thread::sleep(REST);
        for address in 1..=CROWD.0 {
            for _ in 0..CROWD.1 {
                runtime.spawn(hold(each(), Ipv4Addr::new(127, 0, 2, address)));
            }
        }
        Ok(Self { runtime, sent })
    }

    /// Ends it and tells what it did.
    pub(crate) fn end(self) -> Vec<(&'static str, u64)> {
        self.runtime.shutdown_background();
        let sent = self.sent.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().map(|(what, count)| (*what, *count)).collect()
    }
}

type Each = (Target, Sent);

/// Holds a connection with headers that never end.
async fn hold((target, sent): Each, from: Ipv4Addr) {
    loop {
        let held = async {
            sent.add("connections", 1);
            let mut stream = target.connect(from, b"http/1.1").await?;
            sent.add("connections held", 1);
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ").await?;
            loop {
                stream.write_all(b"x").await?;
                stream.flush().await?;
                sleep(REST).await;
            }
        };
        let _: Result<()> = held.await;
        sleep(CROWD_REST).await;
    }
}

/// Shakes hands and leaves.
async fn churn((target, sent): Each, from: Ipv4Addr) {
    let mut ticks = interval(Duration::from_millis(1000 * CHURN.1 / CHURN.0));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        sent.add("connections a moment long", 1);
        let _: Result<_> = target.connect(from, b"http/1.1").await;
    }
}

/// Asks so often a second, over one connection, whatever the answers.
async fn ask((target, sent): Each, from: Ipv4Addr, token: String, per_second: u64, what: &'static str) {
    const TICK: Duration = Duration::from_millis(20);
    let batch = per_second * TICK.as_millis() as u64 / 1000;
    let requests = request("GET", "/v1/resolve?q=tool_1.shelf.research", &token, "").repeat(batch as usize);
    loop {
        let asked = async {
            let stream = target.connect(from, b"http/1.1").await?;
            let (mut answers, mut out) = tokio::io::split(stream);
            let ask = async {
                let mut ticks = interval(TICK);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    out.write_all(requests.as_bytes()).await?;
                    out.flush().await?;
                    sent.add(what, batch);
                }
            };
            let drain = async {
                let mut buffer = vec![0; 64 << 10];
                while answers.read(&mut buffer).await? > 0 {}
                Ok(())
            };
            let asked: Result<()> = tokio::select! { ended = ask => ended, ended = drain => ended };
            asked
        };
        let _: Result<()> = asked.await;
        sleep(REST).await;
    }
}

/// Sends bodies that are too large.
async fn enlarge((target, sent): Each, from: Ipv4Addr, token: String) {
    let head = request("POST", "/v1/resolve", &token, "")
        .replace("Content-Length: 0", &format!("Content-Length: {BODY_BYTES}"));
    write_to_its_end(&target, from, &head, BODY_BYTES, || sent.add("bodies", 1)).await;
}

/// Sends headers that are too large.
async fn adorn((target, sent): Each, from: Ipv4Addr) {
    let head = "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ";
    write_to_its_end(&target, from, head, HEADER_BYTES, || sent.add("headers", 1)).await;
}

async fn write_to_its_end(target: &Target, from: Ipv4Addr, head: &str, bytes: usize, count: impl Fn()) {
    let part = [b'x'; 16 << 10];
    loop {
        let written = async {
            let mut stream = target.connect(from, b"http/1.1").await?;
            count();
            stream.write_all(head.as_bytes()).await?;
            for _ in 0..bytes / part.len() {
                stream.write_all(&part).await?;
            }
            stream.flush().await?;
            // Until the node has enough of it.
            while stream.read(&mut [0; 1024]).await? > 0 {}
            Ok(())
        };
        let _: Result<()> = written.await;
        sleep(REST).await;
    }
}

/// Has as many calls open as one connection of HTTP/2 may have streams; each that ends is made again.
async fn call((target, sent): Each, from: Ipv4Addr, token: String) {
    let path = format!("/v1/tools/wait.{}.research/call", slow::SERVER);
    let fields = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", &path),
        (":authority", "localhost"),
        ("content-type", "application/json"),
        ("authorization", &format!("Bearer {token}")),
    ]);
    loop {
        let called = async {
            let mut stream = target.connect(from, b"h2").await?;
            let mut id = 1;
            let mut begin = |out: &mut Vec<u8>| {
                out.extend(frame(HEADERS, END_HEADERS, id, &fields));
                out.extend(frame(DATA, END_STREAM, id, b"{}"));
                id += 2;
            };
            let mut out = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
            (0..CALLS.1).for_each(|_| begin(&mut out));
            sent.add("calls", CALLS.1.into());
            loop {
                stream.write_all(&out).await?;
                stream.flush().await?;
                out.clear();
                let mut head = [0; 9];
                stream.read_exact(&mut head).await?;
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                stream.read_exact(&mut payload).await?;
                match (head[3], head[4] & 1) {
                    (SETTINGS, 0) => out.extend(frame(SETTINGS, 1, 0, &[])),
                    (PING, 0) => out.extend(frame(PING, 1, 0, &payload)),
                    (GOAWAY, _) => return Ok(()),
                    (HEADERS | DATA, END_STREAM) | (RST_STREAM, _) => {
                        begin(&mut out);
                        out.extend(frame(WINDOW_UPDATE, 0, 0, &(64_u32 << 10).to_be_bytes()));
                        sent.add("calls", 1);
                    }
                    _ => {}
                }
            }
        };
        let _: Result<()> = called.await;
        sleep(REST).await;
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Source: RFC 9113 §4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literal fields without indexing, none of them longer than 126 bytes. Source: RFC 7541 §6.2.2.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// A node of nobody's, and what it hears.
fn stranger(from: Ipv4Addr) -> Result<(Peers, mpsc::Receiver<PeerEvent>)> {
    let (events, heard) = mpsc::channel(1024);
    Ok((Peers::bind(UdpSocket::bind((from, 0))?, &NodeKey::memory()?, events)?, heard))
}

/// Shakes hands, leaves, and comes again.
async fn meet((target, sent): Each, from: Ipv4Addr) {
    let rest = Duration::from_millis(1000 / (PEERS.1 / u64::from(PEERS.0)));
    loop {
        let Ok((peers, mut heard)) = stranger(from) else { return sleep(REST).await };
        peers.dial(target.address, None);
        sent.add("handshakes", 1);
        while let Some(event) = heard.recv().await {
            if matches!(event, PeerEvent::Reached { .. } | PeerEvent::DialFailed { .. }) {
                break;
            }
        }
        drop(peers);
        sleep(rest).await;
    }
}

/// Asks without being anybody.
async fn question((target, sent): Each, from: Ipv4Addr) {
    let text = "finds a book on a shelf".to_owned();
    let question = Question {
        form: Form::Words,
        text,
        zone: None,
        limit: 5,
        tags: vec![],
        capabilities: vec![],
        after: String::new(),
    };
    let mut id = 0;
    loop {
        let Ok((peers, mut heard)) = stranger(from) else { return };
        peers.dial(target.address, None);
        let mut ticks = interval(Duration::from_millis(1000 / PEERS.1));
        let mut met = None;
        loop {
            tokio::select! {
                event = heard.recv() => match event {
                    Some(PeerEvent::Up { peer, .. }) => met = Some(peer),
                    Some(PeerEvent::Message { .. }) => sent.add("answers", 1),
                    Some(PeerEvent::Down { .. } | PeerEvent::DialFailed { .. }) | None => break,
                    Some(_) => {}
                },
                _ = ticks.tick() => if let Some(peer) = met {
                    id += 1;
                    let query = Query {
                        id, question: question.clone(), deadline_ms: 5000, hops: 4, budget: 8, visited: vec![],
                        outside: false, cached: true,
                    };
                    if peers.send(peer, Message::from(query).encode().into(), Class::Question) {
                        sent.add("questions", 1);
                    }
                }
            }
        }
        sleep(REST).await;
    }
}
