//! Calls under way of clients of an initialize revision, so that each can be ended by its id.
//!
//! ```text
//! initialize ──▶ a session: 128 random bits, of which nothing is kept
//! tools/call 77, in that session ──▶ held under (session, who calls, 77) for as long as it runs
//! notifications/cancelled 77, in that session, from the same ──▶ the call ends, and with it all that was done for it
//! ```
//!
//! Not here: later revisions, in which a client closes the stream of its call. What must always hold: an id is a small number that anybody
//! guesses, so that nobody ends a call by it who does not know the session and is not who made the call; nothing is held for longer than its
//! call runs, so that there are never more entries than calls.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aop_proto::access::Principal;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;

use super::envelope::Id;
use crate::entropy;

pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// Characters of a session in its header.
const SESSION_CHARS: usize = 32;
/// Bytes of a request's id; a call under a longer one cannot be ended by it.
const ID_BYTES_MAX: usize = 256;

/// What a client of an initialize revision is given at its beginning, and says with each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Session(u128);

impl Session {
    /// A new one; nothing where the system gives no randomness.
    pub(super) fn new() -> Option<Self> {
        let seed = entropy::seed().ok()?;
        Some(Self(u128::from_be_bytes(*seed.first_chunk()?)))
    }

    /// That of a request; nothing where it has none, or none of this node's.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut said = headers.get_all(SESSION).iter();
        let (text, None) = (said.next()?.to_str().ok()?, said.next()) else { return None };
        let is_ours = text.len() == SESSION_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_ours.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }

    /// As it is written in a header.
    pub(super) fn header(self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("{:032x}", self.0)).ok()
    }
}

/// The calls of one door. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Underway(Arc<Mutex<HashMap<Key, CancellationToken>>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    session: Session,
    by: Principal,
    id: Id,
}

impl Underway {
    /// Holds a call until what is given back is dropped. Nothing where its id is too long, or another call's that still runs.
    pub(super) fn enter(&self, session: Session, by: &Principal, id: &Id) -> Option<Entered> {
        if id.0.len() > ID_BYTES_MAX {
            return None;
        }
        let key = Key { session, by: by.clone(), id: id.clone() };
        let cancelled = CancellationToken::new();
        match self.held().entry(key.clone()) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(free) => free.insert(cancelled.clone()),
        };
        Some(Entered { underway: self.clone(), key, cancelled })
    }

    /// Ends the call of that id, if it is of that session and of that caller.
    pub(super) fn cancel(&self, session: Session, by: &Principal, id: &str) {
        let key = Key { session, by: by.clone(), id: Id(id.to_owned()) };
        if let Some(cancelled) = self.held().get(&key) {
            cancelled.cancel();
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Key, CancellationToken>> {
        // Nothing can panic half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that can be ended by its id, until this is dropped.
pub(super) struct Entered {
    underway: Underway,
    key: Key,
    cancelled: CancellationToken,
}

impl Entered {
    /// Returns when its client has said that it does not wait any more.
    pub(super) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.underway.held().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seven() -> Id {
        Id("7".to_owned())
    }

    #[test]
    fn a_call_is_ended_by_whoever_made_it_in_its_session_and_by_nobody_else() {
        let underway = Underway::default();
        let (mine, other) = (Session::new().expect("chance"), Session::new().expect("chance"));
        let (me, somebody) = (Principal::Token("me".to_owned()), Principal::Anonymous);
        let entered = underway.enter(mine, &me, &seven()).expect("held");
        for (session, by, id) in
            [(other, &me, "7"), (mine, &somebody, "7"), (mine, &me, "8"), (mine, &me, "\"7\""), (mine, &me, "")]
        {
            underway.cancel(session, by, id);
            assert!(!entered.cancelled.is_cancelled(), "{session:?} {by} {id}");
        }
        underway.cancel(mine, &me, "7");
        assert!(entered.cancelled.is_cancelled());
    }

    #[test]
    fn nothing_is_held_longer_than_its_call() {
        let underway = Underway::default();
        let session = Session::new().expect("chance");
        let entered = underway.enter(session, &Principal::Anonymous, &seven()).expect("held");
        assert!(underway.enter(session, &Principal::Anonymous, &seven()).is_none(), "that id is taken");
        assert_eq!(underway.held().len(), 1);
        drop(entered);
        assert!(underway.held().is_empty());
        let long = Id("7".repeat(ID_BYTES_MAX + 1));
        assert!(underway.enter(session, &Principal::Anonymous, &long).is_none());
        assert!(underway.held().is_empty());
    }

    #[test]
    fn a_session_is_read_back_as_it_was_given_and_nothing_else_is_one() {
        let session = Session::new().expect("chance");
        assert_ne!(Some(session), Session::new());
        let header = |value: HeaderValue| HeaderMap::from_iter([(SESSION, value)]);
        let given = session.header().expect("hexadecimal");
        assert_eq!(given.len(), SESSION_CHARS);
        assert_eq!(Session::of(&header(given.clone())), Some(session));
        assert_eq!(Session::of(&HeaderMap::new()), None);
        for bad in ["", "7", "+0000000000000000000000000000007", "g0000000000000000000000000000007"] {
            assert_eq!(Session::of(&header(HeaderValue::from_static(bad))), None, "{bad}");
        }
        let mut twice = header(given.clone());
        twice.append(SESSION, given);
        assert_eq!(Session::of(&twice), None);
    }
}
