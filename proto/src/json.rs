//! JSON as it is read here: text is borrowed from the bytes it stands in, members keep their order.
//!
//! It is what `serde_json::Value` is without a copy of each text and a map for each object, which counts where every record of a tool
//! is read. It is not written back, and not changed. Of members of one name the last one counts, as everywhere.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text, borrowed where nothing in it was escaped.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Self>),
    /// An object.
    Object(Object<'a>),
}

/// Members in the order in which they stand.
pub type Object<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

impl<'a> Json<'a> {
    /// Reads exactly one value.
    ///
    /// # Errors
    /// When it is no JSON, or nested deeper than serde_json allows (128).
    pub fn read(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.members().iter().rfind(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The members of an object; of anything else none.
    pub fn members(&self) -> &[(Cow<'a, str>, Self)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// The items of an array; of anything else none.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The text, when it is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is an object.
    pub const fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// The members of an object that have these names and are text, without keeping anything else; nothing of what is no JSON object.
pub fn texts_of<'a, const N: usize>(bytes: &'a [u8], names: [&str; N]) -> [Option<Cow<'a, str>>; N] {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let texts = reader.deserialize_any(Texts(names)).and_then(|texts| reader.end().map(|()| texts));
    texts.unwrap_or_else(|_| std::array::from_fn(|_| None))
}

struct Texts<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Texts<'_, N> {
    type Value = [Option<Cow<'de, str>>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut texts = std::array::from_fn(|_| None);
        while let Some(Name(name)) = members.next_key()? {
            match self.0.iter().position(|wanted| *wanted == name) {
                Some(at) => {
                    texts[at] = match members.next_value()? {
                        Json::Text(text) => Some(text),
                        _ => None,
                    };
                }
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(texts)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let mut object = Vec::new();
        while let Some((Name(name), value)) = members.next_entry()? {
            object.push((name, value));
        }
        Ok(Json::Object(object))
    }
}

/// The name of a member: text, and nothing else.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(Reader)? {
            Json::Text(name) => Ok(Self(name)),
            _ => Err(Error::custom("the name of a member is no text")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_serde_json_reads() {
        let text = r#" {"a":[null,true,-1,18446744073709551615,1.5,1e400,"wört\n"],"b\"":{"x":{}},"c":"","c":"last"} "#;
        let read = Json::read(text.as_bytes());
        assert!(read.is_err(), "1e400 is out of range there too");
        let text = text.replace("1e400,", "");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let read = Json::read(text.as_bytes()).unwrap();
        assert_eq!(read.get("b\"").unwrap().get("x"), Some(&Json::Object(Vec::new())));
        assert_eq!(read.get("c").and_then(Json::as_text), value["c"].as_str());
        let items = read.get("a").unwrap().items();
        assert_eq!(items.len(), value["a"].as_array().unwrap().len());
        assert_eq!(items[5], Json::Text("wört\n".into()));
        assert!(matches!(&items[3], Json::Number(number) if number.as_u64() == Some(u64::MAX)));
        assert_eq!((read.items(), items[5].members()), (&[][..], &[][..]));
        assert!(items[0].get("a").is_none());
        for broken in ["", "{", "{1:2}", "[1] 2", "nul", "\"\u{1}\"", &"[".repeat(200)] {
            assert!(Json::read(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn texts_are_those_that_the_whole_says() {
        for text in [
            r#"{"a":"x","c":{"a":"deep"},"b":"wört\n","d":[1,"a"]}"#,
            r#"{"a":"first","a":"last","b":1}"#,
            r#"{"a":"text","a":null}"#,
            r#"{"c":1}"#,
            "{}",
            "[\"a\"]",
            "3",
            "{",
            r#"{"a":"x"} {}"#,
        ] {
            let whole = Json::read(text.as_bytes()).unwrap_or(Json::Null);
            let expected = ["a", "b"].map(|name| whole.get(name).and_then(Json::as_text));
            assert_eq!(texts_of(text.as_bytes(), ["a", "b"]).each_ref().map(Option::as_deref), expected, "{text}");
        }
    }
}
