//! `crm rebuild`: builds read models anew from the log beside those that are read, and swaps them in.
//!
//! A rebuild loads the log into the tables of a new generation, follows what is appended meanwhile, and swaps when there
//! is nothing left to follow: the last events, the swap and the checkpoint are one transaction. Whatever happens before it
//! leaves the live tables untouched. What a killed rebuild leaves behind is cleared away by the next, or by
//! whoever drops earlier generations.

mod previous;
mod pulse;
mod swap;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::BoxFuture;
use projections::database::Database;
use projections::dead_letter::DeadLetters;
use projections::follow::{FollowError, Target};
use projections::generation::{self, State};
use projections::projector::Projector;
use projections::status::{ParkedStatus, RebuildStatus, SILENCE};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::previous::{drop_unused, kept};
use self::pulse::Pulse;
use self::swap::follow_and_swap;
use crate::load::{Effort, Filling, Gauge, LoadError, load};

pub use self::previous::{drop_old, retain_with_previous, roll_back};
pub use self::pulse::{called_off, cancel};

/// The first key of the advisory lock that a rebuild holds; the second is the hash of the projector's name.
const REBUILD_LOCK: i32 = 0x0063_7262;

/// Why a rebuild did not happen. The live tables are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// There is no such read model.
    #[error("there is no read model {name:?}; there are {there}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those that there are.
        there: String,
    },
    /// Somebody else is at it.
    #[error(
        "{name} is being rebuilt by {holder} since {since}; wait for it, or call it off with `crm rebuild --cancel {name}`"
    )]
    Held {
        /// The projector.
        name: &'static str,
        /// Who runs the other rebuild.
        holder: String,
        /// When that began.
        since: String,
    },
    /// Somebody else is at it, and not for long.
    #[error(
        "somebody else is ending a rebuild of {0}, rolling it back, or dropping an earlier generation of it; try again"
    )]
    Taken(&'static str),
    /// The swap did not get the locks that it needs.
    #[error(
        "nothing was swapped: somebody holds a checkpoint that has to move, for more than 3 s ({0})"
    )]
    Busy(sqlx::Error),
    /// The projectors failed on more than single events.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// A defect: a projector panicked.
    #[error("a projector panicked: {0}")]
    Panicked(String),
    /// It was called off.
    #[error("the rebuild was called off; the live read models are as they were")]
    Cancelled,
    /// There is nothing to go back to.
    #[error("{0} has no previous generation: there is one after a rebuild, until it is dropped")]
    NoPrevious(&'static str),
    /// Only a release that knows that version can follow the log with it.
    #[error(
        "the previous generation of {name} was built by version {previous} of its projector, and this release has version \
         {version}; roll back with the release that built it"
    )]
    OtherVersion {
        /// The projector.
        name: &'static str,
        /// The version that built it.
        previous: i32,
        /// The version that this release has.
        version: i32,
    },
    /// What the log says next would never come into it.
    #[error(
        "the previous generation {number} of {name} stands at position {position}, the log ends at {end}: there is no going \
         back to it; `crm rebuild {name}` builds the read model anew"
    )]
    Beyond {
        /// The projector.
        name: &'static str,
        /// The generation.
        number: i32,
        /// Where it stands.
        position: i64,
        /// Where the log ends.
        end: i64,
    },
    /// Somebody reads what is to be dropped.
    #[error(
        "generation {number} of {name} is being read, perhaps by a check (`crm verify`, or the daily one) or a request that \
         takes long; try again when that is over"
    )]
    Read {
        /// The projector.
        name: &'static str,
        /// The generation.
        number: i32,
    },
    /// Another release is still using what is to be dropped.
    #[error(
        "generation {number} of {name} is still followed by a running crm of another release; stop that first"
    )]
    InUse {
        /// The projector.
        name: &'static str,
        /// The generation.
        number: i32,
    },
}

/// Finds projectors by name; all of them if no name is given.
///
/// # Errors
/// [`RebuildError::Unknown`].
pub fn find(
    all: Vec<Arc<dyn Projector>>,
    names: &[String],
) -> Result<Vec<Arc<dyn Projector>>, RebuildError> {
    let unknown = names.iter().find(|name| !all.iter().any(|projector| projector.name() == *name));
    if let Some(name) = unknown {
        let there: Vec<&str> = all.iter().map(|projector| projector.name()).collect();
        return Err(RebuildError::Unknown { name: name.clone(), there: there.join(", ") });
    }
    let wanted = |projector: &Arc<dyn Projector>| {
        names.is_empty() || names.iter().any(|name| name == projector.name())
    };
    let mut found: Vec<_> = all.into_iter().filter(wanted).collect();
    // Whoever locks several does so in one order.
    found.sort_by_key(|projector| projector.name());
    Ok(found)
}

/// A rebuild that has been admitted: nobody else can begin one of the same projectors.
pub struct Rebuild {
    database: Database,
    projectors: Vec<Arc<dyn Projector>>,
    /// Holds the locks.
    control: PgConnection,
    stop: CancellationToken,
    effort: Effort,
}

impl Rebuild {
    /// Takes the locks of these projectors. `holder` says what does, for whoever would like to as well: they are told the
    /// process and the host with it.
    ///
    /// # Errors
    /// [`RebuildError::Held`], or when the database fails.
    pub async fn admit(
        database: &Database,
        projectors: Vec<Arc<dyn Projector>>,
        holder: &str,
        stop: CancellationToken,
    ) -> Result<Self, RebuildError> {
        let control = hold_all(database, &projectors).await?;
        Self::enrolled(database, projectors, control, holder, stop).await
    }

    /// Likewise, of a projector of which no generation is of this release's version. `None` if there is one by now: somebody
    /// was faster.
    ///
    /// # Errors
    /// As [`Rebuild::admit`].
    pub async fn admit_renewal(
        database: &Database,
        projector: Arc<dyn Projector>,
        holder: &str,
        stop: CancellationToken,
    ) -> Result<Option<Self>, RebuildError> {
        let mut control = hold_all(database, std::slice::from_ref(&projector)).await?;
        // Only under the lock does the answer hold.
        let all = generation::all(&mut control).await?;
        if !generation::lacks_own(&all, &*projector) {
            release(control).await;
            return Ok(None);
        }
        Self::enrolled(database, vec![projector], control, holder, stop).await.map(Some)
    }

    async fn enrolled(
        database: &Database,
        projectors: Vec<Arc<dyn Projector>>,
        mut control: PgConnection,
        holder: &str,
        stop: CancellationToken,
    ) -> Result<Self, RebuildError> {
        let holder = match std::fs::read_to_string("/proc/sys/kernel/hostname") {
            Ok(host) => format!("{holder}, process {} on {}", std::process::id(), host.trim()),
            // Not every system tells.
            Err(_) => format!("{holder}, process {}", std::process::id()),
        };
        for projector in &projectors {
            sqlx::query(
                "insert into rebuild (projector, number, holder, phase, total)
                 values ($1, 0, $2, 'loading', (select coalesce(max(position), 0) from events))
                 on conflict (projector) do update set number = 0, holder = excluded.holder, phase = excluded.phase,
                     done = 0, total = excluded.total, started_at = now(), heard_at = clock_timestamp(),
                     finished_at = null, error = null, cancelled = false",
            )
            .bind(projector.name())
            .bind(&holder)
            .execute(&mut control)
            .await?;
        }
        Ok(Self { database: database.clone(), projectors, control, stop, effort: Effort::full() })
    }

    /// With another effort than the full one.
    #[must_use]
    pub fn with_effort(self, effort: Effort) -> Self {
        Self { effort, ..self }
    }

    /// Builds the new generations and swaps them in. `watch` is told how far it is, several times a second. Tells which
    /// streams they cannot follow.
    ///
    /// # Errors
    /// See [`RebuildError`].
    pub async fn run(
        self,
        watch: impl FnMut(&[RebuildStatus]) + Send + 'static,
    ) -> Result<Vec<ParkedStatus>, RebuildError> {
        let Self { database, projectors, mut control, stop, effort } = self;
        let names: Vec<&'static str> =
            projectors.iter().map(|projector| projector.name()).collect();
        let gauge = Arc::new(Gauge::default());
        let (over, is_over) = watch::channel(false);
        let pulse = Pulse {
            database: database.clone(),
            names: names.clone(),
            stop: stop.clone(),
            gauge: gauge.clone(),
        };
        let pulse = tokio::spawn(pulse.beat(is_over, watch));
        let mut begun = Vec::new();
        // Boxed, since the compiler does not see that so deep a future may move between threads.
        let built: BoxFuture<'_, _> = Box::pin(build(
            &database,
            &projectors,
            effort,
            &gauge,
            &stop,
            &mut control,
            &mut begun,
        ));
        let mut built = built.await;
        if built.is_err() && clear_away(&mut control, &begun).await {
            built = Ok(());
        }
        let (phase, error) = match &built {
            Ok(()) => ("done", None),
            Err(RebuildError::Cancelled) => ("cancelled", None),
            Err(error) => ("failed", Some(error.to_string())),
        };
        // One that was swapped has been closed with it.
        let closed = sqlx::query(
            "update rebuild set phase = $2, error = $3, finished_at = clock_timestamp(),
                 done = case when $2 = 'done' then total else done end
             where projector = any($1) and finished_at is null",
        )
        .bind(&names)
        .bind(phase)
        .bind(error)
        .execute(&mut control)
        .await;
        let _ = over.send(true);
        // The last report goes out before this one ends; a panic in it has been reported already.
        let _ = pulse.await;
        // What was swapped is swapped, whatever comes after.
        if let Err(error) = closed {
            tracing::warn!(%error, "the end of a rebuild was not recorded");
        }
        let parked = match built {
            Ok(()) => Ok(parked(&mut control, &names).await),
            Err(error) => Err(error),
        };
        release(control).await;
        parked
    }
}

/// What the new generations cannot follow.
async fn parked(control: &mut PgConnection, names: &[&str]) -> Vec<ParkedStatus> {
    match projections::status::parked(control).await {
        Ok(mut all) => {
            all.retain(|parked| names.contains(&parked.projector.as_str()));
            all
        }
        Err(error) => {
            tracing::warn!(%error, "cannot tell what is parked; `crm projections parked` lists it");
            vec![]
        }
    }
}

/// Gives the locks back, and only then the connection: Postgres takes its time to notice that somebody has gone.
async fn release(mut control: PgConnection) {
    // If it cannot be told, it will notice.
    let _ = sqlx::query("select pg_advisory_unlock_all()").execute(&mut control).await;
    let _ = control.close().await;
}

/// Takes the locks of these projectors, which are those of the connection.
async fn hold_all(
    database: &Database,
    projectors: &[Arc<dyn Projector>],
) -> Result<PgConnection, RebuildError> {
    let mut control = database.options_for(&[]).connect().await?;
    generation::ensure(&mut control, projectors).await?;
    for projector in projectors {
        hold(&mut control, projector.name()).await?;
    }
    Ok(control)
}

/// Takes the lock of a projector, or says who has it.
async fn hold(control: &mut PgConnection, name: &'static str) -> Result<(), RebuildError> {
    let got: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, hashtext($2))")
        .bind(REBUILD_LOCK)
        .bind(name)
        .fetch_one(&mut *control)
        .await?;
    if got {
        return Ok(());
    }
    let holder: Option<(String, String)> = sqlx::query_as(
        "select holder, to_char(started_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS \"UTC\"') from rebuild
         where projector = $1 and finished_at is null
             and heard_at > clock_timestamp() - make_interval(secs => $2)",
    )
    .bind(name)
    .bind(SILENCE)
    .fetch_optional(control)
    .await?;
    Err(match holder {
        Some((holder, since)) => RebuildError::Held { name, holder, since },
        None => RebuildError::Taken(name),
    })
}

/// The way from empty tables to the live ones.
async fn build(
    database: &Database,
    projectors: &[Arc<dyn Projector>],
    effort: Effort,
    gauge: &Arc<Gauge>,
    stop: &CancellationToken,
    control: &mut PgConnection,
    begun: &mut Vec<Target>,
) -> Result<(), RebuildError> {
    begin_all(control, projectors, begun).await?;
    let names: Vec<&str> = begun.iter().map(Target::name).collect();
    let head = aim(control, &names).await?;
    let mut fillings = Vec::new();
    for target in &*begun {
        let (projector, schema) = (target.projector.clone(), target.schema());
        let skipped = skipped(control, target.name()).await?;
        let parked = HashMap::new();
        fillings.push(Filling { projector, schema, to: head, skipped, parked });
    }
    let mut filled = load(database, &fillings, effort, gauge, stop).await;
    if let Err(error) = &filled
        && error.is_about_events()
    {
        tracing::warn!(%error, "the log cannot be loaded as a whole; event by event then");
        begun.clear();
        begin_all(control, projectors, begun).await?;
        for target in &*begun {
            generation::finish_tables(control, &*target.projector, &target.schema()).await?;
        }
        gauge.is_careful.store(true, Ordering::Release);
        filled = Ok(vec![]);
    }
    match filled {
        Ok(filled) => {
            let mut tx = control.begin().await?;
            let letters = DeadLetters::default();
            for (target, filled) in begun.iter().zip(filled) {
                // What a person has had skipped meanwhile is parked all the same; the first to follow tries it again.
                for parked in &filled.parked {
                    letters.park(&mut tx, target, parked).await?;
                }
                sqlx::query(
                    "update generation set position = $3, changed = $4 where projector = $1 and number = $2",
                )
                .bind(target.name())
                .bind(target.number)
                .bind(head)
                .bind(filled.changed)
                .execute(&mut *tx)
                .await?;
            }
            tx.commit().await?;
        }
        Err(LoadError::Database(error)) => return Err(error.into()),
        Err(LoadError::Project { name, source }) => {
            return Err(FollowError::Project { name, source }.into());
        }
        Err(LoadError::Panicked(error)) => return Err(RebuildError::Panicked(error)),
        Err(LoadError::Stopped) => return Err(RebuildError::Cancelled),
    }
    let mut retired = Vec::new();
    for target in &*begun {
        retired.extend(kept(control, target.name()).await?);
    }
    let cancelled: Option<bool> =
        sqlx::query_scalar("select bool_or(cancelled) from rebuild where projector = any($1)")
            .bind(names)
            .fetch_one(&mut *control)
            .await?;
    if cancelled == Some(true) {
        return Err(RebuildError::Cancelled);
    }
    // So much work is not given up because somebody is in the way of its last step.
    while let Err(error) = follow_and_swap(database, begun, stop).await {
        match error {
            RebuildError::Busy(error) => tracing::warn!(%error, "a swap has to wait"),
            error => return Err(error),
        }
    }
    for old in retired {
        // One that another release still follows goes with the next rebuild.
        if let Err(error) = drop_unused(control, &old).await {
            tracing::info!(generation = old.schema(), %error, "an old generation is kept for now");
        }
    }
    Ok(())
}

async fn begin_all(
    control: &mut PgConnection,
    projectors: &[Arc<dyn Projector>],
    begun: &mut Vec<Target>,
) -> Result<(), RebuildError> {
    for projector in projectors {
        let number = generation::begin(control, &**projector).await?;
        begun.push(Target { projector: projector.clone(), number, state: State::Building });
        sqlx::query("update rebuild set number = $2 where projector = $1")
            .bind(projector.name())
            .bind(number)
            .execute(&mut *control)
            .await?;
    }
    Ok(())
}

/// Up to where the log is to be loaded: that is all there is to read, however much was appended since the rebuild was
/// admitted.
async fn aim(control: &mut PgConnection, names: &[&str]) -> Result<i64, sqlx::Error> {
    let head: i64 = sqlx::query_scalar("select coalesce(max(position), 0) from events")
        .fetch_one(&mut *control)
        .await?;
    sqlx::query("update rebuild set total = $2 where projector = any($1)")
        .bind(names)
        .bind(head)
        .execute(control)
        .await?;
    Ok(head)
}

async fn skipped(control: &mut PgConnection, name: &str) -> Result<HashSet<i64>, sqlx::Error> {
    let skipped: Vec<i64> =
        sqlx::query_scalar("select position from skipped_event where projector = $1")
            .bind(name)
            .fetch_all(control)
            .await?;
    Ok(skipped.into_iter().collect())
}

/// Drops what a failed rebuild has built; if that fails as well, the next rebuild does it. Tells whether there was nothing
/// to drop, since all of it has become live: then only the news of the swap was lost.
async fn clear_away(control: &mut PgConnection, begun: &[Target]) -> bool {
    let mut is_live = !begun.is_empty();
    for target in begun {
        match generation::remove_unfinished(control, target.name(), target.number).await {
            Ok(removed) => is_live &= !removed,
            Err(error) => {
                is_live = false;
                tracing::debug!(%error, "what a rebuild has built is left for the next to clear away");
            }
        }
    }
    is_live
}
