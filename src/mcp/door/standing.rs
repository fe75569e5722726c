//! `GET`: the standing stream of the initialize revisions, over which a client hears that a list is another.
//!
//! Not here: the same in the current revision, `subscriptions/listen`, which rmcp answers. What must always hold: a stream holds nothing
//! for a client that does not read; there are so many at once and no more, and each ends with the node and after [`LIFE`] at most. Where
//! there is nothing to be told there is no stream.

use std::{convert::Infallible, sync::Arc};

use aop_proto::access::Action;
use aop_proto::error::{Kind, Problem};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, header},
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
        let Ok(place) = Arc::clone(&self.inner.standing).try_acquire_owned() else {
            let problem = Problem::new(Kind::Busy, format!("{STREAMS_MAX} streams are open already"));
            return refused(&problem.hint("aop status"), &nobody);
        };
        let following = self.inner.news.follow(scope).await;
        let standing = Standing::new(following, self.inner.shutdown.clone(), place);
        streamed(Body::from_stream(stream::unfold(standing, |standing| async {
            let (bytes, standing) = standing.next().await?;
            Some((Ok::<_, Infallible>(bytes), standing))
        })))
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
