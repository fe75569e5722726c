//! A call while it runs: JSON when it ends in silence, an event stream from its first progress on.
//!
//! The call is a future that this answer owns. When the client hangs up, or says that it waits no more (`underway`), the answer is
//! dropped and with it the call: that is how a cancellation travels, all the way to the upstream.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{future::BoxFuture, stream};
use serde_json::value::RawValue;
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use super::{
    envelope::{Answer, Id},
    raw::{self, Members},
    underway::Entered,
};

/// Progress notifications that may wait for a slow reader; the call itself waits when there are more.
pub(super) const PROGRESS_MAX: usize = 32;
/// A comment in the stream, so that nobody in between takes a long call for a dead connection.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// For as long as a client listens; then it comes back with what it may do by then.
pub(super) const LIFE: Duration = Duration::from_secs(15 * 60);
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A call, its caller's id and, where progress is wanted, the token and the source of it.
pub(super) struct Running {
    id: Id,
    modern: bool,
    call: BoxFuture<'static, Answer>,
    progress: Option<Progress>,
    answered: Option<Answer>,
    /// By which it can be ended from elsewhere.
    entered: Option<Entered>,
    keep_alive: Interval,
}

/// Where progress comes from and the name the caller knows it by.
pub(super) struct Progress {
    pub(super) token: String,
    pub(super) source: mpsc::Receiver<Bytes>,
    last: f64,
}

impl Progress {
    pub(super) fn new(token: String, source: mpsc::Receiver<Bytes>) -> Self {
        Self { token, source, last: f64::NEG_INFINITY }
    }

    /// The notification for the caller, or nothing when the upstream breaks the rule that progress only grows.
    fn notification(&mut self, params: &[u8]) -> Option<String> {
        let params = std::str::from_utf8(params).ok()?;
        let made: f64 = Members::read(params).ok()?.get("progress").map(RawValue::get)?.parse().ok()?;
        if made <= self.last {
            return None;
        }
        self.last = made;
        let params = raw::with_member(params, "progressToken", &self.token)?;
        Some(format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#))
    }
}

/// What happens next in a running call.
enum Next {
    Progress(String),
    Answer(Answer),
    /// Long silence.
    KeepAlive,
    /// Progress that is not told.
    Nothing,
    /// Nobody waits for it any more, and nothing is said.
    Cancelled,
}

impl Running {
    pub(super) fn new(id: Id, modern: bool, call: BoxFuture<'static, Answer>, progress: Option<Progress>) -> Self {
        let mut keep_alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { id, modern, call, progress, answered: None, entered: None, keep_alive }
    }

    /// The same call, which ends where what it was entered as is cancelled.
    pub(super) fn until_cancelled(self, entered: Option<Entered>) -> Self {
        Self { entered, ..self }
    }

    /// Runs until the answer or the first progress, which decides the form of the response.
    pub(super) async fn into_response(mut self) -> Response {
        loop {
            match self.next().await {
                Next::KeepAlive | Next::Nothing => {}
                Next::Answer(answer) => return answer.into_response(&self.id, self.modern),
                Next::Progress(first) => return self.into_stream(event(first.as_bytes())),
                // A stream without an answer: to what is cancelled there is none.
                Next::Cancelled => return streamed(Body::empty()),
            }
        }
    }

    async fn next(&mut self) -> Next {
        if self.answered.is_none() {
            tokio::select! {
                // Progress that was made before the answer is told before it.
                biased;
                () = cancelled(self.entered.as_ref()) => return Next::Cancelled,
                params = received(&mut self.progress) => return self.told(&params),
                answer = &mut self.call => self.answered = Some(answer),
                _ = self.keep_alive.tick() => return Next::KeepAlive,
            }
        }
        if let Some(params) = self.progress.as_mut().and_then(|progress| progress.source.try_recv().ok()) {
            return self.told(&params);
        }
        match self.answered.take() {
            Some(answer) => Next::Answer(answer),
            None => Next::Nothing,
        }
    }

    fn told(&mut self, params: &[u8]) -> Next {
        self.progress.as_mut().and_then(|progress| progress.notification(params)).map_or(Next::Nothing, Next::Progress)
    }

    fn into_stream(self, first: Bytes) -> Response {
        let events = stream::unfold((Some(self), Some(first)), |(running, first)| async move {
            if let Some(first) = first {
                return Some((Ok::<_, Infallible>(first), (running, None)));
            }
            let mut running = running?;
            let (event, running) = loop {
                match running.next().await {
                    Next::Nothing => {}
                    Next::KeepAlive => break (Bytes::from_static(b":\n\n"), Some(running)),
                    Next::Progress(message) => break (event(message.as_bytes()), Some(running)),
                    Next::Answer(answer) => break (event(&answer.message(&running.id)), None),
                    Next::Cancelled => return None,
                }
            };
            Some((Ok(event), (running, None)))
        });
        streamed(Body::from_stream(events))
    }
}

/// An answer that comes in parts.
pub(super) fn streamed(events: Body) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache"), (NO_BUFFERING, "no")];
    (StatusCode::OK, headers, events).into_response()
}

/// Its client waits no more; never, where it cannot say so.
async fn cancelled(entered: Option<&Entered>) {
    match entered {
        Some(entered) => entered.cancelled().await,
        None => std::future::pending().await,
    }
}

/// The next progress; never, when none is wanted or none can come any more.
async fn received(progress: &mut Option<Progress>) -> Bytes {
    if let Some(progress) = progress
        && let Some(params) = progress.source.recv().await
    {
        return params;
    }
    std::future::pending().await
}

/// One server-sent event. Raw JSON may have line breaks between its tokens; each line is a `data:` line of its own.
pub(super) fn event(message: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(message.len() + 8);
    for line in message.split(|byte| matches!(byte, b'\n' | b'\r')) {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
    event.push(b'\n');
    event.into()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use futures::FutureExt;

    use super::*;

    fn done() -> Answer {
        Answer::Result(Bytes::from_static(b"{\"content\":\n[]}"))
    }

    async fn body(response: Response) -> (String, String) {
        let kind = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("body");
        (kind, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn a_silent_call_is_answered_as_json() {
        let (_sender, source) = mpsc::channel(PROGRESS_MAX);
        let progress = Progress::new("1".into(), source);
        let running = Running::new(Id("1".into()), true, async { done() }.boxed(), Some(progress));
        let (kind, body) = body(running.into_response().await).await;
        assert_eq!(
            (kind.as_str(), body.as_str()),
            ("application/json", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":\n[]}}")
        );
    }

    #[tokio::test]
    async fn the_first_progress_opens_a_stream_that_ends_with_the_answer() {
        let (sender, source) = mpsc::channel(PROGRESS_MAX);
        let call = async move {
            // The second one goes back, which a client must never see.
            for made in ["1", "0.5", "2.0"] {
                sender
                    .send(Bytes::from(format!(r#"{{"progress":{made},"progressToken":99,"x":1}}"#)))
                    .await
                    .expect("open");
            }
            done()
        };
        let progress = Progress::new("\"p\"".into(), source);
        let (kind, body) =
            body(Running::new(Id("1".into()), true, call.boxed(), Some(progress)).into_response().await).await;
        assert_eq!(kind, "text/event-stream");
        let expected = concat!(
            "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":1,\"progressToken\":\"p\",\"x\":1}}\n\n",
            "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":2.0,\"progressToken\":\"p\",\"x\":1}}\n\n",
            "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":\ndata: []}}\n\n",
        );
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_takes_its_call_with_it() {
        struct Flag(Arc<AtomicBool>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let dropped = Arc::new(AtomicBool::new(false));
        let flag = Flag(Arc::clone(&dropped));
        let (sender, source) = mpsc::channel(PROGRESS_MAX);
        let call = async move {
            let _flag = flag;
            sender.send(Bytes::from_static(b"{\"progress\":1}")).await.expect("open");
            std::future::pending::<Answer>().await
        };
        let running = Running::new(Id("1".into()), true, call.boxed(), Some(Progress::new("1".into(), source)));
        let response = running.into_response().await;
        assert!(!dropped.load(Ordering::Relaxed));
        drop(response);
        assert!(dropped.load(Ordering::Relaxed));
    }
}
