//! P7: no answer is older than it says. Federations of three levels under everything that makes answers old, each answer held against the
//! history of every tool.

#[path = "freshness/federation.rs"]
mod federation;
#[path = "freshness/judge.rs"]
mod judge;
#[path = "freshness/model.rs"]
mod model;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use aop_proto::node::{Input, Output};
use aop_proto::resolver::Source;
use aop_proto::wire::message::{Message, ZoneAnswer};
use aop_simulations::World;
use aop_simulations::world::HostId;

use federation::{Federation, Plan};
use judge::Tally;

/// Replicas that write, are cut from each other and answer for each other.
const fn short(seed: u64) -> Plan {
    let replicas_max = if seed.is_multiple_of(4) { 3 } else { 2 };
    Plan { seed, time: Duration::from_secs(30), pause: Duration::from_millis(400), replicas_max, faults: true }
}

/// Longer than anything is kept; zones of one node each, since the gossip of replicas is most of the work.
const fn long(seed: u64) -> Plan {
    Plan { seed, time: Duration::from_secs(1_000), pause: Duration::from_secs(8), replicas_max: 1, faults: true }
}

fn run(plans: impl IntoIterator<Item = Plan>) -> Tally {
    let mut tally = Tally::default();
    plans.into_iter().for_each(|plan| tally.add(&Federation::new(plan).run()));
    println!("{tally:?}");
    tally
}

#[test]
fn no_answer_is_older_than_it_says() {
    let tally = run((1..=48).map(short));
    assert!(tally.telling > 1000 && tally.told > 100 && tally.denials > 100 && tally.silences > 100, "{tally:?}");
}

#[test]
fn nothing_is_kept_for_longer_than_its_life() {
    let tally = run((101..=112).map(long));
    assert!(tally.cached > 100 && tally.stale > 10, "{tally:?}");
}

/// As many others as there is time for: five minutes each, and all of it at once.
#[test]
#[ignore = "long"]
fn no_answer_is_older_than_it_says_in_many_more_worlds() {
    let more = |seed| {
        [
            Plan { time: Duration::from_secs(300), replicas_max: 3, ..short(seed) },
            Plan { replicas_max: 2, ..long(seed) },
        ]
    };
    run((1_000..1_200).flat_map(more));
}

/// One of a few federations ends for that reason once all of its nodes have this defect.
fn turns_red(seeds: impl IntoIterator<Item = Plan>, why: &str, plant: impl Fn(&mut World, HostId)) {
    let mut seen = Vec::new();
    for plan in seeds {
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let mut made = Federation::new(plan);
            made.world.hosts().for_each(|host| plant(&mut made.world, host));
            made.run();
        }));
        let Err(error) = ran else { continue };
        let what = error.downcast_ref::<String>().cloned().unwrap_or_default();
        if what.contains(why) {
            return;
        }
        seen.push(what);
    }
    panic!("nothing said {why:?}, but {seen:?}");
}

/// Changes what a node says of zones that are not its own: what it kept, or hands on.
fn plant_handing_on(world: &mut World, host: HostId, mut change: impl FnMut(&mut ZoneAnswer) + 'static) {
    let own = world.id(host);
    world.doctor_frames(host, move |mut message| {
        if let Message::Answer(answer) = &mut message {
            answer.zones.iter_mut().filter(|zone| zone.node != own).for_each(&mut change);
        }
        Some(message)
    });
}

#[test]
fn planted_cache_that_does_not_grow_older_turns_it_red() {
    turns_red((1..=8).map(short), "invariant 10: ", |world, host| {
        world.doctor_saying(host, |output| match output {
            Output::Resolved { token, mut outcome, found } => {
                let kept = outcome.answers.iter_mut().filter(|(source, _)| *source == Source::L2);
                kept.for_each(|(_, checked)| checked.answer.age_ms = 0);
                Some(Output::Resolved { token, outcome, found })
            }
            other => Some(other),
        });
    });
}

#[test]
fn planted_lifetime_that_begins_anew_where_it_is_handed_on_turns_it_red() {
    turns_red((1..=8).map(short), "good for", |world, host| {
        plant_handing_on(world, host, |zone| zone.ttl_ms = 900_000);
    });
}

/// Whatever a name was when it was first heard of is said for ever, and every time as if it had just been heard.
#[test]
fn planted_answer_that_is_said_again_after_it_ended_turns_it_red() {
    turns_red((1..=8).map(short), "did not show", |world, host| {
        let mut first: BTreeMap<(String, u64), ZoneAnswer> = BTreeMap::new();
        plant_handing_on(world, host, move |zone| {
            let key = (zone.zone.clone(), zone.frequencies.len() as u64 + 100 * zone.matches);
            let kept = first.entry(key).or_insert_with(|| zone.clone());
            zone.candidates.clone_from(&kept.candidates);
        });
    });
}

#[test]
fn planted_denial_of_what_is_there_turns_it_red() {
    turns_red((1..=8).map(short), "did not show", |world, host| {
        plant_handing_on(world, host, |zone| {
            zone.candidates.clear();
            zone.matches = 0;
        });
    });
}

#[test]
fn planted_stale_answer_that_is_not_called_so_turns_it_red() {
    turns_red((1..=8).map(short), "silent true", |world, host| {
        world.doctor_saying(host, |output| match output {
            Output::Resolved { token, mut outcome, found } => {
                for (source, checked) in outcome.answers.iter_mut().filter(|(source, _)| *source == Source::L3) {
                    (*source, checked.answer.ttl_ms) = (Source::L2, 1_000);
                }
                Some(Output::Resolved { token, outcome, found })
            }
            other => Some(other),
        });
    });
}

#[test]
fn planted_silence_that_is_not_passed_on_turns_it_red() {
    turns_red((1..=8).map(short), "is not named", |world, host| {
        world.doctor_frames(host, |mut message| {
            if let Message::Answer(answer) = &mut message {
                answer.silent.clear();
            }
            Some(message)
        });
    });
}

#[test]
fn planted_replica_that_takes_no_news_turns_it_red() {
    const RANGES: u8 = 19;
    turns_red((1..=8).map(short), "was never", |world, host| {
        if host.0.is_multiple_of(2) {
            world.doctor_hearing(host, |input| match input {
                Input::Frame { ref bytes, .. } if bytes[3] == RANGES => None,
                other => Some(other),
            });
        }
    });
}
