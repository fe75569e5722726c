//! Arguments that travel as HTTP headers too: which annotations of a tool's schema (`x-mcp-header`) are taken.
//!
//! It sends nothing; rmcp mirrors towards a server, `mcp::headers` compares what clients mirror towards us. Both follow what a
//! stranger's schema says, and so do the clients that are shown it, whatever the server behind it speaks: a tool with an annotation
//! that could forge a line, stand for another argument or pass for a credential is left out as a whole. What must always hold:
//! what is let through here is a header's name and nothing more. Source: MCP 2026-07-28, "Streamable HTTP", parameter headers.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

const ANNOTATION: &str = "x-mcp-header";
/// Whole names, and parts of names, of headers that carry or steer trust. A gateway that strips prefixes, or a log that hides
/// known names, must not meet them as `Mcp-Param-…`.
const CREDENTIALS: [&str; 9] =
    ["authorization", "authentication", "cookie", "api-key", "apikey", "token", "secret", "password", "credential"];
const STEERING: [&str; 5] = ["proxy-", "x-forwarded-", "forwarded", "host", "sec-"];
/// Characters of a name; far above any real one.
const NAME_CHARS_MAX: usize = 64;

/// Why a tool is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MirrorError {
    /// Where no value can be taken from.
    #[error("x-mcp-header stands outside of the properties of its inputSchema")]
    Place,
    /// Not text.
    #[error("the x-mcp-header of `{property}` is not a text")]
    Type {
        /// The annotated property.
        property: String,
    },
    /// No token of RFC 9110, empty or too long.
    #[error("the x-mcp-header of `{property}` is not a header name of 1 to {NAME_CHARS_MAX} characters")]
    Name {
        /// The annotated property.
        property: String,
    },
    /// Named like something that is trusted.
    #[error("the x-mcp-header of `{property}` is named like a credential or a proxy's header: `{name}`")]
    Credential {
        /// The annotated property.
        property: String,
        /// The name.
        name: String,
    },
    /// Two arguments, one header.
    #[error("the x-mcp-header of `{property}` is there twice: `{name}`")]
    Twice {
        /// The annotated property.
        property: String,
        /// The name.
        name: String,
    },
    /// Objects and lists have no header form; numbers with a fraction have several.
    #[error("`{property}` has an x-mcp-header and is not a string, an integer or a boolean")]
    Value {
        /// The annotated property.
        property: String,
    },
}

/// Checks the annotations of a tool, given as its raw JSON. A tool without any passes.
///
/// # Errors
/// The first rule that is broken.
pub fn check_mirror(tool: &[u8]) -> Result<(), MirrorError> {
    // Few tools have one and lists are long. A name spelt with escapes is the same name to whoever reads it.
    if !has(tool, ANNOTATION.as_bytes()) && !has(tool, br"\u") {
        return Ok(());
    }
    let Ok(tool) = serde_json::from_slice::<Value>(tool) else { return Ok(()) };
    match tool.get("inputSchema") {
        Some(Value::Object(schema)) => check_schema(schema),
        _ => Ok(()),
    }
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn check_schema(schema: &Map<String, Value>) -> Result<(), MirrorError> {
    if schema.contains_key(ANNOTATION) {
        return Err(MirrorError::Place);
    }
    let mut names = BTreeSet::new();
    check_members(schema, "", &mut names)
}

/// `place` is the dotted path of the properties that lead here.
fn check_members(schema: &Map<String, Value>, place: &str, names: &mut BTreeSet<String>) -> Result<(), MirrorError> {
    for (keyword, value) in schema {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    let property_place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                    let Value::Object(property) = property else { continue };
                    check_property(property, &property_place, names)?;
                    check_members(property, &property_place, names)?;
                }
            }
            // Data, not rules.
            ("default" | "const" | "enum" | "examples" | ANNOTATION, _) => {}
            (_, value) if is_annotated(value) => return Err(MirrorError::Place),
            _ => {}
        }
    }
    Ok(())
}

fn check_property(schema: &Map<String, Value>, place: &str, names: &mut BTreeSet<String>) -> Result<(), MirrorError> {
    let property = || place.to_owned();
    let Some(annotation) = schema.get(ANNOTATION) else { return Ok(()) };
    let Value::String(name) = annotation else { return Err(MirrorError::Type { property: property() }) };
    if name.len() > NAME_CHARS_MAX || http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(MirrorError::Name { property: property() });
    }
    let folded = name.to_ascii_lowercase();
    if is_trusted(&folded) {
        return Err(MirrorError::Credential { property: property(), name: name.clone() });
    }
    if !names.insert(folded) {
        return Err(MirrorError::Twice { property: property(), name: name.clone() });
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string" | "integer" | "boolean") => Ok(()),
        _ => Err(MirrorError::Value { property: property() }),
    }
}

/// `X_Api_Key` and `x-api-key` are the same to whoever turns headers into variables.
fn is_trusted(folded: &str) -> bool {
    let name = folded.replace('_', "-");
    CREDENTIALS.iter().any(|part| name.contains(part)) || STEERING.iter().any(|start| name.starts_with(start))
}

/// Whether an annotation stands anywhere below.
fn is_annotated(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.iter().any(|(name, member)| name == ANNOTATION && !member.is_object() || is_annotated(member))
        }
        Value::Array(items) => items.iter().any(is_annotated),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: Value) -> Result<(), MirrorError> {
        check_mirror(json!({"name": "t", "inputSchema": schema}).to_string().as_bytes())
    }

    fn named(name: &str) -> Result<(), MirrorError> {
        check(json!({"properties": {"p": {"type": "string", "x-mcp-header": name}}}))
    }

    #[test]
    fn a_name_is_a_token_and_nothing_more() {
        for good in ["Region", "x-tenant", "a", "Shard_9", "traceparent"] {
            assert_eq!(named(good), Ok(()), "{good}");
        }
        let long = "x".repeat(NAME_CHARS_MAX + 1);
        assert_eq!(named(&long[1..]), Ok(()));
        for bad in ["", " ", "a b", "a:b", "a\r\nSet-Cookie: x", "a\n", "a\0", "é", "a\"b", "(a)", long.as_str()] {
            assert_eq!(named(bad), Err(MirrorError::Name { property: "p".into() }), "{bad:?}");
        }
        assert_eq!(
            check(json!({"properties": {"p": {"type": "string", "x-mcp-header": 1}}})),
            Err(MirrorError::Type { property: "p".into() })
        );
    }

    #[test]
    fn nothing_is_named_like_a_credential() {
        for bad in [
            "Authorization",
            "AUTHORIZATION",
            "Proxy-Authorization",
            "Cookie",
            "Set-Cookie",
            "X-Api-Key",
            "X_API_KEY",
            "apikey",
            "X-Auth-Token",
            "Proxy-Connection",
            "X-Forwarded-For",
            "Forwarded",
            "Host",
            "Sec-Fetch-Site",
            "Client-Secret",
            "Password",
            "X-Amz-Security-Token",
        ] {
            assert!(matches!(named(bad), Err(MirrorError::Credential { .. })), "{bad}");
        }
    }

    #[test]
    fn an_annotation_stands_on_a_plain_property_once() {
        let text = json!({"type": "string", "x-mcp-header": "A"});
        assert_eq!(check(json!({"properties": {"o": {"type": "object", "properties": {"p": text}}}})), Ok(()));
        for place in [
            json!({"x-mcp-header": "A"}),
            json!({"properties": {"p": {"type": "array", "items": text}}}),
            json!({"allOf": [{"properties": {"p": text}}]}),
            json!({"$defs": {"x": text}}),
            json!({"patternProperties": {"^a": text}}),
            json!({"additionalProperties": text}),
        ] {
            assert_eq!(check(place.clone()), Err(MirrorError::Place), "{place}");
        }
        let twice = json!({"properties": {"p": text, "q": {"type": "string", "x-mcp-header": "a"}}});
        assert_eq!(check(twice), Err(MirrorError::Twice { property: "q".into(), name: "a".into() }));
        for kind in [json!("number"), json!("object"), json!("array"), json!(["string", "null"]), Value::Null] {
            let odd = json!({"properties": {"o": {"properties": {"p": {"type": kind, "x-mcp-header": "A"}}}}});
            assert_eq!(check(odd), Err(MirrorError::Value { property: "o.p".into() }), "{kind}");
        }
    }

    #[test]
    fn a_property_of_that_name_and_data_are_no_annotations() {
        assert_eq!(check(json!({"properties": {"x-mcp-header": {"type": "string"}}})), Ok(()));
        assert_eq!(check(json!({"properties": {"p": {"default": {"x-mcp-header": "Cookie"}}}})), Ok(()));
        assert_eq!(check_mirror(b"{"), Ok(()), "what is no tool is somebody else's to refuse");
        assert_eq!(check_mirror(br#"{"name":"t"}"#), Ok(()));
    }

    #[test]
    fn an_escaped_spelling_is_the_same_annotation() {
        let tool = br#"{"name":"t","inputSchema":{"properties":{"p":{"type":"string","\u0078-mcp-header":"Cookie"}}}}"#;
        assert!(matches!(check_mirror(tool), Err(MirrorError::Credential { .. })));
    }
}
