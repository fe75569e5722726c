//! What can go wrong with the store, each kind telling the operator what to do.

use std::path::{Path, PathBuf};

/// Why the store cannot be opened, read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("data directory {path} is in use by {by}; stop it, or choose another with --data-dir", path = path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Who, as far as it is known.
        by: String,
    },
    /// The directory or a file in it cannot be made, read or written.
    #[error("cannot use data directory {path}: {reason}", path = path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file holds something else than what was written. Nothing of it is served.
    #[error(
        "the store is damaged in {place}: {reason}; restore the data directory from a backup, or move it away to start anew"
    )]
    Damaged {
        /// The table and key, or the part of the file.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// Another build wrote the file. Nothing of it is read, and nothing changed.
    #[error(
        "the store has format {found}, and this build reads format {reads}; start the build that wrote it, or move {file} away to start anew"
    )]
    OtherFormat {
        /// The file, in the data directory.
        file: &'static str,
        /// What it has.
        found: u64,
        /// What this build reads.
        reads: u64,
    },
    /// A write or its fsync failed. The store takes nothing more until it is opened again.
    #[error("the store failed and takes nothing more: {reason}; check the disk and restart the node")]
    Failed {
        /// What the system said.
        reason: String,
    },
    /// The store was closed before.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(super) fn unusable(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::Unusable { path: path.to_owned(), reason: error.to_string() }
    }

    pub(crate) fn damaged(place: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Damaged { place: place.into(), reason: reason.to_string() }
    }

    pub(super) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed { reason: error.to_string() }
    }
}
