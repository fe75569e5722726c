//! A Rust file as the checks see it: tokens with their lines, comments and literals gone, test code marked.
//!
//! Not a parser: it knows braces, `mod`, `#[test]` and `#[cfg(test)]`, which is what imports and banned calls need. It must never
//! take the inside of a string or comment for code, or a planted text in a test would fail the check that it tests.

use std::path::{Path, PathBuf};

/// One identifier or one character of punctuation (`::` is one token).
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
    /// Inside `#[cfg(test)]` or `#[test]`, or in a file that only tests use.
    pub(crate) in_tests: bool,
    /// How many inline modules are open here.
    pub(crate) inline_modules: usize,
}

/// A file with its path from the repository's root, `/`-separated.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let only_tests = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        Self { path: path.to_owned(), text: text.to_owned(), tokens: mark(lex(text), only_tests) }
    }

    /// Lines on which these tokens stand one after another, with whether that is test code.
    pub(crate) fn find(&self, sequence: &[&str]) -> Vec<(usize, bool)> {
        self.tokens
            .windows(sequence.len())
            .filter(|window| window.iter().zip(sequence).all(|(token, wanted)| token.text == *wanted))
            .map(|window| (window[0].line, window[0].in_tests))
            .collect()
    }
}

/// All files below the repository's root that a commit could hold, as paths from the root.
pub(crate) fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        for entry in std::fs::read_dir(root.join(&below)).expect("the tree can be read").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = below.join(&name);
            let kind = entry.file_type().expect("the kind of an entry");
            if kind.is_dir() {
                if ![".git", "target", "node_modules", "__pycache__"].contains(&name.as_str()) {
                    open.push(path);
                }
            } else if name != ".git" {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// The Rust files among them.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    files(root)
        .iter()
        .filter(|path| path.ends_with(".rs"))
        .map(|path| Source::new(path, &std::fs::read_to_string(root.join(path)).expect("a source is UTF-8")))
        .collect()
}

/// Identifiers and punctuation with their lines; comments and literals leave nothing, a string leaves `""`.
fn lex(text: &str) -> Vec<(String, usize)> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        let next = chars.get(i + 1).copied().unwrap_or(' ');
        let end = match c {
            '/' if next == '/' => until(&chars, i, |rest| rest[0] == '\n'),
            '/' if next == '*' => block_comment(&chars, i),
            '"' => {
                tokens.push(("\"\"".to_owned(), line));
                string(&chars, i + 1)
            }
            'r' | 'b' | 'c' if raw_or_prefixed(&chars, i).is_some() => {
                tokens.push(("\"\"".to_owned(), line));
                raw_or_prefixed(&chars, i).expect("just seen")
            }
            '\'' => lifetime_or_char(&chars, i),
            _ if c.is_alphabetic() || c == '_' => {
                let end = until(&chars, i, |rest| !(rest[0].is_alphanumeric() || rest[0] == '_'));
                tokens.push((chars[i..end].iter().collect(), line));
                end
            }
            ':' if next == ':' => {
                tokens.push(("::".to_owned(), line));
                i + 2
            }
            _ => {
                if !c.is_whitespace() {
                    tokens.push((c.to_string(), line));
                }
                i + 1
            }
        };
        line += chars[i..end].iter().filter(|c| **c == '\n').count();
        i = end;
    }
    tokens
}

fn until(chars: &[char], from: usize, stop: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|i| stop(&chars[*i..])).unwrap_or(chars.len())
}

fn block_comment(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut i = from;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

/// The end of a string whose opening quote is behind `i`.
fn string(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// The end of `r"…"`, `r#"…"#`, `b"…"`, `br"…"`, `b'…'`; `None` when this is an identifier.
fn raw_or_prefixed(chars: &[char], from: usize) -> Option<usize> {
    let mut i = from + 1;
    let mut raw = chars[from] == 'r';
    if !raw && chars.get(i) == Some(&'r') {
        (raw, i) = (true, i + 1);
    }
    if from > 0 && (chars[from - 1].is_alphanumeric() || chars[from - 1] == '_') {
        return None;
    }
    if !raw {
        return match chars.get(i) {
            Some('"') => Some(string(chars, i + 1)),
            Some('\'') => Some(lifetime_or_char(chars, i)),
            _ => None,
        };
    }
    let hashes = chars[i..].iter().take_while(|c| **c == '#').count();
    if chars.get(i + hashes) != Some(&'"') {
        return None;
    }
    let close = until(chars, i + hashes + 1, |rest| {
        rest[0] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes
    });
    Some((close + 1 + hashes).min(chars.len()))
}

fn lifetime_or_char(chars: &[char], from: usize) -> usize {
    match (chars.get(from + 1), chars.get(from + 2)) {
        (Some('\\'), _) => until(chars, from + 3, |rest| rest[0] == '\'') + 1,
        (Some(_), Some('\'')) => from + 3,
        _ => until(chars, from + 1, |rest| !(rest[0].is_alphanumeric() || rest[0] == '_')),
    }
    .min(chars.len())
}

/// Marks test code and counts open inline modules.
fn mark(raw: Vec<(String, usize)>, only_tests: bool) -> Vec<Token> {
    struct Brace {
        tests: bool,
        module: bool,
    }
    let mut braces: Vec<Brace> = Vec::new();
    let mut tests_next = false;
    let mut module_next = false;
    let mut tokens = Vec::with_capacity(raw.len());
    for i in 0..raw.len() {
        let (text, line) = &raw[i];
        let follows = |offset: usize, wanted: &str| raw.get(i + offset).is_some_and(|(text, _)| text == wanted);
        match text.as_str() {
            "#" if follows(1, "[") && (follows(2, "test") || is_cfg_test(&raw[i..])) => tests_next = true,
            // `#[tokio::test]` and its like.
            "#" if follows(1, "[") && follows(3, "::") && follows(4, "test") => tests_next = true,
            "mod" if follows(2, "{") => module_next = true,
            "{" => {
                braces.push(Brace { tests: tests_next, module: module_next });
                (tests_next, module_next) = (false, false);
            }
            ";" if braces.iter().all(|brace| brace.module) => tests_next = false,
            "}" => drop(braces.pop()),
            _ => {}
        }
        tokens.push(Token {
            text: text.clone(),
            line: *line,
            in_tests: only_tests || tests_next || braces.iter().any(|brace| brace.tests),
            inline_modules: braces.iter().filter(|brace| brace.module).count(),
        });
    }
    tokens
}

fn is_cfg_test(tokens: &[(String, usize)]) -> bool {
    ["#", "[", "cfg", "(", "test", ")"].iter().zip(tokens).filter(|(wanted, (text, _))| *wanted == text).count() == 6
}

#[test]
fn strings_and_comments_are_not_code() {
    let source = Source::new(
        "src/x.rs",
        "// crate::a\n/* crate::b /* c */ */ let x = \"crate::d \\\" crate::e\"; let c = '\"'; let r = r#\"crate::f\"#; crate::g::h('a');",
    );
    assert_eq!(source.find(&["crate", "::"]), [(2, false)]);
    assert_eq!(source.find(&["crate", "::", "g"]).len(), 1);
}

#[test]
fn test_code_is_told_from_other_code() {
    let source = Source::new(
        "src/x.rs",
        "fn a() { y.unwrap() }\n#[cfg(test)]\nmod tests {\n #[test]\n fn b() { z.unwrap() }\n}\nfn c<'a>(d: &'a str) { e.unwrap() }\n#[tokio::test]\nasync fn f() { g.unwrap() }",
    );
    let found: Vec<_> = source.find(&["unwrap"]);
    assert_eq!(found, [(1, false), (5, true), (7, false), (9, true)]);
}
