//! OAuth scopes and what they stand for here. A token may hold several; each is a role.

use aop_proto::access::{Action, Grant, Role};

/// Every scope, with the role it gives.
pub(super) const SCOPES: [(&str, Role); 4] = [
    ("aop:read", Role::Reader),
    ("aop:call", Role::Caller),
    ("aop:register", Role::Registrar),
    ("aop:admin", Role::Admin),
];

/// The scope whoever wants to do that should ask for.
pub const fn scope_of(action: Action) -> &'static str {
    match action {
        Action::Discover => "aop:read",
        Action::Call => "aop:call",
        Action::Register => "aop:register",
        Action::Peer | Action::Admin => "aop:admin",
    }
}

/// The grants of a `scope` claim: words between blanks. Scopes of others mean nothing here.
pub(super) fn grants(scope: &str) -> Vec<Grant> {
    let role = |word: &str| SCOPES.iter().find(|(name, _)| *name == word).map(|(_, role)| Grant::of(*role));
    scope.split(' ').filter_map(role).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_is_a_role_and_others_are_nothing() {
        let roles = |scope: &str| grants(scope).iter().map(|grant| grant.role).collect::<Vec<_>>();
        assert_eq!(roles("openid aop:read aop:call"), [Role::Reader, Role::Caller]);
        assert!(roles("AOP:READ aop:readx aop: aop").is_empty() && roles("").is_empty());
        for (_, action) in Action::ALL {
            assert!(grants(scope_of(action)).iter().any(|grant| grant.role.allows(action)), "{}", action.name());
        }
    }
}
