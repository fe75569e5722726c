//! How an asker ranks what zones answered.
//!
//! Scores of different zones are not comparable and not to be trusted, so none travel: every candidate is scored here, from its
//! signed text, with the counts of all zones that answered (DESIGN D7). The same records and counts give every asker the same
//! ranking.

use std::collections::BTreeMap;

use crate::index::{CONFIDENCE_MIN, Evidence, Goal, GoalScorer, Query, Stats, confidences};
use crate::name::{FullName, ZoneName};
use crate::params::CANDIDATES_MIN;
use crate::trust::answers::Checked;
use crate::wire::message::{Form, Health, Instance, Question};
use crate::zone::{ToolInstance, aliases, sifted};

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
    /// How likely it is what was sought, 0 to 1; 1 for what was found by its very name.
    pub confidence: f32,
    /// What each word of the question brings to the score; parallel to [`Ranked::words`].
    pub parts: Box<[f32]>,
    /// How well it answers each clause of a goal.
    clauses: Box<[f32]>,
    /// Found by its very name.
    pub exact: bool,
    /// Everybody who serves it.
    pub instances: Vec<Instance>,
    /// Several services claim the name.
    pub clash: bool,
    /// Place of its zone's answer among those ranked.
    pub answer: usize,
    /// Other tools of the very same definition, best first; they are told with this one, and take no place of others.
    pub also: Vec<FullName>,
}

/// What was found, and what was not shown.
#[derive(Clone, Debug, Default)]
pub struct Ranked {
    /// Best first, at most as many as were asked for.
    pub found: Vec<Found>,
    /// The best of the others, at most [`LOST_MAX`].
    pub lost: Vec<Lost>,
    /// Where nothing was found that is likely enough, the best [`NEAREST_MAX`] of what was not offered.
    pub nearest: Vec<Lost>,
    /// The telling words of a question in words.
    pub words: Vec<String>,
    /// What a tool could reach with the question.
    pub ceiling: f32,
}

/// Those told of where nothing is offered.
pub const NEAREST_MAX: usize = 3;

/// Words that are named as missing in one of them.
const MISSING_MAX: usize = 5;

/// Those told of that were not shown.
pub const LOST_MAX: usize = 20;

/// A tool that a zone offered and that is not shown.
#[derive(Clone, PartialEq, Debug)]
pub struct Lost {
    /// Its full name.
    pub name: FullName,
    /// The zone that offered it.
    pub zone: ZoneName,
    /// Its part of what a tool could reach with the question, 0 to 1.
    pub share: f32,
    /// How likely it is what was sought, 0 to 1.
    pub confidence: f32,
    /// Why.
    pub why: Why,
}

/// Why a tool is not shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// So many others are better, and no more were asked for.
    Worse {
        /// Its place.
        place: usize,
    },
    /// Nobody who serves it can be reached, so that it stands last.
    Down {
        /// Its place.
        place: usize,
    },
    /// It is another's very definition, and told with it.
    Same(FullName),
    /// A deeper zone owns its name.
    Shadowed(ZoneName),
    /// It is not likely to be what was sought; nothing is.
    Unlikely {
        /// Words of the question that it says nothing of, the rarest first.
        missing: Vec<String>,
    },
}

impl Found {
    /// How it is: as its best instance is.
    pub fn health(&self) -> Health {
        self.instances.iter().map(|instance| instance.health).min().unwrap_or(Health::Unknown)
    }

    fn lost(self, why: Why) -> Lost {
        Lost { name: self.name, zone: self.zone, share: self.share, confidence: self.confidence, why }
    }
}

/// Ranks what zones answered: exact names first, what is down last, then score, ties by name; tools of one definition found by words
/// are one, with the names of all. Deterministic.
pub fn rank<'a>(question: &Question, answers: impl Iterator<Item = &'a Checked> + Clone) -> Ranked {
    // Only words are weighed.
    let goal = (question.form == Form::Words).then(|| Goal::parse(&question.text));
    let scorer = goal.as_ref().map(|goal| goal.scorer(&stats_of(answers.clone())));
    let ceiling = scorer.as_ref().map_or(0.0, |scorer| scorer.whole.ceiling());
    let asked = question.text.trim().to_lowercase();
    let mut best: BTreeMap<FullName, Found> = BTreeMap::new();
    let mut lost = Vec::new();
    for (at, checked) in answers.enumerate() {
        let Ok(zone) = ZoneName::parse(&checked.answer.zone) else { continue };
        for (candidate, signed) in checked.answer.candidates.iter().zip(&checked.records) {
            let Some(instance) = ToolInstance::read(signed) else { continue };
            let (name, zone, body) = (instance.name(), zone.clone(), instance.body());
            let exact = name.key() == asked || aliases(&name, &body).contains(&asked);
            let (parts, clauses) = match (&goal, &scorer) {
                (Some(goal), Some(scorer)) => {
                    let sifted = sifted(goal, &body);
                    (scorer.whole.parts_of(&sifted), scorer.of_clauses(&sifted))
                }
                _ => Default::default(),
            };
            let score = parts.iter().fold(0.0, |sum, part| sum + part);
            let share = if score > 0.0 { score / ceiling } else { 0.0 };
            let (instances, clash) = (candidate.instances.clone(), candidate.clash);
            let (answer, also) = (at, Vec::new());
            let confidence = if exact { 1.0 } else { 0.0 };
            let found = Found {
                name: name.clone(),
                zone,
                instance,
                score,
                share,
                confidence,
                parts,
                clauses,
                exact,
                instances,
                clash,
                answer,
                also,
            };
            // A name can stand in a parent and in a child of it only while a delegation is young: the deeper zone owns it.
            let shadowed = match best.get(&name) {
                Some(known) if known.zone.depth() >= found.zone.depth() => Some((found, known.zone.clone())),
                _ => {
                    let owner = found.zone.clone();
                    best.insert(name, found).map(|known| (known, owner))
                }
            };
            lost.extend(shadowed.map(|(found, owner)| found.lost(Why::Shadowed(owner))));
        }
    }
    let mut ranked: Vec<Found> = best.into_values().collect();
    if question.form != Form::List {
        ranked.sort_by(|a, b| {
            let down = |found: &Found| found.health() == Health::Down;
            (b.exact, down(a)).cmp(&(a.exact, down(b))).then(b.score.total_cmp(&a.score)).then(a.name.cmp(&b.name))
        });
    }
    // One zone offers no more than this: what several offer must not be looked at any deeper, or they would answer otherwise than one.
    let exact = ranked.iter().filter(|found| found.exact).count();
    let offered = match question.form {
        Form::Words => (question.limit as usize).max(CANDIDATES_MIN).saturating_add(exact).min(ranked.len()),
        Form::Exact | Form::List => ranked.len(),
    };
    let beyond = ranked.split_off(offered);
    let (mut nearest, mut words) = (Vec::new(), Vec::new());
    if let (Some(goal), Some(scorer)) = (&goal, &scorer) {
        words = goal.whole().words().into_iter().map(str::to_owned).collect();
        weigh(&mut ranked, goal.whole(), scorer);
        if ranked.iter().all(|found| found.confidence < CONFIDENCE_MIN) {
            let unlikely = |found: Found| {
                let missing = missing(&found, &words, scorer);
                found.lost(Why::Unlikely { missing })
            };
            nearest = ranked.drain(..).take(NEAREST_MAX).map(unlikely).collect();
        }
        ranked = in_turns(grouped(ranked, &mut lost), scorer);
    }
    let limit = ranked.len().min(question.limit as usize);
    for (at, found) in ranked.drain(limit..).chain(beyond).enumerate().take(LOST_MAX) {
        let place = limit + at + 1;
        let is_down = found.health() == Health::Down;
        lost.push(found.lost(if is_down { Why::Down { place } } else { Why::Worse { place } }));
    }
    lost.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.name.cmp(&b.name)));
    lost.truncate(LOST_MAX);
    Ranked { found: ranked, lost, nearest, words, ceiling }
}

/// Says of each how likely it is what was sought, held against the best by score.
fn weigh(ranked: &mut [Found], query: &Query, scorer: &GoalScorer<'_>) {
    let mut order: Vec<usize> = (0..ranked.len()).filter(|at| !ranked[*at].exact).collect();
    order.sort_by(|a, b| ranked[*b].score.total_cmp(&ranked[*a].score).then(a.cmp(b)));
    let evidence = order.iter().map(|at| {
        let found = &ranked[*at];
        Evidence { parts: &found.parts, named: query.says(found.instance.body().original) }
    });
    let likely = confidences(&scorer.whole, &evidence.collect::<Vec<_>>());
    for (at, confidence) in order.into_iter().zip(likely) {
        ranked[at].confidence = confidence;
    }
}

/// The words of the question that a tool says nothing of, the rarest first.
fn missing(found: &Found, words: &[String], scorer: &GoalScorer<'_>) -> Vec<String> {
    let worths = scorer.whole.worths();
    let mut missing: Vec<usize> =
        (0..words.len()).filter(|at| found.parts.get(*at).is_none_or(|part| *part <= 0.0)).collect();
    missing.sort_by(|a, b| worths[*b].total_cmp(&worths[*a]).then(a.cmp(b)));
    missing.into_iter().take(MISSING_MAX).map(|at| words[at].clone()).collect()
}

/// The same with the tools of a goal's clauses in turns. What goes by the very text, and what is down, stays where it is.
fn in_turns(ranked: Vec<Found>, scorer: &GoalScorer<'_>) -> Vec<Found> {
    let by_words = |found: &Found| !found.exact && found.health() != Health::Down;
    let start = ranked.iter().take_while(|found| !by_words(found)).count();
    let end = start + ranked[start..].iter().take(scorer.turned()).take_while(|found| by_words(found)).count();
    let scores: Vec<_> = ranked[start..end].iter().map(|found| (found.score, found.clauses.clone())).collect();
    let mut slots: Vec<Option<Found>> = ranked.into_iter().map(Some).collect();
    let order = scorer.turns(&scores).into_iter().map(|at| start + at);
    let order: Vec<usize> = (0..start).chain(order).chain(end..slots.len()).collect();
    order.into_iter().filter_map(|at| slots[at].take()).collect()
}

/// The counts of all zones together.
fn stats_of<'a>(answers: impl Iterator<Item = &'a Checked>) -> Stats {
    let mut stats = Stats::default();
    for Checked { answer, .. } in answers {
        stats.merge(&Stats {
            documents: answer.documents,
            total_length: answer.total_length,
            document_frequency: answer.frequencies.clone(),
        });
    }
    stats
}

/// The same with tools of one definition told together. What was asked for by its very name stays by itself: which of several is meant
/// is not decided here.
fn grouped(ranked: Vec<Found>, lost: &mut Vec<Lost>) -> Vec<Found> {
    let mut groups: Vec<Found> = Vec::with_capacity(ranked.len());
    let mut first: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    for found in ranked {
        let definition = found.instance.signed.record.def_hash().filter(|_| !found.exact);
        match definition.and_then(|hash| first.get(&hash).copied()) {
            Some(at) => {
                groups[at].also.push(found.name.clone());
                lost.push(found.lost(Why::Same(groups[at].name.clone())));
            }
            None => {
                first.extend(definition.map(|hash| (hash, groups.len())));
                groups.push(found);
            }
        }
    }
    groups
}
