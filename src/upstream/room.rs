//! How many large answers are held at once: of one upstream, and of all.
//!
//! ```text
//!  bytes of an answer    up to 64 KiB     up to 1 MiB        up to the largest message
//!  it takes              nothing          a small place      a small place and a large one
//! ```
//!
//! An answer grows from the left to the right, waiting where there is no place. What must always hold: whoever has a large place waits for
//! nothing any more, so nobody waits for ever; a place is given back with the last of the answer's bytes, wherever they went meanwhile; and
//! one upstream has a part of all places only, so that none keeps the others from theirs.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What needs no place, bytes.
const FREE_BYTES: usize = 64 << 10;
/// What has room in a small place, bytes.
const SMALL_BYTES: usize = 1 << 20;
/// Small places of all: 64 MiB.
const SMALL: usize = 64;
/// Large ones: of messages of 16 MiB, 96 MiB.
const LARGE: usize = 6;
/// The part of them that one upstream may have.
const SMALL_OWN: usize = 16;
const LARGE_OWN: usize = 2;

/// Places. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Room {
    all: Places,
    own: Places,
}

#[derive(Clone, Debug)]
struct Places {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Places {
    fn new(small: usize, large: usize) -> Self {
        Self { small: Arc::new(Semaphore::new(small)), large: Arc::new(Semaphore::new(large)) }
    }
}

impl Default for Room {
    /// All places, for whoever has no part of his own.
    fn default() -> Self {
        Self { all: Places::new(SMALL, LARGE), own: Places::new(SMALL, LARGE) }
    }
}

impl Room {
    /// The same places, and one upstream's own part of them.
    pub fn of_one(&self) -> Self {
        Self { all: self.all.clone(), own: Places::new(SMALL_OWN, LARGE_OWN) }
    }

    /// An answer that begins to come.
    pub fn filling(&self) -> Filling {
        Filling { bytes: BytesMut::new(), place: self.place() }
    }

    /// The place of an answer that is gathered by somebody else.
    pub(crate) fn place(&self) -> Place {
        Place { room: self.clone(), held: Vec::new(), size: 0 }
    }
}

/// What an answer has taken so far.
#[derive(Debug)]
pub(crate) struct Place {
    room: Room,
    held: Vec<OwnedSemaphorePermit>,
    /// 0 for none, 1 for a small place, 2 for a large one.
    size: u8,
}

impl Place {
    /// Waits until there is room for so many bytes. Dropped meanwhile, it has what it had, and can be asked again.
    pub(crate) async fn grow(&mut self, bytes: usize) {
        for (size, beyond) in [(1, FREE_BYTES), (2, SMALL_BYTES)] {
            if bytes <= beyond || self.size >= size {
                continue;
            }
            let of = |places: &Places| Arc::clone(if size == 1 { &places.small } else { &places.large });
            // Nobody closes them. The own part first: whoever waits for that keeps no place from others.
            let own = of(&self.room.own).acquire_owned().await.ok();
            let all = of(&self.room.all).acquire_owned().await.ok();
            self.held.extend(own.into_iter().chain(all));
            self.size = size;
        }
    }

    /// The bytes, which keep this place until the last of them is dropped.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
        match self.held.is_empty() {
            true => bytes,
            false => Bytes::from_owner(Held { bytes, _held: self.held }),
        }
    }
}

struct Held {
    bytes: Bytes,
    _held: Vec<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// An answer that comes piece by piece.
#[derive(Debug)]
pub struct Filling {
    bytes: BytesMut,
    place: Place,
}

impl Filling {
    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether none has come.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes a piece in, once there is room for it.
    pub async fn add(&mut self, piece: &[u8]) {
        self.place.grow(self.bytes.len() + piece.len()).await;
        self.bytes.extend_from_slice(piece);
    }

    /// The whole, which keeps its place until the last of it is dropped.
    pub fn whole(self) -> Bytes {
        self.place.hold(self.bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    async fn large(room: &Room) -> Bytes {
        let mut filling = room.filling();
        filling.add(&[0; FREE_BYTES]).await;
        filling.add(&[0; SMALL_BYTES]).await;
        filling.whole()
    }

    #[tokio::test]
    async fn a_place_is_kept_until_the_last_of_its_bytes_is_dropped() {
        let room = Room::default().of_one();
        let mut held: Vec<Bytes> = Vec::new();
        for _ in 0..LARGE_OWN {
            held.push(large(&room).await.slice(1..3));
        }
        assert!(large(&room).now_or_never().is_none(), "there is no place for another");
        let mut small = room.filling();
        assert!(small.add(&[0; SMALL_BYTES]).now_or_never().is_some(), "but for a small one there is");
        held.pop();
        assert!(large(&room).now_or_never().is_some());
    }

    #[tokio::test]
    async fn one_upstream_leaves_room_for_others_and_all_together_take_no_more_than_there_is() {
        let room = Room::default();
        let mut held = Vec::new();
        for _ in 0..LARGE / LARGE_OWN {
            let own = room.of_one();
            for _ in 0..LARGE_OWN {
                held.push(large(&own).now_or_never().expect("its own part"));
            }
            assert!(large(&own).now_or_never().is_none());
        }
        assert!(large(&room.of_one()).now_or_never().is_none());
        held.clear();
        assert!(large(&room.of_one()).now_or_never().is_some());
    }

    /// Answers that grow at the same time, each beyond what the others leave: all of them come to their end.
    #[tokio::test]
    async fn whatever_grows_comes_to_an_end() {
        let room = Room::default();
        let answers = (0..64).map(|_| {
            let own = room.of_one();
            async move {
                let mut filling = own.filling();
                for _ in 0..4 {
                    filling.add(&[0; SMALL_BYTES / 2]).await;
                    tokio::task::yield_now().await;
                }
                assert_eq!(filling.whole().len(), 2 * SMALL_BYTES);
            }
        });
        let all = futures::future::join_all(answers);
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody waits for ever");
    }
}
