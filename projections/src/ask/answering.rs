//! An answer on its way: pieces of a stream become sentences, which are judged and told one by one.

use std::collections::{BTreeSet, VecDeque};

use futures::stream::{BoxStream, StreamExt as _};

use super::citation::{Left, cited};
use super::{AskError, End, Outcome, Sentence, Source, Told, standing};
use crate::llm::LlmError;
use crate::prose::complete_sentences;
use crate::search::Search;

/// An answer on its way.
pub(super) struct Answering {
    pieces: BoxStream<'static, Result<String, LlmError>>,
    search: Search,
    question: String,
    sources: Vec<Source>,
    /// Which of them no longer stand.
    changed: BTreeSet<usize>,
    phase: Phase,
    /// What may be the beginning of a sentence.
    held: String,
    /// Sentences to be told.
    ready: VecDeque<Sentence>,
    has_told: bool,
    left_out: usize,
    /// Whether the model says that the sources do not answer.
    is_denied: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Writing,
    /// The model has ended, completely or not.
    Ended {
        complete: bool,
    },
    Over,
}

impl Answering {
    pub(super) fn begun(
        pieces: BoxStream<'static, Result<String, LlmError>>,
        search: Search,
        question: String,
        sources: Vec<Source>,
    ) -> Self {
        Self {
            pieces,
            search,
            question,
            sources,
            changed: BTreeSet::new(),
            phase: Phase::Writing,
            held: String::new(),
            ready: VecDeque::new(),
            has_told: false,
            left_out: 0,
            is_denied: false,
        }
    }

    /// What is told next, with what is to come.
    pub(super) async fn step(mut self) -> Option<(Result<Told, AskError>, Self)> {
        if let Phase::Over = self.phase {
            return None;
        }
        let told = self.next().await;
        if let Err(_) | Ok(Told::End(_)) = told {
            self.phase = Phase::Over;
        }
        Some((told, self))
    }

    async fn next(&mut self) -> Result<Told, AskError> {
        loop {
            if let Some(sentence) = self.ready.pop_front() {
                self.look_again().await?;
                if sentence.cites_any_of(&self.changed) {
                    self.left_out += 1;
                    continue;
                }
                self.has_told = true;
                return Ok(Told::Sentence(sentence));
            }
            if let Phase::Ended { complete } = self.phase {
                self.look_again().await?;
                return Ok(Told::End(self.end(complete)));
            }
            match self.pieces.next().await.transpose() {
                Ok(Some(piece)) => self.take(&piece),
                // The sentence that was cut off is not told.
                Err(LlmError::Truncated) => self.phase = Phase::Ended { complete: false },
                Err(error) => return Err(error.into()),
                Ok(None) => {
                    self.take_rest();
                    self.phase = Phase::Ended { complete: true };
                }
            }
        }
    }

    /// Looks which sources no longer stand. One that did not once counts for nothing any more.
    async fn look_again(&mut self) -> Result<(), AskError> {
        self.changed.extend(standing::changed(&self.search, &self.sources).await?);
        Ok(())
    }

    fn end(&self, complete: bool) -> End {
        let outcome = match (self.has_told, self.is_denied) {
            (true, _) => Outcome::Answered,
            (false, true) => Outcome::NotInSources,
            (false, false) => Outcome::NotSupported,
        };
        End { outcome, left_out: self.left_out, changed: self.changed.clone(), complete }
    }

    fn take(&mut self, piece: &str) {
        let mut held = std::mem::take(&mut self.held);
        held.push_str(piece);
        let (sentences, rest) = complete_sentences(&held);
        self.judge(&sentences);
        self.held = held[rest..].to_owned();
    }

    fn take_rest(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.judge(&crate::prose::sentences(&held));
    }

    fn judge(&mut self, sentences: &[&str]) {
        for sentence in sentences {
            match cited(sentence, &self.question, &self.sources) {
                Ok(sentence) => self.ready.push_back(sentence),
                Err(Left::Denial) => self.is_denied = true,
                Err(Left::Out) => self.left_out += 1,
            }
        }
    }
}
