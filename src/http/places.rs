//! The connections of the port: how many there may be, of one address and of all, and who yields when all places are taken.
//!
//! ```text
//!  newcomer ─▶ its address has its share? ─▶ closed
//!           ─▶ a place is free ───────────▶ it has it
//!           ─▶ some address has more that have proven nothing than this one has at all ─▶ the oldest of them yields
//!           ─▶ none has ─▶ closed; where addresses have no share, it waits
//! ```
//!
//! What must always hold: there are never more places than there may be, and a connection on which somebody proved who he is keeps
//! its own. So a crowd that asks nothing keeps nobody out who comes from elsewhere, and drives nobody out who is there.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::limits::customer;

/// All places of one port.
pub(super) struct Places {
    most: u64,
    open: Mutex<Open>,
    /// Somebody may have left.
    left: Notify,
}

#[derive(Default)]
struct Open {
    all: u64,
    /// Names the next one; the smaller, the older.
    next: u64,
    /// Not more entries than connections.
    of: HashMap<IpAddr, Address>,
}

/// The connections of one address.
#[derive(Default)]
struct Address {
    all: u64,
    /// Those that have proven nothing yet, with how to end them.
    unproven: BTreeMap<u64, CancellationToken>,
}

/// One connection's place; given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    ip: IpAddr,
    number: u64,
    proven: AtomicBool,
    yielding: CancellationToken,
}

/// Why there is no place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// There will be none for it soon.
    Refused,
    /// All are taken by somebody with a claim to it, and nobody counts what one address has.
    Wait,
}

/// A place, and whether somebody else had to yield it.
pub(super) struct Entered {
    pub(super) place: Place,
    pub(super) yielded: bool,
}

impl Places {
    pub(super) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default(), left: Notify::new() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing can panic half way through a change.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection from there, of which there may be `share`.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr, share: Option<u64>) -> Result<Entered, Full> {
        let ip = customer(ip);
        let mut open = self.open();
        let there = open.of.get(&ip).map_or(0, |address| address.all);
        if share.is_some_and(|share| there >= share) {
            return Err(Full::Refused);
        }
        let yielded = open.all >= self.most;
        if yielded && !open.make_room(there) {
            return Err(if share.is_some() { Full::Refused } else { Full::Wait });
        }
        let number = open.next;
        open.next += 1;
        open.all += 1;
        let yielding = CancellationToken::new();
        let address = open.of.entry(ip).or_default();
        address.all += 1;
        address.unproven.insert(number, yielding.clone());
        drop(open);
        let place = Place { places: Arc::clone(self), ip, number, proven: AtomicBool::new(false), yielding };
        Ok(Entered { place, yielded })
    }

    /// Returns when somebody has left since the last time.
    pub(super) async fn left(&self) {
        self.left.notified().await;
    }
}

impl Open {
    /// Takes a place of the address with the most that have proven nothing, if a newcomer whose address has `there` then has not more.
    fn make_room(&mut self, there: u64) -> bool {
        let crowd = self.of.iter_mut().max_by_key(|(_, address)| address.unproven.len());
        let Some((_, crowd)) = crowd.filter(|(_, crowd)| crowd.unproven.len() as u64 > there + 1) else { return false };
        let Some((_, yielding)) = crowd.unproven.pop_first() else { return false };
        yielding.cancel();
        // Its task ends by itself; what it still holds is not a place any more.
        crowd.all -= 1;
        self.all -= 1;
        true
    }
}

impl Place {
    /// Somebody proved on it who he is.
    pub(super) fn prove(&self) {
        if self.proven.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(address) = self.places.open().of.get_mut(&self.ip) {
            address.unproven.remove(&self.number);
        }
    }

    /// Returns when the place was given to somebody else.
    pub(super) async fn yielded(&self) {
        self.yielding.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open();
        if self.yielding.is_cancelled() {
            // It was given away, and counted so.
            if open.of.get(&self.ip).is_some_and(|address| address.all == 0) {
                open.of.remove(&self.ip);
            }
            return;
        }
        open.all -= 1;
        if let Some(address) = open.of.get_mut(&self.ip) {
            address.all -= 1;
            address.unproven.remove(&self.number);
            if address.all == 0 {
                open.of.remove(&self.ip);
            }
        }
        drop(open);
        self.places.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn enter(places: &Arc<Places>, last: u8, share: u64) -> Result<Place, Full> {
        places.enter(ip(last), Some(share)).map(|entered| entered.place)
    }

    #[test]
    fn an_address_has_so_many_connections_and_gets_their_places_back() {
        let places = Places::new(100);
        let (first, _second) = (enter(&places, 7, 2).ok().unwrap(), enter(&places, 7, 2).ok().unwrap());
        assert_eq!(enter(&places, 7, 2).err(), Some(Full::Refused));
        assert!(enter(&places, 8, 2).is_ok());
        drop(first);
        let third = enter(&places, 7, 2);
        assert!(third.is_ok());
        assert_eq!(places.open().of.len(), 1, "who has gone is forgotten");
        assert!(places.enter(ip(7), None).is_ok());
    }

    #[test]
    fn a_crowd_yields_its_oldest_to_whoever_comes_from_elsewhere() {
        let places = Places::new(4);
        let crowd: Vec<Place> = (0..4).map(|_| enter(&places, 1, 64).ok().unwrap()).collect();
        assert_eq!(enter(&places, 1, 64).err(), Some(Full::Refused), "a crowd does not renew itself");
        let entered = places.enter(ip(2), Some(64)).ok().unwrap();
        assert!(entered.yielded && crowd[0].yielding.is_cancelled() && !crowd[1].yielding.is_cancelled());
        assert!(enter(&places, 2, 64).is_ok(), "until both have as many");
        assert!(crowd[1].yielding.is_cancelled() && !crowd[2].yielding.is_cancelled());
    }

    #[test]
    fn who_has_proven_something_yields_to_nobody() {
        let places = Places::new(4);
        let known: Vec<Place> = (0..3).map(|_| enter(&places, 1, 64).ok().unwrap()).collect();
        known.iter().for_each(Place::prove);
        let other = enter(&places, 1, 64).ok().unwrap();
        assert_eq!(enter(&places, 2, 64).err(), Some(Full::Refused), "one that has proven nothing is no crowd");
        other.prove();
        assert_eq!(places.enter(ip(2), None).err(), Some(Full::Wait));
        drop((known, other));
        assert!(enter(&places, 2, 64).is_ok());
    }

    #[test]
    fn there_are_never_more_than_there_may_be_whatever_the_order() {
        let places = Places::new(16);
        let mut held: Vec<Place> = Vec::new();
        for step in 0..10_000_u32 {
            let random = step.wrapping_mul(0x9e37_79b9) >> 16;
            if let Ok(place) = enter(&places, (random % 7) as u8, 9) {
                held.push(place);
            }
            if random % 3 == 0
                && let Some(place) = held.get(random as usize % held.len().max(1))
            {
                place.prove();
            }
            held.retain(|place| !place.yielding.is_cancelled() || random % 2 == 0);
            if random % 5 == 0 && !held.is_empty() {
                held.swap_remove(random as usize % held.len());
            }
            let open = places.open();
            let there = held.iter().filter(|place| !place.yielding.is_cancelled()).count() as u64;
            assert_eq!((open.all, open.of.values().map(|address| address.all).sum()), (there, there));
            assert!(open.all <= 16);
        }
        held.clear();
        assert!(places.open().of.is_empty() && places.open().all == 0);
    }
}
