//! What was said in a recording, in short: by a language model if there is one, else by extraction.
//!
//! A transcript is what others said, and a model may obey it. So the model's answer is no more than a draft: a key point
//! or an action item counts only with words that stand in the transcript, an owner or a date only if it was said, a
//! number likewise, and nothing may hold a link or markup ([`check`]). What is left are suggestions, which a person
//! accepts or dismisses.
//!
//! Long transcripts are summarised in parts, and the summaries of the parts once more ([`parts`]).

mod check;
mod evidence;
mod highlights;
mod parts;
mod prompt;
mod said;

pub use highlights::{LABEL, highlights};
pub use said::{Transcript, Utterance};

use serde::{Deserialize, Serialize};

use crate::llm::{Llm, LlmError};

/// A recording in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// A paragraph; of an extraction the label and the quotes.
    pub summary: String,
    /// What was important, in the order of the recording.
    pub key_points: Vec<KeyPoint>,
    /// What somebody is to do, in the order of the recording: suggestions.
    pub action_items: Vec<ActionItem>,
    /// The fund or fundraise that it is about, in the words of the recording.
    pub fundraise: Option<String>,
    /// A stage of the sales funnel, as [`domain::fund::Interest`] spells it: a suggestion.
    pub interest: Option<String>,
    /// Who wrote it.
    pub author: Author,
}

/// Something important.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPoint {
    /// The point.
    pub text: String,
    /// The words it rests on, as they were said.
    pub quote: String,
    /// When they were said, in milliseconds from the beginning.
    pub start_ms: i64,
}

/// Something that somebody is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionItem {
    /// What is to be done.
    pub text: String,
    /// Who is to do it, if the recording names somebody.
    pub owner: Option<String>,
    /// Until when, in the words of the recording.
    pub due: Option<String>,
    /// The words it rests on, as they were said.
    pub quote: String,
    /// When they were said, in milliseconds from the beginning.
    pub start_ms: i64,
}

/// Who wrote a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// A language model.
    Llm {
        /// Its name.
        model: String,
        /// Version of what it was asked.
        prompt: String,
    },
    /// Nobody: sentences of the transcript were chosen.
    Highlights,
}

/// Why there is no summary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SummaryError {
    /// Nothing was said.
    #[error("there is nothing to summarise: the transcript has no words")]
    Nothing,
    /// The model cannot be asked.
    #[error(transparent)]
    Llm(#[from] LlmError),
    /// The model answers, but nothing that can be used, also when it is told what is wrong.
    #[error(
        "the language model {model} writes no summary that can be used ({why}): try a larger model"
    )]
    Unusable {
        /// Its name.
        model: String,
        /// What was wrong with its last answer.
        why: String,
    },
}

impl SummaryError {
    /// Whether trying again later may help, with nothing changed.
    pub fn is_transient(&self) -> bool {
        matches!(self, SummaryError::Llm(error) if error.is_transient())
    }
}

/// Summarises a transcript: by the model if there is one, else by extraction, and then says so.
///
/// # Errors
/// When nothing was said, or the model fails. Whether to try again, or to be content with [`highlights`], is for the caller
/// to decide.
pub async fn summarise(
    llm: Option<&Llm>,
    transcript: &Transcript,
) -> Result<Summary, SummaryError> {
    if transcript.is_empty() {
        return Err(SummaryError::Nothing);
    }
    match llm {
        Some(llm) => parts::summarise(llm, transcript).await,
        None => Ok(highlights(transcript)),
    }
}
