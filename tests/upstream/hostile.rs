//! The fuzz targets of `entry`, on stable, with the same inputs every time.

use crate::entry;

/// Inputs a target is given; together under a second or two in a debug build.
const INPUTS: u64 = 3_000;

fn inputs() -> impl Iterator<Item = Vec<u8>> {
    crate::support::inputs::inputs(INPUTS, 120)
}

#[test]
fn any_schema_and_any_arguments_are_judged_or_left_alone() {
    inputs().for_each(|bytes| entry::schema(&bytes));
    for text in
        ["{", "{}\n{}", "{}\n[", "{\"$ref\":\"#\"}\n{}", "{}\n{\"a\":1e999}", "{\"pattern\":\"(\"}", "{}\n\u{0}"]
    {
        entry::schema(text.as_bytes());
    }
}

#[test]
fn what_is_mirrored_is_a_name_and_never_a_credential() {
    inputs().for_each(|bytes| entry::mirror(&bytes));
    for header in ["Region", "Authorization", "a\\r\\nb", "\\u0043ookie", "é", ""] {
        let property = format!(r#"{{"type":"string","x-mcp-header":"{header}"}}"#);
        for schema in [property.clone(), format!(r#"{{"properties":{{"p":{property},"q":{property}}}}}"#)] {
            entry::mirror(format!(r#"{{"name":"t","inputSchema":{schema}}}"#).as_bytes());
            entry::mirror(format!(r#"{{"name":"t","inputSchema":{{"properties":{{"o":{schema}}}}}}}"#).as_bytes());
        }
    }
}
