//! YAML out of JSON, for `-o yaml`: block style, strings quoted whenever a reader could take them for something else.
//!
//! An emitter only; nothing here reads YAML. What must hold: any YAML 1.1 or 1.2 reader gives back the JSON that went in.

use serde_json::Value;

use super::json::quoted;

/// The document, ended by a line break.
pub(crate) fn document(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

/// The same as one of many in a stream: begun by a line of its own, as none of them knows which is the last.
pub(crate) fn one_of_many(value: &Value) -> String {
    format!("---\n{}", document(value))
}

/// Writes `value` at `depth`, each line ended.
fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                indent(depth, out);
                out.push_str(&scalar(key));
                out.push(':');
                child(member, depth + 1, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(depth, out);
                out.push('-');
                item_block(item, depth + 1, out);
            }
        }
        leaf => {
            indent(depth, out);
            out.push_str(&leaf_text(leaf));
            out.push('\n');
        }
    }
}

/// What follows `key:`.
fn child(value: &Value, depth: usize, out: &mut String) {
    if is_leaf(value) {
        out.push(' ');
        out.push_str(&leaf_text(value));
        out.push('\n');
    } else {
        out.push('\n');
        block(value, depth, out);
    }
}

/// What follows `-`: an object starts on the same line.
fn item_block(value: &Value, depth: usize, out: &mut String) {
    if is_leaf(value) || value.is_array() {
        child(value, depth, out);
        return;
    }
    let mut lines = String::new();
    block(value, depth, &mut lines);
    out.push(' ');
    out.push_str(lines.trim_start_matches(' '));
}

fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    }
}

fn leaf_text(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Plain when nothing else can be read into it, else in double quotes with JSON's escapes, which YAML shares.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

fn indent(depth: usize, out: &mut String) {
    out.push_str(&"  ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_nest_and_doubtful_strings_are_quoted() {
        let value = json!({"schema": "aop.zones/1", "partial": false, "zones": [{"name": "a", "tools": 3, "tags": []}, ["x", "no"]],
            "note": "two: words", "none": null, "empty": {}});
        assert_eq!(
            document(&value),
            "schema: aop.zones/1\npartial: false\nzones:\n  - name: a\n    tools: 3\n    tags: []\n  -\n    - x\n    - \"no\"\nnote: \"two: words\"\nnone: null\nempty: {}\n"
        );
    }

    #[test]
    fn each_of_many_is_a_document_of_its_own() {
        assert_eq!(one_of_many(&json!({"a": 1})) + &one_of_many(&json!([])), "---\na: 1\n---\n[]\n");
    }

    #[test]
    fn control_and_bidi_characters_are_escaped() {
        assert_eq!(document(&json!("a\u{1b}\u{202e}")), "\"a\\u001b\\u202e\"\n");
    }
}
