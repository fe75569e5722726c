//! What a running node leaves for others to find: `node.json` in its data directory, a pointer to it by port in the state directory,
//! and a word to systemd. All of it is taken back at the end.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Running;

/// Files to be removed when the node stops.
#[derive(Debug, Default)]
pub(super) struct Announced {
    files: Vec<PathBuf>,
}

impl Announced {
    /// Removes them; what is gone already is as well.
    pub(super) fn withdraw(&mut self) {
        for file in self.files.drain(..) {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Says where this node is and where its admin token lies.
pub(super) fn announce(running: &Running, data_dir: Option<&Path>) -> anyhow::Result<Announced> {
    let mut announced = Announced::default();
    let port = running.listen.port();
    let state = state_dir();
    let token_file = match (data_dir, &state) {
        (Some(dir), _) => Some(dir.join("admin.token")),
        (None, Some(state)) => {
            let tokens = state.with_file_name("tokens");
            std::fs::create_dir_all(&tokens).with_context(|| format!("cannot make {}", tokens.display()))?;
            let file = tokens.join(port.to_string());
            // One that a killed node left behind would be taken for ours.
            let _ = std::fs::remove_file(&file);
            running.admin_token.write_to(&file)?;
            announced.files.push(file.clone());
            Some(file)
        }
        (None, None) => None,
    };
    let view = running.handle.view();
    let about = json!({
        "node": view.node.to_string(),
        "zone": view.zone.as_str(),
        "listen": running.listen.to_string(),
        "pid": std::process::id(),
        "admin_token_file": token_file,
        "tls": running.admission.tls().is_some(),
        "tls_cert": running.admission.tls().map(|files| &files.cert),
        "auth_required": !running.admission.auth().is_open(),
    });
    if let Some(state) = state {
        std::fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        announced.files.push(write(&state.join(format!("{port}.json")), &about)?);
    }
    // Last, as others wait for it: whoever sees it uses `aop`, which looks for token and certificate in the other one.
    if let Some(dir) = data_dir {
        announced.files.push(write(&dir.join("node.json"), &about)?);
    }
    tell_systemd();
    Ok(announced)
}

/// Written aside and moved into place, so that nobody reads half of it.
fn write(path: &Path, value: &Value) -> anyhow::Result<PathBuf> {
    use std::io::Write;
    let aside = path.with_extension("json.new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(format!("{value}\n").as_bytes())?;
    std::fs::rename(&aside, path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
}

/// `$XDG_STATE_HOME/aop/nodes`, by default `~/.local/state/aop/nodes` (XDG Base Directory Specification).
fn state_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("aop/nodes"))
}

/// `READY=1`, where systemd asked for it (sd_notify(3)).
fn tell_systemd() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", path));
    if let Err(error) = sent {
        tracing::warn!(%error, "systemd was not told");
    }
}
