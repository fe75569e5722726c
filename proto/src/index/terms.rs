//! What is kept of a tool's text: its distinct terms with their weights, computed once when the tool arrives.
//!
//! A term is a word as written, or a word's stem (marked `~`, so the two never mix). The weight of a term adds up over the
//! fields it occurs in. It is not a copy of the definition: what cannot be searched is not in it.
//! The same definition always gives the same `Terms`, on every node; that is what makes scores of two nodes comparable.

use super::stem::push_stem;
use super::words::{WORD_BYTES_MAX, Word, each_word, is_same, prefix, sort_by_word};
use crate::json::Json;

/// Further distinct terms of one document are left out; they are beyond what any description says.
pub const DOCUMENT_TERMS_MAX: usize = 4096;

/// Schemas are followed this deep; what lies below cannot be told apart by a short question anyway.
const SCHEMA_DEPTH_MAX: usize = 8;

/// What an occurrence counts, by field. Only the ratios matter; tried values are in `benches/README.md`.
const WEIGHT_NAME: u16 = 4;
const WEIGHT_TEXT: u16 = 2;
const WEIGHT_PARAMETER_TEXT: u16 = 1;

/// What a term counts at most in one document: as much as its name, its title and six mentions. Saying it more often only makes the document
/// longer, so that nobody gains by stuffing a description with words.
pub(super) const TERM_WEIGHT_MAX: u16 = 16;

/// What a document counts at most in the length of its collection: nobody makes others look short by telling a novel.
const COUNTED_LENGTH_MAX: u32 = 256;

/// What a document of this length adds to the length of its collection.
pub(super) fn counted(length: u32) -> u64 {
    u64::from(length.min(COUNTED_LENGTH_MAX))
}

/// Marks a term as a stem. No word contains it.
pub(super) const STEM_MARK: char = '~';

/// The searchable text of one tool, borrowed from wherever it lies.
#[derive(Debug, Clone, Default)]
pub struct Document<'a> {
    /// Its name at the upstream.
    pub name: &'a str,
    /// Its title, or nothing.
    pub title: &'a str,
    /// Its description, or nothing.
    pub description: &'a str,
    /// The server it belongs to.
    pub server: &'a str,
    /// Names and descriptions, nested ones included.
    pub parameters: Vec<(&'a str, &'a str)>,
    /// The values parameters may take, where the schema lists them.
    pub values: Vec<&'a str>,
    /// Tags, capabilities, examples.
    pub extra: Vec<&'a str>,
}

impl<'a> Document<'a> {
    /// The document of an MCP tool definition. Missing and mistyped members are empty text, as strangers write both.
    pub fn of(definition: &'a Json<'a>, server: &'a str) -> Self {
        let annotated = || definition.get("annotations").map_or("", |annotations| text(annotations, "title"));
        let mut document = Self {
            name: text(definition, "name"),
            title: Some(text(definition, "title")).filter(|title| !title.is_empty()).unwrap_or_else(annotated),
            description: text(definition, "description"),
            server,
            ..Self::default()
        };
        if let Some(schema) = definition.get("inputSchema") {
            document.read_schema(schema, 0);
        }
        document
    }

    fn read_schema(&mut self, schema: &'a Json<'a>, depth: usize) {
        if depth > SCHEMA_DEPTH_MAX {
            return;
        }
        for (name, property) in schema.get("properties").map_or(&[][..], Json::members) {
            self.parameters.push((name, text(property, "description")));
            self.read_schema(property, depth + 1);
        }
        let values = schema.get("enum").map_or(&[][..], Json::items);
        self.values.extend(values.iter().filter_map(Json::as_text));
        let branches = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|name| schema.get(name));
        let below = schema.get("items").into_iter().chain(branches.flat_map(Json::items));
        for schema in below.filter(|schema| schema.is_object()) {
            self.read_schema(schema, depth + 1);
        }
    }
}

impl Document<'_> {
    fn bytes(&self) -> usize {
        let parameters = self.parameters.iter().flat_map(|(name, description)| [*name, *description]);
        let fields = [self.name, self.title, self.server, self.description].into_iter();
        fields.chain(parameters).chain(self.values.iter().chain(&self.extra).copied()).map(str::len).sum()
    }
}

/// The text of a member, empty where it is missing or no text.
fn text<'a>(object: &'a Json<'a>, name: &str) -> &'a str {
    object.get(name).and_then(Json::as_text).unwrap_or_default()
}

/// A definition that has no text to index.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    #[error("read the tool definition as JSON: {0}")]
    /// The bytes are no JSON.
    NotJson(#[from] serde_json::Error),
    #[error("find an object in the tool definition")]
    /// They are JSON, but no object.
    NotAnObject,
}

/// The distinct terms of one document, sorted, with weights and the document's length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// All terms, one after the other.
    text: Box<str>,
    entries: Box<[Entry]>,
    length: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Where the term ends in the text; it starts where the one before ends.
    end: u32,
    weight: u16,
}

impl Terms {
    /// The terms of a raw MCP tool definition, with the server it belongs to and further text (tags, capabilities, examples).
    ///
    /// # Errors
    /// The bytes are no JSON object. Anything else, down to an empty object, gives terms.
    pub fn from_definition(definition: &[u8], server: &str, extra: &[&str]) -> Result<Self, DefinitionError> {
        Self::from_json(&Json::read(definition)?, server, extra)
    }

    /// The same, of a definition that was read.
    ///
    /// # Errors
    /// It is no object.
    pub fn from_json(definition: &Json<'_>, server: &str, extra: &[&str]) -> Result<Self, DefinitionError> {
        if !definition.is_object() {
            return Err(DefinitionError::NotAnObject);
        }
        let mut document = Document::of(definition, server);
        document.extra.extend_from_slice(extra);
        Ok(Self::of(&document))
    }

    /// The terms of a document. Fields are read in order of worth, so that the bound on terms cuts the least telling text.
    pub fn of(document: &Document<'_>) -> Self {
        let mut collected = Collected::with_room(document.bytes());
        collected.add_all(document.name, WEIGHT_NAME);
        collected.add_all(document.title, WEIGHT_TEXT);
        collected.add(document.server, WEIGHT_TEXT);
        collected.add(document.description, WEIGHT_TEXT);
        for (name, _) in &document.parameters {
            collected.add(name, WEIGHT_TEXT);
        }
        for text in document.values.iter().chain(&document.extra) {
            collected.add(text, WEIGHT_TEXT);
        }
        for (_, description) in &document.parameters {
            collected.add(description, WEIGHT_PARAMETER_TEXT);
        }
        collected.finish()
    }

    /// The sum of the weights of all occurrences, stop words left out.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The number of distinct terms.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The weight of a term, 0 where the document does not have it.
    pub(super) fn weight(&self, term: &str) -> u16 {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.term(middle).cmp(term) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.entries[middle].weight,
            }
        }
        0
    }

    /// All terms in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u16)> {
        (0..self.entries.len()).map(|at| self.at(at))
    }

    /// The term at this place of the order, and its weight.
    pub(super) fn at(&self, at: usize) -> (&str, u16) {
        (self.term(at), self.entries[at].weight)
    }

    fn term(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.entries[at - 1].end };
        &self.text[start as usize..self.entries[at].end as usize]
    }
}

/// All occurrences, in the order they are read, and later sorted: cheaper than a map that grows by one term at a time.
struct Collected {
    text: String,
    occurrences: Vec<Occurrence>,
    /// Room for one word in lower case.
    lower: String,
}

#[derive(Clone, Copy)]
struct Occurrence {
    /// The first sixteen bytes, which nearly always tell two terms apart.
    prefix: u128,
    start: u32,
    end: u32,
    weight: u16,
    /// What it adds to the document's length.
    length: u32,
}

impl Collected {
    /// Room for the terms of so many bytes of text: words of five letters, each with its stem.
    fn with_room(bytes: usize) -> Self {
        Self {
            text: String::with_capacity(2 * bytes),
            occurrences: Vec::with_capacity(bytes / 3),
            lower: String::with_capacity(WORD_BYTES_MAX),
        }
    }

    fn add(&mut self, text: &str, weight: u16) {
        self.add_words(text, weight, false);
    }

    /// Stop words too: a tool may be called `get`, and a question of stop words alone is still a question. They add nothing to
    /// the length, so that for every other question the document is as if it had none.
    fn add_all(&mut self, text: &str, weight: u16) {
        self.add_words(text, weight, true);
    }

    fn add_words(&mut self, text: &str, weight: u16, stop_words: bool) {
        each_word(text, &mut self.lower, |word| {
            let is_stop = word.is_stop();
            if stop_words || !is_stop {
                let length = if is_stop { 0 } else { u32::from(weight) };
                push_terms(word, &mut self.text, |term, start| {
                    // A record is far below 4 GiB, and so is its text.
                    let (start, end) = (start as u32, (start + term.len()) as u32);
                    self.occurrences.push(Occurrence { prefix: prefix(term), start, end, weight, length });
                });
            }
        });
    }

    fn finish(self) -> Terms {
        let Self { text, occurrences: mut terms, .. } = self;
        let text_of = |occurrence: &Occurrence| &text[occurrence.start as usize..occurrence.end as usize];
        sort_by_word(&mut terms, |term| term.prefix, text_of);
        terms.dedup_by(|again, first| {
            let same = is_same(again.prefix, first.prefix, || [text_of(again), text_of(first)]);
            if same {
                first.weight = first.weight.saturating_add(again.weight);
                first.length = first.length.saturating_add(again.length);
            }
            same
        });
        if terms.len() > DOCUMENT_TERMS_MAX {
            terms.sort_unstable_by_key(|term| term.start);
            terms.truncate(DOCUMENT_TERMS_MAX);
            sort_by_word(&mut terms, |term| term.prefix, text_of);
        }
        let mut kept = String::with_capacity(terms.iter().map(|term| text_of(term).len()).sum());
        let entries = terms.iter().map(|term| {
            kept.push_str(text_of(term));
            // At most DOCUMENT_TERMS_MAX terms of 65 bytes: far below u32::MAX.
            Entry { end: kept.len() as u32, weight: term.weight.min(TERM_WEIGHT_MAX) }
        });
        let entries = entries.collect();
        let length = terms.iter().fold(0_u32, |sum, term| sum.saturating_add(term.length));
        Terms { text: kept.into(), entries, length }
    }
}

/// Appends the terms under which a word is indexed and sought, and says where each of them starts.
pub(super) fn push_terms(word: Word<'_>, out: &mut String, mut emit: impl FnMut(&str, usize)) {
    let (Word::Plain(text) | Word::Whole(text) | Word::Piece(text)) = word;
    let start = out.len();
    out.push_str(text);
    emit(&out[start..], start);
    if let Word::Plain(word) = word {
        let start = out.len();
        out.push(STEM_MARK);
        push_stem(word, out);
        emit(&out[start..], start);
    }
}
