//! Nodes that other machines could reach: who joins by which invite, what its organisation may do, and what a revocation ends.

use std::time::Duration;

use serde_json::{Value, json};

use crate::guarded::{address, certify};
use crate::support::{Fixture, Node, NodeBuilder, SOON, World, eventually};

/// A revocation is seen by all connected nodes within this time.
const OUT_WITHIN: Duration = Duration::from_secs(5);

/// A node at an address that others could reach, or as if it could be.
fn guarded<'w>(world: &'w World, name: &str, zone: &str) -> NodeBuilder<'w> {
    let (cert, key) = (world.path("cert.pem"), world.path("key.pem"));
    if !cert.exists() {
        certify(world);
    }
    let auth = "[auth]\nrequired = true\n";
    let text = format!("tls_cert = \"{}\"\ntls_key = \"{}\"\n{auth}", cert.display(), key.display());
    let file = world.file(&format!("{name}.toml"), &text).display().to_string();
    let listen = format!("{}:0", address().unwrap_or_else(|| "127.0.0.2".to_owned()));
    world.node(name).zone(zone).listen(&listen).args(["--config", &file])
}

#[track_caller]
pub(crate) fn invite(node: &Node, flags: &[&str]) -> String {
    let words = ["invite", "--json"].into_iter().chain(flags.iter().copied());
    node.aop(words).ok().json()["token"].as_str().expect("a token").to_owned()
}

/// Waits for what becomes so by itself.
#[track_caller]
pub(crate) fn becomes(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    eventually(what, within, || if is_so() { Ok(()) } else { Err("it is not".to_owned()) });
}

fn members(node: &Node) -> Vec<Value> {
    let nodes = node.aop(["nodes", "--json"]).ok().json()["nodes"].as_array().cloned().unwrap_or_default();
    nodes.into_iter().filter(|one| one["self"] == false).collect()
}

#[track_caller]
fn meet(node: &Node, count: usize) {
    becomes(&format!("{} sees {count} fellows", node.id), SOON, || members(node).len() == count);
}

#[track_caller]
pub(crate) fn finds(node: &Node, name: &str) {
    becomes(&format!("{name} at {}", node.zone), SOON, || node.try_resolve(name, &["--exact", "--no-cache"]).code == 0);
}

#[test]
fn an_invite_lets_one_replica_in_and_a_stranger_is_told_why_not() {
    let world = World::new();
    let first = guarded(&world, "first", "research").start();
    let stranger = guarded(&world, "stranger", "research").args(["--join", &first.address]).refused();
    assert_eq!(stranger.code, 2, "{}", stranger.err);
    assert!(stranger.err.contains("aop invite"), "{}", stranger.err);

    let token = invite(&first, &[]);
    let second = guarded(&world, "second", "research").args(["--invite", &token]).start();
    meet(&first, 1);
    meet(&second, 1);
    let again = guarded(&world, "third", "research").args(["--invite", &token]).refused();
    assert_eq!(again.code, 2, "{}", again.err);
    assert!(again.err.contains("used already"), "{}", again.err);
    let told = first.aop(["audit", "--event", "refused"]).ok().out;
    assert!(told.contains("node ") && told.contains("used already"), "{told}");

    // Who was let in needs it no more: not after a restart, nor when it is over.
    let listed = first.aop(["invite", "ls", "--json"]).ok().json();
    assert_eq!(
        (listed["invites"][0]["state"].as_str(), listed["invites"].as_array().map(Vec::len)),
        (Some("used"), Some(1))
    );
    assert!(!listed.to_string().contains(&token), "a list shows no token");
    let audit = first.aop(["audit", "--json"]).ok().out;
    assert!(audit.contains("\"joined\"") && audit.contains("\"invited\"") && !audit.contains(&token), "{audit}");
}

#[test]
fn a_revoked_replica_is_out_within_seconds_and_does_not_come_back() {
    let world = World::new();
    let first = guarded(&world, "first", "research").start();
    let second = guarded(&world, "second", "research").args(["--invite", &invite(&first, &[])]).start();
    let mut third =
        guarded(&world, "third", "research").args(["--invite", &invite(&first, &["--role", "admin"])]).start();
    for node in [&first, &second, &third] {
        meet(node, 2);
    }
    let fixture = Fixture::new(&world, "evil");
    third.register("evil", &fixture.command());
    finds(&second, "echo.evil.research");
    first.aop(["revoke", &third.id, "--reason", "lost laptop"]).ok();
    becomes("the rogue is out everywhere", OUT_WITHIN, || {
        let gone = |node: &Node| {
            members(node).len() == 1 && node.try_resolve("echo.evil.research", &["--exact", "--no-cache"]).code == 6
        };
        gone(&first) && gone(&second)
    });
    assert!(third.log_text().contains("lost laptop"), "{}", third.log_text());
    third.kill();
    let again = guarded(&world, "third", "research").args(["--join", &first.address]).refused();
    assert!(again.code == 2 && again.err.contains("was revoked"), "{}", again.err);
    assert_eq!(members(&first).len(), 1);
    let refused = second.aop(["revoke", &first.id]);
    assert_eq!(refused.code, 3, "a member revokes nobody: {}", refused.err);
}

#[test]
fn a_zone_below_does_what_its_invite_says_until_it_is_cut_off() {
    let world = World::new();
    let acme = guarded(&world, "acme", "acme").start();
    let fixture = Fixture::new(&world, "tools");
    acme.register("tools", &fixture.command());
    let reader = invite(&acme, &["--zone", "lab.acme", "--role", "reader"]);
    // One that listens on this machine only: it dials, and is asked over its own connection.
    let lab = world.node("lab").args(["--invite", &reader]).start();
    assert_eq!(lab.zone, "lab.acme", "the invite names the zone");
    finds(&lab, "echo.tools.acme");
    let told = acme.aop(["audit", "--event", "joined"]).ok().out;
    assert!(told.contains("zone lab.acme") && told.contains(&lab.id[..9]), "{told}");
    let refused = lab.try_call("echo.tools.acme", &json!({"text": "hello"}));
    assert_eq!(refused.code, 3, "a reader calls nothing: {}{}", refused.out, refused.err);
    assert!(fixture.calls("echo") == 0);

    let caller = invite(&acme, &["--zone", "shop.acme", "--role", "caller"]);
    let shop = world.node("shop").args(["--invite", &caller]).start();
    finds(&shop, "echo.tools.acme");
    let called = shop.try_call("echo.tools.acme", &json!({"text": "hello"}));
    assert_eq!(called.code, 0, "{}", called.err);
    let audit = acme.aop(["audit", "--event", "called", "--json"]).ok().out;
    assert!(audit.contains("zone:shop.acme") && audit.contains("zone:lab.acme"), "{audit}");

    acme.aop(["zones", "undelegate", "shop.acme", "--reason", "contract ended"]).ok();
    becomes("what was cut off calls no more", OUT_WITHIN, || {
        shop.try_call("echo.tools.acme", &json!({"text": "again"})).code != 0
    });
    assert_eq!(fixture.calls("echo"), 1);
    becomes("it says why", SOON, || {
        let told = shop.try_call("echo.tools.acme", &json!({"text": "again"})).err;
        told.contains("was undelegated by acme")
    });
    // Whoever was invited for it and has not come yet is not let in any more, and others are.
    let states = |node: &Node| -> Vec<(String, String)> {
        let listed =
            node.aop(["invite", "ls", "--json"]).ok().json()["invites"].as_array().cloned().unwrap_or_default();
        let word = |invite: &Value, key: &str| invite[key].as_str().unwrap_or_default().to_owned();
        listed.iter().map(|invite| (word(invite, "zone"), word(invite, "state"))).collect()
    };
    for (zone, state) in states(&acme) {
        assert_eq!(state, if zone == "shop.acme" { "revoked" } else { "used" }, "{zone}");
    }
    invite(&acme, &["--zone", "dept.acme"]);
    acme.aop(["zones", "undelegate", "dept.acme"]).ok();
    assert!(states(&acme).contains(&("dept.acme".to_owned(), "revoked".to_owned())), "it was only invited");
    let told = acme.aop(["audit", "--event", "undelegated"]).ok().out;
    assert!(told.contains("zone shop.acme") && told.contains("contract ended"), "{told}");
}

/// An invite is of no use to a node that dials this machine only, and a parent that refuses takes no zone down.
#[test]
fn a_running_node_takes_an_invite_it_can_use_and_says_what_later_starts_need() {
    let world = World::new();
    let acme = guarded(&world, "acme", "acme").start();
    let token = invite(&acme, &["--zone", "lab.acme", "--role", "reader"]);
    let mut lab = world.node("lab").zone("lab.acme").start();
    let taken = lab.aop(["join", &token]);
    if address().is_some() {
        assert_eq!(taken.code, 2, "{}{}", taken.out, taken.err);
        assert!(taken.err.contains("as before with the invite as --invite"), "{}", taken.err);
        lab.stop();
        lab = world.node("lab").zone("lab.acme").args(["--invite", &token]).start();
    } else {
        let later = format!("aop-node --zone lab.acme --parent {}", acme.address);
        assert!(taken.code == 0 && taken.err.contains(&later), "{}{}", taken.out, taken.err);
        let audit = lab.aop(["audit", "--event", "joined"]).ok().out;
        assert!(audit.contains("operator") && audit.contains("zone acme"), "{audit}");
    }
    becomes("it is delegated", SOON, || acme.aop(["zones", "--json"]).ok().out.contains("lab.acme"));
    let wrong = lab.aop(["join", "no.such.invite"]);
    assert!(wrong.code == 2 && wrong.err.contains("cannot be read"), "{}", wrong.err);

    // It has its key: it serves its own, though the parent turns it away.
    acme.aop(["zones", "undelegate", "lab.acme"]).ok();
    lab.stop();
    let fixture = Fixture::new(&world, "own");
    let lab = world.node("lab").zone("lab.acme").args(["--parent", &acme.address]).start();
    lab.register("own", &fixture.command());
    finds(&lab, "echo.own.lab.acme");
}
