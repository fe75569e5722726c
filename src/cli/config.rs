//! `aop config`: what a node started here would use, and whether it could.

use std::path::PathBuf;

use aop_proto::error::Problem;
use clap::{Args, Subcommand};
use serde_json::json;

use super::output::Exit;
use super::table::{Table, faint, name, plain};
use super::{Context, output};
use crate::config::{ConfigError, NodeConfig, NodeFlags, SCHEMA, load};

const EXAMPLES: &str = "\
Examples:
  aop config show
  aop config check --config /etc/aop/node.toml
  aop config schema";

const EXAMPLES_SHOW: &str = "\
Examples:
  aop config show
  aop config show --config node.toml -o json";

const EXAMPLES_CHECK: &str = "\
Examples:
  aop config check
  aop config check --config node.toml";

const EXAMPLES_SCHEMA: &str = "\
Examples:
  aop config schema
  aop config schema > aop-node.schema.json";

/// Show or check the configuration of a node
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Config {
    /// Show every setting and where it comes from
    #[command(after_help = EXAMPLES_SHOW)]
    Show(Which),
    /// Check it, as a node would before it starts
    #[command(after_help = EXAMPLES_CHECK)]
    Check(Which),
    /// Print the JSON Schema of the file, for editors and checks
    #[command(after_help = EXAMPLES_SCHEMA)]
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The file, instead of the one a node would find
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Config {
    /// Reads the configuration; asks no node.
    pub(crate) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let (which, check) = match self {
            Self::Schema => {
                context.out.json(SCHEMA)?;
                return Ok(Exit::Complete);
            }
            Self::Show(which) => (which, false),
            Self::Check(which) => (which, true),
        };
        let flags = NodeFlags { config: which.config, ..NodeFlags::default() };
        let config = load(flags, &|name| std::env::var(name).ok()).map_err(|error| problem(error, context))?;
        let out = &context.out;
        if !out.for_people() {
            out.value(&if check { checked(&config) } else { config.to_json() }, "file")?;
        } else if check {
            let file = config
                .file
                .as_ref()
                .map_or_else(|| "no file, defaults only".to_owned(), |file| file.display().to_string());
            out.data(&format!("valid: {file}\n"))?;
        } else {
            out.table(&table(&config))?;
        }
        Ok(Exit::Complete)
    }
}

fn checked(config: &NodeConfig) -> serde_json::Value {
    json!({"schema": "aop.config-check/1", "valid": true, "file": config.file})
}

fn table(config: &NodeConfig) -> Table {
    let mut table = Table::new(&["SETTING", "VALUE", "ORIGIN"]);
    for (key, value, origin) in config.settings() {
        table.row(vec![name(key), plain(value), faint(origin)]);
    }
    let origin = config.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    for (key, value) in config.tool_lines().into_iter().chain(config.admission_lines()) {
        table.row(vec![name(key), plain(value), faint(origin.clone())]);
    }
    for (server, target) in config.server_lines() {
        table.row(vec![name(format!("server.{server}")), plain(target), faint(origin.clone())]);
    }
    table
}

/// The drawing of the place goes before the error line, which stays one line for programs.
fn problem(error: ConfigError, context: &Context) -> Problem {
    if context.out.for_people()
        && let Some(excerpt) = &error.excerpt
    {
        output::say(excerpt);
    }
    error.into()
}
