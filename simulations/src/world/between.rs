//! What happens between two hosts: messages on their way, dials, links that begin and end, each end noticing on its own time.
//!
//! It keeps to what the endpoint of a real node promises: `Up`, then messages, then `Down`, once each; a second connection of the
//! same two processes is no event; a peer that comes back as another process goes down before it is up again.

use std::time::Duration;

use aop_proto::node::Input;
use aop_proto::record::NodeId;
use aop_proto::wire::Class;
use bytes::Bytes;

use super::engine::{Event, Rare};
use super::{HostId, Tell, World};
use crate::network::{Link, between, pair};

/// Pauses after which an unanswered handshake is tried again, as QUIC does.
const HANDSHAKE_RETRY: Duration = Duration::from_millis(300);
/// What would wait longer in the queues of a host with a slow uplink is dropped, as a real node does with what does not fit (PROTOCOL §3).
const QUEUED_MAX: Duration = Duration::from_secs(5);

impl World {
    pub(crate) fn send(&mut self, from: usize, peer: NodeId, bytes: Bytes, class: Class) {
        let kind = bytes.get(3).copied().unwrap_or(0);
        let Some(to) = self.by_id.get(&peer).map(|to| *to as usize) else { return };
        let Some(at) = self.network.find(from, to) else { return };
        let link = self.network.link(at);
        let side = link.side(from);
        if !link.up[side] || link.ids[1 - side] != peer {
            return;
        }
        let number = link.number;
        self.traffic.count(from, to, kind, class, bytes.len());
        if let Some(spread) = &mut self.spread {
            spread.sent(&bytes);
        }
        self.checks.sent(&self.hosts[from], &self.hosts[to], &bytes, self.time);
        if self.tell == Tell::Frames {
            let (from, to) = (self.label(HostId(from)), self.label(HostId(to)));
            self.tell(format_args!("{from} to {to}: kind {kind}, {} bytes, {class:?}", bytes.len()));
        }
        if self.weather.drops(kind, &mut self.chances.winds) {
            return;
        }
        if self.weather.noise > 0 {
            self.checks.garbled();
        }
        let bytes = self.weather.noise(kind, bytes, &mut self.chances.winds);
        if self.rounds.is_some() {
            self.travel_in_rounds([from, to], at, number, bytes);
            return;
        }
        self.travel([from, to], at, number, class, bytes);
    }

    /// A message is on its way, over a link that its sender believes in.
    pub(super) fn travel(&mut self, [from, to]: [usize; 2], at: usize, number: u64, class: Class, bytes: Bytes) {
        if self.network.is_cut(from, to) {
            if class != Class::Datagram {
                self.network.wait(from, to, number, class, bytes);
            }
            return;
        }
        let Some(departs) = self.departs(from, &bytes) else { return };
        self.checks.stands_still(departs - self.time);
        let chance = &mut self.chances.winds;
        let way = between(self.network.latency(from, to, &self.weather), chance);
        let event = |bytes| Event::Frame { link: at as u32, number, bytes };
        if class == Class::Datagram {
            if self.weather.loses(chance) {
                return;
            }
            let arrives = departs + way + self.weather.lateness(chance);
            if self.weather.doubles(chance) {
                let again = departs + between(self.network.latency(from, to, &self.weather), chance);
                self.queue.push(again, to, event(bytes.clone()));
            }
            self.queue.push(arrives, to, event(bytes));
        } else {
            let arrives = departs + way + self.weather.repair(chance);
            let link = self.network.link(at);
            let arrives = link.queue(link.side(to), class, arrives);
            self.queue.push(arrives, to, event(bytes));
        }
    }

    /// When a message has left a host, those before it first; `None` when its queues are full. The words of a beginning (kinds 1 to
    /// 15) find room.
    fn departs(&mut self, from: usize, message: &[u8]) -> Option<Duration> {
        let (kind, host) = (message.get(3).copied().unwrap_or(0), &mut self.hosts[from]);
        let Some(rate) = host.uplink else { return Some(self.time) };
        if kind >= 16 && host.sending_until > self.time + QUEUED_MAX {
            return None;
        }
        let takes = Duration::from_nanos(message.len() as u64 * 1_000_000_000 / rate.max(1));
        host.sending_until = host.sending_until.max(self.time) + takes;
        Some(host.sending_until)
    }

    pub(super) fn arrive(&mut self, host: usize, at: usize, number: u64, bytes: Bytes) {
        let link = self.network.link(at);
        let side = link.side(host);
        if link.number == number && link.up[side] && !link.deaf[side] {
            let (peer, from) = (link.ids[1 - side], link.hosts[1 - side] as usize);
            self.hears = Some((host, from));
            self.input(host, Input::Frame { peer, bytes });
            self.hears = None;
        }
    }

    /// Whether a handshake between the two gets through.
    fn is_reachable(&self, from: usize, to: usize) -> bool {
        let host = &self.hosts[to];
        host.runs() && host.paused.is_none() && !self.network.is_cut(from, to) && !self.network.is_cut(to, from)
    }

    pub(super) fn dial(&mut self, from: usize, address: String, expected: Option<NodeId>, since: Duration, tries: u32) {
        let to = self.by_address.get(&address).copied();
        let failure = match to.filter(|to| self.is_reachable(from, *to)) {
            Some(to) if to == from => Some("that is this node itself".to_owned()),
            Some(to) if expected.is_some_and(|id| id != self.hosts[to].id) => Some("another node is there".to_owned()),
            Some(to) => {
                // As the endpoint does: whoever is connected is not dialled again.
                if self.network.between(from, to).is_some_and(|link| !link.over && link.up == [true, true]) {
                    let peer = self.hosts[to].id;
                    self.input(from, Input::Reached { peer, address });
                    return;
                }
                self.traffic.handshake(from);
                let ((there, lost), (back, lost_back)) = (self.way(from, to), self.way(to, from));
                let lives = [self.hosts[from].life, self.hosts[to].life];
                // What a round trip takes is known of packets that came, whatever was lost before them (RFC 9002 §5.1).
                let rtt = there + back;
                self.at(self.time + rtt + lost + lost_back, from, Rare::Settle { with: to, lives, rtt });
                None
            }
            None if self.time >= since + self.weather.patience => Some("no answer".to_owned()),
            None => {
                let life = self.hosts[from].life;
                let at = (self.time + HANDSHAKE_RETRY * 2_u32.pow(tries.min(4))).min(since + self.weather.patience);
                self.at(at, from, Rare::Dial { life, address: address.clone(), expected, since, tries: tries + 1 });
                None
            }
        };
        if let Some(reason) = failure {
            self.input(from, Input::DialFailed { address, reason });
        }
    }

    /// One way, lost packets included.
    fn ways(&mut self, from: usize, to: usize) -> Duration {
        let (way, lost) = self.way(from, to);
        way + lost
    }

    /// One way, and what lost packets cost on it.
    fn way(&mut self, from: usize, to: usize) -> (Duration, Duration) {
        let latency = self.network.latency(from, to, &self.weather);
        (between(latency, &mut self.chances.winds), self.weather.repair(&mut self.chances.winds))
    }

    /// A handshake is through. A second connection of the same two processes only ends the dial; one of another process ends the
    /// first link.
    pub(super) fn settle(&mut self, from: usize, to: usize, lives: [u32; 2], rtt: Duration) {
        let living = [self.hosts[from].life, self.hosts[to].life] == lives && self.hosts[from].runs();
        let (peer, address) = (self.hosts[to].id, self.hosts[to].spec.address.clone());
        if !living || !self.is_reachable(from, to) {
            if self.hosts[from].life == lives[0] {
                self.input(from, Input::DialFailed { address, reason: "the handshake was not finished".to_owned() });
            }
            return;
        }
        let hosts = pair(from, to);
        let lives = hosts.map(|host| self.hosts[host].life);
        let mut up = [false, false];
        if let Some(old) = self.network.between(from, to) {
            let same = old.lives == lives;
            if same && !old.over {
                self.input(from, Input::Reached { peer, address });
                return;
            }
            if same {
                // An end that has not noticed the loss goes over to the new link and hears nothing of it.
                up = old.up;
            } else {
                let number = old.number;
                self.go_down(from, to, number, true);
                self.go_down(to, from, number, true);
            }
            self.network.remove(from, to);
        }
        self.begin(from, to, up, rtt);
        self.at(self.time, from, Rare::Input { life: self.hosts[from].life, input: Input::Reached { peer, address } });
    }

    /// A new link, made by `from`, on which a round trip took so long; `up` says which end believes in one already.
    fn begin(&mut self, from: usize, to: usize, up: [bool; 2], rtt: Duration) {
        let hosts = pair(from, to);
        let number = self.network.number();
        let (ids, lives) = (hosts.map(|host| self.hosts[host].id), hosts.map(|host| self.hosts[host].life));
        // The dialler knows first; what it says arrives after its last word of the handshake.
        let later = self.time + self.ways(from, to);
        let mut link = Link::new(number, hosts, ids, lives, rtt);
        link.up = up;
        link.open_at(link.side(to), later);
        self.network.insert(link);
        self.tell(format_args!("{} reaches {}", self.label(HostId(from)), self.label(HostId(to))));
        for (host, with, at, dialed) in [(from, to, self.time, true), (to, from, later, false)] {
            if !up[usize::from(hosts[1] == host)] {
                let address = self.hosts[with].spec.address.clone();
                self.at(at, host, Rare::Up { number, address, dialed, with });
            }
        }
    }

    pub(super) fn go_up(&mut self, host: usize, with: usize, number: u64, address: String, dialed: bool) {
        let Some(link) = self.network.numbered(host, with, number).filter(|link| !link.over) else { return };
        let side = link.side(host);
        if !std::mem::replace(&mut link.up[side], true) {
            let (peer, rtt) = (link.ids[1 - side], link.rtt);
            self.input(host, Input::PeerUp { peer, address, dialed, rtt, is_local: false });
        }
    }

    pub(super) fn go_down(&mut self, host: usize, with: usize, number: u64, lost: bool) {
        let Some(link) = self.network.numbered(host, with, number) else { return };
        let side = link.side(host);
        link.over = true;
        let (was_up, peer) = (std::mem::replace(&mut link.up[side], false), link.ids[1 - side]);
        if link.up == [false, false] {
            self.network.remove(host, with);
        }
        if was_up {
            self.tell(format_args!("{} has lost {}", self.label(HostId(host)), self.label(HostId(with))));
            self.input(host, Input::PeerDown { peer, lost });
        }
    }

    /// Nothing arrives any more; both ends notice, each after its own silence.
    pub(super) fn lose_pair(&mut self, a: usize, b: usize) {
        let Some(link) = self.network.between(a, b).filter(|link| !link.over) else { return };
        (link.over, link.deaf) = (true, [true; 2]);
        let number = link.number;
        for (host, with) in [(a, b), (b, a)] {
            let at = self.time + self.silence();
            self.at(at, host, Rare::Down { number, with, lost: true });
        }
    }

    /// How long an end takes this time until it counts a link as lost.
    pub(super) fn silence(&mut self) -> Duration {
        let silence = self.weather.silence;
        between((silence.mul_f64(0.9), silence), &mut self.chances.winds)
    }

    /// Nothing goes from one host to the other any more.
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        let Some(cut) = self.network.cut(from, to) else { return };
        // What is sent behind a cut waits until it is mended or the link is lost.
        self.checks.stands_still(self.weather.silence);
        if let Some(link) = self.network.between(from, to).filter(|link| !link.over) {
            let number = link.number;
            let at = self.time + self.silence();
            self.at(at, to, Rare::Silent { number, with: from, silence: cut });
        }
    }

    /// What waited behind a cut goes on its way.
    pub(super) fn mend(&mut self, from: usize, to: usize) {
        for (number, class, bytes) in self.network.mend(from, to) {
            let stands = self.network.numbered(from, to, number).is_some();
            if let (true, Some(at)) = (stands, self.network.find(from, to)) {
                self.travel([from, to], at, number, class, bytes);
            }
        }
    }

    /// An end has heard nothing for as long as it waits. If that is the same silence still, the link is lost to it; the other end
    /// hears nothing more from now on.
    pub(super) fn on_silence(&mut self, host: usize, with: usize, number: u64, silence: u64) {
        let same = self.network.cut_number(with, host) == Some(silence) || self.hosts[with].paused == Some(silence);
        if !same || self.network.numbered(host, with, number).is_none() {
            return;
        }
        let at = self.time + self.silence();
        self.go_down(host, with, number, true);
        self.at(at, with, Rare::Down { number, with: host, lost: true });
    }

    /// Peers that have given a host up say so as soon as it speaks to them.
    pub(super) fn hear_of_losses(&mut self, host: usize) {
        for with in self.network.of(host) {
            let Some(number) = self.network.between(host, with).filter(|link| link.over).map(|link| link.number) else {
                continue;
            };
            let at = self.time + self.ways(host, with) + self.ways(with, host);
            self.at(at, host, Rare::Down { number, with, lost: true });
        }
    }

    /// One end says that it closes: the other notices as soon as the word arrives, after everything sent before it.
    pub(super) fn close_pair(&mut self, a: usize, b: usize) {
        let way = if self.network.is_cut(a, b) { self.silence() } else { self.ways(a, b) };
        let time = self.time;
        let Some(link) = self.network.between(a, b).filter(|link| !link.over) else { return };
        let ends = [a, b].map(|host| link.settled(link.side(host), time + way));
        let number = link.number;
        self.at(ends[0], a, Rare::Down { number, with: b, lost: false });
        self.at(ends[1], b, Rare::Down { number, with: a, lost: false });
    }

    /// A process ends. With a word to its peers they notice as soon as it arrives, without one after their silence.
    pub(super) fn stop(&mut self, host: usize, goodbye: bool) {
        self.hosts[host].stop(&mut self.chances.winds);
        self.checks.stopped(host, self.time);
        self.backlogs.remove(&host);
        for with in self.network.of(host) {
            let goodbye = goodbye && !self.network.is_cut(host, with);
            let way = if goodbye { self.ways(host, with) } else { self.silence() };
            let time = self.time;
            let Some(link) = self.network.between(host, with) else { continue };
            let (side, number) = (link.side(host), link.number);
            link.over = true;
            link.up[side] = false;
            link.deaf[1 - side] |= !goodbye;
            let at = link.settled(1 - side, time + way);
            if link.up == [false, false] {
                self.network.remove(host, with);
            } else {
                self.at(at, with, Rare::Down { number, with: host, lost: !goodbye });
            }
        }
    }
}
