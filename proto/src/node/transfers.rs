//! Bundles: the own zone given out as a file, and one taken in as if a fellow had told it.
//!
//! ```text
//!  give   export ─▶ Export, frame by frame                       nothing of it is a secret; keys and upstreams are in no record
//!  take   begin ─▶ is it of this zone and key? ─▶ each frame ─▶ end, durable
//!                  │ a node without company whose certificates are in it goes by its key (a zone that was lost)
//!                  └ tried only: the same rules, on logs that are lent
//! ```
//!
//! What must always hold: a record comes in by the rules by which a fellow's does, or not at all (I1, I8); nothing is taken back that
//! is held; and what a bundle says of the node that takes it counts only where that node has lost its log.

use std::collections::{BTreeMap, BTreeSet};

use super::writes::Draft;
use crate::codec::Wire;
use crate::gossip::{News, fork_of};
use crate::name::ZoneName;
use crate::node::{Node, Write, WriteError};
use crate::now::Now;
use crate::params::{LOG_BYTES_RESERVED, ORIGINS_MAX, REVOCATIONS_PER_FRAME};
use crate::record::{Certificate, Kind, NodeId, Origin, Revocation, ServerBody, SignedRef, ToolBody};
use crate::registry::{Applied, Change, RangeError, Registry};
use crate::transfer::{Export, Opening};
use crate::trust::{Anchors, Lineage};
use crate::wire::message::{Bundle, Fork, Message, Range, Ranges, Revoked, Vector};

/// What is said of a server whose tools came back without it: how it is reached stood in the store that was lost.
const REGISTRATION_LOST: &str = "this node lost its registration; register it again";

/// Why a bundle is not taken at all. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is of another zone.
    #[error("the bundle is of zone {theirs}, and this node of {ours}")]
    OtherZone {
        /// The bundle's.
        theirs: String,
        /// The node's.
        ours: ZoneName,
    },
    /// Its zone has another key, to which no manifests lead, or its manifests lead nowhere.
    #[error("the bundle is of another zone that is called {zone}: its key is not the one that is believed here")]
    OtherKey {
        /// The zone.
        zone: ZoneName,
    },
    /// This node may not speak for the zone, so it could prove nothing to whom it tells what it took.
    #[error("this node is not admitted to zone {zone}, and the bundle has no certificates for it")]
    NotAdmitted {
        /// The zone.
        zone: ZoneName,
    },
}

/// Why a part of a bundle was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its signature, or its definition's hash, does not hold.
    Forged,
    /// No certificates lead from the zone's key to its writer, who was revoked or whose key is over.
    Unbelieved,
    /// It begins after what is held here: a bundle in between is missing.
    Gap,
    /// It leads to a state that its writer never signed.
    Incomplete,
    /// It is not what it says.
    Malformed,
    /// Its writer wrote two records under one number.
    Quarantined,
    /// It is more than may be held.
    TooLarge,
    /// Something is on its way from a fellow.
    Busy,
    /// It is this node's own, which has gone on writing since.
    Own,
}

impl Why {
    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Forged => "a signature or a definition's hash does not hold",
            Self::Unbelieved => "no certificates lead from the zone's key to who wrote it",
            Self::Gap => "it begins after what is held here: import the bundle before it first",
            Self::Incomplete => "it leads to a state that its writer never signed",
            Self::Malformed => "it is not what it says",
            Self::Quarantined => "its writer wrote two records under one number",
            Self::TooLarge => "it is more than may be held",
            Self::Busy => "it is on its way from another replica: try again",
            Self::Own => "it is this node's own, which has gone on writing since",
        }
    }

    /// For programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::Unbelieved => "unbelieved",
            Self::Gap => "gap",
            Self::Incomplete => "incomplete",
            Self::Malformed => "malformed",
            Self::Quarantined => "quarantined",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Own => "own",
        }
    }

    fn of(error: &RangeError) -> Self {
        match error {
            RangeError::Unbelieved => Self::Unbelieved,
            RangeError::Forged => Self::Forged,
            RangeError::Gap => Self::Gap,
            RangeError::Malformed => Self::Malformed,
            RangeError::Incomplete => Self::Incomplete,
            RangeError::Fork(_) | RangeError::Quarantined => Self::Quarantined,
            // Another life of it is held, which is what the caller asks before.
            RangeError::Superseded => Self::Own,
            RangeError::Busy => Self::Busy,
            RangeError::TooManyOrigins | RangeError::TooLarge | RangeError::Full => Self::TooLarge,
        }
    }
}

/// What came of a bundle, or would have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Logs in it.
    pub logs: u64,
    /// Records in it.
    pub records: u64,
    /// Records that were new here.
    pub taken: u64,
    /// Records that were held already, or replaced by something that is.
    pub known: u64,
    /// Records that wait until the local clock has come as far as their writer's.
    pub waiting: u64,
    /// Records that were held and are no more: replaced, or collected.
    pub replaced: u64,
    /// Names of tools of which another instance or definition stands now.
    pub tools: u64,
    /// Names of tools of which an instance is gone.
    pub tools_gone: u64,
    /// Records of this node's own lost log that it has said again.
    pub restored: u64,
    /// Who is believed no more, and why logs are not, as far as it was new.
    pub statements: u64,
    /// Logs and records that were not taken, and why.
    pub refused: BTreeMap<Why, (u64, u64)>,
    /// Whether this node goes by the bundle's key from now on.
    pub adopted: bool,
}

impl Imported {
    /// Records that were not taken.
    pub fn refused_records(&self) -> u64 {
        self.refused.values().map(|(_, records)| *records).sum()
    }
}

/// A bundle that is being taken in.
#[derive(Debug)]
pub(super) struct Import {
    /// Where it is only tried.
    trial: Option<Trial>,
    /// This node's own log as the bundle has it.
    own: Registry,
    /// It is of the life that goes on now, and says something else.
    own_forked: bool,
    /// Logs of which something came, with how many records, and whether any of them were refused or are held.
    logs: BTreeMap<Origin, Counted>,
    sum: Imported,
}

#[derive(Debug, Default)]
struct Counted {
    records: u64,
    ended: Option<Result<u64, Why>>,
}

/// What is held, lent log by log, to see what would be.
#[derive(Debug)]
struct Trial {
    registry: Registry,
    anchors: Anchors,
    lent: BTreeSet<NodeId>,
    proven: BTreeSet<NodeId>,
}

impl Node {
    /// The own zone as it is held here, or what of it is missing above a vector; `None` while this node has no right to speak for it.
    pub fn export(&self, now: Now, since: Option<&[(Origin, u64)]>) -> Option<Export> {
        let zone_key = self.trust.zone_key.filter(|_| self.is_admitted())?;
        let zone = &self.config.zone;
        let entries = since.map(<[_]>::to_vec).unwrap_or_default();
        let asked = Vector { buckets: u64::MAX, entries, reply: false };
        let bundle = Bundle {
            zone: zone.as_str().to_owned(),
            zone_key,
            manifests: self.anchors.manifests(zone),
            node: self.id,
            issued_ms: now.wall_ms,
            delta: since.is_some(),
        };
        let held = Vector { entries: self.registry.tellable(), ..asked.clone() };
        let statements: Vec<Revocation> = self.anchors.revoked().of(zone).cloned().collect();
        let revoked = statements.chunks(REVOCATIONS_PER_FRAME).map(|some| Revoked { statements: some.to_vec() }.into());
        let first = [bundle.into(), held.into()].into_iter().chain(revoked).collect();
        let logs = self.registry.missing(&asked);
        let begun = logs.iter().filter(|log| log.is_whole()).map(|log| log.origin.node);
        let chains = begun.filter_map(|node| Some((node, self.chains.get(node)?.into_owned()))).collect();
        // Somebody who holds nothing is told of every fork: there is nothing of the log for him to ask for.
        let is_unknown = |origin: Origin| !asked.entries.contains(&(origin, u64::MAX));
        let forks = self.registry.forks().filter(|evidence| is_unknown(evidence.origin()));
        let last = forks.filter_map(|evidence| Some(fork_of(evidence, &self.chains)?.into())).collect();
        Some(Export::new(first, logs, chains, last))
    }

    /// Begins to take a bundle, in the place of any that was not ended, or only tries it.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn begin_import(&mut self, now: Now, opening: &Opening, trial: bool) -> Result<(), Unfit> {
        self.now = now;
        let zone = self.config.zone.clone();
        let bundle = &opening.bundle;
        if bundle.zone != zone.as_str() {
            return Err(Unfit::OtherZone { theirs: bundle.zone.clone(), ours: zone });
        }
        let other_key = || Unfit::OtherKey { zone: zone.clone() };
        let begun = Lineage::begin(&zone, bundle.zone_key, &bundle.manifests).map_err(|_| other_key())?;
        let mut anchors = self.anchors.clone();
        // As far as they lead; whether that is far enough is asked next.
        let _ = anchors.follow(&zone, &bundle.manifests);
        let is_ours = anchors.lineage(&zone).is_some_and(|ours| ours.epoch_of(&bundle.zone_key).is_some());
        let mut sum = Imported::default();
        if !(is_ours && self.is_admitted()) {
            if !is_ours && self.trust.committed {
                return Err(other_key());
            }
            let chain = opening.chain.as_deref().filter(|chain| self.may_adopt(&begun, chain));
            let Some(chain) = chain else {
                let is_known = self.trust.zone_key.is_some() && !is_ours;
                return Err(if is_known { other_key() } else { Unfit::NotAdmitted { zone } });
            };
            sum.adopted = true;
            anchors.unpin(&zone);
            anchors.pin(zone.clone(), bundle.zone_key, &bundle.manifests).map_err(|_| other_key())?;
            if !trial {
                self.adopt(bundle, chain.to_vec());
            }
        }
        if !trial {
            self.follow_manifests(&zone, &bundle.manifests);
        }
        let registry = Registry::new(zone.clone());
        let trial = trial.then(|| Trial { registry, anchors, lent: BTreeSet::new(), proven: BTreeSet::new() });
        let mut own = Registry::new(zone);
        own.borrow_log(&self.registry, self.id);
        self.registry.forget_parts_of(self.id);
        self.import = Some(Box::new(Import { trial, own, own_forked: false, logs: BTreeMap::new(), sum }));
        self.settle();
        Ok(())
    }

    /// Whether certificates in a bundle make this node one of the zone's.
    fn may_adopt(&self, lineage: &Lineage, chain: &[Certificate]) -> bool {
        let zone = &self.config.zone;
        lineage.check_node(zone, self.id, chain, self.now.wall_ms).is_ok()
            && self.anchors.revoked().check(zone, chain).is_ok()
    }

    /// Nobody relies on what this node has gone by, and an operator gives it the zone it was of: as by an Admit.
    fn adopt(&mut self, bundle: &Bundle, chain: Vec<Certificate>) {
        if self.trust.zone_key.is_some_and(|key| key != bundle.zone_key) {
            self.forget_zone_key();
        }
        self.believe(bundle.zone_key, chain, &bundle.manifests);
        self.commit_zone_key();
    }

    /// Takes the next frame of the bundle, or tries it.
    pub fn import(&mut self, now: Now, message: &Message) {
        self.now = now;
        let Some(mut import) = self.import.take() else { return };
        match message {
            Message::Revoked(revoked) => {
                revoked.statements.iter().for_each(|said| self.import_statement(&mut import, said));
            }
            Message::Ranges(ranges) => self.import_ranges(&mut import, ranges),
            Message::Fork(fork) => self.import_fork(&mut import, fork),
            // What a bundle begins and ends with was read before.
            _ => {}
        }
        self.import = Some(import);
        self.settle();
    }

    /// Ends it: says again what this node has lost of its own words, and what came of it all. When all of that is durable a
    /// [`Output::Written`](super::Output::Written) with this token says so; of a trial it says so at once.
    pub fn end_import(&mut self, now: Now, token: u64) -> Imported {
        self.now = now;
        let Some(import) = self.import.take() else {
            self.settle_import(token);
            return Imported::default();
        };
        let Import { trial, own, own_forked, mut logs, mut sum } = *import;
        self.registry.forget_parts_of(self.id);
        if let Some(incarnation) = own.incarnation_of(self.id) {
            let origin = Origin { node: self.id, incarnation };
            if let Some(counted) = logs.get_mut(&origin) {
                let restored = self.restore_own(own, origin, own_forked, trial.is_some());
                let SaidAgain { records, tools, tools_gone } = restored.clone().unwrap_or_default();
                sum.restored = records;
                sum.tools += tools;
                sum.tools_gone += tools_gone;
                // They are said again, not taken.
                counted.ended = counted.ended.map(|ended| ended.and(restored.map(|said| said.records)));
            }
        }
        sum.logs = logs.len() as u64;
        for counted in logs.into_values() {
            match counted.ended {
                Some(Ok(taken)) => sum.known += counted.records.saturating_sub(taken),
                Some(Err(why)) => sum.refuse(why, counted.records),
                // Its last part is missing.
                None => sum.refuse(Why::Incomplete, counted.records),
            }
        }
        self.settle_import(token);
        self.check_goal(false);
        self.settle();
        sum
    }

    fn settle_import(&mut self, token: u64) {
        let persist = self.persist(Vec::new());
        self.imports.insert(persist, token);
    }

    /// Whether that token was the end of an import: what was asked for after it is durable as well by the time it is answered.
    pub(super) fn on_import_persisted(&mut self, persist: u64, durable: bool) -> bool {
        let Some(token) = self.imports.remove(&persist) else { return false };
        if durable {
            self.on_write(token, Write::Catalogue(Vec::new()));
        } else {
            self.answer(token, Err(WriteError::Store));
        }
        true
    }

    fn import_statement(&mut self, import: &mut Import, said: &Revocation) {
        let is_own = said.zone == self.config.zone.as_str();
        if !is_own || self.anchors.revoked().knows(&self.config.zone, said) {
            return;
        }
        let holds = match &mut import.trial {
            Some(trial) => trial.anchors.revoke(said, &mut self.verifier).is_ok(),
            None => self.take_revocation(said, None),
        };
        import.sum.statements += u64::from(holds);
    }

    fn import_fork(&mut self, import: &mut Import, fork: &Fork) {
        let Some(node) = fork.chain.last().map(|last| last.node).filter(|node| *node != self.id) else { return };
        let known = self.registry.forks().count();
        match &mut import.trial {
            Some(trial) => {
                let is_new = self.registry.forks().all(|known| known.origin().node != node);
                let is_proven = is_new && trial.prove(self, node, &fork.chain);
                import.sum.statements += u64::from(is_proven && self.evidence_of(fork).is_some());
            }
            None => {
                self.on_fork(self.id, fork);
                import.sum.statements += self.registry.forks().count().saturating_sub(known) as u64;
            }
        }
    }

    fn import_ranges(&mut self, import: &mut Import, ranges: &Ranges) {
        let mut met = match &mut import.trial {
            Some(trial) => {
                for chain in &ranges.chains {
                    if let Some(node) = chain.last().map(|last| last.node) {
                        trial.prove(self, node, chain);
                    }
                }
                BTreeSet::new()
            }
            None => self.meet_origins(ranges),
        };
        let mut fresh = Vec::new();
        for range in &ranges.ranges {
            let taken = self.import_range(import, range);
            let counted = import.logs.entry(range.origin).or_default();
            let records = range.records.len() as u64;
            counted.records += records;
            import.sum.records += records;
            let taken = taken.map(|applied| {
                met.remove(&range.origin.node);
                import.sum.count(&applied, records);
                if import.trial.is_none() && range.origin.node != self.id {
                    fresh.extend(News::of(&applied.stored));
                    self.take(&applied);
                }
                // Of what was refused before a part may still be one that goes on from what is held.
                let more = if applied.ahead_ms > 0 { records } else { applied.stored.len() as u64 };
                (more, range.cut)
            });
            counted.ended = match (counted.ended, taken) {
                (Some(Err(why)), _) | (_, Err(why)) => Some(Err(why)),
                (Some(Ok(before)), Ok((more, _))) => Some(Ok(before + more)),
                (None, Ok((0, true))) => None,
                (None, Ok((more, _))) => Some(Ok(more)),
            };
        }
        met.into_iter().for_each(|node| self.forget_chain(node));
        let now = self.now.mono;
        self.with_gossip(|gossip, replica, chance| gossip.news(now, &fresh, 0, None, replica, chance));
    }

    /// One range, by §10.3.
    fn import_range(&mut self, import: &mut Import, range: &Range) -> Result<Applied, Why> {
        let node = range.origin.node;
        if node == self.id {
            return self.import_own(import, range);
        }
        // A life that has ended is nothing to refuse: what came after it is held.
        let is_over = self.registry.incarnation_of(node).is_some_and(|held| held > range.origin.incarnation)
            || self.registry.reaped(node).is_some_and(|mark| mark >= range.origin.incarnation);
        if is_over {
            return Ok(Applied::default());
        }
        let taken = match &mut import.trial {
            Some(trial) => self.try_range(trial, range),
            None => self.take_range(self.id, range),
        };
        match taken {
            Err(RangeError::Fork(evidence)) if import.trial.is_none() => {
                self.on_forked(evidence, None);
                Err(Why::Quarantined)
            }
            taken => taken.map_err(|error| Why::of(&error)),
        }
    }

    fn try_range(&mut self, trial: &mut Trial, range: &Range) -> Result<Applied, RangeError> {
        let node = range.origin.node;
        let held = self.registry.incarnation_of(node).is_some();
        let full = self.registry.origins() + trial.registry.origins() + 1 >= ORIGINS_MAX && !held;
        let is_revoked = trial.anchors.revoked().contains(&self.config.zone, node);
        if full || is_revoked || !(trial.proven.contains(&node) || self.chains.contains(node)) {
            return Err(RangeError::Unbelieved);
        }
        let records = self.open_range(range)?;
        if trial.lent.insert(node) {
            trial.registry.borrow_log(&self.registry, node);
        }
        trial.registry.apply(self.id, range, &records, self.now)
    }

    /// This node's own words, which nobody adds to: they are put together beside its log.
    fn import_own(&mut self, import: &mut Import, range: &Range) -> Result<Applied, Why> {
        let records = self.open_range(range).map_err(|error| Why::of(&error))?;
        // The life that it goes on in now is no reason to forget the one before; nor is what another bundle had of it.
        if import.own.incarnation_of(self.id).is_some_and(|held| held > range.origin.incarnation) {
            import.own = self.former_log();
        }
        let mut applied = import.own.apply(self.id, range, &records, self.now);
        if matches!(applied, Err(RangeError::Fork(_))) && !import.own_forked {
            // The store was lost, and the life begun without it has the same name: what it says now is said under used numbers.
            import.own_forked = true;
            import.own = self.former_log();
            applied = import.own.apply(self.id, range, &records, self.now);
        }
        let ahead_ms = applied.map_err(|error| Why::of(&error))?.ahead_ms;
        Ok(Applied { ahead_ms, ..Applied::default() })
    }

    /// What bundles of this run had of this node's own lost log.
    fn former_log(&self) -> Registry {
        let mut own = Registry::new(self.config.zone.clone());
        if let Some(former) = &self.former {
            own.borrow_log(former, self.id);
        }
        own
    }

    /// Says again what stood in this node's own log and what it has lost, in a life after that one. Where an earlier bundle had a part
    /// of that log, what came after it is said as well, of keys that nobody has touched since. A node that has gone on by itself is not
    /// told what it serves.
    fn restore_own(
        &mut self,
        own: Registry,
        former: Origin,
        is_forked: bool,
        is_trial: bool,
    ) -> Result<SaidAgain, Why> {
        let is_present = former == self.origin() && !is_forked;
        if is_present && own.through(former) <= self.writes.last_seq() {
            return Ok(SaidAgain::default());
        }
        if is_forked && !is_trial {
            self.begin_life(former.incarnation);
        } else if !is_trial {
            self.on_held(Some((former.incarnation, own.through(former))));
        }
        let restored = self.draft_lost(&own, former).and_then(|drafts| {
            self.check_room(&drafts, LOG_BYTES_RESERVED).map_err(|_| Why::TooLarge)?;
            let said = SaidAgain::of(&drafts);
            if !is_trial {
                self.say(drafts);
            }
            Ok(said)
        })?;
        if !is_trial && !is_present {
            self.former = Some(Box::new(own));
        }
        Ok(restored)
    }

    fn draft_lost(&self, own: &Registry, former: Origin) -> Result<Vec<Draft>, Why> {
        let known = self.former.as_deref().filter(|known| known.incarnation_of(self.id) == Some(former.incarnation));
        let before = |signed: &SignedRef| known?.latest(former, signed.record.kind(), signed.record.name()).cloned();
        let (mut drafts, mut servers) = (Vec::new(), BTreeMap::new());
        let (mut has_lost, mut has_gone_on) = (false, false);
        for signed in own.records_of(former).filter(|signed| signed.record.kind() != Kind::Node) {
            let (record, stands) = (&signed.record, self.own_latest(&signed.record.key()));
            let (stood, stands) = (before(signed).map(|signed| body_of(&signed)), stands.map(body_of));
            let wanted = body_of(signed);
            if wanted == stands.clone().flatten() || stood.as_ref() == Some(&wanted) {
                continue;
            }
            let is_server = record.kind() == Kind::Server;
            // What is said of a server is this node's own word since.
            if !is_server && stands != stood {
                has_gone_on |= record.kind() == Kind::Tool;
                continue;
            }
            has_lost |= stood.is_none() && serves(record.kind());
            match wanted {
                body if is_server => drop(servers.insert(record.key().1, (record.name().to_owned(), body.is_some()))),
                body => {
                    let tool = body.as_deref().filter(|_| record.kind() == Kind::Tool);
                    let tool = tool.and_then(|body| ToolBody::decode(body).ok()).filter(|tool| tool.served);
                    if let Some(tool) = tool {
                        servers.entry(tool.server.to_ascii_lowercase()).or_insert((tool.server, true));
                    }
                    let (kind, name, def_hash) = (record.kind(), record.name().to_owned(), record.def_hash());
                    drafts.push(Draft { kind, name, def_hash, body, leased: kind == Kind::Delegation });
                }
            }
        }
        let is_busy = known.is_none()
            && (self.registry.records_of(self.origin()).any(|signed| serves(signed.record.kind()))
                || self.writes_any(serves));
        if has_gone_on || (is_busy && has_lost) {
            return Err(Why::Own);
        }
        let said = ServerBody { up: false, error: REGISTRATION_LOST.to_owned(), since_ms: self.now.wall_ms }.encode();
        drafts.extend(servers.into_iter().filter_map(|(key, (name, is_there))| {
            let stands = self.own_latest(&(Kind::Server, key)).and_then(body_of);
            let body = is_there.then(|| said.clone());
            (stands.is_some() != is_there).then_some(Draft {
                kind: Kind::Server,
                name,
                def_hash: None,
                body,
                leased: false,
            })
        }));
        Ok(drafts)
    }
}

fn body_of(signed: &SignedRef) -> Option<Vec<u8>> {
    signed.record.body().map(<[u8]>::to_vec)
}

/// Records that say what a node serves.
const fn serves(kind: Kind) -> bool {
    matches!(kind, Kind::Tool | Kind::Server)
}

/// What a node said again of its own lost log: records, and names of tools among them that stand now or are gone.
#[derive(Clone, Default)]
struct SaidAgain {
    records: u64,
    tools: u64,
    tools_gone: u64,
}

impl SaidAgain {
    fn of(drafts: &[Draft]) -> Self {
        let tools = |stands| drafts.iter().filter(|it| it.kind == Kind::Tool && it.body.is_some() == stands).count();
        Self { records: drafts.len() as u64, tools: tools(true) as u64, tools_gone: tools(false) as u64 }
    }
}

impl Imported {
    fn count(&mut self, applied: &Applied, records: u64) {
        self.taken += applied.stored.len() as u64;
        self.replaced += applied.dropped.len() as u64;
        self.waiting += if applied.ahead_ms > 0 { records } else { 0 };
        for change in &applied.changes {
            match change {
                Change::Put(signed) => self.tools += u64::from(signed.record.kind() == Kind::Tool),
                Change::Gone(signed) => self.tools_gone += u64::from(signed.record.kind() == Kind::Tool),
            }
        }
    }

    fn refuse(&mut self, why: Why, records: u64) {
        let (logs, all) = self.refused.entry(why).or_default();
        *logs += 1;
        *all += records;
    }
}

impl Trial {
    /// Whether certificates prove a node, by the keys that would be believed.
    fn prove(&mut self, node: &mut Node, of: NodeId, chain: &[Certificate]) -> bool {
        let (zone, wall_ms) = (&node.config.zone, node.now.wall_ms);
        let is_proven = node.verifier.check_node(&self.anchors, zone, of, chain, wall_ms).is_ok();
        if is_proven {
            self.proven.insert(of);
        }
        is_proven
    }
}
