//! `[zones]`: what eight zones answer beside what one zone that holds everything answers, real nodes over QUIC.
//!
//! The tools of a server lie in one zone, which is chosen by the hash of the server's name. Seven zones stand below the eighth, and
//! questions are asked at that one and at one of those below. It compares answers, not times: an answer counts when all zones had a part in it.

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::connection::Connection;
use crate::labelled::{Labelled, in_words};
use crate::node::{Node, resolve};
use crate::rounds::{Contestant, play_cold};
use crate::sheet::{Bound, Column, Sample, Sheet};
use crate::table::count;

const ZONES: u64 = 8;
/// Sets of which the first result is looked at.
const SETS: [(&str, &str); 2] = [("azure", AZURE), ("bfcl", BFCL)];
const AZURE: &str = "azure";
const BFCL: &str = "bfcl";
const ALL: &str = "all";
const SAME: &str = "same";
const EXACT: &str = "exact";
/// For zones to know of one another, and for one whole answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Questions of a row that are told where the answers differ.
const SHOWN_MAX: usize = 3;

/// Rows, in their order.
const ONE: usize = 0;
const EIGHT: usize = 1;
const BELOW: usize = 2;

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    tell("zones: starting nodes");
    let (labelled, folder) = (Labelled::read()?, tempfile::tempdir()?);
    let start = |zone: &str, belongs: &dyn Fn(&Value) -> bool, more: &[&str]| -> Result<Node> {
        let path = folder.path().join(zone.replace('.', "all"));
        started(arguments, &path, &labelled, zone, belongs, more)
    };
    let one = start("one", &|_| true, &[])?;
    let root = start(".", &|tool| zone_of(tool) == 0, &[])?;
    let parent = root.address.to_string();
    let below = |zone| start(&format!("z{zone}"), &|tool| zone_of(tool) == zone, &["--parent", &parent]);
    let children: Vec<Node> = (1..ZONES).map(below).collect::<Result<_>>()?;
    let all: Vec<&Node> = std::iter::once(&root).chain(&children).collect();
    let names: Vec<Vec<String>> = all.iter().map(|node| names_at(node)).collect::<Result<_>>()?;
    let known: Vec<String> = names.iter().filter_map(|names| names.first().cloned()).collect();
    for node in [&root, &children[0]] {
        node.wait_for(&known)?;
    }
    let (of_one, of_all) = (names_at(&one)?, names.concat());
    let (first, other) = (RefCell::<Option<Vec<Vec<String>>>>::default(), RefCell::<Vec<String>>::default());
    let visit = |node: &Node, names: &[String]| -> Result<Sample> {
        let answers = ask_all(node, &labelled)?;
        let first = &mut *first.borrow_mut();
        let first = &*first.get_or_insert_with(|| answers.clone());
        let both = answers.iter().zip(first).zip(&labelled.questions);
        let apart = both.filter(|((found, first), _)| found != first);
        let apart: Vec<String> = apart.map(|(both, question)| difference(both, &question.text)).collect();
        let same = answers.len() - apart.len();
        other.borrow_mut().extend(apart.into_iter().take(SHOWN_MAX));
        let mut sample = Sample::from([
            (ALL, mean(&labelled, &answers, |_| true)),
            (SAME, same as f64 / answers.len().max(1) as f64),
            (EXACT, found(node, names)? as f64 / names.len().max(1) as f64),
        ]);
        sample.extend(SETS.map(|(set, key)| (key, mean(&labelled, &answers, |of| of == set))));
        Ok(sample)
    };
    let contestants = vec![
        Contestant::new("one zone", || visit(&one, &of_one)),
        Contestant::new("eight, asked at the parent", || visit(&root, &of_all)),
        Contestant::new("eight, asked at a child", || visit(&children[0], &of_all)),
    ];
    let column = |key, title| Column { key, title, digits: 4, compared: false };
    let (tools, questions) = (count(of_one.len()), count(labelled.questions.len()));
    let mut sheet = Sheet {
        about: format!("answers of eight zones and of one, {tools} {}, {questions} questions", labelled.says()),
        columns: vec![
            column(AZURE, "azure R@1"),
            column(BFCL, "bfcl R@1"),
            column(ALL, "all R@1"),
            column(SAME, "first ten as one's"),
            column(EXACT, "names found"),
        ],
        rows: play_cold("zones", 1, contestants),
        ..Sheet::default()
    };
    for (row, at) in [(EIGHT, "the parent"), (BELOW, "a child")] {
        for (set, key) in SETS {
            let apart = sheet.difference(row, ONE, key).map(f64::abs);
            sheet.aim(&format!("{set} R@1 at {at} beside one zone's, apart"), apart, Bound::AtMost(0.01), None);
        }
        let exact = sheet.median(row, EXACT);
        sheet.aim(&format!("names found at {at}"), exact, Bound::AtLeast(1.0), None);
    }
    sheet.notes.extend(other.take());
    if of_one.len() != of_all.len() || of_one.len() != labelled.tools.len() {
        sheet.notes.push(format!("one zone lists {} tools, eight list {}", of_one.len(), of_all.len()));
    }
    Ok(sheet)
}

fn started(
    arguments: &Arguments,
    folder: &Path,
    labelled: &Labelled,
    zone: &str,
    belongs: &dyn Fn(&Value) -> bool,
    more: &[&str],
) -> Result<Node> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join("tools.jsonl");
    labelled.write(&file, belongs)?;
    let file = file.display().to_string();
    Node::start(arguments, folder, zone, &[&["--import", &file], more].concat())
}

/// FNV-1a of the server's name.
fn zone_of(tool: &Value) -> u64 {
    let server = tool["server"].as_str().unwrap_or_default();
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    server.bytes().fold(0xcbf2_9ce4_8422_2325, hash) % ZONES
}

/// The full names of the tools of the node's own zone, none of those below.
fn names_at(node: &Node) -> Result<Vec<String>> {
    let list = node.state("/v1/tools")?;
    let own = list["tools"].as_array().into_iter().flatten().filter(|tool| tool["zone"] == list["zone"]);
    Ok(own.filter_map(|tool| tool["name"].as_str()).map(str::to_owned).collect())
}

/// Where two answers to a question part.
fn difference((found, first): (&Vec<String>, &Vec<String>), question: &str) -> String {
    let parted = found.iter().zip(first).take_while(|(found, first)| found == first).count();
    let [found, first] = [found, first].map(|ids| ids.get(parted).map_or("nothing", String::as_str));
    let place = parted + 1;
    format!("place {place} is {found}, of one zone {first}: {}", question.replace('\n', " "))
}

/// The first results of every question, by id.
fn ask_all(node: &Node, labelled: &Labelled) -> Result<Vec<Vec<String>>> {
    let mut connection = Connection::open(node.address)?;
    labelled.questions.iter().map(|question| ask(&mut connection, &question.text)).collect()
}

fn ask(connection: &mut Connection, question: &str) -> Result<Vec<String>> {
    let began = Instant::now();
    loop {
        let (status, body) = connection.ask("GET", &in_words(question), "", "")?;
        let answer: Value = serde_json::from_slice(&body)?;
        if status == 200 && answer["partial"] == false {
            let ids = answer["results"].as_array().into_iter().flatten().filter_map(|result| result["id"].as_str());
            return Ok(ids.map(str::to_owned).collect());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("`{question}` is answered {status}: {}", answer["zones"]).into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn mean(labelled: &Labelled, answers: &[Vec<String>], is_asked: impl Fn(&str) -> bool) -> f64 {
    let asked = labelled.questions.iter().zip(answers).filter(|(question, _)| is_asked(&question.set));
    let recalls: Vec<f64> = asked.map(|(question, found)| question.recall_at_1(found)).collect();
    recalls.iter().sum::<f64>() / recalls.len() as f64
}

/// How many of these names are found by their very text.
fn found(node: &Node, names: &[String]) -> Result<usize> {
    let mut connection = Connection::open(node.address)?;
    let mut found = 0;
    for name in names {
        let (status, body) = connection.ask("GET", &resolve(name), "", "")?;
        let body = String::from_utf8(body)?;
        found += usize::from(
            status == 200 && body.contains(&format!("\"name\":\"{name}\"")) && body.contains("\"exact\":true"),
        );
    }
    Ok(found)
}
