//! A tool's JSON Schema, read for people: its arguments as rows, its types in words.
//!
//! Not a validator; the node validates before it sends anything. What must hold: a schema that refers to itself or nests for ever
//! still gives a bounded answer.

use serde_json::{Map, Value};

/// Deepest nesting shown or followed.
const DEPTH_MAX: usize = 5;
/// Longest chain of `$ref` followed.
const REFS_MAX: usize = 8;

/// One argument, nested ones with their dotted path.
#[derive(Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) required: bool,
    pub(crate) default: Option<String>,
    pub(crate) description: String,
}

/// A schema with the document its `$ref`s point into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema<'a> {
    root: &'a Value,
    here: &'a Value,
}

impl<'a> Schema<'a> {
    /// The whole document.
    pub(crate) fn new(root: &'a Value) -> Self {
        Self { root, here: root }.deref()
    }

    fn at(self, here: &'a Value) -> Self {
        Self { here, ..self }.deref()
    }

    /// Follows local references.
    fn deref(self) -> Self {
        let mut here = self.here;
        for _ in 0..REFS_MAX {
            let Some(pointer) = here.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#')) else {
                break;
            };
            let Some(target) = self.root.pointer(pointer) else { break };
            here = target;
        }
        Self { here, ..self }
    }

    /// The schema of a member; `None` when it is not declared.
    pub(crate) fn property(self, name: &str) -> Option<Self> {
        if let Some(property) = self.here.get("properties").and_then(|p| p.get(name)) {
            return Some(self.at(property));
        }
        self.branches().into_iter().find_map(|branch| {
            let property = branch.here.get("properties").and_then(|p| p.get(name))?;
            Some(self.at(property))
        })
    }

    /// The declared members.
    pub(crate) fn properties(self) -> impl Iterator<Item = (&'a String, Self)> {
        let members: Option<&Map<String, Value>> = self.here.get("properties").and_then(Value::as_object);
        members.into_iter().flatten().map(move |(name, property)| (name, self.at(property)))
    }

    /// Whether members besides the declared ones are refused.
    pub(crate) fn is_closed(self) -> bool {
        self.here.get("additionalProperties") == Some(&Value::Bool(false))
            && self.here.get("patternProperties").is_none()
    }

    /// The schema of array items.
    pub(crate) fn items(self) -> Option<Self> {
        let own = self.here.get("items").filter(|items| items.is_object()).map(|items| self.at(items));
        own.or_else(|| {
            self.branches().into_iter().find_map(|branch| branch.here.get("items").map(|items| self.at(items)))
        })
    }

    fn branches(self) -> Vec<Self> {
        ["anyOf", "oneOf", "allOf"]
            .iter()
            .filter_map(|word| self.here.get(word)?.as_array())
            .flatten()
            .map(|branch| self.at(branch))
            .collect()
    }

    /// Every JSON type the value may have; empty when anything goes.
    pub(crate) fn types(self) -> Vec<&'a str> {
        self.types_within(DEPTH_MAX)
    }

    fn types_within(self, depth: usize) -> Vec<&'a str> {
        let mut types: Vec<&str> = match self.here.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if types.is_empty() && depth > 0 {
            types = self.branches().into_iter().flat_map(|branch| branch.types_within(depth - 1)).collect();
        }
        if types.is_empty() {
            let values =
                self.here.get("enum").and_then(Value::as_array).into_iter().flatten().chain(self.here.get("const"));
            types = values.map(type_of).collect();
        }
        if types.is_empty() && self.here.get("properties").is_some() {
            types.push("object");
        }
        let mut seen = Vec::new();
        types.retain(|one| {
            !seen.contains(one) && {
                seen.push(*one);
                true
            }
        });
        types
    }

    /// The type in words: `integer 1…10`, `[string]`, `"a" | "b"`.
    pub(crate) fn words(self) -> String {
        self.words_within(DEPTH_MAX)
    }

    fn words_within(self, depth: usize) -> String {
        if let Some(values) = self.here.get("enum").and_then(Value::as_array) {
            return values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
        }
        if let Some(value) = self.here.get("const") {
            return value.to_string();
        }
        let types = self.types_within(depth);
        let words: Vec<String> = types
            .iter()
            .map(|one| match *one {
                "array" => match self.items() {
                    Some(items) if depth > 0 => format!("[{}]", items.words_within(depth - 1)),
                    _ => "[any]".to_owned(),
                },
                other => format!("{other}{}", self.range()),
            })
            .collect();
        if words.is_empty() { "any".to_owned() } else { words.join(" | ") }
    }

    fn range(self) -> String {
        let bound = |inclusive: &str, exclusive: &str| {
            self.here.get(inclusive).or_else(|| self.here.get(exclusive)).map(ToString::to_string)
        };
        match (bound("minimum", "exclusiveMinimum"), bound("maximum", "exclusiveMaximum")) {
            (Some(low), Some(high)) => format!(" {low}…{high}"),
            (Some(low), None) => format!(" ≥ {low}"),
            (None, Some(high)) => format!(" ≤ {high}"),
            (None, None) => {
                self.here.get("format").and_then(Value::as_str).map(|f| format!(" ({f})")).unwrap_or_default()
            }
        }
    }

    fn required(self) -> Vec<&'a str> {
        self.here.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// All arguments as rows, required ones first on each level.
    pub(crate) fn fields(self) -> Vec<Field> {
        let mut fields = Vec::new();
        self.collect("", DEPTH_MAX, &mut fields);
        fields
    }

    fn collect(self, prefix: &str, depth: usize, fields: &mut Vec<Field>) {
        let required = self.required();
        let mut members: Vec<_> = self.properties().collect();
        members.sort_by_key(|(name, _)| !required.contains(&name.as_str()));
        for (name, member) in members {
            let path = format!("{prefix}{name}");
            fields.push(Field {
                kind: member.words(),
                required: required.contains(&name.as_str()),
                default: member.here.get("default").filter(|d| !d.is_null()).map(ToString::to_string),
                description: member.here.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
                path: path.clone(),
            });
            if depth > 0 {
                member.collect(&format!("{path}."), depth - 1, fields);
                if let Some(items) = member.items() {
                    items.collect(&format!("{path}[]."), depth - 1, fields);
                }
            }
        }
    }

    /// `key=value` words that satisfy the required arguments, for an example that runs.
    pub(crate) fn example(self) -> Vec<String> {
        let required = self.required();
        self.properties()
            .filter(|(name, _)| required.contains(&name.as_str()))
            .map(|(name, member)| format!("{name}={}", member.sample()))
            .collect()
    }

    fn sample(self) -> String {
        let listed = |key: &str| self.here.get(key).and_then(Value::as_array).and_then(|values| values.first());
        let given = self
            .here
            .get("const")
            .or_else(|| self.here.get("default"))
            .or_else(|| listed("examples"))
            .or_else(|| listed("enum"));
        match given {
            Some(Value::String(text)) => return text.clone(),
            Some(Value::Null) | None => {}
            Some(value) => return value.to_string(),
        }
        match self.types().first().copied() {
            Some("integer" | "number") => self.here.get("minimum").map_or_else(|| "1".to_owned(), ToString::to_string),
            Some("boolean") => "true".to_owned(),
            Some("array") => self.items().map_or_else(|| "x".to_owned(), Self::sample),
            Some("object") => "{}".to_owned(),
            _ => "text".to_owned(),
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_become_rows_required_first() {
        let schema = json!({"type": "object", "required": ["city"], "properties": {
            "days": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
            "city": {"type": "string", "description": "City name"},
            "opts": {"$ref": "#/$defs/Opts"},
            "tags": {"type": ["array", "null"], "items": {"enum": ["a", "b"]}}},
            "$defs": {"Opts": {"type": "object", "properties": {"deep": {"type": "boolean"}, "again": {"$ref": "#/$defs/Opts"}}}}});
        let fields = Schema::new(&schema).fields();
        let rows: Vec<String> = fields.iter().take(5).map(|f| format!("{} {}", f.path, f.kind)).collect();
        assert_eq!(rows, ["city string", "days integer 1…10", "opts object", "opts.deep boolean", "opts.again object"]);
        assert_eq!(fields.last().map(|f| f.kind.as_str()), Some("[\"a\" | \"b\"] | null"));
        assert!(fields[0].required && !fields[1].required && fields[1].default.as_deref() == Some("3"));
        assert!(fields.len() < 30, "a schema that refers to itself is cut");
    }

    #[test]
    fn an_example_satisfies_what_is_required() {
        let schema = json!({"required": ["q", "n", "mode"], "properties": {
            "q": {"type": "string"}, "n": {"type": "integer", "minimum": 2}, "mode": {"enum": ["fast", "slow"]}, "x": {}}});
        assert_eq!(Schema::new(&schema).example(), ["q=text", "n=2", "mode=fast"]);
    }
}
