//! JSON values on stdin, one after the other, each with its place; what is broken does not hide what follows it.
//!
//! Not what is done with them. What must hold: a value is handed out as it was written and as soon as it is whole, and no part of a
//! broken one is taken for a value of its own: after a broken object, reading goes on at the next line that begins with `{`.

use std::io::{self, BufRead, BufReader, Read};

use serde::Deserialize as _;
use serde_json::Deserializer;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

/// One value, or why there is none.
#[derive(Debug)]
pub(super) struct Input {
    /// Of its first character, from 1.
    pub(super) line: usize,
    pub(super) read: Result<Box<RawValue>, String>,
}

/// As they come, read by a thread of their own; at most `ahead` wait.
pub(super) fn of_stdin(ahead: usize) -> mpsc::Receiver<Input> {
    let (sender, objects) = mpsc::channel(ahead);
    std::thread::spawn(move || {
        let mut source = Source::new(BufReader::new(io::stdin()));
        while let Some(input) = source.next_input() {
            if sender.blocking_send(input).is_err() {
                return;
            }
        }
    });
    objects
}

/// What is read, with what was read of the value at hand.
struct Source<R> {
    reader: R,
    /// To be read again, the next byte last.
    again: Vec<u8>,
    /// Read since the value at hand began.
    held: Vec<u8>,
    /// Line breaks read.
    breaks: usize,
    failed: bool,
}

impl<R: BufRead> Source<R> {
    fn new(reader: R) -> Self {
        Self { reader, again: Vec::new(), held: Vec::new(), breaks: 0, failed: false }
    }

    fn next_input(&mut self) -> Option<Input> {
        if self.failed {
            return None;
        }
        self.held.clear();
        let first = loop {
            match self.next_byte() {
                Ok(Some(byte)) if byte.is_ascii_whitespace() => {}
                Ok(Some(byte)) => break byte,
                Ok(None) => return None,
                Err(error) => return Some(self.broken_off(&error)),
            }
        };
        let line = self.breaks + 1;
        self.held.clear();
        self.again.push(first);
        let read = Box::<RawValue>::deserialize(&mut Deserializer::from_reader(&mut *self));
        let read = match read {
            Ok(value) => Ok(value),
            Err(error) if error.is_io() => return Some(self.broken_off(&error)),
            Err(error) => {
                self.skip_to_next(first == b'{');
                Err(reason(&error))
            }
        };
        Some(Input { line, read })
    }

    fn broken_off(&mut self, error: &dyn std::error::Error) -> Input {
        self.failed = true;
        Input { line: self.breaks + 1, read: Err(format!("cannot be read: {error}")) }
    }

    /// After a broken value: to the next line, after an object to the next that begins another one.
    fn skip_to_next(&mut self, is_object: bool) {
        let begins = |byte: u8| !is_object || byte == b'{';
        let next = (1..self.held.len()).find(|at| self.held[at - 1] == b'\n' && begins(self.held[*at]));
        if let Some(at) = next {
            let tail = self.held.split_off(at);
            self.breaks -= tail.iter().filter(|byte| **byte == b'\n').count();
            self.again.extend(tail.iter().rev());
            return;
        }
        let mut last = self.held.last().copied();
        // A reader that fails here fails again where the next value is read.
        while let Ok(Some(byte)) = self.next_byte() {
            self.held.clear();
            if last == Some(b'\n') && begins(byte) {
                self.breaks -= usize::from(byte == b'\n');
                self.again.push(byte);
                return;
            }
            last = Some(byte);
        }
    }

    fn next_byte(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        Ok((self.read(&mut byte)? == 1).then_some(byte[0]))
    }
}

impl<R: BufRead> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match (buffer.first_mut(), self.again.pop()) {
            (None, _) => return Ok(0),
            (Some(first), Some(byte)) => {
                *first = byte;
                1
            }
            // One at a time, so that nothing of the next value is taken.
            (Some(_), None) => self.reader.read(&mut buffer[..1])?,
        };
        self.breaks += buffer[..read].iter().filter(|byte| **byte == b'\n').count();
        self.held.extend(&buffer[..read]);
        Ok(read)
    }
}

/// Without the place inside the value, which is told as a line of stdin.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    format!("is not JSON: {text}, at character {}", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, Result<String, String>)> {
        let mut source = Source::new(text.as_bytes());
        std::iter::from_fn(|| source.next_input())
            .map(|input| (input.line, input.read.map(|raw| raw.get().to_owned())))
            .collect()
    }

    fn good(text: &str) -> Vec<(usize, Option<String>)> {
        read(text).into_iter().map(|(line, read)| (line, read.ok())).collect()
    }

    #[test]
    fn values_are_told_apart_and_have_their_lines() {
        let some = |line, text: &str| (line, Some(text.to_owned()));
        assert_eq!(
            good("{\"a\":1.00} {\"b\":2}\n\n{\n \"c\": 3\n}\n[1]\n7\n"),
            [some(1, "{\"a\":1.00}"), some(1, "{\"b\":2}"), some(3, "{\n \"c\": 3\n}"), some(6, "[1]"), some(7, "7")]
        );
        assert_eq!(good(""), []);
        assert_eq!(good(" \n\n"), []);
    }

    #[test]
    fn what_is_broken_does_not_hide_what_follows_it() {
        let some = |line, text: &str| (line, Some(text.to_owned()));
        assert_eq!(good("{\"a\":1,}\n{\"b\":2}\n"), [(1, None), some(2, "{\"b\":2}")]);
        assert_eq!(good("{\"a\":1\n{\"b\":2}\n{\"c\":3}"), [(1, None), some(2, "{\"b\":2}"), some(3, "{\"c\":3}")]);
        assert_eq!(good("no\nnor this\n\n{\"b\":2}"), [(1, None), (2, None), some(4, "{\"b\":2}")]);
        assert_eq!(good("{\"a\":[1\n{\"b\":2}"), [(1, None), some(2, "{\"b\":2}")]);
        assert_eq!(good("{\"a\":1"), [(1, None)]);
        // Not a part of a broken one.
        assert_eq!(good("{x\n  \"a\":\n  {\"b\":2}\n}\n{\"c\":3}"), [(1, None), some(5, "{\"c\":3}")]);
        let why = read("{\"a\":1,}\n")[0].1.clone().expect_err("broken");
        assert_eq!(why, "is not JSON: key must be a string, at character 8");
    }
}
