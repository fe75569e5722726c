//! The only source of chance, and the secrets made from it: node key, zone key, admin token.
//!
//! A secret is made once, at first start, and kept in a file only its owner may read; it is not a store of anything else. What
//! must always hold: a file is there whole or not at all, an existing secret is never overwritten or silently replaced (a
//! zone's key gives way to the one the zone has rotated to), and no secret is ever printed.

mod zone;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};

pub use zone::{NEXT_ZONE_KEY_FILE, ZoneKeys};

/// The node's identity, in `<data>/node.key`.
pub const NODE_KEY_FILE: &str = "node.key";
/// The zone's key, on the node that made the zone, in `<data>/zone.key`.
pub const ZONE_KEY_FILE: &str = "zone.key";
/// What `aop` proves itself with, in `<data>/admin.token`.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";

/// Read and written by the owner alone.
const SECRET_MODE: u32 = 0o600;
/// Far above any secret; what is longer is not one.
const SECRET_BYTES_MAX: u64 = 4096;

/// Why a secret could not be made or read. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum EntropyError {
    /// The operating system gave no randomness.
    #[error("the system gives no randomness: {0}")]
    Chance(getrandom::Error),
    /// The file could not be read or written.
    #[error("cannot {verb} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the secret.
    #[error("{path} has mode {mode:04o} and may be read by others; run: chmod 600 {path}", path = path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is there but is not what its name says.
    #[error("{path} is damaged: {reason}; restore it from a backup, or move it away to start with a new one", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// 32 random bytes: a seed of the core, a key, a nonce.
///
/// # Errors
/// [`EntropyError::Chance`] when the system gives none; a node cannot run then.
pub fn seed() -> Result<[u8; 32], EntropyError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(EntropyError::Chance)?;
    Ok(bytes)
}

/// An Ed25519 key with the file format and the guards both kinds of key share.
#[derive(Clone)]
struct KeyPair(SigningKey);

impl KeyPair {
    fn generate() -> Result<Self, EntropyError> {
        Ok(Self(SigningKey::from_bytes(&seed()?)))
    }

    /// PKCS#8 with the public half beside the private one, so that a flipped bit in either is noticed.
    fn to_der(&self, path: &Path) -> Result<Vec<u8>, EntropyError> {
        let der = self.0.to_pkcs8_der().map_err(|e| damaged(path, e))?;
        Ok(der.as_bytes().to_vec())
    }

    fn from_der(der: &[u8], path: &Path) -> Result<Self, EntropyError> {
        SigningKey::from_pkcs8_der(der).map(Self).map_err(|e| damaged(path, e))
    }

    fn load(path: &Path) -> Result<Option<Self>, EntropyError> {
        read_secret(path)?.map(|der| Self::from_der(&der, path)).transpose()
    }

    fn load_or_create(path: &Path) -> Result<Self, EntropyError> {
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        let key = Self::generate()?;
        create_secret(path, &key.to_der(path)?)?;
        // Read back rather than returned: where two processes raced, the file's key is the one, and not ours.
        Self::load(path)?.ok_or_else(|| damaged(path, "it vanished while it was made"))
    }
}

macro_rules! key_kind {
    ($(#[$doc:meta])* $name:ident, $file:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(KeyPair);

        impl $name {
            /// A new key that lives in memory only.
            ///
            /// # Errors
            /// [`EntropyError::Chance`].
            pub fn memory() -> Result<Self, EntropyError> {
                KeyPair::generate().map(Self)
            }

            /// The key kept in that data directory, if there is one.
            ///
            /// # Errors
            /// A file that cannot be read, that others may read, or that is damaged.
            pub fn load(data: &Path) -> Result<Option<Self>, EntropyError> {
                Ok(KeyPair::load(&data.join($file))?.map(Self))
            }

            /// The key kept in that data directory, made there when there is none.
            ///
            /// # Errors
            /// As for `load`, and a directory that cannot be written.
            pub fn load_or_create(data: &Path) -> Result<Self, EntropyError> {
                KeyPair::load_or_create(&data.join($file)).map(Self)
            }

            /// The public half: 32 bytes.
            pub fn public(&self) -> [u8; 32] {
                self.0.0.verifying_key().to_bytes()
            }

            /// The key itself, for whoever signs.
            pub fn signing_key(&self) -> &SigningKey {
                &self.0.0
            }
        }

        impl std::fmt::Debug for $name {
            /// Shows the public half; the private one is never printed.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex(&self.public()))
            }
        }
    };
}

key_kind!(
    /// Who this node is to other nodes.
    NodeKey,
    NODE_KEY_FILE
);
key_kind!(
    /// What makes a zone that zone; only its maker holds it.
    ZoneKey,
    ZONE_KEY_FILE
);

impl NodeKey {
    /// The private key as PKCS#8, the form the TLS provider reads.
    pub(crate) fn pkcs8_der(&self) -> Result<ed25519_dalek::pkcs8::SecretDocument, ed25519_dalek::pkcs8::Error> {
        self.0.0.to_pkcs8_der()
    }
}

/// 256 random bits in hex that open what changes the node's state.
#[derive(Clone)]
pub struct AdminToken(String);

impl AdminToken {
    /// A new token that lives in memory only.
    ///
    /// # Errors
    /// [`EntropyError::Chance`].
    pub fn memory() -> Result<Self, EntropyError> {
        Ok(Self(hex(&seed()?)))
    }

    /// The token kept in that data directory, made there when there is none.
    ///
    /// # Errors
    /// A file that cannot be read or written, that others may read, or that is not a token.
    pub fn load_or_create(data: &Path) -> Result<Self, EntropyError> {
        let path = data.join(ADMIN_TOKEN_FILE);
        if read_secret(&path)?.is_none() {
            create_secret(&path, format!("{}\n", Self::memory()?.0).as_bytes())?;
        }
        Self::load(&path)
    }

    /// The token in that file, as a client on the same machine reads it.
    ///
    /// # Errors
    /// A file that is missing, that others may read, or that is not a token.
    pub fn load(path: &Path) -> Result<Self, EntropyError> {
        let bytes = read_secret(path)?.ok_or_else(|| EntropyError::File {
            verb: "read",
            path: path.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        })?;
        let text = String::from_utf8(bytes).map_err(|_| damaged(path, "it is not text"))?;
        let token = text.trim();
        if token.len() != 64 || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(damaged(path, "it is not 64 hexadecimal digits"));
        }
        Ok(Self(token.to_owned()))
    }

    /// Writes the token of a node that keeps nothing else on disk, so that `aop` still finds it.
    ///
    /// # Errors
    /// The file exists already, or cannot be written.
    pub fn write_to(&self, path: &Path) -> Result<(), EntropyError> {
        create_secret(path, format!("{}\n", self.0).as_bytes())
    }

    /// The secret itself, for a client that presents it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether that is the token. The time it takes tells nothing about how much of it was right.
    pub fn matches(&self, presented: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), presented.as_bytes());
        ours.len() == theirs.len() && ours.iter().zip(theirs).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

/// Ids of what one node does, for logs: no two are the same, and nothing is secret about them. Source: W3C Trace Context §3.2.2.3.
#[derive(Debug)]
pub struct TraceIds {
    /// The node's half, of this run.
    run: u64,
    next: AtomicU64,
}

impl Default for TraceIds {
    fn default() -> Self {
        let seed = seed().unwrap_or_default();
        let half = |at: usize| seed[at..at + 8].iter().fold(0_u64, |half, byte| half << 8 | u64::from(*byte));
        Self { run: half(0), next: AtomicU64::new(half(8)) }
    }
}

impl TraceIds {
    /// The next one, 32 hexadecimal digits.
    pub fn next(&self) -> String {
        // An odd factor takes each number to another one, and neighbours far apart.
        let number = self.next.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.run.to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        hex(&id)
    }
}

/// Lower-case hexadecimal digits of those bytes.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // A ready answer costs not much more than its trace's id, digit by digit as characters.
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
    String::from_utf8(bytes.iter().flat_map(digits).collect()).unwrap_or_default()
}

/// The 32 bytes of so many hexadecimal digits, in either case.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> EntropyError {
    EntropyError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}

/// The bytes of a secret file, `None` when there is no such file.
fn read_secret(path: &Path) -> Result<Option<Vec<u8>>, EntropyError> {
    let error = |source| EntropyError::File { verb: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(error(e)),
    };
    // Asked of the open file, not of the name, so that what is checked is what is read.
    let mode = file.metadata().map_err(error)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(EntropyError::Mode { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes).map_err(error)?;
    Ok(Some(bytes))
}

/// Makes a secret file whole or not at all. One that appeared meanwhile is left as it is, which is not an error: the caller
/// reads back what is there.
fn create_secret(path: &Path, bytes: &[u8]) -> Result<(), EntropyError> {
    let error = |source| EntropyError::File { verb: "write", path: path.to_owned(), source };
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let suffix = hex(&seed()?[..8]);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = directory.join(format!(".{name}.{suffix}"));
    let written = write_draft(&draft, bytes).and_then(|()| match fs::hard_link(&draft, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Some file systems have no hard links; there the first start of a directory is not raced by two processes anyway.
        Err(_) if !path.exists() => fs::rename(&draft, path),
        other => other,
    });
    // After a rename there is no draft left, which is as good as removed.
    let _ = fs::remove_file(&draft);
    written.map_err(error)?;
    File::open(directory).and_then(|d| d.sync_all()).map_err(error)
}

fn write_draft(draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(SECRET_MODE).open(draft)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let data = tempfile::tempdir().unwrap();
        assert!(NodeKey::load(data.path()).unwrap().is_none());
        let first = NodeKey::load_or_create(data.path()).unwrap();
        let again = NodeKey::load_or_create(data.path()).unwrap();
        assert_eq!(first.public(), again.public());
        let mode = fs::metadata(data.path().join(NODE_KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "no draft stays");
        assert_ne!(ZoneKey::load_or_create(data.path()).unwrap().public(), first.public());
    }

    #[test]
    fn a_key_others_may_read_is_refused_with_the_path() {
        let data = tempfile::tempdir().unwrap();
        NodeKey::load_or_create(data.path()).unwrap();
        let path = data.path().join(NODE_KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = NodeKey::load_or_create(data.path()).unwrap_err().to_string();
        assert!(error.contains("node.key has mode 0640") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn every_flipped_bit_of_a_key_is_noticed() {
        let data = tempfile::tempdir().unwrap();
        let key = NodeKey::load_or_create(data.path()).unwrap();
        let path = data.path().join(NODE_KEY_FILE);
        let whole = fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match KeyPair::from_der(&bytes, &path) {
                Err(e) => assert!(e.to_string().contains("node.key is damaged"), "{e}"),
                Ok(other) => assert_eq!(other.0.to_bytes(), key.signing_key().to_bytes(), "bit {bit}"),
            }
        }
        for length in 0..whole.len() {
            assert!(KeyPair::from_der(&whole[..length], &path).is_err());
        }
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(ZONE_KEY_FILE);
        write_draft(&path, b"not a key").unwrap();
        assert!(ZoneKey::load_or_create(data.path()).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"not a key");
    }

    #[test]
    fn a_token_is_kept_and_matches_only_itself() {
        let data = tempfile::tempdir().unwrap();
        let token = AdminToken::load_or_create(data.path()).unwrap();
        assert_eq!(token.reveal().len(), 64);
        assert!(AdminToken::load_or_create(data.path()).unwrap().matches(token.reveal()));
        assert!(!token.matches("") && !token.matches(&token.reveal()[1..]));
        assert!(!AdminToken::memory().unwrap().matches(token.reveal()));
        assert!(!format!("{token:?}").contains(token.reveal()));
    }

    #[test]
    fn an_unwritable_place_is_named() {
        let error = NodeKey::load_or_create(Path::new("/nonexistent/data")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/data/node.key"), "{error}");
    }
}
