//! Tags of zones: what this node says of its own to its relatives, and what it hears of others and passes on.

use crate::name::ZoneName;
use crate::node::{Node, Output};
use crate::record::NodeId;
use crate::wire::message::{Serial, Serials};

/// A stamp further ahead than this would silence everything true that comes after it.
pub(super) const STAMP_AHEAD_MAX_MS: u64 = 10 * 60 * 1000;

impl Node {
    pub(super) fn own_serial(&mut self) -> Serial {
        let stamp = self.writes.tick(self.now.wall_ms);
        Serial { zone: self.config.zone.to_string(), node: self.id, stamp, tag: self.zone.tag() }
    }

    /// Tells parents and children that zones changed.
    pub(super) fn spread(&mut self, from: Option<NodeId>, zones: Vec<Serial>) {
        for peer in self.links.relatives() {
            if Some(peer) != from {
                self.send_serials(peer, zones.iter().cloned());
            }
        }
    }

    pub(super) fn on_serials(&mut self, peer: NodeId, serials: Serials) {
        if !self.links.relatives().contains(&peer) {
            // Before both have read each other's greeting it may be one without being known as one.
            self.counts.bad_frames += u64::from(!self.is_greeting(peer));
            return;
        }
        let ahead = (self.now.wall_ms + STAMP_AHEAD_MAX_MS) << 16;
        let mut news = Vec::new();
        for serial in serials.zones {
            let Ok(zone) = ZoneName::parse(&serial.zone) else { continue };
            if !self.may_speak_of(peer, &zone) || serial.stamp > ahead {
                self.counts.refused += 1;
                continue;
            }
            let known = self.tags.newest(&zone);
            if zone != self.config.zone && self.tags.hear(&zone, serial.node, serial.stamp, serial.tag) {
                self.resolver.on_tag(&zone, serial.tag);
                // Each of its replicas tells of one change.
                if known != Some(serial.tag) {
                    self.outputs.push_back(Output::ZoneChanged(serial.clone()));
                }
                news.push(serial);
            }
        }
        if !news.is_empty() {
            self.epoch += 1;
            self.view_dirty = true;
            self.spread(Some(peer), news);
        }
    }
}
