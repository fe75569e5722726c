//! What must hold at every moment, whatever the faults: a violation ends the run and names itself.
//!
//! 1. Complete-through never decreases while a node runs.
//! 2. Equal vectors are equal digests, over all hosts of a zone and all time.
//! 3. Every record in an answer verifies, up to a zone key that a node of that zone believes in.
//! 4. A question is answered within its deadline.
//! 5. An acknowledged registration stands at its host, across any crash that leaves the disk; an acknowledged removal stays one,
//!    at every host that has heard of it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher};
use std::time::Duration;

use aop_proto::name::ZoneName;
use aop_proto::record::{Kind, Origin};
use aop_proto::trust::{Verifier, verify_chain};
use aop_proto::view::View;

use crate::host::{Answered, Host};
use crate::world::DEADLINE;

type Vector = Vec<(Origin, u64)>;

/// What was seen so far, to compare with.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    through: BTreeMap<usize, (u32, Vector)>,
    /// By a hash of zone and vector.
    digests: BTreeMap<u64, [u8; 16]>,
    zone_keys: BTreeMap<String, BTreeSet<[u8; 32]>>,
    verifier: Verifier,
}

impl Checks {
    /// A host showed its readers a new view.
    pub(crate) fn view(&mut self, number: usize, host: &Host, view: &View) {
        let Some(node) = &host.node else { return };
        self.zone_keys.entry(view.zone.to_string()).or_default().extend(view.zone_key);
        let vector = node.registry().vector();
        if let Some((life, before)) = self.through.get(&number)
            && *life == host.life
        {
            for (origin, through) in before {
                let now = vector.iter().filter(|(o, _)| o.node == origin.node).map(|(o, t)| (o.incarnation, *t)).max();
                assert!(
                    now >= Some((origin.incarnation, *through)),
                    "complete-through of {origin:?} went back to {now:?}"
                );
            }
        }
        let digest = node.registry().digest();
        let known = *self.digests.entry(hash_of(view.zone.as_str(), &vector)).or_insert(digest);
        assert_eq!(known, digest, "host {number}: an equal vector with another digest");
        self.through.insert(number, (host.life, vector));
    }

    /// A host answered a door.
    pub(crate) fn answered(&mut self, number: usize, answered: &Answered, hosts: &[Host]) {
        assert!(answered.took <= DEADLINE, "host {number} answered after {:?}", answered.took);
        for (_, checked) in &answered.outcome.answers {
            let Ok(zone) = ZoneName::parse(&checked.answer.zone) else { panic!("an answer of no zone") };
            assert_eq!(checked.answer.candidates.len(), checked.records.len());
            for (candidate, record) in checked.answer.candidates.iter().zip(&checked.records) {
                let opened = self.verifier.open(&candidate.envelope).expect("a served record verifies");
                assert_eq!(opened, *record, "the record shown is the record signed");
                if hosts[number].spec.zone == zone.as_str() {
                    continue;
                }
                let mut keys = self.zone_keys.get(zone.as_str()).into_iter().flatten();
                let believed = keys.any(|key| verify_chain(&candidate.chain, &zone, key, opened.record.node).is_ok());
                assert!(believed, "host {number} serves {} without a chain to a key of {zone}", record.record.name);
            }
        }
    }

    /// Everything that can be compared across hosts.
    pub(crate) fn all(&mut self, time: Duration, hosts: &[Host]) {
        for (number, host) in hosts.iter().enumerate() {
            for (name, promise) in &host.promises {
                let origin = Origin { node: host.id, incarnation: promise.incarnation };
                for (at, reader) in hosts.iter().enumerate().filter(|(_, reader)| reader.spec.zone == host.spec.zone) {
                    let Some(node) = &reader.node else { continue };
                    let registry = node.registry();
                    // In a later life all that stood stands again, under other numbers.
                    let later = registry.incarnation_of(host.id).is_some_and(|held| held > promise.incarnation);
                    if later || (at != number && registry.through(origin) < promise.through) {
                        continue;
                    }
                    // A later record is of a write that a crash overtook before it was acknowledged: both may be true.
                    let latest = registry.latest(origin, Kind::Tool, name);
                    if latest.is_some_and(|signed| signed.record.seq > promise.through) {
                        continue;
                    }
                    let stands = latest.is_some_and(|signed| signed.record.body.is_some());
                    assert_eq!(
                        stands, promise.stands,
                        "at {time:?} host {at} holds another state of {name} than host {number} promised"
                    );
                }
            }
        }
    }
}

fn hash_of(zone: &str, vector: &[(Origin, u64)]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    zone.hash(&mut hasher);
    vector.hash(&mut hasher);
    hasher.finish()
}
