//! How an asker ranks what zones answered.
//!
//! Scores of different zones are not comparable and not to be trusted, so none travel: every candidate is scored here, from its
//! signed text, with the counts of all zones that answered (DESIGN D7). The same records and counts give every asker the same
//! ranking.

use std::collections::BTreeMap;

use crate::index::{Query, Scorer, Stats};
use crate::name::{FullName, ZoneName};
use crate::trust::answers::Checked;
use crate::wire::message::{Form, Health, Instance, Question};
use crate::zone::{ToolInstance, aliases, terms_of};

/// One ranked tool.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its full name.
    pub name: FullName,
    /// Its zone.
    pub zone: ZoneName,
    /// The record that is shown, and its body.
    pub instance: ToolInstance,
    /// BM25 over all zones asked; for sorting and `--explain`.
    pub score: f32,
    /// The same as a part of what a tool could reach with this question, 0 to 1; for people.
    pub share: f32,
    /// Found by its very name.
    pub exact: bool,
    /// Everybody who serves it.
    pub instances: Vec<Instance>,
    /// Several services claim the name.
    pub clash: bool,
    /// Place of its zone's answer among those ranked.
    pub answer: usize,
}

impl Found {
    /// How it is: as its best instance is.
    pub fn health(&self) -> Health {
        self.instances.iter().map(|instance| instance.health).min().unwrap_or(Health::Unknown)
    }
}

/// Ranks what zones answered: exact names first, what is down last, then score, ties by name. Deterministic.
pub fn rank(question: &Question, answers: &[Checked]) -> Vec<Found> {
    let query = Query::parse(&question.text);
    let mut stats = Stats::default();
    for checked in answers {
        let answer = &checked.answer;
        stats.merge(&Stats {
            documents: answer.documents,
            total_length: answer.total_length,
            document_frequency: answer.frequencies.clone(),
        });
    }
    let scorer = Scorer::new(&query, &stats);
    let mut best: BTreeMap<FullName, Found> = BTreeMap::new();
    for (at, checked) in answers.iter().enumerate() {
        for (candidate, signed) in checked.answer.candidates.iter().zip(&checked.records) {
            let Some(instance) = ToolInstance::read(signed) else { continue };
            let name = instance.name.clone();
            let Ok(zone) = ZoneName::parse(&checked.answer.zone) else { continue };
            let exact = aliases(&name, &instance.body).contains(&question.text.trim().to_lowercase());
            let score = match question.form {
                Form::Words => scorer.score(&terms_of(&instance.body)),
                Form::Exact | Form::List => 0.0,
            };
            let share = if score > 0.0 { score / scorer.ceiling() } else { 0.0 };
            let (instances, clash) = (candidate.instances.clone(), candidate.clash);
            let found = Found { name: name.clone(), zone, instance, score, share, exact, instances, clash, answer: at };
            // A name can stand in a parent and in a child of it only while a delegation is young: the deeper zone owns it.
            match best.get(&name) {
                Some(known) if known.zone.depth() >= found.zone.depth() => {}
                _ => {
                    best.insert(name, found);
                }
            }
        }
    }
    let mut ranked: Vec<Found> = best.into_values().collect();
    if question.form != Form::List {
        ranked.sort_by(|a, b| {
            let down = |found: &Found| found.health() == Health::Down;
            (b.exact, down(a)).cmp(&(a.exact, down(b))).then(b.score.total_cmp(&a.score)).then(a.name.cmp(&b.name))
        });
    }
    ranked.truncate(question.limit as usize);
    ranked
}
