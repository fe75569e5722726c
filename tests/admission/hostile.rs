//! The fuzz target of `entry`, on stable, with the same inputs every time.

use crate::entry;

/// Inputs it is given; together about a second in a debug build.
const INPUTS: u64 = 1_500;

fn inputs() -> impl Iterator<Item = Vec<u8>> {
    crate::support::inputs::inputs(INPUTS, 16)
}

#[test]
fn only_the_very_words_that_were_handed_out_open_anything() {
    inputs().for_each(|bytes| entry::token(&bytes));
    for text in ["", ".", "..", "a.b.c", "e30.e30.", "eyJhbGciOiJub25lIn0.e30.", "sha256:", "aop_", "\u{202e}", "é.é.é"]
    {
        entry::token(text.as_bytes());
    }
}
