//! The keys of one zone, epoch after epoch: every manifest is signed by the key before it and by its own, so whoever believed one
//! epoch can follow to the next (DNSKEY and TUF's root, in one signature each).
//!
//! What must always hold: an epoch is never skipped and never taken back, and a zone whose key said two things of one epoch is
//! frozen: nothing more is believed of its keys until an operator has looked.

use ed25519_dalek::Signer;

use crate::codec::{Wire, WireRead, WireWrite};
use crate::name::ZoneName;
use crate::params::{KEY_GRACE, MANIFESTS_MAX};
use crate::record::{Certificate, ManifestBody, NodeId};
use crate::trust::{Authority, SigningKey, TrustError, pre_authentication, verify, verify_chain};

const TYPE_MANIFEST: &str = "application/vnd.aop.manifest.v1";

impl ManifestBody {
    /// The manifest of a zone's first key, which signs for itself.
    pub fn first(zone: &ZoneName, key: &SigningKey, issued_ms: u64) -> Self {
        Self::issue(zone, 1, key, key, issued_ms)
    }

    /// The manifest by which `key` follows `previous` as epoch `epoch`.
    pub fn issue(zone: &ZoneName, epoch: u64, previous: &SigningKey, key: &SigningKey, issued_ms: u64) -> Self {
        let mut manifest = Self {
            zone: zone.as_str().to_owned(),
            epoch,
            key: key.verifying_key().to_bytes(),
            issued_ms,
            by_previous: [0; 64],
            by_key: [0; 64],
        };
        let statement = manifest.statement(&previous.verifying_key().to_bytes());
        manifest.by_previous = previous.sign(&statement).to_bytes();
        manifest.by_key = key.sign(&statement).to_bytes();
        manifest
    }

    /// Both keys sign the same: which key follows which, so that a later key also vouches for the one before it.
    fn statement(&self, previous: &[u8; 32]) -> Vec<u8> {
        let body = (self.zone.clone(), self.epoch, *previous, self.key, self.issued_ms).encode();
        pre_authentication(TYPE_MANIFEST, &body)
    }

    /// Whether this is how `zone` came from `previous` to this key.
    fn check(&self, zone: &ZoneName, previous: &[u8; 32]) -> Result<(), TrustError> {
        if self.zone != zone.as_str() {
            return Err(TrustError::Manifest(zone.clone()));
        }
        let statement = self.statement(previous);
        verify(previous, &statement, &self.by_previous)?;
        verify(&self.key, &statement, &self.by_key)
    }
}

/// A zone's key as somebody believes it, and how it came to be.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Lineage {
    epoch: u64,
    key: [u8; 32],
    /// The zone's key of the epoch before the first of `manifests`, when it is known: that manifest is signed by it.
    former: Option<[u8; 32]>,
    /// The last of them is of `epoch`; contiguous and verified. Empty while nobody told more than the key.
    manifests: Vec<ManifestBody>,
    /// A second manifest of one epoch, as valid as the first: the zone is frozen.
    fork: Option<ManifestBody>,
}

impl Lineage {
    /// A key of which nothing more is known.
    pub const fn of(epoch: u64, key: [u8; 32]) -> Self {
        Self { epoch, key, former: None, manifests: Vec::new(), fork: None }
    }

    /// A key at first use, and the manifests that came with it; without any it is the zone's first.
    ///
    /// # Errors
    /// [`TrustError::OtherKey`] when the manifests are of another key, or as [`Self::follow`].
    pub fn begin(zone: &ZoneName, key: [u8; 32], manifests: &[ManifestBody]) -> Result<Self, TrustError> {
        if manifests.is_empty() {
            return Ok(Self::of(1, key));
        }
        let held = manifests.iter().find(|manifest| manifest.key == key);
        let mut lineage = Self::of(held.ok_or_else(|| TrustError::OtherKey(zone.clone()))?.epoch, key);
        lineage.follow(zone, manifests)?;
        Ok(lineage)
    }

    /// The key now.
    pub const fn key(&self) -> [u8; 32] {
        self.key
    }

    /// Its epoch, from 1.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the zone's key signed two manifests of one epoch.
    pub const fn is_frozen(&self) -> bool {
        self.fork.is_some()
    }

    /// What others need to follow, ascending; a second manifest of one epoch comes last.
    pub fn manifests(&self) -> Vec<ManifestBody> {
        self.manifests.iter().chain(&self.fork).cloned().collect()
    }

    /// All keys that are or were the zone's, as far back as is known.
    pub fn keys(&self) -> impl Iterator<Item = [u8; 32]> {
        let held = self.manifests.iter().map(|manifest| manifest.key);
        std::iter::once(self.key).chain(self.former).chain(held)
    }

    /// The epoch of a key that is or was the zone's, as far back as is known.
    pub fn epoch_of(&self, key: &[u8; 32]) -> Option<u64> {
        let held = self.manifests.iter().find(|manifest| manifest.key == *key).map(|manifest| manifest.epoch);
        let former = || self.manifests.first().filter(|_| self.former == Some(*key)).map(|first| first.epoch - 1);
        if *key == self.key { Some(self.epoch) } else { held.or_else(former) }
    }

    /// The zone's key in that epoch, as far back as is known.
    fn key_of(&self, epoch: u64) -> Option<[u8; 32]> {
        let held = self.manifests.iter().find(|held| held.epoch == epoch).map(|held| held.key);
        let former = || self.manifests.first().filter(|first| follows(first.epoch, epoch)).and(self.former);
        if epoch == self.epoch { Some(self.key) } else { held.or_else(former) }
    }

    /// Whether certificates of `key` are believed: it is the zone's, or was until [`KEY_GRACE`] ago. Of a frozen zone nobody can
    /// say which key is the next, so the ones before it do not end.
    pub fn believes(&self, key: &[u8; 32], wall_ms: u64) -> bool {
        let grace = KEY_GRACE.as_millis() as u64;
        let follower =
            self.epoch_of(key).and_then(|epoch| self.manifests.iter().find(|next| follows(next.epoch, epoch)));
        *key == self.key
            || follower.is_some_and(|next| self.is_frozen() || next.issued_ms.saturating_add(grace) > wall_ms)
    }

    /// Checks that `node` belongs to `zone`, by these certificates, and as what. Who was revoked is not known here.
    ///
    /// # Errors
    /// [`TrustError::Chain`] or [`TrustError::Signature`].
    pub fn check_node(
        &self,
        zone: &ZoneName,
        node: NodeId,
        chain: &[Certificate],
        wall_ms: u64,
    ) -> Result<Authority, TrustError> {
        let issuer = chain.first().map(|certificate| certificate.issuer);
        match issuer.filter(|issuer| self.believes(issuer, wall_ms)) {
            Some(issuer) => verify_chain(chain, zone, &issuer, node),
            None => Err(TrustError::Chain(node.short())),
        }
    }

    /// Follows these manifests, ascending, as far as they lead. What is known already costs a comparison.
    ///
    /// A second manifest of a known epoch that is as valid as the first freezes the zone, and is kept as the proof.
    ///
    /// # Errors
    /// [`TrustError::Manifest`] for a skipped epoch, too many, or another zone's, [`TrustError::Signature`],
    /// [`TrustError::OtherKey`] for a key that does not follow, [`TrustError::Frozen`]; steps taken before that stand.
    pub fn follow(&mut self, zone: &ZoneName, manifests: &[ManifestBody]) -> Result<(), TrustError> {
        // One more than anybody keeps: a frozen zone tells both.
        if manifests.len() > MANIFESTS_MAX + 1 || manifests.iter().any(|manifest| manifest.zone != zone.as_str()) {
            return Err(TrustError::Manifest(zone.clone()));
        }
        self.look_back(zone, manifests);
        for manifest in manifests {
            if manifest.epoch <= self.epoch {
                self.compare(zone, manifest)?;
            } else {
                self.step(zone, manifest)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, zone: &ZoneName, manifest: &ManifestBody) -> Result<(), TrustError> {
        let before = self.manifests.last().map_or(0, |last| last.issued_ms);
        let follows = follows(manifest.epoch, self.epoch);
        if !follows || manifest.issued_ms < before || self.epoch_of(&manifest.key).is_some() {
            return Err(TrustError::Manifest(zone.clone()));
        }
        if self.is_frozen() {
            return Err(TrustError::Frozen(zone.clone()));
        }
        manifest.check(zone, &self.key)?;
        if self.manifests.is_empty() {
            self.former = Some(self.key);
        }
        self.epoch = manifest.epoch;
        self.key = manifest.key;
        self.manifests.push(manifest.clone());
        self.bound();
        Ok(())
    }

    /// Of too many manifests the oldest go; the key of the last of these stays known.
    fn bound(&mut self) {
        let over = self.manifests.len().saturating_sub(MANIFESTS_MAX);
        self.former = self.manifests.drain(..over).next_back().map_or(self.former, |last| Some(last.key));
    }

    /// An epoch that is known: the same key, or the zone's key said two things.
    fn compare(&mut self, zone: &ZoneName, manifest: &ManifestBody) -> Result<(), TrustError> {
        let differs = self.key_of(manifest.epoch).is_some_and(|key| key != manifest.key);
        if !differs {
            return Ok(());
        }
        let previous = manifest.epoch.checked_sub(1).and_then(|before| self.key_of(before));
        manifest.check(zone, &previous.ok_or_else(|| TrustError::OtherKey(zone.clone()))?)?;
        self.fork.get_or_insert_with(|| manifest.clone());
        Ok(())
    }

    /// Takes the epochs before those that are held: the key that is believed vouches for the one before it.
    fn look_back(&mut self, zone: &ZoneName, manifests: &[ManifestBody]) {
        // A key that came without manifests was taken for the zone's first; it says itself which one it is.
        let is_this = |pair: &&[ManifestBody]| pair[1].key == self.key && follows(pair[1].epoch, pair[0].epoch);
        if let Some(pair) = manifests.windows(2).find(is_this)
            && self.manifests.is_empty()
            && pair[1].epoch > self.epoch
            && pair[1].check(zone, &pair[0].key).is_ok()
        {
            self.epoch = pair[1].epoch;
        }
        let held = self.manifests.first().map_or(self.epoch.saturating_add(1), |first| first.epoch);
        let first = manifests.first().map_or(0, |first| first.epoch);
        let ascending = (first..held).zip(manifests).take_while(|(epoch, manifest)| manifest.epoch == *epoch);
        let past: Vec<&ManifestBody> = ascending.map(|(_, manifest)| manifest).collect();
        let Some(last) = past.last().filter(|last| follows(held, last.epoch)) else { return };
        let leads_here = match self.manifests.first() {
            Some(first) => first.check(zone, &last.key),
            None if last.key == self.key => Ok(()),
            None => Err(TrustError::OtherKey(zone.clone())),
        };
        let leads_on = |pair: &[&ManifestBody]| {
            pair[1].issued_ms >= pair[0].issued_ms && pair[1].check(zone, &pair[0].key).is_ok()
        };
        if leads_here.is_err() || !past.windows(2).all(leads_on) {
            return;
        }
        // Nothing here checks the oldest one, unless it is the zone's first: it has served to check the next.
        let is_first = past[0].epoch == 1 && past[0].check(zone, &past[0].key).is_ok();
        let former = (!is_first).then_some(past[0].key);
        let past = past.into_iter().skip(usize::from(!is_first)).cloned();
        self.manifests = past.chain(std::mem::take(&mut self.manifests)).collect();
        self.former = former.filter(|_| !self.manifests.is_empty());
        self.bound();
    }

    /// The manifests that make `next` the zone's key, to be kept by everybody: with the first rotation also the first manifest.
    ///
    /// # Errors
    /// [`TrustError::OtherKey`] when `current` is not the zone's key or `next` has been it, [`TrustError::Frozen`].
    pub fn rotate(
        &self,
        zone: &ZoneName,
        current: &SigningKey,
        next: &SigningKey,
        wall_ms: u64,
    ) -> Result<Vec<ManifestBody>, TrustError> {
        let is_current = current.verifying_key().to_bytes() == self.key;
        if !is_current || self.epoch_of(&next.verifying_key().to_bytes()).is_some() {
            return Err(TrustError::OtherKey(zone.clone()));
        }
        if self.is_frozen() {
            return Err(TrustError::Frozen(zone.clone()));
        }
        // A clock that went back makes no manifest older than the one before it.
        let issued_ms = self.manifests.last().map_or(wall_ms, |last| wall_ms.max(last.issued_ms));
        let first =
            (self.epoch == 1 && self.manifests.is_empty()).then(|| ManifestBody::first(zone, current, issued_ms));
        let following = ManifestBody::issue(zone, self.epoch + 1, current, next, issued_ms);
        Ok(first.into_iter().chain([following]).collect())
    }
}

/// Whether one epoch is directly after another; what anybody says of epochs is read before it is believed.
fn follows(epoch: u64, before: u64) -> bool {
    before.checked_add(1) == Some(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::samples::{id, key};

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    fn zone() -> ZoneName {
        ZoneName::parse("research").unwrap()
    }

    fn public(seed: u8) -> [u8; 32] {
        key(seed).verifying_key().to_bytes()
    }

    /// The manifests of a zone whose keys were of these seeds, one a minute.
    fn manifests(seeds: &[u8]) -> Vec<ManifestBody> {
        let mut lineage = Lineage::of(1, public(seeds[0]));
        for (minute, pair) in (1..).zip(seeds.windows(2)) {
            let next = lineage.rotate(&zone(), &key(pair[0]), &key(pair[1]), minute * 60_000).unwrap();
            lineage.follow(&zone(), &next).unwrap();
        }
        lineage.manifests()
    }

    fn pinned(seed: u8) -> Lineage {
        Lineage::of(1, public(seed))
    }

    #[test]
    fn whoever_believed_one_epoch_follows_to_the_last() {
        let all = manifests(&[1, 2, 3, 4]);
        assert_eq!(all.iter().map(|manifest| manifest.epoch).collect::<Vec<_>>(), [1, 2, 3, 4]);
        for (epoch, seed) in [(1, 1), (2, 2), (3, 3), (4, 4)] {
            let mut lineage = Lineage::of(epoch, public(seed));
            lineage.follow(&zone(), &all).unwrap();
            assert_eq!((lineage.epoch(), lineage.key(), lineage.manifests()), (4, public(4), all.clone()));
        }
    }

    /// Who pinned the first key and heard of the second alone knows as much as who heard of both.
    #[test]
    fn the_key_before_the_first_manifest_is_not_forgotten() {
        let second = manifests(&[1, 2]).remove(1);
        let mut lineage = pinned(1);
        lineage.follow(&zone(), std::slice::from_ref(&second)).unwrap();
        assert_eq!((lineage.manifests().len(), lineage.epoch_of(&public(1))), (1, Some(1)));
        assert!(lineage.believes(&public(1), second.issued_ms + DAY_MS - 1), "its certificates end a day later");
        assert!(!lineage.believes(&public(1), second.issued_ms + DAY_MS));
        let back = ManifestBody::issue(&zone(), 3, &key(2), &key(1), second.issued_ms);
        assert_eq!(lineage.follow(&zone(), &[back]), Err(TrustError::Manifest(zone())), "it does not return");
        let other = ManifestBody::issue(&zone(), 2, &key(1), &key(3), second.issued_ms);
        lineage.follow(&zone(), &[other]).unwrap();
        assert!(lineage.is_frozen(), "it vouches for a second successor as well");
    }

    #[test]
    fn the_key_of_the_last_manifest_that_was_dropped_is_not_forgotten() {
        let mut lineage = pinned(1);
        for seed in 1..40 {
            let next = lineage.rotate(&zone(), &key(seed), &key(seed + 1), 60_000).unwrap();
            lineage.follow(&zone(), &next).unwrap();
        }
        let oldest = lineage.manifests()[0].epoch;
        assert_eq!(oldest, 40 - MANIFESTS_MAX as u64 + 1);
        assert_eq!(lineage.key_of(oldest - 1), Some(public(oldest as u8 - 1)));
        assert_eq!(lineage.key_of(oldest - 2), None);
    }

    /// Whoever greets may say it: counting on from there ended the node that read it.
    #[test]
    fn the_last_epoch_there_is_leads_nowhere() {
        let (zone, known) = (zone(), key(1));
        let last = ManifestBody::issue(&zone, u64::MAX, &key(2), &key(3), 1);
        let around = ManifestBody::issue(&zone, 0, &key(3), &known, 1);
        for manifests in [vec![last.clone()], vec![last.clone(), around.clone()], vec![around, last.clone()]] {
            let mut lineage = Lineage::of(1, known.verifying_key().to_bytes());
            let before = lineage.clone();
            drop(lineage.follow(&zone, &manifests));
            assert_eq!(lineage, before);
            // At first use its sender is believed about the epoch, and hurts its own zone only.
            drop(Lineage::begin(&zone, last.key, &manifests));
        }
    }

    #[test]
    fn a_skipped_epoch_is_not_followed() {
        let mut lineage = pinned(1);
        let all = manifests(&[1, 2, 3]);
        assert_eq!(lineage.follow(&zone(), &all[2..]), Err(TrustError::Manifest(zone())));
        assert_eq!(lineage, pinned(1));
    }

    #[test]
    fn a_key_that_the_one_before_did_not_sign_is_not_followed() {
        let by_another = ManifestBody::issue(&zone(), 2, &key(9), &key(2), 1);
        assert_eq!(pinned(1).follow(&zone(), &[by_another]), Err(TrustError::Signature));
        // Whoever rotates holds the new key as well.
        let mut borrowed = ManifestBody::issue(&zone(), 2, &key(1), &key(3), 1);
        borrowed.key = public(2);
        assert_eq!(pinned(1).follow(&zone(), &[borrowed]), Err(TrustError::Signature));
        let elsewhere = ManifestBody::issue(&ZoneName::parse("writing").unwrap(), 2, &key(1), &key(2), 1);
        assert_eq!(pinned(1).follow(&zone(), &[elsewhere]), Err(TrustError::Manifest(zone())));
        let changes: [fn(&mut ManifestBody); 3] =
            [|m| m.issued_ms += 1, |m| m.by_previous[5] ^= 1, |m| m.by_key[5] ^= 1];
        for change in changes {
            let mut changed = ManifestBody::issue(&zone(), 2, &key(1), &key(2), 1);
            change(&mut changed);
            assert_eq!(pinned(1).follow(&zone(), &[changed]), Err(TrustError::Signature));
        }
    }

    #[test]
    fn an_epoch_is_never_taken_back() {
        let all = manifests(&[1, 2, 3]);
        let mut lineage = pinned(1);
        lineage.follow(&zone(), &all).unwrap();
        let before = lineage.clone();
        lineage.follow(&zone(), &all[..2]).unwrap();
        assert_eq!(lineage, before);
        // A key that was it already does not come back, whoever signs for it.
        let back = ManifestBody::issue(&zone(), 4, &key(3), &key(1), DAY_MS);
        assert_eq!(lineage.follow(&zone(), &[back]), Err(TrustError::Manifest(zone())));
        assert_eq!(lineage.rotate(&zone(), &key(3), &key(1), DAY_MS), Err(TrustError::OtherKey(zone())));
        assert_eq!(lineage.rotate(&zone(), &key(2), &key(4), DAY_MS), Err(TrustError::OtherKey(zone())));
    }

    #[test]
    fn two_manifests_of_one_epoch_freeze_the_zone_and_are_told() {
        let (ours, theirs) = (manifests(&[1, 2]), manifests(&[1, 3]));
        let mut lineage = pinned(1);
        lineage.follow(&zone(), &ours).unwrap();
        lineage.follow(&zone(), &theirs).unwrap();
        assert!(lineage.is_frozen());
        assert_eq!((lineage.epoch(), lineage.key()), (2, public(2)), "what was believed stands");
        let next = ManifestBody::issue(&zone(), 3, &key(2), &key(4), DAY_MS);
        assert_eq!(lineage.follow(&zone(), &[next]), Err(TrustError::Frozen(zone())));
        assert_eq!(lineage.rotate(&zone(), &key(2), &key(4), DAY_MS), Err(TrustError::Frozen(zone())));
        assert!(lineage.believes(&public(1), 99 * DAY_MS), "the last key that everybody agreed on does not end");

        // Whoever hears of both is frozen too, whichever it held, and one that begins with them as well.
        let mut other = pinned(1);
        other.follow(&zone(), &theirs).unwrap();
        other.follow(&zone(), &lineage.manifests()).unwrap();
        assert!(other.is_frozen() && other.key() == public(3));
        assert!(Lineage::begin(&zone(), public(2), &lineage.manifests()).unwrap().is_frozen());
    }

    #[test]
    fn a_second_manifest_that_does_not_verify_freezes_nothing() {
        let mut lineage = pinned(1);
        lineage.follow(&zone(), &manifests(&[1, 2])).unwrap();
        let forged = ManifestBody::issue(&zone(), 2, &key(9), &key(3), 1);
        assert_eq!(lineage.follow(&zone(), &[forged]), Err(TrustError::Signature));
        assert!(!lineage.is_frozen());
    }

    #[test]
    fn the_key_before_is_believed_for_a_day() {
        let all = manifests(&[1, 2]);
        let mut lineage = pinned(1);
        lineage.follow(&zone(), &all).unwrap();
        let rotated = all[1].issued_ms;
        assert!(lineage.believes(&public(1), rotated + DAY_MS - 1));
        assert!(!lineage.believes(&public(1), rotated + DAY_MS));
        assert!(lineage.believes(&public(2), rotated + 9 * DAY_MS) && !lineage.believes(&public(3), 0));

        let chain = [Certificate::issue(&key(1), &zone(), id(&key(7)), 1)];
        assert_eq!(lineage.check_node(&zone(), id(&key(7)), &chain, rotated), Ok(Authority::Signer));
        assert!(lineage.check_node(&zone(), id(&key(7)), &chain, rotated + DAY_MS).is_err());
        assert!(lineage.check_node(&zone(), id(&key(7)), &[], rotated).is_err());
    }

    #[test]
    fn no_more_manifests_are_kept_than_may_be() {
        let seeds: Vec<u8> = (1..=u8::try_from(MANIFESTS_MAX).unwrap() + 8).collect();
        let all = manifests(&seeds);
        assert_eq!(all.len(), MANIFESTS_MAX);
        let last = seeds[seeds.len() - 1];
        // First use takes what it can check: the oldest has nothing before it.
        let lineage = Lineage::begin(&zone(), public(last), &all).unwrap();
        assert_eq!((lineage.epoch(), lineage.manifests().len()), (u64::from(last), MANIFESTS_MAX - 1));
        assert_eq!(Lineage::begin(&zone(), public(1), &all), Err(TrustError::OtherKey(zone())));
        assert_eq!(
            pinned(1).follow(&zone(), &vec![all[0].clone(); MANIFESTS_MAX + 2]),
            Err(TrustError::Manifest(zone()))
        );
    }
}
