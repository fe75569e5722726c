//! What every test of the wire needs: the golden vectors as they stand in `proto/vectors`, and bytes as text.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;

use serde_json::Value;

/// One golden vector: what some bytes mean.
#[derive(Clone)]
pub(crate) struct Vector {
    /// Unique in its file.
    pub(crate) name: String,
    /// The type, as PROTOCOL.md names it.
    pub(crate) of: String,
    /// The number of its frame; without one the bytes are no frame.
    pub(crate) kind: Option<u8>,
    /// Not frozen: these bytes may still change.
    pub(crate) open: bool,
    /// Its fields. Bytes are hex, numbers are exact up to 64 bits.
    pub(crate) meaning: Value,
    /// The frame, or the value.
    pub(crate) bytes: Vec<u8>,
}

/// Files whose vectors are a type, its meaning and its bytes.
pub(crate) const ENCODED: [&str; 5] = ["connections", "gossip", "membership", "records", "questions"];

/// The vectors of one file.
pub(crate) fn vectors(file: &str) -> Vec<Vector> {
    entries(file).iter().map(vector).collect()
}

/// Every vector that is a type with bytes.
pub(crate) fn all() -> Vec<Vector> {
    ENCODED.iter().flat_map(|file| vectors(file)).collect()
}

/// All that are frames.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    all().into_iter().filter(|vector| vector.kind.is_some()).map(|vector| vector.bytes).collect()
}

fn vector(entry: &Value) -> Vector {
    let text = |key: &str| entry[key].as_str().expect("every vector has it").to_owned();
    Vector {
        name: text("name"),
        of: text("type"),
        kind: entry["kind"].as_u64().map(|kind| u8::try_from(kind).expect("kinds are bytes")),
        open: entry["open"] == true,
        meaning: entry["meaning"].clone(),
        bytes: unhex(&text("bytes")),
    }
}

/// The entries of one file; none when it is not there.
#[expect(clippy::disallowed_methods, reason = "a test reads its vectors")]
pub(crate) fn entries(file: &str) -> Vec<Value> {
    let Ok(text) = std::fs::read_to_string(path(file)) else { return Vec::new() };
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}.json: {error}"))
}

/// Where the vectors of that file stand.
pub(crate) fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(format!("{file}.json"))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of lower-case hex.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && !text.bytes().any(|b| b.is_ascii_uppercase()), "hex: {text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}
