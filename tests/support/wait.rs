//! Patience with a deadline: the one place in the tests where time passes on purpose.
//!
//! Never waits a fixed time for something to have happened; it asks again until it has, and says what it last saw when it did not.

use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(40);

/// For what takes a moment: a reply, a push between two nodes, a process that starts.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// For what may wait for a back-off: a dead upstream coming back, a parent that is dialled again.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);

/// Asks until the answer is `Ok`, or panics with the last reason.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, within: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if began.elapsed() >= within => {
                panic!("not within {} s: {what}; last seen: {reason}", within.as_secs())
            }
            Err(_) => pause(),
        }
    }
}

/// One short pause of a loop that has its own deadline.
pub(crate) fn pause() {
    std::thread::sleep(PAUSE);
}
