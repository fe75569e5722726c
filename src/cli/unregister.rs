//! `aop unregister`: a server with all its tools, or one tool, taken out of the zone.

use aop_proto::error::Kind;
use clap::Args;

use super::client::Request;
use super::output::Exit;
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop unregister everything
  aop unregister echo.demo.research";

/// Take a server and its tools, or one tool, out of the zone
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Unregister {
    /// A server's name, or a tool's full name or SERVER/TOOL
    #[arg(value_name = "NAME | SERVER")]
    name: String,
}

impl Unregister {
    /// A name of one label is a server first; what is not a server may still be a tool.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let tool = Request::delete(&["tools", &self.name]);
        let reply = if self.name.contains(['.', '/']) {
            context.client.send(&tool).await?
        } else {
            match context.client.send(&Request::delete(&["servers", &self.name])).await {
                Err(problem) if problem.kind == Kind::ServerNotFound => match context.client.send(&tool).await {
                    // The server's answer says more about a name without dots than the tool's.
                    Err(second) if second.kind == Kind::NameNotFound => return Err(problem.into()),
                    other => other?,
                },
                other => other?,
            }
        };
        let out = &context.out;
        let value = reply.value()?;
        let removed = value["removed"].as_array().map(Vec::as_slice).unwrap_or_default();
        if out.for_people() {
            let names: String = removed
                .iter()
                .filter_map(|name| name.as_str())
                .map(|name| format!("{}\n", text::clean(name)))
                .collect();
            out.data(&names)?;
            out.talk(&format!("{} unregistered", text::count(removed.len() as u64, "tool")));
        } else {
            out.reply(&reply, Some("removed"), "name")?;
        }
        Ok(Exit::Complete)
    }
}
