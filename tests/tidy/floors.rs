//! The floors of the house: which module stands where, and that imports only point down.
//!
//! The tables below are the picture in README's floor plan; a module that is not in them fails, so that a new room is placed by
//! decision. Between rooms of one floor imports may run one way, never in a circle; conversations never name each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// A crate's rooms: module → floor. `5b` lies between 5 and 6, hence tens.
pub(crate) struct House {
    /// Directory of the crate's sources, ending in `/`.
    pub(crate) sources: &'static str,
    pub(crate) floors: &'static [(u32, &'static [&'static str])],
    /// A floor whose rooms may not name each other at all.
    pub(crate) strangers: Option<u32>,
}

pub(crate) const SHELL: House = House {
    sources: "src/",
    floors: &[
        (70, &["bin", "cli", "server", "config"]),
        (60, &["http", "page", "mcp", "dns", "federation"]),
        (55, &["call"]),
        (
            50,
            &[
                "driver",
                "handle",
                "store",
                "answers",
                "peer",
                "upstream",
                "audit",
                "auth",
                "clock",
                "entropy",
                "telemetry",
                "invites",
                "watch",
            ],
        ),
    ],
    strangers: None,
};

pub(crate) const CORE: House = House {
    sources: "proto/src/",
    floors: &[
        (40, &["node", "view"]),
        (30, &["gossip", "transfer", "resolver", "search", "call"]),
        (20, &["registry", "zone", "cache", "membership", "selection", "trust", "index"]),
        (10, &["wire", "invite"]),
        (0, &["codec", "json", "name", "record", "params", "now", "error", "access"]),
    ],
    strangers: Some(30),
};

impl House {
    fn floor_of(&self, module: &str) -> Option<u32> {
        self.floors.iter().find(|(_, rooms)| rooms.contains(&module)).map(|(floor, _)| *floor)
    }

    /// The room a file belongs to: `src/mcp/door.rs` → `mcp`; the map itself (`lib.rs`) belongs to none.
    fn room_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        let below = path.strip_prefix(self.sources)?;
        let room = below.split('/').next()?.trim_end_matches(".rs");
        (room != "lib").then_some(room)
    }
}

/// What is wrong with the imports of this house, one line a finding.
pub(crate) fn check(house: &House, sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut imports: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some(room) = house.room_of(&source.path) else { continue };
        let Some(floor) = house.floor_of(room) else {
            findings
                .push(format!("{}: module `{room}` stands on no floor; place it in tests/tidy/floors.rs", source.path));
            continue;
        };
        for (line, target) in targets(source, house.sources) {
            if target == room {
                continue;
            }
            let at = format!("{}:{line}", source.path);
            match house.floor_of(&target) {
                None => findings.push(format!("{at}: `crate::{target}` is no room; name the module that holds it")),
                Some(other) if other > floor => findings.push(format!("{at}: `{room}` looks up to `{target}`")),
                Some(other) if other == floor && house.strangers == Some(floor) => {
                    findings
                        .push(format!("{at}: `{room}` and `{target}` are conversations and may not name each other"));
                }
                Some(_) => {
                    imports.entry(room).or_default().insert(target);
                }
            }
        }
    }
    findings.extend(circles(&imports));
    findings
}

/// Every top-level module that a file names, through `crate::` or enough `super::`, with the line.
fn targets(source: &Source, crate_sources: &str) -> Vec<(usize, String)> {
    let below = source.path.strip_prefix(crate_sources).unwrap_or(&source.path);
    // `mcp.rs` is one module deep, `mcp/door.rs` two; the binaries are crates of their own and name the library as `aop`.
    let depth = below.split('/').filter(|part| *part != "mod.rs").count();
    let tokens = &source.tokens;
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let start = i;
        let mut at_root = text(i) == "crate" && text(i + 1) == "::";
        if at_root {
            i += 2;
        } else if text(i) == "super" && text(i + 1) == "::" {
            let mut ups = 0;
            while text(i) == "super" && text(i + 1) == "::" {
                (ups, i) = (ups + 1, i + 2);
            }
            at_root = ups == depth + tokens[start].inline_modules;
        } else {
            i += 1;
            continue;
        }
        if at_root {
            found.extend(heads(source, i));
        }
    }
    found
}

/// The first names of a path or of a braced group of paths that starts at token `i`.
fn heads(source: &Source, i: usize) -> Vec<(usize, String)> {
    let tokens = &source.tokens;
    let Some(first) = tokens.get(i) else { return Vec::new() };
    if first.text != "{" {
        return vec![(first.line, first.text.clone())];
    }
    let mut found = Vec::new();
    let mut depth = 0;
    let mut expects_head = true;
    for token in &tokens[i..] {
        match token.text.as_str() {
            "{" => (depth, expects_head) = (depth + 1, depth == 0),
            "}" => depth -= 1,
            "," if depth == 1 => expects_head = true,
            _ if depth == 1 && expects_head => {
                if token.text != "self" {
                    found.push((token.line, token.text.clone()));
                }
                expects_head = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Circles among rooms: a room is in one when it can be reached from itself.
fn circles(imports: &BTreeMap<&str, BTreeSet<String>>) -> Vec<String> {
    let mut findings = Vec::new();
    for room in imports.keys() {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = vec![room];
        while let Some(at) = open.pop() {
            for next in imports.get(at).into_iter().flatten() {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        if seen.contains(room) {
            let others: Vec<&str> = seen.into_iter().filter(|other| other != room).collect();
            findings.push(format!("`{room}` imports itself in a circle, through some of: {}", others.join(", ")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{CORE, SHELL, check};
    use crate::source::Source;

    #[test]
    fn looking_up_is_red_and_looking_down_is_green() {
        let up = Source::new("src/store.rs", "use crate::http::Door;");
        let down = Source::new("src/http/routes.rs", "use crate::{store::{Store, Row}, handle::Handle};");
        assert_eq!(check(&SHELL, &[up]), ["src/store.rs:1: `store` looks up to `http`"]);
        assert!(check(&SHELL, &[down]).is_empty());
    }

    #[test]
    fn a_group_and_a_path_in_the_middle_of_code_are_seen() {
        let group = Source::new("src/call.rs", "use crate::{\n    handle::Handle,\n    mcp::{Door, x::Y},\n};");
        let path = Source::new("src/call/plan.rs", "fn a() { crate::server::run() }");
        assert_eq!(check(&SHELL, &[group]), ["src/call.rs:3: `call` looks up to `mcp`"]);
        assert_eq!(check(&SHELL, &[path]), ["src/call/plan.rs:1: `call` looks up to `server`"]);
    }

    #[test]
    fn super_reaches_the_root_only_with_enough_steps() {
        let inside = Source::new("src/store/file.rs", "use super::Store; mod tests { use super::super::Row; }");
        let outside = Source::new("src/store/file.rs", "use super::super::http::Door;");
        assert!(check(&SHELL, &[inside]).is_empty());
        assert_eq!(check(&SHELL, &[outside]).len(), 1);
    }

    #[test]
    fn an_unknown_room_and_an_unknown_target_are_red() {
        assert_eq!(check(&SHELL, &[Source::new("src/utils.rs", "")]).len(), 1);
        assert_eq!(check(&SHELL, &[Source::new("src/http.rs", "use crate::Problem;")]).len(), 1);
    }

    #[test]
    fn circles_on_one_floor_are_red() {
        let one = Source::new("src/store.rs", "use crate::peer::Id;");
        let other = Source::new("src/peer.rs", "use crate::store::Row;");
        assert!(check(&SHELL, std::slice::from_ref(&one)).is_empty());
        assert_eq!(check(&SHELL, &[one, other]).len(), 2);
    }

    #[test]
    fn conversations_do_not_name_each_other() {
        let source = Source::new("proto/src/resolver.rs", "use crate::gossip::Round; use crate::zone::Zone;");
        assert_eq!(check(&CORE, &[source]).len(), 1);
    }
}
