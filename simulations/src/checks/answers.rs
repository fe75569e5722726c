//! Invariant 10: no answer is older than it says or than it may be, none comes from where it may not, and every question ends.
//!
//! What a node says for its own zone is noted as it leaves, with when that was true; an answer that reaches a door later is held
//! against the last time its node said that. (Content tags say less: they come back, and views follow them some milliseconds later.)

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher};
use std::time::Duration;

use aop_proto::name::{FullName, ZoneName};
use aop_proto::params::{HOPS_MAX, TTL_L2, TTL_L3, TTL_NEGATIVE};
use aop_proto::record::NodeId;
use aop_proto::resolver::Source;
use aop_proto::trust::{Verifier, verify_chain};
use aop_proto::view::View;
use aop_proto::wire::message::{Form, Message, Query, ZoneAnswer};

use super::past::Past;
use super::{Verdict, Violation, ensure};
use crate::host::{Answered, Host};
use crate::world::DEADLINE;

/// What an answer may be older than it says: ages are whole milliseconds, cut wherever it rests or is handed on.
pub(super) const CUT: Duration = Duration::from_millis(50);
/// A level keeps an answer for its time from when it came, and it was as old by then as up to three questions that waited for it.
const SLACK: Duration = Duration::from_secs(3 * DEADLINE.as_secs());
/// Sayings remembered; above it some are forgotten, and not checked.
const REMEMBERED_MAX: usize = 100_000;

/// What was said, and when it was last true.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    zone_keys: BTreeMap<String, BTreeSet<[u8; 32]>>,
    verifier: Verifier,
    /// When a node last said this of its own zone, by a hash of what it said.
    said: BTreeMap<u64, Duration>,
    /// What they held.
    pub(super) past: Past,
    /// Something is hidden from somebody: what an answer leaves out may be there.
    pub(super) hidden: bool,
    /// Bytes were changed on their way at some time: what is not signed may say anything.
    pub(super) garbled: bool,
    /// The longest time that a host stood still or a message waited behind a cut: what comes then is older by that when it is kept.
    pub(super) stood_still: Duration,
}

impl Answers {
    /// A host shows a view, and with it which key it believes its zone has.
    pub(super) fn viewed(&mut self, view: &View) {
        self.believed(view.zone.as_str(), view.zone_key);
    }

    fn believed(&mut self, zone: &str, key: Option<[u8; 32]>) {
        let Some(key) = key else { return };
        match self.zone_keys.get_mut(zone) {
            Some(keys) => drop(keys.insert(key)),
            None => drop(self.zone_keys.insert(zone.to_owned(), BTreeSet::from([key]))),
        }
    }

    /// A frame leaves a host. What is said by one that turned enemy is noted as well: its node says again what it said before.
    pub(super) fn sent(&mut self, from: &Host, to: &Host, bytes: &[u8], time: Duration) -> Verdict {
        const QUERY: u8 = 32;
        const ANSWER: u8 = 33;
        const EXPORT: u8 = 35;
        match (bytes.get(3), bytes) {
            (Some(&QUERY), bytes) if !from.hostile && !self.garbled => match Message::decode(bytes) {
                Ok(Message::Query(query)) => asked(from, to, &query),
                _ => Ok(()),
            },
            (Some(&ANSWER), bytes) => {
                let Ok(Message::Answer(answer)) = Message::decode(bytes) else { return Ok(()) };
                // It may speak by a key that no view has shown yet.
                self.believed(&from.spec.zone, from.node.as_ref().and_then(|node| node.zone_key()));
                for zone in answer.zones.iter().filter(|zone| zone.node == from.id && zone.zone == from.spec.zone) {
                    self.say(hash_of(zone), zone.age_ms, time);
                }
                Ok(())
            }
            // To every question with none of its words it says "nothing" from now on.
            (Some(&EXPORT), bytes) => {
                let Ok(Message::Export(export)) = Message::decode(bytes) else { return Ok(()) };
                for it in export.zones.iter().filter(|it| it.node == from.id && it.zone == from.spec.zone) {
                    let nothing = hash_of_nothing(&it.zone, it.node, it.tag, [it.documents, it.total_length]);
                    self.say(nothing, it.age_ms, time);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn say(&mut self, what: u64, age_ms: u64, time: Duration) {
        let true_at = time.saturating_sub(Duration::from_millis(age_ms));
        let last = self.said.entry(what).or_default();
        *last = true_at.max(*last);
        while self.said.len() > REMEMBERED_MAX {
            self.said.pop_first();
        }
    }

    /// A door has its answer.
    pub(super) fn answered(&mut self, number: usize, answered: &Answered, hosts: &[Host], time: Duration) -> Verdict {
        ensure(answered.took <= DEADLINE, 10, || format!("host {number} answered after {:?}", answered.took))?;
        let nothing = answered.outcome.answers.iter().all(|(_, checked)| checked.answer.candidates.is_empty());
        let negative = nothing && answered.outcome.question.form == Form::Exact;
        let outcome = &answered.outcome;
        let is_said = !outcome.answers.is_empty() || outcome.is_partial() || outcome.skipped > 0 || self.garbled;
        ensure(is_said, 10, || format!("host {number} denies {:?}, and nobody said so", outcome.question.text))?;
        for (source, checked) in &answered.outcome.answers {
            self.believable(number, *source, checked, hosts)?;
            self.in_time(number, *source, &checked.answer, negative, answered.outcome.is_partial(), time)?;
            in_bailiwick(number, *source, &checked.answer.zone, answered, hosts)?;
            // A zone may be silent because one on the way to it is.
            let is_silent = outcome.silent.iter().any(|silent| silent.zone == checked.answer.zone);
            let is_kept = *source == Source::L3;
            let fits = if is_kept { outcome.is_partial() } else { !is_silent };
            ensure(fits || self.hidden, 10, || {
                format!("host {number} shows {} from {source:?}, silent {is_silent}", checked.answer.zone)
            })?;
            if !self.garbled {
                self.past.holds(&outcome.question, *source, checked, time, !self.hidden)?;
            }
        }
        Ok(())
    }

    /// Every record in it verifies, up to a zone key that a node of that zone believes in.
    fn believable(
        &mut self,
        number: usize,
        source: Source,
        checked: &aop_proto::trust::answers::Checked,
        hosts: &[Host],
    ) -> Verdict {
        let answer = &checked.answer;
        let zone = ZoneName::parse(&answer.zone)
            .map_err(|_| Violation { number: 10, what: format!("host {number} has an answer of no zone") })?;
        ensure(answer.candidates.len() == checked.records.len(), 10, || {
            format!("host {number} shows records that are not those of its answer")
        })?;
        for (candidate, record) in answer.candidates.iter().zip(&checked.records) {
            // What a node says to itself is not sent, and so not written: it is what it holds.
            let is_sent = source != Source::Local;
            let envelope = if is_sent { candidate.envelope.clone() } else { record.envelope().into() };
            let opened = self.verifier.open(&envelope).ok();
            ensure(opened.as_ref() == Some(record), 10, || format!("host {number} serves {record:?} unverified"))?;
            if hosts[number].spec.zone == zone.as_str() {
                continue;
            }
            let mut keys = self.zone_keys.get(zone.as_str()).into_iter().flatten();
            let believed = keys.any(|key| verify_chain(&candidate.chain, &zone, key, record.record.node()).is_ok());
            ensure(believed, 10, || format!("host {number} serves {record:?} without a chain to a key of {zone}"))?;
        }
        Ok(())
    }

    fn in_time(
        &self,
        number: usize,
        source: Source,
        answer: &ZoneAnswer,
        negative: bool,
        partial: bool,
        time: Duration,
    ) -> Verdict {
        if self.garbled {
            return Ok(());
        }
        let (age, left) = (Duration::from_millis(answer.age_ms), Duration::from_millis(answer.ttl_ms));
        let stale = answer.ttl_ms == 0;
        ensure(stale || source != Source::L3, 10, || {
            format!("host {number} shows what {} said before as good for {left:?} still", answer.zone)
        })?;
        let most = match source {
            _ if stale => TTL_L3,
            Source::L2 if negative && !partial => TTL_NEGATIVE,
            Source::L2 | Source::Parent | Source::Child | Source::Export => TTL_L2,
            Source::Local | Source::L3 => TTL_L3,
        };
        let slack = SLACK + self.stood_still;
        // What it loses of its life it gains in age: the two together never grow.
        ensure(age <= most + slack && (stale || age + left <= TTL_L3), 10, || {
            format!(
                "host {number} has an answer of {} that is {age:?} old and good for {left:?} ({source:?})",
                answer.zone
            )
        })?;
        // What was hidden on its way out is nothing that anybody said.
        let may_be_cut = self.hidden && answer.candidates.is_empty();
        let said = self.said.get(&hash_of(answer)).filter(|_| source != Source::Local && !may_be_cut);
        // The last time it was said is the latest it can be from: what it really is is at least as old.
        let real = said.map_or(Duration::ZERO, |said| time.saturating_sub(*said));
        ensure(real <= age + CUT, 10, || {
            format!(
                "host {number} has an answer of {} from {source:?} that says {age:?} and is {real:?} old",
                answer.zone
            )
        })
    }
}

/// A question goes where it has not been, and has hops left for it.
fn asked(from: &Host, to: &Host, query: &Query) -> Verdict {
    let been = query.visited.iter().filter(|zone| **zone == to.spec.zone).count();
    // A replica that asks for its fellow stays in the zone for a hop.
    let mut path = query.visited.clone();
    path.dedup();
    let unique: BTreeSet<&String> = path.iter().collect();
    let circles = (been > 0 && !query.outside) || unique.len() < path.len();
    let far = query.hops >= HOPS_MAX || query.visited.len() > usize::from(HOPS_MAX) + 1;
    ensure(!circles && !far, 10, || {
        format!("{} asks {} after {:?}, {} hops left", from.spec.address, to.spec.address, query.visited, query.hops)
    })
}

/// An answer comes from a zone that the question leads to.
fn in_bailiwick(number: usize, source: Source, zone: &str, answered: &Answered, hosts: &[Host]) -> Verdict {
    let question = &answered.outcome.question;
    let (own, Ok(zone)) = (&hosts[number].spec.zone, ZoneName::parse(zone)) else { return Ok(()) };
    let Ok(own) = ZoneName::parse(own) else { return Ok(()) };
    let below = zone.is_within(&own);
    let fits = match source {
        Source::Local => zone == own,
        Source::Child | Source::Export => below,
        Source::Parent => !below,
        Source::L2 => zone != own,
        Source::L3 => true,
    };
    let named = match (question.form, FullName::parse(&question.text)) {
        (Form::Exact, Ok(name)) if source != Source::Local => name.is_in(&zone) || own.is_within(&zone),
        _ => true,
    };
    ensure(fits && named, 10, || format!("host {number} of {own} has an answer of {zone} from {source:?}"))
}

/// The same of a question in words of which a zone has none: whatever the question, it is one answer.
fn hash_of_nothing(zone: &str, node: NodeId, tag: u64, counts: [u64; 2]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (zone, node, tag, counts, "nothing").hash(&mut hasher);
    hasher.finish()
}

/// What a zone said, without what changes on the way.
fn hash_of(answer: &ZoneAnswer) -> u64 {
    let of_words = answer.total_length > 0 || answer.documents == 0;
    if of_words && answer.matches == 0 && answer.frequencies.iter().all(|count| *count == 0) {
        return hash_of_nothing(&answer.zone, answer.node, answer.tag, [answer.documents, answer.total_length]);
    }
    let mut hasher = DefaultHasher::new();
    (&answer.zone, answer.node, answer.tag, answer.documents, answer.total_length, answer.matches).hash(&mut hasher);
    (&answer.frequencies, &answer.near).hash(&mut hasher);
    for candidate in &answer.candidates {
        candidate.envelope.hash(&mut hasher);
    }
    hasher.finish()
}
