//! What an operator says of the calls of a tool.

use std::time::Duration;

use super::{Backoff, Balance};
use crate::access::Glob;
use crate::params::{CALL_TIMEOUT, QUEUE, RETRIES, RETRY_BACKOFF, RETRY_BACKOFF_MAX, RETRY_SHARE, WEIGHT, WORKERS};

/// How a tool is called. The default is what holds where nobody said anything: such a tool is taken for one whose calls must not be
/// repeated, whatever its upstream says of it (DESIGN D10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Calls of it change nothing.
    pub read_only: bool,
    /// Two equal calls do what one does.
    pub idempotent: bool,
    /// Time for a call that does not say how much it has; one that had as much and got no answer speaks against the endpoint.
    pub timeout: Duration,
    /// Time without a sign of progress after which a call is given up at its home; nothing for as long as it has.
    pub idle_timeout: Option<Duration>,
    /// Attempts beyond the first, other instances that were provably not sent to not counted.
    pub retries: u32,
    /// How long an attempt may be under way before another instance is tried beside it, and the first answer taken; only of read-only
    /// tools, and nothing for never.
    pub hedge: Option<Duration>,
    /// Pauses before an instance is tried again.
    pub backoff: Backoff,
    /// Percent of the calls that may be repeats.
    pub retry_share: u32,
    /// Which instance is tried.
    pub balance: Balance,
    /// Weights of instances, by the beginning of their node's name.
    pub weights: Vec<(String, u32)>,
    /// Calls that run at once at its home.
    pub workers: u32,
    /// Calls that wait there.
    pub queue: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            read_only: false,
            idempotent: false,
            timeout: CALL_TIMEOUT.0,
            idle_timeout: None,
            retries: RETRIES.0,
            hedge: None,
            backoff: Backoff { first: RETRY_BACKOFF.0, most: RETRY_BACKOFF_MAX.0 },
            retry_share: RETRY_SHARE.0,
            balance: Balance::default(),
            weights: Vec::new(),
            workers: WORKERS.0,
            queue: QUEUE.0,
        }
    }
}

impl Policy {
    /// Whether a call that may have run may run again.
    pub const fn may_repeat(&self) -> bool {
        self.read_only || self.idempotent
    }

    /// The weight of an instance at the node of that name.
    pub fn weight(&self, node: &str) -> u32 {
        self.weights.iter().find(|(start, _)| node.starts_with(start.as_str())).map_or(WEIGHT.0, |(_, weight)| *weight)
    }
}

/// What an operator says of the calls of all tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Where nothing else is said.
    pub usual: Policy,
    /// For tools of such full names, `TOOL.SERVER.ZONE` or in the root zone `TOOL.SERVER`.
    special: Vec<(Glob, Policy)>,
}

impl Policies {
    /// Of patterns that match a name, one without wildcards holds, then the one with the most characters that are none; of equals the first.
    /// Tool, server and zone are matched each for itself: what is said of a server says nothing of a zone of the same name.
    pub fn new(usual: Policy, mut special: Vec<(Glob, Policy)>) -> Self {
        let letters = |glob: &Glob| glob.as_str().bytes().filter(|byte| !matches!(byte, b'*' | b'?')).count();
        special.sort_by_key(|(glob, _)| {
            let letters = letters(glob);
            (letters < glob.as_str().len(), std::cmp::Reverse(letters))
        });
        Self { usual, special }
    }

    /// What holds for the tool of that full name.
    pub fn of(&self, name: &str) -> &Policy {
        self.special.iter().find(|(glob, _)| fits(glob, name)).map_or(&self.usual, |(_, policy)| policy)
    }

    /// Every pattern with what holds for it, in the order in which they are asked.
    pub fn special(&self) -> impl Iterator<Item = (&Glob, &Policy)> {
        self.special.iter().map(|(glob, policy)| (glob, policy))
    }
}

/// Whether tool, server and zone fit, each for itself: a wildcard reaches over no dot but those inside the zone.
fn fits(glob: &Glob, name: &str) -> bool {
    let (mut said, mut named) = (glob.as_str().splitn(3, '.'), name.splitn(3, '.'));
    loop {
        match (said.next(), named.next()) {
            (None, None) => return true,
            (Some(said), Some(named)) if Glob::new(said).matches(named) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_server_says_nothing_of_a_zone_of_that_name() {
        let of = |glob: &str, name| fits(&Glob::new(glob), name);
        assert!(of("*.papers", "search.papers") && !of("*.papers", "pay.till.papers"));
        assert!(of("*.papers.research", "search.Papers.research"));
        assert!(!of("*.papers.research", "pay.till.papers.research"));
        assert!(of("*.*.*.research", "pay.till.papers.research") && !of("*.*.*.research", "search.papers.research"));
        assert!(of("*.*.*", "pay.till.papers.research") && !of("*", "search.papers"));
    }

    #[test]
    fn the_pattern_that_says_most_holds() {
        let retrying = |retries| Policy { retries, ..Policy::default() };
        let policies = Policies::new(
            retrying(9),
            vec![
                (Glob::new("*.arxiv.research"), retrying(1)),
                (Glob::new("Search*.arxiv.research"), retrying(2)),
                (Glob::new("search.arxiv.research"), retrying(3)),
            ],
        );
        let of = |name| policies.of(name).retries;
        assert_eq!(of("search.arxiv.research"), 3);
        assert_eq!((of("search_papers.arxiv.research"), of("echo.ARXIV.research"), of("echo.other")), (2, 1, 9));
    }

    #[test]
    fn nothing_may_be_repeated_unless_an_operator_says_so() {
        assert!(!Policy::default().may_repeat());
        assert!(Policy { read_only: true, ..Policy::default() }.may_repeat());
        let weighing = Policy { weights: vec![("n1a".to_owned(), 7)], ..Policy::default() };
        assert_eq!((weighing.weight("n1abc"), weighing.weight("n2")), (7, WEIGHT.0));
    }
}
