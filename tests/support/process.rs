//! Commands that end by themselves: run with a deadline, judged by exit status, stdout and stderr.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::wait;

/// No command of these tests may take longer; a hanging one is killed and is a failure.
const DEADLINE: Duration = Duration::from_secs(90);

/// The same of one that only computes: a machine that does much else takes five times as long.
const DEADLINE_OF_WORK: Duration = Duration::from_secs(400);

/// A command that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) command: String,
    /// `-1` when a signal ended it.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

/// Runs to the end, with `input` on standard input or none at all.
#[track_caller]
pub(crate) fn run(command: Command, input: Option<&[u8]>) -> Ran {
    run_with(command, input, |_| ())
}

/// The same of one that has much to compute.
#[track_caller]
pub(crate) fn run_long(command: Command) -> Ran {
    run_within(command, None, DEADLINE_OF_WORK, |_| ())
}

/// The same; `meanwhile` is done while it runs.
#[track_caller]
pub(crate) fn run_with(command: Command, input: Option<&[u8]>, meanwhile: impl FnOnce(&Child)) -> Ran {
    run_within(command, input, DEADLINE, meanwhile)
}

#[track_caller]
fn run_within(mut command: Command, input: Option<&[u8]>, within: Duration, meanwhile: impl FnOnce(&Child)) -> Ran {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let shown = words.join(" ");
    let began = Instant::now();
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start `{shown}`: {error}"));
    let out = collect(child.stdout.take().expect("stdout is piped"));
    let err = collect(child.stderr.take().expect("stderr is piped"));
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // A command that refuses early need not read what it is told.
        drop(pipe.write_all(input));
    }
    meanwhile(&child);
    let code = wait_until(&mut child, began + within);
    let text = |thread: JoinHandle<Vec<u8>>| String::from_utf8_lossy(&thread.join().expect("a reader")).into_owned();
    let Some(code) = code else {
        drop(child.kill());
        drop(child.wait());
        panic!("`{shown}` hangs\n--- stdout\n{}\n--- stderr\n{}", text(out), text(err));
    };
    Ran { command: shown, code, out: text(out), err: text(err), took: began.elapsed() }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(pipe.read_to_end(&mut bytes));
        bytes
    })
}

/// The exit status, or `None` when the process is still there at the deadline.
pub(crate) fn wait_until(child: &mut Child, deadline: Instant) -> Option<i32> {
    loop {
        match child.try_wait().expect("a child of ours") {
            Some(status) => return Some(status.code().unwrap_or(-1)),
            None if Instant::now() >= deadline => return None,
            None => wait::pause(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit status of {self}");
        self
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    /// Standard output holds this.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.out.contains(text), "no `{text}` on stdout of {self}");
        self
    }

    /// Standard error holds this.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no `{text}` on stderr of {self}");
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("stdout is no JSON ({error}): {self}"))
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON line ({error}): {self}")))
            .collect()
    }

    /// The object of the error line: exactly one line of stderr is `{"error":{…}}`.
    #[track_caller]
    pub(crate) fn problem(&self) -> Value {
        let lines: Vec<Value> = self.err.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let errors: Vec<&Value> = lines.iter().filter_map(|line| line.get("error")).collect();
        assert_eq!(errors.len(), 1, "one error line on stderr of {self}");
        errors[0].clone()
    }

    /// The same, as something to ask again about.
    pub(crate) fn wanted(self, code: i32) -> Result<Self, String> {
        if self.code == code { Ok(self) } else { Err(self.to_string()) }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, out, err, took } = self;
        write!(f, "`{command}` → {code} in {} ms\n--- stdout\n{out}\n--- stderr\n{err}", took.as_millis())
    }
}

/// A process that is killed when the test is done with it.
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
