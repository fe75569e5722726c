//! Bodies that are no JSON, or JSON that no route can take, at each route that reads one.

use super::case::Case;
use super::case::Wanted::{self, Client, Harmless, Refused};

fn bodies() -> Vec<(&'static str, Vec<u8>, Wanted)> {
    let deep = |open: &str, close: &str| [open.repeat(10_000), close.repeat(10_000)].concat().into_bytes();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    vec![
        ("nothing", b"".to_vec(), Client),
        ("half an object", br#"{"q":"#.to_vec(), Client),
        ("half a text", br#"{"q":"a"#.to_vec(), Client),
        ("a list", b"[]".to_vec(), Client),
        ("null", b"null".to_vec(), Client),
        ("true", b"true".to_vec(), Client),
        ("a number", b"1".to_vec(), Client),
        ("a text", br#""q""#.to_vec(), Client),
        ("10,000 lists", deep("[", "]"), Client),
        ("10,000 objects", deep(r#"{"q":"#, "}"), Client),
        ("10,000 lists that stay open", "[".repeat(10_000).into_bytes(), Client),
        ("lists below a name", [br#"{"q":"#.to_vec(), deep("[", "]"), b"}".to_vec()].concat(), Client),
        ("half a surrogate pair", br#"{"q":"\ud800"}"#.to_vec(), Client),
        ("the other half", br#"{"q":"\udc00\ud800"}"#.to_vec(), Client),
        ("bytes that are no UTF-8", b"{\"q\":\"\xff\xfe\"}".to_vec(), Client),
        ("an overlong slash", b"{\"q\":\"\xc0\xaf\"}".to_vec(), Client),
        ("a surrogate in UTF-8", b"{\"q\":\"\xed\xa0\x80\"}".to_vec(), Client),
        ("UTF-16", utf16(r#"{"q":"a"}"#), Client),
        ("a byte order mark", b"\xef\xbb\xbf{\"q\":\"a\"}".to_vec(), Client),
        ("garbage behind the body", br#"{"q":"a"} x"#.to_vec(), Client),
        ("two bodies", br#"{"q":"a"}{"q":"b"}"#.to_vec(), Client),
        ("a comma too many", br#"{"q":"a",}"#.to_vec(), Client),
        ("a comment", br#"{"q":"a" /* x */}"#.to_vec(), Client),
        ("single quotes", b"{'q':'a'}".to_vec(), Client),
        ("a name without quotes", br#"{q:"a"}"#.to_vec(), Client),
        ("NaN", br#"{"n":NaN}"#.to_vec(), Client),
        ("infinity", br#"{"n":Infinity}"#.to_vec(), Client),
        ("a number beyond 64 bits", br#"{"n":1e999}"#.to_vec(), Client),
        ("a number of 100,000 digits", [b"{\"n\":".to_vec(), vec![b'9'; 100_000], b"}".to_vec()].concat(), Client),
        ("a number in hex", br#"{"n":0x10}"#.to_vec(), Client),
        ("a number with a zero before it", br#"{"n":01}"#.to_vec(), Client),
        ("a line end in a text", b"{\"q\":\"a\nb\"}".to_vec(), Client),
        ("NUL in a text", b"{\"q\":\"a\0b\"}".to_vec(), Client),
        ("an unknown escape", br#"{"q":"\x41"}"#.to_vec(), Client),
        ("a member twice", br#"{"q":"a","q":"b"}"#.to_vec(), Harmless),
        ("a member's name of a megabyte", [b"{\"".to_vec(), vec![b'x'; 1 << 20], b"\":1}".to_vec()].concat(), Client),
        ("an unknown member", br#"{"__proto__":{"admin":true}}"#.to_vec(), Client),
        ("five megabytes of blanks", vec![b' '; 5 << 20], Refused),
        ("five megabytes of text", [b"{\"q\":\"".to_vec(), vec![b'x'; 5 << 20], b"\"}".to_vec()].concat(), Refused),
    ]
}

pub(crate) fn cases(token: &str) -> Vec<Case> {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let mut cases = Vec::new();
    for route in ["/v1/resolve", "/v1/tools", "/v1/servers", "/v1/tools/echo.papers.research/call"] {
        for (name, body, wanted) in bodies() {
            cases.push(Case::request(format!("{name} at {route}"), &format!("POST {route}"), &headers, body, wanted));
        }
    }
    cases
}
