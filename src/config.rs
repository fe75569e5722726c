//! The configuration of a node: flags over `AOP_*` variables over a TOML file over defaults, each value with where it came from.
//!
//! ```text
//! config/flags  config/file  environment ─▶ load ─▶ NodeConfig (typed, checked) ─▶ server
//!                 config/value   one setting's grammar        config/report   the effective result, for people and programs
//!                 config/server  an upstream and its secrets
//!                 config/call  how tools are called
//!                 config/admission  TLS, tokens, rules: who may reach the node
//! ```
//!
//! Nothing is opened or bound here. What must hold: a configuration that loads can be started, unknown keys are errors, and an error
//! names the place it came from.

mod admission;
mod audit;
mod call;
mod file;
mod flags;
mod report;
mod server;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aop_proto::call::Policies;
use aop_proto::error::{Kind, Problem};
use aop_proto::name::ZoneName;
use aop_proto::node;

pub use crate::clock::{duration_text, parse_duration};
pub use admission::Admission;
pub use file::SCHEMA;
pub use flags::NodeFlags;
pub use server::{Secret, ServerEntry, Transport, schema_in, with_schemas};
pub use value::{HostPort, LogFormat, Wrong, parse_zone};

use file::File;

use crate::invites::Offer;

/// Port of both protocols unless configured.
pub const PORT: u16 = 7400;
/// Results of a resolve that names no number. (default 10, min 1, max 100)
const LIMIT: (u64, u64, u64) = (10, 1, 100);
/// Time a resolve may take. (default 2 s, min 10 ms, max 60 s)
const DEADLINE: (Duration, Duration, Duration) =
    (Duration::from_secs(2), Duration::from_millis(10), Duration::from_secs(60));

/// Everything a node needs to know before it starts.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The zone this node serves; `.` is the root. Default `local`.
    pub zone: ZoneName,
    /// Gateways of the parent zone, in the order they are tried.
    pub parents: Vec<HostPort>,
    /// Nodes of the own zone to find the others through.
    pub join: Vec<HostPort>,
    /// One address for UDP federation and TCP clients; port 0 picks one. Default `127.0.0.1:7400`.
    pub listen: SocketAddr,
    /// What other nodes are told to dial instead of `listen`.
    pub advertise: Option<HostPort>,
    /// An invite that was given, as it reads.
    pub invite: Option<Offer>,
    /// Where everything lasting is kept; `None` keeps it in memory (`--dev`, or port 0 without a directory).
    pub data_dir: Option<PathBuf>,
    /// Catalogues read at start.
    pub import: Vec<PathBuf>,
    /// A root and two demo zones in memory, on loopback.
    pub dev: bool,
    /// How logs are written.
    pub log_format: LogFormat,
    /// What is logged: a level, or directives such as `info,aop=debug`.
    pub log_level: String,
    /// Who may reach the node and what it may do.
    pub admission: Admission,
    /// Upstreams known from the file.
    pub servers: Vec<ServerEntry>,
    /// Bounds of a resolve.
    pub resolve: ResolveConfig,
    /// What the MCP door shows.
    pub mcp: McpConfig,
    /// What is written down, and how much of it is kept.
    pub audit: crate::audit::Settings,
    /// How tools are called.
    pub policies: Policies,
    /// The file that was read.
    pub file: Option<PathBuf>,
    origins: BTreeMap<&'static str, Origin>,
}

/// `[resolve]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveConfig {
    /// Results when a question names no number.
    pub limit: usize,
    /// How long an answer may take when a question does not say.
    pub deadline: Duration,
}

/// `[mcp]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct McpConfig {
    /// Tools that are listed on `/mcp` besides the constant ones.
    pub pinned: Vec<String>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// An environment variable.
    Env(&'static str),
    /// A line of the configuration file.
    File(PathBuf, usize),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Env(variable) => f.write_str(variable),
            Self::File(file, line) => write!(f, "{}:{line}", file.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// Where and what, in one line.
    pub message: String,
    /// The lines of the file it is about, drawn.
    pub excerpt: Option<String>,
    /// What to write instead.
    pub hint: Option<String>,
    /// Near names.
    pub did_you_mean: Vec<String>,
}

impl ConfigError {
    /// An error with a message and nothing else.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), excerpt: None, hint: None, did_you_mean: Vec::new() }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        let mut problem = Self::new(Kind::Config, error.message).did_you_mean(error.did_you_mean);
        problem.hint = error.hint;
        problem
    }
}

/// One setting's value as text, before it is understood.
#[derive(Debug, Clone)]
struct Raw {
    text: String,
    origin: Origin,
    /// The span in the file's text, for drawings.
    span: Option<std::ops::Range<usize>>,
}

/// The three sources of one load.
struct Sources<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    file: Option<File>,
    origins: BTreeMap<&'static str, Origin>,
    /// What a node could not start with; `None` where the first of it is an error.
    tolerated: Option<Vec<ConfigError>>,
}

/// Brings everything together and checks it.
///
/// # Errors
/// The first thing that cannot be used; nothing was changed anywhere.
pub fn load(flags: NodeFlags, env: &dyn Fn(&str) -> Option<String>) -> Result<NodeConfig, ConfigError> {
    bring_together(flags, env, None).map(|(config, _)| config)
}

/// The same for a person to look at, who need not be allowed to read what the node reads: files of TLS that cannot be used are told
/// beside the configuration.
///
/// # Errors
/// As [`load`], but for those files.
pub fn load_to_show(
    flags: NodeFlags,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(NodeConfig, Vec<ConfigError>), ConfigError> {
    bring_together(flags, env, Some(Vec::new()))
}

fn bring_together(
    flags: NodeFlags,
    env: &dyn Fn(&str) -> Option<String>,
    tolerated: Option<Vec<ConfigError>>,
) -> Result<(NodeConfig, Vec<ConfigError>), ConfigError> {
    let given = flags.clone();
    let dev_flag = flags.dev.then(|| "true".to_owned());
    let file = find_file(&flags, env, dev_flag.is_some())?;
    let mut from = Sources { env, file, origins: BTreeMap::new(), tolerated };
    let path_text = |path: PathBuf| path.to_string_lossy().into_owned();

    let dev = from.one("dev", ("--dev", dev_flag), "AOP_DEV", |f| f.dev.clone());
    let dev = from.parse(dev.as_ref(), value::parse_bool)?.unwrap_or(false);
    let invite = from.one("invite", ("--invite", flags.invite), "AOP_INVITE", |f| f.invite.clone());
    let invite = from.parse(invite.as_ref(), value::parse_invite)?;
    let zone = from.one("zone", ("--zone", flags.zone), "AOP_ZONE", |f| f.zone.clone());
    let invited = || invite.as_ref().map_or_else(|| parse_zone("local"), |offer| Ok(offer.zone.clone()));
    let zone = from
        .parse(zone.as_ref(), parse_zone)?
        .map_or_else(invited, Ok)
        .map_err(|wrong| ConfigError::new(wrong.message))?;
    let parents = from.many("parents", ("--parent", flags.parent), "AOP_PARENT", |f| f.parents.clone());
    let parents = from.parse_all(&parents, |text| HostPort::parse(text, "--parent"))?;
    let join = from.many("join", ("--join", flags.join), "AOP_JOIN", |f| f.join.clone());
    let join = from.parse_all(&join, |text| HostPort::parse(text, "--join"))?;
    let listen = from.one("listen", ("--listen", flags.listen), "AOP_LISTEN", |f| f.listen.clone());
    let listen =
        from.parse(listen.as_ref(), value::parse_listen)?.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], PORT)));
    let advertise = from.one("advertise", ("--advertise", flags.advertise), "AOP_ADVERTISE", |f| f.advertise.clone());
    let advertise = from.parse(advertise.as_ref(), |text| HostPort::parse(text, "--advertise"))?;
    let data_dir =
        from.one("data_dir", ("--data-dir", flags.data_dir.map(path_text)), "AOP_DATA_DIR", |f| f.data_dir.clone());
    let data_dir = data_dir.map(|raw| from.path(&raw)).transpose()?;
    let import = flags.import.into_iter().map(path_text).collect();
    let import = from.many("import", ("--import", import), "AOP_IMPORT", |f| f.import.clone());
    let import = import.iter().map(|raw| from.readable(raw)).collect::<Result<Vec<_>, _>>()?;
    let log_format =
        from.one("log_format", ("--log-format", flags.log_format), "AOP_LOG_FORMAT", |f| f.log_format.clone());
    let log_format = from.parse(log_format.as_ref(), LogFormat::parse)?.unwrap_or_default();
    let log_level = from.one("log_level", ("--log-level", flags.log_level), "AOP_LOG_LEVEL", |f| f.log_level.clone());
    let log_level = from.parse(log_level.as_ref(), value::parse_log_level)?.unwrap_or_else(|| "info".to_owned());
    let limit = from.one("resolve.limit", ("", None), "AOP_RESOLVE__LIMIT", |f| f.resolve.as_ref()?.limit.clone());
    let limit = from.parse(limit.as_ref(), |text| value::parse_number(text, LIMIT))?.unwrap_or(LIMIT.0);
    let deadline =
        from.one("resolve.deadline", ("", None), "AOP_RESOLVE__DEADLINE", |f| f.resolve.as_ref()?.deadline.clone());
    let deadline = from.parse(deadline.as_ref(), |text| value::parse_time(text, DEADLINE))?.unwrap_or(DEADLINE.0);
    let pinned = from.many("mcp.pinned", ("", Vec::new()), "AOP_MCP__PINNED", |f| f.mcp.as_ref()?.pinned.clone());
    let pinned = pinned.into_iter().map(|raw| raw.text).filter(|name| !name.trim().is_empty()).collect();
    let audit = audit::read(&mut from)?;
    let policies = call::read(&mut from, &zone)?;
    let admission = admission::read(&mut from, &given, listen, advertise.as_ref())?;
    let servers = match &from.file {
        Some(file) => file.servers()?,
        None => Vec::new(),
    };

    let keeps_nothing = dev || (listen.port() == 0 && data_dir.is_none());
    let default_dir = |from: &Sources<'_>| default_data_dir(&zone, listen.port(), from.env);
    let data_dir = match data_dir {
        Some(dir) => Some(dir),
        None if keeps_nothing => None,
        None => Some(default_dir(&from)?),
    };
    let config = NodeConfig {
        zone,
        parents,
        join,
        invite,
        listen,
        advertise,
        data_dir,
        import,
        dev,
        log_format,
        log_level,
        admission,
        servers,
        resolve: ResolveConfig { limit: usize::try_from(limit).unwrap_or(usize::MAX), deadline },
        mcp: McpConfig { pinned },
        audit,
        policies,
        file: from.file.as_ref().map(|file| file.path.clone()),
        origins: from.origins,
    };
    check_together(&config)?;
    Ok((config, from.tolerated.unwrap_or_default()))
}

impl NodeConfig {
    /// Who may become a replica or a child without an invite.
    pub const fn joining(&self) -> node::Admission {
        match self.admission.insecure_no_auth {
            true => node::Admission::Open,
            false if self.admission.terms.policy.is_open => node::Admission::Local,
            false => node::Admission::Invited,
        }
    }

    /// Where the value of a setting came from.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }
}

/// What is fine alone and not together.
fn check_together(config: &NodeConfig) -> Result<(), ConfigError> {
    if config.dev {
        for key in ["zone", "parents", "join", "data_dir", "advertise"] {
            let origin = config.origin(key);
            if *origin != Origin::Default {
                let message = format!(
                    "{origin}: `{key}` does not go together with --dev, which makes its own zones and keeps nothing"
                );
                return Err(ConfigError::new(message).hint("aop-node --dev"));
            }
        }
    }
    if config.dev && !config.listen.ip().is_loopback() {
        let message = format!("{}: --dev is for this machine alone and listens on loopback", config.origin("listen"));
        return Err(ConfigError::new(message).hint("aop-node --dev"));
    }
    if config.zone.is_root() && !config.parents.is_empty() {
        let message = format!("{}: the root zone `.` has no parent", config.origin("parents"));
        let parent = &config.parents[0];
        return Err(ConfigError::new(message).hint(format!("aop-node --zone research --parent {parent}")));
    }
    if let Some(offer) = &config.invite
        && offer.zone != config.zone
    {
        let message = format!(
            "{}: the invite is for a node of zone {zone}, and this one is to be of {}: say --zone {zone} with it",
            config.origin("invite"),
            config.zone,
            zone = offer.zone
        );
        return Err(ConfigError::new(message).hint("aop-node --help"));
    }
    let own = config.listen.to_string();
    if config.listen.port() != 0
        && let Some(key) = [("parents", &config.parents), ("join", &config.join)]
            .iter()
            .find_map(|(key, list)| list.iter().any(|address| address.to_string() == own).then_some(*key))
    {
        let message = format!("{}: {own} is this node's own address", config.origin(key));
        return Err(ConfigError::new(message)
            .hint(format!("aop-node --listen 127.0.0.1:{}", config.listen.port().wrapping_add(1).max(1024))));
    }
    Ok(())
}

impl Sources<'_> {
    /// The value of highest precedence.
    fn one(
        &mut self,
        key: &'static str,
        (flag, given): (&'static str, Option<String>),
        variable: &'static str,
        in_file: impl Fn(&file::Settings) -> Option<file::Text>,
    ) -> Option<Raw> {
        let raw = match (given, self.variable(variable)) {
            (Some(text), _) => Some(Raw { text, origin: Origin::Flag(flag), span: None }),
            (None, Some(text)) => Some(Raw { text, origin: Origin::Env(variable), span: None }),
            (None, None) => self.file.as_ref().and_then(|file| Some(file.raw(&in_file(&file.settings)?))),
        };
        if let Some(raw) = &raw {
            self.origins.insert(key, raw.origin.clone());
        }
        raw
    }

    /// The list of highest precedence; lists replace one another, they are not joined.
    fn many(
        &mut self,
        key: &'static str,
        (flag, given): (&'static str, Vec<String>),
        variable: &'static str,
        in_file: impl Fn(&file::Settings) -> Option<Vec<file::Text>>,
    ) -> Vec<Raw> {
        let all = |texts: Vec<String>, origin: Origin| -> Vec<Raw> {
            texts.into_iter().map(|text| Raw { text, origin: origin.clone(), span: None }).collect()
        };
        let raws = if !given.is_empty() {
            all(given, Origin::Flag(flag))
        } else if let Some(text) = self.variable(variable) {
            all(
                text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect(),
                Origin::Env(variable),
            )
        } else if let Some(file) = &self.file {
            in_file(&file.settings).unwrap_or_default().iter().map(|text| file.raw(text)).collect()
        } else {
            Vec::new()
        };
        if let Some(first) = raws.first() {
            self.origins.insert(key, first.origin.clone());
        }
        raws
    }

    /// An empty variable counts as not set, as in every shell script that clears one.
    fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    fn parse<T>(
        &self,
        raw: Option<&Raw>,
        parse: impl Fn(&str) -> Result<T, value::Wrong>,
    ) -> Result<Option<T>, ConfigError> {
        raw.map(|raw| parse(&raw.text).map_err(|wrong| self.error(raw, wrong))).transpose()
    }

    fn parse_all<T>(
        &self,
        raws: &[Raw],
        parse: impl Fn(&str) -> Result<T, value::Wrong>,
    ) -> Result<Vec<T>, ConfigError> {
        raws.iter().map(|raw| parse(&raw.text).map_err(|wrong| self.error(raw, wrong))).collect()
    }

    /// A path made absolute: from the working directory, or from the folder of the file that names it.
    fn path(&self, raw: &Raw) -> Result<PathBuf, ConfigError> {
        if raw.text.is_empty() {
            return Err(self.error(raw, value::Wrong::new("an empty path names nothing")));
        }
        let base = match &raw.origin {
            Origin::File(file, _) => file.parent().unwrap_or(Path::new("")),
            _ => Path::new(""),
        };
        std::path::absolute(base.join(&raw.text)).map_err(|error| self.error(raw, value::Wrong::new(error.to_string())))
    }

    fn readable(&self, raw: &Raw) -> Result<PathBuf, ConfigError> {
        let path = self.path(raw)?;
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() => Ok(path),
            Ok(_) => Err(self.error(raw, value::Wrong::new(format!("{} is not a file", path.display())))),
            Err(error) => {
                Err(self.error(raw, value::Wrong::new(format!("{} cannot be read: {error}", path.display()))))
            }
        }
    }

    /// What keeps a node from starting and nobody from reading its configuration.
    fn tolerate(&mut self, error: ConfigError) -> Result<(), ConfigError> {
        match &mut self.tolerated {
            Some(tolerated) => tolerated.push(error),
            None => return Err(error),
        }
        Ok(())
    }

    fn error(&self, raw: &Raw, wrong: value::Wrong) -> ConfigError {
        let excerpt = self.file.as_ref().zip(raw.span.clone()).map(|(file, span)| file.draw(span));
        let message = format!("{}: {}", raw.origin, wrong.message);
        ConfigError { message, excerpt, hint: wrong.hint, did_you_mean: wrong.did_you_mean }
    }
}

/// The file that was named, or else the user's or the machine's; `--dev` shows the same everywhere and reads none by itself.
fn find_file(flags: &NodeFlags, env: &dyn Fn(&str) -> Option<String>, dev: bool) -> Result<Option<File>, ConfigError> {
    let named = flags.config.clone().map(|path| (path, "--config"));
    let named =
        named.or_else(|| env("AOP_CONFIG").filter(|p| !p.is_empty()).map(|path| (PathBuf::from(path), "AOP_CONFIG")));
    if let Some((path, by)) = named {
        return File::read(&path, by).map(Some);
    }
    if dev {
        return Ok(None);
    }
    let user = xdg(env, "XDG_CONFIG_HOME", ".config").map(|dir| dir.join("aop/node.toml"));
    let usual = user.into_iter().chain([PathBuf::from("/etc/aop/node.toml")]).find(|path| path.is_file());
    usual.map(|path| File::read(&path, "configuration")).transpose()
}

/// One folder per zone and port, so that two nodes never collide.
fn default_data_dir(zone: &ZoneName, port: u16, env: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, ConfigError> {
    // `_` is another spelling of the root and of nothing else; a folder named `.-7400` would be hidden.
    let folder = if zone.is_root() { "_" } else { zone.as_str() };
    xdg(env, "XDG_DATA_HOME", ".local/share").map(|dir| dir.join("aop").join(format!("{folder}-{port}"))).ok_or_else(
        || ConfigError::new("there is no home directory to keep data in").hint("aop-node --data-dir /var/lib/aop"),
    )
}

fn xdg(env: &dyn Fn(&str) -> Option<String>, variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}

#[cfg(test)]
mod tests;
