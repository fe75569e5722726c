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

/// A bare level is about our own lines; of our libraries warnings are enough. rmcp logs what its peers do at levels meant for its
/// own debugging, of a server that is not there what we say ourselves, and QUIC's socket logs every peer that is not there.
fn directives(level: &str) -> String {
    const QUIET: &str = "rmcp=error,rmcp::transport::worker=off,quinn_udp=error";
    match level.parse::<tracing::Level>() {
        Ok(level) => format!("warn,aop={level},{QUIET}"),
        // What is asked for by name comes last and wins.
        Err(_) => format!("{QUIET},{level}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_about_us_and_a_filter_has_the_last_word() {
        assert_eq!(directives("debug"), "warn,aop=DEBUG,rmcp=error,rmcp::transport::worker=off,quinn_udp=error");
        assert_eq!(
            directives("info,rmcp=trace"),
            "rmcp=error,rmcp::transport::worker=off,quinn_udp=error,info,rmcp=trace"
        );
        assert!(start(Format::Json, "aop=loud").is_err());
        assert!(start(Format::Auto, "off").is_ok() && start(Format::Json, "off").is_ok());
    }
}
