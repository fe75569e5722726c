//! Who may speak to this port: `Host`, `Origin` and the admin token.
//!
//! A browser on this machine can be made to send requests here by any page it shows, and a name of an attacker's can be made to
//! point here (DNS rebinding). So the name asked for must be ours and a page must be served from this machine. It is not
//! authentication of principals; it is what must hold even where everything local is trusted.

use std::net::{IpAddr, SocketAddr};

use aop_proto::error::{Kind, Problem};
use http::{HeaderMap, Uri, header, uri::Authority};
use sha2::{Digest, Sha256};

/// The local admin token, kept only as its hash.
#[derive(Clone)]
pub struct AdminToken([u8; 32]);

impl AdminToken {
    /// The token whose text is `secret`.
    pub fn new(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Whether `presented` is the token. Hashes are compared, all of their bytes, so that time tells nothing.
    fn matches(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        self.0.iter().zip(presented).fold(0, |difference, (ours, theirs)| difference | (ours ^ theirs)) == 0
    }
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

/// Refuses what names another host, or comes from a page of another host.
pub(super) fn check_host_and_origin(uri: &Uri, headers: &HeaderMap, listen: SocketAddr) -> Result<(), Problem> {
    let host = asked_host(uri, headers).ok_or_else(|| refused("the request names no single host", listen))?;
    if !is_ours(&host, listen) {
        return Err(refused(format!("`{host}` is not a name of this node"), listen));
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(()),
        (Some(origin), None) if origin.to_str().is_ok_and(|origin| origin_is_local(origin, listen)) => Ok(()),
        _ => Err(refused("pages of another origin may not use this node", listen)),
    }
}

/// Refuses what does not carry the admin token.
pub(super) fn require_admin(headers: &HeaderMap, token: &AdminToken) -> Result<(), Problem> {
    let presented = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    match presented {
        Some(presented) if token.matches(presented) => Ok(()),
        Some(_) => Err(Problem::new(Kind::AuthRequired, "the token is not this node's admin token")
            .hint("aop status # on the same machine and user, aop finds the token by itself")),
        None => Err(Problem::new(Kind::AuthRequired, "what changes the node needs its admin token")
            .hint("aop status # on the same machine and user, aop finds the token by itself")),
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refused(message: impl Into<String>, listen: SocketAddr) -> Problem {
    Problem::new(Kind::HostNotAllowed, message).hint(format!("curl http://{listen}/livez"))
}

/// The one host a request names, in lower case and without port, brackets or final dot.
fn asked_host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(Authority::try_from(host.to_str().ok()?).ok()?),
        (Some(_), Some(_)) => return None,
        (None, _) => None,
    };
    // The request line may name one as well, and HTTP/2 does (`:authority`); it counts (RFC 9112 §3.2.2), so both have to say the same.
    let mut named = uri.authority().into_iter().chain(&host);
    let one = named.next().filter(|one| !one.as_str().contains('@'))?;
    let is_single = named.all(|other| other.as_str().eq_ignore_ascii_case(one.as_str()));
    is_single.then(|| bare(one.host()))
}

fn bare(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Loopback, or the address that is bound. The port may differ: a forwarded port is still this node, and a rebinding attack is
/// made with names, not with ports.
fn is_ours(host: &str, listen: SocketAddr) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == listen.ip())
}

/// `http(s)://` and one of our hosts, any port. `null` and other schemes are not.
fn origin_is_local(origin: &str, listen: SocketAddr) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let Ok(authority) = Authority::try_from(authority) else { return false };
    let ours = matches!(bare(authority.host()).as_str(), "localhost" | "127.0.0.1" | "::1")
        || authority.host().parse::<IpAddr>().is_ok_and(|ip| ip == listen.ip());
    matches!(scheme, "http" | "https") && !authority.as_str().contains('@') && ours
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(host: &[&str], origin: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in host {
            headers.append(header::HOST, HeaderValue::from_str(host).expect("header"));
        }
        for origin in origin {
            headers.append(header::ORIGIN, HeaderValue::from_str(origin).expect("header"));
        }
        let listen = SocketAddr::from(([127, 0, 0, 1], 7400));
        check_host_and_origin(&Uri::from_static("/v1/status"), &headers, listen).is_ok()
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
            assert!(!check(&[host], &[]), "{host}");
        }
        assert!(!check(&[], &[]), "no host at all");
        assert!(!check(&["localhost", "evil.example"], &[]), "two hosts");
    }

    #[test]
    fn the_authority_of_http_2_counts_as_host() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 7400));
        let check =
            |uri: &'static str| check_host_and_origin(&Uri::from_static(uri), &HeaderMap::new(), listen).is_ok();
        assert!(check("http://localhost:7400/livez"));
        assert!(!check("http://evil.example/livez"));
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost:7400"))]);
        let both = |uri: &'static str| check_host_and_origin(&Uri::from_static(uri), &headers, listen).is_ok();
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
    fn only_the_token_itself_opens() {
        let token = AdminToken::new("s3cret");
        let with = |value: &'static str| {
            require_admin(&HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]), &token)
                .is_ok()
        };
        assert!(with("Bearer s3cret") && with("bearer s3cret"));
        assert!(!with("Bearer s3cre") && !with("Basic s3cret") && !with("s3cret") && !with("Bearer "));
        assert!(require_admin(&HeaderMap::new(), &token).is_err());
        assert_eq!(format!("{token:?}"), "AdminToken(…)");
    }
}
