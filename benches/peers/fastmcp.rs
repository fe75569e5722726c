//! FastMCP, what people write MCP servers with, as a process beside ours.

use std::fs;
use std::path::Path;

use crate::Result;
use crate::venv::{self, Peer};

const PROGRAM: &str = include_str!("fastmcp_peer.py");

/// Starts one that serves what stands in that file, as floors do.
///
/// # Errors
/// Why it cannot be had here.
pub(crate) fn start(answers: &Path) -> Result<Peer> {
    let python = venv::with("fastmcp-4.1.2", &["fastmcp==4.1.2"])?;
    let program = answers.with_extension("py");
    fs::write(&program, PROGRAM)?;
    let folder = answers.parent().unwrap_or(answers);
    Peer::start(&python, &program, &["{port}", &answers.display().to_string()], folder)
}
