//! Who is believed no more: statements that a signer of a zone makes for ever, and the set of them.
//!
//! A statement proves itself, so the set only grows and is the same wherever the same statements arrived, whatever came first. What
//! must always hold: nobody revokes those who certified it, and of two who revoke each other the one nearer to the zone's key stands.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};

use crate::codec::Wire;
use crate::name::ZoneName;
use crate::params::{CUT_OFF_STEP_MS, REASON_CHARS_MAX, REVOCATIONS_MAX, REVOCATIONS_RESERVED, REVOCATIONS_ZONE_MAX};
use crate::record::{Certificate, Hash, NodeId, Revocation, Subject};
use crate::trust::{Authority, Lineage, SigningKey, TrustError, Verifier, pre_authentication, verify};

const TYPE_REVOCATION: &str = "application/vnd.aop.revocation.v1";

impl Revocation {
    /// A revocation by the node of that key and these certificates.
    pub fn issue(
        key: &SigningKey,
        chain: Vec<Certificate>,
        zone: &ZoneName,
        subject: Subject,
        reason: &str,
        issued_ms: u64,
    ) -> Self {
        let reason = reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX / 4).collect();
        let (node, child) = match subject {
            Subject::Node(node) => (Some(node), None),
            Subject::Child(child, until_ms) => (None, Some((child, until_ms))),
        };
        let zone = zone.as_str().to_owned();
        let mut revocation = Self { zone, node, child, issued_ms, reason, chain, signature: [0; 64] };
        revocation.signature = key.sign(&revocation.statement()).to_bytes();
        revocation
    }

    /// Everything but the signature is signed.
    fn statement(&self) -> Vec<u8> {
        let Self { zone, node, child, issued_ms, reason, chain, .. } = self.clone();
        pre_authentication(TYPE_REVOCATION, &(zone, node, child, issued_ms, reason, chain).encode())
    }

    /// Who says so.
    pub fn by(&self) -> Option<NodeId> {
        self.chain.last().map(|certificate| certificate.node)
    }

    /// The name of the record that keeps it: one a subject and a writer.
    pub fn name(&self) -> String {
        let child = self.child.as_ref().map(|(child, _)| child.clone());
        let hash = Sha256::digest((self.node, child, self.by()).encode());
        hash[..16].iter().fold(String::with_capacity(32), |mut name, byte| {
            use std::fmt::Write as _;
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
            name
        })
    }

    /// What stands once in a set: of what is said of one child again, the later counts.
    fn key(&self) -> Key {
        (self.node, self.child.as_ref().map(|(child, _)| child.clone()), self.by())
    }

    /// Up to when it counts; a node is revoked without end.
    fn until(&self) -> u64 {
        self.child.as_ref().map_or(u64::MAX, |(_, until_ms)| *until_ms)
    }

    /// Whether it is a signer's of the zone, about something it may revoke. Keys that were the zone's vouch for it without end: a
    /// revocation outlives rotations.
    ///
    /// # Errors
    /// [`TrustError::Chain`], [`TrustError::Signature`], [`TrustError::Overreach`].
    fn check(&self, zone: &ZoneName, lineage: &Lineage, verifier: &mut Verifier) -> Result<(), TrustError> {
        let by = self.by().ok_or_else(|| TrustError::Chain(self.zone.clone()))?;
        let overreach = || TrustError::Overreach(by.short());
        let key = self.chain[0].issuer;
        if self.zone != zone.as_str() || lineage.epoch_of(&key).is_none() {
            return Err(TrustError::Chain(by.short()));
        }
        let is_mine = match self.subject() {
            Some(Subject::Node(node)) => self.chain.iter().all(|certificate| certificate.node != node),
            Some(Subject::Child(child, _)) => {
                ZoneName::parse(&child).is_ok_and(|name| name.is_below(zone) && name.as_str() == child)
            }
            None => false,
        };
        if !is_mine || self.reason.len() > REASON_CHARS_MAX {
            return Err(overreach());
        }
        if verifier.check_chain(zone, &key, by, &self.chain)? != Authority::Signer {
            return Err(overreach());
        }
        verify(&by.0, &self.statement(), &self.signature)
    }
}

/// All revocations that are known, by zone.
#[derive(Clone, Debug, Default)]
pub struct Revoked {
    zones: BTreeMap<ZoneName, OfZone>,
    count: usize,
}

/// Node or child, and who says so.
type Key = (Option<NodeId>, Option<String>, Option<NodeId>);

#[derive(Clone, Debug, Default)]
struct OfZone {
    statements: BTreeMap<Key, Revocation>,
    /// What follows from them.
    nodes: BTreeSet<NodeId>,
    children: BTreeMap<ZoneName, u64>,
}

impl Revoked {
    /// Takes a statement; whether it is news. `lineage` is what is known of its zone's keys. What others fill takes no room from a zone
    /// whose key is `pinned`, the own one and those above it.
    ///
    /// # Errors
    /// A statement that does not hold, and [`TrustError::Full`]; nothing has changed.
    pub fn take(
        &mut self,
        zone: &ZoneName,
        revocation: &Revocation,
        lineage: &Lineage,
        pinned: bool,
        verifier: &mut Verifier,
    ) -> Result<bool, TrustError> {
        if self.knows(zone, revocation) {
            return Ok(false);
        }
        let key = revocation.key();
        let known = self.zones.get(zone).and_then(|of| of.statements.get(&key));
        revocation.check(zone, lineage, verifier)?;
        let of = self.zones.get(zone).map_or(0, |of| of.statements.len());
        // Whoever holds the zone's key is always heard.
        let reserved = if revocation.chain.len() == 1 { 0 } else { REVOCATIONS_RESERVED };
        let is_crowded = !pinned && self.count + reserved >= REVOCATIONS_MAX;
        if known.is_none() && (of + reserved >= REVOCATIONS_ZONE_MAX || is_crowded) {
            return Err(TrustError::Full(zone.clone()));
        }
        self.count += usize::from(known.is_none());
        let of = self.zones.entry(zone.clone()).or_default();
        of.statements.insert(key, revocation.clone());
        of.settle();
        Ok(true)
    }

    /// Whether that is said already by the same writer. Of a child it is not said again in smaller steps: whoever may say it could fill
    /// every link with them.
    pub fn knows(&self, zone: &ZoneName, revocation: &Revocation) -> bool {
        let known = self.zones.get(zone).and_then(|of| of.statements.get(&revocation.key()));
        known.is_some_and(|known| revocation.until().saturating_sub(known.until()) < CUT_OFF_STEP_MS)
    }

    /// Whether a node of a zone is revoked.
    pub fn contains(&self, zone: &ZoneName, node: NodeId) -> bool {
        self.zones.get(zone).is_some_and(|of| of.nodes.contains(&node))
    }

    /// Refuses certificates of, or by, somebody who is revoked.
    ///
    /// # Errors
    /// [`TrustError::Revoked`] with the first of them.
    pub fn check(&self, zone: &ZoneName, chain: &[Certificate]) -> Result<(), TrustError> {
        let Some(of) = self.zones.get(zone).filter(|of| !of.nodes.is_empty()) else { return Ok(()) };
        match chain.iter().find(|certificate| of.nodes.contains(&certificate.node)) {
            Some(certificate) => Err(TrustError::Revoked(certificate.node.short())),
            None => Ok(()),
        }
    }

    /// Up to when delegations of `child` by `zone` are void, milliseconds since the Unix epoch.
    pub fn void_until(&self, zone: &ZoneName, child: &ZoneName) -> Option<u64> {
        self.zones.get(zone)?.children.get(child).copied()
    }

    /// Nodes of a zone that are revoked.
    pub fn nodes(&self, zone: &ZoneName) -> impl Iterator<Item = NodeId> {
        self.zones.get(zone).into_iter().flat_map(|of| of.nodes.iter().copied())
    }

    /// The statements of one zone.
    pub fn of(&self, zone: &ZoneName) -> impl Iterator<Item = &Revocation> {
        self.zones.get(zone).into_iter().flat_map(|of| of.statements.values())
    }

    /// All statements.
    pub fn all(&self) -> impl Iterator<Item = &Revocation> {
        self.zones.values().flat_map(|of| of.statements.values())
    }

    /// The statement by which a node of a zone is out.
    pub fn why(&self, zone: &ZoneName, node: NodeId) -> Option<&Revocation> {
        let is_it = |said: &&Revocation| said.node == Some(node);
        self.of(zone).filter(is_it).min_by_key(|said| said.chain.len()).filter(|_| self.contains(zone, node))
    }
}

impl OfZone {
    /// A statement counts unless its writer, or whoever certified it, is revoked by somebody nearer to the key. Of equals, all count.
    fn settle(&mut self) {
        let mut by_distance: BTreeMap<usize, Vec<&Revocation>> = BTreeMap::new();
        for said in self.statements.values() {
            by_distance.entry(said.chain.len()).or_default().push(said);
        }
        let (mut nodes, mut children) = (BTreeSet::new(), BTreeMap::<ZoneName, u64>::new());
        for all in by_distance.into_values() {
            let counts = |said: &&&Revocation| said.chain.iter().all(|certificate| !nodes.contains(&certificate.node));
            let counting: Vec<&Revocation> = all.iter().filter(counts).copied().collect();
            for said in counting {
                match said.subject() {
                    Some(Subject::Node(node)) => drop(nodes.insert(node)),
                    Some(Subject::Child(child, until)) => {
                        let Ok(child) = ZoneName::parse(&child) else { continue };
                        let void = children.entry(child).or_default();
                        *void = (*void).max(until);
                    }
                    None => {}
                }
            }
        }
        (self.nodes, self.children) = (nodes, children);
    }
}

/// Hash by which an invite names a zone's key before anybody of the zone was met.
pub fn anchor_hash(zone: &ZoneName, key: &[u8; 32]) -> Hash {
    Sha256::digest((zone.as_str().to_owned(), *key).encode()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::samples::{id, key};

    fn zone() -> ZoneName {
        ZoneName::parse("research").unwrap()
    }

    /// The zone's key is of seed 1, its maker of seed 2; `elders` follow it, each certified by the one before.
    fn chain(elders: &[u8]) -> Vec<Certificate> {
        let seeds = [&[1, 2], elders].concat();
        seeds.windows(2).map(|pair| Certificate::issue(&key(pair[0]), &zone(), id(&key(pair[1])), 1)).collect()
    }

    fn lineage() -> Lineage {
        Lineage::of(1, key(1).verifying_key().to_bytes())
    }

    fn by(writer: u8, elders: &[u8], subject: Subject) -> Revocation {
        Revocation::issue(&key(writer), chain(elders), &zone(), subject, "lost laptop", 7)
    }

    fn node(seed: u8) -> Subject {
        Subject::Node(id(&key(seed)))
    }

    fn set(said: &[Revocation]) -> Revoked {
        let mut revoked = Revoked::default();
        for one in said {
            revoked.take(&zone(), one, &lineage(), true, &mut Verifier::default()).unwrap();
        }
        revoked
    }

    fn out(revoked: &Revoked) -> Vec<u8> {
        (2..20).filter(|seed| revoked.contains(&zone(), id(&key(*seed)))).collect()
    }

    #[test]
    fn a_revoked_node_is_believed_no_more_and_neither_is_whom_it_certified() {
        let mut verifier = Verifier::default();
        let mut anchors = crate::trust::Anchors::default();
        anchors.pin(zone(), lineage().key(), &[]).unwrap();
        let (third, fourth) = (chain(&[3]), chain(&[3, 4]));
        assert!(verifier.check_node(&anchors, &zone(), id(&key(4)), &fourth, 1).is_ok());
        assert_eq!(anchors.revoke(&by(2, &[], node(3)), &mut verifier), Ok(true));
        assert_eq!(anchors.revoke(&by(2, &[], node(3)), &mut verifier), Ok(false));
        let out = Err(TrustError::Revoked(id(&key(3)).short()));
        assert_eq!(verifier.check_node(&anchors, &zone(), id(&key(3)), &third, 1), out);
        assert_eq!(verifier.check_node(&anchors, &zone(), id(&key(4)), &fourth, 1), out);
        assert!(verifier.check_node(&anchors, &zone(), id(&key(2)), &chain(&[]), 1).is_ok());
    }

    #[test]
    fn nobody_revokes_its_elders_or_itself_and_no_member_anybody() {
        let mut revoked = Revoked::default();
        let mut take = |said: &Revocation| revoked.take(&zone(), said, &lineage(), true, &mut Verifier::default());
        for elder in [2, 3, 4] {
            let overreach = Err(TrustError::Overreach(id(&key(4)).short()));
            assert_eq!(take(&by(4, &[3, 4], node(elder))), overreach, "{elder}");
        }
        let mut as_member = chain(&[]);
        as_member.push(Certificate::issue_as(Authority::Member, &key(2), &zone(), id(&key(5)), 1));
        let said = Revocation::issue(&key(5), as_member, &zone(), node(6), "", 7);
        assert_eq!(take(&said), Err(TrustError::Overreach(id(&key(5)).short())));
        let elsewhere = by(2, &[], Subject::Child("writing".to_owned(), 7));
        assert_eq!(take(&elsewhere), Err(TrustError::Overreach(id(&key(2)).short())));
    }

    #[test]
    fn every_changed_word_of_it_is_noticed() {
        let changes: [fn(&mut Revocation); 5] = [
            |said| said.node = Some(id(&key(9))),
            |said| said.issued_ms += 1,
            |said| said.reason.push('!'),
            |said| said.signature[9] ^= 1,
            |said| said.chain[0].issued_ms += 1,
        ];
        for change in changes {
            let mut said = by(2, &[], node(3));
            change(&mut said);
            let taken = Revoked::default().take(&zone(), &said, &lineage(), true, &mut Verifier::default());
            assert_eq!(taken, Err(TrustError::Signature));
        }
        let foreign = Lineage::of(1, [9; 32]);
        assert!(
            Revoked::default().take(&zone(), &by(2, &[], node(3)), &foreign, true, &mut Verifier::default()).is_err()
        );
        let decoded = Revocation::decode(&by(2, &[], node(3)).encode());
        assert_eq!(decoded, Ok(by(2, &[], node(3))));
    }

    /// Whatever comes first, the same is believed; and whoever is nearer to the key prevails.
    #[test]
    fn the_order_of_arrival_decides_nothing() {
        let said = [
            by(4, &[4], node(5)),
            by(5, &[5], node(4)),
            by(2, &[], node(4)),
            by(6, &[4, 6], node(7)),
            by(5, &[5], node(8)),
        ];
        // 4 is out by the maker, so what 4 said of 5 and what 6, whom it certified, said of 7 counts for nothing.
        let expected = vec![4, 8];
        for turn in 0..said.len() {
            let mut turned = said.clone();
            turned.rotate_left(turn);
            assert_eq!(out(&set(&turned)), expected);
            turned.reverse();
            assert_eq!(out(&set(&turned)), expected);
        }
        assert_eq!(out(&set(&said[..2])), [4, 5], "equals that revoke each other are both out");
        assert_eq!(set(&said).why(&zone(), id(&key(4))).and_then(Revocation::by), Some(id(&key(2))));
    }

    #[test]
    fn a_child_may_be_delegated_again_after_it_was_cut_off() {
        let child = |until| Subject::Child("lab.research".to_owned(), until);
        let revoked = set(&[by(2, &[], child(10_000)), by(2, &[], child(30_000)), by(2, &[], child(30_999))]);
        let lab = ZoneName::parse("Lab.Research").unwrap();
        for odd in ["Lab.Research", "lab.research.", "research", "elsewhere"] {
            let odd = by(2, &[], Subject::Child(odd.to_owned(), 1));
            assert!(Revoked::default().take(&zone(), &odd, &lineage(), true, &mut Verifier::default()).is_err());
        }
        for both in [Some(("lab.research".to_owned(), 1)), None] {
            let mut odd = by(2, &[], node(3));
            (odd.node, odd.child) = (odd.node.filter(|_| both.is_some()), both);
            assert!(Revoked::default().take(&zone(), &odd, &lineage(), true, &mut Verifier::default()).is_err());
        }
        assert_eq!(revoked.void_until(&zone(), &lab), Some(30_000));
        assert_eq!((revoked.all().count(), by(2, &[], child(1)).name() == by(2, &[], child(2)).name()), (1, true));
    }

    #[test]
    fn the_set_is_bounded_and_the_holder_of_the_key_is_always_heard() {
        let mut revoked = Revoked::default();
        let mut verifier = Verifier::default();
        let mut take = |writer, elders: &[u8], number: u64| {
            let mut target = [7; 32];
            target[..8].copy_from_slice(&number.to_be_bytes());
            revoked.take(&zone(), &by(writer, elders, Subject::Node(NodeId(target))), &lineage(), true, &mut verifier)
        };
        let most = (REVOCATIONS_ZONE_MAX - REVOCATIONS_RESERVED) as u64;
        for number in 0..most {
            assert_eq!(take(3, &[3], number), Ok(true));
        }
        assert_eq!(take(3, &[3], most), Err(TrustError::Full(zone())));
        assert_eq!(take(2, &[], most), Ok(true));
    }
}
