//! The current time, as an argument. Nothing in this crate reads a clock; whoever drives it says what time it is.

use std::time::Duration;

/// One instant, on two clocks: `mono` for every interval and deadline, `wall_ms` for stamps that travel between nodes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Time since the node started; never goes back.
    pub mono: Duration,
    /// Milliseconds since the Unix epoch; may jump. It orders nothing alone.
    pub wall_ms: u64,
}
