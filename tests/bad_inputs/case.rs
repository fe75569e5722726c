//! One bad input: its bytes, how the answer is read, and what it may be.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Unfinished headers are waited for ten seconds; whatever takes twice as long hangs.
const DEADLINE: Duration = Duration::from_secs(20);
/// Of an answer, for the report.
const SHOWN: usize = 200;

/// What the answer may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// This status.
    Is(u16),
    /// A 4xx.
    Client,
    /// A 4xx, or the end of the connection without a word.
    Refused,
    /// Legal and odd: anything but a 5xx.
    Harmless,
    /// A 4xx, or a JSON-RPC answer that says what is wrong.
    Rpc,
}

pub(crate) struct Case {
    name: String,
    bytes: Vec<u8>,
    wanted: Wanted,
    /// The sender closes its side when it has said everything.
    ends: bool,
    reader: fn(&[u8]) -> Option<Seen>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Seen {
    /// None where the connection or the stream was ended instead.
    pub(crate) status: Option<u16>,
    pub(crate) body: Vec<u8>,
}

impl Case {
    /// Bytes of HTTP/1, or of nothing.
    pub(crate) fn raw(name: impl Into<String>, bytes: impl Into<Vec<u8>>, wanted: Wanted) -> Self {
        Self { name: name.into(), bytes: bytes.into(), wanted, ends: false, reader: http1_answer }
    }

    /// Frames of HTTP/2.
    pub(crate) fn h2(name: &str, bytes: Vec<u8>, wanted: Wanted) -> Self {
        Self { name: format!("h2 {name}"), bytes, wanted, ends: false, reader: h2_answer }
    }

    /// A well-formed request; its body is sent with its length.
    pub(crate) fn request(
        name: impl Into<String>,
        line: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
        wanted: Wanted,
    ) -> Self {
        let body = body.as_ref();
        let mut head =
            format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        headers.iter().for_each(|(key, value)| head.push_str(&format!("{key}: {value}\r\n")));
        Self::raw(name, [head.as_bytes(), b"\r\n", body].concat(), wanted)
    }

    pub(crate) fn then_ends(self) -> Self {
        Self { ends: true, ..self }
    }

    /// Sends it on a connection of its own and judges what comes back.
    pub(crate) fn send(&self, address: &str) -> Result<(), String> {
        let began = Instant::now();
        let seen = self.exchange(address).map_err(|why| format!("{}: {why}", self.name))?;
        let fits = match (self.wanted, seen.status) {
            (_, Some(500..)) => false,
            (Wanted::Is(wanted), status) => status == Some(wanted),
            (Wanted::Client, status) => matches!(status, Some(400..500)),
            (Wanted::Refused, status) => matches!(status, None | Some(400..500)),
            (Wanted::Harmless, _) => true,
            (Wanted::Rpc, Some(200)) => is_rpc_refusal(&seen.body),
            (Wanted::Rpc, status) => matches!(status, Some(400..500)),
        };
        let body = String::from_utf8_lossy(&seen.body[..seen.body.len().min(SHOWN)]).into_owned();
        let (name, wanted, took) = (&self.name, self.wanted, began.elapsed().as_millis());
        if fits {
            Ok(())
        } else {
            Err(format!("{name}: wanted {wanted:?}, got {:?} in {took} ms: {body}", seen.status))
        }
    }

    fn exchange(&self, address: &str) -> Result<Seen, String> {
        let deadline = Instant::now() + DEADLINE;
        let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_write_timeout(Some(DEADLINE)).map_err(|error| error.to_string())?;
        // Whoever is refused early need not be heard to the end.
        let _ = stream.write_all(&self.bytes);
        if self.ends {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut heard = Vec::new();
        let mut block = [0; 16 << 10];
        loop {
            if let Some(seen) = (self.reader)(&heard) {
                return Ok(seen);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("hangs after {:?}", String::from_utf8_lossy(&heard)));
            }
            stream.set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
            match stream.read(&mut block) {
                Ok(0) => return Ok(Seen { status: None, body: heard }),
                Ok(count) => heard.extend_from_slice(&block[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                // A reset is an end too.
                Err(_) => return Ok(Seen { status: None, body: heard }),
            }
        }
    }
}

/// The first final answer, once it is whole.
fn http1_answer(heard: &[u8]) -> Option<Seen> {
    let end = heard.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&heard[..end]).to_ascii_lowercase();
    let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
    let rest = &heard[end + 4..];
    if status < 200 {
        return http1_answer(rest);
    }
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let whole = match header("content-length").and_then(|length| length.trim().parse::<usize>().ok()) {
        Some(length) => rest.len() >= length,
        None if header("transfer-encoding").is_some() => rest.ends_with(b"0\r\n\r\n"),
        None => true,
    };
    whole.then(|| Seen { status: Some(status), body: rest.to_vec() })
}

/// The first frame that says how a stream or the connection ended.
fn h2_answer(mut heard: &[u8]) -> Option<Seen> {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    loop {
        if heard.starts_with(b"HTTP/1.") {
            return http1_answer(heard);
        }
        let (head, rest) = heard.split_at_checked(9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (payload, rest) = rest.split_at_checked(length)?;
        match head[3] {
            HEADERS => return Some(Seen { status: Some(h2_status(payload)), body: payload.to_vec() }),
            RST_STREAM | GOAWAY => return Some(Seen { status: None, body: payload.to_vec() }),
            _ => heard = rest,
        }
    }
}

/// The status is the first field. Source: RFC 7541, Appendix A for those with an index of their own, §6.2.1 for the others.
fn h2_status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        // Digits in Huffman's code: 0 1 2 have five bits, 3 to 9 six.
        [0x48, 0x80..=0x8f, first, ..] if first >> 2 == 0b01_1010 => 400,
        [0x48, 0x80..=0x8f, first, ..] if first >> 2 == 0b01_1011 => 500,
        _ => 299,
    }
}

fn is_rpc_refusal(body: &[u8]) -> bool {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    answer["error"].is_object() || answer["result"]["isError"] == true
}
