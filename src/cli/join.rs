//! `aop join`: gives a running node an invite.

use clap::Args;
use serde_json::json;

use super::client::Request;
use super::output::Exit;
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop join eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSJ9…
  aop --node 127.0.0.1:7401 join \"$(cat invite.txt)\"

The node must be of the zone the invite is for; one that is not started yet
takes it as `aop-node --invite TOKEN`.";

/// Give this node an invite
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Join {
    /// What `aop invite` printed
    token: String,
}

impl Join {
    /// Hands the invite over and says where the node goes with it.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let body = json!({"token": self.token.trim()}).to_string();
        let reply = context.client.send(&Request::post(&["join"], body)).await?;
        let out = &context.out;
        if !out.for_people() {
            out.reply(&reply, None, "zone")?;
            return Ok(Exit::Complete);
        }
        let value = reply.value()?;
        let word = |key: &str| text::clean(value[key].as_str().unwrap_or("–"));
        let addresses: Vec<String> = value["addresses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one.as_str().map(text::clean))
            .collect();
        out.data(&format!("joining {} as {} over {}\n", word("issuer_zone"), word("role"), addresses.join(", ")))?;
        let flag = if value["zone"] == value["issuer_zone"] { "join" } else { "parent" };
        let again: Vec<String> = addresses.iter().map(|address| format!("--{flag} {address}")).collect();
        out.talk(&format!(
            "an invite is for once: later starts find it by `aop-node --zone {} {}`",
            word("zone"),
            again.join(" ")
        ));
        out.next(&["aop status".to_owned()]);
        Ok(Exit::Complete)
    }
}
