//! One HTTP request and its whole answer, bounded: for servers that speak no MCP.

use bytes::Bytes;
use futures::StreamExt as _;
use reqwest::header::{self, HeaderMap};
use reqwest::{Client, Method, StatusCode, Url};

use super::failure::UpstreamError;
use super::mcp_http::{HttpFailure, Site};
use super::room::Room;
use super::spec::Mask;

/// What is understood best, and the rest.
const ACCEPT: &str = "application/json, */*;q=0.5";

/// The registered address and a client for it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Exchange {
    client: Client,
    site: Site,
    room: Room,
    mask: Mask,
}

/// What is sent.
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Below the registered address.
    pub(crate) url: Url,
    /// JSON.
    pub(crate) body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) const fn bare(method: Method, url: Url) -> Self {
        Self { method, url, body: None }
    }
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
    /// `mask` is for what a server says when it refuses.
    ///
    /// # Errors
    /// No client can be made.
    pub(crate) fn new(site: Site, room: Room, mask: Mask) -> Result<Self, UpstreamError> {
        Ok(Self { client: site.client()?, site, room, mask })
    }

    /// Asks; the answer, whatever its status.
    ///
    /// # Errors
    /// It was not sent, or it broke off, or there is too much of it.
    pub(crate) async fn ask(&self, asked: Request, bytes_max: usize) -> Result<(Status, Bytes), HttpFailure> {
        let Request { method, url, body } = asked;
        let mut request = self.client.request(method, url).headers(self.site.headers.clone());
        request = request.header(header::ACCEPT, ACCEPT);
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
        let body = whole.whole();
        Ok(match status.code.is_success() {
            true => (status, body),
            false => (status, self.mask.hide(&body)),
        })
    }

    /// The registered host, for who has no other name.
    pub(crate) fn host(&self) -> String {
        self.site.url.host_str().unwrap_or("agent").to_owned()
    }

    /// Where answers wait for room.
    pub(crate) const fn room(&self) -> &Room {
        &self.room
    }

    /// The registered address.
    pub(crate) const fn base(&self) -> &Url {
        &self.site.url
    }

    /// One segment below it.
    pub(crate) fn below(&self, segment: &str) -> Url {
        let mut url = self.site.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(segment);
        }
        url
    }
}
