//! Queues, statistics and breakers as operators see and move them.

use std::fmt;

use aop_proto::access::Caller;
use aop_proto::call::lifecycle::Stage;
use aop_proto::call::queue::Ticket;
use aop_proto::error::{Kind, Problem};
use aop_proto::name::ZoneName;
use serde_json::{Value, json};

use super::Calls;
use super::queues::no_queue;
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

impl fmt::Display for QueueAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pause => f.write_str("pause"),
            Self::Resume => f.write_str("resume"),
            Self::Clear => f.write_str("clear"),
            Self::Cancel(ticket) => write!(f, "cancel {ticket}"),
        }
    }
}

impl Calls {
    /// `aop.queues/1`: every queue of this node of whose tool `caller` may know, or one with the calls that wait in it.
    ///
    /// # Errors
    /// `NameNotFound`: no call to that tool came here.
    pub fn queues(&self, caller: &Caller, tool: Option<&str>) -> Result<Value, Problem> {
        let queues = match tool {
            None => {
                let mut queues = self.queues.to_json();
                queues.retain(|queue| queue["name"].as_str().is_some_and(|name| self.sees(caller, name)));
                queues
            }
            Some(tool) => vec![self.queue(caller, &self.own_name(tool))?],
        };
        Ok(json!({"schema": "aop.queues/1", "queues": queues}))
    }

    /// Does it to the queue of one tool of this node, and writes down who did.
    ///
    /// # Errors
    /// `NameNotFound`: there is no such tool, queue or waiting call. `StoreFailed`: it cannot be written down.
    pub async fn move_queue(&self, caller: &Caller, tool: &str, act: QueueAct) -> Result<Value, Problem> {
        let name = self.own_name(tool);
        self.handle.audit_queue(caller, &name, &act.to_string(), || self.try_move(caller, &name, act)).await
    }

    /// One queue, where `caller` may know of its tool; otherwise it is not there.
    fn queue(&self, caller: &Caller, name: &str) -> Result<Value, Problem> {
        let shown = self.queues.show(name);
        let shown = if self.sees(caller, name) { shown } else { Err(no_queue(name)) };
        shown.map_err(|mut problem| {
            problem.did_you_mean.retain(|near| self.sees(caller, near));
            problem
        })
    }

    /// Whether `caller` may find that tool of this zone.
    fn sees(&self, caller: &Caller, name: &str) -> bool {
        self.handle.sight(caller).is_none_or(|sight| sight.sees(&self.handle.view().zone, name))
    }

    fn try_move(&self, caller: &Caller, name: &str, act: QueueAct) -> Result<Value, Problem> {
        if !self.sees(caller, name) {
            return Err(no_queue(name));
        }
        let mut done = json!({"schema": "aop.queue/1", "name": name});
        match act {
            QueueAct::Pause | QueueAct::Resume => {
                if !self.serves(name) {
                    self.queue(caller, name)?;
                }
                self.queues.pause(name, act == QueueAct::Pause, self.policies().of(name));
                done["state"] = json!(if act == QueueAct::Pause { "paused" } else { "running" });
            }
            QueueAct::Clear => done["cleared"] = json!(self.queues.clear(name)?),
            QueueAct::Cancel(ticket) => {
                if !self.queues.cancel(name, ticket)? {
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
        let policy = self.policy_of(&policies, hit);
        let service = hit.service();
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
                "aop_breaker_changes_total",
                "counter",
                "Breakers that came to stand there.",
                "state",
                &self.endpoints.changes(),
            ),
            table(
                "aop_agents",
                "gauge",
                "Servers behind this node by where they are in their life.",
                "lifecycle",
                &self.lifecycles(),
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

    /// How many servers behind this node are at each stage of their life.
    fn lifecycles(&self) -> Vec<(&'static str, u64)> {
        let servers = self.handle.servers();
        let at = |stage: Stage| servers.iter().filter(|server| server.lifecycle == stage.name()).count() as u64;
        // Who was removed is not behind it any more.
        Stage::ALL
            .into_iter()
            .filter(|stage| *stage != Stage::Terminated)
            .map(|stage| (stage.name(), at(stage)))
            .collect()
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

#[cfg(test)]
mod tests {
    use aop_proto::access::{Glob, Grant, Policy as Rules, Principal, Role};
    use aop_proto::call::{Plan, Policy};
    use aop_proto::record::NodeId;
    use aop_proto::wire::message::{Health, Instance};
    use std::time::Duration;

    use super::*;
    use crate::auth::Terms;
    use crate::call::{Asked, CallRequest};
    use crate::handle::Handle;

    /// A member of each object of a list.
    fn of<'a>(value: &'a Value, list: &str, key: &str) -> Vec<&'a str> {
        value[list].as_array().into_iter().flatten().filter_map(|one| one[key].as_str()).collect()
    }

    /// A call whose time was over before it was sent counted as failed at its endpoint.
    #[tokio::test]
    async fn what_was_never_sent_is_no_failure_of_its_endpoint() {
        let calls = Calls::new(Handle::for_tests(), Default::default()).unwrap();
        let (policy, here) = (Policy::default(), calls.handle.view().node);
        let instance =
            Instance { node: here, address: String::new(), health: Health::Ok, error: String::new(), since_ms: 0 };
        let text = |text: &str| text.to_owned();
        let hit = Hit { name: text("t.s.research"), server: text("s"), zone: text("research"), ..Hit::default() };
        let request = CallRequest {
            caller: Caller::operator(),
            name: hit.name.clone(),
            arguments: Default::default(),
            extra: Vec::new(),
            timeout: None,
            key: None,
            priority: None,
            def_hash: None,
            dry_run: false,
            progress: None,
        };
        let deadline = tokio::time::Instant::now();
        let (key, priority, began) = (None, 5, deadline);
        let asked = Asked { hit: &hit, request: &request, policy: &policy, key, priority, began, deadline };
        let service = hit.service();
        let mut plan = Plan::new(std::slice::from_ref(&instance), policy.clone(), None, 0, Duration::MAX);
        let (_, attempt) = calls.endpoints.next(&mut plan, (&service, &hit.name), &policy, here, 0);
        let (_, tried) = calls.attempt_noted(&asked, (instance, attempt), 0).await;
        assert_eq!(tried.err().map(|failure| failure.problem.kind), Some(Kind::CallTimedOut));
        let stats = calls.stats(&Caller::operator(), None).unwrap();
        let endpoint = &stats["endpoints"][0];
        assert_eq!(
            (&endpoint["calls"], &endpoint["failed"], &endpoint["last_error"]),
            (&json!(1), &json!(0), &Value::Null)
        );
        let tool = &stats["tools"][0]["stats"];
        assert_eq!((&tool["cancelled"], &tool["failed"]), (&json!(1), &json!(0)), "it never ended there: {tool}");
    }

    #[tokio::test]
    async fn whoever_may_find_some_tools_sees_their_queues_and_statistics_and_no_trace_of_others() {
        let calls = Calls::new(Handle::for_tests(), Default::default()).unwrap();
        calls.handle.auth().replace(Terms { policy: Rules::default(), ..Terms::default() });
        let (policy, here) = (Policy::default(), calls.handle.view().node);
        let all = ["search.arxiv.research", "search.secret.research"];
        for name in all {
            calls.queues.pause(name, true, &policy);
        }
        let instance = Instance {
            node: NodeId([7; 32]),
            address: String::new(),
            health: Health::Ok,
            error: String::new(),
            since_ms: 0,
        };
        for service in ["arxiv.research", "secret.research", "open.lab.acme"] {
            calls.endpoints.called(service, &policy);
            let mut plan = Plan::new(std::slice::from_ref(&instance), policy.clone(), None, 0, Duration::MAX);
            drop(calls.endpoints.next(&mut plan, (service, "search"), &policy, here, 0));
        }
        let bounded = |zone, tool| Caller {
            principal: Principal::Token("ci".to_owned()),
            grants: vec![Grant { role: Role::Reader, zone, tool: Glob::new(tool) }],
        };
        let some = bounded(None, "*.arxiv.research");
        let every = bounded(None, "*");
        let acme = bounded(Some(ZoneName::parse("lab.acme").unwrap()), "*");
        for (caller, tools, services) in [
            (&every, &all[..], &["arxiv.research", "open.lab.acme", "secret.research"][..]),
            (&some, &all[..1], &[]),
            (&acme, &[], &["open.lab.acme"]),
        ] {
            let (queues, stats) = (calls.queues(caller, None).unwrap(), calls.stats(caller, None).unwrap());
            assert_eq!((of(&queues, "queues", "name"), of(&stats, "tools", "name")), (tools.to_vec(), tools.to_vec()));
            assert_eq!(of(&stats, "endpoints", "service"), services);
        }
        // What is hidden and what is not there are told alike, and nothing is done to either.
        for (hidden, missing) in
            [(all[1], "search.sacred.research"), ("search.secret.resaerch", "search.sacred.resaerch")]
        {
            let told = async |name: &str| {
                let shown = calls.queues(&some, Some(name)).unwrap_err();
                let stats = calls.stats(&some, Some(name)).unwrap_err();
                let mut all = vec![shown, stats];
                for act in [QueueAct::Pause, QueueAct::Resume, QueueAct::Clear, QueueAct::Cancel(1)] {
                    all.push(calls.move_queue(&some, name, act).await.unwrap_err());
                }
                let said =
                    |problem: Problem| (problem.kind, problem.message.replace(name, "NAME"), problem.did_you_mean);
                all.into_iter().map(said).collect::<Vec<_>>()
            };
            assert_eq!(told(hidden).await, told(missing).await, "{hidden}");
        }
        assert!(calls.move_queue(&some, all[0], QueueAct::Resume).await.is_ok());
        assert_eq!(calls.queues(&every, Some(all[1])).unwrap()["queues"][0]["state"], "paused");
    }
}
