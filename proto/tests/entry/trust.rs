//! What somebody is to believe: an envelope, certificates, a revocation, manifests, proofs of zone keys. As bytes, or as what an honest
//! party signed with a few bytes changed, put in another order, or mixed with what a thief signed by keys of his own.
//!
//! What must hold: only what was signed is believed, byte for byte, and a key leads nowhere but where its holder led it.

use aop_proto::codec::Wire;
use aop_proto::name::ZoneName;
use aop_proto::record::{
    Certificate, DelegationBody, Head, Kind, ManifestBody, NodeId, Record, Revocation, Subject, VISIBILITY_PUBLIC,
    ZoneProof,
};
use aop_proto::trust::{Anchors, Authority, Lineage, SigningKey, Verifier, sign_flush, verify_chain};

use super::Dice;

const WALL_MS: u64 = 1_790_000_000_000;

/// Keys by what they are for.
const ZONE: u8 = 1;
const MAKER: u8 = 2;
const SIGNER: u8 = 3;
const MEMBER: u8 = 4;
const CHILD: u8 = 5;
const THIEF: u8 = 6;
/// The zone's next keys, and the other one that it may name as its second.
const NEXT: [u8; 3] = [11, 12, 13];
const OTHER: u8 = 14;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> [u8; 32] {
    key(seed).verifying_key().to_bytes()
}

fn id(seed: u8) -> NodeId {
    NodeId(public(seed))
}

fn zone(name: &str) -> ZoneName {
    ZoneName::parse(name).expect("a zone")
}

fn certificate(issuer: u8, node: u8, authority: Authority) -> Certificate {
    Certificate::issue_as(authority, &key(issuer), &zone("z"), id(node), 7)
}

/// From the zone's key over its maker to that node.
fn chain_of(node: u8, authority: Authority) -> Vec<Certificate> {
    vec![certificate(ZONE, MAKER, Authority::Signer), certificate(MAKER, node, authority)]
}

/// What the thief makes for himself, and calls the zone's.
fn forged_chain() -> Vec<Certificate> {
    vec![certificate(THIEF, THIEF, Authority::Signer)]
}

fn record(node: u8, kind: Kind, zone: &str, name: &str, body: Vec<u8>) -> Record {
    Record {
        zone: zone.to_owned(),
        kind: kind.number(),
        name: name.to_owned(),
        node: id(node),
        incarnation: 1,
        seq: 1,
        epoch: 0,
        hlc: WALL_MS << 16,
        visibility: VISIBILITY_PUBLIC,
        issued_ms: WALL_MS,
        expires_ms: 0,
        def_hash: None,
        body: Some(body),
    }
}

fn envelope_of(record: Record, by: u8) -> Vec<u8> {
    sign_flush(&key(by), vec![record], Head::default())[0].envelope()
}

/// Some bytes of it become others; perhaps none.
fn spoil(bytes: &mut [u8], dice: &mut Dice<'_>) {
    for _ in 0..dice.below(3) {
        let place = usize::from(dice.byte()) << 8 | usize::from(dice.byte());
        let place = place % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= dice.byte();
        }
    }
}

/// The same of a value, where something comes of that.
fn spoiled<T: Wire>(value: &T, dice: &mut Dice<'_>) -> Option<T> {
    let mut bytes = value.encode();
    spoil(&mut bytes, dice);
    T::decode(&bytes).ok()
}

/// Somebody who believes the zone's key, and nobody else's.
fn believer() -> (Anchors, Verifier) {
    let mut anchors = Anchors::default();
    anchors.pin(zone("z"), public(ZONE), &[]).expect("the first key is taken");
    (anchors, Verifier::default())
}

/// An envelope, a chain or a revocation. Bytes first: whatever they are, they end in a value or a refusal.
pub(crate) fn envelope(bytes: &[u8]) {
    let (mut anchors, mut verifier) = believer();
    if let Ok(signed) = verifier.open(bytes) {
        assert!(verifier.open(&signed.envelope()).is_ok_and(|again| again.record == signed.record));
    }
    if let Ok(chain) = Vec::<Certificate>::decode(bytes) {
        let node = chain.last().map_or(id(THIEF), |last| last.node);
        let checked = verifier.check_node(&anchors, &zone("z"), node, &chain, WALL_MS);
        assert!(checked.is_err() || is_honest(&chain), "{chain:?}");
    }
    if let Ok(said) = Revocation::decode(bytes) {
        drop((said.name(), said.subject(), said.by()));
        let taken = anchors.revoke(&said, &mut verifier);
        assert!(taken.is_err() || is_honest(&said.chain), "{said:?}");
    }
    let dice = &mut Dice(bytes);
    match dice.below(3) {
        0 => {
            let honest = envelope_of(record(MEMBER, Kind::Unknown(200), "z", "x", bytes.to_vec()), MEMBER);
            let mut other = honest.clone();
            spoil(&mut other, dice);
            assert_eq!(verifier.open(&other).is_ok(), other == honest, "an envelope has one spelling");
        }
        1 => {
            let authority = if dice.yes() { Authority::Signer } else { Authority::Member };
            let honest = chain_of(MEMBER, authority);
            let Some(other) = spoiled(&honest, dice) else { return };
            let node = other.last().map_or(id(MEMBER), |last| last.node);
            let checked = verifier.check_node(&anchors, &zone("z"), node, &other, WALL_MS);
            assert_eq!(checked.ok(), (other == honest).then_some(authority), "{other:?}");
        }
        _ => {
            let subject = match dice.yes() {
                true => Subject::Node(id(MEMBER)),
                false => Subject::Child("a.z".to_owned(), dice.number()),
            };
            let chain = chain_of(SIGNER, Authority::Signer);
            let honest = Revocation::issue(&key(SIGNER), chain, &zone("z"), subject, "lost", dice.number());
            let Some(other) = spoiled(&honest, dice) else { return };
            assert_eq!(anchors.revoke(&other, &mut verifier).is_ok(), other == honest, "{other:?}");
            let is_out = anchors.revoked().contains(&zone("z"), id(MEMBER));
            assert_eq!(is_out, other == honest && other.node.is_some());
        }
    }
}

/// Whether the keys of this file signed it: bytes that were not made here cannot lead from the zone's key, save by repeating it.
fn is_honest(chain: &[Certificate]) -> bool {
    let known: Vec<Certificate> = [SIGNER, MEMBER]
        .into_iter()
        .flat_map(|node| [Authority::Signer, Authority::Member].map(|authority| chain_of(node, authority)))
        .flatten()
        .collect();
    chain.iter().all(|certificate| known.contains(certificate))
}

/// Keys of a zone and what is delegated below it, as choices: manifests in any order, spoiled and forged, and proofs of the same kind.
pub(crate) fn chain(bytes: &[u8]) {
    let dice = &mut Dice(bytes);
    let (mut anchors, mut verifier) = believer();
    let mut lineage = Lineage::of(1, public(ZONE));
    for _ in 0..4 {
        let manifests: Vec<ManifestBody> = (0..dice.below(6)).filter_map(|_| manifest(dice)).collect();
        let (before, was_frozen) = (lineage.epoch(), lineage.is_frozen());
        // Refused or not, it stays where the zone's keys led.
        let _ = lineage.follow(&zone("z"), &manifests);
        assert!(lineage.epoch() >= before && (!was_frozen || lineage.is_frozen() && lineage.epoch() == before));
        for key in lineage.keys().chain([lineage.key()]) {
            assert!(is_of_the_zone(&key), "a key that no key of the zone named: {lineage:?}");
        }
        assert!(lineage.epoch() <= 4);
        assert_eq!(Lineage::decode(&lineage.encode()).as_ref(), Ok(&lineage), "it is kept as it is");
        if let Ok(begun) = Lineage::begin(&zone("z"), public(ZONE), &manifests) {
            assert!(is_of_the_zone(&begun.key()));
        }
        let _ = anchors.follow(&zone("z"), &manifests);

        let proofs: Vec<ZoneProof> = (0..dice.below(4)).map(|_| proof(dice)).collect();
        let count = dice.below(2);
        for _ in 0..=count {
            anchors.learn(&proofs, &mut verifier, WALL_MS);
        }
        for anchor in anchors.all() {
            match anchor.zone.as_str() {
                "z" => assert!(anchor.pinned && is_of_the_zone(&anchor.key)),
                "a.z" => assert!(!anchor.pinned && anchor.key == public(CHILD), "{anchor:?}"),
                other => panic!("nobody delegated {other}"),
            }
        }
    }
    let stranger = verifier.check_node(&anchors, &zone("z"), id(THIEF), &forged_chain(), WALL_MS);
    assert!(stranger.is_err() && verify_chain(&forged_chain(), &zone("z"), &public(ZONE), id(THIEF)).is_err());
}

fn is_of_the_zone(key: &[u8; 32]) -> bool {
    [ZONE, NEXT[0], NEXT[1], NEXT[2], OTHER].into_iter().any(|seed| public(seed) == *key)
}

/// One of the honest line, the second word of a key that says two things, or the thief's.
fn manifest(dice: &mut Dice<'_>) -> Option<ManifestBody> {
    let z = zone("z");
    let issue = |epoch, previous, next| ManifestBody::issue(&z, epoch, &key(previous), &key(next), WALL_MS);
    let honest = match dice.below(10) {
        0 => ManifestBody::first(&z, &key(ZONE), WALL_MS),
        1..=3 => issue(2, ZONE, NEXT[0]),
        4 | 5 => issue(3, NEXT[0], NEXT[1]),
        6 => issue(4, NEXT[1], NEXT[2]),
        7 => issue(2, ZONE, OTHER),
        8 => issue(dice.number(), THIEF, THIEF),
        _ => {
            // His key signed that it follows the zone's, and the zone's key signed another text.
            let (epoch, previous) = [(2, ZONE), (3, NEXT[0]), (4, NEXT[1])][dice.below(3)];
            let mut half = issue(epoch, previous, THIEF);
            half.by_previous = issue(2, ZONE, NEXT[0]).by_previous;
            half
        }
    };
    if dice.byte() < 200 { Some(honest) } else { spoiled(&honest, dice) }
}

/// That `a.z` has its key, by a signer; or by somebody who may not say so, or of another zone.
fn proof(dice: &mut Dice<'_>) -> ZoneProof {
    let (by, chain) = match dice.below(4) {
        0 | 1 => (SIGNER, chain_of(SIGNER, Authority::Signer)),
        2 => (MEMBER, chain_of(MEMBER, Authority::Member)),
        _ => (THIEF, forged_chain()),
    };
    let child = if by == SIGNER { CHILD } else { THIEF };
    let body = DelegationBody { zone_key: public(child), epoch: 1, gateways: Vec::new(), tools: 0, since_ms: 1 };
    // A signer delegates what lies below, and nothing else, whatever it writes.
    let (name, of) = match dice.below(6) {
        0 if by == SIGNER => ("b", "b"),
        1 if by == SIGNER => ("z", "z"),
        2 => ("a.z", "other.z"),
        _ => ("a.z", "a.z"),
    };
    let mut delegation = envelope_of(record(by, Kind::Delegation, "z", name, body.encode()), by);
    if dice.byte() > 200 {
        spoil(&mut delegation, dice);
    }
    let chain = if dice.byte() > 200 { spoiled(&chain, dice).unwrap_or_default() } else { chain };
    let manifests = (0..dice.below(2)).filter_map(|_| manifest(dice)).collect();
    ZoneProof { zone: of.to_owned(), delegation, chain, manifests }
}
