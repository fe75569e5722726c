//! What the process is told from outside: to stop, to stop at once, to read its configuration again.
//!
//! Both are heard from before the node says where it is: whoever reads its `node.json` may send a signal in the same moment, and a
//! process that does not listen yet is ended by it without a word.

use aop_proto::error::Problem;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Running;

/// Listens from now on; the token is cancelled by the first SIGTERM or SIGINT, and the second one ends the process at once.
///
/// # Errors
/// What the system says; nothing is heard then.
pub(super) fn stops() -> std::io::Result<CancellationToken> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = CancellationToken::new();
    let first = told.clone();
    tokio::spawn(async move {
        one_of(&mut term, &mut int).await;
        tracing::info!("stopping");
        first.cancel();
        one_of(&mut term, &mut int).await;
        std::process::exit(130);
    });
    Ok(told)
}

async fn one_of(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Waits for the word to stop.
///
/// # Errors
/// A node that cannot go on: its driver is gone.
pub(super) async fn until_told_to_stop<const N: usize>(
    told: &CancellationToken,
    nodes: [&mut Running; N],
) -> Result<(), Problem> {
    let mut drivers: FuturesUnordered<_> = nodes.into_iter().map(Running::driver_ends).collect();
    tokio::select! {
        () = told.cancelled() => Ok(()),
        Some(problem) = drivers.next() => Err(problem),
    }
}

/// SIGHUPs since [`hangups`]; one that comes while another is answered is kept. A terminal that closes must not end a node half-way.
pub(super) struct Hangups(Signal);

/// Listens from now on.
///
/// # Errors
/// What the system says; nothing is heard then.
pub(super) fn hangups() -> std::io::Result<Hangups> {
    signal(SignalKind::hangup()).map(Hangups)
}

impl Hangups {
    /// Does `reload` on each, until it is dropped.
    pub(super) async fn answer<F: Future<Output = ()>>(mut self, reload: impl Fn() -> F) {
        while self.0.recv().await.is_some() {
            reload().await;
        }
    }
}
