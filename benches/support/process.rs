//! A child process that ends with its holder, and the processor time it has used.
//!
//! Always true: dropped, the process is killed and waited for, however the benchmark ends. Processor time is that of all its threads,
//! in nanoseconds: `/proc/PID/stat` counts in ticks of 10 ms, which is as much as a thousand cheap requests take.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A running child.
pub(crate) struct Process {
    child: Child,
    /// What each thread had used when it was last looked at, so that those that ended since still count.
    threads: Mutex<BTreeMap<u32, u64>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self { child, threads: Mutex::default() }
    }
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time so far, user and system. What a thread used between the last look and its end is lost, and one that runs at
    /// this moment is counted up to its last tick: look while nothing is asked of it. Source: Documentation/scheduler/sched-stats.rst of
    /// Linux, `schedstat`, the first number.
    pub(crate) fn processor_time(&self) -> io::Result<Duration> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.extend(threads_of(&self.id().to_string())?);
        Ok(Duration::from_nanos(threads.values().sum()))
    }
}

/// What each thread of a process has used, ns.
pub(crate) fn threads_of(process: &str) -> io::Result<BTreeMap<u32, u64>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let entry = entry?;
        let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ended since the folder was read is as it was.
        let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        let used = text.split(' ').next().and_then(|field| field.parse().ok());
        threads.insert(thread, used.ok_or_else(|| io::Error::other("schedstat says no time"))?);
    }
    Ok(threads)
}
