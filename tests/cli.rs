//! `aop` and the HTTP port as scripts and people use them: every command, format, exit status and error line, and bad input.
//!
//! One node and the fixture server are enough for nearly all of it; each test starts its own.

mod support;

#[path = "cli/answers.rs"]
mod answers;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use support::fixture::tool;
use support::ports::free_port;
use support::raw::request;
use support::{Fixture, Node, Ran, SOON, World, eventually, names, results, run};

/// A node of zone `research` with the fixture registered as `papers`.
fn one_node(world: &World) -> (Node, Fixture) {
    let node = world.node("node").zone("research").start();
    let fixture = Fixture::new(world, "papers");
    node.register("papers", &fixture.command());
    (node, fixture)
}

#[test]
fn every_command_answers_in_every_format() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    for (words, schema) in [
        (vec!["resolve", "say back a text"], "aop.resolve/1"),
        (vec!["show", "echo.papers.research"], "aop.tool/1"),
        (vec!["ls"], "aop.tools/1"),
        (vec!["ls", "research"], "aop.tools/1"),
        (vec!["zones"], "aop.zones/1"),
        (vec!["nodes"], "aop.nodes/1"),
        (vec!["status"], "aop.status/1"),
        (vec!["refresh", "papers"], "aop.registered/1"),
        (vec!["audit"], "aop.audit/1"),
        (vec!["audit", "--verify"], "aop.audit.verified/1"),
        (vec!["call", "echo.papers.research", "text=hello"], "aop.call/1"),
    ] {
        let with = |flags: &[&'static str]| node.aop(words.iter().copied().chain(flags.iter().copied())).ok();
        let json = with(&["-o", "json"]);
        assert_eq!(json.json()["schema"], schema, "{json}");
        assert_eq!(json.err, "", "nothing besides the data: {json}");
        assert_eq!(with(&["--json"]).json()["schema"], schema);
        assert!(!with(&["-o", "jsonl"]).json_lines().is_empty());
        let yaml = with(&["-o", "yaml"]);
        assert!(yaml.out.contains(&format!("schema: {schema}")) || yaml.out.contains(schema), "{yaml}");
        let wide = with(&["-o", "wide"]);
        let table = with(&[]);
        for people in [&table, &wide] {
            assert!(!people.out.is_empty(), "{people}");
            assert!(
                !people.out.contains('\u{1b}') && !people.out.contains('│'),
                "no colour and no box in a pipe: {people}"
            );
        }
    }
    node.aop(["resolve", "echo.papers.research", "-o", "name"]).ok().prints("echo.papers.research\n");
    let listed = node.aop(["ls", "-o", "name"]).ok();
    assert_eq!(listed.out.lines().count(), support::fixture::behaviours().len(), "all pages of the list: {listed}");
}

#[test]
fn a_result_object_has_every_member_that_is_promised() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    let answer = node.try_resolve("add two whole numbers", &["--trace", "--schema"]).ok().json();
    for member in ["schema", "query", "partial", "took_ms", "trace_id", "zones", "results", "trace"] {
        assert!(!answer[member].is_null(), "`{member}` in {answer}");
    }
    let first = &answer["results"][0];
    assert_eq!(first["id"], "papers/add");
    assert_eq!(first["name"], "add.papers.research");
    assert_eq!(first["wire_name"], "papers__add");
    assert_eq!((&first["zone"], &first["rank"], &first["source"]), (&json!("research"), &json!(1), &json!("local")));
    assert_eq!((&first["authoritative"], &first["freshness"]), (&json!(true), &json!("fresh")));
    assert!(first["def_hash"].as_str().is_some_and(|hash| hash.starts_with("sha256:") && hash.len() == 71), "{first}");
    assert_eq!(first["health"]["state"], "ok", "{first}");
    assert_eq!(first["instances"][0]["node"], node.id.as_str(), "{first}");
    assert_eq!(first["inputSchema"]["properties"]["a"], json!({"type": "integer"}), "{first}");
    for member in ["score", "age_ms", "ttl_ms"] {
        assert!(first[member].is_number(), "`{member}` in {first}");
    }
    let card = node.aop(["show", "add.papers.research", "--json"]).ok().json();
    assert_eq!(card["definition"], tool_named("add"), "the definition is the upstream's own");
    assert!(card["record"]["seq"].is_number() && card["record"]["origin"] == node.id.as_str(), "{card}");
    // Without the flags they stay out.
    let plain = node.try_resolve("add two whole numbers", &[]).ok().json();
    assert!(plain["trace"].is_null() && plain["results"][0]["inputSchema"].is_null(), "{plain}");
}

fn tool_named(name: &str) -> Value {
    support::fixture::behaviours().into_iter().find(|tool| tool["name"] == name).expect("a behaviour")
}

#[test]
fn a_tool_is_found_by_each_of_its_names() {
    let world = World::new();
    let (node, fixture) = one_node(&world);
    for name in ["add.papers.research", "ADD.papers.Research", "papers/add"] {
        assert_eq!(names(&node.resolve(name))[0], "add.papers.research", "{name}");
    }
    // A name that fits no label is made to fit, and found by both.
    fixture.list(&[tool("files/read now!", "Reads a file", json!({}))]);
    let listed = eventually("the odd name is listed", SOON, || {
        let tools = node.get("/v1/tools").json()["tools"].clone();
        let first = tools[0].clone();
        if first["id"] == "papers/files/read now!" { Ok(first) } else { Err(tools.to_string()) }
    });
    let name = listed["name"].as_str().expect("a name");
    let label = name.strip_suffix(".papers.research").expect("in its zone");
    assert!(label.starts_with("files_read_now_-"), "{name}");
    assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{name}");
    node.call(name, &json!({}));
    assert_eq!(fixture.calls("files/read now!"), 1, "the upstream is called with its own name");
}

/// What is found by words is never shown as if it were what was asked for by name.
#[test]
fn a_name_that_no_tool_has_is_said_to_be_none_whatever_its_words_find() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    let answer = node.try_resolve("echoes.papers.research", &[]).exits(6).json();
    assert!(!results(&answer).is_empty(), "{answer}");
    assert_eq!((&answer["name_not_found"], &answer["denied_by"]), (&json!(true), &json!("research")), "{answer}");
    node.aop(["resolve", "echoes.papers.research"]).exits(6).says("no tool is called `echoes.papers.research`");
    let answer = node.try_resolve("echo.papers.research", &[]).ok().json();
    assert!(answer.get("name_not_found").is_none(), "{answer}");
}

#[test]
fn many_questions_in_the_input_have_an_answer_each() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    let asked = |input: &str, words: &[&str]| {
        let mut command = node.aop_command(["resolve", "-"]);
        command.args(words);
        run(command, Some(input.as_bytes()))
    };
    let said = asked("echo.papers.research\n\n  add.papers.research  \n", &["-n", "1", "-o", "jsonl"]).ok();
    let answers: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    let found: Vec<_> =
        answers.iter().map(|answer| (answer["query"].clone(), answer["results"][0]["name"].clone())).collect();
    let both = ["echo.papers.research", "add.papers.research"].map(|name| (json!(name), json!(name)));
    assert_eq!(found, both);
    let shown = asked("echo.papers.research\nno.such.research\n", &["--exact"]).exits(6);
    shown.prints("echo.papers.research").says("nothing found for `no.such.research`");
    asked("\n", &[]).exits(2);
    asked("echo", &["--watch"]).exits(2);
}

#[test]
fn exit_statuses_are_those_of_the_table() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    node.aop(["version"]).ok();
    node.aop(["--help"]).ok().prints("Exit status");
    node.aop(["resolve"]).exits(2);
    node.aop(["resolve", "x", "-n", "many"]).exits(2);
    node.aop(["frobnicate"]).exits(2);
    node.try_call("fail.papers.research", &json!({})).exits(5).prints("the cheese has run out");
    node.try_resolve("no.such.research", &["--exact"]).exits(6);
    node.aop(["show", "no.such.research"]).exits(6);
    node.aop(["ls", "reserch"]).exits(6);
    node.aop(["unregister", "nothing"]).exits(6);
    node.aop(["refresh", "nothing"]).exits(6);
    let late = node.aop(["call", "hang.papers.research", "--timeout", "1s", "--json"]).exits(8);
    assert_eq!(late.problem()["kind"], "call_timed_out");
    assert!(late.took < Duration::from_secs(10), "{late}");
    let nobody = format!("127.0.0.1:{}", free_port());
    let unreachable = world.aop(["--node", &nobody, "status", "--json"]).exits(4);
    assert_eq!(unreachable.problem()["kind"], "node_unreachable", "{unreachable}");
    // The next node is tried.
    world.aop(["--node", &format!("{nobody},{}", node.address), "status", "--json"]).ok();
    let mut command = world.command(env!("CARGO_BIN_EXE_aop"));
    command.args(["status", "--json"]).env("AOP_NODE", &node.address);
    run(command, None).ok();
    // A wrong token.
    let wrong = world.file("token", "not-the-token").display().to_string();
    let refused = node.aop(["--token-file", &wrong, "unregister", "papers", "--json"]).exits(3);
    assert_eq!(refused.problem()["kind"], "auth_required", "{refused}");
    node.aop(["unregister", "papers"]).ok();
}

#[test]
fn an_error_is_one_line_with_everything_a_script_needs() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    let cases: [(&[&str], &str, Option<&str>); 8] = [
        (&["ls", "reserch"], "zone_not_found", Some("research")),
        (&["resolve", "x", "--zone", "reserch"], "zone_not_found", Some("research")),
        (&["show", "ecko.papers.research"], "name_not_found", Some("echo.papers.research")),
        (&["call", "ecko.papers.research", "text=x"], "name_not_found", Some("echo.papers.research")),
        (&["refresh", "paper"], "server_not_found", Some("papers")),
        (&["reslove", "x"], "usage", Some("resolve")),
        (&["register", "mcp", "localhost/mcp"], "usage", None),
        (&["join", "no-invite-at-all"], "usage", None),
    ];
    for (words, kind, near) in cases {
        let ran = node.aop(words.iter().copied().chain(["--json"]));
        let problem = ran.problem();
        assert_eq!(problem["kind"], kind, "{ran}");
        assert_eq!(ran.out, "", "no data on a failure: {ran}");
        assert!(problem["code"].as_str().is_some_and(|code| code.starts_with("AOP") && code.len() == 7), "{problem}");
        assert!(problem["message"].is_string() && problem["retryable"].is_boolean(), "{problem}");
        if let Some(near) = near {
            assert!(problem["did_you_mean"].as_array().is_some_and(|names| names.contains(&json!(near))), "{problem}");
        }
        hint_runs(&node, &problem);
        // A person reads the same: the message, and what was meant.
        let people = node.aop(words.iter().copied());
        assert_eq!(people.code, ran.code);
        assert!(near.is_none_or(|near| people.err.contains(near)), "{people}");
    }
}

/// Every hint is a command that runs: whatever it answers, it is not a wrong use.
#[track_caller]
fn hint_runs(node: &Node, problem: &Value) {
    let Some(hint) = problem["hint"].as_str() else { return };
    let hint = hint.split(" #").next().unwrap_or(hint);
    let Some(words) = hint.strip_prefix("aop ") else { return };
    // Those with a person's own values in them are shown, not run.
    if words.contains(['\'', '"', '<', '~']) || words.starts_with("register") {
        return;
    }
    let ran = node.aop(words.split_whitespace());
    assert_ne!(ran.code, 2, "the hint `{hint}`: {ran}");
}

#[test]
fn arguments_that_do_not_fit_are_refused_before_anything_is_sent() {
    let world = World::new();
    let (node, fixture) = one_node(&world);
    let misfits: [(&[&str], &[&str]); 6] = [
        (&["--args", r#"{"a":"two","b":3}"#], &["a", "integer"]),
        (&["--args", r#"{"a":2}"#], &["b", "required"]),
        (&["--args", r#"{"a":2,"b":3,"c":4}"#], &["c"]),
        (&["a=two", "b=3"], &["a", "integer"]),
        (&["a=2", "bb=3"], &["bb"]),
        (&["--args", "[1]"], &["object"]),
    ];
    for (words, told) in misfits {
        let ran = node.aop(["call", "add.papers.research", "--json"].into_iter().chain(words.iter().copied())).exits(2);
        let problem = ran.problem();
        for word in told {
            assert!(problem.to_string().contains(word), "`{word}` in {problem}");
        }
    }
    let refused = node.try_call("add.papers.research", &json!({"a": "two", "b": 3})).problem();
    assert_eq!(refused["kind"], "invalid_arguments");
    assert_eq!(refused["detail"]["path"], "/a", "{refused}");
    assert!(refused["detail"]["expected"].to_string().contains("integer"), "{refused}");
    let dry = node.aop(["call", "add.papers.research", "a=2", "b=3", "--dry-run", "--json"]).ok().json();
    assert_eq!(dry["valid"], true, "{dry}");
    assert_eq!(fixture.calls("add"), 0, "nothing was sent");

    // The same numbers in each form that fits.
    for words in [&["a=2", "b=40"][..], &["--args", r#"{"a":2,"b":40}"#], &["a:=2", "b=40"]] {
        let ran = node.aop(["call", "add.papers.research", "--json"].into_iter().chain(words.iter().copied())).ok();
        assert_eq!(ran.json()["result"]["structuredContent"], json!({"sum": 42}), "{ran}");
    }
    let ran =
        run(node.aop_command(["call", "add.papers.research", "-", "--json"]), Some(br#"{"a":2,"b":40} {"a":1,"b":1}"#))
            .ok();
    assert!(ran.out.contains("42") && ran.out.contains("\"sum\":2") || ran.out.contains("\"sum\": 2"), "{ran}");
    assert_eq!(fixture.calls("add"), 5);
    node.aop(["call", "echo.papers.research", "text=plain words"]).ok().prints("plain words");
}

#[test]
fn an_upstream_that_misbehaves_is_told_apart_and_hurts_nobody() {
    let world = World::new();
    let (node, fixture) = one_node(&world);
    let other = Fixture::new(&world, "other");
    node.register("other", &other.command());
    let alive = || node.eventually_says("echo.other.research", &json!({"text": "fine"}), "fine", SOON);

    let died = node.try_call("die.papers.research", &json!({})).exits(1);
    assert_eq!(died.problem()["kind"], "upstream_failed", "{died}");
    assert!(died.problem().to_string().contains("the disk is made of cheese"), "its last words: {died}");
    assert_eq!(fixture.calls("die"), 1, "a call that may have run is not repeated");
    alive();
    node.eventually_says("echo.papers.research", &json!({"text": "back"}), "back", support::PATIENT);

    let garbage = node.aop(["call", "garbage.papers.research", "--timeout", "3s", "--json"]);
    assert!([1, 8].contains(&garbage.code), "{garbage}");
    let kind = garbage.problem()["kind"].clone();
    assert!(kind == "upstream_failed" || kind == "call_timed_out", "{garbage}");
    alive();

    let refused = node.try_call("refuse.papers.research", &json!({})).exits(1);
    assert!(refused.problem().to_string().contains("not on a Saturday"), "{refused}");

    // A call that hangs keeps no other waiting.
    let mut hanging = node.aop_command(["call", "hang.papers.research", "--timeout", "30s"]);
    hanging.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let _hanging = support::process::Guard(hanging.spawn().expect("aop starts"));
    eventually("the hanging call runs", SOON, || {
        if fixture.calls("hang") == 1 { Ok(()) } else { Err("not yet".to_owned()) }
    });
    node.eventually_says("echo.papers.research", &json!({"text": "beside it"}), "beside it", SOON);
}

#[test]
fn a_server_that_cannot_be_registered_leaves_nothing_but_a_clear_error() {
    let world = World::new();
    let node = world.node("node").zone("research").start();
    for (behaviour, told) in [("die", "the disk is made of cheese"), ("garbage", "cheese counter")] {
        let fixture = Fixture::new(&world, behaviour).option("--at-start").option(behaviour);
        let ran = node.try_register(behaviour, &fixture.command(), &[]);
        assert_ne!(ran.code, 0, "{ran}");
        assert!(ran.problem().to_string().contains(told), "{behaviour}: {ran}");
    }
    let silent = Fixture::new(&world, "silent").option("--at-start").option("hang");
    let ran = node.try_register("silent", &silent.command(), &["--timeout", "4s"]);
    assert!(ran.code != 0 && ran.took < Duration::from_secs(30), "{ran}");
    let ran = node.try_register("nowhere", &["/nowhere/at-all".to_owned()], &[]);
    assert!(ran.code != 0 && ran.problem().to_string().contains("/nowhere/at-all"), "{ran}");
    let dead = format!("http://127.0.0.1:{}/mcp", free_port());
    let ran = node.aop(["register", "mcp", &dead, "--as", "dead", "--json"]);
    assert!(ran.code != 0 && ran.problem().to_string().contains(&dead), "{ran}");
    // A node's page is no MCP server.
    let ran = node.aop(["register", "mcp", &node.url("/livez"), "--as", "page", "--json"]);
    assert_ne!(ran.code, 0, "{ran}");
    assert_eq!(node.get("/v1/servers").json()["servers"], json!([]));
    assert!(node.children().is_empty(), "{:?}", node.children());
}

#[test]
fn a_registration_over_a_server_says_what_it_took_the_place_of() {
    let world = World::new();
    let (node, old) = one_node(&world);
    let new = Fixture::new(&world, "new");
    new.list(&[tool_named("echo"), tool("extra", "Was not there before", json!({}))]);
    let body = |fixture: &Fixture| json!({"kind": "stdio", "as": "papers", "command": fixture.command()});
    let same = node.send("POST", "/v1/servers", &body(&old)).is(201).json();
    assert_eq!((same.get("replaced"), same.get("removed")), (None, None), "nothing is another: {same}");
    let said = node.send("POST", "/v1/servers", &body(&new)).is(201).json();
    assert_eq!((&said["schema"], &said["server"]), (&json!("aop.registered/1"), &json!("papers")), "{said}");
    assert_eq!((&said["replaced"], &said["count"]), (&json!(old.command().join(" ")), &json!(2)), "{said}");
    let text = |one: &Value| one.as_str().unwrap_or_default().to_owned();
    let removed: BTreeSet<String> = said["removed"].as_array().into_iter().flatten().map(text).collect();
    let full = |tool: &Value| format!("{}.papers.research", text(&tool["name"]));
    let gone = support::fixture::behaviours().iter().map(full).filter(|name| !name.starts_with("echo.")).collect();
    assert_eq!(removed, gone, "{said}");
}

#[test]
fn secrets_are_given_by_reference_and_shown_nowhere() {
    let world = World::new();
    let from_file = world.file("secret", "from-a-file\n").display().to_string();
    let node = world.node("node").zone("research").env("NODE_SECRET", "from-the-environment").start();
    let fixture = Fixture::new(&world, "papers");
    let file = format!("BY_FILE=@{from_file}");
    let flags = ["--env", "PLAIN=in-the-open", "--env", "BY_NAME=env:NODE_SECRET", "--env", &file];
    node.try_register("papers", &fixture.command(), &flags).ok();
    let shown = node.call("environment.papers.research", &json!({}));
    let environment: Value = serde_json::from_str(shown["content"][0]["text"].as_str().expect("text")).expect("JSON");
    assert_eq!(environment["PLAIN"], "in-the-open");
    assert_eq!(environment["BY_NAME"], "from-the-environment");
    assert_eq!(environment["BY_FILE"], "from-a-file");
    assert!(environment["NODE_SECRET"].is_null(), "a child does not inherit the node's variables: {environment}");

    let server = fixture.serve(&world, 0);
    let file = format!("X-By-File=@{from_file}");
    let words =
        ["register", "mcp", &server.url(), "--as", "web", "--header", "X-By-Name=env:NODE_SECRET", "--header", &file];
    node.aop(words).ok();
    node.call("echo.web.research", &json!({"text": "hello"}));
    let journal = fixture.journal();
    let call = journal.iter().rev().find(|entry| entry["method"] == "tools/call" && entry["headers"].is_object());
    let headers = &call.expect("a call over HTTP")["headers"];
    assert_eq!(headers["x-by-name"], "from-the-environment");
    assert_eq!(headers["x-by-file"], "from-a-file");
    for name in ["papers", "web"] {
        let server = node.get(&format!("/v1/servers/{name}")).is(200).text();
        for secret in ["from-a-file", "from-the-environment", "in-the-open"] {
            assert!(!server.contains(secret) && !node.log_text().contains(secret), "`{secret}` in {server}");
        }
    }
}

#[test]
fn only_this_machine_and_its_pages_may_ask_and_only_a_token_may_change() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    let port = node.address.rsplit(':').next().expect("a port");
    let routes = [
        ("GET", "/v1/resolve?q=echo"),
        ("GET", "/v1/tools"),
        ("GET", "/v1/servers"),
        ("GET", "/v1/status"),
        ("GET", "/metrics"),
        ("GET", "/livez"),
        ("GET", "/"),
        ("POST", "/mcp"),
        ("POST", "/v1/servers"),
        ("GET", "/nowhere"),
    ];
    for (method, path) in routes {
        for host in
            ["evil.example", "evil.example:7400", "127.0.0.1.evil.example", "localhost.evil.example", "169.254.169.254"]
        {
            let reply = request(&node.address, method, path, &[("Host", host)], b"{}").is(403);
            assert_eq!(reply.json()["kind"], "host_not_allowed", "{path} {host}");
        }
        for origin in [
            "http://evil.example",
            "https://localhost.evil.example",
            "null",
            "file://",
            "http://localhost@evil.example",
        ] {
            let reply = request(&node.address, method, path, &[("Origin", origin)], b"{}");
            assert_eq!(reply.status, 403, "{path} {origin}: {}", reply.text());
        }
    }
    for host in [&node.address, "localhost", &format!("localhost:{port}"), &format!("[::1]:{port}")] {
        request(&node.address, "GET", "/livez", &[("Host", host)], b"").is(200);
    }
    for origin in ["http://localhost", "http://localhost:5173", "https://127.0.0.1:8443", "http://[::1]:3000"] {
        request(&node.address, "GET", "/v1/status", &[("Origin", origin)], b"").is(200);
    }

    let token = node.token();
    let right = format!("Bearer {token}");
    let body = br#"{"tools":[{"name":"planted","server":"nobody"}]}"#;
    for (method, path) in [
        ("POST", "/v1/servers"),
        ("POST", "/v1/tools"),
        ("DELETE", "/v1/servers/papers"),
        ("POST", "/v1/servers/papers/refresh"),
        ("DELETE", "/v1/tools/echo.papers.research"),
        ("POST", "/v1/tools/echo.papers.research/call"),
    ] {
        for wrong in [
            None,
            Some("Bearer wrong".to_owned()),
            Some(format!("Basic {token}")),
            Some(token.clone()),
            Some("Bearer ".to_owned()),
        ] {
            let mut headers = vec![("Content-Type", "application/json")];
            headers.extend(wrong.as_deref().map(|value| ("Authorization", value)));
            let reply = request(&node.address, method, path, &headers, body).is(401);
            assert_eq!(reply.json()["kind"], "auth_required", "{method} {path}");
        }
        // The token does not make another host's page trustworthy.
        let headers = [("Authorization", right.as_str()), ("Origin", "http://evil.example")];
        request(&node.address, method, path, &headers, body).is(403);
    }
    assert_eq!(names(&node.resolve("echo.papers.research")).len(), 1, "nothing was changed");
    node.send("POST", "/v1/tools", &serde_json::from_slice(body).expect("JSON")).is(201);
    assert!(names(&node.resolve("planted.nobody.research")).contains(&"planted.nobody.research".to_owned()));
}

#[test]
fn http_answers_say_what_a_script_needs() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    let found = node.get("/v1/resolve?q=add%20two%20whole%20numbers&n=1").is(200);
    assert!(found.header("etag").is_some() && found.header("cache-control").is_some(), "{:?}", found.headers);
    assert!(found.header("server-timing").is_some(), "{:?}", found.headers);
    assert_eq!(names(&results(&found.json())), ["add.papers.research"]);
    let again = request(
        &node.address,
        "GET",
        "/v1/resolve?q=add%20two%20whole%20numbers&n=1",
        &[("If-None-Match", found.header("etag").expect("just seen"))],
        b"",
    );
    assert!(again.status == 304 || again.status == 200, "{}", again.status);
    let nothing = node.get("/v1/resolve?q=zzzzqqqq&mode=exact").is(200);
    assert_eq!(nothing.json()["results"], json!([]));
    let batch =
        node.send("POST", "/v1/resolve", &json!({"queries": ["echo.papers.research", "add.papers.research"]})).is(200);
    let answers = batch.json();
    assert_eq!(
        (&answers["schema"], answers["answers"].as_array().map(Vec::len)),
        (&json!("aop.resolve-batch/1"), Some(2)),
        "{answers}"
    );

    // What the command line takes as a span of time, the node does.
    for span in ["90s", "1m30s", "1500ms", "25h"] {
        for flag in ["--max-stale", "--timeout"] {
            node.try_resolve("echo.papers.research", &[flag, span]).ok();
        }
    }

    // What it keeps as well, and whether that is still so.
    for path in ["/v1/tools", "/v1/tools?limit=1", "/v1/tools/echo.papers.research"] {
        let reply = node.get(path).is(200);
        assert!(reply.header("server-timing").is_some(), "{path}: {:?}", reply.headers);
        assert!(reply.header("cache-control").is_some_and(|said| said.starts_with("private")), "{:?}", reply.headers);
        let etag = reply.header("etag").expect("a mark");
        assert_eq!(request(&node.address, "GET", path, &[("If-None-Match", etag)], b"").status, 304, "{path}");
    }
    // Another list has another mark, and so has the same one after a change.
    let mark = |path: &str| node.get(path).is(200).header("etag").unwrap_or_default().to_owned();
    let before = mark("/v1/tools");
    assert_ne!(before, mark("/v1/tools?limit=1"));
    node.send("POST", "/v1/tools", &json!({"tools": [{"server": "list", "name": "one_more"}]})).is(201);
    eventually("the list is another", SOON, || {
        let again = request(&node.address, "GET", "/v1/tools", &[("If-None-Match", &before)], b"");
        if again.status == 200 { Ok(()) } else { Err(again.status.to_string()) }
    });
    let one = node.get("/v1/tools?limit=1").is(200).json();
    assert_eq!(one["tools"].as_array().map(Vec::len), Some(1), "{one}");
    assert_eq!(node.get("/v1/tools?limt=1").is(400).json()["did_you_mean"], json!(["limit"]));
    assert!(batch.header("server-timing").is_some(), "{:?}", batch.headers);

    for (method, path, status, kind) in [
        ("GET", "/v1/tools/no.such.research", 404, "name_not_found"),
        ("GET", "/v1/tools?zone=reserch", 404, "zone_not_found"),
        ("GET", "/v1/servers/nothing", 404, "server_not_found"),
        ("GET", "/v1/nothing", 404, "route_not_found"),
        ("GET", "/v1/resolve?q=x&n=many", 400, "usage"),
        ("GET", "/v1/resolve?q=x&limti=3", 400, "usage"),
    ] {
        let reply = request(&node.address, method, path, &[], b"").is(status);
        assert!(
            reply.header("content-type").is_some_and(|kind| kind.starts_with("application/problem+json")),
            "{path}"
        );
        let problem = reply.json();
        assert_eq!((&problem["kind"], &problem["status"]), (&json!(kind), &json!(status)), "{problem}");
        assert!(problem["type"].is_string() && problem["title"].is_string(), "{problem}");
    }
    for body in [json!({"kind": "stdoi", "command": ["x"]}), json!({"kind": "stdio"}), json!({}), json!([])] {
        node.send("POST", "/v1/servers", &body).is(400);
    }
    let big = json!({"tools": [{"name": "big", "server": "s", "description": "x".repeat(200_000)}]});
    let reply = node.send("POST", "/v1/tools", &big);
    assert_eq!(reply.json()["kind"], "too_large", "{}", reply.text());

    assert_eq!(node.get("/livez").is(200).status, 200);
    node.get("/readyz").is(200);
    let metrics = node.get("/metrics").is(200).text();
    assert!(metrics.lines().any(|line| line.starts_with("aop_")), "{metrics}");
    let page = node.get("/").is(200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
}

#[test]
fn a_definition_that_changed_is_not_called_by_mistake() {
    let world = World::new();
    let (node, fixture) = one_node(&world);
    let call = |hash: &str| {
        node.send("POST", "/v1/tools/echo.papers.research/call", &json!({"arguments": {"text": "x"}, "def_hash": hash}))
    };
    let hash = node.resolve("echo.papers.research")[0]["def_hash"].as_str().expect("a hash").to_owned();
    call(&hash).is(200);
    let other = format!("sha256:{}", "0".repeat(64));
    assert_eq!(call(&other).is(409).json()["kind"], "definition_changed");
    assert_eq!(fixture.calls("echo"), 1);
}

#[test]
fn editors_and_shells_are_helped() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    let config = node.aop(["mcp", "config", "cursor"]).ok();
    assert!(config.out.contains("mcpServers") && config.out.contains("mcp"), "{config}");
    let wrong = node.aop(["mcp", "config", "crusor", "--json"]).exits(2);
    assert!(wrong.problem()["did_you_mean"].as_array().is_some_and(|near| near.contains(&json!("cursor"))), "{wrong}");
    for shell in ["bash", "zsh", "fish"] {
        node.aop(["completions", shell]).ok().prints("resolve");
    }
    let version = node.aop(["version", "--json"]).ok();
    assert!(version.out.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

#[test]
fn files_of_another_kind_are_told_by_their_kind() {
    let world = World::new();
    let catalogue = world.file("tools.jsonl", "{\"name\":\"a\",\"server\":\"s\"}\n").display().to_string();
    let told = world.aop(["import", &catalogue, "--json"]).exits(2).problem();
    assert!(told["hint"].as_str().is_some_and(|hint| hint.starts_with("aop register file ")), "{told}");
    let told = world.aop(["bench", "/dev/null", "--json"]).exits(2).problem();
    assert!(told["message"].as_str().is_some_and(|text| text.contains("no question")), "{told}");
}

#[test]
fn the_daemon_explains_itself() {
    let world = World::new();
    let node = world.node("node").zone("research").start();
    world.aop_node(["version"]).ok().prints(env!("CARGO_PKG_VERSION"));
    world.aop_node(["--help"]).ok().prints("--parent");
    world.aop_node(["check"]).ok();
    let config: Ran = world.aop_node(["config"]).ok();
    assert!(config.out.contains("listen") && config.out.contains("zone"), "{config}");
    let healthy = |address: &str| {
        let mut command = world.command(env!("CARGO_BIN_EXE_aop-node"));
        command.arg("healthcheck").env("AOP_LISTEN", address);
        run(command, None)
    };
    healthy(&node.address).ok();
    let ill = healthy(&format!("127.0.0.1:{}", free_port()));
    assert_ne!(ill.code, 0, "{ill}");
}
