//! Read models as they stood at an earlier position: scratch tables that all projectors have filled up to it, asked with the
//! statements that ask the live ones. Such a *scene* takes a while to build, so a few are kept for whoever asks next.
//!
//! A scene's schema is locked by the connection that asks it; what a dead process leaves behind is free, and dropped by the
//! next that starts. Its tables are unlogged: a crash of Postgres would empty them, but it also breaks that connection, and
//! the scene with it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
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

/// The first key of the advisory lock on a scene; the second is the hash of its schema.
const SCENE_LOCK: i32 = 0x6372_7363;

/// The most scenes kept at a time.
const KEPT: usize = 3;

/// The most scenes built at a time: each reads the log from its beginning, on connections of its own.
const BUILT_AT_ONCE: usize = 2;

/// The most scenes being built or waiting for their turn. Whoever asks for one more is told to try again.
const WAITING: usize = 10;

/// How long a scene is kept that nobody asks.
const IDLE: Duration = Duration::from_secs(600);

/// How often to look for scenes that nobody asks, or that show what was erased meanwhile.
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
    kept: Mutex<Vec<Kept>>,
    /// Whoever has one builds a scene.
    turns: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A scene that is there or being built.
#[derive(Clone)]
struct Kept {
    position: i64,
    asked: Instant,
    built: Building,
}

/// Tells when it is built.
type Building = watch::Receiver<Option<Result<Arc<Scene>, SceneError>>>;

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
    /// Keeps scenes of these read models, none yet, and clears away what dead processes have left.
    pub fn start(database: Database, mut projectors: Vec<Arc<dyn Projector>>) -> Self {
        projectors.retain(|projector| projector.has_past());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (kept, turns) = (Mutex::default(), Semaphore::new(BUILT_AT_ONCE));
        let scenes = Self(Arc::new(Shared { database, projectors, kept, turns, tasks, stop }));
        scenes.0.tasks.spawn(scenes.0.clone().tend());
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
        const ATTEMPTS: usize = 2;
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            let scene = self.0.scene(position).await?;
            let mut open = scene.open.lock().await;
            let Some(there) = open.as_mut() else { continue };
            let asking = async {
                match there.shows_what_is_erased().await? {
                    true => Ok(None),
                    false => question(&mut there.connection).await.map(Some),
                }
            };
            match self.0.database.ask(asking).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
            // Its connection is of no use any more, or what it shows is not to be shown.
            let gone = open.take();
            drop(open);
            self.0.forget(position, &scene);
            if let Some(gone) = gone {
                let shared = self.0.clone();
                self.0.tasks.spawn(async move { shared.clear(gone, &scene.schema).await });
            }
        }
        Err(match failure {
            Some(DatabaseError::Unavailable(reason)) => SceneError::Unavailable(reason),
            Some(error) => SceneError::Failed { position, error: error.to_string() },
            None => SceneError::Unavailable("records were erased meanwhile".to_owned()),
        })
    }

    /// Drops all scenes, as when something that they show was erased. Returns once none of them can be asked.
    pub async fn forget_all(&self) {
        let all = std::mem::take(&mut *self.0.kept());
        for kept in all {
            self.0.drop_scene(kept).await;
        }
    }

    /// Drops all scenes and ends.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.turns.close();
        self.forget_all().await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Shared {
    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The scene of a position, which is built unless somebody has begun to.
    async fn scene(self: &Arc<Self>, position: i64) -> Result<Arc<Scene>, SceneError> {
        let mut built = self.find_or_begin(position)?;
        let built = built.wait_for(Option::is_some).await.map_err(|_| SceneError::Stopped)?;
        built.clone().unwrap_or(Err(SceneError::Stopped))
    }

    fn find_or_begin(self: &Arc<Self>, position: i64) -> Result<Building, SceneError> {
        let mut kept = self.kept();
        if let Some(known) = kept.iter_mut().find(|kept| kept.position == position) {
            known.asked = Instant::now();
            return Ok(known.built.clone());
        }
        if kept.iter().filter(|kept| !kept.is_built()).count() >= WAITING {
            return Err(SceneError::Busy);
        }
        let (tell, built) = watch::channel(None);
        kept.push(Kept { position, asked: Instant::now(), built: built.clone() });
        drop(kept);
        let shared = self.clone();
        self.tasks.spawn(async move {
            let scene = match shared.turns.acquire().await {
                Ok(_turn) => shared.build(position).await,
                Err(_) => Err(SceneError::Stopped),
            };
            if let Err(error) = &scene {
                tracing::warn!(position, %error, "a scene was not built");
                shared.kept().retain(|kept| kept.position != position);
            }
            tell.send_replace(Some(scene));
            for surplus in shared.surplus(position) {
                shared.drop_scene(surplus).await;
            }
        });
        Ok(built)
    }

    /// Takes out what is too much now that there is a scene of this position: those that nobody has asked for longest. What is
    /// still being built is waited for by somebody, and so is this one.
    fn surplus(&self, position: i64) -> Vec<Kept> {
        let mut kept = self.kept();
        let mut surplus = Vec::new();
        while kept.iter().filter(|kept| kept.is_built()).count() > KEPT {
            let others = kept.iter().enumerate();
            let others = others.filter(|(_, kept)| kept.is_built() && kept.position != position);
            let Some((oldest, _)) = others.min_by_key(|(_, kept)| kept.asked) else { break };
            surplus.push(kept.remove(oldest));
        }
        surplus
    }

    async fn build(&self, position: i64) -> Result<Arc<Scene>, SceneError> {
        let schema = format!("scene_{}", Uuid::new_v4().simple());
        let started = Instant::now();
        let options = self.database.options_for(std::slice::from_ref(&schema));
        let connecting = self.database.ask(options.connect()).await;
        let mut connection = connecting.map_err(|error| explain(position, error))?;
        let failed = |error: LoadError| match error {
            LoadError::Stopped => SceneError::Stopped,
            LoadError::Database(error) => explain(position, self.database.judge(error)),
            error => SceneError::Failed { position, error: error.to_string() },
        };
        match self.fill(&mut connection, &schema, position).await {
            Ok(searched) => {
                tracing::debug!(position, elapsed = ?started.elapsed(), "a scene is there");
                let open = tokio::sync::Mutex::new(Some(Open { connection, searched }));
                Ok(Arc::new(Scene { schema, open }))
            }
            Err(error) => {
                if let Err(error) = generation::drop_tables(&mut connection, &schema).await {
                    tracing::info!(%error, schema, "what is left of a scene is dropped later");
                }
                Err(failed(error))
            }
        }
    }

    async fn fill(
        &self,
        connection: &mut PgConnection,
        schema: &str,
        position: i64,
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
        load(&self.database, &fillings, Effort::single(), &Arc::<Gauge>::default(), &self.stop)
            .await?;
        Ok(searched)
    }

    /// No longer gives this scene to anybody.
    fn forget(&self, position: i64, scene: &Arc<Scene>) {
        self.kept().retain(|kept| {
            let is_it =
                matches!(&*kept.built.borrow(), Some(Ok(built)) if Arc::ptr_eq(built, scene));
            kept.position != position || !is_it
        });
    }

    /// Drops a scene, once it is built and nobody is asking it.
    async fn drop_scene(&self, mut kept: Kept) {
        let built = match kept.built.wait_for(Option::is_some).await {
            Ok(built) => built.clone(),
            Err(_) => return,
        };
        let Some(Ok(scene)) = built else { return };
        let open = scene.open.lock().await.take();
        if let Some(open) = open {
            self.clear(open, &scene.schema).await;
        }
    }

    async fn clear(&self, mut open: Open, schema: &str) {
        let dropped = generation::drop_tables(&mut open.connection, schema);
        match self.database.ask(dropped).await {
            // Its lock goes with it.
            Ok(()) => drop(open.connection.close().await),
            Err(error) => tracing::info!(%error, schema, "a scene is dropped later"),
        }
    }

    /// Clears away what is of no use any more, until the server stops.
    async fn tend(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            if let Err(error) = drop_abandoned(&self.database).await {
                tracing::debug!(%error, "scenes of dead processes are dropped later");
            }
            let idle: Vec<Kept> =
                self.kept().extract_if(.., |kept| kept.asked.elapsed() > IDLE).collect();
            for kept in idle {
                self.drop_scene(kept).await;
            }
            self.drop_erased().await;
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Drops scenes that show what was erased since, by whichever process.
    async fn drop_erased(&self) {
        let all = self.kept().clone();
        for kept in all {
            let Some(Ok(scene)) = kept.built.borrow().clone() else { continue };
            let mut open = scene.open.lock().await;
            let Some(there) = open.as_mut() else { continue };
            if matches!(self.database.ask(there.shows_what_is_erased()).await, Ok(false)) {
                continue;
            }
            let gone = open.take();
            drop(open);
            self.forget(kept.position, &scene);
            if let Some(gone) = gone {
                self.clear(gone, &scene.schema).await;
            }
        }
    }
}

impl Kept {
    fn is_built(&self) -> bool {
        self.built.borrow().is_some()
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
        self.searched = last.unwrap_or(self.searched);
        Ok(is_erased.unwrap_or(false))
    }
}

fn explain(position: i64, error: DatabaseError) -> SceneError {
    match error {
        DatabaseError::Unavailable(reason) => SceneError::Unavailable(reason),
        DatabaseError::Failed(error) => SceneError::Failed { position, error: error.to_string() },
    }
}

/// Drops the scenes that no connection holds.
async fn drop_abandoned(database: &Database) -> Result<(), sqlx::Error> {
    let mut connection = database.options_for(&[]).connect().await?;
    let all: Vec<String> =
        sqlx::query_scalar("select nspname::text from pg_namespace where nspname like 'scene\\_%'")
            .fetch_all(&mut connection)
            .await?;
    for schema in all {
        let is_free: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, hashtext($2))")
            .bind(SCENE_LOCK)
            .bind(&schema)
            .fetch_one(&mut connection)
            .await?;
        if is_free {
            generation::drop_tables(&mut connection, &schema).await?;
            sqlx::query("select pg_advisory_unlock($1, hashtext($2))")
                .bind(SCENE_LOCK)
                .bind(&schema)
                .execute(&mut connection)
                .await?;
        }
    }
    connection.close().await
}
