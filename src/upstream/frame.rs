//! One outbound JSON-RPC message as bytes, with the caller's own bytes spliced in.
//!
//! It is not a serialiser of our own: everything but `tools/call` is written by rmcp. What must always hold: arguments and extra
//! members leave exactly as they came, nothing in them can close an object early, and on a line transport a frame is one line.

use std::fmt;

use bytes::Bytes;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, GetMeta as _, RequestId, RequestMetaObject};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    failure::UpstreamError,
    tap::{Lane, Slot},
};

/// Largest message sent to or taken from a server, bytes. A base64 picture of 12 MB fits.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Members of `_meta` that say how *we* speak with this server; a caller's are replaced.
const OUR_META: [&str; 2] = ["progressToken", "io.modelcontextprotocol/protocolVersion"];
/// Members of `params` that are not extra.
const OUR_PARAMS: [&str; 2] = ["name", "arguments"];
/// Members of `params` that this node reads or writes.
const PARAMS_KNOWN: [&str; 3] = ["name", "arguments", "_meta"];

/// How messages are told apart on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One message a line.
    Line,
    /// One message a body.
    Body,
}

/// Whether a reader that does not tell cases apart takes `name` for another one of `known` (ASCII names). Folded as widely as any
/// reader of JSON does it: to upper case and back, so that the long s and the Kelvin sign are letters like others, and without the dot
/// that a Turkish capital leaves.
pub(crate) fn is_disguised(name: &str, known: &[&str]) -> bool {
    if known.contains(&name) {
        return false;
    }
    let folded = name.to_uppercase().to_lowercase().replace('\u{307}', "");
    known.iter().any(|known| known.eq_ignore_ascii_case(&folded))
}

/// Checks what a caller wants spliced in, before anything is queued.
pub(crate) fn check(lane: &Lane) -> Result<(), UpstreamError> {
    let refuse = |reason: String| Err(UpstreamError::NotSent { reason });
    if !lane.arguments.is_empty() && !is_object(&lane.arguments) {
        return refuse("the arguments are not a JSON object".to_owned());
    }
    for (name, value) in &lane.extra {
        if OUR_PARAMS.contains(&name.as_str()) {
            return refuse(format!("{name} cannot be an extra member"));
        }
        if is_disguised(name, &PARAMS_KNOWN) {
            return refuse(format!("{name} is the name of another member in other cases"));
        }
        if serde_json::from_slice::<&RawValue>(value).is_err() || (name == "_meta" && !is_object(value)) {
            return refuse(format!("the member {name} is not usable JSON"));
        }
        if name == "_meta" {
            let Ok(Members(members)) = serde_json::from_slice::<Members<'_>>(value) else {
                return refuse("the members of _meta cannot be read".to_owned());
            };
            if let Some((name, _)) = members.iter().find(|(name, _)| is_disguised(name, &OUR_META)) {
                return refuse(format!("{name} is the name of another member of _meta in other cases"));
            }
        }
    }
    let total = lane.extra.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + lane.arguments.len();
    if total > MESSAGE_BYTES_MAX {
        return refuse(format!("{total} bytes are more than the {MESSAGE_BYTES_MAX} a message may have"));
    }
    Ok(())
}

/// The bytes of one message; on a line transport with its line break.
pub(crate) fn encode(
    message: &ClientJsonRpcMessage,
    slot: Option<&Slot>,
    framing: Framing,
) -> Result<Bytes, serde_json::Error> {
    let mut bytes = match (message, slot.and_then(Slot::lane)) {
        (ClientJsonRpcMessage::Request(request), Some(lane)) => match &request.request {
            ClientRequest::CallToolRequest(call) => {
                splice(&request.id, &call.params.name, call_meta(&request.request), lane, framing)?
            }
            _ => serde_json::to_vec(message)?,
        },
        _ => serde_json::to_vec(message)?,
    };
    if framing == Framing::Line {
        bytes.push(b'\n');
    }
    Ok(bytes.into())
}

fn call_meta(request: &ClientRequest) -> &RequestMetaObject {
    request.get_meta()
}

fn splice(
    id: &RequestId,
    tool: &str,
    meta: &RequestMetaObject,
    lane: &Lane,
    framing: Framing,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(lane.arguments.len() + 512);
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    serde_json::to_writer(&mut out, id)?;
    out.extend_from_slice(br#","method":"tools/call","params":{"name":"#);
    serde_json::to_writer(&mut out, tool)?;
    if !lane.arguments.is_empty() {
        out.extend_from_slice(br#","arguments":"#);
        put_raw(&mut out, &lane.arguments, framing);
    }
    let mut theirs: &[u8] = b"{}";
    for (name, value) in &lane.extra {
        if name == "_meta" {
            theirs = value;
            continue;
        }
        out.push(b',');
        serde_json::to_writer(&mut out, name)?;
        out.push(b':');
        put_raw(&mut out, value, framing);
    }
    out.extend_from_slice(br#","_meta":{"#);
    put_meta(&mut out, meta, theirs, framing)?;
    out.extend_from_slice(b"}}}");
    Ok(out)
}

/// The caller's members first and as they are, then ours, so that a reader which keeps the last of two keeps ours.
fn put_meta(
    out: &mut Vec<u8>,
    ours: &RequestMetaObject,
    theirs: &[u8],
    framing: Framing,
) -> Result<(), serde_json::Error> {
    let theirs = serde_json::from_slice::<Members<'_>>(theirs)?.0;
    let mut first = true;
    let mut next = |out: &mut Vec<u8>, name: &str| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, name)?;
        out.push(b':');
        Ok::<(), serde_json::Error>(())
    };
    for (name, value) in theirs.iter().filter(|(name, _)| !OUR_META.contains(&name.as_str())) {
        next(out, name)?;
        put_raw(out, value.get().as_bytes(), framing);
    }
    let given = |name: &str| !OUR_META.contains(&name) && theirs.iter().any(|(theirs, _)| theirs == name);
    for (name, value) in ours.0.0.iter().filter(|(name, _)| !given(name)) {
        next(out, name)?;
        serde_json::to_writer(&mut *out, value)?;
    }
    Ok(())
}

/// In valid JSON a raw line break is only ever white space, so on a line transport a blank says the same.
fn put_raw(out: &mut Vec<u8>, raw: &[u8], framing: Framing) {
    match framing {
        Framing::Body => out.extend_from_slice(raw),
        Framing::Line => out.extend(raw.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte })),
    }
}

fn is_object(raw: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(raw).is_ok_and(|value| value.get().starts_with('{'))
}

/// The members of an object in their order, values untouched.
pub(crate) struct Members<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rmcp::model::{CallToolRequest, CallToolRequestParams, NumberOrString, ProgressToken};

    use super::*;

    fn frame(lane: Lane, framing: Framing) -> String {
        check(&lane).expect("usable");
        let (slot, _answer) = Slot::for_call(lane, None);
        let mut request = ClientRequest::CallToolRequest(CallToolRequest::new(CallToolRequestParams::new("a \"b\"")));
        request.get_meta_mut().set_progress_token(ProgressToken(NumberOrString::Number(5)));
        let message = ClientJsonRpcMessage::request(request, NumberOrString::Number(7));
        let bytes = encode(&message, Some(&Arc::clone(&slot)), framing).expect("serialisable");
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    fn lane(arguments: &'static str, extra: &[(&str, &'static str)]) -> Lane {
        let extra =
            extra.iter().map(|(name, value)| ((*name).to_owned(), Bytes::from_static(value.as_bytes()))).collect();
        Lane { arguments: Bytes::from_static(arguments.as_bytes()), extra }
    }

    #[test]
    fn arguments_and_members_leave_as_they_came() {
        let odd = r#"{ "z":12345678901234567890123,"a" : 1.10,  "a":"\u0041" }"#;
        let text = frame(lane(odd, &[("requestState", r#""op\/aque""#)]), Framing::Body);
        assert_eq!(
            text,
            format!(
                r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"a \"b\"","arguments":{odd},"requestState":"op\/aque","_meta":{{"progressToken":5}}}}}}"#
            )
        );
    }

    #[test]
    fn a_callers_meta_is_merged_but_the_token_is_ours() {
        let theirs = r#"{"progressToken":"mine","traceparent":"00-1","n":1.0}"#;
        let text = frame(lane("{}", &[("_meta", theirs)]), Framing::Body);
        assert!(text.ends_with(r#""_meta":{"traceparent":"00-1","n":1.0,"progressToken":5}}}"#), "{text}");
    }

    #[test]
    fn a_line_stays_one_line() {
        let text = frame(lane("{\n  \"a\": 1\r\n}", &[]), Framing::Line);
        assert_eq!(text.matches(['\n', '\r']).count(), 1);
        assert!(text.ends_with('\n') && text.contains(r#""arguments":{   "a": 1  }"#), "{text}");
    }

    #[test]
    fn nothing_can_close_the_object_early_or_stand_for_what_is_ours() {
        for (arguments, extra) in [
            (r#"{},"name":"other""#, &[][..]),
            ("[1]", &[][..]),
            ("{}", &[("name", r#""other""#)][..]),
            ("{}", &[("requestState", r#""a","name":"b""#)][..]),
            ("{}", &[("_meta", "[]")][..]),
            ("{}", &[("Name", r#""other""#)][..]),
            ("{}", &[("Argument\u{17f}", "{}")][..]),
            ("{}", &[("_META", "{}")][..]),
            ("{}", &[("_meta", r#"{"progressTo\u212aen":1}"#)][..]),
        ] {
            assert!(check(&lane(arguments, extra)).is_err_and(|e| e.not_sent()), "{arguments} {extra:?}");
        }
    }
}
