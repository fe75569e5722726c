//! A node of this very process, without network, store or doors: what is measured where a process would only add noise.

use aop::clock::Clock;
use aop::entropy::{NodeKey, ZoneKey};
use aop::handle::read_catalogue;
use aop_proto::access::Policy;
use aop_proto::name::ZoneName;
use aop_proto::node::{Admission, Config, Input, Node, Output, Restored, Write};

use crate::Result;
use crate::catalogue;

/// Tools that are written, and signed, together.
const FLUSH: usize = 512;

/// A node of that zone with so many tools of [`catalogue`].
///
/// # Errors
/// It does not show all of them.
pub(crate) fn node(zone: &str, tools: usize) -> Result<Node> {
    let (clock, zone) = (Clock::start(), ZoneName::parse(zone)?);
    let config = Config {
        zone: zone.clone(),
        key: NodeKey::memory()?.signing_key().clone(),
        zone_key: ZoneKey::memory()?.signing_key().clone(),
        spare_key: None,
        incarnation: 1,
        address: "127.0.0.1:7400".to_owned(),
        version: "0".to_owned(),
        seed: [7; 32],
        parents: Vec::new(),
        joins: Vec::new(),
        admission: Admission::Local,
        invitation: None,
        rules: Policy::open(),
        opened: None,
    };
    let mut node = Node::new(config, Restored::default(), clock.now());
    settle(&mut node, clock);
    for from in (0..tools).step_by(FLUSH) {
        let numbers = from..tools.min(from + FLUSH);
        let written = numbers.map(|number| read_catalogue(&catalogue::line(number), &zone));
        let write = Write::Catalogue(written.collect::<std::result::Result<_, _>>()?);
        node.handle_input(clock.now(), Input::Write { token: 0, write });
        settle(&mut node, clock);
    }
    let shown = node.view().tools.len();
    if shown != tools {
        return Err(format!("{shown} of {tools} tools are shown").into());
    }
    Ok(node)
}

/// Everything it wants stored is; there is nobody to send anything to.
fn settle(node: &mut Node, clock: Clock) {
    loop {
        match node.poll_output() {
            Output::Wait(_) => return,
            Output::Persist { token, .. } => node.handle_input(clock.now(), Input::Persisted { token, durable: true }),
            _ => {}
        }
    }
}
