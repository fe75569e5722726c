//! JSON-RPC and MCP that break their rules, at both MCP paths.

use serde_json::{Value, json};

use super::case::Case;
use super::case::Wanted::{self, Client, Harmless, Is, Rpc};

const MEDIA: [(&str, &str); 2] =
    [("Accept", "application/json, text/event-stream"), ("Content-Type", "application/json")];
const VERSION: &str = "MCP-Protocol-Version";
const MODERN: &str = "2026-07-28";

fn sends(name: &str, body: &str, wanted: Wanted) -> Case {
    Case::request(format!("mcp {name}"), "POST /mcp", &MEDIA, body, wanted)
}

/// A request of the revision that says everything twice: in headers and in the body.
fn modern(name: &str, headers: &[(&str, &str)], params: &Value) -> Case {
    let mut params = params.clone();
    if params["_meta"].is_null() {
        params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}});
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    Case::request(format!("mcp mirror {name}"), "POST /mcp", &[&MEDIA, headers].concat(), body, Rpc)
}

fn calls(name: &str, tool: &Value, arguments: &Value) -> Case {
    let params = json!({"name": tool, "arguments": arguments});
    sends(name, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string(), Rpc)
}

pub(crate) fn cases() -> Vec<Case> {
    [envelopes(), mirrors(), tools(), doors()].into_iter().flatten().collect()
}

fn envelopes() -> Vec<Case> {
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let id =
        |name: &str, id: &str| sends(name, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#), Rpc);
    let initialize = |name: &str, version: &str| {
        let params =
            format!(r#"{{"protocolVersion":{version},"capabilities":{{}},"clientInfo":{{"name":"x","version":"1"}}}}"#);
        sends(name, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}"#), Harmless)
    };
    vec![
        sends("a batch", &format!("[{list}]"), Client),
        sends("an empty batch", "[]", Client),
        sends("a batch of 10,000", &format!("[{}]", vec![list; 10_000].join(",")), Client),
        sends("nothing", "", Client),
        sends("no JSON", "tools/list", Client),
        sends("an empty object", "{}", Client),
        sends("10,000 lists", &"[".repeat(10_000), Client),
        sends(
            "deep parameters",
            &format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}{}}}"#,
                "[".repeat(10_000),
                "]".repeat(10_000)
            ),
            Client,
        ),
        sends("no version of JSON-RPC", r#"{"id":1,"method":"tools/list"}"#, Client),
        sends("JSON-RPC 1.0", r#"{"jsonrpc":"1.0","id":1,"method":"tools/list"}"#, Client),
        sends("a version that is a number", r#"{"jsonrpc":2.0,"id":1,"method":"tools/list"}"#, Client),
        sends("no method", r#"{"jsonrpc":"2.0","id":1}"#, Client),
        sends("a method that is a number", r#"{"jsonrpc":"2.0","id":1,"method":1}"#, Client),
        sends("an unknown method", r#"{"jsonrpc":"2.0","id":1,"method":"tools/burn"}"#, Rpc),
        sends("an empty method", r#"{"jsonrpc":"2.0","id":1,"method":""}"#, Rpc),
        sends(
            "a method of a megabyte",
            &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(1 << 20)),
            Rpc,
        ),
        sends(
            "a method with control characters",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list\u0000\u001b[2J"}"#,
            Rpc,
        ),
        sends("an answer nobody asked for", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Harmless),
        sends("a request and an answer", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","result":{}}"#, Harmless),
        sends("parameters in a list", r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}"#, Rpc),
        sends("parameters that are text", r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"x"}"#, Rpc),
        sends("a page there is not", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}"#, Rpc),
        sends("an unknown notification", r#"{"jsonrpc":"2.0","method":"notifications/x"}"#, Harmless),
        id("an id that is null", "null"),
        id("an id that is true", "true"),
        id("an id that is a list", "[1]"),
        id("an id that is an object", r#"{"a":1}"#),
        initialize("a revision that never was", r#""1999-01-01""#),
        initialize("a revision that is a number", "1"),
        initialize("a revision of 100 KiB", &format!("\"{}\"", "9".repeat(100 << 10))),
    ]
}

fn mirrors() -> Vec<Case> {
    let call = json!({"name": "list_zones", "arguments": {}});
    let right = [(VERSION, MODERN), ("Mcp-Method", "tools/call"), ("Mcp-Name", "list_zones")];
    let without = |left_out: &str| right.into_iter().filter(|(key, _)| *key != left_out).collect::<Vec<_>>();
    let with = |key, value| [without(key), vec![(key, value)]].concat();
    let twice = |key, value| [right.to_vec(), vec![(key, value)]].concat();
    let meta = |meta: Value| json!({"name": "list_zones", "arguments": {}, "_meta": meta});
    vec![
        modern("no version header", &without(VERSION), &call),
        modern("another version", &with(VERSION, "2025-11-25"), &call),
        modern("a version that never was", &with(VERSION, "2099-01-01"), &call),
        modern("a version that is none", &with(VERSION, "latest"), &call),
        modern("two versions", &twice(VERSION, "2025-11-25"), &call),
        modern("no method header", &without("Mcp-Method"), &call),
        modern("another method", &with("Mcp-Method", "tools/list"), &call),
        modern("a method in upper case", &with("Mcp-Method", "TOOLS/CALL"), &call),
        modern("two methods", &twice("Mcp-Method", "tools/list"), &call),
        modern("no name header", &without("Mcp-Name"), &call),
        modern("another name", &with("Mcp-Name", "call_tool"), &call),
        modern("a name that is no base64", &with("Mcp-Name", "=?base64?%%%?="), &call),
        modern("a name that is no text", &with("Mcp-Name", "\u{80}\u{ff}"), &call),
        modern("two names", &twice("Mcp-Name", "call_tool"), &call),
        modern("no capabilities", &right, &meta(json!({"io.modelcontextprotocol/protocolVersion": MODERN}))),
        modern(
            "capabilities that are a list",
            &right,
            &meta(
                json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": []}),
            ),
        ),
        modern(
            "a body of another version",
            &right,
            &meta(
                json!({"io.modelcontextprotocol/protocolVersion": "2025-11-25", "io.modelcontextprotocol/clientCapabilities": {}}),
            ),
        ),
        modern("_meta that is text", &right, &meta(json!("x"))),
    ]
}

fn tools() -> Vec<Case> {
    let call = |name: &str, inner: Value| calls(name, &json!("call_tool"), &inner);
    vec![
        calls("no tool", &Value::Null, &json!({})),
        calls("a tool that is a number", &json!(1), &json!({})),
        calls("an empty tool", &json!(""), &json!({})),
        calls("a tool there is not", &json!("burn_everything"), &json!({})),
        calls("a tool of 254 bytes", &json!("x".repeat(254)), &json!({})),
        calls("a tool of a megabyte", &json!("x".repeat(1 << 20)), &json!({})),
        calls("a tool with control characters", &json!("echo\u{0}\u{1b}[2J\u{202e}"), &json!({})),
        calls("arguments in a list", &json!("list_zones"), &json!([1])),
        calls("arguments that are text", &json!("list_zones"), &json!("x")),
        calls("a search for nothing", &json!("search_tools"), &json!({})),
        calls("a search for numbers", &json!("search_tools"), &json!({"queries": [1, 2]})),
        calls("a search for 10,000 things", &json!("search_tools"), &json!({"queries": vec!["x"; 10_000]})),
        calls("a search of a megabyte", &json!("search_tools"), &json!({"queries": ["x".repeat(1 << 20)]})),
        calls("a search for fewer than none", &json!("search_tools"), &json!({"queries": ["x"], "limit": -1})),
        calls("a description of nothing", &json!("describe_tool"), &json!({})),
        calls("a description of what is not there", &json!("describe_tool"), &json!({"name": "x.y.z"})),
        call("a call of nothing", json!({})),
        call("a call of what is not there", json!({"name": "nothing.papers.research", "arguments": {}})),
        call("a call with too few arguments", json!({"name": "add.papers.research", "arguments": {"a": 1}})),
        call("a call with a text for arguments", json!({"name": "echo.papers.research", "arguments": "x"})),
        call(
            "a call with no time",
            json!({"name": "echo.papers.research", "arguments": {"text": "x"}, "timeout_ms": -1}),
        ),
        call(
            "a call of another definition",
            json!({"name": "echo.papers.research", "arguments": {"text": "x"}, "def_hash": "sha256:00"}),
        ),
    ]
}

fn doors() -> Vec<Case> {
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let at = |path: &str, headers: &[(&str, &str)], wanted| {
        Case::request(format!("mcp at {path}"), &format!("POST {path}"), headers, list, wanted)
    };
    vec![
        at("/mcp", &[("Content-Type", "application/json")], Is(406)),
        at("/mcp", &[("Accept", "text/html"), ("Content-Type", "application/json")], Is(406)),
        at("/mcp", &[MEDIA[0], ("Content-Type", "text/plain")], Is(415)),
        at("/mcp", &[MEDIA[0], ("Content-Type", "application/json\t;charset=utf-7")], Harmless),
        at("/z/nowhere/mcp", &MEDIA, Rpc),
        at("/z/re%2fsearch/mcp", &MEDIA, Rpc),
        at("/z/%00/mcp", &MEDIA, Rpc),
        at("/z/%ff/mcp", &MEDIA, Client),
        at("/z/a..b/mcp", &MEDIA, Rpc),
        at(&format!("/z/{}/mcp", "x".repeat(254)), &MEDIA, Rpc),
        at("/z//mcp", &MEDIA, Rpc),
        Case::request("mcp by GET", "GET /mcp", &MEDIA, "", Is(405)),
        Case::request("mcp by DELETE", "DELETE /mcp", &MEDIA, "", Is(405)),
    ]
}
