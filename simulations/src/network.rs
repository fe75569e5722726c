//! Connections between hosts, with the semantics of QUIC streams: what is sent arrives in order or not at all, a connection that
//! is lost takes along what was in flight, and its two ends notice on their own time.
//!
//! A lost datagram is a delay here, as it is on a stream. `drop` loses whole messages on a connection that stands, as a full
//! queue does; it is what the repair of replicas is measured against.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aop_proto::record::NodeId;
use aop_proto::selection::Chance;

/// How the network is.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Least and most time of one way.
    pub latency: (Duration, Duration),
    /// Chance of a lost datagram, per mille; each loss costs a retransmission.
    pub loss: u64,
    /// Chance that a message of gossip or a question vanishes, per mille.
    pub drop: u64,
    /// Chance that a message of gossip or a question arrives with one byte changed, per mille: no network does that to QUIC, a
    /// peer may.
    pub noise: u64,
    /// How long the ends of a connection take to notice that the other is gone without a word.
    pub silence: Duration,
    /// How long a dial waits for an answer.
    pub patience: Duration,
    /// Least and most time of a write to the disk.
    pub sync: (Duration, Duration),
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            latency: (Duration::from_micros(200), Duration::from_millis(5)),
            loss: 0,
            drop: 0,
            noise: 0,
            silence: Duration::from_secs(10),
            patience: Duration::from_secs(5),
            sync: (Duration::from_micros(300), Duration::from_millis(4)),
        }
    }
}

/// Time after which a lost datagram is sent again, beyond the way itself.
const RETRANSMIT: Duration = Duration::from_millis(25);

/// A connection of two hosts; the lower number comes first.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) hosts: [usize; 2],
    /// Who they were when it was made.
    pub(crate) ids: [NodeId; 2],
    /// Which life of each host it belongs to.
    pub(crate) lives: [u32; 2],
    /// Whether each host was told that it stands, and not yet that it ended.
    pub(crate) up: [bool; 2],
    /// Nothing arrives any more.
    pub(crate) dead: bool,
    /// What is sent to each host arrives after this.
    pub(crate) busy_until: [Duration; 2],
}

impl Connection {
    pub(crate) const fn side(&self, host: usize) -> usize {
        if self.hosts[0] == host { 0 } else { 1 }
    }
}

/// All connections, and who cannot reach whom.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) connections: BTreeMap<(usize, usize), Connection>,
    cuts: BTreeSet<(usize, usize)>,
    next: u64,
}

pub(crate) const fn pair(a: usize, b: usize) -> (usize, usize) {
    if a < b { (a, b) } else { (b, a) }
}

impl Network {
    pub(crate) const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn between(&mut self, a: usize, b: usize) -> Option<&mut Connection> {
        self.connections.get_mut(&pair(a, b))
    }

    pub(crate) fn of(&self, host: usize) -> Vec<(usize, usize)> {
        self.connections.keys().filter(|(a, b)| *a == host || *b == host).copied().collect()
    }

    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        self.cuts.insert(pair(a, b));
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
    }

    pub(crate) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cuts.contains(&pair(a, b))
    }
}

impl Weather {
    /// Time of one way, lost datagrams included.
    pub(crate) fn way(&self, chance: &mut Chance) -> Duration {
        let mut way = between(self.latency, chance);
        let mut again = RETRANSMIT;
        while self.loss > 0 && chance.below(1000) < self.loss && again < Duration::from_secs(2) {
            way += again;
            again *= 2;
        }
        way
    }

    /// Whether a message of this kind vanishes. The words of a beginning (1 to 15) do not: they are the first on an empty queue.
    pub(crate) fn drops(&self, kind: u8, chance: &mut Chance) -> bool {
        kind >= 16 && self.drop > 0 && chance.below(1000) < self.drop
    }

    /// What becomes of a message of this kind on its way.
    pub(crate) fn noise(&self, kind: u8, bytes: &mut [u8], chance: &mut Chance) {
        if kind >= 16 && self.noise > 0 && chance.below(1000) < self.noise {
            let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap_or(0);
            let flip = u8::try_from(1 + chance.below(255)).unwrap_or(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= flip;
            }
        }
    }

    pub(crate) fn sync(&self, chance: &mut Chance) -> Duration {
        between(self.sync, chance)
    }
}

fn between((least, most): (Duration, Duration), chance: &mut Chance) -> Duration {
    let span = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX);
    least + Duration::from_nanos(chance.below(span + 1))
}
