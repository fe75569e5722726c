//! Who may do what: principals as a door has proven them, what they were granted, and the rules an operator wrote.
//!
//! Not authentication: how somebody proves who it is stands with the doors (tokens, TLS) and in `trust` (nodes). What must always
//! hold: what nobody allowed is refused, a rule that denies outranks everything but the operator, and the same question has the same
//! answer at whichever door it is asked.

mod sight;

use std::fmt;
use std::str::FromStr;

pub use sight::Sight;

use crate::name::ZoneName;
use crate::params::NAME_CHARS_MAX;
use crate::record::NodeId;

/// Who asks, as the door has proven it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Principal {
    /// Nobody said who it is. On loopback that is everybody.
    Anonymous,
    /// Whoever holds the admin token in this node's data directory.
    Operator,
    /// Whoever holds a token of that name.
    Token(String),
    /// Somebody an authorization server vouches for.
    Subject {
        /// The server, as its tokens name it.
        issuer: String,
        /// Whom it means; unique at that server only.
        subject: String,
    },
    /// A node of another zone: its organisation, whoever used it there.
    Zone {
        /// What its certificates lead to.
        zone: ZoneName,
        /// The node.
        node: NodeId,
    },
}

impl fmt::Display for Principal {
    /// As rules, logs and the audit name it: `anonymous`, `operator`, `token:ci`, `oauth:alice@https://id.example`, `zone:partner.acme`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Operator => f.write_str("operator"),
            Self::Token(name) => write!(f, "token:{name}"),
            Self::Subject { issuer, subject } => write!(f, "oauth:{subject}@{issuer}"),
            Self::Zone { zone, .. } => write!(f, "zone:{zone}"),
        }
    }
}

/// What may be allowed or denied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Action {
    /// To be a replica or a child: gossip, delegations, questions for others.
    Peer,
    /// To find tools, and to see the state of the node.
    Discover,
    /// To call a tool.
    Call,
    /// To change what the node serves.
    Register,
    /// Everything else that changes the node: keys, invites, revocations; and to read its audit.
    Admin,
}

impl Action {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("peer", Self::Peer),
        ("discover", Self::Discover),
        ("call", Self::Call),
        ("register", Self::Register),
        ("admin", Self::Admin),
    ];

    /// `peer`, `discover`, `call`, `register` or `admin`.
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// Whether it is done to tools, so that it can be allowed for some of them.
    const fn is_of_tools(self) -> bool {
        matches!(self, Self::Discover | Self::Call | Self::Register)
    }
}

/// What somebody is, in one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// A node that belongs: it gossips, is delegated to, and asks.
    Peer,
    /// Finds tools.
    Reader,
    /// Finds and calls them.
    Caller,
    /// Finds and registers them.
    Registrar,
    /// May do everything. A node of this role certifies others and speaks for its zone.
    Admin,
}

impl Role {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("peer", Self::Peer),
        ("reader", Self::Reader),
        ("caller", Self::Caller),
        ("registrar", Self::Registrar),
        ("admin", Self::Admin),
    ];

    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The role of that number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).map(|(_, role)| *role)
    }

    /// `peer`, `reader`, `caller`, `registrar` or `admin`.
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// Whether the role alone allows it.
    pub const fn allows(self, action: Action) -> bool {
        match self {
            Self::Peer => matches!(action, Action::Peer | Action::Discover),
            Self::Reader => matches!(action, Action::Discover),
            Self::Caller => matches!(action, Action::Discover | Action::Call),
            Self::Registrar => matches!(action, Action::Discover | Action::Register),
            Self::Admin => true,
        }
    }
}

/// A word that names none of what may stand there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` is no {what}; there are {}", .known.join(", "))]
pub struct Unknown {
    /// What was read.
    pub text: String,
    /// `role` or `action`.
    pub what: &'static str,
    /// What may stand there.
    pub known: Vec<&'static str>,
}

fn find<T: Copy>(text: &str, what: &'static str, all: &[(&'static str, T)]) -> Result<T, Unknown> {
    let found = all.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    let known = || all.iter().map(|(name, _)| *name).collect();
    found.ok_or_else(|| Unknown { text: text.chars().take(NAME_CHARS_MAX).collect(), what, known: known() })
}

impl FromStr for Role {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        find(text, "role", &Self::ALL)
    }
}

impl FromStr for Action {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        find(text, "action", &Self::ALL)
    }
}

/// A text with `*` for anything and `?` for one character; letters of either case are the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Glob(String);

impl Glob {
    /// Matches everything.
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// The glob of that text.
    pub fn new(text: &str) -> Self {
        Self(text.to_ascii_lowercase())
    }

    /// As it was written, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches whatever there is.
    pub fn is_any(&self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|byte| byte == b'*')
    }

    /// Whether it can match any name that ends in `zone`: what stands after its last wildcard ends as such names do, or is less.
    fn may_match_in(&self, zone: &ZoneName) -> bool {
        let end = self.0.rsplit(['*', '?']).next().unwrap_or_default();
        let names_end = if zone.is_root() { String::new() } else { format!(".{zone}") };
        end.ends_with(&names_end) || names_end.ends_with(end)
    }

    /// Whether it can match no name but those that end in `zone`.
    fn matches_only_in(&self, zone: &ZoneName) -> bool {
        !zone.is_root() && self.0.ends_with(&format!(".{zone}"))
    }

    /// Whether it matches the whole of `text`. Takes at most the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let (glob, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut from) = (0, 0);
        // Where the last `*` stands, and up to where it has matched so far.
        let mut star = None;
        while from < text.len() {
            match glob.get(at) {
                Some(b'*') => {
                    star = Some((at, from));
                    at += 1;
                }
                Some(byte) if *byte == b'?' || *byte == text[from].to_ascii_lowercase() => {
                    at += 1;
                    from += 1;
                }
                _ => {
                    let Some((last, taken)) = star else { return false };
                    star = Some((last, taken + 1));
                    at = last + 1;
                    from = taken + 1;
                }
            }
        }
        glob[at..].iter().all(|byte| *byte == b'*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A role, and what it is good for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// What it allows.
    pub role: Role,
    /// Only in this zone and below it.
    pub zone: Option<ZoneName>,
    /// Only for tools of such full names, and servers of such `server.zone`.
    pub tool: Glob,
}

impl Grant {
    /// A role without bounds.
    pub fn of(role: Role) -> Self {
        Self { role, zone: None, tool: Glob::any() }
    }

    fn is_bounded(&self) -> bool {
        self.zone.is_some() || !self.tool.is_any()
    }
}

/// Somebody, and what it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// With its token, in its token, or for its zone.
    pub grants: Vec<Grant>,
}

impl Caller {
    /// Somebody who was granted nothing.
    pub const fn bare(principal: Principal) -> Self {
        Self { principal, grants: Vec::new() }
    }

    /// Whoever holds the admin token.
    pub const fn operator() -> Self {
        Self::bare(Principal::Operator)
    }

    /// Whoever says nothing.
    pub const fn anonymous() -> Self {
        Self::bare(Principal::Anonymous)
    }

    /// A node of `zone` to a node of `own`: its organisation, with what belonging to it brings. `below` are the zones delegated here, with
    /// the role each was given.
    pub fn of_zone<'a>(
        own: &ZoneName,
        below: impl Iterator<Item = (&'a ZoneName, Option<Role>)>,
        zone: ZoneName,
        node: NodeId,
    ) -> Self {
        let role = if zone == *own {
            // Whom its users are was asked where they came in.
            Role::Caller
        } else {
            // A zone below speaks for all below it, whose keys it names.
            let above = below.filter(|(child, _)| zone.is_within(child));
            above.max_by_key(|(child, _)| child.depth()).and_then(|(_, role)| role).unwrap_or(Role::Peer)
        };
        let grants = [Role::Peer, role].into_iter().map(Grant::of).collect();
        Self { principal: Principal::Zone { zone, node }, grants }
    }
}

/// One line of an operator's policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Whom it is about, as [`Principal`] is shown.
    pub principal: Glob,
    /// What; nothing for everything.
    pub action: Option<Action>,
    /// In this zone and below it; nothing for everywhere.
    pub zone: Option<ZoneName>,
    /// Tools of such full names, and servers of such `server.zone`.
    pub tool: Glob,
    /// It denies, whatever else allows.
    pub deny: bool,
}

/// What this node allows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// Whoever reaches the node may peer, discover and call: it listens on loopback only, or was told to (`--insecure-no-auth`).
    pub is_open: bool,
    /// What the operator wrote.
    pub rules: Vec<Rule>,
}

/// What is asked for: an action, the zone it is done in, and the one tool or server it is done to.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is to be done.
    pub action: Action,
    /// In which zone.
    pub zone: &'a ZoneName,
    /// The tool's full name, or `server.zone`; nothing where it is done to no single one.
    pub tool: Option<&'a str>,
}

impl Policy {
    /// What a node allows that nobody told otherwise: everything on loopback but what changes it.
    pub const fn open() -> Self {
        Self { is_open: true, rules: Vec::new() }
    }

    /// Whether `caller` may do that. Denied outranks allowed; what nothing allows is denied; what rules deny to be found they deny to be
    /// called.
    pub fn allows(&self, caller: &Caller, request: Request<'_>) -> bool {
        self.decides(self.is_open, caller, request)
    }

    /// The same for somebody to whom nothing is open that no rule and no grant opens.
    pub fn allows_stranger(&self, caller: &Caller, request: Request<'_>) -> bool {
        self.decides(false, caller, request)
    }

    fn decides(&self, is_open: bool, caller: &Caller, request: Request<'_>) -> bool {
        if caller.principal == Principal::Operator {
            return true;
        }
        let who = caller.principal.to_string();
        if self.denies(&who, request) {
            return false;
        }
        let is_public = matches!(request.action, Action::Peer | Action::Discover | Action::Call);
        (is_open && is_public)
            || caller.grants.iter().any(|grant| grant.allows(request))
            || self.rules.iter().any(|rule| !rule.deny && rule.covers(&who, request))
    }

    /// Whether a rule denies that to `caller`, whatever else allows it.
    pub fn is_denied(&self, caller: &Caller, request: Request<'_>) -> bool {
        caller.principal != Principal::Operator && self.denies(&caller.principal.to_string(), request)
    }

    fn denies(&self, who: &str, request: Request<'_>) -> bool {
        let finding = (request.action == Action::Call).then_some(Request { action: Action::Discover, ..request });
        let covers = |rule: &Rule, request| rule.deny && rule.covers(who, request);
        self.rules.iter().any(|rule| covers(rule, request) || finding.is_some_and(|finding| covers(rule, finding)))
    }

    /// Whether `caller` may do it to some tools of the zone and perhaps not to others, so that each has to be asked for.
    pub fn is_partial(&self, caller: &Caller, action: Action, zone: &ZoneName) -> bool {
        if caller.principal == Principal::Operator {
            return false;
        }
        let who = caller.principal.to_string();
        let request = Request { action, zone, tool: None };
        let touches = |rule: &&Rule| rule.principal.matches(&who) && rule.action.is_none_or(|of| of == action);
        let of_tools = self.rules.iter().filter(touches).any(|rule| !rule.tool.is_any() || rule.zone.is_some());
        of_tools || (!self.allows_all(caller, request) && caller.grants.iter().any(Grant::is_bounded))
    }

    /// Whether it is allowed without looking at any tool, as long as no rule denies it.
    fn allows_all(&self, caller: &Caller, request: Request<'_>) -> bool {
        let is_public = matches!(request.action, Action::Peer | Action::Discover | Action::Call);
        (self.is_open && is_public)
            || caller.grants.iter().any(|grant| grant.role.allows(request.action) && !grant.is_bounded())
    }
}

impl Grant {
    fn allows(&self, request: Request<'_>) -> bool {
        self.role.allows(request.action) && covers(self.zone.as_ref(), &self.tool, false, request)
    }
}

impl Rule {
    fn covers(&self, who: &str, request: Request<'_>) -> bool {
        // The cheapest first: every request asks every rule.
        self.action.is_none_or(|action| action == request.action)
            && self.principal.matches(who)
            && covers(self.zone.as_ref(), &self.tool, self.deny, request)
    }
}

/// Whether bounds reach what is asked for. Where no single tool is named, those that allow some tools let in, and each tool is asked for
/// then; those that deny some deny only these. What is not done to tools is done to the whole node: who may do something to some
/// tools may not do that.
fn covers(zone: Option<&ZoneName>, tool: &Glob, deny: bool, request: Request<'_>) -> bool {
    let some_will_do = !deny && request.tool.is_none() && request.action.is_of_tools();
    let is_in = zone.is_none_or(|zone| request.zone.is_within(zone) || (some_will_do && zone.is_within(request.zone)));
    is_in && request.tool.map_or(some_will_do || tool.is_any(), |name| tool.matches(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> ZoneName {
        ZoneName::parse(name).unwrap()
    }

    fn token(grants: Vec<Grant>) -> Caller {
        Caller { principal: Principal::Token("ci".to_owned()), grants }
    }

    fn rule(principal: &str, action: Option<Action>, tool: &str, deny: bool) -> Rule {
        Rule { principal: Glob::new(principal), action, zone: None, tool: Glob::new(tool), deny }
    }

    fn may(policy: &Policy, caller: &Caller, action: Action, tool: Option<&str>) -> bool {
        policy.allows(caller, Request { action, zone: &zone("research.acme"), tool })
    }

    #[test]
    fn what_nobody_allowed_is_refused() {
        let closed = Policy::default();
        for (_, action) in Action::ALL {
            assert!(!may(&closed, &Caller::anonymous(), action, None));
            assert!(!may(&closed, &token(vec![]), action, Some("echo.s.research.acme")));
            assert!(may(&closed, &Caller::operator(), action, None));
            let changes = matches!(action, Action::Register | Action::Admin);
            assert_eq!(may(&Policy::open(), &Caller::anonymous(), action, None), !changes);
        }
    }

    #[test]
    fn each_role_allows_what_it_says_and_no_more() {
        let allowed = [
            (Role::Peer, "peer discover"),
            (Role::Reader, "discover"),
            (Role::Caller, "discover call"),
            (Role::Registrar, "discover register"),
            (Role::Admin, "peer discover call register admin"),
        ];
        for (role, actions) in allowed {
            let caller = token(vec![Grant::of(role)]);
            for (name, action) in Action::ALL {
                assert_eq!(may(&Policy::default(), &caller, action, None), actions.split(' ').any(|one| one == name));
            }
        }
    }

    #[test]
    fn a_grant_reaches_as_far_as_its_zone_and_its_tools() {
        let bounded = Grant { role: Role::Caller, zone: Some(zone("acme")), tool: Glob::new("search_*.research.acme") };
        let (closed, caller) = (Policy::default(), token(vec![bounded]));
        assert!(may(&closed, &caller, Action::Call, Some("Search_Papers.arxiv.research.acme")));
        assert!(!may(&closed, &caller, Action::Call, Some("delete.arxiv.research.acme")));
        assert!(may(&closed, &caller, Action::Discover, None), "it may look, and sees what it may");
        let elsewhere = Request { action: Action::Call, zone: &zone("other"), tool: Some("search_x.research.acme") };
        assert!(!closed.allows(&caller, elsewhere));
        assert!(closed.is_partial(&caller, Action::Discover, &zone("research.acme")));
        assert!(!closed.is_partial(&token(vec![Grant::of(Role::Reader)]), Action::Discover, &zone("research.acme")));
    }

    #[test]
    fn a_rule_that_denies_outranks_what_allows_and_never_locks_the_operator_out() {
        let rules = vec![
            rule("zone:*.partner", Some(Action::Call), "*", false),
            rule("*", Some(Action::Call), "delete_*", true),
            rule("token:evil", None, "*", true),
        ];
        let policy = Policy { is_open: false, rules };
        let partner = Caller::bare(Principal::Zone { zone: zone("lab.partner"), node: NodeId([1; 32]) });
        assert!(may(&policy, &partner, Action::Call, Some("read.s.research.acme")));
        assert!(!may(&policy, &partner, Action::Call, Some("delete_all.s.research.acme")));
        assert!(!may(&policy, &partner, Action::Discover, None));
        let evil = Caller { principal: Principal::Token("evil".to_owned()), grants: vec![Grant::of(Role::Admin)] };
        assert!(!may(&policy, &evil, Action::Discover, None));
        assert!(may(&policy, &Caller::operator(), Action::Call, Some("delete_all.s.research.acme")));
        assert!(policy.is_partial(&partner, Action::Call, &zone("research.acme")));
    }

    #[test]
    fn whoever_may_do_something_to_some_tools_may_not_administer_the_node() {
        let bounded = |zone_name: Option<&str>, tool: &str| {
            token(vec![Grant { role: Role::Admin, zone: zone_name.map(zone), tool: Glob::new(tool) }])
        };
        for caller in [bounded(None, "*.acme"), bounded(Some("lab.research.acme"), "*")] {
            assert!(may(&Policy::default(), &caller, Action::Register, None));
            assert!(!may(&Policy::default(), &caller, Action::Admin, None));
        }
        assert!(may(&Policy::default(), &bounded(Some("acme"), "*"), Action::Admin, None), "the node is in that zone");
        let policy = Policy { is_open: false, rules: vec![rule("token:ci", None, "search_*", false)] };
        assert!(may(&policy, &token(vec![]), Action::Call, None));
        assert!(!may(&policy, &token(vec![]), Action::Admin, None));
    }

    #[test]
    fn globs_match_as_in_a_shell_and_in_bounded_time() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("?b?", "ABC", true),
            ("?b?", "ab", false),
            ("*.acme", "x.acme", true),
            ("*.acme", "acme", false),
            ("a**b*", "ab", true),
        ] {
            assert_eq!(Glob::new(glob).matches(text), expected, "{glob} {text}");
        }
        let (glob, text) = (Glob::new(&"*a".repeat(120)), "a".repeat(250) + "b");
        assert!(!glob.matches(&text));
    }

    #[test]
    fn words_are_read_and_others_refused_with_what_there_is() {
        for (name, role) in Role::ALL {
            assert_eq!((name.parse(), role.name()), (Ok(role), name));
            assert_eq!(Role::from_number(role.number()), Some(role));
        }
        assert_eq!(Role::from_number(5), None);
        for (name, action) in Action::ALL {
            assert_eq!((name.parse(), action.name()), (Ok(action), name));
        }
        let error = "root".parse::<Role>().unwrap_err().to_string();
        assert_eq!(error, "`root` is no role; there are peer, reader, caller, registrar, admin");
    }

    #[test]
    fn a_principal_is_shown_as_rules_name_it() {
        let subject = Principal::Subject { issuer: "https://id.example".into(), subject: "alice".into() };
        assert_eq!(subject.to_string(), "oauth:alice@https://id.example");
        assert_eq!(
            Principal::Zone { zone: zone("Lab.Partner"), node: NodeId([1; 32]) }.to_string(),
            "zone:lab.partner"
        );
    }
}
