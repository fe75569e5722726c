//! What a node tells those who operate it: log lines and metrics.
//!
//! Metrics belong to one node, never to the process: `--dev` runs three. Names stand in one place (`metrics`), with base units and
//! bounded labels. Nothing here sees arguments, results or secrets.

mod metrics;
mod trace;

use std::io::IsTerminal;
use std::sync::LazyLock;

use aop_proto::error::Problem;
use serde_json::Value;
use tracing_subscriber::EnvFilter;

use crate::entropy::TraceIds;

pub use metrics::{Metrics, Refused, State};
pub(crate) use trace::{TRACEPARENT, given as given_trace, named as named_trace, under as under_trace};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Starts logging to stderr. `level` is a level or a filter; a second start in one process changes nothing.
///
/// # Errors
/// In words, when `level` is no filter.
pub fn start(format: Format, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(directives(level)).map_err(|error| error.to_string())?;
    let json = match format {
        Format::Auto => !std::io::stderr().is_terminal(),
        Format::Pretty => false,
        Format::Json => true,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Already started means that a test or an embedding program did it.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    Ok(())
}

/// Names of what went wrong here, by which a line of the log is found again.
static TRACES: LazyLock<TraceIds> = LazyLock::new(TraceIds::default);

/// The problem as every door shows it, under a trace that a line of the log at `debug` has as well.
pub(crate) fn told(problem: &Problem) -> Value {
    let mut object = problem.to_json();
    if object["trace_id"].is_null() {
        object["trace_id"] = given_trace().unwrap_or_else(|| TRACES.next()).into();
    }
    // Its words may hold what was asked.
    tracing::debug!(trace_id = object["trace_id"].as_str(), kind = problem.kind.name(), "a request was refused");
    object
}

/// What our libraries say at levels meant for their own debugging. rmcp: what its peers do; as an error, that a client did not wait for its
/// answer, which is nobody's to mend; of a server that is not there what we say ourselves. QUIC's socket: every peer that is not there.
const QUIET: [(&str, &str); 4] =
    [("rmcp", "error"), ("rmcp::service", "off"), ("rmcp::transport::worker", "off"), ("quinn_udp", "error")];

/// A bare level is about our own lines; of our libraries warnings are enough, and of some less.
fn directives(level: &str) -> String {
    let bare = level.parse::<tracing::Level>().ok();
    let named: Vec<&str> = match bare {
        Some(_) => Vec::new(),
        None => level.split(',').filter_map(|rule| rule.trim().split(['=', '[']).next()).collect(),
    };
    // What is asked for by name is told: a narrower rule of ours would win, wherever it stands.
    let is_within = |target: &str| {
        named.iter().any(|named| target.strip_prefix(named).is_some_and(|narrower| narrower.starts_with("::")))
    };
    let quiet = QUIET.iter().filter(|(target, _)| !is_within(target));
    let quiet: Vec<String> = quiet.map(|(target, level)| format!("{target}={level}")).collect();
    match bare {
        Some(level) => format!("warn,aop={level},{}", quiet.join(",")),
        // Of two rules about the same the last one wins.
        None => format!("{},{level}", quiet.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_about_us_and_a_filter_has_the_last_word() {
        let quiet = "rmcp=error,rmcp::service=off,rmcp::transport::worker=off,quinn_udp=error";
        assert_eq!(directives("debug"), format!("warn,aop=DEBUG,{quiet}"));
        assert_eq!(directives("info,quinn=debug"), format!("{quiet},info,quinn=debug"));
        assert_eq!(directives("info,rmcp=trace"), "rmcp=error,quinn_udp=error,info,rmcp=trace");
        assert_eq!(directives("warn,rmcp::service=error"), format!("{quiet},warn,rmcp::service=error"));
        let is_told = |level: &str| {
            let filter = EnvFilter::try_new(directives(level)).expect("a filter");
            let subscriber = tracing_subscriber::fmt().with_env_filter(filter).finish();
            tracing::subscriber::with_default(subscriber, || {
                // What rmcp says of a client that did not wait for its answer.
                tracing::enabled!(target: "rmcp::service", tracing::Level::ERROR)
            })
        };
        assert!(!is_told("info") && !is_told("trace") && !is_told("info,quinn=debug"));
        assert!(is_told("rmcp=error") && is_told("info,rmcp::service=error"));
        assert!(start(Format::Json, "aop=loud").is_err());
        assert!(start(Format::Auto, "off").is_ok() && start(Format::Json, "off").is_ok());
    }
}
