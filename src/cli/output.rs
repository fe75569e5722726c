//! Where words go: data to stdout in the format asked for, everything else to stderr.
//!
//! Not the tables themselves; each command makes its own. What must hold: with a format for programs nothing but data reaches
//! stdout and nothing but error lines reaches stderr, and a reader that closes the pipe ends the program quietly.

use std::io::{self, IsTerminal, Write};

use aop_proto::error::{Kind, Problem};
use clap::ValueEnum;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::Reply;
use super::json::{Members, pretty};
use super::table::{Look, Table};
use super::{text, yaml};

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// What the node answered, indented on a terminal
    Json,
    /// One JSON object a line
    Jsonl,
    /// The same as YAML
    Yaml,
    /// Names only, one a line
    Name,
}

/// When colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What a command's answer means for whoever called `aop`; the numbers are those of the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The answer is complete.
    Complete = 0,
    /// The tool answered, and did not come to an end.
    Unfinished = 1,
    /// What was asked was no question.
    Usage = 2,
    /// The tool itself answered `isError`.
    ToolError = 5,
    /// Nothing was found, and everybody who was asked said so.
    Nothing = 6,
    /// Some zones did not answer.
    Partial = 7,
}

/// The two streams, and how to write to them.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// The format asked for.
    pub(crate) format: Format,
    /// How tables are drawn.
    pub(crate) look: Look,
    quiet: bool,
    terminal: bool,
}

impl Output {
    /// For this process's streams.
    pub(crate) fn new(format: Format, quiet: bool, color: When) -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        let color = match color {
            When::Always => true,
            When::Never => false,
            When::Auto if set("NO_COLOR") => false,
            When::Auto => {
                set("CLICOLOR_FORCE") || (terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb"))
            }
        };
        let width = if terminal { comfy_table::Table::new().width() } else { None };
        Self { format, look: Look { color, width, whole: format == Format::Wide }, quiet, terminal }
    }

    /// Whether a person reads: tables, summaries and hints.
    pub(crate) fn for_people(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Whether stderr may show a line that is written over and over.
    pub(crate) fn may_animate(&self) -> bool {
        self.for_people() && !self.quiet && io::stderr().is_terminal()
    }

    /// Writes data.
    pub(crate) fn data(&self, data: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(data.as_bytes())?;
        stdout.flush()
    }

    /// Writes a table; an empty one has nothing to say.
    pub(crate) fn table(&self, table: &Table) -> io::Result<()> {
        if table.is_empty() { Ok(()) } else { self.data(&table.render(self.look)) }
    }

    /// Says something besides the data.
    pub(crate) fn talk(&self, line: &str) {
        if self.for_people() && !self.quiet {
            say(line);
        }
    }

    /// Names commands that are likely to come next.
    pub(crate) fn next(&self, commands: &[String]) {
        if !commands.is_empty() {
            self.talk(&format!("next: {}", commands.join("   ·   ")));
        }
    }

    /// Writes an answer in a format for programs. `list` is the member that holds the items, `name` the item's own name.
    pub(crate) fn reply(&self, reply: &Reply, list: Option<&str>, name: &str) -> anyhow::Result<()> {
        match self.format {
            Format::Jsonl => match list.and_then(|member| items(&reply.body, member)) {
                Some(items) => {
                    let lines: String = items.iter().map(|item| format!("{}\n", item.get())).collect();
                    self.data(&lines)?;
                }
                None => self.data(&format!("{}\n", reply.folded()))?,
            },
            Format::Yaml => match reply.value() {
                Ok(value) => self.data(&yaml::document(&value))?,
                // JSON that cannot be read here is YAML as it stands.
                Err(_) => self.data(&format!("{}\n", reply.folded()))?,
            },
            Format::Name => {
                let value = reply.value()?;
                let of = |item: &Value| item[name].as_str().or(item.as_str()).map(|n| format!("{}\n", text::clean(n)));
                let names: String = match list {
                    Some(member) => value[member].as_array().into_iter().flatten().filter_map(of).collect(),
                    None => of(&value).unwrap_or_default(),
                };
                self.data(&names)?;
            }
            Format::Json | Format::Table | Format::Wide => self.json(&reply.folded())?,
        }
        Ok(())
    }

    /// Writes JSON text, indented on a terminal.
    pub(crate) fn json(&self, json: &str) -> io::Result<()> {
        let mut text = if self.terminal { pretty(json) } else { json.trim_end().to_owned() };
        text.push('\n');
        self.data(&text)
    }

    /// Writes a value made here, in the format asked for.
    pub(crate) fn value(&self, value: &Value, name: &str) -> anyhow::Result<()> {
        match self.format {
            Format::Yaml => self.data(&yaml::document(value))?,
            Format::Name => self.data(&format!("{}\n", text::clean(value[name].as_str().unwrap_or_default())))?,
            Format::Jsonl => self.data(&format!("{value}\n"))?,
            _ => self.json(&value.to_string())?,
        }
        Ok(())
    }

    /// Tells a failure: in words, or as one line of JSON.
    pub(crate) fn problem(&self, problem: &Problem) {
        if self.for_people() || self.format == Format::Name {
            say(&problem_text(problem));
        } else {
            say(&json!({"error": problem.to_json()}).to_string());
        }
    }

    /// Tells that the tool itself failed; its words are data and were written already.
    pub(crate) fn tool_error(&self, name: &str) {
        if self.for_people() || self.format == Format::Name {
            say(&format!("error: {} answered with an error", text::clean(name)));
        } else {
            let message = format!("{name} answered with an error");
            let error = json!({"code": "AOP0508", "kind": "tool_error", "message": message, "hint": null, "did_you_mean": [],
                "retryable": false, "trace_id": null});
            say(&json!({"error": error}).to_string());
        }
    }
}

/// A line on stderr; a closed stderr is nobody's failure.
pub(crate) fn say(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

/// `error[AOP0301]: no zone …`, with a help line of near names and the hint.
pub(crate) fn problem_text(problem: &Problem) -> String {
    let mut lines = format!("error[{}]: {}", problem.kind.code(), text::clean(&problem.message));
    if let (Kind::InvalidArguments, Some(detail)) = (problem.kind, &problem.detail) {
        lines.push_str(&expectation(detail));
    }
    let near: Vec<String> = problem.did_you_mean.iter().map(|name| format!("`{}`", text::clean(name))).collect();
    let hint = problem.hint.as_deref().map(text::clean).filter(|hint| !hint.is_empty());
    match (near.is_empty(), hint) {
        (false, Some(hint)) => lines.push_str(&format!("\n  help: did you mean {}?  run: {hint}", near.join(" or "))),
        (false, None) => lines.push_str(&format!("\n  help: did you mean {}?", near.join(" or "))),
        (true, Some(hint)) => lines.push_str(&format!("\n  help: {hint}")),
        (true, None) => {}
    }
    lines
}

/// The line that names the argument and what was expected of it.
fn expectation(detail: &Value) -> String {
    let word = |key: &str| match &detail[key] {
        Value::String(text) => text::clean(text),
        Value::Null => String::new(),
        other => text::clean(&other.to_string()),
    };
    let (path, expected) = (word("path"), word("expected"));
    if expected.is_empty() {
        return String::new();
    }
    let path = path.trim_start_matches('/').replace('/', ".");
    let found = match word("found") {
        found if found.is_empty() => found,
        found => format!(", found {}", text::cut(&found, 100)),
    };
    let place = if path.is_empty() { "(arguments)" } else { &path };
    format!("\n  {place}  ← expected {}{found}", text::cut(&expected, 200))
}

/// The items of a member, as the node sent them.
fn items(body: &[u8], member: &str) -> Option<Vec<Box<RawValue>>> {
    let (_, raw) = Members::of(body)?.0.into_iter().find(|(key, _)| key == member)?;
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_code_its_near_names_and_a_command() {
        let problem = Problem::new(Kind::ZoneNotFound, "no zone `reserch`")
            .hint("aop zones --tree")
            .did_you_mean(vec!["research".into()]);
        assert_eq!(
            problem_text(&problem),
            "error[AOP0301]: no zone `reserch`\n  help: did you mean `research`?  run: aop zones --tree"
        );
        let problem = Problem::new(Kind::InvalidArguments, "argument `days` is not an integer")
            .hint("aop show x")
            .detail(json!({"path": "/days", "expected": "integer 1…10", "found": "\"x\""}));
        assert_eq!(
            problem_text(&problem),
            "error[AOP0412]: argument `days` is not an integer\n  days  ← expected integer 1…10, found \"x\"\n  help: aop show x"
        );
    }

    #[test]
    fn items_are_given_as_sent() {
        let items = items(br#"{"results":[{"a":1.0}, {"b": 2}]}"#, "results").expect("a list");
        assert_eq!(items.iter().map(|item| item.get()).collect::<Vec<_>>(), [r#"{"a":1.0}"#, r#"{"b": 2}"#]);
    }
}
