//! Arguments against the tool's schema, before anything is sent. A schema that cannot be compiled checks nothing: the upstream is
//! the judge then. References are never fetched.

use std::sync::Arc;

use aop_proto::error::{Kind, Problem};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::answers::Memo;

/// Compiled schemas, by the definition's hash.
#[derive(Clone, Default)]
pub(super) struct Schemas(Memo<Option<Arc<Validator>>>);

impl Schemas {
    /// Checks `arguments`, raw JSON or nothing, against the definition's `inputSchema`.
    pub(super) fn check(&self, tool: &str, def_hash: &str, definition: &[u8], arguments: &[u8]) -> Result<(), Problem> {
        let arguments: Value = match arguments.is_empty() {
            true => json!({}),
            false => serde_json::from_slice(arguments).map_err(|error| {
                Problem::new(Kind::InvalidArguments, format!("the arguments are not JSON: {error}"))
            })?,
        };
        if !arguments.is_object() {
            return Err(Problem::new(Kind::InvalidArguments, "the arguments are not a JSON object"));
        }
        let schema = || -> Option<Value> {
            let definition: Value = serde_json::from_slice(definition).ok()?;
            definition.get("inputSchema").cloned()
        };
        let compiled = self.0.get_or_make(def_hash, || compile(&schema()?));
        let Some(validator) = compiled else { return Ok(()) };
        let Some(error) = validator.iter_errors(&arguments).next() else { return Ok(()) };
        let path = error.instance_path().to_string();
        let place = if path.is_empty() { String::new() } else { format!("`{path}` ") };
        Err(Problem::new(Kind::InvalidArguments, format!("arguments of `{tool}`: {place}{error}"))
            .hint(format!("aop show {tool} --schema"))
            .detail(json!({"path": path, "expected": error.to_string(), "schema": schema()})))
    }
}

fn compile(schema: &Value) -> Option<Arc<Validator>> {
    jsonschema::options().build(schema).ok().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &[u8] =
        br#"{"name":"sum","inputSchema":{"type":"object","properties":{"a":{"type":"number"}},"required":["a"]}}"#;

    fn check(arguments: &str) -> Result<(), Problem> {
        Schemas::default().check("sum.s.z", "h", SUM, arguments.as_bytes())
    }

    #[test]
    fn what_does_not_fit_is_refused_with_path_and_schema() {
        assert_eq!(check(r#"{"a":1}"#), Ok(()));
        let problem = check(r#"{"a":"one"}"#).unwrap_err();
        assert_eq!(problem.kind, Kind::InvalidArguments);
        let detail = problem.detail.unwrap();
        assert_eq!((detail["path"].as_str(), detail["schema"]["type"].as_str()), (Some("/a"), Some("object")));
        assert!(check("").is_err() && check("[1]").is_err() && check("{").is_err());
    }

    #[test]
    fn a_schema_that_cannot_be_compiled_checks_nothing() {
        let odd = br#"{"name":"x","inputSchema":{"$ref":"http://127.0.0.1:1/never-fetched"}}"#;
        assert_eq!(Schemas::default().check("x.s.z", "h2", odd, b"{}"), Ok(()));
    }
}
