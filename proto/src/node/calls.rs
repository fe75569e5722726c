//! Whose a call is: what a node says of itself with the calls it makes, and what it believes of those that peers bring.
//!
//! ```text
//!  caller: sign ─▶ Call ──▶ relay: its own relatives only, marked when it came from afar ──▶ home: whose ─▶ rules
//! ```
//!
//! Calls are no inputs: whoever makes or serves one asks the node, which changes nothing but what it remembers of them.

use crate::name::ZoneName;
use crate::node::Node;
use crate::now::Now;
use crate::params::{PROOFS_BYTES_MAX, ZONE_DEPTH_MAX};
use crate::record::{Author, NodeId, ZoneProof};
use crate::trust::{Remembered, Repeated, TrustError};
use crate::view::Relation;
use crate::wire::message::Call;

/// What is kept for calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// What proves the own zone's key to others, from the top: as a parent told it.
    proofs: Vec<ZoneProof>,
    remembered: Remembered,
    made: u64,
}

impl Calls {
    /// Those of a node that starts, and ran before or did not.
    pub(super) fn starting(now: Now, has_run: bool) -> Self {
        Self { remembered: Remembered::starting(now.wall_ms, has_run), ..Self::default() }
    }
}

/// Who a call is of, and how it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// The zone and the node that make it; nothing when neither the call nor the connection shows it.
    pub by: Option<(ZoneName, NodeId)>,
    /// It came over a link that strangers may come over, here or on its way: what is open to this machine is not open to it.
    pub afar: bool,
}

/// Why nothing is done with a call that a peer brought.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBelieved {
    /// It is not signed by whom it names.
    #[error("the call is not the one its author signed, or of nobody who may speak for its zone: {0}")]
    Author(#[from] TrustError),
    /// It is, and is not carried out.
    #[error("the call is not carried out again: {0}")]
    Repeated(#[from] Repeated),
    /// A call to be passed on that nobody signed.
    #[error("a call that is passed on has to be signed by the node that makes it")]
    Unsigned,
}

impl Node {
    /// Signs a call of this node, if it belongs to its zone: from then on only its hops, time and mark may change.
    pub fn sign(&mut self, now: Now, call: &mut Call) {
        if !self.is_admitted() {
            return;
        }
        if self.calls.made == 0 {
            // Another run began somewhere else.
            self.calls.made = self.chance.number();
        }
        self.calls.made = self.calls.made.wrapping_add(1);
        let proofs = ZoneName::parse(&call.zone).map(|zone| self.proofs_for(&zone)).unwrap_or_default();
        let (key, zone, chain) = (&self.config.key, &self.config.zone, self.trust.chain.clone());
        call.author = Some(Author::sign(key, zone, chain, proofs, call, now.wall_ms, self.calls.made));
    }

    /// Whose the call is that `peer` brought, to be carried out here, and not to be carried out again.
    ///
    /// # Errors
    /// [`NotBelieved`]. A call of a zone whose key is not known here is nobody's, which is no error.
    pub fn whose(&mut self, now: Now, peer: NodeId, call: &Call) -> Result<Brought, NotBelieved> {
        let afar = call.afar || self.is_guarded(peer);
        let Some(author) = call.author.as_ref() else {
            return Ok(Brought { by: self.of_link(peer).map(|zone| (zone, peer)), afar });
        };
        // Over its own connection nobody can have changed or kept it.
        if author.node == peer && self.of_link(peer).is_some_and(|zone| zone.as_str() == author.zone) {
            return Ok(Brought { by: self.of_link(peer).map(|zone| (zone, peer)), afar });
        }
        if self.is_guarded(peer) && self.of_link(peer).is_none() {
            // Strangers make no work for signatures.
            return Ok(Brought { by: None, afar });
        }
        match author.check(call, &mut self.anchors, &mut self.verifier, now.wall_ms) {
            Ok(zone) => {
                self.calls.remembered.take(author, now.wall_ms)?;
                Ok(Brought { by: Some((zone, author.node)), afar })
            }
            Err(TrustError::NoAnchor(_)) => Ok(Brought { by: None, afar }),
            Err(error) => Err(self.disbelieve(peer, error)),
        }
    }

    /// Whether a call that `peer` brought may be passed on, as far as that is seen in it, and how it goes on. Who is known here to have
    /// no right to its zone's name gets no further.
    ///
    /// # Errors
    /// [`NotBelieved`].
    pub fn pass_on(&mut self, now: Now, peer: NodeId, call: &mut Call) -> Result<Brought, NotBelieved> {
        call.afar |= self.is_guarded(peer);
        let brought = Brought { by: self.of_link(peer).map(|zone| (zone, peer)), afar: call.afar };
        let author = call.author.as_ref().ok_or(NotBelieved::Unsigned)?;
        if brought.by.is_some() || !self.is_guarded(peer) {
            match author.check(call, &mut self.anchors, &mut self.verifier, now.wall_ms) {
                Ok(_) | Err(TrustError::NoAnchor(_)) => {}
                Err(error) => return Err(self.disbelieve(peer, error)),
            }
        }
        Ok(brought)
    }

    /// Whoever brings what its author did not sign has changed it, or made it up.
    fn disbelieve(&mut self, peer: NodeId, error: TrustError) -> NotBelieved {
        match error {
            TrustError::Signature => self.on_forgery(peer),
            _ => self.counts.refused += 1,
        }
        error.into()
    }

    /// Signed calls that are remembered.
    pub(super) fn remembered_calls(&self) -> usize {
        self.calls.remembered.len()
    }

    /// The zone that a connection proves.
    fn of_link(&self, peer: NodeId) -> Option<ZoneName> {
        self.links.relation(peer).map(|relation| match relation {
            Relation::Fellow => self.config.zone.clone(),
            Relation::Parent(zone) | Relation::Child(zone) => zone,
        })
    }

    /// What proves this zone to others.
    pub(super) fn own_proofs(&self) -> &[ZoneProof] {
        &self.calls.proofs
    }

    /// Whether these proofs of this zone were written after those that are held, as those say whose keys are known here.
    pub(super) fn is_later_proof(&mut self, proofs: &[ZoneProof]) -> bool {
        let (anchors, verifier, wall_ms) = (&self.anchors, &mut self.verifier, self.now.wall_ms);
        let mut written = |proofs: &[ZoneProof]| {
            proofs.iter().take(ZONE_DEPTH_MAX).filter_map(|proof| anchors.proven_at(proof, verifier, wall_ms)).max()
        };
        self.calls.proofs.is_empty() || written(proofs) > written(&self.calls.proofs)
    }

    /// What a parent says proves us to others, whether it is news: taken as far as it does.
    pub(super) fn take_own_proofs(&mut self, proofs: Vec<ZoneProof>) -> bool {
        let own = &self.config.zone;
        let is_on_the_way = |proof: &ZoneProof| ZoneName::parse(&proof.zone).is_ok_and(|zone| own.is_within(&zone));
        let bytes: usize = proofs.iter().map(size_of).sum();
        let fits = !proofs.is_empty() && proofs.len() <= ZONE_DEPTH_MAX && bytes <= PROOFS_BYTES_MAX;
        let is_news = fits && proofs.iter().all(is_on_the_way) && proofs != self.calls.proofs;
        if is_news {
            self.calls.proofs = proofs;
        }
        is_news
    }

    /// What proves the own zone to a node of that zone, which knows the keys of all zones it lies in.
    fn proofs_for(&self, there: &ZoneName) -> Vec<ZoneProof> {
        let own = &self.config.zone;
        let is_unknown = |zone: &str| ZoneName::parse(zone).is_ok_and(|zone| !there.is_within(&zone));
        let proofs = self.calls.proofs.iter().filter(|proof| is_unknown(&proof.zone)).cloned();
        proofs
            .map(|proof| match proof.zone == own.as_str() {
                true => ZoneProof { manifests: self.anchors.manifests(own), ..proof },
                false => proof,
            })
            .collect()
    }

    /// What proves a child to others: our word, after what proves us.
    pub(super) fn proofs_of_child(&self, child: &ZoneName) -> Vec<ZoneProof> {
        let ours = self.calls.proofs.iter().cloned();
        ours.chain(self.prover().of_child(child, &self.anchors)).collect()
    }
}

fn size_of(proof: &ZoneProof) -> usize {
    proof.delegation.len() + 200 * (proof.chain.len() + proof.manifests.len()) + proof.zone.len()
}
