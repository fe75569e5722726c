//! The trace of a request: its caller's own, where it names one (W3C Trace Context), else a new one.
//!
//! It is known to everything that is done in the request's own task, and goes into its answer, its problem and the log. Nobody is made to
//! do anything by it: it is a name, and what is not written exactly as the standard has it is none.

use std::future::Future;

use http::{HeaderMap, HeaderName};

/// The header of a trace. Source: W3C Trace Context §3.2.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Characters of one of version 00.
const CHARS: usize = 55;

tokio::task_local! {
    static GIVEN: Option<String>;
}

/// Does `work`, the answering of a request, under the trace that it named, if it did.
pub(crate) async fn under<T>(trace: Option<String>, work: impl Future<Output = T>) -> T {
    GIVEN.scope(trace, work).await
}

/// The trace that whoever asked has named.
pub(crate) fn given() -> Option<String> {
    GIVEN.try_with(Clone::clone).ok().flatten()
}

/// The one trace that the headers name, 32 hexadecimal digits.
pub(crate) fn named(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    trace_of(one.to_str().ok()?).map(str::to_owned)
}

/// `version-trace-parent-flags`, in lower case; of a later version whatever comes after those. An id of zeros is none.
fn trace_of(header: &str) -> Option<&str> {
    let mut parts = header.splitn(5, '-');
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut part = |chars: usize| parts.next().filter(|part| part.len() == chars && is_hex(part));
    let (version, trace, parent, _flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    let fits = version != "ff" && (version != "00" || header.len() == CHARS);
    (fits && !is_zero(trace) && !is_zero(parent)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_from_what_is_written_as_the_standard_has_it_and_from_nothing_else() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(trace_of(&good), Some(TRACE));
        assert_eq!(trace_of(&format!("01-{TRACE}-00f067aa0ba902b7-01-more")), Some(TRACE));
        for wrong in [
            String::new(),
            "00-1".to_owned(),
            good.to_uppercase(),
            good[..54].to_owned(),
            format!("{good}-more"),
            format!("{good}0"),
            good.replace("00-4", "ff-4"),
            good.replace("4bf9", "4bg9"),
            good.replace(TRACE, &"0".repeat(32)),
            good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            good.replace('-', "_"),
            format!(" {good}"),
        ] {
            assert_eq!(trace_of(&wrong), None, "{wrong}");
        }
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, good.parse().expect("a header"));
        assert_eq!(named(&headers).as_deref(), Some(TRACE));
        headers.append(TRACEPARENT, good.parse().expect("a header"));
        assert_eq!(named(&headers), None, "two of them name none");
    }
}
