//! `search_tools`, `describe_tool` and `list_zones`: finding, told twice, as data and as a few lines of text.
//!
//! Hosts differ in which of the two a model sees, so each is enough by itself. How long an answer still holds is the answer's own
//! remaining lifetime, never a fresh one.

use std::sync::Arc;

use aop_proto::access::Caller;
use aop_proto::error::{Kind, Problem, plain_lines};
use bytes::Bytes;
use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::door::ToolCall;
use super::envelope::{Answer, failed, reveal, tool_result};
use crate::{
    answers::{Hit, Resolution, Show},
    handle::{Ask, Handle, Mode, nobody_could_say},
    telemetry::told,
};

/// Tools per query: (default, most).
const LIMIT: (usize, usize) = (5, 20);
const QUERIES_MAX: usize = 10;
const NAMES_MAX: usize = 5;
const QUERY_BYTES_MAX: usize = 2_000;
/// Near names for one that does not exist.
const NEAR: usize = 3;
/// Characters of a description in a summary.
const SUMMARY_CHARS: usize = 240;
/// What of a tool is its definition, and goes out as it was written: arguments have to fit it by the letter.
const EXACT: [&str; 2] = ["inputSchema", "outputSchema"];
/// Where a result says how long it holds, for hosts that cache.
const META_TTL: &str = "aop/ttl_ms";

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Detail {
    Name,
    #[default]
    Summary,
    Schema,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    query: Option<String>,
    queries: Option<Vec<String>>,
    zone: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    detail: Detail,
    #[serde(default)]
    trace: bool,
}

/// How much is told.
#[derive(Clone, Copy)]
struct Telling {
    detail: Detail,
    trace: bool,
}

/// `search_tools`
pub(super) async fn search(handle: &Handle, call: &ToolCall) -> Answer {
    let modern = call.caller.modern;
    let (asks, telling) = match read_search(&call.arguments) {
        Ok(read) => read,
        Err(problem) => return failed(&problem, modern),
    };
    let found = join_all(asks.into_iter().map(|ask| async {
        let query = ask.query.clone();
        (query, handle.resolve(&call.by, ask).await)
    }))
    .await;
    if let [(query, Ok(resolution))] = found.as_slice()
        && !telling.trace
    {
        let again = |it: &Resolution| tell_found(&[(query.clone(), Ok(it.clone().into()))], telling, modern);
        call.make_ready(handle, resolution, again);
    }
    match found.as_slice() {
        [(_, Err(problem))] => failed(problem, modern),
        found => tell_found(found, telling, modern),
    }
}

/// What was found for each query, as data and as text.
fn tell_found(found: &[(String, Result<Arc<Resolution>, Problem>)], telling: Telling, modern: bool) -> Answer {
    let mut answers = Vec::new();
    let mut text = String::new();
    let mut ttl = u64::MAX;
    for (query, result) in found {
        match result {
            Ok(resolution) => {
                ttl = ttl.min(millis(resolution.ttl));
                answers.push(answer(query, resolution, telling));
                tell(&mut text, query, resolution, telling.detail);
            }
            Err(problem) => {
                answers.push(json!({"query": query, "tools": [], "error": told(problem)}));
                text.push_str(&format!("\"{query}\" failed: {}\n", problem.message));
            }
        }
    }
    let meta = (ttl < u64::MAX).then(|| json!({META_TTL: ttl}));
    tool_result(text.trim_end(), Some(&json!({"answers": answers})), false, meta, modern)
}

fn read_search(arguments: &Bytes) -> Result<(Vec<Ask>, Telling), Problem> {
    let search: Search = read(arguments, "search_tools takes query or queries, zone, limit, detail, trace")?;
    let mut queries = search.queries.unwrap_or_default();
    queries.extend(search.query);
    let limit = search.limit.unwrap_or(LIMIT.0);
    if queries.is_empty() || queries.len() > QUERIES_MAX {
        return Err(usage(format!("search_tools needs `query`, or `queries` with 1 to {QUERIES_MAX} entries")));
    }
    if queries.iter().any(|query| query.trim().is_empty() || query.len() > QUERY_BYTES_MAX) {
        return Err(usage(format!("a query has to have 1 to {QUERY_BYTES_MAX} bytes")));
    }
    if !(1..=LIMIT.1).contains(&limit) {
        return Err(usage(format!("`limit` has to be from 1 to {}", LIMIT.1)));
    }
    let zone = search.zone.filter(|zone| !zone.is_empty());
    let ask = |query| Ask { query, limit, zone: zone.clone(), ..Ask::default() };
    let telling = Telling { detail: search.detail, trace: search.trace };
    Ok((queries.into_iter().map(ask).collect(), telling))
}

fn answer(query: &str, resolution: &Resolution, telling: Telling) -> Value {
    let tools: Vec<Value> = resolution.hits.iter().map(|hit| found(hit, telling.detail)).collect();
    let mut answer =
        json!({"query": query, "tools": tools, "partial": resolution.partial, "ttl_ms": millis(resolution.ttl)});
    if resolution.is_by_words {
        answer["name_not_found"] = json!(true);
    }
    if !resolution.nearest.is_empty() {
        answer["nearest"] = resolution.nearest_json();
    }
    if !resolution.silent.is_empty() {
        answer["silent_zones"] = json!(resolution.silent);
    }
    if telling.trace {
        let whole = resolution.to_json(Show { trace: true, schema: false });
        for key in ["zones", "lost", "trace"] {
            answer[key] = whole[key].clone();
        }
    }
    answer
}

/// One hit with as much as was asked for; what is empty is left out, a model pays for every character.
fn found(hit: &Hit, detail: Detail) -> Value {
    if detail == Detail::Name {
        return json!({"name": hit.name});
    }
    let full = hit.to_json(Show { trace: false, schema: detail == Detail::Schema });
    let mut tool = Map::new();
    tool.insert("name".into(), hit.name.clone().into());
    tool.insert("zone".into(), hit.zone.clone().into());
    tool.insert(
        "description".into(),
        match detail {
            Detail::Schema => hit.description.clone().into(),
            _ => clipped(&hit.description, SUMMARY_CHARS).into(),
        },
    );
    for key in ["score", "confidence", "title", "inputSchema", "outputSchema", "def_hash"] {
        if matches!(key, "def_hash") && detail != Detail::Schema {
            continue;
        }
        if let Some(value) = full.get(key).filter(|value| !value.is_null()) {
            tool.insert(key.into(), value.clone());
        }
    }
    if !hit.also.is_empty() {
        tool.insert("also".into(), hit.also.clone().into());
    }
    if let Some(state) = state(&full).filter(|state| *state != "ok") {
        tool.insert("health".into(), state.into());
    }
    // What is fresh says nothing of it.
    if hit.stale {
        tool.insert("freshness".into(), full["freshness"].clone());
        tool.insert("age_ms".into(), full["age_ms"].clone());
    }
    if let Some(why_not) = full.get("why_not") {
        tool.insert("usable".into(), false.into());
        tool.insert("why_not".into(), why_not.clone());
    }
    reveal_all_but_exact(&mut tool);
    tool.into()
}

fn reveal_all_but_exact(digest: &mut Map<String, Value>) {
    digest.iter_mut().filter(|(key, _)| !EXACT.contains(&key.as_str())).for_each(|(_, value)| reveal(value));
}

fn tell(text: &mut String, query: &str, resolution: &Resolution, detail: Detail) {
    if resolution.hits.is_empty() {
        text.push_str(&format!("no tool found for \"{query}\"; try other words or list_zones\n"));
        if !resolution.nearest.is_empty() {
            let near: Vec<&str> = resolution.nearest.iter().map(|near| near.name.as_str()).collect();
            text.push_str(&format!("nearest, but probably something else: {}\n", near.join(", ")));
        }
    } else if resolution.is_by_words {
        let found = count(resolution.hits.len(), "tool");
        text.push_str(&format!("no tool is called \"{query}\"; {found} found by its words:\n"));
    } else {
        text.push_str(&format!("{} found for \"{query}\":\n", count(resolution.hits.len(), "tool")));
    }
    for (place, hit) in (1..).zip(&resolution.hits) {
        text.push_str(&format!("{place}. {}", hit.name));
        if detail != Detail::Name {
            let full = hit.to_json(Show { trace: false, schema: detail == Detail::Schema });
            if let Some(state) = state(&full).filter(|state| *state != "ok") {
                text.push_str(&format!(" [{state}]"));
            }
            tell_limits(text, hit);
            text.push_str(&format!(": {}", clipped(&hit.description, SUMMARY_CHARS)));
            if let Some(schema) = full.get("inputSchema").filter(|_| detail == Detail::Schema) {
                text.push_str(&format!("\n   arguments: {schema}"));
            }
        }
        text.push('\n');
    }
    if resolution.partial {
        text.push_str(&format!("incomplete: no answer from {}\n", resolution.silent_in_words()));
    }
}

/// Whether it is only known from before, and why this caller cannot use it.
fn tell_limits(text: &mut String, hit: &Hit) {
    if hit.stale {
        text.push_str(&format!(" [stale: its zone is silent, and said so {} s ago]", hit.age.as_secs()));
    }
    // What is down says so already.
    for obstacle in hit.obstacles.iter().filter(|obstacle| obstacle.check != "transport") {
        text.push_str(&format!(" [not usable: {}]", obstacle.reason));
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Describe {
    name: Option<String>,
    names: Option<Vec<String>>,
}

/// `describe_tool`
pub(super) async fn describe(handle: &Handle, call: &ToolCall) -> Answer {
    let modern = call.caller.modern;
    let names = match read_describe(&call.arguments) {
        Ok(names) => names,
        Err(problem) => return failed(&problem, modern),
    };
    let looked_up = join_all(names.iter().map(|name| look_up(handle, &call.by, name))).await;
    if let [Ok(resolution)] = looked_up.as_slice() {
        call.make_ready(handle, resolution, |it| tell_described(&names, &[Ok(it.clone().into())], modern));
    }
    tell_described(&names, &looked_up, modern)
}

/// What each name stands for, as data and as text.
fn tell_described(names: &[String], looked_up: &[Result<Arc<Resolution>, Problem>], modern: bool) -> Answer {
    let (mut tools, mut missing, mut text, mut ttl) = (Vec::new(), Vec::new(), String::new(), u64::MAX);
    for (name, result) in names.iter().zip(looked_up) {
        match result {
            Ok(resolution) => {
                for hit in resolution.hits.iter().take(1) {
                    ttl = ttl.min(millis(hit.ttl));
                    let card = card(hit);
                    tell_card(&mut text, &card, hit);
                    tools.push(card);
                }
            }
            Err(problem) => {
                text.push_str(&format!("{name}: {}", problem.message));
                if !problem.did_you_mean.is_empty() {
                    text.push_str(&format!("; did you mean {}", problem.did_you_mean.join(", ")));
                }
                text.push('\n');
                missing.push(json!({"name": name, "error": problem.message, "did_you_mean": problem.did_you_mean}));
            }
        }
    }
    let none = tools.is_empty();
    let meta = (ttl < u64::MAX).then(|| json!({META_TTL: ttl}));
    tool_result(text.trim_end(), Some(&json!({"tools": tools, "missing": missing})), none, meta, modern)
}

fn read_describe(arguments: &Bytes) -> Result<Vec<String>, Problem> {
    let describe: Describe = read(arguments, "describe_tool takes name or names")?;
    let mut names = describe.names.unwrap_or_default();
    names.extend(describe.name);
    if names.is_empty() || names.len() > NAMES_MAX || names.iter().any(|name| name.trim().is_empty()) {
        return Err(usage(format!("describe_tool needs `name`, or `names` with 1 to {NAMES_MAX} entries")));
    }
    Ok(names)
}

/// The answer that has the tool of that name first, or the names that are near.
async fn look_up(handle: &Handle, by: &Caller, name: &str) -> Result<Arc<Resolution>, Problem> {
    let exact = Ask { query: name.to_owned(), mode: Mode::Exact, limit: 1, ..Ask::default() };
    let mut problem = match handle.resolve(by, exact).await {
        Ok(resolution) if !resolution.hits.is_empty() => return Ok(resolution),
        // Whoever is silent may have it.
        Ok(resolution) if resolution.partial => return Err(nobody_could_say(name, &resolution)),
        Ok(_) => Problem::new(Kind::NameNotFound, format!("no tool is called `{name}`")),
        Err(problem) => problem,
    };
    if problem.did_you_mean.is_empty() {
        problem.did_you_mean = handle.near_here(by, name);
    }
    if problem.did_you_mean.is_empty() {
        let words = name.replace(['.', '_', '-', '/'], " ");
        let near = Ask { query: words, mode: Mode::Search, limit: NEAR, ..Ask::default() };
        if let Ok(resolution) = handle.resolve(by, near).await {
            let nearest = resolution.nearest.iter().map(|near| near.name.to_string());
            problem.did_you_mean = resolution.hits.iter().map(|hit| hit.name.clone()).chain(nearest).collect();
        }
    }
    Err(problem)
}

/// A tool's card without what only machines read: the schema is there once, and nothing that is empty.
fn card(hit: &Hit) -> Value {
    let mut card = hit.card();
    let annotations = card.get("definition").and_then(|definition| definition.get("annotations")).cloned();
    if let Some(members) = card.as_object_mut() {
        for key in ["schema", "definition", "record", "instances", "wire_name", "rank", "score", "source"] {
            members.shift_remove(key);
        }
        if !hit.stale {
            members.shift_remove("age_ms");
        }
        members.insert("annotations".into(), annotations.unwrap_or_default());
        members.retain(|_, value| !(value.is_null() || value.as_array().is_some_and(Vec::is_empty)));
        reveal_all_but_exact(members);
    }
    card
}

fn tell_card(text: &mut String, card: &Value, hit: &Hit) {
    let said = |key: &str| card.get(key).and_then(Value::as_str).unwrap_or_default();
    text.push_str(said("name"));
    if let Some(state) = state(card).filter(|state| *state != "ok") {
        text.push_str(&format!(" [{state}]"));
    }
    tell_limits(text, hit);
    text.push_str(&format!(": {}\n", said("description")));
    for (key, label) in
        [("inputSchema", "arguments"), ("outputSchema", "returns"), ("annotations", "hints"), ("examples", "examples")]
    {
        if let Some(value) = card.get(key) {
            text.push_str(&format!("{label}: {value}\n"));
        }
    }
}

/// `list_zones`
pub(super) async fn zones(handle: &Handle, by: &Caller, modern: bool) -> Answer {
    let zones = handle.zones(by).await;
    let mut text = String::new();
    for zone in zones.get("zones").and_then(Value::as_array).into_iter().flatten() {
        let said = |key: &str| zone.get(key).and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("{} ({}", said("name"), said("relation")));
        if let Some(tools) = zone.get("tools").and_then(Value::as_u64) {
            text.push_str(&format!(", {}", count(usize::try_from(tools).unwrap_or(usize::MAX), "tool")));
        }
        if !matches!(said("state"), "ok" | "") {
            text.push_str(&format!(", {}", said("state")));
        }
        text.push_str(")\n");
    }
    tool_result(text.trim_end(), Some(&zones), false, None, modern)
}

fn read<T: serde::de::DeserializeOwned>(arguments: &Bytes, usage_text: &str) -> Result<T, Problem> {
    serde_json::from_slice(arguments).map_err(|error| usage(format!("{usage_text}: {error}")))
}

fn usage(message: String) -> Problem {
    Problem::new(Kind::InvalidArguments, message)
}

fn state(tool: &Value) -> Option<&str> {
    tool.get("health")?.get("state")?.as_str()
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn millis(duration: std::time::Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// The first line's worth of a text, cut between words; what is hidden in it does not count.
fn clipped(text: &str, chars: usize) -> String {
    let flat = plain_lines(text).split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(chars) {
        None => flat,
        Some((end, _)) => {
            let cut = &flat[..end];
            format!("{}…", cut.rsplit_once(' ').map_or(cut, |(words, _)| words))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(arguments: Value) -> Result<Vec<Ask>, Problem> {
        read_search(&Bytes::from(arguments.to_string())).map(|(asks, _)| asks)
    }

    #[test]
    fn one_or_several_queries_with_one_limit() {
        let both = asks(json!({"queries": ["a", "b"], "limit": 3, "zone": "research"})).expect("valid");
        assert_eq!(both.iter().map(|ask| (ask.query.as_str(), ask.limit)).collect::<Vec<_>>(), [("a", 3), ("b", 3)]);
        assert_eq!(both[0].zone.as_deref(), Some("research"));
        assert_eq!(asks(json!({"query": "a"})).expect("valid")[0].limit, LIMIT.0);
        assert_eq!(asks(json!({"query": "a", "zone": ""})).expect("valid")[0].zone, None);
    }

    #[test]
    fn a_wrong_question_is_answered_with_what_would_be_right() {
        for bad in [
            json!({}),
            json!({"query": " "}),
            json!({"queries": []}),
            json!({"query": "a", "limit": 0}),
            json!({"query": "a", "limit": 21}),
            json!({"query": "a", "detail": "all"}),
            json!({"q": "a"}),
            json!({"query": "x".repeat(2_001)}),
        ] {
            assert_eq!(asks(bad.clone()).expect_err(&bad.to_string()).kind, Kind::InvalidArguments);
        }
        assert!(read_describe(&Bytes::from_static(br#"{"names":["a","b","c","d","e","f"]}"#)).is_err());
        assert_eq!(read_describe(&Bytes::from_static(br#"{"name":"a"}"#)).expect("valid"), ["a"]);
    }

    /// It said how long it lives, and not that it was kept from before.
    #[tokio::test]
    async fn what_is_kept_of_a_silent_zone_is_told_as_such() {
        let handle = Handle::for_tests();
        let mut changes = handle.changes();
        let tool = json!({"server": "arxiv", "name": "papers", "description": "finds papers"});
        handle.register_tools(&Caller::operator(), [tool].into_iter().collect()).await.unwrap();
        while handle.view().tools.is_empty() {
            changes.changed().await.unwrap();
        }
        let ask = Ask { query: "papers".to_owned(), limit: 1, ..Ask::default() };
        let mut resolution = Arc::unwrap_or_clone(handle.resolve(&Caller::operator(), ask).await.unwrap());
        for stale in [false, true] {
            resolution.hits[0].stale = stale;
            let mut text = String::new();
            tell(&mut text, "papers", &resolution, Detail::Summary);
            assert_eq!(text.contains("[stale: "), stale, "{text}");
            let told = found(&resolution.hits[0], Detail::Summary);
            assert_eq!(told.get("freshness").is_some() && told.get("age_ms").is_some(), stale, "{told}");
            // The card of one tool says it as well.
            let looked_up = [Ok(Arc::new(resolution.clone()))];
            let Answer::Result(card) = tell_described(&["papers".to_owned()], &looked_up, true) else {
                panic!("a card")
            };
            let card: Value = serde_json::from_slice(&card).unwrap();
            let text = card["content"][0]["text"].as_str().unwrap();
            assert_eq!(text.contains("[stale: "), stale, "{text}");
            let data = &card["structuredContent"]["tools"][0];
            let word = if stale { "stale" } else { "fresh" };
            assert_eq!((&data["freshness"], data["age_ms"].is_number()), (&json!(word), stale), "{data}");
        }
    }

    #[test]
    fn what_its_words_found_is_not_taken_for_the_name_that_was_asked_for() {
        let hits = vec![Hit { name: "echo.demo.lab".to_owned(), ..Hit::default() }];
        let told = |resolution: Resolution| {
            let mut text = String::new();
            tell(&mut text, "echoes.demo.lab", &resolution, Detail::Name);
            let telling = Telling { detail: Detail::Name, trace: false };
            (text, answer("echoes.demo.lab", &resolution, telling)["name_not_found"].clone())
        };
        let found = Resolution { hits, ..Resolution::default() };
        assert_eq!(told(found.clone()).1, Value::Null);
        let (text, data) = told(found.in_place_of(&Resolution::default()));
        assert!(text.starts_with("no tool is called \"echoes.demo.lab\"; 1 tool found by its words:\n"), "{text}");
        assert_eq!(data, json!(true));
    }

    /// A tester's tool described itself with U+200B, U+202E and ESC, and a model that reads `structuredContent` got them.
    #[tokio::test]
    async fn a_digest_hides_nothing_and_a_schema_is_as_it_was_written() {
        const HIDDEN: &str = "fi\u{200b}nds\u{202e} pap\u{1b}[31mers\u{e0041}";
        let handle = Handle::for_tests();
        let mut changes = handle.changes();
        let schema = json!({"type": "object", "properties": {"q": {"type": "string", "description": HIDDEN}}});
        let tool = json!({"server": "arxiv", "name": "papers", "description": HIDDEN, "title": HIDDEN,
            "annotations": {"title": HIDDEN}, "inputSchema": schema});
        handle.register_tools(&Caller::operator(), vec![tool]).await.expect("registered");
        while handle.view().tools.is_empty() {
            changes.changed().await.expect("a driver");
        }
        let ask = Ask { query: "papers".to_owned(), limit: 1, ..Ask::default() };
        let resolution = handle.resolve(&Caller::operator(), ask).await.expect("found");
        let hit = &resolution.hits[0];
        let mut cards = vec![card(hit)];
        cards.extend([Detail::Summary, Detail::Schema].map(|detail| found(hit, detail)));
        for card in cards {
            for shown in [&card["description"], &card["title"]] {
                assert_eq!(shown, "finds pap[31mers", "{card}");
            }
            if let Some(shown) = card.get("inputSchema") {
                assert_eq!(*shown, schema);
            }
            if let Some(annotations) = card.get("annotations") {
                assert_eq!(annotations["title"], "finds pap[31mers");
            }
        }
        assert!(card(hit).get("inputSchema").is_some() && found(hit, Detail::Schema).get("inputSchema").is_some());
    }

    #[test]
    fn a_summary_is_one_line_cut_between_words() {
        assert_eq!(clipped("one\n two", 240), "one two");
        assert_eq!(clipped("one two three", 9), "one two…");
        assert_eq!(clipped("ééééé", 3), "ééé…");
        assert_eq!(clipped("o\u{200b}n\u{200b}e\u{200b}", 3), "one");
    }
}
