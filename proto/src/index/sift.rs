//! What one question finds in one document: the weights of its terms and the document's length, without all the other terms.
//!
//! An asker scores candidates from their text, each once, so nothing is sorted and nothing of the text is kept. It gives the weights and the
//! length that [`Terms`] has; documents of so many words that `Terms` might leave some out are read as `Terms`.

use super::score::{Query, Scorer};
use super::stem::push_stem;
use super::terms::{DOCUMENT_TERMS_MAX, Document, Field, STEM_MARK, TERM_WEIGHT_MAX, Terms};
use super::words::{Word, each_word};

/// A document as a question sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sifted {
    pub(super) length: u32,
    /// Parallel to the terms that were sought; nothing of what has no text.
    pub(super) weights: Box<[u16]>,
}

impl Sifted {
    /// The weight of the term of that place.
    pub(super) fn weight(&self, place: usize) -> u16 {
        self.weights.get(place).copied().unwrap_or(0)
    }
}

impl Scorer<'_> {
    /// As [`parts`](Self::parts), of a document that was sifted for this question.
    pub fn parts_of(&self, sifted: &Sifted) -> Box<[f32]> {
        self.each_part(sifted.length, |term| sifted.weight(term)).collect()
    }
}

/// What is sought.
#[derive(Debug, Clone, Default)]
pub(super) struct Sieve {
    /// Terms of which a question consists that is a part of the whole, and which the whole has not; sorted.
    further: Box<[Box<str>]>,
    begins: Begins,
}

/// With which letters the words begin that are sought. A word and its stem have the first two bytes in common.
#[derive(Debug, Clone, Copy, Default)]
struct Begins([u32; 32]);

impl Begins {
    fn of(text: &str) -> (usize, u32) {
        let bytes = text.as_bytes();
        let five = |at: usize| bytes.get(at).map_or(0, |byte| byte & 31);
        (usize::from(five(0)), 1 << five(1))
    }

    fn add(&mut self, term: &str) {
        let (first, second) = Self::of(term.trim_start_matches(STEM_MARK));
        self.0[first] |= second;
    }

    fn may_hold(&self, word: &str) -> bool {
        let (first, second) = Self::of(word);
        self.0[first] & second != 0
    }
}

impl Sieve {
    /// For a question and its parts.
    pub(super) fn new(whole: &Query, parts: &[Query]) -> Self {
        let terms = parts.iter().flat_map(|part| part.terms());
        let mut further: Vec<Box<str>> =
            terms.filter(|term| whole.terms().binary_search(term).is_err()).cloned().collect();
        further.sort_unstable();
        further.dedup();
        let mut begins = Begins::default();
        whole.terms().iter().chain(&further).for_each(|term| begins.add(term));
        Self { further: further.into(), begins }
    }

    /// Whether the whole has all terms that are sought.
    pub(super) const fn seeks_no_more(&self) -> bool {
        self.further.is_empty()
    }

    /// The place of a term among those of the whole, and further ones after them.
    pub(super) fn place(&self, whole: &Query, term: &str) -> Option<usize> {
        let place = |terms: &[Box<str>]| terms.binary_search_by(|known| (**known).cmp(term)).ok();
        place(whole.terms()).or_else(|| Some(whole.terms().len() + place(&self.further)?))
    }

    /// What is found in a document.
    pub(super) fn sift(&self, whole: &Query, document: &Document<'_>) -> Sifted {
        let mut weights = self.weights(whole);
        let (mut length, mut terms) = (0, 0);
        let (mut lower, mut stem) = (String::new(), String::new());
        // What each term counts in the field that is read.
        let (mut last, mut by_now) = (Field::Name, self.weights(whole));
        document.each_field(|field, text| {
            if std::mem::replace(&mut last, field) != field {
                by_now.fill(0);
            }
            each_word(text, &mut lower, |word| {
                let is_stop = word.is_stop();
                if is_stop && !field.has_stop_words() {
                    return;
                }
                let (Word::Plain(text) | Word::Whole(text) | Word::Piece(text)) = word;
                let has_stem = matches!(word, Word::Plain(_));
                terms += 1 + usize::from(has_stem);
                length += if is_stop { 0 } else { u32::from(field.weight()) * (1 + u32::from(has_stem)) };
                if !self.begins.may_hold(text) {
                    return;
                }
                let mut add = |term: &str| {
                    if let Some(place) = self.place(whole, term) {
                        let weight = field.next(by_now[place]);
                        by_now[place] += weight;
                        weights[place] = weights[place].saturating_add(weight).min(TERM_WEIGHT_MAX);
                    }
                };
                add(text);
                if has_stem {
                    stem.clear();
                    stem.push(STEM_MARK);
                    push_stem(text, &mut stem);
                    add(&stem);
                }
            });
        });
        if terms > DOCUMENT_TERMS_MAX {
            return self.read(whole, &Terms::of(document));
        }
        Sifted { length, weights }
    }

    /// The same of a document of which all terms are known.
    pub(super) fn read(&self, whole: &Query, terms: &Terms) -> Sifted {
        let mut weights = self.weights(whole);
        let sought = whole.terms().iter().chain(&self.further);
        weights.iter_mut().zip(sought).for_each(|(weight, term)| *weight = terms.weight_of(term));
        Sifted { length: terms.length(), weights }
    }

    fn weights(&self, whole: &Query) -> Box<[u16]> {
        vec![0; whole.terms().len() + self.further.len()].into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Goal;
    use super::*;

    const TEXTS: [&str; 6] = [
        "search_papers",
        "Finds the papers, listing flies and movies. THE PaperSearch of searching runners",
        "how do I do that, and where is it? 天气预报 for cafés, Größe 3.5",
        "read readFile readfile files reading",
        "",
        "get it",
    ];

    /// Every way to the weights gives the same, whatever is sought in whatever.
    #[test]
    fn what_is_sifted_is_what_all_terms_say() {
        let long: String = (0..3_000).map(|number| format!("word{number} papers ")).collect();
        let texts: Vec<&str> = TEXTS.into_iter().chain([long.as_str()]).collect();
        for (name, description) in texts.iter().flat_map(|name| texts.iter().map(move |text| (*name, *text))) {
            let values = vec!["files", "file"];
            let document = Document { name, title: "Reads", description, values, ..Document::default() };
            let terms = Terms::of(&document);
            for asked in TEXTS.into_iter().chain(["papers. Where is it? Then get the files of that. How do you do"]) {
                let goal = Goal::parse(asked);
                let sifted = goal.sift(&document);
                assert_eq!(sifted, goal.read(&terms), "{asked} in {name} {description}");
                let whole = goal.whole().terms();
                let expected: Vec<u16> = whole.iter().map(|term| terms.weight_of(term)).collect();
                assert_eq!(sifted.weights[..whole.len()], expected, "{asked} in {name} {description}");
                assert_eq!(sifted.length, terms.length());
            }
        }
    }

    #[test]
    fn a_word_and_its_stem_begin_alike() {
        for word in
            ["flies", "ties", "seeing", "needed", "bbed", "axes", "ses", "aies", "é", "s", "", "ied", "eeing", "ees"]
        {
            let mut stem = String::new();
            push_stem(word, &mut stem);
            assert_eq!(Begins::of(&stem), Begins::of(word), "{word} {stem}");
        }
    }
}
