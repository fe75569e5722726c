//! A node of this very process, without network, store or doors: what is measured where a process would only add noise.

use std::ops::Range;

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

/// A node's configuration: of that zone, to be dialled there, below these.
///
/// # Errors
/// The name is none, or there are no keys.
pub(crate) fn config(zone: &str, address: String, parents: Vec<String>, key: &NodeKey) -> Result<Config> {
    Ok(Config {
        zone: ZoneName::parse(zone)?,
        key: key.signing_key().clone(),
        zone_key: ZoneKey::memory()?.signing_key().clone(),
        spare_key: None,
        incarnation: 1,
        address,
        version: "0".to_owned(),
        seed: [7; 32],
        parents,
        joins: Vec::new(),
        admission: Admission::Local,
        invitation: None,
        rules: Policy::open(),
        opened: None,
    })
}

/// Tools of [`catalogue`] as they are written in that zone.
///
/// # Errors
/// A line cannot be read.
pub(crate) fn tools(zone: &str, numbers: Range<usize>) -> Result<Write> {
    let zone = ZoneName::parse(zone)?;
    let read = numbers.map(|number| read_catalogue(&catalogue::line(number), &zone));
    Ok(Write::Catalogue(read.collect::<std::result::Result<_, _>>()?))
}

/// A node of that zone with so many tools of [`catalogue`].
///
/// # Errors
/// It does not show all of them.
pub(crate) fn node(zone: &str, many: usize) -> Result<Node> {
    let clock = Clock::start();
    let config = config(zone, "127.0.0.1:7400".to_owned(), Vec::new(), &NodeKey::memory()?)?;
    let mut node = Node::new(config, Restored::default(), clock.now());
    settle(&mut node, clock);
    for from in (0..many).step_by(FLUSH) {
        let write = tools(zone, from..many.min(from + FLUSH))?;
        node.handle_input(clock.now(), Input::Write { token: 0, write });
        settle(&mut node, clock);
    }
    let shown = node.view().tools.len();
    if shown != many {
        return Err(format!("{shown} of {many} tools are shown").into());
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
