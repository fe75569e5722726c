//! What was said before: given again while it holds, asked anew before it ends, and shown as stale where its zone is silent.

use std::time::Duration;

use super::{Act, Around, Asker, Heard, Outside, Pending, Resolver, Route, Source, Terms, Via, Who, millis};
use crate::cache::{Kept, grow_older};
use crate::params::{QUERIES_MAX, QUERY_DEADLINE};
use crate::trust::answers::Checked;
use crate::wire::message::Question;

/// What is asked for is asked anew once so small a part of its life is left.
const PREFETCH_SHARE: u32 = 5;
/// Other zones are told what was kept while no more than such a part of its life is over: they keep it for what is left, and would soon
/// be back for what is old.
const YOUNG_SHARE: u32 = 10;

impl Resolver {
    /// What a neighbouring zone said to this question before, if that still holds, and whether it is time to ask it anew.
    pub(super) fn said_before(
        &mut self,
        zone: &str,
        question: &Question,
        terms: &Terms,
        for_another_zone: bool,
        now: Duration,
    ) -> Option<(Outside, bool)> {
        if !terms.cached {
            return None;
        }
        let key = (zone.to_owned(), question.clone());
        let Kept { mut value, age, remaining } = self.l2.get(&key, now)?;
        if for_another_zone && age > (age + remaining) / YOUNG_SHARE {
            return None;
        }
        let aged = |checked: &Checked| Duration::from_millis(checked.answer.age_ms) + age;
        if value.answers.iter().any(|checked| aged(checked) > terms.age_max) {
            return None;
        }
        for checked in &mut value.answers {
            grow_older(&mut checked.answer, age);
            checked.answer.ttl_ms = checked.answer.ttl_ms.min(millis(remaining));
        }
        // A copy of what a fellow keeps ends with it, however short its own life was.
        let lived = value.answers.iter().map(|checked| Duration::from_millis(checked.answer.age_ms)).max();
        let life = lived.unwrap_or_default().max(age) + remaining;
        let is_due = remaining < life / PREFETCH_SHARE && !self.refreshing.contains(&key);
        Some((value, is_due))
    }

    /// Asks anew what is wanted and about to end, so that whoever asks next need not wait (RFC 8767 §5 has the refresh, unbound's
    /// `prefetch`, in the last tenth of its life; here it is the last fifth).
    pub(super) fn refresh(
        &mut self,
        via: Via,
        route: Route,
        question: Question,
        budget: u16,
        around: &mut Around<'_>,
    ) -> Vec<Act> {
        // Half of the room stays for those who wait.
        if route.peers.is_empty() || budget == 0 || self.pending.len() >= QUERIES_MAX / 2 {
            return Vec::new();
        }
        let terms = Terms::of_door(question.form, around.now + QUERY_DEADLINE.0);
        let terms = Terms { cached: false, budget: budget.min(terms.budget), ..terms };
        let key = (route.zone.clone(), question.clone());
        let asker = Asker { who: Who::Nobody, sight: None };
        let mut pending = Pending::of(question.clone(), asker, terms);
        let query = pending.query(question, &[], terms.budget, around);
        let mut acts = Vec::new();
        self.sent.insert(query.id, self.next);
        pending.wait(query, route, via, &self.pace, around.now, &mut acts);
        (pending.refreshes, pending.is_kept) = (Some(key.clone()), true);
        self.refreshing.insert(key);
        self.pending.insert(self.next, Box::new(pending));
        self.next += 1;
        acts
    }

    /// What zones said before that did not answer now, or are asked through one that did not.
    pub(super) fn add_kept(&mut self, pending: &mut Pending, around: &Around<'_>) {
        let silent: Vec<&str> = pending.silent.iter().map(|silent| silent.zone.as_str()).collect();
        let mut kept = Vec::new();
        for question in pending.as_kept() {
            let first = (question, String::new());
            let of_question = self.l3.keys_from(&first).take_while(|(other, _)| *other == first.0);
            kept.extend(of_question.filter(|(_, zone)| around.routes.is_cut_off(zone, &silent)).cloned());
        }
        if kept.is_empty() {
            self.l3.missed();
        }
        for key in kept {
            let is_there = |heard: &Heard| heard.checked.answer.zone == key.1;
            if let Some(Kept { value: mut checked, age, .. }) = self.l3.get(&key, around.now)
                && age + Duration::from_millis(checked.answer.age_ms) <= pending.terms.age_max
                && !pending.answers.iter().any(is_there)
            {
                grow_older(&mut checked.answer, age);
                checked.answer.ttl_ms = 0;
                pending.answers.push(Heard { source: Source::L3, asked: None, checked, at: around.now });
            }
        }
    }
}
