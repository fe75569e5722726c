//! `aop ls`: the tools of a zone and below.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::Request;
use super::output::{Exit, Format};
use super::resolve::{described, health};
use super::table::{Table, faint, name, plain};
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop ls
  aop ls research --tree
  aop ls --unhealthy -o name";

/// A big zone elsewhere comes page by page.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// List the tools of this node's zone, or of another
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ls {
    /// The zone, instead of the node's own
    zone: Option<String>,
    /// Draw zones, servers and tools as a tree
    #[arg(long)]
    tree: bool,
    /// Only tools that are not well
    #[arg(long)]
    unhealthy: bool,
    /// At most this many
    #[arg(short = 'n', long = "limit", value_name = "N")]
    limit: Option<u32>,
}

impl Ls {
    /// Asks for the list and prints it.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let request = Request::get(&["tools"])
            .param_opt("zone", self.zone.clone())
            .param_opt("n", self.limit.map(|n| n.to_string()))
            .timeout(LIST_TIMEOUT);
        let mut reply = context.client.send(&request).await?;
        let mut value = reply.value()?;
        if self.unhealthy {
            if let Some(tools) = value["tools"].as_array_mut() {
                tools.retain(|tool| tool["health"]["state"].as_str() != Some("ok"));
            }
            reply.body = value.to_string().into();
        }
        let out = &context.out;
        if !out.for_people() {
            out.reply(&reply, Some("tools"), "name")?;
        } else if self.tree {
            out.data(&tree(&value))?;
        } else {
            out.table(&table(&value, out.format == Format::Wide))?;
        }
        let tools = value["tools"].as_array().map_or(0, Vec::len);
        let zone = text::clean(value["zone"].as_str().unwrap_or("."));
        let unhealthy = if self.unhealthy { " not well" } else { "" };
        let is_partial = value["partial"].as_bool() == Some(true);
        match tools == 0 && is_partial {
            true => out.talk(&format!("what is in zone {zone} is not known")),
            false => out.talk(&summary(&value, unhealthy, &zone)),
        }
        if tools == 0 && is_partial {
            out.next(&["aop zones --tree".to_owned()]);
        } else if tools == 0 && !self.unhealthy {
            out.next(&[
                "aop register stdio -- npx -y @modelcontextprotocol/server-everything".to_owned(),
                "aop zones".to_owned(),
            ]);
        }
        if is_partial {
            out.talk("partial: not everybody answered, there may be more");
            return Ok(Exit::Partial);
        }
        Ok(Exit::Complete)
    }
}

/// `3 tools in zone research, 2 in zones below`.
fn summary(value: &Value, unhealthy: &str, zone: &str) -> String {
    let all = value["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let own = all.iter().filter(|tool| tool["zone"].as_str().is_none_or(|of| of.eq_ignore_ascii_case(zone))).count();
    let below = match all.len() - own {
        0 => String::new(),
        below => format!(", {below} in zones below"),
    };
    format!("{}{unhealthy} in zone {zone}{below}", text::count(own as u64, "tool"))
}

fn table(value: &Value, wide: bool) -> Table {
    let mut columns = vec!["TOOL", "HEALTH"];
    if wide {
        columns.extend([">TTL", "SOURCE", "ID", "WIRE NAME", "DEFINITION"]);
    }
    columns.push("DESCRIPTION");
    let mut table = Table::new(&columns);
    for tool in value["tools"].as_array().into_iter().flatten() {
        let word = |key: &str| tool[key].as_str().unwrap_or_default().to_owned();
        let mut row = vec![name(word("name")), health(tool)];
        if wide {
            let ttl = tool["ttl_ms"].as_u64().map_or_else(|| "–".to_owned(), text::span);
            row.extend([
                plain(ttl),
                plain(word("source")),
                plain(word("id")),
                plain(word("wire_name")),
                faint(text::cut(&word("def_hash"), 19)),
            ]);
        }
        row.push(plain(described(tool)));
        table.row(row);
    }
    table
}

/// Zones, in each its servers, in each its tools.
fn tree(value: &Value) -> String {
    let mut zones: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for tool in value["tools"].as_array().into_iter().flatten() {
        let word = |key: &str| text::clean(tool[key].as_str().unwrap_or_default());
        let (server, original) = word("id")
            .split_once('/')
            .map_or_else(|| (String::new(), word("name")), |(s, t)| (s.to_owned(), t.to_owned()));
        let (mark, _) = health(tool);
        let mark = if mark.starts_with('●') { String::new() } else { format!("  {mark}") };
        zones.entry(word("zone")).or_default().entry(server).or_default().push(format!("{original}{mark}"));
    }
    let mut lines = String::new();
    for (zone, servers) in zones {
        lines.push_str(&format!("{zone}\n"));
        let servers_last = servers.len().saturating_sub(1);
        for (index, (server, tools)) in servers.into_iter().enumerate() {
            let (branch, bar) = if index == servers_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            lines.push_str(&format!("{branch}{}\n", if server.is_empty() { "(no server)" } else { &server }));
            let tools_last = tools.len().saturating_sub(1);
            for (index, tool) in tools.into_iter().enumerate() {
                let branch = if index == tools_last { "└─ " } else { "├─ " };
                lines.push_str(&format!("{bar}{branch}{tool}\n"));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tree_groups_by_zone_and_server() {
        let tool =
            |id: &str, state: &str| json!({"id": id, "zone": "research", "name": "x", "health": {"state": state}});
        let value = json!({"tools": [tool("arxiv/search", "ok"), tool("arxiv/get", "down"), tool("time/now", "ok")]});
        assert_eq!(summary(&value, "", "Research"), "3 tools in zone Research");
        assert_eq!(summary(&value, " not well", "."), "0 tools not well in zone ., 3 in zones below");
        assert_eq!(tree(&value), "research\n├─ arxiv\n│  ├─ search\n│  └─ get  ✗ down\n└─ time\n   └─ now\n");
    }
}
