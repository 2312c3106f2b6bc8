//! Questions to a language model about what was found, with answers whose every sentence cites it.
//!
//! What was found are texts that others wrote, and a model may obey or embellish them. So its answer is taken apart: a
//! sentence is passed on only if it cites a source that there is, links nowhere, has no name and no number that neither its
//! sources nor the question have, and speaks of what its sources speak of ([`citation`]). The rest is left out and counted. If
//! nothing is found, no model is asked.
//!
//! A model takes its time, and meanwhile what it was shown may be changed, deleted or erased. So before each sentence it is
//! looked whether the sources still stand ([`standing`]); what cites one that does not is left out.

mod answering;
mod citation;
mod prompt;
mod standing;
mod whole;

use std::collections::BTreeSet;

use domain::Kind;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use serde::Serialize;

use crate::database::DatabaseError;
use crate::llm::{Llm, LlmError, tokens};
use crate::search::Search;
use answering::Answering;
pub use whole::Whole;

/// The longest question, in characters: more is not looked for either.
pub const LONGEST_QUESTION: usize = crate::search::asked::MOST;

/// The most sources of an answer.
pub const MOST_SOURCES: usize = 12;

/// A passage that was found, as the answer cites it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    /// Its number in citations, from 1.
    pub n: usize,
    /// Kind of the record.
    pub kind: Kind,
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

impl Sentence {
    fn cites_any_of(&self, sources: &BTreeSet<usize>) -> bool {
        self.sources.iter().any(|n| sources.contains(n))
    }
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
    /// The model wrote something, but nothing of it cites what was found as it must, and still stands.
    NotSupported,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// What became of the question.
    pub outcome: Outcome,
    /// How many sentences were left out.
    pub left_out: usize,
    /// Numbers of the sources that no longer stood as they were cited.
    pub changed: BTreeSet<usize>,
    /// Whether the model came to its end; otherwise it had no more room.
    pub complete: bool,
}

impl End {
    /// The same for people.
    pub fn as_sentence(&self) -> String {
        let has_changed = !self.changed.is_empty();
        let said = match self.outcome {
            Outcome::Answered => "Answered from the sources below.",
            Outcome::NothingFound => "Nothing was found that speaks of this.",
            Outcome::NotInSources => {
                "What was found does not answer this; the nearest passages are below."
            }
            Outcome::NotSupported if has_changed => {
                "The language model's answer is not shown, since nothing of it cites what still stands."
            }
            Outcome::NotSupported => {
                "The language model's answer is not shown, since nothing of it cites what was found; the passages are below."
            }
        };
        match has_changed {
            true => format!("{said} {CHANGED}"),
            false => said.to_owned(),
        }
    }
}

/// What people are told when sources no longer stand.
const CHANGED: &str = "Some of what was found was changed or removed while the answer was written: what cites it is left out. \
                       Ask again for an answer from what stands now.";

/// Why an answer stopped.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The model failed.
    #[error(transparent)]
    Llm(#[from] LlmError),
    /// The database did not say whether the sources still stand.
    #[error(transparent)]
    Database(#[from] DatabaseError),
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

/// Answers a question from these passages of a search, the best first; their numbers are given here.
///
/// The stream ends with [`Told::End`] or with the error that stopped it.
pub fn ask(
    llm: &Llm,
    search: &Search,
    question: &str,
    found: Vec<Source>,
) -> impl Stream<Item = Result<Told, AskError>> + Send + use<> {
    let sources = fitting(found, question, llm.context());
    let first = stream::iter([Ok(Told::Sources(sources.clone()))]);
    let rest = match sources.is_empty() {
        true => {
            let (outcome, changed) = (Outcome::NothingFound, BTreeSet::new());
            let end = End { outcome, left_out: 0, changed, complete: true };
            stream::iter([Ok(Told::End(end))]).boxed()
        }
        false => answer(llm.clone(), search.clone(), question.to_owned(), sources),
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
    search: Search,
    question: String,
    sources: Vec<Source>,
) -> BoxStream<'static, Result<Told, AskError>> {
    let beginning = async move {
        let pieces = llm.stream(&prompt::chat(&question, &sources)).await?;
        let answering = Answering::begun(pieces, search, question, sources);
        Ok::<_, AskError>(stream::unfold(answering, Answering::step))
    };
    stream::once(beginning)
        .flat_map(|begun| match begun {
            Ok(answering) => answering.boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_numbered_and_as_many_as_fit() {
        let source = |id| Source {
            n: 0,
            kind: Kind::Note,
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
