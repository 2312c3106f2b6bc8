//! One import from beginning to end: the file is read and decided on one thread while another task writes.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::Kind;
use projections::files::Files;
use projections::log::bulk_append;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::chunk::{Chunk, Chunks};
use crate::error::ImportError;
use crate::ledger::{self, Ledger};
use crate::reader::Reader;
use crate::report::{Progress, Report};
use crate::schema;
use crate::source::Source;
use crate::survey::Survey;

/// What to import, and how.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The legacy database.
    pub file: PathBuf,
    /// Tells what would happen, and writes nothing.
    pub dry_run: bool,
    /// The folder with the images of the notes.
    pub images: Option<PathBuf>,
    /// How many events are written in one transaction.
    pub events_per_chunk: usize,
}

impl ImportOptions {
    /// Imports this file.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), dry_run: false, images: None, events_per_chunk: 4_000 }
    }
}

/// One import at a time: the session lock that it holds.
const IMPORT_LOCK: i64 = 0x6372_6d5f_696d_7001;

/// Imports a legacy database: appends to the log what differs from the last import.
///
/// It can be called off or killed at any time; the next run goes on where it stopped.
///
/// # Errors
/// See [`ImportError`]. What was written until then is complete in itself.
pub async fn import(
    pool: &PgPool,
    files: &Files,
    data_dir: &Path,
    options: &ImportOptions,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Report, ImportError> {
    let started = Instant::now();
    if let Some(folder) = options.images.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(ImportError::NoImagesFolder(folder.clone()));
    }
    progress(Progress { phase: "checking", done: 0, total: 0, events: 0 });
    let file = options.file.clone();
    let source = blocking(move || Source::open(&file)).await?;
    let mut connection = lock(pool).await?;
    let result = run(&mut connection, source, pool, files, data_dir, options, &progress).await;
    unlock(connection).await;
    let mut report = result?;
    report.seconds = started.elapsed().as_secs_f64();
    let (total, events) = (report.rows, report.events);
    progress(Progress { phase: "done", done: total, total, events });
    Ok(report)
}

async fn run(
    connection: &mut PgConnection,
    source: Source,
    pool: &PgPool,
    files: &Files,
    data_dir: &Path,
    options: &ImportOptions,
    progress: &(impl Fn(Progress) + Send + Sync),
) -> Result<Report, ImportError> {
    let file = options.file.clone();
    let check = tokio::spawn(blocking(move || Source::check(&file)));
    let ledger = Ledger::load(connection).await?;
    let surveyed = blocking(move || {
        let survey = Survey::of(&source)?;
        survey.check_lineage(&source, &ledger)?;
        Ok((source, ledger, survey))
    })
    .await;
    let (source, ledger, survey) = match surveyed {
        Ok(surveyed) => surveyed,
        // If the file is damaged, whatever else is wrong with it comes from that.
        Err(error) => return Err(finished(check).await.err().unwrap_or(error)),
    };
    let (sender, receiver) = mpsc::channel(2);
    let (total, highest) = (survey.rows, survey.highest.clone());
    let reader = Reader {
        ledger,
        report: report(&source, &survey, options),
        survey,
        chunks: Chunks::new(sender, source_name(&options.file), options.events_per_chunk),
        pool: pool.clone(),
        files: Some(files.clone()).filter(|_| !options.dry_run),
        images: options.images.clone().map(|from| (from, data_dir.join("images"))),
        runtime: Handle::current(),
        keys: HashSet::new(),
    };
    let reading = tokio::task::spawn_blocking(move || reader.read(&source));
    let written = async {
        // Nothing is written before the whole file has been checked, which goes on beside reading it.
        finished(check).await?;
        if !options.dry_run {
            advance_ids(connection, &highest).await?;
        }
        write(connection, receiver, options.dry_run, |chunk| {
            let (phase, done, events) = (chunk.phase, chunk.done, chunk.total_events);
            progress(Progress { phase, done, total, events });
        })
        .await
    }
    .await;
    // When writing failed the reader only knows that it was called off; the writer knows why.
    let read = reading.await;
    written?;
    read.map_err(|error| ImportError::Stopped(error.to_string()))?
}

fn report(source: &Source, survey: &Survey, options: &ImportOptions) -> Report {
    Report {
        rows: survey.rows,
        tables: survey.tables.clone(),
        generation: schema::generation(&source.layouts),
        dry_run: options.dry_run,
        ..Report::default()
    }
}

fn source_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    format!("import:{}", name.replace('\0', "\u{fffd}"))
}

/// A connection of its own that keeps other imports out until [`unlock`] or its end. An import that was just killed
/// may hold the lock for a moment longer.
async fn lock(pool: &PgPool) -> Result<PgConnection, ImportError> {
    let mut connection = pool.acquire().await?.detach();
    for _ in 0..20 {
        let free: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(IMPORT_LOCK)
            .fetch_one(&mut connection)
            .await?;
        if free {
            return Ok(connection);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(ImportError::AlreadyRunning)
}

/// Lets other imports in. If this fails the connection is broken, and the lock is gone with it.
async fn unlock(mut connection: PgConnection) {
    let unlock = sqlx::query("select pg_advisory_unlock($1)").bind(IMPORT_LOCK);
    if unlock.execute(&mut connection).await.is_ok() {
        let _ = connection.close().await;
    }
}

/// New records get ids above those of the file.
async fn advance_ids(
    connection: &mut PgConnection,
    highest: &BTreeMap<Kind, i64>,
) -> Result<(), ImportError> {
    let mut tx = connection.begin().await?;
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(projections::log::APPEND_LOCK)
        .execute(&mut *tx)
        .await?;
    for (kind, id) in highest.iter().filter(|(_, id)| **id > 0) {
        let sequence = format!("{kind}_id");
        sqlx::query(&format!(
            "select setval('{sequence}', $1, true) from {sequence}
             where last_value < $1 or (last_value = $1 and not is_called)"
        ))
        .bind(id)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Writes chunk by chunk, each whole or not at all.
async fn write(
    connection: &mut PgConnection,
    mut chunks: mpsc::Receiver<Chunk>,
    dry_run: bool,
    tell: impl Fn(&Chunk),
) -> Result<(), ImportError> {
    while let Some(chunk) = chunks.recv().await {
        let is_empty = chunk.events.is_empty() && chunk.marks.is_empty();
        if !(dry_run || is_empty) {
            write_one(connection, &chunk).await?;
        }
        tell(&chunk);
    }
    Ok(())
}

async fn write_one(connection: &mut PgConnection, chunk: &Chunk) -> Result<(), ImportError> {
    let mut tx = connection.begin().await?;
    bulk_append(&mut tx, &chunk.events).await.map_err(|error| {
        let raced = error
            .as_database_error()
            .is_some_and(|e| e.constraint() == Some("events_stream_version"));
        if raced { ImportError::ChangedMeanwhile } else { error.into() }
    })?;
    ledger::record(&mut tx, &chunk.marks).await?;
    tx.commit().await?;
    Ok(())
}

async fn finished(task: JoinHandle<Result<(), ImportError>>) -> Result<(), ImportError> {
    task.await.map_err(|error| ImportError::Stopped(error.to_string()))?
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, ImportError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ImportError::Stopped(error.to_string()))?
}
