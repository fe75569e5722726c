//! Rules that say yes or no, and where keys lead: signed things that are right beside ones that are not, each wrong in one way.

use aop_proto::codec::Wire;
use aop_proto::name::ZoneName;
use aop_proto::record::{Certificate, Envelope, Head, Kind, ManifestBody, NodeId, Origin, Record, ToolBody};
use aop_proto::trust::{Lineage, SigningKey, Verifier, definition_hash, sign_flush, verify_chain};
use serde_json::{Value, json};

use crate::meaning::Meaning;
use crate::samples::{key, server_records};
use crate::support::hex;

const WALL_MS: u64 = 1_790_000_000_000;
/// The order of the group of Ed25519, little endian (RFC 8032 §5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Every input that has a verdict, with its rule.
pub(crate) fn inputs() -> Vec<(&'static str, Value)> {
    [envelopes(), chains(), lineages()].concat()
}

/// What the rule of that name makes of an input.
pub(crate) fn output(rule: &str, input: &Value) -> Value {
    match rule {
        "envelope" => {
            let bytes: Vec<u8> = Meaning::from_json(&input["envelope"]);
            Verifier::default().open(&bytes).is_ok().into()
        }
        "chain" => {
            let zone = zone(&input["zone"]);
            let (zone_key, node) = (Meaning::from_json(&input["zone_key"]), NodeId::from_json(&input["node"]));
            verify_chain(&read::<Certificate>(&input["chain"]), &zone, &zone_key, node).is_ok().into()
        }
        "following" => following(input),
        _ => panic!("no rule {rule}"),
    }
}

/// A key that is pinned, and lists of manifests heard one after the other: whether each was followed to its end, and what is
/// believed then.
fn following(input: &Value) -> Value {
    let zone = zone(&input["zone"]);
    let mut lineage = Lineage::begin(&zone, Meaning::from_json(&input["pinned"]), &[]).expect("a key alone");
    let lists = input["heard"].as_array().expect("lists").iter();
    let followed: Vec<bool> = lists.map(|list| lineage.follow(&zone, &read::<ManifestBody>(list)).is_ok()).collect();
    json!({"followed": followed, "epoch": lineage.epoch(), "key": hex(&lineage.key()), "frozen": lineage.is_frozen()})
}

fn read<T: Wire>(list: &Value) -> Vec<T> {
    let encoded: Vec<Vec<u8>> = Meaning::from_json(list);
    encoded.iter().map(|bytes| T::decode(bytes).expect("the parts decode")).collect()
}

fn zone(name: &Value) -> ZoneName {
    ZoneName::parse(name.as_str().expect("text")).expect("a zone")
}

fn public(seed: u8) -> [u8; 32] {
    key(seed).verifying_key().to_bytes()
}

/// The second record of a flush of three as its writer signed it, and changed in one thing each.
fn envelopes() -> Vec<(&'static str, Value)> {
    let head = Head { seq: 3, floor: 0, count: 1, root: [0x5e; 32] };
    let flush = |records: Vec<Record>| -> Vec<Envelope> {
        let signed = sign_flush(&key(1), records, head);
        signed.iter().map(|signed| Envelope::decode(&signed.envelope()).expect("just made")).collect()
    };
    let good = flush(server_records(3)).remove(1);
    let change = |change: &dyn Fn(&mut Envelope)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let edit = |edit: &dyn Fn(&mut Record)| {
        let mut record = Record::decode(&good.payload).expect("a record");
        edit(&mut record);
        record
    };
    let tool = |def_hash| {
        let definition = br#"{"name":"t"}"#.to_vec();
        let body = ToolBody { definition, ..ToolBody::default() };
        flush(vec![edit(&|record| {
            (record.kind, record.name) = (Kind::Tool.number(), "t.s.research".into());
            (record.def_hash, record.body) = (def_hash, Some(body.encode()));
        })])
        .remove(0)
    };
    let cases = [
        ("as it was signed", good.clone()),
        ("another number in the record", change(&|one| one.payload = edit(&|record| record.seq = 4).encode())),
        (
            "another writer named in the record",
            change(&|one| one.payload = edit(&|record| record.node = NodeId(public(2))).encode()),
        ),
        ("another head", change(&|one| one.head.seq = 4)),
        ("another place in the flush", change(&|one| one.index = 0)),
        ("an index beyond the path", change(&|one| one.index |= 4)),
        ("without its path", change(&|one| one.path.clear())),
        ("a path with a level more", change(&|one| one.path.push([0; 32]))),
        ("signed by another", {
            let signed = sign_flush(&key(2), server_records(3), head);
            Envelope::decode(&signed[1].envelope()).expect("just made")
        }),
        ("a signature whose S is one order more", change(&|one| one.signature = one_order_more(one.signature))),
        (
            "a key and a signature of small order",
            of_small_order(edit(&|record| record.node = NodeId(identity())), head),
        ),
        ("a payload that is no record", flush_of_bytes(b"no record".to_vec(), head)),
        ("a tool with its definition's hash", tool(definition_hash(br#"{"name":"t"}"#).ok())),
        ("a tool with another hash", tool(Some([7; 32]))),
        ("a tool without a hash", tool(None)),
    ];
    let entry =
        |(name, envelope): (&str, Envelope)| ("envelope", json!({"name": name, "envelope": hex(&envelope.encode())}));
    cases.into_iter().map(entry).collect()
}

/// The same signature to a reader that reduces S; a strict one refuses it (RFC 8032 §5.1.7).
fn one_order_more(signature: [u8; 64]) -> [u8; 64] {
    let (mut more, mut carry) = (signature, 0);
    for (byte, order) in more[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    more
}

/// The neutral element: as a key it fits any text, with itself as R and zero as S, in a reader that does not look for it.
fn identity() -> [u8; 32] {
    let mut identity = [0; 32];
    identity[0] = 1;
    identity
}

fn of_small_order(record: Record, head: Head) -> Envelope {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&identity());
    Envelope { payload: record.encode(), index: 0, path: Vec::new(), head, signature }
}

/// Signed as a flush of one, though it is no record.
fn flush_of_bytes(payload: Vec<u8>, head: Head) -> Envelope {
    use ed25519_dalek::Signer;
    let root = crate::rules::root(std::slice::from_ref(&payload));
    let origin = Origin { node: NodeId(public(1)), incarnation: WALL_MS };
    let text = crate::rules::flush_text(root, origin, head);
    Envelope { payload, index: 0, path: Vec::new(), head, signature: key(1).sign(&text).to_bytes() }
}

/// From the key of `research` (seed 9) over node 1 to node 2, and changed in one thing each; chains of 16 and of 17.
fn chains() -> Vec<(&'static str, Value)> {
    let research = ZoneName::parse("research").expect("a zone");
    let issue = |issuer: u8, node: u8| Certificate::issue(&key(issuer), &research, NodeId(public(node)), WALL_MS);
    let good = vec![issue(9, 1), issue(1, 2)];
    let elsewhere =
        Certificate::issue(&key(1), &ZoneName::parse("writing").expect("a zone"), NodeId(public(2)), WALL_MS);
    let long = |count: u8| -> Vec<Certificate> {
        let keys: Vec<u8> = std::iter::once(9).chain(100..100 + count).collect();
        keys.windows(2).map(|pair| issue(pair[0], pair[1])).collect()
    };
    let cases: [(&str, Vec<Certificate>, u8); 12] = [
        ("from the zone's key to the node", good.clone(), 2),
        ("the founder's own", vec![issue(9, 1)], 1),
        ("to another node", good.clone(), 1),
        ("no certificate", Vec::new(), 2),
        ("in the other order", good.iter().rev().cloned().collect(), 2),
        ("without the first", good[1..].to_vec(), 2),
        ("with a gap", vec![issue(9, 1), issue(3, 2)], 2),
        ("from another key than the zone's", vec![issue(8, 1), issue(1, 2)], 2),
        ("one of another zone", vec![issue(9, 1), elsewhere], 2),
        ("a node put in after it was signed", vec![Certificate { node: NodeId(public(2)), ..issue(9, 1) }], 2),
        ("sixteen", long(16), 115),
        ("seventeen", long(17), 116),
    ];
    let entry = |(name, chain, node): (&str, Vec<Certificate>, u8)| {
        let chain: Vec<String> = chain.iter().map(|one| hex(&one.encode())).collect();
        let input = json!({
            "name": name, "zone": "research", "zone_key": hex(&public(9)), "node": hex(&public(node)), "chain": chain
        });
        ("chain", input)
    };
    cases.into_iter().map(entry).collect()
}

/// What a node that pinned the key of seed 6 makes of manifests: 6 → 9 → 8 is the way that is right.
fn lineages() -> Vec<(&'static str, Value)> {
    let research = ZoneName::parse("research").expect("a zone");
    let issue = |epoch: u64, previous: u8, next: u8, issued_ms: u64| {
        ManifestBody::issue(&research, epoch, &key(previous), &key(next), WALL_MS + issued_ms)
    };
    let first = ManifestBody::first(&research, &key(6), WALL_MS);
    let (second, third) = (issue(2, 6, 9, 1), issue(3, 9, 8, 2));
    let by_one = |by: &SigningKey| ManifestBody {
        by_previous: ManifestBody::issue(&research, 2, by, &key(9), WALL_MS + 1).by_previous,
        ..second.clone()
    };
    let all = vec![first.clone(), second.clone(), third.clone()];
    let cases: [(&str, Vec<Vec<ManifestBody>>); 14] = [
        ("nothing heard", vec![Vec::new()]),
        ("two rotations at once", vec![all.clone()]),
        ("one after the other", vec![vec![second.clone()], vec![third.clone()]]),
        ("heard twice", vec![all.clone(), all.clone()]),
        ("an epoch skipped", vec![vec![third.clone()]]),
        ("in the other order", vec![vec![third.clone(), second.clone()]]),
        ("not signed by the key before", vec![vec![first.clone(), by_one(&key(7))]]),
        ("not signed by its own key", vec![vec![ManifestBody { by_key: second.by_previous, ..second.clone() }]]),
        ("older than the one before", vec![vec![second.clone(), issue(3, 9, 8, 0)]]),
        ("a key that comes back", vec![vec![second.clone()], vec![issue(3, 9, 6, 2)]]),
        ("the pinned key is the one of a later epoch", vec![vec![second.clone(), issue(3, 9, 6, 2)]]),
        ("of another zone", vec![vec![ManifestBody { zone: "writing".into(), ..second.clone() }]]),
        ("two successors, and then a third", vec![vec![second.clone()], vec![issue(2, 6, 7, 1)], vec![third.clone()]]),
        (
            "a second successor that the key before did not sign",
            vec![vec![second.clone()], vec![issue(2, 5, 7, 1)], vec![third]],
        ),
    ];
    let entry = |(name, heard): (&str, Vec<Vec<ManifestBody>>)| {
        let heard: Vec<Vec<String>> =
            heard.iter().map(|list| list.iter().map(|one| hex(&one.encode())).collect()).collect();
        ("following", json!({"name": name, "zone": "research", "pinned": hex(&public(6)), "heard": heard}))
    };
    cases.into_iter().map(entry).collect()
}
