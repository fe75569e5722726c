//! Whose a call is when others bring it: zones beside each other, under one that passes on what they ask of one another.

use std::time::Duration;

use aop_proto::access::Role;
use aop_proto::name::ZoneName;
use aop_proto::node::{Brought, NotBelieved, Write};
use aop_proto::params::CALL_AHEAD_MAX;
use aop_proto::trust::{Repeated, TrustError};
use aop_proto::wire::message::Call;
use aop_simulations::world::{HostId, Spec, World};

const SOON: Duration = Duration::from_secs(10);

fn call(world: &World, to: HostId) -> Call {
    let zone = world.spec(to).zone.clone();
    Call {
        name: format!("echo.everything.{zone}"),
        home: world.id(to),
        zone,
        def_hash: None,
        arguments: b"{}".to_vec(),
        extra: Vec::new(),
        deadline_ms: 1_000,
        hops: 8,
        progress: false,
        key: None,
        priority: 5,
        afar: false,
        author: None,
    }
}

/// `acme`, below it `lab.acme` and `other.acme`, and `deep.lab.acme` below the former; all by invite.
struct Family {
    world: World,
    acme: HostId,
    lab: HostId,
    other: HostId,
    deep: HostId,
}

impl Family {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let acme = world.boot(Spec::new("acme", 1).guarded());
        world.run_for(Duration::from_millis(100));
        let mut child = |zone: &str, number: u32, parent: HostId| {
            let invitation = world.invite(parent, zone, Role::Peer, 1);
            let parent = parent.0 as u32 + 1;
            let host = world.boot(Spec::new(zone, number).parent(parent).guarded().invited(invitation));
            let is_in = |world: &World| world.view(host).is_some_and(|view| !view.relations.is_empty());
            assert!(world.run_until(SOON, is_in).is_some(), "{zone}: {:?}", world.refusals(host));
            world.run_for(Duration::from_secs(1));
            host
        };
        let (lab, other) = (child("lab.acme", 2, acme), child("other.acme", 3, acme));
        let deep = child("deep.lab.acme", 4, lab);
        Self { world, acme, lab, other, deep }
    }

    /// A call from one host to another, through those between.
    fn bring(&mut self, path: &[HostId]) -> (Call, Result<Brought, NotBelieved>) {
        let world = &mut self.world;
        let to = *path.last().expect("a home");
        let wanted = call(world, to);
        let mut call = world.sign(path[0], wanted);
        for pair in path[..path.len() - 1].windows(2) {
            call = world.pass_on(pair[1], pair[0], call).expect("it goes on");
        }
        let told = world.whose(to, path[path.len() - 2], &call);
        (call, told)
    }

    fn brought_by(&self, host: HostId) -> Result<Brought, NotBelieved> {
        let zone = ZoneName::parse(&self.world.spec(host).zone).expect("a zone");
        Ok(Brought { by: Some((zone, self.world.id(host))), afar: true })
    }
}

#[test]
fn a_call_is_of_the_zone_that_makes_it_whoever_brings_it() {
    let mut family = Family::new(1);
    let Family { acme, lab, other, deep, .. } = family;
    for path in [
        &[lab, acme, other][..],
        &[deep, lab, acme, other],
        &[other, acme, lab, deep],
        &[deep, lab, acme],
        &[acme, lab, deep],
    ] {
        assert_eq!(family.bring(path).1, family.brought_by(path[0]), "{path:?}");
    }
    // Also after its key and its parent's have moved on.
    for host in [lab, acme] {
        family.world.rotate_through(host).unwrap();
        family.world.run_for(SOON);
        assert_eq!(family.bring(&[deep, lab, acme, other]).1, family.brought_by(deep));
        assert_eq!(family.bring(&[lab, acme, other]).1, family.brought_by(lab));
    }
}

#[test]
fn a_relay_neither_changes_a_call_nor_repeats_it_nor_makes_it_its_own() {
    let mut family = Family::new(2);
    let Family { acme, lab, other, .. } = family;
    let (call, told) = family.bring(&[lab, acme, other]);
    assert!(told.is_ok());
    let again = family.world.whose(other, acme, &call);
    assert_eq!(again, Err(NotBelieved::Repeated(Repeated::Known)));
    let changed = Call { arguments: b"[]".to_vec(), ..call.clone() };
    assert_eq!(family.world.whose(other, acme, &changed), Err(NotBelieved::Author(TrustError::Signature)));
    let unsigned = Call { author: None, ..call.clone() };
    assert_eq!(family.world.pass_on(acme, lab, unsigned), Err(NotBelieved::Unsigned));
    // For another home, or of another zone.
    let elsewhere = Call { home: family.world.id(acme), ..call.clone() };
    assert!(family.world.whose(acme, lab, &elsewhere).is_ok_and(|brought| brought == family.brought_by(lab).unwrap()));
    assert!(family.world.whose(acme, other, &elsewhere).is_err());
    let mut stolen = call;
    stolen.author.as_mut().unwrap().zone = "other.acme".to_owned();
    assert_eq!(family.world.pass_on(acme, lab, stolen), Err(NotBelieved::Author(TrustError::Signature)));
}

/// What it carried out was remembered by the run that ended: a relay brought a call that it had kept a second time.
#[test]
fn a_home_that_was_started_again_carries_out_nothing_of_the_run_before() {
    let mut family = Family::new(7);
    let Family { acme, lab, other, .. } = family;
    let (kept, told) = family.bring(&[lab, acme, other]);
    assert!(told.is_ok());
    family.world.crash(other);
    family.world.start(other);
    family.world.run_for(Duration::from_secs(2));
    let again = family.world.whose(other, acme, &kept);
    let Err(NotBelieved::Repeated(Repeated::Forgotten(wait_ms))) = again else { panic!("{again:?}") };
    assert!(wait_ms <= CALL_AHEAD_MAX.as_millis() as u64);
    family.world.run_for(Duration::from_millis(wait_ms));
    assert_eq!(family.bring(&[lab, acme, other]).1, family.brought_by(lab), "one that is signed now");
    assert!(family.world.whose(other, acme, &kept).is_err());
}

#[test]
fn a_call_of_a_node_that_was_revoked_goes_no_further_than_its_parent() {
    let mut family = Family::new(3);
    let Family { acme, lab, other, .. } = family;
    let invitation = family.world.invite(lab, "lab.acme", Role::Peer, 1);
    let second = Spec::new("lab.acme", 5).join(2).parent(1).guarded().invited(invitation);
    let second = family.world.boot(second);
    family.world.run_for(SOON);
    assert_eq!(family.bring(&[second, acme, other]).1, family.brought_by(second));
    let wanted = call(&family.world, other);
    let signed = family.world.sign(second, wanted);
    let node = family.world.id(second);
    family.world.write_through(lab, Write::Revoke { node, reason: String::new() }).unwrap();
    family.world.run_for(SOON);
    let refused = family.world.pass_on(acme, lab, signed);
    assert!(matches!(refused, Err(NotBelieved::Author(TrustError::Revoked(_)))), "{refused:?}");
}

/// It was proven once, by what a fellow heard of the parent, and went on showing that.
#[test]
fn a_replica_that_reaches_no_parent_shows_the_proofs_of_now() {
    let mut family = Family::new(5);
    let Family { acme, lab, .. } = family;
    let invitation = family.world.invite(lab, "lab.acme", Role::Peer, 1);
    let second = family.world.boot(Spec::new("lab.acme", 5).join(2).guarded().invited(invitation));
    family.world.partition(&[second], &[acme]);
    family.world.run_for(SOON);
    for _ in 0..2 {
        family.world.rotate_through(acme).unwrap();
        family.world.pass_a_day();
        family.world.run_for(SOON * 6);
        family.world.pass_a_day();
        family.world.run_for(SOON * 6);
    }
    // To whom nobody of that zone has spoken before.
    let invitation = family.world.invite(acme, "shop.acme", Role::Peer, 1);
    let shop = family.world.boot(Spec::new("shop.acme", 6).parent(1).guarded().invited(invitation));
    family.world.run_for(SOON);
    assert_eq!(family.bring(&[second, lab, acme, shop]).1, family.brought_by(second));
}
