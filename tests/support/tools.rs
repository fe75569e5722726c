//! The real servers and clients that `tests/install-tools.sh` puts into the target folder.
//!
//! Without them a test says that it is left out and passes, so that `cargo test` works on a bare machine; where `CI` is set their
//! absence is a failure, so that nothing is left out unseen.

use std::path::{Path, PathBuf};

/// The installed tools, or `None` with the reason printed.
#[track_caller]
pub(crate) fn tools() -> Option<Tools> {
    let dir = dir();
    if dir.join("stamp").exists() {
        return Some(Tools { dir });
    }
    let reason = "left out: no test tools installed; run `bash tests/install-tools.sh`";
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    eprintln!("{reason}");
    None
}

/// Where they are installed, if they are.
pub(crate) fn dir() -> PathBuf {
    std::env::var_os("AOP_TEST_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"), PathBuf::from)
}

#[derive(Debug, Clone)]
pub(crate) struct Tools {
    dir: PathBuf,
}

impl Tools {
    /// A Node.js that is new enough for everything here.
    pub(crate) fn node(&self) -> String {
        self.show("npm/node_modules/node/bin/node")
    }

    /// A command of the npm packages, to be run with [`Tools::node`].
    pub(crate) fn npm(&self, command: &str) -> String {
        self.show(&format!("npm/node_modules/.bin/{command}"))
    }

    /// The reference server over stdio: thirteen tools.
    pub(crate) fn everything(&self) -> Vec<String> {
        vec![self.node(), self.npm("mcp-server-everything")]
    }

    pub(crate) fn time(&self) -> Vec<String> {
        vec![self.show("py/mcp-server-time/bin/mcp-server-time"), "--local-timezone".into(), "UTC".into()]
    }

    pub(crate) fn git(&self, repository: &Path) -> Vec<String> {
        vec![self.show("py/mcp-server-git/bin/mcp-server-git"), "--repository".into(), repository.display().to_string()]
    }

    /// A server that is a Python program of that environment.
    pub(crate) fn server(&self, environment: &str, name: &str, words: &[&str]) -> Vec<String> {
        let program = self.show(&format!("py/{environment}/bin/{name}"));
        std::iter::once(program).chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    /// Where the npm packages are.
    pub(crate) fn packages(&self) -> String {
        self.show("npm")
    }

    /// The interpreter of an environment that has `mcp` 1.x (`mcp1`) or 2.x (`mcp2`).
    pub(crate) fn python(&self, environment: &str) -> String {
        self.show(&format!("py/{environment}/bin/python"))
    }

    fn show(&self, path: &str) -> String {
        self.dir.join(path).display().to_string()
    }
}
