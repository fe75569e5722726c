//! Whoever has no certificate: it may ask and call, and nothing else it says counts. And relatives that speak of what is not theirs.

use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};

use aop_proto::codec::Wire;
use aop_proto::name::ZoneName;
use aop_proto::record::{Certificate, Gateway, Kind, NodeBody, NodeId, Record};
use aop_proto::trust::{SigningKey, sign_flush};
use aop_proto::wire::message::{
    Ack, Admit, Announce, Announced, Answer, Buckets, Busy, Candidate, ClockAhead, Delegate, Digest, Fork, Form,
    Health, Hello, Instance, Leave, Members, Message, Ping, PingRequest, Query, Question, Ranges, Referral,
    ReferredChild, Refuse, Serial, Serials, Silent, Update, Vector, ZoneAnswer,
};

use super::enemy::{Author, Enemy, greeting, hello, tool_body, wall_ms};
use super::link::{Link, Socket, any_key, id_of};
use super::zone::{BAD_FRAMES, REFUSED, Victims, ZONE, answer, counter, counts};
use crate::support::{Node, SOON, World, eventually};

/// Everything that only a fellow may say, as one would say it.
pub(crate) fn words_of_a_fellow(author: &Author, victim: NodeId) -> Vec<Message> {
    let update = Update { node: victim, counter: 9, state: 2, by: author.id() };
    let chain = vec![Certificate::issue(&author.key, &super::zone::zone_name(), author.id(), wall_ms())];
    let written = author.lie(author.tool("forged_by_a_stranger"));
    let envelope = written.ranges[0].records[0].clone();
    vec![
        Ranges { chains: vec![chain.clone()], ..written }.into(),
        Fork { chain, one: envelope.clone(), other: envelope }.into(),
        Digest { hash: [7; 16], members: 7 }.into(),
        Buckets { hashes: vec![7; 64] }.into(),
        Vector { buckets: u64::MAX, entries: Vec::new(), reply: true }.into(),
        Announce { dots: vec![Announced { origin: author.origin(), through: 7 }], hop: 1 }.into(),
        Busy { retry_ms: u32::MAX }.into(),
        ClockAhead { ahead_ms: u64::MAX }.into(),
        Ping { number: 7, updates: vec![update] }.into(),
        Ack { number: 7, updates: vec![update] }.into(),
        PingRequest { number: 7, target: victim, updates: vec![update] }.into(),
        Members { updates: vec![update], reply: true }.into(),
    ]
}

/// What anybody may say and nobody need follow.
pub(crate) fn words_of_anybody(author: &Author, victim: NodeId) -> Vec<Message> {
    let key = author.key.verifying_key().to_bytes();
    let chain = vec![Certificate::issue(&author.key, &super::zone::zone_name(), victim, wall_ms())];
    vec![
        Admit { zone_key: key, chain: chain.clone(), manifests: Vec::new() }.into(),
        Refuse { reason: "go away\u{1b}[2J".to_owned() }.into(),
        Leave { seq: u64::MAX }.into(),
        Delegate {
            zone: ZONE.to_owned(),
            zone_key: key,
            chain,
            manifests: Vec::new(),
            gateways: vec![Gateway { node: author.id(), address: "127.0.0.1:1".to_owned() }],
            tools: u64::MAX,
        }
        .into(),
        Answer {
            id: 1,
            zones: Vec::new(),
            silent: vec![Silent { zone: ZONE.to_owned(), reason: "gone".to_owned() }],
            skipped: 1,
            proofs: Vec::new(),
        }
        .into(),
        Serials { zones: vec![Serial { zone: ZONE.to_owned(), node: victim, stamp: u64::MAX, tag: 0 }] }.into(),
        Message::Unknown(200),
    ]
}

pub(crate) fn question(id: u64, text: &str) -> Query {
    Query {
        id,
        question: Question {
            form: Form::Words,
            text: text.to_owned(),
            zone: None,
            limit: 5,
            tags: Vec::new(),
            capabilities: Vec::new(),
            after: String::new(),
        },
        deadline_ms: 5000,
        hops: 4,
        budget: 8,
        visited: Vec::new(),
        outside: false,
        cached: true,
    }
}

/// Waits until everything said before was read: a question is answered after it.
#[track_caller]
fn is_answered(link: &Link<'_>, id: u64) {
    assert!(link.say(question(id, "echo")), "{:?}", link.connection.close_reason());
    link.wait_for("an answer", |message| matches!(message, Message::Answer(answer) if answer.id == id).then_some(()));
}

fn id(node: &Node) -> NodeId {
    NodeId::parse(&node.id).expect("an id")
}

#[test]
fn a_stranger_is_answered_and_otherwise_not_heard() {
    let victims = Victims::start();
    let socket = Socket::new();
    let mut tap = Enemy::admitted(&socket, &victims.one.address);
    for greeted in [None, Some("elsewhere"), Some("a.far.zone")] {
        let author = Author::new(any_key());
        let link = socket.link(&victims.one.address, &author.key);
        greeting(&link);
        if let Some(zone) = greeted {
            assert!(link.say(hello(zone)));
        }
        let before = counter(&victims.one, BAD_FRAMES);
        let words = words_of_a_fellow(&author, id(&victims.one));
        let count = words.len() as u64;
        for message in words.into_iter().chain(words_of_anybody(&author, id(&victims.one))) {
            assert!(link.say(message));
        }
        is_answered(&link, 77);
        tap.write_again();
        // Who has not said who it is may yet be a fellow: what it says too early is no fault.
        counts(&victims.one, BAD_FRAMES, before + if greeted.is_some() { count } else { 0 });
        for message in link.all_heard() {
            let fit = matches!(
                message,
                Message::Hello(_)
                    | Message::Answer(_)
                    | Message::Refuse(_)
                    | Message::Referral(_)
                    | Message::Serials(_)
            );
            assert!(fit, "a stranger was told a {}", message.name());
        }
        link.close();
    }

    // Of the zone, it says, by a chain that it made itself: it is offered another, and does not take it.
    let author = Author::new(any_key());
    let link = socket.link(&victims.one.address, &author.key);
    let theirs = greeting(&link);
    let zone = super::zone::zone_name();
    for chain in [
        vec![Certificate::issue(&author.key, &zone, author.id(), wall_ms())],
        theirs.chain.iter().cloned().chain([Certificate::issue(&author.key, &zone, author.id(), wall_ms())]).collect(),
        theirs.chain.clone(),
    ] {
        assert!(link.say(Hello { zone_key: theirs.zone_key, chain, ..hello(ZONE) }));
        for message in words_of_a_fellow(&author, id(&victims.one)) {
            assert!(link.say(message));
        }
        is_answered(&link, 78);
    }
    for message in link.all_heard() {
        let gossip = matches!(message, Message::Ranges(_) | Message::Vector(_) | Message::Ack(_) | Message::Digest(_));
        assert!(!gossip, "an applicant was told a {}", message.name());
    }
    tap.write_again();
    tap.was_told_only_the_truth();
    victims.show("again.enemy.research");
    victims.are_honest();
}

#[test]
fn where_strangers_may_come_one_that_says_too_much_is_let_go() {
    let world = World::new();
    let file = world.file("node.toml", "[auth]\nrequired = true\n").display().to_string();
    let node = world.node("guarded").zone(ZONE).args(["--config", &file]).start();
    let socket = Socket::new();
    let link = socket.link(&node.address, &any_key());
    // As many as it likes: it is over long before all of them.
    let said = (0..100_000).take_while(|id| link.say(question(*id, "echo"))).count();
    assert!((60..100_000).contains(&said), "{said} messages were taken");
    eventually("it is over", SOON, || if link.is_over() { Ok(()) } else { Err("it is not".to_owned()) });
    let heard = link.all_heard();
    assert!(!heard.iter().any(|message| matches!(message, Message::Answer(_))), "a stranger is told nothing there");
    let metrics = node.send("GET", "/metrics", &serde_json::Value::Null).is(200).text();
    assert!(metrics.contains("aop_peers_refused_total{reason=\"stranger\"} 1\n"), "{metrics}");
    // It may come again, and a few words are no fault.
    let again = socket.link(&node.address, &any_key());
    greeting(&again);
    assert!((0..10).all(|id| again.say(question(id, "echo"))));
}

/// Nobody makes a node send anything anywhere by naming an address that it does not dial for reasons of its own.
#[test]
fn an_address_that_only_a_stranger_names_is_never_dialled() {
    let victims = Victims::start();
    let socket = Socket::new();
    let (udp, tcp) =
        (UdpSocket::bind("127.0.0.1:0").expect("a port"), TcpListener::bind("127.0.0.1:0").expect("a port"));
    udp.set_nonblocking(true).expect("a socket of ours");
    tcp.set_nonblocking(true).expect("a socket of ours");
    let addresses = [udp.local_addr(), tcp.local_addr()].map(|address| address.expect("it is bound").to_string());
    let mut tap = Enemy::admitted(&socket, &victims.one.address);
    for address in &addresses {
        // As a fellow that is none, as the parent, as a child whose chain leads nowhere, as anybody.
        for zone in [ZONE, ".", "evil.research", "elsewhere"] {
            let author = Author::new(any_key());
            let key = author.key.verifying_key().to_bytes();
            let of = ZoneName::parse(zone).expect("a name");
            let chain = vec![Certificate::issue(&author.key, &of, author.id(), wall_ms())];
            let gateways = vec![Gateway { node: author.id(), address: address.clone() }];
            let link = socket.link(&victims.one.address, &author.key);
            greeting(&link);
            assert!(link.say(Hello { address: address.clone(), zone_key: Some(key), ..hello(zone) }));
            // Its own record, and one in the name of the fellow.
            for node in [author.id(), id(&victims.other)] {
                let body = NodeBody {
                    address: address.clone(),
                    version: "rogue".to_owned(),
                    chain: chain.clone(),
                    parents: vec![address.clone()],
                };
                let record = author.record(Kind::Node, &node.to_string(), Some(body.encode()));
                let written = author.lie(Record { node, ..record });
                assert!(link.say(Ranges { chains: vec![chain.clone()], ..written }));
            }
            let child = ReferredChild { zone_key: key, epoch: 1, manifests: Vec::new(), gateways: gateways.clone() };
            assert!(link.say(Referral {
                zone: zone.to_owned(),
                zone_key: Some(key),
                proofs: Vec::new(),
                anchors: Vec::new(),
                manifests: Vec::new(),
                delegation: Some(child),
            }));
            let (zone, chain, manifests) = (zone.to_owned(), Vec::new(), Vec::new());
            assert!(link.say(Delegate { zone, zone_key: key, chain, manifests, gateways, tools: 1 }));
            is_answered(&link, 9);
        }
    }
    tap.write_again();
    victims.show("again.enemy.research");
    victims.are_honest();
    let nothing = |heard: std::io::Result<()>| heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    assert!(nothing(udp.recv_from(&mut [0; 2048]).map(drop)), "a datagram came");
    assert!(nothing(tcp.accept().map(drop)), "a connection came");
}

/// A tool of some zone as an answer brings it.
fn candidate(key: &SigningKey, zone: &str, name: &str, chain: Vec<Certificate>) -> Candidate {
    let author = Author::new(key.clone());
    let body = tool_body("lie", "forged tool of an enemy");
    let record = Record {
        zone: zone.to_owned(),
        name: name.to_owned(),
        def_hash: aop_proto::trust::definition_hash(&body.definition).ok(),
        ..author.record(Kind::Tool, name, Some(body.encode()))
    };
    let head = author.head_after(std::slice::from_ref(&record));
    let signed = &sign_flush(key, vec![record], head)[0];
    let instance = Instance {
        node: author.id(),
        address: "127.0.0.1:1".to_owned(),
        health: Health::Ok,
        error: String::new(),
        since_ms: 0,
    };
    Candidate { envelope: signed.envelope().into(), chain, instances: vec![instance], clash: false }
}

#[test]
fn a_child_zone_is_heard_about_itself_alone() {
    let victims = Victims::start();
    let socket = Socket::new();
    let (zone_key, key) = (any_key(), any_key());
    let child = ZoneName::parse("evil.research").expect("a name");
    let chain = vec![Certificate::issue(&zone_key, &child, id_of(&key), wall_ms())];
    let link = socket.link(&victims.one.address, &key);
    let theirs = greeting(&link);
    let public = zone_key.verifying_key().to_bytes();
    assert!(link.say(Hello { zone_key: Some(public), chain: chain.clone(), ..hello("evil.research") }));
    link.wait_for("a referral", |message| matches!(message, Message::Referral(_)).then_some(()));
    let gateways = vec![Gateway { node: id_of(&key), address: "127.0.0.1:1".to_owned() }];
    let delegate = |zone: &str, key: [u8; 32], chain: Vec<Certificate>| Delegate {
        zone: zone.to_owned(),
        zone_key: key,
        chain,
        manifests: Vec::new(),
        gateways: gateways.clone(),
        tools: 3,
    };
    // Not under a key that it does not hold, nor for the zone above, nor with a chain from nowhere.
    let other = any_key().verifying_key().to_bytes();
    assert!(link.say(delegate("evil.research", other, chain.clone())));
    assert!(link.say(delegate("research", public, chain.clone())));
    assert!(link.say(delegate("evil.research", public, Vec::new())));
    is_answered(&link, 1);
    let before = counter(&victims.one, REFUSED);
    assert!(link.say(delegate("evil.research", public, chain.clone())));
    eventually("the child is delegated", SOON, || {
        let zones = victims.one.get("/v1/zones").is(200).text();
        if zones.contains("evil.research") { Ok(()) } else { Err(zones) }
    });

    // It answers with what is its own, and with everything that is not.
    let me = id_of(&key);
    let stolen = theirs.chain.clone();
    link.answer(move |message| {
        let Message::Query(query) = message else { return None };
        let of = |zone: &str, candidates: Vec<Candidate>| ZoneAnswer {
            zone: zone.to_owned(),
            node: me,
            tag: 1,
            behind: false,
            age_ms: 0,
            ttl_ms: u64::MAX,
            took_us: 1,
            documents: u64::MAX,
            total_length: u64::MAX,
            frequencies: vec![u64::MAX; 8],
            matches: u64::MAX,
            candidates,
            near: vec!["forged.near.research".to_owned()],
        };
        let mut unsigned = candidate(&key, "evil.research", "forged_u.enemy.evil.research", chain.clone());
        let mut bytes = unsigned.envelope.to_vec();
        bytes[40] ^= 1;
        unsigned.envelope = bytes.into();
        let zones = vec![
            of(
                "evil.research",
                vec![
                    candidate(&key, "evil.research", "proper.enemy.evil.research", chain.clone()),
                    unsigned,
                    candidate(&key, "research", "forged_a.enemy.research", chain.clone()),
                    candidate(&key, "evil.research", "forged_b.enemy.research", chain.clone()),
                    candidate(&key, "evil.research", "forged_c.enemy.evil.research", stolen.clone()),
                    candidate(&any_key(), "evil.research", "forged_d.enemy.evil.research", chain.clone()),
                ],
            ),
            of("research", vec![candidate(&key, "research", "forged_e.enemy.research", chain.clone())]),
            of("writing", vec![candidate(&key, "writing", "forged_f.enemy.writing", chain.clone())]),
            of(".", vec![candidate(&key, ".", "forged_g.enemy", chain.clone())]),
        ];
        let silent = vec![Silent { zone: "research".to_owned(), reason: "forged".to_owned() }];
        let id = query.id;
        Some(Answer { id, zones, silent, skipped: 0, proofs: Vec::new() }.into())
    });
    let asked = eventually("the child's own tool is found", SOON, || {
        let found = answer(&victims.one, "forged tool of an enemy")?;
        if found.to_string().contains("proper.enemy.evil.research") { Ok(found) } else { Err(found.to_string()) }
    });
    let shown: Vec<&str> =
        asked["results"].as_array().into_iter().flatten().filter_map(|result| result["name"].as_str()).collect();
    assert!(shown.iter().all(|name| !name.contains("forged")), "{asked}");
    counts(&victims.one, REFUSED, before + 3);

    // Tags of others, and of its own for ever, are not its to tell.
    let stamp = (wall_ms() << 16) + 1;
    let far = (wall_ms() + 3_600_000) << 16;
    let told = counter(&victims.one, REFUSED);
    let tags = [("research", stamp), (".", stamp), ("writing", stamp), ("evil.research", far)];
    let zones = tags.map(|(zone, stamp)| Serial { zone: zone.to_owned(), node: me, stamp, tag: 0 });
    assert!(link.say(Serials { zones: zones.into() }));
    is_answered(&link, 2);
    counts(&victims.one, REFUSED, told + 4);
    victims.are_honest();
}
