//! Whether whoever asked can use what he found, and why not: told with every result, so that nobody learns it from a failed call.
//!
//! It is what this node knows at this moment. The home of a tool has the last word, and says so when it is called.

use aop_proto::access::Sight;
use aop_proto::name::ZoneName;
use aop_proto::wire::message::Health;
use serde_json::{Value, json};

use super::Hit;

/// One reason why a tool cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// `auth`, `transport` or `protocol`.
    pub check: &'static str,
    /// In words.
    pub reason: String,
    /// A command that helps, where there is one.
    pub hint: Option<String>,
}

impl Obstacle {
    /// This node leaves it alone until then.
    pub(super) fn left_alone(name: &str, retry_at_ms: u64) -> Self {
        let until = crate::clock::rfc3339(retry_at_ms.div_ceil(1000));
        Self {
            check: "transport",
            reason: format!("too many calls of its server failed; this node leaves it alone until {until}"),
            hint: Some(format!("aop show {name}")),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"check": self.check, "reason": self.reason, "hint": self.hint})
    }
}

/// Everything that stands between a tool and whoever may call only what `calls` shows.
pub(super) fn obstacles(hit: &Hit, calls: Option<&Sight>) -> Vec<Obstacle> {
    [auth(hit, calls), transport(hit), protocol(hit)].into_iter().flatten().collect()
}

fn auth(hit: &Hit, calls: Option<&Sight>) -> Option<Obstacle> {
    let zone = ZoneName::parse(&hit.zone).ok()?;
    let may = calls.is_none_or(|calls| calls.sees(&zone, &hit.name));
    (!may).then(|| Obstacle {
        check: "auth",
        reason: "you may find it here, and not call it; the operator of this node can allow it".to_owned(),
        hint: None,
    })
}

fn transport(hit: &Hit) -> Option<Obstacle> {
    let obstacle = |reason: String, hint: Option<String>| Some(Obstacle { check: "transport", reason, hint });
    let show = || Some(format!("aop show {}", hit.name));
    if hit.stale {
        return obstacle(format!("nobody of zone {} answers", hit.zone), Some("aop zones".to_owned()));
    }
    let any = |health| hit.instances.iter().any(|instance| instance.health == health);
    if any(Health::Ok) {
        None
    } else if any(Health::Degraded) {
        obstacle("its server is not connected to the node that serves it".to_owned(), show())
    } else if any(Health::Down) {
        obstacle("every node that serves it is down".to_owned(), show())
    } else {
        obstacle("it is listed only: no node serves it".to_owned(), Some("aop register --help".to_owned()))
    }
}

/// A tool that can only be run as a task (MCP 2025-11-25, `execution.taskSupport`): this node passes on plain calls.
fn protocol(hit: &Hit) -> Option<Obstacle> {
    const MEMBER: &[u8] = b"\"taskSupport\"";
    // Hardly any has it, and reading a definition takes longer than everything else here.
    if !hit.definition.windows(MEMBER.len()).any(|window| window == MEMBER) {
        return None;
    }
    let definition: Value = serde_json::from_slice(&hit.definition).ok()?;
    let is_task = definition["execution"]["taskSupport"] == "required";
    is_task.then(|| Obstacle {
        check: "protocol",
        reason: "it can only be run as a task, and this node passes on plain calls".to_owned(),
        hint: None,
    })
}

#[cfg(test)]
mod tests {
    use aop_proto::access::{Action, Caller, Glob, Policy, Rule};
    use aop_proto::record::NodeId;
    use aop_proto::wire::message::Instance;

    use super::*;

    fn hit(health: Health) -> Hit {
        let (node, address, error) = (NodeId([1; 32]), String::new(), String::new());
        Hit {
            name: "echo.demo.lab".to_owned(),
            zone: "lab".to_owned(),
            server: "demo".to_owned(),
            instances: vec![Instance { node, address, health, error, since_ms: 0 }],
            ..Hit::default()
        }
    }

    fn checks(hit: &Hit, calls: Option<&Sight>) -> Vec<&'static str> {
        obstacles(hit, calls).into_iter().map(|obstacle| obstacle.check).collect()
    }

    #[test]
    fn what_is_well_and_allowed_is_usable() {
        assert_eq!(obstacles(&hit(Health::Ok), None), []);
    }

    #[test]
    fn every_reason_is_told() {
        let denied = Rule {
            principal: Glob::new("*"),
            action: Some(Action::Call),
            zone: None,
            tool: Glob::new("*.demo.lab"),
            deny: true,
        };
        let policy = Policy { is_open: true, rules: vec![denied] };
        let calls = Sight::of_calls(&policy, &Caller::anonymous()).unwrap();
        assert_eq!(checks(&hit(Health::Ok), Some(&calls)), ["auth"]);
        assert_eq!(checks(&Hit { name: "echo.else.lab".to_owned(), ..hit(Health::Ok) }, Some(&calls)), [""; 0]);
        for health in [Health::Unknown, Health::Degraded, Health::Down] {
            assert_eq!(checks(&hit(health), None), ["transport"]);
        }
        assert_eq!(checks(&Hit { stale: true, ..hit(Health::Ok) }, None), ["transport"]);
        let with = |definition: &str| Hit { definition: definition.to_owned().into(), ..hit(Health::Ok) };
        assert_eq!(checks(&with(r#"{"execution":{"taskSupport":"required"}}"#), None), ["protocol"]);
        assert_eq!(checks(&with(r#"{"execution":{"taskSupport":"optional"}}"#), None), [""; 0]);
        assert_eq!(checks(&with(r#"{"description":"\"taskSupport\" \"required\""}"#), None), [""; 0]);
    }
}
