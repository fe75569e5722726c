//! `aop audit`: who did what at the node, the last of it, as it happens, or whether all of it is still there.

use std::time::Duration;

use aop_proto::error::{Kind, Problem};
use clap::Args;
use serde_json::Value;

use super::client::{Reply, Request};
use super::output::{Exit, Format};
use super::table::{Table, Tone, facts, faint, name, plain};
use super::{Context, text, yaml};

const EXAMPLES: &str = "\
Examples:
  aop audit
  aop audit -n 1000 --event registered --event changed --since 24h
  aop audit --principal 'token:*' --since 2026-11-21T09:30:00Z -o jsonl
  aop audit -f --event called
  aop audit --verify

Events: registered, unregistered, changed, approved, called, joined, left,
invited, revoked, delegated, undelegated, rotated, exported, imported,
token_created, token_revoked, queue, refused, started, stopped.";

/// Entries shown unless asked for more.
const ENTRIES: u32 = 20;
/// Entries of one answer at most; what happens between two looks has to fit.
const ENTRIES_MAX: u32 = 10_000;
/// Between two looks while following.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A long log is looked through for seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A gigabyte takes some seconds.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(600);

/// Show who did what at this node
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Audit {
    /// The newest N entries that fit
    #[arg(short = 'n', long = "limit", value_name = "N", default_value_t = ENTRIES,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(ENTRIES_MAX)))]
    limit: u32,
    /// Only this kind of event; may be given several times
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// Only what these did, such as operator or 'token:*'
    #[arg(long, value_name = "GLOB")]
    principal: Option<String>,
    /// Only from this time on: so long ago, or a time
    #[arg(long, value_name = "DUR|RFC3339", value_parser = parse_since)]
    since: Option<String>,
    /// Go on with what happens from now on
    #[arg(short = 'f', long)]
    follow: bool,
    /// Check that no entry was changed, taken out or put in
    #[arg(long, conflicts_with_all = ["limit", "events", "principal", "since", "follow"])]
    verify: bool,
}

impl Audit {
    /// Asks for entries and prints them.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        if self.verify {
            return verify(context).await;
        }
        if self.follow {
            return self.follow(context).await;
        }
        let reply = context.client.send(&self.request(self.limit, None)).await?;
        let value = reply.value()?;
        let partial = value["partial"].as_bool() == Some(true);
        let out = &context.out;
        if !out.for_people() {
            out.reply(&reply, Some("entries"), "name")?;
        } else {
            out.table(&table(&value, out.format == Format::Wide))?;
        }
        let shown = entries(&value).count() as u64;
        if shown == 0 {
            out.talk("nothing of that kind is written down");
        }
        if partial {
            out.talk("partial: the log is long, and older entries were not looked at");
            return Ok(Exit::Partial);
        }
        Ok(if shown == 0 { Exit::Nothing } else { Exit::Complete })
    }

    fn request(&self, limit: u32, after: Option<u64>) -> Request {
        let request = Request::get(&["audit"])
            .with_token()
            .timeout(READ_TIMEOUT)
            .param("n", limit.to_string())
            .param_opt("principal", self.principal.clone())
            .param_opt("since", self.since.clone())
            .param_opt("after", after.map(|after| after.to_string()));
        self.events.iter().fold(request, |request, event| request.param("event", event.as_str()))
    }

    /// Prints what there is, then what comes, until somebody ends it.
    async fn follow(&self, context: &mut Context) -> anyhow::Result<Exit> {
        // Asked for first, so that nothing falls between the two answers.
        let newest = newest(context).await?;
        let first = context.client.send(&self.request(self.limit, None)).await?.value()?;
        show(&first, context)?;
        let mut last = number_of_last(&first).unwrap_or(0).max(newest);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let value = context.client.send(&self.request(ENTRIES_MAX, Some(last))).await?.value()?;
            if let Some(number) = number_of_last(&value) {
                show(&value, context)?;
                last = number;
            }
            if entries(&value).count() == ENTRIES_MAX as usize || value["partial"].as_bool() == Some(true) {
                context.out.talk("too much happens at once: some entries are not shown");
            }
        }
    }
}

/// The number of the newest entry of all.
async fn newest(context: &Context) -> Result<u64, Problem> {
    let request = Request::get(&["audit"]).with_token().timeout(READ_TIMEOUT).param("n", "1");
    Ok(number_of_last(&context.client.send(&request).await?.value()?).unwrap_or(0))
}

/// Rows, one object a line, or one document each: a stream has no end that a single document could have.
fn show(value: &Value, context: &Context) -> anyhow::Result<()> {
    let out = &context.out;
    match out.format {
        Format::Table | Format::Wide => out.table(&table(value, out.format == Format::Wide))?,
        Format::Name => {
            let names = entries(value).filter_map(|entry| entry["name"].as_str());
            out.data(&names.map(|name| format!("{}\n", text::clean(name))).collect::<String>())?;
        }
        Format::Yaml => out.data(&entries(value).map(yaml::one_of_many).collect::<String>())?,
        Format::Json | Format::Jsonl => {
            out.data(&entries(value).map(|entry| format!("{entry}\n")).collect::<String>())?;
        }
    }
    Ok(())
}

async fn verify(context: &Context) -> anyhow::Result<Exit> {
    let request = Request::get(&["audit", "verify"]).with_token().timeout(VERIFY_TIMEOUT);
    let reply: Reply = context.client.send(&request).await?;
    let value = reply.value()?;
    let out = &context.out;
    if out.for_people() {
        out.data(&facts(&overview(&value), 0))?;
    } else {
        out.reply(&reply, None, "intact")?;
    }
    if value["intact"].as_bool() != Some(true) {
        let broken = &value["broken"];
        let at = format!("{} line {}", text::clean(&word(&broken["file"])), word(&broken["line"]));
        let why = text::clean(&word(&broken["reason"]));
        return Err(Problem::new(Kind::StoreFailed, format!("the audit is not whole: {at}: {why}")).into());
    }
    if value["missing"].as_u64().unwrap_or(0) > 0 {
        out.talk("missing entries could not be written when they happened: the disk was full, or failed");
        return Ok(Exit::Partial);
    }
    Ok(Exit::Complete)
}

fn overview(value: &Value) -> Vec<(&'static str, String)> {
    let intact = if value["intact"].as_bool() == Some(true) { "yes" } else { "no" };
    vec![
        ("intact", intact.to_owned()),
        ("entries", word(&value["entries"])),
        ("first", word(&value["first"])),
        ("last", word(&value["last"])),
        ("missing", word(&value["missing"])),
    ]
}

fn table(value: &Value, wide: bool) -> Table {
    let mut columns = vec!["TIME", "EVENT", "PRINCIPAL", "OUTCOME"];
    if wide {
        columns.extend([">SEQ", ">TOOK", "ZONE", "NODE", "REASON", "DEFINITION", "BEFORE"]);
    }
    columns.push("NAME");
    let mut table = Table::new(&columns);
    for entry in entries(value) {
        let of = |key: &str| word(&entry[key]);
        let mut row = vec![plain(of("at")), name(of("event")), plain(of("principal")), outcome(&entry["outcome"])];
        if wide {
            let took = entry["took_ms"].as_f64().map_or_else(String::new, text::took);
            row.extend([plain(of("seq")), plain(took), plain(of("zone")), plain(of("node")), plain(of("reason"))]);
            row.extend(["def_hash", "def_hash_before"].map(|key| faint(of(key))));
        }
        row.push(plain(if wide { named(entry) } else { told(entry) }));
        table.row(row);
    }
    table
}

/// The name, and where it says nothing of them the zone, the node and the reason: who joined where, and why somebody did not.
fn told(entry: &Value) -> String {
    let (mut told, zone, node, reason) =
        (named(entry), word(&entry["zone"]), word(&entry["node"]), word(&entry["reason"]));
    let is_of_calls = matches!(entry["event"].as_str(), Some("called" | "registered" | "unregistered" | "changed"));
    if !is_of_calls {
        let parts = [("zone ", zone), ("node ", text::cut(&node, 10)), ("", reason)];
        for (what, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
            let gap = if told.is_empty() { "" } else { "  " };
            told = format!("{told}{gap}{what}{part}");
        }
    }
    told
}

/// The name, and how many tools it was about.
fn named(entry: &Value) -> String {
    match entry["tools"].as_u64() {
        Some(tools) => format!("{} ({})", word(&entry["name"]), text::count(tools, "tool")).trim_start().to_owned(),
        None => word(&entry["name"]),
    }
}

/// `ok`, or a problem's code with its name.
fn outcome(value: &Value) -> (String, Tone) {
    let code = word(value);
    match Kind::ALL.iter().find(|kind| kind.code() == code) {
        Some(kind) => (format!("{code} {}", kind.name()), Tone::Bad),
        None => (code, Tone::Plain),
    }
}

fn entries(value: &Value) -> impl Iterator<Item = &Value> {
    value["entries"].as_array().into_iter().flatten()
}

fn number_of_last(value: &Value) -> Option<u64> {
    entries(value).last()?["seq"].as_u64()
}

/// What is not known stays empty.
fn word(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// As the node understands it.
fn parse_since(text: &str) -> Result<String, String> {
    if crate::clock::parse_rfc3339(text).is_some() {
        return Ok(text.to_owned());
    }
    match crate::config::parse_duration(text) {
        Ok(ago) => Ok(format!("{}ms", ago.as_millis())),
        Err(_) => {
            Err(format!("`{text}` is neither a duration such as `24h` nor a time such as `2026-11-21T09:30:00Z`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Look;
    use serde_json::json;

    #[test]
    fn rows_say_who_did_what_and_cannot_move_the_cursor() {
        let value = json!({"entries": [
            {"seq": 1, "at": "2026-11-22T11:00:00.000Z", "event": "registered", "principal": "operator", "name": "papers",
             "tools": 3, "outcome": "ok"},
            {"seq": 2, "at": "2026-11-22T11:00:01.000Z", "event": "called", "principal": "token:a\u{1b}[2J",
             "name": "echo\u{202e}\n.x", "outcome": "AOP0302"}]});
        let text = table(&value, false).render(Look::default());
        assert!(text.contains("registered  operator    ok                      papers (3 tools)"), "{text}");
        assert!(text.contains("called      token:a[2J  AOP0302 name_not_found  echo .x"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        assert_eq!((text.lines().count(), number_of_last(&value)), (3, Some(2)));
    }

    #[test]
    fn since_is_a_time_or_how_long_ago_it_was() {
        assert_eq!(parse_since("2d").as_deref(), Ok("172800000ms"));
        assert_eq!(parse_since("2026-11-21").as_deref(), Ok("2026-11-21"));
        assert!(parse_since("yesterday").is_err() && parse_since("5").is_err());
    }
}
