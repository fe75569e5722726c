//! Peers written in Python: installed once, below `target/`, with the machine's own Python and pip. Where that cannot be done their rows
//! say why, and everything else is measured.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::process::Process;

/// Python reads some thousand files before it listens.
const START: Duration = Duration::from_secs(60);

/// A server in Python that runs.
pub(crate) struct Peer {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Starts the program with these words, of which one in braces is the port.
    ///
    /// # Errors
    /// It does not listen within a minute.
    pub(crate) fn start(python: &Path, program: &Path, words: &[&str], folder: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let port = address.port().to_string();
        let child = Command::new(python)
            .arg(program)
            .args(words.iter().map(|word| if *word == "{port}" { port.as_str() } else { word }))
            // Some write where they are, or at home.
            .current_dir(folder)
            .env("HOME", folder)
            .env("WORKSPACE_DIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let process = Process::from(child);
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if began.elapsed() > START {
                return Err(format!("{} {words:?} does not start", program.display()).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(Self { process, address })
    }
}

/// The Python that has these packages; `name` is the environment's.
///
/// # Errors
/// They cannot be installed, and what pip said last.
pub(crate) fn with(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (python, whole) = (folder.join("bin/python"), folder.join("whole"));
    if whole.exists() {
        return Ok(python);
    }
    // What was begun and not finished is not trusted.
    let _ = fs::remove_dir_all(&folder);
    run(name, Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1"];
    run(name, Command::new(&python).args(pip).args(packages))?;
    fs::write(whole, "")?;
    Ok(python)
}

fn run(name: &str, command: &mut Command) -> Result<()> {
    let ran =
        command.stdin(Stdio::null()).output().map_err(|error| format!("no {:?}: {error}", command.get_program()))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing").to_owned();
    Err(format!("{name} cannot be installed: {last}").into())
}
