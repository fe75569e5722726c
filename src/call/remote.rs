//! A call over QUIC: to the node that serves the tool when it is connected or can be dialled, else over the parent or a child on the
//! way to its zone. Long results are cut into frames and put together again, byte for byte.

use std::time::Duration;

use aop_proto::call::handed_on;
use aop_proto::error::{Kind, Problem};
use aop_proto::name::ZoneName;
use aop_proto::params::{CALL_TIMEOUT, FRAME_BYTES_MAX, HOPS_MAX};
use aop_proto::record::NodeId;
use aop_proto::wire::message::{Call, CallResult, Message, Progress};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::{Calls, Failure, Served, late, longer};
use crate::driver::Way;
use crate::peer::{PeerError, Responder, ResponseStream};
use crate::upstream::Filling;

/// Bytes of a result in one frame.
const PART_BYTES: usize = 256 * 1024;
/// Bytes of a result altogether; its home takes no larger one from an upstream.
const RESULT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time a home node has to be connected when it was not.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of one step of progress; a larger one is lost, as steps may be.
const PROGRESS_BYTES_MAX: usize = 64 * 1024;
/// How long after its deadline the answer to a call may still be taken in by whoever asked.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);
/// Notifications of progress that wait to be sent on.
const PROGRESS_MAX: usize = 64;

impl Calls {
    /// Sends the call to its home, or towards it, with what is left of its time by then. Of one that may be made
    /// again, and elsewhere, whoever goes silent is given up early.
    pub(super) async fn call_there(
        &self,
        mut call: Call,
        address: &str,
        progress: Option<mpsc::Sender<Bytes>>,
        deadline: Instant,
        may_move: bool,
    ) -> Result<Served, Failure> {
        let home = call.home;
        let next = timeout_at(deadline, self.next_hop(&call, address)).await.map_err(|_| late(&call.name))?;
        let Some(next) = next else {
            let problem = Problem::new(Kind::InstanceDown, format!("node {} cannot be reached", home.short()));
            return Err(Failure::said(problem.hint("aop nodes"), true));
        };
        let left = handed_on(deadline.saturating_duration_since(Instant::now())).as_millis();
        call.deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
        if call.deadline_ms == 0 {
            return Err(late(&call.name));
        }
        let frame = frame_of(&call)?;
        let work = async {
            let stream = self.handle.peers().request(next.0, frame).await;
            let stream = stream.map_err(|error| lost(&call, next, &error))?;
            read_result(stream, &call, (next, may_move), progress, self.room.filling()).await
        };
        // The next node keeps a deadline of its own that comes before this one, and says so.
        match timeout_at(deadline, work).await {
            Ok(served) => served,
            Err(_) => {
                let message = format!("no answer to `{}` from node {}; the call may have run", call.name, home.short());
                Err(Failure::lost(Problem::new(Kind::CallTimedOut, message).hint(longer(&call.name))))
            }
        }
    }

    async fn next_hop(&self, call: &Call, address: &str) -> Option<NodeId> {
        if self.is_connected(call.home) {
            return Some(call.home);
        }
        if self.dial(call.home, address).await {
            return Some(call.home);
        }
        // Behind a firewall: over the connections that stand, up or down the tree.
        let view = self.handle.view();
        let zone = ZoneName::parse(&call.zone).ok()?;
        let below = view.routes.children.iter().filter(|(child, _)| zone.is_within(child));
        let below = below.max_by_key(|(child, _)| child.depth()).and_then(|(_, route)| route.peers.first().copied());
        let up = view.routes.parent.as_ref().filter(|_| !zone.is_within(&view.zone));
        below.or_else(|| up.and_then(|route| route.peers.first().copied()))
    }

    fn is_connected(&self, node: NodeId) -> bool {
        self.handle.peers().connected().iter().any(|peer| peer.peer == node.0)
    }

    async fn dial(&self, node: NodeId, address: &str) -> bool {
        let found = tokio::net::lookup_host(address).await.ok();
        // A member of the own zone is dialled wherever its record says that it lives; of others that is hearsay.
        let is_member = self.handle.view().members.iter().any(|member| member.node == node);
        let found = found.and_then(|mut found| found.find(|socket| socket.ip().is_loopback() || is_member));
        let Some(address) = found else { return false };
        let mut connections = self.handle.connections();
        connections.mark_unchanged();
        self.handle.peers().dial(address, Some(node.0));
        let connected = async {
            while !self.is_connected(node) {
                if connections.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(DIAL_TIMEOUT, connected).await.is_ok() && self.is_connected(node)
    }

    /// Answers a call that a peer brought on its own stream. Ends early when the peer goes away, and with the deadline when it
    /// takes nothing in; the call ends with it.
    pub async fn serve(&self, peer: NodeId, call: Call, stream: Responder) {
        let name = call.name.clone();
        let deadline = Instant::now() + Duration::from_millis(u64::from(call.deadline_ms)).min(CALL_TIMEOUT.2);
        let cancelled = stream.cancelled();
        tokio::select! {
            () = self.serve_on(peer, call, stream, deadline) => {}
            () = cancelled => {}
            () = tokio::time::sleep_until(deadline + ANSWER_MARGIN) => tracing::debug!(name, "the peer did not take in its answer in time"),
        }
    }

    async fn serve_on(&self, peer: NodeId, call: Call, mut stream: Responder, deadline: Instant) {
        let (progress, mut steps) = mpsc::channel(PROGRESS_MAX);
        let wanted = call.progress.then_some(progress);
        let work = self.serve_or_relay(peer, call, wanted, deadline);
        tokio::pin!(work);
        let served = loop {
            tokio::select! {
                served = &mut work => break served,
                Some(params) = steps.recv() => {
                    if send_step(&mut stream, &params).await.is_err() {
                        return;
                    }
                }
            }
        };
        while let Ok(params) = steps.try_recv() {
            if send_step(&mut stream, &params).await.is_err() {
                return;
            }
        }
        if send_result(&mut stream, served, self.handle.view().node).await.is_ok() {
            // An asker that has everything may be gone already.
            let _ = stream.finish();
        }
    }

    async fn serve_or_relay(
        &self,
        peer: NodeId,
        call: Call,
        progress: Option<mpsc::Sender<Bytes>>,
        deadline: Instant,
    ) -> Result<Served, Failure> {
        let (refuse, name) = (Failure::refused, call.name.clone());
        let is_home = call.home == self.handle.view().node;
        let way = if is_home { Way::Here } else { Way::Onwards };
        let brought = timeout_at(deadline, self.handle.whose(peer, call, way)).await.map_err(|_| late(&name))?;
        if is_home {
            return self.serve_here(&name, brought, progress, deadline).await;
        }
        let brought = brought.map_err(refuse)?;
        self.handle.may_relay(&brought).map_err(refuse)?;
        let mut call = *brought.call;
        call.hops = call.hops.min(HOPS_MAX);
        if call.hops == 0 {
            let problem = Problem::new(Kind::InstanceDown, format!("`{}` is too many hops away", call.name));
            return Err(refuse(problem));
        }
        call.hops -= 1;
        let address = self.handle.view().tools.node(call.home).map(|node| node.address.clone());
        // The hop to this node is counted by whoever sent it here.
        self.call_there(call, &address.unwrap_or_default(), progress, deadline, false).await
    }
}

fn lost(call: &Call, next: NodeId, error: &PeerError) -> Failure {
    let not_sent = matches!(error, PeerError::NotConnected | PeerError::TooLarge { .. });
    let kind = if not_sent { Kind::InstanceDown } else { Kind::UpstreamFailed };
    let may_have_run = if not_sent { "" } else { "; the call may have run" };
    let problem = Problem::new(kind, format!("`{}` at node {}: {error}{may_have_run}", call.name, next.short()));
    let problem = problem.hint("aop nodes");
    if not_sent { Failure::said(problem, true) } else { Failure::lost(problem) }
}

async fn read_result(
    mut stream: ResponseStream,
    call: &Call,
    (next, may_move): (NodeId, bool),
    progress: Option<mpsc::Sender<Bytes>>,
    mut whole: Filling,
) -> Result<Served, Failure> {
    let broken = |why: &str| {
        let message = format!("`{}` at node {}: {why}", call.name, next.short());
        Failure::lost(Problem::new(Kind::UpstreamFailed, message))
    };
    loop {
        let frame = match may_move {
            true => stream.next_while_heard().await,
            false => stream.next().await,
        };
        let frame = frame.map_err(|error| lost(call, next, &error))?;
        let Some(frame) = frame else { return Err(broken("the answer ended early")) };
        match Message::decode(&frame) {
            Ok(Message::Progress(step)) => {
                if let Some(progress) = &progress {
                    // Steps that do not fit are lost, the result is not.
                    let _ = progress.try_send(step.params.into());
                }
            }
            Ok(Message::CallResult(part)) => {
                if whole.len() + part.part.len() > RESULT_BYTES_MAX {
                    return Err(broken("the answer is too large"));
                }
                whole.add(&part.part).await;
                if part.last {
                    return ended(part, whole.whole(), call.home, &broken);
                }
            }
            Ok(Message::Unknown(_)) => {}
            Ok(_) | Err(_) => return Err(broken("it does not speak the protocol")),
        }
    }
}

fn ended(last: CallResult, whole: Bytes, home: NodeId, broken: &impl Fn(&str) -> Failure) -> Result<Served, Failure> {
    if !last.failed {
        return Ok(Served { result: whole, by: last.served_by, hops: last.hops.saturating_add(1) });
    }
    let told = serde_json::from_slice(&whole).ok().and_then(|value| Problem::from_json(&value));
    match told {
        // What is not known to a node on the way, its home may know.
        Some(problem) if last.not_sent || last.served_by == home => Err(Failure::said(problem, last.not_sent)),
        Some(problem) => Err(Failure::lost(problem)),
        None => Err(broken("it failed and did not say why")),
    }
}

/// A call is one frame; what is larger only a server of the caller's own node can be given.
fn frame_of(call: &Call) -> Result<Bytes, Failure> {
    if let Some(frame) = Message::from(call.clone()).try_encode() {
        return Ok(frame.into());
    }
    let extra: usize = call.extra.iter().map(|(key, bytes)| key.len() + bytes.len()).sum();
    let (bytes, kib) = (call.arguments.len() + extra, FRAME_BYTES_MAX / 1024);
    let message = format!("arguments of `{}`: {bytes} bytes, and a call to another node has {kib} KiB", call.name);
    let hint = format!("aop show {}", call.name);
    Err(Failure::refused(Problem::new(Kind::TooLarge, message).hint(hint)))
}

async fn send_step(stream: &mut Responder, params: &[u8]) -> Result<(), PeerError> {
    if params.len() > PROGRESS_BYTES_MAX {
        tracing::debug!(bytes = params.len(), "a step of progress was too large to be sent on");
        return Ok(());
    }
    let step = Message::from(Progress { params: params.to_vec() }).encode();
    stream.send(step.into()).await
}

async fn send_result(stream: &mut Responder, served: Result<Served, Failure>, me: NodeId) -> Result<(), PeerError> {
    let (bytes, failed, not_sent, served_by, hops) = match served {
        Ok(served) => (served.result, false, false, served.by, served.hops),
        Err(failure) => (failure.problem.to_json().to_string().into(), true, failure.failed.not_sent(), me, 0),
    };
    let mut parts = bytes.chunks(PART_BYTES).peekable();
    loop {
        let part = parts.next().unwrap_or_default().to_vec();
        let last = parts.peek().is_none();
        let frame = Message::from(CallResult { part, failed, not_sent, last, served_by, hops }).encode();
        stream.send(frame.into()).await?;
        if last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::entropy::NodeKey;
    use crate::handle::Handle;
    use crate::peer::{PeerEvent, Peers};

    /// A home that takes a call in and says nothing: the call was waited for half a second longer than it had, and the home was given
    /// all of its time.
    #[tokio::test]
    async fn a_home_that_hangs_is_waited_for_until_the_deadline_and_no_longer() {
        let calls = Calls::new(Handle::for_tests(), Default::default()).unwrap();
        let (events, mut heard) = mpsc::channel(8);
        let (socket, key) = (std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), NodeKey::memory().unwrap());
        let home = Peers::bind(socket, &key, events).unwrap();
        home.dial(calls.handle.peers().local_address().unwrap(), Some(calls.handle.view().node.0));
        let id = NodeId(key.signing_key().verifying_key().to_bytes());
        let mut connections = calls.handle.connections();
        while !calls.is_connected(id) {
            connections.changed().await.unwrap();
        }
        let (deadline, wanted) = (Instant::now() + Duration::from_secs(1), Call { home: id, ..call(2, 0) });
        // However busy the machine is: what ends with the deadline has ended when this looks.
        let ended =
            timeout_at(deadline + ANSWER_MARGIN / 5, calls.call_there(wanted.clone(), "", None, deadline, false)).await;
        let failure = ended.expect("it has ended").err().unwrap();
        assert_eq!((failure.problem.kind, failure.failed.not_sent()), (Kind::CallTimedOut, false));
        let request = loop {
            if let PeerEvent::Request { request, .. } = heard.recv().await.unwrap() {
                break request;
            }
        };
        let Ok(Message::Call(told)) = Message::decode(&request) else { panic!("{request:?}") };
        assert!((1..=950).contains(&told.deadline_ms), "{} ms", told.deadline_ms);
        // Without time nothing is sent.
        let none = calls.call_there(wanted, "", None, Instant::now(), false).await.err().unwrap();
        assert_eq!((none.problem.kind, none.failed.not_sent()), (Kind::CallTimedOut, true));
    }

    fn call(arguments: usize, members: usize) -> Call {
        Call {
            name: "echo.everything.research".to_owned(),
            home: NodeId([1; 32]),
            zone: "research".to_owned(),
            def_hash: Some([2; 32]),
            arguments: vec![b'a'; arguments],
            extra: (0..members).map(|at| (at.to_string(), vec![b'1'])).collect(),
            deadline_ms: u32::MAX,
            hops: 8,
            progress: true,
            key: None,
            priority: 5,
            afar: false,
            author: None,
        }
    }

    #[test]
    fn what_fits_no_frame_is_refused_unsent() {
        for (arguments, members) in [(FRAME_BYTES_MAX, 0), (0, FRAME_BYTES_MAX / 4), (4 * FRAME_BYTES_MAX, 0)] {
            let refused = frame_of(&call(arguments, members)).unwrap_err();
            assert!(refused.failed.not_sent() && refused.problem.kind == Kind::TooLarge);
        }
        assert!(frame_of(&call(FRAME_BYTES_MAX - 1024, 10)).unwrap().len() <= FRAME_BYTES_MAX);
    }
}
