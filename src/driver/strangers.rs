//! How much somebody may say between nodes who has not proven what he is, where strangers may come.
//!
//! Who is a fellow, a parent or a child is bounded by bytes and work in flight and by nothing else. A stranger has a greeting, an
//! invite and a few words to say; who says more is let go. What must always hold: nobody who has proven what he is is counted, and
//! nothing is kept of who has gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aop_proto::node::Admission;
use aop_proto::record::NodeId;

/// Messages a second of a connection that has not proven what it is. (default, min, max)
pub(super) const STRANGER_MESSAGES: (u32, u32, u32) = (20, 1, 10_000);
/// Seconds whose messages may come at once: a greeting that meets a node at work waits and comes with all that follows it.
const BURST_S: u32 = 3;

/// The links that strangers may come over, and what may still be said on each.
#[derive(Debug)]
pub(super) struct Strangers {
    guard: Admission,
    links: HashMap<NodeId, Allowance>,
    let_go: Arc<AtomicU64>,
}

impl Default for Strangers {
    /// As where this machine's own are trusted.
    fn default() -> Self {
        Self { guard: Admission::Local, links: HashMap::new(), let_go: Arc::default() }
    }
}

#[derive(Debug)]
struct Allowance {
    /// Messages, in parts.
    left: f64,
    at: Instant,
}

impl Strangers {
    /// Says who may come in without an invite; before anybody is connected.
    pub(super) fn guard(&mut self, guard: Admission) {
        self.guard = guard;
    }

    /// Somebody is connected; he may be anybody where the link is guarded.
    pub(super) fn up(&mut self, peer: NodeId, is_local: bool, now: Instant) {
        if self.guard.guards(is_local) {
            self.links.insert(peer, Allowance { left: f64::from(STRANGER_MESSAGES.0 * BURST_S), at: now });
        }
    }

    pub(super) fn down(&mut self, peer: NodeId) {
        self.links.remove(&peer);
    }

    /// Counts a message of somebody who has not proven what he is: whether it may be heard. The first that may not is the last of him.
    pub(super) fn may_say(&mut self, peer: NodeId, now: Instant) -> Verdict {
        let Some(allowance) = self.links.get_mut(&peer) else { return Verdict::Hear };
        let earned = now.saturating_duration_since(allowance.at).min(Duration::from_secs(BURST_S.into()));
        let rate = f64::from(STRANGER_MESSAGES.0);
        let left = (allowance.left + earned.as_secs_f64() * rate).min(rate * f64::from(BURST_S));
        if left < 0.0 {
            return Verdict::Ignore;
        }
        *allowance = Allowance { left: left - 1.0, at: now };
        if left >= 1.0 {
            return Verdict::Hear;
        }
        // No time gives it back: what is on its way until the connection ends is not heard.
        allowance.left = f64::NEG_INFINITY;
        self.let_go.fetch_add(1, Ordering::Relaxed);
        Verdict::LetGo
    }

    /// How many said too much, as it goes on.
    pub(super) fn let_go(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.let_go)
    }
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts.
    Hear,
    /// It was one too many: the connection ends.
    LetGo,
    /// It came behind that one.
    Ignore,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId([7; 32]);
    const BURST: u32 = STRANGER_MESSAGES.0 * BURST_S;

    fn guarded(guard: Admission) -> Strangers {
        Strangers { guard, ..Strangers::default() }
    }

    #[test]
    fn a_stranger_says_so_much_at_once_and_so_much_a_second_and_is_let_go_once() {
        let begun = Instant::now();
        let mut strangers = guarded(Admission::Invited);
        strangers.up(PEER, true, begun);
        for _ in 0..BURST {
            assert_eq!(strangers.may_say(PEER, begun), Verdict::Hear);
        }
        let later = begun + Duration::from_secs(1);
        for _ in 0..STRANGER_MESSAGES.0 {
            assert_eq!(strangers.may_say(PEER, later), Verdict::Hear);
        }
        assert_eq!(strangers.may_say(PEER, later), Verdict::LetGo);
        assert_eq!(strangers.may_say(PEER, later + Duration::from_secs(60)), Verdict::Ignore);
        assert_eq!(strangers.let_go().load(Ordering::Relaxed), 1);
        strangers.down(PEER);
        strangers.up(PEER, true, later);
        assert_eq!(strangers.may_say(PEER, later), Verdict::Hear, "another connection begins anew");
    }

    #[test]
    fn one_message_each_time_is_never_too_many() {
        let mut now = Instant::now();
        let mut strangers = guarded(Admission::Invited);
        strangers.up(PEER, true, now);
        for _ in 0..10_000 {
            now += Duration::from_secs(1) / STRANGER_MESSAGES.0;
            assert_eq!(strangers.may_say(PEER, now), Verdict::Hear);
        }
    }

    #[test]
    fn only_links_that_strangers_may_come_over_are_counted() {
        let now = Instant::now();
        for (guard, is_local, counted) in [
            (Admission::Open, false, false),
            (Admission::Local, true, false),
            (Admission::Local, false, true),
            (Admission::Invited, true, true),
        ] {
            let mut strangers = guarded(guard);
            strangers.up(PEER, is_local, now);
            let all_heard = (0..=BURST).all(|_| strangers.may_say(PEER, now) == Verdict::Hear);
            assert_eq!(all_heard, !counted, "{guard:?} {is_local}");
        }
    }
}
