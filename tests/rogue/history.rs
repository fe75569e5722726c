//! Lies about time and about others, properly signed by a member: what was is said again, what is not yet is said already, two things
//! are said at once, and the end of those who live.

use aop_proto::codec::Wire;
use aop_proto::record::{Certificate, Kind, ManifestBody, NodeId, Origin, ReapBody, Record};
use aop_proto::wire::message::{Admit, Fork, Hello, Members, Message, Ping, Ranges, Referral, ReferredChild, Update};
use serde_json::Value;

use super::enemy::{Author, Enemy, log_of, ranges, wall_ms};
use super::link::{Socket, any_key};
use super::zone::{REFUSED, Victims, counter, counts, listed, zone_name};
use crate::support::{Fixture, Node, PATIENT, eventually};

const FORKS: &str = "aop_gossip_events_total{event=\"fork\"}";
const LIVES: &str = "aop_gossip_events_total{event=\"life\"}";

fn node_id(node: &Node) -> NodeId {
    NodeId::parse(&node.id).expect("an id")
}

#[test]
fn what_was_said_before_brings_nothing_back() {
    let victims = Victims::start();
    let socket = Socket::new();
    let mut enemy = Enemy::admitted(&socket, &victims.one.address);
    let old = log_of(&enemy, &victims.other.id);
    let tool = old.iter().position(|signed| signed.record.name() == "echo.shop.research").expect("it serves one");

    victims.other.aop(["unregister", "shop", "--json"]).ok();
    victims.hide("echo.shop.research");
    // The record alone, everything up to it, everything as a snapshot, and parts of one; as news and as an answer.
    let from = old[tool].record.seq - 1;
    for hop in [0, 1] {
        let mut replays = vec![ranges(from, &old[tool..=tool]), ranges(0, &old), ranges(0, &old[..=tool])];
        let mut cut = ranges(0, &old[..=tool]);
        cut.ranges[0].cut = true;
        replays.push(cut);
        // As if it were a part of what is held now.
        let mut reaching = ranges(from, &old[tool..=tool]);
        reaching.ranges[0].to_inclusive = u64::MAX >> 2;
        replays.push(reaching);
        for replay in replays {
            enemy.say(Ranges { hop, ..replay });
        }
    }
    // A tombstone ends nobody's records but its writer's, and a member may write the name of anything.
    let tombstone = enemy.author.record(Kind::Tool, "echo.papers.research", None);
    let written = enemy.author.write(vec![tombstone]);
    enemy.say(written);
    // What it leaves out of a log is missed.
    let holed: Vec<_> = old.iter().filter(|signed| signed.record.seq != from + 1).cloned().collect();
    enemy.say(ranges(0, &holed));
    enemy.link.is_read();
    enemy.write_again();
    victims.show("again.enemy.research");
    for node in victims.both() {
        let listed = listed(node);
        assert!(!listed.contains("echo.shop.research"), "{listed:?}");
        assert!(listed.contains("echo.papers.research"), "{listed:?}");
    }
    victims.other.register("shop", &Fixture::new(&victims.world, "shop-again").command());
    enemy.was_told_only_the_truth();
    victims.are_honest();
}

#[test]
fn who_says_two_things_under_one_number_is_heard_no_more_anywhere() {
    let victims = Victims::start();
    let socket = Socket::new();

    // One after the other to one node: its fellow has the first and hears of the second only as proof.
    let mut first = Enemy::admitted(&socket, &victims.one.address);
    let second_saying = first.author.lie(first.author.tool_saying("twice", "Something else"));
    let record = first.author.tool("twice");
    let written = first.author.write(vec![record]);
    first.say(written);
    victims.show("twice.enemy.research");
    first.say(second_saying);
    for node in victims.both() {
        counts(node, FORKS, 1);
    }
    victims.hide("twice.enemy.research");
    // Nothing more is taken of this life.
    let record = first.author.tool("forged_afterwards");
    let written = first.author.write(vec![record]);
    first.say(written);
    first.link.is_read();

    // Each to one of them, at once: they find out when they compare.
    let mut second = Enemy::admitted(&socket, &victims.one.address);
    let at_other = second.also_at(&socket, &victims.other.address);
    let to_other = second.author.lie(second.author.tool_saying("split", "Something else"));
    let record = second.author.tool("split");
    let written = second.author.write(vec![record]);
    second.say(written);
    assert!(at_other.say(to_other));
    for node in victims.both() {
        counts(node, FORKS, 2);
    }
    victims.hide("split.enemy.research");

    // Proofs that prove nothing quarantine nobody.
    let mut liar = Enemy::admitted(&socket, &victims.one.address);
    let before = counter(&victims.one, REFUSED);
    let theirs = log_of(&liar, &victims.other.id);
    let (one, other) = (theirs[0].envelope(), theirs[1].envelope());
    let mut changed = one.clone();
    changed[40] ^= 1;
    let mine = liar.author.log[0].envelope();
    let chain = liar.chain.clone();
    let proofs =
        [(one.clone(), changed), (one.clone(), one.clone()), (one.clone(), other), (one, mine), (vec![], vec![])];
    let count = proofs.len() as u64;
    for (one, other) in proofs {
        liar.say(Fork { chain: chain.clone(), one, other });
    }
    liar.link.is_read();
    liar.write_again();
    counts(&victims.one, REFUSED, before + count);
    victims.show("again.enemy.research");
    victims.are_honest();
    assert_eq!(counter(&victims.one, FORKS), 2);
}

#[test]
fn what_is_not_yet_waits_and_holds_up_nobody_else() {
    let victims = Victims::start();
    let socket = Socket::new();
    let mut tap = Enemy::admitted(&socket, &victims.one.address);

    // The year 9999, and an hour ahead.
    for hlc_ms in [253_402_300_799_000, wall_ms() + 3_600_000] {
        let early = Enemy::admitted(&socket, &victims.one.address);
        let ahead = Record { hlc: hlc_ms << 16, ..early.author.tool("forged_future") };
        early.say(early.author.lie(ahead));
        early
            .link
            .wait_for("a word about its clock", |message| matches!(message, Message::ClockAhead(_)).then_some(()));
        // What comes behind it waits as well, or is forgotten.
        let behind =
            early.author.sign(vec![Record { seq: early.author.last() + 2, ..early.author.tool("forged_behind") }]);
        early.say(ranges(early.author.last() + 1, &behind));
        early.link.is_read();
    }

    // A range after a gap is asked for from its beginning, and shown only whole.
    let holey = Enemy::admitted(&socket, &victims.one.address);
    let next = holey.author.last() + 4;
    let after = holey.author.sign(vec![Record { seq: next + 1, ..holey.author.tool("forged_gap") }]);
    holey.say(ranges(next, &after));
    let origin = holey.author.origin();
    holey.link.wait_for("a request for what is missing", |message| match message {
        Message::Vector(vector) if vector.buckets == 0 => {
            vector.entries.iter().any(|(asked, through)| *asked == origin && *through < next).then_some(())
        }
        _ => None,
    });

    // Who was patient with all of that still writes and reads at once.
    victims.one.register("late", &Fixture::new(&victims.world, "late").command());
    victims.show("echo.late.research");
    tap.write_again();
    victims.show("again.enemy.research");
    tap.was_told_only_the_truth();
    victims.are_honest();
}

/// What a node believes of the keys of zones.
fn believed(node: &Node) -> (Value, Value, Value) {
    let keys = node.get("/v1/keys").is(200).json();
    (keys["key"].clone(), keys["epoch"].clone(), keys["keys"].clone())
}

#[test]
fn no_key_follows_but_the_one_that_the_old_key_names() {
    let victims = Victims::start();
    let socket = Socket::new();
    let mut enemy = Enemy::admitted(&socket, &victims.one.address);
    let before = believed(&victims.one);
    assert_eq!(believed(&victims.other), before);

    let (old, new, zone) = (any_key(), any_key(), zone_name());
    let first = ManifestBody::first(&zone, &old, wall_ms());
    let second = ManifestBody::issue(&zone, 2, &old, &new, wall_ms());
    // Signed by the new key, and by nobody who could say that it follows the zone's.
    let followed = ManifestBody { by_previous: second.by_key, ..second.clone() };
    let skipped = ManifestBody::issue(&zone, 7, &old, &new, wall_ms());
    let claim = |key: &aop_proto::trust::SigningKey, manifests: Vec<ManifestBody>, node: NodeId| Admit {
        zone_key: key.verifying_key().to_bytes(),
        chain: vec![Certificate::issue(key, &zone, node, wall_ms())],
        manifests,
    };
    let victim = node_id(&victims.one);
    // The last epoch there is, and the zone's own key after it.
    let last = ManifestBody { epoch: u64::MAX, ..second.clone() };
    let around = ManifestBody { epoch: 0, key: enemy.zone_key, ..second.clone() };
    for manifests in [
        vec![second.clone()],
        vec![followed],
        vec![first.clone(), second.clone()],
        vec![skipped],
        vec![last.clone()],
        vec![last, around],
    ] {
        enemy.say(Hello { manifests: manifests.clone(), ..enemy.hello() });
        enemy.say(claim(&new, manifests.clone(), victim));
        enemy.say(Admit { zone_key: enemy.zone_key, ..claim(&new, manifests.clone(), victim) });
        enemy.say(Referral {
            zone: ".".to_owned(),
            zone_key: Some(new.verifying_key().to_bytes()),
            proofs: Vec::new(),
            anchors: vec![(".".to_owned(), new.verifying_key().to_bytes())],
            manifests: manifests.clone(),
            delegation: Some(ReferredChild {
                zone_key: new.verifying_key().to_bytes(),
                epoch: 2,
                manifests: manifests.clone(),
                gateways: Vec::new(),
            }),
        });
        // In a log, properly signed by a member that is not the zone's key.
        let records = manifests.iter().enumerate().map(|(at, manifest)| Record {
            seq: enemy.author.last() + 1 + at as u64,
            ..enemy.author.record(Kind::Manifest, &manifest.epoch.to_string(), Some(manifest.encode()))
        });
        let written = enemy.author.write(records.collect());
        enemy.say(written);
        enemy.link.is_read();
    }
    // Under another key it is nobody.
    let another = socket.link(&victims.one.address, &enemy.author.key);
    another.say(Hello {
        zone_key: Some(new.verifying_key().to_bytes()),
        ..claim_hello(&enemy, &claim(&new, vec![], enemy.author.id()))
    });
    another.wait_for("a refusal", |message| matches!(message, Message::Refuse(_)).then_some(()));

    let mut tap = Enemy::admitted(&socket, &victims.one.address);
    tap.write_again();
    victims.show("again.enemy.research");
    for node in victims.both() {
        assert_eq!(believed(node), before);
    }
    tap.was_told_only_the_truth();
    victims.are_honest();
}

fn claim_hello(enemy: &Enemy<'_>, admit: &Admit) -> Hello {
    Hello { chain: admit.chain.clone(), ..enemy.hello() }
}

#[test]
fn whoever_is_said_to_have_ended_goes_on() {
    let victims = Victims::start();
    let socket = Socket::new();
    let mut enemy = Enemy::admitted(&socket, &victims.one.address);
    let reap = |author: &Author, of: Origin, name: &str| {
        author.record(Kind::Reap, name, Some(ReapBody { node: of.node, incarnation: of.incarnation }.encode()))
    };
    let life = |node: &Node| Origin {
        node: node_id(node),
        incarnation: log_of(&enemy, &node.id).last().map_or(0, |signed| signed.record.origin().incarnation),
    };
    let (one, other) = (life(&victims.one), life(&victims.other));

    // Lives that no clock has led to, and ends under another name, are held and mean nothing.
    let far = Origin { incarnation: u64::MAX, ..other };
    for (of, name) in [(far, victims.other.id.as_str()), (other, victims.one.id.as_str()), (other, "nobody")] {
        let record = reap(&enemy.author, of, name);
        let written = enemy.author.write(vec![record]);
        enemy.say(written);
    }
    enemy.write_again();
    victims.show("again.enemy.research");
    for node in victims.both() {
        assert_eq!(counter(node, LIVES), 0);
    }

    // A member may say that a life has ended; whoever lives says everything again in the next.
    for of in [other, one] {
        let record = reap(&enemy.author, of, &of.node.to_string());
        let written = enemy.author.write(vec![record]);
        enemy.say(written);
    }
    for node in victims.both() {
        counts(node, LIVES, 1);
    }
    victims.show("echo.shop.research");
    victims.show("echo.papers.research");
    victims.are_honest();
}

#[test]
fn whoever_is_said_to_be_down_says_that_it_is_not() {
    let victims = Victims::start();
    let socket = Socket::new();
    let enemy = Enemy::admitted(&socket, &victims.one.address);
    let at_other = enemy.also_at(&socket, &victims.other.address);
    let by = enemy.author.id();
    for (round, state) in [1, 2, 3, 200].into_iter().enumerate() {
        let updates: Vec<Update> = victims
            .both()
            .map(|node| Update { node: node_id(node), counter: 10 * (round as u32 + 1), state, by })
            .into();
        for link in [&enemy.link, &at_other] {
            assert!(link.say(Members { updates: updates.clone(), reply: true }));
            assert!(link.say(Ping { number: 1, updates: updates.clone() }));
            link.is_read();
        }
    }
    for node in victims.both() {
        eventually("the living are alive", PATIENT, || {
            let nodes = node.get("/v1/nodes").is(200).json();
            let all = nodes["nodes"].as_array().cloned().unwrap_or_default();
            let alive = |id: &str| all.iter().any(|one| one["id"] == id && one["state"] == "alive");
            if alive(&victims.one.id) && alive(&victims.other.id) { Ok(()) } else { Err(nodes.to_string()) }
        });
        counts(node, "aop_gossip_events_total{event=\"refuted\"}", 1);
    }
    victims.are_honest();
}
