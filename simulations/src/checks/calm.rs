//! Invariants 6 and 9, and the end of 2: when nothing has happened to the world for long enough, replicas are equal, everybody knows
//! who is there and who is not, and nobody shows a forked log.
//!
//! Until the bound has passed nothing is asserted here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aop_proto::codec::Wire;
use aop_proto::record::{Kind, NodeId, ReapBody, SignedRef};
use aop_proto::registry::Registry;

use super::truth::Truth;
use super::{Verdict, ensure};
use crate::host::Host;

/// No clock of this world ever comes as far as an enemy may stamp.
const AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long things may take once the world is calm.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From the last fault until everybody who knew each other is in contact and knows who runs and who does not. Losses are noticed
    /// after 10 s, dials take up to 5 s and pause up to 12 s.
    pub heal: Duration,
    /// From the last write, in contact, until all hold it.
    pub spread: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { heal: Duration::from_secs(60), spread: Duration::from_secs(5) }
    }
}

/// Since when nothing happened.
#[derive(Debug, Default)]
pub(crate) struct Calm {
    disturbed: Duration,
    /// By zone.
    written: BTreeMap<String, Duration>,
    /// The highest stamp of each zone: until every clock has come there, its log may be held back.
    stamp_ms: u64,
}

impl Calm {
    pub(super) fn disturbed(&mut self, time: Duration) {
        self.disturbed = self.disturbed.max(time);
    }

    pub(super) fn wrote(&mut self, signed: &SignedRef, time: Duration) {
        self.stamp_ms = self.stamp_ms.max(signed.record.hlc >> 16);
        self.heard(signed.record.zone(), time);
    }

    /// Something came that nobody saw being written, or was proven a lie: an enemy says when it likes.
    pub(super) fn heard(&mut self, zone: &str, time: Duration) {
        match self.written.get_mut(zone) {
            Some(at) => *at = time,
            None => drop(self.written.insert(zone.to_owned(), time)),
        }
    }

    /// How long it takes until the slowest clock has come to the highest stamp and everybody lives whose life was ended, so that
    /// nothing is held back. Any member may end lives, and the next comes ever later (PROTOCOL §10.7).
    pub(super) fn held_back(&self, time: Duration, hosts: &[Host]) -> Duration {
        let wall_ms = hosts.iter().map(|host| host.now(time).wall_ms).min().unwrap_or(u64::MAX);
        let clocks = Duration::from_millis(self.stamp_ms.saturating_sub(wall_ms));
        let honest = hosts.iter().filter(|host| !host.hostile);
        let waits = honest.filter_map(|host| {
            let node = host.node.as_ref()?;
            // What an enemy stamped nobody saw being written. A stamp of another age is waited for by nobody.
            let due = node.registry().next_retry(host.now(time)).filter(|due| host.started + *due < time + AGE);
            Some((host.started + node.next_life().max(due)?).saturating_sub(time))
        });
        waits.max().unwrap_or_default().max(clocks)
    }

    fn is_calm(&mut self, time: Duration, hosts: &[Host], bounds: &Bounds) -> bool {
        if !self.held_back(time, hosts).is_zero() {
            self.disturbed(time);
        }
        time > self.disturbed.saturating_add(bounds.heal)
    }

    /// Invariant 6: one hash for all that know each other.
    pub(super) fn equal(&mut self, time: Duration, hosts: &[Host], bounds: &Bounds) -> Verdict {
        if !self.is_calm(time, hosts, bounds) {
            return Ok(());
        }
        // By zone and the zone's key: two zones of one name that never met are no replicas of each other.
        let mut digests: BTreeMap<_, (usize, [u8; 16])> = BTreeMap::new();
        for (number, host) in hosts.iter().enumerate().filter(|(_, host)| !host.hostile) {
            let (Some(node), Some(view)) = (&host.node, host.view()) else { continue };
            let Some(key) = view.zone_key.filter(|_| view.admitted) else { continue };
            let zone = view.zone.as_str();
            if self.written.get(zone).is_some_and(|at| time < *at + bounds.spread) {
                continue;
            }
            let digest = node.registry().digest();
            let (first, known) = *digests.entry((zone, key)).or_insert((number, digest));
            ensure(known == digest, 6, || {
                let vectors = [first, number].map(|at| hosts[at].node.as_ref().map(|node| node.registry().vector()));
                let [one, other] = vectors.map(|vector| vector.into_iter().flatten().collect::<BTreeSet<_>>());
                let (only, lacks) = (&one - &other, &other - &one);
                let since = self.disturbed;
                format!(
                    "at {time:?} hosts {first} and {number} of {zone} differ, calm since {since:?}: {only:?} {lacks:?}"
                )
            })?;
        }
        Ok(())
    }

    /// Invariant 9: who runs is alive for everybody in its zone, who does not is not, who was reaped is forgotten.
    pub(super) fn members(&mut self, time: Duration, hosts: &[Host], bounds: &Bounds) -> Verdict {
        if !self.is_calm(time, hosts, bounds) {
            return Ok(());
        }
        let by_id: BTreeMap<NodeId, &Host> = hosts.iter().map(|host| (host.id, host)).collect();
        for (number, host) in hosts.iter().enumerate().filter(|(_, host)| !host.hostile) {
            let (Some(node), Some(view)) = (&host.node, host.view().filter(|view| view.admitted)) else { continue };
            for member in &view.members {
                let other = by_id.get(&member.node);
                if other.is_some_and(|other| other.hostile) {
                    continue;
                }
                let same_key = |other: &Host| {
                    let theirs = other.view().filter(|view| view.admitted);
                    other.node.is_some() && theirs.is_some_and(|theirs| theirs.zone_key == view.zone_key)
                };
                let runs = other.is_some_and(|other| same_key(other));
                ensure(!(runs && member.state != "alive"), 9, || {
                    format!(
                        "at {time:?} host {number} believes {} is {}, and it runs",
                        member.node.short(),
                        member.state
                    )
                })?;
                ensure(runs || member.state != "alive" || other.is_some_and(|o| o.node.is_some()), 9, || {
                    format!("at {time:?} host {number} believes {} is alive, and it is not", member.node.short())
                })?;
                let is_held = view.vector.iter().any(|(origin, _)| origin.node == member.node);
                let ghost = !runs && (!is_held || is_ended(node.registry(), member.node));
                ensure(!ghost, 9, || format!("host {number} still lists {}, which was reaped", member.node.short()))?;
            }
        }
        Ok(())
    }

    /// Invariant 2, its end: of a log that forked nothing is shown by anybody once somebody knows. What its writer lost before anybody
    /// else had it is known to nobody; who holds one content and who the other is invariant 6.
    pub(super) fn forks(&mut self, time: Duration, hosts: &[Host], bounds: &Bounds, truth: &Truth) -> Verdict {
        if truth.forked().is_empty() || !self.is_calm(time, hosts, bounds) {
            return Ok(());
        }
        for (number, host) in hosts.iter().enumerate().filter(|(_, host)| !host.hostile) {
            let Some(view) = host.view() else { continue };
            let tools = view.tools.all();
            let mut shown = tools.iter().flat_map(|tool| tool.instances());
            let known = |origin| {
                let nodes = hosts.iter().filter(|host| !host.hostile).filter_map(|host| host.node.as_ref());
                truth.is_forked(origin) && nodes.into_iter().any(|node| node.registry().is_quarantined(origin))
            };
            let forked = shown.find(|instance| known(instance.signed.record.origin()));
            ensure(forked.is_none(), 2, || format!("host {number} still shows a log that forked: {forked:?}"))?;
        }
        Ok(())
    }
}

/// Whether a Reap that is held ends the life that is held of a node. What counts are the records that are here: with the log of an
/// enemy that forked goes what it said, and whoever it ended is back (PROTOCOL §10.9).
fn is_ended(registry: &Registry, node: NodeId) -> bool {
    let Some(held) = registry.incarnation_of(node) else { return false };
    let name = node.to_string();
    registry.vector().into_iter().any(|(origin, _)| {
        let said = registry.latest(origin, Kind::Reap, &name).and_then(|signed| signed.record.body());
        said.and_then(|body| ReapBody::decode(body).ok()).is_some_and(|reap| held <= reap.incarnation)
    })
}
