//! Answers as the outside sees them: results with their health and remaining life, their JSON, and L1, the doors' own cache.
//!
//! It decides nothing: ranking, freshness and lifetimes come from the core, and so does what goes first. An answer kept here ends when
//! the zone changes or a newer tag of any zone was heard, so it is never older than it says (P7).

mod circuits;
mod json;
mod ready;
mod shared;
mod trace;
mod usable;

pub use circuits::{Circuits, Shut};
pub(crate) use ready::put_number;
pub use ready::{Again, READY_BYTES_MAX, Ready, Said};
pub use trace::{CachedAt, Own, Step};
use trace::{source_name, trace_of};
pub use usable::Obstacle;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aop_proto::access::Sight;
use aop_proto::cache::{Level, Quality, lifetime};
use aop_proto::json::texts_of;
use aop_proto::name::{FullName, ZoneName};
use aop_proto::params::TTL_L2;
use aop_proto::record::{AgentBody, NodeId};
use aop_proto::resolver::{Freshness, Outcome, Source};
use aop_proto::search::{Found, LOST_MAX, Lost, Ranked, Why};
use aop_proto::wire::message::{Form, Health, Instance};
use bytes::Bytes;

use self::shared::Shared;

/// Bytes of answers L1 may hold.
pub const L1_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a JSON answer shows besides what it always does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Show {
    /// The hops.
    pub trace: bool,
    /// The schemas of inputs and outputs.
    pub schema: bool,
}

/// One answered question.
#[derive(Debug, Clone, Default)]
pub struct Resolution {
    /// The question as it was asked.
    pub query: String,
    /// Somebody was silent.
    pub partial: bool,
    /// Zones asked, and zones that answered.
    pub asked: u32,
    /// See `asked`.
    pub answered: u32,
    /// Zones left out for want of budget.
    pub skipped: u32,
    /// Zones that were silent.
    pub silent: Vec<String>,
    /// What was found, best first.
    pub hits: Vec<Hit>,
    /// Of a list that found no room in one answer, the name after which it goes on, lower case.
    pub continues_after: Option<String>,
    /// Names near one that was not found.
    pub near: Vec<String>,
    /// The zone that says there is no such name.
    pub denied_by: Option<String>,
    /// It was asked for by a name that no tool has; what is here was found by its words.
    pub is_by_words: bool,
    /// Zones found more than has room in an answer between nodes, and fewer than were wanted are here.
    pub is_cut: bool,
    /// One step a zone.
    pub trace: Vec<Step>,
    /// Where the doors of the node that answers keep it.
    pub kept_at: Option<CachedAt>,
    /// What zones offered and is not shown, best first, for who wants to see the hops.
    pub lost: Vec<Lost>,
    /// Where nothing is offered because nothing is likely, what comes nearest.
    pub nearest: Vec<Lost>,
    /// Where to ask on, for who asked this node alone.
    pub referrals: Vec<Referral>,
    /// Tools held by the zones that answered.
    pub documents: u64,
    /// Time it took.
    pub took: Duration,
    /// What remains of its life.
    pub ttl: Duration,
    /// Since its oldest part was said.
    pub age: Duration,
    /// Changes when anything in it changes.
    pub etag: String,
    /// Names this answering in logs.
    pub trace_id: String,
    /// Whether it may be said again as it is; nothing for one that was just asked for elsewhere.
    pub again: Option<Again>,
}

/// A neighbouring zone in which a question would go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referral {
    /// The zone; nothing for a parent that was never reached.
    pub zone: Option<String>,
    /// `child` or `parent`.
    pub relation: &'static str,
    /// Where its nodes are asked: QUIC and HTTP have one address.
    pub gateways: Vec<String>,
    /// Its key, as far as this node knows it: what its answers are to be held against.
    pub key: Option<[u8; 32]>,
    /// Tools it exports, where that is told.
    pub tools: Option<u64>,
    /// Whether somebody of it is connected to this node.
    pub reached: bool,
}

/// Why a tool is not shown, in words.
fn why_lost(why: &Why) -> String {
    match why {
        Why::Worse { place } => format!("{} by its words, and fewer were asked for", ordinal(*place)),
        Why::Down { place } => format!("down, so its score counts half: {}", ordinal(*place)),
        Why::Same(name) => format!("the same definition as {name}, and told with it"),
        Why::Shadowed(zone) => format!("{zone} owns its name"),
        Why::Unlikely { missing } if missing.is_empty() => "too little of what it says was asked for".to_owned(),
        Why::Unlikely { missing } => format!("it says nothing of {}", missing.join(", ")),
    }
}

/// `1st`, `2nd`, `3rd`, `4th`, `11th`.
fn ordinal(place: usize) -> String {
    let ending = match (place % 10, place % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{place}{ending}")
}

/// One tool found.
#[derive(Debug, Clone, Default)]
pub struct Hit {
    /// From 1.
    pub rank: usize,
    /// 0 to 1, for people; 1 for a tool found by its name.
    pub score: f32,
    /// How likely it is what was sought, 0 to 1.
    pub confidence: f32,
    /// What each word of the question brings to the score, the most first.
    pub parts: Vec<(String, f32)>,
    /// Found by its very name.
    pub exact: bool,
    /// `server/original`.
    pub id: String,
    /// Full name.
    pub name: String,
    /// `server__tool`.
    pub wire_name: String,
    /// Its zone.
    pub zone: String,
    /// Its server.
    pub server: String,
    /// Its title.
    pub title: Option<String>,
    /// Its description.
    pub description: String,
    /// The MCP tool object, as the upstream sent it.
    pub definition: Bytes,
    /// `sha256:` and 64 hex digits.
    pub def_hash: String,
    /// `local`, `l1`, `l2`, `l3`, `parent` or `child`.
    pub source: &'static str,
    /// Said by the zone itself to this node.
    pub authoritative: bool,
    /// Kept from before, because its zone is silent.
    pub stale: bool,
    /// Since the zone said so.
    pub age: Duration,
    /// What remains of its life.
    pub ttl: Duration,
    /// Everybody who serves it, best first.
    pub instances: Vec<Instance>,
    /// Those of them that this node's breakers do not stand closed for, once that was laid over.
    pub shut: BTreeMap<NodeId, Shut>,
    /// Several services claim the name.
    pub clash: bool,
    /// Other tools of the very same definition, by their full names.
    pub also: Vec<String>,
    /// Why whoever asked cannot use it now; empty where he can.
    pub obstacles: Vec<Obstacle>,
    /// Its name at the upstream.
    pub original: String,
    /// Words to filter by.
    pub tags: Vec<String>,
    /// What it can do, to filter by.
    pub capabilities: Vec<String>,
    /// Questions it answers.
    pub examples: Vec<String>,
    /// The agent behind it, when there is one.
    pub agent: Option<AgentBody>,
    /// Its record's place: origin, incarnation, number, epoch, issued, expires.
    pub place: Place,
}

/// Where a record stands in its origin's log.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The origin's node.
    pub origin: String,
    /// Its incarnation.
    pub incarnation: u64,
    /// The number.
    pub seq: u64,
    /// The epoch.
    pub epoch: u64,
    /// Milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// The same, 0 for never.
    pub expires_ms: u64,
}

impl Hit {
    /// How it is: as its best instance is.
    pub fn health(&self) -> Health {
        self.instances.iter().map(|instance| instance.health).min().unwrap_or(Health::Unknown)
    }

    /// What is told of it where fewer were wanted.
    fn beyond(self) -> Option<Lost> {
        let (name, zone) = (FullName::parse(&self.name).ok()?, ZoneName::parse(&self.zone).ok()?);
        let place = self.rank;
        let why = if self.health() == Health::Down { Why::Down { place } } else { Why::Worse { place } };
        Some(Lost { name, zone, share: self.score, confidence: self.confidence, why })
    }

    fn new(rank: usize, found: &Found, ranked: &Ranked, outcome: &Outcome, calls: Option<&Sight>) -> Self {
        let body = found.instance.body();
        let record = &found.instance.signed.record;
        let (source, checked) = &outcome.answers[found.answer];
        let hop = &outcome.hops[found.answer];
        let [title, description] =
            texts_of(body.definition, ["title", "description"]).map(|text| text.map(Cow::into_owned));
        let label = found.name.as_str().split('.').next().unwrap_or_default();
        let hash = record.def_hash().map(|hash| crate::entropy::hex(&hash)).unwrap_or_default();
        let mut hit = Self {
            rank,
            score: if found.exact { 1.0 } else { found.share },
            confidence: found.confidence,
            parts: parts_of(found, ranked),
            exact: found.exact,
            id: format!("{}/{}", body.server, body.original),
            name: found.name.to_string(),
            wire_name: aop_proto::name::wire_name(body.server, label),
            zone: found.zone.to_string(),
            server: body.server.to_owned(),
            title,
            description: description.unwrap_or_default(),
            definition: Bytes::copy_from_slice(body.definition),
            def_hash: format!("sha256:{hash}"),
            source: source_name(*source, hop),
            authoritative: *source == Source::Local || (hop.asked.is_some() && !hop.is_cached),
            stale: outcome.freshness(found.answer) == Freshness::Stale,
            age: Duration::from_millis(checked.answer.age_ms),
            ttl: Duration::from_millis(checked.answer.ttl_ms).min(TTL_L2),
            instances: found.instances.clone(),
            shut: BTreeMap::new(),
            clash: found.clash,
            also: found.also.iter().map(ToString::to_string).collect(),
            place: Place {
                origin: record.node().to_string(),
                incarnation: record.origin().incarnation,
                seq: record.seq,
                epoch: record.epoch(),
                issued_ms: record.issued_ms(),
                expires_ms: record.expires_ms,
            },
            obstacles: Vec::new(),
            original: body.original.to_owned(),
            tags: owned(&body.tags),
            capabilities: owned(&body.capabilities),
            examples: owned(&body.examples),
            agent: body.agent.map(AgentBody::from),
        };
        hit.obstacles = usable::obstacles(&hit, calls);
        hit
    }
}

/// What each word of the question brings, as parts of what a tool could reach; they add up to the score.
fn parts_of(found: &Found, ranked: &Ranked) -> Vec<(String, f32)> {
    let parts = ranked.words.iter().zip(&found.parts).filter(|(_, part)| **part > 0.0);
    let mut parts: Vec<(String, f32)> = parts.map(|(word, part)| (word.clone(), part / ranked.ceiling)).collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    parts
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

impl Resolution {
    /// The answer of an outcome at this node for one who may call only what `calls` shows, nothing where that is everything.
    pub fn new(
        query: &str,
        outcome: &Outcome,
        ranked: &Ranked,
        calls: Option<&Sight>,
        took: Duration,
        trace_id: String,
        own: Own<'_>,
    ) -> Self {
        let found = (1..).zip(&ranked.found);
        let hits: Vec<Hit> = found.map(|(rank, found)| Hit::new(rank, found, ranked, outcome, calls)).collect();
        let fresh = outcome.answers.iter().filter(|(source, _)| *source != Source::L3);
        let answered = u32::try_from(fresh.clone().count()).unwrap_or(u32::MAX);
        let silent: Vec<String> = outcome.silent.iter().map(|silent| silent.zone.clone()).collect();
        let nothing = hits.is_empty();
        let quality = match (silent.is_empty(), nothing) {
            (false, _) => Quality::Partial,
            (true, true) => Quality::Negative,
            (true, false) => Quality::Complete,
        };
        let remaining = fresh.clone().map(|(_, checked)| checked.answer.ttl_ms).min().unwrap_or(0);
        let authority = fresh.clone().find(|_| outcome.question.form == Form::Exact && nothing);
        let mut near: Vec<String> = outcome.answers.iter().flat_map(|(_, c)| c.answer.near.iter().cloned()).collect();
        near.dedup();
        let mut resolution = Self {
            query: query.to_owned(),
            partial: outcome.is_partial(),
            asked: answered + u32::try_from(silent.len()).unwrap_or(u32::MAX),
            answered,
            skipped: outcome.skipped,
            denied_by: authority.filter(|_| silent.is_empty()).map(|(_, checked)| checked.answer.zone.clone()),
            near,
            is_by_words: false,
            is_cut: outcome.question.form == Form::Words
                && hits.len() < outcome.question.limit as usize
                && outcome.answers.iter().any(|(_, c)| c.answer.matches > c.answer.candidates.len() as u64),
            continues_after: continues_after(outcome),
            trace: trace_of(outcome, own),
            kept_at: Some(CachedAt { zone: own.zone.to_string(), node: Some(own.node.short()), level: "l1" }),
            lost: ranked.lost.clone(),
            nearest: ranked.nearest.clone(),
            referrals: Vec::new(),
            documents: fresh.clone().map(|(_, checked)| checked.answer.documents).sum(),
            took,
            ttl: lifetime(Level::L1, quality, Duration::from_millis(remaining)),
            age: Duration::from_millis(outcome.answers.iter().map(|(_, c)| c.answer.age_ms).max().unwrap_or(0)),
            etag: String::new(),
            silent,
            hits,
            trace_id,
            again: None,
        };
        resolution.etag = resolution.mark();
        resolution
    }

    /// What the words of a name found, told instead of `denial`, which says that no tool has that name.
    #[must_use]
    pub fn in_place_of(mut self, denial: &Self) -> Self {
        self.is_by_words = true;
        self.denied_by.clone_from(&denial.denied_by);
        self.near.clone_from(&denial.near);
        self.etag = self.mark();
        self
    }

    /// With the mark of what it says by now.
    #[must_use]
    pub fn marked(mut self) -> Self {
        self.etag = self.mark();
        self
    }

    /// The same as it is shown to one who wants so many results: the others count among what is not shown.
    #[must_use]
    pub fn first(&self, limit: usize) -> Self {
        let mut first = self.clone();
        if first.hits.len() > limit {
            first.lost.extend(first.hits.drain(limit..).take(LOST_MAX).filter_map(|hit| hit.beyond()));
            first.lost.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.name.cmp(&b.name)));
            first.lost.truncate(LOST_MAX);
            first.etag = first.mark();
        }
        first.is_cut &= first.hits.len() < limit;
        first
    }

    /// FNV-1a over what a reader would notice, ages and times apart.
    fn mark(&self) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut feed = |bytes: &[u8]| {
            for byte in bytes.iter().chain(&[0]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for hit in &self.hits {
            [&hit.name, &hit.def_hash, &hit.place.origin].into_iter().for_each(|text| feed(text.as_bytes()));
            feed(&hit.place.seq.to_le_bytes());
            feed(&hit.score.to_bits().to_le_bytes());
            feed(&[u8::from(hit.clash), u8::from(hit.stale)]);
            for instance in &hit.instances {
                feed(&instance.node.0);
                let texts = [instance.address.as_str(), instance.health.name(), &instance.error];
                texts.into_iter().for_each(|text| feed(text.as_bytes()));
                feed(&instance.since_ms.to_le_bytes());
                let shut = hit.shut.get(&instance.node);
                shut.into_iter().for_each(|shut| feed(format!("{shut:?}").as_bytes()));
            }
            hit.also.iter().for_each(|name| feed(name.as_bytes()));
            hit.obstacles.iter().for_each(|obstacle| feed(obstacle.reason.as_bytes()));
            feed(b"");
        }
        let (by_words, cut) = (self.is_by_words, self.is_cut);
        feed(format!("{} {} {:?} {by_words} {cut}", self.asked, self.skipped, self.denied_by).as_bytes());
        self.silent.iter().chain([&String::new()]).chain(&self.near).for_each(|text| feed(text.as_bytes()));
        self.nearest.iter().for_each(|near| feed(format!("{} {}", near.name, near.confidence).as_bytes()));
        format!("{hash:016x}")
    }
}

/// The least of the names at which zones had to stop: everything up to it is here.
fn continues_after(outcome: &Outcome) -> Option<String> {
    let cut = outcome.answers.iter().filter(|(_, checked)| {
        let held = checked.records.len() as u64 + u64::from(checked.refused);
        outcome.question.form == Form::List && checked.answer.matches > held
    });
    cut.filter_map(|(_, checked)| checked.records.last().map(|signed| signed.record.name().to_lowercase())).min()
}

impl Resolution {
    /// Takes in the next page of a list, which begins after `after`.
    pub fn extend(&mut self, page: &Self, after: &str) {
        let held: BTreeSet<String> = self.hits.iter().map(|hit| hit.name.to_lowercase()).collect();
        self.hits.extend(page.hits.iter().filter(|hit| !held.contains(&hit.name.to_lowercase())).cloned());
        self.hits.sort_by_key(|hit| hit.name.to_lowercase());
        for (at, hit) in self.hits.iter_mut().enumerate() {
            hit.rank = at + 1;
        }
        self.partial |= page.partial;
        let news = page.silent.iter().filter(|zone| !self.silent.contains(zone)).cloned().collect::<Vec<_>>();
        self.silent.extend(news);
        let known = |step: &Step, steps: &[Step]| steps.iter().any(|one| one.zone == step.zone);
        let steps: Vec<Step> = page.trace.iter().filter(|step| !known(step, &self.trace)).cloned().collect();
        self.trace.extend(steps);
        self.lost.extend(page.lost.iter().cloned());
        self.ttl = self.ttl.min(page.ttl);
        self.age = self.age.max(page.age);
        // A page that brings the list no further ends it; the zone then says nothing new.
        self.continues_after = page.continues_after.clone().filter(|next| next.as_str() > after);
        self.etag = self.mark();
    }

    /// Zones that were silent, each with the reason where one is known.
    pub fn silent_in_words(&self) -> String {
        let reasons = self.reasons();
        let each = self.silent.iter().map(|zone| match reasons.get(zone.as_str()) {
            Some(reason) => format!("{zone} ({reason})"),
            None => zone.clone(),
        });
        each.collect::<Vec<_>>().join(", ")
    }

    /// Why zones were silent, by zone.
    pub(crate) fn reasons(&self) -> BTreeMap<&str, &str> {
        let silent = self.trace.iter().filter(|step| self.silent.contains(&step.zone) && step.outcome != "ok");
        silent.map(|step| (step.zone.as_str(), step.outcome.as_str())).collect()
    }

    /// Whether `zone` itself is heard here, be it from what was kept of it.
    pub fn hears(&self, zone: &ZoneName) -> bool {
        self.trace.iter().any(|step| step.outcome == "ok" && ZoneName::parse(&step.zone).as_ref() == Ok(zone))
    }

    /// Whether `zone` is there: it or something below it answered, or a zone above holds tools under its labels.
    pub fn knows_zone(&self, zone: &str) -> bool {
        let Ok(wanted) = ZoneName::parse(zone) else { return false };
        let answered = |step: &Step| ZoneName::parse(&step.zone).is_ok_and(|zone| zone.is_within(&wanted));
        !self.hits.is_empty() || self.trace.iter().any(answered)
    }
}

/// Things that can be made again from their key, a bounded number of them. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct Memo<V>(Arc<Shared<Arc<OnceLock<V>>>>);

/// Things one memo keeps.
const MEMO_MAX: usize = 1_000;

impl<V: Clone> Default for Memo<V> {
    fn default() -> Self {
        Self(Arc::new(Shared::new(MEMO_MAX, usize::MAX)))
    }
}

impl<V: Clone> Memo<V> {
    /// What is kept under `key`, made once when it is not: who asks meanwhile waits for it.
    pub fn get_or_make(&self, key: &str, make: impl FnOnce() -> V) -> V {
        self.0.get_or_put(key, Arc::default()).get_or_init(make).clone()
    }
}

/// Under which moment of the node an answer was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// The zone's serial.
    pub serial: u64,
    /// The count of tags heard.
    pub epoch: u64,
    /// The count of changes of this node's breakers.
    pub circuits: u64,
}

#[derive(Debug, Clone)]
struct Kept {
    resolution: Arc<Resolution>,
    moment: Moment,
    stored: Instant,
}

impl Resolution {
    /// About the bytes it takes.
    fn bytes(&self) -> usize {
        let of_hit = |hit: &Hit| 1024 + hit.definition.len() + 48 * hit.parts.len() + 64 * hit.also.len();
        let told = self.trace.len() + self.lost.len() + self.nearest.len() + self.silent.len() + self.referrals.len();
        2048 + self.hits.iter().map(of_hit).sum::<usize>() + 256 * told
    }
}

/// L1: one door's own answers.
#[derive(Debug)]
pub struct Answers {
    kept: Shared<Kept>,
    ready: Shared<Arc<Ready>>,
    circuits: Circuits,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Default for Answers {
    fn default() -> Self {
        // Bytes bound both: the least that anything takes is counted.
        let (kept, ready) = (Shared::new(usize::MAX, L1_BYTES_MAX), Shared::new(usize::MAX, READY_BYTES_MAX));
        Self { kept, ready, circuits: Circuits::default(), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }
}

impl Answers {
    /// How this node's breakers stand.
    pub const fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    /// The moment of a node of that serial, at which so many tags were heard.
    pub fn moment(&self, serial: u64, epoch: u64) -> Moment {
        Moment { serial, epoch, circuits: self.circuits.changes() }
    }

    /// The answer kept under `key`, if it is of this moment and still alive, with its first so many results; its ages and lives are those of
    /// now, and its trace that of who asks now.
    pub fn get(
        &self,
        key: &str,
        moment: Moment,
        age_max: Duration,
        limit: usize,
        trace_id: impl FnOnce() -> String,
    ) -> Option<Arc<Resolution>> {
        let found = self.kept.get(key).and_then(|kept| {
            let age = kept.stored.elapsed();
            // How breakers stand is laid over what is kept.
            let then = Moment { circuits: moment.circuits, ..kept.moment };
            let alive = then == moment && age < kept.resolution.ttl && kept.resolution.age + age <= age_max;
            alive.then(|| {
                let resolution = aged(kept.resolution.first(limit), age);
                let again = Some(Again { moment, ages: true });
                Arc::new(Resolution { again, trace_id: trace_id(), ..resolution })
            })
        });
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps an answer for its life.
    pub fn put(&self, key: String, resolution: Arc<Resolution>, moment: Moment) {
        if !resolution.ttl.is_zero() {
            let bytes = key.len() + resolution.bytes();
            self.kept.put(&key, Kept { resolution, moment, stored: Instant::now() }, bytes);
        }
    }

    /// What was made ready under `key`, if it still holds.
    pub fn say(&self, key: &str, moment: Moment) -> Option<Said> {
        let said = self.ready.get(key)?.say(moment)?;
        if said.is_cached {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        Some(said)
    }

    /// Keeps an answer ready.
    pub fn make_ready(&self, key: String, ready: Ready) {
        let bytes = key.len() + ready.bytes();
        self.ready.put(&key, Arc::new(ready), bytes);
    }

    /// Keeps what lies ready under `key` under another one as well.
    pub fn say_as_well(&self, key: &str, other: &str) {
        if let Some(ready) = self.ready.get(key) {
            // The text is shared, but may outlive the other.
            let bytes = other.len() + ready.bytes();
            self.ready.put(other, ready, bytes);
        }
    }

    /// Drops everything.
    pub fn flush(&self) {
        self.kept.clear();
        self.ready.clear();
    }

    /// How many answers are kept.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Hits and misses so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }
}

fn aged(mut aged: Resolution, age: Duration) -> Resolution {
    aged.ttl = aged.ttl.saturating_sub(age);
    aged.age += age;
    for hit in &mut aged.hits {
        hit.source = if hit.source == "local" { "local" } else { "l1" };
        hit.age += age;
        hit.ttl = hit.ttl.saturating_sub(age);
    }
    for step in &mut aged.trace {
        // What is said of a silent zone was not said now, however often it is shown.
        (step.cache, step.through) = (if step.cache == "stale" { "stale" } else { "hit" }, None);
        step.cached_at.clone_from(&aged.kept_at);
        step.age_ms += age.as_millis() as u64;
    }
    aged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_as_people_do() {
        let places = [1, 2, 3, 4, 11, 12, 13, 21, 22, 103, 111, 1_000];
        let told = "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 103rd 111th 1000th";
        assert_eq!(places.map(ordinal).join(" "), told);
    }

    #[test]
    fn who_gets_all_that_he_wanted_is_not_told_of_more() {
        let found = Resolution { hits: vec![Hit::default(); 3], is_cut: true, ..Resolution::default() };
        assert_eq!([2, 3, 4].map(|limit| found.first(limit).is_cut), [false, false, true]);
    }

    #[test]
    fn whatever_a_reader_would_notice_changes_the_mark() {
        let hit = Hit { name: "echo.demo.lab".to_owned(), ..Hit::default() };
        let base = Resolution { hits: vec![hit.clone()], ..Resolution::default() };
        let name = FullName::parse("echo.demo.lab").expect("a name");
        let why = Why::Unlikely { missing: Vec::new() };
        let unlikely = Lost { name, zone: ZoneName::parse("lab").expect("a zone"), share: 0.1, confidence: 0.01, why };
        let with = |hit: Hit| Resolution { hits: vec![hit], ..base.clone() };
        let changed = [
            with(Hit { also: vec!["echo.spare.lab".to_owned()], ..hit.clone() }),
            with(Hit { clash: true, ..hit.clone() }),
            with(Hit { stale: true, ..hit.clone() }),
            with(Hit { score: 0.5, ..hit }),
            Resolution { nearest: vec![unlikely], ..base.clone() },
            Resolution { near: vec!["echo.demo.lib".to_owned()], ..base.clone() },
            Resolution { skipped: 1, ..base.clone() },
            Resolution { is_by_words: true, ..base.clone() },
            Resolution { is_cut: true, ..base.clone() },
            Resolution { denied_by: Some("lab".to_owned()), ..base.clone() },
            Resolution { silent: vec!["lab".to_owned()], ..base.clone() },
        ];
        let marks: BTreeSet<String> = changed.iter().chain([&base]).map(Resolution::mark).collect();
        assert_eq!(marks.len(), changed.len() + 1);
        let later = Resolution { age: Duration::from_secs(9), ttl: Duration::from_secs(1), ..base.clone() };
        assert_eq!(later.mark(), base.mark(), "ages are no change");
    }
}
