//! Whom a client of a node's port believes: authorities of the machine, those it was given, and a very certificate.
//!
//! An operator's certificate is often its own authority, made for a name that is not the address `aop` dials. Where the client was
//! given the very certificate the node shows, by its operator or by the node's own file on this machine, nothing is left to be
//! proven but that the node holds its key, which the handshake does. Everything else is checked as in a browser.

use std::path::PathBuf;
use std::sync::Arc;

use aop_proto::error::{Kind, Problem};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::tls::read_certificates;

/// TLS of a client that believes these certificates, each as an authority or as the one it meets, and nobody else.
///
/// # Errors
/// A file that cannot be read.
pub fn believing(files: &[PathBuf]) -> Result<ClientConfig, Problem> {
    let mut given = Vec::new();
    for file in files {
        let read = read_certificates(file);
        given.extend(read.map_err(|error| Problem::new(Kind::Config, error.to_string()))?);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let internal = |error: Error| Problem::new(Kind::Internal, format!("no TLS client can be made: {error}"));
    let verifier = Arc::new(Believing::new(given, &provider));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(internal)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

#[derive(Debug)]
struct Believing {
    given: Vec<CertificateDer<'static>>,
    /// Nothing where none of the certificates can be an authority.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Believing {
    fn new(given: Vec<CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(given.iter().cloned());
        let authorities =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().ok();
        Self { given, authorities, provider: Arc::clone(provider) }
    }
}

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.given.iter().any(|given| given.as_ref() == end_entity.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.authorities {
            Some(authorities) => {
                authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
