//! The grammar of one setting each: text in, a typed value or a reason out.
//!
//! Where the text came from is not known here; whoever asked adds it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aop_proto::name::ZoneName;

use crate::clock::{duration_text, parse_duration};
use crate::invites::Offer;

/// Longest host name. Source: RFC 1035 §2.3.4, without the length bytes.
const HOST_BYTES_MAX: usize = 253;

/// Why a value is refused, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// A lowercase fragment.
    pub message: String,
    /// A command or value that would do.
    pub hint: Option<String>,
    /// Near words.
    pub did_you_mean: Vec<String>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, did_you_mean: Vec::new() }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A zone's name, most specific label first; `.` is the root.
///
/// # Errors
/// What about the name does not fit, and a name that would where one can be made of it.
pub fn parse_zone(text: &str) -> Result<ZoneName, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("a zone needs a name, or `.` for the root").hint("aop-node --zone ."));
    }
    ZoneName::parse(text).map_err(|error| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let made: String = text.chars().map(|c| if c == '.' || fits(c) { c } else { '-' }).collect();
        let labels: Vec<&str> =
            made.split('.').map(|label| label.trim_matches('-')).filter(|l| !l.is_empty()).collect();
        let made = labels.join(".");
        let wrong = Wrong::new(format!("zone {error}"));
        if ZoneName::parse(&made).is_ok() { wrong.hint(format!("aop-node --zone {made}")) } else { wrong }
    })
}

/// An invite, as `aop invite` printed it. The text is never in a message: whoever reads it could use it.
pub(super) fn parse_invite(text: &str) -> Result<Offer, Wrong> {
    Offer::read(text).map_err(|why| Wrong::new(format!("that is no invite: {why}")).hint("aop invite --help"))
}

/// A host, by name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl HostPort {
    /// Reads `HOST:PORT`.
    ///
    /// # Errors
    /// What is missing; `flag` makes the hint a command that runs.
    pub fn parse(text: &str, flag: &str) -> Result<Self, Wrong> {
        let wrong = |why: &str, instead: String| {
            Err(Wrong::new(format!("`{text}` {why}")).hint(format!("aop-node {flag} {instead}")))
        };
        if let Some((_, rest)) = text.split_once("://") {
            let bare = rest.split('/').next().unwrap_or_default();
            return wrong(
                "is a URL; a node's address is HOST:PORT",
                if bare.contains(':') { bare.to_owned() } else { format!("{bare}:7400") },
            );
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            let instead = SocketAddr::new(ip, super::PORT).to_string();
            return wrong("has no port", instead);
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            let host = if text.is_empty() { "127.0.0.1" } else { text };
            return wrong("has no port", format!("{host}:7400"));
        };
        let Some(port) = port.parse::<u16>().ok().filter(|port| *port != 0) else {
            return wrong("has no usable port", format!("{}:7400", if host.is_empty() { "127.0.0.1" } else { host }));
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_name = !bare.is_empty()
            && bare.len() <= HOST_BYTES_MAX
            && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if !is_name && bare.parse::<IpAddr>().is_err() {
            return wrong("has no usable host", format!("127.0.0.1:{port}"));
        }
        Ok(Self { host: bare.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The address to listen on. What it takes beyond loopback is checked when everything is known.
pub(super) fn parse_listen(text: &str) -> Result<SocketAddr, Wrong> {
    let numeric = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    let Ok(address) = numeric.parse::<SocketAddr>() else {
        let port = text.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(super::PORT);
        return Err(
            Wrong::new(format!("`{text}` is not ADDRESS:PORT")).hint(format!("aop-node --listen 127.0.0.1:{port}"))
        );
    };
    Ok(address)
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One object a line.
    Json,
}

impl LogFormat {
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "auto" => Ok(Self::Auto),
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err(Wrong::new(format!("`{text}` is no log format; auto, pretty and json are"))
                .hint("aop-node --log-format json")),
        }
    }

    /// As it is written in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Pretty => "pretty",
            Self::Json => "json",
        }
    }
}

pub(super) fn parse_log_level(text: &str) -> Result<String, Wrong> {
    let wrong = || {
        Wrong::new(format!("`{text}` is no log level; error, warn, info, debug and trace are"))
            .hint("aop-node --log-level info")
    };
    // A lone word that is no level would be taken for the name of a module, and everything else would be silent.
    let is_level = |word: &str| {
        matches!(word.to_ascii_lowercase().as_str(), "off" | "error" | "warn" | "info" | "debug" | "trace")
    };
    if text.is_empty() || text.split(',').any(|part| !part.contains('=') && !is_level(part.trim())) {
        return Err(wrong());
    }
    tracing_subscriber::EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|_| wrong())
}

pub(super) fn parse_bool(text: &str) -> Result<bool, Wrong> {
    match text {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(Wrong::new(format!("`{text}` is neither true nor false"))),
    }
}

pub(super) fn parse_number(text: &str, (default, min, max): (u64, u64, u64)) -> Result<u64, Wrong> {
    let number = text.trim().parse::<u64>().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| Wrong::new(format!("`{text}` is not a number from {min} to {max} (default {default})")))
}

pub(super) fn parse_time(text: &str, (default, min, max): (Duration, Duration, Duration)) -> Result<Duration, Wrong> {
    let time = parse_duration(text).map_err(Wrong::new)?;
    if (min..=max).contains(&time) {
        return Ok(time);
    }
    let [default, min, max] = [default, min, max].map(duration_text);
    Err(Wrong::new(format!("`{text}` is not between {min} and {max} (default {default})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_follow_the_grammar_of_names() {
        for zone in [".", "research", "a-b_c.9"] {
            assert_eq!(parse_zone(zone).map(|z| z.to_string()).as_deref(), Ok(zone));
        }
        for zone in ["", "a..b", ".a", "ä", "a b", &"x".repeat(64), &["x".repeat(60).as_str(); 5].join(".")] {
            assert!(parse_zone(zone).is_err(), "{zone}");
        }
        assert_eq!(parse_zone("my zone").expect_err("a blank").hint.as_deref(), Some("aop-node --zone my-zone"));
    }

    #[test]
    fn addresses_need_a_host_and_a_port() {
        let read = |text: &str| HostPort::parse(text, "--parent");
        assert_eq!(read("root.example:7400").map(|a| a.to_string()).as_deref(), Ok("root.example:7400"));
        assert_eq!(read("[::1]:7400").map(|a| a.to_string()).as_deref(), Ok("[::1]:7400"));
        let hint = |text: &str| read(text).expect_err(text).hint;
        assert_eq!(hint("http://root.example:7300/x").as_deref(), Some("aop-node --parent root.example:7300"));
        assert_eq!(hint("root.example").as_deref(), Some("aop-node --parent root.example:7400"));
        assert_eq!(hint("::1").as_deref(), Some("aop-node --parent [::1]:7400"));
        assert!(
            read("h:0").is_err()
                && read(":7400").is_err()
                && read("h:x").is_err()
                && read("a b:1").is_err()
                && read("").is_err()
        );
    }

    #[test]
    fn addresses_to_listen_on_are_numbers() {
        assert_eq!(parse_listen("localhost:0").map(|a| a.to_string()).as_deref(), Ok("127.0.0.1:0"));
        assert!(parse_listen("[::1]:7400").is_ok() && parse_listen("0.0.0.0:1").is_ok());
        assert_eq!(parse_listen("7401").expect_err("a port").hint.as_deref(), Some("aop-node --listen 127.0.0.1:7401"));
    }

    #[test]
    fn log_levels_are_levels_or_directives() {
        assert!(parse_log_level("debug").is_ok() && parse_log_level("info,aop=debug").is_ok());
        assert!(parse_log_level("loud").is_err() && parse_log_level("").is_err());
    }
}
