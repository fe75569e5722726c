//! How well and how fast the word index finds the right tool, on a folder of catalogues and labelled questions.
//!
//! `cargo bench -p aop-proto --bench discovery -- FOLDER` reads `catalogue-*.jsonl` (one MCP tool a line, with `id`, `server`,
//! `zone`) and `queries-*.jsonl` (`query`, `relevant`: groups of ids, any of a group will do, `dataset`). The data is not part
//! of this repository. Figures: R@k is the share of a question's groups found in the first k, nDCG@10 counts each group once.
//! It measures `aop_proto::index` alone: no network, no exact names, ties broken by id.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a benchmark reads files and takes time")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_proto::index::{DocId, Goal, Index, IndexSnapshot, Query, Stats, Terms};
use serde_json::Value;

/// What each zone answers when the collection is spread over several.
const ZONE_CANDIDATES: usize = 20;
const ZONES: usize = 8;

/// As deep as ranks are looked at.
const DEPTH: usize = 10;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    // Cargo adds `--bench` to what the user wrote.
    let Some(folder) = std::env::args().skip(1).find(|argument| !argument.starts_with("--")) else {
        println!(
            "nothing measured: name the folder of the catalogues, as in `cargo bench -p aop-proto --bench discovery -- FOLDER`"
        );
        return Ok(());
    };
    let catalogues = read_catalogues(Path::new(&folder))?;
    let questions = read_questions(Path::new(&folder))?;
    if catalogues.is_empty() || questions.is_empty() {
        println!("nothing measured: no catalogue-*.jsonl or no queries-*.jsonl in {folder}");
        return Ok(());
    }
    println!("{:9} {:14} {:>6} {:>7}  R@1   R@5   R@10  nDCG@10", "scope", "set", "tools", "queries");
    let everything: Vec<&Tool> = catalogues.values().flatten().collect();
    for (set, asked) in &questions {
        let own = catalogues.iter().find(|(_, tools)| asked[0].is_about(tools));
        let Some((_, own)) = own else { continue };
        let collection = Collection::of(own.iter().collect());
        report("own", set, &collection, asked, |goal| collection.best(goal));
    }
    let joint = Collection::of(everything.clone());
    for (set, asked) in &questions {
        report("joint", set, &joint, asked, |goal| joint.best(goal));
    }
    let zones = by_zone(&everything);
    for (set, asked) in &questions {
        report("8 zones", set, &joint, asked, |goal| ask_zones(&zones, goal));
    }
    speed(&everything, &questions);
    Ok(())
}

struct Tool {
    id: String,
    zone: String,
    server: String,
    definition: Vec<u8>,
}

impl Tool {
    fn terms(&self) -> Terms {
        Terms::from_definition(&self.definition, &self.server, &[]).unwrap_or_default()
    }
}

struct Question {
    text: String,
    groups: Vec<BTreeSet<String>>,
}

impl Question {
    /// Whether the catalogue holds everything the question seeks.
    fn is_about(&self, tools: &[Tool]) -> bool {
        self.groups.iter().all(|group| tools.iter().any(|tool| group.contains(&tool.id)))
    }
}

fn lines_of(folder: &Path, prefix: &str) -> Result<BTreeMap<String, Vec<Value>>, Failure> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|error| format!("read the folder {}: {error}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(name) = name.strip_prefix(prefix).and_then(|name| name.strip_suffix(".jsonl")) {
            let text = std::fs::read_to_string(&path)?;
            let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
            files.insert(name.to_owned(), lines?);
        }
    }
    Ok(files)
}

fn read_catalogues(folder: &Path) -> Result<BTreeMap<String, Vec<Tool>>, Failure> {
    let tool = |line: Value| {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        Tool { id: text("id"), zone: text("zone"), server: text("server"), definition: line.to_string().into_bytes() }
    };
    let files = lines_of(folder, "catalogue-")?;
    Ok(files.into_iter().map(|(name, lines)| (name, lines.into_iter().map(tool).collect())).collect())
}

fn read_questions(folder: &Path) -> Result<BTreeMap<String, Vec<Question>>, Failure> {
    let group =
        |group: &Value| group.as_array().into_iter().flatten().filter_map(|id| Some(id.as_str()?.to_owned())).collect();
    let question = |line: &Value| Question {
        text: line["query"].as_str().unwrap_or_default().to_owned(),
        groups: line["relevant"].as_array().into_iter().flatten().map(group).collect(),
    };
    let files = lines_of(folder, "queries-")?;
    let named = |name: String| name.split('.').next().unwrap_or_default().to_owned();
    Ok(files
        .into_iter()
        .map(|(name, lines)| (named(name), lines.iter().map(question).collect::<Vec<_>>()))
        .filter(|(_, questions)| !questions.is_empty())
        .collect())
}

/// An indexed set of tools.
struct Collection {
    ids: Vec<String>,
    terms: Vec<Arc<Terms>>,
    snapshot: Arc<IndexSnapshot>,
}

impl Collection {
    fn of(mut tools: Vec<&Tool>) -> Self {
        tools.sort_by(|a, b| a.id.cmp(&b.id));
        let terms: Vec<Arc<Terms>> = tools.iter().map(|tool| Arc::new(tool.terms())).collect();
        let mut index = Index::default();
        for (number, terms) in (0..).zip(&terms) {
            index.insert(DocId(number), Arc::clone(terms));
        }
        Self { ids: tools.iter().map(|tool| tool.id.clone()).collect(), terms, snapshot: index.snapshot() }
    }

    fn id(&self, document: DocId) -> &str {
        &self.ids[document.0 as usize]
    }

    fn best(&self, goal: &Goal) -> Vec<&str> {
        ask_zones(std::slice::from_ref(self), goal)
    }
}

/// The tools spread over eight zones, each tool where the name of its zone falls.
fn by_zone(tools: &[&Tool]) -> Vec<Collection> {
    let mut zones: Vec<Vec<&Tool>> = vec![Vec::new(); ZONES];
    for tool in tools {
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = tool.zone.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
        zones[(hash % ZONES as u64) as usize].push(tool);
    }
    zones.into_iter().map(Collection::of).collect()
}

/// What an asker does: every zone ranks by what it knows itself, the asker scores the candidates again with merged statistics.
fn ask_zones<'z>(zones: &'z [Collection], goal: &Goal) -> Vec<&'z str> {
    let query = goal.whole();
    let mut merged = Stats::default();
    let mut candidates = Vec::new();
    for zone in zones {
        merged.merge(&zone.snapshot.stats(query));
        let found = zone.snapshot.search(query, ZONE_CANDIDATES, &|_| true);
        candidates.extend(found.into_iter().take(ZONE_CANDIDATES).map(|(document, _)| (zone, document)));
    }
    let scorer = goal.scorer(&merged);
    let scored = candidates.into_iter().map(|(zone, document)| {
        let terms = &zone.terms[document.0 as usize];
        (scorer.whole.score(terms), zone.id(document), terms)
    });
    let mut scored: Vec<(f32, &str, &Arc<Terms>)> = scored.collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let of_clauses = |terms: &Terms| scorer.of_clauses(&goal.read(terms));
    let documents: Vec<_> = scored.iter().map(|(score, _, terms)| (*score, of_clauses(terms))).collect();
    scorer.turns(&documents).into_iter().take(DEPTH).map(|at| scored[at].1).collect()
}

fn report<'c>(
    scope: &str,
    set: &str,
    collection: &Collection,
    asked: &[Question],
    best: impl Fn(&Goal) -> Vec<&'c str>,
) {
    let mut sums = [0.0; 4];
    for question in asked {
        let found = best(&Goal::parse(&question.text));
        for (sum, figure) in sums.iter_mut().zip(figures(&found, &question.groups)) {
            *sum += figure;
        }
    }
    let [r1, r5, r10, ndcg] = sums.map(|sum| sum / asked.len() as f64);
    let tools = collection.ids.len();
    println!("{scope:9} {set:14} {tools:6} {:7}  {r1:.3} {r5:.3} {r10:.3} {ndcg:.3}", asked.len());
}

fn figures(found: &[&str], groups: &[BTreeSet<String>]) -> [f64; 4] {
    let ranks: Vec<Option<usize>> =
        groups.iter().map(|group| found.iter().position(|id| group.contains(*id))).collect();
    let gain = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
    let recall = |k: usize| ranks.iter().flatten().filter(|&&rank| rank < k).count() as f64 / groups.len() as f64;
    let ideal: f64 = (0..groups.len().min(DEPTH)).map(gain).sum();
    let reached: f64 = ranks.iter().flatten().map(|&rank| gain(rank)).sum();
    [recall(1), recall(5), recall(10), reached / ideal]
}

fn speed(tools: &[&Tool], questions: &BTreeMap<String, Vec<Question>>) {
    let start = Instant::now();
    let terms: Vec<Arc<Terms>> = tools.iter().map(|tool| Arc::new(tool.terms())).collect();
    println!("\nread {} definitions: {:.0} ms", tools.len(), millis(start.elapsed()));
    let mut index = Index::default();
    let mut inserts = Vec::new();
    for (number, terms) in (0..).zip(&terms) {
        let start = Instant::now();
        index.insert(DocId(number), Arc::clone(terms));
        inserts.push(start.elapsed());
    }
    println!("insert all: {:.0} ms, each {}", millis(inserts.iter().sum()), spread(inserts));
    let mut changes = Vec::new();
    for (number, terms) in (0..).zip(&terms).step_by(9) {
        let start = Instant::now();
        index.remove(DocId(number));
        index.insert(DocId(number), Arc::clone(terms));
        index.snapshot();
        changes.push(start.elapsed());
    }
    println!("replace one and take a snapshot: {}", spread(changes));
    let snapshot = index.snapshot();
    let (mut parses, mut searches) = (Vec::new(), Vec::new());
    for question in questions.values().flatten() {
        let start = Instant::now();
        let query = Query::parse(&question.text);
        parses.push(start.elapsed());
        let start = Instant::now();
        std::hint::black_box(snapshot.search(&query, DEPTH, &|_| true));
        searches.push(start.elapsed());
    }
    println!("parse a question: {}", spread(parses));
    println!("search (statistics and ranking, 1 thread): {}", spread(searches));
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    format!("p50 {:.0} us, p99 {:.0} us, longest {:.0} us", at(0.5), at(0.99), at(1.0))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
