//! `call_tool` with `calls`: several calls at once, each with its result or its error.
//!
//! Told twice, as data and as text, because hosts differ in which of the two a model sees. Results are the upstreams' own bytes inside.

use std::fmt::Write as _;

use aop_proto::error::{Kind, Problem};
use serde_json::{Value, json, value::RawValue};

use super::{
    door::ToolCall,
    envelope::{Answer, failed},
    menu::{one, timeout, usage},
    raw::Members,
};
use crate::call::{CallOutcome, CallRequest, Calls, check_many};

/// Whether several calls are asked for.
pub(super) fn is_meant(call: &ToolCall) -> bool {
    // Most have no such word in them, and are not read for it.
    let says_so = call.arguments.windows(7).any(|part| part == b"\"calls\"");
    let text = std::str::from_utf8(&call.arguments).unwrap_or_default();
    says_so && Members::read(text).is_ok_and(|members| members.get("calls").is_some())
}

/// Makes them all, and tells how each ended, in their order.
pub(super) async fn call(calls: &Calls, call: &ToolCall) -> Answer {
    let text = std::str::from_utf8(&call.arguments).unwrap_or_default();
    let asked = Members::read(text).map_err(|error| usage(format!("call_tool: {error}")));
    let (requests, timeout) = match asked.and_then(|members| Ok((requests(call, &members)?, timeout(&members)?))) {
        Ok(asked) => asked,
        Err(problem) => return failed(&problem, call.caller.modern),
    };
    let names: Vec<String> =
        requests.iter().map(|request| request.as_ref().map(|one| one.name.clone()).unwrap_or_default()).collect();
    let outcomes = calls.call_all(requests, timeout).await;
    tell(&names, &outcomes, call.caller.modern)
}

fn requests(call: &ToolCall, members: &Members<'_>) -> Result<Vec<Result<CallRequest, Problem>>, Problem> {
    if let Some((name, _)) = members.iter().find(|(name, _)| !matches!(*name, "calls" | "timeout_ms")) {
        return Err(usage(format!("call_tool takes `name` or `calls`, and `{name}` belongs to one call")));
    }
    let all = members.get("calls").map_or("[]", RawValue::get);
    let all: Vec<&RawValue> =
        serde_json::from_str(all).map_err(|error| usage(format!("`calls` has to be a list: {error}")))?;
    check_many(all.len())?;
    let request = |number: usize, raw: &RawValue| {
        let members = Members::read(raw.get()).map_err(|error| usage(format!("call {number}: {error}")))?;
        one(call, &members, false)?.one_of_many(number)
    };
    Ok((1..).zip(all).map(|(number, raw)| request(number, raw)).collect())
}

/// The answer: an error only where every call ended with one.
fn tell(names: &[String], outcomes: &[Result<CallOutcome, Problem>], modern: bool) -> Answer {
    let (mut results, mut is_error) = (String::from("{\"results\":["), true);
    for (at, (name, outcome)) in names.iter().zip(outcomes).enumerate() {
        if at > 0 {
            results.push(',');
        }
        let told = outcome.as_ref().map_err(Problem::to_json).and_then(told);
        // Writing to a text cannot fail.
        let _ = match told {
            Ok((name, result)) => {
                is_error = false;
                write!(results, r#"{{"name":{name},"result":{result}}}"#)
            }
            Err(error) => write!(results, "{}", json!({"name": name, "error": error})),
        };
    }
    results.push_str("]}");
    let kind = if modern { r#","resultType":"complete""# } else { "" };
    let text = Value::from(results.as_str());
    let answer = format!(
        r#"{{"content":[{{"type":"text","text":{text}}}],"structuredContent":{results},"isError":{is_error}{kind}}}"#
    );
    Answer::Result(answer.into())
}

/// Name and result as they are told, or why there is none.
fn told(outcome: &CallOutcome) -> Result<(Value, &str), Value> {
    let wrong = |kind, message: &str| Problem::new(kind, format!("`{}`: {message}", outcome.name)).to_json();
    let text = std::str::from_utf8(&outcome.result).unwrap_or_default();
    let members =
        Members::read(text).map_err(|_| wrong(Kind::UpstreamFailed, "the upstream's result is not a JSON object"))?;
    if members.text("resultType").as_deref() == Some("input_required") {
        return Err(wrong(Kind::Usage, "it asks for input before it runs: call it alone"));
    }
    Ok((Value::from(outcome.name.as_str()), text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::mcp::headers::Caller;

    fn call(arguments: &str) -> ToolCall {
        ToolCall {
            by: aop_proto::access::Caller::anonymous(),
            caller: Caller::default(),
            name: "call_tool".into(),
            arguments: Bytes::copy_from_slice(arguments.as_bytes()),
            extra: vec![("_meta".into(), Bytes::from_static(br#"{"aop/idempotency-key":"k","aop/priority":7}"#))],
            progress: None,
            ready_key: None,
        }
    }

    fn asked(arguments: &str) -> Result<Vec<Result<CallRequest, Problem>>, Problem> {
        assert!(is_meant(&call(arguments)), "{arguments}");
        requests(&call(arguments), &Members::read(arguments).expect("an object"))
    }

    fn outcome(result: &'static str) -> CallOutcome {
        CallOutcome {
            result: Bytes::from_static(result.as_bytes()),
            name: "a.b.c".to_owned(),
            zone: "c".to_owned(),
            served_by: String::new(),
            hops: 0,
            took: Duration::ZERO,
            unchecked: None,
        }
    }

    #[test]
    fn each_of_several_calls_is_asked_for_by_itself_and_has_a_key_of_its_own() {
        let all = asked(
            r#"{"calls":[{"name":"a","arguments":{ "x":1.50 }},{"name":7},{"name":"b","timeout_ms":1},{"name":"c"}]}"#,
        );
        let all = all.expect("a list");
        let first = all[0].as_ref().expect("a call");
        assert_eq!((first.name.as_str(), &first.arguments[..]), ("a", &br#"{ "x":1.50 }"#[..]));
        assert_eq!((first.key.as_deref(), first.priority), (Some("k/1"), Some(7)));
        assert!(all[1].is_err() && all[2].is_err());
        assert_eq!(all[3].as_ref().expect("a call").key.as_deref(), Some("k/4"));
        for wrong in [r#"{"calls":[]}"#, r#"{"calls":7}"#, r#"{"calls":[{"name":"a"}],"name":"b"}"#] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
        assert!(!is_meant(&call(r#"{"name":"a","arguments":{"calls":1}}"#)));
    }

    #[test]
    fn results_are_the_upstreams_own_bytes_and_a_failure_is_told_beside_them() {
        let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let asking = outcome(r#"{"resultType":"input_required","inputRequests":{}}"#);
        let all = [Ok(outcome(r#"{"content":[],"x": 1.50}"#)), Err(Problem::new(Kind::Busy, "full")), Ok(asking)];
        let Answer::Result(bytes) = tell(&names, &all, true) else { panic!("a result") };
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(r#""structuredContent":{"results":[{"name":"a.b.c","result":{"content":[],"x": 1.50}}"#));
        let value: Value = serde_json::from_slice(&bytes).expect("JSON");
        let told = &value["structuredContent"]["results"];
        assert_eq!((&told[1]["error"]["kind"], &told[2]["error"]["kind"]), (&json!("busy"), &json!("usage")));
        assert_eq!((&value["isError"], &value["resultType"]), (&json!(false), &json!("complete")));
        let again: Value = serde_json::from_str(value["content"][0]["text"].as_str().expect("text")).expect("JSON");
        assert_eq!(again, value["structuredContent"]);
        let Answer::Result(bytes) = tell(&names[..1], &all[1..2], false) else { panic!("a result") };
        let value: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!((&value["isError"], &value["resultType"]), (&json!(true), &Value::Null));
    }
}
