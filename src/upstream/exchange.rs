//! One HTTP request and its whole answer, bounded: for servers that speak no MCP.

use bytes::Bytes;
use futures::StreamExt as _;
use reqwest::header::{self, HeaderMap};
use reqwest::{Client, Method, StatusCode, Url};

use super::failure::UpstreamError;
use super::mcp_http::{HttpFailure, Site};
use super::room::Room;

/// The registered address and a client for it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Exchange {
    client: Client,
    site: Site,
    room: Room,
}

/// How an answer begins.
pub(crate) struct Status {
    pub(crate) code: StatusCode,
    headers: HeaderMap,
}

impl Status {
    /// One that is no success, as the end of a call.
    pub(crate) fn as_upstream(&self, why: &str) -> UpstreamError {
        HttpFailure::answered(self.code, &self.headers, why).as_upstream()
    }
}

impl Exchange {
    /// # Errors
    /// No client can be made.
    pub(crate) fn new(site: Site, room: Room) -> Result<Self, UpstreamError> {
        Ok(Self { client: site.client()?, site, room })
    }

    /// Asks at that path below the registered address; the answer, whatever its status.
    ///
    /// # Errors
    /// It was not sent, or it broke off, or there is too much of it.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        bytes_max: usize,
    ) -> Result<(Status, Bytes), HttpFailure> {
        let mut request = self.client.request(method, self.at(path)).headers(self.site.headers.clone());
        request = request.header(header::ACCEPT, "application/json");
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        let response = request.send().await.map_err(|error| HttpFailure::of(&error))?;
        let status = Status { code: response.status(), headers: response.headers().clone() };
        let mut chunks = response.bytes_stream();
        let mut whole = self.room.filling();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| HttpFailure::of(&error))?;
            if whole.len() + chunk.len() > bytes_max {
                return Err(HttpFailure::unreadable(format!("the answer is larger than {bytes_max} bytes")));
            }
            whole.add(&chunk).await;
        }
        Ok((status, whole.whole()))
    }

    /// The registered host, for who has no other name.
    pub(crate) fn host(&self) -> String {
        self.site.url.host_str().unwrap_or("agent").to_owned()
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.site.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(path);
        }
        url
    }
}
