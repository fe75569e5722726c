//! Frames: what stands before a message on any stream, and how a reader skips what it does not know.
//!
//! ```text
//! byte  0    1    2         3      4 5 6 7
//!      'A'  'O'  version   kind   length (u32, little endian)   body …
//! ```
//!
//! The length counts the body and is checked against [`FRAME_BYTES_MAX`] before anything is
//! allocated. A frame of an unknown kind or of another version is skipped and counted: ALPN keeps other protocols away.
//!
//! The version counts changes that a reader cannot skip. ALPN chooses the [`common_version`] of a connection, and every frame has it.
//! New kinds are no new version.

pub mod message;

use crate::codec::DecodeError;
use crate::params::FRAME_BYTES_MAX;

/// First two bytes of every frame.
pub const MAGIC: [u8; 2] = *b"AO";
/// Version of the wire.
pub const VERSION: u8 = 1;
/// Lowest and highest version this build speaks.
pub const VERSIONS: (u8, u8) = (VERSION, VERSION);
/// Bytes before the body.
pub const HEADER_BYTES: usize = 8;

/// The version two nodes use: the highest that both speak, each saying its lowest and highest; `None` when they share none, or when
/// one of them names nothing.
pub fn common_version(ours: (u8, u8), theirs: (u8, u8)) -> Option<u8> {
    let (lowest, highest) = (ours.0.max(theirs.0), ours.1.min(theirs.1));
    (lowest <= highest).then_some(highest)
}

/// How a message travels. Streams are ordered within a class and independent between classes, so that a snapshot stops no probe.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// One datagram: may be lost, overtaken and doubled; at most [`DATAGRAM_BYTES_MAX`](crate::params::DATAGRAM_BYTES_MAX).
    Datagram,
    /// Beginnings, exchanges of hashes, announcements.
    Gossip,
    /// Parts of logs, asked for or pushed as news.
    Bulk,
    /// Questions and answers.
    Question,
}

/// The class of a kind of message. A datagram that is too long for one goes with [`Class::Gossip`].
pub const fn class_of(kind: u8) -> Class {
    match kind {
        20 | 24..=26 => Class::Datagram,
        19 => Class::Bulk,
        32..=47 => Class::Question,
        _ => Class::Gossip,
    }
}

/// Bytes that are not a frame of ours. They are dropped and counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than its header or its length, or longer.
    #[error("{0} bytes do not make the frame they announce")]
    Length(usize),
    /// Not `AO`.
    #[error("not an AOP frame")]
    Magic,
    /// Another version.
    #[error("wire version {0}, this build speaks {VERSION}")]
    Version(u8),
    /// The body is not what its kind says.
    #[error(transparent)]
    Body(#[from] DecodeError),
}

/// The frame of a body.
///
/// # Panics
/// When a body of ours is longer than a frame may be, which is a defect of ours.
pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() + HEADER_BYTES <= FRAME_BYTES_MAX, "a frame of kind {kind} with {} bytes", body.len());
    let length = u32::try_from(body.len()).expect("bounded above");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[VERSION, kind]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Kind and body of exactly one frame.
///
/// # Errors
/// [`FrameError`], before anything is allocated.
pub fn open(bytes: &[u8]) -> Result<(u8, &[u8]), FrameError> {
    let (header, body) = bytes.split_first_chunk().ok_or(FrameError::Length(bytes.len()))?;
    if length_of(header)? != body.len() {
        return Err(FrameError::Length(bytes.len()));
    }
    Ok((header[3], body))
}

/// Bytes of the body that follows a header, for whoever reads frames out of a stream.
///
/// # Errors
/// [`FrameError`], before anything is allocated.
pub fn length_of(header: &[u8; HEADER_BYTES]) -> Result<usize, FrameError> {
    if header[..2] != MAGIC {
        return Err(FrameError::Magic);
    }
    if header[2] != VERSION {
        return Err(FrameError::Version(header[2]));
    }
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    if length > FRAME_BYTES_MAX - HEADER_BYTES { Err(FrameError::Length(length)) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_used_and_both_sides_find_the_same() {
        for (ours, theirs, common) in [
            ((1, 1), (1, 1), Some(1)),
            ((1, 3), (2, 5), Some(3)),
            ((1, 1), (2, 5), None),
            ((1, 9), (5, 4), None),
            ((0, 255), (7, 7), Some(7)),
        ] {
            assert_eq!(common_version(ours, theirs), common);
            assert_eq!(common_version(theirs, ours), common);
        }
    }
}
