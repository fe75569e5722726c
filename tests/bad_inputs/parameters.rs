//! Parameters and names that fit no route: out of range, too long, of odd characters, or meant to leave their folder.

use super::case::Case;
use super::case::Wanted::{self, Client, Harmless, Is};

/// What is read without a token.
fn reads() -> Vec<(String, Wanted)> {
    let table: &[(&str, Wanted)] = &[
        ("/v1/resolve", Is(400)),
        ("/v1/resolve?q=", Is(400)),
        ("/v1/resolve?q=%20%09", Is(400)),
        ("/v1/resolve?q=a&q=b", Is(400)),
        ("/v1/resolve?q=a&n=0", Is(400)),
        ("/v1/resolve?q=a&n=-1", Is(400)),
        ("/v1/resolve?q=a&n=1001", Is(400)),
        ("/v1/resolve?q=a&limit=1e9", Is(400)),
        ("/v1/resolve?q=a&limit=99999999999999999999", Is(400)),
        ("/v1/resolve?q=a&limit=%EF%BC%91", Is(400)),
        ("/v1/resolve?q=a&limit=1%00", Is(400)),
        ("/v1/resolve?q=a&scope=everywhere", Is(400)),
        ("/v1/resolve?q=a&mode=guess", Is(400)),
        ("/v1/resolve?q=a..b&mode=exact", Is(400)),
        ("/v1/resolve?q=%00&mode=exact", Is(400)),
        ("/v1/resolve?q=a%E3%80%82b&mode=exact", Is(400)),
        ("/v1/resolve?q=a&trace=maybe", Is(400)),
        ("/v1/resolve?q=a&timeout=-1s", Is(400)),
        ("/v1/resolve?q=a&timeout=1y", Is(400)),
        ("/v1/resolve?q=a&timeout=99999999999999999999s", Is(400)),
        ("/v1/resolve?q=a&max_stale=soon", Is(400)),
        ("/v1/resolve?q=a&zone=a..b", Is(400)),
        ("/v1/resolve?q=a&zone=.a", Is(400)),
        ("/v1/resolve?q=a&zone=%00", Is(400)),
        ("/v1/resolve?q=a&zone=re%0Asearch", Is(400)),
        ("/v1/resolve?q=a&zone=%E2%80%AEresearch", Is(400)),
        ("/v1/resolve?q=a&zone=r%C3%A9search", Is(400)),
        ("/v1/resolve?q=a&zone=a%EF%BC%8Eb", Is(400)),
        ("/v1/resolve?q=a&zone=..%2F..%2Fetc", Is(400)),
        ("/v1/resolve?q=a&zone=reserch", Is(404)),
        ("/v1/resolve?q=a&admin=1", Is(400)),
        ("/v1/resolve?q=a&%00=1", Is(400)),
        ("/v1/resolve?q=%FF", Harmless),
        ("/v1/resolve?q=%", Harmless),
        ("/v1/resolve?q=%ZZ", Harmless),
        ("/v1/resolve?q=%00%1B%5B2J", Harmless),
        ("/v1/resolve?&&&===&", Is(400)),
        ("/v1/tools?n=0", Is(400)),
        ("/v1/tools?n=-1", Is(400)),
        ("/v1/tools?n=1000001", Is(400)),
        ("/v1/tools?zone=", Client),
        ("/v1/tools?zone=%00", Is(400)),
        ("/v1/tools?zone=a..b", Is(400)),
        ("/v1/tools?zone=nowhere", Is(404)),
        ("/v1/tools?limit=0", Is(400)),
        ("/v1/tools?most=1", Is(400)),
        ("/v1/tools/%00", Client),
        ("/v1/tools/%FF", Is(400)),
        ("/v1/tools/%1B%5B2J", Client),
        ("/v1/tools/%E2%80%AEohce", Client),
        ("/v1/tools/echo%E3%80%82papers%E3%80%82research", Client),
        ("/v1/tools/..", Client),
        ("/v1/tools/%2E%2E", Client),
        ("/v1/tools/..%2F..%2F..%2Fetc%2Fpasswd", Client),
        ("/v1/tools/..%5C..%5Cwindows", Client),
        ("/v1/tools/%252e%252e%252fetc", Client),
        ("/v1/tools/.", Client),
        ("/v1/tools/%20", Client),
        ("/v1/tools/", Is(404)),
        ("/v1/tools/echo.papers.research/", Is(404)),
        ("/v1/tools/echo.papers.research/call", Is(405)),
        ("/v1/servers/%00", Is(404)),
        ("/v1/servers/..%2Fstore.redb", Is(404)),
        ("/v1/servers/%FF", Is(400)),
        ("/v1/servers/papers/refresh", Is(405)),
        ("/v1/audit", Is(401)),
        ("/v1/keys/rotate", Is(405)),
        ("/v1", Is(404)),
        ("/V1/STATUS", Is(404)),
        ("//v1//status", Is(404)),
        ("/v1/../v1/status", Is(404)),
        ("/v1/status;admin=1", Is(404)),
        ("/v1/status%2f", Is(404)),
        ("/../../etc/passwd", Is(404)),
        ("/%2e%2e/%2e%2e/etc/passwd", Is(404)),
        ("/store.redb", Is(404)),
        ("/admin.token", Is(404)),
        ("/.git/config", Is(404)),
    ];
    let mut all: Vec<(String, Wanted)> = table.iter().map(|(path, wanted)| ((*path).to_owned(), *wanted)).collect();
    let (label, name) = ("x".repeat(64), ["x".repeat(50).as_str(); 5].join("."));
    all.extend([
        (format!("/v1/resolve?q=a&zone={label}"), Is(400)),
        (format!("/v1/resolve?q=a&zone={name}"), Is(400)),
        (format!("/v1/resolve?q={}", "x".repeat(2_001)), Is(400)),
        (format!("/v1/resolve?q=a{}", "&tag=t".repeat(17)), Is(400)),
        (format!("/v1/resolve?q=a&tag={}", "t".repeat(257)), Is(400)),
        (format!("/v1/resolve?{}", "queries=a&".repeat(101)), Is(400)),
        (format!("/v1/resolve?q=a{}", "&n=1".repeat(10_000)), Harmless),
        (format!("/v1/tools/{label}.papers.research"), Client),
        (format!("/v1/tools/{name}"), Client),
        (format!("/v1/tools/{}", "x".repeat(60_000)), Client),
        (format!("/v1/servers/{}", "x".repeat(60_000)), Is(404)),
        (format!("/{}", "a/".repeat(20_000)), Is(404)),
    ]);
    all
}

/// What needs the token, and has it; the body is an empty object.
const CHANGES: [(&str, Wanted); 24] = [
    ("GET /v1/audit?n=0", Is(400)),
    ("GET /v1/audit?n=10001", Is(400)),
    ("GET /v1/audit?n=-1", Is(400)),
    ("GET /v1/audit?event=everything", Is(400)),
    ("GET /v1/audit?event=%00", Is(400)),
    ("GET /v1/audit?since=yesterday", Is(400)),
    ("GET /v1/audit?since=2026-02-30", Is(400)),
    ("GET /v1/audit?after=-1", Is(400)),
    ("GET /v1/audit?path=..%2Fadmin.token", Is(400)),
    ("DELETE /v1/tools/%00", Client),
    ("DELETE /v1/tools/nothing.papers.research", Is(404)),
    ("DELETE /v1/tools/..%2F..%2Fetc", Client),
    ("DELETE /v1/tools/%FF", Is(400)),
    ("DELETE /v1/tools/*", Client),
    ("DELETE /v1/tools", Is(405)),
    ("DELETE /v1/servers/nothing", Is(404)),
    ("DELETE /v1/servers/echo.papers.research", Is(404)),
    ("DELETE /v1/servers/%E2%80%AEsrepap", Is(404)),
    ("POST /v1/servers/nothing/refresh", Is(404)),
    ("POST /v1/servers/%FF/refresh", Is(400)),
    ("POST /v1/tools/nothing.papers.research/call", Is(404)),
    ("POST /v1/tools/%00/call", Client),
    ("POST /v1/tools/add.papers.research/call", Is(422)),
    ("PUT /v1/tools/echo.papers.research", Is(405)),
];

/// What needs the token, and does not have it.
const UNALLOWED: [(&str, &str); 12] = [
    ("POST /v1/tools", ""),
    ("POST /v1/servers", "Bearer "),
    ("DELETE /v1/servers/papers", "Bearer 0000"),
    ("DELETE /v1/tools/echo.papers.research", "Basic YTpi"),
    ("POST /v1/servers/papers/refresh", "Bearer \u{0} "),
    ("POST /v1/tools/echo.papers.research/call", "Bearer"),
    ("POST /v1/keys/rotate", "bearer null"),
    ("POST /v1/keys/rotate", "Bearer Bearer x"),
    ("GET /v1/audit", "Bearer ../admin.token"),
    ("GET /v1/audit/verify", "Negotiate x"),
    ("POST /v1/tools", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."),
    ("POST /v1/tools", "\u{ff}"),
];

pub(crate) fn cases(token: &str) -> Vec<Case> {
    let bearer = format!("Bearer {token}");
    let json = ("Content-Type", "application/json");
    let read = |(path, wanted): (String, Wanted)| {
        let name: String = path.chars().take(80).collect();
        Case::request(format!("GET {name}"), &format!("GET {path}"), &[], "", wanted)
    };
    let change = |(line, wanted): (&str, Wanted)| {
        Case::request(line, line, &[("Authorization", bearer.as_str()), json], "{}", wanted)
    };
    let unallowed = |(line, authorization): (&str, &str)| {
        // A header that is none never reaches the token.
        let wanted = if authorization.contains('\0') { Is(400) } else { Is(401) };
        Case::request(
            format!("{line} as {authorization:?}"),
            line,
            &[("Authorization", authorization), json],
            "{}",
            wanted,
        )
    };
    let reads = reads().into_iter().map(read);
    reads.chain(CHANGES.into_iter().map(change)).chain(UNALLOWED.into_iter().map(unallowed)).collect()
}
