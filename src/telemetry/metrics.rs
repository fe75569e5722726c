//! The metrics of one node and their names. Counters are atomics that doors bump; state is read when somebody asks.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aop_proto::error::Kind;
use serde_json::{Value, json};

/// Upper bounds of latency buckets, seconds; from a view hit to a slow tool.
const BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Latencies in fixed buckets.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    fn counts(&self) -> Vec<u64> {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect()
    }

    /// The quantile in milliseconds, by the upper bound of its bucket; `None` without samples.
    fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let counts = self.counts();
        let all: u64 = counts.iter().sum();
        let rank = (all as f64 * quantile).ceil() as u64;
        let mut below = 0;
        let at = counts.iter().position(|count| {
            below += count;
            all > 0 && below >= rank
        })?;
        Some(BUCKETS.get(at).copied().unwrap_or(f64::INFINITY).min(BUCKETS[BUCKETS.len() - 1]) * 1000.0)
    }

    fn render(&self, name: &str, help: &str, out: &mut String) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut below = 0;
        for (at, count) in self.counts().into_iter().enumerate() {
            below += count;
            let bound = BUCKETS.get(at).map_or_else(|| "+Inf".to_owned(), ToString::to_string);
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        let sum = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "{name}_sum {sum}\n{name}_count {below}");
    }
}

/// Why the client port turned a request or a connection away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Nobody that is known.
    Auth,
    /// Somebody who may not.
    Forbidden,
    /// A name of another host.
    Host,
    /// A page of another host.
    Origin,
    /// Too many requests in a second.
    Rate,
    /// Too many connections of one address, or too many in a second.
    Connections,
    /// A connection that had proven nothing yielded its place, as all were taken.
    Crowded,
    /// Headers, a handshake or a body that took too long.
    Timeout,
}

impl Refused {
    /// All of them, with their labels.
    const ALL: [(&'static str, Self); 8] = [
        ("auth", Self::Auth),
        ("forbidden", Self::Forbidden),
        ("host", Self::Host),
        ("origin", Self::Origin),
        ("rate", Self::Rate),
        ("connections", Self::Connections),
        ("crowded", Self::Crowded),
        ("timeout", Self::Timeout),
    ];
}

#[derive(Debug, Default)]
struct Inner {
    http_refused: [AtomicU64; Refused::ALL.len()],
    insecure_no_auth: AtomicBool,
    resolve_ok: AtomicU64,
    resolve_partial: AtomicU64,
    resolve_empty: AtomicU64,
    resolve_seconds: Histogram,
    calls_ok: AtomicU64,
    calls_tool_error: AtomicU64,
    calls_timeout: AtomicU64,
    calls_unreachable: AtomicU64,
    calls_refused: AtomicU64,
    call_seconds: Histogram,
    state: Mutex<State>,
}

/// The metrics of one node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Inner>);

/// What is true at the moment somebody asks.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The zone.
    pub zone: String,
    /// Version of the software.
    pub version: &'static str,
    /// Tools of the zone.
    pub tools: u64,
    /// Servers that can be called.
    pub servers_ready: u64,
    /// Servers that cannot.
    pub servers_down: u64,
    /// Connected nodes.
    pub peers: u64,
    /// Connections of nodes that were not taken or ended for what came over them, by what that was.
    pub peers_refused: Vec<(&'static str, u64)>,
    /// Replicas of the zone that are alive, without this one.
    pub members_alive: u64,
    /// Replicas that did not answer somebody and may yet.
    pub members_suspect: u64,
    /// Replicas that are down or have left.
    pub members_down: u64,
    /// What was written down in the audit, by its kind.
    pub audit_events: Vec<(&'static str, u64)>,
    /// What could not be.
    pub audit_errors: u64,
    /// Counters of gossip and membership, by what they count.
    pub gossip_events: Vec<(&'static str, u64)>,
    /// Level, hits, misses.
    pub caches: [(&'static str, u64, u64); 3],
    /// Exchanges begun.
    pub gossip_rounds: u64,
    /// Records taken from peers.
    pub records_applied: u64,
    /// What was not believed.
    pub records_refused: u64,
    /// Frames that could not be read.
    pub frames_bad: u64,
}

impl Metrics {
    /// The client port turned something away.
    pub fn refused(&self, why: Refused) {
        self.0.http_refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Everybody is let in, or not any more.
    pub fn set_insecure_no_auth(&self, is_so: bool) {
        self.0.insecure_no_auth.store(is_so, Ordering::Relaxed);
    }

    /// A question was answered.
    pub fn resolved(&self, is_partial: bool, is_empty: bool, took: Duration) {
        let counter = match (is_partial, is_empty) {
            (true, _) => &self.0.resolve_partial,
            (false, true) => &self.0.resolve_empty,
            (false, false) => &self.0.resolve_ok,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.0.resolve_seconds.add(took);
    }

    /// A call ended, with the MCP result or with a problem of that kind.
    pub fn called(&self, ended: Result<&[u8], Kind>, took: Duration) {
        let counter = match ended {
            Ok(result) if is_tool_error(result) => &self.0.calls_tool_error,
            Ok(_) => &self.0.calls_ok,
            Err(Kind::CallTimedOut | Kind::TimedOut) => &self.0.calls_timeout,
            Err(Kind::UpstreamDown | Kind::UpstreamFailed | Kind::InstanceDown) => &self.0.calls_unreachable,
            Err(_) => &self.0.calls_refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.0.call_seconds.add(took);
    }

    /// Takes the state of this moment.
    pub fn set_state(&self, state: &State) {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner) = state.clone();
    }

    /// `resolve` of `aop.status/1`.
    pub fn resolve_json(&self) -> Value {
        let seconds = &self.0.resolve_seconds;
        let count: u64 = seconds.counts().iter().sum();
        let at = |quantile| seconds.quantile_ms(quantile);
        json!({"count": count, "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99)})
    }

    /// `calls` of `aop.status/1`.
    pub fn calls_json(&self) -> Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let failed = read(&self.0.calls_timeout) + read(&self.0.calls_unreachable) + read(&self.0.calls_refused);
        json!({"ok": read(&self.0.calls_ok), "tool_error": read(&self.0.calls_tool_error), "failed": failed})
    }

    /// Everything, as Prometheus reads it (text format 0.0.4).
    pub fn render(&self) -> String {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut out = String::with_capacity(4096);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut table = |name: &str, kind: &str, help: &str, rows: &[(String, u64)]| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        };
        let one = |value| vec![(String::new(), value)];
        let by = |label: &str, rows: &[(&str, u64)]| -> Vec<(String, u64)> {
            rows.iter().map(|(value, count)| (format!("{{{label}=\"{value}\"}}"), *count)).collect()
        };
        let build = vec![(format!("{{version=\"{}\"}}", state.version), 1)];
        table("aop_build_info", "gauge", "The software.", &build);
        let tools = vec![(format!("{{zone=\"{}\"}}", state.zone), state.tools)];
        table("aop_zone_tools", "gauge", "Tools of the zone.", &tools);
        let up = by("state", &[("ready", state.servers_ready), ("down", state.servers_down)]);
        table("aop_upstream_servers", "gauge", "Servers behind this node.", &up);
        table("aop_peers", "gauge", "Connected nodes.", &one(state.peers));
        let refused = by("reason", &state.peers_refused);
        let help = "Connections of nodes that were not taken, or ended for what came over them.";
        table("aop_peers_refused_total", "counter", help, &refused);
        let members =
            [("alive", state.members_alive), ("suspect", state.members_suspect), ("down", state.members_down)];
        let members = by("state", &members);
        table("aop_gossip_members", "gauge", "Other replicas of the zone.", &members);
        let resolves = by(
            "result",
            &[
                ("ok", read(&self.0.resolve_ok)),
                ("partial", read(&self.0.resolve_partial)),
                ("empty", read(&self.0.resolve_empty)),
            ],
        );
        table("aop_resolve_requests_total", "counter", "Questions answered.", &resolves);
        let caches: Vec<(String, u64)> = state
            .caches
            .iter()
            .flat_map(|(level, hits, misses)| {
                let row = |result: &str, count| (format!("{{level=\"{level}\",result=\"{result}\"}}"), count);
                [row("hit", *hits), row("miss", *misses)]
            })
            .collect();
        table("aop_cache_requests_total", "counter", "Look-ups of cached answers.", &caches);
        let calls = by(
            "result",
            &[
                ("ok", read(&self.0.calls_ok)),
                ("tool_error", read(&self.0.calls_tool_error)),
                ("timeout", read(&self.0.calls_timeout)),
                ("unreachable", read(&self.0.calls_unreachable)),
                ("refused", read(&self.0.calls_refused)),
            ],
        );
        table("aop_tool_calls_total", "counter", "Calls by how they ended.", &calls);
        let refused = Refused::ALL.map(|(reason, refused)| (reason, read(&self.0.http_refused[refused as usize])));
        let refused = by("reason", &refused);
        table("aop_http_refused_total", "counter", "Requests and connections the client port turned away.", &refused);
        let insecure = u64::from(self.0.insecure_no_auth.load(Ordering::Relaxed));
        let help = "1 where everybody who reaches the node is let in, as it was told with --insecure-no-auth.";
        table("aop_insecure_no_auth", "gauge", help, &one(insecure));
        table("aop_gossip_rounds_total", "counter", "Exchanges begun.", &one(state.gossip_rounds));
        let events = by("event", &state.gossip_events);
        table("aop_gossip_events_total", "counter", "What gossip and membership did.", &events);
        table("aop_records_applied_total", "counter", "Records taken in.", &one(state.records_applied));
        table("aop_records_refused_total", "counter", "Records and answers not believed.", &one(state.records_refused));
        table("aop_frames_bad_total", "counter", "Frames that could not be read.", &one(state.frames_bad));
        let audited = by("event", &state.audit_events);
        table("aop_audit_events_total", "counter", "Events recorded in the audit.", &audited);
        let failed = "Writes of the audit that failed and events it could not keep.";
        table("aop_audit_errors_total", "counter", failed, &one(state.audit_errors));
        self.0.resolve_seconds.render("aop_resolve_duration_seconds", "Time to answer a question.", &mut out);
        self.0.call_seconds.render("aop_tool_call_duration_seconds", "Time of a call.", &mut out);
        out
    }
}

/// Whether a result says `"isError": true`, without reading the rest of it.
fn is_tool_error(result: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Flag {
        #[serde(rename = "isError", default)]
        is_error: bool,
    }
    serde_json::from_slice::<Flag>(result).is_ok_and(|flag| flag.is_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_from_the_buckets() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile_ms(0.5), None);
        for _ in 0..99 {
            histogram.add(Duration::from_micros(400));
        }
        histogram.add(Duration::from_millis(900));
        assert_eq!((histogram.quantile_ms(0.5), histogram.quantile_ms(0.999)), (Some(0.5), Some(1000.0)));
    }

    #[test]
    fn every_metric_has_help_type_and_a_value() {
        let metrics = Metrics::default();
        metrics.set_state(&State {
            zone: "research".into(),
            tools: 3,
            peers_refused: vec![("handshake", 2)],
            audit_events: vec![("called", 1)],
            gossip_events: vec![("pull", 1)],
            ..State::default()
        });
        let text = metrics.render();
        assert!(text.contains("aop_zone_tools{zone=\"research\"} 3\n"));
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(text.contains(&format!("# HELP {name} ")) && text.contains(&format!("\n{name}")), "{name}");
        }
    }
}
