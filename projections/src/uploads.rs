//! Recordings on their way into the file storage: what is known of each, and how far it has come.
//!
//! An upload outlives connections, servers and its sender's patience: `received` bytes are stored for good, and it goes on
//! from there. [`Intake`] takes in what is sent; when a file is whole, its note is told by a command, and only then does
//! the log name it. What is never finished expires; what has come wholly is no longer its sender's to give up.

mod checksum;
mod intake;

use chrono::{DateTime, Utc};
use domain::Kind;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::database::{Database, DatabaseError};
use crate::files::{FileCipher, FileError, Growth, RECORDINGS};
use crate::log::AsideError;

pub use checksum::Checksum;
pub use intake::{Intake, UploadError};

/// How many days an upload may rest before it is given up.
pub const LIFETIME_DAYS: i32 = 7;

/// What is said of a recording whose file is gone, which nobody can bring back but from a backup.
pub const LOST: &str = "the audio file is missing from the file storage: whoever runs crm should bring it back from a backup \
    of CRM_DATA_DIR or of the bucket; `crm files check` lists all that are missing";

/// A recording on its way.
#[derive(Clone, Debug, FromRow)]
pub struct Upload {
    /// Names it.
    pub id: Uuid,
    /// The note that it is for.
    pub note_id: i64,
    /// What its sender calls it.
    pub name: Option<String>,
    /// The language spoken in it, if the sender said so.
    pub language: Option<String>,
    /// Length in bytes, if the sender knows it.
    #[sqlx(rename = "size")]
    declared: Option<i64>,
    received: i64,
    growth: Json<Growth>,
    /// The SHA-256 that the sender promised, in hexadecimal.
    pub promised_sha256: Option<String>,
    /// The SHA-256 of what came, once it is whole.
    pub sha256: Option<String>,
    /// What it is by its bytes, once it is whole.
    pub media_type: Option<String>,
    /// What the note calls it, chosen once it is whole.
    pub recording_id: Option<i64>,
    /// When the note had it.
    pub attached_at: Option<DateTime<Utc>>,
    /// Whether it is stored enciphered under a key of its note's.
    pub sealed: bool,
    /// When it is given up if nothing more comes.
    pub expires_at: DateTime<Utc>,
}

impl Upload {
    /// The key of its file.
    pub fn key(&self) -> String {
        key(self.id)
    }

    /// Its length in bytes, if that is known.
    pub fn size(&self) -> Option<u64> {
        self.declared.map(i64::unsigned_abs)
    }

    /// How many bytes are stored for good.
    pub fn received(&self) -> u64 {
        self.received.unsigned_abs()
    }

    /// Whether all of it has come.
    pub fn has_all(&self) -> bool {
        self.declared == Some(self.received)
    }
}

/// The key of the file of an upload.
pub fn key(id: Uuid) -> String {
    format!("{RECORDINGS}{id}")
}

/// The upload that a key is about: that of its file, or of what is stored of it while it grows.
pub fn upload_of(key: &str) -> Option<Uuid> {
    let name = key.strip_prefix(RECORDINGS)?;
    Uuid::try_parse(name.get(..36)?).ok()
}

/// What a sender says of a recording before it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// What it is called.
    pub name: Option<String>,
    /// The language spoken in it.
    pub language: Option<String>,
    /// Its length in bytes.
    pub size: Option<u64>,
    /// Its SHA-256, in hexadecimal.
    pub sha256: Option<String>,
}

const COLUMNS: &str =
    "id, note_id, name, language, size, received, growth, promised_sha256, sha256, media_type,
    recording_id, attached_at, sealed, expires_at";

/// What enciphers the file of this name that belongs to a note; `None` if the note was erased, or has no key.
///
/// # Errors
/// When the key cannot be asked for, or does not open.
pub async fn cipher(
    database: &Database,
    note: i64,
    name: &str,
) -> Result<Option<FileCipher>, CipherError> {
    database.check()?;
    let (keys, record) = (database.keys(), Kind::Note.record(note));
    let asking = async {
        let mut connection = database.pool.acquire().await?;
        match keys.file_cipher(&mut connection, record, name).await {
            Err(AsideError::Database(error)) => Err(error),
            other => Ok(other),
        }
    };
    match database.ask(asking).await? {
        Ok(cipher) => Ok(Some(cipher)),
        Err(AsideError::NoKey(_)) => Ok(None),
        Err(error) => Err(FileError::Failed(error.to_string()).into()),
    }
}

/// Why a file cannot be deciphered.
#[derive(Debug, thiserror::Error)]
pub enum CipherError {
    /// Its key does not open.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Begins an upload; none if there is one already under this idempotency key.
///
/// # Errors
/// When the database fails.
pub async fn begin(
    db: &mut PgConnection,
    note: i64,
    announced: &Announcement,
    sealed: bool,
    request_key: Option<&str>,
) -> Result<Option<Upload>, sqlx::Error> {
    let statement = format!(
        "insert into upload (id, note_id, name, language, size, promised_sha256, expires_at, sealed, request_key)
         values ($1, $2, $3, $4, $5, $6, now() + make_interval(days => $7), $8, $9)
         on conflict (request_key) do nothing returning {COLUMNS}"
    );
    sqlx::query_as(&statement)
        .bind(Uuid::new_v4())
        .bind(note)
        .bind(&announced.name)
        .bind(&announced.language)
        .bind(announced.size.and_then(|size| i64::try_from(size).ok()))
        .bind(&announced.sha256)
        .bind(LIFETIME_DAYS)
        .bind(sealed)
        .bind(request_key)
        .fetch_optional(db)
        .await
}

/// The upload that was sent under this idempotency key.
///
/// # Errors
/// When the database fails.
async fn of_request(db: &mut PgConnection, key: &str) -> Result<Option<Uuid>, sqlx::Error> {
    let statement = "select id from upload where request_key = $1";
    sqlx::query_scalar(statement).bind(key).fetch_optional(db).await
}

/// The upload of this id, unless it has expired before it was whole.
///
/// # Errors
/// When the database fails.
pub async fn find(db: &mut PgConnection, id: Uuid) -> Result<Option<Upload>, sqlx::Error> {
    let statement = format!(
        "select {COLUMNS} from upload where id = $1 and (sha256 is not null or expires_at > now())"
    );
    sqlx::query_as(&statement).bind(id).fetch_optional(db).await
}

/// Says how long it is, if that was not known. Tells whether it is of that length now.
///
/// # Errors
/// When the database fails.
pub async fn declare(db: &mut PgConnection, id: Uuid, size: u64) -> Result<bool, sqlx::Error> {
    let Ok(size) = i64::try_from(size) else { return Ok(false) };
    let done = sqlx::query(
        "update upload set size = $2 where id = $1 and coalesce(size, $2) = $2 and received <= $2",
    );
    Ok(done.bind(id).bind(size).execute(db).await?.rows_affected() == 1)
}

/// Whether it still stands where it was when this was read, and may go on.
///
/// # Errors
/// When the database fails.
async fn stands(db: &mut PgConnection, upload: &Upload) -> Result<bool, sqlx::Error> {
    let statement = "select exists (select from upload
        where id = $1 and received = $2 and sha256 is null and expires_at > now())";
    sqlx::query_scalar(statement).bind(upload.id).bind(upload.received).fetch_one(db).await
}

/// Notes that it has grown. Tells whether nobody else has let it grow meanwhile.
///
/// # Errors
/// When the database fails.
async fn grown(
    db: &mut PgConnection,
    upload: &Upload,
    growth: &Growth,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "update upload set received = $3, growth = $4, expires_at = now() + make_interval(days => $5)
         where id = $1 and received = $2 and sha256 is null and expires_at > now()",
    );
    let received = growth.size.cast_signed();
    let done = done.bind(upload.id).bind(upload.received).bind(received).bind(Json(growth));
    Ok(done.bind(LIFETIME_DAYS).execute(db).await?.rows_affected() == 1)
}

/// Notes that it is whole, and what it is; none if it was given up meanwhile.
///
/// # Errors
/// When the database fails.
async fn whole(
    db: &mut PgConnection,
    id: Uuid,
    sha256: &str,
    media_type: &str,
) -> Result<Option<Upload>, sqlx::Error> {
    let statement = format!(
        "update upload set sha256 = $2, media_type = $3, growth = jsonb_build_object('size', received),
             recording_id = coalesce(recording_id, nextval('recording_id'))
         where id = $1 and (sha256 is not null or expires_at > now()) returning {COLUMNS}"
    );
    sqlx::query_as(&statement).bind(id).bind(sha256).bind(media_type).fetch_optional(db).await
}

/// Notes that its note has it.
///
/// # Errors
/// When the database fails.
pub async fn attached(db: &mut PgConnection, id: Uuid) -> Result<(), sqlx::Error> {
    let done = sqlx::query("update upload set attached_at = clock_timestamp() where id = $1");
    done.bind(id).execute(db).await?;
    Ok(())
}

/// Gives an upload up, unless all of it has come in time: from then on nothing more is taken in, and whatever is left of it
/// may be removed. Tells whether it is given up.
///
/// # Errors
/// When the database fails.
pub async fn give_up(db: &mut PgConnection, id: Uuid) -> Result<bool, sqlx::Error> {
    // So long ago that whoever lets it grow at this very moment, on another server, sees that it is over.
    let done = sqlx::query(
        "update upload set expires_at = to_timestamp(0)
         where id = $1 and sha256 is null and (size is distinct from received or expires_at <= now())",
    );
    Ok(done.bind(id).execute(db).await?.rows_affected() == 1)
}

/// Forgets an upload. Its file must be gone already, or it would never be removed.
///
/// # Errors
/// When the database fails.
pub async fn forget(db: &mut PgConnection, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("delete from upload where id = $1").bind(id).execute(db).await?;
    Ok(())
}

/// Forgets an upload that no note has taken. Its file stays, and is collected later if no event names it.
///
/// # Errors
/// When the database fails.
pub async fn forget_untaken(db: &mut PgConnection, id: Uuid) -> Result<(), sqlx::Error> {
    let done = sqlx::query("delete from upload where id = $1 and attached_at is null");
    done.bind(id).execute(db).await?;
    Ok(())
}

/// The uploads that have come wholly but are not attached: their server died, or the log could not be written. Those whose
/// hash is known are tried however long ago that was.
///
/// # Errors
/// When the database fails.
pub async fn unattached(db: &mut PgConnection) -> Result<Vec<Upload>, sqlx::Error> {
    let statement = format!(
        "select {COLUMNS} from upload
         where attached_at is null and received = size and (sha256 is not null or expires_at > now())
         order by created_at limit 100"
    );
    sqlx::query_as(&statement).fetch_all(db).await
}

/// The uploads that were never finished in time. No event names them: that comes after their hash.
///
/// # Errors
/// When the database fails.
pub async fn expired(db: &mut PgConnection) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar("select id from upload where sha256 is null and expires_at <= now()")
        .fetch_all(db)
        .await
}

/// The uploads that have come wholly and that no note is known to have, long after: an event may name them nevertheless.
///
/// # Errors
/// When the database fails.
pub async fn untaken(db: &mut PgConnection) -> Result<Vec<Uuid>, sqlx::Error> {
    let statement = "select id from upload
        where sha256 is not null and attached_at is null and expires_at <= now()";
    sqlx::query_scalar(statement).fetch_all(db).await
}

/// All uploads for these notes.
///
/// # Errors
/// When the database fails.
pub async fn of_notes(db: &mut PgConnection, notes: &[i64]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar("select id from upload where note_id = any($1)")
        .bind(notes)
        .fetch_all(db)
        .await
}

/// The keys of some recordings that notes have, the same ones each time.
///
/// # Errors
/// When the database fails.
pub(crate) async fn some_attached(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    // In the order of random numbers: old ones and new ones.
    let statement = "select id from upload where attached_at is not null order by id limit 20";
    let ids: Vec<Uuid> = sqlx::query_scalar(statement).fetch_all(pool).await?;
    Ok(ids.into_iter().map(key).collect())
}

/// Which of these uploads may still go on, or become recordings.
///
/// # Errors
/// When the database fails.
pub async fn unfinished(db: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    let statement = "select id from upload
        where id = any($1) and attached_at is null and (sha256 is not null or expires_at > now())";
    sqlx::query_scalar(statement).bind(ids).fetch_all(db).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_back_to_its_upload() {
        let id = Uuid::from_u128(7);
        assert_eq!(upload_of(&key(id)), Some(id));
        assert_eq!(upload_of(&format!("{}.part", key(id))), Some(id));
        assert_eq!(upload_of(&format!("{}.pieces/0000000000000000", key(id))), Some(id));
        assert_eq!(upload_of("recordings/song.mp3"), None);
        assert_eq!(upload_of("files/ab/abcd"), None);
    }
}
