//! What memory a process has. Numbers of the system; pages of the program itself and what it shares count too.

use std::{fs, io};

/// One line of `/proc/PID/status`, in bytes: `VmRSS` is what it has now, `VmHWM` the most it ever had. Source: proc_pid_status(5).
pub(crate) fn of(process: u32, what: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other(format!("the system says no {what}")))
}
