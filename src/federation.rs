//! What peers ask of this node on streams of their own: calls. Questions and gossip are messages and go to the driver.
//!
//! What must always hold: a call that is not taken is answered, so that its caller may turn to another node; one that is taken
//! ends with its deadline, whatever the peer does, and with the drain when the node stops. One peer does not take the room of all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aop_proto::record::NodeId;
use aop_proto::wire::message::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call::Calls;
use crate::driver::{PeerRequest, Refusals};

/// Calls of peers under way or in queues at once; one more is refused.
const CALLS_MAX: usize = 4_800;
/// The same of one peer, also of those that it passes on: more than all that one tool lets run and wait, so that a slow tool of this node
/// refuses calls of its own before it takes the place of others'.
const PEER_CALLS_MAX: usize = CALLS_MAX / 4;
/// What the arguments of all of them may take, KiB; of one peer a fourth.
const KIB_MAX: usize = 128 * 1024;
const PEER_KIB_MAX: usize = KIB_MAX / 4;
/// Peers whose shares are remembered though they have no calls.
const PEERS_MAX: usize = 512;
/// How long calls under way may take after the stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Places of calls under way, and what they hold.
struct Share {
    calls: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    calls_max: usize,
}

impl Share {
    fn new(calls_max: usize, kib_max: usize) -> Self {
        Self { calls: Arc::new(Semaphore::new(calls_max)), kib: Arc::new(Semaphore::new(kib_max)), calls_max }
    }

    fn enter(&self, kib: u32) -> Option<[OwnedSemaphorePermit; 2]> {
        let place = self.calls.clone().try_acquire_owned().ok()?;
        Some([place, self.kib.clone().try_acquire_many_owned(kib).ok()?])
    }

    fn is_free(&self) -> bool {
        self.calls.available_permits() == self.calls_max
    }
}

/// The places of calls under way; a place is free again when it is dropped.
struct Room {
    all: Share,
    /// Of peers with calls under way, and of some that had.
    of_peers: BTreeMap<NodeId, Share>,
}

impl Default for Room {
    fn default() -> Self {
        Self { all: Share::new(CALLS_MAX, KIB_MAX), of_peers: BTreeMap::new() }
    }
}

impl Room {
    /// A place for a call of that peer, so many bytes long; nothing where its share or the whole is taken.
    fn enter(&mut self, peer: NodeId, bytes: usize) -> Option<[OwnedSemaphorePermit; 4]> {
        if self.of_peers.len() > PEERS_MAX {
            self.of_peers.retain(|_, share| !share.is_free());
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).ok()?;
        let share = self.of_peers.entry(peer).or_insert_with(|| Share::new(PEER_CALLS_MAX, PEER_KIB_MAX));
        let ([place, held], [place_of_all, held_of_all]) = (share.enter(kib)?, self.all.enter(kib)?);
        Some([place, held, place_of_all, held_of_all])
    }
}

/// Carries out what peers ask until told to stop, then lets what is under way finish within the drain.
pub async fn serve(calls: Calls, mut requests: mpsc::Receiver<PeerRequest>, stop: CancellationToken) {
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let (mut room, refusals) = (Room::default(), Refusals::default());
    let me = calls.handle().view().node;
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => break,
            Some(request) = requests.recv() => request,
        };
        let Ok(Message::Call(call)) = Message::decode(&request.frame) else {
            tracing::debug!(peer = %request.peer.short(), "a request that is no call");
            continue;
        };
        let Some(place) = room.enter(request.peer, request.frame.len()) else {
            refusals.tell(me, request, "too many calls of peers are under way");
            continue;
        };
        let (calls, cut, peer) = (calls.clone(), cut.clone(), request.peer);
        tasks.spawn(async move {
            let _place = place;
            tokio::select! {
                () = cut.cancelled() => {}
                () = calls.serve(peer, call, request.stream) => {}
            }
        });
    }
    // Whoever comes now is refused by the driver.
    requests.close();
    while let Ok(request) = requests.try_recv() {
        refusals.tell(me, request, "it is stopping");
    }
    tasks.close();
    if timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!(open = tasks.len(), "calls of peers still under way after the drain; they are cancelled");
        cut.cancel();
        tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aop_proto::error::{Kind, Problem};
    use aop_proto::wire::message::Call;

    use crate::entropy::NodeKey;
    use crate::handle::Handle;
    use crate::peer::{PeerEvent, Peers};

    #[test]
    fn one_peer_does_not_take_the_room_of_all() {
        let mut room = Room::default();
        let mut places = Vec::new();
        for peer in 0..4 {
            places.extend((0..=PEER_CALLS_MAX).map_while(|_| room.enter(NodeId([peer; 32]), 1)));
            assert_eq!(places.len(), PEER_CALLS_MAX * (usize::from(peer) + 1));
        }
        assert!(room.enter(NodeId([9; 32]), 1).is_none());
        places.pop();
        assert!(room.enter(NodeId([9; 32]), 1).is_some() && room.enter(NodeId([0; 32]), 1).is_none());
        drop(places);
        for number in 0..2_000_u32 {
            let mut peer = [0; 32];
            peer[..4].copy_from_slice(&number.to_le_bytes());
            assert!(room.enter(NodeId(peer), 1).is_some());
        }
        assert!(room.of_peers.len() <= PEERS_MAX + 1, "who had calls is not remembered for ever");
    }

    #[test]
    fn what_calls_hold_is_bounded_as_well_and_given_back() {
        let (mut room, large) = (Room::default(), PEER_KIB_MAX * 1024 / 4);
        let of = |room: &mut Room, peer: u8| -> Vec<_> {
            (0..5).map_while(|_| room.enter(NodeId([peer; 32]), large)).collect()
        };
        let held: Vec<_> = (0..4).map(|peer| of(&mut room, peer)).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [4; 4]);
        assert!(room.enter(NodeId([9; 32]), 1).is_none());
        drop(held);
        assert_eq!(of(&mut room, 0).len(), 4);
    }

    #[tokio::test]
    async fn a_call_that_is_not_taken_is_answered_so_that_its_caller_may_turn_elsewhere() {
        // Nobody takes calls out of this node's queue.
        let node = Handle::for_tests();
        let home = node.view().node;
        let (events, mut heard) = mpsc::channel(8);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let peers = Peers::bind(socket, &NodeKey::memory().unwrap(), events).unwrap();
        peers.dial(node.peers().local_address().unwrap(), Some(home.0));
        while !matches!(heard.recv().await.unwrap(), PeerEvent::Up { .. }) {}
        let call = Call {
            name: "echo.everything.research".to_owned(),
            home,
            zone: "research".to_owned(),
            def_hash: None,
            arguments: Vec::new(),
            extra: Vec::new(),
            deadline_ms: 1000,
            hops: 1,
            progress: false,
            key: None,
            priority: 5,
            afar: false,
            author: None,
        };
        let mut answer = peers.request(home.0, Message::from(call).encode().into()).await.unwrap();
        let frame = answer.next().await.unwrap().unwrap();
        let Ok(Message::CallResult(refusal)) = Message::decode(&frame) else { panic!("{frame:?}") };
        assert!(refusal.failed && refusal.not_sent && refusal.last);
        let problem = Problem::from_json(&serde_json::from_slice(&refusal.part).unwrap()).unwrap();
        assert_eq!((problem.kind, &problem.detail.unwrap()["retry_after_s"]), (Kind::Busy, &1.into()));
        assert!(answer.next().await.unwrap().is_none());
    }
}
