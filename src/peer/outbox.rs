//! What waits to be sent to one peer: a queue a lane, each bounded by bytes, shared by all connections to it.
//!
//! Full means refused and counted, never waited for: the sender is the node's core, which must not block on a slow peer. The
//! periodic exchange repairs what gossip and bulk lose; whoever asked a question that was refused hears of it at its deadline.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::frame::FRAME_BYTES_MAX;
use super::lanes::Lane;

/// Bytes that may wait for one peer in one lane.
pub(crate) const OUTBOX_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// What a message costs besides its bytes, so that empty ones are bounded too.
const MESSAGE_OVERHEAD_BYTES: usize = 64;
/// How much is taken to be written at once; one message is always taken whole.
const BATCH_BYTES_MAX: usize = 64 << 10;

#[derive(Default)]
pub(crate) struct Outbox {
    queues: [Queue; Lane::ALL.len()],
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    /// Queues a message; `false` when there is no room. A message of any allowed size fits an empty queue.
    pub(crate) fn push(&self, lane: Lane, message: Bytes) -> bool {
        let queue = self.queue(lane);
        let mut waiting = queue.lock();
        let cost = message.len() + MESSAGE_OVERHEAD_BYTES;
        if !waiting.messages.is_empty() && waiting.bytes + cost > OUTBOX_BYTES_MAX {
            return false;
        }
        waiting.bytes += cost;
        waiting.messages.push_back(message);
        drop(waiting);
        queue.filled.notify_one();
        true
    }

    /// The oldest messages, as many as are worth one write; waits while there are none.
    pub(crate) async fn take(&self, lane: Lane) -> Vec<Bytes> {
        loop {
            let batch = self.try_take(lane);
            if !batch.is_empty() {
                return batch;
            }
            self.queue(lane).filled.notified().await;
        }
    }

    /// The same without waiting: possibly nothing.
    pub(crate) fn try_take(&self, lane: Lane) -> Vec<Bytes> {
        let mut waiting = self.queue(lane).lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(message) = waiting.messages.pop_front_if(|m| bytes == 0 || bytes + m.len() <= BATCH_BYTES_MAX) {
            let cost = message.len() + MESSAGE_OVERHEAD_BYTES;
            bytes += cost;
            waiting.bytes -= cost;
            batch.push(message);
        }
        batch
    }

    /// Forgets everything; how many messages that were.
    pub(crate) fn clear(&self) -> usize {
        let mut forgotten = 0;
        for queue in &self.queues {
            let waiting = std::mem::take(&mut *queue.lock());
            forgotten += waiting.messages.len();
        }
        forgotten
    }

    const fn queue(&self, lane: Lane) -> &Queue {
        &self.queues[lane as usize - 1]
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing can panic half way through a change of the queue.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_an_empty_one_takes_the_largest_message() {
        let outbox = Outbox::default();
        assert!(outbox.push(Lane::Gossip, Bytes::from(vec![0; FRAME_BYTES_MAX])));
        assert!(!outbox.push(Lane::Gossip, Bytes::new()));
        assert_eq!(outbox.try_take(Lane::Gossip).len(), 1);
        let mut pushed = 0;
        while outbox.push(Lane::Gossip, Bytes::new()) {
            pushed += 1;
        }
        assert_eq!(pushed, OUTBOX_BYTES_MAX / MESSAGE_OVERHEAD_BYTES);
        assert_eq!(outbox.clear(), pushed);
        assert!(outbox.try_take(Lane::Gossip).is_empty());
    }

    #[test]
    fn a_full_lane_leaves_room_in_the_others() {
        let outbox = Outbox::default();
        while outbox.push(Lane::Bulk, Bytes::from_static(&[0; 4096])) {}
        assert!(outbox.push(Lane::Question, Bytes::from_static(b"who?")));
        assert!(outbox.push(Lane::Gossip, Bytes::from_static(b"news")));
        assert_eq!(outbox.try_take(Lane::Question), ["who?"]);
        assert_eq!(outbox.try_take(Lane::Gossip), ["news"]);
    }

    #[test]
    fn messages_leave_in_order_in_bounded_batches() {
        let outbox = Outbox::default();
        for n in 0..40_u8 {
            assert!(outbox.push(Lane::Bulk, Bytes::from(vec![n; 10_000])));
        }
        let mut seen = Vec::new();
        loop {
            let batch = outbox.try_take(Lane::Bulk);
            if batch.is_empty() {
                break;
            }
            assert!(batch.iter().map(Bytes::len).sum::<usize>() <= BATCH_BYTES_MAX);
            seen.extend(batch.iter().map(|m| m[0]));
        }
        assert_eq!(seen, (0..40).collect::<Vec<u8>>());
    }
}
