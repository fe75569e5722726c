//! What others said, cut to what the asker may find.
//!
//! Answers are found and kept whole, for nobody in particular, and what is hidden goes on the way out: what is kept never leaks. Where
//! something may be hidden more is asked for than somebody wants, so that what is hidden seldom takes the place of what is not.

use crate::access::Sight;
use crate::index::{Goal, Stats};
use crate::name::ZoneName;
use crate::params::{CANDIDATES_MIN, RESULTS};
use crate::trust::answers::Checked;
use crate::wire::message::{Form, Question, Silent};
use crate::zone::{ToolInstance, sifted};

/// How many times as many results are asked for.
const WIDER: u32 = 4;

/// Why a zone is named as silent of whose list a whole page is hidden.
const TOO_FAR_APART: &str = "what may be found in it is too far apart to be listed";
/// The same of whose best matches so many are hidden that others may have found no room.
const HIDDEN_IN_FRONT: &str = "more of it may be found by asking for more results";

/// The question, wide already, as it is asked where something may be hidden from whom it is asked for.
pub(super) fn widened(question: &Question) -> Question {
    let limit = match question.form {
        Form::Exact => question.limit,
        Form::Words | Form::List => question.limit.max(CANDIDATES_MIN as u32).saturating_mul(WIDER),
    };
    Question { limit: limit.min(RESULTS.2 as u32), ..question.clone() }
}

/// What is left of a zone's answer to `question`, asked as `wide`, which may have been asked for more than it wants, and whether the zone has to be named
/// as silent, because what was hidden left no room for what may not be.
pub(super) fn cut(
    mut checked: Checked,
    question: &Question,
    wide: &Question,
    sight: &Sight,
) -> (Option<Checked>, Option<Silent>) {
    let silent = |reason: &str| Some(Silent { zone: checked.answer.zone.clone(), reason: reason.to_owned() });
    let Ok(zone) = ZoneName::parse(&checked.answer.zone) else { return (None, silent("it has no name")) };
    let (mut shortened, held) = (None, checked.records.len());
    let more = question.form == Form::List && checked.answer.matches > held as u64 + u64::from(checked.refused);
    if !sight.sees_all_of(&zone) {
        let tools: Vec<Option<ToolInstance>> = checked.records.iter().map(ToolInstance::read).collect();
        let seen =
            |tool: &Option<ToolInstance>| tool.as_ref().is_some_and(|tool| sight.sees(&zone, tool.name().as_str()));
        let keep: Vec<bool> = tools.iter().map(seen).collect();
        if more && !keep.contains(&true) {
            return (None, silent(TOO_FAR_APART));
        }
        let mut flags = keep.iter();
        checked.answer.candidates.retain(|_| flags.next() == Some(&true));
        let mut flags = keep.iter();
        checked.records.retain(|_| flags.next() == Some(&true));
        let left = checked.records.len();
        let was_full = checked.answer.matches > held as u64 || held >= widened(wide).limit as usize;
        if question.form == Form::Words && was_full && left < held && left < question.limit as usize {
            shortened = silent(HIDDEN_IN_FRONT);
        }
        // Whether there were any is told as little as what they are.
        checked.answer.near.clear();
        checked.answer.matches = left as u64 + u64::from(more);
        let tools = tools.into_iter().zip(keep).filter_map(|(tool, keep)| tool.filter(|_| keep));
        recount(&mut checked, question, tools);
    }
    let limit = match question.form {
        Form::Exact => 1,
        Form::Words => (wide.limit as usize).max(CANDIDATES_MIN),
        Form::List => question.limit as usize,
    };
    if question.form == Form::Words {
        checked.answer.matches = checked.answer.matches.min(limit as u64);
    }
    checked.answer.candidates.truncate(limit);
    checked.records.truncate(limit);
    (Some(checked), shortened)
}

/// A list was asked for as much as many want, and whoever wants less is shown that: it goes on behind what he was shown.
pub(super) fn shortened(mut checked: Checked, question: &Question) -> Checked {
    if question.form == Form::List {
        checked.answer.candidates.truncate(question.limit as usize);
        checked.records.truncate(question.limit as usize);
    }
    checked
}

/// Counts the question's terms in the tools that are left: whatever has one of them was a candidate, unless there were more than had been
/// asked for. How many tools there are stays as the zone says, whatever was asked: a number that moved with the question would tell which
/// words the hidden ones have.
fn recount(checked: &mut Checked, question: &Question, tools: impl Iterator<Item = ToolInstance>) {
    if question.form != Form::Words {
        checked.answer.documents = checked.answer.matches;
        return;
    }
    let goal = Goal::parse(&question.text);
    let mut stats = Stats::none(goal.whole());
    tools.for_each(|tool| stats.count_sifted(&sifted(&goal, &tool.body())));
    checked.answer.frequencies = stats.document_frequency;
}
