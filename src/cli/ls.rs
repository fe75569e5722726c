//! `aop ls`: the tools of a zone and below.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::Request;
use super::output::{Exit, Format};
use super::resolve::{described, health, silent_zones};
use super::table::{Table, faint, name, plain};
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop ls
  aop ls research --tree
  aop ls --unhealthy -o name";

/// A big zone elsewhere comes page by page.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// The node lists no more.
const LIST_MAX: i64 = 1_000_000;

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
    #[arg(short = 'n', long = "limit", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=LIST_MAX))]
    limit: Option<u32>,
}

impl Ls {
    /// Asks for the list and prints it.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let request = Request::get(&["tools"])
            .param_opt("zone", self.zone.clone())
            // Who wants the unwell is served by a list of all.
            .param_opt("n", self.limit.filter(|_| !self.unhealthy).map(|n| n.to_string()))
            .timeout(LIST_TIMEOUT);
        let mut reply = context.client.send(&request).await?;
        let mut value = reply.value()?;
        let known = tools_of(&value).len();
        let found = if self.unhealthy {
            let found = self.keep_unwell(&mut value);
            reply.body = value.to_string().into();
            Some(found)
        } else {
            None
        };
        let out = &context.out;
        if !out.for_people() {
            out.reply(&reply, Some("tools"), "name")?;
        } else if self.tree {
            out.data(&tree(&value))?;
        } else {
            out.table(&table(&value, out.format == Format::Wide))?;
        }
        let is_partial = value["partial"].as_bool() == Some(true);
        out.talk(&summary(&value, known, found));
        if known == 0 && is_partial {
            out.next(&["aop zones --tree".to_owned()]);
        } else if known == 0 {
            out.next(&[
                "aop register stdio -- npx -y @modelcontextprotocol/server-everything".to_owned(),
                "aop zones".to_owned(),
            ]);
        } else if is_cut(&value) {
            out.next(&[self.more(tools_of(&value).len())]);
        }
        if is_partial {
            let silent = silent_zones(&value);
            let who = if silent.is_empty() { "some zones".to_owned() } else { silent.join(", ") };
            out.talk(&format!("partial: no answer from {who}; there may be more"));
            return Ok(Exit::Partial);
        }
        Ok(Exit::Complete)
    }

    /// Leaves the tools that are not known to be well, so many of them as are wanted, and tells how many there are.
    fn keep_unwell(&self, value: &mut Value) -> usize {
        let limit = self.limit.map_or(usize::MAX, |limit| limit as usize);
        let Some(tools) = value["tools"].as_array_mut() else { return 0 };
        tools.retain(is_unwell);
        let found = tools.len();
        tools.truncate(limit);
        if found > limit {
            value["truncated"] = true.into();
        }
        found
    }

    /// The command that lists more than these.
    fn more(&self, known: usize) -> String {
        let zone = self.zone.as_ref().map(|zone| format!(" {}", text::shell_word(zone))).unwrap_or_default();
        let unhealthy = if self.unhealthy { " --unhealthy" } else { "" };
        let tree = if self.tree { " --tree" } else { "" };
        format!("aop ls{zone}{tree}{unhealthy} -n {}", (known as i64).saturating_mul(10).min(LIST_MAX))
    }
}

/// What is listed, where `known` tools were looked at and `unwell` of them are not well: `3 tools in zone research, 2 in zones below`.
fn summary(value: &Value, known: usize, unwell: Option<usize>) -> String {
    let zone = text::clean(value["zone"].as_str().unwrap_or("."));
    let tools = tools_of(value);
    if known == 0 && value["partial"].as_bool() == Some(true) {
        return format!("what is in zone {zone} is not known");
    }
    match unwell {
        Some(0) if known > 0 => {
            return format!("no tool is unhealthy among those known in zone {zone} and below ({known})");
        }
        Some(unwell) if is_cut(value) => {
            let first = tools.len();
            return format!("first {first} of {unwell} tools not well in zone {zone} and below");
        }
        // Those of a part say nothing of the whole.
        None if is_cut(value) => {
            return format!(
                "first {} in zone {zone} and below; there are more",
                text::count(tools.len() as u64, "tool")
            );
        }
        _ => {}
    }
    let unhealthy = if unwell.is_some() { " not well" } else { "" };
    let is_own = |tool: &&Value| tool["zone"].as_str().is_none_or(|of| of.eq_ignore_ascii_case(&zone));
    let own = tools.iter().filter(is_own).count();
    let below = match tools.len() - own {
        0 => String::new(),
        below => format!(", {below} in zones below"),
    };
    format!("{}{unhealthy} in zone {zone}{below}", text::count(own as u64, "tool"))
}

fn tools_of(value: &Value) -> &[Value] {
    value["tools"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether there are more than were asked for.
fn is_cut(value: &Value) -> bool {
    value["truncated"].as_bool() == Some(true)
}

/// Not known to be well now: how a stale one is nobody says.
fn is_unwell(tool: &Value) -> bool {
    tool["health"]["state"].as_str() != Some("ok") || tool["freshness"].as_str() == Some("stale")
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
        assert_eq!(tree(&value), "research\n├─ arxiv\n│  ├─ search\n│  └─ get  ✗ down\n└─ time\n   └─ now\n");
    }

    #[test]
    fn counts_are_told_where_they_are_known_only() {
        let tool = |zone: &str| json!({"zone": zone});
        let list = json!([tool("research"), tool("lab.research"), tool("lab.research")]);
        let whole = json!({"zone": "Research", "tools": list});
        assert_eq!(summary(&whole, 3, None), "1 tool in zone Research, 2 in zones below");
        let cut = json!({"zone": ".", "truncated": true, "tools": list});
        assert_eq!(summary(&cut, 3, None), "first 3 tools in zone . and below; there are more");
        assert_eq!(summary(&cut, 9, Some(5)), "first 3 of 5 tools not well in zone . and below");
        let none = json!({"zone": "lab", "partial": true, "tools": []});
        assert_eq!(summary(&none, 2, Some(0)), "no tool is unhealthy among those known in zone lab and below (2)");
        assert_eq!(summary(&none, 0, Some(0)), "what is in zone lab is not known");
    }

    #[test]
    fn a_limit_is_one_of_those_that_are_not_well() {
        let tool = |state: &str| json!({"health": {"state": state}});
        let mut list = json!({"tools": [tool("ok"), tool("down"), tool("ok"), tool("unknown")]});
        let ls = Ls { zone: None, tree: false, unhealthy: true, limit: Some(1) };
        assert_eq!((ls.keep_unwell(&mut list), list), (2, json!({"tools": [tool("down")], "truncated": true})));
    }

    #[test]
    fn what_is_listed_next_is_more_of_the_same() {
        let ls = Ls { zone: Some("lab".to_owned()), tree: false, unhealthy: true, limit: Some(2) };
        assert_eq!(ls.more(2), "aop ls lab --unhealthy -n 20");
    }

    #[test]
    fn a_stale_tool_is_not_known_to_be_well() {
        let of = |state: &str, freshness: &str| is_unwell(&json!({"health": {"state": state}, "freshness": freshness}));
        assert_eq!([of("ok", "fresh"), of("ok", "stale"), of("down", "fresh")], [false, true, true]);
    }
}
