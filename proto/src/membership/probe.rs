//! Probes under way: what was asked, of whom, until when, and for whom.
//!
//! A probe has two parts. A ping goes as a datagram; when no answer comes in time the same is asked over the connection's stream, which
//! loses nothing, and of some fellows. Any word of the target ends it: it lives.

use std::time::Duration;

use crate::params::{PROBE_INDIRECT_MIN, PROBE_TIMEOUT, PROBES_MAX};
use crate::record::NodeId;

/// A probe of this node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) number: u32,
    pub(super) target: NodeId,
    pub(super) sent: Duration,
    /// When the second part begins.
    ask_at: Duration,
    /// When it has failed.
    end: Duration,
    asked: bool,
}

/// A probe for a fellow.
#[derive(Clone, Copy, Debug)]
struct Relay {
    number: u32,
    target: NodeId,
    asker: NodeId,
    theirs: u32,
    until: Duration,
}

/// What a probe that is due came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Its second part is to be sent.
    Ask(u32, NodeId),
    /// Nobody has heard of the target.
    Failed(NodeId),
}

/// All of them; a handful at most times.
#[derive(Debug, Default)]
pub(super) struct Probes {
    mine: Vec<Probe>,
    others: Vec<Relay>,
    last: u32,
}

impl Probes {
    /// Begins a probe over a path of this round trip; `None` when the target is probed already or too many are.
    /// `warm`: a connection stands. Nothing ends before `not_before`.
    pub(super) fn begin(
        &mut self,
        target: NodeId,
        warm: bool,
        rtt: Duration,
        patience: u32,
        not_before: Duration,
        now: Duration,
    ) -> Option<u32> {
        if self.mine.len() >= PROBES_MAX || self.is_probed(target) {
            return None;
        }
        let direct = (rtt * PROBE_TIMEOUT.1).max(PROBE_TIMEOUT.0) * patience;
        let indirect = (direct * 2).max(PROBE_INDIRECT_MIN * patience);
        let ask_at = if warm { now + direct } else { now };
        let end = (now + direct + indirect).max(not_before);
        let number = self.next_number();
        self.mine.push(Probe { number, target, sent: now, ask_at, end, asked: false });
        Some(number)
    }

    const fn next_number(&mut self) -> u32 {
        self.last = self.last.wrapping_add(1);
        self.last
    }

    pub(super) fn is_probed(&self, target: NodeId) -> bool {
        self.mine.iter().any(|probe| probe.target == target)
    }

    /// Targets of which no answer came in time.
    pub(super) fn missed(&self) -> Vec<NodeId> {
        self.mine.iter().filter(|probe| probe.asked).map(|probe| probe.target).collect()
    }

    /// The target lives, or is known to be gone. Whether it was probed.
    pub(super) fn end(&mut self, target: NodeId) -> bool {
        let before = self.mine.len();
        self.mine.retain(|probe| probe.target != target);
        self.mine.len() != before
    }

    /// An answer, from the target or from a fellow.
    pub(super) fn take(&mut self, number: u32) -> Option<Probe> {
        let at = self.mine.iter().position(|probe| probe.number == number)?;
        Some(self.mine.swap_remove(at))
    }

    /// Takes on a probe for `asker`; `None` when there are too many.
    pub(super) fn relay(&mut self, target: NodeId, asker: NodeId, theirs: u32, now: Duration) -> Option<u32> {
        self.others.retain(|relay| now < relay.until);
        if self.others.len() >= PROBES_MAX {
            return None;
        }
        let number = self.next_number();
        self.others.push(Relay { number, target, asker, theirs, until: now + PROBE_TIMEOUT.0 * 20 });
        Some(number)
    }

    /// The target of such a probe answered: who is to hear it, and under which number.
    pub(super) fn take_relay(&mut self, number: u32, target: NodeId) -> Option<(NodeId, u32)> {
        let at = self.others.iter().position(|relay| relay.number == number && relay.target == target)?;
        let relay = self.others.swap_remove(at);
        Some((relay.asker, relay.theirs))
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.mine.iter().map(|probe| if probe.asked { probe.end } else { probe.ask_at }).min()
    }

    /// What is due by `now`.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<Due> {
        let mut due = Vec::new();
        self.mine.retain_mut(|probe| {
            if probe.asked && probe.end <= now {
                due.push(Due::Failed(probe.target));
                return false;
            }
            if !probe.asked && probe.ask_at <= now {
                probe.asked = true;
                // Who was woken late still gives the second part its time.
                probe.end = probe.end.max(now + PROBE_INDIRECT_MIN);
                due.push(Due::Ask(probe.number, probe.target));
            }
            true
        });
        due
    }

    /// None of them fails before `until`.
    pub(super) fn postpone(&mut self, until: Duration) {
        for probe in &mut self.mine {
            probe.end = probe.end.max(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: NodeId = NodeId([1; 32]);

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_probe_asks_twice_and_then_fails() {
        let mut probes = Probes::default();
        let number = probes.begin(TARGET, true, millis(2), 1, Duration::ZERO, Duration::ZERO).unwrap();
        assert_eq!(probes.begin(TARGET, true, millis(2), 1, Duration::ZERO, Duration::ZERO), None);
        assert_eq!(probes.next_due(), Some(millis(100)));
        assert_eq!(probes.take_due(millis(100)), [Due::Ask(number, TARGET)]);
        assert_eq!(probes.next_due(), Some(millis(500)));
        assert_eq!(probes.missed(), [TARGET]);
        assert_eq!(probes.take_due(millis(500)), [Due::Failed(TARGET)]);
        assert_eq!(probes.next_due(), None);
    }

    #[test]
    fn far_fellows_and_sick_nodes_wait_longer() {
        let ends = |rtt, patience| {
            let mut probes = Probes::default();
            probes.begin(TARGET, true, millis(rtt), patience, Duration::ZERO, Duration::ZERO);
            let asked = probes.next_due().unwrap();
            probes.take_due(asked);
            (asked, probes.next_due().unwrap())
        };
        assert_eq!(ends(160, 1), (millis(480), millis(1440)));
        assert_eq!(ends(2, 9), (millis(900), millis(4500)));
    }

    #[test]
    fn a_relayed_answer_counts_only_from_its_target() {
        let mut probes = Probes::default();
        let number = probes.relay(TARGET, NodeId([2; 32]), 77, Duration::ZERO).unwrap();
        assert_eq!(probes.take_relay(number, NodeId([3; 32])), None);
        assert_eq!(probes.take_relay(number, TARGET), Some((NodeId([2; 32]), 77)));
        assert_eq!(probes.take_relay(number, TARGET), None);
    }
}
