//! `[words]`: a resolve in plain words beside one of an exact name, over HTTP, of a node that holds all public catalogues.
//!
//! Both are asked again and again, so that they are said again as they were, and both so that nobody ever asked the same: a question
//! in words goes on with a word that no tool has, another each time, and a name is written in capitals and small letters, otherwise each time.

use std::cell::Cell;
use std::sync::Arc;

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::connection::Connection;
use crate::labelled::{Asked, Labelled, in_words};
use crate::load::{Expected, Question};
use crate::node::{Node, resolve};
use crate::request::request;
use crate::rounds::{Contestant, play};
use crate::serving::{CONNECTIONS, CPU, RATE, Served, columns};
use crate::sheet::{Bound, Sheet};
use crate::table::count;

const NAMES: usize = 1_000;
const ZONE: &str = "research";
/// Questions that are asked again and again: so few that what they take once a minute, when answers end, is lost among the others.
const AGAIN: usize = 200;
/// Questions of one visit that nobody asked before: more than it gets through.
const NEW: usize = 1 << 16;
/// Of these the connection that is alone asks the last.
const NEW_ALONE: usize = NEW / 4;

/// Rows, in their order.
const EXACT: usize = 0;
const WORDS: usize = 2;
const EXACT_NEW: usize = 3;
const WORDS_NEW: usize = 4;

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    tell("words: starting a node");
    let labelled = Labelled::read()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tools.jsonl");
    labelled.write(&file, |_| true)?;
    let node = Node::start(arguments, folder.path(), ZONE, &["--import", &file.display().to_string()])?;
    let list = node.state("/v1/tools")?;
    let all = list["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str());
    let all: Vec<&str> = all.collect();
    let names: Vec<&str> = all.iter().copied().step_by((all.len() / NAMES).max(1)).collect();
    let answered = answered(&node, &labelled.questions)?;
    let of_names: Arc<[Question]> = names.iter().map(|name| exactly(name, name)).collect();
    let again = answered.iter().step_by((answered.len() / AGAIN).max(1));
    let of_words: Arc<[Question]> = again.map(|question| in_plain_words(question)).collect();
    let (exact, words) =
        (Served::one(&node.process, node.address, &of_names), Served::one(&node.process, node.address, &of_words));
    let (slice, next) = (arguments.slice, Cell::new(0_u64));
    // Numbers that never come again.
    let number = || next.replace(next.get() + 1);
    let visit_new = |question: &dyn Fn(usize, u64) -> Question| {
        let mut new: Vec<Question> = (0..NEW).map(|at| question(at, number())).collect();
        let alone: Arc<[Question]> = new.split_off(NEW - NEW_ALONE).into();
        Served::one(&node.process, node.address, &new.into()).alone_with(&alone).visit(slice)
    };
    let new_name = |at: usize, number| {
        let name = names[at % names.len()];
        exactly(&in_other_letters(name, number), name)
    };
    let new_words = |at: usize, number| in_plain_words(&format!("{} zq{number}", answered[at % answered.len()]));
    let contestants = vec![
        Contestant::new("a name, asked before", || exact.visit(slice)),
        Contestant::new("the same again (A/A)", || exact.visit(slice)),
        Contestant::new("words, asked before", || words.visit(slice)),
        Contestant::new("a name as nobody wrote it before", || visit_new(&new_name)),
        Contestant::new("words, never asked before", || visit_new(&new_words)),
    ];
    let (tools, questions) = (count(all.len()), count(answered.len()));
    let mut sheet = Sheet {
        about: format!(
            "resolve in words beside an exact one, {tools} {}, {questions} questions, {CONNECTIONS} connections",
            labelled.says()
        ),
        columns: columns("req/s"),
        rows: play("words", arguments, contestants),
        ..Sheet::default()
    };
    for (row, base, what) in [(WORDS, EXACT, "asked before"), (WORDS_NEW, EXACT_NEW, "never asked before")] {
        let (rate, cpu) = (sheet.ratio(row, base, RATE), sheet.ratio(row, base, CPU));
        let what = format!("words ÷ a name, {what}");
        sheet.aim(&format!("{what}, req/s"), rate, Bound::AtLeast(0.6), Some(Bound::AtLeast(0.7)));
        sheet.notes.push(format!("{what}, CPU: {:.2}", cpu.unwrap_or(f64::NAN)));
    }
    Ok(sheet)
}

/// The questions for which something is offered.
fn answered<'a>(node: &Node, questions: &'a [Asked]) -> Result<Vec<&'a str>> {
    let mut connection = Connection::open(node.address)?;
    let mut answered = Vec::new();
    for Asked { text, .. } in questions {
        let (status, body) = connection.ask("GET", &in_words(text), "", "")?;
        let body = String::from_utf8(body)?;
        if status != 200 {
            return Err(format!("`{text}` is answered {status}: {body}").into());
        }
        answered.extend(body.contains("\"rank\":1").then_some(text.as_str()));
    }
    Ok(answered)
}

fn exactly(asked: &str, name: &str) -> Question {
    let holds = vec![format!("\"name\":\"{name}\""), "\"exact\":true".to_owned()];
    Question { request: request("GET", &resolve(asked), "", "").into_bytes(), expected: Expected::Holds(holds) }
}

fn in_plain_words(question: &str) -> Question {
    let expected = Expected::Holds(vec!["\"rank\":1".to_owned()]);
    Question { request: request("GET", &in_words(question), "", "").into_bytes(), expected }
}

/// The same name, its letters large where the number's bits are set.
fn in_other_letters(name: &str, number: u64) -> String {
    let mut bits = number;
    let letter = |letter: char| {
        let is_large = letter.is_ascii_alphabetic() && bits & 1 == 1;
        bits >>= u32::from(letter.is_ascii_alphabetic());
        if is_large { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
    };
    name.chars().map(letter).collect()
}
