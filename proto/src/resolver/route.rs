//! Where a question goes: which zones may answer it, by name and by delegation alone.

use crate::error::did_you_mean;
use crate::name::{FullName, ZoneName};
use crate::record::NodeId;
use crate::resolver::Terms;
use crate::wire::message::{Form, Question};

/// A way to one other zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The zone's name, or where the parent should be, while it was never reached.
    pub zone: String,
    /// Nodes of it that are connected, best first.
    pub peers: Vec<NodeId>,
    /// It was tried and not reached: not worth waiting for.
    pub stale: bool,
    /// Why nobody is connected, for people; empty where that is not known.
    pub error: String,
}

/// Ways to all neighbours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routes {
    /// The own zone.
    pub own: ZoneName,
    /// Upwards, when there is a parent at all.
    pub parent: Option<Route>,
    /// Downwards, by zone.
    pub children: Vec<(ZoneName, Route)>,
}

/// Who has to be asked for one question.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Plan {
    pub(super) own: bool,
    pub(super) children: Vec<Route>,
    pub(super) parent: bool,
    /// Zones left out because the question has come too far.
    pub(super) skipped: u32,
}

impl Routes {
    /// Who has to be asked, and nobody twice.
    pub(super) fn plan(&self, question: &Question, terms: &Terms, visited: &[String]) -> Plan {
        let mut plan = match question.form {
            Form::Exact => self.plan_name(question),
            Form::Words | Form::List => self.plan_words(question),
        };
        if !terms.recurse {
            plan.children.clear();
            plan.parent = false;
        }
        if terms.outside {
            plan.children.clear();
        }
        plan.children.retain(|child| !visited.contains(&child.zone));
        plan.parent &= self.parent.as_ref().is_some_and(|parent| !visited.contains(&parent.zone));
        if terms.hops == 0 {
            plan.skipped = u32::try_from(plan.children.len()).unwrap_or(u32::MAX).saturating_add(plan.parent.into());
            plan.children.clear();
            plan.parent = false;
        }
        plan
    }

    /// The longest delegation the name ends in, else this zone, else upwards.
    fn plan_name(&self, question: &Question) -> Plan {
        let Ok(name) = FullName::parse(&question.text) else { return Plan { own: true, ..Plan::default() } };
        let child = self.children.iter().filter(|(zone, _)| name.is_in(zone)).max_by_key(|(zone, _)| zone.depth());
        if let Some((_, route)) = child {
            return Plan { children: vec![route.clone()], ..Plan::default() };
        }
        let ours = name.is_in(&self.own);
        Plan { own: ours || self.parent.is_none(), parent: !ours && self.parent.is_some(), ..Plan::default() }
    }

    /// Everybody, or what can hold the zone asked for.
    fn plan_words(&self, question: &Question) -> Plan {
        let wanted = question.zone.as_deref().and_then(|zone| ZoneName::parse(zone).ok());
        let related = |zone: &ZoneName| wanted.as_ref().is_none_or(|w| w.is_within(zone) || zone.is_within(w));
        let covered = wanted.as_ref().is_some_and(|w| w.is_within(&self.own));
        let children = self.children.iter().filter(|(zone, _)| related(zone)).map(|(_, route)| route.clone());
        Plan {
            own: related(&self.own),
            children: children.collect(),
            parent: self.parent.is_some() && !covered,
            skipped: 0,
        }
    }

    /// Whether a question for `zone` passes one of those that were silent.
    pub(super) fn is_cut_off(&self, zone: &str, silent: &[&str]) -> bool {
        ZoneName::parse(zone).is_ok_and(|zone| self.cut_off_by(&zone, silent).is_some())
    }

    /// Which of those that were silent a question for `zone` passes: the zone itself, one above it, or on the way up to where its way and
    /// ours meet. Of zones further up than the parent only names are known: who shares more of ours is not behind them.
    pub(super) fn cut_off_by<'a>(&self, zone: &ZoneName, silent: &[&'a str]) -> Option<&'a str> {
        let up = self.parent.as_ref().map(|parent| parent.zone.as_str());
        let is_passed = |name: &str| match ZoneName::parse(name) {
            _ if Some(name) == up => !zone.is_within(&self.own),
            Ok(silent) if self.own.is_within(&silent) => {
                !zone.is_within(&self.own) && zone.shared_labels(&self.own) <= silent.depth()
            }
            Ok(silent) => zone.is_within(&silent),
            Err(_) => false,
        };
        silent.iter().copied().find(|name| is_passed(name))
    }

    /// Whether a question in words, or for a list, is one for `zone` too.
    pub(super) fn concerns(question: &Question, zone: &ZoneName) -> bool {
        let wanted = question.zone.as_deref().and_then(|zone| ZoneName::parse(zone).ok());
        wanted.is_none_or(|wanted| zone.is_within(&wanted))
    }

    /// Zones here and below whose names are near the zone asked for, or near the end of a name that is nobody's.
    pub(super) fn near_zones(&self, question: &Question) -> Vec<String> {
        let known = || self.children.iter().map(|(zone, _)| zone.as_str()).chain([self.own.as_str()]);
        let wanted: Vec<String> = match (question.form, &question.zone) {
            (Form::Exact, _) => {
                let labels: Vec<&str> = question.text.split('.').collect();
                (1..labels.len()).map(|at| labels[at..].join(".")).collect()
            }
            (Form::Words | Form::List, Some(zone)) => vec![zone.clone()],
            (Form::Words | Form::List, None) => Vec::new(),
        };
        let mut near: Vec<String> = wanted.iter().flat_map(|zone| did_you_mean(zone, known())).collect();
        near.dedup();
        near
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn zone(text: &str) -> ZoneName {
        ZoneName::parse(text).unwrap()
    }

    fn route(text: &str) -> Route {
        Route { zone: text.into(), peers: vec![NodeId([1; 32])], stale: false, error: String::new() }
    }

    fn middle() -> Routes {
        Routes {
            own: zone("lib"),
            parent: Some(route(".")),
            children: ["ml.lib", "deep.ml.lib", "bio.lib"].map(|name| (zone(name), route(name))).into(),
        }
    }

    fn ask(form: Form, text: &str, zone: Option<&str>) -> Question {
        let (tags, capabilities) = (Vec::new(), Vec::new());
        Question {
            form,
            text: text.into(),
            zone: zone.map(Into::into),
            limit: 10,
            tags,
            capabilities,
            after: String::new(),
        }
    }

    fn plan(question: &Question, visited: &[&str]) -> (bool, Vec<String>, bool) {
        let visited: Vec<String> = visited.iter().map(|zone| (*zone).to_owned()).collect();
        let terms = Terms::of_door(question.form, Duration::from_secs(2));
        let plan = middle().plan(question, &terms, &visited);
        (plan.own, plan.children.into_iter().map(|child| child.zone).collect(), plan.parent)
    }

    #[test]
    fn a_name_goes_to_the_longest_delegation_else_here_else_up() {
        assert_eq!(plan(&ask(Form::Exact, "t.s.deep.ml.lib", None), &[]), (false, vec!["deep.ml.lib".into()], false));
        assert_eq!(plan(&ask(Form::Exact, "t.s.ml.lib", None), &[]), (false, vec!["ml.lib".into()], false));
        assert_eq!(plan(&ask(Form::Exact, "t.s.lib", None), &[]), (true, vec![], false));
        assert_eq!(plan(&ask(Form::Exact, "t.s.elsewhere", None), &[]), (false, vec![], true));
    }

    /// What was kept was looked for under the silent zone's own name: with the parent away, nothing that lies behind it was found.
    #[test]
    fn what_lies_behind_a_silent_zone_is_cut_off() {
        let cut_off = |routes: &Routes, silent: &str| {
            let zones = ["lib", "ml.lib", "deep.ml.lib", "bio.lib", "lab", "x.lab", "."];
            zones.into_iter().filter(|zone| routes.is_cut_off(zone, &[silent])).collect::<Vec<_>>()
        };
        assert_eq!(cut_off(&middle(), "."), ["lab", "x.lab", "."], "its parent");
        assert_eq!(cut_off(&middle(), "ml.lib"), ["ml.lib", "deep.ml.lib"], "a child");
        assert_eq!(cut_off(&middle(), "lab"), ["lab", "x.lab"], "another");
        let leaf = Routes { own: zone("bio.lib"), parent: Some(route("lib")), children: Vec::new() };
        assert_eq!(cut_off(&leaf, "lib"), ["lib", "ml.lib", "deep.ml.lib", "lab", "x.lab", "."], "all but itself");
        assert_eq!(cut_off(&leaf, "."), ["lab", "x.lab", "."], "what is not reached through the parent alone");
        let unreached = Routes { parent: Some(route("10.0.0.1:7400")), ..leaf };
        assert_eq!(cut_off(&unreached, "10.0.0.1:7400").len(), 6);
    }

    #[test]
    fn words_go_everywhere_once() {
        let all: Vec<String> = ["ml.lib", "deep.ml.lib", "bio.lib"].map(Into::into).into();
        assert_eq!(plan(&ask(Form::Words, "find papers", None), &[]), (true, all, true));
        let (_, children, parent) = plan(&ask(Form::Words, "find papers", None), &[".", "ml.lib"]);
        assert_eq!((children, parent), (vec!["deep.ml.lib".into(), "bio.lib".into()], false));
    }

    #[test]
    fn words_for_one_zone_stay_on_the_way_to_it() {
        assert_eq!(plan(&ask(Form::Words, "x", Some("bio.lib")), &[]), (true, vec!["bio.lib".into()], false));
        assert_eq!(plan(&ask(Form::Words, "x", Some("writing")), &[]), (false, vec![], true));
    }
}
