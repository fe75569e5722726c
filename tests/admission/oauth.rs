//! Tokens of an authorization server: a small one in the test signs them, and serves its keys over HTTP.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::guarded::Guarded;
use crate::support::World;

const AUDIENCE: &str = "https://node.example";

/// Signs with an Ed25519 key, says where its keys are and hands them out.
struct Issuer {
    url: String,
    key: EncodingKey,
    public: Vec<u8>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn start() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let public = rcgen::PublicKeyData::der_bytes(&pair).to_vec();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let keys = json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "one", "use": "sig", "alg": "EdDSA", "x": base64_url(&public)},
            {"kty": "unheard-of", "kid": "odd"},
        ]});
        let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).unwrap_or(0);
                let is_keys = head[..read].starts_with(b"GET /keys ");
                count.fetch_add(usize::from(is_keys), Ordering::Relaxed);
                let body = if is_keys { &keys } else { &metadata }.to_string();
                let length = body.len();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
                stream.write_all(format!("{head} {length}\r\n\r\n{body}").as_bytes()).ok();
            }
        });
        Self { url, key: EncodingKey::from_ed_der(&pair.serialize_der()), public, asked }
    }

    /// Claims of a good token that may find.
    fn claims(&self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        json!({"iss": self.url, "sub": "alice", "aud": AUDIENCE, "exp": now + 600, "nbf": now - 1, "scope": "openid aop:read"})
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(Some("one"), claims)
    }

    fn sign_as(&self, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
        encode(&header, claims, &self.key).expect("a token")
    }
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn with(claims: &Value, key: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[key] = value;
    claims
}

#[test]
fn tokens_of_a_believed_issuer_pass_as_far_as_their_scopes_and_all_others_do_not() {
    let world = World::new();
    let issuer = Issuer::start();
    let auth = format!("[auth]\nresource = \"{AUDIENCE}\"\n[[auth.issuers]]\nissuer = \"{}\"\n", issuer.url);
    // Wrong tokens are a stranger's, and there are many here.
    let auth = format!("{auth}[http]\nstranger_rate = 100000\n");
    let guarded = Guarded::start(&world, &auth);
    let status = |token: &str| guarded.with(token).get("/v1/status");
    let good = issuer.claims();
    status(&issuer.sign(&good)).is(200);
    status(&issuer.sign(&with(&good, "aud", json!(["other", format!("{AUDIENCE}/mcp")])))).is(200);
    let rotate = guarded.with(&issuer.sign(&good)).send("POST", "/v1/keys/rotate", &[], "{}").is(403);
    assert!(rotate.text.contains("oauth:alice@http://"), "{}", rotate.text);
    assert!(rotate.header("www-authenticate").contains("scope=\"aop:admin\""));
    let elsewhere = with(&good, "scope", json!("openid"));
    status(&issuer.sign(&elsewhere)).is(403);
    // Some authorization servers say it in another claim, and some in an array.
    for scp in [json!("openid aop:read"), json!(["openid", "aop:read"]), json!(["aop:call aop:read"])] {
        status(&issuer.sign(&with(&elsewhere, "scp", scp))).is(200);
    }
    for scp in [json!([]), json!(""), json!(["AOP:READ", "aop:"]), json!(null)] {
        status(&issuer.sign(&with(&elsewhere, "scp", scp))).is(403);
    }

    let now = good["exp"].as_u64().expect("a number") - 600;
    let wrong_claims = [
        ("aud", json!("https://elsewhere.example")),
        ("aud", json!([])),
        ("aud", json!(7)),
        ("iss", json!("https://id.example")),
        ("iss", json!([issuer.url])),
        ("sub", json!("")),
        ("sub", json!(1)),
        ("exp", json!(now - 120)),
        ("nbf", json!(now + 120)),
        // Of another type a claim was once taken for none, and not checked (CVE-2026-25537).
        ("exp", json!("4102444800")),
        ("exp", json!([4_102_444_800_u64])),
        ("nbf", json!("4102444800")),
        ("nbf", json!({"at": 4_102_444_800_u64})),
        ("scope", json!(["aop:admin"])),
        ("scp", json!(7)),
        ("scp", json!({"aop:admin": true})),
        ("scp", json!([["aop:admin"]])),
    ];
    for (key, value) in wrong_claims {
        let answer = status(&issuer.sign(&with(&good, key, value.clone())));
        assert_eq!(answer.status, 401, "{key} = {value}: {}", answer.text);
        assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
    }
    for key in ["exp", "aud", "iss", "sub"] {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(key);
        assert_eq!(status(&issuer.sign(&claims)).status, 401, "without {key}");
    }

    status(&issuer.sign_as(None, &good)).is(401);
    let unsigned =
        format!("{}.{}.", base64_url(br#"{"alg":"none","kid":"one"}"#), base64_url(good.to_string().as_bytes()));
    status(&unsigned).is(401);
    let hmac = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
    status(&encode(&hmac, &good, &EncodingKey::from_secret(&issuer.public)).expect("a token")).is(401);
    let stranger = Issuer::start();
    status(&stranger.sign(&good)).is(401);
    let mut tampered = issuer.sign(&good);
    tampered.replace_range(tampered.len() - 4.., "AAAA");
    status(&tampered).is(401);

    // The keys were fetched once; unknown ids make the node ask at most once a minute.
    for attempt in 0..5 {
        assert_eq!(status(&issuer.sign_as(Some(&format!("invented-{attempt}")), &good)).status, 401);
    }
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 1);
    assert_eq!(stranger.asked.load(Ordering::Relaxed), 0, "nobody is asked who was not configured");

    let metadata = guarded.client().get("/.well-known/oauth-protected-resource").is(200).json();
    assert_eq!((&metadata["resource"], &metadata["authorization_servers"]), (&json!(AUDIENCE), &json!([issuer.url])));
    let of_mcp = guarded.client().get("/.well-known/oauth-protected-resource/mcp").is(200).json();
    assert_eq!(of_mcp["resource"], format!("{AUDIENCE}/mcp"));
    let asked = guarded.client().mcp("/mcp", "tools/list", json!({})).is(401);
    let place = format!("resource_metadata=\"https://{}/.well-known/oauth-protected-resource\"", guarded.node.address);
    assert!(asked.header("www-authenticate").contains(&place), "{}", asked.header("www-authenticate"));
    let listed = guarded.with(&issuer.sign(&good)).mcp("/mcp", "tools/list", json!({})).is(200).json();
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(4));
}
