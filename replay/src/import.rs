//! One import from beginning to end: the file is read and decided on one thread while another task writes.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::Kind;
use domain::import::STREAM_TYPE;
use projections::database::Database;
use projections::files::Files;
use projections::log::{Keys, bulk_append};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::age::{self, Last};
use crate::chunk::{Chunk, Chunks};
use crate::error::ImportError;
use crate::ledger::{self, Foreign, Ledger};
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
    /// Imports a file that is older than the one imported last, although that takes back what came since.
    pub older: bool,
    /// The folder with the images of the notes.
    pub images: Option<PathBuf>,
    /// How many events are written in one transaction.
    pub events_per_chunk: usize,
}

impl ImportOptions {
    /// Imports this file.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        let (dry_run, older) = (false, false);
        Self { file: file.into(), dry_run, older, images: None, events_per_chunk: 4_000 }
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
    database: &Database,
    files: &Files,
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
    let mut connection = lock(&database.pool).await?;
    let result = run(&mut connection, source, database, files, options, &progress).await;
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
    database: &Database,
    files: &Files,
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
    let last = Last::load(connection).await?.filter(|_| !options.older);
    let source = match last.filter(|last| last.is_newer_than(source.clock, &survey.highest)) {
        None => source,
        Some(last) => {
            let options = ImportOptions { dry_run: true, images: None, ..options.clone() };
            let again = Ledger::load(connection).await?;
            let (reader, receiver) =
                reader(&source, again, survey.clone(), database, files, &options);
            match changes(reader, source, receiver).await {
                Ok((source, changes)) if changes.is_empty() => source,
                Ok((source, changes)) => {
                    let older = last.refuse(source.clock, &changes);
                    return Err(finished(check).await.err().unwrap_or(older));
                }
                Err(error) => return Err(finished(check).await.err().unwrap_or(error)),
            }
        }
    };
    let (total, highest, foreign) = (survey.rows, survey.highest.clone(), ledger.foreign.clone());
    let (reader, receiver) = reader(&source, ledger, survey, database, files, options);
    let clock = source.clock;
    let reading = tokio::task::spawn_blocking(move || reader.read(&source));
    let written = async {
        // Nothing is written before the whole file has been checked, which goes on beside reading it.
        finished(check).await?;
        if !options.dry_run {
            let is_moved = advance_ids(connection, &highest).await?;
            if is_moved && is_taken(&ledger::foreign(connection).await?, &foreign, &highest) {
                return Err(ImportError::ChangedMeanwhile);
            }
            age::remember(connection, &file_name(&options.file), clock, &highest).await?;
        }
        write(connection, database.keys(), receiver, options.dry_run, |chunk| {
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

/// What goes through the file, and where it hands over what differs.
fn reader(
    source: &Source,
    ledger: Ledger,
    survey: Survey,
    database: &Database,
    files: &Files,
    options: &ImportOptions,
) -> (Reader, mpsc::Receiver<Chunk>) {
    let (sender, receiver) = mpsc::channel(2);
    let reader = Reader {
        ledger,
        report: report(source, &survey, options),
        survey,
        chunks: Chunks::new(sender, source_name(&options.file), options.events_per_chunk),
        pool: database.pool.clone(),
        stream_keys: database.keys().clone(),
        files: files.clone(),
        images: options.images.clone(),
        runtime: Handle::current(),
        keys: HashSet::new(),
        announced: HashSet::new(),
        extras: BTreeMap::new(),
    };
    (reader, receiver)
}

/// How many records, and rows that belong to none, the file would change, by table.
async fn changes(
    reader: Reader,
    source: Source,
    mut chunks: mpsc::Receiver<Chunk>,
) -> Result<(Source, BTreeMap<String, u64>), ImportError> {
    let reading = blocking(move || reader.read(&source).map(|_| source));
    let counting = async {
        let mut changed = HashSet::new();
        while let Some(chunk) = chunks.recv().await {
            for event in chunk.events {
                // Those rows share a stream.
                let row = (event.aggregate_type == STREAM_TYPE).then_some(event.sequence);
                changed.insert((event.aggregate_type, event.aggregate_id, row));
            }
        }
        changed
    };
    let (read, changed) = tokio::join!(reading, counting);
    let mut counts = BTreeMap::new();
    for (table, ..) in changed {
        let table = if table == STREAM_TYPE { "rows of no record" } else { table };
        *counts.entry(table.to_owned()).or_default() += 1;
    }
    Ok((read?, counts))
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
    format!("import:{}", file_name(file))
}

fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    name.replace('\0', "\u{fffd}")
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

/// New records get ids above those of the file. Tells whether a sequence had to be moved.
async fn advance_ids(
    connection: &mut PgConnection,
    highest: &BTreeMap<Kind, i64>,
) -> Result<bool, ImportError> {
    let mut is_moved = false;
    for (kind, &id) in highest.iter().filter(|(_, id)| **id > 0) {
        let sequence = format!("{kind}_id");
        if last_drawn(connection, &sequence).await? >= id {
            continue;
        }
        let mut tx = connection.begin().await?;
        // Nobody draws an id until the end of the transaction: altering a sequence, unlike setting it, locks it.
        let lock = format!("alter sequence {sequence} increment by 1");
        sqlx::query(&lock).execute(&mut *tx).await?;
        if last_drawn(&mut tx, &sequence).await? < id {
            let restart = format!("alter sequence {sequence} restart with {}", id + 1);
            sqlx::query(&restart).execute(&mut *tx).await?;
            is_moved = true;
        }
        tx.commit().await?;
    }
    Ok(is_moved)
}

/// The last id that the sequence has given out, 0 if none.
async fn last_drawn(connection: &mut PgConnection, sequence: &str) -> Result<i64, sqlx::Error> {
    let last = format!(
        "select case when is_called then last_value else last_value - 1 end from {sequence}"
    );
    sqlx::query_scalar(&last).fetch_one(connection).await
}

/// Whether a record that was made in crm since the ledger was read has an id that the file uses.
fn is_taken(now: &Foreign, before: &Foreign, highest: &BTreeMap<Kind, i64>) -> bool {
    let uses = |(kind, id): &(Kind, i64)| highest.get(kind).is_some_and(|highest| id <= highest);
    now.difference(before).any(uses)
}

/// Writes chunk by chunk, each whole or not at all.
async fn write(
    connection: &mut PgConnection,
    keys: &Keys,
    mut chunks: mpsc::Receiver<Chunk>,
    dry_run: bool,
    tell: impl Fn(&Chunk),
) -> Result<(), ImportError> {
    while let Some(chunk) = chunks.recv().await {
        let is_empty = chunk.events.is_empty() && chunk.marks.is_empty();
        if !(dry_run || is_empty) {
            write_one(connection, keys, &chunk).await?;
        }
        tell(&chunk);
    }
    Ok(())
}

async fn write_one(
    connection: &mut PgConnection,
    keys: &Keys,
    chunk: &Chunk,
) -> Result<(), ImportError> {
    let mut tx = connection.begin().await?;
    bulk_append(&mut tx, keys, &chunk.events, &chunk.claims).await.map_err(|error| {
        let raced = error
            .as_database_error()
            .and_then(|error| error.constraint())
            .is_some_and(|name| ["events_stream_version", "stream_key_pkey"].contains(&name));
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
