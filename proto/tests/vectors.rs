//! Golden vectors: what stands in `proto/vectors` reads as it says and is written as it stands, by us and by bincode 2.0.1.
//!
//! `AOP_VECTORS=write cargo test -p aop-proto --test vectors` writes what is missing. After the freeze it never changes what is
//! there, except entries that say `open`.

use aop_proto::codec::Wire;
use aop_proto::wire::message::Message;
use serde_json::{Value, json};

#[allow(dead_code, reason = "the fuzz targets use all of it")]
#[path = "entry/author.rs"]
mod author;
#[path = "vectors/bundle.rs"]
mod bundle;
#[path = "vectors/meaning.rs"]
mod meaning;
#[path = "vectors/refused.rs"]
mod refused;
#[path = "vectors/rules.rs"]
mod rules;
#[path = "vectors/samples.rs"]
mod samples;
mod support;
#[path = "vectors/taking.rs"]
mod taking;
#[path = "vectors/verdicts.rs"]
mod verdicts;

use meaning::{Meaning, Visit, bincode_bytes, bincode_value, with_type};
use support::{ENCODED, Vector, all, entries, path, unhex, vectors};

/// Whether `aop/1` is frozen: from then on vectors are only added.
const FROZEN: bool = true;

/// One vector, both ways, by both serializers.
struct BothWays<'a>(&'a Vector);

impl Visit for BothWays<'_> {
    fn visit<T: Meaning + Wire + PartialEq>(self) {
        let Vector { name, kind, meaning, bytes, .. } = self.0;
        let body = if kind.is_some() { &bytes[8..] } else { &bytes[..] };
        let value = T::from_json(meaning);
        assert_eq!(value.to_json(), *meaning, "{name}: the json says no more and no less");
        assert_eq!(value.encode(), body, "{name}: meaning to bytes");
        assert!(T::decode(body).is_ok_and(|read| read == value), "{name}: bytes to meaning");
        assert_eq!(bincode_bytes(&value), body, "{name}: meaning to bytes, by bincode");
        assert!(bincode_value::<T>(body) == value, "{name}: bytes to meaning, by bincode");
    }
}

#[test]
fn bytes_and_meaning_agree_both_ways_and_with_bincode() {
    write_if_asked();
    let vectors = all();
    assert!(!vectors.is_empty());
    for vector in vectors {
        with_type(&vector.of, BothWays(&vector));
        let Some(kind) = vector.kind else { continue };
        let message = Message::decode(&vector.bytes).expect("a frame");
        assert_eq!((message.name(), vector.bytes[3]), (&*vector.of, kind));
        assert_eq!(message.encode(), vector.bytes);
    }
}

/// Whether bytes are a value of a type.
struct Reads<'a>(&'a [u8], &'a mut bool);

impl Visit for Reads<'_> {
    fn visit<T: Meaning + Wire + PartialEq>(self) {
        *self.1 = T::decode(self.0).is_ok();
    }
}

#[test]
fn what_is_refused_is_no_value_in_any_reading() {
    write_if_asked();
    let refused = entries("refused");
    assert!(!refused.is_empty());
    for entry in refused {
        let (bytes, mut reads) = (unhex(entry["bytes"].as_str().expect("hex")), true);
        match entry["kind"].as_u64() {
            Some(_) => reads = Message::decode(&bytes).is_ok(),
            None => with_type(entry["type"].as_str().expect("a type"), Reads(&bytes, &mut reads)),
        }
        assert!(!reads, "{}", entry["name"]);
    }
}

#[test]
fn every_kind_of_message_and_of_record_has_a_vector() {
    write_if_asked();
    let vectors = all();
    for number in 0..=255 {
        let probe = Message::decode(&aop_proto::wire::frame(number, &[]));
        if !matches!(probe, Ok(Message::Unknown(_))) {
            assert!(vectors.iter().any(|vector| vector.kind == Some(number)), "no vector of kind {number}");
        }
        assert!(!vectors.iter().any(|vector| vector.kind == Some(number) && vector.open), "kind {number} is open");
    }
    for kind in 1..=8 {
        assert!(vectors.iter().any(|vector| vector.of == "Record" && vector.meaning["kind"] == kind));
    }
}

#[test]
fn rules_give_what_their_vectors_say() {
    write_if_asked();
    let entries = entries("rules");
    assert!(!entries.is_empty());
    for entry in entries {
        let rule = entry["rule"].as_str().expect("a rule");
        assert_eq!(rules::output(rule, &entry["input"]), entry["output"], "{rule} of {}", entry["input"]);
    }
}

/// Nothing that is made here is missing there: additions are one command, and nobody forgets it.
#[test]
fn every_sample_stands_in_its_file() {
    write_if_asked();
    for file in ENCODED {
        let there = entries(file);
        for sample in samples::samples(file) {
            assert!(there.contains(&sample), "{file}.json lacks or contradicts {}", sample["name"]);
        }
        let mut names: Vec<String> = vectors(file).into_iter().map(|vector| vector.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{file}.json: every vector has a name of its own");
    }
    let there = entries("refused");
    for entry in refused::refused() {
        assert!(there.contains(&entry), "refused.json lacks or contradicts {}", entry["name"]);
    }
    let there = entries("rules");
    for (rule, input) in rules::inputs() {
        let same = |entry: &&Value| entry["rule"] == rule && entry["input"] == input;
        assert!(there.iter().any(|entry| same(&entry)), "rules.json lacks {rule} of {input}");
    }
}

#[expect(clippy::disallowed_methods, reason = "the generator is asked for by its environment")]
fn write_if_asked() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if std::env::var("AOP_VECTORS").is_ok_and(|value| value == "write") {
            ENCODED.iter().for_each(|file| write(file, samples::samples(file), "name"));
            let rule = |(rule, input): (&str, Value)| {
                json!({"rule": rule, "input": input, "output": rules::output(rule, &input)})
            };
            write("refused", refused::refused(), "name");
            write("rules", rules::inputs().into_iter().map(rule).collect(), "input");
        }
    });
}

/// Keeps what is frozen, replaces what is open, adds what is new: one line each.
#[expect(clippy::disallowed_methods, reason = "the generator writes its files")]
fn write(file: &str, made: Vec<Value>, key: &str) {
    let mut kept: Vec<Value> = entries(file).into_iter().filter(|entry| FROZEN && entry["open"] != true).collect();
    for entry in made {
        if !kept.iter().any(|old| old[key] == entry[key] && old["rule"] == entry["rule"]) {
            kept.push(entry);
        }
    }
    let lines: Vec<String> = kept.iter().map(Value::to_string).collect();
    std::fs::write(path(file), format!("[\n{}\n]\n", lines.join(",\n"))).expect("the folder is there");
}
