//! Many tools: every name resolvable, words answered alike from every node, in one node and over four zones.
//!
//! The catalogue is made here, so that nothing lies beside the repository; where the shared one of 9,020 tools does, it is imported
//! too, and said to be left out where it does not.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Node, World, eventually, names, results};

const TOOLS: usize = 2_000;

/// Names asked for in one request.
const BATCH: usize = 100;

/// One node with thousands of tools stays below this. A debug build, so only a guard against a leak or a second copy of everything.
const RESIDENT_MIB_MAX: u64 = 600;

const ZONES: [&str; 4] = ["north", "south", "east", "west"];

/// Tool `n` of our own making: verbs, things and places combined, so that words overlap as real catalogues' do and each
/// combination occurs once.
fn line(n: usize) -> Value {
    const VERBS: [&str; 10] =
        ["find", "list", "create", "delete", "update", "measure", "translate", "compare", "export", "book"];
    const THINGS: [&str; 20] = [
        "invoice",
        "glacier",
        "recipe",
        "satellite",
        "violin",
        "passport",
        "volcano",
        "bicycle",
        "lecture",
        "tulip",
        "harbour",
        "telescope",
        "novel",
        "sandwich",
        "meteor",
        "contract",
        "penguin",
        "carpet",
        "orchard",
        "engine",
    ];
    const PLACES: [&str; 10] =
        ["oslo", "kyoto", "lagos", "lima", "perth", "quebec", "tunis", "hanoi", "geneva", "tartu"];
    let (verb, thing, place) = (VERBS[n % 10], THINGS[n / 10 % 20], PLACES[n / 200 % 10]);
    json!({
        "name": format!("{verb}_{thing}"),
        "title": format!("{verb} a {thing}"),
        "description": format!("Lets you {verb} a {thing} that is kept in {place}."),
        "server": format!("{place}-office"),
        "zone": ZONES[n % 4],
        "inputSchema": {"type": "object", "properties": {thing: {"type": "string", "description": format!("which {thing}")}}},
    })
}

/// The name a line gets below `zone`, as DESIGN's naming says.
fn full_name(line: &Value, zone: &str) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let below = [text("name"), text("server"), text("zone")].join(".");
    // A line's zone is taken inside the node's own unless it already ends in it.
    if zone == "." || text("zone") == zone { below } else { format!("{below}.{zone}") }
}

fn file_of(world: &World, name: &str, lines: &[Value]) -> String {
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    world.file(name, &text.join("\n")).display().to_string()
}

/// Every one of these names resolves to itself, first.
#[track_caller]
fn all_resolve(node: &Node, wanted: &[String]) {
    for names_asked in wanted.chunks(BATCH) {
        let answer =
            node.send("POST", "/v1/resolve", &json!({"queries": names_asked, "mode": "exact", "n": 1})).is(200).json();
        let answers = answer["answers"].as_array().expect("one answer a query");
        assert_eq!(answers.len(), names_asked.len());
        for (asked, answer) in names_asked.iter().zip(answers) {
            assert_eq!(answer["results"][0]["name"], asked.as_str(), "{answer}");
        }
    }
}

/// What the words find, best first.
#[track_caller]
fn found(node: &Node, words: &str, n: &str) -> Vec<String> {
    let answer = node.try_resolve(words, &["-n", n, "--no-cache", "--timeout", "10s"]).ok().json();
    names(&results(&answer))
}

const WORDS: [&str; 6] = [
    "find a glacier in oslo",
    "translate the novel kept in kyoto",
    "book a sandwich",
    "which telescope is in lima",
    "delete contract geneva",
    "compare penguins",
];

/// One node with the whole catalogue, which is what several zones are measured against.
fn whole(world: &World, lines: &[Value], within: Duration) -> Node {
    let file = file_of(world, "whole.jsonl", lines);
    let node = world.node("whole").zone(".").args(["--import", &file]).start();
    complete(&node, lines.len(), within);
    eprintln!(
        "{} tools: ready in {:.1} s, {} MiB resident",
        lines.len(),
        node.started_in.as_secs_f64(),
        node.resident_mib()
    );
    node
}

#[track_caller]
fn complete(node: &Node, count: usize, within: Duration) {
    eventually(&format!("{count} tools are listed at {}", node.zone), within, || {
        let status = node.get("/v1/status").json();
        if status["tools"] == json!(count) { Ok(()) } else { Err(status["tools"].to_string()) }
    });
}

/// A root and one node for each part of the catalogue.
fn parted(world: &World, lines: &[Value], within: Duration) -> (Node, Vec<Node>) {
    let root = world.node("root").zone(".").start();
    let children: Vec<Node> = ZONES
        .iter()
        .map(|zone| {
            let own: Vec<Value> = lines.iter().filter(|line| line["zone"] == *zone).cloned().collect();
            let file = file_of(world, &format!("{zone}.jsonl"), &own);
            let node = world.node(zone).zone(zone).parent(&root).args(["--import", &file]).start();
            complete(&node, own.len(), within);
            node
        })
        .collect();
    for child in &children {
        eventually("the parent delegates", within, || {
            let status = child.get("/v1/status").json();
            if status["parents"][0]["state"] == "delegated" { Ok(()) } else { Err(status.to_string()) }
        });
    }
    (root, children)
}

#[test]
fn two_thousand_tools_in_one_node() {
    let world = World::new();
    let lines: Vec<Value> = (0..TOOLS).map(line).collect();
    let wanted: Vec<String> = lines.iter().map(|line| full_name(line, ".")).collect();
    assert_eq!(wanted.iter().collect::<BTreeSet<_>>().len(), TOOLS, "the catalogue's names are all different");
    let mut node = whole(&world, &lines, Duration::from_secs(60));
    all_resolve(&node, &wanted);
    let best = found(&node, "find a glacier in oslo", "3");
    assert!(best[0].starts_with("find_glacier.oslo-office."), "{best:?}");
    assert!(node.resident_mib() < RESIDENT_MIB_MAX, "{} MiB", node.resident_mib());
    // Listed whole, in one page.
    let listed = node.aop(["ls", "-o", "name"]).ok();
    assert_eq!(listed.out.lines().count(), TOOLS);
    // From the store as from the file.
    node.start_again();
    complete(&node, TOOLS, Duration::from_secs(60));
    all_resolve(&node, &wanted[..BATCH]);
}

#[test]
fn four_zones_find_what_one_zone_finds() {
    let world = World::new();
    let lines: Vec<Value> = (0..TOOLS).map(line).collect();
    let one = whole(&world, &lines, Duration::from_secs(60));
    let (root, children) = parted(&world, &lines, Duration::from_secs(60));
    let wanted: Vec<String> =
        lines.iter().map(|line| full_name(line, line["zone"].as_str().expect("a zone"))).collect();
    for (asker, step) in [(&root, 1), (&children[0], 7)] {
        let some: Vec<String> = wanted.iter().step_by(step).cloned().collect();
        all_resolve(asker, &some);
    }
    for words in WORDS {
        let expected = eventually("the statistics have arrived", Duration::from_secs(30), || {
            let expected: BTreeSet<String> = found(&one, words, "5").into_iter().collect();
            let from_root: BTreeSet<String> = found(&root, words, "5").into_iter().collect();
            // The same words give the same tools; ties at the end of the list may differ by one.
            let common = expected.intersection(&from_root).count();
            if common + 1 >= expected.len() {
                Ok(found(&root, words, "5"))
            } else {
                Err(format!("{words}: {expected:?} {from_root:?}"))
            }
        });
        for child in &children {
            assert_eq!(found(child, words, "5"), expected, "`{words}` asked at {}", child.zone);
        }
    }
}

/// The shared catalogue's lines, or `None` with the reason printed.
fn shared_catalogue() -> Option<Vec<Value>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("catalogue-")))
        .collect();
    files.sort();
    if files.is_empty() {
        eprintln!("left out: the catalogue of 9,020 tools does not lie in ../shared/data");
        return None;
    }
    let lines = files.iter().flat_map(|file| {
        let text = std::fs::read_to_string(file).expect("a catalogue is UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect::<Vec<Value>>()
    });
    Some(lines.collect())
}

#[test]
fn the_whole_shared_catalogue() {
    let Some(lines) = shared_catalogue() else { return };
    let world = World::new();
    let began = Instant::now();
    let node = whole(&world, &lines, Duration::from_secs(120));
    eprintln!("imported in {:.1} s", began.elapsed().as_secs_f64());
    let listed = node.get("/v1/tools").is(200).json();
    let tools = listed["tools"].as_array().expect("a list");
    let ids: BTreeSet<&str> = tools.iter().filter_map(|tool| tool["id"].as_str()).collect();
    let missing: Vec<&str> =
        lines.iter().filter_map(|line| line["id"].as_str()).filter(|id| !ids.contains(id)).collect();
    assert!(missing.is_empty(), "{} are not listed, such as {:?}", missing.len(), &missing[..missing.len().min(5)]);
    all_resolve(&node, &names(tools));
}
