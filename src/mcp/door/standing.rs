//! Standing streams, over which a client hears that a list is another: `GET` of the initialize revisions, and `subscriptions/listen` of
//! the current one, which rmcp answers and which has its place here.
//!
//! What must always hold: a stream holds nothing for a client that does not read; there are so many of both kinds at once and no more, and
//! each ends with the node and after [`LIFE`] at most. Where there is nothing to be told there is no stream of `GET`.

use std::{convert::Infallible, sync::Arc};

use aop_proto::access::Action;
use aop_proto::error::{Kind, Problem};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, header, request},
    response::Response,
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture, stream};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{McpDoor, Scope, refused, who};
use crate::http::method_not_allowed;
use crate::mcp::{
    envelope::Id,
    headers::may_stand,
    news::Following,
    running::{KEEP_ALIVE, LIFE, event, streamed},
};

/// Streams of one node at once; whoever comes then asks again what there is.
pub(super) const STREAMS_MAX: usize = 1024;
const CHANGED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

impl McpDoor {
    pub(super) async fn stand(&self, scope: Scope, request: Request) -> Response {
        let nobody = Id("null".to_owned());
        let (parts, _) = request.into_parts();
        match may_stand(&parts.headers) {
            Err(refusal) => return refusal,
            Ok(stands) if stands && self.inner.news.may_come(&scope) => {}
            Ok(_) => {
                let mut refusal = method_not_allowed(parts.method, parts.uri).await;
                // There may be a stream here, for who says that he reads one.
                let allowed = if self.inner.news.may_come(&scope) { "GET, POST" } else { "POST" };
                refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
                return refusal;
            }
        }
        if let Err(problem) = self.require(&who(&parts), Action::Discover) {
            return refused(&problem, &nobody);
        }
        let place = match self.place() {
            Ok(place) => place,
            Err(problem) => return refused(&problem, &nobody),
        };
        let following = self.inner.news.follow(scope).await;
        let standing = Standing::new(following, self.inner.shutdown.clone(), place);
        streamed(Body::from_stream(stream::unfold(standing, |standing| async {
            let (bytes, standing) = standing.next().await?;
            Some((Ok::<_, Infallible>(bytes), standing))
        })))
    }

    /// `subscriptions/listen`; its place is kept for as long as rmcp keeps the request.
    pub(super) async fn subscribe(&self, scope: Scope, mut parts: request::Parts, body: Bytes, id: Id) -> Response {
        let place = match self.place() {
            Ok(place) => place,
            Err(problem) => return refused(&problem, &id),
        };
        parts.extensions.insert(Arc::new(place));
        self.hand_on(scope, parts, body).await
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let problem =
            |_| Problem::new(Kind::Busy, format!("{STREAMS_MAX} streams are open already")).hint("aop status");
        Arc::clone(&self.inner.standing).try_acquire_owned().map_err(problem)
    }
}

/// One client's stream.
struct Standing {
    /// Ends when there is something to tell. It is kept where the stream is kept alive meanwhile.
    news: BoxFuture<'static, Option<Following>>,
    keep_alive: Interval,
    until: Instant,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Standing {
    fn new(following: Following, shutdown: CancellationToken, place: OwnedSemaphorePermit) -> Self {
        let mut keep_alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let until = Instant::now() + LIFE;
        Self { news: changed(following).boxed(), keep_alive, until, shutdown, _place: place }
    }

    /// What is said next; nothing when the stream is over.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            () = sleep_until(self.until) => None,
            following = &mut self.news => self.told(following?),
            _ = self.keep_alive.tick() => Some((Bytes::from_static(b":\n\n"), self)),
        }
    }

    fn told(mut self, following: Following) -> Option<(Bytes, Self)> {
        self.news = changed(following).boxed();
        Some((event(CHANGED), self))
    }
}

async fn changed(mut following: Following) -> Option<Following> {
    following.next().await.then_some(following)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::http::{Doors, PortSettings};

    async fn listens(door: &McpDoor) -> Response {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        });
        let params = json!({"notifications": {"toolsListChanged": true}, "_meta": meta});
        let asked = json!({"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": params});
        let mut request = Request::post("/mcp").header("content-type", "application/json");
        for (name, value) in [
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "subscriptions/listen"),
            ("host", "127.0.0.1"),
        ] {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(asked.to_string())).expect("a request");
        door.answer(Scope::Menu, request).await
    }

    #[tokio::test]
    async fn a_subscription_takes_one_of_the_places_for_as_long_as_it_lasts() {
        let doors = Doors::for_tests(&PortSettings::default());
        let door = McpDoor::new(doors.calls.clone(), Vec::new(), &CancellationToken::new());
        let places = Arc::clone(&door.inner.standing);
        let others = Arc::clone(&places).try_acquire_many_owned(u32::try_from(STREAMS_MAX - 1).expect("small"));
        let others = others.expect("nobody listens yet");
        let mut first = listens(&door).await.into_body().into_data_stream();
        let acknowledged = first.next().await.expect("a first event").expect("whole");
        assert!(String::from_utf8_lossy(&acknowledged).contains("acknowledged"), "{acknowledged:?}");
        let refused = listens(&door).await.into_body().collect().await.expect("a body").to_bytes();
        let refused: Value = serde_json::from_slice(&refused).expect("one message");
        assert_eq!((&refused["id"], &refused["error"]["data"]["kind"]), (&json!(7), &json!("busy")), "{refused}");
        drop(others);
        assert_eq!(places.available_permits(), STREAMS_MAX - 1);
        drop(first);
        let all = places.acquire_many(u32::try_from(STREAMS_MAX).expect("small"));
        assert!(tokio::time::timeout(KEEP_ALIVE, all).await.is_ok(), "the place of who went is free");
    }
}
