//! The JSON of answers: `aop.resolve/1`, one result, and `aop.tool/1`. What changes per request (times, trace ids) is left to the
//! headers of whoever sends it.

use std::time::Duration;

use aop_proto::wire::message::Health;
use serde_json::{Map, Value, json};

use super::{Hit, Obstacle, Referral, Resolution, Show, why_lost};

impl Resolution {
    /// The `aop.resolve/1` object.
    pub fn to_json(&self, with: Show) -> Value {
        let mut object = json!({
            "schema": "aop.resolve/1",
            "query": self.query,
            "partial": self.partial,
            "zones": {
                "asked": self.asked,
                "answered": self.answered,
                "skipped": self.skipped,
                "silent": self.silent,
                "reasons": self.reasons(),
            },
            "results": self.hits.iter().map(|hit| hit.to_json(with)).collect::<Vec<_>>(),
        });
        if !self.nearest.is_empty() {
            object["nearest"] = self.nearest_json();
        }
        if self.is_by_words {
            object["name_not_found"] = json!(true);
        }
        if (self.hits.is_empty() || self.is_by_words) && !self.near.is_empty() {
            object["did_you_mean"] = json!(self.near);
        }
        if let Some(zone) = &self.denied_by {
            object["denied_by"] = json!(zone);
        }
        if !self.referrals.is_empty() {
            object["referrals"] = self.referrals.iter().map(Referral::to_json).collect();
        }
        if with.trace {
            let lost = self.lost.iter().map(|lost| {
                let score = thousandths(lost.share);
                json!({"name": lost.name.as_str(), "zone": lost.zone.as_str(), "score": score, "why": why_lost(&lost.why)})
            });
            object["lost"] = lost.collect();
            let steps = self.trace.iter().map(|step| {
                json!({
                    "zone": step.zone, "node": step.node, "via": step.via, "cache": step.cache, "hits": step.hits,
                    "age_ms": step.age_ms, "took_ms": step.took_ms, "outcome": step.outcome,
                })
            });
            object["trace"] = steps.collect();
        }
        object
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
        let mut object = json!({
            "rank": self.rank,
            "id": self.id,
            "name": self.name,
            "wire_name": self.wire_name,
            "zone": self.zone,
            "server": self.server,
            "title": self.title,
            "description": self.description,
            "score": thousandths(self.score),
            "confidence": thousandths(self.confidence),
            "exact": self.exact,
            "source": self.source,
            "authoritative": self.authoritative,
            "freshness": if self.stale { "stale" } else { "fresh" },
            "age_ms": millis(self.age),
            "ttl_ms": millis(self.ttl),
            "def_hash": self.def_hash,
            "tags": self.tags,
            "health": self.health_json(),
            "instances": self.instances_json(),
            "usable": self.obstacles.is_empty(),
        });
        if !self.obstacles.is_empty() {
            object["why_not"] = self.obstacles.iter().map(Obstacle::to_json).collect();
        }
        if with.trace && !self.parts.is_empty() {
            let parts = self.parts.iter().map(|(word, part)| (word.clone(), json!(thousandths(*part))));
            object["score_parts"] = parts.collect::<Map<String, Value>>().into();
        }
        if self.clash {
            object["clash"] = json!(true);
        }
        if !self.also.is_empty() {
            object["also"] = json!(self.also);
        }
        if with.schema {
            let definition = self.definition_json();
            for key in ["inputSchema", "outputSchema"] {
                object[key] = definition.get(key).cloned().unwrap_or(Value::Null);
            }
        }
        object
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

    fn health_json(&self) -> Value {
        let best = self.instances.first();
        let error = best.filter(|best| best.health != Health::Ok && !best.error.is_empty()).map(|best| &best.error);
        let since = best.filter(|best| best.since_ms > 0).map(|best| rfc3339(best.since_ms));
        json!({"state": self.health().name(), "since": since, "last_error": error})
    }

    fn instances_json(&self) -> Value {
        let instance = |instance: &aop_proto::wire::message::Instance| {
            let state = match instance.health {
                Health::Ok => "ACTIVE",
                Health::Unknown => "REGISTERED",
                Health::Degraded => "ERROR",
                Health::Down => "TERMINATED",
            };
            json!({"node": instance.node.to_string(), "state": state, "health": instance.health.name()})
        };
        self.instances.iter().map(instance).collect()
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// A stamp of another node as text (RFC 3339 §5.6), in UTC.
fn rfc3339(ms: u64) -> String {
    crate::clock::rfc3339(ms / 1000)
}
