//! Which names and pages may speak to this port: `Host`, `Origin`, and what browsers may send.
//!
//! A browser on this machine can be made to send requests here by any page it shows, and a name of an attacker's can be made to
//! point here (DNS rebinding). So the name asked for must be ours and a page must be one of ours. It is not authentication; it is
//! what must hold even where everything local is trusted, on every route, before anybody asks who calls.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

use aop_proto::error::{Kind, Problem};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use crate::telemetry::Refused;

/// Sent by browsers and by nobody else, whatever the page.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a request was refused for, and what the caller is told.
pub(super) type Refusal = (Refused, Problem);

/// Names of this node besides loopback and the address that was connected to, and pages of others that may use it; lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) hosts: BTreeSet<String>,
    pub(super) origins: BTreeSet<String>,
}

/// One request as far as its names go.
pub(super) struct Named<'a> {
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    /// The address of this machine that the connection was made to.
    pub(super) local: IpAddr,
    /// Whether it came over TLS.
    pub(super) secure: bool,
}

/// The name a request was let in under, for what is said to it later.
pub(super) struct Asked {
    authority: Option<Authority>,
    host: Option<HeaderValue>,
}

impl Asked {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self { authority: request.uri().authority().cloned(), host: request.headers().get(header::HOST).cloned() }
    }

    pub(super) fn name(&self) -> Option<&str> {
        let host = || self.host.as_ref().and_then(|host| host.to_str().ok());
        self.authority.as_ref().map(Authority::as_str).or_else(host)
    }
}

impl Names {
    /// Refuses what names another host, or comes from a page of another host.
    pub(super) fn check(&self, request: &Named<'_>) -> Result<(), Refusal> {
        let local = request.local;
        let asked = request.authority().ok_or_else(|| foreign("the request names no single host"))?;
        let name = bare(asked.host());
        if !self.is_ours(&name, local) {
            return Err(foreign(format!("`{name}` is not a name of this node; it may be given one in `[http] hosts`")));
        }
        let mut origins = request.headers.get_all(header::ORIGIN).iter();
        let origin = match (origins.next(), origins.next()) {
            (None, _) => return Ok(()),
            (Some(origin), None) => origin.to_str().unwrap_or_default().to_ascii_lowercase(),
            (Some(_), Some(_)) => String::new(),
        };
        if self.origins.contains(&origin) || is_own_page(&origin, &asked, request) {
            return Ok(());
        }
        let problem = Problem::new(Kind::HostNotAllowed, "pages of another origin may not use this node");
        Err((Refused::Origin, problem.hint("aop-node config")))
    }

    /// Loopback, the address that was connected to, or a name that was configured. The port may differ: a forwarded port is still
    /// this node, and a rebinding attack is made with names, not with ports.
    fn is_ours(&self, host: &str, local: IpAddr) -> bool {
        is_loopback(host) || host.parse() == Ok(local) || self.hosts.contains(host)
    }
}

impl Named<'_> {
    /// The one host a request names, with its port.
    pub(super) fn authority(&self) -> Option<Authority> {
        let mut hosts = self.headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => Some(Authority::try_from(host.to_str().ok()?).ok()?),
            (Some(_), Some(_)) => return None,
            (None, _) => None,
        };
        // The request line may name one as well, and HTTP/2 does (`:authority`); it counts (RFC 9112 §3.2.2), so both have to say the
        // same.
        let mut named = self.uri.authority().into_iter().chain(&host);
        let one = named.next().filter(|one| !one.as_str().contains('@'))?;
        let is_single = named.all(|other| other.as_str().eq_ignore_ascii_case(one.as_str()));
        is_single.then(|| one.clone())
    }
}

/// Refuses what a page can send to anybody without being asked whether it may: a form, or text that happens to be JSON.
pub(super) fn check_form(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let by_browser = headers.contains_key(header::ORIGIN) || headers.contains_key(FETCH_SITE);
    if is_read || !by_browser {
        return Ok(());
    }
    let mut sent = headers.get_all(header::CONTENT_TYPE).iter().map(|value| value.to_str().unwrap_or_default());
    let media = |sent: &str| sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (is_json, says_nothing) = match (sent.next(), sent.next()) {
        (Some(one), None) => (media(one) == "application/json", false),
        // A page cannot send DELETE to others unasked, and it has nothing to say with it.
        (None, _) => (false, *method == Method::DELETE),
        (Some(_), Some(_)) => (false, false),
    };
    if is_json || says_nothing {
        return Ok(());
    }
    Err(Problem::new(Kind::Usage, "what changes something is sent from a page as application/json").hint("aop --help"))
}

fn foreign(message: impl Into<String>) -> Refusal {
    (Refused::Host, Problem::new(Kind::HostNotAllowed, message).hint("aop-node config"))
}

/// A host in lower case and without brackets or final dot.
fn bare(host: &str) -> Cow<'_, str> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) { host.to_ascii_lowercase().into() } else { host.into() }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a page is this node's own: `http(s)://` and the very host and port that are asked. Where that is loopback any port will
/// do, since whatever serves pages there is of this machine; `null` and other schemes are nobody's.
fn is_own_page(origin: &str, asked: &Authority, request: &Named<'_>) -> bool {
    let Some((scheme, page)) = origin.split_once("://") else { return false };
    let Ok(page) = Authority::try_from(page) else { return false };
    if !matches!(scheme, "http" | "https") || page.as_str().contains('@') {
        return false;
    }
    let (page_host, asked_host) = (bare(page.host()), bare(asked.host()));
    if is_loopback(&asked_host) {
        return matches!(page_host.as_ref(), "localhost" | "127.0.0.1" | "::1")
            || page_host.parse() == Ok(request.local);
    }
    let port = |authority: &Authority, secure: bool| authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    page_host == asked_host && port(&page, scheme == "https") == port(asked, request.secure)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

    fn refused(names: &Names, local: [u8; 4], host: &[&str], origin: &[&str]) -> Option<Refused> {
        let mut headers = HeaderMap::new();
        for host in host {
            headers.append(header::HOST, HeaderValue::from_str(host).expect("header"));
        }
        for origin in origin {
            headers.append(header::ORIGIN, HeaderValue::from_str(origin).expect("header"));
        }
        let uri = Uri::from_static("/v1/status");
        let named = Named { uri: &uri, headers: &headers, local: local.into(), secure: true };
        names.check(&named).err().map(|(refused, _)| refused)
    }

    fn check(host: &[&str], origin: &[&str]) -> bool {
        refused(&Names::default(), LOOPBACK, host, origin).is_none()
    }

    #[test]
    fn names_of_this_machine_are_answered_on_any_port() {
        for host in
            ["localhost", "LOCALHOST:7400", "localhost.", "127.0.0.1:7400", "127.0.0.1:9", "[::1]:7400", "127.0.0.9"]
        {
            assert!(check(&[host], &[]), "{host}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "10.0.0.1",
            "",
            "user@localhost",
            "local host",
        ] {
            assert_eq!(refused(&Names::default(), LOOPBACK, &[host], &[]), Some(Refused::Host), "{host}");
        }
        assert!(!check(&[], &[]), "no host at all");
        assert!(!check(&["localhost", "evil.example"], &[]), "two hosts");
    }

    #[test]
    fn the_authority_of_http_2_counts_as_host() {
        let beside = |uri: &'static str, headers: HeaderMap| {
            let uri = Uri::from_static(uri);
            Names::default()
                .check(&Named { uri: &uri, headers: &headers, local: LOOPBACK.into(), secure: false })
                .is_ok()
        };
        let check = |uri| beside(uri, HeaderMap::new());
        assert!(check("http://localhost:7400/livez"));
        assert!(!check("http://evil.example/livez"));
        let host = || HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost:7400"))]);
        let both = |uri| beside(uri, host());
        assert!(both("http://LOCALHOST:7400/livez"));
        assert!(!both("http://evil.example/livez"), "the request line counts, not the header beside it");
    }

    #[test]
    fn only_pages_of_this_machine_pass() {
        for origin in ["http://localhost", "https://localhost:3000", "http://127.0.0.1:1", "http://[::1]:5173"] {
            assert!(check(&["localhost"], &[origin]), "{origin}");
        }
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost.evil.example",
            "file://localhost",
            "http://evil@localhost",
            "http://127.0.0.2",
            "localhost",
            "",
        ] {
            assert!(!check(&["localhost"], &[origin]), "{origin}");
        }
        assert!(!check(&["localhost"], &["http://localhost", "http://localhost"]), "two origins");
    }

    #[test]
    fn off_loopback_a_node_has_the_names_it_was_given_and_pages_of_just_these() {
        let names =
            Names { hosts: ["node.example".to_owned()].into(), origins: ["https://console.example".to_owned()].into() };
        let refused = |host: &str, origin: &[&str]| refused(&names, [192, 0, 2, 7], &[host], origin);
        for host in ["node.example", "Node.Example.:7400", "192.0.2.7:7400", "localhost:7400"] {
            assert_eq!(refused(host, &[]), None, "{host}");
        }
        for host in ["192.0.2.8", "x.node.example", "node.example.evil.example"] {
            assert_eq!(refused(host, &[]), Some(Refused::Host), "{host}");
        }
        let asked = "node.example:7400";
        for origin in ["https://node.example:7400", "https://console.example", "HTTPS://CONSOLE.example"] {
            assert_eq!(refused(asked, &[origin]), None, "{origin}");
        }
        // The localhost of a browser elsewhere is not this machine.
        for origin in
            ["https://node.example", "http://localhost:7400", "https://192.0.2.7:7400", "https://console.example:1"]
        {
            assert_eq!(refused(asked, &[origin]), Some(Refused::Origin), "{origin}");
        }
        assert_eq!(refused("node.example", &["https://node.example:443"]), None, "the scheme's own port");
    }

    #[test]
    fn a_page_changes_things_with_json_only() {
        let check = |method: Method, pairs: &[(&'static str, &'static str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            check_form(&method, &HeaderMap::from_iter(pairs)).is_ok()
        };
        let (page, site) = (("origin", "http://localhost"), ("sec-fetch-site", "cross-site"));
        let form = ("content-type", "application/x-www-form-urlencoded");
        for browser in [page, site] {
            for sent in [form, ("content-type", "text/plain;charset=UTF-8"), ("content-type", "multipart/form-data")] {
                assert!(!check(Method::POST, &[browser, sent]) && !check(Method::DELETE, &[browser, sent]));
            }
            assert!(!check(Method::POST, &[browser]));
            assert!(check(Method::POST, &[browser, ("content-type", "Application/JSON; charset=utf-8")]));
            assert!(check(Method::DELETE, &[browser]) && check(Method::GET, &[browser, form]));
        }
        assert!(check(Method::POST, &[form]), "what is no browser can send what it likes anyway");
    }
}
