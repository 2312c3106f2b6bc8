//! Runs the projectors: exactly once per event, one process at a time, and as soon as something is appended.
//!
//! Each projector's checkpoint moves in the transaction that writes its tables, so a kill at any instant loses and
//! doubles nothing. Projectors that are level share one page and one transaction; one that lags far behind catches
//! up on a connection of its own until it is level. An advisory lock per projector keeps other processes from
//! working in vain; the row lock on the checkpoint is what keeps the tables right.

mod fold;
mod listen;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::database::Database;
use crate::dead_letter::DeadLetters;
use crate::log::{LogReader, PageLimit};
use crate::projector::{ProjectError, Projector};

/// The channel on which moved checkpoints are announced to other processes; the payload names the sender.
const PROJECTED: &str = "crm_projected";

/// The first key of the advisory lock that the runner of a projector holds; the second is the hash of its name.
const RUNNER_LOCK: i32 = 0x0063_726d;

/// The most events of one page.
const PAGE: PageLimit = PageLimit { events: 2_000 };

/// The longest that reading or folding one page may take before the database counts as lost.
const FOLD_PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before looking again when nothing wakes the runner, and between attempts after a failure.
const POLL: Duration = Duration::from_millis(250);

/// How often to try to take over projectors that another process runs.
const TAKE_OVER: Duration = Duration::from_secs(2);

/// Where a projector is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything up to here is in its tables.
    pub position: i64,
    /// The last position that changed a row of them.
    pub changed: i64,
    /// How often they were changed other than by following the log.
    pub generation: i64,
}

/// Where all projectors are.
pub type Checkpoints = BTreeMap<&'static str, Checkpoint>;

/// The running projectors, as seen by those who wait for them.
#[derive(Clone)]
pub struct Runner {
    checkpoints: watch::Receiver<Checkpoints>,
    failures: watch::Receiver<BTreeMap<&'static str, String>>,
    survived: watch::Receiver<u64>,
    dead_letters: Arc<DeadLetters>,
    stop: CancellationToken,
    task: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
}

impl Runner {
    /// Starts running these projectors. `head` tells of appends by this very process.
    pub fn start(
        database: Database,
        projectors: Vec<Arc<dyn Projector>>,
        head: watch::Receiver<i64>,
    ) -> Self {
        let names = projectors.iter().map(|projector| (projector.name(), Checkpoint::default()));
        let (checkpoints, seen) = watch::channel(names.collect::<Checkpoints>());
        let (failures, failed) = watch::channel(BTreeMap::new());
        let dead_letters = Arc::<DeadLetters>::default();
        let (survivor, survived) = watch::channel(database.outages());
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            options: (*database.pool.connect_options()).clone(),
            database,
            projectors,
            checkpoints,
            failures,
            survivor,
            dead_letters: dead_letters.clone(),
            log: LogReader::default(),
            wake: Notify::new(),
            process: Uuid::new_v4().simple().to_string(),
            catching_up: Mutex::default(),
            laggards: TaskTracker::new(),
            stop: stop.clone(),
        });
        let task = tokio::spawn(async move {
            tokio::join!(shared.listen(), shared.follow(head), shared.run());
            shared.laggards.close();
            shared.laggards.wait().await;
        });
        Self {
            checkpoints: seen,
            failures: failed,
            survived,
            dead_letters,
            stop,
            task: Arc::new(tokio::sync::Mutex::new(Some(task))),
        }
    }

    /// Where the projectors are, kept up to date.
    pub fn checkpoints(&self) -> &watch::Receiver<Checkpoints> {
        &self.checkpoints
    }

    /// What keeps a projector from going on, by its name; empty when all is well.
    pub fn failures(&self) -> BTreeMap<&'static str, String> {
        self.failures.borrow().clone()
    }

    /// How many streams are parked for a projector that this process runs.
    pub fn parked(&self, projector: &str) -> usize {
        self.dead_letters.count(projector)
    }

    /// The last outage of the database after which the read models are known to be as far as they had been before.
    pub fn survived(&self) -> u64 {
        *self.survived.borrow()
    }

    /// Waits until every projector has passed the position. Tells whether they did within the time given.
    pub async fn reached(&self, position: i64, patience: Duration) -> bool {
        let mut checkpoints = self.checkpoints.clone();
        let level = checkpoints
            .wait_for(|all| all.values().all(|checkpoint| checkpoint.position >= position));
        matches!(tokio::time::timeout(patience, level).await, Ok(Ok(_)))
    }

    /// Stops after the page in hand.
    pub async fn stop(&self) {
        self.stop.cancel();
        if let Some(task) = self.task.lock().await.take() {
            // A panic of the task has been reported already.
            let _ = task.await;
        }
    }
}

struct Shared {
    database: Database,
    options: PgConnectOptions,
    projectors: Vec<Arc<dyn Projector>>,
    checkpoints: watch::Sender<Checkpoints>,
    failures: watch::Sender<BTreeMap<&'static str, String>>,
    survivor: watch::Sender<u64>,
    dead_letters: Arc<DeadLetters>,
    log: LogReader,
    wake: Notify,
    process: String,
    /// The projectors that go their own way until they are level with the others.
    catching_up: Mutex<BTreeSet<&'static str>>,
    laggards: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("projector {name}: {source}")]
    Project { name: &'static str, source: ProjectError },
    #[error("the database was lost")]
    Lost,
    #[error("the checkpoint of {0} was moved by another process")]
    Overtaken(&'static str),
}

impl Shared {
    async fn run(self: &Arc<Self>) {
        while !self.stop.is_cancelled() {
            if let Err(error) = self.run_connected().await {
                match &error {
                    RunError::Database(error) if crate::database::is_outage(error) => {
                        tracing::debug!(%error, "projectors wait for the database");
                    }
                    RunError::Overtaken(_) | RunError::Lost => {
                        tracing::debug!(%error, "projectors start again")
                    }
                    _ => tracing::error!(%error, "projectors cannot go on; they try again"),
                }
                self.report(&error);
                tokio::time::sleep(POLL).await;
            }
        }
    }

    fn report(&self, error: &RunError) {
        let text = error.to_string();
        let named = match error {
            RunError::Project { name, .. } => Some(*name),
            _ => None,
        };
        self.failures.send_modify(|failures| {
            for projector in &self.projectors {
                if named.is_none_or(|name| name == projector.name()) {
                    failures.insert(projector.name(), text.clone());
                }
            }
        });
    }

    /// Runs on one connection until it breaks or the runner is stopped.
    async fn run_connected(self: &Arc<Self>) -> Result<(), RunError> {
        let outage = self.database.outages();
        let mut connection = self.connect().await?;
        self.ensure_checkpoints(&mut connection).await?;
        let before = self.believe(&fold::stored_checkpoints(&mut connection).await?);
        let mut mine: Vec<Arc<dyn Projector>> = Vec::new();
        let mut tried: Option<Instant> = None;
        while !self.stop.is_cancelled() {
            if mine.len() < self.projectors.len() && tried.is_none_or(|at| at.elapsed() > TAKE_OVER)
            {
                self.take_over(&mut connection, &mut mine).await?;
                tried = Some(Instant::now());
            }
            if self.database.outages() != outage {
                return Err(RunError::Lost);
            }
            let more = self.advance(&mut connection, &mine).await?;
            self.confirm(outage, &before);
            if !more {
                self.failures.send_if_modified(|all| !std::mem::take(all).is_empty());
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = self.wake.notified() => {}
                }
            }
        }
        Ok(())
    }

    /// Lets readers go on once everything is back to where it was before the outage.
    fn confirm(&self, outage: u64, before: &Checkpoints) {
        let back = {
            let now = self.checkpoints.borrow();
            before.iter().all(|(name, old)| now[name].position >= old.position)
        };
        if back {
            self.survivor.send_if_modified(|known| std::mem::replace(known, outage) != outage);
        }
    }

    /// A page that is lost in a crash is folded again from its checkpoint, so it need not wait for the disk.
    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.options.clone().options([("synchronous_commit", "off")]).connect().await
    }

    /// Sends a projector that is more than a page behind on its own way, so that the others need not wait for it.
    fn send_ahead(self: &Arc<Self>, projector: &Arc<dyn Projector>) {
        let name = projector.name();
        if !self.catching_up.lock().unwrap_or_else(PoisonError::into_inner).insert(name) {
            return;
        }
        let (shared, projector) = (self.clone(), projector.clone());
        self.laggards.spawn(async move {
            tracing::info!(projector = name, "catching up");
            if let Err(error) = shared.catch_up(&projector).await {
                tracing::warn!(projector = name, %error, "catching up was interrupted");
                shared.report(&error);
                tokio::time::sleep(POLL).await;
            }
            shared.catching_up.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
            shared.wake.notify_one();
        });
    }

    async fn catch_up(&self, projector: &Arc<dyn Projector>) -> Result<(), RunError> {
        let mut connection = self.connect().await?;
        loop {
            let (from, front) = {
                let known = self.checkpoints.borrow();
                let front = known.values().map(|checkpoint| checkpoint.position).max();
                (known[projector.name()].position, front.unwrap_or(0))
            };
            if self.stop.is_cancelled() || front - from <= PAGE.events {
                return Ok(());
            }
            let page = self.read(&mut connection, from).await?;
            let Some(end) = page.end else { return Ok(()) };
            let projectors = std::slice::from_ref(projector);
            self.park_broken(&mut connection, projectors, &page).await?;
            self.fold_with_care(&mut connection, projectors, from, &page.events, end).await?;
        }
    }

    async fn ensure_checkpoints(&self, connection: &mut PgConnection) -> Result<(), RunError> {
        let names: Vec<&str> = self.projectors.iter().map(|projector| projector.name()).collect();
        sqlx::query(
            "insert into checkpoint (projector) select * from unnest($1::text[]) on conflict do nothing",
        )
        .bind(names)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Takes the locks of projectors that nobody runs.
    async fn take_over(
        &self,
        connection: &mut PgConnection,
        mine: &mut Vec<Arc<dyn Projector>>,
    ) -> Result<(), RunError> {
        for projector in &self.projectors {
            if mine.iter().any(|other| other.name() == projector.name()) {
                continue;
            }
            let got: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, hashtext($2))")
                .bind(RUNNER_LOCK)
                .bind(projector.name())
                .fetch_one(&mut *connection)
                .await?;
            if got {
                self.retry_parked(connection, projector).await?;
                mine.push(projector.clone());
            }
        }
        self.learn_checkpoints().await?;
        Ok(())
    }

    /// Folds the next page for whoever is furthest behind, together with all that are level with it; those more than
    /// a page behind go their own way. Tells whether there may be more to do.
    async fn advance(
        self: &Arc<Self>,
        connection: &mut PgConnection,
        mine: &[Arc<dyn Projector>],
    ) -> Result<bool, RunError> {
        let known = self.checkpoints.borrow().clone();
        let position_of = |projector: &Arc<dyn Projector>| known[projector.name()].position;
        let front = mine.iter().map(position_of).max().unwrap_or(0);
        for projector in
            mine.iter().filter(|projector| front - position_of(projector) > PAGE.events)
        {
            self.send_ahead(projector);
        }
        let mine: Vec<_> = {
            let away = self.catching_up.lock().unwrap_or_else(PoisonError::into_inner);
            mine.iter().filter(|projector| !away.contains(projector.name())).cloned().collect()
        };
        let Some(last) = mine.iter().map(position_of).min() else {
            return Ok(false);
        };
        let (level, ahead): (Vec<_>, Vec<_>) =
            mine.into_iter().partition(|projector| position_of(projector) == last);
        let next = ahead.iter().map(position_of).min();
        let mut page = self.read(connection, last).await?;
        // Those behind go no further than the next ones, with whom they are level from then on. Positions may have gaps:
        // if there is nothing in between, they are level at once.
        if let Some(next) = next {
            page.events.retain(|recorded| recorded.position <= next);
            page.broken.retain(|broken| broken.position <= next);
            page.end = page.end.map_or(Some(next), |end| Some(end.min(next)));
        }
        let Some(end) = page.end else { return Ok(false) };
        self.park_broken(connection, &level, &page).await?;
        self.fold_with_care(connection, &level, last, &page.events, end).await?;
        Ok(true)
    }
}
