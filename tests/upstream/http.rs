//! Streamable HTTP.

use std::{collections::BTreeMap, time::Duration};

use aop::upstream::{Secret, UpstreamCall, UpstreamError, UpstreamEvent};
use tokio::sync::mpsc;

use crate::harness::*;

async fn registered(era: Era, log: &Log) -> (Bench, OddHttp) {
    let server = OddHttp::start(era, log, 0, &[]).await;
    let bench = Bench::new();
    let listing = bench.upstreams.register(http(server.url(), BTreeMap::new()), SOON).await.expect("it registers");
    assert_eq!((listing.protocol.as_str(), listing.server_info.as_deref()), (era.protocol(), Some("odd")));
    assert_eq!(listing.tools, TOOLS, "and the tool with a wrong header annotation is left out");
    let left_out: Vec<_> = listing.left_out.iter().map(|one| (one.tool.as_str(), one.reason.as_str())).collect();
    assert_eq!(left_out, [("wrong", "`r` has an x-mcp-header and is not a string, an integer or a boolean")]);
    (bench, server)
}

#[tokio::test]
async fn results_errors_and_arguments_pass_byte_for_byte() {
    for era in ERAS {
        let (bench, _server) = registered(era, &Log::new()).await;
        assert_eq!(bench.call("hologram", "{}").await.expect("a result"), HOLOGRAM);
        let error = bench.call("fail", "{}").await.expect_err("an error");
        assert!(matches!(&error, UpstreamError::Rpc { raw, .. } if raw == FAILURE), "{error}");
        // Over an event stream, and with line breaks, which a body carries as they are.
        for arguments in [ODD_ARGUMENTS, "{\n  \"a\": 1\r\n}"] {
            let seen = bench.call("raw", arguments).await.expect("a result");
            let seen: serde_json::Value = serde_json::from_slice(&seen).expect("JSON");
            let seen = seen["seen"].as_str().expect("the raw body");
            assert!(seen.contains(&format!(r#""arguments":{arguments},"_meta":{{"#)), "{seen}");
        }
        let error = bench.call("empty", "{}").await.expect_err("no result in it");
        assert!(matches!(error, UpstreamError::Garbage { .. }), "{error}");
        let error = bench.call("big", r#"{"bytes":17000000}"#).await.expect_err("too large");
        assert!(matches!(&error, UpstreamError::Garbage { reason } if reason.contains("larger than")), "{error}");
        bench.upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn progress_comes_raw_and_a_call_given_up_is_cancelled() {
    for era in ERAS {
        let log = Log::new();
        let (bench, _server) = registered(era, &log).await;
        let (sender, mut steps) = mpsc::channel(16);
        let slow = UpstreamCall { progress: Some(sender), ..call("slow", r#"{"steps":3,"finish":true}"#) };
        bench.upstreams.call("odd", slow).await.expect("a result");
        for step in 1..=3 {
            let params = steps.try_recv().expect("told before the result");
            let text = String::from_utf8_lossy(&params).into_owned();
            assert!(text.ends_with(&format!(r#","progress":{step}.0,"odd":1e400}}"#)), "{text}");
        }

        let dropped = tokio::spawn({
            let upstreams = bench.upstreams.clone();
            async move { upstreams.call("odd", call("slow", "{}")).await }
        });
        log.wait_for_count("slow started", 2).await;
        dropped.abort();
        match era {
            // The end of the stream is the cancellation.
            Era::Discover => log.wait_for_count("slow hung up", 1).await,
            Era::Initialize => log.wait_for_count("cancel notice", 1).await,
        }
        let late = UpstreamCall { timeout: Duration::from_secs(1), ..call("slow", r#"{"steps":9}"#) };
        let error = bench.upstreams.call("odd", late).await.expect_err("too late");
        assert!(matches!(error, UpstreamError::TimedOut { .. }), "{error}");
        assert_eq!(bench.call("hologram", "{}").await.expect("a result"), HOLOGRAM);
        bench.upstreams.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_places_all_come_through() {
    for era in ERAS {
        let (bench, _server) = registered(era, &Log::new()).await;
        let calls = (0..400).map(|_| bench.call("hologram", "{}"));
        for result in futures::future::join_all(calls).await {
            assert_eq!(result.expect("a result"), HOLOGRAM);
        }
        bench.upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn a_changed_list_is_told_once() {
    for era in ERAS {
        let log = Log::new();
        let (mut bench, _server) = registered(era, &log).await;
        log.wait_for("listening for changes").await;
        bench.call("grow", "{}").await.expect("a result");
        let UpstreamEvent::Listed { tools, .. } = bench.event().await else { panic!("not listed") };
        assert!(tools.iter().any(|tool| tool == GROWN));
        bench.upstreams.refresh("odd", SOON).await.expect("listed again");
        bench.no_event();
        bench.upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn an_annotated_argument_travels_as_a_header_too() {
    let log = Log::new();
    let (bench, _server) = registered(Era::Discover, &log).await;
    bench.call("region", r#"{"r":"eu-1"}"#).await.expect("a result");
    assert_eq!(log.wait_for("mcp-param-").await, "mcp-param-region: eu-1");
    bench.upstreams.shutdown().await;
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    for era in ERAS {
        let log = Log::new();
        let (mut bench, server) = registered(era, &log).await;
        let port = server.port;
        let running = tokio::spawn({
            let upstreams = bench.upstreams.clone();
            async move { upstreams.call("odd", call("slow", "{}")).await }
        });
        log.wait_for_count("slow started", 1).await;
        server.kill().await;
        let lost = running.await.expect("no panic").expect_err("the server died");
        assert!(matches!(lost, UpstreamError::Lost { .. }), "{lost}");
        let UpstreamEvent::Down { reason, .. } = bench.event().await else { panic!("not down") };
        assert!(reason.contains("does not answer any more: "), "{reason}");
        let refused = bench.call("hologram", "{}").await.expect_err("down");
        assert!(refused.not_sent(), "{refused}");

        let server = OddHttp::start(era, &log, port, &[]).await;
        assert!(matches!(bench.event().await, UpstreamEvent::Up { .. }));
        assert_eq!(bench.upstreams.states()[0].protocol.as_deref(), Some(era.protocol()));
        assert_eq!(bench.call("hologram", "{}").await.expect("a result"), HOLOGRAM);
        bench.no_event();

        // Killed and back before anybody looked: the session is gone, and only the call finds out.
        if era == Era::Initialize {
            server.kill().await;
            let _server = OddHttp::start(era, &log, port, &[]).await;
            assert!(matches!(bench.event().await, UpstreamEvent::Down { .. }));
            assert!(matches!(bench.event().await, UpstreamEvent::Up { .. }));
            assert_eq!(bench.call("hologram", "{}").await.expect("a result"), HOLOGRAM);
        }
        bench.upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn what_was_answered_with_a_status_was_sent() {
    // Without a session: there a 404 says that the session is forgotten.
    let log = Log::new();
    let (bench, _server) = registered(Era::Discover, &log).await;
    for arguments in [r#"{"status":429}"#, r#"{"status":404}"#, r#"{"status":307}"#, r#"{"status":503}"#] {
        let error = bench.call("hologram", arguments).await.expect_err("refused");
        assert!(!error.not_sent(), "{error}");
        let UpstreamError::Status { status, retry_after, reason } = &error else { panic!("{error}") };
        assert!(arguments.contains(&status.to_string()) && reason.contains(&status.to_string()), "{error}");
        assert_eq!(*retry_after, Some(Duration::from_secs(7)), "{error}");
    }
    assert_eq!(log.count("call hologram"), 4);
    bench.upstreams.shutdown().await;
}

#[tokio::test]
async fn refusals_are_told_in_words() {
    let server = OddHttp::start(Era::Discover, &Log::new(), 0, &[]).await;
    let bench = Bench::new();
    let base = format!("http://127.0.0.1:{}", server.port);
    let register = |url: String, headers| bench.upstreams.register(http(url, headers), SOON);

    let error = register(format!("{base}/redirect"), BTreeMap::new()).await.expect_err("redirects are not followed");
    assert!(error.to_string().contains("redirects are not followed"), "{error}");
    let error = register(format!("{base}/guarded"), BTreeMap::new()).await.expect_err("guarded");
    assert!(error.to_string().contains("HTTP 401"), "{error}");
    let error = register(format!("{base}/sse"), BTreeMap::new()).await.expect_err("an older transport");
    assert!(error.to_string().contains("HTTP+SSE transport of MCP 2024-11-05"), "{error}");
    let error = register("http://127.0.0.1:1/mcp".into(), BTreeMap::new()).await.expect_err("nobody there");
    assert!(error.to_string().contains("cannot connect"), "{error}");

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "Bearer s3cret-token\n").expect("written");
    let headers = BTreeMap::from([("authorization".to_owned(), Secret::File { file: file.path().to_owned() })]);
    register(format!("{base}/guarded?token=x"), headers).await.expect("the header went along");
    assert!(bench.upstreams.states()[0].target.ends_with("/guarded?…"));
    bench.upstreams.shutdown().await;

    let silent = OddHttp::start(Era::Discover, &Log::new(), 0, &["--hang"]).await;
    let bench = Bench::new();
    let spec = http(silent.url(), BTreeMap::new());
    let error = bench.upstreams.register(spec, Duration::from_secs(1)).await.expect_err("silent");
    assert!(error.to_string().contains("no answer to the handshake"), "{error}");
}
