//! Real tools, and questions in plain words of which the right tools are known: the public catalogues, where they lie beside the
//! repository, and made ones where they do not, which [`Labelled::says`].
//!
//! It measures nothing. A tool goes by its `id`, which is `server/name` and the same wherever it is asked for.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Result;
use crate::catalogue;

/// Tools of all public catalogues; as many are made where they do not lie here.
const TOOLS: usize = 9_020;
/// One in so many of the made tools is asked for.
const ASKED_EVERY: usize = 8;
/// Longer questions are not taken by nodes.
const QUESTION_BYTES_MAX: usize = 2_000;

/// Tools and questions.
pub(crate) struct Labelled {
    /// Lines of a catalogue.
    pub(crate) tools: Vec<Value>,
    pub(crate) questions: Vec<Asked>,
    is_real: bool,
}

/// A question.
pub(crate) struct Asked {
    /// The set it belongs to.
    pub(crate) set: String,
    pub(crate) text: String,
    /// Of each group any tool is right.
    pub(crate) groups: Vec<Vec<String>>,
}

impl Labelled {
    /// Reads the public catalogues, or makes tools.
    ///
    /// # Errors
    /// A file that is there cannot be read.
    pub(crate) fn read() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
        let tools = lines(&files(&folder, "catalogue-"))?;
        let questions: Vec<Asked> = lines(&files(&folder, "queries-"))?.iter().filter_map(Asked::read).collect();
        if tools.is_empty() || questions.is_empty() {
            return Self::made();
        }
        Ok(Self { tools, questions, is_real: true })
    }

    fn made() -> Result<Self> {
        let tools = (0..TOOLS).map(|number| {
            let mut tool: Value = serde_json::from_str(&catalogue::line(number))?;
            tool["id"] = format!("{}/{}", text(&tool["server"]), text(&tool["name"])).into();
            Ok(tool)
        });
        let tools: Vec<Value> = tools.collect::<Result<_>>()?;
        let question = |tool: &Value| Asked {
            set: "made".to_owned(),
            text: format!("{} {}", text(&tool["title"]), text(&tool["description"]).split('.').next().unwrap_or("")),
            groups: vec![vec![text(&tool["id"]).to_owned()]],
        };
        let questions = tools.iter().step_by(ASKED_EVERY).map(question).collect();
        Ok(Self { tools, questions, is_real: false })
    }

    /// Whose tools they are.
    pub(crate) fn says(&self) -> &'static str {
        if self.is_real { "public tools" } else { "made tools, as ../shared/data is not there," }
    }

    /// Writes the tools that `belongs` says to a file, as nodes import them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, file: &Path, belongs: impl Fn(&Value) -> bool) -> Result<()> {
        let mut out = String::new();
        for tool in self.tools.iter().filter(|tool| belongs(tool)) {
            writeln!(out, "{tool}")?;
        }
        Ok(fs::write(file, out)?)
    }
}

impl Asked {
    fn read(line: &Value) -> Option<Self> {
        let ids = |group: &Value| Some(group.as_array()?.iter().map(|id| text(id).to_owned()).collect());
        let question = Self {
            set: line["dataset"].as_str()?.to_owned(),
            text: line["query"].as_str()?.to_owned(),
            groups: line["relevant"].as_array()?.iter().map(ids).collect::<Option<_>>()?,
        };
        (question.text.len() <= QUESTION_BYTES_MAX).then_some(question)
    }

    /// The share of its groups of which the first of these is one.
    pub(crate) fn recall_at_1(&self, found: &[String]) -> f64 {
        let Some(first) = found.first() else { return 0.0 };
        let hit = self.groups.iter().filter(|group| group.contains(first)).count();
        hit as f64 / self.groups.len().max(1) as f64
    }
}

/// The path that asks in words: whatever is no letter or digit is written as its bytes.
pub(crate) fn in_words(question: &str) -> String {
    let mut path = String::from("/v1/resolve?q=");
    for byte in question.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => path.push(char::from(byte)),
            // Writing to a text cannot fail.
            _ => drop(write!(path, "%{byte:02X}")),
        }
    }
    path
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(prefix) && name.ends_with(".jsonl")
    };
    let mut files: Vec<PathBuf> = all.filter(named).collect();
    files.sort();
    files
}

fn lines(files: &[PathBuf]) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for file in files {
        for line in fs::read_to_string(file)?.lines() {
            all.push(serde_json::from_str(line)?);
        }
    }
    Ok(all)
}
