//! JSON text handled as text: members spliced in, indentation added, without re-reading a single number or string.
//!
//! Not a parser of answers (serde_json is). What must hold: the values a node sent leave `aop -o json` byte for byte, except that on
//! a terminal they are indented and their deceptive characters are written as `\u` escapes, which mean the same.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::text::is_deceptive;

/// An object's members in their order, values untouched.
pub(crate) struct Members(pub(crate) Vec<(String, Box<RawValue>)>);

impl Members {
    /// The members of a JSON object; `None` when it is not one.
    pub(crate) fn of(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The member of that name, untouched.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, raw)| &**raw)
    }

    /// Puts a member after `anchor`, or last; one that is there already stays as it is.
    pub(crate) fn insert_after(&mut self, anchor: &str, key: &str, value: String) {
        if self.0.iter().any(|(name, _)| name == key) {
            return;
        }
        let Ok(raw) = RawValue::from_string(value) else { return };
        let at = self.0.iter().position(|(name, _)| name == anchor).map_or(self.0.len(), |index| index + 1);
        self.0.insert(at, (key.to_owned(), raw));
    }

    /// The object again, compact between members.
    pub(crate) fn to_text(&self) -> String {
        let members: Vec<String> = self.0.iter().map(|(key, raw)| format!("{}:{}", quoted(key), raw.get())).collect();
        format!("{{{}}}", members.join(","))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ordered;
        impl<'de> Visitor<'de> for Ordered {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Ordered)
    }
}

/// A JSON string, deceptive characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    escape_deceptive(&json)
}

/// Indents valid JSON text by two blanks a level.
pub(crate) fn pretty(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0usize;
    let mut chars = text.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                out.push('"');
                while let Some(inner) = chars.next() {
                    out.push(inner);
                    match inner {
                        '\\' => out.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(close) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            blank if blank.is_ascii_whitespace() => {}
            other => out.push(other),
        }
    }
    escape_deceptive(&out)
}

/// Deceptive characters occur inside strings only, where the escape means the same; line breaks between tokens stay.
pub(crate) fn escape_deceptive(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0u16; 2];
    for c in json.chars() {
        if c != '\n' && is_deceptive(c) {
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_spliced_without_touching_the_others() {
        let mut members =
            Members::of(br#"{"query":"a\/b","partial":false,"n":1.00e2,"results":[ ]}"#).expect("an object");
        members.insert_after("partial", "took_ms", "8.2".into());
        members.insert_after("partial", "n", "0".into());
        assert_eq!(members.to_text(), r#"{"query":"a\/b","partial":false,"took_ms":8.2,"n":1.00e2,"results":[ ]}"#);
    }

    #[test]
    fn indented_text_means_the_same() {
        let text = r#"{"a":[1.00,{"b":"x, {\"y\"} : z"}],"c":{},"d":[ ]}"#;
        let indented = pretty(text);
        assert_eq!(
            indented,
            "{\n  \"a\": [\n    1.00,\n    {\n      \"b\": \"x, {\\\"y\\\"} : z\"\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}"
        );
        let same = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("valid");
        assert_eq!(same(&indented), same(text));
        assert_eq!(pretty("\"\u{e0041}\u{9b}\""), r#""\udb40\udc41\u009b""#);
    }
}
