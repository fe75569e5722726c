//! A node that other machines could reach: certificate, configuration, and a client that believes the one and sends what it is told.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{Node, NodeBuilder, World};

pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// Every route there is, with what it asks: nothing, to find, to call, to register, to administer.
pub(crate) const ROUTES: [(&str, &str, &str); 39] = [
    ("GET", "/livez", ""),
    ("GET", "/readyz", ""),
    ("GET", "/.well-known/oauth-protected-resource", ""),
    ("GET", "/.well-known/oauth-protected-resource/mcp", ""),
    ("GET", "/", "read"),
    ("GET", "/metrics", "read"),
    ("GET", "/v1/status", "read"),
    ("GET", "/v1/nodes", "read"),
    ("GET", "/v1/keys", "read"),
    ("GET", "/v1/zones", "read"),
    ("GET", "/v1/servers", "read"),
    ("GET", "/v1/servers/none", "read"),
    ("GET", "/v1/tools", "read"),
    ("GET", "/v1/tools/none.none.research", "read"),
    ("GET", "/v1/resolve?q=echo", "read"),
    ("POST", "/v1/resolve", "read"),
    ("POST", "/mcp", "read"),
    ("POST", "/z/research/mcp", "read"),
    ("POST", "/s/none/mcp", "read"),
    ("GET", "/s/none/mcp", "read"),
    ("DELETE", "/s/none/mcp", "read"),
    ("POST", "/v1/tools/none.none.research/call", "call"),
    ("POST", "/v1/servers", "register"),
    ("POST", "/v1/servers/none/refresh", "register"),
    ("DELETE", "/v1/servers/none", "register"),
    ("DELETE", "/v1/tools/none.none.research", "register"),
    ("GET", "/v1/tokens", "admin"),
    ("DELETE", "/v1/tokens/none", "admin"),
    ("POST", "/v1/tokens", "admin"),
    ("GET", "/v1/audit", "admin"),
    ("GET", "/v1/audit/verify", "admin"),
    ("GET", "/v1/invites", "admin"),
    ("POST", "/v1/invites", "admin"),
    ("DELETE", "/v1/invites/none", "admin"),
    ("POST", "/v1/join", "admin"),
    ("POST", "/v1/nodes/none/revoke", "admin"),
    ("POST", "/v1/zones/none.research/delegate", "admin"),
    ("POST", "/v1/zones/none.research/undelegate", "admin"),
    ("POST", "/v1/keys/rotate", "admin"),
];

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
}

/// An address of this machine that others could reach, if it has one.
pub(crate) fn address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the system only says which way it would go.
    socket.connect("198.51.100.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| ip.to_string())
}

/// Certificate and key of this world's node, made anew.
pub(crate) fn certify(world: &World) -> (PathBuf, PathBuf) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "127.0.0.2".to_owned()];
    let names: Vec<String> = names.into_iter().chain(address()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let cert = world.file("cert.pem", &made.cert.pem());
    (cert, world.file("key.pem", &made.signing_key.serialize_pem()))
}

/// The same for a node at another address.
pub(crate) fn certify_for(world: &World, address: &str) -> (PathBuf, PathBuf) {
    let files = ["cert", "key"].map(|what| format!("{what}-{address}.pem"));
    if !world.path(&files[0]).exists() {
        let made = rcgen::generate_simple_self_signed(vec![address.to_owned()]).expect("a certificate");
        world.file(&files[0], &made.cert.pem());
        world.file(&files[1], &made.signing_key.serialize_pem());
    }
    (world.path(&files[0]), world.path(&files[1]))
}

/// A node with TLS that asks everybody who he is; `more` is the rest of its configuration.
pub(crate) struct Guarded<'w> {
    pub(crate) world: &'w World,
    pub(crate) node: Node,
    pub(crate) cert: PathBuf,
    pub(crate) file: PathBuf,
}

impl<'w> Guarded<'w> {
    #[track_caller]
    pub(crate) fn start(world: &'w World, more: &str) -> Self {
        let (cert, key) = certify(world);
        let file = world.file("node.toml", &configuration(&cert, &key, more));
        let node = builder(world, &file).start();
        Self { world, node, cert, file }
    }

    /// Another configuration in the same place.
    pub(crate) fn rewrite(&self, more: &str) {
        self.world.file("node.toml", &configuration(&self.cert, &self.world.path("key.pem"), more));
    }

    pub(crate) fn client(&self) -> Client<'_> {
        Client { guarded: self, token: None }
    }

    pub(crate) fn with(&self, token: &str) -> Client<'_> {
        Client { guarded: self, token: Some(token.to_owned()) }
    }

    /// Makes a token with `aop` and gives its secret.
    #[track_caller]
    pub(crate) fn token(&self, name: &str, flags: &[&str]) -> String {
        let words = ["token", "create", name, "--json"].into_iter().chain(flags.iter().copied());
        self.node.aop(words).ok().json()["token"].as_str().expect("a secret").to_owned()
    }

    /// Tools that nothing serves, for finding.
    #[track_caller]
    pub(crate) fn catalogue(&self, tools: &[(&str, &str)]) {
        let line =
            |(server, name): &(&str, &str)| json!({"server": server, "name": name, "description": "finds papers"});
        let body = json!({"tools": tools.iter().map(line).collect::<Vec<_>>()});
        self.with(&self.node.token()).send("POST", "/v1/tools", &[], &body.to_string()).is(201);
    }
}

/// A start that waits for the node to say it is ready.
pub(crate) fn builder<'w>(world: &'w World, file: &Path) -> NodeBuilder<'w> {
    let listen = format!("{}:0", address().unwrap_or_else(|| "127.0.0.2".to_owned()));
    let node = world.node("guarded").zone("research").listen(&listen).args(["--config", &file.display().to_string()]);
    // Every request of these tests comes over a connection of its own.
    node.env("AOP_HTTP__CONNECTION_RATE", "100000")
}

fn configuration(cert: &Path, key: &Path, more: &str) -> String {
    let auth = if more.contains("[auth]") { "" } else { "[auth]\n" };
    let more = format!("{auth}{more}").replacen("[auth]\n", "[auth]\nrequired = true\n", 1);
    format!("tls_cert = \"{}\"\ntls_key = \"{}\"\n{more}", cert.display(), key.display())
}

/// Sends requests with one token, or none.
pub(crate) struct Client<'g> {
    guarded: &'g Guarded<'g>,
    token: Option<String>,
}

impl Client<'_> {
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    /// One JSON-RPC request of the current revision.
    #[track_caller]
    pub(crate) fn mcp(&self, path: &str, method: &str, mut params: Value) -> Answer {
        params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}});
        let name = params["name"].as_str().unwrap_or_default().to_owned();
        let mut headers = vec![
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", method),
        ];
        if !name.is_empty() {
            headers.push(("mcp-name", &name));
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.send("POST", path, &headers, &body.to_string())
    }

    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let url = format!("https://{}{path}", self.guarded.node.address);
        let pem = std::fs::read(&self.guarded.cert).expect("the certificate");
        let cert = reqwest::Certificate::from_pem(&pem).expect("a certificate");
        RUNTIME.block_on(async {
            let http = reqwest::Client::builder().no_proxy().tls_certs_only([cert]).build().expect("a client");
            let mut request = http.request(method.parse().expect("a method"), url);
            if method != "GET" {
                request = request.body(body.to_owned());
            }
            if method != "GET" && !headers.iter().any(|(name, _)| *name == "content-type") {
                request = request.header("content-type", "application/json");
            }
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let response = request.send().await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Answer { status, headers, text: response.text().await.expect("a body") }
        })
    }
}
