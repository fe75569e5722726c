//! An upstream as a configuration or a command line names it: `[[server]]`, `aop register`, an editor's `mcp.json`.
//!
//! Not a connection. What must hold: a secret given by reference stays a reference, here and in everything this is sent to, and
//! `Debug` never shows a literal one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::upstream::ApiTool;

/// One upstream MCP server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerEntry {
    /// The server's label in tool names; empty means "what the server calls itself".
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// Whether several nodes serve the same service under this name.
    pub replica: bool,
    /// Whether it may be reached at a private or loopback address.
    pub allow_private: bool,
    /// What all its tools are found by, besides their own tags.
    pub tags: Vec<String>,
}

/// How an upstream is reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Transport {
    /// Streamable HTTP.
    #[serde(rename = "mcp")]
    Http {
        /// Where it answers.
        url: String,
        /// Sent with every request.
        headers: BTreeMap<String, Secret>,
    },
    /// A plain HTTP agent.
    Agent {
        /// Where it describes itself; it executes below, at `invoke`.
        url: String,
        /// Sent with every request.
        headers: BTreeMap<String, Secret>,
        /// The tool's name, instead of the agent's own.
        #[serde(skip_serializing_if = "Option::is_none")]
        tool: Option<String>,
        /// The tool's description, instead of the agent's own.
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// What the tool takes, as JSON schema, instead of a task and pictures.
        #[serde(skip_serializing_if = "Option::is_none")]
        input_schema: Option<Value>,
        /// What it answers, instead of `result`, `success` and `error`.
        #[serde(skip_serializing_if = "Option::is_none")]
        output_schema: Option<Value>,
    },
    /// Tools that are defined here, each a plain HTTP request.
    Api {
        /// What the paths of the tools are below.
        url: String,
        /// Sent with every request.
        headers: BTreeMap<String, Secret>,
        /// What they are, and how each is called.
        tools: Vec<ApiTool>,
    },
    /// A child process that speaks on its standard streams.
    Stdio {
        /// The program, absolute, and its arguments.
        command: Vec<String>,
        /// Set besides the node's own environment.
        env: BTreeMap<String, Secret>,
        /// Where it runs.
        #[serde(skip_serializing_if = "Option::is_none")]
        cwd: Option<PathBuf>,
    },
}

/// A value, or where to read it at the moment it is used.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Secret {
    /// The value itself.
    Literal(String),
    /// An environment variable of the node.
    Env {
        /// Its name.
        env: String,
    },
    /// A file the node can read; its content without the last line break.
    File {
        /// Its absolute path.
        file: PathBuf,
    },
}

/// Reads the JSON of a schema from a file.
///
/// # Errors
/// A fragment that names the file.
pub fn schema_in(file: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{} is not JSON: {error}", file.display()))
}

/// Reads the schemas of tools that name a file for one.
///
/// # Errors
/// A fragment that names the tool and the file.
pub fn with_schemas(tools: &mut [ApiTool], base: &Path) -> Result<(), String> {
    for tool in tools {
        for schema in [&mut tool.input_schema, &mut tool.output_schema] {
            if let Some(Value::String(file)) = schema {
                let read = schema_in(&base.join(&*file)).map_err(|why| format!("the tool `{}`: {why}", tool.name))?;
                *schema = Some(read);
            }
        }
    }
    Ok(())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("(set)"),
            Self::Env { env } => write!(f, "env:{env}"),
            Self::File { file } => write!(f, "@{}", file.display()),
        }
    }
}

impl Secret {
    /// Reads `V`, `env:VAR` or `@FILE`; a relative file is taken from `base`.
    ///
    /// # Errors
    /// A fragment when a reference names nothing.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        if let Some(variable) = text.strip_prefix("env:") {
            if variable.is_empty() || variable.contains(['=', '\0', ' ']) {
                return Err(format!("`{text}` names no environment variable; write env:NAME"));
            }
            return Ok(Self::Env { env: variable.to_owned() });
        }
        if let Some(file) = text.strip_prefix('@') {
            if file.is_empty() {
                return Err("`@` names no file; write @/path/to/file".to_owned());
            }
            return Ok(Self::File { file: base.join(file) });
        }
        Ok(Self::Literal(text.to_owned()))
    }

    /// Splits `K=V` and reads the value as [`Secret::parse`] does.
    ///
    /// # Errors
    /// A fragment when there is no key.
    pub fn parse_pair(pair: &str, base: &Path) -> Result<(String, Self), String> {
        match pair.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), Self::parse(value, base)?)),
            // The whole pair is not repeated: without the `=` it may be a token.
            _ => Err("not KEY=VALUE; write K=V, K=env:VAR or K=@FILE".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_by_reference() {
        let read = |pair: &str| Secret::parse_pair(pair, Path::new("/srv"));
        assert_eq!(read("K=v=1"), Ok(("K".into(), Secret::Literal("v=1".into()))));
        assert_eq!(read("K=env:TOKEN"), Ok(("K".into(), Secret::Env { env: "TOKEN".into() })));
        assert_eq!(read("K=@key"), Ok(("K".into(), Secret::File { file: "/srv/key".into() })));
        assert_eq!(read("K=@/run/key"), Ok(("K".into(), Secret::File { file: "/run/key".into() })));
        assert!(read("K=env:").is_err() && read("K=@").is_err() && read("=v").is_err());
        assert!(!read("hunter2").expect_err("no key").contains("hunter2"), "a token must not be echoed");
    }

    #[test]
    fn secrets_travel_in_the_api_s_shape_and_are_not_debugged() {
        let json = |secret: &Secret| serde_json::to_string(secret).expect("plain data");
        assert_eq!(json(&Secret::Literal("v".into())), r#""v""#);
        assert_eq!(json(&Secret::Env { env: "T".into() }), r#"{"env":"T"}"#);
        assert_eq!(json(&Secret::File { file: "/k".into() }), r#"{"file":"/k"}"#);
        assert_eq!(format!("{:?}", Secret::Literal("hunter2".into())), "(set)");
    }
}
