//! What was sent, in flat counters: by host and kind of message, by host and class, and handshakes apart.
//!
//! Bytes are those above QUIC: the frame, and four more for the length of a unit on a stream (PROTOCOL §3). What was dropped,
//! lost or came twice counts once, at its sender; a message that goes nowhere because no link stands is not sent.

use aop_proto::wire::Class;

/// Bytes a cold QUIC connection costs, both ways together (DESIGN D6).
pub const HANDSHAKE_BYTES: u64 = 15_000;
/// Round trips of a handshake until the first message arrives.
pub const HANDSHAKE_ROUND_TRIPS: u64 = 2;
/// Bytes before each frame on a stream.
const UNIT_BYTES: u64 = 4;
/// Kinds of messages have numbers below this; a higher one counts with the last.
const KINDS: usize = 64;
const CLASSES: usize = 4;

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Bytes, headers included.
    pub bytes: u64,
}

impl Traffic {
    const fn add(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

impl std::iter::Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        let mut sum = Self::default();
        parts.for_each(|part| sum += part);
        sum
    }
}

/// Counters of one host.
#[derive(Debug)]
struct Ledger {
    sent: [Traffic; KINDS],
    received: [Traffic; KINDS],
    classes: [Traffic; CLASSES],
    handshakes: u64,
}

/// Counters of all hosts.
#[derive(Debug, Default)]
pub(super) struct Ledgers(Vec<Ledger>);

const fn place(kind: u8) -> usize {
    if (kind as usize) < KINDS { kind as usize } else { KINDS - 1 }
}

impl Ledgers {
    pub(super) fn add_host(&mut self) {
        let none = Traffic::default();
        let ledger = Ledger { sent: [none; KINDS], received: [none; KINDS], classes: [none; CLASSES], handshakes: 0 };
        self.0.push(ledger);
    }

    pub(super) fn count(&mut self, from: usize, to: usize, kind: u8, class: Class, bytes: usize) {
        let unit = if class == Class::Datagram { 0 } else { UNIT_BYTES };
        let bytes = bytes as u64 + unit;
        let sender = &mut self.0[from];
        sender.sent[place(kind)].add(bytes);
        sender.classes[class as usize].add(bytes);
        self.0[to].received[place(kind)].add(bytes);
    }

    pub(super) fn handshake(&mut self, from: usize) {
        self.0[from].handshakes += 1;
    }

    pub(super) fn handshakes(&self, host: usize) -> u64 {
        self.0[host].handshakes
    }

    pub(super) fn sent(&self, host: usize, wanted: impl Fn(u8) -> bool) -> Traffic {
        sum(&self.0[host].sent, wanted)
    }

    pub(super) fn received(&self, host: usize, wanted: impl Fn(u8) -> bool) -> Traffic {
        sum(&self.0[host].received, wanted)
    }

    pub(super) fn of_class(&self, host: usize, class: Class) -> Traffic {
        self.0[host].classes[class as usize]
    }
}

fn sum(kinds: &[Traffic; KINDS], wanted: impl Fn(u8) -> bool) -> Traffic {
    let kinds = (0_u8..).zip(kinds).filter(|(kind, _)| wanted(*kind));
    kinds.map(|(_, traffic)| *traffic).sum()
}
