//! How lines follow one another: number, hash of the line before, and what a reader makes of them.
//!
//! ```text
//!  {"seq":7,"prev":"9c1e…","at":"…","event":…}    prev: the first 16 hex digits of SHA-256 over line 6, without its line end
//! ```
//!
//! A line is ASCII only, whatever it tells of: nothing in it can move a cursor or turn the reading direction, even with `cat`.

use std::borrow::Cow;
use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, Serializer};
use sha2::{Digest, Sha256};

use super::entry::{Entry, TEXT_BYTES_MAX};
use crate::clock::rfc3339_ms;

/// No line is longer: seven texts, each byte escaped as six at worst, and what stands around them.
pub(super) const LINE_BYTES_MAX: usize = 7 * 6 * TEXT_BYTES_MAX + 1024;

/// The beginning of a line's SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LineHash([u8; 8]);

impl LineHash {
    pub(super) fn of(line: &[u8]) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest(line)[..8]);
        Self(first)
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The end of the chain. The first line has number 1 and follows zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    /// Number of the last event.
    pub(super) seq: u64,
    /// Hash of the last line.
    pub(super) hash: LineHash,
}

impl Head {
    /// Writes the next line, with its line end.
    pub(super) fn write(&mut self, at_ms: u64, entry: &Entry, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Line<'a> {
            seq: u64,
            prev: String,
            at: String,
            #[serde(flatten)]
            entry: &'a Entry,
        }
        let line = Line { seq: self.seq + 1, prev: self.hash.to_string(), at: rfc3339_ms(at_ms), entry };
        let start = out.len();
        let mut serializer = Serializer::with_formatter(&mut *out, Ascii);
        line.serialize(&mut serializer).expect("text and numbers, written to memory");
        self.seq += 1;
        self.hash = LineHash::of(&out[start..]);
        out.push(b'\n');
    }

    /// Leaves out a number, for an event that cannot be kept.
    pub(super) fn skip(&mut self) {
        self.seq += 1;
    }

    /// The end of a chain whose last lines are these, from the last one backwards. What cannot be read counts as one line.
    ///
    /// # Errors
    /// When they cannot be had.
    pub(super) fn of(newest_first: impl Iterator<Item = io::Result<Vec<u8>>>) -> io::Result<Self> {
        let mut head = Self::default();
        for (unread, line) in newest_first.enumerate() {
            let line = line?;
            if unread == 0 {
                head.hash = LineHash::of(&line);
            }
            head.seq = unread as u64 + 1;
            if let Ok(seen) = Seen::read(&line) {
                head.seq = seen.seq + unread as u64;
                break;
            }
        }
        Ok(head)
    }
}

/// What a reader needs of a line; later versions may write more.
#[derive(Debug, Deserialize)]
pub(super) struct Seen<'a> {
    pub(super) seq: u64,
    prev: &'a str,
    /// As [`rfc3339_ms`] writes it, so that times compare as texts.
    pub(super) at: &'a str,
    pub(super) event: &'a str,
    #[serde(borrow, default)]
    pub(super) principal: Option<Cow<'a, str>>,
}

impl<'a> Seen<'a> {
    pub(super) fn read(line: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }
}

/// What a walk over all lines found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Whether every line follows the one before it.
    pub intact: bool,
    /// Lines read.
    pub entries: u64,
    /// Number of the first one; those before it were in files that are no longer kept.
    pub first: Option<u64>,
    /// Number of the last one.
    pub last: Option<u64>,
    /// Events the node could not keep when they happened: numbers left out where the chain holds.
    pub missing: u64,
    /// Where the chain breaks first.
    pub broken: Option<Broken>,
}

/// A place where a line does not follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The file, in the data directory.
    pub file: String,
    /// Its line, from 1.
    pub line: u64,
    /// What is wrong there.
    pub reason: String,
}

/// A walk over all lines, from the first to the last.
#[derive(Debug, Default)]
pub(super) struct Walk {
    before: Option<Head>,
    found: Verified,
    line: u64,
    /// What the writer says is the oldest line, where it can tell.
    oldest: Option<u64>,
    /// What the writer says is the end.
    end: Head,
    met_end: bool,
}

impl Walk {
    /// A walk that has to meet this end.
    pub(super) fn to(end: Head) -> Self {
        Self { end, met_end: end.hash == LineHash::default(), ..Self::default() }
    }

    /// The same, which must not begin after that line.
    pub(super) const fn from(mut self, oldest: Option<u64>) -> Self {
        self.oldest = oldest;
        self
    }

    /// A file begins.
    pub(super) fn file(&mut self) {
        self.line = 0;
    }

    /// Takes the next line. False when the chain is broken: what comes after says nothing.
    pub(super) fn line(&mut self, file: &str, line: &[u8]) -> bool {
        self.line += 1;
        match self.follow(line) {
            Ok(()) => true,
            Err(reason) => {
                self.found.broken = Some(Broken { file: file.to_owned(), line: self.line, reason });
                false
            }
        }
    }

    fn follow(&mut self, line: &[u8]) -> Result<(), String> {
        let seen = Seen::read(line).map_err(|_| "it is no line of an audit".to_owned())?;
        match self.before {
            None if seen.seq == 1 && seen.prev != LineHash::default().to_string() => {
                return Err("the first line follows another".to_owned());
            }
            None if self.oldest.is_some_and(|oldest| seen.seq > oldest) => {
                let oldest = self.oldest.unwrap_or_default();
                return Err(format!("lines from number {oldest} to {} are not there", seen.seq - 1));
            }
            None => self.found.first = Some(seen.seq),
            Some(before) if seen.prev != before.hash.to_string() => {
                let last = before.seq;
                return Err(format!("it does not follow line number {last}: one was changed, taken out or put in"));
            }
            Some(before) if seen.seq <= before.seq => return Err("its number does not grow".to_owned()),
            Some(before) => self.found.missing += seen.seq - before.seq - 1,
        }
        let head = Head { seq: seen.seq, hash: LineHash::of(line) };
        self.met_end |= head.hash == self.end.hash;
        self.before = Some(head);
        self.found.entries += 1;
        self.found.last = Some(seen.seq);
        Ok(())
    }

    /// What was found.
    pub(super) fn end(mut self, last_file: &str) -> Verified {
        if self.found.broken.is_none() && !self.met_end {
            let reason = "the last line that was written is not there".to_owned();
            self.found.broken = Some(Broken { file: last_file.to_owned(), line: self.line, reason });
        }
        self.found.missing += self.end.seq.saturating_sub(self.found.last.unwrap_or(self.end.seq));
        self.found.intact = self.found.broken.is_none();
        self.found
    }
}

/// JSON in ASCII: everything else is escaped, DEL too.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for part in fragment.split_inclusive(|c| !matches!(c, ' '..='~')) {
            let plain = part.trim_end_matches(|c| !matches!(c, ' '..='~'));
            writer.write_all(plain.as_bytes())?;
            part[plain.len()..].encode_utf16().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Event;
    use super::*;
    use aop_proto::access::Principal;

    #[test]
    fn the_worst_line_is_ascii_reads_back_and_has_its_bound() {
        for hostile in ["\u{1}", "\u{7f}", "\u{9b}", "\u{202e}", "😀", "\"", "\\", "x"] {
            let text = hostile.repeat(1000);
            let entry = Entry::by(&Principal::Token(text.clone()), Event::TokenRevoked)
                .zone(&text)
                .name(&text)
                .tools(usize::MAX);
            let entry = entry.def_hash(&text).def_hash_before(&text).node(&text);
            let mut line = Vec::new();
            Head { seq: u64::MAX - 1, hash: LineHash([255; 8]) }.write(u64::MAX >> 20, &entry, &mut line);
            assert!(line.len() <= LINE_BYTES_MAX, "{}", line.len());
            let line = line.strip_suffix(b"\n").unwrap();
            assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~')));
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert!(text.starts_with(value["name"].as_str().unwrap()));
            assert!(Seen::read(line).unwrap().principal.unwrap().starts_with("token:"));
        }
    }

    #[test]
    fn a_chain_goes_on_from_its_last_line_and_over_what_cannot_be_read() {
        let mut head = Head::default();
        let mut lines = Vec::new();
        for _ in 0..3 {
            head.write(0, &Entry::own(Event::Started), &mut lines);
        }
        let lines: Vec<&[u8]> = lines.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
        let of = |lines: &[&[u8]]| Head::of(lines.iter().rev().map(|line| Ok(line.to_vec()))).unwrap();
        assert_eq!(of(&lines), head);
        assert_eq!(of(&[]), Head::default());
        let damaged = of(&[lines[0], lines[1], b"{", b"\0\0"]);
        assert_eq!(damaged, Head { seq: 4, hash: LineHash::of(b"\0\0") });
    }
}
