//! Floods and dawdlers: each limit holds, says so, and leaves everybody else alone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::guarded::Guarded;
use crate::support::raw::request;
use crate::support::{Node, World};

/// Longer than any limit of time, shorter than a test may hang.
const PATIENCE: Duration = Duration::from_secs(50);

#[test]
fn strangers_are_slowed_down_and_those_who_are_known_are_not() {
    let world = World::new();
    let guarded = Guarded::start(&world, "[http]\nstranger_rate = 5\nrate = 100000\n");
    let known = guarded.token("ci", &["--role", "reader"]);
    let began = Instant::now();
    let answers: Vec<_> = (0..40).map(|_| guarded.with("aop_guess").get("/v1/status")).collect();
    let passed = answers.iter().filter(|answer| answer.status == 401).count();
    // A burst of five, and five for every second it took.
    let most = 5 + 5 * (began.elapsed().as_secs() as usize + 1);
    assert!((5..=most).contains(&passed), "{passed} in {:?}", began.elapsed());
    if let Some(slowed) = answers.iter().find(|answer| answer.status == 429) {
        assert_eq!((slowed.header("retry-after"), slowed.json()["code"].as_str()), ("1", Some("AOP0509")));
        assert_eq!(slowed.json()["retryable"], true);
        let metrics = guarded.with(&known).get("/metrics").text;
        let line = metrics.lines().find(|line| line.contains("reason=\"rate\"")).expect("a row");
        assert!(!line.ends_with(" 0"), "{line}");
    }
    for _ in 0..20 {
        guarded.with(&known).get("/v1/status").is(200);
    }
}

fn on_loopback(world: &World, http: &str) -> Node {
    let file = world.file("node.toml", &format!("[http]\n{http}\n"));
    world.node("limited").zone("research").args(["--config", &file.display().to_string()]).start()
}

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(&node.address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

/// What comes until the other side closes.
fn to_its_end(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn an_address_has_so_many_connections_and_one_more_is_closed() {
    let world = World::new();
    let node = on_loopback(&world, "connections_per_address = 3");
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").and_then(|()| stream.read(&mut [0; 512]))
    };
    let mut held: Vec<TcpStream> = (0..3).map(|_| connect(&node)).collect();
    for stream in &mut held {
        assert!(ask(stream).is_ok_and(|read| read > 0), "at the limit");
    }
    let mut late = connect(&node);
    assert!(!ask(&mut late).is_ok_and(|read| read > 0), "past it");
    let metrics = {
        held.pop();
        crate::support::eventually("a place is given back", crate::support::SOON, || {
            let reply = crate::support::raw::try_request(&node.address, "GET", "/metrics", &[], b"");
            reply.map_err(|error| error.to_string())
        })
    };
    let text = metrics.text();
    let line = text.lines().find(|line| line.contains("reason=\"connections\"")).expect("a row");
    assert!(!line.ends_with(" 0"), "{line}");
}

#[test]
fn headers_are_bounded_in_size() {
    let world = World::new();
    let node = on_loopback(&world, "");
    let long = |bytes: usize| "x".repeat(bytes);
    request(&node.address, "GET", "/livez", &[("x-long", &long(60 * 1024))], b"").is(200);
    request(&node.address, "GET", "/livez", &[("x-long", &long(66 * 1024))], b"").is(431);
}

#[test]
fn who_dawdles_with_headers_or_a_body_is_let_go() {
    let world = World::new();
    let node = on_loopback(&world, "");
    let began = Instant::now();
    let (silent, mut halved, mut body) = (connect(&node), connect(&node), connect(&node));
    halved.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n").expect("sent");
    let head = "POST /v1/resolve HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    body.write_all(head.as_bytes()).expect("sent");
    assert_eq!(to_its_end(silent), "");
    let said = to_its_end(halved);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(25), "headers have ten seconds");
    let said = to_its_end(body);
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("did not arrive within 30 s"), "{said}");
    let metrics = request(&node.address, "GET", "/metrics", &[], b"").text();
    let line = metrics.lines().find(|line| line.contains("reason=\"timeout\"")).expect("a row");
    assert!(!matches!(line.rsplit(' ').next(), Some("0" | "1")), "{line}");
}
