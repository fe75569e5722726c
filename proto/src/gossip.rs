//! How replicas of a zone become equal: a new record goes to k = 3 random peers at once, and a periodic exchange of hashes
//! repairs whatever that missed (AOP paper §7.6; push alone misses 6 % of the nodes).
//!
//! ```text
//!  A ── Digest ──▶ B      equal: silence
//!  A ◀─ Vector ─── B      different: B says what it holds
//!  A ── Ranges ──▶ B      what B lacks
//!  A ── Vector ──▶ B      when A lacks something, B sends Ranges
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::params::{FANOUT, GOSSIP_INTERVAL, PUSH_BYTES_MAX, RANGES_BYTES_PER_ROUND};
use crate::record::{Certificate, NodeId};
use crate::registry::{Registry, range_bytes};
use crate::selection::Chance;
use crate::wire::message::{Digest, Message, Range, Ranges, Vector};

/// A pull that brought nothing for this long is forgotten.
const PULL_PATIENCE: Duration = Duration::from_secs(1);
/// Hops a pushed record is passed on; beyond it the digests have it.
const PUSH_HOPS_MAX: u8 = 16;

/// Certificates by node, as far as they were verified.
pub type Chains = BTreeMap<NodeId, Vec<Certificate>>;

/// The exchange of one node with its fellow replicas.
#[derive(Debug, Default)]
pub struct Gossip {
    next_round: Duration,
    pulling: Option<Duration>,
    rounds: u64,
    differing: u64,
}

/// New records on their way.
#[derive(Debug)]
pub struct Rumour {
    /// The records.
    pub ranges: Vec<Range>,
    /// Hops they came.
    pub hop: u8,
    /// Who told us, when somebody did.
    pub from: Option<NodeId>,
}

/// What this replica holds and whom it can tell.
#[derive(Debug)]
pub struct Replica<'a> {
    /// Fellows that are connected.
    pub fellows: &'a [NodeId],
    /// Why origins may speak for the zone.
    pub chains: &'a Chains,
    /// The logs.
    pub registry: &'a Registry,
}

/// Messages to send, by peer.
pub type Sends = Vec<(NodeId, Message)>;

impl Gossip {
    /// When the next exchange is due.
    pub const fn next_round(&self) -> Duration {
        self.next_round
    }

    /// Whether a fellow is known to hold more than this node does.
    pub const fn is_behind(&self) -> bool {
        self.pulling.is_some()
    }

    /// Exchanges begun, and exchanges that found a difference.
    pub const fn counts(&self) -> (u64, u64) {
        (self.rounds, self.differing)
    }

    /// Starts the exchange that is due, with one random fellow.
    pub fn on_time(&mut self, now: Duration, registry: &Registry, fellows: &[NodeId], chance: &mut Chance) -> Sends {
        if now < self.next_round {
            return Vec::new();
        }
        self.next_round = now + chance.jitter(GOSSIP_INTERVAL);
        let digest = Digest { hash: registry.digest(), members: 0 };
        let peers = chance.sample(fellows, 1);
        self.rounds += peers.len() as u64;
        peers.into_iter().map(|peer| (peer, digest.clone().into())).collect()
    }

    /// Passes new records on at once: to k random fellows, not back to where they came from.
    pub fn push(&self, rumour: Rumour, zone: &Replica<'_>, chance: &mut Chance) -> Sends {
        let Rumour { ranges, hop, from } = rumour;
        let others: Vec<NodeId> = zone.fellows.iter().copied().filter(|node| Some(*node) != from).collect();
        let bytes: usize = ranges.iter().map(range_bytes).sum();
        let message: Message = if bytes <= PUSH_BYTES_MAX && hop < PUSH_HOPS_MAX {
            with_chains(ranges, zone.chains, false, hop + 1).into()
        } else {
            Digest { hash: zone.registry.digest(), members: 0 }.into()
        };
        chance.sample(&others, FANOUT).into_iter().map(|peer| (peer, message.clone())).collect()
    }

    /// A fellow's hash: when it differs, it is told what is held here.
    pub fn on_digest(&mut self, from: NodeId, digest: &Digest, registry: &Registry, now: Duration) -> Sends {
        if digest.hash == registry.digest() {
            return Vec::new();
        }
        self.differing += 1;
        vec![(from, Vector { buckets: u64::MAX, entries: registry.entries(from, u64::MAX, now), reply: true }.into())]
    }

    /// A fellow's vector: it gets what it lacks, and is asked for what is lacked here.
    pub fn on_vector(
        &mut self,
        from: NodeId,
        vector: &Vector,
        registry: &Registry,
        chains: &Chains,
        now: Duration,
    ) -> Sends {
        let (frames, more) = registry.frames_for(vector, RANGES_BYTES_PER_ROUND);
        let count = frames.len();
        let mut sends: Sends = frames
            .into_iter()
            .enumerate()
            .map(|(at, ranges)| (from, with_chains(ranges, chains, more && at + 1 == count, 0).into()))
            .collect();
        if vector.reply && registry.lacks_from(&vector.entries) {
            sends.extend(self.pull(from, registry, now));
        }
        sends
    }

    /// Asks a fellow for what is lacked here, unless a pull is under way.
    pub fn pull(&mut self, from: NodeId, registry: &Registry, now: Duration) -> Sends {
        if self.pulling.is_some_and(|since| now < since + PULL_PATIENCE) {
            return Vec::new();
        }
        self.pulling = Some(now);
        vec![(from, Vector { buckets: u64::MAX, entries: registry.entries(from, u64::MAX, now), reply: false }.into())]
    }

    /// Ranges arrived: the next part is asked for when there is one.
    pub fn on_ranges(&mut self, from: NodeId, more: bool, registry: &Registry, now: Duration) -> Sends {
        self.pulling = None;
        if more { self.pull(from, registry, now) } else { Vec::new() }
    }
}

fn with_chains(ranges: Vec<Range>, chains: &Chains, more: bool, hop: u8) -> Ranges {
    let origins: BTreeSet<NodeId> = ranges.iter().map(|range| range.origin.node).collect();
    let chains = origins.iter().filter_map(|node| chains.get(node)).cloned().collect();
    Ranges { ranges, chains, more, hop }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::codec::Wire;
    use crate::name::ZoneName;
    use crate::now::Now;
    use crate::params::CHAIN_MAX;
    use crate::record::{Head, Kind, Record, SignedRef, VISIBILITY_PUBLIC};
    use crate::registry::root::root_of;
    use crate::trust::{SigningKey, sign_flush};

    const NOW: Now = Now { mono: Duration::ZERO, wall_ms: 0 };

    fn key(number: u32) -> SigningKey {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        SigningKey::from_bytes(&seed)
    }

    /// One record of each of `count` nodes, all certified as far from the zone's key as may be.
    fn crowd(zone: &ZoneName, count: u32) -> (Registry, Chains) {
        let (mut registry, mut chains) = (Registry::new(zone.clone()), Chains::new());
        for number in 0..count {
            let key = key(number);
            let node = NodeId(key.verifying_key().to_bytes());
            let record = Record {
                zone: zone.as_str().to_owned(),
                kind: Kind::Tool.number(),
                name: format!("t.s.{zone}"),
                node,
                incarnation: 1,
                seq: 1,
                epoch: 0,
                hlc: 1,
                visibility: VISIBILITY_PUBLIC,
                issued_ms: 1,
                expires_ms: 0,
                def_hash: None,
                body: Some(vec![1]),
            };
            let root = root_of([(1, Sha256::digest(record.encode()).into())].into_iter());
            let head = Head { seq: 1, floor: 0, count: 1, root };
            let signed: SignedRef = Arc::new(sign_flush(&key, vec![record], head).remove(0));
            let records = vec![signed.envelope.to_vec()];
            let range =
                Range { origin: signed.record.origin(), from_exclusive: 0, to_inclusive: 1, cut: false, records };
            registry.apply(node, &range, &[signed], NOW).unwrap();
            chains.insert(node, vec![Certificate::issue(&key, zone, node, 1); CHAIN_MAX]);
        }
        (registry, chains)
    }

    /// The frames were filled with records alone: the certificates of many small origins made them longer than a frame may be,
    /// which ended the node that built them.
    #[test]
    fn a_crowd_of_origins_fits_its_frames_and_arrives_in_parts() {
        let zone = ZoneName::parse(&["a-zone-with-a-long-name"; 8].join(".")).unwrap();
        let (sender, chains) = crowd(&zone, 1500);
        let mut receiver = Registry::new(zone);
        let mut parts = 0;
        while receiver.digest() != sender.digest() {
            let vector = Vector { buckets: u64::MAX, entries: receiver.vector(), reply: false };
            let sends = Gossip::default().on_vector(NodeId([1; 32]), &vector, &sender, &chains, Duration::ZERO);
            for (_, message) in sends {
                let Ok(Message::Ranges(ranges)) = Message::decode(&message.encode()) else { panic!("it reads back") };
                for range in ranges.ranges {
                    let records: Vec<SignedRef> = sender.records_of(range.origin).cloned().collect();
                    receiver.apply(NodeId([1; 32]), &range, &records, NOW).unwrap();
                }
            }
            parts += 1;
            assert!(parts < 20, "every part brings more");
        }
        assert!(parts > 1);
    }
}
