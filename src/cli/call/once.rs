//! Whether a JSON text names every member once: readers differ in which of two they take.
//!
//! Not a parser: the text is valid JSON already. What must hold: no nesting is too deep and no number too large for it.

use std::collections::BTreeSet;

/// The first member that an object of this JSON has twice.
pub(super) fn given_twice(json: &str) -> Option<String> {
    // Of each object or list around, the names so far; a list has none.
    let mut around: Vec<Option<BTreeSet<String>>> = Vec::new();
    let mut is_name = false;
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let mut length = first.len_utf8();
        match first {
            '{' => around.push(Some(BTreeSet::new())),
            '[' => around.push(None),
            '}' | ']' => drop(around.pop()),
            '"' => {
                length = string_bytes(rest);
                let names = around.last_mut().and_then(Option::as_mut).filter(|_| is_name);
                let name = names.map(|names| (serde_json::from_str(&rest[..length]).unwrap_or_default(), names));
                if let Some((name, names)) = name
                    && !names.insert(String::clone(&name))
                {
                    return Some(name);
                }
            }
            _ => {}
        }
        // A name stands behind the brace or a comma; a comma of a list is followed by none.
        is_name = matches!(first, '{' | ',') || (is_name && first.is_ascii_whitespace());
        rest = &rest[length..];
    }
    None
}

/// Bytes of the string at the start, its quotes with them.
fn string_bytes(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_given_twice_is_found_however_it_is_written() {
        let twice = |text: &str| given_twice(text);
        for text in [
            r#"{"i":1,"i":2}"#,
            r#"{"i":1 , "\u0069":2}"#,
            r#"{"a":[{"b":{"i":"}","x":1,"i":[]}}]}"#,
            r#"{"i":"\\","i":2}"#,
            r#"{"n":1e400,"i":"\"","i":2}"#,
        ] {
            assert_eq!(twice(text).as_deref(), Some("i"), "{text}");
        }
        for text in [
            "{}",
            r#"{"i":"i","j":["i","i",{"i":1},{"i":2}],"k":{"i":{"i":1}}}"#,
            r#"{"i":",","j":"{\"i\":1,\"i\":2}"}"#,
            r#"{"I":1,"i":2,"":3}"#,
        ] {
            assert_eq!(twice(text), None, "{text}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(twice(&deep), None);
    }
}
