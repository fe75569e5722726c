//! A zone's key is rotated: everybody follows, in whatever order they hear of it, nothing is lost on the way, and nothing goes back.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use aop_proto::node::WriteError;
use aop_proto::record::ManifestBody;
use aop_proto::resolver::Terms;
use aop_proto::view::View;
use aop_proto::wire::message::Message;
use aop_simulations::scenario::{acquainted, equal, server};
use aop_simulations::world::{HostId, Spec, World, name};

const SOON: Duration = Duration::from_secs(10);
/// Certificates that a rotation left behind are renewed once in a third of a lease.
const RENEWED: Duration = Duration::from_secs(110);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A root, two replicas of `lib`, one node of `writing`; each with a tool of its own name.
struct Family {
    world: World,
    root: HostId,
    lib: [HostId; 2],
    writing: HostId,
}

impl Family {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let root = world.boot(Spec::new(".", 1));
        let maker = world.boot(Spec::new("lib", 2).parent(1));
        world.run_for(Duration::from_secs(1));
        let lib = [maker, world.boot(Spec::new("lib", 3).parent(1).join(2))];
        let writing = world.boot(Spec::new("writing", 4).parent(1));
        world.run_for(SOON);
        for (host, tool) in [(root, "top"), (lib[0], "one"), (lib[1], "two"), (writing, "pen")] {
            world.write_through(host, server(tool, &[(tool, "a tool")])).expect("its name is free");
        }
        let mut family = Self { world, root, lib, writing };
        family.world.run_for(SOON);
        family.check("at first");
        family
    }

    /// Whether everybody finds everybody's tool, asked now and not remembered.
    fn check(&mut self, what: &str) {
        for host in [self.root, self.lib[0], self.lib[1], self.writing] {
            for tool in ["top.top", "one.one.lib", "two.two.lib", "pen.pen.writing"] {
                assert_eq!(self.find(host, tool), [tool], "{what}: {host:?}");
            }
        }
    }

    fn find(&mut self, host: HostId, tool: &str) -> Vec<String> {
        self.world.resolve_as(host, name(tool), |terms| Terms { cached: false, ..terms }).names()
    }

    /// From now on the nodes of `lib` say what `change` makes of it.
    fn corrupt(&mut self, change: impl FnMut(&mut Message) + 'static) {
        let change = Rc::new(RefCell::new(change));
        for host in self.lib {
            let change = Rc::clone(&change);
            self.world.doctor_frames(host, move |mut message| {
                (change.borrow_mut())(&mut message);
                Some(message)
            });
        }
    }

    fn view(&self, host: HostId) -> &View {
        self.world.view(host).expect("it runs")
    }

    fn epoch(&self, host: HostId) -> u64 {
        self.view(host).keys.epoch
    }

    /// Which epoch of a zone's key a host believes.
    fn believed(&self, host: HostId, zone: &str) -> Option<u64> {
        let anchors = &self.view(host).keys.anchors;
        anchors.iter().find(|anchor| anchor.zone.as_str() == zone).map(|anchor| anchor.epoch)
    }

    /// Whether a host's certificates are of the key its zone has now.
    fn is_renewed(&self, host: HostId) -> bool {
        let view = self.view(host);
        view.keys.chain.first().map(|first| first.issuer) == view.zone_key
    }

    fn refused_nothing(&self) {
        for host in [self.root, self.lib[0], self.lib[1], self.writing] {
            assert!(self.world.refusals(host).is_empty(), "{host:?}: {:?}", self.world.refusals(host));
        }
    }
}

/// Manifests that a message hands on, those in signed records aside.
fn manifests_of(message: &mut Message) -> Vec<&mut Vec<ManifestBody>> {
    match message {
        Message::Hello(hello) => vec![&mut hello.manifests],
        Message::Admit(admit) => vec![&mut admit.manifests],
        Message::Delegate(delegate) => vec![&mut delegate.manifests],
        Message::Referral(referral) => vec![&mut referral.manifests],
        Message::Answer(answer) => answer.proofs.iter_mut().map(|proof| &mut proof.manifests).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn nothing_fails_while_parent_and_child_rotate() {
    for seed in 1..=10 {
        let mut family = Family::new(seed);
        for round in 1..=3_u64 {
            for host in [family.lib[0], family.root] {
                family.world.rotate(host);
                // Questions and registrations go on while it spreads.
                for step in 0..20 {
                    family.check(&format!("seed {seed} round {round}"));
                    let load = format!("load{step}");
                    family.world.write_through(family.lib[step % 2], server(&load, &[("busy", "works")])).unwrap();
                    let pause = Duration::from_millis(family.world.below(5));
                    family.world.run_for(pause);
                }
            }
            assert_eq!(family.find(family.writing, "busy.load19.lib"), ["busy.load19.lib"], "seed {seed}");
            family.world.run_for(RENEWED);
            for host in family.lib {
                assert_eq!((family.epoch(host), family.is_renewed(host)), (round + 1, true), "seed {seed}");
                assert_eq!(family.believed(host, "."), Some(round + 1));
            }
            assert_eq!(family.believed(family.root, "lib"), Some(round + 1));
            assert_eq!(family.believed(family.writing, "lib"), Some(round + 1));
            assert_eq!(family.believed(family.writing, "."), Some(round + 1));
            assert!(equal(&family.world, &family.lib), "seed {seed}");
        }
        family.refused_nothing();
        for host in [family.root, family.lib[0], family.lib[1], family.writing] {
            family.world.crash(host);
        }
        for host in [family.root, family.lib[0], family.lib[1], family.writing] {
            family.world.start(host);
        }
        family.world.run_for(SOON * 3);
        family.check("after all were started again");
        assert_eq!(family.epoch(family.lib[1]), 4);
        family.refused_nothing();
    }
}

#[test]
fn a_rotation_that_a_crash_cut_short_has_taken_place_or_not() {
    let mut outcomes = [0, 0];
    for seed in 1..=40 {
        let mut family = Family::new(seed);
        let before = family.epoch(family.lib[0]);
        family.world.rotate(family.lib[0]);
        let pause = Duration::from_micros(family.world.below(8_000));
        family.world.run_for(pause);
        family.world.crash(family.lib[0]);
        family.world.run_for(Duration::from_secs(1));
        family.world.start(family.lib[0]);
        family.world.run_for(RENEWED);
        let after = family.epoch(family.lib[0]);
        outcomes[usize::from(after > before)] += 1;
        family.check(&format!("seed {seed}"));
        // Whatever became of that one, the next works.
        family.world.rotate_through(family.lib[0]).unwrap();
        family.world.run_for(RENEWED);
        assert_eq!(family.believed(family.writing, "."), Some(1));
        assert_eq!([family.epoch(family.lib[0]), family.epoch(family.lib[1])], [after + 1; 2]);
        family.check(&format!("seed {seed}, next"));
        family.refused_nothing();
    }
    assert!(outcomes.iter().all(|count| *count > 0), "both happen: {outcomes:?}");
}

#[test]
fn a_rotation_during_a_partition_reaches_the_other_side_when_it_heals() {
    for seed in 1..=10 {
        let mut family = Family::new(seed);
        family.world.partition(&[family.lib[0]], &[family.lib[1], family.root, family.writing]);
        family.world.rotate_through(family.lib[0]).unwrap();
        let late = server("late", &[("late", "a late tool")]);
        family.world.write_through(family.lib[1], late).unwrap();
        family.world.run_for(SOON);
        assert_eq!((family.epoch(family.lib[0]), family.epoch(family.lib[1])), (2, 1));
        family.world.heal();
        family.world.run_for(SOON * 3);
        assert_eq!((family.epoch(family.lib[1]), family.is_renewed(family.lib[1])), (2, true), "seed {seed}");
        assert_eq!(family.believed(family.root, "lib"), Some(2), "seed {seed}");
        assert!(acquainted(&family.world, &family.lib) && equal(&family.world, &family.lib));
        family.check("healed");
        family.refused_nothing();
    }
}

#[test]
fn a_node_that_was_away_during_two_rotations_follows_both() {
    for (seed, away) in (1..=8).zip([SOON, DAY + SOON].into_iter().cycle()) {
        let mut family = Family::new(seed);
        family.world.crash(family.lib[1]);
        for _ in 0..2 {
            family.world.rotate_through(family.lib[0]).unwrap();
            family.world.run_for(SOON);
        }
        skip(&mut family.world, away);
        family.world.start(family.lib[1]);
        family.world.run_for(SOON * 3);
        assert_eq!((family.epoch(family.lib[1]), family.is_renewed(family.lib[1])), (3, true), "seed {seed} {away:?}");
        assert!(acquainted(&family.world, &family.lib) && equal(&family.world, &family.lib));
        family.check(&format!("seed {seed} {away:?}"));
        family.refused_nothing();
    }
}

#[test]
fn an_asker_with_an_old_pin_follows_the_parent_and_its_sibling() {
    for seed in 1..=8 {
        let mut family = Family::new(seed);
        family.world.crash(family.writing);
        for _ in 0..2 {
            family.world.rotate_through(family.root).unwrap();
            family.world.rotate_through(family.lib[0]).unwrap();
            family.world.run_for(SOON);
        }
        family.world.start(family.writing);
        family.world.run_for(Duration::from_secs(2));
        family.check(&format!("seed {seed}"));
        assert_eq!([".", "lib"].map(|zone| family.believed(family.writing, zone)), [Some(3); 2]);
        family.refused_nothing();
    }
}

#[test]
fn a_replica_that_comes_after_a_rotation_holds_what_an_absent_one_wrote_before() {
    let mut family = Family::new(1);
    family.world.crash(family.lib[1]);
    family.world.rotate_through(family.lib[0]).unwrap();
    family.world.run_for(RENEWED);
    skip(&mut family.world, DAY / 2);
    let third = family.world.add(Spec::new("lib", 5).parent(1));
    skip(&mut family.world, DAY / 2);
    family.world.start(third);
    family.world.run_for(SOON * 3);
    assert!(equal(&family.world, &[family.lib[0], third]));
    assert_eq!((family.epoch(third), family.view(third).tools.len()), (2, 2));
}

#[test]
fn only_the_maker_of_the_key_rotates_it() {
    let mut family = Family::new(1);
    let maker = family.world.id(family.lib[0]);
    let refused = family.world.rotate_through(family.lib[1]);
    assert!(
        matches!(&refused, Err(WriteError::KeyElsewhere { maker: Some(node), .. }) if *node == maker),
        "{refused:?}"
    );
    let lonely = family.world.boot(Spec::new("far", 9).parent(77));
    family.world.run_for(Duration::from_secs(1));
    let refused = family.world.rotate_through(lonely);
    assert!(matches!(refused, Err(WriteError::KeyUnsettled { .. })), "{refused:?}");
}

#[test]
fn a_manifest_that_only_one_of_both_keys_signed_moves_nobody() {
    let unsigned: [fn(&mut ManifestBody); 2] = [|m| m.by_key = [0; 64], |m| m.by_previous = [0; 64]];
    for unsign in unsigned {
        let mut family = Family::new(1);
        family.corrupt(move |message| {
            for manifest in manifests_of(message).into_iter().flatten().filter(|manifest| manifest.epoch > 1) {
                unsign(manifest);
            }
        });
        family.world.rotate_through(family.lib[0]).unwrap();
        family.world.run_for(SOON);
        assert_eq!([family.root, family.writing].map(|host| family.believed(host, "lib")), [Some(1); 2]);
        assert!(family.view(family.root).counts.refused > 0, "it was told, and did not follow");

        family.corrupt(|_| {});
        family.world.run_for(RENEWED);
        family.check("once the truth is told");
        assert_eq!([family.root, family.writing].map(|host| family.believed(host, "lib")), [Some(2); 2]);
    }
}

#[test]
fn a_key_that_was_replaced_does_not_come_back() {
    let mut family = Family::new(1);
    let first = family.view(family.lib[0]).clone();
    family.world.rotate_through(family.lib[0]).unwrap();
    family.world.run_for(RENEWED);
    family.check("rotated");
    // From now on they speak as before the rotation, as somebody would who has stolen the first key.
    let (zone_key, chain) = (first.zone_key, first.keys.chain.clone());
    family.corrupt(move |message| {
        manifests_of(message).into_iter().for_each(Vec::clear);
        match message {
            Message::Hello(hello) => (hello.zone_key, hello.chain) = (zone_key, chain.clone()),
            Message::Delegate(delegate) => {
                (delegate.zone_key, delegate.chain) = (zone_key.expect("it had one"), chain.clone());
            }
            _ => {}
        }
    });
    family.world.crash(family.root);
    family.world.start(family.root);
    family.world.run_for(RENEWED);
    assert!(family.find(family.root, "one.one.lib").is_empty(), "nobody is asked who speaks by the first key");
    for host in [family.root, family.writing] {
        let anchors = &family.view(host).keys.anchors;
        let lib = anchors.iter().find(|anchor| anchor.zone.as_str() == "lib").expect("it is known");
        assert!(lib.epoch == 2 && Some(lib.key) != zone_key, "{host:?}: {lib:?}");
    }
    family.corrupt(|_| {});
    family.world.run_for(RENEWED);
    family.check("once the truth is told");
}

#[test]
fn a_zone_that_was_seen_signed_is_not_believed_unsigned() {
    for rotated in [false, true] {
        let mut family = Family::new(1);
        if rotated {
            family.world.rotate_through(family.lib[0]).unwrap();
            family.world.run_for(RENEWED);
            // Askers hear of it with the next answer.
            family.check("before anything is left out");
        }
        let epoch = Some(1 + u64::from(rotated));
        family.corrupt(|message| {
            manifests_of(message).into_iter().for_each(Vec::clear);
            match message {
                Message::Hello(hello) => (hello.zone_key, hello.chain) = (None, Vec::new()),
                Message::Delegate(delegate) => delegate.chain.clear(),
                Message::Answer(answer) => {
                    answer.proofs.clear();
                    let candidates = answer.zones.iter_mut().flat_map(|zone| &mut zone.candidates);
                    candidates.for_each(|candidate| candidate.chain.clear());
                }
                _ => {}
            }
        });
        // On connections that stand, and on new ones.
        for _ in 0..2 {
            for host in [family.root, family.writing] {
                assert!(family.find(host, "one.one.lib").is_empty(), "{host:?}");
                assert_eq!(family.believed(host, "lib"), epoch, "{host:?}");
            }
            family.world.crash(family.root);
            family.world.start(family.root);
            family.world.run_for(SOON);
        }
        family.corrupt(|_| {});
        family.world.crash(family.root);
        family.world.start(family.root);
        // Whoever could not be reached, or refused, is dialled again after up to 12 s.
        family.world.run_for(2 * SOON);
        family.check("signed again");
    }
}

/// Wall clocks of all hosts go on by that much, and nothing else does.
fn skip(world: &mut World, time: Duration) {
    for host in world.hosts().collect::<Vec<_>>() {
        world.set_clock(host, i64::try_from(time.as_millis()).expect("some days"));
    }
}
