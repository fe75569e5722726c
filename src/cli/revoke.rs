//! `aop revoke`: a node that is believed no more, or an invite that lets nobody in any more.

use clap::Args;
use serde_json::json;

use super::client::Request;
use super::output::Exit;
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop revoke nabk5w3qtd… --reason \"lost laptop\"    # a node, by its id or the beginning of it
  aop revoke 6f0d51ab…                             # an invite, by its id
  aop nodes -o name                                # ids of the nodes of this zone
  aop invite ls                                    # ids of invites

A revoked node is out at once, everywhere and for ever: its connections end, its
tools go, and what it certified is worth nothing. It comes back with another key
only: an empty data directory and a new invite.";

/// Revoke a node of this zone, or an invite
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Revoke {
    /// Id of a node, or of an invite
    id: String,
    /// Why, for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

impl Revoke {
    /// Revokes it and says so.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let id = self.id.trim();
        // Ids of nodes begin with an n; those of invites are hexadecimal digits.
        let is_node = id.starts_with(['n', 'N']);
        let request = if is_node {
            Request::post(&["nodes", id, "revoke"], json!({"reason": self.reason}).to_string())
        } else {
            Request::delete(&["invites", id])
        };
        let reply = context.client.send(&request).await?;
        let out = &context.out;
        if !out.for_people() {
            out.reply(&reply, None, if is_node { "node" } else { "invite" })?;
            return Ok(Exit::Complete);
        }
        let value = reply.value()?;
        let what = |key: &str| value[key].as_str().map(text::clean);
        let said = match (what("node"), what("invite")) {
            (Some(node), _) => format!("node {node} is revoked"),
            (_, Some(invite)) => format!("invite {invite} is revoked"),
            _ => "revoked".to_owned(),
        };
        out.data(&format!("{said}\n"))?;
        if is_node {
            out.next(&["aop nodes".to_owned()]);
        }
        Ok(Exit::Complete)
    }
}
