//! Clients of their own at a server behind pipes: a process for each that begins with `initialize`, one for all that need no such
//! beginning.
//!
//! A program that speaks over its pipes takes whoever is there for its one client: what that client can do, its subscriptions and
//! its answers are of the whole process. So nobody shares one with another, and none is shared with the node's own connection. What
//! must always hold: a process ends when its client says so, when nobody has used it for [`IDLE_MAX`], or with the registration; and
//! what one client does holds back no other.

mod routes;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aop_proto::access::Principal;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Method, StatusCode};
use sse_stream::Sse;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    process::ChildStdout,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use self::routes::{Opened, Routes, error_message, session_error};
use super::{
    child::{Child, Pipes},
    failure::UpstreamError,
    passing::{Asked, Events, LISTENING_MAX, PASSING_MAX, Said, SaidBody},
    spec::{Mask, ServerSpec, TransportSpec},
    stdio::{Line, Lines},
};

/// Processes of one server for clients that began with `initialize`; who comes when there are more takes the place of whoever has
/// been silent for longest, or is refused.
const SESSIONS_MAX: usize = 32;
/// Of these, the share of one principal, who then takes his own places only. The operator, who is everybody on a node of one machine, may
/// have all.
const SESSIONS_OWN_MAX: usize = 8;
/// A silent client keeps its place for this long at least.
const KEPT_MIN: Duration = Duration::from_secs(60);
/// A process that nobody waits for or listens to is ended after this.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// Messages waiting for a process that reads slowly.
const OUTBOX_MESSAGES: usize = 256;
/// How long a process may take to end by itself.
const DYING: Duration = Duration::from_millis(500);
/// The process of clients that need no beginning.
const SHARED: &str = "";

/// See the module. One for each registration.
pub(crate) struct Passages {
    spec: Arc<ServerSpec>,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    messages: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// One process and who speaks with it.
struct Session {
    /// Who began it.
    owner: String,
    outbox: mpsc::Sender<Bytes>,
    routes: Mutex<Routes>,
    used: Mutex<Instant>,
    stop: CancellationToken,
}

impl Session {
    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Since when nobody has used it; nothing while somebody waits or listens.
    fn idle_since(&self) -> Option<Instant> {
        (!self.routes().is_busy()).then(|| *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Passages {
    pub(super) fn new(spec: Arc<ServerSpec>) -> Self {
        Self {
            spec,
            sessions: Mutex::default(),
            messages: Arc::new(Semaphore::new(PASSING_MAX)),
            listeners: Arc::new(Semaphore::new(LISTENING_MAX)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    pub(super) const fn spec(&self) -> &Arc<ServerSpec> {
        &self.spec
    }

    pub(super) fn transport(&self) -> &TransportSpec {
        &self.spec.transport
    }

    /// A place for one message, or for one who listens.
    ///
    /// # Errors
    /// `Crowded` where there are too many.
    pub(super) fn permit(&self, listens: bool) -> Result<OwnedSemaphorePermit, UpstreamError> {
        let (places, reason) = match listens {
            true => {
                (&self.listeners, format!("{LISTENING_MAX} clients listen to this server, and there is no more room"))
            }
            false => (&self.messages, format!("{PASSING_MAX} messages are with this server and none has ended")),
        };
        let (retry_after, is_share) = (Duration::from_secs(1), false);
        places.clone().try_acquire_owned().map_err(|_| UpstreamError::Crowded { reason, retry_after, is_share })
    }

    /// Ends every process.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one message of a client, or gives it its stream, or ends its session.
    pub(super) async fn pass(self: &Arc<Self>, asked: Asked) -> Result<Said, UpstreamError> {
        let permit = self.permit(asked.listens)?;
        let session = match &asked.session {
            Some(name) => match self.sessions().get(name).cloned() {
                Some(session) => session,
                None => return Ok(no_session(&asked.body)),
            },
            None if asked.method != Method::POST => return Ok(said(StatusCode::METHOD_NOT_ALLOWED)),
            None if asked.begins => {
                let name = new_name()?;
                let session = self.start(&name, &asked.by).await?;
                let said = exchange(session.clone(), &asked, permit).await.inspect_err(|_| session.stop.cancel())?;
                let is_begun = !matches!(&said.body, SaidBody::Json(answer) if routes::is_error(answer));
                if !is_begun {
                    session.stop.cancel();
                }
                return Ok(Said { session: is_begun.then_some(name), ..said });
            }
            None => self.start(SHARED, "").await?,
        };
        session.touch();
        if asked.method == Method::DELETE {
            self.forget(asked.session.as_deref().unwrap_or(SHARED), &session);
            session.stop.cancel();
            return Ok(said(StatusCode::OK));
        }
        if asked.method == Method::GET {
            let messages = session.routes().listen();
            let events = stream::unfold((messages, session, permit), |(mut messages, session, permit)| async move {
                let message = messages.recv().await?;
                Some((Ok(event(message)), (messages, session, permit)))
            });
            return Ok(Said { body: SaidBody::Events(events.boxed()), ..said(StatusCode::OK) });
        }
        exchange(session, &asked, permit).await
    }

    /// The process of that name, started for `owner` if there is none.
    async fn start(self: &Arc<Self>, name: &str, owner: &str) -> Result<Arc<Session>, UpstreamError> {
        if let Some(session) = self.sessions().get(name) {
            return Ok(session.clone());
        }
        let TransportSpec::Stdio { command, cwd, .. } = &self.spec.transport else {
            return Err(UpstreamError::Invalid { reason: "the server is not behind pipes".to_owned() });
        };
        let (values, mask) = self.spec.transport.resolve().await?;
        let mut sessions = self.sessions();
        if self.stop.is_cancelled() {
            return Err(UpstreamError::UnknownServer);
        }
        if let Some(session) = sessions.get(name) {
            return Ok(session.clone());
        }
        if name != SHARED {
            make_room(&mut sessions, owner, KEPT_MIN)?;
        }
        let (child, pipes) = Child::spawn(command, &values, cwd.as_deref(), mask.clone())?;
        let (outbox, frames) = mpsc::channel(OUTBOX_MESSAGES);
        let session = Arc::new(Session {
            owner: owner.to_owned(),
            outbox,
            routes: Mutex::new(Routes::new(name == SHARED)),
            used: Mutex::new(Instant::now()),
            stop: self.stop.child_token(),
        });
        sessions.insert(name.to_owned(), session.clone());
        let (this, name, kept) = (Arc::clone(self), name.to_owned(), session.clone());
        self.tasks.spawn(async move {
            let Pipes { stdin, stdout } = pipes;
            let writer = AbortOnDropHandle::new(tokio::spawn(write(stdin, frames)));
            let why = kept.serve(stdout, &mask).await;
            this.forget(&name, &kept);
            drop(writer);
            let story = child.end(if kept.stop.is_cancelled() { Duration::ZERO } else { DYING }).await;
            kept.routes().close(why.unwrap_or(&story));
        });
        Ok(session)
    }

    /// Unless another has taken its place.
    fn forget(&self, name: &str, session: &Arc<Session>) {
        let mut sessions = self.sessions();
        if sessions.get(name).is_some_and(|kept| Arc::ptr_eq(kept, session)) {
            sessions.remove(name);
        }
    }
}

/// Room for one more session of `owner`: ends the one that has been silent for longest, and for `kept` at least, where there is none.
fn make_room(sessions: &mut HashMap<String, Arc<Session>>, owner: &str, kept: Duration) -> Result<(), UpstreamError> {
    let own = sessions.iter().filter(|(name, session)| *name != SHARED && session.owner == owner).count();
    let all = sessions.keys().filter(|name| *name != SHARED).count();
    let is_own_full = own >= SESSIONS_OWN_MAX && owner != Principal::Operator.to_string();
    if !is_own_full && all < SESSIONS_MAX {
        return Ok(());
    }
    let idle = |session: &Session| session.idle_since().filter(|since| since.elapsed() >= kept);
    let can_go = |name: &str, session: &Session| name != SHARED && (!is_own_full || session.owner == owner);
    let silent = sessions.iter().filter(|(name, session)| can_go(name, session));
    let silent = silent.filter_map(|(name, session)| Some((idle(session)?, name)));
    let longest = silent.min_by_key(|(since, _)| *since).map(|(_, name)| name.clone());
    match longest.and_then(|name| sessions.remove(&name)) {
        Some(session) => {
            session.stop.cancel();
            Ok(())
        }
        None => Err(no_room(owner, is_own_full)),
    }
}

/// What to do about it is told as well: a DELETE with its session's id ends a process, and a minute's silence lets another take its place.
fn no_room(owner: &str, is_share: bool) -> UpstreamError {
    let who = match () {
        () if !is_share => format!("clients have all {SESSIONS_MAX} processes of this server"),
        () if owner == Principal::Anonymous.to_string() => {
            format!("clients without a token share {SESSIONS_OWN_MAX} processes of this server")
        }
        () => format!("one token has {SESSIONS_OWN_MAX} processes of this server at most"),
    };
    let reason = format!(
        "{who}, and none was silent for {KEPT_MIN:?}; a DELETE with its Mcp-Session-Id ends a session that nobody needs"
    );
    UpstreamError::Crowded { reason, retry_after: KEPT_MIN, is_share }
}

impl Session {
    /// Hands on what the process says until it ends, or is to end; why, where that is no story of its own.
    async fn serve(&self, mut stdout: ChildStdout, mask: &Mask) -> Option<&'static str> {
        let mut lines = Lines::default();
        loop {
            while let Some(line) = lines.next() {
                self.hear(line, mask);
            }
            if lines.is_endless() {
                return Some("it wrote a line without end");
            }
            let idle_until = self.idle_since().unwrap_or_else(Instant::now) + IDLE_MAX;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Some("the session was ended"),
                read = stdout.read_buf(lines.room()) => match read {
                    Ok(read) if read > 0 => {}
                    _ => return None,
                },
                () = tokio::time::sleep_until(idle_until) => {
                    if self.idle_since().is_some_and(|since| since.elapsed() >= IDLE_MAX) {
                        return Some("nobody has used it for ten minutes");
                    }
                }
            }
        }
    }

    fn hear(&self, line: Line, mask: &Mask) {
        let refusal = match line {
            Line::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => None,
            Line::Whole(line) => self.routes().route(&line, mask),
            Line::TooLong { answers } => {
                self.routes().fail(answers.as_deref(), "the answer is larger than a message may be");
                None
            }
        };
        if let Some(refusal) = refusal {
            // A process that does not read waits in vain, and so would anybody for it.
            let _ = self.outbox.try_send(refusal);
        }
    }
}

/// One message of a client, and what is said to it before the answer.
async fn exchange(session: Arc<Session>, asked: &Asked, permit: OwnedSemaphorePermit) -> Result<Said, UpstreamError> {
    let opened = session.routes().open(&asked.body, asked.is_call);
    let Opened { frame, waiting } = opened.map_err(|reason| UpstreamError::NotSent { reason })?;
    let mut pending = waiting.map(|(key, own_id, notes, answer)| Pending {
        session: session.clone(),
        key,
        own_id,
        notes,
        answer: Some(answer),
        is_handshake: asked.begins,
        _permit: permit,
    });
    session.outbox.try_send(frame).map_err(|_| {
        if let Some(pending) = &mut pending {
            pending.answer = None;
        }
        UpstreamError::NotSent { reason: "the server does not read its input".to_owned() }
    })?;
    let Some(mut pending) = pending else { return Ok(said(StatusCode::ACCEPTED)) };
    match pending.next().await {
        Some(answer) if pending.answer.is_none() => Ok(Said { body: SaidBody::Json(answer), ..said(StatusCode::OK) }),
        Some(first) => {
            let rest: Events = stream::unfold(pending, |mut pending| async move {
                let message = pending.next().await?;
                Some((Ok(event(message)), pending))
            })
            .boxed();
            let first = stream::once(async move { Ok(event(first)) });
            Ok(Said { body: SaidBody::Events(first.chain(rest).boxed()), ..said(StatusCode::OK) })
        }
        None => Ok(said(StatusCode::OK)),
    }
}

/// A request that is with the process. Dropped before its answer, the process is told that nobody waits, or ended where it was to
/// begin with it.
struct Pending {
    session: Arc<Session>,
    /// Its id at the process, raw.
    key: String,
    /// Its id at the client, raw.
    own_id: String,
    notes: mpsc::Receiver<Bytes>,
    /// Until it is answered.
    answer: Option<oneshot::Receiver<Bytes>>,
    /// It begins the session, and cannot be taken back.
    is_handshake: bool,
    _permit: OwnedSemaphorePermit,
}

impl Pending {
    /// The next message for the client, the answer last.
    async fn next(&mut self) -> Option<Bytes> {
        let answer = self.answer.as_mut()?;
        let answered = tokio::select! {
            biased;
            Some(note) = self.notes.recv() => return Some(note),
            answered = answer => answered,
        };
        self.session.touch();
        self.answer = None;
        Some(answered.unwrap_or_else(|_| {
            let why = self.session.routes().why_closed();
            error_message(&self.own_id, &format!("the server's process went away, the call may have run: {why}"))
        }))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.answer.is_none() {
            return;
        }
        let is_open = self.session.routes().forget(&self.key);
        if self.is_handshake {
            // Its client gave the session up before it began.
            self.session.stop.cancel();
            return;
        }
        if !is_open {
            return;
        }
        let key = &self.key;
        let notice = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{key},\"reason\":\"the client went away\"}}}}\n"
        );
        // A full queue is of a process that does not read.
        let _ = self.session.outbox.try_send(notice.into());
    }
}

async fn write(mut stdin: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Bytes>) {
    while let Some(frame) = frames.recv().await {
        if stdin.write_all(&frame).await.is_err() || stdin.flush().await.is_err() {
            // Its end shows on its other pipe.
            return;
        }
    }
}

fn event(message: Bytes) -> Sse {
    Sse::default().data(String::from_utf8_lossy(&message))
}

fn said(status: StatusCode) -> Said {
    Said { status, session: None, body: SaidBody::Empty }
}

/// A client that is told so begins anew.
fn no_session(message: &[u8]) -> Said {
    Said { body: SaidBody::Json(session_error(message)), ..said(StatusCode::NOT_FOUND) }
}

/// 128 bits nobody guesses.
fn new_name() -> Result<String, UpstreamError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)
        .map_err(|e| UpstreamError::NotSent { reason: format!("no name for the session: {e}") })?;
    Ok(bits.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::HeaderMap;

    use super::*;

    /// A server that answers every line as the first request.
    const YES: &str = r#"while read -r line; do echo '{"jsonrpc":"2.0","id":1,"result":{}}'; done"#;
    /// One that says that it has heard, and never answers.
    const NEVER: &str = r#"while read -r line; do echo '{"jsonrpc":"2.0","method":"notifications/message"}'; done"#;

    fn passages() -> Arc<Passages> {
        passages_to(YES)
    }

    fn passages_to(program: &str) -> Arc<Passages> {
        let command = ["sh", "-c", program].map(str::to_owned).to_vec();
        let transport = TransportSpec::Stdio { command, env: BTreeMap::new(), cwd: None };
        Arc::new(Passages::new(Arc::new(ServerSpec {
            name: "yes".into(),
            transport,
            replica: false,
            allow_private: false,
            tags: Vec::new(),
        })))
    }

    fn asked(method: Method, session: Option<&str>, begins: bool) -> Asked {
        let listens = method == Method::GET;
        let body = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"a"}"#);
        let session = session.map(str::to_owned);
        let by = "token:a".to_owned();
        Asked { method, headers: HeaderMap::new(), session, begins, body, listens, is_call: false, by }
    }

    fn begun_by(number: usize) -> Asked {
        Asked { by: format!("token:{number}"), ..asked(Method::POST, None, true) }
    }

    #[tokio::test]
    async fn one_principal_has_his_share_and_takes_his_own_places_only() {
        let passages = passages();
        let other = passages.pass(begun_by(1)).await.expect("room").session.expect("a session");
        passages.start(SHARED, "").await.expect("room");
        let mut own = Vec::new();
        for _ in 0..SESSIONS_OWN_MAX {
            own.push(passages.pass(begun_by(2)).await.expect("room").session.expect("a session"));
        }
        let refused = passages.pass(begun_by(2)).await.err().expect("all are new");
        assert!(refused.not_sent() && refused.to_string().contains("one token has 8 processes"), "{refused}");
        assert!(passages.pass(begun_by(3)).await.is_ok(), "others have room");
        let first = passages.sessions().get(&own[0]).cloned().expect("kept");
        make_room(&mut passages.sessions(), "token:2", Duration::ZERO).expect("his oldest goes");
        assert!(first.stop.is_cancelled() && !passages.sessions().contains_key(&own[0]));
        assert!(passages.sessions().contains_key(&other));
        assert!(passages.sessions().contains_key(SHARED));
        passages.close().await;
    }

    #[tokio::test]
    async fn clients_without_a_token_are_told_that_they_share_and_what_to_do() {
        let passages = passages();
        let nobody = || Asked { by: Principal::Anonymous.to_string(), ..begun_by(0) };
        for _ in 0..SESSIONS_OWN_MAX {
            assert!(passages.pass(nobody()).await.is_ok());
        }
        let refused = passages.pass(nobody()).await.err().expect("all are new");
        assert!(matches!(refused, UpstreamError::Crowded { is_share: true, retry_after: KEPT_MIN, .. }), "{refused}");
        let said = refused.to_string();
        assert!(said.contains("clients without a token share 8 processes") && said.contains("DELETE"), "{said}");
        assert!(passages.pass(begun_by(1)).await.is_ok(), "whoever has one has room");
        passages.close().await;
    }

    #[tokio::test]
    async fn a_session_whose_beginning_is_given_up_ends() {
        let passages = passages_to(NEVER);
        let begun = passages.pass(begun_by(1)).await.expect("it is heard");
        let session = passages.sessions().values().next().cloned().expect("one");
        assert!(!session.stop.is_cancelled());
        drop(begun);
        assert!(session.stop.is_cancelled());
        passages.close().await;
    }

    #[tokio::test]
    async fn sessions_have_room_until_all_are_in_use_and_end_with_the_registration() {
        let passages = passages();
        let mut streams = Vec::new();
        for number in 0..SESSIONS_MAX {
            let begun = passages.pass(begun_by(number)).await.expect("room");
            let name = begun.session.expect("a session");
            streams.push(passages.pass(asked(Method::GET, Some(&name), false)).await.expect("a stream"));
        }
        let refused = passages.pass(asked(Method::POST, None, true)).await.err().expect("all are in use");
        assert!(matches!(refused, UpstreamError::Crowded { is_share: false, .. }), "{refused}");
        // Whoever needs no session has his place beside them.
        assert!(passages.start(SHARED, "").await.is_ok());
        let name = passages.sessions().keys().find(|name| *name != SHARED).cloned().expect("one");
        let ended = passages.pass(asked(Method::DELETE, Some(&name), false)).await.expect("it ends");
        assert_eq!(ended.status, StatusCode::OK);
        assert_eq!(passages.pass(asked(Method::POST, Some(&name), false)).await.expect("told").status, 404);
        assert!(passages.pass(asked(Method::POST, None, true)).await.is_ok(), "its place is free");
        passages.close().await;
        assert!(passages.sessions().is_empty());
        assert!(passages.pass(asked(Method::POST, None, true)).await.is_err(), "nothing begins afterwards");
    }

    #[tokio::test]
    async fn listeners_and_messages_have_places_of_their_own() {
        let passages = passages();
        let held: Vec<_> = (0..LISTENING_MAX).map(|_| passages.permit(true).expect("a place")).collect();
        assert!(passages.permit(true).is_err() && passages.permit(false).is_ok());
        drop(held);
        assert!(passages.permit(true).is_ok());
        passages.close().await;
    }
}
