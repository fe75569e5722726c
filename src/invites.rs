//! Invites as tokens: signed by this node's own key, kept by its store, counted before anybody is let in.
//!
//! ```text
//!  issue ─▶ row durable ─▶ JWT (EdDSA, by the node's key) ─▶ its bearer ─▶ Offer::read ─▶ joins, with the anchor's hash
//!  redeem ◀─ Join frame: signature ─▶ row ─▶ use counted, durable ─▶ what it grants
//! ```
//!
//! What an invite grants is decided by [`Invite`]; here it is made, found and kept. What must always hold: a use is durable before it
//! is answered, and of two bearers who come at once one is counted after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aop_proto::access::Role;
use aop_proto::codec::Wire as _;
use aop_proto::error::{Kind, Problem};
use aop_proto::invite::{Granted, Invite, InviteError};
use aop_proto::name::ZoneName;
use aop_proto::node::Invitation;
use aop_proto::params::INVITE_BYTES_MAX;
use aop_proto::record::NodeId;
use aop_proto::trust::anchor_hash;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::entropy::{NodeKey, hex, seed, unhex};
use crate::store::{Op, Store, StoreError, Table};

/// Whom invites are for; a token of any other audience is none.
const AUDIENCE: &str = "aop-join";
/// Rows of invites in the store.
const INVITE_PREFIX: &[u8] = b"invite/";
/// Invites that may wait for their bearers.
const INVITES_MAX: usize = 10_000;
/// Ended ones are remembered this long, so that their bearers hear why they are not let in.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// Addresses one names.
const ANCHORS_MAX: usize = 8;

/// What the token says (RFC 7519); every claim is required.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    /// The node that issued it, and whose key signed it.
    iss: String,
    /// The zone whose node its bearer may be.
    sub: String,
    aud: String,
    jti: String,
    iat: u64,
    exp: u64,
    role: String,
    /// The issuer's zone.
    zone: String,
    /// Where the issuer is dialled.
    anchors: Vec<Anchor>,
    /// `sha256:` and the hash of the issuer's zone and its key.
    anchor_hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Anchor {
    node: String,
    address: String,
}

/// What the bearer of an invite reads in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What the core needs of it.
    pub invitation: Invitation,
    /// The zone whose node the bearer may be.
    pub zone: ZoneName,
    /// As what.
    pub role: Role,
    /// Where its issuer is.
    pub addresses: Vec<String>,
}

impl Offer {
    /// Reads an invite. Its signature is by the key it names: that it is whole is all that this says, and who trusts it trusts whoever
    /// handed it over. Its end is the issuer's to judge, whose clock made it.
    ///
    /// # Errors
    /// In words: no token, damaged, or of another kind.
    pub fn read(token: &str) -> Result<Self, String> {
        let token = token.trim();
        if token.len() > INVITE_BYTES_MAX {
            return Err(format!("an invite has at most {INVITE_BYTES_MAX} bytes"));
        }
        // Whose it is stands inside, and is believed only if that key signed it.
        let unchecked = jsonwebtoken::dangerous::insecure_decode::<Claims>(token);
        let claimed = unchecked
            .map_err(|_| "it cannot be read; `aop invite` prints one as one line of three parts".to_owned())?
            .claims;
        let issuer = NodeId::parse(&claimed.iss).ok_or("its issuer is no node")?;
        let claims = decode(token, issuer).map_err(|_| "it is damaged: its signature does not hold".to_owned())?;
        let name = |text: &str| ZoneName::parse(text).map_err(|_| "it names no zone".to_owned());
        let anchor = claims.anchor_hash.strip_prefix("sha256:").and_then(unhex);
        let addresses: Vec<String> =
            claims.anchors.into_iter().take(ANCHORS_MAX).map(|anchor| anchor.address).collect();
        let invitation = Invitation {
            token: token.to_owned(),
            issuer,
            zone: name(&claims.zone)?,
            anchor: anchor.ok_or("it names no key")?,
        };
        let role = claims.role.parse().map_err(|_| "it names no role".to_owned())?;
        Ok(Self { invitation, zone: name(&claims.sub)?, role, addresses })
    }

    /// Whether it makes its bearer a replica of the issuer's zone.
    pub fn is_replica(&self) -> bool {
        self.zone == self.invitation.zone
    }
}

/// What is asked of a new invite.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The zone whose node the bearer is to be.
    pub zone: ZoneName,
    /// As what.
    pub role: Role,
    /// How long it is good.
    pub life: Duration,
    /// For how many nodes.
    pub uses: u32,
}

/// Who makes an invite, as it is now.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its zone.
    pub zone: ZoneName,
    /// The zone's key.
    pub zone_key: [u8; 32],
    /// Where it is dialled.
    pub address: String,
}

/// A new invite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its name, to revoke it by.
    pub id: String,
    /// What is handed over.
    pub token: String,
    /// When it ends, milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// Where its bearer dials.
    pub address: String,
}

/// Why invites cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum InvitesError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node's key cannot sign.
    #[error("the node's key cannot sign invites: {0}")]
    Key(#[from] ed25519_dalek::pkcs8::Error),
}

/// All invites of this node. Cheap to clone.
#[derive(Clone)]
pub struct Invites(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    me: NodeId,
    signer: EncodingKey,
    /// Held over every change and its way to the store, so that uses are counted one after the other.
    rows: Mutex<BTreeMap<String, Invite>>,
}

/// What became of an invite that was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    /// Its id.
    pub id: String,
    /// What it grants.
    pub granted: Granted,
    /// Its bearer shows it for the first time; later it is as good, and no news.
    pub is_first: bool,
}

impl Invites {
    /// The invites that the store holds.
    ///
    /// # Errors
    /// [`InvitesError`].
    pub fn load(store: &Store, key: &NodeKey, clock: Clock) -> Result<Self, InvitesError> {
        let mut rows = BTreeMap::new();
        for (name, value) in store.load(Table::Meta)? {
            let id = name.strip_prefix(INVITE_PREFIX).and_then(|id| std::str::from_utf8(id).ok());
            if let Some((id, invite)) = id.zip(Invite::decode(&value).ok()) {
                rows.insert(id.to_owned(), invite);
            }
        }
        let signer = EncodingKey::from_ed_der(key.pkcs8_der()?.as_bytes());
        let me = NodeId(key.public());
        Ok(Self(Arc::new(Inner { store: store.clone(), clock, me, signer, rows: Mutex::new(rows) })))
    }

    /// Makes an invite and keeps it.
    ///
    /// # Errors
    /// `Busy` when too many wait for their bearers, `StoreFailed`; nothing was issued.
    pub async fn issue(&self, issuer: &Issuer, wanted: &Wanted) -> Result<Issued, Problem> {
        let now_ms = self.0.clock.now().wall_ms;
        let id = hex(&seed().map_err(|error| Problem::new(Kind::Internal, error.to_string()))?[..16]);
        let invite = Invite::new(&wanted.zone, wanted.role, wanted.life, wanted.uses, now_ms);
        let claims = self.claims(issuer, wanted, &id, &invite, now_ms);
        let token = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.0.signer);
        let token =
            token.map_err(|error| Problem::new(Kind::Internal, format!("the invite cannot be signed: {error}")))?;
        let mut rows = self.0.rows.lock().await;
        self.forget_ended(&mut rows, now_ms).await?;
        if rows.len() >= INVITES_MAX {
            let many = format!("{INVITES_MAX} invites wait for their bearers");
            return Err(Problem::new(Kind::Busy, many).hint("aop invite ls"));
        }
        self.keep(&id, &invite).await?;
        let expires_ms = invite.expires_ms();
        rows.insert(id.clone(), invite);
        Ok(Issued { id, token, expires_ms, address: issuer.address.clone() })
    }

    fn claims(&self, issuer: &Issuer, wanted: &Wanted, id: &str, invite: &Invite, now_ms: u64) -> Claims {
        let node = self.0.me.to_string();
        Claims {
            iss: node.clone(),
            sub: wanted.zone.to_string(),
            aud: AUDIENCE.to_owned(),
            jti: id.to_owned(),
            iat: now_ms / 1000,
            exp: invite.expires_ms() / 1000,
            role: wanted.role.name().to_owned(),
            zone: issuer.zone.to_string(),
            anchors: vec![Anchor { node, address: issuer.address.clone() }],
            anchor_hash: format!("sha256:{}", hex(&anchor_hash(&issuer.zone, &issuer.zone_key))),
        }
    }

    /// Counts a use of an invite by that node, durably, and says what it grants; otherwise in words why nothing.
    ///
    /// # Errors
    /// For the bearer to read.
    pub async fn redeem(&self, peer: NodeId, token: &str) -> Result<Redeemed, String> {
        let Inner { me, clock, rows, .. } = &*self.0;
        let claims = decode(token, *me).map_err(|_| "this node has issued no such invite".to_owned())?;
        let mut rows = rows.lock().await;
        let row = rows.get_mut(&claims.jti).ok_or_else(|| InviteError::Unknown.to_string())?;
        let mut used = row.clone();
        let granted = used.redeem(peer, clock.now().wall_ms).map_err(|why| why.to_string())?;
        let is_first = used != *row;
        if is_first {
            let kept = self.keep(&claims.jti, &used).await;
            kept.map_err(|_| "the use of the invite could not be kept; try again".to_owned())?;
            *row = used;
        }
        Ok(Redeemed { id: claims.jti, granted, is_first })
    }

    /// Takes an invite back; whether there is one of that id.
    ///
    /// # Errors
    /// `StoreFailed`; it is as it was.
    pub async fn revoke(&self, id: &str) -> Result<bool, Problem> {
        let mut rows = self.0.rows.lock().await;
        let Some(row) = rows.get_mut(id) else { return Ok(false) };
        let mut revoked = row.clone();
        revoked.revoke();
        self.keep(id, &revoked).await?;
        *row = revoked;
        Ok(true)
    }

    /// Takes back what was issued for nodes of a zone and of those below it, and has not ended; how many.
    ///
    /// # Errors
    /// `StoreFailed`; some may be taken back already.
    pub async fn revoke_below(&self, zone: &ZoneName) -> Result<usize, Problem> {
        let now_ms = self.0.clock.now().wall_ms;
        let of_zone = |invite: &Invite| ZoneName::parse(invite.zone()).is_ok_and(|of| of.is_within(zone));
        let is_open = |invite: &Invite| !invite.is_over(now_ms) && !invite.is_revoked() && of_zone(invite);
        let open = self.all().await.into_iter().filter(|(_, invite)| is_open(invite));
        let open: Vec<String> = open.map(|(id, _)| id).collect();
        for id in &open {
            self.revoke(id).await?;
        }
        Ok(open.len())
    }

    /// All that are remembered, by id.
    pub async fn all(&self) -> Vec<(String, Invite)> {
        self.0.rows.lock().await.iter().map(|(id, invite)| (id.clone(), invite.clone())).collect()
    }

    async fn keep(&self, id: &str, invite: &Invite) -> Result<(), Problem> {
        let op = Op::Put { table: Table::Meta, key: row_key(id), value: invite.encode().into() };
        let kept = self.0.store.commit(vec![op]).await;
        kept.map_err(|error| Problem::new(Kind::StoreFailed, error.to_string()).hint("aop status"))
    }

    async fn forget_ended(&self, rows: &mut BTreeMap<String, Invite>, now_ms: u64) -> Result<(), Problem> {
        let before_ms = now_ms.saturating_sub(REMEMBERED.as_millis() as u64);
        let ended: Vec<String> =
            rows.iter().filter(|(_, invite)| invite.is_over(before_ms)).map(|(id, _)| id.clone()).collect();
        if ended.is_empty() {
            return Ok(());
        }
        let ops = ended.iter().map(|id| Op::Delete { table: Table::Meta, key: row_key(id) }).collect();
        let forgotten = self.0.store.commit(ops).await;
        forgotten.map_err(|error| Problem::new(Kind::StoreFailed, error.to_string()).hint("aop status"))?;
        rows.retain(|id, _| !ended.contains(id));
        Ok(())
    }
}

/// The claims of a token that the key of `issuer` signed for this purpose. Its end is judged by the ledger, which also knows uses.
fn decode(token: &str, issuer: NodeId) -> Result<Claims, jsonwebtoken::errors::Error> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[issuer.to_string()]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    validation.validate_exp = false;
    Ok(jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_ed_der(&issuer.0), &validation)?.claims)
}

fn row_key(id: &str) -> Vec<u8> {
    [INVITE_PREFIX, id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    fn zone(name: &str) -> ZoneName {
        ZoneName::parse(name).unwrap()
    }

    fn issuer() -> Issuer {
        Issuer { zone: zone("acme"), zone_key: [9; 32], address: "node.acme.example:7400".to_owned() }
    }

    fn wanted(uses: u32) -> Wanted {
        Wanted { zone: zone("lab.acme"), role: Role::Caller, life: Duration::from_secs(3600), uses }
    }

    fn invites(store: &Store, key: &NodeKey) -> Invites {
        Invites::load(store, key, Clock::start()).unwrap()
    }

    fn node(seed: u8) -> NodeId {
        NodeId([seed; 32])
    }

    #[tokio::test]
    async fn an_invite_says_where_to_go_and_whom_to_believe_and_counts_its_uses_over_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let key = NodeKey::memory().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let issued = invites(&store, &key).issue(&issuer(), &wanted(1)).await.unwrap();
        let offer = Offer::read(&issued.token).unwrap();
        assert_eq!((offer.zone.as_str(), offer.role, offer.is_replica()), ("lab.acme", Role::Caller, false));
        assert_eq!(offer.addresses, ["node.acme.example:7400"]);
        assert_eq!(offer.invitation.anchor, anchor_hash(&zone("acme"), &[9; 32]));
        assert_eq!(offer.invitation.issuer, NodeId(key.public()));
        let first = invites(&store, &key).redeem(node(1), &issued.token).await.unwrap();
        assert_eq!((first.id, first.granted.role, first.is_first), (issued.id.clone(), Role::Caller, true));
        store.close();
        let store = Store::open(directory.path()).unwrap();
        let again = invites(&store, &key);
        assert_eq!(again.redeem(node(2), &issued.token).await, Err(InviteError::Used.to_string()));
        let known = again.redeem(node(1), &issued.token).await.unwrap();
        assert!(!known.is_first, "its answer may have been lost, and it is no news");
        assert!(again.revoke(&issued.id).await.unwrap() && !again.revoke("none").await.unwrap());
        assert_eq!(again.redeem(node(1), &issued.token).await, Err(InviteError::Revoked.to_string()));
    }

    #[tokio::test]
    async fn of_two_who_come_at_once_one_is_let_in() {
        let (store, key) = (Store::memory(), NodeKey::memory().unwrap());
        let invites = invites(&store, &key);
        let issued = invites.issue(&issuer(), &wanted(1)).await.unwrap();
        let (one, other) = tokio::join!(invites.redeem(node(1), &issued.token), invites.redeem(node(2), &issued.token));
        assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1);
    }

    /// The token again with other claims, or another header, and whatever signature it had.
    fn forged(token: &str, change: impl Fn(&mut Value, &mut Value)) -> String {
        let parts: Vec<&str> = token.split('.').collect();
        let read = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        let (mut header, mut claims): (Value, Value) = (read(parts[0]), read(parts[1]));
        change(&mut header, &mut claims);
        let write = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{}", write(&header), write(&claims), parts[2])
    }

    fn signed(key: &NodeKey, claims: &Value) -> String {
        let signer = EncodingKey::from_ed_der(key.pkcs8_der().unwrap().as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &signer).unwrap()
    }

    #[tokio::test]
    async fn what_was_not_signed_as_it_stands_lets_nobody_in() {
        let (store, key) = (Store::memory(), NodeKey::memory().unwrap());
        let invites = invites(&store, &key);
        let good = invites.issue(&issuer(), &wanted(9)).await.unwrap().token;
        let bad = [
            String::new(),
            "a.b.c".to_owned(),
            good.clone() + "x",
            good[..good.len() - 4].to_owned(),
            forged(&good, |_, claims| claims["role"] = json!("admin")),
            forged(&good, |_, claims| claims["sub"] = json!("acme")),
            forged(&good, |header, _| header["alg"] = json!("none")),
            forged(&good, |header, _| header["alg"] = json!("HS256")),
            forged(&good, |header, _| header["alg"] = json!("ES256")),
            "x".repeat(INVITE_BYTES_MAX + 1),
        ];
        for token in bad {
            assert!(invites.redeem(node(1), &token).await.is_err(), "{token}");
            assert!(Offer::read(&token).is_err(), "{token}");
        }
        assert!(invites.redeem(node(1), &good).await.is_ok());
    }

    /// Even what our own key signed is none when it is not of the kind, for the purpose and of the types that invites are.
    #[tokio::test]
    async fn claims_of_wrong_types_or_for_others_let_nobody_in() {
        let (store, key) = (Store::memory(), NodeKey::memory().unwrap());
        let invites = invites(&store, &key);
        let good = invites.issue(&issuer(), &wanted(9)).await.unwrap().token;
        let claims = decode(&good, NodeId(key.public())).map(|claims| serde_json::to_value(&claims).unwrap()).unwrap();
        assert!(invites.redeem(node(1), &signed(&key, &claims)).await.is_ok());
        for (name, value) in [
            ("aud", json!("aop-http")),
            ("aud", json!(["other"])),
            ("aud", json!(7)),
            ("aud", Value::Null),
            ("iss", json!(NodeId([1; 32]).to_string())),
            ("iss", json!([NodeId(key.public()).to_string()])),
            ("exp", json!("9999999999")),
            ("exp", json!(-1)),
            ("sub", json!({})),
            ("sub", Value::Null),
            ("jti", json!("unknown")),
            ("jti", json!(1)),
            ("role", json!(["admin"])),
            ("anchors", json!("127.0.0.1:7400")),
        ] {
            let mut wrong = claims.clone();
            match value {
                Value::Null => drop(wrong.as_object_mut().unwrap().remove(name)),
                value => wrong[name] = value,
            }
            assert!(invites.redeem(node(1), &signed(&key, &wrong)).await.is_err(), "{name}: {wrong}");
        }
        let other = NodeKey::memory().unwrap();
        assert!(invites.redeem(node(1), &signed(&other, &claims)).await.is_err(), "another key");
    }
}
