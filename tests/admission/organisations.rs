//! Two organisations on two machines: one that everybody reaches and one behind a firewall, with calls both ways by rule, while one of
//! them is cut off.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::guarded::certify_for;
use crate::joining::{becomes, finds, invite};
use crate::support::{Fixture, Namespaces, Node, SOON, World};

const PORT: u16 = 7400;
/// A revocation is seen by all connected nodes within this time.
const OUT_WITHIN: Duration = Duration::from_secs(5);

/// The organisation that others reach.
fn acme(world: &World, machines: &Namespaces) -> Node {
    let file = rules_of_acme(world, "").display().to_string();
    world
        .node("acme")
        .zone("acme")
        .within(&machines.one)
        .listen(&machines.address(PORT))
        .args(["--config", &file])
        .start()
}

/// Its configuration, with these rules.
fn rules_of_acme(world: &World, rules: &str) -> PathBuf {
    let (cert, key) = certify_for(world, "10.77.0.1");
    let files = format!("tls_cert = \"{}\"\ntls_key = \"{}\"\n", cert.display(), key.display());
    world.file("acme.toml", &format!("{files}[auth]\nrules = [{rules}]\n"))
}

/// One behind the firewall: it listens on its own machine only.
fn behind(world: &World, machines: &Namespaces, zone: &str, token: &str, more: &str) -> Node {
    let file = world.file(&format!("{zone}.toml"), more).display().to_string();
    world.node(zone).within(&machines.other).args(["--invite", token, "--config", &file]).start()
}

fn echo(node: &Node, name: &str) -> i32 {
    node.try_call(name, &json!({"text": "hello"})).code
}

#[test]
fn two_organisations_call_each_other_by_rule_over_the_connection_of_the_one_behind_a_firewall() {
    let world = World::new();
    let Some(machines) = Namespaces::new() else { return };
    let acme = acme(&world, &machines);
    let (ours, labs, shops) =
        (Fixture::new(&world, "ours"), Fixture::new(&world, "labs"), Fixture::new(&world, "shops"));
    acme.register("ours", &ours.command());
    let lab = invite(&acme, &["--zone", "lab.acme", "--role", "caller"]);
    let rule = "[auth]\nrules = [{ principal = \"zone:acme\", action = \"call\", tool = \"echo.*\" }]\n";
    let lab = behind(&world, &machines, "lab.acme", &lab, rule);
    lab.register("labs", &labs.command());
    let shop = invite(&acme, &["--zone", "shop.acme", "--role", "peer"]);
    let rule = "[auth]\nrules = [{ principal = \"zone:lab.acme\", action = \"call\", tool = \"echo.*\" }]\n";
    let shop = behind(&world, &machines, "shop.acme", &shop, rule);
    shop.register("shops", &shops.command());

    // Everybody finds everything over the connections that stand.
    finds(&lab, "echo.ours.acme");
    finds(&acme, "echo.labs.lab.acme");
    finds(&acme, "echo.shops.shop.acme");
    finds(&shop, "echo.labs.lab.acme");
    // From behind the firewall outwards, as the invite says; inwards, as the rule there says; nothing else.
    assert_eq!((echo(&lab, "echo.ours.acme"), ours.calls("echo")), (0, 1));
    assert_eq!((echo(&acme, "echo.labs.lab.acme"), labs.calls("echo")), (0, 1));
    assert_eq!((echo(&shop, "echo.ours.acme"), ours.calls("echo")), (3, 1));
    assert_eq!((echo(&acme, "echo.shops.shop.acme"), shops.calls("echo")), (3, 0));
    let refused = acme.try_call("fail.labs.lab.acme", &json!({}));
    assert_eq!((refused.code, labs.calls("fail")), (3, 0), "{}", refused.err);
    // What one of them asks of the other goes over the one that both reach, and is asked for in its own name.
    assert_eq!((echo(&shop, "echo.labs.lab.acme"), labs.calls("echo")), (3, 1), "what acme may is not what shop may");
    finds(&lab, "echo.shops.shop.acme");
    let called = lab.try_call("echo.shops.shop.acme", &json!({"text": "hello"}));
    assert_eq!((called.code, shops.calls("echo")), (0, 1), "{}", called.err);
    assert_eq!(called.json()["hops"], 2, "to acme, and from there");
    let audit = shop.aop(["audit", "--event", "called", "--json"]).ok().json();
    let by = audit["entries"].as_array().and_then(|entries| entries.last()?["principal"].as_str().map(str::to_owned));
    assert!(by.as_ref().is_some_and(|by| by.starts_with("zone:lab.acme")), "{audit}");
    // A rule hides tools from one of them, the node's own and what it passes on; the other still finds them.
    let hidden = "{ principal = \"zone:shop.acme\", action = \"discover\", tool = \"fail.*\", deny = true },\
                  { principal = \"zone:lab.acme\", action = \"discover\", tool = \"echo.ours.*\", deny = true },\
                  { principal = \"zone:lab.acme\", action = \"call\", zone = \"shop.acme\", deny = true }";
    let sees = |node: &Node, name: &str| node.try_resolve(name, &["--exact", "--no-cache"]).code == 0;
    let names = ["fail.ours.acme", "fail.labs.lab.acme"];
    for name in names {
        finds(&shop, name);
    }
    rules_of_acme(&world, hidden);
    acme.signal(Signal::HUP);
    becomes("it is hidden", SOON, || names.iter().all(|name| !sees(&shop, name)));
    finds(&lab, "fail.ours.acme");
    // What is hidden is not there to be called either, though its name is known; what is denied behind the node is refused.
    let (before, passed_on) = (ours.calls("echo"), shops.calls("echo"));
    let told = lab.try_call("echo.ours.acme", &json!({"text": "hello"}));
    assert!(told.code == 6 && told.err.contains("no tool"), "{}{}", told.code, told.err);
    assert_eq!(echo(&lab, "echo.shops.shop.acme"), 3);
    assert_eq!((ours.calls("echo"), shops.calls("echo")), (before, passed_on));
    finds(&acme, "fail.labs.lab.acme");
    let listed = shop.aop(["ls", "acme", "--json"]).ok().out;
    assert!(listed.contains("echo.ours.acme") && !listed.contains("fail.ours"), "{listed}");
    rules_of_acme(&world, "");
    acme.signal(Signal::HUP);
    becomes("it is shown again", SOON, || names.iter().all(|name| sees(&shop, name)));
    // On its own machine everything stays as it was.
    assert_eq!(echo(&shop, "echo.shops.shop.acme"), 0);

    // One of them is cut off while it calls as fast as it can.
    let (stop, good) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    good.fetch_add(usize::from(echo(&lab, "echo.ours.acme") == 0), Relaxed);
                }
            });
        }
        becomes("it calls", Duration::from_secs(30), || good.load(Relaxed) > 5);
        acme.aop(["zones", "undelegate", "lab.acme", "--reason", "contract ended"]).ok();
        let cut = Instant::now();
        becomes("it calls no more", OUT_WITHIN, || echo(&lab, "echo.ours.acme") != 0);
        assert!(cut.elapsed() < OUT_WITHIN);
        stop.store(true, Relaxed);
    });
    let before = ours.calls("echo");
    assert_ne!(echo(&lab, "echo.ours.acme"), 0);
    assert_eq!(ours.calls("echo"), before);
    assert_ne!(echo(&acme, "echo.labs.lab.acme"), 0);
    assert_ne!(echo(&lab, "echo.shops.shop.acme"), 0);
    finds(&acme, "echo.shops.shop.acme");
}

/// A replica that was invited to its zone, and to nothing else, stands in for it towards the zones above.
#[test]
fn an_invited_replica_asks_and_calls_above_though_the_one_that_invited_it_is_gone() {
    let world = World::new();
    let Some(machines) = Namespaces::new() else { return };
    let acme = acme(&world, &machines);
    let ours = Fixture::new(&world, "ours");
    acme.register("ours", &ours.command());
    let lab = invite(&acme, &["--zone", "lab.acme", "--role", "caller"]);
    let (cert, key) = certify_for(&world, "10.77.0.2");
    let text = format!("tls_cert = \"{}\"\ntls_key = \"{}\"\n", cert.display(), key.display());
    let file = world.file("lab.toml", &text).display().to_string();
    let mut lab = world
        .node("first")
        .within(&machines.other)
        .listen("10.77.0.2:7401")
        .args(["--invite", &lab, "--config", &file])
        .start();
    finds(&lab, "echo.ours.acme");
    let token = invite(&lab, &["--role", "peer"]);
    let second = behind(&world, &machines, "lab.acme", &token, "");
    finds(&second, "echo.ours.acme");
    assert_eq!((echo(&second, "echo.ours.acme"), ours.calls("echo")), (0, 1));
    lab.kill();
    becomes("it calls by itself", Duration::from_secs(30), || echo(&second, "echo.ours.acme") == 0);
}
