//! What waits to be sent to one peer: a queue bounded by bytes, shared by all connections to it.
//!
//! Full means refused and counted, never waited for: the sender is the node's core, which must not block on a slow peer, and the
//! periodic exchange repairs what was dropped.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::frame::FRAME_BYTES_MAX;

/// Bytes that may wait for one peer.
pub(crate) const OUTBOX_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// What a message costs besides its bytes, so that empty ones are bounded too.
const MESSAGE_OVERHEAD_BYTES: usize = 64;
/// How much is taken to be written at once; one message is always taken whole.
const BATCH_BYTES_MAX: usize = 64 << 10;

#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    /// Queues a message; `false` when there is no room. A message of any allowed size fits an empty queue.
    pub(crate) fn push(&self, message: Bytes) -> bool {
        let mut queue = self.lock();
        let cost = message.len() + MESSAGE_OVERHEAD_BYTES;
        if !queue.messages.is_empty() && queue.bytes + cost > OUTBOX_BYTES_MAX {
            return false;
        }
        queue.bytes += cost;
        queue.messages.push_back(message);
        drop(queue);
        self.filled.notify_one();
        true
    }

    /// The oldest messages, as many as are worth one write; waits while there are none.
    pub(crate) async fn take(&self) -> Vec<Bytes> {
        loop {
            let batch = self.try_take();
            if !batch.is_empty() {
                return batch;
            }
            self.filled.notified().await;
        }
    }

    /// The same without waiting: possibly nothing.
    pub(crate) fn try_take(&self) -> Vec<Bytes> {
        let mut queue = self.lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(message) = queue.messages.pop_front_if(|m| bytes == 0 || bytes + m.len() <= BATCH_BYTES_MAX) {
            let cost = message.len() + MESSAGE_OVERHEAD_BYTES;
            bytes += cost;
            queue.bytes -= cost;
            batch.push(message);
        }
        batch
    }

    /// Forgets everything; how many messages that were.
    pub(crate) fn clear(&self) -> usize {
        let mut queue = self.lock();
        queue.bytes = 0;
        std::mem::take(&mut queue.messages).len()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing can panic half way through a change of the queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_an_empty_one_takes_the_largest_message() {
        let outbox = Outbox::default();
        assert!(outbox.push(Bytes::from(vec![0; FRAME_BYTES_MAX])));
        assert!(!outbox.push(Bytes::new()));
        assert_eq!(outbox.try_take().len(), 1);
        let mut pushed = 0;
        while outbox.push(Bytes::new()) {
            pushed += 1;
        }
        assert_eq!(pushed, OUTBOX_BYTES_MAX / MESSAGE_OVERHEAD_BYTES);
        assert_eq!(outbox.clear(), pushed);
        assert!(outbox.try_take().is_empty());
    }

    #[test]
    fn messages_leave_in_order_in_bounded_batches() {
        let outbox = Outbox::default();
        for n in 0..40_u8 {
            assert!(outbox.push(Bytes::from(vec![n; 10_000])));
        }
        let mut seen = Vec::new();
        loop {
            let batch = outbox.try_take();
            if batch.is_empty() {
                break;
            }
            assert!(batch.iter().map(Bytes::len).sum::<usize>() <= BATCH_BYTES_MAX);
            seen.extend(batch.iter().map(|m| m[0]));
        }
        assert_eq!(seen, (0..40).collect::<Vec<u8>>());
    }
}
