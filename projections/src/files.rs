//! File storage for blobs, which never enter the log: a folder of this machine, or a bucket of S3.
//!
//! Both hold the same files under the same keys, so that one can be copied into the other:
//!
//! | Key | What |
//! |---|---|
//! | `files/ab/<sha256>` | a document, named by its content and shared by all that name it |
//! | `images/<name>` | a picture of imported notes, under the name that notes know |
//! | `recordings/<uuid>` | a recording, which belongs to one note, enciphered under a key of that note's |
//!
//! Buckets alone, and not necessarily the same one, hold `seals/<log>/…`: exported seals under a lock.

mod bucket;
mod cipher;
mod content;
mod error;
mod folder;
mod marked;
mod watched;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::Document;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt as _;

pub use bucket::{Bucket, BucketOptions, Lock, LockError, LockMode};
pub use cipher::FileCipher;
pub use content::{Content, gather, media_type, mistaken, verified};
pub use error::FileError;
pub use folder::Folder;
pub use marked::MarkedFolder;
pub use watched::FileTrouble;
use watched::Watched;

/// Where documents are.
pub const DOCUMENTS: &str = "files/";
/// Where the pictures of notes are.
pub const IMAGES: &str = "images/";
/// Where recordings are.
pub const RECORDINGS: &str = "recordings/";

/// What may be on a disk of its own.
const PLACES: [&str; 3] = [DOCUMENTS, IMAGES, RECORDINGS];

/// What a chunk of a growing file should have, in bytes. S3 takes no smaller parts but the last, and 10,000 of them.
pub const CHUNK: usize = 5 << 20;

/// The file storage of an installation. Clones share it.
#[derive(Clone, Debug)]
pub struct Files {
    store: Watched,
}

/// A place that keeps files by key.
///
/// Keys are relative paths of plain parts; each implementation refuses others.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The same for those who do not wait longer than this for a sign of life.
    fn with_patience(&self, patience: Duration) -> Arc<dyn Store>;

    /// Stores a file in place of what was there. It appears whole or not at all, and then survives a crash.
    async fn put(&self, key: &str, content: Bytes) -> Result<(), FileError>;

    /// What is known of a file; `None` if there is none.
    async fn facts(&self, key: &str) -> Result<Option<Facts>, FileError>;

    /// The bytes of a file from `range.start` up to `range.end` or its end.
    ///
    /// # Errors
    /// [`FileError::Missing`] when there is no such file.
    async fn read(&self, key: &str, range: Range<u64>) -> Result<Content, FileError>;

    /// Removes a file, and whatever is stored of it while it grows. It need not be there.
    async fn remove(&self, key: &str) -> Result<(), FileError>;

    /// Everything whose key begins with this, also what is stored of files that grow.
    async fn list(
        &self,
        prefix: &str,
    ) -> Result<BoxStream<'_, Result<Facts, FileError>>, FileError>;

    /// Stores the next chunk of a growing file so that it survives a crash. What was stored after the `growth` that is
    /// given, by somebody who died before he could note it, is overwritten.
    async fn grow(&self, key: &str, growth: &Growth, chunk: Bytes) -> Result<Growth, FileError>;

    /// Makes a file of what has grown. Doing it again changes nothing.
    async fn complete(&self, key: &str, growth: &Growth) -> Result<(), FileError>;

    /// A URL under which anybody may read the file for this long, if the store has such.
    async fn link(
        &self,
        key: &str,
        shown: &Shown,
        lifetime: Duration,
    ) -> Result<Option<String>, FileError>;

    /// Whether files can be stored here as far as is known without storing one.
    async fn check(&self) -> Result<(), FileError>;

    /// The places that may be on disks of their own, each with what its keys begin with.
    fn places(&self) -> &'static [&'static str];

    /// Whether files can be stored in such a place, found out by storing a little of nothing, which is gone at once. A `whole`
    /// chunk of it is stored where anything less may find room that a file does not.
    async fn probe(&self, place: &'static str, whole: bool) -> Result<(), FileError>;

    /// Whether this is the store that is meant, as far as that can be told at once: it is asked every few seconds.
    ///
    /// # Errors
    /// [`FileError::OtherFolder`] when it is not, and when that is not known.
    async fn recognise(&self) -> Result<(), FileError> {
        Ok(())
    }

    /// Whether what it does not have under such a key is lost: it is known to be where the files of the database were put.
    fn is_known(&self, _key: &str) -> bool {
        false
    }
}

/// What a store knows of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where it is.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// When it was stored, or grew last.
    pub modified: DateTime<Utc>,
}

/// How a file that is read under a link presents itself.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What it is.
    pub media_type: String,
    /// `Content-Disposition`.
    pub disposition: String,
}

/// How far a file has grown. Whoever lets it grow keeps this after each chunk, and can then go on at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// How many bytes are stored.
    pub size: u64,
    /// What S3 calls the upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
    /// The tags of its parts, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<String>,
    /// The pieces behind them, each by where it begins, which together are too short for a part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pieces: Vec<Range<u64>>,
}

impl Files {
    /// Keeps files in a folder, which is made when the first file comes.
    pub fn folder(folder: impl Into<std::path::PathBuf>) -> Self {
        Self { store: Watched::new(Folder::new(folder)) }
    }

    /// Likewise, in a folder that is known by its mark.
    pub fn marked(folder: MarkedFolder) -> Self {
        Self { store: Watched::new(folder) }
    }

    /// Keeps files in a bucket.
    pub fn bucket(bucket: Bucket) -> Self {
        Self { store: Watched::new(bucket) }
    }

    /// The same files for those who do not wait longer than this for a sign of life: that a file is found, that some more of
    /// it comes, that some of what is sent is taken. A store that is silent for so long counts as one that does not answer.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self { store: self.store.patient(patience) }
    }

    /// Where files are kept.
    pub fn store(&self) -> &dyn Store {
        &self.store
    }

    /// Where no files can be stored, as far as is known by the last write.
    pub fn troubles(&self) -> Vec<FileTrouble> {
        self.store.troubles()
    }

    /// What a [`FileTrouble`] may be of.
    pub fn places(&self) -> impl Iterator<Item = &'static str> {
        self.store.kept()
    }

    /// Tries whether files can be stored: [`troubles`](Self::troubles) tells where not. For now and then: it writes.
    pub async fn probe(&self) {
        self.store.probe().await;
    }

    /// What is known of a file; `None` if there is none.
    ///
    /// # Errors
    /// When the store does not answer, or refuses crm.
    pub async fn facts(&self, key: &str) -> Result<Option<Facts>, FileError> {
        self.store.facts(key).await
    }

    /// Stores a document so that it survives a crash, and names it. Storing it again changes nothing.
    ///
    /// # Errors
    /// When the store cannot be written, for instance because it is full.
    pub async fn put(&self, content: &[u8], media_type: &str) -> Result<Document, FileError> {
        let sha256 = hex::encode(Sha256::digest(content));
        let (key, size) = (document_key(&sha256)?, content.len() as u64);
        let there = self.facts(&key).await?;
        // One that nothing names may be removed once it is a day old: storing it again makes it young.
        let fresh = Utc::now() - Duration::from_secs(3600);
        if there.is_none_or(|there| there.size != size || there.modified < fresh) {
            self.store.put(&key, Bytes::copy_from_slice(content)).await?;
        }
        Ok(Document::Stored { sha256, size, media_type: media_type.to_owned() })
    }

    /// The document with this hash.
    ///
    /// # Errors
    /// When there is no such file, it cannot be read, or its content no longer has this hash.
    pub async fn get(&self, sha256: &str) -> Result<Vec<u8>, FileError> {
        let key = document_key(sha256)?;
        let content = self.whole(&key).await?;
        let found = hex::encode(Sha256::digest(&content));
        match found == sha256 {
            true => Ok(content),
            false => Err(FileError::Damaged { key, what: format!("its hash is {found}") }),
        }
    }

    /// All of a file that is known to be small.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be read.
    pub async fn whole(&self, key: &str) -> Result<Vec<u8>, FileError> {
        gather(self.read(key, 0..u64::MAX, None).await?).await
    }

    /// The bytes of a file from `range.start` up to `range.end` or its end, deciphered if it is enciphered.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be read.
    pub async fn read(
        &self,
        key: &str,
        range: Range<u64>,
        cipher: Option<FileCipher>,
    ) -> Result<Content, FileError> {
        let start = range.start;
        let content = self.store.read(key, range).await?;
        Ok(match cipher {
            Some(cipher) => cipher.decipher(start, content),
            None => content,
        })
    }

    /// A copy of a file on this machine, for those who must jump about in it. It has no name: however the process ends that
    /// holds it, nothing is left of it.
    ///
    /// # Errors
    /// When there is no such file, it does not have this SHA-256 (in hexadecimal), or the copy cannot be written
    /// ([`FileError::NoCopy`]).
    pub async fn copy(
        &self,
        key: &str,
        sha256: &str,
        cipher: Option<FileCipher>,
    ) -> Result<std::fs::File, FileError> {
        let mut content = self.read(key, 0..u64::MAX, cipher).await?;
        let folder = std::env::temp_dir();
        let failed = |error| FileError::of_copying(&error, &folder);
        let mut file = tokio::fs::File::from_std(tempfile::tempfile_in(&folder).map_err(failed)?);
        let mut hash = Sha256::new();
        while let Some(piece) = content.try_next().await? {
            hash.update(&piece);
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        let found = hex::encode(hash.finalize());
        if found != sha256 {
            let what = format!("its hash is {found}");
            return Err(FileError::Damaged { key: key.to_owned(), what });
        }
        Ok(file.into_std().await)
    }

    /// The SHA-256 of a file, however large, in hexadecimal.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be read.
    pub async fn sha256(&self, key: &str, cipher: Option<FileCipher>) -> Result<String, FileError> {
        let content = self.read(key, 0..u64::MAX, cipher).await?;
        let hash =
            content.try_fold(Sha256::new(), async |hash, piece| Ok(hash.chain_update(&piece)));
        Ok(hex::encode(hash.await?.finalize()))
    }
}

/// The key of the document with this SHA-256.
///
/// # Errors
/// [`FileError::NoKey`] when it is none.
pub fn document_key(sha256: &str) -> Result<String, FileError> {
    let well_formed = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    match well_formed {
        true => Ok(format!("{DOCUMENTS}{}/{sha256}", &sha256[..2])),
        false => Err(FileError::NoKey(sha256.to_owned())),
    }
}

/// Refuses keys that could lead out of the store, or that a store uses for itself.
fn check_key(key: &str) -> Result<(), FileError> {
    let plain =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    match !key.is_empty() && key.len() <= 900 && key.split('/').all(plain) {
        true => Ok(()),
        false => Err(FileError::NoKey(key.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_lead_out_of_the_store() {
        for key in ["files/ab/abc", "images/foto de Lima.webp", "recordings/x.part"] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        for key in ["", "/etc/passwd", "images/../crm.db", "images//x", "images/", "a\0b", "."] {
            assert!(check_key(key).is_err(), "{key}");
        }
        assert!(document_key("../../../etc/passwd").is_err());
    }

    #[test]
    fn how_far_a_file_has_grown_is_kept_in_a_form_that_never_changes() {
        let check = |growth: Growth, stored: serde_json::Value| {
            assert_eq!(serde_json::to_value(&growth).unwrap(), stored);
            assert_eq!(serde_json::from_value::<Growth>(stored).unwrap(), growth);
        };
        check(Growth { size: 7, ..Growth::default() }, serde_json::json!({"size": 7}));
        let pieces = std::iter::once(5..7).collect();
        let growth = Growth { size: 7, ticket: Some("t".into()), parts: vec!["e".into()], pieces };
        check(
            growth,
            serde_json::json!({"size": 7, "ticket": "t", "parts": ["e"],
                "pieces": [{"start": 5, "end": 7}]}),
        );
    }
}
