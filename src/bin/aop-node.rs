//! `aop-node`: flags and sources made into a configuration, then a node.
//!
//! Nothing runs before the configuration is whole: a mistake is told with exit status 2 and no port was bound.

use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use aop::config::{ConfigError, NodeConfig, NodeFlags, load, load_to_show};
use aop::http::trust::believing;
use aop_proto::error::{Kind, Problem};
use clap::{Parser, Subcommand};

/// What peers send is allocated by one thread and freed by another, which costs the system's allocator a twentieth of the ingest.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often the allocator is made to give back what has lain free for a second. It looks only while it works, so that a node that
/// fell silent after an import would keep a tenth of what it has for nobody.
const GIVE_BACK: Duration = Duration::from_secs(2);
/// So large an allocation has a page of its own, and freeing one is when the allocator looks. Nobody writes to it.
const PAGE_OF_ITS_OWN: usize = 1024 * 1024;

/// A node that does not answer a health check in this time is not healthy.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  aop-node --dev
  aop-node --zone research --parent 127.0.0.1:7400 --listen 127.0.0.1:7401
  aop-node --listen 0.0.0.0:7400 --advertise node.example:7400 --tls-cert cert.pem --tls-key key.pem
  aop-node check --config /etc/aop/node.toml

Every flag is also a variable (AOP_ZONE, AOP_PARENT, AOP_LISTEN …) and a key of
the file; flags come first, then variables, then the file. No flags at all works.";

const EXAMPLES_CHECK: &str = "\
Examples:
  aop-node check
  aop-node check --config node.toml";
const EXAMPLES_CONFIG: &str = "\
Examples:
  aop-node config
  aop-node --zone research config --json";
const EXAMPLES_VERSION: &str = "\
Examples:
  aop-node version
  aop-node version --json";
const EXAMPLES_HEALTH: &str = "\
Examples:
  aop-node healthcheck
  aop-node --listen 127.0.0.1:7401 healthcheck";

/// Owns a zone of tools, finds tools in every other zone, and calls them.
#[derive(Debug, Parser)]
#[command(name = "aop-node", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    flags: NodeFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration and what it points to, start nothing
    #[command(after_help = EXAMPLES_CHECK)]
    Check,
    /// Show the effective configuration and where each value comes from
    #[command(after_help = EXAMPLES_CONFIG)]
    Config {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the version
    #[command(after_help = EXAMPLES_VERSION)]
    Version {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Serve the tools of the demo on standard input and output; `--dev` starts it
    #[command(hide = true)]
    DemoServer {
        /// `papers` or `text`
        name: String,
    },
    /// Ask the node at the configured address whether it is ready
    #[command(after_help = EXAMPLES_HEALTH)]
    Healthcheck,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Version { json }) = cli.command {
        return print(&version(json));
    }
    if let Some(Command::DemoServer { name }) = &cli.command {
        // Its input or output closing is how it ends.
        return aop::server::serve_demo(name).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    if let Some(Command::Config { json }) = cli.command {
        return config(cli.flags, json);
    }
    let flags = cli.flags.clone();
    let again = move || load(flags.clone(), &|name| std::env::var(name).ok());
    let config = match again() {
        Ok(config) => config,
        Err(error) => return refuse(error),
    };
    match cli.command {
        Some(Command::Check) => check(&config),
        Some(Command::Healthcheck) => healthcheck(&config),
        Some(Command::Version { .. } | Command::DemoServer { .. } | Command::Config { .. }) => ExitCode::SUCCESS,
        None => start(config, again),
    }
}

/// Runs the node until it is told to stop.
fn start(config: NodeConfig, again: impl Fn() -> Result<NodeConfig, ConfigError> + Send + 'static) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("aop").build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Problem::new(Kind::Internal, format!("no runtime can be made: {error}"))),
    };
    runtime.spawn(give_back());
    match runtime.block_on(aop::server::run(config, again)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast::<ConfigError>() {
            Ok(error) => refuse(error),
            Err(error) => match error.downcast::<Problem>() {
                Ok(problem) => fail(&problem),
                Err(error) => fail(&Problem::new(Kind::Internal, format!("{error:#}"))),
            },
        },
    }
}

/// Makes the allocator give memory back, for ever.
async fn give_back() {
    let mut ticks = tokio::time::interval(GIVE_BACK);
    loop {
        ticks.tick().await;
        drop(std::hint::black_box(Vec::<u8>::with_capacity(PAGE_OF_ITS_OWN)));
    }
}

/// Shows the configuration, and on standard error what the node could not start with.
fn config(flags: NodeFlags, json: bool) -> ExitCode {
    let (config, tolerated) = match load_to_show(flags, &|name| std::env::var(name).ok()) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(error),
    };
    for error in tolerated {
        say(&format!("warning: {error}"));
    }
    print(&if json { config.to_json().to_string() } else { effective(&config) })
}

/// Key, value and origin, one setting a line.
fn effective(config: &NodeConfig) -> String {
    let rows = config.settings();
    let width = |column: fn(&(&str, String, String)) -> usize| rows.iter().map(column).max().unwrap_or(0);
    let (keys, values) = (width(|row| row.0.chars().count()), width(|row| row.1.chars().count()));
    let mut lines: Vec<String> =
        rows.iter().map(|(key, value, origin)| format!("{key:<keys$}  {value:<values$}  {origin}")).collect();
    lines.extend(config.tool_lines().iter().map(|(key, value)| format!("{key}  {value}")));
    lines.extend(config.admission_lines().iter().map(|(key, value)| format!("{key}  {value}")));
    lines.extend(config.server_lines().iter().map(|(name, target)| format!("server.{name}  {target}")));
    lines.join("\n")
}

fn version(json: bool) -> String {
    let version = env!("CARGO_PKG_VERSION");
    if json {
        serde_json::json!({"schema": "aop.version/1", "name": "aop-node", "version": version}).to_string()
    } else {
        format!("aop-node {version}")
    }
}

/// What can be tried without starting: the data directory and the port. A port in use is only noted, because the node that is
/// to be restarted with this configuration may be running.
fn check(config: &NodeConfig) -> ExitCode {
    if let Some(dir) = &config.data_dir
        && let Err(error) = writable(dir)
    {
        let message = format!(
            "{}: data directory {} cannot be written: {error}; another one is named with --data-dir",
            config.origin("data_dir"),
            dir.display()
        );
        return fail(&Problem::new(Kind::Config, message).hint("aop-node config"));
    }
    let file =
        config.file.as_ref().map_or_else(|| "no file, defaults only".to_owned(), |file| file.display().to_string());
    if let Some(note) = port_note(config.listen) {
        say(&note);
    }
    print(&format!("valid: {file}"))
}

/// Whether the directory, or the nearest one above it that is there, takes a file.
fn writable(dir: &Path) -> io::Result<()> {
    let there = dir.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let probe = there.join(format!(".aop-check-{}", std::process::id()));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&probe)?;
    std::fs::remove_file(&probe)
}

fn port_note(listen: SocketAddr) -> Option<String> {
    match TcpListener::bind(listen) {
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Some(format!("note: {listen} is in use; if that is not this node, choose another port"))
        }
        Err(error) => Some(format!("note: {listen} cannot be used now: {error}")),
    }
}

/// Exit status 0 when `/readyz` says so, 4 when nobody is there, 1 otherwise.
fn healthcheck(config: &NodeConfig) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Problem::new(Kind::Internal, format!("no runtime can be made: {error}"))),
    };
    match runtime.block_on(ready(config)) {
        Ok(body) => print(body.trim()),
        Err(problem) => fail(&problem),
    }
}

async fn ready(config: &NodeConfig) -> Result<String, Problem> {
    let listen = config.listen;
    let unreachable = |error: reqwest::Error| {
        // The outer layers only say that a request was made.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Problem::new(Kind::NodeUnreachable, format!("{listen} cannot be reached: {cause}")).hint("aop-node")
    };
    let http = reqwest::Client::builder().no_proxy().timeout(HEALTH_TIMEOUT);
    let (scheme, http) = match &config.admission.port.tls {
        // Whatever name the certificate is for, it is the node's own.
        Some(tls) => ("https", http.tls_backend_preconfigured(believing(std::slice::from_ref(&tls.cert))?)),
        None => ("http", http.tls_certs_only([])),
    };
    let http = http.build().map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    let response = http.get(format!("{scheme}://{listen}/readyz")).send().await.map_err(unreachable)?;
    let status = response.status();
    let body = response.text().await.map_err(unreachable)?;
    if status.is_success() {
        return Ok(body);
    }
    Err(Problem::new(Kind::Internal, format!("not ready (HTTP {status}): {}", body.trim())))
}

/// A configuration that cannot be used: what, where, and what to write instead.
fn refuse(error: ConfigError) -> ExitCode {
    if let Some(excerpt) = &error.excerpt {
        say(excerpt);
    }
    fail(&error.into())
}

fn fail(problem: &Problem) -> ExitCode {
    let bold = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (on, off) = if bold { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    say(&format!("{on}error[{}]{off}: {}", problem.kind.code(), problem.message));
    if !problem.did_you_mean.is_empty() {
        say(&format!("  help: did you mean `{}`?", problem.did_you_mean.join("` or `")));
    }
    if let Some(hint) = &problem.hint {
        say(&format!("  help: {hint}"));
    }
    ExitCode::from(problem.kind.exit_code())
}

/// A reader that closed the pipe has seen enough.
fn print(text: &str) -> ExitCode {
    writeln!(io::stdout(), "{text}").ok();
    ExitCode::SUCCESS
}

fn say(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}
