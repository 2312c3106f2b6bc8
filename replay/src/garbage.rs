//! Files that nothing names: uploads that were given up, recordings that were removed, documents whose command was refused.
//!
//! A file is stored before the event that names it, so young files are left alone, and so are uploads that may go on. What
//! is named is read from the whole log; where an event cannot be read, nothing at all is removed but uploads that were never
//! whole, which no event names.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use projections::database::Database;
use projections::files::{DOCUMENTS, FileError, Files, RECORDINGS};
use projections::uploads;
use serde::Serialize;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use uuid::Uuid;

use crate::named::Named;

/// The advisory lock of whoever collects: one at a time.
const GARBAGE_LOCK: i64 = 0x6372_6d5f_6763_0001;

/// How old a file must be before it can be garbage.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Garbage {
    /// Uploads that were not finished in time, or that no note has taken.
    pub uploads: u64,
    /// Recordings that no note has.
    pub recordings: u64,
    /// Documents that no event names, and what was left of storing one.
    pub documents: u64,
    /// How many bytes recordings and documents take.
    pub bytes: u64,
}

/// Why garbage was not collected.
#[derive(Debug, thiserror::Error)]
pub enum GarbageError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The file storage failed.
    #[error(transparent)]
    Files(#[from] FileError),
    /// What an event names is not known.
    #[error(
        "the event at position {0} cannot be read, so nobody knows which files it names: nothing was removed; \
         `crm verify` says more"
    )]
    Unreadable(i64),
    /// Somebody else is at it.
    #[error("another process is collecting")]
    Running,
}

/// Removes what nothing names and is older than `grace`; or only tells what that would be.
///
/// # Errors
/// See [`GarbageError`].
pub async fn collect(
    database: &Database,
    files: &Files,
    grace: Duration,
    dry_run: bool,
) -> Result<Garbage, GarbageError> {
    let mut db = database.options_for(&[]).connect().await?;
    let got: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(GARBAGE_LOCK)
        .fetch_one(&mut db)
        .await?;
    if !got {
        return Err(GarbageError::Running);
    }
    let mut found = Garbage::default();
    let expired = uploads::expired(&mut db).await?;
    for &id in &expired {
        found.uploads += 1;
        if !dry_run && uploads::give_up(&mut db, id).await? {
            remove_upload(&mut db, files, id).await?;
        }
    }
    let before = Utc::now() - grace;
    let mut old = Old::list(&mut db, files, before).await?;
    // What has come of them is counted with them, where it still lies there.
    old.recordings.retain(|id, _| !expired.contains(id));
    let untaken = uploads::untaken(&mut db).await?;
    if !old.is_empty() || !untaken.is_empty() {
        let named = Named::read(database, &mut db).await?;
        if let Some(&position) = named.unreadable.first() {
            return Err(GarbageError::Unreadable(position));
        }
        let named = named.keys();
        old.remove(&mut db, files, &named, before, dry_run, &mut found).await?;
        found.uploads += settle(&mut db, &named, &untaken, dry_run).await?;
    }
    db.close().await?;
    Ok(found)
}

/// Notes of the uploads that came wholly which of them the log names, and forgets the others. Tells how many these are.
///
/// The file of one that is forgotten is left for a later collection, which reads the log anew: the event that names it may
/// be on its way.
async fn settle(
    db: &mut PgConnection,
    named: &HashSet<String>,
    untaken: &[Uuid],
    dry_run: bool,
) -> Result<u64, GarbageError> {
    let mut forgotten = 0;
    for id in untaken {
        let is_named = named.contains(&uploads::key(*id));
        forgotten += u64::from(!is_named);
        match is_named {
            _ if dry_run => {}
            true => uploads::attached(db, *id).await?,
            false => uploads::forget_untaken(db, *id).await?,
        }
    }
    Ok(forgotten)
}

async fn remove_upload(db: &mut PgConnection, files: &Files, id: Uuid) -> Result<(), GarbageError> {
    files.store().remove(&uploads::key(id)).await?;
    uploads::forget(db, id).await?;
    Ok(())
}

/// The files that are old enough, each with its size.
#[derive(Default)]
struct Old {
    documents: HashMap<String, u64>,
    recordings: HashMap<Uuid, u64>,
}

impl Old {
    async fn list(
        db: &mut PgConnection,
        files: &Files,
        before: DateTime<Utc>,
    ) -> Result<Self, GarbageError> {
        let mut old = Self::default();
        let mut documents = files.store().list(DOCUMENTS).await?;
        while let Some(file) = documents.try_next().await? {
            if file.modified < before {
                old.documents.insert(file.key, file.size);
            }
        }
        let mut young = HashSet::new();
        let mut recordings = files.store().list(RECORDINGS).await?;
        while let Some(file) = recordings.try_next().await? {
            let Some(id) = uploads::upload_of(&file.key) else { continue };
            match file.modified < before {
                true => *old.recordings.entry(id).or_default() += file.size,
                false => _ = young.insert(id),
            }
        }
        let ids: Vec<Uuid> = old.recordings.keys().copied().collect();
        young.extend(uploads::unfinished(db, &ids).await?);
        old.recordings.retain(|id, _| !young.contains(id));
        Ok(old)
    }

    fn is_empty(&self) -> bool {
        self.documents.is_empty() && self.recordings.is_empty()
    }

    async fn remove(
        self,
        db: &mut PgConnection,
        files: &Files,
        named: &HashSet<String>,
        before: DateTime<Utc>,
        dry_run: bool,
        found: &mut Garbage,
    ) -> Result<(), GarbageError> {
        for (id, size) in self.recordings {
            if !named.contains(&uploads::key(id)) {
                (found.recordings, found.bytes) = (found.recordings + 1, found.bytes + size);
                if !dry_run {
                    remove_upload(db, files, id).await?;
                }
            }
        }
        for (key, size) in self.documents {
            // Storing it again, for an event that is on its way, has made it young.
            let is_old = files.store().facts(&key).await?.is_some_and(|it| it.modified < before);
            if is_old && !named.contains(&key) {
                (found.documents, found.bytes) = (found.documents + 1, found.bytes + size);
                if !dry_run {
                    files.store().remove(&key).await?;
                }
            }
        }
        Ok(())
    }
}
