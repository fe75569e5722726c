//! What is fuzzed of admission: any text that is presented as a token or as an invite. `tests/fuzz` calls the same function with
//! coverage; here it runs with fixed seeds (`hostile.rs`).

use std::sync::LazyLock;
use std::time::Duration;

use aop::auth::{Algorithm, Auth, Issuer as Believed, SecretHash, Terms};
use aop::clock::Clock;
use aop::entropy::NodeKey;
use aop::invites::{Invites, Issuer, Offer, Wanted};
use aop::store::Store;
use aop_proto::access::{Caller, Grant, Principal, Role};
use aop_proto::name::ZoneName;
use aop_proto::record::NodeId;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

/// A secret of the operator, as the file of the admin token holds one.
const OPERATOR: &str = "6f70657261746f72";

/// An authorization server that nobody can ask: nothing listens there.
const ISSUER: &str = "http://127.0.0.1:9";

/// A node with one invite and one token.
struct Door {
    runtime: Runtime,
    key: NodeKey,
    invites: Invites,
    invite: String,
    auth: Auth,
    secret: String,
}

static DOOR: LazyLock<Door> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (store, key) = (Store::memory(), NodeKey::memory().expect("a key"));
    let zone = ZoneName::parse("acme").expect("a zone");
    let issuer = Issuer { zone: zone.clone(), zone_key: [9; 32], address: "node.acme.example:7400".to_owned() };
    let wanted = Wanted { zone, role: Role::Peer, life: Duration::from_secs(3600), uses: 1000 };
    let believed = Believed {
        issuer: ISSUER.to_owned(),
        jwks_uri: Some(format!("{ISSUER}/keys")),
        audience: None,
        algorithms: vec![Algorithm::EdDSA],
    };
    let terms = Terms { issuers: vec![believed], resource: "https://node.example".to_owned(), ..Terms::default() };
    let (invites, invite, auth, secret) = runtime.block_on(async {
        let invites = Invites::load(&store, &key, Clock::start()).expect("an empty store");
        let invite = invites.issue(&issuer, &wanted).await.expect("an invite").token;
        let auth = Auth::open(OPERATOR, terms, store).expect("an empty store");
        let (_, secret) = auth.create_token("ci", Grant::of(Role::Reader), None).await.expect("a token");
        (invites, invite, auth, secret)
    });
    Door { runtime, key, invites, invite, auth, secret }
});

impl Door {
    fn redeems(&self, token: &str) -> bool {
        self.runtime.block_on(self.invites.redeem(NodeId([1; 32]), token)).is_ok()
    }

    fn who(&self, presented: &str) -> Option<Caller> {
        self.runtime.block_on(self.auth.identify(Some(presented))).ok().map(|standing| standing.caller().clone())
    }

    /// A signed token with these parts.
    fn signed(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let signature = self.key.signing_key().sign(text.as_bytes()).to_bytes();
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// Only the very words that were handed out open anything.
    fn judge(&self, text: &str) {
        assert_eq!(self.redeems(text), text == self.invite, "{text}");
        if let Ok(offer) = Offer::read(text) {
            assert_eq!(offer.invitation.token, text.trim(), "what is read of an invite is what is shown to its issuer");
        }
        let caller = self.who(text).map(|caller| caller.principal);
        let expected = match text {
            OPERATOR => Some(Principal::Operator),
            text if text == self.secret => Some(Principal::Token("ci".to_owned())),
            _ => None,
        };
        assert_eq!(caller, expected, "{text}");
        if let Ok(hash) = text.parse::<SecretHash>() {
            assert!(text.to_ascii_lowercase().parse::<SecretHash>().is_ok_and(|again| again.is(&hash)));
        }
    }
}

/// Text, or choices: a genuine secret with something changed, or a token that the node itself signed with other claims.
pub(crate) fn token(bytes: &[u8]) {
    let door = &*DOOR;
    door.judge(&String::from_utf8_lossy(bytes));
    let [choice, rest @ ..] = bytes else { return };
    match choice % 3 {
        0 => door.judge(&changed(&door.invite, rest)),
        1 => door.judge(&changed(&door.secret, rest)),
        _ => other_claims(door, rest),
    }
}

/// Up to four places of a text become others, and it may end early.
fn changed(text: &str, choices: &[u8]) -> String {
    let mut changed = text.as_bytes().to_vec();
    for choice in choices.chunks_exact(3).take(4) {
        let place = usize::from(u16::from_le_bytes([choice[0], choice[1]])) % changed.len();
        match choice[2] {
            0 => changed.truncate(place.max(1)),
            byte => changed[place] = byte & 0x7f,
        }
    }
    String::from_utf8_lossy(&changed).into_owned()
}

/// What says for whom, for what and by whom it is has to be as it was; anything else may only be refused or be of no account.
fn other_claims(door: &Door, choices: &[u8]) {
    let payload = door.invite.split('.').nth(1).expect("three parts");
    let claims = BASE64_URL_SAFE_NO_PAD.decode(payload).expect("base64");
    let mut claims: Value = serde_json::from_slice(&claims).expect("claims");
    let mut header = json!({"typ": "JWT", "alg": "EdDSA"});
    let mut must_fail = false;
    for choice in choices.chunks_exact(2).take(3) {
        let values = [json!("aop-http"), json!(7), json!(["aop-join"]), json!({}), json!(null), json!(u64::MAX)];
        let value = values[usize::from(choice[1]) % values.len()].clone();
        let names = ["iss", "aud", "jti", "sub", "exp", "iat", "role", "zone", "anchors", "anchor_hash", "nbf", "alg"];
        let name = names[usize::from(choice[0]) % names.len()];
        must_fail |= ["iss", "aud", "jti", "alg"].contains(&name);
        match name {
            "alg" => header[name] = value,
            name => claims[name] = value,
        }
    }
    let token = door.signed(&header, &claims);
    assert!(!(must_fail && door.redeems(&token)), "{header} {claims}");
    drop(Offer::read(&token));
    // The same words as those of an authorization server, whose keys nobody has.
    claims["iss"] = ISSUER.into();
    header["kid"] = "one".into();
    assert!(door.who(&door.signed(&header, &claims)).is_none());
}
