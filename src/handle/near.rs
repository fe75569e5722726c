//! Names that are offered where a tool was not found: names of tools, and of nothing else.

use std::collections::BTreeSet;

use aop_proto::access::{Caller, Sight};
use aop_proto::error::did_you_mean_spelled;
use aop_proto::name::wire_name;

use super::{Ask, Handle, Mode};
use crate::answers::Resolution;

/// Near names offered when there is no tool of a name.
const NEAR_MAX: usize = 3;
/// Tools of the own zone that are looked at for them, those of the same server first: of more, words find what is near.
const LOOKED_MAX: usize = 5_000;

impl Handle {
    /// Tools of the own zone that `by` may find and that are spelled nearly so: full name, label or wire name.
    pub fn near_here(&self, by: &Caller, name: &str) -> Vec<String> {
        self.near_of(name, self.sight(by).as_deref())
    }

    fn near_of(&self, name: &str, sight: Option<&Sight>) -> Vec<String> {
        let view = self.view();
        let tools = view.tools.all();
        let seen = tools.iter().filter(|tool| sight.is_none_or(|sight| sight.sees(&view.zone, tool.name())));
        let own = seen.filter(|tool| !view.children.iter().any(|child| child.zone.holds(tool.name())));
        let server = name.split('.').nth(1).unwrap_or_default();
        let is_of_it = |full: &str| full.split('.').nth(1).is_some_and(|of| of.eq_ignore_ascii_case(server));
        let of_it = own.clone().filter(|tool| is_of_it(tool.name()));
        let spelled: Vec<(String, &str)> = of_it
            .chain(own)
            .take(LOOKED_MAX)
            .flat_map(|tool| {
                let full = tool.name();
                let mut labels = full.split('.');
                let (label, server) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
                [full.to_owned(), label.to_owned(), wire_name(server, label)].map(|spelling| (spelling, full))
            })
            .collect();
        did_you_mean_spelled(name, spelled.iter().map(|(spelling, full)| (spelling.as_str(), *full)))
    }

    /// What to offer instead of `name`, best first: what its zone says, the same in a zone that is spelled nearly so, what is here, and
    /// what was found by its words.
    pub(super) async fn near(&self, name: &str, bounds: &Ask, found: &Resolution) -> Vec<String> {
        let labels = name.split('.').count();
        // Zones that are called nearly so are told among them.
        let (mut near, zones): (Vec<String>, Vec<String>) =
            found.near.iter().cloned().partition(|near| near.split('.').count() == labels);
        let service = name.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
        for zone in zones.iter().take(NEAR_MAX).filter(|_| labels > 2) {
            let query = format!("{service}.{zone}");
            if query.eq_ignore_ascii_case(name) {
                continue;
            }
            let there = self.resolve_any(Ask { query, mode: Mode::Exact, ..bounds.clone() }).await;
            let there = there.iter().flat_map(|found| found.hits.iter().filter(|hit| hit.exact));
            near.extend(there.map(|hit| hit.name.clone()));
        }
        near.extend(self.near_of(name, bounds.sight.as_deref()));
        near.extend(found.hits.iter().map(|hit| hit.name.clone()));
        near.extend(found.nearest.iter().map(|near| near.name.to_string()));
        let mut offered = BTreeSet::new();
        near.retain(|name| offered.insert(name.clone()));
        near.truncate(NEAR_MAX);
        near
    }
}
