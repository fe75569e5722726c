//! What the process is told from outside: to stop, to stop at once, to read its configuration again.

use aop_proto::error::Problem;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::signal::unix::{SignalKind, signal};

use super::Running;

/// Waits for SIGTERM or SIGINT, after which a second one ends the process at once.
///
/// # Errors
/// A node that cannot go on: its driver is gone.
pub(super) async fn until_told_to_stop<const N: usize>(nodes: [&mut Running; N]) -> Result<(), Problem> {
    let mut drivers: FuturesUnordered<_> = nodes.into_iter().map(Running::driver_ends).collect();
    let told = tokio::select! {
        () = first_signal() => Ok(()),
        Some(problem) = drivers.next() => Err(problem),
    };
    tracing::info!("stopping");
    tokio::spawn(async {
        first_signal().await;
        std::process::exit(130);
    });
    told
}

/// The first signal to stop.
async fn first_signal() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::error!("signals cannot be heard; stop this process with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Does `reload` on every SIGHUP, until it is dropped. A terminal that closes must not end a node half-way.
pub(super) async fn on_hangup<F: Future<Output = ()>>(reload: impl Fn() -> F) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP cannot be heard; restart the node for a new configuration");
        return;
    };
    while hangup.recv().await.is_some() {
        reload().await;
    }
}
