//! The log read from end to end as fast as Postgres gives it, by COPY.

use bytes::Bytes;
use domain::Kind;
use sqlx::PgConnection;

use super::keys::{self, KeyRing};
use super::reader::{LogReader, ReadLogError, Recorded, Stream};
use crate::copy::{CopyOut, malformed};

/// An event as it is stored, not looked at yet. Clones share the bytes.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its place in the log.
    pub position: i64,
    /// The type of its stream.
    pub aggregate_type: Bytes,
    /// The stream's id among those of its type.
    pub aggregate_id: Bytes,
    /// Its place in the stream.
    pub sequence: i64,
    event_type: Bytes,
    event_version: Bytes,
    payload: Bytes,
}

impl StoredEvent {
    /// The kind of its record; `None` for streams that belong to none.
    pub fn kind(&self) -> Option<Kind> {
        Kind::parse(std::str::from_utf8(&self.aggregate_type).ok()?)
    }

    /// The stream it belongs to.
    pub fn stream(&self) -> Stream {
        Stream { kind: text(&self.aggregate_type), id: text(&self.aggregate_id) }
    }

    /// The name of its variant.
    pub fn event_type(&self) -> &str {
        std::str::from_utf8(&self.event_type).unwrap_or_default()
    }

    /// The stream whose key it takes to read it, if it takes one.
    pub(super) fn locked(&self) -> Option<(Kind, &str)> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let (kind, id) = (text(&self.aggregate_type)?, text(&self.aggregate_id)?);
        keys::locked(kind, id, &self.payload)
    }

    /// The length of its payload as it is stored, in bytes.
    pub fn size(&self) -> usize {
        self.payload.len()
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A part of the log, from one position to another.
#[derive(Clone, Debug)]
pub struct Span<'a> {
    /// Begins after this position.
    pub after: i64,
    /// Ends with this one.
    pub to: i64,
    /// Leaves out these kinds of records.
    pub without: &'a [Kind],
}

/// The most events and bytes of payload that come at once.
const BATCH: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;

/// The events of a span, in order.
pub struct Sweep<'c>(CopyOut<'c>);

impl<'c> Sweep<'c> {
    /// Begins to read. The connection does nothing else until the last batch has come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin(
        connection: &'c mut PgConnection,
        span: &Span<'_>,
    ) -> Result<Self, sqlx::Error> {
        let Span { after, to, without } = span;
        let left_out: String =
            without.iter().map(|kind| format!(" and aggregate_type <> '{kind}'")).collect();
        let query = format!(
            "select position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload
             from events where position > {after} and position <= {to}{left_out} order by position"
        );
        Ok(Self(CopyOut::begin(connection, &query).await?))
    }

    /// The next events; `None` after the last.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next(&mut self) -> Result<Option<Vec<StoredEvent>>, sqlx::Error> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut bytes = 0;
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Some(mut row) = self.0.next::<7>().await? else { break };
            let event = StoredEvent {
                position: row.integer()?,
                aggregate_type: row.text()?,
                aggregate_id: row.text()?,
                sequence: row.integer()?,
                event_type: row.text()?,
                event_version: row.text()?,
                payload: row.text()?,
            };
            bytes += event.size();
            batch.push(event);
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}

impl LogReader {
    /// Turns a stored event into today's form.
    ///
    /// # Errors
    /// When today's code cannot read it, or it is sealed and none of these keys opens it; the error names its position.
    pub fn decode_stored(
        &self,
        stored: &StoredEvent,
        ring: &KeyRing,
    ) -> Result<Recorded, ReadLogError> {
        let text =
            |bytes| std::str::from_utf8(bytes).map_err(|_| malformed("text that is no UTF-8"));
        let row = (
            stored.position,
            text(&stored.aggregate_type)?,
            text(&stored.aggregate_id)?,
            stored.sequence,
            text(&stored.event_type)?,
            text(&stored.event_version)?,
            text(&stored.payload)?,
        );
        self.decode(&row, ring)
    }
}
