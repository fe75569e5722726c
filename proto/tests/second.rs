//! A second implementation of the wire, for tests: PROTOCOL.md's tables and its rules, and nothing of ours but the golden vectors.
//!
//! It reads and writes by the tables of §6 and §8, in their notation. What stands here and not there is missing in the text. Not here: definition hashes (RFC 8785 is somebody else's text) and what nodes *do*.

#![expect(clippy::unwrap_used, reason = "vectors are what they say, or the test has failed")]

use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

mod support;

use support::{all, entries, hex, unhex};

/// Kinds of frames (§8).
const KINDS: &str = "1 Hello, 2 Admit, 3 Refuse, 4 Leave, 5 Fork, 6 Join, 7 Revoked, 8 Referral, 9 Delegate, 10 Serials, 11 Above, 16 Digest, 17 Buckets, 18 Vector, \
    19 Ranges, 20 Announce, 21 Busy, 22 ClockAhead, 24 Ping, 25 Ack, 26 PingRequest, 27 Members, 28 Bundle, 29 BundleEnd, 32 Query, 33 Answer, 34 AskExport, 35 Export, 36 Keeps, 48 Call, \
    49 Progress, 50 CallResult";

/// Structs and their fields in order (§6, §7, §8); an enum is its numbers and their names.
const TYPES: &str = "
Hello        zone: String, address: String, version: String, zone_key: Option<Key>, chain: Vec<Certificate>, manifests: Vec<ManifestBody>, founding: bool, held: Option<(u64, u64)>, versions: (u8, u8)
Admit        zone_key: Key, chain: Vec<Certificate>, manifests: Vec<ManifestBody>
Refuse       reason: String
Leave        seq: u64
Fork         chain: Vec<Certificate>, one: Vec<u8>, other: Vec<u8>
Join         token: String
Revoked      statements: Vec<Revocation>
Referral     zone: String, zone_key: Option<Key>, proofs: Vec<ZoneProof>, anchors: Vec<(String, Key)>, manifests: Vec<ManifestBody>, delegation: Option<ReferredChild>
ReferredChild zone_key: Key, epoch: u64, manifests: Vec<ManifestBody>, gateways: Vec<Gateway>
Delegate     zone: String, zone_key: Key, chain: Vec<Certificate>, manifests: Vec<ManifestBody>, gateways: Vec<Gateway>, tools: u64
Serials      zones: Vec<Serial>
Above        anchors: Vec<(String, Key)>, manifests: Vec<ManifestBody>, proofs: Vec<ZoneProof>
Serial       zone: String, node: NodeId, stamp: u64, tag: u64
Digest       hash: [u8; 16], members: u64
Buckets      hashes: Vec<u64>
Vector       buckets: u64, entries: Vec<(Origin, u64)>, reply: bool
Ranges       ranges: Vec<Range>, chains: Vec<Vec<Certificate>>, more: bool, hop: u8
Range        origin: Origin, from_exclusive: u64, to_inclusive: u64, cut: bool, records: Vec<Vec<u8>>
Announce     dots: Vec<Announced>, hop: u8
Announced    origin: Origin, through: u64
Busy         retry_ms: u32
ClockAhead   ahead_ms: u64
Bundle       zone: String, zone_key: Key, manifests: Vec<ManifestBody>, node: NodeId, issued_ms: u64, delta: bool
BundleEnd    frames: u64, hash: Hash
Ping         number: u32, updates: Vec<Update>
Ack          number: u32, updates: Vec<Update>
PingRequest  number: u32, target: NodeId, updates: Vec<Update>
Members      updates: Vec<Update>, reply: bool
Update       node: NodeId, counter: u32, state: u8, by: NodeId
Query        id: u64, question: Question, deadline_ms: u32, hops: u8, budget: u16, visited: Vec<String>, outside: bool, cached: bool
Question     form: Form, text: String, zone: Option<String>, limit: u32, tags: Vec<String>, capabilities: Vec<String>, after: String
Form         0 Exact, 1 Words, 2 List
Answer       id: u64, zones: Vec<ZoneAnswer>, silent: Vec<Silent>, skipped: u32, proofs: Vec<ZoneProof>
AskExport    id: u64, known: Option<u64>
Export       id: u64, zones: Vec<Exported>, whole: bool, filter: Option<Vec<u8>>
Exported     zone: String, node: NodeId, tag: u64, age_ms: u64, documents: u64, total_length: u64
Keeps        answers: Vec<KeptAnswer>
KeptAnswer   question: u32, seconds: u16
ZoneAnswer   zone: String, node: NodeId, tag: u64, behind: bool, age_ms: u64, ttl_ms: u64, took_us: u64, documents: u64, total_length: u64, frequencies: Vec<u64>, matches: u64, candidates: Vec<Candidate>, near: Vec<String>
Candidate    envelope: Vec<u8>, chain: Vec<Certificate>, instances: Vec<Instance>, clash: bool
Instance     node: NodeId, address: String, health: Health, error: String, since_ms: u64
Health       0 Ok, 1 Unknown, 2 Degraded, 3 Down
Silent       zone: String, reason: String
Call         name: String, home: NodeId, zone: String, def_hash: Option<Hash>, arguments: Vec<u8>, extra: Vec<(String, Vec<u8>)>, deadline_ms: u32, hops: u8, progress: bool, key: Option<Hash>, priority: u8, afar: bool, author: Option<Author>
Author       zone: String, node: NodeId, chain: Vec<Certificate>, proofs: Vec<ZoneProof>, issued_ms: u64, number: u64, signature: [u8; 64]
Progress     params: Vec<u8>
CallResult   part: Vec<u8>, failed: bool, not_sent: bool, last: bool, served_by: NodeId, hops: u32
Origin       node: NodeId, incarnation: u64
Record       zone: String, kind: u8, name: String, node: NodeId, incarnation: u64, seq: u64, epoch: u64, hlc: u64, visibility: u8, issued_ms: u64, expires_ms: u64, def_hash: Option<Hash>, body: Option<Vec<u8>>
Head         seq: u64, floor: u64, count: u64, root: Hash
Envelope     payload: Vec<u8>, index: u32, path: Vec<Hash>, head: Head, signature: [u8; 64]
ToolBody     server: String, original: String, definition: Vec<u8>, tags: Vec<String>, capabilities: Vec<String>, examples: Vec<String>, agent: Option<AgentBody>, replica: bool, served: bool
AgentBody    model: String, role: String, parameters: Vec<u8>
NodeBody     address: String, version: String, chain: Vec<Certificate>, parents: Vec<String>
DelegationBody zone_key: Key, epoch: u64, gateways: Vec<Gateway>, tools: u64, since_ms: u64
Gateway      node: NodeId, address: String
ServerBody   up: bool, error: String, since_ms: u64
ReapBody     node: NodeId, incarnation: u64
Revocation   zone: String, node: Option<NodeId>, child: Option<(String, u64)>, issued_ms: u64, reason: String, chain: Vec<Certificate>, signature: [u8; 64]
GrantBody    role: u8
ManifestBody zone: String, epoch: u64, key: Key, issued_ms: u64, by_previous: [u8; 64], by_key: [u8; 64]
Certificate  zone: String, node: NodeId, issuer: Key, issued_ms: u64, signature: [u8; 64]
ZoneProof    zone: String, delegation: Vec<u8>, chain: Vec<Certificate>, manifests: Vec<ManifestBody>
";

/// What is said of a type: its fields, or its numbers.
fn members(of: &str) -> impl Iterator<Item = &'static str> {
    let line = TYPES.lines().find(|line| line.split_whitespace().next() == Some(of));
    let line = line.unwrap_or_else(|| panic!("no type {of}")).trim_start_matches(of);
    split(line.trim())
}

/// Parts of a list, at commas that stand in no bracket.
fn split(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    list.split(move |c| {
        depth += i32::from("<([".contains(c)) - i32::from(">)]".contains(c));
        c == ',' && depth == 0
    })
    .map(str::trim)
}

/// A type as its notation says.
enum Type<'a> {
    Number(u32),
    Bool,
    Text,
    Fixed(usize),
    Bytes,
    Option(&'a str),
    List(&'a str),
    Tuple(&'a str),
    Named(&'a str),
}

fn parse(of: &str) -> Type<'_> {
    let within = |open: &str, close| of.strip_prefix(open)?.strip_suffix(close);
    if let Some(bits) = of.strip_prefix('u').and_then(|bits| bits.parse().ok()) {
        return Type::Number(bits);
    }
    match of {
        "bool" => Type::Bool,
        "String" => Type::Text,
        "Key" | "NodeId" | "Hash" => Type::Fixed(32),
        "Vec<u8>" => Type::Bytes,
        _ => match (within("Option<", '>'), within("Vec<", '>'), within("(", ')'), within("[u8; ", ']')) {
            (Some(inner), ..) => Type::Option(inner),
            (_, Some(inner), ..) => Type::List(inner),
            (_, _, Some(inner), _) => Type::Tuple(inner),
            (.., Some(count)) => Type::Fixed(count.parse().expect("a count")),
            _ => Type::Named(of),
        },
    }
}

/// Bytes that are still to be read; panics where they are not what they should be.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let (read, rest) = self.0.split_at(count);
        self.0 = rest;
        read.to_vec()
    }

    /// One byte up to 250; else a byte that says how many follow, least first. The shortest form, no other.
    fn number(&mut self, bits: u32) -> u64 {
        let first = self.bytes(1)[0];
        if bits == 8 || first <= 250 {
            return first.into();
        }
        let width = match first {
            251 => 2,
            252 => 4,
            253 => 8,
            _ => panic!("{first} begins no number"),
        };
        let value = self.bytes(width).iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let least = [251, 1 << 16, 1 << 32][width.ilog2() as usize - 1];
        assert!(value >= least && (bits == 64 || value >> bits == 0), "{value} in {width} bytes");
        value
    }

    fn value(&mut self, of: &str) -> Value {
        match parse(of) {
            Type::Number(bits) => self.number(bits).into(),
            Type::Bool => (self.tag() == 1).into(),
            Type::Fixed(count) => hex(&self.bytes(count)).into(),
            Type::Text => String::from_utf8(self.counted()).expect("UTF-8").into(),
            Type::Bytes => hex(&self.counted()).into(),
            Type::Option(inner) if self.tag() == 1 => self.value(inner),
            Type::Option(_) => Value::Null,
            Type::List(inner) => (0..self.number(64)).map(|_| self.value(inner)).collect(),
            Type::Tuple(inner) => split(inner).map(|part| self.value(part)).collect(),
            Type::Named(name) => self.named(name),
        }
    }

    fn named(&mut self, name: &str) -> Value {
        let mut object = Map::new();
        for member in members(name) {
            let Some((field, of)) = member.split_once(": ") else {
                let number = self.number(32).to_string();
                return members(name).find_map(|choice| choice.strip_prefix(&*(number.clone() + " "))).into();
            };
            object.insert(field.to_owned(), self.value(of));
        }
        object.into()
    }

    fn counted(&mut self) -> Vec<u8> {
        let count = self.number(64);
        self.bytes(count as usize)
    }

    fn tag(&mut self) -> u8 {
        let tag = self.bytes(1)[0];
        assert!(tag < 2, "a bool or an option is 0 or 1");
        tag
    }
}

fn read(of: &str, bytes: &[u8]) -> Value {
    let mut reader = Reader(bytes);
    let value = reader.value(of);
    assert!(reader.0.is_empty(), "all bytes are read");
    value
}

fn put_number(out: &mut Vec<u8>, bits: u32, value: u64) {
    let (first, width) = match value {
        0..=250 => return out.push(value as u8),
        _ if bits == 8 => return out.push(value as u8),
        251..=0xffff => (251, 2),
        0x1_0000..=0xffff_ffff => (252, 4),
        _ => (253, 8),
    };
    out.push(first);
    out.extend(&value.to_le_bytes()[..width]);
}

fn put(out: &mut Vec<u8>, of: &str, value: &Value) {
    let text = || value.as_str().expect("text");
    match parse(of) {
        Type::Number(bits) => put_number(out, bits, value.as_u64().expect("a number")),
        Type::Bool => out.push(u8::from(value == true)),
        Type::Fixed(_) => out.extend(unhex(text())),
        Type::Text => put_counted(out, text().as_bytes()),
        Type::Bytes => put_counted(out, &unhex(text())),
        Type::Option(_) if value.is_null() => out.push(0),
        Type::Option(inner) => {
            out.push(1);
            put(out, inner, value);
        }
        Type::List(inner) => {
            let items = value.as_array().expect("a list");
            put_number(out, 64, items.len() as u64);
            items.iter().for_each(|item| put(out, inner, item));
        }
        Type::Tuple(inner) => split(inner).enumerate().for_each(|(at, part)| put(out, part, &value[at])),
        Type::Named(name) => {
            for member in members(name) {
                match member.split_once(": ") {
                    Some((field, of)) => put(out, of, &value[field]),
                    None if member.ends_with(&format!(" {}", value.as_str().unwrap_or("/"))) => {
                        put_number(out, 32, member.split(' ').next().expect("a number").parse().expect("a number"));
                    }
                    None => {}
                }
            }
        }
    }
}

fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, 64, bytes.len() as u64);
    out.extend(bytes);
}

fn write(of: &str, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, of, value);
    out
}

#[test]
fn every_vector_is_read_and_written_by_the_tables() {
    for vector in all() {
        let mut bytes = &vector.bytes[..];
        if let Some(kind) = vector.kind {
            let (header, body) = bytes.split_at(8);
            assert_eq!(header[..4], [b'A', b'O', 1, kind]);
            assert_eq!(u32::from_le_bytes(header[4..].try_into().unwrap()) as usize, body.len());
            let named = split(KINDS).find_map(|row| row.strip_prefix(&*format!("{kind} ")));
            assert_eq!(named, Some(&*vector.of));
            bytes = body;
        }
        assert_eq!(read(&vector.of, bytes), vector.meaning, "{}", vector.name);
        assert_eq!(hex(&write(&vector.of, &vector.meaning)), hex(bytes), "{}", vector.name);
    }
}

/// DSSE's text (§7).
fn pae(of: &str, body: &[u8]) -> Vec<u8> {
    [format!("DSSEv1 {} {of} {} ", of.len(), body.len()).as_bytes(), body].concat()
}

fn sha(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)).finalize().into()
}

/// Every envelope of every vector is signed by the node its record names (§7.1).
#[test]
fn envelopes_lead_from_their_record_to_the_signature() {
    let mut seen = 0;
    for vector in all().into_iter().filter(|vector| vector.of == "Envelope") {
        let envelope = &vector.meaning;
        let bytes = |key: &str| unhex(envelope[key].as_str().unwrap());
        let record = read("Record", &bytes("payload"));
        let mut hash = sha(&[&[0], &pae("application/vnd.aop.record.v1", &bytes("payload"))]);
        let index = envelope["index"].as_u64().unwrap();
        for (level, neighbour) in envelope["path"].as_array().unwrap().iter().enumerate() {
            let neighbour = unhex(neighbour.as_str().unwrap());
            hash = match index >> level & 1 {
                0 => sha(&[&[1], &hash, &neighbour]),
                _ => sha(&[&[1], &neighbour, &hash]),
            };
        }
        let mut statement = hash.to_vec();
        put(&mut statement, "NodeId", &record["node"]);
        put(&mut statement, "u64", &record["incarnation"]);
        put(&mut statement, "Head", &envelope["head"]);
        verify(&record["node"], &pae("application/vnd.aop.flush.v1", &statement), &bytes("signature"));
        seen += 1;
    }
    assert!(seen > 3);
}

#[test]
fn certificates_are_signed_by_their_issuer() {
    for vector in all().into_iter().filter(|vector| vector.of == "Certificate") {
        let of = "(String, NodeId, Key, u64)";
        let signed = json!(["zone", "node", "issuer", "issued_ms"].map(|field| vector.meaning[field].clone()));
        let text = pae("application/vnd.aop.certificate.v1", &write(of, &signed));
        verify(&vector.meaning["issuer"], &text, &unhex(vector.meaning["signature"].as_str().unwrap()));
    }
}

/// A call is its author's in everything but what changes on its way (§14).
#[test]
fn a_call_is_signed_by_its_author() {
    let mut seen = 0;
    for vector in all().into_iter().filter(|vector| vector.of == "Call" && !vector.meaning["author"].is_null()) {
        let (call, author) = (&vector.meaning, &vector.meaning["author"]);
        let arguments = json!(hex(&sha(&[&unhex(call["arguments"].as_str().unwrap())])));
        let extra = json!(hex(&sha(&[&write("Vec<(String, Vec<u8>)>", &call["extra"])])));
        let of = |value: &Value, names: &[&str]| names.iter().map(|name| value[*name].clone()).collect::<Vec<_>>();
        let statement = [
            write("(String, NodeId, String, Option<Hash>)", &json!(of(call, &["name", "home", "zone", "def_hash"]))),
            write("(Hash, Hash, Option<Hash>, u8)", &json!([arguments, extra, call["key"], call["priority"]])),
            write("(String, NodeId, u64, u64)", &json!(of(author, &["zone", "node", "issued_ms", "number"]))),
        ];
        let text = pae("application/vnd.aop.call.v1", &statement.concat());
        verify(&author["node"], &text, &unhex(author["signature"].as_str().unwrap()));
        seen += 1;
    }
    assert!(seen > 0);
}

/// Whoever has the key before can follow, and the next key wants it too: both signed one text.
#[test]
fn manifests_are_signed_by_the_key_before_and_by_their_own() {
    for entry in entries("rules").into_iter().filter(|entry| entry["rule"] == "manifest") {
        let seed = [entry["input"]["previous_seed"].as_u64().unwrap() as u8; 32];
        let previous = json!(hex(&SigningKey::from_bytes(&seed).verifying_key().to_bytes()));
        let bytes = unhex(entry["output"]["manifest"].as_str().unwrap());
        let manifest = read("ManifestBody", &bytes);
        let field = |name: &str| manifest[name].clone();
        let of = "(String, u64, Key, Key, u64)";
        let signed = json!([field("zone"), field("epoch"), previous.clone(), field("key"), field("issued_ms")]);
        let text = pae("application/vnd.aop.manifest.v1", &write(of, &signed));
        assert_eq!(hex(&text), entry["output"]["signed"]);
        verify(&previous, &text, &unhex(manifest["by_previous"].as_str().unwrap()));
        verify(&manifest["key"], &text, &unhex(manifest["by_key"].as_str().unwrap()));
    }
}

fn verify(key: &Value, text: &[u8], signature: &[u8]) {
    let key: [u8; 32] = unhex(key.as_str().unwrap()).try_into().unwrap();
    let key = VerifyingKey::from_bytes(&key).unwrap();
    key.verify_strict(text, &Signature::from_slice(signature).unwrap()).unwrap();
}

/// Ids, log roots, flushes, versions, members, digests.
#[test]
fn rules_without_a_table_give_what_their_vectors_say() {
    for entry in entries("rules") {
        let (input, output) = (&entry["input"], &entry["output"]);
        match entry["rule"].as_str().unwrap() {
            "node id" => assert_eq!(base32(&unhex(input.as_str().unwrap())), *output),
            "log root" => assert_eq!(hex(&log_root(input)), *output),
            "flush" => {
                let key = SigningKey::from_bytes(&[input["seed"].as_u64().unwrap() as u8; 32]);
                let (text, signature) = (unhex(output["signed"].as_str().unwrap()), &output["signature"]);
                verify(&hex(&key.verifying_key().to_bytes()).into(), &text, &unhex(signature.as_str().unwrap()));
                assert!(hex(&text).contains(output["root"].as_str().unwrap()));
            }
            "member token" => assert_eq!(*output, member_token(input)),
            "digest" => assert_eq!(*output, digest(input)),
            "bundle" => assert_eq!(bundle_of(&unhex(input.as_str().unwrap())).unwrap_or(Value::Null), *output),
            "common version" => {
                let number = |at: usize, end: usize| input[at][end].as_u64().unwrap();
                let (low, high) = (number(0, 0).max(number(1, 0)), number(0, 1).min(number(1, 1)));
                assert_eq!(json!((low <= high).then_some(high)), *output);
            }
            _ => {}
        }
    }
}

/// Frame by frame to the end, whose hash is over all before it (§11.6).
fn bundle_of(bytes: &[u8]) -> Option<Value> {
    let (mut at, mut frames, mut found) = (0, Vec::new(), json!({}));
    while at < bytes.len() {
        let header = bytes.get(at..at + 8).filter(|header| header[..3] == [b'A', b'O', 1])?;
        let length = u32::from_le_bytes(header[4..].try_into().unwrap()) as usize;
        let body = bytes.get(at + 8..at + 8 + length)?;
        match (frames.len(), header[3]) {
            (0, 28) => found["zone"] = read("Bundle", body)["zone"].clone(),
            (1, 18) => found["vector"] = read("Vector", body)["entries"].clone(),
            (2.., 29) => {
                let end = read("BundleEnd", body);
                let fits = (end["frames"] == frames.len() && end["hash"] == hex(&sha(&[&bytes[..at]])))
                    .then_some(at + 8 + length == bytes.len())?;
                found["frames"] = (frames.len() + 1).into();
                return fits.then_some(found);
            }
            (2.., 5 | 7 | 19 | 64..) => {}
            _ => return None,
        }
        frames.push(header[3]);
        at += 8 + length;
    }
    None
}

/// Nothing of a member that everybody believes of it anyway; a suspicion is not told apart from alive.
fn member_token(input: &Value) -> u64 {
    let (counter, state) = (input["counter"].as_u64().unwrap() as u32, input["state"].as_u64().unwrap() as u8);
    let state = if state == 1 { 0 } else { state };
    let hash = sha(&[&unhex(input["node"].as_str().unwrap()), &counter.to_le_bytes(), &[state]]);
    if (counter, state) == (0, 0) { 0 } else { u64::from_le_bytes(hash[..8].try_into().unwrap()) }
}

/// Sixteen sums over all that is held, hashed; and sixty-four of the first of them (§10.10).
fn digest(input: &Value) -> Value {
    let (mut sums, mut buckets) = ([0_u64; 16], [0_u64; 64]);
    let mut term = |what: u8, node: &Value, incarnation: &Value, head: &Value| {
        let node = unhex(node.as_str().unwrap());
        let mut text = [&[what], &node[..], &incarnation.as_u64().unwrap().to_le_bytes()].concat();
        for number in ["seq", "floor", "count"] {
            text.extend(head[number].as_u64().unwrap().to_le_bytes());
        }
        text.extend(unhex(head["root"].as_str().unwrap()));
        let hashes: Vec<u8> = (0..4).flat_map(|part| sha(&[&text, &[part]])).collect();
        for (at, eight) in hashes.chunks(8).enumerate() {
            sums[at] = sums[at].wrapping_add(u64::from_le_bytes(eight.try_into().unwrap()));
        }
        let bucket = &mut buckets[usize::from(node[0] >> 2)];
        *bucket = bucket.wrapping_add(u64::from_le_bytes(hashes[..8].try_into().unwrap()));
    };
    let list = |of: &str| input[of].as_array().unwrap().clone();
    let opened = |bytes: &Value| {
        let envelope = read("Envelope", &unhex(bytes.as_str().unwrap()));
        let payload = unhex(envelope["payload"].as_str().unwrap());
        (read("Record", &payload), envelope["head"].clone(), hex(&sha(&[&payload])))
    };
    for log in list("logs") {
        let held: Vec<_> = log.as_array().unwrap().iter().map(opened).collect();
        let (last, head, _) = held.last().unwrap();
        let leaves = held.iter().map(|(record, _, hash)| json!([record["seq"], hash])).collect();
        let is =
            json!({"seq": last["seq"], "floor": head["floor"], "count": held.len(), "root": hex(&log_root(&leaves))});
        // The head of its last record, unless that is not what is held: then what is.
        term(0, &last["node"], &last["incarnation"], &is);
    }
    let nothing = json!({"seq": 0, "floor": 0, "count": 0, "root": hex(&[0; 32])});
    for fork in list("forks") {
        let (record, ..) = opened(&fork[0]);
        term(1, &record["node"], &record["incarnation"], &nothing);
    }
    for mark in list("reaped") {
        term(2, &mark[0], &mark[1], &nothing);
    }
    let sums: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
    json!({"digest": hex(&sha(&[&sums])[..16]), "buckets": buckets.to_vec()})
}

fn base32(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let letter = |five: &[u8]| {
        let value = (0..5).fold(0, |value, at| value << 1 | five.get(at).copied().unwrap_or(0));
        char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(value)])
    };
    format!("n{}", bits.chunks(5).map(letter).collect::<String>())
}

/// Sixteen neighbours share a node; level by level, at least one, until one node with number 0 is left.
fn log_root(leaves: &Value) -> [u8; 32] {
    let leaf = |leaf: &Value| (leaf[0].as_u64().unwrap(), unhex(leaf[1].as_str().unwrap()));
    let mut level: Vec<(u64, Vec<u8>)> = leaves.as_array().unwrap().iter().map(leaf).collect();
    for height in 1.. {
        let mut above: Vec<(u64, Vec<u8>)> = Vec::new();
        for (number, hash) in level {
            if above.last().is_none_or(|(last, _)| *last != number >> 4) {
                above.push((number >> 4, vec![height]));
            }
            let text = &mut above.last_mut().unwrap().1;
            text.push((number & 15) as u8);
            text.extend(hash);
        }
        level = above.into_iter().map(|(number, text)| (number, sha(&[&text]).to_vec())).collect();
        if level.len() < 2 && level.iter().all(|(number, _)| *number == 0) {
            break;
        }
    }
    level.pop().map_or([0; 32], |(_, hash)| hash.try_into().unwrap())
}
