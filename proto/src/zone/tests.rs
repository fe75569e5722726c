//! What a zone shows of records that are not as this build would write them.

use super::*;
use crate::name::ZoneName;
use crate::record::{Head, Record};
use crate::trust::samples::{id, key, record};
use crate::trust::{definition_hash, sign_flush};

const DEFINITION: &[u8] = br#"{"name":"find"}"#;

fn tool_body() -> Vec<u8> {
    ToolBody { server: "s".into(), original: "find".into(), definition: DEFINITION.to_vec(), ..ToolBody::default() }
        .encode()
}

fn delegation_body() -> Vec<u8> {
    DelegationBody { zone_key: [7; 32], epoch: 1, gateways: vec![], tools: 0, since_ms: 1 }.encode()
}

/// One record of each kind that shows something.
fn shown() -> [Record; 4] {
    let node = id(&key(1));
    let of = |seq, kind, name: &str, body| record(node, seq, kind, "z", name, body);
    [
        Record { def_hash: definition_hash(DEFINITION).ok(), ..of(1, Kind::Tool, "find.s.z", tool_body()) },
        of(2, Kind::Server, "s", ServerBody { up: true, ..ServerBody::default() }.encode()),
        of(3, Kind::Delegation, "a.z", delegation_body()),
        of(4, Kind::Node, &node.to_string(), b"anything".to_vec()),
    ]
}

fn put(zone: &mut Zone, record: &Record) {
    let signed = sign_flush(&key(1), vec![record.clone()], Head::default()).remove(0);
    zone.apply(&Change::Put(Arc::new(signed)));
}

fn shows(zone: &Zone) -> [usize; 4] {
    let tools = zone.shown();
    let children = zone.child(&ZoneName::parse("a.z").unwrap()).is_some();
    [tools.len(), tools.servers.len(), usize::from(children), tools.nodes().len()]
}

#[test]
fn what_this_build_may_not_show_to_everybody_shows_nothing() {
    let empty = Zone::default().tag();
    for visibility in [1, 255] {
        let mut zone = Zone::default();
        for record in shown() {
            put(&mut zone, &Record { visibility, ..record });
        }
        assert_eq!((shows(&zone), zone.tag()), ([0; 4], empty));
        shown().iter().for_each(|record| put(&mut zone, record));
        assert_eq!(shows(&zone), [1; 4]);
        for record in shown() {
            put(&mut zone, &Record { visibility, ..record });
        }
        assert_eq!((shows(&zone), zone.tag()), ([0; 4], empty), "what stood before is replaced");
    }
}

/// What was shown depended on what had been before: a restart changed it (I3).
#[test]
fn what_this_build_cannot_read_replaces_what_it_could() {
    let mut zone = Zone::default();
    shown().iter().for_each(|record| put(&mut zone, record));
    for record in shown().into_iter().take(3) {
        put(&mut zone, &Record { body: Some(b"of a later version".to_vec()), def_hash: None, ..record });
    }
    assert_eq!(shows(&zone), [0, 0, 0, 1]);
}
