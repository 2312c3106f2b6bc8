//! An answer that comes in pieces.

use std::time::Instant;

use futures::stream::{self, BoxStream, StreamExt as _};
use reqwest::Response;

use super::lines::Lines;
use super::thinking::Thinking;
use super::wire::{Dialect, Piece, refused};
use super::{LONGEST, Llm, LlmError, broken, count};

/// An answer that is being written.
pub(super) struct Writing {
    llm: Llm,
    dialect: Dialect,
    lines: Lines,
    thinking: Thinking,
    /// In which words the model refuses, as far as they have come.
    refusal: String,
    begun: Instant,
    is_over: bool,
}

impl Writing {
    /// The rest of an answer whose beginning is here.
    pub(super) fn begun(llm: Llm, dialect: Dialect, response: Response, begun: Instant) -> Self {
        let (lines, thinking) = (Lines::new(response), Thinking::default());
        Self { llm, dialect, lines, thinking, refusal: String::new(), begun, is_over: false }
    }

    pub(super) fn into_stream(self) -> BoxStream<'static, Result<String, LlmError>> {
        stream::unfold(self, Self::step).boxed()
    }

    async fn step(mut self) -> Option<(Result<String, LlmError>, Self)> {
        while !self.is_over {
            match self.piece().await {
                Ok(Piece { text, refusal, end }) => {
                    let text = self.thinking.filter(&text);
                    self.refusal.push_str(&refusal);
                    if let Some(end) = end {
                        self.is_over = true;
                        let verdict = match self.refusal.is_empty() {
                            true => end.verdict(),
                            false => Err(self.llm.inner.masked(refused(&self.refusal))),
                        };
                        count(self.begun, verdict.as_ref().err());
                        if let Err(error) = verdict {
                            return Some((Err(error), self));
                        }
                    }
                    if !text.is_empty() {
                        return Some((Ok(text), self));
                    }
                }
                Err(error) => {
                    self.is_over = true;
                    count(self.begun, Some(&error));
                    return Some((Err(error), self));
                }
            }
        }
        None
    }

    async fn piece(&mut self) -> Result<Piece, LlmError> {
        let reading = async {
            loop {
                let Some(line) = self.lines.next().await.map_err(|error| broken(&error))? else {
                    return Err(LlmError::Down("its answer broke off".to_owned()));
                };
                if self.lines.read() > LONGEST {
                    return Err(LlmError::Rubbish(format!(
                        "its answer has more than {LONGEST} bytes"
                    )));
                }
                if let Some(piece) = self.dialect.piece(&line)? {
                    return Ok(piece);
                }
            }
        };
        let read = tokio::time::timeout(self.llm.inner.patience, reading).await;
        let read = read.unwrap_or_else(|_| Err(self.llm.inner.slow()));
        read.map_err(|error| self.llm.inner.masked(error))
    }
}
