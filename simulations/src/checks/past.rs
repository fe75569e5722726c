//! Invariant 10, what an answer says: all that it shows of a zone was shown by the node that spoke for it, at one and the same moment
//! that is not further back than the answer says it is old. What it does not show although it would have to, was not there then.
//!
//! What a node holds is noted at every change, not when it says so: an answer that is repeated by somebody else, or kept for too long,
//! is held against what was true and not against what was last heard.

use std::collections::BTreeMap;
use std::time::Duration;

use aop_proto::name::FullName;
use aop_proto::record::{Hash, NodeId};
use aop_proto::resolver::Source;
use aop_proto::trust::answers::Checked;
use aop_proto::view::View;
use aop_proto::wire::message::{Form, Question};

use super::answers::CUT;
use super::{Verdict, ensure};

/// What every node showed of its own zone, since the world began.
#[derive(Debug, Default)]
pub(crate) struct Past {
    by_node: BTreeMap<NodeId, Shown>,
}

/// What one node showed. Its moments are numbered: at one time there may be several.
#[derive(Debug, Default)]
struct Shown {
    moments: Vec<Duration>,
    /// By key of the name: since which moment it is that record, or none.
    tools: BTreeMap<String, Vec<(usize, Option<Hash>)>>,
}

impl Shown {
    /// What is shown under that key at a moment.
    fn at(&self, key: &str, moment: usize) -> Option<Hash> {
        let states = self.tools.get(key)?;
        let next = states.partition_point(|(since, _)| *since <= moment);
        states[..next].last().and_then(|(_, hash)| *hash)
    }

    /// Moments of which a part lies in that time.
    fn within(&self, from: Duration, to: Duration) -> std::ops::Range<usize> {
        let begun = self.moments.partition_point(|at| *at <= from);
        begun.saturating_sub(1)..self.moments.partition_point(|at| *at <= to)
    }
}

impl Past {
    /// A node shows this from now on.
    pub(super) fn shows(&mut self, view: &View, time: Duration) {
        let shown = self.by_node.entry(view.node).or_default();
        let moment = shown.moments.len();
        shown.moments.push(time);
        let now: BTreeMap<String, Hash> = view
            .tools
            .all()
            .into_iter()
            .map(|tool| (tool.name().to_ascii_lowercase(), tool.shown().signed.hash))
            .collect();
        for (key, states) in &mut shown.tools {
            if !now.contains_key(key.as_str()) && states.last().is_some_and(|(_, hash)| hash.is_some()) {
                states.push((moment, None));
            }
        }
        for (key, hash) in now {
            if shown.at(&key, moment) != Some(hash) {
                shown.tools.entry(key).or_default().push((moment, Some(hash)));
            }
        }
    }

    /// What a node shows from now on is held against nobody.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.by_node.remove(&node);
    }

    /// Whether an answer shows what was there at one moment of the time that it speaks of; `open` when nothing is hidden from anybody, so
    /// that what is not in it was not there.
    pub(super) fn holds(
        &self,
        question: &Question,
        source: Source,
        checked: &Checked,
        time: Duration,
        open: bool,
    ) -> Verdict {
        let answer = &checked.answer;
        let Some(shown) = self.by_node.get(&answer.node) else { return Ok(()) };
        let age = Duration::from_millis(answer.age_ms);
        let moments = shown.within(time.saturating_sub(age + CUT), time);
        let says = says(question, checked, open, || shown.tools.keys().cloned().collect());
        let fits = |moment: usize| says.iter().all(|(key, hash)| shown.at(key, moment) == *hash);
        ensure(says.is_empty() || moments.clone().any(fits), 10, || {
            let never: Vec<_> =
                says.iter().filter(|(key, hash)| !moments.clone().any(|m| shown.at(key, m) == **hash)).collect();
            let what = if never.is_empty() { "all of it at once" } else { "some of it" };
            format!(
                "{:?} {:?} from {source:?} at {time:?} says {age:?}, and {} of {} did not show {what} since then: {never:?}",
                question.form,
                question.text,
                answer.node.short(),
                answer.zone,
            )
        })
    }
}

/// What an answer says of names: this record, or that there is none.
fn says(
    question: &Question,
    checked: &Checked,
    open: bool,
    known: impl FnOnce() -> Vec<String>,
) -> BTreeMap<String, Option<Hash>> {
    let names =
        checked.records.iter().filter_map(|signed| Some((FullName::parse(signed.record.name()).ok()?, signed.hash)));
    let mut says: BTreeMap<String, Option<Hash>> =
        names.map(|(name, hash)| (name.key().to_owned(), Some(hash))).collect();
    let filtered = question.zone.is_some() || !question.tags.is_empty() || !question.capabilities.is_empty();
    let whole = checked.refused == 0 && checked.answer.matches == checked.records.len() as u64;
    if !open || filtered || !whole {
        return says;
    }
    match question.form {
        Form::Exact => {
            if let Ok(name) = FullName::parse(&question.text) {
                says.entry(name.key().to_owned()).or_insert(None);
            }
        }
        Form::List if question.after.is_empty() => known().into_iter().for_each(|key| {
            says.entry(key).or_insert(None);
        }),
        Form::List | Form::Words => {}
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answered;
    use crate::scenario::server;
    use crate::world::{Spec, World, name};

    const MINUTE: Duration = Duration::from_secs(60);

    /// What `lab` was told of a tool of `lib` a minute before that tool changed, and a minute after that.
    fn told() -> (World, Answered) {
        let mut world = World::new(1);
        world.boot(Spec::new(".", 1));
        let lib = world.boot(Spec::new("lib", 2).parent(1));
        let lab = world.boot(Spec::new("lab", 3).parent(1));
        world.run_for(Duration::from_secs(10));
        world.write_through(lib, server("s", &[("one", "first")])).expect("it is written");
        world.run_for(Duration::from_secs(1));
        let answered = world.resolve(lab, name("one.s.lib"));
        world.run_for(MINUTE);
        world.write_through(lib, server("s", &[("one", "changed")])).expect("it is written");
        world.run_for(MINUTE);
        (world, answered)
    }

    fn holds(world: &World, answered: &Answered, change: impl FnOnce(&mut Checked)) -> Verdict {
        let (source, mut checked) = answered.outcome.answers[0].clone();
        change(&mut checked);
        world.checks.answers.past.holds(&answered.outcome.question, source, &checked, world.time(), true)
    }

    #[test]
    fn planted_answer_that_ended_before_it_says_turns_invariant_10_red() {
        let (world, answered) = told();
        let age = |age: Duration| move |checked: &mut Checked| checked.answer.age_ms = age.as_millis() as u64;
        holds(&world, &answered, age(2 * MINUTE)).expect("that old it is");
        holds(&world, &answered, age(MINUTE + CUT)).expect("it had not ended then");
        let red = holds(&world, &answered, age(MINUTE - CUT - CUT)).expect_err("it had ended by then");
        assert!(red.to_string().starts_with("invariant 10: "), "{red}");
    }

    #[test]
    fn planted_answer_without_what_was_there_turns_invariant_10_red() {
        let (world, answered) = told();
        let red = holds(&world, &answered, |checked| {
            checked.answer.age_ms = 0;
            checked.answer.matches = 0;
            checked.answer.candidates.clear();
            checked.records.clear();
        });
        assert!(red.expect_err("there is one").to_string().starts_with("invariant 10: "));
    }
}
