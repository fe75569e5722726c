//! What a tool answered: whether that is an end, and how a person reads it.
//!
//! Not the answer's way to a program, which gets the node's bytes. What must hold: the call has run, so every answer is shown, also one
//! with JSON that cannot be read here; and what is no end is never shown as one.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cli::json::{Members, escape_deceptive, pretty};
use crate::cli::text;

/// Members of a result, each read only when it is needed.
pub(super) struct ToolResult<'a> {
    whole: &'a RawValue,
    members: Members,
}

/// A result for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) text: String,
    /// What is to be said besides.
    pub(super) note: Option<&'static str>,
}

const UNREADABLE: &str = "the tool has run, and its result holds JSON that cannot be shown otherwise than as it came";
const MORE: &str = "the result has a structured part besides, which says more: -o json shows it";

impl<'a> ToolResult<'a> {
    pub(super) fn of(whole: &'a RawValue) -> Self {
        Self { whole, members: Members::of(whole.get().as_bytes()).unwrap_or(Members(Vec::new())) }
    }

    /// The tool says that it failed.
    pub(super) fn is_error(&self) -> bool {
        self.members.get("isError").is_some_and(|raw| raw.get() == "true")
    }

    /// Why this is no end, in words that follow the tool's name.
    pub(super) fn unfinished(&self) -> Option<&'static str> {
        let kind = self.members.get("resultType").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        match kind.as_deref() {
            Some("input_required") => Some(
                "asks for input, which an MCP client at /mcp can give and this command cannot; nothing was completed",
            ),
            Some("task") => Some(TASK),
            _ if self.members.get("task").is_some() && self.members.get("content").is_none() => Some(TASK),
            _ => None,
        }
    }

    /// Text as it is, anything else described, and the structured content where nothing else was said.
    pub(super) fn shown(&self) -> Shown {
        let structured = self.members.get("structuredContent").filter(|raw| !matches!(raw.get(), "null"));
        let content = self.members.get("content").map_or(Ok(Value::Null), read);
        let Ok(content) = content else { return as_it_came(self.whole) };
        let lines = lines(&content);
        match (lines.is_empty(), structured) {
            (true, Some(structured)) => printed(structured),
            (true, None) => printed(self.whole),
            (false, Some(structured)) => Shown { text: lines, note: says_more(structured, &content).then_some(MORE) },
            (false, None) => Shown { text: lines, note: None },
        }
    }
}

const TASK: &str = "goes on as a task, which cannot be followed here; nothing was completed";

fn read(raw: &RawValue) -> serde_json::Result<Value> {
    serde_json::from_str(raw.get())
}

fn as_it_came(raw: &RawValue) -> Shown {
    Shown { text: format!("{}\n", escape_deceptive(raw.get())), note: Some(UNREADABLE) }
}

/// Indented, and nothing where nothing is said.
fn printed(raw: &RawValue) -> Shown {
    let Ok(value) = read(raw) else { return as_it_came(raw) };
    let is_empty = value.is_null() || value == json!({}) || value == json!({"content": []});
    let text = if is_empty { String::new() } else { format!("{}\n", pretty(raw.get())) };
    Shown { text, note: None }
}

/// Whether no text of the content is the structured part again, as JSON or as its only member's text.
fn says_more(structured: &RawValue, content: &Value) -> bool {
    let texts = || content.as_array().into_iter().flatten().filter_map(|block| block["text"].as_str()).map(str::trim);
    let Ok(structured) = read(structured) else { return texts().all(|text| text != structured.get()) };
    let only = structured.as_object().filter(|members| members.len() == 1).and_then(|members| members.values().next());
    let only = only.map(|only| only.as_str().map_or_else(|| only.to_string(), |text| text.trim().to_owned()));
    let is_same = |text: &str| {
        only.as_deref() == Some(text) || serde_json::from_str::<Value>(text).is_ok_and(|value| value == structured)
    };
    structured != json!({}) && !texts().any(is_same)
}

fn lines(content: &Value) -> String {
    let mut lines = String::new();
    for block in content.as_array().into_iter().flatten() {
        lines.push_str(&described(block));
        if !lines.ends_with('\n') {
            lines.push('\n');
        }
    }
    lines
}

fn described(block: &Value) -> String {
    let word = |value: &Value| text::clean(value.as_str().unwrap_or("?"));
    // Three bytes in four characters of base64; padding is not worth a decoder here.
    let size = |value: &Value| text::bytes(value.as_str().unwrap_or_default().len() / 4 * 3);
    match block["type"].as_str().unwrap_or_default() {
        "text" => text::clean_block(block["text"].as_str().unwrap_or_default()),
        kind @ ("image" | "audio") => format!("[{kind} {}, {}]", word(&block["mimeType"]), size(&block["data"])),
        "resource_link" => format!("[link {}]", word(&block["uri"])),
        "resource" => match block["resource"]["text"].as_str() {
            Some(text) => text::clean_block(text),
            None => format!("[resource {}, {}]", word(&block["resource"]["uri"]), size(&block["resource"]["blob"])),
        },
        other => format!("[{}]", text::clean(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("JSON")
    }

    fn shown(text: &str) -> Shown {
        ToolResult::of(&raw(text)).shown()
    }

    #[test]
    fn text_is_printed_and_the_rest_is_described() {
        let result = json!({"content": [{"type": "text", "text": "a\n\u{1b}[1mb"}, {"type": "image", "mimeType": "image/png", "data": "AAAA".repeat(400)},
            {"type": "resource_link", "uri": "file:///x"}, {"type": "resource", "resource": {"uri": "u", "text": "inside"}}]});
        assert_eq!(shown(&result.to_string()).text, "a\n[1mb\n[image image/png, 1.2 kB]\n[link file:///x]\ninside\n");
        assert_eq!(shown(r#"{"content":[],"structuredContent":{"n":1}}"#).text, "{\n  \"n\": 1\n}\n");
        assert_eq!(shown(r#"{"content":[]}"#).text, "");
    }

    #[test]
    fn a_structured_part_that_says_more_than_the_text_is_told_of() {
        let note = |text: &str, structured: &str| {
            let content = json!([{"type": "text", "text": text}]);
            shown(&format!(r#"{{"content":{content},"structuredContent":{structured}}}"#)).note
        };
        assert_eq!(note("3 papers", r#"{"papers":[1,2,3]}"#), Some(MORE));
        assert_eq!(note("3", "{\"n\":1e400}"), Some(MORE));
        for (text, structured) in [
            ("{ \"n\": 1 }", r#"{"n":1}"#),
            ("5", r#"{"sum":5}"#),
            ("fine", r#"{"result":"fine\n"}"#),
            ("{\"n\":1e400}", "{\"n\":1e400}"),
            ("fine", "{}"),
            ("fine", "null"),
        ] {
            assert_eq!(note(text, structured), None, "{structured}");
        }
    }

    /// A tool had run, and what it answered was told as an internal error.
    #[test]
    fn json_that_cannot_be_read_is_shown_as_it_came() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        for odd in ["1e400", &deep] {
            let result = format!(r#"{{"content":[],"structuredContent":{{"n":{odd}}}}}"#);
            assert_eq!(shown(&result), Shown { text: format!("{{\"n\":{odd}}}\n"), note: Some(UNREADABLE) });
            let result = format!(r#"{{"isError":true,"content":[{{"type":"text","n":{odd}}}]}}"#);
            assert_eq!(shown(&result), Shown { text: format!("{result}\n"), note: Some(UNREADABLE) });
            assert!(ToolResult::of(&raw(&result)).is_error());
        }
    }

    #[test]
    fn what_is_no_end_is_told_apart() {
        let unfinished = |text: &str| ToolResult::of(&raw(text)).unfinished();
        let asks = unfinished(r#"{"resultType":"input_required","inputRequests":{}}"#);
        assert!(asks.is_some_and(|why| why.contains("asks for input")), "{asks:?}");
        for task in [r#"{"resultType":"task","taskId":"7"}"#, r#"{"task":{"taskId":"7"}}"#] {
            assert_eq!(unfinished(task), Some(TASK));
        }
        for end in [r#"{"resultType":"complete","content":[]}"#, r#"{"content":[],"task":"wash up"}"#, "[]"] {
            assert_eq!(unfinished(end), None, "{end}");
        }
    }
}
