//! The event log: one table, one order.
//!
//! Appends take turns under an advisory lock, so that position order is commit order and a reader that follows
//! `position` misses nothing. [`appender`] writes the commands of all requests in groups; [`bulk_append`] is the
//! import's way in, under the same lock. Nothing else inserts.

pub mod appender;
mod envelope;
mod execute;
mod idempotency;
mod ids;
mod reader;
mod repository;
mod sweep;
mod turns;

use chrono::{DateTime, Utc};
use sqlx::PgTransaction;
use uuid::Uuid;

use crate::copy::CopyIn;

pub use envelope::{Entries, Entry, Envelope, Selection};
pub use execute::{COMMANDS, CommandError, CommandRequest, EventLog, Executable, Receipt};
pub use idempotency::KeyRecord;
pub use reader::{LogReader, Page, PageLimit, ReadLogError, Recorded, Stream};
pub use sweep::{Span, StoredEvent, Sweep};
pub use turns::Turns;

/// The advisory lock that appends take turns under.
pub const APPEND_LOCK: i64 = 0x6372_6d5f_6c6f_6701;

/// The channel on which every append is announced.
pub const APPENDED: &str = "crm_appended";

/// An event on its way into the log.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The type of its stream.
    pub aggregate_type: &'static str,
    /// The stream's id among those of its type.
    pub aggregate_id: String,
    /// Its place in the stream, from 1.
    pub sequence: i64,
    /// The variant's name.
    pub event_type: String,
    /// The version of its stored form.
    pub event_version: String,
    /// The event as JSON text.
    pub payload: String,
    /// A JSON object of strings: who, how, from where.
    pub metadata: String,
    /// Names this event.
    pub event_id: Uuid,
    /// Names the command that led to it.
    pub command_id: Uuid,
    /// Names the conversation it belongs to.
    pub correlation_id: Uuid,
    /// The event or command that caused it.
    pub causation_id: Option<Uuid>,
    /// Who asked for it.
    pub actor: String,
    /// When it happened, if that is known and not simply now.
    pub occurred_at: Option<DateTime<Utc>>,
}

/// Appends many events in one go: takes its turn, copies them in and announces them, all in the caller's
/// transaction. Returns the last position, 0 when there were none.
///
/// # Errors
/// Whatever Postgres says; a stream version that exists already is a unique violation of `events_stream_version`.
pub async fn bulk_append(
    tx: &mut PgTransaction<'_>,
    events: &[NewEvent],
) -> Result<i64, sqlx::Error> {
    if events.is_empty() {
        return Ok(0);
    }
    sqlx::query("select pg_advisory_xact_lock($1)").bind(APPEND_LOCK).execute(&mut **tx).await?;
    let columns = [
        "aggregate_type",
        "aggregate_id",
        "sequence",
        "event_type",
        "event_version",
        "payload",
        "metadata",
        "event_id",
        "command_id",
        "correlation_id",
        "causation_id",
        "actor",
        "occurred_at",
    ];
    let mut copy = CopyIn::begin(tx, "events", &columns).await?;
    for event in events {
        copy.text(event.aggregate_type)
            .text(&event.aggregate_id)
            .int(event.sequence)
            .text(&event.event_type)
            .text(&event.event_version)
            .text(&event.payload)
            .text(&event.metadata)
            .uuid(event.event_id)
            .uuid(event.command_id)
            .uuid(event.correlation_id)
            .maybe(event.causation_id, CopyIn::uuid)
            .text(&event.actor)
            .maybe(event.occurred_at, CopyIn::time)
            .end_row()
            .await?;
    }
    copy.finish().await?;
    sqlx::query_scalar(
        "select coalesce(max(position), 0) from events, (select pg_notify($1, '')) as announced",
    )
    .bind(APPENDED)
    .fetch_one(&mut **tx)
    .await
}
