//! How a node is reached, and with what: the token and the certificate of a node on this machine, so that nobody has to name them,
//! or those the user named.
//!
//! A running node leaves a pointer in the XDG state directory, named after its port; the pointer says whether it speaks TLS and with
//! which certificate, and names the token file, which only the same user can read. What must hold: a token is given only for the
//! node whose pointer named it, or that the user named.

use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

use super::text;

/// A token itself, where a file is one too many.
const TOKEN_VARIABLE: &str = "AOP_TOKEN";

/// Where tokens and trust come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    /// What the user named, for whatever node is asked.
    pub(crate) file: Option<PathBuf>,
    /// The token itself, in the environment.
    pub(crate) given: Option<String>,
    /// Certificates to believe, for whatever node is asked.
    pub(crate) ca: Option<PathBuf>,
    /// The XDG state directory, `~/.local/state` by default.
    pub(crate) state_dir: Option<PathBuf>,
}

/// The members of a node's pointer file that matter here; nodes of before wrote fewer.
#[derive(Debug, Deserialize)]
struct Pointer {
    listen: String,
    admin_token_file: PathBuf,
    #[serde(default)]
    tls: bool,
    tls_cert: Option<PathBuf>,
    #[serde(default)]
    auth_required: bool,
}

impl Tokens {
    /// From the flags or variables, and the environment.
    pub(crate) fn from_env(file: Option<PathBuf>, ca: Option<PathBuf>) -> Self {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state_dir = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        let given = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        Self { file, given, ca, state_dir }
    }

    /// The token for `node`, if one is known and can be read.
    pub(crate) fn of(&self, node: &Url) -> Option<String> {
        let file = match (&self.file, &self.given) {
            (Some(file), _) => file.clone(),
            (None, Some(given)) => return is_token(given).then(|| given.clone()),
            (None, None) => self.pointer(node)?.admin_token_file,
        };
        let token = std::fs::read_to_string(file).ok()?.trim().to_owned();
        is_token(&token).then_some(token)
    }

    /// Whether a request that changes nothing goes with the token too: the user named one, or the node asks everybody.
    pub(crate) fn is_for_reads(&self, node: &Url) -> bool {
        self.is_given() || self.pointer(node).is_some_and(|pointer| pointer.auth_required)
    }

    /// Whether the user named a token.
    pub(crate) fn is_given(&self) -> bool {
        self.file.is_some() || self.given.is_some()
    }

    /// Whether a node that was named without a scheme speaks TLS: as it says itself, and beyond loopback always.
    pub(crate) fn speaks_tls(&self, node: &Url) -> bool {
        let is_remote = node.host_str().is_some_and(|host| !is_loopback(host));
        self.pointer(node).map_or(is_remote, |pointer| pointer.tls)
    }

    /// The certificates to believe of `node`; none where those of the machine's authorities are.
    pub(crate) fn trust(&self, node: &Url) -> Vec<PathBuf> {
        let own = self.pointer(node).and_then(|pointer| pointer.tls_cert);
        self.ca.iter().cloned().chain(own).collect()
    }

    /// Why there is none, and what to do; `None` when one was sent, and refused.
    pub(crate) fn advice(&self, node: &Url) -> Option<(String, String)> {
        if self.of(node).is_some() {
            return None;
        }
        let unreadable = |file: &Path| {
            let why =
                std::fs::read(file).err().map_or_else(|| "it holds no token".to_owned(), |error| error.to_string());
            let look = format!("ls -l {}", text::shell_word(&file.display().to_string()));
            (format!("the token file {} cannot be used ({why})", file.display()), look)
        };
        if let Some(file) = &self.file {
            return Some(unreadable(file));
        }
        if self.given.is_some() {
            return Some((format!("{TOKEN_VARIABLE} holds no token"), format!("unset {TOKEN_VARIABLE}")));
        }
        if let Some(pointer) = self.pointer(node) {
            return Some(unreadable(&pointer.admin_token_file));
        }
        let looked = self.pointer_path(node).map_or_else(|| "nowhere to look".to_owned(), |p| p.display().to_string());
        let message = format!(
            "no token of this node is known here ({looked}); use the account that runs the node, or name a token with {TOKEN_VARIABLE} or its file with --token-file"
        );
        Some((message, "aop token --help".to_owned()))
    }

    fn pointer_path(&self, node: &Url) -> Option<PathBuf> {
        Some(self.state_dir.as_ref()?.join("aop/nodes").join(format!("{}.json", node.port_or_known_default()?)))
    }

    fn pointer(&self, node: &Url) -> Option<Pointer> {
        let text = std::fs::read(self.pointer_path(node)?).ok()?;
        let pointer: Pointer = serde_json::from_slice(&text).ok()?;
        let (host, port) = pointer.listen.rsplit_once(':')?;
        let is_there = listens_at(host, node.host_str()?) && port.parse().ok() == node.port_or_known_default();
        is_there.then_some(pointer)
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether a node of this machine that listens at `host` is the one at `asked`.
fn listens_at(host: &str, asked: &str) -> bool {
    let address = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let everywhere = address(host).is_some_and(|ip| ip.is_unspecified());
    // Only an address of this machine can be bound.
    let is_here = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
    host == asked
        || (is_loopback(asked) && (everywhere || is_loopback(host)))
        || (everywhere && address(asked).is_some_and(is_here))
}

/// Whether a host is this machine as it calls itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Url {
        Url::parse(&format!("http://{text}")).expect("an address")
    }

    fn pointed(dir: &Path, listen: &str, more: &str) -> Tokens {
        let nodes = dir.join("aop/nodes");
        std::fs::create_dir_all(&nodes).expect("made");
        let token = dir.join("token");
        std::fs::write(&token, "s3cret\n").expect("written");
        let text = format!(
            r#"{{"node":"n1","zone":"local","listen":"{listen}","pid":1,"admin_token_file":"{}"{more}}}"#,
            token.display()
        );
        for port in [7400, 7401] {
            std::fs::write(nodes.join(format!("{port}.json")), &text).expect("written");
        }
        Tokens { state_dir: Some(dir.to_owned()), ..Tokens::default() }
    }

    #[test]
    fn the_pointer_of_the_port_leads_to_the_token_of_that_node_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let tokens = pointed(dir.path(), "127.0.0.1:7400", "");
        assert_eq!(tokens.of(&node("localhost:7400")).as_deref(), Some("s3cret"));
        assert_eq!(tokens.of(&node("[::1]:7400")).as_deref(), Some("s3cret"));
        for other in ["10.0.0.1:7400", "127.0.0.1:7401", "127.0.0.1:7402"] {
            assert_eq!(tokens.of(&node(other)), None, "{other}");
        }
        assert!(tokens.advice(&node("127.0.0.1:7402")).expect("advice").0.contains("7402.json"));
        assert!(!tokens.is_for_reads(&node("127.0.0.1:7400")) && !tokens.speaks_tls(&node("127.0.0.1:7400")));
    }

    #[test]
    fn a_node_that_listens_everywhere_is_found_at_the_addresses_of_this_machine() {
        let dir = tempfile::tempdir().expect("a directory");
        let tokens = pointed(dir.path(), "0.0.0.0:7400", r#","tls":true,"tls_cert":"/c.pem","auth_required":true"#);
        let here = node("127.0.0.1:7400");
        assert!(tokens.of(&here).is_some() && tokens.speaks_tls(&here) && tokens.is_for_reads(&here));
        assert_eq!(tokens.trust(&here), [PathBuf::from("/c.pem")]);
        // An address for documentation is nobody's.
        assert_eq!(tokens.of(&node("203.0.113.77:7400")), None);
        assert_eq!(tokens.of(&node("node.example:7400")), None);
    }

    #[test]
    fn what_the_user_names_goes_to_whatever_node_is_asked() {
        let given = Tokens { given: Some("aop_1".into()), ca: Some("/ca.pem".into()), ..Tokens::default() };
        let far = node("node.example:7400");
        assert_eq!((given.of(&far).as_deref(), given.is_for_reads(&far)), (Some("aop_1"), true));
        assert_eq!(given.trust(&far), [PathBuf::from("/ca.pem")]);
        assert!(given.speaks_tls(&far) && !given.speaks_tls(&node("localhost:7400")));
        let broken = Tokens { given: Some("a b".into()), ..Tokens::default() };
        assert!(broken.of(&far).is_none() && broken.advice(&far).is_some());
    }
}
