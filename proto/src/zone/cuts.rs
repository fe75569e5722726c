//! Which of the zones below stand. Of each name one zone is the authority: of two delegations of which one lies in the other, taken by
//! replicas that did not hear of each other, only the first counts (DESIGN D1, D3).
//!
//! What must always hold: it follows from the records alone, so that all replicas agree.

use super::{What, Zone, tag_hash};
use crate::name::ZoneName;

fn are_nested(one: &ZoneName, other: &ZoneName) -> bool {
    one.is_below(other) || other.is_below(one)
}

impl Zone {
    /// Delegated zones that lie in that one, or that it lies in; whether they stand or not.
    pub fn nested_with<'a>(&'a self, zone: &'a ZoneName) -> impl Iterator<Item = &'a ZoneName> + 'a {
        self.children.keys().chain(self.covered.keys()).filter(move |other| are_nested(other, zone))
    }

    /// One of those that stand.
    pub fn in_the_way(&self, zone: &ZoneName) -> Option<&ZoneName> {
        self.children.keys().find(|other| are_nested(other, zone))
    }

    /// Says anew which of the zones that lie in `changed`, or that it lies in, stand, and tells of those others that come or go by it.
    pub(super) fn settle_cuts(&mut self, changed: &ZoneName) {
        if self.nested_with(changed).next().is_none() && !self.covered.contains_key(changed) {
            return;
        }
        let above = self.nested_with(changed).filter(|other| changed.is_below(other));
        let top = above.min_by_key(|zone| zone.depth()).unwrap_or(changed).clone();
        let all = self.children.iter().chain(&self.covered).filter(|(zone, _)| zone.is_within(&top));
        let since = all.map(|(zone, by_node)| {
            let first = by_node.values().map(|child| child.body.since_ms).min();
            (first, zone.depth(), zone.clone())
        });
        let mut in_order: Vec<_> = since.collect();
        in_order.sort();
        let mut standing: Vec<ZoneName> = Vec::new();
        for (_, _, zone) in in_order {
            let stood = self.children.contains_key(&zone);
            let stands = !standing.iter().any(|first| are_nested(first, &zone));
            if stands {
                standing.push(zone.clone());
            }
            if stands == stood {
                continue;
            }
            let (from, to) = match stands {
                true => (&mut self.covered, &mut self.children),
                false => (&mut self.children, &mut self.covered),
            };
            to.extend(from.remove_entry(&zone));
            if zone != *changed {
                self.toggle_hash(&tag_hash(&[b"child", zone.as_str().as_bytes()]));
                self.count(What::Child { zone, stands });
            }
        }
    }
}
