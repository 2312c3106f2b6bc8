//! What was said in a recording, in short: by a language model if there is one, else by extraction.
//!
//! A transcript is what others said, and a model may obey it. So the model's answer is no more than a draft: a key point
//! or an action item counts only with words that stand in the transcript, an owner or a date only if it was said, a
//! number likewise, a name only if it was said or is one of whom and what the note is about, and nothing may hold a link or markup ([`check`]). What is left are suggestions, which a person
//! accepts or dismisses.
//!
//! Long transcripts are summarised in parts, and the summaries of the parts once more ([`parts`]).

mod check;
mod evidence;
mod highlights;
mod parts;
mod prompt;
mod said;

pub use highlights::highlights;

use domain::note::{ActionItem, InterestSuggestion, Line, Summary};

use crate::llm::{Llm, LlmError};

/// What a recording comes down to, and what it suggests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summarised {
    /// The summary with its points, in the order of the recording.
    pub summary: Summary,
    /// What somebody is to do, in the order of the recording.
    pub items: Vec<ActionItem>,
    /// How far the investor is, a stage of the sales funnel as [`domain::fund::Interest`] spells it, and in which fund.
    pub interest: Option<InterestSuggestion>,
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

/// Summarises a transcript: by the model if there is one, else by extraction, and then says so. The model may speak of these
/// names though nobody said them.
///
/// # Errors
/// When nothing was said, or the model fails. Whether to try again, or to be content with [`highlights`], is for the caller
/// to decide.
pub async fn summarise(
    llm: Option<&Llm>,
    lines: &[Line],
    names: &[String],
) -> Result<Summarised, SummaryError> {
    if said::is_empty(lines) {
        return Err(SummaryError::Nothing);
    }
    match llm {
        Some(llm) => parts::summarise(llm, lines, names).await,
        None => Ok(highlights(lines)),
    }
}

/// A line of a test's transcript.
#[cfg(test)]
fn line(start_ms: u64, end_ms: u64, text: impl Into<String>) -> Line {
    Line { start_ms, end_ms, text: text.into(), confidence: Some(90) }
}
