//! What a schema wanted where arguments do not fit it, and what it found, in words.
//!
//! A schema is a stranger's text: what is quoted of it is short. Where its rule cannot be told in words nothing is.

use jsonschema::ValidationError;
use serde_json::Value;

/// Characters quoted of a value.
const QUOTED_CHARS_MAX: usize = 100;
/// Values told of a list.
const CHOICES_MAX: usize = 10;

/// What was expected, and what was there where that says more.
pub(super) fn expectation(schema: &Value, error: &ValidationError<'_>) -> (Option<String>, Option<String>) {
    let place = error.schema_path().to_string();
    let rule = schema.pointer(&place).zip(place.rsplit('/').next());
    let expected = rule.and_then(|(rule, keyword)| expected(keyword, rule, error.instance()));
    let is_of_value = !matches!(rule, Some((_, "required" | "additionalProperties")));
    let found = is_of_value.then(|| quoted(error.instance()));
    (expected, found)
}

fn expected(keyword: &str, rule: &Value, found: &Value) -> Option<String> {
    let told = quoted(rule);
    Some(match keyword {
        "type" => either(rule.as_array().map_or(std::slice::from_ref(rule), Vec::as_slice).iter().map(kind)),
        "enum" => format!("one of {}", either(rule.as_array()?.iter().map(quoted))),
        "const" => told,
        "minimum" => format!("at least {told}"),
        "maximum" => format!("at most {told}"),
        "exclusiveMinimum" => format!("more than {told}"),
        "exclusiveMaximum" => format!("less than {told}"),
        "multipleOf" => format!("a multiple of {told}"),
        "minLength" => format!("a string of at least {told} characters"),
        "maxLength" => format!("a string of at most {told} characters"),
        "minItems" => format!("at least {told} items"),
        "maxItems" => format!("at most {told} items"),
        "uniqueItems" => "items that differ".to_owned(),
        "pattern" => format!("a string that matches {told}"),
        "format" => format!("a string of format {told}"),
        "required" => {
            let missing = rule.as_array()?.iter().filter_map(Value::as_str).find(|name| found.get(name).is_none())?;
            format!("an argument {}", quoted(&missing.into()))
        }
        _ => return None,
    })
}

fn kind(name: &Value) -> String {
    match name.as_str().unwrap_or_default() {
        "integer" => "an integer".to_owned(),
        "object" => "an object".to_owned(),
        "array" => "a list".to_owned(),
        "null" => "null".to_owned(),
        other => format!("a {}", cut(other)),
    }
}

fn either(mut all: impl Iterator<Item = String>) -> String {
    let told: Vec<String> = all.by_ref().take(CHOICES_MAX).collect();
    let more = if all.next().is_some() { ", …" } else { "" };
    match told.split_last() {
        Some((last, before)) if !before.is_empty() && more.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => format!("{}{more}", told.join(", ")),
    }
}

fn quoted(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    let short: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: &Value, arguments: &Value) -> (Option<String>, Option<String>) {
        let validator = jsonschema::validator_for(schema).expect("a schema");
        let error = validator.iter_errors(arguments).next().expect("it does not fit");
        expectation(schema, &error)
    }

    fn of(rule: &Value, value: Value) -> (String, String) {
        let (expected, found) = told(&json!({"properties": {"a": rule}}), &json!({"a": value}));
        (expected.unwrap_or_default(), found.unwrap_or_default())
    }

    #[test]
    fn rules_are_told_in_words_with_what_was_there() {
        let both = |expected: &str, found: &str| (expected.to_owned(), found.to_owned());
        assert_eq!(of(&json!({"type": "string"}), json!(5)), both("a string", "5"));
        assert_eq!(of(&json!({"type": ["integer", "null"]}), json!("x")), both("an integer or null", "\"x\""));
        assert_eq!(of(&json!({"enum": ["c", "f", "k"]}), json!("x")), both("one of \"c\", \"f\" or \"k\"", "\"x\""));
        assert_eq!(of(&json!({"maximum": 10}), json!(11)), both("at most 10", "11"));
        assert_eq!(of(&json!({"minLength": 2}), json!("x")), both("a string of at least 2 characters", "\"x\""));
        let (expected, found) = told(&json!({"required": ["a", "b"]}), &json!({"a": 1}));
        assert_eq!((expected.as_deref(), found), (Some("an argument \"b\""), None));
        // What has no words here.
        assert_eq!(of(&json!({"not": {"type": "string"}}), json!("x")).0, "");
        assert_eq!(of(&json!({"const": "y".repeat(1000)}), json!(1)).0.chars().count(), QUOTED_CHARS_MAX + 1);
    }
}
