//! Who was asked, and what came of it: one step a zone, in the order in which they asked each other.
//!
//! Of the way beyond whom this node asked nothing is told but which zones answered. A zone is asked by the one above it, or on the way up
//! by the one below (PROTOCOL §13.1), so who of them asked whom follows from their names; and since an answer that was kept anywhere has a
//! shorter life, so does whose cache it came from, as far as those on the way answered as well.

use std::collections::{BTreeMap, BTreeSet};

use aop_proto::name::ZoneName;
use aop_proto::record::NodeId;
use aop_proto::resolver::{Hop, Neighbour, Outcome, Source};

/// One zone's part of an answer.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// The zone.
    pub zone: String,
    /// The node that spoke for it.
    pub node: String,
    /// `local`, `parent`, `child`, `export`, `l2` or `l3`.
    pub via: &'static str,
    /// `hit`, `stale` or `miss`.
    pub cache: &'static str,
    /// Whose cache it came from.
    pub cached_at: Option<CachedAt>,
    /// Steps from this node's zone to it.
    pub depth: usize,
    /// The zone that asked it; nothing for this node's own.
    pub asked_by: Option<String>,
    /// Whom this node asked now, a zone and its node; nobody for what it knew.
    pub through: Option<(String, String)>,
    /// Tools it offered.
    pub hits: usize,
    /// Tools it holds.
    pub documents: u64,
    /// Time it took, milliseconds; nothing of one that is silent.
    pub took_ms: Option<f64>,
    /// Milliseconds since it was said.
    pub age_ms: u64,
    /// `ok`, or why it is silent.
    pub outcome: String,
}

/// A cache that an answer came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedAt {
    /// The zone whose node kept it.
    pub zone: String,
    /// The node, where it is this one or one that it asked.
    pub node: Option<String>,
    /// `l1`, `l2`, `l3`, or `export` for what the zone told before it was asked.
    pub level: &'static str,
}

/// This node, which asked for it all.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Its zone.
    pub zone: &'a ZoneName,
    /// Its id.
    pub node: NodeId,
}

/// How a source is called. What a fellow asked the parent for is from there.
pub(super) const fn source_name(source: Source, hop: &Hop) -> &'static str {
    match source {
        Source::Local => "local",
        Source::L2 if hop.asked.is_some() && !hop.is_cached => "parent",
        Source::L2 => "l2",
        Source::L3 => "l3",
        Source::Parent => "parent",
        Source::Child => "child",
        Source::Export => "export",
    }
}

pub(super) fn trace_of(outcome: &Outcome, own: Own<'_>) -> Vec<Step> {
    let said = outcome.answers.iter().zip(&outcome.hops).map(|((source, checked), hop)| Step {
        zone: checked.answer.zone.clone(),
        node: checked.answer.node.short(),
        via: source_name(*source, hop),
        cache: match source {
            Source::L2 if hop.asked.is_none() => "hit",
            Source::Export => "hit",
            Source::L3 => "stale",
            _ if hop.is_cached => "hit",
            _ => "miss",
        },
        through: hop.asked.as_ref().map(|asked| (asked.zone.clone(), asked.node.short())),
        hits: checked.records.len(),
        documents: checked.answer.documents,
        took_ms: Some(checked.answer.took_us as f64 / 1000.0),
        age_ms: checked.answer.age_ms,
        outcome: "ok".to_owned(),
        ..Step::default()
    });
    let silent = outcome.silent.iter().map(|silent| Step {
        zone: silent.zone.clone(),
        via: "none",
        cache: "miss",
        outcome: silent.reason.clone(),
        ..Step::default()
    });
    let mut steps: Vec<Step> = said.chain(silent).collect();
    let way = Way::of(outcome, own.zone);
    for (at, step) in steps.iter_mut().enumerate() {
        let Some(zone) = way.named(&step.zone) else {
            // Where the parent should be, while it was never reached.
            (step.depth, step.asked_by) = (1, Some(own.zone.to_string()));
            continue;
        };
        step.depth = way.path(zone).len() - 1;
        step.asked_by = way.asker(zone).map(ToString::to_string);
        step.cached_at = match (outcome.answers.get(at), outcome.hops.get(at)) {
            (Some((source, _)), Some(hop)) => way.cached_at(zone, *source, hop, own),
            _ => None,
        };
    }
    steps.sort_by_cached_key(|step| {
        let path = way.named(&step.zone).map(|zone| way.path(zone));
        (path.is_none(), path)
    });
    steps
}

/// Which zones are known to have the question, and what came back from each.
struct Way<'a> {
    own: &'a ZoneName,
    zones: BTreeSet<ZoneName>,
    hops: BTreeMap<ZoneName, &'a Hop>,
}

impl<'a> Way<'a> {
    fn of(outcome: &'a Outcome, own: &'a ZoneName) -> Self {
        let parsed = |name: &str| ZoneName::parse(name).ok();
        let hops: BTreeMap<ZoneName, &Hop> = outcome
            .answers
            .iter()
            .zip(&outcome.hops)
            .filter_map(|((_, checked), hop)| Some((parsed(&checked.answer.zone)?, hop)))
            .collect();
        let asked = outcome.hops.iter().filter_map(|hop| hop.asked.as_ref()).filter_map(|asked| parsed(&asked.zone));
        let silent = outcome.silent.iter().filter_map(|silent| parsed(&silent.zone));
        let zones = hops.keys().cloned().chain(asked).chain(silent).chain([own.clone()]).collect();
        Self { own, zones, hops }
    }

    fn named(&self, zone: &str) -> Option<&ZoneName> {
        self.zones.get(&ZoneName::parse(zone).ok()?)
    }

    /// Who asked it: on the way up the zone below it, on the way down the one above, else whom this node asked.
    fn asker(&self, zone: &ZoneName) -> Option<&ZoneName> {
        if zone == self.own {
            return None;
        }
        let others = || self.zones.iter().filter(|other| *other != zone);
        if self.own.is_within(zone) {
            return others()
                .filter(|below| self.own.is_within(below) && below.is_within(zone))
                .min_by_key(|it| it.depth());
        }
        let above = others().filter(|above| zone.is_within(above)).max_by_key(|it| it.depth());
        let up = || others().filter(|above| self.own.is_within(above)).min_by_key(|it| it.depth());
        above.or_else(up)
    }

    /// From the own zone to this one.
    fn path(&self, zone: &ZoneName) -> Vec<ZoneName> {
        let mut path: Vec<ZoneName> = std::iter::successors(Some(zone), |at| self.asker(at)).cloned().collect();
        path.reverse();
        path
    }

    /// Whose cache an answer came from: what lies beyond a zone is kept together, by whoever asked the first of those that were kept.
    fn cached_at(&self, zone: &ZoneName, source: Source, hop: &Hop, own: Own<'_>) -> Option<CachedAt> {
        let here = |level| Some(CachedAt { zone: own.zone.to_string(), node: Some(own.node.short()), level });
        let Neighbour { zone: asked, node } = match (source, &hop.asked) {
            (Source::Export, _) => return here("export"),
            (Source::L3, _) => return here("l3"),
            (Source::L2, None) => return here("l2"),
            (_, Some(asked)) if hop.is_cached => asked,
            _ => return None,
        };
        let is_kept_too =
            |at: &ZoneName| self.hops.get(at).is_some_and(|other| *other == hop) && at.to_string() != *asked;
        let mut at = zone;
        while let Some(asker) = self.asker(at).filter(|asker| is_kept_too(asker)) {
            at = asker;
        }
        // A fellow keeps what lies beyond the zone, whoever of those asked whom.
        let by =
            self.asker(at).filter(|_| ZoneName::parse(asked).as_ref() != Ok(own.zone)).unwrap_or(own.zone).to_string();
        let node = (by == *asked).then(|| node.short());
        Some(CachedAt { zone: by, node, level: "l2" })
    }
}

#[cfg(test)]
mod tests {
    use aop_proto::trust::answers::Checked;
    use aop_proto::wire::message::{Form, Question, Silent, ZoneAnswer};

    use super::*;

    /// A zone's answer, where from, through whom, and whether it had been kept on its way.
    fn traced(own: &str, said: &[(&str, Source, Option<&str>, bool)], silent: &[&str]) -> Vec<String> {
        let own = ZoneName::parse(own).unwrap();
        let answer = |zone: &str| ZoneAnswer {
            zone: zone.into(),
            node: NodeId([1; 32]),
            tag: 1,
            behind: false,
            age_ms: 0,
            ttl_ms: 0,
            took_us: 0,
            documents: 0,
            total_length: 0,
            frequencies: Vec::new(),
            matches: 0,
            candidates: Vec::new(),
            near: Vec::new(),
        };
        let question = Question {
            form: Form::Words,
            text: "papers".into(),
            zone: None,
            limit: 10,
            tags: Vec::new(),
            capabilities: Vec::new(),
            after: String::new(),
        };
        let neighbour = |zone: &str| Neighbour { zone: zone.to_owned(), node: NodeId([2; 32]) };
        let outcome = Outcome {
            question,
            answers: said
                .iter()
                .map(|(zone, source, ..)| {
                    (*source, Checked { answer: answer(zone), records: Vec::new(), refused: 0, read: None })
                })
                .collect(),
            hops: said
                .iter()
                .map(|(_, _, asked, is_cached)| Hop { asked: asked.map(neighbour), is_cached: *is_cached })
                .collect(),
            silent: silent.iter().map(|zone| Silent { zone: (*zone).to_owned(), reason: "gone".into() }).collect(),
            skipped: 0,
            proofs: Vec::new(),
        };
        let told = |step: &Step| {
            let by = step.asked_by.as_deref().unwrap_or("nobody");
            let cached = step.cached_at.as_ref().map(|at| {
                let node = if at.node.is_some() { "" } else { "?" };
                format!(", {} of {}{node}", at.level, at.zone)
            });
            format!("{} {} by {by}: {} {}{}", step.depth, step.zone, step.via, step.cache, cached.unwrap_or_default())
        };
        trace_of(&outcome, Own { zone: &own, node: NodeId([9; 32]) }).iter().map(told).collect()
    }

    #[test]
    fn every_step_says_who_asked_it_and_whose_cache_it_came_from() {
        let (up, down) = (Some("."), Some("x.lab"));
        let steps = traced(
            "lab",
            &[
                ("deep.x.lab", Source::Child, down, true),
                ("lib", Source::Parent, up, true),
                ("ml.lib", Source::Parent, up, true),
                ("bio", Source::Parent, up, false),
                ("deep.bio", Source::Parent, up, true),
                (".", Source::Parent, up, false),
                ("x.lab", Source::Child, down, false),
                ("y.lab", Source::L2, None, false),
                ("lab", Source::Local, None, false),
                ("z.lab", Source::Export, None, false),
            ],
            &["geo", "10.0.0.1:7400"],
        );
        assert_eq!(
            steps,
            [
                "0 lab by nobody: local miss",
                "1 . by lab: parent miss",
                "2 bio by .: parent miss",
                "3 deep.bio by bio: parent hit, l2 of bio?",
                "2 geo by .: none miss",
                "2 lib by .: parent hit, l2 of .",
                "3 ml.lib by lib: parent hit, l2 of .",
                "1 x.lab by lab: child miss",
                "2 deep.x.lab by x.lab: child hit, l2 of x.lab",
                "1 y.lab by lab: l2 hit, l2 of lab",
                "1 z.lab by lab: export hit, export of lab",
                "1 10.0.0.1:7400 by lab: none miss",
            ]
        );
    }

    #[test]
    fn what_a_fellow_kept_is_told_from_what_it_asked_for() {
        let of = |is_cached| traced("lab", &[("ml.lib", Source::L2, Some("lab"), is_cached)], &[]);
        assert_eq!(of(true), ["1 ml.lib by lab: l2 hit, l2 of lab"]);
        assert_eq!(of(false), ["1 ml.lib by lab: parent miss"]);
        assert_eq!(
            traced("a.lab", &[("lib", Source::Parent, Some("lab"), true)], &[]),
            ["2 lib by lab: parent hit, l2 of lab"]
        );
        assert_eq!(
            traced("lab", &[("lib", Source::L3, None, false)], &["."]),
            ["1 . by lab: none miss", "2 lib by .: l3 stale, l3 of lab"]
        );
    }
}
