//! How jobs stand, as the database has it.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::note::RecordingId;
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::lease::Stage;

/// How often a worker shows that it is there.
pub(super) const PRESENCE: Duration = Duration::from_secs(2);

/// A worker of which nothing was seen for so long is not there.
const SILENCE: Duration = Duration::from_secs(15);

/// How far the work on a recording is.
#[derive(Clone, Debug, FromRow)]
pub struct Progress {
    /// The recording.
    pub recording_id: i64,
    /// Whether a worker is at it.
    pub is_running: bool,
    /// How far it is, in milliseconds of the recording.
    pub done_ms: i64,
    /// How long the recording is, if that is known.
    pub total_ms: Option<i64>,
    /// Why the last attempt failed.
    pub reason: Option<String>,
    /// When the next may begin, if not now.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Whether the last attempt found that the speech model is not there which it asks for.
    pub waits_for_model: bool,
}

/// Which workers there are.
#[derive(Clone, Copy, Debug, FromRow, PartialEq, Eq)]
pub struct Present {
    /// Of any kind.
    pub any: bool,
    /// Those with a speech model.
    pub transcribers: bool,
}

/// What is under way with these recordings.
///
/// # Errors
/// When the database fails.
pub async fn progress(
    db: &mut PgConnection,
    recordings: &[RecordingId],
) -> Result<HashMap<RecordingId, Progress>, sqlx::Error> {
    let rows: Vec<Progress> = sqlx::query_as(
        "select recording_id, coalesce(leased_until > now(), false) as is_running, done_ms, total_ms, reason, waits_for_model,
             case when ready_at > now() and isfinite(ready_at) then ready_at end as next_attempt_at
         from job where recording_id = any ($1)",
    )
    .bind(recordings.iter().map(|id| id.0).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (RecordingId(row.recording_id), row)).collect())
}

/// The recordings that workers are at.
///
/// # Errors
/// When the database fails.
pub async fn running(db: &mut PgConnection) -> Result<Vec<RecordingId>, sqlx::Error> {
    let all = "select recording_id from job where leased_until > now()";
    let ids: Vec<i64> = sqlx::query_scalar(all).fetch_all(db).await?;
    Ok(ids.into_iter().map(RecordingId).collect())
}

/// The recordings for which no worker had the model that they are to be transcribed with.
///
/// # Errors
/// When the database fails.
pub async fn lacking_model(db: &mut PgConnection) -> Result<Vec<RecordingId>, sqlx::Error> {
    let all = "select recording_id from job where waits_for_model";
    let ids: Vec<i64> = sqlx::query_scalar(all).fetch_all(db).await?;
    Ok(ids.into_iter().map(RecordingId).collect())
}

/// How long these recordings are, in milliseconds, as far as a worker has found out.
///
/// # Errors
/// When the database fails.
pub async fn lengths(
    db: &mut PgConnection,
    recordings: &[RecordingId],
) -> Result<HashMap<RecordingId, i64>, sqlx::Error> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "select recording_id, total_ms from recording_length where recording_id = any ($1)",
    )
    .bind(recordings.iter().map(|id| id.0).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(id, total)| (RecordingId(id), total)).collect())
}

/// Somebody does not want to wait for the next attempt at a recording: it may begin now.
///
/// # Errors
/// When the database fails.
pub async fn hurry(db: &mut PgConnection, recording: RecordingId) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update job set ready_at = now() where recording_id = $1 and ready_at > now() and isfinite(ready_at)",
    )
    .bind(recording.0)
    .execute(db)
    .await?;
    Ok(())
}

/// Which workers there are.
///
/// # Errors
/// When the database fails.
pub async fn present_workers(db: &mut PgConnection) -> Result<Present, sqlx::Error> {
    sqlx::query_as(
        "select count(*) > 0 as any, coalesce(bool_or('transcribe' = any (stages)), false) as transcribers
         from worker where seen_at > now() - make_interval(secs => $1)",
    )
    .bind(SILENCE.as_secs_f64())
    .fetch_one(db)
    .await
}

/// A worker shows that it is there, and forgets those that have long gone.
pub(super) async fn present(
    pool: &PgPool,
    id: Uuid,
    name: &str,
    stages: &[Stage],
    lacks: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with gone as (delete from worker where seen_at < now() - interval '1 hour' and id <> $1)
         insert into worker (id, name, stages, lacks) values ($1, $2, $3, $4)
         on conflict (id) do update set stages = $3, lacks = $4, seen_at = now()",
    )
    .bind(id)
    .bind(name)
    .bind(stages.iter().map(|stage| stage.as_str()).collect::<Vec<_>>())
    .bind(lacks)
    .execute(pool)
    .await?;
    Ok(())
}

/// A worker goes.
pub(super) async fn absent(pool: &PgPool, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("delete from worker where id = $1").bind(id).execute(pool).await.map(|_| ())
}

/// A reactor and its jobs.
#[derive(Clone, Debug, Serialize)]
pub struct ReactorStatus {
    /// Its name.
    pub name: String,
    /// Everything up to here has led to jobs.
    pub position: i64,
    /// How many positions it is behind the log's end.
    pub lag: i64,
    /// Its jobs.
    pub jobs: JobCount,
    /// Processes that work on them.
    pub workers: i64,
}

/// Jobs, by how they stand.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct JobCount {
    /// Nobody is at them, and somebody may begin.
    pub waiting: i64,
    /// A worker is at them.
    pub running: i64,
    /// They failed, and are tried again later.
    pub postponed: i64,
    /// Their notes are deleted.
    pub suspended: i64,
    /// For how long the oldest has been there, in seconds.
    pub oldest_seconds: f64,
    /// Why the one that failed last did.
    pub failure: Option<String>,
}

/// All reactors.
///
/// # Errors
/// When the database fails.
pub async fn reactors(db: &mut PgConnection, head: i64) -> Result<Vec<ReactorStatus>, sqlx::Error> {
    let found: Vec<(String, i64)> =
        sqlx::query_as("select name, position from reactor order by name")
            .fetch_all(&mut *db)
            .await?;
    let mut reactors = Vec::new();
    for (name, position) in found {
        let jobs: JobCount = sqlx::query_as(
            "select count(*) filter (where not suspended and ready_at <= now()
                     and (leased_until is null or leased_until < now())) as waiting,
                 count(*) filter (where leased_until >= now()) as running,
                 count(*) filter (where not suspended and ready_at > now() and isfinite(ready_at)) as postponed,
                 count(*) filter (where suspended) as suspended,
                 coalesce(extract(epoch from now() - min(asked_at)), 0)::double precision as oldest_seconds,
                 (select reason from job where reason is not null order by ready_at desc limit 1) as failure
             from job",
        )
        .fetch_one(&mut *db)
        .await?;
        let workers: i64 = sqlx::query_scalar(
            "select count(*) from worker where seen_at > now() - make_interval(secs => $1)",
        )
        .bind(SILENCE.as_secs_f64())
        .fetch_one(&mut *db)
        .await?;
        let lag = (head - position).max(0);
        reactors.push(ReactorStatus { name, position, lag, jobs, workers });
    }
    Ok(reactors)
}
