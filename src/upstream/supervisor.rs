//! One task per server: connects, follows, notices a death, connects again, for ever.
//!
//! It alone moves the server's phase and sends its events. What must always hold: however a server behaves, the next attempt
//! comes (jittered, at most a minute later), and nothing of one server is waited for on behalf of another.

use std::{sync::Arc, time::Duration};

use aop_proto::call::Backoff;
use aop_proto::call::lifecycle::Happening;
use bytes::Bytes;
use futures::FutureExt as _;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Listing, UpstreamEvent,
    egress::Egress,
    failure::UpstreamError,
    link::{ENDED, Era, Link},
    room::Room,
    spec::{ServerSpec, TransportSpec},
    status::Board,
};

/// One attempt, from dialling to the first list. rmcp alone may wait ten seconds for an old server to stay silent.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Between attempts, for ever.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSES: Backoff = Backoff { first: PAUSE_MIN, most: Duration::from_secs(60) };
/// A connection that stood this long was a good one: its loss is answered at once.
const GOOD_AFTER: Duration = Duration::from_secs(30);
/// An HTTP server is looked at this often, a child when it left somebody without an answer: its death shows by itself.
const PING_EVERY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(15) };
/// Questions in a row that a server over pipes may leave unanswered.
const MISSED_MAX: u32 = 3;
/// Also without a word from the server, which may not be able to tell.
const RELIST_EVERY: Duration = Duration::from_secs(300);
/// Changes told within this are one.
const COALESCE: Duration = Duration::from_millis(250);
/// A server that cries change all the time is listed a fifth of the time at most.
const RELIST_SHARE: u32 = 4;
const RELIST_PAUSE_MAX: Duration = Duration::from_secs(30);

/// What others ask of the task.
pub(crate) enum Command {
    /// List again, connecting first if need be.
    Refresh(oneshot::Sender<Result<Listing, UpstreamError>>),
    /// Somebody wants this server: do not wait out a pause.
    Poke,
}

/// See the module.
pub(crate) struct Supervisor {
    pub(crate) spec: Arc<ServerSpec>,
    pub(crate) board: Arc<Board>,
    pub(crate) events: mpsc::Sender<UpstreamEvent>,
    pub(crate) egress: Egress,
    pub(crate) room: Room,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) stop: CancellationToken,
    /// The list last told.
    pub(crate) last: Option<Vec<Bytes>>,
    pub(crate) era: Option<Era>,
}

/// Why a connection is no longer followed.
enum End {
    Stopped,
    Lost(String),
}

impl Supervisor {
    /// Runs until stopped. `first` is a connection that already stands and whose list was handed to the caller.
    pub(crate) async fn run(mut self, first: Option<Link>) {
        let mut failures = 0;
        let mut waiting = Vec::new();
        let mut next = first;
        let mut connected_before = next.is_some();
        loop {
            let link = match next.take() {
                Some(link) => link,
                None => match self.connect(&mut failures, &mut waiting, connected_before).await {
                    Some(link) => link,
                    None => return,
                },
            };
            connected_before = true;
            let since = Instant::now();
            match self.follow(link).await {
                End::Stopped => return,
                End::Lost(reason) => {
                    tracing::warn!(server = self.spec.name, reason, "upstream lost");
                    if since.elapsed() >= GOOD_AFTER {
                        failures = 0;
                    }
                    self.board.happened(Happening::Lost);
                    match failures {
                        0 => self.board.connecting(),
                        // A pause comes first, and no call should sit it out.
                        _ => self.board.down(&reason),
                    }
                    self.tell(UpstreamEvent::Down { server: self.spec.name.clone(), reason }).await;
                }
            }
        }
    }

    /// Tries until it stands; `None` when stopped.
    async fn connect(
        &mut self,
        failures: &mut u32,
        waiting: &mut Vec<oneshot::Sender<Result<Listing, UpstreamError>>>,
        again: bool,
    ) -> Option<Link> {
        let mut told_down = again;
        loop {
            if *failures > 0 && !self.pause(*failures, waiting).await {
                return None;
            }
            *failures = failures.saturating_add(1);
            self.board.connecting();
            let deadline = Instant::now() + ATTEMPT_TIMEOUT;
            let stop = self.stop.clone();
            let made = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                made = Link::make(&self.spec, self.egress, self.room.clone(), self.era, deadline) => made,
            };
            match made {
                Ok((link, tools)) => {
                    self.era = Some(link.era());
                    self.board.ready(&link.live, again);
                    tracing::info!(server = self.spec.name, tools = tools.len(), "upstream ready");
                    self.tell(UpstreamEvent::Up { server: self.spec.name.clone() }).await;
                    let listing = listing(&link, tools.clone());
                    for reply in waiting.drain(..) {
                        // Whoever asked may have gone; the event below tells everybody.
                        let _ = reply.send(Ok(listing.clone()));
                    }
                    self.listed(&link, tools).await;
                    return Some(link);
                }
                Err(e) => {
                    // What was remembered may be what is wrong.
                    self.era = None;
                    let reason = e.to_string();
                    tracing::debug!(server = self.spec.name, reason, "upstream attempt failed");
                    self.board.down(&reason);
                    for reply in waiting.drain(..) {
                        let _ = reply.send(Err(e.clone()));
                    }
                    if !std::mem::replace(&mut told_down, true) {
                        self.tell(UpstreamEvent::Down { server: self.spec.name.clone(), reason }).await;
                    }
                }
            }
        }
    }

    /// Waits before the next attempt, unless somebody asks for the server. False when stopped.
    async fn pause(
        &mut self,
        failures: u32,
        waiting: &mut Vec<oneshot::Sender<Result<Listing, UpstreamError>>>,
    ) -> bool {
        let since = Instant::now();
        let until = since + PAUSES.pause(failures, chance());
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return false,
                () = tokio::time::sleep_until(until) => return true,
                command = self.commands.recv() => match command {
                    None => return false,
                    Some(Command::Refresh(reply)) => {
                        waiting.push(reply);
                        return true;
                    }
                    Some(Command::Poke) if since.elapsed() >= PAUSE_MIN => return true,
                    Some(Command::Poke) => {}
                },
            }
        }
    }

    /// Serves one connection until it ends.
    async fn follow(&mut self, mut link: Link) -> End {
        let mut ping = every(PING_EVERY);
        let mut relist = every(RELIST_EVERY);
        let is_http = matches!(self.spec.transport, TransportSpec::Http { .. });
        let stop = self.stop.clone();
        let (mut quiet_until, mut missed) = (Instant::now(), 0);
        loop {
            let lost = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    link.close("the server was removed").await;
                    return End::Stopped;
                }
                _ = &mut link.ended => Some(ENDED.to_owned()),
                command = self.commands.recv() => self.obey(&link, command).await,
                () = rung(&link.changed, quiet_until) => self.on_changed(&link, &mut quiet_until).await,
                _ = relist.tick() => self.relist(&link).await.err().and(None),
                () = link.suspect.notified(), if is_http => self.check(&link).await,
                _ = ping.tick() => match is_http {
                    true => self.check(&link).await,
                    false => self.check_hands(&link, &mut missed).await,
                },
            };
            if let Some(why) = lost {
                return End::Lost(link.close(&why).await);
            }
        }
    }

    async fn obey(&mut self, link: &Link, command: Option<Command>) -> Option<String> {
        match command {
            // The last handle is gone and the stop is about to be seen.
            None => self.stop.cancelled().await,
            Some(Command::Poke) => {}
            Some(Command::Refresh(reply)) => {
                let outcome = self.relist(link).await.map(|tools| listing(link, tools));
                // Whoever asked may have gone.
                let _ = reply.send(outcome);
            }
        }
        None
    }

    async fn on_changed(&mut self, link: &Link, quiet_until: &mut Instant) -> Option<String> {
        self.unless_stopped(tokio::time::sleep(COALESCE)).await;
        // What rang meanwhile is covered by the list about to be taken.
        link.changed.notified().now_or_never();
        let since = Instant::now();
        // A failed list leaves the old one standing; the reason is on the board.
        let _ = self.relist(link).await;
        *quiet_until = Instant::now() + (since.elapsed() * RELIST_SHARE).min(RELIST_PAUSE_MAX);
        None
    }

    async fn check(&mut self, link: &Link) -> Option<String> {
        match self.unless_stopped(link.live.answers()).await {
            Some(Err(why)) => Some(format!("it does not answer any more: {why}")),
            Some(Ok(())) | None => None,
        }
    }

    /// The same of a server over pipes, which may have one hand and be at what its caller gave up: it may miss a few questions, and only
    /// one that left a caller without an answer is asked: once it has nothing to do, or leaves one caller after the other without.
    async fn check_hands(&mut self, link: &Link, missed: &mut u32) -> Option<String> {
        match self.unless_stopped(link.live.is_hung()).await.flatten() {
            None => return None,
            Some(false) => *missed = 0,
            Some(true) => {
                *missed += 1;
                self.board.noted(Err(&UpstreamError::Lost { reason: "it does not answer any more".to_owned() }));
            }
        }
        (*missed >= MISSED_MAX).then(|| format!("it does not answer any more: {missed} questions whether it is there"))
    }

    async fn relist(&mut self, link: &Link) -> Result<Vec<Bytes>, UpstreamError> {
        let listed = self.unless_stopped(link.live.list(LIST_TIMEOUT)).await;
        let stopped = || UpstreamError::NotSent { reason: "the server was removed".to_owned() };
        let outcome = listed.unwrap_or_else(|| Err(stopped()));
        match outcome {
            Ok(tools) => {
                self.listed(link, tools.clone()).await;
                Ok(tools)
            }
            Err(e) => {
                self.board.noted(Err(&e));
                Err(e)
            }
        }
    }

    async fn listed(&mut self, link: &Link, tools: Vec<Bytes>) {
        self.board.listed(tools.len());
        if self.last.as_ref() == Some(&tools) {
            return;
        }
        self.last = Some(tools.clone());
        let (server, protocol) = (self.spec.name.clone(), link.live.protocol.clone());
        self.tell(UpstreamEvent::Listed { server, tools, protocol }).await;
    }

    /// A full channel holds this server back and no other.
    async fn tell(&self, event: UpstreamEvent) {
        // Nobody listening any more is the end of the node.
        let _ = self.unless_stopped(self.events.send(event)).await;
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            done = work => Some(done),
        }
    }
}

pub(crate) fn listing(link: &Link, tools: Vec<Bytes>) -> Listing {
    let (protocol, server_info) = (link.live.protocol.clone(), link.live.server_info.clone());
    Listing { tools, protocol, server_info, left_out: link.live.left_out() }
}

/// The list may have changed, and it is time to look again. Dropped half-way it loses nothing.
async fn rung(changed: &Notify, quiet_until: Instant) {
    tokio::time::sleep_until(quiet_until).await;
    changed.notified().await;
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Only spreads attempts out; no chance at all would do no harm.
fn chance() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{UpstreamCall, Upstreams};
    use super::*;

    /// A server with one hand: it says its process id, and from `hang` it never comes back. Once it was asked whether it is there it
    /// has another tool.
    const ONE_HAND: &str = r#"
import json, os, sys, time
tools = ["pid", "wait", "hang"]
for line in sys.stdin:
    said = json.loads(line)
    if "id" not in said: continue
    method, params = said.get("method"), said.get("params", {})
    if method == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "one", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in tools]}
    elif method == "tools/call":
        while params["name"] == "hang": time.sleep(60)
        if params["name"] == "wait": sys.stdin.readline()
        result = {"content": [{"type": "text", "text": str(os.getpid())}]}
    else:
        result = {}
    print(json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": result}), flush=True)
    if method == "ping" and "pinged" not in tools:
        tools.append("pinged")
        print(json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}), flush=True)
"#;

    /// It was called alive for good, and every later call waited its whole time.
    #[tokio::test]
    async fn a_server_over_pipes_that_hangs_is_started_again_and_one_that_is_slow_is_not() {
        let (events, mut told) = mpsc::channel(64);
        let upstreams = Upstreams::new(events, Egress { loopback_implied: true });
        let command = ["python3", "-c", ONE_HAND].map(str::to_owned).to_vec();
        let transport = TransportSpec::Stdio { command, env: BTreeMap::new(), cwd: None };
        let spec =
            ServerSpec { name: "one".to_owned(), transport, replica: false, allow_private: false, tags: Vec::new() };
        upstreams.register(spec, Duration::from_secs(30)).await.unwrap();
        let call = |tool: &str, timeout| {
            let (tool, arguments, extra, progress) = (tool.to_owned(), Bytes::from_static(b"{}"), Vec::new(), None);
            upstreams.call("one", UpstreamCall { tool, arguments, extra, timeout, progress })
        };
        let patience = Duration::from_secs(30);
        let first = call("pid", patience).await.unwrap();
        // A caller that goes away is no reason: `wait` ends with whatever comes next, and then it answers whether it is there.
        assert!(call("wait", Duration::from_millis(100)).await.is_err());
        loop {
            match told.recv().await {
                Some(UpstreamEvent::Listed { tools, .. }) => {
                    assert_eq!(tools.len(), 4);
                    break;
                }
                other => assert!(matches!(other, Some(UpstreamEvent::Up { .. })), "{other:?}"),
            }
        }
        assert_eq!(call("pid", patience).await.unwrap(), first);
        assert!(call("hang", Duration::from_millis(100)).await.is_err());
        while !matches!(told.recv().await, Some(UpstreamEvent::Down { reason, .. }) if reason.contains("does not answer"))
        {
        }
        let second = call("pid", patience).await.unwrap();
        assert_ne!(second, first);
        // Nor is it spared for being asked all the time.
        assert!(call("hang", Duration::from_millis(100)).await.is_err());
        let asking = async |timeout| loop {
            let _ = call("pid", Duration::from_millis(timeout)).await;
        };
        let started_again = async {
            while !matches!(told.recv().await, Some(UpstreamEvent::Down { reason, .. }) if reason.contains("does not answer"))
            {
            }
        };
        tokio::select! {
            () = asking(100) => {}
            () = asking(130) => {}
            () = started_again => {}
        }
        while !matches!(told.recv().await, Some(UpstreamEvent::Up { .. })) {}
        assert_ne!(call("pid", patience).await.unwrap(), second);
    }
}
