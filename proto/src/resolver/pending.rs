//! One question on its way: who waits for it, whom it was sent to, what came back so far, and what is said in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::outside::{Outside, too_many, weight};
use super::{Act, Around, Asker, Hop, Neighbour, Outcome, Pace, Proofs, Route, Routes, Source, Terms, bounds, shown};
use crate::access::Sight;
use crate::cache::grow_older;
use crate::name::ZoneName;
use crate::params::{HOP_MARGIN, QUERY_DEADLINE, RESULTS, TTL_L2, ZONES_ASKED_WORDS};
use crate::record::{NodeId, ZoneProof};
use crate::trust::Anchors;
use crate::trust::answers::Checked;
use crate::wire::message::{Answer, Form, Query, Question, Silent};

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) question: Question,
    pub(super) asker: Asker,
    /// Doors that asked the same while it was on its way, and how many results each wants.
    pub(super) joined: Vec<(u64, u32)>,
    /// About the bytes of what came back.
    pub(super) bytes: usize,
    pub(super) terms: Terms,
    /// What is said is kept for others.
    pub(super) is_kept: bool,
    pub(super) waiting: BTreeMap<u64, Waiting>,
    pub(super) answers: Vec<Heard>,
    pub(super) silent: BTreeSet<Silent>,
    pub(super) skipped: u32,
    pub(super) proofs: Vec<ZoneProof>,
    /// What is asked anew by it, before it ends.
    pub(super) refreshes: Option<(String, Question)>,
}

/// What a zone said, which waits for the others.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) source: Source,
    pub(super) asked: Option<Neighbour>,
    pub(super) checked: Checked,
    pub(super) at: Duration,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) zone: String,
    pub(super) via: Via,
    pub(super) peer: Option<NodeId>,
    pub(super) others: Vec<NodeId>,
    /// Everybody it was sent to who is still connected; whoever answers first is heard.
    pub(super) asked: Vec<Asked>,
    pub(super) until: Duration,
    /// It is waited for no longer than nearly all of its zone's answers took.
    pub(super) is_hedged: bool,
    pub(super) query: Query,
    /// What is said if nobody says more.
    pub(super) aside: Option<Aside>,
}

/// An answer while somebody else is asked who may know more.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) outside: Outside,
    pub(super) source: Source,
    pub(super) asked: Option<Neighbour>,
    pub(super) at: Duration,
}

impl Aside {
    /// The same, and what another answer has that this one has not.
    fn beside(mut self, mut other: Self) -> Self {
        for checked in &mut other.outside.answers {
            grow_older(&mut checked.answer, self.at.saturating_sub(other.at));
        }
        self.outside.take_beside(other.outside);
        self
    }
}

/// One node that has the question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) peer: NodeId,
    pub(super) via: Via,
    pub(super) at: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Via {
    Parent,
    Child,
    Fellow,
}

/// Time given to a child that is not connected to appear, before it counts as silent.
const REACH_GRACE: Duration = Duration::from_millis(250);

impl Waiting {
    /// How and when this node was asked, if it was.
    pub(super) fn sent_to(&self, peer: NodeId) -> Option<Asked> {
        self.asked.iter().find(|asked| asked.peer == peer).copied()
    }

    /// Whether it was given as long as a door gives: who is silent for less may only be slow.
    pub(super) fn is_given_time(&self) -> bool {
        u64::from(self.query.deadline_ms) >= millis(QUERY_DEADLINE.0) / 2
    }

    /// Whether nobody who belongs into the answer was left out for having been asked before, so that it is worth keeping.
    pub(super) fn is_whole(&self, own: &ZoneName) -> bool {
        let is_in = |visited: &String, zone: &ZoneName| ZoneName::parse(visited).is_ok_and(|it| it.is_within(zone));
        match self.via {
            Via::Parent | Via::Fellow => self.query.visited.iter().all(|visited| is_in(visited, own)),
            Via::Child => {
                ZoneName::parse(&self.zone).is_ok_and(|zone| !self.query.visited.iter().any(|been| is_in(been, &zone)))
            }
        }
    }
}

impl Pending {
    pub(super) const fn of(question: Question, asker: Asker, terms: Terms) -> Self {
        Self {
            question,
            asker,
            joined: Vec::new(),
            bytes: 0,
            terms,
            is_kept: terms.cached,
            waiting: BTreeMap::new(),
            answers: Vec::new(),
            silent: BTreeSet::new(),
            skipped: 0,
            proofs: Vec::new(),
            refreshes: None,
        }
    }

    /// The question as it is asked of a zone and those below it.
    pub(super) fn of_child(&self, zone: &str) -> Question {
        let sees_all = |sight: &Sight| ZoneName::parse(zone).is_ok_and(|zone| sight.sees_all_below(&zone));
        self.as_asked(self.asker.sight.as_deref().is_none_or(sees_all))
    }

    /// The same of what lies outside the own zone.
    pub(super) fn of_outside(&self, own: &ZoneName) -> Question {
        self.as_asked(self.asker.sight.as_deref().is_none_or(|sight| sight.sees_all_outside(own)))
    }

    /// What of a silent zone may have been kept under.
    pub(super) fn as_kept(&self) -> [Question; 2] {
        [self.as_asked(true), self.as_asked(self.asker.sight.is_none())]
    }

    /// The question as it is answered here: a door's with its width, another node's as it came, which has its width already.
    pub(super) fn wide(&self) -> Question {
        if self.asker.door().is_some() { self.question.wide() } else { self.question.clone() }
    }

    fn as_asked(&self, sees_all: bool) -> Question {
        let wide = self.wide();
        let question = if sees_all { wide } else { shown::widened(&wide) };
        Question { limit: question.limit.min(RESULTS.2 as u32), ..question }
    }

    pub(super) fn query(&self, question: Question, visited: &[String], budget: u16, around: &mut Around<'_>) -> Query {
        let left = self.terms.deadline.saturating_sub(around.now + HOP_MARGIN);
        let mut visited: Vec<String> = visited.to_vec();
        visited.push(around.by.zone.to_string());
        Query {
            id: around.chance.number(),
            question,
            deadline_ms: u32::try_from(millis(left)).unwrap_or(u32::MAX),
            hops: self.terms.hops.saturating_sub(1),
            budget,
            visited,
            outside: false,
            // Others do not know how old is too old for this asker.
            cached: self.terms.cached && self.terms.age_max >= TTL_L2,
        }
    }

    /// Sends the query along the route and waits for it, or says that the zone is silent. True when it waits.
    pub(super) fn wait(
        &mut self,
        query: Query,
        route: Route,
        via: Via,
        pace: &Pace,
        now: Duration,
        acts: &mut Vec<Act>,
    ) -> bool {
        let Route { zone, peers, stale, error } = route;
        let mut is_hedged = false;
        let (peer, others, until) = match peers.split_first() {
            Some((first, others)) => {
                acts.push(Act::Ask(*first, query.clone()));
                // While somebody else is left to ask, one peer gets only a share of the time: it may be dead, unnoticed yet.
                let last = others.is_empty() && via != Via::Fellow;
                let share = self.patience(now);
                let patience = pace.patience(via, query.question.form, &zone).filter(|time| !last && *time < share);
                is_hedged = patience.is_some();
                let until = if last { self.terms.deadline } else { now + patience.unwrap_or(share) };
                (Some(*first), others.to_vec(), until)
            }
            None if via == Via::Child && !stale => {
                acts.extend(ZoneName::parse(&zone).ok().map(Act::Reach));
                (None, Vec::new(), self.terms.deadline.min(now + REACH_GRACE))
            }
            None => {
                // What is wrong with this node's own connections is told to its own users.
                let reason = match error.is_empty() || self.asker.door().is_none() {
                    true => "not connected".to_owned(),
                    false => format!("not connected: {error}"),
                };
                self.silent.insert(Silent { zone, reason });
                return false;
            }
        };
        let asked = peer.map(|peer| Asked { peer, via, at: now }).into_iter().collect();
        self.waiting.insert(query.id, Waiting { zone, via, peer, others, asked, until, is_hedged, query, aside: None });
        true
    }

    /// The share of the time left that one of several nodes gets.
    pub(super) fn patience(&self, now: Duration) -> Duration {
        self.terms.deadline.saturating_sub(now) * 2 / 5
    }

    /// The same query to the zone's next peer, or past a fellow to the parent. False when there is nobody left or no time.
    pub(super) fn elsewhere(
        &mut self,
        waiting: &mut Waiting,
        pace: &Pace,
        around: &Around<'_>,
        acts: &mut Vec<Act>,
    ) -> bool {
        if self.terms.deadline <= around.now {
            return false;
        }
        let mut query = waiting.query.clone();
        let left = millis(self.terms.deadline.saturating_sub(around.now + HOP_MARGIN));
        query.deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
        let (route, via) = match waiting.via {
            Via::Fellow => {
                query.outside = false;
                // It may be known only now whose zone the parent is.
                let parent = around.routes.parent.clone();
                let can_be_asked = |parent: &Route| !parent.peers.is_empty() && !query.visited.contains(&parent.zone);
                let Some(parent) = parent.filter(can_be_asked) else { return false };
                (parent, Via::Parent)
            }
            _ if waiting.others.is_empty() => return false,
            via => {
                let (zone, peers, error) = (waiting.zone.clone(), waiting.others.clone(), String::new());
                (Route { zone, peers, stale: true, error }, via)
            }
        };
        let waits = self.wait(query, route, via, pace, around.now, acts);
        if let Some(again) = self.waiting.get_mut(&waiting.query.id) {
            again.asked.splice(..0, waiting.asked.iter().copied());
            again.aside = waiting.aside.take();
        }
        waits
    }

    /// Keeps what a node answered while another is asked, with what was kept before.
    pub(super) fn put_aside(&mut self, query: u64, peer: NodeId, aside: Aside) {
        let Some(waiting) = self.waiting.get_mut(&query) else { return };
        // It has said what it has to say.
        waiting.asked.retain(|asked| asked.peer != peer);
        let before = waiting.aside.take();
        self.bytes -= before.as_ref().map_or(0, |before| before.outside.weight());
        let aside = match before {
            Some(before) => aside.beside(before),
            None => aside,
        };
        self.bytes += aside.outside.weight();
        waiting.aside = Some(aside);
    }

    /// Takes in the last answer to a query, and what was put aside for it where that is not all there is to know.
    pub(super) fn absorb_with(&mut self, last: Aside, before: Option<Aside>) {
        self.bytes -= before.as_ref().map_or(0, |before| before.outside.weight());
        let Aside { outside, source, asked, at } = match before {
            Some(before) if !last.outside.is_complete() => last.beside(before),
            _ => last,
        };
        self.absorb(outside, source, asked, at);
    }

    /// Says that a zone is silent, or what somebody of it had said before.
    pub(super) fn give_up(&mut self, waiting: Waiting, reason: &str) {
        match waiting.aside {
            Some(Aside { outside, source, asked, at }) => {
                self.bytes -= outside.weight();
                self.absorb(outside, source, asked, at);
            }
            None => {
                self.silent.insert(Silent { zone: waiting.zone, reason: reason.to_owned() });
            }
        }
    }

    /// Names the zones that can only be asked through one that is silent, as far as they are known: they were not asked either. A name is
    /// in one zone, whose silence says all. Nothing that was answered is called silent.
    pub(super) fn name_cut_off(&mut self, around: &Around<'_>) {
        if self.question.form == Form::Exact {
            return;
        }
        let silent: Vec<&str> = self.silent.iter().map(|silent| silent.zone.as_str()).collect();
        let is_known = |zone: &ZoneName| {
            let answered = |heard: &Heard| heard.checked.answer.zone == zone.as_str();
            zone == around.by.zone || silent.contains(&zone.as_str()) || self.answers.iter().any(answered)
        };
        // Whoever may not find all of a zone is not told that it is there.
        let may_see = |zone: &ZoneName| self.asker.sight.as_deref().is_none_or(|sight| sight.sees_all_of(zone));
        let unasked = around
            .tags
            .reached()
            .filter(|zone| Routes::concerns(&self.question, zone) && !is_known(zone) && may_see(zone));
        let named = |zone: &ZoneName| {
            let through = around.routes.cut_off_by(zone, &silent)?;
            let reason = format!("not asked: it is reached through {through}, which is silent");
            Some(Silent { zone: zone.to_string(), reason })
        };
        let room = usize::from(ZONES_ASKED_WORDS).saturating_sub(silent.len());
        let unasked: BTreeSet<Silent> = unasked.filter_map(named).collect();
        self.silent.extend(unasked.into_iter().take(room));
    }

    /// Takes in what came back, from whom this node asked if it asked anybody, each zone once.
    pub(super) fn absorb(&mut self, outside: Outside, source: Source, asked: Option<Neighbour>, at: Duration) {
        for checked in outside.answers {
            // What a zone says itself goes before what another told of it.
            let zone = &checked.answer.zone;
            let is_told = |heard: &Heard| heard.source == Source::Export && heard.checked.answer.zone == *zone;
            if source != Source::Export
                && let Some(at) = self.answers.iter().position(is_told)
            {
                self.bytes -= weight(&self.answers.remove(at).checked);
            }
            if !self.answers.iter().any(|known| known.checked.answer.zone == checked.answer.zone) {
                self.bytes += weight(&checked);
                self.answers.push(Heard { source, asked: asked.clone(), checked, at });
            }
        }
        self.silent.extend(outside.silent);
        self.skipped = self.skipped.saturating_add(outside.skipped);
        self.proofs.extend(outside.proofs);
    }

    /// Gives up what came from a cache: those who wait hold too much together.
    pub(super) fn shed(&mut self) {
        let held = std::mem::take(&mut self.answers);
        for heard in held {
            if matches!(heard.source, Source::L2 | Source::Export) {
                self.silent.insert(too_many(heard.checked.answer.zone));
            } else {
                self.answers.push(heard);
            }
        }
        self.bytes = 0;
    }

    /// Adds the keys of our children, as far as they are in the answer.
    pub(super) fn add_proofs(&mut self, proofs: &Proofs<'_>, anchors: &Anchors) {
        let zones = self.answers.iter().filter_map(|heard| ZoneName::parse(&heard.checked.answer.zone).ok());
        let zones: Vec<ZoneName> = zones.collect();
        for proof in proofs.of_zones(&zones, anchors) {
            if !self.proofs.contains(&proof) {
                self.proofs.push(proof);
            }
        }
    }

    /// Takes out of what others said what the asker may not find.
    fn hide(&mut self) {
        let Some(sight) = self.asker.sight.clone() else { return };
        let wide = self.wide();
        for heard in std::mem::take(&mut self.answers) {
            // What this node says of its own zone was said to this asker.
            if heard.source == Source::Local {
                self.answers.push(heard);
                continue;
            }
            let (checked, silent) = shown::cut(heard.checked, &self.question, &wide, &sight);
            self.silent.extend(silent);
            // That something was known of a silent zone is told with what it was, or not at all.
            let is_told = |checked: &Checked| heard.source != Source::L3 || !checked.records.is_empty();
            if let Some(checked) = checked.filter(is_told) {
                self.answers.push(Heard { checked, ..heard });
            }
        }
    }

    pub(super) fn into_outcome(mut self) -> Outcome {
        self.hide();
        let hop = |heard: &mut Heard| Hop::of(heard.source, heard.asked.take(), &heard.checked.answer);
        Outcome {
            question: self.question,
            hops: self.answers.iter_mut().map(hop).collect(),
            answers: self.answers.into_iter().map(|heard| (heard.source, heard.checked)).collect(),
            silent: self.silent.into_iter().collect(),
            skipped: self.skipped,
            proofs: self.proofs,
        }
    }

    pub(super) fn into_answer(mut self, id: u64) -> Answer {
        self.hide();
        let heard = self.answers.into_iter().filter(|heard| heard.source != Source::L3);
        // Where this node's parent should be, while it has no name, is nothing to others.
        let named = |silent: Silent| match ZoneName::parse(&silent.zone) {
            Ok(_) => silent,
            Err(_) => Silent { zone: "the parent".to_owned(), ..silent },
        };
        let mut answer = Answer {
            id,
            zones: heard.map(|heard| heard.checked.answer).collect(),
            silent: self.silent.into_iter().map(named).collect(),
            skipped: self.skipped,
            proofs: self.proofs,
        };
        bounds::fit(&mut answer);
        answer
    }
}

pub(super) const fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::super::{Terms, Who};
    use super::*;
    use crate::wire::message::{Form, ZoneAnswer};

    fn said(zone: &str, documents: u64) -> Outside {
        let answer = ZoneAnswer {
            zone: zone.into(),
            node: NodeId([1; 32]),
            tag: 1,
            behind: false,
            age_ms: 0,
            ttl_ms: 0,
            took_us: 0,
            documents,
            total_length: 0,
            frequencies: Vec::new(),
            matches: 0,
            candidates: Vec::new(),
            near: Vec::new(),
        };
        let answers = vec![Checked { answer, records: Vec::new(), refused: 0, read: None }];
        Outside { answers, silent: Vec::new(), skipped: 0, proofs: Vec::new() }
    }

    #[test]
    fn what_a_zone_says_itself_goes_before_what_was_told_of_it_whichever_comes_first() {
        for orders in [[0, 1], [1, 0]] {
            let question = Question {
                form: Form::Words,
                text: "papers".into(),
                zone: None,
                limit: 10,
                tags: Vec::new(),
                capabilities: Vec::new(),
                after: String::new(),
            };
            let asker = Asker { who: Who::Nobody, sight: None };
            let mut pending = Pending::of(question, asker, Terms::of_door(Form::Words, Duration::ZERO));
            let of = [("research", 7, Source::Export), ("research", 8, Source::Child)];
            for (zone, documents, source) in orders.map(|at| of[at]) {
                pending.absorb(said(zone, documents), source, None, Duration::ZERO);
            }
            pending.absorb(said("writing", 9), Source::Export, None, Duration::ZERO);
            let heard: Vec<(Source, u64)> =
                pending.answers.iter().map(|heard| (heard.source, heard.checked.answer.documents)).collect();
            assert_eq!(heard, [(Source::Child, 8), (Source::Export, 9)]);
            assert_eq!(pending.bytes, pending.answers.iter().map(|heard| weight(&heard.checked)).sum::<usize>());
        }
    }
}
