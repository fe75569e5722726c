//! How long calls of one tool waited and ran, in buckets: what `aop stats` shows. Buckets keep no single call and take the same room
//! for any number of them.

use std::time::Duration;

use serde_json::{Value, json};

/// Each bucket ends at a quarter more than the one before; the first at a tenth of a millisecond, the last beyond an hour.
const BUCKETS: usize = 80;
const FIRST: Duration = Duration::from_micros(100);

/// Times in buckets.
#[derive(Clone, Debug)]
struct Times {
    buckets: [u32; BUCKETS],
}

impl Default for Times {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS] }
    }
}

impl Times {
    fn add(&mut self, time: Duration) {
        let at = ends().position(|end| time <= end).unwrap_or(BUCKETS - 1);
        self.buckets[at] = self.buckets[at].saturating_add(1);
    }

    /// By the end of its bucket; nothing without samples.
    fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let all: u64 = self.buckets.iter().map(|count| u64::from(*count)).sum();
        let rank = ((all as f64 * quantile).ceil() as u64).max(1);
        let mut below = 0;
        let at = self.buckets.iter().position(|count| {
            below += u64::from(*count);
            all > 0 && below >= rank
        })?;
        ends().nth(at).map(|end| (end.as_secs_f64() * 1e5).round() / 100.0)
    }

    fn to_json(&self) -> Value {
        let at = |quantile| self.quantile_ms(quantile);
        json!({"p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99)})
    }
}

fn ends() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(FIRST), |end| Some(*end + *end / 4)).take(BUCKETS)
}

/// Calls that ended in the last minute, in steps of ten seconds, the latest first.
#[derive(Clone, Debug, Default)]
struct Lately {
    steps: [u32; 6],
    /// The step of the first one.
    at: u64,
}

impl Lately {
    fn come_to(&mut self, now: Duration) {
        let at = now.as_secs() / 10;
        for _ in 0..at.saturating_sub(self.at).min(self.steps.len() as u64) {
            self.steps.rotate_right(1);
            self.steps[0] = 0;
        }
        self.at = self.at.max(at);
    }

    fn add(&mut self, now: Duration) {
        self.come_to(now);
        self.steps[0] = self.steps[0].saturating_add(1);
    }

    fn per_minute(&self, now: Duration) -> u64 {
        let mut lately = self.clone();
        lately.come_to(now);
        lately.steps.iter().map(|calls| u64::from(*calls)).sum()
    }
}

/// What became of the calls of one tool at its home.
#[derive(Clone, Debug, Default)]
pub(super) struct Stats {
    well: u64,
    failed: u64,
    cancelled: u64,
    /// For want of room.
    pub(super) refused: u64,
    lately: Lately,
    wait: Times,
    run: Times,
}

impl Stats {
    /// One ended now, well or not, or was cancelled.
    pub(super) fn add(&mut self, now: Duration, waited: Duration, ran: Duration, ended: Option<bool>) {
        let count = match ended {
            Some(true) => &mut self.well,
            Some(false) => &mut self.failed,
            None => &mut self.cancelled,
        };
        *count += 1;
        self.lately.add(now);
        self.wait.add(waited);
        self.run.add(ran);
    }

    /// Counts, those of the last minute, and p50, p95, p99 of wait and run.
    pub(super) fn to_json(&self, now: Duration) -> Value {
        json!({
            "ok": self.well, "failed": self.failed, "cancelled": self.cancelled, "refused": self.refused,
            "per_minute": self.lately.per_minute(now),
            "wait": self.wait.to_json(), "run": self.run.to_json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_quarter_of_what_was_measured() {
        let mut stats = Stats::default();
        let now = Duration::from_secs(100);
        assert_eq!(stats.to_json(now)["run"]["p50_ms"], Value::Null);
        for millis in 1..=1_000 {
            stats.add(now, Duration::ZERO, Duration::from_millis(millis), Some(millis % 10 != 0));
        }
        let told = stats.to_json(now);
        let at = |key: &str| told["run"][key].as_f64().unwrap();
        assert!((500.0..=625.0).contains(&at("p50_ms")) && (990.0..=1237.5).contains(&at("p99_ms")), "{told}");
        assert_eq!((&told["ok"], &told["failed"], &told["wait"]["p99_ms"]), (&json!(900), &json!(100), &json!(0.1)));
        // Of a minute that ended before the step in which it is asked for nothing is left.
        for (seconds, calls) in [(100, 1_000), (159, 1_000), (160, 0), (10_000, 0)] {
            assert_eq!(stats.to_json(Duration::from_secs(seconds))["per_minute"], calls, "{seconds} s");
        }
        assert!(ends().last().unwrap() > Duration::from_secs(3600));
    }
}
