//! Probes under way: what was asked, of whom, until when, and for whom.
//!
//! A probe has two parts. A ping goes as a datagram; when no answer comes in time the same is asked over the connection's stream, which
//! loses nothing, and of some fellows. Any word of the target ends it: it lives.
//!
//! The word of another counts only if it was asked, and under the probe's number, which nobody can guess: otherwise one liar could
//! answer for all who died. Who was asked may still lie; the next probe asks others.

use std::time::Duration;

use crate::params::{PROBE_INDIRECT_MIN, PROBE_TIMEOUT, PROBES_MAX};
use crate::record::NodeId;

/// A probe of this node.
#[derive(Debug)]
pub(super) struct Probe {
    number: u32,
    pub(super) target: NodeId,
    pub(super) sent: Duration,
    /// When the second part begins.
    ask_at: Duration,
    /// When it has failed.
    end: Duration,
    asked: bool,
    /// Who was asked to probe it as well.
    relays: Vec<NodeId>,
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
    /// Its second part is to be sent, see [`Probes::ask`].
    Ask(NodeId),
    /// Nobody has heard of the target.
    Failed(NodeId),
}

/// All of them; a handful at most times.
#[derive(Debug, Default)]
pub(super) struct Probes {
    mine: Vec<Probe>,
    others: Vec<Relay>,
}

impl Probes {
    /// Begins a probe of this number over a path of this round trip; false when the target is probed already or too many are.
    /// `warm`: a connection stands. Nothing ends before `not_before`.
    pub(super) fn begin(
        &mut self,
        (number, target): (u32, NodeId),
        warm: bool,
        rtt: Duration,
        patience: u32,
        not_before: Duration,
        now: Duration,
    ) -> bool {
        if self.mine.len() >= PROBES_MAX || self.is_probed(target) {
            return false;
        }
        let direct = (rtt * PROBE_TIMEOUT.1).max(PROBE_TIMEOUT.0) * patience;
        let indirect = (direct * 2).max(PROBE_INDIRECT_MIN * patience);
        let ask_at = if warm { now + direct } else { now };
        let end = (now + direct + indirect).max(not_before);
        self.mine.push(Probe { number, target, sent: now, ask_at, end, asked: false, relays: Vec::new() });
        true
    }

    /// These fellows are asked to probe somebody as well: the number to ask under.
    pub(super) fn ask(&mut self, target: NodeId, relays: &[NodeId]) -> Option<u32> {
        let probe = self.mine.iter_mut().find(|probe| probe.target == target)?;
        probe.relays = relays.to_vec();
        Some(probe.number)
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

    /// An answer, from the target or from a fellow that was asked to probe it.
    pub(super) fn take(&mut self, number: u32, from: NodeId) -> Option<Probe> {
        let may_answer = |probe: &Probe| probe.target == from || probe.relays.contains(&from);
        let at = self.mine.iter().position(|probe| probe.number == number && may_answer(probe))?;
        Some(self.mine.swap_remove(at))
    }

    /// Takes on a probe for a fellow that asks under a number of its own; false when there are too many.
    pub(super) fn relay(&mut self, number: u32, target: NodeId, asked: (NodeId, u32), now: Duration) -> bool {
        self.others.retain(|relay| now < relay.until);
        let fits = self.others.len() < PROBES_MAX;
        if fits {
            let (asker, theirs) = asked;
            self.others.push(Relay { number, target, asker, theirs, until: now + PROBE_TIMEOUT.0 * 20 });
        }
        fits
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
                due.push(Due::Ask(probe.target));
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
        assert!(probes.begin((9, TARGET), true, millis(2), 1, Duration::ZERO, Duration::ZERO));
        assert!(!probes.begin((8, TARGET), true, millis(2), 1, Duration::ZERO, Duration::ZERO));
        assert_eq!(probes.next_due(), Some(millis(100)));
        assert_eq!(probes.take_due(millis(100)), [Due::Ask(TARGET)]);
        assert_eq!(probes.ask(TARGET, &[]), Some(9));
        assert_eq!(probes.next_due(), Some(millis(500)));
        assert_eq!(probes.missed(), [TARGET]);
        assert_eq!(probes.take_due(millis(500)), [Due::Failed(TARGET)]);
        assert_eq!(probes.next_due(), None);
    }

    #[test]
    fn far_fellows_and_sick_nodes_wait_longer() {
        let ends = |rtt, patience| {
            let mut probes = Probes::default();
            probes.begin((9, TARGET), true, millis(rtt), patience, Duration::ZERO, Duration::ZERO);
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
        assert!(probes.relay(5, TARGET, (NodeId([2; 32]), 77), Duration::ZERO));
        assert_eq!(probes.take_relay(5, NodeId([3; 32])), None);
        assert_eq!(probes.take_relay(6, TARGET), None, "that answers something else");
        assert_eq!(probes.take_relay(5, TARGET), Some((NodeId([2; 32]), 77)));
        assert_eq!(probes.take_relay(5, TARGET), None);
    }

    #[test]
    fn probes_for_others_are_bounded_and_forgotten() {
        let mut probes = Probes::default();
        let mut relay = |number, now| probes.relay(number, TARGET, (NodeId([2; 32]), number), now);
        assert!((0..PROBES_MAX as u32).all(|number| relay(number, Duration::ZERO)));
        assert!(!relay(9999, millis(1999)));
        assert!(relay(9999, millis(2000)));
    }

    #[test]
    fn an_answer_counts_from_the_target_or_from_who_was_asked_and_under_the_number_only() {
        let [relay, other] = [2, 3].map(|byte| NodeId([byte; 32]));
        let takes = |number, from| {
            let mut probes = Probes::default();
            probes.begin((9, TARGET), true, millis(2), 1, Duration::ZERO, Duration::ZERO);
            probes.begin((10, other), true, millis(2), 1, Duration::ZERO, Duration::ZERO);
            probes.ask(TARGET, &[relay]);
            probes.take(number, from).map(|probe| probe.target)
        };
        assert_eq!([takes(9, TARGET), takes(9, relay), takes(10, other)], [Some(TARGET), Some(TARGET), Some(other)]);
        assert_eq!([takes(9, other), takes(10, relay), takes(8, relay), takes(10, TARGET)], [None; 4]);
    }
}
