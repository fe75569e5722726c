//! TLS of the client port: an operator's certificate, read again when its files change.
//!
//! What must hold: a connection never meets half of a change, and a new file that cannot be used leaves the former in use and
//! is told once. Nodes speak to each other with keys of their own; nothing of that is here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Between two looks at the files, at most one a connection.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What is spoken over it, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where certificate and key lie, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and behind it those that lead to its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {why}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system, or the PEM reader, said.
        why: String,
    },
    /// A file holds nothing of what it should.
    #[error("{path} holds no {what} in PEM", path = path.display())]
    Empty {
        /// Which.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// Both are read and do not go together, or are of a kind that is not supported.
    #[error("{cert} and {key} cannot be used together: {why}", cert = cert.display(), key = key.display())]
    Unfit {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What TLS said.
        why: String,
    },
}

impl TlsError {
    /// Whether that file alone is to blame.
    pub fn is_of(&self, file: &Path) -> bool {
        matches!(self, Self::Unreadable { path, .. } | Self::Empty { path, .. } if path == file)
    }
}

impl TlsFiles {
    /// Reads both.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn read(&self) -> Result<ServerConfig, TlsError> {
        let certs = read_certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => {
                TlsError::Empty { path: self.key.clone(), what: "private key" }
            }
            error => unreadable(&self.key, error),
        })?;
        let unfit = |error: rustls::Error| TlsError::Unfit {
            cert: self.cert.clone(),
            key: self.key.clone(),
            why: error.to_string(),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_no_client_auth()
            .with_single_cert(certs, key)
            .map_err(unfit)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(config)
    }

    /// Says so where others of this machine may read the key.
    fn warn_of_readers(&self) {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&self.key).map_or(0, |meta| meta.permissions().mode());
        if mode & 0o007 != 0 {
            let (key, mode) = (self.key.display(), format!("{:o}", mode & 0o777));
            tracing::warn!(%key, mode, "others of this machine may read the key of the port; chmod o= takes it from them");
        }
    }

    /// When they were changed last; what is not there has no time.
    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.cert, &self.key].map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok())
    }
}

/// All certificates of a PEM file; at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, error))?;
    let certs = read.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(path, error))?;
    if certs.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(certs)
}

fn unreadable(path: &Path, error: rustls::pki_types::pem::Error) -> TlsError {
    let why = match error {
        rustls::pki_types::pem::Error::Io(error) => error.to_string(),
        error => format!("{error:?}"),
    };
    TlsError::Unreadable { path: path.to_owned(), why }
}

/// The certificate in use.
pub(super) struct Tls {
    config: ArcSwap<ServerConfig>,
    /// Hellos may be answered by half of the processors at once: each takes longer than a request, and requests of those who are in
    /// go on meanwhile.
    turns: Semaphore,
    looked: Mutex<Looked>,
}

struct Looked {
    files: TlsFiles,
    at: Instant,
    changed: [Option<SystemTime>; 2],
}

impl Tls {
    pub(super) fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let config = files.read()?;
        files.warn_of_readers();
        let changed = files.changed();
        let looked = Mutex::new(Looked { files, at: Instant::now(), changed });
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { config: ArcSwap::from_pointee(config), turns: Semaphore::new(processors.div_ceil(2)), looked })
    }

    /// A turn to answer a hello, in the order of coming; given back when dropped.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.turns.acquire().await.ok()
    }

    /// What the next connection meets.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        if let Some(files) = self.news() {
            self.take(files.read());
        }
        self.config.load_full()
    }

    /// Reads these files now, whatever their age.
    pub(super) fn replace(&self, files: TlsFiles) {
        let read = files.read();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        *looked = Looked { changed: files.changed(), files, at: Instant::now() };
        drop(looked);
        self.take(read);
    }

    /// The files, if it is time to look and they have changed since.
    fn news(&self) -> Option<TlsFiles> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.at.elapsed() < LOOK_EVERY {
            return None;
        }
        looked.at = Instant::now();
        let changed = looked.files.changed();
        if changed == looked.changed {
            return None;
        }
        looked.changed = changed;
        Some(looked.files.clone())
    }

    fn take(&self, read: Result<ServerConfig, TlsError>) {
        match read {
            Ok(config) => {
                self.config.store(Arc::new(config));
                tracing::info!("tls.reload");
            }
            Err(error) => tracing::error!(%error, "the new certificate cannot be used; the former stays"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate and its key in a directory.
    fn made(dir: &Path) -> TlsFiles {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        std::fs::write(&files.cert, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn each_way_of_being_unusable_is_told_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let files = made(dir.path());
        assert!(files.read().is_ok());
        let other = tempfile::tempdir().unwrap();
        let other = made(other.path()).cert;
        let told = |cert: &Path, key: &Path| {
            TlsFiles { cert: cert.to_owned(), key: key.to_owned() }.read().unwrap_err().to_string()
        };
        assert!(told(&dir.path().join("nowhere"), &files.key).contains("nowhere cannot be read"));
        assert!(told(&files.key, &files.key).contains("key.pem holds no certificate"));
        assert!(told(&files.cert, &files.cert).contains("cert.pem holds no private key"));
        let _gone = std::fs::remove_file(&other);
        let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("stranger.pem"), stranger.cert.pem()).unwrap();
        assert!(told(&dir.path().join("stranger.pem"), &files.key).contains("cannot be used together"));
    }

    #[test]
    fn a_new_file_that_cannot_be_used_leaves_the_former_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let files = made(dir.path());
        let tls = Tls::open(files.clone()).unwrap();
        let first = tls.config();
        assert!(Arc::ptr_eq(&first, &tls.config()), "nothing has changed");
        std::fs::write(&files.cert, "nonsense").unwrap();
        tls.replace(files.clone());
        assert!(Arc::ptr_eq(&first, &tls.config()));
        made(dir.path());
        tls.replace(files);
        assert!(!Arc::ptr_eq(&first, &tls.config()));
    }

    #[test]
    fn changed_files_are_noticed_by_the_next_connection_and_not_looked_at_more_often() {
        let dir = tempfile::tempdir().unwrap();
        let files = made(dir.path());
        let tls = Tls::open(files.clone()).unwrap();
        let time_has_passed = || tls.looked.lock().unwrap().at -= LOOK_EVERY;
        let date = |seconds| {
            let at = SystemTime::now() - Duration::from_secs(seconds);
            std::fs::File::options().write(true).open(&files.cert).unwrap().set_modified(at).unwrap();
        };
        let first = tls.config();
        made(dir.path());
        date(50);
        assert!(Arc::ptr_eq(&first, &tls.config()), "it was looked at a moment ago");
        time_has_passed();
        let second = tls.config();
        assert!(!Arc::ptr_eq(&first, &second));
        time_has_passed();
        assert!(Arc::ptr_eq(&second, &tls.config()), "nothing has changed since");
        // What cannot be used is read once, and what can be used again is noticed although it came meanwhile.
        std::fs::write(&files.cert, "nonsense").unwrap();
        date(40);
        time_has_passed();
        assert!(Arc::ptr_eq(&second, &tls.config()));
        made(dir.path());
        date(30);
        time_has_passed();
        assert!(!Arc::ptr_eq(&second, &tls.config()));
    }
}
