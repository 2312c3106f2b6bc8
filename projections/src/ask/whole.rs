//! An answer that is given as a whole, when all of it is known.

use futures::stream::{Stream, StreamExt as _};

use super::{AskError, End, Outcome, Sentence, Source, Told};

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// What it may cite.
    pub sources: Vec<Source>,
    /// What it says.
    pub sentences: Vec<Sentence>,
    /// How it ended.
    pub end: End,
}

impl Whole {
    /// Gathers an answer. Nothing is left in it of sources that no longer stand at its end.
    ///
    /// # Errors
    /// What stopped the answer.
    pub async fn of(told: impl Stream<Item = Result<Told, AskError>>) -> Result<Self, AskError> {
        let mut told = std::pin::pin!(told);
        let (mut sources, mut sentences) = (Vec::new(), Vec::new());
        let (outcome, changed) = (Outcome::NothingFound, Default::default());
        let mut end = End { outcome, left_out: 0, changed, complete: false };
        while let Some(next) = told.next().await {
            match next? {
                Told::Sources(found) => sources = found,
                Told::Sentence(sentence) => sentences.push(sentence),
                Told::End(last) => end = last,
            }
        }
        let mut whole = Self { sources, sentences, end };
        whole.leave_out_what_changed();
        Ok(whole)
    }

    fn leave_out_what_changed(&mut self) {
        let Self { sources, sentences, end } = self;
        let told = sentences.len();
        sources.retain(|source| !end.changed.contains(&source.n));
        sentences.retain(|sentence| !sentence.cites_any_of(&end.changed));
        end.left_out += told - sentences.len();
        if end.outcome == Outcome::Answered && sentences.is_empty() {
            end.outcome = Outcome::NotSupported;
        }
    }
}
