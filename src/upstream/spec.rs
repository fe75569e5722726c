//! What a registration says about one server: how it is reached, and with which secrets.
//!
//! It is not a connection, and it decides nothing about names or zones. What must always hold: a secret given by reference is
//! stored as the reference and read only when a connection is made, and no `Debug`, no error and no status ever shows a value.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use aop_proto::params::FILTER_CHARS_MAX;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::api::{ApiTool, check_tools};
use super::failure::UpstreamError;

/// Longest URL. Source: what servers and middle boxes take without asking (RFC 9110 §4.1 wants 8,000 at least).
pub(crate) const URL_BYTES_MAX: usize = 8_192;
/// Largest secret read from a file, bytes; a key or a certificate is far below it.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// Longest schema that an operator gives, bytes: with another one and a description it still fits a record.
const SCHEMA_BYTES_MAX: usize = 24 * 1024;
/// Tags of a server.
const TAGS_MAX: usize = 16;
/// Values shorter than this, bytes, are not masked in foreign text: they would blank out ordinary words.
const MASKED_BYTES_MIN: usize = 6;
/// Headers that belong to the protocol or to the connection, never to a registration.
const RESERVED_HEADERS: [&str; 9] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
];

/// One registered server, as it is stored: JSON with secrets by reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// The name of the server on this node.
    pub name: String,
    /// How it is reached.
    #[serde(flatten)]
    pub transport: TransportSpec,
    /// Whether the operator declared it an instance of the same service as its namesakes on other nodes.
    #[serde(default)]
    pub replica: bool,
    /// Whether it may be reached at a private or loopback address; see [`super::Egress`].
    #[serde(default)]
    pub allow_private: bool,
    /// What all its tools are found by, besides their own tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum TransportSpec {
    /// MCP over Streamable HTTP.
    #[serde(rename = "mcp")]
    Http {
        /// `http` or `https`, without credentials in it.
        url: String,
        /// Sent with every request.
        #[serde(default)]
        headers: BTreeMap<String, Secret>,
    },
    /// A plain HTTP agent: `GET` at the address describes it, `POST` below it at `invoke` executes.
    Agent {
        /// `http` or `https`, without credentials in it.
        url: String,
        /// Sent with every request.
        #[serde(default)]
        headers: BTreeMap<String, Secret>,
        /// The tool's name, instead of what the agent calls itself.
        #[serde(default)]
        tool: Option<String>,
        /// The tool's description, instead of the agent's.
        #[serde(default)]
        description: Option<String>,
        /// What the tool takes, instead of a task and pictures; an object's JSON schema.
        #[serde(default)]
        input_schema: Option<Value>,
        /// What it answers: all of `result`, `success` and `error` where it names a `result`, otherwise the agent's own result alone.
        #[serde(default)]
        output_schema: Option<Value>,
    },
    /// Tools that the operator defines, each a plain HTTP request below one address.
    Api {
        /// `http` or `https`, without credentials and without a query in it.
        url: String,
        /// Sent with every request.
        #[serde(default)]
        headers: BTreeMap<String, Secret>,
        /// What they are, and how each is called.
        tools: Vec<ApiTool>,
    },
    /// A child process that speaks MCP on its standard input and output.
    Stdio {
        /// The program and its arguments; never a shell line.
        command: Vec<String>,
        /// Added to the small environment every child gets.
        #[serde(default)]
        env: BTreeMap<String, Secret>,
        /// Working directory, absolute; the node's own when absent.
        #[serde(default)]
        cwd: Option<PathBuf>,
    },
}

/// A value, or where it is read when it is used: `"V"`, `{"env":"VAR"}` or `{"file":"/abs"}`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Secret {
    /// The value itself.
    Literal(String),
    /// An environment variable of the node.
    Env {
        /// Its name.
        env: String,
    },
    /// A file only the node needs to be able to read; one trailing line break is not part of the value.
    File {
        /// Its absolute path.
        file: PathBuf,
    },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(…)"),
            Self::Env { env } => write!(f, "Env({env})"),
            Self::File { file } => write!(f, "File({})", file.display()),
        }
    }
}

impl ServerSpec {
    /// Refuses what can never work, before anything is started or dialled.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Invalid`], naming the field.
    pub fn validate(&self) -> Result<(), UpstreamError> {
        check_tags(&self.tags).map_err(invalid)?;
        if let TransportSpec::Api { url, tools, .. } = &self.transport {
            check_tools(tools).map_err(invalid)?;
            if url.contains('?') {
                return Err(invalid("a query in the url belongs to the path of a tool"));
            }
        }
        if let TransportSpec::Agent { input_schema, output_schema, .. } = &self.transport {
            check_schema("input_schema", input_schema.as_ref()).map_err(invalid)?;
            check_schema("output_schema", output_schema.as_ref()).map_err(invalid)?;
        }
        match &self.transport {
            TransportSpec::Agent { tool: Some(tool), .. } if tool.trim().is_empty() => {
                Err(invalid("the tool's name is empty"))
            }
            TransportSpec::Http { url, headers }
            | TransportSpec::Agent { url, headers, .. }
            | TransportSpec::Api { url, headers, .. } => {
                let parsed = url.parse::<reqwest::Url>().map_err(|e| invalid(format!("the url is not a URL: {e}")))?;
                if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
                    return Err(invalid("the url must start with http:// or https://"));
                }
                if !parsed.username().is_empty() || parsed.password().is_some() {
                    return Err(invalid("credentials in the url would be shown; give them as a header by reference"));
                }
                if parsed.fragment().is_some() {
                    return Err(invalid("a fragment in the url is sent to nobody; leave it out"));
                }
                if url.len() > URL_BYTES_MAX {
                    return Err(invalid(format!("the url is longer than {URL_BYTES_MAX} bytes")));
                }
                headers.iter().try_for_each(|(name, value)| check_header(name, value))
            }
            TransportSpec::Stdio { command, env, cwd } => {
                if command.first().is_none_or(|program| program.trim().is_empty()) {
                    return Err(invalid("the command is empty"));
                }
                if command.iter().any(|word| word.contains('\0')) {
                    return Err(invalid("the command has a NUL in it"));
                }
                if let Some(name) = env.keys().find(|n| n.is_empty() || n.contains(['=', '\0'])) {
                    return Err(invalid(format!("{name:?} cannot be the name of an environment variable")));
                }
                let has_nul = |value: &Secret| matches!(value, Secret::Literal(value) if value.contains('\0'));
                if let Some((name, _)) = env.iter().find(|(_, value)| has_nul(value)) {
                    return Err(invalid(format!("the environment variable {name} has a NUL in it")));
                }
                match cwd {
                    Some(dir) if !dir.is_absolute() => Err(invalid("the working directory must be an absolute path")),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl ServerSpec {
    /// What was defined here of that tool, where it is one that is.
    pub fn defined(&self, tool: &str) -> Option<&ApiTool> {
        match &self.transport {
            TransportSpec::Api { tools, .. } => tools.iter().find(|defined| defined.name == tool),
            _ => None,
        }
    }

    /// Why no request can be made of those arguments for a tool defined here, if none can.
    pub(crate) fn refuses(&self, tool: &str, arguments: &[u8]) -> Option<UpstreamError> {
        let TransportSpec::Api { url, .. } = &self.transport else { return None };
        let reason = self.defined(tool)?.try_request(url, arguments).err()?;
        Some(UpstreamError::Invalid { reason })
    }

    /// The tags of a tool of its: those of all of them, and its own.
    pub fn tags_of(&self, tool: &str) -> Vec<String> {
        let mut tags = self.tags.clone();
        let own = self.defined(tool).map(|defined| defined.tags.as_slice()).unwrap_or_default();
        tags.extend(own.iter().filter(|tag| !self.tags.contains(tag)).cloned());
        tags
    }

    /// Whether whoever defined that tool here says that it is read-only, and that it is idempotent. Of a server that describes its tools
    /// itself nothing is believed.
    pub fn hints_of(&self, tool: &str) -> (bool, bool) {
        let defined = self.defined(tool);
        defined.map_or((false, false), |tool| (tool.hint("readOnlyHint"), tool.hint("idempotentHint")))
    }
}

impl TransportSpec {
    /// `mcp`, `agent`, `api` or `stdio`, as in a registration.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http { .. } => "mcp",
            Self::Agent { .. } => "agent",
            Self::Api { .. } => "api",
            Self::Stdio { .. } => "stdio",
        }
    }

    /// What may be shown of it: the URL without its query, or the command line.
    pub fn target(&self) -> String {
        match self {
            Self::Http { url, .. } | Self::Agent { url, .. } | Self::Api { url, .. } => match url.split_once('?') {
                Some((base, _)) => format!("{base}?…"),
                None => url.clone(),
            },
            Self::Stdio { command, .. } => command.join(" "),
        }
    }

    /// Reads every reference now. The mask knows the values, so that they can be kept out of what the server says.
    pub(crate) async fn resolve(&self) -> Result<(BTreeMap<String, String>, Mask), UpstreamError> {
        let (what, named) = match self {
            Self::Http { headers, .. } | Self::Agent { headers, .. } | Self::Api { headers, .. } => ("header", headers),
            Self::Stdio { env, .. } => ("environment variable", env),
        };
        let mut values = BTreeMap::new();
        let mut mask = Vec::new();
        for (name, secret) in named {
            let value =
                secret.read().await.map_err(|why| UpstreamError::Secret { reason: format!("{what} {name}: {why}") })?;
            mask.extend(forms(&value));
            values.insert(name.clone(), value);
        }
        Ok((values, Mask(mask.into())))
    }
}

impl Secret {
    /// The value, or a sentence that names the reference and never the value.
    async fn read(&self) -> Result<String, String> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Env { env } => std::env::var(env)
                .map_err(|_| format!("the node has no environment variable {env} (or it is not text)")),
            Self::File { file } if !file.is_absolute() => Err(format!("{} is not an absolute path", file.display())),
            Self::File { file } => read_file(file).await.map_err(|e| format!("cannot read {}: {e}", file.display())),
        }
    }
}

async fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await?;
    let read = file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).await?;
    if read as u64 > SECRET_BYTES_MAX {
        return Err(std::io::Error::other(format!("it is larger than {SECRET_BYTES_MAX} bytes")));
    }
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

/// Whether a tool can have that schema: MCP knows objects only.
///
/// # Errors
/// A sentence that names the field.
pub fn check_schema(field: &str, schema: Option<&Value>) -> Result<(), String> {
    match schema.map(|schema| (&schema["type"], schema.to_string().len())) {
        Some((_, bytes)) if bytes > SCHEMA_BYTES_MAX => {
            Err(format!("the {field} has {bytes} bytes, and at most {SCHEMA_BYTES_MAX} are taken"))
        }
        Some((kind, _)) if kind != "object" => {
            Err(format!("the {field} has to be the JSON schema of an object, with \"type\": \"object\""))
        }
        _ => Ok(()),
    }
}

/// Whether a tool can be found by such tags.
///
/// # Errors
/// In words, which cannot be one.
pub fn check_tags(tags: &[String]) -> Result<(), String> {
    if tags.len() > TAGS_MAX {
        return Err(format!("{} tags are given, and at most {TAGS_MAX} are taken", tags.len()));
    }
    let odd = tags.iter().find(|tag| {
        tag.trim() != tag.as_str()
            || tag.is_empty()
            || tag.chars().count() > FILTER_CHARS_MAX
            || tag.contains(char::is_control)
    });
    match odd {
        Some(tag) => {
            Err(format!("{tag:?} is no tag: it has 1 to {FILTER_CHARS_MAX} characters, and no space around them"))
        }
        None => Ok(()),
    }
}

fn check_header(name: &str, value: &Secret) -> Result<(), UpstreamError> {
    if name.parse::<http::HeaderName>().is_err() {
        return Err(invalid(format!("{name:?} is not a header name")));
    }
    if RESERVED_HEADERS.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err(invalid(format!("the header {name} belongs to the protocol")));
    }
    // What is read when it is used is judged when it is used.
    if matches!(value, Secret::Literal(value) if http::HeaderValue::from_str(value).is_err()) {
        return Err(invalid(format!("the header {name} has a line end or another control character in it")));
    }
    Ok(())
}

fn invalid(reason: impl Into<String>) -> UpstreamError {
    UpstreamError::Invalid { reason: reason.into() }
}

/// How a value may come back: as it is, without the scheme before it (`Bearer …`), and either of them inside of JSON.
fn forms(value: &str) -> Vec<String> {
    let bare = value.split_once(' ').map(|(_, rest)| rest);
    let plain = [Some(value), bare].into_iter().flatten().filter(|form| form.len() >= MASKED_BYTES_MIN);
    let mut forms = Vec::new();
    for form in plain {
        let quoted = serde_json::Value::from(form).to_string();
        let quoted = quoted.trim_matches('"');
        forms.push(form.to_owned());
        if quoted != form {
            forms.push(quoted.to_owned());
        }
    }
    forms
}

/// The secret values of one connection, kept only to take them out of text the server wrote.
#[derive(Clone, Default)]
pub(crate) struct Mask(Arc<[String]>);

impl Mask {
    #[cfg(test)]
    pub(crate) fn of(values: &[&str]) -> Self {
        Self(values.iter().map(|value| (*value).to_owned()).collect())
    }

    pub(crate) fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), "[hidden]"))
    }

    /// The same for a message, which nearly always has none and is passed on as it is.
    pub(crate) fn hide(&self, message: &Bytes) -> Bytes {
        let found = |value: &String| message.windows(value.len()).any(|window| window == value.as_bytes());
        match self.0.iter().any(found) {
            true => self.apply(&String::from_utf8_lossy(message)).into(),
            false => message.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(url: &str, headers: &[(&str, Secret)]) -> ServerSpec {
        let headers = headers.iter().map(|(name, secret)| ((*name).to_owned(), secret.clone())).collect();
        let transport = TransportSpec::Http { url: url.into(), headers };
        ServerSpec { name: "s".into(), transport, replica: false, allow_private: false, tags: Vec::new() }
    }

    #[test]
    fn a_spec_survives_the_store() {
        let env = BTreeMap::from([
            ("A".to_owned(), Secret::Literal("plain".into())),
            ("B".to_owned(), Secret::Env { env: "HOME".into() }),
            ("C".to_owned(), Secret::File { file: "/run/secret".into() }),
        ]);
        let transport = TransportSpec::Stdio { command: vec!["srv".into(), "--x".into()], env, cwd: None };
        let spec =
            ServerSpec { name: "s".into(), transport, replica: true, allow_private: true, tags: vec!["t".into()] };
        let text = serde_json::to_string(&spec).expect("a spec is plain data");
        assert!(text.contains(r#""kind":"stdio""#) && text.contains(r#""B":{"env":"HOME"}"#), "{text}");
        assert_eq!(serde_json::from_str::<ServerSpec>(&text).expect("what was written"), spec);
        let minimal = serde_json::from_str::<ServerSpec>(r#"{"name":"m","kind":"mcp","url":"http://localhost/mcp"}"#);
        let minimal = minimal.expect("defaults");
        assert_eq!((minimal.transport.kind(), minimal.replica, minimal.allow_private), ("mcp", false, false));
    }

    #[test]
    fn debug_never_shows_a_literal() {
        let spec = http("http://localhost", &[("authorization", Secret::Literal("Bearer hunter2hunter2".into()))]);
        assert!(!format!("{spec:?}").contains("hunter2"));
    }

    #[test]
    fn what_can_never_work_is_refused_by_field() {
        for (spec, part) in [
            (http("ftp://localhost", &[]), "http://"),
            (http("http://me:pw@localhost/", &[]), "credentials"),
            (http("http://localhost/", &[("Host", Secret::Literal("x".into()))]), "Host"),
            (http("http://localhost/", &[("a b", Secret::Literal("x".into()))]), "a b"),
            (http("http://localhost/", &[("X-Key", Secret::Literal("x\r\nY: z".into()))]), "X-Key"),
            (http("http://localhost/#here", &[]), "fragment"),
            (http(&format!("http://localhost/{}", "x".repeat(URL_BYTES_MAX)), &[]), "longer"),
        ] {
            let said = spec.validate().expect_err("must be refused").to_string();
            assert!(said.contains(part), "{said}");
        }
        assert!(http("http://localhost:1/mcp", &[("X-Key", Secret::Literal("x".into()))]).validate().is_ok());
    }

    #[tokio::test]
    async fn a_missing_reference_is_named_and_a_file_loses_its_line_break() {
        let spec = http("http://localhost", &[("x-key", Secret::Env { env: "AOP_TEST_NO_SUCH_VARIABLE".into() })]);
        let said = spec.transport.resolve().await.err().expect("the variable is not set").to_string();
        assert!(said.contains("x-key") && said.contains("AOP_TEST_NO_SUCH_VARIABLE"), "{said}");

        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "s3cret-value\n").expect("writable");
        let spec = http("http://localhost", &[("x-key", Secret::File { file: file.path().to_owned() })]);
        let (values, mask) = spec.transport.resolve().await.expect("readable");
        assert_eq!(values["x-key"], "s3cret-value");
        assert_eq!(mask.apply("got s3cret-value!"), "got [hidden]!");
    }

    #[tokio::test]
    async fn a_value_is_hidden_in_every_form_it_comes_back_in() {
        let value = r#"Bearer a"b\c-token"#;
        let spec = http(
            "http://localhost",
            &[("authorization", Secret::Literal(value.into())), ("x", Secret::Literal("eu".into()))],
        );
        let (_, mask) = spec.transport.resolve().await.expect("literals");
        let echo = serde_json::json!({"whole": value, "bare": r#"a"b\c-token"#, "short": "eu"}).to_string();
        let hidden = r#"{"whole":"[hidden]","bare":"[hidden]","short":"eu"}"#;
        assert_eq!(mask.hide(&Bytes::from(echo)), hidden);
        assert_eq!(mask.apply(&format!("no entry for {value}")), "no entry for [hidden]");
    }
}
