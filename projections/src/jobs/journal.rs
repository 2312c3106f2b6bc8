//! The journal of a transcription: what is finished of it, chunk by chunk, sealed under the note's key.

use domain::note::{MarkKind, Segment};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use super::lease::Lease;
use crate::database::Database;
use crate::log::{Aside, AsideError};

/// A chunk that failed so often is given up, and is a gap in the transcript.
pub(super) const MOST_FAILURES: i32 = 3;

/// Likewise one that was begun so often: whoever works on it dies.
pub(super) const MOST_BEGUN: i32 = 10;

/// What was heard in a chunk. Times are those of the recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Heard {
    /// The spoken language; empty if nothing was said.
    pub language: String,
    /// How sure that is, in percent; earlier releases did not say.
    #[serde(default)]
    pub certainty: u8,
    pub segments: Vec<Segment>,
    pub marks: Vec<(u64, u64, MarkKind)>,
    /// Why there is nothing, if it was given up.
    pub gap: Option<String>,
}

/// A finished chunk.
#[derive(Clone, Debug)]
pub(super) struct Finished {
    pub start: u64,
    pub end: u64,
    pub heard: Heard,
}

/// Why the journal cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// The job belongs to somebody else, or is gone.
    #[error("the job is no longer this worker's")]
    Lost,
    #[error(transparent)]
    Aside(#[from] AsideError),
    #[error("what is in the journal cannot be read: {0}")]
    Damaged(#[from] serde_json::Error),
}

impl From<sqlx::Error> for JournalError {
    fn from(error: sqlx::Error) -> Self {
        JournalError::Aside(error.into())
    }
}

/// The journal of a leased job.
pub(super) struct Journal<'a> {
    database: &'a Database,
    lease: &'a Lease,
}

impl<'a> Journal<'a> {
    pub(super) fn of(database: &'a Database, lease: &'a Lease) -> Self {
        Self { database, lease }
    }

    fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    fn aside(&self, number: i32) -> Aside<'static> {
        // Numbers of chunks are small; with the job's they name a chunk of all.
        let number = (self.lease.id << 20) + i64::from(number);
        Aside { record: self.lease.record(), what: "(chunk of a transcript)", number }
    }

    /// The names that this model is told. They are those of the first attempt, so that whoever goes on hears what that one would
    /// have heard. Another model than before begins anew, with these names: no transcript is made of two.
    pub(super) async fn settle(
        &self,
        model: &str,
        names: Vec<String>,
    ) -> Result<Vec<String>, JournalError> {
        let aside = Aside {
            record: self.lease.record(),
            what: "(names of a transcription)",
            number: self.lease.id,
        };
        let mut tx = self.pool().begin().await?;
        let known: Option<(String, String)> =
            sqlx::query_as("select model, names from transcription where job_id = $1")
                .bind(self.lease.id)
                .fetch_optional(&mut *tx)
                .await?;
        if let Some((_, sealed)) = known.filter(|(known, _)| known == model) {
            let text = self.database.keys().open_aside(&mut tx, aside, &sealed).await?;
            return Ok(serde_json::from_str(&text)?);
        }
        let text = serde_json::to_string(&names)?;
        let sealed = self.database.keys().seal_aside(&mut tx, aside, &text).await?;
        let settled = sqlx::query(
            "insert into transcription (job_id, model, names)
             select id, $3, $4 from job where id = $1 and token = $2 for update
             on conflict (job_id) do update set model = $3, names = $4",
        )
        .bind(self.lease.id)
        .bind(self.lease.token())
        .bind(model)
        .bind(sealed)
        .execute(&mut *tx)
        .await?;
        if settled.rows_affected() == 0 {
            return Err(JournalError::Lost);
        }
        sqlx::query("delete from transcript_chunk where job_id = $1")
            .bind(self.lease.id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(names)
    }

    /// What earlier attempts have finished, from the beginning of the recording without a hole.
    pub(super) async fn finished(&self) -> Result<Vec<Finished>, JournalError> {
        let rows: Vec<(i32, i64, i64, String)> = sqlx::query_as(
            "select number, start_sample, end_sample, content from transcript_chunk
             where job_id = $1 and content is not null order by number",
        )
        .bind(self.lease.id)
        .fetch_all(self.pool())
        .await?;
        let mut db = self.pool().acquire().await?;
        let mut finished: Vec<Finished> = Vec::new();
        for (number, start, end, sealed) in rows {
            let expected = finished.last().map_or(0, |chunk| chunk.end);
            if start.unsigned_abs() != expected {
                break;
            }
            let text =
                self.database.keys().open_aside(&mut db, self.aside(number), &sealed).await?;
            let heard = serde_json::from_str(&text)?;
            finished.push(Finished { start: start.unsigned_abs(), end: end.unsigned_abs(), heard });
        }
        Ok(finished)
    }

    /// A chunk is begun. Tells how often it was before, and how often it failed.
    pub(super) async fn begin(&self, number: i32, start: u64) -> Result<(i32, i32), JournalError> {
        let row: Option<(i32, i32)> = sqlx::query_as(
            "insert into transcript_chunk (job_id, number, start_sample, begun)
             select id, $3, $4, 1 from job where id = $1 and token = $2 for update
             on conflict (job_id, number) do update
             set begun = transcript_chunk.begun + 1, start_sample = $4, content = null
             returning begun - 1, failed",
        )
        .bind(self.lease.id)
        .bind(self.lease.token())
        .bind(number)
        .bind(i64::try_from(start).unwrap_or(i64::MAX))
        .fetch_optional(self.pool())
        .await?;
        row.ok_or(JournalError::Lost)
    }

    /// A chunk that was begun was neither finished nor failed: the worker stops.
    pub(super) async fn unbegin(&self, number: i32) -> Result<(), JournalError> {
        self.count(number, "begun = begun - 1").await
    }

    /// A chunk failed.
    pub(super) async fn fail(&self, number: i32) -> Result<(), JournalError> {
        self.count(number, "begun = begun - 1, failed = failed + 1").await
    }

    async fn count(&self, number: i32, change: &str) -> Result<(), JournalError> {
        let statement = format!(
            "update transcript_chunk set {change} where job_id = $1 and number = $3
                 and exists (select from job where id = $1 and token = $2 for update)"
        );
        sqlx::query(&statement)
            .bind(self.lease.id)
            .bind(self.lease.token())
            .bind(number)
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// A chunk is finished; from now on it survives whatever happens to the worker.
    pub(super) async fn finish(
        &self,
        number: i32,
        end: u64,
        heard: &Heard,
    ) -> Result<(), JournalError> {
        let text = serde_json::to_string(heard)?;
        let mut db = self.pool().acquire().await?;
        let sealed = self.database.keys().seal_aside(&mut db, self.aside(number), &text).await?;
        let finished = sqlx::query(
            "update transcript_chunk set end_sample = $4, content = $5
             where job_id = $1 and number = $3
                 and exists (select from job where id = $1 and token = $2 for update)",
        )
        .bind(self.lease.id)
        .bind(self.lease.token())
        .bind(number)
        .bind(i64::try_from(end).unwrap_or(i64::MAX))
        .bind(sealed)
        .execute(&mut *db)
        .await?;
        match finished.rows_affected() {
            0 => Err(JournalError::Lost),
            _ => Ok(()),
        }
    }
}
