//! Files that the bucket itself keeps from being changed or removed until a day, by S3's object lock.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::{ByteStream, DateTime as Moment};
use aws_sdk_s3::types::{ObjectLockEnabled, ObjectLockMode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::{Bucket, time};
use crate::files::{FileError, check_key};

/// How firmly a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Who has a right of its own (`s3:BypassGovernanceRetention`) may end it earlier.
    Governance,
    /// Nobody may end it earlier, not even the owner of the bucket.
    Compliance,
}

/// A lock on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// How firm it is.
    pub mode: LockMode,
    /// It ends then; to the second.
    pub until: DateTime<Utc>,
}

/// Why a file is not kept under a lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The bucket, or its server, has no object lock.
    #[error(
        "the bucket {0} has no object lock: what is put there could be changed and removed. Name one that was made with it, as \
         `aws s3api create-bucket --object-lock-enabled-for-bucket` does"
    )]
    NoLock(String),
    /// It is stored, and a lock as it should be cannot be seen on it.
    #[error(
        "{0} is stored, but the server does not show the lock on it: it may know no object lock, or these keys may not read it \
         (s3:GetObjectRetention)"
    )]
    Unseen(String),
    /// The bucket failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Bucket {
    /// Whether what is put into the bucket is locked by itself, for a default time.
    ///
    /// # Errors
    /// [`LockError::NoLock`] when nothing in it can be locked; otherwise as the bucket fails.
    pub async fn locks_by_itself(&self) -> Result<bool, LockError> {
        const ABSENT: &[&str] =
            &["ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed"];
        let no_lock = || LockError::NoLock(self.name.clone());
        match self.client.get_object_lock_configuration().bucket(&self.name).send().await {
            Ok(found) => {
                let lock = found.object_lock_configuration.ok_or_else(no_lock)?;
                match lock.object_lock_enabled {
                    Some(ObjectLockEnabled::Enabled) => {
                        Ok(lock.rule.is_some_and(|rule| rule.default_retention.is_some()))
                    }
                    _ => Err(no_lock()),
                }
            }
            Err(error) => {
                let code = error.as_service_error().and_then(|error| error.code());
                match code.is_some_and(|code| ABSENT.contains(&code)) {
                    true => Err(no_lock()),
                    false => Err(self.failure(error, &self.name).into()),
                }
            }
        }
    }

    /// Stores a file under this lock, or under the one that the bucket gives by itself, and looks whether it is there. A
    /// file of that key stays beside it as an older version, as locked as it was. Tells the lock.
    ///
    /// # Errors
    /// When it is not stored, or a lock at least as long cannot be seen on it.
    pub async fn put_locked(
        &self,
        key: &str,
        content: Bytes,
        lock: Option<Lock>,
    ) -> Result<Lock, LockError> {
        check_key(key)?;
        // S3 wants a checksum for what it is to lock.
        let checksum = BASE64.encode(Sha256::digest(&content));
        let put = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(key)
            .checksum_sha256(checksum)
            .set_object_lock_mode(lock.map(|lock| lock.mode.into()))
            .set_object_lock_retain_until_date(
                lock.map(|it| Moment::from_secs(it.until.timestamp())),
            )
            .body(ByteStream::from(content));
        let stored = put.send().await.map_err(|error| self.failure(error, key))?;
        let head = self.client.head_object().bucket(&self.name).key(key);
        let seen = head.set_version_id(stored.version_id).send().await;
        let seen = seen.map_err(|error| self.failure(error, key))?;
        let mode = seen.object_lock_mode.and_then(LockMode::of);
        let until = seen.object_lock_retain_until_date.and_then(time);
        let seen = mode.zip(until).map(|(mode, until)| Lock { mode, until });
        let is_as_asked = |seen: &Lock| match lock {
            Some(lock) => {
                seen.mode == lock.mode && seen.until.timestamp() >= lock.until.timestamp()
            }
            None => seen.until > Utc::now(),
        };
        seen.filter(is_as_asked).ok_or_else(|| LockError::Unseen(key.to_owned()))
    }
}

impl LockMode {
    /// The mode that S3 calls so; `None` for one that is not known.
    fn of(mode: ObjectLockMode) -> Option<Self> {
        match mode {
            ObjectLockMode::Governance => Some(Self::Governance),
            ObjectLockMode::Compliance => Some(Self::Compliance),
            _ => None,
        }
    }
}

impl From<LockMode> for ObjectLockMode {
    fn from(mode: LockMode) -> Self {
        match mode {
            LockMode::Governance => ObjectLockMode::Governance,
            LockMode::Compliance => ObjectLockMode::Compliance,
        }
    }
}
