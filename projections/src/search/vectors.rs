//! The parts of search by meaning, running: a model, the task that embeds, the engine, and the task that tells it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::embedder::Embedder;
use super::encoder::{EncodeError, Source};
use super::engine::memory::Memory;
use super::engine::qdrant::{Address, Qdrant};
use super::engine::{Engine, EngineError};
use super::feeder::Feeder;
pub use super::feeder::Upkeep;
use super::meaning::{Meaning, Means, Silences};
use super::{sets, turn};
use crate::database::{Database, DatabaseError};

/// How often to look again for a model that is not there, and for a server that does not answer.
const AGAIN: Duration = Duration::from_secs(10);

/// How often to look whether a new model's set is whole.
const LOOK: Duration = Duration::from_millis(500);

/// Where vectors come from and where they are searched.
#[derive(Clone)]
pub struct VectorOptions {
    /// What turns text into vectors.
    pub source: Source,
    /// Where the vectors of a model before it may still come from.
    pub earlier: Vec<Source>,
    /// The Qdrant server; `None` searches in memory.
    pub qdrant: Option<Address>,
    /// How often the server is looked over.
    pub upkeep: Upkeep,
}

impl VectorOptions {
    /// Vectors from there, searched in memory.
    pub fn of(source: Source) -> Self {
        Self { source, earlier: vec![], qdrant: None, upkeep: Upkeep::default() }
    }

    /// No search by meaning, for this reason.
    pub fn without(why: &str) -> Self {
        Self::of(Source::Missing(why.to_owned()))
    }
}

/// Makes the engine; what it calls its collections begins with the first digits of the log's id.
///
/// # Errors
/// When the address cannot be used.
pub fn engine(qdrant: Option<&Address>, log: uuid::Uuid) -> Result<Arc<dyn Engine>, EngineError> {
    match qdrant {
        Some(address) => {
            let namespace: String = log.simple().to_string().chars().take(12).collect();
            Ok(Arc::new(Qdrant::new(address, &namespace)?))
        }
        None => Ok(Arc::new(Memory::default())),
    }
}

/// What runs.
pub struct Vectors {
    meaning: Meaning,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Vectors {
    /// Starts embedding what is and will be searched, as soon as there is a model. `tail` tells where the log ends.
    pub fn start(database: Database, options: VectorOptions, tail: watch::Receiver<i64>) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let meaning = Meaning::new(database.clone());
        let starting = Starting {
            database,
            options,
            tail,
            meaning: meaning.clone(),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(turn::work(stop.clone(), starting.run()));
        Self { meaning, stop, tasks }
    }

    /// What answers questions by meaning, now or once there is a model.
    pub fn meaning(&self) -> &Meaning {
        &self.meaning
    }

    /// Stops after the batch in hand, unless that takes long.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What is needed to start.
struct Starting {
    database: Database,
    options: VectorOptions,
    tail: watch::Receiver<i64>,
    meaning: Meaning,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Why it did not start yet.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Starting {
    async fn run(self) {
        let mut said = String::new();
        loop {
            match self.begin().await {
                Ok(means) => return self.bridge(&means).await,
                Err(StartError::Encode(error @ EncodeError::Missing(_))) if said.is_empty() => {
                    tracing::info!("no search by meaning: {error}");
                    said = error.to_string();
                    self.meaning.lacks(&said);
                }
                Err(error) => {
                    let text = error.to_string();
                    if text != said {
                        tracing::warn!(%error, "no search by meaning at present; crm keeps trying");
                    }
                    self.meaning.lacks(&text);
                    said = text;
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    async fn begin(&self) -> Result<Means, StartError> {
        let encoder = self.options.source.open().await?;
        let (name, dimensions) = (encoder.name().to_owned(), encoder.dimensions());
        let asking = async {
            let mut db = self.database.pool.acquire().await?;
            let log: uuid::Uuid = crate::seal::store::log_id(&mut db).await?;
            Ok((log, sets::model(&mut db, &name, dimensions).await?))
        };
        let (log, model) = self.database.ask(asking).await?;
        let engine = engine(self.options.qdrant.as_ref(), log)?;
        let means = Means { encoder, engine, model, silences: Silences::default() };
        self.meaning.can(means.clone());
        self.keep_up(&means, true, &self.stop);
        Ok(means)
    }

    /// Has a model's texts embedded and the engine told of them until it is stopped.
    fn keep_up(&self, means: &Means, begins: bool, stop: &CancellationToken) {
        let Means { encoder, engine, model, .. } = means.clone();
        let written = watch::Sender::new(0);
        let outside = (!engine.is_of_this_process()).then(|| engine.name());
        let feeder = Feeder {
            database: self.database.clone(),
            engine,
            model,
            upkeep: self.options.upkeep,
            written: written.subscribe(),
            stop: stop.clone(),
        };
        let embedder = Embedder {
            database: self.database.clone(),
            encoder,
            model,
            engine: outside,
            begins,
            tail: self.tail.clone(),
            written,
            stop: stop.clone(),
        };
        self.tasks.spawn(turn::work(stop.clone(), feeder.run()));
        self.tasks.spawn(turn::work(stop.clone(), embedder.run()));
    }

    /// Has the model before answer, if it can still be had, until this one's texts are all embedded.
    async fn bridge(&self, means: &Means) {
        let Some(before) = self.before(means).await else { return };
        tracing::info!(
            "the model before answers questions by meaning until all texts are embedded anew"
        );
        let stop = self.stop.child_token();
        self.keep_up(&before, false, &stop);
        self.meaning.until_then(Some(before));
        while !stop.is_cancelled() && !means.answers().await {
            turn::pause(&stop, LOOK).await;
        }
        self.meaning.until_then(None);
        stop.cancel();
    }

    async fn before(&self, means: &Means) -> Option<Means> {
        let asking = async {
            let mut db = self.database.pool.acquire().await?;
            sets::before(&mut db, means.model).await
        };
        let whole = match self.database.ask(asking).await {
            Ok(whole) => whole?,
            Err(error) => {
                tracing::warn!(%error, "nobody knows whether a model before this one could answer");
                return None;
            }
        };
        for source in std::iter::once(&self.options.source).chain(&self.options.earlier) {
            let source = source.of_model(&whole.name, whole.dimensions);
            let Ok(encoder) = source.open().await else { continue };
            if encoder.name() == whole.name {
                let (engine, silences) = (means.engine.clone(), means.silences.of_engine());
                return Some(Means { encoder, engine, model: whole.id, silences });
            }
        }
        None
    }
}
