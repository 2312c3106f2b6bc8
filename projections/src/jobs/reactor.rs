//! From events to jobs. What is to be done is a fold of the log: a row for whatever was asked for and is not done.

use std::sync::Arc;
use std::time::Duration;

use domain::Event;
use domain::note::{NoteEvent, RecordingId};
use sqlx::PgConnection;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::lease::Stage;
use crate::database::{Database, DatabaseError};
use crate::log::{Entry, LogReader, PageLimit, Selection};

/// What its checkpoint is called.
pub const NAME: &str = "recordings";

/// How much of the log is looked at in one transaction.
const PAGE: PageLimit = PageLimit { events: 500 };

/// How often to look whether another process that was at it has gone, and again after a failure.
const LOOK: Duration = Duration::from_secs(1);

/// Follows the log and keeps the jobs.
pub struct Reactor {
    database: Database,
    reader: LogReader,
    head: watch::Receiver<i64>,
    /// Wakes the workers of this process.
    news: Arc<Notify>,
}

impl Reactor {
    /// A reactor that is woken by what `head` tells of the log's end, and wakes others by `news`.
    pub fn new(database: Database, head: watch::Receiver<i64>, news: Arc<Notify>) -> Self {
        let reader = LogReader::new(database.keys().clone());
        Self { database, reader, head, news }
    }

    /// Follows until told to stop. Several processes may: they take turns by the checkpoint's row.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let head = *self.head.borrow_and_update();
            let pause = match self.step().await {
                Ok(true) => continue,
                Ok(false) => None,
                Err(error) => {
                    // Whoever watches the database has said already that it is away.
                    match self.database.is_down() {
                        true => tracing::debug!(%error, "jobs wait for the database"),
                        false => {
                            tracing::warn!(%error, "jobs do not follow the log; crm tries again")
                        }
                    }
                    Some(LOOK)
                }
            };
            let grown = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => {
                        let grown = self.head.wait_for(|now| *now > head);
                        // Another process may have been at it, and what came before the first look is not announced.
                        let _ = tokio::time::timeout(LOOK, grown).await;
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = grown => {}
            }
        }
    }

    /// Takes in a page of the log. Tells whether there may be more.
    ///
    /// # Errors
    /// When the database cannot be asked; nothing has changed then.
    pub async fn step(&self) -> Result<bool, DatabaseError> {
        self.database.check()?;
        let more = self.database.ask(self.take_page()).await?;
        if more {
            self.news.notify_waiters();
        }
        Ok(more)
    }

    async fn take_page(&self) -> Result<bool, sqlx::Error> {
        let mut tx = self.database.pool.begin().await?;
        sqlx::query("insert into reactor (name) values ($1) on conflict do nothing")
            .bind(NAME)
            .execute(&mut *tx)
            .await?;
        let position: Option<i64> = sqlx::query_scalar(
            "select position from reactor where name = $1 for update skip locked",
        )
        .bind(NAME)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(position) = position else { return Ok(false) };
        let wanted = Selection { kinds: vec!["note".to_owned()], streams: vec![] };
        let page = self.reader.entries_after(&mut tx, position, PAGE, &wanted).await?;
        let Some(end) = page.end else { return Ok(false) };
        for entry in &page.entries {
            match &entry.event {
                Ok(Event::Note(event)) => react(&mut tx, entry, event).await?,
                Ok(_) => {}
                // Its read models say so as well, and to more people.
                Err(error) => {
                    tracing::error!(position = entry.position, %error, "an event leads to no job");
                }
            }
        }
        sqlx::query("update reactor set position = $2 where name = $1")
            .bind(NAME)
            .bind(end)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// What an event of a note means for the jobs.
async fn react(db: &mut PgConnection, entry: &Entry, event: &NoteEvent) -> Result<(), sqlx::Error> {
    let note = entry.stream.id.as_str();
    match event {
        NoteEvent::RecordingAttached { recording, .. } => {
            begin(db, entry, *recording, Stage::Transcribe, 1).await
        }
        NoteEvent::TranscriptionAsked { recording, round, .. } => {
            begin(db, entry, *recording, Stage::Transcribe, *round).await
        }
        NoteEvent::Transcribed { recording, round, .. }
        | NoteEvent::SummaryAsked { recording, round } => {
            begin(db, entry, *recording, Stage::Summarise, *round).await
        }
        NoteEvent::TranscriptionFailed { recording, .. }
        | NoteEvent::TranscriptionCancelled { recording }
        | NoteEvent::Summarised { recording, .. }
        | NoteEvent::SummaryFailed { recording, .. }
        | NoteEvent::SummaryCancelled { recording } => end(db, *recording).await,
        NoteEvent::RecordingRemoved { recording } => {
            end(db, *recording).await?;
            let delete = sqlx::query("delete from recording_length where recording_id = $1");
            delete.bind(recording.0).execute(db).await.map(|_| ())
        }
        NoteEvent::Archived => suspend(db, note, true).await,
        NoteEvent::Restored => suspend(db, note, false).await,
        NoteEvent::Erased { .. } => {
            for table in ["job", "recording_length"] {
                let delete = format!("delete from {table} where note_id = $1::bigint");
                sqlx::query(&delete).bind(note).execute(&mut *db).await?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whatever was to be done with the recording before, now this is.
async fn begin(
    db: &mut PgConnection,
    entry: &Entry,
    recording: RecordingId,
    stage: Stage,
    round: u32,
) -> Result<(), sqlx::Error> {
    end(db, recording).await?;
    sqlx::query(
        "insert into job (note_id, recording_id, stage, round, cause, correlation, asked_at)
         values ($1::bigint, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&entry.stream.id)
    .bind(recording.0)
    .bind(stage.as_str())
    .bind(i32::try_from(round).unwrap_or(i32::MAX))
    .bind(entry.envelope.event_id)
    .bind(entry.envelope.correlation_id)
    .bind(entry.envelope.recorded_at)
    .execute(db)
    .await?;
    Ok(())
}

/// Nothing is to be done with the recording. Its journal goes as well.
async fn end(db: &mut PgConnection, recording: RecordingId) -> Result<(), sqlx::Error> {
    sqlx::query("delete from job where recording_id = $1").bind(recording.0).execute(db).await?;
    Ok(())
}

async fn suspend(db: &mut PgConnection, note: &str, suspended: bool) -> Result<(), sqlx::Error> {
    sqlx::query("update job set suspended = $2 where note_id = $1::bigint")
        .bind(note)
        .bind(suspended)
        .execute(db)
        .await?;
    Ok(())
}
