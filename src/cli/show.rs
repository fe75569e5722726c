//! `aop show`: one tool as a card, its arguments as a table.

use clap::Args;
use serde_json::Value;

use super::client::Request;
use super::output::{Exit, Format};
use super::schema::Schema;
use super::table::{Table, facts, faint, name, plain};
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop show search_papers.arxiv.research
  aop show arxiv/search_papers --schema
  aop show search_papers.arxiv.research -o yaml";

/// Show one tool: what it does, its arguments, its health and where it comes from
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Show {
    /// Full name, wire name or SERVER/TOOL
    name: String,
    /// Print the input schema as JSON instead
    #[arg(long)]
    schema: bool,
}

impl Show {
    /// Asks for the card and prints it.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let reply = context.client.send(&Request::get(&["tools", &self.name])).await?;
        let out = &context.out;
        let card = reply.value()?;
        if self.schema {
            out.json(&input_schema(&card).to_string())?;
        } else if out.for_people() {
            out.data(&heading(&card))?;
            let arguments = fields("ARGUMENT", input_schema(&card));
            if arguments.is_empty() {
                out.data("\ntakes no arguments\n")?;
            } else {
                out.data(&format!("\n{}", arguments.render(out.look)))?;
            }
            let results = fields("RESULT", &card["outputSchema"]);
            if !results.is_empty() {
                out.data(&format!("\n{}", results.render(out.look)))?;
            }
            if out.format == Format::Wide {
                out.data(&format!("\n{}", facts(&provenance(&card), 2)))?;
            }
            out.next(&next(&card));
        } else {
            out.reply(&reply, None, "name")?;
        }
        if !is_stale(&card) {
            return Ok(Exit::Complete);
        }
        let zone = text::clean(card["zone"].as_str().unwrap_or("?"));
        out.talk(&format!("partial: nobody of zone {zone} answers; this is what was kept"));
        Ok(Exit::Partial)
    }
}

/// Nobody of its zone answers: this is what was kept.
fn is_stale(card: &Value) -> bool {
    card["freshness"].as_str() == Some("stale")
}

/// A call, where one may go well.
fn next(card: &Value) -> Vec<String> {
    if is_stale(card) {
        return vec!["aop zones".to_owned()];
    }
    let is_down = matches!(card["health"]["state"].as_str(), Some("down" | "open"));
    let Some(name) = card["name"].as_str().filter(|_| !is_down && card["usable"].as_bool() != Some(false)) else {
        return Vec::new();
    };
    let example = Schema::new(input_schema(card)).example();
    let words = [name].into_iter().chain(example.iter().map(String::as_str));
    let words: Vec<String> = words.map(|word| text::shell_word(&text::clean(word))).collect();
    vec![format!("aop call {}", words.join(" "))]
}

/// The schema of the arguments, wherever the node put it.
pub(crate) fn input_schema(card: &Value) -> &Value {
    if card["inputSchema"].is_null() { &card["definition"]["inputSchema"] } else { &card["inputSchema"] }
}

/// Name, title, description and the facts a caller needs.
fn heading(card: &Value) -> String {
    let word = |key: &str| text::clean(card[key].as_str().unwrap_or_default());
    let mut lines = format!("{}\n", word("name"));
    let title = word("title");
    if !title.is_empty() {
        lines.push_str(&format!("  {title}\n"));
    }
    let description = text::clean_block(card["description"].as_str().unwrap_or_default());
    for line in description.trim().lines() {
        lines.push_str(format!("  {line}").trim_end());
        lines.push('\n');
    }
    lines.push('\n');
    let instances = card["instances"].as_array().into_iter().flatten();
    let instances: Vec<String> = instances
        .map(|i| {
            let breaker = i["breaker"].as_str().map(|breaker| format!(" (breaker {})", text::clean(breaker)));
            let [node, state] = ["node", "state"].map(|key| i[key].as_str().unwrap_or("?"));
            format!("{node} {state}{}", breaker.unwrap_or_default())
        })
        .collect();
    lines.push_str(&facts(
        &[
            ("id", word("id")),
            ("wire name", word("wire_name")),
            ("zone", word("zone")),
            ("health", health(card)),
            ("usable", usable(card)),
            ("answer", freshness(card)),
            ("served by", instances.join(", ")),
            ("clash", clash(card)),
            ("calls", calls(&card["calls"])),
            ("behaviour", behaviour(&card["definition"]["annotations"])),
            ("tags", list(&card["tags"])),
            ("capabilities", list(&card["capabilities"])),
            ("agent", agent(&card["agent"])),
            ("examples", list(&card["examples"])),
            ("definition", word("def_hash")),
        ],
        2,
    ));
    lines
}

/// That there is another of this name, nothing where there is none.
fn clash(card: &Value) -> String {
    let told = "another server of the zone says otherwise what this name is; whoever is named above alone is called";
    if card["clash"] == Value::Bool(true) { told.to_owned() } else { String::new() }
}

/// `ok · 12 ms · last ok 2026-11-21T09:03:00Z`.
fn health(card: &Value) -> String {
    let health = &card["health"];
    let mut parts = vec![super::resolve::health(card).0];
    if let Some(retry_at) = health["retry_at"].as_str() {
        parts.push(format!("calls from this node failed; tried again from {} on", text::clean(retry_at)));
    }
    if let Some(last_ok) = health["last_ok"].as_str() {
        parts.push(format!("last ok {last_ok}"));
    }
    if let Some(error) = health["last_error"].as_str() {
        parts.push(format!("last error: {}", text::cut(&text::clean(error), 120)));
    }
    parts.join(" · ")
}

/// Whether a call may be repeated, and how the node fared with each instance: `may be repeated (idempotent); n7f3a closed, 12 ms`.
fn calls(calls: &Value) -> String {
    let is_so = |key: &str| calls[key] == Value::Bool(true);
    let repeat = match (is_so("read_only"), is_so("idempotent")) {
        (true, _) => Some("may be repeated (read-only)".to_owned()),
        (_, true) => Some("may be repeated (idempotent)".to_owned()),
        _ => None,
    };
    let one = |endpoint: &Value| {
        let node = text::cut(&text::clean(endpoint["node"].as_str().unwrap_or("?")), 12);
        let mut line = format!("{node} {}", text::clean(endpoint["breaker"].as_str().unwrap_or("?")));
        if let Some(latency) = endpoint["latency_ms"].as_f64() {
            line.push_str(&format!(", {}", text::took(latency)));
        }
        if let Some(last_ok) = endpoint["last_ok"].as_str() {
            line.push_str(&format!(", last ok {}", text::clean(last_ok)));
        }
        if let Some(error) = endpoint["last_error"].as_str() {
            line.push_str(&format!(", last error: {}", text::cut(&text::clean(error), 80)));
        }
        line
    };
    let endpoints = calls["endpoints"].as_array().into_iter().flatten().map(one);
    repeat.into_iter().chain(endpoints).collect::<Vec<_>>().join("; ")
}

/// Why it cannot be used, nothing where it can.
fn usable(card: &Value) -> String {
    let why_not = card["why_not"].as_array().into_iter().flatten();
    let reasons: Vec<String> = why_not.filter_map(|it| it["reason"].as_str()).map(text::clean).collect();
    if reasons.is_empty() { String::new() } else { format!("no: {}", reasons.join("; ")) }
}

fn freshness(card: &Value) -> String {
    let mut parts = vec![if card["authoritative"].as_bool() == Some(true) {
        "authoritative".to_owned()
    } else {
        "from a cache".to_owned()
    }];
    parts.extend(card["freshness"].as_str().map(str::to_owned));
    parts.extend(card["source"].as_str().map(|source| format!("via {source}")));
    parts.extend(card["ttl_ms"].as_u64().map(|ttl| format!("ttl {}", text::span(ttl))));
    parts.join(" · ")
}

/// What is claimed of it, by its server or by the operator who defined it; shown as a claim, because nobody here checks it.
fn behaviour(annotations: &Value) -> String {
    let claims = [
        ("readOnlyHint", "read-only", "changes things"),
        ("idempotentHint", "idempotent", "not idempotent"),
        ("destructiveHint", "destructive", "not destructive"),
        ("openWorldHint", "reaches outside", "stays inside"),
    ];
    let said: Vec<&str> = claims
        .iter()
        .filter_map(|(key, yes, no)| annotations[*key].as_bool().map(|claim| if claim { *yes } else { *no }))
        .collect();
    if said.is_empty() { String::new() } else { format!("{} (claimed, not checked)", said.join(", ")) }
}

fn agent(agent: &Value) -> String {
    let members = agent.as_object().into_iter().flatten();
    members
        .map(|(key, value)| format!("{key} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect::<Vec<_>>()
        .join(" · ")
}

fn list(value: &Value) -> String {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect::<Vec<_>>().join(", ")
}

/// Where the record comes from, for those who debug a federation.
fn provenance(card: &Value) -> Vec<(&'static str, String)> {
    let record = &card["record"];
    let member = |key: &str| match &record[key] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    vec![
        ("origin", member("origin")),
        ("incarnation", member("incarnation")),
        ("seq", member("seq")),
        ("epoch", member("epoch")),
        ("issued", member("issued_ms")),
        ("expires", member("expires_ms")),
        ("visibility", member("visibility")),
    ]
}

/// A schema's members, one a line.
fn fields(what: &'static str, schema: &Value) -> Table {
    let mut table = Table::new(&[what, "TYPE", "REQUIRED", "DEFAULT", "DESCRIPTION"]);
    for field in Schema::new(schema).fields() {
        let required = if field.required { "yes" } else { "" };
        table.row(vec![
            name(field.path),
            plain(text::cut(&field.kind, 40)),
            plain(required),
            faint(text::cut(&field.default.unwrap_or_default(), 24)),
            plain(field.description),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Look;
    use serde_json::json;

    #[test]
    fn a_card_is_one_screen() {
        let card = json!({"schema": "aop.tool/1", "name": "get_forecast.met.weather", "id": "met/get_forecast", "wire_name": "met__get_forecast",
            "zone": "weather", "title": "Forecast", "description": "Weather\u{1b}[2J for days.\nNot for nights.", "authoritative": true,
            "freshness": "fresh", "source": "local", "ttl_ms": 60_000, "health": {"state": "ok", "latency_ms": 3, "last_ok": "2026-11-21T09:03:00Z", "last_error": null},
            "instances": [{"node": "n7f3a", "state": "ACTIVE"}],
            "calls": {"idempotent": true, "endpoints": [{"node": "n7f3a", "breaker": "closed", "latency_ms": 3.0, "last_ok": null, "last_error": null}]}, "tags": ["geo"], "def_hash": "sha256:ab",
            "definition": {"name": "get_forecast", "annotations": {"readOnlyHint": true},
                "inputSchema": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string", "description": "City name"}}}}});
        assert_eq!(
            heading(&card),
            "get_forecast.met.weather\n  Forecast\n  Weather[2J for days.\n  Not for nights.\n\n  id          met/get_forecast\n  wire name   met__get_forecast\n  \
             zone        weather\n  health      ● 3.0 ms · last ok 2026-11-21T09:03:00Z\n  answer      authoritative · fresh · via local · ttl 1m\n  \
             served by   n7f3a ACTIVE\n  calls       may be repeated (idempotent); n7f3a closed, 3.0 ms\n  behaviour   read-only (claimed, not checked)\n  tags        geo\n  definition  sha256:ab\n"
        );
        assert_eq!(
            fields("ARGUMENT", input_schema(&card)).render(Look::default()),
            "ARGUMENT  TYPE    REQUIRED  DEFAULT  DESCRIPTION\ncity      string  yes                City name\n"
        );
    }

    #[test]
    fn a_name_that_several_servers_claim_is_shown_as_that() {
        let rows = |clash: Value| heading(&json!({"name": "t.s.z", "clash": clash})).matches("\n  clash ").count();
        assert_eq!([rows(json!(true)), rows(json!(false)), rows(Value::Null)], [1, 0, 0]);
    }

    /// What nobody answers for, or may not be called, was followed by a call of it.
    #[test]
    fn a_call_is_named_where_it_may_go_well() {
        let card = |key: &str, value: Value| {
            let schema =
                json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "default": 3}}});
            let mut card = json!({"name": "t.s.z", "usable": true, "freshness": "fresh", "inputSchema": schema});
            card[key] = value;
            next(&card)
        };
        assert!(card("usable", json!(true))[0].starts_with("aop call t.s.z n="));
        assert_eq!(card("usable", json!(false)), [""; 0]);
        assert_eq!(card("health", json!({"state": "down"})), [""; 0]);
        assert_eq!(card("health", json!({"state": "open"})), [""; 0]);
        assert_eq!(card("freshness", json!("stale")), ["aop zones"]);
    }
}
