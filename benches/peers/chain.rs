//! A chain of zones in one process, each below the one before it, all of them whole nodes but for doors and disks.
//!
//! Always true: nobody is connected but neighbours, so that a question for the last zone takes every hop, and nothing is taken from a
//! cache.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use aop::clock::Clock;
use aop::driver::{Ahead, Driver, DriverTerms, Job, PEER_EVENTS_MAX};
use aop::entropy::NodeKey;
use aop::peer::{self, Peers, bind_one_port};
use aop::store::Store;
use aop_proto::node::{Config, Node, Restored};
use aop_proto::resolver::Terms;
use aop_proto::wire::message::{Form, Question};
use tokio::sync::{mpsc, oneshot};

use crate::Result;
use crate::catalogue;
use crate::hop::{Asked, ask_and_tell};
use crate::library;

const ZONES: [&str; 4] = [".", "lib", "desk.lib", "shelf.desk.lib"];
const TOOLS: usize = 512;
/// For a chain to form, and for one answer.
const PATIENCE: Duration = Duration::from_secs(20);
const WITHIN: Duration = Duration::from_secs(2);

/// The first node's queue, and the names it is asked for.
#[derive(Clone)]
struct Chain {
    jobs: mpsc::Sender<Job>,
    names: Arc<[String]>,
    next: Arc<AtomicUsize>,
}

impl Asked for Chain {
    async fn ask(&self) -> Result<()> {
        let name = &self.names[self.next.fetch_add(1, Ordering::Relaxed) % self.names.len()];
        let question = Question {
            form: Form::Exact,
            text: name.clone(),
            zone: None,
            limit: 10,
            tags: Vec::new(),
            capabilities: Vec::new(),
            after: String::new(),
        };
        let terms = Terms { cached: false, ..Terms::of_door(Form::Exact, Duration::ZERO) };
        let (reply, answer) = oneshot::channel();
        let terms = DriverTerms { within: WITHIN, terms, sight: None };
        self.jobs.send(Job::Resolve(question, terms, reply)).await.map_err(|_| "the node is gone")?;
        let (outcome, found) = answer.await?;
        match found.found.as_slice() {
            [found] if found.name.as_str() == name && found.exact => Ok(()),
            _ => Err(format!("{name} is not found: {:?}", outcome.silent).into()),
        }
    }
}

/// Where a node can be dialled, and its queue.
type Standing = (String, mpsc::Sender<Job>);

/// Asks the first zone for names of one so many hops away, for so long. Whoever asks shares the first node's thread, as doors do.
///
/// # Errors
/// The chain does not form, or an answer is wrong.
pub(crate) fn run(hops: usize, slice: Duration) -> Result<()> {
    let zones = ZONES.get(..=hops).ok_or("so deep a chain is not known")?;
    runtime()?.block_on(async {
        let (first, driver) = stand(zones[0], Vec::new())?;
        tokio::spawn(driver.run());
        let jobs = first.1.clone();
        let mut last = first;
        for zone in &zones[1..] {
            let (parents, (tell, told)) = (vec![last.0], std::sync::mpsc::channel());
            std::thread::spawn(move || live(zone, parents, &tell));
            last = told.recv()?;
        }
        let (reply, written) = oneshot::channel();
        last.1.send(Job::Write(library::tools(zones[hops], 0..TOOLS)?, reply)).await?;
        written.await?.map_err(|error| format!("no tools were written: {error:?}"))?;
        let names = catalogue::full_names(TOOLS, TOOLS, zones[hops]).into();
        let chain = Chain { jobs, names, next: Arc::default() };
        let began = Instant::now();
        // Until the last name is found, all neighbours have met and the tools are visible.
        while let Err(error) = chain.ask().await {
            if began.elapsed() > PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ask_and_tell(chain, slice).await
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// A node of that zone on this thread, until the process ends.
fn live(zone: &str, parents: Vec<String>, tell: &Sender<Standing>) -> Result<()> {
    runtime()?.block_on(async {
        let (standing, driver) = stand(zone, parents)?;
        tell.send(standing)?;
        Ok(driver.run().await?)
    })
}

fn stand(zone: &str, parents: Vec<String>) -> Result<(Standing, Driver)> {
    let any = "127.0.0.1:0".parse()?;
    let (_, udp) = bind_one_port(any, Ipv4Addr::LOCALHOST.into())?;
    let (clock, key) = (Clock::start(), NodeKey::memory()?);
    let (events, heard) = peer::events(PEER_EVENTS_MAX);
    let peers = Peers::bind(udp, &key, events)?;
    let address = peers.local_address()?.to_string();
    let ahead = Arc::new(Ahead::default());
    let config = library::config(zone, address.clone(), parents, &key)?;
    let config = Config { opened: Some(ahead.clone()), ..config };
    let node = Node::new(config, Restored::default(), clock.now());
    let (driver, queues) = Driver::new(node, clock, peers, Store::memory(), heard, ahead, Default::default());
    Ok(((address, queues.jobs), driver))
}
