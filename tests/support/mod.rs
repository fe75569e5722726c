//! What the black-box tests share: a world of its own for each test, processes in it, and patience with a deadline.
//!
//! Speaks only the command lines, files and HTTP that a user has; nothing of the library is called. Everything a test starts
//! listens on loopback with a port of the system's choice, writes below the test's own directory, and ends with the test.
#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]

pub(crate) mod fixture;
pub(crate) mod h2;
pub(crate) mod inputs;
pub(crate) mod namespaces;
pub(crate) mod node;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod tools;
pub(crate) mod wait;

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub(crate) use fixture::Fixture;
pub(crate) use namespaces::Namespaces;
pub(crate) use node::{Node, NodeBuilder, names, results};
pub(crate) use process::{Ran, run};
pub(crate) use wait::{PATIENT, SOON, eventually};

/// One test's machine: its own home, XDG directories and files.
pub(crate) struct World {
    dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("aop-test-").tempdir().expect("a temporary directory");
        for name in ["home", "state", "data", "config", "cache", "runtime"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory in a fresh one");
        }
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of this world and gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file of the test's own directory");
        path
    }

    /// A command that sees this world and nothing of the tester's own settings.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        command_in(self.dir.path(), program)
    }

    /// A node to be started; `name` is only for its directory and its log.
    pub(crate) fn node(&self, name: &str) -> NodeBuilder<'_> {
        NodeBuilder::new(self, name)
    }

    /// `aop` with these arguments, its standard input closed.
    pub(crate) fn aop<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(&self, arguments: I) -> Ran {
        let mut command = self.command(env!("CARGO_BIN_EXE_aop"));
        command.args(arguments);
        run(command, None)
    }

    /// `aop-node` with these arguments, for what ends by itself: `check`, `version`, a refused start.
    pub(crate) fn aop_node<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(&self, arguments: I) -> Ran {
        let mut command = self.command(env!("CARGO_BIN_EXE_aop-node"));
        command.args(arguments);
        run(command, None)
    }
}

/// The same within a network namespace, where one is named.
fn command_within(world: &Path, namespace: Option<&str>, program: impl AsRef<Path>) -> Command {
    let Some(namespace) = namespace else { return command_in(world, program) };
    // It becomes the program, so that signals reach that.
    let mut command = command_in(world, "ip");
    command.args(["netns", "exec", namespace]).arg(program.as_ref());
    command
}

fn command_in(world: &Path, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env_clear().current_dir(world);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LANG", "C.UTF-8");
    command.env("HOME", world.join("home"));
    for (variable, name) in [
        ("XDG_STATE_HOME", "state"),
        ("XDG_DATA_HOME", "data"),
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_CACHE_HOME", "cache"),
        ("XDG_RUNTIME_DIR", "runtime"),
    ] {
        command.env(variable, world.join(name));
    }
    // The fixtures are run from the source tree, which stays clean.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Where the sources of the tests lie.
pub(crate) fn in_tests(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}
