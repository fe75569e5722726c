//! What others said, cut to what the asker may find.
//!
//! Answers are found and kept whole, for nobody in particular. So more is asked for than somebody wants who sees only some of it, and what
//! is hidden goes on the way out: what is kept never leaks, and what is hidden takes nobody's place.

use crate::access::Sight;
use crate::index::{Query, Stats};
use crate::name::ZoneName;
use crate::params::{CANDIDATES_MIN, RESULTS};
use crate::trust::answers::Checked;
use crate::wire::message::{Form, Question, Silent, ZoneAnswer};
use crate::zone::{ToolInstance, terms_of};

/// Why a zone is named as silent of whose list a whole page is hidden.
const TOO_FAR_APART: &str = "what may be found in it is too far apart to be listed";

/// The question as it is asked of others for somebody who may find only some of what they say.
pub(super) fn widened(question: &Question) -> Question {
    let limit = match question.form {
        Form::Exact => question.limit,
        Form::Words | Form::List => RESULTS.2 as u32,
    };
    Question { limit, ..question.clone() }
}

/// What is left of a zone's answer to a question that was [`widened`] from one for `limit`.
///
/// # Errors
/// The zone counts as silent: a list goes on after its last name, and this page has none that may be told.
pub(super) fn cut(checked: Checked, question: &Question, limit: u32, sight: &Sight) -> Result<ZoneAnswer, Silent> {
    let Checked { mut answer, records, refused } = checked;
    let Ok(zone) = ZoneName::parse(&answer.zone) else { return Ok(answer) };
    let limit = match question.form {
        Form::Exact => 1,
        Form::Words => (limit as usize).max(CANDIDATES_MIN),
        Form::List => limit as usize,
    };
    let held = records.len() as u64 + u64::from(refused);
    let more = question.form == Form::List && answer.matches > held;
    if !sight.sees_all_of(&zone) {
        let mut records = records.iter();
        let mut tools = Vec::new();
        answer.candidates.retain(|_| {
            let tool = records.next().and_then(ToolInstance::read);
            let seen = tool.filter(|tool| sight.sees(&zone, tool.name.as_str()));
            let is_seen = seen.is_some();
            tools.extend(seen);
            is_seen
        });
        if more && tools.is_empty() {
            return Err(Silent { zone: zone.to_string(), reason: TOO_FAR_APART.to_owned() });
        }
        answer.near.retain(|near| sight.sees(&zone, near));
        answer.matches = tools.len() as u64 + u64::from(more);
        let stats = stats_of(&tools, question);
        answer.documents = stats.documents;
        answer.total_length = stats.total_length;
        answer.frequencies = stats.document_frequency;
    }
    if question.form == Form::Words {
        answer.matches = answer.matches.min(limit as u64);
    }
    answer.candidates.truncate(limit);
    Ok(answer)
}

/// Counts of a zone that has these tools only.
fn stats_of(tools: &[ToolInstance], question: &Question) -> Stats {
    if question.form != Form::Words {
        return Stats { documents: tools.len() as u64, ..Stats::default() };
    }
    let query = Query::parse(&question.text);
    let mut stats = Stats::none(&query);
    for tool in tools {
        stats.count(&query, &terms_of(&tool.body));
    }
    stats
}
