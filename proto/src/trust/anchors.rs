//! Keys of zones: those that are pinned, and those that a chain of delegations proves from them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::codec::Wire;
use crate::name::ZoneName;
use crate::params::ZONE_DEPTH_MAX;
use crate::record::{DelegationBody, Kind, ManifestBody, NodeId, Revocation, ZoneProof};
use crate::trust::{Authority, Lineage, Revoked, TrustError, Verifier};

/// Keys of zones: those pinned, and those proven from them.
#[derive(Debug, Default, Clone)]
pub struct Anchors {
    pinned: BTreeMap<ZoneName, Lineage>,
    proven: BTreeMap<ZoneName, Proven>,
    revoked: Revoked,
    pins: u64,
    changes: u64,
}

/// A zone's key as its parent delegates to it.
#[derive(Debug, Clone)]
struct Proven {
    lineage: Lineage,
    /// The delegation that stands, of all that were seen.
    by: Rank,
    /// The zone whose delegation it is, and the node that wrote it.
    parent: ZoneName,
    writer: NodeId,
    /// Our own zone delegates to it: it gives way to no other.
    is_child: bool,
}

/// A delegation that verified.
#[derive(Debug, Clone)]
struct Delegated {
    parent: ZoneName,
    writer: NodeId,
    body: DelegationBody,
}

/// Which of several delegations of one zone stands, the least: the rule of `Zone::child`, since keys must not depend on who came first.
type Rank = (u64, Reverse<u64>, [u8; 32]);

/// One zone's key, for whoever looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The zone.
    pub zone: ZoneName,
    /// Its key.
    pub key: [u8; 32],
    /// Which of its keys.
    pub epoch: u64,
    /// Taken for good, not only proven from one that is.
    pub pinned: bool,
    /// Its key signed two manifests of one epoch.
    pub frozen: bool,
}

/// Zone keys remembered as proven.
const PROVEN_MAX: usize = 10_000;

impl Anchors {
    /// Takes `key` as the key of `zone` for good (first use on loopback, an invite elsewhere), or follows the pin along the
    /// manifests that came with it. A key that was the zone's before changes nothing: who says so has not heard of the next.
    ///
    /// # Errors
    /// [`TrustError::OtherKey`] when the pinned key does not lead to this one, [`TrustError::Frozen`]; the pin stays where the
    /// manifests led.
    pub fn pin(&mut self, zone: ZoneName, key: [u8; 32], manifests: &[ManifestBody]) -> Result<(), TrustError> {
        if !self.pinned.contains_key(&zone) {
            let lineage = Lineage::begin(&zone, key, manifests)?;
            self.restore(zone, lineage);
            return Ok(());
        }
        let followed = self.follow(&zone, manifests);
        match self.lineage(&zone).and_then(|lineage| lineage.epoch_of(&key)) {
            Some(_) => Ok(()),
            None if followed == Err(TrustError::Frozen(zone.clone())) => followed,
            None => Err(TrustError::OtherKey(zone)),
        }
    }

    /// Pins what was believed before.
    pub fn restore(&mut self, zone: ZoneName, lineage: Lineage) {
        self.proven.remove(&zone);
        self.pinned.insert(zone, lineage);
        self.pins += 1;
        self.changes += 1;
    }

    /// Gives up a pin: only a zone key of our own that nobody relies on.
    pub fn unpin(&mut self, zone: &ZoneName) {
        self.pinned.remove(zone);
        self.pins += 1;
        self.changes += 1;
    }

    /// Follows the manifests of a zone that is known; of any other zone they say nothing.
    ///
    /// # Errors
    /// As [`Lineage::follow`].
    pub fn follow(&mut self, zone: &ZoneName, manifests: &[ManifestBody]) -> Result<(), TrustError> {
        let is_pinned = self.pinned.contains_key(zone);
        let proven = self.proven.get_mut(zone).map(|proven| &mut proven.lineage);
        let Some(lineage) = self.pinned.get_mut(zone).or(proven).filter(|_| !manifests.is_empty()) else {
            return Ok(());
        };
        let state = |lineage: &Lineage| (lineage.epoch(), lineage.manifests().len());
        let before = state(lineage);
        let followed = lineage.follow(zone, manifests);
        if state(lineage) != before {
            self.pins += u64::from(is_pinned);
            self.changes += 1;
        }
        followed
    }

    /// Who is believed no more.
    pub const fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// Takes a revocation, whether it is news, and with it whatever was believed because of what it revokes. Of a zone whose key is not
    /// known nothing is believed, and nothing needs revoking.
    ///
    /// # Errors
    /// As [`Revoked::take`], and [`TrustError::NoAnchor`]; nothing has changed.
    pub fn revoke(&mut self, revocation: &Revocation, verifier: &mut Verifier) -> Result<bool, TrustError> {
        let unknown = || TrustError::Chain(revocation.zone.clone());
        let zone = ZoneName::parse(&revocation.zone).map_err(|_| unknown())?;
        let is_pinned = self.is_pinned(&zone);
        let lineage = self.pinned.get(&zone).or_else(|| self.proven.get(&zone).map(|proven| &proven.lineage));
        let lineage = lineage.ok_or_else(|| TrustError::NoAnchor(zone.clone()))?;
        let is_news = self.revoked.take(&zone, revocation, lineage, is_pinned, verifier)?;
        if is_news {
            self.changes += 1;
            self.forget_revoked(&zone, revocation);
        }
        Ok(is_news)
    }

    fn forget_revoked(&mut self, zone: &ZoneName, said: &Revocation) {
        let cut = said.child.as_ref().and_then(|(child, _)| ZoneName::parse(child).ok());
        let void = cut.as_ref().and_then(|child| self.revoked.void_until(zone, child));
        let revoked = &self.revoked;
        let is_gone = |name: &ZoneName, known: &Proven| {
            let by_revoked = known.parent == *zone && revoked.contains(zone, known.writer);
            by_revoked || (cut.as_ref() == Some(name) && void.is_some_and(|until| known.by.0 <= until))
        };
        let gone = self.proven.iter().filter(|(name, known)| is_gone(name, known)).map(|(name, _)| name.clone());
        // What lies below was proven through it.
        for gone in gone.collect::<Vec<_>>() {
            self.proven.retain(|name, _| !name.is_within(&gone));
        }
    }

    /// What is pinned, by zone.
    pub fn pinned(&self) -> impl Iterator<Item = (&ZoneName, &Lineage)> {
        self.pinned.iter()
    }

    /// Whether a key of that zone was taken for good.
    pub fn is_pinned(&self, zone: &ZoneName) -> bool {
        self.pinned.contains_key(zone)
    }

    /// Grows with every change of what is pinned.
    pub const fn pins(&self) -> u64 {
        self.pins
    }

    /// Grows with every change of what is pinned or proven.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Everything that is known, pins first, each by zone.
    pub fn all(&self) -> impl Iterator<Item = Anchor> + '_ {
        let of = |zone: &ZoneName, lineage: &Lineage, pinned| Anchor {
            zone: zone.clone(),
            key: lineage.key(),
            epoch: lineage.epoch(),
            pinned,
            frozen: lineage.is_frozen(),
        };
        let pinned = self.pinned.iter().map(move |(zone, lineage)| of(zone, lineage, true));
        pinned.chain(self.proven.iter().map(move |(zone, proven)| of(zone, &proven.lineage, false)))
    }

    /// What is known of a zone's keys.
    pub fn lineage(&self, zone: &ZoneName) -> Option<&Lineage> {
        self.pinned.get(zone).or_else(|| self.proven.get(zone).map(|proven| &proven.lineage))
    }

    /// The key of a zone, when it is known.
    pub fn key_of(&self, zone: &ZoneName) -> Option<[u8; 32]> {
        self.lineage(zone).map(Lineage::key)
    }

    /// What a zone's manifests are, for those who know an earlier key of it; none while it has had but one.
    pub fn manifests(&self, zone: &ZoneName) -> Vec<ManifestBody> {
        self.lineage(zone).map(Lineage::manifests).unwrap_or_default()
    }

    /// Learns the zone keys that the proofs show, parents first. What does not verify is skipped; the caller finds it missing.
    pub fn learn(&mut self, proofs: &[ZoneProof], verifier: &mut Verifier, wall_ms: u64) {
        let mut proofs: Vec<(ZoneName, &ZoneProof)> = proofs
            .iter()
            .take(ZONE_DEPTH_MAX * 64)
            .filter_map(|proof| ZoneName::parse(&proof.zone).ok().map(|zone| (zone, proof)))
            .collect();
        proofs.sort_by_key(|(zone, _)| zone.depth());
        for (zone, proof) in proofs {
            self.learn_one(&zone, proof, false, verifier, wall_ms);
        }
    }

    /// When the delegation of a proof was written, if it leads from a key that is known here: a stamp that nobody vouches for is none.
    pub fn proven_at(&self, proof: &ZoneProof, verifier: &mut Verifier, wall_ms: u64) -> Option<u64> {
        let zone = ZoneName::parse(&proof.zone).ok()?;
        self.prove(&zone, proof, verifier, wall_ms).ok()?;
        Some(verifier.open(&proof.delegation).ok()?.record.issued_ms())
    }

    /// Learns the key of a zone that our own delegates to.
    pub fn learn_child(&mut self, zone: &ZoneName, proof: &ZoneProof, verifier: &mut Verifier, wall_ms: u64) {
        self.learn_one(zone, proof, true, verifier, wall_ms);
    }

    /// Our own zone delegates to it no more: what is known of it gives way to others from now on.
    pub fn leave_child(&mut self, zone: &ZoneName) {
        if let Some(known) = self.proven.get_mut(zone) {
            known.is_child = false;
        }
    }

    fn learn_one(&mut self, zone: &ZoneName, proof: &ZoneProof, is_child: bool, verifier: &mut Verifier, wall_ms: u64) {
        if !self.pinned.contains_key(zone)
            && let Ok(said) = self.prove(zone, proof, verifier, wall_ms)
        {
            self.take_proven(zone, said, is_child);
        }
        // A zone that followed no further is known as it was.
        let _ = self.follow(zone, &proof.manifests);
    }

    /// Whether one more may be kept; in the place of one that is no child, if it is.
    fn make_room(&mut self, is_child: bool) -> bool {
        if self.proven.len() < PROVEN_MAX {
            return true;
        }
        let foreign = self.proven.iter().filter(|(_, known)| is_child && !known.is_child);
        let foreign = foreign.map(|(zone, _)| zone.clone()).next();
        foreign.is_some_and(|zone| self.proven.remove(&zone).is_some())
    }

    /// A delegation's key, if none is known that stands before it: an old delegation takes nothing back.
    fn take_proven(&mut self, zone: &ZoneName, said: Delegated, is_child: bool) {
        let Delegated { parent, writer, body } = said;
        let by = (body.since_ms, Reverse(body.epoch), body.zone_key);
        if !self.proven.contains_key(zone) && !self.make_room(is_child) {
            return;
        }
        let known = self.proven.get_mut(zone);
        let is_child = is_child || known.as_ref().is_some_and(|known| known.is_child);
        match known {
            Some(known) if by >= known.by => {
                known.is_child = is_child;
                return;
            }
            Some(known) if known.lineage.epoch_of(&body.zone_key).is_some() => {
                // It came that far by manifests.
                known.by = by;
                (known.parent, known.writer) = (parent, writer);
                known.is_child = is_child;
                return;
            }
            _ => {}
        }
        let lineage = Lineage::of(body.epoch, body.zone_key);
        self.proven.insert(zone.clone(), Proven { lineage, by, parent, writer, is_child });
        self.changes += 1;
    }

    fn prove(
        &self,
        zone: &ZoneName,
        proof: &ZoneProof,
        verifier: &mut Verifier,
        wall_ms: u64,
    ) -> Result<Delegated, TrustError> {
        let delegation = verifier.open(&proof.delegation)?;
        let record = &delegation.record;
        let parent = ZoneName::parse(record.zone()).map_err(|_| TrustError::NoAnchor(zone.clone()))?;
        let names_zone = record.kind() == Kind::Delegation && record.name() == zone.as_str();
        if !names_zone || !zone.is_below(&parent) {
            return Err(TrustError::NoAnchor(zone.clone()));
        }
        let authority = verifier.check_node(self, &parent, record.node(), &proof.chain, wall_ms)?;
        let body = record.body().ok_or_else(|| TrustError::NoAnchor(zone.clone()))?;
        let body = DelegationBody::decode(body)?;
        let is_void = self.revoked.void_until(&parent, zone).is_some_and(|until| body.since_ms <= until);
        if authority != Authority::Signer || is_void {
            return Err(TrustError::NoAnchor(zone.clone()));
        }
        Ok(Delegated { parent, writer: record.node(), body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Certificate, Head};
    use crate::trust::samples::{id, key, record};
    use crate::trust::{SigningKey, sign_flush};

    #[test]
    fn a_zone_key_is_proven_from_the_anchor_and_only_below_it() {
        let (root_key, root_node, child_key) = (key(1), key(2), key(3));
        let root = ZoneName::root();
        let chain = vec![Certificate::issue(&root_key, &root, id(&root_node), 1)];
        let body = DelegationBody {
            zone_key: child_key.verifying_key().to_bytes(),
            epoch: 1,
            gateways: vec![],
            tools: 0,
            since_ms: 0,
        }
        .encode();
        let delegation = record(id(&root_node), 1, Kind::Delegation, ".", "research", body);
        let envelope = sign_flush(&root_node, vec![delegation], Head::default())[0].envelope();
        let proof = ZoneProof { zone: "research".into(), delegation: envelope, chain, manifests: vec![] };

        let mut anchors = Anchors::default();
        anchors.learn(std::slice::from_ref(&proof), &mut Verifier::default(), 1);
        let research = ZoneName::parse("research").unwrap();
        assert_eq!(anchors.key_of(&research), None, "nothing is proven without an anchor");

        anchors.pin(root, root_key.verifying_key().to_bytes(), &[]).unwrap();
        let other = ZoneProof { zone: "writing".into(), ..proof.clone() };
        anchors.learn(&[proof, other], &mut Verifier::default(), 1);
        assert_eq!(anchors.key_of(&research), Some(child_key.verifying_key().to_bytes()));
        assert_eq!(anchors.key_of(&ZoneName::parse("writing").unwrap()), None);
    }

    fn delegation(parent: &SigningKey, node: &SigningKey, key: &SigningKey, epoch: u64) -> ZoneProof {
        delegation_since(5, parent, node, key, epoch)
    }

    fn delegation_since(
        since_ms: u64,
        parent: &SigningKey,
        node: &SigningKey,
        key: &SigningKey,
        epoch: u64,
    ) -> ZoneProof {
        let zone_key = key.verifying_key().to_bytes();
        let body = DelegationBody { zone_key, epoch, gateways: vec![], tools: 0, since_ms }.encode();
        let record = record(id(node), 1, Kind::Delegation, ".", "research", body);
        ZoneProof {
            zone: "research".into(),
            delegation: sign_flush(node, vec![record], Head::default())[0].envelope(),
            chain: vec![Certificate::issue(parent, &ZoneName::root(), id(node), 1)],
            manifests: vec![],
        }
    }

    #[test]
    fn a_pin_moves_along_manifests_and_nowhere_else() {
        let research = ZoneName::parse("research").unwrap();
        let public = |seed| key(seed).verifying_key().to_bytes();
        let mut manifests = vec![ManifestBody::first(&research, &key(1), 1)];
        manifests.push(ManifestBody::issue(&research, 2, &key(1), &key(2), 2));
        let mut anchors = Anchors::default();
        anchors.pin(research.clone(), public(1), &[]).unwrap();
        let before = anchors.pins();
        assert_eq!(anchors.pin(research.clone(), public(2), &[]), Err(TrustError::OtherKey(research.clone())));
        assert_eq!((anchors.key_of(&research), anchors.pins()), (Some(public(1)), before));
        anchors.pin(research.clone(), public(2), &manifests).unwrap();
        assert_eq!(anchors.key_of(&research), Some(public(2)));
        assert!(anchors.pins() > before, "it is to be stored");
        // A peer that has not heard of it, and one that lies.
        anchors.pin(research.clone(), public(1), &manifests[..1]).unwrap();
        assert_eq!(anchors.pin(research.clone(), public(3), &[]), Err(TrustError::OtherKey(research.clone())));
        assert_eq!(anchors.key_of(&research), Some(public(2)));
    }

    #[test]
    fn an_old_delegation_takes_no_proven_key_back() {
        let (root_key, root_node) = (key(1), key(2));
        let research = ZoneName::parse("research").unwrap();
        let mut anchors = Anchors::default();
        anchors.pin(ZoneName::root(), root_key.verifying_key().to_bytes(), &[]).unwrap();
        let (old, new) = (delegation(&root_key, &root_node, &key(3), 1), delegation(&root_key, &root_node, &key(4), 2));
        for proof in [&old, &new, &old] {
            anchors.learn(std::slice::from_ref(proof), &mut Verifier::default(), 1);
        }
        assert_eq!(anchors.key_of(&research), Some(key(4).verifying_key().to_bytes()));
    }

    /// Two askers that heard the same in another order took different keys for one zone's.
    #[test]
    fn of_two_founders_the_same_stands_whoever_comes_first() {
        let research = ZoneName::parse("research").unwrap();
        let public = |seed| key(seed).verifying_key().to_bytes();
        let learned = |proofs: &[&ZoneProof]| {
            let mut anchors = Anchors::default();
            anchors.pin(ZoneName::root(), public(1), &[]).unwrap();
            for proof in proofs {
                anchors.learn(&[(*proof).clone()], &mut Verifier::default(), 1);
            }
            anchors.key_of(&research)
        };
        let of = |since_ms, seed, epoch| delegation_since(since_ms, &key(1), &key(2), &key(seed), epoch);
        let (early, late) = (of(5, 3, 1), of(6, 4, 7));
        let (one, other) = (of(5, 3, 1), of(5, 4, 1));
        let least = public(3).min(public(4));
        // One founder rotates after the other was seen.
        let mut moved = other.clone();
        moved.manifests = vec![ManifestBody::issue(&research, 2, &key(4), &key(5), 2)];
        let stands = if least == public(4) { public(5) } else { public(3) };
        for (a, b, key) in [(&early, &late, public(3)), (&one, &other, least), (&one, &moved, stands)] {
            for order in [&[a, b][..], &[b, a], &[a, b, a], &[b, a, b]] {
                assert_eq!(learned(order), Some(key));
            }
        }
    }

    #[test]
    fn what_others_prove_keeps_no_child_from_being_known() {
        let own = ZoneName::root();
        let mut anchors = Anchors::default();
        anchors.pin(own, key(1).verifying_key().to_bytes(), &[]).unwrap();
        let body = DelegationBody { zone_key: [1; 32], epoch: 1, gateways: vec![], tools: 0, since_ms: 1 };
        let writer = id(&key(2));
        let said = |body: &DelegationBody| Delegated { parent: ZoneName::root(), writer, body: body.clone() };
        for number in 0..PROVEN_MAX + 1 {
            anchors.take_proven(&ZoneName::parse(&format!("z{number}.other")).unwrap(), said(&body), false);
        }
        let research = ZoneName::parse("research").unwrap();
        let proof = delegation(&key(1), &key(2), &key(3), 1);
        let known = |anchors: &Anchors| (anchors.key_of(&research).is_some(), anchors.proven.len());
        anchors.learn(std::slice::from_ref(&proof), &mut Verifier::default(), 1);
        assert_eq!(known(&anchors), (false, PROVEN_MAX));
        anchors.learn_child(&research, &proof, &mut Verifier::default(), 1);
        assert_eq!(known(&anchors), (true, PROVEN_MAX));
        anchors.take_proven(&ZoneName::parse("late.other").unwrap(), said(&body), true);
        assert_eq!(known(&anchors), (true, PROVEN_MAX), "it gives way to no other child");
    }

    #[test]
    fn a_proof_under_the_parents_next_key_is_believed_with_its_manifests() {
        let research = ZoneName::parse("research").unwrap();
        let root = ZoneName::root();
        let mut anchors = Anchors::default();
        anchors.pin(root.clone(), key(1).verifying_key().to_bytes(), &[]).unwrap();
        let proof = delegation(&key(8), &key(2), &key(3), 1);
        anchors.learn(std::slice::from_ref(&proof), &mut Verifier::default(), 1);
        assert_eq!(anchors.key_of(&research), None, "nobody said that this is the parent's key");
        let manifests = vec![ManifestBody::issue(&root, 2, &key(1), &key(8), 1)];
        let own = ZoneProof { zone: ".".into(), delegation: vec![], chain: vec![], manifests };
        anchors.learn(&[proof, own], &mut Verifier::default(), 1);
        assert_eq!(anchors.key_of(&research), Some(key(3).verifying_key().to_bytes()));
    }
}
