//! What a start says that would leave a node unprotected, and what one says that was told to.

use rustix::process::Signal;

use crate::guarded::address;
use crate::support::raw::request;
use crate::support::{SOON, World, eventually};

#[test]
fn a_start_beyond_loopback_without_tls_is_refused_with_the_lines_to_add() {
    let world = World::new();
    for listen in ["0.0.0.0:7443", "[::]:7443"] {
        let refused = world.aop_node(["--listen", listen]).exits(2);
        for line in ["tls_cert = \"cert.pem\"", "tls_key = \"key.pem\"", "--insecure-no-auth"] {
            assert!(refused.err.contains(line), "{refused}");
        }
        let command = format!("help: aop-node --listen {listen} --tls-cert cert.pem --tls-key key.pem");
        assert!(refused.err.contains(&command), "{refused}");
    }
    let file = world.file("node.toml", "listen = \"0.0.0.0:7443\"\n").display().to_string();
    let refused = world.aop_node(["check", "--config", &file]).exits(2);
    assert!(refused.err.contains("node.toml:1"), "{refused}");
    let (cert, key) = crate::guarded::certify(&world);
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let half = world.aop_node(["check", "--listen", "0.0.0.0:7443", "--tls-cert", &cert]).exits(2);
    assert!(half.err.contains("--tls-key"), "{half}");
    let swapped = world.aop_node(["check", "--tls-cert", &key, "--tls-key", &cert]).exits(2);
    assert!(swapped.err.contains("holds no certificate"), "{swapped}");
    world.aop_node(["check", "--listen", "0.0.0.0:7443", "--tls-cert", &cert, "--tls-key", &key]).ok();
    let shown = world.aop_node(["config", "--tls-cert", &cert, "--tls-key", &key]).ok();
    shown.prints("auth.required").prints("http.rate");
}

#[test]
fn a_node_that_lets_everybody_in_says_so_loudly() {
    let world = World::new();
    let listen = format!("{}:0", address().unwrap_or_else(|| "127.0.0.2".to_owned()));
    let node = world.node("open").zone("research").listen(&listen).args(["--insecure-no-auth"]).start();
    eventually("the warning is logged", SOON, || {
        if node.log_text().contains("NOTHING PROTECTS THIS NODE") { Ok(()) } else { Err(node.log_text()) }
    });
    let metrics = request(&node.address, "GET", "/metrics", &[], b"").is(200).text();
    assert!(metrics.contains("\naop_insecure_no_auth 1\n"), "{metrics}");
    request(&node.address, "POST", "/v1/keys/rotate", &[], b"").is(401);
    // On this machine the node itself says that it speaks plain HTTP.
    node.aop(["status"]).ok();
    let local = world.node("local").zone("research").start();
    let metrics = request(&local.address, "GET", "/metrics", &[], b"").is(200).text();
    assert!(metrics.contains("\naop_insecure_no_auth 0\n"), "{metrics}");
}

/// Who may join without an invite is settled when the node starts: half of a change would let strangers in where the log says otherwise.
#[test]
fn whether_everybody_is_asked_does_not_change_under_a_running_node() {
    let world = World::new();
    let file = world.file("node.toml", "");
    let node = world.node("node").args(["--config", &file.display().to_string()]).start();
    world.file("node.toml", "[auth]\nrequired = true\n");
    node.signal(Signal::HUP);
    eventually("the former stays", SOON, || {
        if node.log_text().contains("restart the node") { Ok(()) } else { Err(node.log_text()) }
    });
    request(&node.address, "GET", "/v1/status", &[], b"").is(200);
}

/// Whoever sends a signal as soon as a node can be found must not end one that does not listen yet.
#[test]
fn a_node_that_still_starts_hears_what_it_is_told() {
    let world = World::new();
    // Nobody answers there, so the node waits for its parent before it is ready.
    let starting = world.node("node").args(["--parent", "127.0.0.1:9"]);
    let ended = starting.told_early(&[Signal::HUP, Signal::TERM]).exits(0);
    assert!(ended.err.contains("stopping"), "{ended}");
}
