//! The way of events from connections to whoever drives the node, and the side way of what takes long to read.
//!
//! ```text
//!  connections ── PeerEvent ──────────────────▶ driver
//!       └─ messages of bulk ──▶ BulkReader ───────┘
//! ```
//!
//! A question waits for no record to be read, and wakes nobody but the driver. What must always hold: the events of one peer arrive in
//! order, so that its `Down` comes when all bulk that it sent was passed on; order between lanes there is none.

use aop_proto::wire::{Class, class_of};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::PeerEvent;

/// Where connections put their events.
#[derive(Debug, Clone)]
pub struct Events {
    straight: mpsc::Sender<PeerEvent>,
    bulk: Option<mpsc::Sender<Bulk>>,
}

/// The other end of [`Events`].
#[derive(Debug)]
pub struct Heard {
    /// Everything comes out here.
    pub events: mpsc::Receiver<PeerEvent>,
    /// To be run, or no bulk comes out there.
    pub bulk: BulkReader,
}

/// Who reads bulk on its way; made by [`events`].
#[derive(Debug)]
pub struct BulkReader {
    bulk: mpsc::Receiver<Bulk>,
    straight: mpsc::Sender<PeerEvent>,
}

#[derive(Debug)]
enum Bulk {
    Message(PeerEvent),
    /// Answered when all before it was passed on.
    Mark(oneshot::Sender<()>),
}

/// Both ends, for so many events that wait.
pub fn events(waiting_max: usize) -> (Events, Heard) {
    let (straight, events) = mpsc::channel(waiting_max);
    let (bulk, bulk_receiver) = mpsc::channel(waiting_max);
    let reader = BulkReader { bulk: bulk_receiver, straight: straight.clone() };
    (Events { straight, bulk: Some(bulk) }, Heard { events, bulk: reader })
}

impl From<mpsc::Sender<PeerEvent>> for Events {
    /// All events in one queue.
    fn from(straight: mpsc::Sender<PeerEvent>) -> Self {
        Self { straight, bulk: None }
    }
}

impl Events {
    /// Hands an event over; waits while its receiver is busy.
    pub(super) async fn send(&self, event: PeerEvent) {
        // A receiver that is gone means that the node stops.
        match &self.bulk {
            Some(bulk) if is_bulk(&event) => drop(bulk.send(Bulk::Message(event)).await),
            _ => drop(self.straight.send(event).await),
        }
    }

    /// The same where there is room at once.
    pub(super) fn try_send(&self, event: PeerEvent) {
        let _ = self.straight.try_send(event);
    }

    /// Waits until all bulk that was handed over was passed on.
    pub(super) async fn bulk_is_through(&self) {
        let Some(bulk) = &self.bulk else { return };
        let (mark, passed) = oneshot::channel();
        if bulk.send(Bulk::Mark(mark)).await.is_ok() {
            // Dropped, nobody passes anything on any more.
            let _ = passed.await;
        }
    }
}

fn is_bulk(event: &PeerEvent) -> bool {
    // By what it is and not by its lane: a peer chooses where it says something.
    matches!(event, PeerEvent::Message { bytes, .. } if bytes.get(3).is_some_and(|kind| class_of(*kind) == Class::Bulk))
}

impl BulkReader {
    /// Shows each message of bulk, and whose it is, to `read` and passes it on, in order. Blocks until nobody sends events any more, or
    /// nobody takes them.
    pub fn run(mut self, mut read: impl FnMut([u8; 32], &Bytes)) {
        while let Some(bulk) = self.bulk.blocking_recv() {
            match bulk {
                Bulk::Message(event) => {
                    if let PeerEvent::Message { peer, bytes, .. } = &event {
                        read(*peer, bytes);
                    }
                    if self.straight.blocking_send(event).is_err() {
                        return;
                    }
                }
                // Whoever waits for it may have been stopped.
                Bulk::Mark(passed) => drop(passed.send(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Room;
    use super::*;

    fn message(kind: u8) -> PeerEvent {
        PeerEvent::Message { peer: [1; 32], bytes: vec![b'A', b'O', 1, kind].into(), room: Room { _share: None } }
    }

    fn kind_of(event: &PeerEvent) -> Option<u8> {
        let PeerEvent::Message { bytes, .. } = event else { return None };
        bytes.get(3).copied()
    }

    #[tokio::test]
    async fn a_question_overtakes_bulk_and_the_end_of_a_peer_waits_for_it() {
        let (bulk, question) = (19, 32);
        let (events, mut heard) = events(8);
        for kind in [bulk, question, bulk] {
            events.send(message(kind)).await;
        }
        assert_eq!(heard.events.recv().await.as_ref().and_then(kind_of), Some(question));
        let mut through = Box::pin(events.bulk_is_through());
        assert!(futures::poll!(&mut through).is_pending(), "nobody has read it");
        assert!(heard.events.try_recv().is_err());
        let reader = std::thread::spawn(move || {
            let mut read = 0;
            heard.bulk.run(|_, _| read += 1);
            read
        });
        through.await;
        for _ in 0..2 {
            let passed = heard.events.try_recv().expect("it was passed on");
            assert_eq!(kind_of(&passed), Some(bulk));
        }
        drop(events);
        assert_eq!(reader.join().expect("it ends with its senders"), 2);
    }
}
