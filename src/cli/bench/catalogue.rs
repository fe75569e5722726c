//! A catalogue ranked in this process, by the rules by which an asker ranks what one zone that holds all of it answers.
//!
//! Only words are looked at: what is exact, down or hidden plays no part here. The right tools of a question can be left out, with their
//! twins, to see what is offered when there is no answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use aop_proto::error::Problem;
use aop_proto::index::{CONFIDENCE_MIN, DocId, Evidence, Goal, Index, Terms, confidences};
use aop_proto::params::CANDIDATES_MIN;
use aop_proto::search::is_same_name;
use serde_json::Value;

use super::{Answered, lines_of, usage};

/// The tools of some files.
pub(super) struct Catalogue {
    tools: Vec<Tool>,
    places: BTreeMap<String, usize>,
    index: Index,
}

struct Tool {
    /// `server/name`.
    id: String,
    name: String,
    /// By which its twins are known: its name in small letters and digits, and its description.
    twin_of: [String; 2],
    terms: Terms,
}

impl Catalogue {
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, Problem> {
        let mut tools = Vec::new();
        for file in files {
            for (number, line) in (1..).zip(lines_of(file)?) {
                let tool = Tool::read(&line);
                tools.push(tool.ok_or_else(|| {
                    usage(format!("tool {number} of {} has no `name` or no `server`", file.display()))
                })?);
            }
        }
        // Ties go by id.
        tools.sort_by(|a, b| a.id.cmp(&b.id));
        tools.dedup_by(|a, b| a.id == b.id);
        let mut index = Index::default();
        for (number, tool) in (0..).zip(&tools) {
            index.insert(DocId(number), tool.terms.clone());
        }
        let places = (0..).zip(&tools).map(|(place, tool)| (tool.id.clone(), place)).collect();
        Ok(Self { tools, places, index })
    }

    pub(super) fn len(&self) -> usize {
        self.tools.len()
    }

    pub(super) fn holds(&self, id: &str) -> bool {
        self.places.contains_key(id)
    }

    /// What is found in words, without the tools of these groups and their twins.
    pub(super) fn ask(&self, text: &str, limit: usize, without: &[Vec<String>]) -> Answered {
        let gone = self.with_twins(without);
        let started = Instant::now();
        let goal = Goal::parse(text);
        let snapshot = self.index.snapshot();
        let stats = snapshot.stats(goal.whole());
        let scorer = goal.scorer(&stats);
        let here = |document: DocId| !gone.contains(&document.0);
        let found = snapshot.search_with(goal.whole(), &stats, limit.max(CANDIDATES_MIN), &here);
        let found: Vec<(&Tool, f32)> =
            found.into_iter().map(|(document, score)| (&self.tools[document.0 as usize], score)).collect();
        let parts: Vec<_> =
            found.iter().map(|(tool, _)| (scorer.whole.parts(&tool.terms), goal.whole().says(&tool.name))).collect();
        let evidence: Vec<Evidence<'_>> =
            parts.iter().map(|(parts, named)| Evidence { parts, named: *named }).collect();
        let likely = confidences(&scorer.whole, &evidence);
        let is_likely = likely.iter().any(|likely| *likely >= CONFIDENCE_MIN);
        let best = found.first().map(|(tool, _)| tool.id.clone()).zip(likely.first().copied());
        let of_clauses = |tool: &Tool| scorer.of_clauses(&goal.read(&tool.terms));
        let scored: Vec<_> =
            found.iter().take(scorer.turned()).map(|(tool, score)| (*score, of_clauses(tool))).collect();
        let turns = scorer.turns(&scored);
        let mut order: Vec<usize> = turns.iter().copied().chain(turns.len()..found.len()).collect();
        order.sort_by_key(|place| !is_same_name(text, &found[*place].0.name));
        let order = order.into_iter().take(if is_likely { limit } else { 0 });
        let tools = order.map(|place| found[place].0.id.clone()).collect();
        Answered { tools, best, took: started.elapsed() }
    }

    /// The documents of these tools, and of all that have the name or the description of one of them.
    fn with_twins(&self, groups: &[Vec<String>]) -> BTreeSet<u32> {
        let right = groups.iter().flatten().filter_map(|id| self.places.get(id)).map(|place| &self.tools[*place]);
        let right: Vec<&Tool> = right.collect();
        if right.is_empty() {
            return BTreeSet::new();
        }
        let is_twin = |tool: &Tool| right.iter().any(|one| one.is_twin_of(tool));
        (0..).zip(&self.tools).filter(|(_, tool)| is_twin(tool)).map(|(number, _)| number).collect()
    }
}

impl Tool {
    fn read(line: &Value) -> Option<Self> {
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        let (name, server) = (line["name"].as_str()?, line["server"].as_str()?);
        let more = ["tags", "capabilities", "examples"].into_iter().filter_map(|key| line[key].as_array());
        let more: Vec<&str> = more.flatten().filter_map(Value::as_str).collect();
        let bare = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        Some(Self {
            id: line["id"].as_str().map_or_else(|| format!("{server}/{name}"), str::to_owned),
            name: name.to_owned(),
            twin_of: [bare, text("description").trim().to_lowercase()],
            terms: Terms::from_definition(line.to_string().as_bytes(), server, &more).ok()?,
        })
    }

    fn is_twin_of(&self, other: &Self) -> bool {
        self.twin_of.iter().zip(&other.twin_of).any(|(one, other)| !one.is_empty() && one == other)
    }
}
