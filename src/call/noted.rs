//! The trace a call leaves in the audit, however it ends: also when whoever called goes away in the middle of it.

use std::time::Instant;

use aop_proto::access::Principal;
use aop_proto::error::Kind;

use crate::audit::{Entry, Event, Slot};
use crate::handle::Handle;

/// A call under way. Dropped before its end it is written down as cancelled.
pub(crate) struct Noted {
    started: Instant,
    /// Until it is written down.
    open: Option<(Slot, Entry)>,
}

impl Noted {
    /// A call begins, once there is room to write down its end.
    pub(crate) async fn begin(handle: &Handle, principal: &Principal, name: &str) -> Self {
        let slot = handle.audit().reserve().await;
        let entry = Entry::by(principal, Event::Called).name(name);
        Self { started: Instant::now(), open: Some((slot, entry)) }
    }

    /// Its tool was found.
    pub(crate) fn found(&mut self, name: &str, zone: &str, def_hash: &str) {
        self.open = self.open.take().map(|(slot, entry)| (slot, entry.name(name).zone(zone).def_hash(def_hash)));
    }

    /// It ended: served by that node, or with such a problem.
    pub(crate) fn end(mut self, ended: Result<&str, Kind>) {
        self.write(|entry| match ended {
            Ok(node) => entry.node(node),
            Err(kind) => entry.failed(kind),
        });
    }

    /// It was none.
    pub(crate) fn forget(mut self) {
        self.open = None;
    }

    fn write(&mut self, end: impl FnOnce(Entry) -> Entry) {
        if let Some((slot, entry)) = self.open.take() {
            slot.record(end(entry).took(self.started.elapsed()));
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.write(|entry| entry.failed(Kind::Cancelled));
    }
}
