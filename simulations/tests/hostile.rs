//! What an admitted enemy can do, and what must hold all the same: nothing forged is kept, shown or passed on, honest replicas become
//! equal, nobody who lives is given up, memory stays within its caps. The checks assert all of that while the enemy is at it.

#![expect(clippy::unwrap_used, reason = "what is missing here has failed the test")]

use std::time::Duration;

use aop_simulations::hostile::{Enemy, Trick};
use aop_simulations::scenario::{acquainted, equal, replicas, server};
use aop_simulations::world::{HostId, World};

const SETTLED: Duration = Duration::from_secs(3);

/// Three honest replicas and an enemy that plays these tricks for a while, between honest writes.
fn suffer(tricks: &[Trick]) -> (World, Vec<HostId>) {
    let mut world = World::new(9);
    let mut hosts = replicas(&mut world, "research", 1, 4);
    world.run_until(Duration::from_secs(30), |world| acquainted(world, &hosts)).unwrap();
    let mut enemy = Enemy::take(&mut world, hosts.pop().unwrap()).unwrap();
    for round in 0..10 {
        let writer = hosts[round % hosts.len()];
        world.write_through(writer, server(&format!("s{round}"), &[("one", "first"), ("two", "second")])).unwrap();
        for trick in tricks {
            enemy.play(&mut world, *trick, &hosts);
            world.run_for(Duration::from_millis(100));
        }
    }
    (world, hosts)
}

fn recover(world: &mut World, hosts: &[HostId], tricks: &[Trick]) {
    let took = world.run_until(SETTLED, |world| equal(world, hosts));
    assert!(took.is_some(), "honest replicas are equal again after {tricks:?}");
    for host in hosts {
        let view = world.view(*host).unwrap();
        let honest =
            |server: usize| view.tools.all().iter().any(|tool| tool.name() == format!("one.s{server}.research"));
        assert!((0..10).all(honest), "{host:?} lacks what honest replicas wrote after {tricks:?}");
        for other in hosts.iter().filter(|other| *other != host) {
            let member = view.members.iter().find(|member| member.node == world.id(*other)).unwrap();
            assert_eq!(member.state, "alive", "{host:?} gave up {other:?} after {tricks:?}");
        }
    }
    world.run_for(Duration::from_secs(70));
}

fn survive(tricks: &[Trick]) {
    let (mut world, hosts) = suffer(tricks);
    recover(&mut world, &hosts, tricks);
}

#[test]
fn what_is_forged_is_neither_kept_nor_passed_on() {
    survive(&[Trick::Forge]);
}

#[test]
fn old_parts_of_logs_change_nothing() {
    survive(&[Trick::Replay]);
}

#[test]
fn a_record_left_out_by_a_peer_is_found() {
    survive(&[Trick::Omit]);
}

#[test]
fn the_last_number_there_is_silences_nobody() {
    survive(&[Trick::LastNumber]);
}

#[test]
fn floods_and_lies_are_bounded() {
    survive(&[Trick::Flood, Trick::HugeVector, Trick::Garbage, Trick::Lies]);
}

#[test]
fn nobody_is_talked_to_death() {
    survive(&[Trick::Accuse]);
}

#[test]
fn a_log_that_never_ends_stops_no_other() {
    survive(&[Trick::EndlessSnapshot]);
}

#[test]
fn a_head_that_is_not_true_is_not_believed() {
    survive(&[Trick::WrongHead]);
}

#[test]
fn a_crowd_that_was_made_up_takes_no_room_without_bound() {
    survive(&[Trick::Crowd]);
}

#[test]
fn a_log_of_two_contents_is_shown_by_nobody() {
    survive(&[Trick::TwoContents]);
}

#[test]
fn a_stamp_of_another_age_holds_up_nobody_else() {
    survive(&[Trick::FarFuture]);
}
