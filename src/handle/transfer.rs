//! Bundles at the node's doors: the zone given out as a file, and one taken in, which is read to its end before anything of it counts.
//!
//! ```text
//!  export   driver ── one moment of the zone ──▶ frames, as fast as they are fetched
//!  import   bytes ─▶ checked and put aside, in a file without a name ─▶ its end fits? ─▶ frame by frame to the driver ─▶ durable
//! ```
//!
//! What is believed of it the node says. What must hold: of a file that is not whole nothing is taken, and no more of one is in memory
//! than a frame.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aop_proto::access::Principal;
use aop_proto::error::{Kind, Problem};
use aop_proto::node::{Imported, Unfit};
use aop_proto::transfer::{Damaged, Export, Look, Opening, Reader};
use aop_proto::wire::message::Message;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Handle, busy, stopping};
use crate::audit::{Entry, Event};
use crate::driver::{Job, Transfer};
use crate::entropy::{hex, seed};

/// The largest bundle that is taken: some forty logs as large as a log may be.
const BUNDLE_BYTES_MAX: u64 = 8 << 30;
/// Exports under way at once: each keeps what stood when it began.
const EXPORTS_MAX: usize = 4;
/// Read from the disk at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// What bounds transfers.
#[derive(Debug)]
pub(super) struct Transfers {
    exports: Arc<Semaphore>,
    /// One bundle is taken at a time.
    importing: Arc<tokio::sync::Mutex<()>>,
}

impl Default for Transfers {
    fn default() -> Self {
        Self { exports: Arc::new(Semaphore::new(EXPORTS_MAX)), importing: Arc::default() }
    }
}

/// The zone on its way out, frame by frame.
pub struct Exporting {
    export: Export,
    _place: OwnedSemaphorePermit,
}

impl Iterator for Exporting {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.export.next()
    }
}

/// A bundle on its way in, put aside as it comes.
pub struct Receiving {
    file: File,
    reader: Reader,
    look: Look,
    bytes: u64,
    _alone: OwnedMutexGuard<()>,
}

/// What came of a bundle.
#[derive(Debug)]
pub struct Taken {
    /// What it was.
    pub opening: Opening,
    /// How long it was.
    pub bytes: u64,
    /// What came of it.
    pub sum: Imported,
}

impl Handle {
    /// The own zone, or what of it is missing above what the beginning of an older bundle says.
    ///
    /// # Errors
    /// `BundleUnfit` for the beginning of another zone's, `Busy` while this node is not admitted to its zone or enough others export,
    /// `StoreFailed` when it could not be written down.
    pub async fn export(&self, since: Option<Opening>, by: &Principal) -> Result<Exporting, Problem> {
        self.may_begin()?;
        let what = if since.is_some() { "what is new in the zone" } else { "the whole zone" };
        let entry = Entry::by(by, Event::Exported).zone(&self.view().zone).reason(what);
        let exported = self.begin_export(since).await;
        self.audited(entry, exported).await
    }

    async fn begin_export(&self, since: Option<Opening>) -> Result<Exporting, Problem> {
        let zone = self.view().zone.clone();
        if let Some(since) = since.as_ref().filter(|since| since.bundle.zone != zone.as_str()) {
            return Err(self.unfit(Unfit::OtherZone { theirs: since.bundle.zone.clone(), ours: zone }));
        }
        let place = Arc::clone(&self.inner.transfers.exports).try_acquire_owned();
        let place = place.map_err(|_| Problem::new(Kind::Busy, "enough exports are under way").hint("aop export"))?;
        let (reply, answer) = oneshot::channel();
        self.tell(Transfer::Export(since.map(|since| since.vector), reply)).await?;
        let export = answer.await.map_err(|_| stopping())?;
        let export = export.ok_or_else(|| {
            Problem::new(Kind::Busy, "this node is not admitted to its zone yet, so it has nothing to prove")
                .hint("aop status")
        })?;
        Ok(Exporting { export, _place: place })
    }

    /// Room for a bundle that comes.
    ///
    /// # Errors
    /// `Busy` while another one comes, `StoreFailed` without room.
    pub async fn receive(&self) -> Result<Receiving, Problem> {
        let alone = Arc::clone(&self.inner.transfers.importing).try_lock_owned();
        let alone = alone.map_err(|_| Problem::new(Kind::Busy, "another bundle is being taken").hint("aop import"))?;
        let dir = self.inner.about.data_dir.clone().unwrap_or_else(std::env::temp_dir);
        let file = nameless(dir).await.map_err(|error| no_room(&error))?;
        let look = Look::new(Some(self.view().node));
        Ok(Receiving { file, reader: Reader::default(), look, bytes: 0, _alone: alone })
    }

    /// Takes a bundle that has come, or only says what would come of it. What was begun goes on when the caller goes away.
    ///
    /// # Errors
    /// `BundleDamaged` when it was not whole, `BundleUnfit` when it is of another zone or key; nothing was taken then. `StoreFailed`
    /// when it could not be kept, or not be written down.
    pub async fn import(&self, received: Receiving, trial: bool, by: &Principal) -> Result<Taken, Problem> {
        received.reader.end().map_err(damaged)?;
        self.may_begin()?;
        let handle = self.clone();
        let entry = Entry::by(by, Event::Imported).zone(&self.view().zone);
        super::servers::to_its_end(async move {
            let taken = handle.import_to_its_end(received, trial).await;
            if trial {
                return taken;
            }
            let told = |taken: &Taken| {
                let Imported { records, taken, known, .. } = taken.sum;
                format!("{records} records: {taken} taken, {known} known already")
            };
            let entry = taken.as_ref().map_or(entry.clone(), |taken| entry.reason(&told(taken)));
            handle.audited(entry, taken).await
        })
        .await
    }

    async fn import_to_its_end(&self, received: Receiving, trial: bool) -> Result<Taken, Problem> {
        let Receiving { mut file, look, bytes, _alone, .. } = received;
        let opening = look.found().map_err(damaged)?;
        let (reply, answer) = oneshot::channel();
        self.tell(Transfer::Begin(Box::new(opening.clone()), trial, reply)).await?;
        answer.await.map_err(|_| stopping())?.map_err(|unfit| self.unfit(unfit))?;
        let replayed = self.replay(&mut file).await;
        let (reply, answer) = oneshot::channel();
        let (durable, kept) = oneshot::channel();
        self.tell(Transfer::End(reply, durable)).await?;
        let sum = answer.await.map_err(|_| stopping())?;
        kept.await.map_err(|_| stopping())?.map_err(|error| self.write_problem(error))?;
        replayed.map(|()| Taken { opening, bytes, sum })
    }

    /// Every frame of it to the driver, which has one of them at a time.
    async fn replay(&self, file: &mut File) -> Result<(), Problem> {
        file.seek(SeekFrom::Start(0)).await.map_err(|error| no_room(&error))?;
        let (mut reader, mut chunk) = (Reader::default(), vec![0; CHUNK_BYTES]);
        loop {
            let read = file.read(&mut chunk).await.map_err(|error| no_room(&error))?;
            if read == 0 {
                return reader.end().map_err(damaged);
            }
            let mut bytes = &chunk[..read];
            while let Some(message) = reader.take(&mut bytes).map_err(damaged)? {
                if matches!(message, Message::Revoked(_) | Message::Ranges(_) | Message::Fork(_)) {
                    let (reply, done) = oneshot::channel();
                    self.tell(Transfer::Frame(Box::new(message), reply)).await?;
                    done.await.map_err(|_| stopping())?;
                }
            }
        }
    }

    async fn tell(&self, transfer: Transfer) -> Result<(), Problem> {
        self.inner.jobs.send(Job::Transfer(transfer)).await.map_err(|_| busy())
    }

    fn unfit(&self, unfit: Unfit) -> Problem {
        let zone = &self.view().zone;
        let hint = match &unfit {
            Unfit::OtherZone { theirs, .. } => format!("aop-node --zone {theirs} --listen 127.0.0.1:0"),
            Unfit::OtherKey { .. } => "aop keys -o wide".to_owned(),
            Unfit::NotAdmitted { .. } => format!("aop-node --zone {zone} --join HOST:PORT"),
        };
        Problem::new(Kind::BundleUnfit, unfit.to_string()).hint(hint)
    }
}

impl Receiving {
    /// Takes the next bytes of it.
    ///
    /// # Errors
    /// `BundleDamaged` as soon as that is seen, `TooLarge`, `StoreFailed` without room.
    pub async fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.bytes += bytes.len() as u64;
        if self.bytes > BUNDLE_BYTES_MAX {
            return Err(Problem::new(Kind::TooLarge, format!("a bundle has at most {BUNDLE_BYTES_MAX} bytes")));
        }
        let mut rest = bytes;
        while let Some(message) = self.reader.take(&mut rest).map_err(damaged)? {
            self.look.at(message);
        }
        self.file.write_all(bytes).await.map_err(|error| no_room(&error))
    }
}

/// What a client says it has already, by the beginning of a bundle: its first two frames, or more.
///
/// # Errors
/// `BundleDamaged`.
pub fn read_opening(mut bytes: &[u8]) -> Result<Opening, Problem> {
    let (mut reader, mut look, mut frames) = (Reader::default(), Look::new(None), 0);
    while frames < 2 {
        let message = reader.take(&mut bytes).map_err(damaged)?.ok_or_else(|| damaged(Damaged::Cut))?;
        look.at(message);
        frames += 1;
    }
    look.found().map_err(damaged)
}

/// What is said of bytes that are no whole bundle.
pub fn damaged(error: Damaged) -> Problem {
    let message = format!("the bundle cannot be used: {error}; it has to be exported anew at a node of that zone");
    Problem::new(Kind::BundleDamaged, message)
}

/// A file that nobody else finds, and that is gone with its last handle, however that ends.
async fn nameless(dir: PathBuf) -> std::io::Result<File> {
    let random = seed().map_err(std::io::Error::other)?;
    let path = dir.join(format!("import-{}.tmp", hex(&random[..8])));
    let made = tokio::task::spawn_blocking(move || make_nameless(&path)).await;
    made.map_err(std::io::Error::other)?.map(File::from_std)
}

fn make_nameless(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

fn no_room(error: &std::io::Error) -> Problem {
    Problem::new(Kind::StoreFailed, format!("the bundle cannot be put aside: {error}")).hint("aop status")
}
