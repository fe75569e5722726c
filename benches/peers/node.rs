//! Nodes that are measured: processes of their own on loopback, with a store on disk, as `aop-node` is without further flags.
//!
//! Always true: a node is used only when it says that it is ready and shows what it is to show. It has one worker thread, as floors
//! have: with the load on another, two processors are enough that nobody waits for anybody's turn.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

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
    /// Of its administrator.
    pub(crate) token: String,
}

/// What is unusual about one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unusual<'a> {
    /// Its configuration.
    pub(crate) config: &'a str,
    /// It has the first processor and no other.
    pub(crate) is_pinned: bool,
}

impl Node {
    /// Starts a node of that zone, with all it has below `folder`, and these arguments besides.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(arguments: &Arguments, folder: &Path, zone: &str, more: &[&str]) -> Result<Self> {
        Self::unusual(arguments, folder, zone, more, Unusual::default())
    }

    /// The same of one that is not as they usually are.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn unusual(
        arguments: &Arguments,
        folder: &Path,
        zone: &str,
        more: &[&str],
        Unusual { config, is_pinned }: Unusual<'_>,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        // One of its own, so that none of the machine's is read.
        let (file, data) = (folder.join("node.toml"), folder.join("data"));
        fs::write(&file, config)?;
        // One that was killed before has left its own.
        let _ = fs::remove_file(data.join("node.json"));
        let mut command = match is_pinned {
            true => Command::new("taskset"),
            false => Command::new(&arguments.node),
        };
        if is_pinned {
            command.args(["-c", "0"]).arg(&arguments.node);
        }
        let process = command
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
        let state: Value = serde_json::from_slice(&fs::read(data.join("node.json"))?)?;
        let token = fs::read_to_string(state["admin_token_file"].as_str().unwrap_or_default())?.trim().to_owned();
        Ok(Self { process, address, token })
    }

    /// Registers an upstream.
    ///
    /// # Errors
    /// It is refused, or does not answer.
    pub(crate) fn register(&self, what: &Value) -> Result<()> {
        let mut connection = Connection::open(self.address)?;
        match connection.ask("POST", "/v1/servers", &self.token, &what.to_string())? {
            (201, _) => Ok(()),
            (status, body) => Err(format!("{what} is answered {status}: {}", String::from_utf8_lossy(&body)).into()),
        }
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
    pub(crate) fn state(&self, path: &str) -> Result<Value> {
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
