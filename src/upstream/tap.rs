//! The side lane beside rmcp: raw bytes out, raw bytes back, matched by request id.
//!
//! rmcp's typed model keeps the protocol alive (ids, eras, sessions, cancellation) but drops what it does not know, so it never
//! sees what matters. A request carries a [`Slot`] in its untyped extensions; the transport takes the arguments from it, puts
//! itself down under the id when it sends, and hands the raw `result`, `error` and progress `params` to it when they come
//! back. rmcp is given a stub in their place. What must always hold: the slot is in the table before the first byte of its
//! request leaves, each slot is answered at most once, and its stage never says "not sent" once a byte may have left.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use bytes::Bytes;
use rmcp::model::{
    ClientJsonRpcMessage, EmptyResult, ErrorData, GetExtensions as _, GetMeta as _, NumberOrString,
    ServerJsonRpcMessage, ServerResult,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use super::{failure::UpstreamError, spec::Mask};

/// What takes the place of an answer that went to its slot.
const STUB_RESULT: &str = r#"{"content":[]}"#;
/// The schema annotation that turns an argument into an HTTP header; rmcp has to see the tools that carry it.
const HEADER_ANNOTATION: &str = "\"x-mcp-header\"";

/// Made, and nothing has left: entered by creation.
const QUEUED: u8 = 0;
/// The first byte may have left: entered by the transport, never left.
const SENT: u8 = 1;
/// The caller is gone before anything left: entered by the caller; the transport then drops the request.
const ABANDONED: u8 = 2;

/// What a call sends beside rmcp's model, byte for byte.
pub(crate) struct Lane {
    /// The raw JSON object of `arguments`.
    pub(crate) arguments: Bytes,
    /// Other raw members of `params`; `_meta` is merged member by member.
    pub(crate) extra: Vec<(String, Bytes)>,
}

/// What a slot is told, once.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The raw `result`.
    Result(Bytes),
    /// The raw `error`.
    Error(Bytes),
    /// The transport knows better than rmcp why there is none.
    Failed(UpstreamError),
    /// The connection ended.
    Gone,
}

/// One request's place beside rmcp.
pub(crate) struct Slot {
    stage: AtomicU8,
    answer: Mutex<Option<oneshot::Sender<Answer>>>,
    progress: Option<mpsc::Sender<Bytes>>,
    lane: Option<Lane>,
}

impl Slot {
    pub(crate) fn for_call(
        lane: Lane,
        progress: Option<mpsc::Sender<Bytes>>,
    ) -> (Arc<Self>, oneshot::Receiver<Answer>) {
        Self::new(Some(lane), progress)
    }

    pub(crate) fn for_list() -> (Arc<Self>, oneshot::Receiver<Answer>) {
        Self::new(None, None)
    }

    fn new(lane: Option<Lane>, progress: Option<mpsc::Sender<Bytes>>) -> (Arc<Self>, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let slot = Self { stage: AtomicU8::new(QUEUED), answer: Mutex::new(Some(sender)), progress, lane };
        (Arc::new(slot), receiver)
    }

    pub(crate) fn lane(&self) -> Option<&Lane> {
        self.lane.as_ref()
    }

    /// The transport is about to write. False: the caller is gone, nothing may leave.
    pub(crate) fn begin(&self) -> bool {
        self.stage.compare_exchange(QUEUED, SENT, Ordering::AcqRel, Ordering::Acquire) != Err(ABANDONED)
    }

    /// The caller is gone. True: nothing had left, and nothing will.
    pub(crate) fn abandon(&self) -> bool {
        self.stage.compare_exchange(QUEUED, ABANDONED, Ordering::AcqRel, Ordering::Acquire) != Err(SENT)
    }

    pub(crate) fn was_sent(&self) -> bool {
        self.stage.load(Ordering::Acquire) == SENT
    }

    /// The first answer counts; a second one is an echo of a reconnected stream.
    pub(crate) fn finish(&self, answer: Answer) {
        let sender = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // A caller that went away needs no answer.
            let _ = sender.send(answer);
        }
    }

    /// A caller slower than its server misses steps, never the result.
    fn progress(&self, params: Bytes) {
        if let Some(sender) = &self.progress {
            let _ = sender.try_send(params);
        }
    }
}

/// What became of an inbound message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sifted {
    /// rmcp's own business.
    Pass,
    /// The answer to this request, which went to its slot; rmcp is to hear that there was one.
    Answered(i64),
    /// Its content went to a slot; rmcp is given this instead.
    Stub(String),
    /// rmcp has no use for it.
    Consumed,
    /// Not a JSON-RPC message.
    Garbage,
}

/// The outer members of a JSON-RPC message, values untouched.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ProgressParams<'a> {
    #[serde(rename = "progressToken", borrow)]
    token: &'a RawValue,
}

#[derive(Deserialize)]
struct ToolsPage<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

/// The open slots of one connection.
#[derive(Default)]
pub(crate) struct Taps {
    open: Mutex<Open>,
    mask: Mask,
}

#[derive(Default)]
struct Open {
    closed: bool,
    by_id: HashMap<i64, (Arc<Slot>, Option<i64>)>,
    by_token: HashMap<i64, Arc<Slot>>,
}

impl Open {
    fn take(&mut self, id: i64) -> Option<Arc<Slot>> {
        let (slot, token) = self.by_id.remove(&id)?;
        if let Some(token) = token {
            self.by_token.remove(&token);
        }
        Some(slot)
    }
}

impl Taps {
    pub(crate) fn new(mask: Mask) -> Self {
        Self { mask, ..Self::default() }
    }

    /// The secrets of this connection. They stay in what a call gives its caller and are taken out of everything else a server
    /// says: errors are shown and logged, definitions spread over the zone.
    pub(crate) const fn mask(&self) -> &Mask {
        &self.mask
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by a transport for every outbound message, before any byte of it leaves.
    pub(crate) fn watch(&self, message: &ClientJsonRpcMessage) -> Option<Arc<Slot>> {
        let ClientJsonRpcMessage::Request(request) = message else { return None };
        let slot = request.request.extensions().get::<Arc<Slot>>()?.clone();
        let NumberOrString::Number(id) = request.id else { return None };
        let token = request.request.get_meta().get_progress_token().and_then(|token| as_number(&token.0));
        let mut open = self.open();
        if open.closed {
            drop(open);
            slot.finish(Answer::Gone);
            return Some(slot);
        }
        if let Some(token) = token {
            open.by_token.insert(token, slot.clone());
        }
        open.by_id.insert(id, (slot.clone(), token));
        Some(slot)
    }

    /// The caller stopped waiting.
    pub(crate) fn forget(&self, id: &NumberOrString) {
        if let Some(id) = as_number(id) {
            self.open().take(id);
        }
    }

    /// The connection ended: nobody waits for an answer that cannot come.
    pub(crate) fn close(&self) {
        let slots = {
            let mut open = self.open();
            open.closed = true;
            open.by_token.clear();
            std::mem::take(&mut open.by_id)
        };
        for (slot, _) in slots.into_values() {
            slot.finish(Answer::Gone);
        }
    }

    /// Fails one request whose answer could not be read; true when somebody waited for it.
    pub(crate) fn fail(&self, id: i64, error: UpstreamError) -> bool {
        let slot = self.open().take(id);
        slot.map(|slot| slot.finish(Answer::Failed(error))).is_some()
    }

    /// Hands what is tapped to its slot and says what rmcp is to see.
    pub(crate) fn sift(&self, raw: &Bytes) -> Sifted {
        let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(raw) else { return Sifted::Garbage };
        if let Some(method) = &envelope.method {
            if method != "notifications/progress" || envelope.id.is_some() {
                return Sifted::Pass;
            }
            self.sift_progress(raw, envelope.params);
            return Sifted::Consumed;
        }
        let Some(id) = envelope.id.and_then(number_of) else {
            return if envelope.result.is_some() || envelope.error.is_some() { Sifted::Pass } else { Sifted::Garbage };
        };
        if envelope.result.is_none() && envelope.error.is_none() {
            return match self.fail(id, garbage("it has neither a result nor an error")) {
                true => Sifted::Answered(id),
                false => Sifted::Garbage,
            };
        }
        let Some(slot) = self.open().take(id) else { return Sifted::Pass };
        match (envelope.result, envelope.error) {
            (_, Some(error)) => {
                slot.finish(Answer::Error(self.mask.hide(&part(raw, error))));
                Sifted::Answered(id)
            }
            (Some(result), None) if slot.lane.is_none() => {
                slot.finish(Answer::Result(self.mask.hide(&part(raw, result))));
                Sifted::Stub(list_stub(id, result))
            }
            (Some(result), None) => {
                slot.finish(match content_of(result) {
                    Content::Listed => Answer::Result(part(raw, result)),
                    Content::Missing => Answer::Result(with_content(result).into()),
                    Content::Odd => {
                        Answer::Failed(garbage("its result is not one of a tool: an object with a list of content"))
                    }
                });
                Sifted::Answered(id)
            }
            (None, None) => Sifted::Garbage,
        }
    }

    fn sift_progress(&self, raw: &Bytes, params: Option<&RawValue>) {
        let Some(params) = params else { return };
        let Ok(ProgressParams { token }) = serde_json::from_str(params.get()) else { return };
        let slot = number_of(token).and_then(|token| self.open().by_token.get(&token).cloned());
        if let Some(slot) = slot {
            slot.progress(part(raw, params));
        }
    }

    /// [`Taps::sift`], then rmcp's own reading. `Ok(None)`: nothing for rmcp; `Err`: garbage.
    pub(crate) fn read(&self, raw: &Bytes) -> Result<Option<ServerJsonRpcMessage>, String> {
        match self.sift(raw) {
            Sifted::Consumed => Ok(None),
            Sifted::Garbage => Err("it is not a JSON-RPC message".to_owned()),
            // Made, not read: to find out which of all results a text is takes rmcp as long as everything else of a call.
            Sifted::Answered(id) => {
                let nothing = ServerResult::EmptyResult(EmptyResult {});
                Ok(Some(ServerJsonRpcMessage::response(nothing, NumberOrString::Number(id))))
            }
            Sifted::Stub(stub) => serde_json::from_str(&stub).map(Some).map_err(|e| e.to_string()),
            Sifted::Pass => match serde_json::from_slice(&self.mask.hide(raw)) {
                Ok(message) => Ok(Some(message)),
                Err(e) => match answered_id(raw) {
                    // rmcp waits for this id: an error is better than silence.
                    Some(id) => {
                        let error = ErrorData::internal_error(format!("unreadable answer: {e}"), None);
                        Ok(Some(ServerJsonRpcMessage::error(error, Some(NumberOrString::Number(id)))))
                    }
                    None => Err(e.to_string()),
                },
            },
        }
    }
}

pub(crate) fn garbage(reason: impl Into<String>) -> UpstreamError {
    UpstreamError::Garbage { reason: reason.into() }
}

/// What clients look for first in a result.
enum Content {
    /// It is there, or the call goes on and has none yet.
    Listed,
    /// The result is whole and has none: clients refuse what they are sent, although the call ran.
    Missing,
    /// It is no list, or the result no object.
    Odd,
}

/// Source: MCP `CallToolResult`.
fn content_of(result: &RawValue) -> Content {
    #[derive(Deserialize)]
    struct Shape<'a> {
        #[serde(borrow)]
        content: Option<&'a RawValue>,
        #[serde(borrow, rename = "resultType")]
        kind: Option<&'a RawValue>,
        #[serde(borrow)]
        task: Option<&'a RawValue>,
    }
    match serde_json::from_str::<Shape<'_>>(result.get()) {
        Ok(Shape { content: Some(content), .. }) if content.get().starts_with('[') => Content::Listed,
        Ok(Shape { content: None, kind, task: None }) if kind.is_none_or(|kind| kind.get() == "\"complete\"") => {
            Content::Missing
        }
        Ok(Shape { content: None, .. }) => Content::Listed,
        Ok(_) | Err(_) => Content::Odd,
    }
}

/// The result with an empty list of content, all else as it is.
fn with_content(result: &RawValue) -> Vec<u8> {
    let members = result.get().trim_start_matches('{');
    let comma = if members.trim_start().starts_with('}') { "" } else { "," };
    [r#"{"content":[]"#, comma, members].concat().into_bytes()
}

fn as_number(id: &NumberOrString) -> Option<i64> {
    match id {
        NumberOrString::Number(number) => Some(*number),
        NumberOrString::String(text) => text.parse().ok(),
    }
}

/// Ids and tokens are numbers of ours; some servers give them back as text.
fn number_of(raw: &RawValue) -> Option<i64> {
    serde_json::from_str::<NumberOrString>(raw.get()).ok().as_ref().and_then(as_number)
}

/// The id a message answers, when it is an answer.
pub(crate) fn answered_id(raw: &[u8]) -> Option<i64> {
    let envelope = serde_json::from_slice::<Envelope<'_>>(raw).ok()?;
    match envelope.method {
        None => envelope.id.and_then(number_of),
        Some(_) => None,
    }
}

/// A JSON-RPC error that answers nobody by name, as servers send for a request they refused before reading it.
pub(crate) fn uncorrelated_error(raw: &Bytes) -> Option<Bytes> {
    let envelope = serde_json::from_slice::<Envelope<'_>>(raw).ok()?;
    let nameless = envelope.method.is_none() && envelope.id.is_none_or(|id| number_of(id).is_none());
    envelope.error.filter(|_| nameless).map(|error| part(raw, error))
}

/// Whether a body that is all a server says to the request of that id is an answer to it: with the error, where that names no request.
///
/// # Errors
/// It names another request: the one that waits gets no answer any more.
pub(crate) fn addressed_error(raw: &Bytes, request: &NumberOrString) -> Result<Option<Bytes>, String> {
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(raw) else { return Ok(None) };
    if envelope.method.is_some() {
        return Ok(None);
    }
    match (envelope.id.and_then(number_of), envelope.error) {
        (None, Some(error)) => Ok(Some(part(raw, error))),
        (id, _) if id == as_number(request) => Ok(None),
        _ => Err("it answers another request".to_owned()),
    }
}

fn part(whole: &Bytes, value: &RawValue) -> Bytes {
    whole.slice_ref(value.get().as_bytes())
}

fn stub(member: &str, id: i64, value: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":{value}}}"#)
}

/// What rmcp is to read instead of an answer that went to its slot.
pub(crate) fn answered(id: i64) -> String {
    stub("result", id, STUB_RESULT)
}

/// rmcp learns from `tools/list` which arguments travel as headers too, and refuses wrong annotations: it is shown those tools.
fn list_stub(id: i64, result: &RawValue) -> String {
    let annotated = match result.get().contains(HEADER_ANNOTATION) {
        true => serde_json::from_str::<ToolsPage<'_>>(result.get()).map(|page| page.tools).unwrap_or_default(),
        false => Vec::new(),
    };
    let readable: Vec<&str> = annotated
        .into_iter()
        .map(RawValue::get)
        .filter(|tool| has_header_annotation(tool) && serde_json::from_str::<rmcp::model::Tool>(tool).is_ok())
        .collect();
    stub("result", id, &format!(r#"{{"tools":[{}]}}"#, readable.join(",")))
}

/// Whether rmcp must be shown this tool.
pub(crate) fn has_header_annotation(tool: &str) -> bool {
    tool.contains(HEADER_ANNOTATION)
}

#[cfg(test)]
mod tests {
    use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest, ListToolsRequest};

    use super::*;

    fn call(id: i64, token: i64, slot: &Arc<Slot>) -> ClientJsonRpcMessage {
        let mut request = CallToolRequest::new(CallToolRequestParams::new("t"));
        request.extensions.insert(slot.clone());
        let mut request = ClientRequest::CallToolRequest(request);
        request.get_meta_mut().set_progress_token(rmcp::model::ProgressToken(NumberOrString::Number(token)));
        ClientJsonRpcMessage::request(request, NumberOrString::Number(id))
    }

    fn lane() -> Lane {
        Lane { arguments: Bytes::from_static(b"{}"), extra: Vec::new() }
    }

    #[test]
    fn a_result_reaches_its_slot_untouched_and_rmcp_a_stub() {
        let taps = Taps::default();
        let (slot, mut answer) = Slot::for_call(lane(), None);
        taps.watch(&call(3, 9, &slot));
        let raw =
            Bytes::from_static(br#"{"result": {"content":[{"type":"hologram","n":1e999}] },"jsonrpc":"2.0","id":"3"}"#);
        assert!(matches!(taps.read(&raw), Ok(Some(ServerJsonRpcMessage::Response(_)))));
        let Ok(Answer::Result(result)) = answer.try_recv() else { panic!("the slot was not answered") };
        assert_eq!(&result[..], br#"{"content":[{"type":"hologram","n":1e999}] }"#);
        assert_eq!(taps.sift(&raw), Sifted::Pass, "a second answer is rmcp's to ignore");
    }

    #[test]
    fn progress_keeps_its_bytes_and_its_order() {
        let taps = Taps::default();
        let (sender, mut steps) = mpsc::channel(2);
        let (slot, _answer) = Slot::for_call(lane(), Some(sender));
        taps.watch(&call(3, 9, &slot));
        for n in 1..=3 {
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":9, "progress":{n}}}}}"#
            );
            assert_eq!(taps.sift(&Bytes::from(text)), Sifted::Consumed);
        }
        assert_eq!(&steps.try_recv().expect("first")[..], br#"{"progressToken":9, "progress":1}"#);
        assert!(steps.try_recv().is_ok() && steps.try_recv().is_err(), "a full channel loses the newest step");
    }

    #[test]
    fn an_error_object_and_an_empty_answer_end_the_wait() {
        let taps = Taps::default();
        let (slot, mut answer) = Slot::for_call(lane(), None);
        taps.watch(&call(1, 1, &slot));
        let raw = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"m","x":[ ]}}"#);
        assert_eq!(taps.sift(&raw), Sifted::Answered(1));
        let Ok(Answer::Error(error)) = answer.try_recv() else { panic!("no error") };
        assert_eq!(&error[..], br#"{"code":-1,"message":"m","x":[ ]}"#);

        let (slot, mut answer) = Slot::for_call(lane(), None);
        taps.watch(&call(2, 2, &slot));
        taps.sift(&Bytes::from_static(br#"{"jsonrpc":"2.0","id":2}"#));
        assert!(matches!(answer.try_recv(), Ok(Answer::Failed(UpstreamError::Garbage { .. }))));
    }

    #[test]
    fn a_result_that_no_client_can_read_is_no_result() {
        let taps = Taps::default();
        let told = |number: i64, result: &str| {
            let (slot, mut answer) = Slot::for_call(lane(), None);
            taps.watch(&call(number, number, &slot));
            let raw = Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{result}}}"#));
            assert_eq!(taps.sift(&raw), Sifted::Answered(number));
            answer.try_recv().expect("told")
        };
        for (number, bad) in (1..).zip([r#"{"content":"text"}"#, r#"{"content":{}}"#, "[]", "7", r#""text""#]) {
            assert!(matches!(told(number, bad), Answer::Failed(UpstreamError::Garbage { .. })), "{bad}");
        }
        for (number, good) in (10..).zip([
            r#"{"content":[]}"#,
            r#"{ "content" : [ ] }"#,
            r#"{"resultType":"task"}"#,
            r#"{"task":{"taskId":"1"}}"#,
        ]) {
            assert!(matches!(told(number, good), Answer::Result(told) if told == good), "{good}");
        }
        for (number, (bare, whole)) in (20..).zip([
            ("{}", r#"{"content":[]}"#),
            (r#"{"isError":false}"#, r#"{"content":[],"isError":false}"#),
            (r#"{"resultType":"complete"}"#, r#"{"content":[],"resultType":"complete"}"#),
        ]) {
            assert!(matches!(told(number, bare), Answer::Result(told) if told == whole), "{bare}");
        }
    }

    #[test]
    fn a_closed_connection_answers_everybody_even_late_comers() {
        let taps = Taps::default();
        let (early, mut first) = Slot::for_call(lane(), None);
        taps.watch(&call(1, 1, &early));
        taps.close();
        let (late, mut second) = Slot::for_call(lane(), None);
        taps.watch(&call(2, 2, &late));
        assert!(matches!(first.try_recv(), Ok(Answer::Gone)) && matches!(second.try_recv(), Ok(Answer::Gone)));
    }

    #[test]
    fn the_stage_is_decided_once() {
        let (slot, _answer) = Slot::for_list();
        assert!(slot.abandon() && !slot.begin() && !slot.was_sent());
        let (slot, _answer) = Slot::for_list();
        assert!(slot.begin() && !slot.abandon() && slot.was_sent());
    }

    #[test]
    fn rmcp_sees_only_the_tools_whose_arguments_become_headers() {
        let taps = Taps::default();
        let (slot, mut answer) = Slot::for_list();
        let mut request = ListToolsRequest::default();
        request.extensions.insert(slot.clone());
        let request = ClientRequest::ListToolsRequest(request);
        taps.watch(&ClientJsonRpcMessage::request(request, NumberOrString::Number(4)));
        let tools = r#"{"tools":[{"name":"a","inputSchema":{"type":"object"}},{"name":"b","inputSchema":{"type":"object","properties":{"r":{"type":"string","x-mcp-header":"Region"}}}}]}"#;
        let raw = Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":4,"result":{tools}}}"#));
        let Sifted::Stub(stub) = taps.sift(&raw) else { panic!("not tapped") };
        assert!(stub.contains(r#""name":"b""#) && !stub.contains(r#""name":"a""#), "{stub}");
        assert!(matches!(answer.try_recv(), Ok(Answer::Result(bytes)) if bytes == tools));
    }

    /// Whatever a server says, a slot is answered exactly when rmcp is shown a stub for it, and only by its own id.
    #[test]
    fn any_message_of_a_server_answers_its_own_slot_or_nobody() {
        const SAMPLES: [&str; 6] = [
            r#"{"jsonrpc":"2.0","id":3,"result":{"content":[{"type":"text","text":"a\u0000b"}]}}"#,
            r#"{"jsonrpc":"2.0","id":"3","error":{"code":-1,"message":"m"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":9,"progress":1}}"#,
            r#"{"jsonrpc":"2.0","id":3,"result":null,"error":null,"id":4}"#,
            r#"{"id":9223372036854775808,"result":{},"error":{"code":1e999}}"#,
            r#"[[[[{"id":3,"result":{"tools":[{"x-mcp-header":"\ud800"}]}}]]]]"#,
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).expect("31 bits") % bound.max(1)
        };
        for round in 0..20_000 {
            let taps = Taps::default();
            let (slot, mut answer) = Slot::for_call(lane(), None);
            taps.watch(&call(3, 9, &slot));
            let mut text = SAMPLES[round % SAMPLES.len()].as_bytes().to_vec();
            for _ in 0..below(4) {
                let (at, other) = (below(text.len()), below(text.len()));
                match below(4) {
                    0 => text.truncate(at),
                    1 => text.splice(at..at, SAMPLES[other % SAMPLES.len()].bytes()).for_each(drop),
                    2 => text.splice(at.min(other)..at.max(other), []).for_each(drop),
                    _ => text.get_mut(at).into_iter().for_each(|byte| *byte = b"\"{}[]:,0398n\x00\xff"[other % 14]),
                }
            }
            let raw = Bytes::from(text);
            let sifted = taps.sift(&raw);
            let answered = answer.try_recv().is_ok();
            assert_eq!(matches!(sifted, Sifted::Answered(_)), answered, "{raw:?}");
            assert!(!answered || answered_id(&raw) == Some(3), "{raw:?}");
            // What is left over is rmcp's own, or garbage: neither panics.
            drop((taps.read(&raw), uncorrelated_error(&raw)));
        }
    }

    #[test]
    fn what_is_no_message_is_garbage() {
        let taps = Taps::default();
        for line in ["", "Server ready", "[]", "{}", r#"{"id":7}"#, "\u{1b}[31mhi", "{\"jsonrpc\":\"2.0\""] {
            assert_eq!(taps.sift(&Bytes::from(line)), Sifted::Garbage, "{line}");
        }
        let refusal = Bytes::from_static(br#"{"jsonrpc":"2.0","error":{"code":-32000},"id":null}"#);
        assert_eq!(uncorrelated_error(&refusal).expect("nameless"), br#"{"code":-32000}"#[..]);
    }
}
