//! Lies in what is signed: records, heads, chains, manifests, forks, ends of lives. One lie at a time, everything else as it should be.

use std::sync::Arc;

use aop_proto::codec::Wire;
use aop_proto::params::CHAIN_MAX;
use aop_proto::record::{Certificate, Head, Kind, Record, SignedRef};
use aop_proto::trust::sign_flush;
use aop_proto::wire::message::Ranges;

use super::enemy::{Author, Enemy, doctored, log_of, ranges, tool_body, wall_ms};
use super::link::{Socket, any_key, id_of};
use super::zone::{REFUSED, Victims, counter, zone_name};
use crate::support::{SOON, eventually};

/// What is to be refused, each for one reason.
fn forgeries(enemy: &Enemy<'_>, one: &[SignedRef], other: &[SignedRef]) -> Vec<(&'static str, Ranges)> {
    let author = &enemy.author;
    let mut forgeries = Vec::new();
    let mut lie = |what, ranges: Ranges| forgeries.push((what, ranges));
    let with_envelopes = |mut ranges: Ranges, records: Vec<Vec<u8>>| {
        ranges.ranges[0].records = records;
        ranges
    };

    let tool = author.sign(vec![author.tool("forged")]);
    let unsigned = doctored(&tool[0], |envelope| envelope.signature = [0; 64]);
    lie("no signature", with_envelopes(author.news(&tool), vec![unsigned]));
    let changed = doctored(&tool[0], |envelope| {
        let at = envelope.payload.len() - 20;
        envelope.payload[at] ^= 1;
    });
    lie("a changed record", with_envelopes(author.news(&tool), vec![changed]));
    let moved = doctored(&tool[0], |envelope| envelope.head.count += 1);
    lie("a changed head", with_envelopes(author.news(&tool), vec![moved]));

    let head = author.head_after(&[author.tool("forged_by_another")]);
    let by_another = sign_flush(&any_key(), vec![author.tool("forged_by_another")], head);
    lie("the signature of another key", author.news(&by_another.into_iter().map(Arc::new).collect::<Vec<_>>()));

    for (what, theirs) in [("in the name of the node itself", one), ("in the name of its fellow", other)] {
        let last = theirs.last().expect("it has written");
        let their_next = |name: &str| Record {
            node: last.record.node(),
            incarnation: last.record.origin().incarnation,
            seq: last.record.seq + 1,
            ..author.tool(name)
        };
        let forged = sign_flush(&author.key, vec![their_next("forged_in_your_name")], *last.head());
        lie(what, ranges(last.record.seq, &[Arc::new(forged[0].clone())]));
        let victim = theirs.iter().find(|signed| signed.record.kind() == Kind::Tool).expect("it has tools");
        let tombstone = Record { name: victim.record.name().to_owned(), body: None, def_hash: None, ..their_next("") };
        let forged = sign_flush(&author.key, vec![tombstone], *last.head());
        lie("a tombstone in the name of another", ranges(last.record.seq, &[Arc::new(forged[0].clone())]));
    }

    let elsewhere = Record { zone: "writing".to_owned(), name: "forged.enemy.writing".to_owned(), ..author.tool("x") };
    lie("of another zone", author.lie(elsewhere));

    let mut hashless = author.tool("forged_definition");
    hashless.def_hash = Some([7; 32]);
    lie("another definition than its hash names", author.lie(hashless.clone()));
    hashless.def_hash = None;
    lie("a definition without a hash", author.lie(hashless.clone()));
    hashless.body =
        Some(aop_proto::record::ToolBody { definition: b"[]".to_vec(), ..tool_body("forged", "x") }.encode());
    lie("a definition that is none", author.lie(hashless));

    let record = author.tool("forged_head");
    let honest = author.head_after(std::slice::from_ref(&record));
    for (what, head) in [
        ("a head that lies about the count", Head { count: honest.count + 1, ..honest }),
        ("a head that lies about the root", Head { root: [7; 32], ..honest }),
        ("a head that lies about the number", Head { seq: honest.seq + 1, ..honest }),
    ] {
        let signed: Vec<_> = sign_flush(&author.key, vec![record.clone()], head).into_iter().map(Arc::new).collect();
        lie(what, author.news(&signed));
    }

    let last = Record { seq: u64::MAX, ..author.tool("forged_number") };
    let signed: Vec<_> =
        sign_flush(&author.key, vec![last], Head { seq: u64::MAX, ..honest }).into_iter().map(Arc::new).collect();
    lie("the last number there is", ranges(u64::MAX - 1, &signed));
    let two =
        author.sign(vec![author.tool("forged_one"), Record { seq: author.last() + 2, ..author.tool("forged_two") }]);
    let mut backwards = author.news(&two);
    backwards.ranges[0].records.reverse();
    lie("records that do not ascend", backwards);
    let mut short = author.news(&two);
    short.ranges[0].records.pop();
    lie("a range that ends before it says", short);
    let mut empty = author.news(&two);
    empty.ranges[0].records.clear();
    lie("a range of nothing", empty);
    lie("a range without what is held", author.news(&author.sign(vec![author.tool("forged_gap")])[..]).into_snapshot());

    for (what, chain) in chains_to_nowhere(enemy) {
        let mut nobody = Author::new(any_key());
        let chain = chain(&nobody);
        let record = nobody.tool("forged_by_nobody");
        let written = nobody.write(vec![record]);
        lie(what, Ranges { chains: vec![chain], ..written });
    }
    forgeries
}

/// A range that says that it is all there is.
trait Snapshot {
    fn into_snapshot(self) -> Self;
}

impl Snapshot for Ranges {
    fn into_snapshot(mut self) -> Self {
        self.ranges[0].from_exclusive = 0;
        self
    }
}

type Chain<'a> = Box<dyn Fn(&Author) -> Vec<Certificate> + 'a>;

/// Chains that prove nothing, each broken in one place.
fn chains_to_nowhere<'a>(enemy: &'a Enemy<'_>) -> Vec<(&'static str, Chain<'a>)> {
    let (key, zone) = (&enemy.author.key, zone_name());
    let elsewhere = aop_proto::name::ZoneName::parse("writing").expect("a name");
    let issue = {
        let zone = zone.clone();
        move |author: &Author| Certificate::issue(key, &zone, author.id(), wall_ms())
    };
    let after = move |certificate: Certificate| enemy.chain.iter().cloned().chain([certificate]).collect::<Vec<_>>();
    vec![
        ("no chain", Box::new(|_: &Author| Vec::new())),
        ("a chain from nowhere", {
            let zone = zone.clone();
            Box::new(move |author| vec![Certificate::issue(&any_key(), &zone, author.id(), wall_ms())])
        }),
        ("a chain without its beginning", {
            let issue = issue.clone();
            Box::new(move |author| vec![issue(author)])
        }),
        ("a chain of another zone", {
            Box::new(move |author| after(Certificate::issue(key, &elsewhere, author.id(), wall_ms())))
        }),
        ("a chain for somebody else", {
            Box::new(move |_| after(Certificate::issue(key, &zone_name(), id_of(&any_key()), wall_ms())))
        }),
        ("a chain with a changed signature", {
            let issue = issue.clone();
            Box::new(move |author| {
                let mut certificate = issue(author);
                certificate.signature[10] ^= 1;
                after(certificate)
            })
        }),
        ("a chain that is too long", {
            Box::new(move |author| {
                let itself = Certificate::issue(key, &zone_name(), id_of(key), wall_ms());
                let mut chain = enemy.chain.clone();
                chain.resize(CHAIN_MAX, itself);
                chain.push(issue(author));
                chain
            })
        }),
    ]
}

#[test]
fn what_is_not_signed_by_a_member_is_refused_counted_and_passed_to_nobody() {
    let victims = Victims::start();
    let socket = Socket::new();
    let mut enemy = Enemy::admitted(&socket, &victims.one.address);
    // What it says properly is shown, so that everything below fails for its one reason.
    let record = enemy.author.tool("proper");
    let written = enemy.author.write(vec![record]);
    enemy.say(written);
    victims.show("proper.enemy.research");
    let mut tap = Enemy::certified(&socket, &victims.one.address, any_key());
    let (one, other) = (log_of(&tap, &victims.one.id), log_of(&tap, &victims.other.id));

    let before = counter(&victims.one, REFUSED);
    for (refused, (what, forgery)) in (before + 1..).zip(forgeries(&enemy, &one, &other)) {
        enemy.say(forgery);
        enemy.link.is_read();
        // Numbers are published with the next change at the latest.
        tap.write_again();
        eventually(&format!("{what} is counted as refused"), SOON, || {
            let now = counter(&victims.one, REFUSED);
            if now == refused { Ok(()) } else { Err(format!("{now}, not {refused}")) }
        });
    }
    tap.was_told_only_the_truth();
    victims.show("proper.enemy.research");
    victims.are_honest_to_users();
    assert_eq!(counter(&victims.other, REFUSED), 0, "nothing forged came as far as the fellow");
}
