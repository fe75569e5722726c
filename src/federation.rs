//! What peers ask of this node on streams of their own: calls. Questions and gossip are messages and go to the driver.

use std::sync::Arc;

use aop_proto::wire::message::Message;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call::Calls;
use crate::driver::PeerRequest;

/// Calls of peers under way at once; one more is refused.
const CALLS_MAX: usize = 512;

/// Carries out what peers ask until told to stop, then lets what is under way finish.
pub async fn serve(calls: Calls, mut requests: mpsc::Receiver<PeerRequest>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let room = Arc::new(Semaphore::new(CALLS_MAX));
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => break,
            Some(request) = requests.recv() => request,
        };
        let Ok(Message::Call(call)) = Message::decode(&request.frame) else {
            tracing::debug!(peer = %request.peer.short(), "a request that is no call");
            continue;
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            tracing::warn!(peer = %request.peer.short(), "too many calls of peers are under way; one was refused");
            continue;
        };
        let calls = calls.clone();
        tasks.spawn(async move {
            let _permit = permit;
            calls.serve(call, request.stream).await;
        });
    }
    tasks.close();
    tasks.wait().await;
}
