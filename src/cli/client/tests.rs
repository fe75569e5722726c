//! Addresses, escaping and headers; and which failures let the next node be asked, against listeners made here.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

#[test]
fn a_node_is_named_with_or_without_port_and_scheme() {
    let url = |text: &str| node_url(text, &Tokens::default()).map(|u| u.to_string());
    assert_eq!(url("node.example").as_deref(), Ok("https://node.example:7400/"));
    assert_eq!(url("192.0.2.7:443").as_deref(), Ok("https://192.0.2.7/"));
    assert_eq!(url("http://192.0.2.7:7400").as_deref(), Ok("http://192.0.2.7:7400/"));
    assert_eq!(url("127.0.0.1:7401").as_deref(), Ok("http://127.0.0.1:7401/"));
    assert_eq!(url("localhost").as_deref(), Ok("http://localhost:7400/"));
    assert_eq!(url("[::1]:7402").as_deref(), Ok("http://[::1]:7402/"));
    assert_eq!(url("https://node.example").as_deref(), Ok("https://node.example/"));
    for wrong in ["", "ftp://x", "http://a/b", "u@h:1", "h:port"] {
        assert!(url(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn segments_and_parameters_are_escaped() {
    let request = Request::get(&["tools", "a/b c?"]).param("q", "x & y").flag("trace", true).flag("schema", false);
    let url = request.url(&node_url("127.0.0.1:1", &Tokens::default()).expect("an address"));
    assert_eq!(url.as_str(), "http://127.0.0.1:1/v1/tools/a%2Fb%20c%3F?q=x+%26+y&trace=1");
}

#[test]
fn headers_fold_into_the_answer() {
    let reply = Reply {
        body: Bytes::from_static(br#"{"schema":"aop.resolve/1","partial":false,"results":[]}"#),
        took_ms: total_ms("index;dur=1, total;dur=8.2"),
        trace_id: trace_of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    };
    assert_eq!(
        reply.folded(),
        r#"{"schema":"aop.resolve/1","partial":false,"took_ms":8.2,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","results":[]}"#
    );
}

/// Answers every request with these bytes, or hangs up, and counts the requests.
async fn node(answer: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let read = stream.read(&mut [0; 4096]).await.unwrap_or(0);
            if read > 0 {
                count.fetch_add(1, Ordering::Relaxed);
                stream.write_all(answer.as_bytes()).await.ok();
            }
        }
    });
    (address, requests)
}

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 57\r\nconnection: close\r\n\r\n{\"kind\":\"busy\",\"message\":\"try again\",\"retryable\":true   }";
const HANGS_UP: &str = "";

fn client(nodes: &[&str]) -> Client {
    let nodes: Vec<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
    Client::new(&nodes, Tokens::default(), Some(Duration::from_secs(10)), Talk::default()).expect("addresses")
}

/// A port where nobody listens: it was given by the system and is free again.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[tokio::test]
async fn the_next_node_is_asked_when_one_cannot_be_reached_and_stays_the_one() {
    let (nobody, (second, asked)) = (nobody().await, node(FINE).await);
    let client = client(&[&nobody, &second]);
    for change in [Request::get(&["status"]), Request::post(&["servers"], "{}")] {
        assert_eq!(client.send(&change).await.map(|reply| reply.body).as_deref(), Ok(&b"{}"[..]));
    }
    assert_eq!((asked.load(Ordering::Relaxed), client.base()), (2, format!("http://{second}")));
}

#[tokio::test]
async fn a_change_that_may_have_been_made_is_not_sent_to_the_next_node() {
    let ((first, _), (second, asked)) = (node(HANGS_UP).await, node(FINE).await);
    let problem = client(&[&first, &second]).send(&Request::post(&["servers"], "{}")).await.expect_err("hung up");
    assert_eq!((problem.kind, problem.kind.retryable()), (Kind::MayHaveRun, false));
    assert!(problem.message.contains("may have been carried out"), "{problem}");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert!(client(&[&first, &second]).send(&Request::get(&["status"])).await.is_ok(), "a read may be repeated");
}

/// Accepts connections and never answers, and counts the requests.
async fn silent() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if stream.read(&mut [0; 4096]).await.unwrap_or(0) > 0 {
                count.fetch_add(1, Ordering::Relaxed);
            }
            open.push(stream);
        }
    });
    (address, requests)
}

/// A node that was stopped had all the time there was, and the next one was never asked.
#[tokio::test]
async fn who_does_not_answer_a_read_has_a_share_of_the_time_and_a_change_all_of_it() {
    let ((first, silently), (second, asked)) = (silent().await, node(FINE).await);
    let nodes = [first, second];
    let time = Some(Duration::from_millis(400));
    let client = || Client::new(&nodes, Tokens::default(), time, Talk::default()).expect("addresses");
    for read in [Request::get(&["tools"]), Request::post(&["resolve"], "{}").read_only()] {
        assert!(client().send(&read).await.is_ok(), "the next one is asked");
    }
    assert_eq!((silently.load(Ordering::Relaxed), asked.load(Ordering::Relaxed)), (2, 2));
    let problem = client().send(&Request::post(&["servers"], "{}")).await.expect_err("no answer");
    assert_eq!((problem.kind, asked.load(Ordering::Relaxed)), (Kind::CallTimedOut, 2));
    assert!(problem.message.contains("may have been carried out"), "{problem}");
    let alone = Client::new(&nodes[..1], Tokens::default(), time, Talk::default()).expect("an address");
    let problem = alone.send(&Request::get(&["tools"])).await.expect_err("no answer");
    assert_eq!((problem.kind, problem.message.ends_with("did not answer within 400ms")), (Kind::TimedOut, true));
}

#[tokio::test]
async fn who_is_slow_has_what_is_left_where_nobody_else_is_there() {
    let (slow, silently) = silent().await;
    let nodes = [slow, nobody().await];
    let time = Some(Duration::from_millis(400));
    let client = Client::new(&nodes, Tokens::default(), time, Talk::default()).expect("addresses");
    let problem = client.send(&Request::get(&["tools"])).await.expect_err("no answer");
    assert_eq!((problem.kind, silently.load(Ordering::Relaxed)), (Kind::TimedOut, 2));
}

#[test]
fn the_last_of_several_nodes_has_all_that_is_left() {
    let seconds = Duration::from_secs;
    let of = |time: u64, spent: u64, nodes: usize, step: usize| {
        let turn = Turn::of(seconds(time), seconds(spent), nodes, step);
        (turn.time, turn.is_last)
    };
    assert_eq!(of(10, 0, 1, 0), (seconds(10), true));
    assert_eq!((of(9, 0, 2, 0), of(9, 3, 2, 1)), ((seconds(3), false), (seconds(6), true)));
    assert_eq!(of(20, 4, 5, 1), (seconds(4), false));
    assert_eq!(of(2, 0, 2, 0), (seconds(1), false));
    assert_eq!(of(1, 0, 2, 0), (Duration::from_millis(500), false), "who follows is left some time");
}

#[tokio::test]
async fn an_answer_is_final_whatever_it_says() {
    let ((first, _), (second, asked)) = (node(BUSY).await, node(FINE).await);
    let problem = client(&[&first, &second]).send(&Request::get(&["status"])).await.expect_err("busy");
    assert_eq!((problem.kind, problem.message.as_str()), (Kind::Busy, "try again"));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let gone = client(&[&nobody().await]).send(&Request::get(&["status"])).await.expect_err("nobody");
    assert_eq!(gone.kind.exit_code(), 4);
}

#[test]
fn a_certificate_that_is_not_trusted_is_said_in_words() {
    for made in ["unknownissuer", "other(othererror(causedasendentity))"] {
        assert_eq!(readable(&format!("invalid peer certificate: {made}")), UNTRUSTED);
    }
    let expired = "invalid peer certificate: expired";
    assert_eq!(
        (readable(expired), readable("connection refused")),
        (expired.to_owned(), "connection refused".to_owned())
    );
}
