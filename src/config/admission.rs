//! Who may reach the node and what it may do: TLS, `[http]` and `[auth]`.
//!
//! What must hold: a node that other machines can reach has TLS and asks who they are, or was told in so many words to let
//! everybody in; a mistake in a rule or a token is told with its line and never read as "nothing".

use std::net::SocketAddr;
use std::num::NonZeroU32;

use aop_proto::access::{Action, Glob, Grant, Policy, Role, Rule};
use aop_proto::error::did_you_mean;
use aop_proto::name::{ZoneName, check_label};
use http::uri::Authority;
use reqwest::Url;
use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::file::{File, Text};
use super::value::{self, HostPort, Wrong};
use super::{ConfigError, NodeFlags, Origin, Sources};
use crate::auth::{ALGORITHMS, Algorithm, Issuer, RULES_MAX, TOKENS_MAX, Terms, Token, TokenOrigin, is_trusted_place};
use crate::clock::unix_ms;
use crate::http::{CONNECTION_RATE, CONNECTIONS, CONNECTIONS_PER_ADDRESS, PortSettings, RATE, STRANGER_RATE, TlsFiles};

/// Authorization servers one node believes; each has keys to fetch and to keep.
pub(super) const ISSUERS_MAX: usize = 100;
/// Algorithms of an issuer that names none.
const ALGORITHMS_USUAL: [Algorithm; 3] = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256];

/// `[http]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    hosts: Option<Vec<Text>>,
    origins: Option<Vec<Text>>,
    rate: Option<Text>,
    stranger_rate: Option<Text>,
    connections: Option<Text>,
    connections_per_address: Option<Text>,
    connection_rate: Option<Text>,
}

/// `[auth]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthTable {
    required: Option<Text>,
    resource: Option<Text>,
    #[serde(default)]
    rules: Vec<Spanned<RuleEntry>>,
    #[serde(default)]
    tokens: Vec<Spanned<TokenEntry>>,
    #[serde(default)]
    issuers: Vec<Spanned<IssuerEntry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    principal: String,
    action: Option<String>,
    zone: Option<String>,
    tool: Option<String>,
    #[serde(default)]
    deny: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    name: String,
    hash: String,
    role: String,
    zone: Option<String>,
    tool: Option<String>,
    expires: Option<Moment>,
}

/// A date and time, bare as TOML has them or in quotes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Moment {
    Bare(Datetime),
    Quoted(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerEntry {
    issuer: String,
    jwks_uri: Option<String>,
    audience: Option<String>,
    algorithms: Option<Vec<String>>,
}

/// Everything of it, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// Rules, tokens and issuers; `resource` is empty where it follows from the node's address.
    pub terms: Terms,
    /// Names, limits and TLS of the client port.
    pub port: PortSettings,
    /// Everybody who reaches the node is let in.
    pub insecure_no_auth: bool,
}

impl Default for Admission {
    /// As on loopback: whoever reaches the node may find and call.
    fn default() -> Self {
        let terms = Terms { policy: Policy::open(), ..Terms::default() };
        Self { terms, port: PortSettings::default(), insecure_no_auth: false }
    }
}

/// Reads it of all sources.
pub(super) fn read(
    from: &mut Sources<'_>,
    flags: &NodeFlags,
    listen: SocketAddr,
    advertise: Option<&HostPort>,
) -> Result<Admission, ConfigError> {
    let flag = |set: bool| set.then(|| "true".to_owned());
    let insecure = ("--insecure-no-auth", flag(flags.insecure_no_auth));
    let insecure = from.one("insecure_no_auth", insecure, "AOP_INSECURE_NO_AUTH", |f| f.insecure_no_auth.clone());
    let insecure_no_auth = from.parse(insecure.as_ref(), value::parse_bool)?.unwrap_or(false);
    let required = from.one("auth.required", ("", None), "AOP_AUTH__REQUIRED", |f| f.auth.as_ref()?.required.clone());
    let required = from.parse(required.as_ref(), value::parse_bool)?.unwrap_or(false);
    if insecure_no_auth && required {
        let message = format!(
            "{} lets everybody in, and {} asks everybody who it is",
            from.origins["insecure_no_auth"], from.origins["auth.required"]
        );
        return Err(ConfigError::new(message).hint("aop-node config"));
    }
    let tls = tls_files(from, flags)?;
    let is_local = listen.ip().is_loopback();
    if !is_local && tls.is_none() && !insecure_no_auth {
        return Err(unprotected(listen, from.origins.get("listen").unwrap_or(&Origin::Default)));
    }
    let mut terms = terms(from)?;
    terms.policy.is_open = insecure_no_auth || (is_local && !required);
    let port = PortSettings { tls, ..port(from, is_local, advertise)? };
    Ok(Admission { terms, port, insecure_no_auth })
}

/// What to write instead, both ways.
fn unprotected(listen: SocketAddr, origin: &Origin) -> ConfigError {
    let message = format!(
        "{origin}: {listen} can be reached from other machines, and nothing protects it: beyond loopback a node has TLS and asks who \
         calls; add `tls_cert = \"cert.pem\"` and `tls_key = \"key.pem\"` to its file, or the two flags below (--insecure-no-auth lets \
         everybody in, unencrypted)"
    );
    ConfigError::new(message).hint(format!("aop-node --listen {listen} --tls-cert cert.pem --tls-key key.pem"))
}

fn tls_files(from: &mut Sources<'_>, flags: &NodeFlags) -> Result<Option<TlsFiles>, ConfigError> {
    let text = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let cert = from.one("tls_cert", ("--tls-cert", text(&flags.tls_cert)), "AOP_TLS_CERT", |f| f.tls_cert.clone());
    let key = from.one("tls_key", ("--tls-key", text(&flags.tls_key)), "AOP_TLS_KEY", |f| f.tls_key.clone());
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => {
            let files = TlsFiles { cert: from.path(&cert)?, key: from.path(&key)? };
            if let Err(error) = files.read() {
                let named = if error.is_of(&files.key) { &key } else { &cert };
                from.tolerate(from.error(named, Wrong::new(error.to_string())))?;
            }
            Ok(Some(files))
        }
        (Some(alone), None) => {
            Err(from.error(&alone, Wrong::new("a certificate needs its key: add `tls_key`, --tls-key")))
        }
        (None, Some(alone)) => {
            Err(from.error(&alone, Wrong::new("a key needs its certificate: add `tls_cert`, --tls-cert")))
        }
    }
}

fn port(from: &mut Sources<'_>, is_local: bool, advertise: Option<&HostPort>) -> Result<PortSettings, ConfigError> {
    let hosts = from.many("http.hosts", ("", vec![]), "AOP_HTTP__HOSTS", |f| f.http.as_ref()?.hosts.clone());
    let mut hosts = from.parse_all(&hosts, parse_host)?;
    let origins = from.many("http.origins", ("", vec![]), "AOP_HTTP__ORIGINS", |f| f.http.as_ref()?.origins.clone());
    let origins = from.parse_all(&origins, parse_origin)?;
    if let Some(advertise) = advertise {
        hosts.insert(0, advertise.host.to_ascii_lowercase());
    }
    let rate = from.one("http.rate", ("", None), "AOP_HTTP__RATE", |f| f.http.as_ref()?.rate.clone());
    let rate = from.parse(rate.as_ref(), |text| value::parse_number(text, RATE))?;
    let strangers = from
        .one("http.stranger_rate", ("", None), "AOP_HTTP__STRANGER_RATE", |f| f.http.as_ref()?.stranger_rate.clone());
    let strangers = from.parse(strangers.as_ref(), |text| value::parse_number(text, STRANGER_RATE))?;
    let connections =
        from.one("http.connections", ("", None), "AOP_HTTP__CONNECTIONS", |f| f.http.as_ref()?.connections.clone());
    let connections = from.parse(connections.as_ref(), |text| value::parse_number(text, CONNECTIONS))?;
    let per_address = from.one("http.connections_per_address", ("", None), "AOP_HTTP__CONNECTIONS_PER_ADDRESS", |f| {
        f.http.as_ref()?.connections_per_address.clone()
    });
    let per_address = from.parse(per_address.as_ref(), |text| value::parse_number(text, CONNECTIONS_PER_ADDRESS))?;
    let connection_rate = from.one("http.connection_rate", ("", None), "AOP_HTTP__CONNECTION_RATE", |f| {
        f.http.as_ref()?.connection_rate.clone()
    });
    let connection_rate = from.parse(connection_rate.as_ref(), |text| value::parse_number(text, CONNECTION_RATE))?;
    // Whoever is on this machine is trusted not to flood it, unless somebody says otherwise.
    let or_off_loopback = |given: Option<u64>, default: u64| given.or((!is_local).then_some(default));
    let per_second = |number: u64| u32::try_from(number).ok().and_then(NonZeroU32::new);
    Ok(PortSettings {
        hosts,
        origins,
        rate: or_off_loopback(rate, RATE.0).and_then(per_second),
        stranger_rate: or_off_loopback(strangers, STRANGER_RATE.0).and_then(per_second),
        connections: connections.unwrap_or(CONNECTIONS.0),
        connections_per_address: or_off_loopback(per_address, CONNECTIONS_PER_ADDRESS.0),
        connection_rate: or_off_loopback(connection_rate, CONNECTION_RATE.0).and_then(per_second),
        tls: None,
    })
}

/// A host without a port: the port of this node is known.
fn parse_host(text: &str) -> Result<String, Wrong> {
    let bare = text.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(text);
    let with_port = if bare.contains(':') { format!("[{bare}]:1") } else { format!("{bare}:1") };
    HostPort::parse(&with_port, "--advertise")
        .map(|named| named.host.to_ascii_lowercase())
        .map_err(|_| Wrong::new(format!("`{text}` is not a host's name or address, without a port")))
}

fn parse_origin(text: &str) -> Result<String, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not an origin, as in https://console.example:8443"));
    let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
    let fits = matches!(scheme, "http" | "https") && !authority.contains(['@', '/', '*']);
    Authority::try_from(authority).ok().filter(|_| fits).ok_or_else(wrong)?;
    Ok(text.to_ascii_lowercase())
}

fn terms(from: &mut Sources<'_>) -> Result<Terms, ConfigError> {
    let resource = from.one("auth.resource", ("", None), "AOP_AUTH__RESOURCE", |f| f.auth.as_ref()?.resource.clone());
    let resource = from.parse(resource.as_ref(), parse_resource)?.unwrap_or_default();
    let Some(file) = &from.file else { return Ok(Terms { resource, ..Terms::default() }) };
    let Some(table) = &file.settings.auth else { return Ok(Terms { resource, ..Terms::default() }) };
    let rules = all(file, "auth.rules", RULES_MAX, &table.rules, rule)?;
    let tokens = all(file, "auth.tokens", TOKENS_MAX, &table.tokens, token)?;
    let issuers = all(file, "auth.issuers", ISSUERS_MAX, &table.issuers, issuer)?;
    for (at, token) in tokens.iter().enumerate() {
        if tokens[..at].iter().any(|other| other.name.eq_ignore_ascii_case(&token.name)) {
            return Err(
                file.entry_error(table.tokens[at].span(), &format!("auth.tokens: `{}` is there twice", token.name))
            );
        }
    }
    Ok(Terms { policy: Policy { is_open: false, rules }, tokens, issuers, resource })
}

fn all<E, T>(
    file: &File,
    what: &str,
    most: usize,
    entries: &[Spanned<E>],
    read: impl Fn(&E) -> Result<T, Wrong>,
) -> Result<Vec<T>, ConfigError> {
    if let Some(entry) = entries.get(most) {
        return Err(file.entry_error(entry.span(), &format!("{what}: more than {most}")));
    }
    let one = |entry: &Spanned<E>| {
        read(entry.get_ref()).map_err(|wrong| ConfigError {
            did_you_mean: wrong.did_you_mean.clone(),
            ..file.entry_error(entry.span(), &format!("{what}: {}", wrong.message))
        })
    };
    entries.iter().map(one).collect()
}

fn rule(entry: &RuleEntry) -> Result<Rule, Wrong> {
    if entry.principal.is_empty() {
        return Err(Wrong::new("`principal` is empty; `*` is everybody"));
    }
    check_principal(&entry.principal)?;
    let action = entry.action.as_deref().map(|text| text.parse::<Action>().map_err(|error| near(text, &error)));
    let tool = tool(entry.tool.as_deref())?;
    let action = action.transpose()?;
    if matches!(action, Some(Action::Admin | Action::Peer)) && !tool.is_any() {
        return Err(Wrong::new("`tool` is for discover, call and register; the others are done to the whole node"));
    }
    let principal = Glob::new(&entry.principal);
    Ok(Rule { principal, action, zone: zone(entry.zone.as_deref())?, tool, deny: entry.deny })
}

/// A rule about nobody protects nothing, however it looks.
fn check_principal(text: &str) -> Result<(), Wrong> {
    const KINDS: [&str; 3] = ["token:", "oauth:", "zone:"];
    let text = text.to_ascii_lowercase();
    let begins = text.split(['*', '?']).next().unwrap_or_default();
    let is_whole = begins.len() == text.len();
    let names_one = |kind: &str| begins.strip_prefix(kind).is_some_and(|rest| !is_whole || !rest.is_empty());
    let is_known = text == "anonymous"
        || KINDS.into_iter().any(names_one)
        || (!is_whole && KINDS.into_iter().chain(["anonymous"]).any(|kind| kind.starts_with(begins)));
    if !is_known {
        let near =
            if ZoneName::parse(&text).is_ok() { format!("; did you mean `zone:{text}`?") } else { String::new() };
        return Err(Wrong::new(format!(
            "`principal` is anonymous, token:NAME, oauth:SUBJECT@ISSUER or zone:NAME, and nobody is `{text}`{near}"
        )));
    }
    match begins.strip_prefix("zone:").filter(|_| is_whole) {
        Some(zone) if !ZoneName::parse(zone).is_ok_and(|read| read.as_str() == zone) => {
            Err(Wrong::new(format!("`principal`: `{zone}` is no zone as zones are written")))
        }
        _ => Ok(()),
    }
}

fn token(entry: &TokenEntry) -> Result<Token, Wrong> {
    let name = &entry.name;
    check_label(name).map_err(|error| Wrong::new(format!("a token's name is a label: {error}")))?;
    // The hash is not repeated: it may be the secret itself, put there by mistake.
    let hash = entry.hash.parse().map_err(|why| Wrong::new(format!("the hash of `{name}` {why}")))?;
    let role: Role = entry.role.parse().map_err(|error| near(&entry.role, &error))?;
    if role == Role::Peer {
        return Err(Wrong::new(format!("`{name}`: nodes prove who they are with their keys and have no tokens")));
    }
    let expires_ms = entry.expires.as_ref().map(moment).transpose()?;
    let grant = Grant { role, zone: zone(entry.zone.as_deref())?, tool: tool(entry.tool.as_deref())? };
    Ok(Token { name: name.clone(), hash, grant, expires_ms, origin: TokenOrigin::Configured })
}

fn moment(moment: &Moment) -> Result<u64, Wrong> {
    let text = match moment {
        Moment::Bare(bare) => bare.to_string(),
        Moment::Quoted(text) => text.clone(),
    };
    let wrong = || Wrong::new(format!("`{text}` is no moment; write one such as 2027-01-31T12:00:00Z"));
    let read: Datetime = text.parse().map_err(|_| wrong())?;
    let (Some(date), Some(time), Some(offset)) = (read.date, read.time, read.offset) else { return Err(wrong()) };
    let minutes_east = match offset {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let seconds = i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0))
        - minutes_east * 60;
    unix_ms(date.year, date.month, date.day, seconds).ok_or_else(wrong)
}

fn issuer(entry: &IssuerEntry) -> Result<Issuer, Wrong> {
    for (what, text) in [("issuer", Some(&entry.issuer)), ("jwks_uri", entry.jwks_uri.as_ref())] {
        let Some(text) = text else { continue };
        if !Url::parse(text).is_ok_and(|url| url.has_host() && is_trusted_place(&url)) {
            return Err(Wrong::new(format!("`{what}` is an https:// address, or one of this machine: `{text}`")));
        }
    }
    if entry.audience.as_ref().is_some_and(String::is_empty) {
        return Err(Wrong::new("`audience` is empty"));
    }
    let algorithm = |name: &String| {
        let found = ALGORITHMS.iter().find(|(known, _)| known == name).map(|(_, algorithm)| *algorithm);
        found.ok_or_else(|| {
            let known = ALGORITHMS.map(|(known, _)| known);
            let wrong = Wrong::new(format!("`{name}` is no algorithm to sign with; there are {}", known.join(", ")));
            Wrong { did_you_mean: did_you_mean(name, known.into_iter()), ..wrong }
        })
    };
    let algorithms = match &entry.algorithms {
        Some(names) if names.is_empty() => return Err(Wrong::new("`algorithms` is empty")),
        Some(names) => names.iter().map(algorithm).collect::<Result<_, _>>()?,
        None => ALGORITHMS_USUAL.to_vec(),
    };
    let (issuer, jwks_uri, audience) = (entry.issuer.clone(), entry.jwks_uri.clone(), entry.audience.clone());
    Ok(Issuer { issuer, jwks_uri, audience, algorithms })
}

fn parse_resource(text: &str) -> Result<String, Wrong> {
    let url = Url::parse(text).ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
    let fits = url.is_some_and(|url| url.query().is_none() && url.fragment().is_none());
    if !fits {
        return Err(Wrong::new(format!("`{text}` is not the address of a node, as in https://node.example:7400")));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn zone(text: Option<&str>) -> Result<Option<ZoneName>, Wrong> {
    text.map(value::parse_zone).transpose()
}

fn tool(text: Option<&str>) -> Result<Glob, Wrong> {
    match text {
        Some("") => Err(Wrong::new("`tool` is empty; `*` is every tool")),
        Some(text) if text.ends_with('.') || !text.chars().all(is_of_names) => Err(Wrong::new(format!(
            "`tool`: no tool or server is called as `{text}` says; they are TOOL.SERVER.ZONE and SERVER.ZONE, with * and ?"
        ))),
        Some(text) => Ok(Glob::new(text)),
        None => Ok(Glob::any()),
    }
}

const fn is_of_names(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '*' | '?')
}

fn near(text: &str, error: &aop_proto::access::Unknown) -> Wrong {
    Wrong { did_you_mean: did_you_mean(text, error.known.iter().copied()), ..Wrong::new(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_about_somebody_and_about_names_that_can_be() {
        for somebody in [
            "*",
            "?*",
            "anonymous",
            "a*",
            "token:ci",
            "token:*",
            "zone:acme",
            "ZONE:lab.acme",
            "zone:*.acme",
            "z*",
            "*x",
            "oauth:alice@https://id.example",
        ] {
            assert!(check_principal(somebody).is_ok(), "{somebody}");
        }
        for nobody in [
            "partner.acme",
            "operator",
            "zone:",
            "token:",
            "zones:acme",
            "zone:acme.",
            "zone:a b",
            "tokens:*",
            "anonymus",
        ] {
            assert!(check_principal(nobody).is_err(), "{nobody}");
        }
        let near = check_principal("partner.acme").expect_err("no kind").message;
        assert!(near.contains("did you mean `zone:partner.acme`?"), "{near}");
        for name in ["*", "search_*", "*.vault.acme", "SERVER-1.acme", "?.s.acme"] {
            assert!(tool(Some(name)).is_ok(), "{name}");
        }
        for none in ["", "vault/*", "*.vault.acme.", "secret tool.vault.acme", "é.s.acme"] {
            assert!(tool(Some(none)).is_err(), "{none}");
        }
    }
}
