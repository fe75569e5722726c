//! Every client at every face of a node, and eight servers of other people behind one.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::fixture::tool;
use crate::support::tools::{Tools, tools};
use crate::support::{Fixture, Node, PATIENT, SOON, World, eventually, in_tests, run};
use crate::{answer, modern};

/// Where a client looks, what it must list there, and how the tool with three steps is called there.
fn faces() -> [(&'static str, &'static str, &'static str, Value); 3] {
    let through = json!({"name": "progress.papers.research", "arguments": {}});
    [
        ("/mcp", "search_tools", "call_tool", through),
        ("/z/research/mcp", "papers__echo", "papers__progress", json!({})),
        ("/s/papers/mcp", "echo", "progress", json!({})),
    ]
}

/// Lists and calls with one client; judges what it saw.
#[track_caller]
fn uses_every_face(world: &World, node: &Node, program: &str, words: &[String]) {
    for (path, listed, tool, arguments) in faces() {
        let mut command = world.command(program);
        command.args(words).arg(node.url(path)).arg(tool).arg(arguments.to_string());
        let ran = run(command, None).ok();
        let seen = ran.json();
        assert!(seen["tools"].as_array().is_some_and(|tools| tools.contains(&json!(listed))), "{path}: {ran}");
        assert_eq!(seen["result"]["content"][0]["text"], "three steps", "{path}: {ran}");
        let steps: Vec<f64> = seen["steps"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        assert_eq!(steps, [1.0, 2.0, 3.0], "{path}: {ran}");
    }
}

fn research(world: &World) -> (Node, Fixture) {
    let node = world.node("research").zone("research").start();
    let fixture = Fixture::new(world, "papers").option("--page=100");
    node.register("papers", &fixture.command());
    (node, fixture)
}

#[test]
fn both_typescript_clients_use_every_face() {
    let Some(tools) = tools() else { return };
    let world = World::new();
    let (node, _fixture) = research(&world);
    for kind in ["sdk", "client"] {
        let script = in_tests("clients/typescript.mjs").display().to_string();
        uses_every_face(&world, &node, &tools.node(), &[script, tools.packages(), kind.to_owned()]);
    }
}

#[test]
fn fastmcp_uses_every_face() {
    let Some(tools) = tools() else { return };
    let world = World::new();
    let (node, _fixture) = research(&world);
    let script = in_tests("clients/fast.py").display().to_string();
    uses_every_face(&world, &node, &tools.python("fastmcp"), &[script]);
}

#[test]
fn the_inspector_uses_every_face() {
    let Some(tools) = tools() else { return };
    let world = World::new();
    let (node, _fixture) = research(&world);
    for (path, listed, tool, arguments) in faces() {
        let ask = |words: &[&str]| {
            let mut command = world.command(tools.node());
            command.arg(tools.npm("mcp-inspector")).arg("--cli").arg(node.url(path)).args(["--transport", "http"]);
            run(
                {
                    command.args(words);
                    command
                },
                None,
            )
            .ok()
        };
        assert!(ask(&["--method", "tools/list"]).out.contains(&format!("\"{listed}\"")), "{path}");
        let mut words = vec!["--method".to_owned(), "tools/call".to_owned(), "--tool-name".to_owned(), tool.to_owned()];
        for (key, value) in arguments.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            words.extend(["--tool-arg".to_owned(), format!("{key}={value}")]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert!(ask(&words).out.contains("three steps"), "{path}");
    }
}

/// A server of other people: what starts it, how many tools it lists, and a call that must go well with a word of what it says.
struct Real {
    name: &'static str,
    command: Vec<String>,
    tools: usize,
    call: (&'static str, Value),
    says: &'static str,
}

fn eight(tools: &Tools, repository: &Path, page: &str) -> [Real; 8] {
    let script = |name: &str| vec![tools.node(), tools.npm(name)];
    let folder = repository.display().to_string();
    let files = [script("mcp-server-filesystem"), vec![folder.clone()]].concat();
    let database = repository.with_extension("db").display().to_string();
    let thought = json!({"thought": "one", "nextThoughtNeeded": false, "thoughtNumber": 1, "totalThoughts": 1});
    let real = |name, command, tools, call, says| Real { name, command, tools, call, says };
    [
        real("everything", tools.everything(), 13, ("echo", json!({"message": "hi"})), "Echo: hi"),
        real("files", files, 14, ("list_allowed_directories", json!({})), "repository"),
        real("memory", script("mcp-server-memory"), 9, ("read_graph", json!({})), "entities"),
        real("thinking", script("mcp-server-sequential-thinking"), 1, ("sequentialthinking", thought), "thoughtNumber"),
        real("time", tools.time(), 2, ("get_current_time", json!({"timezone": "UTC"})), "UTC"),
        real("git", tools.git(repository), 12, ("git_status", json!({"repo_path": folder})), "branch"),
        real(
            "fetch",
            tools.server("mcp2", "mcp-server-fetch", &["--allow-private-ips"]),
            1,
            ("fetch", json!({"url": page})),
            "livez",
        ),
        real(
            "sqlite",
            tools.server("mcp1", "mcp-server-sqlite", &["--db-path", &database]),
            6,
            ("list_tables", json!({})),
            "[",
        ),
    ]
}

#[test]
fn eight_servers_of_other_people_stand_behind_one_node() {
    let Some(tools) = tools() else { return };
    let world = World::new();
    let repository = world.path("repository");
    let mut git = world.command("git");
    git.args(["init", "-q", "-b", "main"]).arg(&repository);
    run(git, None).ok();
    let node = world.node("lab").zone("lab").start();
    let servers = eight(&tools, &repository, &node.url("/livez"));
    for server in &servers {
        node.register(server.name, &server.command);
    }
    let listed = answer(&modern(&node, "/z/lab/mcp", "tools/list", json!({})).is(200));
    let defined: BTreeMap<String, Value> = listed["result"]["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|tool| (tool["name"].as_str().unwrap_or_default().to_owned(), tool.clone()))
        .collect();
    assert_eq!(defined.len(), servers.iter().map(|server| server.tools).sum::<usize>(), "{:?}", defined.keys());
    for server in &servers {
        let (tool, arguments) = &server.call;
        let said = node.call(&format!("{tool}.{}.lab", server.name), arguments).to_string();
        assert!(said.contains(server.says), "{}: {said}", server.name);
    }
    // Each is found by what it says of itself: first, or beside one that says nearly the same.
    for (wire_name, tool) in &defined {
        let words: String = tool["description"].as_str().unwrap_or_default().chars().take(200).collect();
        let found = node.send("POST", "/v1/resolve", &json!({"q": words, "mode": "search", "limit": 5})).is(200).json();
        let names: Vec<&str> =
            found["results"].as_array().into_iter().flatten().filter_map(|hit| hit["wire_name"].as_str()).collect();
        assert!(names.contains(&wire_name.as_str()), "{wire_name}: {names:?} by {words:?}");
    }
}

/// A list of one zone was that of all below it, in which the first of a name hid the others, and that of a silent zone was empty.
#[test]
fn a_path_of_one_zone_has_its_tools_all_of_them_and_no_others() {
    let world = World::new();
    let root = world.node("root").zone(".").start();
    let lab = world.node("lab").zone("lab").parent(&root).start();
    let mut deep = world.node("deep").zone("deep.lab").parent(&lab).start();
    for (node, says) in [(&lab, "of lab"), (&deep, "of deep")] {
        let fixture = Fixture::new(&world, says);
        fixture.list(&[tool("echo", says, json!({"text": {"type": "string"}}))]);
        node.register("twin", &fixture.command());
    }
    for name in ["echo.twin.lab", "echo.twin.deep.lab"] {
        root.eventually_says(name, &json!({"text": "ready"}), "ready", SOON);
    }
    let asked = |zone: &str, method: &str, params: Value| {
        answer(&modern(&root, &format!("/z/{zone}/mcp"), method, params).is(200))
    };
    let listed = |zone: &str| {
        let answer = asked(zone, "tools/list", json!({}));
        let tools = answer["result"]["tools"].as_array().cloned().unwrap_or_default();
        tools.iter().map(|tool| (tool["name"].clone(), tool["description"].clone())).collect::<Vec<_>>()
    };
    for (zone, says) in [("lab", "of lab"), ("deep.lab", "of deep")] {
        assert_eq!(listed(zone), [(json!("twin__echo"), json!(says))], "{zone}");
    }
    deep.kill();
    root.aop(["cache", "flush"]).ok();
    lab.aop(["cache", "flush"]).ok();
    for (method, params) in [("tools/list", json!({})), ("tools/call", json!({"name": "twin__echo", "arguments": {}}))]
    {
        let answer = asked("deep.lab", method, params);
        assert!(answer["error"].is_object() || answer["result"]["isError"] == true, "{method}: {answer}");
    }
    let described = json!({"name": "describe_tool", "arguments": {"name": "nowhere.twin.deep.lab"}});
    let answer = answer(&modern(&root, "/mcp", "tools/call", described).is(200));
    assert!(answer.to_string().contains("nobody could say"), "{answer}");
    assert_eq!(listed("lab"), [(json!("twin__echo"), json!("of lab"))]);
}

/// A node that is down was answered for with another server's tool.
#[test]
fn a_tool_whose_node_is_down_is_not_listed_and_whoever_calls_it_is_told_that() {
    let world = World::new();
    let here = world.node("here").zone("lab").start();
    let mut there = world.node("there").zone("lab").args(["--join", &here.address]).start();
    let fixtures = ["near", "far"].map(|name| Fixture::new(&world, name));
    here.register("near", &fixtures[0].command());
    there.register("far", &fixtures[1].command());
    here.eventually_says("echo.far.lab", &json!({"text": "ready"}), "ready", SOON);
    let listed = || {
        let listed = answer(&modern(&here, "/z/lab/mcp", "tools/list", json!({})).is(200));
        let tools = listed["result"]["tools"].as_array().cloned().unwrap_or_default();
        tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert!(listed().contains(&"far__echo".to_owned()));
    there.kill();
    eventually("its tools are not listed", PATIENT, || {
        let listed = listed();
        if listed.contains(&"far__echo".to_owned()) { Err(listed.join(", ")) } else { Ok(()) }
    });
    let called = modern(&here, "/z/lab/mcp", "tools/call", json!({"name": "far__echo", "arguments": {"text": "a"}}));
    let called = answer(&called.is(200)).to_string();
    assert!(called.contains("is down") && !called.contains("Unknown tool"), "{called}");
}
