//! The one load: connections that stay, each asking its next question when its last was answered, on one thread.
//!
//! Always true: every answer counted has status 200 and is what was expected; nothing is asked before all connections stand and have
//! had one answer; when a run ends, nothing is under way. One thread asks all, so that the asked have the other processors, and unless it
//! is told to it never sleeps during a run: waking a processor takes a virtual machine longer than an answer, and rates would be those of
//! waking.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::Result;
use crate::request::Head;

/// Tasks that are looked after between two looks for what has come.
const EVENTS_EVERY: u32 = 4;

/// What an answer has to be.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// This body.
    Is(Vec<u8>),
    /// A body that holds all of these.
    Holds(Vec<String>),
}

/// One request as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) request: Vec<u8>,
    pub(crate) expected: Expected,
}

/// What a run showed.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) answers: usize,
    pub(crate) took: Duration,
    /// The longest time for which the one who asks had no processor, where that was looked at.
    pub(crate) paused: Duration,
    /// Of every answer, sorted.
    times: Vec<Duration>,
}

/// Connections that stand.
pub(crate) struct Load {
    runtime: Runtime,
    lines: Vec<Line>,
    questions: Arc<[Question]>,
    sleeps: bool,
}

struct Line {
    stream: TcpStream,
    come: Vec<u8>,
    next: usize,
}

impl Load {
    /// So many connections, to each of these in turn.
    ///
    /// # Errors
    /// One cannot be made, or its first answer is wrong.
    pub(crate) fn connect(to: &[SocketAddr], connections: usize, questions: &Arc<[Question]>) -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().event_interval(EVENTS_EVERY).build()?;
        let lines = runtime.block_on(async {
            let mut lines = Vec::new();
            for number in 0..connections {
                let stream = TcpStream::connect(to[number % to.len()]).await?;
                stream.set_nodelay(true)?;
                // No two begin with the same question.
                let next = number * questions.len() / connections;
                let mut line = Line { stream, come: Vec::with_capacity(64 << 10), next };
                line.ask(questions).await?;
                lines.push(line);
            }
            Result::Ok(lines)
        })?;
        Ok(Self { runtime, lines, questions: Arc::clone(questions), sleeps: false })
    }

    /// The same of one that sleeps while it waits: where answers take long, its processor is better with those who are asked.
    pub(crate) fn asleep(self) -> Self {
        Self { sleeps: true, ..self }
    }

    /// Asks for so long.
    ///
    /// # Errors
    /// An answer is wrong.
    pub(crate) fn run(&mut self, time: Duration) -> Result<Done> {
        let lines = std::mem::take(&mut self.lines);
        let (lines, done) = self.runtime.block_on(async {
            let mut asking = JoinSet::new();
            let began = Instant::now();
            for mut line in lines {
                let questions = Arc::clone(&self.questions);
                asking.spawn(async move {
                    let mut times = Vec::new();
                    while began.elapsed() < time {
                        let asked = Instant::now();
                        line.ask(&questions).await?;
                        times.push(asked.elapsed());
                    }
                    Result::Ok((line, times))
                });
            }
            let longest = Arc::new(AtomicU64::new(0));
            let paused = Arc::clone(&longest);
            let sleeps = self.sleeps;
            let awake = tokio::spawn(async move {
                if sleeps {
                    return;
                }
                let mut before = Instant::now();
                loop {
                    tokio::task::yield_now().await;
                    let now = Instant::now();
                    longest.fetch_max((now - before).as_nanos() as u64, Relaxed);
                    before = now;
                }
            });
            let (mut lines, mut times) = (Vec::new(), Vec::new());
            while let Some(asked) = asking.join_next().await {
                let (line, own) = asked??;
                lines.push(line);
                times.extend(own);
            }
            let took = began.elapsed();
            awake.abort();
            let paused = Duration::from_nanos(paused.load(Relaxed));
            Result::Ok((lines, Done { paused, ..Done::of(took, times) }))
        })?;
        self.lines = lines;
        Ok(done)
    }
}

impl Line {
    async fn ask(&mut self, questions: &[Question]) -> Result<()> {
        let question = &questions[self.next];
        self.next = (self.next + 1) % questions.len();
        self.stream.write_all(&question.request).await?;
        self.come.clear();
        let mut head = None;
        loop {
            if self.stream.read_buf(&mut self.come).await? == 0 {
                return Err("the connection was closed".into());
            }
            if head.is_none() {
                head = Head::read(&self.come)?;
            }
            if let Some(head) = head.as_ref().filter(|head| head.body.end <= self.come.len()) {
                return question.check(head.status, &self.come[head.body.clone()]);
            }
        }
    }
}

impl Question {
    fn check(&self, status: u16, body: &[u8]) -> Result<()> {
        let good = status == 200
            && match &self.expected {
                Expected::Is(expected) => body == expected,
                Expected::Holds(all) => {
                    std::str::from_utf8(body).is_ok_and(|text| all.iter().all(|one| text.contains(one.as_str())))
                }
            };
        if good {
            return Ok(());
        }
        let shown: String = String::from_utf8_lossy(body).chars().take(300).collect();
        Err(format!("a wrong answer, status {status}: {shown}").into())
    }
}

impl Done {
    pub(crate) fn of(took: Duration, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { answers: times.len(), took, paused: Duration::ZERO, times }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.answers as f64 / self.took.as_secs_f64()
    }

    /// This and another that followed it.
    pub(crate) fn and(mut self, next: Self) -> Self {
        self.times.extend(next.times);
        self.times.sort_unstable();
        Self {
            answers: self.answers + next.answers,
            took: self.took + next.took,
            paused: self.paused.max(next.paused),
            times: self.times,
        }
    }

    /// The time within which that share of the answers came, µs.
    pub(crate) fn within_us(&self, share: f64) -> f64 {
        let at = (self.times.len() as f64 * share).ceil() as usize;
        self.times.get(at.max(1) - 1).copied().unwrap_or_default().as_secs_f64() * 1e6
    }
}
