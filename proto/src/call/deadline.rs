//! One deadline for a call, from the moment it came in to the moment it is answered, over however many hops.

use std::time::Duration;

use crate::params::HOP_MARGIN;

/// What the next node has of the time that is left here: a little less, so that its own words about the deadline still arrive.
/// [`HOP_MARGIN`] less, of a short time a sixteenth.
pub fn handed_on(left: Duration) -> Duration {
    left.saturating_sub(HOP_MARGIN.min(left / 16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{CALL_TIMEOUT, HOPS_MAX};

    #[test]
    fn each_hop_has_less_and_the_last_one_nearly_all() {
        for time in [CALL_TIMEOUT.1, Duration::from_millis(100), CALL_TIMEOUT.0, CALL_TIMEOUT.2] {
            let mut left = time;
            for _ in 0..HOPS_MAX {
                let next = handed_on(left);
                assert!(next < left && left - next <= HOP_MARGIN, "{left:?}");
                left = next;
            }
            assert!(left * 2 > time, "{time:?}: {left:?}");
        }
        assert_eq!(handed_on(Duration::ZERO), Duration::ZERO);
    }
}
