//! How messages travel on one connection: one stream a class and direction, and datagrams.
//!
//! ```text
//! stream   | 'a' 'o' 'p' lane | gossip only: 8 bytes that name the process | frames …
//! datagram | one message |
//! ```
//!
//! The gossip stream is opened first and greets; the others are opened when there is something to say on them. A message waits for
//! none of another lane: lanes have windows, queues and priorities of their own (datagrams, gossip, questions, then bulk and the
//! answers to requests). What must always hold: a stream of another kind, and a second one of the same lane, is declined and the
//! connection goes on; what was accepted for sending has arrived before a connection is ended on purpose.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aop_proto::wire::Class;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use quinn::{Connection, ReadExactError, RecvStream, SendStream, VarInt, WriteError};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{BYE, DISMISSED, Ending, Peer, violated};
use super::endpoint::Shared;
use super::frame::{FrameError, FrameReader, write_frames};
use super::outbox::Batch;
use super::{LAST_WORDS_TIMEOUT, PeerEvent};

/// A message whose length was read must have arrived whole within this time: what is half read is held.
const FRAME_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream of a kind this build does not know, or one too many.
const UNKNOWN_STREAM: VarInt = VarInt::from_u32(3);

/// A stream of messages. Its number stands in the stream's first bytes and in nothing else; it is never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Gossip = 1,
    Bulk = 2,
    Question = 3,
}

impl Lane {
    pub(crate) const ALL: [Self; 3] = [Self::Gossip, Self::Bulk, Self::Question];

    /// Where messages of a class go that are not sent as datagrams.
    pub(super) const fn of(class: Class) -> Self {
        match class {
            Class::Datagram | Class::Gossip => Self::Gossip,
            Class::Bulk => Self::Bulk,
            Class::Question => Self::Question,
        }
    }

    /// What its stream begins with.
    pub(super) const fn head(self) -> [u8; 4] {
        [b'a', b'o', b'p', self as u8]
    }

    /// Streams of a higher number are written first. Requests and their answers have 0, so that gossip waits for no long result.
    const fn priority(self) -> i32 {
        match self {
            Self::Gossip => 2,
            Self::Question => 1,
            Self::Bulk => 0,
        }
    }
}

/// Opens our stream of that lane.
///
/// # Errors
/// The connection is lost, or the peer declined the stream already.
pub(super) async fn open(connection: &Connection, lane: Lane) -> Result<SendStream, WriteError> {
    let mut stream = connection.open_uni().await.map_err(WriteError::ConnectionLost)?;
    // The number of a priority is ours to choose; a stream just opened takes it.
    let _ = stream.set_priority(lane.priority());
    stream.write_all(&lane.head()).await?;
    Ok(stream)
}

/// Which lane the peer's stream is of, `None` when it is of no lane.
///
/// # Errors
/// The stream ended before it said so.
pub(super) async fn read_head(stream: &mut RecvStream) -> Result<Option<Lane>, ReadExactError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    Ok(Lane::ALL.into_iter().find(|lane| lane.head() == head))
}

/// Hands over all messages that come on streams, until the peer or we end the connection or break it.
pub(super) async fn receive(shared: &Shared, peer: &Peer, connection: &Connection, gossip: RecvStream) -> Ending {
    let mut ended = pin!(receive_gossip(shared, peer, connection, gossip));
    let mut known = vec![Lane::Gossip];
    let mut heads = FuturesUnordered::new();
    let mut lanes = FuturesUnordered::new();
    let ending = loop {
        tokio::select! {
            ending = &mut ended => break ending,
            Ok(stream) = connection.accept_uni() => heads.push(identify(stream)),
            Some((lane, mut stream)) = heads.next() => match lane {
                Some(lane) if !known.contains(&lane) => {
                    known.push(lane);
                    lanes.push(receive_lane(shared, peer, lane, stream));
                }
                // Declined is declined, also where the stream was over already.
                _ => drop(stream.stop(UNKNOWN_STREAM)),
            },
            // A lane may end before the connection; one that breaks the framing takes the connection with it.
            Some(lane) = lanes.next() => match lane {
                Ok(()) | Err(FrameError::Lost(_)) => {}
                Err(error) => return violated(shared, connection, &error),
            },
        }
    };
    // The connection is closed: what arrived before that is still read, and nothing can follow it.
    while lanes.next().await.is_some() {}
    ending
}

async fn identify(mut stream: RecvStream) -> (Option<Lane>, RecvStream) {
    (read_head(&mut stream).await.ok().flatten(), stream)
}

/// The lane on which a connection lives: ends with the connection closed.
async fn receive_gossip(shared: &Shared, peer: &Peer, connection: &Connection, stream: RecvStream) -> Ending {
    match receive_lane(shared, peer, Lane::Gossip, stream).await {
        // Its last word. Why it ends the connection it says when everything has arrived.
        Ok(()) => {
            let silent = timeout(LAST_WORDS_TIMEOUT, connection.closed()).await.is_err();
            if silent {
                connection.close(BYE, b"bye");
            }
            Ending::of(connection)
        }
        Err(FrameError::Lost(_)) => Ending::of(connection),
        Err(error) => violated(shared, connection, &error),
    }
}

async fn receive_lane(shared: &Shared, peer: &Peer, lane: Lane, stream: RecvStream) -> Result<(), FrameError> {
    let mut frames = FrameReader::new(stream);
    while let Some(length) = frames.length().await? {
        // Kept until the message has found its room: whoever waits for that holds all of it.
        let _share = shared.reading(length).await;
        let frame = timeout(FRAME_READ_TIMEOUT, frames.next()).await.map_err(|_| FrameError::Slow)??;
        let Some(bytes) = frame else { break };
        deliver(shared, peer, lane, bytes).await;
    }
    Ok(())
}

/// Hands over all datagrams that come, and counts them. Never returns; it ends with the connection.
pub(super) async fn receive_datagrams(
    shared: &Shared,
    peer: &Peer,
    connection: &Connection,
    count: &AtomicU64,
) -> Infallible {
    while let Ok(bytes) = connection.read_datagram().await {
        count.fetch_add(1, Relaxed);
        // Copied, because it would keep the whole receive buffer alive.
        deliver(shared, peer, Lane::Gossip, Bytes::copy_from_slice(&bytes)).await;
    }
    pending().await
}

async fn deliver(shared: &Shared, peer: &Peer, lane: Lane, bytes: Bytes) {
    shared.counters.message_received(bytes.len());
    let room = shared.room(bytes.len(), lane).await;
    shared.emit(PeerEvent::Message { peer: peer.key, bytes, room }).await;
}

/// Sends what waits for the peer while this connection is the preferred one, and closes the connection when `ending` says so and
/// the last words have arrived. Never returns; it ends with the connection.
pub(super) async fn send(
    shared: &Shared,
    peer: &Peer,
    connection: &Connection,
    number: u64,
    gossip: SendStream,
    ending: &CancellationToken,
) -> Infallible {
    let writer = |lane, stream| Writer { shared, peer, connection, number, lane, stream, ending };
    let writers = [writer(Lane::Gossip, Some(gossip)), writer(Lane::Bulk, None), writer(Lane::Question, None)];
    let mut lanes: FuturesUnordered<_> = writers.into_iter().map(Writer::run).collect();
    let all_through = async { while lanes.next().await.is_some() {} };
    let cut_off = async {
        ending.cancelled().await;
        sleep(LAST_WORDS_TIMEOUT).await;
    };
    tokio::select! {
        () = all_through => {}
        () = cut_off => {}
    }
    match shared.stop.is_cancelled() {
        true => connection.close(BYE, b"bye"),
        false => connection.close(DISMISSED, b"not wanted"),
    }
    pending().await
}

/// One lane of one connection, from us to the peer.
struct Writer<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
    connection: &'a Connection,
    number: u64,
    lane: Lane,
    /// Opened with the first message.
    stream: Option<SendStream>,
    ending: &'a CancellationToken,
}

impl Writer<'_> {
    async fn run(mut self) {
        let mut preferred = self.peer.preferred.subscribe();
        loop {
            let batch = tokio::select! {
                () = self.ending.cancelled() => break,
                batch = self.next_batch(&mut preferred) => batch,
            };
            if !self.write(batch).await {
                // The connection is lost, or the peer wants nothing of this kind: the queue fills up, and refuses.
                return pending().await;
            }
        }
        while *preferred.borrow() == self.number {
            let batch = self.peer.outbox.try_take(self.lane);
            if batch.messages.is_empty() || !self.write(batch).await {
                break;
            }
        }
        if let Some(mut stream) = self.stream
            && stream.finish().is_ok()
        {
            let _ = stream.stopped().await;
        }
    }

    async fn next_batch(&self, preferred: &mut watch::Receiver<u64>) -> Batch {
        loop {
            // The sender lives in `peer`, so waiting for it cannot fail.
            let _ = preferred.wait_for(|chosen| *chosen == self.number).await;
            tokio::select! {
                batch = self.peer.outbox.take(self.lane) => return batch,
                _ = preferred.changed() => {}
            }
        }
    }

    async fn write(&mut self, batch: Batch) -> bool {
        let messages = &batch.messages;
        let bytes = messages.iter().map(Bytes::len).sum();
        let written = self.try_write(messages).await;
        match written {
            true => self.shared.counters.messages_sent(messages.len(), bytes),
            false => self.shared.counters.messages_lost(messages.len()),
        }
        written
    }

    async fn try_write(&mut self, batch: &[Bytes]) -> bool {
        if self.stream.is_none() {
            self.stream = open(self.connection, self.lane).await.ok();
        }
        match &mut self.stream {
            Some(stream) => write_frames(stream, batch).await.is_ok(),
            None => false,
        }
    }
}
