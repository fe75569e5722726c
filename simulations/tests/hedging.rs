//! Another instance beside a slow or silent one, with the very rules the node runs: what it gains, what it costs, and for whom it is not
//! done.
//!
//! An instance answers soon, or now and then late. The first answer ends a call, and whoever else was asked is asked no more.

use std::time::Duration;

use aop_proto::call::{Budget, Plan, Policy, Standing, Step};
use aop_proto::params::BREAKER_TIME_MIN;
use aop_proto::record::NodeId;
use aop_proto::wire::message::{Health, Instance};

const MS: Duration = Duration::from_millis(1);
const CALLS: u64 = 20_000;
const LATE: Duration = Duration::from_secs(1);

/// SplitMix64.
fn chance(number: u64) -> u64 {
    let mut number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// In so many of a hundred cases an instance is late.
fn answers_within(number: u64, late_percent: u64) -> Duration {
    let chance = chance(number);
    if chance % 100 < late_percent { LATE } else { MS * (5 + (chance >> 32) as u32 % 10) }
}

/// Three instances, all up.
fn three() -> [Instance; 3] {
    [1, 2, 3].map(|number| Instance {
        node: NodeId([number; 32]),
        address: String::new(),
        health: Health::Ok,
        error: String::new(),
        since_ms: 0,
    })
}

/// What so many calls took, sorted, and how many attempts they cost.
fn run(policy: &Policy, late_percent: u64) -> (Vec<Duration>, u64) {
    let instances = three();
    let (mut budget, mut took, mut attempts) = (Budget::default(), Vec::new(), 0);
    for call in 0..CALLS {
        budget.on_call(policy.retry_share);
        let now = MS * 20 * call as u32;
        let mut plan = Plan::new(&instances, policy.clone(), None, call, now + LATE * 10);
        let Step::Try(first) = plan.next(now, chance(call), &mut budget, |_| Standing::default()) else {
            panic!("all are up")
        };
        let mut within = answers_within(call * 2, late_percent);
        if let Some(after) = plan.hedges_after(now, None).filter(|after| *after < within)
            && let Some(second) = plan.hedge(now + after, chance(!call), &mut budget, |_| Standing::default())
        {
            assert_ne!(first.node, second.node);
            within = within.min(after + answers_within(call * 2 + 1, late_percent));
        }
        attempts += u64::from(plan.tried());
        took.push(within);
    }
    took.sort();
    (took, attempts)
}

fn percentile(took: &[Duration], percent: usize) -> Duration {
    took[took.len() * percent / 100]
}

#[test]
fn a_late_instance_is_not_waited_for_and_an_outage_costs_no_more_than_the_budget() {
    let read_only = Policy { read_only: true, ..Policy::default() };
    let hedged = Policy { hedge: Some(MS * 20), ..read_only.clone() };
    let (plain, attempts) = run(&read_only, 3);
    assert_eq!((percentile(&plain, 99), attempts), (LATE, CALLS));
    let (took, attempts) = run(&hedged, 3);
    assert!(percentile(&took, 99) <= MS * 35, "{:?}", percentile(&took, 99));
    assert!((CALLS * 102 / 100..CALLS * 104 / 100).contains(&attempts), "{attempts}");
    // All are late: what is tried besides stays a share of the calls.
    let (_, attempts) = run(&hedged, 100);
    let share = CALLS * u64::from(hedged.retry_share) / 100;
    assert!(attempts <= CALLS + share + 100, "{attempts}");
}

#[test]
fn nothing_that_may_change_something_is_asked_of_two_at_once() {
    for policy in [Policy::default(), Policy { idempotent: true, ..Policy::default() }] {
        let (_, attempts) = run(&Policy { hedge: Some(MS), ..policy }, 50);
        assert_eq!(attempts, CALLS);
    }
}

/// One of three never answers. Its breaker is not in the play: that is about the time until it opens.
#[test]
fn a_call_that_may_be_repeated_does_not_fail_with_an_instance_that_hangs() {
    let idempotent = Policy { idempotent: true, ..Policy::default() };
    let hangs = NodeId([2; 32]);
    let instances = three();
    let (mut budget, usual, mut hung) = (Budget::default(), Some(MS * 10), 0);
    for call in 0..60 {
        budget.on_call(idempotent.retry_share);
        let now = LATE * 10 * call as u32;
        let deadline = now + LATE * 5;
        let mut plan = Plan::new(&instances, idempotent.clone(), None, call, deadline);
        let Step::Try(first) = plan.next(now, chance(call), &mut budget, |_| Standing::default()) else {
            panic!("all are up")
        };
        if first.node != hangs {
            continue;
        }
        hung += 1;
        let after = plan.hedges_after(now, usual).expect("another is left");
        assert_eq!(after, BREAKER_TIME_MIN);
        let other = plan.hedge(now + after, chance(!call), &mut budget, |_| Standing::default());
        assert!(other.is_some_and(|other| other.node != hangs), "call {call}");
    }
    assert!(hung > 9, "{hung}");
}
