//! Leases: who is at which job, until when, and what became of it. Every write is fenced by the token of the lease.

use std::time::Duration;

use domain::note::RecordingId;
use domain::{NoteId, RecordRef};
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::place::Place;

/// How long a lease holds without a sign of life.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// How often a worker shows that it is alive, and looks whether its job is still wanted.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(500);

/// The pause after the first failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// A part of the work on a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From sound to text.
    Transcribe,
    /// From text to a summary.
    Summarise,
}

impl Stage {
    /// Its name in tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Transcribe => "transcribe",
            Stage::Summarise => "summarise",
        }
    }
}

/// A job that this process may work on.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub id: i64,
    pub note: NoteId,
    pub recording: RecordingId,
    pub stage: Stage,
    pub round: u32,
    pub cause: Uuid,
    pub correlation: Uuid,
    /// Attempts that failed before.
    pub failures: i32,
    token: Uuid,
}

#[derive(FromRow)]
struct Row {
    id: i64,
    note_id: i64,
    recording_id: i64,
    stage: String,
    round: i32,
    cause: Uuid,
    correlation: Uuid,
    failures: i32,
}

/// The oldest job that is ready, of the stages that this worker can do.
pub(super) async fn take(
    pool: &PgPool,
    worker: &str,
    stages: &[Stage],
) -> Result<Option<Lease>, sqlx::Error> {
    let token = Uuid::new_v4();
    let row: Option<Row> = sqlx::query_as(
        "with next as (
             select id from job
             where not suspended and ready_at <= now() and stage = any ($3)
                 and (leased_until is null or leased_until < now())
             order by ready_at, id limit 1 for update skip locked)
         update job set worker = $1, token = $2, leased_until = now() + make_interval(secs => $4)
         from next where job.id = next.id
         returning job.id, note_id, recording_id, stage, round, cause, correlation, failures",
    )
    .bind(worker)
    .bind(token)
    .bind(stages.iter().map(|stage| stage.as_str()).collect::<Vec<_>>())
    .bind(LEASE.as_secs_f64())
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Lease {
        id: row.id,
        note: NoteId(row.note_id),
        recording: RecordingId(row.recording_id),
        stage: if row.stage == "transcribe" { Stage::Transcribe } else { Stage::Summarise },
        round: row.round.unsigned_abs(),
        cause: row.cause,
        correlation: row.correlation,
        failures: row.failures,
        token,
    }))
}

/// Frees the jobs that were left by processes of this machine which are dead, instead of waiting until their leases run
/// out. To be done once, before this process takes a job.
pub(super) async fn inherit(pool: &PgPool, here: &Place) -> Result<(), sqlx::Error> {
    let held: Vec<(i64, Uuid, String)> = sqlx::query_as(
        "select id, token, worker from job where token is not null and worker is not null",
    )
    .fetch_all(pool)
    .await?;
    for (id, token, worker) in held {
        if worker.parse().is_ok_and(|place: Place| here.knows_dead(&place)) {
            sqlx::query("update job set leased_until = null where id = $1 and token = $2")
                .bind(id)
                .bind(token)
                .execute(pool)
                .await?;
        }
    }
    Ok(())
}

impl Lease {
    /// The note, as what is kept beside the log is sealed for.
    pub(super) fn record(&self) -> RecordRef {
        self.note.into()
    }

    pub(super) fn token(&self) -> Uuid {
        self.token
    }

    /// Shows that the worker is alive, and how far it is in milliseconds of the recording. Tells whether the job is still its own.
    pub(super) async fn renew(
        &self,
        pool: &PgPool,
        done_ms: Option<u64>,
    ) -> Result<bool, sqlx::Error> {
        let renewed = sqlx::query(
            "update job set leased_until = now() + make_interval(secs => $3), done_ms = greatest(done_ms, $4)
             where id = $1 and token = $2 and not suspended",
        )
        .bind(self.id)
        .bind(self.token)
        .bind(LEASE.as_secs_f64())
        .bind(done_ms.and_then(|done| i64::try_from(done).ok()))
        .execute(pool)
        .await?;
        Ok(renewed.rows_affected() > 0)
    }

    /// Tells how far the work is, in milliseconds of the recording.
    pub(super) async fn report(
        &self,
        pool: &PgPool,
        done_ms: u64,
        total_ms: Option<u64>,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "update job set done_ms = $3, total_ms = coalesce($4, total_ms), failures = 0, reason = null
             where id = $1 and token = $2",
        )
        .bind(self.id)
        .bind(self.token)
        .bind(i64::try_from(done_ms).unwrap_or(i64::MAX))
        .bind(total_ms.and_then(|total| i64::try_from(total).ok()))
        .execute(pool)
        .await?;
        Ok(())
    }

    /// It is done: the reactor removes it as soon as it sees the event that says so. Until then nobody takes it.
    pub(super) async fn finish(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        self.leave(pool, "ready_at = 'infinity'").await
    }

    /// Gives it back as it was, for the next worker.
    pub(super) async fn release(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        self.leave(pool, "ready_at = now()").await
    }

    async fn leave(&self, pool: &PgPool, change: &str) -> Result<(), sqlx::Error> {
        let statement = format!(
            "update job set worker = null, token = null, leased_until = null, {change}
             where id = $1 and token = $2"
        );
        sqlx::query(&statement).bind(self.id).bind(self.token).execute(pool).await?;
        Ok(())
    }

    /// It failed and is to be tried again after a pause.
    pub(super) async fn postpone(&self, pool: &PgPool, reason: &str) -> Result<(), sqlx::Error> {
        sqlx::query(
            "update job set worker = null, token = null, leased_until = null, failures = failures + 1,
                 reason = $3, ready_at = now() + make_interval(secs => $4)
             where id = $1 and token = $2",
        )
        .bind(self.id)
        .bind(self.token)
        .bind(reason)
        .bind(pause(self.failures).as_secs_f64())
        .execute(pool)
        .await?;
        Ok(())
    }
}

/// How long to wait after so many failures before this one.
fn pause(failures: i32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.clamp(0, 20).unsigned_abs());
    FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_with_every_failure_up_to_ten_minutes() {
        let check = |failures, seconds| assert_eq!(pause(failures).as_secs(), seconds);
        check(0, 5);
        check(1, 10);
        check(6, 320);
        check(7, 600);
        check(i32::MAX, 600);
    }
}
