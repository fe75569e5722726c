//! Calls when things go wrong: answers cut off on their way, processes killed in the middle. An upstream writes down every call before it
//! answers, so that what ran, and how often, is known whatever its callers were told.
//!
//! The promise seen from outside (P4): a call runs at most once unless it may be repeated; under an idempotency key it is not lost either.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::scope;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use support::raw::{Reply, message, try_request};
use support::{Fixture, Node, PATIENT, SOON, World, eventually};

const ECHO: &str = "echo.papers.research";
/// Calls of one story, and callers at once.
const CALLS: usize = 120;
const CALLERS: usize = 6;

/// How often each text was said to the upstream.
fn effects(fixture: &Fixture) -> BTreeMap<String, usize> {
    let mut effects = BTreeMap::new();
    for entry in fixture.journal().iter().filter(|entry| entry["method"] == "tools/call") {
        let text = entry["params"]["arguments"]["text"].as_str().unwrap_or_default();
        *effects.entry(text.to_owned()).or_default() += 1;
    }
    effects
}

fn body(text: &str, key: Option<&str>) -> Value {
    let mut body = json!({"arguments": {"text": text}, "timeout_ms": 20_000});
    if let Some(key) = key {
        body["idempotency_key"] = key.into();
    }
    body
}

/// A caller that is not there to hear the end, or is.
fn call(address: &str, token: &str, text: &str, key: Option<&str>) -> std::io::Result<Reply> {
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    try_request(address, "POST", &format!("/v1/tools/{ECHO}/call"), &headers, body(text, key).to_string().as_bytes())
}

/// Sends the call and goes away.
fn call_and_leave(address: &str, token: &str, text: &str, key: Option<&str>) {
    let body = body(text, key).to_string();
    let head = format!(
        "POST /v1/tools/{ECHO}/call HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).expect("the node listens");
    stream.write_all(format!("{head}{body}").as_bytes()).expect("it is sent");
    drop(stream.shutdown(Shutdown::Both));
}

/// What was said: the words of the upstream, or the kind of the problem.
fn said(reply: &Reply) -> Result<String, String> {
    let answer = reply.json();
    match reply.status {
        200 => Ok(answer["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()),
        _ => Err(answer["kind"].as_str().unwrap_or_default().to_owned()),
    }
}

/// The same to compare with.
fn heard(told: &Result<String, String>) -> Result<&str, &str> {
    told.as_deref().map_err(String::as_str)
}

/// [`CALLS`] texts from several callers at once; what each was told.
fn all(work: impl Fn(&str) -> Result<String, String> + Sync) -> BTreeMap<String, Result<String, String>> {
    many(CALLS, work)
}

/// The same of so many texts.
fn many(
    calls: usize,
    work: impl Fn(&str) -> Result<String, String> + Sync,
) -> BTreeMap<String, Result<String, String>> {
    let next = AtomicUsize::new(0);
    let told = std::sync::Mutex::new(BTreeMap::new());
    scope(|threads| {
        for _ in 0..CALLERS {
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= calls {
                        return;
                    }
                    let text = format!("call {number}");
                    let heard = work(&text);
                    told.lock().expect("nobody panics with it").insert(text, heard);
                }
            });
        }
    });
    told.into_inner().expect("all are done")
}

/// Stands before an HTTP upstream and cuts every third answer to a call off: the upstream has run it.
fn cutting(upstream: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let server = TcpStream::connect(("127.0.0.1", upstream)).ok()?;
                let (mut client, mut server) = (client, server);
                loop {
                    let request = message(&mut client)?;
                    server.write_all(&request).ok()?;
                    let answer = message(&mut server)?;
                    let is_call = request.windows(12).any(|part| part == b"\"tools/call\"");
                    if is_call && CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
                        return client.shutdown(Shutdown::Both).ok();
                    }
                    client.write_all(&answer).ok()?;
                }
            });
        }
    });
    port
}

#[test]
fn what_an_upstream_ran_and_did_not_answer_runs_no_second_time() {
    answers_are_cut(CALLS, CALLS);
}

#[test]
fn a_caller_that_lost_its_answer_finds_it_under_its_key() {
    answers_are_lost(CALLS);
}

/// 9,666 answers cut on their way to the node, and 8,000 on their way to its callers. So many keys are one caller's share of a ledger.
#[test]
#[ignore = "minutes: cargo long"]
fn of_ten_thousand_lost_answers_none_is_a_second_effect_and_none_is_lost_under_a_key() {
    answers_are_cut(21_000, 8_000);
    answers_are_lost(8_000);
}

/// Every third answer is cut off between the upstream, which ran the call, and the node.
fn answers_are_cut(unkeyed: usize, keyed: usize) {
    let world = World::new();
    let fixture = Fixture::new(&world, "papers");
    let server = fixture.serve(&world, 0);
    let url = format!("http://127.0.0.1:{}/mcp", cutting(server.port));
    let node = world.node("node").zone("research").start();
    node.aop(["register", "mcp", &url, "--as", "papers", "--json"]).ok();
    let (address, token) = (node.address.clone(), node.token());
    let told = many(unkeyed, |text| said(&call(&address, &token, text, None).expect("an answer")));
    let ran = effects(&fixture);
    assert!(ran.values().all(|count| *count == 1), "a second effect");
    let lost = |told: &&Result<String, String>| heard(told) == Err("upstream_failed");
    for (text, told) in &told {
        match told {
            Ok(words) => assert_eq!((words, ran.get(text)), (text, Some(&1))),
            // It may have run; left alone for a while it has not.
            Err(kind) => assert!(kind == "upstream_failed" || kind == "instance_down", "{text}: {kind}"),
        }
    }
    let cut = told.values().filter(lost).count();
    assert!(cut >= unkeyed / 5 && cut < unkeyed, "{cut} of {unkeyed} were cut");
    // Under a key that is known for ever, however often somebody asks.
    let ask = |text: &str| said(&call(&address, &token, &format!("keyed {text}"), Some(text)).expect("an answer"));
    let first = many(keyed, ask);
    let again = many(keyed, ask);
    let ran = effects(&fixture);
    assert!(ran.values().all(|count| *count == 1), "a second effect");
    for (text, first) in &first {
        match (heard(first), heard(&again[text])) {
            (Ok(words), again) => assert_eq!(again, Ok(words)),
            // Its effect is not lost: it is known that it may be there, and it is.
            (Err("upstream_failed"), again) => {
                assert_eq!((again, ran.get(&format!("keyed {text}"))), (Err("may_have_run"), Some(&1)));
            }
            // Not sent: it may run now.
            (Err(kind), again) => assert!(kind == "instance_down" && again != Err("may_have_run"), "{text}: {again:?}"),
        }
    }
    let cut = first.values().filter(lost).count();
    assert!(cut >= keyed / 5 && cut < keyed, "{cut} of {keyed} were cut");
}

/// Callers go away before they have heard the answer, with and without a key, and ask again under theirs.
fn answers_are_lost(calls: usize) {
    let world = World::new();
    let node = world.node("node").zone("research").start();
    let fixture = Fixture::new(&world, "papers");
    node.register("papers", &fixture.command());
    let (address, token) = (node.address.clone(), node.token());
    let told = many(calls, |text| {
        call_and_leave(&address, &token, &format!("unkeyed {text}"), None);
        call_and_leave(&address, &token, text, Some(text));
        said(&call(&address, &token, text, Some(text)).expect("an answer"))
    });
    for (text, told) in &told {
        assert_eq!(heard(told), Ok(text.as_str()));
    }
    let ran = effects(&fixture);
    assert!(ran.values().all(|count| *count == 1), "a second effect");
    assert_eq!(ran.keys().filter(|text| !text.starts_with("unkeyed")).count(), calls);
    // One key is for one call.
    let other = call(&address, &token, "something else", Some("call 0")).expect("an answer");
    assert_eq!((other.status, said(&other)), (422, Err("key_reused".to_owned())));
}

#[test]
fn a_home_that_was_killed_repeats_nothing_and_knows_what_it_answered() {
    let world = World::new();
    let mut node = world.node("node").zone("research").start();
    let fixture = Fixture::new(&world, "papers");
    node.register("papers", &fixture.command());
    let (address, token) = (node.address.clone(), node.token());
    let asked = AtomicUsize::new(0);
    let ask = |text: &str| {
        asked.fetch_add(1, Ordering::Relaxed);
        match call(&address, &token, text, Some(text)) {
            Ok(reply) => said(&reply),
            Err(_) => Err("cut".to_owned()),
        }
    };
    let first = scope(|threads| {
        let first = threads.spawn(|| all(ask));
        eventually("half of the calls are made", SOON, || {
            let asked = asked.load(Ordering::Relaxed);
            if asked >= CALLS / 2 { Ok(()) } else { Err(asked.to_string()) }
        });
        node.kill();
        first.join().expect("the callers end")
    });
    node.start_again();
    let again = eventually("every call has an end", PATIENT, || {
        let again = all(ask);
        let is_end =
            |told: &Result<String, String>| !matches!(heard(told), Err("upstream_down" | "instance_down" | "cut"));
        if again.values().all(is_end) { Ok(again) } else { Err(format!("{again:?}")) }
    });
    let ran = effects(&fixture);
    assert!(ran.values().all(|count| *count == 1), "{ran:?}");
    for (text, first) in &first {
        match heard(&again[text]) {
            Ok(words) => assert_eq!((words, ran.get(text)), (text.as_str(), Some(&1))),
            Err(kind) => assert_eq!((kind, first.is_err()), ("may_have_run", true), "{text}"),
        }
    }
    let unknown = again.values().filter(|told| told.is_err()).count();
    assert!(unknown <= CALLERS, "no more than were under way: {unknown}");
}

#[test]
fn calls_to_an_idempotent_tool_do_not_fail_with_one_of_its_instances() {
    let world = World::new();
    let config =
        world.file("node.toml", "[call]\nbalance = \"round-robin\"\n[tools.\"echo.papers\"]\nidempotent = true\n");
    let config = config.display().to_string();
    let one = world.node("one").zone("research").args(["--config", &config]).start();
    let mut other = world.node("other").zone("research").args(["--join", &one.address]).start();
    let fixture = Fixture::new(&world, "papers");
    one.try_register("papers", &fixture.command(), &["--replica"]).ok();
    other.try_register("papers", &fixture.command(), &["--replica"]).ok();
    eventually("both instances are known", PATIENT, || {
        let hit = one.resolve(ECHO).first().cloned().unwrap_or_default();
        if hit["instances"].as_array().is_some_and(|all| all.len() == 2) { Ok(()) } else { Err(hit.to_string()) }
    });
    let (address, token) = (one.address.clone(), one.token());
    let served = AtomicUsize::new(0);
    let told = scope(|threads| {
        let told = threads.spawn(|| {
            all(|text| {
                let told = said(&call(&address, &token, text, None).expect("an answer"));
                served.fetch_add(1, Ordering::Relaxed);
                told
            })
        });
        eventually("a third of the calls are made", SOON, || {
            let served = served.load(Ordering::Relaxed);
            if served >= CALLS / 3 { Ok(()) } else { Err(served.to_string()) }
        });
        other.kill();
        told.join().expect("the callers end")
    });
    for (text, told) in &told {
        assert_eq!(heard(told), Ok(text.as_str()));
    }
    let stats = one.aop(["stats", ECHO, "-o", "json"]).ok().json();
    let nodes: Vec<&str> =
        stats["endpoints"].as_array().into_iter().flatten().filter_map(|one| one["node"].as_str()).collect();
    assert!(nodes.contains(&one.id.as_str()) && nodes.contains(&other.id.as_str()), "{stats}");
}

/// It was cancelled with its caller's time while its caller was told that it goes on, and the hint ran it again without its key.
#[test]
fn a_call_under_a_key_goes_on_when_its_caller_s_time_is_over() {
    let world = World::new();
    let node = world.node("node").zone("research").start();
    let far = world.node("far").zone("research").args(["--join", &node.address]).start();
    let fixture = Fixture::new(&world, "papers");
    node.register("papers", &fixture.command());
    let slow = "slow.papers.research";
    far.eventually_says(ECHO, &json!({"text": "ready"}), "ready", SOON);
    for (door, key) in [(&node, "one"), (&far, "it's two")] {
        let before = fixture.calls("slow");
        let late = door.aop(["call", slow, "--idempotency-key", key, "--timeout", "700ms", "--json"]).problem();
        assert_eq!(late["kind"], "call_timed_out", "{late}");
        let quoted = if key == "one" { "one" } else { r"'it'\''s two'" };
        assert_eq!(late["hint"], format!("aop call {slow} --idempotency-key {quoted} --timeout 2m"), "{late}");
        let again = door.aop(["call", slow, "--idempotency-key", key, "--timeout", "20s", "--json"]).ok().json();
        assert_eq!(again["result"]["content"][0]["text"], "at last", "{again}");
        assert_eq!(fixture.calls("slow"), before + 1, "{key}");
    }
    // Without a key it is not hinted at again, and what may have run says so.
    let late = node.aop(["call", slow, "--timeout", "300ms", "--json"]).problem();
    assert_eq!(late["hint"], format!("aop show {slow}"), "{late}");
    node.signal(Signal::STOP);
    let late = far.aop(["call", slow, "--timeout", "500ms", "--json"]).problem();
    node.signal(Signal::CONT);
    assert!(late["message"].as_str().is_some_and(|text| text.contains("may have run")), "{late}");
}

/// A home that goes silent kept its caller waiting until the connection was given up, ten seconds later, or the call's time was over.
#[test]
fn a_call_that_may_be_repeated_does_not_wait_for_a_home_that_went_silent() {
    let world = World::new();
    let config = world.file("node.toml", "[tools.\"echo.papers\"]\nread_only = true\n").display().to_string();
    let door = world.node("door").zone("research").args(["--config", &config]).start();
    let homes = ["one", "two"].map(|name| world.node(name).zone("research").args(["--join", &door.address]).start());
    let fixtures = ["first", "second"].map(|name| Fixture::new(&world, name));
    for (home, fixture) in homes.iter().zip(&fixtures) {
        home.try_register("papers", &fixture.command(), &["--replica"]).ok();
    }
    eventually("the tool has two instances", SOON, || {
        let answer = door.try_resolve("echo.papers.research", &["--exact", "--no-cache"]).wanted(0)?.json();
        let instances = answer["results"][0]["instances"].as_array().map_or(0, Vec::len);
        if instances == 2 { Ok(()) } else { Err(answer.to_string()) }
    });
    let hello = json!({"text": "hello"});
    door.eventually_says("echo.papers.research", &hello, "hello", SOON);
    // Whichever comes first: one of two calls in turn meets the home that is silent.
    homes[0].signal(Signal::STOP);
    for _ in 0..2 {
        let said = door.aop(["call", "echo.papers.research", "--timeout", "8s", "text=hello"]);
        assert_eq!(said.code, 0, "{said}");
    }
    homes[0].signal(Signal::CONT);
}

/// An upstream that hung took all of a call's time, and the other instance was asked with the last hundredth of it.
#[test]
fn a_call_that_may_be_repeated_does_not_wait_for_an_upstream_that_hangs() {
    let world = World::new();
    let config =
        world.file("node.toml", "[call]\nbalance = \"round-robin\"\n[tools.\"echo.papers\"]\nidempotent = true\n");
    let config = config.display().to_string();
    let door = world.node("door").zone("research").args(["--config", &config]).start();
    let homes = ["one", "two"].map(|name| world.node(name).zone("research").args(["--join", &door.address]).start());
    for home in &homes {
        home.try_register("papers", &Fixture::new(&world, &home.id).command(), &["--replica"]).ok();
    }
    eventually("both instances are up", PATIENT, || {
        let hit = door.try_resolve(ECHO, &["--exact", "--no-cache"]).wanted(0)?.json()["results"][0].clone();
        let up = hit["instances"].as_array().into_iter().flatten().filter(|one| one["state"] == "ACTIVE").count();
        if up == 2 { Ok(()) } else { Err(hit.to_string()) }
    });
    let hung: Vec<_> = homes[0].children().into_iter().map(|(process, _)| process).collect();
    let all = |signal| hung.iter().for_each(|process| kill_process(*process, signal).expect("it runs"));
    all(Signal::STOP);
    let told: Vec<_> = (0..2).map(|_| door.aop(["call", ECHO, "--timeout", "6s", "--json", "text=hello"])).collect();
    let stats = door.aop(["stats", ECHO, "-o", "json"]).ok().json();
    all(Signal::CONT);
    for told in told {
        assert_eq!((told.code, &told.json()["served_by"]), (0, &json!(homes[1].id)), "{told}");
    }
    let calls: Vec<_> = stats["endpoints"].as_array().into_iter().flatten().map(|one| one["calls"].clone()).collect();
    assert_eq!(calls.len(), 2, "one of two calls in turn met the one that hangs: {stats}");
}

/// An upstream, its node, the other node, and what they are again: each killed as nobody expects it while calls go on at a third.
#[test]
fn calls_to_an_idempotent_tool_do_not_fail_whoever_is_killed_of_two() {
    let world = World::new();
    let config =
        world.file("node.toml", "[call]\nbalance = \"round-robin\"\n[tools.\"echo.papers\"]\nidempotent = true\n");
    let config = config.display().to_string();
    let door = world.node("door").zone("research").args(["--config", &config]).start();
    let homes = ["one", "other"].map(|name| {
        let node = world.node(name).zone("research").args(["--config", &config, "--join", &door.address]).start();
        node.try_register("papers", &Fixture::new(&world, name).command(), &["--replica"]).ok();
        node
    });
    let [mut one, mut other] = homes;
    let both_serve = || {
        eventually("both instances are up", PATIENT, || {
            let hit = door.resolve(ECHO).first().cloned().unwrap_or_default();
            let up = hit["instances"].as_array().into_iter().flatten().filter(|one| one["state"] == "ACTIVE").count();
            if up == 2 { Ok(()) } else { Err(hit.to_string()) }
        });
    };
    both_serve();
    let (address, token) = (door.address.clone(), door.token());
    let (served, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let more = || {
        let seen = served.load(Ordering::Relaxed);
        eventually("calls go on", PATIENT, || {
            let served = served.load(Ordering::Relaxed);
            if served >= seen + CALLS / 4 { Ok(()) } else { Err(served.to_string()) }
        });
    };
    scope(|threads| {
        for caller in 0..CALLERS {
            let (address, token, served, is_over) = (&address, &token, &served, &is_over);
            threads.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let text = format!("{caller} {}", served.fetch_add(1, Ordering::Relaxed));
                    let told = said(&call(address, token, &text, None).expect("an answer"));
                    assert_eq!(heard(&told), Ok(text.as_str()));
                }
            });
        }
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            more();
            for (upstream, _) in one.children() {
                kill_process(upstream, Signal::KILL).expect("it runs");
            }
            more();
            both_serve();
            one.kill();
            more();
            one.start_again();
            both_serve();
            other.kill();
            more();
        }));
        is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = killed {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn an_upstream_that_dies_in_the_middle_is_called_once_and_its_life_is_told() {
    let world = World::new();
    let node = world.node("node").zone("research").start();
    let fixture = Fixture::new(&world, "papers");
    node.register("papers", &fixture.command());
    let lifecycle = |node: &Node| node.get("/v1/servers").is(200).json()["servers"][0]["lifecycle"].clone();
    assert_eq!(lifecycle(&node), "ACTIVE");
    let dead = node.try_call("die.papers.research", &json!({})).exits(1);
    assert_eq!((dead.problem()["kind"].as_str(), fixture.calls("die")), (Some("upstream_failed"), 1), "{dead}");
    node.eventually_says(ECHO, &json!({"text": "back"}), "back", PATIENT);
    assert_eq!((lifecycle(&node), fixture.calls("die")), ("ACTIVE".into(), 1));
}

#[test]
fn an_operator_holds_calls_back_and_lets_them_go() {
    let world = World::new();
    let config = world.file("node.toml", "[tools.\"*.papers\"]\nworkers = 1\nqueue = 1\n");
    let config = config.display().to_string();
    let node = world.node("node").zone("research").args(["--config", &config]).start();
    let fixture = Fixture::new(&world, "papers");
    node.register("papers", &fixture.command());
    node.aop(["queue", "pause", ECHO]).ok();
    let (address, token) = (node.address.clone(), node.token());
    let ask = |text: &'static str| said(&call(&address, &token, text, None).expect("an answer"));
    scope(|threads| {
        let first = threads.spawn(|| ask("first"));
        let ticket = eventually("it waits", SOON, || {
            let queue = node.aop(["queue", "ls", ECHO, "-o", "json"]).wanted(0)?.json();
            let ticket = queue["queues"][0]["calls"][0]["ticket"].as_u64();
            ticket.ok_or_else(|| queue.to_string())
        });
        let full = call(&address, &token, "no room", None).expect("an answer");
        assert_eq!((full.status, full.header("retry-after")), (503, Some("1")), "{}", full.text());
        let status = node.aop(["status", "--json"]).ok().json();
        assert_eq!((&status["queues"]["waiting"], &status["queues"]["paused"]), (&json!(1), &json!(1)));
        let metrics = node.get("/metrics").is(200).text();
        assert!(metrics.contains("aop_queue_calls{state=\"waiting\"} 1\n"), "{metrics}");
        node.aop(["queue", "cancel", ECHO, &ticket.to_string()]).ok();
        assert_eq!(first.join().expect("it ends"), Err("cancelled".to_owned()));
        let second = threads.spawn(|| ask("second"));
        eventually("it waits", SOON, || {
            node.aop(["queue", "clear", ECHO, "--json"])
                .wanted(0)
                .and_then(|ran| if ran.json()["cleared"] == 1 { Ok(()) } else { Err(ran.to_string()) })
        });
        assert_eq!(second.join().expect("it ends"), Err("cancelled".to_owned()));
        let third = threads.spawn(|| ask("third"));
        node.aop(["queue", "resume", ECHO]).ok();
        assert_eq!(third.join().expect("it ends"), Ok("third".to_owned()));
    });
    assert_eq!(effects(&fixture), BTreeMap::from([("third".to_owned(), 1)]));
    node.aop(["queue", "pause", "nothing.papers.research"]).exits(6);
}

/// A plain HTTP agent: describes itself, counts what it is told, fails on request.
fn agent(told: std::sync::Arc<std::sync::Mutex<Vec<Value>>>) -> (u16, std::sync::Arc<std::sync::atomic::AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let gone = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_gone = gone.clone();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            if is_gone.load(Ordering::Relaxed) {
                return;
            }
            let (told, is_gone) = (told.clone(), is_gone.clone());
            std::thread::spawn(move || {
                while let Some(request) = message(&mut client).filter(|_| !is_gone.load(Ordering::Relaxed)) {
                    let text = String::from_utf8_lossy(&request);
                    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
                    let answer = match (head.starts_with("GET /texts/ "), head.starts_with("POST /texts/invoke ")) {
                        (true, _) => {
                            json!({"agent_id": "summariser", "capabilities": ["summarise"], "description": "Makes texts short"})
                        }
                        (_, true) => {
                            let envelope: Value = serde_json::from_str(body).unwrap_or_default();
                            told.lock().expect("nobody panics with it").push(envelope.clone());
                            match envelope["goal"].as_str() {
                                Some("cut") => return client.shutdown(Shutdown::Both).ok(),
                                Some("fail") => json!({"error": "no cheese"}),
                                Some("object") => json!({"result": {"short": "yes"}}),
                                Some(odd @ ("busy" | "text")) => {
                                    let status = if odd == "busy" { "503 Busy\r\nRetry-After: 7" } else { "200 OK" };
                                    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n");
                                    client.write_all(format!("{head}words").as_bytes()).ok()?;
                                    continue;
                                }
                                goal => {
                                    json!({"result": format!("{} in short", goal.unwrap_or_default()), "handoff": null})
                                }
                            }
                        }
                        _ => json!({"error": "nothing is here"}),
                    };
                    let answer = answer.to_string();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                        answer.len()
                    );
                    client.write_all(format!("{head}{answer}").as_bytes()).ok()?;
                }
                Some(())
            });
        }
    });
    (port, gone)
}

#[test]
fn a_plain_agent_is_a_tool_and_is_called_once() {
    let world = World::new();
    let node = world.node("node").zone("research").start();
    let told = std::sync::Arc::default();
    let (port, gone) = agent(std::sync::Arc::clone(&told));
    let url = format!("http://127.0.0.1:{port}/texts");
    let registered = node.aop(["register", "agent", &url, "--as", "texts", "--json"]).ok().json();
    assert_eq!(registered["tools"][0]["name"], "summariser.texts.research", "{registered}");
    let name = "summariser.texts.research";
    let card = node.aop(["show", name, "--json"]).ok().json();
    assert!(card["description"].as_str().is_some_and(|text| text.starts_with("Makes texts short")), "{card}");
    let result = node.call(name, &json!({"task": "a long text", "img": "a.png"}));
    assert_eq!(result["structuredContent"], json!({"result": "a long text in short", "success": true, "error": null}));
    let failed = node.try_call(name, &json!({"task": "fail"})).exits(5).json();
    assert_eq!(failed["result"]["content"][0]["text"], "no cheese", "{failed}");
    // Arguments are checked before anything is sent, and what may have run does not run again.
    node.try_call(name, &json!({"text": "no task"})).exits(2);
    let cut = node.try_call(name, &json!({"task": "cut"})).exits(1);
    assert_eq!(cut.problem()["kind"], "upstream_failed", "{cut}");
    // What was answered is told as what it is.
    let busy = node.try_call(name, &json!({"task": "busy"})).exits(1).problem();
    assert_eq!((&busy["kind"], &busy["detail"]["retry_after_s"]), (&json!("upstream_failed"), &json!(7)), "{busy}");
    assert!(busy["message"].as_str().is_some_and(|text| text.contains("HTTP 503") && !text.contains("lost")), "{busy}");
    let text = node.try_call(name, &json!({"task": "text"})).exits(1).problem();
    assert!(text["message"].as_str().is_some_and(|text| text.contains("no JSON object: words")), "{text}");
    // It is told how much time it has: what is left of the call's.
    node.aop(["call", name, "task=soon", "--timeout", "9s"]).ok();
    let deadline = told.lock().expect("nobody panics with it")[5]["constraints"]["deadline_ms"].as_u64();
    assert!(deadline.is_some_and(|left| (1..=9_000).contains(&left)), "{deadline:?}");
    let other = node.aop(["register", "agent", &format!("http://127.0.0.1:{port}/other"), "--as", "other"]).exits(1);
    assert!(other.err.contains("no agent is there"), "{other}");
    let goals: Vec<Value> =
        told.lock().expect("nobody panics with it").iter().map(|one: &Value| one["goal"].clone()).collect();
    assert_eq!(goals, ["a long text", "fail", "cut", "busy", "text", "soon"]);
    assert_eq!(told.lock().expect("nobody panics with it")[0]["memory"], json!({"img": "a.png"}));
    // One that is gone was provably not called.
    gone.store(true, Ordering::Relaxed);
    drop(TcpStream::connect(("127.0.0.1", port)));
    eventually("it is known to be gone", PATIENT, || {
        let ran = node.try_call(name, &json!({"task": "again"})).wanted(1)?;
        if ran.problem()["kind"] == "upstream_down" { Ok(()) } else { Err(ran.to_string()) }
    });
    assert_eq!(told.lock().expect("nobody panics with it").len(), 6);
}

#[test]
fn an_agent_s_tool_takes_and_answers_what_its_operator_says() {
    let world = World::new();
    let node = world.node("node").zone("research").start();
    let told = std::sync::Arc::default();
    let (port, _) = agent(std::sync::Arc::clone(&told));
    let url = format!("http://127.0.0.1:{port}/texts");
    let takes = json!({"type": "object", "required": ["task", "words"],
        "properties": {"task": {"type": "string"}, "words": {"type": "integer"}}});
    let answers = json!({"type": "object", "required": ["short"], "properties": {"short": {"type": "string"}}});
    let file = format!("@{}", world.file("takes.json", &takes.to_string()).display());
    let schemas = ["--input-schema", &file, "--output-schema", &answers.to_string()];
    node.aop(["register", "agent", &url, "--as", "texts"].into_iter().chain(schemas)).ok();
    let name = "summariser.texts.research";
    let card = node.get(&format!("/v1/tools/{name}?schema=1")).is(200).json();
    assert_eq!((&card["inputSchema"], &card["outputSchema"]), (&takes, &answers), "{card}");
    node.try_call(name, &json!({"task": "object"})).exits(2);
    let result = node.call(name, &json!({"task": "object", "words": 3}));
    assert_eq!(result["structuredContent"], json!({"short": "yes"}), "{result}");
    // What does not fit is not passed off as what fits.
    let unfit = node.try_call(name, &json!({"task": "a long text", "words": 3})).exits(1);
    assert!(unfit.problem()["message"].as_str().is_some_and(|said| said.contains("is no object")), "{unfit}");
    assert_eq!(told.lock().expect("nobody panics with it")[0]["memory"], json!({"words": 3}));
    for wrong in ["{\"type\":\"array\"}", "{", "@nowhere.json"] {
        node.aop(["register", "agent", &url, "--as", "others", "--input-schema", wrong]).exits(2);
    }
}
