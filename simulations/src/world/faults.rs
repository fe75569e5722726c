//! What operators and accidents do to hosts and to what lies between them.

use std::time::Duration;

use aop_proto::node::Input;
use aop_proto::trust::SigningKey;

use super::engine::Rare;
use super::{Actor, HostId, Spec, World};
use aop_proto::record::NodeId;

/// Time a host that leaves has for its last words.
const LAST_WORDS: Duration = Duration::from_millis(50);

impl World {
    /// Starts a host's node on what its disk holds.
    pub fn start(&mut self, host: HostId) {
        assert!(!self.hosts[host.0].runs(), "a host runs one node");
        assert!(self.keep_disks || self.hosts[host.0].life == 0, "what a host wrote was not kept");
        let Spec { zone, parents, joins, .. } = &self.hosts[host.0].spec;
        self.tell(format_args!("{} of zone {zone} starts, parents {parents:?}, joins {joins:?}", self.label(host)));
        let opened = self.shared.clone();
        self.hosts[host.0].start(self.time, &mut self.chances.births, opened);
        self.hosts[host.0].first_token = self.next_token + 1;
        self.checks.started(host.0, &self.hosts[host.0], self.time);
        self.drain(host.0);
    }

    /// A host that runs somebody else than a node, under that key.
    pub fn boot_actor(&mut self, spec: Spec, key: &SigningKey, actor: Box<dyn Actor>) -> HostId {
        let host = self.add(spec);
        self.by_id.remove(&self.hosts[host.0].id);
        let id = NodeId(key.verifying_key().to_bytes());
        self.by_id.insert(id, host.0 as u32);
        let place = &mut self.hosts[host.0];
        (place.id, place.key, place.actor) = (id, key.to_bytes(), Some(actor));
        place.begin(self.time);
        self.possess(host);
        self.drain(host.0);
        host
    }

    /// Power is lost: what was not durable is gone, and nobody is told.
    pub fn crash(&mut self, host: HostId) {
        self.tell(format_args!("{} crashes", self.label(host)));
        self.stop(host.0, false);
    }

    /// A crash that takes the disk along.
    pub fn lose(&mut self, host: HostId) {
        self.crash(host);
        self.tell(format_args!("{} loses its disk", self.label(host)));
        let (is_new, id) = (self.hosts[host.0].lose_disk(self.time), self.hosts[host.0].id);
        self.checks.lost_disk(host.0, id);
        if !is_new {
            self.checks.rewound(host.0, id);
        }
    }

    /// A crash that takes disk and keys along: another node will come at that address.
    pub fn replace(&mut self, host: HostId) {
        self.crash(host);
        self.tell(format_args!("{} loses its disk and its keys", self.label(host)));
        self.hosts[host.0].lose_keys(self.time, &mut self.chances.births);
        self.checks.lost_disk(host.0, self.hosts[host.0].id);
        self.by_id.insert(self.hosts[host.0].id, host.0 as u32);
    }

    /// Keeps what a host's disk holds now, for [`restore_backup`](Self::restore_backup).
    pub fn backup(&mut self, host: HostId) {
        self.tell(format_args!("{} is backed up", self.label(host)));
        let disk = self.hosts[host.0].disk.backup();
        self.hosts[host.0].backup = Some((disk, self.hosts[host.0].incarnation));
    }

    /// A crash, after which the disk is as it was backed up; false, and nothing happens, if it never was.
    pub fn restore_backup(&mut self, host: HostId) -> bool {
        if self.hosts[host.0].backup.is_none() {
            return false;
        }
        if self.hosts[host.0].runs() {
            self.crash(host);
        }
        self.tell(format_args!("{} gets its old disk back", self.label(host)));
        self.checks.rewound(host.0, self.hosts[host.0].id);
        self.hosts[host.0].restore_backup()
    }

    /// The host says goodbye and stops.
    pub fn leave(&mut self, host: HostId) {
        self.tell(format_args!("{} leaves", self.label(host)));
        self.hand(host.0, Input::Leave);
        let life = self.hosts[host.0].life;
        self.at(self.time + LAST_WORDS, host.0, Rare::Stop { life });
    }

    /// A host stands still: it handles nothing for so long, then everything that came at once. Its peers may lose it meanwhile.
    pub fn pause(&mut self, host: HostId, time: Duration) {
        if self.hosts[host.0].paused.is_some() || !self.hosts[host.0].runs() {
            return;
        }
        self.tell(format_args!("{} stands still for {time:?}", self.label(host)));
        self.checks.stands_still(time);
        let pause = self.network.number();
        self.hosts[host.0].paused = Some(pause);
        self.at(self.time + time, host.0, Rare::Resume { pause });
        for with in self.network.of(host.0) {
            let at = self.time + self.silence();
            let Some(number) = self.network.between(host.0, with).map(|link| link.number) else { continue };
            self.at(at, with, Rare::Silent { number, with: host.0, silence: pause });
        }
    }

    /// A host that stood still goes on.
    pub fn resume(&mut self, host: HostId) {
        if self.hosts[host.0].paused.take().is_none() {
            return;
        }
        self.tell(format_args!("{} goes on", self.label(host)));
        self.checks.disturbed(self.time);
        // Nobody is asked to answer while it stands still.
        let time = self.time;
        self.hosts[host.0].asked.values_mut().for_each(|since| *since = time);
        for event in self.backlogs.remove(&host.0).unwrap_or_default() {
            self.happen(host.0, event);
        }
        self.hear_of_losses(host.0);
        let place = &mut self.hosts[host.0];
        let wake = place.wake.max(time);
        if place.runs() && wake < place.timer {
            place.timer = wake;
            self.queue.push_timer(wake, host.0);
        }
    }

    /// From now on nothing goes between the two sides, either way. Links stand until their ends notice.
    pub fn partition(&mut self, one: &[HostId], other: &[HostId]) {
        self.tell(format_args!("cut between {} and {}", self.labels(one), self.labels(other)));
        for (a, b) in pairs(one, other) {
            self.cut(a.0, b.0);
            self.cut(b.0, a.0);
        }
    }

    /// From now on nothing goes from the one side to the other; the other way all goes on.
    pub fn cut_one_way(&mut self, from: &[HostId], to: &[HostId]) {
        self.tell(format_args!("cut from {} to {}", self.labels(from), self.labels(to)));
        for (a, b) in pairs(from, to) {
            self.cut(a.0, b.0);
        }
    }

    /// Each of these reaches only its two neighbours among them.
    pub fn ring(&mut self, hosts: &[HostId]) {
        self.tell(format_args!("a ring of {}", self.labels(hosts)));
        for a in 0..hosts.len() {
            for b in 0..hosts.len() {
                let apart = a.abs_diff(b);
                if apart > 1 && apart + 1 < hosts.len() {
                    self.cut(hosts[a].0, hosts[b].0);
                }
            }
        }
    }

    /// Everybody can reach everybody again; what waited goes on its way.
    pub fn heal(&mut self) {
        self.tell(format_args!("no cuts"));
        self.checks.disturbed(self.time);
        for (from, to) in self.network.cuts() {
            self.mend(from, to);
        }
    }

    /// The link of two hosts is lost, with what was in flight.
    pub fn disconnect(&mut self, a: HostId, b: HostId) {
        self.tell(format_args!("{} and {} are disconnected", self.label(a), self.label(b)));
        self.checks.disturbed(self.time);
        self.lose_pair(a.0, b.0);
    }

    /// From now on the ways between the two sides take so long, both ways.
    pub fn slow(&mut self, one: &[HostId], other: &[HostId], latency: (Duration, Duration)) {
        self.tell(format_args!("{latency:?} between {} and {}", self.labels(one), self.labels(other)));
        for (a, b) in pairs(one, other) {
            self.network.set_slow(a.0, b.0, Some(latency));
            self.network.set_slow(b.0, a.0, Some(latency));
        }
        self.checks.disturbed(self.time);
    }

    /// From now on a host sends so many bytes a second and no more.
    pub fn cap(&mut self, host: HostId, bytes_per_second: Option<u64>) {
        self.tell(format_args!("{} sends at most {bytes_per_second:?} bytes/s", self.label(host)));
        self.hosts[host.0].uplink = bytes_per_second;
    }

    /// A day and an hour pass on all wall clocks at once, in which nothing else happened: leases end, tombstones may be collected.
    pub fn pass_a_day(&mut self) {
        self.tell(format_args!("a day passes"));
        self.hosts.iter_mut().for_each(|host| host.epoch_ms += 25 * 3_600_000);
        self.checks.disturbed(self.time);
    }

    /// Sets how far a host's wall clock is off.
    pub fn set_clock(&mut self, host: HostId, ahead_ms: i64) {
        if self.hosts[host.0].ahead_ms(self.time) != ahead_ms {
            self.tell(format_args!("the clock of {} is {ahead_ms} ms ahead", self.label(host)));
            self.hosts[host.0].set_clock(self.time, ahead_ms);
            self.checks.disturbed(self.time);
        }
    }

    /// Sets how much a host's wall clock gains from now on, in parts per million.
    pub fn set_drift(&mut self, host: HostId, drift_ppm: i64) {
        self.tell(format_args!("the clock of {} gains {drift_ppm} ppm", self.label(host)));
        self.hosts[host.0].set_drift(self.time, drift_ppm);
        self.checks.disturbed(self.time);
    }

    /// Ends what lasts: cuts, slow links, caps, pauses, wrong clocks. The weather stays, and who does not run does not.
    pub fn calm(&mut self) {
        self.heal();
        self.checks.disturbed(self.time);
        self.network.no_slow_links();
        for host in self.hosts() {
            self.hosts[host.0].uplink = None;
            self.hosts[host.0].set_drift(self.time, 0);
            self.set_clock(host, 0);
            self.resume(host);
        }
    }

    /// How long it takes until every clock has come to the highest stamp that a wrong clock gave: until then logs may be held back.
    pub fn held_back(&self) -> Duration {
        self.checks.held_back(self.time, &self.hosts)
    }

    fn labels(&self, hosts: &[HostId]) -> String {
        let labels: Vec<String> = hosts.iter().map(|host| self.label(*host)).collect();
        labels.join(", ")
    }
}

fn pairs(one: &[HostId], other: &[HostId]) -> Vec<(HostId, HostId)> {
    let pairs = one.iter().flat_map(|a| other.iter().map(|b| (*a, *b)));
    pairs.filter(|(a, b)| a != b).collect()
}
