//! What a call meets at its home: whether it may be made, its key, its turn, its upstream.

use std::time::Duration;

use aop_proto::access::Principal;
use aop_proto::error::{Kind, Problem, to_ms};
use aop_proto::name::FullName;
use aop_proto::params::PRIORITY;
use aop_proto::wire::message::Call;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::keyed::Keyed;
use super::noted::Noted;
use super::{Calls, Failure, GIVEN, Served, changed, late, longer};
use crate::answers::Hit;
use crate::handle::{BroughtCall, no_tool_here};
use crate::upstream::{UpstreamCall, UpstreamError};

/// Notifications of progress that wait to be sent on.
const PROGRESS_MAX: usize = 64;

/// A call to an upstream of this node.
pub(super) struct Own {
    pub(super) server: String,
    /// Its full name.
    pub(super) tool: String,
    /// Whose turn it takes.
    pub(super) caller: String,
    pub(super) key: Option<Keyed>,
    pub(super) priority: u8,
    pub(super) deadline: Instant,
    /// Its time is what is left when it is sent.
    pub(super) call: UpstreamCall,
}

impl Calls {
    /// Calls an upstream of this node, under a key at most once.
    pub(super) async fn call_here(&self, mut own: Own) -> Result<Served, Failure> {
        let by = self.handle.view().node;
        let (deadline, within, tool) = (own.deadline, own.call.timeout, own.tool.clone());
        let result = match own.key.take() {
            None => self.take_turn(own).await,
            Some(key) => {
                let calls = self.clone();
                // Its caller may go and come back for the answer: it has the time of its tool, whatever time its caller has.
                own.deadline = deadline.max(Instant::now() + self.policies().of(&tool).timeout);
                let work = Box::pin(async move { calls.take_turn(own).await });
                match timeout_at(deadline, self.ledgers.once(key, work)).await {
                    Ok(outcome) => outcome,
                    Err(_) => {
                        let within = to_ms(within);
                        let message = format!("no answer to `{tool}` within {within:?}; it still runs under its key");
                        // How much of it was waiting for its turn is not known here.
                        let problem = Problem::new(Kind::CallTimedOut, message).detail(json!({GIVEN: null}));
                        Err(Failure::lost(problem.hint(longer(&tool))))
                    }
                }
            }
        };
        result.map(|result| Served { result, by, hops: 0 })
    }

    /// Whether a request could be made of those arguments, where this node would make it.
    ///
    /// # Errors
    /// What a call would be told before anything is sent.
    pub(super) fn could_be_sent(&self, hit: &Hit, arguments: &Bytes) -> Result<(), Problem> {
        let here = self.handle.view().node;
        let spec = self.handle.upstreams().spec(&hit.server).filter(|_| hit.instances.iter().any(|it| it.node == here));
        let refused = spec.and_then(|spec| spec.refuses(&hit.original, arguments));
        refused.map_or(Ok(()), |error| Err(upstream_problem(&hit.server, &hit.name, &error)))
    }

    async fn take_turn(&self, own: Own) -> Result<Bytes, Failure> {
        let Own { server, tool, caller, priority, deadline, mut call, .. } = own;
        let policies = self.policies();
        let policy = policies.of(&tool);
        let left = || deadline.saturating_duration_since(Instant::now());
        let place = self.queues.turn(&tool, &caller, priority, policy, left()).await;
        let mut place = place.map_err(Failure::refused)?;
        call.timeout = left();
        if call.timeout.is_zero() {
            return Err(late(&tool));
        }
        // Boxed, as it is large and what waits for it is moved about.
        let outcome = match policy.idle_timeout {
            None => Box::pin(self.handle.upstreams().call(&server, call)).await,
            Some(idle) => Box::pin(self.call_watched(&server, call, idle)).await,
        };
        place.ended(outcome.is_ok());
        outcome.map_err(|error| Failure::said(upstream_problem(&server, &tool, &error), error.not_sent()))
    }

    /// Calls, and gives up once there was no sign of progress for so long. The signs go on to the caller.
    async fn call_watched(&self, server: &str, call: UpstreamCall, idle: Duration) -> Result<Bytes, UpstreamError> {
        let (signs, mut heard) = mpsc::channel(PROGRESS_MAX);
        let caller = call.progress.clone();
        let call = UpstreamCall { progress: Some(signs), ..call };
        let outcome = self.handle.upstreams().call(server, call);
        tokio::pin!(outcome);
        loop {
            tokio::select! {
                biased;
                outcome = &mut outcome => {
                    while let (Some(caller), Ok(sign)) = (&caller, heard.try_recv()) {
                        // Steps that do not fit are lost, the result is not.
                        let _ = caller.try_send(sign);
                    }
                    return outcome;
                }
                Some(sign) = heard.recv() => {
                    if let Some(caller) = &caller {
                        let _ = caller.try_send(sign);
                    }
                }
                () = tokio::time::sleep(idle) => return Err(UpstreamError::TimedOut { after: idle }),
            }
        }
    }

    /// Carries out a call that a peer brought for this node.
    pub(super) async fn serve_here(
        &self,
        name: &str,
        brought: Result<BroughtCall, Problem>,
        progress: Option<mpsc::Sender<Bytes>>,
        deadline: Instant,
    ) -> Result<Served, Failure> {
        let who = brought.as_ref().map_or(&Principal::Anonymous, |brought| &brought.caller.principal);
        let begin = Noted::begin(&self.handle, who, name);
        let mut noted = timeout_at(deadline, begin).await.map_err(|_| late(name))?;
        let allowed = brought.and_then(|brought| self.handle.may_be_called(&brought).map(|()| brought));
        let served = match allowed {
            Ok(brought) => self.try_serve(&brought, progress, deadline, &mut noted).await,
            Err(problem) => Err(Failure::refused(problem)),
        };
        let by = self.handle.view().node.to_string();
        noted.end(served.as_ref().map(|_| &*by).map_err(|failure| failure.problem.kind));
        served
    }

    async fn try_serve(
        &self,
        brought: &BroughtCall,
        progress: Option<mpsc::Sender<Bytes>>,
        deadline: Instant,
        noted: &mut Noted,
    ) -> Result<Served, Failure> {
        let (call, view): (&Call, _) = (&brought.call, self.handle.view());
        let name = FullName::parse(&call.name);
        let name = name.map_err(|error| Failure::refused(Problem::new(Kind::Usage, error.to_string())))?;
        let tool = view.tools.find(&name);
        let Some((tool, own)) = tool.and_then(|tool| Some((tool.name(), tool.of_node(view.node)?))) else {
            return Err(Failure::refused(no_tool_here(name.as_str(), &view)));
        };
        let hash = own.signed.record.def_hash();
        if call.def_hash.is_some() && call.def_hash != hash {
            return Err(Failure::refused(changed(tool)));
        }
        let key = hash.map(|hash| crate::entropy::hex(&hash)).unwrap_or_default();
        noted.found(tool, view.zone.as_str(), &format!("sha256:{key}"));
        let arguments = Bytes::from(call.arguments.clone());
        let checked = self.schemas.check(tool, &key, own.body().definition, &arguments);
        checked.map_err(Failure::refused)?;
        let extra = call.extra.iter().map(|(key, bytes)| (key.clone(), Bytes::from(bytes.clone()))).collect();
        let timeout = deadline.saturating_duration_since(Instant::now());
        let zone = match &brought.caller.principal {
            Principal::Zone { zone, .. } => zone.as_str(),
            _ if call.key.is_some() => {
                let message = "a call of a node that proves no zone has no idempotency key: it could be anybody's";
                return Err(Failure::refused(Problem::new(Kind::Forbidden, message).hint("aop status")));
            }
            _ => "",
        };
        let policies = self.policies();
        let policy = self.own_policy(&policies, tool, own.body().server, own.body().original);
        let own = Own {
            server: own.body().server.to_owned(),
            tool: tool.to_owned(),
            caller: brought.caller.principal.to_string(),
            key: call.key.map(|key| {
                let caller = brought.caller.principal.to_string();
                Keyed::new(&key, zone, &caller, &arguments, policy.may_repeat())
            }),
            priority: priority_of(call.priority, zone == view.zone.as_str()),
            deadline,
            call: UpstreamCall { tool: own.body().original.to_owned(), arguments, extra, timeout, progress },
        };
        self.call_here(own).await
    }
}

/// Only nodes of the own zone say that a call goes first; of others it may only say that it has time.
const fn priority_of(wanted: u8, is_fellow: bool) -> u8 {
    let (usual, _, _) = PRIORITY;
    if is_fellow || wanted < usual { wanted } else { usual }
}

fn upstream_problem(server: &str, tool: &str, error: &UpstreamError) -> Problem {
    let message = format!("`{tool}` at server `{server}`: {error}");
    match error {
        UpstreamError::Rpc { raw, .. } => {
            let rpc: serde_json::Value = serde_json::from_slice(raw).unwrap_or_default();
            Problem::new(Kind::UpstreamFailed, message).detail(json!({"rpc": rpc}))
        }
        UpstreamError::TimedOut { after } => Problem::new(Kind::CallTimedOut, message)
            .detail(json!({GIVEN: after.as_millis() as u64}))
            .hint(longer(tool)),
        UpstreamError::Status { status, retry_after, .. } => {
            let mut detail = json!({"status": status});
            if let Some(after) = retry_after {
                detail["retry_after_s"] = after.as_secs().into();
            }
            may_have_run(message).detail(detail).hint(format!("aop show {tool}"))
        }
        UpstreamError::Invalid { reason } => Problem::new(Kind::InvalidArguments, format!("`{tool}`: {reason}"))
            .hint(format!("aop show {tool} --schema")),
        error if error.not_sent() => Problem::new(Kind::UpstreamDown, message).hint("aop status"),
        UpstreamError::Garbage { .. } => may_have_run(message).hint(format!("aop show {tool}")),
        _ => Problem::new(Kind::UpstreamFailed, message).hint(format!("aop show {tool}")),
    }
}

/// It was sent, and what came back does not tell what was done.
fn may_have_run(message: String) -> Problem {
    Problem::new(Kind::UpstreamFailed, format!("{message}; the call may have run"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_other_zones_do_not_go_before_the_own_ones() {
        assert_eq!([0, 5, 9, 255].map(|wanted| priority_of(wanted, false)), [0, 5, 5, 5]);
        assert_eq!([0, 5, 9].map(|wanted| priority_of(wanted, true)), [0, 5, 9]);
    }
}
