//! Scenarios: what tests and the command share to build one, and those that are written as files (see `file` and `run`).

pub mod file;
pub mod run;

use std::collections::BTreeSet;
use std::time::Duration;

use aop_proto::node::{NewTool, Write};
use aop_proto::record::NodeId;

use crate::world::{HostId, Spec, World};

/// A tool with a description to be found by.
pub fn tool(server: &str, original: &str, description: &str) -> NewTool {
    let definition =
        format!(r#"{{"name":"{original}","description":"{description}","inputSchema":{{"type":"object"}}}}"#);
    NewTool {
        original: original.to_owned(),
        definition: definition.into_bytes().into(),
        server: server.to_owned(),
        ..NewTool::default()
    }
}

/// The whole list of one server.
pub fn server(server: &str, tools: &[(&str, &str)]) -> Write {
    let tools = tools.iter().map(|(original, description)| tool(server, original, description)).collect();
    Write::Server { server: server.to_owned(), replica: false, tools }
}

/// Digests of those hosts that run.
pub fn digests(world: &World, hosts: &[HostId]) -> Vec<[u8; 16]> {
    hosts.iter().filter_map(|host| world.node(*host)).map(|node| node.registry().digest()).collect()
}

/// Whether all of these hosts run and hold the same.
pub fn equal(world: &World, hosts: &[HostId]) -> bool {
    let digests = digests(world, hosts);
    digests.len() == hosts.len() && digests.windows(2).all(|pair| pair[0] == pair[1])
}

/// `count` replicas of zone `name`, hosts from `first` on, all joining the first.
pub fn replicas(world: &mut World, name: &str, first: u32, count: u32) -> Vec<HostId> {
    (0..count)
        .map(|number| {
            let spec = Spec::new(name, first + number);
            world.boot(if number == 0 { spec } else { spec.join(first) })
        })
        .collect()
}

/// Whether every one of these sees every other.
pub fn acquainted(world: &World, hosts: &[HostId]) -> bool {
    let ids: BTreeSet<NodeId> = hosts.iter().map(|host| world.id(*host)).collect();
    hosts.iter().all(|host| {
        world.view(*host).is_some_and(|view| {
            let alive = view.members.iter().filter(|member| member.state == "alive" && ids.contains(&member.node));
            view.admitted && alive.count() + 1 == hosts.len()
        })
    })
}

/// Registers one tool after the other at random hosts, with that pause between.
pub fn updates(world: &mut World, hosts: &[HostId], count: u32, pause: Duration) {
    for number in 0..count {
        let at = usize::try_from(world.below(hosts.len() as u64)).unwrap_or(0);
        let original = format!("tool_{number}");
        world.write(hosts[at], Write::Catalogue(vec![tool("bench", &original, "one of many tools")]));
        world.run_for(pause);
    }
}
