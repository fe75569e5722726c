//! How large one event of an event stream may be.

/// Counts the bytes of one event before they are kept. An event ends with an empty line; `\n`, `\r` and `\r\n` end lines.
pub(crate) struct EventLimit {
    max: usize,
    event: usize,
    line: usize,
    after_cr: bool,
}

impl EventLimit {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, event: 0, line: 0, after_cr: false }
    }

    /// Bytes of the event that comes.
    pub(crate) fn held(&self) -> usize {
        self.event + self.line
    }

    /// False: it is too large.
    pub(crate) fn admits(&mut self, chunk: &[u8]) -> bool {
        for byte in chunk {
            let second_half = std::mem::take(&mut self.after_cr) && *byte == b'\n';
            match byte {
                _ if second_half => {}
                b'\n' | b'\r' => {
                    self.after_cr = *byte == b'\r';
                    self.event = if self.line == 0 { 0 } else { self.event + self.line + 1 };
                    self.line = 0;
                }
                _ => self.line += 1,
            }
            if self.held() > self.max {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_bounded_whatever_ends_its_lines() {
        let data = vec![b'x'; 512];
        for end in ["\n\n", "\r\n\r\n", "\r\r"] {
            let mut limit = EventLimit::new(1024);
            for _ in 0..4 {
                assert!(limit.admits(b"data: ") && limit.admits(&data) && limit.admits(end.as_bytes()), "{end:?}");
            }
        }
        for end in ["\n", "\r\n", "\r"] {
            let mut limit = EventLimit::new(1024);
            assert!(limit.admits(&data) && limit.admits(end.as_bytes()));
            assert!(!(limit.admits(&data) && limit.admits(end.as_bytes())), "{end:?}");
        }
    }
}
