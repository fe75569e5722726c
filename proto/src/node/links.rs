//! Who is connected and as what, and the addresses that contact is kept with, for ever.
//!
//! What follows from being a fellow replica stands in `fellows`, from being above or below in `relatives`.

mod fellows;
mod relatives;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::name::ZoneName;
use crate::node::{Node, Output};
use crate::params::{ADDRESS_CHARS_MAX, CATCH_UP_MAX, CONTACTS_MAX, DIAL_BACKOFF_MAX, DIAL_BACKOFF_MIN, LEASE};
use crate::record::{DelegationBody, NodeId, Origin};
use crate::view::ContactView;
use crate::wire::message::Hello;

/// Greetings are answered when ours is older than this; two nodes never greet each other in circles.
const GREETED_LATELY: Duration = Duration::from_secs(1);

/// What an operator should know about somebody who does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Address of the contact, when it is one of ours.
    pub address: String,
    /// What that contact was for.
    pub purpose: &'static str,
    /// In words, with what would help.
    pub reason: String,
}

/// Why an address is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Parent,
    Join,
    Fellow,
    Gateway,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Parent => "parent",
            Self::Join => "join",
            Self::Fellow => "fellow",
            Self::Gateway => "gateway",
        }
    }
}

#[derive(Debug)]
struct Contact {
    purpose: Purpose,
    expected: Option<NodeId>,
    peer: Option<NodeId>,
    dialing: bool,
    next_try: Duration,
    backoff: Duration,
    error: Option<String>,
    refused: bool,
}

/// What a peer is to this node.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Role {
    /// Connected, has not said who it is.
    Unknown,
    /// A replica of the own zone that is not admitted yet, or that has not admitted us.
    Applicant,
    /// A replica of the own zone.
    Fellow,
    /// A gateway of the parent zone.
    Parent(ZoneName),
    /// A node of a zone below.
    Child(ZoneName),
    /// Anybody else; may ask and call, nothing more.
    Stranger,
}

#[derive(Debug)]
struct Link {
    role: Role,
    /// Its certificates lead to the key known for its zone.
    proven: bool,
    address: String,
    hello: Option<Hello>,
    /// When it was last told who we are.
    greeted: Duration,
    /// A parent that knows no key of our zone.
    undelegated: bool,
    /// A parent that was asked to delegate to our key.
    asked: bool,
    /// The key of its own zone that a child was told.
    told: Option<[u8; 32]>,
}

impl Link {
    const fn new(address: String) -> Self {
        let greeted = Duration::ZERO;
        Self {
            role: Role::Unknown,
            address,
            proven: false,
            hello: None,
            greeted,
            undelegated: false,
            asked: false,
            told: None,
        }
    }
}

/// All connections, and all addresses that contact is kept with.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_peer: BTreeMap<NodeId, Link>,
    contacts: BTreeMap<String, Contact>,
    parent_zone: Option<ZoneName>,
    has_parents: bool,
    /// Admitted by a fellow and not yet through everything that one held: it cannot say what the zone does not have.
    catching_up: Option<CatchUp>,
    /// Everybody this node was told to join is there, and nobody knows a key of the zone.
    founding: bool,
    /// When each delegation was last heard of: leases are measured here, since the clock of whoever signed it may be anywhere.
    heard: BTreeMap<ZoneName, Duration>,
    /// Delegations of ours on their way to the store: the first key taken stands, even before it can be read.
    delegating: BTreeMap<ZoneName, DelegationBody>,
}

/// A new replica on its way to what its fellows hold.
#[derive(Debug)]
struct CatchUp {
    /// How far it has to come; unknown until a fellow says what it holds.
    goal: Option<Vec<(Origin, u64)>>,
    /// When it goes on with what it has: whoever held more did not come.
    until: Duration,
}

impl Links {
    pub(super) fn new(parents: &[String], joins: &[String]) -> Self {
        let mut links = Self { has_parents: !parents.is_empty(), ..Self::default() };
        for address in parents {
            links.keep_contact(address, Purpose::Parent, None);
        }
        for address in joins {
            links.keep_contact(address, Purpose::Join, None);
        }
        links
    }

    fn keep_contact(&mut self, address: &str, purpose: Purpose, expected: Option<NodeId>) {
        if self.contacts.len() >= CONTACTS_MAX && !self.contacts.contains_key(address) {
            return;
        }
        let contact = self.contacts.entry(address.to_owned()).or_insert(Contact {
            purpose,
            expected,
            peer: None,
            dialing: false,
            next_try: Duration::ZERO,
            backoff: DIAL_BACKOFF_MIN,
            error: None,
            refused: false,
        });
        if expected.is_some() && contact.expected != expected && contact.purpose == purpose {
            contact.expected = expected;
            contact.refused = false;
        }
    }

    /// Gives up the addresses at which `node` was a fellow, except the one where it is now.
    fn forget_fellow(&mut self, node: NodeId, now_at: Option<&str>) {
        self.contacts.retain(|address, contact| {
            let former = contact.purpose == Purpose::Fellow && contact.expected == Some(node);
            !former || Some(address.as_str()) == now_at
        });
    }

    pub(super) fn connected(&self) -> Vec<NodeId> {
        self.by_peer.keys().copied().collect()
    }

    /// Parents and children.
    pub(super) fn relatives(&self) -> Vec<NodeId> {
        let relative = |link: &Link| matches!(link.role, Role::Parent(_) | Role::Child(_));
        self.by_peer.iter().filter(|(_, link)| relative(link)).map(|(peer, _)| *peer).collect()
    }

    /// Connected nodes of one child zone.
    pub(super) fn of_zone(&self, zone: &ZoneName) -> Vec<NodeId> {
        let of = |link: &Link| matches!(&link.role, Role::Child(child) if child == zone);
        self.by_peer.iter().filter(|(_, link)| of(link)).map(|(peer, _)| *peer).collect()
    }

    /// Those of them that may be asked.
    pub(super) fn askable_of_zone(&self, zone: &ZoneName) -> Vec<NodeId> {
        self.of_zone(zone).into_iter().filter(|peer| self.is_proven(*peer)).collect()
    }

    /// Gateways of the parent that may be asked.
    pub(super) fn askable_parents(&self) -> Vec<NodeId> {
        self.parents().into_iter().filter(|peer| self.is_proven(*peer)).collect()
    }

    fn is_proven(&self, peer: NodeId) -> bool {
        self.by_peer.get(&peer).is_some_and(|link| link.proven)
    }

    fn catch_up(&mut self, now: Duration) {
        self.catching_up = Some(CatchUp { goal: None, until: now + CATCH_UP_MAX });
    }

    /// Whether the lease of a delegation has not ended.
    pub(super) fn is_leased(&self, zone: &ZoneName, now: Duration) -> bool {
        self.heard.get(zone).is_some_and(|heard| now < *heard + LEASE)
    }

    fn children(&self) -> Vec<NodeId> {
        let is_child = |link: &Link| matches!(link.role, Role::Child(_));
        self.by_peer.iter().filter(|(_, link)| is_child(link)).map(|(peer, _)| *peer).collect()
    }

    pub(super) fn parents(&self) -> Vec<NodeId> {
        let is_parent = |link: &Link| matches!(link.role, Role::Parent(_));
        self.by_peer.iter().filter(|(_, link)| is_parent(link)).map(|(peer, _)| *peer).collect()
    }

    pub(super) const fn has_parents(&self) -> bool {
        self.has_parents
    }

    /// The parent's zone, once one of its gateways was reached.
    pub(super) fn parent_zone(&self) -> Option<ZoneName> {
        self.parent_zone.clone()
    }

    /// How the parent is called while nobody of it was reached.
    pub(super) fn parent_label(&self) -> String {
        let address = self.contacts.iter().find(|(_, contact)| contact.purpose == Purpose::Parent);
        match (&self.parent_zone, address) {
            (Some(zone), _) => zone.to_string(),
            (None, Some((address, _))) => format!("the parent at {address}"),
            (None, None) => "the parent".to_owned(),
        }
    }

    /// When the next address is to be tried.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let dials = self.contacts.values().filter(|c| c.peer.is_none() && !c.dialing).map(|contact| contact.next_try);
        let greetings =
            self.by_peer.values().filter(|link| link.hello.is_none()).map(|link| link.greeted + GREETED_LATELY);
        dials.chain(greetings).chain(self.catching_up.as_ref().map(|catch_up| catch_up.until)).min()
    }

    /// Whether the last try to reach any of these failed.
    pub(super) fn failed_lately(&self, addresses: impl Iterator<Item = String>) -> bool {
        let mut failed = false;
        for address in addresses {
            match self.contacts.get(&address) {
                Some(contact) if contact.error.is_some() => failed = true,
                _ => return false,
            }
        }
        failed
    }

    pub(super) fn contacts_view(&self) -> Vec<ContactView> {
        let view = |(address, contact): (&String, &Contact)| ContactView {
            address: address.clone(),
            purpose: contact.purpose.name(),
            state: match (contact.refused, contact.peer, &contact.error) {
                (true, ..) => "refused",
                (_, Some(_), _) => "connected",
                (_, None, None) => "connecting",
                (_, None, Some(_)) => "unreachable",
            },
            error: contact.error.clone(),
            next_try: contact.next_try,
        };
        self.contacts.iter().map(view).collect()
    }
}

impl Node {
    pub(super) fn is_fellow(&self, peer: NodeId) -> bool {
        self.links.by_peer.get(&peer).is_some_and(|link| link.role == Role::Fellow)
    }

    pub(super) fn fellows(&self) -> Vec<NodeId> {
        let fellow = |link: &Link| link.role == Role::Fellow;
        self.links.by_peer.iter().filter(|(_, link)| fellow(link)).map(|(peer, _)| *peer).collect()
    }

    pub(super) fn has_fellows(&self) -> bool {
        self.links.by_peer.values().any(|link| link.role == Role::Fellow)
    }

    /// Whether this node may speak for its zone.
    pub(super) const fn is_admitted(&self) -> bool {
        self.trust.zone_key.is_some() && !self.trust.chain.is_empty()
    }

    pub(super) fn dial_due(&mut self) {
        let now = self.now.mono;
        let mut dials = Vec::new();
        for (address, contact) in &mut self.links.contacts {
            if contact.peer.is_none() && !contact.dialing && contact.next_try <= now {
                contact.dialing = true;
                // Where somebody is not found any more another may live; whoever answers says who it is.
                let expected = contact.expected.filter(|_| contact.error.is_none());
                dials.push(Output::Dial { address: address.clone(), expected });
            }
        }
        self.outputs.extend(dials);
    }

    pub(super) fn on_peer_up(&mut self, peer: NodeId, address: String, dialed: bool) {
        if let Some(contact) = self.links.contacts.get_mut(&address).filter(|_| dialed) {
            contact.dialing = false;
            contact.peer = Some(peer);
            contact.backoff = DIAL_BACKOFF_MIN;
            contact.error = None;
        }
        self.links.by_peer.insert(peer, Link::new(address));
        self.greet(peer);
        self.view_dirty = true;
    }

    /// An address of ours turned out to be this peer, which may have been connected before: its role is settled again.
    pub(super) fn on_reached(&mut self, peer: NodeId, address: &str) {
        let hello = self.links.by_peer.get(&peer).map(|link| link.hello.clone());
        let Some(contact) = self.links.contacts.get_mut(address) else { return };
        contact.dialing = false;
        let Some(hello) = hello else {
            // The connection is gone already, or its news are still on the way.
            contact.next_try = self.now.mono + DIAL_BACKOFF_MIN;
            return;
        };
        let news = contact.peer != Some(peer);
        contact.peer = Some(peer);
        contact.backoff = DIAL_BACKOFF_MIN;
        contact.error = None;
        if let Some(hello) = hello.filter(|_| news) {
            self.on_hello(peer, hello);
            self.greet(peer);
        }
    }

    pub(super) fn on_dial_failed(&mut self, address: &str, reason: String) {
        let wait = |backoff, chance: &mut crate::selection::Chance| chance.jitter(backoff);
        if let Some(contact) = self.links.contacts.get_mut(address) {
            contact.dialing = false;
            // The first failure may only mean that another node lives there now, so anybody is asked for at once.
            let moved = contact.expected.is_some() && contact.error.is_none();
            let pause = if moved { Duration::ZERO } else { wait(contact.backoff, &mut self.chance) };
            contact.next_try = self.now.mono + pause;
            contact.backoff = (contact.backoff * 2).min(DIAL_BACKOFF_MAX);
            contact.error = Some(reason);
        }
        self.found_zone();
        self.view_dirty = true;
    }

    pub(super) fn on_peer_down(&mut self, peer: NodeId) {
        let link = self.links.by_peer.remove(&peer);
        if let Some(Role::Child(zone)) = link.map(|link| link.role)
            && self.links.of_zone(&zone).is_empty()
        {
            self.tell_unreachable(&zone);
        }
        for contact in self.links.contacts.values_mut().filter(|contact| contact.peer == Some(peer)) {
            contact.peer = None;
            contact.next_try = self.now.mono + self.chance.jitter(DIAL_BACKOFF_MIN);
            contact.error = Some("the connection was lost".to_owned());
        }
        self.membership.on_down(peer, self.now.mono);
        self.note_liveness();
        self.questions_on_peer_lost(peer);
    }

    pub(super) fn on_hello(&mut self, peer: NodeId, hello: Hello) {
        let zone = ZoneName::parse(&hello.zone).ok().filter(|_| hello.address.len() <= ADDRESS_CHARS_MAX);
        let Some(zone) = zone else {
            self.counts.bad_frames += 1;
            return;
        };
        let Some(link) = self.links.by_peer.get_mut(&peer) else { return };
        let again = link.hello.replace(hello.clone()).is_some();
        if again && self.now.mono >= link.greeted + GREETED_LATELY {
            // The peer may have lost the connection where we have not: it starts anew and waits for our greeting.
            self.greet(peer);
        }
        if zone == self.config.zone {
            self.on_fellow(peer, hello);
        } else if self.config.zone.is_below(&zone) {
            self.on_ancestor(peer, zone);
        } else if zone.is_below(&self.config.zone) {
            self.on_descendant(peer, zone, hello.address);
        } else {
            self.set_role(peer, Role::Stranger);
            let fits = format!("{}.{zone}", self.config.zone.as_str().split('.').next().unwrap_or_default());
            self.misfit(peer, &format!("zone {} does not lie below {zone}; `{fits}` would", self.config.zone));
        }
        self.view_dirty = true;
    }

    /// Tells an operator when the peer was meant to be our parent or fellow and is not.
    fn misfit(&mut self, peer: NodeId, reason: &str) {
        let contacts = self.links.contacts.iter_mut();
        let meant = contacts.filter(|(_, contact)| contact.peer == Some(peer) && contact.purpose != Purpose::Gateway);
        for (address, contact) in meant {
            contact.refused = true;
            contact.error = Some(reason.to_owned());
            let purpose = contact.purpose.name();
            self.outputs.push_back(Output::Refused(Refusal {
                address: address.clone(),
                purpose,
                reason: reason.to_owned(),
            }));
        }
    }

    fn has_role(&self, peer: NodeId, role: &Role) -> bool {
        self.links.by_peer.get(&peer).is_some_and(|link| link.role == *role)
    }

    fn set_role(&mut self, peer: NodeId, role: Role) {
        if let Some(link) = self.links.by_peer.get_mut(&peer) {
            link.role = role;
        }
    }
}
