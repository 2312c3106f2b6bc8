//! What is done with recordings in the background: transcripts and summaries, each by a job.
//!
//! The [`reactor`] follows the log and keeps a row for each thing that was asked for and is not done; [`Workers`] lease these
//! rows ([`lease`]), do the work, and end it by a command on the note, whose event makes the reactor remove the row. Nothing
//! here is a read model: rebuilding never runs a job. The [`journal`] keeps what is finished of a transcription, so that a
//! worker that is killed loses one chunk.
//!
//! Who may write is decided twice: a row only by the token of the present lease, a note only for the round that is asked
//! for. So a worker that was thought dead and comes back can harm nothing.

mod glossary;
mod heart;
mod journal;
mod lease;
mod models;
mod place;
mod reactor;
mod status;
mod summary;
mod transcription;
mod trouble;
mod worker;

pub use lease::Stage;
pub use models::{OBTAINABLE, SpeechModels};
pub use reactor::{NAME, Reactor};
pub use status::{
    JobCount, Present, Progress, ReactorStatus, hurry, lacking_model, lengths, present_workers,
    progress, reactors, running,
};
pub use worker::{Tools, Workers};

/// Counter: jobs by `stage` and `outcome`.
pub const JOBS: &str = "crm_jobs_total";
