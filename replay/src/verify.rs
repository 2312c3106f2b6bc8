//! `crm verify`: proves that the log is whole, and that every read model is what the log says.
//!
//! Read models are compared with tables built from the log for that purpose, row by row, at the position at which a
//! snapshot of the live ones stands. Nothing is locked: others read and write meanwhile.

mod careful;
mod claims;
mod difference;
mod guards;
mod log;
mod models;
mod seals;

use std::sync::Arc;

use chrono::Utc;
use projections::database::Database;
use projections::generation;
use projections::projector::Projector;
use projections::read;
use projections::seal::KeptError;
use projections::search::check::{self as vector_check, VectorReport};
use projections::search::engine::Engine;
use projections::verification::{self, Ended};
use serde::Serialize;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::load::Effort;

pub use difference::{ColumnDifference, Difference};
pub use log::LogReport;
pub use models::ModelReport;
pub use seals::{SealReport, Witness};

/// The advisory lock of whoever verifies: one at a time.
pub(crate) const VERIFY_LOCK: i64 = 0x6372_6d5f_7665_7201;

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Whether all is well.
    pub passed: bool,
    /// The log's end when the check began.
    pub position: i64,
    /// The log.
    pub log: LogReport,
    /// Its seals.
    pub seals: SealReport,
    /// The read models; empty when only the log was looked at.
    pub projections: Vec<ModelReport>,
    /// The sets of vectors; `None` when they were not looked at.
    pub vectors: Option<Vec<VectorReport>>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Something that is not as it should be, or worth knowing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// Where in the log, if it is at one place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    /// What is wrong, for a person.
    pub what: String,
}

impl Finding {
    fn new(check: &'static str, position: impl Into<Option<i64>>, what: impl Into<String>) -> Self {
        Self { check, position: position.into(), what: what.into() }
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// One check at a time.
    #[error("another check is running; wait for it, `crm status` shows its result")]
    Running,
    /// What this installation remembers of its seals cannot be read.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// It was told to stop.
    #[error("the check was called off")]
    Stopped,
}

/// What to look at.
#[derive(Clone)]
pub struct VerifyOptions {
    /// The read models to compare; none of them looks at the log alone.
    pub projectors: Vec<Arc<dyn Projector>>,
    /// The engine that holds the vectors; `None` leaves these out.
    pub engine: Option<Arc<dyn Engine>>,
    /// What is known of its seals beside what stands in the database.
    pub witness: Witness,
    /// What it may take of the machine.
    pub effort: Effort,
    /// Ends the check early.
    pub stop: CancellationToken,
}

/// The most findings and differences of one kind that a report lists; the rest is counted.
const LISTED: usize = 100;

/// Checks the log and the read models, and records the outcome.
///
/// # Errors
/// When nothing can be said. That something is wrong is no error, but in the report.
pub async fn verify(
    database: &Database,
    options: VerifyOptions,
    phase: impl FnMut(&'static str) + Send,
) -> Result<VerifyReport, VerifyError> {
    let mut control = database.options_for(&[]).connect().await?;
    let got: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(VERIFY_LOCK)
        .fetch_one(&mut control)
        .await?;
    if !got {
        return Err(VerifyError::Running);
    }
    // Whatever it waits for, most of all the sorting of the whole log, it is not waited for any longer once it is to stop:
    // its connections go with it, and Postgres gives up what was asked on them.
    let mut ended = Ended::begin(scope(&options), is_full(&options));
    let checked = tokio::select! {
        checked = check(database, &mut control, &options, &mut ended, phase) => checked,
        () = options.stop.cancelled() => Err(VerifyError::Stopped),
    };
    if let Err(error) = &checked {
        drop(control);
        ended.error = Some(error.to_string());
        if let Err(error) = clear_away(database, &options.projectors, &ended).await {
            tracing::debug!(%error, "what was built for a check is left for the next to clear away");
        }
        return checked;
    }
    // A connection that is closed may hold its locks for a moment longer, and the next check should not meet them. The
    // outcome stands, whatever comes after it.
    let unlock = sqlx::query("select pg_advisory_unlock($1)").bind(VERIFY_LOCK);
    let _ = unlock.execute(&mut control).await;
    let _ = control.close().await;
    checked
}

/// Drops what a check has built that came to nothing, and leaves word of it. The connection with its lock may be what was
/// lost, so that it takes another one, and the lock again: nobody else's tables are touched.
async fn clear_away(
    database: &Database,
    projectors: &[Arc<dyn Projector>],
    ended: &Ended,
) -> Result<(), sqlx::Error> {
    let options = database.options_for(&[]).options([("lock_timeout", "10s")]);
    let mut connection = options.connect().await?;
    let lock = sqlx::query("select pg_advisory_lock($1)").bind(VERIFY_LOCK);
    lock.execute(&mut connection).await?;
    for projector in projectors {
        generation::drop_tables(&mut connection, &models::scratch(&**projector)).await?;
    }
    // After the tables: what filled the disk may have been they.
    verification::record(&mut connection, ended).await?;
    let unlock = sqlx::query("select pg_advisory_unlock($1)").bind(VERIFY_LOCK);
    unlock.execute(&mut connection).await?;
    connection.close().await
}

async fn check(
    database: &Database,
    control: &mut PgConnection,
    options: &VerifyOptions,
    ended: &mut Ended,
    mut phase: impl FnMut(&'static str) + Send,
) -> Result<VerifyReport, VerifyError> {
    let position: i64 = sqlx::query_scalar("select coalesce(max(position), 0) from events")
        .fetch_one(&mut *control)
        .await?;
    ended.position = position;
    phase("log");
    let log = log::check(database, position).await?;
    phase("seals");
    let seals = seals::check(database, &options.witness).await?;
    let mut projections = Vec::new();
    if !options.projectors.is_empty() {
        phase("read models");
        projections = models::check(database, control, options).await?;
        for model in projections.iter().filter(|model| !model.was_compared()) {
            ended.scope.retain(|name| *name != model.name);
            ended.is_full = false;
        }
    }
    let mut vectors = None;
    if let Some(engine) = &options.engine {
        phase("vectors");
        vectors = Some(vector_check::check(database, engine).await?);
    }
    let passed = log.errors == 0
        && seals.errors == 0
        && projections.iter().all(ModelReport::passed)
        && vectors.iter().flatten().all(VectorReport::passed);
    let elapsed = Utc::now().signed_duration_since(ended.started_at);
    let seconds = elapsed.to_std().unwrap_or_default().as_secs_f64();
    let report = VerifyReport { passed, position, log, seals, projections, vectors, seconds };
    let told = serde_json::to_value(&report).map_err(|error| sqlx::Error::Encode(error.into()))?;
    ended.outcome = Some((passed, told));
    verification::record(control, ended).await?;
    Ok(report)
}

/// What a check looks at, by name.
fn scope(options: &VerifyOptions) -> Vec<String> {
    let models = options.projectors.iter().map(|projector| projector.name());
    let vectors = options.engine.as_ref().map(|_| "vectors");
    std::iter::once("log").chain(models).chain(vectors).map(str::to_owned).collect()
}

/// Whether a check looks at everything that there is.
fn is_full(options: &VerifyOptions) -> bool {
    let is_looked_at = |name: &str| options.projectors.iter().any(|one| one.name() == name);
    options.engine.is_some() && read::projectors().iter().all(|one| is_looked_at(one.name()))
}
