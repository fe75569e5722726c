//! A stranger's JSON Schema, measured before it is compiled: what it may cost is known before anything is spent on it.
//!
//! It is not a validator: `jsonschema` is, once [`Shape::of`] has agreed, with its linear engine for patterns and nothing to
//! fetch references with. What must always hold: no schema and no arguments make this node work longer than [`WORK_MAX`] or nest
//! deeper than its stack, and nothing is connected to because a schema says so.

use serde_json::{Map, Value};

/// Text of a schema, bytes: as much as a record can hold.
pub(super) const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// JSON inside JSON. The deepest of 9,020 real schemas has 10.
pub(super) const SCHEMA_DEPTH_MAX: usize = 32;
/// JSON values of any kind. The largest of 9,020 real schemas has 231.
pub(super) const SCHEMA_NODES_MAX: usize = 2_000;
/// The same with every reference written out, where it is applied.
pub(super) const EXPANDED_NODES_MAX: usize = 10_000;
/// Nesting with every reference written out.
pub(super) const EXPANDED_DEPTH_MAX: usize = 64;
/// Text of one pattern, bytes.
pub(super) const PATTERN_BYTES_MAX: usize = 512;
/// One pattern compiled, bytes.
pub(super) const PATTERN_COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// JSON inside JSON in arguments.
pub(super) const ARGUMENTS_DEPTH_MAX: usize = 64;
/// Rules applied to values, and bytes of text looked at by patterns, in one check; under a second's work at worst.
pub(super) const WORK_MAX: u64 = 1 << 25;
/// Rules inside one another while a recursive schema walks down the arguments; what a thread's stack of 2 MiB can hold.
pub(super) const NESTING_MAX: usize = 256;
/// What follows from `unevaluated…` looks at everything beside it again.
const UNEVALUATED_FACTOR: usize = 4;

/// Why a schema is not compiled. The tool can be called all the same; its server is then the only judge of the arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("its schema has more than {SCHEMA_BYTES_MAX} bytes")]
    Bytes,
    #[error("its schema is nested deeper than {SCHEMA_DEPTH_MAX}")]
    Depth,
    #[error("its schema has more than {SCHEMA_NODES_MAX} parts")]
    Nodes,
    #[error(
        "its schema has more than {EXPANDED_NODES_MAX} parts, or is nested deeper than {EXPANDED_DEPTH_MAX}, when its references are written out"
    )]
    Expands,
    #[error(
        "its schema refers to `{0}`; only references into the schema itself (`#/…`) are followed, none are fetched"
    )]
    Elsewhere(String),
    #[error("its schema refers to `{0}`, which is not there")]
    Nowhere(String),
    #[error("its schema refers to itself without going anywhere: `{0}`")]
    Circle(String),
    #[error("its schema uses `{0}`, which is not understood here")]
    Keyword(String),
    #[error("its schema has a pattern of more than {PATTERN_BYTES_MAX} bytes")]
    Pattern,
    #[error("its schema cannot be compiled: {0}")]
    Compile(String),
    #[error("its schema is not JSON")]
    NotJson,
}

/// How much a schema does to one value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shape {
    /// Parts, references written out, cut where a reference leads back to where it came from.
    expanded: usize,
    depth: usize,
    patterns: usize,
    /// References that lead back: so many copies of the whole look at the next part of the arguments.
    returns: usize,
    /// Levels of the arguments between a part and its copy, at least.
    stride: usize,
}

/// How much there is to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    values: u64,
    text_bytes: u64,
    pub(super) depth: usize,
}

impl Extent {
    pub(super) fn of(value: &Value) -> Self {
        let mut extent = Self::default();
        extent.add(value, 1);
        extent
    }

    fn add(&mut self, value: &Value, depth: usize) {
        self.values += 1;
        self.depth = self.depth.max(depth);
        match value {
            Value::String(text) => self.text_bytes += text.len() as u64,
            Value::Array(items) => items.iter().for_each(|item| self.add(item, depth + 1)),
            Value::Object(members) => {
                for (name, member) in members {
                    self.text_bytes += name.len() as u64;
                    self.add(member, depth + 1);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

impl Shape {
    /// Measures a schema.
    ///
    /// # Errors
    /// The first bound that it does not keep.
    pub(super) fn of(schema: &Value) -> Result<Self, Unfit> {
        measure(schema)?;
        let mut walk =
            Walk { root: schema, open: vec![(schema, 0)], shape: Self { stride: usize::MAX, ..Self::default() } };
        walk.part(schema, At { depth: 1, level: 0 })?;
        Ok(walk.shape)
    }

    /// Whether arguments of this extent are checked within the bounds, whatever they are.
    pub(super) fn allows(&self, arguments: Extent) -> bool {
        let returns = arguments.depth / self.stride.max(1);
        if self.depth.saturating_mul(returns + 1) > NESTING_MAX {
            return false;
        }
        let copies = (self.returns.max(1) as u64).saturating_pow(u32::try_from(returns).unwrap_or(u32::MAX));
        let rules = arguments.values.saturating_mul(self.expanded as u64);
        let text = arguments.text_bytes.saturating_mul(self.patterns as u64);
        rules.saturating_add(text).saturating_mul(copies) <= WORK_MAX
    }
}

/// The bounds of the text as it stands.
fn measure(schema: &Value) -> Result<(), Unfit> {
    let mut nodes = 0;
    let mut open = vec![(schema, 1)];
    while let Some((value, depth)) = open.pop() {
        nodes += 1;
        if nodes > SCHEMA_NODES_MAX {
            return Err(Unfit::Nodes);
        }
        if depth > SCHEMA_DEPTH_MAX {
            return Err(Unfit::Depth);
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => open.extend(members.values().map(|member| (member, depth + 1))),
            _ => {}
        }
    }
    Ok(())
}

/// Where a walk is: how deep in the schema written out, and how many levels down the arguments.
#[derive(Clone, Copy)]
struct At {
    depth: usize,
    level: usize,
}

impl At {
    /// Another rule for the same value.
    const fn beside(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    /// A rule for a part of the value.
    const fn below(self) -> Self {
        Self { depth: self.depth + 1, level: self.level + 1 }
    }
}

/// A schema read as a validator applies it. What it does not know it takes for a rule on the same value, which is the dearest.
struct Walk<'a> {
    root: &'a Value,
    /// Targets being written out, and the level at which each was begun.
    open: Vec<(&'a Value, usize)>,
    shape: Shape,
}

impl<'a> Walk<'a> {
    fn part(&mut self, schema: &'a Value, at: At) -> Result<(), Unfit> {
        self.spend(1)?;
        self.shape.depth = self.shape.depth.max(at.depth);
        if at.depth > EXPANDED_DEPTH_MAX {
            return Err(Unfit::Expands);
        }
        match schema {
            Value::Object(members) => self.rules(members, at),
            Value::Array(items) => items.iter().try_for_each(|item| self.part(item, at.beside())),
            _ => Ok(()),
        }
    }

    fn spend(&mut self, parts: usize) -> Result<(), Unfit> {
        self.shape.expanded = self.shape.expanded.saturating_add(parts);
        if self.shape.expanded > EXPANDED_NODES_MAX { Err(Unfit::Expands) } else { Ok(()) }
    }

    fn rules(&mut self, members: &'a Map<String, Value>, at: At) -> Result<(), Unfit> {
        let before = self.shape.expanded;
        for (keyword, value) in members {
            self.rule(keyword, value, at)?;
        }
        if members.keys().any(|keyword| keyword.starts_with("unevaluated")) {
            self.spend((self.shape.expanded - before).saturating_mul(UNEVALUATED_FACTOR))?;
        }
        Ok(())
    }

    fn rule(&mut self, keyword: &str, value: &'a Value, at: At) -> Result<(), Unfit> {
        match (keyword, value) {
            ("$ref", Value::String(target)) => self.reference(target, at),
            ("$dynamicRef" | "$recursiveRef" | "$anchor" | "$dynamicAnchor" | "$recursiveAnchor", _) => {
                Err(Unfit::Keyword(keyword.to_owned()))
            }
            // Another base for references begins here; the root's own base is where `#` leads anyway.
            ("$id" | "id", Value::String(_)) if at.depth > 1 => Err(Unfit::Keyword(keyword.to_owned())),
            // Applied only where something refers to it.
            ("$defs" | "definitions", _) => Ok(()),
            ("properties", Value::Object(named)) => named.values().try_for_each(|schema| self.part(schema, at.below())),
            ("patternProperties", Value::Object(named)) => named.iter().try_for_each(|(pattern, schema)| {
                self.pattern(pattern)?;
                self.part(schema, at.below())
            }),
            ("dependentSchemas" | "dependencies", Value::Object(named)) => {
                named.values().try_for_each(|schema| self.part(schema, at.beside()))
            }
            ("pattern", Value::String(pattern)) => self.pattern(pattern),
            // Data to compare with, not rules.
            ("const" | "enum" | "default" | "examples" | "required" | "type", data) => self.data(data),
            (
                "items"
                | "prefixItems"
                | "additionalItems"
                | "unevaluatedItems"
                | "contains"
                | "additionalProperties"
                | "unevaluatedProperties"
                | "propertyNames",
                _,
            ) => self.part(value, at.below()),
            _ => self.part(value, at.beside()),
        }
    }

    fn pattern(&mut self, pattern: &str) -> Result<(), Unfit> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(Unfit::Pattern);
        }
        self.shape.patterns += 1;
        self.spend(1)
    }

    fn data(&mut self, data: &Value) -> Result<(), Unfit> {
        self.spend(usize::try_from(Extent::of(data).values).unwrap_or(usize::MAX))
    }

    fn reference(&mut self, target: &str, at: At) -> Result<(), Unfit> {
        let pointer = target.strip_prefix('#').filter(|pointer| !pointer.contains('%'));
        let pointer = pointer.filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        let pointer = pointer.ok_or_else(|| Unfit::Elsewhere(short(target)))?;
        let schema = self.root.pointer(pointer).ok_or_else(|| Unfit::Nowhere(short(target)))?;
        let begun = self.open.iter().rfind(|(open, _)| std::ptr::eq(*open, schema)).map(|(_, level)| *level);
        match begun {
            Some(level) if level == at.level => Err(Unfit::Circle(short(target))),
            Some(level) => {
                self.shape.returns += 1;
                self.shape.stride = self.shape.stride.min(at.level - level);
                self.spend(1)
            }
            None => {
                self.open.push((schema, at.level));
                self.part(schema, at.beside())?;
                self.open.pop();
                Ok(())
            }
        }
    }
}

/// A reference as it is quoted.
fn short(target: &str) -> String {
    const CHARS_MAX: usize = 100;
    target.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expands(schema: &Value) -> Result<usize, Unfit> {
        Shape::of(schema).map(|shape| shape.expanded)
    }

    /// `{"not": {"not": … {} }}`, `depth` objects in one another.
    fn nested(depth: usize) -> Value {
        (1..depth).fold(json!({}), |inner, _| json!({"not": inner}))
    }

    #[test]
    fn each_bound_holds_at_its_limit_and_not_past_it() {
        assert!(expands(&nested(SCHEMA_DEPTH_MAX)).is_ok());
        assert_eq!(expands(&nested(SCHEMA_DEPTH_MAX + 1)), Err(Unfit::Depth));
        let wide = |nodes: usize| json!({"allOf": vec![json!(true); nodes - 2]});
        assert!(expands(&wide(SCHEMA_NODES_MAX)).is_ok());
        assert_eq!(expands(&wide(SCHEMA_NODES_MAX + 1)), Err(Unfit::Nodes));
        let pattern = |bytes: usize| json!({"pattern": "x".repeat(bytes)});
        assert!(expands(&pattern(PATTERN_BYTES_MAX)).is_ok());
        assert_eq!(expands(&pattern(PATTERN_BYTES_MAX + 1)), Err(Unfit::Pattern));
        let key = "x".repeat(PATTERN_BYTES_MAX + 1);
        assert_eq!(expands(&json!({"patternProperties": {key: {}}})), Err(Unfit::Pattern));
    }

    /// A chain of definitions, each of which names the next one twice: two lines of text a step, twice the work a step.
    fn doubling(steps: usize) -> Value {
        let mut defs = Map::new();
        for step in 0..steps {
            let next = json!({"$ref": format!("#/$defs/d{}", step + 1)});
            defs.insert(format!("d{step}"), json!({"allOf": [next, next]}));
        }
        defs.insert(format!("d{steps}"), json!({"type": "string"}));
        json!({"$defs": defs, "$ref": "#/$defs/d0"})
    }

    #[test]
    fn a_schema_that_doubles_at_every_step_is_refused_before_it_is_compiled() {
        assert!(expands(&doubling(3)).is_ok_and(|parts| parts > 2 << 3));
        assert_eq!(expands(&doubling(30)), Err(Unfit::Expands));
        for keyword in ["anyOf", "oneOf", "not", "if", "items", "properties", "unknown"] {
            let mut bomb = doubling(30);
            bomb["$ref"] = json!(null);
            bomb[keyword] = json!({"a": {"$ref": "#/$defs/d0"}});
            assert_eq!(expands(&bomb), Err(Unfit::Expands), "{keyword}");
        }
    }

    #[test]
    fn a_long_chain_of_references_does_not_reach_the_bottom_of_the_stack() {
        let chain = |links: usize| {
            let link = |at: usize| (format!("d{at}"), json!({"$ref": format!("#/$defs/d{}", at + 1)}));
            let mut defs: Map<String, Value> = (0..links).map(link).collect();
            defs.insert(format!("d{links}"), json!(true));
            json!({"$defs": defs, "$ref": "#/$defs/d0"})
        };
        assert!(expands(&chain(EXPANDED_DEPTH_MAX - 2)).is_ok());
        assert_eq!(expands(&chain(EXPANDED_DEPTH_MAX - 1)), Err(Unfit::Expands));
        assert_eq!(expands(&chain(600)), Err(Unfit::Expands));
    }

    #[test]
    fn references_lead_into_the_schema_and_somewhere() {
        for elsewhere in
            ["http://127.0.0.1:1/x", "file:///etc/passwd", "other.json", "#anchor", "//h/x", "#/%24defs/a", ""]
        {
            assert_eq!(expands(&json!({"$ref": elsewhere})), Err(Unfit::Elsewhere(elsewhere.to_owned())));
        }
        assert_eq!(expands(&json!({"$ref": "#/$defs/gone"})), Err(Unfit::Nowhere("#/$defs/gone".to_owned())));
        for circle in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"not": {"$ref": "#/not"}}),
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
        ] {
            assert!(matches!(expands(&circle), Err(Unfit::Circle(_))), "{circle}");
        }
        for odd in ["$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor"] {
            assert_eq!(expands(&json!({"items": {odd: "#x"}})), Err(Unfit::Keyword(odd.to_owned())));
        }
        assert!(expands(&json!({"$id": "https://example.com/s"})).is_ok());
        assert!(expands(&json!({"items": {"$id": "https://example.com/s"}})).is_err());
        let names = json!({"properties": {"$ref": {"type": "string"}, "default": {"type": "string"}, "id": {}}});
        assert!(expands(&names).is_ok(), "properties may be called anything");
        assert!(
            expands(&json!({"default": {"$ref": "http://x/"}, "enum": [{"$ref": "#"}]})).is_ok(),
            "data is no rule"
        );
        let hidden = json!({"properties": {"default": {"$ref": "http://x/"}}});
        assert!(expands(&hidden).is_err(), "a property called `default` has rules");
    }

    #[test]
    fn a_recursive_schema_is_asked_for_as_deep_as_its_copies_allow() {
        let depth = |depth: usize| Extent { values: 50, text_bytes: 0, depth };
        let list = Shape::of(&json!({"properties": {"next": {"$ref": "#"}}})).expect("a list");
        assert_eq!((list.returns, list.stride), (1, 1));
        assert!(list.allows(depth(ARGUMENTS_DEPTH_MAX)));
        // Every level is looked at twice as often as the one above it.
        let twice = json!({"properties": {"a": {"$ref": "#"}}});
        let bomb = Shape::of(&json!({"$ref": "#/$defs/x", "$defs": {"x": {"anyOf": [
            {"properties": {"a": {"$ref": "#/$defs/x"}}}, {"properties": {"a": {"$ref": "#/$defs/x"}}}
        ]}}}))
        .expect("small");
        assert_eq!((bomb.returns, bomb.stride), (2, 1));
        assert!(bomb.allows(depth(8)) && !bomb.allows(depth(40)));
        assert!(Shape::of(&twice).is_ok());
        let filter = json!({"properties": {"and": {"items": {"$ref": "#"}}, "or": {"items": {"$ref": "#"}}}});
        assert_eq!(Shape::of(&filter).map(|shape| (shape.returns, shape.stride)), Ok((2, 2)));
    }

    #[test]
    fn work_is_rules_by_values_and_patterns_by_text() {
        let shape = Shape { expanded: 1 << 10, depth: 3, patterns: 2, returns: 0, stride: usize::MAX };
        let extent = |values, text_bytes| Extent { values, text_bytes, depth: 3 };
        assert!(shape.allows(extent(1 << 15, 0)) && !shape.allows(extent((1 << 15) + 1, 0)));
        assert!(shape.allows(extent(0, 1 << 24)) && !shape.allows(extent(0, (1 << 24) + 1)));
    }

    #[test]
    fn nested_unevaluated_members_cost_what_they_cost() {
        let level = |inner: Value| json!({"allOf": [inner], "unevaluatedProperties": false});
        assert!(expands(&level(json!({"type": "object"}))).is_ok());
        let nested = (0..12).fold(json!({"type": "object"}), |inner, _| level(inner));
        assert_eq!(expands(&nested), Err(Unfit::Expands));
    }

    #[test]
    fn an_extent_counts_values_text_and_depth() {
        assert_eq!(Extent::of(&json!({"ab": ["cde", 1]})), Extent { values: 4, text_bytes: 5, depth: 3 });
    }
}
