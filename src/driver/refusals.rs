//! Calls of peers that are not taken: told at once and in words, so that the caller knows that nothing was sent.

use std::sync::Arc;
use std::time::Duration;

use aop_proto::error::{Kind, Problem};
use aop_proto::record::NodeId;
use aop_proto::wire::message::{CallResult, Message};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::PeerRequest;

/// Refusals being told at once; beyond it a stream is reset without a word.
const REFUSALS_MAX: usize = 512;
/// Time a peer has to take in a refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// What it is told to wait before it comes again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Tells peers that their call was not taken and nothing was sent.
#[derive(Debug, Clone)]
pub struct Refusals {
    room: Arc<Semaphore>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(REFUSALS_MAX)) }
    }
}

impl Refusals {
    /// Answers on the side; must be called inside a tokio runtime.
    pub fn tell(&self, me: NodeId, request: PeerRequest, why: &str) {
        tracing::warn!(peer = %request.peer.short(), why, "a peer's call was refused");
        let Ok(permit) = self.room.clone().try_acquire_owned() else { return };
        let problem = Problem::new(Kind::Busy, format!("node {}: {why}", me.short()))
            .hint("aop status")
            .detail(json!({"retry_after_s": RETRY_AFTER.as_secs()}));
        let refusal = CallResult {
            part: problem.to_json().to_string().into_bytes(),
            failed: true,
            not_sent: true,
            last: true,
            served_by: me,
            hops: 0,
        };
        // Ends with its time limit.
        tokio::spawn(async move {
            let _permit = permit;
            let mut stream = request.stream;
            let sent = timeout(REFUSAL_TIMEOUT, stream.send(Message::from(refusal).encode().into())).await;
            if matches!(sent, Ok(Ok(()))) {
                // An asker that has everything may be gone already.
                let _ = stream.finish();
            }
        });
    }
}
