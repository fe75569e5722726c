//! Bearer tokens: who holds the secret is whom the token names. The secret is shown once and kept as its hash.
//!
//! ```text
//! meta   "token:" name   → JSON {"hash", "role", "zone"?, "tool", "expires_ms"?, "created_ms"}
//! ```
//!
//! A promise to the next start, as all rows are: members may be added, none changes.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use aop_proto::access::{Caller, Glob, Grant, Principal};
use aop_proto::name::ZoneName;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::rfc3339;
use crate::entropy::{EntropyError, hex, seed};

/// What every secret begins with, so that scanners of sources and logs know one when they see it.
const SECRET_PREFIX: &str = "aop_";
/// What a hash is written with.
const HASH_PREFIX: &str = "sha256:";
const ROW_PREFIX: &str = "token:";

/// SHA-256 of a secret. Enough for secrets of 256 random bits, which nobody can guess to try; it is no way to keep passwords.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of that secret.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Whether it is the same, in a time that tells nothing.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl Eq for SecretHash {}

impl Hash for SecretHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

impl FromStr for SecretHash {
    type Err = String;

    /// Reads `sha256:` and 64 hexadecimal digits. The hash of nothing is none: a variable that was empty made it.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "is not `sha256:` and 64 hexadecimal digits".to_owned();
        let digits = text.strip_prefix(HASH_PREFIX).filter(|digits| digits.len() == 64).ok_or_else(wrong)?;
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            let pair = digits.get(at * 2..at * 2 + 2).filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(pair.ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
        }
        if Self(hash).is(&Self::of("")) {
            return Err("is the hash of nothing: the secret was empty when it was made".to_owned());
        }
        Ok(Self(hash))
    }
}

/// Where a token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenOrigin {
    /// The configuration; it is changed there.
    Configured,
    /// `aop token create`; it is kept in the store.
    Created {
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// How rules, logs and `aop token revoke` call it: a label.
    pub name: String,
    /// Of its secret.
    pub hash: SecretHash,
    /// What it is good for.
    pub grant: Grant,
    /// From when on it is good for nothing, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// Who made it.
    pub origin: TokenOrigin,
}

impl Token {
    /// Whether it is still good.
    pub fn is_alive(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|expires| now_ms < expires)
    }

    /// Whoever holds it.
    pub fn caller(&self) -> Caller {
        Caller { principal: Principal::Token(self.name.clone()), grants: vec![self.grant.clone()] }
    }

    /// All about it that is no secret.
    pub fn to_json(&self) -> serde_json::Value {
        let created = match self.origin {
            TokenOrigin::Configured => None,
            TokenOrigin::Created { at_ms } => Some(rfc3339(at_ms / 1000)),
        };
        serde_json::json!({
            "name": self.name,
            "role": self.grant.role.name(),
            "zone": self.grant.zone.as_ref().map(ToString::to_string),
            "tool": self.grant.tool.as_str(),
            "expires": self.expires_ms.map(|ms| rfc3339(ms / 1000)),
            "created": created,
            "configured": self.origin == TokenOrigin::Configured,
        })
    }
}

/// A new secret: 256 random bits.
pub(super) fn make_secret() -> Result<String, EntropyError> {
    Ok(format!("{SECRET_PREFIX}{}", hex(&seed()?)))
}

/// The key a created token is kept under. Names differ in more than case.
pub(super) fn key(name: &str) -> Vec<u8> {
    format!("{ROW_PREFIX}{name}").into_bytes()
}

#[derive(Serialize, Deserialize)]
struct Row {
    hash: String,
    role: String,
    zone: Option<String>,
    tool: String,
    expires_ms: Option<u64>,
    created_ms: u64,
}

/// A created token as it is kept.
pub(super) fn write_row(token: &Token) -> Vec<u8> {
    let created_ms = match token.origin {
        TokenOrigin::Configured => 0,
        TokenOrigin::Created { at_ms } => at_ms,
    };
    let row = Row {
        hash: format!("{HASH_PREFIX}{}", hex(&token.hash.0)),
        role: token.grant.role.name().to_owned(),
        zone: token.grant.zone.as_ref().map(ToString::to_string),
        tool: token.grant.tool.as_str().to_owned(),
        expires_ms: token.expires_ms,
        created_ms,
    };
    serde_json::to_vec(&row).expect("strings and numbers are JSON")
}

/// The token of a row; nothing for rows of others.
pub(super) fn read_row(key: &[u8], value: &[u8]) -> Option<Result<Token, String>> {
    let name = std::str::from_utf8(key).ok()?.strip_prefix(ROW_PREFIX)?;
    Some(parse_row(name, value).map_err(|why| format!("the stored token `{name}` cannot be read: {why}")))
}

fn parse_row(name: &str, value: &[u8]) -> Result<Token, String> {
    let row: Row = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let zone = row.zone.map(|zone| ZoneName::parse(&zone)).transpose().map_err(|error| error.to_string())?;
    let role = row.role.parse().map_err(|error: aop_proto::access::Unknown| error.to_string())?;
    Ok(Token {
        name: name.to_owned(),
        hash: row.hash.parse()?,
        grant: Grant { role, zone, tool: Glob::new(&row.tool) },
        expires_ms: row.expires_ms,
        origin: TokenOrigin::Created { at_ms: row.created_ms },
    })
}

#[cfg(test)]
mod tests {
    use aop_proto::access::Role;

    use super::*;

    #[test]
    fn a_secret_is_known_by_its_prefix_and_kept_as_its_hash() {
        let secret = make_secret().unwrap();
        assert!(secret.starts_with("aop_") && secret.len() == 68);
        assert_ne!(secret, make_secret().unwrap());
        let hash = SecretHash::of(&secret);
        let written = format!("sha256:{}", hex(&Sha256::digest(secret.as_bytes())));
        assert!(written.parse::<SecretHash>().unwrap().is(&hash));
        assert!(written.to_uppercase().replace("SHA256", "sha256").parse::<SecretHash>().unwrap().is(&hash));
        assert!(!SecretHash::of(&secret[1..]).is(&hash));
        for wrong in ["", &written[7..], &written[..70], "sha256:é", &written.replace("sha256:", "sha256:+")[..71]] {
            assert!(wrong.parse::<SecretHash>().is_err(), "{wrong}");
        }
        assert!(!format!("{hash:?}").contains(&written[7..20]));
    }

    #[test]
    fn the_hash_of_nothing_is_the_hash_of_no_secret() {
        let nothing = format!("sha256:{}", hex(&Sha256::digest(b"")));
        for text in [nothing.clone(), nothing.to_uppercase().replace("SHA256", "sha256")] {
            assert!(text.parse::<SecretHash>().unwrap_err().contains("hash of nothing"), "{text}");
        }
        assert!(format!("sha256:{}", hex(&Sha256::digest(b"\n"))).parse::<SecretHash>().is_ok());
    }

    #[test]
    fn a_token_reads_back_as_it_was_kept() {
        let zone = Some(ZoneName::parse("acme").unwrap());
        let grant = Grant { role: Role::Caller, zone, tool: Glob::new("search_*") };
        let origin = TokenOrigin::Created { at_ms: 5 };
        let token = Token { name: "ci".into(), hash: SecretHash::of("s"), grant, expires_ms: Some(9), origin };
        assert_eq!(read_row(&key("ci"), &write_row(&token)), Some(Ok(token.clone())));
        assert!(token.is_alive(8) && !token.is_alive(9));
        assert_eq!(read_row(b"trust", b"x"), None);
        assert!(read_row(b"token:x", b"{}").unwrap().unwrap_err().contains("stored token `x`"));
    }
}
