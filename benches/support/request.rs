//! An HTTP/1.1 request as bytes, and the head of an answer. Only what these benchmarks send and nodes answer with: no chunks.

use std::io;

/// A request on a connection that stays; with no token, without that header.
pub(crate) fn request(method: &str, path: &str, token: &str, body: &str) -> String {
    let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// The beginning of an answer.
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Where its body begins, and where that ends.
    pub(crate) body: std::ops::Range<usize>,
}

impl Head {
    /// Reads the head at the front of what has come so far; nothing while it is not whole.
    ///
    /// # Errors
    /// It is no answer, or does not say how long its body is.
    pub(crate) fn read(come: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = come.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let broken = |why: &str| io::Error::other(format!("{why}: {}", String::from_utf8_lossy(&come[..end])));
        let head = std::str::from_utf8(&come[..end]).map_err(|_| broken("the head of an answer is no text"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| broken("an answer has no status"))?;
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let length = length.ok_or_else(|| broken("an answer does not say its length"))?;
        Ok(Some(Self { status, body: end + 4..end + 4 + length }))
    }
}
