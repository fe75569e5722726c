//! rmcp's transport over a child's pipes, with a line codec of our own.
//!
//! It does not own the process. What must always hold: messages leave in the order rmcp gave them, nothing is written for a
//! caller that is already gone, a line is bounded, and whatever else a program prints on its standard output is counted and
//! skipped, never fatal.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use rmcp::{
    RoleClient,
    model::ClientJsonRpcMessage,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{
    child::printable,
    failure::UpstreamError,
    frame::{self, Framing, MESSAGE_BYTES_MAX},
    room::{Place, Room},
    tap::{Slot, Taps, garbage},
};

/// Frames waiting for a child that reads slowly; more than all calls, their cancellations and our own requests together.
const OUTBOX_FRAMES: usize = 1024;
/// Read at a time, bytes.
const READ_BYTES: usize = 64 * 1024;
/// Of a line that is too long, what is read before its writer is taken for one that never ends it, bytes.
const LINE_SKIPPED_MAX: u64 = 2 << 30;
/// Kept of each end of a line that is too long, bytes: enough to see which request it answered.
const LINE_END_BYTES: usize = 512;
/// Characters of the first foreign line kept for an error.
const NOISE_CHARS_MAX: usize = 200;
/// How long the last frames may take to leave when the connection is closed.
const FLUSH_GRACE: Duration = Duration::from_millis(250);

/// What a child printed on its standard output that is not MCP.
#[derive(Default)]
pub(crate) struct Noise(Mutex<(u64, String)>);

impl Noise {
    fn heard(&self, line: &[u8]) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.0 == 0 {
            heard.1 = printable(&String::from_utf8_lossy(line)).chars().take(NOISE_CHARS_MAX).collect();
        }
        heard.0 += 1;
    }

    /// A sentence for an error, when there was any.
    pub(crate) fn story(&self) -> Option<String> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (heard.0 > 0).then(|| format!("{} lines on its stdout are not JSON-RPC, the first: {:?}", heard.0, heard.1))
    }
}

struct Frame {
    bytes: Bytes,
    slot: Option<Arc<Slot>>,
    written: oneshot::Sender<io::Result<()>>,
}

/// See the module. Reading is cancel-safe: what was read stays in `lines`.
pub(crate) struct StdioTransport<R> {
    stdout: R,
    lines: Lines,
    room: Room,
    /// Of the line that comes.
    place: Place,
    outbox: Option<mpsc::Sender<Frame>>,
    writer: Option<JoinHandle<()>>,
    taps: Arc<Taps>,
    noise: Arc<Noise>,
}

impl<R: AsyncRead + Send + Unpin> StdioTransport<R> {
    pub(crate) fn new<W>(stdout: R, stdin: W, room: &Room, taps: Arc<Taps>, noise: Arc<Noise>) -> Self
    where
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let (outbox, frames) = mpsc::channel(OUTBOX_FRAMES);
        let writer = tokio::spawn(write_frames(stdin, frames));
        let (room, place) = (room.clone(), room.place());
        Self { stdout, lines: Lines::default(), room, place, outbox: Some(outbox), writer: Some(writer), taps, noise }
    }

    /// Queued here and now, not when the future is polled: a cancellation must not overtake its request.
    fn queue(&self, message: &ClientJsonRpcMessage) -> io::Result<oneshot::Receiver<io::Result<()>>> {
        let slot = self.taps.watch(message);
        let queued = self.queue_frame(message, slot.clone());
        if let (Err(e), Some(slot)) = (&queued, slot) {
            slot.finish(super::tap::Answer::Failed(UpstreamError::NotSent { reason: e.to_string() }));
        }
        queued
    }

    fn queue_frame(
        &self,
        message: &ClientJsonRpcMessage,
        slot: Option<Arc<Slot>>,
    ) -> io::Result<oneshot::Receiver<io::Result<()>>> {
        let bytes = frame::encode(message, slot.as_deref(), Framing::Line)?;
        let (written, done) = oneshot::channel();
        let outbox = self.outbox.as_ref().ok_or_else(|| io::Error::other("the connection is closed"))?;
        outbox
            .try_send(Frame { bytes, slot, written })
            .map_err(|_| io::Error::other("the server does not read its input"))?;
        Ok(done)
    }

    fn understand(&self, line: Line) -> Option<RxJsonRpcMessage<RoleClient>> {
        match line {
            Line::Whole(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => None,
            Line::Whole(bytes) => match self.taps.read(&bytes) {
                Ok(message) => message,
                Err(why) => {
                    tracing::debug!(why, "skipped a line that is not MCP");
                    self.noise.heard(&self.taps.mask().hide(&bytes));
                    None
                }
            },
            Line::TooLong { answers } => {
                let reason = format!("a line longer than {MESSAGE_BYTES_MAX} bytes");
                tracing::debug!(?answers, "skipped {reason}");
                let id = answers.and_then(|id| id.trim_matches('"').parse().ok());
                if !id.is_some_and(|id| self.taps.fail(id, garbage(reason.as_str()))) {
                    self.noise.heard(reason.as_bytes());
                }
                None
            }
        }
    }
}

impl<R: AsyncRead + Send + Unpin + 'static> Transport<RoleClient> for StdioTransport<R> {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let queued = self.queue(&item);
        async move { queued?.await.map_err(|_| io::Error::other("the connection is closed"))? }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            while let Some(line) = self.lines.next() {
                let place = std::mem::replace(&mut self.place, self.room.place());
                let line = match line {
                    Line::Whole(bytes) => Line::Whole(place.hold(bytes)),
                    long => long,
                };
                if let Some(message) = self.understand(line) {
                    return Some(message);
                }
            }
            if self.lines.is_endless() {
                self.noise.heard(b"a line without end");
                self.taps.close();
                return None;
            }
            self.place.grow(self.lines.held()).await;
            match self.stdout.read_buf(self.lines.room()).await {
                Ok(read) if read > 0 => {}
                _ => {
                    self.taps.close();
                    return None;
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.taps.close();
        self.outbox = None;
        if let Some(mut writer) = self.writer.take()
            && timeout(FLUSH_GRACE, &mut writer).await.is_err()
        {
            writer.abort();
        }
        Ok(())
    }
}

impl<R> Drop for StdioTransport<R> {
    fn drop(&mut self) {
        self.taps.close();
        if let Some(writer) = self.writer.take() {
            writer.abort();
        }
    }
}

/// Owns the child's standard input; its end closes it, which is how a polite server is told to go.
async fn write_frames(mut stdin: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Frame>) {
    while let Some(Frame { bytes, slot, written }) = frames.recv().await {
        if slot.as_ref().is_some_and(|slot| !slot.begin()) {
            let _ = written.send(Err(io::Error::other("its caller is gone")));
            continue;
        }
        let result = write_frame(&mut stdin, &bytes).await;
        if let (Err(e), Some(slot)) = (&result, slot) {
            // A frame is complete with its last byte only: cut short, no server can have understood it.
            let reason = format!("the server's input is closed: {e}");
            slot.finish(super::tap::Answer::Failed(UpstreamError::NotSent { reason }));
        }
        let _ = written.send(result);
    }
}

async fn write_frame(stdin: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    stdin.write_all(bytes).await?;
    stdin.flush().await
}

/// One line of a child's standard output, without its line break.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Bytes),
    /// With the id of the request it answers, raw: a number or a string.
    TooLong {
        answers: Option<String>,
    },
}

/// Cuts a stream into lines in bounded space.
pub(super) struct Lines {
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no line break.
    scanned: usize,
    /// Both ends of the line being skipped.
    skipped: Option<(Bytes, BytesMut)>,
    /// Bytes of that line that are gone, and how many may be.
    gone: u64,
    gone_max: u64,
}

impl Default for Lines {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), scanned: 0, skipped: None, gone: 0, gone_max: LINE_SKIPPED_MAX }
    }
}

impl Lines {
    /// Whether nobody waits for the end of this line any more.
    pub(super) fn is_endless(&self) -> bool {
        self.gone > self.gone_max
    }

    /// Bytes of a line that is not whole.
    fn held(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn room(&mut self) -> &mut BytesMut {
        self.buffer.reserve(READ_BYTES);
        &mut self.buffer
    }

    pub(super) fn next(&mut self) -> Option<Line> {
        match self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let line = self.buffer.split_to(self.scanned + at);
                self.buffer.advance(1);
                self.scanned = 0;
                Some(self.finish(line))
            }
            None => {
                self.scanned = self.buffer.len();
                if self.skipped.is_some() || self.scanned > MESSAGE_BYTES_MAX {
                    self.skip();
                }
                None
            }
        }
    }

    fn finish(&mut self, line: BytesMut) -> Line {
        self.gone = 0;
        match self.skipped.take() {
            Some((head, mut tail)) => {
                tail.extend_from_slice(&line);
                Line::TooLong { answers: id_at_the_front(&head).or_else(|| id_at_the_end(&tail)) }
            }
            None if line.len() > MESSAGE_BYTES_MAX => {
                let head = &line[..LINE_END_BYTES];
                let tail = &line[line.len() - LINE_END_BYTES..];
                Line::TooLong { answers: id_at_the_front(head).or_else(|| id_at_the_end(tail)) }
            }
            None => Line::Whole(line.freeze()),
        }
    }

    fn skip(&mut self) {
        let bytes = self.buffer.split();
        self.scanned = 0;
        self.gone = self.gone.saturating_add(bytes.len() as u64);
        let (_, tail) = self.skipped.get_or_insert_with(|| {
            (Bytes::copy_from_slice(&bytes[..bytes.len().min(LINE_END_BYTES)]), BytesMut::new())
        });
        tail.extend_from_slice(&bytes[bytes.len().saturating_sub(LINE_END_BYTES)..]);
        let excess = tail.len().saturating_sub(LINE_END_BYTES);
        tail.advance(excess);
    }
}

/// `{"jsonrpc":"2.0","id":7,"result":…`
fn id_at_the_front(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let (before, after) = text.split_once(r#""id":"#)?;
    if [r#""result""#, r#""method""#, r#""error""#].iter().any(|member| before.contains(member)) {
        return None;
    }
    let (id, rest) = raw_id(after)?;
    rest.starts_with([',', '}']).then(|| id.to_owned())
}

/// `…},"jsonrpc":"2.0","id":7}`
fn id_at_the_end(tail: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(tail);
    let (_, after) = text.trim_end().strip_suffix('}')?.rsplit_once(r#""id":"#)?;
    let (id, rest) = raw_id(after)?;
    rest.is_empty().then(|| id.to_owned())
}

/// The number or string that `text` begins with, and what follows it.
fn raw_id(text: &str) -> Option<(&str, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let id = values.next()?.ok()?.get();
    let is_id = id.starts_with(|first: char| matches!(first, '"' | '-') || first.is_ascii_digit());
    is_id.then_some((id, text.get(values.byte_offset()..)?.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(lines: &mut Lines, bytes: &[u8]) -> Vec<Line> {
        lines.room().extend_from_slice(bytes);
        std::iter::from_fn(|| lines.next()).collect()
    }

    fn whole(text: &'static str) -> Line {
        Line::Whole(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn lines_survive_any_cut() {
        let mut lines = Lines::default();
        assert_eq!(feed(&mut lines, b"ab"), []);
        assert_eq!(feed(&mut lines, b"c\nde\n\nf"), [whole("abc"), whole("de"), whole("")]);
        assert_eq!(feed(&mut lines, b"g\r\n"), [whole("fg\r")]);
    }

    #[test]
    fn a_line_too_long_is_skipped_and_its_id_found() {
        let filler = vec![b'x'; MESSAGE_BYTES_MAX];
        for (front, end, id) in [
            (r#"{"jsonrpc":"2.0","id": 42,"result":""#, r#""}"#, Some("42")),
            (r#"{"result":""#, r#"","id":42}"#, Some("42")),
            (r#"{"jsonrpc":"2.0","id":"aop-7" ,"result":""#, r#""}"#, Some("\"aop-7\"")),
            (r#"{"result":""#, r#"","id": "a, \"b}" }"#, Some(r#""a, \"b}""#)),
            (r#"{"result":""#, r#"","id":null}"#, None),
        ] {
            let mut lines = Lines::default();
            assert_eq!(feed(&mut lines, front.as_bytes()), []);
            assert_eq!(feed(&mut lines, &filler), []);
            assert!(lines.buffer.len() <= MESSAGE_BYTES_MAX);
            assert_eq!(feed(&mut lines, &filler), []);
            let after = format!("{end}\nnext\n");
            assert_eq!(
                feed(&mut lines, after.as_bytes()),
                [Line::TooLong { answers: id.map(str::to_owned) }, whole("next")]
            );
        }
    }

    #[tokio::test]
    async fn who_never_ends_a_line_is_read_no_more() {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let (stdout, stdin) = tokio::io::split(ours);
        let noise = Arc::new(Noise::default());
        let mut transport = StdioTransport::new(stdout, stdin, &Room::default(), Arc::default(), noise.clone());
        transport.lines.gone_max = 4 << 20;
        let writing = async {
            let piece = vec![b'x'; 1 << 20];
            while theirs.write_all(&piece).await.is_ok() {}
        };
        tokio::select! {
            received = transport.receive() => assert!(received.is_none()),
            () = writing => unreachable!("it is read to no end"),
        }
        assert!(noise.story().is_some_and(|story| story.contains("without end")));
    }

    #[tokio::test]
    async fn what_a_program_prints_beside_mcp_is_counted_and_skipped() {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let (stdout, stdin) = tokio::io::split(ours);
        let noise = Arc::new(Noise::default());
        let mut transport =
            StdioTransport::new(stdout, stdin, &Room::default(), Arc::new(Taps::default()), noise.clone());
        let text = b"\x1b[1mWelcome!\n\n[1]\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r\n";
        theirs.write_all(text).await.expect("open");
        assert!(transport.receive().await.is_some());
        drop(theirs);
        assert!(transport.receive().await.is_none());
        let story = noise.story().expect("noise");
        assert!(story.starts_with("2 lines") && story.contains("Welcome!") && !story.contains('\x1b'), "{story}");
    }
}
