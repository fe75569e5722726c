//! How fast records that arrive by QUIC become visible, beside the bare cost of checking their signatures.
//!
//! `cargo bench --bench ingest [-- RECORDS]`. A node in memory writes tools, once with a signature each and once in flushes of 64, and
//! the frames in which they are told are kept, one a flush. They are replayed by an endpoint that only sends, to a whole node
//! (endpoint, driver, store in memory): the time is from the first frame sent to the view that shows the last record. *verify*:
//! `verify_strict` of one signature a record over as many bytes, key read once, one thread, in the same round. *open*: reading,
//! hashing and checking the records, nothing applied. *core*: the same frames handed to a node without network, store or driver, its
//! view taken as often as it changes. Rounds are interleaved; medians count.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aop::clock::Clock;
use aop::driver::{Ahead, Driver, PEER_EVENTS_MAX, Published};
use aop::entropy::{NodeKey, ZoneKey};
use aop::peer::{self, Peers, bind_one_port};
use aop::store::Store;
use aop_proto::access::Policy;
use aop_proto::name::ZoneName;
use aop_proto::node::{Admission, Config, Input, NewTool, Node, Output, Restored, Write};
use aop_proto::params::RANGES_BYTES_TARGET;
use aop_proto::record::NodeId;
use aop_proto::trust::{Opened, Verifier};
use aop_proto::view::View;
use aop_proto::wire::Class;
use aop_proto::wire::message::{Message, Ranges, Vector};
use bytes::Bytes;
use ed25519_dalek::Signer as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The node's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;
/// What a flush's signature covers: its root, the origin and the head, with their framing.
const STATEMENT_BYTES: usize = 170;
const PATIENCE: Duration = Duration::from_secs(60);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Who takes part: the one that wrote, and the one that reads.
struct Cast {
    author: NodeKey,
    reader: NodeKey,
    zone: ZoneKey,
}

/// What the author says: until it is a fellow, and then its records.
struct Script {
    greeting: Vec<(Bytes, Class)>,
    records: Vec<(Bytes, Class)>,
    tools: usize,
}

fn main() -> Result<()> {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let records: usize = asked.unwrap_or(16_384);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("{records} records; medians of {ROUNDS} rounds; records or signatures a second");
    println!("{:10} {:>9} {:>9} {:>9} {:>9}   QUIC to visible ÷ verify", "", "verify", "open", "core", "QUIC");
    for (name, flush) in [("single", 1), ("flush 64", 64)] {
        let cast = Cast { author: NodeKey::memory()?, reader: NodeKey::memory()?, zone: ZoneKey::memory()? };
        let script = write(&cast, records, flush)?;
        let mut rates: [Vec<f64>; 5] = Default::default();
        for _ in 0..ROUNDS {
            let took = [
                verify(&cast, records)?,
                open(&script)?,
                core(&cast, &script)?,
                runtime.block_on(over_quic(&cast, &script))?,
            ];
            let [verify, open, core, quic] = took.map(|took| records as f64 / took.as_secs_f64());
            let round = [verify, open, core, quic, quic / verify];
            rates.iter_mut().zip(round).for_each(|(rates, rate)| rates.push(rate));
        }
        let [verify, open, core, quic, ratio] = rates.map(median);
        println!("{name:10} {verify:9.0} {open:9.0} {core:9.0} {quic:9.0}   {ratio:.2}");
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn node(cast: &Cast, key: &NodeKey, clock: Clock, ahead: Option<Arc<Ahead>>) -> Result<Node> {
    let config = Config {
        zone: ZoneName::parse("bench")?,
        key: key.signing_key().clone(),
        zone_key: cast.zone.signing_key().clone(),
        spare_key: None,
        incarnation: 1,
        address: "127.0.0.1:7400".to_owned(),
        version: "0".to_owned(),
        seed: [7; 32],
        parents: Vec::new(),
        joins: Vec::new(),
        admission: Admission::Local,
        invitation: None,
        rules: Policy::open(),
        opened: ahead.map(|ahead| ahead as Arc<dyn Opened>),
    };
    Ok(Node::new(config, Restored::default(), clock.now()))
}

fn tool(number: usize) -> NewTool {
    let definition = format!(
        r#"{{"name":"tool_{number}","title":"Tool {number}","description":"Reads item {number} of a list that somebody keeps, and returns it with its author, its date and what was said of it.","inputSchema":{{"type":"object","properties":{{"list":{{"type":"string","description":"Which list, by its name"}},"limit":{{"type":"integer","minimum":1,"maximum":100,"description":"How many at most"}},"since":{{"type":"string","format":"date-time","description":"Only what is newer"}}}},"required":["list"],"additionalProperties":false}}}}"#
    );
    NewTool {
        original: format!("tool_{number}"),
        definition: definition.into(),
        server: "lists".to_owned(),
        ..NewTool::default()
    }
}

/// Carries out what a node wants as if everything went well; what it says is returned.
fn settle(node: &mut Node, view: &mut View, clock: Clock) -> Vec<(Bytes, Class)> {
    let mut said = Vec::new();
    loop {
        match node.poll_output() {
            Output::Wait(_) => return said,
            Output::Persist { token, .. } => node.handle_input(clock.now(), Input::Persisted { token, durable: true }),
            Output::Send { bytes, class, .. } => said.push((bytes, class)),
            // Readers take the view, and what changes next is changed in a copy.
            Output::Changed => drop(std::mem::replace(view, node.view())),
            _ => {}
        }
    }
}

/// A conversation in memory, of which the author's part is kept.
fn write(cast: &Cast, records: usize, flush: usize) -> Result<Script> {
    let clock = Clock::start();
    let (mut author, mut reader) = (node(cast, &cast.author, clock, None)?, node(cast, &cast.reader, clock, None)?);
    let mut views = (author.view(), reader.view());
    settle(&mut author, &mut views.0, clock);
    settle(&mut reader, &mut views.1, clock);
    author.handle_input(clock.now(), up(reader.id()));
    reader.handle_input(clock.now(), up(author.id()));
    let mut greeting = Vec::new();
    let (mut to_reader, mut to_author) = (VecDeque::new(), VecDeque::new());
    // Until the reader holds what the author wrote before it had anybody to tell: its own record.
    while reader.registry().origins() < 2 {
        author.handle_timeout(clock.now());
        reader.handle_timeout(clock.now());
        loop {
            to_reader.extend(settle(&mut author, &mut views.0, clock));
            to_author.extend(settle(&mut reader, &mut views.1, clock));
            if let Some((bytes, _)) = to_reader.pop_front() {
                // In one class, so that no record overtakes the word of who sends it: nobody here would send it again.
                greeting.push((Bytes::clone(&bytes), Class::Gossip));
                reader.handle_input(clock.now(), Input::Frame { peer: author.id(), bytes });
            } else if let Some((bytes, _)) = to_author.pop_front() {
                author.handle_input(clock.now(), Input::Frame { peer: reader.id(), bytes });
            } else {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let numbers: Vec<usize> = (0..records).collect();
    let said = numbers.chunks(flush).map(|chunk| say_flush(&mut author, chunk, &mut views.0, clock));
    Ok(Script { greeting, records: said.collect::<Option<_>>().ok_or("no record was written")?, tools: records })
}

/// Writes tools in one flush; the frame in which they are told at once.
fn say_flush(author: &mut Node, numbers: &[usize], view: &mut View, clock: Clock) -> Option<(Bytes, Class)> {
    let (origin, before) = author.registry().vector().into_iter().find(|(origin, _)| origin.node == author.id())?;
    let tools = numbers.iter().map(|number| tool(*number)).collect();
    author.handle_input(clock.now(), Input::Write { token: 0, write: Write::Catalogue(tools) });
    settle(author, view, clock);
    let lacking = Vector { buckets: 0, entries: vec![(origin, before)], reply: false };
    let (frames, _) = author.registry().frames_for(&lacking, RANGES_BYTES_TARGET);
    let frame = Ranges { ranges: frames.into_iter().next()?, chains: Vec::new(), more: false, hop: 1 };
    Some((Message::from(frame).encode().into(), Class::Bulk))
}

fn up(peer: NodeId) -> Input {
    Input::PeerUp {
        peer,
        address: "127.0.0.1:7401".to_owned(),
        dialed: false,
        rtt: Duration::from_millis(1),
        is_local: true,
    }
}

fn verify(cast: &Cast, records: usize) -> Result<Duration> {
    let key = cast.author.signing_key();
    let message = |number: usize| [&number.to_le_bytes()[..], &[7; STATEMENT_BYTES - 8]].concat();
    let signed: Vec<_> = (0..records.min(2048)).map(|n| (message(n), key.sign(&message(n)))).collect();
    let public = key.verifying_key();
    let began = Instant::now();
    for (message, signature) in &signed {
        public.verify_strict(message, signature)?;
    }
    Ok(began.elapsed().mul_f64(records as f64 / signed.len() as f64))
}

fn open(script: &Script) -> Result<Duration> {
    let began = Instant::now();
    let mut verifier = Verifier::default();
    for (bytes, _) in &script.records {
        let Message::Ranges(ranges) = Message::decode(bytes)? else { return Err("no ranges".into()) };
        for record in ranges.ranges.iter().flat_map(|range| &range.records) {
            verifier.open(record)?;
        }
    }
    Ok(began.elapsed())
}

fn core(cast: &Cast, script: &Script) -> Result<Duration> {
    let clock = Clock::start();
    let mut reader = node(cast, &cast.reader, clock, None)?;
    let author = NodeId(cast.author.public());
    let mut view = reader.view();
    settle(&mut reader, &mut view, clock);
    reader.handle_input(clock.now(), up(author));
    let mut hear = |frames: &[(Bytes, Class)]| {
        for (bytes, _) in frames {
            reader.handle_input(clock.now(), Input::Frame { peer: author, bytes: bytes.clone() });
            settle(&mut reader, &mut view, clock);
        }
    };
    hear(&script.greeting);
    let began = Instant::now();
    hear(&script.records);
    let took = began.elapsed();
    let shown = reader.view().tools.len();
    if shown != script.tools {
        return Err(format!("{shown} of {} tools are visible", script.tools).into());
    }
    Ok(took)
}

async fn over_quic(cast: &Cast, script: &Script) -> Result<Duration> {
    let any = "127.0.0.1:0".parse()?;
    let clock = Clock::start();
    let (_reader_tcp, udp) = bind_one_port(any, any.ip())?;
    let (events, heard) = peer::events(PEER_EVENTS_MAX);
    let reader = Peers::bind(udp, &cast.reader, events)?;
    let stop = CancellationToken::new();
    let store = Store::memory();
    let ahead = Arc::new(Ahead::default());
    let node = node(cast, &cast.reader, clock, Some(ahead.clone()))?;
    let (driver, queues) = Driver::new(node, clock, reader.clone(), store, heard, ahead, stop.clone());
    let driver = tokio::spawn(driver.run());

    let (_author_tcp, udp) = bind_one_port(any, any.ip())?;
    let (events, mut heard) = mpsc::channel(PEER_EVENTS_MAX);
    let author = Peers::bind(udp, &cast.author, events)?;
    author.dial(reader.local_address()?, Some(cast.reader.public()));
    heard.recv().await.ok_or("the endpoint is gone")?;
    let listening = tokio::spawn(async move { while heard.recv().await.is_some() {} });

    say(&author, cast, &script.greeting).await;
    // The author's own record is the last of its greeting.
    shown(&queues.published, |view| view.members.iter().any(|m| m.node.0 == cast.author.public())).await?;
    shown(&queues.published, |view| view.vector.iter().any(|(o, n)| o.node.0 == cast.author.public() && *n > 0))
        .await?;
    let began = Instant::now();
    say(&author, cast, &script.records).await;
    shown(&queues.published, |view| view.tools.len() == script.tools).await?;
    let took = began.elapsed();

    author.close().await;
    reader.close().await;
    stop.cancel();
    driver.await??;
    listening.abort();
    Ok(took)
}

/// Sends in order and waits while the queue is full.
async fn say(author: &Peers, cast: &Cast, frames: &[(Bytes, Class)]) {
    for (bytes, class) in frames {
        while !author.send(cast.reader.public(), bytes.clone(), *class) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn shown(published: &Published, wanted: impl Fn(&View) -> bool) -> Result<()> {
    let began = Instant::now();
    while !wanted(&published.view.load()) {
        if began.elapsed() > PATIENCE {
            return Err("not visible in time".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
