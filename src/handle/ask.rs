//! A door's question: what may be asked, and under which key its answer is kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_proto::access::Sight;
use aop_proto::error::{Kind, Problem};
use aop_proto::name::{FullName, ZoneName};
use aop_proto::params::{NAME_CHARS_MAX, QUERY_DEADLINE, QUESTION_CHARS_MAX, RESULTS, TTL_L3};
use aop_proto::wire::message::{Form, Question};

use super::Handle;
use crate::answers::Resolution;

/// Tags, and capabilities, one question may ask for.
pub(super) const LABELS_MAX: usize = 16;
/// Bytes of one of them.
pub(super) const LABEL_BYTES_MAX: usize = 256;

/// How a question is meant by a door.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A full name when it looks like one and exists, words otherwise.
    #[default]
    Auto,
    /// A full name.
    Exact,
    /// Words.
    Search,
    /// Everything of a zone.
    List,
}

/// A door's question.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// Name or words.
    pub query: String,
    /// How it is meant.
    pub mode: Mode,
    /// Results wanted; 0 for the default.
    pub limit: usize,
    /// Only this zone and what lies below it.
    pub zone: Option<String>,
    /// Only this node's own zone is asked.
    pub local_only: bool,
    /// All of these tags.
    pub tags: Vec<String>,
    /// All of these capabilities.
    pub capabilities: Vec<String>,
    /// Nothing older than this.
    pub max_stale: Option<Duration>,
    /// Nothing from a cache.
    pub no_cache: bool,
    /// Only what this node knows itself.
    pub no_recurse: bool,
    /// Time for the answer.
    pub timeout: Option<Duration>,
    /// Of a list, what comes after this name, lower case.
    pub after: String,
    /// What whoever asks may find; nothing where that is everything.
    pub sight: Option<Arc<Sight>>,
    /// The same of what he may call.
    pub calls: Option<Arc<Sight>>,
}

impl Ask {
    /// How many results are asked for: as many as serve others as well, who want a few more or less and share what is kept. Where something
    /// may be hidden it is what was wanted: what is hidden in front is told by that.
    pub(super) fn width(&self, form: Form) -> usize {
        match form {
            Form::Exact => 1,
            Form::Words | Form::List if self.sight.is_some() => self.limit,
            Form::Words | Form::List => Question::width(self.limit),
        }
    }

    pub(super) fn key(&self, form: Form) -> String {
        // As they are spelled: humps of camel case are words, and their case tells them.
        let words = if form == Form::Words { self.query.trim() } else { &self.query };
        format!(
            "{form:?}\0{words}\0{}\0{:?}\0{}\0{:?}\0{:?}\0{}\0{:?}\0{:?}",
            self.width(form),
            self.zone,
            self.local_only || self.no_recurse,
            self.tags,
            self.capabilities,
            self.after,
            self.sight,
            self.calls
        )
    }

    /// The oldest answer that is taken. Who wants nothing from a cache takes none that was kept for when its zone is silent, unless he says
    /// how old it may be.
    pub fn age_max(&self) -> Duration {
        self.max_stale.unwrap_or(if self.no_cache { Duration::ZERO } else { TTL_L3 })
    }

    /// Whether the name asked for lies where this question does not look, from a node of the zone `own`.
    fn leaves_out(&self, own: &ZoneName) -> bool {
        let wanted = self.zone.as_ref().and_then(|zone| ZoneName::parse(zone).ok());
        let is_outside = |zone: &ZoneName| !zone.holds(&self.query);
        wanted.as_ref().is_some_and(is_outside) || (self.local_only && is_outside(own))
    }

    /// How long a door waits at most.
    pub(super) fn within(&self, default: Duration) -> Duration {
        let (_, least, most) = QUERY_DEADLINE;
        self.timeout.unwrap_or(default).clamp(least, most)
    }
}

/// A full name without the dot that DNS would end it with.
pub(super) fn undotted(name: &str) -> &str {
    name.strip_suffix('.').filter(|bare| FullName::parse(bare).is_ok()).unwrap_or(name)
}

impl Handle {
    /// What is said of a name, and whether the question leaves out where it lies: then nobody has denied it.
    pub(super) async fn answer_name(&self, ask: &Ask, started: Instant) -> Result<(Arc<Resolution>, bool), Problem> {
        let exact = self.answer(ask, Form::Exact, started).await?;
        let is_itself = |near: &String| near.eq_ignore_ascii_case(&ask.query);
        if !exact.hits.is_empty() || !ask.leaves_out(&self.view().zone) && !exact.near.iter().any(is_itself) {
            return Ok((exact, false));
        }
        let mut rest = Resolution { denied_by: None, again: None, ..Arc::unwrap_or_clone(exact) };
        rest.near.retain(|near| !is_itself(near));
        Ok((Arc::new(rest.marked()), true))
    }
}

pub(super) fn checked(mut ask: Ask, default: usize) -> Result<Ask, Problem> {
    ask.query.truncate(undotted(&ask.query).len());
    let (_, least, most) = RESULTS;
    // A list of the own zone is whole; other zones send what fits a frame.
    let most = if ask.mode == Mode::List { usize::MAX } else { most };
    ask.limit = if ask.limit == 0 { default } else { ask.limit.clamp(least, most) };
    if ask.query.len() > QUESTION_CHARS_MAX {
        return Err(Problem::new(Kind::Usage, format!("a question may have {QUESTION_CHARS_MAX} characters")));
    }
    if ask.mode != Mode::List && ask.query.trim().is_empty() {
        return Err(Problem::new(Kind::Usage, "nothing was asked").hint("aop resolve \"read a file\""));
    }
    if ask.mode == Mode::Exact
        && let Err(error) = FullName::parse(&ask.query)
    {
        return Err(Problem::new(Kind::Usage, error.to_string()).hint(format!("aop resolve --search '{}'", ask.query)));
    }
    for (what, labels) in [("tags", &ask.tags), ("capabilities", &ask.capabilities)] {
        if labels.len() > LABELS_MAX || labels.iter().any(|label| label.len() > LABEL_BYTES_MAX) {
            let bound = format!("a question may ask for {LABELS_MAX} {what} of {LABEL_BYTES_MAX} bytes each");
            return Err(Problem::new(Kind::Usage, bound));
        }
    }
    if ask.zone.as_ref().is_some_and(|zone| zone.len() > NAME_CHARS_MAX) {
        return Err(Problem::new(Kind::Usage, format!("a zone's name has at most {NAME_CHARS_MAX} characters")));
    }
    if let Some(zone) = &ask.zone {
        let parsed = ZoneName::parse(zone);
        let parsed = parsed.map_err(|error| Problem::new(Kind::Usage, error.to_string()).hint("aop zones --tree"))?;
        ask.zone = Some(parsed.to_string());
    }
    Ok(ask)
}
