//! `aop completions`: the script that lets a shell complete `aop`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::output::Exit;
use super::{Cli, Context};

const EXAMPLES: &str = "\
Examples:
  source <(aop completions bash)
  aop completions zsh > ~/.zfunc/_aop
  aop completions fish > ~/.config/fish/completions/aop.fish";

/// Print the completion script of a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub(crate) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "aop", &mut script);
        context.out.data(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Complete)
    }
}
