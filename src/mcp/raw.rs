//! JSON objects as the bytes somebody else wrote.
//!
//! A gateway that parses and writes again loses what its types do not know. So members are looked at and exchanged in place: every
//! byte that is not the exchanged value stays what it was, white space, order and unknown members included.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::upstream::is_disguised;

/// Members of one object: each is compared with all before it.
const MEMBERS_MAX: usize = 1024;

/// The members of one object, in order, values untouched. A name that appears twice is an error: two readers could see two
/// different objects. So are more than [`MEMBERS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads `text`, which has to be one JSON object.
    pub(super) fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| *value)
    }

    /// The member as text, if it is a string.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(text)
    }

    /// The first member that is none of `known` (ASCII names), but which a reader that does not tell cases apart takes for one.
    pub(super) fn disguised(&self, known: &[&str]) -> Option<&str> {
        self.iter().map(|(name, _)| name).find(|name| is_disguised(name, known))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format_args!("`{name}` appears twice")));
                    }
                    if members.len() == MEMBERS_MAX {
                        return Err(A::Error::custom(format_args!("more than {MEMBERS_MAX} members")));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A member's name, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A raw string value as text.
pub(super) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Name<'_>>(value.get()).ok().map(|name| name.0)
}

/// `object` with the value of `name` exchanged for `value` (JSON), or added in front where it is missing. `None` when `object` is
/// not an object.
pub(super) fn with_member(object: &str, name: &str, value: &str) -> Option<String> {
    let members = Members::read(object).ok()?;
    let mut out = String::with_capacity(object.len() + name.len() + value.len() + 4);
    if let Some(old) = members.get(name) {
        // The value borrows from `object`, so its place in it is the distance of the two addresses.
        let start = (old.get().as_ptr() as usize).checked_sub(object.as_ptr() as usize)?;
        out.push_str(object.get(..start)?);
        out.push_str(value);
        out.push_str(object.get(start + old.get().len()..)?);
    } else {
        let inside = object.find('{')? + 1;
        out.push_str(object.get(..inside)?);
        push_member(&mut out, name, value);
        if !members.0.is_empty() {
            out.push(',');
        }
        out.push_str(object.get(inside..)?);
    }
    Some(out)
}

/// Appends `"name":value`.
pub(super) fn push_member(out: &mut String, name: &str, value: &str) {
    out.push_str(&serde_json::Value::from(name).to_string());
    out.push(':');
    out.push_str(value);
}

/// JSON on one line. A line break can stand only between tokens, never inside a string, so a space in its place means the same.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(['\n', '\r']) { Cow::Owned(text.replace(['\n', '\r'], " ")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: &str = "{ \"x\" : 1.50,\n \"name\":\t\"ec\\u0068o\" , \"n\":{\"name\":\"inner\"}, \"é\":[1e400] }";

    #[test]
    fn only_the_exchanged_value_changes() {
        let spliced = with_member(TOOL, "name", "\"demo__echo\"").expect("object");
        assert_eq!(spliced, TOOL.replace("\"ec\\u0068o\"", "\"demo__echo\""));
    }

    #[test]
    fn a_missing_member_goes_in_front() {
        assert_eq!(with_member(" { \"a\":1}", "b", "2").as_deref(), Some(" {\"b\":2, \"a\":1}"));
        assert_eq!(with_member("{}", "b", "2").as_deref(), Some("{\"b\":2}"));
        assert_eq!(with_member("{ }", "b", "2").as_deref(), Some("{\"b\":2 }"));
    }

    #[test]
    fn so_many_members_are_compared_and_more_are_refused() {
        let of = |count: usize| {
            let members: Vec<String> = (0..count).map(|number| format!("\"{number}\":1")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Members::read(&of(MEMBERS_MAX)).is_ok());
        assert!(Members::read(&of(MEMBERS_MAX + 1)).is_err_and(|error| error.to_string().contains("1024")));
    }

    #[test]
    fn what_is_no_object_or_has_two_faces_is_refused() {
        for bad in ["[]", "1", "", "{", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "{} {}"] {
            assert!(with_member(bad, "b", "2").is_none(), "{bad}");
        }
    }

    #[test]
    fn members_are_seen_as_they_were_written() {
        let members = Members::read(TOOL).expect("object");
        assert_eq!(members.get("x").map(RawValue::get), Some("1.50"));
        assert_eq!(members.text("name").as_deref(), Some("echo"));
        assert_eq!(members.get("é").map(RawValue::get), Some("[1e400]"));
        assert_eq!(members.iter().count(), 4);
        assert!(members.text("x").is_none() && members.get("y").is_none());
    }

    #[test]
    fn a_name_in_other_cases_is_disguised() {
        for bad in
            ["Name", "NAME", "argument\u{17f}", "Argument\u{17f}", "progressTo\u{212a}en", "\u{130}d", "\u{131}d"]
        {
            let object = format!("{{\"name\":1,\"{bad}\":2}}");
            let members = Members::read(&object).expect("object");
            assert_eq!(members.disguised(&["name", "arguments", "progressToken", "id"]), Some(bad));
        }
        let members = Members::read(r#"{"name":1,"names":2,"N\u0061me ":3,"x":4}"#).expect("object");
        assert_eq!(members.disguised(&["name", "arguments"]), None);
    }

    #[test]
    fn line_breaks_between_tokens_become_spaces() {
        assert_eq!(one_line("{\r\n\"a\":\"b\\n\"\n}"), "{  \"a\":\"b\\n\" }");
    }
}
