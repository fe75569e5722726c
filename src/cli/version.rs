//! `aop version`: what this binary is; asks nobody.

use clap::Args;
use serde_json::json;

use super::Context;
use super::output::{Exit, Format};

const EXAMPLES: &str = "\
Examples:
  aop version
  aop version --json";

/// Print the version of this program
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Version {}

impl Version {
    /// Prints it.
    pub(crate) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let version = env!("CARGO_PKG_VERSION");
        if context.out.for_people() || context.out.format == Format::Name {
            context.out.data(&format!("aop {version}\n"))?;
        } else {
            context.out.value(&json!({"schema": "aop.version/1", "name": "aop", "version": version}), "version")?;
        }
        Ok(Exit::Complete)
    }
}
