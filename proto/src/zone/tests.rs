//! What a zone shows, also of records that are not as this build would write them.

use super::*;
use crate::index::Query;
use crate::name::{FullName, ZoneName};
use crate::record::{Head, Record, ToolBody};
use crate::trust::samples::{id, key, record};
use crate::trust::{definition_hash, sign_flush};
use crate::wire::message::{Candidate, Form, Health, Question};
use crate::zone::answer::{Answerer, answer};

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

fn read_tool(seed: u8, seq: u64, text: &str) -> SignedRef {
    let definition = format!(r#"{{"name":"Read","description":"{text}"}}"#).into_bytes();
    let body = ToolBody { server: "s".into(), original: "Read".into(), definition, ..ToolBody::default() };
    let def_hash = definition_hash(&body.definition).ok();
    let key = key(seed);
    let record = Record { def_hash, ..record(id(&key), seq, Kind::Tool, "z", "Read.s.z", body.encode()) };
    Arc::new(sign_flush(&key, vec![record], Head::default()).remove(0))
}

fn found(tools: &Tools, words: &str) -> usize {
    let found = tools.index().search(&Query::parse(words), 10, &|_| true);
    found.iter().filter(|(document, _)| tools.document(*document).is_some()).count()
}

#[test]
fn a_tool_is_found_by_all_its_names_until_its_last_instance_is_gone() {
    let (first, second) = (read_tool(1, 1, "papers"), read_tool(2, 2, "weather"));
    let mut zone = Zone::default();
    zone.apply(&Change::Put(first.clone()));
    let (before, tag) = (zone.shown(), zone.tag());
    zone.apply(&Change::Put(second.clone()));
    let shown = zone.shown();
    let read = shown.find(&FullName::parse("read.S.z").unwrap()).unwrap();
    assert_eq!((read.shown().node(), read.instances().len(), read.clash), (second.record.node(), 2, true));
    let serving: Vec<NodeId> = shown.instances(read).iter().map(|instance| instance.node).collect();
    assert_eq!(serving, [second.record.node()], "nobody is called for what another says");
    for name in ["READ.s.z", "s__read", "s/Read", "read"] {
        assert_eq!((shown.called(name).len(), before.called(name).len()), (1, 1), "{name}");
    }
    assert_eq!((found(&shown, "papers"), found(&shown, "weather")), (0, 1));
    assert_eq!((found(&before, "papers"), found(&before, "weather")), (1, 0), "what readers hold stays as it was");

    zone.apply(&Change::Gone(second));
    assert_eq!((found(&zone.shown(), "papers"), zone.tag()), (1, tag));
    zone.apply(&Change::Gone(first));
    let shown = zone.shown();
    assert!(shown.is_empty() && shown.all().is_empty() && shown.called("read").is_empty());
    assert_eq!((found(&shown, "papers"), zone.tag()), (0, Zone::default().tag()));
}

/// Logs compare keys in any case: the state under one spelling stood on for ever beside the one that replaced it.
#[test]
fn a_server_is_one_server_however_its_name_is_written() {
    let node = id(&key(1));
    let body = ToolBody { server: "Srv".into(), served: true, ..ToolBody::default() }.encode();
    let state =
        |seq, name, up| record(node, seq, Kind::Server, "z", name, ServerBody { up, ..ServerBody::default() }.encode());
    let mut zone = Zone::default();
    put(&mut zone, &record(node, 1, Kind::Tool, "z", "find.srv.z", body));
    let tag = zone.tag();
    for (seq, name, up, health) in [(2, "srv", false, Health::Degraded), (3, "SRV", true, Health::Ok)] {
        put(&mut zone, &state(seq, name, up));
        let shown = zone.shown();
        assert_eq!((shown.servers.len(), shown.instances(shown.all()[0])[0].health), (1, health));
    }
    let last = sign_flush(&key(1), vec![state(3, "SRV", true)], Head::default()).remove(0);
    zone.apply(&Change::Gone(Arc::new(last)));
    assert_eq!((zone.shown().servers.len(), zone.tag()), (0, tag));
}

#[test]
fn what_readers_see_of_a_tool_beside_its_records_is_little() {
    assert_eq!(size_of::<Option<Tool>>(), 40);
}

/// The index says of each tool what reading its record would say, so that a node need not read its own.
#[test]
fn what_the_index_finds_in_a_tool_is_what_its_record_says() {
    let texts =
        ["Searching papers by topic, and paper titles", "lists movies, films and papers", "Mail a letter. Get it."];
    let mut zone = Zone::default();
    for (text, number) in texts.iter().zip(1..) {
        let definition = format!(r#"{{"name":"tool{number}","description":"{text}"}}"#).into_bytes();
        let (server, original) = ("s".to_owned(), format!("tool{number}"));
        let body = ToolBody { server, original, definition, ..ToolBody::default() };
        let def_hash = definition_hash(&body.definition).ok();
        let of = record(id(&key(1)), number, Kind::Tool, "z", &format!("tool{number}.s.z"), body.encode());
        put(&mut zone, &Record { def_hash, ..of });
    }
    let (tools, name) = (zone.shown(), ZoneName::parse("z").unwrap());
    let by = Answerer { zone: &name, node: id(&key(1)), tag: 1, behind: false };
    for text in [
        "search scientific papers",
        "find films",
        "tool1",
        "Find papers on films. Then mail me the letter about papers.",
    ] {
        let question = Question {
            form: Form::Words,
            text: text.to_owned(),
            zone: None,
            limit: 10,
            tags: Vec::new(),
            capabilities: Vec::new(),
            after: String::new(),
        };
        let here = answer(&by, &tools, &question, usize::MAX, None);
        let read = here.read.as_ref().unwrap();
        let of = |signed: &SignedRef| sifted(&read.goal, &ToolInstance::read(signed).unwrap().body());
        assert!(!here.records.is_empty());
        assert_eq!(read.sifted, here.records.iter().map(of).collect::<Vec<_>>(), "{text}");
        let sent = answer(&by, &tools, &question, 1 << 20, None);
        let envelope = |candidate: &Candidate| !candidate.envelope.is_empty();
        assert!(
            sent.read.is_none()
                && sent.answer.candidates.iter().all(envelope)
                && sent.records.len() == here.records.len()
        );
        assert!(!here.answer.candidates.iter().any(envelope), "nothing is sent");
    }
}

#[test]
fn a_full_name_is_not_what_another_tool_is_called_at_its_server() {
    let mut zone = Zone::default();
    let called = |name: &str, original: &str, seq: u64| {
        let body = ToolBody { server: "s".into(), original: original.into(), ..ToolBody::default() };
        record(id(&key(1)), seq, Kind::Tool, "z", name, body.encode())
    };
    // The later one goes by the full name of the first, and is found under its hash.
    put(&mut zone, &called("read.s.z", "read", 1));
    put(&mut zone, &called("other.s.z", "read.s.z", 2));
    let tools = zone.shown();
    let named = |text: &str| tools.find_text(text).map(|tool| tool.name().to_owned());
    assert_eq!(named("read.s.z").as_deref(), Some("read.s.z"));
    assert_eq!(named("Other.S.z.").as_deref(), Some("other.s.z"));
    assert_eq!(tools.called("read.s.z").len(), 2);
    // Gone, it leaves its name to nobody.
    put(&mut zone, &Record { body: None, ..called("read.s.z", "read", 3) });
    let tools = zone.shown();
    assert!(tools.find_text("read.s.z").is_none() && tools.called("read.s.z").len() == 1);
}
