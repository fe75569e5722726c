//! Nodes that are measured: processes of their own on loopback, with a store on disk, as `aop-node` is without further flags.
//!
//! Always true: a node is used only when it says that it is ready and shows what it is to show. It has one worker thread, as floors
//! have: with the load on another, two processors are enough that nobody waits for anybody's turn.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::arguments::Arguments;
use crate::catalogue;
use crate::connection::Connection;
use crate::process::Process;
use crate::start::address_of;

/// What tokio's multi-threaded runtime reads its number of workers from.
pub(crate) const WORKERS: (&str, &str) = ("TOKIO_WORKER_THREADS", "1");
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Node {
    /// Starts a node of that zone, with all it has below `folder`, and these arguments besides.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(arguments: &Arguments, folder: &Path, zone: &str, more: &[&str]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        // An empty one, so that none of the machine's is read.
        let (file, data) = (folder.join("node.toml"), folder.join("data"));
        fs::write(&file, "")?;
        // One that was killed before has left its own.
        let _ = fs::remove_file(data.join("node.json"));
        let process = Command::new(&arguments.node)
            .args(["--zone", zone, "--listen", "127.0.0.1:0", "--log-level", "error", "--config"])
            .arg(&file)
            .arg("--data-dir")
            .arg(&data)
            .args(more)
            .env("XDG_STATE_HOME", folder)
            .env(WORKERS.0, WORKERS.1)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("{}: {error}", arguments.node.display()))?;
        let process = Process::from(process);
        let address = address_of(&data)?.parse()?;
        Ok(Self { process, address })
    }

    /// The same of a node that lists so many tools of [`catalogue`].
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn with_tools(
        arguments: &Arguments,
        folder: &Path,
        zone: &str,
        tools: usize,
        more: &[&str],
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let file = folder.join("tools.jsonl");
        catalogue::write(&file, tools)?;
        let file = file.display().to_string();
        Self::start(arguments, folder, zone, &[&["--import", &file], more].concat())
    }

    /// Asks until every one of these names is found.
    ///
    /// # Errors
    /// They are not, within two minutes.
    pub(crate) fn wait_for(&self, names: &[String]) -> Result<()> {
        let began = Instant::now();
        let mut missing: Vec<&String> = names.iter().collect();
        while began.elapsed() < PATIENCE {
            // A node closes a connection on which nothing comes for some seconds.
            let mut connection = Connection::open(self.address)?;
            let mut still = Vec::new();
            for name in missing {
                let (status, body) = connection.ask("GET", &resolve(name), "", "")?;
                let body = String::from_utf8_lossy(&body);
                if status != 200 || body.contains("\"results\":[]") || !body.contains(name.as_str()) {
                    still.push(name);
                }
            }
            if still.is_empty() {
                return Ok(());
            }
            missing = still;
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("{} names are not found, such as {}", missing.len(), missing[0]).into())
    }

    /// One answer of the JSON API.
    ///
    /// # Errors
    /// It is none, or no JSON.
    pub(crate) fn state(&self, path: &str) -> Result<serde_json::Value> {
        let (status, body) = Connection::open(self.address)?.ask("GET", path, "", "")?;
        if status != 200 {
            return Err(format!("{path} was answered {status}").into());
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

/// The path that asks for one name.
pub(crate) fn resolve(name: &str) -> String {
    format!("/v1/resolve?q={name}&mode=exact")
}
