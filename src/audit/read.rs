//! Questions to the audit: the newest entries that fit, within bounds of number and bytes; and the walk over all of them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use aop_proto::access::Glob;

use super::Event;
use super::backwards::Backwards;
use super::chain::{Head, LINE_BYTES_MAX, Seen, Verified, Walk};
use super::files::{FILE, Shelf};
use crate::clock::rfc3339_ms;

/// Entries of one answer at most.
pub const ENTRIES_MAX: usize = 10_000;
/// Bytes of one answer.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Bytes looked at for one answer: a second or two.
const SCAN_BYTES_MAX: usize = 256 << 20;
/// Wall clocks may have been set back by that much: a line that is older by more ends the search for younger ones.
const CLOCK_SLACK_MS: u64 = 3_600_000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// The newest so many, at most [`ENTRIES_MAX`].
    pub limit: usize,
    /// Only these kinds; all when empty.
    pub events: Vec<Event>,
    /// Only by principals of such names. What the node did by itself has an empty one.
    pub principal: Option<Glob>,
    /// Only from this time on, milliseconds since 1970.
    pub since_ms: u64,
    /// Only numbers above this.
    pub after: u64,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The lines as they stand in the file, the oldest first.
    pub lines: Vec<String>,
    /// The search ended before it had everything that was asked for: there was too much to look at, or to send.
    pub partial: bool,
}

/// The newest lines on the disk that fit. Blocks.
pub(super) fn newest(shelf: &Shelf, query: &Query) -> io::Result<Page> {
    let files = shelf.open_all()?.into_iter().map(|(_, file)| file).collect();
    select(Backwards::new(files), query)
}

/// The lines that fit, out of all of them from the newest backwards.
pub(super) fn select(newest_first: impl Iterator<Item = io::Result<Vec<u8>>>, query: &Query) -> io::Result<Page> {
    let (since, too_old) = (rfc3339_ms(query.since_ms), rfc3339_ms(query.since_ms.saturating_sub(CLOCK_SLACK_MS)));
    let fits = |seen: &Seen<'_>| {
        seen.seq > query.after
            && *seen.at >= *since
            && (query.events.is_empty() || query.events.iter().any(|event| event.name() == seen.event))
            && query.principal.as_ref().is_none_or(|glob| glob.matches(seen.principal.as_deref().unwrap_or_default()))
    };
    let (mut page, mut scanned, mut taken) = (Page::default(), 0, 0);
    for line in newest_first {
        let line = line?;
        scanned += line.len();
        if page.lines.len() >= query.limit.min(ENTRIES_MAX) {
            break;
        }
        if scanned > SCAN_BYTES_MAX || taken + line.len() > ANSWER_BYTES_MAX {
            page.partial = true;
            break;
        }
        // What is damaged is the business of a verification.
        let Ok(seen) = Seen::read(&line) else { continue };
        if seen.seq <= query.after || *seen.at < *too_old {
            break;
        }
        if fits(&seen)
            && let Ok(text) = std::str::from_utf8(&line)
        {
            taken += line.len();
            page.lines.push(text.to_owned());
        }
    }
    page.lines.reverse();
    Ok(page)
}

/// Walks over every line on the disk. Blocks, for seconds where there is much.
pub(super) fn verify(shelf: &Shelf, end: Head) -> io::Result<Verified> {
    let files = shelf.open_all()?;
    // What is put away meanwhile makes it later, never earlier.
    let mut walk = Walk::to(end).from(shelf.oldest());
    for (name, file) in files {
        walk.file();
        if !walk_file(&mut walk, &name, file)? {
            break;
        }
    }
    Ok(walk.end(FILE))
}

fn walk_file(walk: &mut Walk, name: &str, file: File) -> io::Result<bool> {
    let bytes = file.metadata()?.len();
    let mut reader = BufReader::new(file.take(bytes));
    let mut line = Vec::with_capacity(LINE_BYTES_MAX);
    loop {
        line.clear();
        reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\n") {
            Some(line) if walk.line(name, line) => {}
            Some(_) => return Ok(false),
            // What is being written is no line yet; what is too long for one never was.
            None if line.len() <= LINE_BYTES_MAX => return Ok(true),
            None => return Ok(walk.line(name, &line)),
        }
    }
}
