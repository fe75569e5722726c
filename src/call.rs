//! One call, from a name to a result: the visible loop over `proto::call::Plan`.
//!
//! ```text
//!  call ─▶ find ─▶ may the caller? ─▶ definition expected? ─▶ arguments fit? ─▶ Try(instance) ─▶ result, untouched
//!                                                              │ provably not sent: next
//!                                                              └ Done: why
//! ```
//!
//! A call that a peer brings enters at [`Calls::serve`] and is carried out by the same code. Dropping the future cancels the call
//! all the way.

mod arguments;
mod noted;
mod remote;
mod schema;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aop_proto::access::{Action, Caller, Principal};
use aop_proto::call::{Ended, Plan, Step};
use aop_proto::error::{Kind, Problem};
use aop_proto::name::FullName;
use aop_proto::params::{CALL_TIMEOUT, HOPS_MAX};
use aop_proto::record::NodeId;
use aop_proto::wire::message::{Call, Instance};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;

pub use self::arguments::{Checked, Schemas};
use self::noted::Noted;
use crate::answers::Hit;
use crate::handle::{BroughtCall, Handle, no_tool_here};
use crate::upstream::{UpstreamCall, UpstreamError};

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
    /// Time for everything.
    pub timeout: Duration,
    /// The definition the caller expects.
    pub def_hash: Option<String>,
    /// Check, send nothing.
    pub dry_run: bool,
    /// Where progress goes.
    pub progress: Option<mpsc::Sender<Bytes>>,
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
    schemas: Schemas,
}

/// Why an attempt failed, and whether another may follow.
#[derive(Debug)]
struct Failure {
    problem: Problem,
    not_sent: bool,
}

struct Served {
    result: Bytes,
    by: NodeId,
    hops: u32,
}

impl Calls {
    /// A caller of everything that `handle` finds.
    pub fn new(handle: Handle) -> Self {
        Self { handle, turn: Arc::default(), schemas: Schemas::default() }
    }

    /// What answers this caller's questions.
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Finds the tool, checks, and calls it at most once.
    ///
    /// # Errors
    /// What went wrong and whether a retry can help. After `CallTimedOut` and `UpstreamFailed` the call may have run.
    pub async fn call(&self, request: CallRequest) -> Result<CallOutcome, Problem> {
        let started = Instant::now();
        let mut noted = Noted::begin(&self.handle, &request.caller.principal, &request.name).await;
        let is_call = !request.dry_run;
        let outcome = self.try_call(request, started, &mut noted).await;
        if is_call {
            noted.end(outcome.as_ref().map(|outcome| &*outcome.served_by).map_err(|problem| problem.kind));
        } else {
            noted.forget();
        }
        let ended = outcome.as_ref().map(|outcome| &*outcome.result).map_err(|problem| problem.kind);
        self.handle.metrics_registry().called(ended, started.elapsed());
        outcome
    }

    async fn try_call(
        &self,
        request: CallRequest,
        started: Instant,
        noted: &mut Noted,
    ) -> Result<CallOutcome, Problem> {
        let (_, least, most) = CALL_TIMEOUT;
        let timeout = request.timeout.clamp(least, most);
        let hit = self.handle.find(&request.caller, &request.name, Action::Call).await?;
        noted.found(&hit.name, &hit.zone, &hit.def_hash);
        self.handle.may_call(&request.caller, &hit)?;
        expect_definition(&hit, request.def_hash.as_deref())?;
        let checked = self.schemas.check(&hit.name, &hit.def_hash, &hit.definition, &request.arguments)?;
        let outcome = |result, served_by, hops| outcome(&hit, result, served_by, hops, started, checked.clone());
        if request.dry_run {
            return Ok(outcome(Bytes::from_static(b"null"), String::new(), 0));
        }
        let clock = self.handle.clock();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let here = self.handle.view().node;
        let mut plan = Plan::new(&hit.instances, here, turn, clock.now().mono + timeout);
        let mut last = None;
        loop {
            match plan.next(clock.now().mono) {
                Step::Done(ended) => return Err(ending(&hit, ended, last)),
                Step::Try(instance) => match self.attempt(&hit, &request, &instance, started, timeout).await {
                    Ok(served) => {
                        return Ok(outcome(served.result, served.by.to_string(), served.hops));
                    }
                    Err(failure) => {
                        plan.on_failed(failure.not_sent);
                        last = Some(failure.problem);
                    }
                },
            }
        }
    }

    async fn attempt(
        &self,
        hit: &Hit,
        request: &CallRequest,
        instance: &Instance,
        started: Instant,
        timeout: Duration,
    ) -> Result<Served, Failure> {
        let left = timeout.saturating_sub(started.elapsed());
        if instance.node == self.handle.view().node {
            let call = UpstreamCall {
                tool: hit.original.clone(),
                arguments: request.arguments.clone(),
                extra: request.extra.clone(),
                timeout: left,
                progress: request.progress.clone(),
            };
            return self.call_here(&hit.server, &hit.name, call).await;
        }
        let call = Call {
            name: hit.name.clone(),
            home: instance.node,
            zone: hit.zone.clone(),
            def_hash: parse_hash(&hit.def_hash),
            arguments: request.arguments.to_vec(),
            extra: request.extra.iter().map(|(key, bytes)| (key.clone(), bytes.to_vec())).collect(),
            deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            hops: HOPS_MAX,
            progress: request.progress.is_some(),
            afar: false,
            author: None,
        };
        let call = self.handle.sign(call).await.map_err(|problem| Failure { problem, not_sent: true })?;
        self.call_there(call, &instance.address, request.progress.clone()).await
    }

    /// Calls an upstream of this node.
    async fn call_here(&self, server: &str, tool: &str, call: UpstreamCall) -> Result<Served, Failure> {
        let by = self.handle.view().node;
        match self.handle.upstreams().call(server, call).await {
            Ok(result) => Ok(Served { result, by, hops: 0 }),
            Err(error) => Err(Failure { not_sent: error.not_sent(), problem: upstream_problem(server, tool, &error) }),
        }
    }

    /// Carries out a call that a peer brought for this node.
    async fn serve_here(
        &self,
        name: &str,
        brought: Result<BroughtCall, Problem>,
        progress: Option<mpsc::Sender<Bytes>>,
    ) -> Result<Served, Failure> {
        let who = brought.as_ref().map_or(&Principal::Anonymous, |brought| &brought.caller.principal);
        let mut noted = Noted::begin(&self.handle, who, name).await;
        let allowed = brought.and_then(|brought| self.handle.may_be_called(&brought).map(|()| brought));
        let served = match allowed {
            Ok(brought) => self.try_serve(&brought.call, progress, &mut noted).await,
            Err(problem) => Err(Failure { problem, not_sent: true }),
        };
        let by = self.handle.view().node.to_string();
        noted.end(served.as_ref().map(|_| &*by).map_err(|failure| failure.problem.kind));
        served
    }

    async fn try_serve(
        &self,
        call: &Call,
        progress: Option<mpsc::Sender<Bytes>>,
        noted: &mut Noted,
    ) -> Result<Served, Failure> {
        let refuse = |problem| Failure { problem, not_sent: true };
        let view = self.handle.view();
        let name = FullName::parse(&call.name);
        let name = name.map_err(|error| refuse(Problem::new(Kind::Usage, error.to_string())))?;
        let own = view.tools.find(&name).and_then(|tool| tool.of_node(view.node));
        let Some(own) = own else {
            return Err(refuse(no_tool_here(name.as_str(), &view)));
        };
        let hash = own.signed.record.def_hash();
        if call.def_hash.is_some() && call.def_hash != hash {
            return Err(refuse(changed(&call.name)));
        }
        let key = hash.map(|hash| crate::entropy::hex(&hash)).unwrap_or_default();
        noted.found(&call.name, view.zone.as_str(), &format!("sha256:{key}"));
        let arguments = Bytes::from(call.arguments.clone());
        self.schemas.check(&call.name, &key, own.body().definition, &arguments).map_err(refuse)?;
        let extra = call.extra.iter().map(|(key, bytes)| (key.clone(), Bytes::from(bytes.clone()))).collect();
        let timeout = Duration::from_millis(u64::from(call.deadline_ms)).min(CALL_TIMEOUT.2);
        let upstream = UpstreamCall { tool: own.body().original.to_owned(), arguments, extra, timeout, progress };
        self.call_here(own.body().server, &call.name, upstream).await
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

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let hex = text.strip_prefix("sha256:")?;
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// Why there is no result, in the words of the last attempt where there was one.
fn ending(hit: &Hit, ended: Ended, last: Option<Problem>) -> Problem {
    let name = &hit.name;
    match (ended, last) {
        (Ended::MayHaveRun | Ended::NobodyTookIt, Some(problem)) => problem,
        (Ended::NothingServes, _) => Problem::new(
            Kind::NothingServes,
            format!("`{name}` is listed, but nothing serves it: it came from a catalogue"),
        )
        .hint("aop register --help"),
        (Ended::AllDown, _) => {
            let down: Vec<String> = hit.instances.iter().map(|instance| instance.node.to_string()).collect();
            Problem::new(Kind::InstanceDown, format!("no live instance of `{name}`: node {} is down", down.join(", ")))
                .hint("aop nodes")
        }
        (Ended::OutOfTime, last) => {
            let why = last.map(|problem| format!(": {problem}")).unwrap_or_default();
            Problem::new(Kind::CallTimedOut, format!("no time was left to call `{name}`{why}"))
        }
        (_, None) => {
            Problem::new(Kind::InstanceDown, format!("no instance of `{name}` took the call")).hint("aop status")
        }
    }
}

fn upstream_problem(server: &str, tool: &str, error: &UpstreamError) -> Problem {
    let message = format!("`{tool}` at server `{server}`: {error}");
    match error {
        UpstreamError::Rpc { raw, .. } => {
            let rpc: serde_json::Value = serde_json::from_slice(raw).unwrap_or_default();
            Problem::new(Kind::UpstreamFailed, message).detail(json!({"rpc": rpc}))
        }
        UpstreamError::TimedOut { .. } => Problem::new(Kind::CallTimedOut, message).hint("aop call --timeout 2m …"),
        error if error.not_sent() => Problem::new(Kind::UpstreamDown, message).hint("aop status"),
        _ => Problem::new(Kind::UpstreamFailed, message).hint(format!("aop show {tool}")),
    }
}
