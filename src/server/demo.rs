//! The demo's tools: a small MCP server on standard input and output, spoken by `aop-node demo-server NAME`. It is started like any
//! other server behind a node, so that the demo shows the real path with nothing to install.

use std::io::{BufRead, Write};

use serde_json::{Value, json};

/// Papers of the demo: title, year, topic words.
const PAPERS: [(&str, u32, &str); 5] = [
    ("In Search of an Understandable Consensus Algorithm", 2014, "raft consensus replication log"),
    ("The Part-Time Parliament", 1998, "paxos consensus"),
    ("Epidemic Algorithms for Replicated Database Maintenance", 1987, "gossip anti-entropy replication"),
    ("SWIM: Scalable Weakly-consistent Infection-style Process Group Membership", 2002, "gossip membership failure"),
    ("Development of the Domain Name System", 1988, "dns names caching delegation"),
];

/// Serves the tools of `server` until its input ends.
///
/// # Errors
/// When standard output is closed, or there is no such server.
pub fn serve(server: &str) -> anyhow::Result<()> {
    let tools = match server {
        "papers" => papers(),
        "text" => text(),
        other => anyhow::bail!("no demo server `{other}`"),
    };
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let Ok(request) = serde_json::from_str::<Value>(&line?) else { continue };
        let Some(id) = request.get("id") else { continue };
        let answer = match answer(server, &tools, &request) {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err((code, message)) => json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(server: &str, tools: &Value, request: &Value) -> Result<Value, (i32, String)> {
    let params = &request["params"];
    match request["method"].as_str().unwrap_or_default() {
        "initialize" => Ok(json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": server, "version": env!("CARGO_PKG_VERSION")},
        })),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({"tools": tools})),
        "tools/call" => call(params["name"].as_str().unwrap_or_default(), &params["arguments"]),
        method => Err((-32601, format!("no method {method}"))),
    }
}

fn call(tool: &str, arguments: &Value) -> Result<Value, (i32, String)> {
    let word = |key: &str| arguments[key].as_str().unwrap_or_default().to_owned();
    let structured = match tool {
        "search_papers" => search(&word("query")),
        "cite_paper" => json!({"citation": cite(&word("title"))}),
        "count_words" => json!({"words": word("text").split_whitespace().count()}),
        "title_case" => json!({"text": title_case(&word("text"))}),
        other => return Err((-32602, format!("no tool {other}"))),
    };
    Ok(json!({"content": [{"type": "text", "text": structured.to_string()}], "structuredContent": structured}))
}

fn search(query: &str) -> Value {
    let words: Vec<String> = query.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let about =
        |topics: &str, title: &str| words.iter().any(|w| topics.contains(w) || title.to_lowercase().contains(w));
    let found = PAPERS.iter().filter(|(title, _, topics)| about(topics, title));
    json!({"papers": found.map(|(title, year, _)| json!({"title": title, "year": year})).collect::<Vec<_>>()})
}

fn cite(title: &str) -> String {
    let known = PAPERS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(title));
    known.map_or_else(|| format!("{title}, n.d."), |(title, year, _)| format!("{title} ({year})"))
}

fn title_case(text: &str) -> String {
    let capital = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    text.split_whitespace().map(capital).collect::<Vec<_>>().join(" ")
}

fn tool(name: &str, description: &str, argument: &str, about: &str) -> Value {
    json!({
        "name": name,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": {argument: {"type": "string", "description": about}},
            "required": [argument],
        },
        "annotations": {"readOnlyHint": true},
    })
}

fn papers() -> Value {
    json!([
        tool(
            "search_papers",
            "Find papers about a topic in distributed systems.",
            "query",
            "Topic words, such as consensus or gossip."
        ),
        tool("cite_paper", "Write the citation of a paper.", "title", "The paper's title."),
    ])
}

fn text() -> Value {
    json!([
        tool("count_words", "Count the words of a text.", "text", "The text."),
        tool("title_case", "Write a text with a capital letter at every word.", "text", "The text."),
    ])
}
