//! Streams of one HTTP/2 connection: how many it may have open, and what is said past it.

use std::io::Write;
use std::net::TcpStream;

use crate::limits::{connect, on_loopback};
use crate::support::World;
use crate::support::h2::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, block, frame, read_frame,
};

/// The error of a stream that was not begun. Source: RFC 9113 §7.
const REFUSED_STREAM: u32 = 7;
/// The setting that says how many there may be. Source: RFC 9113 §6.5.2.
const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];

#[test]
fn one_connection_has_a_hundred_streams_and_one_more_is_refused_alone() {
    const STREAMS: u32 = 100;
    let world = World::new();
    let node = on_loopback(&world, "");
    let mut stream = connect(&node);
    let get = [(":method", "POST"), (":scheme", "http"), (":path", "/v1/resolve"), (":authority", "localhost")];
    // Each is begun and waits for its body.
    let begin = |number: u32| frame(HEADERS, END_HEADERS, 2 * number + 1, &block(&get));
    let opening = [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&opening).expect("sent");
    let mut told = None;
    while told.is_none() {
        let (kind, flags, _, payload) = read_frame(&mut stream);
        if (kind, flags) == (SETTINGS, 0) {
            let most = |setting: &&[u8]| setting[..2] == MAX_CONCURRENT_STREAMS;
            let most = payload.chunks(6).find(most).map(|setting| setting[2..].to_vec());
            told = Some(most.expect("it says how many there may be"));
        }
    }
    assert_eq!(told, Some(STREAMS.to_be_bytes().to_vec()));
    stream.write_all(&frame(SETTINGS, 1, 0, &[])).expect("sent");
    stream.write_all(&(0..=STREAMS).flat_map(begin).collect::<Vec<u8>>()).expect("sent");
    let refused = loop {
        let (kind, _, stream, payload) = read_frame(&mut stream);
        assert_ne!(kind, GOAWAY, "the others go on");
        if kind == RST_STREAM {
            break (stream, payload);
        }
    };
    assert_eq!(refused, (2 * STREAMS + 1, REFUSED_STREAM.to_be_bytes().to_vec()));
    // One that ends makes room for another.
    stream.write_all(&frame(DATA, END_STREAM, 1, b"{\"q\":\"echo\"}")).expect("sent");
    let answered = |stream: &mut TcpStream, number| loop {
        let (kind, _, of, payload) = read_frame(stream);
        assert!(kind != GOAWAY && kind != RST_STREAM, "{kind} {of} {payload:?}");
        if kind == HEADERS && of == number {
            break;
        }
    };
    answered(&mut stream, 1);
    let again = 2 * (STREAMS + 1) + 1;
    stream.write_all(&begin(STREAMS + 1)).expect("sent");
    stream.write_all(&frame(DATA, END_STREAM, again, b"{\"q\":\"echo\"}")).expect("sent");
    answered(&mut stream, again);
}
