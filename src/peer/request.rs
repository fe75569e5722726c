//! One question and its answer, on a stream of its own: one request frame, then any number of response frames.
//!
//! What must always hold: a side that loses interest is noticed by the other. An asker who drops the [`ResponseStream`] stops the
//! stream, which the responder sees as [`Responder::cancelled`]; a responder that is dropped unfinished resets it, so that a
//! broken answer never looks like a complete one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt, WriteError};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::connection::describe;
use super::endpoint::Shared;
use super::frame::{FRAME_BYTES_MAX, FrameError, FrameReader, write_frames};
use super::{PeerError, Room};

/// The asker no longer wants the answer.
const CANCELLED: VarInt = VarInt::from_u32(1);
/// The responder went away without finishing its answer.
const ABANDONED: VarInt = VarInt::from_u32(2);
/// A request must have arrived whole within this time of its first byte.
const REQUEST_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a responder is looked at that may be gone, and how many looks in a row may find it silent.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const SILENT_MAX: u32 = 4;
/// Bytes of requests that may be half read at once on one connection.
pub(crate) const REQUEST_BYTES_READING_MAX: usize = 4 * FRAME_BYTES_MAX;

/// Sends the request frame and returns where the answer will come.
pub(crate) async fn ask(connection: &Connection, request: Bytes) -> Result<ResponseStream, PeerError> {
    if request.len() > FRAME_BYTES_MAX {
        return Err(PeerError::TooLarge { bytes: request.len() });
    }
    let (mut send, receive) = connection.open_bi().await.map_err(lost)?;
    write_frames(&mut send, &[request]).await.map_err(unwritten)?;
    // Only a stream that was stopped meanwhile cannot be finished, and then the answer says so.
    let _ = send.finish();
    Ok(ResponseStream { frames: FrameReader::new(receive), over: false, connection: connection.clone() })
}

/// The frames of one answer, as they come. Dropping it cancels the request.
pub struct ResponseStream {
    frames: FrameReader,
    over: bool,
    connection: Connection,
}

impl ResponseStream {
    /// The next frame, `None` when the answer is complete. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The connection was lost, the responder gave up, or it broke the framing. There is no further frame then.
    pub async fn next(&mut self) -> Result<Option<Bytes>, PeerError> {
        if self.over {
            return Ok(None);
        }
        let next = self.frames.next().await;
        self.over = !matches!(next, Ok(Some(_)));
        next.map_err(|error| match error {
            FrameError::Reset(_) => PeerError::Abandoned,
            FrameError::Lost(quinn::ReadError::ConnectionLost(error)) => lost(error),
            other => {
                self.frames.stop(CANCELLED);
                PeerError::Lost { reason: other.to_string() }
            }
        })
    }
}

impl ResponseStream {
    /// The same from a responder whose place somebody else could take: one that is not heard at all for two seconds, not even when it
    /// is knocked at, is given up long before its connection is.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_while_heard(&mut self) -> Result<Option<Bytes>, PeerError> {
        let (mut heard, mut silent) = (self.heard(), 0);
        loop {
            if let Ok(next) = timeout(LOOK_EVERY, self.next()).await {
                return next;
            }
            let now = self.heard();
            silent = if now == heard { silent + 1 } else { 0 };
            heard = now;
            if silent == SILENT_MAX {
                return Err(PeerError::Lost { reason: "it went silent".to_owned() });
            }
            if silent > 0 {
                knock(&self.connection);
            }
        }
    }

    /// Datagrams that came over its connection so far.
    fn heard(&self) -> u64 {
        self.connection.stats().udp_rx.datagrams
    }
}

/// Sends something that has to be acknowledged and means nothing: a request that is given up at once.
fn knock(connection: &Connection) {
    // Where no stream is to be had, enough is on its way that would be acknowledged.
    if let Some(Ok((mut send, _))) = connection.open_bi().now_or_never() {
        let _ = send.reset(CANCELLED);
    }
}

impl Drop for ResponseStream {
    fn drop(&mut self) {
        if !self.over {
            self.frames.stop(CANCELLED);
        }
    }
}

/// Where one request is answered. Dropping it unfinished tells the asker that no (further) answer comes.
#[derive(Debug)]
pub struct Responder {
    stream: SendStream,
    finished: bool,
}

impl Responder {
    /// Sends one frame of the answer; waits while the asker takes in no more.
    ///
    /// # Errors
    /// [`PeerError::TooLarge`], [`PeerError::Cancelled`] when the asker lost interest, [`PeerError::Lost`] when it is gone.
    pub async fn send(&mut self, frame: Bytes) -> Result<(), PeerError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(PeerError::TooLarge { bytes: frame.len() });
        }
        write_frames(&mut self.stream, &[frame]).await.map_err(unwritten)
    }

    /// Resolves when the asker cancelled or vanished (or, after `finish`, has received everything). It borrows nothing.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
        let stopped = self.stream.stopped();
        async move {
            // Stopped, delivered or lost: in each case nobody waits for this answer any more.
            let _ = stopped.await;
        }
    }

    /// Ends the answer: it is complete.
    ///
    /// # Errors
    /// [`PeerError::Cancelled`] when the asker lost interest before.
    pub fn finish(mut self) -> Result<(), PeerError> {
        self.finished = true;
        self.stream.finish().map_err(|_| PeerError::Cancelled)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.finished {
            // A stream that was stopped or lost needs no reset.
            let _ = self.stream.reset(ABANDONED);
        }
    }
}

/// Reads one request, and gives the share of all reading that it keeps until it has found its room; `None` when there was none to answer: given up, cut short, too slow or too large.
pub(crate) async fn read(
    shared: &Shared,
    send: SendStream,
    receive: RecvStream,
    reading: Arc<Semaphore>,
) -> Option<Result<(Bytes, Responder, Room), FrameError>> {
    let responder = Responder { stream: send, finished: false };
    let mut frames = FrameReader::new(receive);
    let request = async {
        let Some(length) = frames.length().await? else { return Ok(None) };
        let share = u32::try_from(length).unwrap_or(u32::MAX);
        // The semaphore is never closed; were it, there would be nothing to bound any more.
        let _permit = reading.acquire_many(share).await.ok();
        let share = shared.reading(length).await;
        Ok(frames.next().await?.map(|bytes| (bytes, share)))
    };
    match timeout(REQUEST_READ_TIMEOUT, request).await {
        Ok(Ok(Some((bytes, share)))) => Some(Ok((bytes, responder, share))),
        Ok(Err(error @ FrameError::TooLarge(_))) => Some(Err(error)),
        Ok(Ok(None) | Err(_)) | Err(_) => None,
    }
}

fn lost(error: ConnectionError) -> PeerError {
    PeerError::Lost { reason: describe(&error) }
}

fn unwritten(error: WriteError) -> PeerError {
    match error {
        WriteError::ConnectionLost(error) => lost(error),
        WriteError::Stopped(_) => PeerError::Cancelled,
        other => PeerError::Lost { reason: other.to_string() },
    }
}
