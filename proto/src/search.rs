//! One question, seen from both ends: what a zone answers from its own tools, and how an asker ranks what zones answered.
//!
//! Scores of different zones are not comparable and not to be trusted, so none travel: a zone returns signed records and exact
//! counts of its terms, and the asker scores the records' text with the counts of all zones together (DESIGN D7). The same
//! records and counts give every asker the same ranking.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::did_you_mean;
use crate::index::{DocId, Query, Scorer, Stats};
use crate::name::{FullName, ZoneName};
use crate::params::{CANDIDATES_MIN, RANGES_BYTES_PER_ROUND, TTL_L3};
use crate::record::{Certificate, Kind, NodeId, Signed, SignedRef};
use crate::trust::{Anchors, TrustError, Verifier};
use crate::wire::message::{Candidate, Form, Health, Question, ZoneAnswer};
use crate::zone::{Tool, ToolInstance, Tools, aliases, terms_of};

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

/// What a zone says to `question` from its own tools. Candidates carry their writers' certificates.
pub fn answer(by: &Answerer<'_>, tools: &Tools, question: &Question) -> ZoneAnswer {
    let found = match question.form {
        Form::Exact => exact(tools, question),
        Form::Words => words(tools, question),
        Form::List => list(tools, question),
    };
    let mut room = RANGES_BYTES_PER_ROUND;
    let candidates = found
        .tools
        .iter()
        .map(|tool| candidate(tools, tool))
        .take_while(|candidate| {
            let bytes = candidate.bytes();
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        })
        .collect();
    let near = match question.form {
        Form::Exact if found.tools.is_empty() => near_names(tools, &question.text),
        _ => Vec::new(),
    };
    ZoneAnswer {
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
    }
}

struct Local {
    tools: Vec<Arc<Tool>>,
    matches: u64,
    stats: Stats,
}

fn exact(tools: &Tools, question: &Question) -> Local {
    let found = FullName::parse(&question.text).ok().and_then(|name| tools.find(&name).cloned());
    let found: Vec<Arc<Tool>> = found.into_iter().filter(|tool| wanted(tool, question)).collect();
    let stats = Stats { documents: tools.len() as u64, ..Stats::default() };
    Local { matches: found.len() as u64, tools: found, stats }
}

fn list(tools: &Tools, question: &Question) -> Local {
    let all: Vec<Arc<Tool>> = tools.all().into_iter().filter(|tool| wanted(tool, question)).cloned().collect();
    let matches = all.len() as u64;
    let stats = Stats { documents: matches, ..Stats::default() };
    Local { tools: all.into_iter().take(question.limit as usize).collect(), matches, stats }
}

fn words(tools: &Tools, question: &Question) -> Local {
    let query = Query::parse(&question.text);
    let limit = (question.limit as usize).max(CANDIDATES_MIN);
    let filter = |document: DocId| tools.document(document).is_some_and(|tool| wanted(tool, question));
    let mut hits: Vec<(&Arc<Tool>, f32)> = tools
        .index()
        .search(&query, limit, &filter)
        .into_iter()
        .filter_map(|(document, score)| tools.document(document).map(|tool| (tool, score)))
        .collect();
    // Everybody draws the line at the same place: ties at the cut go by name.
    hits.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.name.cmp(&b.0.name)));
    hits.truncate(limit);
    // What goes by the very text comes first, whatever it scores.
    let mut found: Vec<Arc<Tool>> =
        tools.called(&question.text).into_iter().filter(|tool| wanted(tool, question)).take(limit).cloned().collect();
    let called = found.len();
    for (tool, _) in hits {
        if !found[..called].iter().any(|known| known.name == tool.name) {
            found.push(tool.clone());
        }
    }
    Local { matches: found.len() as u64, tools: found, stats: tools.index().stats(&query) }
}

fn wanted(tool: &Tool, question: &Question) -> bool {
    let body = &tool.shown().body;
    let in_zone =
        question.zone.as_ref().is_none_or(|zone| ZoneName::parse(zone).is_ok_and(|zone| tool.name.is_in(&zone)));
    in_zone
        && question.tags.iter().all(|tag| body.tags.contains(tag))
        && question.capabilities.iter().all(|capability| body.capabilities.contains(capability))
}

fn candidate(tools: &Tools, tool: &Tool) -> Candidate {
    let shown = tool.shown();
    Candidate {
        envelope: shown.signed.envelope.to_vec(),
        chain: chain_of(tools, shown.signed.record.node),
        instances: tools.instances(tool),
        clash: tool.clash,
    }
}

fn chain_of(tools: &Tools, node: NodeId) -> Vec<Certificate> {
    tools.nodes().get(&node).map(|body| body.chain.clone()).unwrap_or_default()
}

fn near_names(tools: &Tools, text: &str) -> Vec<String> {
    let all = tools.all();
    let mut near = did_you_mean(text, all.iter().map(|tool| tool.name.as_str()));
    near.truncate(NEAR_MAX);
    near
}

/// An answer of one zone whose candidates were checked.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The answer, with what did not verify taken out.
    pub answer: ZoneAnswer,
    /// The records of its candidates, in their order.
    pub records: Vec<SignedRef>,
    /// Candidates that were taken out.
    pub refused: u32,
}

/// Keeps of an answer what its zone's key vouches for (P2). `own` is the zone whose records were checked when they came in.
///
/// # Errors
/// When the zone's key cannot be proven from an anchor and there is anything to be proven; the whole answer is refused.
pub fn check(
    mut answer: ZoneAnswer,
    own: &ZoneName,
    anchors: &Anchors,
    verifier: &mut Verifier,
) -> Result<Checked, TrustError> {
    let zone = ZoneName::parse(&answer.zone).map_err(|_| TrustError::Chain(answer.zone.clone()))?;
    if zone != *own && !answer.candidates.is_empty() && anchors.key_of(&zone).is_none() {
        return Err(TrustError::NoAnchor(zone));
    }
    let mut records = Vec::with_capacity(answer.candidates.len());
    let before = answer.candidates.len();
    answer.candidates.retain(|candidate| {
        let signed = check_candidate(candidate, &zone, own, anchors, verifier);
        signed.map(|signed| records.push(Arc::new(signed))).is_ok()
    });
    let refused = u32::try_from(before - records.len()).unwrap_or(u32::MAX);
    Ok(Checked { answer, records, refused })
}

fn check_candidate(
    candidate: &Candidate,
    zone: &ZoneName,
    own: &ZoneName,
    anchors: &Anchors,
    verifier: &mut Verifier,
) -> Result<Signed, TrustError> {
    let signed = verifier.open(&candidate.envelope)?;
    let record = &signed.record;
    let of_zone = record.zone == zone.as_str()
        && record.kind() == Kind::Tool
        && record.body.is_some()
        && FullName::parse(&record.name).is_ok_and(|name| name.is_in(zone));
    if !of_zone {
        return Err(TrustError::Chain(record.node.short()));
    }
    if zone != own {
        verifier.check_node(anchors, zone, record.node, &candidate.chain)?;
    }
    Ok(signed)
}

/// How good a result is as an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// Said by the zone within its lifetime.
    Fresh,
    /// Kept from before, because the zone is silent now.
    Stale,
}

/// One ranked tool.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its full name.
    pub name: FullName,
    /// Its zone.
    pub zone: ZoneName,
    /// The record that is shown, and its body.
    pub instance: ToolInstance,
    /// BM25 over all zones asked; for sorting and `--explain`.
    pub score: f32,
    /// Found by its very name.
    pub exact: bool,
    /// Everybody who serves it.
    pub instances: Vec<crate::wire::message::Instance>,
    /// Several services claim the name.
    pub clash: bool,
    /// Place of its zone's answer among those ranked.
    pub answer: usize,
}

impl Found {
    /// How it is: as its best instance is.
    pub fn health(&self) -> Health {
        self.instances.iter().map(|instance| instance.health).min().unwrap_or(Health::Unknown)
    }
}

/// Ranks what zones answered: exact names first, what is down last, then score, ties by name. Deterministic.
pub fn rank(question: &Question, answers: &[Checked]) -> Vec<Found> {
    let query = Query::parse(&question.text);
    let mut stats = Stats::default();
    for checked in answers {
        let answer = &checked.answer;
        stats.merge(&Stats {
            documents: answer.documents,
            total_length: answer.total_length,
            document_frequency: answer.frequencies.clone(),
        });
    }
    let scorer = Scorer::new(&query, &stats);
    let mut best: BTreeMap<FullName, Found> = BTreeMap::new();
    for (at, checked) in answers.iter().enumerate() {
        for (candidate, signed) in checked.answer.candidates.iter().zip(&checked.records) {
            let Some((name, instance)) = ToolInstance::read(signed) else { continue };
            let Ok(zone) = ZoneName::parse(&checked.answer.zone) else { continue };
            let exact = aliases(&name, &instance.body).contains(question.text.trim().to_lowercase().as_str());
            let score = match question.form {
                Form::Words => scorer.score(&terms_of(&instance.body)),
                Form::Exact | Form::List => 0.0,
            };
            let (instances, clash) = (candidate.instances.clone(), candidate.clash);
            let found = Found { name: name.clone(), zone, instance, score, exact, instances, clash, answer: at };
            // A name can stand in a parent and in a child of it only while a delegation is young: the deeper zone owns it.
            match best.get(&name) {
                Some(known) if known.zone.depth() >= found.zone.depth() => {}
                _ => {
                    best.insert(name, found);
                }
            }
        }
    }
    let mut ranked: Vec<Found> = best.into_values().collect();
    if question.form != Form::List {
        ranked.sort_by(|a, b| {
            let down = |found: &Found| found.health() == Health::Down;
            (b.exact, down(a)).cmp(&(a.exact, down(b))).then(b.score.total_cmp(&a.score)).then(a.name.cmp(&b.name))
        });
    }
    ranked.truncate(question.limit as usize);
    ranked
}
