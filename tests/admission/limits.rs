//! Floods and dawdlers: each limit holds, says so, and leaves everybody else alone.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::net::TcpSocket;

use crate::guarded::{Guarded, RUNTIME};
use crate::support::raw::{request, try_request};
use crate::support::{Node, PATIENT, SOON, World, eventually};

/// Longer than any limit of time, shorter than a test may hang.
const PATIENCE: Duration = Duration::from_secs(50);

#[test]
fn strangers_are_slowed_down_and_those_who_are_known_are_not() {
    let world = World::new();
    let guarded = Guarded::start(&world, "[http]\nstranger_rate = 1\nrate = 100000\n");
    let known = guarded.token("ci", &["--role", "reader"]);
    let (began, mut passed) = (Instant::now(), 0);
    let slowed = eventually("a stranger is slowed down", SOON, || {
        let answer = guarded.with("aop_guess").get("/v1/status");
        passed += u64::from(answer.status == 401);
        if answer.status == 429 { Ok(answer) } else { Err(answer.status.to_string()) }
    });
    // One at once, and one for every second it took.
    assert!((1..=2 + began.elapsed().as_secs()).contains(&passed), "{passed} in {:?}", began.elapsed());
    assert_eq!((slowed.header("retry-after"), slowed.json()["code"].as_str()), ("1", Some("AOP0509")));
    assert_eq!(slowed.json()["retryable"], true);
    assert!(is_counted(&guarded.with(&known).get("/metrics").text, "rate"));
    for _ in 0..20 {
        guarded.with(&known).get("/v1/status").is(200);
    }
}

#[test]
fn a_principal_is_slowed_down_and_no_other_with_it() {
    let world = World::new();
    let guarded = Guarded::start(&world, "[http]\nrate = 100000\n");
    let [one, other] = ["one", "other"].map(|name| guarded.token(name, &["--role", "reader"]));
    // From now on one a second, and what was asked so far does not count.
    guarded.rewrite("[http]\nrate = 1\n");
    guarded.node.signal(Signal::HUP);
    let slowed = eventually("one is slowed down", PATIENT, || {
        let answer = guarded.with(&one).get("/v1/status");
        if answer.status == 429 { Ok(answer) } else { Err(answer.status.to_string()) }
    });
    assert_eq!((slowed.header("retry-after"), slowed.json()["code"].as_str()), ("1", Some("AOP0509")));
    guarded.with(&other).get("/v1/status").is(200);
    guarded.client().get("/livez").is(200);
}

/// Each connection is a file: a shell's usual bound on these would end a node long before its own bound on connections does.
#[test]
fn a_node_may_open_as_many_files_as_its_connections_need() {
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..before }).expect("fewer is always allowed");
    let world = World::new();
    let node = world.node("node").start();
    setrlimit(Resource::Nofile, before).expect("as it was");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.pid())).expect("limits of a process");
    let row = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a row");
    let mut numbers = row.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(u64::MAX));
    let (soft, hard) = (numbers.next().expect("a soft limit"), numbers.next().expect("a hard one"));
    assert!(soft >= hard.min(2_048), "{soft} of {hard}");
}

/// Whether anything was refused for that reason.
fn is_counted(metrics: &str, reason: &str) -> bool {
    let row = format!("aop_http_refused_total{{reason=\"{reason}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&row)).expect("a row") != "0"
}

pub(crate) fn on_loopback(world: &World, http: &str) -> Node {
    let file = world.file("node.toml", &format!("[http]\n{http}\n"));
    world.node("limited").zone("research").args(["--config", &file.display().to_string()]).start()
}

pub(crate) fn connect(node: &Node) -> TcpStream {
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
    held.pop();
    let metrics = eventually("a place is given back", SOON, || {
        try_request(&node.address, "GET", "/metrics", &[], b"").map_err(|error| error.to_string())
    });
    assert!(is_counted(&metrics.text(), "connections"));
}

/// The same from another address of loopback.
fn connect_from(from: [u8; 4], node: &Node) -> TcpStream {
    let stream = RUNTIME.block_on(async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of loopback");
        socket.connect(node.address.parse().expect("an address")).await.expect("connected").into_std()
    });
    let stream = stream.expect("a socket");
    stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(PATIENCE))).expect("set");
    stream
}

#[test]
fn a_crowd_that_asks_nothing_yields_to_whoever_comes_from_elsewhere_and_not_to_itself() {
    let world = World::new();
    let node = on_loopback(&world, "connections = 16\nconnections_per_address = 16");
    let mut crowd: VecDeque<TcpStream> = (0..16).map(|_| connect_from([127, 0, 0, 3], &node)).collect();
    assert_eq!(to_its_end(connect_from([127, 0, 0, 3], &node)), "", "one more from there is closed");
    // From elsewhere there is room: the oldest of the crowd went for it, and no other.
    let metrics = request(&node.address, "GET", "/metrics", &[], b"").is(200).text();
    assert!(metrics.contains("aop_http_refused_total{reason=\"crowded\"} 1\n"), "{metrics}");
    assert!(metrics.contains("aop_http_refused_total{reason=\"connections\"} 1\n"), "{metrics}");
    assert!(metrics.contains("aop_http_refused_total{reason=\"timeout\"} 0\n"), "nobody was let go for dawdling");
    assert_eq!(to_its_end(crowd.pop_front().expect("the oldest")), "");
    // Who has asked something stays, however long the crowd.
    let mut newest = crowd.pop_back().expect("the newest");
    let ask = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert!(newest.write_all(ask).and_then(|()| newest.read(&mut [0; 512])).is_ok_and(|read| read > 0));
    let second: Vec<TcpStream> = (0..12).map(|_| connect_from([127, 0, 0, 4], &node)).collect();
    assert!(newest.write_all(ask).and_then(|()| newest.read(&mut [0; 512])).is_ok_and(|read| read > 0));
    drop((crowd, second));
}

#[test]
fn an_address_begins_so_many_connections_a_second() {
    let world = World::new();
    let node = on_loopback(&world, "connection_rate = 1");
    // One at once, and one for every second it takes.
    eventually("one comes too soon", SOON, || {
        let reply = try_request(&node.address, "GET", "/livez", &[], b"");
        if reply.is_err() { Ok(()) } else { Err("it was answered".to_owned()) }
    });
    let metrics = eventually("the next second", SOON, || {
        try_request(&node.address, "GET", "/metrics", &[], b"").map_err(|error| error.to_string())
    });
    assert!(is_counted(&metrics.text(), "connections"));
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
fn who_dawdles_with_a_handshake_is_let_go() {
    let world = World::new();
    let guarded = Guarded::start(&world, "");
    let (silent, mut begun) = (connect(&guarded.node), connect(&guarded.node));
    // The head of a record that says hello, and no hello.
    begun.write_all(&[22, 3, 1, 2, 0]).expect("sent");
    assert_eq!((to_its_end(silent), to_its_end(begun)), (String::new(), String::new()));
    let metrics = guarded.with(&guarded.node.token()).get("/metrics").text;
    assert!(metrics.contains("aop_http_refused_total{reason=\"timeout\"} 2\n"), "{metrics}");
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
