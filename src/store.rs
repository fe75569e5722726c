//! What the node must not forget: five tables of bytes, in one file.
//!
//! ```text
//!  commit / queue ───▶ bounded queue ──▶ one writer thread: takes all that waits, one transaction, one fsync ──▶ all acknowledged
//!  load ◀── every value checked against its own hash, every table against its own count
//! ```
//!
//! It knows no meaning of what it keeps. What must always hold: what was acknowledged survives the death of the process and of
//! the machine; what is damaged is named and never served, and a table never comes back shorter without an error; after one
//! failed write nothing is acknowledged any more, because nobody can know what reached the disk.

mod backend;
mod disk;
mod error;
mod memory;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub use self::error::StoreError;

use self::backend::Rows;
use self::writer::Writer;

/// One of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Single values of the node itself, by name.
    Meta,
    /// Signed records, by their dot.
    Records,
    /// Registered upstream servers, by name; JSON.
    Servers,
    /// Pinned definitions and keys, by name.
    Pins,
    /// Calls under idempotency keys, by what their home makes of the key.
    Calls,
}

impl Table {
    /// All of them, in the order of their names' first use.
    pub const ALL: [Self; 5] = [Self::Meta, Self::Records, Self::Servers, Self::Pins, Self::Calls];

    /// Its name in the file, in errors and in hashes; never changed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Records => "records",
            Self::Servers => "servers",
            Self::Pins => "pins",
            Self::Calls => "calls",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets a key, new or not.
    Put {
        /// Where.
        table: Table,
        /// Under which key.
        key: Vec<u8>,
        /// To what.
        value: Bytes,
    },
    /// Removes a key, there or not.
    Delete {
        /// Where.
        table: Table,
        /// Which key.
        key: Vec<u8>,
    },
}

impl Op {
    /// What it weighs in the queue.
    fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key, .. } => key.len(),
        }
    }
}

/// The store of one node. Clones share it; it is closed by [`Store::close`], or when the last clone is dropped.
#[derive(Clone)]
pub struct Store(Arc<Writer>);

impl Store {
    /// Opens the store in that directory, making both where there are none.
    ///
    /// Blocks while the file is checked: about a tenth of a second for 100,000 records.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Unusable`] when the directory cannot be written, [`StoreError::Damaged`].
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Ok(Self::over(Arc::new(disk::Disk::open(directory)?)))
    }

    /// A store that forgets everything with the process.
    pub fn memory() -> Self {
        Self::over(Arc::new(memory::Memory::default()))
    }

    fn over(backend: Arc<dyn backend::Backend>) -> Self {
        Self(Arc::new(Writer::start(backend)))
    }

    /// All keys and values of a table, in the order of the keys. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] naming table and key: then nothing of the table is given. [`StoreError::Closed`].
    pub fn load(&self, table: Table) -> Result<Rows, StoreError> {
        self.0.backend()?.load(table)
    }

    /// Makes these changes, all or none, and returns when they are durable. Waits while the queue is full.
    ///
    /// Dropping the future after its first poll leaves the changes to be made or not.
    ///
    /// # Errors
    /// [`StoreError::Failed`]: nothing was acknowledged and nothing will be. [`StoreError::Closed`].
    pub async fn commit(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        let (done, acknowledged) = tokio::sync::oneshot::channel();
        // Whoever stopped waiting does not want to know.
        self.0.queue(ops, move |result| drop(done.send(result))).await?;
        acknowledged.await.unwrap_or(Err(StoreError::Closed))
    }

    /// The same, returning as soon as the changes are queued: `done` is called on the writer's thread, when they are durable or have
    /// failed. It must be quick and must not block. Changes queued one after the other are made in that order.
    ///
    /// # Errors
    /// [`StoreError::Closed`]. `done` is not called then.
    pub async fn queue(
        &self,
        ops: Vec<Op>,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) -> Result<(), StoreError> {
        self.0.queue(ops, done).await
    }

    /// Whether the store still takes changes.
    ///
    /// # Errors
    /// What made it stop.
    pub fn health(&self) -> Result<(), StoreError> {
        self.0.health()
    }

    /// Finishes what is queued, joins the thread and lets go of the directory. Blocks; a second call does nothing.
    pub fn close(&self) {
        self.0.close();
    }
}
