//! What a server says to one message, on its way to the client: sifted, kept alive, written down when it is a call's end.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use aop_proto::access::Caller;
use aop_proto::error::Kind;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use sse_stream::Sse;
use tokio::time::{self, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::{
    guard::{Guard, Sieve},
    message::Message,
};
use crate::{
    call::{Calls, Noted},
    handle::Handle,
    mcp::{
        envelope::{Answer, Id, code},
        running::{KEEP_ALIVE, LIFE},
    },
    upstream::UpstreamError,
};

/// What a request may take, progress or not. Its client, who may be asked something in the middle of it, knows better when to stop.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(3600);

/// A call's end, for the audit and the figures. Dropped before it is told one, the call was cancelled.
pub(super) struct Trace {
    handle: Handle,
    noted: Noted,
    started: Instant,
}

impl Trace {
    pub(super) async fn begin(calls: &Calls, by: &Caller, guard: &Guard<'_>, message: &Message<'_>) -> Self {
        let handle = calls.handle().clone();
        let name = guard.full_name(&message.tool().unwrap_or_default());
        let mut noted = Noted::begin(&handle, &by.principal, &name).await;
        let hash = handle.view().tools.find_text(&name).map(|tool| tool.shown().signed.record.def_hash());
        let hash = hash.flatten().map(|hash| format!("sha256:{}", crate::entropy::hex(&hash))).unwrap_or_default();
        noted.found(&name, guard.zone().as_str(), &hash);
        Self { handle, noted, started: Instant::now() }
    }

    fn end(self, ended: Result<&[u8], Kind>) {
        self.handle.metrics_registry().called(ended, self.started.elapsed());
        let node = self.handle.view().node.to_string();
        self.noted.end(ended.map(|_| node.as_str()));
    }
}

/// One exchange under way.
pub(super) struct Passing {
    sieve: Sieve,
    /// The request that waits for an answer.
    request: Option<Id>,
    trace: Option<Trace>,
    /// When it is given up.
    until: time::Instant,
    /// How long that is from its beginning.
    time_max: Duration,
    /// Its client waits for no answer, but for whatever comes.
    listens: bool,
    /// Ends what nobody waits on.
    shutdown: CancellationToken,
    /// The client can take a broken stream up again where it broke.
    is_resumable: bool,
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<serde::de::IgnoredAny>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
}

impl Passing {
    pub(super) fn new(sieve: Sieve, request: Option<Id>, trace: Option<Trace>, shutdown: &CancellationToken) -> Self {
        let (until, time_max) = (time::Instant::now() + REQUEST_TIME_MAX, REQUEST_TIME_MAX);
        let shutdown = shutdown.clone();
        Self { sieve, request, trace, until, time_max, listens: false, shutdown, is_resumable: false }
    }

    /// For as long as its client listens, and [`LIFE`] at most.
    pub(super) fn listening(self) -> Self {
        Self { until: time::Instant::now() + LIFE, time_max: LIFE, listens: true, ..self }
    }

    /// The exchange, as long as it may take.
    pub(super) async fn within<T>(
        &self,
        exchange: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        let late = Err(UpstreamError::TimedOut { after: self.time_max });
        time::timeout_at(self.until, exchange).await.unwrap_or(late)
    }

    /// It ended without an answer.
    pub(super) fn failed(mut self, kind: Kind) {
        if let Some(trace) = self.trace.take() {
            trace.end(Err(kind));
        }
    }

    /// The one message that is all of the answer.
    pub(super) fn last(&mut self, message: &Bytes) -> Vec<u8> {
        let shown = self.shown(&String::from_utf8_lossy(message));
        // What is no answer to a call did not end well either.
        if let Some(trace) = self.trace.take() {
            trace.end(Err(Kind::UpstreamFailed));
        }
        shown.map_or_else(|| message.to_vec(), String::into_bytes)
    }

    /// Looks at a message; what of it is shown, where that is not all.
    fn shown(&mut self, message: &str) -> Option<String> {
        if let (Some(request), Ok(answered)) = (&self.request, serde_json::from_str::<Answered<'_>>(message))
            && answered.method.is_none()
            && answered.id.is_some_and(|id| id.get() == request.0)
        {
            self.request = None;
            if let Some(trace) = self.trace.take() {
                trace.end(answered.result.map(|result| result.get().as_bytes()).ok_or(Kind::UpstreamFailed));
            }
        }
        self.sieve.sift(message)
    }

    /// The body of an answer that comes in parts.
    pub(super) fn over<E: std::fmt::Display + Send>(
        self,
        events: impl Stream<Item = Result<Sse, E>> + Send + Unpin + 'static,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        let mut keep_alive = interval_at(time::Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        stream::unfold(Some((self, events, keep_alive)), |open| async move {
            let (mut passing, mut events, mut keep_alive) = open?;
            let (bytes, is_last) = passing.next(&mut events, &mut keep_alive).await?;
            Some((Ok(bytes), (!is_last).then_some((passing, events, keep_alive))))
        })
    }

    /// The next bytes, and whether they are the last.
    async fn next<E: std::fmt::Display>(
        &mut self,
        events: &mut (impl Stream<Item = Result<Sse, E>> + Unpin),
        keep_alive: &mut Interval,
    ) -> Option<(Bytes, bool)> {
        tokio::select! {
            biased;
            // First, so that a server which always has something to say prolongs nothing.
            () = self.shutdown.cancelled(), if self.listens => None,
            () = time::sleep_until(self.until) => self.broken("the answer took too long"),
            event = events.next() => match event {
                Some(Ok(event)) => Some((self.event(event), false)),
                Some(Err(error)) => self.broken(&format!("the server's answer broke off: {error}")),
                None => self.broken("the server's answer broke off"),
            },
            _ = keep_alive.tick() => Some((Bytes::from_static(b":\n\n"), false)),
        }
    }

    /// An answer in place of the one that does not come any more.
    fn broken(&mut self, why: &str) -> Option<(Bytes, bool)> {
        if let Some(trace) = self.trace.take() {
            trace.end(Err(Kind::UpstreamFailed));
        }
        let request = self.request.take().filter(|_| !self.is_resumable)?;
        let message = Answer::error(code::INTERNAL, why, None).message(&request);
        Some((written(&Sse::default().data(String::from_utf8_lossy(&message))), true))
    }

    fn event(&mut self, mut event: Sse) -> Bytes {
        self.is_resumable |= event.id.is_some();
        if let Some(shown) = event.data.as_deref().and_then(|data| self.shown(data)) {
            event.data = Some(shown);
        }
        written(&event)
    }
}

/// An event as it is written. Raw JSON may have line breaks between its tokens; each line is a `data:` line of its own.
fn written(event: &Sse) -> Bytes {
    let mut out = String::new();
    let retry = event.retry.map(|retry| retry.to_string());
    for (field, value) in [("id", event.id.as_deref()), ("event", event.event.as_deref()), ("retry", retry.as_deref())]
    {
        if let Some(value) = value {
            out.push_str(&format!("{field}: {value}\n"));
        }
    }
    for line in event.data.as_deref().into_iter().flat_map(|data| data.split(['\n', '\r'])) {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    (out + "\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_listens_comes_back_after_fifteen_minutes_whatever_there_is_to_hear() {
        let passing = || {
            let sieve = Sieve::for_tests(&Handle::for_tests(), false, None);
            Passing::new(sieve, None, None, &CancellationToken::new())
        };
        let left = |passing: &Passing| passing.until.saturating_duration_since(time::Instant::now()).as_secs() / 60;
        assert_eq!((left(&passing()), left(&passing().listening())), (59, 14));
        let endless = || Box::pin(stream::repeat_with(|| Ok::<_, Infallible>(Sse::default().data("{}"))));
        let until = time::Instant::now() - Duration::from_secs(1);
        let over = Passing { until, ..passing().listening() };
        assert_eq!(over.over(endless()).take(3).count().await, 0);
        assert_eq!(passing().listening().over(endless()).take(3).count().await, 3);
    }

    #[test]
    fn an_event_keeps_its_fields_and_each_of_its_lines() {
        let event = Sse::default().id("7").event("message").retry(100).data("{\"a\":\n1}");
        assert_eq!(written(&event), "id: 7\nevent: message\nretry: 100\ndata: {\"a\":\ndata: 1}\n\n");
        assert_eq!(written(&Sse::default().id("1").data("")), "id: 1\ndata: \n\n");
    }
}
