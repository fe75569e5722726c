//! `aop token`: bearer tokens of a node, made, listed and revoked.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::Request;
use super::output::Exit;
use super::table::{Table, Tone, facts, name, plain};
use super::{Context, text};

const EXAMPLES: &str = "\
Examples:
  aop token create ci --role caller
  aop token ls
  aop token revoke ci";

const EXAMPLES_CREATE: &str = "\
Examples:
  aop token create ci --role caller --expires 90d
  aop token create papers --role registrar --tool \"arxiv.*\"
  aop token create lab --role reader --zone lab.acme -o json

Roles: reader finds tools, caller finds and calls them, registrar finds and
registers them, admin does everything. The token is shown once; whoever holds
it presents it with --token-file FILE, AOP_TOKEN, or as a Bearer token.";

const EXAMPLES_LS: &str = "\
Examples:
  aop token ls
  aop token ls --json";

const EXAMPLES_REVOKE: &str = "\
Examples:
  aop token revoke ci
  aop --node https://node.example:7400 token revoke ci";

/// Make, list and revoke the node's bearer tokens
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Token {
    /// Make a token and show it, once
    #[command(after_help = EXAMPLES_CREATE)]
    Create(Create),
    /// List the tokens, without their secrets
    #[command(after_help = EXAMPLES_LS)]
    Ls,
    /// End a token: whoever presents it is refused from then on
    #[command(after_help = EXAMPLES_REVOKE)]
    Revoke {
        /// The token's name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// How rules, logs and `revoke` call it
    name: String,
    /// reader, caller, registrar or admin
    #[arg(long, value_name = "ROLE")]
    role: String,
    /// Only in this zone and below it
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Only for tools whose full name fits, and servers whose SERVER.ZONE does; * and ?
    #[arg(long, value_name = "GLOB")]
    tool: Option<String>,
    /// How long it lives, such as 90d; until it is revoked where it is not said
    #[arg(long, visible_alias = "for", value_name = "DUR", value_parser = crate::config::parse_duration)]
    expires: Option<Duration>,
}

impl Token {
    /// Asks the node and prints what it says.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::Ls => list(context).await,
            Self::Revoke { name } => {
                let reply = context.client.send(&Request::delete(&["tokens", &name])).await?;
                let out = &context.out;
                if out.for_people() {
                    out.talk(&format!("token {} is revoked", text::clean(&name)));
                } else {
                    out.reply(&reply, None, "name")?;
                }
                Ok(Exit::Complete)
            }
        }
    }
}

impl Create {
    async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let mut body = Map::from_iter([("name".to_owned(), json!(self.name)), ("role".to_owned(), json!(self.role))]);
        for (key, value) in [("zone", self.zone), ("tool", self.tool)] {
            body.extend(value.map(|value| (key.to_owned(), json!(value))));
        }
        let expires = self.expires.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        body.extend(expires.map(|life| ("expires_ms".to_owned(), json!(life))));
        let reply = context.client.send(&Request::post(&["tokens"], Value::Object(body).to_string())).await?;
        let out = &context.out;
        if !out.for_people() {
            out.reply(&reply, None, "token")?;
            return Ok(Exit::Complete);
        }
        let value = reply.value()?;
        // The secret alone is data, so that it can be put into a file as it is.
        out.data(&format!("{}\n", word(&value["token"])))?;
        out.talk(facts(&about(&value), 0).trim_end());
        out.talk("the token is shown this once; the node keeps its hash only");
        Ok(Exit::Complete)
    }
}

async fn list(context: &mut Context) -> anyhow::Result<Exit> {
    let reply = context.client.send(&Request::get(&["tokens"]).with_token()).await?;
    let out = &context.out;
    if !out.for_people() {
        out.reply(&reply, Some("tokens"), "name")?;
        return Ok(Exit::Complete);
    }
    let value = reply.value()?;
    out.table(&table(&value))?;
    let count = value["tokens"].as_array().map_or(0, Vec::len);
    out.talk(&text::count(count as u64, "token"));
    Ok(Exit::Complete)
}

fn about(token: &Value) -> Vec<(&'static str, String)> {
    ["name", "role", "zone", "tool", "expires"].map(|key| (key, word(&token[key]))).into()
}

fn table(value: &Value) -> Table {
    let mut table = Table::new(&["TOKEN", "ROLE", "ZONE", "TOOLS", "EXPIRES", "FROM"]);
    for token in value["tokens"].as_array().into_iter().flatten() {
        let from = match token["configured"].as_bool() {
            Some(true) => ("configuration".to_owned(), Tone::Faint),
            _ => (word(&token["created"]), Tone::Faint),
        };
        let [role, zone, tool, expires] = ["role", "zone", "tool", "expires"].map(|key| plain(word(&token[key])));
        table.row(vec![name(word(&token["name"])), role, zone, tool, expires, from]);
    }
    table
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| "–".to_owned(), text::clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Look;

    #[test]
    fn tokens_are_told_apart_by_where_they_come_from() {
        let value = json!({"tokens": [
            {"name": "ci", "role": "caller", "zone": null, "tool": "*", "expires": "2027-01-01T00:00:00Z", "created": "2026-11-22T00:00:00Z", "configured": false},
            {"name": "ops", "role": "admin", "zone": "acme", "tool": "*", "expires": null, "created": null, "configured": true}]});
        assert_eq!(
            table(&value).render(Look::default()),
            "TOKEN  ROLE    ZONE  TOOLS  EXPIRES               FROM\n\
             ci     caller  –     *      2027-01-01T00:00:00Z  2026-11-22T00:00:00Z\n\
             ops    admin   acme  *      –                     configuration\n"
        );
    }
}
