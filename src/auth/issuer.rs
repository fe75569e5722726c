//! Tokens that an authorization server has signed (OAuth 2.1, this node being the resource server): whose they are, or why they are
//! not believed.
//!
//! ```text
//!  header: algorithm, key ─▶ claims: which issuer? (not believed yet) ─▶ one of its algorithms? ─▶ its key of that id, fit for that
//!  algorithm ─▶ signature ─▶ exp, nbf, aud, iss, sub, each of its own JSON type ─▶ who, with which scopes
//! ```
//!
//! Always true: nothing of a token is used before its signature has been checked but to choose the key that checks it, and no key
//! is taken from the token itself (`jku`, `jwk`, `x5u` are not read). Source: RFC 9068, RFC 8725.

use aop_proto::access::{Caller, Principal};
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{DecodingKey, Header, Validation, decode, decode_header};
use serde::Deserialize;

pub use jsonwebtoken::Algorithm;

use super::keys::{KeyError, Keys};
use super::scope;

/// The algorithms an issuer may be configured with, by name; all of them with public keys.
pub const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("EdDSA", Algorithm::EdDSA),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
];
/// Clocks may differ by this many seconds.
const LEEWAY_S: u64 = 60;
/// What is longer is no token.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Longest `sub`: it stands in logs and rules.
const SUBJECT_BYTES_MAX: usize = 256;

/// An authorization server whose tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its name: `iss` of its tokens, to the letter.
    pub issuer: String,
    /// Where its keys are; found through its metadata when not said.
    pub jwks_uri: Option<String>,
    /// What `aud` of its tokens has to be; this node's own URI when not said.
    pub audience: Option<String>,
    /// With which it may sign.
    pub algorithms: Vec<Algorithm>,
}

/// Why a token is not believed. Nothing of the token is repeated.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the token is not a signed token of a kind this node reads")]
    Shape,
    #[error("the token names no issuer this node believes")]
    Issuer,
    #[error("the token is signed with an algorithm its issuer is not configured for")]
    Algorithm,
    #[error("the token does not say with which key it is signed")]
    NoKeyId,
    #[error("the token's key does not fit its algorithm")]
    KeyType,
    #[error("the token's key: {0}")]
    Key(#[from] KeyError),
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    TooEarly,
    #[error("the token is not for this node")]
    Audience,
    #[error("the token's claims are missing or of a wrong type")]
    Claims,
}

/// All issuers of one node.
pub(super) struct Issuers(Vec<Believed>);

struct Believed {
    terms: Issuer,
    audiences: Vec<String>,
    keys: Keys,
}

/// Read only to choose the issuer.
#[derive(Deserialize)]
struct Unverified {
    iss: String,
}

/// What is read of a verified token. The types are part of the check: a claim of another type is no claim.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    #[serde(rename = "exp")]
    _exp: u64,
    #[serde(rename = "nbf", default)]
    _nbf: Option<u64>,
    #[serde(rename = "aud")]
    _aud: OneOrMore,
    /// Scopes as RFC 9068 writes them.
    #[serde(default)]
    scope: String,
    /// The same as some authorization servers write them: words, or an array of them.
    #[serde(default)]
    scp: Option<OneOrMore>,
}

impl Claims {
    /// All scopes, words between blanks.
    fn scopes(&self) -> String {
        let scp: &[String] = match &self.scp {
            None => &[],
            Some(OneOrMore::One(words)) => std::slice::from_ref(words),
            Some(OneOrMore::More(words)) => words,
        };
        scp.iter().fold(self.scope.clone(), |all, words| all + " " + words)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Issuers {
    pub(super) fn new(issuers: Vec<Issuer>, resource: &str) -> Self {
        let believed = |terms: Issuer| {
            let audiences = match &terms.audience {
                Some(audience) => vec![audience.clone()],
                // A client asks its issuer for a token for what it talks to: the node, or its MCP path.
                None => vec![resource.to_owned(), format!("{resource}/"), format!("{resource}/mcp")],
            };
            Believed { keys: Keys::new(&terms.issuer, terms.jwks_uri.as_deref()), audiences, terms }
        };
        Self(issuers.into_iter().map(believed).collect())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|believed| believed.terms.issuer.clone()).collect()
    }

    /// Whether it has the look of a signed token, and somebody could have signed it.
    pub(super) fn may_have_signed(&self, presented: &str) -> bool {
        !self.0.is_empty() && presented.split('.').count() == 3
    }

    /// Whom a token is of.
    pub(super) async fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Shape);
        }
        // An algorithm that is unknown, as `none` is, is no header.
        let header = decode_header(token).map_err(|_| TokenError::Shape)?;
        let unverified: Unverified = insecure_decode_claims(token).map_err(|_| TokenError::Shape)?;
        let issuer = self.0.iter().find(|believed| believed.terms.issuer == unverified.iss);
        issuer.ok_or(TokenError::Issuer)?.verify(token, &header).await
    }
}

impl Believed {
    async fn verify(&self, token: &str, header: &Header) -> Result<Caller, TokenError> {
        if !self.terms.algorithms.contains(&header.alg) {
            return Err(TokenError::Algorithm);
        }
        // Whoever marks something as critical wants it understood; nothing of that kind is (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return Err(TokenError::Shape);
        }
        let key = self.keys.find(header.kid.as_deref().ok_or(TokenError::NoKeyId)?).await?;
        if !fits(&key, header.alg) {
            return Err(TokenError::KeyType);
        }
        let key = DecodingKey::from_jwk(&key).map_err(|_| TokenError::KeyType)?;
        let verified =
            decode::<Claims>(token, &key, &self.validation(header.alg)).map_err(|error| told(error.kind()))?;
        let scopes = verified.claims.scopes();
        let Claims { iss, sub, .. } = verified.claims;
        if sub.is_empty() || sub.len() > SUBJECT_BYTES_MAX || sub.chars().any(char::is_control) {
            return Err(TokenError::Claims);
        }
        let principal = Principal::Subject { issuer: iss, subject: sub };
        Ok(Caller { principal, grants: scope::grants(&scopes) })
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.set_issuer(&[&self.terms.issuer]);
        validation.set_audience(&self.audiences);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_S;
        validation
    }
}

/// Whether a key is one for that algorithm, by its type, its curve, and what it says of itself.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let of_type = match &key.algorithm {
        AlgorithmParameters::RSA(_) => matches!(
            algorithm,
            Algorithm::RS256
                | Algorithm::RS384
                | Algorithm::RS512
                | Algorithm::PS256
                | Algorithm::PS384
                | Algorithm::PS512
        ),
        AlgorithmParameters::EllipticCurve(params) => match params.curve {
            EllipticCurve::P256 => algorithm == Algorithm::ES256,
            EllipticCurve::P384 => algorithm == Algorithm::ES384,
            _ => false,
        },
        AlgorithmParameters::OctetKeyPair(params) => {
            params.curve == EllipticCurve::Ed25519 && algorithm == Algorithm::EdDSA
        }
        // A shared secret in a published set is nobody's.
        _ => false,
    };
    let said = key.common.key_algorithm.as_ref().is_none_or(|said| said_algorithm(*said) == Some(algorithm));
    let is_for_signatures = key.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
    of_type && said && is_for_signatures
}

fn said_algorithm(said: KeyAlgorithm) -> Option<Algorithm> {
    let name = said.to_string();
    ALGORITHMS.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
}

fn told(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::TooEarly,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::InvalidAlgorithm => TokenError::KeyType,
        _ => TokenError::Claims,
    }
}
