//! What is fuzzed of the shell: any bytes in, and what must hold of what comes out. `tests/fuzz` calls the same functions with
//! coverage; here they run with fixed seeds (`hostile.rs`).

use aop::call::{Checked, Schemas};
use aop::upstream::check_mirror;
use serde_json::{Map, Value, json};

/// A schema and arguments, as text on two lines or as choices. It ends, without a panic, and a schema that allows everything
/// refuses nothing.
pub(crate) fn schema(bytes: &[u8]) {
    let (schema, arguments) = match bytes.first() {
        Some(b'{') => {
            let text = String::from_utf8_lossy(bytes);
            let (schema, arguments) = text.split_once('\n').unwrap_or((&text, "{}"));
            (schema.to_owned(), arguments.to_owned())
        }
        _ => {
            let mut choices = Choices(bytes);
            (choices.schema(0).to_string(), json!({"a": choices.value(0), "b": choices.value(0)}).to_string())
        }
    };
    let definition = format!(r#"{{"name":"t","inputSchema":{schema}}}"#);
    let schemas = Schemas::default();
    let first = schemas.check("t.s.z", "h", definition.as_bytes(), arguments.as_bytes());
    let again = schemas.check("t.s.z", "h", definition.as_bytes(), arguments.as_bytes());
    assert_eq!(first, again, "a compiled schema says the same twice");
    if schema == "{}" && arguments.starts_with("{}") {
        assert_eq!(first, Ok(Checked::Fit));
    }
}

/// A tool, as text or as choices. What is let through is a header's name, once, and nobody's credential.
pub(crate) fn mirror(bytes: &[u8]) {
    let tool = match bytes.first() {
        Some(b'{') => bytes.to_vec(),
        _ => json!({"name": "t", "inputSchema": Choices(bytes).schema(0)}).to_string().into_bytes(),
    };
    let Ok(()) = check_mirror(&tool) else { return };
    let Ok(tool) = serde_json::from_slice::<Value>(&tool) else { return };
    let mut names = Vec::new();
    mirrored(&tool["inputSchema"], &mut names);
    for name in &names {
        assert!(http_token(name), "{name:?} in {tool}");
        for credential in ["authorization", "cookie", "api-key", "proxy-auth"] {
            assert!(!name.to_ascii_lowercase().contains(credential), "{name:?} in {tool}");
        }
    }
    let count = names.len();
    names.iter_mut().for_each(|name| name.make_ascii_lowercase());
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "a header twice in {tool}");
}

/// The names a client would mirror, as MCP tells it to look for them.
fn mirrored(schema: &Value, names: &mut Vec<String>) {
    for property in schema["properties"].as_object().into_iter().flat_map(Map::values) {
        names.extend(property["x-mcp-header"].as_str().map(str::to_owned));
        mirrored(property, names);
    }
}

fn http_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Bytes read as choices, so that a few of them make a schema that nearly makes sense.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.next()) % all.len()]
    }

    fn schema(&mut self, depth: usize) -> Value {
        if depth > 8 || self.0.is_empty() {
            return self.one_of(&[true, false]).into();
        }
        let mut schema = Map::new();
        for _ in 0..=self.next() % 3 {
            let (keyword, value) = self.rule(depth + 1);
            schema.insert(keyword.to_owned(), value);
        }
        Value::Object(schema)
    }

    fn rule(&mut self, depth: usize) -> (&'static str, Value) {
        const NAMES: [&str; 4] = ["a", "b", "$ref", "x-mcp-header"];
        const REFERENCES: [&str; 8] =
            ["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/allOf/0", "#x", "http://h/", "#/a~1b"];
        const PATTERNS: [&str; 6] = ["^a+$", "(a+)+$", "(?=a)", "a{1,1000}{1,1000}", "[", r"\p{L}*"];
        const HEADERS: [&str; 6] = ["Region", "region", "Authorization", "a b", "a\r\nb", ""];
        const TYPES: [&str; 6] = ["object", "array", "string", "integer", "null", "odd"];
        match self.next() % 12 {
            0 => ("$ref", self.one_of(&REFERENCES).into()),
            1 => ("pattern", self.one_of(&PATTERNS).into()),
            2 => ("x-mcp-header", self.one_of(&HEADERS).into()),
            3 => ("type", self.one_of(&TYPES).into()),
            4 => (self.one_of(&["allOf", "anyOf", "oneOf"]), json!([self.schema(depth), self.schema(depth)])),
            5 => (self.one_of(&["not", "if", "then", "else", "contains", "propertyNames"]), self.schema(depth)),
            6 => (self.one_of(&["items", "additionalProperties", "unevaluatedProperties"]), self.schema(depth)),
            7 | 8 => (
                "properties",
                json!({self.one_of(&NAMES): self.schema(depth), self.one_of(&NAMES): self.schema(depth)}),
            ),
            9 => ("$defs", json!({"a": self.schema(depth), "b": self.schema(depth)})),
            10 => (self.one_of(&["enum", "const", "default", "required"]), self.value(depth)),
            _ => (self.one_of(&["uniqueItems", "minLength", "$id", "$dynamicRef", "$schema"]), self.value(depth)),
        }
    }

    fn value(&mut self, depth: usize) -> Value {
        if depth > 8 {
            return Value::Null;
        }
        match self.next() % 6 {
            0 => json!({"a": self.value(depth + 1)}),
            1 => json!([self.value(depth + 1), self.value(depth + 1)]),
            2 => "a".repeat(usize::from(self.next())).into(),
            3 => self.next().into(),
            4 => true.into(),
            _ => Value::Null,
        }
    }
}
