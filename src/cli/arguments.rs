//! `key=value` words made into a tool's arguments, typed by its schema.
//!
//! Not validation: whether the whole fits the schema is the node's answer. What must hold: a word becomes the type the schema names
//! or an error that says which was expected; a string stays the string that was typed.

use aop_proto::error::{Kind, Problem, did_you_mean};
use serde_json::{Map, Number, Value, json};

use super::schema::Schema;

/// Builds the arguments of `tool`. `key:=JSON` takes the value as JSON whatever the schema says.
///
/// # Errors
/// `InvalidArguments` with the path and the expectation.
pub(crate) fn build(tool: &str, schema: &Value, words: &[String]) -> Result<Map<String, Value>, Problem> {
    let mut arguments = Map::new();
    for word in words {
        let Some((key, text)) = word.split_once('=').filter(|(key, _)| !key.trim_end_matches(':').is_empty()) else {
            let message = format!("`{word}` is not KEY=VALUE");
            return Err(Problem::new(Kind::Usage, message).hint(format!("aop call {tool} --args '{{}}'")));
        };
        let (key, forced) = key.strip_suffix(':').map_or((key, false), |key| (key, true));
        let (path, member) = locate(Schema::new(schema), key).map_err(|near| unknown(tool, key, near))?;
        let value = if forced {
            serde_json::from_str(text).map_err(|_| expected(tool, key, "JSON"))?
        } else {
            typed(member, text).map_err(|words| expected(tool, key, &words))?
        };
        place(&mut arguments, &path, value).map_err(|()| twice(tool, key))?;
    }
    Ok(arguments)
}

/// The path of a key and the schema of what is there. A member whose name has dots wins over nesting.
fn locate<'k, 's>(schema: Schema<'s>, key: &'k str) -> Result<(Vec<&'k str>, Option<Schema<'s>>), Vec<String>> {
    if let Some(member) = schema.property(key) {
        return Ok((vec![key], Some(member)));
    }
    let mut path = Vec::new();
    let mut here = Some(schema);
    let nested = key.split_once('.').is_some_and(|(head, rest)| !head.is_empty() && !rest.is_empty());
    if !nested {
        return if schema.is_closed() { Err(near(schema, key)) } else { Ok((vec![key], None)) };
    }
    for label in key.split('.') {
        path.push(label);
        here = match here {
            Some(schema) => match schema.property(label) {
                None if schema.is_closed() => return Err(near(schema, label)),
                found => found,
            },
            None => None,
        };
    }
    Ok((path, here))
}

fn near(schema: Schema<'_>, key: &str) -> Vec<String> {
    let names: Vec<&str> = schema.properties().map(|(name, _)| name.as_str()).collect();
    did_you_mean(key, names.into_iter())
}

/// The value a word stands for, or the type that was expected, in words.
fn typed(schema: Option<Schema<'_>>, text: &str) -> Result<Value, String> {
    let Some(schema) = schema else { return Ok(guessed(text)) };
    let types = schema.types();
    if types.is_empty() {
        return Ok(guessed(text));
    }
    // The strictest type first: "null" for a nullable string is null, "7" for string-or-integer is 7.
    for kind in ["null", "boolean", "integer", "number", "array", "object", "string"] {
        if !types.contains(&kind) {
            continue;
        }
        let value = match kind {
            "null" => (text == "null").then_some(Value::Null),
            "boolean" => text.parse().ok().map(Value::Bool),
            "integer" => integer(text),
            "number" => number(text),
            "array" => list(schema, text, &types),
            "object" => serde_json::from_str(text).ok().filter(Value::is_object),
            _ => Some(Value::from(text)),
        };
        if let Some(value) = value {
            return Ok(value);
        }
    }
    Err(schema.words())
}

/// Without a schema: JSON when it is JSON, else the text.
fn guessed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

fn integer(text: &str) -> Option<Value> {
    text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok()
}

fn number(text: &str) -> Option<Value> {
    text.parse::<Number>().map(Value::Number).ok()
}

/// `[…]` as JSON, or items separated by commas; a single word is a list only where nothing else fits.
fn list(schema: Schema<'_>, text: &str, types: &[&str]) -> Option<Value> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).ok().filter(Value::is_array);
    }
    if types.contains(&"string") && !text.contains(',') {
        return None;
    }
    if text.is_empty() {
        return Some(Value::Array(Vec::new()));
    }
    let items = schema.items();
    text.split(',').map(|item| typed(items, item.trim()).ok()).collect::<Option<Vec<_>>>().map(Value::Array)
}

/// Puts a value at its path; a list given twice grows, anything else given twice is an error.
fn place(arguments: &mut Map<String, Value>, path: &[&str], value: Value) -> Result<(), ()> {
    let (last, parents) = path.split_last().ok_or(())?;
    let mut here = arguments;
    for label in parents {
        here = here.entry(*label).or_insert_with(|| Value::Object(Map::new())).as_object_mut().ok_or(())?;
    }
    match (here.get_mut(*last), value) {
        (None, value) => {
            here.insert((*last).to_owned(), value);
            Ok(())
        }
        (Some(Value::Array(items)), Value::Array(more)) => {
            items.extend(more);
            Ok(())
        }
        (Some(_), _) => Err(()),
    }
}

fn expected(tool: &str, key: &str, words: &str) -> Problem {
    let article = if words.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    // A range or a format is said in the line below; the sentence needs the type.
    let kind = words.split(' ').next().filter(|kind| kind.chars().all(char::is_alphabetic) && !words.contains('|'));
    let message = if let Some(kind) = kind {
        format!("argument `{key}` is not {article} {kind}")
    } else {
        format!("argument `{key}` does not fit")
    };
    Problem::new(Kind::InvalidArguments, message)
        .detail(json!({"path": pointer(key), "expected": words}))
        .hint(format!("aop show {tool}"))
}

/// The key as the JSON pointer that validators name places with.
fn pointer(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1").replace('.', "/"))
}

fn unknown(tool: &str, key: &str, near: Vec<String>) -> Problem {
    Problem::new(Kind::InvalidArguments, format!("{tool} has no argument `{key}`"))
        .did_you_mean(near)
        .hint(format!("aop show {tool}"))
}

/// What is said of an argument that is there more than once.
pub(crate) fn twice(tool: &str, key: &str) -> Problem {
    Problem::new(Kind::InvalidArguments, format!("argument `{key}` is given twice")).hint(format!("aop show {tool}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": false, "properties": {
            "city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 10}, "ratio": {"type": "number"},
            "deep": {"type": "boolean"}, "ids": {"type": "array", "items": {"type": "integer"}}, "tags": {"type": "array", "items": {"type": "string"}},
            "note": {"type": ["string", "null"]}, "a.b": {"type": "integer"}, "free": {},
            "opts": {"type": "object", "properties": {"lang": {"type": "string"}, "max": {"$ref": "#/$defs/n"}}},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}, "$defs": {"n": {"type": "integer"}}})
    }

    fn build_of(words: &[&str]) -> Result<Value, Problem> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        build("t", &schema(), &words).map(Value::Object)
    }

    #[test]
    fn words_take_the_type_of_the_schema() {
        assert_eq!(
            build_of(&["city=12", "days=3", "ratio=1.5", "deep=true"]),
            Ok(json!({"city": "12", "days": 3, "ratio": 1.5, "deep": true}))
        );
        assert_eq!(build_of(&["city=a=b", "note=null"]), Ok(json!({"city": "a=b", "note": null})));
        assert_eq!(build_of(&["ids=1,2", "ids=3", "tags=x"]), Ok(json!({"ids": [1, 2, 3], "tags": ["x"]})));
        assert_eq!(build_of(&["tags=[\"a,b\"]", "ids="]), Ok(json!({"tags": ["a,b"], "ids": []})));
        assert_eq!(
            build_of(&["opts.lang=no", "opts.max=5", "a.b=1"]),
            Ok(json!({"opts": {"lang": "no", "max": 5}, "a.b": 1}))
        );
        assert_eq!(
            build_of(&["opts={\"lang\":\"en\"}", "free=[1]", "city:=7"]),
            Ok(json!({"opts": {"lang": "en"}, "free": [1], "city": 7}))
        );
        assert_eq!(build_of(&["either=7"]), Ok(json!({"either": 7})));
        assert_eq!(build_of(&["either=x7"]), Ok(json!({"either": "x7"})));
    }

    #[test]
    fn what_does_not_fit_says_what_was_expected() {
        let problem = build_of(&["days=soon"]).expect_err("not a number");
        assert_eq!(
            (problem.kind, problem.message.as_str()),
            (Kind::InvalidArguments, "argument `days` is not an integer")
        );
        assert_eq!(problem.detail, Some(json!({"path": "/days", "expected": "integer 1…10"})));
        assert_eq!(build_of(&["deep=maybe"]).expect_err("no").message, "argument `deep` is not a boolean");
        assert_eq!(build_of(&["cty=Oslo"]).expect_err("unknown").did_you_mean, ["city"]);
        assert_eq!(build_of(&["city=a", "city=b"]).expect_err("twice").message, "argument `city` is given twice");
        assert_eq!(build_of(&["city"]).expect_err("no value").kind, Kind::Usage);
        assert!(build_of(&["ids=1,x"]).is_err() && build_of(&["ratio=abc"]).is_err());
    }

    #[test]
    fn without_a_schema_json_is_json_and_the_rest_is_text() {
        let words: Vec<String> = ["n=1", "s=one", "o.k=true"].iter().map(|w| (*w).to_owned()).collect();
        assert_eq!(
            build("t", &Value::Null, &words).map(Value::Object),
            Ok(json!({"n": 1, "s": "one", "o": {"k": true}}))
        );
    }
}
