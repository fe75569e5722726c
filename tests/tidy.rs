//! The house keeps itself: floors, the wall around `proto/`, manifests, habits. Each check is shown red on planted text below it.
//!
//! Reads files only; builds and runs nothing. A finding names file and line and says what to do, so that nobody has to read this.

#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/house.rs"]
mod house;
#[path = "tidy/manifest.rs"]
mod manifest;
#[path = "tidy/purity.rs"]
mod purity;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/threats.rs"]
mod threats;

use std::path::{Path, PathBuf};

const MEMBERS: [&str; 3] = ["Cargo.toml", "proto/Cargo.toml", "simulations/Cargo.toml"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Says every finding at once: one run, one round of repairs.
#[track_caller]
fn expect_none(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} finding(s):\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn imports_only_point_down() {
    let sources = source::sources(&root());
    let mut findings = floors::check(&floors::SHELL, &sources);
    findings.extend(floors::check(&floors::CORE, &sources));
    expect_none(findings);
}

#[test]
fn proto_is_pure() {
    let mut findings = purity::check_manifest("proto/Cargo.toml", &read("proto/Cargo.toml"));
    findings.extend(purity::check_simulations("simulations/Cargo.toml", &read("simulations/Cargo.toml")));
    // The checks' own planted texts are strings and do not count, their words do.
    let sources: Vec<_> = source::sources(&root()).into_iter().filter(|s| !s.path.starts_with("tests/")).collect();
    findings.extend(purity::check_sources(&sources));
    expect_none(findings);
}

#[test]
fn clippy_knows_the_wall() {
    let bans = read("proto/.clippy.toml");
    for word in ["std::time::Instant", "std::time::SystemTime", "std::net::UdpSocket", "std::fs::read", "RandomState"] {
        assert!(bans.contains(word), "proto/.clippy.toml does not ban `{word}`");
    }
}

#[test]
fn manifests_give_reasons_and_the_lock_holds_nothing_banned() {
    let mut findings: Vec<String> =
        MEMBERS.iter().flat_map(|path| manifest::check_manifest(path, &read(path))).collect();
    findings.extend(manifest::check_lock(&read("Cargo.lock")));
    expect_none(findings);
}

#[test]
fn files_keep_the_habits_of_the_house() {
    let mut findings = house::check_sources(&source::sources(&root()));
    for path in source::files(&root()) {
        // Anything that is no UTF-8 text (a vector, a picture) has no lines to check.
        if let Ok(text) = std::fs::read_to_string(root().join(&path)) {
            findings.extend(house::check_text(&path, &text));
        }
    }
    expect_none(findings);
}

#[test]
fn the_top_level_is_fixed() {
    let paths = source::files(&root());
    let mut names: Vec<&str> = paths.iter().filter_map(|path| path.split('/').next()).collect();
    names.dedup();
    expect_none(house::check_top(names.into_iter()));
}

#[test]
fn every_threat_names_the_tests_that_show_its_answer() {
    let path = "proto/PROTOCOL.md";
    expect_none(threats::check(path, &read(path), &threats::tests_of(&source::sources(&root()))));
}

#[test]
fn readme_commands_exist() {
    let config = read(".cargo/config.toml");
    let mut commands: Vec<String> =
        ["run", "build", "test", "check", "clippy", "fmt", "doc", "bench", "install", "nextest"]
            .map(str::to_owned)
            .into();
    commands.extend(config.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.trim().to_owned()));
    let bins: Vec<String> = MEMBERS
        .iter()
        .flat_map(|path| read(path).lines().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| Some(line.strip_prefix("name = \"")?.trim_end_matches('"').to_owned()))
        .collect();
    let exists = |path: &str| Path::new(&root()).join(path).exists();
    expect_none(house::check_readme(&read("README.md"), &exists, &commands, &bins));
}
