//! From a transcript to its summary, and to what it suggests.

use domain::note::{
    ActionItem, Author, InterestSuggestion, KeyPoint, Recording, RecordingCommand, Summary,
};

use super::lease::Lease;
use super::worker::{Tools, Trouble};
use crate::summary::{self, SummaryError, Utterance};

/// Summarises a recording as people corrected it.
pub(super) async fn run(
    tools: &Tools,
    lease: &Lease,
    recording: Recording,
) -> Result<RecordingCommand, Trouble> {
    let lines = recording.lines().into_iter().filter(|line| !line.text.trim().is_empty());
    let utterances = lines.map(|line| Utterance {
        start_ms: signed(line.start_ms),
        end_ms: signed(line.end_ms),
        text: line.text,
    });
    let transcript = summary::Transcript { utterances: utterances.collect() };
    let made = summary::summarise(tools.llm.as_ref(), &transcript).await.map_err(trouble)?;
    Ok(told(lease.round, made))
}

fn told(round: u32, made: summary::Summary) -> RecordingCommand {
    let (author, text) = match made.author {
        summary::Author::Llm { model, prompt } => (Author::Model { model, prompt }, made.summary),
        // The label and the quotes are told by what the summary is made of.
        summary::Author::Highlights => (Author::Highlights, String::new()),
    };
    let key_points = made.key_points.into_iter().map(|point| KeyPoint {
        quote: Some(point.quote).filter(|quote| !quote.is_empty() && *quote != point.text),
        text: point.text,
        start_ms: Some(point.start_ms.unsigned_abs()),
    });
    let items = made.action_items.into_iter().map(|item| ActionItem {
        text: item.text,
        owner: item.owner,
        due: item.due,
        quote: Some(item.quote).filter(|quote| !quote.is_empty()),
        start_ms: Some(item.start_ms.unsigned_abs()),
    });
    let fundraise = made.fundraise;
    let interest = made.interest.map(|interest| InterestSuggestion { interest, fundraise });
    RecordingCommand::KeepSummary {
        round,
        summary: Summary { author, text, key_points: key_points.collect() },
        items: items.collect(),
        interest,
    }
}

fn signed(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds).unwrap_or(i64::MAX)
}

fn trouble(error: SummaryError) -> Trouble {
    match error.is_transient() {
        true => Trouble::passing(&error),
        false => Trouble::ForGood(error.to_string()),
    }
}
