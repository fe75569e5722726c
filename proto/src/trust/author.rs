//! Whose call it is: signed by the node that makes it, so that those who pass it on can neither change it nor make it theirs.
//!
//! What must always hold: a call under somebody's name is what its key signed, for this home, lately, and carried out once.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};

use crate::codec::Wire;
use crate::name::ZoneName;
use crate::params::{
    CALL_AGE_MAX, CALL_AHEAD_MAX, CALLS_NODE_REMEMBERED_MAX, CALLS_REMEMBERED_MAX, MANIFESTS_MAX, ZONE_DEPTH_MAX,
};
use crate::record::{Author, Certificate, Hash, NodeId, ZoneProof};
use crate::trust::{Anchors, SigningKey, TrustError, Verifier, pre_authentication, verify};
use crate::wire::message::Call;

const TYPE_CALL: &str = "application/vnd.aop.call.v1";

impl Author {
    /// The author of a call by the node of that key, its zone, certificates, and what proves that zone's key to the home. `number`
    /// is another one in each of its calls.
    pub fn sign(
        key: &SigningKey,
        zone: &ZoneName,
        chain: Vec<Certificate>,
        proofs: Vec<ZoneProof>,
        call: &Call,
        issued_ms: u64,
        number: u64,
    ) -> Self {
        let node = NodeId(key.verifying_key().to_bytes());
        let zone = zone.as_str().to_owned();
        let mut author = Self { zone, node, chain, proofs, issued_ms, number, signature: [0; 64] };
        author.signature = key.sign(&author.statement(call)).to_bytes();
        author
    }

    /// What is signed: everything of the call but what changes on its way.
    fn statement(&self, call: &Call) -> Vec<u8> {
        let hash = |bytes: &[u8]| -> Hash { Sha256::digest(bytes).into() };
        let what = (call.name.clone(), call.home, call.zone.clone(), call.def_hash);
        let with = (hash(&call.arguments), hash(&call.extra.encode()), call.key, call.priority);
        let who = (self.zone.clone(), self.node, self.issued_ms, self.number);
        pre_authentication(TYPE_CALL, &(what, with, who).encode())
    }

    /// Checks that the call is of a node of the zone that it names, as far as keys are known here; its proofs make keys known. Whether
    /// it was carried out already is asked of [`Remembered`].
    ///
    /// # Errors
    /// [`TrustError::NoAnchor`] when nothing proves the zone's key here, otherwise as [`Verifier::check_node`] and
    /// [`TrustError::Signature`].
    pub fn check(
        &self,
        call: &Call,
        anchors: &mut Anchors,
        verifier: &mut Verifier,
        wall_ms: u64,
    ) -> Result<ZoneName, TrustError> {
        let zone = ZoneName::parse(&self.zone).map_err(|_| TrustError::Chain(self.node.short()))?;
        let fits = |proof: &ZoneProof| proof.manifests.len() <= MANIFESTS_MAX + 1;
        if self.proofs.len() > ZONE_DEPTH_MAX + 1 || !self.proofs.iter().all(fits) {
            return Err(TrustError::Chain(self.node.short()));
        }
        // The cheapest first: whoever made this up has no key of that node.
        verify(&self.node.0, &self.statement(call), &self.signature)?;
        anchors.learn(&self.proofs, verifier, wall_ms);
        verifier.check_node(anchors, &zone, self.node, &self.chain, wall_ms)?;
        Ok(zone)
    }
}

/// Why a call that is its author's is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Repeated {
    /// Signed so many milliseconds ago, which is too long.
    #[error("it was signed {0} ms ago by this node's clock, and {max} ms are believed", max = CALL_AGE_MAX.as_millis())]
    Stale(u64),
    /// Signed so many milliseconds in the future, which is too far.
    #[error("it was signed {0} ms ahead of this node's clock, and {max} ms are believed", max = CALL_AHEAD_MAX.as_millis())]
    Ahead(u64),
    /// Signed before this run of the home began, or so early in it that the run before may have carried it out. One that is signed in
    /// so many milliseconds is not.
    #[error("it was signed when this node had just started, or before: what it carried out then it may have forgotten")]
    Forgotten(u64),
    /// Carried out before.
    #[error("it was brought before")]
    Known,
    /// As many as are remembered, of its author or of all.
    #[error("too many signed calls in the last minutes")]
    Full,
}

/// The calls of late, so that none is carried out twice. At most [`CALLS_REMEMBERED_MAX`], of one author
/// [`CALLS_NODE_REMEMBERED_MAX`].
#[derive(Debug, Default)]
pub struct Remembered {
    calls: BTreeSet<(u64, NodeId, u64)>,
    by_node: BTreeMap<NodeId, usize>,
    /// Of what was signed before this, it is not known any more.
    since_ms: u64,
}

impl Remembered {
    /// The memory of a node that starts at `wall_ms`, and ran before or did not: of that run nothing is remembered.
    pub fn starting(wall_ms: u64, has_run: bool) -> Self {
        let ahead = if has_run { CALL_AHEAD_MAX.as_millis() as u64 + 1 } else { 0 };
        Self { since_ms: wall_ms.saturating_add(ahead), ..Self::default() }
    }

    /// Takes a call whose author was checked.
    ///
    /// # Errors
    /// [`Repeated`]; nothing is remembered of it then.
    pub fn take(&mut self, author: &Author, wall_ms: u64) -> Result<(), Repeated> {
        let age_max = CALL_AGE_MAX.as_millis() as u64;
        self.forget(wall_ms.saturating_sub(age_max));
        let (age, ahead) = (wall_ms.saturating_sub(author.issued_ms), author.issued_ms.saturating_sub(wall_ms));
        if age > age_max {
            return Err(Repeated::Stale(age));
        }
        if ahead > CALL_AHEAD_MAX.as_millis() as u64 {
            return Err(Repeated::Ahead(ahead));
        }
        if author.issued_ms < self.since_ms {
            return Err(Repeated::Forgotten(self.since_ms.saturating_sub(wall_ms)));
        }
        let call = (author.issued_ms, author.node, author.number);
        if self.calls.contains(&call) {
            return Err(Repeated::Known);
        }
        let of_node = self.by_node.get(&author.node).copied().unwrap_or_default();
        if self.calls.len() >= CALLS_REMEMBERED_MAX || of_node >= CALLS_NODE_REMEMBERED_MAX {
            return Err(Repeated::Full);
        }
        self.calls.insert(call);
        *self.by_node.entry(author.node).or_default() += 1;
        Ok(())
    }

    /// What was signed before this is refused for its age.
    fn forget(&mut self, before_ms: u64) {
        while let Some((issued_ms, node, _)) = self.calls.first().copied().filter(|(issued, ..)| *issued < before_ms) {
            self.calls.pop_first();
            // Also where the clock is set back later.
            self.since_ms = self.since_ms.max(issued_ms + 1);
            if let Some(count) = self.by_node.get_mut(&node) {
                *count -= 1;
                if *count == 0 {
                    self.by_node.remove(&node);
                }
            }
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DelegationBody, Head, Kind};
    use crate::trust::samples::{id, key, record};
    use crate::trust::sign_flush;

    const NOW: u64 = 1_000_000;

    fn lab() -> ZoneName {
        ZoneName::parse("lab.acme").unwrap()
    }

    fn call() -> Call {
        Call {
            name: "echo.everything.acme".into(),
            home: NodeId([9; 32]),
            zone: "acme".into(),
            def_hash: Some([1; 32]),
            arguments: br#"{"q":1}"#.to_vec(),
            extra: vec![("_meta".into(), b"{}".to_vec())],
            deadline_ms: 1_000,
            hops: 8,
            progress: false,
            key: None,
            priority: 5,
            afar: false,
            author: None,
        }
    }

    /// `acme` (key 1, node 2) delegates to `lab.acme` (key 3, node 4).
    fn proof() -> ZoneProof {
        let (acme, node) = (ZoneName::parse("acme").unwrap(), key(2));
        let zone_key = key(3).verifying_key().to_bytes();
        let body = DelegationBody { zone_key, epoch: 1, gateways: vec![], tools: 0, since_ms: 0 };
        let delegation = record(id(&node), 1, Kind::Delegation, "acme", "lab.acme", body.encode());
        let envelope = sign_flush(&node, vec![delegation], Head::default())[0].envelope();
        let chain = vec![Certificate::issue(&key(1), &acme, id(&node), 1)];
        ZoneProof { zone: "lab.acme".into(), delegation: envelope, chain, manifests: vec![] }
    }

    fn author(of: &Call, proofs: Vec<ZoneProof>) -> Author {
        let chain = vec![Certificate::issue(&key(3), &lab(), id(&key(4)), 1)];
        Author::sign(&key(4), &lab(), chain, proofs, of, NOW, 7)
    }

    fn check(author: &Author, of: &Call) -> Result<ZoneName, TrustError> {
        let mut anchors = Anchors::default();
        anchors.pin(ZoneName::parse("acme").unwrap(), key(1).verifying_key().to_bytes(), &[]).unwrap();
        author.check(of, &mut anchors, &mut Verifier::default(), NOW)
    }

    #[test]
    fn a_call_is_of_the_zone_whose_node_signed_it_and_is_proven_from_a_key_that_is_known() {
        let call = call();
        assert_eq!(check(&author(&call, vec![proof()]), &call), Ok(lab()));
        assert_eq!(check(&author(&call, vec![]), &call), Err(TrustError::NoAnchor(lab())));
        // What changes on the way is not signed.
        let passed_on = Call { hops: 1, deadline_ms: 1, progress: true, afar: true, ..call.clone() };
        assert_eq!(check(&author(&call, vec![proof()]), &passed_on), Ok(lab()));
    }

    #[test]
    fn nothing_of_a_signed_call_can_be_changed_nor_who_made_it() {
        let call = call();
        let others: [fn(&mut Call); 6] = [
            |call| call.name = "delete.everything.acme".into(),
            |call| call.home = NodeId([8; 32]),
            |call| call.zone = "lab.acme".into(),
            |call| call.def_hash = None,
            |call| call.arguments = br#"{"q":2}"#.to_vec(),
            |call| call.extra.clear(),
        ];
        for change in others {
            let mut other = call.clone();
            change(&mut other);
            assert_eq!(check(&author(&call, vec![proof()]), &other), Err(TrustError::Signature), "{other:?}");
        }
        let forgeries: [fn(&mut Author); 6] = [
            |author| author.issued_ms += 1,
            |author| author.number += 1,
            |author| author.zone = "acme".into(),
            |author| author.zone = "..".into(),
            |author| author.node = id(&key(5)),
            |author| author.signature[0] ^= 1,
        ];
        for forge in forgeries {
            let mut forged = author(&call, vec![proof()]);
            forge(&mut forged);
            assert!(check(&forged, &call).is_err(), "{forged:?}");
        }
        // A node that nobody certified, and certificates of somebody else.
        let stranger = Author::sign(&key(5), &lab(), vec![], vec![proof()], &call, NOW, 7);
        assert_eq!(check(&stranger, &call), Err(TrustError::Chain(id(&key(5)).short())));
        let borrowed = author(&call, vec![proof()]).chain;
        let borrowed = Author::sign(&key(5), &lab(), borrowed, vec![proof()], &call, NOW, 7);
        assert!(check(&borrowed, &call).is_err());
    }

    #[test]
    fn work_for_proofs_is_bounded() {
        let call = call();
        let many = author(&call, vec![proof(); ZONE_DEPTH_MAX + 2]);
        assert!(matches!(check(&many, &call), Err(TrustError::Chain(_))));
    }

    #[test]
    fn a_call_is_taken_once_and_for_a_minute() {
        let mut remembered = Remembered::default();
        let one = author(&call(), vec![]);
        let (age, ahead) = (CALL_AGE_MAX.as_millis() as u64, CALL_AHEAD_MAX.as_millis() as u64);
        assert_eq!(remembered.take(&one, NOW + age + 1), Err(Repeated::Stale(age + 1)));
        assert_eq!(remembered.take(&one, NOW - ahead - 1), Err(Repeated::Ahead(ahead + 1)));
        assert_eq!(remembered.take(&one, NOW - ahead), Ok(()));
        for later in [NOW - ahead, NOW, NOW + age] {
            assert_eq!(remembered.take(&one, later), Err(Repeated::Known), "{later}");
        }
        assert_eq!(remembered.take(&one, NOW + age + 1), Err(Repeated::Stale(age + 1)));
        assert!(remembered.is_empty() && remembered.by_node.is_empty(), "it is forgotten when its age refuses it");
    }

    /// What one run has carried out, the next one has forgotten.
    #[test]
    fn no_run_of_a_home_carries_out_what_the_run_before_may_have() {
        let one = author(&call(), vec![]);
        let ahead = CALL_AHEAD_MAX.as_millis() as u64;
        for first in [NOW - ahead, NOW, NOW + 1_000] {
            assert_eq!(Remembered::default().take(&one, first), Ok(()));
            for start in [first, first + 1, first + ahead] {
                let mut next = Remembered::starting(start, true);
                for at in [start, start + ahead, NOW + CALL_AGE_MAX.as_millis() as u64] {
                    let wait = (start + ahead + 1).saturating_sub(at);
                    assert_eq!(next.take(&one, at), Err(Repeated::Forgotten(wait)), "{first} {start} {at}");
                }
                let later = Author { issued_ms: start + ahead + 1, ..one.clone() };
                assert_eq!(next.take(&later, start + ahead + 1), Ok(()), "{first} {start}");
            }
        }
        // Who has not run has carried nothing out.
        assert_eq!(Remembered::starting(NOW, false).take(&one, NOW), Ok(()));
        assert_eq!(Remembered::starting(NOW + 1, false).take(&one, NOW + 1), Err(Repeated::Forgotten(0)));
    }

    #[test]
    fn one_author_fills_its_own_room() {
        let mut remembered = Remembered::default();
        let mut one = author(&call(), vec![]);
        for number in 0..CALLS_NODE_REMEMBERED_MAX as u64 {
            one.number = number;
            remembered.take(&one, NOW).unwrap();
        }
        one.number = u64::MAX;
        assert_eq!(remembered.take(&one, NOW), Err(Repeated::Full));
        one.node = NodeId([3; 32]);
        assert_eq!(remembered.take(&one, NOW), Ok(()));
        assert_eq!(remembered.len(), CALLS_NODE_REMEMBERED_MAX + 1);
    }
}
