//! `aop mcp`: the node's MCP door over standard streams, and the lines that tell each client about it.

use std::path::{Path, PathBuf};

use aop_proto::error::{Kind, Problem};
use clap::{Args, Subcommand, ValueEnum as _};
use serde_json::json;

use super::Context;
use super::editors::{Editor, Places, Target};
use super::output::Exit;

const EXAMPLES: &str = "\
Examples:
  aop mcp
  aop mcp config claude-code
  aop --node 127.0.0.1:7401 mcp config cursor --write";

const EXAMPLES_STDIO: &str = "\
Examples:
  aop mcp stdio
  aop --node 127.0.0.1:7401 mcp stdio";

const EXAMPLES_CONFIG: &str = "\
Examples:
  aop mcp config claude-code
  aop mcp config claude-desktop --write
  aop mcp config vscode --write";

/// Serve MCP over standard streams, for clients that start a program
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Mcp {
    #[command(subcommand)]
    command: Option<Sub>,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// The same as `aop mcp`
    #[command(after_help = EXAMPLES_STDIO)]
    Stdio,
    /// Print, or write, what an MCP client needs to use this node
    #[command(after_help = EXAMPLES_CONFIG)]
    Config(Config),
}

#[derive(Debug, Args)]
struct Config {
    /// claude-code, claude-desktop, cursor, vscode, codex, zed or windsurf
    #[arg(value_enum, hide_possible_values = true)]
    client: Editor,
    /// Put it into the client's own file
    #[arg(long)]
    write: bool,
}

impl Mcp {
    /// Serves until the client goes away, or prints a configuration.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        match self.command {
            None | Some(Sub::Stdio) => serve(context).await,
            Some(Sub::Config(config)) => config.run(context),
        }
    }
}

/// Hands standard input and output over to the bridge; nothing else may write to stdout while it runs.
async fn serve(context: &Context) -> anyhow::Result<Exit> {
    crate::mcp::stdio::bridge(context.client.ends()?).await?;
    Ok(Exit::Complete)
}

impl Config {
    fn run(&self, context: &Context) -> anyhow::Result<Exit> {
        let target = Target {
            base: context.client.base(),
            nodes: context.nodes.join(","),
            flags: context.client.flags(),
            is_plain: context.client.is_plain(),
            program: std::env::current_exe()
                .ok()
                .and_then(|exe| exe.to_str().map(str::to_owned))
                .unwrap_or_else(|| "aop".to_owned()),
        };
        let file = self.client.file(&places()?);
        let out = &context.out;
        if self.write {
            self.write_to(&file, &target)?;
            if out.for_people() {
                out.data(&format!("{}\n", file.display()))?;
                out.talk("restart the client, or reload its MCP servers");
            } else {
                out.value(&json!({"schema": "aop.mcp-config/1", "file": file, "written": true}), "file")?;
            }
            return Ok(Exit::Complete);
        }
        let snippet = self.client.snippet(&target);
        if out.for_people() {
            out.data(&snippet)?;
            out.talk(&format!("goes into {}, or: --write", file.display()));
            out.next(&self.client.command(&target).into_iter().collect::<Vec<_>>());
        } else {
            out.value(
                &json!({"schema": "aop.mcp-config/1", "file": file, "written": false, "content": snippet}),
                "file",
            )?;
        }
        Ok(Exit::Complete)
    }

    fn write_to(&self, file: &Path, target: &Target) -> Result<(), Problem> {
        let by_hand = |why: String| {
            let problem = Problem::new(Kind::Config, format!("{} {why}; it was left as it is", file.display()));
            match self.client.to_possible_value() {
                Some(client) => problem.hint(format!("aop mcp config {}", client.get_name())),
                None => problem,
            }
        };
        let existing = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(by_hand(format!("cannot be read ({error})"))),
        };
        let merged = self.client.merge(&existing, target).map_err(by_hand)?;
        replace(file, &merged).map_err(|error| by_hand(format!("cannot be written ({error})")))
    }
}

/// Writes beside the file and renames, so that a client never reads half of it; a link is written through.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_like(&file, &beside, text).and_then(|()| std::fs::rename(&beside, &file));
    if written.is_err() {
        std::fs::remove_file(&beside).ok();
    }
    written
}

/// Writes `beside` with the permissions `file` has, from its first byte on: these files hold other servers' secrets.
fn write_like(file: &Path, beside: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    let like = std::fs::metadata(file).ok().map(|meta| meta.permissions());
    #[cfg(unix)]
    if like.is_some() {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let mut written = options.open(beside)?;
    if let Some(like) = like {
        written.set_permissions(like)?;
    }
    std::io::Write::write_all(&mut written, text.as_bytes())?;
    written.sync_all()
}

fn places() -> Result<Places, Problem> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute("HOME")
        .or_else(|| absolute("USERPROFILE"))
        .ok_or_else(|| Problem::new(Kind::Config, "no home directory is known").hint("export HOME=/path/to/home"))?;
    let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("APPDATA")).unwrap_or_else(|| home.join(".config"));
    Ok(Places { home, config, project: std::env::current_dir().unwrap_or_default() })
}
