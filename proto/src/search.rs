//! How an asker ranks what zones answered.
//!
//! Scores of different zones are not comparable and not to be trusted, so none travel: every candidate is scored here, from its
//! signed text, with the counts of all zones that answered (DESIGN D7). The same records and counts give every asker the same
//! ranking.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::index::{CONFIDENCE_MIN, Evidence, Goal, GoalScorer, Stats, confidences};
use crate::name::{FullName, ZoneName};
use crate::trust::answers::Checked;
use crate::wire::message::{Form, Health, Instance, Question, ZoneAnswer};
use crate::zone::{ToolInstance, is_called, sifted};

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
    /// How much of its own name the question says.
    named: f32,
    /// The question is its own name, written otherwise.
    is_named: bool,
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
    /// Nobody who serves it can be reached, so that its score counts half.
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

    fn is_down(&self) -> bool {
        self.health() == Health::Down
    }

    /// A score as it counts in the order: what is down makes room for what is nearly as good, and not for what is far worse, which somebody
    /// would take for it while its node starts again.
    fn weighted(&self, score: f32) -> f32 {
        if self.is_down() { score / 2.0 } else { score }
    }

    fn lost(self, why: Why) -> Lost {
        Lost { name: self.name, zone: self.zone, share: self.share, confidence: self.confidence, why }
    }
}

/// Whether two texts are one name, however it is written: `createPullRequest`, `create_pull_request`, `Create pull request`.
pub fn is_same_name(one: &str, other: &str) -> bool {
    fn letters(text: &str) -> impl Iterator<Item = char> {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase)
    }
    letters(one).eq(letters(other)) && letters(one).next().is_some()
}

/// Ranks what zones answered: exact names first, then what the question names otherwise, then by score, of what is down half; ties by
/// name; tools of one definition found by words are one, with the names of all. Deterministic.
pub fn rank<'a>(question: &Question, answers: impl Iterator<Item = &'a Checked> + Clone) -> Ranked {
    // Only words are weighed.
    let read = answers.clone().find_map(|checked| checked.read.as_deref());
    let goal = (question.form == Form::Words)
        .then(|| read.map_or_else(|| Cow::Owned(Goal::parse(&question.text)), |read| Cow::Borrowed(&read.goal)));
    let scorer = goal.as_ref().map(|goal| goal.scorer(&stats_of(question, answers.clone())));
    let ceiling = scorer.as_ref().map_or(0.0, |scorer| scorer.whole.ceiling());
    let asked = question.text.trim().to_lowercase();
    let mut best: BTreeMap<FullName, Found> = BTreeMap::new();
    let mut lost = Vec::new();
    for (at, checked) in answers.enumerate() {
        let Ok(zone) = ZoneName::parse(&checked.answer.zone) else { continue };
        let mut known = checked.read.as_deref().into_iter().flat_map(|read| &read.sifted);
        for (candidate, signed) in checked.answer.candidates.iter().zip(&checked.records) {
            let known = known.next();
            let Some((name, body)) = ToolInstance::open(signed) else { continue };
            let (instance, zone) = (ToolInstance { signed: signed.clone() }, zone.clone());
            let exact = is_called(&name, &body, &asked);
            let (parts, clauses) = match (&goal, &scorer) {
                (Some(goal), Some(scorer)) => {
                    let sifted = known.map_or_else(|| Cow::Owned(sifted(goal, &body)), Cow::Borrowed);
                    (scorer.whole.parts_of(&sifted), scorer.of_clauses(&sifted))
                }
                _ => Default::default(),
            };
            let named = goal.as_ref().map_or(0.0, |goal| goal.whole().says(body.original));
            let is_named = goal.is_some() && is_same_name(&asked, body.original);
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
                named,
                is_named,
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
            (b.exact, a.exact && a.is_down(), b.is_named)
                .cmp(&(a.exact, b.exact && b.is_down(), a.is_named))
                .then(b.weighted(b.score).total_cmp(&a.weighted(a.score)))
                .then(a.is_down().cmp(&b.is_down()))
                .then(a.name.cmp(&b.name))
        });
    }
    // One zone offers no more than this: what several offer must not be looked at any deeper, or they would answer otherwise than one.
    let exact = ranked.iter().filter(|found| found.exact).count();
    let offered = match question.form {
        Form::Words => Question::width(question.limit as usize).saturating_add(exact).min(ranked.len()),
        Form::Exact | Form::List => ranked.len(),
    };
    let beyond = ranked.split_off(offered);
    let (mut nearest, mut words) = (Vec::new(), Vec::new());
    if let (Some(goal), Some(scorer)) = (&goal, &scorer) {
        words = goal.whole().words().into_iter().map(str::to_owned).collect();
        weigh(&mut ranked, scorer);
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
        let is_down = found.is_down();
        lost.push(found.lost(if is_down { Why::Down { place } } else { Why::Worse { place } }));
    }
    lost.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.name.cmp(&b.name)));
    lost.truncate(LOST_MAX);
    Ranked { found: ranked, lost, nearest, words, ceiling }
}

/// Says of each how likely it is what was sought, held against the best by score.
fn weigh(ranked: &mut [Found], scorer: &GoalScorer<'_>) {
    let mut order: Vec<usize> = (0..ranked.len()).filter(|at| !ranked[*at].exact).collect();
    order.sort_by(|a, b| ranked[*b].score.total_cmp(&ranked[*a].score).then(a.cmp(b)));
    let evidence = order.iter().map(|at| {
        let found = &ranked[*at];
        Evidence { parts: &found.parts, named: found.named }
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

/// The same with the tools of a goal's clauses in turns. What goes by the very text stays where it is.
fn in_turns(ranked: Vec<Found>, scorer: &GoalScorer<'_>) -> Vec<Found> {
    let by_words = |found: &Found| !found.exact && !found.is_named;
    let start = ranked.iter().take_while(|found| !by_words(found)).count();
    let end = start + ranked[start..].iter().take(scorer.turned()).take_while(|found| by_words(found)).count();
    let weighted = |found: &Found| {
        let clauses = found.clauses.iter().map(|score| found.weighted(*score));
        (found.weighted(found.score), clauses.collect())
    };
    let scores: Vec<_> = ranked[start..end].iter().map(weighted).collect();
    let mut slots: Vec<Option<Found>> = ranked.into_iter().map(Some).collect();
    let order = scorer.turns(&scores).into_iter().map(|at| start + at);
    let order: Vec<usize> = (0..start).chain(order).chain(end..slots.len()).collect();
    order.into_iter().filter_map(|at| slots[at].take()).collect()
}

/// The counts of all zones together, or of the zone that was asked for and those below it: which others a question passed on its way
/// there depends on who asked, and its answer must not.
fn stats_of<'a>(question: &Question, answers: impl Iterator<Item = &'a Checked>) -> Stats {
    let wanted = question.zone.as_deref().and_then(|zone| ZoneName::parse(zone).ok());
    let counts = |answer: &ZoneAnswer| {
        let zone = ZoneName::parse(&answer.zone);
        wanted.as_ref().is_none_or(|wanted| zone.is_ok_and(|zone| zone.is_within(wanted)))
    };
    let mut stats = Stats::default();
    for Checked { answer, .. } in answers.filter(|checked| counts(&checked.answer)) {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::codec::Wire;
    use crate::record::{Head, Kind, Record, ToolBody};
    use crate::registry::Change;
    use crate::trust::samples::{id, key, record};
    use crate::trust::{definition_hash, sign_flush};
    use crate::zone::Zone;
    use crate::zone::answer::{Answerer, answer};

    #[test]
    fn a_name_is_the_same_however_it_is_written() {
        for same in ["createPullRequest", "create_pull_request", "Create-Pull-Request", " create pull request? "] {
            assert!(is_same_name(same, "create_pull_request"), "{same}");
        }
        for other in ["create_pull_requests", "create_pull", "", "pull_request_create"] {
            assert!(!is_same_name(other, "create_pull_request"), "{other}");
        }
        assert!(!is_same_name("?", "_"), "nothing is no name");
    }

    /// The right tool was out of sight while its node started again, and a tool that says a little of everything stood first.
    #[test]
    fn what_is_down_makes_room_for_what_is_nearly_as_good_and_not_for_what_is_far_worse() {
        let mut zone = Zone::default();
        let texts = [
            (1, "create_invoice", "Create an invoice for a customer"),
            (2, "new_invoice", "Create an invoice for a customer of the shop"),
            (2, "weather", "Email, weather and customers"),
        ];
        for ((node, name, text), seq) in texts.into_iter().zip(1..) {
            let definition = format!(r#"{{"name":"{name}","description":"{text}"}}"#).into_bytes();
            let def_hash = definition_hash(&definition).ok();
            let (server, original) = ("s".to_owned(), name.to_owned());
            let body = ToolBody { server, original, definition, served: true, ..ToolBody::default() };
            let of = record(id(&key(node)), seq, Kind::Tool, "z", &format!("{name}.s.z"), body.encode());
            let signed = sign_flush(&key(node), vec![Record { def_hash, ..of }], Head::default()).remove(0);
            zone.apply(&Change::Put(Arc::new(signed)));
        }
        let name = ZoneName::parse("z").unwrap();
        let order = |zone: &Zone, text: &str| {
            let by = Answerer { zone: &name, node: id(&key(2)), tag: 1, behind: false };
            let question = Question {
                form: Form::Words,
                text: text.to_owned(),
                zone: None,
                limit: 10,
                tags: Vec::new(),
                capabilities: Vec::new(),
                after: String::new(),
            };
            let answers = [answer(&by, &zone.shown(), &question, usize::MAX, None)];
            let found = rank(&question, answers.iter()).found;
            found.iter().map(|found| found.name.to_string()).collect::<Vec<_>>()
        };
        let [invoice, other, weather] = ["create_invoice.s.z", "new_invoice.s.z", "weather.s.z"];
        let text = "create an invoice for a customer";
        assert_eq!(order(&zone, text), [invoice, other, weather]);
        zone.set_away(Arc::new(BTreeSet::from([id(&key(1))])));
        assert_eq!(order(&zone, text), [other, invoice, weather]);
        assert_eq!(order(&zone, "createInvoice")[0], invoice, "nobody else has that name");
    }
}
