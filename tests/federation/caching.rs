//! What nodes keep of each other's answers, shown and forgotten.

use serde_json::{Value, json};

use crate::support::{Fixture, Node, PATIENT, SOON, World, eventually, results};
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
    // What was asked for past the caches lies in L1 alone, and stays there where nothing changes.
    writing.aop(["cache", "flush"]).ok();
    // What changes in the other zone meanwhile ends it.
    eventually("it is kept at every level", SOON, || {
        let now = source(writing);
        if now == "l1" && (0..3).all(|level| kept(level) > 0) { Ok(()) } else { Err(format!("{:?}", levels(writing))) }
    });
    assert_eq!(levels(writing)[0]["life_max_ms"], json!(60_000));
    let flushed = writing.aop(["cache", "flush", "--zone", "elsewhere"]).ok();
    assert!(flushed.err.contains("nothing was kept of elsewhere"), "{flushed}");
    eventually("L1 is forgotten, L2 is not", SOON, || match source(writing).as_str() {
        "l2" | "l1" => Ok(()),
        other => Err(other.to_owned()),
    });
    eventually("what went is told", SOON, || {
        source(writing);
        let flushed = writing.aop(["cache", "flush", "--zone", "research", "--json"]).wanted(0)?.json();
        let gone = ["l1", "l2", "l3"].map(|level| flushed["forgotten"][level].as_u64().unwrap_or_default());
        if gone.iter().all(|count| *count > 0) { Ok(()) } else { Err(flushed.to_string()) }
    });
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
    // Of who is silent it is looked for what was kept before, and once in vain.
    let missed = || levels(&federation.writing)[2]["misses"].as_u64().unwrap_or_default();
    let before = missed();
    eventually("what was never asked for is missed", SOON, || {
        federation.writing.try_resolve("nothing.pay.research", &["--exact"]);
        if missed() > before { Ok(()) } else { Err(format!("{:?}", levels(&federation.writing)[2])) }
    });
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

/// Nobody has denied a name that was not looked for where it lies; and a server's name is no zone.
#[test]
fn a_name_that_a_question_leaves_out_is_not_denied() {
    let world = World::new();
    let federation = Federation::start(&world);
    let fixture = Fixture::new(&world, "pay");
    federation.research.register("pay", &fixture.command());
    found(&federation.writing, TOOL);
    for options in [&["--zone", "writing"][..], &["--scope", "local"]] {
        for exact in [&[][..], &["--exact"]] {
            let answer = federation.writing.try_resolve(TOOL, &[options, exact].concat()).exits(6).json();
            assert_eq!((&answer["name_not_found"], &answer["denied_by"]), (&Value::Null, &Value::Null), "{answer}");
            assert!(!answer["did_you_mean"].to_string().contains(TOOL), "{answer}");
        }
    }
    for node in [&federation.research, &federation.writing] {
        let none = node.aop(["ls", "pay.research", "--json"]).exits(6).problem();
        assert_eq!(none["kind"], "zone_not_found", "{none}");
    }
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
        // Its parent, which is asked or asks for itself, knows after a while that it has no connection with it.
        eventually("it is told why", PATIENT, || {
            let answer = node.try_resolve("zzz.pay.research", &["--trace", "--no-cache"]).json();
            let step = answer["trace"].as_array().into_iter().flatten().find(|step| step["zone"] == "research");
            let step = step.ok_or_else(|| answer.to_string())?;
            assert_eq!(step["took_ms"], Value::Null, "{step}");
            let why = step["outcome"].as_str().unwrap_or_default();
            if why.starts_with("not connected") { Ok(()) } else { Err(answer.to_string()) }
        });
    }
}

/// A tool whose zone is silent was shown as one to be called, and a list did not say who is silent.
#[test]
fn what_is_kept_of_a_silent_zone_is_told_as_that() {
    let world = World::new();
    let mut federation = Federation::start(&world);
    let fixture = Fixture::new(&world, "pay");
    federation.research.register("pay", &fixture.command());
    let node = &federation.writing;
    found(node, TOOL);
    // What was asked for past the caches lies in L1 alone.
    node.aop(["cache", "flush"]).ok();
    node.aop(["show", TOOL]).ok().says("next: aop call");
    node.aop(["ls", "research"]).ok().prints(TOOL);
    federation.research.kill();
    let card = eventually("its zone is silent", SOON, || node.aop(["show", TOOL]).wanted(7));
    assert!(card.out.contains("stale") && !card.err.contains("aop call"), "{card}");
    card.says("nobody of zone research answers");
    let listed = node.aop(["ls", "research", "--unhealthy"]).exits(7).prints(TOOL);
    listed.says("no answer from research (");
    let told = node.aop(["ls", "research", "--unhealthy", "--json"]).exits(7).json();
    assert_eq!(told["zones"]["silent"], json!(["research"]), "{told}");
    assert!(told["zones"]["reasons"]["research"].is_string(), "{told}");
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
        assert_eq!((code, results(&answer).len()), (0, 0), "a referral is an answer");
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

/// However much of an answer is shown, it is one answer: asked for once, and kept once.
#[test]
fn more_or_less_of_an_answer_is_the_same_answer() {
    let world = World::new();
    let federation = Federation::start(&world);
    let lines: Vec<Value> = (0..15).map(|n| json!({"server": "pay", "name": format!("refund_{n:02}")})).collect();
    federation.research.send("POST", "/v1/tools", &json!({"tools": lines})).is(201);
    found(&federation.writing, "refund_14.pay.research");
    let asked = |limit: &str| {
        let reply = federation.writing.get(&format!("/v1/resolve?q=refund&mode=search&n={limit}")).is(200);
        let (answer, etag) = (reply.json(), reply.header("etag").unwrap_or_default().to_owned());
        assert!(reply.header("age").is_some() && !etag.is_empty());
        let sources: Vec<String> =
            results(&answer).iter().map(|result| result["source"].as_str().unwrap_or_default().to_owned()).collect();
        let names: Vec<Value> = results(&answer).iter().map(|result| result["name"].clone()).collect();
        (names, sources, etag, answer["zones"].clone())
    };
    let hits = || levels(&federation.writing)[0]["hits"].as_u64().unwrap_or_default();
    // What was heard of the new tools on its way is heard by now, or ends what is kept once more.
    eventually("four are shown of what was asked for three", SOON, || {
        federation.writing.aop(["cache", "flush"]).ok();
        let (three, before) = (asked("3"), hits());
        let (four, again) = (asked("4"), asked("3"));
        if hits() != before + 2 || four.1 != ["l1"; 4] {
            return Err(format!("{:?} {:?}", three.1, four.1));
        }
        assert_eq!((three.0.len(), &three.0[..], &three.3), (3, &four.0[..3], &four.3));
        assert_eq!((&again.0, &again.2), (&three.0, &three.2), "what is shown is the same");
        assert_ne!(three.2, four.2, "more is shown");
        Ok(())
    });
    let all = asked("100");
    assert_eq!((all.0.len(), &all.0[..3]), (15, &asked("3").0[..]));
    let trace = federation.writing.aop(["resolve", "refund", "--search", "-n", "3", "--trace", "--json"]).ok().json();
    let lost: Vec<&Value> = trace["lost"].as_array().into_iter().flatten().map(|lost| &lost["name"]).collect();
    assert_eq!(lost.len(), 12, "{trace}");
    assert!(trace["lost"][0]["why"].as_str().is_some_and(|why| why.starts_with("4th by its words")), "{trace}");
}

/// Who asked whom, and whose cache an answer came from.
#[test]
fn the_trace_tells_who_asked_whom_and_who_had_kept_it() {
    let world = World::new();
    let federation = Federation::start(&world);
    let lines = json!({"tools": [{"server": "pay", "name": "refund", "description": "Gives money back"}]});
    federation.research.send("POST", "/v1/tools", &lines).is(201);
    found(&federation.writing, "refund.pay.research");
    let (root, writing) = (&federation.root, &federation.writing);
    let asked = || {
        let answer = writing.aop(["resolve", "money back", "--search", "--trace", "--json"]).ok().json();
        let steps = answer["trace"].as_array().cloned().unwrap_or_default();
        let of = |zone: &str| steps.iter().find(|step| step["zone"] == zone).cloned().unwrap_or_default();
        let told = |step: Value| {
            json!([step["depth"], step["asked_by"], step["through"]["zone"], step["cache"], step["cached_at"]])
        };
        let first = results(&answer).first().cloned().unwrap_or_default();
        json!([told(of("writing")), told(of(".")), told(of("research")), first["authoritative"]])
    };
    let at = |zone: &str, node: &Node, level: &str| json!({"zone": zone, "node": node.id[..9], "level": level});
    let kept_by = |zone, node, level| {
        let cached = at(zone, node, level);
        json!([
            [0, null, null, "hit", cached],
            [1, "writing", null, "hit", cached],
            [2, ".", null, "hit", cached],
            false
        ])
    };
    let own = json!([0, null, null, "miss", null]);
    let wanted = [
        json!([own, [1, "writing", ".", "miss", null], [2, ".", ".", "miss", null], true]),
        json!([own, [1, "writing", ".", "miss", null], [2, ".", ".", "hit", at(".", root, "l2")], false]),
        kept_by("writing", writing, "l1"),
    ];
    // What is heard of the new tool meanwhile ends what is kept.
    eventually("each tells where it came from", SOON, || {
        root.aop(["cache", "flush"]).ok();
        writing.aop(["cache", "flush"]).ok();
        let first = asked();
        writing.aop(["cache", "flush"]).ok();
        let told = [first, asked(), asked()];
        match told == wanted {
            true => Ok(()),
            false => Err(format!("{told:#?}")),
        }
    });
    let drawn = writing.aop(["resolve", "money back", "--search", "--trace"]).ok().out;
    assert!(drawn.contains("· · research") && drawn.contains("hit, l1 of writing, "), "{drawn}");
}
