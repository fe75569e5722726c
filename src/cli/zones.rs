//! `aop zones`: this node's zone, its parent, its children and what is known beyond; and what this zone delegates.

use aop_proto::access::Role;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Request;
use super::output::Exit;
use super::table::{Table, Tone, name, plain};
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop zones
  aop zones --tree
  aop zones -o json
  aop zones delegate lab.acme KEY --role caller
  aop zones undelegate lab.acme";

const DELEGATE_EXAMPLES: &str = "\
Examples:
  aop zones delegate lab.acme 3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29
  aop zones delegate lab.acme \"$(aop keys -o json --node lab:7400 | jq -r .key)\" --role caller

The key is the zone's own, as `aop keys` shows it at a node of that zone. From
then on its nodes are let in without an invite.";

const UNDELEGATE_EXAMPLES: &str = "\
Examples:
  aop zones undelegate lab.acme
  aop zones undelegate lab.acme --reason \"contract ended\"

What lies below it is not found any more and its nodes are not let in, here and
at every replica, until it is delegated to or invited again.";

/// List the zones this node knows, delegate to one below, or cut it off
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Zones {
    #[command(subcommand)]
    command: Option<Command>,
    /// Draw them below one another
    #[arg(long)]
    tree: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whose a zone below is, and what its users may do here
    #[command(after_help = DELEGATE_EXAMPLES)]
    Delegate {
        /// The zone, below this one
        zone: String,
        /// Its zone key, 64 hexadecimal digits
        key: String,
        /// What its organisation may do: peer, reader, caller, registrar or admin
        #[arg(long, value_name = "ROLE", default_value = "peer", value_parser = super::invite::role)]
        role: Role,
    },
    /// Cut a zone below off
    #[command(after_help = UNDELEGATE_EXAMPLES)]
    Undelegate {
        /// The zone
        zone: String,
        /// Why, for people
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

impl Command {
    async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let (request, said) = match &self {
            Self::Delegate { zone, key, role } => {
                let body = json!({"key": key, "role": role.name()}).to_string();
                let said = format!("zone {} is delegated to, as {}", text::clean(zone), role.name());
                (Request::post(&["zones", zone, "delegate"], body), said)
            }
            Self::Undelegate { zone, reason } => {
                let body = json!({"reason": reason}).to_string();
                (Request::post(&["zones", zone, "undelegate"], body), format!("zone {} is cut off", text::clean(zone)))
            }
        };
        let reply = context.client.send(&request).await?;
        if context.out.for_people() {
            context.out.data(&format!("{said}\n"))?;
        } else {
            context.out.reply(&reply, None, "zone")?;
        }
        Ok(Exit::Complete)
    }
}

impl Zones {
    /// Asks for the zones and prints them.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        if let Some(command) = self.command {
            return command.run(context).await;
        }
        let reply = context.client.send(&Request::get(&["zones"])).await?;
        let out = &context.out;
        let value = reply.value()?;
        if !out.for_people() {
            out.reply(&reply, Some("zones"), "name")?;
        } else if self.tree {
            out.data(&tree(&value))?;
        } else {
            out.table(&table(&value))?;
        }
        if value["partial"].as_bool() == Some(true) {
            let silent: Vec<String> = zones(&value)
                .filter(|zone| zone["state"].as_str() == Some("silent"))
                .filter_map(|zone| zone["name"].as_str().map(text::clean))
                .collect();
            out.talk(&format!(
                "partial: no answer from {}",
                if silent.is_empty() { "some zones".to_owned() } else { silent.join(", ") }
            ));
            return Ok(Exit::Partial);
        }
        Ok(Exit::Complete)
    }
}

fn zones(value: &Value) -> impl Iterator<Item = &Value> {
    value["zones"].as_array().into_iter().flatten()
}

fn table(value: &Value) -> Table {
    let mut table = Table::new(&["ZONE", "RELATION", "PARENT", ">TOOLS", ">NODES", "SERIAL", "STATE"]);
    for zone in zones(value) {
        let word = |key: &str| match &zone[key] {
            Value::String(text) => text.clone(),
            Value::Null => "–".to_owned(),
            other => other.to_string(),
        };
        table.row(vec![
            name(word("name")),
            plain(word("relation")),
            plain(word("parent")),
            plain(word("tools")),
            plain(word("nodes")),
            plain(text::cut(&word("serial"), 24)),
            state(zone),
        ]);
    }
    table
}

fn state(zone: &Value) -> (String, Tone) {
    match zone["state"].as_str().unwrap_or("unknown") {
        "ok" => ("● ok".to_owned(), Tone::Good),
        "silent" => ("✗ silent".to_owned(), Tone::Bad),
        other => (format!("○ {other}"), Tone::Faint),
    }
}

/// Zones below their parents; one whose parent is not listed stands at the left.
fn tree(value: &Value) -> String {
    let all: Vec<&Value> = zones(value).collect();
    let is_listed = |parent: &str| all.iter().any(|zone| zone["name"].as_str() == Some(parent));
    let mut lines = String::new();
    for zone in &all {
        let parent = zone["parent"].as_str().filter(|parent| Some(*parent) != zone["name"].as_str());
        if parent.is_none_or(|parent| !is_listed(parent)) {
            branch(zone, "", "", &all, all.len(), &mut lines);
        }
    }
    lines
}

/// One zone and those below it; `left` bounds the depth, should the answer go round in a circle.
fn branch(zone: &Value, mark: &str, indent: &str, all: &[&Value], left: usize, lines: &mut String) {
    let word = |key: &str| text::clean(zone[key].as_str().unwrap_or("–"));
    let own = if zone["relation"].as_str() == Some("own") { "  (own)" } else { "" };
    let tools = zone["tools"].as_u64().map(|n| format!("  {}", text::count(n, "tool"))).unwrap_or_default();
    lines.push_str(&format!("{indent}{mark}{}{tools}  {}{own}\n", word("name"), state(zone).0));
    let Some(left) = left.checked_sub(1) else { return };
    let below: Vec<&&Value> = all
        .iter()
        .filter(|child| {
            child["parent"].as_str() == zone["name"].as_str() && child["name"].as_str() != zone["name"].as_str()
        })
        .collect();
    let indent = match mark {
        "" => String::new(),
        "└─ " => format!("{indent}   "),
        _ => format!("{indent}│  "),
    };
    for (index, child) in below.iter().enumerate() {
        let mark = if index + 1 == below.len() { "└─ " } else { "├─ " };
        branch(child, mark, &indent, all, left, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Look;
    use serde_json::json;

    fn answer() -> Value {
        json!({"schema": "aop.zones/1", "zone": "research", "partial": true, "zones": [
            {"name": ".", "parent": null, "relation": "parent", "tools": 0, "nodes": 1, "serial": "a.1", "state": "ok"},
            {"name": "research", "parent": ".", "relation": "own", "tools": 13, "nodes": 2, "serial": "b.7", "state": "ok"},
            {"name": "writing", "parent": ".", "relation": "remote", "tools": 4, "nodes": null, "serial": "c.2", "state": "silent"},
            {"name": "eu.research", "parent": "research", "relation": "child", "tools": 1, "nodes": 1, "serial": "d.2", "state": "ok"}]})
    }

    #[test]
    fn zones_are_listed_and_drawn() {
        assert_eq!(
            table(&answer()).render(Look::default()).lines().nth(2),
            Some("research     own       .            13      2  b.7     ● ok")
        );
        assert_eq!(
            tree(&answer()),
            ".  0 tools  ● ok\n├─ research  13 tools  ● ok  (own)\n│  └─ eu.research  1 tool  ● ok\n└─ writing  4 tools  ✗ silent\n"
        );
    }
}
