//! How long to wait after a failure: exponential, jittered, capped.
//!
//! One rule for repeated calls, for restarts of a server and for the pauses of a breaker.

use std::time::Duration;

/// A pause that doubles with each failure in a row up to a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
}

impl Backoff {
    /// The pause after the `failures`-th failure in a row, from 1: somewhere between half and all of `first` doubled with each one,
    /// so that those who failed together do not come back together. `chance` is any number.
    ///
    /// Source: "equal jitter", Brooker, *Exponential Backoff and Jitter* (2015).
    pub fn pause(self, failures: u32, chance: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let half = self.first.saturating_mul(1 << doublings).min(self.most) / 2;
        let nanos = half.as_nanos() * u128::from(chance) / u128::from(u32::MAX);
        half + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_never_vanish() {
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) };
        let ends = |failures| (backoff.pause(failures, 0).as_millis(), backoff.pause(failures, u32::MAX).as_millis());
        assert_eq!(ends(0), (500, 1_000));
        assert_eq!(ends(1), (500, 1_000));
        assert_eq!(ends(2), (1_000, 2_000));
        assert_eq!(ends(7), (30_000, 60_000));
        assert_eq!(ends(u32::MAX), (30_000, 60_000));
    }
}
