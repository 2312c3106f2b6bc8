//! Questions to a language model about what was found, with answers whose every sentence cites it.
//!
//! What was found are texts that others wrote, and a model may obey or embellish them. So its answer is taken apart: a
//! sentence is passed on only if it cites a source that there is, links nowhere, has no name and no number that neither its
//! sources nor the question have, and speaks of what its sources speak of ([`citation`]). The rest is left out and counted. If
//! nothing is found, no model is asked.

mod citation;
mod claim;
mod prompt;

use std::collections::VecDeque;

use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use serde::Serialize;

use crate::llm::{Llm, LlmError, tokens};
use crate::prose::complete_sentences;
use citation::{Left, cited};

/// The longest question, in characters: more is not looked for either.
pub const LONGEST_QUESTION: usize = crate::search::asked::MOST;

/// The most sources of an answer.
pub const MOST_SOURCES: usize = 12;

/// A passage that was found, as the answer cites it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    /// Its number in citations, from 1.
    pub n: usize,
    /// Kind of the record, such as `note`.
    pub kind: String,
    /// The record's id.
    pub id: i64,
    /// What the record is called.
    pub title: String,
    /// The day that it is about.
    pub date: Option<String>,
    /// The names of the organisations, people, funds and roadshows that the record is linked to.
    pub about: Vec<String>,
    /// The passage.
    pub passage: Passage,
    /// Where the record is.
    pub link: String,
}

/// A piece of a record's text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Passage {
    /// Which of the record's texts it is of, such as `transcript`.
    pub part: String,
    /// The how manieth of its pieces it is.
    pub ordinal: i32,
    /// The words.
    pub text: String,
    /// Of a transcript: when they were said, in milliseconds.
    pub starts_ms: Option<i64>,
}

/// A sentence of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// Without its citations.
    pub text: String,
    /// Numbers of the sources that it rests on.
    pub sources: Vec<usize>,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The sentences answer it.
    Answered,
    /// Nothing was found; no model was asked.
    NothingFound,
    /// What was found does not answer it, the model says.
    NotInSources,
    /// The model wrote something, but nothing of it cites what was found as it must.
    NotSupported,
}

impl Outcome {
    /// The same for people.
    pub fn as_sentence(self) -> &'static str {
        match self {
            Outcome::Answered => "Answered from the sources below.",
            Outcome::NothingFound => "Nothing was found that speaks of this.",
            Outcome::NotInSources => {
                "What was found does not answer this; the nearest passages are below."
            }
            Outcome::NotSupported => {
                "The language model's answer is not shown, since nothing of it cites what was found; the passages are below."
            }
        }
    }
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// What became of the question.
    pub outcome: Outcome,
    /// How many sentences were left out.
    pub left_out: usize,
    /// Whether the model came to its end; otherwise it had no more room.
    pub complete: bool,
}

/// What is told of an answer, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// First: what it may cite.
    Sources(Vec<Source>),
    /// Then sentence by sentence.
    Sentence(Sentence),
    /// Last.
    End(End),
}

/// Answers a question from these passages, the best first; their numbers are given here.
///
/// The stream ends with [`Told::End`] or with the error that stopped it.
pub fn ask(
    llm: &Llm,
    question: &str,
    found: Vec<Source>,
) -> impl Stream<Item = Result<Told, LlmError>> + Send + use<> {
    let sources = fitting(found, question, llm.context());
    let first = stream::iter([Ok(Told::Sources(sources.clone()))]);
    let rest = match sources.is_empty() {
        true => {
            let end = End { outcome: Outcome::NothingFound, left_out: 0, complete: true };
            stream::iter([Ok(Told::End(end))]).boxed()
        }
        false => answer(llm.clone(), question.to_owned(), sources),
    };
    first.chain(rest)
}

/// As many sources as fit into the context, numbered.
fn fitting(found: Vec<Source>, question: &str, context: usize) -> Vec<Source> {
    let mut room =
        context.saturating_sub(prompt::OVERHEAD + prompt::LONGEST as usize + tokens(question));
    let mut sources = Vec::new();
    for mut source in found.into_iter().take(MOST_SOURCES) {
        source.n = sources.len() + 1;
        let size = tokens(&prompt::passage(&source));
        if size > room {
            break;
        }
        room -= size;
        sources.push(source);
    }
    sources
}

fn answer(
    llm: Llm,
    question: String,
    sources: Vec<Source>,
) -> BoxStream<'static, Result<Told, LlmError>> {
    let beginning = async move {
        let pieces = llm.stream(&prompt::chat(&question, &sources)).await?;
        let answering = Answering::begun(pieces, question, sources);
        Ok::<_, LlmError>(stream::unfold(answering, Answering::step))
    };
    stream::once(beginning)
        .flat_map(|begun| match begun {
            Ok(answering) => answering.boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        })
        .boxed()
}

/// An answer on its way.
struct Answering {
    pieces: BoxStream<'static, Result<String, LlmError>>,
    question: String,
    sources: Vec<Source>,
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
    fn begun(
        pieces: BoxStream<'static, Result<String, LlmError>>,
        question: String,
        sources: Vec<Source>,
    ) -> Self {
        Self {
            pieces,
            question,
            sources,
            phase: Phase::Writing,
            held: String::new(),
            ready: VecDeque::new(),
            has_told: false,
            left_out: 0,
            is_denied: false,
        }
    }

    async fn step(mut self) -> Option<(Result<Told, LlmError>, Self)> {
        loop {
            if let Some(sentence) = self.ready.pop_front() {
                self.has_told = true;
                return Some((Ok(Told::Sentence(sentence)), self));
            }
            match self.phase {
                Phase::Over => return None,
                Phase::Ended { complete } => {
                    self.phase = Phase::Over;
                    return Some((Ok(Told::End(self.end(complete))), self));
                }
                Phase::Writing => {}
            }
            match self.pieces.next().await {
                Some(Ok(piece)) => self.take(&piece),
                // The sentence that was cut off is not told.
                Some(Err(LlmError::Truncated)) => self.phase = Phase::Ended { complete: false },
                Some(Err(error)) => {
                    self.phase = Phase::Over;
                    return Some((Err(error), self));
                }
                None => {
                    self.take_rest();
                    self.phase = Phase::Ended { complete: true };
                }
            }
        }
    }

    fn end(&self, complete: bool) -> End {
        let outcome = match (self.has_told, self.is_denied) {
            (true, _) => Outcome::Answered,
            (false, true) => Outcome::NotInSources,
            (false, false) => Outcome::NotSupported,
        };
        End { outcome, left_out: self.left_out, complete }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_numbered_and_as_many_as_fit() {
        let source = |id| Source {
            n: 0,
            kind: "note".to_owned(),
            id,
            title: "Call".to_owned(),
            date: None,
            about: vec![],
            passage: Passage {
                part: "text".to_owned(),
                ordinal: 0,
                text: "x".repeat(900),
                starts_ms: None,
            },
            link: format!("/notes/{id}"),
        };
        let found: Vec<Source> = (1..=20).map(source).collect();
        let numbers = |context| {
            fitting(found.clone(), "q", context).iter().map(|it| it.n).collect::<Vec<_>>()
        };
        assert_eq!(numbers(100_000), (1..=MOST_SOURCES).collect::<Vec<_>>());
        assert_eq!(numbers(2000), [1, 2]);
        assert!(numbers(0).is_empty());
    }
}
