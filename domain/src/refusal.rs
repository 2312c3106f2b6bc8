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
    /// A legal hold forbids to erase the record.
    #[error("a legal hold is on this record ({reason}): lift it first, if it may be lifted")]
    Held {
        /// Why it is held.
        reason: String,
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
}
