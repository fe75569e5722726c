//! `aop`, the command line: parse, ask a node over HTTP, print.
//!
//! ```text
//! bin/aop ─▶ cli ─▶ one file per command (arguments → request → answer → table)
//!                     client  token      nodes in turn, the token and the certificate of this machine's node
//!                     output  table yaml json text   formats; words of strangers are cleaned before they are shown
//!                     schema  arguments  a tool's schema, read for people and for `key=value`
//! ```
//!
//! Nothing is decided here about the protocol and no state is kept: what a command can do, `curl` can do. The exit status is
//! decided in one place, [`run`], from the table of [`aop_proto::error::Kind`].

mod arguments;
mod audit;
mod bench;
mod cache;
mod call;
mod client;
mod completions;
mod config;
mod editors;
mod invite;
mod join;
mod json;
mod keys;
mod ls;
mod mcp;
mod nodes;
mod output;
mod queue;
mod refresh;
mod register;
mod register_api;
mod register_file;
mod resolve;
mod revoke;
mod schema;
mod show;
mod stats;
mod status;
mod table;
mod text;
mod token;
mod tokens;
mod transfer;
mod unregister;
mod version;
mod watch;
mod yaml;
mod zones;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use aop_proto::error::{Kind, Problem};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

use client::{Client, Talk};
use output::{Exit, Format, Output, When};
use token::Tokens;

const EXAMPLES: &str = "\
Examples:
  aop resolve \"find papers on arxiv\"
  aop register stdio -- npx -y @modelcontextprotocol/server-everything
  aop --node 127.0.0.1:7401,127.0.0.1:7402 status --json
  AOP_TOKEN=aop_… aop --node https://node.example:7400 --ca ca.pem ls

Exit status:
  0 complete            3 auth required or refused    6 nothing found
  1 other failure       4 node unreachable            7 partial answer
  2 usage or config     5 the tool answered isError   8 time-out with no answer";

/// Finds and calls tools anywhere in a federation of AOP nodes.
#[derive(Debug, Parser)]
#[command(name = "aop", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Nodes to ask, tried in turn while they cannot be reached; https:// where nothing else is said beyond this machine
    #[arg(
        long,
        global = true,
        env = "AOP_NODE",
        hide_env_values = true,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:7400"
    )]
    node: Vec<String>,
    /// How data is written
    #[arg(
        short = 'o',
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    #[arg(help = "How data is written: table, wide, json, jsonl, yaml, name")]
    output: Format,
    /// The same as -o json
    #[arg(long, global = true)]
    json: bool,
    /// Data and errors only, no summaries or hints
    #[arg(short = 'q', long, global = true)]
    quiet: bool,
    /// Show the requests made
    #[arg(short = 'v', long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Colour: auto, always, never
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    color: When,
    /// How long to wait for an answer, such as 500ms or 30s
    #[arg(long, global = true, value_name = "DUR", value_parser = parse_timeout)]
    timeout: Option<Duration>,
    /// A file with the token to present, or AOP_TOKEN; on the same machine and user it is found without
    #[arg(long, global = true, env = "AOP_TOKEN_FILE", value_name = "FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
    /// Certificates to believe of the nodes; that of a node on this machine is found without
    #[arg(long, global = true, env = "AOP_CA", value_name = "FILE", hide_env_values = true)]
    ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Resolve(resolve::Resolve),
    Show(show::Show),
    Ls(ls::Ls),
    Call(call::Call),
    #[command(subcommand)]
    Register(register::Register),
    Unregister(unregister::Unregister),
    Refresh(refresh::Refresh),
    Cache(cache::Cache),
    Watch(watch::Watch),
    Zones(zones::Zones),
    Nodes(nodes::Nodes),
    Status(status::Status),
    Stats(stats::Stats),
    Queue(queue::Queue),
    Keys(keys::Keys),
    Invite(invite::Invite),
    Join(join::Join),
    Revoke(revoke::Revoke),
    Audit(audit::Audit),
    Export(transfer::Export),
    Import(transfer::Import),
    Bench(bench::Bench),
    #[command(subcommand)]
    Token(tokens::Token),
    Mcp(mcp::Mcp),
    #[command(subcommand)]
    Config(config::Config),
    Completions(completions::Completions),
    Version(version::Version),
}

/// What a command works with: who to ask and where to write.
struct Context {
    client: Client,
    out: Output,
    /// As given, for commands that pass it on.
    nodes: Vec<String>,
}

/// Runs `aop` with these arguments (the program's name first) and gives back its exit status.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.len() < 2 {
        // Nothing was asked: the short help is the most useful error.
        output::say(&Cli::command().render_help().to_string());
        return Kind::Usage.exit_code();
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, wants_json(&arguments)),
    };
    let format = if cli.global.json { Format::Json } else { cli.global.output };
    let out = Output::new(format, cli.global.quiet, cli.global.color);
    let ended = match context(&cli.global, out.clone()) {
        Ok(mut context) => dispatch(cli.command, &mut context).await,
        Err(problem) => Err(problem.into()),
    };
    match ended {
        Ok(exit) => exit as u8,
        Err(error) => failure(&error, &out),
    }
}

/// A time to wait, which is never nothing.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    let time = crate::config::parse_duration(text)?;
    if time.is_zero() { Err("nobody answers in no time at all".to_owned()) } else { Ok(time) }
}

fn context(global: &Global, out: Output) -> Result<Context, Problem> {
    let tokens = Tokens::from_env(global.token_file.clone(), global.ca.clone());
    let talk = Talk { detours: out.for_people() && !global.quiet, requests: global.verbose > 0 };
    // `@NODE` of a resolve is looked for by that command; a wrong --node is everybody's error.
    let client = Client::new(&global.node, tokens, global.timeout, talk)?;
    Ok(Context { client, out, nodes: global.node.clone() })
}

async fn dispatch(command: Command, context: &mut Context) -> anyhow::Result<Exit> {
    match command {
        Command::Resolve(command) => command.run(context).await,
        Command::Show(command) => command.run(context).await,
        Command::Ls(command) => command.run(context).await,
        Command::Call(command) => command.run(context).await,
        Command::Register(command) => command.run(context).await,
        Command::Unregister(command) => command.run(context).await,
        Command::Refresh(command) => command.run(context).await,
        Command::Cache(command) => command.run(context).await,
        Command::Watch(command) => command.run(context).await,
        Command::Zones(command) => command.run(context).await,
        Command::Nodes(command) => command.run(context).await,
        Command::Status(command) => command.run(context).await,
        Command::Stats(command) => command.run(context).await,
        Command::Queue(command) => command.run(context).await,
        Command::Keys(command) => command.run(context).await,
        Command::Invite(command) => command.run(context).await,
        Command::Join(command) => command.run(context).await,
        Command::Revoke(command) => command.run(context).await,
        Command::Audit(command) => command.run(context).await,
        Command::Export(command) => command.run(context).await,
        Command::Import(command) => command.run(context).await,
        Command::Bench(command) => command.run(context).await,
        Command::Token(command) => command.run(context).await,
        Command::Mcp(command) => command.run(context).await,
        Command::Config(command) => command.run(context),
        Command::Completions(command) => command.run(context),
        Command::Version(command) => command.run(context),
    }
}

/// The one place where a failure becomes an exit status.
fn failure(error: &anyhow::Error, out: &Output) -> u8 {
    if let Some(error) = error.downcast_ref::<io::Error>()
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        return Exit::Complete as u8;
    }
    let problem = match error.downcast_ref::<Problem>() {
        Some(problem) => problem.clone(),
        None => Problem::new(Kind::Internal, format!("{error:#}")),
    };
    out.problem(&problem);
    problem.kind.exit_code()
}

/// What clap found wrong, or the help that was asked for.
fn usage(error: &clap::Error, json: bool) -> u8 {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if json && !asked {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let near = suggestions(error);
        let problem = Problem::new(Kind::Usage, message).hint("aop --help").did_you_mean(near);
        output::say(&serde_json::json!({"error": problem.to_json()}).to_string());
    } else {
        error.print().ok();
    }
    if asked { Exit::Complete as u8 } else { Kind::Usage.exit_code() }
}

/// The names clap found near what was typed.
fn suggestions(error: &clap::Error) -> Vec<String> {
    let kinds = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    match kinds.into_iter().find_map(|kind| error.get(kind)) {
        Some(ContextValue::Strings(names)) => names.clone(),
        Some(ContextValue::String(name)) => vec![name.clone()],
        _ => Vec::new(),
    }
}

/// Whether JSON was asked for in arguments that could not be parsed.
fn wants_json(arguments: &[OsString]) -> bool {
    let words: Vec<&str> = arguments.iter().map_while(|word| word.to_str()).take_while(|word| *word != "--").collect();
    words.iter().any(|word| matches!(*word, "--json" | "-ojson" | "-o=json" | "--output=json"))
        || words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_every_command_shows_examples() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.get_name() != "help" {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:"), "{path} shows no examples");
            }
            command.get_subcommands().for_each(|sub| walk(sub, &path));
        }
        let command = Cli::command();
        command.clone().debug_assert();
        walk(&command, "");
    }

    #[test]
    fn json_is_seen_even_in_arguments_that_do_not_parse() {
        let wants = |line: &str| wants_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(wants("aop --json nope") && wants("aop -o json nope"));
        assert!(!wants("aop nope") && !wants("aop register stdio -- x --json"));
    }
}
