//! The only clock of the node: what time it is, for the rules that take it as an argument.
//!
//! It decides nothing. `mono` counts from the clock's start and never goes back, whatever happens to the wall clock; all clones
//! of one clock agree, so that two rooms of one node compare like with like.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aop_proto::now::Now;

/// Reads the machine's two clocks. Cheap to copy; copies share one start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose `mono` is zero now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time on both clocks. A wall clock before 1970 reads as zero.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.start.elapsed(), wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The instant at which `mono` is that long, for sleeping until a deadline of the core.
    pub fn instant(&self, mono: std::time::Duration) -> Instant {
        // A deadline beyond what the platform can count is as good as a year away: nothing sleeps that long here.
        self.start.checked_add(mono).unwrap_or_else(|| self.start + std::time::Duration::from_secs(365 * 24 * 3600))
    }
}

/// Seconds since 1970 as `2026-11-21T09:30:00Z`; the date by counting 400-year cycles from March, where leap days come last.
pub fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let year = year + cycle * 400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

impl Default for Clock {
    fn default() -> Self {
        Self::start()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_one_start_and_never_go_back() {
        let clock = Clock::start();
        let copy = clock;
        let first = clock.now();
        let second = copy.now();
        assert!(second.mono >= first.mono);
        assert!(first.wall_ms > 1_600_000_000_000);
        assert!(clock.instant(second.mono) <= Instant::now());
    }

    #[test]
    fn the_calendar_is_right_at_its_corners() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
