//! `aop bench`: how often plain words find the right tool, and how fast, on questions whose right tools are known.
//!
//! It asks a node as `aop resolve` does, or ranks a catalogue in this process by the very same rules. It changes nothing and judges
//! nothing: the figures are those of the retrieval literature ([`figures`]).

mod catalogue;
mod figures;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aop_proto::error::{Kind, Problem};
use clap::Args;
use serde_json::{Value, json};

use self::catalogue::Catalogue;
use self::figures::Figures;
use super::client::Request;
use super::output::{Exit, Format};
use super::table::{Table, name, plain};
use super::{Context, text};

/// Characters of the progress bar.
const BAR: usize = 24;

const EXAMPLES: &str = "\
Examples:
  aop bench questions.jsonl
  aop bench questions.jsonl --catalogue tools.jsonl
  aop bench azure.jsonl github.jsonl --catalogue azure-tools.jsonl --catalogue github-tools.jsonl --json

A line of QUERIES is {\"query\": \"…\", \"relevant\": [[\"server/tool\", …], …], \"dataset\": \"…\"}: of every group of `relevant` one tool
is sought, and nothing where it is `[]`. Lines of one `dataset` are a set. A line of a catalogue is a tool as `aop-node --import` takes it.";

/// Measure how well words find tools, on questions whose right tools are known
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bench {
    /// Files of questions, one JSON object a line
    #[arg(required = true, value_name = "QUERIES")]
    queries: Vec<PathBuf>,
    /// Rank the tools of this file here, and ask no node (repeat for more; all together are one zone)
    #[arg(long, value_name = "FILE")]
    catalogue: Vec<PathBuf>,
    /// At most this many results a question
    #[arg(short = 'n', long = "limit", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// Only the first so many questions of each set
    #[arg(long, value_name = "N")]
    first: Option<usize>,
}

/// One question.
struct Question {
    text: String,
    groups: Vec<Vec<String>>,
}

/// What somebody answered: the tools by `server/name`, best first.
struct Answered {
    tools: Vec<String>,
    /// What is best by its words, offered or not, and how likely it is told to be right, 0 to 1; nothing where that is not known.
    best: Option<(String, f32)>,
    took: Duration,
}

/// Questions of one name.
struct Set {
    name: String,
    questions: Vec<Question>,
}

impl Bench {
    /// Asks everything and prints the figures.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let sets = self.sets()?;
        let catalogue = match self.catalogue.as_slice() {
            [] => None,
            files => Some(Catalogue::read(files)?),
        };
        let mut measured = Vec::new();
        for set in &sets {
            measured.push(self.measure(set, catalogue.as_ref(), context).await?);
        }
        let out = &context.out;
        if out.for_people() {
            out.table(&table(&measured, catalogue.is_some()))?;
            let asked: usize = sets.iter().map(|set| set.questions.len()).sum();
            out.talk(&text::count(asked as u64, "question"));
        } else {
            let name = if out.format == Format::Name { "dataset" } else { "sets" };
            out.value(&to_json(&measured), name)?;
        }
        Ok(Exit::Complete)
    }

    fn sets(&self) -> Result<Vec<Set>, Problem> {
        let mut sets = Vec::new();
        for path in &self.queries {
            for mut set in read_sets(path)? {
                set.questions.truncate(self.first.unwrap_or(usize::MAX));
                sets.push(set);
            }
        }
        Ok(sets)
    }

    async fn measure(&self, set: &Set, catalogue: Option<&Catalogue>, context: &Context) -> anyhow::Result<Figures> {
        let mut figures = Figures::of(&set.name, catalogue.map(Catalogue::len));
        if let Some(catalogue) = catalogue {
            let missing = set.questions.iter().flat_map(|question| &question.groups);
            if let Some(group) = missing.into_iter().find(|group| !group.iter().any(|id| catalogue.holds(id))) {
                let what = group.first().map_or("", String::as_str);
                return Err(usage(format!(
                    "the catalogue does not hold `{}`, which {} seeks",
                    text::clean(what),
                    set.name
                ))
                .into());
            }
        }
        let shows = context.out.may_animate();
        for (at, question) in set.questions.iter().enumerate() {
            if shows {
                progress(&set.name, at, set.questions.len());
            }
            let limit = usize::from(self.limit);
            match catalogue {
                Some(catalogue) if question.groups.is_empty() => {
                    figures.add_unanswerable(catalogue.ask(&question.text, limit, &[]).tools.is_empty());
                }
                None if question.groups.is_empty() => {
                    figures.add_unanswerable(ask_node(context, &question.text, limit).await?.tools.is_empty());
                }
                Some(catalogue) => {
                    let answered = catalogue.ask(&question.text, limit, &[]);
                    figures.add(&answered.tools, &question.groups, answered.took);
                    let without = catalogue.ask(&question.text, limit, &question.groups);
                    figures.add_unanswerable(without.tools.is_empty());
                    for (id, likely) in answered.best.into_iter().chain(without.best) {
                        figures.add_told(likely, question.groups.iter().flatten().any(|right| *right == id));
                    }
                }
                None => {
                    let answered = ask_node(context, &question.text, limit).await?;
                    figures.add(&answered.tools, &question.groups, answered.took);
                }
            }
        }
        if shows {
            // Clears the line.
            eprint!("\r\u{1b}[K");
        }
        Ok(figures)
    }
}

/// Asks a node for words. Whatever it says besides (silent zones, freshness) does not matter here.
async fn ask_node(context: &Context, query: &str, limit: usize) -> Result<Answered, Problem> {
    let body = json!({"q": query, "n": limit}).to_string();
    let started = Instant::now();
    let reply = context.client.send(&Request::post(&["resolve"], body).read_only()).await?;
    let took = started.elapsed();
    let value = reply.value()?;
    let ids = value["results"].as_array().into_iter().flatten().filter_map(|result| result["id"].as_str());
    Ok(Answered { tools: ids.map(str::to_owned).collect(), best: None, took })
}

/// The questions of a file, by what they say their set is called, in the order in which the sets begin.
fn read_sets(path: &Path) -> Result<Vec<Set>, Problem> {
    let lines = lines_of(path)?;
    if lines.is_empty() {
        return Err(usage(format!("{} holds no question", path.display())).hint("aop bench --help"));
    }
    let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut sets: Vec<Set> = Vec::new();
    for (number, line) in (1..).zip(&lines) {
        let name = line["dataset"].as_str().unwrap_or(&stem);
        let question = read_question(line).ok_or_else(|| {
            usage(format!("line {number} of {} has no `query`, or `relevant` is no list of groups", path.display()))
        })?;
        match sets.iter_mut().find(|set| set.name == name) {
            Some(set) => set.questions.push(question),
            None => sets.push(Set { name: name.to_owned(), questions: vec![question] }),
        }
    }
    Ok(sets)
}

fn read_question(line: &Value) -> Option<Question> {
    let id = |id: &Value| id.as_str().map(str::to_owned);
    let group = |group: &Value| group.as_array()?.iter().map(id).collect::<Option<Vec<String>>>();
    let groups = line["relevant"].as_array()?.iter().map(group).collect::<Option<Vec<_>>>()?;
    let full = groups.iter().all(|group| !group.is_empty());
    full.then_some(Question { text: line["query"].as_str()?.to_owned(), groups })
}

/// The JSON objects of a file, one a line; empty lines are skipped.
fn lines_of(path: &Path) -> Result<Vec<Value>, Problem> {
    let text = std::fs::read_to_string(path).map_err(|error| usage(format!("read {}: {error}", path.display())))?;
    let read = |(number, line): (usize, &str)| {
        serde_json::from_str::<Value>(line)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| usage(format!("line {number} of {} is no JSON object", path.display())))
    };
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).map(read).collect()
}

fn usage(message: String) -> Problem {
    Problem::new(Kind::Usage, message)
}

/// Draws over the line before. A terminal that cannot be written to is nobody's problem.
fn progress(name: &str, done: usize, all: usize) {
    let full = BAR * done / all.max(1);
    let _ = write!(
        std::io::stderr(),
        "\r{}{} {done}/{all} {}\u{1b}[K",
        "━".repeat(full),
        "─".repeat(BAR - full),
        text::clean(name)
    );
    let _ = std::io::stderr().flush();
}

fn table(measured: &[Figures], by_catalogue: bool) -> Table {
    let mut columns = vec!["SET", ">TOOLS", ">QUESTIONS", ">R@1", ">R@5", ">R@10", ">MRR", ">NDCG@10", ">NOTHING"];
    let tells_rightly = measured.iter().any(|set| set.nothing_rightly().is_some());
    columns.extend(tells_rightly.then_some(">NOTHING, RIGHTLY"));
    columns.extend(by_catalogue.then_some(">ECE"));
    columns.extend([">P50", ">P99"]);
    let mut table = Table::new(&columns);
    let all = (measured.len() > 1).then(|| Figures::mean(measured));
    for set in measured.iter().chain(&all) {
        let share = |share: f64| plain(format!("{share:.3}"));
        let mut row = vec![
            name(set.name.clone()),
            plain(set.tools.map_or_else(|| "–".to_owned(), |tools| tools.to_string())),
            plain(set.questions.to_string()),
        ];
        row.extend(set.shares().map(share));
        row.push(share(set.nothing()));
        let told = [(tells_rightly, set.nothing_rightly()), (by_catalogue, set.calibration_error())];
        let told = told.into_iter().filter(|(is_shown, _)| *is_shown);
        row.extend(told.map(|(_, it)| it.map_or_else(|| plain("–".to_owned()), share)));
        row.extend([set.took(0.5), set.took(0.99)].map(|took| plain(text::took(took))));
        table.row(row);
    }
    table
}

fn to_json(measured: &[Figures]) -> Value {
    let sets: Vec<Value> = measured.iter().map(Figures::to_json).collect();
    json!({"schema": "aop.bench/1", "sets": sets, "mean": Figures::mean(measured).to_json()})
}
