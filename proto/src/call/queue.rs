//! The calls of one tool that wait for their turn at its home.
//!
//! ```text
//!  enter ─▶ room among the running? ─ yes ─▶ runs
//!             │ no: by rank                      │ leave
//!             ▼                                  ▼
//!           waiting, bounded ───── next ──▶ the first of them runs
//! ```
//!
//! One number orders all that wait: the moment of coming, earlier by [`PRIORITY_STEP`] for each step of priority, later by
//! [`FAIR_STEP`] for each other call of the same caller that waits. So priority comes first, age always wins in the end, and whoever
//! brings many at once stands in nobody's way. What must hold: never more run than may, never more wait than may, and whoever is let go
//! was told so.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::params::{FAIR_STEP, PRIORITY, PRIORITY_STEP, QUEUE_HINT_MAX};

/// Names one call in one queue.
pub type Ticket = u64;

/// What becomes of a call that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It runs; it has to leave.
    Runs(Ticket),
    /// It waits. Where there was no room, the one that would have come last is let go for it.
    Waits(Ticket, Option<Ticket>),
    /// It is refused: there is no room. Another attempt may be worth its while after so long.
    Full(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    caller: String,
    priority: u8,
    since: Duration,
}

/// What order is by: the rank, then who came first.
type Place = (i128, Ticket);

/// The queue of one tool.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Most that run at once.
    workers: u32,
    /// Most that wait.
    room: usize,
    running: u32,
    waiting: BTreeMap<Place, Waiting>,
    places: BTreeMap<Ticket, Place>,
    of_caller: BTreeMap<String, u32>,
    paused: bool,
    last: Ticket,
    /// Time one runs, of late.
    run: Option<Duration>,
}

/// One call that waits, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Which.
    pub ticket: Ticket,
    /// Whose.
    pub caller: String,
    /// Its priority.
    pub priority: u8,
    /// For how long.
    pub waited: Duration,
}

impl Queue {
    /// An empty queue: at most `workers` run (at least one) and `room` wait.
    pub fn new(workers: u32, room: usize) -> Self {
        Self {
            workers: workers.max(1),
            room,
            running: 0,
            waiting: BTreeMap::new(),
            places: BTreeMap::new(),
            of_caller: BTreeMap::new(),
            paused: false,
            last: 0,
            run: None,
        }
    }

    /// From now on so many run and wait at most; who runs or waits already stays.
    pub fn resize(&mut self, workers: u32, room: usize) {
        (self.workers, self.room) = (workers.max(1), room);
    }

    /// A call of `caller` comes; the higher its `priority` (see [`PRIORITY`]), the sooner its turn.
    pub fn enter(&mut self, now: Duration, caller: &str, priority: u8) -> Entered {
        self.last += 1;
        let ticket = self.last;
        if self.has_room() && self.waiting.is_empty() {
            self.running += 1;
            return Entered::Runs(ticket);
        }
        let others = self.of_caller.get(caller).copied().unwrap_or(0);
        let place = (rank(now, priority, others), ticket);
        let mut let_go = None;
        if self.waiting.len() >= self.room {
            let Some(last) = self.waiting.last_key_value().map(|(last, _)| *last).filter(|last| *last > place) else {
                return Entered::Full(self.hint());
            };
            self.remove(last);
            let_go = Some(last.1);
        }
        self.waiting.insert(place, Waiting { caller: caller.to_owned(), priority, since: now });
        self.places.insert(ticket, place);
        *self.of_caller.entry(caller.to_owned()).or_default() += 1;
        Entered::Waits(ticket, let_go)
    }

    /// The next call whose turn it is: it runs now, and has to leave. To be asked until there is none.
    pub fn begin_next(&mut self) -> Option<Ticket> {
        if !self.has_room() {
            return None;
        }
        let first = self.waiting.first_key_value().map(|(place, _)| *place)?;
        self.remove(first);
        self.running += 1;
        Some(first.1)
    }

    /// A call that ran has ended, after `took` where that says how long one takes.
    pub fn leave(&mut self, took: Option<Duration>) {
        self.running = self.running.saturating_sub(1);
        if let Some(took) = took {
            // An eighth of each, as round trips are measured (RFC 6298 §2).
            self.run = Some(self.run.map_or(took, |run| run - run / 8 + took / 8));
        }
    }

    /// Whoever waited goes away. False when it does not wait (any more).
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        let place = self.places.get(&ticket).copied();
        place.is_some_and(|place| self.remove(place))
    }

    /// Lets everybody go who waits.
    pub fn clear(&mut self) -> Vec<Ticket> {
        self.of_caller.clear();
        self.places.clear();
        std::mem::take(&mut self.waiting).into_keys().map(|(_, ticket)| ticket).collect()
    }

    /// From now on nothing begins, or things begin again.
    pub const fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether it is paused.
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// How many run.
    pub const fn running(&self) -> u32 {
        self.running
    }

    /// How many may.
    pub const fn workers(&self) -> u32 {
        self.workers
    }

    /// How many wait.
    pub fn depth(&self) -> usize {
        self.waiting.len()
    }

    /// How many may.
    pub const fn room(&self) -> usize {
        self.room
    }

    /// Whether nothing is known that a new one would not be.
    pub fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty() && !self.paused
    }

    /// Those that wait, in the order of their turn.
    pub fn shown(&self, now: Duration) -> impl Iterator<Item = Shown> {
        self.waiting.iter().map(move |((_, ticket), waiting)| Shown {
            ticket: *ticket,
            caller: waiting.caller.clone(),
            priority: waiting.priority,
            waited: now.saturating_sub(waiting.since),
        })
    }

    /// How long until those that wait now have begun, at the pace of late: whole seconds, at least one.
    pub fn hint(&self) -> Duration {
        let ahead = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX).saturating_add(1);
        let wait = self.run.unwrap_or_default().saturating_mul(ahead.div_ceil(self.workers));
        let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Duration::from_secs(whole).clamp(Duration::from_secs(1), QUEUE_HINT_MAX)
    }

    const fn has_room(&self) -> bool {
        !self.paused && self.running < self.workers
    }

    fn remove(&mut self, place: Place) -> bool {
        self.places.remove(&place.1);
        let Some(waiting) = self.waiting.remove(&place) else { return false };
        if let Some(count) = self.of_caller.get_mut(&waiting.caller) {
            *count -= 1;
            if *count == 0 {
                self.of_caller.remove(&waiting.caller);
            }
        }
        true
    }
}

/// Smaller is sooner; nanoseconds.
fn rank(now: Duration, priority: u8, others: u32) -> i128 {
    let nanos = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    nanos(now) + i128::from(others) * nanos(FAIR_STEP) - i128::from(priority.min(PRIORITY.2)) * nanos(PRIORITY_STEP)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn wait(queue: &mut Queue, now: Duration, caller: &str, priority: u8) -> Ticket {
        match queue.enter(now, caller, priority) {
            Entered::Waits(ticket, None) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn order(queue: &mut Queue) -> Vec<Ticket> {
        std::iter::from_fn(|| {
            queue.leave(None);
            queue.begin_next()
        })
        .collect()
    }

    #[test]
    fn priority_comes_first_then_age_and_age_wins_in_the_end() {
        let mut queue = Queue::new(1, 10);
        assert_eq!(queue.enter(MS, "a", 0), Entered::Runs(1));
        let low = wait(&mut queue, MS, "a", 0);
        let later = wait(&mut queue, 2 * MS, "b", 0);
        let high = wait(&mut queue, 3 * MS, "c", 9);
        // So much later that no priority makes up for it.
        let last = wait(&mut queue, 4 * MS + PRIORITY_STEP * 9, "d", 9);
        assert_eq!(order(&mut queue), [high, low, later, last]);
    }

    #[test]
    fn many_calls_of_one_stand_in_nobodys_way() {
        let mut queue = Queue::new(1, 100);
        queue.enter(MS, "many", 5);
        let many: Vec<Ticket> = (0..50).map(|_| wait(&mut queue, MS, "many", 5)).collect();
        let one = wait(&mut queue, 2 * MS, "one", 5);
        assert_eq!(order(&mut queue)[..3], [many[0], one, many[1]]);
    }

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        let mut queue = Queue::new(2, 4);
        queue.enter(MS, "a", 5);
        queue.enter(MS, "a", 5);
        queue.leave(Some(Duration::from_secs(3)));
        queue.enter(MS, "a", 5);
        let waiting: Vec<Ticket> = (0..4).map(|_| wait(&mut queue, MS, "a", 5)).collect();
        // Five to begin, two at a time, three seconds each.
        assert_eq!(queue.enter(MS, "a", 5), Entered::Full(Duration::from_secs(9)));
        let Entered::Waits(_, Some(let_go)) = queue.enter(2 * MS, "b", 5) else { panic!("somebody else's room") };
        assert_eq!((let_go, queue.depth()), (waiting[3], 4));
        assert_eq!(Queue::new(1, 0).hint(), Duration::from_secs(1));
    }

    #[test]
    fn a_paused_queue_begins_nothing_and_a_cleared_one_is_empty() {
        let mut queue = Queue::new(2, 4);
        queue.pause(true);
        let first = wait(&mut queue, MS, "a", 5);
        let second = wait(&mut queue, MS, "a", 5);
        assert_eq!(queue.begin_next(), None);
        assert!(queue.cancel(first) && !queue.cancel(first));
        assert_eq!((queue.clear(), queue.depth()), (vec![second], 0));
        let third = wait(&mut queue, MS, "a", 5);
        queue.pause(false);
        assert_eq!((queue.begin_next(), queue.begin_next()), (Some(third), None));
    }

    #[test]
    fn whatever_comes_no_bound_is_passed_and_nobody_is_forgotten() {
        for seed in 0..200 {
            let mut chance = ChaCha8Rng::seed_from_u64(seed);
            let (workers, room) = (1 + chance.next_u32() % 4, (chance.next_u32() % 8) as usize);
            let mut queue = Queue::new(workers, room);
            let (mut waiting, mut running, mut now) = (Vec::new(), 0_u32, MS);
            for _ in 0..500 {
                now += MS * (chance.next_u32() % 50);
                match chance.next_u32() % 7 {
                    0..3 => {
                        let caller = format!("{}", chance.next_u32() % 3);
                        match queue.enter(now, &caller, (chance.next_u32() % 12) as u8) {
                            Entered::Runs(_) => running += 1,
                            Entered::Waits(ticket, let_go) => {
                                waiting.retain(|other| Some(*other) != let_go);
                                waiting.push(ticket);
                            }
                            Entered::Full(hint) => {
                                assert!(waiting.len() >= room && hint >= Duration::from_secs(1));
                            }
                        }
                    }
                    3 if running > 0 => {
                        running -= 1;
                        queue.leave(Some(MS * (chance.next_u32() % 1_000)));
                    }
                    4 if !waiting.is_empty() => {
                        let at = chance.next_u32() as usize % waiting.len();
                        assert!(queue.cancel(waiting.swap_remove(at)));
                    }
                    5 => queue.pause(chance.next_u32().is_multiple_of(3)),
                    _ => {}
                }
                while let Some(ticket) = queue.begin_next() {
                    let at = waiting.iter().position(|other| *other == ticket).expect("it waited");
                    waiting.swap_remove(at);
                    running += 1;
                }
                assert_eq!((queue.depth(), queue.running()), (waiting.len(), running));
                assert!(running <= workers && waiting.len() <= room);
                assert_eq!(queue.of_caller.values().sum::<u32>() as usize, waiting.len());
                let idle = running < workers && !queue.is_paused();
                assert!(!idle || waiting.is_empty(), "nobody waits where there is room");
            }
        }
    }
}
