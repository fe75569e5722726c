//! The TOML file: its keys, and where in it each value stands.
//!
//! Only the shape is checked here (unknown keys, types); what a value means is the business of `value.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use aop_proto::error::did_you_mean;
use aop_proto::name::check_label;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use toml::Spanned;

use super::admission::{AuthTable, Http};
use super::server::{Secret, ServerEntry, Transport, schema_in, with_schemas};
use super::{ConfigError, Origin, Raw};
use crate::upstream::{ApiTool, check_schema, check_tags, check_tools};

/// A value as text and where it stands.
pub(super) type Text = Spanned<Scalar>;

/// A string, number or truth value, as text: `limit = 10` and `limit = "10"` are the same.
#[derive(Debug, Clone)]
pub(super) struct Scalar(pub(super) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl serde::de::Visitor<'_> for Any {
            type Value = Scalar;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string, a number or true/false")
            }
            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// What an editor needs to know of the file: its JSON Schema.
pub const SCHEMA: &str = include_str!("schema.json");

/// Every key of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) zone: Option<Text>,
    pub(super) parents: Option<Vec<Text>>,
    pub(super) join: Option<Vec<Text>>,
    pub(super) invite: Option<Text>,
    pub(super) listen: Option<Text>,
    pub(super) advertise: Option<Text>,
    pub(super) data_dir: Option<Text>,
    pub(super) import: Option<Vec<Text>>,
    pub(super) dev: Option<Text>,
    pub(super) log_format: Option<Text>,
    pub(super) log_level: Option<Text>,
    pub(super) resolve: Option<Resolve>,
    pub(super) mcp: Option<Mcp>,
    pub(super) audit: Option<super::audit::Section>,
    pub(super) call: Option<super::call::Section>,
    #[serde(default)]
    pub(super) tools: BTreeMap<String, super::call::Section>,
    pub(super) tls_cert: Option<Text>,
    pub(super) tls_key: Option<Text>,
    pub(super) insecure_no_auth: Option<Text>,
    pub(super) http: Option<Http>,
    pub(super) auth: Option<AuthTable>,
    #[serde(default)]
    server: Vec<Spanned<Server>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolve {
    pub(super) limit: Option<Text>,
    pub(super) deadline: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mcp {
    pub(super) pinned: Option<Vec<Text>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    name: String,
    url: Option<String>,
    agent: Option<String>,
    api: Option<String>,
    tools: Option<Vec<ApiTool>>,
    tool: Option<String>,
    description: Option<String>,
    input_schema: Option<Value>,
    output_schema: Option<Value>,
    headers: Option<BTreeMap<String, Secret>>,
    command: Option<Vec<String>>,
    env: Option<BTreeMap<String, Secret>>,
    cwd: Option<PathBuf>,
    #[serde(default)]
    replica: bool,
    #[serde(default)]
    allow_private: bool,
    #[serde(default)]
    tags: Vec<String>,
    call: Option<super::call::Section>,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) settings: Settings,
    text: String,
}

impl File {
    /// Reads and shapes the file; `by` says who named it.
    pub(super) fn read(path: &Path, by: &str) -> Result<Self, ConfigError> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::new(format!("{by}: {shown} cannot be read: {error}")))?;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self::parse(path, text)
    }

    pub(super) fn parse(path: PathBuf, text: String) -> Result<Self, ConfigError> {
        match toml::from_str(&text) {
            Ok(settings) => Ok(Self { path, settings, text }),
            Err(error) => Err(shape_error(&path, &text, &error)),
        }
    }

    /// A value with its origin.
    pub(super) fn raw(&self, text: &Text) -> Raw {
        let origin = Origin::File(self.path.clone(), line_of(&self.text, text.span().start).0);
        Raw { text: text.get_ref().0.clone(), origin, span: Some(text.span()) }
    }

    /// The lines of a span.
    pub(super) fn draw(&self, span: Range<usize>) -> String {
        draw(&self.path, &self.text, span)
    }

    /// What is wrong with the entry that stands there.
    pub(super) fn entry_error(&self, span: Range<usize>, why: &str) -> ConfigError {
        let line = line_of(&self.text, span.start).0;
        let mut error = ConfigError::new(format!("{}:{line}: {why}", self.path.display()));
        error.excerpt = Some(draw(&self.path, &self.text, first_line(&self.text, span)));
        error
    }

    /// What is said of the calls of each server's tools.
    pub(super) fn server_calls(&self) -> impl Iterator<Item = (&str, &super::call::Section)> {
        let servers = self.settings.server.iter().map(Spanned::get_ref);
        servers.filter_map(|server| Some((server.name.as_str(), server.call.as_ref()?)))
    }

    /// The `[[server]]` entries, checked.
    pub(super) fn servers(&self) -> Result<Vec<ServerEntry>, ConfigError> {
        let base = self.path.parent().unwrap_or(Path::new("/"));
        let mut names = BTreeSet::new();
        let mut entries = Vec::new();
        for entry in &self.settings.server {
            let (server, span) = (entry.get_ref(), entry.span());
            let wrong = |why: String| self.entry_error(span.clone(), &format!("server `{}` {why}", server.name));
            if check_label(&server.name).is_err() {
                return Err(wrong("is not a label: 1 to 63 letters, digits, `_` and `-`".to_owned()));
            }
            if !names.insert(server.name.to_ascii_lowercase()) {
                return Err(wrong("is there twice".to_owned()));
            }
            check_tags(&server.tags).map_err(|why| wrong(format!("has `tags` that cannot be used: {why}")))?;
            entries.push(ServerEntry {
                name: server.name.clone(),
                transport: server.transport(base).map_err(wrong)?,
                replica: server.replica,
                allow_private: server.allow_private,
                tags: server.tags.clone(),
            });
        }
        Ok(entries)
    }
}

impl Server {
    fn transport(&self, base: &Path) -> Result<Transport, String> {
        let from_here = |secrets: &Option<BTreeMap<String, Secret>>| -> BTreeMap<String, Secret> {
            let absolute = |secret: &Secret| match secret {
                Secret::File { file } => Secret::File { file: base.join(file) },
                other => other.clone(),
            };
            secrets.iter().flatten().map(|(key, secret)| (key.clone(), absolute(secret))).collect()
        };
        if let Some(url) = &self.api {
            return self.api(url, from_here(&self.headers), base);
        }
        if self.tools.is_some() {
            return Err("has `tools`, which are for an `api`".to_owned());
        }
        if let Some(url) = &self.agent {
            if self.url.is_some() || self.command.is_some() || self.env.is_some() || self.cwd.is_some() {
                return Err(
                    "has an `agent`; `url`, `command`, `env` and `cwd` are for servers that speak MCP".to_owned()
                );
            }
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(format!("has an `agent` that is not http:// or https://: {url}"));
            }
            // In the file itself, or the name of one beside it.
            let schema = |field: &str, said: &Option<Value>| -> Result<Option<Value>, String> {
                let wrong = |why: String| format!("has an `{field}` that cannot be used: {why}");
                let schema = match said {
                    Some(Value::String(file)) => Some(schema_in(&base.join(file)).map_err(wrong)?),
                    said => said.clone(),
                };
                check_schema(field, schema.as_ref()).map(|()| schema).map_err(wrong)
            };
            return Ok(Transport::Agent {
                url: url.clone(),
                headers: from_here(&self.headers),
                tool: self.tool.clone(),
                description: self.description.clone(),
                input_schema: schema("input_schema", &self.input_schema)?,
                output_schema: schema("output_schema", &self.output_schema)?,
            });
        }
        if self.tool.is_some() || self.description.is_some() {
            return Err("has a `tool` or a `description`, which are for an `agent`".to_owned());
        }
        if self.input_schema.is_some() || self.output_schema.is_some() {
            return Err("has an `input_schema` or an `output_schema`, which are for an `agent`".to_owned());
        }
        match (&self.url, &self.command) {
            (Some(_), Some(_)) => Err("has both `url` and `command`; it is one or the other".to_owned()),
            (None, None) => Err("has neither `url` nor `agent` nor `api` nor `command`".to_owned()),
            (Some(_), None) if self.env.is_some() || self.cwd.is_some() => {
                Err("has a `url`; `env` and `cwd` are for a `command`".to_owned())
            }
            (None, Some(_)) if self.allow_private => Err("has a `command`; `allow_private` is for a `url`".to_owned()),
            (None, Some(_)) if self.headers.is_some() => Err("has a `command`; `headers` are for a `url`".to_owned()),
            (Some(url), None) if !url.starts_with("http://") && !url.starts_with("https://") => {
                Err(format!("has a `url` that is not http:// or https://: {url}"))
            }
            (Some(url), None) => Ok(Transport::Http { url: url.clone(), headers: from_here(&self.headers) }),
            (None, Some(command)) => {
                let mut command = command.clone();
                let Some(program) = command.first_mut().filter(|program| !program.is_empty()) else {
                    return Err("has an empty `command`".to_owned());
                };
                // A bare name is looked up in PATH when it is started; a path is seen from the file that names it.
                if program.contains('/') {
                    *program = base.join(&*program).components().collect::<PathBuf>().to_string_lossy().into_owned();
                }
                Ok(Transport::Stdio {
                    command,
                    env: from_here(&self.env),
                    cwd: self.cwd.as_ref().map(|cwd| base.join(cwd)),
                })
            }
        }
    }
}

impl Server {
    /// Tools that are defined here, as the requests they are.
    fn api(&self, url: &str, headers: BTreeMap<String, Secret>, base: &Path) -> Result<Transport, String> {
        let of_mcp = self.url.is_some() || self.command.is_some() || self.env.is_some() || self.cwd.is_some();
        let of_agent = self.agent.is_some() || self.tool.is_some() || self.description.is_some();
        if of_mcp || of_agent || self.input_schema.is_some() || self.output_schema.is_some() {
            return Err("has an `api`, which goes with `headers` and `tools` alone".to_owned());
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(format!("has an `api` that is not http:// or https://: {url}"));
        }
        let mut tools = self.tools.clone().unwrap_or_default();
        let wrong = |why: String| format!("has `tools` that cannot be used: {why}");
        with_schemas(&mut tools, base).and_then(|()| check_tools(&tools)).map_err(wrong)?;
        Ok(Transport::Api { url: url.to_owned(), headers, tools })
    }
}

/// What the TOML reader found, with the nearest key when one was unknown.
fn shape_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let span = error.span().unwrap_or(0..0);
    let (line, column) = line_of(text, span.start);
    // The only source of the known keys besides the struct itself is the message: "unknown field `a`, expected one of `b`, `c`".
    let quoted: Vec<&str> = error.message().split('`').skip(1).step_by(2).collect();
    let (what, near) = match quoted.split_first() {
        Some((unknown, known)) if error.message().starts_with("unknown field") => {
            (format!("there is no key `{unknown}`"), did_you_mean(unknown, known.iter().copied()))
        }
        _ => (error.message().to_owned(), Vec::new()),
    };
    ConfigError {
        message: format!("{}:{line}:{column}: {what}", path.display()),
        excerpt: Some(draw(path, text, first_line(text, span))),
        hint: None,
        did_you_mean: near,
    }
}

/// Line and column of an offset, from 1.
fn line_of(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// The span cut at the end of its first line.
fn first_line(text: &str, span: Range<usize>) -> Range<usize> {
    let end =
        text.get(span.start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |newline| span.start + newline);
    span.start..span.end.min(end).max(span.start)
}

/// ```text
///  3 | zonee = "x"
///    | ^^^^^
/// ```
fn draw(_path: &Path, text: &str, span: Range<usize>) -> String {
    let (line, column) = line_of(text, span.start);
    let source = text.lines().nth(line - 1).unwrap_or_default();
    let marks = text.get(span).map_or(1, |marked| marked.chars().count()).max(1);
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    format!(" {number} | {source}\n {gutter} | {}{}", " ".repeat(column - 1), "^".repeat(marks))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The keys that may stand there, in the words of the reader.
    fn keys_at(head: &str) -> BTreeSet<String> {
        let text = format!("{head}\n'no such key' = 1\n");
        let error = toml::from_str::<Settings>(&text).expect_err("it is no key");
        error.message().split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_schema_has_every_key_of_the_file_and_no_other() {
        let schema: Value = serde_json::from_str(SCHEMA).expect("it is JSON");
        let of = |path: &str| -> BTreeSet<String> {
            let there = schema.pointer(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(there["additionalProperties"], false, "{path}");
            there["properties"].as_object().expect("keys").keys().cloned().collect()
        };
        for (head, path) in [
            ("", ""),
            ("[resolve]", "/properties/resolve"),
            ("[mcp]", "/properties/mcp"),
            ("[audit]", "/properties/audit"),
            ("[http]", "/properties/http"),
            ("[auth]", "/properties/auth"),
            ("[[auth.rules]]", "/properties/auth/properties/rules/items"),
            ("[[auth.tokens]]", "/properties/auth/properties/tokens/items"),
            ("[[auth.issuers]]", "/properties/auth/properties/issuers/items"),
            ("[tools.a]", "/$defs/tools"),
            ("[[server]]", "/properties/server/items"),
            ("[[server]]\nname = 'a'\n[[server.tools]]", "/properties/server/items/properties/tools/items"),
        ] {
            assert_eq!(of(path), keys_at(head), "{head}");
        }
        // What is said of tools and not of all.
        let only_of_tools = ["read_only", "idempotent", "hedge", "weights"].map(str::to_owned).into();
        assert_eq!(&of("/$defs/tools") - &of("/properties/call"), only_of_tools);
    }
}
