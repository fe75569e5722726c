//! A disk that loses power: what was not synced may be lost, kept or torn, sector by sector and in any order.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::Store;
use super::super::disk::Disk;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// A small generator; a seed is a test case.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        // xorshift64*: enough to choose with, and the same everywhere.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Clones are handles of one disk.
#[derive(Debug, Clone)]
pub(super) struct FaultyDisk(Arc<Mutex<Platters>>);

#[derive(Debug)]
struct Platters {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What survives whatever happens.
    synced: Vec<u8>,
    /// Sectors written since, in their last form.
    unsynced: BTreeMap<u64, Vec<u8>>,
    /// How many more writes and syncs succeed.
    operations_left: u64,
}

impl FaultyDisk {
    /// A disk with that content which fails for good after so many writes and syncs.
    pub(super) fn new(content: Vec<u8>, operations: u64) -> Self {
        let unsynced = BTreeMap::new();
        Self(Arc::new(Mutex::new(Platters {
            seen: content.clone(),
            synced: content,
            unsynced,
            operations_left: operations,
        })))
    }

    /// What is found after the power came back.
    pub(super) fn after_power_loss(&self, chance: &mut Chance) -> Vec<u8> {
        let platters = self.lock();
        let mut found = platters.synced.clone();
        // The length is metadata: it was changed or not, as a whole.
        if chance.below(2) == 0 {
            found.resize(platters.seen.len(), 0);
        }
        for (sector, bytes) in &platters.unsynced {
            let at = usize::try_from(sector * SECTOR_BYTES).unwrap();
            if chance.below(2) == 0 && at + bytes.len() <= found.len() {
                found[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, Platters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platters {
    fn work(&mut self) -> io::Result<()> {
        self.operations_left = self.operations_left.checked_sub(1).ok_or_else(|| io::Error::other("power is lost"))?;
        Ok(())
    }
}

impl redb::StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platters = self.lock();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let found = platters.seen.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platters = self.lock();
        platters.work()?;
        platters.seen.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        platters.unsynced.retain(|sector, _| (sector + 1) * SECTOR_BYTES <= len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platters = self.lock();
        platters.work()?;
        platters.synced = platters.seen.clone();
        platters.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platters = self.lock();
        let begin = usize::try_from(offset).map_err(io::Error::other)?;
        let end = begin + data.len();
        if end > platters.seen.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        platters.work()?;
        platters.seen[begin..end].copy_from_slice(data);
        for sector in offset / SECTOR_BYTES..(end as u64).div_ceil(SECTOR_BYTES) {
            let from = usize::try_from(sector * SECTOR_BYTES).map_err(io::Error::other)?;
            let to = (from + SECTOR_BYTES as usize).min(platters.seen.len());
            let bytes = platters.seen[from..to].to_vec();
            platters.unsynced.insert(sector, bytes);
        }
        Ok(())
    }
}

/// A machine whose power fails, for what other rooms keep in their store.
pub(crate) struct Machine {
    chance: Chance,
    content: Vec<u8>,
}

impl Machine {
    /// One with an empty store, made in peace.
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let made = FaultyDisk::new(Vec::new(), u64::MAX);
        drop(Disk::on(made.clone()).unwrap());
        Self { content: made.after_power_loss(&mut chance), chance }
    }

    /// Any number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    /// Runs `work` on the store as it is found, until the power fails after so many writes and syncs. Nothing where it fails while the
    /// store is opened.
    pub(crate) async fn run<T>(&mut self, operations: u64, work: impl AsyncFnOnce(Store) -> T) -> Option<T> {
        let disk = FaultyDisk::new(self.content.clone(), operations);
        let done = match Disk::on(disk.clone()) {
            Ok(opened) => {
                let store = Store::over(Arc::new(opened));
                let done = work(store.clone()).await;
                store.close();
                Some(done)
            }
            Err(_) => None,
        };
        self.content = disk.after_power_loss(&mut self.chance);
        done
    }
}
