//! Where a registration may go: addresses, names, redirects, proxies, and secrets over plain HTTP.

use std::{collections::BTreeMap, net::TcpListener};

use aop::upstream::{AddressClass, Egress, Secret, ServerSpec, UpstreamError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::*;

/// As on a node that others can reach.
const OPEN_NODE: Egress = Egress { loopback_implied: false };

/// A port on which nobody must ever knock.
struct Tripwire(TcpListener);

impl Tripwire {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("bound").port()
    }

    #[track_caller]
    fn untouched(&self) {
        assert!(self.0.accept().is_err(), "somebody connected");
    }
}

fn secret(value: &str) -> BTreeMap<String, Secret> {
    BTreeMap::from([("authorization".to_owned(), Secret::Literal(value.to_owned()))])
}

async fn refused(bench: &Bench, spec: ServerSpec) -> UpstreamError {
    bench.upstreams.register(spec, SOON).await.expect_err("it must be refused")
}

#[tokio::test]
async fn loopback_is_refused_on_a_node_that_others_can_reach_however_it_is_written() {
    let wire = Tripwire::new();
    let bench = Bench::with(OPEN_NODE);
    for host in ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "LOCALHOST"] {
        let error = refused(&bench, http(format!("http://{host}:{}/mcp", wire.port()), BTreeMap::new())).await;
        assert!(matches!(error, UpstreamError::Address { class: AddressClass::Loopback, .. }), "{host}: {error}");
        assert!(error.not_sent() && error.to_string().contains("--allow-private"), "{error}");
    }
    wire.untouched();
    assert!(bench.upstreams.states().is_empty(), "nothing stays behind");
}

#[tokio::test]
async fn a_grant_reaches_loopback_and_a_node_on_loopback_needs_none() {
    let server = OddHttp::start(Era::Discover, &Log::new(), 0, &[]).await;
    let granted = ServerSpec { allow_private: true, ..http(server.url(), BTreeMap::new()) };
    let by_name = http(format!("http://localhost:{}/mcp", server.port), BTreeMap::new());
    for (egress, spec) in [(OPEN_NODE, granted), (Egress { loopback_implied: true }, by_name)] {
        let bench = Bench::with(egress);
        bench.upstreams.register(spec, SOON).await.expect("it registers");
        assert_eq!(bench.call("hologram", "{}").await.expect("a result"), HOLOGRAM);
        bench.upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn private_networks_need_the_grant_and_metadata_is_refused_with_it() {
    let bench = Bench::new();
    for host in ["10.1.2.3", "192.168.0.1", "172.16.0.1", "100.64.0.1", "[fd00::1]", "[::ffff:10.1.2.3]"] {
        let error = refused(&bench, http(format!("http://{host}/mcp"), BTreeMap::new())).await;
        assert!(matches!(error, UpstreamError::Address { class: AddressClass::Private, .. }), "{host}: {error}");
    }
    for (host, class) in [
        ("169.254.169.254", AddressClass::LinkLocal),
        ("[fe80::1]", AddressClass::LinkLocal),
        ("[fd00:ec2::254]", AddressClass::Metadata),
        ("[64:ff9b::a9fe:a9fe]", AddressClass::LinkLocal),
        ("0.0.0.0", AddressClass::Unspecified),
        ("[::]", AddressClass::Unspecified),
        ("224.0.0.1", AddressClass::Multicast),
        ("255.255.255.255", AddressClass::Broadcast),
    ] {
        let spec = ServerSpec { allow_private: true, ..http(format!("http://{host}/mcp"), BTreeMap::new()) };
        let error = refused(&bench, spec).await;
        assert!(matches!(error, UpstreamError::Address { class: found, .. } if found == class), "{host}: {error}");
        assert!(!error.to_string().contains("--allow-private"), "nothing helps here: {error}");
    }
}

#[tokio::test]
async fn a_server_adopted_from_an_earlier_run_passes_the_same_gate() {
    let wire = Tripwire::new();
    let mut bench = Bench::with(OPEN_NODE);
    bench.upstreams.adopt(http(format!("http://localhost:{}/mcp", wire.port()), BTreeMap::new()));
    let aop::upstream::UpstreamEvent::Down { reason, .. } = bench.event().await else { panic!("not down") };
    assert!(reason.contains("a loopback address") && reason.contains("allow_private"), "{reason}");
    wire.untouched();
    bench.upstreams.shutdown().await;
}

#[tokio::test]
async fn a_secret_goes_to_another_machine_over_tls_only() {
    let bench = Bench::new();
    for (url, allow_private) in [("http://1.1.1.1/mcp", false), ("http://10.1.2.3/mcp", true)] {
        let spec = ServerSpec { allow_private, ..http(url.to_owned(), secret("Bearer s3cret-token")) };
        let error = refused(&bench, spec).await;
        assert!(matches!(error, UpstreamError::Exposed { .. }), "{url}: {error}");
        assert!(error.to_string().contains("https://") && !error.to_string().contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn a_secret_does_not_follow_a_redirect() {
    let wire = Tripwire::new();
    let to = format!("http://127.0.0.1:{}/mcp", wire.port());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("bound"));
    tokio::spawn(redirect_everybody(listener, to.clone()));
    let bench = Bench::new();
    let error = refused(&bench, http(url, secret("Bearer s3cret-token"))).await;
    assert!(error.to_string().contains(&format!("redirects are not followed, it points to {to}")), "{error}");
    wire.untouched();
}

async fn redirect_everybody(listener: tokio::net::TcpListener, to: String) {
    let answer =
        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    while let Ok((mut stream, _)) = listener.accept().await {
        // A client that has hung up needs no answer.
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}
