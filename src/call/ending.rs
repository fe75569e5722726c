//! Why a call has no result, and what helps.

use std::time::Duration;

use aop_proto::call::Ended;
use aop_proto::error::{Kind, Problem};
use serde_json::json;

use crate::answers::Hit;

/// Why there is no result, in the words of the last attempt where there was one.
pub(super) fn ending(
    hit: &Hit,
    ended: Ended,
    last: Option<Problem>,
    why: impl Fn() -> Option<String>,
    now: Duration,
) -> Problem {
    let name = &hit.name;
    let nodes = || hit.instances.iter().map(|one| one.node.to_string()).collect::<Vec<_>>().join(", ");
    match (ended, last) {
        (Ended::OutOfTime, Some(problem)) if problem.kind == Kind::CallTimedOut => problem,
        // What was in the way says what helps.
        (Ended::OutOfTime, Some(problem)) => {
            let message = format!("no time was left to call `{name}`: {problem}");
            Problem { kind: Kind::CallTimedOut, message, ..problem }
        }
        (Ended::OutOfTime, None) => Problem::new(Kind::CallTimedOut, format!("no time was left to call `{name}`")),
        (_, Some(problem)) => problem,
        (Ended::NothingServes, _) => Problem::new(
            Kind::NothingServes,
            format!("`{name}` is listed, but nothing serves it: it came from a catalogue"),
        )
        .hint("aop register --help"),
        (Ended::AllDown, _) => {
            Problem::new(Kind::InstanceDown, format!("no live instance of `{name}`: node {} is down", nodes()))
                .hint("aop nodes")
        }
        (Ended::HomeDown, _) => Problem::new(
            Kind::InstanceDown,
            format!(
                "the instance of `{name}` that this idempotency key belongs to is down, and the call may have run there"
            ),
        )
        .hint("aop nodes"),
        (Ended::CircuitOpen(until), _) => {
            let seconds = until.saturating_sub(now).as_secs() + 1;
            let why = why().map(|error| format!("; the last: {error}")).unwrap_or_default();
            let message =
                format!("`{name}` is left alone for {seconds} s, as too many calls of its server failed{why}");
            Problem::new(Kind::InstanceDown, message).detail(json!({"retry_after_s": seconds})).hint("aop stats")
        }
        (_, None) => {
            Problem::new(Kind::InstanceDown, format!("no instance of `{name}` took the call")).hint("aop status")
        }
    }
}
