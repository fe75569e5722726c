//! How many files the process may have open: each connection is one, and what a shell gives is often less than a node may hold.
//!
//! Only what the system allows is asked for, and never less than there was. Without it a node whose port is full can accept nothing,
//! open no file of its store and start no server.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For everything that is no connection of a client: the store, the audit, servers with their pipes, the node's own questions.
const OTHERS: u64 = 1_024;

/// Asks for as many as so many connections need.
pub(super) fn raise(connections: u64) {
    let wanted = connections.saturating_add(OTHERS);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is no limit.
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let most = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }) {
        tracing::warn!(%error, wanted, "the number of open files stays as it is");
    } else if most < wanted {
        tracing::warn!(allowed = most, wanted, "fewer files may be open than connections need");
    }
}
