//! Records of which some event cannot be read, since its payload is damaged or its type is another release's.
//!
//! Nobody knows what state such a record is in, so that commands on it are refused. Holds and erasures are not: they are
//! decided by the events that stand in plain, and to destroy a key takes no payload. The law does not wait for a backup.

use std::collections::BTreeSet;

use cqrs_es::persist::EventStoreAggregateContext;
use domain::{Event, RecordRef, telling};
use serde_json::Value;
use sqlx::PgConnection;

use super::cipher::{OpenError, is_sealed};
use super::envelope::check_metadata;
use super::executable::Executable;
use super::execute::new_context;
use super::reader::{LogReader, ReadLogError, Row, Stream};
use super::request::{CommandError, Unread};

/// A stored event and its metadata.
type Stored = (i64, String, String, i64, String, String, String, String);

/// An event, and what keeps it from being read, if anything does.
struct Told {
    position: i64,
    sequence: i64,
    event_type: String,
    event: Result<Event, ReadLogError>,
    metadata: Result<(), String>,
    /// Whether it says in plain what should be sealed.
    is_exposed: bool,
}

/// What the plain events of a stream tell of its record.
pub(super) struct InPlain<A> {
    pub(super) aggregate: A,
    /// The place of the stream's last event.
    pub(super) sequence: usize,
    /// The files that those events that can be read gave to it.
    pub(super) files: BTreeSet<String>,
    /// Whether content of it is stored in plain, and would outlive its key.
    pub(super) has_plain_content: bool,
}

impl<A: Executable> InPlain<A>
where
    A::Command: Clone + Send,
{
    /// Where the next event goes.
    pub(super) fn context(self, stream: &str) -> EventStoreAggregateContext<A> {
        let mut context = new_context(stream);
        (context.aggregate, context.current_sequence) = (self.aggregate, self.sequence);
        context
    }
}

impl LogReader {
    /// What the plain events of a record tell, if its kind has any.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn in_plain<A: Executable>(
        &self,
        connection: &mut PgConnection,
        id: i64,
    ) -> Result<Option<InPlain<A>>, sqlx::Error>
    where
        A::Command: Clone + Send,
    {
        let told = self.told(connection, A::KIND.record(id)).await?;
        let sequence = told.last().map_or(0, |last| last.sequence);
        let has_plain_content = told.iter().any(|event| event.is_exposed);
        let events: Vec<(String, Option<A::Event>)> = told
            .into_iter()
            .map(|told| (told.event_type, told.event.ok().and_then(A::event_of)))
            .collect();
        let files = events.iter().filter_map(|(_, event)| event.as_ref()).flat_map(A::files_of);
        let files = files.collect();
        let aggregate = A::in_plain(events);
        let sequence = usize::try_from(sequence).unwrap_or_default();
        Ok(aggregate.map(|aggregate| InPlain { aggregate, sequence, files, has_plain_content }))
    }

    /// The first event of a record that commands cannot read, as the reason why one was refused.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn unreadable_of(
        &self,
        connection: &mut PgConnection,
        record: RecordRef,
    ) -> Result<Option<CommandError>, sqlx::Error> {
        let told = self.told(connection, record).await?;
        Ok(told.into_iter().find_map(|Told { position, event_type, event, metadata, .. }| {
            let (why, error) = match (event, metadata) {
                (Err(error), _) => (why(&error), error.about_event().ok()?.1),
                (Ok(_), Err(error)) => (Unread::Unknown, error),
                (Ok(_), Ok(())) => return None,
            };
            Some(CommandError::Unreadable { record, position, event: event_type, why, error })
        }))
    }

    async fn told(
        &self,
        connection: &mut PgConnection,
        record: RecordRef,
    ) -> Result<Vec<Told>, sqlx::Error> {
        let Stream { kind, id } = record.into();
        let rows: Vec<Stored> = sqlx::query_as(
            "select position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text,
                    metadata::text
             from events where aggregate_type = $1 and aggregate_id = $2 order by sequence",
        )
        .bind(kind)
        .bind(id)
        .fetch_all(&mut *connection)
        .await?;
        let stored = rows.iter().map(|(_, kind, id, _, name, _, payload, _)| {
            (name.as_str(), kind.as_str(), id.as_str(), payload.as_str())
        });
        let ring = self.ring(connection, stored).await?;
        let told = |stored: Stored| {
            let (position, kind, id, sequence, event_type, version, payload, metadata) = stored;
            let row: Row = (position, kind, id, sequence, event_type, version, payload);
            let event = self.decode(&row, &ring).map(|recorded| recorded.event);
            let (.., event_type, _, payload) = row;
            let metadata = check_metadata(&metadata);
            let is_exposed = is_exposed(record, &event_type, &payload);
            Told { position, sequence, event_type, event, metadata, is_exposed }
        };
        Ok(rows.into_iter().map(told).collect())
    }
}

/// Why an event cannot be read.
fn why(error: &ReadLogError) -> Unread {
    match error {
        ReadLogError::Sealed { source: OpenError::NoKey | OpenError::Wrapped(_), .. } => {
            Unread::Locked
        }
        ReadLogError::Sealed { .. } => Unread::Damaged,
        ReadLogError::Database(_) | ReadLogError::Decode { .. } => Unread::Unknown,
    }
}

/// Whether an event of this type says in plain what should be sealed. What another release stores so, it means to outlive
/// the key.
fn is_exposed(record: RecordRef, event_type: &str, payload: &str) -> bool {
    let kind = record.kind();
    kind.is_personal()
        && !Event::is_plain(event_type)
        && !is_sealed(payload.as_bytes())
        && !is_damaged_seal(payload)
        && telling::known::events(kind).contains(&event_type)
}

/// Whether it was sealed, and is damaged where that stands: no event has a text for its content.
fn is_damaged_seal(payload: &str) -> bool {
    match serde_json::from_str(payload) {
        Ok(Value::Object(members)) => members.len() == 1 && members.values().all(Value::is_string),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use domain::Kind;

    use super::*;

    #[test]
    fn what_stands_in_plain_and_should_be_sealed_is_exposed() {
        let person = Kind::Person.record(7);
        for (event_type, payload, expected) in [
            ("Renamed", r#"{"Renamed":{"name":"Ada"}}"#, true),
            ("Renamed", r#"{"Renamed":{"nam"#, true),
            ("Archived", r#""Archived""#, true),
            ("Renamed", r#"{"sealed":"AAAA"}"#, false),
            ("Renamed", r#"{"seaXed":"AAAA"}"#, false),
            ("Held", r#"{"Held":{"reason":"case 7"}}"#, false),
            ("Unheard", r#"{"Unheard":{"reason":"case 7"}}"#, false),
        ] {
            assert_eq!(is_exposed(person, event_type, payload), expected, "{payload}");
        }
        assert!(!is_exposed(Kind::Lp.record(7), "Renamed", r#"{"Renamed":{"name":"Ada"}}"#));
    }
}
