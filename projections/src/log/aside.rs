//! What is kept beside the log of a record with personal data, for a while: sealed under the record's key, so that erasing
//! the record makes it unreadable wherever it lies.

use domain::RecordRef;
use sqlx::PgConnection;

use super::cipher::{OpenError, Place};
use super::keys::{Keys, Known};
use crate::files::FileCipher;

/// Where such a text lies. What is sealed for one place opens at no other.
#[derive(Clone, Copy, Debug)]
pub struct Aside<'a> {
    /// The record that it belongs to.
    pub record: RecordRef,
    /// What it is; never the name of an event.
    pub what: &'a str,
    /// Which of those.
    pub number: i64,
}

/// Why such a text cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AsideError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The record was erased, or has no key.
    #[error("the key of {0} is gone")]
    NoKey(RecordRef),
    /// It does not open.
    #[error(transparent)]
    Sealed(#[from] OpenError),
}

impl Keys {
    /// Seals a text.
    ///
    /// # Errors
    /// [`AsideError::NoKey`] when the record was erased.
    pub async fn seal_aside(
        &self,
        db: &mut PgConnection,
        aside: Aside<'_>,
        text: &str,
    ) -> Result<String, AsideError> {
        let id = aside.record.id().to_string();
        let kind = aside.record.kind();
        let ring = self.ring(db, std::iter::once((kind, &*id))).await?;
        match ring.get(kind, &id) {
            Some(Known::Key(key)) => Ok(key.seal(place(&aside, &id), text)),
            Some(Known::Shut(master)) => Err(OpenError::Wrapped(master.clone()).into()),
            Some(Known::Destroyed) | None => Err(AsideError::NoKey(aside.record)),
        }
    }

    /// Opens a text that was sealed at this place.
    ///
    /// # Errors
    /// [`AsideError::NoKey`] when the record was erased since.
    pub async fn open_aside(
        &self,
        db: &mut PgConnection,
        aside: Aside<'_>,
        sealed: &str,
    ) -> Result<String, AsideError> {
        let id = aside.record.id().to_string();
        let kind = aside.record.kind();
        let ring = self.ring(db, std::iter::once((kind, &*id))).await?;
        let opened = ring.open(kind, place(&aside, &id), sealed)?;
        opened.ok_or(AsideError::NoKey(aside.record))
    }

    /// What enciphers the file of this name that belongs to a record.
    ///
    /// # Errors
    /// [`AsideError::NoKey`] when the record was erased, or nothing of it was ever sealed.
    pub async fn file_cipher(
        &self,
        db: &mut PgConnection,
        record: RecordRef,
        name: &str,
    ) -> Result<FileCipher, AsideError> {
        let id = record.id().to_string();
        let ring = self.ring(db, std::iter::once((record.kind(), &*id))).await?;
        match ring.get(record.kind(), &id) {
            Some(Known::Key(key)) => Ok(FileCipher::of(key.bytes(), name)),
            Some(Known::Shut(master)) => Err(OpenError::Wrapped(master.clone()).into()),
            Some(Known::Destroyed) | None => Err(AsideError::NoKey(record)),
        }
    }
}

fn place<'a>(aside: &Aside<'a>, id: &'a str) -> Place<'a> {
    Place {
        aggregate_type: aside.record.kind().as_str(),
        aggregate_id: id,
        sequence: aside.number,
        event_type: aside.what,
    }
}
