//! `aop stats`: what became of the calls of each tool at its home, and how the endpoints fare that a node calls.

use clap::Args;
use serde_json::Value;

use super::client::Request;
use super::output::Exit;
use super::table::{Table, Tone, name, plain};
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop stats
  aop stats search_papers.arxiv.research
  aop stats -o json";

/// Show what became of calls: how many, how long they waited and ran
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Stats {
    /// A tool, or a server as SERVER.ZONE
    name: Option<String>,
}

impl Stats {
    /// Asks for the statistics and prints them.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let mut path = vec!["stats"];
        path.extend(self.name.as_deref());
        let reply = context.client.send(&Request::get(&path)).await?;
        let out = &context.out;
        if !out.for_people() {
            out.reply(&reply, Some("tools"), "name")?;
            return Ok(Exit::Complete);
        }
        let value = reply.value()?;
        let (tools, endpoints) = (tools(&value), endpoints(&value));
        if tools.is_empty() && endpoints.is_empty() {
            out.talk("nothing was called here yet");
        }
        let tables = [tools, endpoints].into_iter().filter(|table| !table.is_empty());
        let text: Vec<String> = tables.map(|table| table.render(out.look)).collect();
        out.data(&text.join("\n"))?;
        Ok(Exit::Complete)
    }
}

fn tools(value: &Value) -> Table {
    let mut table = Table::new(&[
        "TOOL",
        ">OK",
        ">FAILED",
        ">CANCELLED",
        ">REFUSED",
        ">A MINUTE",
        ">WAIT P50",
        ">P95",
        ">P99",
        ">RUN P50",
        ">P95",
        ">P99",
    ]);
    for tool in value["tools"].as_array().into_iter().flatten() {
        let stats = &tool["stats"];
        let count = |key: &str| plain(stats[key].as_u64().unwrap_or(0).to_string());
        let time = |of: &str, key: &str| plain(stats[of][key].as_f64().map_or_else(|| "–".to_owned(), text::took));
        table.row(vec![
            name(tool["name"].as_str().unwrap_or("?").to_owned()),
            count("ok"),
            count("failed"),
            count("cancelled"),
            count("refused"),
            count("per_minute"),
            time("wait", "p50_ms"),
            time("wait", "p95_ms"),
            time("wait", "p99_ms"),
            time("run", "p50_ms"),
            time("run", "p95_ms"),
            time("run", "p99_ms"),
        ]);
    }
    table
}

fn endpoints(value: &Value) -> Table {
    let mut table =
        Table::new(&["SERVICE", "NODE", "BREAKER", ">CALLS", ">FAILED", ">LATENCY", "LAST OK", "LAST ERROR"]);
    for one in value["endpoints"].as_array().into_iter().flatten() {
        let word = |key: &str| text::clean(one[key].as_str().unwrap_or("–"));
        let count = |key: &str| plain(one[key].as_u64().unwrap_or(0).to_string());
        let breaker = match one["breaker"].as_str().unwrap_or("?") {
            "closed" => ("● closed".to_owned(), Tone::Good),
            "open" => ("✗ open".to_owned(), Tone::Bad),
            other => (format!("◐ {other}"), Tone::Warn),
        };
        table.row(vec![
            name(word("service")),
            plain(text::cut(&word("node"), 12)),
            breaker,
            count("calls"),
            count("failed"),
            plain(one["latency_ms"].as_f64().map_or_else(|| "–".to_owned(), text::took)),
            plain(word("last_ok")),
            plain(text::cut(one["last_error"].as_str().unwrap_or_default(), 80)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::table::Look;
    use super::*;
    use serde_json::json;

    #[test]
    fn tools_and_endpoints_are_rows() {
        let value = json!({
            "tools": [{"name": "echo.x.lab", "stats": {"ok": 3, "failed": 1, "cancelled": 0, "refused": 2,
                "per_minute": 4, "wait": {"p50_ms": 0.1, "p95_ms": 1.0, "p99_ms": 2.0}, "run": {"p50_ms": 12.0, "p95_ms": 40.0, "p99_ms": null}}}],
            "endpoints": [{"service": "x.lab", "node": "n1", "breaker": "open", "calls": 4, "failed": 1, "latency_ms": 12.5,
                "last_ok": "2026-11-21T09:00:00Z", "last_error": "gone"}]});
        assert_eq!(
            tools(&value).render(Look::default()),
            "TOOL        OK  FAILED  CANCELLED  REFUSED  A MINUTE  WAIT P50     P95     P99  RUN P50    P95  P99\n\
             echo.x.lab   3       1          0        2         4    0.1 ms  1.0 ms  2.0 ms    12 ms  40 ms    –\n"
        );
        let endpoints = endpoints(&value).render(Look::default());
        assert!(endpoints.contains("x.lab    n1    ✗ open       4       1"), "{endpoints}");
    }
}
