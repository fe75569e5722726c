//! Who is connected and as what, and the addresses that contact is kept with, for ever.
//!
//! What follows from being a fellow replica stands in `fellows`, from being above or below in `relatives`.

mod contacts;
mod fellows;
mod relatives;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::name::ZoneName;
use crate::node::admission::Entry;
use crate::node::{Node, Output};
use crate::params::{ADDRESS_CHARS_MAX, CATCH_UP_MAX, DIAL_BACKOFF_MIN, FELLOW_FAR, LEASE, SEED_PAUSE, VIEW_ALL_AGAIN};
use crate::record::{DelegationBody, NodeId, Origin};
use crate::view::{ContactView, Relation};
use crate::wire::message::Hello;
use crate::wire::{VERSIONS, common_version};

use contacts::{Contact, Contacts, Purpose};

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
    /// The zone with which this node would fit there. Never what somebody else said would.
    pub fits: Option<ZoneName>,
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

/// A connection that stands.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) address: String,
    pub(super) dialed: bool,
    pub(super) rtt: Duration,
    pub(super) is_local: bool,
}

#[derive(Debug)]
struct Link {
    role: Role,
    /// Whether this node dialled.
    dialed: bool,
    /// What the handshake took there and back.
    rtt: Duration,
    /// It is on this machine.
    is_local: bool,
    /// How far it has come with its invite.
    entry: Entry,
    /// It was told who is revoked.
    told_revoked: bool,
    /// It refused us while we had no key to give up: the end of the connection tells whether it meant that.
    refusal: Option<String>,
    /// Its certificates lead to the key known for its zone.
    proven: bool,
    address: String,
    hello: Option<Hello>,
    /// When it was last told who we are.
    greeted: Duration,
    /// One of both has refused the other.
    refused: bool,
    /// A parent that knows no key of our zone.
    undelegated: bool,
    /// A parent that was asked to delegate to our key.
    asked: bool,
    /// The key of its own zone that a child was told.
    told: Option<[u8; 32]>,
}

impl Link {
    const fn new(address: String, dialed: bool, rtt: Duration, is_local: bool) -> Self {
        let greeted = Duration::ZERO;
        Self {
            role: Role::Unknown,
            dialed,
            rtt,
            is_local,
            entry: Entry::Unasked,
            told_revoked: false,
            refusal: None,
            address,
            proven: false,
            hello: None,
            greeted,
            refused: false,
            undelegated: false,
            asked: false,
            told: None,
        }
    }

    fn relation(&self) -> Option<Relation> {
        match &self.role {
            Role::Fellow => Some(Relation::Fellow),
            Role::Parent(zone) if self.proven => Some(Relation::Parent(zone.clone())),
            Role::Child(zone) if self.proven => Some(Relation::Child(zone.clone())),
            _ => None,
        }
    }

    /// Whether it is still to say who it is.
    const fn is_silent(&self) -> bool {
        self.hello.is_none() && !self.refused
    }
}

/// All connections, and all addresses that contact is kept with.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_peer: BTreeMap<NodeId, Link>,
    contacts: Contacts,
    /// Those with the role of a fellow, sorted: most of what a node does is with them.
    fellows: Vec<NodeId>,
    /// Those of them that are far, in no order.
    far_fellows: Vec<NodeId>,
    /// Peers that have not said who they are.
    silent: usize,
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
    /// When it has come that far and what fellows inherit from a former life of it is written, too.
    soon: Option<Duration>,
    /// When it goes on with what it has: whoever held more did not come.
    until: Duration,
}

impl CatchUp {
    fn ends(&self) -> Duration {
        self.soon.map_or(self.until, |soon| soon.min(self.until))
    }
}

impl Links {
    pub(super) fn new(parents: &[String], joins: &[String]) -> Self {
        let mut links = Self { has_parents: !parents.is_empty(), ..Self::default() };
        for address in parents {
            links.contacts.give(address, Purpose::Parent);
        }
        for address in joins {
            links.contacts.give(address, Purpose::Join);
        }
        links
    }

    /// Addresses of an invite: of fellows to be, or of the parent.
    pub(super) fn invited(&mut self, addresses: &[String], is_replica: bool) {
        let purpose = if is_replica { Purpose::Join } else { Purpose::Parent };
        for address in addresses {
            self.contacts.give_anew(address, purpose);
        }
        self.has_parents |= !is_replica && !addresses.is_empty();
    }

    /// Connected fellow replicas, sorted.
    pub(super) fn fellows(&self) -> &[NodeId] {
        &self.fellows
    }

    /// Those of them that are far ([`FELLOW_FAR`]).
    pub(super) fn far_fellows(&self) -> &[NodeId] {
        &self.far_fellows
    }

    pub(super) fn connected(&self) -> Vec<NodeId> {
        self.by_peer.keys().copied().collect()
    }

    /// What is said of a child, until it is durable.
    pub(super) fn delegating(&mut self, zone: ZoneName, body: DelegationBody) {
        self.delegating.insert(zone, body);
    }

    /// Nothing is delegated to that zone any more.
    pub(super) fn forget_delegation(&mut self, zone: &ZoneName) {
        self.delegating.remove(zone);
        self.heard.remove(zone);
    }

    pub(super) fn is_connected(&self, peer: NodeId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// Whether this node dialled the connection, and what the handshake took there and back.
    pub(super) fn handshake(&self, peer: NodeId) -> Option<(bool, Duration)> {
        self.by_peer.get(&peer).map(|link| (link.dialed, link.rtt))
    }

    /// Number of addresses that contact is kept with.
    pub(super) fn contacts(&self) -> usize {
        self.contacts.len()
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

    /// The child zone that a node is of.
    pub(super) fn child_zone(&self, peer: NodeId) -> Option<ZoneName> {
        match &self.by_peer.get(&peer)?.role {
            Role::Child(zone) => Some(zone.clone()),
            _ => None,
        }
    }

    /// Connected nodes of child zones that may be asked.
    pub(super) fn askable_children(&self) -> BTreeMap<&ZoneName, Vec<NodeId>> {
        let mut askable: BTreeMap<&ZoneName, Vec<NodeId>> = BTreeMap::new();
        for (peer, link) in self.by_peer.iter().filter(|(_, link)| link.proven) {
            if let Role::Child(zone) = &link.role {
                askable.entry(zone).or_default().push(*peer);
            }
        }
        askable
    }

    /// Gateways of the parent that may be asked.
    pub(super) fn askable_parents(&self) -> Vec<NodeId> {
        self.parents().into_iter().filter(|peer| self.is_proven(*peer)).collect()
    }

    fn is_proven(&self, peer: NodeId) -> bool {
        self.by_peer.get(&peer).is_some_and(|link| link.proven)
    }

    pub(super) fn is_local(&self, peer: NodeId) -> bool {
        self.by_peer.get(&peer).is_some_and(|link| link.is_local)
    }

    pub(super) fn entry(&self, peer: NodeId) -> Option<&Entry> {
        self.by_peer.get(&peer).map(|link| &link.entry)
    }

    /// False when it is not connected any more.
    pub(super) fn set_entry(&mut self, peer: NodeId, entry: Entry) -> bool {
        self.by_peer.get_mut(&peer).map(|link| link.entry = entry).is_some()
    }

    pub(super) fn hello_of(&self, peer: NodeId) -> Option<Hello> {
        self.by_peer.get(&peer)?.hello.clone()
    }

    /// Peers of a zone that are `node`, or whose greeting shows a certificate of it.
    pub(super) fn certified_by(&self, node: NodeId, zone: &ZoneName) -> Vec<NodeId> {
        let rests_on = |(peer, link): &(&NodeId, &Link)| {
            let hello = link.hello.as_ref().filter(|hello| ZoneName::parse(&hello.zone).is_ok_and(|of| of == *zone));
            hello.is_some_and(|hello| **peer == node || hello.chain.iter().any(|c| c.node == node))
        };
        self.by_peer.iter().filter(rests_on).map(|(peer, _)| *peer).collect()
    }

    /// Peers that are told who is revoked.
    pub(super) fn kin(&self) -> Vec<NodeId> {
        let is_kin = |link: &Link| matches!(link.role, Role::Fellow | Role::Parent(_) | Role::Child(_));
        self.by_peer.iter().filter(|(_, link)| is_kin(link)).map(|(peer, _)| *peer).collect()
    }

    /// Strangers of a zone above whose key is known by now: they may have come before it was.
    fn misjudged(&self, own: &ZoneName) -> Vec<(NodeId, ZoneName)> {
        let above = |(peer, link): (&NodeId, &Link)| {
            let hello = link.hello.as_ref().filter(|_| link.role == Role::Stranger)?;
            Some((*peer, ZoneName::parse(&hello.zone).ok().filter(|zone| own.is_below(zone))?))
        };
        self.by_peer.iter().filter_map(above).collect()
    }

    /// Whether it has to be told; once a connection.
    pub(super) fn tells_revoked(&mut self, peer: NodeId) -> bool {
        let link = self.by_peer.get_mut(&peer);
        let link = link.filter(|link| matches!(link.role, Role::Fellow | Role::Parent(_) | Role::Child(_)));
        link.is_some_and(|link| !std::mem::replace(&mut link.told_revoked, true))
    }

    /// Who is connected and has proven what it is.
    pub(super) fn relations(&self) -> BTreeMap<NodeId, Relation> {
        self.by_peer.iter().filter_map(|(peer, link)| Some((*peer, link.relation()?))).collect()
    }

    /// What a peer has proven to be.
    pub(super) fn relation(&self, peer: NodeId) -> Option<Relation> {
        self.by_peer.get(&peer)?.relation()
    }

    pub(super) fn is_refused(&self, peer: NodeId) -> bool {
        self.by_peer.get(&peer).is_some_and(|link| link.refused)
    }

    pub(super) fn mark_refused(&mut self, peer: NodeId) {
        let Some(link) = self.by_peer.get_mut(&peer) else { return };
        self.silent -= usize::from(link.is_silent());
        link.refused = true;
    }

    fn catch_up(&mut self, now: Duration) {
        self.catching_up = Some(CatchUp { goal: None, soon: None, until: now + CATCH_UP_MAX });
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

    /// Why no parent is connected; empty while one is, or where nobody knows yet.
    pub(super) fn parent_error(&self) -> String {
        let parents = || self.contacts.values().filter(|contact| contact.purpose == Purpose::Parent);
        if parents().any(|contact| contact.peer.is_some() && !contact.refused) {
            return String::new();
        }
        parents().find_map(|contact| contact.error.clone()).unwrap_or_default()
    }

    /// When the next address is to be tried, or somebody greeted again.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let greetings = (self.silent > 0).then(|| {
            let silent = self.by_peer.values().filter(|link| link.is_silent());
            silent.map(|link| link.greeted + GREETED_LATELY).min()
        });
        let catch_up = self.catching_up.as_ref().map(CatchUp::ends);
        [self.contacts.due(), greetings.flatten(), catch_up].into_iter().flatten().min()
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

    /// Whether a peer may yet turn out to be a fellow.
    pub(super) fn is_greeting(&self, peer: NodeId) -> bool {
        self.links.by_peer.get(&peer).is_some_and(|link| matches!(link.role, Role::Unknown | Role::Applicant))
    }

    pub(super) fn has_fellows(&self) -> bool {
        !self.links.fellows.is_empty()
    }

    /// Whether this node may speak for its zone.
    pub(super) const fn is_admitted(&self) -> bool {
        self.trust.zone_key.is_some() && !self.trust.chain.is_empty()
    }

    pub(super) fn dial_due(&mut self) {
        for (address, expected) in self.links.contacts.take_due(self.now.mono) {
            self.outputs.push_back(Output::Dial { address, expected });
        }
    }

    pub(super) fn on_peer_up(&mut self, peer: NodeId, up: Up) {
        let Up { address, dialed, rtt, is_local } = up;
        if dialed {
            self.links.contacts.reached(&address, peer);
        }
        self.links.by_peer.insert(peer, Link::new(address, dialed, rtt, is_local));
        self.links.silent += 1;
        self.present_invite(peer);
        self.greet(peer);
        self.view_dirty = true;
    }

    /// An address of ours turned out to be this peer, which may have been connected before: its role is settled again.
    pub(super) fn on_reached(&mut self, peer: NodeId, address: &str) {
        let Some(hello) = self.links.by_peer.get(&peer).map(|link| link.hello.clone()) else {
            self.links.contacts.missed(address, self.now.mono);
            return;
        };
        let news = self.links.contacts.reached(address, peer);
        if let Some(hello) = hello.filter(|_| news) {
            self.on_hello(peer, hello);
            self.greet(peer);
        }
    }

    pub(super) fn on_dial_failed(&mut self, address: &str, reason: String) {
        if let Some(fellow) = self.links.contacts.failed(address, reason, self.now.mono, &mut self.chance) {
            self.on_unreached(fellow);
        }
        self.found_zone();
        self.view_dirty = true;
    }

    pub(super) fn on_peer_down(&mut self, peer: NodeId, lost: bool) {
        if self.is_fellow(peer) {
            self.part(peer, lost);
        }
        if let Some(reason) = self.links.by_peer.get_mut(&peer).and_then(|link| link.refusal.take()).filter(|_| !lost) {
            self.links.mark_refused(peer);
            self.misfit(peer, &reason, None, |purpose| purpose != Purpose::Gateway);
        }
        let former = self.links.by_peer.get(&peer).and_then(|link| match &link.role {
            Role::Child(zone) => Some(zone.clone()),
            _ => None,
        });
        self.put_role(peer, Role::Unknown);
        let Some(link) = self.links.by_peer.remove(&peer) else { return };
        self.links.silent -= usize::from(link.is_silent());
        if let Some(zone) = former
            && self.links.of_zone(&zone).is_empty()
        {
            self.tell_unreachable(&zone);
        }
        // A seed of a large zone that has no room is asked again later, and so is whoever cannot be talked with.
        let unwanted = !lost && (link.refused || self.membership.count() > VIEW_ALL_AGAIN);
        let pause = if unwanted { SEED_PAUSE } else { self.chance.jitter(DIAL_BACKOFF_MIN) };
        self.links.contacts.lost(peer, self.now.mono, pause);
        self.forget_chain(peer);
        self.questions_on_peer_lost(peer);
    }

    pub(super) fn on_hello(&mut self, peer: NodeId, hello: Hello) {
        let zone = match readable(&hello) {
            Ok(zone) => zone,
            Err(reason) => {
                self.turn_away(peer, &reason);
                return;
            }
        };
        let Some(link) = self.links.by_peer.get_mut(&peer) else { return };
        let was_silent = link.is_silent();
        let again = link.hello.replace(hello.clone()).is_some();
        self.links.silent -= usize::from(was_silent);
        if again && self.links.by_peer.get(&peer).is_some_and(|link| self.now.mono >= link.greeted + GREETED_LATELY) {
            // The peer may have lost the connection where we have not: it starts anew and waits for our greeting.
            self.greet(peer);
        }
        if self.anchors.revoked().contains(&zone, peer) {
            self.expel(peer, &zone);
            return;
        }
        if self.is_shut_out(peer) {
            return;
        }
        self.follow_manifests(&zone, &hello.manifests);
        self.settle_keys();
        self.tell_misfits(peer, &zone);
        if zone == self.config.zone {
            self.on_fellow(peer, hello);
        } else if self.config.zone.is_below(&zone) {
            self.on_ancestor(peer, zone);
        } else if zone.is_below(&self.config.zone) {
            self.on_descendant(peer, zone, hello.address);
        } else {
            self.set_role(peer, Role::Stranger);
            if self.is_guarded(peer) {
                let own = &self.config.zone;
                self.keep_out(peer, &format!("it is of zone {zone}, which lies neither above nor below {own}"));
            }
        }
        self.tell_revoked(peer);
        self.view_dirty = true;
    }

    /// Dials a member where its record says that it lives.
    pub(super) fn dial_member(&mut self, node: NodeId) {
        let body = self.zone.tools_as_taken().node(node);
        let address = body.map(|body| &body.address).filter(|address| **address != self.config.address);
        if !address.is_some_and(|address| self.links.contacts.want(address, node, self.now.mono)) {
            self.on_unreached(node);
        }
    }

    /// Gives up the connection with a fellow that there is no need for.
    pub(super) fn let_go(&mut self, peer: NodeId) {
        self.set_role(peer, Role::Unknown);
        self.outputs.push_back(Output::Close { peer });
    }

    /// Gives up the connection with somebody whose greeting cannot be followed, in words: there is nothing else to say to it.
    fn turn_away(&mut self, peer: NodeId, reason: &str) {
        self.counts.bad_frames += 1;
        self.links.mark_refused(peer);
        self.refuse(peer, reason);
        if self.is_fellow(peer) {
            self.let_go(peer);
        } else {
            self.outputs.push_back(Output::Close { peer });
        }
    }

    /// Tells an operator when the peer was meant to be our parent or fellow, and is of a zone that makes it none.
    fn tell_misfits(&mut self, peer: NodeId, zone: &ZoneName) {
        let own = &self.config.zone;
        if zone != own {
            let reason = format!("it is of zone {zone}, and this node of {own}");
            let is_meant = |purpose| matches!(purpose, Purpose::Join | Purpose::Fellow);
            self.misfit(peer, &reason, Some(zone.clone()), is_meant);
        }
        let own = &self.config.zone;
        let (reason, fits) = if zone == own {
            (format!("it is of zone {own} itself; use --join for a fellow replica"), None)
        } else if zone.is_below(own) {
            (format!("it is of zone {zone}, which lies below {own}; this node would be its parent"), None)
        } else if own.is_below(zone) {
            return;
        } else {
            let fits = format!("{}.{zone}", own.as_str().split('.').next().unwrap_or_default());
            (format!("zone {own} does not lie below {zone}; `{fits}` would"), ZoneName::parse(&fits).ok())
        };
        self.misfit(peer, &reason, fits, |purpose| purpose == Purpose::Parent);
    }

    /// The same, with the reason.
    fn misfit(&mut self, peer: NodeId, reason: &str, fits: Option<ZoneName>, is_meant: impl Fn(Purpose) -> bool) {
        for (address, purpose) in self.links.contacts.refuse(peer, reason, is_meant) {
            let (purpose, reason, fits) = (purpose.name(), reason.to_owned(), fits.clone());
            self.outputs.push_back(Output::Refused(Refusal { address, purpose, reason, fits }));
        }
    }

    fn has_role(&self, peer: NodeId, role: &Role) -> bool {
        self.links.by_peer.get(&peer).is_some_and(|link| link.role == *role)
    }

    /// What a peer is from now on. Whoever is a fellow no more is parted with, as if the connection had ended: what only fellows say is
    /// not heard any more, and membership may want another connection.
    fn set_role(&mut self, peer: NodeId, role: Role) {
        if role != Role::Fellow && self.is_fellow(peer) {
            self.part(peer, false);
        }
        self.put_role(peer, role);
    }

    fn put_role(&mut self, peer: NodeId, role: Role) {
        let Some(link) = self.links.by_peer.get_mut(&peer) else { return };
        let is_fellow = role == Role::Fellow;
        let is_far = is_fellow && link.rtt >= FELLOW_FAR;
        link.role = role;
        self.links.far_fellows.retain(|far| *far != peer);
        self.links.far_fellows.extend(is_far.then_some(peer));
        match self.links.fellows.binary_search(&peer) {
            Ok(at) if !is_fellow => drop(self.links.fellows.remove(at)),
            Err(at) if is_fellow => self.links.fellows.insert(at, peer),
            _ => {}
        }
    }
}

/// The zone of a greeting that can be followed; otherwise why it cannot.
fn readable(hello: &Hello) -> Result<ZoneName, String> {
    if common_version(VERSIONS, hello.versions).is_none() {
        let (least, most) = VERSIONS;
        return Err(format!("this node speaks aop/{least} to aop/{most}; one of both has to be updated"));
    }
    if hello.address.len() > ADDRESS_CHARS_MAX {
        return Err(format!("the address of a node has at most {ADDRESS_CHARS_MAX} bytes"));
    }
    ZoneName::parse(&hello.zone).map_err(|_| "what it calls its zone is no name".to_owned())
}
