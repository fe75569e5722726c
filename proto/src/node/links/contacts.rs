//! The addresses that contact is kept with: tried again for ever, with a pause that doubles, until somebody answers.
//!
//! When the next one is due is known without looking at them all: a node that waits looks at nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::params::{CONTACTS_MAX, DIAL_BACKOFF_MAX, DIAL_BACKOFF_MIN};
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
    dialing: bool,
    backoff: Duration,
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

    /// Keeps an address from now on. One that is kept already stays what it is, but may learn who is to be expected there.
    pub(super) fn keep(&mut self, address: &str, purpose: Purpose, expected: Option<NodeId>) {
        let has_room = self.by_address.len() < CONTACTS_MAX;
        match self.by_address.get_mut(address) {
            Some(contact) => {
                let news = expected.is_some() && contact.expected != expected && contact.purpose == purpose;
                if news {
                    contact.expected = expected;
                    contact.refused = false;
                }
            }
            None if has_room => {
                let contact = Contact {
                    purpose,
                    expected,
                    peer: None,
                    error: None,
                    refused: false,
                    next_try: Duration::ZERO,
                    dialing: false,
                    backoff: DIAL_BACKOFF_MIN,
                };
                self.by_address.insert(address.to_owned(), contact);
            }
            None => {}
        }
        self.settle();
    }

    /// Keeps an address, to be dialled at once.
    pub(super) fn want(&mut self, address: &str, purpose: Purpose, expected: NodeId, now: Duration) {
        self.keep(address, purpose, Some(expected));
        if let Some(contact) = self.by_address.get_mut(address) {
            contact.next_try = now;
        }
        self.settle();
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
        let fellow = contact.expected.filter(|_| contact.purpose == Purpose::Fellow);
        let pause = if moved { Duration::ZERO } else { chance.jitter(contact.backoff) };
        contact.next_try = now + pause;
        contact.backoff = (contact.backoff * 2).min(DIAL_BACKOFF_MAX);
        contact.error = Some(reason);
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
            contact.next_try = now + pause;
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

    /// The peer is not what it was meant to be; the addresses it was meant at, and for what. Those that are news: a peer that goes on
    /// refusing fills no log.
    pub(super) fn refuse(&mut self, peer: NodeId, reason: &str) -> Vec<(String, Purpose)> {
        let contacts = self.by_address.iter_mut();
        let meant = contacts.filter(|(_, contact)| contact.peer == Some(peer) && contact.purpose != Purpose::Gateway);
        meant
            .filter_map(|(address, contact)| {
                contact.error = Some(reason.to_owned());
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
