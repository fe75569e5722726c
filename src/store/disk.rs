//! The store's file: redb with two-phase commit, and on top of it our own hash of every value.
//!
//! redb checks its pages only when asked, and may fall back to an older commit where its header is damaged; so neither a wrong
//! value nor a shorter table can be left to it. On disk, in the data directory:
//!
//! ```text
//! lock         who has the directory open: a process id, under an exclusive lock
//! store.redb   tables meta, records, servers, pins, calls: key → | hash, 8 bytes | value |
//!              table  state: "format", "commits", and for each table how many rows, and all their hashes xored
//! store.head   | number of the last commit, u64 LE | its hash, 8 bytes |   not synced: may be older than the file, never newer
//! ```
//!
//! The hash is the first 8 bytes of SHA-256 over table, key and value, so that a value cannot come back under another key. It
//! guards against rot, not against an enemy who can write the file: records carry signatures for that.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::backend::{Backend, Rows};
use super::{Op, StoreError, Table};

/// What this build writes and reads. A file of another format is refused, never guessed at.
const FORMAT: u64 = 3;
/// The format before: without the table of calls. Read as one in which it is empty.
const FORMAT_BEFORE: u64 = 2;
/// Pages kept in memory; the tables are read once at start, so little is gained by more.
const CACHE_BYTES: usize = 4 << 20;
const FILE: &str = "store.redb";
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");

type Hash = [u8; 8];

/// The open file, and the directory's lock with it.
pub(super) struct Disk {
    database: Database,
    /// As of the last commit.
    state: Mutex<State>,
    head: Option<File>,
    _lock: Option<File>,
}

/// What the file must contain, kept inside it and changed in the same transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    commits: u64,
    tables: [Tally; Table::ALL.len()],
}

/// The rows of one table: any lost, added or changed row shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    rows: u64,
    hashes: u64,
}

impl Disk {
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|e| StoreError::unusable(directory, e))?;
        let lock = lock(directory)?;
        make_file(directory)?;
        let file = open_file(&directory.join(FILE), &mut OpenOptions::new())?;
        let head = open_file(&directory.join("store.head"), OpenOptions::new().create(true).truncate(false))?;
        let opened = caught(FILE, || Builder::new().set_cache_size(CACHE_BYTES).create_file(file));
        let database = opened?.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => in_use(directory),
            other => StoreError::damaged(FILE, other),
        })?;
        Self::over(database, Some(head), Some(lock))
    }

    /// Checks an opened database and reads what it must contain.
    fn over(mut database: Database, head: Option<File>, lock: Option<File>) -> Result<Self, StoreError> {
        // `Ok(false)` is a file that was put in order after a crash: whether anything is missing is told by its state.
        caught(FILE, || database.check_integrity())?.map_err(|e| StoreError::damaged(FILE, e))?;
        let state = caught("table state", || read_state(&database))??;
        let promised = head.as_ref().and_then(read_head).unwrap_or(0);
        if state.commits < promised {
            let reason = format!("it ends with commit {}, and commit {promised} was acknowledged", state.commits);
            return Err(StoreError::damaged(FILE, reason));
        }
        Ok(Self { database, state: Mutex::new(state), head, _lock: lock })
    }

    #[cfg(test)]
    pub(super) fn on(storage: impl redb::StorageBackend) -> Result<Self, StoreError> {
        let opened = caught("storage", || Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(storage));
        Self::over(opened?.map_err(|e| StoreError::damaged("storage", e))?, None, None)
    }

    fn commit(&self, ops: &[Op]) -> Result<State, redb::Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut transaction = self.database.begin_write()?;
        transaction.set_two_phase_commit(true);
        transaction.set_quick_repair(true);
        for table in Table::ALL {
            let mut rows = transaction.open_table(definition(table))?;
            let tally = &mut state.tables[table as usize];
            for op in ops {
                match op {
                    Op::Put { table: in_table, key, value } if *in_table == table => {
                        let hash = hash(table.name(), key, value);
                        let stored = [&hash[..], value.as_ref()].concat();
                        tally.leave(rows.insert(key.as_slice(), stored.as_slice())?.map(|old| split(old.value()).0));
                        tally.enter(hash);
                    }
                    Op::Delete { table: in_table, key } if *in_table == table => {
                        tally.leave(rows.remove(key.as_slice())?.map(|old| split(old.value()).0));
                    }
                    _ => {}
                }
            }
        }
        state.commits += 1;
        write_state(&transaction, &state)?;
        transaction.commit()?;
        Ok(state)
    }
}

impl Backend for Disk {
    fn load(&self, table: Table) -> Result<Rows, StoreError> {
        let place = format!("table {}", table.name());
        let (rows, found, written) = caught(&place, || {
            let snapshot = self.database.begin_read().map_err(|e| unreadable(table, e))?;
            let (rows, found) = read_rows(&snapshot, table)?;
            // From the same snapshot as the rows: the writer may be ahead of it.
            let state = snapshot.open_table(STATE).map_err(|e| unreadable(table, e))?;
            Ok::<_, StoreError>((rows, found, read_tally(&state, table)?))
        })??;
        if found != written {
            let reason = format!("it has {} rows, and {} were written", found.rows, written.rows);
            return Err(StoreError::damaged(place, reason));
        }
        Ok(rows)
    }

    fn apply(&self, ops: &[Op]) -> Result<(), StoreError> {
        let committed = caught(FILE, || self.commit(ops))?;
        let state = committed.map_err(StoreError::failed)?;
        if let Some(head) = &self.head {
            // Not synced: it must only never be ahead of the file, and it is written after the file is durable.
            head.write_all_at(&head_bytes(state.commits), 0).map_err(StoreError::failed)?;
        }
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }
}

impl Tally {
    fn enter(&mut self, hash: Hash) {
        self.rows += 1;
        self.hashes ^= u64::from_le_bytes(hash);
    }

    fn leave(&mut self, hash: Option<Hash>) {
        if let Some(hash) = hash {
            // A table that lost rows to damage must not bring down the writer too: its next `load` names it.
            self.rows = self.rows.saturating_sub(1);
            self.hashes ^= u64::from_le_bytes(hash);
        }
    }
}

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// Each part is preceded by its length, so that no two different rows hash the same bytes.
pub(super) fn hash(table: &str, key: &[u8], value: &[u8]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [table.as_bytes(), key, value] {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut hash = Hash::default();
    hash.copy_from_slice(&context.finish().as_ref()[..8]);
    hash
}

/// A stored value as its hash and itself. What is too short to have a hash gets one that does not fit.
fn split(stored: &[u8]) -> (Hash, &[u8]) {
    stored.split_first_chunk().map_or((Hash::default(), stored), |(hash, value)| (*hash, value))
}

fn checked<'a>(table: &str, key: &[u8], stored: &'a [u8]) -> Result<(Hash, &'a [u8]), StoreError> {
    let (stored_hash, value) = split(stored);
    if stored.len() < stored_hash.len() || stored_hash != hash(table, key, value) {
        let place = format!("table {table}, key {}", key.escape_ascii());
        return Err(StoreError::damaged(place, "its value is not what was written"));
    }
    Ok((stored_hash, value))
}

fn unreadable(table: Table, error: impl std::fmt::Display) -> StoreError {
    StoreError::damaged(format!("table {}", table.name()), error)
}

/// The rows of a table, and what they add up to.
fn read_rows(snapshot: &redb::ReadTransaction, table: Table) -> Result<(Rows, Tally), StoreError> {
    let (mut rows, mut tally) = (Rows::new(), Tally::default());
    let stored = match snapshot.open_table(definition(table)) {
        Err(TableError::TableDoesNotExist(_)) => return Ok((rows, tally)),
        opened => opened.map_err(|e| unreadable(table, e))?,
    };
    for row in stored.iter().map_err(|e| unreadable(table, e))? {
        let (key, value) = row.map_err(|e| unreadable(table, e))?;
        let (hash, value) = checked(table.name(), key.value(), value.value())?;
        tally.enter(hash);
        rows.push((key.value().to_vec(), value.to_vec()));
    }
    Ok((rows, tally))
}

const NO_STATE: &str = "the count of what was written is missing";

/// What the file says it contains; a file just made contains nothing.
fn read_state(database: &Database) -> Result<State, StoreError> {
    let damaged = |e: &dyn std::fmt::Display| StoreError::damaged("table state", e);
    let snapshot = database.begin_read().map_err(|e| damaged(&e))?;
    let rows = match snapshot.open_table(STATE) {
        Err(TableError::TableDoesNotExist(_)) => {
            let tables = snapshot.list_tables().map_err(|e| damaged(&e))?.count();
            if tables > 0 {
                return Err(damaged(&NO_STATE));
            }
            drop(snapshot);
            return keep_state(database, State::default());
        }
        opened => opened.map_err(|e| damaged(&e))?,
    };
    let format = read_numbers::<1>(&rows, "format")?[0];
    if ![FORMAT_BEFORE, FORMAT].contains(&format) {
        return Err(StoreError::OtherFormat { file: FILE, found: format, reads: FORMAT });
    }
    let mut state = State { commits: read_numbers::<1>(&rows, "commits")?[0], ..State::default() };
    let known = |table: &Table| format == FORMAT || *table != Table::Calls;
    for table in Table::ALL.into_iter().filter(known) {
        state.tables[table as usize] = read_tally(&rows, table)?;
    }
    if format == FORMAT {
        return Ok(state);
    }
    drop((rows, snapshot));
    keep_state(database, state)
}

/// Writes what a file contains that was just made, or comes from the format before.
fn keep_state(database: &Database, state: State) -> Result<State, StoreError> {
    let make = || -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_two_phase_commit(true);
        transaction.set_quick_repair(true);
        write_state(&transaction, &state)?;
        Ok(transaction.commit()?)
    };
    make().map_err(StoreError::failed)?;
    Ok(state)
}

fn read_tally(rows: &impl ReadableTable<&'static str, &'static [u8]>, table: Table) -> Result<Tally, StoreError> {
    let [rows, hashes] = read_numbers(rows, table.name())?;
    Ok(Tally { rows, hashes })
}

fn read_numbers<const N: usize>(
    rows: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<[u64; N], StoreError> {
    let damaged = |reason: &dyn std::fmt::Display| StoreError::damaged(format!("table state, key {key}"), reason);
    let stored = rows.get(key).map_err(|e| damaged(&e))?.ok_or_else(|| damaged(&NO_STATE))?;
    let (_, value) = checked(STATE_NAME, key.as_bytes(), stored.value())?;
    let (chunks, rest) = value.as_chunks::<8>();
    let numbers: Vec<u64> = chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect();
    match numbers.try_into() {
        Ok(numbers) if rest.is_empty() => Ok(numbers),
        _ => Err(damaged(&"it has another length than was written")),
    }
}

const STATE_NAME: &str = "state";

fn write_state(transaction: &redb::WriteTransaction, state: &State) -> Result<(), redb::Error> {
    let mut rows = transaction.open_table(STATE)?;
    let mut put = |key: &str, numbers: &[u64]| -> Result<(), redb::Error> {
        let value: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let stored = [&hash(STATE_NAME, key.as_bytes(), &value)[..], &value].concat();
        rows.insert(key, stored.as_slice())?;
        Ok(())
    };
    put("format", &[FORMAT])?;
    put("commits", &[state.commits])?;
    for table in Table::ALL {
        let tally = state.tables[table as usize];
        put(table.name(), &[tally.rows, tally.hashes])?;
    }
    Ok(())
}

fn head_bytes(commits: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&commits.to_le_bytes());
    bytes[8..].copy_from_slice(&hash("head", b"", &commits.to_le_bytes()));
    bytes
}

/// The last commit that was acknowledged, as far as is known: after a power failure the file may be old, or not there at all.
fn read_head(head: &File) -> Option<u64> {
    let mut bytes = [0; 16];
    head.read_exact_at(&mut bytes, 0).ok()?;
    let (number, _) = bytes.split_first_chunk()?;
    let commits = u64::from_le_bytes(*number);
    (bytes == head_bytes(commits)).then_some(commits)
}

/// Makes the file where there is none: aside, whole and synced, before it gets its name. A crash while redb lays out a new file
/// leaves one that nothing can open, and that must not be taken for a store that was damaged.
fn make_file(directory: &Path) -> Result<(), StoreError> {
    let (path, draft) = (directory.join(FILE), directory.join("store.redb.new"));
    let unusable = |error| StoreError::unusable(&path, error);
    if path.try_exists().map_err(unusable)? {
        return Ok(());
    }
    let file = open_file(&draft, OpenOptions::new().create(true).truncate(true))?;
    let database = Builder::new().create_file(file).map_err(|e| StoreError::unusable(&draft, e))?;
    read_state(&database)?;
    drop(database);
    fs::rename(&draft, &path).and_then(|()| File::open(directory)?.sync_all()).map_err(unusable)
}

fn open_file(path: &Path, options: &mut OpenOptions) -> Result<File, StoreError> {
    options.read(true).write(true).mode(0o600).open(path).map_err(|e| StoreError::unusable(path, e))
}

fn in_use(directory: &Path) -> StoreError {
    let mut holder = String::new();
    // Who it is only helps; that it is in use is known already.
    let _ = File::open(directory.join("lock")).and_then(|file| file.take(32).read_to_string(&mut holder));
    let by = match holder.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".to_owned(),
    };
    StoreError::InUse { path: directory.to_owned(), by }
}

/// Takes the directory for this process; it is let go when the file is closed, however the process ends.
fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let unusable = |error| StoreError::unusable(&path, error);
    let mut file = open_file(&path, OpenOptions::new().create(true).truncate(false))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(directory)),
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(unusable)?;
    Ok(file)
}

/// redb has asserts that a damaged page can trip. A panic there is damage like any other, and no reason to die without a name.
fn caught<T>(place: &str, work: impl FnOnce() -> T) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        StoreError::damaged(place, format!("its pages contradict each other ({said})"))
    })
}
