//! The wall around `proto/`: no I/O, no time, no chance, and the serializer named in one file only.
//!
//! The manifest is checked against a list of what may stand in it, the sources for what std would let through. Clippy's bans in
//! `proto/.clippy.toml` say the same to an editor; this is what cannot be allowed away with an attribute.

use crate::manifest::dependencies;
use crate::source::Source;

/// What the protocol may be built from. A new line here is a decision about the wall.
const CORE_MAY_USE: [&str; 8] =
    ["bytes", "ed25519-dalek", "rand_chacha", "serde", "serde_json", "sha2", "thiserror", "wincode"];

/// Never in the core, not even for its tests: each brings a clock, entropy, sockets or a runtime.
const CORE_NEVER: [&str; 14] = [
    "tokio",
    "quinn",
    "rustls",
    "axum",
    "moka",
    "rmcp",
    "getrandom",
    "reqwest",
    "hyper",
    "redb",
    "mio",
    "async-std",
    "smol",
    "uuid",
];

/// The only file that may name the serializers.
const CODEC: &str = "proto/src/codec.rs";

/// Paths of std and friends that the core may not name.
const IMPURE: [(&[&str], &str); 17] = [
    (&["Instant"], "time is an argument (`now`)"),
    (&["SystemTime"], "time is an argument (`now`)"),
    (&["std", "::", "fs"], "files belong to the shell"),
    (&["std", "::", "io"], "input and output belong to the shell"),
    (&["std", "::", "env"], "the environment belongs to the shell"),
    (&["std", "::", "process"], "processes belong to the shell"),
    (&["std", "::", "thread"], "threads belong to the shell"),
    (&["TcpStream"], "sockets belong to the shell"),
    (&["TcpListener"], "sockets belong to the shell"),
    (&["UdpSocket"], "sockets belong to the shell"),
    (&["UnixStream"], "sockets belong to the shell"),
    (&["RandomState"], "chance is the seeded field of the node"),
    (&["thread_rng"], "chance is the seeded field of the node"),
    (&["OsRng"], "chance is the seeded field of the node"),
    (&["Mutex"], "one owner, no locks"),
    (&["RwLock"], "one owner, no locks"),
    (&["async", "fn"], "the core never waits"),
];

/// What is wrong with the core's manifest.
pub(crate) fn check_manifest(path: &str, text: &str) -> Vec<String> {
    dependencies(text)
        .into_iter()
        .filter(|dependency| {
            let name = dependency.name.as_str();
            CORE_NEVER.contains(&name) || (dependency.section == "dependencies" && !CORE_MAY_USE.contains(&name))
        })
        .map(|dependency| format!("{path}:{}: `{}` may not stand behind the wall", dependency.line, dependency.name))
        .collect()
}

/// What is wrong with the simulator's manifest: it drives the core and nothing else of ours.
pub(crate) fn check_simulations(path: &str, text: &str) -> Vec<String> {
    dependencies(text)
        .into_iter()
        .filter(|dependency| dependency.name == "aop" || ["tokio", "quinn", "axum"].contains(&dependency.name.as_str()))
        .map(|dependency| {
            format!("{path}:{}: `{}`: simulations depend on aop-proto only", dependency.line, dependency.name)
        })
        .collect()
}

/// What is wrong with the core's sources.
pub(crate) fn check_sources(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        if source.path != CODEC && !source.path.starts_with("proto/tests/") {
            for serializer in ["wincode", "bincode"] {
                for (line, _) in source.find(&[serializer]) {
                    findings.push(format!("{}:{line}: `{serializer}` is named outside {CODEC}", source.path));
                }
            }
        }
        if source.path.starts_with("proto/src/") {
            for (sequence, why) in IMPURE {
                for (line, _) in source.find(sequence) {
                    findings.push(format!("{}:{line}: `{}`: {why}", source.path, sequence.concat()));
                }
            }
            findings.extend(default_hashers(source));
        }
    }
    findings
}

/// A `HashMap` or `HashSet` whose hasher is not named iterates in a different order in every run.
fn default_hashers(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    let tokens = &source.tokens;
    for (i, token) in tokens.iter().enumerate() {
        let wanted = match token.text.as_str() {
            "HashMap" => 3,
            "HashSet" => 2,
            _ => continue,
        };
        let text = |offset: usize| tokens.get(i + offset).map_or("", |token| token.text.as_str());
        let unseeded = match (text(1), text(2)) {
            ("::", "<") => generic_arguments(source, i + 2) < wanted,
            ("::", method) => ["new", "with_capacity", "from", "from_iter", "default"].contains(&method),
            ("<", _) => generic_arguments(source, i + 1) < wanted,
            _ => false,
        };
        if unseeded {
            findings.push(format!("{}:{}: `{}` without a seeded hasher", source.path, token.line, token.text));
        }
    }
    findings
}

/// How many arguments stand between the `<` at token `i` and its `>`.
fn generic_arguments(source: &Source, i: usize) -> usize {
    let mut depth = 0_i32;
    let mut count = 1;
    let mut last = "<";
    for token in &source.tokens[i..] {
        match token.text.as_str() {
            "<" | "(" | "[" => depth += 1,
            // The arrow of a function type is no closing bracket.
            ">" if last == "-" => {}
            ">" | ")" | "]" => depth -= 1,
            "," if depth == 1 => count += 1,
            _ => {}
        }
        last = &token.text;
        if depth == 0 {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::{check_manifest, check_simulations, check_sources};
    use crate::source::Source;

    fn red(path: &str, text: &str) -> usize {
        check_sources(&[Source::new(path, text)]).len()
    }

    #[test]
    fn a_runtime_in_the_manifest_is_red() {
        let manifest = "[dependencies]\nbytes = \"1\" # why\ntokio = \"1\" # why\n[dev-dependencies]\ngetrandom = \"1\" # why\nfoca = \"2\" # why";
        assert_eq!(check_manifest("m", manifest).len(), 2);
        assert_eq!(check_manifest("m", "[dependencies]\nsmallvec = \"1\" # why").len(), 1);
        assert_eq!(check_simulations("m", "[dependencies]\naop = { path = \"..\" }").len(), 1);
    }

    #[test]
    fn a_second_file_that_names_the_serializer_is_red() {
        assert_eq!(red("proto/src/wire.rs", "use wincode::SchemaRead;"), 1);
        assert_eq!(red("src/store.rs", "let b = bincode::encode(x);"), 1);
        assert_eq!(red("proto/src/codec.rs", "pub use wincode::SchemaRead as WireRead;"), 0);
    }

    #[test]
    fn clocks_sockets_files_and_locks_are_red_in_the_core_only() {
        for text in [
            "std::time::Instant::now()",
            "SystemTime::now()",
            "use std::fs;",
            "std::net::UdpSocket::bind(a)",
            "Mutex::new(1)",
        ] {
            assert_eq!(red("proto/src/zone.rs", text), 1, "{text}");
            assert_eq!(red("src/clock.rs", text), 0, "{text}");
        }
    }

    #[test]
    fn a_map_needs_its_hasher_named() {
        assert_eq!(red("proto/src/zone.rs", "let a: HashMap<Vec<(u8, u8)>, u8> = x;"), 1);
        assert_eq!(red("proto/src/zone.rs", "let a = HashSet::<u8>::new();"), 1);
        assert_eq!(red("proto/src/zone.rs", "let a = HashMap::new();"), 1);
        assert_eq!(
            red("proto/src/zone.rs", "let a: HashMap<u8, fn(u8) -> u8, Fixed> = HashMap::with_hasher(Fixed);"),
            0
        );
    }
}
