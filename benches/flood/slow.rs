//! The MCP server behind the flooded node: one tool that takes a second, over stdio, the bench's own program started again.

use std::io::{BufRead, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::Result;

/// The argument with which the bench is this server.
pub(crate) const FLAG: &str = "--serve-slowly";
/// What it is registered as.
pub(crate) const SERVER: &str = "slow";

const TAKES: Duration = Duration::from_secs(1);

/// Answers until its input ends.
pub(crate) fn serve() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line?)?;
        let (id, version) = (asked["id"].clone(), asked["params"]["protocolVersion"].clone());
        if id.is_null() {
            continue;
        }
        let answered = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
        match asked["method"].as_str().unwrap_or_default() {
            "initialize" => say(&answered(json!({"protocolVersion": version, "capabilities": {"tools": {}},
                "serverInfo": {"name": SERVER, "version": "1"}})))?,
            "ping" => say(&answered(json!({})))?,
            "tools/list" => say(&answered(json!({"tools": [{"name": "wait", "inputSchema": {"type": "object"}}]})))?,
            "tools/call" => {
                let answer = answered(json!({"content": [{"type": "text", "text": "at last"}]}));
                std::thread::spawn(move || {
                    std::thread::sleep(TAKES);
                    // A node that has gone wants no answer.
                    let _ = say(&answer);
                });
            }
            _ => {
                let error = json!({"code": -32601, "message": "method not found"});
                say(&json!({"jsonrpc": "2.0", "id": id, "error": error}))?;
            }
        }
    }
    Ok(())
}

fn say(message: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()?;
    Ok(())
}
