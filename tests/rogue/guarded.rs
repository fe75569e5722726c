//! A node that lets nobody in without an invite: bad ones, one shown too often, and the name of a zone that somebody else is.

use std::io::ErrorKind;
use std::net::UdpSocket;

use aop_proto::name::ZoneName;
use aop_proto::params::INVITE_BYTES_MAX;
use aop_proto::record::{Certificate, Gateway, NodeId, Revocation, Subject};
use aop_proto::trust::SigningKey;
use aop_proto::wire::frame;
use aop_proto::wire::message::{
    Call, CallResult, Hello, Join, Message, Referral, ReferredChild, Revoked, Serial, Serials, TAG_UNREACHABLE,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::enemy::{greeting, hello, wall_ms};
use super::link::{Link, Socket, any_key, id_of, unit};
use super::stranger::question;
use super::zone::{BAD_FRAMES, REFUSED, ZONE, counter, counts, is_well, zone_name};
use crate::support::{Fixture, Node, SOON, World, eventually};

/// The number of the message, for bytes that are none.
const JOIN: u8 = 6;

/// A node on loopback that asks everybody who he is.
fn guarded(world: &World, name: &str, zone: &str) -> Node {
    let file = world.file("guarded.toml", "[auth]\nrequired = true\n").display().to_string();
    world.node(name).zone(zone).args(["--config", &file]).start()
}

#[track_caller]
fn invite(node: &Node, flags: &[&str]) -> String {
    let words = ["invite", "--json"].into_iter().chain(flags.iter().copied());
    node.aop(words).ok().json()["token"].as_str().expect("a token").to_owned()
}

/// How often each invite was used.
#[track_caller]
fn uses(node: &Node) -> Vec<u64> {
    let listed = node.aop(["invite", "ls", "--json"]).ok().json();
    let all = listed["invites"].as_array().cloned().unwrap_or_default();
    all.iter().map(|invite| invite["uses"].as_u64().expect("a number")).collect()
}

/// Everybody it knows in its zone.
#[track_caller]
fn members(node: &Node) -> usize {
    node.aop(["nodes", "--json"]).ok().json()["nodes"].as_array().map_or(0, Vec::len)
}

fn join(token: &str) -> Message {
    Join { token: token.to_owned() }.into()
}

/// Waits until it is told why it may not come in.
#[track_caller]
fn refusal(link: &Link<'_>) -> String {
    link.wait_for("a refusal", |message| match message {
        Message::Refuse(refuse) => Some(refuse.reason.clone()),
        _ => None,
    })
}

/// Comes with a token and a greeting, and gives the words with which it is sent away.
#[track_caller]
fn sent_away(socket: &Socket, node: &Node, token: &str) -> String {
    let link = socket.link(&node.address, &any_key());
    greeting(&link);
    assert!(link.write(&[unit(&join(token).encode()), unit(&Message::from(hello(ZONE)).encode())].concat()));
    let reason = refusal(&link);
    link.ended();
    let told = link.all_heard();
    assert!(!told.iter().any(|message| matches!(message, Message::Admit(_))), "{token}: it was let in");
    reason
}

/// A token that says of itself what an invite says, signed by this key.
fn token_of(key: &SigningKey, issuer: &str) -> String {
    let now = wall_ms() / 1000;
    let claims = json!({
        "iss": issuer, "sub": ZONE, "aud": "aop-join", "jti": "forged", "iat": now, "exp": now + 3600, "role": "admin",
        "zone": ZONE, "anchors": [], "anchor_hash": format!("sha256:{}", "00".repeat(32)),
    });
    signed(key, &claims)
}

fn signed(key: &SigningKey, claims: &Value) -> String {
    let der = key.to_pkcs8_der().expect("a key has a form");
    let signer = EncodingKey::from_ed_der(der.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &signer).expect("a token")
}

#[test]
fn a_token_that_is_no_invite_of_this_node_lets_nobody_in() {
    let world = World::new();
    let node = guarded(&world, "node", ZONE);
    // As good as can be, but by somebody else.
    let other = guarded(&world, "other", ZONE);
    let foreign = invite(&other, &["--role", "admin"]);
    let socket = Socket::new();
    let mine = any_key();
    let mut tokens = vec![
        ("nothing", String::new()),
        ("no token", "a.b.c".to_owned()),
        ("control characters", "\u{1b}[2J\0\u{202e}".to_owned()),
        ("as much as there may be", "x".repeat(INVITE_BYTES_MAX)),
        ("in its name, by another key", token_of(&mine, &node.id)),
        ("in the name of that key", token_of(&mine, &id_of(&mine).to_string())),
        ("of another node", foreign.clone()),
    ];
    let unsigned = foreign.rsplit_once('.').map(|(text, _)| format!("{text}.")).expect("three parts");
    tokens.push(("without a signature", unsigned));
    for (what, token) in &tokens {
        assert_eq!(sent_away(&socket, &node, token), "this node has issued no such invite", "{what}");
    }

    // What is longer is not looked at, and neither are bytes that are no message.
    let bad = counter(&node, BAD_FRAMES);
    let reason = sent_away(&socket, &node, &"x".repeat(INVITE_BYTES_MAX + 1));
    assert!(reason.contains("admits by invite"), "{reason}");
    counts(&node, BAD_FRAMES, bad + 1);
    let link = socket.link(&node.address, &any_key());
    greeting(&link);
    for garbage in [&b""[..], b"\xff", &[0xfb; 5000], b"\x02\xff\xfe"] {
        assert!(link.say_bytes(&frame(JOIN, garbage)));
    }
    assert!(link.say(hello(ZONE)));
    assert!(refusal(&link).contains("admits by invite"));
    counts(&node, BAD_FRAMES, bad + 5);

    assert_eq!((members(&node), uses(&node)), (1, Vec::new()));

    // One that it did issue, with something changed or under another signature: nobody has used it.
    let genuine = invite(&node, &[]);
    let (text, signature) = genuine.rsplit_once('.').expect("three parts");
    let (header, claims) = text.split_once('.').expect("three parts");
    let read = BASE64_URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let mut read: Value = serde_json::from_slice(&read).expect("claims");
    let by_another_key = signed(&mine, &read);
    read["role"] = "admin".into();
    let as_admin = BASE64_URL_SAFE_NO_PAD.encode(read.to_string());
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"none"}"#);
    for token in [
        by_another_key,
        format!("{header}.{as_admin}.{signature}"),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{text}.{}", &signature[1..]),
    ] {
        assert_eq!(sent_away(&socket, &node, &token), "this node has issued no such invite", "{token}");
        tokens.push(("changed", token));
    }
    assert_eq!((members(&node), uses(&node)), (1, vec![0]));

    // Who came in vain is written down, and the tokens are not.
    let audit = node.aop(["audit", "--event", "refused", "--json"]).ok().json();
    assert_eq!(audit["entries"].as_array().map(Vec::len), Some(tokens.len()), "{audit}");
    let (audit, log) = (audit.to_string(), node.log_text());
    assert!(tokens.iter().all(|(_, token)| token.len() < 9 || !(audit.contains(token) || log.contains(token))));
    is_well(&node);
}

/// While an invite is looked at its use is being made durable: whoever shows it again and again meanwhile has used it once.
#[test]
fn an_invite_shown_many_times_at_once_is_used_once_and_by_one() {
    let world = World::new();
    let node = guarded(&world, "node", ZONE);
    let token = invite(&node, &[]);
    let socket = Socket::new();
    let link = socket.link(&node.address, &any_key());
    greeting(&link);
    let words = [vec![unit(&join(&token).encode()); 20], vec![unit(&Message::from(hello(ZONE)).encode())]].concat();
    assert!(link.write(&words.concat()));
    let chain = link.wait_for("a certificate", |message| match message {
        Message::Admit(admit) => Some(admit.chain.clone()),
        _ => None,
    });
    assert_eq!(uses(&node), [1]);
    // It is a member, and nobody else is for the same token.
    let certificate = chain.last().expect("a certificate of its own");
    assert_eq!(aop_proto::trust::verify_chain(&chain, &zone_name(), &chain[0].issuer, certificate.node), {
        Ok(aop_proto::trust::Authority::Member)
    });
    let reason = sent_away(&socket, &node, &token);
    assert!(reason.contains("used already"), "{reason}");
    assert_eq!(uses(&node), [1]);
    is_well(&node);
}

/// What is answered to a call, if anything is.
fn called(socket: &Socket, link: &Link<'_>, call: Call) -> Option<CallResult> {
    let (mut send, mut receive) = link.request(&unit(&Message::from(call).encode()))?;
    socket.block_on(async {
        send.finish().ok()?;
        let answer = receive.read_to_end(1 << 20).await.ok()?;
        let Ok(Message::CallResult(result)) = Message::decode(answer.get(4..)?) else { panic!("{answer:?}") };
        Some(result)
    })
}

/// What is in a zone is for those who were let in: nobody else finds or calls it, whatever they say that they are.
#[test]
fn a_stranger_finds_and_calls_nothing_where_an_invite_is_needed() {
    let world = World::new();
    let node = guarded(&world, "node", ZONE);
    let papers = Fixture::new(&world, "papers");
    node.register("papers", &papers.command());
    let home = NodeId::parse(&node.id).expect("an id");
    let call = Call {
        name: "echo.papers.research".to_owned(),
        home,
        zone: ZONE.to_owned(),
        def_hash: None,
        arguments: br#"{"text":"hello"}"#.to_vec(),
        extra: Vec::new(),
        deadline_ms: 5000,
        hops: 1,
        progress: false,
        key: None,
        priority: 5,
        afar: false,
        author: None,
    };
    let socket = Socket::new();
    for greeted in [None, Some(ZONE), Some("lab.research"), Some("."), Some("elsewhere")] {
        let link = socket.link(&node.address, &any_key());
        greeting(&link);
        let refused = counter(&node, REFUSED);
        if let Some(zone) = greeted {
            assert!(link.say(hello(zone)));
        }
        // Whoever says what it is, and is nothing here, may be sent away before it asks.
        if link.say(question(7, "echo")) && greeted.is_none() {
            counts(&node, REFUSED, refused + 1);
        }
        if let Some(result) = called(&socket, &link, call.clone()) {
            assert!(result.failed && result.not_sent, "{greeted:?}: {}", String::from_utf8_lossy(&result.part));
        }
        let told: Vec<&str> = link.all_heard().iter().map(Message::name).collect();
        let is_fit = |name: &&str| ["Hello", "Refuse", "Referral"].contains(name);
        assert!(told.iter().all(is_fit), "{greeted:?} was told {told:?}");
        link.close();
    }
    assert_eq!((papers.calls("echo"), members(&node)), (0, 1));
    assert_eq!(node.call("echo.papers.research", &json!({"text": "hello"}))["content"][0]["text"], "hello");
    is_well(&node);
}

/// What an operator gives as a reason goes to everybody, and stays text on the way.
#[test]
fn a_reason_is_text_and_nothing_else() {
    let world = World::new();
    let node = guarded(&world, "node", ZONE);
    let gone = id_of(&any_key()).to_string();
    let reason = "it's \"lost\", {\"a\":[1]}\\ </script>\r\n\u{1b}[2J\u{202e}é";
    node.aop(["revoke", &gone, "--reason", reason]).ok();
    let status = node.aop(["status", "--json"]).ok().json();
    let out = &status["zone_state"]["outcasts"];
    assert_eq!(out[0]["node"], gone, "{status}");
    let why = out[0]["why"].as_str().expect("a reason");
    assert!(why.ends_with("it's \"lost\", {\"a\":[1]}\\ </script>[2J\u{202e}é"), "{why:?}");
    let shown = [node.aop(["status"]).ok().out, node.aop(["audit"]).ok().out, node.log_text()].concat();
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
    node.aop(["revoke", &gone, "--reason", &"x".repeat(201)]).exits(2);
    is_well(&node);
}

/// A name alone is a claim: who greets as a zone that is delegated to another key says nothing of it and is told nothing.
#[test]
fn whoever_borrows_the_name_of_a_zone_below_is_not_heard_and_hears_nothing() {
    let world = World::new();
    let node = guarded(&world, "node", ZONE);
    let (zone_key, key) = (any_key(), any_key());
    let below = "lab.research";
    let public: String = zone_key.verifying_key().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    node.aop(["zones", "delegate", below, &public]).ok();
    node.aop(["revoke", &id_of(&any_key()).to_string(), "--reason", "lost laptop"]).ok();
    let socket = Socket::new();
    let gone = |link: &Link<'_>, node| {
        let stamp = wall_ms() << 16;
        assert!(
            link.say(Serials { zones: vec![Serial { zone: below.to_owned(), node, stamp, tag: TAG_UNREACHABLE }] })
        );
    };
    let told = |link: &Link<'_>| -> Vec<&'static str> { link.all_heard().iter().map(Message::name).collect() };

    let thief = any_key();
    let link = socket.link(&node.address, &thief);
    greeting(&link);
    let of_the_thief = vec![Certificate::issue(&thief, &ZoneName::parse(below).expect("a name"), id_of(&thief), 1)];
    for chain in [Vec::new(), of_the_thief] {
        let zone_key = Some(zone_key.verifying_key().to_bytes());
        assert!(link.say(Hello { zone_key, chain, ..hello(below) }));
    }
    let refused = counter(&node, REFUSED);
    gone(&link, id_of(&thief));
    counts(&node, REFUSED, refused + 1);
    let heard = told(&link);
    assert!(!heard.contains(&"Serials") && !heard.contains(&"Revoked"), "{heard:?}");

    // Whoever is that zone is heard, and told.
    let link = socket.link(&node.address, &key);
    greeting(&link);
    let chain = vec![Certificate::issue(&zone_key, &ZoneName::parse(below).expect("a name"), id_of(&key), wall_ms())];
    assert!(link.say(Hello { zone_key: Some(zone_key.verifying_key().to_bytes()), chain, ..hello(below) }));
    for name in ["Serials", "Revoked"] {
        link.wait_for(name, |message| (message.name() == name).then_some(()));
    }
    let refused = counter(&node, REFUSED);
    gone(&link, id_of(&key));
    // One that does not hold is counted behind it.
    let nobody = Revocation::issue(&key, Vec::new(), &zone_name(), Subject::Node(id_of(&key)), "", 1);
    assert!(link.say(Revoked { statements: vec![nobody] }));
    counts(&node, REFUSED, refused + 1);
    assert_eq!(counter(&node, REFUSED), refused + 1, "what it said of itself was taken");
    is_well(&node);
}

/// The same for the zone above: what only looks like the parent's word names nobody to join, and no key.
#[test]
fn whoever_borrows_the_name_of_the_zone_above_sends_nobody_anywhere() {
    let world = World::new();
    let parent = guarded(&world, "parent", ZONE);
    let token = invite(&parent, &["--zone", "lab.research"]);
    let file = world.path("guarded.toml").display().to_string();
    let lab = world.node("lab").args(["--config", &file, "--invite", &token]).start();
    let parents = || lab.aop(["status", "--json"]).ok().json()["parents"].to_string();
    let is_delegated = |parents: &str| parents.contains("\"delegated\"");
    eventually("the zone below is delegated", SOON, || match parents() {
        parents if is_delegated(&parents) => Ok(()),
        parents => Err(parents),
    });
    let socket = Socket::new();
    let of = |node: &Node| greeting(&socket.link(&node.address, &any_key())).zone_key;
    let (above, ours) = (of(&parent), of(&lab));
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    udp.set_nonblocking(true).expect("a socket of ours");
    let address = udp.local_addr().expect("it is bound").to_string();

    let link = socket.link(&lab.address, &any_key());
    greeting(&link);
    assert!(link.say(Hello { zone_key: above, address: address.clone(), ..hello(ZONE) }));
    // Its own key, as if it had a replica there; and another, as if somebody else were the zone.
    for key in [ours.expect("it has one"), any_key().verifying_key().to_bytes()] {
        let gateways = vec![Gateway { node: id_of(&any_key()), address: address.clone() }];
        let child = ReferredChild { zone_key: key, epoch: 1, manifests: Vec::new(), gateways };
        assert!(link.say(Referral {
            zone: ZONE.to_owned(),
            zone_key: above,
            proofs: Vec::new(),
            anchors: Vec::new(),
            manifests: Vec::new(),
            delegation: Some(child),
        }));
    }
    let bad = counter(&lab, BAD_FRAMES);
    assert!(link.say_bytes(b"no frame"));
    counts(&lab, BAD_FRAMES, bad + 1);
    let status = lab.aop(["status", "--json"]).ok().out;
    assert!(!status.contains(&address), "{status}");
    let came = udp.recv_from(&mut [0; 2048]).map(drop);
    assert!(came.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "a datagram came");
    assert!(is_delegated(&parents()), "{}", parents());
    is_well(&lab);
}
