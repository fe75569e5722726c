//! Which of several instances is tried: by turn, by load, by weight, by latency.
//!
//! Two picked by chance are compared rather than all, so that many who choose at once do not choose the same. Source: Mitzenmacher,
//! *The Power of Two Choices in Randomized Load Balancing* (2001); Finagle's peak EWMA.

use std::time::Duration;

use crate::params::{LATENCY_MEMORY, WEIGHT};

/// How an instance is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// That of the node itself, to which no connection can be lost; otherwise in turn.
    #[default]
    Near,
    /// Each in turn.
    RoundRobin,
    /// Of two, the one with fewer calls under way.
    LeastConnections,
    /// By chance, in proportion to its weight.
    Weighted,
    /// Of two, the one that is expected to answer sooner.
    Latency,
}

impl Balance {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("near", Self::Near),
        ("round-robin", Self::RoundRobin),
        ("least-connections", Self::LeastConnections),
        ("weighted", Self::Weighted),
        ("latency", Self::Latency),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, balance)| *balance == self).map_or("", |(name, _)| name)
    }

    /// Which of `standings` is chosen. `turn` grows with every call, `chance` is any number. Nothing of nothing.
    pub fn choose(self, standings: &[Standing], turn: u64, chance: u64) -> Option<usize> {
        let count = u64::try_from(standings.len()).ok().filter(|count| *count > 0)?;
        let at = |number: u64| usize::try_from(number % count).unwrap_or(0);
        let (one, other) = two(chance, count);
        let better = |cost: &dyn Fn(&Standing) -> u128| {
            let (one, other) = (at(one), at(other));
            // Of equals the one whose turn it is.
            let is_other = (cost(&standings[other]), other != at(turn)) < (cost(&standings[one]), one != at(turn));
            if is_other { other } else { one }
        };
        Some(match self {
            Self::Near => standings.iter().position(|standing| standing.is_here).unwrap_or_else(|| at(turn)),
            Self::RoundRobin => at(turn),
            Self::LeastConnections => better(&|standing| u128::from(standing.load.under_way)),
            Self::Latency => better(&|standing| standing.load.expected().as_nanos()),
            Self::Weighted => by_weight(standings, chance),
        })
    }
}

/// Two different numbers below `count`, where there are two.
fn two(chance: u64, count: u64) -> (u64, u64) {
    let one = chance % count;
    let step = if count > 1 { 1 + (chance / count) % (count - 1) } else { 0 };
    (one, (one + step) % count)
}

fn by_weight(standings: &[Standing], chance: u64) -> usize {
    let weight = |standing: &Standing| u64::from(standing.weight.clamp(WEIGHT.1, WEIGHT.2));
    let mut left = chance % standings.iter().map(weight).sum::<u64>().max(1);
    let found = standings.iter().position(|standing| match left.checked_sub(weight(standing)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    found.unwrap_or(0)
}

/// What is known of an instance when one is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// It is one of the node itself.
    pub is_here: bool,
    /// What it has to do, and how fast it is.
    pub load: Load,
    /// Its share of calls where weights decide.
    pub weight: u32,
    /// Its breaker lets nothing through until then.
    pub refuses_until: Option<Duration>,
}

impl Default for Standing {
    fn default() -> Self {
        Self { is_here: false, load: Load::default(), weight: WEIGHT.0, refuses_until: None }
    }
}

/// The work of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Attempts under way.
    pub under_way: u32,
    /// Time an attempt takes of late; nothing when none has ended.
    latency: Option<(Duration, Duration)>,
}

impl Load {
    /// An attempt begins.
    pub fn begin(&mut self) {
        self.under_way = self.under_way.saturating_add(1);
    }

    /// One ended at `now`, after `took` where it says how fast the endpoint is. A slow one counts at once, fast ones little by little.
    pub fn end(&mut self, now: Duration, took: Option<Duration>) {
        self.under_way = self.under_way.saturating_sub(1);
        let Some(took) = took else { return };
        let latency = match self.latency {
            Some((before, at)) if took < before => {
                // Linear instead of exponential: the same in every run, and as forgetful.
                let (since, memory) = (now.saturating_sub(at).as_nanos(), LATENCY_MEMORY.as_nanos());
                let gone = (before - took).as_nanos() * since / (since + memory);
                before - Duration::from_nanos(u64::try_from(gone).unwrap_or(u64::MAX))
            }
            _ => took,
        };
        self.latency = Some((latency, now));
    }

    /// Time an attempt takes of late.
    pub fn latency(&self) -> Option<Duration> {
        self.latency.map(|(latency, _)| latency)
    }

    /// When an attempt begun now may be expected to end: nothing for who was never tried, so that he is.
    fn expected(&self) -> Duration {
        self.latency.map_or(Duration::ZERO, |(latency, _)| latency).saturating_mul(self.under_way.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn chances() -> impl Iterator<Item = u64> {
        (1..=10_000_u64).map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17))
    }

    fn counts(balance: Balance, standings: &[Standing]) -> Vec<usize> {
        let mut counts = vec![0; standings.len()];
        for (turn, chance) in chances().enumerate() {
            counts[balance.choose(standings, turn as u64, chance).expect("one")] += 1;
        }
        counts
    }

    fn busy(under_way: u32, latency: Option<Duration>) -> Standing {
        let mut load = Load { under_way: under_way + 1, latency: None };
        load.end(MS, latency);
        Standing { load: Load { under_way, ..load }, ..Standing::default() }
    }

    #[test]
    fn turns_are_equal_and_the_node_itself_is_nearest() {
        let mut all = vec![Standing::default(); 4];
        assert_eq!(counts(Balance::RoundRobin, &all), [2_500; 4]);
        assert_eq!(counts(Balance::Near, &all), [2_500; 4]);
        all[2].is_here = true;
        assert_eq!(counts(Balance::Near, &all), [0, 0, 10_000, 0]);
        assert!(Balance::ALL.into_iter().all(|(_, balance)| balance.choose(&[], 1, 1).is_none()));
    }

    #[test]
    fn the_busiest_of_several_is_never_chosen_and_the_idlest_most() {
        let all = [busy(9, None), busy(0, None), busy(5, None)];
        let [most, least, middle] = counts(Balance::LeastConnections, &all)[..] else { panic!("three") };
        assert!(most == 0 && least > 6_000 && middle > 3_000, "{most} {least} {middle}");
    }

    #[test]
    fn weights_are_shares() {
        let weighing = |weight| Standing { weight, ..Standing::default() };
        let [one, three] = counts(Balance::Weighted, &[weighing(1), weighing(3)])[..] else { panic!("two") };
        assert!((2_300..2_700).contains(&one) && one + three == 10_000, "{one}");
        assert!(counts(Balance::Weighted, &[weighing(0), weighing(u32::MAX)])[1] > 9_000);
    }

    #[test]
    fn the_sooner_answer_counts_and_who_was_never_tried_is() {
        let (fast, slow) = (busy(0, Some(MS)), busy(0, Some(20 * MS)));
        assert_eq!(counts(Balance::Latency, &[fast, slow]), [10_000, 0]);
        let (crowded, idle) = (busy(30, Some(MS)), busy(0, Some(20 * MS)));
        assert_eq!(counts(Balance::Latency, &[crowded, idle]), [0, 10_000]);
        assert_eq!(counts(Balance::Latency, &[fast, busy(3, None)]), [0, 10_000]);
    }

    #[test]
    fn a_slow_answer_is_remembered_and_forgotten_in_time() {
        let mut load = Load::default();
        let mut end = |at: Duration, took: Duration| {
            load.begin();
            load.end(at, Some(took));
            load.latency().expect("measured")
        };
        assert_eq!(end(MS, MS), MS);
        assert_eq!(end(2 * MS, 100 * MS), 100 * MS);
        assert!(end(3 * MS, MS) > 99 * MS);
        let halved = end(3 * MS + LATENCY_MEMORY, MS);
        assert!(halved > 45 * MS && halved < 55 * MS, "{halved:?}");
        load.begin();
        load.end(MS, None);
        assert_eq!(load.latency(), Some(halved));
    }

    #[test]
    fn two_are_two() {
        for count in 2..20 {
            for chance in chances().take(500) {
                let (one, other) = two(chance, count);
                assert!(one != other && one < count && other < count);
            }
        }
        assert_eq!(two(7, 1), (0, 0));
    }
}
