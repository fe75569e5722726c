//! Bodies that are too long to be held: fetched and sent piece by piece, with one node.

use std::sync::atomic::Ordering;

use aop_proto::error::{Kind, Problem};
use bytes::Bytes;
use reqwest::{Response, StatusCode};

use super::{Client, Node, READ_TIMEOUT, Reply, Request, address, chain};

impl Client {
    /// Fetches an answer piece by piece. `take` is given each as it comes.
    ///
    /// # Errors
    /// As [`Self::send`], whatever `take` says, and `NodeUnreachable` when the connection breaks.
    pub(crate) async fn download(
        &self,
        request: &Request,
        mut take: impl AsyncFnMut(Bytes) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let node = self.reached().await?;
        let body = request.body.clone().map(reqwest::Body::from);
        let mut response = self.begin(node, request, body).await?;
        let broke = |error: reqwest::Error| broke(node, &error);
        if response.status().is_success() {
            while let Some(piece) = response.chunk().await.map_err(broke)? {
                take(piece).await?;
            }
            return Ok(());
        }
        Err(self.refused(node, response).await)
    }

    /// Sends a body piece by piece, as the node takes it.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) async fn upload(&self, request: &Request, body: reqwest::Body) -> Result<Reply, Problem> {
        let node = self.reached().await?;
        let response = self.begin(node, request, Some(body)).await?;
        if response.status() == StatusCode::OK {
            let body = response.bytes().await.map_err(|error| broke(node, &error))?;
            return Ok(Reply { body, took_ms: None, trace_id: None });
        }
        Err(self.refused(node, response).await)
    }

    /// A node that answers: what can be sent once only is not sent to see whether one does.
    async fn reached(&self) -> Result<&Node, Problem> {
        self.send(&Request::get(&["zones"]).timeout(READ_TIMEOUT)).await?;
        Ok(&self.nodes[self.preferred.load(Ordering::Relaxed)])
    }

    async fn begin(&self, node: &Node, request: &Request, body: Option<reqwest::Body>) -> Result<Response, Problem> {
        let mut builder = node.http.request(request.method.clone(), request.url(&node.url));
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(body) = body {
            builder = builder.header("content-type", "application/vnd.aop.bundle").body(body);
        }
        if let Some(token) = self.tokens.of(&node.url) {
            builder = builder.bearer_auth(token);
        }
        builder.send().await.map_err(|error| broke(node, &error))
    }

    async fn refused(&self, node: &Node, response: Response) -> Problem {
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap_or_default();
        self.refusal(&node.url, status, Reply { body, took_ms: None, trace_id: None })
    }
}

fn broke(node: &Node, error: &reqwest::Error) -> Problem {
    if error.is_timeout() {
        return Problem::new(Kind::TimedOut, format!("{} took longer than it was given", address(&node.url)));
    }
    let message = format!("the connection to {} broke: {}", address(&node.url), chain(error));
    Problem::new(Kind::NodeUnreachable, message).hint("aop status")
}
