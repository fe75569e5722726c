//! A store as its node sees it: writes are durable in the order they were asked for, some time later; a crash takes what was not
//! durable, or a part of it that nobody was told about.

use std::collections::{BTreeMap, VecDeque};

use aop_proto::codec::Wire;
use aop_proto::node::{Keep, Restored};
use aop_proto::record::{Origin, SignedRef};
use aop_proto::selection::Chance;
use aop_proto::trust::Verifier;
use aop_proto::wire::message::Fork;

/// One host's store.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    records: BTreeMap<(Origin, u64), Vec<u8>>,
    trust: Option<Vec<u8>>,
    incarnation: Option<u64>,
    forks: BTreeMap<Origin, Fork>,
    pending: VecDeque<(u64, Vec<Keep>)>,
}

impl Disk {
    /// The incarnation its node is to go on under, when it was told one.
    pub(crate) const fn incarnation(&self) -> Option<u64> {
        self.incarnation
    }

    /// Takes a write on its way.
    pub(crate) fn write(&mut self, token: u64, keep: Vec<Keep>) {
        self.pending.push_back((token, keep));
    }

    /// The oldest write is durable; its token.
    pub(crate) fn sync(&mut self) -> Option<u64> {
        let (token, keep) = self.pending.pop_front()?;
        self.apply(keep);
        Some(token)
    }

    /// Power is lost. Some of what was on its way has reached the plates all the same, in order.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        for _ in 0..chance.below(self.pending.len() as u64 + 1) {
            self.sync();
        }
        self.pending.clear();
    }

    fn apply(&mut self, keep: Vec<Keep>) {
        for keep in keep {
            match keep {
                Keep::Record(signed) => {
                    self.records.insert((signed.record.origin(), signed.record.seq), signed.envelope.to_vec());
                }
                Keep::Drop(origin, seq) => {
                    self.records.remove(&(origin, seq));
                }
                Keep::Incarnation(incarnation) => self.incarnation = Some(incarnation),
                Keep::Fork(origin, fork) => {
                    self.forks.insert(origin, fork);
                }
                Keep::Trust(trust) => self.trust = Some(trust.encode()),
            }
        }
    }

    /// What a node that starts on this store gets.
    pub(crate) fn restored(&self) -> Restored {
        let mut verifier = Verifier::default();
        let read = |bytes: &Vec<u8>| -> SignedRef {
            verifier.open(bytes).expect("only what a node verified or signed is ever written")
        };
        Restored {
            records: self.records.values().map(read).collect(),
            trust: self.trust.clone(),
            forks: self.forks.values().cloned().collect(),
        }
    }
}
