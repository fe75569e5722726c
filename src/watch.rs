//! What changes, event by event, for those who watch: the last of it, numbered without gaps.
//!
//! Whoever reads keeps its own place, so that a slow reader holds up nobody: what it did not read in time is not there any more, and it
//! is told so. Nothing is said here of who may see what.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aop_proto::call::Circuit;
use aop_proto::call::lifecycle::Stage;
use aop_proto::record::NodeId;
use aop_proto::wire::message::Serial;
use aop_proto::zone::News;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Events that are kept for those who read slowly or come back.
pub const EVENTS_KEPT: usize = 4_096;
/// Events one look gives.
const LOOK: usize = 256;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number in this run; of two that follow each other the second is one more.
    pub number: u64,
    /// What happened.
    pub told: Told,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The own zone changed.
    Own(News),
    /// Another zone did.
    Other(Serial),
    /// A server behind this node came to another stage of its life.
    Lifecycle {
        /// Its name here.
        server: String,
        /// Where it stands now.
        stage: Stage,
    },
    /// This node calls a server of some zone at a node again, or no more, or tries whether it may.
    Breaker {
        /// `server.zone`.
        service: String,
        /// Where it is.
        node: NodeId,
        /// How its breaker stands now.
        circuit: Circuit,
    },
}

/// Up to where somebody has read: `RUN.NUMBER` in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The run of the node whose events these are.
    run: u64,
    /// The number of the last event read.
    number: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.run, self.number)
    }
}

/// A text that is no [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("that is no place in the events of a node, such as the id of one of them")]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (run, number) = text.split_once('.').ok_or(NoPlace)?;
        let read = |text: &str| u64::from_str_radix(text, 16).map_err(|_| NoPlace);
        Ok(Self { run: read(run)?, number: read(number)? })
    }
}

/// Events after a place are not all there: somebody read too slowly, or they were another run's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("events are missing: read the state anew and go on from here")]
pub struct Gap;

/// The events of one node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Watch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    run: u64,
    ring: Mutex<VecDeque<Arc<Event>>>,
    /// The number of the last event.
    last: watch::Sender<u64>,
    stop: CancellationToken,
}

impl Watch {
    /// Of a run that is told apart from others by this number.
    pub fn new(run: u64) -> Self {
        let (last, _) = watch::channel(0);
        Self(Arc::new(Inner { run, ring: Mutex::default(), last, stop: CancellationToken::new() }))
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody who watches.
    pub fn tell(&self, all: impl IntoIterator<Item = Told>) {
        let mut ring = self.ring();
        let mut number = *self.0.last.borrow();
        for told in all {
            number += 1;
            if ring.len() >= EVENTS_KEPT {
                ring.pop_front();
            }
            ring.push_back(Arc::new(Event { number, told }));
        }
        self.0.last.send_replace(number);
    }

    /// Behind the last event there is.
    pub fn now(&self) -> Place {
        Place { run: self.0.run, number: *self.0.last.borrow() }
    }

    /// The place behind that event, as clients name it.
    pub fn id_of(&self, event: &Event) -> String {
        Place { run: self.0.run, number: event.number }.to_string()
    }

    /// Some events after that place, and the place behind them; waits for the first. Nothing once the node stops.
    ///
    /// # Errors
    /// [`Gap`].
    pub async fn after(&self, place: Place) -> Result<Option<(Vec<Arc<Event>>, Place)>, Gap> {
        if place.run != self.0.run {
            return Err(Gap);
        }
        let mut last = self.0.last.subscribe();
        tokio::select! {
            () = self.0.stop.cancelled() => return Ok(None),
            // Its sender lives as long as this does.
            _ = last.wait_for(|last| *last != place.number) => {}
        }
        let ring = self.ring();
        let (first, end) = (ring.front().map_or(0, |event| event.number), *self.0.last.borrow());
        if place.number > end || place.number + 1 < first {
            return Err(Gap);
        }
        let skip = usize::try_from(place.number + 1 - first).unwrap_or(usize::MAX);
        let events: Vec<Arc<Event>> = ring.iter().skip(skip).take(LOOK).cloned().collect();
        let number = events.last().map_or(place.number, |event| event.number);
        Ok(Some((events, Place { number, ..place })))
    }

    /// Ends everybody's watching.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use aop_proto::zone::What;

    use super::*;

    fn told(serial: u64) -> Told {
        Told::Own(News { serial, what: What::Members })
    }

    #[tokio::test]
    async fn whoever_reads_on_misses_nothing_and_whoever_is_late_is_told() {
        let watch = Watch::new(7);
        let start = watch.now();
        watch.tell((1..=1000).map(told));
        let (mut place, mut read) = (start, Vec::new());
        while read.len() < 1000 {
            let (events, next) = watch.after(place).await.unwrap().unwrap();
            assert!(!events.is_empty() && events.len() <= LOOK);
            read.extend(events.iter().map(|event| event.number));
            place = next;
        }
        assert_eq!(read, (1..=1000).collect::<Vec<u64>>());
        assert_eq!(place, watch.now());
        watch.tell((0..EVENTS_KEPT as u64).map(told));
        assert!(watch.after(place).await.is_ok(), "as many as are kept");
        watch.tell([told(0)]);
        assert_eq!(watch.after(place).await, Err(Gap), "one more");
        let other = Watch::new(8);
        assert_eq!(other.after(place).await, Err(Gap), "of another run");
        let ahead = Place { number: 1 << 40, ..watch.now() };
        assert_eq!(watch.after(ahead).await, Err(Gap), "of no run yet");
    }

    #[tokio::test]
    async fn a_reader_waits_for_what_comes_and_ends_with_the_node() {
        let watch = Watch::new(1);
        let reader = tokio::spawn({
            let watch = watch.clone();
            async move {
                let (events, place) = watch.after(watch.now()).await.unwrap().unwrap();
                (events.len(), watch.after(place).await)
            }
        });
        tokio::task::yield_now().await;
        watch.tell([told(1)]);
        tokio::task::yield_now().await;
        watch.stop();
        assert_eq!(reader.await.unwrap(), (1, Ok(None)));
    }

    #[test]
    fn a_place_reads_back_and_nothing_else_is_one() {
        let place = Place { run: u64::MAX, number: 12 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", ".", "1", "1.", ".1", "1.2.3", "x.1", "1.-1", "10000000000000000.1"] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }
}
