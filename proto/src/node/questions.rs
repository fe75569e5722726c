//! Questions in and out of the node: from doors, from peers, to peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Caller, Sight};
use crate::name::ZoneName;
use crate::node::{Node, Output};
use crate::params::{
    FILTER_CHARS_MAX, HOPS_MAX, NAME_CHARS_MAX, QUERY_DEADLINE, QUESTION_CHARS_MAX, RESULTS, TTL_L3, ZONES_ASKED_WORDS,
};
use crate::record::NodeId;
use crate::resolver::{Act, Around, Asker, Outcome, Proofs, Resolver, Route, Routes, Terms, Who};
use crate::search::rank;
use crate::view::Relation;
use crate::wire::message::{Answer, Keeps, Query, Question};
use crate::zone::Child;
use crate::zone::answer::Answerer;

/// Filters of one question.
const FILTERS_MAX: usize = 16;

impl Node {
    pub(super) fn on_resolve(&mut self, token: u64, question: Question, terms: Terms, sight: Option<Arc<Sight>>) {
        self.ask(Asker { who: Who::Door(token), sight }, question, terms, &[]);
    }

    pub(super) fn on_query(&mut self, peer: NodeId, query: Query) {
        let question = query.question;
        let short = |words: &[String], chars_max| words.iter().all(|word| word.len() <= chars_max);
        let fits = question.text.len() <= QUESTION_CHARS_MAX
            && question.tags.len().max(question.capabilities.len()) <= FILTERS_MAX
            && short(&question.tags, FILTER_CHARS_MAX)
            && short(&question.capabilities, FILTER_CHARS_MAX)
            && question.zone.as_ref().is_none_or(|zone| zone.len() <= NAME_CHARS_MAX)
            && question.after.len() <= NAME_CHARS_MAX
            && query.visited.len() <= 4 * usize::from(HOPS_MAX)
            && short(&query.visited, NAME_CHARS_MAX)
            && question.limit as usize <= RESULTS.2;
        if !fits {
            self.counts.bad_frames += 1;
            return;
        }
        // Where strangers may come, only those who have proven whose they are ask.
        if self.is_guarded(peer) && self.links.relation(peer).is_none() {
            self.counts.refused += 1;
            return;
        }
        let (_, least, most) = QUERY_DEADLINE;
        // Whoever asks need not be asked, whatever it says of where the question has been.
        let mut visited = query.visited;
        if let Some(Relation::Parent(zone) | Relation::Child(zone)) = self.links.relation(peer)
            && !visited.iter().any(|name| name == zone.as_str())
        {
            visited.push(zone.to_string());
        }
        let terms = Terms {
            deadline: self.now.mono + Duration::from_millis(u64::from(query.deadline_ms)).clamp(least, most),
            hops: query.hops.min(HOPS_MAX),
            budget: query.budget.min(ZONES_ASKED_WORDS),
            cached: query.cached,
            recurse: true,
            outside: query.outside && self.is_fellow(peer),
            age_max: TTL_L3,
        };
        let asker = Asker { who: Who::Peer { node: peer, id: query.id }, sight: self.sight_of(peer).map(Arc::new) };
        self.ask(asker, question, terms, &visited);
    }

    /// What a peer may find here and through this node: as its zone, whoever asked it.
    pub(super) fn sight_of(&self, peer: NodeId) -> Option<Sight> {
        let caller = match self.links.relation(peer) {
            // Whom its users are was asked at its door, and it holds what this node holds.
            Some(Relation::Fellow) => return None,
            Some(Relation::Parent(zone) | Relation::Child(zone)) => {
                let below = self.zone.children().keys().map(|child| (child, self.zone.role_of(child)));
                Caller::of_zone(&self.config.zone, below, zone, peer)
            }
            None => Caller::anonymous(),
        };
        Sight::of(&self.config.rules, &caller, self.is_guarded(peer))
    }

    fn ask(&mut self, asker: Asker, question: Question, terms: Terms, visited: &[String]) {
        let routes = self.routes();
        let (resolver, mut around) = self.around(&routes);
        let acts = resolver.start(asker, question, terms, visited, &mut around);
        self.act(acts);
    }

    pub(super) fn on_answer(&mut self, peer: NodeId, answer: Answer) {
        let routes = self.routes();
        let (resolver, mut around) = self.around(&routes);
        let acts = resolver.on_answer(peer, answer, &mut around);
        self.act(acts);
    }

    pub(super) fn on_keeps(&mut self, fellow: NodeId, keeps: &Keeps) {
        if !self.resolver.on_keeps(fellow, keeps, self.now.mono) {
            self.counts.bad_frames += 1;
        }
    }

    pub(super) fn questions_on_peer_lost(&mut self, peer: NodeId) {
        self.resolver.exports.lose(peer);
        if self.resolver.in_flight() == 0 {
            return;
        }
        let routes = self.routes();
        let (resolver, mut around) = self.around(&routes);
        let acts = resolver.on_peer_lost(peer, &mut around);
        self.act(acts);
    }

    pub(super) fn questions_on_reached(&mut self, zone: &ZoneName, peer: NodeId) {
        let acts = self.resolver.on_reached(zone, peer, self.now.mono);
        self.act(acts);
    }

    pub(super) fn questions_on_time(&mut self) {
        if self.resolver.next_deadline().is_none_or(|deadline| deadline > self.now.mono) {
            return;
        }
        let routes = self.routes();
        let (resolver, mut around) = self.around(&routes);
        let acts = resolver.on_time(&mut around);
        self.act(acts);
    }

    /// Lends the resolver its surroundings, holder by holder.
    fn around<'a>(&'a mut self, routes: &'a Routes) -> (&'a mut Resolver, Around<'a>) {
        let holds_back = self.registry.held_back() > 0;
        let (tag, behind) = (self.zone.tag(), holds_back || self.gossip.is_behind() || self.is_behind());
        self.zone.tools();
        let around = Around {
            by: Answerer { zone: &self.config.zone, node: self.id, tag, behind },
            tools: self.zone.tools_as_taken(),
            routes,
            proofs: Proofs { own: &self.config.zone, zone: &self.zone, chains: &self.chains },
            holds_back,
            fellows: self.links.fellows(),
            far: self.links.far_fellows(),
            anchors: &mut self.anchors,
            verifier: &mut self.verifier,
            tags: &self.tags,
            chance: &mut self.chance,
            now: self.now.mono,
            wall_ms: self.now.wall_ms,
        };
        (&mut self.resolver, around)
    }

    pub(super) fn routes(&self) -> Routes {
        let parent = self.links.has_parents().then(|| Route {
            zone: self.links.parent_label(),
            peers: self.links.askable_parents(),
            stale: true,
            error: self.links.parent_error(),
        });
        let (mut children, mut askable) = (Vec::new(), self.links.askable_children());
        for (zone, by_node) in self.zone.children() {
            let peers = askable.remove(zone).unwrap_or_default();
            if !self.links.is_leased(zone, self.now.mono) && peers.is_empty() {
                continue;
            }
            let gateways = by_node.values().flat_map(Child::gateways).map(|g| g.address.clone());
            let stale = self.links.failed_lately(gateways);
            children.push((zone.clone(), Route { zone: zone.to_string(), peers, stale, error: String::new() }));
        }
        Routes { own: self.config.zone.clone(), parent, children }
    }

    fn act(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Ask(peer, query) => self.send(peer, query),
                Act::Tell(fellow, keeps) => self.send(fellow, keeps),
                Act::AskExport(peer, ask) => self.send(peer, ask),
                Act::Reply(peer, answer) => self.send(peer, *answer),
                Act::Reach(zone) => self.reach(&zone),
                Act::Resolved(doors, outcome) => self.tell_doors(doors, outcome),
            }
        }
    }

    /// Tells doors that asked the same what came of it, as much as each wants.
    fn tell_doors(&mut self, doors: Vec<(u64, u32)>, outcome: Box<Outcome>) {
        let mut by_limit: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (token, limit) in doors {
            by_limit.entry(limit).or_default().push(token);
        }
        // Mostly only one waits, and nothing is copied.
        let last = by_limit.pop_last();
        for (limit, tokens) in by_limit {
            self.tell_alike(tokens, outcome.clone().for_limit(limit));
        }
        if let Some((limit, tokens)) = last {
            self.tell_alike(tokens, outcome.for_limit(limit));
        }
    }

    fn tell_alike(&mut self, mut tokens: Vec<u64>, outcome: Outcome) {
        let found = rank(&outcome.question, outcome.answers.iter().map(|(_, checked)| checked));
        let (outcome, last) = (Box::new(outcome), tokens.pop());
        for token in tokens {
            let (outcome, found) = (outcome.clone(), found.clone());
            self.outputs.push_back(Output::Resolved { token, outcome, found });
        }
        self.outputs.extend(last.map(|token| Output::Resolved { token, outcome, found }));
    }
}
