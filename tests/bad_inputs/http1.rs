//! HTTP/1 that is none, or that two readers could understand differently.

use super::case::Case;
use super::case::Wanted::{self, Client, Harmless, Is, Refused};

/// `GET /livez`, which is answered with 200 when nothing is wrong with it, and these header lines.
fn get(name: &str, headers: &str, wanted: Wanted) -> Case {
    Case::raw(name, format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"), wanted)
}

/// The same of a question that is read to the end of its body.
fn post(name: &str, headers: &str, body: &str, wanted: Wanted) -> Case {
    let head = format!("POST /v1/resolve HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n{body}");
    Case::raw(name, head, wanted)
}

fn line(name: &str, line: &str, wanted: Wanted) -> Case {
    Case::raw(name, format!("{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n"), wanted)
}

fn host(name: &str, host: &str, wanted: Wanted) -> Case {
    Case::raw(name, format!("GET /livez HTTP/1.1\r\n{host}Connection: close\r\n\r\n"), wanted)
}

pub(crate) fn cases() -> Vec<Case> {
    [smuggling(), chunks(), headers(), lines(), hosts(), ends()].into_iter().flatten().collect()
}

fn smuggling() -> Vec<Case> {
    let second = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    vec![
        post("a length and chunks", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG", Client),
        post("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\nG", Client),
        post(
            "a request behind the chunks",
            "Content-Length: 99\r\nTransfer-Encoding: chunked\r\n",
            &format!("0\r\n\r\n{second}"),
            Client,
        ),
        post("two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n", "{} ", Client),
        post("two lengths in one line", "Content-Length: 2, 3\r\n", "{} ", Client),
        post("a negative length", "Content-Length: -1\r\n", "{}", Client),
        post("a length with a sign", "Content-Length: +2\r\n", "{}", Client),
        post("a length in hex", "Content-Length: 0x2\r\n", "{}", Client),
        post("a length with a blank inside", "Content-Length: 1 1\r\n", "{}", Client),
        post("a length beyond 64 bits", "Content-Length: 99999999999999999999\r\n", "{}", Client),
        post("a length of nothing", "Content-Length:\r\n", "{}", Client),
        post("a length in words", "Content-Length: two\r\n", "{}", Client),
        post("a length of other digits", "Content-Length: ２\r\n", "{}", Client),
        post("chunked twice", "Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n", Harmless),
        post("chunked and not last", "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n", Client),
        post("an unknown coding", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n", Client),
        post("a coding with a control character", "Transfer-Encoding: \u{b}chunked\r\n", "0\r\n\r\n", Client),
        post("a blank before the colon", "Transfer-Encoding : chunked\r\n", "0\r\n\r\n", Client),
        post("two codings", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Harmless),
        Case::raw(
            "chunks of HTTP/1.0",
            "POST /v1/resolve HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Client,
        ),
        get("a body nobody asked for", &format!("Content-Length: {}\r\n\r\n{second}", second.len()), Is(200)),
    ]
}

fn chunks() -> Vec<Case> {
    let chunked = |name, body: &str, wanted| post(name, "Transfer-Encoding: chunked\r\n", body, wanted);
    vec![
        chunked("a chunk size beyond 64 bits", "FFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n", Refused),
        chunked("the largest chunk size", "FFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n", Refused).then_ends(),
        chunked("a negative chunk size", "-1\r\n{}\r\n0\r\n\r\n", Refused),
        chunked("a chunk size with 0x", "0x2\r\n{}\r\n0\r\n\r\n", Refused),
        chunked("no chunk size", "\r\n{}\r\n0\r\n\r\n", Refused),
        chunked("a chunk longer than it says", "2\r\n{}{}\r\n0\r\n\r\n", Refused),
        chunked("a chunk that ends with LF only", "2\r\n{}\n0\r\n\r\n", Refused),
        chunked("an extension with a bare LF", "2;a\nb\r\n{}\r\n0\r\n\r\n", Refused),
        chunked("an extension of 64 KiB", &format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(64 << 10)), Refused),
        chunked("trailers of 64 KiB", &format!("0\r\nX: {}\r\n\r\n", "x".repeat(64 << 10)), Refused),
        chunked("a trailer that names a length", "0\r\nContent-Length: 9\r\n\r\n", Client),
        chunked("no last chunk", "2\r\n{}\r\n", Refused).then_ends(),
        chunked("garbage for chunks", "\u{0}\u{1}\u{2}\u{3}", Refused),
    ]
}

fn headers() -> Vec<Case> {
    let many: String = (0..2000).map(|n| format!("X-{n}: y\r\n")).collect();
    vec![
        get("a folded header", "X-Folded: one\r\n two\r\n", Client),
        get("a header folded before any", " X: y\r\n", Client),
        get("NUL in a value", "X: a\0b\r\n", Client),
        get("NUL in a name", "X\0: a\r\n", Client),
        get("CR in a value", "X: a\rb\r\n", Client),
        get("ESC in a value", "X: \u{1b}[2J\r\n", Client),
        get("no colon", "this is no header\r\n", Client),
        get("no name", ": value\r\n", Client),
        get("a name that is no token", "X@Y(Z): 1\r\n", Client),
        get("a name in Greek", "Ξ: 1\r\n", Client),
        get("a header of 100 KiB", &format!("X: {}\r\n", "x".repeat(100 << 10)), Harmless),
        get("a header of 1 MiB", &format!("X: {}\r\n", "x".repeat(1 << 20)), Refused),
        get("a name of 100 KiB", &format!("{}: x\r\n", "X".repeat(100 << 10)), Refused),
        get("2,000 headers", &many, Client),
        get("lines that end with LF only", "X: y\nZ: a\r\n", Harmless),
        get(
            "an upgrade to HTTP/2",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            Is(200),
        ),
        get("an upgrade to a web socket", "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n", Is(200)),
        get("an upgrade to nothing", "Upgrade: \r\n", Harmless),
        get("an origin elsewhere", "Origin: http://evil.example\r\n", Is(403)),
        get("an origin of nowhere", "Origin: null\r\n", Is(403)),
        get("two origins", "Origin: http://localhost\r\nOrigin: http://evil.example\r\n", Is(403)),
        get("an origin that is no text", "Origin: \u{80}\u{ff}\r\n", Is(403)),
        post("a body that may be 5 MB", "Expect: 100-continue\r\nContent-Length: 5000000\r\n", "", Client).then_ends(),
        post("another expectation", "Expect: a-miracle\r\nContent-Length: 2\r\n", "{}", Client),
        post("a body in gzip", "Content-Encoding: gzip\r\nContent-Length: 4\r\n", "\u{1f}\u{8}ab", Client),
    ]
}

fn lines() -> Vec<Case> {
    vec![
        line("a method in lower case", "get /livez HTTP/1.1", Is(405)),
        line("an unknown method", "BREW /livez HTTP/1.1", Is(405)),
        line("a method of 10 KiB", &format!("{} /livez HTTP/1.1", "X".repeat(10 << 10)), Client),
        line("a method that is no token", "G@T /livez HTTP/1.1", Client),
        line("no method", " /livez HTTP/1.1", Client),
        line("no path", "GET HTTP/1.1", Client),
        line("two blanks", "GET  /livez HTTP/1.1", Client),
        line("a path with a blank", "GET /li vez HTTP/1.1", Client),
        line("a path without a slash", "GET livez HTTP/1.1", Client),
        line("a path of 100 KiB", &format!("GET /{} HTTP/1.1", "x".repeat(100 << 10)), Client),
        line("NUL in the path", "GET /li\0vez HTTP/1.1", Client),
        line("ESC in the path", "GET /li\u{1b}vez HTTP/1.1", Client),
        line("a fragment", "GET /livez#x HTTP/1.1", Harmless),
        line("HTTP/1.2", "GET /livez HTTP/1.2", Client),
        line("HTTP/2.0 in words", "GET /livez HTTP/2.0", Client),
        line("HTTP/3.0 in words", "GET /livez HTTP/3.0", Client),
        line("HTTP/1.1 in lower case", "GET /livez http/1.1", Client),
        line("no version", "GET /livez", Client),
        line("a tunnel", "CONNECT evil.example:443 HTTP/1.1", Client),
        line("a tunnel to this node", "CONNECT localhost:80 HTTP/1.1", Client),
        line("what it can do at all", "OPTIONS * HTTP/1.1", Client),
        line("a trace", "TRACE /livez HTTP/1.1", Is(405)),
        line("another host's address", "GET http://evil.example/livez HTTP/1.1", Is(403)),
        line(
            "another host's address with a name before it",
            "GET http://localhost@evil.example/livez HTTP/1.1",
            Client,
        ),
        line("a file", "GET file:///etc/passwd HTTP/1.1", Client),
    ]
}

fn hosts() -> Vec<Case> {
    vec![
        host("no host", "", Is(403)),
        host("two hosts", "Host: localhost\r\nHost: evil.example\r\n", Is(403)),
        host("the same host twice", "Host: localhost\r\nHost: localhost\r\n", Is(403)),
        host("an empty host", "Host:\r\n", Is(403)),
        host("another host", "Host: evil.example\r\n", Is(403)),
        host("a host that begins like ours", "Host: localhost.evil.example\r\n", Is(403)),
        host("a name before the host", "Host: localhost@evil.example\r\n", Is(403)),
        host("a name before our host", "Host: evil.example@localhost\r\n", Is(403)),
        host("a host with a path", "Host: localhost/x\r\n", Is(403)),
        host("two hosts in one line", "Host: localhost, evil.example\r\n", Is(403)),
        host("a port that is none", "Host: localhost:99999999\r\n", Harmless),
        host("a host that is no text", "Host: \u{80}\u{ff}\r\n", Is(403)),
        host("a host with letters like ours", "Host: lоcalhost\r\n", Is(403)),
        host("a bracket that stays open", "Host: [::1\r\n", Is(403)),
        Case::raw("HTTP/1.0 without a host", "GET /livez HTTP/1.0\r\n\r\n", Is(403)),
    ]
}

/// Nothing like HTTP, and what is broken off.
fn ends() -> Vec<Case> {
    let pipelined = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n\0\u{1}\u{2} garbage\r\n\r\n";
    vec![
        Case::raw("a client hello of TLS", &b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"[..], Refused).then_ends(),
        Case::raw("SSH", "SSH-2.0-OpenSSH_9.9\r\n", Refused),
        Case::raw("SMTP", "EHLO example.org\r\n\r\n", Refused),
        Case::raw("Redis", "*1\r\n$4\r\nPING\r\n", Refused),
        Case::raw("SOCKS", &b"\x05\x01\x00"[..], Refused).then_ends(),
        Case::raw("a megabyte of NUL", vec![0; 1 << 20], Refused),
        Case::raw("a megabyte of letters", vec![b'A'; 1 << 20], Refused),
        Case::raw("empty lines without end", "\r\n".repeat(100_000), Refused).then_ends(),
        Case::raw("HTTP/0.9", "GET /livez\r\n", Refused).then_ends(),
        Case::raw("nothing", "", Refused).then_ends(),
        Case::raw("half a line, then the end", "GET /li", Refused).then_ends(),
        Case::raw("half a header, then the end", "GET /livez HTTP/1.1\r\nHost: loc", Refused).then_ends(),
        Case::raw("half a header, then silence", "GET /livez HTTP/1.1\r\nHost: loc", Refused),
        Case::raw("one letter, then silence", "G", Refused),
        post("half a body, then the end", "Content-Length: 100\r\n", "{\"q\":", Refused).then_ends(),
        Case::raw("garbage behind a request", pipelined, Is(200)),
    ]
}
