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
    /// The attribute may not be empty.
    #[error("{field} is required and cannot be null")]
    FieldRequired {
        /// The attribute's wire name.
        field: &'static str,
    },
    /// This kind of record is not linked to that kind.
    #[error("a {from} cannot be linked to {to}")]
    CannotLink {
        /// The kind that would own the link.
        from: Kind,
        /// What it would be linked to.
        to: RecordRef,
    },
}
