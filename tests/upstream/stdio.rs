//! Children on pipes.

use std::{collections::BTreeMap, time::Duration};

use aop::upstream::{Secret, TransportSpec, UpstreamCall, UpstreamError, UpstreamEvent};
use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};

use crate::harness::*;

async fn registered(era: Era, log: &Log, flags: &[&str]) -> Bench {
    let bench = Bench::new();
    let listing = bench.upstreams.register(odd_stdio(era, log, flags), SOON).await.expect("it registers");
    assert_eq!(listing.protocol, era.protocol());
    assert_eq!(listing.server_info.as_deref(), Some("odd"));
    assert_eq!(listing.tools, TOOLS);
    bench
}

#[tokio::test]
async fn every_page_is_listed_byte_for_byte_whatever_else_is_printed() {
    for era in ERAS {
        let mut bench = registered(era, &Log::new(), &["--pages", "--noise"]).await;
        let state = &bench.upstreams.states()[0];
        assert_eq!((state.state, state.tools, state.kind), ("ready", TOOLS.len(), "stdio"));
        assert_eq!(state.protocol.as_deref(), Some(era.protocol()));
        bench.no_event();
        bench.upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn results_errors_and_arguments_pass_byte_for_byte() {
    for era in ERAS {
        let bench = registered(era, &Log::new(), &[]).await;
        assert_eq!(bench.call("hologram", "{}").await.expect("a result"), HOLOGRAM);

        let error = bench.call("fail", "{}").await.expect_err("an error");
        let UpstreamError::Rpc { code, message, raw } = &error else { panic!("{error}") };
        assert_eq!((*code, message.as_str(), &raw[..]), (-32099, "no such luck", FAILURE.as_bytes()));
        assert!(!error.not_sent());

        let mut odd = call("raw", ODD_ARGUMENTS);
        odd.extra = vec![
            ("requestState".into(), Bytes::from_static(br#""op\/aque""#)),
            ("_meta".into(), Bytes::from_static(br#"{"traceparent":"00-1", "progressToken":"mine"}"#)),
        ];
        let seen = bench.upstreams.call("odd", odd).await.expect("a result");
        let seen: serde_json::Value = serde_json::from_slice(&seen).expect("JSON");
        let seen = seen["seen"].as_str().expect("the raw line");
        assert!(
            seen.contains(&format!(r#""arguments":{ODD_ARGUMENTS},"requestState":"op\/aque","_meta":{{"#)),
            "{seen}"
        );
        assert!(seen.contains(r#""traceparent":"00-1""#) && !seen.contains("mine"), "{seen}");

        // A line break between tokens cannot travel in a line; a blank says the same.
        let seen = bench.call("raw", "{\n\"a\":\r\n1}").await.expect("a result");
        assert!(String::from_utf8_lossy(&seen).contains(r#"\"arguments\":{ \"a\":  1}"#), "{seen:?}");
        bench.upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn progress_comes_raw_in_order_and_before_the_result() {
    for era in ERAS {
        let bench = registered(era, &Log::new(), &[]).await;
        let (sender, mut steps) = mpsc::channel(16);
        let slow = UpstreamCall { progress: Some(sender), ..call("slow", r#"{"steps":3,"finish":true}"#) };
        let result = bench.upstreams.call("odd", slow).await.expect("a result");
        assert_eq!(result, r#"{"content":[{"type":"text","text":"done"}]}"#);
        for step in 1..=3 {
            let params = steps.try_recv().expect("told before the result");
            let text = String::from_utf8_lossy(&params);
            assert!(text.starts_with(r#"{ "progressToken":"#), "{text}");
            assert!(text.ends_with(&format!(r#","progress":{step}.0,"odd":1e400}}"#)), "{text}");
        }
        bench.upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn a_call_given_up_is_cancelled_at_the_server() {
    for era in ERAS {
        let log = Log::new();
        let bench = registered(era, &log, &[]).await;
        let dropped = tokio::spawn({
            let upstreams = bench.upstreams.clone();
            async move { upstreams.call("odd", call("slow", "{}")).await }
        });
        log.wait_for_count("slow started", 1).await;
        dropped.abort();
        log.wait_for_count("slow cancelled", 1).await;

        // The timeout is absolute: these steps come all the time.
        let late = UpstreamCall { timeout: Duration::from_secs(1), ..call("slow", r#"{"steps":50}"#) };
        let error = bench.upstreams.call("odd", late).await.expect_err("too late");
        assert!(matches!(error, UpstreamError::TimedOut { .. }) && !error.not_sent(), "{error}");
        log.wait_for_count("slow cancelled", 2).await;

        // The connection is none the worse for it.
        assert_eq!(bench.call("hologram", "{}").await.expect("a result"), HOLOGRAM);
        bench.upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn a_death_in_a_call_is_quoted_and_the_server_comes_back() {
    for era in ERAS {
        let log = Log::new();
        let mut bench = registered(era, &log, &[]).await;
        let error = bench.call("die", "{}").await.expect_err("it died");
        let said = error.to_string();
        assert!(matches!(error, UpstreamError::Lost { .. }) && !error.not_sent(), "{said}");
        assert!(said.contains("exit status: 7") && said.contains("out of cheese"), "{said}");

        let UpstreamEvent::Down { server, reason } = bench.event().await else { panic!("not down") };
        assert!(server == "odd" && reason.contains("out of cheese"), "{reason}");
        assert!(matches!(bench.event().await, UpstreamEvent::Up { .. }));
        assert_eq!(bench.call("hologram", "{}").await.expect("a result"), HOLOGRAM);
        let state = &bench.upstreams.states()[0];
        assert_eq!((state.restarts, state.protocol.as_deref()), (1, Some(era.protocol())));
        bench.no_event();
        bench.upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn an_old_server_that_ends_at_an_unknown_word_is_asked_in_its_own() {
    let bench = registered(Era::Initialize, &Log::new(), &["--strict"]).await;
    bench.upstreams.shutdown().await;
}

#[tokio::test]
async fn a_server_that_cannot_start_is_quoted_without_its_secrets() {
    let bench = Bench::new();
    let mut spec = odd_stdio(Era::Discover, &Log::new(), &["--die"]);
    let TransportSpec::Stdio { env, .. } = &mut spec.transport else { panic!("stdio") };
    env.insert("ODD_SECRET".into(), Secret::Literal("hunter2hunter2".into()));
    let error = bench.upstreams.register(spec, SOON).await.expect_err("it died");
    let said = error.to_string();
    assert!(said.contains("exit status: 3") && said.contains("cannot open the database"), "{said}");
    assert!(said.contains("[hidden]") && !said.contains("hunter2"), "{said}");
    assert!(error.not_sent() && bench.upstreams.states().is_empty());
}

#[tokio::test]
async fn silence_and_garbage_end_in_a_sentence_and_leave_nothing() {
    let bench = Bench::new();
    let short = Duration::from_secs(3);
    let log = Log::new();
    let error = bench.upstreams.register(odd_stdio(Era::Discover, &log, &["--hang"]), short).await.expect_err("silent");
    assert!(error.to_string().contains("no answer to the handshake"), "{error}");
    let pid = log.wait_for("pid ").await;
    let process = format!("/proc/{}", pid.trim_start_matches("pid "));
    eventually("the child is gone", || (!std::path::Path::new(&process).exists()).then_some(())).await;

    let spec = odd_stdio(Era::Discover, &Log::new(), &["--garbage"]);
    let error = bench.upstreams.register(spec, short).await.expect_err("garbage");
    assert!(error.to_string().contains("<html>not what you think"), "{error}");

    let nothing = stdio("odd", vec!["aop-no-such-program".into()], BTreeMap::new());
    let error = bench.upstreams.register(nothing, SOON).await.expect_err("no program");
    assert!(error.to_string().contains("aop-no-such-program"), "{error}");

    let mut spec = odd_stdio(Era::Discover, &Log::new(), &[]);
    let TransportSpec::Stdio { env, .. } = &mut spec.transport else { panic!("stdio") };
    env.insert("KEY".into(), Secret::File { file: "/no/such/file".into() });
    let error = bench.upstreams.register(spec, SOON).await.expect_err("no secret");
    assert!(matches!(error, UpstreamError::Secret { .. }) && error.to_string().contains("/no/such/file"), "{error}");
    assert!(bench.upstreams.states().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_none_fails_its_call_alone() {
    let bench = registered(Era::Discover, &Log::new(), &[]).await;
    let error = bench.call("empty", "{}").await.expect_err("no result in it");
    assert!(matches!(error, UpstreamError::Garbage { .. }), "{error}");
    let error = bench.call("big", r#"{"bytes":17000000}"#).await.expect_err("too large");
    assert!(matches!(&error, UpstreamError::Garbage { reason } if reason.contains("longer than")), "{error}");
    let result = bench.call("big", r#"{"bytes":5000000}"#).await.expect("large, and allowed");
    assert!(result.len() > 5_000_000);
    let error = bench.call("raw", r#"{},"name":"die""#).await.expect_err("not an object");
    assert!(error.not_sent(), "{error}");
    bench.upstreams.shutdown().await;
}

#[tokio::test]
async fn a_changed_list_is_told_once_and_only_if_it_differs() {
    for era in ERAS {
        let log = Log::new();
        let mut bench = registered(era, &log, &[]).await;
        if era == Era::Discover {
            log.wait_for("listening for changes").await;
        }
        bench.call("grow", "{}").await.expect("a result");
        let UpstreamEvent::Listed { tools, protocol, .. } = bench.event().await else { panic!("not listed") };
        assert_eq!(tools.last().map(|tool| &tool[..]), Some(GROWN.as_bytes()));
        assert_eq!((tools.len(), protocol.as_str()), (TOOLS.len() + 1, era.protocol()));
        let listing = bench.upstreams.refresh("odd", SOON).await.expect("listed again");
        assert_eq!(listing.tools, tools);
        bench.no_event();
        // Said three times: at most one list for the news, one for the subscription, one for the refresh, one at first.
        assert!(log.count("list") <= 4, "{:?}", log.lines());
        bench.upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn what_a_deaf_server_never_took_was_provably_not_sent() {
    let bench = registered(Era::Discover, &Log::new(), &["--deaf"]).await;
    let filler: &'static str = Box::leak(format!(r#"{{"x":"{}"}}"#, "x".repeat(1_000_000)).into_boxed_str());
    let quick = |arguments| UpstreamCall { timeout: Duration::from_secs(1), ..call("hologram", arguments) };
    // The first one fills the pipe: nobody can know how much of it was read.
    let (first, second) = tokio::join!(bench.upstreams.call("odd", quick(filler)), async {
        tokio::task::yield_now().await;
        bench.upstreams.call("odd", quick("{}")).await
    });
    let (first, second) = (first.expect_err("deaf"), second.expect_err("deaf"));
    assert!(matches!(first, UpstreamError::TimedOut { .. }), "{first}");
    assert!(matches!(second, UpstreamError::NotSent { .. }), "{second}");
    timeout(SOON, bench.upstreams.shutdown()).await.expect("it ends all the same");
}

#[tokio::test]
async fn more_calls_than_places_all_come_through() {
    let bench = registered(Era::Initialize, &Log::new(), &[]).await;
    let calls = (0..600).map(|_| bench.call("hologram", "{}"));
    for result in futures::future::join_all(calls).await {
        assert_eq!(result.expect("a result"), HOLOGRAM);
    }
    bench.upstreams.shutdown().await;
}

/// A cancellation that overtook its request would leave the server working for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cancellation_overtakes_its_request() {
    let log = Log::new();
    let bench = registered(Era::Discover, &log, &[]).await;
    for round in 0..10 {
        let calls: Vec<_> = (0..30)
            .map(|_| {
                let upstreams = bench.upstreams.clone();
                tokio::spawn(async move { upstreams.call("odd", call("slow", "{}")).await })
            })
            .collect();
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        } else {
            let seen = log.count("slow started");
            log.wait_for_count("slow started", seen + 1).await;
        }
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        futures::future::join_all(calls).await;
    }
    assert_eq!(bench.call("hologram", "{}").await.expect("a result"), HOLOGRAM);
    eventually("every started call cancelled", || {
        (log.count("slow started") == log.count("slow cancelled")).then_some(())
    })
    .await;
    bench.upstreams.shutdown().await;
}

#[tokio::test]
async fn names_are_kept_apart_and_removal_ends_the_child() {
    let log = Log::new();
    let bench = registered(Era::Discover, &log, &[]).await;
    let again = bench.upstreams.register(odd_stdio(Era::Discover, &Log::new(), &[]), SOON).await.expect_err("taken");
    assert!(matches!(again, UpstreamError::NameTaken { .. }), "{again}");
    let unnamed = bench.upstreams.dial(odd_stdio(Era::Discover, &Log::new(), &[]), SOON).await.expect("dialled");
    assert_eq!(unnamed.listing().server_info.as_deref(), Some("odd"));
    assert_eq!(bench.upstreams.states().len(), 1, "not supervised before it is kept");
    bench.upstreams.keep(unnamed, "second").await.expect("kept");
    assert_eq!(bench.upstreams.states().len(), 2);

    let pid = log.wait_for("pid ").await;
    let process = format!("/proc/{}", pid.trim_start_matches("pid "));
    assert!(std::path::Path::new(&process).exists());
    assert!(bench.upstreams.remove("odd").await && !bench.upstreams.remove("odd").await);
    assert!(!std::path::Path::new(&process).exists());
    assert!(matches!(bench.call("raw", "{}").await, Err(UpstreamError::UnknownServer)));
    bench.upstreams.shutdown().await;
    let late = bench.upstreams.register(odd_stdio(Era::Discover, &Log::new(), &[]), SOON).await.expect_err("too late");
    assert!(late.to_string().contains("shutting down"), "{late}");
}

#[tokio::test]
async fn an_adopted_server_is_tried_until_it_is_there() {
    let mut bench = Bench::new();
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("server");
    bench.upstreams.adopt(stdio("odd", vec![program.display().to_string()], BTreeMap::new()));
    let UpstreamEvent::Down { reason, .. } = bench.event().await else { panic!("not down") };
    assert!(reason.contains("cannot start"), "{reason}");
    let refused = bench.call("raw", "{}").await.expect_err("down");
    assert!(refused.not_sent() && refused.to_string().contains("cannot start"), "{refused}");
    assert_eq!(bench.upstreams.states()[0].state, "down");

    let script = format!("#!/bin/sh\nexec python3 {} stdio\n", odd_server());
    std::fs::write(&program, script).expect("written");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
    let listing = bench.upstreams.refresh("odd", SOON).await.expect("it is there now");
    assert_eq!(listing.tools, TOOLS);
    assert!(matches!(bench.event().await, UpstreamEvent::Up { .. }));
    assert!(matches!(bench.event().await, UpstreamEvent::Listed { tools, .. } if tools == TOOLS));
    assert_eq!(bench.upstreams.states()[0].restarts, 0);
    bench.upstreams.shutdown().await;
}
