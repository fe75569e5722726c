//! What the endpoint counts, for `/metrics` and `status`. Numbers only grow; nobody decides anything by them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aop_proto::wire::Class;

/// The counts at one moment, since the endpoint was bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Messages given to the network.
    pub messages_sent: u64,
    /// Messages that were refused, by class in the order of [`Class`]: no room, no connection, or too large.
    pub messages_refused: [u64; 4],
    /// Messages that were queued and not sent, because the peer went away.
    pub messages_lost: u64,
    /// Datagrams that arrived and were forgotten, because nobody read them in time; counted when their connection ends.
    pub datagrams_unread: u64,
    /// Messages handed over.
    pub messages_received: u64,
    /// Bytes of the messages sent, without framing.
    pub bytes_sent: u64,
    /// Bytes of the messages received, without framing.
    pub bytes_received: u64,
    /// Requests asked of peers.
    pub requests_sent: u64,
    /// Requests peers asked of us.
    pub requests_received: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials that came to nothing.
    pub dials_failed: u64,
    /// Incoming connections that came to nothing: no key, wrong protocol, no room, no greeting.
    pub handshakes_refused: u64,
    /// Peers that broke the framing and were cut off.
    pub violations: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    messages_sent: AtomicU64,
    messages_refused: [AtomicU64; 4],
    messages_lost: AtomicU64,
    datagrams_unread: AtomicU64,
    messages_received: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    requests_sent: AtomicU64,
    requests_received: AtomicU64,
    dials: AtomicU64,
    dials_failed: AtomicU64,
    handshakes_refused: AtomicU64,
    violations: AtomicU64,
}

impl Counters {
    pub(super) fn messages_sent(&self, messages: usize, bytes: usize) {
        self.messages_sent.fetch_add(messages as u64, Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn message_refused(&self, class: Class) {
        self.messages_refused[class as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn messages_lost(&self, messages: usize) {
        self.messages_lost.fetch_add(messages as u64, Relaxed);
    }

    pub(super) fn datagrams_unread(&self, datagrams: u64) {
        self.datagrams_unread.fetch_add(datagrams, Relaxed);
    }

    pub(super) fn message_received(&self, bytes: usize) {
        self.messages_received.fetch_add(1, Relaxed);
        self.bytes_received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn request_sent(&self) {
        self.requests_sent.fetch_add(1, Relaxed);
    }

    pub(super) fn request_received(&self) {
        self.requests_received.fetch_add(1, Relaxed);
    }

    pub(super) fn dial(&self) {
        self.dials.fetch_add(1, Relaxed);
    }

    pub(super) fn dial_failed(&self) {
        self.dials_failed.fetch_add(1, Relaxed);
    }

    pub(super) fn handshake_refused(&self) {
        self.handshakes_refused.fetch_add(1, Relaxed);
    }

    pub(super) fn violation(&self) {
        self.violations.fetch_add(1, Relaxed);
    }

    pub(super) fn snapshot(&self) -> PeerCounters {
        PeerCounters {
            messages_sent: self.messages_sent.load(Relaxed),
            messages_refused: self.messages_refused.each_ref().map(|count| count.load(Relaxed)),
            messages_lost: self.messages_lost.load(Relaxed),
            datagrams_unread: self.datagrams_unread.load(Relaxed),
            messages_received: self.messages_received.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            bytes_received: self.bytes_received.load(Relaxed),
            requests_sent: self.requests_sent.load(Relaxed),
            requests_received: self.requests_received.load(Relaxed),
            dials: self.dials.load(Relaxed),
            dials_failed: self.dials_failed.load(Relaxed),
            handshakes_refused: self.handshakes_refused.load(Relaxed),
            violations: self.violations.load(Relaxed),
        }
    }
}
