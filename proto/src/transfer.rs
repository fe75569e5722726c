//! A zone as a file: what a fellow replica would be told by gossip, whole or what is missing above a vector, in the same frames.
//!
//! ```text
//!  bundle   Bundle │ Vector │ Revoked … │ Ranges … │ Fork … │ BundleEnd        each a frame of `wire`, one after the other
//!           zone,    what     who is      logs, and  why logs   SHA-256 over
//!           key      it leads believed    why they   are not    all of it
//!                    to       no more     may speak  believed
//! ```
//!
//! Not here: what is believed of it, which is the taking node's to say, by the rules by which it believes a fellow. What must hold: a
//! file that lacks a byte, has one more or another one is told from a whole one before anything of it is taken; and neither side holds
//! more of it in memory than a frame.

use std::collections::{BTreeMap, VecDeque};

use sha2::{Digest as _, Sha256};

use crate::record::{Certificate, NodeId, Origin};
use crate::registry::Missing;
use crate::wire::message::{Bundle, BundleEnd, Message, Ranges, Vector};
use crate::wire::{FrameError, HEADER_BYTES, length_of};

/// A zone at one moment, to be written frame by frame. Records are shared with the node, so it costs a pointer each.
#[derive(Debug)]
pub struct Export {
    /// Bundle, Vector, Revoked.
    first: VecDeque<Message>,
    logs: VecDeque<Missing>,
    /// Why the origins of logs that are told from their beginning may speak.
    chains: BTreeMap<NodeId, Vec<Certificate>>,
    /// Forks.
    last: VecDeque<Message>,
    frames: u64,
    hash: Sha256,
    is_over: bool,
}

impl Export {
    /// The file that these make, whatever they say: for those who write bundles that no node would.
    pub fn of(messages: Vec<Message>) -> Self {
        Self::new(messages, Vec::new(), BTreeMap::new(), Vec::new())
    }

    pub(crate) fn new(
        first: Vec<Message>,
        logs: Vec<Missing>,
        chains: BTreeMap<NodeId, Vec<Certificate>>,
        last: Vec<Message>,
    ) -> Self {
        Self {
            first: first.into(),
            logs: logs.into(),
            chains,
            last: last.into(),
            frames: 0,
            hash: Sha256::new(),
            is_over: false,
        }
    }

    fn next_message(&mut self) -> Option<Message> {
        if let Some(message) = self.first.pop_front() {
            return Some(message);
        }
        let ranges = Missing::cut(&mut self.logs);
        if ranges.is_empty() {
            return self.last.pop_front();
        }
        let begun = ranges.iter().filter(|range| range.from_exclusive == 0);
        let chains = begun.filter_map(|range| self.chains.get(&range.origin.node).cloned()).collect();
        Some(Ranges { ranges, chains, more: false, hop: 0 }.into())
    }
}

impl Iterator for Export {
    type Item = Vec<u8>;

    /// The next frame of the file.
    fn next(&mut self) -> Option<Vec<u8>> {
        if self.is_over {
            return None;
        }
        // What no frame can hold is left out, as it is between fellows.
        while let Some(message) = self.next_message() {
            if let Some(frame) = message.try_encode() {
                self.frames += 1;
                self.hash.update(&frame);
                return Some(frame);
            }
        }
        self.is_over = true;
        let end = BundleEnd { frames: self.frames, hash: self.hash.clone().finalize().into() };
        Some(Message::from(end).encode())
    }
}

/// Bytes that are no bundle, or not all of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// It does not begin as one.
    #[error("it is not a bundle")]
    NoBundle,
    /// A frame is none, or of another version.
    #[error("it is damaged: {0}")]
    Frame(#[from] FrameError),
    /// A frame that has no place there.
    #[error("it is damaged: a frame `{0}` has no place there")]
    Misplaced(&'static str),
    /// It ends too early.
    #[error("it is cut off: its end is missing")]
    Cut,
    /// A byte of it is another one, or frames are missing.
    #[error("it is damaged: its end does not fit what is before it")]
    Hash,
    /// Something stands behind its end.
    #[error("it is damaged: it goes on behind its end")]
    Longer,
}

/// Where a reader is in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Before its first frame.
    #[default]
    Beginning,
    /// Before its vector.
    Opened,
    /// Among its logs.
    Within,
    /// Behind its last frame.
    Over,
}

/// Reads a bundle in whatever pieces it comes, and knows at its end whether it was whole.
#[derive(Debug, Default)]
pub struct Reader {
    place: Place,
    /// The frame that is coming: no longer than a frame may be, and no longer than what has come of it.
    frame: Vec<u8>,
    frames: u64,
    hash: Sha256,
}

impl Reader {
    /// Takes bytes off the front of `bytes`, up to the end of one frame, which is returned once it is whole.
    ///
    /// # Errors
    /// [`Damaged`]; the rest of the bytes means nothing then.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Message>, Damaged> {
        if self.place == Place::Over && !bytes.is_empty() {
            return Err(Damaged::Longer);
        }
        self.fill(HEADER_BYTES, bytes);
        let Some(header) = self.frame.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = length_of(header).map_err(|error| self.no_frame(error))?;
        self.fill(HEADER_BYTES + length, bytes);
        if self.frame.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        let message = Message::decode(&self.frame).map_err(|error| self.no_frame(error))?;
        self.place = self.follow(&message)?;
        self.frames += 1;
        self.hash.update(&self.frame);
        self.frame.clear();
        Ok(Some(message))
    }

    /// Says whether that was all of it.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn end(&self) -> Result<(), Damaged> {
        match self.place {
            Place::Over => Ok(()),
            Place::Beginning => Err(Damaged::NoBundle),
            Place::Opened | Place::Within => Err(Damaged::Cut),
        }
    }

    fn fill(&mut self, length: usize, bytes: &mut &[u8]) {
        let wanted = length.saturating_sub(self.frame.len()).min(bytes.len());
        let (taken, rest) = bytes.split_at(wanted);
        self.frame.extend_from_slice(taken);
        *bytes = rest;
    }

    fn no_frame(&self, error: FrameError) -> Damaged {
        if self.place == Place::Beginning { Damaged::NoBundle } else { Damaged::Frame(error) }
    }

    fn follow(&self, message: &Message) -> Result<Place, Damaged> {
        match (self.place, message) {
            (Place::Beginning, Message::Bundle(_)) => Ok(Place::Opened),
            (Place::Beginning, _) => Err(Damaged::NoBundle),
            (Place::Opened, Message::Vector(vector)) if vector.buckets == u64::MAX => Ok(Place::Within),
            (Place::Within, Message::Revoked(_) | Message::Ranges(_) | Message::Fork(_) | Message::Unknown(_)) => {
                Ok(Place::Within)
            }
            (Place::Within, Message::BundleEnd(end)) => {
                let hash: [u8; 32] = self.hash.clone().finalize().into();
                if (end.frames, end.hash) == (self.frames, hash) { Ok(Place::Over) } else { Err(Damaged::Hash) }
            }
            (_, message) => Err(Damaged::Misplaced(message.name())),
        }
    }
}

/// What a bundle is, read from its first frames, and what one node looks for in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Its first frame.
    pub bundle: Bundle,
    /// Where it leads to, by origin.
    pub vector: Vec<(Origin, u64)>,
    /// Certificates of the node that looks.
    pub chain: Option<Vec<Certificate>>,
}

/// An [`Opening`] as it is read.
#[derive(Debug)]
pub struct Look {
    node: Option<NodeId>,
    bundle: Option<Bundle>,
    vector: Vec<(Origin, u64)>,
    chain: Option<Vec<Certificate>>,
}

impl Look {
    /// Looks for what a bundle is, and for the certificates of `node`, where one is named.
    pub const fn new(node: Option<NodeId>) -> Self {
        Self { node, bundle: None, vector: Vec::new(), chain: None }
    }

    /// Looks at the next frame.
    pub fn at(&mut self, message: Message) {
        match message {
            Message::Bundle(bundle) => self.bundle = Some(bundle),
            Message::Vector(Vector { entries, .. }) => self.vector = entries,
            Message::Ranges(ranges) => {
                let is_own = |chain: &Vec<Certificate>| chain.last().map(|last| last.node) == self.node;
                self.chain = self.chain.take().or_else(|| ranges.chains.into_iter().find(is_own));
            }
            _ => {}
        }
    }

    /// What was found.
    ///
    /// # Errors
    /// [`Damaged::NoBundle`] when nothing was.
    pub fn found(self) -> Result<Opening, Damaged> {
        let Self { bundle, vector, chain, .. } = self;
        Ok(Opening { bundle: bundle.ok_or(Damaged::NoBundle)?, vector, chain })
    }
}
