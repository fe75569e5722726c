//! The upstream side against servers that misbehave on purpose (`tests/fixtures/odd_server.py`) and against real ones.
//!
//! What must always hold: bytes are compared as bytes, waiting is for an event or a log line with a deadline, and a missing
//! tool is said, never passed over.

mod support;

#[path = "upstream/canary.rs"]
mod canary;
#[path = "upstream/egress.rs"]
mod egress;
#[path = "upstream/entry.rs"]
mod entry;
#[path = "upstream/harness.rs"]
mod harness;
#[path = "upstream/hostile.rs"]
mod hostile;
#[path = "upstream/http.rs"]
mod http;
#[path = "upstream/real.rs"]
mod real;
#[path = "upstream/stdio.rs"]
mod stdio;
