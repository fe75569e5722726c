//! State as JSON and as metrics: zones, nodes, status. Read from the published view and the limbs; nothing here waits for the driver
//! except the list of zones, which other zones are asked for.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aop_proto::access::{Caller, Sight};
use aop_proto::name::ZoneName;
use aop_proto::view::{ContactView, Counts, View};
use serde_json::{Value, json};

use super::cache::count_json;
use super::{Ask, Handle, Mode};

/// Time the list of zones has.
const ZONES_TIMEOUT: Duration = Duration::from_secs(2);

impl Handle {
    /// `aop.zones/1`: this zone, its relatives, and every zone that answers.
    pub async fn zones(&self, caller: &Caller) -> Value {
        let (view, sight) = (self.view(), self.sight(caller));
        // How many tools a zone has is told to whom none of them is hidden.
        let told = |zone: &str, tools: u64| {
            let sees_all = |sight: &Sight| ZoneName::parse(zone).is_ok_and(|zone| sight.sees_all_of(&zone));
            sight.as_deref().is_none_or(sees_all).then_some(tools)
        };
        let ask = Ask { mode: Mode::List, limit: 1, timeout: Some(ZONES_TIMEOUT), ..Ask::default() };
        let answered = self.resolve(caller, ask).await;
        let mut zones: BTreeMap<String, Value> = BTreeMap::new();
        let mut partial = true;
        if let Ok(resolution) = answered {
            partial = resolution.partial;
            for step in resolution.trace.iter().filter(|step| step.outcome == "ok") {
                zones.insert(step.zone.clone(), zone_json(&view, &step.zone, told(&step.zone, step.documents), "ok"));
            }
            for zone in &resolution.silent {
                let silent = zones.entry(zone.clone()).or_insert_with(|| zone_json(&view, zone, None, "silent"));
                silent["state"] = json!("silent");
            }
        }
        for child in &view.children {
            let name = child.zone.to_string();
            let zone = zones.entry(name.clone()).or_insert_with(|| zone_json(&view, &name, None, "silent"));
            // Of a silent one what it said last; none is what stands there before it said anything.
            if zone["tools"].is_null() && child.tools > 0 {
                zone["tools"] = json!(told(&name, child.tools));
            }
        }
        zones.entry(view.zone.to_string()).or_insert_with(|| {
            zone_json(&view, view.zone.as_str(), told(view.zone.as_str(), view.tools.len() as u64), "ok")
        });
        let known: Vec<ZoneName> = zones.keys().filter_map(|name| ZoneName::parse(name).ok()).collect();
        for (name, zone) in &mut zones {
            zone["parent"] = json!(parent_of(name, &known));
        }
        let zones: Vec<Value> = zones.into_values().collect();
        json!({"schema": "aop.zones/1", "zone": view.zone.as_str(), "partial": partial, "zones": zones})
    }

    /// `aop.nodes/1`: the replicas of this zone.
    pub fn nodes(&self) -> Value {
        let view = self.view();
        let through = |node| view.vector.iter().rev().find(|(origin, _)| origin.node == node);
        let own = through(view.node);
        let rtts: BTreeMap<[u8; 32], Duration> =
            self.inner.peers.connected().into_iter().map(|peer| (peer.peer, peer.rtt)).collect();
        let mut nodes = vec![json!({
            "id": view.node.to_string(), "self": true, "state": "alive", "address": self.own_address(),
            "incarnation": own.map(|(origin, _)| origin.incarnation), "through": own.map_or(0, |(_, through)| *through),
            "behind": 0, "rtt_ms": null, "version": self.inner.about.version,
        })];
        for member in &view.members {
            let log = through(member.node);
            nodes.push(json!({
                "id": member.node.to_string(), "self": false, "state": member.state, "address": member.address,
                "incarnation": log.map(|(origin, _)| origin.incarnation), "through": log.map_or(0, |(_, through)| *through),
                "behind": 0, "rtt_ms": rtts.get(&member.node.0).map(|rtt| millis(*rtt)), "version": member.version,
            }));
        }
        json!({"schema": "aop.nodes/1", "zone": view.zone.as_str(), "nodes": nodes})
    }

    /// Where others reach this node, or where it listens when nobody else does.
    fn own_address(&self) -> String {
        let about = &self.inner.about;
        if about.address.is_empty() { about.listen.to_string() } else { about.address.clone() }
    }

    /// `aop.status/1`.
    pub fn status(&self) -> Value {
        let view = self.view();
        let servers = self.servers();
        let ready = servers.iter().filter(|server| server.state == "ready").count();
        let [l1, l2, l3] = self.cache_counts().map(count_json);
        let of = |purpose: &str| -> Vec<Value> {
            let contacts = view.contacts.iter().filter(|contact| contact.purpose == purpose);
            contacts.map(|contact| self.contact_json(contact, &view)).collect()
        };
        let about = &self.inner.about;
        let gossip = view.counts.gossip;
        json!({
            "schema": "aop.status/1",
            "node": view.node.to_string(),
            "zone": view.zone.as_str(),
            "version": about.version,
            "listen": about.listen.to_string(),
            "uptime_ms": self.inner.started.elapsed().as_millis() as u64,
            "data_dir": about.data_dir,
            "zone_state": {
                "admitted": view.admitted, "signs": view.signs, "revoked": view.keys.revoked,
                "zone_key": view.zone_key.map(|key| crate::entropy::hex(&key)),
                "outcasts": view.keys.outcasts.iter().map(|(node, why)| json!({"node": node.to_string(), "why": why})).collect::<Vec<_>>(),
            },
            "parents": of("parent"),
            "joins": of("join"),
            "tools": view.tools.len(),
            "servers": {"ready": ready, "down": servers.len() - ready},
            "peers": self.inner.peers.connected().len(),
            "cache": {"l1": l1, "l2": l2, "l3": l3},
            "resolve": self.inner.metrics.resolve_json(),
            "calls": self.inner.metrics.calls_json(),
            "gossip": {
                "serial": view.serial, "tag": format!("{:016x}", view.tag), "rounds": gossip.rounds, "differing": gossip.differing,
                "applied": view.counts.applied, "refused": view.counts.refused, "bad_frames": view.counts.bad_frames,
                "held_back": view.counts.held_back, "clock_ahead": view.counts.clock_ahead,
                "vector": view.vector.iter().map(|(origin, through)| json!({
                    "node": origin.node.to_string(), "incarnation": origin.incarnation, "through": through,
                })).collect::<Vec<_>>(),
            },
        })
    }

    fn contact_json(&self, contact: &ContactView, view: &View) -> Value {
        let state = match (contact.state, contact.purpose, view.admitted) {
            ("connected", "parent", true) => "delegated",
            (state, ..) => state,
        };
        let wait = contact.next_try.saturating_sub(self.inner.clock.now().mono);
        let retry = (state != "delegated" && state != "connected" && state != "refused").then(|| millis(wait));
        json!({"address": contact.address, "state": state, "last_error": contact.error, "retry_in_ms": retry})
    }

    /// Whether the node can serve: it has started and is not stopping, its driver runs, and its store takes writes. A parent that is away does not count.
    ///
    /// # Errors
    /// In words, why not.
    pub fn ready(&self) -> Result<(), String> {
        if self.inner.starting.load(Ordering::Relaxed) {
            return Err("the node is starting".to_owned());
        }
        if self.inner.stopping.load(Ordering::Relaxed) {
            return Err("the node is stopping".to_owned());
        }
        if self.inner.jobs.is_closed() {
            return Err("the node's driver is gone".to_owned());
        }
        self.inner.store.health().map_err(|error| error.to_string())
    }

    /// All metrics as Prometheus reads them.
    pub fn metrics(&self) -> String {
        let view = self.view();
        let servers = self.servers();
        let ready = servers.iter().filter(|server| server.state == "ready").count();
        let [l1, l2, l3] = self.cache_counts();
        let metrics = &self.inner.metrics;
        metrics.set_state(&crate::telemetry::State {
            zone: view.zone.to_string(),
            version: self.inner.about.version,
            tools: view.tools.len() as u64,
            servers_ready: ready as u64,
            servers_down: (servers.len() - ready) as u64,
            peers: self.inner.peers.connected().len() as u64,
            peers_refused: vec![
                ("handshake", self.inner.peers.counters().handshakes_refused),
                ("framing", self.inner.peers.counters().violations),
                ("stranger", self.inner.published.let_go.load(Ordering::Relaxed)),
            ],
            members_alive: view.members.iter().filter(|member| member.state == "alive").count() as u64,
            members_suspect: view.members.iter().filter(|member| member.state == "suspect").count() as u64,
            members_down: view.members.iter().filter(|member| matches!(member.state, "down" | "left")).count() as u64,
            caches: [("l1", l1.hits, l1.misses), ("l2", l2.hits, l2.misses), ("l3", l3.hits, l3.misses)],
            audit_events: self.inner.audit.counts(),
            audit_errors: self.inner.audit.errors(),
            gossip_events: gossip_events(&view.counts),
            gossip_rounds: view.counts.gossip.rounds,
            records_applied: view.counts.applied,
            records_refused: view.counts.refused,
            frames_bad: view.counts.bad_frames,
        });
        metrics.render()
    }
}

fn zone_json(view: &View, name: &str, tools: Option<u64>, state: &str) -> Value {
    let relation = match ZoneName::parse(name) {
        Ok(zone) if zone == view.zone => "own",
        Ok(zone) if view.parent.as_ref() == Some(&zone) => "parent",
        Ok(zone) if view.children.iter().any(|child| child.zone == zone) => "child",
        _ => "remote",
    };
    let own = relation == "own";
    let serial = view.serial.to_string();
    let alive = view.members.iter().filter(|member| member.state == "alive").count() + 1;
    json!({
        "name": name, "parent": null, "relation": relation, "tools": tools, "nodes": own.then_some(alive),
        "serial": tools.filter(|_| own).map(|_| serial), "state": state,
    })
}

/// The nearest zone above, among those known.
fn parent_of(name: &str, known: &[ZoneName]) -> Option<String> {
    let zone = ZoneName::parse(name).ok()?;
    known.iter().filter(|other| zone.is_below(other)).max_by_key(|other| other.depth()).map(ToString::to_string)
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// What happened between replicas, by name.
fn gossip_events(counts: &Counts) -> Vec<(&'static str, u64)> {
    let (gossip, members) = (counts.gossip, counts.membership);
    vec![
        ("differing", gossip.differing),
        ("payload", gossip.payloads),
        ("announcement", gossip.announcements),
        ("pull", gossip.pulls),
        ("busy", gossip.busy),
        ("dropped", gossip.dropped),
        ("probe_failed", members.failed),
        ("declared_down", members.declared),
        ("refuted", members.refuted),
        ("stalled", members.stalled),
        ("members_repaired", members.repaired),
        ("fork", counts.forks),
        ("life", counts.lives),
        ("clock_ahead", counts.clock_ahead),
        ("kept_out", counts.kept_out),
        ("quarantined", counts.quarantined),
    ]
}
