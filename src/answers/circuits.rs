//! What this node's own breakers say of instances: which of them its calls keep away from, and until when.
//!
//! It is this node's alone: nothing of it is told to other nodes, and nothing of it is kept with an answer, which only says how an
//! instance is as its zone knows it. Whoever makes calls writes it down here (`call`), whoever shows an answer lays it over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aop_proto::call::Circuit;
use aop_proto::record::NodeId;
use aop_proto::wire::message::Health;
use arc_swap::ArcSwap;

use super::{Hit, Resolution};

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

    /// Says with the answer which instances are left alone at `now_ms`. Such an answer is not said again as it is: a pause ends by itself.
    pub(crate) fn lay_over(&self, resolution: Arc<Resolution>, now_ms: u64) -> Arc<Resolution> {
        let all = self.0.all.load();
        if all.is_empty() || !resolution.hits.iter().any(|hit| !shut(&all, hit, now_ms).is_empty()) {
            return resolution;
        }
        let mut shown = Arc::unwrap_or_clone(resolution);
        shown.hits.iter_mut().for_each(|hit| hit.shut = shut(&all, hit, now_ms));
        shown.again = None;
        Arc::new(shown.marked())
    }

    /// The same of one tool.
    pub(crate) fn of(&self, hit: &mut Hit, now_ms: u64) {
        hit.shut = shut(&self.0.all.load(), hit, now_ms);
    }
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

    /// When this node calls it again, where the breakers of all its best instances are open; nothing where one may be called now, or
    /// where nobody is there to be called.
    pub(super) fn retry_at_ms(&self) -> Option<u64> {
        let health = self.health();
        let best = self.instances.iter().filter(|instance| instance.health == health && health != Health::Down);
        let open = |node| self.shut.get(node).filter(|shut| shut.circuit == Circuit::Open)?.retry_at_ms;
        let all: Option<Vec<u64>> = best.map(|instance| open(&instance.node)).collect();
        all?.into_iter().min()
    }
}

#[cfg(test)]
mod tests {
    use aop_proto::wire::message::Instance;
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
        let first = |now_ms| circuits.lay_over(both.clone(), now_ms).hits[0].to_json(Show::default());
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
        let shown = first(4_000);
        assert_eq!((&shown["health"]["state"], shown["health"].get("retry_at")), (&json!("ok"), None));
        assert_eq!(shown["instances"][1]["breaker"], "half-open");
        circuits.set("s.lab", NodeId([1; 32]), None);
        circuits.set("s.lab", NodeId([2; 32]), None);
        assert!(Arc::ptr_eq(&circuits.lay_over(both.clone(), 1_000), &both));
    }

    #[test]
    fn an_answer_that_tells_of_a_breaker_has_another_mark_and_is_not_said_again() {
        let (circuits, plain) = (Circuits::default(), answer(vec![instance(1, Health::Ok)]));
        let before = circuits.changes();
        circuits.set("s.lab", NodeId([1; 32]), open(5_000));
        assert_ne!(circuits.changes(), before);
        let shown = circuits.lay_over(plain.clone(), 1_000);
        assert!(plain.again.is_some() && shown.again.is_none());
        assert_ne!(shown.etag, plain.etag);
    }

    #[test]
    fn who_is_down_is_not_said_to_be_tried_again() {
        let (circuits, plain) = (Circuits::default(), answer(vec![instance(1, Health::Down)]));
        circuits.set("s.lab", NodeId([1; 32]), open(5_000));
        let shown = circuits.lay_over(plain, 1_000).hits[0].to_json(Show::default());
        assert_eq!(shown["health"]["state"], "down");
    }
}
