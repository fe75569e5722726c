//! What is remembered of one fellow: what is to be told and asked at the next flush, how long it takes to answer, and what it may
//! take. It holds no payload: records are read from the registry when they are sent, so what was overwritten meanwhile is not sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::params::{
    ANNOUNCE_DOTS_MAX, ASK_PATIENCE_MIN, OUTBOX_BYTES_MAX, OUTBOX_LOGS_MAX, PULL_PATIENCE, RANGES_BYTES_PER_ROUND,
    RANGES_BYTES_TARGET, SERVE_BYTES_BURST, SERVE_BYTES_PER_REQUEST, SERVE_BYTES_PER_SECOND, STRANGE_EXCHANGES,
};
use crate::record::Origin;

/// One log that has news for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Where the news begin.
    pub(super) after: u64,
    /// Hops they came.
    pub(super) hop: u8,
    /// Bytes of their records when these go with them; `None`: they are announced.
    pub(super) payload: Option<usize>,
}

/// One fellow.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// What is to be told.
    pub(super) outbox: BTreeMap<Origin, Told>,
    /// What is to be asked for.
    pub(super) asks: BTreeSet<Origin>,
    outbox_bytes: usize,
    /// When both go out, if there is anything in them.
    pub(super) flush_at: Option<Duration>,
    /// When they last did.
    pub(super) flushed: Option<Duration>,
    /// When it was last sent our hash.
    pub(super) compared: Option<Duration>,
    /// It is not asked for anything before this.
    pub(super) busy_until: Duration,
    /// Exchanges in a row that found nothing though the hashes differed.
    pub(super) strange: u32,
    /// How many last records it was sent for that.
    pub(super) tails_told: usize,
    /// What waited to be taken when it was last asked.
    pending: (usize, usize),
    /// Something that it sent since was new.
    pub(super) moved: bool,
    rtt: Duration,
    served: Allowance,
}

impl Peer {
    /// Notes news. Returns how many were dropped because too much is waiting.
    pub(super) fn tell(&mut self, origin: Origin, news: Told) -> u64 {
        let before = self.outbox.remove(&origin);
        self.outbox_bytes -= before.and_then(|told| told.payload).unwrap_or(0);
        if before.is_none() && self.outbox.len() >= OUTBOX_LOGS_MAX {
            return 1;
        }
        let mut told = before.map_or(news, |before| Told {
            after: before.after.min(news.after),
            hop: before.hop.max(news.hop),
            payload: before.payload.zip(news.payload).map(|(one, other)| one + other),
        });
        // Too much to push is announced: whoever wants it asks at its own pace.
        told.payload = told.payload.filter(|bytes| self.outbox_bytes + bytes <= OUTBOX_BYTES_MAX);
        self.outbox_bytes += told.payload.unwrap_or(0);
        self.outbox.insert(origin, told);
        0
    }

    /// The peer holds the log through there by itself: it is not told.
    pub(super) fn holds(&mut self, origin: Origin, through: u64, ours: u64) {
        if let Some(told) = self.outbox.get_mut(&origin) {
            told.after = told.after.max(through);
            if through >= ours {
                self.outbox_bytes -= told.payload.unwrap_or(0);
                self.outbox.remove(&origin);
            }
        }
    }

    /// Everything that waits.
    pub(super) fn take(&mut self, now: Duration) -> (BTreeMap<Origin, Told>, BTreeSet<Origin>) {
        self.flush_at = None;
        self.outbox_bytes = 0;
        let taken = (std::mem::take(&mut self.outbox), std::mem::take(&mut self.asks));
        if !taken.0.is_empty() || !taken.1.is_empty() {
            self.flushed = Some(now);
        }
        taken
    }

    /// Once more nothing was found; whether it is time to look closer. News on their way are the usual reason, so that is rare.
    pub(super) const fn on_strange(&mut self) -> bool {
        self.strange += 1;
        self.strange.is_multiple_of(STRANGE_EXCHANGES * 16) || self.strange == STRANGE_EXCHANGES
    }

    /// It was asked for something, while so many bytes waited to be taken.
    pub(super) const fn on_asked(&mut self, pending: (usize, usize)) {
        (self.pending, self.moved) = (pending, false);
    }

    /// Whether its answer changed anything: whoever says "more" and sends nothing, or nothing that can be taken, is not asked for ever.
    pub(super) fn has_moved(&self, pending: (usize, usize)) -> bool {
        self.moved || self.pending != pending
    }

    /// It is connected; the handshake took so long there and back.
    pub(super) fn met(&mut self, took: Duration) {
        self.rtt = took;
    }

    /// How long its answer is waited for.
    pub(super) fn patience(&self) -> Duration {
        (self.rtt * 3).clamp(ASK_PATIENCE_MIN, PULL_PATIENCE)
    }

    /// What it may be sent for one request now, or when it may ask again.
    pub(super) fn serve(&mut self, now: Duration) -> Result<usize, Duration> {
        self.served.refill(now);
        if self.served.bytes >= RANGES_BYTES_TARGET as u64 {
            Ok(RANGES_BYTES_PER_ROUND.min(usize::try_from(self.served.bytes).unwrap_or(usize::MAX)))
        } else {
            let lacking = RANGES_BYTES_PER_ROUND as u64 - self.served.bytes;
            Err(Duration::from_millis(lacking * 1000 / SERVE_BYTES_PER_SECOND + 1))
        }
    }

    /// It was sent that much.
    pub(super) const fn on_served(&mut self, bytes: usize) {
        self.served.bytes = self.served.bytes.saturating_sub(bytes as u64 + SERVE_BYTES_PER_REQUEST);
    }
}

/// A token bucket.
#[derive(Debug)]
struct Allowance {
    bytes: u64,
    at: Duration,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { bytes: SERVE_BYTES_BURST, at: Duration::ZERO }
    }
}

impl Allowance {
    fn refill(&mut self, now: Duration) {
        let micros = u64::try_from(now.saturating_sub(self.at).as_micros()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(micros.saturating_mul(SERVE_BYTES_PER_SECOND / 1_000_000));
        self.bytes = self.bytes.min(SERVE_BYTES_BURST);
        self.at = now;
    }
}

/// Announcements of at most a datagram each.
pub(super) fn datagrams<T: Copy>(dots: &[T]) -> impl Iterator<Item = Vec<T>> + '_ {
    dots.chunks(ANNOUNCE_DOTS_MAX).map(<[T]>::to_vec)
}
