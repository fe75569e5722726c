//! Messages of other people's clients, to one server and back: what goes with them and what comes back.
//!
//! Beside rmcp, which would answer some of them itself and forget what it does not know. Nothing is retried here, queued or kept: a
//! message is sent at most once, and who stops waiting is told to the server in the words of its transport. What must always hold:
//! of what a client sends only its messages and the headers of the protocol reach a server, never its credentials; and of what a
//! server says its secrets stay here, but for the results of calls (as `tap` has it).

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode};
use sse_stream::Sse;
use tokio::time::Instant;

use super::{UpstreamError, Upstreams, spec::TransportSpec};

/// How long a message waits for a server that is being connected.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// Messages of clients at one server at once; further ones are refused, provably not sent.
pub(crate) const PASSING_MAX: usize = 256;
/// Clients that listen to one server at once, beside those.
pub(crate) const LISTENING_MAX: usize = 64;

/// What a client sends.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// POST for a message, GET for a stream, DELETE for the end of a session.
    pub(crate) method: Method,
    /// The protocol's headers, as the client wrote them.
    pub(crate) headers: HeaderMap,
    /// The session it speaks in, as the server named it.
    pub(crate) session: Option<String>,
    /// A client of its own begins with it, where the node keeps the sessions.
    pub(crate) begins: bool,
    /// One JSON-RPC message, or nothing.
    pub(crate) body: Bytes,
    /// It is for what the server says by itself, and ends when its client goes.
    pub(crate) listens: bool,
    /// It is a `tools/call`, whose result is the caller's, whatever is in it.
    pub(crate) is_call: bool,
    /// Who asks, as he is named; one who has many sessions has no more than his share.
    pub(crate) by: String,
}

/// What a server says to that.
pub(crate) struct Said {
    pub(crate) status: StatusCode,
    /// The session that begins with it.
    pub(crate) session: Option<String>,
    pub(crate) body: SaidBody,
}

/// The form of it.
pub(crate) enum SaidBody {
    Empty,
    /// One message.
    Json(Bytes),
    /// Words for a person, of an exchange that failed.
    Text(Bytes),
    Events(Events),
}

/// Messages one by one; ends where the server ends it, or the connection to it.
pub(crate) type Events = BoxStream<'static, Result<Sse, sse_stream::Error>>;

/// How a server can be spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over HTTP, which judges headers and sessions itself.
    Http,
    /// Over pipes; headers and sessions are this node's affair. Whether the server speaks a revision without `initialize`.
    Pipes { modern: bool },
}

impl Upstreams {
    /// How clients can speak with that server.
    ///
    /// # Errors
    /// `UnknownServer`; `Invalid` for an agent or endpoints, which speak no MCP; `NotSent` while it cannot be reached.
    pub(crate) async fn way_to(&self, server: &str) -> Result<Way, UpstreamError> {
        let passages = self.find(server, |entry| entry.passages.clone())?;
        match passages.transport() {
            TransportSpec::Http { .. } => Ok(Way::Http),
            TransportSpec::Stdio { .. } => {
                let (_, live) = self.live(server, Instant::now() + CONNECTION_WAIT).await?;
                Ok(Way::Pipes { modern: live.modern })
            }
            TransportSpec::Agent { .. } => {
                Err(UpstreamError::Invalid { reason: "a plain HTTP agent, which speaks no MCP".to_owned() })
            }
            TransportSpec::Api { .. } => {
                Err(UpstreamError::Invalid { reason: "plain HTTP endpoints, which speak no MCP".to_owned() })
            }
        }
    }

    /// Sends one message, once. Dropping the future, or what it gives, ends the exchange.
    ///
    /// # Errors
    /// [`UpstreamError::not_sent`] says whether it may be repeated.
    pub(crate) async fn pass(&self, server: &str, asked: Asked) -> Result<Said, UpstreamError> {
        let passages = self.find(server, |entry| entry.passages.clone())?;
        if let TransportSpec::Http { .. } = passages.transport() {
            let (_, live) = self.live(server, Instant::now() + CONNECTION_WAIT).await?;
            let permit = passages.permit(asked.listens)?;
            return live.pass(asked, permit).await;
        }
        passages.pass(asked).await
    }
}
