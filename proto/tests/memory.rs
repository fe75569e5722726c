//! What decoding may allocate: a frame of a few bytes cannot ask for more than the codec's room for one vector at each level, and a
//! long one for no more than a fixed multiple of itself.
//!
//! One test in a binary of its own, because the count is the process's.

use std::alloc::System;

use aop_proto::params::FRAME_BYTES_MAX;
use aop_proto::wire::frame;
use aop_proto::wire::message::Message;
use cap::Cap;

mod support;

#[global_allocator]
static COUNTED: Cap<System> = Cap::new(System, usize::MAX);

/// Vectors in vectors: zones of an answer, their candidates, a candidate's chain, a certificate's zone.
const LEVELS: usize = 4;
/// An empty vector is one byte on the wire and this many in memory: the worst there is.
const GROWTH: usize = size_of::<Vec<u8>>();

/// Decodes one frame. The peak is that of the whole process, so every case is given the room that all of them have.
fn within_bounds(bytes: &[u8], before: usize) {
    let decoded = Message::decode(bytes).is_ok();
    let peak = COUNTED.max_allocated().saturating_sub(before);
    let bound = 64 * 1024 + LEVELS * 2 * FRAME_BYTES_MAX + GROWTH * bytes.len();
    assert!(peak <= bound, "{peak} bytes for a frame of {} (decoded: {decoded})", bytes.len());
}

#[test]
fn decoding_allocates_no_more_than_its_bound() {
    // Short frames first: the peak only grows.
    let vectors = support::frames();
    let before = COUNTED.allocated();
    for vector in &vectors {
        for place in 8..vector.len() {
            for count in [[252, 255, 255, 255, 0], [252, 255, 255, 15, 0], [252, 0, 0, 2, 0], [252, 0, 64, 0, 0]] {
                let body = [&vector[8..place], &count, &vector[place + 1..]].concat();
                within_bounds(&frame(vector[3], &body), before);
            }
        }
    }
    // As many empty vectors as a frame holds: chains without certificates, logs without records.
    for count in [80_000_u32, 174_000, 1_000_000] {
        let chains = [&[0, 252][..], &count.to_le_bytes(), &vec![0; count as usize], &[0, 0]].concat();
        within_bounds(&frame(19, &chains), before);
    }
    let vector = [&[0_u8, 253, 255, 255, 255, 255, 255, 255, 255, 255][..]].concat();
    within_bounds(&frame(18, &vector), before);
}
