//! The rogue's end of QUIC: it keeps the rules of the transport where its test wants to come in, and breaks them where it wants.
//!
//! Made of quinn and rustls alone, as somebody else's implementation would be; of the library only the words on the wire are used.
//! Whatever a node says is kept until the test asks for it. A probe is answered, so that the rogue stays a living member.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aop_proto::record::NodeId;
use aop_proto::trust::SigningKey;
use aop_proto::wire::message::{Ack, Message, Ping};
use ed25519_dalek::pkcs8::EncodePrivateKey;
use futures::StreamExt;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, VarInt};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::runtime::Runtime;

use crate::support::{SOON, eventually};

/// What comes before the 32 bytes of an Ed25519 key. Source: RFC 8410 §4.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What the first stream begins with: its kind, and the name of a process, another one each time.
fn greeting() -> Vec<u8> {
    [&b"aop\x01"[..], &any_key().to_bytes()[..8]].concat()
}

/// Longest time that one thing said may take: a node that takes nothing in holds us up, which it may.
const SAYING: Duration = Duration::from_secs(20);

/// Time in which what is begun and never ended has to be taken in.
const BEGINNING: Duration = Duration::from_secs(6);

/// What is kept of what one node says; beyond it the oldest go.
const HEARD_MAX: usize = 20_000;

/// One UDP socket from which any number of keys connect.
pub(crate) struct Socket {
    runtime: Runtime,
    endpoint: Endpoint,
}

/// A key nobody has seen.
pub(crate) fn any_key() -> SigningKey {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the system gives randomness");
    SigningKey::from_bytes(&seed)
}

pub(crate) fn id_of(key: &SigningKey) -> NodeId {
    NodeId(key.verifying_key().to_bytes())
}

impl Socket {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime of one thread");
        let entered = runtime.enter();
        let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a UDP socket");
        drop(entered);
        Self { runtime, endpoint }
    }

    /// A connection on which nothing was said yet, or why there is none.
    pub(crate) fn connect(&self, address: &str, key: &SigningKey) -> Result<Connection, String> {
        self.connect_by(address, client_config(key))
    }

    fn connect_by(&self, address: &str, config: quinn::ClientConfig) -> Result<Connection, String> {
        let address = address.parse().expect("an address of ours");
        let entered = self.runtime.enter();
        let connecting = self.endpoint.connect_with(config, address, "node.invalid");
        drop(entered);
        let connecting = connecting.map_err(|error| error.to_string())?;
        self.runtime.block_on(connecting).map_err(|error| error.to_string())
    }

    /// A connection with the greeting of §3.2.
    #[track_caller]
    pub(crate) fn link(&self, address: &str, key: &SigningKey) -> Link<'_> {
        let connection =
            self.connect(address, key).unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
        self.greeted(connection)
    }

    /// The same with a window for a handful of bytes, and nobody who reads them.
    #[track_caller]
    pub(crate) fn deaf_link(&self, address: &str, key: &SigningKey) -> Link<'_> {
        let mut config = client_config(key);
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(VarInt::from_u32(64)).keep_alive_interval(Some(Duration::from_secs(2)));
        config.transport_config(Arc::new(transport));
        let connection = self.connect_by(address, config).unwrap_or_else(|error| panic!("no connection: {error}"));
        let gossip = Arc::new(tokio::sync::Mutex::new(self.greet(&connection)));
        Link { socket: self, connection, gossip, heard: Arc::default() }
    }

    /// So many connections at once, each by a key of its own and greeted; those that are refused are left out.
    pub(crate) fn crowd(&self, address: &str, count: usize) -> Vec<Connection> {
        let address: SocketAddr = address.parse().expect("an address of ours");
        let one = || async move {
            let connection =
                self.endpoint.connect_with(client_config(&any_key()), address, "node.invalid").ok()?.await.ok()?;
            let mut gossip = connection.open_uni().await.ok()?;
            gossip.write_all(&greeting()).await.ok()?;
            // A stream that is dropped is finished, which would be its last word.
            std::mem::forget(gossip);
            Some(connection)
        };
        self.runtime.block_on(async {
            let attempts = futures::stream::iter((0..count).map(|_| one()));
            attempts.buffer_unordered(100).filter_map(std::future::ready).collect().await
        })
    }

    #[track_caller]
    fn greet(&self, connection: &Connection) -> SendStream {
        self.runtime.block_on(async {
            let mut gossip = connection.open_uni().await.expect("a first stream");
            gossip.write_all(&greeting()).await.expect("room for a greeting");
            gossip
        })
    }

    #[track_caller]
    fn greeted(&self, connection: Connection) -> Link<'_> {
        let gossip = self.greet(&connection);
        let heard = Arc::new(Mutex::new(Heard::default()));
        let gossip = Arc::new(tokio::sync::Mutex::new(gossip));
        self.runtime.spawn(listen(connection.clone(), heard.clone(), gossip.clone()));
        self.runtime.spawn(listen_to_datagrams(connection.clone(), heard.clone(), gossip.clone()));
        Link { socket: self, connection, gossip, heard }
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

/// What a test makes of a message, if it answers.
type Answering = Box<dyn FnMut(&Message) -> Option<Message> + Send>;

#[derive(Default)]
struct Heard {
    messages: Vec<Message>,
    answering: Option<Answering>,
    /// Streams that stay open.
    kept: Vec<SendStream>,
}

impl Heard {
    fn hear(&mut self, message: Message) -> Option<Message> {
        let answer = match (&message, &mut self.answering) {
            (Message::Ping(ping), _) => Some(Ack { number: ping.number, updates: Vec::new() }.into()),
            (other, Some(answering)) => answering(other),
            _ => None,
        };
        if self.messages.len() >= HEARD_MAX {
            self.messages.drain(..HEARD_MAX / 2);
        }
        self.messages.push(message);
        answer
    }
}

type Gossip = Arc<tokio::sync::Mutex<SendStream>>;

/// One greeted connection to one node.
pub(crate) struct Link<'s> {
    socket: &'s Socket,
    pub(crate) connection: Connection,
    gossip: Gossip,
    heard: Arc<Mutex<Heard>>,
}

impl Link<'_> {
    /// Says it on the gossip stream, whatever its class: a receiver takes a message by whichever way it comes. `false` when the
    /// connection is over, or takes nothing in for long.
    pub(crate) fn say(&self, message: impl Into<Message>) -> bool {
        self.say_bytes(&message.into().encode())
    }

    /// The same for bytes that need not be a frame.
    pub(crate) fn say_bytes(&self, frame: &[u8]) -> bool {
        self.write(&unit(frame))
    }

    /// Bytes that need not even be a unit.
    pub(crate) fn write(&self, bytes: &[u8]) -> bool {
        self.socket.block_on(async {
            let write = async { self.gossip.lock().await.write_all(bytes).await.is_ok() };
            tokio::time::timeout(SAYING, write).await.unwrap_or(false)
        })
    }

    pub(crate) fn datagram(&self, frame: &[u8]) -> bool {
        self.connection.send_datagram(frame.to_vec().into()).is_ok()
    }

    /// A stream of its own that begins with these bytes, for as long as the result is kept.
    pub(crate) fn stream(&self, beginning: &[u8]) -> Option<SendStream> {
        self.socket.block_on(async {
            let open = async {
                let mut stream = self.connection.open_uni().await.ok()?;
                stream.write_all(beginning).await.ok()?;
                Some(stream)
            };
            tokio::time::timeout(SAYING, open).await.ok().flatten()
        })
    }

    /// A request that begins with these bytes.
    pub(crate) fn request(&self, beginning: &[u8]) -> Option<(SendStream, RecvStream)> {
        self.socket.block_on(async {
            let open = async {
                let (mut send, receive) = self.connection.open_bi().await.ok()?;
                send.write_all(beginning).await.ok()?;
                Some((send, receive))
            };
            tokio::time::timeout(SAYING, open).await.ok().flatten()
        })
    }

    /// Writes these bytes on the gossip stream as far as they are taken in within [`BEGINNING`].
    pub(crate) async fn begin_on_gossip(&self, bytes: &[u8]) {
        let write = async { drop(self.gossip.lock().await.write_all(bytes).await) };
        drop(tokio::time::timeout(BEGINNING, write).await);
    }

    /// The same on a stream of its own, which is kept open.
    pub(crate) async fn begin(&self, bytes: &[u8]) {
        if let Ok(mut stream) = self.connection.open_uni().await {
            drop(tokio::time::timeout(BEGINNING, stream.write_all(bytes)).await);
            self.heard().kept.push(stream);
        }
    }

    /// The same as a request.
    pub(crate) async fn begin_request(&self, bytes: &[u8]) {
        if let Ok((mut stream, _)) = self.connection.open_bi().await {
            drop(tokio::time::timeout(BEGINNING, stream.write_all(bytes)).await);
            self.heard().kept.push(stream);
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything it said so far.
    pub(crate) fn all_heard(&self) -> Vec<Message> {
        self.heard().messages.clone()
    }

    /// Says what this makes of what is heard from now on.
    pub(crate) fn answer(&self, answering: impl FnMut(&Message) -> Option<Message> + Send + 'static) {
        self.heard().answering = Some(Box::new(answering));
    }

    /// Waits until it has said something that fits, and gives it.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, mut fits: impl FnMut(&Message) -> Option<T>) -> T {
        eventually(what, SOON, || {
            let heard = self.heard();
            heard.messages.iter().find_map(&mut fits).ok_or_else(|| {
                let names: Vec<&str> = heard.messages.iter().map(Message::name).collect();
                format!("{names:?}, {:?}", self.connection.close_reason())
            })
        })
    }

    /// Waits until everything said before has been read: a probe on the same stream is answered after it. Only a fellow's is.
    #[track_caller]
    pub(crate) fn is_read(&self) {
        let number = u32::from_le_bytes(any_key().to_bytes()[..4].try_into().expect("four bytes"));
        assert!(self.say(Ping { number, updates: Vec::new() }), "{:?}", self.connection.close_reason());
        self.wait_for("an answered probe", |message| {
            matches!(message, Message::Ack(ack) if ack.number == number).then_some(())
        });
    }

    /// Waits until the connection is over, and says why.
    #[track_caller]
    pub(crate) fn ended(&self) -> String {
        let deadline = Instant::now() + SOON;
        self.socket
            .block_on(async { tokio::time::timeout_at(deadline.into(), self.connection.closed()).await })
            .map_or_else(|_| panic!("the connection lives on"), |reason| reason.to_string())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    pub(crate) fn close(self) {
        self.connection.close(VarInt::from_u32(0), b"bye");
    }
}

/// Length and bytes.
pub(crate) fn unit(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).expect("less than 4 GiB");
    [&length.to_le_bytes(), frame].concat()
}

/// Reads every stream of messages that the node opens.
async fn listen(connection: Connection, heard: Arc<Mutex<Heard>>, gossip: Gossip) {
    while let Ok(mut stream) = connection.accept_uni().await {
        let (heard, gossip) = (heard.clone(), gossip.clone());
        tokio::spawn(async move {
            let mut head = [0; 4];
            stream.read_exact(&mut head).await.ok()?;
            if head[3] == 1 {
                stream.read_exact(&mut [0; 8]).await.ok()?;
            }
            loop {
                let mut length = [0; 4];
                stream.read_exact(&mut length).await.ok()?;
                let mut frame = vec![0; u32::from_le_bytes(length) as usize];
                stream.read_exact(&mut frame).await.ok()?;
                take(&heard, &gossip, &frame).await;
            }
            #[expect(unreachable_code, reason = "gives the block its type")]
            Some(())
        });
    }
}

async fn listen_to_datagrams(connection: Connection, heard: Arc<Mutex<Heard>>, gossip: Gossip) {
    while let Ok(frame) = connection.read_datagram().await {
        take(&heard, &gossip, &frame).await;
    }
}

async fn take(heard: &Mutex<Heard>, gossip: &Gossip, frame: &[u8]) {
    let message = Message::decode(frame).expect("a node says only what can be read");
    let answer = heard.lock().unwrap_or_else(PoisonError::into_inner).hear(message);
    if let Some(answer) = answer {
        // A connection that is over needs no answer.
        let _ = gossip.lock().await.write_all(&unit(&answer.encode())).await;
    }
}

fn client_config(key: &SigningKey) -> quinn::ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let der = key.to_pkcs8_der().expect("a key has a form");
    let signer = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_bytes())).expect("an Ed25519 key");
    let spki = [&SPKI_PREFIX[..], &key.verifying_key().to_bytes()].concat();
    let certified = Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signer));
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified)));
    config.alpn_protocols = vec![b"aop/1".to_vec()];
    config.enable_sni = false;
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).expect("a cipher suite for QUIC")))
}

/// The rogue does not mind whom it meets.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let spki = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(
            message,
            &spki,
            signature,
            &aws_lc_rs::default_provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
