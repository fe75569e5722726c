//! Arguments against the tool's schema, before anything is sent. Where they cannot be checked within bounds (`schema`) they are
//! not, which is said: the upstream is the judge then, as it always is in the end. References are never fetched.

use std::sync::Arc;

use aop_proto::error::{Kind, Problem};
use jsonschema::{PatternOptions, Validator};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::example::example;
use super::expected::expectation;
use super::schema::{ARGUMENTS_DEPTH_MAX, Extent, PATTERN_COMPILED_BYTES_MAX, SCHEMA_BYTES_MAX, Shape, Unfit};
use crate::answers::Memo;

/// Bytes of an example that stands in a sentence.
const EXAMPLE_BYTES_MAX: usize = 200;

/// Compiled schemas, by the definition's hash.
#[derive(Clone, Default)]
pub struct Schemas(Memo<Arc<Result<Compiled, Unfit>>>);

/// A schema that keeps the bounds.
struct Compiled {
    validator: Validator,
    shape: Shape,
}

/// What is known of arguments that may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// They fit.
    Fit,
    /// Nobody here knows, and why.
    Unknown(String),
}

#[derive(Deserialize)]
struct Definition<'a> {
    #[serde(rename = "inputSchema", borrow)]
    schema: Option<&'a RawValue>,
}

impl Schemas {
    /// Checks `arguments`, raw JSON or nothing, against the definition's `inputSchema`.
    ///
    /// # Errors
    /// `InvalidArguments`, with the place and the schema.
    pub fn check(&self, tool: &str, def_hash: &str, definition: &[u8], arguments: &[u8]) -> Result<Checked, Problem> {
        let refuse = |why: String| Problem::new(Kind::InvalidArguments, why);
        let arguments: Value = match arguments.is_empty() {
            true => json!({}),
            false => serde_json::from_slice(arguments)
                .map_err(|error| refuse(format!("the arguments are not JSON: {error}")))?,
        };
        if !arguments.is_object() {
            return Err(refuse("the arguments are not a JSON object".to_owned()));
        }
        let extent = Extent::of(&arguments);
        if extent.depth > ARGUMENTS_DEPTH_MAX {
            return Err(refuse(format!("the arguments are nested deeper than {ARGUMENTS_DEPTH_MAX}")));
        }
        let compiled = self.0.get_or_make(def_hash, || Arc::new(compile(definition)));
        let Compiled { validator, shape } = match compiled.as_ref() {
            Ok(compiled) => compiled,
            Err(unfit) => return Ok(Checked::Unknown(unfit.to_string())),
        };
        if !shape.allows(extent) {
            return Ok(Checked::Unknown(
                "checking so many arguments against its schema would take too long".to_owned(),
            ));
        }
        let Some(error) = validator.iter_errors(&arguments).next() else { return Ok(Checked::Fit) };
        let path = error.instance_path().to_string();
        let place = if path.is_empty() { String::new() } else { format!("`{path}` ") };
        let schema = schema_of(definition).unwrap_or_default();
        let fits = |example: &Value| shape.allows(Extent::of(example)) && validator.is_valid(example);
        let wrong = path.split('/').nth(1);
        let example = [example(&schema, wrong), example(&schema, None)].into_iter().flatten().find(fits);
        let short = example.as_ref().map(Value::to_string).filter(|text| text.len() <= EXAMPLE_BYTES_MAX);
        let such_as = short.map(|text| format!("; such as {text}")).unwrap_or_default();
        let (expected, found) = expectation(&schema, &error);
        let mut detail = json!({"path": path, "expected": expected.unwrap_or_else(|| error.to_string())});
        if let Some(found) = found {
            detail["found"] = found.into();
        }
        detail["example"] = example.unwrap_or_default();
        detail["schema"] = schema;
        Err(refuse(format!("arguments of `{tool}`: {place}{error}{such_as}"))
            .hint(format!("aop show {tool} --schema"))
            .detail(detail))
    }
}

fn schema_of(definition: &[u8]) -> Option<Value> {
    let definition: Definition<'_> = serde_json::from_slice(definition).ok()?;
    serde_json::from_str(definition.schema?.get()).ok()
}

fn compile(definition: &[u8]) -> Result<Compiled, Unfit> {
    let definition: Definition<'_> = serde_json::from_slice(definition).map_err(|_| Unfit::NotJson)?;
    let text = definition.schema.map_or("true", RawValue::get);
    if text.len() > SCHEMA_BYTES_MAX {
        return Err(Unfit::Bytes);
    }
    let schema: Value = serde_json::from_str(text).map_err(|_| Unfit::NotJson)?;
    let shape = Shape::of(&schema)?;
    // Without look-around and back references a pattern takes time in proportion to the text it looks at.
    let patterns =
        PatternOptions::regex().size_limit(PATTERN_COMPILED_BYTES_MAX).dfa_size_limit(PATTERN_COMPILED_BYTES_MAX);
    let validator = jsonschema::options().offline().with_pattern_options(patterns).build(&schema);
    let validator = validator.map_err(|error| Unfit::Compile(error.to_string().chars().take(200).collect()))?;
    Ok(Compiled { validator, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &Value, arguments: &str) -> Result<Checked, Problem> {
        let definition = json!({"name": "t", "inputSchema": schema}).to_string();
        Schemas::default().check("t.s.z", "h", definition.as_bytes(), arguments.as_bytes())
    }

    fn unknown(schema: &Value) -> String {
        match check(schema, "{}") {
            Ok(Checked::Unknown(why)) => why,
            other => panic!("{schema}: {other:?}"),
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_path_and_schema() {
        let sum = json!({"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]});
        assert_eq!(check(&sum, r#"{"a":1}"#), Ok(Checked::Fit));
        let problem = check(&sum, r#"{"a":"one"}"#).unwrap_err();
        assert_eq!(problem.kind, Kind::InvalidArguments);
        let detail = problem.detail.unwrap();
        assert_eq!((detail["path"].as_str(), detail["schema"]["type"].as_str()), (Some("/a"), Some("object")));
        assert_eq!((&detail["example"], problem.message.ends_with(r#"; such as {"a":1}"#)), (&json!({"a": 1}), true));
        let other = json!({"type": "object", "properties": {"b": {"type": "integer"}}});
        assert_eq!(
            check(&other, r#"{"b":"x"}"#).unwrap_err().detail.unwrap()["example"],
            json!({"b": 1}),
            "the wrong one is shown"
        );
        // What does not fit is no example.
        let odd = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^[0-9]+$"}}, "required": ["a"]});
        assert_eq!(check(&odd, "{}").unwrap_err().detail.unwrap()["example"], Value::Null);
        assert!(check(&sum, "").is_err() && check(&sum, "[1]").is_err() && check(&sum, "{").is_err());
    }

    #[test]
    fn a_schema_that_cannot_be_compiled_checks_nothing_and_says_so() {
        let big = json!({"type": "object", "description": "x".repeat(SCHEMA_BYTES_MAX)});
        assert!(unknown(&big).contains("65536 bytes"));
        let text = json!({"type": "object", "description": "x".repeat(SCHEMA_BYTES_MAX - 34)});
        assert_eq!((text.to_string().len(), check(&text, "{}")), (SCHEMA_BYTES_MAX, Ok(Checked::Fit)));
        assert!(unknown(&json!({"type": "nonsense"})).contains("cannot be compiled"));
        assert!(unknown(&json!({"$schema": "http://127.0.0.1:1/dialect"})).contains("cannot be compiled"));
        assert_eq!(check(&json!(true), r#"{"a":1}"#), Ok(Checked::Fit));
    }

    #[test]
    fn patterns_are_matched_in_linear_time_or_not_at_all() {
        let with = |pattern: &str| json!({"properties": {"a": {"pattern": pattern}}});
        assert!(check(&with("^a+$"), r#"{"a":"b"}"#).is_err());
        // A minute of backtracking for an engine that does it.
        let evil = format!(r#"{{"a":"{}!"}}"#, "a".repeat(1 << 16));
        assert!(check(&with("^(a+)+$"), &evil).is_err());
        for odd in ["(?=a)b", "(?!a)b", "(?<=a)b", r"(a)\1", "((a{1,100}){1,100}){1,100}", "("] {
            assert!(unknown(&with(odd)).contains("cannot be compiled"), "{odd}");
        }
        let key = json!({"patternProperties": {"^(?!a)": {"type": "string"}}});
        assert!(unknown(&key).contains("cannot be compiled"));
    }

    #[test]
    fn references_are_never_fetched() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        for schema in [
            json!({"$ref": format!("{base}/a")}),
            json!({"$schema": format!("{base}/dialect")}),
            json!({"$id": format!("{base}/s"), "properties": {"a": {"$ref": "other"}}}),
            json!({"$id": format!("{base}/s"), "$dynamicRef": "other"}),
            json!({"x-unknown": {"$ref": format!("{base}/b")}}),
            json!({"properties": {"a": {"allOf": [{"$ref": "file:///etc/passwd"}]}}}),
        ] {
            unknown(&schema);
        }
        assert!(listener.accept().is_err(), "somebody came to look");
    }

    #[test]
    fn arguments_are_bounded_in_depth() {
        let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth - 1), "}".repeat(depth - 1));
        assert_eq!(check(&json!({}), &nested(ARGUMENTS_DEPTH_MAX)), Ok(Checked::Fit));
        let problem = check(&json!({}), &nested(ARGUMENTS_DEPTH_MAX + 1)).unwrap_err();
        assert!(problem.message.contains("deeper than 64"), "{problem}");
        assert!(check(&json!({}), &nested(100_000)).is_err(), "also where the parser gives up");
    }

    #[test]
    fn what_would_take_too_long_is_not_checked_and_said() {
        let twice = json!({"properties": {"a": {"$ref": "#/$defs/x"}}});
        let bomb = json!({"$ref": "#/$defs/x", "$defs": {"x": {"anyOf": [twice, twice]}}});
        let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        assert_eq!(check(&bomb, &nested(4)), Ok(Checked::Fit));
        assert!(matches!(check(&bomb, &nested(50)), Ok(Checked::Unknown(_))));
        let unique = json!({"properties": {"a": {"uniqueItems": true}}});
        let many = |last: usize| json!({"a": (0..100_000).chain([last]).collect::<Vec<_>>()}).to_string();
        assert_eq!(check(&unique, &many(100_000)), Ok(Checked::Fit));
        assert!(check(&unique, &many(0)).is_err());
    }

    /// The deepest that the bounds let through, on a thread as small as any of a node's.
    #[test]
    fn the_deepest_check_leaves_the_stack_whole() {
        let deepest = || {
            // In place as far as one level may go, then one level down and around again.
            let chain = |links: usize| {
                (0..links)
                    .fold(json!({"properties": {"a": {"$ref": "#/$defs/x"}}}), |inner, _| json!({"allOf": [inner]}))
            };
            for links in 0..16 {
                let schema = json!({"$ref": "#/$defs/x", "$defs": {"x": chain(links)}});
                for depth in 1..ARGUMENTS_DEPTH_MAX {
                    let arguments = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
                    check(&schema, &arguments).unwrap();
                }
            }
        };
        std::thread::Builder::new().stack_size(2 << 20).spawn(deepest).unwrap().join().unwrap();
    }
}
