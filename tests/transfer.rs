//! A zone as a file: given out at one node, taken in at another that no connection reaches, and a zone that comes back from one file.
//!
//! The rules themselves are tried in `simulations/tests/transfer.rs`; here is what an operator has: files, exit statuses, hints.

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::fixture::tool;
use support::raw::request;
use support::{Fixture, Node, PATIENT, Ran, SOON, World, eventually};

/// Registers catalogue tools of a server `papers`.
fn catalogue(world: &World, node: &Node, names: &[&str]) {
    let line = |name: &&str| json!({"name": name, "description": "one of many", "server": "papers"}).to_string();
    let lines: Vec<String> = names.iter().map(line).collect();
    let file = world.file("catalogue.jsonl", &lines.join("\n"));
    node.aop(["register", "file", text(&file)]).ok();
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test directories are text")
}

/// Every tool of the node's zone: its name and the hash of its definition.
fn shown(node: &Node) -> Vec<(String, String)> {
    let list = node.get("/v1/tools").is(200).json();
    let of = |tool: &Value, key: &str| tool[key].as_str().unwrap_or_default().to_owned();
    let tools = list["tools"].as_array().cloned().unwrap_or_default();
    let mut shown: Vec<_> = tools.iter().map(|tool| (of(tool, "name"), of(tool, "def_hash"))).collect();
    shown.sort();
    assert!(shown.iter().all(|(_, hash)| hash.starts_with("sha256:")), "{list}");
    shown
}

/// Exports to a file of that name; what `aop` says of it.
fn export(world: &World, node: &Node, name: &str, since: Option<&Path>) -> (std::path::PathBuf, Value) {
    let path = world.path(name);
    let since = since.map(|since| ["--since", text(since)]);
    let words = ["export", text(&path), "--json"].into_iter().chain(since.into_iter().flatten());
    let said = node.aop(words).ok().json();
    assert_eq!(said["bytes"].as_u64(), std::fs::metadata(&path).ok().map(|about| about.len()), "{said}");
    (path, said)
}

fn try_import(node: &Node, file: &Path, flags: &[&str]) -> Ran {
    node.aop(["import", text(file), "--json"].into_iter().chain(flags.iter().copied()))
}

fn import(node: &Node, file: &Path) -> Value {
    try_import(node, file, &[]).ok().json()
}

/// A bundle that was asked for into a place where none can be leaves everything as it was.
#[test]
fn an_export_spares_what_it_goes_on_from_and_leaves_no_pieces() {
    let world = World::new();
    let node = world.node("home").zone("research").start();
    catalogue(&world, &node, &["cite"]);
    let (whole, _) = export(&world, &node, "whole.aopz", None);
    let before = std::fs::read(&whole).expect("just written");
    let linked = world.path("linked.aopz");
    std::os::unix::fs::symlink(&whole, &linked).expect("a link");
    for onto in [&whole, &linked] {
        node.aop(["export", text(onto), "--since", text(&whole)]).exits(2).says("same file");
        assert_eq!(std::fs::read(&whole).expect("still there"), before);
    }
    let folder = world.path("folder");
    std::fs::create_dir(&folder).expect("a folder");
    node.aop(["export", text(&folder)]).exits(2).says("is a folder");
    assert!(!world.path("folder.part").exists());
}

/// A second replica of the node's zone that has been certified by it.
fn replica(world: &World, name: &str, of: &Node) -> Node {
    let node = world.node(name).zone(&of.zone).args(["--join", &of.address]).start();
    // What a node has not made durable, it tells nobody: once both know a record of each other, a kill takes nothing back.
    let knows = |node: &Node| {
        let nodes = node.get("/v1/nodes").is(200).json();
        let all = nodes["nodes"].as_array().cloned().unwrap_or_default();
        let told = all.iter().filter(|one| one["through"].as_u64().is_some_and(|through| through > 0)).count();
        if told >= 2 { Ok(()) } else { Err(nodes.to_string()) }
    };
    eventually("it is admitted, and both have heard of each other", SOON, || {
        let admitted = node.get("/v1/keys").is(200).json()["admitted"] == true;
        knows(&node).and(knows(of)).and(if admitted { Ok(()) } else { Err("not admitted".to_owned()) })
    });
    node
}

#[test]
fn a_replica_that_nobody_reaches_shows_the_same_after_a_file_and_a_delta() {
    let world = World::new();
    let mut home = world.node("home").zone("research").start();
    let mut far = replica(&world, "far", &home);
    far.kill();
    let fixture = Fixture::new(&world, "pay");
    home.register("pay", &fixture.command());
    catalogue(&world, &home, &["search_papers", "cite"]);
    let before = shown(&home);
    let (whole, said) = export(&world, &home, "whole.aopz", None);
    assert_eq!((&said["zone"], &said["delta"]), (&json!("research"), &json!(false)));

    // One comes and one goes: the delta carries these and nothing else.
    catalogue(&world, &home, &["review"]);
    home.aop(["unregister", "cite.papers.research"]).ok();
    let (delta, said) = export(&world, &home, "delta.aopz", Some(&whole));
    assert_eq!((&said["records"], &said["delta"]), (&json!(2), &json!(true)), "{said}");
    let after = shown(&home);
    assert_eq!(home.stop(), 0);

    far.start_again();
    let tried = try_import(&far, &whole, &["--dry-run"]).ok().json();
    assert_eq!((&tried["dry_run"], shown(&far)), (&json!(true), Vec::new()), "a trial changes nothing");
    let sum = import(&far, &whole);
    for count in ["taken", "known", "tools", "logs", "refused"] {
        assert_eq!(sum[count], tried[count], "{count} of {sum} and {tried}");
    }
    eventually("all is shown", SOON, || if shown(&far) == before { Ok(()) } else { Err(format!("{:?}", shown(&far))) });
    let sum = import(&far, &delta);
    assert_eq!((&sum["taken"], &sum["tools"]), (&json!(2), &json!({"changed": 1, "gone": 1})), "{sum}");
    eventually(
        "so is the rest",
        SOON,
        || if shown(&far) == after { Ok(()) } else { Err(format!("{:?}", shown(&far))) },
    );

    // To import twice changes nothing, and what was taken survives a power cut.
    for file in [&whole, &delta] {
        let again = import(&far, file);
        assert_eq!((&again["taken"], &again["replaced"], &again["known"]), (&json!(0), &json!(0), &again["records"]));
    }
    far.kill();
    far.start_again();
    assert_eq!(shown(&far), after);
    // Whose node is gone is listed and labelled.
    eventually("the tools of the node that is gone are labelled", PATIENT, || {
        let answer = far.try_resolve("echo.pay.research", &["--exact"]).wanted(0)?.json();
        if answer["results"][0]["health"]["state"] == "down" { Ok(()) } else { Err(answer.to_string()) }
    });
    // Both ways are written down where they happened.
    let audit = far.aop(["audit", "--event", "imported", "--json"]).ok().json();
    assert_eq!(audit["entries"].as_array().map(Vec::len), Some(4), "{audit}");
    home.start_again();
    let audit = home.aop(["audit", "--event", "exported", "--json"]).ok().json();
    assert_eq!(audit["entries"].as_array().map(Vec::len), Some(2), "{audit}");
    eventually("both meet again and hold the same", PATIENT, || {
        let (one, other) = (shown(&home), shown(&far));
        if one == after && other == after { Ok(()) } else { Err(format!("{one:?} {other:?}")) }
    });
}

#[test]
fn a_file_with_another_byte_or_less_or_more_is_refused_and_nothing_of_it_taken() {
    let world = World::new();
    let home = world.node("home").zone("research").start();
    let mut far = replica(&world, "far", &home);
    far.kill();
    catalogue(&world, &home, &["search_papers", "cite", "review"]);
    let (whole, _) = export(&world, &home, "whole.aopz", None);
    drop(home);
    far.start_again();
    let bytes = std::fs::read(&whole).expect("it was written");
    let mut bad: Vec<Vec<u8>> = Vec::new();
    for at in [0, 3, 7, 9, 60, bytes.len() / 2, bytes.len() - 40, bytes.len() - 1] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        bad.push(flipped);
    }
    bad.extend([1, 8, 100, bytes.len() / 2, bytes.len() - 1].map(|length| bytes[..length].to_vec()));
    bad.extend([Vec::new(), [bytes.clone(), vec![0]].concat(), bytes.repeat(2)]);
    let file = world.path("bad.aopz");
    for bytes in bad {
        std::fs::write(&file, &bytes).expect("a file of the test's own directory");
        for flags in [&[][..], &["--dry-run"]] {
            let ran = try_import(&far, &file, flags).exits(1);
            let problem = ran.problem();
            assert_eq!(problem["kind"], "bundle_damaged", "{ran}");
            assert!(problem["message"].as_str().is_some_and(|said| said.contains("exported anew")), "{ran}");
        }
    }
    // What is no bundle at all, and is something else, is told as that.
    let catalogue = world.file("tools.json", "{\"tools\":[]}");
    assert!(try_import(&far, &catalogue, &[]).exits(2).err.contains("aop register file"));
    assert_eq!(shown(&far), [], "nothing of any of them was taken");
    // A base that is damaged is seen before anybody is asked.
    let refused = far.aop(["export", text(&world.path("x.aopz")), "--since", text(&file), "--json"]).exits(1);
    assert_eq!(refused.problem()["kind"], "bundle_damaged");
    assert!(!world.path("x.aopz").exists() && !world.path("x.aopz.part").exists());
    far.aop(["import", text(&world.path("nowhere.aopz"))]).exits(2).says("cannot be read");
    import(&far, &whole);
    eventually("the whole one is taken", SOON, || if shown(&far).len() == 3 { Ok(()) } else { Err(String::new()) });
}

#[test]
fn a_file_of_another_zone_or_another_key_is_refused_with_a_hint() {
    let world = World::new();
    let node = world.node("node").zone("research").start();
    let other = world.node("other").zone("writing").start();
    let namesake = world.node("namesake").zone("research").start();
    catalogue(&world, &other, &["spell"]);
    catalogue(&world, &namesake, &["search_papers"]);
    for (from, hint) in [(&other, "aop-node --zone writing"), (&namesake, "aop keys")] {
        let (file, _) = export(&world, from, "theirs.aopz", None);
        for flags in [&[][..], &["--dry-run"]] {
            let ran = try_import(&node, &file, flags).exits(1);
            let problem = ran.problem();
            assert_eq!(problem["kind"], "bundle_unfit", "{ran}");
            assert!(problem["hint"].as_str().is_some_and(|said| said.starts_with(hint)), "{ran}");
        }
    }
    let (theirs, _) = export(&world, &other, "theirs.aopz", None);
    let refused = node.aop(["export", text(&world.path("x.aopz")), "--since", text(&theirs), "--json"]).exits(1);
    assert_eq!(refused.problem()["kind"], "bundle_unfit");
    assert_eq!(shown(&node), []);
}

/// Of a zone of two nothing is left but one file, and of one of them its keys: of the one that made the zone's key, or of the other.
#[test]
fn a_zone_comes_back_from_one_file_and_the_keys_of_one_of_its_nodes() {
    for survivor in ["home", "far"] {
        let world = World::new();
        let mut home = world.node("home").zone("research").start();
        let mut far = replica(&world, "far", &home);
        let (near_home, near_far) = (Fixture::new(&world, "pay"), Fixture::new(&world, "met"));
        near_far.list(&[tool("forecast", "how it will be", json!({}))]);
        home.register("pay", &near_home.command());
        far.register("met", &near_far.command());
        catalogue(&world, &home, &["search_papers"]);
        eventually("both hold all of it", SOON, || {
            let (one, other) = (shown(&home), shown(&far));
            let has = |name: &str| one.iter().any(|(tool, _)| tool == name);
            let is_all = one == other && has("forecast.met.research") && has("search_papers.papers.research");
            if is_all { Ok(()) } else { Err(format!("{one:?} {other:?}")) }
        });
        let before = shown(&home);
        let key = home.get("/v1/keys").is(200).json()["key"].clone();
        let (file, _) = export(&world, &far, "zone.aopz", None);
        home.kill();
        far.kill();

        let lost = if survivor == "home" { &home } else { &far };
        let keys = world.path("node-new");
        std::fs::create_dir(&keys).expect("a directory of the test's own");
        for name in ["node.key", "zone.key"] {
            std::fs::copy(lost.data.join(name), keys.join(name)).expect("every node has both");
        }
        let mut new = world.node("new").zone("research").start();
        assert_eq!((&new.id, shown(&new)), (&lost.id, Vec::new()));
        let sum = import(&new, &file);
        assert_eq!((&sum["refused"], &sum["adopted"]), (&json!([]), &json!(survivor == "far")), "{sum}");
        assert!(sum["restored"].as_u64() > Some(0), "{sum}");
        assert_eq!(sum["tools"], json!({"changed": before.len(), "gone": 0}), "{sum}");
        eventually("the zone is back", SOON, || {
            if shown(&new) == before { Ok(()) } else { Err(format!("{:?}", shown(&new))) }
        });
        assert_eq!(new.get("/v1/keys").is(200).json()["key"], key, "{survivor}");
        // How its own server is reached is in no file: it is said so, and registering it again is all there is to do.
        let own = if survivor == "home" { "echo.pay.research" } else { "forecast.met.research" };
        let health = new.resolve(own)[0]["health"].clone();
        assert_eq!(health["state"], "degraded", "{health}");
        assert!(health["last_error"].as_str().is_some_and(|why| why.contains("register it again")), "{health}");
        new.kill();
        new.start_again();
        assert_eq!((shown(&new), &new.get("/v1/keys").is(200).json()["key"]), (before.clone(), &key));
        if survivor == "home" {
            new.register("pay", &near_home.command());
            new.eventually_says(own, &json!({"text": "back"}), "back", PATIENT);
            assert_eq!(shown(&new), before, "under the same definitions");
        }
        // It is the zone's node as before: it lets others in.
        let again = replica(&world, "again", &new);
        eventually("whoever joins has all of it", PATIENT, || {
            if shown(&again) == before { Ok(()) } else { Err(format!("{:?}", shown(&again))) }
        });
    }
}

#[test]
fn a_bundle_holds_no_secret_and_is_given_to_and_taken_from_nobody_without_a_token() {
    let world = World::new();
    let node = world.node("node").zone("research").env("PAY_TOKEN", "s3cret-of-pay").start();
    let fixture = Fixture::new(&world, "pay");
    node.try_register("pay", &fixture.command(), &["--env", "TOKEN=env:PAY_TOKEN", "--env", "PLAIN=also-s3cret"]).ok();
    let (file, _) = export(&world, &node, "zone.aopz", None);
    let bytes = std::fs::read(&file).expect("it was written");
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(b"echo.pay.research"));
    let key = std::fs::read(node.data.join("node.key")).expect("its key");
    let zone_key = std::fs::read(node.data.join("zone.key")).expect("its zone's key");
    let token = node.token();
    for secret in
        [b"s3cret-of-pay", &b"also-s3cret"[..], b"fixture_mcp.py", b"PAY_TOKEN", token.as_bytes(), &key, &zone_key]
    {
        assert!(!holds(secret), "{}", String::from_utf8_lossy(secret));
    }
    for (method, path) in [("GET", "/v1/transfer"), ("POST", "/v1/transfer"), ("POST", "/v1/transfer/since")] {
        request(&node.address, method, path, &[], &bytes).is(401);
    }
    node.aop(["token", "create", "reader", "--role", "reader"]).ok();
    let reader = node.aop(["token", "create", "other", "--role", "reader", "--json"]).ok().json();
    let bearer = format!("Bearer {}", reader["token"].as_str().unwrap_or_default());
    request(&node.address, "GET", "/v1/transfer", &[("Authorization", &bearer)], b"").is(403);
    let odd =
        request(&node.address, "GET", "/v1/transfer", &[("Authorization", &format!("Bearer {token}"))], b"").is(200);
    assert_eq!(odd.header("content-type"), Some("application/vnd.aop.bundle"));
}

#[test]
fn a_bundle_goes_through_a_pipe_and_words_stay_out_of_it() {
    let world = World::new();
    let home = world.node("home").zone("research").start();
    let mut far = replica(&world, "far", &home);
    far.kill();
    catalogue(&world, &home, &["search_papers"]);
    let mut command = world.command("sh");
    let aop = env!("CARGO_BIN_EXE_aop");
    command.args(["-c", &format!("{aop} --node {} export > piped.aopz", home.address)]);
    let ran = support::run(command, None).ok();
    ran.says("zone research:");
    drop(home);
    far.start_again();
    let mut command = world.command("sh");
    command.args(["-c", &format!("cat piped.aopz | {aop} --node {} import - -o json", far.address)]);
    let sum = support::run(command, None).ok().json();
    // A replica that was killed a moment after it heard of the other may have forgotten it.
    assert_eq!((&sum["tools"]["changed"], &sum["refused"]), (&json!(1), &json!([])), "{sum}");
    let words = far.aop(["import", text(&world.path("piped.aopz"))]).ok().prints("taken    0");
    assert!(!words.err.contains('\r'), "progress is for terminals: {words}");
}
