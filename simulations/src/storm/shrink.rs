//! The smallest storm that still ends badly: first without each kind of fault, then without more and more of its events (delta
//! debugging, Zeller & Hildebrandt 2002).

use super::Plan;

/// Tries plans with less in them as long as `fails` says that they end badly too; `told` hears of every one that does.
pub fn shrink(plan: &Plan, mut fails: impl FnMut(&Plan) -> bool, mut told: impl FnMut(&Plan)) -> Plan {
    let mut least = plan.clone();
    for fault in plan.faults.clone() {
        let mut fewer = least.clone();
        fewer.faults.remove(&fault);
        if fails(&fewer) {
            least = fewer;
            told(&least);
        }
    }
    let mut part = least.events.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < least.events.len() {
            let mut fewer = least.clone();
            fewer.events.drain(at..(at + part).min(least.events.len()));
            if fails(&fewer) {
                least = fewer;
                told(&least);
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storm::Fault;

    #[test]
    fn only_what_matters_is_left() {
        let mut plan = Plan::of(1);
        plan.faults = crate::storm::FAULTS.into();
        let fails =
            |plan: &Plan| plan.faults.contains(&Fault::Pause) && plan.events.contains(&17) && plan.events.contains(&80);
        let mut steps = 0;
        let least = shrink(&plan, fails, |_| steps += 1);
        assert_eq!((least.faults, least.events), ([Fault::Pause].into(), vec![17, 80]));
        assert!(steps > 0);
    }
}
