//! Who is connected and as what: fellow replicas, the parent, children. Admission on loopback, delegation, contact retried for ever.
//!
//! The first node of a zone makes its key; the parent's first delegation pins it; later nodes get a certificate from a fellow that
//! has one (DESIGN D9). A node with another zone key is refused, in words.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::codec::Wire;
use crate::name::ZoneName;
use crate::node::{Keep, Node, Output, TrustState};
use crate::params::{DIAL_BACKOFF_MAX, DIAL_BACKOFF_MIN, PARENTS_MAX};
use crate::record::{Certificate, DelegationBody, GATEWAYS_MAX, Gateway, Kind, NodeBody, NodeId, ZoneProof};
use crate::registry::Change;
use crate::trust::{TrustError, verify_chain};
use crate::view::ContactView;
use crate::wire::message::{Admit, Delegate, Hello, Referral, ReferredChild, Refuse, Serials};

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
        Self { role: Role::Unknown, address, hello: None, greeted, undelegated: false, asked: false, told: None }
    }
}

/// All connections, and all addresses that contact is kept with.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_peer: BTreeMap<NodeId, Link>,
    contacts: BTreeMap<String, Contact>,
    parent_zone: Option<ZoneName>,
    has_parents: bool,
    /// Everybody this node was told to join is there, and nobody knows a key of the zone.
    founding: bool,
    /// Delegations of ours on their way to the store: the first key taken stands, even before it can be read.
    delegating: BTreeMap<ZoneName, DelegationBody>,
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
        self.contacts.values().filter(|c| c.peer.is_none() && !c.dialing).map(|contact| contact.next_try).min()
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

    /// At start: believe what was believed; the first node of a zone that nobody else can know makes its key.
    pub(super) fn settle_trust(&mut self) {
        for (zone, key) in self.trust.pinned.clone() {
            if let Ok(zone) = ZoneName::parse(&zone) {
                // Stored pins do not contradict each other: each was pinned by the rule that refuses it.
                let _ = self.anchors.pin(zone, key);
            }
        }
        match self.trust.zone_key {
            Some(key) => {
                let _ = self.anchors.pin(self.config.zone.clone(), key);
                if self.is_admitted() {
                    self.chains.insert(self.id, self.trust.chain.clone());
                }
            }
            None if self.links.contacts.is_empty() => self.make_zone_key(),
            None => {}
        }
        self.learn_children();
    }

    /// Makes the zone's key when nobody who could know another is left to ask. A parent may still prefer another founder's, and
    /// a key of ours gives way as long as nobody relies on it.
    fn found_zone(&mut self) {
        if self.trust.zone_key.is_some() {
            return;
        }
        let keyless = |peer: NodeId| {
            let hello = self.links.by_peer.get(&peer).and_then(|link| link.hello.as_ref());
            hello.filter(|hello| hello.zone == self.config.zone.as_str() && hello.zone_key.is_none())
        };
        let joins = self.links.contacts.values().filter(|contact| contact.purpose == Purpose::Join);
        let joins: Vec<&Contact> = joins.collect();
        let all_keyless = joins.iter().all(|join| join.peer.is_some_and(|peer| keyless(peer).is_some()));
        let may = if self.links.has_parents {
            let denied = self.links.by_peer.values().any(|link| link.undelegated);
            denied && joins.iter().all(|join| join.peer.map_or(join.error.is_some(), |peer| keyless(peer).is_some()))
        } else {
            // Nodes that join each other all round: the least of them founds, once all are there and none knows a key.
            let founding = |peer: NodeId| keyless(peer).is_some_and(|hello| hello.founding);
            let least = self.links.by_peer.keys().filter(|peer| founding(**peer)).all(|peer| self.id < *peer);
            all_keyless && least && joins.iter().all(|join| join.peer.is_some_and(founding))
        };
        let founding = all_keyless && !self.links.has_parents;
        if may {
            self.make_zone_key();
        } else if founding != self.links.founding {
            self.links.founding = founding;
            self.greet_all();
        }
    }

    fn greet_all(&mut self) {
        for peer in self.links.connected() {
            self.greet(peer);
        }
    }

    fn greet(&mut self, peer: NodeId) {
        let hello = self.hello();
        self.send(peer, hello);
        if let Some(link) = self.links.by_peer.get_mut(&peer) {
            link.greeted = self.now.mono;
        }
    }

    fn make_zone_key(&mut self) {
        let key = self.config.zone_key.verifying_key().to_bytes();
        let certificate = Certificate::issue(&self.config.zone_key, &self.config.zone, self.id, self.now.wall_ms);
        self.believe(key, vec![certificate]);
    }

    /// Takes the zone's key and a chain to this node, keeps both, and tells everybody connected.
    fn believe(&mut self, zone_key: [u8; 32], chain: Vec<Certificate>) {
        if self.anchors.pin(self.config.zone.clone(), zone_key).is_err() {
            return;
        }
        self.trust.zone_key = Some(zone_key);
        self.trust.chain = chain;
        self.chains.insert(self.id, self.trust.chain.clone());
        self.keep_trust();
        self.write_node_record();
        self.greet_all();
        self.settle_links();
        self.delegate_again();
        self.view_dirty = true;
    }

    /// Admitted now: those who said hello before are judged again, and children hear whose they are.
    fn settle_links(&mut self) {
        let settle = |(peer, link): (&NodeId, &Link)| (*peer, link.role.clone(), link.hello.clone());
        let links: Vec<_> = self.links.by_peer.iter().map(settle).collect();
        for (peer, role, hello) in links {
            match (role, hello) {
                (Role::Applicant, Some(hello)) => self.on_fellow(peer, hello),
                (Role::Child(zone), _) => self.refer(peer, &zone),
                _ => {}
            }
        }
    }

    fn keep_trust(&mut self) {
        let own = self.config.zone.clone();
        let pinned = self.anchors.pinned().filter(|(zone, _)| **zone != own);
        self.trust.pinned = pinned.map(|(zone, key)| (zone.to_string(), *key)).collect();
        let trust: TrustState = self.trust.clone();
        self.persist(vec![Keep::Trust(trust)]);
    }

    fn commit_zone_key(&mut self) {
        if !self.trust.committed {
            self.trust.committed = true;
            self.keep_trust();
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            zone: self.config.zone.as_str().to_owned(),
            incarnation: self.config.incarnation,
            address: self.config.address.clone(),
            version: self.config.version.clone(),
            zone_key: self.trust.zone_key,
            chain: self.trust.chain.clone(),
            founding: self.links.founding,
        }
    }

    pub(super) fn dial_due(&mut self) {
        let now = self.now.mono;
        let mut dials = Vec::new();
        for (address, contact) in &mut self.links.contacts {
            if contact.peer.is_none() && !contact.dialing && contact.next_try <= now {
                contact.dialing = true;
                // Where a fellow is not found any more another may live; whoever answers says who it is.
                let anybody = contact.purpose == Purpose::Fellow && contact.error.is_some();
                let expected = contact.expected.filter(|_| !anybody);
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
            contact.next_try = self.now.mono + wait(contact.backoff, &mut self.chance);
            contact.backoff = (contact.backoff * 2).min(DIAL_BACKOFF_MAX);
            contact.error = Some(reason);
        }
        self.found_zone();
        self.view_dirty = true;
    }

    pub(super) fn on_peer_down(&mut self, peer: NodeId) {
        self.links.by_peer.remove(&peer);
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
        let Ok(zone) = ZoneName::parse(&hello.zone) else {
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

    fn on_fellow(&mut self, peer: NodeId, hello: Hello) {
        let meant_as_parent =
            self.links.contacts.values().any(|c| c.peer == Some(peer) && c.purpose == Purpose::Parent);
        if meant_as_parent {
            self.misfit(peer, &format!("it is of zone {} itself; use --join for a fellow replica", self.config.zone));
        }
        self.set_role(peer, Role::Applicant);
        match (self.trust.zone_key, hello.zone_key) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                if self.trust.committed {
                    let reason = "this zone is known under another key; start with an empty data directory to join it";
                    self.refuse(peer, reason);
                } else if self.yields_to(peer) {
                    self.forget_zone_key();
                }
            }
            (Some(ours), Some(_)) if verify_chain(&hello.chain, &self.config.zone, &ours, peer).is_ok() => {
                self.chains.insert(peer, hello.chain);
                self.set_role(peer, Role::Fellow);
                self.commit_zone_key();
                self.membership.on_alive(peer, hello.address.clone(), self.now.mono);
                self.links.keep_contact(&hello.address, Purpose::Fellow, Some(peer));
                self.mark_contact(&hello.address, peer);
                self.note_liveness();
            }
            (Some(ours), Some(_) | None) => self.admit(peer, ours),
            (None, _) => self.found_zone(),
        }
    }

    /// Every replica keeps contact with every other: that is how it knows who is alive. Their records say where they are.
    pub(super) fn meet(&mut self, change: &Change) {
        let (Change::Put(signed) | Change::Gone(signed)) = change;
        let node = signed.record.node;
        if signed.record.kind() != Kind::Node || node == self.id {
            return;
        }
        let body = signed.record.body.as_deref().and_then(|body| NodeBody::decode(body).ok());
        let body = body.filter(|_| matches!(change, Change::Put(_)));
        let address = body.as_ref().map(|body| body.address.clone()).filter(|address| *address != self.config.address);
        self.links.forget_fellow(node, address.as_deref());
        if self.config.parents.is_empty() {
            // The zone has a parent, so this replica has: it answers as the others do, and stands in for them.
            for parent in body.iter().flat_map(|body| &body.parents).take(PARENTS_MAX) {
                self.links.keep_contact(parent, Purpose::Parent, None);
                self.links.has_parents = true;
            }
        }
        let Some(address) = address else { return };
        self.links.keep_contact(&address, Purpose::Fellow, Some(node));
        if self.links.by_peer.contains_key(&node) {
            self.mark_contact(&address, node);
        }
    }

    /// Whether a key of ours that nobody relies on gives way: when we came to join that peer.
    fn yields_to(&self, peer: NodeId) -> bool {
        self.links.contacts.values().any(|contact| contact.peer == Some(peer) && contact.purpose == Purpose::Join)
    }

    fn forget_zone_key(&mut self) {
        self.anchors.unpin(&self.config.zone);
        self.trust.zone_key = None;
        self.trust.chain.clear();
        self.chains.remove(&self.id);
        self.greet_all();
    }

    /// A known address of a peer that is connected needs no dialling.
    fn mark_contact(&mut self, address: &str, peer: NodeId) {
        if let Some(contact) = self.links.contacts.get_mut(address) {
            contact.peer = Some(peer);
            contact.error = None;
        }
    }

    fn admit(&mut self, peer: NodeId, zone_key: [u8; 32]) {
        let mut chain = self.trust.chain.clone();
        chain.push(Certificate::issue(&self.config.key, &self.config.zone, peer, self.now.wall_ms));
        self.commit_zone_key();
        self.send(peer, Admit { zone_key, chain });
    }

    fn refuse(&mut self, peer: NodeId, reason: &str) {
        self.send(peer, Refuse { reason: reason.to_owned() });
        self.misfit(peer, reason);
    }

    pub(super) fn on_refuse(&mut self, peer: NodeId, refuse: Refuse) {
        if self.trust.zone_key.is_none() && self.has_role(peer, &Role::Applicant) {
            // The key that was refused was given up in the meantime.
            return;
        }
        self.misfit(peer, &refuse.reason);
    }

    pub(super) fn on_admit(&mut self, peer: NodeId, admit: Admit) {
        let known = self.has_role(peer, &Role::Applicant);
        let verified = verify_chain(&admit.chain, &self.config.zone, &admit.zone_key, self.id).is_ok();
        if !known || !verified || self.is_admitted() {
            self.counts.refused += u64::from(!verified);
            return;
        }
        self.believe(admit.zone_key, admit.chain);
        self.commit_zone_key();
    }

    fn on_ancestor(&mut self, peer: NodeId, zone: ZoneName) {
        let meant = self.links.contacts.values().any(|c| c.peer == Some(peer) && c.purpose == Purpose::Parent);
        let is_parent = meant || self.links.parent_zone.as_ref() == Some(&zone);
        self.set_role(peer, if is_parent { Role::Parent(zone.clone()) } else { Role::Stranger });
        if is_parent {
            self.links.parent_zone = Some(zone);
            self.tell_tags(peer);
        }
    }

    fn on_descendant(&mut self, peer: NodeId, zone: ZoneName, address: String) {
        if let Some(link) = self.links.by_peer.get_mut(&peer) {
            link.role = Role::Child(zone.clone());
            link.address = address;
        }
        self.refer(peer, &zone);
        self.tell_tags(peer);
        self.questions_on_reached(&zone, peer);
    }

    /// Everything that was heard, and how this zone is: what changed while the connection was lost is not told again.
    fn tell_tags(&mut self, peer: NodeId) {
        let own = self.own_serial();
        let zones = self.tags.all().chain([own]).collect();
        self.send(peer, Serials { zones });
    }

    /// Tells a node below what this zone is and what it says of the node's zone.
    fn refer(&mut self, peer: NodeId, zone: &ZoneName) {
        let delegation =
            self.delegation_of(zone).map(|body| ReferredChild { zone_key: body.zone_key, gateways: body.gateways });
        if let Some(link) = self.links.by_peer.get_mut(&peer) {
            link.told = delegation.as_ref().map(|child| child.zone_key);
        }
        let own = self.config.zone.clone();
        let anchors = self.anchors.pinned().filter(|(zone, _)| own.is_below(zone));
        let referral = Referral {
            zone: own.as_str().to_owned(),
            zone_key: self.trust.zone_key,
            proofs: Vec::new(),
            anchors: anchors.map(|(zone, key)| (zone.to_string(), *key)).collect(),
            delegation,
        };
        self.send(peer, referral);
    }

    /// What our zone says of a child.
    fn delegation_of(&self, zone: &ZoneName) -> Option<DelegationBody> {
        self.zone.child(zone).map(|child| child.body.clone())
    }

    /// A delegation can be read now: the zone's key can be proven from it, and its nodes hear whose key was taken.
    pub(super) fn on_delegated(&mut self, change: &Change) {
        let (Change::Put(signed) | Change::Gone(signed)) = change;
        let Ok(zone) = ZoneName::parse(&signed.record.name) else { return };
        if signed.record.kind() != Kind::Delegation {
            return;
        }
        let coming = self.links.delegating.get(&zone).map(Wire::encode);
        if signed.record.node == self.id && coming == signed.record.body {
            self.links.delegating.remove(&zone);
        }
        self.learn_children();
        let key = self.zone.child(&zone).map(|child| child.body.zone_key);
        for peer in self.links.of_zone(&zone) {
            if self.links.by_peer.get(&peer).is_some_and(|link| link.told != key) {
                self.refer(peer, &zone);
            }
        }
    }

    pub(super) fn on_referral(&mut self, peer: NodeId, referral: Referral) {
        let Some(Role::Parent(zone)) = self.links.by_peer.get(&peer).map(|link| link.role.clone()) else { return };
        if let Err(TrustError::OtherKey(zone)) = self.pin_above(&zone, &referral) {
            self.refuse(
                peer,
                &format!("zone {zone} was known under another key; its operator can tell whether that is right"),
            );
            self.set_role(peer, Role::Stranger);
            return;
        }
        let Some(link) = self.links.by_peer.get_mut(&peer) else { return };
        link.undelegated = referral.delegation.is_none();
        let asked = link.asked;
        let candidate = self.config.zone_key.verifying_key().to_bytes();
        match (referral.delegation, self.trust.zone_key) {
            (None, None) => self.found_zone(),
            (None, Some(_)) => self.delegate_to(peer),
            (Some(child), Some(ours)) if child.zone_key == ours => {
                self.commit_zone_key();
                if !asked {
                    self.delegate_to(peer);
                }
            }
            (Some(child), None) if child.zone_key == candidate => self.make_zone_key(),
            (Some(_), Some(_)) if self.trust.committed => {
                let own = &self.config.zone;
                let reason = format!("{zone} delegates {own} to another key; join its replicas or choose another name");
                self.refuse(peer, &reason);
            }
            (Some(child), ours) => {
                if ours.is_some() {
                    self.forget_zone_key();
                }
                for gateway in child.gateways.iter().take(GATEWAYS_MAX).filter(|gateway| gateway.node != self.id) {
                    self.links.keep_contact(&gateway.address, Purpose::Join, Some(gateway.node));
                }
                self.dial_due();
            }
        }
    }

    fn pin_above(&mut self, zone: &ZoneName, referral: &Referral) -> Result<(), TrustError> {
        let before = self.anchors.pinned().count();
        for (name, key) in &referral.anchors {
            if let Ok(name) = ZoneName::parse(name)
                && zone.is_below(&name)
            {
                self.anchors.pin(name, *key)?;
            }
        }
        if let Some(key) = referral.zone_key {
            self.anchors.pin(zone.clone(), key)?;
        }
        if self.anchors.pinned().count() != before {
            self.keep_trust();
        }
        Ok(())
    }

    /// Asks the parent to sign that this zone is reached here.
    fn delegate_to(&mut self, peer: NodeId) {
        let Some(zone_key) = self.trust.zone_key.filter(|_| self.is_admitted()) else { return };
        if let Some(link) = self.links.by_peer.get_mut(&peer) {
            link.asked = true;
        }
        let own = Gateway { node: self.id, address: self.config.address.clone() };
        let fellows = self.membership.all().filter(|(node, _)| self.membership.is_alive(*node));
        let fellows = fellows.map(|(node, member)| Gateway { node, address: member.address.clone() });
        let delegate = Delegate {
            zone: self.config.zone.as_str().to_owned(),
            zone_key,
            chain: self.trust.chain.clone(),
            gateways: std::iter::once(own).chain(fellows).take(GATEWAYS_MAX).collect(),
            tools: self.zone.tools_as_taken().len() as u64,
        };
        self.send(peer, delegate);
    }

    /// Renews the delegation at every parent, and tells children about a parent's key that came late.
    pub(super) fn delegate_again(&mut self) {
        for parent in self.links.parents() {
            self.delegate_to(parent);
        }
    }

    pub(super) fn on_delegate(&mut self, peer: NodeId, delegate: Delegate) {
        let Some(Role::Child(zone)) = self.links.by_peer.get(&peer).map(|link| link.role.clone()) else { return };
        if delegate.zone != zone.as_str() || verify_chain(&delegate.chain, &zone, &delegate.zone_key, peer).is_err() {
            self.counts.refused += 1;
            return;
        }
        if !self.is_admitted() {
            return;
        }
        let coming = self.links.delegating.get(&zone).cloned();
        let is_coming = coming.is_some();
        let known = coming.or_else(|| self.delegation_of(&zone));
        if known.as_ref().is_some_and(|known| known.zone_key != delegate.zone_key) {
            // Another founder was first. What is still on its way to the store is told when it has arrived.
            if !is_coming {
                self.refer(peer, &zone);
            }
            return;
        }
        let mut gateways = delegate.gateways;
        let others = known.iter().flat_map(|known| &known.gateways).cloned();
        for gateway in others {
            if !gateways.iter().any(|known| known.node == gateway.node || known.address == gateway.address) {
                gateways.push(gateway);
            }
        }
        gateways.truncate(GATEWAYS_MAX);
        let since_ms = known.map_or(self.now.wall_ms, |known| known.since_ms);
        let body = DelegationBody { zone_key: delegate.zone_key, gateways, tools: delegate.tools, since_ms };
        self.commit_zone_key();
        self.links.delegating.insert(zone.clone(), body.clone());
        self.write_delegation(zone.as_str(), body.encode());
    }

    /// Proves the keys of our children to ourselves, so that what they answer can be checked.
    fn learn_children(&mut self) {
        let proofs = self.child_proofs();
        self.anchors.learn(&proofs, &mut self.verifier);
    }

    /// Proofs of our children's keys, for those who ask through us.
    pub(super) fn child_proofs(&self) -> Vec<ZoneProof> {
        let proof = |child: &crate::zone::Child| {
            let chain = self.chains.get(&child.signed.record.node)?.clone();
            let zone = child.signed.record.name.clone();
            Some(ZoneProof { zone, delegation: child.signed.envelope.to_vec(), chain })
        };
        let children = self.zone.children().keys().filter_map(|zone| self.zone.child(zone));
        children.filter_map(proof).collect()
    }

    /// Keeps contact with the gateways of a child that has to be reached.
    pub(super) fn reach(&mut self, zone: &ZoneName) {
        let gateways = self.delegation_of(zone).map(|body| body.gateways).unwrap_or_default();
        let connected: BTreeSet<NodeId> = self.links.of_zone(zone).into_iter().collect();
        for gateway in gateways.into_iter().filter(|gateway| !connected.contains(&gateway.node)) {
            self.links.keep_contact(&gateway.address, Purpose::Gateway, Some(gateway.node));
        }
        self.dial_due();
    }
}
