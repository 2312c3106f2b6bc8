//! Runs the projectors: exactly once per event, one process at a time, and as soon as something is appended.
//!
//! Each projector's checkpoint moves in the transaction that writes its tables, so a kill at any instant loses and
//! doubles nothing. Projectors that are level share one page and one transaction; one that lags far behind catches
//! up on a connection of its own until it is level. An advisory lock per projector keeps other processes from
//! working in vain; the row lock on the checkpoint is what keeps the tables right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgListener};
use sqlx::{Acquire as _, ConnectOptions as _, PgConnection};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::database::Database;
use crate::dead_letter::{DeadLetters, Parked};
use crate::log::{APPENDED, LogReader, Page, PageLimit, Recorded};
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
    /// Wakes the runner when this process appends.
    async fn follow(&self, mut head: watch::Receiver<i64>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = head.changed() => match changed {
                    Ok(()) => self.wake.notify_one(),
                    Err(_) => return,
                },
            }
        }
    }

    /// Wakes the runner when another process appends, and learns of checkpoints that another process moves.
    async fn listen(&self) {
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = self.stop.cancelled() => return,
                result = self.listen_once() => {
                    // This connection always waits for news, so it is the first to learn that the database has gone.
                    match result {
                        Ok(()) => self.database.lost(),
                        Err(error) => {
                            let error = self.database.judge(error);
                            tracing::debug!(%error, "listening was interrupted");
                        }
                    }
                    self.wake.notify_one();
                    tokio::time::sleep(POLL).await;
                },
            }
        }
    }

    async fn listen_once(&self) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.database.pool).await?;
        listener.listen_all([APPENDED, PROJECTED]).await?;
        loop {
            match tokio::time::timeout(POLL, listener.try_recv()).await {
                Ok(Ok(Some(news))) if news.channel() == APPENDED => self.wake.notify_one(),
                Ok(Ok(Some(news))) if news.payload() == self.process => {}
                Ok(Ok(Some(_))) => self.learn_checkpoints().await?,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                // Nothing heard: look anyway, in case a notification was lost.
                Err(_) => {
                    self.wake.notify_one();
                    self.learn_checkpoints().await?;
                }
            }
        }
    }

    /// Takes over what the table says where it is further than what is known here.
    async fn learn_checkpoints(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.database.pool.acquire().await?;
        let stored = stored_checkpoints(&mut connection).await?;
        self.publish(stored.iter().map(|(name, checkpoint)| (name.as_str(), *checkpoint)));
        Ok(())
    }

    /// Believes what the table says, even if it is less than was known: a crash may have undone the last pages. Tells
    /// how far everybody was thought to be.
    fn believe(&self, stored: &[(String, Checkpoint)]) -> Checkpoints {
        let before = self.checkpoints.borrow().clone();
        self.checkpoints.send_modify(|all| {
            for (name, checkpoint) in stored {
                if let Some(known) = all.get_mut(name.as_str()) {
                    *known = *checkpoint;
                }
            }
        });
        before
    }

    fn publish<'a>(&self, news: impl Iterator<Item = (&'a str, Checkpoint)>) {
        self.checkpoints.send_if_modified(|all| {
            let mut further = false;
            for (name, checkpoint) in news {
                if let Some(known) = all.get_mut(name)
                    && (checkpoint.generation, checkpoint.position)
                        > (known.generation, known.position)
                {
                    *known = checkpoint;
                    further = true;
                }
            }
            further
        });
    }

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
        let before = self.believe(&stored_checkpoints(&mut connection).await?);
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

    async fn read(&self, connection: &mut PgConnection, after: i64) -> Result<Page, RunError> {
        let reading = self.log.read_page(connection, after, PAGE);
        tokio::time::timeout(FOLD_PATIENCE, reading)
            .await
            .map_err(|_| self.silent())?
            .map_err(Into::into)
    }

    fn silent(&self) -> RunError {
        self.database.lost();
        RunError::Lost
    }

    /// Parks the streams of events that cannot be read.
    async fn park_broken(
        &self,
        connection: &mut PgConnection,
        projectors: &[Arc<dyn Projector>],
        page: &Page,
    ) -> Result<(), RunError> {
        for broken in &page.broken {
            for projector in projectors {
                self.dead_letters.park(connection, projector.name(), broken).await?;
            }
        }
        Ok(())
    }

    /// Folds a page; if that fails, each projector by itself, in ever smaller parts, until the one event is found that
    /// cannot be folded. Its stream is parked, and everything else goes on.
    async fn fold_with_care(
        &self,
        connection: &mut PgConnection,
        projectors: &[Arc<dyn Projector>],
        from: i64,
        page: &[Recorded],
        to: i64,
    ) -> Result<(), RunError> {
        match self.fold(connection, projectors, from, page, to).await {
            Err(RunError::Project { name, source }) if !source.is_outage() => {
                tracing::warn!(projector = name, error = %source, "a page cannot be folded; looking for the event");
            }
            result => return result,
        }
        for projector in projectors {
            let alone = std::slice::from_ref(projector);
            let mut at = from;
            let mut parts = vec![page];
            while let Some(part) = parts.pop() {
                let Some(last) = part.last() else { continue };
                match self.fold(connection, alone, at, part, last.position).await {
                    Ok(()) => at = last.position,
                    Err(RunError::Project { source, .. }) if !source.is_outage() => match part {
                        [only] => {
                            self.try_again_or_park(connection, projector, at, only).await?;
                            at = only.position;
                        }
                        _ => {
                            let (first, second) = part.split_at(part.len() / 2);
                            parts.extend([second, first]);
                        }
                    },
                    Err(error) => return Err(error),
                }
            }
            if at < to {
                self.fold(connection, alone, at, &[], to).await?;
            }
        }
        Ok(())
    }

    /// Gives an event that could not be folded some more chances, then parks its stream.
    async fn try_again_or_park(
        &self,
        connection: &mut PgConnection,
        projector: &Arc<dyn Projector>,
        at: i64,
        event: &Recorded,
    ) -> Result<(), RunError> {
        let (alone, page) = (std::slice::from_ref(projector), std::slice::from_ref(event));
        let mut wait = Duration::from_millis(50);
        for _ in 0..3 {
            tokio::time::sleep(wait).await;
            wait *= 4;
            match self.fold(connection, alone, at, page, event.position).await {
                Err(RunError::Project { source, .. }) if !source.is_outage() => {}
                result => return result,
            }
        }
        let error = match self.fold(connection, alone, at, page, event.position).await {
            Err(RunError::Project { source, .. }) => source.to_string(),
            result => return result,
        };
        let parked = Parked { stream: event.stream(), position: event.position, error };
        self.dead_letters.park(connection, projector.name(), &parked).await?;
        self.fold(connection, alone, at, &[], event.position).await
    }

    /// Tries the parked streams of a projector again: a newer release may know what an older one did not.
    async fn retry_parked(
        &self,
        connection: &mut PgConnection,
        projector: &Arc<dyn Projector>,
    ) -> Result<(), RunError> {
        let name = projector.name();
        for parked in self.dead_letters.load(connection, name).await? {
            let mut tx = connection.begin().await?;
            let to: i64 = sqlx::query_scalar(
                "select position from checkpoint where projector = $1 for update",
            )
            .bind(name)
            .fetch_one(&mut *tx)
            .await?;
            let page = self.log.read_stream(&mut tx, &parked.stream, parked.position, to).await?;
            if !page.broken.is_empty() || projector.project(&page.events, &mut tx).await.is_err() {
                tx.rollback().await?;
                tracing::error!(projector = name, stream = %parked.stream, error = parked.error, "still parked");
                continue;
            }
            sqlx::query("update checkpoint set generation = generation + 1 where projector = $1")
                .bind(name)
                .execute(&mut *tx)
                .await?;
            self.dead_letters.release(&mut tx, name, &parked.stream).await?;
            tx.commit().await?;
            tracing::info!(projector = name, stream = %parked.stream, "no longer parked");
        }
        Ok(())
    }

    /// One transaction: the tables and the checkpoints, or nothing.
    async fn fold(
        &self,
        connection: &mut PgConnection,
        projectors: &[Arc<dyn Projector>],
        from: i64,
        page: &[Recorded],
        to: i64,
    ) -> Result<(), RunError> {
        let names: Vec<&str> = projectors.iter().map(|projector| projector.name()).collect();
        let mut tx = connection.begin().await?;
        let stored = lock_checkpoints(&mut tx, &names).await?;
        let overtaken = names
            .iter()
            .find(|name| !stored.iter().any(|(stored, at)| stored == *name && at.position == from));
        if let Some(name) = overtaken {
            tx.rollback().await?;
            self.learn_checkpoints().await?;
            return Err(RunError::Overtaken(name));
        }
        let mut moved = Vec::with_capacity(projectors.len());
        for projector in projectors {
            let name = projector.name();
            let followed = self.dead_letters.without_parked(name, page);
            let folding = projector.project(followed.as_deref().unwrap_or(page), &mut tx);
            let last = tokio::time::timeout(FOLD_PATIENCE, folding)
                .await
                .map_err(|_| self.silent())?
                .map_err(|source| RunError::Project { name, source })?;
            let before = stored.iter().find(|(stored, _)| stored == name);
            let before = before.map(|(_, checkpoint)| *checkpoint).unwrap_or_default();
            moved.push(Checkpoint {
                position: to,
                changed: last.unwrap_or(before.changed),
                generation: before.generation,
            });
        }
        sqlx::query(
            "with moved as (
                 update checkpoint set position = $1, changed = new.changed
                 from unnest($2::text[], $3::bigint[]) as new (projector, changed)
                 where checkpoint.projector = new.projector)
             select pg_notify($4, $5)",
        )
        .bind(to)
        .bind(&names)
        .bind(moved.iter().map(|checkpoint| checkpoint.changed).collect::<Vec<_>>())
        .bind(PROJECTED)
        .bind(&self.process)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.publish(names.into_iter().zip(moved));
        Ok(())
    }
}

/// A row of the table `checkpoint`: name, position, changed, generation.
type CheckpointRow = (String, i64, i64, i64);

fn checkpoint((name, position, changed, generation): CheckpointRow) -> (String, Checkpoint) {
    (name, Checkpoint { position, changed, generation })
}

async fn stored_checkpoints(
    connection: &mut PgConnection,
) -> Result<Vec<(String, Checkpoint)>, sqlx::Error> {
    let rows: Vec<CheckpointRow> =
        sqlx::query_as("select projector, position, changed, generation from checkpoint")
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().map(checkpoint).collect())
}

/// Likewise for some projectors, whose checkpoints nobody else moves until the transaction ends.
async fn lock_checkpoints(
    connection: &mut PgConnection,
    names: &[&str],
) -> Result<Vec<(String, Checkpoint)>, sqlx::Error> {
    let rows: Vec<CheckpointRow> = sqlx::query_as(
        "select projector, position, changed, generation from checkpoint
         where projector = any($1) order by projector for update",
    )
    .bind(names)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(checkpoint).collect())
}
