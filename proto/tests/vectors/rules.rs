//! Golden vectors that are no encodings: names, texts, hashes and signatures, each an input and what the rule makes of it.

use std::sync::Arc;
use std::time::Duration;

use aop_proto::codec::Wire;
use aop_proto::index::Filter;
use aop_proto::membership::Membership;
use aop_proto::name::{FullName, ZoneName, fit_label, fit_tool_labels, wire_name};
use aop_proto::record::{Certificate, Envelope, Hash, Head, ManifestBody, NodeId, Origin, Record, Signed, SignedRef};
use aop_proto::registry::root::root_of;
use aop_proto::registry::{Evidence, Registry};
use aop_proto::selection::Chance;
use aop_proto::trust::{definition_hash, sign_flush};
use aop_proto::wire::common_version;
use aop_proto::wire::message::{Members, Update};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::meaning::{Meaning, bincode_bytes};
use crate::samples::{bundles, key, server_records};
use crate::support::hex;
use crate::{bundle, taking, verdicts};

/// Every input that has a golden output, with its rule.
pub(crate) fn inputs() -> Vec<(&'static str, Value)> {
    let long = "x".repeat(64);
    let of_253 = ["a"; 127].join(".");
    let texts = |rule, texts: &[&str]| texts.iter().map(|text| (rule, json!(text))).collect::<Vec<_>>();
    let leaves = |numbers: &[u64]| -> Value {
        numbers.iter().map(|number| json!([number, hex(&[u8::try_from(number % 251).expect("small"); 32])])).collect()
    };
    let flush = |count| {
        let records: Vec<Vec<u8>> = server_records(count).iter().map(Wire::encode).collect();
        let head = Head { seq: count, floor: 0, count: 1, root: [0x5e; 32] };
        ("flush", json!({"seed": 1, "records": records.to_json(), "head": head.to_json()}))
    };
    let nested = |depth: usize| format!(r#"{{"inputSchema":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let certified = key(2).verifying_key().to_bytes();
    let pairs = [[[1, 1], [1, 1]], [[1, 3], [2, 5]], [[1, 1], [2, 5]], [[1, 9], [5, 4]]];
    [
        vec![("node id", json!(hex(&[0xa5; 32]))), ("node id", json!(hex(&[0; 32]))), ("node id", json!(hex(&certified)))],
        texts("zone", &[".", "_", "Research", "ml.Research.", "", "a..b", "a b", &long, &long[1..]]),
        texts("name", &["getForecast.Met.weather", "a", "a.b.", "", ".a", "wörter.z", &["a"; 128].join(".")]),
        texts("name", &[&of_253, &format!("{of_253}."), &format!("{of_253}.."), &format!("a{of_253}"), ".", "_", "a.._"]),
        texts("label", &["get_forecast", "get forecast", "wörter", "", &long]),
        texts("label", &[&long[1..], &"ö".repeat(56), &"ö".repeat(57), &format!("{} {}", &long[..55], &long[..7])]),
        vec![
            ("labels", json!(["get", "Get", "list"])),
            ("labels", json!(["a b", "a_b", "A b"])),
            ("client name", json!(["met", "get_forecast"])),
            ("client name", json!(["met", long])),
            ("filter", json!([[]])),
            ("filter", json!([["papers", "~paper", "学术"]])),
            ("filter", json!([["bees"], (0..120).map(|number| format!("term{number}")).collect::<Vec<_>>()])),
        ],
        texts(
            "definition hash",
            &[
                r#"{"name":"a"}"#,
                r#"{ "description": "x\u00e9\n", "name": "a", "extra": 1, "inputSchema": {"b": [1.0, -0.5, 1e21], "a": {}} }"#,
                r#"{"outputSchema":null,"title":"t","annotations":{"readOnlyHint":true}}"#,
                "[]",
                r#"{"inputSchema":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001]}"#,
                r#"{"inputSchema":[1e-6,1e-7,-1.5e-6,1e16,1e20,1e21,123456789012345680000,-0,-0.0,1e-400]}"#,
                r#"{"inputSchema":[9007199254740992,9007199254740993,18446744073709551615,-9223372036854775808]}"#,
                r#"{"inputSchema":[5e-324,1.7976931348623157e308,122.416294033786585,1424953923781206.25,5.6843418860808015e-14]}"#,
                r#"{"inputSchema":1e400}"#,
                r#"{"inputSchema":{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}}"#,
                r#"{"description":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/\b\t\u007f"}"#,
                r#"{"description":"\ud83d"}"#,
                r#"{"name":"a","name":"b","inputSchema":{"x":1,"x":2}}"#,
                &nested(126),
                &nested(127),
            ],
        ),
        texts(
            "definition hash",
            &[
                " \t\r\n{ } \n",
                "\u{feff}{}",
                "{} {}",
                r#"{"description":"a"#,
                r#"{"title":"a",}"#,
                r#"{"title":'a'}"#,
                "{\"title\":\"a\nb\"}",
                r#"{"title":"\x41"}"#,
                r#"{"inputSchema":01}"#,
                r#"{"inputSchema":+1}"#,
                r#"{"inputSchema":.5}"#,
                r#"{"inputSchema":NaN}"#,
                r#"{"extra":1e400}"#,
                r#"{"Name":"a"}"#,
            ],
        ),
        [&[][..], &[1], &[15], &[16], &[1, 2, 3], &[1, 16, 17, 255, 256], &[3, 4096, 1 << 40], &[u64::MAX]]
            .iter()
            .map(|numbers| ("log root", leaves(numbers)))
            .collect(),
        pairs.iter().map(|pair| ("common version", json!(pair))).collect(),
        [1, 2, 3, 5].into_iter().map(flush).collect(),
        vec![(
            "certificate",
            json!({"issuer_seed": 9, "zone": "research", "node": hex(&certified), "issued_ms": 1_790_000_000_000_u64}),
        )],
        [(1, 6, 6), (2, 6, 9)].into_iter().map(manifest_input).collect(),
        [(0, 0), (0, 1), (0, 2), (3, 0), (3, 1), (1, 3), (u32::MAX, 2)].into_iter().map(member).collect(),
        digests(),
        verdicts::inputs(),
        taking::inputs(),
        bundles(),
    ]
    .concat()
}

/// What the rule of that name makes of an input.
pub(crate) fn output(rule: &str, input: &Value) -> Value {
    let text = || input.as_str().expect("text");
    match rule {
        "node id" => {
            let id = NodeId::from_json(input);
            assert_eq!(NodeId::parse(&id.to_string()), Some(id));
            id.to_string().into()
        }
        "zone" => ZoneName::parse(text()).ok().map(|zone| zone.to_string()).into(),
        "name" => FullName::parse(text()).ok().map(|name| name.key().to_owned()).into(),
        "label" => fit_label(text()).into(),
        "labels" => {
            let originals: Vec<String> = Meaning::from_json(input);
            fit_tool_labels(originals.iter().map(String::as_str)).into()
        }
        "client name" => {
            let (server, label): (String, String) = Meaning::from_json(input);
            wire_name(&server, &label).into()
        }
        "definition hash" => definition_hash(text().as_bytes()).ok().map(|hash| hex(&hash)).into(),
        "filter" => {
            // Each list of terms as a filter of its own, merged in that order.
            let lists: Vec<Vec<String>> = Meaning::from_json(input);
            let filters = lists.iter().map(|terms| {
                let mut filter = Filter::with_room(terms.len());
                terms.iter().for_each(|term| filter.insert(term));
                filter
            });
            let mut merged = Filter::default();
            filters.for_each(|filter| merged.merge(&filter));
            json!({"bytes": hex(merged.bytes()), "mark": merged.mark()})
        }
        "log root" => {
            let leaves: Vec<(u64, Hash)> = Meaning::from_json(input);
            hex(&root_of(leaves.into_iter())).into()
        }
        "common version" => {
            let (ours, theirs) = Meaning::from_json(input);
            common_version(ours, theirs).into()
        }
        "member token" => member_token(input).into(),
        "digest" => digest(input),
        "flush" => flush(input),
        "certificate" => certificate(input),
        "manifest" => manifest(input),
        "taking" => taking::output(input),
        "bundle" => bundle::output(input),
        _ => verdicts::output(rule, input),
    }
}

fn member((counter, state): (u32, u8)) -> (&'static str, Value) {
    ("member token", json!({"node": hex(&[7; 32]), "counter": counter, "state": state}))
}

/// What one member adds to the hash of somebody who believes that of it, and of himself nothing special.
fn member_token(input: &Value) -> u64 {
    let (node, state) = (NodeId::from_json(&input["node"]), u8::from_json(&input["state"]));
    let (mut me, mut chance) = (Membership::new(NodeId([0; 32]), Duration::ZERO), Chance::new([0; 32]));
    me.on_member(node);
    let update = Update { node, counter: u32::from_json(&input["counter"]), state, by: node };
    me.on_members(node, &Members { updates: vec![update], reply: false }, Duration::ZERO, &mut chance);
    // What is heard as down is suspected first.
    for tenth in 1..=50 {
        if state == 2 {
            me.on_time(Duration::from_millis(100 * tenth), &mut chance);
        }
    }
    assert_eq!(me.liveness(node).map(|liveness| liveness.number()), Some(state));
    me.hash()
}

/// Records signed together: the text that is signed, and each record's envelope.
fn flush(input: &Value) -> Value {
    let key = key(u8::from_json(&input["seed"]));
    let payloads: Vec<Vec<u8>> = Meaning::from_json(&input["records"]);
    let records: Vec<Record> = payloads.iter().map(|payload| Record::decode(payload).expect("a record")).collect();
    let (origin, head) = (records[0].origin(), Head::from_json(&input["head"]));
    let signed = sign_flush(&key, records, head);
    let envelopes: Vec<Envelope> =
        signed.iter().map(|signed| Envelope::decode(&signed.envelope()).expect("just made")).collect();
    let paths: Vec<(u32, Vec<Hash>)> = envelopes.iter().map(|one| (one.index, one.path.clone())).collect();
    let root = root(&payloads);
    let text = flush_text(root, origin, head);
    check(&key.verifying_key(), &text, &envelopes[0].signature);
    json!({"root": hex(&root), "signed": hex(&text), "signature": envelopes[0].signature.to_json(), "paths": paths.to_json()})
}

/// What the signature of a flush covers.
pub(crate) fn flush_text(root: Hash, origin: Origin, head: Head) -> Vec<u8> {
    pre_authentication("application/vnd.aop.flush.v1", &bincode_bytes(&(root, (origin, head))))
}

/// What one writer's log holds: servers of these names, under a head that is right.
fn log(seed: u8, incarnation: u64, floor: u64, numbers: &[u64]) -> Vec<String> {
    let key = key(seed);
    let node = NodeId(key.verifying_key().to_bytes());
    let record = |seq: &u64| {
        let [record] = server_records(1).try_into().expect("one");
        Record { node, incarnation, seq: *seq, name: format!("s{seq}"), ..record }
    };
    let records: Vec<Record> = numbers.iter().map(record).collect();
    let root = root_of(records.iter().map(|record| (record.seq, hash_of(&[&record.encode()]))));
    let head = Head { seq: *numbers.last().expect("a log is never empty"), floor, count: numbers.len() as u64, root };
    sign_flush(&key, records, head).iter().map(|signed| hex(&signed.envelope())).collect()
}

/// Registries: of nothing; of a log; of logs in two buckets, of which the store lost a record of one, with a quarantined one and with
/// marks of a node that is gone and of one that came back.
fn digests() -> Vec<(&'static str, Value)> {
    let (one, two, damaged) = (log(1, 7, 0, &[1]), log(2, 1_790_000_000, 250, &[251, 300]), log(3, 9, 0, &[1, 2, 3]));
    let forked = [&log(4, 5, 0, &[1])[0], &log(4, 5, 0, &[1, 2])[0]].map(String::clone);
    let node = |seed| hex(&key(seed).verifying_key().to_bytes());
    let held = json!({
        "logs": [one, two, [&damaged[0], &damaged[2]]],
        "forks": [forked],
        "reaped": [[node(5), 1_790_000_000], [node(1), 6]]
    });
    vec![
        ("digest", json!({"logs": [], "forks": [], "reaped": []})),
        ("digest", json!({"logs": [one], "forks": [], "reaped": []})),
        ("digest", held),
    ]
}

/// What a registry that holds these hashes to: the logs by their envelopes, the quarantines by their evidence, the marks.
fn digest(input: &Value) -> Value {
    let read = |bytes: &Value| -> SignedRef {
        let bytes: Vec<u8> = Meaning::from_json(bytes);
        Arc::new(Signed::read(&bytes).expect("an envelope"))
    };
    let lists = |of: &str| input[of].as_array().expect("a list").clone();
    let mut registry = Registry::new(ZoneName::parse("research").expect("a zone"));
    for log in lists("logs") {
        registry.restore(&log.as_array().expect("envelopes").iter().map(read).collect::<Vec<_>>());
    }
    for fork in lists("forks") {
        registry.quarantine(Evidence::of(&read(&fork[0]), &read(&fork[1])).expect("they differ"));
    }
    for mark in lists("reaped") {
        let (node, incarnation) = Meaning::from_json(&mark);
        registry.reap(node, incarnation);
    }
    json!({"digest": hex(&registry.digest()), "buckets": registry.buckets().to_vec()})
}

fn certificate(input: &Value) -> Value {
    let issuer = key(u8::from_json(&input["issuer_seed"]));
    let (zone, node) = (String::from_json(&input["zone"]), NodeId::from_json(&input["node"]));
    let parsed = ZoneName::parse(&zone).expect("a zone");
    let certificate = Certificate::issue(&issuer, &parsed, node, u64::from_json(&input["issued_ms"]));
    let body = ((zone, node), (certificate.issuer, certificate.issued_ms));
    let text = pre_authentication("application/vnd.aop.certificate.v1", &bincode_bytes(&body));
    check(&issuer.verifying_key(), &text, &certificate.signature);
    json!({"signed": hex(&text), "certificate": hex(&certificate.encode())})
}

fn manifest_input((epoch, previous_seed, key_seed): (u64, u8, u8)) -> (&'static str, Value) {
    let (zone, issued_ms) = ("research", 1_790_000_000_000_u64);
    let input = json!({
        "zone": zone, "epoch": epoch, "previous_seed": previous_seed, "key_seed": key_seed, "issued_ms": issued_ms
    });
    ("manifest", input)
}

/// A zone's next key: the text that both keys sign, and the manifest.
fn manifest(input: &Value) -> Value {
    let (previous, next) = (key(u8::from_json(&input["previous_seed"])), key(u8::from_json(&input["key_seed"])));
    let (zone, epoch) = (String::from_json(&input["zone"]), u64::from_json(&input["epoch"]));
    let parsed = ZoneName::parse(&zone).expect("a zone");
    let issued_ms = u64::from_json(&input["issued_ms"]);
    let manifest = ManifestBody::issue(&parsed, epoch, &previous, &next, issued_ms);
    let body = ((zone, epoch), ((previous.verifying_key().to_bytes(), manifest.key), issued_ms));
    let text = pre_authentication("application/vnd.aop.manifest.v1", &bincode_bytes(&body));
    check(&previous.verifying_key(), &text, &manifest.by_previous);
    check(&next.verifying_key(), &text, &manifest.by_key);
    json!({"signed": hex(&text), "manifest": hex(&manifest.encode())})
}

/// The root over the records of one flush, in pairs, an odd last node moving up as it is.
pub(crate) fn root(payloads: &[Vec<u8>]) -> Hash {
    let leaf = |payload: &Vec<u8>| hash(0, &pre_authentication("application/vnd.aop.record.v1", payload));
    let mut level: Vec<Hash> = payloads.iter().map(leaf).collect();
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| if pair.len() == 1 { pair[0] } else { hash(1, &pair.concat()) }).collect();
    }
    level[0]
}

fn hash(domain: u8, bytes: &[u8]) -> Hash {
    hash_of(&[&[domain], bytes])
}

fn hash_of(parts: &[&[u8]]) -> Hash {
    parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)).finalize().into()
}

/// DSSE v1.
fn pre_authentication(of: &str, body: &[u8]) -> Vec<u8> {
    [format!("DSSEv1 {} {of} {} ", of.len(), body.len()).as_bytes(), body].concat()
}

fn check(key: &VerifyingKey, text: &[u8], signature: &[u8; 64]) {
    key.verify_strict(text, &Signature::from_bytes(signature)).expect("the signature covers that text");
}
