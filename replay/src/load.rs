//! The whole log into empty tables, as fast as the machine allows: the log is read ahead by COPY, workers share the
//! records among them, fold in memory, and copy the rows into tables that have no indexes yet.
//!
//! Memory is bounded: when the rows of a worker take too much of it, they are written and forgotten, and from then on it
//! loads again what later events change.

mod finish;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use domain::Kind;
use projections::background;
use projections::database::Database;
use projections::dead_letter::Parked;
use projections::follow::is_followed;
use projections::log::{AllKeys, LogReader, Recorded, Span, StoredEvent, Stream, Sweep};
use projections::projector::{ProjectError, Projector};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use finish::finish_all;
use worker::{Shared, Worker};

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
    /// From which position on a stream is left out.
    pub parked: HashMap<Stream, i64>,
}

impl Filling {
    /// Whether an event is to be folded.
    pub fn takes(&self, recorded: &Recorded) -> bool {
        let is_parked = || {
            let from = self.parked.get(&recorded.stream());
            // Whatever could not be followed, nothing of it is left to be shown.
            from.is_some_and(|from| recorded.position >= *from) && !recorded.event.is_erasure()
        };
        recorded.position <= self.to
            && !self.skipped.contains(&recorded.position)
            && (self.parked.is_empty() || !is_parked())
    }

    /// Leaves a stream out from an event on. Tells whether that was news.
    pub fn park(&mut self, broken: &Parked) -> bool {
        let Parked { stream, position, .. } = broken;
        let is_news = is_followed(&*self.projector, &stream.kind)
            && *position <= self.to
            && !self.skipped.contains(position)
            && self.parked.get(stream).is_none_or(|at| position < at);
        if is_news {
            self.parked.insert(stream.clone(), *position);
        }
        is_news
    }
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
    pub is_indexing: AtomicBool,
    /// Whether it is read anew, event by event: how far that is, the generations say.
    pub is_careful: AtomicBool,
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
            background::set_this_thread_aside();
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
    let all_keys = Arc::<AllKeys>::default();
    let shared = Arc::new(Shared::new(fillings));
    let schemas: Vec<String> = fillings.iter().map(|filling| filling.schema.clone()).collect();
    let (written, all_written) = mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    let mut ways = Vec::new();
    for index in 0..workers {
        let (way, batches) = mpsc::channel::<Batch>(AHEAD);
        ways.push(way);
        let options = database.options_for(&schemas).options([("synchronous_commit", "off")]);
        let log = LogReader::new(database.keys().clone()).with_all_keys(all_keys.clone());
        let worker = Worker::new(fillings, index, effort, shared.clone(), written.clone(), log);
        let database = database.clone();
        tasks.spawn(async move {
            worker.run(connect(&database, &options, effort).await?, batches).await
        });
    }
    drop(written);
    // A reader that waits for its workers hears it as well.
    tokio::select! {
        read = read(database, fillings, effort, ways, gauge) => read?,
        () = stop.cancelled() => return Err(LoadError::Stopped),
    }
    gauge.is_indexing.store(true, Ordering::Release);
    let finishing = finish_all(database, fillings, effort, &shared.keys, all_written);
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
) -> Result<(), LoadError> {
    let follows =
        |kind: &Kind| fillings.iter().any(|filling| filling.projector.follows().contains(kind));
    let without: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| !follows(kind)).collect();
    let to = fillings.iter().map(|filling| filling.to).max().unwrap_or(0);
    let mut connection = connect(database, &database.options_for(&[]), effort).await?;
    let mut sweep =
        Sweep::begin(&mut connection, &Span { after: 0, to, without: &without }).await?;
    while let Some(batch) = sweep.next().await? {
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
