//! The master key: what the keys of all streams and the secrets of webhooks are wrapped under, and the file that it is in.
//!
//! Whoever loses it loses every person and every note. It is never in the database, so a copy of the database alone says
//! nothing of either.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::cipher::{self, KeyBytes, StreamKey};

/// The form in which stream keys are wrapped.
const WRAPPED: u8 = 1;

/// The key that all others are wrapped under.
pub struct MasterKey {
    id: String,
    bytes: KeyBytes,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

impl MasterKey {
    /// A new one.
    pub fn generate() -> Self {
        Self::from_bytes(cipher::draw_key())
    }

    fn from_bytes(bytes: KeyBytes) -> Self {
        let hash = Sha256::new().chain_update("crm master key").chain_update(*bytes).finalize();
        Self { id: hex::encode(&hash[..8]), bytes }
    }

    /// Reads it from text: 32 bytes in base64. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64.decode(text.trim()).ok()?);
        Some(Self::from_bytes(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// As text. Not for logs, errors or answers.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(*self.bytes))
    }

    /// Names it without saying anything of it: the beginning of its hash.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A stream's key as it may be stored.
    pub(super) fn wrap(&self, kind: &str, id: &str, key: &StreamKey) -> Vec<u8> {
        cipher::seal(&self.bytes, WRAPPED, key.bytes(), &owner(kind, id))
    }

    /// The key that was wrapped for this stream; `None` if it was altered, moved, or wrapped under another master key.
    pub(super) fn unwrap(&self, kind: &str, id: &str, wrapped: &[u8]) -> Option<StreamKey> {
        let bytes =
            cipher::open(&self.bytes, wrapped.to_vec(), &owner(kind, id)).map(Zeroizing::new)?;
        Some(StreamKey::from_bytes(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// What a webhook signs with as it may be stored.
    pub(crate) fn wrap_secret(&self, webhook: i32, secret: &[u8]) -> Vec<u8> {
        cipher::seal(&self.bytes, WRAPPED, secret, &receiver(webhook))
    }

    /// The secret that was wrapped for this webhook; `None` if it was altered, moved, or wrapped under another master key.
    pub(crate) fn unwrap_secret(&self, webhook: i32, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        cipher::open(&self.bytes, wrapped.to_vec(), &receiver(webhook)).map(Zeroizing::new)
    }
}

fn owner(kind: &str, id: &str) -> Vec<u8> {
    [b"crm stream key\0", kind.as_bytes(), b"\0", id.as_bytes()].concat()
}

fn receiver(webhook: i32) -> Vec<u8> {
    format!("crm webhook secret\0{webhook}").into_bytes()
}

/// Why there is no master key to work with. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file cannot be read or written.
    #[error("the master key in `{}` cannot be {action}: {source}", path.display())]
    File {
        /// Its name.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("`{}` holds no master key (32 bytes in base64): restore it from a backup", .0.display())]
    Malformed(PathBuf),
    /// The database has keys, and the file is gone.
    #[error(
        "the people and notes of this database are encrypted under the master key {id}, and `{}` is not there: restore it \
         from a backup, or set CRM_MASTER_KEY; without it they cannot be read by anybody", path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// Which one is wanted.
        id: String,
    },
    /// It is the key of another database, or an old one.
    #[error(
        "the people and notes of this database are encrypted under the master key {wanted}, and {origin} is {found}: \
         give crm the one that fits, from a backup if need be"
    )]
    Other {
        /// Which one is wanted.
        wanted: String,
        /// Which one was given.
        found: String,
        /// Where that comes from.
        origin: String,
    },
}

/// The file with the master key, and the one that waits beside it to take its place.
#[derive(Clone, Debug)]
pub struct MasterFile(PathBuf);

impl MasterFile {
    /// The file in a data folder.
    pub fn below(data_dir: &Path) -> Self {
        Self(data_dir.join("keys").join("master.key"))
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn waiting(&self) -> Self {
        Self(self.0.with_extension("key.next"))
    }

    /// What it holds; `None` if there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, or holds no key.
    pub fn read(&self) -> Result<Option<MasterKey>, MasterKeyError> {
        let mut text = Zeroizing::new(String::new());
        match File::open(&self.0).and_then(|mut file| file.read_to_string(&mut text)) {
            Ok(_) => MasterKey::parse(&text)
                .map(Some)
                .ok_or_else(|| MasterKeyError::Malformed(self.0.clone())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read")(error)),
        }
    }

    /// The key with this name, in its place or about to take it.
    ///
    /// # Errors
    /// As [`MasterFile::read`].
    pub fn find(&self, id: &str) -> Result<Option<MasterKey>, MasterKeyError> {
        for file in [self, &self.waiting()] {
            if let Some(key) = file.read()?.filter(|key| key.id() == id) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// The key that fits a database: a rotation that was killed between the database and the file is completed.
    ///
    /// # Errors
    /// When there is none, or another one.
    pub fn fitting(&self, wanted: &str) -> Result<MasterKey, MasterKeyError> {
        let found = self.read()?;
        match found {
            Some(key) if key.id() == wanted => return Ok(key),
            _ => {}
        }
        match self.waiting().read()? {
            Some(key) if key.id() == wanted => {
                self.take_over()?;
                Ok(key)
            }
            _ => Err(match found {
                None => MasterKeyError::Missing { path: self.0.clone(), id: wanted.to_owned() },
                Some(key) => MasterKeyError::Other {
                    wanted: wanted.to_owned(),
                    found: key.id().to_owned(),
                    origin: format!("the one in `{}`", self.0.display()),
                },
            }),
        }
    }

    /// Makes the file with a new key, unless somebody was faster; then with theirs. It is on the disk before this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make(&self) -> Result<MasterKey, MasterKeyError> {
        if let Some(key) = self.read()? {
            return Ok(key);
        }
        let fresh = Self(self.0.with_extension(format!("key.new-{}", std::process::id())));
        fresh.write(&MasterKey::generate())?;
        // Unlike a rename, a link does not replace what is there.
        let linked = fs::hard_link(&fresh.0, &self.0);
        fs::remove_file(&fresh.0).map_err(fresh.failed("removed"))?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(self.failed("written")(error));
            }
            _ => self.sync_folder()?,
        }
        self.read()?.ok_or_else(|| MasterKeyError::Malformed(self.0.clone()))
    }

    /// Writes the key that is to take its place, and waits for the disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn prepare(&self, next: &MasterKey) -> Result<(), MasterKeyError> {
        self.waiting().write(next)
    }

    /// Puts the prepared key in its place.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn take_over(&self) -> Result<(), MasterKeyError> {
        fs::rename(&self.waiting().0, &self.0).map_err(self.failed("replaced"))?;
        self.sync_folder()
    }

    fn write(&self, key: &MasterKey) -> Result<(), MasterKeyError> {
        let write = || {
            let folder = self.0.parent().unwrap_or(Path::new("."));
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&self.0)?;
            file.write_all(key.expose().as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        };
        write().map_err(self.failed("written"))?;
        self.sync_folder()
    }

    /// Makes what was done to names survive a crash of the machine: in the folder, and of the folder itself.
    fn sync_folder(&self) -> Result<(), MasterKeyError> {
        let folders = self.0.ancestors().skip(1).take(2);
        folders
            .filter(|folder| !folder.as_os_str().is_empty())
            .try_for_each(|folder| File::open(folder)?.sync_all())
            .map_err(self.failed("written"))
    }

    fn failed(&self, action: &'static str) -> impl Fn(std::io::Error) -> MasterKeyError {
        let path = self.0.clone();
        move |source| MasterKeyError::File { path: path.clone(), action, source }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = MasterFile::below(folder.path());
        assert!(file.read().unwrap().is_none());
        let key = file.make().unwrap();
        assert_eq!(file.make().unwrap().id(), key.id());
        assert_eq!(MasterKey::parse(&key.expose()).unwrap().id(), key.id());
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(file.path(), "something else").unwrap();
        assert!(matches!(file.make(), Err(MasterKeyError::Malformed(_))));
    }

    #[test]
    fn a_rotation_that_was_killed_is_completed_or_was_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = MasterFile::below(folder.path());
        let (old, next) = (file.make().unwrap(), MasterKey::generate());
        file.prepare(&next).unwrap();
        // Killed before the database knew of it.
        assert_eq!(file.fitting(old.id()).unwrap().id(), old.id());
        // Killed after.
        assert_eq!(file.fitting(next.id()).unwrap().id(), next.id());
        assert_eq!(file.read().unwrap().unwrap().id(), next.id());
        let error = file.fitting(old.id()).unwrap_err().to_string();
        assert!(error.contains(old.id()) && error.contains(next.id()), "{error}");
        fs::remove_file(file.path()).unwrap();
        let error = file.fitting(old.id()).unwrap_err().to_string();
        assert!(error.contains("is not there: restore it"), "{error}");
    }

    #[test]
    fn a_wrapped_key_belongs_to_one_stream_and_one_master_key() {
        let (master, key) = (MasterKey::generate(), StreamKey::generate());
        let wrapped = master.wrap("person", "7", &key);
        assert_eq!(master.unwrap("person", "7", &wrapped).unwrap().bytes(), key.bytes());
        assert!(master.unwrap("person", "8", &wrapped).is_none());
        assert!(master.unwrap("note", "7", &wrapped).is_none());
        assert!(MasterKey::generate().unwrap("person", "7", &wrapped).is_none());
    }

    #[test]
    fn a_wrapped_secret_belongs_to_one_webhook_and_one_master_key() {
        let master = MasterKey::generate();
        let wrapped = master.wrap_secret(7, b"what it signs with");
        assert!(!wrapped.windows(4).any(|part| part == b"what"));
        assert_eq!(**master.unwrap_secret(7, &wrapped).unwrap(), *b"what it signs with");
        assert!(master.unwrap_secret(8, &wrapped).is_none());
        assert!(master.unwrap("webhook", "7", &wrapped).is_none());
        assert!(MasterKey::generate().unwrap_secret(7, &wrapped).is_none());
    }
}
