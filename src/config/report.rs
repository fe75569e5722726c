//! The effective configuration, each value with where it came from; secrets stay references or are not shown.

use serde_json::{Value, json};

use super::{NodeConfig, Transport, duration_text};
use crate::auth::ALGORITHMS;
use crate::clock::rfc3339;

impl NodeConfig {
    /// Key, value and origin of every setting.
    pub fn settings(&self) -> Vec<(&'static str, String, String)> {
        let list = |items: Vec<String>| if items.is_empty() { "–".to_owned() } else { items.join(", ") };
        let texts = |items: &[super::HostPort]| list(items.iter().map(ToString::to_string).collect());
        let values = [
            ("zone", self.zone.to_string()),
            ("parents", texts(&self.parents)),
            ("join", texts(&self.join)),
            ("invite", self.invite.as_ref().map_or_else(|| "–".to_owned(), |offer| format!("for zone {}", offer.zone))),
            ("listen", self.listen.to_string()),
            ("advertise", self.advertise.as_ref().map_or_else(|| "–".to_owned(), ToString::to_string)),
            (
                "data_dir",
                self.data_dir.as_ref().map_or_else(|| "(in memory)".to_owned(), |dir| dir.display().to_string()),
            ),
            ("import", list(self.import.iter().map(|path| path.display().to_string()).collect())),
            ("dev", self.dev.to_string()),
            ("log_format", self.log_format.name().to_owned()),
            ("log_level", self.log_level.clone()),
            ("resolve.limit", self.resolve.limit.to_string()),
            ("resolve.deadline", duration_text(self.resolve.deadline)),
            ("mcp.pinned", list(self.mcp.pinned.clone())),
            ("audit.max_bytes", self.audit.file_bytes_max.to_string()),
            ("audit.keep", self.audit.keep.to_string()),
            ("audit.calls", self.audit.calls.to_string()),
        ];
        let values = values.into_iter().chain(self.call_settings()).chain(self.admission_settings());
        values.map(|(key, value)| (key, value, self.origin(key).to_string())).collect()
    }

    /// TLS, names and limits of the client port, and whether it asks who calls.
    fn admission_settings(&self) -> [(&'static str, String); 12] {
        let (port, terms) = (&self.admission.port, &self.admission.terms);
        let list = |items: &[String]| if items.is_empty() { "–".to_owned() } else { items.join(", ") };
        let file = |path: Option<&std::path::PathBuf>| path.map_or_else(|| "–".to_owned(), |p| p.display().to_string());
        let bound = |number: Option<u64>| number.map_or_else(|| "unbounded".to_owned(), |number| number.to_string());
        [
            ("tls_cert", file(port.tls.as_ref().map(|tls| &tls.cert))),
            ("tls_key", file(port.tls.as_ref().map(|tls| &tls.key))),
            ("insecure_no_auth", self.admission.insecure_no_auth.to_string()),
            ("http.hosts", list(&port.hosts)),
            ("http.origins", list(&port.origins)),
            ("http.rate", bound(port.rate.map(|rate| u64::from(rate.get())))),
            ("http.stranger_rate", bound(port.stranger_rate.map(|rate| u64::from(rate.get())))),
            ("http.connections", port.connections.to_string()),
            ("http.connections_per_address", bound(port.connections_per_address)),
            ("http.connection_rate", bound(port.connection_rate.map(|rate| u64::from(rate.get())))),
            ("auth.required", (!terms.policy.is_open).to_string()),
            ("auth.resource", if terms.resource.is_empty() { "–".to_owned() } else { terms.resource.clone() }),
        ]
    }

    /// Key and value of every rule, token and issuer; of tokens all but their hashes.
    pub fn admission_lines(&self) -> Vec<(String, String)> {
        let terms = &self.admission.terms;
        let rules = terms.policy.rules.iter().enumerate().map(|(at, rule)| {
            let verb = if rule.deny { "may not" } else { "may" };
            let action = rule.action.map_or("do anything", aop_proto::access::Action::name);
            let zone = rule.zone.as_ref().map(|zone| format!(" in {zone}")).unwrap_or_default();
            (format!("auth.rules.{at}"), format!("{} {verb} {action} {}{zone}", rule.principal, rule.tool))
        });
        let tokens = terms.tokens.iter().map(|token| {
            let zone = token.grant.zone.as_ref().map(|zone| format!(" in {zone}")).unwrap_or_default();
            let until = token.expires_ms.map(|ms| format!(" until {}", rfc3339(ms / 1000))).unwrap_or_default();
            let value = format!("{} {}{zone}{until}", token.grant.role.name(), token.grant.tool);
            (format!("auth.tokens.{}", token.name), value)
        });
        let issuers = terms.issuers.iter().enumerate().map(|(at, issuer)| {
            let name =
                |wanted| ALGORITHMS.iter().find(|(_, algorithm)| *algorithm == wanted).map_or("?", |(name, _)| name);
            let algorithms: Vec<&str> = issuer.algorithms.iter().map(|algorithm| name(*algorithm)).collect();
            (format!("auth.issuers.{at}"), format!("{} ({})", issuer.issuer, algorithms.join(", ")))
        });
        rules.chain(tokens).chain(issuers).collect()
    }

    /// Name and target of every configured upstream, without secrets.
    pub fn server_lines(&self) -> Vec<(String, String)> {
        let target = |transport: &Transport| match transport {
            Transport::Http { url, .. } | Transport::Agent { url, .. } | Transport::Api { url, .. } => url.clone(),
            Transport::Stdio { command, .. } => command.join(" "),
        };
        self.servers.iter().map(|server| (server.name.clone(), target(&server.transport))).collect()
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let settings: serde_json::Map<String, Value> = self
            .settings()
            .into_iter()
            .map(|(key, value, origin)| (key.to_owned(), json!({"value": value, "origin": origin})))
            .collect();
        let servers: Vec<Value> =
            self.server_lines().into_iter().map(|(name, target)| json!({"name": name, "target": target})).collect();
        let admission: serde_json::Map<String, Value> =
            self.admission_lines().into_iter().map(|(key, value)| (key, json!(value))).collect();
        let tools: serde_json::Map<String, Value> =
            self.tool_lines().into_iter().map(|(key, value)| (key, json!(value))).collect();
        json!({
            "schema": "aop.config/1", "file": self.file, "settings": settings, "servers": servers, "admission": admission, "tools": tools,
        })
    }
}
