//! Calls under lost requests, lost answers and killed homes, with the very rules the node runs: plan, budget, breaker, ledger.
//!
//! ```text
//!  client ─▶ plan ─▶ network: not sent, lost, late ─▶ home: ledger, disk ─▶ upstream, which counts
//!    ▲ repeats under its key until it is told an end      killed at any moment, restored from its disk
//! ```
//!
//! What must hold of every call: unsafe, it has at most one effect, with a key or without; whoever was told an answer had an effect; and
//! under a key only what a death or the upstream itself made unknown is ever told as unknown. Planted bugs turn it red.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aop_proto::call::ledger::{Begun, Entry, Ledger};
use aop_proto::call::{Balance, Breaker, Budget, Ended, Failed, Pass, Plan, Policy, Standing, Step, Verdict};
use aop_proto::codec::Wire as _;
use aop_proto::record::{Hash, NodeId};
use aop_proto::wire::message::{Health, Instance};

const MS: Duration = Duration::from_millis(1);
const HOMES: usize = 3;
const CALLS: usize = 60;
/// Faults happen so long; then everything heals.
const STORM: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(200);
/// An attempt without an answer is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^ (number >> 31)
    }

    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Unsafe,
    Keyed,
    Idempotent,
}

/// What is wrong with the implementation under test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// What may have run is taken for what was not sent.
    LostIsNotSent,
    /// The intent is written with the end.
    IntentAfterwards,
    /// A restart forgets what has no end.
    Forgetful,
    /// A keyed call goes to whoever's turn it is.
    AnyHome,
    /// An answer is not replayed.
    NothingReplayed,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// The client makes, or repeats, its call.
    Begin(usize),
    /// The plan goes on.
    Next(usize),
    Arrive {
        call: usize,
        attempt: u32,
        home: usize,
    },
    Durable {
        call: usize,
        home: usize,
        life: u32,
    },
    Run {
        call: usize,
        attempt: u32,
        home: usize,
        life: u32,
    },
    Over {
        call: usize,
        attempt: u32,
        home: usize,
        life: u32,
    },
    Told {
        call: usize,
        attempt: u32,
        told: Result<(), Failed>,
    },
    Kill(usize),
    Start(usize),
}

#[derive(Default)]
struct Home {
    ledger: Ledger,
    disk: BTreeMap<Hash, Vec<u8>>,
    is_down: bool,
    since: Duration,
    life: u32,
    waiting: BTreeMap<Hash, Vec<(usize, u32)>>,
    breaker: Breaker,
}

struct Call {
    kind: Kind,
    plan: Option<Plan>,
    attempt: u32,
    /// Of the attempt under way: at whom, and its pass.
    at: Option<(usize, Pass)>,
    effects: u32,
    told: Option<Result<(), Failed>>,
    /// A death, or the upstream, took its answer.
    is_excused: bool,
}

struct Model {
    bug: Bug,
    chance: Chance,
    now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    count: u64,
    homes: Vec<Home>,
    calls: Vec<Call>,
    budget: Budget,
}

fn key(call: usize) -> Hash {
    [call as u8; 32]
}

fn id(home: usize) -> NodeId {
    NodeId([home as u8 + 1; 32])
}

impl Model {
    fn new(seed: u64, bug: Bug) -> Self {
        let mut chance = Chance(seed);
        let kinds = [Kind::Unsafe, Kind::Keyed, Kind::Idempotent];
        let calls = (0..CALLS).map(|number| Call {
            kind: kinds[number % 3],
            plan: None,
            attempt: 0,
            at: None,
            effects: 0,
            told: None,
            is_excused: false,
        });
        let mut model = Self {
            bug,
            calls: calls.collect(),
            homes: (0..HOMES).map(|_| Home::default()).collect(),
            events: BTreeMap::new(),
            now: Duration::ZERO,
            count: 0,
            budget: Budget::default(),
            chance: Chance(chance.next_u64()),
        };
        for call in 0..CALLS {
            model.after(MS * (chance.next_u32() % 25_000), Event::Begin(call));
        }
        for home in 0..HOMES {
            let mut at = MS * (chance.next_u32() % 10_000);
            while at < STORM {
                model.after(at, Event::Kill(home));
                at += MS * (200 + chance.next_u32() % 6_000);
                model.after(at, Event::Start(home));
                at += MS * (500 + chance.next_u32() % 8_000);
            }
        }
        model
    }

    fn after(&mut self, pause: Duration, event: Event) {
        self.count += 1;
        self.events.insert((self.now + pause, self.count), event);
    }

    /// In so many of a hundred cases, while faults happen.
    fn fault(&mut self, percent: u32) -> bool {
        self.chance.next_u32() % 100 < percent && self.now < STORM
    }

    fn delay(&mut self) -> Duration {
        let late = self.fault(3);
        MS * (1 + self.chance.next_u32() % if late { 4_000 } else { 40 })
    }

    fn run(mut self) -> Vec<Call> {
        while let Some(((at, _), event)) = self.events.pop_first().filter(|((at, _), _)| *at < END) {
            self.now = at;
            self.handle(event);
        }
        self.calls
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Begin(call) => self.begin(call),
            Event::Next(call) => self.next(call),
            Event::Arrive { call, attempt, home } => self.arrive(call, attempt, home),
            Event::Durable { call, home, life } if self.homes[home].life == life => {
                let delay = self.delay();
                self.after(delay, Event::Run { call, attempt: 0, home, life });
            }
            Event::Run { call, attempt, home, life } if self.homes[home].life == life => {
                self.run_upstream(call, attempt, home);
            }
            Event::Over { call, attempt, home, life } if self.homes[home].life == life => {
                let is_lost = self.fault(10);
                self.calls[call].is_excused |= is_lost;
                self.over(call, attempt, home, is_lost);
            }
            Event::Told { call, attempt, told } if self.calls[call].attempt == attempt => self.told(call, told),
            Event::Kill(home) => self.kill(home),
            Event::Start(home) => {
                let restored = std::mem::take(&mut self.homes[home].disk);
                for (key, bytes) in &restored {
                    let entry = Entry::decode(bytes).expect("what was written");
                    if self.bug != Bug::Forgetful || entry.end.is_some() {
                        self.homes[home].ledger.restore(*key, entry);
                    }
                }
                self.homes[home].disk = restored;
                (self.homes[home].is_down, self.homes[home].since) = (false, self.now);
            }
            // Of a life that is over, or of an attempt nobody waits for.
            _ => {}
        }
    }

    fn begin(&mut self, call: usize) {
        let heard = |home: &Home| home.is_down && self.now.saturating_sub(home.since) > MS * 1_000;
        let instances: Vec<Instance> = (0..HOMES)
            .map(|home| Instance {
                node: id(home),
                address: String::new(),
                health: if heard(&self.homes[home]) { Health::Down } else { Health::Ok },
                error: String::new(),
                since_ms: 0,
            })
            .collect();
        let policy = Policy {
            idempotent: self.calls[call].kind == Kind::Idempotent,
            balance: Balance::RoundRobin,
            ..Policy::default()
        };
        let key = (self.calls[call].kind == Kind::Keyed && self.bug != Bug::AnyHome).then(|| key(call));
        let turn = self.chance.next_u64();
        self.budget.on_call(policy.retry_share);
        self.calls[call].plan = Some(Plan::new(&instances, policy, key, turn, self.now + MS * 10_000));
        self.next(call);
    }

    fn next(&mut self, call: usize) {
        let (now, chance) = (self.now, self.chance.next_u64());
        let (homes, budget) = (&self.homes, &mut self.budget);
        let Some(plan) = &mut self.calls[call].plan else { return };
        let of = |instance: &Instance| usize::from(instance.node.0[0]) - 1;
        let step = plan.next(now, chance, budget, |instance| Standing {
            refuses_until: homes[of(instance)].breaker.refuses_until(now),
            ..Standing::default()
        });
        match step {
            Step::Wait(until) => self.after(until - now, Event::Next(call)),
            Step::Done(ended) => self.ended(call, ended),
            Step::Try(instance) => {
                let home = of(&instance);
                let pass = self.homes[home].breaker.begin(now).expect("it lets through what was chosen");
                self.calls[call].attempt += 1;
                self.calls[call].at = Some((home, pass));
                self.send(call, self.calls[call].attempt, home);
            }
        }
    }

    fn send(&mut self, call: usize, attempt: u32, home: usize) {
        self.after(PATIENCE, Event::Told { call, attempt, told: Err(Failed::Lost) });
        if self.homes[home].is_down || self.fault(10) {
            return self.after(MS, Event::Told { call, attempt, told: Err(Failed::NotSent) });
        }
        if !self.fault(10) {
            let delay = self.delay();
            self.after(delay, Event::Arrive { call, attempt, home });
        }
    }

    fn arrive(&mut self, call: usize, attempt: u32, home: usize) {
        let (life, wall_ms) = (self.homes[home].life, 1);
        if self.homes[home].is_down {
            return;
        }
        let delay = self.delay();
        if self.calls[call].kind != Kind::Keyed {
            return self.after(delay, Event::Run { call, attempt, home, life });
        }
        let key = key(call);
        let begun = self.homes[home].ledger.begin(wall_ms, key, [0; 32], "lab");
        match begun {
            Begun::First(entry) => {
                // It is durable when the next step comes; who dies before it may have it or not.
                if self.bug != Bug::IntentAfterwards {
                    self.homes[home].disk.insert(key, entry.encode());
                }
                self.homes[home].waiting.entry(key).or_default().push((call, attempt));
                self.after(MS, Event::Durable { call, home, life });
            }
            Begun::Running => self.homes[home].waiting.entry(key).or_default().push((call, attempt)),
            Begun::Ended(end) => {
                let told = match end.failed {
                    true => Err(Failed::MayHaveRun),
                    false => Ok(()),
                };
                if self.bug == Bug::NothingReplayed && told.is_ok() {
                    self.after(delay, Event::Run { call, attempt, home, life });
                }
                self.answer(call, attempt, told);
            }
            other => panic!("{other:?}"),
        }
    }

    fn run_upstream(&mut self, call: usize, attempt: u32, home: usize) {
        let life = self.homes[home].life;
        if self.fault(15) {
            if self.calls[call].kind == Kind::Keyed && self.homes[home].ledger.not_sent(key(call)) {
                self.homes[home].disk.remove(&key(call));
            }
            return self.answer_all(call, attempt, home, Err(Failed::NotSent));
        }
        self.calls[call].effects += 1;
        let delay = self.delay();
        self.after(delay, Event::Over { call, attempt, home, life });
    }

    fn over(&mut self, call: usize, attempt: u32, home: usize, is_lost: bool) {
        if self.calls[call].kind == Kind::Keyed {
            let answer = (!is_lost).then_some(&b"done"[..]);
            if let Some(entry) = self.homes[home].ledger.end(key(call), is_lost, answer) {
                self.homes[home].disk.insert(key(call), entry.encode());
            }
        }
        self.answer_all(call, attempt, home, if is_lost { Err(Failed::MayHaveRun) } else { Ok(()) });
    }

    fn answer_all(&mut self, call: usize, attempt: u32, home: usize, told: Result<(), Failed>) {
        if self.calls[call].kind != Kind::Keyed {
            return self.answer(call, attempt, told);
        }
        for (call, attempt) in self.homes[home].waiting.remove(&key(call)).unwrap_or_default() {
            self.answer(call, attempt, told);
        }
    }

    fn answer(&mut self, call: usize, attempt: u32, told: Result<(), Failed>) {
        if !self.fault(20) {
            let delay = self.delay();
            self.after(delay, Event::Told { call, attempt, told });
        }
    }

    fn told(&mut self, call: usize, told: Result<(), Failed>) {
        let at = self.calls[call].at.take();
        if let Some((home, pass)) = at {
            let verdict = match told {
                Ok(()) => Verdict::Good,
                Err(_) => Verdict::Bad,
            };
            self.homes[home].breaker.end(self.now, pass, verdict, 0);
        }
        // Whatever comes of this attempt later comes too late.
        self.calls[call].attempt += 1;
        match told {
            Ok(()) => {
                self.calls[call].told.get_or_insert(Ok(()));
                self.calls[call].plan = None;
            }
            Err(failed) => {
                let seen = if self.bug == Bug::LostIsNotSent { Failed::NotSent } else { failed };
                if let (Some(plan), Some((home, _))) = (&mut self.calls[call].plan, at) {
                    plan.on_failed(id(home), seen);
                }
                if failed == Failed::MayHaveRun && self.calls[call].kind == Kind::Keyed {
                    self.calls[call].told.get_or_insert(Err(failed));
                }
                self.next(call);
            }
        }
    }

    fn ended(&mut self, call: usize, ended: Ended) {
        self.calls[call].plan = None;
        let is_told = self.calls[call].told.is_some();
        let is_final = self.calls[call].kind == Kind::Unsafe && ended == Ended::MayHaveRun;
        if is_final {
            self.calls[call].told = Some(Err(Failed::Lost));
        } else if !is_told && (self.calls[call].kind != Kind::Unsafe || ended != Ended::MayHaveRun) {
            // Nothing was sent, or it may be repeated: the client comes back.
            self.after(MS * 1_000, Event::Begin(call));
        }
    }

    fn kill(&mut self, home: usize) {
        let running: Vec<usize> = self.homes[home].waiting.values().flatten().map(|(call, _)| *call).collect();
        for call in running {
            self.calls[call].is_excused = true;
        }
        let before = std::mem::take(&mut self.homes[home]);
        let (disk, breaker) = (before.disk, before.breaker);
        self.homes[home] =
            Home { disk, breaker, is_down: true, since: self.now, life: before.life + 1, ..Home::default() };
    }
}

/// What does not hold after such a run.
fn broken(seed: u64, bug: Bug) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, call) in Model::new(seed, bug).run().into_iter().enumerate() {
        let Call { kind, effects, told, is_excused, .. } = call;
        let mut must = |holds: bool, what: &str| {
            if !holds {
                broken.push(format!("seed {seed}, call {number}, {kind:?}: {what}; {effects} effects, told {told:?}"));
            }
        };
        must(kind == Kind::Idempotent || effects <= 1, "it ran twice");
        must(told != Some(Ok(())) || effects > 0, "an answer without an effect");
        must(told.is_some(), "its client was never told an end");
        must(kind != Kind::Keyed || told == Some(Ok(())) || is_excused, "its answer is lost without a cause");
    }
    broken
}

#[test]
fn no_call_runs_twice_and_no_keyed_one_is_lost_whatever_is_lost_or_dies() {
    let broken: Vec<String> = (0..300).flat_map(|seed| broken(seed, Bug::None)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_planted_bug_of_execution_is_seen() {
    for bug in [Bug::LostIsNotSent, Bug::IntentAfterwards, Bug::Forgetful, Bug::AnyHome, Bug::NothingReplayed] {
        assert!((0..100).any(|seed| !broken(seed, bug).is_empty()), "{bug:?}");
    }
}

#[test]
fn the_storm_is_one() {
    let calls: Vec<Call> = (0..30).flat_map(|seed| Model::new(seed, Bug::None).run()).collect();
    let kinds: BTreeSet<String> = calls.iter().map(|call| format!("{:?} {:?}", call.kind, call.told)).collect();
    let wanted = ["Unsafe Some(Err(Lost))", "Unsafe Some(Ok(()))", "Keyed Some(Err(MayHaveRun))", "Keyed Some(Ok(()))"];
    assert!(wanted.iter().all(|one| kinds.contains(*one)), "{kinds:?}");
    assert!(calls.iter().any(|call| call.kind == Kind::Idempotent && call.effects > 1), "some are repeated");
}
