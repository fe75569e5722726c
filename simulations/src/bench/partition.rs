//! T8: a zone in two halves for a minute, both of which go on.

use std::time::Duration;

use aop_proto::node::Write;
use aop_proto::params::GOSSIP_INTERVAL;

use super::{Figure, Options, record_of, zone};
use crate::scenario::equal;
use crate::world::{HostId, World};

const NODES: u32 = 100;
const APART: Duration = Duration::from_secs(60);
const UPDATES: u32 = 1000;
/// Bytes of a record.
const RECORD: usize = 700;
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(2);
/// Nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn heals(options: &Options) -> Vec<Figure> {
    let (mut world, hosts) = zone(NODES, options.seed + 6);
    let (one, two) = hosts.split_at(hosts.len() / 2);
    world.partition(one, two);
    for number in 0..UPDATES {
        for side in [one, two] {
            let at = usize::try_from(world.below(side.len() as u64)).unwrap_or(0);
            world.write(side[at], Write::Catalogue(vec![record_of(RECORD, number)]));
        }
        world.run_for(APART / UPDATES);
    }
    let missing = bytes_missing(&world, one, two);
    world.heal();
    let contact =
        world.run_until_every(LOOK, PATIENCE, |world| one.iter().any(|a| two.iter().any(|b| world.are_linked(*a, *b))));
    let before = world.traffic(|_| true).bytes;
    let took = contact.and_then(|_| world.run_until_every(LOOK, PATIENCE, |world| equal(world, &hosts)));
    let sent = (world.traffic(|_| true).bytes - before) as f64;
    let intervals = took.map_or(f64::INFINITY, |took| took.as_secs_f64() / GOSSIP_INTERVAL.as_secs_f64());
    let contact = contact.unwrap_or(PATIENCE).as_secs_f64();
    vec![
        Figure::new("T8", "parted for 60 s, 1000 updates a side: one hash after contact", intervals, "T")
            .at_most(10.0)
            .beside(format!("T = 200 ms, n = {NODES}; first contact {contact:.1} s after the cut ended")),
        Figure::new("T8", "the same: bytes sent for bytes missing", sent / missing, "×")
            .at_most(1.3)
            .beside(format!("bound 1.0, {:.0} MiB missing", missing / (1 << 20) as f64)),
    ]
}

/// Bytes of the records that every host lacks of the other side.
fn bytes_missing(world: &World, one: &[HostId], two: &[HostId]) -> f64 {
    let lacked = |from: &[HostId], to: &[HostId]| -> usize {
        let (Some(holds), Some(lacks)) = (world.node(from[0]), world.node(to[0])) else { return 0 };
        let (holds, lacks) = (holds.registry(), lacks.registry());
        let records = holds.vector().into_iter().flat_map(|(origin, _)| {
            let through = lacks.through(origin);
            holds.records_of(origin).filter(move |signed| signed.record.seq > through)
        });
        records.map(|signed| signed.envelope_len()).sum::<usize>() * to.len()
    };
    (lacked(one, two) + lacked(two, one)) as f64
}
