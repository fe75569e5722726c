//! FastMCP, what people write MCP servers with, as a process beside ours. It is installed once, below `target/`, with the machine's own
//! Python and pip; where that cannot be done its row says why, and everything else is measured.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::process::Process;

const PACKAGE: &str = "fastmcp==4.1.2";
const PROGRAM: &str = include_str!("fastmcp_peer.py");
/// Python reads half a thousand files before it listens.
const START: Duration = Duration::from_secs(60);

pub(crate) struct FastMcp {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl FastMcp {
    /// Starts one that serves what stands in that file, as floors do.
    ///
    /// # Errors
    /// Why it cannot be had here.
    pub(crate) fn start(answers: &Path) -> Result<Self> {
        let python = install()?;
        let program = answers.with_extension("py");
        fs::write(&program, PROGRAM)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(python)
            .arg(&program)
            .arg(address.port().to_string())
            .arg(answers)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let process = Process::from(child);
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if began.elapsed() > START {
                return Err(format!("{PACKAGE} does not start").into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(Self { process, address })
    }
}

/// The Python that has it.
fn install() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE.replace("==", "-"));
    let (python, whole) = (folder.join("bin/python"), folder.join("whole"));
    if whole.exists() {
        return Ok(python);
    }
    // What was begun and not finished is not trusted.
    let _ = fs::remove_dir_all(&folder);
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1", PACKAGE];
    run(Command::new(&python).args(pip))?;
    fs::write(whole, "")?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let ran =
        command.stdin(Stdio::null()).output().map_err(|error| format!("no {:?}: {error}", command.get_program()))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing").to_owned();
    Err(format!("{PACKAGE} cannot be installed: {last}").into())
}
