//! The plan of one call: which instance is tried when, and whether another may be tried after a failure.
//!
//! A call runs at most once unless it may be repeated (P4): it moves to another instance only after an attempt that provably
//! never reached an upstream.

use std::time::Duration;

use crate::record::NodeId;
use crate::wire::message::{Health, Instance};

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Try this instance; the attempt ends with the deadline.
    Try(Instance),
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
    /// An attempt may have run; another one could run it twice.
    MayHaveRun,
    /// Every instance was tried, none took the call.
    NobodyTookIt,
    /// The deadline passed.
    OutOfTime,
}

/// One call on its way through its instances.
#[derive(Clone, Debug)]
pub struct Plan {
    left: Vec<Instance>,
    deadline: Duration,
    tried: usize,
    ended: Option<Ended>,
}

impl Plan {
    /// A plan over everybody who serves the tool. Healthy instances come first: the one of the node itself, `here`, to which no
    /// connection can be lost, then the others in turn by `turn` (round robin). What is down is not tried.
    pub fn new(instances: &[Instance], here: NodeId, turn: u64, deadline: Duration) -> Self {
        let of = |health| instances.iter().filter(move |instance| instance.health == health).cloned();
        let mut healthy: Vec<Instance> = of(Health::Ok).collect();
        if !healthy.is_empty() {
            let at = usize::try_from(turn % healthy.len() as u64).unwrap_or(0);
            healthy.rotate_left(at);
            healthy.sort_by_key(|instance| instance.node != here);
        }
        let left: Vec<Instance> = healthy.into_iter().chain(of(Health::Degraded)).collect();
        let ended = match (left.is_empty(), instances.iter().any(|instance| instance.health == Health::Down)) {
            (true, true) => Some(Ended::AllDown),
            (true, false) => Some(Ended::NothingServes),
            (false, _) => None,
        };
        Self { left, deadline, tried: 0, ended }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Duration) -> Step {
        if let Some(ended) = self.ended {
            return Step::Done(ended);
        }
        if now >= self.deadline {
            return self.end(Ended::OutOfTime);
        }
        if self.left.is_empty() {
            return self.end(Ended::NobodyTookIt);
        }
        self.tried += 1;
        Step::Try(self.left.remove(0))
    }

    /// An attempt failed. Unless it was provably not sent, the call ends here.
    pub fn on_failed(&mut self, not_sent: bool) {
        if !not_sent {
            self.ended = Some(Ended::MayHaveRun);
        }
    }

    /// Attempts so far.
    pub const fn tried(&self) -> usize {
        self.tried
    }

    fn end(&mut self, ended: Ended) -> Step {
        self.ended = Some(ended);
        Step::Done(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(number: u8, health: Health) -> Instance {
        Instance { node: NodeId([number; 32]), address: String::new(), health, error: String::new(), since_ms: 0 }
    }

    const ELSEWHERE: NodeId = NodeId([99; 32]);
    const SOON: Duration = Duration::from_secs(1);
    const DEADLINE: Duration = Duration::from_secs(30);

    fn tried(plan: &mut Plan) -> u8 {
        match plan.next(SOON) {
            Step::Try(instance) => instance.node.0[0],
            Step::Done(ended) => panic!("ended: {ended:?}"),
        }
    }

    #[test]
    fn healthy_instances_take_turns_and_down_ones_are_left_out() {
        let all = [instance(1, Health::Ok), instance(2, Health::Ok), instance(3, Health::Down)];
        let mut first = Plan::new(&all, ELSEWHERE, 0, DEADLINE);
        let mut second = Plan::new(&all, ELSEWHERE, 1, DEADLINE);
        assert_eq!((tried(&mut first), tried(&mut second)), (1, 2));
        first.on_failed(true);
        assert_eq!(tried(&mut first), 2);
        first.on_failed(true);
        assert_eq!(first.next(SOON), Step::Done(Ended::NobodyTookIt));
    }

    #[test]
    fn an_instance_of_the_node_itself_comes_first_whoevers_turn_it_is() {
        let all = [instance(1, Health::Ok), instance(2, Health::Ok), instance(3, Health::Ok)];
        for turn in 0..3 {
            assert_eq!(tried(&mut Plan::new(&all, NodeId([2; 32]), turn, DEADLINE)), 2);
        }
    }

    #[test]
    fn what_may_have_run_is_not_tried_again() {
        let mut plan = Plan::new(&[instance(1, Health::Ok), instance(2, Health::Ok)], ELSEWHERE, 0, DEADLINE);
        tried(&mut plan);
        plan.on_failed(false);
        assert_eq!(plan.next(SOON), Step::Done(Ended::MayHaveRun));
    }

    #[test]
    fn a_plan_says_why_there_is_nobody() {
        let end = |all: &[Instance]| Plan::new(all, ELSEWHERE, 0, DEADLINE).next(SOON);
        assert_eq!(end(&[instance(1, Health::Unknown)]), Step::Done(Ended::NothingServes));
        assert_eq!(end(&[instance(1, Health::Down)]), Step::Done(Ended::AllDown));
        assert_eq!(Plan::new(&[instance(1, Health::Ok)], ELSEWHERE, 0, SOON).next(SOON), Step::Done(Ended::OutOfTime));
    }
}
