//! Which of a process's messages is for whom: answers by id, progress by token, the rest by who listens.
//!
//! It reads and writes no pipe. What must always hold: of what is routed every byte stays, but for the ids and tokens that stand for
//! those of several clients at one process; an answer is given once; what is for nobody in particular is never given to one of
//! several clients.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use crate::upstream::spec::Mask;

/// Messages that may wait for a client that reads slowly; further ones are lost to it.
const NOTES_MAX: usize = 64;
/// Messages kept for a client that has no stream open; the oldest make room.
const HELD_MAX: usize = 64;
/// Requests of one process without an answer.
const OPEN_MAX: usize = 256;
const INTERNAL: i64 = -32603;
const SESSION_NOT_FOUND: i64 = -32001;

/// The members of a message that say where it belongs.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
}

/// The members of parameters, and of results, that do.
#[derive(Deserialize, Default)]
struct Marked<'a> {
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "progressToken")]
    token: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Meta<'a> {
    #[serde(borrow, default, rename = "progressToken")]
    token: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/subscriptionId")]
    subscription: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/logLevel")]
    log_level: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

fn marks(part: Option<&RawValue>) -> (Marked<'_>, Meta<'_>) {
    let marked: Marked<'_> = part.and_then(|part| serde_json::from_str(part.get()).ok()).unwrap_or_default();
    let meta = marked.meta.and_then(|meta| serde_json::from_str(meta.get()).ok()).unwrap_or_default();
    (marked, meta)
}

/// One request without an answer.
struct Open {
    own_id: String,
    own_token: Option<String>,
    is_call: bool,
    wants_log: bool,
    notes: mpsc::Sender<Bytes>,
    answer: oneshot::Sender<Bytes>,
    number: u64,
}

/// What becomes of a client's message: what is sent, and where it is waited for, if it is a request: key, own id, messages before the
/// answer, the answer.
pub(super) struct Opened {
    pub(super) frame: Bytes,
    pub(super) waiting: Option<(String, String, mpsc::Receiver<Bytes>, oneshot::Receiver<Bytes>)>,
}

/// See the module.
pub(super) struct Routes {
    /// Several clients: each request has an id of ours.
    shared: bool,
    open: HashMap<String, Open>,
    stream: Option<mpsc::Sender<Bytes>>,
    held: VecDeque<Bytes>,
    count: u64,
    closed: Option<String>,
}

impl Routes {
    pub(super) fn new(shared: bool) -> Self {
        Self { shared, open: HashMap::new(), stream: None, held: VecDeque::new(), count: 0, closed: None }
    }

    /// Whether somebody waits or listens.
    pub(super) fn is_busy(&self) -> bool {
        !self.open.is_empty() || self.stream.as_ref().is_some_and(|stream| !stream.is_closed())
    }

    /// Takes in a client's message.
    ///
    /// # Errors
    /// In words, why it cannot be sent.
    pub(super) fn open(&mut self, raw: &Bytes, is_call: bool) -> Result<Opened, String> {
        if let Some(why) = &self.closed {
            return Err(format!("the server's process has ended: {why}"));
        }
        let text = std::str::from_utf8(raw).map_err(|e| e.to_string())?;
        let message = Message::read(raw).ok_or("it is not a JSON-RPC message")?;
        let (Some(id), Some(_)) = (message.id, &message.method) else {
            return Ok(Opened { frame: line(text), waiting: None });
        };
        let (_, meta) = marks(message.params);
        self.count += 1;
        let (key, sent) = if self.shared {
            let key = format!("\"aop-{}\"", self.count);
            let mut parts = vec![(id, key.as_str())];
            parts.extend(meta.token.map(|token| (token, key.as_str())));
            let sent = exchanged(text, parts);
            (key, line(&sent))
        } else {
            (id.get().to_owned(), line(text))
        };
        if self.open.len() >= OPEN_MAX || self.open.contains_key(&key) {
            return Err(format!("a request {key} is without an answer, or {OPEN_MAX} are"));
        }
        let (notes, heard) = mpsc::channel(NOTES_MAX);
        let (answer, answered) = oneshot::channel();
        let own_id = id.get().to_owned();
        let open = Open {
            own_id: own_id.clone(),
            own_token: meta.token.map(|token| token.get().to_owned()),
            is_call,
            wants_log: meta.log_level.is_some(),
            notes,
            answer,
            number: self.count,
        };
        self.open.insert(key.clone(), open);
        Ok(Opened { frame: sent, waiting: Some((key, own_id, heard, answered)) })
    }

    /// Nobody waits for it any more. False when it was answered.
    pub(super) fn forget(&mut self, key: &str) -> bool {
        self.open.remove(key).is_some()
    }

    /// The stream of a client for what answers none of its requests, with what was kept for it; it takes the place of the one before.
    pub(super) fn listen(&mut self) -> mpsc::Receiver<Bytes> {
        let (stream, heard) = mpsc::channel(NOTES_MAX);
        for message in self.held.drain(..) {
            // There is room for all that is held.
            let _ = stream.try_send(message);
        }
        self.stream = Some(stream);
        heard
    }

    /// The process has ended.
    pub(super) fn close(&mut self, why: &str) {
        self.closed = Some(why.to_owned());
        self.open.clear();
        self.stream = None;
    }

    pub(super) fn why_closed(&self) -> String {
        self.closed.clone().unwrap_or_else(|| "the session was ended".to_owned())
    }

    /// Answers a request whose answer cannot be shown; `id` raw, as the process gave it back.
    pub(super) fn fail(&mut self, id: Option<&str>, why: &str) {
        if let Some(open) = id.and_then(|id| self.open.remove(id)) {
            let message = error_message(&open.own_id, why);
            let _ = open.answer.send(message);
        }
    }

    /// Hands on one message of the process; what the process is told where nobody takes it.
    pub(super) fn route(&mut self, raw: &Bytes, mask: &Mask) -> Option<Bytes> {
        // What is no message is a program's own output.
        let message = Message::read(raw)?;
        let hidden = || mask.hide(raw);
        match (&message.method, message.id) {
            (None, Some(id)) => {
                let open = self.open.remove(id.get())?;
                let (_, meta) = marks(message.result);
                let mut parts = vec![(id, open.own_id.as_str())];
                parts.extend(meta.subscription.map(|tag| (tag, open.own_id.as_str())));
                let answer = if self.shared { self.renamed(raw, parts) } else { raw.clone() };
                // Whoever asked may have gone.
                let _ = open.answer.send(if open.is_call { answer } else { mask.hide(&answer) });
                None
            }
            (None, None) => None,
            (Some(_), Some(id)) => {
                let refusal = || error_line(id.get(), "the client takes no request at this moment");
                if self.shared {
                    return Some(refusal());
                }
                // Most likely it is about what was asked last.
                let sink = self.open.values().max_by_key(|open| open.number).map(|open| &open.notes);
                let lost = match sink.or(self.stream.as_ref()) {
                    Some(sink) => sink.try_send(hidden()).is_err(),
                    None => !self.hold(hidden()),
                };
                lost.then(refusal)
            }
            (Some(method), None) => {
                self.notify(method, &message, raw, mask);
                None
            }
        }
    }

    fn notify(&mut self, method: &str, message: &Message<'_>, raw: &Bytes, mask: &Mask) {
        let (marked, meta) = marks(message.params);
        if method == "notifications/progress" {
            let of = |open: &&Open| open.own_token.as_deref() == marked.token.map(RawValue::get);
            let open = match (self.shared, marked.token) {
                (true, Some(token)) => self.open.get(token.get()),
                (false, Some(_)) => self.open.values().find(of),
                (_, None) => None,
            };
            if let Some(open) = open {
                let own = open.own_token.as_deref();
                let parts = marked.token.into_iter().zip(own).collect();
                let note = if self.shared { self.renamed(raw, parts) } else { raw.clone() };
                let _ = open.notes.try_send(if open.is_call { note } else { mask.hide(&note) });
            }
            return;
        }
        if self.shared {
            let open = match meta.subscription {
                Some(tag) => self.open.get(tag.get()),
                // Whose it is can be told only where one asked for it.
                None => {
                    let mut asked = self.open.values().filter(|open| open.wants_log);
                    asked.next().filter(|_| asked.next().is_none())
                }
            };
            if let Some(open) = open {
                let parts = meta.subscription.map(|tag| (tag, open.own_id.as_str())).into_iter().collect();
                let _ = open.notes.try_send(mask.hide(&self.renamed(raw, parts)));
            }
            return;
        }
        let hidden = mask.hide(raw);
        let latest = self.open.values().max_by_key(|open| open.number).map(|open| &open.notes);
        let stream = self.stream.as_ref().filter(|stream| !stream.is_closed());
        // What is logged belongs to what is running; what changed, to whoever listens.
        let (first, second) = if method == "notifications/message" { (latest, stream) } else { (stream, latest) };
        match first.or(second) {
            Some(sink) => {
                let _ = sink.try_send(hidden);
            }
            None => {
                self.hold(hidden);
            }
        }
    }

    /// Keeps a message for the stream that a client may open.
    fn hold(&mut self, message: Bytes) -> bool {
        if self.held.len() >= HELD_MAX {
            self.held.pop_front();
        }
        self.held.push_back(message);
        true
    }

    fn renamed(&self, raw: &Bytes, parts: Vec<(&RawValue, &str)>) -> Bytes {
        match std::str::from_utf8(raw) {
            Ok(text) => exchanged(text, parts).into_owned().into(),
            Err(_) => raw.clone(),
        }
    }
}

/// `text` with each of its parts exchanged.
fn exchanged<'t>(text: &'t str, mut parts: Vec<(&RawValue, &str)>) -> Cow<'t, str> {
    // From the last one on, so that the places of the others stay.
    parts.sort_by_key(|(part, _)| std::cmp::Reverse(part.get().as_ptr() as usize));
    let mut out = Cow::Borrowed(text);
    for (part, new) in parts {
        // A part borrows from `text`, so its place in it is the distance of the two addresses.
        let Some(start) = (part.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize) else { continue };
        let end = start + part.get().len();
        if text.get(start..end) == Some(part.get()) {
            out.to_mut().replace_range(start..end, new);
        }
    }
    out
}

/// As one line. A line break can stand only between tokens of JSON, never inside a string.
fn line(text: &str) -> Bytes {
    (text.replace(['\n', '\r'], " ") + "\n").into()
}

/// An answer that says why there is none.
pub(super) fn error_message(id: &str, why: &str) -> Bytes {
    let why = serde_json::Value::from(why);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{INTERNAL},"message":{why}}}}}"#).into()
}

fn error_line(id: &str, why: &str) -> Bytes {
    [&error_message(id, why)[..], b"\n"].concat().into()
}

pub(super) fn session_error(message: &[u8]) -> Bytes {
    let message = Message::read(message);
    let id = message.as_ref().and_then(|message| message.id).map_or("null", RawValue::get);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{SESSION_NOT_FOUND},"message":"Session not found"}}}}"#)
        .into()
}

/// Whether it is an answer that refuses.
pub(super) fn is_error(message: &[u8]) -> bool {
    Message::read(message).is_some_and(|message| message.result.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(routes: &mut Routes, message: &str) -> (String, mpsc::Receiver<Bytes>, oneshot::Receiver<Bytes>) {
        let Opened { frame, waiting } = routes.open(&Bytes::from(message.to_owned()), false).expect("it is sent");
        let (_, _, notes, answer) = waiting.expect("a request");
        (String::from_utf8(frame.to_vec()).expect("text"), notes, answer)
    }

    fn hear(routes: &mut Routes, line: &str) -> Option<Bytes> {
        routes.route(&Bytes::from(line.to_owned()), &Mask::default())
    }

    #[test]
    fn several_clients_share_a_process_and_hear_each_its_own() {
        let mut routes = Routes::new(true);
        let meta = r#""_meta":{"progressToken":"p","io.modelcontextprotocol/logLevel":"info"}"#;
        let (sent, mut ones, mut one) =
            open(&mut routes, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{{ "x":1.50,{meta}}}}}"#));
        assert_eq!(
            sent,
            format!(r#"{{"jsonrpc":"2.0","id":"aop-1","method":"a","params":{{ "x":1.50,{meta}}}}}"#)
                .replace(r#""progressToken":"p""#, r#""progressToken":"aop-1""#)
                + "\n"
        );
        let (_, mut twos, mut two) = open(&mut routes, r#"{"id":1,"method":"subscriptions/listen"}"#);
        hear(&mut routes, r#"{"method":"notifications/progress","params":{"progress":1,"progressToken":"aop-1"}}"#);
        let tag = r#""_meta":{"io.modelcontextprotocol/subscriptionId":"aop-2"}"#;
        hear(&mut routes, &format!(r#"{{"method":"notifications/tools/list_changed","params":{{{tag}}}}}"#));
        hear(&mut routes, r#"{"method":"notifications/message","params":{"data":1}}"#);
        let text =
            |notes: &mut mpsc::Receiver<Bytes>| notes.try_recv().map(|it| String::from_utf8_lossy(&it).into_owned());
        assert_eq!(
            text(&mut ones).as_deref(),
            Ok(r#"{"method":"notifications/progress","params":{"progress":1,"progressToken":"p"}}"#)
        );
        assert_eq!(text(&mut ones).as_deref(), Ok(r#"{"method":"notifications/message","params":{"data":1}}"#));
        assert_eq!(
            text(&mut twos).as_deref(),
            Ok(
                r#"{"method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#
            )
        );
        assert!(ones.try_recv().is_err() && twos.try_recv().is_err());
        hear(&mut routes, &format!(r#"{{"result":{{{tag}}},"id":"aop-2"}}"#));
        assert_eq!(
            two.try_recv().as_deref(),
            Ok(&br#"{"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}},"id":1}"#[..])
        );
        // Nobody asked under the id that the clients use.
        hear(&mut routes, r#"{"result":{},"id":1}"#);
        assert!(one.try_recv().is_err() && routes.is_busy());
        // Whose a question is, or a line of a log, cannot be told among several.
        assert!(
            hear(&mut routes, r#"{"id":9,"method":"roots/list"}"#)
                .is_some_and(|refusal| refusal.starts_with(br#"{"jsonrpc":"2.0","id":9,"error""#))
        );
        let (_, mut threes, _three) = open(&mut routes, &format!(r#"{{"id":3,"method":"b","params":{{{meta}}}}}"#));
        hear(&mut routes, r#"{"method":"notifications/message","params":{"data":2}}"#);
        assert!(ones.try_recv().is_err() && threes.try_recv().is_err());
    }

    #[test]
    fn what_answers_nothing_goes_to_who_listens_or_waits_for_him() {
        let mut routes = Routes::new(false);
        hear(&mut routes, r#"{"method":"notifications/tools/list_changed"}"#);
        let mut stream = routes.listen();
        assert!(stream.try_recv().is_ok(), "it was kept");
        let (sent, mut notes, _answer) = open(&mut routes, "{\"id\":\n7,\"method\":\"a\"}");
        assert_eq!(sent, "{\"id\": 7,\"method\":\"a\"}\n");
        assert!(routes.open(&Bytes::from_static(br#"{"id":7,"method":"b"}"#), false).is_err(), "an id twice");
        assert_eq!(hear(&mut routes, r#"{"id":1,"method":"sampling/createMessage"}"#), None);
        hear(&mut routes, r#"{"method":"notifications/message"}"#);
        assert!(notes.try_recv().is_ok() && notes.try_recv().is_ok() && stream.try_recv().is_err());
        hear(&mut routes, r#"{"method":"notifications/resources/updated"}"#);
        assert!(notes.try_recv().is_err() && stream.try_recv().is_ok());
        drop(notes);
        // A client that does not take a question is said to.
        assert!(hear(&mut routes, r#"{"id":2,"method":"roots/list"}"#).is_some());
        assert!(routes.forget("7") && !routes.forget("7"));
        hear(&mut routes, "no message at all");
        routes.close("it went");
        assert!(routes.open(&Bytes::from_static(br#"{"id":8,"method":"b"}"#), false).is_err());
        assert!(stream.try_recv().is_err());
    }

    #[test]
    fn an_answer_that_is_too_large_ends_its_request_whatever_its_id() {
        for (shared, id) in [(true, "\"aop-1\""), (false, "\"a\"")] {
            let mut routes = Routes::new(shared);
            let (_, _notes, mut answer) = open(&mut routes, r#"{"id":"a","method":"b"}"#);
            routes.fail(None, "too large");
            routes.fail(Some("1"), "too large");
            assert!(answer.try_recv().is_err());
            routes.fail(Some(id), "too large");
            let said = answer.try_recv().expect("it ended");
            assert!(said.starts_with(br#"{"jsonrpc":"2.0","id":"a","error""#));
        }
    }

    #[test]
    fn secrets_stay_but_for_a_tool_s_result() {
        let mask = Mask::of(&["s3cret-value"]);
        for (is_call, shown) in
            [(true, r#"{"id":1,"result":"s3cret-value"}"#), (false, r#"{"id":1,"result":"[hidden]"}"#)]
        {
            let mut routes = Routes::new(false);
            let asked = br#"{"id":1,"method":"a","params":{"_meta":{"progressToken":2}}}"#;
            let opened = routes.open(&Bytes::from_static(asked), is_call).expect("it is sent");
            let (_, _, mut notes, mut answer) = opened.waiting.expect("a request");
            let progress =
                br#"{"method":"notifications/progress","params":{"progressToken":2,"message":"s3cret-value"}}"#;
            routes.route(&Bytes::from_static(progress), &mask);
            let note = notes.try_recv().expect("a note");
            assert_eq!(String::from_utf8_lossy(&note).contains("s3cret-value"), is_call);
            routes.route(&Bytes::from_static(br#"{"id":1,"result":"s3cret-value"}"#), &mask);
            assert_eq!(answer.try_recv().as_deref(), Ok(shown.as_bytes()));
        }
    }
}
