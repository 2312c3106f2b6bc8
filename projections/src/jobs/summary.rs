//! From a transcript to its summary, and to what it suggests.

use domain::note::{Author, Recording, RecordingCommand};

use super::glossary;
use super::lease::Lease;
use super::trouble::Trouble;
use super::worker::Tools;
use crate::summary::{Summarised, SummaryError, highlights, summarise};

const NO_MODEL_ANY_MORE: &str =
    "a language model wrote the summary, and there is none any more: set LLM_URL and LLM_MODEL";

/// Summarises a recording as people corrected it. Where the language model writes nothing that can be used, the recording gets
/// the highlights that it would have without one, unless a model has summarised it before; nor do highlights take the place of that
/// where there is no model any more.
pub(super) async fn run(
    tools: &Tools,
    lease: &Lease,
    recording: Recording,
) -> Result<RecordingCommand, Trouble> {
    if tools.llm.is_none() && is_written_by_model(&recording) {
        return Err(Trouble::ForGood(NO_MODEL_ANY_MORE.to_owned()));
    }
    let lines = recording.lines();
    let names = glossary::with_title(&tools.log.database().pool, lease.note).await?;
    let summarised = match summarise(tools.llm.as_ref(), &lines, &names).await {
        Ok(summarised) => summarised,
        Err(SummaryError::Nothing) => return Err(SummaryError::Nothing.into()),
        Err(error) => match Trouble::from(error).after(lease.failures()) {
            Trouble::ForGood(why) if !is_written_by_model(&recording) => {
                let mut instead = highlights(&lines);
                instead.summary.author = Author::HighlightsInstead { why };
                instead
            }
            trouble => return Err(trouble),
        },
    };
    let Summarised { summary, items, interest } = summarised;
    Ok(RecordingCommand::KeepSummary { round: lease.round, summary, items, interest })
}

fn is_written_by_model(recording: &Recording) -> bool {
    let summary = recording.summary.as_ref();
    summary.is_some_and(|summary| matches!(summary.author, Author::Model { .. }))
}
