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
