//! Runs the projectors: exactly once per event, one process at a time, and as soon as something is appended.
//!
//! Projectors that are level share one page and one transaction; one that lags far behind catches up on a connection of
//! its own until it is level. An advisory lock per generation keeps other processes from working in vain; the row lock on
//! its checkpoint is what keeps the tables right.

mod listen;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::database::{Database, Shortage};
use crate::dead_letter::DeadLetters;
use crate::follow::{Checkpoints, FollowError, Follower, PAGE, Target};
use crate::generation::{self, Checkpoint, Generation};
use crate::projector::Projector;

/// The first key of the advisory lock that the runner of a generation holds; the second is the hash of its schema.
pub const RUNNER_LOCK: i32 = 0x0063_726d;

/// How long to wait before looking again when nothing wakes the runner, and between attempts after a failure.
const POLL: Duration = Duration::from_millis(250);

/// The longest pause between two attempts that fail alike.
const MOST_PATIENT: Duration = Duration::from_secs(5);

/// How long the page in hand is waited for when the runner is stopped.
const LAST_PAGE: Duration = Duration::from_secs(5);

/// How often to try to take over projectors that another process runs.
const TAKE_OVER: Duration = Duration::from_secs(2);

/// How long projectors that nobody waits for let events gather, so that many are one page.
const GATHER: Duration = Duration::from_millis(20);

/// Projectors that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Those that answers to writes wait for.
    Awaited,
    /// All others.
    Later,
}

impl Lane {
    const ALL: [Self; 2] = [Self::Awaited, Self::Later];

    fn has(self, projector: &dyn Projector) -> bool {
        projector.is_awaited() == (self == Self::Awaited)
    }
}

/// The running projectors, as seen by those who wait for them.
#[derive(Clone)]
pub struct Runner {
    checkpoints: watch::Receiver<Checkpoints>,
    failures: watch::Receiver<BTreeMap<&'static str, String>>,
    survived: watch::Receiver<u64>,
    announced: watch::Receiver<u64>,
    erased: watch::Receiver<u64>,
    dead_letters: Arc<DeadLetters>,
    /// Those that answers to writes wait for.
    awaited: Arc<BTreeSet<&'static str>>,
    followed: watch::Receiver<BTreeSet<&'static str>>,
    stop: CancellationToken,
    task: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
}

impl Runner {
    /// Starts running these projectors, each on the generation of its read model that this release serves. `head` tells of
    /// appends by this very process.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn start(
        database: Database,
        projectors: Vec<Arc<dyn Projector>>,
        head: watch::Receiver<i64>,
    ) -> Result<Self, sqlx::Error> {
        let names = projectors.iter().map(|projector| (projector.name(), Checkpoint::default()));
        let (checkpoints, seen) = watch::channel(names.collect::<Checkpoints>());
        let (failures, failed) = watch::channel(BTreeMap::new());
        let awaited = projectors.iter().filter(|projector| Lane::Awaited.has(&***projector));
        let awaited = Arc::new(awaited.map(|projector| projector.name()).collect());
        let dead_letters = Arc::<DeadLetters>::default();
        let (survivor, survived) = watch::channel(database.outages());
        let (announcer, announced) = watch::channel(0);
        let (erasures, erased) = watch::channel(0);
        let (following, followed) = watch::channel(BTreeSet::new());
        let stop = CancellationToken::new();
        let process = Uuid::new_v4().simple().to_string();
        let shared = Arc::new(Shared {
            database: database.clone(),
            projectors,
            follower: Follower::new(database, dead_letters.clone(), process, checkpoints),
            failures,
            survivor,
            announcer,
            erasures,
            following,
            served: Mutex::default(),
            learning: tokio::sync::Mutex::default(),
            wakes: Lane::ALL.map(|_| Notify::new()),
            catching_up: Mutex::default(),
            laggards: TaskTracker::new(),
            stop: stop.clone(),
        });
        let mut connection = shared.database.pool.acquire().await?;
        generation::ensure(&mut connection, &shared.projectors).await?;
        shared.learn(&mut connection).await?;
        drop(connection);
        let task = tokio::spawn(async move {
            let [awaited, later] = Lane::ALL.map(|lane| shared.run(lane));
            tokio::join!(shared.listen(), shared.follow(head), awaited, later);
            shared.laggards.close();
            shared.laggards.wait().await;
        });
        Ok(Self {
            checkpoints: seen,
            failures: failed,
            survived,
            announced,
            erased,
            dead_letters,
            awaited,
            followed,
            stop,
            task: Arc::new(tokio::sync::Mutex::new(Some(task))),
        })
    }

    /// Where the projectors are, kept up to date.
    pub fn checkpoints(&self) -> &watch::Receiver<Checkpoints> {
        &self.checkpoints
    }

    /// What keeps a projector from going on, by its name; empty when all is well.
    pub fn failures(&self) -> BTreeMap<&'static str, String> {
        self.failures.borrow().clone()
    }

    /// Changes whenever another process may have appended something: when it says so, and now and then in case that was
    /// not heard.
    pub fn announced(&self) -> watch::Receiver<u64> {
        self.announced.clone()
    }

    /// Changes whenever something was erased, by this process or another: when that is heard, and when it may have gone
    /// unheard.
    pub fn erased(&self) -> watch::Receiver<u64> {
        self.erased.clone()
    }

    /// How many streams are parked for a projector that this process runs.
    pub fn parked(&self, projector: &str) -> usize {
        self.dead_letters.count(projector)
    }

    /// The last outage of the database after which the read models are known to be as far as they had been before.
    pub fn survived(&self) -> u64 {
        *self.survived.borrow()
    }

    /// The position that every projector has passed that answers wait for.
    pub fn position(&self) -> i64 {
        let checkpoints = self.checkpoints.borrow();
        let awaited = self.awaited.iter().map(|name| checkpoints[name].position);
        awaited.min().unwrap_or(0)
    }

    /// Waits until every projector has passed the position that answers wait for. Tells whether they did within the
    /// time given.
    pub async fn reached(&self, position: i64, patience: Duration) -> bool {
        let is_level =
            |all: &Checkpoints| self.awaited.iter().all(|name| all[name].position >= position);
        self.wait(patience, is_level).await
    }

    /// Waits until this projector has passed the position. Tells whether it did within the time given.
    pub async fn reached_by(&self, projector: &str, position: i64, patience: Duration) -> bool {
        let is_level = |all: &Checkpoints| {
            all.get(projector).is_some_and(|checkpoint| checkpoint.position >= position)
        };
        self.wait(patience, is_level).await
    }

    /// Whether the generation that this release serves is one that its own code fills. One of another release moves only
    /// as long as a server of that release runs.
    pub fn is_followed(&self, projector: &str) -> bool {
        self.followed.borrow().contains(projector)
    }

    /// Waits until these projectors have passed the position. Tells whether they did within the time given, and at once if
    /// this release does not follow all of them.
    pub async fn are_level(
        &self,
        projectors: &[&'static str],
        position: i64,
        patience: Duration,
    ) -> bool {
        let has_passed = |all: &Checkpoints, name: &str| {
            all.get(name).is_some_and(|checkpoint| checkpoint.position >= position)
        };
        let are_followed = projectors.iter().all(|name| self.is_followed(name));
        let patience = if are_followed { patience } else { Duration::ZERO };
        self.wait(patience, |all| projectors.iter().all(|name| has_passed(all, name))).await
    }

    /// As [`Runner::reached`], for all projectors there are.
    pub async fn settled(&self, position: i64, patience: Duration) -> bool {
        let is_level =
            |all: &Checkpoints| all.values().all(|checkpoint| checkpoint.position >= position);
        self.wait(patience, is_level).await
    }

    async fn wait(&self, patience: Duration, is_level: impl FnMut(&Checkpoints) -> bool) -> bool {
        let mut checkpoints = self.checkpoints.clone();
        let level = checkpoints.wait_for(is_level);
        matches!(tokio::time::timeout(patience, level).await, Ok(Ok(_)))
    }

    /// Resolves when the runner is told to stop.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
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
    projectors: Vec<Arc<dyn Projector>>,
    follower: Follower,
    failures: watch::Sender<BTreeMap<&'static str, String>>,
    survivor: watch::Sender<u64>,
    announcer: watch::Sender<u64>,
    erasures: watch::Sender<u64>,
    /// The projectors whose own generation this release serves.
    following: watch::Sender<BTreeSet<&'static str>>,
    /// The generations that readers see.
    served: Mutex<Served>,
    /// Held while looking which these are, so that nothing older is believed after something newer.
    learning: tokio::sync::Mutex<()>,
    /// Wake the lanes.
    wakes: [Notify; Lane::ALL.len()],
    /// The projectors that go their own way until they are level with the others.
    catching_up: Mutex<BTreeSet<&'static str>>,
    laggards: TaskTracker,
    stop: CancellationToken,
}

#[derive(Clone, Default)]
struct Served {
    schemas: Vec<String>,
    /// Those of them that this release's code fills.
    targets: Vec<Target>,
}

impl Shared {
    /// Wakes all lanes.
    fn wake(&self) {
        self.wakes.iter().for_each(Notify::notify_one);
    }

    async fn run(self: &Arc<Self>, lane: Lane) {
        if !self.projectors.iter().any(|projector| lane.has(&**projector)) {
            return;
        }
        let mut pause = POLL;
        while !self.stop.is_cancelled() {
            let began = Instant::now();
            let ended = tokio::select! {
                ended = self.run_connected(lane) => ended,
                () = self.overdue() => return,
            };
            if let Err(error) = ended {
                match &error {
                    FollowError::Database(error) if crate::database::is_outage(error) => {
                        tracing::debug!(%error, "projectors wait for the database");
                    }
                    FollowError::Overtaken(_) | FollowError::Lost => {
                        tracing::debug!(%error, "projectors start again")
                    }
                    FollowError::Database(it) if Shortage::of(it) == Some(Shortage::Entry) => {
                        tracing::error!(
                            %error,
                            "Postgres does not let crm in any more; if its password was changed, set it in DATABASE_URL and \
                             start crm again"
                        );
                    }
                    _ => tracing::error!(%error, "projectors cannot go on; they try again"),
                }
                // To start again on another generation is no failure.
                if matches!(error, FollowError::Overtaken(_)) {
                    continue;
                }
                self.report(lane, &error);
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = tokio::time::sleep(pause) => {}
                }
                // What does not mend by itself, such as a wrong password, is not told several times a second.
                let is_lasting = match &error {
                    FollowError::Database(error) => !crate::database::is_outage(error),
                    FollowError::Project { .. } => true,
                    FollowError::Lost | FollowError::Overtaken(_) => false,
                };
                let is_alike = is_lasting && began.elapsed() < 2 * MOST_PATIENT;
                pause = if is_alike { (pause * 2).min(MOST_PATIENT) } else { POLL };
            }
        }
    }

    /// Waits until the runner is stopped and the page in hand should be done: one in which every event has to be parked
    /// takes long, and is begun again by the next start.
    async fn overdue(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(LAST_PAGE).await;
    }

    fn report(&self, lane: Lane, error: &FollowError) {
        if let Some(error) = error.of_database() {
            self.database.note_refusal(error);
        }
        let text = error.to_string();
        let named = match error {
            FollowError::Project { name, .. } => Some(*name),
            _ => None,
        };
        self.failures.send_modify(|failures| {
            for projector in self.projectors.iter().filter(|projector| lane.has(&***projector)) {
                if named.is_none_or(|name| name == projector.name()) {
                    failures.insert(projector.name(), text.clone());
                }
            }
        });
    }

    fn served(&self) -> Served {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs on one connection until it breaks, a generation is swapped, or the runner is stopped.
    async fn run_connected(self: &Arc<Self>, lane: Lane) -> Result<(), FollowError> {
        let outage = self.database.outages();
        let mut connection = self.database.pool.acquire().await?;
        generation::ensure(&mut connection, &self.projectors).await?;
        let before = self.believe(&self.learn(&mut connection).await?);
        drop(connection);
        let served = self.served();
        let of_lane = served.targets.iter().filter(|target| lane.has(&*target.projector));
        let targets: Vec<Target> = of_lane.cloned().collect();
        let mut connection = self.connect(&served.schemas).await?;
        let mut mine: Vec<Target> = Vec::new();
        let mut tried: Option<Instant> = None;
        while !self.stop.is_cancelled() {
            if mine.len() < targets.len() && tried.is_none_or(|at| at.elapsed() > TAKE_OVER) {
                self.take_over(&mut connection, &targets, &mut mine).await?;
                tried = Some(Instant::now());
            }
            if self.database.outages() != outage {
                return Err(FollowError::Lost);
            }
            if self.served().schemas != served.schemas {
                // Now, and not when the server notices that the connection has gone: others wait for these locks.
                sqlx::query("select pg_advisory_unlock_all()").execute(&mut connection).await?;
                return Ok(());
            }
            let more = self.advance(&mut connection, &mine).await?;
            self.confirm(outage, &before);
            if !more {
                self.all_is_well(lane);
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = self.next_event(lane) => {}
                }
            }
        }
        Ok(())
    }

    /// Waits until there may be more to fold.
    async fn next_event(&self, lane: Lane) {
        match lane {
            Lane::Awaited => self.wakes[0].notified().await,
            Lane::Later => {
                self.wakes[1].notified().await;
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    fn all_is_well(&self, lane: Lane) {
        let of_lane = |name: &str| {
            self.projectors
                .iter()
                .any(|projector| projector.name() == name && lane.has(&**projector))
        };
        self.failures.send_if_modified(|all| {
            let before = all.len();
            all.retain(|name, _| !of_lane(name));
            all.len() < before
        });
    }

    /// Lets readers go on once everything is back to where it was before the outage.
    fn confirm(&self, outage: u64, before: &Checkpoints) {
        let back = {
            let now = self.follower.checkpoints().borrow();
            before.iter().all(|(name, old)| now[name].position >= old.position)
        };
        if back {
            self.survivor.send_if_modified(|known| std::mem::replace(known, outage) != outage);
        }
    }

    /// A page that is lost in a crash is folded again from its checkpoint, so it need not wait for the disk.
    async fn connect(&self, schemas: &[String]) -> Result<PgConnection, sqlx::Error> {
        self.database.options_for(schemas).options([("synchronous_commit", "off")]).connect().await
    }

    /// Sends a projector that is more than a page behind on its own way, so that the others need not wait for it.
    fn send_ahead(self: &Arc<Self>, target: &Target) {
        let name = target.name();
        if !self.catching_up.lock().unwrap_or_else(PoisonError::into_inner).insert(name) {
            return;
        }
        let (shared, target) = (self.clone(), target.clone());
        self.laggards.spawn(async move {
            tracing::info!(projector = name, "catching up");
            if let Err(error) = shared.catch_up(&target).await {
                tracing::warn!(projector = name, %error, "catching up was interrupted");
                let lane = Lane::ALL.into_iter().find(|lane| lane.has(&*target.projector));
                shared.report(lane.unwrap_or(Lane::Awaited), &error);
                tokio::time::sleep(POLL).await;
            }
            shared.catching_up.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
            shared.wake();
        });
    }

    async fn catch_up(&self, target: &Target) -> Result<(), FollowError> {
        let mut connection = self.connect(&[target.schema()]).await?;
        loop {
            let (from, front) = {
                let known = self.follower.checkpoints().borrow();
                let front = known.values().map(|checkpoint| checkpoint.position).max();
                (known[target.name()].position, front.unwrap_or(0))
            };
            if self.stop.is_cancelled() || front - from <= PAGE.events {
                return Ok(());
            }
            let page = self.follower.read(&mut connection, from).await?;
            let Some(end) = page.end else { return Ok(()) };
            let targets = std::slice::from_ref(target);
            self.follower.take(&mut connection, targets, from, &page, end).await?;
        }
    }

    /// Takes the locks of generations that nobody follows.
    async fn take_over(
        &self,
        connection: &mut PgConnection,
        targets: &[Target],
        mine: &mut Vec<Target>,
    ) -> Result<(), FollowError> {
        let wanted: Vec<&Target> = targets
            .iter()
            .filter(|target| !mine.iter().any(|other| other.name() == target.name()))
            .collect();
        let free: Vec<String> = sqlx::query_scalar(
            "select schema from unnest($2::text[]) as wanted (schema)
             where pg_try_advisory_lock($1, hashtext(schema))",
        )
        .bind(RUNNER_LOCK)
        .bind(wanted.iter().map(|target| target.schema()).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
        let got: Vec<Target> =
            wanted.into_iter().filter(|target| free.contains(&target.schema())).cloned().collect();
        let letters = self.follower.dead_letters();
        let parked = letters.load(connection, &got).await?;
        if !parked.is_empty() {
            for (target, parked) in parked {
                self.follower.treat(connection, &target, &parked, None).await?;
            }
            letters.load(connection, &got).await?;
        }
        mine.extend(got);
        self.learn_checkpoints().await?;
        Ok(())
    }

    /// Folds the next page for whoever is furthest behind, together with all that are level with it; those more than
    /// a page behind go their own way. Tells whether there may be more to do.
    async fn advance(
        self: &Arc<Self>,
        connection: &mut PgConnection,
        mine: &[Target],
    ) -> Result<bool, FollowError> {
        let known = self.follower.checkpoints().borrow().clone();
        let position_of = |target: &Target| known[target.name()].position;
        let mut front = mine.iter().map(position_of).max().unwrap_or(0);
        if mine.iter().any(|target| position_of(target) < front) {
            // A checkpoint that was put beyond the log's end is where nobody can go.
            front = front.min(self.follower.log_end(connection).await?);
        }
        for target in mine.iter().filter(|target| front - position_of(target) > PAGE.events) {
            self.send_ahead(target);
        }
        let mine: Vec<_> = {
            let away = self.catching_up.lock().unwrap_or_else(PoisonError::into_inner);
            mine.iter().filter(|target| !away.contains(target.name())).cloned().collect()
        };
        let Some(last) = mine.iter().map(position_of).min() else {
            return Ok(false);
        };
        let (level, ahead): (Vec<_>, Vec<_>) =
            mine.into_iter().partition(|target| position_of(target) == last);
        let next = ahead.iter().map(position_of).min();
        let mut page = self.follower.read(connection, last).await?;
        // Those behind go no further than the next ones, with whom they are level from then on, and never beyond what the
        // log has.
        if let Some(next) = next {
            page.events.retain(|recorded| recorded.position <= next);
            page.broken.retain(|broken| broken.position <= next);
            page.end = page.end.map(|end| end.min(next));
        }
        let Some(end) = page.end else { return Ok(false) };
        self.follower.take(connection, &level, last, &page, end).await?;
        Ok(true)
    }

    /// Takes over what the tables say: which generations there are to be served, and where they are. When these are not
    /// the ones that were known, readers turn to them at once.
    async fn learn(&self, connection: &mut PgConnection) -> Result<Vec<Generation>, sqlx::Error> {
        let _turn = self.learning.lock().await;
        let all = generation::all(connection).await?;
        let served: Vec<(&Arc<dyn Projector>, &Generation)> = self
            .projectors
            .iter()
            .filter_map(|projector| Some((projector, generation::served(&all, &**projector)?)))
            .collect();
        let schemas: Vec<String> =
            served.iter().map(|(_, generation)| generation.schema()).collect();
        let targets: Vec<Target> = served
            .iter()
            .filter(|(projector, generation)| generation.version == projector.version())
            .map(|(projector, generation)| Target {
                projector: (*projector).clone(),
                number: generation.number,
                state: generation.state,
            })
            .collect();
        self.following.send_replace(targets.iter().map(Target::name).collect());
        {
            let mut known = self.served.lock().unwrap_or_else(PoisonError::into_inner);
            let is_news = known.schemas != schemas;
            if is_news {
                // First the connections, then the checkpoints: whoever knows of the new generation must read it.
                self.database.look_in(&schemas);
            }
            *known = Served { schemas, targets };
            if is_news {
                self.wake();
            }
        }
        self.follower.publish(
            served.iter().map(|(projector, generation)| (projector.name(), generation.checkpoint)),
        );
        Ok(served.into_iter().map(|(_, generation)| generation.clone()).collect())
    }
}
