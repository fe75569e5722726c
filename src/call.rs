//! One call, from a name to a result: the visible loop over `proto::call::Plan`.
//!
//! ```text
//!  call ─▶ find ─▶ may the caller? ─▶ definition expected? ─▶ arguments fit? ─▶ Try(instance) ─▶ result, untouched
//!                                                              │ may be tried again: Wait, or the next
//!                                                              └ Done: why
//!  home ─▶ arguments fit? ─▶ ledger, where there is a key ─▶ queue ─▶ upstream
//! ```
//!
//! A call that a peer brings enters at [`Calls::serve`] and is carried out by the same code. Dropping the future cancels the call
//! all the way, unless it has an idempotency key: then it runs on, and its answer waits for whoever comes back.

mod arguments;
mod continued;
mod ending;
mod endpoints;
mod example;
mod expected;
mod home;
mod keyed;
mod many;
mod noted;
mod queues;
mod remote;
mod schema;
mod shown;
mod stats;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aop_proto::access::Caller;
use aop_proto::call::{Failed, Plan, Policies, Policy, Step, Verdict, had_time};
use aop_proto::error::{Kind, Problem, shell_word, to_ms};
use aop_proto::params::{CALL_TIMEOUT, HOPS_MAX, PRIORITY};
use aop_proto::record::{Hash, NodeId};
use aop_proto::wire::message::{Call, Instance};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

pub use self::arguments::{Checked, Schemas};
use self::continued::Continued;
use self::ending::ending;
use self::endpoints::{Attempt, Endpoints};
use self::home::Own;
use self::keyed::{Keyed, Ledgers};
pub use self::many::check_many;
pub(crate) use self::noted::Noted;
use self::queues::Queues;
pub use self::shown::QueueAct;
use crate::answers::Hit;
use crate::handle::Handle;
use crate::store::StoreError;
use crate::upstream::{Room, UpstreamCall};

/// Where a client of MCP puts its idempotency key among the `_meta` of a call, and the call's priority.
const META_KEY: &str = "aop/idempotency-key";
const META_PRIORITY: &str = "aop/priority";
/// Bytes of arguments that a hint repeats.
const HINTED_BYTES_MAX: usize = 500;
/// Where the home of a call that got no answer in time says how many milliseconds its upstream was given.
const GIVEN: &str = "given_ms";

/// A call as a door makes it.
#[derive(Debug)]
pub struct CallRequest {
    /// Who calls.
    pub caller: Caller,
    /// Full name, `server__tool` or `server/tool`.
    pub name: String,
    /// A JSON object, as it came; empty for none.
    pub arguments: Bytes,
    /// Other members of the call's parameters, as they came.
    pub extra: Vec<(String, Bytes)>,
    /// Time for everything; nothing for what the tool is given.
    pub timeout: Option<Duration>,
    /// Under which it may be repeated and runs once; nothing for what stands in `_meta`, if that says one.
    pub key: Option<String>,
    /// From 0 to 9, the highest first; nothing for what stands in `_meta`, or 5.
    pub priority: Option<u8>,
    /// The definition the caller expects.
    pub def_hash: Option<String>,
    /// Check, send nothing.
    pub dry_run: bool,
    /// Where progress goes.
    pub progress: Option<mpsc::Sender<Bytes>>,
}

impl CallRequest {
    /// The same as one of many: under a key of its own, and without what its door was told of all of them.
    ///
    /// # Errors
    /// `Usage`: what was told of all of them cannot be understood.
    pub fn one_of_many(mut self, number: usize) -> Result<Self, Problem> {
        let meant = Meant::of(&self)?;
        self.key = meant.key.map(|key| format!("{key}/{number}"));
        self.priority = Some(meant.priority);
        self.extra.clear();
        Ok(self)
    }
}

/// How a call ended well; the tool itself may still say `isError`.
#[derive(Debug, Clone)]
pub struct CallOutcome {
    /// The MCP result, byte for byte.
    pub result: Bytes,
    /// The tool's full name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// The node that served it.
    pub served_by: String,
    /// Hops between nodes.
    pub hops: u32,
    /// Time it took.
    pub took: Duration,
    /// Why the arguments were sent without having been checked, if they were.
    pub unchecked: Option<String>,
}

/// Makes calls.
#[derive(Clone)]
pub struct Calls {
    handle: Handle,
    turn: Arc<AtomicU64>,
    seed: u64,
    schemas: Schemas,
    policies: Arc<ArcSwap<Policies>>,
    endpoints: Endpoints,
    continued: Continued,
    queues: Queues,
    ledgers: Ledgers,
    /// For what other nodes answer.
    room: Room,
}

/// Why an attempt failed, and what that means for the call.
#[derive(Clone, Debug)]
struct Failure {
    problem: Problem,
    failed: Failed,
}

impl Failure {
    /// It was not sent.
    fn refused(problem: Problem) -> Self {
        Self { failed: Failed::of(problem.kind, true, true, false), problem }
    }

    /// What somebody who serves the tool said of it.
    fn said(problem: Problem, not_sent: bool) -> Self {
        // An upstream's own answer stands in the details.
        let is_answer = problem.detail.as_ref().is_some_and(|detail| detail.get("rpc").is_some());
        Self { failed: Failed::of(problem.kind, not_sent, true, is_answer), problem }
    }

    /// Nobody said how it ended.
    fn lost(problem: Problem) -> Self {
        Self { failed: Failed::of(problem.kind, false, false, false), problem }
    }
}

struct Served {
    result: Bytes,
    by: NodeId,
    hops: u32,
}

/// What is asked for under all attempts of one call.
struct Asked<'a> {
    hit: &'a Hit,
    request: &'a CallRequest,
    policy: &'a Policy,
    /// As it travels.
    key: Option<Hash>,
    priority: u8,
    began: Instant,
    deadline: Instant,
}

impl Calls {
    /// A caller of everything that `handle` finds, by these policies.
    ///
    /// # Errors
    /// The store's: what is remembered of calls under keys cannot be read.
    pub fn new(handle: Handle, policies: Policies) -> Result<Self, StoreError> {
        let clock = handle.clock();
        let ledgers = Ledgers::open(handle.store().clone(), clock)?;
        let endpoints = Endpoints::new(clock, handle.events().clone(), handle.circuits().clone());
        Ok(Self {
            handle,
            turn: Arc::default(),
            // Only spreads choices out; no chance at all would do no harm.
            seed: getrandom::u64().unwrap_or_default(),
            continued: Continued::new(),
            schemas: Schemas::default(),
            policies: Arc::new(ArcSwap::from_pointee(policies)),
            endpoints,
            queues: Queues::new(clock),
            ledgers,
            room: Room::default(),
        })
    }

    /// How tools are called from now on; what is under way goes on as it began.
    pub fn set_policies(&self, policies: Policies) {
        let policies = Arc::new(policies);
        self.policies.store(policies.clone());
        self.queues.resize(&policies);
    }

    fn policies(&self) -> Arc<Policies> {
        self.policies.load_full()
    }

    /// Waits for calls under keys that run on without their callers.
    pub async fn finish(&self) {
        self.ledgers.finish().await;
    }

    /// What answers this caller's questions.
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Finds the tool, checks, and calls it: at most once, unless it may be repeated.
    ///
    /// # Errors
    /// What went wrong and whether a retry can help. After `CallTimedOut` and `UpstreamFailed` the call may have run.
    pub async fn call(&self, request: CallRequest) -> Result<CallOutcome, Problem> {
        let started = Instant::now();
        let outcome = self.call_noted(request, started).await;
        let ended = outcome.as_ref().map(|outcome| &*outcome.result).map_err(|problem| problem.kind);
        self.handle.metrics_registry().called(ended, started.elapsed());
        outcome
    }

    async fn call_noted(&self, request: CallRequest, started: Instant) -> Result<CallOutcome, Problem> {
        let found_by = started + time_for(&request, self.policies().usual.timeout)?;
        let begin = Noted::begin(&self.handle, &request.caller.principal, &request.name);
        let mut noted = timeout_at(found_by, begin).await.map_err(|_| not_found_in_time(&request.name))?;
        let is_call = !request.dry_run;
        let outcome = self.try_call(request, started, found_by, &mut noted).await;
        if is_call {
            noted.end(outcome.as_ref().map(|outcome| &*outcome.served_by).map_err(|problem| problem.kind));
        } else {
            noted.forget();
        }
        outcome
    }

    async fn try_call(
        &self,
        request: CallRequest,
        started: Instant,
        found_by: Instant,
        noted: &mut Noted,
    ) -> Result<CallOutcome, Problem> {
        let find = self.handle.find_to_call(&request.caller, &request.name);
        let hit = timeout_at(found_by, find).await.map_err(|_| not_found_in_time(&request.name))??;
        noted.found(&hit.name, &hit.zone, &hit.def_hash);
        self.handle.may_call(&request.caller, &hit)?;
        expect_definition(&hit, request.def_hash.as_deref())?;
        let checked = self.schemas.check(&hit.name, &hit.def_hash, &hit.definition, &request.arguments)?;
        let policies = self.policies();
        let policy = &*self.policy_of(&policies, &hit);
        let deadline = started + time_for(&request, policy.timeout)?;
        let meant = Meant::of(&request)?;
        let who = request.caller.principal.to_string();
        let key = meant.key.map(|key| keyed::key_of(&who, &hit.name, &key)).transpose()?;
        let outcome = |result, served_by, hops| outcome(&hit, result, served_by, hops, started, checked.clone());
        if request.dry_run {
            self.could_be_sent(&hit, &request.arguments)?;
            return Ok(outcome(Bytes::from_static(b"null"), String::new(), 0));
        }
        let asked =
            Asked { hit: &hit, request: &request, policy, key, priority: meant.priority, began: started, deadline };
        let served = self.carry_out(&asked).await.map_err(|problem| advised(problem, &asked))?;
        Ok(outcome(served.result, served.by.to_string(), served.hops))
    }

    /// How a tool is called: as the operator's file says, and as its definition does where this node serves it and the operator wrote that.
    fn policy_of<'a>(&self, policies: &'a Policies, hit: &Hit) -> Cow<'a, Policy> {
        let here = self.handle.view().node;
        match hit.instances.iter().any(|instance| instance.node == here) {
            true => self.own_policy(policies, &hit.name, &hit.server, &hit.original),
            false => Cow::Borrowed(policies.of(&hit.name)),
        }
    }

    /// The same of a tool of this node.
    fn own_policy<'a>(&self, policies: &'a Policies, name: &str, server: &str, original: &str) -> Cow<'a, Policy> {
        let policy = policies.of(name);
        let spec = self.handle.upstreams().spec(server);
        match spec.map_or((false, false), |spec| spec.hints_of(original)) {
            (false, false) => Cow::Borrowed(policy),
            (read_only, idempotent) => Cow::Owned(Policy {
                read_only: policy.read_only || read_only,
                idempotent: policy.idempotent || idempotent,
                ..policy.clone()
            }),
        }
    }

    /// The loop: tries, waits, and ends as the plan says.
    async fn carry_out(&self, asked: &Asked<'_>) -> Result<Served, Problem> {
        let (clock, here, policy) = (self.handle.clock(), self.handle.view().node, asked.policy);
        let service = asked.hit.service();
        let called = (&*service, &*asked.hit.name);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let deadline = clock.now().mono + asked.deadline.saturating_duration_since(Instant::now());
        let name = &asked.hit.name;
        let asked_by = self.continued.asked_by(name, &asked.request.extra, clock.now().mono);
        let meant = asked.hit.instances.iter().filter(|instance| asked_by.is_none_or(|by| instance.node == by));
        let instances: Vec<Instance> = meant.cloned().collect();
        let mut plan = Plan::new(&instances, policy.clone(), asked.key, turn, deadline);
        self.endpoints.called(&service, policy);
        let mut last = None;
        loop {
            let chance = self.chance(turn, plan.tried());
            let (step, attempt) = self.endpoints.next(&mut plan, called, policy, here, chance);
            match step {
                Step::Done(ended) => {
                    let why = || self.endpoints.last_error(&service).map(|kind| kind.name().to_owned());
                    let mut problem = ending(asked.hit, ended, last, why, clock.now().mono);
                    if problem.kind == Kind::CallTimedOut && plan.tried() > 1 {
                        // The last attempt had what the others left.
                        let (tried, time) = (plan.tried(), to_ms(asked.deadline - asked.began));
                        problem.message =
                            format!("{tried} attempts took all of {time:?}; the last: {}", problem.message);
                    }
                    if plan.hides_a_run() {
                        problem.message.push_str("; the call may have run in an attempt before");
                    }
                    return Err(self.endpoints.with_instances(problem, &service, &asked.hit.instances, plan.nodes()));
                }
                Step::Wait(until) => tokio::time::sleep_until(clock.instant(until).into()).await,
                Step::Try(instance) => {
                    let usual = attempt.as_ref().and_then(Attempt::latency);
                    // Of two at once nobody could tell how far the call is.
                    let hedges =
                        plan.hedges_after(clock.now().mono, usual).filter(|_| asked.request.progress.is_none());
                    let begun = (instance, attempt);
                    let tried = match hedges {
                        None => self.try_alone(asked, &mut plan, chance, begun).await,
                        Some(after) => {
                            let hedged = self.try_and_hedge(asked, &mut plan, called, chance, begun, after);
                            Box::pin(hedged).await
                        }
                    };
                    match tried {
                        Ok(served) => {
                            if asked.hit.instances.len() > 1 {
                                self.continued.hear(name, &served.result, served.by, clock.now().mono);
                            }
                            return Ok(served);
                        }
                        Err(problem) => last = Some(problem),
                    }
                }
            }
        }
    }

    /// Tries an instance.
    async fn try_alone(
        &self,
        asked: &Asked<'_>,
        plan: &mut Plan,
        chance: u64,
        begun: (Instance, Option<Attempt>),
    ) -> Result<Served, Problem> {
        let (node, tried) = self.attempt_noted(asked, begun, chance).await;
        tried.map_err(|failure| {
            plan.on_failed(node, failure.failed);
            failure.problem
        })
    }

    /// Tries an instance, and another one beside it that long after, and so on while any is left: the first good answer counts, the
    /// other attempts are cancelled.
    async fn try_and_hedge(
        &self,
        asked: &Asked<'_>,
        plan: &mut Plan,
        called: (&str, &str),
        chance: u64,
        begun: (Instance, Option<Attempt>),
        after: Duration,
    ) -> Result<Served, Problem> {
        let (here, clock) = (self.handle.view().node, self.handle.clock());
        let mut hedge = Some(Instant::now() + after);
        let mut under_way = FuturesUnordered::from_iter([self.attempt_noted(asked, begun, chance)]);
        loop {
            let (node, tried) = tokio::select! {
                biased;
                Some(ended) = under_way.next() => ended,
                () = sleep_until(hedge.unwrap_or(asked.deadline)), if hedge.is_some() => {
                    let begun = self.endpoints.hedge(plan, called, asked.policy, here, !chance);
                    let usual = begun.as_ref().and_then(|(_, attempt)| attempt.as_ref()).and_then(Attempt::latency);
                    // Whoever may not be tried now may not be so later either: the next attempt comes with this one or not at all.
                    let next = begun.is_some().then(|| plan.hedges_after(clock.now().mono, usual)).flatten();
                    hedge = next.map(|after| Instant::now() + after);
                    under_way.extend(begun.map(|begun| self.attempt_noted(asked, begun, chance)));
                    continue;
                }
            };
            let failure = match tried {
                Ok(served) => return Ok(served),
                Err(failure) => failure,
            };
            plan.on_failed(node, failure.failed);
            if under_way.is_empty() || failure.failed == Failed::Answered {
                return Err(failure.problem);
            }
        }
    }

    /// One attempt, and what it says of its endpoint.
    async fn attempt_noted(
        &self,
        asked: &Asked<'_>,
        (instance, attempt): (Instance, Option<Attempt>),
        chance: u64,
    ) -> (NodeId, Result<Served, Failure>) {
        let tried = self.attempt(asked, &instance).await;
        if let Some(attempt) = attempt {
            let verdict = verdict(&tried, attempt.took(), asked.policy.timeout, || attempt.latency());
            // What was never sent, as its time was over before, is no failure of an endpoint either.
            let failure = tried.as_ref().err().filter(|it| verdict == Verdict::Bad || !it.failed.not_sent());
            let error = failure.map(|failure| (failure.problem.kind, failure.problem.message.clone()));
            attempt.end(verdict, error, chance);
        }
        (instance.node, tried)
    }

    /// Any number: another for each step of each call.
    fn chance(&self, turn: u64, step: u32) -> u64 {
        // SplitMix64.
        let mut chance = self
            .seed
            .wrapping_add(turn.rotate_left(20).wrapping_add(u64::from(step)).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        chance = (chance ^ (chance >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        chance = (chance ^ (chance >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        chance ^ (chance >> 31)
    }

    async fn attempt(&self, asked: &Asked<'_>, instance: &Instance) -> Result<Served, Failure> {
        let (hit, request) = (asked.hit, asked.request);
        if instance.node == self.handle.view().node {
            let call = UpstreamCall {
                tool: hit.original.clone(),
                arguments: request.arguments.clone(),
                extra: request.extra.clone(),
                timeout: asked.deadline.saturating_duration_since(Instant::now()),
                progress: request.progress.clone(),
            };
            let own = Own {
                deadline: asked.deadline,
                server: hit.server.clone(),
                tool: hit.name.clone(),
                caller: request.caller.principal.to_string(),
                key: asked.key.map(|key| {
                    let caller = request.caller.principal.to_string();
                    Keyed::new(&key, &hit.zone, &caller, &call.arguments, asked.policy.may_repeat())
                }),
                priority: asked.priority,
                call,
            };
            return self.call_here(own).await;
        }
        let call = Call {
            name: hit.name.clone(),
            home: instance.node,
            zone: hit.zone.clone(),
            def_hash: parse_hash(&hit.def_hash),
            arguments: request.arguments.to_vec(),
            extra: request.extra.iter().map(|(key, bytes)| (key.clone(), bytes.to_vec())).collect(),
            // Said when it is sent: until then time goes by.
            deadline_ms: 0,
            hops: HOPS_MAX,
            progress: request.progress.is_some(),
            key: asked.key,
            priority: asked.priority,
            afar: false,
            author: None,
        };
        let signed = timeout_at(asked.deadline, self.handle.sign(call)).await;
        let call = signed.map_err(|_| late(&hit.name))?.map_err(Failure::refused)?;
        let (progress, may_move) = (request.progress.clone(), asked.policy.may_repeat() && hit.instances.len() > 1);
        Box::pin(self.call_there(call, &instance.address, progress, asked.deadline, may_move)).await
    }
}

/// What a caller says of repeating its call, and of its turn.
struct Meant {
    key: Option<String>,
    priority: u8,
}

impl Meant {
    /// As the door was told, or as it stands in `_meta`.
    fn of(request: &CallRequest) -> Result<Self, Problem> {
        let meta = request.extra.iter().find(|(member, _)| member == "_meta");
        let meta: Option<serde_json::Value> = match (&request.key, request.priority, meta) {
            (Some(_), Some(_), _) | (_, _, None) => None,
            // Most have nothing of ours in it, and are not read for it.
            (_, _, Some((_, meta))) if !meta.windows(4).any(|part| part == b"aop/") => None,
            (_, _, Some((_, meta))) => serde_json::from_slice(meta).ok(),
        };
        let meta = |member: &str| meta.as_ref().and_then(|meta| meta.get(member));
        let wrong = |what: &str| Problem::new(Kind::Usage, what.to_owned()).hint("aop call --help");
        let key = match (&request.key, meta(META_KEY)) {
            (Some(key), _) => Some(key.clone()),
            (None, None) => None,
            (None, Some(key)) => {
                let key = key.as_str().ok_or_else(|| wrong("the idempotency key in `_meta` has to be text"))?;
                Some(key.to_owned())
            }
        };
        let priority = match (request.priority, meta(META_PRIORITY)) {
            (Some(priority), _) => Some(u64::from(priority)),
            (None, None) => Some(u64::from(PRIORITY.0)),
            (None, Some(priority)) => priority.as_u64(),
        };
        let priority = priority.and_then(|priority| u8::try_from(priority).ok()).filter(|one| *one <= PRIORITY.2);
        Ok(Self { key, priority: priority.ok_or_else(|| wrong("a priority is a number from 0 to 9"))? })
    }
}

/// What an attempt says of its endpoint. What the upstream was given is told by its home, which knows how long the call waited for its
/// turn; where nobody answers it is the time the attempt took.
fn verdict(
    tried: &Result<Served, Failure>,
    took: Duration,
    allowed: Duration,
    latency: impl FnOnce() -> Option<Duration>,
) -> Verdict {
    match tried {
        Ok(_) => Verdict::Good,
        Err(failure) => {
            let told = failure.problem.detail.as_ref().and_then(|detail| detail.get(GIVEN));
            // Whoever does not know how much of its time it waited for its turn says so.
            let given = told.map_or(took, |told| Duration::from_millis(told.as_u64().unwrap_or(0)));
            let had_time = had_time(given, allowed, latency());
            Verdict::of(failure.problem.kind, failure.failed == Failed::Answered, had_time)
        }
    }
}

fn outcome(hit: &Hit, result: Bytes, served_by: String, hops: u32, started: Instant, checked: Checked) -> CallOutcome {
    let (name, zone, took) = (hit.name.clone(), hit.zone.clone(), started.elapsed());
    let unchecked = match checked {
        Checked::Fit => None,
        Checked::Unknown(why) => Some(why),
    };
    CallOutcome { result, name, zone, served_by, hops, took, unchecked }
}

fn expect_definition(hit: &Hit, expected: Option<&str>) -> Result<(), Problem> {
    match expected {
        Some(expected) if expected != hit.def_hash => {
            Err(changed(&hit.name).detail(json!({"expected": expected, "found": hit.def_hash})))
        }
        _ => Ok(()),
    }
}

fn changed(name: &str) -> Problem {
    Problem::new(Kind::DefinitionChanged, format!("the definition of `{name}` is not the one expected"))
        .hint(format!("aop show {name} --schema"))
}

/// The time for everything that `request` is about, where it says none so much as is usual.
///
/// # Errors
/// `Usage`: it has no time at all, or more than a call may have.
fn time_for(request: &CallRequest, usual: Duration) -> Result<Duration, Problem> {
    let (_, least, most) = CALL_TIMEOUT;
    match request.timeout {
        // Cut in silence, it would end before its caller expects it to.
        Some(time) if !(least..=most).contains(&time) => {
            let given = if time.is_zero() { "none".to_owned() } else { format!("{time:?}") };
            let message = format!("a call has {least:?} to {most:?}, and this one was given {given}");
            Err(Problem::new(Kind::Usage, message).hint(longer(&request.name)))
        }
        time => Ok(time.unwrap_or(usual)),
    }
}

fn not_found_in_time(name: &str) -> Problem {
    let message = format!("the time of the call was over before `{name}` was found; nothing was sent");
    Problem::new(Kind::TimedOut, message).hint(longer(name))
}

/// What gives a call more time.
fn longer(name: &str) -> String {
    format!("aop call {name} --timeout 2m")
}

/// A call that ended for want of time is hinted at again only where that does nothing twice: under its key, or where it may be repeated.
fn advised(problem: Problem, asked: &Asked<'_>) -> Problem {
    let name = &asked.hit.name;
    if problem.kind != Kind::CallTimedOut || problem.hint.as_ref().is_none_or(|hint| *hint != longer(name)) {
        return problem;
    }
    let key = Meant::of(asked.request).ok().and_then(|meant| meant.key);
    if key.is_none() && !asked.policy.may_repeat() {
        return problem.hint(format!("aop show {name}"));
    }
    let arguments = std::str::from_utf8(&asked.request.arguments).unwrap_or_default();
    let mut again = format!("aop call {name}");
    if !matches!(arguments.trim(), "" | "{}") && arguments.len() <= HINTED_BYTES_MAX {
        again.push_str(&format!(" --args {}", shell_word(arguments)));
    }
    if let Some(key) = key {
        again.push_str(&format!(" --idempotency-key {}", shell_word(&key)));
    }
    problem.hint(format!("{again} --timeout 2m"))
}

/// The time was over before the call was sent.
fn late(name: &str) -> Failure {
    let message = format!("the time of the call was over before `{name}` was sent anything");
    Failure::refused(Problem::new(Kind::CallTimedOut, message).hint(longer(name)))
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let hex = text.strip_prefix("sha256:")?;
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_that_the_upstream_had_speaks_against_it() {
        let (usual, latency) = (Duration::from_secs(30), Some(Duration::from_millis(100)));
        let with = |given: Option<u64>, took, latency| {
            let problem = Problem::new(Kind::CallTimedOut, "late");
            let problem = given.map_or(problem.clone(), |given| problem.detail(json!({GIVEN: given})));
            verdict(&Err(Failure::lost(problem)), took, usual, || latency)
        };
        let of = |given, took| with(given, took, None);
        assert_eq!(with(Some(1_000), usual, latency), Verdict::Bad, "it answered in a tenth of that before");
        assert_eq!(of(Some(1_000), usual), Verdict::Nothing, "it waited for its turn");
        assert_eq!(of(Some(29_999), usual), Verdict::Bad, "a moment went by before it was sent");
        assert_eq!((of(None, usual), of(None, usual / 2)), (Verdict::Bad, Verdict::Nothing));
    }
}
