//! One child process: how it is started, what it said last, and how it ends.
//!
//! It knows nothing of MCP. What must always hold: a child gets a small environment and never the node's own, no descriptor besides
//! its three pipes, its process group does not outlive it, and what it wrote on standard error is kept in bounded space, so that an error can quote it.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};

use super::{failure::UpstreamError, spec::Mask};
use aop_proto::error::is_deceptive;

/// Standard error kept of a child, bytes; the oldest are lost first.
const STDERR_BYTES_MAX: usize = 16 * 1024;
/// Lines and characters of it quoted in an error.
const LAST_WORDS_LINES_MAX: usize = 6;
const LAST_WORDS_CHARS_MAX: usize = 800;
/// Between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long a pipe that somebody still holds is read after the child is gone.
const STDERR_GRACE: Duration = Duration::from_millis(200);
/// Variables of the node's environment a child inherits, beside `LC_*`: what programs need to find themselves, and no secrets.
const INHERITED: [&str; 7] = ["PATH", "HOME", "LANG", "TMPDIR", "USER", "LOGNAME", "TZ"];
/// After standard input, output and error.
const FIRST_DESCRIPTOR: i32 = 3;
/// For a node that was started without one.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// A running child and its standard error.
pub(crate) struct Child {
    process: tokio::process::Child,
    group: Option<Pid>,
    words: Arc<Words>,
    reader: JoinHandle<()>,
}

/// Its two other ends.
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
}

impl Child {
    /// Starts `command` in a process group of its own.
    pub(crate) fn spawn(
        command: &[String],
        env: &BTreeMap<String, String>,
        cwd: Option<&Path>,
        mask: Mask,
    ) -> Result<(Self, Pipes), UpstreamError> {
        let connect = |reason: String| UpstreamError::Connect { reason };
        let (program, arguments) = command.split_first().ok_or_else(|| connect("the command is empty".to_owned()))?;
        let mut builder = Command::new(program);
        builder.args(arguments).env_clear().env("PATH", PATH_DEFAULT).envs(inherited()).envs(env);
        builder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        if let Some(dir) = cwd {
            builder.current_dir(dir);
        }
        // The library's own descriptors close by themselves; those this process was started with, by a shell or a service
        // manager, are nobody's business but ours.
        close_fds::set_fds_cloexec_threadsafe(FIRST_DESCRIPTOR, &[]);
        let mut process = builder.spawn().map_err(|e| connect(format!("cannot start {program}: {e}")))?;
        let group = process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return Err(connect(format!("cannot start {program}: no pipes")));
        };
        let words = Arc::new(Words::new(mask));
        let reader = tokio::spawn(listen(stderr, words.clone()));
        Ok((Self { process, group, words, reader }, Pipes { stdin, stdout }))
    }

    /// Ends the child, whatever it is doing, and says how it ended and what it said last.
    ///
    /// `linger` is how long it may take to end by itself first, which gives the better story when it was already dying.
    pub(crate) async fn end(mut self, linger: Duration) -> String {
        let mut status = timeout(linger, self.process.wait()).await.ok();
        let by_itself = status.is_some();
        if status.is_none() {
            self.signal(Signal::TERM);
            status = timeout(TERM_GRACE, self.process.wait()).await.ok();
        }
        // Also after a good end: grandchildren must not outlive the registration.
        self.signal(Signal::KILL);
        if status.is_none() {
            status = timeout(TERM_GRACE, self.process.wait()).await.ok();
        }
        self.group = None;
        let _ = timeout(STDERR_GRACE, &mut self.reader).await;
        let how = match (by_itself, status) {
            (true, Some(Ok(status))) => format!("the process ended ({status})"),
            (false, Some(Ok(_))) => "the process was ended".to_owned(),
            _ => "the process could not be waited for".to_owned(),
        };
        match self.words.last() {
            Some(words) => format!("{how}; its last words: {words}"),
            None => format!("{how} without a word on stderr"),
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // An empty group is what we want.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.reader.abort();
    }
}

fn inherited() -> impl Iterator<Item = (String, String)> {
    let small = |name: &str| INHERITED.contains(&name) || name.starts_with("LC_");
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(move |(name, _)| small(name))
}

async fn listen(mut stderr: impl AsyncRead + Unpin, words: Arc<Words>) {
    let mut chunk = [0; 4096];
    while let Ok(read) = stderr.read(&mut chunk).await {
        if read == 0 {
            return;
        }
        words.push(&chunk[..read]);
    }
}

/// The newest bytes of a stream.
struct Words {
    ring: Mutex<VecDeque<u8>>,
    mask: Mask,
}

impl Words {
    fn new(mask: Mask) -> Self {
        Self { ring: Mutex::new(VecDeque::new()), mask }
    }

    fn push(&self, bytes: &[u8]) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.extend(bytes);
        let excess = ring.len().saturating_sub(STDERR_BYTES_MAX);
        ring.drain(..excess);
    }

    /// The last lines as one printable line.
    fn last(&self) -> Option<String> {
        let bytes: Vec<u8> = self.ring.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        last_lines(&self.mask.apply(&String::from_utf8_lossy(&bytes)))
    }
}

fn last_lines(text: &str) -> Option<String> {
    let lines: Vec<String> = text.lines().map(printable).filter(|line| !line.is_empty()).collect();
    let kept = lines.get(lines.len().saturating_sub(LAST_WORDS_LINES_MAX)..)?.join(" | ");
    let cut = kept.chars().count().saturating_sub(LAST_WORDS_CHARS_MAX);
    let kept = if cut > 0 { format!("…{}", kept.chars().skip(cut).collect::<String>()) } else { kept };
    (!kept.is_empty()).then_some(kept)
}

/// Foreign text on one line: no control characters, and no terminal escapes that could rewrite an operator's screen.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                if chars.as_str().starts_with('[') {
                    chars.by_ref().skip(1).find(|c| ('@'..='~').contains(c));
                }
            }
            '\t' => out.push(' '),
            c if is_deceptive(c) => {}
            c => out.push(c),
        }
    }
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[test]
    fn the_newest_words_are_kept_and_made_printable() {
        let words = Words::new(Mask::default());
        words.push(&vec![b'x'; STDERR_BYTES_MAX]);
        words.push("\nTraceback:\n\u{1b}[31mboom\u{1b}[0m\u{7}\n\n".as_bytes());
        let last = words.last().expect("it spoke");
        assert!(last.ends_with("| Traceback: | boom"), "{last}");
        assert!(last.chars().count() <= LAST_WORDS_CHARS_MAX + 1);
        assert_eq!(words.ring.lock().expect("no panic").len(), STDERR_BYTES_MAX);
        assert_eq!(Words::new(Mask::default()).last(), None);
    }

    #[tokio::test]
    async fn a_child_that_dies_is_quoted() {
        let command = sh("echo no database >&2; exit 3");
        let (child, _pipes) = Child::spawn(&command, &BTreeMap::new(), None, Mask::default()).expect("sh");
        let story = child.end(Duration::from_secs(5)).await;
        assert!(story.contains("exit status: 3") && story.contains("no database"), "{story}");
    }

    #[tokio::test]
    async fn a_child_sees_the_allow_list_and_its_registration_only() {
        let env = BTreeMap::from([("GIVEN".to_owned(), "yes".to_owned())]);
        let (child, mut pipes) = Child::spawn(&sh("env"), &env, None, Mask::default()).expect("sh");
        let mut text = String::new();
        pipes.stdout.read_to_string(&mut text).await.expect("readable");
        child.end(Duration::from_secs(5)).await;
        assert!(text.contains("GIVEN=yes"), "{text}");
        // Cargo sets this one for every test; a child must not see what the node happens to have.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && !text.contains("CARGO_MANIFEST_DIR"), "{text}");
    }

    #[tokio::test]
    async fn a_child_gets_no_descriptor_of_the_node() {
        let secret = tempfile::tempfile().expect("a file");
        // As one that a shell opened before it started the node.
        rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).expect("a descriptor");
        let fd = secret.as_raw_fd();
        let script =
            format!("test -e /proc/self/fd/{fd} && echo open || echo closed; test -e /proc/self/fd/2 && echo stderr");
        let (child, mut pipes) = Child::spawn(&sh(&script), &BTreeMap::new(), None, Mask::default()).expect("sh");
        let mut text = String::new();
        pipes.stdout.read_to_string(&mut text).await.expect("readable");
        child.end(Duration::from_secs(5)).await;
        assert_eq!(text, "closed\nstderr\n");
    }

    #[tokio::test]
    async fn a_child_that_ignores_sigterm_is_killed_with_its_group() {
        let command = sh("trap '' TERM; sleep 600 & echo $!; wait; wait; sleep 600");
        let (child, mut pipes) = Child::spawn(&command, &BTreeMap::new(), None, Mask::default()).expect("sh");
        let mut line = [0; 16];
        let read = pipes.stdout.read(&mut line).await.expect("readable");
        let grandchild: i32 = String::from_utf8_lossy(&line[..read]).trim().parse().expect("a pid");
        let story = child.end(Duration::ZERO).await;
        assert!(story.contains("was ended"), "{story}");
        // The killed grandchild holds the other end of this pipe: its end is the event to wait for.
        let mut rest = Vec::new();
        timeout(Duration::from_secs(5), pipes.stdout.read_to_end(&mut rest)).await.expect("closed").expect("readable");
        assert!(grandchild > 1);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _inside = runtime.enter();
        let command = vec!["aop-no-such-program".to_owned()];
        let error = Child::spawn(&command, &BTreeMap::new(), None, Mask::default()).err().expect("cannot start");
        assert!(error.to_string().contains("aop-no-such-program"), "{error}");
    }
}
