//! Too much of everything: of what a member says, of what strangers begin and never end, of connections, and of what is no message.
//!
//! What counts is that the honest are served meanwhile, and that memory stays where it may.

use std::time::{Duration, Instant};

use aop_proto::record::{Certificate, NodeId, Origin, Record};
use aop_proto::wire::message::{
    Announce, Announced, Buckets, Busy, ClockAhead, Digest, Members, Message, Ping, PingRequest, Ranges, Serials,
    Update, Vector,
};

use super::enemy::{Author, Enemy, wall_ms};
use super::link::{Link, Socket, any_key, unit};
use super::stranger::{question, words_of_a_fellow, words_of_anybody};
use super::zone::{BAD_FRAMES, Victims, answer, counter, counts, zone_name};
use crate::support::fixture::tool;
use crate::support::{Fixture, PATIENT, SOON, eventually, wait};

/// More than a node takes.
const CONNECTIONS: usize = 1050;

/// What a flood says so often.
type Flood = (&'static str, u64, Box<dyn Fn(u64) -> Message + Send + Sync>);

/// A question is answered within this time, whatever else comes in: a debug build on a machine that floods itself.
const UNDER_LOAD: Duration = Duration::from_secs(5);

fn made_up(number: u64) -> Origin {
    let mut node = [0xee; 32];
    node[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    Origin { node: NodeId(node), incarnation: 1 }
}

/// Asks the attacked node until the flood is over; the longest answer took no longer than it may.
fn is_served_during(victims: &Victims, flood: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let flooding = scope.spawn(flood);
        let mut worst = Duration::ZERO;
        let mut asked = 0;
        while !flooding.is_finished() || asked == 0 {
            let began = Instant::now();
            let found = answer(&victims.one, "echo.papers.research").expect("an answer under load");
            assert_eq!(found["results"][0]["name"], "echo.papers.research", "{found}");
            worst = worst.max(began.elapsed());
            asked += 1;
            wait::pause();
        }
        flooding.join().expect("the flood came to its end");
        assert!(worst < UNDER_LOAD, "an answer took {} ms", worst.as_millis());
    });
}

fn floods(enemy: &Enemy<'_>) -> Vec<Flood> {
    let me = enemy.author.id();
    let updates = |from: u64, count: u64| -> Vec<Update> {
        (from..from + count)
            .map(|n| Update { node: made_up(n).node, counter: 1, state: 2, by: NodeId([7; 32]) })
            .collect()
    };
    vec![
        (
            "wants",
            1500,
            Box::new(|n| {
                let dots = (0..22).map(|at| Announced { origin: made_up(n * 22 + at), through: n + 1 }).collect();
                Announce { dots, hop: 1 }.into()
            }),
        ),
        (
            "its own log a thousand times further",
            1500,
            Box::new(move |n| {
                let origin = Origin { node: me, incarnation: 1 << 40 };
                Announce { dots: vec![Announced { origin, through: n + 1000 }; 22], hop: 255 }.into()
            }),
        ),
        (
            "vectors of everything",
            300,
            Box::new(|_| Vector { buckets: u64::MAX, entries: Vec::new(), reply: true }.into()),
        ),
        (
            "vectors of origins nobody knows",
            16,
            Box::new(|n| {
                let entries = (0..16_000).map(|at| (made_up(n * 16_000 + at), u64::MAX - at % 3)).collect();
                Vector { buckets: u64::MAX, entries, reply: true }.into()
            }),
        ),
        ("digests", 3000, Box::new(|n| Digest { hash: [n as u8; 16], members: n }.into())),
        ("buckets", 1500, Box::new(|n| Buckets { hashes: (0..64).map(|bucket| bucket * n).collect() }.into())),
        ("pings", 3000, Box::new(move |n| Ping { number: n as u32, updates: updates(n * 8, 8) }.into())),
        (
            "requests to ping",
            1500,
            Box::new(|n| PingRequest { number: n as u32, target: made_up(n).node, updates: Vec::new() }.into()),
        ),
        (
            "members nobody knows",
            64,
            Box::new(move |n| Members { updates: updates(n * 4096, 4096), reply: true }.into()),
        ),
        (
            "pauses and clocks",
            1000,
            Box::new(|n| match n % 2 {
                0 => Busy { retry_ms: u32::MAX }.into(),
                _ => ClockAhead { ahead_ms: u64::MAX }.into(),
            }),
        ),
        ("tags", 300, Box::new(|_| Serials { zones: Vec::new() }.into())),
        (
            "empty ranges with more to come",
            1500,
            Box::new(|_| Ranges { ranges: Vec::new(), chains: Vec::new(), more: true, hop: 0 }.into()),
        ),
    ]
}

#[test]
fn a_member_that_says_too_much_holds_up_nobody() {
    let victims = Victims::start();
    let socket = Socket::new();
    let mut enemy = Enemy::admitted(&socket, &victims.one.address);
    is_served_during(&victims, || {
        for (what, count, message) in floods(&enemy) {
            for number in 0..count {
                assert!(enemy.link.say(message(number)), "{what}: {:?}", enemy.link.connection.close_reason());
            }
        }
    });
    // Certificates for those who are not there, more than a zone holds.
    is_served_during(&victims, || {
        for number in 0..60 {
            let chains = (0..400).map(|at| {
                let certificate =
                    Certificate::issue(&enemy.author.key, &zone_name(), made_up(number * 400 + at).node, wall_ms());
                enemy.chain.iter().cloned().chain([certificate]).collect()
            });
            let crowd = Ranges { ranges: Vec::new(), chains: chains.collect(), more: false, hop: 0 };
            assert!(enemy.link.say(crowd));
        }
    });
    enemy.link.is_read();
    enemy.write_again();
    victims.show("again.enemy.research");
    victims.are_honest();
}

#[test]
fn logs_that_never_end_are_held_in_part() {
    let victims = Victims::start();
    let socket = Socket::new();
    let enemy = Enemy::admitted(&socket, &victims.one.address);
    let text = "x".repeat(60_000);
    // Parts of its next life, each the longest there is, and never the last: 32 MiB.
    is_served_during(&victims, || {
        for part in 0..40_u64 {
            let records: Vec<Record> = (1..=14)
                .map(|at| {
                    let record = enemy.author.tool_saying(&format!("forged_{part}_{at}"), &text);
                    Record { incarnation: enemy.author.incarnation + 1, seq: part * 14 + at, ..record }
                })
                .collect();
            let head = aop_proto::record::Head { seq: 1 << 40, floor: 0, count: 1 << 40, root: [7; 32] };
            let signed: Vec<_> = aop_proto::trust::sign_flush(&enemy.author.key, records, head)
                .into_iter()
                .map(std::sync::Arc::new)
                .collect();
            let mut ranges = super::enemy::ranges(part * 14, &signed);
            ranges.ranges[0].cut = true;
            assert!(enemy.link.say(Ranges { more: true, hop: 0, ..ranges }));
        }
        enemy.link.is_read();
    });
    enemy.was_told_only_the_truth();
    victims.are_honest();
}

/// What the attacked node may have grown by while strangers do their worst, in MiB: each of their connections has its small share.
const STRANGERS_MIB: u64 = 192;

#[track_caller]
fn has_grown_little(victims: &Victims, before: u64) {
    let grown = victims.one.peak_mib().saturating_sub(before);
    assert!(grown < STRANGERS_MIB, "{grown} MiB more");
}

#[test]
fn what_is_begun_and_never_ended_costs_little() {
    let victims = Victims::start();
    let socket = Socket::new();
    let before = victims.one.peak_mib();
    // Of every stream all but its last byte, from a hundred keys: 700 MiB if all of it were kept.
    let length = 1_u32 << 20;
    let begun = [&length.to_le_bytes()[..], &vec![0; length as usize - 1]].concat();
    let lane = |number: u8| [b"aop", &[number][..], &begun].concat();
    let (bulk, question) = (lane(2), lane(3));
    let links: Vec<_> = (0..100).map(|_| socket.link(&victims.one.address, &any_key())).collect();
    is_served_during(&victims, || {
        socket.block_on(async {
            let all = links.iter().map(|link| async {
                let requests = futures::future::join_all((0..4).map(|_| link.begin_request(&begun)));
                tokio::join!(link.begin_on_gossip(&begun), link.begin(&bulk), link.begin(&question), requests);
            });
            futures::future::join_all(all).await;
        });
    });
    has_grown_little(&victims, before);
    victims.are_honest();
    // Whoever was given room to end and did not is sent away, so that the room is free again.
    eventually("the slow are sent away", PATIENT, || {
        if links.iter().any(Link::is_over) { Ok(()) } else { Err("none".to_owned()) }
    });
}

#[test]
fn whoever_asks_and_does_not_listen_costs_little() {
    let victims = Victims::start();
    let socket = Socket::new();
    let long = Fixture::new(&victims.world, "long");
    let text = "An answer that is long. ".repeat(700);
    let tools: Vec<_> = (0..20).map(|at| tool(&format!("long_{at}"), &text, serde_json::json!({}))).collect();
    long.list(&tools);
    victims.one.register("long", &long.command());
    let before = victims.one.peak_mib();
    let links: Vec<_> = (0..150).map(|_| socket.deaf_link(&victims.one.address, &any_key())).collect();
    is_served_during(&victims, || {
        for id in 0..8 {
            for link in &links {
                link.say(question(id, "a long answer"));
            }
        }
    });
    victims.are_honest();
    has_grown_little(&victims, before);
}

#[test]
fn a_thousand_strangers_leave_room_for_those_who_are_there() {
    let victims = Victims::start();
    let socket = Socket::new();
    let before = victims.one.peak_mib();
    let mut connections = Vec::new();
    is_served_during(&victims, || connections = socket.crowd(&victims.one.address, CONNECTIONS));
    let open = || connections.iter().filter(|connection| connection.close_reason().is_none()).count();
    // Whoever is sent away hears of it after its own handshake has ended.
    eventually(
        "those without room are sent away",
        SOON,
        || if open() <= 1024 { Ok(()) } else { Err(open().to_string()) },
    );
    assert!(open() >= 500, "{} are open", open());
    has_grown_little(&victims, before);
    // Those who know each other still do.
    victims.one.register("late", &Fixture::new(&victims.world, "late").command());
    victims.show("echo.late.research");
    victims.are_honest();
    for connection in connections {
        connection.close(0_u32.into(), b"bye");
    }
    eventually("they are gone", SOON, || {
        let peers = counter(&victims.one, "aop_peers");
        if peers < 10 { Ok(()) } else { Err(peers.to_string()) }
    });
    let mut enemy = Enemy::admitted(&socket, &victims.one.address);
    enemy.write_again();
    victims.show("again.enemy.research");
}

/// Chance that is the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.roll() as u8).collect()
    }
}

#[test]
fn what_is_no_message_is_counted_and_nothing_else() {
    let victims = Victims::start();
    let socket = Socket::new();
    let enemy = Enemy::admitted(&socket, &victims.one.address);
    let mut dice = Dice(7);
    let bad = counter(&victims.one, BAD_FRAMES);

    // Every kind with bytes of chance, whole and cut, on every lane, as datagrams and as requests.
    let mut lanes: Vec<_> = [2, 3].map(|lane| enemy.link.stream(&[b'a', b'o', b'p', lane]).expect("a stream")).into();
    let mut requests = Vec::new();
    for kind in 0..=255_u8 {
        let length = dice.roll() % 300;
        let mut frame = aop_proto::wire::frame(kind, &dice.bytes(length));
        if kind % 3 == 0 {
            frame.truncate(frame.len() / 2);
        }
        // A greeting that cannot be followed ends the connection, which is another test.
        if kind != 1 {
            assert!(enemy.link.say_bytes(&frame));
            for lane in &mut lanes {
                socket.block_on(lane.write_all(&unit(&frame))).expect("a stream of a lane");
            }
            enemy.link.datagram(&frame);
        }
        requests.push(enemy.link.request(&unit(&frame)));
    }
    for frame in
        [&b""[..], b"A", b"AO", b"AO\x01", b"AO\x02\x04\0\0\0\0", b"XX\x01\x04\0\0\0\0", b"AO\x01\x13\xff\xff\xff\xff"]
    {
        assert!(enemy.link.say_bytes(frame));
    }
    enemy.link.is_read();
    counts(&victims.one, BAD_FRAMES, bad + 300);

    // What is nearly a message: a byte or two of a good one changed. Some of it stays good, so nothing in it is of a member.
    let author = &Author::new(any_key());
    let good: Vec<Vec<u8>> = words_of_a_fellow(author, author.id())
        .into_iter()
        .chain(words_of_anybody(author, author.id()))
        .chain([question(1, "echo").into(), enemy.hello().into()])
        .map(|message: Message| message.encode())
        .collect();
    let mut link = enemy.also_at(&socket, &victims.one.address);
    for round in 0..150 {
        for frame in &good {
            let mut frame = frame.clone();
            for _ in 0..=round % 3 {
                let at = 8 + dice.roll() as usize % (frame.len() - 8).max(1);
                if let Some(byte) = frame.get_mut(at) {
                    *byte = dice.roll() as u8;
                }
            }
            if !link.say_bytes(&frame) || link.is_over() {
                link = enemy.again_at(&socket, &victims.one.address);
            }
        }
    }
    drop(link);
    let told = victims.one.log_text().matches("refused: ").count();
    assert!(told < 20, "an operator is told {told} times");

    // A unit that is too long, a second stream of one kind, a stream of no kind, and half a stream.
    for (what, bytes) in [("a unit that is too long", ((1_u32 << 20) + 1).to_le_bytes()), ("the longest", [0xff; 4])] {
        let link = socket.link(&victims.one.address, &any_key());
        assert!(link.write(&bytes), "{what}");
        assert!(link.ended().contains("above the limit"), "{what}");
    }
    let link = socket.link(&victims.one.address, &any_key());
    for head in [&b"aop\x01"[..], b"aop\x01", b"aop\x07", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut declined = link.stream(head).expect("a stream");
        let code = socket.block_on(async { declined.stopped().await }).expect("the connection goes on");
        assert_eq!(code, Some(3_u32.into()));
        drop(declined.finish());
    }
    link.request(&u32::MAX.to_le_bytes());
    assert!(link.ended().contains("above the limit"));
    let no_greeting = socket.connect(&victims.one.address, &any_key()).expect("a connection");
    socket.block_on(async {
        let mut first = no_greeting.open_uni().await.expect("a stream");
        first.write_all(b"aop\x02rogue<>!").await.expect("room");
        no_greeting.closed().await
    });

    let mut again = Enemy::admitted(&socket, &victims.one.address);
    again.write_again();
    again.was_told_only_the_truth();
    victims.show("again.enemy.research");
    victims.are_honest();
}
