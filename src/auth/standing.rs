//! Who calls, and what the rules say of him that is asked of every request: made once a caller and configuration, then shared.

use std::sync::Arc;

use aop_proto::access::{Action, Caller, Policy, Request, Sight};
use aop_proto::name::ZoneName;

/// One caller under one configuration.
#[derive(Debug)]
pub struct Standing {
    caller: Caller,
    sight: Option<Arc<Sight>>,
    sight_key: String,
    finds: bool,
    configuration: u64,
}

impl Standing {
    /// `caller` under these rules, which are of the configuration of that number.
    pub fn of(caller: Caller, policy: &Policy, configuration: u64) -> Self {
        let sight = Sight::of(policy, &caller, false);
        // Below the root lies every zone a grant may be for.
        let anything = Request { action: Action::Discover, zone: &ZoneName::root(), tool: None };
        Self {
            finds: policy.allows(&caller, anything),
            sight_key: match (&sight, Sight::of_calls(policy, &caller)) {
                (None, None) => String::new(),
                both => format!("{both:?}"),
            },
            sight: sight.map(Arc::new),
            caller,
            configuration,
        }
    }

    /// Who.
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What he may find; nothing where that is everything.
    pub const fn sight(&self) -> Option<&Arc<Sight>> {
        self.sight.as_ref()
    }

    /// The same as a part of a cache's key: equal for those who may find and call the same, empty for those who may find and
    /// call everything.
    pub fn sight_key(&self) -> &str {
        &self.sight_key
    }

    /// Which configuration said all that.
    pub(super) const fn configuration(&self) -> u64 {
        self.configuration
    }

    /// Whether he may find some tool somewhere.
    pub const fn finds(&self) -> bool {
        self.finds
    }
}
