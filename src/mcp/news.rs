//! When the list of a path is another: what subscribers of the current revision and the standing streams of those before it are told.
//!
//! Not here: how it is told. What must always hold: several changes within a moment are one piece of news; whoever is slow to ask for
//! the next hears once of all that came meanwhile, as nothing is kept for anybody.

use std::{sync::Arc, time::Duration};

use aop_proto::access::Caller;
use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{door::Scope, pins::Pins, zone::Lists};
use crate::handle::Handle;

/// Changes within this time are told once.
const COALESCE: Duration = Duration::from_millis(250);
/// Lists of other zones are looked at this often, also where nothing is told of them.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What is written for a subscriber takes a fifth of the time at most.
const WRITING_SHARE: u32 = 4;

/// Where lists and their changes are seen. Cheap to clone.
#[derive(Clone)]
pub(super) struct News {
    handle: Handle,
    pins: Arc<Pins>,
    lists: Arc<Lists>,
}

impl News {
    pub(super) fn new(handle: Handle, pins: Arc<Pins>, lists: Arc<Lists>) -> Self {
        Self { handle, pins, lists }
    }

    /// Whether there can be any: the list of `/mcp` alone never changes.
    pub(super) fn may_come(&self, scope: &Scope) -> bool {
        *scope != Scope::Menu || !self.pins.is_empty()
    }

    /// All that come from now on. What is there now was listed already.
    pub(super) async fn follow(&self, scope: Scope) -> Following {
        let mut changes = self.handle.changes();
        changes.mark_unchanged();
        let own = matches!(&scope, Scope::Zone(zone) if zone.eq_ignore_ascii_case(self.handle.view().zone.as_str()));
        let look_every = if own { Duration::MAX } else { LOOK_EVERY };
        let last = self.written(&scope).await;
        Following { news: self.clone(), scope, changes, look_every, last }
    }

    async fn written(&self, scope: &Scope) -> Option<Bytes> {
        match scope {
            Scope::Menu => Some(self.pins.list(&self.handle, &Caller::operator()).await.tools()),
            Scope::Zone(zone) => self.lists.written(&self.handle, zone).await,
        }
    }
}

/// The list of one path, as it was told last.
pub(super) struct Following {
    news: News,
    scope: Scope,
    changes: watch::Receiver<u64>,
    look_every: Duration,
    last: Option<Bytes>,
}

impl Following {
    /// Waits until the list is another; false when the node ends. What this node may not be told of it looks for itself.
    pub(super) async fn next(&mut self) -> bool {
        loop {
            match timeout(self.look_every, self.changes.changed()).await {
                Ok(Ok(())) => sleep(COALESCE).await,
                Ok(Err(_)) => return false,
                Err(_) => {}
            }
            self.changes.mark_unchanged();
            let since = Instant::now();
            let now = self.news.written(&self.scope).await;
            // A long list is not written all the time because something in it changes all the time.
            sleep((since.elapsed() * WRITING_SHARE).min(LOOK_EVERY)).await;
            // Of a zone that is silent now nothing is known.
            let Some(now) = now else { continue };
            if self.last.replace(now.clone()).is_none_or(|last| last != now) {
                return true;
            }
        }
    }
}
