//! The effective configuration, each value with where it came from; secrets stay references or are not shown.

use serde_json::{Value, json};

use super::{NodeConfig, Transport, duration_text};

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
        values.into_iter().map(|(key, value)| (key, value, self.origin(key).to_string())).collect()
    }

    /// Name and target of every configured upstream, without secrets.
    pub fn server_lines(&self) -> Vec<(String, String)> {
        let target = |transport: &Transport| match transport {
            Transport::Http { url, .. } => url.clone(),
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
        json!({"schema": "aop.config/1", "file": self.file, "settings": settings, "servers": servers})
    }
}
