//! `[call]`, `[tools."PATTERN"]` and `call` of a `[[server]]`: how tools are called.
//!
//! A pattern is `TOOL` or `TOOL.SERVER` of the own zone, or `TOOL.SERVER.ZONE` of the zone that it names. What must hold: what is said
//! without a zone is said of no other one.

use std::collections::BTreeMap;
use std::time::Duration;

use aop_proto::access::Glob;
use aop_proto::call::{Backoff, Balance, Policies, Policy};
use aop_proto::error::did_you_mean;
use aop_proto::name::ZoneName;
use aop_proto::params::{
    CALL_TIMEOUT, HEDGE, QUEUE, RETRIES, RETRY_BACKOFF, RETRY_BACKOFF_MAX, RETRY_SHARE, WEIGHT, WORKERS,
};
use serde::Deserialize;

use super::file::Text;
use super::value::{self, Wrong};
use super::{ConfigError, NodeConfig, Sources};
use crate::clock::duration_text;

/// What may be said of tools, as it stands in the file.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    pub(super) timeout: Option<Text>,
    pub(super) idle_timeout: Option<Text>,
    pub(super) retries: Option<Text>,
    pub(super) backoff: Option<Text>,
    pub(super) backoff_max: Option<Text>,
    pub(super) retry_share: Option<Text>,
    pub(super) balance: Option<Text>,
    pub(super) workers: Option<Text>,
    pub(super) queue: Option<Text>,
    read_only: Option<Text>,
    idempotent: Option<Text>,
    hedge: Option<Text>,
    weights: Option<BTreeMap<String, Text>>,
}

/// Where each key of `[call]` may stand besides.
const VARIABLES: [(&str, &str); 9] = [
    ("call.timeout", "AOP_CALL__TIMEOUT"),
    ("call.idle_timeout", "AOP_CALL__IDLE_TIMEOUT"),
    ("call.retries", "AOP_CALL__RETRIES"),
    ("call.backoff", "AOP_CALL__BACKOFF"),
    ("call.backoff_max", "AOP_CALL__BACKOFF_MAX"),
    ("call.retry_share", "AOP_CALL__RETRY_SHARE"),
    ("call.balance", "AOP_CALL__BALANCE"),
    ("call.workers", "AOP_CALL__WORKERS"),
    ("call.queue", "AOP_CALL__QUEUE"),
];

impl Section {
    fn text(&self, key: &str) -> Option<Text> {
        let text = match key.trim_start_matches("call.") {
            "timeout" => &self.timeout,
            "idle_timeout" => &self.idle_timeout,
            "retries" => &self.retries,
            "backoff" => &self.backoff,
            "backoff_max" => &self.backoff_max,
            "retry_share" => &self.retry_share,
            "balance" => &self.balance,
            "workers" => &self.workers,
            "queue" => &self.queue,
            "read_only" => &self.read_only,
            "idempotent" => &self.idempotent,
            "hedge" => &self.hedge,
            _ => &None,
        };
        text.clone()
    }
}

/// Takes one value into a policy.
fn take(policy: &mut Policy, key: &str, text: &str) -> Result<(), Wrong> {
    let small = |bounds: (u32, u32, u32)| {
        value::parse_number(text, (bounds.0.into(), bounds.1.into(), bounds.2.into())).map(|number| number as u32)
    };
    match key.trim_start_matches("call.") {
        "timeout" => policy.timeout = value::parse_time(text, CALL_TIMEOUT)?,
        "idle_timeout" => policy.idle_timeout = Some(value::parse_time(text, CALL_TIMEOUT)?),
        "retries" => policy.retries = small(RETRIES)?,
        "backoff" => policy.backoff.first = value::parse_time(text, RETRY_BACKOFF)?,
        "backoff_max" => policy.backoff.most = value::parse_time(text, RETRY_BACKOFF_MAX)?,
        "retry_share" => policy.retry_share = small(RETRY_SHARE)?,
        "balance" => policy.balance = balance(text)?,
        "workers" => policy.workers = small(WORKERS)?,
        "queue" => {
            let (default, least, most) = QUEUE;
            policy.queue = value::parse_number(text, (default as u64, least as u64, most as u64))? as usize;
        }
        "read_only" => policy.read_only = value::parse_bool(text)?,
        "idempotent" => policy.idempotent = value::parse_bool(text)?,
        "hedge" => policy.hedge = Some(value::parse_time(text, HEDGE)?),
        _ => {}
    }
    Ok(())
}

fn balance(text: &str) -> Result<Balance, Wrong> {
    let found = Balance::ALL.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, balance)| balance).ok_or_else(|| {
        let names = Balance::ALL.map(|(name, _)| name);
        let mut wrong = Wrong::new(format!("`{text}` is none of {}", names.join(", ")));
        wrong.did_you_mean = did_you_mean(text, names.into_iter());
        wrong
    })
}

/// Everything that is said of calls, from file and variables.
pub(super) fn read(from: &mut Sources<'_>, zone: &ZoneName) -> Result<Policies, ConfigError> {
    let mut usual = Policy::default();
    for (key, variable) in VARIABLES {
        let raw = from.one(key, ("", None), variable, |file| file.call.as_ref()?.text(key));
        from.parse(raw.as_ref(), |text| take(&mut usual.clone(), key, text))?;
        if let Some(raw) = raw {
            // It was understood a moment ago.
            let _ = take(&mut usual, key, &raw.text);
        }
    }
    let Some(file) = &from.file else { return Ok(Policies::new(usual, Vec::new())) };
    if let Some(call) = &file.settings.call {
        for (key, said) in [
            ("read_only", call.read_only.is_some()),
            ("idempotent", call.idempotent.is_some()),
            ("hedge", call.hedge.is_some()),
            ("weights", call.weights.is_some()),
        ] {
            if said {
                let mut error = ConfigError::new(format!(
                    "{}: `call.{key}` is said of tools, not of all that are called",
                    file.path.display()
                ));
                error.hint = Some("aop-node check --config FILE, with [tools.\"search.arxiv\"]".to_owned());
                return Err(error);
            }
        }
    }
    let of_zone = |pattern: &str| match (pattern.matches('.').count(), zone.is_root()) {
        (0, true) => format!("{pattern}.*"),
        (0, false) => format!("{pattern}.*.{zone}"),
        (1, false) => format!("{pattern}.{zone}"),
        // A tool and a server have no dots in their names: this one names its zone.
        _ => pattern.to_owned(),
    };
    let mut special = Vec::new();
    for (pattern, section) in &file.settings.tools {
        let policy = special_policy(from, &usual, section)?;
        special.push((Glob::new(&of_zone(pattern)), policy));
    }
    for (server, section) in file.server_calls() {
        special.push((Glob::new(&of_zone(&format!("*.{server}"))), special_policy(from, &usual, section)?));
    }
    Ok(Policies::new(usual, special))
}

fn special_policy(from: &Sources<'_>, usual: &Policy, section: &Section) -> Result<Policy, ConfigError> {
    let mut policy = usual.clone();
    let keys = VARIABLES.map(|(key, _)| key).into_iter().chain(["read_only", "idempotent", "hedge"]);
    for (key, text) in keys.filter_map(|key| section.text(key).map(|text| (key, text))) {
        let raw = from.file.as_ref().map(|file| file.raw(&text));
        let mut taken = policy.clone();
        from.parse(raw.as_ref(), |text| take(&mut taken.clone(), key, text))?;
        let _ = take(&mut taken, key, &text.get_ref().0);
        policy = taken;
    }
    if let (Some(text), false) = (&section.hedge, policy.read_only) {
        let raw = from.file.as_ref().map(|file| file.raw(text));
        let wrong =
            "only what is read-only may be tried at two instances at once: say `read_only = true` of it as well";
        from.parse(raw.as_ref(), |_| Err::<(), _>(Wrong::new(wrong.to_owned())))?;
    }
    for (node, weight) in section.weights.iter().flatten() {
        let raw = from.file.as_ref().map(|file| file.raw(weight));
        let (default, least, most) = WEIGHT;
        let bounds = (default.into(), least.into(), most.into());
        let weight = from.parse(raw.as_ref(), |text| value::parse_number(text, bounds))?;
        policy.weights.push((node.clone(), weight.unwrap_or(bounds.0) as u32));
    }
    Ok(policy)
}

impl NodeConfig {
    /// Key and value of `[call]`.
    pub(super) fn call_settings(&self) -> [(&'static str, String); 9] {
        let usual = &self.policies.usual;
        let Backoff { first, most } = usual.backoff;
        let values = [
            duration_text(usual.timeout),
            usual.idle_timeout.map_or_else(|| "–".to_owned(), duration_text),
            usual.retries.to_string(),
            duration_text(first),
            duration_text(most),
            usual.retry_share.to_string(),
            usual.balance.name().to_owned(),
            usual.workers.to_string(),
            usual.queue.to_string(),
        ];
        let mut values = values.into_iter();
        VARIABLES.map(|(key, _)| (key, values.next().unwrap_or_default()))
    }

    /// What is said of tools, pattern by pattern, as far as it differs from `[call]`.
    pub fn tool_lines(&self) -> Vec<(String, String)> {
        let usual = &self.policies.usual;
        let line = |policy: &Policy| {
            let time = |name: &str, time: Duration, usual: Duration| {
                (time != usual).then(|| format!("{name} {}", duration_text(time)))
            };
            let number = |name: &str, number: u64, usual: u64| (number != usual).then(|| format!("{name} {number}"));
            let parts = [
                policy.read_only.then(|| "read-only".to_owned()),
                policy.idempotent.then(|| "idempotent".to_owned()),
                policy.hedge.map(|after| format!("hedge {}", duration_text(after))),
                time("timeout", policy.timeout, usual.timeout),
                policy.idle_timeout.and_then(|idle| time("idle_timeout", idle, usual.idle_timeout.unwrap_or_default())),
                number("retries", policy.retries.into(), usual.retries.into()),
                time("backoff", policy.backoff.first, usual.backoff.first),
                time("backoff_max", policy.backoff.most, usual.backoff.most),
                number("retry_share", policy.retry_share.into(), usual.retry_share.into()),
                (policy.balance != usual.balance).then(|| policy.balance.name().to_owned()),
                number("workers", policy.workers.into(), usual.workers.into()),
                number("queue", policy.queue as u64, usual.queue as u64),
                (!policy.weights.is_empty()).then(|| format!("{} weights", policy.weights.len())),
            ];
            parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
        };
        self.policies.special().map(|(glob, policy)| (format!("tools.{glob}"), line(policy))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NodeFlags, Origin, load};
    use super::*;

    fn read(text: &str) -> Result<NodeConfig, ConfigError> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).expect("written");
        let env = |name: &str| match name {
            "HOME" => Some("/home/somebody".to_owned()),
            "AOP_CALL__RETRIES" => Some("7".to_owned()),
            _ => None,
        };
        load(NodeFlags { config: Some(path), ..NodeFlags::default() }, &env)
    }

    #[test]
    fn tools_differ_from_what_is_usual_and_variables_come_first() {
        let config = read(
            "zone = 'research'\n[call]\ntimeout = '10s'\nretries = 1\nqueue = 5\nbalance = 'latency'\n\
             [tools.'search.arxiv']\nread_only = true\nhedge = '250ms'\nweights = { n1 = 3 }\n\
             [tools.'*.other.zone']\nretries = 0\n\
             [[server]]\nname = 'mail'\ncommand = ['mail']\ncall = { idempotent = true, workers = 1 }\n",
        )
        .expect("fits");
        assert_eq!(config.origin("call.retries"), &Origin::Env("AOP_CALL__RETRIES"));
        let of = |name: &str| config.policies.of(name).clone();
        let usual = of("echo.x.research");
        assert_eq!((usual.timeout.as_secs(), usual.retries, usual.queue, usual.may_repeat()), (10, 7, 5, false));
        let search = of("search.arxiv.research");
        assert!(
            search.read_only
                && search.hedge == Some(Duration::from_millis(250))
                && search.weight("n1x") == 3
                && search.balance == Balance::Latency
        );
        assert_eq!(of("a.other.zone").retries, 0);
        let mail = of("send.mail.research");
        assert!(mail.idempotent && mail.workers == 1 && mail.queue == 5);
        assert!(!of("send.mail.writing").idempotent);
        let lines = config.tool_lines();
        assert!(lines.contains(&("tools.*.mail.research".to_owned(), "idempotent, workers 1".to_owned())), "{lines:?}");
    }

    #[test]
    fn what_is_said_without_a_zone_is_said_of_the_own_one_alone() {
        for (zone, of_zone) in [("research", ".research"), (".", "")] {
            let text = format!(
                "zone = '{zone}'\n[tools.'*.papers']\nidempotent = true\n[tools.'pay*']\nread_only = true\n\
                 [tools.'*.till.acme']\nretries = 0\n"
            );
            let config = read(&text).expect("fits");
            let of = |name: &str| config.policies.of(name);
            assert!(of(&format!("get.papers{of_zone}")).idempotent && of(&format!("pay.till{of_zone}")).read_only);
            for other in ["pay.till.papers", "pay.till.papers.research", "pay.papers.other", "pay.till.lab.research"] {
                assert!(!of(other).may_repeat(), "{zone}: {other}");
            }
            assert_eq!((of("pay.till.acme").retries, of("pay.till.lab.acme").retries), (0, 7));
        }
    }

    #[test]
    fn what_cannot_be_is_an_error_with_its_place() {
        for (wrong, told) in [
            ("[call]\nretries = 21", "from 0 to 20"),
            ("[call]\nidempotent = true", "said of tools"),
            ("[call]\nworkers = 0", "from 1 to 1024"),
            ("[call]\nbalance = 'latencyy'", "none of"),
            ("[tools.a]\nread_only = 'perhaps'", "neither true nor false"),
            ("[tools.a]\nbackoff = '0s'", "not between"),
            ("[tools.a]\nweights = { n1 = 0 }", "from 1 to 1000"),
            ("[tools.a]\nretry = 1", "no key `retry`"),
            ("[tools.a]\nhedge = '200ms'", "only what is read-only"),
            ("[tools.a]\nidempotent = true\nhedge = '200ms'", "only what is read-only"),
            ("[tools.a]\nread_only = true\nhedge = '0s'", "not between"),
            ("[call]\nhedge = '1s'", "said of tools"),
        ] {
            let wrong = if wrong.contains("retries") { wrong.replace("[call]", "[tools.a]") } else { wrong.to_owned() };
            let error = read(&wrong).expect_err(&wrong);
            assert!(error.message.contains(told), "{wrong}: {}", error.message);
        }
    }
}
