//! The threat table of PROTOCOL.md §16 and the tests that show its answers: none is named that does not exist, none is missing.
//!
//! A row with four cells is a threat, one with two names its tests. Whether a test shows what its row says is the reviewer's to see.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// Where the tables stand.
const SECTION: &str = "## 16.";

/// Functions of test code, by name. `fn name` in a comment or a text is none.
pub(crate) fn tests_of(sources: &[Source]) -> BTreeSet<String> {
    let functions = sources.iter().flat_map(|source| source.tokens.windows(2));
    let tests = functions.filter(|pair| pair[0].text == "fn" && pair[1].in_tests);
    tests.map(|pair| pair[1].text.clone()).collect()
}

/// Every threat has a row of tests, every such row is of a threat and names at least one, and each that it names exists.
pub(crate) fn check(path: &str, text: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut findings = Vec::new();
    let (mut threats, mut shown) = (BTreeMap::new(), BTreeMap::new());
    let section = text.lines().enumerate().skip_while(|(_, line)| !line.starts_with(SECTION));
    let section = section.skip(1).take_while(|(_, line)| !line.starts_with("## "));
    for (number, line) in section.filter(|(_, line)| line.starts_with("| T")) {
        let at = format!("{path}:{}", number + 1);
        let cells: Vec<&str> = line.trim_matches(|c| c == '|' || c == ' ').split(" | ").map(str::trim).collect();
        let threat = cells[0];
        // An empty last cell leaves nothing behind its border.
        let known = if cells.len() == 2 { &mut shown } else { &mut threats };
        if known.insert(threat.to_owned(), at.clone()).is_some() {
            findings.push(format!("{at}: {threat} is there twice"));
        }
        if cells.len() != 2 {
            continue;
        }
        let named: Vec<&str> = cells[1].split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            findings.push(format!("{at}: {threat} names no test; write one, or say in the table above what is open"));
        }
        for name in named.into_iter().filter(|name| !tests.contains(*name)) {
            findings.push(format!("{at}: {threat} names `{name}`, and no test is called that"));
        }
    }
    for (threat, at) in threats.iter().filter(|(threat, _)| !shown.contains_key(*threat)) {
        findings.push(format!("{at}: {threat} names no test; add a row to the table of tests"));
    }
    for (threat, at) in shown.iter().filter(|(threat, _)| !threats.contains_key(*threat)) {
        findings.push(format!("{at}: {threat} is no threat of the table"));
    }
    if threats.is_empty() {
        findings.push(format!("{path}: no table of threats in {SECTION}"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{check, tests_of};
    use crate::source::Source;

    const TABLE: &str =
        "## 16. Security\n| | threat | answered by | *open* |\n| T1 | a | b | |\n| T2 | c | d | e |\n\n";

    fn red(rows: &str) -> Vec<String> {
        let tests =
            Source::new("tests/x.rs", "//! fn told\n#[test] fn one() {}\n#[test] fn other() { let _ = \"fn said\"; }");
        let code = Source::new("src/x.rs", "fn no_test() {}");
        check("x.md", &format!("{TABLE}{rows}\n## 17. More\n| T9 | `gone` |\n"), &tests_of(&[tests, code]))
    }

    #[test]
    fn a_threat_without_a_test_is_red() {
        assert_eq!(red("| T1 | `one`, `other` |\n| T2 | `one` |"), Vec::<String>::new());
        assert_eq!(red("| T1 | `one` |"), ["x.md:4: T2 names no test; add a row to the table of tests"]);
        assert_eq!(red("| T1 | `one` |\n| T2 | nothing |").len(), 1);
        assert_eq!(red("| T1 | `one` |\n| T2 | `one` |\n| T2 | `one` |\n| T3 | `one` |").len(), 2);
        assert_eq!(check("x.md", "", &tests_of(&[])).len(), 1);
    }

    #[test]
    fn a_test_that_does_not_exist_is_red() {
        for name in ["gone", "no_test", "told", "said", "on"] {
            let rows = format!("| T1 | `one` |\n| T2 | `one`, `{name}` |");
            assert_eq!(red(&rows), [format!("x.md:7: T2 names `{name}`, and no test is called that")]);
        }
    }
}
