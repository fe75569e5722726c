//! What lies outside the zone: taken from an answer as far as it may come from there and verifies, as old as it may be, and kept in L2
//! for its life.

use std::time::Duration;

use super::{Around, Via, Waiting, bounds};
use crate::cache::{Level, Quality, grow_older, lifetime};
use crate::name::{FullName, ZoneName};
use crate::record::ZoneProof;
use crate::trust::answers::{Checked, check};
use crate::wire::message::{Answer, Form, Question, Silent};

/// What lies outside the zone, as kept in L2.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    pub(super) answers: Vec<Checked>,
    pub(super) silent: Vec<Silent>,
    pub(super) skipped: u32,
    pub(super) proofs: Vec<ZoneProof>,
}

/// About the bytes a kept answer takes: every candidate is held as it came and as it was read.
pub(super) fn weight(checked: &Checked) -> usize {
    1024 + 8 * checked.answer.frequencies.len()
        + checked.answer.candidates.iter().map(|candidate| 3 * candidate.bytes()).sum::<usize>()
}

/// Takes of an answer what may come from there (bailiwick, I9) and verifies; it took so long from the question to the answer.
pub(super) fn accept(
    mut answer: Answer,
    waiting: &Waiting,
    took: Duration,
    around: &mut Around<'_>,
    refused: &mut u64,
) -> Outside {
    bounds::take(&mut answer);
    around.anchors.learn(&answer.proofs, around.verifier, around.wall_ms);
    let own = around.by.zone;
    let in_bailiwick = |zone: &ZoneName| match waiting.via {
        Via::Child => ZoneName::parse(&waiting.zone).is_ok_and(|asked| zone.is_within(&asked)),
        Via::Parent | Via::Fellow => !zone.is_within(own),
    };
    // Whoever is asked for a name may speak for a zone it is in, or for those between here and the root.
    let name = Some(&waiting.query.question).filter(|question| question.form == Form::Exact);
    let name = name.and_then(|question| FullName::parse(&question.text).ok());
    let concerns = |zone: &ZoneName| name.as_ref().is_none_or(|name| name.is_in(zone) || own.is_within(zone));
    // A parent that was never reached has no name; its label is passed on as it is.
    answer
        .silent
        .retain(|silent| ZoneName::parse(&silent.zone).map_or(waiting.via != Via::Child, |zone| in_bailiwick(&zone)));
    let mut outside =
        Outside { answers: Vec::new(), silent: answer.silent, skipped: answer.skipped, proofs: answer.proofs };
    for mut zone_answer in answer.zones {
        if zone_answer.took_us == 0 {
            // The first to hear from a zone says how long it took from there.
            zone_answer.took_us = took.as_micros() as u64;
        }
        // It may be as old as the question: how long it waited on its way, nobody says.
        grow_older(&mut zone_answer, took);
        let Ok(zone) = ZoneName::parse(&zone_answer.zone) else {
            *refused += 1;
            continue;
        };
        if !in_bailiwick(&zone) || !concerns(&zone) {
            *refused += 1;
            continue;
        }
        match check(zone_answer, around.anchors, around.verifier, around.wall_ms) {
            Ok(checked) => {
                *refused += u64::from(checked.refused);
                outside.answers.push(checked);
            }
            Err(error) => {
                *refused += 1;
                outside.silent.push(Silent { zone: zone.to_string(), reason: error.to_string() });
            }
        }
    }
    if outside.answers.is_empty() && outside.silent.is_empty() && outside.skipped == 0 {
        // It said nothing that counts: that is no denial.
        outside
            .silent
            .push(Silent { zone: waiting.zone.clone(), reason: "it answered with nothing it may say".to_owned() });
    }
    outside
}

/// A zone's answer that found no room.
pub(super) fn too_many(zone: String) -> Silent {
    Silent { zone, reason: "this node holds too many answers".to_owned() }
}

impl Outside {
    /// Of a node that does not hold all of its zone yet, nobody learns that something is not there: then it has said nothing.
    pub(super) fn believe_no_denial(&mut self, zone: &str) {
        let denies = |checked: &Checked| checked.answer.zone == zone && checked.answer.candidates.is_empty();
        if self.answers.iter().any(denies) {
            self.answers.retain(|checked| !denies(checked));
            let reason = "the node that answered is behind".to_owned();
            self.silent.push(Silent { zone: zone.to_owned(), reason });
        }
    }

    /// Takes what another answer has beside this one: each zone's word once, and no zone as silent that spoke to the other.
    pub(super) fn take_beside(&mut self, other: Self) {
        let spoke = |answers: &[Checked], zone: &str| answers.iter().any(|checked| checked.answer.zone == zone);
        self.silent.retain(|silent| spoke(&self.answers, &silent.zone) || !spoke(&other.answers, &silent.zone));
        self.silent.extend(other.silent.into_iter().filter(|silent| !spoke(&self.answers, &silent.zone)));
        for checked in other.answers {
            if !spoke(&self.answers, &checked.answer.zone) {
                self.answers.push(checked);
            }
        }
        self.skipped = self.skipped.min(other.skipped);
        self.proofs.extend(other.proofs);
    }

    /// About the bytes of what was answered.
    pub(super) fn weight(&self) -> usize {
        self.answers.iter().map(weight).sum()
    }

    /// Whether everybody asked has answered.
    pub(super) const fn is_complete(&self) -> bool {
        self.silent.is_empty() && self.skipped == 0
    }

    /// The same where there is no room for what was said.
    pub(super) fn without_answers(self) -> Self {
        let full = self.answers.into_iter().map(|checked| too_many(checked.answer.zone));
        Self { silent: full.chain(self.silent).collect(), answers: Vec::new(), ..self }
    }

    pub(super) fn lifetime(&self, question: &Question) -> Duration {
        let remaining = self.answers.iter().map(|checked| checked.answer.ttl_ms).min().unwrap_or(0);
        let nothing = self.answers.iter().all(|checked| checked.answer.candidates.is_empty());
        let quality = match (self.is_complete(), nothing && question.form == Form::Exact) {
            (false, _) => Quality::Partial,
            (true, true) => Quality::Negative,
            (true, false) => Quality::Complete,
        };
        lifetime(Level::L2, quality, Duration::from_millis(remaining))
    }
}
