//! The hash of a tool's definition: what a caller relies on, whoever wrote it down and in which order.

use sha2::{Digest, Sha256};

use crate::record::Hash;

/// SHA-256 over the canonical form (RFC 8785) of what a caller relies on: name, title, description, schemas, annotations.
///
/// # Errors
/// When the definition is not a JSON object.
pub fn definition_hash(definition: &[u8]) -> Result<Hash, serde_json::Error> {
    const PINNED: [&str; 6] = ["annotations", "description", "inputSchema", "name", "outputSchema", "title"];
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(definition)?;
    let mut canonical = String::from("{");
    for key in PINNED {
        if let Some(value) = object.get(key) {
            if canonical.len() > 1 {
                canonical.push(',');
            }
            canonical.push_str(&format!("\"{key}\":"));
            write_canonical(value, &mut canonical);
        }
    }
    canonical.push('}');
    Ok(Sha256::digest(canonical.as_bytes()).into())
}

/// Objects sorted by UTF-16 code units of their keys, no white space (RFC 8785 §3.2). Numbers keep serde_json's shortest form.
fn write_canonical(value: &serde_json::Value, out: &mut String) {
    use serde_json::Value;
    match value {
        Value::Object(object) => {
            let mut members: Vec<(&String, &Value)> = object.iter().collect();
            members.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            out.push('{');
            for (place, (key, member)) in members.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 => {
                out.push_str(&format!("{}", float as i64));
            }
            _ => out.push_str(&number.to_string()),
        },
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_hash_ignores_order_and_space_and_sees_every_word() {
        let one = br#"{"name":"t","inputSchema":{"b":1,"a":[1.0,2]},"execution":{"x":1}}"#;
        let same = br#"{ "inputSchema": {"a":[1, 2], "b":1}, "name":"t" }"#;
        let other = br#"{"name":"t","inputSchema":{"b":1,"a":[2,1]}}"#;
        assert_eq!(definition_hash(one).unwrap(), definition_hash(same).unwrap());
        assert_ne!(definition_hash(one).unwrap(), definition_hash(other).unwrap());
        assert!(definition_hash(b"[]").is_err());
    }
}
