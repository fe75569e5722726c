//! The addresses that contact is kept with: tried again for ever, with a pause that doubles, until somebody answers.
//!
//! When the next one is due is known without looking at them all: a node that waits looks at nothing.
//!
//! What must always hold: addresses that others name displace neither those an operator gave nor the fellows that membership wants.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::plain;
use crate::params::{
    CONTACTS_MAX, DIAL_BACKOFF_MAX, DIAL_BACKOFF_MIN, ERROR_CHARS_MAX, PARENTS_LEARNT_MAX, PARENTS_MAX,
};
use crate::record::NodeId;
use crate::selection::Chance;

/// Why an address is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Parent,
    Join,
    Fellow,
    Gateway,
}

impl Purpose {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Parent => "parent",
            Self::Join => "join",
            Self::Fellow => "fellow",
            Self::Gateway => "gateway",
        }
    }
}

#[derive(Debug)]
pub(super) struct Contact {
    pub(super) purpose: Purpose,
    pub(super) expected: Option<NodeId>,
    pub(super) peer: Option<NodeId>,
    pub(super) error: Option<String>,
    pub(super) refused: bool,
    pub(super) next_try: Duration,
    /// The fellow that is looked for there, where the address is kept for something else.
    wanted: Option<NodeId>,
    /// An operator gave it: it is never given up.
    given: bool,
    /// Something changed that may make the next try end better: it is not put off.
    hopeful: bool,
    /// Whose node records name it, of a parent that no operator gave.
    named_by: BTreeSet<NodeId>,
    dialing: bool,
    backoff: Duration,
}

impl Contact {
    const fn new(purpose: Purpose, expected: Option<NodeId>) -> Self {
        Self {
            purpose,
            expected,
            peer: None,
            error: None,
            refused: false,
            next_try: Duration::ZERO,
            wanted: None,
            given: false,
            hopeful: false,
            named_by: BTreeSet::new(),
            dialing: false,
            backoff: DIAL_BACKOFF_MIN,
        }
    }

    fn is_learnt_parent(&self) -> bool {
        self.purpose == Purpose::Parent && !self.given
    }

    /// Whether it was tried, and nobody is there.
    const fn is_unreached(&self) -> bool {
        self.peer.is_none() && self.error.is_some()
    }
}

/// All contacts, by address.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    by_address: BTreeMap<String, Contact>,
    /// When the first of those that nobody is reached at is to be tried.
    due: Option<Duration>,
}

impl Contacts {
    pub(super) fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    pub(super) fn get(&self, address: &str) -> Option<&Contact> {
        self.by_address.get(address)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Contact)> {
        self.by_address.iter()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Contact> {
        self.by_address.values()
    }

    pub(super) const fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Whether there is an address of a parent, an operator's or a fellow's.
    pub(super) fn has_parents(&self) -> bool {
        self.by_address.values().any(|contact| contact.purpose == Purpose::Parent)
    }

    /// Keeps an address for good, as an operator gave it.
    pub(super) fn give(&mut self, address: &str, purpose: Purpose) {
        self.keep(address, purpose, None);
        if let Some(contact) = self.by_address.get_mut(address) {
            contact.given = true;
        }
    }

    /// The same, to be dialled at once, or as soon as a connection ends that leads nowhere: there is an invite now.
    pub(super) fn give_anew(&mut self, address: &str, purpose: Purpose) {
        self.give(address, purpose);
        if let Some(contact) = self.by_address.get_mut(address) {
            contact.next_try = Duration::ZERO;
            contact.backoff = DIAL_BACKOFF_MIN;
            contact.refused = false;
            contact.hopeful = contact.peer.is_some();
        }
        self.settle();
    }

    /// Keeps an address from now on, if there is room; none of those that cannot be dialled. One that is kept already stays what it is, but
    /// may learn who is to be expected there.
    pub(super) fn keep(&mut self, address: &str, purpose: Purpose, expected: Option<NodeId>) {
        if let Some(contact) = self.by_address.get_mut(address) {
            let news = expected.is_some() && contact.expected != expected && contact.purpose == purpose;
            if news {
                contact.expected = expected;
                contact.refused = false;
            }
        } else if !address.is_empty() && self.make_room(purpose) {
            self.by_address.insert(address.to_owned(), Contact::new(purpose, expected));
        }
        self.settle();
    }

    /// Keeps the address of a fellow, to be dialled at once, and takes it from whatever it was named for. False when there is no room.
    pub(super) fn want(&mut self, address: &str, fellow: NodeId, now: Duration) -> bool {
        let is_named = |contact: &&Contact| contact.is_learnt_parent() || contact.purpose == Purpose::Gateway;
        if self.by_address.get(address).filter(is_named).is_some() {
            self.by_address.remove(address);
        }
        self.keep(address, Purpose::Fellow, Some(fellow));
        let contact = self.by_address.get_mut(address);
        let is_kept = contact.map(|contact| (contact.next_try, contact.wanted) = (now, Some(fellow))).is_some();
        self.settle();
        is_kept
    }

    /// The parents that a fellow's record names now: those it no longer names are given up, unless another fellow's does. So is a last
    /// one that only a record now gone had named, when this one names any.
    pub(super) fn follow_parents(&mut self, fellow: NodeId, parents: &[String]) {
        let parents = &parents[..parents.len().min(PARENTS_MAX)];
        self.by_address.retain(|address, contact| {
            let named = parents.contains(address);
            let left = !named && contact.named_by.remove(&fellow);
            let outlived = !named && !parents.is_empty() && contact.is_learnt_parent();
            !(left || outlived) || !contact.named_by.is_empty()
        });
        for parent in parents {
            self.keep(parent, Purpose::Parent, None);
            if let Some(contact) = self.by_address.get_mut(parent).filter(|contact| contact.is_learnt_parent()) {
                contact.named_by.insert(fellow);
            }
        }
        self.settle();
    }

    /// A fellow's record is gone, and with it the parents that only it named, but never the last: that a replica left, or was caught
    /// lying, takes the zone from no parent.
    pub(super) fn forget_parents_of(&mut self, fellow: NodeId) {
        for contact in self.by_address.values_mut() {
            contact.named_by.remove(&fellow);
        }
        let stands =
            |contact: &Contact| contact.purpose == Purpose::Parent && (contact.given || !contact.named_by.is_empty());
        if self.by_address.values().any(stands) {
            self.by_address.retain(|_, contact| contact.purpose != Purpose::Parent || stands(contact));
        }
        self.settle();
    }

    /// Whether one more may be kept. What others named gives way to it where nobody is found, and to a fellow in any case.
    fn make_room(&mut self, purpose: Purpose) -> bool {
        let learnt = self.by_address.values().filter(|contact| contact.is_learnt_parent()).count();
        if purpose == Purpose::Parent && learnt >= PARENTS_LEARNT_MAX {
            return self.give_up(|contact| contact.is_learnt_parent() && contact.is_unreached());
        }
        let is_named = |contact: &Contact| !contact.given && contact.purpose != Purpose::Fellow;
        self.by_address.len() < CONTACTS_MAX
            || self.give_up(|contact| is_named(contact) && (purpose == Purpose::Fellow || contact.is_unreached()))
    }

    /// Gives up one of these, the one that was looked for in vain for longest.
    fn give_up(&mut self, may_go: impl Fn(&Contact) -> bool) -> bool {
        let those = self.by_address.iter().filter(|(_, contact)| may_go(contact));
        let least = those.max_by_key(|(_, contact)| (contact.peer.is_none(), contact.backoff));
        let least = least.map(|(address, _)| address.clone());
        least.is_some_and(|address| self.by_address.remove(&address).is_some())
    }

    /// Gives up the addresses at which `node` was a fellow, except the one where it is now.
    pub(super) fn forget_fellow(&mut self, node: NodeId, now_at: Option<&str>) {
        self.by_address.retain(|address, contact| {
            let former = contact.purpose == Purpose::Fellow && contact.expected == Some(node);
            !former || Some(address.as_str()) == now_at
        });
        self.settle();
    }

    /// Those to dial now, and who must answer there.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<(String, Option<NodeId>)> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let mut dials = Vec::new();
        for (address, contact) in &mut self.by_address {
            if contact.peer.is_none() && !contact.dialing && contact.next_try <= now {
                contact.dialing = true;
                // Where somebody is not found any more another may live; whoever answers says who it is.
                let expected = contact.expected.filter(|_| contact.error.is_none());
                dials.push((address.clone(), expected));
            }
        }
        self.settle();
        dials
    }

    /// Somebody is connected there; whether that is news.
    pub(super) fn reached(&mut self, address: &str, peer: NodeId) -> bool {
        let Some(contact) = self.by_address.get_mut(address) else { return false };
        contact.dialing = false;
        contact.backoff = DIAL_BACKOFF_MIN;
        contact.error = None;
        let news = contact.peer.replace(peer) != Some(peer);
        contact.refused &= !news;
        self.settle();
        news
    }

    /// Whoever was reached there is gone already, or the news of the connection are still on their way.
    pub(super) fn missed(&mut self, address: &str, now: Duration) {
        if let Some(contact) = self.by_address.get_mut(address) {
            contact.dialing = false;
            contact.next_try = now + DIAL_BACKOFF_MIN;
        }
        self.settle();
    }

    /// Nobody was reached there. Returns the fellow that was looked for; its second failure ends the contact, since membership names
    /// again whom it wants.
    pub(super) fn failed(
        &mut self,
        address: &str,
        reason: String,
        now: Duration,
        chance: &mut Chance,
    ) -> Option<NodeId> {
        let contact = self.by_address.get_mut(address)?;
        contact.dialing = false;
        // The first failure may only mean that another node lives there now, so anybody is asked for at once.
        let moved = contact.expected.is_some() && contact.error.is_none();
        let wanted = contact.wanted.take();
        let fellow = contact.expected.filter(|_| contact.purpose == Purpose::Fellow).or(wanted);
        let pause = if moved { Duration::ZERO } else { chance.jitter(contact.backoff) };
        contact.next_try = now + pause;
        contact.backoff = (contact.backoff * 2).min(DIAL_BACKOFF_MAX);
        // Whoever answered there may have written it.
        contact.error = Some(plain(&reason, ERROR_CHARS_MAX));
        if contact.purpose == Purpose::Fellow && !moved {
            self.by_address.remove(address);
        }
        self.settle();
        fellow
    }

    /// The connection to a peer ended: a fellow is dialled again when membership says so, everybody else after this pause.
    pub(super) fn lost(&mut self, peer: NodeId, now: Duration, pause: Duration) {
        self.by_address.retain(|_, contact| contact.purpose != Purpose::Fellow || contact.peer != Some(peer));
        for contact in self.by_address.values_mut().filter(|contact| contact.peer == Some(peer)) {
            contact.peer = None;
            let is_hopeful = std::mem::take(&mut contact.hopeful);
            contact.next_try = now + if is_hopeful { DIAL_BACKOFF_MIN } else { pause };
            if !contact.refused {
                contact.error = Some("the connection was lost".to_owned());
            }
        }
        self.settle();
    }

    /// A known address of a peer that is connected needs no dialling.
    pub(super) fn mark(&mut self, address: &str, peer: NodeId) {
        if let Some(contact) = self.by_address.get_mut(address) {
            contact.peer = Some(peer);
            contact.error = None;
        }
        self.settle();
    }

    /// The peer is not what it was meant to be, of what `is_meant` tells; the addresses it was meant at, and for what. Those that are
    /// news: a peer that goes on refusing fills no log.
    pub(super) fn refuse(
        &mut self,
        peer: NodeId,
        reason: &str,
        is_meant: impl Fn(Purpose) -> bool,
    ) -> Vec<(String, Purpose)> {
        let contacts = self.by_address.iter_mut();
        let meant = contacts.filter(|(_, contact)| contact.peer == Some(peer) && is_meant(contact.purpose));
        meant
            .filter_map(|(address, contact)| {
                contact.error = Some(plain(reason, ERROR_CHARS_MAX));
                let news = !std::mem::replace(&mut contact.refused, true);
                news.then(|| (address.clone(), contact.purpose))
            })
            .collect()
    }

    fn settle(&mut self) {
        let idle = self.by_address.values().filter(|contact| contact.peer.is_none() && !contact.dialing);
        self.due = idle.map(|contact| contact.next_try).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn node(number: usize) -> NodeId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        NodeId(id)
    }

    fn addresses(from: usize, count: usize) -> Vec<String> {
        (from..from + count).map(|number| format!("10.0.0.1:{number}")).collect()
    }

    #[test]
    fn what_an_operator_gave_and_whom_membership_wants_displace_what_others_named() {
        let mut contacts = Contacts::default();
        for address in addresses(0, 8) {
            contacts.give(&address, Purpose::Parent);
        }
        for (number, address) in addresses(1000, CONTACTS_MAX).iter().enumerate() {
            contacts.keep(address, Purpose::Gateway, Some(node(number)));
        }
        assert_eq!(contacts.len(), CONTACTS_MAX);
        for (number, address) in addresses(5000, CONTACTS_MAX).iter().enumerate() {
            assert_eq!(contacts.want(address, node(number), NOW), number < CONTACTS_MAX - 8, "{number}");
        }
        assert_eq!(contacts.len(), CONTACTS_MAX);
        assert!(addresses(0, 8).iter().all(|address| contacts.get(address).is_some()));
    }

    #[test]
    fn a_parent_is_kept_as_long_as_some_record_names_it_and_an_operators_for_good() {
        let mut contacts = Contacts::default();
        contacts.give("own:1", Purpose::Parent);
        let named = ["own:1".to_owned(), "a:1".to_owned()];
        contacts.follow_parents(node(1), &named);
        contacts.follow_parents(node(2), &named);
        contacts.follow_parents(node(1), &[]);
        assert!(contacts.get("a:1").is_some(), "the other still names it");
        contacts.follow_parents(node(2), &["b:1".to_owned()]);
        assert_eq!(contacts.iter().map(|(address, _)| &**address).collect::<Vec<_>>(), ["b:1", "own:1"]);
        assert!(contacts.want("b:1", node(3), NOW));
        assert_eq!(contacts.get("b:1").map(|contact| contact.purpose), Some(Purpose::Fellow));
    }

    /// A replica that was told to join another and came back without it held it for alive for ever.
    #[test]
    fn a_fellow_that_is_gone_is_missed_wherever_its_address_is_from() {
        let mut chance = Chance::new([1; 32]);
        let mut contacts = Contacts::default();
        contacts.give("a:1", Purpose::Join);
        let mut fail = |contacts: &mut Contacts| contacts.failed("a:1", "nobody".to_owned(), NOW, &mut chance);
        assert_eq!(fail(&mut contacts), None, "nobody asked for anybody");
        assert!(contacts.want("a:1", node(1), NOW));
        assert_eq!(fail(&mut contacts), Some(node(1)));
        assert_eq!(fail(&mut contacts), None, "and was told");
        assert!(contacts.get("a:1").is_some(), "what an operator gave stays");
    }

    #[test]
    fn the_last_parent_outlives_the_record_that_named_it_until_another_names_one() {
        let kept = |contacts: &Contacts| contacts.iter().map(|(address, _)| address.clone()).collect::<Vec<_>>();
        let mut contacts = Contacts::default();
        contacts.follow_parents(node(1), &["a:1".to_owned()]);
        contacts.follow_parents(node(2), &["b:1".to_owned()]);
        contacts.forget_parents_of(node(1));
        assert_eq!(kept(&contacts), ["b:1"]);
        contacts.forget_parents_of(node(2));
        contacts.follow_parents(node(3), &[]);
        assert_eq!(kept(&contacts), ["b:1"], "whoever only joined says nothing of parents");
        contacts.follow_parents(node(3), &["c:1".to_owned()]);
        assert_eq!(kept(&contacts), ["c:1"]);
        contacts.follow_parents(node(3), &[]);
        assert_eq!(kept(&contacts), [""; 0], "it says itself that it has none any more");
    }

    #[test]
    fn of_the_parents_that_fellows_name_few_are_kept_and_those_found_stay() {
        let mut contacts = Contacts::default();
        contacts.follow_parents(node(0), &["found:1".to_owned()]);
        contacts.reached("found:1", node(9));
        for fellow in 1..=PARENTS_LEARNT_MAX {
            contacts.follow_parents(node(fellow), &addresses(fellow * 100, PARENTS_MAX + 1));
        }
        assert_eq!(contacts.len(), PARENTS_LEARNT_MAX);
        let mut chance = Chance::new([0; 32]);
        for (address, _) in contacts.take_due(NOW) {
            contacts.failed(&address, "nobody".to_owned(), NOW, &mut chance);
        }
        contacts.follow_parents(node(1000), &["late:1".to_owned()]);
        assert_eq!(contacts.len(), PARENTS_LEARNT_MAX);
        assert!(["found:1", "late:1"].iter().all(|address| contacts.get(address).is_some()));
    }
}
