//! One message of a client, read as far as this door must.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::mcp::envelope::{Id, code};
use crate::mcp::headers::check_cases;
use crate::mcp::raw::Members;

/// Members of a message.
const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// A request, a notification or an answer, its parts untouched. A member that stands there twice, in other cases too, is an error:
/// the server may read the other one.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// Why it is none, and the code that says so.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) code: i64,
    pub(super) reason: String,
}

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// It is no JSON, or no message; a list of messages is none, in no revision that is current.
    pub(super) fn read(text: &'a [u8]) -> Result<Self, Unreadable> {
        let parse =
            |error: serde_json::Error| Unreadable { code: code::PARSE, reason: format!("Parse error: {error}") };
        let request = |reason: String| Unreadable { code: code::INVALID_REQUEST, reason };
        if text.trim_ascii_start().first() != Some(&b'{') {
            serde_json::from_slice::<serde::de::IgnoredAny>(text).map_err(parse)?;
            return Err(request("a message is a JSON object".to_owned()));
        }
        let unread = |error: serde_json::Error| match error.is_data() {
            true => request(format!("Invalid request: {error}")),
            false => parse(error),
        };
        let message: Self = serde_json::from_slice(text).map_err(unread)?;
        let members: Members<'_> = serde_json::from_slice(text).map_err(unread)?;
        if let Some(name) = members.disguised(&MEMBERS) {
            return Err(request(format!("`{name}` is the name of another member in other cases")));
        }
        if message.jsonrpc != "2.0" {
            return Err(request("`jsonrpc` has to be \"2.0\"".to_owned()));
        }
        if message.is_call() && message.id().is_none() {
            return Err(request("a call needs an id: nobody would hear how it ended".to_owned()));
        }
        let params = |reason: String| Unreadable { code: code::INVALID_PARAMS, reason };
        if message.params().starts_with('{') {
            let members = Members::read(message.params()).map_err(|error| params(format!("params: {error}")))?;
            check_cases(&members).map_err(params)?;
        }
        if message.is_call() && message.tool().is_none() {
            return Err(params("`name` has to be a string".to_owned()));
        }
        Ok(message)
    }

    /// The id of a request, as it was written.
    pub(super) fn id(&self) -> Option<Id> {
        let id = self.id?.get();
        (self.method.is_some() && id != "null").then(|| Id(id.to_owned()))
    }

    pub(super) fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    pub(super) fn params(&self) -> &'a str {
        self.params.map_or("{}", RawValue::get)
    }

    pub(super) fn is_call(&self) -> bool {
        self.method() == Some("tools/call")
    }

    /// The tool a call names.
    pub(super) fn tool(&self) -> Option<String> {
        Members::read(self.params()).ok()?.text("name").map(Cow::into_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_object_that_reads_one_way() {
        let code = |text: &str| Message::read(text.as_bytes()).err().map(|why| why.code);
        for good in [
            r#"{"jsonrpc":"2.0","id":1,"method":"made/up","params":[1],"more":1}"#,
            r#"{"jsonrpc":"2.0","id":"a","result":{}}"#,
            r#" {"jsonrpc":"2.0","method":"notifications/x"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#,
        ] {
            assert_eq!(code(good), None, "{good}");
        }
        for (bad, said) in [
            ("{", code::PARSE),
            ("x", code::PARSE),
            ("[]", code::INVALID_REQUEST),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call"}]"#, code::INVALID_REQUEST),
            (r#"{"id":1,"method":"a"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"a","\u006dethod":"tools/call"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"Id":"aop-8","method":"ping"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"result":{},"re\u017fult":{}}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#, code::INVALID_PARAMS),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":1,"x":2}}"#, code::INVALID_PARAMS),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","NAME":"b"}}"#,
                code::INVALID_PARAMS,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressTo\u212aen":"aop-1"}}}"#,
                code::INVALID_PARAMS,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\u0061me":"b"}}"#,
                code::INVALID_PARAMS,
            ),
        ] {
            assert_eq!(code(bad), Some(said), "{bad}");
        }
    }
}
