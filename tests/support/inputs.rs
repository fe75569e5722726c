//! Bytes for the fuzz targets that tests run on stable.

/// So many inputs of at most that many bytes, the same every time: xorshift, since any spread will do.
pub(crate) fn inputs(count: u64, longest: usize) -> impl Iterator<Item = Vec<u8>> {
    (1..=count).map(move |seed| {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        let length = usize::from(byte()) % longest + 1;
        (0..length).map(|_| byte()).collect()
    })
}
