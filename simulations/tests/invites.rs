//! Where strangers may come: who is let in by an invite, what a revocation ends, and how soon.

use std::time::Duration;

use aop_proto::access::Role;
use aop_proto::node::{Invitation, Write, WriteError};
use aop_proto::view::Relation;
use aop_proto::wire::message::Message;
use aop_simulations::scenario::{acquainted, equal, server};
use aop_simulations::world::{HostId, Spec, World, name};

const SOON: Duration = Duration::from_secs(10);
/// A revocation is seen by all connected nodes within this time.
const OUT_WITHIN: Duration = Duration::from_secs(5);

/// The first node of a zone that admits by invite.
fn founder(world: &mut World, zone: &str) -> HostId {
    let host = world.boot(Spec::new(zone, 1).guarded());
    world.run_for(Duration::from_millis(100));
    host
}

fn invited(world: &mut World, by: HostId, role: Role, number: u32) -> HostId {
    let zone = world.spec(by).zone.clone();
    let invitation = world.invite(by, &zone, role, 1);
    world.boot(Spec::new(&zone, number).join(1).guarded().invited(invitation))
}

fn become_equal(world: &mut World, hosts: &[HostId]) {
    let took = world.run_until(SOON, |world| acquainted(world, hosts) && equal(world, hosts));
    let refusals: Vec<_> = hosts.iter().map(|host| world.refusals(*host)).collect();
    assert!(took.is_some(), "{refusals:?}");
}

fn is_admitted(world: &World, host: HostId) -> bool {
    world.view(host).is_some_and(|view| view.admitted)
}

fn revoke(world: &mut World, by: HostId, whom: HostId) -> Result<(), WriteError> {
    let node = world.id(whom);
    world.write_through(by, Write::Revoke { node, reason: "lost laptop".to_owned() }).map(drop)
}

fn tools(world: &World, host: HostId) -> usize {
    world.view(host).map_or(0, |view| view.tools.len())
}

#[test]
fn nobody_joins_a_guarded_zone_without_an_invite() {
    let mut world = World::new(1);
    let first = founder(&mut world, "research");
    let stranger = world.boot(Spec::new("research", 2).join(1).guarded());
    world.run_for(SOON);
    assert!(!is_admitted(&world, stranger));
    assert!(
        world.refusals(stranger).iter().any(|reason| reason.contains("aop invite")),
        "{:?}",
        world.refusals(stranger)
    );
    assert!(world.view(first).unwrap().counts.kept_out > 0);
    assert!(world.view(first).unwrap().relations.is_empty());
}

#[test]
fn an_invite_lets_one_replica_in_and_no_second_one() {
    let mut world = World::new(2);
    let first = founder(&mut world, "research");
    let invitation = world.invite(first, "research", Role::Peer, 1);
    let spec = |number| Spec::new("research", number).join(1).guarded().invited(invitation.clone());
    let second = world.boot(spec(2));
    become_equal(&mut world, &[first, second]);
    let third = world.boot(spec(3));
    world.run_for(SOON);
    assert!(!is_admitted(&world, third));
    assert!(world.refusals(third).iter().any(|reason| reason.contains("used already")), "{:?}", world.refusals(third));
    // Who was let in stays so, whatever becomes of the invite.
    world.crash(second);
    world.run_for(SOON);
    world.start(second);
    become_equal(&mut world, &[first, second]);
}

/// The pause after the bad one is not the good one's.
#[test]
fn a_good_invite_that_comes_after_a_bad_one_is_used_at_once() {
    for pause in [Duration::ZERO, Duration::from_millis(40), Duration::from_secs(3)] {
        let mut world = World::new(4);
        let first = founder(&mut world, "research");
        let bad = Invitation { token: "nothing".to_owned(), ..world.invite(first, "research", Role::Peer, 1) };
        let second = world.boot(Spec::new("research", 2).join(1).guarded().invited(bad));
        world.run_for(Duration::from_millis(400) + pause);
        assert!(!is_admitted(&world, second) && !world.refusals(second).is_empty());
        let good = world.invite(first, "research", Role::Peer, 1);
        world.join(second, first, good);
        let took = world.run_until(SOON, |world| is_admitted(world, second));
        assert!(took.is_some_and(|took| took < Duration::from_secs(2)), "{took:?}: {:?}", world.refusals(second));
    }
}

#[test]
fn an_expired_invite_lets_nobody_in() {
    let mut world = World::new(3);
    let first = founder(&mut world, "research");
    let invitation = world.invite(first, "research", Role::Peer, 1);
    world.pass_a_day();
    let late = world.boot(Spec::new("research", 2).join(1).guarded().invited(invitation));
    world.run_for(SOON);
    assert!(!is_admitted(&world, late));
    assert!(world.refusals(late).iter().any(|reason| reason.contains("expired")), "{:?}", world.refusals(late));
}

/// Whoever answers at the address of an invite, and is not who issued it, hears no token and pins nothing.
#[test]
fn an_invite_is_shown_to_its_issuer_only_and_believes_no_other_key() {
    let mut world = World::new(4);
    let other = founder(&mut world, "research");
    let issuer = {
        let mut elsewhere = World::new(5);
        let host = founder(&mut elsewhere, "research");
        elsewhere.invite(host, "research", Role::Peer, 1)
    };
    let joiner = world.boot(Spec::new("research", 2).join(1).guarded().invited(issuer));
    world.run_for(SOON);
    assert!(!is_admitted(&world, joiner));
    assert!(world.view(joiner).unwrap().zone_key.is_none());
    // The right issuer, another key than the invite names: as if somebody had both the node's key and another zone.
    let good = world.invite(other, "research", Role::Peer, 1);
    let forged = Invitation { anchor: [7; 32], ..good };
    let misled = world.boot(Spec::new("research", 3).join(1).guarded().invited(forged));
    world.run_for(SOON);
    assert!(!is_admitted(&world, misled));
}

/// Members gossip and serve, and let nobody in; signers do.
#[test]
fn only_nodes_of_role_admin_certify_others() {
    let mut world = World::new(6);
    let first = founder(&mut world, "research");
    let member = invited(&mut world, first, Role::Peer, 2);
    let admin = invited(&mut world, first, Role::Admin, 3);
    become_equal(&mut world, &[first, member, admin]);
    let node = world.id(admin);
    let refused = world.write_through(member, Write::Revoke { node, reason: String::new() });
    assert!(matches!(refused, Err(WriteError::NotSigner { .. })), "{refused:?}");
    let by_member = world.invite(member, "research", Role::Peer, 1);
    let fourth = world.boot(Spec::new("research", 4).join(2).guarded().invited(by_member));
    world.run_for(SOON);
    assert!(!is_admitted(&world, fourth));
    let by_admin = world.invite(admin, "research", Role::Peer, 1);
    let fifth = world.boot(Spec::new("research", 5).join(3).guarded().invited(by_admin));
    become_equal(&mut world, &[first, member, admin, fifth]);
    world.write_through(member, server("arxiv", &[("search", "find papers")])).unwrap();
    become_equal(&mut world, &[first, member, admin, fifth]);
    world.run_for(Duration::from_millis(50));
    assert_eq!(tools(&world, fifth), 1, "what a member serves is the zone's");
}

/// Its connection ends, its tools go, everywhere, and it never comes back under that key.
#[test]
fn a_revoked_replica_is_out_everywhere_within_five_seconds() {
    for seed in 10..20 {
        let mut world = World::new(seed);
        let first = founder(&mut world, "research");
        let mut hosts = vec![first];
        for number in 2..=5 {
            hosts.push(invited(&mut world, first, Role::Peer, number));
        }
        become_equal(&mut world, &hosts);
        let rogue = hosts.remove(2);
        world.write_through(rogue, server("evil", &[("steal", "sends your keys away")])).unwrap();
        world.write_through(hosts[1], server("good", &[("echo", "says it again")])).unwrap();
        let all = |world: &World| hosts.iter().all(|host| tools(world, *host) == 2);
        assert!(world.run_until(SOON, all).is_some());
        world.weather.loss = 100;
        revoke(&mut world, first, rogue).unwrap();
        let is_out = |world: &World| {
            let gone = |host: &HostId| tools(world, *host) == 1 && !world.are_linked(*host, rogue);
            hosts.iter().all(gone) && !is_admitted(world, rogue)
        };
        let took = world.run_until(OUT_WITHIN, is_out);
        assert!(took.is_some(), "seed {seed}: {:?}", world.view(rogue).map(|view| &view.keys.revoked));
        world.weather.loss = 0;
        world.crash(rogue);
        world.run_for(SOON);
        world.start(rogue);
        world.run_for(SOON * 3);
        assert!(is_out(&world), "seed {seed}: it came back");
        assert!(world.view(rogue).unwrap().keys.revoked.as_ref().is_some_and(|why| why.contains("lost laptop")));
        become_equal(&mut world, &hosts);
    }
}

/// Whoever was away hears of it when it comes back, from whoever is there, though who said so is not.
#[test]
fn a_revocation_outlives_its_writer_s_absence_and_restarts() {
    let mut world = World::new(21);
    let first = founder(&mut world, "research");
    let hosts: Vec<HostId> = (2..=4).map(|number| invited(&mut world, first, Role::Admin, number)).collect();
    let all = [&[first], &hosts[..]].concat();
    become_equal(&mut world, &all);
    let [second, rogue, away] = hosts[..] else { unreachable!() };
    world.crash(away);
    revoke(&mut world, first, rogue).unwrap();
    world.run_for(OUT_WITHIN);
    world.crash(first);
    world.crash(second);
    world.start(second);
    world.start(away);
    let knows = |world: &World| world.view(away).is_some_and(|view| !view.keys.outcasts.is_empty());
    assert!(world.run_until(SOON * 3, knows).is_some());
    world.run_for(SOON);
    assert!(!world.are_linked(away, rogue) && !world.are_linked(second, rogue));
}

/// What a revoked signer certified is worth nothing; those it let in need another invite.
#[test]
fn whom_a_revoked_signer_let_in_is_out_too_until_somebody_else_lets_it_in() {
    let mut world = World::new(22);
    let first = founder(&mut world, "research");
    let admin = invited(&mut world, first, Role::Admin, 2);
    become_equal(&mut world, &[first, admin]);
    let by_admin = world.invite(admin, "research", Role::Peer, 1);
    let third = world.boot(Spec::new("research", 3).join(2).guarded().invited(by_admin));
    become_equal(&mut world, &[first, admin, third]);
    let chain = |world: &World, host| world.view(host).unwrap().keys.chain.len();
    revoke(&mut world, first, admin).unwrap();
    world.run_for(OUT_WITHIN);
    assert!(!is_admitted(&world, admin));
    if chain(&world, third) == 0 {
        let again = world.invite(first, "research", Role::Peer, 1);
        let spec = Spec { invitation: Some(again), ..world.spec(third).clone().join(1) };
        world.crash(third);
        world.change(third, spec);
        world.start(third);
    }
    become_equal(&mut world, &[first, third]);
}

#[test]
fn nobody_revokes_who_certified_it() {
    let mut world = World::new(23);
    let first = founder(&mut world, "research");
    let admin = invited(&mut world, first, Role::Admin, 2);
    become_equal(&mut world, &[first, admin]);
    assert!(matches!(revoke(&mut world, admin, first), Err(WriteError::Elder { .. })));
    assert!(matches!(revoke(&mut world, first, first), Err(WriteError::Elder { .. })));
    revoke(&mut world, first, admin).unwrap();
    assert!(matches!(revoke(&mut world, first, admin), Err(WriteError::Revoked { .. })));
}

/// A child comes by invite, answers and asks, and is cut off by one word; it comes back only by another.
#[test]
fn a_zone_below_comes_by_invite_and_goes_by_a_word() {
    let mut world = World::new(30);
    let root = founder(&mut world, "acme");
    let stray = world.boot(Spec::new("stray.acme", 9).parent(1).guarded());
    let invitation = world.invite(root, "lab.acme", Role::Caller, 1);
    let lab = world.boot(Spec::new("lab.acme", 2).parent(1).guarded().invited(invitation));
    let delegated = |world: &World| world.view(root).unwrap().children.iter().any(|child| child.connected == 1);
    assert!(world.run_until(SOON, delegated).is_some(), "{:?}", world.refusals(lab));
    world.run_for(Duration::from_secs(1));
    let view = world.view(root).unwrap();
    assert_eq!(view.children.len(), 1, "{:?}", view.children);
    assert_eq!(view.children[0].role, Some(Role::Caller));
    assert!(matches!(view.relations.values().next(), Some(Relation::Child(_))) && view.relations.len() == 1);
    assert!(world.refusals(stray).iter().any(|reason| reason.contains("aop invite --zone stray.acme")));

    world.write_through(lab, server("arxiv", &[("search", "find papers")])).unwrap();
    world.run_for(Duration::from_secs(1));
    let found = world.resolve(root, name("search.arxiv.lab.acme"));
    assert_eq!(found.names(), ["search.arxiv.lab.acme"]);

    let zone = aop_proto::name::ZoneName::parse("lab.acme").unwrap();
    let undelegate = Write::Undelegate { zone: zone.clone(), reason: "contract ended".to_owned() };
    world.write_through(root, undelegate).unwrap();
    let cut =
        |world: &World| world.view(root).unwrap().children.is_empty() && world.view(root).unwrap().relations.is_empty();
    assert!(world.run_until(OUT_WITHIN, cut).is_some());
    world.run_for(SOON * 3);
    assert!(cut(&world), "it came back by itself");
    // However often it has been turned away since, it says why.
    let asked = world.resolve(lab, name("search.arxiv.shop.acme"));
    let reason = &asked.outcome.silent[0].reason;
    assert!(reason.contains("zone lab.acme was undelegated by acme"), "{reason}");
    assert!(world.resolve(root, name("search.arxiv.lab.acme")).names().is_empty());

    let key = world.view(lab).unwrap().zone_key.unwrap();
    world.write_through(root, Write::Delegate { zone, key, role: Role::Reader }).unwrap();
    assert!(world.run_until(SOON * 6, |world| delegated(world)).is_some(), "{:?}", world.refusals(lab));
    assert_eq!(world.view(root).unwrap().children[0].role, Some(Role::Reader));
}

/// A zone speaks of its own nodes only: whoever it names besides stays where it is.
#[test]
fn a_revocation_of_one_zone_ends_no_connection_of_another() {
    let mut world = World::new(31);
    let root = founder(&mut world, "acme");
    let [lab, other] = [("lab.acme", 2), ("other.acme", 3)].map(|(zone, number)| {
        let invitation = world.invite(root, zone, Role::Caller, 1);
        world.boot(Spec::new(zone, number).parent(1).guarded().invited(invitation))
    });
    let both = |world: &World| world.view(root).unwrap().relations.len() == 2;
    assert!(world.run_until(SOON, both).is_some());
    revoke(&mut world, lab, other).unwrap();
    world.run_for(OUT_WITHIN);
    assert!(both(&world) && world.are_linked(root, other));
    revoke(&mut world, root, other).unwrap();
    world.run_for(OUT_WITHIN);
    assert!(both(&world) && world.are_linked(root, other), "it is no node of that zone either");
}

/// Whoever brings what nobody signed is shut out for a minute, then for two; nobody else is.
#[test]
fn a_peer_that_brings_forgeries_is_shut_out_and_comes_back_when_it_stops() {
    let mut world = World::new(32);
    let first = founder(&mut world, "research");
    let hosts: Vec<HostId> = (2..=3).map(|number| invited(&mut world, first, Role::Peer, number)).collect();
    let (honest, rogue) = (hosts[0], hosts[1]);
    let all = [first, honest, rogue];
    become_equal(&mut world, &all);
    world.doctor_frames(rogue, |message| match message {
        Message::Ranges(mut ranges) => {
            let records = ranges.ranges.iter_mut().flat_map(|range| range.records.iter_mut());
            records.filter_map(|record| record.last_mut()).for_each(|byte| *byte ^= 1);
            Some(Message::Ranges(ranges))
        }
        message => Some(message),
    });
    let is_shut_out = |world: &World| {
        [first, honest].iter().all(|host| !world.are_linked(*host, rogue))
            && world.refusals(rogue).iter().any(|reason| reason.contains("nobody signed"))
    };
    let mut took = None;
    for number in 0..60 {
        world.write_through(rogue, server(&format!("evil{number}"), &[("steal", "sends your keys away")])).unwrap();
        took = world.run_until(Duration::from_secs(1), is_shut_out);
        if took.is_some() {
            break;
        }
    }
    assert!(took.is_some(), "{:?}", world.view(first).unwrap().counts);
    assert_eq!(tools(&world, first), 0);
    assert!(world.view(first).unwrap().counts.quarantined > 0);
    world.write_through(first, server("good", &[("echo", "says it again")])).unwrap();
    become_equal(&mut world, &[first, honest]);
    world.undoctor(rogue);
    let back = |world: &World| acquainted(world, &all) && equal(world, &all);
    assert!(world.run_until(Duration::from_secs(400), back).is_some(), "{:?}", world.refusals(rogue));
}

/// A zone with a key, replicas and a past comes by invite like a new one, and comes back by another after it was cut off.
#[test]
fn a_zone_that_has_its_key_comes_and_comes_back_by_invite() {
    let mut world = World::new(33);
    let root = founder(&mut world, "acme");
    let lab = world.boot(Spec::new("lab.acme", 2).guarded());
    world.run_for(SOON);
    let by_lab = world.invite(lab, "lab.acme", Role::Peer, 1);
    let second = world.boot(Spec::new("lab.acme", 3).join(2).guarded().invited(by_lab));
    become_equal(&mut world, &[lab, second]);
    let zone = aop_proto::name::ZoneName::parse("lab.acme").unwrap();
    for _ in 0..2 {
        let invitation = world.invite(root, "lab.acme", Role::Caller, 1);
        world.crash(lab);
        world.change(lab, Spec::new("lab.acme", 2).parent(1).guarded().invited(invitation));
        world.start(lab);
        let is_in = |world: &World| {
            let view = world.view(root).unwrap();
            view.children.iter().any(|child| child.role == Some(Role::Caller)) && !view.relations.is_empty()
        };
        assert!(world.run_until(SOON, is_in).is_some(), "{:?}", world.refusals(lab));
        // Its replica hears of the parent from it, and is known there too.
        let both = |world: &World| world.view(root).unwrap().relations.len() == 2;
        assert!(world.run_until(SOON * 3, both).is_some(), "{:?}", world.refusals(second));
        world.run_for(Duration::from_secs(1));
        let undelegate = Write::Undelegate { zone: zone.clone(), reason: "contract ended".to_owned() };
        world.write_through(root, undelegate).unwrap();
        world.run_for(SOON);
        assert!(world.view(root).unwrap().relations.is_empty());
    }
}
