//! An example of arguments that a schema wants: the least that is required, with what the schema itself names wherever it does.
//!
//! A schema is a stranger's text, so an example has bounds, and is shown only where it fits the schema.

use serde_json::{Map, Value, json};

/// Objects and lists inside each other.
const DEPTH_MAX: usize = 5;
/// Values altogether.
const VALUES_MAX: usize = 64;
/// Characters of a text, items of a list that a schema wants.
const LENGTH_MAX: u64 = 100;

/// Arguments that may fit, `shown` among them where the schema names it; whether they do is for whoever asks to see.
pub(super) fn example(schema: &Value, shown: Option<&str>) -> Option<Value> {
    let mut left = VALUES_MAX;
    let mut arguments = value(schema, DEPTH_MAX, &mut left)?;
    let member = shown.and_then(|name| Some((name, schema.get("properties")?.get(name)?)));
    if let (Some((name, member)), Some(given)) = (member, arguments.as_object_mut())
        && !given.contains_key(name)
    {
        given.insert(name.to_owned(), value(member, DEPTH_MAX, &mut left)?);
    }
    Some(arguments)
}

fn value(schema: &Value, depth: usize, left: &mut usize) -> Option<Value> {
    *left = left.checked_sub(1)?;
    let first = |list: &str| schema.get(list)?.as_array()?.first();
    if let Some(named) = schema.get("const").or_else(|| schema.get("default")) {
        return Some(named.clone());
    }
    if let Some(named) = first("examples").or_else(|| first("enum")) {
        return Some(named.clone());
    }
    if let Some(choice) = first("anyOf").or_else(|| first("oneOf")) {
        return value(choice, depth.checked_sub(1)?, left);
    }
    let of = schema.get("type");
    let of = of.and_then(Value::as_str).or_else(|| of?.as_array()?.first()?.as_str());
    let least = |key: &str| schema.get(key).and_then(Value::as_u64).unwrap_or(0);
    match of {
        Some("string") => {
            let most = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(LENGTH_MAX);
            let length = usize::try_from(least("minLength").max(4).min(most).min(LENGTH_MAX)).ok()?;
            Some("text".chars().cycle().take(length).collect::<String>().into())
        }
        Some("integer" | "number") => Some(number(schema)),
        Some("boolean") => Some(true.into()),
        Some("null") => Some(Value::Null),
        Some("array") => {
            let items = schema.get("items").cloned().unwrap_or_default();
            let inside = depth.checked_sub(1)?;
            (0..least("minItems").min(LENGTH_MAX)).map(|_| value(&items, inside, left)).collect::<Option<_>>()
        }
        _ => {
            let inside = depth.checked_sub(1)?;
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let named = required.filter_map(Value::as_str).map(|name| {
                let member = schema.get("properties").and_then(|all| all.get(name)).cloned().unwrap_or_default();
                Some((name.to_owned(), value(&member, inside, left)?))
            });
            Some(Value::Object(named.collect::<Option<Map<_, _>>>()?))
        }
    }
}

/// The least that may be, or one.
fn number(schema: &Value) -> Value {
    let bound = |key: &str| schema.get(key).filter(|bound| bound.is_number());
    if let Some(least) = bound("minimum").or_else(|| bound("maximum").filter(|most| most.as_f64() < Some(1.0))) {
        return least.clone();
    }
    bound("exclusiveMinimum").and_then(Value::as_i64).map_or_else(|| json!(1), |above| json!(above.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_has_what_is_required_as_the_schema_names_it() {
        let schema = json!({"type": "object", "required": ["city", "days", "unit", "tags", "at", "sure"], "properties": {
            "city": {"type": "string", "examples": ["Oslo"]}, "days": {"type": "integer", "minimum": 3}, "more": {"type": "string"},
            "unit": {"enum": ["c", "f"]}, "tags": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 6}},
            "at": {"anyOf": [{"type": "object", "required": ["x"], "properties": {"x": {"type": "number", "exclusiveMinimum": 4}}}]},
            "sure": {"type": ["boolean", "null"]}}});
        let wanted = json!({"city": "Oslo", "days": 3, "unit": "c", "tags": ["textte"], "at": {"x": 5}, "sure": true});
        assert_eq!(example(&schema, None), Some(wanted.clone()));
        let shown = example(&schema, Some("more")).unwrap();
        assert_eq!((&shown["more"], shown.as_object().map(Map::len)), (&json!("text"), Some(7)));
        assert_eq!(example(&schema, Some("none")), Some(wanted));
        assert_eq!(example(&json!({}), None), Some(json!({})));
    }

    #[test]
    fn a_schema_without_end_has_no_example() {
        let mut deep = json!({"type": "string"});
        for _ in 0..DEPTH_MAX + 1 {
            deep = json!({"type": "object", "required": ["a"], "properties": {"a": deep}});
        }
        assert_eq!(example(&deep, None), None);
        let names: Vec<String> = (0..VALUES_MAX).map(|number| number.to_string()).collect();
        assert_eq!(example(&json!({"required": names}), None), None);
        let long = example(&json!({"type": "string", "minLength": 1_u64 << 40}), None).unwrap();
        assert_eq!(long.as_str().map(str::len), Some(100));
    }
}
