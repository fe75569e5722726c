//! Where a question would go on: told to who asks this node alone (`--no-recurse`), so that he can go there himself.

use aop_proto::name::{FullName, ZoneName};
use aop_proto::view::{ChildView, View};

use super::Ask;
use crate::answers::Referral;

/// The child a name lies in, else the parent where it lies outside this zone; for words, every neighbour that may know some.
pub(super) fn referrals(view: &View, ask: &Ask) -> Vec<Referral> {
    match FullName::parse(&ask.query) {
        Ok(name) if ask.query.contains('.') => {
            let owner =
                view.children.iter().filter(|child| name.is_in(&child.zone)).max_by_key(|child| child.zone.depth());
            match owner {
                Some(child) => vec![to_child(view, child, ask)],
                None if name.is_in(&view.zone) => Vec::new(),
                None => to_parent(view).into_iter().collect(),
            }
        }
        _ => {
            let wanted = ask.zone.as_deref().and_then(|zone| ZoneName::parse(zone).ok());
            let related = |child: &&ChildView| {
                wanted.as_ref().is_none_or(|wanted| wanted.is_within(&child.zone) || child.zone.is_within(wanted))
            };
            let above = wanted.as_ref().is_none_or(|wanted| !wanted.is_within(&view.zone));
            let children = view.children.iter().filter(related).map(|child| to_child(view, child, ask));
            children.chain(to_parent(view).filter(|_| above)).collect()
        }
    }
}

fn to_child(view: &View, child: &ChildView, ask: &Ask) -> Referral {
    Referral {
        zone: Some(child.zone.to_string()),
        relation: "child",
        gateways: child.gateways.clone(),
        key: key_of(view, &child.zone),
        // How many there are tells who may find some of them what is hidden.
        tools: ask.sight.is_none().then_some(child.tools),
        reached: child.connected > 0,
    }
}

fn to_parent(view: &View) -> Option<Referral> {
    let gateways: Vec<String> =
        view.contacts.iter().filter(|it| it.purpose == "parent").map(|it| it.address.clone()).collect();
    let reached = view.routes.parent.as_ref().is_some_and(|parent| !parent.peers.is_empty());
    (!gateways.is_empty()).then(|| Referral {
        zone: view.parent.as_ref().map(ToString::to_string),
        relation: "parent",
        gateways,
        key: view.parent.as_ref().and_then(|parent| key_of(view, parent)),
        tools: None,
        reached,
    })
}

fn key_of(view: &View, zone: &ZoneName) -> Option<[u8; 32]> {
    view.keys.anchors.iter().find(|anchor| anchor.zone == *zone).map(|anchor| anchor.key)
}
