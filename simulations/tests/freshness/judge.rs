//! What every answer has to fulfil (P7): it shows nothing that had ended before the time it says it is from, it leaves out nothing that
//! was there all that time, it is no older than its asker takes, and whoever was not heard is named.
//!
//! A replica speaks for its zone with what it holds. What another replica wrote may be missing there for as long as the zone has not been
//! whole, and for the time that news take; what it wrote itself may not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aop_proto::params::TTL_L3;
use aop_proto::resolver::Source;
use aop_proto::trust::answers::Checked;
use aop_proto::wire::message::Form;
use aop_simulations::Answered;
use aop_simulations::world::DEADLINE;

use crate::federation::{Asked, Federation};
use crate::model::Version;

/// Ages are whole milliseconds, cut at every stop.
const CUT: Duration = Duration::from_millis(50);

/// How much was looked at, so that nobody believes in a check that looks at nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answers: u64,
    /// Of them: from a cache.
    pub(crate) cached: u64,
    /// Of them: of a silent zone, from before.
    pub(crate) stale: u64,
    /// States of tools that were held against the model.
    pub(crate) states: u64,
    /// Of them: of tools that had been something else before, in a time that leaves no room for it.
    pub(crate) telling: u64,
    /// The same, of what a replica said that did not write it.
    pub(crate) told: u64,
    pub(crate) denials: u64,
    pub(crate) silences: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        for (to, from) in [
            (&mut self.answers, other.answers),
            (&mut self.cached, other.cached),
            (&mut self.stale, other.stale),
            (&mut self.states, other.states),
            (&mut self.telling, other.telling),
            (&mut self.told, other.told),
            (&mut self.denials, other.denials),
            (&mut self.silences, other.silences),
        ] {
            *to += from;
        }
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// Holds one answer, delivered at `time`, against everything that is known.
pub(crate) fn judge(
    of: &Federation,
    asked: &Asked,
    answered: &Answered,
    time: Duration,
    tally: &mut Tally,
) -> Result<(), String> {
    let outcome = &answered.outcome;
    for (source, checked) in &outcome.answers {
        tally.answers += 1;
        tally.cached += u64::from(*source == Source::L2);
        tally.stale += u64::from(*source == Source::L3);
        is_in_time(asked, answered.took, *source, checked)?;
        is_true(of, asked, checked, time, tally)?;
    }
    names_the_silent(of, asked, answered, tally)?;
    if asked.question.form == Form::Exact && answered.found.is_empty() && !outcome.is_partial() && outcome.skipped == 0
    {
        tally.denials += 1;
        let owner =
            of.zones.iter().filter(|zone| is_in(&asked.question.text, &zone.name)).max_by_key(|zone| zone.name.len());
        let owner = owner.map(|zone| zone.name.as_str());
        let by: Vec<&str> = outcome.answers.iter().map(|(_, checked)| checked.answer.zone.as_str()).collect();
        ensure(owner.is_some_and(|owner| by == [owner]), || format!("{by:?} denies what is {owner:?}'s"))?;
    }
    Ok(())
}

/// Each node that hands an answer on reckons it as old as the whole of its own question: from leaf to leaf over the root that is four
/// times the time that it took, with a fellow that asked for another at each end six.
const COUNTED: u32 = 6;

/// It is as young as its asker wants, and what was kept from before is called that.
fn is_in_time(asked: &Asked, took: Duration, source: Source, checked: &Checked) -> Result<(), String> {
    let age = Duration::from_millis(checked.answer.age_ms);
    let zone = &checked.answer.zone;
    let most = match source {
        Source::L3 => asked.age_max.min(TTL_L3),
        _ if asked.cached => asked.age_max,
        _ => Duration::ZERO,
    };
    ensure(age <= most + took * COUNTED + CUT, || {
        format!(
            "{zone} is {age:?} old from {source:?}, {most:?} was asked for, cached {}, and it took {took:?}",
            asked.cached
        )
    })
}

/// Each tool is what its writer may have shown then.
fn is_true(of: &Federation, asked: &Asked, checked: &Checked, time: Duration, tally: &mut Tally) -> Result<(), String> {
    let answer = &checked.answer;
    let Some(zone) = of.zones.iter().find(|zone| zone.name == answer.zone) else {
        return Err(format!("there is no zone {}", answer.zone));
    };
    let speaker = of.host_of.get(&answer.node);
    let shown: BTreeMap<&str, Version> =
        checked.records.iter().map(|signed| (signed.record.name(), version_of(signed))).collect();
    let age = Duration::from_millis(answer.age_ms);
    let since = time.saturating_sub(age + CUT);
    for (full, tool) in &zone.tools {
        let said = shown.get(full.as_str()).copied();
        let is_asked = match asked.question.form {
            Form::Exact => *full == asked.question.text,
            Form::Words | Form::List => true,
        };
        if !is_asked {
            continue;
        }
        let wrote_it = speaker == Some(&tool.writer);
        let earliest = if wrote_it { since } else { zone.troubles.known_at(since) };
        tally.states += 1;
        if tool.changed_before(earliest) {
            tally.telling += 1;
            tally.told += u64::from(!wrote_it);
        }
        let said = said.flatten();
        ensure(tool.could_be(said, earliest, time), || {
            format!(
                "{full} was never {said:?} from {earliest:?} on, {age:?} old, by {speaker:?}, behind {}\n{tool:?}\n{:?}",
                answer.behind, zone.troubles
            )
        })?;
    }
    Ok(())
}

fn version_of(signed: &aop_proto::record::SignedRef) -> Version {
    let text = String::from_utf8_lossy(signed.record.tool()?.definition).into_owned();
    let (_, number) = text.split_once("version ")?;
    number.split('"').next()?.parse().ok()
}

/// Whoever could have had a word in it has, or is named, or somebody on the way there is.
fn names_the_silent(of: &Federation, asked: &Asked, answered: &Answered, tally: &mut Tally) -> Result<(), String> {
    let outcome = &answered.outcome;
    ensure(answered.took <= DEADLINE, || format!("it took {:?}", answered.took))?;
    let silent: BTreeSet<&str> = outcome.silent.iter().map(|silent| silent.zone.as_str()).collect();
    let heard: BTreeSet<&str> = outcome.answers.iter().map(|(_, checked)| checked.answer.zone.as_str()).collect();
    tally.silences += silent.len() as u64;
    if outcome.skipped > 0 {
        return Ok(());
    }
    if asked.question.form == Form::Exact {
        return ensure(!heard.is_empty() || !silent.is_empty(), || {
            "nobody has answered and nobody is silent".to_owned()
        });
    }
    let own = of.zone_of[&asked.host];
    for (at, zone) in of.zones.iter().enumerate() {
        let on_the_way = path(of, own, at);
        let named = on_the_way.iter().any(|zone| silent.contains(of.zones[*zone].name.as_str()));
        // A parent that a relay never reached has no name there.
        let nameless = silent.iter().any(|silent| !of.zones.iter().any(|zone| zone.name == *silent));
        ensure(at == own || heard.contains(zone.name.as_str()) || named || nameless, || {
            format!("{} has not answered and is not named, heard {heard:?}", zone.name)
        })?;
    }
    Ok(())
}

/// Zones between two, the first left out and the last included.
fn path(of: &Federation, from: usize, to: usize) -> Vec<usize> {
    let up = |mut at: usize| {
        let mut way = vec![at];
        while let Some(above) = of.zones[at].above {
            way.push(above);
            at = above;
        }
        way
    };
    let (down, mut way) = (up(to), up(from));
    way.retain(|zone| !down.contains(zone));
    let meets = down.iter().position(|zone| up(from).contains(zone)).unwrap_or(down.len() - 1);
    way.extend(down[..=meets].iter().rev());
    way.retain(|zone| *zone != from);
    way
}

fn is_in(name: &str, zone: &str) -> bool {
    zone == "." || name.ends_with(&format!(".{zone}"))
}
