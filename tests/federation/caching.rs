//! What nodes keep of each other's answers, shown and forgotten.

use serde_json::{Value, json};

use crate::support::{Fixture, Node, SOON, World, eventually, results};
use crate::{Federation, found};

const TOOL: &str = "echo.pay.research";

fn source(node: &Node) -> String {
    let answer = node.try_resolve(TOOL, &["--exact"]).ok().json();
    results(&answer)[0]["source"].as_str().unwrap_or_default().to_owned()
}

fn levels(node: &Node) -> Vec<Value> {
    node.aop(["cache", "show", "--json"]).ok().json()["levels"].as_array().cloned().unwrap_or_default()
}

#[test]
fn an_answer_is_kept_until_it_is_forgotten_and_only_what_was_meant() {
    let world = World::new();
    let federation = Federation::start(&world);
    let fixture = Fixture::new(&world, "pay");
    federation.research.register("pay", &fixture.command());
    let writing = &federation.writing;
    found(writing, TOOL);
    let kept = |level: usize| levels(writing)[level]["entries"].as_u64().unwrap_or_default();
    // What changes in the other zone meanwhile ends it.
    eventually("it is kept at every level", SOON, || {
        let now = source(writing);
        if now == "l1" && (0..3).all(|level| kept(level) > 0) { Ok(()) } else { Err(format!("{:?}", levels(writing))) }
    });
    assert_eq!(levels(writing)[0]["life_max_ms"], json!(60_000));
    writing.aop(["cache", "flush", "--zone", "elsewhere"]).ok();
    eventually("L1 is forgotten, L2 is not", SOON, || match source(writing).as_str() {
        "l2" | "l1" => Ok(()),
        other => Err(other.to_owned()),
    });
    writing.aop(["cache", "flush", "--zone", "research"]).ok();
    eventually("it is asked for anew", SOON, || match source(writing).as_str() {
        "parent" => Ok(()),
        other => {
            writing.aop(["cache", "flush"]).ok();
            Err(other.to_owned())
        }
    });
    let refused = writing.aop(["cache", "flush", "--zone", "no such zone"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
}

/// What is too old for one asker is not hidden from the next, and who wants nothing of a cache gets nothing of one.
#[test]
fn how_old_an_answer_may_be_says_each_asker_for_himself() {
    let world = World::new();
    let mut federation = Federation::start(&world);
    let fixture = Fixture::new(&world, "pay");
    federation.research.register("pay", &fixture.command());
    found(&federation.writing, TOOL);
    // What was asked for past the caches lies in L1 alone.
    federation.writing.aop(["cache", "flush"]).ok();
    let asked = [(TOOL, "--exact"), ("echo", "--search")];
    let freshness = |(query, mode): (&str, &str), bound: &[&str]| {
        let answer = federation.writing.try_resolve(query, &[&[mode], bound].concat()).json();
        results(&answer).iter().map(|result| result["freshness"].clone()).collect::<Vec<_>>()
    };
    for query in asked {
        assert_eq!(freshness(query, &[]).first(), Some(&json!("fresh")), "{query:?}");
    }
    federation.research.kill();
    for query in asked {
        let is_stale = || freshness(query, &[]).first() == Some(&json!("stale"));
        eventually("its zone is silent", SOON, || if is_stale() { Ok(()) } else { Err(format!("{query:?}")) });
        for bound in [["--max-stale", "1ms"].as_slice(), &["--no-cache"]] {
            assert_eq!(freshness(query, bound), Vec::<Value>::new(), "{query:?} {bound:?}");
            assert!(is_stale(), "{query:?} after {bound:?}");
        }
        // It is asked anew, and an old answer is better than none.
        assert_eq!(
            freshness(query, &["--no-cache", "--max-stale", "1m30s"]).first(),
            Some(&json!("stale")),
            "{query:?}"
        );
    }
}

/// A name below a child zone is the child's to give.
#[test]
fn nothing_is_registered_under_a_name_that_a_zone_below_owns() {
    let world = World::new();
    let federation = Federation::start(&world);
    let fixture = Fixture::new(&world, "pay");
    let refused = federation.root.try_register("research", &fixture.command(), &[]);
    let problem = refused.problem();
    assert_eq!(problem["kind"], "name_taken", "{refused}");
    assert!(problem["hint"].as_str().is_some_and(|hint| hint.contains("--as research-2 ")), "{refused}");
    let lines = json!({"tools": [{"name": "echo", "server": "pay", "zone": "research"}]});
    assert_eq!(federation.root.send("POST", "/v1/tools", &lines).json()["kind"], "name_taken");
    assert_eq!(federation.root.get("/v1/tools").is(200).json()["tools"], json!([]));
    federation.root.register("research-2", &fixture.command());
    found(&federation.root, "echo.research-2");
}

/// What nobody answers is not nothing.
#[test]
fn how_many_tools_a_silent_zone_has_is_not_said_to_be_none() {
    let world = World::new();
    let mut federation = Federation::start(&world);
    let fixture = Fixture::new(&world, "pay");
    federation.research.register("pay", &fixture.command());
    found(&federation.writing, TOOL);
    federation.research.kill();
    for node in [&federation.root, &federation.writing] {
        let silent = eventually("the zone is silent", SOON, || {
            let zones = node.aop(["zones", "--json"]).json();
            let all = zones["zones"].as_array().cloned().unwrap_or_default();
            let silent = all.into_iter().find(|zone| zone["name"] == "research" && zone["state"] == "silent");
            silent.ok_or_else(|| zones.to_string())
        });
        assert_ne!(silent["tools"], json!(0), "{silent}");
        let drawn = node.aop(["zones", "--tree"]);
        assert!(drawn.out.contains("✗ silent") && !drawn.out.contains("0 tools  ✗ silent"), "{drawn}");
        let listed = node.aop(["ls", "research"]).exits(7);
        assert!(listed.err.contains("is not known") && !listed.err.contains("aop register"), "{listed}");
        let trace = node.try_resolve("zzz.pay.research", &["--trace", "--no-cache"]).json()["trace"].clone();
        let step = trace.as_array().into_iter().flatten().find(|step| step["zone"] == "research").cloned();
        assert_eq!(step.map(|step| step["took_ms"].clone()), Some(Value::Null), "{trace}");
    }
}

/// From referral to referral, as with a name server that is asked without recursion.
#[test]
fn whoever_asks_one_node_alone_is_told_where_to_ask_on() {
    let world = World::new();
    let federation = Federation::start(&world);
    let fixture = Fixture::new(&world, "pay");
    federation.research.register("pay", &fixture.command());
    // It has the same words, and is not what is asked for.
    let other = Fixture::new(&world, "other");
    federation.writing.register("pay_research", &other.command());
    found(&federation.writing, TOOL);
    let asked = |at: &str| {
        let said = federation.writing.aop(["resolve", TOOL, at, "--no-recurse", "--json"]);
        (said.code, said.json())
    };
    let mut way = Vec::new();
    let mut at = format!("@{}", federation.writing.address);
    let answer = loop {
        let (code, answer) = asked(&at);
        assert_eq!(answer["partial"], json!(false));
        let Some(referral) = answer["referrals"].get(0).cloned() else { break (code, answer) };
        assert_eq!((code, results(&answer).len()), (6, 0));
        assert!(answer.get("denied_by").is_none(), "nobody denied it: {answer}");
        assert_eq!(referral["state"], json!("connected"));
        assert_eq!(referral["zone_key"].as_str().map(str::len), Some(64));
        way.push(format!("{} {}", referral["relation"].as_str().unwrap(), referral["zone"].as_str().unwrap()));
        at = format!("@{}", referral["gateways"][0].as_str().unwrap());
        assert!(way.len() < 5, "{way:?}");
    };
    assert_eq!(way, ["parent .", "child research"]);
    assert_eq!((answer.0, results(&answer.1)[0]["name"].clone()), (0, json!(TOOL)));
    let told = federation.writing.aop(["resolve", TOOL, "--no-recurse"]);
    assert!(told.out.contains("ASK ON") && told.out.contains("↑ parent"), "{}", told.out);
    assert!(told.err.contains(&format!("aop resolve {TOOL} @")), "{}", told.err);
    // Words have no one zone: every neighbour is named.
    let words = federation.root.aop(["resolve", "say it again", "--no-recurse", "--json"]).json();
    let zones: Vec<Value> =
        words["referrals"].as_array().unwrap().iter().map(|referral| referral["zone"].clone()).collect();
    assert_eq!(zones, [json!("research"), json!("writing")]);
}
