//! A visit to somebody who serves HTTP: rate, processor time and latency at several connections, latency at one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::load::{Load, Question};
use crate::process::Process;
use crate::sheet::{Column, Sample};

/// Connections to one process.
pub(crate) const CONNECTIONS: usize = 16;
/// Part of a round's time that is asked over one connection.
const ALONE: f64 = 0.3;

/// Who is visited, and with what.
pub(crate) struct Served<'a> {
    processes: Vec<&'a Process>,
    addresses: Vec<SocketAddr>,
    connections: usize,
    questions: Arc<[Question]>,
    /// What one answer counts for.
    worth: usize,
}

/// Answers a second, or what they are worth.
pub(crate) const RATE: &str = "rate";
/// Processor time of all processes by the same, µs.
pub(crate) const CPU: &str = "cpu_us";
pub(crate) const P50: &str = "p50_us";
pub(crate) const P99: &str = "p99_us";
pub(crate) const P50_ALONE: &str = "p50_alone_us";
pub(crate) const P99_ALONE: &str = "p99_alone_us";

/// Columns of what [`Served::visit`] shows; the rate is of `what`.
pub(crate) fn columns(what: &'static str) -> Vec<Column> {
    let column = |key, title, digits, compared| Column { key, title, digits, compared };
    vec![
        column(RATE, what, 0, true),
        column(CPU, "CPU µs", 2, true),
        column(P50, "p50 µs", 0, false),
        column(P99, "p99 µs", 0, false),
        column(P50_ALONE, "alone: p50 µs", 0, false),
        column(P99_ALONE, "p99 µs", 0, false),
    ]
}

impl<'a> Served<'a> {
    /// One process.
    pub(crate) fn one(process: &'a Process, address: SocketAddr, questions: &Arc<[Question]>) -> Self {
        Self::several([(process, address)], questions)
    }

    /// Processes that serve the same, each over as many connections as one alone.
    pub(crate) fn several(
        served: impl IntoIterator<Item = (&'a Process, SocketAddr)>,
        questions: &Arc<[Question]>,
    ) -> Self {
        let (processes, addresses): (Vec<_>, Vec<_>) = served.into_iter().unzip();
        let connections = CONNECTIONS * processes.len();
        Self { processes, addresses, connections, questions: Arc::clone(questions), worth: 1 }
    }

    /// One that is asked where the work of others counts as well.
    pub(crate) fn several_at<const N: usize>(
        processes: [&'a Process; N],
        address: SocketAddr,
        questions: &Arc<[Question]>,
    ) -> Self {
        let questions = Arc::clone(questions);
        Self { processes: processes.to_vec(), addresses: vec![address], connections: CONNECTIONS, questions, worth: 1 }
    }

    /// The same where an answer counts for several.
    pub(crate) fn worth(self, worth: usize) -> Self {
        Self { worth, ..self }
    }

    /// Asks for `slice`, and for a part of it over one connection alone.
    ///
    /// # Errors
    /// Somebody cannot be reached, or answers wrongly.
    pub(crate) fn visit(&self, slice: Duration) -> Result<Sample> {
        let mut load = Load::connect(&self.addresses, self.connections, &self.questions)?;
        let before = self.processor_time()?;
        let crowd = load.run(slice)?;
        let used = self.processor_time()? - before;
        drop(load);
        let alone = Load::connect(&self.addresses, 1, &self.questions)?.run(slice.mul_f64(ALONE))?;
        let worth = self.worth as f64;
        Ok(Sample::from([
            (RATE, crowd.per_second() * worth),
            (CPU, used.as_secs_f64() * 1e6 / (crowd.answers as f64 * worth)),
            (P50, crowd.within_us(0.5)),
            (P99, crowd.within_us(0.99)),
            (P50_ALONE, alone.within_us(0.5)),
            (P99_ALONE, alone.within_us(0.99)),
        ]))
    }

    pub(crate) fn processor_time(&self) -> Result<Duration> {
        self.processes.iter().map(|process| Ok(process.processor_time()?)).sum()
    }
}
