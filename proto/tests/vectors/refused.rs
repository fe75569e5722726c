//! Bytes that are refused: what no reader may take for a value, each with what is wrong with it.

use serde_json::{Value, json};

use crate::support::hex;

/// The entries of `refused.json`, as they should stand there: a type, bytes that are none of its values, and why. Those with the
/// number of a kind are frames.
pub(crate) fn refused() -> Vec<Value> {
    let leave = |name, bytes: &[u8]| frame(name, "Leave", 4, bytes);
    let header = |name, bytes: &[u8]| entry(name, "Leave", Some(4), bytes);
    vec![
        header("another magic", b"AP\x01\x04\x01\0\0\0\x05"),
        header("another version", b"AO\x02\x04\x01\0\0\0\x05"),
        header("half a header", b"AO\x01\x04"),
        header("a length beyond the body", b"AO\x01\x04\x02\0\0\0\x05"),
        header("a length short of the body", b"AO\x01\x04\x01\0\0\0\x05\0"),
        header("a length beyond every frame", b"AO\x01\x04\xff\xff\xff\xff\x05"),
        leave("an empty body", &[]),
        leave("5 in three bytes", &[0xfb, 5, 0]),
        leave("250 in three bytes", &[0xfb, 250, 0]),
        leave("65535 in five bytes", &[0xfc, 255, 255, 0, 0]),
        leave("2^32-1 in nine bytes", &[0xfd, 255, 255, 255, 255, 0, 0, 0, 0]),
        leave("a number of sixteen bytes", &[&[0xfe][..], &[1; 16]].concat()),
        leave("a marker of nothing", &[0xff]),
        leave("half a number", &[0xfc, 0, 0, 1]),
        leave("a byte left over", &[5, 0]),
        frame("2^32 for 32 bits", "Busy", 21, &[0xfd, 0, 0, 0, 0, 1, 0, 0, 0]),
        frame("2 for a bool", "Members", 27, &[0, 2]),
        frame("text that is no UTF-8", "Refuse", 3, &[1, 0xff]),
        frame("a surrogate in text", "Refuse", 3, &[3, 0xed, 0xa0, 0x80]),
        frame("text longer than the body", "Refuse", 3, &[2, b'a']),
        frame("a count in three bytes", "Buckets", 17, &[0xfb, 1, 0, 7]),
        frame("more items than the body", "Buckets", 17, &[2, 7]),
        frame("2^64-1 items", "Buckets", 17, &[&[0xfd][..], &[255; 8]].concat()),
        frame("half a hash", "Digest", 16, &[0xd1; 8]),
        frame("2 for an option", "Hello", 1, &[1, b'z', 0, 0, 2, 0, 0, 0, 0, 1, 1]),
        entry("half an origin", "Origin", None, &[7; 31]),
        entry("a head without its root", "Head", None, &[1, 0, 1]),
    ]
}

fn frame(name: &str, of: &str, kind: u8, body: &[u8]) -> Value {
    entry(name, of, Some(kind), &aop_proto::wire::frame(kind, body))
}

fn entry(name: &str, of: &str, kind: Option<u8>, bytes: &[u8]) -> Value {
    let mut entry = json!({"name": name, "type": of, "bytes": hex(bytes)});
    if let Some(kind) = kind {
        entry["kind"] = kind.into();
    }
    entry
}
