//! The public keys of one authorization server: fetched when first needed, kept for a while, asked for again when a key is unknown.
//!
//! What must always hold: whoever waits for keys waits for one fetch at most, and nobody else waits with him; a stranger who
//! invents key ids makes this node ask once a minute and not more; keys come over TLS, from the address that was configured.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::Jwk;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

/// How long keys are used without asking again.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// How long they are used while their server does not answer.
const STALE_MAX: Duration = Duration::from_secs(60 * 60);
/// Between two fetches, whatever asks for them.
const REST: Duration = Duration::from_secs(60);
/// For one answer of the server.
const FETCH_WITHIN: Duration = Duration::from_secs(5);
/// The largest answer taken.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Keys of one server; what is beyond is not read.
const KEYS_MAX: usize = 64;
/// Where a server says where its keys are. Source: RFC 8414 §3, OpenID Connect Discovery §4.
const WELL_KNOWN: [&str; 2] = ["oauth-authorization-server", "openid-configuration"];

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum KeyError {
    #[error("its issuer has none of that id")]
    Unknown,
    #[error("the issuer's keys cannot be had now")]
    Unavailable,
}

/// The keys of one server.
pub(super) struct Keys {
    issuer: String,
    jwks_uri: Option<String>,
    held: Mutex<Held>,
    /// Held by the one who fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct Held {
    keys: Arc<Vec<Jwk>>,
    /// When they were had.
    had: Option<Instant>,
    /// When they were asked for last.
    asked: Option<Instant>,
}

impl Held {
    fn find(&self, id: &str) -> Option<Jwk> {
        self.keys.iter().find(|key| key.common.key_id.as_deref() == Some(id)).cloned()
    }

    fn younger_than(&self, age: Duration) -> bool {
        self.had.is_some_and(|had| had.elapsed() < age)
    }

    fn may_ask(&self) -> bool {
        self.asked.is_none_or(|asked| asked.elapsed() >= REST)
    }
}

impl Keys {
    pub(super) fn new(issuer: &str, jwks_uri: Option<&str>) -> Self {
        Self {
            issuer: issuer.to_owned(),
            jwks_uri: jwks_uri.map(str::to_owned),
            held: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        }
    }

    /// The key of that id.
    pub(super) async fn find(&self, id: &str) -> Result<Jwk, KeyError> {
        let held = self.held();
        let known = held.find(id);
        if let Some(key) = known.clone().filter(|_| held.younger_than(FRESH)) {
            return Ok(key);
        }
        if known.is_some() && held.younger_than(STALE_MAX) {
            // Somebody else sees to it; until then what was true a moment ago will do.
            if let Ok(_alone) = self.fetching.try_lock() {
                self.fetch_if_due().await;
            }
        } else {
            let _alone = self.fetching.lock().await;
            // Whoever held the lock before may have fetched what is looked for here.
            if self.held().find(id).is_none() || !self.held().younger_than(FRESH) {
                self.fetch_if_due().await;
            }
        }
        let held = self.held();
        if !held.younger_than(STALE_MAX) {
            return Err(KeyError::Unavailable);
        }
        held.find(id).ok_or(KeyError::Unknown)
    }

    fn held(&self) -> Held {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn fetch_if_due(&self) {
        if !self.held().may_ask() {
            return;
        }
        self.change(|held| held.asked = Some(Instant::now()));
        match self.fetch().await {
            Ok(keys) => self.change(|held| {
                held.keys = Arc::new(keys);
                held.had = Some(Instant::now());
            }),
            Err(why) => tracing::warn!(issuer = self.issuer, why, "the issuer's keys cannot be fetched"),
        }
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(FETCH_WITHIN)
            .build()
            .map_err(|error| error.to_string())?;
        let uri = match &self.jwks_uri {
            Some(uri) => uri.clone(),
            None => self.discover(&http).await?,
        };
        let set: Set = get(&http, &uri).await?;
        // A key of a kind that is not known here does not take the others with it.
        Ok(set.keys.into_iter().take(KEYS_MAX).filter_map(|key| serde_json::from_value(key).ok()).collect())
    }

    /// Where the server says its keys are. It has to call itself what it is configured as.
    async fn discover(&self, http: &reqwest::Client) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Metadata {
            issuer: String,
            jwks_uri: String,
        }
        let mut last = String::new();
        for uri in metadata_uris(&self.issuer) {
            match get::<Metadata>(http, &uri).await {
                Ok(said) if said.issuer == self.issuer => return Ok(said.jwks_uri),
                Ok(said) => last = format!("{uri} is of issuer {}", said.issuer),
                Err(why) => last = why,
            }
        }
        Err(last)
    }
}

/// RFC 8414 puts the word before the issuer's path, OpenID Connect behind it.
fn metadata_uris(issuer: &str) -> Vec<String> {
    let Ok(url) = Url::parse(issuer) else { return Vec::new() };
    let path = url.path().trim_end_matches('/');
    let origin = url.origin().ascii_serialization();
    let [oauth, openid] = WELL_KNOWN;
    vec![format!("{origin}/.well-known/{oauth}{path}"), format!("{origin}{path}/.well-known/{openid}")]
}

/// Whether keys may come from there: over TLS, or from this machine.
pub fn is_trusted_place(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}

async fn get<T: serde::de::DeserializeOwned>(http: &reqwest::Client, uri: &str) -> Result<T, String> {
    let url = Url::parse(uri).map_err(|error| format!("{uri}: {error}"))?;
    if !is_trusted_place(&url) {
        return Err(format!("{uri} is not https"));
    }
    let failed = |error: reqwest::Error| format!("{uri}: {}", error.without_url());
    let mut response = http.get(url).header("accept", "application/json").send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(format!("{uri} answered HTTP {}", response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("{uri} answered more than {ANSWER_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|error| format!("{uri}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_where_the_standards_put_it() {
        assert_eq!(
            metadata_uris("https://id.example/tenant/"),
            [
                "https://id.example/.well-known/oauth-authorization-server/tenant",
                "https://id.example/tenant/.well-known/openid-configuration"
            ]
        );
        assert!(metadata_uris("id.example").is_empty());
    }

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        let is_trusted = |url: &str| is_trusted_place(&Url::parse(url).unwrap());
        for url in ["https://id.example/keys", "http://127.0.0.1:1/keys", "http://[::1]/keys", "http://localhost/k"] {
            assert!(is_trusted(url), "{url}");
        }
        for url in ["http://id.example/keys", "http://localhost.evil.example/", "file:///keys", "ftp://127.0.0.1/"] {
            assert!(!is_trusted(url), "{url}");
        }
    }
}
