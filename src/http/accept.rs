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
    task::Poll,
    time::Duration,
};

use axum::{Router, response::Response};
use http::{HeaderValue, Request, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::server::Acceptor;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{
    entrance::{Arrival, Entrance, Place},
    guard::Asked,
    ready::Ready,
    taking::Taking,
    tls::Tls,
};
use crate::telemetry::{Refused, named_trace, under_trace};

/// For the first byte of a connection and for the headers of each request.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// For the whole TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of one request's headers; more are answered 431.
const HEADERS_BYTES_MAX: u32 = 64 * 1024;
/// How long requests in flight may take after the stop.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// Streams one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 100;
/// HTTP/2 pings, so that a vanished client does not hold its subscription.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Connections that may wait to be accepted, as far as the system allows (`net.core.somaxconn`). Where there is no room the system
/// forgets newcomers, whoever they are, and they come again after a second; to refuse a crowd takes no time, so that all are seen.
const WAITING_MAX: i32 = 4_096;
/// Rest after a failed accept: it is nearly always a lack of file descriptors, which only time cures.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// What begins a TLS connection. Source: RFC 8446 §5.1, content type `handshake`.
const TLS_HANDSHAKE: u8 = 22;
/// Said to whoever speaks plain HTTP to a TLS port.
const SPEAKS_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 34\r\n\r\n\
this port speaks https, not http.\n";

/// Accepts until `shutdown`, then drains.
pub(super) async fn run(
    listener: TcpListener,
    routes: Router,
    ready: Ready,
    entrance: Arc<Entrance>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    if let Err(error) = rustix::net::listen(&listener, WAITING_MAX) {
        tracing::warn!(%error, "fewer connections may wait to be accepted");
    }
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let (stream, remote) = tokio::select! {
            () = shutdown.cancelled() => break,
            stream = next(&listener) => stream,
        };
        let held = tokio::select! {
            () = shutdown.cancelled() => break,
            held = entrance.enter(remote.ip()) => held,
        };
        let (Some(held), Ok(local)) = (held, stream.local_addr()) else { continue };
        let place = Arc::new(Place { local: local.ip().to_canonical(), remote: remote.ip(), held });
        let (routes, ready, entrance) = (routes.clone(), ready.clone(), Arc::clone(&entrance));
        let connection = Connection { routes, ready, entrance, place: Arc::clone(&place), shutdown: shutdown.clone() };
        let cut = cut.clone();
        // What is spawned is moved several times over, and this is large.
        let begun = Box::pin(connection.begin(stream));
        connections.spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                () = place.held.yielded() => {}
                () = begun => {}
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
async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
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
    ready: Ready,
    entrance: Arc<Entrance>,
    place: Arc<Place>,
    shutdown: CancellationToken,
}

impl Connection {
    async fn begin(self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        let entrance = Arc::clone(&self.entrance);
        match entrance.tls() {
            None => self.drive(stream).await,
            Some(tls) => {
                let shaken = tokio::select! {
                    () = self.shutdown.cancelled() => return,
                    // Boxed, here and below: what only TLS needs takes no room in a plain connection.
                    shaken = timeout(HANDSHAKE_WITHIN, Box::pin(handshake(tls, stream))) => shaken,
                };
                match shaken {
                    Ok(Some(stream)) => Box::pin(self.drive(stream)).await,
                    Ok(None) => {}
                    Err(_) => self.entrance.refused(Refused::Timeout),
                }
            }
        }
    }

    async fn drive(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let heard = Arc::new(AtomicBool::new(false));
        let Self { routes, ready, entrance, place, shutdown } = self;
        let service = {
            let heard = Arc::clone(&heard);
            let all = Arc::new((routes, ready, Arc::clone(&entrance), place));
            service_fn(move |request| {
                heard.store(true, Ordering::Relaxed);
                let all = Arc::clone(&all);
                async move {
                    let (routes, ready, entrance, place) = &*all;
                    let trace = named_trace(request.headers());
                    under_trace(trace, answer(routes, ready, entrance, place, request)).await
                }
            })
        };
        let builder = protocol();
        let connection = builder.serve_connection(TokioIo::new(Taking::new(stream)), service);
        let mut connection = std::pin::pin!(connection);
        let mut first = std::pin::pin!(sleep(HEADERS_WITHIN));
        let (mut waiting, mut draining) = (true, false);
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        on_broken(&entrance, error.as_ref());
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
                        entrance.refused(Refused::Timeout);
                        return;
                    }
                    waiting = false;
                }
            }
        }
    }
}

/// TLS over `stream`. Whoever speaks plain HTTP is told so in its own words, everybody else who fails is left.
async fn handshake(tls: &Tls, mut stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] != TLS_HANDSHAKE {
        // It may be gone, or never have been HTTP.
        let _ = stream.write_all(SPEAKS_TLS).await;
        let _ = stream.shutdown().await;
        return None;
    }
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
    let shaken = async { finish(tls, hello?).await };
    match shaken.await {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::debug!(%error, "tls.handshake");
            None
        }
    }
}

/// Signs and answers a hello in its turn, and waits for the rest out of it: who dawdles holds up nobody.
async fn finish(tls: &Tls, hello: StartHandshake<TcpStream>) -> std::io::Result<TlsStream<TcpStream>> {
    let turn = tls.turn().await;
    let mut accept = std::pin::pin!(hello.into_stream(tls.config()));
    let first = futures::poll!(accept.as_mut());
    drop(turn);
    match first {
        Poll::Ready(shaken) => shaken,
        Poll::Pending => accept.await,
    }
}

fn on_broken(entrance: &Entrance, error: &(dyn std::error::Error + Send + Sync + 'static)) {
    if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout) {
        entrance.refused(Refused::Timeout);
    }
    tracing::debug!(error, "connection ended early");
}

fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADERS_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(HEADERS_WITHIN)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX);
    builder
}

/// One request: the entrance, then what is ready to be sent, then the router. Nothing goes round the entrance, whatever route or method
/// it names.
async fn answer(
    routes: &Router,
    ready: &Ready,
    entrance: &Entrance,
    place: &Place,
    request: Request<Incoming>,
) -> Result<Response, hyper::Error> {
    let asked = Asked::of(&request);
    let mut response = match entrance.admit(&request, place).await {
        Err(refusal) => refusal,
        Ok(arrival) => match ready.answer(request, &arrival).await {
            Ok(response) => response,
            Err(mut request) => {
                request.extensions_mut().insert::<Arrival>(arrival);
                match routes.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        },
    };
    entrance.challenge(&mut response, &asked);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}
