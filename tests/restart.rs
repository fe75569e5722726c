//! One node over its life: what survives a power cut, what a start refuses, what a stop finishes.
//!
//! The promises seen from outside: an acknowledged registration is there after kill -9 (P1), a graceful stop drops no accepted call
//! (P6), and a node that cannot start says which line or path is at fault and leaves nothing running.

mod support;

use std::fs::File;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use aop::handle::CATALOGUE_BATCH;
use serde_json::{Value, json};
use support::process::Guard;
use support::raw::try_request;
use support::{Fixture, PATIENT, SOON, World, eventually, names, results};

#[test]
fn an_acknowledged_registration_survives_a_power_cut() {
    let world = World::new();
    let mut node = world.node("node").zone("research").start();
    for round in 0..4 {
        let server = format!("papers{round}");
        let fixture = Fixture::new(&world, &server);
        node.register(&server, &fixture.command());
        // Nothing between the reply and the cut.
        node.kill();
        node.start_again();
        for earlier in 0..=round {
            let name = format!("echo.papers{earlier}.research");
            assert_eq!(names(&node.resolve(&name))[0], name);
        }
        let (name, text) = (format!("echo.{server}.research"), json!({"text": "still here"}));
        node.eventually_says(&name, &text, "still here", PATIENT);
    }
}

/// `node.json` said that a node is ready, and `aop` did not yet know its token and its certificate: it looks for them elsewhere.
#[test]
fn a_node_says_that_it_is_ready_when_it_can_be_used() {
    let world = World::new();
    // Where the word for `aop` would be written.
    world.file("state/aop", "not a directory");
    let refused = world.node("node").zone("research").refused();
    assert!(refused.code != 0 && refused.err.contains("state/aop"), "{refused}");
    assert!(!world.path("node-node/node.json").exists(), "nobody is told of a node that is not there");
}

#[test]
fn what_was_unregistered_stays_gone_after_a_power_cut() {
    let world = World::new();
    let mut node = world.node("node").zone("research").start();
    let fixture = Fixture::new(&world, "papers");
    node.register("papers", &fixture.command());
    node.aop(["unregister", "echo.papers.research"]).ok();
    node.kill();
    node.start_again();
    node.try_resolve("echo.papers.research", &["--exact"]).exits(6);
    assert_eq!(names(&node.resolve("add.papers.research"))[0], "add.papers.research");
    // The server still lists it; the operator's word counts, over a refresh too.
    eventually("the server is connected again", PATIENT, || node.aop(["refresh", "papers"]).wanted(0));
    node.try_resolve("echo.papers.research", &["--exact"]).exits(6);
}

#[test]
fn an_upstream_that_is_down_at_start_stops_nobody() {
    let world = World::new();
    let mut node = world.node("node").zone("research").start();
    let (near, far) = (Fixture::new(&world, "near"), Fixture::new(&world, "far"));
    let server = far.serve(&world, support::ports::free_port());
    let port = server.port;
    node.register("near", &near.command());
    node.aop(["register", "mcp", &server.url(), "--as", "far", "--json"]).ok();
    let hello = json!({"text": "hello"});
    node.eventually_says("echo.far.research", &hello, "hello", SOON);
    drop(server);
    node.kill();
    node.start_again();

    // The last known tools are listed and labelled, the other server's work.
    node.eventually_says("echo.near.research", &hello, "hello", PATIENT);
    let state = eventually("the dead server's tools are labelled", PATIENT, || {
        let answer = node.try_resolve("echo.far.research", &["--exact"]).wanted(0)?.json();
        let state = answer["results"][0]["health"]["state"].clone();
        if state == "ok" { Err(answer.to_string()) } else { Ok(state) }
    });
    assert!(state == "down" || state == "degraded", "{state}");
    let call = node.try_call("echo.far.research", &hello).exits(1);
    assert_eq!(call.problem()["kind"], "upstream_down", "{call}");
    let servers = node.get("/v1/servers").is(200).json();
    let far_state = servers["servers"].as_array().into_iter().flatten().find(|server| server["name"] == "far").cloned();
    assert!(
        far_state.is_some_and(|server| server["state"] != "ready" && server["last_error"].is_string()),
        "{servers}"
    );

    let _server = far.serve(&world, port);
    node.eventually_says("echo.far.research", &hello, "hello", PATIENT);
}

#[test]
fn an_import_is_listed_once_however_often_it_is_made() {
    let world = World::new();
    let line = |name: &str, description: &str| {
        json!({"name": name, "description": description, "server": "catalogue", "zone": "papers",
            "inputSchema": {"type": "object", "properties": {"q": {"type": "string"}}}})
        .to_string()
    };
    let first = [line("find", "Finds a paper"), line("cite", "Cites a paper")].join("\n");
    let file = world.file("catalogue.jsonl", &first);
    let file = file.display().to_string();
    let mut node = world.node("node").zone("research").args(["--import", &file]).start();
    let listed = |node: &support::Node| {
        let tools = node.get("/v1/tools").is(200).json();
        let mut listed = names(tools["tools"].as_array().expect("a list of tools"));
        listed.sort();
        listed
    };
    let wanted = ["cite.catalogue.papers.research", "find.catalogue.papers.research"];
    assert_eq!(listed(&node), wanted);
    let hash = node.resolve(wanted[1])[0]["def_hash"].clone();
    node.start_again();
    assert_eq!(listed(&node), wanted);
    assert_eq!(node.resolve(wanted[1])[0]["def_hash"], hash);

    // Nothing serves it, and a call says so.
    let call = node.try_call(wanted[1], &json!({"q": "cheese"})).exits(1);
    assert_eq!(call.problem()["kind"], "nothing_serves", "{call}");

    // A changed line is a changed tool, not a second one.
    world.file(
        "catalogue.jsonl",
        &[line("find", "Finds a paper by its title"), line("cite", "Cites a paper")].join("\n"),
    );
    node.start_again();
    assert_eq!(listed(&node), wanted);
    let changed = node.resolve(wanted[1]);
    assert_eq!(changed[0]["description"], "Finds a paper by its title");
    assert_ne!(changed[0]["def_hash"], hash);
}

#[test]
fn an_import_that_cannot_be_read_names_the_line() {
    let world = World::new();
    let file = world.file("catalogue.jsonl", "{\"name\":\"find\",\"server\":\"c\"}\n{\"name\":");
    let refused = world.node("node").zone("research").args(["--import", &file.display().to_string()]).refused();
    assert_ne!(refused.code, 0, "{refused}");
    assert!(refused.err.contains("catalogue.jsonl") && refused.err.contains('2'), "{refused}");
    let refused = world.node("other").args(["--import", "nowhere.jsonl"]).refused();
    assert!(refused.code != 0 && refused.err.contains("nowhere.jsonl"), "{refused}");
}

#[test]
fn nothing_of_an_import_is_written_before_all_of_it_was_read() {
    let world = World::new();
    let mut lines: Vec<String> = (0..=CATALOGUE_BATCH)
        .map(|number| json!({"name": format!("tool_{number}"), "server": "c"}).to_string())
        .collect();
    let import = |lines: &[String]| {
        let file = world.file("catalogue.jsonl", &lines.join("\n")).display().to_string();
        world.node("node").zone("research").args(["--import", &file])
    };
    let last = std::mem::replace(&mut lines[CATALOGUE_BATCH], "{\"name\":".to_owned());
    let refused = import(&lines).refused();
    assert!(refused.err.contains(&format!("line {}", CATALOGUE_BATCH + 1)), "{refused}");
    let count = |node: &support::Node| node.get("/v1/status").is(200).json()["tools"].as_u64();
    let node = world.node("node").zone("research").start();
    assert_eq!(node.get("/v1/tools").is(200).json()["tools"].as_array().map(Vec::len), Some(0));
    drop(node);
    lines[CATALOGUE_BATCH] = last;
    let node = import(&lines).start();
    assert_eq!(count(&node), Some(CATALOGUE_BATCH as u64 + 1));
}

#[test]
fn a_start_that_cannot_work_says_why_and_leaves_nothing() {
    let world = World::new();
    // The port is taken.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let refused = world.node("taken").listen(&address).refused();
    assert!(refused.code != 0 && refused.err.contains(&address), "{refused}");
    assert!(!refused.err.contains("panicked"), "{refused}");

    // The data directory cannot be written.
    let file = world.file("a-file", "");
    let below = file.join("data").display().to_string();
    let refused = world.aop_node(["--listen", "127.0.0.1:0", "--data-dir", &below]);
    assert!(refused.code != 0 && refused.err.contains(&below), "{refused}");

    // A zone, an address, a flag that are none.
    for arguments in [["--zone", "re search"], ["--zone", "a..b"], ["--listen", "here"], ["--parent", "nowhere"]] {
        let refused = world.node("wrong").args(arguments).refused().exits(2);
        assert!(!refused.err.is_empty(), "{refused}");
    }
    let refused = world.aop_node(["--prent", "127.0.0.1:1"]).exits(2);
    assert!(refused.err.contains("--parent"), "{refused}");

    // Beyond loopback nothing is served without TLS.
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let refused = world.node("open").listen(listen).refused().exits(2);
        assert!(refused.err.contains("loopback") && refused.err.contains("tls_cert = "), "{refused}");
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_the_place_and_the_name_that_was_meant() {
    let world = World::new();
    let file = world.file("aop.toml", "listen = \"127.0.0.1:0\"\nzoen = \"research\"\n");
    let path = file.display().to_string();
    for arguments in [vec!["--config", &path], vec!["check", "--config", &path]] {
        let refused = world.aop_node(arguments).exits(2);
        assert!(refused.err.contains("zoen") && refused.err.contains("`zone`"), "{refused}");
        assert!(refused.err.contains("aop.toml") && refused.err.contains('2'), "{refused}");
    }
    // What is right is taken, below flags and environment.
    world.file("aop.toml", "zone = \"research\"\n");
    let node = world.node("file").args(["--config", &path]).start();
    assert_eq!(node.zone, "research");
    let node = world.node("environment").args(["--config", &path]).env("AOP_ZONE", "writing").start();
    assert_eq!(node.zone, "writing");
    let node = world.node("flag").zone("lab").args(["--config", &path]).env("AOP_ZONE", "writing").start();
    assert_eq!(node.zone, "lab");
}

#[test]
fn two_nodes_do_not_share_a_data_directory() {
    let world = World::new();
    let node = world.node("same").zone("research").start();
    let refused = world.node("same").zone("research").refused();
    assert!(refused.code != 0 && refused.err.contains("node-same"), "{refused}");
    node.get("/livez").is(200);
}

#[test]
fn a_damaged_store_is_named_and_never_served_as_a_shorter_zone() {
    let world = World::new();
    let mut node = world.node("node").zone("research").start();
    let fixture = Fixture::new(&world, "papers");
    node.register("papers", &fixture.command());
    assert_eq!(node.stop(), 0);
    let largest = std::fs::read_dir(&node.data)
        .expect("the data directory")
        .flatten()
        .max_by_key(|entry| entry.metadata().map(|metadata| metadata.len()).unwrap_or(0))
        .expect("a store")
        .path();
    let length = largest.metadata().expect("a file").len();
    File::options().write(true).open(&largest).expect("the store").set_len(length / 2).expect("cut in half");
    let refused = world.node("node").zone("research").refused();
    assert_ne!(refused.code, 0, "{refused}");
    let name = largest.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(refused.err.contains(&name) && !refused.err.contains("panicked"), "{refused}");
}

#[test]
fn a_graceful_stop_finishes_what_was_accepted() {
    let world = World::new();
    let mut node = world.node("node").zone("research").start();
    let fixture = Fixture::new(&world, "papers");
    node.register("papers", &fixture.command());
    let mut command = node.aop_command(["call", "slow.papers.research", "--json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let call = command.spawn().expect("aop starts");
    eventually("the call has reached the upstream", SOON, || match fixture.calls("slow") {
        0 => Err("not yet".to_owned()),
        _ => Ok(()),
    });
    assert_eq!(node.stop(), 0, "{}", node.log_text());
    let call = call.wait_with_output().expect("aop ends");
    assert!(call.status.success(), "{}", String::from_utf8_lossy(&call.stderr));
    assert!(String::from_utf8_lossy(&call.stdout).contains("at last"));
    assert!(try_request(&node.address, "GET", "/livez", &[], b"").is_err(), "nothing listens any more");
}

#[test]
fn no_flags_at_all_work() {
    let world = World::new();
    let log = world.path("node.log");
    let out = File::create(&log).expect("a log");
    let mut command = world.command(env!("CARGO_BIN_EXE_aop-node"));
    // The default port may be in use on the tester's machine; everything else is the default. Port 0 would be a node in memory.
    command.env("AOP_LISTEN", format!("127.0.0.1:{}", support::ports::free_port()));
    command.stdin(Stdio::null()).stderr(out.try_clone().expect("a handle")).stdout(out);
    let _node = Guard(command.spawn().expect("aop-node starts"));
    let pointer: Value = eventually("the node leaves a pointer to itself", Duration::from_secs(40), || {
        let dir = std::fs::read_dir(world.path("state/aop/nodes")).map_err(|error| error.to_string())?;
        let entry = dir.flatten().next().ok_or_else(|| "no pointer".to_owned())?;
        let bytes = std::fs::read(entry.path()).map_err(|error| error.to_string())?;
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    });
    assert_eq!(pointer["zone"], "local", "{pointer}");
    let address = pointer["listen"].as_str().expect("an address");
    // The banner names the address and commands that come next; the token is found without a flag.
    let banner = eventually("the banner is shown", SOON, || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if text.contains(address) && text.contains("aop ") { Ok(text) } else { Err(text) }
    });
    assert!(!banner.contains("panicked"), "{banner}");
    let fixture = Fixture::new(&world, "papers");
    let mut words: Vec<String> =
        ["--node", address, "register", "stdio", "--as", "papers", "--"].map(str::to_owned).into();
    words.extend(fixture.command());
    world.aop(words).ok();
    let answer = world.aop(["--node", address, "resolve", "echo.papers.local", "--json"]).ok().json();
    assert_eq!(names(&results(&answer)), ["echo.papers.local"]);
    let token = pointer["admin_token_file"].as_str().expect("the token's file");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(token).expect("the token").permissions());
    assert_eq!(mode & 0o777, 0o600, "only its owner reads the token");
    assert!(std::path::Path::new(token).starts_with(world.path("data")), "data lies below the XDG data directory");
}

#[test]
fn the_demonstration_runs_on_nothing_but_this_machine() {
    let world = World::new();
    let log = world.path("dev.log");
    let out = File::create(&log).expect("a log");
    let mut command = world.command(env!("CARGO_BIN_EXE_aop-node"));
    command.args(["--dev", "--listen", "127.0.0.1:0"]);
    command.stdin(Stdio::null()).stderr(out.try_clone().expect("a handle")).stdout(out);
    let _node = Guard(command.spawn().expect("aop-node starts"));
    let addresses = eventually("three nodes are shown and answer", Duration::from_secs(40), || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let found = addresses(&text);
        let alive =
            |address: &&String| try_request(address, "GET", "/livez", &[], b"").is_ok_and(|reply| reply.status == 200);
        if found.iter().filter(alive).count() >= 3 { Ok(found) } else { Err(text) }
    });
    // A tool of one zone is found and called from another, and it stays up.
    let zones = eventually("the zones know each other", SOON, || {
        let answers = addresses.iter().map(|address| world.aop(["--node", address, "zones", "--json"]));
        let whole = answers.filter(|ran| ran.code == 0).map(|ran| ran.json());
        whole.max_by_key(|zones| zones["zones"].as_array().map_or(0, Vec::len)).ok_or_else(|| "no answer".to_owned())
    });
    assert!(zones["zones"].as_array().is_some_and(|zones| zones.len() >= 3), "{zones}");
    let text = std::fs::read_to_string(&log).expect("the log");
    assert!(text.contains("aop ") && !text.contains("panicked"), "{text}");
}

/// Every `127.0.0.1:PORT` in a text, once.
fn addresses(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .match_indices("127.0.0.1:")
        .map(|(at, host)| {
            let port: String = text[at + host.len()..].chars().take_while(char::is_ascii_digit).collect();
            format!("{host}{port}")
        })
        .filter(|address| !address.ends_with(':'))
        .collect();
    found.sort();
    found.dedup();
    found
}
