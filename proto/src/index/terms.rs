//! What is kept of a tool's text: its distinct terms with their weights, computed once when the tool arrives.
//!
//! A term is a word as written, or a word's stem (marked `~`, so the two never mix). The weight of a term adds up over the
//! fields it occurs in. Terms are kept by stem, for they are sought so. It is not a copy of the definition: what cannot be searched is not in it.
//! The same definition always gives the same `Terms`, on every node; that is what makes scores of two nodes comparable.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use super::family::{Family, Sought};
use super::stem::push_stem;
use super::words::{WORD_BYTES_MAX, Word, each_word, is_same, prefix, sort_by_word};
use crate::json::Json;

/// Further distinct terms of one document are left out; they are beyond what any description says.
pub const DOCUMENT_TERMS_MAX: usize = 4096;

/// Schemas are followed this deep; what lies below cannot be told apart by a short question anyway.
const SCHEMA_DEPTH_MAX: usize = 8;

/// What a term counts at most in one document: less than all fields together, so that nobody wins who says it in each of them.
pub(super) const TERM_WEIGHT_MAX: u16 = 16;

/// What a document counts at most in the length of its collection: nobody makes others look short by telling a novel.
const COUNTED_LENGTH_MAX: u32 = 256;

/// What a document of this length adds to the length of its collection.
pub(super) fn counted(length: u32) -> u64 {
    u64::from(length.min(COUNTED_LENGTH_MAX))
}

/// Marks a term as a stem. No word contains it.
pub(super) const STEM_MARK: char = '~';

/// What a text is of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    Title,
    Server,
    Description,
    /// Names and values of parameters, tags, capabilities, examples.
    Values,
    /// Descriptions of parameters.
    ParameterTexts,
}

/// In the order in which they are declared.
const FIELDS: [Field; 6] =
    [Field::Name, Field::Title, Field::Server, Field::Description, Field::Values, Field::ParameterTexts];

impl Field {
    /// What an occurrence counts in it. Only the ratios matter; tried values are in `benches/README.md`.
    pub(super) const fn weight(self) -> u16 {
        match self {
            Self::Name => 4,
            Self::Title | Self::Server | Self::Description | Self::Values => 2,
            Self::ParameterTexts => 1,
        }
    }

    /// What a term counts in it at most: a description says it three times. Whoever says it more often only makes his text longer, and
    /// nobody gains by repeating words. In a name every word stands once, but two may have one stem.
    const fn weight_max(self) -> u16 {
        match self {
            Self::Name => 8,
            Self::Values => 4,
            Self::Title | Self::Server => 2,
            Self::Description => 6,
            Self::ParameterTexts => 3,
        }
    }

    /// What the next occurrence of a term counts that counts so much in this field by now.
    pub(super) const fn next(self, by_now: u16) -> u16 {
        if by_now + self.weight() <= self.weight_max() { self.weight() } else { 0 }
    }

    /// Whether stop words count: a tool may be called `get`, and a question of stop words alone is still a question. They add nothing to
    /// the length, so that for every other question the document is as if it had none.
    pub(super) const fn has_stop_words(self) -> bool {
        matches!(self, Self::Name | Self::Title)
    }
}

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
    /// Calls `each` with every text, field by field.
    pub(super) fn each_field(&self, mut each: impl FnMut(Field, &str)) {
        // What a name says again and again it says once: else whoever repeats a word goes before who means it.
        each(Field::Name, &said_once(self.name));
        each(Field::Title, self.title);
        each(Field::Server, self.server);
        each(Field::Description, self.description);
        self.parameters.iter().for_each(|(name, _)| each(Field::Values, name));
        self.values.iter().chain(&self.extra).for_each(|text| each(Field::Values, text));
        self.parameters.iter().for_each(|(_, description)| each(Field::ParameterTexts, description));
    }

    fn bytes(&self) -> usize {
        let parameters = self.parameters.iter().flat_map(|(name, description)| [*name, *description]);
        let fields = [self.name, self.title, self.server, self.description].into_iter();
        fields.chain(parameters).chain(self.values.iter().chain(&self.extra).copied()).map(str::len).sum()
    }
}

/// The name, each of its words once.
fn said_once(name: &str) -> Cow<'_, str> {
    // Hardly any name repeats a word, and most have few.
    let (mut hashes, mut words) = ([0_u64; 8], 0);
    let mut may_repeat = false;
    each_word(name, &mut String::new(), |word| {
        if let Word::Plain(word) = word {
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(word);
            may_repeat |= words == hashes.len() || hashes[..words].contains(&hash);
            if !may_repeat {
                hashes[words] = hash;
                words += 1;
            }
        }
    });
    if !may_repeat {
        return Cow::Borrowed(name);
    }
    let (mut once, mut said, mut repeats) = (String::new(), BTreeSet::<String>::new(), false);
    each_word(name, &mut String::new(), |word| {
        if let Word::Plain(word) = word {
            match said.insert(word.to_owned()) {
                true => once.extend(["_", word]),
                false => repeats = true,
            }
        }
    });
    if repeats { Cow::Owned(once) } else { Cow::Borrowed(name) }
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

/// The distinct terms of one document with their weights, and the document's length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// Stems and words, one after the other; a word that is its own stem is not repeated.
    text: Box<str>,
    /// Family by family: the stem first, then its words in order.
    entries: Box<[Entry]>,
    /// How many have a weight.
    count: usize,
    length: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Of its stem.
    hash: u32,
    /// Where the term ends in the text; it starts where the one before ends.
    end: u32,
    /// 0 for the stem of words that are only whole runs or pairs, and where there was no room for it.
    weight: u8,
    is_stem: bool,
}

/// A stem of a document and the words it has of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held<'a> {
    terms: &'a Terms,
    /// The place of its stem among the entries.
    at: usize,
}

impl<'a> Held<'a> {
    pub(super) fn family(self) -> Family<'a> {
        Family { hash: self.terms.entries[self.at].hash, stem: self.terms.term(self.at) }
    }

    /// The stem's own weight, 0 where the document has words of it only as whole runs or pairs.
    pub(super) fn weight(self) -> u8 {
        self.terms.entries[self.at].weight
    }

    /// Its words and their weights, at least one, none of them 0.
    pub(super) fn words(self) -> impl Iterator<Item = (&'a str, u8)> {
        let words = self.terms.entries[self.at + 1..].iter().take_while(|entry| !entry.is_stem);
        let stem = self.terms.term(self.at);
        words.zip(self.at + 1..).map(move |(entry, at)| {
            let word = self.terms.term(at);
            (if word.is_empty() { stem } else { word }, entry.weight)
        })
    }
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
        document.each_field(|field, text| collected.add(field, text));
        collected.finish()
    }

    /// The sum of the weights of all occurrences, stop words left out.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The number of distinct terms.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The weight of a term, 0 where the document does not have it.
    pub(super) fn weight(&self, sought: Sought<'_>) -> u16 {
        let Some(held) = self.find(sought.family) else { return 0 };
        let weight = match sought.word {
            None => held.weight(),
            Some(word) => held.words().find(|held| held.0 == word).map_or(0, |held| held.1),
        };
        u16::from(weight)
    }

    /// The same of a term as it is written.
    pub(super) fn weight_of(&self, term: &str) -> u16 {
        self.weight(Sought::of(term, &mut String::new()))
    }

    /// Its families in order, and where their stems are among the entries: below twice [`DOCUMENT_TERMS_MAX`].
    pub(super) fn families(&self) -> impl Iterator<Item = (u16, Family<'_>)> {
        let stems = (0u16..).zip(&self.entries).filter(|(_, entry)| entry.is_stem);
        stems.map(|(at, _)| (at, self.held(at).family()))
    }

    /// The family of that place.
    pub(super) const fn held(&self, at: u16) -> Held<'_> {
        Held { terms: self, at: at as usize }
    }

    fn find(&self, family: Family<'_>) -> Option<Held<'_>> {
        let first = self.entries.partition_point(|entry| entry.hash < family.hash);
        let same = self.entries[first..].iter().take_while(|entry| entry.hash == family.hash);
        let mut stems = same.zip(first..).filter(|(entry, _)| entry.is_stem).map(|(_, at)| at);
        stems.find(|at| self.term(*at) == family.stem).map(|at| Held { terms: self, at })
    }

    fn term(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.entries[at - 1].end };
        &self.text[start as usize..self.entries[at].end as usize]
    }
}

/// All occurrences of words, in the order they are read, and later sorted: cheaper than a map that grows by one word at a time, and
/// nobody can make it dear.
struct Collected {
    text: String,
    occurrences: Vec<Occurrence>,
    /// Room for one word in lower case.
    lower: String,
}

#[derive(Clone, Copy)]
struct Occurrence {
    /// The first sixteen bytes, which nearly always tell two words apart.
    prefix: u128,
    start: u32,
    /// At most [`WORD_BYTES_MAX`].
    bytes: u8,
    /// Whether its stem counts too.
    has_stem: bool,
    field: Field,
    /// What it adds to the document's length.
    length: u32,
}

/// A term of a document while its terms are put together.
#[derive(Clone, Copy, Default)]
struct Summed {
    /// What its occurrences count in each field, however many there are.
    by_field: [u16; FIELDS.len()],
    length: u32,
    /// Where it occurs first, in the order of reading, a stem after its word; nothing where it does not.
    first: Option<(u32, bool)>,
}

impl Summed {
    fn add(&mut self, other: Self) {
        self.by_field.iter_mut().zip(other.by_field).for_each(|(sum, more)| *sum = sum.saturating_add(more));
        self.length = self.length.saturating_add(other.length);
        self.first = match (self.first, other.first) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    fn weight(&self) -> u8 {
        let counted = self.by_field.iter().zip(FIELDS).map(|(sum, field)| (*sum).min(field.weight_max()));
        counted.sum::<u16>().min(TERM_WEIGHT_MAX) as u8
    }
}

/// A distinct word, and what it adds to its stem.
struct Read {
    hash: u32,
    word: (u32, u8),
    /// Where its stem lies.
    stem: (u32, u8),
    own: Summed,
    to_stem: Summed,
}

impl Collected {
    /// Room for so many bytes of text in words of five letters.
    fn with_room(bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes + bytes / 4),
            occurrences: Vec::with_capacity(bytes / 6),
            lower: String::with_capacity(WORD_BYTES_MAX),
        }
    }

    fn add(&mut self, field: Field, text: &str) {
        each_word(text, &mut self.lower, |word| {
            let is_stop = word.is_stop();
            if field.has_stop_words() || !is_stop {
                let (Word::Plain(text) | Word::Whole(text) | Word::Piece(text)) = word;
                self.occurrences.push(Occurrence {
                    prefix: prefix(text),
                    // A record is far below 4 GiB, and so is its text.
                    start: self.text.len() as u32,
                    bytes: text.len() as u8,
                    has_stem: matches!(word, Word::Plain(_)),
                    field,
                    length: if is_stop { 0 } else { u32::from(field.weight()) },
                });
                self.text.push_str(text);
            }
        });
    }

    fn finish(self) -> Terms {
        let Self { mut text, mut occurrences, .. } = self;
        sort_by_word(&mut occurrences, |one| one.prefix, |one| slice(&text, (one.start, one.bytes)));
        let mut words: Vec<Read> = Vec::with_capacity(occurrences.len());
        let runs = occurrences
            .chunk_by(|a, b| is_same(a.prefix, b.prefix, || [a, b].map(|one| slice(&text, (one.start, one.bytes)))));
        for run in runs {
            let mut read = Read {
                hash: 0,
                word: (run[0].start, run[0].bytes),
                stem: (0, 0),
                own: Summed::default(),
                to_stem: Summed::default(),
            };
            for one in run {
                let mut by_field = [0; FIELDS.len()];
                by_field[one.field as usize] = one.field.weight();
                let of = |is_stem| Summed { by_field, length: one.length, first: Some((one.start, is_stem)) };
                read.own.add(of(false));
                if one.has_stem {
                    read.to_stem.add(of(true));
                }
            }
            words.push(read);
        }
        let mut stem = String::with_capacity(WORD_BYTES_MAX);
        for read in &mut words {
            stem.clear();
            push_stem(slice(&text, read.word), &mut stem);
            let family = Family::of(&stem);
            read.hash = family.hash;
            read.stem = if slice(&text, read.word) == stem {
                read.word
            } else {
                text.push_str(&stem);
                ((text.len() - stem.len()) as u32, stem.len() as u8)
            };
        }
        // Words stay in order.
        words.sort_by(|a, b| a.hash.cmp(&b.hash).then_with(|| slice(&text, a.stem).cmp(slice(&text, b.stem))));
        put_together(&text, &words)
    }
}

fn slice(text: &str, (start, bytes): (u32, u8)) -> &str {
    &text[start as usize..start as usize + usize::from(bytes)]
}

/// The terms of distinct words that stand family by family.
fn put_together(text: &str, words: &[Read]) -> Terms {
    let is_family = |a: &Read, b: &Read| a.hash == b.hash && slice(text, a.stem) == slice(text, b.stem);
    let stem_of = |family: &[Read]| {
        let mut stem = Summed::default();
        family.iter().for_each(|word| stem.add(word.to_stem));
        stem
    };
    let mut last = (u32::MAX, true);
    if 2 * words.len() > DOCUMENT_TERMS_MAX {
        let stems = words.chunk_by(is_family).map(stem_of);
        let mut firsts: Vec<_> = words.iter().map(|word| word.own).chain(stems).filter_map(|term| term.first).collect();
        if firsts.len() > DOCUMENT_TERMS_MAX {
            last = *firsts.select_nth_unstable(DOCUMENT_TERMS_MAX - 1).1;
        }
    }
    let is_kept = |term: &Summed| term.first.is_some_and(|first| first <= last);
    let mut kept = String::with_capacity(words.iter().map(|word| usize::from(word.word.1)).sum());
    let mut entries = Vec::with_capacity(2 * words.len());
    let (mut count, mut length) = (0, 0_u32);
    for family in words.chunk_by(is_family) {
        let mut push = |term: &str, of: Summed, is_stem| {
            let mut weight = 0;
            if is_kept(&of) {
                weight = of.weight();
                count += 1;
                length = length.saturating_add(of.length);
            }
            kept.push_str(term);
            // At most twice DOCUMENT_TERMS_MAX terms of 64 bytes: far below u32::MAX.
            entries.push(Entry { hash: family[0].hash, end: kept.len() as u32, weight, is_stem });
        };
        let (stem, of_stem) = (slice(text, family[0].stem), stem_of(family));
        // A stem never comes before its words.
        if family.iter().all(|word| !is_kept(&word.own)) {
            continue;
        }
        push(stem, of_stem, true);
        for read in family.iter().filter(|word| is_kept(&word.own)) {
            let word = slice(text, read.word);
            push(if word == stem { "" } else { word }, read.own, false);
        }
    }
    Terms { text: kept.into(), entries: entries.into(), count, length }
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
