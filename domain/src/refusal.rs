//! Every reason the domain may refuse a command.

use crate::ids::{Kind, RecordRef};

/// Why a command was refused. Nothing has been recorded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The record was never registered, or is archived.
    #[error("no such record")]
    NotRegistered,
    /// The id is taken.
    #[error("already registered")]
    AlreadyRegistered,
    /// Only an archived record can be restored.
    #[error("the record is not archived")]
    NotArchived,
    /// The record's content was destroyed for good.
    #[error("the record was erased; nothing can be done with it any more")]
    Erased,
    /// A legal hold forbids to erase the record, or to remove a recording of it.
    #[error("a legal hold is on this record ({reason}): lift it first, if it may be lifted")]
    Held {
        /// Why it is held.
        reason: String,
    },
    /// Legal holds for several reasons are on the record.
    #[error(
        "this record is held for several reasons ({reasons}): say with `of` which of these holds is lifted, by its reason as it \
         was given, or `*` for all of them"
    )]
    SeveralHolds {
        /// Why it is held.
        reasons: String,
    },
    /// No legal hold for that reason is on the record, but others are.
    #[error("no legal hold for that reason is on this record, which is held for: {reasons}")]
    NoSuchHold {
        /// Why it is held.
        reasons: String,
    },
    /// Content of the record was stored before crm sealed it, and would outlive its key.
    #[error(
        "this record has events that an earlier release stored unencrypted, and they would survive: import the legacy \
         file into an empty database with this release, go on there, and destroy the old database"
    )]
    Unsealed,
    /// What is held, released or erased needs a reason.
    #[error("say why: the reason is part of the history")]
    ReasonMissing,
    /// A todo that recurs cannot be completed without an id for the one that follows; with one that is free, it can.
    #[error("this todo recurs, and there is no id for the one that follows")]
    NextIdMissing,
    /// This kind of record is not linked to that kind.
    #[error("a {from} cannot be linked to {to}")]
    CannotLink {
        /// The kind that would own the link.
        from: Kind,
        /// What it would be linked to.
        to: RecordRef,
    },
    /// The note has no recording with this id.
    #[error("this note has no such recording")]
    NoSuchRecording,
    /// The id is that of another recording, or of one that was removed.
    #[error("there is or was another recording with this id: upload the file again")]
    RecordingTaken,
    /// The recording has no transcript.
    #[error(
        "this recording has no transcript: wait until it is transcribed, or have it transcribed (again)"
    )]
    NotTranscribed,
    /// Nothing failed or was cancelled.
    #[error("nothing failed with this recording; ask for another transcript or summary instead")]
    NothingToRetry,
    /// Nothing is under way.
    #[error("nothing is being done with this recording, so there is nothing to cancel")]
    NothingToCancel,
    /// A result came for what is no longer asked for.
    #[error("this result is no longer wanted: it was cancelled, or asked for anew")]
    Superseded,
    /// The transcript has no segment with these times.
    #[error(
        "the transcript has no segment from {start_ms} to {end_ms} ms: read it again, it may have changed"
    )]
    NoSuchSegment {
        /// Where it would begin.
        start_ms: u64,
        /// Where it would end.
        end_ms: u64,
    },
    /// The recording has no such suggestion, perhaps no longer.
    #[error("this recording has no such suggestion; a newer summary may have withdrawn it")]
    NoSuchSuggestion,
    /// The suggestion has been accepted.
    #[error("this suggestion was accepted; change what became of it instead")]
    SuggestionAccepted,
}
