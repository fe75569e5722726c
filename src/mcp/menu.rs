//! The four tools of `/mcp`: what a model needs to use a whole federation, and no more.
//!
//! The list is a constant (`menu.json`), but for what the operator pinned: it never varies by caller, time or content, so that a
//! host's prompt cache holds. Whatever
//! goes wrong inside one of the four is told as a tool result, because only that reaches the model.

use std::{sync::Arc, time::Duration};

use aop_proto::access::{Action, Caller};
use aop_proto::error::{Kind, Problem, did_you_mean};
use aop_proto::params::CALL_TIMEOUT;
use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, value::RawValue};

use super::{
    door::ToolCall,
    envelope::{Answer, failed, passed_through},
    find,
    handler::CONSTANT_TTL,
    many,
    pins::Pins,
    raw::{self, Members},
    shelf::Shelf,
};
use crate::{
    call::{CallRequest, Calls},
    handle::Handle,
};

const MENU: &str = include_str!("menu.json");
const NAMES: [&str; 4] = ["search_tools", "describe_tool", "call_tool", "list_zones"];

/// The list, written once for each era.
pub(super) struct Menu {
    tools: Bytes,
    modern: Bytes,
    initialize: Bytes,
    pins: Arc<Pins>,
}

impl Menu {
    pub(super) fn new(pins: Arc<Pins>) -> Self {
        let tools: Value = serde_json::from_str(MENU).expect("menu.json is part of the program and valid JSON");
        let ttl = CONSTANT_TTL.as_millis();
        Self {
            modern: format!(r#"{{"resultType":"complete","tools":{tools},"ttlMs":{ttl},"cacheScope":"public"}}"#)
                .into(),
            initialize: format!(r#"{{"tools":{tools}}}"#).into(),
            tools: tools.to_string().into(),
            pins,
        }
    }

    /// The four, and what is pinned, as far as `by` may see it.
    pub(super) async fn list(&self, handle: &Handle, by: &Caller, modern: bool) -> Answer {
        if self.pins.is_empty() {
            return self.constant(modern);
        }
        self.pins.list(handle, by).await.answer(handle, &self.tools, modern)
    }

    fn constant(&self, modern: bool) -> Answer {
        Answer::Result(if modern { self.modern.clone() } else { self.initialize.clone() })
    }

    /// What a call of that name does; `call_tool` asks again for the tool it calls.
    pub(super) fn action_of(&self, name: &str) -> Action {
        let is_pinned = || !self.pins.is_empty() && !NAMES.contains(&name);
        if name == "call_tool" || is_pinned() { Action::Call } else { Action::Discover }
    }

    /// Runs one of the four, or calls what is pinned. Any other name is a protocol error: nothing is routed there.
    pub(super) async fn call(&self, (calls, shelf): (&Calls, &Shelf), headers: &HeaderMap, call: ToolCall) -> Answer {
        let modern = call.caller.modern;
        match call.name.as_str() {
            "search_tools" => find::search(calls.handle(), &call).await,
            "describe_tool" => find::describe(calls.handle(), &call).await,
            "list_zones" => find::zones(calls.handle(), &call.by, modern).await,
            "call_tool" if many::is_meant(&call) => many::call(calls, &call).await,
            "call_tool" => match request(&call) {
                Ok(request) => forward(calls, shelf, request, &call).await,
                Err(problem) => failed(&problem, modern),
            },
            other => match self.call_pinned((calls, shelf), headers, &call).await {
                Some(answer) => answer,
                None => Answer::refusal(&unknown(other)),
            },
        }
    }

    async fn call_pinned(
        &self,
        (calls, shelf): (&Calls, &Shelf),
        headers: &HeaderMap,
        call: &ToolCall,
    ) -> Option<Answer> {
        if self.pins.is_empty() {
            return None;
        }
        self.pins.list(calls.handle(), &call.by).await.call((calls, shelf), headers, call).await
    }
}

/// Calls a tool of the federation and hands its result on as it is, but for large parts.
pub(super) async fn forward(calls: &Calls, shelf: &Shelf, request: CallRequest, call: &ToolCall) -> Answer {
    match calls.call(request).await {
        Ok(outcome) => {
            passed_through(shelf.shorten(outcome.result, &call.by), &call.caller).unwrap_or_else(|refused| refused)
        }
        Err(problem) => failed(&problem, call.caller.modern),
    }
}

fn unknown(name: &str) -> Problem {
    Problem::new(Kind::NameNotFound, format!("Unknown tool: {name}"))
        .hint("call search_tools for its full name, then call_tool with that name")
        .did_you_mean(did_you_mean(name, NAMES.into_iter()))
}

/// The arguments of `call_tool`, as a call.
fn request(call: &ToolCall) -> Result<CallRequest, Problem> {
    let text = std::str::from_utf8(&call.arguments).unwrap_or_default();
    let members = Members::read(text).map_err(|error| usage(format!("call_tool: {error}")))?;
    let timeout = timeout(&members)?;
    Ok(CallRequest { timeout, progress: call.progress.clone(), ..one(call, &members, true)? })
}

/// One call, as its members say; `is_alone` where the members are those of `call_tool`.
pub(super) fn one(call: &ToolCall, members: &Members<'_>, is_alone: bool) -> Result<CallRequest, Problem> {
    for (name, _) in members.iter() {
        if !(matches!(name, "name" | "arguments" | "def_hash") || is_alone && name == "timeout_ms") {
            return Err(usage(format!(
                "call_tool has no argument `{name}`; what the tool takes goes into `arguments`"
            )));
        }
    }
    let name = members.text("name").ok_or_else(|| usage("call_tool needs `name`, the full name of the tool".into()))?;
    Ok(CallRequest {
        caller: call.by.clone(),
        name: name.into_owned(),
        arguments: arguments(members.get("arguments"))
            .ok_or_else(|| usage("`arguments` has to be a JSON object".into()))?,
        extra: call.extra.clone(),
        timeout: None,
        key: None,
        priority: None,
        def_hash: members.text("def_hash").map(Into::into),
        dry_run: false,
        progress: None,
    })
}

/// The time for everything that is asked for.
pub(super) fn timeout(members: &Members<'_>) -> Result<Option<Duration>, Problem> {
    let most = u64::try_from(CALL_TIMEOUT.2.as_millis()).unwrap_or(u64::MAX);
    match members.get("timeout_ms").map(|raw| raw.get().parse::<u64>()) {
        None => Ok(None),
        Some(Ok(millis)) if (1..=most).contains(&millis) => Ok(Some(Duration::from_millis(millis))),
        Some(_) => Err(usage(format!("`timeout_ms` has to be a whole number of milliseconds from 1 to {most}"))),
    }
}

pub(super) fn usage(message: String) -> Problem {
    Problem::new(Kind::InvalidArguments, message).hint("describe_tool tells a tool's arguments")
}

/// The raw arguments. Some models write the object into a string; what is meant is clear, so it is taken.
fn arguments(raw: Option<&RawValue>) -> Option<Bytes> {
    let Some(raw) = raw else { return Some(Bytes::from_static(b"{}")) };
    let text = match raw.get().as_bytes().first() {
        Some(b'"') => raw::text(raw)?,
        _ => raw.get().into(),
    };
    Members::read(&text).ok()?;
    Some(Bytes::from(text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::headers;

    fn call(arguments: &str) -> ToolCall {
        ToolCall {
            by: aop_proto::access::Caller::anonymous(),
            caller: headers::Caller::default(),
            name: "call_tool".into(),
            arguments: Bytes::copy_from_slice(arguments.as_bytes()),
            extra: vec![("requestState".into(), Bytes::from_static(b"\"s\""))],
            progress: None,
            ready_key: None,
        }
    }

    #[test]
    fn the_menu_is_complete_annotated_and_short() {
        let Answer::Result(list) = Menu::new(Arc::default()).constant(true) else { panic!("a list") };
        let list: Value = serde_json::from_slice(&list).expect("json");
        let tools = list["tools"].as_array().expect("tools");
        assert_eq!(tools.iter().filter_map(|tool| tool["name"].as_str()).collect::<Vec<_>>(), NAMES);
        for tool in tools {
            let call = tool["name"] == "call_tool";
            assert_eq!(tool["annotations"]["readOnlyHint"], !call);
            assert_eq!(tool["outputSchema"].is_object(), !call, "a tool's result is its own");
        }
        assert_eq!((&list["ttlMs"], &list["cacheScope"]), (&3_600_000.into(), &"public".into()));
        assert!(MENU.len() < 8_000);
        let Answer::Result(old) = Menu::new(Arc::default()).constant(false) else { panic!("a list") };
        assert!(!String::from_utf8_lossy(&old).contains("ttlMs"));
    }

    #[test]
    fn a_call_takes_its_arguments_byte_for_byte() {
        let request = request(&call(r#"{"name":"a.b","arguments":{ "x":1.50 },"timeout_ms":90000,"def_hash":"h"}"#))
            .expect("a call");
        assert_eq!((request.name.as_str(), request.def_hash.as_deref()), ("a.b", Some("h")));
        assert_eq!(request.arguments, r#"{ "x":1.50 }"#);
        assert_eq!(request.timeout, Some(Duration::from_secs(90)));
        assert_eq!(request.extra.len(), 1);
    }

    #[test]
    fn an_object_in_a_string_is_taken_for_what_it_means() {
        assert_eq!(request(&call(r#"{"name":"a","arguments":"{\"x\":1}"}"#)).expect("a call").arguments, r#"{"x":1}"#);
        assert_eq!(request(&call(r#"{"name":"a"}"#)).expect("a call").arguments, "{}");
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_a_reason() {
        for bad in [
            "{}",
            r#"{"name":1}"#,
            r#"{"name":"a","arguments":[1]}"#,
            r#"{"name":"a","arguments":"x"}"#,
            r#"{"name":"a","timeout_ms":-1}"#,
            r#"{"name":"a","timeout_ms":0}"#,
            r#"{"name":"a","timeout_ms":300001}"#,
            r#"{"name":"a","args":{}}"#,
        ] {
            assert_eq!(request(&call(bad)).expect_err(bad).kind, Kind::InvalidArguments);
        }
    }
}
