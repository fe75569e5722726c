//! What one caller may find, made ready to be asked of thousands of tools.
//!
//! Asked before anything is counted, listed or cut, so that what is hidden leaves no trace: neither a name, nor a number, nor a word's
//! rarity. The same for a user at a door and for a neighbouring zone.

use super::{Action, Caller, Glob, Policy, Principal};
use crate::name::ZoneName;

/// Somebody who may find some tools and not others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sight {
    /// Whatever is not denied is seen.
    sees_rest: bool,
    /// What is seen where not everything is.
    seen: Vec<Bound>,
    /// What is not, whatever else is said.
    hidden: Vec<Bound>,
}

/// Tools of such full names, in a zone and below it or everywhere.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Bound {
    zone: Option<ZoneName>,
    tool: Glob,
}

impl Bound {
    fn is_any(&self) -> bool {
        self.zone.is_none() && self.tool.is_any()
    }

    fn covers(&self, zone: &ZoneName, tool: &str) -> bool {
        self.zone.as_ref().is_none_or(|bound| zone.is_within(bound)) && self.tool.matches(tool)
    }

    /// Whether it can reach a tool for which `zone` answers.
    fn may_reach(&self, zone: &ZoneName) -> bool {
        self.zone.as_ref().is_none_or(|bound| zone.is_within(bound)) && self.tool.may_match_in(zone)
    }

    /// Whether it can reach one of `zone` or of a zone below it.
    fn may_reach_below(&self, zone: &ZoneName) -> bool {
        let meets = |bound: &ZoneName| zone.is_within(bound) || bound.is_within(zone);
        self.zone.as_ref().is_none_or(meets) && self.tool.may_match_in(zone)
    }

    /// Whether it can reach one of a zone that is neither `zone` nor below it.
    fn may_reach_outside(&self, zone: &ZoneName) -> bool {
        self.zone.as_ref().is_none_or(|bound| !bound.is_within(zone)) && !self.tool.matches_only_in(zone)
    }
}

impl Sight {
    /// How `caller` sees tools; nothing where every tool there is may be found. What is open to whoever reaches the node is not open to
    /// whoever is `afar`.
    pub fn of(policy: &Policy, caller: &Caller, afar: bool) -> Option<Self> {
        Self::within(policy, caller, Action::Discover, afar)
    }

    /// The same of what `caller` may call; what he may not find he may not call.
    pub fn of_calls(policy: &Policy, caller: &Caller) -> Option<Self> {
        Self::within(policy, caller, Action::Call, false)
    }

    fn within(policy: &Policy, caller: &Caller, action: Action, afar: bool) -> Option<Self> {
        if caller.principal == Principal::Operator {
            return None;
        }
        let who = caller.principal.to_string();
        let granted = caller.grants.iter().filter(|grant| grant.role.allows(action));
        let granted = granted.map(|grant| Bound { zone: grant.zone.clone(), tool: grant.tool.clone() });
        let (mut seen, mut hidden): (Vec<Bound>, Vec<Bound>) = (granted.collect(), Vec::new());
        for rule in &policy.rules {
            // Most rules are about something or somebody else.
            let counts = |of| of == action || (rule.deny && of == Action::Discover);
            if rule.action.is_none_or(counts) && rule.principal.matches(&who) {
                let said = Bound { zone: rule.zone.clone(), tool: rule.tool.clone() };
                if rule.deny { hidden.push(said) } else { seen.push(said) }
            }
        }
        let sees_rest = (policy.is_open && !afar) || seen.iter().any(Bound::is_any);
        let is_bounded = !sees_rest || !hidden.is_empty();
        is_bounded.then(|| Self { sees_rest, seen: if sees_rest { Vec::new() } else { seen }, hidden })
    }

    /// Whether the tool of that full name, which `zone` answers for, may be found.
    pub fn sees(&self, zone: &ZoneName, tool: &str) -> bool {
        let covers = |bound: &Bound| bound.covers(zone, tool);
        !self.hidden.iter().any(covers) && (self.sees_rest || self.seen.iter().any(covers))
    }

    /// Whether every tool of `zone`, by whatever name, may be found: what it says can be handed on as it is.
    pub fn sees_all_of(&self, zone: &ZoneName) -> bool {
        let is_all =
            |bound: &Bound| bound.tool.is_any() && bound.zone.as_ref().is_none_or(|bound| zone.is_within(bound));
        (self.sees_rest || self.seen.iter().any(is_all)) && !self.hidden.iter().any(|bound| bound.may_reach(zone))
    }

    /// Whether the same holds of it and of all zones below it.
    pub fn sees_all_below(&self, zone: &ZoneName) -> bool {
        self.sees_all_of(zone) && !self.hidden.iter().any(|bound| bound.may_reach_below(zone))
    }

    /// Whether every tool of every zone that is neither `zone` nor below it may be found.
    pub fn sees_all_outside(&self, zone: &ZoneName) -> bool {
        self.sees_rest && !self.hidden.iter().any(|bound| bound.may_reach_outside(zone))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Grant, Request, Role, Rule};
    use super::*;
    use crate::record::NodeId;

    fn zone(name: &str) -> ZoneName {
        ZoneName::parse(name).unwrap()
    }

    fn hidden(principal: &str, action: Option<Action>, bound: Option<&str>, tool: &str) -> Rule {
        Rule { principal: Glob::new(principal), action, zone: bound.map(zone), tool: Glob::new(tool), deny: true }
    }

    fn partner(role: Role) -> Caller {
        let principal = Principal::Zone { zone: zone("partner.acme"), node: NodeId([1; 32]) };
        Caller { principal, grants: vec![Grant::of(role)] }
    }

    #[test]
    fn whoever_no_rule_is_about_sees_everything() {
        let rules = vec![hidden("zone:other.acme", None, None, "*"), hidden("*", Some(Action::Call), None, "*")];
        let policy = Policy { is_open: false, rules };
        assert_eq!(Sight::of(&policy, &partner(Role::Peer), true), None);
        assert_eq!(Sight::of(&policy, &Caller::operator(), true), None);
        assert!(Sight::of(&policy, &Caller::anonymous(), true).is_some());
        assert_eq!(Sight::of(&Policy::open(), &Caller::anonymous(), false), None);
        let stranger = Sight::of(&Policy::open(), &Caller::anonymous(), true).unwrap();
        assert!(!stranger.sees(&zone("acme"), "echo.s.acme"), "what is open here is not open from afar");
    }

    #[test]
    fn a_rule_hides_tools_by_zone_and_by_name() {
        let rules = vec![
            hidden("zone:*.acme", Some(Action::Discover), Some("hr.acme"), "*"),
            hidden("*", None, None, "*.vault.lab.acme"),
        ];
        let sight = Sight::of(&Policy { is_open: true, rules }, &partner(Role::Peer), false).unwrap();
        assert!(!sight.sees(&zone("hr.acme"), "pay.s.hr.acme"));
        assert!(!sight.sees(&zone("deep.hr.acme"), "pay.s.deep.hr.acme"));
        assert!(!sight.sees(&zone("lab.acme"), "open.vault.lab.acme"));
        assert!(sight.sees(&zone("lab.acme"), "search.s.lab.acme"));
        assert!(sight.sees_all_of(&zone("other.acme")), "no name there ends as the glob does");
        assert!(!sight.sees_all_of(&zone("lab.acme")) && !sight.sees_all_of(&zone("deep.hr.acme")));
        assert!(!sight.sees_all_of(&zone("acme")), "a tool of the zone above may be called vault.lab.acme");
    }

    #[test]
    fn whoever_was_granted_some_tools_sees_these() {
        let bounded = Grant { role: Role::Reader, zone: Some(zone("lab.acme")), tool: Glob::any() };
        let caller = Caller { principal: Principal::Token("ci".to_owned()), grants: vec![bounded] };
        let sight = Sight::of(&Policy::default(), &caller, false).unwrap();
        assert!(sight.sees(&zone("lab.acme"), "search.s.lab.acme") && !sight.sees(&zone("acme"), "search.s.acme"));
        assert!(!sight.sees_all_of(&zone("acme")));
    }

    #[test]
    fn only_where_something_may_be_hidden_more_is_asked_for() {
        let rules = vec![
            hidden("zone:*.acme", Some(Action::Discover), Some("hr.acme"), "*"),
            hidden("*", None, None, "*.vault.lab.acme"),
        ];
        let sight = Sight::of(&Policy { is_open: true, rules }, &partner(Role::Peer), false).unwrap();
        assert!(sight.sees_all_below(&zone("shop.acme")) && !sight.sees_all_below(&zone("lab.acme")));
        assert!(sight.sees_all_of(&zone("staff.acme")) && !sight.sees_all_below(&zone("acme")));
        assert!(sight.sees_all_outside(&zone("acme")), "both rules are about what lies in it");
        assert!(!sight.sees_all_outside(&zone("lab.acme")));
    }

    /// What is asked thousands of times says what the rules say.
    #[test]
    fn it_says_what_the_policy_says() {
        let zones = ["acme", "lab.acme", "hr.acme", "deep.lab.acme", "else"];
        let globs = ["*", "read_*", "*.vault.*", "?_b.*", "*.acme", "*.lab.acme"];
        let bounds = [None, Some("acme"), Some("lab.acme"), Some("else")];
        let names = ["read_x.s", "a_b.vault", "c.t", "read_y.vault.q"];
        let mut state = 7_u64;
        let mut pick = |count: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % count
        };
        let (mut bounded, mut total) = (0, 0);
        for _ in 0..400 {
            let rules: Vec<Rule> = (0..pick(4))
                .map(|_| Rule {
                    principal: Glob::new(["*", "zone:partner.acme", "token:ci"][pick(3)]),
                    action: [None, Some(Action::Discover), Some(Action::Call)][pick(3)],
                    zone: bounds[pick(4)].map(zone),
                    tool: Glob::new(globs[pick(6)]),
                    deny: pick(2) == 0,
                })
                .collect();
            let grants = (0..pick(3))
                .map(|_| Grant {
                    role: [Role::Reader, Role::Caller, Role::Peer][pick(3)],
                    zone: bounds[pick(4)].map(zone),
                    tool: Glob::new(globs[pick(6)]),
                })
                .collect();
            let caller = Caller { grants, ..partner(Role::Peer) };
            let policy = Policy { is_open: pick(2) == 0, rules };
            let sight = Sight::of(&policy, &caller, false);
            bounded += usize::from(sight.is_some());
            for zone_name in zones.map(zone) {
                for name in names {
                    let tool = format!("{name}.{zone_name}");
                    let request = Request { action: Action::Discover, zone: &zone_name, tool: Some(&tool) };
                    let allowed = policy.allows(&caller, request);
                    let seen = sight.as_ref().is_none_or(|sight| sight.sees(&zone_name, &tool));
                    assert_eq!(seen, allowed, "{tool} by {caller:?} under {policy:?}");
                    let all = sight.as_ref().is_none_or(|sight| sight.sees_all_of(&zone_name));
                    assert!(!all || allowed, "{tool} is hidden in a zone of which all is said to be seen");
                    let below = sight.as_ref().is_none_or(|sight| sight.sees_all_below(&zone("acme")));
                    assert!(!below || allowed || !zone_name.is_within(&zone("acme")));
                    let outside = sight.as_ref().is_none_or(|sight| sight.sees_all_outside(&zone("lab.acme")));
                    assert!(!outside || allowed || zone_name.is_within(&zone("lab.acme")));
                    total += 1;
                }
            }
        }
        assert!(bounded > 100 && total == 400 * 20);
    }
}
