//! One message of a client over HTTP: out as it is, back as it comes, bounded.

use futures::StreamExt as _;
use http::{HeaderValue, StatusCode, header};
use reqwest::Response;
use sse_stream::{Sse, SseStream};
use tokio::sync::OwnedSemaphorePermit;

use super::{EVENT_STREAM, Failure, JSON, MESSAGE_BYTES_MAX, REFUSAL_BYTES_MAX, SESSION_ID, TapHttp, causes};
use super::{HttpFailure, UpstreamError, WANTS_AUTH, tell, text_header};
use crate::upstream::event_limit::EventLimit;
use crate::upstream::passing::{Asked, Events, Said, SaidBody};

impl TapHttp {
    /// Sends it and waits for the head of the answer, and for all of one that is no stream. `permit` is held until its end.
    pub(crate) async fn pass(&self, asked: Asked, permit: OwnedSemaphorePermit) -> Result<Said, UpstreamError> {
        let mut headers = asked.headers;
        if let Some(session) = &asked.session {
            let session = HeaderValue::from_str(session)
                .map_err(|_| UpstreamError::NotSent { reason: "no server names a session so".to_owned() })?;
            headers.insert(SESSION_ID, session);
        }
        // What the registration says stands above what a client says.
        headers.extend(self.site.headers.clone());
        let request = self.client.request(asked.method, self.site.url.clone()).headers(headers).body(asked.body);
        let response = self.send(request).await.map_err(|failure| failure.as_upstream())?;
        self.said(response, asked.is_call, permit).await
    }

    async fn said(
        &self,
        response: Response,
        is_call: bool,
        permit: OwnedSemaphorePermit,
    ) -> Result<Said, UpstreamError> {
        let status = response.status();
        if let Some(why) = refused(status) {
            // The registration's credentials or its address are at fault, not the client's: he has no use for a challenge.
            return Err(HttpFailure::answered(status, response.headers(), why).as_upstream());
        }
        let session = text_header(&response, SESSION_ID);
        let kind = text_header(&response, header::CONTENT_TYPE.as_str()).unwrap_or_default();
        let body = if status.is_success() && kind.starts_with(EVENT_STREAM) {
            SaidBody::Events(self.passed_events(response, is_call, permit))
        } else {
            let bytes_max = if status.is_success() { MESSAGE_BYTES_MAX } else { REFUSAL_BYTES_MAX };
            let body = self.read(response, bytes_max).await.map_err(|failure| unread(&failure))?;
            match (body.is_empty(), kind.starts_with(JSON)) {
                (true, _) => SaidBody::Empty,
                (false, true) if is_call && status.is_success() => SaidBody::Json(body),
                (false, true) => SaidBody::Json(self.taps.mask().hide(&body)),
                (false, false) => SaidBody::Text(self.taps.mask().hide(&body)),
            }
        };
        Ok(Said { status, session, body })
    }

    fn passed_events(&self, response: Response, is_call: bool, permit: OwnedSemaphorePermit) -> Events {
        let mut limit = EventLimit::new(MESSAGE_BYTES_MAX);
        let suspect = self.suspect.clone();
        let bytes = response.bytes_stream().take_until(self.closed.clone().cancelled_owned());
        let bytes = bytes.map(move |chunk| match chunk {
            Ok(chunk) if limit.admits(&chunk) => Ok(chunk),
            Ok(_) => Err(std::io::Error::other(format!("an event larger than {MESSAGE_BYTES_MAX} bytes"))),
            Err(error) => {
                suspect.notify_one();
                Err(std::io::Error::other(causes(&error)))
            }
        });
        let taps = self.taps.clone();
        let hide = move |mut event: Sse| {
            let _held = &permit;
            if !is_call {
                event.data = event.data.and_then(|data| String::from_utf8(taps.mask().hide(&data.into()).into()).ok());
            }
            event
        };
        SseStream::from_bytes_stream(bytes).map(move |event| event.map(&hide)).boxed()
    }
}

/// Refusals that are between this node and the server.
fn refused(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::UNAUTHORIZED => Some(WANTS_AUTH),
        StatusCode::FORBIDDEN => Some("the server refuses this node"),
        status if status.is_redirection() => Some("redirects are not followed"),
        _ => None,
    }
}

fn unread(failure: &Failure) -> UpstreamError {
    match failure {
        Failure::ResponseBodyTooLarge { max_size } => {
            super::garbage(format!("the answer is larger than {max_size} bytes"))
        }
        failure => tell(failure),
    }
}
