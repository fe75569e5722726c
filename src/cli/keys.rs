//! `aop keys`: whose keys this node believes and why it may speak for its zone; `aop keys rotate` gives the zone another key.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::Request;
use super::output::{Exit, Format};
use super::table::{Table, Tone, facts, faint, name, plain};
use super::{Context, text};

/// Hex digits of a key that tell it from others at a glance.
const KEY_CHARS: usize = 16;

const EXAMPLES: &str = "\
Examples:
  aop keys
  aop keys -o wide
  aop --node 127.0.0.1:7401 keys --json
  aop keys rotate";

const ROTATE_EXAMPLES: &str = "\
Examples:
  aop keys rotate
  aop --node 127.0.0.1:7401 keys rotate --json

The node that holds the zone's key makes another, and both keys sign that one
follows the other. Replicas, parents, children and whoever has pinned the key
follow by themselves; certificates of the former key are renewed, and believed
for a day.";

/// Show the keys this node believes, or give its zone another
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give the zone another key
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate,
}

impl Keys {
    /// Asks for the keys, or for another one, and prints what is believed then.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let request = match self.command {
            None => Request::get(&["keys"]),
            Some(Command::Rotate) => Request::post(&["keys", "rotate"], "{}"),
        };
        let reply = context.client.send(&request).await?;
        let out = &context.out;
        if !out.for_people() {
            out.reply(&reply, Some("keys"), "zone")?;
            return Ok(Exit::Complete);
        }
        let value = reply.value()?;
        let wide = out.format == Format::Wide;
        out.data(&facts(&overview(&value, wide), 0))?;
        let table = table(&value, wide);
        if !table.is_empty() {
            out.data(&format!("\n{}", table.render(out.look)))?;
        }
        if matches!(self.command, Some(Command::Rotate)) {
            out.talk(&format!("zone {} has another key; whoever knew the former follows", word(&value["zone"])));
        }
        if keys(&value).any(|key| key["frozen"].as_bool() == Some(true)) {
            out.talk("a frozen zone's key has named two successors: ask its operator which one is right");
        }
        Ok(Exit::Complete)
    }
}

fn overview(value: &Value, wide: bool) -> Vec<(&'static str, String)> {
    let own = word(&value["node"]);
    let maker = word(&value["maker"]);
    let held = match value["held"].as_bool() {
        Some(true) => "this node".to_owned(),
        _ if maker == own || maker == "–" => "another node".to_owned(),
        _ => maker,
    };
    let steps = value["chain"].as_array().into_iter().flatten().map(|step| word(&step["node"]));
    let chain: Vec<String> = std::iter::once("zone key".to_owned()).chain(steps).collect();
    let chain = if chain.len() == 1 { "none yet".to_owned() } else { chain.join(" → ") };
    vec![
        ("zone", word(&value["zone"])),
        ("key", short(&value["key"], wide)),
        ("epoch", word(&value["epoch"])),
        ("held by", held),
        ("chain", chain),
    ]
}

fn table(value: &Value, wide: bool) -> Table {
    let mut table = Table::new(&["ZONE", "KEY", ">EPOCH", "BELIEVED", "STATE"]);
    for key in keys(value) {
        let believed = if key["pinned"].as_bool() == Some(true) { "pinned" } else { "proven by its parent" };
        let state = match key["frozen"].as_bool() {
            Some(true) => ("✗ frozen".to_owned(), Tone::Bad),
            _ => ("● ok".to_owned(), Tone::Good),
        };
        table.row(vec![
            name(word(&key["zone"])),
            faint(short(&key["key"], wide)),
            plain(word(&key["epoch"])),
            plain(believed),
            state,
        ]);
    }
    table
}

fn keys(value: &Value) -> impl Iterator<Item = &Value> {
    value["keys"].as_array().into_iter().flatten()
}

fn word(value: &Value) -> String {
    match value {
        Value::String(word) => text::clean(word),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}

fn short(key: &Value, wide: bool) -> String {
    let whole = word(key);
    if wide { whole } else { text::cut(&whole, KEY_CHARS) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Look;
    use serde_json::json;

    #[test]
    fn a_pinned_key_a_proven_one_and_a_frozen_one_are_told_apart() {
        let value = json!({"zone": "lib", "node": "n1", "key": "ab12", "epoch": 2, "held": false, "maker": "n2",
            "chain": [{"node": "n2", "issuer": "ab12"}, {"node": "n1", "issuer": "cd"}],
            "keys": [{"zone": "lib", "key": "ab12", "epoch": 2, "pinned": true, "frozen": false},
                     {"zone": "ml.lib", "key": "ef34", "epoch": 1, "pinned": false, "frozen": true}]});
        assert_eq!(
            table(&value, false).render(Look::default()),
            "ZONE    KEY   EPOCH  BELIEVED              STATE\n\
             lib     ab12      2  pinned                ● ok\n\
             ml.lib  ef34      1  proven by its parent  ✗ frozen\n"
        );
        let overview = overview(&value, false);
        assert_eq!(overview[3], ("held by", "n2".to_owned()));
        assert_eq!(overview[4], ("chain", "zone key → n2 → n1".to_owned()));
    }
}
