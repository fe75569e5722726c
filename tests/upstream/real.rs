//! Real servers of other people, both eras, as `tests/install-tools.sh` installs them.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio};

use aop::upstream::UpstreamCall;
use serde_json::Value;
use tokio::{process::Command, sync::mpsc};

use crate::harness::*;

/// Where the tools are, or a word on stderr that they are not.
fn tool(path: &str) -> Option<String> {
    let folder = std::env::var_os("AOP_TEST_TOOLS").map_or_else(|| repository().join("target/tools"), PathBuf::from);
    let program = folder.join(path);
    if program.exists() {
        return Some(program.display().to_string());
    }
    eprintln!("SKIPPED: {} is missing; tests/install-tools.sh installs it", program.display());
    None
}

fn everything() -> Option<String> {
    tool("npm/node_modules/.bin/mcp-server-everything")
}

async fn text(bench: &Bench, tool: &str, arguments: &'static str) -> String {
    let result = bench.upstreams.call("real", call(tool, arguments)).await.expect("a result");
    let result: Value = serde_json::from_slice(&result).expect("JSON");
    result["content"][0]["text"].as_str().expect("text").to_owned()
}

fn unknown_field_survives(tools: &[bytes::Bytes]) -> bool {
    tools.iter().all(|tool| String::from_utf8_lossy(tool).contains(r#""execution""#))
}

#[tokio::test]
async fn everything_over_stdio_keeps_what_rmcp_would_drop() {
    let Some(program) = everything() else { return };
    let bench = Bench::new();
    let spec = stdio("real", vec![program], BTreeMap::new());
    let listing = bench.upstreams.register(spec, SOON).await.expect("it registers");
    assert_eq!((listing.tools.len(), listing.protocol.as_str()), (13, "2025-11-25"));
    assert!(unknown_field_survives(&listing.tools));
    assert_eq!(text(&bench, "echo", r#"{"message":"hi"}"#).await, "Echo: hi");
    // The child sees the allow-list and nothing else of the node.
    let env = text(&bench, "get-env", "{}").await;
    assert!(env.contains("PATH") && !env.contains("CARGO_MANIFEST_DIR"), "{env}");

    let (sender, mut steps) = mpsc::channel(16);
    let long = call("trigger-long-running-operation", r#"{"duration":0.4,"steps":4}"#);
    bench.upstreams.call("real", UpstreamCall { progress: Some(sender), ..long }).await.expect("a result");
    let first = steps.recv().await.expect("progress");
    assert!(serde_json::from_slice::<Value>(&first).expect("JSON")["total"] == 4, "{first:?}");
    bench.upstreams.shutdown().await;
}

#[tokio::test]
async fn everything_over_http() {
    let Some(program) = everything() else { return };
    let port = crate::support::ports::free_port();
    let mut command = Command::new(program);
    command.arg("streamableHttp").env("PORT", port.to_string()).kill_on_drop(true);
    let _server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    eventually("the port", || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await;

    let bench = Bench::new();
    let mut spec = http(format!("http://127.0.0.1:{port}/mcp"), BTreeMap::new());
    spec.name = "real".to_owned();
    let listing = bench.upstreams.register(spec, SOON).await.expect("it registers");
    assert_eq!((listing.tools.len(), listing.protocol.as_str()), (13, "2025-11-25"));
    assert!(unknown_field_survives(&listing.tools));
    assert_eq!(text(&bench, "echo", r#"{"message":"hi"}"#).await, "Echo: hi");
    bench.upstreams.shutdown().await;
}

#[tokio::test]
async fn time_and_git_speak_the_new_revision() {
    let (Some(time), Some(git)) =
        (tool("py/mcp-server-time/bin/mcp-server-time"), tool("py/mcp-server-git/bin/mcp-server-git"))
    else {
        return;
    };
    let bench = Bench::new();
    let spec = stdio("real", vec![time, "--local-timezone".into(), "UTC".into()], BTreeMap::new());
    let listing = bench.upstreams.register(spec, SOON).await.expect("it registers");
    assert_eq!((listing.tools.len(), listing.protocol.as_str()), (2, "2026-07-28"));
    let now = text(&bench, "get_current_time", r#"{"timezone":"UTC"}"#).await;
    assert!(now.contains("UTC"), "{now}");

    let repository = tempfile::tempdir().expect("a directory");
    let made = Command::new("git").args(["init", "-q"]).current_dir(repository.path()).status().await.expect("git");
    assert!(made.success());
    let path = repository.path().display().to_string();
    let spec = stdio("git", vec![git, "--repository".into(), path.clone()], BTreeMap::new());
    let listing = bench.upstreams.register(spec, SOON).await.expect("it registers");
    assert_eq!((listing.tools.len(), listing.protocol.as_str()), (12, "2026-07-28"));
    let arguments = serde_json::json!({ "repo_path": path }).to_string();
    let status = UpstreamCall { arguments: arguments.into(), ..call("git_status", "") };
    let result = bench.upstreams.call("git", status).await.expect("a result");
    assert!(String::from_utf8_lossy(&result).contains("Repository status"), "{result:?}");
    bench.upstreams.shutdown().await;
}
