//! Which names are asked for, one after the other: a few very often, most hardly ever (Zipf's law), the same for the same seed.

/// Draws places of a ranking: the n-th is drawn in proportion to 1/n.
pub(crate) struct Zipf {
    /// The share of the first n, for each n.
    shares: Vec<f64>,
    state: u64,
}

impl Zipf {
    pub(crate) fn new(names: usize, seed: u64) -> Self {
        let mut sum = 0.0;
        let mut shares: Vec<f64> = (1..=names)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        shares.iter_mut().for_each(|share| *share /= sum);
        Self { shares, state: seed }
    }

    /// The next one, from 0.
    pub(crate) fn draw(&mut self) -> usize {
        // 53 bits are what a double holds.
        let drawn = (self.random() >> 11) as f64 / (1_u64 << 53) as f64;
        self.shares.partition_point(|share| *share < drawn).min(self.shares.len() - 1)
    }

    /// SplitMix64. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
