//! Storms, one after the other or several at once, with fresh seeds, until the time is over or one ends badly.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Fault, Plan};
use crate::checks::Coverage;
use crate::world::Tell;

/// How long, and from where.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// The first seed; each storm has the next.
    pub seed: u64,
    /// No more storms than these.
    pub count: u64,
    /// No storm begins after this.
    pub time: Duration,
    /// Storms at once.
    pub jobs: usize,
    /// Instead of the faults of each seed.
    pub faults: Option<Vec<Fault>>,
    /// Instead of all events of each seed.
    pub events: Option<Vec<u32>>,
    /// What is told of each.
    pub tell: Tell,
}

/// One that ended badly.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub plan: Plan,
    /// What was not true.
    pub what: String,
}

impl Failure {
    /// What went wrong, without where: `invariant 7`.
    pub fn kind(&self) -> &str {
        kind(&self.what)
    }

    /// Whether this plan ends badly in the same way.
    pub fn is_of(&self, plan: &Plan) -> bool {
        plan.try_play(Tell::Nothing).is_err_and(|what| kind(&what) == self.kind())
    }
}

fn kind(what: &str) -> &str {
    what.split([':', ';']).next().unwrap_or_default()
}

/// How a swarm ended.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Storms that ended.
    pub storms: u64,
    /// Events of all of them.
    pub events: u64,
    /// The branches they took.
    pub coverage: Coverage,
    /// The one that ended badly; of several at once the one with the least seed.
    pub failure: Option<Failure>,
}

impl Swarm {
    /// The storm of one seed.
    pub fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan::of(seed);
        if let Some(faults) = &self.faults {
            plan.faults = faults.iter().copied().collect();
        }
        if let Some(events) = &self.events {
            plan.events.clone_from(events);
        }
        plan
    }

    /// Plays storms; `progress` hears of each that ends, with how many did.
    pub fn run(&self, progress: impl Fn(u64) + Sync) -> Tally {
        let began = Instant::now();
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let tally = Mutex::new(Tally::default());
        let work = || {
            while !stop.load(Ordering::Relaxed) && began.elapsed() < self.time {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.count {
                    return;
                }
                let plan = self.plan(self.seed.wrapping_add(number));
                let played = plan.try_play(self.tell);
                let mut tally = tally.lock().expect("no job ends while it counts");
                tally.storms += 1;
                match played {
                    Ok((trace, coverage)) => {
                        tally.events += trace.events();
                        tally.coverage.merge(&coverage);
                    }
                    Err(what) => {
                        stop.store(true, Ordering::Relaxed);
                        if tally.failure.as_ref().is_none_or(|failure| failure.plan.seed > plan.seed) {
                            tally.failure = Some(Failure { plan, what });
                        }
                    }
                }
                progress(tally.storms);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(work);
            }
        });
        tally.into_inner().expect("no job ends while it counts")
    }
}
