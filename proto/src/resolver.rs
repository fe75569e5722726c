//! Questions on their way: here first, then down to children and up to the parent, within a deadline, a hop budget and a budget
//! of zones, never to a zone twice (DESIGN D7).
//!
//! ```text
//!  start ──▶ own answer ──▶ waiting for zones ──▶ all answered, or the deadline ──▶ finish
//!             │  └ name of this zone: finish        │ peer lost: the zone's next peer, else silent
//!             └ L2, or the replica that owns the question, before the parent
//! ```
//!
//! A silence is never a "no" (I6): zones that did not answer are named, what they said before is used as stale, and only the
//! authority of a name denies it. What is believed of an answer is decided by `trust::answers`; nothing unverified is kept or
//! relayed.

mod asker;
mod before;
mod bounds;
mod exports;
mod fellows;
mod outcome;
mod outside;
mod pace;
mod pending;
mod proofs;
mod route;
mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use asker::{Asker, Terms, Who};
pub use exports::{BadExport, Exports};
use fellows::Fellows;
pub use outcome::{Freshness, Hop, Neighbour, Outcome, Source};
use outside::{Outside, accept, weight};
use pace::Pace;
use pending::{Aside, Asked, Heard, Pending, Via, Waiting, millis};
pub use proofs::Proofs;
pub use route::{Route, Routes};

use crate::access::Sight;
use crate::cache::{Count, Level, Quality, Shelf, Tags, grow_older, lifetime};
use crate::codec::Wire;
use crate::name::ZoneName;
use crate::params::{HOP_MARGIN, QUERIES_BYTES_MAX, QUERIES_MAX, QUERIES_PEER_MAX};
use crate::record::NodeId;
use crate::selection::{Chance, owner_of};
use crate::trust::answers::{Checked, check};
use crate::trust::{Anchors, Verifier};
use crate::wire::message::{Answer, AskExport, Form, Keeps, Query, Question, Silent, TAG_UNREACHABLE};
use crate::zone::Tools;
use crate::zone::answer::{Answerer, answer};

const NOT_IN_TIME: &str = "no answer in time";
const NOT_CONNECTED: &str = "not connected";

/// What is to be done.
#[derive(Debug)]
pub enum Act {
    /// Send a query.
    Ask(NodeId, Query),
    /// Tell a fellow what is kept.
    Tell(NodeId, Keeps),
    /// Ask a child what it and the zones below it hold.
    AskExport(NodeId, AskExport),
    /// Somebody of this zone has to be reached first.
    Reach(ZoneName),
    /// Answer doors that asked the same, each of which wants so many results of it.
    Resolved(Vec<(u64, u32)>, Box<Outcome>),
    /// Answer a node.
    Reply(NodeId, Box<Answer>),
}

/// What surrounds the resolver at this moment, lent by the node.
#[derive(Debug)]
pub struct Around<'a> {
    /// Who we are and what we know of ourselves.
    pub by: Answerer<'a>,
    /// The own zone.
    pub tools: &'a Tools,
    /// Where other zones are.
    pub routes: &'a Routes,
    /// Proofs of their keys.
    pub proofs: Proofs<'a>,
    /// Something written in the own zone is held back here.
    pub holds_back: bool,
    /// Fellow replicas that are alive.
    pub fellows: &'a [NodeId],
    /// Those of them that are far.
    pub far: &'a [NodeId],
    /// Keys of zones.
    pub anchors: &'a mut Anchors,
    /// Memory of what was verified.
    pub verifier: &'a mut Verifier,
    /// Newest tags heard of zones.
    pub tags: &'a Tags,
    /// Chance, for query ids.
    pub chance: &'a mut Chance,
    /// The time.
    pub now: Duration,
    /// The wall clock, milliseconds since the Unix epoch: a zone's former key is believed until a time of day.
    pub wall_ms: u64,
}

/// What the caches of a resolver show to readers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shown {
    /// Hits and misses of L2. What a fellow kept is a hit, of its own as well: it had the question too.
    pub l2: Count,
    /// The same of L3.
    pub l3: Count,
    /// Answers kept in L2 and in L3.
    pub kept: [usize; 2],
}

/// All questions of one node, and what it remembers of earlier ones.
#[derive(Debug, Default)]
pub struct Resolver {
    pending: BTreeMap<u64, Box<Pending>>,
    /// Questions of doors that a later one may join, with the tag of the own zone they were answered under.
    joinable: BTreeMap<Question, (u64, u64)>,
    /// Questions of each node that asks.
    by_peer: BTreeMap<NodeId, usize>,
    /// About the bytes of answers that wait for others.
    held: usize,
    /// Query id → question.
    sent: BTreeMap<u64, u64>,
    next: u64,
    /// What a neighbouring zone said for itself and all that lies beyond it, by its name.
    l2: Shelf<(String, Question), Outside>,
    l3: Shelf<(Question, String), Checked>,
    /// What zones below hold.
    pub exports: Exports,
    /// What is asked anew before it ends.
    refreshing: BTreeSet<(String, Question)>,
    /// What far fellows keep, and are told.
    kept_afar: Fellows,
    pace: Pace,
    refused: u64,
}

impl Resolver {
    /// Takes a question. Answers at once what needs nobody else; what a door of this node asks already is not asked twice.
    pub fn start(
        &mut self,
        asker: Asker,
        question: Question,
        terms: Terms,
        visited: &[String],
        around: &mut Around<'_>,
    ) -> Vec<Act> {
        if let Some(first) = self.same_in_flight(&asker, &question, &terms, around.by.tag) {
            first.joined.extend(asker.door().map(|token| (token, question.limit)));
            return Vec::new();
        }
        let mut pending = Pending::of(question, asker, terms);
        let plan = around.routes.plan(&pending.question, &terms, visited);
        pending.skipped = plan.skipped;
        // What is kept of a name that is there lives longer than a denial: how old an answer is would tell them apart.
        let own = around.by.zone;
        let may_hide = |sight: &Sight| !(sight.sees_all_outside(own) && sight.sees_all_below(own));
        if pending.question.form == Form::Exact && pending.asker.sight.as_deref().is_some_and(may_hide) {
            pending.terms.cached = false;
        }
        if plan.own && !terms.outside {
            self.answer_here(&mut pending, around);
        }
        let mut acts = Vec::new();
        let of_peer = |peer| self.by_peer.get(&peer).is_some_and(|count| *count >= QUERIES_PEER_MAX);
        let overloaded = self.pending.len() >= QUERIES_MAX || pending.asker.peer().is_some_and(of_peer);
        if !overloaded {
            self.ask_others(&mut pending, plan, visited, around, &mut acts);
        } else if !plan.children.is_empty() || plan.parent {
            pending.silent.insert(Silent { zone: around.by.zone.to_string(), reason: "too many questions".into() });
        }
        let id = self.next;
        self.next += 1;
        for query in pending.waiting.keys() {
            self.sent.insert(*query, id);
        }
        if pending.waiting.is_empty() {
            acts.extend(self.finish(pending, around));
        } else {
            if self.held + pending.bytes > QUERIES_BYTES_MAX {
                pending.shed();
            }
            if let Some(peer) = pending.asker.peer() {
                *self.by_peer.entry(peer).or_default() += 1;
            }
            if pending.asker.door().is_some() && terms.cached {
                self.joinable.insert(pending.question.wide(), (id, around.by.tag));
            }
            self.held += pending.bytes;
            self.pending.insert(id, Box::new(pending));
        }
        acts
    }

    /// The question of a door that another one can wait for instead of asking the same: on the same terms, no longer than it would wait
    /// itself, and with nothing heard since that it has to know. Who wants nothing from a cache wants nothing asked before either. How
    /// many results each wants is his own matter, but where something may be hidden: what was cut out for one is too little for another.
    fn same_in_flight(&mut self, asker: &Asker, question: &Question, terms: &Terms, tag: u64) -> Option<&mut Pending> {
        asker.door().filter(|_| terms.cached)?;
        let (id, _) = self.joinable.get(&question.wide()).filter(|(_, then)| *then == tag)?;
        let first = self.pending.get_mut(id)?;
        let same = Terms { deadline: first.terms.deadline, ..*terms } == first.terms;
        (same
            && first.asker.sight == asker.sight
            && (asker.sight.is_none() || first.question.limit == question.limit)
            && first.terms.deadline <= terms.deadline
            && first.joined.len() < QUERIES_MAX)
            .then_some(first)
    }

    fn answer_here(&self, pending: &mut Pending, around: &mut Around<'_>) {
        // A door of ours takes it all, a frame to a peer does not.
        let room = if pending.asker.door().is_some() { usize::MAX } else { bounds::CANDIDATE_BYTES_MAX };
        let sight = pending.asker.sight.as_deref();
        let mut own = answer(&around.by, around.tools, &pending.wide(), room, sight);
        if own.answer.candidates.is_empty() && around.holds_back && pending.asker.door().is_some() {
            // Peers are told that we are behind, and ask another replica; a door has no other.
            let reason = "a replica's clock is ahead, and what it wrote is held back here".to_owned();
            pending.silent.insert(Silent { zone: around.by.zone.to_string(), reason });
            return;
        }
        if own.answer.candidates.is_empty() && own.answer.near.is_empty() {
            own.answer.near = around.routes.near_zones(&pending.question);
        }
        pending.answers.push(Heard { source: Source::Local, asked: None, checked: own, at: around.now });
    }

    fn ask_others(
        &mut self,
        pending: &mut Pending,
        plan: route::Plan,
        visited: &[String],
        around: &mut Around<'_>,
        acts: &mut Vec<Act>,
    ) {
        let mut due = Vec::new();
        let parent = around.routes.parent.clone().filter(|_| plan.parent);
        let routes = plan.children.into_iter().map(|child| (Via::Child, child));
        let mut asked = Vec::new();
        for (via, route) in routes.chain(parent.map(|parent| (Via::Parent, parent))) {
            let question = match via {
                Via::Child => pending.of_child(&route.zone),
                Via::Parent | Via::Fellow => pending.of_outside(around.by.zone),
            };
            let has_nothing = via == Via::Child && self.has_nothing(pending, &route, visited, around);
            if via == Via::Child && pending.question.form != Form::Exact {
                let asks = self.exports.asks(&route, around.tags, around.chance, around.now);
                acts.extend(asks.into_iter().map(|(peer, ask)| Act::AskExport(peer, ask)));
            }
            if has_nothing {
                continue;
            }
            let for_another_zone = pending.asker.peer().is_some() && !pending.terms.outside;
            match self.said_before(&route.zone, &question, &pending.terms, for_another_zone, around.now) {
                Some((outside, is_due)) => {
                    pending.absorb(outside, Source::L2, None, around.now);
                    due.extend(is_due.then_some((via, route, question)));
                }
                None => asked.push((via, route, question)),
            }
        }
        // Above lies more than in any one zone below.
        let has_parent = asked.last().is_some_and(|(via, ..)| *via == Via::Parent);
        asked.rotate_right(usize::from(has_parent));
        let affordable = usize::from(pending.terms.budget);
        if asked.len() > affordable {
            self.exports.by_promise(&mut asked[usize::from(has_parent)..], &pending.question.text);
            for (_, route, _) in asked.drain(affordable..) {
                let behind = self.exports.zones_behind(&route, around.tags, around.now);
                pending.skipped += u32::from(behind.unwrap_or(1));
            }
        }
        let beyond = |(via, route, _): &(Via, Route, Question)| match via {
            Via::Child => {
                let zones = self.exports.zones_behind(route, around.tags, around.now);
                zones.map(|zones| zones.saturating_sub(1))
            }
            Via::Parent | Via::Fellow => None,
        };
        let needs: Vec<Option<u16>> = asked.iter().map(beyond).collect();
        let left = pending.terms.budget.saturating_sub(u16::try_from(asked.len()).unwrap_or(u16::MAX));
        for ((via, route, question), share) in asked.into_iter().zip(exports::shares(left, &needs)) {
            let query = pending.query(question, visited, share, around);
            match via {
                Via::Child => drop(pending.wait(query, route, via, &self.pace, around.now, acts)),
                Via::Parent | Via::Fellow => self.ask_up(pending, query, route, around, acts),
            }
        }
        let each = pending.terms.budget / u16::try_from(due.len().max(1)).unwrap_or(u16::MAX);
        for (via, route, question) in due {
            acts.extend(self.refresh(via, route, question, each, around));
        }
    }

    /// Whether the zones behind a route have told that no word of the question is theirs; then that is their answer. Whoever may not find
    /// all of theirs is not told by it which words they have.
    fn has_nothing(&self, pending: &mut Pending, route: &Route, visited: &[String], around: &mut Around<'_>) -> bool {
        let sees_all = |sight: &Sight| ZoneName::parse(&route.zone).is_ok_and(|zone| sight.sees_all_below(&zone));
        if !pending.asker.sight.as_deref().is_none_or(sees_all) {
            return false;
        }
        let (question, terms) = (&pending.question, &pending.terms);
        let said = self.exports.nothing_there(route, question, terms, visited, around.tags, around.now);
        let Some(said) = said else { return false };
        let checked = said.into_iter().map(|answer| check(answer, around.anchors, around.verifier, around.wall_ms));
        let answers: Vec<Checked> = checked.filter_map(Result::ok).collect();
        let (silent, proofs) = (Vec::new(), Vec::new());
        pending.absorb(Outside { answers, silent, skipped: 0, proofs }, Source::Export, None, around.now);
        true
    }

    fn ask_up(
        &mut self,
        pending: &mut Pending,
        mut query: Query,
        parent: Route,
        around: &Around<'_>,
        acts: &mut Vec<Act>,
    ) {
        // Other zones are told little from a cache, and pay for the way past it.
        let shares = pending.asker.door().is_some() && query.cached;
        let all = || around.fellows.iter().copied().chain([around.by.node]);
        let mut owner = shares.then(|| owner_of(&query.question.encode(), all())).flatten();
        let is_costly = |owner: NodeId| owner == around.by.node || around.far.contains(&owner);
        if owner.is_some_and(is_costly) && !parent.peers.is_empty() {
            owner = self.kept_afar.who_keeps(&query.question, around.fellows, around.now);
        }
        match owner {
            Some(owner) if owner != around.by.node => {
                query.outside = true;
                let route = Route { zone: parent.zone, peers: vec![owner], stale: false, error: parent.error };
                pending.wait(query, route, Via::Fellow, &self.pace, around.now, acts);
            }
            _ => {
                pending.wait(query, parent, Via::Parent, &self.pace, around.now, acts);
            }
        }
    }

    /// A peer answered one of our queries.
    pub fn on_answer(&mut self, peer: NodeId, answer: Answer, around: &mut Around<'_>) -> Vec<Act> {
        let Some(id) = self.sent.get(&answer.id).copied() else { return Vec::new() };
        let Some(pending) = self.pending.get_mut(&id) else { return Vec::new() };
        let query = answer.id;
        let Some(asked) = pending.waiting.get(&query).and_then(|waiting| waiting.sent_to(peer)) else {
            return Vec::new();
        };
        let Some(waiting) = pending.waiting.remove(&query) else { return Vec::new() };
        let mut waiting = Waiting { via: asked.via, ..waiting };
        let source = match waiting.via {
            Via::Parent => Source::Parent,
            Via::Child => Source::Child,
            Via::Fellow => Source::L2,
        };
        let parent = around.routes.parent.as_ref();
        let reached_all = answer.silent.is_empty();
        let is_behind =
            waiting.via != Via::Fellow && answer.zones.iter().any(|zone| zone.behind && zone.zone == waiting.zone);
        let may_be_better = match waiting.via {
            // What the owner did not reach, this replica may.
            Via::Fellow => !reached_all && parent.is_some_and(|parent| !parent.peers.is_empty()),
            // What a new replica does not hold yet, its fellow does.
            Via::Child | Via::Parent => is_behind,
        };
        let neighbour = match waiting.via {
            Via::Fellow => around.by.zone.to_string(),
            Via::Parent | Via::Child => waiting.zone.clone(),
        };
        let neighbour = Some(Neighbour { zone: neighbour, node: peer });
        let took = around.now.saturating_sub(asked.at);
        let mut outside = accept(answer, &waiting, took, around, &mut self.refused);
        let was_kept = |checked: &Checked| Hop::of(source, neighbour.clone(), &checked.answer).is_cached;
        if waiting.via == Via::Fellow && outside.answers.iter().any(was_kept) {
            self.l2.found_at_fellow();
        }
        if is_behind {
            outside.believe_no_denial(&waiting.zone);
        }
        let mut acts = Vec::new();
        if may_be_better && pending.elsewhere(&mut waiting, &self.pace, around, &mut acts) {
            let outside =
                if self.held + outside.weight() <= QUERIES_BYTES_MAX { outside } else { outside.without_answers() };
            let before = pending.bytes;
            pending.put_aside(query, peer, Aside { outside, source, asked: neighbour, at: around.now });
            self.held = self.held - before + pending.bytes;
            return acts;
        }
        self.sent.remove(&query);
        if reached_all {
            self.pace.heard(waiting.via, waiting.query.question.form, &waiting.zone, took);
        }
        // Who wants nothing of caches leaves nothing new in them; what is there is renewed.
        let is_kept = pending.is_kept;
        let may_keep = is_kept || !(self.l2.is_empty() && self.l3.is_empty());
        // What changed while it was on its way, or was cut short by where the asker has been, is an answer but nothing to keep.
        let outdated = |checked: &Checked| {
            let zone = ZoneName::parse(&checked.answer.zone);
            zone.is_ok_and(|zone| around.tags.outdates(&zone, checked.answer.node, checked.answer.tag))
        };
        let keep = may_keep && waiting.is_whole(around.by.zone) && !outside.answers.iter().any(outdated);
        let keep = keep && (outside.is_complete() || waiting.is_given_time() && pending.asker.peer().is_none());
        for checked in outside.answers.iter().filter(|checked| may_keep && !outdated(checked)) {
            let key = (waiting.query.question.clone(), checked.answer.zone.clone());
            if is_kept || self.l3.contains(&key) {
                let remaining = Duration::from_millis(checked.answer.ttl_ms);
                let lifetime = lifetime(Level::L3, Quality::Complete, remaining);
                self.l3.put(key, checked.clone(), weight(checked), lifetime, around.now);
            }
        }
        if keep && !outside.answers.is_empty() {
            let key = (waiting.zone.clone(), waiting.query.question.clone());
            // Who was silent a moment ago takes nothing from what was whole.
            let is_better = outside.is_complete() || !self.l2.peek(&key, around.now).is_some_and(Outside::is_complete);
            if is_better && (is_kept || self.l2.contains(&key)) {
                let bytes = outside.weight();
                let lifetime = outside.lifetime(&pending.question);
                if waiting.via == Via::Parent && outside.is_complete() && !around.far.is_empty() {
                    self.kept_afar.keep(&waiting.query.question, lifetime, around.now);
                }
                self.l2.put(key, outside.clone(), bytes, lifetime, around.now);
            }
        }
        let outside =
            if self.held + outside.weight() <= QUERIES_BYTES_MAX { outside } else { outside.without_answers() };
        let before = pending.bytes;
        let last = Aside { outside, source, asked: neighbour, at: around.now };
        pending.absorb_with(last, waiting.aside);
        self.held = self.held - before + pending.bytes;
        self.settle(id, around)
    }

    /// The last connection to a peer ended: its questions go to the zone's next peer.
    pub fn on_peer_lost(&mut self, peer: NodeId, around: &mut Around<'_>) -> Vec<Act> {
        for waiting in self.pending.values_mut().flat_map(|pending| pending.waiting.values_mut()) {
            waiting.asked.retain(|asked| asked.peer != peer);
        }
        self.give_up(around, |waiting, _| waiting.peer == Some(peer), "the connection was lost", false)
    }

    /// Somebody of `zone` is there now: questions that waited for that go out.
    pub fn on_reached(&mut self, zone: &ZoneName, peer: NodeId, now: Duration) -> Vec<Act> {
        let mut acts = Vec::new();
        for pending in self.pending.values_mut() {
            for waiting in pending.waiting.values_mut().filter(|w| w.peer.is_none() && w.zone == zone.as_str()) {
                waiting.peer = Some(peer);
                waiting.asked.push(Asked { peer, via: waiting.via, at: now });
                waiting.until = pending.terms.deadline;
                let left = millis(pending.terms.deadline.saturating_sub(now + HOP_MARGIN));
                waiting.query.deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
                acts.push(Act::Ask(peer, waiting.query.clone()));
            }
        }
        acts
    }

    /// Time passed: what is overdue is silent.
    pub fn on_time(&mut self, around: &mut Around<'_>) -> Vec<Act> {
        let mut acts = self.kept_afar.tell(around.far, around.now);
        acts.extend(self.give_up(around, |waiting, now| waiting.until <= now, NOT_IN_TIME, true));
        acts
    }

    /// A fellow tells what it keeps. False when it tells more than anybody may.
    pub fn on_keeps(&mut self, fellow: NodeId, keeps: &Keeps, now: Duration) -> bool {
        self.kept_afar.on_keeps(fellow, keeps, now)
    }

    fn give_up(
        &mut self,
        around: &mut Around<'_>,
        lost: impl Fn(&Waiting, Duration) -> bool,
        reason: &str,
        is_slow: bool,
    ) -> Vec<Act> {
        let mut acts = Vec::new();
        let ids: Vec<u64> = self.pending.keys().copied().collect();
        for id in ids {
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            let gone: Vec<u64> =
                pending.waiting.iter().filter(|(_, w)| lost(w, around.now)).map(|(query, _)| *query).collect();
            if gone.is_empty() {
                continue;
            }
            for query in gone {
                let Some(mut waiting) = pending.waiting.remove(&query) else { continue };
                // Asking twice has to be earned.
                let is_unpaid = is_slow && waiting.is_hedged && !self.pace.spend();
                if !is_unpaid && pending.elsewhere(&mut waiting, &self.pace, around, &mut acts) {
                    continue;
                }
                // Nobody else is asked: who has the question already is waited for after all.
                let waits = around.now < pending.terms.deadline && (waiting.is_hedged || !is_slow);
                if let Some(last) = waiting.asked.last().copied().filter(|_| waits) {
                    let deadline = pending.terms.deadline;
                    let until = if is_unpaid { around.now + pending.patience(around.now) } else { deadline };
                    let (peer, via) = (Some(last.peer), last.via);
                    pending.waiting.insert(query, Waiting { peer, via, until, is_hedged: false, ..waiting });
                } else {
                    self.sent.remove(&query);
                    let before = pending.bytes;
                    // Nobody of it was there to be asked.
                    let reason = if waiting.asked.is_empty() && is_slow { NOT_CONNECTED } else { reason };
                    pending.give_up(waiting, reason);
                    self.held = self.held - before + pending.bytes;
                }
            }
            acts.extend(self.settle(id, around));
        }
        acts
    }

    fn settle(&mut self, id: u64, around: &mut Around<'_>) -> Vec<Act> {
        match self.pending.get(&id) {
            Some(pending) if pending.waiting.is_empty() => {
                let question = pending.question.wide();
                if self.joinable.get(&question).is_some_and(|(first, _)| *first == id) {
                    self.joinable.remove(&question);
                }
                let pending = self.pending.remove(&id);
                if let Some(pending) = &pending {
                    self.held -= pending.bytes;
                    self.forget_asker(&pending.asker);
                    if let Some(key) = &pending.refreshes {
                        self.refreshing.remove(key);
                    }
                }
                debug_assert!(self.held == 0 || !self.pending.is_empty(), "nobody waits for {} bytes", self.held);
                pending.and_then(|pending| self.finish(*pending, around)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn forget_asker(&mut self, asker: &Asker) {
        if let Some(peer) = asker.peer()
            && let Some(count) = self.by_peer.get_mut(&peer)
        {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }

    fn finish(&mut self, mut pending: Pending, around: &Around<'_>) -> Option<Act> {
        for heard in &mut pending.answers {
            grow_older(&mut heard.checked.answer, around.now.saturating_sub(heard.at));
        }
        // Nobody else is told what was said before.
        if pending.asker.door().is_some() && !pending.silent.is_empty() {
            pending.name_cut_off(around);
            self.add_kept(&mut pending, around);
        }
        pending.answers.sort_by(|a, b| a.checked.answer.zone.cmp(&b.checked.answer.zone));
        // No door passes them on.
        if pending.asker.door().is_none() {
            pending.add_proofs(&around.proofs, around.anchors);
        }
        match pending.asker.who {
            Who::Door(token) => {
                pending.joined.push((token, pending.question.limit));
                Some(Act::Resolved(std::mem::take(&mut pending.joined), Box::new(pending.into_outcome())))
            }
            Who::Peer { node, id } => Some(Act::Reply(node, Box::new(pending.into_answer(id)))),
            Who::Nobody => None,
        }
    }

    /// When the next question is overdue.
    pub fn next_deadline(&self) -> Option<Duration> {
        let waiting = self.pending.values().flat_map(|pending| pending.waiting.values()).map(|waiting| waiting.until);
        waiting.chain(self.kept_afar.next_deadline()).min()
    }

    /// A zone changed: what was kept of it under another tag is old. A zone that cannot be reached ([`TAG_UNREACHABLE`]) is asked
    /// anew; what it said before stays, to be shown as stale.
    pub fn on_tag(&mut self, zone: &ZoneName, tag: u64) {
        let old = |checked: &Checked| checked.answer.zone == zone.as_str() && checked.answer.tag != tag;
        self.joinable.clear();
        self.l2.retain(|_, outside| !outside.answers.iter().any(old));
        self.exports.on_tag(zone, tag);
        if tag != TAG_UNREACHABLE {
            self.l3.retain(|_, checked| !old(checked));
        }
    }

    /// Drops everything kept, or of one zone and those below it.
    pub fn flush(&mut self, zone: Option<&ZoneName>) {
        self.joinable.clear();
        let stays = |checked: &Checked| {
            zone.is_some_and(|zone| !ZoneName::parse(&checked.answer.zone).is_ok_and(|of| of.is_within(zone)))
        };
        self.exports.flush(zone);
        self.kept_afar.flush();
        self.l2.retain(|_, outside| zone.is_some() && outside.answers.iter().all(stays));
        self.l3.retain(|_, checked| stays(checked));
    }

    /// What its caches show.
    pub fn shown(&self) -> Shown {
        Shown { l2: self.l2.count(), l3: self.l3.count(), kept: self.kept() }
    }

    /// Records and answers that did not verify.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Answers kept in L2 and L3.
    pub fn kept(&self) -> [usize; 2] {
        [self.l2.len(), self.l3.len()]
    }

    /// Questions on their way.
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }
}
