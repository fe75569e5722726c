//! `aop status`: one node on one screen — its zone, parents, upstreams, caches and latencies.

use clap::Args;
use serde_json::Value;

use super::client::Request;
use super::output::Exit;
use super::table::{Table, Tone, facts, name, plain};
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop status
  aop --node 127.0.0.1:7401 status
  aop status --json";

/// Show how a node is doing
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Status {}

impl Status {
    /// Asks for the state and, for people, for the upstreams too.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let reply = context.client.send(&Request::get(&["status"])).await?;
        let out = &context.out;
        if !out.for_people() {
            out.reply(&reply, None, "node")?;
            return Ok(Exit::Complete);
        }
        let value = reply.value()?;
        out.data(&facts(&overview(&value), 0))?;
        let servers = context.client.send(&Request::get(&["servers"]).with_token()).await?.value()?;
        let servers = upstreams(&servers);
        if !servers.is_empty() {
            out.data(&format!("\n{}", servers.render(out.look)))?;
        }
        if value["parents"]
            .as_array()
            .is_some_and(|parents| parents.iter().any(|p| p["state"].as_str() != Some("delegated")))
        {
            out.talk("not every parent has delegated this zone yet");
        }
        Ok(Exit::Complete)
    }
}

fn overview(status: &Value) -> Vec<(&'static str, String)> {
    let word = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let resolve = &status["resolve"];
    let time = |key: &str| resolve[key].as_f64().map_or_else(|| "–".to_owned(), text::took);
    let calls = &status["calls"];
    let servers = &status["servers"];
    vec![
        ("node", format!("{}  version {}", word("node"), word("version"))),
        ("zone", format!("{}{}", word("zone"), standing(&status["zone_state"]))),
        ("parents", parents(&status["parents"])),
        ("listen", word("listen")),
        ("up", status["uptime_ms"].as_u64().map(text::span).unwrap_or_default()),
        ("data", status["data_dir"].as_str().map_or_else(|| "in memory".to_owned(), str::to_owned)),
        ("tools", status["tools"].as_u64().map(|n| n.to_string()).unwrap_or_default()),
        ("servers", format!("{} ready, {} down", number(&servers["ready"]), number(&servers["down"]))),
        ("peers", status["peers"].as_u64().map(|n| n.to_string()).unwrap_or_default()),
        (
            "resolve",
            format!(
                "{} answered · p50 {} · p95 {} · p99 {}",
                number(&resolve["count"]),
                time("p50_ms"),
                time("p95_ms"),
                time("p99_ms")
            ),
        ),
        ("cache", cache(&status["cache"])),
        (
            "calls",
            format!(
                "{} ok, {} tool errors, {} failed",
                number(&calls["ok"]),
                number(&calls["tool_error"]),
                number(&calls["failed"])
            ),
        ),
        ("queues", counts(&status["queues"])),
        ("breakers", counts(&status["breakers"])),
        ("gossip", counts(&status["gossip"])),
    ]
}

/// What this node is in its zone, where that is worth a word.
fn standing(state: &Value) -> String {
    match (state["revoked"].as_str(), state["admitted"].as_bool(), state["signs"].as_bool()) {
        (Some(why), ..) => format!("  (revoked {})", text::cut(&text::clean(why), 120)),
        (None, Some(false), _) => "  (not admitted yet)".to_owned(),
        (None, _, Some(false)) => "  (member)".to_owned(),
        _ => String::new(),
    }
}

/// `127.0.0.1:7400 delegated`, or why not and when it is tried again.
fn parents(parents: &Value) -> String {
    let one = |parent: &Value| {
        let mut line =
            format!("{} {}", parent["address"].as_str().unwrap_or("?"), parent["state"].as_str().unwrap_or("?"));
        if let Some(error) = parent["last_error"].as_str() {
            line.push_str(&format!(" ({})", text::cut(&text::clean(error), 120)));
        }
        if let Some(retry) = parent["retry_in_ms"].as_u64().filter(|ms| *ms > 0) {
            line.push_str(&format!(", again in {}", text::span(retry)));
        }
        line
    };
    let parents: Vec<String> = parents.as_array().into_iter().flatten().map(one).collect();
    if parents.is_empty() { "none".to_owned() } else { parents.join("; ") }
}

fn cache(cache: &Value) -> String {
    let levels = ["l1", "l2", "l3"].iter().filter_map(|level| {
        let ratio = cache[*level]["ratio"].as_f64()?;
        let asked = cache[*level]["hits"].as_u64().unwrap_or(0) + cache[*level]["misses"].as_u64().unwrap_or(0);
        Some(if asked == 0 {
            format!("{} –", level.to_uppercase())
        } else {
            format!("{} {:.0} %", level.to_uppercase(), ratio * 100.0)
        })
    });
    levels.collect::<Vec<_>>().join(" · ")
}

/// Whatever numbers the node gives.
fn counts(counts: &Value) -> String {
    let members = counts.as_object().into_iter().flatten().filter(|(_, value)| value.is_number() || value.is_string());
    members
        .map(|(key, value)| {
            format!("{} {}", key.replace('_', " "), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        })
        .collect::<Vec<_>>()
        .join(" · ")
}

/// The upstream servers: not only whether they are up, but when they last answered and what went wrong last.
fn upstreams(servers: &Value) -> Table {
    let mut table =
        Table::new(&["SERVER", "STATE", "LIFECYCLE", ">TOOLS", "PROTOCOL", "LAST OK", "TARGET", "LAST ERROR"]);
    for server in servers["servers"].as_array().into_iter().flatten() {
        let word = |key: &str| server[key].as_str().unwrap_or("–").to_owned();
        let state = match server["state"].as_str().unwrap_or("unknown") {
            "ready" => ("● ready".to_owned(), Tone::Good),
            "down" => ("✗ down".to_owned(), Tone::Bad),
            other => (format!("◐ {other}"), Tone::Warn),
        };
        let last_error = server["last_error"].as_str().unwrap_or_default().to_owned();
        table.row(vec![
            name(word("name")),
            state,
            plain(word("lifecycle")),
            plain(server["tools"].as_u64().unwrap_or(0).to_string()),
            plain(word("protocol")),
            plain(word("last_ok")),
            plain(text::cut(&word("target"), 48)),
            plain(last_error),
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
    fn a_node_fits_on_a_screen() {
        let status = json!({"node": "n1", "zone": "research", "version": "0.1.0", "listen": "127.0.0.1:7400", "uptime_ms": 65_000, "data_dir": null,
            "zone_state": {"admitted": true, "zone_key": "k"},
            "parents": [{"address": "127.0.0.1:7300", "state": "unreachable", "last_error": "refused", "retry_in_ms": 2000}],
            "tools": 13, "servers": {"ready": 1, "down": 0}, "peers": 2,
            "cache": {"l1": {"hits": 3, "misses": 1, "ratio": 0.75}, "l2": {"hits": 0, "misses": 0, "ratio": 0.0}, "l3": null},
            "resolve": {"count": 4, "p50_ms": 0.2, "p95_ms": 8.0, "p99_ms": 12.0}, "calls": {"ok": 2, "tool_error": 0, "failed": 1}, "gossip": {"rounds": 7},
            "queues": {"running": 1, "waiting": 0}, "breakers": {"closed": 2, "open": 1, "half-open": 0}});
        assert_eq!(
            facts(&overview(&status), 0),
            "node      n1 version 0.1.0\nzone      research\nparents   127.0.0.1:7300 unreachable (refused), again in 2s\nlisten    127.0.0.1:7400\nup        1m\n\
             data      in memory\ntools     13\nservers   1 ready, 0 down\npeers     2\nresolve   4 answered · p50 0.2 ms · p95 8.0 ms · p99 12 ms\n\
             cache     L1 75 % · L2 –\ncalls     2 ok, 0 tool errors, 1 failed\nqueues    running 1 · waiting 0\nbreakers  closed 2 · open 1 · half-open 0\n\
             gossip    rounds 7\n"
        );
        let servers = json!({"servers": [{"name": "everything", "kind": "stdio", "target": "npx x", "state": "ready", "lifecycle": "ACTIVE", "protocol": "2025-11-25",
            "tools": 13, "last_ok": "2026-11-21T09:00:00Z", "last_error": null, "restarts": 0, "replica": false}]});
        assert!(
            upstreams(&servers)
                .render(Look::default())
                .contains("everything  ● ready  ACTIVE        13  2025-11-25  2026-11-21T09:00:00Z  npx x")
        );
    }
}
