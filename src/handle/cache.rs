//! What is kept of answers, level by level, and how it is forgotten.

use aop_proto::cache::Count;
use aop_proto::name::ZoneName;
use aop_proto::params::{CACHE_BYTES_MAX, CACHE_ENTRIES_MAX, TTL_L1, TTL_L2, TTL_L3};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Handle, busy, stopping};
use crate::answers::L1_BYTES_MAX;
use crate::driver::Job;
use aop_proto::error::Problem;

impl Handle {
    /// `aop.cache/1`: how many answers each level keeps, for how long and how much at most, and how often they were of use.
    pub fn cache(&self) -> Value {
        let [l1, l2, l3] = self.cache_counts();
        let [l2_kept, l3_kept] = self.view().counts.kept;
        let level =
            |name: &str, count: Count, entries: usize, entries_max: Option<usize>, bytes_max: usize, life: u64| {
                let mut level = count_json(count);
                level["level"] = json!(name);
                level["entries"] = json!(entries);
                level["entries_max"] = json!(entries_max);
                level["bytes_max"] = json!(bytes_max);
                level["life_max_ms"] = json!(life);
                level
            };
        let most = Some(CACHE_ENTRIES_MAX);
        json!({"schema": "aop.cache/1", "zone": self.view().zone.as_str(), "levels": [
            level("l1", l1, self.inner.answers.kept(), None, L1_BYTES_MAX, TTL_L1.as_millis() as u64),
            level("l2", l2, l2_kept, most, CACHE_BYTES_MAX, TTL_L2.as_millis() as u64),
            level("l3", l3, l3_kept, most, CACHE_BYTES_MAX, TTL_L3.as_millis() as u64),
        ]})
    }

    /// Forgets every cached answer, or of the zone's and the registry's those that have something of one zone or of those below it. Tells
    /// how many went of each level.
    ///
    /// # Errors
    /// `Busy` when too many jobs wait; nothing is forgotten then.
    pub async fn flush_caches(&self, zone: Option<ZoneName>) -> Result<[usize; 3], Problem> {
        let (reply, gone) = oneshot::channel();
        self.inner.jobs.try_send(Job::FlushCaches(zone, reply)).map_err(|_| busy())?;
        let [l2, l3] = gone.await.map_err(|_| stopping())?;
        // Another view ends those of the doors as well, a moment later.
        let l1 = self.inner.answers.kept();
        self.inner.answers.flush();
        Ok([l1, l2, l3])
    }

    /// Hits and misses of L1, L2 and L3.
    pub(super) fn cache_counts(&self) -> [Count; 3] {
        let (hits, misses) = self.inner.answers.counts();
        let counts = self.view().counts;
        [Count { hits, misses }, counts.l2, counts.l3]
    }
}

/// Hits, misses, and what part of all were hits.
pub(super) fn count_json(count: Count) -> Value {
    let all = count.hits + count.misses;
    let ratio = if all == 0 { None } else { Some((count.hits as f64 / all as f64 * 1000.0).round() / 1000.0) };
    json!({"hits": count.hits, "misses": count.misses, "ratio": ratio})
}
