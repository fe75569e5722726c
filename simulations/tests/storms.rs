//! Storms of some seeds (see `aop_simulations::storm`); `cargo sim swarm` goes on with others.

use aop_simulations::storm::storm;

fn pass(seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        if let Err(what) = storm(seed, false) {
            panic!("seed {seed}: {what}");
        }
    }
}

#[test]
fn whatever_happens_all_is_well_after_it() {
    pass(1..=6);
}

/// Seeds that once ended badly, each for its own reason.
#[test]
fn seeds_that_found_something() {
    pass([
        11,
        12,
        60,
        218,
        304,
        949,
        3709,
        777_076,
        777_253,
        777_353,
        777_455,
        950_129,
        3_000_170,
        7_000_058,
        8_000_010,
        8_000_105,
        8_100_031,
        30_000_128,
        60_001_313,
        80_000_447,
        90_003_408,
        110_001_622,
        130_003_954,
        160_002_205,
    ]);
}
