//! Calls that wait for their turn at this node, tool by tool. Their order is `aop_proto::call::queue`'s to say.
//!
//! What must hold: a place that was given is given back, however whoever has it goes; and whoever waits is told when he may go, or
//! that he may not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aop_proto::call::queue::{Entered, Queue, Ticket};
use aop_proto::call::{Policies, Policy};
use aop_proto::error::{Kind, Problem, did_you_mean, to_ms};
use aop_proto::params::QUEUES_MAX;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::stats::Stats;
use crate::clock::Clock;

/// Why somebody who waited does not get his turn.
#[derive(Clone, Copy, Debug)]
enum LetGo {
    /// An operator cleared the queue, or ended this one.
    Cancelled,
    /// Others came first, and there was no room.
    Displaced,
}

type Turn = Result<(), LetGo>;

struct Line {
    queue: Queue,
    waiting: BTreeMap<Ticket, oneshot::Sender<Turn>>,
    stats: Stats,
}

/// All queues of this node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Queues {
    lines: Arc<Mutex<BTreeMap<String, Line>>>,
    clock: Clock,
}

/// A place among the running.
pub(super) struct Place {
    queues: Queues,
    tool: String,
    began: Duration,
    waited: Duration,
    ended: Option<bool>,
}

/// A place among the waiting.
struct Waiter {
    queues: Queues,
    tool: String,
    ticket: Ticket,
    turn: oneshot::Receiver<Turn>,
    is_over: bool,
}

impl Queues {
    pub(super) fn new(clock: Clock) -> Self {
        Self { lines: Arc::default(), clock }
    }

    /// Waits for the turn of a call of `caller` to `tool`, for so long at most.
    ///
    /// # Errors
    /// `Busy`, with the seconds after which to come back; nothing was sent.
    pub(super) async fn turn(
        &self,
        tool: &str,
        caller: &str,
        priority: u8,
        policy: &Policy,
        within: Duration,
    ) -> Result<Place, Problem> {
        let came = self.clock.now().mono;
        let waiter = {
            let mut lines = self.lock();
            if lines.len() >= QUEUES_MAX && !lines.contains_key(tool) {
                lines.retain(|_, line| !line.queue.is_idle());
            }
            let line = lines.entry(tool.to_owned()).or_insert_with(|| Line {
                queue: Queue::new(policy.workers, policy.queue),
                waiting: BTreeMap::new(),
                stats: Stats::default(),
            });
            match line.queue.enter(came, caller, priority) {
                Entered::Runs(_) => return Ok(self.place(tool, came, Duration::ZERO)),
                Entered::Full(hint) => {
                    line.stats.refused += 1;
                    return Err(full(tool, &line.queue, hint));
                }
                Entered::Waits(ticket, let_go) => {
                    if let Some(other) = let_go.and_then(|ticket| line.waiting.remove(&ticket)) {
                        line.stats.refused += 1;
                        // Who is gone already need not be told.
                        let _ = other.send(Err(LetGo::Displaced));
                    }
                    let (sender, turn) = oneshot::channel();
                    line.waiting.insert(ticket, sender);
                    Waiter { queues: self.clone(), tool: tool.to_owned(), ticket, turn, is_over: false }
                }
            }
        };
        waiter.wait(came, within).await
    }

    fn place(&self, tool: &str, began: Duration, waited: Duration) -> Place {
        Place { queues: self.clone(), tool: tool.to_owned(), began, waited, ended: None }
    }

    /// Every queue, as `aop.queues/1` lists them.
    pub(super) fn to_json(&self) -> Vec<Value> {
        let now = self.clock.now().mono;
        let lines = self.lock();
        lines.iter().map(|(tool, line)| line.to_json(tool, now)).collect()
    }

    /// One queue with all that wait in it.
    ///
    /// # Errors
    /// `NameNotFound`.
    pub(super) fn show(&self, tool: &str) -> Result<Value, Problem> {
        let now = self.clock.now().mono;
        self.with(tool, |name, line| {
            let mut shown = line.to_json(name, now);
            let calls = line.queue.shown(now).map(|one| {
                let waited = one.waited.as_millis() as u64;
                json!({"ticket": one.ticket, "caller": one.caller, "priority": one.priority, "waited_ms": waited})
            });
            shown["calls"] = calls.collect();
            shown
        })
    }

    /// Nothing of `tool` begins any more, or things begin again. A tool that was not called yet can be paused as well.
    pub(super) fn pause(&self, tool: &str, paused: bool, policy: &Policy) {
        let mut lines = self.lock();
        let line = lines.entry(tool.to_owned()).or_insert_with(|| Line {
            queue: Queue::new(policy.workers, policy.queue),
            waiting: BTreeMap::new(),
            stats: Stats::default(),
        });
        line.queue.pause(paused);
        line.pump();
    }

    /// From now on as many run and wait as these say.
    pub(super) fn resize(&self, policies: &Policies) {
        for (tool, line) in self.lock().iter_mut() {
            let policy = policies.of(tool);
            line.queue.resize(policy.workers, policy.queue);
            line.pump();
        }
    }

    /// Lets everybody go who waits; how many that were.
    ///
    /// # Errors
    /// `NameNotFound`.
    pub(super) fn clear(&self, tool: &str) -> Result<usize, Problem> {
        self.with(tool, |_, line| {
            let let_go = line.queue.clear();
            for ticket in &let_go {
                line.let_go(*ticket);
            }
            let_go.len()
        })
    }

    /// Lets one go.
    ///
    /// # Errors
    /// `NameNotFound`.
    pub(super) fn cancel(&self, tool: &str, ticket: Ticket) -> Result<bool, Problem> {
        self.with(tool, |_, line| {
            let waited = line.queue.cancel(ticket);
            line.let_go(ticket);
            waited
        })
    }

    /// Tools, running, waiting; how many were refused; and how many queues are paused.
    pub(super) fn totals(&self) -> [(&'static str, u64); 4] {
        let lines = self.lock();
        let sum = |count: &dyn Fn(&Line) -> u64| lines.values().map(count).sum();
        [
            ("running", sum(&|line| u64::from(line.queue.running()))),
            ("waiting", sum(&|line| line.queue.depth() as u64)),
            ("refused", sum(&|line| line.stats.refused)),
            ("paused", sum(&|line| u64::from(line.queue.is_paused()))),
        ]
    }

    fn with<T>(&self, tool: &str, act: impl FnOnce(&str, &mut Line) -> T) -> Result<T, Problem> {
        let mut lines = self.lock();
        match lines.get_mut(tool) {
            Some(line) => Ok(act(tool, line)),
            None => Err(no_queue(tool).did_you_mean(did_you_mean(tool, lines.keys().map(String::as_str)))),
        }
    }

    fn leave(&self, tool: &str, took: Option<Duration>) {
        if let Some(line) = self.lock().get_mut(tool) {
            line.queue.leave(took);
            line.pump();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Gives every free place to the next who takes it.
    fn pump(&mut self) {
        while let Some(ticket) = self.queue.begin_next() {
            let told = self.waiting.remove(&ticket).is_some_and(|waiter| waiter.send(Ok(())).is_ok());
            if !told {
                self.queue.leave(None);
            }
        }
    }

    fn let_go(&mut self, ticket: Ticket) {
        if let Some(waiter) = self.waiting.remove(&ticket) {
            // Who is gone already need not be told.
            let _ = waiter.send(Err(LetGo::Cancelled));
        }
    }

    fn to_json(&self, tool: &str, now: Duration) -> Value {
        let queue = &self.queue;
        let oldest = queue.shown(now).map(|one| one.waited.as_millis() as u64).max();
        let mut shown = json!({
            "name": tool,
            "state": if queue.is_paused() { "paused" } else { "running" },
            "running": queue.running(),
            "workers": queue.workers(),
            "waiting": queue.depth(),
            "room": queue.room(),
            "oldest_ms": oldest,
        });
        shown["stats"] = self.stats.to_json(now);
        shown
    }
}

impl Waiter {
    async fn wait(mut self, came: Duration, within: Duration) -> Result<Place, Problem> {
        let turn = tokio::time::timeout(within, &mut self.turn).await;
        let now = self.queues.clock.now().mono;
        match turn {
            Ok(Ok(Ok(()))) => {
                self.is_over = true;
                Ok(self.queues.place(&self.tool, now, now.saturating_sub(came)))
            }
            Ok(Ok(Err(LetGo::Displaced))) => {
                let message = format!("`{}` is busy: calls that come before this one filled its queue", self.tool);
                Err(Problem::new(Kind::Busy, message).detail(json!({"retry_after_s": 1})).hint("aop queue ls"))
            }
            Ok(_) => {
                let message = format!("the call to `{}` was taken out of its queue by an operator", self.tool);
                Err(Problem::new(Kind::Cancelled, message).hint("aop queue ls"))
            }
            Err(_) if self.is_paused() => {
                let message = format!("`{}` is paused: its calls wait until an operator lets them go on", self.tool);
                Err(Problem::new(Kind::Busy, message)
                    .detail(json!({"retry_after_s": self.hint_s()}))
                    .hint(format!("aop queue resume {}", self.tool)))
            }
            Err(_) => {
                let within = to_ms(within);
                let message = format!("the turn of the call to `{}` did not come within {within:?}", self.tool);
                Err(Problem::new(Kind::Busy, message)
                    .detail(json!({"retry_after_s": self.hint_s()}))
                    .hint("aop queue ls"))
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.queues.lock().get(&self.tool).is_some_and(|line| line.queue.is_paused())
    }

    /// Seconds after which it may be worth its while to come back.
    fn hint_s(&self) -> u64 {
        self.queues.lock().get(&self.tool).map_or(1, |line| line.queue.hint().as_secs())
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut lines = self.queues.lock();
        let Some(line) = lines.get_mut(&self.tool) else { return };
        line.queue.cancel(self.ticket);
        line.waiting.remove(&self.ticket);
        // Its turn may have come and not been heard.
        if let Ok(Ok(())) = self.turn.try_recv() {
            line.queue.leave(None);
            line.pump();
        }
    }
}

impl Place {
    /// The call was answered, well or with an error; not to be said where it never ended.
    pub(super) const fn ended(&mut self, well: bool) {
        self.ended = Some(well);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = self.queues.clock.now().mono;
        let took = now.saturating_sub(self.began);
        if let Some(line) = self.queues.lock().get_mut(&self.tool) {
            line.stats.add(now, self.waited, took, self.ended);
        }
        self.queues.leave(&self.tool, self.ended.map(|_| took));
    }
}

/// No call to that tool came here.
pub(super) fn no_queue(tool: &str) -> Problem {
    let message = format!("`{tool}` has no queue here: none of its calls came to this node");
    Problem::new(Kind::NameNotFound, message).hint("aop queue ls")
}

fn full(tool: &str, queue: &Queue, hint: Duration) -> Problem {
    let (running, waiting, seconds) = (queue.running(), queue.depth(), hint.as_secs());
    let (why, hint) = match queue.is_paused() {
        true => ("paused", format!("aop queue resume {tool}")),
        false => ("busy", "aop queue ls".to_owned()),
    };
    let message = format!("`{tool}` is {why}: {running} calls run and {waiting} wait; come back in about {seconds} s");
    Problem::new(Kind::Busy, message).detail(json!({"retry_after_s": seconds})).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn one_at_a_time() -> (Queues, Policy) {
        (Queues::new(Clock::start()), Policy { workers: 1, queue: 2, ..Policy::default() })
    }

    #[tokio::test]
    async fn who_waits_goes_when_there_is_a_place_and_who_leaves_gives_it_back() {
        let (queues, policy) = one_at_a_time();
        let first = queues.turn("t", "a", 5, &policy, LONG).await.unwrap();
        let second = queues.turn("t", "a", 5, &policy, LONG);
        let third = queues.turn("t", "a", 5, &policy, LONG);
        tokio::pin!(second, third);
        assert!(futures::poll!(second.as_mut()).is_pending() && futures::poll!(third.as_mut()).is_pending());
        let refused = queues.turn("t", "a", 5, &policy, LONG).await.err().unwrap();
        assert_eq!((refused.kind, &refused.detail.unwrap()["retry_after_s"]), (Kind::Busy, &json!(1)));
        drop(first);
        // Its turn has come, and it goes away without having heard.
        second.set(queues.turn("u", "a", 5, &policy, LONG));
        assert!(third.await.is_ok());
        assert_eq!(queues.totals()[..2], [("running", 0), ("waiting", 0)]);
    }

    #[tokio::test]
    async fn a_queue_is_as_large_as_was_said_last() {
        let (queues, policy) = one_at_a_time();
        let _first = queues.turn("t", "a", 5, &policy, LONG).await.unwrap();
        let second = queues.turn("t", "a", 5, &policy, LONG);
        tokio::pin!(second);
        assert!(futures::poll!(second.as_mut()).is_pending());
        queues.resize(&Policies::new(Policy { workers: 2, queue: 0, ..Policy::default() }, Vec::new()));
        let _second = second.await.unwrap();
        let full = queues.turn("t", "a", 5, &policy, LONG).await.err().unwrap();
        assert_eq!((full.kind, queues.totals()[0]), (Kind::Busy, ("running", 2)));
    }

    #[tokio::test]
    async fn an_operator_stops_a_queue_and_sends_those_home_who_wait() {
        let (queues, policy) = one_at_a_time();
        queues.pause("t", true, &policy);
        let late = queues.turn("t", "a", 5, &policy, Duration::from_nanos(1)).await.err().unwrap();
        assert_eq!((late.kind, late.hint.as_deref()), (Kind::Busy, Some("aop queue resume t")), "{late}");
        let one = queues.turn("t", "a", 5, &policy, LONG);
        let other = queues.turn("t", "a", 5, &policy, LONG);
        tokio::pin!(one, other);
        assert!(futures::poll!(one.as_mut()).is_pending() && futures::poll!(other.as_mut()).is_pending());
        let full = queues.turn("t", "a", 5, &policy, LONG).await.err().unwrap();
        assert_eq!(full.hint.as_deref(), Some("aop queue resume t"), "{full}");
        let ticket = queues.show("t").unwrap()["calls"][0]["ticket"].as_u64().unwrap();
        assert_eq!(queues.cancel("t", ticket), Ok(true));
        assert_eq!(one.await.err().unwrap().kind, Kind::Cancelled);
        assert_eq!(queues.clear("t"), Ok(1));
        assert_eq!(other.await.err().unwrap().kind, Kind::Cancelled);
        queues.pause("t", false, &policy);
        assert!(queues.turn("t", "a", 5, &policy, LONG).await.is_ok());
        assert_eq!(queues.clear("tt").unwrap_err().did_you_mean, ["t"]);
    }
}
