//! What a zone says to one question, from its own tools alone. No scores leave it: signed records and exact counts of the
//! question's terms do, and whoever asked scores the records' text with the counts of all zones together (DESIGN D7).

use crate::access::Sight;
use crate::error::{did_you_mean, nearest_names};
use crate::index::{DocId, Goal, Query, Sifted, Stats};
use crate::name::{ZoneName, order_of_names};
use crate::params::{CANDIDATES_MIN, TTL_L3};
use crate::record::{Certificate, NodeId};
use crate::trust::answers::{Checked, Read};
use crate::wire::message::{Candidate, Form, Question, ZoneAnswer};
use crate::zone::{Tool, Tools, sifted};

/// Near names an answer offers.
const NEAR_MAX: usize = 3;

/// Who answers, for the fields that do not come from the tools.
#[derive(Debug)]
pub struct Answerer<'a> {
    /// The zone.
    pub zone: &'a ZoneName,
    /// The node that speaks for it.
    pub node: NodeId,
    /// Content tag of the zone.
    pub tag: u64,
    /// Whether this node knows that it is behind.
    pub behind: bool,
}

/// What a zone says to `question` from its own tools, in at most about `room` bytes of candidates; `usize::MAX` for this very node, to
/// which nothing is sent. Candidates that are sent carry their envelopes and their writers' certificates; `matches` counts those that
/// found no room as well. To whom `sight` hides tools it says what it would say without
/// them. Its records were checked when they came in.
pub fn answer(by: &Answerer<'_>, tools: &Tools, question: &Question, room: usize, sight: Option<&Sight>) -> Checked {
    let shown = Shown { zone: by.zone, tools, sight };
    let found = match question.form {
        Form::Exact => shown.exact(question),
        Form::Words => shown.words(question),
        Form::List => shown.list(question),
    };
    let (mut room, is_sent) = (room, room < usize::MAX);
    let candidates: Vec<Candidate> = found
        .tools
        .iter()
        .map(|tool| candidate(tools, tool, is_sent))
        .take_while(|candidate| {
            let bytes = candidate.bytes();
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        })
        .collect();
    let near = match question.form {
        Form::Exact if found.tools.is_empty() => shown.near_names(&question.text),
        _ => Vec::new(),
    };
    let records = found.tools.iter().take(candidates.len()).map(|tool| tool.shown().signed.clone()).collect();
    let answer = ZoneAnswer {
        zone: by.zone.as_str().to_owned(),
        node: by.node,
        tag: by.tag,
        behind: by.behind,
        age_ms: 0,
        ttl_ms: TTL_L3.as_millis() as u64,
        took_us: 0,
        documents: found.stats.documents,
        total_length: found.stats.total_length,
        frequencies: found.stats.document_frequency,
        matches: found.matches,
        candidates,
        near,
    };
    let read = found.goal.filter(|_| !is_sent).map(|goal| Box::new(Read { goal, sifted: found.sifted }));
    Checked { answer, records, refused: 0, read }
}

#[derive(Default)]
struct Local {
    tools: Vec<Tool>,
    matches: u64,
    stats: Stats,
    /// The question as it was read, and what it finds in each tool.
    goal: Option<Goal>,
    sifted: Vec<Sifted>,
}

/// The tools of a zone that one asker may find.
struct Shown<'a> {
    zone: &'a ZoneName,
    tools: &'a Tools,
    sight: Option<&'a Sight>,
}

impl Shown<'_> {
    fn exact(&self, question: &Question) -> Local {
        let found = self.tools.find_text(&question.text).cloned();
        let found: Vec<Tool> = found.into_iter().filter(|tool| self.wanted(tool, question)).collect();
        let stats = Stats { documents: self.documents(), ..Stats::default() };
        Local { matches: found.len() as u64, tools: found, stats, ..Local::default() }
    }

    fn list(&self, question: &Question) -> Local {
        let all = self.tools.all().into_iter();
        let all =
            all.filter(|tool| order_of_names(tool.name(), &question.after).is_gt() && self.wanted(tool, question));
        let all: Vec<Tool> = all.cloned().collect();
        let matches = all.len() as u64;
        let stats = Stats { documents: matches, ..Stats::default() };
        Local { tools: all.into_iter().take(question.limit as usize).collect(), matches, stats, ..Local::default() }
    }

    fn words(&self, question: &Question) -> Local {
        let goal = Goal::parse(&question.text);
        let limit = (question.limit as usize).max(CANDIDATES_MIN);
        let filter = |document: DocId| self.tools.document(document).is_some_and(|tool| self.wanted(tool, question));
        let (stats, hits) = self.tools.index().find(goal.whole(), self.stats(goal.whole()), limit, &filter);
        let tool = |(document, score, sifted)| Some((self.tools.document(document)?, score, sifted));
        let mut hits: Vec<(&Tool, f32, Sifted)> = hits.into_iter().filter_map(tool).collect();
        // Everybody draws the line at the same place: ties at the cut go by name.
        hits.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| order_of_names(a.0.name(), b.0.name())));
        hits.truncate(limit);
        // What goes by the very text comes first, whatever it scores.
        let called = self.tools.called(&question.text).into_iter().filter(|tool| self.wanted(tool, question));
        let called: Vec<&Tool> = called.take(limit).collect();
        hits.retain(|(tool, ..)| !called.iter().any(|known| known.name() == tool.name()));
        let (mut tools, mut found) = (Vec::with_capacity(limit), Vec::with_capacity(limit));
        tools.extend(called.iter().map(|tool| (*tool).clone()));
        found.extend(called.iter().map(|tool| sifted(&goal, &tool.shown().body())));
        for (tool, _, sifted) in hits {
            tools.push(tool.clone());
            found.push(sifted);
        }
        // Terms that only a part of the question seeks are not in the index's answer.
        let goal = Some(goal).filter(Goal::is_whole);
        Local { matches: tools.len() as u64, tools, stats, goal, sifted: found }
    }

    fn near_names(&self, text: &str) -> Vec<String> {
        let all = self.tools.all();
        let seen = all.iter().filter(|tool| self.sees(tool));
        let names: Vec<&str> = seen.map(|tool| tool.name()).collect();
        let mut near = did_you_mean(text, names.iter().copied());
        // What else the server has that was asked for, nearest first.
        if let Some((label, behind)) = text.split_once('.').filter(|_| near.len() < NEAR_MAX) {
            let beside = names.iter().filter_map(|name| {
                let (other, server) = name.split_once('.')?;
                server.eq_ignore_ascii_case(behind).then_some((other, *name))
            });
            let beside = nearest_names(label, beside);
            near.extend(beside.into_iter().filter(|name| !near.contains(name)).collect::<Vec<_>>());
        }
        near.truncate(NEAR_MAX);
        near
    }

    /// The counts as if there were nothing but what the asker may find; nothing where that is everything.
    fn stats(&self, query: &Query) -> Option<Stats> {
        let seen = |document| self.tools.document(document).is_some_and(|tool| self.sees(tool));
        self.sight.map(|_| self.tools.index().stats_among(query, &seen))
    }

    fn documents(&self) -> u64 {
        let count = match self.sight {
            Some(_) => self.tools.all().into_iter().filter(|tool| self.sees(tool)).count(),
            None => self.tools.len(),
        };
        count as u64
    }

    fn wanted(&self, tool: &Tool, question: &Question) -> bool {
        is_asked_for(tool, question) && self.sees(tool)
    }

    fn sees(&self, tool: &Tool) -> bool {
        self.sight.is_none_or(|sight| sight.sees(self.zone, tool.name()))
    }
}

fn is_asked_for(tool: &Tool, question: &Question) -> bool {
    if question.zone.is_none() && question.tags.is_empty() && question.capabilities.is_empty() {
        return true;
    }
    let body = tool.shown().body();
    // Where it lies is what comes after its label: a server's name is no zone.
    let place = || tool.name().split_once('.').map_or("", |(_, place)| place);
    let in_zone = question.zone.as_ref().is_none_or(|zone| ZoneName::parse(zone).is_ok_and(|zone| zone.holds(place())));
    in_zone
        && question.tags.iter().all(|tag| body.tags.contains(&&**tag))
        && question.capabilities.iter().all(|capability| body.capabilities.contains(&&**capability))
}

fn candidate(tools: &Tools, tool: &Tool, is_sent: bool) -> Candidate {
    let signed = is_sent.then(|| &tool.shown().signed);
    Candidate {
        envelope: signed.map(|signed| signed.envelope().into()).unwrap_or_default(),
        chain: signed.map(|signed| chain_of(tools, signed.record.node())).unwrap_or_default(),
        instances: tools.instances(tool),
        clash: tool.clash,
    }
}

fn chain_of(tools: &Tools, node: NodeId) -> Vec<Certificate> {
    tools.node(node).map(|body| body.chain.clone()).unwrap_or_default()
}
