//! What one caller may find, made ready to be asked of thousands of tools.
//!
//! Asked before anything is counted, listed or cut, so that what is hidden leaves no trace: neither a name, nor a number, nor a word's
//! rarity.

use super::{Action, Caller, Policy, Principal, Request, Rule};
use crate::name::ZoneName;

/// Somebody who may find some tools and not others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sight {
    /// The rules that are about this caller and finding.
    policy: Policy,
    caller: Caller,
}

impl Sight {
    /// How `caller` sees tools; nothing where every tool there is may be found. What is open to whoever reaches the node is not open to
    /// whoever is `afar`.
    pub fn of(policy: &Policy, caller: &Caller, afar: bool) -> Option<Self> {
        if caller.principal == Principal::Operator {
            return None;
        }
        let who = caller.principal.to_string();
        let concerns =
            |rule: &&Rule| rule.principal.matches(&who) && rule.action.is_none_or(|action| action == Action::Discover);
        let rules: Vec<Rule> = policy.rules.iter().filter(concerns).cloned().collect();
        let is_denied = rules.iter().any(|rule| rule.deny);
        let sight = Self { policy: Policy { is_open: policy.is_open && !afar, rules }, caller: caller.clone() };
        (is_denied || !sight.has_all(&ZoneName::root())).then_some(sight)
    }

    /// Whether the tool of that full name, which `zone` answers for, may be found.
    pub fn sees(&self, zone: &ZoneName, tool: &str) -> bool {
        self.policy.allows(&self.caller, Request { action: Action::Discover, zone, tool: Some(tool) })
    }

    /// Whether every tool of `zone`, by whatever name, may be found: what it says can be handed on as it is.
    pub fn sees_all_of(&self, zone: &ZoneName) -> bool {
        let denies = |rule: &Rule| {
            let in_zone = rule.zone.as_ref().is_none_or(|bound| zone.is_within(bound));
            rule.deny && in_zone && rule.tool.may_match_in(zone)
        };
        !self.policy.rules.iter().any(denies) && self.has_all(zone)
    }

    /// Whether something lets the caller find everything in `zone` that nothing denies.
    fn has_all(&self, zone: &ZoneName) -> bool {
        let request = Request { action: Action::Discover, zone, tool: None };
        let allows = |rule: &Rule| {
            !rule.deny && rule.tool.is_any() && rule.zone.as_ref().is_none_or(|bound| zone.is_within(bound))
        };
        self.policy.allows_all(&self.caller, request) || self.policy.rules.iter().any(allows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Glob, Grant, Role};
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
}
