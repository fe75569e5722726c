//! What an invite is good for, and how often it was used: the ledger's side of it. What its bearer holds is a token, made and read
//! where tokens are.
//!
//! What must always hold: a use is counted before anybody is let in, and what was counted stays so; so whoever keeps one makes the
//! change durable before it says what came of it.

use crate::access::Role;
use crate::codec::{WireRead, WireWrite};
use crate::name::ZoneName;
use crate::params::{INVITE_LIFE, INVITE_USES};
use crate::record::NodeId;

/// One invite as its issuer keeps it, under its id.
#[derive(Clone, PartialEq, Eq, Debug, WireRead, WireWrite)]
pub struct Invite {
    zone: String,
    role: u8,
    issued_ms: u64,
    expires_ms: u64,
    uses_max: u32,
    used_by: Vec<NodeId>,
    revoked: bool,
}

/// What a redeemed invite grants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Granted {
    /// The zone whose node the bearer may be: the issuer's, or one below it.
    pub zone: ZoneName,
    /// A replica of the own zone becomes a signer as [`Role::Admin`], a member as [`Role::Peer`], and none as anything else; of a child
    /// it is what its organisation may do here.
    pub role: Role,
    /// When it was issued, milliseconds since the Unix epoch: what was cut off later stays so.
    pub issued_ms: u64,
}

/// Why an invite lets nobody in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InviteError {
    /// This node has not issued it, or has forgotten it long after its end.
    #[error("this node has issued no such invite")]
    Unknown,
    /// Its time is over.
    #[error("the invite has expired; ask for a new one")]
    Expired,
    /// As many have used it as may.
    #[error("the invite was used already; ask for a new one")]
    Used,
    /// Its issuer took it back.
    #[error("the invite was revoked")]
    Revoked,
}

impl Invite {
    /// An invite for nodes of `zone`, for so long and so many nodes, as far as the bounds of both allow.
    pub fn new(zone: &ZoneName, role: Role, life: std::time::Duration, uses: u32, wall_ms: u64) -> Self {
        let life_ms = life.clamp(INVITE_LIFE.1, INVITE_LIFE.2).as_millis() as u64;
        Self {
            zone: zone.as_str().to_owned(),
            role: role.number(),
            issued_ms: wall_ms,
            expires_ms: wall_ms.saturating_add(life_ms),
            uses_max: uses.clamp(INVITE_USES.1, INVITE_USES.2),
            used_by: Vec::new(),
            revoked: false,
        }
    }

    /// Counts a use by that node. The same node may come again: what it was told may have been lost.
    ///
    /// # Errors
    /// [`InviteError`]; nothing has changed.
    pub fn redeem(&mut self, node: NodeId, wall_ms: u64) -> Result<Granted, InviteError> {
        let granted = || {
            let (zone, role) = (ZoneName::parse(&self.zone).ok()?, Role::from_number(self.role)?);
            Some(Granted { zone, role, issued_ms: self.issued_ms })
        };
        let granted = granted().ok_or(InviteError::Unknown)?;
        if self.revoked {
            return Err(InviteError::Revoked);
        }
        if self.is_over(wall_ms) {
            return Err(InviteError::Expired);
        }
        if self.used_by.contains(&node) {
            return Ok(granted);
        }
        if self.used_by.len() >= self.uses_max as usize {
            return Err(InviteError::Used);
        }
        self.used_by.push(node);
        Ok(granted)
    }

    /// Takes it back; who has used it already stays.
    pub const fn revoke(&mut self) {
        self.revoked = true;
    }

    /// Whether its time is over.
    pub const fn is_over(&self, wall_ms: u64) -> bool {
        self.expires_ms <= wall_ms
    }

    /// When it ends, milliseconds since the Unix epoch.
    pub const fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// Nodes that used it.
    pub fn used_by(&self) -> &[NodeId] {
        &self.used_by
    }

    /// How many may.
    pub const fn uses_max(&self) -> u32 {
        self.uses_max
    }

    /// For nodes of this zone.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// As what.
    pub fn role(&self) -> Option<Role> {
        Role::from_number(self.role)
    }

    /// Whether it was taken back.
    pub const fn is_revoked(&self) -> bool {
        self.revoked
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn invite(uses: u32) -> Invite {
        let zone = ZoneName::parse("lab.acme").unwrap();
        Invite::new(&zone, Role::Caller, Duration::from_secs(3600), uses, 1_000)
    }

    fn node(seed: u8) -> NodeId {
        NodeId([seed; 32])
    }

    #[test]
    fn an_invite_lets_in_as_many_nodes_as_it_says_and_each_of_them_again() {
        let mut invite = invite(2);
        for seed in [1, 2, 1, 2] {
            let granted = invite.redeem(node(seed), 2_000).unwrap();
            assert_eq!((granted.zone.as_str(), granted.role), ("lab.acme", Role::Caller));
        }
        assert_eq!(invite.redeem(node(3), 2_000), Err(InviteError::Used));
        assert_eq!(invite.used_by(), [node(1), node(2)]);
    }

    #[test]
    fn an_expired_or_revoked_invite_lets_nobody_in_any_more() {
        let mut late = invite(1);
        assert!(late.redeem(node(1), 3_600_999).is_ok());
        assert_eq!(late.redeem(node(1), 3_601_000), Err(InviteError::Expired));
        let mut revoked = invite(1);
        revoked.revoke();
        assert_eq!(revoked.redeem(node(1), 2_000), Err(InviteError::Revoked));
        assert!(revoked.used_by().is_empty());
    }

    #[test]
    fn life_and_uses_stay_within_their_bounds() {
        let zone = ZoneName::parse("z").unwrap();
        let most = Invite::new(&zone, Role::Peer, Duration::MAX, u32::MAX, 0);
        assert_eq!((most.expires_ms(), most.uses_max()), (INVITE_LIFE.2.as_millis() as u64, INVITE_USES.2));
        let least = Invite::new(&zone, Role::Peer, Duration::ZERO, 0, 0);
        assert_eq!((least.expires_ms(), least.uses_max()), (INVITE_LIFE.1.as_millis() as u64, INVITE_USES.1));
    }
}
