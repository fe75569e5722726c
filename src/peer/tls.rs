//! TLS between nodes: 1.3 only, raw Ed25519 public keys on both sides (RFC 7250), and nothing else.
//!
//! A node *is* its key, so there are no certificates, no names, no expiry and no authority here; who may do what is decided far
//! above, from signed records. What must always hold: a connection exists only after both sides proved the key they showed, and
//! every connection proves it anew. So no resumption, no tickets, no 0-RTT: a resumed session would skip the check.

use std::sync::{Arc, OnceLock};

use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme, version,
};

use crate::entropy::{NodeKey, hex};

/// Versions of the protocol this build speaks, the best first. Both sides offer theirs in the handshake and the one that was dialled
/// chooses; without a common one there is no connection. Source: RFC 7301.
const VERSIONS: [u8; 1] = [aop_proto::wire::VERSION];
/// A name must be given to dial; it is neither sent nor checked.
pub(crate) const SERVER_NAME: &str = "node.invalid";

/// What comes before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo. Source: RFC 8410 §4.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// This node's side of every handshake.
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    certified: Arc<CertifiedKey>,
    me: [u8; 32],
}

impl Tls {
    pub(crate) fn new(key: &NodeKey) -> Result<Self, Error> {
        let der = key.pkcs8_der().map_err(|e| Error::General(e.to_string()))?;
        let signer = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_bytes()))?;
        let spki = [&SPKI_PREFIX[..], &key.public()].concat();
        Ok(Self {
            provider: Arc::new(aws_lc_rs::default_provider()),
            certified: Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signer)),
            me: key.public(),
        })
    }

    /// What whoever dials us meets.
    pub(crate) fn server(&self) -> Result<rustls::ServerConfig, Error> {
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(self.check(None))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.certified.clone())));
        config.alpn_protocols = protocols();
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// One dial, with the key that must be met there, if it is known. The check tells afterwards why it refused.
    pub(crate) fn client(&self, expected: Option<[u8; 32]>) -> Result<(rustls::ClientConfig, Arc<KeyCheck>), Error> {
        let check = self.check(expected);
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(check.clone())
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.certified.clone())));
        config.alpn_protocols = protocols();
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok((config, check))
    }

    fn check(&self, expected: Option<[u8; 32]>) -> Arc<KeyCheck> {
        Arc::new(KeyCheck { provider: self.provider.clone(), me: self.me, expected, refusal: OnceLock::new() })
    }
}

/// What is offered in a handshake, the best first.
fn protocols() -> Vec<Vec<u8>> {
    VERSIONS.map(|version| format!("aop/{version}").into_bytes()).into()
}

/// The same for a person.
pub(crate) fn spoken() -> String {
    VERSIONS.map(|version| format!("aop/{version}")).join(", ")
}

/// The raw key in what a handshake calls a certificate, `None` when it is not an Ed25519 key.
pub(crate) fn raw_key(shown: &[u8]) -> Option<[u8; 32]> {
    shown.strip_prefix(&SPKI_PREFIX[..])?.try_into().ok()
}

/// Why a key that was shown is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the other side shows no Ed25519 key")]
    NotEd25519,
    #[error("that address is this node itself")]
    Itself,
    #[error("another node answers there: expected {}, met {}", hex(&expected[..8]), hex(&met[..8]))]
    Another { expected: [u8; 32], met: [u8; 32] },
}

/// Accepts any Ed25519 key but our own, or exactly the expected one; the handshake then proves it is held.
#[derive(Debug)]
pub(crate) struct KeyCheck {
    provider: Arc<CryptoProvider>,
    me: [u8; 32],
    expected: Option<[u8; 32]>,
    /// The first refusal. Meaningful for the check of a single dial only.
    refusal: OnceLock<Refusal>,
}

impl KeyCheck {
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().copied()
    }

    fn judge(&self, shown: &[u8]) -> Result<(), Refusal> {
        let met = raw_key(shown).ok_or(Refusal::NotEd25519)?;
        if met == self.me {
            return Err(Refusal::Itself);
        }
        match self.expected {
            Some(expected) if expected != met => Err(Refusal::Another { expected, met }),
            _ => Ok(()),
        }
    }

    fn accept(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        self.judge(shown).map_err(|refusal| {
            // A second refusal of the same dial says nothing new.
            let _ = self.refusal.set(refusal);
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        })
    }

    fn verify(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(shown.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &spki, signature, algorithms)
    }
}

impl ServerCertVerifier for KeyCheck {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.accept(shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for KeyCheck {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.accept(shown).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_of_an_ed25519_key_is_read() {
        let spki = [&SPKI_PREFIX[..], &[7; 32]].concat();
        assert_eq!(raw_key(&spki), Some([7; 32]));
        assert_eq!(raw_key(&spki[..43]), None);
        assert_eq!(raw_key(&[&spki[..], &[0]].concat()), None);
        assert_eq!(raw_key(&[]), None);
        let mut other_algorithm = spki;
        other_algorithm[8] = 0x71;
        assert_eq!(raw_key(&other_algorithm), None);
    }

    #[test]
    fn our_own_key_and_an_unexpected_one_are_refused() {
        let key = NodeKey::memory().unwrap();
        let tls = Tls::new(&key).unwrap();
        let show = |raw: [u8; 32]| [&SPKI_PREFIX[..], &raw].concat();
        assert_eq!(tls.check(None).judge(&show([7; 32])), Ok(()));
        assert_eq!(tls.check(None).judge(&show(key.public())), Err(Refusal::Itself));
        assert_eq!(tls.check(Some([7; 32])).judge(&show([7; 32])), Ok(()));
        let another = Refusal::Another { expected: [7; 32], met: [8; 32] };
        assert_eq!(tls.check(Some([7; 32])).judge(&show([8; 32])), Err(another));
    }
}
