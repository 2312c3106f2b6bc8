//! Questions by meaning: the texts whose vectors are nearest to that of a question, or to those of a record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use domain::RecordRef;

use super::encoder::{EncodeError, Encoder};
use super::engine::{Engine, EngineError, Near};
use super::{Filter, points};
use crate::database::{Database, DatabaseError};

/// For how long the vector of a question is remembered, and of how many questions: pages and filters ask it again.
const REMEMBERED: Duration = Duration::from_secs(600);
const QUESTIONS: usize = 256;

/// Why there is no answer in the first second.
const LOADING: &str = "the embedding model is being loaded";

/// The most pieces that are passed over because they are the records' own.
const OWN: usize = 2_000;

/// Why there is no answer by meaning. The text is for people.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// There is no model, or no engine; the text says what to do.
    #[error("{0}")]
    Missing(String),
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

/// Answers questions by meaning. Clones share it.
#[derive(Clone)]
pub struct Meaning(Arc<Shared>);

struct Shared {
    database: Database,
    means: RwLock<Result<Means, String>>,
    questions: Mutex<HashMap<String, Question>>,
}

/// The vector of a question, and when it was asked for.
type Question = (Instant, Arc<[f32]>);

#[derive(Clone)]
struct Means {
    encoder: Arc<dyn Encoder>,
    engine: Arc<dyn Engine>,
    model: i32,
}

impl Meaning {
    /// Without a model yet.
    pub(super) fn new(database: Database) -> Self {
        Self::without(database, LOADING)
    }

    /// Without a model, for this reason.
    pub fn without(database: Database, why: &str) -> Self {
        let means = RwLock::new(Err(why.to_owned()));
        Self(Arc::new(Shared { database, means, questions: Mutex::default() }))
    }

    /// From now on it can answer.
    pub(super) fn can(&self, encoder: Arc<dyn Encoder>, engine: Arc<dyn Engine>, model: i32) {
        *self.0.means.write().unwrap_or_else(PoisonError::into_inner) =
            Ok(Means { encoder, engine, model });
    }

    /// It cannot answer, for this reason.
    pub(super) fn lacks(&self, what: &str) {
        *self.0.means.write().unwrap_or_else(PoisonError::into_inner) = Err(what.to_owned());
    }

    fn means(&self) -> Result<Means, Unready> {
        let means = self.0.means.read().unwrap_or_else(PoisonError::into_inner);
        means.clone().map_err(Unready::Missing)
    }

    /// What must be done to have a model; `None` if there is one, or it is still being loaded.
    pub fn lacking(&self) -> Option<String> {
        self.missing().filter(|missing| missing != LOADING)
    }

    /// What is missing to answer; `None` if nothing is.
    pub fn missing(&self) -> Option<String> {
        self.means().err().map(|missing| missing.to_string())
    }

    /// The pieces of text that are nearest to what somebody asks, the nearest first. The engine may be a moment behind the
    /// texts: of each, the digest tells whether it still stands there.
    ///
    /// # Errors
    /// See [`Unready`].
    pub async fn nearest(
        &self,
        question: &str,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Near>, Unready> {
        let means = self.means()?;
        let vector = self.vector(&means, question).await?;
        Ok(means.engine.nearest(means.model, &vector, filter, limit).await?)
    }

    /// The pieces of text that are nearest to what records say taken together, but for their own. None if they say nothing.
    ///
    /// # Errors
    /// See [`Unready`].
    pub async fn near_records(
        &self,
        records: &[RecordRef],
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Near>, Unready> {
        let means = self.means()?;
        let database = &self.0.database;
        let asking = async {
            let mut db = database.pool.acquire().await?;
            points::vectors(&mut db, means.model, records).await
        };
        let vectors = database.ask(asking).await?;
        let Some(vector) = mean(&vectors) else { return Ok(vec![]) };
        let own = vectors.len().min(OWN);
        let mut near = means.engine.nearest(means.model, &vector, filter, limit + own).await?;
        near.retain(|near| !records.contains(&near.place.record));
        near.truncate(limit);
        Ok(near)
    }

    async fn vector(&self, means: &Means, question: &str) -> Result<Arc<[f32]>, EncodeError> {
        if let Some(vector) = self.remembered(question) {
            return Ok(vector);
        }
        let vector: Arc<[f32]> = means.encoder.question(question).await?.into();
        let mut questions = self.0.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if questions.len() >= QUESTIONS {
            questions.retain(|_, (at, _)| at.elapsed() < REMEMBERED / 2);
        }
        if questions.len() >= QUESTIONS {
            questions.clear();
        }
        questions.insert(question.to_owned(), (Instant::now(), vector.clone()));
        Ok(vector)
    }

    fn remembered(&self, question: &str) -> Option<Arc<[f32]>> {
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
