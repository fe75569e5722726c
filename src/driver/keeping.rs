//! What a node keeps, as rows of the store, and back: one place for every key.
//!
//! ```text
//! records   node, 32 bytes | incarnation, u64 BE | number, u64 BE    → envelope       a scan is in log order
//! meta      "trust"                                                  → trust state
//!           "incarnation"                                            → u64 BE
//!           "fork/" node, 32 bytes | incarnation, u64 BE             → evidence
//!           "revoked/" zone | "/" | name of the statement            → the statement
//! ```
//!
//! Keys and values are promises to the next start: none of them is changed, new ones may come.

use aop_proto::codec::Wire;
use aop_proto::node::Keep;
use aop_proto::record::{NodeId, Origin};
use futures::stream::{FuturesOrdered, StreamExt as _};
use tokio::sync::{mpsc, oneshot};

use super::News;
use crate::store::{Op, Store, StoreError, Table};

const TRUST_KEY: &[u8] = b"trust";
const INCARNATION_KEY: &[u8] = b"incarnation";
const FORK_PREFIX: &[u8] = b"fork/";
const REVOKED_PREFIX: &[u8] = b"revoked/";

/// What an earlier run left about the node itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The encoded trust state.
    pub trust: Option<Vec<u8>>,
    /// The life of the node's own log.
    pub incarnation: Option<u64>,
    /// Logs of which two contents for one place were shown, with the evidence.
    pub forks: Vec<(Origin, Vec<u8>)>,
    /// Who is believed no more, as it was stated.
    pub revocations: Vec<Vec<u8>>,
}

impl Kept {
    /// Reads the rows of [`Table::Meta`]; what others keep there is left alone.
    pub fn read(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let mut kept = Self::default();
        for (key, value) in rows {
            if key == TRUST_KEY {
                kept.trust = Some(value);
            } else if key == INCARNATION_KEY {
                kept.incarnation = value.try_into().ok().map(u64::from_be_bytes);
            } else if let Some(origin) = key.strip_prefix(FORK_PREFIX).and_then(read_origin) {
                kept.forks.push((origin, value));
            } else if key.starts_with(REVOKED_PREFIX) {
                kept.revocations.push(value);
            }
        }
        kept
    }
}

/// What keeps, or forgets, that.
pub(super) fn op_of(keep: Keep) -> Op {
    match keep {
        Keep::Record(signed) => Op::Put {
            table: Table::Records,
            key: record_key(signed.record.origin(), signed.record.seq),
            value: signed.envelope().into(),
        },
        Keep::Drop(origin, seq) => Op::Delete { table: Table::Records, key: record_key(origin, seq) },
        Keep::Incarnation(incarnation) => keep_incarnation(incarnation),
        Keep::Fork(origin, fork) => keep_fork(origin, fork.encode()),
        Keep::Revocation(said) => {
            put([REVOKED_PREFIX, said.zone.as_bytes(), b"/", said.name().as_bytes()].concat(), said.encode())
        }
        Keep::DropFork(origin) => Op::Delete { table: Table::Meta, key: [FORK_PREFIX, &origin_key(origin)].concat() },
        Keep::Trust(trust) => put(TRUST_KEY.to_vec(), trust.encode()),
    }
}

/// What makes the life of the node's own log durable; nothing is sent in a life before that (I11).
pub fn keep_incarnation(incarnation: u64) -> Op {
    put(INCARNATION_KEY.to_vec(), incarnation.to_be_bytes().to_vec())
}

/// What keeps the evidence against a log, so that its quarantine outlives this run.
pub fn keep_fork(origin: Origin, evidence: Vec<u8>) -> Op {
    put([FORK_PREFIX, &origin_key(origin)].concat(), evidence)
}

fn put(key: Vec<u8>, value: Vec<u8>) -> Op {
    Op::Put { table: Table::Meta, key, value: value.into() }
}

fn origin_key(origin: Origin) -> Vec<u8> {
    [&origin.node.0[..], &origin.incarnation.to_be_bytes()].concat()
}

fn read_origin(key: &[u8]) -> Option<Origin> {
    let (node, incarnation) = key.split_first_chunk()?;
    Some(Origin { node: NodeId(*node), incarnation: u64::from_be_bytes(incarnation.try_into().ok()?) })
}

fn record_key(origin: Origin, seq: u64) -> Vec<u8> {
    [&origin_key(origin)[..], &seq.to_be_bytes()].concat()
}

/// Hands changes to the store in their order, waiting while it is full, and tells the driver in that order what became of them.
pub(super) async fn store_in_order(
    store: Store,
    mut persists: mpsc::Receiver<(u64, Vec<Op>)>,
    news: mpsc::Sender<News>,
) {
    let mut under_way = FuturesOrdered::new();
    loop {
        tokio::select! {
            Some((token, stored)) = under_way.next() => {
                let durable = told(stored);
                // A driver that is gone needs no news.
                let _ = news.send(News::Stored { token, durable }).await;
            }
            next = persists.recv() => {
                let Some((token, ops)) = next else { return };
                let (done, stored) = oneshot::channel();
                // The receiver below lives as long as this task.
                let queued = store.queue(ops, move |result| drop(done.send(result))).await;
                under_way.push_back(async move {
                    match queued {
                        Ok(()) => (token, stored.await.unwrap_or(Err(StoreError::Closed))),
                        Err(error) => (token, Err(error)),
                    }
                });
            }
        }
    }
}

fn told(stored: Result<(), StoreError>) -> bool {
    if let Err(error) = &stored {
        tracing::error!(%error, "store.commit");
    }
    stored.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn origin(node: u8, incarnation: u64) -> Origin {
        Origin { node: NodeId([node; 32]), incarnation }
    }

    #[tokio::test]
    async fn what_is_kept_comes_back_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(Kept::read(store.load(Table::Meta).unwrap()), Kept::default());
        let trust = op_of(Keep::Trust(aop_proto::node::TrustState::default()));
        store.commit(vec![trust, keep_incarnation(7), keep_fork(origin(2, 5), b"two".to_vec())]).await.unwrap();
        // A later life, and more evidence: against another life of the same node, and again against the first.
        let again = keep_fork(origin(2, 5), b"two and two".to_vec());
        store.commit(vec![keep_incarnation(8), keep_fork(origin(2, 6), b"one".to_vec()), again]).await.unwrap();
        store.close();
        let kept = Kept::read(Store::open(directory.path()).unwrap().load(Table::Meta).unwrap());
        assert_eq!(kept.trust, Some(aop_proto::node::TrustState::default().encode()));
        assert_eq!(kept.incarnation, Some(8));
        assert_eq!(kept.forks, [(origin(2, 5), b"two and two".to_vec()), (origin(2, 6), b"one".to_vec())]);
    }

    #[test]
    fn rows_of_others_are_left_alone() {
        let rows = vec![
            (b"admin".to_vec(), b"x".to_vec()),
            (b"fork/short".to_vec(), b"x".to_vec()),
            (INCARNATION_KEY.to_vec(), b"not a number".to_vec()),
        ];
        assert_eq!(Kept::read(rows), Kept::default());
    }

    #[test]
    fn records_are_stored_in_log_order() {
        let mut keys = vec![
            record_key(origin(1, 2), 1),
            record_key(origin(1, 1), 256),
            record_key(origin(1, 1), 255),
            record_key(origin(2, 0), 0),
        ];
        keys.sort();
        let order = [(1, 1, 255), (1, 1, 256), (1, 2, 1), (2, 0, 0)];
        assert_eq!(keys, order.map(|(node, incarnation, seq)| record_key(origin(node, incarnation), seq)));
    }
}
