//! What each MCP client wants to read to find a node, and where it keeps that.
//!
//! Pure text in, text out, so that every merge is tested without a home directory; `mcp.rs` does the reading and writing. What must
//! hold: everything else in a client's file stays, and a file that cannot be merged without losing something is left alone.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Map, Value, json};

/// The clients that are known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Editor {
    ClaudeCode,
    ClaudeDesktop,
    Cursor,
    Vscode,
    Codex,
    Zed,
    Windsurf,
}

/// Where a node is and how this machine runs `aop`.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The node's base URL, no slash at the end.
    pub(crate) base: String,
    /// The nodes as `--node` takes them.
    pub(crate) nodes: String,
    /// What `aop` has to be told besides.
    pub(crate) flags: Vec<String>,
    /// Whether the address is all it takes. Otherwise every client starts `aop`, which finds the token and the certificate, so that no
    /// secret stands in a client's file.
    pub(crate) is_plain: bool,
    /// The absolute path of `aop`.
    pub(crate) program: String,
}

impl Target {
    /// How `aop` is started to speak for the node.
    fn arguments(&self) -> Vec<String> {
        let node = ["--node".to_owned(), self.nodes.clone()];
        node.into_iter().chain(self.flags.iter().cloned()).chain(["mcp".to_owned()]).collect()
    }
}

/// The folders a client's file may be under.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) home: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) project: PathBuf,
}

/// The key of our entry in every client's file.
const NAME: &str = "aop";

impl Editor {
    /// The client's file.
    pub(crate) fn file(self, places: &Places) -> PathBuf {
        match self {
            Self::ClaudeCode => places.project.join(".mcp.json"),
            Self::ClaudeDesktop if cfg!(target_os = "macos") => {
                places.home.join("Library/Application Support/Claude/claude_desktop_config.json")
            }
            Self::ClaudeDesktop => places.config.join("Claude/claude_desktop_config.json"),
            Self::Cursor => places.project.join(".cursor/mcp.json"),
            Self::Vscode => places.project.join(".vscode/mcp.json"),
            Self::Codex => places.home.join(".codex/config.toml"),
            Self::Zed => places.config.join("zed/settings.json"),
            Self::Windsurf => places.home.join(".codeium/windsurf/mcp_config.json"),
        }
    }

    /// The member of the file that holds the servers.
    fn map(self) -> &'static str {
        match self {
            Self::Vscode => "servers",
            Self::Zed => "context_servers",
            Self::Codex => "mcp_servers",
            _ => "mcpServers",
        }
    }

    fn entry(self, target: &Target) -> Value {
        let url = format!("{}/mcp", target.base);
        let program = json!({"command": target.program, "args": target.arguments()});
        match self {
            Self::Vscode if !target.is_plain => {
                json!({"type": "stdio", "command": target.program, "args": target.arguments()})
            }
            _ if !target.is_plain => program,
            Self::ClaudeCode | Self::Vscode => json!({"type": "http", "url": url}),
            Self::Cursor | Self::Codex => json!({"url": url}),
            Self::Windsurf => json!({"serverUrl": url}),
            // These start a program instead of speaking HTTP.
            Self::ClaudeDesktop | Self::Zed => program,
        }
    }

    /// The whole file as it would be without anything else in it.
    pub(crate) fn snippet(self, target: &Target) -> String {
        if self == Self::Codex {
            return codex_section(&self.entry(target));
        }
        let file = json!({self.map(): {NAME: self.entry(target)}});
        format!("{}\n", super::json::pretty(&file.to_string()))
    }

    /// The command that does the same, where the client has one.
    pub(crate) fn command(self, target: &Target) -> Option<String> {
        (self == Self::ClaudeCode).then(|| match target.is_plain {
            true => format!("claude mcp add --transport http {NAME} {}/mcp", target.base),
            false => format!("claude mcp add {NAME} -- {} {}", target.program, target.arguments().join(" ")),
        })
    }

    /// `existing` with our entry added or replaced.
    ///
    /// # Errors
    /// A fragment that says why the file is better edited by hand.
    pub(crate) fn merge(self, existing: &str, target: &Target) -> Result<String, String> {
        if existing.trim().is_empty() {
            return Ok(self.snippet(target));
        }
        if self == Self::Codex {
            return merge_toml(existing, &codex_section(&self.entry(target)));
        }
        let mut file: Map<String, Value> = serde_json::from_str(existing).map_err(|error| {
            if serde_json::from_str::<Value>(&without_comments(existing)).is_ok() {
                "has comments that would be lost".to_owned()
            } else {
                format!("is not a JSON object: {error}")
            }
        })?;
        let servers = file.entry(self.map()).or_insert_with(|| json!({}));
        let Some(servers) = servers.as_object_mut() else {
            return Err(format!("has a `{}` that is not an object", self.map()));
        };
        servers.insert(NAME.to_owned(), self.entry(target));
        Ok(format!("{}\n", super::json::pretty(&Value::Object(file).to_string())))
    }
}

fn codex_section(entry: &Value) -> String {
    // Strings of JSON, and lists of them, are TOML for everything a URL, a path or an address can hold.
    let lines = entry.as_object().into_iter().flatten().map(|(key, value)| format!("{key} = {value}\n"));
    format!("[mcp_servers.{NAME}]\n{}", lines.collect::<String>())
}

/// Replaces our table in a TOML file, or adds it at the end; every other line stays as it is.
fn merge_toml(existing: &str, section: &str) -> Result<String, String> {
    let file: toml::Table =
        existing.parse().map_err(|error: toml::de::Error| format!("is not TOML: {}", error.message()))?;
    let known = file.get("mcp_servers").and_then(|servers| servers.get(NAME)).is_some();
    let header = format!("[mcp_servers.{NAME}]");
    let ours = existing.lines().position(|line| line.trim() == header);
    match (known, ours) {
        (true, None) => Err(format!("already has an `{NAME}` entry written in another way")),
        (_, Some(start)) => {
            let lines: Vec<&str> = existing.lines().collect();
            let below = format!("[mcp_servers.{NAME}.");
            let mut end = start + 1;
            while end < lines.len()
                && (!lines[end].trim_start().starts_with('[') || lines[end].trim_start().starts_with(&below))
            {
                end += 1;
            }
            let join = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let gap = if end < lines.len() { "\n" } else { "" };
            Ok(format!("{}{section}{gap}{}", join(&lines[..start]), join(&lines[end..])))
        }
        (false, None) => Ok(format!("{}\n\n{section}", existing.trim_end())),
    }
}

/// JSON out of the JSON-with-comments that editors keep: comments and trailing commas become blanks.
pub(crate) fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    // Where a comma was written that has had nothing but blanks after it.
    let mut comma: Option<usize> = None;
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                comma = None;
                out.push('"');
                while let Some(inner) = chars.next() {
                    out.push(inner);
                    match inner {
                        '\\' => out.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|next| *next != '\n').is_some() {},
            '/' if chars.peek() == Some(&'*') => {
                chars.next();
                let mut star = false;
                for inner in chars.by_ref() {
                    if star && inner == '/' {
                        break;
                    }
                    star = inner == '*';
                }
                out.push(' ');
            }
            '}' | ']' => {
                if let Some(at) = comma.take() {
                    out.replace_range(at..=at, " ");
                }
                out.push(c);
            }
            ',' => {
                comma = Some(out.len());
                out.push(c);
            }
            blank if blank.is_whitespace() => out.push(blank),
            other => {
                comma = None;
                out.push(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            base: "http://127.0.0.1:7400".into(),
            nodes: "127.0.0.1:7400".into(),
            flags: Vec::new(),
            is_plain: true,
            program: "/usr/bin/aop".into(),
        }
    }

    #[test]
    fn a_node_that_wants_a_token_is_reached_through_aop_and_no_secret_is_written() {
        let flags = vec!["--ca".to_owned(), "/ca.pem".to_owned()];
        let target = Target { is_plain: false, flags, base: "https://node.example:7400".into(), ..target() };
        let arguments = json!(["--node", "127.0.0.1:7400", "--ca", "/ca.pem", "mcp"]);
        for editor in Editor::value_variants() {
            let snippet = editor.snippet(&target);
            let value: Value = match editor {
                Editor::Codex => serde_json::to_value(snippet.parse::<toml::Table>().expect("TOML")).expect("plain"),
                _ => serde_json::from_str(&snippet).expect("JSON"),
            };
            let entry = &value[editor.map()]["aop"];
            assert_eq!((&entry["command"], &entry["args"]), (&json!("/usr/bin/aop"), &arguments), "{snippet}");
        }
        let command = Editor::ClaudeCode.command(&target).expect("it has one");
        assert_eq!(command, "claude mcp add aop -- /usr/bin/aop --node 127.0.0.1:7400 --ca /ca.pem mcp");
    }

    #[test]
    fn each_client_gets_its_own_shape() {
        let snippet = |editor: Editor| serde_json::from_str::<Value>(&editor.snippet(&target())).expect("JSON");
        let url = "http://127.0.0.1:7400/mcp";
        assert_eq!(snippet(Editor::ClaudeCode), json!({"mcpServers": {"aop": {"type": "http", "url": url}}}));
        assert_eq!(snippet(Editor::Vscode), json!({"servers": {"aop": {"type": "http", "url": url}}}));
        assert_eq!(snippet(Editor::Cursor), json!({"mcpServers": {"aop": {"url": url}}}));
        assert_eq!(snippet(Editor::Windsurf), json!({"mcpServers": {"aop": {"serverUrl": url}}}));
        let stdio = json!({"aop": {"command": "/usr/bin/aop", "args": ["--node", "127.0.0.1:7400", "mcp"]}});
        assert_eq!(snippet(Editor::ClaudeDesktop), json!({"mcpServers": stdio}));
        assert_eq!(snippet(Editor::Zed), json!({"context_servers": stdio}));
        assert_eq!(Editor::Codex.snippet(&target()), "[mcp_servers.aop]\nurl = \"http://127.0.0.1:7400/mcp\"\n");
    }

    #[test]
    fn a_merge_keeps_everything_else() {
        let existing = r#"{"theme": "dark", "mcpServers": {"other": {"url": "x"}, "aop": {"url": "old"}}}"#;
        let merged: Value =
            serde_json::from_str(&Editor::Cursor.merge(existing, &target()).expect("merged")).expect("JSON");
        assert_eq!(
            merged,
            json!({"theme": "dark", "mcpServers": {"other": {"url": "x"}, "aop": {"url": "http://127.0.0.1:7400/mcp"}}})
        );
        assert!(Editor::Zed.merge("{\n // mine\n}", &target()).expect_err("comments").contains("comments"));
        assert!(Editor::Cursor.merge("[1]", &target()).is_err());
        assert!(Editor::Cursor.merge(r#"{"mcpServers": []}"#, &target()).is_err());
    }

    #[test]
    fn toml_keeps_every_other_line() {
        let old = "# mine\nmodel = \"x\"\n\n[mcp_servers.aop]\nurl = \"old\"\n\n[mcp_servers.other]\ncommand = \"y\"\n";
        assert_eq!(
            Editor::Codex.merge(old, &target()),
            Ok("# mine\nmodel = \"x\"\n\n[mcp_servers.aop]\nurl = \"http://127.0.0.1:7400/mcp\"\n\n[mcp_servers.other]\ncommand = \"y\"\n".into())
        );
        let added = Editor::Codex.merge("model = \"x\"\n", &target()).expect("merged");
        assert_eq!(added, "model = \"x\"\n\n[mcp_servers.aop]\nurl = \"http://127.0.0.1:7400/mcp\"\n");
        assert!(Editor::Codex.merge("mcp_servers = { aop = { url = \"x\" } }", &target()).is_err());
    }

    #[test]
    fn comments_and_trailing_commas_go_and_strings_stay() {
        let text = "{ // a\n \"u\": \"http://x//y\", /* b, */ \"l\": [1, 2, ],\n}";
        assert_eq!(
            serde_json::from_str::<Value>(&without_comments(text)).ok(),
            Some(json!({"u": "http://x//y", "l": [1, 2]}))
        );
    }
}
