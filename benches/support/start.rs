//! Waiting for a node that was started: until it says where it is, which it does when it is ready.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

/// A busy machine needs this at worst.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the node of that data directory listens, from its `node.json`: written after its catalogues are read.
pub(crate) fn address_of(data: &Path) -> io::Result<String> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let state = fs::read(data.join("node.json")).ok();
        let state = state.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        if let Some(address) = state.as_ref().and_then(|state| state["listen"].as_str()) {
            return Ok(address.to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::other("the node does not start"))
}
