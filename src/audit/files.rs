//! `audit.jsonl` and the full files behind it: opened, appended to, put aside when full.
//!
//! What must always hold: a file consists of whole lines, whatever happened to the process or the disk while one was written; and a
//! rotation that fails half-way is made good by the next, without another file lost.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Settings;
use super::backwards::Backwards;
use super::chain::{Head, LINE_BYTES_MAX, Seen};

/// The file that is written; full ones have a number behind it, 1 the youngest.
pub(super) const FILE: &str = "audit.jsonl";

/// The files of one data directory, as their writer has them.
pub(super) struct Files {
    shelf: Shelf,
    settings: Settings,
    current: File,
    /// Bytes of whole lines in it.
    bytes: u64,
    /// A write failed and left something behind them.
    torn: bool,
}

/// The same files as readers find them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Shelf {
    dir: Arc<Path>,
    /// Held while files get other names.
    renaming: Arc<Mutex<()>>,
    /// Number of the oldest line there is, as this run knows it; 0 where it cannot be told.
    oldest: Arc<AtomicU64>,
}

impl Files {
    /// Opens them, makes what is missing, and cuts off what is left of a line.
    pub(super) fn open(dir: &Path, settings: Settings) -> io::Result<(Self, Head)> {
        let shelf = Shelf { dir: dir.into(), renaming: Arc::default(), oldest: Arc::default() };
        let current = create(dir)?;
        let (bytes, found) = (whole_bytes(&current)?, current.metadata()?.len());
        if bytes < found {
            current.set_len(bytes)?;
            current.sync_data()?;
            tracing::warn!(bytes = found - bytes, "the last line of the audit was not finished; it is cut off");
        }
        let head = Head::of(Backwards::new(shelf.open_all()?.into_iter().map(|(_, file)| file).collect()))?;
        shelf.note_oldest(head.seq + 1)?;
        Ok((Self { shelf, settings, current, bytes, torn: false }, head))
    }

    pub(super) fn shelf(&self) -> Shelf {
        self.shelf.clone()
    }

    /// Appends as many of these whole lines as fit the file, in a new one where not even the first fits. Gives their bytes; nothing
    /// was appended when it fails.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.torn {
            self.current.set_len(self.bytes)?;
            self.torn = false;
        }
        let mut fit = self.fit(lines);
        if fit == 0 {
            self.rotate()?;
            fit = self.fit(lines);
        }
        self.torn = true;
        self.current.write_all(&lines[..fit])?;
        self.torn = false;
        self.bytes += fit as u64;
        Ok(fit)
    }

    /// Bytes of the first lines that the file has room for.
    fn fit(&self, lines: &[u8]) -> usize {
        let room = self.settings.file_bytes_max.saturating_sub(self.bytes);
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
        lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
    }

    /// Returns when everything that was appended is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.current.sync_data()
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        let alone = self.shelf.rename_alone();
        let dir = &*self.shelf.dir;
        // One that was put aside already is not put aside twice.
        if dir.join(FILE).try_exists()? {
            make_room(dir, self.settings.keep)?;
        }
        (self.current, self.bytes) = (create(dir)?, 0);
        drop(alone);
        self.shelf.note_oldest(0)
    }
}

impl Shelf {
    /// All files, the oldest first, with their names.
    pub(super) fn open_all(&self) -> io::Result<Vec<(String, File)>> {
        let _alone = self.rename_alone();
        let mut files = Vec::new();
        for number in numbers(&self.dir)?.into_iter().rev() {
            let name = name_of(number);
            let file = File::open(self.dir.join(&name))?;
            files.push((name, file));
        }
        Ok(files)
    }

    /// The number of the oldest line that this run has not put away, if it can be told.
    pub(super) fn oldest(&self) -> Option<u64> {
        Some(self.oldest.load(Ordering::Relaxed)).filter(|number| *number > 0)
    }

    /// Looks which line is the oldest; where there is none yet the next one is.
    fn note_oldest(&self, next: u64) -> io::Result<()> {
        let mut oldest = next;
        for (_, file) in self.open_all()? {
            let mut line = Vec::new();
            BufReader::new(file.take(LINE_BYTES_MAX as u64)).read_until(b'\n', &mut line)?;
            if let Some(line) = line.strip_suffix(b"\n") {
                oldest = Seen::read(line).map_or(0, |seen| seen.seq);
                break;
            }
        }
        self.oldest.store(oldest, Ordering::Relaxed);
        Ok(())
    }

    fn rename_alone(&self) -> std::sync::MutexGuard<'_, ()> {
        self.renaming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves every file one number up, as far as there is a gap; where there is none the oldest ends.
fn make_room(dir: &Path, keep: u64) -> io::Result<()> {
    let taken = numbers(dir)?;
    let free = (1..keep).find(|number| !taken.contains(number)).unwrap_or(keep);
    for number in taken.into_iter().filter(|number| *number > keep || *number == keep && free == keep) {
        fs::remove_file(dir.join(name_of(number)))?;
    }
    for number in (0..free).rev() {
        fs::rename(dir.join(name_of(number)), dir.join(name_of(number + 1)))?;
    }
    Ok(())
}

/// Numbers of the files there are; 0 is the one that is written.
fn numbers(dir: &Path) -> io::Result<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(ending) = name.to_str().and_then(|name| name.strip_prefix(FILE)) else { continue };
        let number = if ending.is_empty() { Some(0) } else { ending.strip_prefix('.').and_then(|n| n.parse().ok()) };
        // A name that only reads as one, such as `.01`, is somebody else's.
        let number = number.filter(|number| name.to_str() == Some(&name_of(*number)));
        if let Some(number) = number
            && entry.file_type()?.is_file()
        {
            numbers.insert(number);
        }
    }
    Ok(numbers)
}

fn name_of(number: u64) -> String {
    if number == 0 { FILE.to_owned() } else { format!("{FILE}.{number}") }
}

/// Opens the file that is written, making it if needed; its name is on the disk then.
fn create(dir: &Path) -> io::Result<File> {
    let path: PathBuf = dir.join(FILE);
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// Bytes up to and with the last line end.
fn whole_bytes(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; LINE_BYTES_MAX];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = &mut block[..usize::try_from(end - start).unwrap_or_default()];
        file.read_exact_at(block, start)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
