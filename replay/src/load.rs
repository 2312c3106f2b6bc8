//! The whole log into empty tables, as fast as the machine allows: the log is read ahead by COPY, workers share the
//! records among them, fold in memory, and copy the rows into tables that have no indexes yet.
//!
//! Memory is bounded: when the rows of a worker take too much of it, they are written and forgotten, and from then on it
//! loads again what later events change.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use domain::Kind;
use projections::background;
use projections::database::Database;
use projections::dead_letter::Parked;
use projections::generation;
use projections::log::{LogReader, ReadLogError, Recorded, Span, StoredEvent, Stream, Sweep};
use projections::projector::{Fold, ProjectError, Projector, Tables};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::{OnceCell, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Tables to be filled.
#[derive(Clone)]
pub struct Filling {
    /// What folds.
    pub projector: Arc<dyn Projector>,
    /// Where its tables are: made, empty, without keys.
    pub schema: String,
    /// The last position to take in.
    pub to: i64,
    /// The events to leave out.
    pub skipped: HashSet<i64>,
}

/// What the tables hold afterwards.
#[derive(Clone, Debug, Default)]
pub struct Filled {
    /// The last position that changed a row.
    pub changed: i64,
    /// The streams of events that could not be read.
    pub parked: Vec<Parked>,
}

/// How far it is, for whoever watches.
#[derive(Debug, Default)]
pub struct Gauge {
    /// The last position that was read.
    pub read: AtomicI64,
    /// Whether all is read, and keys and indexes are made.
    pub is_indexing: std::sync::atomic::AtomicBool,
}

/// Why the tables were not filled.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A projector could not fold or write something; page by page it can be found out what.
    #[error("projector {name}: {source}")]
    Project {
        /// Its name.
        name: &'static str,
        /// How.
        source: ProjectError,
    },
    /// A defect: a projector panicked, as it may on a log that contradicts itself.
    #[error("a projector panicked: {0}")]
    Panicked(String),
    /// It was told to stop.
    #[error("called off")]
    Stopped,
}

impl LoadError {
    /// Whether it says something about the events, and not about the database or whoever waits.
    pub fn is_about_events(&self) -> bool {
        match self {
            LoadError::Project { source, .. } => !source.is_outage(),
            LoadError::Panicked(_) => true,
            LoadError::Database(_) | LoadError::Stopped => false,
        }
    }
}

/// What a load may take of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How many workers share the records.
    pub workers: usize,
    /// What the rows of all workers may take in memory, in bytes, more or less.
    pub memory: usize,
    /// Whether it keeps out of the way of everybody else, see [`background`].
    pub is_behind: bool,
}

impl Effort {
    /// As many workers as the machine has cores, and 96 MiB.
    pub fn full() -> Self {
        let workers = std::thread::available_parallelism().map_or(2, usize::from).min(8);
        Self { workers, memory: 96 << 20, is_behind: false }
    }

    /// One worker, so that a server's other threads are there for its requests.
    pub fn single() -> Self {
        Self { workers: 1, ..Self::full() }
    }

    /// One worker behind everybody else, for what nobody waits for.
    pub fn polite() -> Self {
        Self { is_behind: true, ..Self::single() }
    }
}

/// How many batches of events a worker may be behind the reader.
const AHEAD: usize = 4;

type Batch = Arc<Vec<StoredEvent>>;

/// Fills tables from the log.
///
/// # Errors
/// See [`LoadError`]; the tables then hold nothing of use.
pub async fn load(
    database: &Database,
    fillings: &[Filling],
    effort: Effort,
    gauge: &Arc<Gauge>,
    stop: &CancellationToken,
) -> Result<Vec<Filled>, LoadError> {
    if !effort.is_behind {
        return load_here(database, fillings, effort, gauge, stop).await;
    }
    let (database, fillings, gauge) = (database.clone(), fillings.to_vec(), gauge.clone());
    // Whoever no longer waits for it has given it up.
    let stop = stop.child_token();
    let _given_up = stop.clone().drop_guard();
    let (done, result) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| LoadError::Database(error.into()))?;
    // A thread of its own, since priorities belong to threads.
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            background::lower_this_thread();
            let loaded = runtime.block_on(load_here(&database, &fillings, effort, &gauge, &stop));
            // Nobody listens only when nobody waits any more.
            let _ = done.send(loaded);
        })
        .map_err(|error| LoadError::Database(error.into()))?;
    result.await.unwrap_or_else(|_| {
        Err(LoadError::Panicked("the thread that loads ended early".to_owned()))
    })
}

async fn load_here(
    database: &Database,
    fillings: &[Filling],
    effort: Effort,
    gauge: &Gauge,
    stop: &CancellationToken,
) -> Result<Vec<Filled>, LoadError> {
    let workers = effort.workers;
    let keys: Arc<Vec<OnceCell<()>>> = Arc::new(fillings.iter().map(|_| OnceCell::new()).collect());
    let schemas: Vec<String> = fillings.iter().map(|filling| filling.schema.clone()).collect();
    let (written, all_written) = mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    let mut ways = Vec::new();
    for index in 0..workers {
        let (way, batches) = mpsc::channel::<Batch>(AHEAD);
        ways.push(way);
        let options = database.options_for(&schemas).options([("synchronous_commit", "off")]);
        let log = LogReader::new(database.keys().clone());
        let worker = Worker::new(fillings, index, effort, keys.clone(), written.clone(), log);
        let database = database.clone();
        tasks.spawn(async move {
            worker.run(connect(&database, &options, effort).await?, batches).await
        });
    }
    drop(written);
    read(database, fillings, effort, ways, gauge, stop).await?;
    gauge.is_indexing.store(true, Ordering::Release);
    let finishing = finish_all(database, fillings, effort, &keys, all_written);
    let collecting = async {
        let mut filled = vec![Filled::default(); fillings.len()];
        while let Some(done) = tasks.join_next().await {
            for (whole, part) in filled.iter_mut().zip(joined(done)??) {
                whole.changed = whole.changed.max(part.changed);
                whole.parked.extend(part.parked);
            }
        }
        Ok(filled)
    };
    tokio::select! {
        done = async { tokio::try_join!(collecting, finishing) } => Ok(done?.0),
        () = stop.cancelled() => Err(LoadError::Stopped),
    }
}

/// Finishes each filling as soon as all workers have written it, while they go on with the next.
async fn finish_all(
    database: &Database,
    fillings: &[Filling],
    effort: Effort,
    keys: &[OnceCell<()>],
    mut written: mpsc::UnboundedReceiver<usize>,
) -> Result<(), LoadError> {
    let workers = effort.workers;
    let turns = Arc::new(Semaphore::new(workers));
    let mut finishing = tokio::task::JoinSet::new();
    let mut missing = vec![workers; fillings.len()];
    while let Some(slot) = written.recv().await {
        missing[slot] -= 1;
        if missing[slot] > 0 {
            continue;
        }
        let (database, turns) = (database.clone(), turns.clone());
        let (filling, has_keys) = (fillings[slot].clone(), keys[slot].initialized());
        finishing.spawn(async move {
            let _turn = turns.acquire().await;
            finish(&database, &filling, effort, has_keys).await
        });
    }
    while let Some(finished) = finishing.join_next().await {
        joined(finished)??;
    }
    Ok(())
}

async fn connect(
    database: &Database,
    options: &PgConnectOptions,
    effort: Effort,
) -> Result<PgConnection, sqlx::Error> {
    match effort.is_behind {
        true => background::connect_behind(database, options).await,
        false => options.connect().await,
    }
}

/// What a task came to.
fn joined<T>(done: Result<T, tokio::task::JoinError>) -> Result<T, LoadError> {
    done.map_err(|error| LoadError::Panicked(error.to_string()))
}

/// Reads the log for all workers.
async fn read(
    database: &Database,
    fillings: &[Filling],
    effort: Effort,
    ways: Vec<mpsc::Sender<Batch>>,
    gauge: &Gauge,
    stop: &CancellationToken,
) -> Result<(), LoadError> {
    let follows =
        |kind: &Kind| fillings.iter().any(|filling| filling.projector.follows().contains(kind));
    let without: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| !follows(kind)).collect();
    let to = fillings.iter().map(|filling| filling.to).max().unwrap_or(0);
    let mut connection = connect(database, &database.options_for(&[]), effort).await?;
    let mut sweep =
        Sweep::begin(&mut connection, &Span { after: 0, to, without: &without }).await?;
    while let Some(batch) = sweep.next().await? {
        if stop.is_cancelled() {
            return Err(LoadError::Stopped);
        }
        let last = batch.last().map_or(0, |event| event.position);
        let batch = Arc::new(batch);
        for way in &ways {
            // A worker that has gone says itself why.
            if way.send(batch.clone()).await.is_err() {
                return Ok(());
            }
        }
        gauge.read.store(last, Ordering::Release);
    }
    Ok(())
}

/// Folds the events of its share of the records.
struct Worker {
    index: u64,
    of: u64,
    /// What its rows may take in memory, in bytes.
    memory: usize,
    slots: Vec<Slot>,
    /// The kinds whose records are not shared, since a projector needs to see them all: the first worker has them.
    unshared: Vec<Kind>,
    keys: Arc<Vec<OnceCell<()>>>,
    /// Hears of every slot whose last rows are written.
    written: mpsc::UnboundedSender<usize>,
    log: LogReader,
}

/// One filling in the hands of one worker.
struct Slot {
    filling: Filling,
    fold: Box<dyn Fold>,
    tables: Tables,
    filled: Filled,
    /// From which position on a stream is left out.
    parked: HashMap<Stream, i64>,
}

impl Worker {
    fn new(
        fillings: &[Filling],
        index: usize,
        Effort { workers, memory, .. }: Effort,
        keys: Arc<Vec<OnceCell<()>>>,
        written: mpsc::UnboundedSender<usize>,
        log: LogReader,
    ) -> Self {
        let whole = fillings.iter().filter(|filling| !filling.projector.is_partitioned());
        let unshared = whole.flat_map(|filling| filling.projector.follows()).copied().collect();
        let slots = fillings
            .iter()
            .map(|filling| Slot {
                filling: filling.clone(),
                fold: filling.projector.begin(),
                tables: Tables::Empty,
                filled: Filled::default(),
                parked: HashMap::new(),
            })
            .collect();
        let (index, of, memory) = (index as u64, workers as u64, memory / workers);
        Self { index, of, memory, slots, unshared, keys, written, log }
    }

    async fn run(
        mut self,
        mut connection: PgConnection,
        mut batches: mpsc::Receiver<Batch>,
    ) -> Result<Vec<Filled>, LoadError> {
        while let Some(batch) = batches.recv().await {
            let page = self.decode(&batch, &mut connection).await?;
            for slot in &mut self.slots {
                slot.take(&page, &mut connection).await?;
            }
            while self.size() > self.memory {
                self.relieve(&mut connection).await?;
            }
        }
        // The largest first: their indexes take longest.
        let mut order: Vec<usize> = (0..self.slots.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(self.slots[*at].fold.size()));
        for at in order {
            self.slots[at].write(&mut connection).await?;
            // Nobody listens only after something has failed elsewhere.
            let _ = self.written.send(at);
        }
        Ok(self.slots.into_iter().map(|slot| slot.filled).collect())
    }

    fn size(&self) -> usize {
        self.slots.iter().map(|slot| slot.fold.size()).sum()
    }

    /// Writes what takes most memory. As more may come, those tables need their keys from now on.
    async fn relieve(&mut self, connection: &mut PgConnection) -> Result<(), LoadError> {
        let slots = self.slots.iter_mut().zip(self.keys.iter());
        let Some((slot, keys)) = slots.max_by_key(|(slot, _)| slot.fold.size()) else {
            return Ok(());
        };
        slot.write(connection).await?;
        if slot.tables == Tables::Empty {
            let Filling { projector, schema, .. } = &slot.filling;
            keys.get_or_try_init(|| generation::add_keys(connection, &**projector, schema)).await?;
            slot.tables = Tables::Own;
        }
        Ok(())
    }

    /// Its own share of a batch, typed.
    async fn decode(
        &mut self,
        batch: &[StoredEvent],
        connection: &mut PgConnection,
    ) -> Result<Vec<Recorded>, LoadError> {
        let mut page = Vec::with_capacity(batch.len() / 2);
        let is_own = |stored: &&StoredEvent| self.share_of(stored, stored.kind()) == self.index;
        let own: Vec<&StoredEvent> = batch.iter().filter(is_own).collect();
        let ring = self.log.ring_for(connection, own.iter().copied()).await?;
        for stored in own {
            let kind = stored.kind();
            match self.log.decode_stored(stored, &ring).map_err(ReadLogError::about_event) {
                Ok(recorded) => page.push(recorded),
                Err(error) => {
                    let (position, error) = error?;
                    let broken = Parked { stream: stored.stream(), position, error };
                    for slot in &mut self.slots {
                        slot.park(&broken, kind);
                    }
                }
            }
        }
        Ok(page)
    }

    /// Which worker a record belongs to.
    fn share_of(&self, stored: &StoredEvent, kind: Option<Kind>) -> u64 {
        match kind {
            Some(kind) if !self.unshared.contains(&kind) => {
                // FNV-1a: any hash will do that scatters short texts of digits.
                let hash =
                    stored.aggregate_id.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
                    });
                (hash >> 32) % self.of
            }
            _ => 0,
        }
    }
}

impl Slot {
    async fn take(
        &mut self,
        page: &[Recorded],
        connection: &mut PgConnection,
    ) -> Result<(), LoadError> {
        let Filling { projector, to, skipped, .. } = &self.filling;
        let is_wanted = |recorded: &Recorded| {
            recorded.position <= *to
                && !skipped.contains(&recorded.position)
                && (self.parked.is_empty()
                    || self.parked.get(&recorded.stream()).is_none_or(|at| recorded.position < *at))
        };
        let chosen: Option<Vec<Recorded>> = match page.iter().all(is_wanted) {
            true => None,
            false => Some(page.iter().filter(|recorded| is_wanted(recorded)).cloned().collect()),
        };
        self.fold
            .fold(chosen.as_deref().unwrap_or(page), connection, self.tables)
            .await
            .map_err(|source| LoadError::Project { name: projector.name(), source })
    }

    async fn write(&mut self, connection: &mut PgConnection) -> Result<(), LoadError> {
        let name = self.filling.projector.name();
        self.fold
            .write(connection, self.tables)
            .await
            .map_err(|source| LoadError::Project { name, source })?;
        self.filled.changed = self.fold.changed().unwrap_or(0);
        Ok(())
    }

    fn park(&mut self, broken: &Parked, kind: Option<Kind>) {
        let Filling { projector, to, skipped, .. } = &self.filling;
        let is_followed = kind.is_none_or(|kind| projector.follows().contains(&kind));
        if is_followed
            && broken.position <= *to
            && !skipped.contains(&broken.position)
            && !self.parked.contains_key(&broken.stream)
        {
            self.parked.insert(broken.stream.clone(), broken.position);
            self.filled.parked.push(broken.clone());
        }
    }
}

/// Keys, indexes, and what the planner wants to know.
async fn finish(
    database: &Database,
    filling: &Filling,
    effort: Effort,
    has_keys: bool,
) -> Result<(), LoadError> {
    let Filling { projector, schema, .. } = filling;
    let options = database.options_for(std::slice::from_ref(schema));
    // Tables are finished side by side already; more processes for one of them would only get in the way.
    let options = options.options([
        ("maintenance_work_mem", "128MB"),
        ("max_parallel_maintenance_workers", "0"),
        ("synchronous_commit", "off"),
    ]);
    let mut connection = connect(database, &options, effort).await?;
    if !has_keys {
        generation::add_keys(&mut connection, &**projector, schema).await?;
    }
    generation::add_indexes(&mut connection, &**projector, schema).await?;
    for table in projector.tables() {
        let statement = format!("analyze {schema}.{}", table.name);
        sqlx::query(&statement).execute(&mut connection).await?;
    }
    Ok(())
}
