//! The values that have golden vectors. Add to the end of a file's list; a value that was frozen is not touched again.

use aop_proto::codec::Wire;
use aop_proto::index::Filter;
use aop_proto::name::ZoneName;
use aop_proto::record::*;
use aop_proto::trust::{SigningKey, definition_hash, sign_flush};
use aop_proto::wire::message::*;
use serde_json::{Value, json};

use crate::bundle;
use crate::meaning::Meaning;
use crate::support::hex;

/// Numbers at every border of the encoding.
const BORDERS: [u64; 10] = [0, 1, 250, 251, 65_535, 65_536, 4_294_967_295, 4_294_967_296, 1 << 53, u64::MAX];
const WALL_MS: u64 = 1_790_000_000_000;

/// The entries of one file, as they should stand there.
pub(crate) fn samples(file: &str) -> Vec<Value> {
    match file {
        "connections" => connections(),
        "gossip" => gossip(),
        "membership" => membership(),
        "records" => records(),
        "questions" => questions(),
        _ => panic!("no samples for {file}"),
    }
}

/// The key with that number as every byte of its seed.
pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn node(seed: u8) -> NodeId {
    NodeId(key(seed).verifying_key().to_bytes())
}

fn zone() -> ZoneName {
    ZoneName::parse("research").expect("a zone")
}

fn chain() -> Vec<Certificate> {
    let first = Certificate::issue(&key(9), &zone(), node(1), WALL_MS);
    vec![first, Certificate::issue(&key(1), &zone(), node(2), WALL_MS + 1)]
}

fn origin(seed: u8) -> Origin {
    Origin { node: node(seed), incarnation: WALL_MS }
}

fn record(kind: Kind, name: &str, seq: u64, body: Option<Vec<u8>>) -> Record {
    Record {
        zone: "research".into(),
        kind: kind.number(),
        name: name.into(),
        node: node(1),
        incarnation: WALL_MS,
        seq,
        epoch: 0,
        hlc: WALL_MS << 16,
        visibility: VISIBILITY_PUBLIC,
        issued_ms: WALL_MS,
        expires_ms: 0,
        def_hash: None,
        body,
    }
}

const DEFINITION: &[u8] =
    br#"{"name":"search_papers","description":"Finds papers.","inputSchema":{"type":"object","properties":{"q":{"type":"string"}}}}"#;

fn tool() -> ToolBody {
    ToolBody {
        server: "arxiv".into(),
        original: "search papers".into(),
        definition: DEFINITION.to_vec(),
        tags: vec!["papers".into(), "science".into()],
        capabilities: vec!["search".into()],
        examples: vec!["find papers about bees".into()],
        agent: None,
        replica: true,
        served: true,
    }
}

fn tool_record() -> Record {
    let def_hash = definition_hash(DEFINITION).ok();
    Record { def_hash, ..record(Kind::Tool, "search_papers.arxiv.research", 1, Some(tool().encode())) }
}

fn agent() -> AgentBody {
    AgentBody { model: "m".into(), role: "reads papers".into(), parameters: br#"{"t":0}"#.to_vec() }
}

fn node_body() -> NodeBody {
    NodeBody {
        address: "127.0.0.1:7400".into(),
        version: "0.1.0".into(),
        chain: chain(),
        parents: vec!["127.0.0.1:7000".into()],
    }
}

fn delegation() -> DelegationBody {
    DelegationBody { zone_key: node(8).0, epoch: 1, gateways: gateways(), tools: 251, since_ms: WALL_MS }
}

fn gateways() -> Vec<Gateway> {
    vec![
        Gateway { node: node(3), address: "127.0.0.1:7403".into() },
        Gateway { node: node(4), address: "[::1]:7404".into() },
    ]
}

fn server() -> ServerBody {
    ServerBody { up: false, error: "exit status 1 – wörtlich".into(), since_ms: WALL_MS }
}

fn reap() -> ReapBody {
    ReapBody { node: node(7), incarnation: WALL_MS - 1 }
}

fn revocation(subject: Subject) -> Revocation {
    Revocation::issue(&key(2), chain(), &zone(), subject, "lost laptop", WALL_MS)
}

fn manifest() -> ManifestBody {
    ManifestBody::issue(&zone(), 2, &key(6), &key(9), WALL_MS)
}

/// How the zone came from its first key to the second.
fn manifests() -> Vec<ManifestBody> {
    vec![ManifestBody::first(&zone(), &key(6), WALL_MS), manifest()]
}

fn head(seq: u64) -> Head {
    Head { seq, floor: 0, count: seq, root: [0x5e; 32] }
}

fn envelope(record: Record) -> Vec<u8> {
    let head = head(record.seq);
    sign_flush(&key(1), vec![record], head).remove(0).envelope()
}

/// Records of one origin from 1 on.
pub(crate) fn server_records(count: u64) -> Vec<Record> {
    (1..=count).map(|seq| record(Kind::Server, "arxiv", seq, Some(server().encode()))).collect()
}

fn flush() -> Vec<Envelope> {
    let signed = sign_flush(&key(1), server_records(3), head(3));
    signed.iter().map(|signed| Envelope::decode(&signed.envelope()).expect("made above")).collect()
}

fn entry<T: Meaning>(name: &str, value: &T, bytes: &[u8]) -> Value {
    let of = std::any::type_name::<T>().rsplit("::").next().expect("a type has a name");
    json!({"name": name, "type": of, "meaning": value.to_json(), "bytes": hex(bytes)})
}

/// A value that stands inside others.
fn part<T: Meaning + Wire>(name: &str, value: &T) -> Value {
    entry(name, value, &value.encode())
}

/// A message, with its frame.
fn frame<T: Meaning + Clone + Into<Message>>(name: &str, value: &T) -> Value {
    let bytes = value.clone().into().encode();
    let mut entry = entry(name, value, &bytes);
    entry["kind"] = bytes[3].into();
    entry
}

fn connections() -> Vec<Value> {
    let hello = Hello {
        zone: "research".into(),
        address: "127.0.0.1:7400".into(),
        version: "0.1.0".into(),
        zone_key: Some(node(9).0),
        chain: chain(),
        manifests: manifests(),
        founding: false,
        held: Some((WALL_MS, 251)),
        versions: (1, 1),
    };
    let bare = Hello {
        zone: ".".into(),
        zone_key: None,
        chain: Vec::new(),
        manifests: Vec::new(),
        founding: true,
        held: None,
        versions: (1, 255),
        ..hello.clone()
    };
    let delegated = envelope(record(Kind::Delegation, "ml.research", 4, Some(delegation().encode())));
    let proof = ZoneProof { zone: "ml.research".into(), delegation: delegated, chain: chain(), manifests: Vec::new() };
    let told = ZoneProof { zone: "research".into(), delegation: Vec::new(), chain: Vec::new(), manifests: manifests() };
    let above = Above { anchors: vec![(".".into(), node(6).0)], manifests: Vec::new(), proofs: vec![proof.clone()] };
    let referral = Referral {
        zone: ".".into(),
        zone_key: Some(node(9).0),
        proofs: vec![proof.clone()],
        anchors: vec![(".".into(), node(6).0), ("research".into(), node(9).0)],
        manifests: manifests(),
        delegation: Some(ReferredChild { zone_key: node(9).0, epoch: 2, manifests: manifests(), gateways: gateways() }),
    };
    let silent = Referral {
        zone_key: None,
        proofs: Vec::new(),
        anchors: Vec::new(),
        manifests: Vec::new(),
        delegation: None,
        ..referral.clone()
    };
    let delegate = Delegate {
        zone: "research".into(),
        zone_key: node(9).0,
        chain: chain(),
        manifests: manifests(),
        gateways: gateways(),
        tools: 100_000,
    };
    let admit = Admit { zone_key: node(9).0, chain: chain(), manifests: manifests() };
    let serial = |seed| Serial { zone: "research".into(), node: node(seed), stamp: WALL_MS << 16, tag: u64::MAX };
    let server = |error: &str| {
        let body = ServerBody { error: error.into(), ..server() };
        envelope(record(Kind::Server, "arxiv", 5, Some(body.encode())))
    };
    vec![
        frame("a certified node greets", &hello),
        frame("a founder without a key greets", &bare),
        frame("a certificate and the way to it", &admit),
        frame("refused in words", &Refuse { reason: "zone research is known under another key".into() }),
        frame("an invite is presented", &Join { token: "eyJ0eXAiOiJKV1Qi.e30.AA".into() }),
        frame(
            "a node is revoked, and a zone cut off",
            &Revoked {
                statements: vec![
                    revocation(Subject::Node(node(7))),
                    revocation(Subject::Child("lab.research".into(), WALL_MS)),
                ],
            },
        ),
        frame("left at 300", &Leave { seq: 300 }),
        frame("one number, two contents", &Fork { chain: chain(), one: server("a"), other: server("b") }),
        frame("a parent that knows all", &referral),
        frame("a parent that knows nothing", &silent),
        frame("asked to be delegated", &delegate),
        frame("tags of two views", &Serials { zones: vec![serial(1), serial(2)] }),
        frame("no tags", &Serials { zones: Vec::new() }),
        frame("keys of what lies above", &above),
        part("a proof of a zone's key", &proof),
        part("a zone's own manifests", &told),
    ]
}

fn gossip() -> Vec<Value> {
    let range = Range {
        origin: origin(1),
        from_exclusive: 0,
        to_inclusive: 1,
        cut: false,
        records: vec![envelope(tool_record())],
    };
    let three = Range {
        from_exclusive: 0,
        to_inclusive: 3,
        cut: true,
        records: flush().iter().map(Wire::encode).collect(),
        ..range.clone()
    };
    let ranges = Ranges { ranges: vec![range], chains: vec![chain()], more: false, hop: 1 };
    let dots = vec![Announced { origin: origin(1), through: 251 }, Announced { origin: origin(2), through: 1 << 40 }];
    let entries = vec![(origin(1), 250), (origin(2), 65_536)];
    vec![
        frame("a digest", &Digest { hash: [0xd1; 16], members: 0x0123_4567_89ab_cdef }),
        frame("numbers at every border", &Buckets { hashes: BORDERS.to_vec() }),
        frame("all buckets", &Buckets { hashes: (0..64).map(|i| i << 32).collect() }),
        frame("two buckets of a vector", &Vector { buckets: 1 | 1 << 63, entries, reply: true }),
        frame("one origin asked for", &Vector { buckets: 0, entries: vec![(origin(1), 0)], reply: false }),
        frame("one record with its chain", &ranges),
        frame("a flush of three, cut", &Ranges { ranges: vec![three], chains: Vec::new(), more: true, hop: 0 }),
        frame("two logs went on", &Announce { dots, hop: 3 }),
        frame("not now", &Busy { retry_ms: 250 }),
        frame("a clock that runs ahead", &ClockAhead { ahead_ms: 65_536 }),
        frame("a bundle begins", &bundle()),
        frame(
            "a delta begins, of a zone that has rotated its key",
            &Bundle { manifests: manifests(), delta: true, ..bundle() },
        ),
        frame(
            "a bundle of nothing ends",
            &bundle::end_of(&[Message::from(bundle()).encode(), bundle_vector().encode()]),
        ),
    ]
}

fn bundle() -> Bundle {
    let zone_key = key(9).verifying_key().to_bytes();
    Bundle { zone: "research".into(), zone_key, manifests: Vec::new(), node: node(1), issued_ms: WALL_MS, delta: false }
}

fn bundle_vector() -> Message {
    Vector { buckets: u64::MAX, entries: vec![(origin(1), 1)], reply: false }.into()
}

/// Files, for the rule of that name.
pub(crate) fn bundles() -> Vec<(&'static str, Value)> {
    let records = vec![envelope(tool_record())];
    let range = Range { origin: origin(1), from_exclusive: 0, to_inclusive: 1, cut: false, records };
    let ranges = Ranges { ranges: vec![range], chains: vec![chain()], more: false, hop: 0 };
    let Message::Vector(vector) = bundle_vector() else { panic!("it is a vector") };
    bundle::inputs(bundle(), vector, ranges)
}

fn membership() -> Vec<Value> {
    let update = |seed, counter, state| Update { node: node(seed), counter, state, by: node(1) };
    let updates = vec![update(2, 0, 0), update(3, 250, 1), update(4, 251, 2), update(5, u32::MAX, 3)];
    vec![
        frame("a probe without news", &Ping { number: 7, updates: Vec::new() }),
        frame("a probe with all states", &Ping { number: u32::MAX, updates: updates.clone() }),
        frame("its answer", &Ack { number: 7, updates: vec![update(2, 1, 1)] }),
        frame("a probe for another", &PingRequest { number: 251, target: node(3), updates: Vec::new() }),
        frame("what is believed, answer wanted", &Members { updates, reply: true }),
        frame("nobody but alive", &Members { updates: Vec::new(), reply: false }),
    ]
}

fn records() -> Vec<Value> {
    let lease = |record: Record| Record { expires_ms: WALL_MS + 300_000, ..record };
    let node_record = record(Kind::Node, &node(1).to_string(), 2, Some(node_body().encode()));
    let revoked = revocation(Subject::Node(node(7)));
    let mut all = vec![
        part("a tool", &tool_record()),
        part("a node", &lease(node_record)),
        part("a delegation", &lease(record(Kind::Delegation, "ml.research", 3, Some(delegation().encode())))),
        part("a server", &record(Kind::Server, "arxiv", 4, Some(server().encode()))),
        part("a reaped node", &record(Kind::Reap, &node(7).to_string(), 5, Some(reap().encode()))),
        part("a revocation", &record(Kind::Revocation, &revoked.name(), 7, Some(revoked.encode()))),
        part("what a zone below may do", &record(Kind::Grant, "lab.research", 8, Some(GrantBody { role: 2 }.encode()))),
        part("a key of the zone", &record(Kind::Manifest, "2", 6, Some(manifest().encode()))),
        part("a tombstone", &Record { epoch: 3, ..record(Kind::Tool, "gone.arxiv.research", 7, None) }),
        part("a kind of a later version", &record(Kind::Unknown(200), "later", u64::MAX, Some(b"later".to_vec()))),
        part("a tool's body", &tool()),
        part("an agent's body", &ToolBody { agent: Some(agent()), served: false, ..tool() }),
        part("an empty tool", &ToolBody::default()),
        part("an agent", &agent()),
        part("a node's body", &node_body()),
        part("a delegation's body", &delegation()),
        part("a server's body", &server()),
        part("a reap's body", &reap()),
        part("a manifest's body", &manifest()),
        part("the first manifest of a zone", &manifests()[0]),
        part("an origin", &origin(1)),
        part("a head", &Head { seq: 300, floor: 250, count: 251, root: [0x11; 32] }),
        part("an empty head", &Head::default()),
        part("a certificate", &chain()[1]),
    ];
    all.extend(flush().iter().zip(1..).map(|(envelope, place)| part(&format!("envelope {place} of 3"), envelope)));
    all.push(part("an envelope alone", &Envelope::decode(&envelope(tool_record())).expect("made above")));
    all
}

fn questions() -> Vec<Value> {
    let question = Question {
        form: Form::Words,
        text: "find papers about bees".into(),
        zone: None,
        limit: 10,
        tags: vec!["papers".into()],
        capabilities: Vec::new(),
        after: String::new(),
    };
    let exact = Question {
        form: Form::Exact,
        text: "search_papers.arxiv.research".into(),
        zone: Some("research".into()),
        tags: Vec::new(),
        ..question.clone()
    };
    let list = Question { form: Form::List, after: "m".into(), ..exact.clone() };
    let query = Query {
        id: u64::MAX,
        question,
        deadline_ms: 2000,
        hops: 8,
        budget: 64,
        visited: vec!["writing".into(), ".".into()],
        outside: false,
        cached: true,
    };
    let instance = |seed, health, error: &str| Instance {
        node: node(seed),
        address: "127.0.0.1:7400".into(),
        health,
        error: error.into(),
        since_ms: WALL_MS,
    };
    let candidate = Candidate {
        envelope: envelope(tool_record()).into(),
        chain: chain(),
        instances: vec![
            instance(1, Health::Ok, ""),
            instance(2, Health::Unknown, ""),
            instance(3, Health::Degraded, "exit status 1"),
            instance(4, Health::Down, ""),
        ],
        clash: false,
    };
    let said = ZoneAnswer {
        zone: "research".into(),
        node: node(1),
        tag: 77,
        behind: false,
        age_ms: 0,
        ttl_ms: 900_000,
        took_us: 251,
        documents: 9020,
        total_length: 1 << 20,
        frequencies: vec![12, 0, 7],
        matches: 3,
        candidates: vec![candidate],
        near: vec!["search_patents.arxiv.research".into()],
    };
    let answer = Answer {
        id: 1,
        zones: vec![said],
        silent: vec![Silent { zone: "writing".into(), reason: "no answer in time".into() }],
        skipped: 2,
        proofs: Vec::new(),
    };
    let mut filter = Filter::with_room(50);
    ["bees", "~bee", "papers", "~paper"].into_iter().for_each(|term| filter.insert(term));
    let exported = |zone: &str, seed, age_ms| Exported {
        zone: zone.into(),
        node: node(seed),
        tag: u64::MAX - 1,
        age_ms,
        documents: 9020,
        total_length: 1 << 20,
    };
    let export = Export {
        id: 7,
        zones: vec![exported("ml.research", 2, 29_000), exported("research", 1, 0)],
        whole: true,
        filter: Some(filter.bytes().to_vec()),
    };
    let call = Call {
        name: "search_papers.arxiv.research".into(),
        home: node(1),
        zone: "research".into(),
        def_hash: definition_hash(DEFINITION).ok(),
        arguments: br#"{"q":"bees"}"#.to_vec(),
        extra: vec![("_meta".into(), br#"{"progressToken":1}"#.to_vec())],
        deadline_ms: 30_000,
        hops: 8,
        progress: true,
        key: None,
        priority: 5,
        afar: false,
        author: None,
    };
    let delegated = envelope(record(Kind::Delegation, "ml.research", 4, Some(delegation().encode())));
    let proof = ZoneProof { zone: "ml.research".into(), delegation: delegated, chain: chain(), manifests: Vec::new() };
    let keyed = Call { key: Some([6; 32]), priority: 9, ..call.clone() };
    let author = Author::sign(&key(2), &zone(), chain(), vec![proof], &keyed, WALL_MS, 3);
    let passed_on = Call { hops: 7, afar: true, author: Some(author), ..keyed };
    let refusal = br#"{"code":"AOP0506","kind":"busy","message":"full","detail":{"retry_after_s":3}}"#.to_vec();
    let result = CallResult {
        part: br#"{"content":[]}"#.to_vec(),
        failed: false,
        not_sent: false,
        last: true,
        served_by: node(1),
        hops: 1,
    };
    vec![
        frame("words", &query),
        frame("an exact name in a zone", &Query { question: exact, outside: true, ..query.clone() }),
        frame("the rest of a list", &Query { question: list, visited: Vec::new(), ..query }),
        frame("an answer with everything", &answer),
        frame("an answer of nobody", &Answer { zones: Vec::new(), ..answer }),
        frame("what do you hold", &AskExport { id: u64::MAX, known: None }),
        frame("what do you hold, beside a filter that is known", &AskExport { id: 7, known: Some(filter.mark()) }),
        frame("what two zones hold", &export),
        frame("the same, their filter being known", &Export { filter: None, ..export.clone() }),
        frame("nothing can be concluded", &Export { zones: Vec::new(), whole: false, filter: None, ..export }),
        frame("what a fellow keeps", &Keeps { answers: vec![KeptAnswer { question: u32::MAX, seconds: 300 }] }),
        frame("a call", &call),
        frame("a call that was signed and passed on", &passed_on),
        frame("progress", &Progress { params: br#"{"progress":1}"#.to_vec() }),
        frame("a result", &result),
        frame("a part of a result, more follow", &CallResult { last: false, ..result.clone() }),
        frame("a refusal", &CallResult { part: refusal, failed: true, not_sent: true, hops: 0, ..result }),
    ]
}
