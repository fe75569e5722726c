//! What lies between hosts: how the weather is, who cannot reach whom, and the links that stand, with the semantics of QUIC.
//!
//! Messages of one class share an ordered stream each way: what is sent arrives in order or not at all, a lost packet is a delay, and
//! nothing is lost while the link stands. A datagram is lost, doubled or overtaken. A reset takes along what was in flight. `drop`
//! loses whole messages on a link that stands, as a full queue does; it is what the repair of replicas is measured against.
//!
//! Nothing here knows what a message says, and nothing here moves time: `world` does.

use std::collections::BTreeMap;
use std::time::Duration;

use aop_proto::record::NodeId;
use aop_proto::selection::Chance;
use bytes::Bytes;

use aop_proto::wire::Class;

/// How the network is. Chances are per mille.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Least and most time of one way.
    pub latency: (Duration, Duration),
    /// Chance of a lost packet: a datagram is gone, a message on a stream is sent again, later.
    pub loss: u64,
    /// Chance that a datagram arrives twice.
    pub duplicate: u64,
    /// Chance that a datagram is held up for up to a tenth of a second, so that others overtake it.
    pub reorder: u64,
    /// Chance that a message of gossip or a question vanishes on a link that stands.
    pub drop: u64,
    /// Chance that a message of gossip or a question arrives with one byte changed: no network does that to QUIC, a peer may.
    pub noise: u64,
    /// How long the ends of a link take to notice that the other is gone without a word.
    pub silence: Duration,
    /// How long a dial waits for an answer.
    pub patience: Duration,
    /// Least and most time of a write to the disk.
    pub sync: (Duration, Duration),
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            latency: (Duration::from_micros(200), Duration::from_millis(5)),
            loss: 0,
            duplicate: 0,
            reorder: 0,
            drop: 0,
            noise: 0,
            silence: Duration::from_secs(10),
            patience: Duration::from_secs(5),
            sync: (Duration::from_micros(300), Duration::from_millis(4)),
        }
    }
}

/// How late a datagram may come beside the others.
pub(crate) const LATE_MAX: Duration = Duration::from_millis(100);
/// Time after which a lost packet of a stream is sent again, beyond the way itself.
const RETRANSMIT: Duration = Duration::from_millis(25);
/// Bytes that wait for one peer behind a cut; more is dropped, as the queue of a real node does (PROTOCOL §3).
const WAITING_BYTES_MAX: usize = 1 << 20;
/// Streams of one direction of a link: one for each class but datagrams.
const STREAMS: usize = 3;

impl Weather {
    /// Whether the network itself is a fault.
    pub(crate) fn is_foul(&self) -> bool {
        self.drop > 0 || self.noise > 0 || self.loss > 200 || self.latency.1 > Duration::from_millis(200)
    }

    /// Whether a packet is lost.
    pub(crate) fn loses(&self, chance: &mut Chance) -> bool {
        happens(self.loss, chance)
    }

    /// Time that lost packets of a stream cost.
    pub(crate) fn repair(&self, chance: &mut Chance) -> Duration {
        let (mut repair, mut again) = (Duration::ZERO, RETRANSMIT);
        while again < Duration::from_secs(2) && self.loses(chance) {
            repair += again;
            again *= 2;
        }
        repair
    }

    /// Whether a message of this kind vanishes. The words of a beginning (1 to 15) do not: they are the first on an empty queue.
    pub(crate) fn drops(&self, kind: u8, chance: &mut Chance) -> bool {
        kind >= 16 && happens(self.drop, chance)
    }

    /// What arrives of a message of this kind.
    pub(crate) fn noise(&self, kind: u8, bytes: Bytes, chance: &mut Chance) -> Bytes {
        if kind < 16 || bytes.is_empty() || !happens(self.noise, chance) {
            return bytes;
        }
        let mut bytes = bytes.to_vec();
        let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap_or(0);
        bytes[at] ^= u8::try_from(1 + chance.below(255)).unwrap_or(1);
        bytes.into()
    }

    /// How much later than others a datagram comes.
    pub(crate) fn lateness(&self, chance: &mut Chance) -> Duration {
        if happens(self.reorder, chance) { between((Duration::ZERO, LATE_MAX), chance) } else { Duration::ZERO }
    }

    pub(crate) fn doubles(&self, chance: &mut Chance) -> bool {
        happens(self.duplicate, chance)
    }

    pub(crate) fn sync(&self, chance: &mut Chance) -> Duration {
        between(self.sync, chance)
    }
}

/// Nothing is drawn for what cannot happen: a fault that is off changes no other fault's fortune.
fn happens(per_mille: u64, chance: &mut Chance) -> bool {
    per_mille > 0 && chance.below(1000) < per_mille
}

pub(crate) fn between((least, most): (Duration, Duration), chance: &mut Chance) -> Duration {
    let span = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX - 1);
    least + Duration::from_nanos(chance.below(span + 1))
}

/// What two hosts have in common while at least one of them believes in it; the lower number comes first.
#[derive(Debug)]
pub(crate) struct Link {
    /// Which link it is; what was sent on another goes nowhere.
    pub(crate) number: u64,
    pub(crate) hosts: [u32; 2],
    /// Who they were when it was made.
    pub(crate) ids: [NodeId; 2],
    /// Which life of each host it belongs to.
    pub(crate) lives: [u32; 2],
    /// What a packet of its handshake took, there and back.
    pub(crate) rtt: Duration,
    /// Whether each host was told that it stands, and not yet that it ended.
    pub(crate) up: [bool; 2],
    /// It carries nothing new: an end of it is gone or knows that it ended. The next dial makes another.
    pub(crate) over: bool,
    /// Nothing that was sent to that host arrives any more.
    pub(crate) deaf: [bool; 2],
    /// What is sent to each host arrives after this, by stream.
    busy_until: [[Duration; STREAMS]; 2],
}

impl Link {
    pub(crate) fn new(number: u64, hosts: [usize; 2], ids: [NodeId; 2], lives: [u32; 2], rtt: Duration) -> Self {
        let hosts = hosts.map(|host| host as u32);
        let (up, deaf, busy_until) = ([false; 2], [false; 2], [[Duration::ZERO; STREAMS]; 2]);
        Self { number, hosts, ids, lives, rtt, up, over: false, deaf, busy_until }
    }

    pub(crate) const fn side(&self, host: usize) -> usize {
        if self.hosts[0] as usize == host { 0 } else { 1 }
    }

    /// When something that could arrive `at` arrives on a stream to that side: after everything before it.
    pub(crate) fn queue(&mut self, side: usize, class: Class, at: Duration) -> Duration {
        let stream = match class {
            Class::Datagram => return at,
            Class::Gossip => 0,
            Class::Bulk => 1,
            Class::Question => 2,
        };
        let busy = &mut self.busy_until[side][stream];
        *busy = at.max(*busy);
        *busy
    }

    /// When everything sent to that side has arrived.
    pub(crate) fn settled(&self, side: usize, at: Duration) -> Duration {
        self.busy_until[side].iter().fold(at, |at, busy| at.max(*busy))
    }

    /// Nothing arrives at that side before this.
    pub(crate) const fn open_at(&mut self, side: usize, at: Duration) {
        self.busy_until[side] = [at; STREAMS];
    }
}

/// What waits behind a cut, oldest first.
#[derive(Debug, Default)]
struct Waiting {
    messages: Vec<(u64, Class, Bytes)>,
    bytes: usize,
}

/// All links, and who cannot reach whom.
#[derive(Debug, Default)]
pub(crate) struct Network {
    links: Vec<Link>,
    free: Vec<u32>,
    /// By host: the hosts it has links with, sorted, and which.
    of: Vec<Vec<(u32, u32)>>,
    /// Ordered pairs between which nothing goes, and when that began.
    cuts: BTreeMap<(usize, usize), u64>,
    waiting: BTreeMap<(usize, usize), Waiting>,
    /// Ordered pairs with a latency of their own.
    slow: BTreeMap<(usize, usize), (Duration, Duration)>,
    next: u64,
}

pub(crate) const fn pair(a: usize, b: usize) -> [usize; 2] {
    if a < b { [a, b] } else { [b, a] }
}

impl Network {
    pub(crate) fn add_host(&mut self) {
        self.of.push(Vec::new());
    }

    /// A number nothing else has: of a link, a cut, a pause.
    pub(crate) const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn find(&self, a: usize, b: usize) -> Option<usize> {
        let of = &self.of[a];
        of.binary_search_by_key(&(b as u32), |(other, _)| *other).ok().map(|at| of[at].1 as usize)
    }

    pub(crate) fn link(&mut self, at: usize) -> &mut Link {
        &mut self.links[at]
    }

    /// Whether both ends believe in a link.
    pub(crate) fn is_up(&self, at: usize) -> bool {
        let link = &self.links[at];
        !link.over && link.up == [true, true]
    }

    /// The link of two hosts, if it is that one.
    pub(crate) fn numbered(&mut self, a: usize, b: usize, number: u64) -> Option<&mut Link> {
        let at = self.find(a, b)?;
        Some(&mut self.links[at]).filter(|link| link.number == number)
    }

    pub(crate) fn between(&mut self, a: usize, b: usize) -> Option<&mut Link> {
        let at = self.find(a, b)?;
        Some(&mut self.links[at])
    }

    /// Takes a link in. The two hosts have no other.
    pub(crate) fn insert(&mut self, link: Link) -> usize {
        let [a, b] = link.hosts;
        let at = match self.free.pop() {
            Some(at) => {
                self.links[at as usize] = link;
                at
            }
            None => {
                self.links.push(link);
                self.links.len() as u32 - 1
            }
        };
        for (host, other) in [(a, b), (b, a)] {
            let of = &mut self.of[host as usize];
            let Err(place) = of.binary_search_by_key(&other, |(other, _)| *other) else {
                unreachable!("two hosts have one link")
            };
            of.insert(place, (other, at));
        }
        at as usize
    }

    pub(crate) fn remove(&mut self, a: usize, b: usize) {
        let Some(at) = self.find(a, b) else { return };
        // Nothing that is still under way finds it again.
        self.links[at].number = 0;
        self.links[at].up = [false; 2];
        self.free.push(at as u32);
        for (host, other) in [(a, b), (b, a)] {
            self.of[host].retain(|(with, _)| *with as usize != other);
        }
    }

    /// Hosts that a host has links with.
    pub(crate) fn of(&self, host: usize) -> Vec<usize> {
        self.of[host].iter().map(|(other, _)| *other as usize).collect()
    }

    /// Links that stand at that host.
    pub(crate) fn degree(&self, host: usize) -> usize {
        let of = self.of[host].iter().map(|(_, at)| &self.links[*at as usize]);
        of.filter(|link| link.up[link.side(host)]).count()
    }

    /// Nothing goes from one to the other any more; the cut's number, unless that was so already.
    pub(crate) fn cut(&mut self, from: usize, to: usize) -> Option<u64> {
        if from == to || self.cuts.contains_key(&(from, to)) {
            return None;
        }
        let number = self.number();
        self.cuts.insert((from, to), number);
        Some(number)
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        !self.cuts.is_empty() && self.cuts.contains_key(&(from, to))
    }

    pub(crate) fn cut_number(&self, from: usize, to: usize) -> Option<u64> {
        self.cuts.get(&(from, to)).copied()
    }

    /// Ends a cut; what waited behind it, with the number of its link.
    pub(crate) fn mend(&mut self, from: usize, to: usize) -> Vec<(u64, Class, Bytes)> {
        self.cuts.remove(&(from, to));
        self.waiting.remove(&(from, to)).map(|waiting| waiting.messages).unwrap_or_default()
    }

    /// Everything that is cut.
    pub(crate) fn cuts(&self) -> Vec<(usize, usize)> {
        self.cuts.keys().copied().collect()
    }

    /// Whether everybody reaches everybody at the usual pace.
    pub(crate) fn is_whole(&self) -> bool {
        self.cuts.is_empty() && self.slow.is_empty()
    }

    /// Keeps a message of a stream until the cut is mended.
    pub(crate) fn wait(&mut self, from: usize, to: usize, number: u64, class: Class, bytes: Bytes) {
        let waiting = self.waiting.entry((from, to)).or_default();
        if waiting.bytes + bytes.len() <= WAITING_BYTES_MAX {
            waiting.bytes += bytes.len();
            waiting.messages.push((number, class, bytes));
        }
    }

    pub(crate) fn set_slow(&mut self, from: usize, to: usize, latency: Option<(Duration, Duration)>) {
        match latency {
            Some(latency) => self.slow.insert((from, to), latency),
            None => self.slow.remove(&(from, to)),
        };
    }

    pub(crate) fn no_slow_links(&mut self) {
        self.slow.clear();
    }

    /// The latency from one to the other.
    pub(crate) fn latency(&self, from: usize, to: usize, weather: &Weather) -> (Duration, Duration) {
        if self.slow.is_empty() {
            return weather.latency;
        }
        self.slow.get(&(from, to)).copied().unwrap_or(weather.latency)
    }
}
