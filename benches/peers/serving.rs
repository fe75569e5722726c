//! A visit to somebody who serves HTTP: rate, processor time and latency at several connections, latency at one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::load::{Done, Load, Question};
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
    /// What is asked over the one connection that is alone.
    alone: Arc<[Question]>,
    /// What one answer counts for.
    worth: usize,
    /// Whether the processes are asked one after the other.
    in_turns: bool,
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
        let in_turns = false;
        Self {
            processes,
            addresses,
            connections,
            questions: Arc::clone(questions),
            alone: Arc::clone(questions),
            worth: 1,
            in_turns,
        }
    }

    /// The same where the connection that is alone asks something else.
    pub(crate) fn alone_with(self, questions: &Arc<[Question]>) -> Self {
        Self { alone: Arc::clone(questions), ..self }
    }

    /// One that is asked where the work of others counts as well.
    pub(crate) fn several_at<const N: usize>(
        processes: [&'a Process; N],
        address: SocketAddr,
        questions: &Arc<[Question]>,
    ) -> Self {
        let one = Self::several([(processes[0], address)], questions);
        Self { processes: processes.to_vec(), ..one }
    }

    /// The same where an answer counts for several.
    pub(crate) fn worth(self, worth: usize) -> Self {
        Self { worth, ..self }
    }

    /// The same processes, asked one after the other and each charged with its own time: as if it had a machine of its own.
    pub(crate) fn in_turns(self) -> Self {
        Self { connections: CONNECTIONS, in_turns: true, ..self }
    }

    /// Asks for `slice`, and for a part of it over one connection alone.
    ///
    /// # Errors
    /// Somebody cannot be reached, or answers wrongly.
    pub(crate) fn visit(&self, slice: Duration) -> Result<Sample> {
        let turns = if self.in_turns { self.addresses.len() } else { 1 };
        let (addresses, processes) = (self.addresses.len() / turns, self.processes.len() / turns);
        let (mut crowd, mut used) = (None::<Done>, Duration::ZERO);
        for (asked, charged) in self.addresses.chunks(addresses).zip(self.processes.chunks(processes)) {
            let mut load = Load::connect(asked, self.connections, &self.questions)?;
            let before = time_of(charged)?;
            let done = load.run(slice / u32::try_from(turns)?)?;
            used += time_of(charged)? - before;
            crowd = Some(match crowd {
                Some(crowd) => crowd.and(done),
                None => done,
            });
        }
        let crowd = crowd.ok_or("nobody is there to be asked")?;
        let alone = Load::connect(&self.addresses, 1, &self.alone)?.run(slice.mul_f64(ALONE))?;
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
        time_of(&self.processes)
    }
}

fn time_of(processes: &[&Process]) -> Result<Duration> {
    processes.iter().map(|process| Ok(process.processor_time()?)).sum()
}
