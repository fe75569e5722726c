//! `Host` and `Origin` over every route: a page of somebody else, or a name that was made to point here, reaches nothing.

use crate::guarded::{Guarded, ROUTES};
use crate::support::World;

const HOSTS_FOREIGN: [&str; 5] =
    ["evil.example", "node.example.evil.example", "203.0.113.9:7400", "localhost.evil.example", "127.0.0.1.nip.io"];
const ORIGINS_FOREIGN: [&str; 5] = [
    "null",
    "https://evil.example",
    "http://localhost:7400",
    "https://node.example:1",
    "https://evil@node.example:7400",
];

#[test]
fn no_route_answers_to_a_foreign_name_or_a_foreign_page() {
    let world = World::new();
    let more = "[http]\nhosts = [\"node.example\"]\norigins = [\"https://console.example\"]\nstranger_rate = 100000\nrate = 100000\n";
    let guarded = Guarded::start(&world, more);
    let operator = guarded.with(&guarded.node.token());
    let nowhere = [("GET", "/nothing", ""), ("OPTIONS", "/mcp", ""), ("PUT", "/v1/status", "")];
    for (method, path, _) in ROUTES.into_iter().chain(nowhere) {
        for host in HOSTS_FOREIGN {
            let answer = operator.send(method, path, &[("host", host)], "{}").is(403);
            assert_eq!(answer.json()["kind"], "host_not_allowed", "{method} {path} {host}");
        }
        for origin in ORIGINS_FOREIGN {
            let answer =
                operator.send(method, path, &[("host", "node.example:7400"), ("origin", origin)], "{}").is(403);
            assert_eq!(answer.json()["kind"], "host_not_allowed", "{method} {path} {origin}");
            assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
        }
    }
    for origin in ["https://node.example:7400", "https://console.example"] {
        operator.send("GET", "/v1/status", &[("host", "node.example:7400"), ("origin", origin)], "").is(200);
    }
    for host in ["node.example", "localhost:7400", "127.0.0.1"] {
        operator.send("GET", "/v1/status", &[("host", host)], "").is(200);
    }
    // What a form can send changes nothing, although the page is the node's own.
    let page = [("host", "node.example:7400"), ("origin", "https://node.example:7400")];
    for (method, path, need) in ROUTES.into_iter().filter(|(method, ..)| *method != "GET") {
        let form = [page[0], page[1], ("content-type", "text/plain")];
        let answer = operator.send(method, path, &form, "{}");
        assert_eq!(answer.status, 415, "{method} {path} {need}: {}", answer.text);
    }
    let metrics = operator.get("/metrics").text;
    for reason in ["host", "origin"] {
        let line = metrics.lines().find(|line| line.contains(&format!("reason=\"{reason}\""))).expect("a row");
        assert!(!line.ends_with(" 0"), "{line}");
    }
}
