//! The word index against tantivy in RAM, on synthetic tools: time of a search, bytes and time of an index.
//!
//! `cargo run --release --manifest-path benches/scale/Cargo.toml -- [TOOLS [QUESTIONS [ROUNDS]]]`. With ROUNDS the index alone is asked,
//! so often, for whoever counts its instructions: those of more rounds less those of fewer. Texts have 40 to 79 words of a vocabulary of
//! 30,000 after Zipf's law, questions 2 to 5 words of one text without the 20 commonest. tantivy is one merged segment with frequencies, asked
//! for the same words joined by OR. The first 200 questions, fewer of a million texts, are scored over every text first: what the index
//! finds must be the same to the bit. Rounds of the two alternate; of each question the least time of seven rounds counts, so that other
//! work on the machine does not.

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use aop_proto::index::{DocId, Document, Index, Query, Scorer, Terms};
use cap::Cap;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, Occur, TermQuery};
use tantivy::schema::{IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{IndexWriter, TantivyDocument, Term};

#[global_allocator]
static COUNTED: Cap<System> = Cap::new(System, usize::MAX);

const VOCABULARY: usize = 30_000;
const COMMONEST: usize = 20;
const BEST: usize = 10;
const ROUNDS: usize = 7;
/// Texts that are scored to prove what is found: all of them for each of 200 questions where there are 100,000.
const PROVED: usize = 20_000_000;

/// splitmix64
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// A word of its number, of letters only.
fn word(number: usize) -> String {
    const SYLLABLES: [&str; 16] =
        ["ba", "co", "di", "fe", "gu", "ha", "jo", "ka", "lo", "me", "na", "or", "pi", "ra", "to", "vu"];
    let mut dice = Dice(number as u64);
    let mut word: String = (0..2).map(|_| SYLLABLES[dice.below(16)]).collect();
    let mut rest = number;
    loop {
        word.push(char::from(b'a' + (rest % 26) as u8));
        rest /= 26;
        if rest == 0 {
            break;
        }
    }
    word.push('o');
    word
}

fn main() -> tantivy::Result<()> {
    let number = |at: usize, default: usize| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (tools, asked) = (number(1, 100_000), number(2, 4_000));
    let vocabulary: Vec<String> = (0..VOCABULARY).map(word).collect();
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=VOCABULARY)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut dice = Dice(42);
    let pick = |dice: &mut Dice| {
        let at = dice.next() as f64 / u64::MAX as f64 * sum;
        cumulated.partition_point(|reached| *reached < at).min(VOCABULARY - 1)
    };
    let texts: Vec<Vec<usize>> = (0..tools)
        .map(|_| {
            let words = 40 + dice.below(40);
            (0..words).map(|_| pick(&mut dice)).collect()
        })
        .collect();
    let text = |words: &[usize]| words.iter().map(|word| vocabulary[*word].as_str()).collect::<Vec<_>>().join(" ");
    let questions: Vec<String> = (0..asked)
        .map(|_| loop {
            let source = &texts[dice.below(tools)];
            let mut words: Vec<usize> = (0..2 + dice.below(4)).map(|_| source[dice.below(source.len())]).collect();
            words.retain(|word| *word >= COMMONEST);
            words.sort_unstable();
            words.dedup();
            if words.len() >= 2 {
                break text(&words);
            }
        })
        .collect();

    let told: Vec<String> = texts.iter().map(|words| text(words)).collect();
    let start = Instant::now();
    let terms: Vec<Arc<Terms>> = told
        .iter()
        .map(|description| Arc::new(Terms::of(&Document { description, ..Document::default() })))
        .collect();
    let read = start.elapsed();
    let before = COUNTED.allocated();
    let start = Instant::now();
    let mut index = Index::default();
    for (document, terms) in (0..).zip(&terms) {
        index.insert(DocId(document), Arc::clone(terms));
    }
    let built = start.elapsed();
    let bytes = (COUNTED.allocated() - before) / tools;
    println!("{tools} texts: read {read:.2?}, indexed {built:.2?}, {bytes} bytes a text");

    let snapshot = index.snapshot();
    let proved = (PROVED / tools.max(1)).min(questions.len());
    for question in questions.iter().take(proved) {
        let query = Query::parse(question);
        let stats = snapshot.stats(&query);
        let scorer = Scorer::new(&query, &stats);
        let mut all: Vec<(u32, u32)> =
            (0..).zip(&terms).map(|(document, terms)| (scorer.score(terms).to_bits(), document)).collect();
        all.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let found = snapshot.search(&query, BEST, &|_| true);
        let found: Vec<(u32, u32)> = found.iter().take(BEST).map(|(id, score)| (score.to_bits(), id.0)).collect();
        assert_eq!(found, all[..found.len()], "{question}");
    }
    println!("{proved} questions: the first {BEST} are those of scoring everything, to the bit");
    drop(terms);
    let mut ours = vec![f64::INFINITY; questions.len()];
    let ask = |question: &str| {
        black_box(snapshot.search(&Query::parse(question), BEST, &|_| true));
    };
    if let Some(rounds) = std::env::args().nth(3).and_then(|rounds| rounds.parse::<usize>().ok()) {
        (0..rounds).for_each(|_| round(&questions, &mut ours, ask));
        let (p50, p99) = spread(ours);
        println!("a search: p50 {p50:.1} us, p99 {p99:.1} us");
        return Ok(());
    }

    let mut schema = Schema::builder();
    let options = TextFieldIndexing::default().set_tokenizer("whitespace").set_index_option(IndexRecordOption::WithFreqs);
    let field = schema.add_text_field("text", TextOptions::default().set_indexing_options(options));
    let other = tantivy::Index::create_in_ram(schema.build());
    let start = Instant::now();
    let mut writer: IndexWriter = other.writer_with_num_threads(1, 500_000_000)?;
    for text in &told {
        let mut document = TantivyDocument::default();
        document.add_text(field, text);
        writer.add_document(document)?;
    }
    writer.commit()?;
    let segments = other.searchable_segment_ids()?;
    if segments.len() > 1 {
        writer.merge(&segments).wait()?;
    }
    println!("tantivy: indexed {:.2?}", start.elapsed());
    let reader = other.reader()?;
    let searcher = reader.searcher();
    let mut theirs = ours.clone();
    for _ in 0..ROUNDS {
        round(&questions, &mut ours, ask);
        round(&questions, &mut theirs, |question| {
            let term = |word| -> Box<dyn tantivy::query::Query> {
                Box::new(TermQuery::new(Term::from_field_text(field, word), IndexRecordOption::WithFreqs))
            };
            let query = BooleanQuery::new(question.split(' ').map(|word| (Occur::Should, term(word))).collect());
            black_box(searcher.search(&query, &TopDocs::with_limit(BEST)).ok());
        });
    }
    let (ours, theirs) = (spread(ours), spread(theirs));
    println!("a search: p50 {:.1} us, p99 {:.1} us; tantivy p50 {:.1} us, p99 {:.1} us", ours.0, ours.1, theirs.0, theirs.1);
    println!("ratio: p50 {:.2}, p99 {:.2}", ours.0 / theirs.0, ours.1 / theirs.1);
    Ok(())
}

/// Asks every question, and keeps the least time it took in any round, in microseconds.
fn round(questions: &[String], least: &mut [f64], ask: impl Fn(&str)) {
    for (question, least) in questions.iter().zip(least) {
        let start = Instant::now();
        ask(question);
        *least = least.min(start.elapsed().as_secs_f64() * 1e6);
    }
}

/// p50 and p99.
fn spread(mut took: Vec<f64>) -> (f64, f64) {
    took.sort_by(f64::total_cmp);
    (took[took.len() / 2], took[took.len() * 99 / 100])
}
