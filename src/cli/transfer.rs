//! `aop export` and `aop import`: a zone as a file, whole or what is new since another file, and back.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use aop_proto::error::{Kind, Problem};
use aop_proto::transfer::{Look, Opening, Reader};
use aop_proto::wire::message::{Message, Vector};
use clap::Args;
use futures::stream;
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::client::{Reply, Request};
use super::output::Exit;
use super::table::facts;
use super::{Context, text};
use crate::handle::damaged;

const EXPORT_EXAMPLES: &str = "\
Examples:
  aop export research.aopz
  aop export monday.aopz --since sunday.aopz
  aop export - | ssh far.example aop import -
  aop --node 127.0.0.1:7401 export research.aopz --json

The file holds every record of the zone as its nodes signed it, with what
proves them: tools, nodes, delegations, revocations. No secret is in it: no
private key, no token, no upstream's address or header. It shows all tools to
whoever reads it.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  aop import research.aopz --dry-run
  aop import research.aopz
  aop export - | aop --node 127.0.0.1:7402 import -
  aop import monday.aopz --json

Every record is verified as one that a replica tells. Nothing is taken of a
file that is not whole, or of another zone or another zone's key, and nothing
that is held is taken back: to import twice changes nothing.

Exit status: 0 all of it stands, 7 some of it was refused, 1 none was taken.";

/// Read or written at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Between two lines of progress, in bytes.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Write the node's zone to a file, whole or what is new
#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(crate) struct Export {
    /// Where to write it; - or nothing is standard output
    #[arg(value_name = "FILE|-")]
    file: Option<PathBuf>,
    /// Only what is missing in this bundle, and in those it goes on from
    #[arg(long, value_name = "BUNDLE")]
    since: Option<PathBuf>,
}

/// Take a zone's file into the node, as if a replica had told it
#[derive(Debug, Args)]
#[command(after_help = IMPORT_EXAMPLES)]
pub(crate) struct Import {
    /// The file, or - for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Verify it and say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Read of a file to tell whether it is text.
const START_BYTES: u64 = 64;

/// What went by, frame by frame.
struct Passing {
    reader: Reader,
    look: Look,
    sum: Sum,
}

#[derive(Debug, Default)]
struct Sum {
    bytes: u64,
    logs: u64,
    records: u64,
}

impl Export {
    /// Fetches the bundle, checks it as it comes and puts it where it belongs once it is whole.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let file = self.file.filter(|file| file.as_os_str() != "-");
        if let Some(file) = &file {
            may_be_written(file, self.since.as_deref())?;
        }
        let request = match &self.since {
            Some(path) => Request::post(&["transfer", "since"], beginning_of(path).await?),
            None => Request::get(&["transfer"]),
        };
        let Some(file) = file else {
            if std::io::stdout().is_terminal() {
                let problem = Problem::new(Kind::Usage, "a bundle is no text: it goes into a file or a pipe");
                return Err(problem.hint("aop export zone.aopz").into());
            }
            let (opening, sum) = fetch(context, &request, &mut tokio::io::stdout()).await?;
            context.out.talk(&summary(&opening, &sum, "standard output"));
            return Ok(Exit::Complete);
        };
        // Beside its place, so that there is never half of one in it.
        let aside = PathBuf::from(format!("{}.part", file.display()));
        let fetched = match create(&aside).await {
            Ok(mut part) => match fetch(context, &request, &mut part).await {
                Ok(fetched) => {
                    part.sync_all().await.map(|()| fetched).map_err(|error| unwritten(&aside, &error).into())
                }
                Err(error) => Err(error),
            },
            Err(problem) => return Err(problem.into()),
        };
        let placed = match fetched {
            Ok(fetched) => match tokio::fs::rename(&aside, &file).await {
                Ok(()) => Ok(fetched),
                Err(error) => Err(unwritten(&file, &error).into()),
            },
            Err(error) => Err(error),
        };
        let (opening, sum) = match placed {
            Ok(fetched) => fetched,
            Err(error) => {
                // What is left of it is of no use to anybody.
                let _ = tokio::fs::remove_file(&aside).await;
                return Err(error);
            }
        };
        let shown = file.display().to_string();
        if context.out.for_people() {
            context.out.talk(&summary(&opening, &sum, &text::clean(&shown)));
        } else {
            context.out.reply(&Reply::made(&exported(&opening, &sum, &shown)), None, "file")?;
        }
        Ok(Exit::Complete)
    }
}

impl Import {
    /// Sends the bundle and prints what came of it.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let mut source: Box<dyn AsyncRead + Send + Unpin> = if self.file.as_os_str() == "-" {
            Box::new(tokio::io::stdin())
        } else {
            Box::new(File::open(&self.file).await.map_err(|error| unread(&self.file, &error))?)
        };
        let start = not_text(&self.file, &mut source).await?;
        let source = Box::new(std::io::Cursor::new(start).chain(source));
        let request = Request::post(&["transfer"], "").flag("dry_run", self.dry_run);
        let body = reqwest::Body::wrap_stream(pieces(source, Progress::of(context, "sent")));
        let reply = context.client.upload(&request, body).await?;
        let value = reply.value()?;
        let out = &context.out;
        if out.for_people() {
            out.data(&facts(&overview(&value), 0))?;
            if self.dry_run {
                out.talk("nothing was changed: this is what would be");
            } else if number(&value["restored"]) > 0 {
                out.talk("tools of this node are listed again; how their servers are reached is in no bundle");
                out.next(&["aop register --help".to_owned()]);
            }
        } else {
            out.reply(&reply, Some("refused"), "kind")?;
        }
        judged(&value, &self.file)
    }
}

/// Whether all of it stands now.
fn judged(value: &Value, file: &Path) -> anyhow::Result<Exit> {
    let refused: Vec<&Value> = value["refused"].as_array().into_iter().flatten().collect();
    let Some(first) = refused.first() else { return Ok(Exit::Complete) };
    let stands = ["taken", "known", "waiting", "restored"].iter().any(|what| number(&value[*what]) > 0);
    if stands {
        return Ok(Exit::Partial);
    }
    let reason = text::clean(first["reason"].as_str().unwrap_or_default());
    let is_gap = first["kind"].as_str() == Some("gap");
    let anew = if is_gap { "; export it anew at a node of that zone, without --since" } else { "" };
    let problem = Problem::new(Kind::BundleUnfit, format!("nothing of it was taken: {reason}{anew}"));
    if is_gap || file.as_os_str() == "-" {
        return Err(problem.into());
    }
    let file = text::shell_word(&text::clean(&file.display().to_string()));
    Err(problem.hint(format!("aop import {file} --dry-run --json")).into())
}

fn overview(value: &Value) -> Vec<(&'static str, String)> {
    let of = |what: &str| number(&value[what]).to_string();
    let tools = &value["tools"];
    let mut rows = vec![
        ("zone", text::clean(value["zone"].as_str().unwrap_or_default())),
        ("records", format!("{} in {}", of("records"), text::count(number(&value["logs"]), "log"))),
        ("taken", of("taken")),
        ("known", of("known")),
        ("tools", format!("{} new or changed, {} gone", number(&tools["changed"]), number(&tools["gone"]))),
    ];
    let rare = [
        ("waiting", "until this clock has come as far"),
        ("restored", "of this node's own lost log"),
        ("statements", ""),
    ];
    for (what, why) in rare.into_iter().filter(|(what, _)| number(&value[*what]) > 0) {
        rows.push((what, format!("{} {why}", of(what)).trim_end().to_owned()));
    }
    if value["adopted"].as_bool() == Some(true) {
        rows.push(("key", "the bundle's, by which this node was certified before".to_owned()));
    }
    for refused in value["refused"].as_array().into_iter().flatten() {
        let (logs, reason) = (number(&refused["logs"]), refused["reason"].as_str().unwrap_or_default());
        let what = format!("{} in {}", number(&refused["records"]), text::count(logs, "log"));
        rows.push(("refused", format!("{what}: {}", text::clean(reason))));
    }
    rows
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// What an older bundle begins with, once all of it was found to be whole.
async fn beginning_of(path: &Path) -> Result<Vec<u8>, Problem> {
    let mut file = File::open(path).await.map_err(|error| unread(path, &error))?;
    let (mut passing, mut chunk) = (Passing::new(), vec![0; CHUNK_BYTES]);
    loop {
        let read = file.read(&mut chunk).await.map_err(|error| unread(path, &error))?;
        if read == 0 {
            break;
        }
        passing.take(&chunk[..read])?;
    }
    let (opening, _) = passing.end()?;
    let vector = Vector { buckets: u64::MAX, entries: opening.vector, reply: false };
    Ok([Message::from(opening.bundle).encode(), Message::from(vector).encode()].concat())
}

/// Refuses a place that no bundle can take, or that has the one which this would go on from.
fn may_be_written(file: &Path, since: Option<&Path>) -> Result<(), Problem> {
    use std::os::unix::fs::MetadataExt as _;

    // A file that is not there yet is the usual case.
    let Ok(there) = std::fs::metadata(file) else { return Ok(()) };
    let shown = text::clean(&file.display().to_string());
    if there.is_dir() {
        let hint =
            format!("aop export {}", text::shell_word(&text::clean(&file.join("zone.aopz").display().to_string())));
        return Err(Problem::new(Kind::Usage, format!("{shown} is a folder")).hint(hint));
    }
    let is_since = |since: &Path| {
        std::fs::metadata(since).is_ok_and(|since| (since.dev(), since.ino()) == (there.dev(), there.ino()))
    };
    if since.is_some_and(is_since) {
        let message = format!("{shown} is the same file as the bundle to go on from, which is needed with what is new");
        return Err(Problem::new(Kind::Usage, message)
            .hint(format!("aop export new.aopz --since {}", text::shell_word(&shown))));
    }
    Ok(())
}

/// Writes what the node sends, and gives back what it was once it turns out to be whole.
async fn fetch(
    context: &Context,
    request: &Request,
    to: &mut (impl AsyncWrite + Unpin),
) -> anyhow::Result<(Opening, Sum)> {
    let (mut passing, mut progress) = (Passing::new(), Progress::of(context, "fetched"));
    let mut failed = None;
    let ended = context
        .client
        .download(request, async |piece| {
            passing.take(&piece)?;
            progress.add(piece.len());
            to.write_all(&piece).await.map_err(|error| {
                let problem = Problem::new(Kind::Internal, format!("the bundle cannot be written: {error}"));
                failed = Some(error);
                problem
            })
        })
        .await;
    progress.end();
    match failed {
        // A reader that has enough closes the pipe.
        Some(error) => return Err(error.into()),
        None => ended?,
    }
    to.flush().await?;
    Ok(passing.end()?)
}

impl Passing {
    fn new() -> Self {
        Self { reader: Reader::default(), look: Look::new(None), sum: Sum::default() }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        self.sum.bytes += bytes.len() as u64;
        while let Some(message) = self.reader.take(&mut bytes).map_err(damaged)? {
            if let Message::Ranges(ranges) = &message {
                self.sum.logs += ranges.ranges.iter().filter(|range| !range.cut).count() as u64;
                self.sum.records += ranges.ranges.iter().map(|range| range.records.len() as u64).sum::<u64>();
            }
            self.look.at(message);
        }
        Ok(())
    }

    fn end(self) -> Result<(Opening, Sum), Problem> {
        self.reader.end().map_err(damaged)?;
        Ok((self.look.found().map_err(damaged)?, self.sum))
    }
}

fn summary(opening: &Opening, sum: &Sum, file: &str) -> String {
    let what = if opening.bundle.delta { "what is new in zone" } else { "zone" };
    let bytes = text::bytes(usize::try_from(sum.bytes).unwrap_or(usize::MAX));
    let (records, logs) = (text::count(sum.records, "record"), text::count(sum.logs, "log"));
    format!("{what} {}: {records} of {logs}, {bytes}, to {file}", text::clean(&opening.bundle.zone))
}

fn exported(opening: &Opening, sum: &Sum, file: &str) -> Value {
    json!({
        "schema": "aop.exported/1", "file": file, "zone": opening.bundle.zone, "node": opening.bundle.node.to_string(),
        "issued_ms": opening.bundle.issued_ms, "delta": opening.bundle.delta, "logs": sum.logs, "records": sum.records,
        "bytes": sum.bytes,
    })
}

/// The first bytes of a bundle, which begins with the length of its first frame. Refused is what begins as JSON does.
async fn not_text(path: &Path, source: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Problem> {
    let mut start = Vec::new();
    source.take(START_BYTES).read_to_end(&mut start).await.map_err(|error| unread(path, &error))?;
    if let [b'{' | b'[', next, ..] = start.trim_ascii_start()
        && (next.is_ascii_whitespace() || matches!(next, b'"' | b'{'))
    {
        let shown = text::clean(&path.display().to_string());
        let message = format!(
            "{shown} is JSON, no bundle: a catalogue is registered, or read by a node as it starts (aop-node --import FILE)"
        );
        return Err(Problem::new(Kind::Usage, message).hint(format!("aop register file {}", text::shell_word(&shown))));
    }
    Ok(start)
}

/// A file as a body, read as it is sent.
fn pieces(
    source: Box<dyn AsyncRead + Send + Unpin>,
    progress: Progress,
) -> impl futures::Stream<Item = std::io::Result<Vec<u8>>> + Send {
    stream::unfold((source, progress), |(mut source, mut progress)| async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        match source.read(&mut chunk).await {
            Ok(0) => {
                progress.end();
                None
            }
            Ok(read) => {
                chunk.truncate(read);
                progress.add(read);
                Some((Ok(chunk), (source, progress)))
            }
            Err(error) => Some((Err(error), (source, progress))),
        }
    })
}

/// How far it is, on a terminal.
struct Progress {
    what: Option<&'static str>,
    bytes: u64,
    told: u64,
}

impl Progress {
    fn of(context: &Context, what: &'static str) -> Self {
        Self { what: context.out.may_animate().then_some(what), bytes: 0, told: 0 }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        let Some(what) = self.what.filter(|_| self.bytes >= self.told + PROGRESS_BYTES) else { return };
        self.told = self.bytes;
        let shown = text::bytes(usize::try_from(self.bytes).unwrap_or(usize::MAX));
        // A terminal that is gone needs no progress.
        let _ = write!(std::io::stderr(), "\r\x1b[2K{what} {shown}");
    }

    fn end(&mut self) {
        if self.told > 0 {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
            self.told = 0;
        }
    }
}

async fn create(path: &Path) -> Result<File, Problem> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).await.map_err(|error| unwritten(path, &error))
}

fn unread(path: &Path, error: &std::io::Error) -> Problem {
    let message = format!("{} cannot be read: {error}", text::clean(&path.display().to_string()));
    Problem::new(Kind::Usage, message)
}

fn unwritten(path: &Path, error: &std::io::Error) -> Problem {
    let message = format!("{} cannot be written: {error}", text::clean(&path.display().to_string()));
    Problem::new(Kind::Usage, message)
}
