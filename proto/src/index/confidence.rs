//! How likely a tool is what was sought: from 0 to 1, for every tool found in words, so that nothing is offered rather than junk.
//!
//! A logistic model of six numbers that an asker has anyway: the best candidates' parts by concept and the worth of each concept. It
//! knows nothing of meaning. It is calibrated for questions of which every second one has no answer in the catalogue: of results told
//! with .3 about three of ten are right then, and more where most questions have an answer. How far it can be believed `aop bench` measures,
//! and `benches/README.md` says.

use super::score::{Query, Scorer};
use super::stem::push_stem;
use super::terms::STEM_MARK;
use super::words::{Word, each_word};

/// The best candidates, against which each is held.
pub const RIVALS_MAX: usize = 20;

/// Where the best candidate is less likely, nothing is offered. Words alone do not tell much: a higher bar would take its answer from more
/// of the questions that have one than it would spare others junk (`benches/README.md`).
pub const CONFIDENCE_MIN: f32 = 0.014;

/// The weights, each of a number from 0 to 1 but the fourth, which is the logarithm of a count.
const REACHED: f64 = 2.8;
const COVERED: f64 = -1.0;
const NAMED: f64 = 1.8;
const CONCEPTS: f64 = 1.9;
const BESIDE_BEST: f64 = 0.5;
const RIVAL: f64 = -4.6;
const NONE: f64 = -2.5;

/// A rival that is further behind tells no more: that there is next to nothing else says little of what there is.
const RIVAL_MIN: f64 = 0.6;

/// What speaks for one candidate.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What each concept of the question brings it.
    pub parts: &'a [f32],
    /// How much of its name the question says, 0 to 1; see [`Query::says`].
    pub named: f32,
}

/// How likely each candidate is what was sought. They stand best first; the first [`RIVALS_MAX`] are those each is held against.
pub fn confidences(scorer: &Scorer<'_>, candidates: &[Evidence<'_>]) -> Vec<f32> {
    let worths = scorer.worths();
    let rivals = &candidates[..candidates.len().min(RIVALS_MAX)];
    let most = |concept: usize| rivals.iter().map(|rival| part(rival, concept)).fold(0.0, f64::max);
    let mosts: Vec<f64> = (0..worths.len()).map(most).collect();
    let reachable: f64 = mosts.iter().sum();
    let coverable: f64 = worths.iter().zip(&mosts).filter(|(_, most)| **most > 0.0).map(|(worth, _)| worth).sum();
    let score = |evidence: &Evidence<'_>| evidence.parts.iter().fold(0.0, |sum, part| sum + f64::from(*part));
    let scores: Vec<f64> = rivals.iter().map(score).collect();
    let best = scores.iter().copied().fold(0.0, f64::max);
    let confidence = |(at, evidence): (usize, &Evidence<'_>)| {
        let score = score(evidence);
        if score <= 0.0 {
            return 0.0;
        }
        // The best of all others.
        let rival = if at == 0 { scores.get(1).copied().unwrap_or(0.0) } else { best };
        let has = |concept: &usize| part(evidence, *concept) > 0.0;
        let concepts: Vec<usize> = (0..worths.len()).filter(has).collect();
        let covered: f64 = concepts.iter().map(|concept| worths[*concept]).sum();
        let sum = REACHED * (score / reachable).min(1.0)
            + COVERED * (covered / coverable).min(1.0)
            + NAMED * f64::from(evidence.named)
            + CONCEPTS * (concepts.len() as f64).ln_1p()
            + BESIDE_BEST * (score / best).min(1.0)
            + RIVAL * (rival / score).clamp(RIVAL_MIN, 1.0)
            + NONE;
        (1.0 / (1.0 + (-sum).exp())) as f32
    };
    candidates.iter().enumerate().map(confidence).collect()
}

fn part(evidence: &Evidence<'_>, concept: usize) -> f64 {
    evidence.parts.get(concept).copied().map_or(0.0, f64::from)
}

impl Query {
    /// How much of a name the question says, 0 to 1: a word in any form counts whole, one that another may stand for half.
    pub fn says(&self, name: &str) -> f32 {
        let mut stems: Vec<String> = Vec::new();
        each_word(name, &mut String::new(), |word| {
            if let Word::Plain(plain) = word
                && !word.is_stop()
            {
                let mut stem = String::from(STEM_MARK);
                push_stem(plain, &mut stem);
                stems.push(stem);
            }
        });
        stems.sort_unstable();
        stems.dedup();
        let said: f32 = stems.iter().map(|stem| self.says_stem(stem)).sum();
        said / stems.len().max(1) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::super::score::Stats;
    use super::super::terms::{Document, Terms};
    use super::*;

    fn confident(question: &str, tools: &[(&str, &str)]) -> Vec<f32> {
        let query = Query::parse(question);
        let read = |(name, description): &(&str, &str)| {
            let (name, description) = (*name, *description);
            (name.to_owned(), Terms::of(&Document { name, description, ..Document::default() }))
        };
        let tools: Vec<(String, Terms)> = tools.iter().map(read).collect();
        let mut stats = Stats::none(&query);
        tools.iter().for_each(|(_, terms)| stats.count(&query, terms));
        let scorer = Scorer::new(&query, &stats);
        let parts: Vec<_> = tools.iter().map(|(name, terms)| (scorer.parts(terms), query.says(name))).collect();
        let evidence: Vec<Evidence<'_>> =
            parts.iter().map(|(parts, named)| Evidence { parts, named: *named }).collect();
        confidences(&scorer, &evidence)
    }

    #[test]
    fn who_says_more_of_the_question_is_more_likely() {
        let tools = [
            ("search_papers", "Search scientific papers by topic"),
            ("search_flights", "Search flights by date"),
            ("paint", "Paint a wall"),
        ];
        let likely = confident("search scientific papers by topic", &tools);
        assert!(likely[0] > likely[1] && likely[1] > likely[2], "{likely:?}");
        assert!(likely[0] > 0.3 && likely[2] == 0.0, "{likely:?}");
        assert!(likely.iter().all(|likely| (0.0..=1.0).contains(likely)));
    }

    #[test]
    fn a_question_says_a_name_in_any_form() {
        let query = Query::parse("films about searching whales");
        for (name, said) in
            [("SearchWhale", 1.0), ("search_movies", 0.75), ("getMovie", 0.5), ("paint", 0.0), ("", 0.0)]
        {
            assert_eq!(query.says(name), said, "{name}");
        }
    }
}
