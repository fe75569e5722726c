//! Lines of several files from the last one backwards, a block at a time: the end of a long log costs no more than that of a short one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::chain::LINE_BYTES_MAX;

/// Bytes read at once.
const BLOCK_BYTES: u64 = 64 << 10;

/// An iterator over whole lines, newest first, without their line ends. What follows the last line end of a file is no line (yet).
pub(super) struct Backwards {
    /// Oldest first.
    files: Vec<File>,
    current: Option<Open>,
}

/// A file, read from its end down to `at`.
struct Open {
    file: File,
    at: u64,
    /// What follows there; it ends with a line end once one was met.
    unread: Vec<u8>,
    met_line: bool,
}

impl Backwards {
    /// Over these files, the oldest first.
    pub(super) const fn new(files: Vec<File>) -> Self {
        Self { files, current: None }
    }
}

impl Iterator for Backwards {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let open = match &mut self.current {
                Some(open) => open,
                none => match Open::at_end(self.files.pop()?) {
                    Ok(open) => none.insert(open),
                    Err(error) => return Some(Err(error)),
                },
            };
            match open.line() {
                Ok(None) => self.current = None,
                Ok(Some(line)) => return Some(Ok(line)),
                Err(error) => {
                    self.current = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Open {
    fn at_end(file: File) -> io::Result<Self> {
        let at = file.metadata()?.len();
        Ok(Self { file, at, unread: Vec::new(), met_line: false })
    }

    /// The line before, or nothing at the beginning of the file.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            // The line's own end is not what is looked for.
            let before = self.unread.len().saturating_sub(searched + usize::from(self.met_line));
            let found = self.unread[..before].iter().rposition(|byte| *byte == b'\n');
            match (found, self.at) {
                (Some(end), _) if self.met_line => return Ok(Some(self.take_from(end + 1))),
                (Some(end), _) => {
                    self.unread.truncate(end + 1);
                    (self.met_line, searched) = (true, 0);
                    continue;
                }
                (None, 0) if self.met_line && !self.unread.is_empty() => return Ok(Some(self.take_from(0))),
                (None, 0) => return Ok(None),
                (None, _) => {}
            }
            if self.unread.len() > LINE_BYTES_MAX {
                // Nobody writes such a line. It counts as one, and what is given of it is none.
                self.unread.drain(..self.unread.len() - 2);
            }
            searched = self.unread.len().saturating_sub(usize::from(self.met_line));
            self.read_before()?;
        }
    }

    fn take_from(&mut self, start: usize) -> Vec<u8> {
        let mut line = self.unread.split_off(start);
        line.pop();
        line
    }

    fn read_before(&mut self) -> io::Result<()> {
        let start = self.at.saturating_sub(BLOCK_BYTES);
        let mut block = vec![0; usize::try_from(self.at - start).unwrap_or_default()];
        self.file.read_exact_at(&mut block, start)?;
        block.append(&mut self.unread);
        (self.unread, self.at) = (block, start);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines(files: &[&[u8]]) -> Vec<Vec<u8>> {
        let files = files.iter().map(|text| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text).unwrap();
            file
        });
        Backwards::new(files.collect()).collect::<io::Result<_>>().unwrap()
    }

    #[test]
    fn lines_come_newest_first_over_files_and_without_unended_ones() {
        assert_eq!(lines(&[b"a\nb\n", b"", b"c\n\nd\nhalf"]), [&b"d"[..], b"", b"c", b"b", b"a"]);
        assert!(lines(&[b"half", b""]).is_empty());
    }

    #[test]
    fn lines_that_lie_across_blocks_are_whole() {
        for length in [1, 7, 1000, LINE_BYTES_MAX - 1] {
            let wanted: Vec<Vec<u8>> = (0..150_000 / length).map(|at| vec![b'a' + (at % 26) as u8; length]).collect();
            let text: Vec<u8> = wanted.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
            assert!(lines(&[&text]).iter().eq(wanted.iter().rev()), "{length}");
        }
    }

    #[test]
    fn a_line_nobody_wrote_takes_little_memory_and_hides_no_other() {
        let mut text = b"before\n".to_vec();
        text.extend(vec![b'x'; 3 << 20]);
        text.extend(b"\nafter\n");
        let read = lines(&[&text]);
        assert_eq!((read.len(), read[0].as_slice(), read[2].as_slice()), (3, &b"after"[..], &b"before"[..]));
        assert!(read[1].len() < 2 * BLOCK_BYTES as usize);
    }
}
