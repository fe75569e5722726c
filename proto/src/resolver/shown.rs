//! What others said, cut to what the asker may find.
//!
//! Answers are found and kept whole, for nobody in particular, and what is hidden goes on the way out: what is kept never leaks. Where
//! something may be hidden more is asked for than somebody wants, so that what is hidden seldom takes the place of what is not.

use crate::access::Sight;
use crate::index::{Query, Stats};
use crate::name::ZoneName;
use crate::params::{CANDIDATES_MIN, RESULTS};
use crate::trust::answers::Checked;
use crate::wire::message::{Form, Question, Silent};
use crate::zone::{ToolInstance, terms_of};

/// How many times as many results are asked for.
const WIDER: u32 = 4;

/// Why a zone is named as silent of whose list a whole page is hidden.
const TOO_FAR_APART: &str = "what may be found in it is too far apart to be listed";

/// The question as it is asked where something may be hidden from whom it is asked for.
pub(super) fn widened(question: &Question) -> Question {
    let limit = match question.form {
        Form::Exact => question.limit,
        Form::Words | Form::List => question.limit.max(CANDIDATES_MIN as u32).saturating_mul(WIDER),
    };
    Question { limit: limit.min(RESULTS.2 as u32), ..question.clone() }
}

/// What is left of a zone's answer to `question`, which may have been asked for more than it wants.
///
/// # Errors
/// The zone counts as silent: a list goes on after its last name, and this page has none that may be told.
pub(super) fn cut(mut checked: Checked, question: &Question, sight: &Sight) -> Result<Checked, Silent> {
    let silent = |reason: &str| Silent { zone: checked.answer.zone.clone(), reason: reason.to_owned() };
    let zone = ZoneName::parse(&checked.answer.zone).map_err(|_| silent("it has no name"))?;
    let held = checked.records.len() as u64 + u64::from(checked.refused);
    let more = question.form == Form::List && checked.answer.matches > held;
    if !sight.sees_all_of(&zone) {
        let tools: Vec<Option<ToolInstance>> = checked.records.iter().map(ToolInstance::read).collect();
        let seen =
            |tool: &Option<ToolInstance>| tool.as_ref().is_some_and(|tool| sight.sees(&zone, tool.name.as_str()));
        let keep: Vec<bool> = tools.iter().map(seen).collect();
        let some_are_seen = keep.contains(&true);
        if more && !some_are_seen {
            return Err(silent(TOO_FAR_APART));
        }
        let mut flags = keep.iter();
        checked.answer.candidates.retain(|_| flags.next() == Some(&true));
        let mut flags = keep.iter();
        checked.records.retain(|_| flags.next() == Some(&true));
        // Whether there were any is told as little as what they are.
        checked.answer.near.clear();
        checked.answer.matches = checked.records.len() as u64 + u64::from(more);
        let (kept, gone): (Vec<_>, Vec<_>) = tools.into_iter().flatten().zip(keep).partition(|(_, keep)| *keep);
        recount(&mut checked, question, &kept, &gone);
    }
    let limit = match question.form {
        Form::Exact => 1,
        Form::Words => (question.limit as usize).max(CANDIDATES_MIN),
        Form::List => question.limit as usize,
    };
    if question.form == Form::Words {
        checked.answer.matches = checked.answer.matches.min(limit as u64);
    }
    checked.answer.candidates.truncate(limit);
    checked.records.truncate(limit);
    Ok(checked)
}

/// Counts of a zone without the tools that are gone. Of the question's terms those are counted that are left: whatever has one of them
/// was a candidate, unless there were more than had been asked for.
fn recount(checked: &mut Checked, question: &Question, kept: &[(ToolInstance, bool)], gone: &[(ToolInstance, bool)]) {
    let answer = &mut checked.answer;
    if question.form != Form::Words {
        answer.documents = answer.matches;
        return;
    }
    let query = Query::parse(&question.text);
    let stats = |tools: &[(ToolInstance, bool)]| {
        let mut stats = Stats::none(&query);
        tools.iter().for_each(|(tool, _)| stats.count(&query, &terms_of(&tool.body)));
        stats
    };
    let (kept, gone) = (stats(kept), stats(gone));
    answer.frequencies = kept.document_frequency;
    // A zone of which nothing is left has nothing to be ranked by.
    let rest = |all: u64, gone: u64| if kept.documents == 0 { 0 } else { all.saturating_sub(gone) };
    answer.documents = rest(answer.documents, gone.documents);
    answer.total_length = rest(answer.total_length, gone.total_length);
}
