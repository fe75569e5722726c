//! Revocations that do not hold, said by a member: each for one reason, while a genuine one counts.
//!
//! On loopback every member is a signer, so what is said here is refused for what it is and not for who says it.

use aop_proto::codec::Wire;
use aop_proto::params::{CHAIN_MAX, REASON_CHARS_MAX, REVOCATIONS_PER_FRAME};
use aop_proto::record::{Certificate, NodeId, Revocation, Subject};
use aop_proto::trust::{Authority, SigningKey};
use aop_proto::wire::frame;
use aop_proto::wire::message::{Message, Revoked};
use ed25519_dalek::Signer;

use super::enemy::{Author, Enemy, greeting, hello, wall_ms};
use super::link::{Socket, any_key, id_of};
use super::zone::{BAD_FRAMES, REFUSED, Victims, counter, counts, zone_name};
use crate::support::{Node, SOON, eventually};

/// The number of the message, for bytes that are none.
const REVOKED: u8 = 7;

/// A child of the zone, which nobody has delegated.
const CHILD: &str = "lab.research";

/// Ten minutes is what a child's time may lie ahead.
const FAR_MS: u64 = 11 * 60 * 1000;

/// Says it of that subject, signed by that key under these certificates.
fn said_by(key: &SigningKey, chain: &[Certificate], subject: Subject) -> Revocation {
    Revocation::issue(key, chain.to_vec(), &zone_name(), subject, "forged", wall_ms())
}

/// Signs what no honest writer would (§7.8).
fn signed(key: &SigningKey, mut said: Revocation) -> Revocation {
    let Revocation { zone, node, child, issued_ms, reason, chain, .. } = said.clone();
    let body = (zone, node, child, issued_ms, reason, chain).encode();
    let kind = "application/vnd.aop.revocation.v1";
    let text = [format!("DSSEv1 {} {kind} {} ", kind.len(), body.len()).as_bytes(), &body].concat();
    said.signature = key.sign(&text).to_bytes();
    said
}

/// What is to be refused, each for one reason. `theirs` are the certificates of the node it is said to.
fn forgeries(enemy: &Enemy<'_>, theirs: &[Certificate], one: NodeId, other: NodeId) -> Vec<(&'static str, Revocation)> {
    let (key, chain, id) = (&enemy.author.key, &enemy.chain[..], enemy.author.id());
    let of = |node: NodeId| Subject::Node(node);
    let honest = said_by(key, chain, of(other));
    let with = |change: fn(&mut Revocation)| {
        let mut said = honest.clone();
        change(&mut said);
        said
    };
    let below = |certificate: Certificate| chain.iter().cloned().chain([certificate]).collect::<Vec<_>>();
    let member = any_key();
    let as_member = below(Certificate::issue_as(Authority::Member, key, &zone_name(), id_of(&member), wall_ms()));
    let stranger = any_key();
    let from_nowhere = [Certificate::issue(&stranger, &zone_name(), id_of(&stranger), wall_ms())];
    let mut endless = chain.to_vec();
    endless.resize(CHAIN_MAX + 1, Certificate::issue(key, &zone_name(), id, wall_ms()));
    let elsewhere = aop_proto::name::ZoneName::parse("writing").expect("a name");
    vec![
        ("no signature", with(|said| said.signature = [0; 64])),
        ("a changed signature", with(|said| said.signature[7] ^= 1)),
        ("another subject than was signed", with(|said| said.node = Some(NodeId([7; 32])))),
        ("another reason than was signed", with(|said| said.reason.push('!'))),
        ("no subject", signed(key, with(|said| said.node = None))),
        ("two subjects", signed(key, with(|said| said.child = Some((CHILD.to_owned(), 1))))),
        ("no certificates", said_by(key, &[], of(other))),
        ("certificates of another, signed by the sender", said_by(key, theirs, of(other))),
        ("certificates from nowhere", said_by(&stranger, &from_nowhere, of(other))),
        ("more certificates than there may be", said_by(key, &endless, of(other))),
        ("whoever certified the sender", said_by(key, chain, of(one))),
        ("the sender itself", said_by(key, chain, of(id))),
        ("by a member", said_by(&member, &as_member, of(other))),
        ("of a zone that nobody knows", {
            Revocation::issue(key, chain.to_vec(), &elsewhere, of(other), "forged", wall_ms())
        }),
        ("of a zone that is no name", signed(key, with(|said| said.zone = "..".to_owned()))),
        ("a zone that does not lie below", said_by(key, chain, Subject::Child("writing".to_owned(), 1))),
        ("the own zone as its child", said_by(key, chain, Subject::Child("research".to_owned(), 1))),
        ("a child until a far day", said_by(key, chain, Subject::Child(CHILD.to_owned(), wall_ms() + FAR_MS))),
        ("a child until the end of time", said_by(key, chain, Subject::Child(CHILD.to_owned(), u64::MAX))),
        ("a reason without end", signed(key, with(|said| said.reason = "x".repeat(REASON_CHARS_MAX + 1)))),
    ]
}

fn id(node: &Node) -> NodeId {
    NodeId::parse(&node.id).expect("an id")
}

/// Who is out of the zone, as a node shows it.
fn outcasts(node: &Node) -> Vec<String> {
    let status = node.get("/v1/status").is(200).json();
    let all = status["zone_state"]["outcasts"].as_array().unwrap_or_else(|| panic!("no outcasts in {status}")).clone();
    all.iter().map(|one| one["node"].as_str().unwrap_or_default().to_owned()).collect()
}

/// What was passed on to somebody.
fn heard(link: &super::link::Link<'_>) -> Vec<Revocation> {
    let statements = link.all_heard().into_iter().filter_map(|message| match message {
        Message::Revoked(revoked) => Some(revoked.statements),
        _ => None,
    });
    statements.flatten().collect()
}

#[test]
fn a_revocation_that_does_not_hold_is_refused_counted_and_passed_to_nobody() {
    let victims = Victims::start();
    let (one, other) = (&victims.one, &victims.other);
    let socket = Socket::new();
    let mut enemy = Enemy::admitted(&socket, &one.address);
    let tap = enemy.also_at(&socket, &other.address);
    let theirs = greeting(&enemy.link).chain;

    let forged = forgeries(&enemy, &theirs, id(one), id(other));
    let before = counter(one, REFUSED);
    for (refused, (what, said)) in (before + 1..).zip(&forged) {
        enemy.say(Revoked { statements: vec![said.clone()] });
        // Numbers are published with the next change at the latest.
        enemy.write_again();
        eventually(&format!("{what} is counted as refused"), SOON, || {
            let now = counter(one, REFUSED);
            if now == refused { Ok(()) } else { Err(format!("{now}, not {refused}")) }
        });
    }

    // As many bad ones as a frame may hold are refused one by one; a frame of more, and one that is none, is a bad one.
    let many = |count: usize| vec![forged[0].1.clone(); count];
    let (refused, bad) = (counter(one, REFUSED), counter(one, BAD_FRAMES));
    enemy.say(Revoked { statements: many(REVOCATIONS_PER_FRAME) });
    enemy.write_again();
    counts(one, REFUSED, refused + REVOCATIONS_PER_FRAME as u64);
    enemy.say(Revoked { statements: many(REVOCATIONS_PER_FRAME + 1) });
    for garbage in [&b""[..], b"\xff", &[0xfb; 100], b"\x01\x00"] {
        assert!(enemy.link.say_bytes(&frame(REVOKED, garbage)));
    }
    enemy.write_again();
    counts(one, BAD_FRAMES, bad + 5);
    assert_eq!(counter(one, REFUSED), refused + REVOCATIONS_PER_FRAME as u64, "more than a frame may hold is not read");

    for node in victims.both() {
        assert_eq!(outcasts(node), Vec::<String>::new());
    }
    assert_eq!((heard(&tap), counter(other, REFUSED)), (Vec::new(), 0), "nothing forged came as far as the fellow");
    victims.are_honest();

    // What does hold is taken, once, and passed on: everything above failed for its one reason.
    let gone = id_of(&any_key());
    let genuine = said_by(&enemy.author.key, &enemy.chain, Subject::Node(gone));
    enemy.say(Revoked { statements: vec![genuine.clone(), genuine.clone()] });
    let told = tap.wait_for("a genuine one", |message| match message {
        Message::Revoked(revoked) => Some(revoked.statements.clone()),
        _ => None,
    });
    assert_eq!(told, [genuine]);
    for node in victims.both() {
        eventually("it counts", SOON, || {
            let out = outcasts(node);
            if out == [gone.to_string()] { Ok(()) } else { Err(format!("{out:?}")) }
        });
    }
    victims.are_honest();
}

/// Who is neither a fellow nor a relative says nothing of who is out, and is not told.
#[test]
fn a_stranger_neither_revokes_nor_hears_who_is_out() {
    let victims = Victims::start();
    let one = &victims.one;
    let socket = Socket::new();
    let enemy = Enemy::admitted(&socket, &one.address);
    let gone = id_of(&any_key());
    enemy.say(Revoked { statements: vec![said_by(&enemy.author.key, &enemy.chain, Subject::Node(gone))] });
    eventually("it counts", SOON, || match outcasts(one) {
        out if out == [gone.to_string()] => Ok(()),
        out => Err(format!("{out:?}")),
    });
    // Even the very words of a signer.
    let genuine = said_by(&enemy.author.key, &enemy.chain, Subject::Node(id_of(&any_key())));
    let stranger = Author::new(any_key());
    let link = socket.link(&one.address, &stranger.key);
    greeting(&link);
    assert!(link.say(hello("elsewhere")));
    let bad = counter(one, BAD_FRAMES);
    assert!(link.say(Revoked { statements: vec![genuine] }));
    counts(one, BAD_FRAMES, bad + 1);
    assert_eq!(outcasts(one), [gone.to_string()]);
    assert_eq!(heard(&link), Vec::new());
    victims.are_honest();
}
