//! The accept loop: sockets in, requests to the router, a bounded end.
//!
//! Not `axum::serve`: that one has no limit on connections, no time limit for headers and leaves Nagle's algorithm on, which
//! costs every streamed answer 40 ms. Always true: every spawned connection is joined before [`run`] returns.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use http::{HeaderValue, Request, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{guard, reply};

/// Connections open at once; further ones wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// For the first byte of a connection and for the headers of each request.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// How long requests in flight may take after the stop.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// Streams one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 256;
/// HTTP/2 pings, so that a vanished client does not hold its subscription.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Rest after a failed accept: it is nearly always a lack of file descriptors, which only time cures.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Accepts until `shutdown`, then drains.
pub(super) async fn run(
    listener: TcpListener,
    routes: Router,
    listen: SocketAddr,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            stream = next(&listener) => stream,
        };
        let slot = tokio::select! {
            () = shutdown.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let connection = Connection { routes: routes.clone(), listen, shutdown: shutdown.clone() };
        let cut = cut.clone();
        connections.spawn(async move {
            let _slot = slot;
            tokio::select! {
                () = cut.cancelled() => {}
                () = connection.drive(stream) => {}
            }
        });
    }
    drop(listener);
    connections.close();
    if timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "requests still in flight after the drain; closing them");
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// The next connection; a failed accept is waited out, since giving up would take the whole node off the air.
async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// What one connection needs from first byte to last.
struct Connection {
    routes: Router,
    listen: SocketAddr,
    shutdown: CancellationToken,
}

impl Connection {
    async fn drive(self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        let heard = Arc::new(AtomicBool::new(false));
        let Self { routes, listen, shutdown } = self;
        let service = {
            let heard = Arc::clone(&heard);
            service_fn(move |request| {
                heard.store(true, Ordering::Relaxed);
                answer(routes.clone(), listen, request)
            })
        };
        let builder = protocol();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut first = std::pin::pin!(sleep(HEADERS_WITHIN));
        let (mut waiting, mut draining) = (true, false);
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "connection ended early");
                    }
                    return;
                }
                () = shutdown.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                // hyper's own limit starts only once it knows which HTTP version is spoken.
                () = first.as_mut(), if waiting => {
                    if !heard.load(Ordering::Relaxed) {
                        return;
                    }
                    waiting = false;
                }
            }
        }
    }
}

fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(HEADERS_WITHIN)
        .max_concurrent_streams(STREAMS_MAX);
    builder
}

/// One request: the guard, then the router. Nothing goes round the guard, whatever route or method it names.
async fn answer(routes: Router, listen: SocketAddr, request: Request<Incoming>) -> Result<Response, hyper::Error> {
    let mut response = match guard::check_host_and_origin(request.uri(), request.headers(), listen) {
        Err(problem) => reply::problem(&problem),
        Ok(()) => match routes.oneshot(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
    };
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}
