//! How every read model stands, as the database has it: the same for whoever asks, from whichever process.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use crate::database::WriteTrouble;
use crate::files::FileTrouble;
use crate::generation;
use crate::jobs::{self, ReactorStatus};
use crate::log::RECORDED_AT;
use crate::log::keys::{self, KeyCount};
use crate::seal::store::{self, SealStatus};
use crate::search::vector_status::{self, VectorStatus};
use crate::verification::{self, Checks};
use crate::webhooks::{self, WebhookStatus};

/// The log and everything that follows it.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The log's last position.
    pub head: i64,
    /// Each read model, by name.
    pub projections: Vec<ProjectionStatus>,
    /// What reacts to events with work, and the jobs of each.
    pub reactors: Vec<Following>,
    /// Who is told of events, and how far each has been told.
    pub webhooks: Vec<WebhookStatus>,
    /// The keys of people and notes, and what erasures have left to be wiped off the disk.
    pub keys: KeyCount,
    /// What checks of the log and the read models have come to.
    #[serde(flatten)]
    pub checks: Checks,
    /// How far the log is sealed, if it ever was.
    pub seal: Option<SealStatus>,
    /// Why nothing more is sealed by the installation that asks, if it looked and that is so.
    pub seal_doubt: Option<String>,
    /// For how long the oldest event that is not sealed has been in the log, in seconds; 0 if there is none.
    #[serde(skip)]
    pub unsealed_seconds: f64,
    /// What is searched by meaning; none before there was a model.
    pub vectors: Vec<VectorStatus>,
    /// What is missing to embed texts, if whoever asks knows of something.
    pub vectors_lack: Option<String>,
    /// Why the database takes nothing new, if whoever asks knows that it does not.
    pub writes: Option<WriteTrouble>,
    /// The files beside the log, as whoever asks sees them.
    pub files: FileStatus,
}

/// How the files beside the log stand.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FileStatus {
    /// Where none can be stored.
    pub troubles: Vec<FileTrouble>,
    /// Why those that nothing names are not removed, if that is so.
    pub garbage: Option<String>,
}

impl Status {
    /// Nobody can tell how long it takes until there is what is missing.
    pub fn lack_for_vectors(&mut self, lack: Option<String>) {
        if lack.is_some() {
            self.vectors.iter_mut().for_each(|set| set.eta_seconds = None);
        }
        self.vectors_lack = lack;
    }
}

/// One read model.
#[derive(Clone, Debug, Serialize)]
pub struct ProjectionStatus {
    /// Its projector's name.
    pub name: String,
    /// The version of the projector's code that fills the live generation.
    pub version: i32,
    /// The number of the live generation.
    pub generation: i32,
    /// The generation before it, if it is kept.
    pub previous: Option<i32>,
    /// Everything up to here is in its tables.
    pub position: i64,
    /// How many positions it is behind the log's end.
    pub lag: i64,
    /// How many positions it is beyond the log's end, as when an older log was put back under it: it must be built anew.
    pub beyond: i64,
    /// For how long the oldest event that it has not seen has been in the log, in seconds.
    pub lag_seconds: f64,
    /// Events per second folded in the last minute, more or less.
    pub rate: f64,
    /// What its tables and indexes take on disk, in bytes.
    pub size: i64,
    /// The streams that it cannot follow.
    pub parked: Vec<ParkedStatus>,
    /// How many events it was told to skip.
    pub skipped: usize,
    /// These events, with who decided so and why.
    pub skipped_events: Vec<SkippedStatus>,
    /// The last rebuild, running or not.
    pub rebuild: Option<RebuildStatus>,
}

/// A reactor, and for how long it has been behind.
#[derive(Clone, Debug, Serialize)]
pub struct Following {
    /// The reactor.
    #[serde(flatten)]
    pub reactor: ReactorStatus,
    /// For how long the oldest event that it has not seen has been in the log, in seconds.
    pub lag_seconds: f64,
}

/// An event that a projector was told to skip.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct SkippedStatus {
    /// The projector's name.
    #[serde(skip)]
    pub projector: String,
    /// The type of its stream.
    pub aggregate_type: String,
    /// The id of its stream among those of its type.
    pub aggregate_id: String,
    /// Its place in the log.
    pub position: i64,
    /// What is wrong with it.
    pub error: String,
    /// Why it may be left out.
    pub reason: String,
    /// Who decided so.
    pub actor: String,
    /// When.
    pub skipped_at: DateTime<Utc>,
}

/// A stream that a projector cannot follow.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct ParkedStatus {
    /// The projector's name.
    #[serde(skip)]
    pub projector: String,
    /// The type of the stream.
    pub aggregate_type: String,
    /// Its id among those of its type.
    pub aggregate_id: String,
    /// The event from which on it is missing.
    pub position: i64,
    /// What is wrong with that event.
    pub error: String,
    /// Since when.
    pub parked_at: DateTime<Utc>,
}

/// A rebuild.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct RebuildStatus {
    /// The projector's name.
    #[serde(skip)]
    pub projector: String,
    /// The generation that it builds or built.
    pub generation: i32,
    /// Who runs it.
    pub holder: String,
    /// `loading`, `indexing`, `tailing`, `done`, `cancelled`, `failed`, or `interrupted` if nothing was heard of it for
    /// some time.
    pub phase: String,
    /// Events read.
    pub done: i64,
    /// Events there are to read.
    pub total: i64,
    /// How many streams the generation cannot follow.
    pub parked: i64,
    /// Events read per second so far.
    pub rate: f64,
    /// How much longer reading will take, in seconds.
    pub eta_seconds: Option<f64>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it failed.
    pub error: Option<String>,
}

impl RebuildStatus {
    /// Whether it has come to an end.
    pub fn is_over(&self) -> bool {
        !["loading", "indexing", "tailing"].contains(&self.phase.as_str())
    }

    /// Whether it came to nothing although nobody has called it off.
    pub fn has_failed(&self) -> bool {
        ["failed", "interrupted"].contains(&self.phase.as_str())
    }
}

/// A running rebuild that was not heard of for this long, in seconds, is dead.
pub const SILENCE: f64 = 15.0;

/// The live generation of each projector.
type Live = (String, i32, i32, i64, f64, Option<i32>, f64, i64);

/// Asks the database how everything stands.
///
/// # Errors
/// When the database fails.
pub async fn status(db: &mut PgConnection) -> Result<Status, sqlx::Error> {
    let head = head(db).await?;
    let projections = projections(db, head, None).await?;
    let checks = verification::checks(&mut *db).await?;
    let keys = keys::count(&mut *db).await?;
    let mut reactors = Vec::new();
    for reactor in jobs::reactors(&mut *db, head).await? {
        let lag_seconds = unseen_for(&mut *db, reactor.position).await?;
        reactors.push(Following { reactor, lag_seconds });
    }
    let webhooks = webhooks::standing(&mut *db, head).await?;
    let seal = store::status(&mut *db).await?;
    let unsealed_seconds = match &seal {
        Some(seal) => seal.lag_seconds,
        None => unseen_for(&mut *db, 0).await?,
    };
    let vectors = vector_status::status(db).await?;
    Ok(Status {
        head,
        projections,
        reactors,
        webhooks,
        keys,
        checks,
        seal,
        seal_doubt: None,
        unsealed_seconds,
        vectors,
        vectors_lack: None,
        writes: None,
        files: FileStatus::default(),
    })
}

/// Asks how one read model stands, and nothing else: for those who ask all the time.
///
/// # Errors
/// When the database fails.
pub async fn one(
    db: &mut PgConnection,
    name: &str,
) -> Result<Option<ProjectionStatus>, sqlx::Error> {
    let head = head(db).await?;
    Ok(projections(db, head, Some(name)).await?.pop())
}

/// The log's last position.
///
/// # Errors
/// When the database fails.
pub async fn head(db: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select coalesce(max(position), 0) from events").fetch_one(db).await
}

/// How all read models stand, or only one.
async fn projections(
    db: &mut PgConnection,
    head: i64,
    only: Option<&str>,
) -> Result<Vec<ProjectionStatus>, sqlx::Error> {
    let statement = format!(
        "select projector, number, version, position,
             rate * exp(greatest(-50, extract(epoch from moved_at - now())::double precision / 60)),
             (select max(number) from generation as old
              where old.projector = generation.projector and old.state = 'previous'),
             coalesce(extract(epoch from clock_timestamp() - (
                 select {RECORDED_AT} from events where events.position > generation.position
                 order by position limit 1))::double precision, 0),
             greatest(0, position - (select coalesce(max(events.position), 0) from events))
         from generation where state = 'live' and ($1::text is null or projector = $1) order by projector"
    );
    let live: Vec<Live> = sqlx::query_as(&statement).bind(only).fetch_all(&mut *db).await?;
    let parked = parked_of(db, only).await?;
    let skipped = skipped_of(db, only).await?;
    let rebuilds = rebuilds_of(db, only).await?;
    let mut projections = Vec::with_capacity(live.len());
    for (name, generation, version, position, rate, previous, lag_seconds, beyond) in live {
        let skipped_events: Vec<_> =
            skipped.iter().filter(|skipped| skipped.projector == name).cloned().collect();
        projections.push(ProjectionStatus {
            size: size(db, &generation::schema(&name, generation)).await?,
            lag: (head - position).max(0),
            parked: parked.iter().filter(|parked| parked.projector == name).cloned().collect(),
            rebuild: rebuilds.iter().find(|rebuild| rebuild.projector == name).cloned(),
            rate: (rate * 10.0).round() / 10.0,
            lag_seconds: lag_seconds.max(0.0),
            beyond,
            name,
            version,
            generation,
            previous,
            position,
            skipped: skipped_events.len(),
            skipped_events,
        });
    }
    Ok(projections)
}

/// For how long the first event after a position has been in the log, in seconds; 0 if there is none.
async fn unseen_for(db: &mut PgConnection, position: i64) -> Result<f64, sqlx::Error> {
    let statement = format!(
        "select extract(epoch from clock_timestamp() - {RECORDED_AT})::double precision from events
         where position > $1 order by position limit 1"
    );
    let seconds: Option<f64> =
        sqlx::query_scalar(&statement).bind(position).fetch_optional(db).await?;
    Ok(seconds.unwrap_or_default().max(0.0))
}

/// What projectors were told to skip.
///
/// # Errors
/// When the database fails.
pub async fn skipped(db: &mut PgConnection) -> Result<Vec<SkippedStatus>, sqlx::Error> {
    skipped_of(db, None).await
}

async fn skipped_of(
    db: &mut PgConnection,
    only: Option<&str>,
) -> Result<Vec<SkippedStatus>, sqlx::Error> {
    sqlx::query_as(
        "select projector, aggregate_type, aggregate_id, position, error, reason, actor, skipped_at
         from skipped_event where $1::text is null or projector = $1 order by projector, position",
    )
    .bind(only)
    .fetch_all(db)
    .await
}

/// What is parked in the live generations.
///
/// # Errors
/// When the database fails.
pub async fn parked(db: &mut PgConnection) -> Result<Vec<ParkedStatus>, sqlx::Error> {
    parked_of(db, None).await
}

async fn parked_of(
    db: &mut PgConnection,
    only: Option<&str>,
) -> Result<Vec<ParkedStatus>, sqlx::Error> {
    sqlx::query_as(
        "select projector, aggregate_type, aggregate_id, dead_letter.position, error, parked_at
         from dead_letter join generation using (projector)
         where number = generation and state = 'live' and ($1::text is null or projector = $1)
         order by projector, dead_letter.position",
    )
    .bind(only)
    .fetch_all(db)
    .await
}

/// The last rebuild of each projector.
///
/// # Errors
/// When the database fails.
pub async fn rebuilds(db: &mut PgConnection) -> Result<Vec<RebuildStatus>, sqlx::Error> {
    rebuilds_of(db, None).await
}

async fn rebuilds_of(
    db: &mut PgConnection,
    only: Option<&str>,
) -> Result<Vec<RebuildStatus>, sqlx::Error> {
    sqlx::query_as(
        "select projector, number as generation, holder, done, total, started_at, finished_at, error,
             (select count(*) from dead_letter
              where dead_letter.projector = rated.projector and dead_letter.generation = number) as parked,
             case when finished_at is null and heard_at < clock_timestamp() - make_interval(secs => $1)
                 then 'interrupted' else phase end as phase,
             rate, case when phase = 'loading' and rate > 0 then (total - done) / rate end as eta_seconds
         from (select *, done / greatest(0.001, extract(epoch from
                   coalesce(finished_at, clock_timestamp()) - started_at)::double precision) as rate
               from rebuild where $2::text is null or projector = $2) as rated",
    )
    .bind(SILENCE)
    .bind(only)
    .fetch_all(db)
    .await
}

async fn size(db: &mut PgConnection, schema: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint from pg_class
         where relnamespace = to_regnamespace($1) and relkind = 'r'",
    )
    .bind(schema)
    .fetch_one(db)
    .await
}
