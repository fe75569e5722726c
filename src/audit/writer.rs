//! The one thread that writes the files, and the queue before it.
//!
//! A durable entry is written and synced at once, with all that waits; others wait for company, a quarter of a second at most. While
//! writes fail, what waits is kept up to a bound and tried again; what is beyond it leaves a gap in the numbers. After a failed sync
//! nothing is acknowledged any more: nobody can know what reached the disk.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::chain::{Head, Verified};
use super::entry::Entry;
use super::files::{Files, Shelf};
use super::read::{self, Page, Query};
use super::{AuditError, unread};

/// Entries that wait, and calls under way that will be entries.
const QUEUE_MAX: usize = 16 << 10;
/// So many do not wait for more.
const BATCH: usize = 1024;
/// So long an entry waits for others, and so long after it failed a write is tried again.
const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// So long after it was written an entry is on the disk.
const SYNC_EVERY: Duration = Duration::from_millis(500);
/// Bytes of lines that wait to be written.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// The handle of the thread.
pub(super) struct Writer {
    queue: Arc<Queue>,
    room: Arc<Semaphore>,
    health: Arc<Health>,
    shelf: Shelf,
    /// One reader at a time: each takes a thread and some memory.
    reading: tokio::sync::Mutex<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

type Done = oneshot::Sender<Result<Head, AuditError>>;

struct Job {
    /// With its time; nothing for whoever only waits until all before is written.
    entry: Option<(u64, Entry)>,
    done: Option<Done>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Writer {
    pub(super) fn start(files: Files, head: Head) -> Self {
        let (queue, health) = (Arc::<Queue>::default(), Arc::<Health>::default());
        let shelf = files.shelf();
        let log = Log { files, head, pending: Vec::new(), unsynced: None, health: health.clone() };
        let jobs = queue.clone();
        let thread = std::thread::spawn(move || log.run(&jobs));
        let room = Arc::new(Semaphore::new(QUEUE_MAX));
        Self { queue, room, health, shelf, reading: Default::default(), thread: Mutex::new(Some(thread)) }
    }

    /// Room for one entry; nothing when the audit is closed.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().acquire_owned().await.ok()
    }

    pub(super) fn queue(&self, at_ms: u64, entry: Entry, room: Option<OwnedSemaphorePermit>) {
        let job = Job { entry: Some((at_ms, entry)), done: None, _room: room };
        if self.queue.push(job).is_err() {
            self.health.lost(1);
        }
    }

    /// Waits until an entry, and all before it, is on the disk; gives the end of the chain then.
    pub(super) async fn durable(&self, entry: Option<(u64, Entry)>) -> Result<Head, AuditError> {
        let room = self.room().await;
        let (done, written) = oneshot::channel();
        self.queue.push(Job { entry, done: Some(done), _room: room })?;
        written.await.unwrap_or(Err(AuditError::Closed))
    }

    pub(super) fn health(&self) -> Result<(), AuditError> {
        self.health.get()
    }

    pub(super) fn errors(&self) -> u64 {
        self.health.errors.load(Ordering::Relaxed)
    }

    pub(super) async fn read(&self, query: Query) -> Result<Page, AuditError> {
        let _alone = self.reading.lock().await;
        match self.durable(None).await {
            Ok(_) | Err(AuditError::Failed { .. }) => {}
            Err(error) => return Err(error),
        }
        self.blocking(move |shelf| read::newest(&shelf, &query)).await
    }

    pub(super) async fn verify(&self) -> Result<Verified, AuditError> {
        let _alone = self.reading.lock().await;
        let end = self.durable(None).await?;
        self.blocking(move |shelf| read::verify(&shelf, end)).await
    }

    /// Works on the files where waiting for the disk holds up nobody.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Shelf) -> io::Result<T> + Send + 'static,
    ) -> Result<T, AuditError> {
        let shelf = self.shelf.clone();
        match tokio::task::spawn_blocking(move || work(shelf)).await {
            Ok(done) => done.map_err(unread),
            Err(error) => Err(AuditError::Unread { reason: error.to_string() }),
        }
    }

    pub(super) fn close(&self) {
        self.room.close();
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the audit's thread panicked; what was not acknowledged may be lost");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// What waits for the thread. A queue of its own because most entries need not wake it.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// Somebody waits, or there are many.
    urgent: bool,
    closed: bool,
}

impl Queue {
    fn push(&self, job: Job) -> Result<(), AuditError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(AuditError::Closed);
        }
        waiting.urgent |= job.done.is_some() || waiting.jobs.len() + 1 >= BATCH;
        waiting.jobs.push(job);
        if waiting.urgent || waiting.jobs.len() == 1 {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// What waits, once it has waited long enough; with something left to do maybe nothing. `None` after the end.
    fn next(&self, left_to_do: bool) -> Option<Vec<Job>> {
        let mut waiting = self.lock();
        if !left_to_do {
            let idle = |waiting: &mut Waiting| waiting.jobs.is_empty() && !waiting.closed;
            waiting = self.wake.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
        }
        let may_wait = |waiting: &mut Waiting| !waiting.urgent && !waiting.closed;
        let waited = self.wake.wait_timeout_while(waiting, FLUSH_EVERY, may_wait);
        (waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if waiting.closed && waiting.jobs.is_empty() {
            return None;
        }
        waiting.urgent = false;
        Some(mem::take(&mut waiting.jobs))
    }

    fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing can panic while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What everybody may know of the thread's luck.
#[derive(Default)]
struct Health {
    failure: Mutex<Option<Failure>>,
    errors: AtomicU64,
}

struct Failure {
    error: AuditError,
    /// Events that could not be kept meanwhile.
    lost: u64,
    /// It does not pass.
    is_final: bool,
}

impl Health {
    fn get(&self) -> Result<(), AuditError> {
        self.lock().as_ref().map_or(Ok(()), |failure| Err(failure.error.clone()))
    }

    fn failed(&self, error: &io::Error, is_final: bool) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut failure = self.lock();
        if failure.as_ref().is_some_and(|failure| failure.is_final || !is_final) {
            return;
        }
        tracing::error!(%error, "the audit cannot be written; what is administrative is refused until it can");
        let reason = if is_final { format!("{error}; check the disk and restart the node") } else { error.to_string() };
        *failure = Some(Failure { error: AuditError::Failed { reason }, lost: 0, is_final });
    }

    fn lost(&self, events: u64) {
        self.errors.fetch_add(events, Ordering::Relaxed);
        if let Some(failure) = &mut *self.lock() {
            failure.lost += events;
        }
    }

    fn written(&self) {
        if let Some(Failure { lost, .. }) = self.lock().take_if(|failure| !failure.is_final) {
            tracing::warn!(lost, "the audit is written again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread owns.
struct Log {
    files: Files,
    head: Head,
    /// Lines that have their numbers and are not written yet.
    pending: Vec<u8>,
    /// Since when something is written and not synced.
    unsynced: Option<Instant>,
    health: Arc<Health>,
}

impl Log {
    fn run(mut self, queue: &Queue) {
        while let Some(jobs) = queue.next(self.unsynced.is_some() || !self.pending.is_empty()) {
            // What failed before is tried first: it may make room for what comes.
            let _ = self.append();
            let mut waiting = Vec::new();
            for job in jobs {
                let kept = job.entry.map_or(Ok(()), |(at_ms, entry)| self.add(at_ms, &entry));
                waiting.extend(job.done.map(|done| (done, kept)));
            }
            let written = self.write(!waiting.is_empty());
            for (done, kept) in waiting {
                // Whoever stopped waiting does not want to know.
                let _ = done.send(kept.and(written.clone()));
            }
        }
        if self.write(true).is_err() && !self.pending.is_empty() {
            tracing::error!(bytes = self.pending.len(), "the audit's last lines could not be written");
        }
    }

    fn add(&mut self, at_ms: u64, entry: &Entry) -> Result<(), AuditError> {
        if self.pending.len() >= PENDING_BYTES_MAX
            && let Err(error) = self.make_room()
        {
            self.head.skip();
            self.health.lost(1);
            return Err(error);
        }
        self.head.write(at_ms, entry, &mut self.pending);
        Ok(())
    }

    /// Writes what waits, unless that has just failed.
    fn make_room(&mut self) -> Result<(), AuditError> {
        self.health.get()?;
        self.append().or_else(|_| self.health.get())
    }

    fn write(&mut self, durably: bool) -> Result<Head, AuditError> {
        if self.append().is_ok() && self.unsynced.is_some_and(|since| durably || since.elapsed() >= SYNC_EVERY) {
            match self.files.sync() {
                Ok(()) => self.unsynced = None,
                Err(error) => {
                    // Asking again would be answered as if all were well.
                    self.unsynced = None;
                    self.health.failed(&error, true);
                }
            }
        }
        self.health.get().map(|()| self.head)
    }

    fn append(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.files.append(&self.pending) {
                Ok(bytes) => drop(self.pending.drain(..bytes)),
                Err(error) => {
                    self.health.failed(&error, false);
                    return Err(error);
                }
            }
            self.unsynced.get_or_insert_with(Instant::now);
            self.health.written();
        }
        Ok(())
    }
}
