//! What this zone and those below it hold, told to a parent that asks, and the same heard of children (DESIGN D3, D7).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::index::Filter;
use crate::node::Node;
use crate::params::{EXPORT_PAUSE, EXPORT_ZONES_MAX};
use crate::record::NodeId;
use crate::resolver::BadExport;
use crate::wire::message::{AskExport, Export, Exported};

/// What parents were told.
#[derive(Default)]
pub(super) struct Exporting {
    /// The terms of the own zone, under its tag.
    own: Option<(u64, Filter)>,
    /// When each asked last.
    asked: BTreeMap<NodeId, Duration>,
}

impl Node {
    /// A parent wants to know what it need not ask. Whoever asks again too soon is not answered: the terms of a zone are many.
    pub(super) fn on_ask_export(&mut self, peer: NodeId, ask: &AskExport) {
        let parents = self.links.askable_parents();
        let now = self.now.mono;
        let again = self.exporting.asked.get(&peer).is_some_and(|last| now < *last + EXPORT_PAUSE / 2);
        if !parents.contains(&peer) || again {
            self.counts.refused += 1;
            return;
        }
        self.exporting.asked.retain(|parent, _| parents.contains(parent));
        self.exporting.asked.insert(peer, now);
        let sight = self.sight_of(peer);
        let sees_all = sight.is_none_or(|sight| sight.sees_all_below(&self.config.zone));
        let export = match self.holdings().filter(|_| sees_all) {
            Some((zones, filter)) => {
                let filter = (ask.known != Some(filter.mark())).then(|| filter.bytes().to_vec());
                Export { id: ask.id, zones, whole: true, filter }
            }
            // Nothing can be concluded from it.
            None => Export { id: ask.id, zones: Vec::new(), whole: false, filter: None },
        };
        self.send(peer, export);
    }

    /// Everything from here down; nothing where something is missing, which is asked for, so that it is there next time.
    fn holdings(&mut self) -> Option<(Vec<Exported>, Filter)> {
        let (tag, index) = (self.zone.tag(), self.zone.tools().index().clone());
        if self.exporting.own.as_ref().is_none_or(|(of, _)| *of != tag) {
            self.exporting.own = Some((tag, Filter::of(&index)));
        }
        let (_, mut filter) = self.exporting.own.clone()?;
        let mut zones = vec![Exported {
            zone: self.config.zone.to_string(),
            node: self.id,
            tag,
            age_ms: 0,
            documents: index.len() as u64,
            total_length: index.total_length(),
        }];
        let mut is_whole = !self.gossip.is_behind() && !self.is_behind();
        for (_, route) in self.routes().children {
            let exports = &mut self.resolver.exports;
            let asks = exports.asks(&route, &self.tags, &mut self.chance, self.now.mono);
            match exports.told_of(&route, &self.tags, self.now.mono) {
                Some((below, of_child)) => {
                    zones.extend(below);
                    filter.merge(&of_child);
                }
                None => is_whole = false,
            }
            for (peer, ask) in asks {
                self.send(peer, ask);
            }
        }
        zones.sort();
        (is_whole && zones.len() <= EXPORT_ZONES_MAX).then_some((zones, filter))
    }

    pub(super) fn on_export(&mut self, peer: NodeId, export: Export) {
        let taken = match self.links.child_zone(peer).filter(|_| !self.is_claim(peer)) {
            Some(zone) => self.resolver.exports.take(peer, &zone, export, &self.tags),
            None => Err(BadExport),
        };
        self.counts.refused += u64::from(taken.is_err());
    }
}
