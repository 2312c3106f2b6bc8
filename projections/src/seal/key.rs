//! The key that checkpoints are signed with, and its public half as others get it.

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file is there, but cannot be used.
    #[error(
        "{} cannot be read ({reason}); put it back from a backup, or move it away to have a new key made", .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A new one cannot be kept.
    #[error("a key cannot be kept in {} ({source}); make the folder writable, or set CRM_SEAL_KEY", .folder.display())]
    Unwritable {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The system has no random numbers.
    #[error("no key can be made: {0}")]
    Random(String),
    /// The text is no key.
    #[error("a seal key is 32 random bytes in base64 (openssl rand -base64 32)")]
    Malformed,
    /// The text is no public key.
    #[error(
        "`{0}` is no public key of a log; `crm seal status` prints it as crm/<log>+<8 digits>+<base64>"
    )]
    NoPublicKey(String),
}

/// A private key.
pub struct SealKey(SigningKey);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(***)")
    }
}

impl SealKey {
    /// The file in the folder for keys.
    pub const FILE: &str = "seal.key";

    /// The key that is kept in a folder, made now if there is none. Several processes may try at once.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        if let Some(key) = Self::find(folder)? {
            return Ok(key);
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| KeyError::Random(error.to_string()))?;
        keep(folder, &format!("{}\n", BASE64.encode(seed)))
            .map_err(|source| KeyError::Unwritable { folder: folder.to_owned(), source })?;
        tracing::info!(file = %folder.join(Self::FILE).display(), "made a key to seal the log with");
        // Whoever was first made the one that holds.
        Self::find(folder)?.ok_or(KeyError::Malformed)
    }

    /// The key that is kept in a folder, if there is one.
    ///
    /// # Errors
    /// When there is a file that is no key.
    pub fn find(folder: &Path) -> Result<Option<Self>, KeyError> {
        let path = folder.join(Self::FILE);
        let unreadable = |reason: String| KeyError::Unreadable { path: path.clone(), reason };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let key = text.parse().map_err(|error: KeyError| unreadable(error.to_string()))?;
        let readable =
            std::fs::metadata(&path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
        if readable {
            tracing::warn!(file = %path.display(), "others may read the key that the log is sealed with: chmod 600");
        }
        Ok(Some(key))
    }

    /// Its public half.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs a text.
    pub fn sign(&self, text: &str) -> [u8; 64] {
        self.0.sign(text.as_bytes()).to_bytes()
    }
}

impl FromStr for SealKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let seed = BASE64.decode(text.trim()).map_err(|_| KeyError::Malformed)?;
        let seed: [u8; 32] = seed.try_into().map_err(|_| KeyError::Malformed)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }
}

/// Puts the text into the key file, whole and for good, unless there is one by now.
fn keep(folder: &Path, text: &str) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // For its owner only, as all temporary files.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(folder.join(SealKey::FILE)) {
        Ok(_) => std::fs::File::open(folder)?.sync_all(),
        Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(other) => Err(other.error),
    }
}

/// The public half of a key that seals a certain log, in the form of the C2SP signed-note format:
/// `crm/<log>+<key id>+<base64>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// `crm/<log>`.
    pub origin: String,
    /// The key's bytes; as they come, so they may be none.
    pub key: [u8; 32],
}

/// The type of Ed25519 keys among those of signed notes.
const ED25519: u8 = 1;

impl PublicKey {
    /// A key of this log.
    pub fn of(log: Uuid, key: [u8; 32]) -> Self {
        Self { origin: origin(log), key }
    }

    /// The four bytes by which a signature tells which key made it.
    pub fn id(&self) -> [u8; 4] {
        let hash = Sha256::new_with_prefix(&self.origin).chain_update([b'\n', ED25519]);
        let hash = hash.chain_update(self.key).finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Whether it made this signature of this text.
    pub fn has_signed(&self, text: &str, signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        let key = VerifyingKey::from_bytes(&self.key);
        key.is_ok_and(|key| key.verify_strict(text.as_bytes(), &signature).is_ok())
    }
}

/// What a log is called in what is signed of it.
pub fn origin(log: Uuid) -> String {
    format!("crm/{log}")
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(&self.key);
        write!(f, "{}+{}+{}", self.origin, hex::encode(self.id()), BASE64.encode(bytes))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let parse = || {
            let mut parts = text.trim().splitn(3, '+');
            let (origin, id, bytes) = (parts.next()?, parts.next()?, parts.next()?);
            let bytes = BASE64.decode(bytes).ok()?;
            let key: [u8; 32] = bytes.strip_prefix(&[ED25519])?.try_into().ok()?;
            let public = Self { origin: origin.to_owned(), key };
            (hex::encode(public.id()) == id).then_some(public)
        };
        parse().ok_or_else(|| KeyError::NoPublicKey(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        assert!(SealKey::find(&keys).unwrap().is_none());
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let keys = keys.clone();
                std::thread::spawn(move || SealKey::open(&keys).unwrap().public())
            })
            .collect();
        let made: Vec<[u8; 32]> =
            threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(made.iter().all(|key| *key == made[0]), "all got the same");
        assert_eq!(SealKey::find(&keys).unwrap().unwrap().public(), made[0]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&keys), mode(&keys.join("seal.key"))), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("seal.key");
        std::fs::write(&file, "c2hvcnQ=\n").unwrap();
        let refused = SealKey::open(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("seal.key cannot be read"), "{refused}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "c2hvcnQ=\n");
    }

    #[test]
    fn a_public_key_is_written_as_signed_notes_have_it() {
        let key: SealKey = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=".parse().unwrap();
        let log = Uuid::from_u128(0x6372_6d00_0000_4000_8000_0000_0000_0001);
        let public = PublicKey::of(log, key.public());
        let text = "crm/63726d00-0000-4000-8000-000000000001+76366e3e+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
        assert_eq!(public.to_string(), text);
        assert_eq!(text.parse::<PublicKey>().unwrap(), public);
        let other = text.replace("crm/63726d00", "crm/63726d01");
        assert!(other.parse::<PublicKey>().is_err(), "a key is for one log");
        assert!(format!("{key:?}").contains("***"));
    }
}
