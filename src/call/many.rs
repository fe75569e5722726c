//! Many calls in one request: made at once, under one deadline, each with an end of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aop_proto::error::{Kind, Problem};
use aop_proto::params::CALLS_PER_REQUEST_MAX;
use bytes::Bytes;
use futures::future::join_all;

use super::{CallOutcome, CallRequest, Calls};

/// Bytes of all results of one request together: as many as one call may have.
const RESULTS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Whether one request may ask for so many calls.
///
/// # Errors
/// `Usage`: none, or more than [`CALLS_PER_REQUEST_MAX`].
pub fn check_many(calls: usize) -> Result<(), Problem> {
    if (1..=CALLS_PER_REQUEST_MAX).contains(&calls) {
        return Ok(());
    }
    let message = format!("one request has 1 to {CALLS_PER_REQUEST_MAX} calls, and this one has {calls}");
    Err(Problem::new(Kind::Usage, message).hint("aop call --help"))
}

impl Calls {
    /// Makes all of them at once, all with the same time, and tells how each ended, in their order. What cannot even be asked for has
    /// ended already. `timeout` is for everything; nothing for what is usual.
    pub async fn call_all(
        &self,
        requests: Vec<Result<CallRequest, Problem>>,
        timeout: Option<Duration>,
    ) -> Vec<Result<CallOutcome, Problem>> {
        let timeout = Some(timeout.unwrap_or_else(|| self.policies().usual.timeout));
        let room = AtomicUsize::new(RESULTS_BYTES_MAX);
        let calls = requests.into_iter().map(async |request| {
            let outcome = self.call(CallRequest { timeout, ..request? }).await?;
            fits(outcome, &room)
        });
        join_all(calls).await
    }
}

/// The outcome, while there is room for its result beside those of the others.
fn fits(outcome: CallOutcome, room: &AtomicUsize) -> Result<CallOutcome, Problem> {
    let (name, bytes) = (&outcome.name, outcome.result.len());
    if room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(bytes)).is_ok() {
        // A copy: the upstream's own bytes keep a place that another call of this request may wait for.
        return Ok(CallOutcome { result: Bytes::copy_from_slice(&outcome.result), ..outcome });
    }
    let message =
        format!("`{name}` ran, and its result of {bytes} bytes has no room beside those of the request's other calls");
    Err(Problem::new(Kind::TooLarge, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::Handle;
    use aop_proto::access::Caller;

    fn request(name: &str) -> CallRequest {
        CallRequest {
            caller: Caller::operator(),
            name: name.to_owned(),
            arguments: Bytes::from_static(b"{}"),
            extra: Vec::new(),
            timeout: None,
            key: None,
            priority: None,
            def_hash: None,
            dry_run: false,
            progress: None,
        }
    }

    #[tokio::test]
    async fn each_call_of_a_request_has_an_end_of_its_own() {
        let calls = Calls::new(Handle::for_tests(), Default::default()).unwrap();
        let wrong = Err(Problem::new(Kind::Usage, "no object"));
        let all =
            vec![Ok(request("a.b.research")), wrong, Ok(CallRequest { priority: Some(10), ..request("a.b.research") })];
        let ended: Vec<Kind> =
            calls.call_all(all, None).await.into_iter().map(|outcome| outcome.unwrap_err().kind).collect();
        assert_eq!(ended, [Kind::NameNotFound, Kind::Usage, Kind::NameNotFound]);
        let none = calls.call_all(vec![Ok(request("a.b.research"))], Some(Duration::ZERO)).await;
        assert_eq!(none[0].as_ref().unwrap_err().kind, Kind::Usage);
        assert!(check_many(0).is_err() && check_many(CALLS_PER_REQUEST_MAX + 1).is_err());
        assert_eq!(check_many(CALLS_PER_REQUEST_MAX), Ok(()));
    }

    #[test]
    fn results_beyond_what_one_call_may_have_are_left_out() {
        let room = AtomicUsize::new(10);
        let of = |bytes: usize| CallOutcome {
            result: vec![b'1'; bytes].into(),
            name: "a.b.c".to_owned(),
            zone: "c".to_owned(),
            served_by: String::new(),
            hops: 0,
            took: Duration::ZERO,
            unchecked: None,
        };
        let kind = |bytes| fits(of(bytes), &room).map(|outcome| outcome.result.len()).map_err(|problem| problem.kind);
        assert_eq!([kind(6), kind(5), kind(4), kind(1)], [Ok(6), Err(Kind::TooLarge), Ok(4), Err(Kind::TooLarge)]);
    }
}
