//! Who did what to this node and through it, to be told afterwards: one line of JSON an event, only ever appended.
//!
//! ```text
//!  record ─▶ bounded queue ─▶ one writer thread ─▶ audit.jsonl ─▶ audit.jsonl.1 … audit.jsonl.KEEP
//!                                                      ▲ read: from the end          ▲ verify: from the beginning
//! ```
//!
//! Not the log for operators, which may be filtered and lost. Never in it: arguments, results, secrets. What must always hold: what
//! was acknowledged as durable is on the disk; every event has a number, so that what could not be written leaves a gap; every line
//! names the hash of the line before it, over files and restarts, so that a cut or an edit is seen. Whoever may write the files may
//! write all of them anew; against that helps only a copy elsewhere.

mod backwards;
mod chain;
mod entry;
mod files;
mod read;
mod ring;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::OwnedSemaphorePermit;

pub use chain::{Broken, Verified};
pub use entry::{Entry, Event};
pub use read::{ENTRIES_MAX, Page, Query};

use crate::clock::Clock;
use files::Files;
use ring::Ring;
use writer::Writer;

/// Bytes of one file: default, least, most.
pub const FILE_BYTES: (u64, u64, u64) = (64 << 20, 1 << 20, 1 << 30);
/// Full files that are kept beside the one that is written: default, least, most.
pub const KEEP: (u64, u64, u64) = (8, 1, 100);

/// How much is kept, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of one file, within [`FILE_BYTES`].
    pub file_bytes_max: u64,
    /// Full files kept, within [`KEEP`].
    pub keep: u64,
    /// Whether calls are written down at all.
    pub calls: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { file_bytes_max: FILE_BYTES.0, keep: KEEP.0, calls: true }
    }
}

/// Why something could not be written down, or read again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The files cannot be opened.
    #[error("the audit in {path} cannot be opened: {reason}", path = path.display())]
    Unusable {
        /// The data directory.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A write failed; it is tried again, and until then nothing is acknowledged.
    #[error("the audit cannot be written: {reason}")]
    Failed {
        /// What the system said.
        reason: String,
    },
    /// The files cannot be read.
    #[error("the audit cannot be read: {reason}")]
    Unread {
        /// What the system said.
        reason: String,
    },
    /// The node is stopping.
    #[error("the audit is closed")]
    Closed,
}

/// The audit of one node. Clones share it.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    kept: Kept,
    calls: bool,
    clock: Clock,
    counts: [AtomicU64; Event::ALL.len()],
}

/// Where entries go.
enum Kept {
    Disk(Writer),
    Memory(Ring),
}

/// Room for one entry. Whoever holds it writes down without waiting, also while it is being dropped.
pub struct Slot {
    audit: Audit,
    room: Option<OwnedSemaphorePermit>,
}

impl Audit {
    /// The audit of a data directory; what a crash left of a last line is cut off. Blocks.
    ///
    /// # Errors
    /// [`AuditError::Unusable`].
    pub fn open(dir: &Path, settings: Settings, clock: Clock) -> Result<Self, AuditError> {
        let unusable = |error: std::io::Error| AuditError::Unusable { path: dir.to_owned(), reason: error.to_string() };
        let (files, head) = Files::open(dir, settings).map_err(unusable)?;
        Ok(Self::over(Kept::Disk(Writer::start(files, head)), settings.calls, clock))
    }

    /// One that keeps the last events only, and forgets them with the process.
    pub fn memory(settings: Settings, clock: Clock) -> Self {
        Self::over(Kept::Memory(Ring::default()), settings.calls, clock)
    }

    fn over(kept: Kept, calls: bool, clock: Clock) -> Self {
        Self(Arc::new(Inner { kept, calls, clock, counts: Default::default() }))
    }

    /// Room for one entry, before what it tells is begun: a node that cannot keep up with its audit does less. Waits while the queue
    /// is full.
    pub async fn reserve(&self) -> Slot {
        let room = match &self.0.kept {
            Kept::Disk(writer) => writer.room().await,
            Kept::Memory(_) => None,
        };
        Slot { audit: self.clone(), room }
    }

    /// Writes an event down, within a second. Waits while the queue is full.
    pub async fn record(&self, entry: Entry) {
        self.reserve().await.record(entry);
    }

    /// Writes an event down and returns when it is on the disk, with everything recorded before it.
    ///
    /// # Errors
    /// [`AuditError::Failed`]: it may still be written when the disk works again. [`AuditError::Closed`].
    pub async fn record_durable(&self, entry: Entry) -> Result<(), AuditError> {
        let at_ms = self.count(&entry);
        match &self.0.kept {
            Kept::Disk(writer) => writer.durable(Some((at_ms, entry))).await.map(|_| ()),
            Kept::Memory(ring) => {
                ring.push(at_ms, &entry);
                Ok(())
            }
        }
    }

    /// Returns when everything recorded before is on the disk.
    ///
    /// # Errors
    /// As [`Self::record_durable`].
    pub async fn settle(&self) -> Result<(), AuditError> {
        match &self.0.kept {
            Kept::Disk(writer) => writer.durable(None).await.map(|_| ()),
            Kept::Memory(_) => Ok(()),
        }
    }

    /// Whether what happens now can be written down.
    ///
    /// # Errors
    /// Why not.
    pub fn health(&self) -> Result<(), AuditError> {
        match &self.0.kept {
            Kept::Disk(writer) => writer.health(),
            Kept::Memory(_) => Ok(()),
        }
    }

    /// The newest entries that fit the query, the oldest of them first; everything recorded before is seen.
    ///
    /// # Errors
    /// [`AuditError::Unread`], [`AuditError::Closed`]. While nothing can be written, what was written is read.
    pub async fn read(&self, query: Query) -> Result<Page, AuditError> {
        match &self.0.kept {
            Kept::Disk(writer) => writer.read(query).await,
            Kept::Memory(ring) => read::select(ring.newest_first().into_iter().map(Ok), &query).map_err(unread),
        }
    }

    /// Whether every line that is kept follows the one before it, up to the last that was written.
    ///
    /// # Errors
    /// [`AuditError::Failed`], [`AuditError::Unread`], [`AuditError::Closed`]: then nothing is known.
    pub async fn verify(&self) -> Result<Verified, AuditError> {
        match &self.0.kept {
            Kept::Disk(writer) => writer.verify().await,
            Kept::Memory(ring) => Ok(ring.verify()),
        }
    }

    /// Events recorded since the start, by name.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = Event::ALL.iter().zip(&self.0.counts);
        counts.map(|((name, _), count)| (*name, count.load(Ordering::Relaxed))).collect()
    }

    /// Writes that failed and events that could not be kept, since the start.
    pub fn errors(&self) -> u64 {
        match &self.0.kept {
            Kept::Disk(writer) => writer.errors(),
            Kept::Memory(_) => 0,
        }
    }

    /// Writes what waits and joins the thread. Blocks; a second call does nothing.
    pub fn close(&self) {
        if let Kept::Disk(writer) = &self.0.kept {
            writer.close();
        }
    }

    /// Counts an event and gives its time.
    fn count(&self, entry: &Entry) -> u64 {
        self.0.counts[entry.event() as usize].fetch_add(1, Ordering::Relaxed);
        self.0.clock.now().wall_ms
    }
}

impl Slot {
    /// Writes an event down, within a second. Calls are left out where the operator said so.
    pub fn record(self, entry: Entry) {
        let Self { audit, room } = self;
        if entry.event() == Event::Called && !audit.0.calls {
            return;
        }
        let at_ms = audit.count(&entry);
        match &audit.0.kept {
            Kept::Disk(writer) => writer.queue(at_ms, entry, room),
            Kept::Memory(ring) => ring.push(at_ms, &entry),
        }
    }
}

fn unread(error: std::io::Error) -> AuditError {
    AuditError::Unread { reason: error.to_string() }
}
