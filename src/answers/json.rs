//! The JSON of answers: `aop.resolve/1`, one result, and `aop.tool/1`. What changes per request (times, trace ids) is left to the
//! headers of whoever sends it.

use std::collections::BTreeMap;
use std::time::Duration;

use aop_proto::call::Circuit;
use aop_proto::wire::message::{Health, Instance};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::{CachedAt, Hit, Obstacle, Referral, Resolution, Show, Shut, why_lost};

impl Resolution {
    /// The `aop.resolve/1` object, to be written as it is.
    pub const fn shown(&self, with: Show) -> impl Serialize {
        ShownResolution { resolution: self, with }
    }

    /// The same as a value.
    pub fn to_json(&self, with: Show) -> Value {
        // Names of members are text, and numbers finite or null: there is nothing that JSON cannot say.
        serde_json::to_value(self.shown(with)).unwrap_or_default()
    }

    /// What comes nearest where nothing is offered, and why it is not.
    pub fn nearest_json(&self) -> Value {
        let near = self.nearest.iter().map(|near| {
            json!({
                "name": near.name.as_str(), "zone": near.zone.as_str(), "score": thousandths(near.share),
                "confidence": thousandths(near.confidence), "why": why_lost(&near.why),
            })
        });
        near.collect()
    }
}

/// As it is told: nobody needs more than three digits.
fn thousandths(share: f32) -> f64 {
    (f64::from(share) * 1000.0).round() / 1000.0
}

impl CachedAt {
    fn to_json(&self) -> Value {
        json!({"zone": self.zone, "node": self.node, "level": self.level})
    }
}

impl Referral {
    fn to_json(&self) -> Value {
        let key = self.key.map(|key| crate::entropy::hex(&key));
        json!({
            "zone": self.zone, "relation": self.relation, "gateways": self.gateways, "zone_key": key, "tools": self.tools,
            "state": if self.reached { "connected" } else { "unreachable" },
        })
    }
}

impl Hit {
    /// One result object.
    pub fn to_json(&self, with: Show) -> Value {
        serde_json::to_value(ShownHit { hit: self, with }).unwrap_or_default()
    }

    /// The `aop.tool/1` object.
    pub fn card(&self) -> Value {
        let mut object = Map::new();
        object.insert("schema".into(), "aop.tool/1".into());
        if let Value::Object(result) = self.to_json(Show { trace: false, schema: true }) {
            object
                .extend(result.into_iter().filter(|(key, _)| !["rank", "score", "confidence"].contains(&key.as_str())));
        }
        let definition = self.definition_json();
        object.insert("annotations".into(), definition.get("annotations").cloned().unwrap_or(Value::Null));
        object.insert("definition".into(), definition);
        object.insert("capabilities".into(), json!(self.capabilities));
        object.insert("examples".into(), json!(self.examples));
        let agent = self.agent.as_ref().map(|agent| {
            let parameters: Value = serde_json::from_slice(&agent.parameters).unwrap_or(Value::Null);
            json!({"model": agent.model, "role": agent.role, "parameters": parameters})
        });
        object.insert("agent".into(), json!(agent));
        let place = &self.place;
        let record = json!({
            "origin": place.origin, "incarnation": place.incarnation, "seq": place.seq, "epoch": place.epoch,
            "issued_ms": place.issued_ms, "expires_ms": place.expires_ms, "visibility": "public",
        });
        object.insert("record".into(), record);
        Value::Object(object)
    }

    fn definition_json(&self) -> Value {
        serde_json::from_slice(&self.definition).unwrap_or_default()
    }
}

#[derive(Clone, Copy)]
struct ShownResolution<'a> {
    resolution: &'a Resolution,
    with: Show,
}

#[derive(serde::Serialize)]
struct ShownZones<'a> {
    asked: u32,
    answered: u32,
    skipped: u32,
    silent: &'a [String],
    reasons: BTreeMap<&'a str, &'a str>,
}

impl Serialize for ShownResolution<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { resolution: it, with } = *self;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("schema", "aop.resolve/1")?;
        object.serialize_entry("query", &it.query)?;
        object.serialize_entry("partial", &it.partial)?;
        let zones = ShownZones {
            asked: it.asked,
            answered: it.answered,
            skipped: it.skipped,
            silent: &it.silent,
            reasons: it.reasons(),
        };
        object.serialize_entry("zones", &zones)?;
        let hits: Vec<ShownHit<'_>> = it.hits.iter().map(|hit| ShownHit { hit, with }).collect();
        object.serialize_entry("results", &hits)?;
        if !it.nearest.is_empty() {
            object.serialize_entry("nearest", &it.nearest_json())?;
        }
        if it.is_by_words {
            object.serialize_entry("name_not_found", &true)?;
        }
        if it.is_cut {
            object.serialize_entry("truncated", &true)?;
        }
        if (it.hits.is_empty() || it.is_by_words) && !it.near.is_empty() {
            object.serialize_entry("did_you_mean", &it.near)?;
        }
        if let Some(zone) = &it.denied_by {
            object.serialize_entry("denied_by", zone)?;
        }
        if !it.referrals.is_empty() {
            let referrals: Vec<Value> = it.referrals.iter().map(Referral::to_json).collect();
            object.serialize_entry("referrals", &referrals)?;
        }
        if with.trace {
            let lost = it.lost.iter().map(|lost| {
                let score = thousandths(lost.share);
                json!({"name": lost.name.as_str(), "zone": lost.zone.as_str(), "score": score, "why": why_lost(&lost.why)})
            });
            object.serialize_entry("lost", &lost.collect::<Vec<Value>>())?;
            let steps = it.trace.iter().map(|step| {
                let through = step.through.as_ref().map(|(zone, node)| json!({"zone": zone, "node": node}));
                json!({
                    "zone": step.zone, "node": step.node, "via": step.via, "cache": step.cache, "hits": step.hits,
                    "age_ms": step.age_ms, "took_ms": step.took_ms, "outcome": step.outcome, "depth": step.depth,
                    "asked_by": step.asked_by, "through": through, "cached_at": step.cached_at.as_ref().map(CachedAt::to_json),
                })
            });
            object.serialize_entry("trace", &steps.collect::<Vec<Value>>())?;
        }
        object.end()
    }
}

#[derive(Clone, Copy)]
struct ShownHit<'a> {
    hit: &'a Hit,
    with: Show,
}

#[derive(serde::Serialize)]
struct ShownHealth<'a> {
    state: &'a str,
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<String>,
    last_error: Option<&'a str>,
}

#[derive(serde::Serialize)]
struct ShownInstance<'a> {
    node: String,
    state: &'a str,
    health: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<String>,
}

impl Serialize for ShownHit<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { hit, with } = *self;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("rank", &hit.rank)?;
        object.serialize_entry("id", &hit.id)?;
        object.serialize_entry("name", &hit.name)?;
        object.serialize_entry("wire_name", &hit.wire_name)?;
        object.serialize_entry("zone", &hit.zone)?;
        object.serialize_entry("server", &hit.server)?;
        object.serialize_entry("title", &hit.title)?;
        object.serialize_entry("description", &hit.description)?;
        object.serialize_entry("score", &thousandths(hit.score))?;
        object.serialize_entry("confidence", &thousandths(hit.confidence))?;
        object.serialize_entry("exact", &hit.exact)?;
        object.serialize_entry("source", hit.source)?;
        object.serialize_entry("authoritative", &hit.authoritative)?;
        object.serialize_entry("freshness", if hit.stale { "stale" } else { "fresh" })?;
        object.serialize_entry("age_ms", &millis(hit.age))?;
        object.serialize_entry("ttl_ms", &millis(hit.ttl))?;
        object.serialize_entry("def_hash", &hit.def_hash)?;
        object.serialize_entry("tags", &hit.tags)?;
        object.serialize_entry("health", &hit.shown_health())?;
        object.serialize_entry(
            "instances",
            &hit.instances.iter().map(|it| shown_instance(it, hit.shut.get(&it.node))).collect::<Vec<_>>(),
        )?;
        object.serialize_entry("usable", &hit.obstacles.is_empty())?;
        if !hit.obstacles.is_empty() {
            object.serialize_entry("why_not", &hit.obstacles.iter().map(Obstacle::to_json).collect::<Vec<Value>>())?;
        }
        if with.trace && !hit.parts.is_empty() {
            let parts = hit.parts.iter().map(|(word, part)| (word.clone(), json!(thousandths(*part))));
            object.serialize_entry("score_parts", &parts.collect::<Map<String, Value>>())?;
        }
        if hit.clash {
            object.serialize_entry("clash", &true)?;
        }
        if !hit.also.is_empty() {
            object.serialize_entry("also", &hit.also)?;
        }
        if with.schema {
            let definition = hit.definition_json();
            for key in ["inputSchema", "outputSchema"] {
                object.serialize_entry(key, definition.get(key).unwrap_or(&Value::Null))?;
            }
        }
        object.end()
    }
}

impl Hit {
    fn shown_health(&self) -> ShownHealth<'_> {
        let best = self.instances.first();
        let error = best.filter(|best| best.health != Health::Ok && !best.error.is_empty());
        let since = best.filter(|best| best.since_ms > 0).map(|best| rfc3339(best.since_ms));
        let retry_at = self.retry_at_ms();
        ShownHealth {
            state: if retry_at.is_some() { Circuit::Open.name() } else { self.health().name() },
            since,
            retry_at: retry_at.map(not_before),
            last_error: error.map(|best| best.error.as_str()),
        }
    }
}

fn shown_instance(instance: &Instance, shut: Option<&Shut>) -> ShownInstance<'static> {
    let state = match instance.health {
        Health::Ok => "ACTIVE",
        Health::Unknown => "REGISTERED",
        Health::Degraded => "ERROR",
        Health::Down => "TERMINATED",
    };
    ShownInstance {
        node: instance.node.to_string(),
        state,
        health: instance.health.name(),
        breaker: shut.map(|shut| shut.circuit.name()),
        retry_at: shut.and_then(|shut| shut.retry_at_ms).map(not_before),
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// A stamp as text that is no earlier than it.
fn not_before(ms: u64) -> String {
    crate::clock::rfc3339(ms.div_ceil(1000))
}

/// A stamp of another node as text (RFC 3339 §5.6), in UTC.
fn rfc3339(ms: u64) -> String {
    crate::clock::rfc3339(ms / 1000)
}
