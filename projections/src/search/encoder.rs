//! What turns text into vectors: the model on this machine, or an embeddings server.

mod local;
mod remote;

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;

pub use local::Local;
pub use remote::{Remote, Server};

/// Why there is no vector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// There is no model; the text says how to get one.
    #[error("{0}")]
    Missing(String),
    /// The server does not answer, or not in time. Trying again later helps.
    #[error("the embeddings server of EMBED_URL does not answer: {0}")]
    Unavailable(String),
    /// It does not let us in.
    #[error("the embeddings server of EMBED_URL refuses the key: check EMBED_API_KEY")]
    Refused,
    /// It answers, but not with vectors.
    #[error(
        "the embeddings server of EMBED_URL gives no vectors: {0}; check EMBED_URL and EMBED_NAME"
    )]
    Wrong(String),
    /// The model broke down.
    #[error("the embedding model failed: {0}")]
    Failed(String),
}

impl EncodeError {
    /// Whether there was no answer, or not in time; to refuse is an answer.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Turns text into vectors of length 1; those of texts that mean much the same point much the same way.
pub trait Encoder: Send + Sync {
    /// Tells whatever vectors depend on. Those of different names must not be compared.
    fn name(&self) -> &str;

    /// How many numbers a vector has.
    fn dimensions(&self) -> usize;

    /// In how many pieces the model reads a text; `None` where nobody knows. It knows a common word as one, and what is mistyped in
    /// several.
    fn pieces(&self, _text: &str) -> Option<usize> {
        None
    }

    /// The vector of what somebody looks for.
    ///
    /// # Errors
    /// See [`EncodeError`].
    fn question<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<Vec<f32>, EncodeError>>;

    /// The vectors of what may be found, in the order of the texts. It may take all cores, but lets others go first.
    ///
    /// # Errors
    /// See [`EncodeError`].
    fn passages(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, EncodeError>>;
}

/// Where vectors come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The model in these files.
    Files {
        /// `e5-small-q4.bin`.
        weights: PathBuf,
        /// `tokenizer.json`.
        tokenizer: PathBuf,
    },
    /// A server.
    Server(Server),
    /// Nowhere; the text says what to do about it.
    Missing(String),
}

impl Source {
    /// What may still be had of the model by this name: a server often has several.
    pub(super) fn of_model(&self, name: &str, dimensions: i32) -> Self {
        match self {
            Self::Server(server) => match Remote::model_in(name, dimensions) {
                Some(model) => Self::Server(Server { model: model.to_owned(), ..server.clone() }),
                None => self.clone(),
            },
            Self::Files { .. } | Self::Missing(_) => self.clone(),
        }
    }

    /// What must be done to have a model, as far as that is known without getting it ready.
    pub fn lacking(&self) -> Option<String> {
        match self {
            Self::Files { weights, tokenizer } => local::lacking(weights, tokenizer),
            Self::Server(_) => None,
            Self::Missing(what) => Some(what.clone()),
        }
    }

    /// Gets the model ready.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub async fn open(&self) -> Result<Arc<dyn Encoder>, EncodeError> {
        match self {
            Self::Files { weights, tokenizer } => {
                Ok(Arc::new(Local::open(weights, tokenizer).await?))
            }
            Self::Server(server) => Ok(Arc::new(Remote::open(server.clone()).await?)),
            Self::Missing(what) => Err(EncodeError::Missing(what.clone())),
        }
    }
}

/// Brings a vector to length 1; one without a direction stays as it is.
pub(super) fn normalise(vector: &mut [f32]) {
    let length = length(vector);
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number /= length);
    }
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|number| number * number).sum::<f32>().sqrt()
}
