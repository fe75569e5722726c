//! Queues, statistics and breakers as operators see and move them.

use aop_proto::access::Caller;
use aop_proto::call::queue::Ticket;
use aop_proto::error::{Kind, Problem};
use aop_proto::name::ZoneName;
use serde_json::{Value, json};

use super::Calls;
use crate::answers::Hit;

/// What an operator does to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueAct {
    /// Nothing begins any more.
    Pause,
    /// Things begin again.
    Resume,
    /// Everybody who waits is let go.
    Clear,
    /// One is.
    Cancel(Ticket),
}

impl Calls {
    /// `aop.queues/1`: every queue of this node, or one with the calls that wait in it.
    ///
    /// # Errors
    /// `NameNotFound`: no call to that tool came here.
    pub fn queues(&self, tool: Option<&str>) -> Result<Value, Problem> {
        let queues = match tool {
            None => self.queues.to_json(),
            Some(tool) => vec![self.queues.show(&self.own_name(tool))?],
        };
        Ok(json!({"schema": "aop.queues/1", "queues": queues}))
    }

    /// Does it to the queue of one tool of this node, or to all.
    ///
    /// # Errors
    /// `NameNotFound`: there is no such tool, queue or waiting call.
    pub fn move_queue(&self, tool: &str, act: QueueAct) -> Result<Value, Problem> {
        let name = self.own_name(tool);
        let mut done = json!({"schema": "aop.queue/1", "name": name});
        match act {
            QueueAct::Pause | QueueAct::Resume => {
                let is_known = self.queues.show(&name).is_ok() || self.serves(&name);
                if !is_known {
                    return Err(self
                        .queues
                        .show(&name)
                        .err()
                        .unwrap_or_else(|| Problem::new(Kind::NameNotFound, name)));
                }
                self.queues.pause(&name, act == QueueAct::Pause, self.policies().of(&name));
                done["state"] = json!(if act == QueueAct::Pause { "paused" } else { "running" });
            }
            QueueAct::Clear => done["cleared"] = json!(self.queues.clear(&name)?),
            QueueAct::Cancel(ticket) => {
                if !self.queues.cancel(&name, ticket)? {
                    let message = format!("no call {ticket} waits in the queue of `{name}`");
                    return Err(Problem::new(Kind::NameNotFound, message).hint(format!("aop queue ls {name}")));
                }
                done["cancelled"] = json!(ticket);
            }
        }
        Ok(done)
    }

    /// `aop.stats/1`: what became of calls, tool by tool at their home and endpoint by endpoint from here, as far as `caller` may find
    /// those tools.
    ///
    /// # Errors
    /// `NameNotFound`: no call to that tool came here, and none went from here to its server.
    pub fn stats(&self, caller: &Caller, name: Option<&str>) -> Result<Value, Problem> {
        let sight = self.handle.sight(caller);
        let (mut tools, mut endpoints) = (self.queues.to_json(), self.endpoints.to_json(sight.is_none()));
        if let Some(sight) = sight {
            let own = &self.handle.view().zone;
            tools.retain(|tool| tool["name"].as_str().is_some_and(|name| sight.sees(own, name)));
            // Which of its tools were called is not kept: it is shown to whoever may find them all.
            let zone = |service: &str| ZoneName::parse(service.split_once('.').map_or(".", |(_, zone)| zone)).ok();
            let sees_all = |service: &str| zone(service).is_some_and(|zone| sight.sees_all_of(&zone));
            endpoints.retain(|one| one["service"].as_str().is_some_and(sees_all));
        }
        if let Some(name) = name {
            let name = self.own_name(name);
            let of = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
            tools.retain(|tool| of(tool, "name").eq_ignore_ascii_case(&name));
            endpoints.retain(|one| name.ends_with(&format!(".{}", of(one, "service"))) || name == of(one, "service"));
            if tools.is_empty() && endpoints.is_empty() {
                let message = format!("nothing was called of `{name}` here");
                return Err(Problem::new(Kind::NameNotFound, message).hint("aop stats"));
            }
        }
        let calls = self.handle.metrics_registry().calls_json();
        let (zone, keyed) = (self.handle.view().zone.to_string(), self.ledgers.len());
        Ok(json!({
            "schema": "aop.stats/1", "zone": zone, "calls": calls, "keyed": keyed, "tools": tools, "endpoints": endpoints,
        }))
    }

    /// `calls` of a tool's card: whether its calls may be repeated from here, and how its instances fared with those made from here.
    pub fn about(&self, caller: &Caller, hit: &Hit) -> Value {
        let policies = self.policies();
        let policy = policies.of(&hit.name);
        let service = format!("{}.{}", hit.server, hit.zone);
        let mut endpoints = self.endpoints.to_json(self.handle.sight(caller).is_none());
        endpoints.retain(|one| one["service"] == service.as_str());
        let serves =
            |one: &Value| hit.instances.iter().any(|instance| one["node"] == instance.node.to_string().as_str());
        endpoints.retain(serves);
        json!({
            "read_only": policy.read_only, "idempotent": policy.idempotent, "balance": policy.balance.name(),
            "timeout_ms": policy.timeout.as_millis() as u64,
            "hedge_ms": policy.hedge.map(|after| after.as_millis() as u64), "endpoints": endpoints,
        })
    }

    /// `queues` and `breakers` of `aop.status/1`.
    pub fn state(&self) -> (Value, Value) {
        let object = |rows: &[(&str, u64)]| rows.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        (Value::Object(object(&self.queues.totals())), Value::Object(object(&self.endpoints.circuits())))
    }

    /// The same as metrics.
    pub fn render_metrics(&self) -> String {
        let table = |name: &str, kind: &str, help: &str, label: &str, rows: &[(&str, u64)]| {
            let mut out = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for (value, count) in rows {
                out.push_str(&format!("{name}{{{label}=\"{value}\"}} {count}\n"));
            }
            out
        };
        let totals = self.queues.totals();
        let of = |keys: &[&str]| totals.iter().filter(|(key, _)| keys.contains(key)).copied().collect::<Vec<_>>();
        [
            table(
                "aop_queue_calls",
                "gauge",
                "Calls at their home, over all tools.",
                "state",
                &of(&["running", "waiting"]),
            ),
            table(
                "aop_queue_refused_total",
                "counter",
                "Calls for which a queue had no room.",
                "reason",
                &[("full", totals[2].1)],
            ),
            table("aop_queues", "gauge", "Queues an operator stopped.", "state", &of(&["paused"])),
            table(
                "aop_breakers",
                "gauge",
                "Endpoints by where their breaker stands.",
                "state",
                &self.endpoints.circuits(),
            ),
            table(
                "aop_ledger_calls",
                "gauge",
                "Calls remembered by their idempotency key.",
                "state",
                &[("kept", self.ledgers.len() as u64)],
            ),
        ]
        .concat()
    }

    /// The full name of a tool of this zone, as it is spelled, where it is meant by another.
    fn own_name(&self, tool: &str) -> String {
        let view = self.handle.view();
        let found = aop_proto::name::FullName::parse(tool).ok().and_then(|name| view.tools.find(&name).cloned());
        let called = view.tools.called(tool);
        match (found, called.as_slice()) {
            (Some(found), _) => found.name().to_owned(),
            (None, [only]) => only.name().to_owned(),
            _ => tool.to_owned(),
        }
    }

    fn serves(&self, name: &str) -> bool {
        let view = self.handle.view();
        let name = aop_proto::name::FullName::parse(name);
        name.is_ok_and(|name| view.tools.find(&name).is_some_and(|tool| tool.of_node(view.node).is_some()))
    }
}
