//! Answers ready to be sent: the text as it was written once, with holes where ages and remaining lives go.
//!
//! Writing an answer's JSON costs more than finding it, so what is asked again is copied (DESIGN D15). Only ages and lives change from
//! one sending to the next; they are set in each time, so that no answer says it is younger than it is (P7).

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use super::{Moment, Resolution};

/// Bytes of ready answers a node may hold.
pub const READY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Ages and lives are written as numbers from here on, which no real one reaches, and then cut out: twice a hit's place, and one more
/// for its life. The answer's own come after those of its hits.
const MARKS_FROM: u64 = 1 << 63;
/// What they all begin with, and how long they are.
const MARK_PREFIX: &str = "922337203685477";
const MARK_DIGITS: usize = 19;

/// How an answer may be said again as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// As long as the node is still at this moment.
    pub moment: Moment,
    /// Whether it grows older meanwhile. What the node's own view says is as of now for as long as the moment lasts.
    pub ages: bool,
}

/// One answer, written.
#[derive(Debug)]
pub struct Ready {
    text: Bytes,
    holes: Vec<Hole>,
    again: Again,
    stored: Instant,
    /// It is said again no longer than this.
    life: Duration,
    ttl: Duration,
    age: Duration,
    /// As HTTP writes it, weak and in quotes.
    etag: Bytes,
    is_partial: bool,
    is_empty: bool,
}

#[derive(Debug)]
struct Hole {
    /// Where in the text the number goes.
    at: usize,
    base_ms: u64,
    is_age: bool,
}

/// A ready answer as it is said at one moment.
#[derive(Debug)]
pub struct Said {
    /// Its text.
    pub body: Bytes,
    /// Since its oldest part was said.
    pub age: Duration,
    /// What remains of its life.
    pub ttl: Duration,
    /// Changes when anything but ages and lives does: a weak entity tag in its quotes (RFC 9110 §8.8.3).
    pub etag: Bytes,
    /// Somebody was silent.
    pub is_partial: bool,
    /// Nothing was found.
    pub is_empty: bool,
    /// Whether it came from L1, and not from what the node's own view says.
    pub is_cached: bool,
    /// Time it took to find it.
    pub took: Duration,
}

impl Ready {
    /// Makes an answer ready that may be said again, as `write` writes it; `age_max` is the oldest the asker takes. Nothing for one that
    /// may not, or whose text has numbers that look like ours.
    pub fn of(
        resolution: &Resolution,
        age_max: Duration,
        write: impl Fn(&Resolution) -> Option<String>,
    ) -> Option<Self> {
        let (again, stored) = (resolution.again?, Instant::now());
        let plain = write(resolution)?;
        let (text, holes) = match again.ages {
            false => (Bytes::from(plain), Vec::new()),
            // What others wrote stands in the text as well.
            true if plain.contains(MARK_PREFIX) => return None,
            true => cut(&write(&marked(resolution))?, resolution)?,
        };
        Some(Self {
            text,
            holes,
            again,
            stored,
            life: resolution.ttl.min(age_max.saturating_sub(resolution.age)),
            ttl: resolution.ttl,
            age: resolution.age,
            etag: ["W/\"", &resolution.etag, "\""].concat().into(),
            is_partial: resolution.partial,
            is_empty: resolution.hits.is_empty(),
        })
    }

    /// The answer at this moment, if it still holds.
    pub fn say(&self, moment: Moment) -> Option<Said> {
        let now = Instant::now();
        let elapsed = now - self.stored;
        if self.again.moment != moment || elapsed >= self.life {
            return None;
        }
        let aged = if self.again.ages { elapsed } else { Duration::ZERO };
        Some(Said {
            body: self.filled(aged),
            age: self.age + aged,
            ttl: self.ttl.saturating_sub(aged),
            etag: self.etag.clone(),
            is_partial: self.is_partial,
            is_empty: self.is_empty,
            is_cached: self.again.ages,
            took: now.elapsed(),
        })
    }

    fn filled(&self, aged: Duration) -> Bytes {
        if self.holes.is_empty() {
            return self.text.clone();
        }
        let aged = aged.as_millis() as u64;
        let mut filled = BytesMut::with_capacity(self.text.len() + self.holes.len() * MARK_DIGITS);
        let mut from = 0;
        for hole in &self.holes {
            filled.put_slice(&self.text[from..hole.at]);
            let number = if hole.is_age { hole.base_ms + aged } else { hole.base_ms.saturating_sub(aged) };
            put_number(&mut filled, number);
            from = hole.at;
        }
        filled.put_slice(&self.text[from..]);
        filled.freeze()
    }

    /// About the memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.holes.len() * size_of::<Hole>() + size_of::<Self>()
    }
}

/// The same answer with marks for its ages and lives.
fn marked(resolution: &Resolution) -> Resolution {
    let mut marked = resolution.clone();
    let mark = |at: usize, is_life: bool| Duration::from_millis(MARKS_FROM + 2 * at as u64 + u64::from(is_life));
    for (at, hit) in marked.hits.iter_mut().enumerate() {
        (hit.age, hit.ttl) = (mark(at, false), mark(at, true));
    }
    let own = marked.hits.len();
    (marked.age, marked.ttl) = (mark(own, false), mark(own, true));
    marked
}

/// Takes the marks out of a text.
fn cut(written: &str, resolution: &Resolution) -> Option<(Bytes, Vec<Hole>)> {
    let (mut text, mut holes, mut from) = (BytesMut::with_capacity(written.len()), Vec::new(), 0);
    for (at, _) in written.match_indices(MARK_PREFIX) {
        let number = written.get(at..at + MARK_DIGITS)?.parse::<u64>().ok()?;
        let place = usize::try_from(number.checked_sub(MARKS_FROM)?).ok()?;
        let (age, ttl) = match resolution.hits.get(place / 2) {
            Some(hit) => (hit.age, hit.ttl),
            None if place / 2 == resolution.hits.len() => (resolution.age, resolution.ttl),
            None => return None,
        };
        text.put_slice(&written.as_bytes()[from..at]);
        from = at + MARK_DIGITS;
        let is_age = place % 2 == 0;
        let base_ms = if is_age { age } else { ttl }.as_millis() as u64;
        holes.push(Hole { at: text.len(), base_ms, is_age });
    }
    text.put_slice(&written.as_bytes()[from..]);
    Some((text.freeze(), holes))
}

/// Appends a number in decimal digits.
pub(crate) fn put_number(text: &mut BytesMut, mut number: u64) {
    let mut digits = [0; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.put_slice(&digits[from..]);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Hit, Show};
    use super::*;

    const MOMENT: Moment = Moment { serial: 3, epoch: 4, circuits: 5 };

    fn resolution(description: &str, ages: bool) -> Resolution {
        let hit = |age: u64, ttl: u64| Hit {
            name: "echo.demo.lab".to_owned(),
            description: description.to_owned(),
            age: Duration::from_millis(age),
            ttl: Duration::from_millis(ttl),
            ..Hit::default()
        };
        Resolution {
            query: "echo".to_owned(),
            hits: vec![hit(5, 60_000), hit(7_000, 40_000)],
            age: Duration::from_millis(7_000),
            ttl: Duration::from_millis(40_000),
            again: Some(Again { moment: MOMENT, ages }),
            ..Resolution::default()
        }
    }

    fn ready(resolution: &Resolution, show: Show) -> Option<Ready> {
        Ready::of(resolution, Duration::MAX, |resolution| Some(resolution.to_json(show).to_string()))
    }

    fn ages(body: &[u8]) -> Vec<(u64, u64)> {
        let body: Value = serde_json::from_slice(body).unwrap();
        let hits = body["results"].as_array().unwrap();
        hits.iter().map(|hit| (hit["age_ms"].as_u64().unwrap(), hit["ttl_ms"].as_u64().unwrap())).collect()
    }

    #[test]
    fn what_is_said_again_is_as_much_older_as_time_went_by_and_else_the_same() {
        let resolution = resolution("says \"age_ms\":1 and \\", true);
        let ready = ready(&resolution, Show::default()).unwrap();
        let now = ready.filled(Duration::ZERO);
        assert_eq!(serde_json::from_slice::<Value>(&now).unwrap(), resolution.to_json(Show::default()));
        let later = ready.filled(Duration::from_millis(39_999));
        assert_eq!(ages(&later), [(40_004, 20_001), (46_999, 1)]);
        assert_eq!(ages(&ready.filled(Duration::from_secs(50)))[1], (57_000, 0));
    }

    #[test]
    fn it_holds_for_its_moment_and_its_life_only() {
        let mut resolution = resolution("", true);
        let ready_now = ready(&resolution, Show::default()).unwrap();
        assert!(ready_now.say(MOMENT).is_some_and(|said| said.is_cached && said.age >= resolution.age));
        assert!(ready_now.say(Moment { serial: 4, ..MOMENT }).is_none());
        assert!(ready_now.say(Moment { epoch: 5, ..MOMENT }).is_none());
        assert!(ready_now.say(Moment { circuits: 6, ..MOMENT }).is_none());
        let asked = |age_max| Ready::of(&resolution, age_max, |_| Some(String::new())).unwrap();
        assert!(asked(Duration::from_secs(7)).say(MOMENT).is_none(), "older than whoever asked takes");
        assert!(asked(Duration::from_secs(8)).say(MOMENT).is_some());
        resolution.ttl = Duration::ZERO;
        assert!(ready(&resolution, Show::default()).unwrap().say(MOMENT).is_none());
        resolution.again = None;
        assert!(ready(&resolution, Show::default()).is_none());
    }

    #[test]
    fn what_the_view_says_does_not_grow_older() {
        let resolution = resolution("", false);
        let ready = ready(&resolution, Show::default()).unwrap();
        assert_eq!(ages(&ready.filled(Duration::from_secs(9))), [(5, 60_000), (7_000, 40_000)]);
        assert!(ready.say(MOMENT).is_some_and(|said| !said.is_cached && said.age == resolution.age));
    }

    /// A text that tries to look like a mark is written anew each time, and never with a hole in it.
    #[test]
    fn a_number_that_looks_like_a_mark_is_not_taken_for_one() {
        for text in ["9223372036854775808", "\"ttl_ms\":9223372036854775809", "{\"a\":9223372036854775810}"] {
            let mut resolution = resolution(text, true);
            assert!(ready(&resolution, Show::default()).is_none(), "{text}");
            resolution.hits[0].description = String::new();
            resolution.hits[0].definition =
                serde_json::to_vec(&json!({"inputSchema": {"maximum": 9_223_372_036_854_775_810_u64}})).unwrap().into();
            resolution.hits[1].description = String::new();
            assert!(ready(&resolution, Show { schema: true, trace: false }).is_none());
            assert!(ready(&resolution, Show::default()).is_some());
        }
    }

    #[test]
    fn numbers_are_written_as_numbers() {
        for number in [0, 7, 10, 99_999, u64::MAX] {
            let mut text = BytesMut::new();
            put_number(&mut text, number);
            assert_eq!(text, number.to_string().as_bytes());
        }
    }
}
