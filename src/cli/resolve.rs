//! `aop resolve`: a name or plain words in, the tools that fit out, best first.
//!
//! The node ranks and the node decides what is exact; nothing is reordered here. What must hold: a partial answer is never shown as
//! a complete one, and "nothing" is only said when everybody who was asked said so.

mod many;

use std::time::Duration;

use aop_proto::error::{Kind, Problem};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::client::{Client, Reply, Request};
use super::output::Exit;
use super::table::{Table, Tone, faint, name, plain};
use super::{Context, text};

/// A hop is drawn no deeper than this: a name has no more labels.
const DEPTH_MAX: u64 = 127;
/// How much longer than the node's own deadline its answer is waited for.
const GRACE: Duration = Duration::from_millis(500);
/// Longer words go in a body, where no server or log cuts them.
const QUERY_IN_URL_BYTES_MAX: usize = 1500;
/// How often `--watch` asks again.
const WATCH_EVERY: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  aop resolve \"find papers on arxiv\" -n 5
  aop resolve search_papers.arxiv.research --trace
  aop resolve \"weather in Oslo\" @127.0.0.1:7401 -o json
  aop resolve - -n 1 < questions.txt";

/// Find tools by name or by plain words, here and in every other zone
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Resolve {
    /// A full name, or words; `-` reads many, a line each; `@HOST:PORT` asks that node
    #[arg(required = true, value_name = "NAME | WORDS")]
    words: Vec<String>,
    /// At most this many results
    #[arg(short = 'n', long = "limit", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: Option<u16>,
    /// Only tools of this zone and below
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Ask this zone only, or the whole federation
    #[arg(long, value_enum, value_name = "local|all", hide_possible_values = true)]
    scope: Option<Scope>,
    /// Take the words as a name, whatever they look like
    #[arg(long, conflicts_with = "search")]
    exact: bool,
    /// Take the words as words, whatever they look like
    #[arg(long)]
    search: bool,
    /// Only tools with this tag (repeat for more)
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Only tools with this capability (repeat for more)
    #[arg(long, value_name = "CAPABILITY")]
    capability: Vec<String>,
    /// Show every hop of the answer
    #[arg(long)]
    trace: bool,
    /// Show how each result was scored and where it came from
    #[arg(long)]
    explain: bool,
    /// Take no answer older than this
    #[arg(long, value_name = "DUR", value_parser = crate::config::parse_duration)]
    max_stale: Option<Duration>,
    /// Ask again even if the answer is cached, and take no stale one unless --max-stale allows it
    #[arg(long)]
    no_cache: bool,
    /// Let the node answer from what it holds and say where to ask on, without asking others
    #[arg(long)]
    no_recurse: bool,
    /// Add input and output schemas (JSON and YAML)
    #[arg(long)]
    schema: bool,
    /// Ask again every two seconds and show what changed
    #[arg(short = 'w', long)]
    watch: bool,
}

/// Who is asked.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scope {
    Local,
    All,
}

impl Resolve {
    /// Asks and prints; with `--watch` until interrupted.
    pub(crate) async fn run(mut self, context: &mut Context) -> anyhow::Result<Exit> {
        let (nodes, words): (Vec<String>, Vec<String>) =
            self.words.into_iter().partition(|word| word.len() > 1 && word.starts_with('@') && !word.contains(' '));
        self.words = words;
        let query = self.words.join(" ");
        if query.trim().is_empty() {
            return Err(Problem::new(Kind::Usage, "nothing to look for").hint("aop ls").into());
        }
        if let [_, _, ..] = &nodes[..] {
            return Err(self.many_nodes(&query, &nodes).into());
        }
        if !nodes.is_empty() {
            context.nodes = nodes.iter().map(|node| node[1..].to_owned()).collect();
            let old = &context.client;
            context.client = old.elsewhere(&context.nodes)?;
        }
        if self.reads_input() {
            return self.run_many(context).await;
        }
        let request = self.request(&query, context.client.asked_time());
        if self.watch {
            return self.keep_asking(&query, &request, context).await;
        }
        let reply = context.client.send(&request).await?;
        self.print(&query, &reply, &reply.value()?, context)
    }

    /// Asks until somebody ends it, and prints what differs from before. A node that is away is waited for once it has answered.
    async fn keep_asking(&self, query: &str, request: &Request, context: &Context) -> anyhow::Result<Exit> {
        let (mut shown, mut is_away) = (None, false);
        loop {
            match context.client.send(request).await {
                Ok(reply) => {
                    let value = reply.value()?;
                    if std::mem::replace(&mut is_away, false) {
                        context.out.talk("the node is back");
                    }
                    let found = Some(fingerprint(&value));
                    if shown != found {
                        self.print(query, &reply, &value, context)?;
                        shown = found;
                    }
                }
                Err(problem) if shown.is_none() || !problem.kind.retryable() => return Err(problem.into()),
                Err(problem) => {
                    // Said once, however long it lasts.
                    if !std::mem::replace(&mut is_away, true) {
                        context
                            .out
                            .talk(&format!("the node is away ({}); trying again", text::clean(&problem.message)));
                    }
                }
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }

    /// One node is asked with `@`: who names several may mean that all of them answer.
    fn many_nodes(&self, query: &str, nodes: &[String]) -> Problem {
        let nodes: Vec<&str> = nodes.iter().map(|node| &node[1..]).collect();
        let message = format!(
            "one node can be asked with @, and {} are named; --node takes several, of which the first that is there answers",
            nodes.len()
        );
        let hint = format!("aop --node {} {}", text::shell_word(&nodes.join(",")), self.again(query, &[]));
        Problem::new(Kind::Usage, message).hint(hint)
    }

    /// The command that asks for this with these flags, and with all that says what is looked for and where.
    fn again(&self, query: &str, flags: &[&str]) -> String {
        let mut words = vec!["resolve".to_owned(), text::shell_word(&text::clean(query))];
        words.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let of = |flag: &str, values: &[String]| {
            values.iter().flat_map(|value| [flag.to_owned(), text::shell_word(value)]).collect::<Vec<_>>()
        };
        words.extend(self.zone.iter().flat_map(|zone| of("--zone", std::slice::from_ref(zone))));
        words.extend(of("--tag", &self.tag));
        words.extend(of("--capability", &self.capability));
        words.extend(self.no_recurse.then(|| "--no-recurse".to_owned()));
        words.join(" ")
    }

    fn request(&self, query: &str, timeout: Option<Duration>) -> Request {
        let request = if query.len() <= QUERY_IN_URL_BYTES_MAX {
            let mut request = Request::get(&["resolve"])
                .param("q", query)
                .param_opt("n", self.limit.map(|n| n.to_string()))
                .param_opt("zone", self.zone.clone())
                .param_opt("scope", self.scope_word())
                .param_opt("mode", self.mode_word())
                .param_opt("max_stale", self.max_stale.map(millis))
                .param_opt("timeout", timeout.map(millis))
                .flag("trace", self.trace || self.explain)
                .flag("schema", self.schema)
                .flag("no_cache", self.no_cache)
                .flag("no_recurse", self.no_recurse);
            for tag in &self.tag {
                request = request.param("tag", tag);
            }
            for capability in &self.capability {
                request = request.param("capability", capability);
            }
            request
        } else {
            Request::post(&["resolve"], self.body(("q", json!(query)), timeout).to_string()).read_only()
        };
        self.in_time(request, timeout)
    }

    /// What is asked, and how, as a body.
    fn body(&self, (name, asked): (&str, Value), timeout: Option<Duration>) -> Value {
        let mut body = json!({name: asked, "tag": self.tag, "capability": self.capability, "trace": self.trace || self.explain,
            "schema": self.schema, "no_cache": self.no_cache, "no_recurse": self.no_recurse});
        let optional = [
            ("n", self.limit.map(Value::from)),
            ("zone", self.zone.clone().map(Value::from)),
            ("scope", self.scope_word().map(Value::from)),
            ("mode", self.mode_word().map(Value::from)),
            ("max_stale", self.max_stale.map(|span| Value::from(millis(span)))),
            ("timeout", timeout.map(|span| Value::from(millis(span)))),
        ];
        for (key, value) in optional.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            body[key] = value;
        }
        body
    }

    /// The node gets the whole of `--timeout` for a partial answer; the connection a little more to bring it.
    fn in_time(&self, request: Request, timeout: Option<Duration>) -> Request {
        request.exactly(timeout.map_or(super::client::READ_TIMEOUT, |time| time + GRACE))
    }

    const fn mode_word(&self) -> Option<&'static str> {
        match (self.exact, self.search) {
            (true, _) => Some("exact"),
            (false, true) => Some("search"),
            (false, false) => None,
        }
    }

    fn scope_word(&self) -> Option<&'static str> {
        self.scope.map(|scope| match scope {
            Scope::Local => "local",
            Scope::All => "all",
        })
    }

    fn print(&self, query: &str, reply: &Reply, value: &Value, context: &Context) -> anyhow::Result<Exit> {
        let out = &context.out;
        if out.for_people() {
            out.table(&table(value, out.format == super::output::Format::Wide))?;
            if self.explain {
                out.data(&explanation(value))?;
            }
            if self.trace {
                out.data(&format!("\n{}", trace(value).render(out.look)))?;
                if value["lost"].as_array().is_some_and(|lost| !lost.is_empty()) {
                    out.data(&format!("\n{}", lost(value).render(out.look)))?;
                }
            }
            if !referrals(value).is_empty() {
                out.data(&format!("\n{}", referred(value).render(out.look)))?;
            }
            if value["name_not_found"].as_bool() == Some(true) && value["results"][0].is_object() {
                out.talk(&by_words(query, value));
            }
            if value["truncated"].as_bool() == Some(true) {
                out.talk(
                    "more was found than has room in one answer: fewer, or one zone at a time (--zone), are told whole",
                );
            }
            out.talk(&summary(value));
            if let Some(best) = value["results"][0]["name"].as_str() {
                out.next(&[format!("aop show {}", text::shell_word(&text::clean(best)))]);
            }
        } else {
            out.reply(reply, Some("results"), "name")?;
        }
        let exit = exit_of(value);
        let gateway = referrals(value).iter().find_map(|referral| referral["gateways"][0].as_str());
        match (exit, gateway) {
            (Exit::Partial, _) if out.for_people() => {
                let silent = silent_zones(value);
                let who = if silent.is_empty() { "some zones".to_owned() } else { silent.join(", ") };
                out.talk(&format!("partial: no answer from {who}"));
            }
            (Exit::Complete, Some(gateway)) if finds_nothing(value) => {
                let gateway = format!("@{}", text::clean(gateway));
                out.next(&[format!("aop {}", self.again(query, &[&gateway]))]);
            }
            (Exit::Nothing, _) if finds_nothing(value) => self.tell_nothing(query, value, context),
            _ => {}
        }
        Ok(exit)
    }

    fn tell_nothing(&self, query: &str, value: &Value, context: &Context) {
        let out = &context.out;
        let problem = Problem::new(Kind::NameNotFound, format!("nothing found for `{}`", text::cut(query, 80)));
        let nearest = names_of(&value["nearest"]);
        let problem = match nearest.is_empty() {
            true => problem,
            false => problem.did_you_mean(nearest),
        };
        if out.for_people() {
            value["nearest"].as_array().into_iter().flatten().for_each(|near| out.talk(&nearest_line(near)));
        }
        out.problem(&problem.hint(match self.exact {
            true => format!("aop {}", self.again(query, &["--search"])),
            false => "aop ls --tree".to_owned(),
        }));
    }
}

/// What an answer says to a script.
fn exit_of(value: &Value) -> Exit {
    let is = |member: &str| value[member].as_bool() == Some(true);
    match finds_nothing(value) {
        _ if is("partial") => Exit::Partial,
        // Nobody said that there is nothing: a referral is the answer.
        true if !referrals(value).is_empty() => Exit::Complete,
        true => Exit::Nothing,
        // What is shown in the place of a name that no tool has is a suggestion.
        false if is("name_not_found") => Exit::Nothing,
        false => Exit::Complete,
    }
}

fn finds_nothing(value: &Value) -> bool {
    value["results"].as_array().is_none_or(Vec::is_empty)
}

impl Client {
    /// The same client asking these nodes, as `@NODE` says.
    fn elsewhere(&self, nodes: &[String]) -> Result<Self, Problem> {
        Self::new(nodes, self.tokens().clone(), self.asked_time(), self.talk())
    }
}

fn millis(span: Duration) -> String {
    format!("{}ms", span.as_millis())
}

/// What must differ for `--watch` to show the answer again: who is there and how they are, not how old the answer is.
fn fingerprint(value: &Value) -> String {
    let one = |result: &Value| format!("{}{}{}", result["name"], result["def_hash"], result["health"]["state"]);
    let results: String = value["results"].as_array().into_iter().flatten().map(one).collect();
    format!("{results}{}", value["partial"])
}

/// The results, one a line.
fn table(value: &Value, wide: bool) -> Table {
    let mut columns = vec![">#", "TOOL", "ZONE", ">SCORE", "HEALTH", ">TTL"];
    if wide {
        columns.extend(["SOURCE", "ID", "WIRE NAME"]);
    }
    columns.push("DESCRIPTION");
    let mut table = Table::new(&columns);
    for result in value["results"].as_array().into_iter().flatten() {
        let word = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
        let mut row = vec![
            faint(result["rank"].to_string()),
            name(word("name")),
            plain(word("zone")),
            plain(result["score"].as_f64().map_or_else(|| "–".to_owned(), |score| format!("{score:.2}"))),
            health(result),
            plain(result["ttl_ms"].as_u64().map_or_else(|| "–".to_owned(), text::span)),
        ];
        if wide {
            row.extend([plain(word("source")), plain(word("id")), plain(word("wire_name"))]);
        }
        let also: Vec<&str> = result["also"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let marks = [(!also.is_empty()).then(|| format!("(also {})", also.join(", "))), barred(result)];
        let said = marks.into_iter().flatten().chain([described(result)]);
        row.push(plain(said.collect::<Vec<_>>().join(" ")));
        table.row(row);
    }
    table
}

/// `(may not be called)`: why it cannot be used, beyond what its health says.
fn barred(result: &Value) -> Option<String> {
    let why_not = result["why_not"].as_array()?;
    let is = |check: &str| why_not.iter().any(|obstacle| obstacle["check"] == check);
    match (is("auth"), is("protocol")) {
        (true, _) => Some("(you may not call it)".to_owned()),
        (false, true) => Some("(as a task only)".to_owned()),
        (false, false) => None,
    }
}

/// The description, or the title where there is none.
pub(crate) fn described(result: &Value) -> String {
    let word = |key: &str| result[key].as_str().filter(|text| !text.trim().is_empty());
    word("description").or(word("title")).unwrap_or_default().to_owned()
}

/// `● 12 ms`, `◐ stale 9m`, `✗ down`.
pub(crate) fn health(result: &Value) -> (String, Tone) {
    let health = &result["health"];
    let age = result["age_ms"].as_u64().map(text::span).unwrap_or_default();
    match health["state"].as_str().unwrap_or("unknown") {
        "down" => ("✗ down".to_owned(), Tone::Bad),
        _ if result["freshness"].as_str() == Some("stale") => {
            (format!("◐ stale {age}").trim_end().to_owned(), Tone::Warn)
        }
        "degraded" => ("◐ degraded".to_owned(), Tone::Warn),
        "open" => ("◐ open".to_owned(), Tone::Warn),
        "ok" => {
            (format!("● {}", health["latency_ms"].as_f64().map_or_else(|| "ok".to_owned(), text::took)), Tone::Good)
        }
        _ => ("○ unknown".to_owned(), Tone::Faint),
    }
}

/// What is shown is not what was asked for by its name.
fn by_words(query: &str, value: &Value) -> String {
    let near: Vec<String> =
        value["did_you_mean"].as_array().into_iter().flatten().filter_map(Value::as_str).map(text::clean).collect();
    let near = if near.is_empty() { String::new() } else { format!(" (near it: {})", near.join(", ")) };
    format!("no tool is called `{}`{near}; these are found by its words", text::cut(query, 80))
}

/// `3 tools · 8.2 ms · local 2, parent 1 · 2 of 2 zones`.
fn summary(value: &Value) -> String {
    let results = value["results"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut parts = vec![text::count(results.len() as u64, "tool")];
    if let Some(took) = value["took_ms"].as_f64() {
        parts.push(text::took(took));
    }
    let mut sources: Vec<(&str, usize)> = Vec::new();
    for source in results.iter().filter_map(|result| result["source"].as_str()) {
        match sources.iter_mut().find(|(name, _)| *name == source) {
            Some((_, count)) => *count += 1,
            None => sources.push((source, 1)),
        }
    }
    if !sources.is_empty() {
        parts.push(
            sources.iter().map(|(name, count)| format!("{} {count}", text::clean(name))).collect::<Vec<_>>().join(", "),
        );
    }
    let zones = &value["zones"];
    if let (Some(answered), Some(asked)) = (zones["answered"].as_u64(), zones["asked"].as_u64()) {
        let skipped =
            zones["skipped"].as_u64().filter(|n| *n > 0).map(|n| format!(", {n} not asked")).unwrap_or_default();
        parts.push(format!("{answered} of {}{skipped}", text::count(asked, "zone")));
    }
    parts.join(" · ")
}

/// Who was silent, each with the reason where one is known.
pub(crate) fn silent_zones(value: &Value) -> Vec<String> {
    let reasons = &value["zones"]["reasons"];
    let silent = value["zones"]["silent"].as_array().into_iter().flatten().filter_map(Value::as_str);
    silent
        .map(|zone| match reasons[zone].as_str() {
            Some(reason) => format!("{} ({})", text::clean(zone), text::clean(reason)),
            None => text::clean(zone),
        })
        .collect()
}

/// Each result's score and its parts, when the node gives them.
fn explanation(value: &Value) -> String {
    let mut lines = String::from("\n");
    for result in value["results"].as_array().into_iter().flatten() {
        let word = |key: &str| text::clean(result[key].as_str().unwrap_or("–"));
        let score = result["score"].as_f64().map_or_else(|| "–".to_owned(), |score| format!("{score:.4}"));
        let parts: Vec<String> = ["explain", "score_parts"]
            .iter()
            .filter_map(|key| result[*key].as_object())
            .flatten()
            .map(|(part, share)| format!("{} {share}", text::clean(part)))
            .collect();
        let equals = if parts.is_empty() { String::new() } else { format!(" = {}", parts.join(" + ")) };
        let authority =
            if result["authoritative"].as_bool() == Some(true) { "authoritative" } else { "not authoritative" };
        lines.push_str(&format!(
            "score  {}  {score}{equals}  ({}, {}, {authority})\n",
            word("name"),
            word("source"),
            word("freshness")
        ));
    }
    lines
}

/// Every hop, below the one that asked it.
fn trace(value: &Value) -> Table {
    let mut table = Table::new(&["VIA", "ZONE", "NODE", ">HITS", "CACHE", ">TOOK", "OUTCOME"]);
    for step in value["trace"].as_array().into_iter().flatten() {
        let word = |key: &str| step[key].as_str().unwrap_or("–").to_owned();
        let via = match step["via"].as_str().unwrap_or_default() {
            "parent" => "↑ parent".to_owned(),
            "child" => "↓ child".to_owned(),
            other => other.to_owned(),
        };
        let outcome = word("outcome");
        let tone = if outcome == "ok" { Tone::Plain } else { Tone::Warn };
        let took = step["took_ms"].as_f64().map_or_else(|| "–".to_owned(), text::took);
        let hits = if step["hits"].is_null() { "–".to_owned() } else { step["hits"].to_string() };
        let depth = step["depth"].as_u64().unwrap_or_default().min(DEPTH_MAX) as usize;
        table.row(vec![
            name(via),
            plain(format!("{}{}", "· ".repeat(depth), word("zone"))),
            faint(word("node")),
            plain(hits),
            plain(cache(step)),
            plain(took),
            (outcome, tone),
        ]);
    }
    table
}

/// `miss`, or whose cache it came from and how old it is there.
fn cache(step: &Value) -> String {
    let word = step["cache"].as_str().unwrap_or("–").to_owned();
    let at = &step["cached_at"];
    let (Some(level), Some(zone)) = (at["level"].as_str(), at["zone"].as_str()) else { return word };
    format!("{word}, {level} of {zone}, {}", text::span(step["age_ms"].as_u64().unwrap_or_default()))
}

/// What zones offered and is not shown, and why.
fn lost(value: &Value) -> Table {
    let mut table = Table::new(&["NOT SHOWN", "ZONE", ">SCORE", "WHY"]);
    for one in value["lost"].as_array().into_iter().flatten() {
        let word = |key: &str| one[key].as_str().unwrap_or("–").to_owned();
        let score = one["score"].as_f64().map_or_else(|| "–".to_owned(), |score| format!("{score:.2}"));
        table.row(vec![name(word("name")), plain(word("zone")), plain(score), plain(word("why"))]);
    }
    table
}

/// One of those that come nearest where nothing is offered, and why it is not.
fn nearest_line(near: &Value) -> String {
    let word = |key: &str| text::clean(near[key].as_str().unwrap_or("–"));
    let confidence = near["confidence"].as_f64().unwrap_or_default();
    format!("nearest: {} ({:.0} in 100), but {}", word("name"), confidence * 100.0, word("why"))
}

fn names_of(tools: &Value) -> Vec<String> {
    let names = tools.as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str());
    names.map(str::to_owned).collect()
}

fn referrals(value: &Value) -> &[Value] {
    value["referrals"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Where to ask on, when the node was not to ask for us.
fn referred(value: &Value) -> Table {
    let mut table = Table::new(&["ASK ON", "ZONE", ">TOOLS", "STATE", "AT"]);
    for one in referrals(value) {
        let word = |key: &str| one[key].as_str().unwrap_or("–").to_owned();
        let tools = one["tools"].as_u64().map_or_else(|| "–".to_owned(), |tools| tools.to_string());
        let at: Vec<&str> = one["gateways"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let tone = if one["state"] == "connected" { Tone::Good } else { Tone::Warn };
        let way = if one["relation"] == "parent" { "↑ parent" } else { "↓ child" };
        table.row(vec![name(way), plain(word("zone")), plain(tools), (word("state"), tone), plain(at.join(", "))]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Look;

    fn answer() -> Value {
        json!({"schema": "aop.resolve/1", "query": "papers", "partial": true, "took_ms": 8.2, "trace_id": "4b",
            "zones": {"asked": 3, "answered": 2, "skipped": 1, "silent": ["geo"], "reasons": {"geo": "no answer in time"}},
            "results": [
                {"rank": 1, "id": "arxiv/search_papers", "name": "search_papers.arxiv.research", "wire_name": "arxiv__search_papers",
                 "zone": "research", "title": null, "description": "Search arXiv\nwith filters", "score": 0.9123, "source": "local",
                 "authoritative": true, "freshness": "fresh", "age_ms": 0, "ttl_ms": 240_000, "health": {"state": "ok", "latency_ms": 12}},
                {"rank": 2, "id": "s/p", "name": "paper_search.semscholar.lib", "wire_name": "s__p", "zone": "lib", "title": "Scholar",
                 "description": "", "score": 0.74, "source": "parent", "authoritative": false, "freshness": "stale", "age_ms": 540_000,
                 "ttl_ms": 12_000, "health": {"state": "ok", "latency_ms": null}}],
            "trace": [{"zone": "research", "node": "n1", "via": "local", "cache": "miss", "hits": 1, "took_ms": 0.4, "outcome": "ok"},
                      {"zone": "geo", "node": "n2", "via": "child", "cache": "miss", "hits": 0, "took_ms": 250.0, "outcome": "timeout",
                       "depth": 1, "asked_by": "research", "through": {"zone": "geo", "node": "n2"}, "cached_at": null},
                      {"zone": "lib", "node": "n3", "via": "parent", "cache": "hit", "hits": 2, "took_ms": 3.0, "age_ms": 12_000,
                       "depth": 2, "cached_at": {"zone": ".", "node": null, "level": "l2"}, "outcome": "ok"}]})
    }

    fn command(line: &[&str]) -> Resolve {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            resolve: Resolve,
        }
        <Line as clap::Parser>::parse_from(line).resolve
    }

    #[test]
    fn a_question_that_is_asked_on_is_the_same_question() {
        let asked = command(&[
            "aop",
            "read it",
            "--zone",
            "lab",
            "--tag",
            "a b",
            "--tag",
            "c",
            "--capability",
            "d",
            "--no-recurse",
        ]);
        assert_eq!(
            asked.again("read it", &["@127.0.0.1:7401"]),
            "resolve 'read it' @127.0.0.1:7401 --zone lab --tag 'a b' --tag c --capability d --no-recurse"
        );
        let problem = command(&["aop", "papers"]).many_nodes("papers", &["@a:1".to_owned(), "@b:2".to_owned()]);
        assert_eq!((problem.kind, problem.hint.as_deref()), (Kind::Usage, Some("aop --node a:1,b:2 resolve papers")));
    }

    #[test]
    fn results_are_one_line_each() {
        assert_eq!(
            table(&answer(), false).render(Look::default()),
            "#  TOOL                          ZONE      SCORE  HEALTH      TTL  DESCRIPTION\n\
             1  search_papers.arxiv.research  research   0.91  ● 12 ms      4m  Search arXiv with filters\n\
             2  paper_search.semscholar.lib   lib        0.74  ◐ stale 9m  12s  Scholar\n"
        );
        assert_eq!(summary(&answer()), "2 tools · 8.2 ms · local 1, parent 1 · 2 of 3 zones, 1 not asked");
        assert_eq!(silent_zones(&answer()), ["geo (no answer in time)"]);
    }

    #[test]
    fn the_trace_shows_every_hop_and_what_came_of_it() {
        assert_eq!(
            trace(&answer()).render(Look::default()),
            "VIA       ZONE      NODE  HITS  CACHE                TOOK  OUTCOME\n\
             local     research  n1       1  miss               0.4 ms  ok\n\
             ↓ child   · geo     n2       0  miss               250 ms  timeout\n\
             ↑ parent  · · lib   n3       2  hit, l2 of ., 12s  3.0 ms  ok\n"
        );
        assert!(
            explanation(&answer())
                .contains("score  search_papers.arxiv.research  0.9123  (local, fresh, authoritative)\n")
        );
    }
}
