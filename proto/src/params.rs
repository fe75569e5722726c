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
/// Bytes of a tool as its server lists it, and of its name: what a record holds, less what else stands in one. (*taste*)
pub const DEFINITION_BYTES_MAX: usize = RECORD_BYTES_MAX - 8 * 1024;
/// Characters kept of an upstream's error, or of a peer's reason to refuse.
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
/// Bytes of records pushed to one peer in one frame; what is beyond it is announced.
pub const PUSH_BYTES_MAX: usize = 128 * 1024;
/// Bytes of a frame that still goes as a datagram; what every path carries (QUIC's least packet is 1200).
pub const DATAGRAM_BYTES_MAX: usize = 1150;
/// Parts of the vector that are compared one by one when digests differ.
pub const BUCKETS: usize = 64;
/// Origins one zone may hold; a peer cannot create more.
pub const ORIGINS_MAX: usize = 16_384;
/// A stamp so far ahead of the local clock is held back until the clock has come that far (research: no window is safe for refusing).
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_millis(500);
/// Own stamps further ahead of the own clock than this end the log's life; less is waited for.
pub const CLOCK_BACK_MAX: Duration = Duration::from_secs(10);
/// Bytes held back for the clock, of all origins; above it only *that* an origin waits is remembered.
pub const DEFERRED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The same, of one node: whoever stamps far ahead takes an eighth of the room.
pub const DEFERRED_BYTES_NODE_MAX: usize = DEFERRED_BYTES_MAX / 8;
/// Bytes of logs that are being put together from parts, of all origins, each record reckoned as twice its bytes: together with
/// everything else that is less than the 512 MiB a node may take.
pub const STAGED_BYTES_MAX: usize = 384 * 1024 * 1024;
/// What one log may count (PROTOCOL §10.11): 100,000 tools of 900 bytes. No more than fits the parts, where each
/// record is reckoned twice.
pub const LOG_BYTES_MAX: usize = STAGED_BYTES_MAX / 2;
/// What a record counts of it beside its texts and its body: numbers, hash, signature, head and a path of 18 hashes, which a flush of
/// a whole log has, and half of what a part is reckoned to take besides: 971 bytes at most.
pub const LOG_BYTES_RECORD: usize = 1024;
/// What a writer leaves of it for what it says of itself, half of that for states of servers.
pub const LOG_BYTES_RESERVED: usize = 8 * 1024 * 1024;
/// A sender that was silent for so long while a log was put together from its parts is given up for another.
pub const STAGE_PATIENCE: Duration = Duration::from_secs(5);
/// While a log comes in parts from one sender, others do not begin to send it: for so long at most.
pub const LOAN_MAX: Duration = Duration::from_secs(15);
/// That is so again this long after it began: whoever lies, and however many they are, others can begin most of the time.
pub const LOAN_PAUSE: Duration = Duration::from_secs(60);
/// Entries of a vector that is sent: of up to 52 bytes each, so that it fits a frame.
pub const VECTOR_ENTRIES_MAX: usize = 19_456;
/// Tombstones are collected by their writer after this time (research: 24 h).
pub const TOMBSTONE_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Addresses of a parent that one node record names.
pub const PARENTS_MAX: usize = 8;
/// Addresses of parents that are kept because node records of fellows name them, of all fellows together.
pub const PARENTS_LEARNT_MAX: usize = 32;
/// Certificates between a zone key and a node.
pub const CHAIN_MAX: usize = 16;
/// Manifests of one zone that are kept and sent: who was away for more rotations has to be told the key again.
pub const MANIFESTS_MAX: usize = 32;
/// Certificates under a zone's key are believed for so long after the next key's manifest was issued, so that a rotation loses
/// nobody who is away for less.
pub const KEY_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// So many forgeries of one peer, over a link that strangers may come over, shut it out.
pub const OFFENCES: u32 = 3;
/// Within this time.
pub const OFFENCES_WITHIN: Duration = Duration::from_secs(600);
/// For so long the first time, twice as long each further time.
pub const QUARANTINE: Duration = Duration::from_secs(60);
/// At most so long; whoever has behaved for as long begins anew.
pub const QUARANTINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Peers whose forgeries are counted.
pub const OFFENDERS_MAX: usize = 1024;
/// A signed call is carried out for so long after it was signed, by the clock of its home.
pub const CALL_AGE_MAX: Duration = Duration::from_secs(60);
/// So far ahead of its home's clock a call may be signed. So a home that ran before refuses for as long after its start: what was
/// signed until then it may have carried out and forgotten.
pub const CALL_AHEAD_MAX: Duration = Duration::from_secs(10);
/// Signed calls of that time that are remembered, so that none is carried out twice; one more is refused.
pub const CALLS_REMEMBERED_MAX: usize = 128 * 1024;
/// The same, of one author.
pub const CALLS_NODE_REMEMBERED_MAX: usize = 16 * 1024;
/// Bytes, about, of what proves a zone's key to others.
pub const PROOFS_BYTES_MAX: usize = 32 * 1024;
/// A zone below is cut off again only for so much later, milliseconds: each time is news for everybody.
pub const CUT_OFF_STEP_MS: u64 = 1000;
/// Revocations kept of one zone, and of all that are not pinned: a statement stands for ever.
pub const REVOCATIONS_ZONE_MAX: usize = 1024;
/// The same, of all zones.
pub const REVOCATIONS_MAX: usize = 16 * 1024;
/// Places of both kept for whoever holds the zone's key.
pub const REVOCATIONS_RESERVED: usize = 256;
/// Statements of one frame: each may cost a check for every certificate in it.
pub const REVOCATIONS_PER_FRAME: usize = 64;
/// Bytes of the reason in one.
pub const REASON_CHARS_MAX: usize = 800;
/// How long an invite is good for: default, least, most (DESIGN D9; research §2.5).
pub const INVITE_LIFE: (Duration, Duration, Duration) =
    (Duration::from_secs(60 * 60), Duration::from_secs(60), Duration::from_secs(7 * 24 * 60 * 60));
/// How many nodes may use it: default, least, most.
pub const INVITE_USES: (u32, u32, u32) = (1, 1, 1000);
/// Bytes of an invite's token.
pub const INVITE_BYTES_MAX: usize = 4096;
/// Zones between an anchor and a record.
pub const ZONE_DEPTH_MAX: usize = 16;

/// Peers a new dot is pushed to at once (AOP paper §7.6).
pub const FANOUT: usize = 3;
/// Bytes of records up to which they are pushed whole whatever the hop: an announcement would cost as much (research §4).
pub const PUSH_BYTES_SMALL: usize = 256;
/// Peers a new dot is announced to where it is not pushed (DESIGN D5).
pub const ANNOUNCE_FANOUT: usize = 6;
/// Dots of one announcement, so that it is a datagram: 50 bytes each at most.
pub const ANNOUNCE_DOTS_MAX: usize = 22;
/// A peer that was sent something is sent nothing new for this long, so that news of a burst share their frames (research §4).
pub const COALESCE: Duration = Duration::from_millis(2);
/// News waiting for one peer: logs, and bytes of their records. Beyond it they are dropped: the digest repairs that (research §8).
pub const OUTBOX_LOGS_MAX: usize = 4096;
/// The bytes of it.
pub const OUTBOX_BYTES_MAX: usize = 1024 * 1024;
/// Logs that are known to go on elsewhere and are asked for.
pub const WANTS_MAX: usize = 4096;
/// Those that one fellow was the first to announce, which may be lies.
pub const WANTS_FELLOW_MAX: usize = WANTS_MAX / 4;
/// Fellows remembered to hold one of them.
pub const ANNOUNCERS_MAX: usize = 3;
/// Fellows asked for one of them before it is left to the digests.
pub const ASKED_MAX: u8 = 6;
/// Shortest time after which another is asked; otherwise three handshakes, the first timeout of RFC 6298 §2.
pub const ASK_PATIENCE_MIN: Duration = Duration::from_millis(50);
/// Changes of the own logs that are remembered with the hash before them: a fellow that is behind by as little is told in a line.
pub const PAST_MAX: usize = 16;
/// Logs up to which differing digests are answered with the whole vector: it is not much longer than the hashes of its parts.
pub const SMALL_ZONE_LOGS: usize = 64;
/// A pull that brought nothing for this long is forgotten.
pub const PULL_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes a second that one peer may pull, and how much at once; above it the answer is "busy" (research §8).
pub const SERVE_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;
/// How much at once.
pub const SERVE_BYTES_BURST: u64 = 4 * 1024 * 1024;
/// What a request is reckoned to cost beside the bytes of its answer.
pub const SERVE_BYTES_PER_REQUEST: u64 = 1024;
/// Longest time that a peer which says "busy" is believed.
pub const BUSY_MAX: Duration = Duration::from_secs(10);
/// Pause between two push-pull rounds; ± 20 % jitter (research: T = 200 ms).
pub const GOSSIP_INTERVAL: Duration = Duration::from_millis(200);
/// News are followed by exchanges of hashes with [`FANOUT`] fellows each, so far apart, so that whoever they missed hears of them before
/// its own round; ± 20 %.
pub const LOOK_AFTER: Duration = Duration::from_millis(75);
/// How many: with one, a run in a hundred of 1,000 nodes that lose 10 % of what they say takes more than 800 ms to the last node.
pub const LOOKS: u8 = 2;
/// Exchanges with one fellow that found nothing though the hashes differ, after which the last records are compared.
pub const STRANGE_EXCHANGES: u32 = 3;
/// Pause between two attempts to reach a configured address, doubled up to [`DIAL_BACKOFF_MAX`].
pub const DIAL_BACKOFF_MIN: Duration = Duration::from_millis(250);
/// Longest pause between two attempts; contact is retried for ever.
pub const DIAL_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Pause before a seed of a large zone that gave the connection up is dialled again: one look now and then heals partitions (P3).
pub const SEED_PAUSE: Duration = Duration::from_secs(30);
/// Pause between two probes of one node; ± 20 % jitter (SWIM's protocol period; research §6).
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Least time a probe waits for its answer, and how many round trips it waits when they are longer (research §6).
pub const PROBE_TIMEOUT: (Duration, u32) = (Duration::from_millis(100), 3);
/// Least time that is left for the indirect answers; otherwise twice the direct one. Two lost packets of a stream fit in.
pub const PROBE_INDIRECT_MIN: Duration = Duration::from_millis(400);
/// Round trip to somebody who is not connected (research §8).
pub const RTT_UNKNOWN: Duration = Duration::from_millis(100);
/// Fellows asked to probe somebody who does not answer (SWIM's k; Das et al. 2002).
pub const INDIRECT_PROBES: usize = 3;
/// Probes of one node under way, and probes it makes for others.
pub const PROBES_MAX: usize = 512;
/// Members away in a row in the ring of ids, beyond which nobody is watched across them.
pub const RING_STEPS_MAX: usize = 64;
/// Local health from 0 to this multiplies a node's own timeouts by one more (Lifeguard §3.1).
pub const HEALTH_MAX: u32 = 8;
/// Who is woken later than asked by this has not listened: it accuses nobody before [`STALL_GRACE`] has passed (research §6).
pub const STALL: Duration = Duration::from_secs(1);
/// Time to read what came in during a stall, and to connect again.
pub const STALL_GRACE: Duration = Duration::from_secs(2);
/// Shortest wait between suspect and down, with all confirmations (research §6).
pub const SUSPICION_MIN: Duration = Duration::from_millis(1500);
/// Longest wait in a small zone; in a large one 4 · log₁₀ n probe periods (Lifeguard §3.3).
pub const SUSPICION_LEAST: Duration = Duration::from_secs(3);
/// Independent confirmations that make a wait the shortest (Lifeguard's K).
pub const SUSPICION_CONFIRMATIONS: usize = 3;
/// Pause between two tellings of news of members; the first is at once.
pub const NEWS_INTERVAL: Duration = Duration::from_millis(50);
/// News of members on their way; the most told go first, the digests repair.
pub const NEWS_MAX: usize = 1024;
/// News in one frame: below 5 KiB.
pub const NEWS_PER_FRAME: usize = 64;
/// News beside a probe: with them it stays below half of [`DATAGRAM_BYTES_MAX`].
pub const NEWS_PER_PROBE: usize = 6;
/// Members in one frame of everything that differs from "alive": below 80 KiB.
pub const SUMMARY_PER_FRAME: usize = 1024;
/// A difference of the members' hashes is repaired when it outlasts this: until then it may be news on their way.
pub const REPAIR_PATIENCE: Duration = Duration::from_millis(500);
/// Pause between two such repairs, and between two full answers to one peer.
pub const REPAIR_PAUSE: Duration = Duration::from_secs(1);
/// Members, the node included, up to which everybody is connected with everybody (DESIGN D5, D6).
pub const VIEW_ALL: usize = 256;
/// Members at which a zone that had been larger is connected throughout again, so that one that comes and goes changes nothing.
pub const VIEW_ALL_AGAIN: usize = 192;
/// Connections of a member of a larger zone (research §6); it accepts as many, and dials [`VIEW_OWN`].
pub const VIEW_SIZE: usize = 24;
/// Connections a member of a larger zone keeps by dialling.
pub const VIEW_OWN: usize = VIEW_SIZE / 2;
/// Pause between two exchanges of the oldest own connection for a new one; ± 20 % jitter (research §6).
pub const VIEW_ROTATION: Duration = Duration::from_secs(10);
/// Dials on their way at once.
pub const VIEW_DIALS_MAX: usize = 16;
/// Time after which a wish to be connected with the same member is said again.
pub const VIEW_RETRY: Duration = Duration::from_secs(10);
/// Pause between two looks for somebody who is away; ± 20 % jitter. For ever: that is how partitions end (P3).
pub const AWAY_CONTACT: Duration = Duration::from_secs(10);
/// Pause between two looks for logs whose nodes do not come back.
pub const REAP_INTERVAL: Duration = Duration::from_secs(600);
/// Pause between two words to an operator about a clock that is ahead.
pub const CLOCK_NOTICE: Duration = Duration::from_secs(60);
/// Times that the pause between two lives of one run doubles.
pub const LIFE_PAUSES_MAX: u64 = 8;
/// Least time between the first two lives of one log in a run.
pub const LIFE_PAUSE: Duration = Duration::from_secs(10);
/// How far above the clock's seconds an incarnation that somebody claims, or ends, is believed: 30 days of a clock gone wrong.
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

/// Zones in one export; a zone with more below it is always asked.
pub const EXPORT_ZONES_MAX: usize = 256;
/// A node is asked for its export no more often: filters are large.
pub const EXPORT_PAUSE: Duration = Duration::from_secs(5);
/// A fellow whose handshake took as long is far: it is not asked for what it did not say it keeps.
pub const FELLOW_FAR: Duration = Duration::from_millis(5);
/// What is kept of other zones is told to far fellows so soon, together with what is kept meanwhile.
pub const KEPT_PAUSE: Duration = Duration::from_millis(10);
/// Answers that are told at once, and that may be told.
pub const KEPT_TOLD_MAX: usize = 1_024;
/// What is kept for less is not told.
pub const KEPT_LIFE_MIN: Duration = Duration::from_secs(10);

/// One that is used and older than this is asked for anew.
pub const EXPORT_RENEWAL: Duration = Duration::from_secs(30);

/// Time for a whole query unless the asker says otherwise: (default, min, max).
pub const QUERY_DEADLINE: (Duration, Duration, Duration) =
    (Duration::from_secs(2), Duration::from_millis(10), Duration::from_secs(30));
/// Part of a deadline each hop keeps for itself, so that its partial answer, or its words about a call, still arrive.
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
/// The same of one node that asks.
pub const QUERIES_PEER_MAX: usize = QUERIES_MAX / 8;
/// About the bytes of answers that wait for other zones; a zone that finds no room counts as silent.
pub const QUERIES_BYTES_MAX: usize = 64 * 1024 * 1024;
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
/// How long a read-only call may be under way before another instance is tried beside it, where that is wanted: (an example, min, max).
pub const HEDGE: (Duration, Duration, Duration) =
    (Duration::from_millis(200), Duration::from_millis(1), Duration::from_secs(60));
/// Calls in one request; they run at once.
pub const CALLS_PER_REQUEST_MAX: usize = 64;
/// Attempts beyond the first: (default, min, max).
pub const RETRIES: (u32, u32, u32) = (2, 0, 20);
/// Pause before the first of them, doubled with each: (default, min, max).
pub const RETRY_BACKOFF: (Duration, Duration, Duration) =
    (Duration::from_millis(100), Duration::from_millis(1), Duration::from_secs(60));
/// The longest: (default, min, max).
pub const RETRY_BACKOFF_MAX: (Duration, Duration, Duration) =
    (Duration::from_secs(5), Duration::from_millis(1), Duration::from_secs(300));
/// Repeats of what may have run, or was refused by all, in percent of the calls to an endpoint: (default, min, max).
pub const RETRY_SHARE: (u32, u32, u32) = (20, 0, 100);
/// Repeats that may come at once.
pub const RETRY_BURST: u32 = 64;
/// Failures of late that open a breaker, where at least as many attempts failed as did not.
pub const BREAKER_FAILURES: u32 = 5;
/// "Of late" is so many slots.
pub const BREAKER_SLOTS: usize = 10;
/// Of this length.
pub const BREAKER_SLOT: Duration = Duration::from_secs(3);
/// How long it stays open the first time, doubled each further time.
pub const BREAKER_PAUSE: Duration = Duration::from_secs(1);
/// At most so long.
pub const BREAKER_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Attempts that may be under way while it is half open.
pub const BREAKER_PROBES: u32 = 3;
/// Those that have to end well before it is closed.
pub const BREAKER_PROBES_GOOD: u32 = 2;
/// A time-out after so many times what an endpoint took of late speaks against it, taste.
pub const BREAKER_LATENCIES: u32 = 10;
/// But none that came sooner: the network alone may take as long, taste.
pub const BREAKER_TIME_MIN: Duration = Duration::from_secs(1);
/// Of a tool that never answered this node another instance is tried beside one that is silent for so long, taste.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Endpoints whose breaker, load and budget are kept; of more, those that have nothing to do are forgotten.
pub const ENDPOINTS_MAX: usize = 16_384;
/// A slow answer is half forgotten after this time.
pub const LATENCY_MEMORY: Duration = Duration::from_secs(10);
/// Share of an instance where weights decide: (default, min, max).
pub const WEIGHT: (u32, u32, u32) = (1, 1, 1000);
/// Calls of one tool that run at once: (default, min, max).
pub const WORKERS: (u32, u32, u32) = (64, 1, 1024);
/// Calls of one tool that wait: (default, min, max). Source: swarms AOP, `max_queue_size_per_agent`.
pub const QUEUE: (usize, usize, usize) = (1000, 0, 100_000);
/// Queues kept; of more, those that have nothing to do are forgotten.
pub const QUEUES_MAX: usize = 16_384;
/// Priority of a call: (default, min, max); the highest comes first.
pub const PRIORITY: (u8, u8, u8) = (5, 0, 9);
/// What a step of priority is worth.
pub const PRIORITY_STEP: Duration = Duration::from_secs(2);
/// How much later a call counts as come for each other one of its caller that waits.
pub const FAIR_STEP: Duration = Duration::from_millis(100);
/// The longest time after which a refused caller is told to come back.
pub const QUEUE_HINT_MAX: Duration = Duration::from_secs(300);
/// Characters of an idempotency key as a caller writes it.
pub const KEY_CHARS_MAX: usize = 255;
/// How long a call under an idempotency key is remembered at its home.
pub const LEDGER_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Calls remembered so.
pub const LEDGER_ENTRIES_MAX: usize = 65_536;
/// The part of one zone's callers in them, and in the bytes of their answers: one in so many.
pub const LEDGER_ZONE_PART: usize = 4;
/// The part of one caller.
pub const LEDGER_CALLER_PART: usize = 8;
/// Bytes of one answer that is kept for replay; of a larger one only that there was one is.
pub const LEDGER_ANSWER_BYTES_MAX: usize = 512 * 1024;
/// Bytes of all of them.
pub const LEDGER_BYTES_MAX: usize = 64 * 1024 * 1024;
