//! Long goals: "find papers on X. Then mail me the list" wants two tools, and one score cannot rank both first.
//!
//! A question is cut into clauses. The tool that answers the whole of it best stays first; after it, tools are chosen one by one, by
//! what they score for the whole and for the clause they answer best, and a clause that a chosen tool answers counts less from then on.
//! Everything is computed from the documents' own terms and the whole question's statistics, so that it is the same for every asker.

use super::score::{Query, Scorer, Stats};
use super::sift::{Sieve, Sifted};
use super::terms::{Document, Terms};

/// Further clauses are not looked at.
const CLAUSES_MAX: usize = 8;

/// Terms a clause has at least; two words have that many, each with its stem.
const CLAUSE_TERMS_MIN: usize = 4;

/// What is left of a clause's weight for each tool that was chosen for it.
const ANSWERED: f32 = 0.7;

/// Places that are given in turns; what comes after them stays in order of score.
const TURNS_MAX: usize = 20;

/// A question and what its clauses ask for, none where it has only one.
#[derive(Debug, Clone, Default)]
pub struct Goal {
    whole: Query,
    clauses: Vec<Query>,
    sieve: Sieve,
}

impl Goal {
    /// Reads a question in plain words.
    pub fn parse(text: &str) -> Self {
        let mut cut: Vec<&str> = Vec::new();
        each_clause(text, |clause| cut.push(clause));
        let mut clauses: Vec<Query> = Vec::new();
        // Nearly every question is one, and is read once.
        if cut.len() > 1 {
            let read = cut.into_iter().map(Query::parse);
            clauses.extend(read.filter(|query| query.own_terms() >= CLAUSE_TERMS_MIN).take(CLAUSES_MAX));
        }
        if clauses.len() < 2 {
            clauses.clear();
        }
        let whole = Query::parse(text);
        let sieve = Sieve::new(&whole, &clauses);
        Self { whole, clauses, sieve }
    }

    /// The question as one.
    pub const fn whole(&self) -> &Query {
        &self.whole
    }

    /// Whether whatever its clauses seek the whole seeks as well, so that what the whole finds in a document is all there is to know.
    pub const fn is_whole(&self) -> bool {
        self.sieve.seeks_no_more()
    }

    /// What the question and its clauses find in a document.
    pub fn sift(&self, document: &Document<'_>) -> Sifted {
        self.sieve.sift(&self.whole, document)
    }

    /// The same of a document of which all terms are known.
    pub fn read(&self, terms: &Terms) -> Sifted {
        self.sieve.read(&self.whole, terms)
    }

    /// Made ready against statistics of the whole question.
    pub fn scorer(&self, stats: &Stats) -> GoalScorer<'_> {
        let place = |term: &str| self.sieve.place(&self.whole, term).unwrap_or(usize::MAX);
        let places = self.clauses.iter().map(|clause| clause.terms().iter().map(|term| place(term)).collect());
        let places = places.collect();
        let clause = |clause| Scorer::new(clause, &stats.of_part(&self.whole, clause));
        let clauses = self.clauses.iter().map(clause).collect();
        GoalScorer { whole: Scorer::new(&self.whole, stats), clauses, places }
    }
}

/// A [`Scorer`] for a question and its clauses.
#[derive(Debug, Clone)]
pub struct GoalScorer<'q> {
    /// Of the whole.
    pub whole: Scorer<'q>,
    clauses: Vec<Scorer<'q>>,
    /// Of each clause, where its terms are in what was sifted.
    places: Vec<Box<[usize]>>,
}

impl GoalScorer<'_> {
    /// How many of the best documents are told in turns: 0 for a question of one clause.
    pub const fn turned(&self) -> usize {
        if self.clauses.is_empty() { 0 } else { TURNS_MAX }
    }

    /// How well a document answers each clause; nothing where there is only one.
    pub fn of_clauses(&self, sifted: &Sifted) -> Box<[f32]> {
        let clauses = self.clauses.iter().zip(&self.places);
        clauses.map(|(clause, places)| clause.score_by(sifted.length, |term| sifted.weight(places[term]))).collect()
    }

    /// In which order documents are told that stand in order of their score for the whole, best first: places in `documents`, which
    /// have that score and [those of the clauses](Self::of_clauses). A question of one clause leaves them as they are.
    pub fn turns(&self, documents: &[(f32, Box<[f32]>)]) -> Vec<usize> {
        let mut left: Vec<usize> = (0..documents.len()).collect();
        if self.clauses.is_empty() {
            return left;
        }
        let mut later = left.split_off(left.len().min(TURNS_MAX));
        let parts: Vec<&[f32]> = left.iter().map(|at| &*documents[*at].1).collect();
        let mut weights = vec![1.0_f32; self.clauses.len()];
        let mut order = Vec::with_capacity(documents.len());
        while !left.is_empty() {
            let worth = |at: usize| {
                let clause =
                    parts[at].iter().zip(&weights).fold(0.0, |most: f32, (part, weight)| most.max(part * weight));
                documents[at].0 + if order.is_empty() { 0.0 } else { clause }
            };
            // Of equals the first: the order by score stands.
            let best =
                (1..left.len()).fold(0, |best, next| if worth(left[next]) > worth(left[best]) { next } else { best });
            let chosen = left.remove(best);
            let strongest = |best, next| if parts[chosen][next] > parts[chosen][best] { next } else { best };
            let answered = (1..weights.len()).fold(0, strongest);
            weights[answered] *= ANSWERED;
            order.push(chosen);
        }
        order.append(&mut later);
        order
    }
}

/// Cuts at the ends of sentences and lines, and before an "and" or a "then" after which something else is asked for.
fn each_clause<'a>(text: &'a str, mut each: impl FnMut(&'a str)) {
    for line in text.split(['\n', '。', '！', '？', '；']) {
        let mut start = 0;
        let mut before = "";
        for (at, token) in tokens(line) {
            if before.ends_with(['.', '!', '?', ';']) || is_one_of(JOINING, before) && is_one_of(ASKING, token) {
                each(&line[start..at]);
                start = at;
            }
            before = token;
        }
        each(&line[start..]);
    }
}

/// The words of a line between white space, and where they start.
fn tokens(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let start = line.as_ptr() as usize;
    line.split_whitespace().map(move |token| (token.as_ptr() as usize - start, token))
}

fn is_one_of(words: &[&str], token: &str) -> bool {
    let bare = token.trim_matches(|c: char| !c.is_alphanumeric());
    words.iter().any(|word| word.eq_ignore_ascii_case(bare))
}

/// After which another request may begin.
const JOINING: &[&str] = &["and", "then", "also"];

/// How another request begins.
#[rustfmt::skip]
const ASKING: &[&str] = &[
    "then", "also", "i", "please", "could", "can", "get", "find", "give", "provide", "tell", "show", "create", "send", "check", "list",
    "fetch", "retrieve", "calculate", "what", "how",
];

#[cfg(test)]
mod tests {
    use super::super::terms::Document;
    use super::*;

    fn clauses(text: &str) -> Vec<String> {
        let mut clauses = Vec::new();
        each_clause(text, |clause| clauses.push(clause.trim().to_owned()));
        clauses
    }

    #[test]
    fn goals_are_cut_where_another_request_begins() {
        assert_eq!(
            clauses("Find papers on swarms. Mail me the list, and then check version 3.5!"),
            ["Find papers on swarms.", "Mail me the list, and", "then", "check version 3.5!"]
        );
        assert_eq!(clauses("bread and butter"), ["bread and butter"]);
        assert_eq!(clauses("查天气。发邮件"), ["查天气", "发邮件"]);
        assert_eq!(clauses(""), [""]);
    }

    #[test]
    fn every_clause_gets_its_turn_and_the_best_stays_first() {
        let describe = |description| Terms::of(&Document { description, ..Document::default() });
        let documents = ["search scientific papers", "search recent papers", "mail a letter to somebody"].map(describe);
        let goal = Goal::parse("Search scientific papers about swarms. Mail somebody the letter.");
        let mut stats = Stats::none(goal.whole());
        documents.iter().for_each(|terms| stats.count(goal.whole(), terms));
        let scorer = goal.scorer(&stats);
        let scored = documents.into_iter().map(|terms| (scorer.whole.score(&terms), terms));
        let mut scored: Vec<(f32, Terms)> = scored.collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let turns = |goal: &Goal| {
            let scorer = goal.scorer(&stats);
            let of = |(score, terms): &(f32, Terms)| (*score, scorer.of_clauses(&goal.read(terms)));
            scorer.turns(&scored.iter().map(of).collect::<Vec<_>>())
        };
        assert_eq!(turns(&Goal::parse("search scientific papers")), [0, 1, 2], "one clause takes no turns");
        let turns = turns(&goal);
        assert_eq!((turns[0], turns.len()), (0, 3));
        let last = &scored[turns[2]].1;
        assert_eq!(last, &describe("search recent papers"), "two papers wait for the letter");
    }
}
