//! Several nodes as processes: zones below a root, replicas of one zone, real MCP servers behind them.
//!
//! Everything is seen through `aop` at one of the nodes, as a user sees it. A node is killed as by power cut unless a test says
//! otherwise.

#[path = "federation/caching.rs"]
mod caching;
#[path = "federation/rotation.rs"]
mod rotation;
mod support;
#[path = "federation/watching.rs"]
mod watching;

use serde_json::{Value, json};
use support::fixture::{HttpServer, tool};
use support::ports::free_port;
use support::raw::request;
use support::tools::{Tools, tools};
use support::{Fixture, Node, PATIENT, SOON, World, eventually, names, results};

/// A root and two zones below it.
struct Federation {
    root: Node,
    research: Node,
    writing: Node,
}

impl Federation {
    fn start(world: &World) -> Self {
        let root = world.node("root").zone(".").start();
        let research = world.node("research").zone("research").parent(&root).start();
        let writing = world.node("writing").zone("writing").parent(&root).start();
        let federation = Self { root, research, writing };
        delegated(&federation.research);
        delegated(&federation.writing);
        federation
    }

    fn all(&self) -> [&Node; 3] {
        [&self.root, &self.research, &self.writing]
    }
}

/// Waits until the node's parent has delegated its zone.
#[track_caller]
fn delegated(node: &Node) {
    eventually("the parent delegates the zone", SOON, || {
        let status = node.aop(["status", "--json"]).wanted(0)?.json();
        let parents = status["parents"].as_array().cloned().unwrap_or_default();
        let done = !parents.is_empty() && parents.iter().any(|parent| parent["state"] == "delegated");
        if done { Ok(()) } else { Err(status.to_string()) }
    });
}

/// Waits until the node finds this name and gives its result object.
#[track_caller]
fn found(node: &Node, name: &str) -> Value {
    eventually(&format!("{} finds {name}", node.zone), SOON, || {
        let answer = node.try_resolve(name, &["--no-cache"]).wanted(0)?.json();
        results(&answer).into_iter().find(|result| result["name"] == name).ok_or_else(|| answer.to_string())
    })
}

/// Waits until the node says that there is no such name.
#[track_caller]
fn gone(node: &Node, name: &str) {
    eventually(&format!("{name} is gone at {}", node.zone), SOON, || {
        node.try_resolve(name, &["--exact", "--no-cache"]).wanted(6).map(drop)
    });
}

fn text_of(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

fn everything_over_http(world: &World, tools: &Tools) -> HttpServer {
    let port = free_port();
    let mut command = world.command(tools.node());
    command.args([tools.npm("mcp-server-everything"), "streamableHttp".into()]).env("PORT", port.to_string());
    HttpServer::on_port(command, port)
}

fn repository(world: &World) -> std::path::PathBuf {
    let dir = world.path("repository");
    let git = |words: &[&str]| {
        let mut command = world.command("git");
        command
            .args(["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"])
            .args(words);
        support::run(command, None).ok()
    };
    let path = dir.display().to_string();
    git(&["init", "--quiet", &path]);
    git(&["-C", &path, "commit", "--quiet", "--allow-empty", "-m", "the first of the cheese papers"]);
    dir
}

#[test]
fn real_servers_of_another_zone_are_found_by_words_and_called() {
    let Some(tools) = tools() else { return };
    let world = World::new();
    let federation = Federation::start(&world);
    let web = everything_over_http(&world, &tools);
    let repository = repository(&world);

    let registered = federation.research.register("everything", &tools.everything());
    assert_eq!(registered["schema"], "aop.registered/1");
    assert_eq!(registered["count"], 13, "{registered}");
    federation.research.aop(["register", "mcp", &web.url(), "--as", "web", "--json"]).ok();
    federation.writing.register("time", &tools.time());
    federation.writing.register("git", &tools.git(&repository));

    // By words, from the zone that does not have it and from the root above both.
    for (asker, words, wanted) in [
        (&federation.writing, "echo back the input string", "echo.everything.research"),
        (&federation.writing, "sum of two numbers", "get-sum.web.research"),
        (&federation.research, "current time in a timezone", "get_current_time.time.writing"),
        (&federation.root, "show the commit logs of a git repository", "git_log.git.writing"),
    ] {
        let best = eventually(&format!("{} finds {wanted}", asker.zone), SOON, || {
            let answer = asker.try_resolve(words, &["-n", "5"]).wanted(0)?.json();
            // One server twice: its tools are told together.
            let is_it = |result: &Value| {
                result["name"] == wanted || result["also"].as_array().is_some_and(|also| also.contains(&json!(wanted)))
            };
            results(&answer).into_iter().find(is_it).ok_or_else(|| answer.to_string())
        });
        assert_ne!(best["source"], "local", "{best}");
        assert_ne!(best["zone"], asker.zone.as_str(), "{best}");
    }

    // Called across zones, results untouched.
    let echo = federation.writing.call("echo.everything.research", &json!({"message": "hello"}));
    assert_eq!(text_of(&echo), "Echo: hello");
    let sum = federation.root.call("get-sum.web.research", &json!({"a": 2, "b": 40}));
    assert!(text_of(&sum).contains("42"), "{sum}");
    let weather =
        federation.writing.call("get-structured-content.everything.research", &json!({"location": "Chicago"}));
    assert!(weather["structuredContent"]["temperature"].is_number(), "{weather}");
    let image = federation.writing.call("get-tiny-image.everything.research", &json!({}));
    let kinds: Vec<&Value> = image["content"].as_array().into_iter().flatten().map(|part| &part["type"]).collect();
    assert!(kinds.contains(&&json!("image")), "{kinds:?}");
    let time = federation.research.call("get_current_time.time.writing", &json!({"timezone": "Europe/Oslo"}));
    assert!(text_of(&time).contains("Europe/Oslo"), "{time}");
    let log = federation.research.call("git_log.git.writing", &json!({"repo_path": repository.display().to_string()}));
    assert!(log.to_string().contains("cheese papers"), "{log}");

    // The trace names the way, and a definition arrives with its schema.
    let traced =
        federation.writing.try_resolve("echo.everything.research", &["--trace", "--schema", "--no-cache"]).ok().json();
    assert!(traced["trace"].as_array().is_some_and(|steps| !steps.is_empty()), "{traced}");
    assert_eq!(traced["results"][0]["inputSchema"]["required"], json!(["message"]), "{traced}");

    // All zones are known everywhere below the root.
    eventually("the root knows both zones", SOON, || {
        let zones = federation.root.aop(["zones", "--json"]).wanted(0)?.json();
        let known: Vec<&Value> = zones["zones"].as_array().into_iter().flatten().map(|zone| &zone["name"]).collect();
        let all = ["research", "writing"].iter().all(|zone| known.contains(&&json!(zone)));
        if all { Ok(()) } else { Err(zones.to_string()) }
    });
}

#[test]
fn nodes_and_upstreams_may_die_and_come_back() {
    let world = World::new();
    let mut federation = Federation::start(&world);
    let fixture = Fixture::new(&world, "papers");
    federation.research.register("papers", &fixture.command());
    found(&federation.writing, "echo.papers.research");
    let hello = json!({"text": "hello"});
    federation.writing.eventually_says("echo.papers.research", &hello, "hello", SOON);

    // The serving node dies: no call hangs or lies, and no answer says that the tool never was.
    federation.research.kill();
    let call = federation.writing.try_call("echo.papers.research", &hello);
    assert!(call.code != 0 && call.took.as_secs() < 45, "{call}");
    assert!(!call.problem()["message"].as_str().unwrap_or_default().is_empty());
    let resolve = federation.writing.try_resolve("echo.papers.research", &["--exact"]);
    assert_ne!(resolve.code, 6, "a silent zone is no negative answer: {resolve}");
    federation.research.start_again();
    federation.writing.eventually_says("echo.papers.research", &hello, "hello", PATIENT);

    // The upstream's process dies: it is started again.
    let upstream = federation.research.children().into_iter().find(|(_, command)| command.contains("fixture_mcp"));
    let (pid, _) = upstream.expect("the fixture is a child of its node");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("the fixture runs");
    federation.writing.eventually_says("echo.papers.research", &hello, "hello", PATIENT);
    let now = federation.research.children();
    assert!(now.iter().any(|(other, command)| *other != pid && command.contains("fixture_mcp")), "{now:?}");

    // The root dies: each zone goes on alone, and together again when it is back.
    federation.root.kill();
    federation.research.eventually_says("echo.papers.research", &hello, "hello", SOON);
    federation.root.start_again();
    delegated(&federation.research);
    delegated(&federation.writing);
    federation.writing.eventually_says("echo.papers.research", &hello, "hello", PATIENT);
}

#[test]
fn what_is_unregistered_is_gone_everywhere() {
    let world = World::new();
    let federation = Federation::start(&world);
    let fixture = Fixture::new(&world, "papers");
    federation.research.register("papers", &fixture.command());
    for node in federation.all() {
        found(node, "add.papers.research");
    }
    let removed = federation.research.aop(["unregister", "echo.papers.research", "--json"]).ok().json();
    assert_eq!(removed["removed"], json!(["echo.papers.research"]));
    for node in federation.all() {
        gone(node, "echo.papers.research");
        found(node, "add.papers.research");
    }
    let removed = federation.research.aop(["unregister", "papers", "--json"]).ok().json();
    assert!(names_in(&removed).contains(&"add.papers.research".to_owned()), "{removed}");
    for node in federation.all() {
        gone(node, "add.papers.research");
        let call = node.try_call("add.papers.research", &json!({"a": 1, "b": 1}));
        assert_ne!(call.code, 0, "{call}");
    }
    assert_eq!(fixture.calls("add"), 0);
    // Its process ends with it.
    eventually("the fixture has ended", SOON, || {
        let children = federation.research.children();
        if children.iter().any(|(_, command)| command.contains("fixture_mcp")) {
            Err(format!("{children:?}"))
        } else {
            Ok(())
        }
    });
}

fn names_in(removed: &Value) -> Vec<String> {
    removed["removed"].as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

#[test]
fn a_changed_list_reaches_every_zone() {
    let world = World::new();
    let federation = Federation::start(&world);
    let fixture = Fixture::new(&world, "shop");
    let text = json!({"text": {"type": "string"}});
    fixture.list(&[tool("weigh", "Weighs a piece of cheese", text.clone())]);
    federation.research.register("shop", &fixture.command());
    found(&federation.writing, "weigh.shop.research");
    fixture.list(&[tool("slice", "Slices a piece of cheese", text)]);
    found(&federation.writing, "slice.shop.research");
    gone(&federation.writing, "weigh.shop.research");
    federation.writing.eventually_says("slice.shop.research", &json!({"text": "thin"}), "thin", SOON);
}

#[test]
fn two_replicas_answer_for_each_other() {
    let world = World::new();
    let root = world.node("root").zone(".").start();
    let mut one = world.node("one").zone("research").parent(&root).start();
    delegated(&one);
    let mut other = world.node("other").zone("research").parent(&root).start();
    both_alive(&one, &other);

    // Registered at one, answered and called through the other.
    let fixture = Fixture::new(&world, "papers");
    one.register("papers", &fixture.command());
    let seen = found(&other, "echo.papers.research");
    assert_eq!(seen["source"], "local", "{seen}");
    let hello = json!({"text": "hello"});
    other.eventually_says("echo.papers.research", &hello, "hello", SOON);
    let answer = other.try_call("echo.papers.research", &hello).ok().json();
    assert_eq!(answer["served_by"], one.id.as_str(), "{answer}");

    // The one that does not own it dies.
    other.kill();
    found(&one, "echo.papers.research");
    one.eventually_says("echo.papers.research", &hello, "hello", SOON);
    other.start_again();
    both_alive(&one, &other);

    // The owner dies: still resolved, labelled; a call names who is gone.
    one.kill();
    eventually("the tool is labelled down", PATIENT, || {
        let answer = other.try_resolve("echo.papers.research", &["--exact"]).wanted(0)?.json();
        if answer["results"][0]["health"]["state"] == "down" { Ok(()) } else { Err(answer.to_string()) }
    });
    let call = other.try_call("echo.papers.research", &hello);
    assert_ne!(call.code, 0, "{call}");
    assert!(call.problem().to_string().contains(&one.id), "the dead instance is named: {call}");

    // It comes back.
    one.start_again();
    other.eventually_says("echo.papers.research", &hello, "hello", PATIENT);
}

#[track_caller]
fn both_alive(one: &Node, other: &Node) {
    for node in [one, other] {
        eventually("both replicas see each other", PATIENT, || {
            let nodes = node.aop(["nodes", "--json"]).wanted(0)?.json();
            let alive = nodes["nodes"].as_array().into_iter().flatten().filter(|node| node["state"] == "alive");
            let ids: Vec<&str> = alive.filter_map(|node| node["id"].as_str()).collect();
            let both = ids.contains(&one.id.as_str()) && ids.contains(&other.id.as_str());
            if both { Ok(()) } else { Err(nodes.to_string()) }
        });
    }
}

#[test]
fn a_service_registered_at_both_replicas_survives_one_of_them() {
    let world = World::new();
    let root = world.node("root").zone(".").start();
    let mut one = world.node("one").zone("research").parent(&root).start();
    delegated(&one);
    let other = world.node("other").zone("research").parent(&root).start();
    let writing = world.node("writing").zone("writing").parent(&root).start();
    both_alive(&one, &other);
    delegated(&writing);

    let (first, second) = (Fixture::new(&world, "first"), Fixture::new(&world, "second"));
    one.try_register("papers", &first.command(), &["--replica"]).ok();
    found(&other, "echo.papers.research");
    other.try_register("papers", &second.command(), &["--replica"]).ok();
    for node in [&one, &other, &writing] {
        eventually("the tool has two instances", SOON, || {
            let answer = node.try_resolve("echo.papers.research", &["--exact", "--no-cache"]).wanted(0)?.json();
            let instances = answer["results"][0]["instances"].as_array().map_or(0, Vec::len);
            if instances == 2 { Ok(()) } else { Err(answer.to_string()) }
        });
    }
    let hello = json!({"text": "hello"});
    writing.eventually_says("echo.papers.research", &hello, "hello", SOON);

    one.kill();
    let before = second.calls("echo");
    other.eventually_says("echo.papers.research", &hello, "hello", SOON);
    writing.eventually_says("echo.papers.research", &hello, "hello", PATIENT);
    assert!(second.calls("echo") >= before + 2, "the living instance served");
    let state = found(&other, "echo.papers.research")["health"]["state"].clone();
    assert_ne!(state, "down", "one living instance is enough");
}

#[test]
fn another_server_of_the_same_name_is_refused_with_a_hint() {
    let world = World::new();
    let root = world.node("root").zone(".").start();
    let one = world.node("one").zone("research").parent(&root).start();
    delegated(&one);
    let other = world.node("other").zone("research").parent(&root).start();
    both_alive(&one, &other);
    let (first, second) = (Fixture::new(&world, "first"), Fixture::new(&world, "second"));
    second.list(&[tool("echo", "Something quite different", json!({}))]);
    one.register("papers", &first.command());
    found(&other, "echo.papers.research");
    let refused = other.try_register("papers", &second.command(), &[]).exits(1).problem();
    assert_eq!(refused["kind"], "name_taken", "{refused}");
    assert!(refused["hint"].as_str().is_some_and(|hint| hint.contains("aop register")), "{refused}");
    // And nothing of it stays.
    let servers = other.get("/v1/servers").is(200).json();
    assert_eq!(servers["servers"], json!([]), "{servers}");
}

#[test]
fn a_parent_that_comes_later_is_found() {
    let world = World::new();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let child = world.node("research").zone("research").args(["--parent", &address]).start();
    let fixture = Fixture::new(&world, "papers");
    child.register("papers", &fixture.command());
    child.eventually_says("echo.papers.research", &json!({"text": "alone"}), "alone", SOON);
    let parent = eventually("status says that the parent does not answer", SOON, || {
        let status = child.aop(["status", "--json"]).wanted(0)?.json();
        let parent = status["parents"][0].clone();
        if parent["state"] == "unreachable" { Ok(parent) } else { Err(status.to_string()) }
    });
    assert_eq!(parent["address"], address.as_str());

    let root = world.node("root").zone(".").listen(&address).start();
    delegated(&child);
    found(&root, "echo.papers.research");
    root.eventually_says("echo.papers.research", &json!({"text": "together"}), "together", SOON);
}

#[test]
fn a_zone_that_does_not_fit_below_its_parent_is_told_which_name_would() {
    let world = World::new();
    let parent = world.node("lab").zone("lab").start();
    let refused = world.node("research").zone("research").parent(&parent).refused().exits(2);
    assert!(refused.err.contains("research.lab"), "{refused}");
    // The name that fits does.
    let child = world.node("fits").zone("research.lab").parent(&parent).start();
    delegated(&child);
    // What lies in that one is its own to delegate: nobody in it would ask the node above.
    let past = world.node("past").zone("deep.x.research.lab").parent(&parent).refused().exits(2);
    assert!(past.err.contains("name a node of research.lab"), "{past}");
    assert!(parent.aop(["zones", "--tree"]).ok().out.lines().all(|line| !line.contains("deep")));
}

#[test]
fn a_node_that_cannot_be_what_it_was_named_as_is_an_error_with_a_way_out() {
    let world = World::new();
    let lab = world.node("lab").zone("lab").start();
    let below = world.node("ml").zone("ml.lab").parent(&lab).start();
    delegated(&below);
    let cases = [
        ("lab", "--parent", &lab, "use --join"),
        ("lab", "--parent", &below, "lies below lab"),
        ("research", "--join", &lab, "aop-node --zone lab --join"),
        ("ml.lab", "--join", &lab, "aop-node --zone lab --join"),
        ("lab", "--join", &below, "aop-node --zone ml.lab --join"),
    ];
    for (number, (zone, how, other, hint)) in cases.into_iter().enumerate() {
        let refused = world.node(&format!("unfit-{number}")).zone(zone).args([how, &other.address]).refused().exits(2);
        assert!(refused.err.contains(hint), "{zone} {how}: {refused}");
    }
    // One that does not fit stands in the way of nothing while another does.
    let fellow = world.node("fellow").zone("lab").args(["--join", &below.address, "--join", &lab.address]).start();
    both_alive(&lab, &fellow);
    // Once admitted it needs nobody to join.
    drop(fellow);
    world.node("fellow").zone("lab").args(["--join", &below.address]).start();
}

#[test]
fn words_are_answered_alike_by_every_node() {
    let world = World::new();
    let federation = Federation::start(&world);
    let text = json!({"text": {"type": "string"}});
    for (node, server, description) in [
        (&federation.research, "arxiv", "Searches papers about cheese on a preprint server"),
        (&federation.writing, "library", "Searches books and papers about wine and cheese"),
    ] {
        let fixture = Fixture::new(&world, server);
        fixture.list(&[tool("search", description, text.clone()), tool("fetch", "Fetches one document", text.clone())]);
        node.register(server, &fixture.command());
    }
    for node in federation.all() {
        found(node, "search.arxiv.research");
        found(node, "search.library.writing");
    }
    let answers: Vec<Vec<String>> = federation
        .all()
        .map(|node| {
            eventually("both zones answer", SOON, || {
                let answer = node.try_resolve("papers about cheese", &["--no-cache", "-n", "2"]).wanted(0)?.json();
                let found = names(&results(&answer));
                if found.len() == 2 { Ok(found) } else { Err(answer.to_string()) }
            })
        })
        .into();
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[1], answers[2]);
    // Asked for its own zone only, a node stays at home.
    let local = federation.writing.try_resolve("papers about cheese", &["--scope", "local"]).ok().json();
    assert_eq!(names(&results(&local)), ["search.library.writing"], "{local}");
}

#[test]
fn a_silent_zone_is_named_and_the_answer_is_partial() {
    let world = World::new();
    let mut federation = Federation::start(&world);
    for (node, server) in [(&federation.research, "arxiv"), (&federation.writing, "library")] {
        let fixture = Fixture::new(&world, server);
        fixture.list(&[tool("search", "Searches papers about cheese", json!({}))]);
        node.register(server, &fixture.command());
    }
    found(&federation.root, "search.arxiv.research");
    found(&federation.root, "search.library.writing");
    federation.research.kill();
    let answer = federation.root.try_resolve("papers about cheese", &["--no-cache", "--timeout", "3s"]);
    let json = answer.json();
    // Either a labelled copy of what it had, or its silence; never a shorter list that looks whole.
    if names(&results(&json)).contains(&"search.arxiv.research".to_owned()) {
        let stale = results(&json).into_iter().find(|result| result["zone"] == "research").expect("just seen");
        assert!(stale["freshness"] == "stale" || stale["health"]["state"] == "down" || answer.code == 7, "{answer}");
    } else {
        assert_eq!(answer.code, 7, "{answer}");
        assert_eq!(json["partial"], true);
        assert_eq!(json["zones"]["silent"], json!(["research"]), "{answer}");
    }
}

#[test]
fn a_zone_s_key_is_rotated_and_everybody_follows() {
    let world = World::new();
    let mut federation = Federation::start(&world);
    let second = world.node("second").zone("research").parent(&federation.root).start();
    let fixture = Fixture::new(&world, "papers");
    federation.research.register("papers", &fixture.command());
    let (name, hello) = ("echo.papers.research", json!({"text": "hello"}));
    found(&second, name);
    federation.writing.eventually_says(name, &hello, "hello", SOON);
    let keys = |node: &Node| node.get("/v1/keys").is(200).json();
    let before = keys(&federation.research);
    assert_eq!((&before["epoch"], &before["held"], &before["maker"]), (&json!(1), &json!(true), &before["node"]));

    // Only the key's maker makes the next one, and only for whoever has its token.
    let refused = second.aop(["keys", "rotate", "--json"]).exits(3).problem();
    assert_eq!(refused["kind"], "forbidden", "{refused}");
    assert_eq!(refused["hint"], format!("aop keys rotate --node {}", federation.research.address), "{refused}");
    request(&federation.research.address, "POST", "/v1/keys/rotate", &[], b"{}").is(401);
    assert_eq!(keys(&federation.research), before);

    let rotated = federation.research.aop(["keys", "rotate", "--json"]).ok().json();
    assert_eq!((&rotated["epoch"], &rotated["held"]), (&json!(2), &json!(true)), "{rotated}");
    assert_ne!(rotated["key"], before["key"]);
    // Nothing between the reply and the cut: what was announced is kept.
    federation.research.kill();
    federation.research.start_again();
    assert_eq!(keys(&federation.research)["key"], rotated["key"]);
    assert!(!federation.research.data.join("zone.next.key").exists());

    for node in [&federation.root, &federation.writing, &second] {
        found(node, name);
        eventually(&format!("{} follows", node.zone), SOON, || {
            let keys = keys(node);
            let known = keys["keys"].as_array().into_iter().flatten().find(|key| key["zone"] == "research").cloned();
            let follows = known.is_some_and(|known| known["epoch"] == 2 && known["key"] == rotated["key"]);
            if follows { Ok(()) } else { Err(keys.to_string()) }
        });
    }
    eventually("the other replica is certified by the new key", SOON, || {
        let keys = keys(&second);
        if keys["chain"][0]["issuer"] == rotated["key"] { Ok(()) } else { Err(keys.to_string()) }
    });
    federation.writing.eventually_says(name, &hello, "hello", PATIENT);
    second.aop(["keys"]).ok().prints("research").prints("pinned");
    let again = federation.research.aop(["keys", "rotate", "--json"]).ok().json();
    assert_eq!(again["epoch"], 3);
}
