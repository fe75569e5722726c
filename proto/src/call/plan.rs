//! The plan of one call: which instance is tried when, and whether another attempt may follow a failure.
//!
//! | the attempt | then |
//! | --- | --- |
//! | was provably not sent | another instance at once; where all were tried, again after a pause |
//! | ended in nobody knows what | the same where the tool's calls may be repeated; under a key the home is asked again, which replays; otherwise the end |
//! | was answered, were it with an error | the end |
//!
//! Every attempt but the first at each instance counts as a retry, is paid from the budget and keeps the deadline. A keyed call stays
//! with one home, chosen by the key alone, so that whoever repeats it later, through whatever node, comes to the same one.
//! Where a call may be repeated, another instance is tried beside one that is silent for too long, and where an operator says so of a
//! read-only tool also beside one that is merely slow (hedging); that is paid from the budget as well.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Budget, Policy, Standing, patience};
use crate::error::Kind;
use crate::params::SILENCE_MAX;
use crate::record::{Hash, NodeId};
use crate::wire::message::{Health, Instance};

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Try this instance; the attempt ends with the deadline.
    Try(Instance),
    /// Nothing until then.
    Wait(Duration),
    /// Nobody is left, or nobody may be tried any more.
    Done(Ended),
}

/// Why a plan ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing serves the tool: a catalogue entry.
    NothingServes,
    /// Every node that serves it is down.
    AllDown,
    /// The one that a keyed call belongs to is down: it may have run there before.
    HomeDown,
    /// The breakers of all that are left let nothing through; of the first of them until then.
    CircuitOpen(Duration),
    /// An attempt may have run; another one could run it twice.
    MayHaveRun,
    /// It was answered, with an error.
    Answered,
    /// Every instance was tried, none took the call.
    NobodyTookIt,
    /// It could be tried again, and too much has been already.
    NoBudget,
    /// The deadline passed.
    OutOfTime,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Provably not sent, and the same instance would say the same again.
    Refused,
    /// Provably not sent; a moment later it may be.
    NotSent,
    /// Nobody said how it ended: it may have run.
    Lost,
    /// Its home says that it may have run: it knows no more, and never will.
    MayHaveRun,
    /// The tool's own server answered.
    Answered,
}

impl Failed {
    /// What a problem means for the call. `not_sent`: provably; `is_heard`: whoever serves the tool says so, not whoever lost sight of it;
    /// `is_answer`: the tool's own server said it. A full queue is not asked again by the same call.
    pub const fn of(kind: Kind, not_sent: bool, is_heard: bool, is_answer: bool) -> Self {
        match (not_sent, is_answer) {
            (true, _) if kind.retryable() && !matches!(kind, Kind::Busy) => Self::NotSent,
            (true, _) => Self::Refused,
            (false, true) => Self::Answered,
            (false, false) if is_heard => Self::MayHaveRun,
            (false, false) => Self::Lost,
        }
    }

    /// Whether it was provably not sent.
    pub const fn not_sent(self) -> bool {
        matches!(self, Self::Refused | Self::NotSent)
    }
}

/// One instance on the way through the plan.
#[derive(Clone, Debug)]
struct Place {
    instance: Instance,
    /// Degraded ones come after all healthy ones.
    is_second: bool,
    /// In this round.
    is_tried: bool,
}

/// What attempts before this moment may have done.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    /// The last of them that was sent may have run.
    Lost,
    /// The same, and one after it was not sent.
    Hidden,
}

/// One call on its way through its instances.
#[derive(Clone, Debug)]
pub struct Plan {
    places: Vec<Place>,
    policy: Policy,
    is_keyed: bool,
    turn: u64,
    deadline: Duration,
    tried: u32,
    /// Who was tried.
    nodes: Vec<NodeId>,
    retried: u32,
    rounds: u32,
    /// An attempt that has to be paid for comes next.
    owes: bool,
    wait: Option<Duration>,
    before: Before,
    ended: Option<Ended>,
}

impl Plan {
    /// A plan over everybody who serves the tool, as far as they are not down. `turn` grows with every call; `key` is what the call is
    /// known by at its home, if it may be repeated there.
    pub fn new(instances: &[Instance], policy: Policy, key: Option<Hash>, turn: u64, deadline: Duration) -> Self {
        let serve = instances.iter().filter(|instance| instance.health != Health::Unknown);
        let home = key.filter(|_| !policy.may_repeat()).and_then(|key| {
            serve.clone().max_by_key(|instance| (weight(&key, instance.node), instance.node)).map(|home| home.node)
        });
        let is_meant = |instance: &&Instance| home.is_none_or(|home| instance.node == home);
        let places: Vec<Place> = serve
            .clone()
            .filter(is_meant)
            .filter(|instance| instance.health != Health::Down)
            .map(|instance| Place {
                instance: instance.clone(),
                is_second: instance.health == Health::Degraded,
                is_tried: false,
            })
            .collect();
        let is_any_up = serve.clone().any(|instance| instance.health != Health::Down);
        let ended = match (places.is_empty(), serve.count() > 0) {
            (false, _) => None,
            (true, true) if is_any_up => Some(Ended::HomeDown),
            (true, true) => Some(Ended::AllDown),
            (true, false) => Some(Ended::NothingServes),
        };
        Self {
            places,
            policy,
            is_keyed: key.is_some(),
            turn,
            deadline,
            tried: 0,
            nodes: Vec::new(),
            retried: 0,
            rounds: 0,
            owes: false,
            wait: None,
            before: Before::Nothing,
            ended,
        }
    }

    /// What to do at `now`. `standing` says what is known of an instance at this moment; `chance` is any number.
    pub fn next(
        &mut self,
        now: Duration,
        chance: u64,
        budget: &mut Budget,
        standing: impl Fn(&Instance) -> Standing,
    ) -> Step {
        if let Some(ended) = self.ended {
            return Step::Done(ended);
        }
        if now >= self.deadline {
            return self.end(Ended::OutOfTime);
        }
        if let Some(until) = self.wait.filter(|until| now < *until) {
            return Step::Wait(until);
        }
        if self.wait.take().is_none() && self.places.iter().all(|place| place.is_tried) {
            return self.again(now, chance, budget);
        }
        if self.owes {
            if let Some(ended) = self.pay(budget) {
                return self.end(ended);
            }
            self.owes = false;
        }
        self.choose(chance, standing)
    }

    /// How long from `now` on nobody may answer before another instance is tried beside whoever is asked; nothing where none is left, or
    /// where a call that runs twice does harm. `usual` is what the tool takes of late: who is silent for many times that, for
    /// [`SILENCE_MAX`] where nothing is known of it, or for half of the time that is left, may hang. An operator's bound for hedging is
    /// shorter, and not for keyed calls.
    pub fn hedges_after(&self, now: Duration, usual: Option<Duration>) -> Option<Duration> {
        let is_left = self.places.iter().any(|place| !place.is_tried);
        if !is_left || !self.policy.may_repeat() || self.ended.is_some() {
            return None;
        }
        let half = self.deadline.saturating_sub(now) / 2;
        let hedge = self.policy.hedge.filter(|_| self.policy.read_only && !self.is_keyed);
        hedge.into_iter().chain([usual.map_or(SILENCE_MAX, patience), half]).min()
    }

    /// Another instance, to be tried beside those that do not answer; nothing where there is none, or no budget for it.
    pub fn hedge(
        &mut self,
        now: Duration,
        chance: u64,
        budget: &mut Budget,
        standing: impl Fn(&Instance) -> Standing,
    ) -> Option<Instance> {
        self.hedges_after(now, None)?;
        let (chosen, _) = self.pick(chance, standing);
        let chosen = chosen.filter(|_| now < self.deadline && self.retried < self.policy.retries && budget.take())?;
        self.retried += 1;
        Some(self.begin(chosen))
    }

    /// All were tried: once more, after a pause.
    fn again(&mut self, now: Duration, chance: u64, budget: &mut Budget) -> Step {
        if self.places.is_empty() {
            return self.end(Ended::NobodyTookIt);
        }
        if let Some(ended) = self.pay(budget) {
            return self.end(ended);
        }
        self.owes = false;
        self.rounds += 1;
        let until = now + self.policy.backoff.pause(self.rounds, (chance >> 32) as u32);
        if until >= self.deadline {
            return self.end(Ended::NobodyTookIt);
        }
        self.places.iter_mut().for_each(|place| place.is_tried = false);
        self.wait = Some(until);
        Step::Wait(until)
    }

    fn pay(&mut self, budget: &mut Budget) -> Option<Ended> {
        if self.retried >= self.policy.retries {
            return Some(Ended::NobodyTookIt);
        }
        self.retried += 1;
        (!budget.take()).then_some(Ended::NoBudget)
    }

    fn choose(&mut self, chance: u64, standing: impl Fn(&Instance) -> Standing) -> Step {
        match self.pick(chance, standing) {
            (Some(chosen), _) => Step::Try(self.begin(chosen)),
            (None, Some(until)) => self.end(Ended::CircuitOpen(until)),
            (None, None) => self.end(Ended::NobodyTookIt),
        }
    }

    fn begin(&mut self, chosen: usize) -> Instance {
        self.places[chosen].is_tried = true;
        self.tried += 1;
        let instance = self.places[chosen].instance.clone();
        if !self.nodes.contains(&instance.node) {
            self.nodes.push(instance.node);
        }
        instance
    }

    /// Whose turn it is among those left, or until when all of them are left alone.
    fn pick(&self, chance: u64, standing: impl Fn(&Instance) -> Standing) -> (Option<usize>, Option<Duration>) {
        let left = |is_second| {
            let places = self.places.iter().enumerate();
            places.filter(move |(_, place)| !place.is_tried && place.is_second == is_second).map(|(at, _)| at)
        };
        let mut refusing: Option<Duration> = None;
        for is_second in [false, true] {
            let all: Vec<(usize, Standing)> =
                left(is_second).map(|at| (at, standing(&self.places[at].instance))).collect();
            let (shut, open): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, one)| one.refuses_until.is_some());
            refusing = shut.iter().filter_map(|(_, one)| one.refuses_until).chain(refusing).min();
            let standings: Vec<Standing> = open.iter().map(|(_, one)| *one).collect();
            if let Some(chosen) = self.policy.balance.choose(&standings, self.turn, chance) {
                return (Some(open[chosen].0), refusing);
            }
        }
        (None, refusing)
    }

    /// The attempt at that node failed.
    pub fn on_failed(&mut self, node: NodeId, failed: Failed) {
        let may_repeat = self.policy.may_repeat();
        let may_have_run = matches!(failed, Failed::Lost | Failed::MayHaveRun);
        self.before = match self.before {
            // Only the last attempt is told of.
            Before::Lost if failed.not_sent() => Before::Hidden,
            _ if may_have_run => Before::Lost,
            before => before,
        };
        match failed {
            Failed::NotSent => {}
            Failed::Refused => self.places.retain(|place| place.instance.node != node),
            Failed::Lost if may_repeat || self.is_keyed => self.owes = true,
            Failed::MayHaveRun if may_repeat => self.owes = true,
            Failed::Lost | Failed::MayHaveRun => self.ended = Some(Ended::MayHaveRun),
            Failed::Answered => self.ended = Some(Ended::Answered),
        }
    }

    /// Whether an attempt may have run and one after it was not sent, which is what the last problem says.
    pub const fn hides_a_run(&self) -> bool {
        matches!(self.before, Before::Hidden)
    }

    /// Attempts so far.
    pub const fn tried(&self) -> u32 {
        self.tried
    }

    /// Who was tried so far.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    fn end(&mut self, ended: Ended) -> Step {
        self.ended = Some(ended);
        Step::Done(ended)
    }
}

/// Rendezvous: the node of the greatest number is a key's home, and stays so for all keys but its own when another comes or goes.
fn weight(key: &Hash, node: NodeId) -> Hash {
    Sha256::new_with_prefix(key).chain_update(node.0).finalize().into()
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

    use super::*;
    use crate::call::Balance;
    use crate::params::BREAKER_TIME_MIN;
    use crate::params::RETRY_BURST;

    #[test]
    fn what_was_lost_is_not_hidden_by_what_was_not_sent() {
        let only = instance(1, Health::Ok);
        let mut plan = Plan::new(std::slice::from_ref(&only), Policy::default(), Some([7; 32]), 0, Duration::MAX);
        for (failed, hides) in [
            (Failed::NotSent, false),
            (Failed::Lost, false),
            (Failed::NotSent, true),
            (Failed::Refused, true),
            (Failed::Lost, false),
        ] {
            plan.on_failed(only.node, failed);
            assert_eq!(plan.hides_a_run(), hides, "{failed:?}");
        }
    }

    fn instance(number: u8, health: Health) -> Instance {
        Instance { node: NodeId([number; 32]), address: String::new(), health, error: String::new(), since_ms: 0 }
    }

    fn healthy(count: u8) -> Vec<Instance> {
        (1..=count).map(|number| instance(number, Health::Ok)).collect()
    }

    const SOON: Duration = Duration::from_secs(1);
    const DEADLINE: Duration = Duration::from_secs(30);
    const KEY: Option<Hash> = Some([3; 32]);

    fn idempotent() -> Policy {
        Policy { idempotent: true, ..Policy::default() }
    }

    fn node(number: u8) -> NodeId {
        NodeId([number; 32])
    }

    fn hedged() -> Policy {
        Policy { read_only: true, hedge: Some(SOON), ..Policy::default() }
    }

    fn step(plan: &mut Plan, now: Duration) -> Step {
        plan.next(now, 0, &mut Budget::default(), |_| Standing::default())
    }

    fn tried(plan: &mut Plan) -> u8 {
        match step(plan, SOON) {
            Step::Try(instance) => instance.node.0[0],
            other => panic!("{other:?}"),
        }
    }

    /// Fails every attempt so; the instances tried, and the end.
    fn fail_all(plan: &mut Plan, failed: Failed) -> (Vec<u8>, Ended) {
        let (mut now, mut seen) = (SOON, Vec::new());
        loop {
            match step(plan, now) {
                Step::Try(instance) => {
                    seen.push(instance.node.0[0]);
                    plan.on_failed(instance.node, failed);
                }
                Step::Wait(until) => {
                    assert!(until > now && until < DEADLINE);
                    now = until;
                }
                Step::Done(ended) => return (seen, ended),
            }
        }
    }

    #[test]
    fn healthy_instances_take_turns_and_down_ones_are_left_out() {
        let all = [instance(1, Health::Ok), instance(2, Health::Ok), instance(3, Health::Down)];
        let mut first = Plan::new(&all, Policy::default(), None, 0, DEADLINE);
        let mut second = Plan::new(&all, Policy::default(), None, 1, DEADLINE);
        assert_eq!((tried(&mut first), tried(&mut second)), (1, 2));
        first.on_failed(node(1), Failed::NotSent);
        assert_eq!(tried(&mut first), 2);
    }

    #[test]
    fn an_instance_of_the_node_itself_comes_first_whoevers_turn_it_is() {
        for turn in 0..3 {
            let mut plan = Plan::new(&healthy(3), Policy::default(), None, turn, DEADLINE);
            let here = |instance: &Instance| Standing { is_here: instance.node.0[0] == 2, ..Standing::default() };
            let Step::Try(first) = plan.next(SOON, 0, &mut Budget::default(), here) else { panic!("an attempt") };
            assert_eq!(first.node.0[0], 2);
        }
    }

    #[test]
    fn degraded_ones_come_last_however_fast_they_are() {
        let all = [instance(1, Health::Degraded), instance(2, Health::Ok)];
        for (_, balance) in Balance::ALL {
            let policy = Policy { balance, retries: 0, ..Policy::default() };
            let mut plan = Plan::new(&all, policy, None, 0, DEADLINE);
            assert_eq!(fail_all(&mut plan, Failed::NotSent), (vec![2, 1], Ended::NobodyTookIt));
        }
    }

    #[test]
    fn what_may_have_run_is_not_tried_again() {
        for failed in [Failed::Lost, Failed::MayHaveRun] {
            let mut plan = Plan::new(&healthy(2), Policy::default(), None, 0, DEADLINE);
            assert_eq!(fail_all(&mut plan, failed), (vec![1], Ended::MayHaveRun));
        }
        let mut plan = Plan::new(&healthy(2), idempotent(), None, 0, DEADLINE);
        assert_eq!(fail_all(&mut plan, Failed::Answered), (vec![1], Ended::Answered));
    }

    #[test]
    fn what_may_be_repeated_is_tried_elsewhere_at_once_and_then_after_a_pause() {
        let mut plan = Plan::new(&healthy(2), idempotent(), None, 0, DEADLINE);
        assert_eq!(fail_all(&mut plan, Failed::Lost), (vec![1, 2, 1], Ended::NobodyTookIt));
        let mut plan = Plan::new(&healthy(2), Policy::default(), None, 0, DEADLINE);
        assert_eq!(fail_all(&mut plan, Failed::NotSent), (vec![1, 2, 1, 2, 1, 2], Ended::NobodyTookIt));
        let mut plan = Plan::new(&healthy(2), Policy::default(), None, 0, DEADLINE);
        assert_eq!(fail_all(&mut plan, Failed::Refused), (vec![1, 2], Ended::NobodyTookIt));
    }

    #[test]
    fn a_keyed_call_stays_with_its_home_whoever_makes_it() {
        let home = |all: &[Instance], key: u8, turn| {
            let mut plan = Plan::new(all, Policy::default(), Some([key; 32]), turn, DEADLINE);
            let (seen, ended) = fail_all(&mut plan, Failed::Lost);
            assert!(ended == Ended::NobodyTookIt && seen.len() == 3 && seen.iter().all(|node| *node == seen[0]));
            seen[0]
        };
        let mut moved = 0;
        for key in 0..100 {
            let among_three = home(&healthy(3), key, 0);
            let mut backwards = healthy(3);
            backwards.reverse();
            assert_eq!(among_three, home(&backwards, key, 1));
            let among_four = home(&healthy(4), key, 2);
            assert!(among_four == among_three || among_four == 4);
            moved += u32::from(among_four == 4);
            // Down, it may have run there; so it runs nowhere else.
            let mut without = healthy(3);
            without[usize::from(among_three) - 1].health = Health::Down;
            let mut plan = Plan::new(&without, Policy::default(), Some([key; 32]), 0, DEADLINE);
            assert_eq!(step(&mut plan, SOON), Step::Done(Ended::HomeDown));
            let mut plan = Plan::new(&without, idempotent(), Some([key; 32]), 0, DEADLINE);
            assert!(matches!(step(&mut plan, SOON), Step::Try(_)));
        }
        assert!((10..45).contains(&moved), "{moved}");
        // Its home's word that it may have run is the last one.
        let mut plan = Plan::new(&healthy(3), Policy::default(), KEY, 0, DEADLINE);
        assert_eq!(fail_all(&mut plan, Failed::MayHaveRun).1, Ended::MayHaveRun);
    }

    #[test]
    fn whose_breaker_is_open_is_left_out() {
        let mut plan = Plan::new(&healthy(2), Policy::default(), None, 0, DEADLINE);
        let shut = |number: u8| {
            move |instance: &Instance| Standing {
                refuses_until: (number == 0 || instance.node.0[0] == number)
                    .then(|| Duration::from_secs(u64::from(instance.node.0[0]))),
                ..Standing::default()
            }
        };
        let Step::Try(other) = plan.next(SOON, 0, &mut Budget::default(), shut(1)) else { panic!("an attempt") };
        assert_eq!(other.node.0[0], 2);
        let mut plan = Plan::new(&healthy(2), Policy::default(), None, 0, DEADLINE);
        let all = plan.next(SOON, 0, &mut Budget::default(), shut(0));
        assert_eq!(all, Step::Done(Ended::CircuitOpen(Duration::from_secs(1))));
    }

    #[test]
    fn an_outage_is_not_answered_with_a_storm() {
        let mut budget = Budget::default();
        let mut attempts = 0;
        for turn in 0..10_000 {
            budget.on_call(20);
            let policy = if turn % 2 == 0 { idempotent() } else { hedged() };
            let mut plan = Plan::new(&healthy(2), policy, None, turn, DEADLINE);
            let mut now = SOON;
            loop {
                match plan.next(now, turn, &mut budget, |_| Standing::default()) {
                    Step::Try(instance) => {
                        attempts += 1;
                        attempts += u32::from(plan.hedge(now, turn, &mut budget, |_| Standing::default()).is_some());
                        plan.on_failed(instance.node, Failed::Lost);
                    }
                    Step::Wait(until) => now = until,
                    Step::Done(_) => break,
                }
            }
        }
        assert!(attempts <= 12_000 + RETRY_BURST, "{attempts}");
    }

    #[test]
    fn another_instance_is_tried_beside_a_slow_one_where_that_changes_nothing() {
        let budget = &mut Budget::default();
        let hedge = |plan: &mut Plan, budget: &mut Budget| plan.hedge(SOON, 0, budget, |_| Standing::default());
        let mut plan = Plan::new(&healthy(2), hedged(), None, 0, DEADLINE);
        assert_eq!((plan.hedges_after(SOON, None), tried(&mut plan)), (Some(SOON), 1));
        assert_eq!(hedge(&mut plan, budget).map(|instance| instance.node), Some(node(2)));
        assert_eq!(hedge(&mut plan, budget), None, "nobody is left");
        // Whichever of them took nothing is out, and the other goes on.
        plan.on_failed(node(1), Failed::Refused);
        plan.on_failed(node(2), Failed::NotSent);
        assert!(matches!(step(&mut plan, SOON), Step::Wait(_)));
        // What may not be repeated, and what has neither time nor budget left.
        for (policy, now, is_paid) in [
            (Policy { read_only: false, ..hedged() }, SOON, true),
            (Policy { retries: 0, ..hedged() }, SOON, true),
            (hedged(), DEADLINE, true),
            (hedged(), SOON, false),
        ] {
            let mut plan = Plan::new(&healthy(2), policy.clone(), None, 0, DEADLINE);
            assert!(matches!(step(&mut plan, SOON), Step::Try(_)));
            let mut budget = Budget::default();
            while !is_paid && budget.take() {}
            assert_eq!(plan.hedge(now, 0, &mut budget, |_| Standing::default()), None, "{policy:?}");
        }
    }

    /// A server that hangs takes no more than half of the time from those who could go elsewhere.
    #[test]
    fn who_is_silent_for_long_is_not_waited_for_alone_where_the_call_may_be_repeated() {
        let half = (DEADLINE - SOON) / 2;
        let after = |policy: Policy, key, usual| {
            let mut plan = Plan::new(&healthy(2), policy, key, 0, DEADLINE);
            assert!(matches!(step(&mut plan, SOON), Step::Try(_)));
            plan.hedges_after(SOON, usual)
        };
        let quick = Some(Duration::from_millis(5));
        let unknown = Some(SILENCE_MAX);
        assert_eq!((after(idempotent(), None, None), after(idempotent(), KEY, None)), (unknown, unknown));
        assert_eq!(after(idempotent(), None, quick), Some(BREAKER_TIME_MIN));
        assert_eq!(after(idempotent(), None, Some(DEADLINE)), Some(half));
        // Hedging is for what is read-only and has no key.
        assert_eq!((after(hedged(), None, quick), after(hedged(), KEY, None)), (Some(SOON), unknown));
        assert_eq!(after(Policy { read_only: false, ..hedged() }, None, quick), None);
        let mut alone = Plan::new(&healthy(1), idempotent(), None, 0, DEADLINE);
        assert_eq!((tried(&mut alone), alone.hedges_after(SOON, quick)), (1, None));
    }

    #[test]
    fn a_plan_says_why_there_is_nobody() {
        let end = |all: &[Instance]| step(&mut Plan::new(all, Policy::default(), None, 0, DEADLINE), SOON);
        assert_eq!(end(&[instance(1, Health::Unknown)]), Step::Done(Ended::NothingServes));
        assert_eq!(end(&[instance(1, Health::Down)]), Step::Done(Ended::AllDown));
        let mut late = Plan::new(&healthy(1), Policy::default(), None, 0, SOON);
        assert_eq!(step(&mut late, SOON), Step::Done(Ended::OutOfTime));
    }

    /// Whatever happens to attempts, an unsafe call has at most one that may have run, and no attempt begins after the deadline.
    #[test]
    fn a_call_runs_at_most_once_unless_it_may_be_repeated() {
        for seed in 0..5_000 {
            let mut chance = ChaCha8Rng::seed_from_u64(seed);
            let mut pick = |count: u32| chance.next_u32() % count;
            let healths = [Health::Ok, Health::Ok, Health::Degraded, Health::Down, Health::Unknown];
            let all: Vec<Instance> = (0..pick(5)).map(|n| instance(n as u8, healths[pick(5) as usize])).collect();
            let policy = Policy {
                idempotent: pick(3) == 0,
                hedge: (pick(2) == 0).then_some(SOON),
                retries: pick(6),
                balance: Balance::ALL[pick(5) as usize].1,
                ..Policy::default()
            };
            let key = (pick(3) == 0).then_some([pick(200) as u8; 32]);
            let (may_repeat, retries) = (policy.may_repeat(), policy.retries);
            let mut plan =
                Plan::new(&all, policy, key, u64::from(pick(9)), Duration::from_millis(u64::from(pick(3_000))));
            let (mut now, mut budget) = (Duration::ZERO, Budget::default());
            let (mut may_have_run, mut homes, mut tried) = (0, std::collections::BTreeSet::new(), 0_u32);
            for steps in 0.. {
                assert!(steps < 1_000, "it ends");
                let refuses = (pick(6) == 0).then_some(now);
                let shut = Standing { refuses_until: refuses, ..Standing::default() };
                let at = match plan.next(now, u64::from(pick(u32::MAX)), &mut budget, |_| shut) {
                    Step::Done(_) => break,
                    Step::Wait(until) => {
                        assert!(until > now && until < plan.deadline);
                        now = until;
                        continue;
                    }
                    Step::Try(instance) => {
                        assert!(now < plan.deadline && instance.health != Health::Down);
                        homes.insert(instance.node);
                        tried += 1;
                        if let Some(other) = plan.hedge(now, 0, &mut budget, |_| shut) {
                            assert!(may_repeat && other.node != instance.node);
                            homes.insert(other.node);
                            tried += 1;
                            plan.on_failed(other.node, Failed::Lost);
                        }
                        instance.node
                    }
                };
                now += Duration::from_millis(u64::from(pick(200)));
                let failed = [
                    Failed::Refused,
                    Failed::NotSent,
                    Failed::NotSent,
                    Failed::Lost,
                    Failed::MayHaveRun,
                    Failed::Answered,
                ][pick(6) as usize];
                may_have_run += u32::from(!matches!(failed, Failed::Refused | Failed::NotSent));
                plan.on_failed(at, failed);
            }
            assert!(may_repeat || key.is_some() || may_have_run <= 1, "seed {seed}");
            assert!(may_repeat || key.is_none() || homes.len() <= 1, "seed {seed}");
            assert!(tried <= (retries + 1) * all.len().max(1) as u32, "seed {seed}");
            assert_eq!((tried, plan.nodes().len() <= all.len()), (plan.tried(), true));
        }
    }
}
