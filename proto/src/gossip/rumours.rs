//! News on their way: whom they go to, with their records or as an announcement, and how announced ones are asked for.
//!
//! Records travel whole in their first hops, when few have them and nearly everybody who is sent them lacks them; later a line says
//! that they are there, and whoever lacks them asks: so they come about once. Nothing goes to whoever is known to have it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::peer::{Told, datagrams};
use super::wants::Heard;
use super::{Gossip, News, Replica, Sends, pick, with_chains};
use crate::params::{
    ANNOUNCE_DOTS_MAX, ANNOUNCE_FANOUT, COALESCE, FANOUT, LOOK_AFTER, LOOKS, PULL_PATIENCE, PUSH_BYTES_MAX,
    PUSH_BYTES_SMALL,
};
use crate::record::{NodeId, Origin};
use crate::selection::Chance;
use crate::wire::message::{Announce, Announced, Range, Vector};

/// Hops in which records travel whole, in a zone of so many: `max(1, ⌊log₄ n⌋ − 1)` (research §4, rule D).
pub(super) const fn push_hops(count: usize) -> u8 {
    let log4 = match count {
        0 => 0,
        _ => count.ilog2() / 2,
    };
    if log4 > 2 { (log4 - 1) as u8 } else { 1 }
}

impl Gossip {
    /// Records that are new here: written by this node and durable (`hop` 0, `from` nobody), or heard from a fellow.
    pub fn news(
        &mut self,
        now: Duration,
        news: &[News],
        hop: u8,
        from: Option<NodeId>,
        replica: &Replica<'_>,
        chance: &mut Chance,
    ) -> Sends {
        self.take_news(now, news, hop, from, replica, chance);
        let mut sends = Sends::new();
        self.flush_due(now, replica, &mut sends);
        sends
    }

    pub(super) fn take_news(
        &mut self,
        now: Duration,
        news: &[News],
        hop: u8,
        from: Option<NodeId>,
        replica: &Replica<'_>,
        chance: &mut Chance,
    ) {
        if news.is_empty() {
            return;
        }
        self.past.on_change(news.iter().map(|item| item.origin), replica.registry.digest());
        for item in news {
            let want = self.wants.get(item.origin).map(|want| (want.hop, want.holders()));
            let (announced, mut knowing) = want.unwrap_or_default();
            knowing.extend(from);
            // What was asked for comes without a hop of its own and goes on with that of its announcement. What has neither is a
            // repair: everybody else may have had it for long.
            let hop = if hop == 0 { announced } else { hop };
            if hop > 0 || from.is_none() {
                self.spread(now, item, hop, &knowing, replica, chance);
                // A node in some hundreds is missed by everybody; a look at a few more fellows each finds it before its own round does.
                self.look_at.get_or_insert_with(|| now + chance.jitter(LOOK_AFTER));
                self.looks = LOOKS;
            }
        }
    }

    /// Chooses who is told.
    fn spread(
        &mut self,
        now: Duration,
        item: &News,
        hop: u8,
        knowing: &[NodeId],
        replica: &Replica<'_>,
        chance: &mut Chance,
    ) {
        let early = hop < push_hops(replica.count) && item.bytes <= PUSH_BYTES_MAX;
        let whole = early || item.bytes <= PUSH_BYTES_SMALL;
        let fanout = if whole { FANOUT } else { ANNOUNCE_FANOUT };
        let told = Told { after: item.after, hop, payload: whole.then_some(item.bytes) };
        for peer in pick(replica.fellows, fanout, |peer| !knowing.contains(peer), chance) {
            self.counts.dropped += self.peer(peer).tell(item.origin, told);
            self.schedule(peer, now);
        }
    }

    /// Part of a log came from a fellow: its want is over, or goes on with whoever is next when that fellow has given what it had. After
    /// a part that was cut the next one is on its way, and nobody else is asked meanwhile.
    pub(super) fn settle_want(
        &mut self,
        range: &Range,
        from: NodeId,
        fresh: &[News],
        now: Duration,
        replica: &Replica<'_>,
        chance: &mut Chance,
    ) {
        let Some(want) = self.wants.get(range.origin) else { return };
        if !replica.registry.lacks(range.origin, want.through) {
            self.wants.remove(range.origin);
        } else if want.asked == Some(from) && range.cut {
            self.wants.retry_at(range.origin, now + PULL_PATIENCE);
        } else if want.asked == Some(from) && fresh.iter().any(|news| news.origin == range.origin) {
            self.ask(range.origin, now, replica, chance);
        }
    }

    /// A fellow holds something: what is lacked of it is asked for, at one fellow at a time.
    pub fn on_announce(
        &mut self,
        now: Duration,
        from: NodeId,
        announce: &Announce,
        replica: &Replica<'_>,
        chance: &mut Chance,
    ) -> Sends {
        self.counts.dropped += announce.dots.len().saturating_sub(ANNOUNCE_DOTS_MAX) as u64;
        for dot in announce.dots.iter().take(ANNOUNCE_DOTS_MAX) {
            let ours = replica.registry.through(dot.origin);
            self.peer(from).holds(dot.origin, dot.through, ours);
            self.hear(*dot, announce.hop, from, now, replica, chance);
        }
        let mut sends = Sends::new();
        self.flush_due(now, replica, &mut sends);
        sends
    }

    pub(super) fn hear(
        &mut self,
        dot: Announced,
        hop: u8,
        from: NodeId,
        now: Duration,
        replica: &Replica<'_>,
        chance: &mut Chance,
    ) {
        // Nobody adds to our own log: more of it than we wrote is nothing to ask for.
        if dot.origin.node == replica.id || !replica.registry.lacks(dot.origin, dot.through) {
            return;
        }
        match self.wants.hear(dot, hop, from, now) {
            Heard::New => self.ask(dot.origin, now, replica, chance),
            Heard::Known => {}
            Heard::Full => self.counts.dropped += 1,
        }
    }

    /// Asks the next fellow for a log: who announced it, otherwise anybody.
    pub(super) fn ask(&mut self, origin: Origin, now: Duration, replica: &Replica<'_>, chance: &mut Chance) {
        let wanted = self.wants.get(origin).map_or(0, |want| want.through);
        if !replica.registry.lacks(origin, wanted) {
            self.wants.remove(origin);
            return;
        }
        let peers = &self.peers;
        let may = |peer: NodeId| peers.get(&peer).is_none_or(|peer| peer.busy_until <= now);
        let any = |asked: Option<NodeId>| {
            let other = pick(replica.fellows, 1, |peer| Some(*peer) != asked && may(*peer), chance);
            other.first().copied().or(asked.filter(|peer| may(*peer)))
        };
        if let Some(peer) = self.wants.next(origin, replica.registry.through(origin), may, any) {
            self.ask_of(peer, origin, now);
        }
    }

    pub(super) fn ask_of(&mut self, peer: NodeId, origin: Origin, now: Duration) {
        let patience = self.peer(peer).patience();
        self.wants.retry_at(origin, now + patience);
        self.peer(peer).asks.insert(origin);
        self.schedule(peer, now);
    }

    /// An idle peer is flushed at once; one that was sent something a moment ago when that moment is over.
    fn schedule(&mut self, peer: NodeId, now: Duration) {
        let state = self.peers.entry(peer).or_default();
        if state.flush_at.is_none() {
            let at = state.flushed.map_or(now, |flushed| now.max(flushed + COALESCE));
            state.flush_at = Some(at);
            self.flushes.insert((at, peer));
        }
    }

    pub(super) fn flush_due(&mut self, now: Duration, replica: &Replica<'_>, sends: &mut Sends) {
        while let Some((at, peer)) = self.flushes.first().copied().filter(|(at, _)| *at <= now) {
            self.flushes.remove(&(at, peer));
            self.flush(peer, now, replica, sends);
        }
    }

    /// One frame of records, announcements of whatever did not go with it, and one request.
    fn flush(&mut self, peer: NodeId, now: Duration, replica: &Replica<'_>, sends: &mut Sends) {
        let (mut outbox, asks) = self.peer(peer).take(now);
        let whole = outbox.iter().filter(|(_, told)| told.payload.is_some());
        let entries: Vec<(Origin, u64)> = whole.clone().map(|(origin, told)| (*origin, told.after)).collect();
        let hop = whole.map(|(_, told)| told.hop).max().unwrap_or(0).saturating_add(1);
        if !entries.is_empty() {
            let asked = Vector { buckets: 0, entries, reply: false };
            let (frames, _) = replica.registry.frames_for(&asked, PUSH_BYTES_MAX);
            for ranges in frames {
                for range in ranges.iter().filter(|range| !range.cut) {
                    outbox.remove(&range.origin);
                }
                self.counts.payloads += 1;
                sends.push((peer, with_chains(ranges, replica.chains, hop).into()));
            }
        }
        self.announce(peer, &outbox, replica, sends);
        let entries =
            asks.into_iter().filter(|origin| self.wants.get(*origin).is_some_and(|want| want.asked == Some(peer)));
        let standing = |origin| (origin, replica.registry.standing(origin, peer, now).number());
        let entries: Vec<(Origin, u64)> = entries.map(standing).collect();
        if !entries.is_empty() {
            self.counts.pulls += 1;
            self.peer(peer).on_asked(replica.registry.pending_bytes());
            sends.push((peer, Vector { buckets: 0, entries, reply: false }.into()));
        }
    }

    fn announce(&mut self, peer: NodeId, outbox: &BTreeMap<Origin, Told>, replica: &Replica<'_>, sends: &mut Sends) {
        let hop = outbox.values().map(|told| told.hop).max().unwrap_or(0).saturating_add(1);
        for dots in datagrams(&announced(outbox.keys(), replica)) {
            self.counts.announcements += 1;
            sends.push((peer, Announce { dots, hop }.into()));
        }
    }
}

/// Where these logs end now. Those that were superseded meanwhile end nowhere.
fn announced<'a>(origins: impl Iterator<Item = &'a Origin>, replica: &Replica<'_>) -> Vec<Announced> {
    let dots = origins.map(|origin| Announced { origin: *origin, through: replica.registry.through(*origin) });
    dots.filter(|dot| dot.through > 0).collect()
}

/// What a fellow that lacks a few changes is told, as news that nobody need push any more; `None` when one of them cannot be told: the
/// log is no longer held, or is forked.
pub(super) fn told_since(origins: &[Origin], replica: &Replica<'_>) -> Option<Announce> {
    let dots = announced(origins.iter(), replica);
    (dots.len() == origins.len()).then(|| Announce { dots, hop: push_hops(replica.count) })
}
