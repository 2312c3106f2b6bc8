//! From a transcript to its summary, and to what it suggests.

use domain::note::{Recording, RecordingCommand};

use super::lease::Lease;
use super::trouble::Trouble;
use super::worker::Tools;
use crate::summary::{self, Summarised};

/// Summarises a recording as people corrected it.
pub(super) async fn run(
    tools: &Tools,
    lease: &Lease,
    recording: Recording,
) -> Result<RecordingCommand, Trouble> {
    let summarised = summary::summarise(tools.llm.as_ref(), &recording.lines()).await;
    let Summarised { summary, items, interest } = summarised?;
    Ok(RecordingCommand::KeepSummary { round: lease.round, summary, items, interest })
}
