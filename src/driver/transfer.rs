//! What the doors of transfers want of the driver: the zone at one moment, and a bundle taken frame by frame.

use aop_proto::node::{Imported, Unfit, WriteError, Wrote};
use aop_proto::record::Origin;
use aop_proto::transfer::{Export, Opening};
use aop_proto::wire::message::Message;
use tokio::sync::oneshot;

use super::{Driver, reply};

/// One step of a transfer.
#[derive(Debug)]
pub enum Transfer {
    /// The zone as it is now, or what of it is missing above a vector; nothing while the node may not speak for it.
    Export(Option<Vec<(Origin, u64)>>, oneshot::Sender<Option<Export>>),
    /// A bundle is to be taken, or only tried.
    Begin(Box<Opening>, bool, oneshot::Sender<Result<(), Unfit>>),
    /// Its next frame.
    Frame(Box<Message>, oneshot::Sender<()>),
    /// That was all of it: what came of it, and whether that is durable.
    End(oneshot::Sender<Imported>, oneshot::Sender<Result<Wrote, WriteError>>),
}

impl Driver {
    pub(super) fn on_transfer(&mut self, token: u64, transfer: Transfer) {
        let now = self.clock.now();
        match transfer {
            Transfer::Export(since, to) => reply(Some(to), self.node.export(now, since.as_deref())),
            Transfer::Begin(opening, trial, to) => reply(Some(to), self.node.begin_import(now, &opening, trial)),
            Transfer::Frame(message, to) => {
                self.node.import(now, &message);
                reply(Some(to), ());
            }
            Transfer::End(to, durable) => {
                self.writes.insert(token, durable);
                reply(Some(to), self.node.end_import(now, token));
            }
        }
    }
}
