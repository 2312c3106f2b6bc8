//! The event log: one table, one order.
//!
//! Appends take turns under an advisory lock, so that position order is commit order and a reader that follows
//! `position` misses nothing. [`appender`] writes the commands of all requests in groups; [`bulk_append`] is the
//! import's way in, under the same lock. Nothing else inserts.

pub mod appender;
mod execute;
mod idempotency;
mod ids;
mod reader;
mod repository;
mod turns;

use chrono::{DateTime, Utc};
use sqlx::PgTransaction;
use uuid::Uuid;

pub use execute::{COMMANDS, CommandError, CommandRequest, EventLog, Executable, Receipt};
pub use idempotency::KeyRecord;
pub use reader::{LogReader, Page, PageLimit, ReadLogError, Recorded, Stream};
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
    let mut copy = tx
        .copy_in_raw(
            "copy events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, \
             event_id, command_id, correlation_id, causation_id, actor, occurred_at) from stdin",
        )
        .await?;
    let mut buffer = String::with_capacity(1 << 20);
    for event in events {
        write_copy_line(&mut buffer, event);
        if buffer.len() > 1 << 20 {
            copy.send(buffer.as_bytes()).await?;
            buffer.clear();
        }
    }
    copy.send(buffer.as_bytes()).await?;
    copy.finish().await?;
    sqlx::query_scalar(
        "select coalesce(max(position), 0) from events, (select pg_notify($1, '')) as announced",
    )
    .bind(APPENDED)
    .fetch_one(&mut **tx)
    .await
}

/// One line of COPY's text format.
fn write_copy_line(line: &mut String, event: &NewEvent) {
    use std::fmt::Write as _;
    for text in [
        event.aggregate_type,
        &event.aggregate_id,
        &event.sequence.to_string(),
        &event.event_type,
        &event.event_version,
        &event.payload,
        &event.metadata,
    ] {
        write_escaped(line, text);
        line.push('\t');
    }
    // Writing to a String cannot fail.
    let _ = write!(line, "{}\t{}\t{}\t", event.event_id, event.command_id, event.correlation_id);
    match event.causation_id {
        Some(id) => _ = write!(line, "{id}\t"),
        None => line.push_str("\\N\t"),
    }
    write_escaped(line, &event.actor);
    match event.occurred_at {
        Some(at) => _ = writeln!(line, "\t{}", at.format("%Y-%m-%d %H:%M:%S%.6f+00")),
        None => line.push_str("\t\\N\n"),
    }
}

fn write_escaped(line: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '\n', '\r', '\t']) {
        line.push_str(&rest[..at]);
        line.push_str(match rest.as_bytes()[at] {
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            _ => "\\t",
        });
        rest = &rest[at + 1..];
    }
    line.push_str(rest);
}
