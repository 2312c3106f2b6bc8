//! What is left of an erased record once its key is destroyed: rows that read models have deleted, errors and answers that
//! quoted it, files, and the write-ahead log. A scrub wipes them off the disk.
//!
//! Postgres does not overwrite what it deletes. So the read models that had the record are built anew beside the old ones,
//! which are dropped with their files, as are tables of checks and of earlier states; small tables are rewritten; and the write-ahead log is moved on until all of it is
//! younger than that. What is to be scrubbed stands in `stream_key`, so that a scrub that was killed is begun again.

mod files;
mod small_tables;
mod write_ahead_log;

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{Kind, RecordRef};
use projections::database::{Database, Shortage};
use projections::files::{FileError, Files};
use projections::follow::FollowError;
use projections::generation;
use projections::projector::Projector;
use serde::Serialize;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use self::files::remove_files;
use self::small_tables::{clean_tables, rewrite_tables};
use self::write_ahead_log::move_log_on;
use crate::as_of::drop_abandoned;
use crate::load::Effort;
use crate::rebuild::{Rebuild, RebuildError, drop_old};
use crate::verify::VERIFY_LOCK;

/// The advisory lock of whoever scrubs: one at a time.
const SCRUB_LOCK: i64 = 0x6372_6d5f_7363_7201;

/// How long to wait for rebuilds, checks, scenes and readers that are in the way.
const PATIENCE: Duration = Duration::from_secs(600);
const AGAIN: Duration = Duration::from_millis(200);

/// What was wiped.
#[derive(Clone, Debug, Serialize)]
pub struct ScrubReport {
    /// The records whose traces are gone.
    pub records: Vec<RecordRef>,
    /// The read models that were built anew.
    pub rebuilt: Vec<String>,
    /// How many files were removed.
    pub files: u64,
    /// Todos that action items of erased notes became, and those that followed from them: they are kept, in plain.
    pub todos: Vec<RecordRef>,
    /// Whether the write-ahead log holds nothing any more that is older.
    pub moved_on: bool,
    /// What could not be wiped, and why; it is then up to whoever runs the database.
    pub left: Vec<String>,
}

/// Why traces are still there.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A read model was not built anew.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// Somebody else is at it.
    #[error(
        "another scrub is running; it takes care of all records that were erased before it began"
    )]
    Running,
    /// A check is in the way.
    #[error(
        "a check has been running for too long to scrub what it has built; try again when `crm verify` is done"
    )]
    Checking,
    /// A server still has tables of an earlier state.
    #[error(
        "a server has kept what `?as_of=` is answered from for too long to scrub it; try again when it has dropped the schema {0}"
    )]
    Shown(String),
    /// Somebody may still see what was deleted.
    #[error(
        "the transaction of Postgres's process {0} has been open for too long: what it may still see of erased records stays on \
         the disk for it. End it, or try again when it is over"
    )]
    Seen(i32),
    /// A file of the record is still there.
    #[error("a file of an erased record cannot be removed: {0}")]
    File(#[from] FileError),
}

impl ScrubError {
    /// Whether all that was missing is a connection, of which Postgres has none to spare at present.
    pub fn is_for_want_of_connections(&self) -> bool {
        let error = match self {
            ScrubError::Database(error)
            | ScrubError::Rebuild(
                RebuildError::Database(error) | RebuildError::Follow(FollowError::Database(error)),
            ) => error,
            _ => return false,
        };
        Shortage::of(error) == Some(Shortage::Connections)
    }
}

/// What a scrub needs.
#[derive(Clone)]
pub struct ScrubOptions {
    /// All projectors.
    pub projectors: Vec<Arc<dyn Projector>>,
    /// Where files are stored.
    pub files: Files,
    /// What rebuilds may take of the machine.
    pub effort: Effort,
    /// Ends it early; it can be begun again.
    pub stop: CancellationToken,
}

/// Wipes the traces of all erased records off the disk. `None` if there is nothing to do.
///
/// # Errors
/// See [`ScrubError`]; what is not done is done by the next scrub.
pub async fn scrub(
    database: &Database,
    options: &ScrubOptions,
) -> Result<Option<ScrubReport>, ScrubError> {
    let mut control = database.options_for(&[]).connect().await?;
    let got: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(SCRUB_LOCK)
        .fetch_one(&mut control)
        .await?;
    if !got {
        return Err(ScrubError::Running);
    }
    let waiting = waiting(&mut control).await?;
    let report = match waiting.is_empty() {
        true => None,
        false => Some(wipe(database, &mut control, options, waiting).await?),
    };
    control.close().await?;
    Ok(report)
}

/// A record that was erased, and the names of its files.
type Waiting = (RecordRef, Vec<String>);

async fn waiting(control: &mut PgConnection) -> Result<Vec<Waiting>, sqlx::Error> {
    let rows: Vec<(String, String, Option<Vec<String>>)> = sqlx::query_as(
        "select aggregate_type, aggregate_id, leftovers from stream_key
         where destroyed_at is not null and scrubbed_at is null order by destroyed_at",
    )
    .fetch_all(control)
    .await?;
    let record = |(kind, id, files): (String, String, Option<Vec<String>>)| {
        let record = Kind::parse(&kind)?.record(id.parse().ok()?);
        Some((record, files.unwrap_or_default()))
    };
    Ok(rows.into_iter().filter_map(record).collect())
}

async fn wipe(
    database: &Database,
    control: &mut PgConnection,
    options: &ScrubOptions,
    waiting: Vec<Waiting>,
) -> Result<ScrubReport, ScrubError> {
    let records: Vec<RecordRef> = waiting.iter().map(|(record, _)| *record).collect();
    let concerned: Vec<Arc<dyn Projector>> = options
        .projectors
        .iter()
        .filter(|it| records.iter().any(|record| it.follows().contains(&record.kind())))
        .cloned()
        .collect();
    rebuild_all(database, &concerned, options).await?;
    drop_likenesses(control, &concerned).await?;
    wait_for_scenes(control, options).await?;
    let files = remove_files(database, &waiting, &options.files).await?;
    let todos = todos_of(control, &records).await?;
    clean_tables(control, &records).await?;
    wait_for_readers(control, options).await?;
    let mut left: Vec<String> = rewrite_tables(control).await?.into_iter().collect();
    let moved_on = match move_log_on(control).await {
        Err(error) if is_no_right(&error) => {
            left.push(format!(
                "the write-ahead log, which crm may not move on here ({error}): it holds what read models once held until \
                 Postgres has recycled it"
            ));
            false
        }
        moved => moved.map(|()| true)?,
    };
    sqlx::query(
        "update stream_key set scrubbed_at = clock_timestamp()
         from unnest($1::text[], $2::text[]) as done (kind, id)
         where aggregate_type = done.kind and aggregate_id = done.id",
    )
    .bind(records.iter().map(|record| record.kind().as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.id().to_string()).collect::<Vec<_>>())
    .execute(control)
    .await?;
    let rebuilt = concerned.iter().map(|projector| projector.name().to_owned()).collect();
    Ok(ScrubReport { records, rebuilt, files, todos, moved_on, left })
}

/// Builds the read models anew and drops all that was before.
async fn rebuild_all(
    database: &Database,
    projectors: &[Arc<dyn Projector>],
    options: &ScrubOptions,
) -> Result<(), ScrubError> {
    let holder = "a scrub after an erasure";
    let deadline = Instant::now() + PATIENCE;
    let rebuild = loop {
        let stop = options.stop.child_token();
        match Rebuild::admit(database, projectors.to_vec(), holder, stop).await {
            Err(RebuildError::Held { .. } | RebuildError::Taken(_))
                if Instant::now() < deadline =>
            {
                pause(options).await?
            }
            admitted => break admitted?,
        }
    };
    rebuild.with_effort(options.effort).run(|_| ()).await?;
    for projector in projectors {
        let deadline = Instant::now() + PATIENCE;
        // Readers turn to the new generation as soon as they hear of it.
        while let Err(error) = drop_old(database, projector).await {
            let is_passing = match &error {
                RebuildError::InUse { .. }
                | RebuildError::Read { .. }
                | RebuildError::Held { .. }
                | RebuildError::Taken(_) => true,
                RebuildError::Database(error) => projections::database::is_passing(error),
                _ => false,
            };
            if !is_passing || Instant::now() > deadline {
                return Err(error.into());
            }
            pause(options).await?;
        }
    }
    Ok(())
}

async fn pause(options: &ScrubOptions) -> Result<(), RebuildError> {
    tokio::select! {
        () = options.stop.cancelled() => Err(RebuildError::Cancelled),
        () = tokio::time::sleep(AGAIN) => Ok(()),
    }
}

/// Drops what a check has built to compare read models with, if it was killed before it could.
async fn drop_likenesses(
    control: &mut PgConnection,
    projectors: &[Arc<dyn Projector>],
) -> Result<(), ScrubError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut tx = control.begin().await?;
        let free: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
            .bind(VERIFY_LOCK)
            .fetch_one(&mut *tx)
            .await?;
        if free {
            for projector in projectors {
                let schema = format!("verify_{}", projector.name());
                generation::drop_tables(&mut tx, &schema).await?;
            }
            tx.commit().await?;
            return Ok(());
        }
        tx.rollback().await?;
        if Instant::now() > deadline {
            return Err(ScrubError::Checking);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Waits until all scenes are gone that are there now: whoever keeps one drops it when it hears of an erasure, as soon as
/// nobody asks it. Those that are begun later find no key any more of what was erased.
async fn wait_for_scenes(
    control: &mut PgConnection,
    options: &ScrubOptions,
) -> Result<(), ScrubError> {
    let deadline = Instant::now() + PATIENCE;
    let mut before = drop_abandoned(control).await?;
    while let Some(schema) = before.first() {
        if Instant::now() > deadline {
            return Err(ScrubError::Shown(schema.clone()));
        }
        pause(options).await?;
        let held = drop_abandoned(control).await?;
        before.retain(|schema| held.contains(schema));
    }
    Ok(())
}

/// The todos that action items of these notes became, and those that followed from them. Their titles are words of the
/// meeting perhaps, and earlier releases copied what was said into them: somebody has to look.
async fn todos_of(
    control: &mut PgConnection,
    records: &[RecordRef],
) -> Result<Vec<RecordRef>, sqlx::Error> {
    let notes = records.iter().filter(|record| record.kind() == Kind::Note);
    let notes: Vec<String> = notes.map(|record| record.id().to_string()).collect();
    if notes.is_empty() {
        return Ok(vec![]);
    }
    let mut ids: Vec<i64> = sqlx::query_scalar(
        "with recursive made (id) as (
             select todo.aggregate_id from events as note join events as todo on todo.causation_id = note.event_id
             where note.aggregate_type = 'note' and note.aggregate_id = any ($1)
                 and note.event_type = 'ActionItemAccepted'
                 and todo.aggregate_type = 'todo' and todo.event_type = 'Registered'
             union
             select next.aggregate_id
             from made join events as done on done.aggregate_type = 'todo' and done.aggregate_id = made.id
                 join events as next on next.causation_id = done.event_id
             where done.event_type = 'Completed'
                 and next.aggregate_type = 'todo' and next.event_type = 'Registered')
         select id::bigint from made",
    )
    .bind(notes)
    .fetch_all(control)
    .await?;
    ids.sort_unstable();
    Ok(ids.into_iter().map(|id| Kind::Todo.record(id)).collect())
}

/// Waits until no transaction sees any more what was deleted: into a table that is written anew Postgres takes along what
/// somebody may still see, such as a backup that is being made.
async fn wait_for_readers(
    control: &mut PgConnection,
    options: &ScrubOptions,
) -> Result<(), ScrubError> {
    let deadline = Instant::now() + PATIENCE;
    let now: String = sqlx::query_scalar("select pg_current_xact_id()::xid::text")
        .fetch_one(&mut *control)
        .await?;
    loop {
        let older: Option<i32> = sqlx::query_scalar(
            "select pid from pg_stat_activity
             where pid <> pg_backend_pid() and (datname is null or datname = current_database())
                 and greatest(age(backend_xmin), age(backend_xid)) > age($1::text::xid)
             order by xact_start limit 1",
        )
        .bind(&now)
        .fetch_optional(&mut *control)
        .await?;
        let Some(process) = older else { return Ok(()) };
        if Instant::now() > deadline {
            return Err(ScrubError::Seen(process));
        }
        pause(options).await?;
    }
}

/// Whether the role lacks a right, as roles of managed servers do.
pub(crate) fn is_no_right(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "42501")
}
