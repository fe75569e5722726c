//! Invariant 8: everything a node holds is within its cap, at all times.

use std::collections::BTreeMap;

use aop_proto::node::Gauge;

use super::{Coverage, Verdict, ensure};
use crate::host::Host;
use crate::world::Watch;

/// At [`Watch::Digests`], one look in so many.
const LOOKS_ONE_IN: u32 = 256;

/// When each host was last looked at.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    looks: BTreeMap<usize, u32>,
}

impl Resources {
    pub(super) fn look(&mut self, number: usize, host: &Host, watch: Watch, coverage: &mut Coverage) -> Verdict {
        let looks = self.looks.entry(number).or_default();
        *looks = looks.wrapping_add(1);
        if watch != Watch::Everything && !looks.is_multiple_of(LOOKS_ONE_IN) {
            return Ok(());
        }
        let Some(node) = &host.node else { return Ok(()) };
        let gauges = node.gauges();
        coverage.gauges(&gauges);
        within(number, &gauges)
    }
}

fn within(number: usize, gauges: &[Gauge]) -> Verdict {
    gauges.iter().try_for_each(|Gauge { name, held, cap }| {
        ensure(held <= cap, 8, || format!("host {number} holds {held} {name}, at most {cap} are allowed"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_queue_without_bound_turns_invariant_8_red() {
        let gauge = |held| Gauge { name: "wants", held, cap: 100 };
        within(0, &[gauge(100)]).unwrap();
        let red = within(0, &[gauge(0), gauge(101)]).unwrap_err().to_string();
        assert_eq!(red, "invariant 8: host 0 holds 101 wants, at most 100 are allowed");
    }
}
