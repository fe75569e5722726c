//! `aop invite`: a token by which one node joins this zone, or one zone below it comes; `aop invite ls` shows what became of them.

use std::time::Duration;

use aop_proto::access::Role;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Request;
use super::output::Exit;
use super::table::{Table, Tone, faint, name, plain};
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop invite                                     # a replica of this zone, once, within an hour
  aop invite --role admin                        # a replica that may invite others
  aop invite --zone lab.acme --role caller       # a zone below, whose users may call tools here
  aop invite --zone lab.acme --uses 3 --for 1d
  aop invite ls
  aop revoke 6f0d51…                             # by the id that `aop invite ls` shows

What is printed is a secret: whoever holds it may join. On the other machine:
  aop-node --invite TOKEN --listen 0.0.0.0:7400 --tls-cert cert.pem --tls-key key.pem
  aop-node --invite TOKEN                        # behind NAT or a firewall: dials, is not dialled";

const LIST_EXAMPLES: &str = "\
Examples:
  aop invite ls
  aop invite ls --json";

/// Make an invite, by which a node joins this zone or comes from one below
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Invite {
    #[command(subcommand)]
    command: Option<Command>,
    /// The zone the node is to be of: this one, or one below it
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// What it may do: peer, reader, caller, registrar or admin [default: peer]
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Option<Role>,
    /// How many nodes may use it [default: 1]
    #[arg(long, value_name = "N")]
    uses: Option<u32>,
    /// How long it is good, such as 30m or 7d [default: 1h]
    #[arg(long = "for", visible_alias = "expires", value_name = "DUR", value_parser = crate::config::parse_duration)]
    life: Option<Duration>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the invites this node has issued
    #[command(after_help = LIST_EXAMPLES)]
    Ls,
}

/// For clap: a role by its name.
pub(super) fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|unknown: aop_proto::access::Unknown| unknown.to_string())
}

impl Invite {
    /// Asks for an invite, or for all of them, and prints what came.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        if self.command.is_some() {
            return list(context).await;
        }
        let body = json!({
            "zone": self.zone, "role": self.role.map(Role::name), "uses": self.uses,
            "life_ms": self.life.map(|life| life.as_millis() as u64),
        });
        let body = without_nulls(body).to_string();
        let reply = context.client.send(&Request::post(&["invites"], body)).await?;
        let out = &context.out;
        if !out.for_people() {
            out.reply(&reply, None, "token")?;
            return Ok(Exit::Complete);
        }
        let value = reply.value()?;
        let token = value["token"].as_str().unwrap_or_default();
        out.data(&format!("{token}\n"))?;
        let (zone, role) = (text::clean(&word(&value["zone"])), text::clean(&word(&value["role"])));
        let uses = value["uses_max"].as_u64().unwrap_or(1);
        let nodes = if uses == 1 { "one node".to_owned() } else { format!("{uses} nodes") };
        out.talk(&format!(
            "for {nodes} of zone {zone}, as {role}; it is a secret, and `aop revoke {}` takes it back",
            id(&value)
        ));
        let address = text::clean(&word(&value["address"]));
        if crate::peer::is_local(&address) {
            out.talk(&format!("it is for nodes on this machine: others cannot dial {address}"));
        }
        out.talk("on the other machine: aop-node --invite, and this token");
        Ok(Exit::Complete)
    }
}

async fn list(context: &mut Context) -> anyhow::Result<Exit> {
    let reply = context.client.send(&Request::get(&["invites"]).with_token()).await?;
    let out = &context.out;
    if !out.for_people() {
        out.reply(&reply, Some("invites"), "id")?;
        return Ok(Exit::Complete);
    }
    let value = reply.value()?;
    let mut table = Table::new(&["ID", "ZONE", "ROLE", ">USED", "STATE", "BY"]);
    for invite in value["invites"].as_array().into_iter().flatten() {
        let state = word(&invite["state"]);
        let tone = if state == "open" { Tone::Good } else { Tone::Faint };
        let by: Vec<String> =
            invite["used_by"].as_array().into_iter().flatten().map(|node| text::cut(&word(node), 10)).collect();
        table.row(vec![
            name(id(invite)),
            plain(word(&invite["zone"])),
            plain(word(&invite["role"])),
            plain(format!("{}/{}", word(&invite["uses"]), word(&invite["uses_max"]))),
            (format!("{} {state}", if state == "open" { "●" } else { "○" }), tone),
            faint(by.join(" ")),
        ]);
    }
    out.table(&table)?;
    Ok(Exit::Complete)
}

fn id(value: &Value) -> String {
    text::clean(&word(&value["id"]))
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}

/// What was not asked for is not said.
fn without_nulls(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    value
}
