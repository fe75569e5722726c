//! The habits of the house that a reader would otherwise have to watch over: file heads and lengths, left-over work, waiting by
//! sleeping, libraries kept behind their one room, nothing that names a machine, and a README whose commands exist.
//!
//! It checks text and tokens, not meaning; what needs judgement stays with the reviewer. The words it looks for are spelled in
//! two halves, so that this file does not find itself.

use crate::source::Source;

/// Past this a file holds a second idea.
const LINES_MAX: usize = 700;

/// What may stand at the top of the repository besides dotfiles.
const TOP: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "deploy",
    "proto",
    "simulations",
    "src",
    "target",
    "tests",
];

/// Libraries and the rooms that may name them: everything else goes through that room.
const BEHIND: [(&str, &[&str]); 3] = [
    ("rmcp", &["src/mcp", "src/upstream", "benches/peers"]),
    ("redb", &["src/store"]),
    ("anyhow", &["src/bin/", "src/cli", "src/server.rs", "src/server/", "tests/"]),
];

/// The one place in tests that may let time pass: it polls until a deadline.
const MAY_SLEEP: &str = "tests/support/wait.rs";

/// Head, length, and calls that are left-over work or wait blindly.
pub(crate) fn check_sources(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        let path = &source.path;
        if !source.text.starts_with("//!") {
            findings
                .push(format!("{path}:1: does not open with `//!`: what it is, what it is not, what must always hold"));
        }
        for call in ["todo", "unimplemented", "dbg"] {
            for (line, _) in source.find(&[call, "!"]) {
                findings.push(format!("{path}:{line}: `{call}!` is left-over work"));
            }
        }
        for (line, in_tests) in source.find(&[".", "unwrap", "(", ")"]) {
            if !in_tests {
                findings
                    .push(format!("{path}:{line}: `unwrap()`; say with `expect` why it holds, or return the error"));
            }
        }
        for (line, in_tests) in source.find(&["sleep", "("]) {
            if in_tests && path != MAY_SLEEP {
                findings.push(format!("{path}:{line}: a test sleeps; wait for the event or poll with a deadline"));
            }
        }
        for (line, _) in source.find(&["unbounded_channel"]) {
            findings.push(format!("{path}:{line}: channels are bounded, with their capacity a named constant"));
        }
        for (library, rooms) in BEHIND {
            if !rooms.iter().any(|room| path.starts_with(room)) {
                for (line, in_tests) in source.find(&[library, "::"]) {
                    if !in_tests {
                        findings.push(format!("{path}:{line}: `{library}` is named outside {}", rooms.join(", ")));
                    }
                }
            }
        }
    }
    findings
}

/// Length, left-over notes, machine paths and registry hosts, in any text file.
pub(crate) fn check_text(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let code = [".rs", ".py", ".sh", ".js", ".css", ".html"].iter().any(|ending| path.ends_with(ending));
    let lines = text.lines().count();
    if code && lines > LINES_MAX {
        findings.push(format!("{path}: {lines} lines, at most {LINES_MAX}; look for the second idea"));
    }
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX:")];
    let machine = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/home", "/runner")];
    let hosts = [
        concat!("crates", ".io"),
        concat!("registry.npm", "js.org"),
        concat!("pypi", ".org"),
        concat!("python", "hosted.org"),
        concat!("proxy.golang", ".org"),
        concat!("deb.debian", ".org"),
    ];
    for (number, line) in text.lines().enumerate() {
        let at = format!("{path}:{}", number + 1);
        let seen = |words: &[&'static str]| words.iter().copied().find(|word| line.contains(word));
        if let (true, Some(word)) = (code, seen(&notes)) {
            findings.push(format!("{at}: `{word}`: open an issue, or do it"));
        }
        if let Some(word) = seen(&machine) {
            findings.push(format!("{at}: `{word}` names one machine"));
        }
        // The lock file names its registry in every line; that is its format.
        if let (false, Some(word)) = (path == "Cargo.lock", seen(&hosts)) {
            findings.push(format!("{at}: `{word}` names a registry; ask for packages by name"));
        }
    }
    findings
}

/// Only the rooms of the house stand at the top.
pub(crate) fn check_top<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names
        .filter(|name| !name.starts_with('.') && !TOP.contains(name))
        .map(|name| format!("{name}: not one of the top level's fixed names"))
        .collect()
}

/// What the README's commands need: `exists` answers for a path, `aliases` are cargo's own and ours, `bins` the workspace's.
pub(crate) fn check_readme(
    readme: &str,
    exists: &dyn Fn(&str) -> bool,
    aliases: &[String],
    bins: &[String],
) -> Vec<String> {
    let mut findings = Vec::new();
    let mut fenced = false;
    let mut commands: Vec<(usize, &str)> = Vec::new();
    for (number, line) in readme.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            commands.push((number + 1, line.trim().trim_start_matches("$ ")));
        }
    }
    for (line, command) in &commands {
        let words: Vec<&str> = command.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        let after = |flag: &str| words.iter().position(|word| *word == flag).and_then(|i| words.get(i + 1)).copied();
        match words.as_slice() {
            ["cargo", verb, ..] => {
                if !aliases.iter().any(|alias| alias == verb) {
                    findings.push(format!("README.md:{line}: `cargo {verb}` is no command of this repository"));
                }
                if let Some(bin) = after("--bin").filter(|bin| !bins.iter().any(|known| known == bin)) {
                    findings.push(format!("README.md:{line}: there is no binary `{bin}`"));
                }
            }
            ["bash" | "sh", script, ..] if !exists(script) => {
                findings.push(format!("README.md:{line}: there is no `{script}`"));
            }
            _ => {}
        }
    }
    for (needed, what) in
        [("cargo run --release --bin aop-node -- --dev", "the main job"), ("bash tests/run.sh", "every test")]
    {
        if !commands.iter().any(|(_, command)| command.starts_with(needed)) {
            findings.push(format!("README.md: does not show the command for {what}: `{needed}`"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{check_readme, check_sources, check_text, check_top};
    use crate::source::Source;

    fn red(path: &str, code: &str) -> Vec<String> {
        check_sources(&[Source::new(path, &format!("//! Head.\n{code}"))])
    }

    #[test]
    fn a_file_without_a_head_is_red() {
        assert_eq!(check_sources(&[Source::new("src/x.rs", "fn a() {}")]).len(), 1);
        assert!(red("src/x.rs", "fn a() {}").is_empty());
    }

    #[test]
    fn left_over_work_and_blind_waits_are_red() {
        assert_eq!(red("src/x.rs", "fn a() { todo!() }").len(), 1);
        assert_eq!(red("src/x.rs", "fn a() { b.unwrap() }").len(), 1);
        assert!(red("src/x.rs", "#[cfg(test)] mod tests { fn a() { b.unwrap() } }").is_empty());
        assert_eq!(red("tests/x.rs", "fn a() { std::thread::sleep(b) }").len(), 1);
        assert_eq!(red("src/x.rs", "#[tokio::test] async fn a() { tokio::time::sleep(b).await }").len(), 1);
        assert!(red("src/x.rs", "async fn a() { tokio::time::sleep(b).await }").is_empty());
        assert_eq!(red("src/x.rs", "let (a, b) = mpsc::unbounded_channel();").len(), 1);
    }

    #[test]
    fn a_library_outside_its_room_is_red() {
        assert_eq!(red("src/http.rs", "use rmcp::model::Tool;").len(), 1);
        assert!(red("src/upstream/stdio.rs", "use rmcp::model::Tool;").is_empty());
        assert_eq!(red("src/store.rs", "use anyhow::Context;").len(), 1);
        assert_eq!(red("src/driver.rs", "use redb::Database;").len(), 1);
    }

    #[test]
    fn long_files_notes_machines_and_hosts_are_red() {
        assert_eq!(check_text("src/x.rs", &"a\n".repeat(701)).len(), 1);
        assert!(check_text("proto/PROTOCOL.md", &"a\n".repeat(701)).is_empty());
        assert_eq!(check_text("src/x.rs", concat!("// TO", "DO later")).len(), 1);
        assert_eq!(check_text("x.md", concat!("see /wo", "rk/x")).len(), 1);
        assert_eq!(check_text("x.toml", concat!("url = \"https://pypi", ".org\"")).len(), 1);
    }

    #[test]
    fn a_new_name_at_the_top_is_red() {
        assert_eq!(
            check_top(["src", ".ci", "scripts"].into_iter()),
            ["scripts: not one of the top level's fixed names"]
        );
    }

    #[test]
    fn readme_commands_that_do_not_exist_are_red() {
        let good = "```sh\ncargo run --release --bin aop-node -- --dev\nbash tests/run.sh\n```\n";
        let check = |readme: &str| {
            check_readme(readme, &|path| path == "tests/run.sh", &["run".into(), "sim".into()], &["aop-node".into()])
        };
        assert!(check(good).is_empty());
        assert_eq!(check("").len(), 2);
        assert_eq!(check(&format!("{good}```\ncargo nope\n```")).len(), 1);
        assert_eq!(check(&format!("{good}```\ncargo run --bin nope\n```")).len(), 1);
        assert_eq!(check(&format!("{good}```\nbash nope.sh # comment\n```")).len(), 1);
    }
}
