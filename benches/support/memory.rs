//! What memory a process has. Numbers of the system, in KiB: shared pages of the program itself count too.

use std::{fs, io};

use crate::process::Process;

/// One line of `/proc/PID/status`: `VmRSS` is what it has now, `VmHWM` the most it ever had. Source: proc_pid_status(5).
pub(crate) fn kib(process: &Process, what: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("the system says no {what}")))
}
