//! What an answer may weigh: what came in is bounded before it is kept or passed on, what goes out fits one frame.
//!
//! Nothing is decided here about who is believed. What must always hold: whatever peers say, an answer made of it can be sent.

use crate::error::plain;
use crate::index::QUERY_TERMS_MAX;
use crate::params::{EXPORT_ZONES_MAX, FRAME_BYTES_MAX, NAME_CHARS_MAX, ZONES_ASKED_WORDS};
use crate::wire::message::{Answer, chain_bytes, manifest_bytes};

/// Bytes of candidates in one answer; its zones share them.
pub(super) const CANDIDATE_BYTES_MAX: usize = FRAME_BYTES_MAX * 9 / 16;
/// Bytes of proofs in one answer.
const PROOF_BYTES_MAX: usize = FRAME_BYTES_MAX / 8;
/// Zones in one answer that were asked, and silent ones in it: no question asks more.
const ZONES_MAX: usize = ZONES_ASKED_WORDS as usize;
/// Zones of which it was known without asking that they have nothing.
const BARE_ZONES_MAX: usize = EXPORT_ZONES_MAX;
/// Near names of one zone.
const NEAR_MAX: usize = 5;
/// Characters of the reason why a zone was silent.
const REASON_CHARS_MAX: usize = 200;

/// Tools, milliseconds and whatever else an answer counts: above all that there is, and the sum of all zones still fits.
pub(super) const COUNT_MAX: u64 = 1 << 40;

/// Cuts what a peer said to what an honest one says.
pub(super) fn take(answer: &mut Answer) {
    let (all, mut room) = (answer.zones.len(), [ZONES_MAX, BARE_ZONES_MAX]);
    answer.zones.retain(|zone| {
        let is_bare = zone.candidates.is_empty() && zone.near.is_empty() && zone.frequencies.is_empty();
        let room = &mut room[usize::from(is_bare)];
        let fits = *room > 0;
        *room = room.saturating_sub(1);
        fits
    });
    answer.skipped = answer.skipped.saturating_add(u32::try_from(all - answer.zones.len()).unwrap_or(u32::MAX));
    for zone in &mut answer.zones {
        let times = [&mut zone.age_ms, &mut zone.ttl_ms, &mut zone.took_us];
        let counts = [&mut zone.documents, &mut zone.total_length, &mut zone.matches];
        for count in times.into_iter().chain(counts).chain(&mut zone.frequencies) {
            *count = (*count).min(COUNT_MAX);
        }
        zone.frequencies.truncate(QUERY_TERMS_MAX);
        zone.near.retain(|near| near.len() <= NAME_CHARS_MAX);
        zone.near.truncate(NEAR_MAX);
    }
    answer.silent.retain(|silent| silent.zone.len() <= NAME_CHARS_MAX);
    answer.silent.truncate(ZONES_MAX);
    for silent in &mut answer.silent {
        silent.reason = plain(&silent.reason, REASON_CHARS_MAX);
        silent.zone = plain(&silent.zone, NAME_CHARS_MAX);
    }
}

/// Cuts an answer of ours to one frame: every zone keeps its best candidates, proofs go in the order given.
pub(super) fn fit(answer: &mut Answer) {
    answer.zones.sort_by_key(|zone| zone.candidates.is_empty());
    take(answer);
    let each = CANDIDATE_BYTES_MAX / answer.zones.iter().filter(|zone| !zone.candidates.is_empty()).count().max(1);
    for zone in &mut answer.zones {
        let mut room = each;
        zone.candidates.retain(|candidate| {
            let bytes = candidate.bytes();
            let fits = bytes <= room;
            room = if fits { room - bytes } else { 0 };
            fits
        });
    }
    let mut room = PROOF_BYTES_MAX;
    answer.proofs.retain(|proof| {
        let certified = chain_bytes(&proof.chain) + manifest_bytes(&proof.manifests);
        let bytes = proof.zone.len() + proof.delegation.len() + certified + 16;
        let fits = bytes <= room;
        room = if fits { room - bytes } else { room };
        fits
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Certificate, NodeId, ZoneProof};
    use crate::wire::message::{Candidate, Health, Instance, Message, Silent, ZoneAnswer};

    fn certificate() -> Certificate {
        let (zone, signature) = ("z".repeat(NAME_CHARS_MAX), [1; 64]);
        Certificate { zone, node: NodeId([1; 32]), issuer: [1; 32], issued_ms: u64::MAX, signature }
    }

    fn zone(candidates: usize) -> ZoneAnswer {
        let long = "x".repeat(5_000);
        let instance = Instance {
            node: NodeId([1; 32]),
            address: long.clone(),
            health: Health::Ok,
            error: long.clone(),
            since_ms: u64::MAX,
        };
        let candidate = Candidate {
            envelope: vec![1; 5_000].into(),
            chain: vec![certificate(); 8],
            instances: vec![instance],
            clash: false,
        };
        ZoneAnswer {
            zone: "z".repeat(NAME_CHARS_MAX),
            node: NodeId([1; 32]),
            tag: u64::MAX,
            behind: false,
            age_ms: u64::MAX,
            ttl_ms: u64::MAX,
            took_us: u64::MAX,
            documents: u64::MAX,
            total_length: u64::MAX,
            frequencies: vec![u64::MAX; 1000],
            matches: u64::MAX,
            candidates: vec![candidate; candidates],
            near: vec!["n".repeat(NAME_CHARS_MAX); 1000],
        }
    }

    /// Counts of two zones were added as they came, which ended whoever asked.
    #[test]
    fn whatever_zones_count_it_can_be_added() {
        let mut answer =
            Answer { id: 1, zones: vec![zone(1); ZONES_MAX], silent: Vec::new(), skipped: 0, proofs: Vec::new() };
        take(&mut answer);
        let sum =
            |of: fn(&ZoneAnswer) -> u64| answer.zones.iter().try_fold(0_u64, |sum, zone| sum.checked_add(of(zone)));
        let counts: [fn(&ZoneAnswer) -> u64; 7] = [
            |zone| zone.age_ms,
            |zone| zone.ttl_ms,
            |zone| zone.took_us,
            |zone| zone.documents,
            |zone| zone.total_length,
            |zone| zone.matches,
            |zone| zone.frequencies.iter().sum(),
        ];
        assert!(counts.into_iter().all(|of| sum(of).is_some()));
    }

    /// Answers of children were put together as they came: enough of them, or one that lied about its size, made a frame
    /// above its limit, which ended the node that answered.
    #[test]
    fn whatever_zones_say_their_answer_fits_a_frame() {
        let silent = |number: usize| Silent { zone: format!("zone{number}"), reason: "ä".repeat(100_000) };
        let proof = ZoneProof {
            zone: "z".into(),
            delegation: vec![1; 60_000],
            chain: vec![certificate(); 8],
            manifests: Vec::new(),
        };
        for (zones, candidates) in [(1, 200), (1000, 1), (64, 20)] {
            let mut answer = Answer {
                id: 1,
                zones: vec![zone(candidates); zones],
                silent: (0..500).map(silent).collect(),
                skipped: 0,
                proofs: vec![proof.clone(); 100],
            };
            fit(&mut answer);
            assert!(!answer.proofs.is_empty() && !answer.zones.is_empty());
            let bytes = Message::from(answer.clone()).encode();
            assert_eq!(Message::decode(&bytes), Ok(answer.into()));
        }
    }
}
