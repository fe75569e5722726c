//! How an HTTP exchange that brought no answer ended, and what that proves.

use std::{error::Error as _, fmt, time::Duration};

use http::{HeaderMap, StatusCode, header};

use crate::upstream::{
    egress::{Refusal, refusal_in},
    failure::UpstreamError,
    tap::garbage,
};

/// A server that wants to be left alone for longer is told as if it had said this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What went wrong with one HTTP exchange, as a person is told it.
#[derive(Debug)]
pub(crate) struct HttpFailure {
    pub(super) reason: String,
    pub(super) seen: Seen,
}

/// How far an exchange came.
#[derive(Debug)]
pub(super) enum Seen {
    /// It was not even dialled.
    Refused(Refusal),
    /// The server cannot have begun the request.
    NotSent,
    /// It was sent, or may have been.
    Lost,
    /// Answered with a status that is no success.
    Status(StatusCode, Option<Duration>),
    /// Answered with what is no answer.
    Unreadable,
}

impl fmt::Display for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for HttpFailure {}

impl HttpFailure {
    pub(crate) fn new(reason: impl Into<String>, not_sent: bool) -> Self {
        Self { reason: reason.into(), seen: if not_sent { Seen::NotSent } else { Seen::Lost } }
    }

    /// Of a status that is no success, and why as far as it is known.
    pub(crate) fn answered(status: StatusCode, headers: &HeaderMap, why: &str) -> Self {
        let colon = if why.is_empty() { "" } else { ": " };
        Self { reason: format!("HTTP {status}{colon}{why}"), seen: Seen::Status(status, retry_after(headers)) }
    }

    pub(crate) fn unreadable(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), seen: Seen::Unreadable }
    }

    /// Without the URL: it may carry a token in its query.
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        if let Some(refusal) = refusal_in(error) {
            return Self { reason: refusal.to_string(), seen: Seen::Refused(refusal.clone()) };
        }
        let not_sent = error.is_connect() || error.is_builder();
        let lead = if not_sent { "cannot connect" } else { "the connection broke" };
        Self::new(format!("{lead}: {}", causes(error)), not_sent)
    }

    /// Whether the server cannot have begun the request.
    pub(crate) const fn not_sent(&self) -> bool {
        matches!(self.seen, Seen::NotSent | Seen::Refused(_))
    }

    /// As the end of an attempt to connect.
    pub(crate) fn as_dial(&self) -> UpstreamError {
        match &self.seen {
            Seen::Refused(refusal) => refusal.as_upstream(),
            _ => UpstreamError::Connect { reason: self.reason.clone() },
        }
    }

    /// As the end of a call.
    pub(crate) fn as_upstream(&self) -> UpstreamError {
        let reason = self.reason.clone();
        match &self.seen {
            Seen::Refused(refusal) => refusal.as_upstream(),
            Seen::NotSent => UpstreamError::NotSent { reason },
            Seen::Lost => UpstreamError::Lost { reason },
            Seen::Status(status, retry_after) => {
                UpstreamError::Status { status: status.as_u16(), retry_after: *retry_after, reason }
            }
            Seen::Unreadable => garbage(reason),
        }
    }
}

/// `Retry-After` in seconds, at most a day; as a date it is left out. Source: RFC 9110 §10.2.3.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// An error and what caused it, in one line, without the URL.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if said.last().is_none_or(|last| !last.contains(&text)) {
            said.push(text);
        }
        next = cause.source();
    }
    match said.is_empty() {
        true => if error.is_timeout() { "timed out" } else { "no cause given" }.to_owned(),
        false => said.join(": "),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn whatever_is_answered_was_sent_and_says_when_to_come_again() {
        for status in [301, 307, 400, 401, 403, 404, 405, 413, 429, 500, 503] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert!(!HttpFailure::answered(status, &HeaderMap::new(), "").as_upstream().not_sent(), "{status}");
        }
        let after = |text: &'static str| {
            retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(text))]))
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("99999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!([after("-1"), after("soon"), after("Wed, 21 Oct 2015 07:28:00 GMT")], [None; 3]);
    }
}
