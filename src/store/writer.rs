//! The one thread that writes, and the queue before it.
//!
//! Group commit: the thread takes everything that waits, up to a bound, as one transaction with one fsync, and acknowledges all of
//! it. Under load the cost of an fsync is shared by whatever arrived during the previous one; nobody waits for a timer.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::backend::Backend;
use super::{Op, StoreError};

/// What one transaction takes at most.
const GROUP_BATCHES_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = 8 << 20;
/// What may wait: this many KiB, and as many batches as that allows at the least share one takes.
const QUEUE_KIB_MAX: usize = 64 << 10;
const QUEUE_BATCHES_MAX: usize = 8 << 10;
const BATCH_KIB_MIN: usize = QUEUE_KIB_MAX / QUEUE_BATCHES_MAX;

type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Changes that belong together, and who waits for them.
struct Batch {
    ops: Vec<Op>,
    bytes: usize,
    done: Done,
    /// Its share of the queue, given back when it is written.
    _share: OwnedSemaphorePermit,
}

/// The handle of the thread.
pub(super) struct Writer {
    /// Closed together with the store, so that nobody waits for room that never comes.
    room: Arc<Semaphore>,
    open: Mutex<Option<Open>>,
    failure: Arc<OnceLock<StoreError>>,
}

struct Open {
    /// Never cloned: the thread ends when this one is gone.
    batches: Sender<Batch>,
    thread: JoinHandle<()>,
    backend: Arc<dyn Backend>,
}

impl Writer {
    pub(super) fn start(backend: Arc<dyn Backend>) -> Self {
        let (batches, arriving) = channel();
        let failure = Arc::new(OnceLock::new());
        let (written_by, failed) = (backend.clone(), failure.clone());
        let thread = std::thread::spawn(move || run(&*written_by, &arriving, &failed));
        Self {
            room: Arc::new(Semaphore::new(QUEUE_KIB_MAX)),
            open: Mutex::new(Some(Open { batches, thread, backend })),
            failure,
        }
    }

    pub(super) fn backend(&self) -> Result<Arc<dyn Backend>, StoreError> {
        self.lock().as_ref().map(|open| open.backend.clone()).ok_or(StoreError::Closed)
    }

    pub(super) fn health(&self) -> Result<(), StoreError> {
        match self.failure.get() {
            Some(failure) => Err(failure.clone()),
            None if self.room.is_closed() => Err(StoreError::Closed),
            None => Ok(()),
        }
    }

    pub(super) async fn queue(
        &self,
        ops: Vec<Op>,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) -> Result<(), StoreError> {
        let (bytes, share) = weigh(&ops);
        let share = self.room.clone().acquire_many_owned(share).await.map_err(|_| StoreError::Closed)?;
        self.push(Batch { ops, bytes, done: Box::new(done), _share: share })
    }

    fn push(&self, batch: Batch) -> Result<(), StoreError> {
        let open = self.lock();
        let open = open.as_ref().ok_or(StoreError::Closed)?;
        open.batches.send(batch).map_err(|_| StoreError::Closed)
    }

    pub(super) fn close(&self) {
        self.room.close();
        let Some(open) = self.lock().take() else { return };
        drop(open.batches);
        if open.thread.join().is_err() {
            tracing::error!("the store's thread panicked; what was not acknowledged may be lost");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        // Nothing can panic while it is held.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// Its bytes, and its share of the queue in KiB: never none, and never more than there is.
fn weigh(ops: &[Op]) -> (usize, u32) {
    let bytes = ops.iter().map(Op::bytes).sum::<usize>();
    let kib = bytes.div_ceil(1024).clamp(BATCH_KIB_MIN, QUEUE_KIB_MAX);
    (bytes, u32::try_from(kib).unwrap_or(u32::MAX))
}

fn run(backend: &dyn Backend, arriving: &Receiver<Batch>, failure: &OnceLock<StoreError>) {
    while let Ok(first) = arriving.recv() {
        let mut group = take_group(first, arriving);
        let ops: Vec<Op> = group.iter_mut().flat_map(|batch| std::mem::take(&mut batch.ops)).collect();
        let written = match failure.get() {
            Some(failure) => Err(failure.clone()),
            None => backend.apply(&ops),
        };
        if let Err(error) = &written {
            // A disk that failed once is not asked again: what a second fsync says about the first one's pages is a lie.
            if failure.set(error.clone()).is_ok() {
                tracing::error!(%error, "nothing more is acknowledged");
            }
        }
        for batch in group {
            (batch.done)(written.clone());
        }
    }
}

fn take_group(first: Batch, arriving: &Receiver<Batch>) -> Vec<Batch> {
    let mut bytes = first.bytes;
    let mut group = vec![first];
    while group.len() < GROUP_BATCHES_MAX && bytes < GROUP_BYTES_MAX {
        let Ok(batch) = arriving.try_recv() else { break };
        bytes += batch.bytes;
        group.push(batch);
    }
    group
}
