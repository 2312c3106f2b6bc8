//! Leases: who is at which job, until when, and what became of it. Every write is fenced by the token of the lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use domain::note::RecordingId;
use domain::{NoteId, RecordRef};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::place::Place;

/// How long a lease holds without a sign of life.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// How often a worker shows that it is alive, and looks whether its job is still wanted.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(500);

/// The pause after the first attempt in vain; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Nobody who has got the speech model waits for longer than this. Looks are few, as thousands of jobs may wait for one.
const LONGEST_UNHEARD: Duration = Duration::from_secs(60);
/// A question that was not answered in time is asked again as seldom as this. What a model cannot get done in time would
/// keep it from all else.
const LONGEST_SLOW: Duration = Duration::from_secs(3600);
/// Nobody who asks to be left alone is left alone for longer.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 3600);

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
    in_vain: Arc<InVain>,
    token: Uuid,
}

/// Attempts in vain, one after the other, since the job last came forward.
#[derive(Debug, Default)]
struct InVain {
    /// Those that failed, and nobody knows why.
    failures: AtomicI32,
    /// Those that found something away that they need.
    outages: AtomicI32,
}

/// What becomes of a job that could not be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Later {
    /// It failed, which counts.
    Failed,
    /// Something was away, and asks perhaps to be left alone for so long.
    Away(Option<Duration>),
    /// Nobody answered in so long a time.
    Slow(Duration),
    /// The speech model that it asks for is not here. One may come at any moment.
    NoModel,
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
    outages: i32,
}

/// The oldest job of a stage that is ready.
pub(super) async fn take(
    pool: &PgPool,
    worker: &str,
    stage: Stage,
) -> Result<Option<Lease>, sqlx::Error> {
    let token = Uuid::new_v4();
    let row: Option<Row> = sqlx::query_as(
        "with next as (
             select id from job
             where not suspended and ready_at <= now() and stage = $3
                 and (leased_until is null or leased_until < now())
             order by ready_at, id limit 1 for update skip locked)
         update job set worker = $1, token = $2, leased_until = now() + make_interval(secs => $4)
         from next where job.id = next.id
         returning job.id, note_id, recording_id, stage, round, cause, correlation, failures, outages",
    )
    .bind(worker)
    .bind(token)
    .bind(stage.as_str())
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
        in_vain: Arc::new(InVain { failures: row.failures.into(), outages: row.outages.into() }),
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
        db: &mut PgConnection,
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
        .execute(db)
        .await?;
        Ok(renewed.rows_affected() > 0)
    }

    /// Attempts that failed before, as far as nothing was finished since.
    pub(super) fn failures(&self) -> i32 {
        self.in_vain.failures.load(Ordering::Relaxed)
    }

    /// Tells where the work begins and how long it is, in milliseconds of the recording. That is no step forward yet. How long
    /// it is stays known when the job goes.
    pub(super) async fn begin(
        &self,
        pool: &PgPool,
        done_ms: u64,
        total_ms: Option<u64>,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "with job as (
                 update job set done_ms = $3, total_ms = coalesce($4, total_ms), waits_for_model = false
                 where id = $1 and token = $2 returning recording_id, note_id, total_ms)
             insert into recording_length (recording_id, note_id, total_ms)
             select recording_id, note_id, total_ms from job where total_ms is not null
             on conflict (recording_id) do update set total_ms = excluded.total_ms",
        )
        .bind(self.id)
        .bind(self.token)
        .bind(i64::try_from(done_ms).unwrap_or(i64::MAX))
        .bind(total_ms.and_then(|total| i64::try_from(total).ok()))
        .execute(pool)
        .await?;
        Ok(())
    }

    /// The work has come so far, in milliseconds of the recording, and will not have to be done again: whatever was in vain
    /// before does not count any more.
    pub(super) async fn advance(&self, pool: &PgPool, done_ms: u64) -> Result<(), sqlx::Error> {
        sqlx::query(
            "update job set done_ms = $3, failures = 0, outages = 0, reason = null
             where id = $1 and token = $2",
        )
        .bind(self.id)
        .bind(self.token)
        .bind(i64::try_from(done_ms).unwrap_or(i64::MAX))
        .execute(pool)
        .await?;
        self.in_vain.failures.store(0, Ordering::Relaxed);
        self.in_vain.outages.store(0, Ordering::Relaxed);
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

    /// It is to be tried again after a pause.
    pub(super) async fn postpone(
        &self,
        pool: &PgPool,
        reason: &str,
        later: Later,
    ) -> Result<(), sqlx::Error> {
        let (failed, away) = match later {
            Later::Failed => (1, 0),
            Later::Away(_) | Later::Slow(_) | Later::NoModel => (0, 1),
        };
        let before = self.failures() + self.in_vain.outages.load(Ordering::Relaxed);
        sqlx::query(
            "update job set worker = null, token = null, leased_until = null, failures = failures + $5,
                 outages = outages + $6, waits_for_model = $7, reason = $3,
                 ready_at = now() + make_interval(secs => $4)
             where id = $1 and token = $2",
        )
        .bind(self.id)
        .bind(self.token)
        .bind(reason)
        .bind(pause(before, later).as_secs_f64())
        .bind(failed)
        .bind(away)
        .bind(later == Later::NoModel)
        .execute(pool)
        .await?;
        Ok(())
    }
}

/// How long to wait after so many attempts in vain before this one.
fn pause(before: i32, later: Later) -> Duration {
    let doubled = 2_u32.saturating_pow(before.clamp(0, 20).unsigned_abs());
    let pause = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
    match later {
        // So crm has the model for itself for half of the time at most.
        Later::Slow(took) => took.max(FIRST_PAUSE).saturating_mul(doubled).min(LONGEST_SLOW),
        Later::Failed | Later::Away(None) => pause,
        Later::Away(Some(asked)) => pause.max(asked.min(LONGEST_ASKED)),
        Later::NoModel => pause.min(LONGEST_UNHEARD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: i32, later: Later, seconds: u64) {
        assert_eq!(pause(before, later).as_secs(), seconds, "{before} {later:?}");
    }

    #[test]
    fn the_pause_doubles_with_every_failure_up_to_ten_minutes() {
        check(0, Later::Failed, 5);
        check(1, Later::Away(None), 10);
        check(6, Later::Failed, 320);
        check(7, Later::Failed, 600);
        check(i32::MAX, Later::Away(None), 600);
    }

    #[test]
    fn who_asks_to_be_left_alone_is_and_who_waits_for_a_model_looks_every_minute() {
        let asked = |seconds| Later::Away(Some(Duration::from_secs(seconds)));
        check(0, asked(3600), 3600);
        check(3, asked(1), 40);
        check(0, asked(u64::MAX), 86_400);
        check(0, Later::NoModel, 5);
        check(9, Later::NoModel, 60);
    }

    #[test]
    fn who_is_slow_is_asked_again_after_as_long_as_it_took_and_then_ever_less_often() {
        let slow = |seconds| Later::Slow(Duration::from_secs(seconds));
        check(0, slow(300), 300);
        check(1, slow(300), 600);
        check(4, slow(300), 3600);
        check(i32::MAX, slow(3600), 3600);
        check(0, slow(1), 5);
    }
}
