//! Registrations nobody should be able to make, by somebody who may register.

use serde_json::{Value, json};

use super::case::Case;
use super::case::Wanted::{self, Client, Harmless, Is};

pub(crate) fn cases(token: &str) -> Vec<Case> {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let at = |route: &str, (name, body, wanted): (String, Value, Wanted)| {
        Case::request(format!("{name} at {route}"), &format!("POST {route}"), &headers, body.to_string(), wanted)
    };
    let tools = tools().into_iter().map(|case| at("/v1/tools", case));
    tools.chain(servers().into_iter().map(|case| at("/v1/servers", case))).collect()
}

fn tools() -> Vec<(String, Value, Wanted)> {
    let tool = |name: &str, tool: Value, wanted| (name.to_owned(), json!({"tools": [tool]}), wanted);
    // With a name and a server, which is all a tool needs.
    let with = |name: &str, key: &str, value: Value, wanted| {
        let mut line = json!({"name": "bad", "server": "bad"});
        line[key] = value;
        tool(name, line, wanted)
    };
    let deep = (0..120).fold(json!({}), |inner, _| json!({"properties": {"x": inner}}));
    vec![
        ("tools that are no list".to_owned(), json!({"tools": {}}), Is(400)),
        ("a member nobody knows".to_owned(), json!({"tools": [], "force": true}), Is(400)),
        tool("a tool that is a number", json!(1), Is(400)),
        tool("a tool that is a list", json!(["bad", "bad"]), Is(400)),
        tool("no server", json!({"name": "bad"}), Is(400)),
        tool("no name", json!({"server": "bad"}), Is(400)),
        with("an empty name", "name", json!(""), Is(400)),
        with("an empty server", "server", json!(""), Is(400)),
        with("a name that is null", "name", json!(null), Is(400)),
        with("a name of a megabyte", "name", json!("x".repeat(1 << 20)), Client),
        with("a name of odd characters", "name", json!("\u{0}\u{1b}[2J\u{202e}/../x"), Harmless),
        with("a server of odd characters", "server", json!("\u{202e}\u{0}"), Harmless),
        with("a server with dots", "server", json!("a..b"), Harmless),
        with("a zone with an empty label", "zone", json!("a..b"), Is(400)),
        with("a zone with a blank", "zone", json!("a b"), Is(400)),
        with("a zone with a label of 64", "zone", json!("x".repeat(64)), Is(400)),
        with("a zone of 254", "zone", json!(["x".repeat(50).as_str(); 5].join(".")), Is(400)),
        with("a zone of odd dots", "zone", json!("a。b"), Is(400)),
        with("a zone that is a list", "zone", json!(["a"]), Is(400)),
        with("tags that are text", "tags", json!("a"), Is(400)),
        with("tags that are numbers", "tags", json!([1]), Is(400)),
        with("100,000 tags", "tags", json!(vec!["t"; 100_000]), Client),
        with("examples that are objects", "examples", json!([{}]), Is(400)),
        with("an agent that is text", "agent", json!("gpt"), Is(400)),
        with("a schema of a megabyte", "inputSchema", json!({"description": "x".repeat(1 << 20)}), Is(413)),
        with("a description of a megabyte", "description", json!("x ".repeat(1 << 19)), Client),
        with("a schema 240 deep", "inputSchema", deep, Client),
        with("a schema that is text", "inputSchema", json!("object"), Harmless),
    ]
}

fn servers() -> Vec<(String, Value, Wanted)> {
    let with_url = |name: &str, url: &str| (name.to_owned(), json!({"kind": "mcp", "url": url, "as": "bad"}), Is(400));
    let other = |name: &str, body: Value| (name.to_owned(), body, Is(400));
    let stdio = |name: &str, command: Value| other(name, json!({"kind": "stdio", "command": command, "as": "bad"}));
    let called = |name: &str, label: &str| other(name, json!({"kind": "stdio", "command": ["true"], "as": label}));
    let header = |name: &str, key: &str, value: Value| {
        other(name, json!({"kind": "mcp", "url": "http://127.0.0.1:1/mcp", "as": "bad", "headers": {key: value}}))
    };
    vec![
        other("no kind", json!({"url": "http://127.0.0.1:1/"})),
        other("an unknown kind", json!({"kind": "ftp", "url": "http://127.0.0.1:1/"})),
        other("a kind that is a number", json!({"kind": 1})),
        other("no url", json!({"kind": "mcp"})),
        other("a url that is a list", json!({"kind": "mcp", "url": ["http://127.0.0.1:1/"]})),
        other("a member nobody knows", json!({"kind": "mcp", "url": "http://127.0.0.1:1/", "insecure": true})),
        other("a command for a url", json!({"kind": "mcp", "url": "http://127.0.0.1:1/", "command": ["true"]})),
        other("a replica that is text", json!({"kind": "mcp", "url": "http://127.0.0.1:1/", "replica": "yes"})),
        with_url("an empty url", ""),
        with_url("a file", "file:///etc/passwd"),
        with_url("a script", "javascript:alert(1)"),
        with_url("FTP", "ftp://127.0.0.1/"),
        with_url("gopher", "gopher://127.0.0.1:70/_x"),
        with_url("a socket", "unix:///var/run/docker.sock"),
        with_url("data", "data:application/json,{}"),
        with_url("no scheme", "127.0.0.1:1/mcp"),
        with_url("a blank before it", " http://127.0.0.1:1/"),
        with_url("no host", "http://"),
        with_url("a host with a blank", "http://ex ample/"),
        with_url("a bracket that stays open", "http://[::1/"),
        with_url("a port that is none", "http://127.0.0.1:99999/"),
        with_url("a port in words", "http://127.0.0.1:http/"),
        with_url("a password", "http://user:secret@127.0.0.1:1/mcp"),
        with_url("a name without a password", "http://user@127.0.0.1:1/mcp"),
        with_url("a fragment", "http://127.0.0.1:1/mcp#x"),
        with_url("a url of 100 KiB", &format!("http://127.0.0.1:1/{}", "x".repeat(100 << 10))),
        header("a header with CR and LF", "X", json!("a\r\nHost: evil.example")),
        header("a header with NUL", "X", json!("a\u{0}b")),
        header("a header's name with a blank", "X Y", json!("1")),
        header("a header without a name", "", json!("1")),
        header("a header that is a list", "X", json!(["1"])),
        header("a header from two places", "X", json!({"env": "A", "file": "b"})),
        stdio("a command that is text", json!("true")),
        stdio("no command", json!([])),
        stdio("an empty command", json!([""])),
        stdio("a command with NUL", json!(["tr\u{0}ue"])),
        stdio("an argument with NUL", json!(["true", "a\u{0}b"])),
        stdio("a command that is a number", json!([1])),
        called("a name of 64", &"x".repeat(64)),
        called("a name with dots", "a.b"),
        called("a name with a slash", "../bad"),
        called("a name with NUL", "a\u{0}b"),
        called("a name that turns round", "\u{202e}dab"),
        called("a name in Greek", "Ξ"),
        other(
            "a variable with NUL",
            json!({"kind": "stdio", "command": ["true"], "as": "bad", "env": {"A": "a\u{0}b"}}),
        ),
        other(
            "a variable's name with =",
            json!({"kind": "stdio", "command": ["true"], "as": "bad", "env": {"A=B": "x"}}),
        ),
    ]
}
