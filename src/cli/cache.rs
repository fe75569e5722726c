//! `aop cache`: what a node keeps of answers, level by level; `aop cache flush` forgets it.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Request;
use super::output::Exit;
use super::table::{Table, name, plain};
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop cache show
  aop cache flush
  aop cache flush --zone lab.acme

L1 is what a node's own doors were told (60 s), L2 what its zone was told of
the world outside (300 s), L3 what each zone said (900 s), shown as stale while
that zone is silent.";

/// Show what the node keeps of answers, or forget it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cache {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how many answers each level keeps, and how often they were of use
    #[command(after_help = EXAMPLES)]
    Show,
    /// Forget them: the next questions ask other zones anew, or a fellow that keeps the answer
    #[command(after_help = EXAMPLES)]
    Flush {
        /// Only what is of this zone and those below it
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
    },
}

impl Cache {
    /// Asks for the levels, or for their end, and prints what came.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let out = &context.out;
        match self.command {
            Command::Show => {
                let reply = context.client.send(&Request::get(&["cache"])).await?;
                if out.for_people() {
                    out.table(&table(&reply.value()?))?;
                } else {
                    out.reply(&reply, Some("levels"), "level")?;
                }
            }
            Command::Flush { zone } => {
                let body = zone.as_ref().map_or_else(|| json!({}), |zone| json!({"zone": zone}));
                let reply = context.client.send(&Request::post(&["cache", "flush"], body.to_string())).await?;
                if out.for_people() {
                    out.talk(&forgotten(zone.as_deref(), &reply.value()?["forgotten"]));
                } else {
                    out.reply(&reply, None, "zone")?;
                }
            }
        }
        Ok(Exit::Complete)
    }
}

/// What was forgotten, level by level. The doors' answers go whatever was meant: a zone that nothing was kept of may be one that is not.
fn forgotten(zone: Option<&str>, gone: &Value) -> String {
    let [l1, l2, l3] = ["l1", "l2", "l3"].map(|level| gone[level].as_u64().unwrap_or_default());
    match zone.map(text::clean) {
        None => format!("forgotten: every answer that was kept ({l1} of L1, {l2} of L2, {l3} of L3)"),
        Some(zone) if l2 + l3 == 0 => {
            format!("nothing was kept of {zone} or below ({l1} of L1 are forgotten); `aop zones` shows which there are")
        }
        Some(zone) => format!("forgotten: what was kept of {zone} and below ({l1} of L1, {l2} of L2, {l3} of L3)"),
    }
}

fn table(value: &Value) -> Table {
    let mut table = Table::new(&["LEVEL", ">ENTRIES", ">HITS", ">MISSES", ">RATIO", ">AT MOST", ">LIFE"]);
    for level in value["levels"].as_array().into_iter().flatten() {
        let count = |key: &str| level[key].as_u64().map_or_else(|| "–".to_owned(), |count| count.to_string());
        let ratio = level["ratio"].as_f64().map_or_else(|| "–".to_owned(), |ratio| format!("{:.0} %", ratio * 100.0));
        let megabytes = level["bytes_max"].as_u64().unwrap_or(0) >> 20;
        let most = match level["entries_max"].as_u64() {
            Some(entries) => format!("{entries}, {megabytes} MiB"),
            None => format!("{megabytes} MiB"),
        };
        let life = level["life_max_ms"].as_u64().map(text::span).unwrap_or_default();
        let title = level["level"].as_str().unwrap_or("?").to_uppercase();
        let cells = [count("entries"), count("hits"), count("misses"), ratio, most, life];
        table.row([vec![name(title)], cells.map(plain).into()].concat());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::table::Look;
    use super::*;

    #[test]
    fn each_level_is_a_row() {
        let value = json!({"levels": [
            {"level": "l1", "entries": 2, "entries_max": null, "bytes_max": 67_108_864, "life_max_ms": 60_000, "hits": 3, "misses": 1, "ratio": 0.75},
            {"level": "l2", "entries": 0, "entries_max": 10_000, "bytes_max": 67_108_864, "life_max_ms": 300_000, "hits": 0, "misses": 0, "ratio": null}]});
        assert_eq!(
            table(&value).render(Look::default()),
            "LEVEL  ENTRIES  HITS  MISSES  RATIO        AT MOST  LIFE\n\
             L1           2     3       1   75 %         64 MiB    1m\n\
             L2           0     0       0      –  10000, 64 MiB    5m\n"
        );
    }
}
