//! Whether an endpoint is called at all: closed, open, half-open.
//!
//! ```text
//!           failures enough, and half of what ended lately
//!  Closed ────────────────────────────────────────────────▶ Open
//!    ▲                                                     │  ▲
//!    │ probes enough ended well              pause is over │  │ a probe failed: twice the pause, capped
//!    └───────────────────────── HalfOpen ◀─────────────────┘  │
//!                                  └──────────────────────────┘
//! ```
//!
//! The paper's algorithm 5 closes on the first good answer, also on one of a call that was sent long before it opened, and lets
//! everybody through while half open. Here only probes speak in half-open, so many at a time, and what ends late is not heard.
//! Source: AOP paper, algorithm 5, repaired; Nygard, *Release It!*.

use std::time::Duration;

use super::Backoff;
use crate::error::Kind;
use crate::params::{
    BREAKER_FAILURES, BREAKER_LATENCIES, BREAKER_PAUSE, BREAKER_PAUSE_MAX, BREAKER_PROBES, BREAKER_PROBES_GOOD,
    BREAKER_SLOT, BREAKER_SLOTS, BREAKER_TIME_MIN,
};

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Circuit {
    /// Calls go through.
    #[default]
    Closed,
    /// None goes through.
    Open,
    /// A few go through, to see.
    HalfOpen,
}

impl Circuit {
    /// Its name, as people are shown it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// What the end of an attempt says about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered, were it with an error of the tool or of the protocol.
    Good,
    /// It could not be reached, went away, answered garbage, or not in the time its tools are given.
    Bad,
    /// Nothing: the call was refused before it was sent, cancelled, or had less time than the tool is given.
    Nothing,
}

impl Verdict {
    /// What a problem says of the endpoint it came from. A time-out speaks against it only if the attempt [`had_time`]: callers in a hurry
    /// close nothing to others. `UpstreamDown` does not: its home, which is reached, knows and says so at
    /// once, and tries to change it.
    pub const fn of(kind: Kind, is_answer: bool, had_time: bool) -> Self {
        match kind {
            _ if is_answer => Self::Good,
            Kind::UpstreamFailed | Kind::InstanceDown => Self::Bad,
            Kind::CallTimedOut if had_time => Self::Bad,
            _ => Self::Nothing,
        }
    }
}

/// Whether an attempt that was `given` so much time had enough for its time-out to speak against the endpoint: as good as what the tool is
/// `allowed`, or many times what it took of late, if it ever answered.
pub fn had_time(given: Duration, allowed: Duration, latency: Option<Duration>) -> bool {
    given >= allowed / 10 * 9 || latency.is_some_and(|latency| given >= patience(latency))
}

/// Time in which who takes `latency` of late would have answered if it ever did.
pub fn patience(latency: Duration) -> Duration {
    latency.saturating_mul(BREAKER_LATENCIES).max(BREAKER_TIME_MIN)
}

/// A place among the attempts; every one that was begun is ended with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The time of half-openness it is a probe of.
    probe: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    number: u128,
    good: u32,
    bad: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration },
    HalfOpen { probing: u32, good: u32 },
}

/// The breaker of one endpoint.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
    slots: [Slot; BREAKER_SLOTS],
    /// Times it opened since it was last closed.
    opened: u32,
    /// Times it was half open, so that a probe is not taken for one of another time.
    era: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed, slots: [Slot::default(); BREAKER_SLOTS], opened: 0, era: 0 }
    }
}

impl Breaker {
    /// Where it stands at `now`.
    pub fn circuit(&self, now: Duration) -> Circuit {
        match self.state {
            State::Closed => Circuit::Closed,
            State::Open { until } if now < until => Circuit::Open,
            State::Open { .. } | State::HalfOpen { .. } => Circuit::HalfOpen,
        }
    }

    /// Until when nothing may be tried; nothing when something may. While its probes are under way that is not known: `now`.
    pub fn refuses_until(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Open { until } if now < until => Some(until),
            State::HalfOpen { probing, .. } if probing >= BREAKER_PROBES => Some(now),
            _ => None,
        }
    }

    /// Begins an attempt; nothing when none may be made now.
    pub fn begin(&mut self, now: Duration) -> Option<Pass> {
        if self.refuses_until(now).is_some() {
            return None;
        }
        if let State::Open { .. } = self.state {
            self.era += 1;
            self.state = State::HalfOpen { probing: 0, good: 0 };
        }
        match &mut self.state {
            State::HalfOpen { probing, .. } => {
                *probing += 1;
                Some(Pass { probe: Some(self.era) })
            }
            _ => Some(Pass { probe: None }),
        }
    }

    /// An attempt ended. What began before the breaker opened is not heard once it has.
    pub fn end(&mut self, now: Duration, pass: Pass, verdict: Verdict, chance: u32) {
        match (&mut self.state, pass.probe) {
            (State::Closed, None) => self.count(now, verdict, chance),
            (State::HalfOpen { probing, good }, Some(era)) if era == self.era => {
                *probing = probing.saturating_sub(1);
                match verdict {
                    Verdict::Good => {
                        *good += 1;
                        if *good >= BREAKER_PROBES_GOOD {
                            *self = Self { era: self.era, ..Self::default() };
                        }
                    }
                    Verdict::Bad => self.open(now, chance),
                    Verdict::Nothing => {}
                }
            }
            _ => {}
        }
    }

    fn count(&mut self, now: Duration, verdict: Verdict, chance: u32) {
        let number = now.as_millis() / BREAKER_SLOT.as_millis();
        let slot = &mut self.slots[usize::try_from(number % BREAKER_SLOTS as u128).unwrap_or(0)];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        match verdict {
            Verdict::Good => slot.good = slot.good.saturating_add(1),
            Verdict::Bad => slot.bad = slot.bad.saturating_add(1),
            Verdict::Nothing => return,
        }
        let lately = self.slots.iter().filter(|slot| slot.number + BREAKER_SLOTS as u128 > number);
        let (good, bad) =
            lately.fold((0_u64, 0_u64), |(good, bad), slot| (good + u64::from(slot.good), bad + u64::from(slot.bad)));
        if bad >= u64::from(BREAKER_FAILURES) && bad >= good {
            self.open(now, chance);
        }
    }

    fn open(&mut self, now: Duration, chance: u32) {
        self.opened = self.opened.saturating_add(1);
        self.slots = [Slot::default(); BREAKER_SLOTS];
        let pause = Backoff { first: BREAKER_PAUSE, most: BREAKER_PAUSE_MAX };
        self.state = State::Open { until: now + pause.pause(self.opened, chance) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ended(breaker: &mut Breaker, now: Duration, verdict: Verdict) {
        let pass = breaker.begin(now).expect("it may be tried");
        breaker.end(now, pass, verdict, u32::MAX);
    }

    fn opened(now: Duration) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..BREAKER_FAILURES {
            assert_eq!(breaker.circuit(now), Circuit::Closed);
            ended(&mut breaker, now, Verdict::Bad);
        }
        assert_eq!(breaker.circuit(now), Circuit::Open);
        breaker
    }

    #[test]
    fn it_opens_when_enough_of_what_ended_lately_failed() {
        let now = 10 * SECOND;
        opened(now);
        let mut mostly_well = Breaker::default();
        for _ in 0..1_000 {
            ended(&mut mostly_well, now, Verdict::Good);
            ended(&mut mostly_well, now, Verdict::Good);
            ended(&mut mostly_well, now, Verdict::Bad);
            ended(&mut mostly_well, now, Verdict::Nothing);
        }
        assert_eq!(mostly_well.circuit(now), Circuit::Closed);
        // Rare failures, each long after the one before.
        let mut rare = Breaker::default();
        for at in 0..100 {
            ended(&mut rare, BREAKER_SLOT * BREAKER_SLOTS as u32 * at, Verdict::Bad);
        }
        let late = BREAKER_SLOT * BREAKER_SLOTS as u32 * 100;
        assert_eq!(rare.circuit(late), Circuit::Closed);
        for _ in 0..BREAKER_FAILURES {
            ended(&mut rare, late, Verdict::Bad);
        }
        assert_eq!(rare.circuit(late), Circuit::Open);
    }

    #[test]
    fn only_the_endpoint_itself_is_held_against_it() {
        let of = |kind| Verdict::of(kind, false, true);
        assert_eq!([Kind::UpstreamFailed, Kind::InstanceDown, Kind::CallTimedOut].map(of), [Verdict::Bad; 3]);
        assert_eq!(Verdict::of(Kind::UpstreamFailed, true, true), Verdict::Good);
        assert_eq!(Verdict::of(Kind::CallTimedOut, false, false), Verdict::Nothing);
        let others = [Kind::InvalidArguments, Kind::Forbidden, Kind::Busy, Kind::DefinitionChanged, Kind::UpstreamDown];
        assert_eq!(others.map(of), [Verdict::Nothing; 5]);
    }

    /// A server that hangs was called again and again by clients whose patience is shorter than what its tools are given.
    #[test]
    fn who_answers_quickly_is_late_sooner_than_who_takes_long() {
        let allowed = 30 * SECOND;
        let had = |given, latency| had_time(given, allowed, latency);
        assert!(had(27 * SECOND, None) && had(27 * SECOND, Some(20 * SECOND)));
        assert!(!had(26 * SECOND, None), "of who never answered nothing is known");
        let quick = Some(Duration::from_millis(20));
        assert!(had(SECOND, quick) && !had(SECOND - Duration::from_nanos(1), quick));
        assert!(had(20 * SECOND, Some(2 * SECOND)) && !had(19 * SECOND, Some(2 * SECOND)));
    }

    #[test]
    fn only_so_many_probes_go_through_and_only_they_close_it() {
        let mut breaker = Breaker::default();
        let early = breaker.begin(SECOND).expect("closed");
        for _ in 0..BREAKER_FAILURES {
            ended(&mut breaker, SECOND, Verdict::Bad);
        }
        let until = breaker.refuses_until(SECOND).expect("open");
        assert!(breaker.begin(until - Duration::from_nanos(1)).is_none());
        breaker.end(SECOND, early, Verdict::Good, 0);
        assert_eq!(breaker.circuit(SECOND), Circuit::Open, "what was sent before says nothing");
        for _ in 0..BREAKER_PROBES_GOOD {
            let probes: Vec<Pass> = (0..100).map_while(|_| breaker.begin(until)).collect();
            assert_eq!(probes.len() as u32, BREAKER_PROBES);
            breaker.end(until, early, Verdict::Good, 0);
            assert_eq!(breaker.circuit(until), Circuit::HalfOpen);
            for (at, probe) in probes.into_iter().enumerate() {
                // One is cancelled: its place is free again.
                breaker.end(until, probe, if at == 0 { Verdict::Good } else { Verdict::Nothing }, 0);
            }
        }
        assert_eq!(breaker.circuit(until), Circuit::Closed);
    }

    #[test]
    fn a_probe_that_fails_doubles_the_pause_up_to_a_cap() {
        let mut breaker = opened(SECOND);
        let (mut now, mut last) = (SECOND, Duration::ZERO);
        for _ in 0..12 {
            let until = breaker.refuses_until(now).expect("open");
            assert!(until - now >= last && until - now <= BREAKER_PAUSE_MAX);
            last = until - now;
            now = until;
            ended(&mut breaker, now, Verdict::Bad);
        }
        assert_eq!(last, BREAKER_PAUSE_MAX);
        // A probe of that time is none of the next.
        now = breaker.refuses_until(now).expect("open");
        let late = breaker.begin(now).expect("a probe");
        breaker.open(now, 0);
        let later = breaker.refuses_until(now).expect("open");
        let _probe = breaker.begin(later).expect("a probe");
        for _ in 0..10 {
            breaker.end(later, late, Verdict::Good, 0);
        }
        assert_eq!(breaker.circuit(later), Circuit::HalfOpen);
    }
}
