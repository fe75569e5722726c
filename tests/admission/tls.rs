//! TLS of the client port: certificates change while the node runs, bad ones do not, and `aop` finds its way.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::guarded::{Guarded, certify};
use crate::support::{SOON, World, eventually};

#[test]
fn a_certificate_is_taken_over_while_the_node_runs_and_a_broken_one_is_not() {
    let world = World::new();
    let guarded = Guarded::start(&world, "");
    guarded.client().get("/livez").is(200);
    std::fs::write(&guarded.cert, "not a certificate").expect("written");
    guarded.node.signal(Signal::HUP);
    eventually("the broken one is told", SOON, || {
        if guarded.node.log_text().contains("the former stays") { Ok(()) } else { Err("not yet".to_owned()) }
    });
    // A client that believes the new certificate only: it gets an answer once the node shows that one.
    certify(&world);
    let pem = std::fs::read(&guarded.cert).expect("the new certificate");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    eventually("the new certificate is shown without a restart", SOON, || {
        runtime.block_on(async {
            let cert = reqwest::Certificate::from_pem(&pem).map_err(|error| error.to_string())?;
            let http = reqwest::Client::builder().no_proxy().tls_certs_only([cert]).build();
            let url = format!("https://{}/livez", guarded.node.address);
            let answer = http.map_err(|error| error.to_string())?.get(url).send().await;
            answer.map(drop).map_err(|error| format!("{error:?}"))
        })
    });
}

#[test]
fn plain_http_at_a_tls_port_is_told_what_the_port_speaks() {
    let world = World::new();
    let guarded = Guarded::start(&world, "");
    let mut stream = TcpStream::connect(&guarded.node.address).expect("connected");
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut said = String::new();
    drop(stream.read_to_string(&mut said));
    assert!(said.starts_with("HTTP/1.1 400") && said.contains("speaks https"), "{said}");
}

#[test]
fn aop_finds_scheme_trust_and_token_by_itself_and_takes_them_as_flags_elsewhere() {
    let world = World::new();
    let guarded = Guarded::start(&world, "");
    let status = guarded.node.aop(["status", "--json"]).ok().json();
    assert_eq!(status["zone"], "research");
    let pointer: serde_json::Value =
        serde_json::from_slice(&std::fs::read(guarded.node.data.join("node.json")).expect("node.json")).expect("JSON");
    assert_eq!((&pointer["tls"], &pointer["auth_required"]), (&true.into(), &true.into()));
    assert_eq!(pointer["tls_cert"], guarded.cert.display().to_string());

    // Elsewhere: another user's machine knows nothing of the node.
    let far = World::new();
    let url = format!("https://{}", guarded.node.address);
    let (cert, token) = (guarded.cert.display().to_string(), guarded.token("ci", &["--role", "reader"]));
    let aop = |flags: &[&str], token: Option<&str>| {
        let mut command = far.command(env!("CARGO_BIN_EXE_aop"));
        command.args(["--node", &url]).args(flags).args(["status", "--json"]);
        if let Some(token) = token {
            command.env("AOP_TOKEN", token);
        }
        crate::support::run(command, None)
    };
    aop(&[], Some(&token)).exits(4);
    assert_eq!(aop(&["--ca", &cert], Some(&token)).ok().json()["zone"], "research");
    let file = far.file("token", &format!("{token}\n")).display().to_string();
    aop(&["--ca", &cert, "--token-file", &file], None).ok();
    let none = aop(&["--ca", &cert], None).exits(3).problem();
    assert_eq!((&none["kind"], none["hint"].is_string()), (&"auth_required".into(), true));
    let wrong = aop(&["--ca", &cert], Some("aop_wrong")).exits(3).problem();
    assert!(wrong["hint"].is_string(), "{wrong}");
    let forbidden = {
        let mut command = far.command(env!("CARGO_BIN_EXE_aop"));
        command.args(["--node", &url, "--ca", &cert, "keys", "rotate", "--json"]).env("AOP_TOKEN", &token);
        crate::support::run(command, None).exits(3).problem()
    };
    assert_eq!(forbidden["kind"], "forbidden");

    // The bridge for editors does the same.
    let mut bridge = far.command(env!("CARGO_BIN_EXE_aop"));
    bridge.args(["--node", &url, "--ca", &cert, "mcp"]).env("AOP_TOKEN", &token);
    let hello = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let answered = crate::support::run(bridge, Some(hello)).ok();
    assert!(answered.out.contains("search_tools"), "{answered}");
    let config = guarded.node.aop(["mcp", "config", "cursor"]).ok();
    assert!(config.out.contains("\"command\"") && !config.out.contains("aop_"), "{config}");

    // The container's own health check knows the certificate from the configuration.
    let port = guarded.node.address.clone();
    let file = guarded.file.display().to_string();
    world.aop_node(["--config", &file, "--listen", &port, "healthcheck"]).ok().prints("ready");
}
