//! Finding the admin token of a node on this machine, so that nobody has to name one.
//!
//! A running node leaves a pointer in the XDG state directory, named after its port; the pointer names the token file, which only
//! the same user can read. What must hold: a token is given only for the node whose pointer named it, or that the user named.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

/// Where tokens come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    /// What the user named, for whatever node is asked.
    pub(crate) file: Option<PathBuf>,
    /// The XDG state directory, `~/.local/state` by default.
    pub(crate) state_dir: Option<PathBuf>,
}

/// The members of a node's pointer file that matter here.
#[derive(Debug, Deserialize)]
struct Pointer {
    listen: String,
    admin_token_file: PathBuf,
}

impl Tokens {
    /// From the flag or variable, and the environment.
    pub(crate) fn from_env(file: Option<PathBuf>) -> Self {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state_dir = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        Self { file, state_dir }
    }

    /// The token for `node`, if one is known and can be read.
    pub(crate) fn of(&self, node: &Url) -> Option<String> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.pointer(node)?.admin_token_file,
        };
        let token = std::fs::read_to_string(file).ok()?.trim().to_owned();
        (!token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic())).then_some(token)
    }

    /// Why there is none, and what to do; `None` when one was sent, and refused.
    pub(crate) fn advice(&self, node: &Url) -> Option<(String, String)> {
        if self.of(node).is_some() {
            return None;
        }
        let unreadable = |file: &Path| {
            let why =
                std::fs::read(file).err().map_or_else(|| "it holds no token".to_owned(), |error| error.to_string());
            (format!("the token file {} cannot be used ({why})", file.display()), format!("ls -l {}", file.display()))
        };
        if let Some(file) = &self.file {
            return Some(unreadable(file));
        }
        if let Some(pointer) = self.pointer(node) {
            return Some(unreadable(&pointer.admin_token_file));
        }
        let looked = self.pointer_path(node).map_or_else(|| "nowhere to look".to_owned(), |p| p.display().to_string());
        let message = format!(
            "no token of this node is known here ({looked}); use the account that runs the node, or name its token file"
        );
        Some((message, "export AOP_TOKEN_FILE=/path/of/admin_token_file/in/node.json".to_owned()))
    }

    fn pointer_path(&self, node: &Url) -> Option<PathBuf> {
        Some(self.state_dir.as_ref()?.join("aop/nodes").join(format!("{}.json", node.port_or_known_default()?)))
    }

    fn pointer(&self, node: &Url) -> Option<Pointer> {
        let text = std::fs::read(self.pointer_path(node)?).ok()?;
        let pointer: Pointer = serde_json::from_slice(&text).ok()?;
        let (host, port) = pointer.listen.rsplit_once(':')?;
        let asked = node.host_str()?;
        let same_host = (is_loopback(host) && is_loopback(asked)) || host == asked;
        (same_host && port.parse().ok() == node.port_or_known_default()).then_some(pointer)
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Url {
        super::super::client::node_url(text).expect("an address")
    }

    #[test]
    fn the_pointer_of_the_port_leads_to_the_token_of_that_node_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let nodes = dir.path().join("aop/nodes");
        std::fs::create_dir_all(&nodes).expect("made");
        let token = dir.path().join("token");
        std::fs::write(&token, "s3cret\n").expect("written");
        let pointer = serde_json::json!({"node": "n1", "zone": "local", "listen": "127.0.0.1:7400", "pid": 1, "admin_token_file": token});
        std::fs::write(nodes.join("7400.json"), pointer.to_string()).expect("written");
        std::fs::write(nodes.join("7401.json"), pointer.to_string()).expect("written");
        let tokens = Tokens { file: None, state_dir: Some(dir.path().to_owned()) };
        assert_eq!(tokens.of(&node("localhost:7400")).as_deref(), Some("s3cret"));
        assert_eq!(tokens.of(&node("[::1]:7400")).as_deref(), Some("s3cret"));
        for other in ["10.0.0.1:7400", "127.0.0.1:7401", "127.0.0.1:7402"] {
            assert_eq!(tokens.of(&node(other)), None, "{other}");
        }
        assert!(tokens.advice(&node("127.0.0.1:7402")).expect("advice").0.contains("7402.json"));
    }
}
