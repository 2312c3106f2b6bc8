//! Files that nothing names: uploads that were given up, recordings that were removed, documents whose command was refused.
//!
//! A file is stored before the event that names it, so young files are left alone, and so are uploads that may go on. What
//! is named is read from the whole log; where an event cannot be read, nothing at all is removed but uploads that were never
//! whole, which no event names. And nothing at all is removed from a store whose files are another database's, see `owner.rs`.

mod owner;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use projections::database::{Database, DatabaseError};
use projections::files::{DOCUMENTS, FileError, Files, RECORDINGS};
use projections::seal::{SealError, Trust};
use projections::uploads;
use serde::Serialize;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use uuid::Uuid;

use crate::named::Named;
use owner::Owner;

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
    /// The database does not answer.
    #[error(transparent)]
    Unavailable(#[from] DatabaseError),
    /// The file storage failed.
    #[error(transparent)]
    Files(#[from] FileError),
    /// What an event names is not known.
    #[error(
        "the event at position {0} cannot be read, so nobody knows which files it names: nothing was removed; \
         `crm verify` says more"
    )]
    Unreadable(i64),
    /// The files are those of another database.
    #[error(
        "the files belong to the database {owner} (recordings/crm-owner.txt says so), and this is {this}, which therefore \
         removes nothing. If this database has taken the other one's place, `crm files adopt` makes it the owner"
    )]
    Others {
        /// What the other one is called.
        owner: String,
        /// What this one is called.
        this: String,
    },
    /// Nobody knows whether this is the log that it was.
    #[error(
        "{0}. Until then nothing is removed: an older log does not name the files that came after it"
    )]
    Doubtful(SealError),
    /// Nobody knows whose the files are.
    #[error(
        "{unnamed} of {files} files are named by no event, so they seem to belong to another database, and nothing was \
         removed. If they do not, `crm files adopt` makes this database the owner"
    )]
    Ownerless {
        /// How many files nothing names.
        unnamed: usize,
        /// Of how many.
        files: usize,
    },
    /// Somebody else is at it.
    #[error("another process is collecting")]
    Running,
}

impl GarbageError {
    /// For those who only use crm: the whole message may name hosts and folders.
    #[must_use]
    pub fn in_short(&self) -> &'static str {
        match self {
            GarbageError::Others { .. } => {
                "the files belong to another database; `crm status` says more"
            }
            GarbageError::Ownerless { .. } => {
                "most files are named by no event, so they seem to belong to another database; `crm files gc --dry-run` says more"
            }
            GarbageError::Doubtful(_) => {
                "nobody knows whether this is the log that was sealed here; `crm status` says more"
            }
            _ => "nobody knows which files are named; `crm files gc --dry-run` says more",
        }
    }

    /// Whether it stays so until somebody does something about it.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        use GarbageError::{Doubtful, Others, Ownerless, Unreadable};
        matches!(self, Doubtful(_) | Others { .. } | Ownerless { .. } | Unreadable(_))
    }
}

/// Removes what nothing names and is older than `grace`; or only tells what that would be. The log has to be one that
/// this installation has sealed, as far as `trust` tells.
///
/// # Errors
/// See [`GarbageError`].
pub async fn collect(
    database: &Database,
    files: &Files,
    trust: &Trust,
    grace: Duration,
    dry_run: bool,
) -> Result<Garbage, GarbageError> {
    let mut db = begin(database).await?;
    let found = collect_on(&mut db, database, files, trust, grace, dry_run).await;
    end(db).await?;
    found
}

async fn collect_on(
    db: &mut PgConnection,
    database: &Database,
    files: &Files,
    trust: &Trust,
    grace: Duration,
    dry_run: bool,
) -> Result<Garbage, GarbageError> {
    if let Some(doubt) = trust.doubt(db).await? {
        return Err(GarbageError::Doubtful(doubt));
    }
    let this = owner::name(database).await?;
    let owner = owner::of(files, &this).await?;
    if let Owner::Other(owner) = owner {
        return Err(GarbageError::Others { owner, this });
    }
    let expired = uploads::expired(db).await?;
    let before = Utc::now() - grace;
    let mut old = Old::list(db, files, before).await?;
    // What has come of them is counted with them, where it still lies there.
    old.recordings.retain(|id, _| !expired.contains(id));
    if owner == Owner::Nobody {
        admit(database, db, files).await?;
        if !dry_run {
            become_owner(files, this).await?;
        }
    }
    let mut found = Garbage::default();
    for &id in &expired {
        found.uploads += 1;
        if !dry_run && uploads::give_up(db, id).await? {
            remove_upload(db, files, id).await?;
        }
    }
    let untaken = uploads::untaken(db).await?;
    if old.len() > 0 || !untaken.is_empty() {
        let named = named(database, db).await?;
        old.remove(db, files, &named, before, dry_run, &mut found).await?;
        found.uploads += settle(db, &named, &untaken, dry_run).await?;
    }
    Ok(found)
}

/// Makes this database the one that removes what it does not name, if nobody is and it names most of what is there: before
/// anybody can have made a copy of it that would do the same. Tells whether somebody is by now; of no files nobody is.
///
/// # Errors
/// See [`GarbageError`].
pub async fn claim(
    database: &Database,
    files: &Files,
    trust: &Trust,
) -> Result<bool, GarbageError> {
    let mut db = begin(database).await?;
    let claimed = claim_on(&mut db, database, files, trust).await;
    end(db).await?;
    claimed
}

async fn claim_on(
    db: &mut PgConnection,
    database: &Database,
    files: &Files,
    trust: &Trust,
) -> Result<bool, GarbageError> {
    let this = owner::name(database).await?;
    if owner::of(files, &this).await? == Owner::Nobody {
        if let Some(doubt) = trust.doubt(db).await? {
            return Err(GarbageError::Doubtful(doubt));
        }
        if admit(database, db, files).await? == 0 {
            return Ok(false);
        }
    }
    become_owner(files, this).await?;
    Ok(true)
}

/// Refuses files most of which the log does not name, whatever their age. Tells how many there are.
async fn admit(
    database: &Database,
    db: &mut PgConnection,
    files: &Files,
) -> Result<usize, GarbageError> {
    let mut there = Old::list(db, files, Utc::now()).await?;
    // Those were begun by this database.
    let expired = uploads::expired(db).await?;
    there.recordings.retain(|id, _| !expired.contains(id));
    let files = there.len();
    if files > 0 {
        let unnamed = there.unnamed(&named(database, db).await?);
        if unnamed >= files - unnamed {
            return Err(GarbageError::Ownerless { unnamed, files });
        }
    }
    Ok(files)
}

/// Sets the mark, unless it is another's. Of two that do so at once one is told.
async fn become_owner(files: &Files, this: String) -> Result<(), GarbageError> {
    if owner::of(files, &this).await? == Owner::Nobody {
        owner::set(files, &this).await?;
    }
    match owner::of(files, &this).await? {
        Owner::Other(owner) => Err(GarbageError::Others { owner, this }),
        Owner::This | Owner::Nobody => Ok(()),
    }
}

/// Whether this database removes what it does not name, as far as that is known without looking through the files.
#[derive(Debug)]
pub enum Standing {
    /// It does.
    Owner,
    /// Nobody does yet.
    Nobody,
    /// It does not, for this reason.
    Hindered(GarbageError),
}

/// Tells whether this database removes what it does not name. Nothing is changed.
///
/// # Errors
/// When the database or the store fails.
pub async fn standing(
    database: &Database,
    files: &Files,
    trust: &Trust,
) -> Result<Standing, GarbageError> {
    let asking = async {
        let mut db = database.pool.acquire().await?;
        trust.doubt(&mut db).await
    };
    if let Some(doubt) = database.ask(asking).await? {
        return Ok(Standing::Hindered(GarbageError::Doubtful(doubt)));
    }
    let this = owner::name(database).await?;
    Ok(match owner::of(files, &this).await? {
        Owner::This => Standing::Owner,
        Owner::Other(owner) => Standing::Hindered(GarbageError::Others { owner, this }),
        Owner::Nobody => Standing::Nobody,
    })
}

/// Frees the lock, so that the next one finds it free: Postgres would do so only some time after the connection is closed.
async fn end(mut db: PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_advisory_unlock($1)").bind(GARBAGE_LOCK).execute(&mut db).await?;
    db.close().await
}

/// A connection that has the lock until it is closed.
async fn begin(database: &Database) -> Result<PgConnection, GarbageError> {
    let mut db = database.options_for(&[]).connect().await?;
    let got: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(GARBAGE_LOCK)
        .fetch_one(&mut db)
        .await?;
    if got { Ok(db) } else { Err(GarbageError::Running) }
}

/// Makes this database the one that removes what it does not name, whosever the files were. Tells what it is called, and
/// whose they were if they were not its own already.
///
/// # Errors
/// When the database or the store fails.
pub async fn own(
    database: &Database,
    files: &Files,
) -> Result<(String, Option<String>), GarbageError> {
    let this = owner::name(database).await?;
    let before = match owner::of(files, &this).await? {
        Owner::This => return Ok((this, None)),
        Owner::Other(owner) => owner,
        Owner::Nobody => "nobody".to_owned(),
    };
    owner::set(files, &this).await?;
    Ok((this, Some(before)))
}

/// The keys of the files that events name.
async fn named(
    database: &Database,
    db: &mut PgConnection,
) -> Result<HashSet<String>, GarbageError> {
    let named = Named::read(database, db).await?;
    match named.unreadable.first() {
        Some(&position) => Err(GarbageError::Unreadable(position)),
        None => Ok(named.keys()),
    }
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

    fn len(&self) -> usize {
        self.documents.len() + self.recordings.len()
    }

    /// How many of them nothing names.
    fn unnamed(&self, named: &HashSet<String>) -> usize {
        let documents = self.documents.keys().filter(|key| !named.contains(*key)).count();
        let recordings = self.recordings.keys().filter(|id| !named.contains(&uploads::key(**id)));
        documents + recordings.count()
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
