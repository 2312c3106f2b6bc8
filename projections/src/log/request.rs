//! What is asked of the log, and what comes of it.

use std::collections::HashMap;
use std::fmt;

use domain::{RecordRef, Refusal};
use uuid::Uuid;

use crate::database::DatabaseError;

/// Who asks for a command, and under which conditions.
#[derive(Clone, Debug)]
pub struct CommandRequest {
    /// What the command is called in the audit history.
    pub name: &'static str,
    /// Who asks.
    pub actor: String,
    /// Names the command.
    pub command_id: Uuid,
    /// Names the conversation it belongs to.
    pub correlation_id: Uuid,
    /// The event or command that caused it.
    pub causation_id: Option<Uuid>,
    /// `api`, `import:<file>` or `reactor:<name>`.
    pub source: String,
    /// The network address it came from.
    pub client: Option<String>,
    /// The program it came from.
    pub user_agent: Option<String>,
    /// The trace that it is part of, as W3C Trace Context numbers them.
    pub trace_id: Option<[u8; 16]>,
    /// The version the stream must have; without it a conflict is retried on the new state.
    pub if_match: Option<i64>,
    /// An idempotency key and the SHA-256 of the request it came with.
    pub idempotency: Option<(String, [u8; 32])>,
}

/// What a command led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The record it was for: that of the first request when an idempotency key is used again.
    pub id: i64,
    /// The position of its last event; `None` when it recorded nothing.
    pub position: Option<i64>,
    /// The record's version after it.
    pub version: i64,
}

/// Why a command led to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The rules do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Others kept changing the record.
    #[error("someone else keeps changing this record; try again")]
    Conflict,
    /// The record does not have the version that the request is about.
    #[error("the record has changed: its version is {current}")]
    VersionMismatch {
        /// The version it has.
        current: i64,
    },
    /// Another record has the Notion id that this one was to have.
    #[error("another record has this Notion id: {} {}", owner.kind(), owner.id())]
    NotionIdTaken {
        /// The id in Notion.
        notion_id: String,
        /// Who has it.
        owner: RecordRef,
    },
    /// The idempotency key was used for another request.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// An event of the record cannot be read, so that nobody knows what state the record is in.
    #[error("{why} the {event} event of {} {} at position {position}: {error}", record.kind(), record.id())]
    Unreadable {
        /// The record.
        record: RecordRef,
        /// Where the event stands.
        position: i64,
        /// What it is called.
        event: String,
        /// Why it cannot.
        why: Unread,
        /// What is wrong with it.
        error: String,
    },
    /// The database cannot be reached. Unless an idempotency key is sent, look before repeating the request: it may
    /// have been recorded at the last moment.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A defect.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// Why an event cannot be read, which tells what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Another release has recorded it, or nobody.
    Unknown,
    /// What was sealed is not what is stored.
    Damaged,
    /// Its key is missing, or does not open.
    Locked,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unread::Unknown => "this release of crm cannot read",
            Unread::Damaged => "no release of crm can read, as it is damaged,",
            Unread::Locked => "crm cannot open",
        })
    }
}

impl From<DatabaseError> for CommandError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(reason) => CommandError::Unavailable(reason),
            DatabaseError::Failed(error) => CommandError::Internal(error.into()),
        }
    }
}

/// How a command went, in a word.
pub(super) fn outcome(result: &Result<Receipt, CommandError>) -> &'static str {
    match result {
        Ok(Receipt { position: Some(_), .. }) => "recorded",
        Ok(Receipt { position: None, .. }) => "unchanged",
        Err(CommandError::Refused(_) | CommandError::NotionIdTaken { .. }) => "refused",
        Err(CommandError::Conflict) => "conflict",
        Err(CommandError::VersionMismatch { .. }) => "outdated",
        Err(CommandError::KeyReused) => "key_reused",
        Err(CommandError::Unreadable { .. }) => "unreadable",
        Err(CommandError::Unavailable(_)) => "unavailable",
        Err(CommandError::Internal(_)) => "failed",
    }
}

/// What is stored beside every event of the request.
pub(super) fn metadata(request: &CommandRequest) -> HashMap<String, String> {
    let mut metadata = HashMap::from([
        ("command".to_owned(), request.name.to_owned()),
        ("source".to_owned(), request.source.clone()),
    ]);
    metadata.extend(request.client.clone().map(|client| ("client".to_owned(), client)));
    metadata.extend(request.user_agent.clone().map(|agent| ("user_agent".to_owned(), agent)));
    metadata.extend(request.trace_id.map(|trace| ("trace_id".to_owned(), hex::encode(trace))));
    metadata
}
