//! Peers that bring what nobody signed: where strangers may come, they are kept out for a while, and longer each time.
//!
//! An honest node verifies before it passes anything on, so a signature that does not hold is its bringer's doing. What a newer build
//! says and this one cannot read, or what the bringer could not know, is none.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::node::Node;
use crate::params::{OFFENCES, OFFENCES_WITHIN, OFFENDERS_MAX, QUARANTINE, QUARANTINE_MAX};
use crate::record::NodeId;

/// Who has brought forgeries, and for how long nothing is heard of whom.
#[derive(Debug, Default)]
pub(super) struct Offences(BTreeMap<NodeId, Offender>);

#[derive(Debug, Default)]
struct Offender {
    /// Forgeries since the first of them, within [`OFFENCES_WITHIN`].
    forgeries: u32,
    first: Duration,
    /// Times it was kept out.
    times: u32,
    until: Duration,
}

impl Offences {
    /// One more; for how long nothing is heard of it, if that was one too many.
    fn add(&mut self, peer: NodeId, now: Duration) -> Option<Duration> {
        if self.0.len() >= OFFENDERS_MAX && !self.0.contains_key(&peer) {
            self.make_room();
        }
        let offender = self.0.entry(peer).or_default();
        if offender.forgeries == 0 || now > offender.first + OFFENCES_WITHIN {
            (offender.forgeries, offender.first) = (0, now);
        }
        offender.forgeries += 1;
        if offender.forgeries < OFFENCES {
            return None;
        }
        // Whoever has behaved for the longest time there is begins anew.
        if now > offender.until + QUARANTINE_MAX {
            offender.times = 0;
        }
        let time = QUARANTINE.saturating_mul(1 << offender.times.min(16)).min(QUARANTINE_MAX);
        offender.times += 1;
        offender.forgeries = 0;
        offender.until = now + time;
        Some(time)
    }

    /// How much longer nothing is heard of it.
    pub(super) fn left(&self, peer: NodeId, now: Duration) -> Option<Duration> {
        let until = self.0.get(&peer)?.until;
        until.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// In the place of whoever is heard again first.
    fn make_room(&mut self) {
        let least = self.0.iter().min_by_key(|(_, offender)| offender.until).map(|(peer, _)| *peer);
        least.map(|peer| self.0.remove(&peer));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Node {
    /// A peer brought something that nobody signed. Counted; over a guarded link the third within ten minutes ends it.
    pub(super) fn on_forgery(&mut self, peer: NodeId) {
        self.counts.refused += 1;
        if !self.is_guarded(peer) {
            return;
        }
        if let Some(time) = self.offences.add(peer, self.now.mono) {
            self.counts.quarantined += 1;
            self.shut_out(peer, time);
        }
    }

    /// Whether nothing is to be heard of a peer now; it is told so and let go.
    pub(super) fn is_shut_out(&mut self, peer: NodeId) -> bool {
        let left = self.offences.left(peer, self.now.mono);
        if let Some(left) = left {
            self.shut_out(peer, left);
        }
        left.is_some()
    }

    fn shut_out(&mut self, peer: NodeId, time: Duration) {
        if self.is_fellow(peer) {
            self.let_go(peer);
        }
        self.keep_out(
            peer,
            &format!("it brought what nobody signed, and is not heard for {} s", time.as_secs().max(1)),
        );
        self.view_dirty = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId([1; 32]);
    const SECOND: Duration = Duration::from_secs(1);

    /// As many as it takes, a second apart.
    fn offend(offences: &mut Offences, from: Duration) -> Option<Duration> {
        (0..OFFENCES).map(|number| offences.add(PEER, from + SECOND * number)).last().flatten()
    }

    #[test]
    fn the_third_forgery_in_ten_minutes_is_one_too_many_and_each_time_costs_more() {
        let mut offences = Offences::default();
        let mut now = SECOND;
        for wanted in [QUARANTINE, QUARANTINE * 2, QUARANTINE * 4] {
            assert_eq!((offences.add(PEER, now), offences.add(PEER, now)), (None, None));
            assert_eq!(offences.add(PEER, now + OFFENCES_WITHIN), Some(wanted));
            now += OFFENCES_WITHIN;
            assert_eq!(offences.left(PEER, now + SECOND), Some(wanted - SECOND));
            now += wanted;
            assert_eq!(offences.left(PEER, now), None);
        }
        for _ in 0..20 {
            let time = offend(&mut offences, now).unwrap();
            assert!(time <= QUARANTINE_MAX);
            now += time + SECOND * OFFENCES;
        }
        assert_eq!(offend(&mut offences, now), Some(QUARANTINE_MAX));
        assert_eq!(offend(&mut offences, now + QUARANTINE_MAX * 3), Some(QUARANTINE), "it has behaved since");
    }

    #[test]
    fn forgeries_far_apart_are_none_of_a_series() {
        let mut offences = Offences::default();
        for number in 0..10 * OFFENCES {
            let apart = (OFFENCES_WITHIN / (OFFENCES - 1)) + SECOND;
            assert_eq!(offences.add(PEER, apart * number), None, "{number}");
        }
    }

    #[test]
    fn many_offenders_displace_those_who_are_heard_again_first() {
        let mut offences = Offences::default();
        offend(&mut offences, SECOND).unwrap();
        for number in 0..2 * OFFENDERS_MAX as u64 {
            let mut other = [2; 32];
            other[..8].copy_from_slice(&number.to_be_bytes());
            offences.add(NodeId(other), SECOND);
        }
        assert_eq!(offences.len(), OFFENDERS_MAX);
        assert!(offences.left(PEER, SECOND * 5).is_some(), "newcomers do not set it free");
    }
}
