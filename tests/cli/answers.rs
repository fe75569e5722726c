//! What `aop` says of answers that are not what one expects: no end, JSON beyond what it reads, parts of a list, nodes that are silent.

use rustix::process::Signal;
use serde_json::json;

use super::one_node;
use super::support::fixture::tool;
use super::support::process::Guard;
use super::support::{Fixture, Node, Ran, SOON, World, eventually, run};

/// A node whose server answers in ways of its own.
fn odd_node(world: &World) -> (Node, Fixture) {
    let (node, fixture) = one_node(world);
    let none = json!({});
    let named = |name: &str| tool(name, &format!("Answers as {name} does"), none.clone());
    fixture.list(&["ask", "begin", "beyond", "echo"].map(named));
    eventually("they are listed", SOON, || {
        let listed = node.aop(["ls", "-o", "name"]).ok().out;
        if listed.contains("beyond.papers.research") { Ok(()) } else { Err(listed) }
    });
    (node, fixture)
}

fn piped(node: &Node, words: &[&str], input: &str) -> Ran {
    run(node.aop_command(words.iter().copied()), Some(input.as_bytes()))
}

/// A tool that asked for input was counted as one that had answered.
#[test]
fn an_answer_that_is_no_end_is_a_failure_with_its_result() {
    let world = World::new();
    let (node, _fixture) = odd_node(&world);
    for (name, kind, words) in
        [("ask.papers.research", "input_required", "asks for input"), ("begin.papers.research", "task", "as a task")]
    {
        let people = node.aop(["call", name]).exits(1).says(words).says("nothing was completed");
        assert!(!people.err.contains("served by"), "{people}");
        let script = node.aop(["call", name, "--json"]).exits(1);
        assert_eq!(script.json()["result"]["resultType"], kind, "{script}");
        assert!(script.problem()["message"].as_str().is_some_and(|said| said.contains(words)), "{script}");
        let many = piped(&node, &["call", name, "-", "--json"], "{}\n{}\n").exits(1);
        let told = many.json_lines();
        assert_eq!([&told[0]["result"]["resultType"], &told[1]["index"]], [&json!(kind), &json!(2)], "{many}");
    }
}

/// A tool that had run was told as an internal error.
#[test]
fn json_beyond_what_is_read_here_passes_through() {
    let world = World::new();
    let (node, fixture) = odd_node(&world);
    let name = "beyond.papers.research";
    let deep = "[".repeat(5000);
    for words in [&["call", name, "--json"][..], &["call", name, "-o", "yaml"], &["call", name]] {
        let ran = node.aop(words.iter().copied()).ok().prints("\"n\":1e400").prints(&deep);
        assert!(!ran.err.contains("error"), "{ran}");
    }
    node.aop(["call", name]).ok().says("the tool has run");
    let many = piped(&node, &["call", name, "-", "--json"], "{}\n{}\n").ok();
    assert_eq!(many.out.lines().filter(|line| line.contains("\"n\":1e400")).count(), 2, "{}", many.err);
    assert_eq!(fixture.calls("beyond"), 6);
}

#[test]
fn a_structured_part_that_is_not_shown_is_told_of() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    let same = node.aop(["call", "add.papers.research", "a=1", "b=2"]).ok().prints("3\n");
    assert!(!same.err.contains("structured"), "{same}");
}

#[test]
fn an_argument_given_twice_is_refused_however_it_is_given() {
    let world = World::new();
    let (node, fixture) = one_node(&world);
    let name = "add.papers.research";
    for words in [&["a=1", "a=2", "b=1"][..], &["--args", r#"{"a":1,"a":2,"b":1}"#]] {
        let refused = node.aop(["call", name, "--json"].into_iter().chain(words.iter().copied())).exits(2);
        let problem = refused.problem();
        assert_eq!([&problem["kind"], &problem["message"]], ["invalid_arguments", "argument `a` is given twice"]);
    }
    let many = piped(&node, &["call", name, "-", "--json"], "{\"a\":1,\"a\":2,\"b\":1}\n{\"a\":1,\"b\":2}\n").exits(2);
    let told = many.json_lines();
    assert_eq!(told[0]["error"]["kind"], "invalid_arguments", "{many}");
    assert_eq!(told[1]["result"]["structuredContent"], json!({"sum": 3}), "{many}");
    assert_eq!(fixture.calls("add"), 1);
}

/// The tools of a part were counted as if they were all.
#[test]
fn a_list_that_was_cut_says_that_there_are_more() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    let cut = node.aop(["ls", "-n", "2"]).ok().says("first 2 tools in zone research and below; there are more");
    assert!(cut.err.contains("aop ls -n 20"), "{cut}");
    let cut = node.aop(["ls", "-n", "2", "--json"]).ok().json();
    assert_eq!((&cut["truncated"], cut["tools"].as_array().map(Vec::len)), (&json!(true), Some(2)), "{cut}");
    let all = node.aop(["ls", "-n", "10", "--json"]).ok().json();
    assert_eq!((all.get("truncated"), &all["zones"]["silent"]), (None, &json!([])), "{all}");
    node.aop(["ls", "-n", "10"]).ok().says("10 tools in zone research");
    node.aop(["ls", "--unhealthy"]).ok().says("no tool is unhealthy among those known in zone research");
}

#[test]
fn the_exit_status_of_many_questions_is_that_of_what_failed() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    let asked = |input: &str| piped(&node, &["resolve", "-", "--exact"], input);
    asked("no name\necho.papers.research\n").exits(2);
    asked("no name\nno.such.research\n").exits(6);
}

#[test]
fn several_nodes_named_with_an_at_are_refused() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    let refused = node.aop(["resolve", "echo", "@127.0.0.1:1", "@127.0.0.1:2", "--json"]).exits(2);
    assert_eq!(refused.problem()["hint"], "aop --node 127.0.0.1:1,127.0.0.1:2 resolve echo", "{refused}");
}

/// A node that was stopped had the whole time of a read, and the next one none.
#[test]
fn a_node_that_is_silent_is_passed_over_by_reads() {
    let world = World::new();
    let (node, _fixture) = one_node(&world);
    let other = world.node("other").zone("research-2").start();
    other.signal(Signal::STOP);
    let both = format!("{},{}", other.address, node.address);
    for words in [&["resolve", "echo.papers.research"][..], &["ls"], &["show", "echo.papers.research"]] {
        let ran = world.aop(["--node", &both, "--timeout", "6s"].iter().chain(words)).ok();
        ran.prints("echo.papers.research").says("no answer within 2").says("asking the next node");
    }
}

/// It ended with the first question that was not answered.
#[test]
fn who_watches_an_answer_waits_for_a_node_that_starts_again() {
    let world = World::new();
    let (mut node, _fixture) = one_node(&world);
    let said = world.path("said");
    let mut command = node.aop_command(["resolve", "echo.papers.research", "-w"]);
    let file = std::fs::File::create(&said).expect("a file of the test's own directory");
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(file);
    let _watching = Guard(command.spawn().expect("aop starts"));
    let says = |words: &str| {
        eventually(words, SOON, || {
            let text = std::fs::read_to_string(&said).unwrap_or_default();
            if text.matches(words).count() == 1 { Ok(()) } else { Err(text) }
        });
    };
    says("1 tool");
    node.kill();
    says("the node is away");
    node.start_again();
    says("the node is back");
}
