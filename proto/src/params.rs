//! Every bound of the protocol, as (default, min, max) where it can be configured, with its source.
//!
//! A limit that is tested at the limit and past it lives here; nothing else in the crate names a number of its own.

use std::time::Duration;

/// Characters of one label (DESIGN D1, RFC 1035 §2.3.4).
pub const LABEL_CHARS_MAX: usize = 63;
/// Characters of a whole name.
pub const NAME_CHARS_MAX: usize = 253;
/// Characters of a tool name on the MCP wire; real clients drop the whole list otherwise.
pub const WIRE_NAME_CHARS_MAX: usize = 64;

/// Bytes of one record's payload (DESIGN D17).
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Characters kept of an upstream's error.
pub const ERROR_CHARS_MAX: usize = 500;
/// Bytes of one frame, header included.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Characters of an address, `host:port`.
pub const ADDRESS_CHARS_MAX: usize = 260;
/// Characters of a tag or a capability.
pub const FILTER_CHARS_MAX: usize = 256;
/// Addresses of others that contact is kept with.
pub const CONTACTS_MAX: usize = 512;
/// Records one frame of ranges aims to stay below, in bytes.
pub const RANGES_BYTES_TARGET: usize = 192 * 1024;
/// What a range is reckoned to cost beside its records: its origin, and the certificates that travel with it.
pub const RANGE_BYTES_OVERHEAD: usize = 2048;
/// Bytes sent to one peer in answer to one vector; the rest follows when it asks again.
pub const RANGES_BYTES_PER_ROUND: usize = 640 * 1024;
/// Bytes of a new record up to which it is pushed whole; above it the digest announces it.
pub const PUSH_BYTES_MAX: usize = 128 * 1024;
/// Bytes of a frame that still goes as a datagram; what every path carries (QUIC's least packet is 1200).
pub const DATAGRAM_BYTES_MAX: usize = 1150;
/// Parts of the vector that are compared one by one when digests differ.
pub const BUCKETS: usize = 64;
/// Origins one zone may hold; a peer cannot create more.
pub const ORIGINS_MAX: usize = 16_384;
/// A stamp so far ahead of the local clock is held back until the clock has come that far (research: no window is safe for refusing).
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_millis(500);
/// Bytes held back for the clock, of all origins; above it only *that* an origin waits is remembered.
pub const DEFERRED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of logs that are being put together from parts, of all origins; so no log that comes in parts may be larger.
pub const STAGED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A sender that was silent for so long while a log was put together from its parts is given up for another.
pub const STAGE_PATIENCE: Duration = Duration::from_secs(5);
/// Tombstones that not every member acknowledged are collected after this time (research: 24 h).
pub const TOMBSTONE_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Addresses of a parent that one node record names.
pub const PARENTS_MAX: usize = 8;
/// Certificates between a zone key and a node.
pub const CHAIN_MAX: usize = 16;
/// Zones between an anchor and a record.
pub const ZONE_DEPTH_MAX: usize = 16;

/// Peers a new dot is pushed to at once (AOP paper §7.6).
pub const FANOUT: usize = 3;
/// Pause between two push-pull rounds; ± 20 % jitter (research: T = 200 ms).
pub const GOSSIP_INTERVAL: Duration = Duration::from_millis(200);
/// Pause between two attempts to reach a configured address, doubled up to [`DIAL_BACKOFF_MAX`].
pub const DIAL_BACKOFF_MIN: Duration = Duration::from_millis(250);
/// Longest pause between two attempts; contact is retried for ever.
pub const DIAL_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Least time between two lives of one log.
pub const LIFE_PAUSE: Duration = Duration::from_secs(10);
/// How far above the clock's seconds an incarnation that somebody claims is believed: 30 days of a clock gone wrong.
pub const LIVES_AHEAD_MAX: u64 = 30 * 24 * 3600;
/// Writes that wait while a new life of the log is made durable.
pub const WRITES_WAITING_MAX: usize = 1024;
/// Life of a node record, renewed at a third of it: liveness is the business of probes, so that a zone of thousands is not busy with
/// renewals. A log whose node record has ended may be reaped.
pub const NODE_LEASE: Duration = Duration::from_secs(24 * 3600);
/// Life of a delegation, renewed at a third of it.
pub const LEASE: Duration = Duration::from_secs(300);
/// A new replica waits this long for what its fellows hold before it speaks for the zone with what it has.
pub const CATCH_UP_MAX: Duration = Duration::from_secs(30);
/// A child's change is told to its parent after this pause, so that bursts are one notice.
pub const SERIAL_NOTICE_DELAY: Duration = Duration::from_millis(100);

/// Time for a whole query unless the asker says otherwise: (default, min, max).
pub const QUERY_DEADLINE: (Duration, Duration, Duration) =
    (Duration::from_secs(2), Duration::from_millis(10), Duration::from_secs(30));
/// Part of a deadline each hop keeps for itself, so that its partial answer still arrives.
pub const HOP_MARGIN: Duration = Duration::from_millis(50);
/// Hops of a query or a call.
pub const HOPS_MAX: u8 = 8;
/// Zones asked for words, over all hops; names ask 32 (DESIGN D7).
pub const ZONES_ASKED_WORDS: u16 = 64;
/// Nodes asked for one name, over all hops.
pub const ZONES_ASKED_NAMES: u16 = 32;
/// Results of one question: (default, min, max).
pub const RESULTS: (usize, usize, usize) = (10, 1, 1000);
/// Candidates a zone returns for words, whatever the limit asked: the asker re-scores them.
pub const CANDIDATES_MIN: usize = 20;
/// Queries in flight at one node; above it the answer is "busy".
pub const QUERIES_MAX: usize = 4096;
/// Characters of a question.
pub const QUESTION_CHARS_MAX: usize = 4096;

/// L1: one door's own answers (AOP paper §7.5).
pub const TTL_L1: Duration = Duration::from_secs(60);
/// L2: the zone's answers.
pub const TTL_L2: Duration = Duration::from_secs(300);
/// L3: the registry's; also the life an authority gives its own answer.
pub const TTL_L3: Duration = Duration::from_secs(900);
/// A partial answer is worth this long.
pub const TTL_PARTIAL: Duration = Duration::from_secs(5);
/// A "no such name" is worth this long.
pub const TTL_NEGATIVE: Duration = Duration::from_secs(30);
/// Answers kept in L2 and L3 each.
pub const CACHE_ENTRIES_MAX: usize = 10_000;
/// Bytes of answers kept in L2 and L3 each.
pub const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Time for a call: (default, min, max).
pub const CALL_TIMEOUT: (Duration, Duration, Duration) =
    (Duration::from_secs(30), Duration::from_millis(1), Duration::from_secs(300));
