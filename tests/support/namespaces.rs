//! Two machines on one: network namespaces with a cable between them. Where they may not be made, whoever asks is told why.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Two machines with a cable; gone with the test.
pub(crate) struct Namespaces {
    /// The machine at `.1`.
    pub(crate) one: String,
    /// The machine at `.2`.
    pub(crate) other: String,
    network: String,
}

impl Namespaces {
    /// Makes them; nothing where this user may not.
    pub(crate) fn new() -> Option<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}x{number}", std::process::id());
        let (one, other) = (format!("aop{id}a"), format!("aop{id}b"));
        // Every pair is a network of its own, in namespaces of its own.
        let made = Self { one, other, network: "10.77.0".to_owned() };
        made.connect(&id).map_err(|why| eprintln!("no network namespaces here, so this is not tested: {why}")).ok()?;
        Some(made)
    }

    fn connect(&self, id: &str) -> Result<(), String> {
        let (a, b) = (format!("va{id}"), format!("vb{id}"));
        ip(&["netns", "add", &self.one])?;
        ip(&["netns", "add", &self.other])?;
        ip(&["link", "add", &a, "type", "veth", "peer", "name", &b])?;
        for (end, namespace, host) in [(&a, &self.one, 1), (&b, &self.other, 2)] {
            ip(&["link", "set", end, "netns", namespace])?;
            ip(&["-n", namespace, "addr", "add", &format!("{}.{host}/24", self.network), "dev", end])?;
            ip(&["-n", namespace, "link", "set", end, "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    /// The address of the first machine.
    pub(crate) fn address(&self, port: u16) -> String {
        format!("{}.1:{port}", self.network)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in [&self.one, &self.other] {
            // The cable goes with its ends.
            drop(ip(&["netns", "del", namespace]));
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let done = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()) }
}
