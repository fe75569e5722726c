//! `aop nodes`: the replicas of this node's zone, and how far behind each one is.

use clap::Args;
use serde_json::Value;

use super::client::Request;
use super::output::{Exit, Format};
use super::table::{Table, Tone, faint, name, plain};
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop nodes
  aop nodes -o wide
  aop --node 127.0.0.1:7401 nodes --json";

/// List the nodes of this zone
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Nodes {}

impl Nodes {
    /// Asks for the nodes and prints them.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let reply = context.client.send(&Request::get(&["nodes"])).await?;
        let out = &context.out;
        if out.for_people() {
            let value = reply.value()?;
            out.table(&table(&value, out.format == Format::Wide))?;
            let count = value["nodes"].as_array().map_or(0, Vec::len);
            out.talk(&format!(
                "{} in zone {}",
                text::count(count as u64, "node"),
                text::clean(value["zone"].as_str().unwrap_or("?"))
            ));
        } else {
            out.reply(&reply, Some("nodes"), "id")?;
        }
        Ok(Exit::Complete)
    }
}

fn table(value: &Value, wide: bool) -> Table {
    let mut columns = vec!["NODE", "STATE", "ADDRESS", ">BEHIND", ">RTT", "VERSION"];
    if wide {
        columns.extend([">INCARNATION", ">THROUGH"]);
    }
    let mut table = Table::new(&columns);
    for node in value["nodes"].as_array().into_iter().flatten() {
        let word = |key: &str| match &node[key] {
            Value::String(text) => text.clone(),
            Value::Null => "–".to_owned(),
            other => other.to_string(),
        };
        let own = if node["self"].as_bool() == Some(true) { " (this)" } else { "" };
        let state = match node["state"].as_str().unwrap_or("unknown") {
            "alive" => ("● alive".to_owned(), Tone::Good),
            "down" => ("✗ down".to_owned(), Tone::Bad),
            other => (format!("◐ {other}"), Tone::Warn),
        };
        let behind = node["behind"].as_u64().unwrap_or(0);
        let behind = (behind.to_string(), if behind == 0 { Tone::Plain } else { Tone::Warn });
        let rtt = node["rtt_ms"].as_f64().map_or_else(|| "–".to_owned(), text::took);
        let mut row = vec![
            name(format!("{}{own}", word("id"))),
            state,
            plain(word("address")),
            behind,
            plain(rtt),
            plain(word("version")),
        ];
        if wide {
            row.extend([faint(word("incarnation")), faint(word("through"))]);
        }
        table.row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Look;
    use serde_json::json;

    #[test]
    fn a_node_that_is_behind_shows_it() {
        let value = json!({"zone": "research", "nodes": [
            {"id": "n1", "self": true, "state": "alive", "address": "127.0.0.1:7400", "incarnation": 1, "through": 13, "behind": 0, "rtt_ms": null, "version": "0.1.0"},
            {"id": "n2", "self": false, "state": "down", "address": "127.0.0.1:7401", "incarnation": 2, "through": 9, "behind": 4, "rtt_ms": 0.3, "version": "0.1.0"}]});
        assert_eq!(
            table(&value, false).render(Look::default()),
            "NODE       STATE    ADDRESS         BEHIND     RTT  VERSION\n\
             n1 (this)  ● alive  127.0.0.1:7400       0       –  0.1.0\n\
             n2         ✗ down   127.0.0.1:7401       4  0.3 ms  0.1.0\n"
        );
    }
}
