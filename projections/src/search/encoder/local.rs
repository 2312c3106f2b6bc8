//! The model on this machine.

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use embed::E5;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{EncodeError, Encoder};
use crate::background;
use crate::search::centre::{self, Centre, SENTENCES};

/// The model, loaded. Its vectors tell little of what all texts of a language have in common.
pub struct Local {
    model: Arc<Centred>,
    name: String,
}

struct Centred {
    model: E5,
    questions: Centre,
    passages: Centre,
}

impl Centred {
    fn new(model: E5) -> Self {
        let (english, spanish): (Vec<&str>, Vec<&str>) = SENTENCES.into_iter().unzip();
        let asked = |texts: &[&str]| texts.iter().map(|text| model.query(text)).collect::<Vec<_>>();
        let questions = Centre::of(&asked(&english), &asked(&spanish));
        let said = |texts: &[&str]| {
            let passages = centre::passages(texts);
            model.passages(&passages.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let passages = Centre::of(&said(&english), &said(&spanish));
        Self { model, questions, passages }
    }

    fn question(&self, text: &str) -> Vec<f32> {
        let mut vector = self.model.query(text);
        self.questions.remove(&mut vector);
        vector
    }

    fn passage(&self, text: &str) -> Vec<f32> {
        let mut vector = self.model.passages(&[text]).pop().unwrap_or_default();
        self.passages.remove(&mut vector);
        vector
    }
}

impl Local {
    /// Loads the model, which takes a second or two.
    ///
    /// # Errors
    /// [`EncodeError::Missing`] when a file is not there or not what it should be.
    pub async fn open(weights: &Path, tokenizer: &Path) -> Result<Self, EncodeError> {
        if let Some(lacking) = lacking(weights, tokenizer) {
            return Err(EncodeError::Missing(lacking));
        }
        let (weights, tokenizer) = (weights.to_owned(), tokenizer.to_owned());
        let loading = tokio::task::spawn_blocking(move || {
            let model = E5::open(&weights, &tokenizer)?;
            // Vectors of which something else was taken out do not compare.
            let name = format!("{}:centred 1", model.id());
            Ok::<_, embed::OpenError>((Centred::new(model), name))
        });
        match loading.await {
            Ok(Ok((model, name))) => Ok(Self { model: Arc::new(model), name }),
            Ok(Err(error)) => Err(EncodeError::Missing(error.to_string())),
            Err(error) => Err(EncodeError::Failed(error.to_string())),
        }
    }
}

/// What to do about files that are not there.
pub(super) fn lacking(weights: &Path, tokenizer: &Path) -> Option<String> {
    let file = [weights, tokenizer].into_iter().find(|file| !file.exists())?;
    let file = file.display();
    Some(format!(
        "there is no embedding model ({file} is not there): run `crm models get embed`, or set EMBED_URL"
    ))
}

impl Encoder for Local {
    fn name(&self) -> &str {
        &self.name
    }

    fn dimensions(&self) -> usize {
        embed::DIMENSIONS
    }

    fn pieces(&self, text: &str) -> Option<usize> {
        Some(self.model.model.tokens(text))
    }

    fn question<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<Vec<f32>, EncodeError>> {
        let (model, text) = (self.model.clone(), text.to_owned());
        let asking = tokio::task::spawn_blocking(move || model.question(&text));
        async move { asking.await.map_err(|error| EncodeError::Failed(error.to_string())) }.boxed()
    }

    fn passages(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, EncodeError>> {
        let model = self.model.clone();
        let working = tokio::task::spawn_blocking(move || share_out(&model, &texts));
        async move { working.await.map_err(|error| EncodeError::Failed(error.to_string())) }.boxed()
    }
}

/// Embeds on all cores; each thread takes the next text when it is done with one.
fn share_out(model: &Centred, texts: &[String]) -> Vec<Vec<f32>> {
    let next = AtomicUsize::new(0);
    let vectors = Mutex::new(vec![Vec::new(); texts.len()]);
    let work = || {
        background::lower_this_thread();
        while let Some((at, text)) = take(&next, texts) {
            let vector = model.passage(text);
            vectors.lock().unwrap_or_else(PoisonError::into_inner)[at] = vector;
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..cores.min(texts.len()) {
            scope.spawn(work);
        }
    });
    vectors.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn take<'t>(next: &AtomicUsize, texts: &'t [String]) -> Option<(usize, &'t str)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    texts.get(at).map(|text| (at, text.as_str()))
}
