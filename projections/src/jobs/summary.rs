//! From a transcript to its summary, and to what it suggests.

use domain::note::{Recording, RecordingCommand};

use super::lease::Lease;
use super::worker::{Tools, Trouble};
use crate::summary::{self, Summarised, SummaryError};

/// Summarises a recording as people corrected it.
pub(super) async fn run(
    tools: &Tools,
    lease: &Lease,
    recording: Recording,
) -> Result<RecordingCommand, Trouble> {
    let summarised = summary::summarise(tools.llm.as_ref(), &recording.lines()).await;
    let Summarised { summary, items, interest } = summarised.map_err(trouble)?;
    Ok(RecordingCommand::KeepSummary { round: lease.round, summary, items, interest })
}

fn trouble(error: SummaryError) -> Trouble {
    match error.is_transient() {
        true => Trouble::passing(&error),
        false => Trouble::ForGood(error.to_string()),
    }
}
