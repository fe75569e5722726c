//! What one caller may do at one server, what he is shown of its list, and whose a session is.

use std::sync::Arc;

use aop_proto::access::{Action, Caller, Request, Sight};
use aop_proto::error::Problem;
use aop_proto::name::{ZoneName, fit_label};
use aop_proto::view::View;
use aop_proto::zone::Tool;
use aws_lc_rs::hmac;
use axum::http::HeaderValue;
use bytes::Bytes;
use serde::{Deserialize, de::Error as _};
use serde_json::value::RawValue;

use super::message::Message;
use crate::handle::Handle;
use crate::mcp::envelope::{Answer, Id, code};
use crate::mcp::raw::{self, Members};
use crate::upstream::check_mirror;

/// What whoever may find or call one tool of a server needs to speak with it, beside what begins with `notifications/`.
const FREE: [&str; 4] = ["initialize", "server/discover", "ping", "tools/list"];
/// Bytes of the proof in a sealed session.
const PROOF_BYTES: usize = 16;

/// One caller at one server.
pub(super) struct Guard<'a> {
    handle: &'a Handle,
    by: &'a Caller,
    view: Arc<View>,
    server: String,
}

impl<'a> Guard<'a> {
    /// The server of that name, whoever may know of it.
    ///
    /// # Errors
    /// `ServerNotFound`.
    pub(super) fn new(handle: &'a Handle, by: &'a Caller, server: &str) -> Result<Self, Problem> {
        let server = handle.upstreams().named(server).ok_or_else(|| unknown(handle, by, server))?;
        Ok(Self { handle, by, view: handle.view(), server })
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn zone(&self) -> &ZoneName {
        &self.view.zone
    }

    /// # Errors
    /// The caller may not say that, or to him there is no such server.
    pub(super) fn may(&self, message: &Message<'_>) -> Result<(), Problem> {
        let allowed = match message.method().unwrap_or_default() {
            "tools/call" => {
                let name = self.full_name(&message.tool().unwrap_or_default());
                let request = Request { action: Action::Call, zone: &self.view.zone, tool: Some(&name) };
                self.handle.auth().require(self.by, request)
            }
            method if FREE.contains(&method) || method.starts_with("notifications/") => return self.may_know(),
            _ => self.may_use(),
        };
        allowed.map_err(|refusal| self.may_know().err().unwrap_or(refusal))
    }

    /// # Errors
    /// `ServerNotFound`, in the same words as if there were none, for whoever may neither find nor call nor use anything of it.
    pub(super) fn may_know(&self) -> Result<(), Problem> {
        let is_seen = self.handle.sight(self.by).is_none() || self.may_use().is_ok() || self.sees_a_tool();
        if is_seen { Ok(()) } else { Err(unknown(self.handle, self.by, &self.server)) }
    }

    /// The server as a whole: its resources, its prompts and what else it has.
    fn may_use(&self) -> Result<(), Problem> {
        let name = self.view.zone.join(&self.server);
        let request = Request { action: Action::Call, zone: &self.view.zone, tool: Some(&name) };
        self.handle.auth().require(self.by, request)
    }

    fn sees_a_tool(&self) -> bool {
        let allows = |action, tool: &str| {
            self.handle.auth().allows(self.by, Request { action, zone: &self.view.zone, tool: Some(tool) })
        };
        let is_own = |tool: &&Tool| {
            tool.of_node(self.view.node).is_some_and(|own| own.body().server.eq_ignore_ascii_case(&self.server))
        };
        let mut own = self.view.tools.iter().filter(is_own);
        own.any(|tool| allows(Action::Discover, tool.name()) || allows(Action::Call, tool.name()))
    }

    /// The full name of a tool of this server: its own where it is registered, otherwise what it would be called.
    pub(super) fn full_name(&self, original: &str) -> String {
        full_name(&self.view, &self.server, original)
    }

    /// How the tool that a call names is defined here, and the hash of that.
    pub(super) fn definition(&self, message: &Message<'_>) -> Option<Bytes> {
        let name = self.full_name(&message.tool()?);
        let own = self.view.tools.find_text(&name)?.of_node(self.view.node)?;
        Some(Bytes::copy_from_slice(own.body().definition))
    }

    /// What the caller is shown of the server's messages.
    /// `list` is the id of a `tools/list`, where it is one.
    pub(super) fn sieve(&self, is_call: bool, list: Option<Id>) -> Sieve {
        Sieve { sight: self.handle.sight(self.by), view: self.view.clone(), server: self.server.clone(), is_call, list }
    }
}

fn unknown(handle: &Handle, by: &Caller, server: &str) -> Problem {
    let problem = handle.no_such_server(server);
    if handle.sight(by).is_some() {
        // Near names would tell of servers he may not know of.
        return problem.did_you_mean(Vec::new());
    }
    let view = handle.view();
    match view.tools.iter().any(|tool| tool.shown().body().server.eq_ignore_ascii_case(server)) {
        true => {
            Problem::new(problem.kind, format!("server `{server}` is another node's, and only that passes it through"))
                .hint(format!("aop ls {}", view.zone))
        }
        false => problem,
    }
}

fn full_name(view: &View, server: &str, original: &str) -> String {
    let is_it = |tool: &&Tool| {
        tool.of_node(view.node)
            .is_some_and(|own| own.body().original == original && own.body().server.eq_ignore_ascii_case(server))
    };
    let known = view.tools.called(&format!("{server}/{original}")).into_iter().find(is_it);
    known.map_or_else(|| view.zone.join(&format!("{}.{server}", fit_label(original))), |tool| tool.name().to_owned())
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Takes out of a list of tools what the caller may not find, and what this node takes from nobody.
pub(super) struct Sieve {
    sight: Option<Arc<Sight>>,
    view: Arc<View>,
    server: String,
    /// The answer is a tool's own, whatever it looks like.
    is_call: bool,
    /// It answers a `tools/list` of this id.
    list: Option<Id>,
}

impl Sieve {
    #[cfg(test)]
    pub(super) fn for_tests(handle: &Handle, is_call: bool, list: Option<Id>) -> Self {
        Self { sight: None, view: handle.view(), server: "s".to_owned(), is_call, list }
    }

    /// The message with what remains; nothing where all does. Of a list that cannot be read, or in more ways than one, it is an error
    /// that remains: its client may find in it what this node did not.
    pub(super) fn sift(&self, message: &str) -> Option<String> {
        // An event may have no message, so that its id is known.
        if self.is_call || message.trim().is_empty() {
            return None;
        }
        match (self.sifted(message), &self.list) {
            (Ok(sifted), _) => sifted,
            (Err(_), None) => None,
            (Err(error), Some(id)) => {
                let why = format!("the server's list of tools cannot be read: {error}");
                Some(Answer::error(code::INTERNAL, &why, None).text(id))
            }
        }
    }

    fn sifted(&self, message: &str) -> serde_json::Result<Option<String>> {
        let unclear = || serde_json::Error::custom("members whose names differ in their cases only");
        let answered = Members::read(message)?;
        if answered.disguised(&["result"]).is_some() {
            return Err(unclear());
        }
        let Some(result) = answered.get("result") else { return Ok(None) };
        let listed = Members::read(result.get())?;
        if listed.disguised(&["tools"]).is_some() {
            return Err(unclear());
        }
        let Some(tools) = listed.get("tools") else { return Ok(None) };
        let tools: Vec<&RawValue> = serde_json::from_str(tools.get())?;
        let kept: Vec<&str> = tools.iter().map(|tool| tool.get()).filter(|tool| self.shows(tool)).collect();
        if kept.len() == tools.len() {
            return Ok(None);
        }
        let kept = format!("[{}]", kept.join(","));
        let result = raw::with_member(result.get(), "tools", &kept);
        let sifted = result.and_then(|result| raw::with_member(message, "result", &result));
        sifted.map(Some).ok_or_else(unclear)
    }

    fn shows(&self, tool: &str) -> bool {
        let sees = |sight: &Sight| {
            serde_json::from_str::<Named>(tool)
                .is_ok_and(|tool| sight.sees(&self.view.zone, &full_name(&self.view, &self.server, &tool.name)))
        };
        check_mirror(tool.as_bytes()).is_ok() && self.sight.as_deref().is_none_or(sees)
    }
}

/// Binds sessions to who began them, without a table: whoever presents one proves that it was given to him, for that server, by this
/// process.
pub(super) struct Seal(hmac::Key);

impl Seal {
    pub(super) fn new() -> Self {
        let mut secret = [0; 32];
        // Without chance sessions are not secret from those who know this program; servers name theirs by chance as well.
        let _ = getrandom::fill(&mut secret);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &secret))
    }

    /// The session as its client is told it.
    pub(super) fn close(&self, by: &Caller, server: &str, session: &str) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("{}{session}", self.proof(by, server, session))).ok()
    }

    /// The session as the server named it, if it is this caller's.
    pub(super) fn open(&self, by: &Caller, server: &str, sealed: &HeaderValue) -> Option<String> {
        let (proof, session) = sealed.to_str().ok()?.split_at_checked(PROOF_BYTES * 2)?;
        let right = self.proof(by, server, session);
        aws_lc_rs::constant_time::verify_slices_are_equal(proof.as_bytes(), right.as_bytes()).ok()?;
        Some(session.to_owned())
    }

    fn proof(&self, by: &Caller, server: &str, session: &str) -> String {
        let said = format!("{}\0{}\0{session}", by.principal, server.to_ascii_lowercase());
        let tag = hmac::sign(&self.0, said.as_bytes());
        tag.as_ref().iter().take(PROOF_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use aop_proto::access::Principal;

    use super::*;

    #[test]
    fn a_session_is_of_who_began_it_at_that_server() {
        let (seal, other) = (Seal::new(), Seal::new());
        let token = |name: &str| Caller::bare(Principal::Token(name.to_owned()));
        let (alice, bob) = (token("alice"), token("bob"));
        let sealed = seal.close(&alice, "Papers", "s-1").expect("a header");
        assert_eq!(seal.open(&alice, "papers", &sealed).as_deref(), Some("s-1"));
        assert_eq!(seal.open(&bob, "papers", &sealed), None);
        assert_eq!(seal.open(&alice, "files", &sealed), None);
        assert_eq!(other.open(&alice, "papers", &sealed), None, "of another process");
        for forged in ["", "s-1", "0000000000000000000000000000000000s-1"] {
            assert_eq!(seal.open(&alice, "papers", &HeaderValue::from_static(forged)), None, "{forged}");
        }
        let mut cut = sealed.to_str().expect("text").to_owned();
        cut.push('x');
        assert_eq!(seal.open(&alice, "papers", &HeaderValue::try_from(cut).expect("a header")), None);
    }

    #[tokio::test]
    async fn a_list_keeps_its_bytes_but_for_what_is_not_shown() {
        let handle = Handle::for_tests();
        let of = |is_call: bool, list: Option<Id>| Sieve::for_tests(&handle, is_call, list);
        let sieve = |is_call: bool| of(is_call, (!is_call).then(|| Id("1".to_owned())));
        let list = r#"{"jsonrpc":"2.0", "id":1,"result":{ "tools":[{"name":"a","x":1.50},{"name":"b","inputSchema":{"type":"object","properties":{"k":{"type":"string","x-mcp-header":"Authorization"}}}}],"z":{} }}"#;
        let kept = sieve(false).sift(list).expect("one is left out");
        assert_eq!(kept, r#"{"jsonrpc":"2.0", "id":1,"result":{ "tools":[{"name":"a","x":1.50}],"z":{} }}"#);
        assert_eq!(sieve(true).sift(list), None, "a tool's result is its own");
        assert_eq!(sieve(false).sift(&kept), None, "nothing to leave out");
        let error = r#"{"jsonrpc":"2.0","id":1,"error":{"#;
        for unclear in [
            r#"[{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}]"#,
            r#"[{"tools":[]}]"#,
            r#"{"id":1,"result":{"tools":[]},"result":{"tools":[]}}"#,
            r#"{"id":1,"result":{"tools":[],"tools":[]}}"#,
            r#"{"id":1,"result":{"tools":[],"Tools":[]}}"#,
            r#"{"id":1,"result":[[]]}"#,
            r#"{"id":1,"result":{"tools":{}}}"#,
            "no message",
        ] {
            assert!(sieve(false).sift(unclear).is_some_and(|said| said.starts_with(error)), "{unclear}");
            assert_eq!(of(false, None).sift(unclear), None, "it is no list");
        }
        for other in ["", r#"{"id":1,"error":{"code":1}}"#, r#"{"method":"notifications/message","params":{}}"#] {
            assert_eq!(sieve(false).sift(other), None, "{other}");
        }
    }
}
