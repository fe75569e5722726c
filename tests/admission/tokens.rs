//! Tokens: what each role may, where its bounds end, and that an ended one is nobody's at once.

use serde_json::{Value, json};

use crate::guarded::{Guarded, ROUTES};
use crate::support::{Fixture, SOON, World, eventually};

const NAMES_HIDDEN: [&str; 2] = ["secret", "hidden_papers"];

#[test]
fn each_role_passes_where_it_may_and_nobody_else_does() {
    let world = World::new();
    let guarded = Guarded::start(&world, "[http]\nstranger_rate = 100000\n");
    let may = [
        ("reader", "read"),
        ("caller", "read call"),
        ("registrar", "read register"),
        ("admin", "read call register admin"),
    ];
    let body = |path: &str| if path == "/v1/resolve" { r#"{"q":"echo"}"# } else { "{}" };
    for (role, allowed) in may {
        let token = guarded.token(role, &["--role", role]);
        assert!(token.starts_with("aop_") && token.len() == 68, "{token}");
        for (method, path, need) in ROUTES {
            let answer = guarded.with(&token).send(method, path, &[], body(path));
            let passes = need.is_empty() || allowed.split(' ').any(|one| one == need);
            assert_eq!(!matches!(answer.status, 401 | 403), passes, "{role} {method} {path}: {}", answer.text);
            if !passes {
                let challenge = answer.header("www-authenticate").to_owned();
                assert!(challenge.contains("insufficient_scope") && challenge.contains("scope=\"aop:"), "{challenge}");
            }
        }
    }
    for (method, path, need) in ROUTES {
        let nobody = guarded.client().send(method, path, &[], body(path));
        let wrong = guarded.with("aop_0000").send(method, path, &[], body(path));
        assert_eq!(
            (nobody.status == 401, wrong.status == 401),
            (!need.is_empty(), !need.is_empty()),
            "{method} {path}"
        );
        if !need.is_empty() {
            assert!(nobody.header("www-authenticate").contains("resource_metadata=\"https://"), "{}", nobody.text);
            assert!(wrong.header("www-authenticate").contains("error=\"invalid_token\""));
        }
        assert!(nobody.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "no CORS");
    }
    let operator = guarded.with(&guarded.node.token());
    assert_eq!(operator.get("/v1/tokens").is(200).json()["tokens"].as_array().map(Vec::len), Some(4));
    assert!(!operator.get("/v1/tokens").text.contains("sha256"), "not even hashes are listed");
    let metrics = operator.get("/metrics").text;
    let count = |reason: &str| {
        metrics.lines().find(|line| line.contains(&format!("{{reason=\"{reason}\"}}"))).unwrap_or("").to_owned()
    };
    assert!(!count("auth").ends_with(" 0") && !count("forbidden").ends_with(" 0"), "{metrics}");
}

#[test]
fn a_token_ends_at_once_and_outlives_a_restart_otherwise() {
    let world = World::new();
    let mut guarded = Guarded::start(&world, "");
    let (kept, ended) = (guarded.token("kept", &["--role", "reader"]), guarded.token("ended", &["--role", "reader"]));
    let brief = guarded.token("brief", &["--role", "reader", "--expires", "1ms"]);
    let twice = guarded.node.aop(["token", "create", "kept", "--role", "reader", "--json"]).exits(1);
    assert_eq!(twice.problem()["kind"], "name_taken");
    guarded.with(&ended).get("/v1/status").is(200);
    guarded.node.aop(["token", "revoke", "ended"]).ok();
    guarded.with(&ended).get("/v1/status").is(401);
    eventually("a token expires", SOON, || {
        let answer = guarded.with(&brief).get("/v1/status");
        if answer.status == 401 && answer.text.contains("expired") { Ok(()) } else { Err(answer.text) }
    });
    guarded.node.start_again();
    guarded.with(&kept).get("/v1/status").is(200);
    guarded.with(&ended).get("/v1/status").is(401);
    let gone = guarded.node.aop(["token", "revoke", "ended", "--json"]).exits(6);
    assert_eq!(gone.problem()["kind"], "name_not_found");
}

#[test]
fn bounds_cut_answers_lists_and_calls_alike() {
    let world = World::new();
    let guarded = Guarded::start(&world, "");
    guarded.catalogue(&[("arxiv", "search_papers"), ("secret", "hidden_papers")]);
    let token = guarded.token("some", &["--role", "caller", "--tool", "*.arxiv.research"]);
    let all = guarded.with(&guarded.node.token());
    eventually("the catalogue is listed", SOON, || {
        match all.get("/v1/tools").json()["tools"].as_array().map(Vec::len) {
            Some(2) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let some = guarded.with(&token);
    let call = |name: &str| json!({"name": "call_tool", "arguments": {"name": name, "arguments": {}}});
    let shown = [
        some.get("/v1/resolve?q=papers"),
        some.get("/v1/tools"),
        some.get("/v1/tools/hidden_paper.secre.research"),
        some.mcp("/mcp", "tools/call", json!({"name": "search_tools", "arguments": {"query": "papers"}})),
        some.mcp("/mcp", "tools/call", json!({"name": "describe_tool", "arguments": {"name": "hidden_paper"}})),
        some.mcp("/z/research/mcp", "tools/list", json!({})),
        some.mcp("/z/research/mcp", "tools/call", json!({"name": "secret__hidden_paper", "arguments": {}})),
    ];
    for (at, answer) in shown.iter().enumerate() {
        // What was asked is said back.
        let said = answer.text.replace("secret__hidden_paper", "");
        assert!(NAMES_HIDDEN.iter().all(|hidden| !said.contains(hidden)), "{at}: {}", answer.text);
    }
    assert!(shown[0].text.contains("search_papers.arxiv") && shown[5].text.contains("arxiv__search_papers"));
    assert!(shown[5].text.contains(r#""cacheScope":"private""#), "{}", shown[5].text);
    // Whoever sees everything is not shown what was cut for another, nor the other way round.
    assert!(all.get("/v1/resolve?q=papers").text.contains("hidden_papers"));
    assert!(!some.get("/v1/resolve?q=papers").text.contains("hidden_papers"));
    // Nothing serves these: what is refused for that reason was let through by the rules.
    assert_eq!(
        some.send("POST", "/v1/tools/search_papers.arxiv.research/call", &[], "{}").is(503).json()["kind"],
        "nothing_serves"
    );
    assert_eq!(
        some.send("POST", "/v1/tools/hidden_papers.secret.research/call", &[], "{}").is(404).json()["kind"],
        "name_not_found"
    );
    let refused = some.mcp("/mcp", "tools/call", call("hidden_papers.secret.research")).is(200).json();
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    let reader = guarded.token("reader", &["--role", "reader"]);
    let refused = guarded.with(&reader).mcp("/mcp", "tools/call", call("search_papers.arxiv.research")).is(403);
    assert!(refused.header("www-authenticate").contains("scope=\"aop:call\""));
    assert_eq!(refused.json()["error"]["data"]["kind"], "forbidden");
}

/// Through `/s/` a server hears of a caller what he may do there, and he hears of it what he may know.
#[test]
fn bounds_hold_where_a_server_is_passed_through() {
    let world = World::new();
    let guarded = Guarded::start(&world, "");
    let fixture = Fixture::new(&world, "papers");
    guarded.node.register("papers", &fixture.command());
    guarded.node.register("secrets", &Fixture::new(&world, "secrets").command());
    let token = |name: &str, flags: &[&str]| guarded.token(name, flags);
    let some = token("some", &["--role", "caller", "--tool", "echo.papers.research"]);
    let whole = token("whole", &["--role", "caller", "--tool", "*papers.research"]);
    let reader = token("reader", &["--role", "reader"]);
    let path = "/s/papers/mcp";
    let post = |token: &str, session: &str, method: &str, params: serde_json::Value| {
        let headers = [("accept", "application/json, text/event-stream"), ("mcp-session-id", session)];
        let headers = if session.is_empty() { &headers[..1] } else { &headers[..] };
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        guarded.with(token).send("POST", path, headers, &message)
    };
    let begin = |token: &str| {
        let hello = post(token, "", "initialize", json!({"protocolVersion": "2025-11-25"})).is(200);
        hello.header("mcp-session-id").to_owned()
    };
    let (mine, his) = (begin(&some), begin(&whole));
    let listed = post(&some, &mine, "tools/list", json!({})).is(200).json();
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed["result"]["tools"][0]["name"], "echo");
    // The other three of this page, and where the next one begins, are as the server said them.
    assert_eq!(listed["result"]["nextCursor"], "4", "{listed}");
    let listed = post(&whole, &his, "tools/list", json!({})).is(200).json();
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(4), "{listed}");
    post(&some, &mine, "tools/call", json!({"name": "echo", "arguments": {"text": "a"}})).is(200);
    let refused = post(&some, &mine, "tools/call", json!({"name": "add", "arguments": {}})).is(403);
    assert!(refused.header("www-authenticate").contains("scope=\"aop:call\""));
    assert_eq!(refused.json()["error"]["data"]["kind"], "forbidden");
    // What is no tool's is the server's as a whole, known or not.
    for method in ["resources/read", "prompts/get", "made/up"] {
        post(&some, &mine, method, json!({})).is(403);
        assert_eq!(post(&whole, &his, method, json!({})).is(200).json()["error"]["code"], -32601, "{method}");
    }
    let read = begin(&reader);
    post(&reader, &read, "tools/list", json!({})).is(200);
    post(&reader, &read, "tools/call", json!({"name": "echo", "arguments": {"text": "a"}})).is(403);
    // A session is of who began it, and without a token it is nobody's.
    post(&whole, &mine, "tools/list", json!({})).is(404);
    let nobody = guarded.client().send("POST", path, &[("mcp-session-id", &mine)], "{}");
    assert_eq!(nobody.status, 401);
    // A server of which he may see nothing is as one that is not there.
    let told = |server: &str| {
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}).to_string();
        let accept = [("accept", "application/json, text/event-stream")];
        let answer = guarded.with(&some).send("POST", &format!("/s/{server}/mcp"), &accept, &hello).is(404);
        let mut told: Value = serde_json::from_str(&answer.text.replace(server, "SERVER")).expect("JSON");
        // Each refusal has a trace of its own.
        assert_ne!(told["error"]["data"]["trace_id"].take(), Value::Null);
        told
    };
    assert_eq!(told("secrets"), told("secret"));
    let journal = fixture.journal();
    let asked = |method: &str| journal.iter().filter(|entry| entry["method"] == method).count();
    assert_eq!((asked("resources/read"), fixture.calls("add"), fixture.calls("echo")), (1, 0, 1));
}

/// A secret that was forgotten is nobody's: not an empty one, and not the one whose hash stands in the configuration.
#[test]
fn an_empty_token_is_nobodys_and_its_hash_is_refused() {
    let world = World::new();
    let guarded = Guarded::start(&world, "[http]\nstranger_rate = 100000\n");
    let client = guarded.client();
    for value in ["", "Bearer", "Bearer ", "bearer  ", "Bearer aop_", "Basic Og==", "Token", "null"] {
        for path in ["/v1/status", "/v1/tokens", "/metrics"] {
            assert_eq!(client.send("GET", path, &[("authorization", value)], "").status, 401, "`{value}` {path}");
        }
    }
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let token = format!("[[auth.tokens]]\nname = \"forgotten\"\nhash = \"sha256:{hash}\"\nrole = \"admin\"\n");
    let file = world.file("empty.toml", &token).display().to_string();
    let checked = world.aop_node(["check", "--config", &file]);
    assert!(checked.code == 2 && checked.err.contains("hash of nothing"), "{checked}");
}

#[test]
fn what_may_be_found_may_still_not_be_called() {
    let world = World::new();
    let rule = r#"{ principal = "token:ci", action = "call", tool = "delete_*", deny = true }"#;
    let guarded = Guarded::start(&world, &format!("[auth]\nrules = [{rule}]\n"));
    guarded.catalogue(&[("files", "delete_all"), ("files", "read")]);
    let ci = guarded.token("ci", &["--role", "caller"]);
    let client = guarded.with(&ci);
    eventually("the tools are found", SOON, || match client.get("/v1/tools").text {
        text if text.contains("delete_all") && text.contains("read") => Ok(()),
        text => Err(text),
    });
    let call = |tool: &str| client.send("POST", &format!("/v1/tools/{tool}.files.research/call"), &[], "{}");
    let refused = call("delete_all").is(403);
    assert!(refused.text.contains("token:ci may not call `delete_all.files.research`"), "{}", refused.text);
    assert!(refused.header("www-authenticate").contains("scope=\"aop:call\""));
    // Nothing serves either: this one was let through to where that is noticed.
    assert_eq!(call("read").is(503).json()["kind"], "nothing_serves");
    let by_name = json!({"name": "call_tool", "arguments": {"name": "delete_all.files.research"}});
    let by_wire_name = json!({"name": "files__delete_all", "arguments": {}});
    for (path, params) in [("/mcp", by_name), ("/z/research/mcp", by_wire_name)] {
        let refused = client.mcp(path, "tools/call", params).is(200).json();
        assert_eq!(refused["result"]["isError"], true, "{refused}");
        assert!(refused.to_string().contains("may not call"), "{refused}");
    }
}

#[test]
fn what_a_client_presents_never_reaches_an_upstream() {
    let world = World::new();
    let guarded = Guarded::start(&world, "");
    let fixture = Fixture::new(&world, "upstream");
    let server = fixture.serve(&world, 0);
    guarded.node.aop(["register", "mcp", &server.url(), "--as", "fixture", "--allow-private"]).ok();
    let token = guarded.token("ci", &["--role", "caller"]);
    let arguments = json!({"arguments": {"text": "hello"}}).to_string();
    let path = "/v1/tools/echo.fixture.research/call";
    let client = guarded.with(&token);
    eventually("the tool is there", SOON, || match client.send("POST", path, &[("x-secret", "canary")], &arguments) {
        answer if answer.status == 200 => Ok(()),
        answer => Err(answer.text),
    });
    let params = json!({"name": "fixture__echo", "arguments": {"text": "hello"}});
    client.mcp("/z/research/mcp", "tools/call", params).is(200);
    assert_eq!(fixture.calls("echo"), 2);
    let heard = serde_json::to_string(&fixture.journal()).expect("plain");
    assert!(heard.contains("\"headers\""), "the fixture writes down what it is sent");
    for secret in [token.as_str(), "canary", "Bearer", &guarded.node.token()] {
        assert!(!heard.contains(secret), "{heard}");
    }
}

#[test]
fn rules_and_tokens_of_the_file_are_read_again_on_sighup_and_stay_on_an_error() {
    use rustix::process::Signal;
    use sha2::{Digest, Sha256};

    let world = World::new();
    let guarded = Guarded::start(&world, "");
    let digest: String = Sha256::digest(b"from-the-file").iter().map(|byte| format!("{byte:02x}")).collect();
    let token = format!("[[auth.tokens]]\nname = \"file\"\nhash = \"sha256:{digest}\"\nrole = \"reader\"\n");
    let client = guarded.with("from-the-file");
    client.get("/v1/status").is(401);
    let becomes = |status: u16| {
        eventually("the node follows its file", SOON, || match client.get("/v1/status").status {
            now if now == status => Ok(()),
            now => Err(now.to_string()),
        });
    };
    guarded.rewrite(&token);
    guarded.node.signal(Signal::HUP);
    becomes(200);
    let refused = guarded.node.aop(["token", "revoke", "file", "--json"]).exits(3);
    assert_eq!(refused.problem()["kind"], "forbidden");
    guarded.rewrite(&format!("{token}role = \"nobody\"\n"));
    guarded.node.signal(Signal::HUP);
    eventually("the error is logged", SOON, || {
        if guarded.node.log_text().contains("the former stays") { Ok(()) } else { Err("not yet".to_owned()) }
    });
    client.get("/v1/status").is(200);
    guarded.rewrite(&format!("[auth]\nrules = [{{ principal = \"token:file\", deny = true }}]\n{token}"));
    guarded.node.signal(Signal::HUP);
    becomes(403);
    assert!(guarded.file.exists());
}

/// A result says whether who asked can use it: the same question, two callers, two answers, in whatever order and from whatever cache.
#[test]
fn a_result_says_whether_who_asked_can_use_it_and_why_not() {
    let world = World::new();
    let guarded = Guarded::start(&world, "");
    guarded.catalogue(&[("papers", "Search papers on arxiv")]);
    let (reader, caller) =
        (guarded.token("reader", &["--role", "reader"]), guarded.token("caller", &["--role", "caller"]));
    let checks = |result: &serde_json::Value| -> Vec<String> {
        let why_not = result["why_not"].as_array().into_iter().flatten();
        why_not.filter_map(|it| it["check"].as_str().map(str::to_owned)).collect()
    };
    for _ in 0..3 {
        for (token, expected) in [(&reader, vec!["auth", "transport"]), (&caller, vec!["transport"])] {
            let client = guarded.with(token);
            let body = client.get("/v1/resolve?q=papers").is(200).json();
            assert_eq!(
                (checks(&body["results"][0]), &body["results"][0]["usable"]),
                (expected.iter().map(ToString::to_string).collect(), &json!(false))
            );
            let search = json!({"name": "search_tools", "arguments": {"query": "papers"}});
            let found = client.mcp("/mcp", "tools/call", search).json();
            let tool = &found["result"]["structuredContent"]["answers"][0]["tools"][0];
            assert_eq!(checks(tool), expected);
            let name = tool["name"].as_str().expect("a name");
            assert_eq!(checks(&client.get(&format!("/v1/tools/{name}")).is(200).json()), expected);
        }
    }
    let traced = json!({"name": "search_tools", "arguments": {"queries": ["papers"], "trace": true}});
    let told = guarded.with(&reader).mcp("/mcp", "tools/call", traced).json();
    let answer = &told["result"]["structuredContent"]["answers"][0];
    assert_eq!((&answer["trace"][0]["via"], &answer["zones"]["asked"]), (&json!("local"), &json!(1)), "{told}");
}
