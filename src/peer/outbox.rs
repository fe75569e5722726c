//! What waits to be sent to one peer: a queue a lane, each bounded by bytes, shared by all connections to it.
//!
//! All peers together share a bound as well, which counts what is being written too: whoever asks and does not read the answers costs
//! its small share, however many of them there are. Who listens is not held up by them, because a little fits always.
//!
//! Full means refused and counted, never waited for: the sender is the node's core, which must not block on a slow peer. The
//! periodic exchange repairs what gossip and bulk lose; whoever asked a question that was refused hears of it at its deadline.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::frame::FRAME_BYTES_MAX;
use super::lanes::Lane;

/// Bytes that may wait for one peer in one lane.
pub(crate) const OUTBOX_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Bytes that may wait for all peers together, or are being written to them.
pub(crate) const OUTBOX_BYTES_TOTAL_MAX: usize = 64 << 20;
/// What may wait in one lane of one peer even then.
const OUTBOX_BYTES_LEAST: usize = 16 << 10;
/// What a message costs besides its bytes, so that empty ones are bounded too.
const MESSAGE_OVERHEAD_BYTES: usize = 64;
/// How much is taken to be written at once; one message is always taken whole.
const BATCH_BYTES_MAX: usize = 64 << 10;

/// Bytes that wait for all peers of an endpoint.
#[derive(Clone, Default)]
pub(crate) struct Total(Arc<AtomicUsize>);

/// A part of them; dropped, they wait no more.
pub(crate) struct Share {
    total: Total,
    bytes: usize,
}

impl Total {
    fn share(&self, bytes: usize) -> Share {
        self.0.fetch_add(bytes, Relaxed);
        Share { total: self.clone(), bytes }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.total.0.fetch_sub(self.bytes, Relaxed);
    }
}

#[derive(Default)]
pub(crate) struct Outbox {
    queues: [Queue; Lane::ALL.len()],
    total: Total,
}

/// Messages on their way to the network.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) messages: Vec<Bytes>,
    _shares: Vec<Share>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<(Bytes, Share)>,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn new(total: Total) -> Self {
        Self { total, ..Self::default() }
    }

    /// Queues a message; `false` when there is no room. A message of any allowed size fits an empty queue, unless too much waits for
    /// all peers together.
    pub(crate) fn push(&self, lane: Lane, message: Bytes) -> bool {
        let queue = self.queue(lane);
        let mut waiting = queue.lock();
        let cost = message.len() + MESSAGE_OVERHEAD_BYTES;
        let after = waiting.bytes + cost;
        let full = !waiting.messages.is_empty() && after > OUTBOX_BYTES_MAX;
        // Several may look at once and all find room: that is a message each too many.
        let crowded = after > OUTBOX_BYTES_LEAST && self.total.0.load(Relaxed) + cost > OUTBOX_BYTES_TOTAL_MAX;
        if full || crowded {
            return false;
        }
        waiting.bytes = after;
        waiting.messages.push_back((message, self.total.share(cost)));
        drop(waiting);
        queue.filled.notify_one();
        true
    }

    /// The oldest messages, as many as are worth one write; waits while there are none.
    pub(crate) async fn take(&self, lane: Lane) -> Batch {
        loop {
            let batch = self.try_take(lane);
            if !batch.messages.is_empty() {
                return batch;
            }
            self.queue(lane).filled.notified().await;
        }
    }

    /// The same without waiting: possibly nothing.
    pub(crate) fn try_take(&self, lane: Lane) -> Batch {
        let mut waiting = self.queue(lane).lock();
        let mut batch = Batch::default();
        let mut bytes = 0;
        let fits = |bytes: usize| move |(m, _): &mut (Bytes, Share)| bytes == 0 || bytes + m.len() <= BATCH_BYTES_MAX;
        while let Some((message, share)) = waiting.messages.pop_front_if(fits(bytes)) {
            bytes += share.bytes;
            waiting.bytes -= share.bytes;
            batch.messages.push(message);
            batch._shares.push(share);
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
        assert_eq!(outbox.try_take(Lane::Gossip).messages.len(), 1);
        let mut pushed = 0;
        while outbox.push(Lane::Gossip, Bytes::new()) {
            pushed += 1;
        }
        assert_eq!(pushed, OUTBOX_BYTES_MAX / MESSAGE_OVERHEAD_BYTES);
        assert_eq!(outbox.clear(), pushed);
        assert!(outbox.try_take(Lane::Gossip).messages.is_empty());
    }

    #[test]
    fn a_full_lane_leaves_room_in_the_others() {
        let outbox = Outbox::default();
        while outbox.push(Lane::Bulk, Bytes::from_static(&[0; 4096])) {}
        assert!(outbox.push(Lane::Question, Bytes::from_static(b"who?")));
        assert!(outbox.push(Lane::Gossip, Bytes::from_static(b"news")));
        assert_eq!(outbox.try_take(Lane::Question).messages, ["who?"]);
        assert_eq!(outbox.try_take(Lane::Gossip).messages, ["news"]);
    }

    #[test]
    fn messages_leave_in_order_in_bounded_batches() {
        let outbox = Outbox::default();
        for n in 0..40_u8 {
            assert!(outbox.push(Lane::Bulk, Bytes::from(vec![n; 10_000])));
        }
        let mut seen = Vec::new();
        loop {
            let batch = outbox.try_take(Lane::Bulk).messages;
            if batch.is_empty() {
                break;
            }
            assert!(batch.iter().map(Bytes::len).sum::<usize>() <= BATCH_BYTES_MAX);
            seen.extend(batch.iter().map(|m| m[0]));
        }
        assert_eq!(seen, (0..40).collect::<Vec<u8>>());
    }

    #[test]
    fn many_who_do_not_listen_leave_room_for_who_does() {
        let total = Total::default();
        let deaf: Vec<Outbox> = (0..200).map(|_| Outbox::new(total.clone())).collect();
        for outbox in &deaf {
            while outbox.push(Lane::Question, Bytes::from(vec![0; 10_000])) {}
        }
        let waiting = |total: &Total| total.0.load(Relaxed);
        assert!(waiting(&total) <= OUTBOX_BYTES_TOTAL_MAX + deaf.len() * OUTBOX_BYTES_LEAST);
        let listening = Outbox::new(total.clone());
        assert!(listening.push(Lane::Question, Bytes::from(vec![0; 10_000])), "a little fits always");
        assert!(!listening.push(Lane::Question, Bytes::from(vec![0; 100_000])));
        // What is being written counts until it is.
        let before = waiting(&total);
        let batch = listening.try_take(Lane::Question);
        assert_eq!(waiting(&total), before);
        drop(batch);
        assert!(waiting(&total) < before);
        drop((deaf, listening));
        assert_eq!(waiting(&total), 0);
    }
}
