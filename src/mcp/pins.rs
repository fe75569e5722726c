//! Tools that an operator pinned: they stand on `/mcp` after the node's own four, each under its own definition.
//!
//! Who sees a federation through four tools asks for the few that are used all day by name, without a search before. They are looked
//! for as any tool is, wherever they are, and written once for each state of this node's view; one that is not found is not listed,
//! one whose zone is silent at this moment stays as it was.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aop_proto::access::{Action, Caller};
use aop_proto::error::{Kind, Problem};
use futures::future::join_all;
use tokio::time::timeout;

use super::zone::{List, TTL_MAX};
use crate::{answers::Hit, handle::Handle};

/// How long a list waits for the zones of its tools.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is pinned, and the list of it as it was written last.
#[derive(Default)]
pub(super) struct Pins {
    names: Vec<String>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    list: Option<Arc<List>>,
    /// By what the operator calls them.
    hits: HashMap<String, Hit>,
    /// Those that name nothing, each of which was told in the log.
    missed: BTreeSet<String>,
}

impl Pins {
    /// These names, in this order, each once.
    pub(super) fn new(names: Vec<String>) -> Self {
        let mut seen = BTreeSet::new();
        let names = names.into_iter().filter(|name| seen.insert(name.to_ascii_lowercase())).collect();
        Self { names, kept: Mutex::default() }
    }

    /// Whether anything is.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// What of it `by` may see: the kept list while it is true, a new one otherwise. For whoever may see some tools only it is written
    /// anew each time and kept for nobody.
    pub(super) async fn list(&self, handle: &Handle, by: &Caller) -> Arc<List> {
        if handle.sight(by).is_some() {
            let found = self.find(handle, by).await;
            return Arc::new(List::of(found.iter().flatten(), TTL_MAX, 0));
        }
        let change = *handle.changes().borrow();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).list.clone();
        if let Some(list) = kept.filter(|list| list.is_true(change, Instant::now())) {
            return list;
        }
        let found = self.find(handle, &Caller::operator()).await;
        let list = Arc::new(List::of(found.iter().flatten(), TTL_MAX, change));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let named = self.names.iter().cloned().zip(found);
        kept.hits = named.filter_map(|(name, hit)| Some((name, hit?))).collect();
        let Kept { hits, missed, .. } = &mut *kept;
        missed.retain(|name| !hits.contains_key(name));
        kept.list = Some(Arc::clone(&list));
        list
    }

    /// Says once, until it is found again, that nobody has a tool of that name.
    fn warn(&self, name: &str, problem: &Problem) {
        let is_new = self.kept.lock().unwrap_or_else(PoisonError::into_inner).missed.insert(name.to_owned());
        if is_new {
            let near = problem.did_you_mean.join(", ");
            tracing::warn!(pinned = name, near, "mcp.pinned names a tool that is not there");
        }
    }

    async fn find(&self, handle: &Handle, by: &Caller) -> Vec<Option<Hit>> {
        let is_all = handle.sight(by).is_none();
        join_all(self.names.iter().map(|name| async move {
            match timeout(PATIENCE, handle.find(by, name, Action::Discover)).await {
                Ok(Ok(hit)) => Some(hit),
                Ok(Err(problem)) if problem.kind == Kind::NameNotFound => {
                    if is_all {
                        self.warn(name, &problem);
                    }
                    None
                }
                // Nobody says that there is none.
                _ if is_all => self.kept.lock().unwrap_or_else(PoisonError::into_inner).hits.get(name).cloned(),
                _ => None,
            }
        }))
        .await
    }
}
