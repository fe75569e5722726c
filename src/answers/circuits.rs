//! What this node alone says of instances: which of them its calls keep away from, and until when, and whom it has not heard yet.
//!
//! Nothing of it is told to other nodes, and nothing of it is kept with an answer, which only says how an instance is as its zone knows
//! it. Whoever makes calls writes down here how breakers stand (`call`), whoever shows an answer lays both over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aop_proto::call::Circuit;
use aop_proto::record::NodeId;
use aop_proto::wire::message::{Health, Instance};
use arc_swap::ArcSwap;

use super::{Hit, Obstacle, Resolution};

/// How the breaker of one instance stands where it is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shut {
    /// Open or half-open.
    pub circuit: Circuit,
    /// From when on it is tried again, milliseconds since the Unix epoch; nothing for one that is being tried.
    pub retry_at_ms: Option<u64>,
}

/// By service and node; what is closed is not there.
type All = BTreeMap<(String, NodeId), Shut>;

/// Every breaker of this node that is not closed. Cheap to clone; clones share.
#[derive(Debug, Clone, Default)]
pub struct Circuits(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    all: ArcSwap<All>,
    changes: AtomicU64,
}

impl Circuits {
    /// The breaker of `service` at `node` came to stand so; nothing for closed.
    pub(crate) fn set(&self, service: &str, node: NodeId, shut: Option<Shut>) {
        self.0.all.rcu(|all| {
            let (mut all, key) = (All::clone(all), (service.to_owned(), node));
            match shut {
                Some(shut) => drop(all.insert(key, shut)),
                None => drop(all.remove(&key)),
            }
            all
        });
        self.0.changes.fetch_add(1, Ordering::Release);
    }

    /// Grows with every change. Read before [`Self::lay_over`], it tells later whether that would say something else by now.
    pub(super) fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    /// Says with the answer which instances are left alone at `now_ms`, and which are of nodes that are `unheard`. Such an answer is not
    /// said again as it is: a pause ends by itself.
    pub(crate) fn lay_over(
        &self,
        resolution: Arc<Resolution>,
        unheard: &BTreeSet<NodeId>,
        now_ms: u64,
    ) -> Arc<Resolution> {
        let all = self.0.all.load();
        let is_touched = |hit: &Hit| has_unheard(hit, unheard) || !shut(&all, hit, now_ms).is_empty();
        if all.is_empty() && unheard.is_empty() || !resolution.hits.iter().any(is_touched) {
            return resolution;
        }
        let mut shown = Arc::unwrap_or_clone(resolution);
        shown.hits.iter_mut().for_each(|hit| touch(hit, &all, unheard, now_ms));
        shown.again = None;
        Arc::new(shown.marked())
    }

    /// The same of one tool. Only to be shown: nobody calls what is not known to be there.
    pub(crate) fn lay_over_one(&self, hit: &mut Hit, unheard: &BTreeSet<NodeId>, now_ms: u64) {
        touch(hit, &self.0.all.load(), unheard, now_ms);
    }
}

fn has_unheard(hit: &Hit, unheard: &BTreeSet<NodeId>) -> bool {
    !unheard.is_empty() && hit.instances.iter().any(|instance| unheard.contains(&instance.node))
}

fn touch(hit: &mut Hit, all: &All, unheard: &BTreeSet<NodeId>, now_ms: u64) {
    hit.shut = shut(all, hit, now_ms);
    if let Some(at) = hit.retry_at_ms()
        && !hit.obstacles.iter().any(|obstacle| obstacle.check == "transport")
    {
        hit.obstacles.push(Obstacle::left_alone(&hit.name, at));
    }
    let of_them = hit.instances.iter_mut().filter(|instance| unheard.contains(&instance.node));
    of_them.filter(|instance| instance.health == Health::Ok).for_each(|instance| instance.health = Health::Unknown);
}

fn shut(all: &All, hit: &Hit, now_ms: u64) -> BTreeMap<NodeId, Shut> {
    if all.is_empty() {
        return BTreeMap::new();
    }
    let service = hit.service();
    let of = |node: NodeId| {
        let known = all.get(&(service.clone(), node))?;
        // A pause that is over waits for somebody to try.
        let is_over = known.retry_at_ms.is_some_and(|at| at <= now_ms);
        Some((node, if is_over { Shut { circuit: Circuit::HalfOpen, retry_at_ms: None } } else { *known }))
    };
    hit.instances.iter().filter_map(|instance| of(instance.node)).collect()
}

impl Hit {
    /// Whose breaker it is behind: `server.zone`.
    pub fn service(&self) -> String {
        format!("{}.{}", self.server, self.zone)
    }

    /// When this node calls it again, where the breakers of all that are there are open; nothing where one may be called now, or where
    /// nobody is there to be called.
    pub(super) fn retry_at_ms(&self) -> Option<u64> {
        let is_there = |instance: &&Instance| matches!(instance.health, Health::Ok | Health::Degraded);
        let open = |node| self.shut.get(node).filter(|shut| shut.circuit == Circuit::Open)?.retry_at_ms;
        let there = self.instances.iter().filter(is_there);
        let all: Option<Vec<u64>> = there.map(|instance| open(&instance.node)).collect();
        all?.into_iter().min()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::answers::{Again, Moment, Show};

    fn instance(number: u8, health: Health) -> Instance {
        let (address, error) = (String::new(), String::new());
        Instance { node: NodeId([number; 32]), address, health, error, since_ms: 0 }
    }

    fn answer(instances: Vec<Instance>) -> Arc<Resolution> {
        let hit = Hit { server: "s".to_owned(), zone: "lab".to_owned(), instances, ..Hit::default() };
        let again = Some(Again { moment: Moment::default(), ages: false });
        Arc::new(Resolution { hits: vec![hit], again, ..Resolution::default() }.marked())
    }

    fn open(retry_at_ms: u64) -> Option<Shut> {
        Some(Shut { circuit: Circuit::Open, retry_at_ms: Some(retry_at_ms) })
    }

    /// What could not be called from here was shown as `ok`.
    #[test]
    fn who_is_left_alone_is_shown_so_and_until_when() {
        let (circuits, both) = (Circuits::default(), answer(vec![instance(1, Health::Ok), instance(2, Health::Ok)]));
        let first = |now_ms| circuits.lay_over(both.clone(), &BTreeSet::new(), now_ms).hits[0].to_json(Show::default());
        circuits.set("s.lab", NodeId([1; 32]), open(5_000));
        circuits.set("other.lab", NodeId([2; 32]), open(9_000));
        let shown = first(1_000);
        assert_eq!(shown["health"]["state"], "ok", "the other one is called");
        assert_eq!(shown["instances"][0]["breaker"], "open");
        assert_eq!(shown["instances"][0]["retry_at"], "1970-01-01T00:00:05Z");
        assert_eq!(shown["instances"][1].get("breaker"), None);
        circuits.set("s.lab", NodeId([2; 32]), open(4_000));
        let shown = first(1_000);
        assert_eq!(
            (&shown["health"]["state"], &shown["health"]["retry_at"]),
            (&json!("open"), &json!("1970-01-01T00:00:04Z"))
        );
        assert_eq!((&shown["usable"], &shown["why_not"][0]["check"]), (&json!(false), &json!("transport")));
        let shown = first(4_000);
        assert_eq!((&shown["health"]["state"], shown["health"].get("retry_at")), (&json!("ok"), None));
        assert_eq!(shown["instances"][1]["breaker"], "half-open");
        circuits.set("s.lab", NodeId([1; 32]), None);
        circuits.set("s.lab", NodeId([2; 32]), None);
        assert!(Arc::ptr_eq(&circuits.lay_over(both.clone(), &BTreeSet::new(), 1_000), &both));
    }

    #[test]
    fn an_answer_that_tells_of_a_breaker_has_another_mark_and_is_not_said_again() {
        let (circuits, plain) = (Circuits::default(), answer(vec![instance(1, Health::Ok)]));
        let before = circuits.changes();
        circuits.set("s.lab", NodeId([1; 32]), open(5_000));
        assert_ne!(circuits.changes(), before);
        let shown = circuits.lay_over(plain.clone(), &BTreeSet::new(), 1_000);
        assert!(plain.again.is_some() && shown.again.is_none());
        assert_ne!(shown.etag, plain.etag);
    }

    /// A node that had just started said `ok` of a fellow that had gone meanwhile.
    #[test]
    fn who_was_not_heard_yet_is_not_said_to_be_well_and_may_be_called() {
        let plain = answer(vec![instance(1, Health::Ok), instance(2, Health::Degraded)]);
        let unheard = BTreeSet::from([NodeId([1; 32]), NodeId([2; 32])]);
        let shown = Circuits::default().lay_over(plain.clone(), &unheard, 0);
        assert!(shown.again.is_none() && shown.etag != plain.etag);
        let shown = shown.hits[0].to_json(Show::default());
        assert_eq!((&shown["health"]["state"], &shown["usable"]), (&json!("unknown"), &json!(true)));
        let healths = [0, 1].map(|at| shown["instances"][at]["health"].clone());
        assert_eq!(healths, [json!("unknown"), json!("degraded")], "what its own node told of it stands");
    }

    #[test]
    fn who_is_down_is_not_said_to_be_tried_again() {
        let (circuits, plain) = (Circuits::default(), answer(vec![instance(1, Health::Down)]));
        circuits.set("s.lab", NodeId([1; 32]), open(5_000));
        let shown = circuits.lay_over(plain, &BTreeSet::new(), 1_000).hits[0].to_json(Show::default());
        assert_eq!(shown["health"]["state"], "down");
    }
}
