//! The log read in position order, typed.

use std::collections::HashMap;

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use domain::{DecodeError, Event};
use sqlx::PgConnection;

/// One entry of the log.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its place in the log.
    pub position: i64,
    /// The id of its stream; 0 for the stream of imports.
    pub id: i64,
    /// Its place in its stream.
    pub sequence: i64,
    /// What happened.
    pub event: Event,
}

/// How much one page of the log holds at most.
#[derive(Clone, Copy, Debug)]
pub struct PageLimit {
    /// Events.
    pub events: i64,
}

/// Why a page could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadLogError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// An event cannot be read by today's code.
    #[error("position {position}: {source}")]
    Decode {
        /// Where it stands.
        position: i64,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// Reads the log and turns stored events into today's form.
pub struct LogReader {
    upcasters: Vec<Box<dyn EventUpcaster>>,
}

impl Default for LogReader {
    fn default() -> Self {
        Self::with_upcasters(domain::upcasters())
    }
}

type Row = (i64, String, String, i64, String, String, String);

impl LogReader {
    /// A reader that applies these upcasters.
    pub fn with_upcasters(upcasters: Vec<Box<dyn EventUpcaster>>) -> Self {
        Self { upcasters }
    }

    /// The entries that follow a position, oldest first.
    ///
    /// # Errors
    /// When the database fails or an event cannot be decoded; the error names its position.
    pub async fn read_after(
        &self,
        connection: &mut PgConnection,
        position: i64,
        limit: PageLimit,
    ) -> Result<Vec<Recorded>, ReadLogError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text
             from events where position > $1 order by position limit $2",
        )
        .bind(position)
        .bind(limit.events)
        .fetch_all(connection)
        .await?;
        rows.into_iter().map(|row| self.decode(row)).collect()
    }

    fn decode(&self, row: Row) -> Result<Recorded, ReadLogError> {
        let (position, aggregate_type, stream, sequence, event_type, version, payload) = row;
        let outdated = self.upcasters.iter().any(|up| up.can_upcast(&event_type, &version));
        let event = if outdated {
            let stored = Stored {
                aggregate_type,
                stream: stream.clone(),
                sequence,
                event_type,
                version,
                payload,
            };
            self.upcast(stored)
        } else {
            Event::decode(&aggregate_type, &event_type, &payload)
        };
        let event = event.map_err(|source| ReadLogError::Decode { position, source })?;
        // Only the import's stream is not named by a number.
        let id = stream.parse().unwrap_or(0);
        Ok(Recorded { position, id, sequence, event })
    }

    fn upcast(&self, stored: Stored) -> Result<Event, DecodeError> {
        let Stored { aggregate_type, stream, sequence, event_type, version, payload } = stored;
        let payload = serde_json::from_str(&payload).map_err(|source| DecodeError::Payload {
            aggregate_type: aggregate_type.clone(),
            event_type: event_type.clone(),
            source,
        })?;
        let sequence = usize::try_from(sequence).unwrap_or_default();
        let metadata = serde_json::to_value(HashMap::<String, String>::new()).unwrap_or_default();
        let event = SerializedEvent::new(
            stream,
            sequence,
            aggregate_type,
            event_type,
            version,
            payload,
            metadata,
        );
        let event = self.upcasters.iter().fold(event, |event, upcaster| {
            match upcaster.can_upcast(&event.event_type, &event.event_version) {
                true => upcaster.upcast(event),
                false => event,
            }
        });
        Event::decode(&event.aggregate_type, &event.event_type, &event.payload.to_string())
    }
}

struct Stored {
    aggregate_type: String,
    stream: String,
    sequence: i64,
    event_type: String,
    version: String,
    payload: String,
}
