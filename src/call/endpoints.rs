//! What is known of everybody who was called: breakers, loads, and what may be repeated. The rules are in `aop_proto::call`.
//!
//! An endpoint is a server of a zone at one node. What must hold: an attempt that was begun is ended, however its caller goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aop_proto::call::{Breaker, Budget, Circuit, Load, Pass, Plan, Policy, Standing, Step, Verdict, patience};
use aop_proto::error::{Kind, Problem, to_ms};
use aop_proto::now::Now;
use aop_proto::params::ENDPOINTS_MAX;
use aop_proto::record::NodeId;
use aop_proto::wire::message::Instance;
use serde_json::{Value, json};

use crate::answers::{Circuits, Shut};
use crate::clock::{Clock, rfc3339};
use crate::watch::{Told, Watch};

/// Instances that a problem tells of.
const INSTANCES_SHOWN: usize = 8;
/// Tools of one endpoint of which it is known how long they take.
const TOOLS_MAX: usize = 256;

/// A server of a zone, at whatever node: `server.zone`.
type Service = String;

#[derive(Default)]
struct Known {
    endpoints: BTreeMap<(Service, NodeId), Endpoint>,
    budgets: BTreeMap<Service, Budget>,
    /// How many breakers came to stand closed, open, half-open.
    changes: [u64; 3],
}

#[derive(Default)]
struct Endpoint {
    breaker: Breaker,
    /// Where the breaker stood when that was told last.
    told: Circuit,
    load: Load,
    /// How long its tools take of late that answered, by name.
    tools: BTreeMap<String, Load>,
    calls: u64,
    failed: u64,
    last_good_ms: Option<u64>,
    last_error: Option<(u64, Kind, String)>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct Endpoints {
    known: Arc<Mutex<Known>>,
    clock: Clock,
    events: Watch,
    circuits: Circuits,
}

/// An attempt under way. Dropped, it ends, and says nothing of its endpoint unless that was silent for many times what the tool takes.
pub(super) struct Attempt {
    endpoints: Endpoints,
    key: (Service, NodeId),
    tool: String,
    pass: Pass,
    began: Duration,
    is_over: bool,
}

impl Endpoints {
    /// Nobody was called yet; whoever watches `events`, and whoever shows `circuits`, is told when a breaker comes to stand elsewhere.
    pub(super) fn new(clock: Clock, events: Watch, circuits: Circuits) -> Self {
        Self { known: Arc::default(), clock, events, circuits }
    }

    /// A call to `service` is made.
    pub(super) fn called(&self, service: &str, policy: &Policy) {
        let mut known = self.lock();
        if known.budgets.len() >= ENDPOINTS_MAX && !known.budgets.contains_key(service) {
            // They are full again for whoever comes back.
            known.budgets.clear();
        }
        known.budgets.entry(service.to_owned()).or_default().on_call(policy.retry_share);
    }

    /// What `plan` does now; an attempt has begun when it is to try.
    pub(super) fn next(
        &self,
        plan: &mut Plan,
        (service, tool): (&str, &str),
        policy: &Policy,
        here: NodeId,
        chance: u64,
    ) -> (Step, Option<Attempt>) {
        let now = self.clock.now().mono;
        let mut known = self.lock();
        let Known { endpoints, budgets, .. } = &mut *known;
        let budget = budgets.entry(service.to_owned()).or_default();
        let step = plan.next(now, chance, budget, |instance| standing(endpoints, service, policy, here, instance, now));
        let attempt = match &step {
            Step::Try(instance) => self.begin(&mut known, (service.to_owned(), instance.node), tool, now),
            _ => None,
        };
        (step, attempt)
    }

    /// Another instance that `plan` tries beside the one under way, if it does; that attempt has begun.
    pub(super) fn hedge(
        &self,
        plan: &mut Plan,
        (service, tool): (&str, &str),
        policy: &Policy,
        here: NodeId,
        chance: u64,
    ) -> Option<(Instance, Option<Attempt>)> {
        let now = self.clock.now().mono;
        let mut known = self.lock();
        let Known { endpoints, budgets, .. } = &mut *known;
        let budget = budgets.entry(service.to_owned()).or_default();
        let instance =
            plan.hedge(now, chance, budget, |instance| standing(endpoints, service, policy, here, instance, now))?;
        let attempt = self.begin(&mut known, (service.to_owned(), instance.node), tool, now);
        Some((instance, attempt))
    }

    fn begin(&self, known: &mut Known, key: (Service, NodeId), tool: &str, now: Duration) -> Option<Attempt> {
        let Known { endpoints, changes, .. } = known;
        if endpoints.len() >= ENDPOINTS_MAX && !endpoints.contains_key(&key) {
            endpoints
                .retain(|_, endpoint| endpoint.load.under_way > 0 || endpoint.breaker.circuit(now) != Circuit::Closed);
        }
        let endpoint = endpoints.entry(key.clone()).or_default();
        let pass = endpoint.breaker.begin(now)?;
        self.tell(changes, &key, endpoint, now);
        endpoint.load.begin();
        endpoint.calls += 1;
        Some(Attempt { endpoints: self.clone(), key, tool: tool.to_owned(), pass, began: now, is_over: false })
    }

    /// Tells whoever watches when a breaker stands elsewhere than was told before.
    fn tell(
        &self,
        changes: &mut [u64; 3],
        (service, node): &(Service, NodeId),
        endpoint: &mut Endpoint,
        now: Duration,
    ) {
        let circuit = endpoint.breaker.circuit(now);
        if std::mem::replace(&mut endpoint.told, circuit) != circuit {
            changes[circuit as usize] += 1;
            let shut = Shut { circuit, retry_at_ms: retry_at_ms(endpoint, self.clock.now()) };
            self.circuits.set(service, *node, (circuit != Circuit::Closed).then_some(shut));
            self.events.tell([Told::Breaker { service: service.clone(), node: *node, circuit }]);
        }
    }

    /// The problem of a call that no instance answered, with which were tried and when each was last good.
    pub(super) fn with_instances(
        &self,
        mut problem: Problem,
        service: &str,
        instances: &[Instance],
        tried: &[NodeId],
    ) -> Problem {
        let is_of_instances =
            matches!(problem.kind, Kind::InstanceDown | Kind::UpstreamDown | Kind::UpstreamFailed | Kind::CallTimedOut);
        let is_answer = problem.detail.as_ref().is_some_and(|detail| detail.get("rpc").is_some());
        if !is_of_instances || is_answer || instances.is_empty() {
            return problem;
        }
        let (mut all, mut words) = (Vec::new(), Vec::new());
        let known = self.lock();
        for instance in instances.iter().take(INSTANCES_SHOWN) {
            let endpoint = known.endpoints.get(&(service.to_owned(), instance.node));
            let is_tried = tried.contains(&instance.node);
            let last_ok = endpoint.and_then(|endpoint| endpoint.last_good_ms).map(|ms| rfc3339(ms / 1000));
            let error = endpoint.and_then(|endpoint| endpoint.last_error.as_ref()).map(|(_, kind, _)| kind.name());
            words.push(format!(
                "{} {}, {}",
                instance.node.short(),
                if is_tried { "tried" } else { "not tried" },
                last_ok.as_ref().map_or_else(|| "never good from here".to_owned(), |time| format!("last good {time}")),
            ));
            all.push(json!({
                "node": instance.node.to_string(), "tried": is_tried, "last_ok": last_ok, "last_error": error,
            }));
        }
        problem.message.push_str(&format!(" (instances: {})", words.join("; ")));
        let detail = problem.detail.get_or_insert_with(|| json!({}));
        detail["instances"] = all.into();
        problem
    }

    /// How many breakers came to stand closed, open, half-open so far.
    pub(super) fn changes(&self) -> [(&'static str, u64); 3] {
        let changes = self.lock().changes;
        [Circuit::Closed, Circuit::Open, Circuit::HalfOpen].map(|circuit| (circuit.name(), changes[circuit as usize]))
    }

    /// Why nothing goes to `service` now: what kind the last error was of the one that was called last. Its words may be of a tool that
    /// not everybody may find.
    pub(super) fn last_error(&self, service: &str) -> Option<Kind> {
        let known = self.lock();
        let of_service = known.endpoints.range((service.to_owned(), NodeId([0; 32]))..);
        let errors = of_service.take_while(|((of, _), _)| of == service).filter_map(|(_, one)| one.last_error.as_ref());
        errors.max_by_key(|(at, _, _)| *at).map(|(_, kind, _)| *kind)
    }

    /// Every endpoint, by service: breaker, load, and when it was last good. The words of its last error are for those who may find every
    /// tool, for others only what kind it was.
    pub(super) fn to_json(&self, in_words: bool) -> Vec<Value> {
        let (now, known) = (self.clock.now(), self.lock());
        let time = |ms: u64| rfc3339(ms / 1000);
        let shown = known.endpoints.iter().map(|((service, node), endpoint)| {
            json!({
                "service": service,
                "node": node.to_string(),
                "breaker": endpoint.breaker.circuit(now.mono).name(),
                "retry_at": retry_at_ms(endpoint, now).map(|ms| rfc3339(ms.div_ceil(1000))),
                "under_way": endpoint.load.under_way,
                "latency_ms": endpoint.load.latency().map(|latency| latency.as_secs_f64() * 1e3),
                "calls": endpoint.calls,
                "failed": endpoint.failed,
                "last_ok": endpoint.last_good_ms.map(time),
                "last_error": endpoint.last_error.as_ref().map(|(_, kind, error)| if in_words { error } else { kind.name() }),
                "last_error_at": endpoint.last_error.as_ref().map(|(at, _, _)| time(*at)),
                "repeats_left": known.budgets.get(service).map(Budget::left),
            })
        });
        shown.collect()
    }

    /// How many breakers are closed, open, half-open.
    pub(super) fn circuits(&self) -> [(&'static str, u64); 3] {
        let (now, known) = (self.clock.now().mono, self.lock());
        [Circuit::Closed, Circuit::Open, Circuit::HalfOpen].map(|circuit| {
            let such = known.endpoints.values().filter(|endpoint| endpoint.breaker.circuit(now) == circuit);
            (circuit.name(), such.count() as u64)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// How long it has been under way.
    pub(super) fn took(&self) -> Duration {
        self.endpoints.clock.now().mono.saturating_sub(self.began)
    }

    /// How long the tool takes there of late; where it never answered there, what it takes where it is slowest.
    pub(super) fn latency(&self) -> Option<Duration> {
        let known = self.endpoints.lock();
        let of = |endpoint: &Endpoint| endpoint.tools.get(&self.tool).and_then(Load::latency);
        let elsewhere = || {
            let service = known.endpoints.range((self.key.0.clone(), NodeId([0; 32]))..);
            service.take_while(|((of, _), _)| *of == self.key.0).filter_map(|(_, endpoint)| of(endpoint)).max()
        };
        known.endpoints.get(&self.key).and_then(of).or_else(elsewhere)
    }

    /// It ended, with this to say of its endpoint and why.
    pub(super) fn end(mut self, verdict: Verdict, error: Option<(Kind, String)>, chance: u64) {
        self.is_over = true;
        if verdict == Verdict::Good {
            self.note();
        }
        self.settle(verdict, error, chance);
    }

    fn note(&self) {
        let now = self.endpoints.clock.now().mono;
        let mut known = self.endpoints.lock();
        let Some(Endpoint { tools, .. }) = known.endpoints.get_mut(&self.key) else { return };
        let took = Some(now.saturating_sub(self.began));
        match tools.get_mut(&self.tool) {
            Some(load) => load.end(now, took),
            None => {
                if tools.len() >= TOOLS_MAX {
                    // It is learned again of whoever is called.
                    tools.clear();
                }
                tools.entry(self.tool.clone()).or_default().end(now, took);
            }
        }
    }

    fn settle(&self, verdict: Verdict, error: Option<(Kind, String)>, chance: u64) {
        let now = self.endpoints.clock.now();
        let mut known = self.endpoints.lock();
        let Known { endpoints, changes, .. } = &mut *known;
        let Some(endpoint) = endpoints.get_mut(&self.key) else { return };
        let took = now.mono.saturating_sub(self.began);
        // Who was given up for another took at least as long, and is no faster than is known for it.
        let is_slower = !self.is_over && endpoint.load.latency().is_none_or(|latency| took > latency);
        let took = (verdict == Verdict::Good || is_slower).then_some(took);
        endpoint.load.end(now.mono, took);
        endpoint.breaker.end(now.mono, self.pass, verdict, chance as u32);
        self.endpoints.tell(changes, &self.key, endpoint, now.mono);
        match verdict {
            Verdict::Good => endpoint.last_good_ms = Some(now.wall_ms),
            Verdict::Bad => {
                endpoint.failed += 1;
                endpoint.last_error = error.map(|(kind, error)| (now.wall_ms, kind, error));
            }
            // Whoever was in a hurry says nothing of the endpoint, and had no answer all the same.
            Verdict::Nothing if error.as_ref().is_some_and(|(kind, _)| *kind == Kind::CallTimedOut) => {
                endpoint.failed += 1;
                endpoint.last_error = error.map(|(kind, error)| (now.wall_ms, kind, error));
            }
            Verdict::Nothing => {}
        }
    }
}

/// From when on one whose breaker is open is tried again.
fn retry_at_ms(endpoint: &Endpoint, now: Now) -> Option<u64> {
    let until = endpoint.breaker.refuses_until(now.mono).filter(|until| *until > now.mono)?;
    Some(now.wall_ms.saturating_add((until - now.mono).as_millis() as u64))
}

/// What is known of an instance at this moment.
fn standing(
    endpoints: &BTreeMap<(Service, NodeId), Endpoint>,
    service: &str,
    policy: &Policy,
    here: NodeId,
    instance: &Instance,
    now: Duration,
) -> Standing {
    let endpoint = endpoints.get(&(service.to_owned(), instance.node));
    Standing {
        is_here: instance.node == here,
        load: endpoint.map(|endpoint| endpoint.load).unwrap_or_default(),
        weight: if policy.weights.is_empty() { 1 } else { policy.weight(&instance.node.to_string()) },
        refuses_until: endpoint.and_then(|endpoint| endpoint.breaker.refuses_until(now)),
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let took = self.took();
        let is_silent = self.latency().is_some_and(|latency| took >= patience(latency));
        if is_silent {
            let error =
                (Kind::CallTimedOut, format!("no answer within {:?}, and not waited for any more", to_ms(took)));
            self.settle(Verdict::Bad, Some(error), 0);
        } else {
            self.settle(Verdict::Nothing, None, 0);
        }
    }
}
