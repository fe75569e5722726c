//! T1 to T3, T5 and T6: how fast one update reaches all, in how many copies and bytes.

use std::time::Duration;

use aop_proto::node::Write;

use super::{Figure, LAN, Options, WAN, mean, most, ms, record_of, zone, zone_over};
use crate::world::{HostId, World};

const NODES: u32 = 1000;
/// Bytes of a record, all in.
const RECORD: usize = 1024;
/// Updates measured for one figure.
const UPDATES: u32 = 40;
/// Nobody waits longer for one of them.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(500);

/// One update that spread.
pub(super) struct Spread {
    most: Option<Duration>,
    pub(super) all: Option<Duration>,
    copies: f64,
    /// Of the record as it is sent.
    bytes: usize,
}

/// One host writes; until everybody holds it.
pub(super) fn update(world: &mut World, hosts: &[HostId], number: u32) -> Spread {
    let at = usize::try_from(world.below(hosts.len() as u64)).unwrap_or(0);
    let (host, origin) = (hosts[at], world.origin(hosts[at]));
    let through = |world: &World| world.node(host).map_or(0, |node| node.registry().through(origin));
    let before = through(world);
    world.follow(origin, before + 1);
    world.write_through(host, Write::Catalogue(vec![record_of(RECORD, number)])).expect("it is written");
    // Everything the write made is one flush; its last record is the one that is followed.
    let last = through(world);
    assert_eq!(last, before + 1, "one record for one tool");
    world.run_until(PATIENCE, |world| world.spread().is_some_and(|spread| spread.missing() == 0));
    let spread = world.spread().expect("it is followed");
    // Counted from the first moment anybody held it: its writer, when the store had it.
    let first = spread.times().first().copied().unwrap_or_default();
    let since = |share| spread.reached(share).map(|time| time - first);
    let signed = world.node(host).and_then(|node| node.registry().records_of(origin).last());
    let bytes = signed.map_or(0, |signed| signed.envelope_len());
    Spread { most: since(0.99), all: since(1.0), copies: spread.copies() as f64 / (hosts.len() - 1) as f64, bytes }
}

fn updates(world: &mut World, hosts: &[HostId], from: u32) -> Vec<Spread> {
    let spreads = (from..from + UPDATES).map(|number| {
        let spread = update(world, hosts, number);
        world.run_for(PAUSE);
        spread
    });
    spreads.collect()
}

/// The time that so many hops take at the mean latency: nobody can be faster without more fanout.
fn floor(nodes: f64, (least, most): (Duration, Duration)) -> String {
    let hops = nodes.ln() / 10_f64.ln();
    let hop = (least + most).as_secs_f64() / 2.0 * 1e3;
    format!("bound {:.0} ms ({:.0} hops of 9)", hops.ceil() * hop, hops.ceil())
}

pub(super) fn all(options: &Options) -> Vec<Figure> {
    let (mut world, hosts) = zone(NODES, options.seed);
    let mut figures = lan(&mut world, &hosts);
    figures.extend(lossy(&mut world, &hosts));
    let (mut world, hosts) = zone_over(WAN, NODES, options.seed);
    figures.extend(wan(&mut world, &hosts));
    figures.sort_by_key(|figure| figure.number);
    figures
}

fn lan(world: &mut World, hosts: &[HostId]) -> Vec<Figure> {
    let quiet = Duration::from_secs(10);
    let before = world.traffic(|_| true).bytes;
    world.run_for(quiet);
    let (idle, began) = ((world.traffic(|_| true).bytes - before) as f64 / quiet.as_secs_f64(), world.time());
    let before = world.traffic(|_| true).bytes;
    let spreads = updates(world, hosts, 0);
    let took = (world.time() - began).as_secs_f64();
    let caused = (world.traffic(|_| true).bytes - before) as f64 - idle * took;
    let each = caused / f64::from(UPDATES) / hosts.len() as f64 / 1024.0;
    let size = mean(spreads.iter().map(|spread| spread.bytes as f64));
    let all = || spreads.iter().map(|spread| ms(spread.all));
    vec![
        Figure::new(
            "T1",
            "n = 1000, links 0.5–2 ms: 99 % informed, mean",
            mean(spreads.iter().map(|s| ms(s.most))),
            "ms",
        )
        .at_most(25.0)
        .beside(floor(f64::from(NODES), LAN)),
        Figure::new("T1", "the same: all informed, mean", mean(all()), "ms")
            .at_most(140.0)
            .beside("plain pushes to 3: 146, foca 1010, memberlist ≈ 1600"),
        Figure::new("T1", "the same: all informed, worst", most(all()), "ms")
            .at_most(220.0)
            .beside("plain pushes to 3: 216"),
        Figure::new("T5", "copies of a record per node, the same links", mean(spreads.iter().map(|s| s.copies)), "")
            .at_most(1.1)
            .beside("bound 1.0, foca 12–13"),
        Figure::new("T6", format!("KiB per node and update, record of {size:.0} B, all in"), each, "KiB")
            .at_most(1.9)
            .beside("bound ≈ 1.1"),
    ]
}

fn lossy(world: &mut World, hosts: &[HostId]) -> Vec<Figure> {
    world.weather.loss = 100;
    let packets: Vec<f64> = updates(world, hosts, UPDATES).iter().map(|spread| ms(spread.all)).collect();
    (world.weather.loss, world.weather.drop) = (0, 100);
    let messages: Vec<f64> = updates(world, hosts, 2 * UPDATES).iter().map(|spread| ms(spread.all)).collect();
    let figure = |what: &str, measured| Figure::new("T2", format!("{what}: all informed"), measured, "ms");
    vec![
        figure("10 % of packets lost, mean", mean(packets.clone())).at_most(450.0).beside("foca 1020"),
        figure("10 % of packets lost, worst", most(packets)).at_most(800.0),
        figure("10 % of messages lost for good, mean", mean(messages.clone())).at_most(450.0).beside("foca 1020"),
        figure("10 % of messages lost for good, worst", most(messages)).at_most(800.0),
    ]
}

fn wan(world: &mut World, hosts: &[HostId]) -> Vec<Figure> {
    let spreads = updates(world, hosts, 3 * UPDATES);
    vec![
        Figure::new(
            "T3",
            "n = 1000, links 10–80 ms: 99 % informed, mean",
            mean(spreads.iter().map(|s| ms(s.most))),
            "ms",
        )
        .at_most(600.0)
        .beside(format!("{}; Corrosion in production ≈ 1 s", floor(f64::from(NODES), WAN))),
        Figure::new("T5", "copies of a record per node, the same links", mean(spreads.iter().map(|s| s.copies)), "")
            .at_most(1.4)
            .beside("bound 1.0"),
    ]
}
