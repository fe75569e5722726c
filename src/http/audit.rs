//! `/v1/audit`: who did what at this node. For whoever may administer it only: what was called and by whom is not everybody's business.

use aop_proto::access::Glob;
use aop_proto::error::{Kind, Problem, did_you_mean};
use axum::{extract::State, http::Uri};
use serde_json::{Value, json, value::RawValue};

use super::{
    Shared, ask,
    reply::{self, Reply},
};
use crate::{
    audit::{AuditError, ENTRIES_MAX, Event, Query, Verified},
    clock::{Clock, parse_rfc3339},
};

/// Entries of an answer when `n` is not given.
const ENTRIES: usize = 100;
/// Longest pattern of principals.
const PATTERN_BYTES_MAX: usize = 256;

const NAMES: [&str; 5] = ["n", "event", "since", "principal", "after"];

/// `GET /v1/audit?n=&event=&since=&principal=&after=`: the newest entries that fit, the oldest of them first.
pub(super) async fn read(State(doors): Shared, uri: Uri) -> Reply {
    let query = query(ask::pairs(&uri)?, doors.handle.clock())?;
    let page = doors.handle.audit().read(query).await.map_err(problem)?;
    let entries: Result<Vec<Box<RawValue>>, _> = page.lines.into_iter().map(RawValue::from_string).collect();
    let entries = entries.map_err(|error| Problem::new(Kind::StoreFailed, format!("an entry is damaged: {error}")))?;
    #[derive(serde::Serialize)]
    struct Answer {
        schema: &'static str,
        partial: bool,
        entries: Vec<Box<RawValue>>,
    }
    Ok(reply::ok(&Answer { schema: "aop.audit/1", partial: page.partial, entries }))
}

/// `GET /v1/audit/verify`: whether every line that is kept follows the one before it.
pub(super) async fn verify(State(doors): Shared) -> Reply {
    let found = doors.handle.audit().verify().await.map_err(problem)?;
    Ok(reply::ok(&verified(&found)))
}

fn verified(found: &Verified) -> Value {
    let Verified { intact, entries, first, last, missing, broken } = found;
    json!({"schema": "aop.audit.verified/1", "intact": intact, "entries": entries, "first": first, "last": last,
        "missing": missing, "broken": broken})
}

fn query(pairs: Vec<(String, String)>, clock: Clock) -> Result<Query, Problem> {
    let mut query = Query { limit: ENTRIES, ..Query::default() };
    for (name, value) in pairs {
        match name.as_str() {
            "n" => query.limit = ask::number(&name, &value, ENTRIES_MAX)?,
            "event" if query.events.len() >= Event::ALL.len() => {
                return Err(ask::usage("there are not so many events"));
            }
            "event" => query.events.push(value.parse()?),
            "since" => query.since_ms = since(&value, clock)?,
            "principal" if value.len() > PATTERN_BYTES_MAX => {
                return Err(ask::usage(format!("a pattern has at most {PATTERN_BYTES_MAX} bytes")));
            }
            "principal" => query.principal = Some(Glob::new(&value)),
            "after" => {
                let number = value.parse().map_err(|_| ask::usage("`after` has to be the number of an entry"));
                query.after = number?;
            }
            _ => {
                let near = did_you_mean(&name, NAMES.into_iter());
                return Err(ask::usage(format!("no parameter is called `{name}`")).did_you_mean(near));
            }
        }
    }
    Ok(query)
}

/// A moment, or how long ago it was.
fn since(value: &str, clock: Clock) -> Result<u64, Problem> {
    if let Some(ms) = parse_rfc3339(value) {
        return Ok(ms);
    }
    let ago = ask::duration("since", value).map_err(|_| {
        ask::usage(format!("`since` has to be a time such as `2026-11-21T09:30:00Z`, or a duration, not `{value}`"))
    })?;
    Ok(clock.now().wall_ms.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)))
}

fn problem(error: AuditError) -> Problem {
    let kind = if error == AuditError::Closed { Kind::Busy } else { Kind::StoreFailed };
    Problem::new(kind, error.to_string()).hint("aop status")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Result<Query, Problem> {
        let uri = format!("/v1/audit?{text}").parse().unwrap();
        query(ask::pairs(&uri)?, Clock::start())
    }

    #[test]
    fn a_query_is_understood_or_refused() {
        let query = ask("n=5&event=called&event=started&principal=token:*&since=2026-11-21&after=7").unwrap();
        assert_eq!((query.limit, query.events, query.after), (5, vec![Event::Called, Event::Started], 7));
        assert_eq!((query.principal, query.since_ms), (Some(Glob::new("token:*")), 1_795_219_200_000));
        assert!(ask("since=1h").unwrap().since_ms < Clock::start().now().wall_ms);
        for bad in ["n=0", "n=10001", "n=-1", "event=", "event=call", "since=yesterday", "after=-1", "after=x", "q=1"] {
            assert_eq!(ask(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
        assert!(ask(&"event=called&".repeat(Event::ALL.len() + 1)).is_err());
        assert!(ask(&format!("principal={}", "*".repeat(257))).is_err());
    }
}
