//! Questions by meaning: the texts whose vectors are nearest to that of a question, or to those of a record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use domain::RecordRef;
use futures::FutureExt as _;

use super::asked::Asked;
use super::encoder::{EncodeError, Encoder};
use super::engine::{Engine, EngineError, Near};
use super::extent::Extent;
use super::silence::Silence;
use super::unembedded::Answerer;
use super::{Filter, points, sets};
use crate::database::{Database, DatabaseError};

/// For how long the vector of a question is remembered, and of how many questions: pages and filters ask it again.
const REMEMBERED: Duration = Duration::from_secs(600);
const QUESTIONS: usize = 256;

/// For how long it is believed how much of the texts is embedded.
const BELIEVED: Duration = Duration::from_secs(1);

/// Why there is no answer in the first second.
const LOADING: &str = "the embedding model is being loaded";

/// Why nothing is similar to what was just written.
const UNEMBEDDED: &str = "its own texts are not embedded yet, they will be in a moment";

/// What a model that does not answer is asked again and again.
const ANYTHING: &str = "currency hedging";

/// The most pieces that are passed over because they are the records' own.
const OWN: usize = 2_000;

/// Why there is no answer by meaning. The text is for people.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// There is no model, or no engine; the text says what to do.
    #[error("{0}")]
    Missing(String),
    /// Too few of the texts are embedded; the text says how many.
    #[error("{0}")]
    Unfinished(String),
    /// The question could not be embedded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The engine did not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What is nearest to a question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nearest {
    /// The pieces of text, the nearest first.
    pub near: Vec<Near>,
    /// What was not looked through, if that is worth saying: texts that are still to be embedded.
    pub lacks: Option<String>,
    /// Who found them; nobody if there was nothing to ask.
    pub answerer: Option<Answerer>,
}

/// Answers questions by meaning. Clones share it.
#[derive(Clone)]
pub struct Meaning(Arc<Shared>);

struct Shared {
    database: Database,
    means: RwLock<Result<Means, String>>,
    /// The model before, which answers until the texts are embedded by the new one.
    before: RwLock<Option<Means>>,
    questions: Mutex<HashMap<(i32, String), Question>>,
    extents: Mutex<HashMap<i32, (Instant, Extent)>>,
}

/// The vector of a question, and when it was asked for.
type Question = (Instant, Arc<[f32]>);

/// What answers questions: a model, and where its vectors are searched.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) encoder: Arc<dyn Encoder>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) model: i32,
    pub(super) silences: Silences,
}

/// Whether what answers questions does not, at present.
#[derive(Clone)]
pub(super) struct Silences {
    encoder: Arc<Silence<EncodeError>>,
    engine: Arc<Silence<EngineError>>,
}

impl Default for Silences {
    fn default() -> Self {
        let encoder = Silence::new(EncodeError::is_silence);
        Self { encoder, engine: Silence::new(EngineError::is_silence) }
    }
}

impl Silences {
    /// Of another encoder with the same engine.
    pub(super) fn of_engine(&self) -> Self {
        Self { engine: self.engine.clone(), ..Self::default() }
    }
}

impl Means {
    fn answerer(&self) -> Answerer {
        Answerer { model: self.model, engine: self.engine.name() }
    }

    /// Whether a whole set answers.
    pub(super) async fn answers(&self) -> bool {
        self.answer().await.is_ok()
    }

    /// What the engine says when it is asked for anything.
    async fn answer(&self) -> Result<(), EngineError> {
        let mut vector = vec![0.0; self.encoder.dimensions()];
        vector.iter_mut().take(1).for_each(|number| *number = 1.0);
        self.engine.nearest(self.model, &vector, &Filter::default(), 1).await.map(drop)
    }

    /// The pieces of text that are nearest to a vector, if the engine answers at present.
    async fn nearest(
        &self,
        vector: &[f32],
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Near>, EngineError> {
        // Else it would keep itself alive.
        let (encoder, engine, model) = (self.encoder.clone(), self.engine.clone(), self.model);
        let probe = move || {
            let silences = Silences::default();
            let means = Means { encoder: encoder.clone(), engine: engine.clone(), model, silences };
            async move { means.answer().await }.boxed()
        };
        let asking = self.engine.nearest(self.model, vector, filter, limit);
        self.silences.engine.ask(asking, probe).await
    }

    /// The vector of a question, if the model answers at present.
    async fn question(&self, question: &str) -> Result<Vec<f32>, EncodeError> {
        let encoder = self.encoder.clone();
        let probe = move || {
            let encoder = encoder.clone();
            async move { encoder.question(ANYTHING).await.map(drop) }.boxed()
        };
        self.silences.encoder.ask(self.encoder.question(question), probe).await
    }
}

impl Meaning {
    /// Without a model yet.
    pub(super) fn new(database: Database) -> Self {
        Self::without(database, LOADING)
    }

    /// Without a model, for this reason.
    pub fn without(database: Database, why: &str) -> Self {
        let (means, before) = (RwLock::new(Err(why.to_owned())), RwLock::default());
        let (questions, extents) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { database, means, before, questions, extents }))
    }

    /// From now on it can answer.
    pub(super) fn can(&self, means: Means) {
        *self.0.means.write().unwrap_or_else(PoisonError::into_inner) = Ok(means);
    }

    /// Until this model's texts are embedded, these means answer, if any.
    pub(super) fn until_then(&self, before: Option<Means>) {
        *self.0.before.write().unwrap_or_else(PoisonError::into_inner) = before;
    }

    /// It cannot answer, for this reason.
    pub(super) fn lacks(&self, what: &str) {
        *self.0.means.write().unwrap_or_else(PoisonError::into_inner) = Err(what.to_owned());
    }

    fn means(&self) -> Result<Means, Unready> {
        let means = self.0.means.read().unwrap_or_else(PoisonError::into_inner);
        means.clone().map_err(Unready::Missing)
    }

    /// What to ask, the best first: one that has no whole set leaves it to the next.
    fn all_means(&self) -> Result<impl Iterator<Item = Means> + use<>, Unready> {
        let before = self.0.before.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(std::iter::once(self.means()?).chain(before))
    }

    /// The number of the model; `None` before there is one.
    pub fn model(&self) -> Option<i32> {
        self.means().ok().map(|means| means.model)
    }

    /// What must be done to have a model; `None` if there is one, or it is still being loaded.
    pub fn lacking(&self) -> Option<String> {
        self.missing().filter(|missing| missing != LOADING)
    }

    /// What is missing to answer; `None` if nothing is.
    pub fn missing(&self) -> Option<String> {
        self.means().err().map(|missing| missing.to_string())
    }

    /// Whether the model knows a word as one, as it does the most usual ones.
    pub(super) fn knows(&self, word: &str) -> bool {
        self.means().is_ok_and(|means| means.encoder.pieces(word) == Some(1))
    }

    /// The pieces of text that are nearest to what somebody asks, the nearest first. The engine may be a moment behind the
    /// texts: of each, the digest tells whether it still stands there. A mistyped word is corrected if the model knows
    /// what was probably meant as a word, and not what was typed: that would be no typing error, even if no text has it.
    ///
    /// # Errors
    /// See [`Unready`].
    pub async fn nearest(
        &self,
        asked: &Asked,
        filter: &Filter,
        limit: usize,
    ) -> Result<Nearest, Unready> {
        for means in self.all_means()? {
            let pieces = |word: &str| means.encoder.pieces(word);
            let is_better = |typed: &str, word: &str| {
                pieces(word) == Some(1) && pieces(typed).is_some_and(|pieces| pieces > 1)
            };
            let question = asked.meant(is_better);
            let vector = self.vector(&means, &question).await?;
            match means.nearest(&vector, filter, limit).await {
                Err(EngineError::Missing(_)) => {}
                near => {
                    let near = near?;
                    let lacks = self.extent(means.model).await?.lacks();
                    return Ok(Nearest { near, lacks, answerer: Some(means.answerer()) });
                }
            }
        }
        Err(self.unfinished().await?)
    }

    /// How much of the texts is in a model's set, as it was at most a moment ago.
    async fn extent(&self, model: i32) -> Result<Extent, DatabaseError> {
        let known = |extents: &Mutex<HashMap<i32, (Instant, Extent)>>| {
            let extents = extents.lock().unwrap_or_else(PoisonError::into_inner);
            extents.get(&model).filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, extent)| *extent)
        };
        if let Some(extent) = known(&self.0.extents) {
            return Ok(extent);
        }
        let database = &self.0.database;
        let asking = async {
            let mut db = database.pool.acquire().await?;
            Extent::of_model(&mut db, model).await
        };
        let extent = database.ask(asking).await?;
        let mut extents = self.0.extents.lock().unwrap_or_else(PoisonError::into_inner);
        extents.insert(model, (Instant::now(), extent));
        Ok(extent)
    }

    /// Why none of the means has a whole set.
    async fn unfinished(&self) -> Result<Unready, Unready> {
        let extent = self.extent(self.means()?.model).await?;
        Ok(Unready::Unfinished(extent.unready()))
    }

    /// The pieces of text that are nearest to what records say taken together, but for their own. None if they say nothing,
    /// or nothing yet that is embedded.
    ///
    /// # Errors
    /// See [`Unready`].
    pub async fn near_records(
        &self,
        records: &[RecordRef],
        filter: &Filter,
        limit: usize,
    ) -> Result<Nearest, Unready> {
        let database = &self.0.database;
        for means in self.all_means()? {
            let asking = async {
                let mut db = database.pool.acquire().await?;
                match sets::is_live(&mut db, means.model).await? {
                    true => points::vectors(&mut db, means.model, records).await.map(Some),
                    false => Ok(None),
                }
            };
            let Some(vectors) = database.ask(asking).await? else { continue };
            let Some(vector) = mean(&vectors) else { return self.nothing(records).await };
            let own = vectors.len().min(OWN);
            match means.nearest(&vector, filter, limit + own).await {
                Err(EngineError::Missing(_)) => {}
                near => {
                    let mut near = near?;
                    near.retain(|near| !records.contains(&near.place.record));
                    near.truncate(limit);
                    let lacks = self.extent(means.model).await?.lacks();
                    return Ok(Nearest { near, lacks, answerer: Some(means.answerer()) });
                }
            }
        }
        Err(self.unfinished().await?)
    }

    /// What is near to records without vectors: nothing, be it because they say nothing or because that is not embedded yet.
    async fn nothing(&self, records: &[RecordRef]) -> Result<Nearest, Unready> {
        let database = &self.0.database;
        let asking = async {
            let mut db = database.pool.acquire().await?;
            points::have_texts(&mut db, records).await
        };
        let has_texts = database.ask(asking).await?;
        let lacks = has_texts.then(|| UNEMBEDDED.to_owned());
        Ok(Nearest { lacks, ..Nearest::default() })
    }

    async fn vector(&self, means: &Means, question: &str) -> Result<Arc<[f32]>, EncodeError> {
        let asked = (means.model, question.to_owned());
        if let Some(vector) = self.remembered(&asked) {
            return Ok(vector);
        }
        let vector: Arc<[f32]> = means.question(question).await?.into();
        let mut questions = self.0.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if questions.len() >= QUESTIONS {
            questions.retain(|_, (at, _)| at.elapsed() < REMEMBERED / 2);
        }
        if questions.len() >= QUESTIONS {
            questions.clear();
        }
        questions.insert(asked, (Instant::now(), vector.clone()));
        Ok(vector)
    }

    fn remembered(&self, question: &(i32, String)) -> Option<Arc<[f32]>> {
        let questions = self.0.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, vector) = questions.get(question)?;
        (at.elapsed() < REMEMBERED).then(|| vector.clone())
    }
}

/// The direction of all of them together.
fn mean(vectors: &[Vec<f32>]) -> Option<Vec<f32>> {
    let mut sum = vec![0f32; vectors.first()?.len()];
    for vector in vectors {
        sum.iter_mut().zip(vector).for_each(|(sum, number)| *sum += number);
    }
    super::encoder::normalise(&mut sum);
    Some(sum)
}
