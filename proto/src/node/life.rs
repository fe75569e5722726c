//! Lives of this node's own log: a life ends when its sequence cannot be proven continuous (DESIGN D4).
//!
//! A store that was lost, or restored from a backup, would write other records under numbers that fellows hold already. They say
//! what they hold of our log whenever they greet us; if it is more than we remember, or they prove that we wrote two records under
//! one number, the log goes on under a higher incarnation: durable first, then everything that stands is written again in one flush.

use std::time::Duration;

use super::writes::Draft;
use crate::node::{Keep, Node, Write};
use crate::params::{CLOCK_BACK_MAX, LIFE_PAUSE, LIFE_PAUSES_MAX, LIVES_AHEAD_MAX, WRITES_WAITING_MAX};
use crate::record::{Kind, NodeId, Origin};
use crate::registry::Evidence;
use crate::wire::message::Fork;

/// The change from one life to the next.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// The next incarnation is on its way to the store, under that token.
    coming: Option<(u64, u64)>,
    /// When this life began, unless it is the first of this run.
    began: Option<Duration>,
    /// A life from which on this one cannot be proven, heard while it was too early for the next.
    owed: Option<u64>,
    /// The last of our lives that somebody ended for good.
    ended: Option<u64>,
    /// Writes that wait for it.
    waiting: Vec<(u64, Write)>,
    /// The node's own words that do.
    drafts: Vec<Draft>,
}

impl Life {
    /// Keeps what this node says of itself until the next life has begun. A key stands once, so that is bounded by what it says.
    pub(super) fn keep_drafts(&mut self, drafts: Vec<Draft>) {
        self.drafts.retain(|held| !drafts.iter().any(|new| (held.kind, &held.name) == (new.kind, &new.name)));
        self.drafts.extend(drafts);
    }

    /// Keeps what was asked for until then; false when too much waits.
    pub(super) fn keep_write(&mut self, token: u64, write: Write) -> bool {
        let fits = self.waiting.len() < WRITES_WAITING_MAX;
        if fits {
            self.waiting.push((token, write));
        }
        fits
    }
}

impl Node {
    /// What a fellow holds of our log: `(incarnation, complete-through)`.
    pub(super) fn on_held(&mut self, held: Option<(u64, u64)>) {
        let Some((incarnation, through)) = held else { return };
        let origin = self.origin();
        let forgotten = incarnation == origin.incarnation && through > self.writes.last_seq();
        if forgotten || incarnation > origin.incarnation {
            self.begin_life(incarnation);
        }
    }

    /// What is held here of a peer's log, as that peer is told: `(incarnation, complete-through)`. A life that was reaped is held to be
    /// longer than any, so that whoever comes back begins another.
    pub(super) fn held_of(&self, peer: NodeId) -> Option<(u64, u64)> {
        let held = self.registry.incarnation_of(peer);
        let held = held.map(|incarnation| (incarnation, self.registry.through(Origin { node: peer, incarnation })));
        let reaped = self.registry.reaped(peer).map(|incarnation| (incarnation, u64::MAX));
        held.max(reaped)
    }

    /// A fellow's proof that somebody wrote two records under one number.
    pub(super) fn on_fork(&mut self, from: NodeId, fork: &Fork) {
        self.learn_chains(std::slice::from_ref(&fork.chain));
        match self.evidence_of(fork) {
            Some(evidence) => self.on_forked(evidence, Some(from)),
            None => self.counts.refused += 1,
        }
    }

    pub(super) fn evidence_of(&mut self, fork: &Fork) -> Option<Evidence> {
        let (one, other) = (self.verifier.open(&fork.one).ok()?, self.verifier.open(&fork.other).ok()?);
        Evidence::of(&one, &other).filter(|evidence| self.chains.contains(evidence.origin().node))
    }

    /// Takes back what an earlier run knew of forks.
    pub(super) fn restore_forks(&mut self, forks: &[Fork]) {
        for fork in forks {
            self.learn_chains(std::slice::from_ref(&fork.chain));
            if let Some(evidence) = self.evidence_of(fork).filter(|evidence| evidence.origin().node != self.id) {
                let origin = evidence.origin();
                let applied = self.registry.quarantine(evidence);
                self.take(&applied);
                if !self.registry.is_quarantined(origin) {
                    self.persist(vec![Keep::DropFork(origin)]);
                }
            }
        }
    }

    /// The store has an earlier life of this node: the next had been decided, and was not written before the last run ended.
    pub(super) fn go_on(&mut self) {
        let held = self.registry.incarnation_of(self.id);
        if let Some(incarnation) = held.filter(|held| *held < self.config.incarnation) {
            self.write_again(Origin { node: self.id, incarnation });
        }
    }

    /// Our own stamps are far ahead of our own clock: it was wrong, and was set right. Others would wait with what we write until
    /// their clocks have come that far, so the log goes on in a life that begins now.
    pub(super) fn mind_clock(&mut self) {
        let ahead = (self.writes.last_hlc() >> 16).saturating_sub(self.now.wall_ms);
        if u128::from(ahead) > CLOCK_BACK_MAX.as_millis() && self.is_admitted() {
            self.begin_life(self.origin().incarnation);
        }
    }

    /// Goes on under an incarnation above `seen`. A claim that no clock could have led to is not followed, and one life lasts a
    /// while, each twice as long as the one before: whoever lies about us costs us a flush ever more rarely. What is heard before
    /// that is remembered until then: nobody may say it again.
    pub(super) fn begin_life(&mut self, seen: u64) {
        let (wall_s, own) = (self.now.wall_ms / 1000, self.origin().incarnation);
        if seen > own && seen > wall_s + LIVES_AHEAD_MAX {
            self.counts.refused += 1;
            return;
        }
        if self.life.coming.is_some() || self.now.mono < self.life_may_begin() {
            self.life.owed = self.life.owed.max(Some(seen));
            return;
        }
        let next = wall_s.max(seen + 1).max(own + 1);
        let token = self.persist(vec![Keep::Incarnation(next)]);
        self.life.coming = Some((token, next));
    }

    fn life_may_begin(&self) -> Duration {
        let pause = LIFE_PAUSE * 2_u32.saturating_pow(self.counts.lives.min(LIFE_PAUSES_MAX) as u32);
        self.life.began.map_or(Duration::ZERO, |began| began + pause / 2)
    }

    /// Begins the life that it was too early for, if that is still to be done.
    pub(super) fn begin_owed_life(&mut self) {
        if self.life.coming.is_none()
            && self.now.mono >= self.life_may_begin()
            && let Some(seen) = self.life.owed.take()
            && seen >= self.origin().incarnation
        {
            self.begin_life(seen);
        }
    }

    /// When the next life begins of a log that can go on in no other way, if it is too early for that yet.
    pub fn next_life(&self) -> Option<Duration> {
        self.life.owed.filter(|_| self.life.coming.is_none()).map(|_| self.life_may_begin())
    }

    /// Somebody ended our lives up to this one for good, or nobody says so any more.
    pub(super) fn on_own_end(&mut self, ended: Option<u64>) {
        self.life.ended = ended;
        match ended.filter(|ended| *ended >= self.origin().incarnation) {
            Some(ended) => self.begin_life(ended),
            None => self.mark_own_end(),
        }
    }

    /// Others hold a mark where our lives were ended, and marks are hashed: this node holds it as well, as soon as its log is of a
    /// later life.
    pub(super) fn mark_own_end(&mut self) {
        if self.registry.reaped(self.id) > self.life.ended {
            self.registry.lift(self.id);
        }
        let held = self.registry.incarnation_of(self.id);
        if let Some(ended) = self.life.ended.filter(|ended| held.is_some_and(|held| held > *ended)) {
            let applied = self.registry.reap(self.id, ended);
            self.take(&applied);
        }
    }

    /// Whether the log is between two lives: what is written now goes into the next.
    pub(super) const fn is_between_lives(&self) -> bool {
        self.life.coming.is_some()
    }

    /// Whether that token was the next incarnation's; it begins if it is durable (I11).
    pub(super) fn on_life_persisted(&mut self, token: u64, durable: bool) -> bool {
        let Some((_, next)) = self.life.coming.filter(|(coming, _)| *coming == token) else { return false };
        self.life.coming = None;
        if durable {
            let former = self.origin();
            self.config.incarnation = next;
            self.writes.begin(next, self.now.wall_ms);
            self.life.began = Some(self.now.mono);
            self.counts.lives += 1;
            self.write_again(former);
        }
        let drafts = std::mem::take(&mut self.life.drafts);
        self.say(drafts);
        for (token, write) in std::mem::take(&mut self.life.waiting) {
            self.on_write(token, write);
        }
        true
    }

    /// Everything that stood in the former life stands in this one, in one flush, so that nobody sees a part of it.
    pub(super) fn write_again(&mut self, former: Origin) {
        let stands = self.registry.records_of(former).filter(|signed| !signed.record.is_tombstone());
        let drafts: Vec<Draft> = stands
            .map(|signed| Draft {
                kind: signed.record.kind(),
                name: signed.record.name().to_owned(),
                def_hash: signed.record.def_hash(),
                body: signed.record.body().map(<[u8]>::to_vec),
                leased: matches!(signed.record.kind(), Kind::Node | Kind::Delegation),
            })
            .collect();
        if drafts.is_empty() {
            self.write_node_record();
        } else {
            self.say(drafts);
        }
    }
}
