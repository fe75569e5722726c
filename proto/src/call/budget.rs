//! How many attempts may be repeated: a share of the calls made, so that repeats never make a storm of an outage.
//!
//! A bucket of tokens: every call puts a share of one in, every repeat takes one out. Source: Finagle's `RetryBudget`; *The Site
//! Reliability Workbook*, "Handling overload".

use crate::params::{RETRY_BURST, RETRY_SHARE};

/// Hundredths in one token.
const TOKEN: u32 = 100;

/// What may be repeated of the calls to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Hundredths of a token.
    left: u32,
}

impl Default for Budget {
    /// Full, so that few calls may be repeated as well.
    fn default() -> Self {
        Self { left: RETRY_BURST * TOKEN }
    }
}

impl Budget {
    /// A call was made; `share` percent of one may be repeated, at most [`RETRY_SHARE`]'s most.
    pub fn on_call(&mut self, share: u32) {
        self.left = (self.left + share.min(RETRY_SHARE.2)).min(RETRY_BURST * TOKEN);
    }

    /// Takes a repeat out, if one is left.
    pub fn take(&mut self) -> bool {
        let left = self.left.checked_sub(TOKEN);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Repeats that are left.
    pub const fn left(&self) -> u32 {
        self.left / TOKEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_a_share_of_the_calls_once_the_burst_is_used_up() {
        let mut budget = Budget::default();
        let burst = (0..1_000).filter(|_| budget.take()).count() as u32;
        assert_eq!(burst, RETRY_BURST);
        let mut repeated = 0;
        for _ in 0..10_000 {
            budget.on_call(20);
            repeated += u32::from(budget.take());
        }
        assert_eq!(repeated, 2_000);
        budget.on_call(u32::MAX);
        assert_eq!(budget.left(), 1);
        for _ in 0..10_000 {
            budget.on_call(RETRY_SHARE.2);
        }
        assert_eq!(budget.left(), RETRY_BURST);
    }
}
