//! Who may come in, from the operator's side: invites, delegations, revocations; and the invite this node was given.

use std::time::{Duration, Instant};

use aop_proto::access::{Grant, Principal, Role};
use aop_proto::error::{Kind, Problem, did_you_mean};
use aop_proto::invite::{Granted, Invite};
use aop_proto::name::ZoneName;
use aop_proto::node::Write;
use aop_proto::params::REASON_CHARS_MAX;
use aop_proto::record::NodeId;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Handle, busy};
use crate::audit::{Entry, Event};
use crate::auth::Token;
use crate::driver::{Job, Redemption};
use crate::invites::{Issued, Issuer, Offer, Redeemed, Wanted};
use crate::peer::is_local;

/// Vain attempts to join that are written down in a minute, in the audit and in the log; all of them are counted.
const VAIN_NOTED: u32 = 30;

/// Which vain attempts are written down: whoever makes many fills no file and ages no other line out of it.
#[derive(Debug, Default)]
struct Vain {
    since: Option<Instant>,
    noted: u32,
}

impl Vain {
    fn is_noted(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + Duration::from_secs(60)) {
            (self.since, self.noted) = (Some(now), 0);
        }
        self.noted += 1;
        self.noted <= VAIN_NOTED
    }
}

impl Handle {
    /// Makes an invite: for a replica of the own zone, or for a node of a zone below.
    ///
    /// # Errors
    /// `Usage` for a zone that is neither or a role it cannot have, `Config` when nobody could dial this node, `Forbidden` when it does
    /// not speak for its zone, `Busy` while its key is not settled, `StoreFailed`.
    pub async fn invite(&self, wanted: &Wanted, by: &Principal) -> Result<Issued, Problem> {
        self.may_begin()?;
        let issued = self.issue(wanted).await;
        let entry = Entry::by(by, Event::Invited).zone(&wanted.zone);
        let entry = issued.as_ref().map_or(entry.clone(), |issued| entry.name(&issued.id));
        self.audited(entry, issued).await
    }

    async fn issue(&self, wanted: &Wanted) -> Result<Issued, Problem> {
        let view = self.view();
        if !wanted.zone.is_within(&view.zone) {
            let message = format!("zone {} is neither {} nor below it", wanted.zone, view.zone);
            return Err(Problem::new(Kind::Usage, message).hint(format!("aop invite --zone {}", view.zone)));
        }
        if wanted.zone == view.zone && !matches!(wanted.role, Role::Peer | Role::Admin) {
            let message = format!(
                "a replica of {} is a peer or an admin; {} is for zones below it",
                view.zone,
                wanted.role.name()
            );
            return Err(Problem::new(Kind::Usage, message).hint("aop invite --role peer"));
        }
        let address = self.inner.about.address.clone();
        let socket = address.parse::<std::net::SocketAddr>();
        if socket.map_or(address.is_empty(), |socket| socket.ip().is_unspecified()) {
            let message = "this node says no address that others can dial, so nobody could use an invite of it: start it with \
                           one as --advertise";
            return Err(Problem::new(Kind::Config, message).hint("aop-node --help"));
        }
        let settled = view.zone_key.filter(|_| view.admitted);
        let zone_key = settled
            .ok_or_else(|| Problem::new(Kind::Busy, "the key of this zone is not settled yet").hint("aop status"))?;
        if !view.signs {
            let message = format!("this node is a member of zone {} and does not speak for it", view.zone);
            return Err(Problem::new(Kind::Forbidden, message).hint("aop keys"));
        }
        let issuer = Issuer { zone: view.zone.clone(), zone_key, address };
        self.inner.invites.issue(&issuer, wanted).await
    }

    /// `aop.invites/1`: the invites this node has issued and remembers. Never their tokens.
    pub async fn invites(&self) -> Value {
        let now_ms = self.inner.clock.now().wall_ms;
        let all = self.inner.invites.all().await;
        let invites: Vec<Value> = all.iter().map(|(id, invite)| invite_json(id, invite, now_ms)).collect();
        json!({"schema": "aop.invites/1", "zone": self.view().zone.as_str(), "invites": invites})
    }

    /// Takes an invite back.
    ///
    /// # Errors
    /// `NameNotFound` when there is none of that id, `StoreFailed`.
    pub async fn revoke_invite(&self, id: &str, by: &Principal) -> Result<(), Problem> {
        self.may_begin()?;
        let revoked = self.inner.invites.revoke(id).await;
        if self.audited(Entry::by(by, Event::Revoked).name(id), revoked).await? {
            return Ok(());
        }
        let known: Vec<String> = self.inner.invites.all().await.into_iter().map(|(id, _)| id).collect();
        let near = did_you_mean(id, known.iter().map(String::as_str));
        Err(Problem::new(Kind::NameNotFound, format!("no invite `{id}`")).hint("aop invite ls").did_you_mean(near))
    }

    /// This node was given an invite: it goes to whoever issued it.
    ///
    /// # Errors
    /// `Usage` for what is no invite, or one for another zone; `Config` when its issuer is on another machine and this node dials none;
    /// `StoreFailed` when it could not be written down.
    pub async fn join(&self, token: &str, by: &Principal) -> Result<Offer, Problem> {
        let offer = self.usable(token)?;
        self.may_begin()?;
        let job = Job::Join(offer.invitation.clone(), offer.addresses.clone());
        let entry = Entry::by(by, Event::Joined).zone(&offer.invitation.zone).name(offer.invitation.issuer);
        let sent = self.inner.jobs.send(job).await.map_err(|_| busy());
        self.audited(entry.reason("an invite was given to this node"), sent).await.map(|()| offer)
    }

    fn usable(&self, token: &str) -> Result<Offer, Problem> {
        let no_invite =
            |why: String| Problem::new(Kind::Usage, format!("that is no invite: {why}")).hint("aop join --help");
        let offer = Offer::read(token).map_err(no_invite)?;
        let own = self.view().zone.clone();
        if offer.zone != own {
            let message = format!(
                "the invite is for a node of zone {}, and this one is of {own}: start one of that zone with it as --invite",
                offer.zone
            );
            return Err(Problem::new(Kind::Usage, message).hint("aop-node --help"));
        }
        if offer.invitation.issuer == self.view().node {
            let message =
                "this node issued that invite itself; it is for another one, which is started with it as --invite";
            return Err(Problem::new(Kind::Usage, message).hint("aop invite ls"));
        }
        if !self.inner.about.reaches_out && !offer.addresses.iter().any(|address| is_local(address)) {
            let message = format!(
                "this node was started for its own machine and dials no other; whoever issued the invite is at {}: stop this \
                 node, and start it as before with the invite as --invite",
                offer.addresses.join(", ")
            );
            return Err(Problem::new(Kind::Config, message).hint("aop-node --help"));
        }
        Ok(offer)
    }

    /// A node of the own zone is believed no more, durably and for ever.
    ///
    /// # Errors
    /// `Usage` for what is no node id, `Forbidden` when this node may not say so, `NameTaken` when somebody has, `StoreFailed`.
    pub async fn revoke_node(&self, node: &str, reason: &str, by: &Principal) -> Result<NodeId, Problem> {
        let view = self.view();
        let known = || view.members.iter().map(|member| member.node).chain([view.node]);
        let id = NodeId::parse(&node.to_ascii_lowercase()).or_else(|| one_short(node, known()));
        let id = id.ok_or_else(|| {
            let ids: Vec<String> = known().map(|node| node.to_string()).collect();
            let near = did_you_mean(node, ids.iter().map(String::as_str));
            Problem::new(Kind::Usage, format!("`{node}` is no node id")).hint("aop nodes -o wide").did_you_mean(near)
        })?;
        check_reason(reason)?;
        self.may_begin()?;
        let revoked = self.write(Write::Revoke { node: id, reason: reason.to_owned() }).await;
        let entry = Entry::by(by, Event::Revoked).zone(&view.zone).name(id).reason(reason);
        self.audited(entry, revoked).await.map(|_| id)
    }

    /// Makes a bearer token of this node; the secret of it is told here and never again.
    ///
    /// # Errors
    /// As [`Auth::create_token`](crate::auth::Auth::create_token), and `StoreFailed` when it could not be written down.
    pub async fn create_token(
        &self,
        name: &str,
        grant: Grant,
        life: Option<Duration>,
        by: &Principal,
    ) -> Result<(Token, String), Problem> {
        self.may_begin()?;
        let made = self.inner.auth.create_token(name, grant, life).await;
        self.audited(Entry::by(by, Event::TokenCreated).name(name), made).await
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// As [`Auth::revoke_token`](crate::auth::Auth::revoke_token), and `StoreFailed` when it could not be written down.
    pub async fn revoke_token(&self, name: &str, by: &Principal) -> Result<(), Problem> {
        self.may_begin()?;
        let revoked = self.inner.auth.revoke_token(name).await;
        self.audited(Entry::by(by, Event::TokenRevoked).name(name), revoked).await.map(drop)
    }

    /// A zone below is that of this key from now on.
    ///
    /// # Errors
    /// `Usage` for a zone that does not lie below, `Forbidden`, `NameTaken` when it is another's, `StoreFailed`.
    pub async fn delegate(&self, zone: ZoneName, key: [u8; 32], role: Role, by: &Principal) -> Result<(), Problem> {
        self.may_begin()?;
        let entry = Entry::by(by, Event::Delegated).zone(&zone).name(role.name());
        let delegated = self.write(Write::Delegate { zone, key, role }).await;
        self.audited(entry, delegated).await.map(drop)
    }

    /// What was delegated to a zone below is void, and so are the invites for it that this node has issued.
    ///
    /// # Errors
    /// `ZoneNotFound` when nothing was, `Forbidden`, `StoreFailed`.
    pub async fn undelegate(&self, zone: ZoneName, reason: &str, by: &Principal) -> Result<(), Problem> {
        check_reason(reason)?;
        self.may_begin()?;
        let entry = Entry::by(by, Event::Undelegated).zone(&zone).reason(reason);
        let undelegated = self.write(Write::Undelegate { zone: zone.clone(), reason: reason.to_owned() }).await;
        let ended = match undelegated {
            // Who may not undelegate takes no invites back either.
            Err(problem) if problem.kind != Kind::ZoneNotFound => Err(problem),
            undelegated => match self.inner.invites.revoke_below(&zone).await {
                // Somebody may have been invited only.
                Ok(revoked) if revoked > 0 => Ok(()),
                Ok(_) => undelegated.map(drop),
                Err(problem) => Err(problem),
            },
        };
        self.audited(entry, ended).await
    }

    /// Looks at the invites that peers present, one after the other, until the node stops.
    pub async fn redeem_invites(self, mut presented: mpsc::Receiver<Redemption>) {
        let mut vain = Vain::default();
        while let Some(Redemption { peer, token }) = presented.recv().await {
            let redeemed = self.inner.invites.redeem(peer, &token).await;
            // Who was let in by it may show it again, as after a restart.
            let is_news =
                redeemed.as_ref().map_or_else(|_| vain.is_noted(Instant::now()), |redeemed| redeemed.is_first);
            if is_news {
                let outcome = redeemed.as_ref().map_or_else(String::clone, |_| "ok".to_owned());
                tracing::info!(peer = %peer.short(), outcome, "invite.redeem");
                self.note_redeemed(peer, &redeemed).await;
            }
            let granted: Result<Granted, String> = redeemed.map(|redeemed| redeemed.granted);
            // A driver that is gone lets nobody in.
            let _ = self.inner.jobs.send(Job::Redeemed(peer, granted)).await;
        }
    }
}

impl Handle {
    /// A node came with an invite, and was let in or not.
    async fn note_redeemed(&self, peer: NodeId, redeemed: &Result<Redeemed, String>) {
        let entry = match redeemed {
            Ok(Redeemed { id, granted, .. }) => Entry::own(Event::Joined).name(id).zone(&granted.zone),
            Err(why) => Entry::own(Event::Refused).failed(Kind::Forbidden).reason(why),
        };
        self.inner.audit.record(entry.node(peer)).await;
    }
}

fn check_reason(reason: &str) -> Result<(), Problem> {
    let most = REASON_CHARS_MAX / 4;
    if reason.chars().count() <= most {
        return Ok(());
    }
    Err(Problem::new(Kind::Usage, format!("a reason may have {most} characters")))
}

/// The one node whose id begins like that; short ids are what logs and tables show.
fn one_short(text: &str, known: impl Iterator<Item = NodeId>) -> Option<NodeId> {
    let wanted = text.to_ascii_lowercase();
    let mut found = known.filter(|node| wanted.len() >= 6 && node.to_string().starts_with(&wanted));
    found.next().filter(|_| found.next().is_none())
}

fn invite_json(id: &str, invite: &Invite, now_ms: u64) -> Value {
    let state = match () {
        () if invite.is_revoked() => "revoked",
        () if invite.is_over(now_ms) => "expired",
        () if invite.used_by().len() >= invite.uses_max() as usize => "used",
        () => "open",
    };
    json!({
        "id": id, "zone": invite.zone(), "role": invite.role().map(Role::name), "state": state,
        "uses": invite.used_by().len(), "uses_max": invite.uses_max(), "expires_ms": invite.expires_ms(),
        "used_by": invite.used_by().iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_vain_attempts_some_a_minute_are_written_down() {
        let (mut vain, start) = (Vain::default(), Instant::now());
        let noted = |vain: &mut Vain, at| (0..1000).filter(|_| vain.is_noted(at)).count();
        assert_eq!(noted(&mut vain, start), VAIN_NOTED as usize);
        assert_eq!(noted(&mut vain, start + Duration::from_secs(59)), 0);
        assert_eq!(noted(&mut vain, start + Duration::from_secs(60)), VAIN_NOTED as usize);
    }
}
