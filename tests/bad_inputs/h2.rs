//! HTTP/2 that breaks its own rules, frame by frame. Source of the rules: RFC 9113.

use super::case::Case;
use super::case::Wanted::{Harmless, Refused};
use crate::support::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, block, frame,
};

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/livez"), (":authority", "localhost")];

/// Preface, settings and these frames.
fn after_settings(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames.concat()].concat()
}

/// One request of these fields.
fn asks(name: &str, fields: &[(&str, &str)]) -> Case {
    Case::h2(name, after_settings(&[frame(HEADERS, WHOLE, 1, &block(fields))]), Refused)
}

/// `GET /livez` with these fields behind its own.
fn also(name: &str, fields: &[(&str, &str)]) -> Case {
    asks(name, &[&GET, fields].concat())
}

/// These frames behind the settings.
fn sends(name: &str, frames: &[Vec<u8>]) -> Case {
    Case::h2(name, after_settings(frames), Refused)
}

pub(crate) fn cases() -> Vec<Case> {
    [connections(), frames(), fields(), floods()].into_iter().flatten().collect()
}

fn connections() -> Vec<Case> {
    let setting = |name: &str, id: u16, value: u32| {
        sends(name, &[frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())])
    };
    vec![
        Case::h2("another preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(), Refused),
        Case::h2("half a preface", PREFACE[..20].to_vec(), Refused).then_ends(),
        Case::h2(
            "HTTP/1 behind the preface",
            [PREFACE, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat(),
            Refused,
        ),
        Case::h2("no settings first", [PREFACE, &frame(PING, 0, 0, &[0; 8])].concat(), Refused),
        sends("settings of five bytes", &[frame(SETTINGS, 0, 0, &[0; 5])]),
        sends("settings of a stream", &[frame(SETTINGS, 0, 1, &[])]),
        sends("acknowledged settings with a payload", &[frame(SETTINGS, 1, 0, &[0; 6])]),
        setting("a frame size of nothing", 5, 0),
        setting("a window of 2^31", 4, 1 << 31),
        setting("a push that is neither on nor off", 2, 2),
        sends("a ping of seven bytes", &[frame(PING, 0, 0, &[0; 7])]),
        sends("a ping of a stream", &[frame(PING, 0, 1, &[0; 8])]),
        sends("a goodbye of a stream", &[frame(GOAWAY, 0, 1, &[0; 8])]),
        sends("a window that grows by nothing", &[frame(WINDOW_UPDATE, 0, 0, &[0; 4])]),
        sends("a window beyond 2^31", &[frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])]),
        sends("a frame of 16 MiB", &[vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]]),
    ]
}

fn frames() -> Vec<Case> {
    let get = block(&GET);
    vec![
        sends("fields of stream 0", &[frame(HEADERS, WHOLE, 0, &get)]),
        sends("fields of an even stream", &[frame(HEADERS, WHOLE, 2, &get)]),
        sends("data of stream 0", &[frame(DATA, END_STREAM, 0, b"x")]),
        sends("data before fields", &[frame(DATA, END_STREAM, 1, b"x")]),
        sends("the end of a stream that never began", &[frame(RST_STREAM, 0, 1, &[0; 4])]),
        sends(
            "the end of a stream in three bytes",
            &[frame(HEADERS, END_HEADERS, 1, &get), frame(RST_STREAM, 0, 1, &[0; 3])],
        ),
        sends("a continuation of nothing", &[frame(CONTINUATION, END_HEADERS, 1, &get)]),
        sends("data amid fields", &[frame(HEADERS, 0, 1, &get), frame(DATA, END_STREAM, 1, b"x")]),
        sends("fields of another stream amid fields", &[frame(HEADERS, 0, 1, &get), frame(HEADERS, WHOLE, 3, &get)]),
        sends("a priority of four bytes", &[frame(PRIORITY, 0, 1, &[0; 4])]),
        sends("a promise of a client", &[frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &get].concat())]),
        sends("padding longer than the frame", &[frame(HEADERS, WHOLE | PADDED, 1, &[&[255][..], &get].concat())]),
        sends("a stream that goes back", &[frame(HEADERS, END_HEADERS, 5, &get), frame(HEADERS, WHOLE, 3, &get)]),
    ]
}

fn fields() -> Vec<Case> {
    let raw = |name: &str, bytes: &[u8]| sends(name, &[frame(HEADERS, WHOLE, 1, bytes)]);
    vec![
        raw("an index of no field", &[0xff, 0xff, 0x7f]),
        raw("index 0", &[0x80]),
        raw("an index without end", &[0xff; 64]),
        raw("a table of 4 GiB", &[0x3f, 0xe1, 0xff, 0xff, 0xff, 0x0f]),
        raw("a name longer than the block", &[0x00, 0x7e, b'x']),
        raw("a code of Huffman that is none", &[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00]),
        raw("no fields", &[]),
        asks("no path", &[(":method", "GET"), (":scheme", "http"), (":authority", "localhost")]),
        asks("no method", &[(":scheme", "http"), (":path", "/livez"), (":authority", "localhost")]),
        asks("an empty path", &[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "localhost")]),
        asks(
            "a path without a slash",
            &[(":method", "GET"), (":scheme", "http"), (":path", "livez"), (":authority", "localhost")],
        ),
        asks(
            "another host",
            &[(":method", "GET"), (":scheme", "http"), (":path", "/livez"), (":authority", "evil.example")],
        ),
        asks("no host", &[(":method", "GET"), (":scheme", "http"), (":path", "/livez")]),
        asks("a tunnel", &[(":method", "CONNECT"), (":authority", "evil.example:443")]),
        also("a second method", &[(":method", "POST")]),
        also("an unknown pseudo field", &[(":evil", "1")]),
        also("a pseudo field of answers", &[(":status", "200")]),
        also("a name in upper case", &[("X-Upper", "1")]),
        also("a name with a blank", &[("x y", "1")]),
        also("an empty name", &[("", "1")]),
        also("CR and LF in a value", &[("x", "a\r\nhost: evil.example")]),
        also("NUL in a value", &[("x", "a\0b")]),
        also("a field of the connection", &[("connection", "close")]),
        also("a transfer coding", &[("transfer-encoding", "chunked")]),
        also("a host besides the authority", &[("host", "evil.example")]),
        also("an origin elsewhere", &[("origin", "http://evil.example")]),
        also("a body that does not come", &[("content-length", "10")]),
        also("a length in words", &[("content-length", "ten")]),
        also("a pseudo field behind others", &[("x", "y"), (":path", "/v1/status")]),
    ]
}

fn floods() -> Vec<Case> {
    let get = block(&GET);
    let resets = (0..2_000)
        .map(|n| [frame(HEADERS, WHOLE, 2 * n + 1, &get), frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])].concat());
    let continued = std::iter::once(frame(HEADERS, 0, 1, &get))
        .chain((0..5_000).map(|_| frame(CONTINUATION, 0, 1, &block(&[("x", "y")]))));
    let large = block(&[("x", &"y".repeat(16_000))]);
    let list = std::iter::once(frame(HEADERS, 0, 1, &get)).chain((0..100).map(|_| frame(CONTINUATION, 0, 1, &large)));
    vec![
        Case::h2("2,000 requests taken back at once", after_settings(&resets.collect::<Vec<_>>()), Harmless),
        sends("fields that never end", &continued.collect::<Vec<_>>()),
        sends("fields of 1.6 MB", &list.collect::<Vec<_>>()),
        Case::h2("20,000 pings", after_settings(&vec![frame(PING, 0, 0, &[0; 8]); 20_000]), Harmless).then_ends(),
        Case::h2("20,000 settings", after_settings(&vec![frame(SETTINGS, 0, 0, &[]); 20_000]), Harmless).then_ends(),
        Case::h2(
            "20,000 empty frames",
            after_settings(&[frame(HEADERS, END_HEADERS, 1, &get), frame(DATA, 0, 1, &[]).repeat(20_000)]),
            Harmless,
        ),
    ]
}
