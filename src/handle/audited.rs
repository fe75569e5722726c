//! What changes the node, and the audit of it: nothing that somebody asks for is begun while it could not be written down, and
//! nothing is acknowledged before it is.

use aop_proto::access::{Caller, Principal};
use aop_proto::error::{Kind, Problem};
use aop_proto::node::{NewTool, Write, Wrote};
use aop_proto::record::Hash;
use aop_proto::trust::definition_hash;
use aop_proto::view::View;

use super::Handle;
use crate::audit::{AuditError, Entry, Event};
use crate::entropy::hex;

/// Tools of one write that are written down one by one; of a larger one only their number is.
const TOOLS_MAX: usize = 1_000;

impl Handle {
    /// Whether what an operator asks for may be begun.
    ///
    /// # Errors
    /// `StoreFailed` while it could not be written down.
    pub(super) fn may_begin(&self) -> Result<(), Problem> {
        self.inner.audit.health().map_err(audit_problem)
    }

    /// Writes down how an operation ended, durably, and gives its end back.
    ///
    /// # Errors
    /// Its own, or `StoreFailed` when it went well and that could not be written down.
    pub(super) async fn audited<T>(&self, entry: Entry, ended: Result<T, Problem>) -> Result<T, Problem> {
        let written = self.inner.audit.record_durable(entry.node(self.view().node).ended(&ended)).await;
        ended.and_then(|done| written.map(|()| done).map_err(unacknowledged))
    }

    /// Does something to calls that wait for their turn, and writes down, durably, who did what to which queue.
    ///
    /// # Errors
    /// Its own, or `StoreFailed` when it could not be written down.
    pub async fn audit_queue<T>(
        &self,
        by: &Caller,
        queue: &str,
        what: &str,
        act: impl FnOnce() -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.may_begin()?;
        let entry = Entry::by(&by.principal, Event::Queue).zone(&self.view().zone).name(queue).reason(what);
        self.audited(entry, act()).await
    }

    /// Returns when everything recorded so far is on the disk.
    pub(super) async fn settle_audit(&self) -> Result<(), Problem> {
        self.inner.audit.settle().await.map_err(unacknowledged)
    }

    /// Writes, and writes down which tools are new, which are others than before and which are gone.
    pub(super) async fn write_audited(&self, write: Write, by: Option<&Principal>) -> Result<Wrote, Problem> {
        let hashes = match &write {
            Write::Server { tools, .. } | Write::Catalogue(tools) if tools.len() <= TOOLS_MAX => hashes_of(tools),
            _ => Vec::new(),
        };
        let before = self.view();
        let wrote = self.write(write).await?;
        let entry = |event, name: &str| {
            let entry = by.map_or_else(|| Entry::own(event), |by| Entry::by(by, event));
            entry.zone(&before.zone).name(name).node(before.node)
        };
        for ((name, _), hash) in wrote.tools.iter().zip(&hashes) {
            let hash = text_of(hash.as_ref());
            let entry = match own_hash(&before, name).map(|stood| text_of(stood.as_ref())) {
                None => entry(Event::Registered, name).def_hash(&hash),
                Some(stood) if stood != hash => entry(Event::Changed, name).def_hash(&hash).def_hash_before(&stood),
                Some(_) => continue,
            };
            self.inner.audit.record(entry).await;
        }
        for name in wrote.removed.iter().take(TOOLS_MAX) {
            self.inner.audit.record(entry(Event::Unregistered, name)).await;
        }
        Ok(wrote)
    }
}

/// The definition that this node's tool of that name has, if it has such a tool.
fn own_hash(view: &View, name: &str) -> Option<Option<Hash>> {
    let tool = view.tools.find_text(name)?;
    tool.of_node(view.node).map(|own| own.signed.record.def_hash())
}

fn hashes_of(tools: &[NewTool]) -> Vec<Option<Hash>> {
    tools.iter().map(|tool| definition_hash(&tool.definition).ok()).collect()
}

fn text_of(hash: Option<&Hash>) -> String {
    hash.map(|hash| format!("sha256:{}", hex(hash))).unwrap_or_default()
}

fn audit_problem(error: AuditError) -> Problem {
    Problem::new(Kind::StoreFailed, error.to_string()).hint("aop status")
}

/// It was done, and nobody may rely on it.
fn unacknowledged(error: AuditError) -> Problem {
    Problem::new(Kind::StoreFailed, format!("it was done, but {error}")).hint("aop audit")
}
