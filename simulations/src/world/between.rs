//! What happens between two hosts: messages on their way, dials, connections that begin and end, each end noticing on its own time.
//!
//! It keeps to what the endpoint of a real node promises: `Up`, then messages, then `Down`, once each; a second connection of the
//! same two processes is no event; a peer that comes back as another process goes down before it is up again.

use std::time::Duration;

use aop_proto::node::Input;
use aop_proto::record::NodeId;

use super::{Event, HANDSHAKE_RETRY, World};
use crate::network::{Connection, pair};

impl World {
    pub(super) fn send(&mut self, from: usize, peer: NodeId, input: Input) {
        let Input::Frame { bytes, .. } = &input else { return };
        let (kind, length) = (bytes.get(3).copied().unwrap_or(0), bytes.len() as u64);
        let Some(to) = self.by_id.get(&peer).copied() else { return };
        let traffic = self.traffic.entry((kind, from, to)).or_default();
        traffic.messages += 1;
        traffic.bytes += length;
        let way = self.weather.way(&mut self.chance);
        let dropped = self.weather.drops(kind, &mut self.chance);
        let input = if self.weather.noise > 0 {
            let mut bytes = bytes.to_vec();
            self.weather.noise(kind, &mut bytes, &mut self.chance);
            Input::Frame { peer: self.hosts[from].id, bytes: bytes.into() }
        } else {
            input
        };
        let time = self.time;
        let Some(connection) = self.network.between(from, to) else { return };
        let sender = connection.side(from);
        if connection.dead || !connection.up[sender] || dropped {
            return;
        }
        let receiver = 1 - sender;
        let at = connection.busy_until[receiver].max(time + way);
        connection.busy_until[receiver] = at;
        let number = connection.number;
        self.at(at, to, Event::Input { number, with: from, input });
    }

    /// The side of `host`, when that connection is the one in use and both ends still live.
    pub(super) fn standing(&mut self, number: u64, host: usize, with: usize) -> Option<usize> {
        let lives = |connection: &Connection| connection.hosts.map(|host| self.hosts[host].life) == connection.lives;
        let connection = self.network.connections.get(&pair(host, with))?;
        (connection.number == number && !connection.dead && lives(connection)).then(|| connection.side(host))
    }

    pub(super) fn dial(&mut self, from: usize, address: String, expected: Option<NodeId>, since: Duration, tries: u32) {
        let to = self.by_address.get(&address).copied();
        let reachable = to.filter(|to| self.hosts[*to].node.is_some() && !self.network.is_cut(from, *to));
        let failure = match reachable {
            Some(to) if to == from => Some("that is this node itself".to_owned()),
            Some(to) if expected.is_some_and(|id| id != self.hosts[to].id) => Some("another node is there".to_owned()),
            Some(to) => {
                // As the endpoint does: whoever is connected is not dialled again.
                if self.network.between(from, to).is_some_and(|c| !c.dead && c.up == [true, true]) {
                    let peer = self.hosts[to].id;
                    self.input(from, Input::Reached { peer, address });
                    return;
                }
                let way: Duration = (0..3).map(|_| self.weather.way(&mut self.chance)).sum();
                let lives = [self.hosts[from].life, self.hosts[to].life];
                self.at(self.time + way, from, Event::Settle { with: to, lives });
                None
            }
            None if self.time >= since + self.weather.patience => Some("no answer".to_owned()),
            None => {
                let life = self.hosts[from].life;
                let at = (self.time + HANDSHAKE_RETRY * 2_u32.pow(tries.min(4))).min(since + self.weather.patience);
                self.at(at, from, Event::Dial { life, address: address.clone(), expected, since, tries: tries + 1 });
                None
            }
        };
        if let Some(reason) = failure {
            self.input(from, Input::DialFailed { address, reason });
        }
    }

    /// A handshake is through. A second connection of the same two processes only ends the dial; one of another process ends the
    /// first connection.
    pub(super) fn settle(&mut self, from: usize, to: usize, lives: [u32; 2]) {
        let living = [self.hosts[from].life, self.hosts[to].life] == lives && self.hosts[from].node.is_some();
        let (peer, address) = (self.hosts[to].id, self.hosts[to].spec.address.clone());
        if !living || self.network.is_cut(from, to) {
            if self.hosts[from].life == lives[0] {
                self.input(from, Input::DialFailed { address, reason: "the handshake was not finished".to_owned() });
            }
            return;
        }
        let hosts = [from.min(to), from.max(to)];
        let lives = hosts.map(|host| self.hosts[host].life);
        let mut up = [false, false];
        if let Some(old) = self.network.connections.remove(&pair(from, to)) {
            let same = old.lives == lives;
            if same && !old.dead {
                self.network.connections.insert(pair(from, to), old);
                self.input(from, Input::Reached { peer, address });
                return;
            }
            if same {
                // An end that has not noticed the loss goes over to the new connection and hears nothing of it.
                up = old.up;
            } else {
                let number = old.number;
                self.network.connections.insert(pair(from, to), old);
                self.go_down(from, to, number);
                self.go_down(to, from, number);
            }
        }
        let number = self.network.number();
        let later = self.time + self.weather.way(&mut self.chance);
        let mut busy_until = [self.time; 2];
        busy_until[usize::from(hosts[1] == from)] = later;
        let ids = hosts.map(|host| self.hosts[host].id);
        let connection = Connection { number, hosts, ids, lives, up, dead: false, busy_until };
        self.network.connections.insert(pair(from, to), connection);
        let reached = Input::Reached { peer, address };
        for (host, with, at, dialed) in [(to, from, self.time, false), (from, to, later, true)] {
            if !up[usize::from(hosts[1] == host)] {
                let address = self.hosts[with].spec.address.clone();
                self.at(at, host, Event::Up { number, address, dialed, with });
            }
        }
        self.at(later, from, Event::Reached { life: self.hosts[from].life, input: reached });
    }

    /// Nothing arrives any more; both ends notice, each after its own silence.
    pub(super) fn lose_pair(&mut self, a: usize, b: usize) {
        let silence = self.weather.silence;
        let Some(connection) = self.network.between(a, b).filter(|connection| !connection.dead) else { return };
        connection.dead = true;
        let number = connection.number;
        for (host, with) in [(a, b), (b, a)] {
            let notices = silence.mul_f64(0.9) + silence.mul_f64(0.1 * self.chance.below(1000) as f64 / 1000.0);
            self.at(self.time + notices, host, Event::Down { number, with });
        }
    }

    /// One end says that it closes: the other notices as soon as the word arrives, after everything sent before it.
    pub(super) fn close_pair(&mut self, a: usize, b: usize) {
        let way = self.weather.way(&mut self.chance);
        let time = self.time;
        let Some(connection) = self.network.between(a, b).filter(|connection| !connection.dead) else { return };
        let at = connection.busy_until.map(|busy| busy.max(time + way));
        let number = connection.number;
        connection.lives = connection.hosts.map(|host| self.hosts[host].life);
        self.at(at[connection_side(a, b)], a, Event::Down { number, with: b });
        self.at(at[connection_side(b, a)], b, Event::Down { number, with: a });
    }

    pub(super) fn go_down(&mut self, host: usize, with: usize, number: u64) {
        let Some(connection) = self.network.between(host, with).filter(|connection| connection.number == number) else {
            return;
        };
        let side = connection.side(host);
        connection.dead = true;
        if std::mem::replace(&mut connection.up[side], false) {
            let peer = connection.ids[1 - side];
            self.input(host, Input::PeerDown { peer });
        }
    }
}

const fn connection_side(host: usize, with: usize) -> usize {
    if host < with { 0 } else { 1 }
}
