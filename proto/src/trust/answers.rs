//! What is believed of an answer: the records that the zone's key vouches for, and nothing else (P2, I8).

use crate::index::{Goal, Sifted};
use crate::name::{FullName, ZoneName};
use crate::record::{Kind, SignedRef};
use crate::trust::{Anchors, TrustError, Verifier};
use crate::wire::message::{Candidate, ZoneAnswer};

/// An answer of one zone whose candidates were checked.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The answer, with what did not verify taken out.
    pub answer: ZoneAnswer,
    /// The records of its candidates, in their order.
    pub records: Vec<SignedRef>,
    /// Candidates that were taken out.
    pub refused: u32,
    /// Of what a node says to itself in words: the question as it was read, and what it finds in each record. Others' words are read
    /// from their records.
    pub read: Option<Box<Read>>,
}

/// A question that was read, and what it finds in the records of an answer.
#[derive(Clone, Debug)]
pub struct Read {
    /// The question.
    pub goal: Goal,
    /// Parallel to the records.
    pub sifted: Vec<Sifted>,
}

/// Keeps of another zone's answer what its zone's key vouches for (P2). Of records that were seen before no second copy is kept.
///
/// # Errors
/// When the zone's key cannot be proven from an anchor and there is anything to be proven; the whole answer is refused.
pub fn check(
    mut answer: ZoneAnswer,
    anchors: &Anchors,
    verifier: &mut Verifier,
    wall_ms: u64,
) -> Result<Checked, TrustError> {
    let zone = ZoneName::parse(&answer.zone).map_err(|_| TrustError::Chain(answer.zone.clone()))?;
    if !answer.candidates.is_empty() && anchors.key_of(&zone).is_none() {
        return Err(TrustError::NoAnchor(zone));
    }
    let mut records = Vec::with_capacity(answer.candidates.len());
    answer.zone = zone.to_string();
    let before = answer.candidates.len();
    answer.candidates.retain(|candidate| {
        let signed = check_candidate(candidate, &zone, anchors, verifier, wall_ms);
        signed.map(|signed| records.push(signed)).is_ok()
    });
    let refused = u32::try_from(before - records.len()).unwrap_or(u32::MAX);
    Ok(Checked { answer, records, refused, read: None })
}

fn check_candidate(
    candidate: &Candidate,
    zone: &ZoneName,
    anchors: &Anchors,
    verifier: &mut Verifier,
    wall_ms: u64,
) -> Result<SignedRef, TrustError> {
    let signed = verifier.open(&candidate.envelope)?;
    let record = &signed.record;
    let of_zone = record.zone() == zone.as_str()
        && record.kind() == Kind::Tool
        && !record.is_tombstone()
        && FullName::parse(record.name()).is_ok_and(|name| name.is_in(zone));
    if !of_zone {
        return Err(TrustError::Chain(record.node().short()));
    }
    verifier.check_node(anchors, zone, record.node(), &candidate.chain, wall_ms)?;
    Ok(signed)
}
