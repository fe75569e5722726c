//! A store as its node sees it: writes are durable in the order they were asked for, some time later; a crash takes what was not
//! durable, or a part of it that nobody was told about.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use aop_proto::codec::Wire;
use aop_proto::node::{Keep, Restored};
use aop_proto::record::{NodeId, Origin, Revocation, SignedRef};
use aop_proto::selection::Chance;
use aop_proto::wire::message::Fork;

/// Records by log and number.
pub(crate) type Records = BTreeMap<(Origin, u64), SignedRef>;

/// One host's store. A clone is a backup.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    /// What many stores began with, held once.
    base: Arc<Records>,
    /// What came since; `None` where something of the base is forgotten.
    since: BTreeMap<(Origin, u64), Option<SignedRef>>,
    trust: Option<Vec<u8>>,
    incarnation: Option<u64>,
    forks: BTreeMap<Origin, Fork>,
    revocations: BTreeMap<(String, String), Revocation>,
    pending: VecDeque<(u64, Vec<Keep>)>,
}

impl Disk {
    /// The incarnation its node is to go on under, when it was told one.
    pub(crate) const fn incarnation(&self) -> Option<u64> {
        self.incarnation
    }

    /// A store that holds this from its beginning.
    pub(crate) fn holding(base: Arc<Records>, trust: Vec<u8>) -> Self {
        Self { base, trust: Some(trust), ..Self::default() }
    }

    /// Takes a write on its way.
    pub(crate) fn write(&mut self, token: u64, keep: Vec<Keep>) {
        self.pending.push_back((token, keep));
    }

    /// The oldest write is durable; its token. A store that is not `kept` forgets at once: nobody will start on it again.
    pub(crate) fn sync(&mut self, kept: bool) -> Option<u64> {
        let (token, keep) = self.pending.pop_front()?;
        if kept {
            self.apply(keep);
        }
        Some(token)
    }

    /// Power is lost. Some of what was on its way has reached the plates all the same, in order.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        for _ in 0..chance.below(self.pending.len() as u64 + 1) {
            self.sync(true);
        }
        self.pending.clear();
    }

    /// What stands on the plates now, for another day.
    pub(crate) fn backup(&self) -> Self {
        Self { pending: VecDeque::new(), ..self.clone() }
    }

    fn apply(&mut self, keep: Vec<Keep>) {
        for keep in keep {
            match keep {
                Keep::Record(signed) => {
                    self.since.insert((signed.record.origin(), signed.record.seq), Some(signed));
                }
                Keep::Drop(origin, seq) => {
                    if self.base.contains_key(&(origin, seq)) {
                        self.since.insert((origin, seq), None);
                    } else {
                        self.since.remove(&(origin, seq));
                    }
                }
                Keep::Incarnation(incarnation) => self.incarnation = Some(incarnation),
                Keep::Fork(origin, fork) => {
                    self.forks.insert(origin, fork);
                }
                Keep::Revocation(said) => {
                    self.revocations.insert((said.zone.clone(), said.name()), said);
                }
                Keep::DropFork(origin) => _ = self.forks.remove(&origin),
                Keep::Trust(trust) => self.trust = Some(trust.encode()),
            }
        }
    }

    /// What is on the plates.
    pub(crate) fn records(&self) -> Records {
        let base = self.base.iter().filter(|(place, _)| !self.since.contains_key(place));
        let since = self.since.iter().filter_map(|(place, signed)| Some((place, signed.as_ref()?)));
        base.chain(since).map(|(place, signed)| (*place, signed.clone())).collect()
    }

    /// What is on the plates of one node's logs, by life and number, with what was overwritten and not dropped yet.
    pub(crate) fn records_of(&self, node: NodeId) -> Vec<SignedRef> {
        let lives = |incarnation, seq| (Origin { node, incarnation }, seq);
        let lives = lives(0, 0)..=lives(u64::MAX, u64::MAX);
        let mut records: BTreeMap<_, _> = self.base.range(lives.clone()).collect();
        for (place, signed) in self.since.range(lives) {
            match signed {
                Some(signed) => _ = records.insert(place, signed),
                None => _ = records.remove(place),
            }
        }
        records.into_values().cloned().collect()
    }

    /// Puts other records on the plates.
    pub(crate) fn replace_records(&mut self, records: Records) {
        (self.base, self.since) = (Arc::new(records), BTreeMap::new());
    }

    /// What a node that starts on this store gets.
    pub(crate) fn restored(&self) -> Restored {
        let records = self.records().into_values().collect();
        let (forks, revocations) = (self.forks.values().cloned(), self.revocations.values().cloned());
        Restored { records, trust: self.trust.clone(), forks: forks.collect(), revocations: revocations.collect() }
    }
}
