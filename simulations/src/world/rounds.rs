//! Time in rounds, for what is counted in rounds: at the end of each, everything that hosts said of themselves in it arrives, and
//! every answer to it at once. In a round a host passes on what it has heard in the ones before, and begins one exchange of hashes.

use std::time::Duration;

use bytes::Bytes;

use super::World;
use super::engine::Event;
use aop_proto::wire::message::Message;

const DIGEST: u8 = 16;
const RANGES: u8 = 19;
const ANNOUNCE: u8 = 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Rounds {
    length: Duration,
    since: Duration,
    /// The round in which each host last began an exchange.
    exchanged: Vec<u64>,
}

impl Rounds {
    /// The round of a time; the first is 1.
    fn number(&self, time: Duration) -> u64 {
        (time - self.since).div_duration_f64(self.length) as u64 + 1
    }

    fn end_of(&self, time: Duration) -> Duration {
        self.since + self.length * u32::try_from(self.number(time)).unwrap_or(u32::MAX)
    }

    /// Whether a host may begin an exchange still; from now on it may not.
    fn exchange(&mut self, host: usize, time: Duration) -> bool {
        let round = self.number(time);
        std::mem::replace(&mut self.exchanged[host], round) < round
    }
}

impl World {
    /// From now on time goes in rounds of that length, and nothing takes any time on its way. With `None`, as before.
    pub fn go_in_rounds(&mut self, length: Option<Duration>) {
        let exchanged = vec![0; self.hosts.len()];
        self.rounds = length.map(|length| Rounds { length, since: self.time, exchanged });
    }

    pub(super) fn travel_in_rounds(&mut self, [from, to]: [usize; 2], at: usize, number: u64, bytes: Bytes) {
        let is_answer = self.hears == Some((from, to));
        let Some(rounds) = &mut self.rounds else { return };
        let kind = bytes.get(3).copied().unwrap_or(0);
        let arrives = match kind {
            _ if is_answer => self.time,
            DIGEST if !rounds.exchange(from, self.time) => return,
            DIGEST | ANNOUNCE => rounds.end_of(self.time),
            RANGES if is_rumour(&bytes) => rounds.end_of(self.time),
            _ => self.time,
        };
        self.queue.push(arrives, to, Event::Frame { link: at as u32, number, bytes });
    }
}

/// Records that nobody asked for.
fn is_rumour(bytes: &[u8]) -> bool {
    matches!(Message::decode(bytes), Ok(Message::Ranges(ranges)) if ranges.hop > 0)
}
