//! The floor of a hop: a client and a server of quinn, a thread each, and a stream for every request.
//!
//! Provider, protocol version and windows are those of nodes; who one is is proven otherwise, which costs only the handshake, and that
//! is over before anything counts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig, VarInt};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::Result;
use crate::hop::{Asked, ask_and_tell};

const BYTES: usize = 1024;
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[derive(Clone)]
struct Bare(Connection);

impl Asked for Bare {
    async fn ask(&self) -> Result<()> {
        let (mut asking, mut answer) = self.0.open_bi().await?;
        asking.write_all(&[7; BYTES]).await?;
        asking.finish()?;
        let answered = answer.read_to_end(BYTES).await?;
        if answered.len() == BYTES { Ok(()) } else { Err("the answer is not whole".into()) }
    }
}

/// Asks for so long.
///
/// # Errors
/// Something about QUIC.
pub(crate) fn run(slice: Duration) -> Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let cert = CertificateDer::from(made.cert);
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into())?;
    let mut believed = rustls::RootCertStore::empty();
    believed.add(cert)?;
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(believed)
        .with_no_client_auth();
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
    server.transport_config(Arc::new(windows()));
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
    client.transport_config(Arc::new(windows()));

    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || -> Result<()> {
        runtime()?.block_on(async move {
            let endpoint = Endpoint::server(server, ANY)?;
            tell.send(endpoint.local_addr()?)?;
            serve(&endpoint).await
        })
    });
    let at = told.recv()?;
    runtime()?.block_on(async move {
        let mut endpoint = Endpoint::client(ANY)?;
        endpoint.set_default_client_config(client);
        let connection = endpoint.connect(at, "localhost")?.await?;
        ask_and_tell(Bare(connection), slice).await
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// As nodes have them.
fn windows() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(256 << 10))
        .receive_window(VarInt::from_u32(1 << 20))
        .send_window(1 << 20)
        .max_concurrent_bidi_streams(VarInt::from_u32(256));
    config
}

async fn serve(endpoint: &Endpoint) -> Result<()> {
    let connection = endpoint.accept().await.ok_or("the endpoint is gone")?.await?;
    while let Ok((mut answering, mut asked)) = connection.accept_bi().await {
        tokio::spawn(async move {
            let request = asked.read_to_end(BYTES).await?;
            answering.write_all(&request).await?;
            Result::Ok(answering.finish()?)
        });
    }
    Ok(())
}
