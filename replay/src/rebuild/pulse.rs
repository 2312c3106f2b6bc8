//! What a running rebuild says of itself, and how it is called off.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use projections::database::Database;
use projections::status::{RebuildStatus, SILENCE};
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::load::Gauge;

/// How often a running rebuild says how far it is, and looks whether it was called off.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// Asks a running rebuild to stop, wherever it runs. Tells whether there is one.
///
/// # Errors
/// When the database fails.
pub async fn cancel(db: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    let asked = sqlx::query(
        "update rebuild set cancelled = true where projector = $1 and finished_at is null
             and heard_at > clock_timestamp() - make_interval(secs => $2)",
    )
    .bind(name)
    .bind(SILENCE)
    .execute(db)
    .await?;
    Ok(asked.rows_affected() > 0)
}

/// The projectors of which somebody has called a rebuild off since then, and of which none was begun since.
///
/// # Errors
/// When the database fails.
pub async fn called_off(
    db: &mut PgConnection,
    since: DateTime<Utc>,
) -> Result<Vec<String>, sqlx::Error> {
    // One that ended with its server was asked for by nobody.
    sqlx::query_scalar(
        "select projector from rebuild where phase = 'cancelled' and cancelled and finished_at > $1",
    )
    .bind(since)
    .fetch_all(db)
    .await
}

/// Says how far a rebuild is, and hears whether it is called off.
pub(super) struct Pulse {
    pub(super) database: Database,
    pub(super) names: Vec<&'static str>,
    pub(super) stop: CancellationToken,
    pub(super) gauge: Arc<Gauge>,
}

impl Pulse {
    pub(super) async fn beat(
        self,
        mut is_over: watch::Receiver<bool>,
        mut watch: impl FnMut(&[RebuildStatus]),
    ) {
        let mut connection = None;
        loop {
            let last = *is_over.borrow_and_update();
            match self.beat_once(&mut connection).await {
                Ok(now) => watch(&now),
                Err(error) => {
                    tracing::debug!(%error, "the progress of a rebuild was not recorded");
                    connection = None;
                }
            }
            if last {
                return;
            }
            tokio::select! {
                _ = is_over.changed() => {}
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
        }
    }

    async fn beat_once(
        &self,
        connection: &mut Option<PgConnection>,
    ) -> Result<Vec<RebuildStatus>, sqlx::Error> {
        let db = match connection {
            Some(connection) => connection,
            None => connection.insert(self.database.options_for(&[]).connect().await?),
        };
        let read = self.gauge.read.load(Ordering::Acquire);
        let is_indexing = self.gauge.is_indexing.load(Ordering::Acquire);
        let is_careful = self.gauge.is_careful.load(Ordering::Acquire);
        // A swap holds these rows at its end and must not meet somebody who waits for some and holds others.
        let cancelled: Vec<bool> = sqlx::query_scalar(
            "update rebuild set heard_at = clock_timestamp(),
                 done = case when $4 then least(reached, total) when $3 then total else least($2, total) end,
                 phase = case when $4 and reached < total then 'loading'
                     when not ($3 or $4) then 'loading' when reached > 0 then 'tailing' else 'indexing' end
             from (select projector as name, coalesce((select position from generation
                       where generation.projector = rebuild.projector
                           and generation.number = rebuild.number), 0) as reached
                   from rebuild where projector = any($1) and finished_at is null for update skip locked) as running
             where projector = name returning cancelled",
        )
        .bind(&self.names)
        .bind(read)
        .bind(is_indexing)
        .bind(is_careful)
        .fetch_all(&mut *db)
        .await?;
        if cancelled.contains(&true) {
            self.stop.cancel();
        }
        let mut all = projections::status::rebuilds(db).await?;
        all.retain(|rebuild| self.names.contains(&rebuild.projector.as_str()));
        Ok(all)
    }
}
