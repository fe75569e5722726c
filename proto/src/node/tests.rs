//! What a node writes where its log is full, and when it starts beside logs that end others: what only a smaller limit or a written
//! store shows in a test. Everything else of a node is tested from outside.

use super::*;
use crate::access::Policy;
use crate::params::LOG_BYTES_RESERVED;
use crate::record::{DelegationBody, Head, Kind, ReapBody, Record};
use crate::registry::Evidence;
use crate::trust::sign_flush;

const NOW: Now = Now { mono: Duration::ZERO, wall_ms: 1_790_000_000_000 };

fn config() -> Config {
    Config {
        zone: ZoneName::parse("z").expect("a zone"),
        key: SigningKey::from_bytes(&[1; 32]),
        zone_key: SigningKey::from_bytes(&[2; 32]),
        spare_key: None,
        incarnation: 1,
        address: "127.0.0.1:7001".into(),
        version: "0".into(),
        seed: [1; 32],
        parents: Vec::new(),
        joins: Vec::new(),
        admission: Admission::Open,
        invitation: None,
        rules: Policy::open(),
        opened: None,
    }
}

/// A node that founds its zone alone, with room for so many bytes of tools.
fn founder(room: usize) -> Node {
    let mut node = Node::new(config(), Restored::default(), NOW);
    written(&mut node);
    let (held, _) = node.registry.log_bytes(node.origin());
    assert!(held > 0, "its own record");
    node.registry.log_bytes_max = held + room + LOG_BYTES_RESERVED;
    node
}

/// How writes ended, when everything is durable.
fn written(node: &mut Node) -> Vec<Result<Wrote, WriteError>> {
    let mut written = Vec::new();
    loop {
        match node.poll_output() {
            Output::Wait(_) => return written,
            Output::Persist { token, .. } => node.handle_input(NOW, Input::Persisted { token, durable: true }),
            Output::Written { result, .. } => written.push(result),
            _ => {}
        }
    }
}

fn ask(node: &mut Node, write: Write) -> Result<Wrote, WriteError> {
    node.handle_input(NOW, Input::Write { token: 1, write });
    written(node).remove(0)
}

fn tool(name: &str, bytes: usize) -> Write {
    let text = "x".repeat(bytes);
    let definition = format!(r#"{{"name":"{name}","description":"{text}","inputSchema":{{}}}}"#).into();
    Write::Catalogue(vec![NewTool { original: name.into(), definition, server: "s".into(), ..NewTool::default() }])
}

fn is_full(result: &Result<Wrote, WriteError>) -> bool {
    matches!(result, Err(WriteError::LogFull { .. }))
}

#[test]
fn a_full_log_refuses_what_makes_it_larger_and_changes_nothing() {
    let mut node = founder(50_000);
    assert!(ask(&mut node, tool("a", 48_500)).is_ok());
    let before = node.registry.digest();
    assert!(is_full(&ask(&mut node, tool("b", 10_000))));
    assert!(is_full(&ask(&mut node, tool("a", 50_000))), "it replaces one that is smaller");
    assert_eq!(node.registry.digest(), before);
    let state = Write::ServerState { server: "s".into(), up: false, error: "it ended".into() };
    assert!(ask(&mut node, state).is_ok(), "that has room of its own");
    assert!(ask(&mut node, tool("a", 48_400)).is_ok(), "it replaces one that is larger");
    assert!(ask(&mut node, tool("a", 30_000)).is_ok());
    assert!(ask(&mut node, tool("b", 10_000)).is_ok());
    assert!(is_full(&ask(&mut node, tool("c", 10_000))));
    assert!(ask(&mut node, Write::Remove("a.s.z".into())).is_ok());
    assert!(ask(&mut node, tool("c", 10_000)).is_ok());
    let (held, most) = node.registry.log_bytes(node.origin());
    assert!(held <= most);
}

#[test]
fn what_is_on_its_way_to_the_store_counts_and_what_it_replaces_does_not() {
    let mut node = founder(50_000);
    for (token, write) in [tool("a", 40_000), tool("a", 41_000), tool("b", 10_000)].into_iter().enumerate() {
        node.handle_input(NOW, Input::Write { token: token as u64, write });
    }
    let written = written(&mut node);
    let refused: Vec<bool> = written.iter().map(is_full).collect();
    assert_eq!(refused, [true, false, false], "the one that was refused is answered first");
}

#[test]
fn a_full_log_delegates_to_nobody_else() {
    let (mut node, mut other) = (founder(0), founder(50_000));
    let zone = ZoneName::parse("y.z").expect("a zone");
    let body = DelegationBody { zone_key: [3; 32], epoch: 1, gateways: Vec::new(), tools: 0, since_ms: 1 };
    assert!(!node.write_delegation(&zone, body.clone(), None) && other.write_delegation(&zone, body, None));
    for node in [&mut node, &mut other] {
        written(node);
    }
    assert_eq!((node.view().children.len(), other.view().children.len()), (0, 1));
}

/// The log of another node, of the second life, in which it ends a life of its own and those of others.
fn log_of_reaps(key: &SigningKey, life: u64, count: u8) -> Vec<SignedRef> {
    let node = id(key);
    let others = (0..count).map(|number| (NodeId([number; 32]), 1));
    let records: Vec<Record> = std::iter::once((node, life))
        .chain(others)
        .zip(1..)
        .map(|((node_ended, incarnation), seq)| Record {
            zone: "z".into(),
            kind: Kind::Reap.number(),
            name: node_ended.to_string(),
            node,
            incarnation: 2,
            seq,
            epoch: 0,
            hlc: NOW.wall_ms << 16,
            visibility: 0,
            issued_ms: NOW.wall_ms,
            expires_ms: 0,
            def_hash: None,
            body: Some(ReapBody { node: node_ended, incarnation }.encode()),
        })
        .collect();
    sign_flush(key, records, Head::default()).into_iter().map(Arc::new).collect()
}

fn id(key: &SigningKey) -> NodeId {
    NodeId(key.verifying_key().to_bytes())
}

/// Takes from a node what it gave its store, as the store would give it back.
fn started_again(node: &mut Node, more: Vec<SignedRef>) -> Node {
    let own = node.registry.records_of(node.origin()).cloned();
    let records = own.chain(more).collect();
    let trust = Some(node.trust.encode());
    let restored = Restored { records, trust, forks: Vec::new(), revocations: Vec::new() };
    Node::new(config(), restored, NOW)
}

#[test]
fn what_others_ended_makes_no_node_write_over_its_own_log_when_it_starts() {
    let mut first = founder(50_000);
    assert!(ask(&mut first, tool("a", 100)).is_ok());
    let through = first.registry.through(first.origin());
    // One that comes before it, whose words would be its own to keep.
    let mut keys = (3..).map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let key = keys.find(|key| id(key) < first.id).expect("half of them do");
    let mut node = started_again(&mut first, log_of_reaps(&key, 2, 5));
    assert!(written(&mut node).is_empty());
    assert_eq!(node.view().tools.len(), 1);
    assert!(ask(&mut node, tool("b", 100)).is_ok());
    assert!(node.registry.through(node.origin()) > through);
}

#[test]
fn what_a_node_ended_that_goes_on_is_said_by_itself_alone() {
    let mut first = founder(50_000);
    let reaps = |node: &Node| {
        node.registry.records_of(node.origin()).filter(|signed| signed.record.kind() == Kind::Reap).count()
    };
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut node = started_again(&mut first, log_of_reaps(&key, 1, 5));
    written(&mut node);
    assert_eq!(reaps(&node), 0);
    // It ends, and this node is the least there is.
    let last = id(&key);
    node.say(vec![reaper::reap_of(Origin { node: last, incarnation: 2 })]);
    written(&mut node);
    assert_eq!((reaps(&node), node.registry.reaped(last)), (6, Some(2)));
    assert_eq!(node.registry.reaped(NodeId([3; 32])), Some(1));
}

#[test]
fn what_an_earlier_life_delegated_goes_on_where_the_log_of_this_one_ends() {
    let zone = ZoneName::parse("y.z").expect("a zone");
    let body = DelegationBody { zone_key: [3; 32], epoch: 1, gateways: Vec::new(), tools: 0, since_ms: 1 };
    let mut first = founder(50_000);
    assert!(first.write_delegation(&zone, body, None));
    written(&mut first);
    let mut second = Node::new(Config { incarnation: 2, ..config() }, Restored::default(), NOW);
    written(&mut second);
    assert!(ask(&mut second, tool("a", 100)).is_ok());
    let through = second.registry.through(second.origin());
    // The store had both: it ended before the log of the first life was dropped.
    let records = [&first, &second].into_iter().flat_map(|node| node.registry.records_of(node.origin())).cloned();
    let restored = Restored {
        records: records.collect(),
        trust: Some(second.trust.encode()),
        forks: Vec::new(),
        revocations: Vec::new(),
    };
    let mut node = Node::new(Config { incarnation: 2, ..config() }, restored, NOW);
    written(&mut node);
    assert_eq!((node.view().children.len(), node.view().tools.len()), (1, 1));
    assert_eq!(node.registry.through(node.origin()), through + 1);
}

#[test]
fn two_records_of_this_node_in_another_zone_are_no_fork_of_its_log() {
    let mut node = founder(50_000);
    for (zone, begins) in [("y", false), ("z", true)] {
        let record = |issued_ms| Record {
            zone: zone.into(),
            kind: Kind::Tool.number(),
            name: "t".into(),
            node: node.id,
            incarnation: 1,
            seq: 1,
            epoch: 0,
            hlc: 1,
            visibility: 0,
            issued_ms,
            expires_ms: 0,
            def_hash: None,
            body: None,
        };
        let sign = |number| Arc::new(sign_flush(&config().key, vec![record(number)], Head::default()).remove(0));
        let evidence = Evidence::of(&sign(1), &sign(2)).expect("one dot, two contents");
        node.on_forked(evidence, None);
        written(&mut node);
        assert_eq!(node.origin().incarnation > 1, begins, "{zone}");
    }
}
