//! What must hold at every moment, whatever the faults: the eleven invariants of a zone of replicas. A violation ends the run and
//! names its number.
//!
//! ```text
//!  1  through, floor, incarnation, own seq and clock never decrease      order, stamps
//!  2  no dot names two contents, unless its origin is quarantined       truth
//!  3  through = s: exactly the origin's live records up to s            logs
//!  4  what is shown is what the logs say; equal vectors, equal all      shows
//!  5  deleted stays deleted                                             logs
//!  6  calm, connected, nothing written: one hash within the bound       calm
//!  7  acknowledged writes survive                                       promises
//!  8  everything that is held is bounded                                resources
//!  9  membership tells the truth within the bound                       calm
//! 10  no answer is older than it says, or from where it may not come     answers, past
//! 11  every branch is taken by some seed                                coverage
//! ```
//!
//! Nothing here asks a node what it thinks of itself: `truth` is fed by what origins made durable, and every other host is held
//! against it. What is looked at follows what changed; [`Watch::Digests`] leaves out whatever grows with the square of the hosts.

mod answers;
mod calm;
mod coverage;
mod logs;
mod order;
mod past;
mod promises;
mod resources;
mod shows;
mod stamps;
mod truth;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aop_proto::node::{Keep, Wrote};
use aop_proto::record::{NodeId, SignedRef};
use aop_proto::view::View;

pub use calm::Bounds;
pub use coverage::Coverage;

use crate::host::{Answered, Host};
use crate::world::Watch;

/// An invariant that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Violation {
    number: u8,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.number, self.what)
    }
}

/// Whether an invariant holds.
pub(crate) type Verdict = Result<(), Violation>;

/// `Err` with that invariant's number unless it holds.
fn ensure(holds: bool, number: u8, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation { number, what: what() }) }
}

/// All checks of one world, and what they remember.
#[derive(Debug)]
pub(crate) struct Checks {
    pub(crate) watch: Watch,
    pub(crate) bounds: Bounds,
    pub(crate) coverage: Coverage,
    truth: truth::Truth,
    order: order::Order,
    stamps: stamps::Stamps,
    shows: shows::Shows,
    promises: promises::Promises,
    resources: resources::Resources,
    answers: answers::Answers,
    calm: calm::Calm,
    /// Records on their way to a disk, by host and token.
    unsettled: BTreeMap<(usize, u64), Vec<SignedRef>>,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            watch: Watch::Everything,
            bounds: Bounds::default(),
            coverage: Coverage::default(),
            truth: truth::Truth::default(),
            order: order::Order::default(),
            stamps: stamps::Stamps::default(),
            shows: shows::Shows::default(),
            promises: promises::Promises::default(),
            resources: resources::Resources::default(),
            answers: answers::Answers::default(),
            calm: calm::Calm::default(),
            unsettled: BTreeMap::new(),
        }
    }
}

impl Checks {
    fn judge(verdict: Verdict) {
        if let Err(violation) = verdict {
            panic!("{violation}");
        }
    }

    fn full(&self) -> bool {
        self.watch == Watch::Everything
    }

    /// Something happened to the world from outside: bounds are measured from here.
    pub(crate) fn disturbed(&mut self, time: Duration) {
        self.calm.disturbed(time);
    }

    /// How long until no log is held back because of its stamp.
    pub(crate) fn held_back(&self, time: Duration, hosts: &[Host]) -> Duration {
        self.calm.held_back(time, hosts)
    }

    /// Before the world began, this was durable everywhere.
    pub(crate) fn founded(&mut self, signed: &SignedRef) {
        Self::judge(self.truth.write(signed));
    }

    /// Bytes are changed on their way: what is not signed may say anything from now on.
    pub(crate) const fn garbled(&mut self) {
        self.answers.garbled = true;
    }

    /// A host stands still for so long, or what is said to it.
    pub(crate) fn stands_still(&mut self, time: Duration) {
        self.answers.stood_still = self.answers.stood_still.max(time);
    }

    /// What this node says is not believed by anybody, and not held against it either.
    pub(crate) fn hostile(&mut self, node: NodeId) {
        self.truth.distrust(node);
        self.answers.past.forget(node);
    }

    /// From now on something may be hidden from somebody.
    pub(crate) const fn hides(&mut self) {
        self.answers.hidden = true;
    }

    /// What a node shows is something else from now on.
    pub(crate) fn shows(&mut self, host: &Host, time: Duration) {
        if self.full()
            && !host.hostile
            && let Some(node) = &host.node
        {
            self.answers.past.shows(&node.view(), time);
        }
    }

    /// A disk is gone, with everything it promised.
    pub(crate) fn lost_disk(&mut self, number: usize, node: NodeId) {
        self.truth.forgets(node);
        self.coverage.hit("disk lost");
        self.order.forget(number);
        self.promises.forget(number);
    }

    /// A host's disk is what it was some time ago: it may write numbers again that are known, which is a fork to be healed.
    pub(crate) fn rewound(&mut self, number: usize, node: NodeId) {
        self.coverage.hit("old disk");
        self.lost_disk(number, node);
        self.truth.excuse(node);
    }

    /// A node stands on what its store held, and has not spoken yet.
    pub(crate) fn started(&mut self, number: usize, host: &Host, time: Duration) {
        self.disturbed(time);
        self.answers.hidden |= host.spec.guarded || !host.spec.rules.is_empty();
        self.shows(host, time);
        if self.watch == Watch::Nothing || host.hostile {
            return;
        }
        let Some(node) = &host.node else { return };
        // What reached the plates in the crash itself was never acknowledged, and is written all the same: from the plates, since the
        // node holds nothing of what was overwritten there.
        for signed in &host.disk.records_of(host.id) {
            Self::judge(self.truth.write(signed));
        }
        Self::judge(self.promises.restarted(number, host));
        if self.full() {
            Self::judge(self.order.restarted(number, node, &self.truth));
            self.stamps.restarted(number, host.id, node);
        }
    }

    /// A node is gone, and what was not durable with it.
    pub(crate) fn stopped(&mut self, number: usize, time: Duration) {
        self.disturbed(time);
        self.unsettled.retain(|(host, _), _| *host != number);
        self.order.crashed(number);
    }

    /// A node wants this kept.
    pub(crate) fn persist(&mut self, number: usize, host: &Host, token: u64, keep: &[Keep], time: Duration) {
        if self.watch == Watch::Nothing || host.hostile {
            return;
        }
        let kept = keep.iter().filter_map(|keep| if let Keep::Record(signed) = keep { Some(signed) } else { None });
        let wanted = kept.filter(|signed| self.full() || signed.record.node() == host.id);
        let records: Vec<SignedRef> = wanted.cloned().collect();
        for signed in &records {
            self.coverage.record(signed);
            if signed.record.node() != host.id {
                Self::judge(self.truth.hold(number, signed));
            }
            if self.full() {
                Self::judge(self.stamps.kept(number, host.id, signed));
            }
            if !self.truth.is_honest(signed.record.node()) {
                self.calm.heard(signed.record.zone(), time);
            }
        }
        if keep.iter().any(|keep| matches!(keep, Keep::Fork(origin, _) if !self.truth.is_honest(origin.node))) {
            self.calm.heard(&host.spec.zone, time);
        }
        if !records.is_empty() {
            self.unsettled.insert((number, token), records);
        }
    }

    /// It is kept, and the node is about to hear so: from now on everybody may have it.
    pub(crate) fn persisted(&mut self, number: usize, host: &Host, token: u64, time: Duration) {
        for signed in self.unsettled.remove(&(number, token)).unwrap_or_default() {
            if signed.record.node() == host.id {
                Self::judge(self.truth.write(&signed));
                self.calm.wrote(&signed, time);
                Self::judge(order::is_of_durable_life(number, host, &signed));
            }
            if self.full() {
                self.order.durable(number, &signed);
            }
        }
    }

    /// A write was acknowledged.
    pub(crate) fn wrote(&mut self, number: usize, host: &Host, wrote: &Wrote) {
        if self.watch != Watch::Nothing && !host.hostile {
            self.promises.acknowledged(number, host, wrote);
        }
    }

    /// A host sends a frame.
    pub(crate) fn sent(&mut self, from: &Host, to: &Host, bytes: &[u8], time: Duration) {
        if self.watch == Watch::Nothing {
            return;
        }
        self.coverage.frame(bytes);
        if self.full() {
            Self::judge(self.answers.sent(from, to, bytes, time));
        }
        if self.full() && !from.hostile {
            Self::judge(self.truth.relayed(&from.spec.address, bytes));
        }
    }

    /// A host showed its readers a new view.
    pub(crate) fn view(&mut self, number: usize, host: &Host, view: &View) {
        let Some(node) = host.node.as_ref().filter(|_| self.watch != Watch::Nothing && !host.hostile) else { return };
        self.answers.viewed(view);
        if !self.full() {
            return;
        }
        self.coverage.view(view);
        Self::judge(logs::deleted(number, view, &self.truth, &self.order));
        let vector = node.registry().vector();
        let changed = self.order.changed(number, host.life, &vector);
        Self::judge(self.order.advance(number, host.life, &vector, &self.truth));
        Self::judge(self.shows.log_changes(number, node, &changed, &mut self.truth));
        Self::judge(self.shows.view(number, node, view, &vector));
    }

    /// A host answered a door.
    pub(crate) fn answered(&mut self, number: usize, answered: &Answered, hosts: &[Host], time: Duration) {
        if self.watch != Watch::Nothing && !hosts[number].hostile {
            self.coverage.answer(answered);
            Self::judge(self.answers.answered(number, answered, hosts, time));
        }
    }

    /// A node has nothing more to say for now.
    pub(crate) fn drained(&mut self, number: usize, host: &Host) {
        if self.watch != Watch::Nothing && !host.hostile {
            Self::judge(self.resources.look(number, host, self.watch, &mut self.coverage));
        }
    }

    /// Everything that can be compared across hosts.
    pub(crate) fn all(&mut self, time: Duration, hosts: &[Host]) {
        if self.watch == Watch::Nothing {
            return;
        }
        if self.full() {
            Self::judge(self.promises.everywhere(time, hosts, &self.truth));
            Self::judge(self.logs_of_all(hosts));
            Self::judge(self.calm.forks(time, hosts, &self.bounds, &self.truth));
            Self::judge(self.calm.members(time, hosts, &self.bounds));
        }
        Self::judge(self.calm.equal(time, hosts, &self.bounds));
    }

    /// Every log of every host whose vector moved without a view, or whose view moved without its vector.
    fn logs_of_all(&mut self, hosts: &[Host]) -> Verdict {
        for (number, host) in hosts.iter().enumerate().filter(|(_, host)| !host.hostile) {
            let Some(node) = &host.node else { continue };
            let digest = node.registry().digest();
            if !self.shows.moved(number, host.life, digest) {
                continue;
            }
            let vector = node.registry().vector();
            self.order.advance(number, host.life, &vector, &self.truth)?;
            let all: Vec<_> = vector.iter().map(|(origin, _)| *origin).collect();
            self.shows.log_changes(number, node, &all, &mut self.truth)?;
        }
        Ok(())
    }
}
