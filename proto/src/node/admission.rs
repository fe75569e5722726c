//! Who is let in where strangers may come: invites and their redemption, for replicas of the own zone and for zones below.
//!
//! ```text
//!  joiner: PeerUp of the issuer ─▶ Join, Hello          Admit (replica) or Referral (child) ─▶ the key must be the invite's
//!  issuer: Join ─▶ Redeem ─▶ (uses counted, durable) ─▶ Redeemed ─▶ judged again, by what the invite grants
//! ```
//!
//! What an invite is made of is not known here: the limb that keeps them reads it, counts its use, and says what it grants. What must
//! always hold: nobody is certified or delegated to over a guarded link without a redeemed invite or a word of the operator, and over
//! such a link no key of a zone is taken for good that no invite names.

use std::fmt;

use crate::access::Role;
use crate::invite::Granted;
use crate::name::ZoneName;
use crate::node::{Node, Output};
use crate::params::{INVITE_BYTES_MAX, PARENTS_MAX};
use crate::record::{Hash, ManifestBody, NodeId};
use crate::trust::{Authority, Lineage, anchor_hash};
use crate::wire::message::{Join, Refuse};

/// Who may become a replica or a child without an invite.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Admission {
    /// Whoever comes: `--insecure-no-auth`.
    Open,
    /// Whoever is on this machine.
    #[default]
    Local,
    /// Nobody.
    Invited,
}

impl Admission {
    /// Whether somebody at the other end of a link needs an invite, on this machine or elsewhere.
    pub const fn guards(self, is_local: bool) -> bool {
        match self {
            Self::Open => false,
            Self::Local => !is_local,
            Self::Invited => true,
        }
    }
}

/// An invite, as whoever was given it reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// What is presented to its issuer, and to nobody else.
    pub token: String,
    /// The node that issued it.
    pub issuer: NodeId,
    /// The issuer's zone.
    pub zone: ZoneName,
    /// Hash of that zone's key ([`anchor_hash`]).
    pub anchor: Hash,
}

impl fmt::Debug for Invitation {
    /// Without the token, which admits whoever reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invitation({} by {})", self.zone, self.issuer.short())
    }
}

impl Invitation {
    /// Whether it names the key of that zone, or one from which manifests that were checked lead there.
    fn vouches(&self, zone: &ZoneName, lineage: &Lineage) -> bool {
        *zone == self.zone && lineage.keys().any(|key| anchor_hash(zone, &key) == self.anchor)
    }
}

/// How far somebody has come who is not known yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Entry {
    /// Presented nothing.
    #[default]
    Unasked,
    /// Its invite is being looked at.
    Asked,
    /// Its invite was good.
    Granted(Granted),
}

impl Node {
    /// Whether somebody at the other end of that link needs an invite.
    pub(super) fn is_guarded(&self, peer: NodeId) -> bool {
        self.config.admission.guards(self.links.is_local(peer))
    }

    /// Presents our invite to whoever issued it, before we say who we are: as long as it has given us nothing.
    pub(super) fn present_invite(&mut self, peer: NodeId) {
        // A zone may have had its key, and another parent, or this one, long before.
        let is_in = self.is_invited_as_replica() && self.is_admitted();
        let invite = self.config.invitation.as_ref().filter(|invite| invite.issuer == peer && !is_in);
        if let Some(token) = invite.map(|invite| invite.token.clone()) {
            self.send(peer, Join { token });
        }
    }

    /// An operator gave this node an invite while it runs: its issuer is kept contact with, and whoever of it is there hears of it.
    pub(super) fn on_invited(&mut self, invitation: Invitation, addresses: &[String]) {
        let is_replica = invitation.zone == self.config.zone;
        self.config.invitation = Some(invitation);
        self.links.invited(addresses, is_replica);
        if !is_replica {
            // Fellows have that parent too.
            let given = self.config.parents.len();
            let news = addresses.iter().filter(|address| !self.config.parents.contains(address)).cloned();
            let news: Vec<String> = news.take(PARENTS_MAX.saturating_sub(given)).collect();
            self.config.parents.extend(news);
            self.write_node_record();
        }
        for peer in self.links.connected() {
            self.present_invite(peer);
            self.greet(peer);
        }
        self.dial_due();
        self.view_dirty = true;
    }

    /// The issuer says of our zone what we came for: the invite is needed no more.
    pub(super) fn spend_invite(&mut self, peer: NodeId) {
        if !self.is_invited_as_replica() {
            self.config.invitation.take_if(|invite| invite.issuer == peer);
        }
    }

    fn is_invited_as_replica(&self) -> bool {
        self.config.invitation.as_ref().is_some_and(|invite| invite.zone == self.config.zone)
    }

    pub(super) fn on_join(&mut self, peer: NodeId, join: Join) {
        let own = self.config.zone.clone();
        if self.anchors.revoked().contains(&own, peer) {
            // Whatever it was given before.
            return self.expel(peer, &own);
        }
        let is_asked = self.links.entry(peer) == Some(&Entry::Asked);
        if join.token.len() > INVITE_BYTES_MAX {
            self.counts.bad_frames += 1;
        } else if self.is_guarded(peer) && !is_asked && self.links.set_entry(peer, Entry::Asked) {
            self.outputs.push_back(Output::Redeem { peer, token: join.token });
        }
    }

    /// The invite was looked at, and its use is counted: its bearer is judged again, or hears why not.
    pub(super) fn on_redeemed(&mut self, peer: NodeId, granted: Result<Granted, String>) {
        match granted {
            Ok(granted) => {
                if self.links.set_entry(peer, Entry::Granted(granted))
                    && let Some(hello) = self.links.hello_of(peer)
                {
                    self.on_hello(peer, hello);
                }
            }
            Err(reason) => {
                self.links.set_entry(peer, Entry::Unasked);
                self.keep_out(peer, &reason);
            }
        }
    }

    /// What somebody who is to be of `zone` was granted over this link; `Err` while its invite is looked at.
    fn granted(&self, peer: NodeId, zone: &ZoneName) -> Result<Option<Role>, ()> {
        match self.links.entry(peer) {
            Some(Entry::Asked) => Err(()),
            Some(Entry::Granted(granted)) if granted.zone == *zone && !self.is_stale(granted) => Ok(Some(granted.role)),
            _ => Ok(None),
        }
    }

    /// Whether a zone was cut off after it was invited.
    fn is_stale(&self, granted: &Granted) -> bool {
        let void = self.anchors.revoked().void_until(&self.config.zone, &granted.zone);
        void.is_some_and(|until| granted.issued_ms <= until)
    }

    /// Certifies an applicant, if it may come in; keeps it out otherwise.
    pub(super) fn let_in(&mut self, peer: NodeId, zone_key: [u8; 32]) {
        let authority = if self.is_guarded(peer) {
            match self.granted(peer, &self.config.zone) {
                Err(()) => return,
                Ok(Some(Role::Admin)) => Authority::Signer,
                Ok(Some(Role::Peer)) => Authority::Member,
                Ok(_) => {
                    let zone = &self.config.zone;
                    let reason = format!("zone {zone} admits by invite; its operator makes one with `aop invite`");
                    return self.keep_out(peer, &reason);
                }
            }
        } else {
            Authority::Signer
        };
        self.admit(peer, zone_key, authority);
    }

    /// Whether a node of a zone below may speak with us at all; if not, it is told and let go.
    pub(super) fn lets_below(&mut self, peer: NodeId, zone: &ZoneName) -> bool {
        let known = self.delegation_of(zone).is_some();
        let may = known || !self.is_guarded(peer) || !matches!(self.granted(peer, zone), Ok(None));
        if !may {
            self.keep_out(peer, &self.no_delegation(zone));
        }
        may
    }

    /// What a child that was not delegated to before may become: `Ok(None)` is no word of anybody, and enough where links are open.
    /// `Err` is to wait for the invite.
    pub(super) fn may_delegate(&mut self, peer: NodeId, zone: &ZoneName) -> Result<Option<Role>, ()> {
        let is_void = self.anchors.revoked().void_until(&self.config.zone, zone).is_some();
        let granted = self.granted(peer, zone)?;
        if granted.is_some() || !(is_void || self.is_guarded(peer)) {
            return Ok(granted);
        }
        self.keep_out(peer, &self.no_delegation(zone));
        Err(())
    }

    /// Why a node of that zone is not let in, and who can help.
    fn no_delegation(&self, zone: &ZoneName) -> String {
        let own = &self.config.zone;
        let is_void = self.anchors.revoked().void_until(own, zone).is_some();
        let what = if is_void { "was undelegated" } else { "is not delegated" };
        format!(
            "zone {zone} {what} by {own}; its operator says `aop invite --zone {zone}`, or `aop zones delegate {zone} KEY`"
        )
    }

    /// Ends it with somebody who may not come in, in words.
    pub(super) fn keep_out(&mut self, peer: NodeId, reason: &str) {
        if self.links.is_refused(peer) {
            // The connection ends already, and the first reason is the one that helps.
            return;
        }
        self.counts.kept_out += 1;
        self.links.mark_refused(peer);
        self.send(peer, Refuse { reason: reason.to_owned() });
        self.outputs.push_back(Output::Close { peer });
    }

    /// Whether a key of a zone may be taken for good from that peer: one that is pinned leads there, the link is not guarded, or our
    /// invite names it.
    pub(super) fn may_pin(&self, peer: NodeId, zone: &ZoneName, key: [u8; 32], manifests: &[ManifestBody]) -> bool {
        if !self.is_guarded(peer) || self.anchors.is_pinned(zone) {
            return true;
        }
        let Ok(lineage) = Lineage::begin(zone, key, manifests) else { return false };
        self.config.invitation.as_ref().is_some_and(|invite| invite.vouches(zone, &lineage))
    }

    /// What a node of the own zone may say, by the certificates that are known of it, whichever of the zone's keys they begin at.
    pub(super) fn authority_of(&mut self, node: NodeId) -> Option<Authority> {
        let chain = self.chains.get(node)?.into_owned();
        let key = chain.first()?.issuer;
        let zone = &self.config.zone;
        self.anchors.lineage(zone)?.epoch_of(&key)?;
        self.verifier.check_chain(zone, &key, node, &chain).ok()
    }

    /// Whether this node speaks for its zone, as of the certificates it goes by.
    pub(super) const fn is_signer(&self) -> bool {
        self.signs
    }

    /// Those certificates are others now.
    pub(super) fn settle_authority(&mut self) {
        let key = self.trust.chain.first().map(|first| first.issuer).filter(|_| self.is_admitted());
        let checked = key.map(|key| self.verifier.check_chain(&self.config.zone, &key, self.id, &self.trust.chain));
        self.signs = checked == Some(Ok(Authority::Signer));
    }
}
