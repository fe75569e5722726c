//! Secrets of registrations, each marked by a word that occurs nowhere else, and a search through everything that was written or
//! answered. A literal given on the command line is kept by its node, in a file only its user reads; that is the one place.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::{Fixture, Node, PATIENT, World, eventually, fixture::tool, names, raw};

const LITERAL: &str = "canary-literal-5d1c07e2a9";
const BY_NAME: &str = "canary-by-name-83fa61b4c0";
const BY_FILE: &str = "canary-by-file-2e9d70c5f6";
const REFUSED: &str = "canary-refused-b7c2e84d13";
const INBOUND: &str = "canary-inbound-6f0a93d58e";
const CANARIES: [&str; 5] = [LITERAL, BY_NAME, BY_FILE, REFUSED, INBOUND];

/// Every line of ours and of our libraries; a bare level would leave theirs out.
const EVERYTHING: &str = "trace,rmcp=trace";

/// Everything that answered, with where it came from.
#[derive(Default)]
struct Heard(Vec<(String, String)>);

impl Heard {
    fn aop(&mut self, node: &Node, words: &[&str]) {
        let ran = node.aop(words.iter().copied());
        self.0.push((words.join(" "), format!("{}\n{}", ran.out, ran.err)));
    }

    fn get(&mut self, node: &Node, path: &str) {
        let reply = node.get(path);
        self.0.push((path.to_owned(), format!("{:?}\n{}", reply.headers, reply.text())));
    }

    fn send(&mut self, node: &Node, path: &str, body: &Value) {
        let reply = node.send("POST", path, body);
        self.0.push((path.to_owned(), format!("{:?}\n{}", reply.headers, reply.text())));
    }

    #[track_caller]
    fn knows_nothing(&self) {
        for (place, text) in &self.0 {
            for canary in CANARIES {
                assert!(!text.contains(canary), "{canary} in the answer to {place}: {text}");
            }
        }
    }
}

fn leaky_tools() -> Vec<Value> {
    let none = json!({});
    vec![
        tool("echo", "Says back the text it is told", json!({"text": {"type": "string"}})),
        tool("leak", "Answers with an error that quotes what it was given", none.clone()),
        tool("spill", "Fails with the same outside of the protocol", none),
    ]
}

#[test]
fn no_secret_of_a_registration_is_written_or_answered_anywhere() {
    let world = World::new();
    let home = world.node("home").zone("research").args(["--log-level", EVERYTHING]).env("CANARY", BY_NAME).start();
    let peer = world.node("peer").zone("research").args(["--join", &home.address, "--log-level", EVERYTHING]).start();
    let (web, child) = (Fixture::new(&world, "web"), Fixture::new(&world, "child"));
    web.list(&leaky_tools());
    child.list(&leaky_tools());
    let server = web.serve(&world, 0);
    let secret = world.file("secret", &format!("{BY_FILE}\n"));
    let by_file = format!("@{}", secret.display());

    let mut heard = Heard::default();
    let pairs = |name: &str| {
        [format!("{name}=Bearer {LITERAL}"), "X-By-Name=env:CANARY".to_owned(), format!("X-By-File={by_file}")]
    };
    let headers = pairs("Authorization");
    let mut words = vec!["register", "mcp", "--json", "--as", "web"];
    let url = server.url();
    words.push(&url);
    headers.iter().for_each(|pair| words.extend(["--header", pair]));
    let ran = home.aop(words.iter().copied()).ok();
    heard.0.push(("register mcp".to_owned(), ran.out));
    let variables = pairs("SECRET");
    let mut words = vec!["register", "stdio", "--json", "--as", "child"];
    variables.iter().for_each(|pair| words.extend(["--env", pair]));
    let command = child.command();
    words.push("--");
    words.extend(command.iter().map(String::as_str));
    let ran = home.aop(words.iter().copied()).ok();
    heard.0.push(("register stdio".to_owned(), ran.out));
    let sent = &web.journal()[0]["headers"];
    assert_eq!(
        [&sent["authorization"], &sent["x-by-name"], &sent["x-by-file"]],
        [&json!(format!("Bearer {LITERAL}")), &json!(BY_NAME), &json!(BY_FILE)],
        "the server itself is given them"
    );

    eventually("the peer has the tools", PATIENT, || {
        let known = names(&peer.resolve("echo.child.research"));
        if known == ["echo.child.research"] { Ok(()) } else { Err(format!("{known:?}")) }
    });
    for node in [&home, &peer] {
        for name in ["echo.web.research", "leak.web.research", "spill.web.research", "leak.child.research"] {
            heard.aop(node, &["call", name, "--json", "--args", r#"{"text":"hello"}"#]);
            heard.send(node, &format!("/v1/tools/{name}/call"), &json!({"arguments": {}}));
        }
    }
    // Its last words and its environment, as a dead child leaves them.
    heard.aop(&home, &["call", "spill.child.research", "--json"]);
    // A registration that fails, in each way that has words about its headers.
    for url in ["http://127.0.0.1:1/mcp", "https://10.0.0.7/mcp", "http://1.1.1.1/mcp"] {
        heard.aop(&home, &["register", "mcp", url, "--header", &format!("Authorization=Bearer {REFUSED}")]);
    }
    let body = json!({"kind": "mcp", "url": "http://127.0.0.1:1/mcp", "headers": {"Host": REFUSED}});
    heard.send(&home, "/v1/servers", &body);
    let body = json!({"kind": "mcp", "url": "http://127.0.0.1:1/mcp", "headers": {"X": format!("{REFUSED}\n")}});
    heard.send(&home, "/v1/servers", &body);

    call_with_a_token_of_ones_own(&home);
    assert!(web.calls("echo") > 0);
    assert!(!json!(web.journal()).to_string().contains(INBOUND), "a caller's token reached the server");

    for node in [&home, &peer] {
        for path in ["/v1/servers", "/v1/servers/web", "/v1/servers/child", "/v1/status", "/v1/nodes", "/v1/zones"] {
            heard.get(node, path);
        }
        for path in ["/metrics", "/v1/tools", "/v1/tools/echo.web.research", "/v1/resolve?q=leak", "/readyz", "/"] {
            heard.get(node, path);
        }
        for words in [&["status"][..], &["show", "leak.web.research"], &["ls"], &["config", "show"]] {
            heard.aop(node, words);
        }
    }
    heard.knows_nothing();
    nothing_is_written(&world, home, peer);
}

/// A client of the node that has a token for the node, as every door must keep for itself.
fn call_with_a_token_of_ones_own(node: &Node) {
    let arguments = json!({"name": "echo.web.research", "arguments": {"text": "hi"}});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "call_tool", "arguments": arguments}});
    let token = format!("Bearer {INBOUND}");
    let headers = [
        ("Authorization", token.as_str()),
        ("Cookie", token.as_str()),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    raw::request(&node.address, "POST", "/mcp", &headers, call.to_string().as_bytes());
    // The same call by the node's own token, so that it surely gets through.
    node.aop(["call", "echo.web.research", "text=hi"]).ok();
}

#[track_caller]
fn nothing_is_written(world: &World, mut home: Node, mut peer: Node) {
    home.stop();
    peer.stop();
    let store = home.data.join("store.redb");
    let mut files = Vec::new();
    for name in ["home", "state", "data", "config", "cache", "runtime", "node-home", "node-peer"] {
        collect(&world.path(name), &mut files);
    }
    files.extend(["home.log", "peer.log"].map(|name| world.path(name)));
    assert!(files.contains(&store) && files.len() > 8, "{files:?}");
    for file in &files {
        let bytes = std::fs::read(file).expect("a file of this test");
        for canary in CANARIES.into_iter().filter(|canary| *file != store || *canary != LITERAL) {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{canary} in {}", file.display());
        }
    }
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&store), mode(&home.data)), (0o600, 0o700), "where a literal is kept");
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.is_file() {
            files.push(path);
        }
    }
}
