//! `aop queue`: calls that wait at a node for their turn, and how they are held back or let go.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Request;
use super::output::Exit;
use super::table::{Table, Tone, name, plain};
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop queue ls
  aop queue ls send.mail.research
  aop queue pause send.mail.research
  aop queue cancel send.mail.research 42

A tool's calls wait at the node that serves it. A paused queue takes calls in
and begins none; what runs already runs on.";

/// Show, hold back or let go the calls that wait at a node
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Queue {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show every queue, or the calls that wait in one
    #[command(after_help = EXAMPLES)]
    Ls {
        /// The tool
        tool: Option<String>,
    },
    /// Begin no more calls of a tool
    #[command(after_help = EXAMPLES)]
    Pause {
        /// The tool
        tool: String,
    },
    /// Begin calls of a tool again
    #[command(after_help = EXAMPLES)]
    Resume {
        /// The tool
        tool: String,
    },
    /// Refuse all calls that wait for a tool
    #[command(after_help = EXAMPLES)]
    Clear {
        /// The tool
        tool: String,
    },
    /// Refuse one call that waits
    #[command(after_help = EXAMPLES)]
    Cancel {
        /// The tool
        tool: String,
        /// Its ticket, as `aop queue ls TOOL` shows it
        ticket: u64,
    },
}

impl Queue {
    /// Asks, or has something done, and prints what came.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let post = |tool: &str, act: &str| Request::post(&["queues", tool, act], json!({}).to_string());
        let request = match &self.command {
            Command::Ls { tool: None } => Request::get(&["queues"]),
            Command::Ls { tool: Some(tool) } => Request::get(&["queues", tool]).with_token(),
            Command::Pause { tool } => post(tool, "pause"),
            Command::Resume { tool } => post(tool, "resume"),
            Command::Clear { tool } => post(tool, "clear"),
            Command::Cancel { tool, ticket } => Request::delete(&["queues", tool, "calls", &ticket.to_string()]),
        };
        let reply = context.client.send(&request).await?;
        let out = &context.out;
        if !out.for_people() {
            let rows = matches!(self.command, Command::Ls { .. }).then_some("queues");
            out.reply(&reply, rows, "name")?;
            return Ok(Exit::Complete);
        }
        let value = reply.value()?;
        match &self.command {
            Command::Ls { tool: None } => out.table(&queues(&value))?,
            Command::Ls { tool: Some(_) } => out.table(&waiting(&value["queues"][0]))?,
            _ => out.talk(&done(&value)),
        }
        Ok(Exit::Complete)
    }
}

fn queues(value: &Value) -> Table {
    let mut table = Table::new(&["TOOL", "STATE", ">RUNNING", ">WAITING", ">OLDEST", ">REFUSED"]);
    for queue in value["queues"].as_array().into_iter().flatten() {
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let of = |count: &str, most: &str| format!("{}/{}", number(&queue[count]), number(&queue[most]));
        let state = match queue["state"].as_str() {
            Some("paused") => ("◐ paused".to_owned(), Tone::Warn),
            _ => ("● running".to_owned(), Tone::Good),
        };
        table.row(vec![
            name(queue["name"].as_str().unwrap_or("?").to_owned()),
            state,
            plain(of("running", "workers")),
            plain(of("waiting", "room")),
            plain(queue["oldest_ms"].as_u64().map(text::span).unwrap_or_default()),
            plain(number(&queue["stats"]["refused"]).to_string()),
        ]);
    }
    table
}

fn waiting(queue: &Value) -> Table {
    let mut table = Table::new(&[">TICKET", "CALLER", ">PRIORITY", ">WAITED"]);
    for call in queue["calls"].as_array().into_iter().flatten() {
        let number = |key: &str| call[key].as_u64().unwrap_or(0);
        table.row(vec![
            plain(number("ticket").to_string()),
            name(text::clean(call["caller"].as_str().unwrap_or("?"))),
            plain(number("priority").to_string()),
            plain(text::span(number("waited_ms"))),
        ]);
    }
    table
}

fn done(value: &Value) -> String {
    let tool = text::clean(value["name"].as_str().unwrap_or("?"));
    match (value["state"].as_str(), value["cleared"].as_u64(), value["cancelled"].as_u64()) {
        (Some(state), ..) => format!("{tool}: {}", text::clean(state)),
        (_, Some(cleared), _) => format!("{tool}: {} refused", text::count(cleared, "waiting call")),
        (_, _, Some(ticket)) => format!("{tool}: call {ticket} refused"),
        _ => tool,
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Look;
    use super::*;

    #[test]
    fn a_queue_is_a_row_and_so_is_each_call_in_it() {
        let queue = json!({"name": "send.mail.research", "state": "paused", "running": 1, "workers": 64, "waiting": 2, "room": 1000,
            "oldest_ms": 65_000, "stats": {"refused": 3},
            "calls": [{"ticket": 7, "caller": "token:ci", "priority": 5, "waited_ms": 65_000}]});
        assert_eq!(
            queues(&json!({"queues": [queue]})).render(Look::default()),
            "TOOL                STATE     RUNNING  WAITING  OLDEST  REFUSED\n\
             send.mail.research  ◐ paused     1/64   2/1000      1m        3\n"
        );
        assert_eq!(
            waiting(&queue).render(Look::default()),
            "TICKET  CALLER    PRIORITY  WAITED\n     7  token:ci         5      1m\n"
        );
        assert_eq!(done(&json!({"name": "t", "cleared": 2})), "t: 2 waiting calls refused");
    }
}
