//! The loop: the next event is taken, a node is told of it, and what the node asks for is done until it waits.
//!
//! Of each host at most one timer that counts stands in the queue: one that fires too early is set again, one that was overtaken by an
//! earlier one is ignored when it comes.

use std::time::{Duration, Instant};

use aop_proto::invite::InviteError;
use aop_proto::node::{Input, Output};
use aop_proto::params::DATAGRAM_BYTES_MAX;
use aop_proto::record::NodeId;
use aop_proto::wire::Class;
use bytes::Bytes;

use super::{HostId, Tell, Watch, World};
use crate::host::Answered;

/// Timers a node may have at one instant before it counts as one that wakes without end.
const IDLE_WAKES_MAX: u32 = 1000;

/// What is to happen at a host, beside its timer. Small, since most are messages.
pub(super) enum Event {
    Frame { link: u32, number: u64, bytes: Bytes },
    Synced { life: u32 },
    Rare(Box<Rare>),
}

pub(super) enum Rare {
    Dial {
        life: u32,
        address: String,
        expected: Option<NodeId>,
        since: Duration,
        tries: u32,
    },
    Settle {
        with: usize,
        lives: [u32; 2],
        rtt: Duration,
    },
    Up {
        number: u64,
        address: String,
        dialed: bool,
        with: usize,
    },
    Down {
        number: u64,
        with: usize,
        /// Neither end gave it up.
        lost: bool,
    },
    /// Nothing came from there for so long that the link counts as lost, if the silence is still the same.
    Silent {
        number: u64,
        with: usize,
        silence: u64,
    },
    Input {
        life: u32,
        input: Input,
    },
    Stop {
        life: u32,
    },
    Resume {
        pause: u64,
    },
}

/// The timer's number in the trace; events have higher ones.
const TIMER: u8 = 0;

impl Event {
    const fn kind(&self) -> u8 {
        match self {
            Self::Frame { .. } => 1,
            Self::Synced { .. } => 2,
            Self::Rare(rare) => match **rare {
                Rare::Dial { .. } => 3,
                Rare::Settle { .. } => 4,
                Rare::Up { .. } => 5,
                Rare::Down { .. } => 6,
                Rare::Silent { .. } => 7,
                Rare::Input { .. } => 8,
                Rare::Stop { .. } => 9,
                Rare::Resume { .. } => 10,
            },
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Frame { bytes, .. } => bytes,
            _ => &[],
        }
    }
}

impl World {
    pub(super) fn at(&mut self, at: Duration, host: usize, rare: Rare) {
        self.queue.push(at, host, Event::Rare(Box::new(rare)));
    }

    /// Does the next event before `end`; false when there is none.
    pub(super) fn step(&mut self, end: Duration) -> bool {
        while let Some((at, host, event)) = self.queue.pop(end) {
            debug_assert!(at >= self.time, "time never goes back");
            let Some(event) = event else {
                if self.is_due(at, host) {
                    self.time = at;
                    self.trace.event(at, TIMER, host, &[]);
                    self.wake(host);
                    return true;
                }
                continue;
            };
            self.time = at;
            self.trace.event(at, event.kind(), host, event.bytes());
            if self.hosts[host].paused.is_some()
                && !matches!(&event, Event::Rare(rare) if matches!(**rare, Rare::Resume { .. }))
            {
                self.backlogs.entry(host).or_default().push(event);
            } else {
                self.happen(host, event);
            }
            return true;
        }
        false
    }

    /// Whether a timer that fires is the one that counts and the node still wants it now.
    fn is_due(&mut self, at: Duration, host: usize) -> bool {
        let host_at = &mut self.hosts[host];
        if host_at.timer != at {
            return false;
        }
        host_at.timer = Duration::MAX;
        let wake = host_at.wake;
        if host_at.paused.is_some() || wake == Duration::MAX {
            return false;
        }
        if wake > at {
            host_at.timer = wake;
            self.queue.push_timer(wake, host);
            return false;
        }
        true
    }

    fn wake(&mut self, host: usize) {
        self.guard_wakes(host);
        self.hosts[host].wake = Duration::MAX;
        let began = self.meter.map(|_| Instant::now());
        let host_at = &mut self.hosts[host];
        let now = host_at.now(self.time);
        if let Some(node) = &mut host_at.node {
            node.handle_timeout(now);
        } else if let Some(actor) = &mut host_at.actor {
            actor.handle_timeout(now);
        }
        self.count_call(began);
        self.drain(host);
    }

    /// A node that wakes without end would hang a simulation, and burn a real machine.
    fn guard_wakes(&mut self, host: usize) {
        let (at, who, count) = self.idle_wakes;
        self.idle_wakes = if (at, who) == (self.time, host) { (at, who, count + 1) } else { (self.time, host, 0) };
        assert!(self.idle_wakes.2 < IDLE_WAKES_MAX, "host {host} wakes without end at {:?}", self.time);
    }

    pub(super) fn happen(&mut self, host: usize, event: Event) {
        match event {
            Event::Frame { link, number, bytes } => self.arrive(host, link as usize, number, bytes),
            Event::Synced { life } => {
                if self.hosts[host].life == life
                    && let Some(token) = self.hosts[host].disk.sync(self.keep_disks)
                {
                    self.checks.persisted(host, &self.hosts[host], token, self.time);
                    self.input(host, Input::Persisted { token, durable: true });
                }
            }
            Event::Rare(rare) => self.happen_rarely(host, *rare),
        }
    }

    fn happen_rarely(&mut self, host: usize, rare: Rare) {
        match rare {
            Rare::Dial { life, address, expected, since, tries } => {
                if self.hosts[host].life == life {
                    self.dial(host, address, expected, since, tries);
                }
            }
            Rare::Settle { with, lives, rtt } => self.settle(host, with, lives, rtt),
            Rare::Up { number, address, dialed, with } => self.go_up(host, with, number, address, dialed),
            Rare::Down { number, with, lost } => self.go_down(host, with, number, lost),
            Rare::Silent { number, with, silence } => self.on_silence(host, with, number, silence),
            Rare::Input { life, input } => {
                if self.hosts[host].life == life {
                    self.input(host, input);
                }
            }
            Rare::Stop { life } => {
                if self.hosts[host].life == life {
                    self.stop(host, true);
                }
            }
            Rare::Resume { pause } => {
                if self.hosts[host].paused == Some(pause) {
                    self.resume(HostId(host));
                }
            }
        }
    }

    /// Hands something to a node from outside: at once, or when it goes on.
    pub(super) fn hand(&mut self, host: usize, input: Input) {
        if self.hosts[host].paused.is_some() {
            let life = self.hosts[host].life;
            let event = Event::Rare(Box::new(Rare::Input { life, input }));
            self.backlogs.entry(host).or_default().push(event);
        } else {
            self.input(host, input);
        }
    }

    pub(super) fn input(&mut self, host: usize, input: Input) {
        let Some(input) = self.hosts[host].doctor.hear(input) else { return };
        let began = self.meter.map(|_| Instant::now());
        let host_at = &mut self.hosts[host];
        let now = host_at.now(self.time);
        if let Some(node) = &mut host_at.node {
            node.handle_input(now, input);
        } else if let Some(actor) = &mut host_at.actor {
            actor.handle_input(now, input);
        } else {
            return;
        }
        self.count_call(began);
        if let Some(spread) = &mut self.spread {
            spread.look(host, self.hosts[host].node.as_deref(), self.time);
        }
        self.drain(host);
    }

    fn count_call(&mut self, began: Option<Instant>) {
        if let (Some(meter), Some(began)) = (&mut self.meter, began) {
            meter.nodes += began.elapsed();
            meter.calls += 1;
        }
    }

    /// Does what the node asks for, until it waits.
    pub(super) fn drain(&mut self, host: usize) {
        loop {
            let host_at = &mut self.hosts[host];
            let output = match (&mut host_at.node, &mut host_at.actor) {
                (Some(node), _) => node.poll_output(),
                (None, Some(actor)) => actor.poll_output(),
                (None, None) => return,
            };
            if let Output::Wait(deadline) = output {
                self.checks.drained(host, &self.hosts[host]);
                self.arm(host, deadline);
                return;
            }
            if let Output::Persist { token, keep } = &output {
                self.checks.persist(host, &self.hosts[host], *token, keep, self.time);
            }
            if let Some(output) = self.hosts[host].doctor.say(output) {
                self.act(host, output);
            }
        }
    }

    fn arm(&mut self, host: usize, deadline: Duration) {
        let host_at = &mut self.hosts[host];
        host_at.wake = host_at.started.checked_add(deadline).unwrap_or(Duration::MAX).max(self.time);
        if host_at.wake < host_at.timer {
            host_at.timer = host_at.wake;
            self.queue.push_timer(host_at.wake, host);
        }
    }

    fn act(&mut self, host: usize, output: Output) {
        match output {
            Output::Send { peer, bytes, class } => {
                if class == Class::Datagram && bytes.len() > DATAGRAM_BYTES_MAX {
                    assert!(self.hosts[host].actor.is_some(), "host {host} sends a datagram of {} bytes", bytes.len());
                    return;
                }
                self.send(host, peer, bytes, class);
            }
            Output::Dial { address, expected } => {
                let (life, since) = (self.hosts[host].life, self.time);
                self.at(since, host, Rare::Dial { life, address, expected, since, tries: 0 });
            }
            Output::Persist { token, keep } => {
                let sync = self.weather.sync(&mut self.chances.winds);
                let host_at = &mut self.hosts[host];
                host_at.disk.write(token, keep);
                host_at.disk_busy_until = host_at.disk_busy_until.max(self.time + sync);
                let (at, life) = (host_at.disk_busy_until, host_at.life);
                self.queue.push(at, host, Event::Synced { life });
            }
            Output::Written { token, result } => {
                match &result {
                    Ok(wrote) => self.checks.wrote(host, &self.hosts[host], wrote),
                    Err(error) => self.tell(format_args!("{} does not write: {error}", self.label(HostId(host)))),
                }
                self.hosts[host].written.insert(token, result);
            }
            Output::Resolved { token, outcome, found } => {
                let took = self.hosts[host].asked.remove(&token).map_or(Duration::ZERO, |at| self.time - at);
                let answered = Answered { outcome: *outcome, found: found.found, lost: found.lost, took };
                self.checks.answered(host, &answered, &self.hosts, self.time);
                self.hosts[host].answered.insert(token, answered);
            }
            Output::Redeem { peer, token } => {
                let sync = self.weather.sync(&mut self.chances.winds);
                let host_at = &mut self.hosts[host];
                let (wall_ms, life) = (host_at.now(self.time).wall_ms, host_at.life);
                let invite = host_at.invites.get_mut(&token).ok_or(InviteError::Unknown);
                let granted = invite.and_then(|invite| invite.redeem(peer, wall_ms)).map_err(|why| why.to_string());
                let input = Input::Redeemed { peer, granted };
                self.at(self.time + sync, host, Rare::Input { life, input });
            }
            Output::Close { peer } => {
                if let Some(with) = self.by_id.get(&peer).copied() {
                    self.close_pair(host, with as usize);
                }
            }
            Output::News(news) => {
                // Whoever watches counts on it that no number is left out.
                let last = &mut self.hosts[host].news;
                for one in news {
                    assert!(*last == 0 || one.serial == *last + 1, "change {} follows {last}", one.serial);
                    *last = one.serial;
                }
                self.checks.shows(&self.hosts[host], self.time);
            }
            Output::ZoneChanged(_) => {}
            Output::Changed => self.changed(host),
            Output::Refused(refusal) => {
                self.tell(format_args!("{} tells its operator: {}", self.label(HostId(host)), refusal.reason));
                self.hosts[host].refusals.push(refusal);
            }
            Output::Wait(_) => unreachable!("the caller has taken it"),
        }
    }

    /// What readers see has changed; it is built only for those who look.
    fn changed(&mut self, host: usize) {
        self.hosts[host].view.take();
        if self.checks.watch < Watch::Everything && self.tell == Tell::Nothing && self.belief.is_none() {
            return;
        }
        let Some(view) = self.hosts[host].view().cloned() else { return };
        if let Some(belief) = &mut self.belief {
            belief.look(host, &view, self.time);
        }
        self.checks.view(host, &self.hosts[host], &view);
        if self.tell != Tell::Nothing && self.told.insert(host, view.zone_key).flatten() != view.zone_key {
            let key = view.zone_key.map(|key| NodeId(key).short());
            self.tell(format_args!("{} of {} has zone key {key:?}", self.label(HostId(host)), view.zone));
        }
    }
}
