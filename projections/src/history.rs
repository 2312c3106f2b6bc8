//! What has happened, told: entries of the log in a user's words, with who, when, from where, and what changed.
//!
//! The history of one record needs no read model: its stream is folded from the beginning, and what each event did is told
//! for those that are shown. Across records the read model `audit` finds the positions; what is shown of them is folded
//! from the streams again.

mod names;

use chrono::{DateTime, Utc};
use domain::telling::Sentence;
use domain::{FactChange, Kind, RecordRef};
use uuid::Uuid;

pub use names::Names;

/// One event, told.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// Its place in the log; also the cursor of what follows it.
    pub position: i64,
    /// The record it happened to; `None` for the stream of imports.
    pub record: Option<RecordRef>,
    /// Its place in its stream.
    pub sequence: i64,
    /// Names the event.
    pub event_id: Uuid,
    /// The name of its variant.
    pub event: String,
    /// When it came into the log.
    pub recorded_at: DateTime<Utc>,
    /// When it happened, where that is known and differs.
    pub occurred_at: Option<DateTime<Utc>>,
    /// Who asked for it.
    pub actor: String,
    /// `api`, `import:<file>` or `reactor:<name>`.
    pub source: Option<String>,
    /// The network address it came from.
    pub client: Option<String>,
    /// The program it came from.
    pub user_agent: Option<String>,
    /// What the command is called.
    pub command: Option<String>,
    /// Names the command that led to it.
    pub command_id: Uuid,
    /// Names the conversation it belongs to.
    pub correlation_id: Uuid,
    /// The event or command that caused it.
    pub causation_id: Option<Uuid>,
    /// What happened, in words.
    pub sentence: Sentence,
    /// Every fact that is not what it was.
    pub changes: Vec<FactChange>,
    /// Why it cannot be told, if so: it was erased, or today's code cannot read it.
    pub note: Option<String>,
}

/// Which entries are wanted: those that pass every part that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// By this actor.
    pub actor: Option<String>,
    /// Of records of this kind; across records only.
    pub kind: Option<Kind>,
    /// Of this record; across records only.
    pub record: Option<RecordRef>,
    /// Of the record and about it: also events of others that speak of it.
    pub related: bool,
    /// Of this name, such as `Renamed`.
    pub event: Option<String>,
    /// That may have changed this field.
    pub field: Option<String>,
    /// Recorded then or later.
    pub from: Option<DateTime<Utc>>,
    /// Recorded before then.
    pub to: Option<DateTime<Utc>>,
    /// From this source.
    pub source: Option<String>,
    /// Of this conversation.
    pub correlation: Option<Uuid>,
    /// With all of these words in what they say; across records only.
    pub text: Option<String>,
}
