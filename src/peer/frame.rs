//! Frames on a QUIC stream: how many bytes follow, then those bytes. It knows nothing of what they mean.
//!
//! ```text
//! +----------------+----------------------------------+
//! | length, u32 LE | that many bytes, at most 1 MiB   |   … and the next, until the stream ends between two frames
//! +----------------+----------------------------------+
//! ```
//!
//! What must always hold: a length is checked before anything is allocated, and what is allocated grows with what has arrived,
//! so that a promise costs the reader nothing. A frame is copied out of the packets it came in: kept slices would keep whole
//! receive buffers alive.

use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};

/// The longest message, request or piece of an answer.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// How much is allocated at most for a frame of which nothing has arrived yet.
pub(crate) const FIRST_ALLOCATION_BYTES_MAX: usize = 16 << 10;

/// Why no further frame can be read from a stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {0} bytes is above the limit of {FRAME_BYTES_MAX}")]
    TooLarge(u32),
    #[error("the stream ended inside a frame")]
    Truncated,
    #[error("a frame was begun and not ended in time")]
    Slow,
    #[error("the other side gave the stream up (code {0})")]
    Reset(VarInt),
    #[error("the connection is lost: {0}")]
    Lost(ReadError),
}

impl From<ReadError> for FrameError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Reset(code),
            other => Self::Lost(other),
        }
    }
}

/// Reads frames one after the other. A half-read frame is kept here, so a `next` that was dropped loses nothing.
pub(crate) struct FrameReader {
    stream: RecvStream,
    header: [u8; 4],
    header_filled: usize,
    body: Vec<u8>,
}

impl FrameReader {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, header: [0; 4], header_filled: 0, body: Vec::new() }
    }

    /// The length of the next frame, `None` when the stream ended before it.
    pub(crate) async fn length(&mut self) -> Result<Option<usize>, FrameError> {
        while self.header_filled < self.header.len() {
            let missing = self.header.len() - self.header_filled;
            let Some(chunk) = self.stream.read_chunk(missing, true).await? else {
                return if self.header_filled == 0 { Ok(None) } else { Err(FrameError::Truncated) };
            };
            let filled = self.header_filled + chunk.bytes.len();
            self.header[self.header_filled..filled].copy_from_slice(&chunk.bytes);
            self.header_filled = filled;
        }
        let length = u32::from_le_bytes(self.header);
        match usize::try_from(length) {
            Ok(bytes) if bytes <= FRAME_BYTES_MAX => Ok(Some(bytes)),
            _ => Err(FrameError::TooLarge(length)),
        }
    }

    /// The next frame, `None` when the stream ended before it.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.length().await? else { return Ok(None) };
        if self.body.capacity() == 0 {
            self.body.reserve_exact(length.min(FIRST_ALLOCATION_BYTES_MAX));
        }
        while self.body.len() < length {
            let missing = length - self.body.len();
            let Some(chunk) = self.stream.read_chunk(missing, true).await? else { return Err(FrameError::Truncated) };
            if self.body.capacity() - self.body.len() < chunk.bytes.len() {
                // Doubling, but never beyond the frame: what is kept for long should not carry slack.
                self.body.reserve_exact(chunk.bytes.len().max(self.body.len().min(missing)));
            }
            self.body.extend_from_slice(&chunk.bytes);
        }
        self.header_filled = 0;
        Ok(Some(Bytes::from(std::mem::take(&mut self.body))))
    }

    /// Tells the other side that nobody reads on.
    pub(crate) fn stop(&mut self, code: VarInt) {
        // A stream that is over needs no stopping.
        let _ = self.stream.stop(code);
    }
}

/// Writes those frames in order, in as few packets as they fit in.
pub(crate) async fn write_frames(stream: &mut SendStream, frames: &[Bytes]) -> Result<(), WriteError> {
    let mut chunks: Vec<Bytes> = Vec::with_capacity(frames.len() * 2);
    for frame in frames {
        debug_assert!(frame.len() <= FRAME_BYTES_MAX, "checked where the frame came in");
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        chunks.push(Bytes::copy_from_slice(&length.to_le_bytes()));
        chunks.push(frame.clone());
    }
    stream.write_all_chunks(&mut chunks).await
}
