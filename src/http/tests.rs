//! The port as its clients see it: routes, guard, statuses, over real sockets.

use std::{net::SocketAddr, time::Duration};

use aop_proto::access::{Caller, Glob, Policy, Rule};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::auth::Terms;

struct Port {
    listen: SocketAddr,
    stop: CancellationToken,
    done: JoinHandle<std::io::Result<()>>,
    client: reqwest::Client,
    handle: Handle,
}

impl Port {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let listen = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let doors = Doors::for_tests(&PortSettings::default());
        let handle = doors.handle.clone();
        let done = tokio::spawn(serve(listener, doors, axum::Router::new(), stop.clone()));
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { listen, stop, done, client, handle }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }

    async fn get(&self, path: &str) -> (u16, reqwest::header::HeaderMap, String) {
        read(self.client.get(self.url(path))).await
    }
}

async fn read(request: reqwest::RequestBuilder) -> (u16, reqwest::header::HeaderMap, String) {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.text().await.expect("text"))
}

fn text<'a>(headers: &'a reqwest::header::HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().expect("text")
}

#[tokio::test]
async fn no_route_is_reached_under_a_foreign_name_or_from_a_foreign_page() {
    let port = Port::open().await;
    for path in ["/", "/livez", "/metrics", "/v1/status", "/v1/resolve?q=a", "/mcp", "/z/_/mcp", "/nothing"] {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let method: reqwest::Method = method.parse().expect("method");
            let host = port.client.request(method.clone(), port.url(path)).header("host", "evil.example");
            let origin = port.client.request(method.clone(), port.url(path)).header("origin", "http://evil.example");
            for request in [host, origin] {
                let (status, headers, body) = read(request).await;
                assert_eq!(
                    (status, text(&headers, "content-type")),
                    (403, "application/problem+json"),
                    "{method} {path}"
                );
                assert!(body.contains("host_not_allowed"));
            }
        }
    }
    let local =
        port.client.get(port.url("/livez")).header("origin", "http://localhost:5173").header("host", "localhost");
    assert_eq!(read(local).await.0, 200);
}

#[tokio::test]
async fn what_changes_the_node_needs_the_token() {
    let port = Port::open().await;
    let routes = [
        ("POST", "/v1/servers"),
        ("DELETE", "/v1/servers/a"),
        ("POST", "/v1/servers/a/refresh"),
        ("POST", "/v1/tools"),
        ("DELETE", "/v1/tools/a"),
        ("POST", "/v1/tools/a/call"),
    ];
    for (method, path) in routes {
        for token in [None, Some("wrong")] {
            let mut request = port.client.request(method.parse().expect("method"), port.url(path)).body("{}");
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let (status, headers, body) = read(request).await;
            assert_eq!((status, headers.contains_key("www-authenticate")), (401, true), "{method} {path}");
            assert!(body.contains("auth_required"));
        }
    }
}

#[tokio::test]
async fn what_is_nowhere_is_said_as_a_problem() {
    let port = Port::open().await;
    let (status, headers, body) = port.get("/v1/zone").await;
    let problem: Value = serde_json::from_str(&body).expect("json");
    assert_eq!((status, text(&headers, "content-type")), (404, "application/problem+json"));
    assert_eq!((&problem["status"], &problem["did_you_mean"][0]), (&json!(404), &json!("/v1/zones")));
    let (_, _, other) = port.get("/v1/zone").await;
    let other: Value = serde_json::from_str(&other).expect("json");
    let traces = [&problem, &other].map(|problem| problem["trace_id"].as_str().expect("a trace").to_owned());
    assert!(traces[0] != traces[1] && traces.iter().all(|trace| trace.len() == 32), "{traces:?}");
    let (status, headers, body) = read(port.client.delete(port.url("/v1/zones"))).await;
    assert_eq!((status, text(&headers, "allow")), (405, "GET,HEAD"));
    assert!(body.contains("problem"));
}

/// Who traces his own requests lost them at the door.
#[tokio::test]
async fn a_request_is_answered_under_the_trace_that_it_names() {
    const THEIRS: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let port = Port::open().await;
    let asked = |path: &str, parent: String| {
        let request = port.client.get(port.url(path)).header("traceparent", parent);
        async move { read(request).await }
    };
    let traced = || format!("00-{THEIRS}-00f067aa0ba902b7-01");
    let (_, _, body) = asked("/v1/zone", traced()).await;
    let problem: Value = serde_json::from_str(&body).expect("json");
    assert_eq!(problem["trace_id"], THEIRS);
    // Answered anew, from what the door keeps, and from what lies ready.
    let path = "/v1/resolve?q=echo";
    for _ in 0..3 {
        let (_, headers, _) = asked(path, traced()).await;
        assert!(text(&headers, "traceparent").starts_with(&format!("00-{THEIRS}-")), "{headers:?}");
    }
    let (_, headers, _) = port.get("/v1/resolve?q=echo&n=3").await;
    assert!(!text(&headers, "traceparent").contains(THEIRS), "it is not the next one's");
    let (_, headers, _) = asked(path, traced().to_uppercase()).await;
    let own = text(&headers, "traceparent").to_owned();
    assert!(own.len() == 55 && !own.contains(THEIRS), "{own}");
}

/// As it was answered by what the door keeps, for who wants nothing of a cache too.
#[tokio::test]
async fn whoever_wants_nothing_of_a_cache_is_answered_anew() {
    let port = Port::open().await;
    let came_from = async |said: &'static str| {
        let request = port.client.get(port.url("/v1/resolve?q=words&trace=1")).header("cache-control", said);
        let (_, _, body) = read(request).await;
        let answer: Value = serde_json::from_str(&body).expect("json");
        answer["trace"][0]["cache"].as_str().expect("a step").to_owned()
    };
    assert_eq!(came_from("max-age=60").await, "miss");
    assert_eq!(came_from("max-age=60").await, "hit");
    for said in ["no-cache", "max-age=0, No-Cache"] {
        assert_eq!(came_from(said).await, "miss", "{said}");
    }
    // So is each question of a batch.
    let each_came_from = async |said: &'static str| {
        let body = r#"{"queries":["words","other words"],"trace":true}"#;
        let request = port.client.post(port.url("/v1/resolve")).header("cache-control", said).body(body);
        let (_, _, body) = read(request).await;
        let batch: Value = serde_json::from_str(&body).expect("json");
        let steps = batch["answers"].as_array().into_iter().flatten().map(|answer| answer["trace"][0]["cache"].clone());
        steps.collect::<Vec<_>>()
    };
    each_came_from("max-age=60").await;
    assert_eq!(each_came_from("max-age=60").await, ["hit", "hit"]);
    assert_eq!(each_came_from("no-cache").await, ["miss", "miss"]);
}

#[tokio::test]
async fn an_answer_is_not_sent_twice_to_whoever_has_it() {
    let port = Port::open().await;
    let (status, headers, body) = port.get("/v1/resolve?q=echo").await;
    assert_eq!(status, 200);
    assert!(body.contains("aop.resolve/1"));
    for header in ["etag", "cache-control", "age", "server-timing"] {
        assert!(headers.contains_key(header), "{header}");
    }
    let again = port.client.get(port.url("/v1/resolve?q=echo")).header("if-none-match", &headers["etag"]);
    let (status, _, body) = read(again).await;
    assert_eq!((status, body.as_str()), (304, ""));
    let (status, _, body) = read(port.client.post(port.url("/v1/resolve")).body(r#"{"queries":["echo","x"]}"#)).await;
    let batch: Value = serde_json::from_str(&body).expect("json");
    assert_eq!((status, batch["answers"].as_array().map(Vec::len)), (200, Some(2)));
    assert_eq!(port.get("/v1/resolve?q=echo&bogus=1").await.0, 400);
}

/// What is kept ready to be sent ends with whatever it depends on: the tool, the question, and what the asker may find.
#[tokio::test]
async fn an_answer_that_is_ready_is_the_one_that_would_be_made() {
    let port = Port::open().await;
    let mut changes = port.handle.changes();
    let tool = json!({"server": "demo", "name": "echo", "description": "says it again"});
    port.handle.register_tools(&Caller::operator(), vec![tool]).await.expect("registered");
    while port.handle.view().tools.is_empty() {
        changes.changed().await.expect("a driver");
    }
    let path = "/v1/resolve?q=echo.demo.research&schema=1";
    let (_, first_headers, first) = port.get(path).await;
    for _ in 0..2 {
        let (status, headers, again) = port.get(path).await;
        assert_eq!((status, again.as_str()), (200, first.as_str()));
        assert_ne!(headers["traceparent"], first_headers["traceparent"]);
        let names = |headers: &reqwest::header::HeaderMap| {
            let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(names(&headers), names(&first_headers));
        for same in ["etag", "cache-control", "age", "content-type", "vary", "x-content-type-options"] {
            assert_eq!(headers[same], first_headers[same], "{same}");
        }
    }
    let known = port.client.get(port.url(path)).header("if-none-match", &first_headers["etag"]);
    assert_eq!(read(known).await.0, 304);
    let other = port.get("/v1/resolve?q=echo.demo.research").await.2;
    assert!(!other.contains("inputSchema") && first.contains("inputSchema"));
    // In a batch as well, with what else is asked for.
    let batch = |body: &'static str| read(port.client.post(port.url("/v1/resolve")).body(body));
    let alone: Value = serde_json::from_str(&other).expect("json");
    for _ in 0..3 {
        let (status, _, said) =
            batch(r#"{"queries":["echo.demo.research","no such thing","echo.demo.research"]}"#).await;
        let said: Value = serde_json::from_str(&said).expect("json");
        assert_eq!((status, &said["answers"][0], &said["answers"][2]), (200, &alone, &alone));
        assert_eq!(said["answers"][1]["results"], json!([]));
        let (_, _, with_schema) = batch(r#"{"queries":["echo.demo.research"],"schema":true}"#).await;
        let with_schema: Value = serde_json::from_str(&with_schema).expect("json");
        assert_eq!(with_schema["answers"][0], serde_json::from_str::<Value>(&first).expect("json"));
    }
    let held = port.client.head(port.url(path));
    assert_eq!(read(held).await.2, "", "only GET is answered from what is ready");

    let hidden =
        Rule { principal: Glob::new("anonymous"), action: None, zone: None, tool: Glob::new("echo.*"), deny: true };
    let policy = Policy { is_open: true, rules: vec![hidden] };
    port.handle.auth().replace(Terms { policy, ..Terms::default() });
    let results = |body: &str| serde_json::from_str::<Value>(body).expect("json")["results"].as_array().map(Vec::len);
    assert_eq!(results(&port.get(path).await.2), Some(0));
    let operator = read(port.client.get(port.url(path)).bearer_auth("t")).await;
    assert_eq!(results(&operator.2), Some(1));
    assert_eq!(read(port.client.get(port.url(path)).bearer_auth("wrong")).await.0, 401);

    port.handle.unregister(&Caller::operator(), "demo/echo").await.expect("unregistered");
    while !port.handle.view().tools.is_empty() {
        changes.changed().await.expect("a driver");
    }
    assert_eq!(results(&read(port.client.get(port.url(path)).bearer_auth("t")).await.2), Some(0));
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let port = Port::open().await;
    let big = vec![b' '; BODY_BYTES_MAX + 1];
    let request = port.client.post(port.url("/v1/servers")).bearer_auth("t").body(big.clone());
    assert_eq!(read(request).await.0, 413);
    assert_eq!(read(port.client.post(port.url("/v1/resolve")).body(big)).await.0, 413);
    let just_fits = vec![b' '; BODY_BYTES_MAX];
    let (status, _, said) = read(port.client.post(port.url("/v1/resolve")).body(just_fits)).await;
    assert!(status == 400 && !said.contains("too_large"), "it was read, and asks nothing: {status} {said}");
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_lets_nobody_else_in() {
    let port = Port::open().await;
    let mut stream = TcpStream::connect(port.listen).await.expect("connected");
    let body = r#"{"q":"echo","n":5}"#;
    let length = body.len();
    let head = format!(
        "POST /v1/resolve HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // The port says "continue" when a handler wants the body: now the request is in flight.
    let mut go_on = [0; 25];
    timeout(Duration::from_secs(5), stream.read_exact(&mut go_on)).await.expect("in time").expect("continue");
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    port.stop.cancel();
    stream.write_all(body.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.expect("in time").expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    timeout(Duration::from_secs(5), port.done).await.expect("in time").expect("joined").expect("served");
    assert!(TcpStream::connect(port.listen).await.is_err());
}
