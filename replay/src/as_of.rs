//! Read models as they stood at an earlier position: scratch tables that all projectors have filled up to it, asked with the
//! statements that ask the live ones. Such a *scene* takes a while to build, so a few are kept for whoever asks next.
//!
//! A scene's schema is locked by the connection that asks it; what a dead process leaves behind is free, and dropped by the
//! next that starts. Its tables are unlogged: a crash of Postgres would empty them, but it also breaks that connection, and
//! the scene with it.
//!
//! A scene may show what was erased after it was begun. So no answer of it is given out before the log has been looked
//! through for erasures since then, by whichever process: that keeps answers right. What makes processes drop such scenes,
//! and give up those that they are building, is hearing of the erasure; the scrub waits until they have.

mod kept;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use projections::database::{Database, DatabaseError};
use projections::projector::Projector;
use projections::{dead_letter, generation};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::load::{Effort, Filling, Gauge, LoadError, load};

use kept::{Found, Kept, Shelf};

/// The first key of the advisory lock on a scene; the second is the hash of its schema.
const SCENE_LOCK: i32 = 0x6372_7363;

/// The most scenes built at a time: each reads the log from its beginning, on connections of its own.
const BUILT_AT_ONCE: usize = 2;

/// How often to look for scenes that nobody asks, or that show what was erased meanwhile in case that was not heard.
const LOOK: Duration = Duration::from_secs(30);

/// Why a scene cannot be asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SceneError {
    /// The database cannot be reached.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A defect, or an event that a projector cannot fold.
    #[error("the read models as of position {position} cannot be built: {error}")]
    Failed {
        /// The position.
        position: i64,
        /// What went wrong.
        error: String,
    },
    /// So many are being built that this one would have to wait for long.
    #[error("too many earlier states are being looked up")]
    Busy,
    /// What there was might have shown what was erased since.
    #[error("records were erased meanwhile")]
    Erased,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
}

/// Builds scenes and keeps a few. Clones share them.
#[derive(Clone)]
pub struct Scenes(Arc<Shared>);

struct Shared {
    database: Database,
    projectors: Vec<Arc<dyn Projector>>,
    kept: Shelf,
    /// Whoever has one builds a scene.
    turns: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Scene {
    schema: String,
    /// Holds the lock, and finds the scene's tables before all others. `None` once the scene is gone.
    open: tokio::sync::Mutex<Option<Open>>,
}

struct Open {
    connection: PgConnection,
    /// Up to here the log was searched for erasures since the scene was built.
    searched: i64,
}

impl Scenes {
    /// Keeps scenes of these read models, none yet, and clears away what dead processes have left. `erased` changes whenever
    /// something was erased, here or elsewhere.
    pub fn start(
        database: Database,
        mut projectors: Vec<Arc<dyn Projector>>,
        erased: watch::Receiver<u64>,
    ) -> Self {
        projectors.retain(|projector| projector.has_past());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (kept, turns) = (Shelf::default(), Semaphore::new(BUILT_AT_ONCE));
        let scenes = Self(Arc::new(Shared { database, projectors, kept, turns, tasks, stop }));
        scenes.0.tasks.spawn(scenes.0.clone().tend(erased));
        scenes
    }

    /// Asks the read models as they stood at a position. Whoever gives up waiting does not stop the scene from being built:
    /// it is there for the next who asks.
    ///
    /// # Errors
    /// See [`SceneError`].
    pub async fn ask<T: Send>(
        &self,
        position: i64,
        question: impl for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Sync,
    ) -> Result<T, SceneError> {
        // One connection may be lost, and one erasure may come between.
        const ATTEMPTS: usize = 3;
        let mut failure = SceneError::Erased;
        for _ in 0..ATTEMPTS {
            let mut kept = self.0.find_or_begin(position)?;
            let scene = match kept.built().await {
                Err(SceneError::Erased) => continue,
                scene => scene?,
            };
            let mut open = scene.open.lock().await;
            let Some(there) = open.as_mut() else { continue };
            let asking = async {
                let answer = question(&mut there.connection).await?;
                // Only now: what was erased while it was asked is not to be shown either.
                Ok((!there.shows_what_is_erased().await?).then_some(answer))
            };
            match self.0.database.ask(asking).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(error) => failure = explain(position, error),
            }
            // Its connection is of no use any more, or what it shows is not to be shown.
            self.0.kept.forget(&kept);
            if let Some(gone) = open.take() {
                let shared = self.0.clone();
                let schema = scene.schema.clone();
                self.0.tasks.spawn(async move { shared.clear(gone.connection, &schema).await });
            }
        }
        Err(failure)
    }

    /// Drops all scenes and ends.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.give_up(self.0.kept.take_all());
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Shared {
    /// The scene of a position, which is built unless somebody has begun to.
    fn find_or_begin(self: &Arc<Self>, position: i64) -> Result<Kept, SceneError> {
        let (kept, tell) = match self.kept.find(position, &self.stop)? {
            Found::Known(kept) => return Ok(kept),
            Found::New(kept, tell) => (kept, tell),
        };
        let (shared, own) = (self.clone(), kept.clone());
        self.tasks.spawn(async move {
            let scene = shared.build(position, &own.stop).await;
            if let Err(error) = &scene {
                tracing::warn!(position, %error, "a scene was not built");
                shared.kept.forget(&own);
            }
            tell.send_replace(Some(scene));
            shared.give_up(shared.kept.take_surplus(&own));
        });
        Ok(kept)
    }

    /// Builds a scene when it is its turn, unless it is called off.
    async fn build(
        self: &Arc<Self>,
        position: i64,
        stop: &CancellationToken,
    ) -> Result<Arc<Scene>, SceneError> {
        let called_off = || match self.stop.is_cancelled() {
            true => SceneError::Stopped,
            false => SceneError::Erased,
        };
        let turn = stop.run_until_cancelled(self.turns.acquire()).await;
        let _turn = turn.and_then(Result::ok).ok_or_else(called_off)?;
        let schema = format!("scene_{}", Uuid::new_v4().simple());
        let started = Instant::now();
        let options = self.database.options_for(std::slice::from_ref(&schema));
        let connecting = self.database.ask(options.connect()).await;
        let mut connection = connecting.map_err(|error| explain(position, error))?;
        let filling = self.fill(&mut connection, &schema, position, stop);
        let filled = stop.run_until_cancelled(filling).await.unwrap_or(Err(LoadError::Stopped));
        match filled {
            Ok(searched) => {
                tracing::debug!(position, elapsed = ?started.elapsed(), "a scene is there");
                let open = tokio::sync::Mutex::new(Some(Open { connection, searched }));
                Ok(Arc::new(Scene { schema, open }))
            }
            Err(error) => {
                // What Postgres is still doing there has to end first, which whoever wants another one need not wait for.
                let shared = self.clone();
                self.tasks.spawn(async move { shared.clear(connection, &schema).await });
                Err(match error {
                    LoadError::Stopped => called_off(),
                    LoadError::Database(error) => explain(position, self.database.judge(error)),
                    error => SceneError::Failed { position, error: error.to_string() },
                })
            }
        }
    }

    async fn fill(
        &self,
        connection: &mut PgConnection,
        schema: &str,
        position: i64,
        stop: &CancellationToken,
    ) -> Result<i64, LoadError> {
        sqlx::query("select pg_advisory_lock($1, hashtext($2))")
            .bind(SCENE_LOCK)
            .bind(schema)
            .execute(&mut *connection)
            .await?;
        generation::create_scratch(connection, &self.projectors, schema).await?;
        let searched: i64 = sqlx::query_scalar("select coalesce(max(position), 0) from events")
            .fetch_one(&mut *connection)
            .await?;
        let all = generation::all(connection).await?;
        let mut fillings = Vec::new();
        for projector in &self.projectors {
            // What cannot be followed today keeps nobody from seeing the rest.
            let parked = match generation::served(&all, &**projector) {
                Some(served) => dead_letter::parked(connection, served).await?,
                None => vec![],
            };
            let parked = parked.into_iter().map(|it| (it.stream, it.position));
            let skipped: Vec<i64> =
                sqlx::query_scalar("select position from skipped_event where projector = $1")
                    .bind(projector.name())
                    .fetch_all(&mut *connection)
                    .await?;
            fillings.push(Filling {
                projector: projector.clone(),
                schema: schema.to_owned(),
                to: position,
                skipped: skipped.into_iter().collect::<HashSet<_>>(),
                parked: parked.collect(),
            });
        }
        load(&self.database, &fillings, Effort::single(), &Arc::<Gauge>::default(), stop).await?;
        Ok(searched)
    }

    /// Calls off those of these scenes that are being built, and drops each as soon as nobody asks it.
    fn give_up(self: &Arc<Self>, scenes: Vec<Kept>) {
        for mut kept in scenes {
            kept.stop.cancel();
            let shared = self.clone();
            self.tasks.spawn(async move {
                let Ok(scene) = kept.built().await else { return };
                let open = scene.open.lock().await.take();
                if let Some(open) = open {
                    shared.clear(open.connection, &scene.schema).await;
                }
            });
        }
    }

    async fn clear(&self, mut connection: PgConnection, schema: &str) {
        let dropped = generation::drop_tables(&mut connection, schema);
        match self.database.ask(dropped).await {
            // Its lock goes with it.
            Ok(()) => drop(connection.close().await),
            Err(error) => tracing::info!(%error, schema, "a scene is dropped later"),
        }
    }

    /// Clears away what is of no use any more, until the server stops.
    async fn tend(self: Arc<Self>, mut erased: watch::Receiver<u64>) {
        while !self.stop.is_cancelled() {
            if let Err(error) = self.drop_abandoned().await {
                tracing::debug!(%error, "scenes of dead processes are dropped later");
            }
            self.give_up(self.kept.take_idle());
            self.drop_erased().await;
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(LOOK) => {}
                Ok(()) = erased.changed() => self.give_up(self.kept.take_all()),
            }
        }
    }

    async fn drop_abandoned(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.database.options_for(&[]).connect().await?;
        drop_abandoned(&mut connection).await?;
        connection.close().await
    }

    /// Drops scenes that show what was erased since, by whichever process.
    async fn drop_erased(&self) {
        for kept in self.kept.all() {
            let Some(Ok(scene)) = kept.outcome() else { continue };
            // Whoever asks it looks as well.
            let Ok(mut open) = scene.open.try_lock() else { continue };
            let Some(there) = open.as_mut() else { continue };
            if matches!(self.database.ask(there.shows_what_is_erased()).await, Ok(false)) {
                continue;
            }
            self.kept.forget(&kept);
            if let Some(gone) = open.take() {
                self.clear(gone.connection, &scene.schema).await;
            }
        }
    }
}

impl Open {
    /// Whether something was erased since the scene was built.
    async fn shows_what_is_erased(&mut self) -> Result<bool, sqlx::Error> {
        let (last, is_erased): (Option<i64>, Option<bool>) = sqlx::query_as(
            "select max(position), bool_or(event_type = 'Erased') from events where position > $1",
        )
        .bind(self.searched)
        .fetch_one(&mut self.connection)
        .await?;
        let is_erased = is_erased.unwrap_or(false);
        if let (Some(last), false) = (last, is_erased) {
            self.searched = last;
        }
        Ok(is_erased)
    }
}

fn explain(position: i64, error: DatabaseError) -> SceneError {
    match error {
        DatabaseError::Unavailable(reason) => SceneError::Unavailable(reason),
        DatabaseError::Failed(error) => SceneError::Failed { position, error: error.to_string() },
    }
}

/// Drops the scenes that no connection holds, and names the others, of whichever process.
pub(crate) async fn drop_abandoned(
    connection: &mut PgConnection,
) -> Result<Vec<String>, sqlx::Error> {
    let all: Vec<String> =
        sqlx::query_scalar("select nspname::text from pg_namespace where nspname like 'scene\\_%'")
            .fetch_all(&mut *connection)
            .await?;
    let mut held = Vec::new();
    for schema in all {
        let is_free: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, hashtext($2))")
            .bind(SCENE_LOCK)
            .bind(&schema)
            .fetch_one(&mut *connection)
            .await?;
        if !is_free {
            held.push(schema);
            continue;
        }
        generation::drop_tables(connection, &schema).await?;
        sqlx::query("select pg_advisory_unlock($1, hashtext($2))")
            .bind(SCENE_LOCK)
            .bind(&schema)
            .execute(&mut *connection)
            .await?;
    }
    Ok(held)
}
